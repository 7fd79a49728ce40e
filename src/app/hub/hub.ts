/**
 * The receiving end of gateways: an endpoint that keeps their sessions, checks the numbers of what
 * they bring, hands each message to the outputs and acknowledges it when those that are required have
 * it and the numbers are stored. A batch of the messenger is a round (output.ts).
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import { Database, DatabaseError } from "../../io/database.ts";
import { arena } from "../../mem/arena.ts";
import { describeFault } from "../../mem/fault.ts";
import { Verdict } from "../../proto/gateway/ledger.ts";
import { matchesFilter } from "../../proto/gateway/topic_filter.ts";
import type { Batch } from "../../proto/msgr2/batch.ts";
import type { AuthOptions, MessengerEvent } from "../../proto/msgr2/messenger.ts";
import { type Session, SessionState } from "../../proto/msgr2/session.ts";
import type { EntityAddr } from "../../wire/msgr2/entity_addr.ts";
import { EnvelopeReader, PAYLOAD_BYTES_MAX, SPOOL_ID_SIZE } from "../../wire/gateway/envelope.ts";
import { greetingJson, type Hello, Hop, parseHello, readHop } from "../../wire/gateway/post.ts";
import { addressText } from "../address_text.ts";
import { serverPolicy } from "../connection_flags.ts";
import { Endpoint, type IoRoad } from "../endpoint.ts";
import type { SessionTransport, TcpOnly, Transport } from "../loop.ts";
import { FairleadType, messageTypeName } from "../message_types.ts";
import { printableWord } from "../printable.ts";
import type { Spool, Written } from "../spool/spool.ts";
import { delay } from "../delay.ts";
import { HUB_TABLES, type HubStore } from "./hub_store.ts";
import type { Output, Received } from "./output.ts";

/** Larger frames are refused: `fairlead send` has lines of 4 MiB at most, files go in pieces. */
const FRAME_BYTES_MAX = 8 * 1024 * 1024;
/** A required output, or the database, that refused is asked again after this. */
const RETRY_MS = 1000;
/** Troubles that are over when a gateway is greeted again. */
const GATEWAY_TROUBLES: readonly string[] = ["spool_refused", "gateway_refused", "bad_envelope"];
/** A box that holds a spool has this long to show that it lives when another one claims it. */
const PROBE_MS = 3000;
const PROBE_STEP_MS = 50;
/** Acknowledgements of what was forwarded are stored so much later. */
const TOUCH_MS = 1000;
/** Topics whose outputs are remembered. */
const TOPICS_MAX = 10_000;

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** An output, and which topics it wants. */
export interface HubOutput {
  readonly output: Output;
  /** A filter as in MQTT. */
  readonly topic: string;
}

/** How a {@linkcode Hub} is made. */
export interface HubOptions {
  /** Where to listen, such as `v2:127.0.0.1:0`. */
  readonly address: string;
  readonly auth: AuthOptions;
  readonly io: IoRoad;
  /** Protocol of the sockets, and who hears that it is not what it could be; `tcp` unless set. */
  readonly transport?: Transport;
  readonly onTcpOnly?: TcpOnly;
  /** Its file; in memory when null: numbers are then forgotten with the process. */
  readonly database: Database;
  readonly store: HubStore;
  readonly outputs: readonly HubOutput[];
  /** What forwarding outputs fill, committed with the numbers. */
  readonly spool: Spool | null;
  onEvent(event: MessengerEvent): void;
  /** A sentence for the log. */
  note(text: string): void;
  /** A round is on the disk. */
  onStored(): void;
  /** Something an operator should know until it is over; null when it is. */
  onTrouble(code: string, text: string | null, name?: string): void;
}

/** Opens the database of a hub. */
export async function openHubDatabase(path: string | null, more = ""): Promise<Database> {
  return await Database.open(path ?? ":memory:", HUB_TABLES + more);
}

