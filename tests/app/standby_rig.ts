/**
 * Boxes of a pair and their witness in one process, on loopback addresses of their own; and somebody who
 * speaks to a box as another box would, but says what he likes.
 *
 * @module
 */
import assert from "node:assert/strict";
import { authCephx, authNone } from "../../src/app/auth.ts";
import type { StandbyConfig } from "../../src/app/config/standby_config.ts";
import { delay } from "../../src/app/delay.ts";
import { Endpoint } from "../../src/app/endpoint.ts";
import { FairleadType } from "../../src/app/message_types.ts";
import { StandbyService } from "../../src/app/standby/standby_service.ts";
import { TermFile } from "../../src/app/standby/term_file.ts";
import { WitnessServer } from "../../src/app/standby/witness_server.ts";
import { nowMs } from "../../src/io/clock.ts";
import { NodeCrypto } from "../../src/io/crypto.ts";
import type { AuthOptions } from "../../src/proto/msgr2/messenger.ts";
import { POLICIES } from "../../src/proto/msgr2/policy.ts";
import type { Session } from "../../src/proto/msgr2/session.ts";
import { generateKey, KeyType } from "../../src/wire/cephx/crypto_key.ts";
import { Keyring } from "../../src/wire/cephx/keyring.ts";
import { parseEntityName } from "../../src/wire/msgr2/hello.ts";
import { PostWriter } from "../../src/wire/standby/post.ts";
import { parseWord, type StandbyWord, writeWord } from "../../src/wire/standby/words.ts";

/** Who the boxes are. */
export const NAME = "client.pair";
const UNTIL_MS = 10_000;
const LOOK_MS = 5;

/** An address on loopback that nobody else has. */
export function ownAddress(): string {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return `v2:127.0.0.1:${listener.addr.port}`;
}

/** Waits until something is so. */
export async function until(what: string, holds: () => boolean, ms = UNTIL_MS): Promise<void> {
  for (const end = performance.now() + ms; !holds();) {
    assert.ok(performance.now() < end, `${what}: never`);
    await delay(LOOK_MS);
  }
}

/** A key each for these names. */
export function keyringOf(...names: string[]): Keyring {
  return new Keyring(names.map((name) => ({
    name: parseEntityName(name),
    key: generateKey(new NodeCrypto(), KeyType.Aes, 1),
  })));
}

/** Who has that keyring. */
export function secure(keyring: Keyring, name = NAME): AuthOptions {
  return authCephx(name, keyring, ["secure"]);
}

/** What a box is made from when nothing else is said. */
export function configOf(settings: Partial<StandbyConfig> = {}): StandbyConfig {
  return {
    role: "standby",
    box: "b",
    group: "lab",
    listen: ownAddress(),
    peer: ownAddress(),
    witness: null,
    preferred: false,
    heartbeatMs: 40,
    deadMs: 400,
    leaseMs: 1200,
    associations: false,
    inbound: "lossless",
    apply: "hold",
    thresholdPackets: 64,
    thresholdMs: 100,
    sessions: "sync",
    asyncMessages: 1000,
    asyncMs: 1000,
    addresses: [],
    watch: [],
    socket: false,
    ...settings,
  };
}

/** A service, and what it told. */
export class RigBox implements AsyncDisposable {
  readonly told: string[] = [];
  readonly roles: string[] = [];
  #service: StandbyService | null = null;

  /** Opens one. */
  static async open(
    config: StandbyConfig,
    { auth = authNone(NAME), name = NAME, state = null as string | null } = {},
  ): Promise<RigBox> {
    const box = new RigBox();
    box.#service = await StandbyService.open({
      config,
      name,
      auth,
      terms: new TermFile(state),
      cargo: null,
      tell: (level, text) => box.told.push(`${level} ${text}`),
      onRole: (role) => box.roles.push(role),
      onEvent: () => {},
    });
    return box;
  }

  get service(): StandbyService {
    return this.#service!;
  }

  get role(): string {
    return this.service.election.role;
  }

  get receiver(): StandbyService["in"]["receiver"] {
    return this.service.in.receiver;
  }

  /** Waits until it has this role. */
  async is(role: string, ms?: number): Promise<void> {
    await until(`${this.service.config.box} is ${role}`, () => this.role === role, ms);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.service.close();
  }
}

/** Two boxes with roles given. */
export class RigPair implements AsyncDisposable {
  readonly a: RigBox;
  readonly b: RigBox;

  private constructor(a: RigBox, b: RigBox) {
    this.a = a;
    this.b = b;
  }

  /** Opens both. */
  static async open(
    settings: Partial<StandbyConfig> = {},
    others: Partial<StandbyConfig> = {},
  ): Promise<RigPair> {
    const listen = ownAddress();
    const peer = ownAddress();
    const auto = settings.role === "auto";
    const first = configOf({ role: "active", ...settings, box: "a", listen, peer });
    const role = auto ? "auto" : "standby";
    const second = configOf({ ...settings, role, box: "b", listen: peer, peer: listen, ...others });
    const state = auto ? await Deno.makeTempDir() : null;
    const a = await RigBox.open(first, { state: state && await directoryIn(state) });
    const b = await RigBox.open(second, { state: state && await directoryIn(state) });
    const pair = new RigPair(a, b);
    pair.#state = state;
    return pair;
  }

