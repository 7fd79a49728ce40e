/**
 * A gateway: inputs, the spool, and a sender for each hub, made from a configuration; what can change
 * while it runs is changed by `reload`.
 *
 *     inputs ──offer──> intake ──way of the topic──> spool ──> senders ──> hubs
 *                                                      └── commits: on disk before anything is
 *                                                          acknowledged or sent
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import type { Database } from "../../io/database.ts";
import { NodeCrypto } from "../../io/crypto.ts";
import type { Batch } from "../../proto/msgr2/batch.ts";
import type { AuthOptions, Messenger, MessengerEvent } from "../../proto/msgr2/messenger.ts";
import type { Session } from "../../proto/msgr2/session.ts";
import type { SessionJournal } from "../../proto/msgr2/session_journal.ts";
import type { EntityAddr } from "../../wire/msgr2/entity_addr.ts";
import { SPOOL_ID_SIZE } from "../../wire/gateway/envelope.ts";
import type { GatewayConfig, InputConfig } from "../config/gateway_config.ts";
import type { Change } from "../config/reload.ts";
import { resolveAll } from "../address.ts";
import { countText } from "../count_text.ts";
import { Endpoint, type IoRoad, type Mirrored } from "../endpoint.ts";
import { entityOptions } from "../entity_options.ts";
import { openInput } from "../inputs/open.ts";
import { FairleadType } from "../message_types.ts";
import { Commits, type SpoolMirror } from "../spool/commits.ts";
import { type OpenSpool, openSpool } from "../spool/open_spool.ts";
import type { Spool } from "../spool/spool.ts";
import { SpoolSnapshot } from "../spool/spool_snapshot.ts";
import { markCopied } from "../standby/spool_replica.ts";
import { makeStateDirectory } from "../state_directory.ts";
import type { Alarms, Journal } from "../status/journal.ts";
import type { PathsOf } from "../status/snapshot.ts";
import { InputIntake, type IntakeTarget } from "./input_intake.ts";
import type { Input } from "./intake.ts";
import { Router, type Way } from "./router.ts";
import { Sender } from "./sender.ts";

/** Most that one session may have unacknowledged. */
const OUTBOX_BYTES_MAX = 8 * 1024 * 1024;
/** A hub that was away is tried again at least this often. */
const BACKOFF_MAX_MS = 5000;
const TICK_MS = 1000;

/** How a {@linkcode Gateway} is made. */
export interface GatewayOptions {
  readonly config: GatewayConfig;
  readonly auth: AuthOptions;
  readonly journal: Journal;
  readonly alarms: Alarms;
  /** Make a new spool id: what is stored is sent under it from the start. */
  readonly newSpoolId: boolean;
  /** Tells the paths of a session's MPTCP connection; without it they are not told. */
  readonly pathsOf?: PathsOf;
  /** What ties it to the other box of a pair; absent without one. */
  readonly pair?: GatewayPair;
}

/** How the other box of a pair has everything that this gateway promises. */
export interface GatewayPair extends Mirrored {
  readonly mirror: SpoolMirror;
  /** Makes the sessions that the other box had those of a messenger. */
  adoptInto(messenger: Messenger): void;
}

/** An input with what it was made from. */
export interface RunningInput {
  readonly input: Input;
  readonly type: InputConfig["type"];
}

/** A running gateway. */
export class Gateway implements IntakeTarget {
  /** Rejects when the spool cannot be used any more: the process must end. */
  readonly failed: Promise<never>;
  readonly spool: Spool;
  readonly commits: Commits;
  readonly inputs = new Map<string, RunningInput>();
  readonly senders = new Map<string, Sender>();
  unrouted = 0;
  /** What was lost with a damaged database. */
  readonly lostAtStart: number;
  /** Tells the paths of an MPTCP connection; null when nobody does. */
  readonly pathsOf: PathsOf | null;
  readonly #database: Database;
  readonly #endpoint: Endpoint;
  readonly #journal: Journal;
  readonly #alarms: Alarms;
  readonly #timer: ReturnType<typeof setInterval>;
  /** Hubs whose sessions were told to use TCP. */
  readonly #pathless = new Set<string>();
  #config: GatewayConfig;
  #router: Router;