/** A hub that runs until the process ends, or `close()`. */
export class Hub {
  /** Rejects when the database cannot be used any more: what is not stored is not acknowledged. */
  readonly failed: Promise<never>;
  /** Messages handed to outputs. */
  received = 0;
  /** POSTs and greetings that were refused, and messages that make no sense. */
  refused = 0;
  /** Rounds stored. */
  rounds = 0;
  readonly #options: HubOptions;
  readonly #endpoint: Endpoint;
  readonly #hop = new Hop();
  readonly #envelope = new EnvelopeReader();
  readonly #message: Received = {
    gateway: "",
    spool: "",
    stream: 0,
    number: 0,
    topic: "",
    contentType: "",
    arrivalMs: 0,
    payload: new Uint8Array(),
  };
  readonly #wanted = new Map<string, readonly Output[]>();
  readonly #positions = new Map<string, string>();
  readonly #names = new NameCache();
  #outputs: readonly HubOutput[];
  /** The outputs changed since positions were stored. */
  #changed = true;
  /** A change of outputs that waits to be applied. */
  #change: (() => Promise<void>) | null = null;
  /** Places in this round's batch whose messages were taken. */
  readonly #accepted: number[] = [];
  /** Only these are handed messages; null for all. */
  #only: Set<Output> | null = null;
  #address: EntityAddr | null = null;
  #closing = false;
  #ended = false;
  /** Resolves when what has the database now is done with it. */
  #last: Promise<void> = Promise.resolve();
  #running = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #fail: (error: Error) => void = () => {};

  /** Listens. */
  static async open(options: HubOptions): Promise<Hub> {
    const hub = new Hub(options);
    // Where the outputs begin: what a crash leaves behind in the first round is cut off again.
    while (!await hub.#store()) await delay(RETRY_MS);
    hub.#address = await hub.#endpoint.listen(options.address);
    return hub;
  }

  private constructor(options: HubOptions) {
    this.#options = options;
    this.#outputs = options.outputs;
    const { auth, io, onTcpOnly, transport } = options;
    this.failed = new Promise((_resolve, reject) => this.#fail = reject);
    this.failed.catch(() => {}); // whoever waits for it hears it as well
    this.#endpoint = new Endpoint({
      auth,
      io,
      transport,
      onTcpOnly,
      policyFor: () => serverPolicy("lossless"),
      messenger: { frameBytesMax: FRAME_BYTES_MAX, anyTarget: true },
    });
    this.#endpoint.onEvent((event) => this.#handleEvent(event));
    this.#endpoint.handle((batch) => this.#round(batch));
  }

  /** Where it listens, as a person types it. */
  get address(): string {
    return addressText(this.#address!);
  }

  /** Sessions by the names of their peers, printable. */
  sessions(): (readonly [string, Session])[] {
    return [...this.#endpoint.messenger.sessions.values()].map((session) =>
      [printableWord(session.peerName), session] as const
    );
  }

  /** What carries a session at the moment; null while nothing does. */
  transportOf(session: Session): SessionTransport | null {
    return this.#endpoint.transportOf(session);
  }

  /** Ends; the last acknowledgements leave, and the gateways keep their sessions for the next hub. */
  async close(): Promise<void> {
    this.#closing = true;
    await this.#endpoint.close({ tellPeers: false });
  }

  #handleEvent(event: MessengerEvent): void {
    const { kind, session } = event;
    if (session !== null && (kind === "reset" || kind === "remoteReset")) {
      this.#options.store.ledger.release(session);
    }
    this.#options.onEvent(event);
  }

  // ---- a round

  #round(batch: Batch): Promise<void> {
    return this.#exclusively(async () => {
      this.#accepted.length = 0;
      for (let index = 0; index < batch.length; index++) this.#take(batch, index);
      while (!await this.#flush()) {
        if (this.#closing) await new Promise(() => {}); // never done: its messages will come again
        this.#forget();
        await delay(RETRY_MS);
        await this.#changeWithin(batch);
      }
      await this.#storeAll();
    });
  }

  /**
   * Changes the outputs between two rounds, and stores where the new ones begin; or within a round
   * that stands still, as the change may be what lets it go on.
   */
  async setOutputs(change: () => Promise<readonly HubOutput[]>): Promise<void> {
    const apply = async (): Promise<void> => {
      if (this.#change !== apply) return; // it was applied within a round
      this.#change = null;
      this.#outputs = await change();
      this.#changed = true;
      this.#wanted.clear();
      this.#positions.clear();
    };
    this.#change = apply;
    await this.#exclusively(async () => {
      await apply();
      await this.#storeAll();
    });
  }

  /** Applies a change of outputs, and gives the new ones what this round has brought. */
  async #changeWithin(batch: Batch): Promise<void> {
    const before = new Set(this.#outputs.map(({ output }) => output));
    await this.#change?.();
    if (this.#outputs.every(({ output }) => before.has(output))) return;
    this.#only = new Set(
      this.#outputs.map(({ output }) => output).filter((one) => !before.has(one)),
    );
    for (const index of this.#accepted) this.#handOutAll(batch, index);
    this.#only = null;
  }

  /** What was forwarded was acknowledged: stored with the next round, or soon. */
  touch(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      if (!this.#closing) this.#exclusively(() => this.#storeAll());
    }, TOUCH_MS);
  }

  /** Stores what is left when it ends; not when a round stands still, as its messages come again. */
  async storeRest(): Promise<void> {
    clearTimeout(this.#timer);
    if (this.#running === 0) await this.#store();
    this.#ended = true;
  }

  /** One after the other: what tells gateways what is stored must not see half a round. */
  async #exclusively(work: () => void | Promise<void>): Promise<void> {
    const before = this.#last;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#last = promise;
    this.#running++;
    await before;
    try {
      await work();
    } finally {
      this.#running--;
      resolve();
    }
  }

  /** What was forwarded makes room, also while a round stands still: it may be what that waits for. */
  #forget(): void {
    const { database, onTrouble, spool } = this.#options;
    if (spool === null || !spool.acknowledged) return;
    try {
      let written: Written | null = null;
      database.transaction(() => written = spool.write("acknowledged"));
      spool.committed(written!);
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error;
      onTrouble("hub_database", error.message);
    }
  }

  async #storeAll(): Promise<void> {
    if (this.#ended) await new Promise(() => {}); // the database is closed: its messages come again
    while (!await this.#store()) {
      if (this.#closing) await new Promise(() => {}); // never done: its messages will come again
      await delay(RETRY_MS);
    }
  }

  #take(batch: Batch, index: number): void {
    switch (batch.type(index)) {
      case FairleadType.Hello:
        this.#takeHello(batch.session(index), batch.front(index));
        return;
      case FairleadType.Post:
        if (!this.#checkPost(batch, index)) return;
        break;
      case FairleadType.Line:
      case FairleadType.Reading:
        if (batch.frontBytes(index) <= PAYLOAD_BYTES_MAX) break;
        this.refused++;
        this.#options.note(
          `Refused a message of ${printableWord(batch.session(index).peerName)} as it must be ` +
            `${PAYLOAD_BYTES_MAX} bytes at most: current value is ${batch.frontBytes(index)}`,
        );
        return;
      default:
        this.refused++;
        this.#options.note(
          `Refused a message of type ${messageTypeName(batch.type(index))} of ` +
            `${printableWord(batch.session(index).peerName)}: a hub has no output for it, ` +
            "fairlead listen takes files",
        );
        return;
    }
    this.#accepted.push(index);
    this.received += this.#handOutAll(batch, index);
  }

  /** Hands out what one message of the messenger holds; returns how many messages that is. */
  #handOutAll(batch: Batch, index: number): number {
    switch (batch.type(index)) {
      case FairleadType.Line:
        return this.#handOutLine(batch, index, "lines", "text/plain");
      case FairleadType.Reading:
        return this.#handOutLine(batch, index, "readings", "application/json");
      default:
        return this.#handOutPost(batch, index);
    }
  }

  /** Looks at the numbers of a POST; true when its messages are new. */
  #checkPost(batch: Batch, index: number): boolean {
    const session = batch.session(index);
    const { store } = this.#options;
    if (!this.#openPost(batch, index)) {
      const why = describeFault(batch.frontAt(index));
      this.#disconnect(session, `Cannot read a POST of ${session.peerName}: ${why}`);
      return false;
    }
    const { number, stream } = this.#hop;
    if (stream === 0) return true; // not kept by its gateway, and not numbered
    const known = store.ledger.find(session.peerName, this.#names.hex(this.#hop.spoolAt));
    const verdict = store.ledger.check(known, session, stream, number, this.#envelope.count);
    if (verdict !== Verdict.Take) {
      const why = verdict === Verdict.Back
        ? `numbers of stream ${stream} went back to ${number}`
        : "another box holds its spool, or it was not greeted";
      this.#disconnect(session, `Refused messages of ${session.peerName}: ${why}`);
      return false;
    }
    store.ledger.store(known!, stream, number);
    store.noteNumber(known!, stream);
    return true;
  }

  #openPost(batch: Batch, index: number): boolean {
    const at = batch.frontAt(index);
    const end = at + batch.frontBytes(index);
    const envelopeAt = readHop(arena, at, end, this.#hop);
    return envelopeAt >= 0 && this.#envelope.open(arena, envelopeAt, end) >= 0;
  }

  #handOutPost(batch: Batch, index: number): number {
    this.#openPost(batch, index);
    const envelope = this.#envelope;
    const message = this.#message;
    message.gateway = this.#names.text(envelope.gatewayAt, envelope.gatewayBytes);
    message.spool = this.#names.hex(envelope.spoolAt);
    message.stream = envelope.stream;
    let count = 0;
    for (let more = envelope.next(); more !== 0; more = envelope.next()) {
      if (more < 0) {
        const why = describeFault(batch.frontAt(index));
        this.refused++;
        const { peerName } = batch.session(index);
        this.#options.onTrouble("bad_envelope", `${peerName} sent what is none: ${why}`, peerName);
        break; // its numbers are taken: it would not be better the next time
      }
      message.number = envelope.number;
      message.arrivalMs = envelope.arrivalMs;
      message.topic = this.#names.text(envelope.topicAt, envelope.topicBytes);
      message.contentType = this.#names.text(envelope.contentTypeAt, envelope.contentTypeBytes);
      const { payloadAt, payloadBytes } = envelope;
      message.payload = arena.bytes.subarray(payloadAt, payloadAt + payloadBytes);
      this.#handOut(message);
      count++;
    }
    return count;
  }

  /** A message of `fairlead send`, or of a program that knows no spool: at least once. */
  #handOutLine(batch: Batch, index: number, topic: string, contentType: string): number {
    const message = this.#message;
    message.gateway = batch.session(index).peerName;
    message.spool = "";
    message.stream = 0;
    message.number = batch.seq(index);
    message.arrivalMs = Date.now();
    message.topic = topic;
    message.contentType = contentType;
    message.payload = batch.front(index);
    this.#handOut(message);
    return 1;
  }

  #handOut(message: Received): void {
    for (const output of this.#outputsFor(message.topic)) {
      if (this.#only === null || this.#only.has(output)) output.take(message);
    }
  }

  #outputsFor(topic: string): readonly Output[] {
    let outputs = this.#wanted.get(topic);
    if (outputs === undefined) {
      outputs = this.#outputs.filter((one) => matchesFilter(one.topic, topic))
        .map(({ output }) => output);
      if (this.#wanted.size >= TOPICS_MAX) this.#wanted.clear();
      this.#wanted.set(topic, outputs);
    }
    return outputs;
  }

  /** Gives every required output the time to be safe; false when one refuses, and is to be asked again. */
  async #flush(): Promise<boolean> {
    const results = await Promise.all(this.#outputs.map(async ({ output }) => {
      if (!output.required) {
        output.flush().catch(() => {}); // its trouble tells
        return true;
      }
      const code = "output_refuses";
      try {
        await output.flush();
        this.#options.onTrouble(code, null, output.name);
        return true;
      } catch (error) {
        const text = `Output ${output.name} takes nothing, so nothing is acknowledged: ` +
          (error as Error).message;
        this.#options.onTrouble(code, text, output.name);
        return false;
      }
    }));
    return results.every((safe) => safe);
  }

  /** Stores numbers and positions, on the disk; false when the database refuses, and is to be asked again. */
  async #store(): Promise<boolean> {
    const { database, onTrouble, spool, store } = this.#options;
    const positions: [string, string][] = [];
    for (const { output } of this.#outputs) {
      const position = output.position();
      if (position === null || position === this.#positions.get(output.name)) continue;
      positions.push([output.name, position]);
    }
    if (
      !this.#changed && positions.length === 0 && !store.pending && !(spool?.pending ?? false) &&
      !(spool?.acknowledged ?? false)
    ) return true;
    try {
      let written: Written | null = null;
      database.transaction(() => {
        if (this.#changed) store.keepPositions(this.#outputs.map(({ output }) => output));
        store.write(positions);
        written = spool?.write() ?? null;
      });
      store.written();
      this.#changed = false;
      if (written !== null) spool!.committed(written);
      for (const [name, position] of positions) this.#positions.set(name, position);
      onTrouble("hub_database", null);
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error;
      onTrouble("hub_database", error.message);
      if (error.trouble === "damaged") this.#fail(error);
      return false;
    }
    const numbers = spool?.writtenNumbers() ?? [];
    try {
      await database.sync();
    } catch (error) {
      this.#fail(error as Error);
      return false;
    }
    spool?.synced(numbers);
    this.rounds++;
    this.#options.onStored();
    return true;
  }

  // ---- greetings

  async #takeHello(session: Session, front: Uint8Array): Promise<void> {
    const hello = parseHello(greetingJson(front));
    if (typeof hello === "string") {
      this.#disconnect(session, `Cannot greet ${session.peerName}: ${hello}`);
      return;
    }
    const known = this.#options.store.ledger.find(session.peerName, hello.spool);
    const holder = (known?.holder ?? null) as Session | null;
    const held = holder !== null && holder !== session && await this.#lives(holder);
    await this.#exclusively(() => this.#welcome(session, hello, held));
  }

  #welcome(session: Session, hello: Hello, held: boolean): void {
    if (session.state === SessionState.Closed) return;
    const { store, onTrouble } = this.#options;
    const gateway = session.peerName;
    if (store.ledger.find(gateway, hello.spool) === null) {
      // A box without a disk has a new spool at each start, and its old session waits for a day.
      store.ledger.releaseGone(gateway, (holder) => (holder as Session).connection === null);
    }
    const welcome = store.ledger.greet(gateway, hello, session, held);
    if (welcome.refused === undefined) {
      store.noteGreeted(store.ledger.find(gateway, hello.spool)!);
      for (const code of GATEWAY_TROUBLES) onTrouble(code, null, gateway);
    } else {
      this.refused++;
      onTrouble("spool_refused", welcome.refused.text, gateway);
    }
    session.send({ type: FairleadType.Welcome, front: encoder.encode(JSON.stringify(welcome)) });
  }

  /** True when the other end of a session answers within a moment. */
  async #lives(session: Session): Promise<boolean> {
    const { connection } = session;
    if (connection === null || session.state !== SessionState.Ready) return false;
    const before = connection.keepaliveAcks;
    const seconds = nowMs() / 1000;
    connection.sendKeepalive(Math.floor(seconds), 0);
    this.#endpoint.messenger.markDirty(connection);
    for (let waited = 0; waited < PROBE_MS; waited += PROBE_STEP_MS) {
      await delay(PROBE_STEP_MS);
      if (connection.keepaliveAcks > before) return true;
      if (session.connection !== connection) return false;
    }
    return false;
  }

  /** Ends a session whose messages cannot be taken, before they are acknowledged. */
  #disconnect(session: Session, text: string): void {
    this.refused++;
    this.#options.store.ledger.release(session);
    this.#options.onTrouble("gateway_refused", text, session.peerName);
    this.#endpoint.disconnect(session);
  }
}