  #state: string | null = null;

  /** Waits until one is active and the other has everything; the active one first. */
  async whole(): Promise<[RigBox, RigBox]> {
    const { a, b } = this;
    await until("one is active, the other ready", () => {
      const active = a.role === "active" ? a : b;
      const other = active === a ? b : a;
      const { peer, term } = active.service.election;
      return active.role === "active" && other.role === "standby" && active.service.flow.isSynced &&
        other.receiver.wholeTerm === term && peer.canTake(term, nowMs(), 400);
    });
    return a.role === "active" ? [a, b] : [b, a];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.a.service.close();
    await this.b.service.close();
    if (this.#state !== null) await Deno.remove(this.#state, { recursive: true });
  }
}

async function directoryIn(parent: string): Promise<string> {
  return await Deno.makeTempDir({ dir: parent });
}

/** Opens a witness in a directory. */
export async function openWitness(
  state: string,
  { auth = authNone(NAME), listen = ownAddress(), notes = [] as string[] } = {},
): Promise<WitnessServer> {
  return await WitnessServer.open({
    listen,
    auth,
    state,
    note: (text) => void notes.push(text),
    onEvent: () => {},
  });
}

/** Somebody who says what he likes to a box, or to a witness. */
export class Stranger implements AsyncDisposable {
  readonly words: StandbyWord[] = [];
  readonly instance = crypto.randomUUID().replaceAll("-", "");
  readonly endpoint: Endpoint;
  session!: Session;
  /** Sessions that began. */
  connects = 0;
  #sentMs = 0;
  #timer: ReturnType<typeof setInterval> | undefined;

  private constructor(auth: AuthOptions) {
    this.endpoint = new Endpoint({
      auth,
      policyFor: () => ({ ...POLICIES.losslessPeerReuse, standby: false, reopen: true }),
      messenger: {
        anyTarget: true,
        backoffMs: 20,
        backoffMaxMs: 50,
        frameBytesMax: 48 * 1024 * 1024,
        outboxBytesMax: 128 * 1024 * 1024,
      },
    });
  }

  /** Listens where it says, and dials a box. */
  static async open(
    to: string,
    { auth = authNone(NAME), listen = ownAddress(), dials = true } = {},
  ): Promise<Stranger> {
    const stranger = new Stranger(auth);
    stranger.endpoint.handle((batch) => {
      for (let index = 0; index < batch.length; index++) {
        const word = parseWord(batch.front(index));
        if (word !== null && typeof word !== "string") stranger.words.push(word);
        stranger.#hear(word);
      }
    });
    stranger.endpoint.onEvent(({ kind }) => {
      if (kind === "connect" || kind === "accept") stranger.connects++;
    });
    await stranger.endpoint.listen(listen);
    if (dials) {
      const policy = { ...POLICIES.losslessPeerReuse, standby: false, reopen: true };
      stranger.session = await stranger.endpoint.connect(to, policy);
    }
    return stranger;
  }

  /** What to do with a word that comes. */
  onWord: (word: StandbyWord) => void = () => {};

  #hear(word: StandbyWord | string | null): void {
    if (word !== null && typeof word !== "string") this.onWord(word);
  }

  /** Says bytes. */
  raw(front: Uint8Array, type: number = FairleadType.Standby): boolean {
    return this.session.send({ type, front }) > 0;
  }

  /** Says a word. */
  say(word: StandbyWord | Record<string, unknown>): boolean {
    return this.raw(writeWord(word as StandbyWord));
  }

  /** Sends a post. */
  post(front: Uint8Array): boolean {
    return this.raw(front, FairleadType.Sync);
  }

  /** Says hello. */
  hello(more: Record<string, unknown> = {}): boolean {
    return this.say({
      word: "hello",
      version: 1,
      group: "lab",
      box: "a",
      instance: this.instance,
      heard: "",
      role: "active",
      mode: "active",
      term: 1,
      leaseMs: 1200,
      ...more,
    });
  }

  /** Says that it lives. */
  beat(more: Record<string, unknown> = {}): boolean {
    return this.say({
      word: "heartbeat",
      term: 1,
      role: "active",
      number: 0,
      sentMs: ++this.#sentMs,
      ready: true,
      stateTerm: 1,
      carrier: true,
      ...more,
    });
  }

  /** Is the active box of term 1 from now on. */
  live(more: Record<string, unknown> = {}): void {
    clearInterval(this.#timer);
    this.#timer = setInterval(() => {
      const heard = this.words.findLast((word) => word.word === "hello");
      this.hello({ heard: heard?.word === "hello" ? heard.instance : "", ...more });
      this.beat(more);
    }, 40);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.endpoint.close({ tellPeers: false });
  }
}

/** A post with these records. */
export function postOf(
  term: number,
  number: number,
  ...records: [kind: number, body?: Uint8Array][]
): Uint8Array<ArrayBuffer> {
  const writer = new PostWriter();
  for (const [kind, body = new Uint8Array()] of records) {
    const at = writer.begin(kind, body.length);
    writer.region.bytes.set(body, at);
    writer.end(at + body.length);
  }
  return writer.take(term, number).slice();
}