  /**
   * Opens the spool and the inputs, and begins to dial.
   *
   * @throws when the spool or an input cannot be opened, naming the remedy
   */
  static async open(options: GatewayOptions): Promise<Gateway> {
    const { alarms, config } = options;
    const { ageMaxSeconds, bytesMax, place, whenFull } = config.spool;
    const path = place === "ram" ? null : `${config.state}/spool.db`;
    if (config.state !== null) await makeStateDirectory(config.state);
    const crypto = new NodeCrypto();
    const opened = await openSpool(path, {
      gateway: config.name,
      randomId: () => crypto.randomBytes(SPOOL_ID_SIZE),
      nowMs,
      bytesMax,
      ageMaxMs: ageMaxSeconds * 1000,
      whenFull,
      renew: options.newSpoolId,
    });
    const { salvage } = opened;
    if (salvage !== null) {
      const lost = salvage.lost === null ? "an unknown number is" : `${salvage.lost} are`;
      alarms.raise(
        "spool_damaged",
        "error",
        `The spool was damaged (${salvage.why}): it is set aside as ${salvage.setAside}, ` +
          `${countText(salvage.saved, "message was", "messages were")} saved and ${lost} lost`,
      );
    }
    const hubs = await resolveHubs(options);
    const gateway = new Gateway(options, opened, hubs);
    try {
      for (const [name, input] of Object.entries(config.inputs)) {
        await gateway.#openInput(name, input);
      }
    } catch (error) {
      await gateway.stop(0);
      gateway.close();
      throw error;
    }
    return gateway;
  }