/** Texts of names that come again and again, looked up by their bytes. */
class NameCache {
  readonly #texts = new Map<number, { bytes: Uint8Array; text: string }>();
  readonly #spoolBytes = new Uint8Array(SPOOL_ID_SIZE);
  #spool = "00".repeat(SPOOL_ID_SIZE);

  /** The UTF-8 text at an arena offset. */
  text(at: number, length: number): string {
    const { bytes } = arena;
    let hash = length;
    for (let index = 0; index < length; index++) hash = (hash * 31 + bytes[at + index]!) | 0;
    const found = this.#texts.get(hash);
    if (found !== undefined && sameBytes(bytes, at, length, found.bytes)) return found.text;
    const copy = bytes.slice(at, at + length);
    const text = decoder.decode(copy);
    if (this.#texts.size >= TOPICS_MAX) this.#texts.clear();
    this.#texts.set(hash, { bytes: copy, text });
    return text;
  }

  /** The spool id at an arena offset, as hex. */
  hex(at: number): string {
    if (!sameBytes(arena.bytes, at, SPOOL_ID_SIZE, this.#spoolBytes)) {
      this.#spoolBytes.set(arena.bytes.subarray(at, at + SPOOL_ID_SIZE));
      this.#spool = this.#spoolBytes.toHex();
    }
    return this.#spool;
  }
}

function sameBytes(bytes: Uint8Array, at: number, length: number, other: Uint8Array): boolean {
  if (length !== other.length) return false;
  for (let index = 0; index < length; index++) {
    if (bytes[at + index] !== other[index]) return false;
  }
  return true;
}