  private constructor(
    options: GatewayOptions,
    opened: OpenSpool,
    hubs: ReadonlyMap<string, readonly EntityAddr[]>,
  ) {
    const { alarms, auth, config, journal, pair } = options;
    this.#config = config;
    this.#database = opened.database;
    this.#journal = journal;
    this.#alarms = alarms;
    this.pathsOf = options.pathsOf ?? null;
    this.lostAtStart = opened.salvage?.lost ?? 0;
    this.spool = opened.spool;
    const pump = (): void => {
      for (const sender of this.senders.values()) sender.pump();
    };
    const { commitIntervalMs } = config.spool;
    this.commits = new Commits(opened, commitIntervalMs, pump, pair?.mirror ?? null);
    this.failed = this.commits.failed;
    this.#endpoint = new Endpoint({
      ...entityOptions(config.name),
      auth,
      io: config.io as IoRoad,
      transport: config.transport,
      onTcpOnly: (why) => journal.note(why),
      mirrored: pair,
      messenger: { outboxBytesMax: OUTBOX_BYTES_MAX, backoffMaxMs: BACKOFF_MAX_MS },
    });
    pair?.adoptInto(this.#endpoint.messenger);
    this.#endpoint.onEvent((event) => this.#handleEvent(event));
    this.#endpoint.handle((batch) => this.#handleBatch(batch));
    this.#router = this.#newRouter();
    const adopted = new Set(this.#endpoint.messenger.sessions.values());
    for (const [name, { addresses }] of Object.entries(config.hubs)) {
      const known = hubs.get(name) ?? [];
      const session = [...adopted].find(({ target }) =>
        target !== null && known.some((address) =>
          address.equals(target)
        )
      ) ?? null;
      if (session !== null) adopted.delete(session);
      this.#dial(name, addresses, session);
    }
    // Of hubs that this box does not know: what was sent to them is in the spool.
    for (const session of adopted) this.#endpoint.disconnect(session);
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  /** The configuration that runs. */
  get config(): GatewayConfig {
    return this.#config;
  }

  way(topic: string): Way | null {
    return this.#router.way(topic);
  }

  offerLossy(
    hubs: readonly string[],
    arrivalMs: number,
    topic: Uint8Array,
    contentType: Uint8Array,
    payload: Uint8Array,
  ): void {
    for (const hub of hubs) {
      this.senders.get(hub)?.offerLossy(arrivalMs, topic, contentType, payload);
    }
  }

  /** Takes over what a changed configuration can change; problems are told in the journal. */
  async reload(config: GatewayConfig, changes: readonly Change[]): Promise<void> {
    this.#config = config;
    this.#journal.format = config.log.format;
    const { ageMaxSeconds, bytesMax, commitIntervalMs, whenFull } = config.spool;
    this.spool.setBounds(bytesMax, ageMaxSeconds * 1000, whenFull);
    this.commits.intervalMs = commitIntervalMs;
    for (const { path, kind } of changes) {
      const [part, name] = path.split(".") as [string, string];
      if (part === "hubs" && kind !== "added") this.#hangUp(name);
    }
    this.#router = this.#newRouter();
    for (const { path, kind } of changes) {
      const [part, name] = path.split(".") as [string, string];
      if (part === "hubs" && kind !== "removed") this.#dial(name, config.hubs[name]!.addresses);
    }
    for (const sender of this.senders.values()) sender.reroute();
    for (const { path, kind } of changes) {
      const [part, name] = path.split(".") as [string, string];
      if (part === "inputs") await this.#reopenInput(name, kind);
    }
  }

  /**
   * Takes nothing new and waits for the hubs; returns how many messages they do not have. What is
   * on disk waits for the next start.
   */
  async stop(deadlineMs: number): Promise<number> {
    await Promise.all([...this.inputs.values()].map(({ input }) => input.stop(deadlineMs)));
    await Promise.race([this.commits.durable(), this.commits.room()]);
    const waiting = await Promise.all(
      [...this.senders.values()].map((sender) => sender.drain(deadlineMs)),
    );
    clearInterval(this.#timer);
    for (const sender of this.senders.values()) sender.close();
    await this.commits.stop();
    await this.#endpoint.close();
    return waiting.reduce((sum, count) => sum + count, 0);
  }

  /**
   * Ends at once, as another box goes on: nothing is drained, nobody is told, and nothing is written
   * but what was.
   */
  async abandon(): Promise<void> {
    clearInterval(this.#timer);
    for (const sender of this.senders.values()) sender.close();
    await this.#endpoint.close({ tellPeers: false });
    await Promise.all([...this.inputs.values()].map(({ input }) => input.stop(0)));
    await this.commits.abandon();
    this.#database.close();
  }

  /** The sessions' journal: what a standby must have. */
  get sessionJournal(): SessionJournal | null {
    return this.#endpoint.messenger.journal;
  }

  /** Everything that is stored, in steps. */
  spoolSnapshot(): SpoolSnapshot {
    return new SpoolSnapshot(this.#database);
  }

  /** Whether another box has all that is stored; resolves when a restart would find it so. */
  markCopied(copied: boolean): Promise<void> {
    markCopied(this.#database, copied ? this.spool : null);
    return this.#database.sync();
  }

  /** What the standby has acknowledged may leave. */
  wake(): void {
    this.#endpoint.wake();
  }

  /** After `stop()`: nothing can be asked of it any more. */
  close(): void {
    this.#database.close();
  }

  #newRouter(): Router {
    const router = new Router(this.spool, this.#config.routes, Object.keys(this.#config.hubs));
    this.spool.importanceOf = (stream) => router.importance(stream);
    this.commits.touchAcknowledged();
    return router;
  }

  async #openInput(name: string, config: InputConfig): Promise<void> {
    const input = await openInput(name, config, new InputIntake(this, name));
    this.inputs.set(name, { input, type: config.type });
  }

  async #reopenInput(name: string, kind: Change["kind"]): Promise<void> {
    const running = this.inputs.get(name);
    this.inputs.delete(name);
    await running?.input.stop(nowMs() + this.#config.drainSeconds * 1000);
    const config = this.#config.inputs[name];
    if (kind === "removed" || config === undefined) return;
    try {
      await this.#openInput(name, config);
    } catch (error) {
      const text = `Input ${name} is closed: ${(error as Error).message}`;
      this.#alarms.raise("input_closed", "error", text, name);
      return;
    }
    this.#alarms.clear("input_closed", name);
  }

  #dial(hub: string, addresses: readonly string[], adopted: Session | null = null): void {
    const sender = new Sender({
      endpoint: this.#endpoint,
      spool: this.spool,
      gateway: this.#config.name,
      hub,
      addresses,
      adopted,
      feedOf: (stream) => this.#router.feed(stream, hub),
      onAcknowledged: () => this.commits.touchAcknowledged(),
      note: (text) => this.#journal.note(text),
    });
    this.senders.set(hub, sender);
  }

  #hangUp(hub: string): void {
    this.senders.get(hub)?.close();
    this.senders.delete(hub);
    this.#alarms.clear("hub_refuses", hub);
  }

  #handleBatch(batch: Batch): void {
    for (let index = 0; index < batch.length; index++) {
      if (batch.type(index) !== FairleadType.Welcome) continue;
      for (const sender of this.senders.values()) sender.handleWelcome(batch, index);
    }
  }

  #handleEvent(event: MessengerEvent): void {
    const { session } = event;
    let who: string | null = null;
    for (const sender of this.senders.values()) {
      if (session === null || sender.session !== session) continue;
      who = `hub ${sender.name}`;
      sender.handleEvent(event);
    }
    if (who === null && session !== null) return;
    // What the session drops then, the spool has.
    const text = event.kind === "remoteReset"
      ? "the hub forgot it, and gets in a new one what it has not stored"
      : event.text;
    this.#journal.noteEvent({ ...event, text }, who);
  }

  /** What is to be told once it is so, and once it is over. */
  #tick(): void {
    const { commits, spool } = this;
    this.#alarm("spool_fails", "error", commits.trouble?.message ?? "");
    const full = spool.full && commits.trouble === null;
    const meaning = spool.waits ? "inputs wait, UDP is dropped" : "what comes is dropped";
    const bytesMax = this.#config.spool.bytesMax;
    this.#alarm(
      "spool_full",
      "error",
      full ? `The spool is full (${bytesMax} bytes): ${meaning}` : "",
    );
    for (const sender of this.senders.values()) this.#noteTransport(sender);
    for (const sender of this.senders.values()) {
      const text = sender.refusal === "" ? "" : `Hub ${sender.name} refuses: ${sender.refusal}`;
      this.#alarm("hub_refuses", "error", text, sender.name);
    }
    const lost = spool.lost > 0 ? `${spool.lost} messages were lost to damage of the spool` : "";
    this.#alarm("spool_lost", "error", lost);
    this.#journal.flush();
  }

  /** Once for each hub: MPTCP was offered, and the hub's kernel has none. */
  #noteTransport({ name, transport }: Sender): void {
    if (transport?.fallback !== true) return void this.#pathless.delete(name);
    if (this.#pathless.has(name)) return;
    this.#pathless.add(name);
    this.#journal.note(`Session with hub ${name} uses TCP, with one path only: it has no MPTCP`);
  }

  #alarm(code: string, level: "error" | "warning", text: string, name = ""): void {
    if (text === "") this.#alarms.clear(code, name);
    else this.#alarms.raise(code, level, text, name);
  }
}

/** Addresses of hubs, by which sessions of the other box are known; those that are not known are left out. */
async function resolveHubs(
  { config, pair }: GatewayOptions,
): Promise<Map<string, readonly EntityAddr[]>> {
  const found = new Map<string, readonly EntityAddr[]>();
  if (pair === undefined) return found;
  for (const [name, { addresses }] of Object.entries(config.hubs)) {
    const resolved = await Promise.all(addresses.map((one) => resolveAll(one).catch(() => [])));
    found.set(name, resolved.flat());
  }
  return found;
}
