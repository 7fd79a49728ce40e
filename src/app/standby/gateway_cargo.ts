/**
 * A gateway as the cargo of a pair. On the active box it runs, and what it promises to inputs, hubs and
 * peers is sent to the other box first: rows of its spool (app/spool), records of its sessions
 * (session_mirror.ts). On the standby both are held, and become a gateway by a takeover.
 *
 *     held ──take──> running ──suspend──> suspended ──take──> running
 *      ^                └──────release──────┴──> held, and a snapshot comes
 *
 * While it runs: `alone` when nobody waits for the other box; else nothing is promised that it has not
 * acknowledged. It is gated from the moment at which its sessions are in a snapshot. While it is
 * suspended nothing at all is promised, as another box may have gone on by now.
 *
 * What was promised while it was alone is on this disk only, and the database says so: when another
 * box goes on without it, by force, a snapshot of that one does not replace it (spool_replica.ts).
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import type { Messenger } from "../../proto/msgr2/messenger.ts";
import { type PostWriter, RecordKind } from "../../wire/standby/post.ts";
import { addSpoolRecord, readSpoolRecord, type SpoolRow } from "../../wire/standby/spool_record.ts";
import type { GatewayConfig } from "../config/gateway_config.ts";
import { Gateway, type GatewayOptions, type GatewayPair } from "../gateway/gateway.ts";
import { countText } from "../count_text.ts";
import type { SpoolSnapshot } from "../spool/spool_snapshot.ts";
import { makeStateDirectory } from "../state_directory.ts";
import type { Tell } from "./associations.ts";
import type { Cargo, CargoLink, CargoView } from "./cargo.ts";
import { SessionMirror } from "./session_mirror.ts";
import { type KeptSpool, SpoolReplica } from "./spool_replica.ts";

/** Envelopes of one post of a snapshot. */
const SNAPSHOT_STEP_BYTES = 256 * 1024;

/** How a {@linkcode GatewayCargo} is made. */
export interface GatewayCargoOptions {
  /** All but what ties it to the pair. */
  readonly gateway: Omit<GatewayOptions, "pair">;
  /** Messages that may be ahead of the other box; 0: none. */
  readonly window: number;
  /** With a window: once a message waits for the other box for so long, no more may be ahead. */
  readonly windowMs: number;
  /** The gateway runs now, or does not any more. */
  onGateway(gateway: Gateway | null): void;
  readonly tell: Tell;
}

/** Rows of the spool that the other box is to have. */
interface Waiting {
  /** Of their post; Infinity: they were written for nobody, and wait for a new term. */
  serial: number;
  readonly atMs: number;
  readonly messages: number;
  /** Called once, when they need not be waited for any more. */
  settle: (() => void) | null;
}

/** A gateway that goes from box to box. */
export class GatewayCargo implements Cargo {
  #options: GatewayCargoOptions;
  readonly #path: string;
  #link: CargoLink | null = null;
  #replica: SpoolReplica | null = null;
  readonly #sessions: SessionMirror;
  #gateway: Gateway | null = null;
  #running = false;
  /** Counts what was asked for: a take that waited its turn is not done when it is not wanted any more. */
  #asked = 0;
  #alone = true;
  #begun = false;
  #snapshot: SpoolSnapshot | null = null;
  #waiting: Waiting[] = [];
  /** Serial of the last post, and of the last one of a snapshot before the other box has its end. */
  #lastSerial = 0;
  #wholeSerial = Infinity;
  #latencyMs = 0;
  #releasing: Promise<void> | null = null;
  /** One after the other: taking and releasing take a while. */
  #last: Promise<void> = Promise.resolve();

  /**
   * Opens what is held.
   *
   * @throws when there is no state directory, or the disk refuses
   */
  static async open(options: GatewayCargoOptions): Promise<GatewayCargo> {
    const { spool, state } = options.gateway.config;
    if (state === null || spool.place !== "disk") {
      throw new Error(
        'Cannot have another box take over as the spool must be on disk: add "state", a directory, ' +
          'and leave "spool.place" out',
      );
    }
    await makeStateDirectory(state);
    const cargo = new GatewayCargo(options, `${state}/spool.db`);
    await cargo.#hold();
    return cargo;
  }

  private constructor(options: GatewayCargoOptions, path: string) {
    this.#options = options;
    this.#path = path;
    this.#sessions = new SessionMirror(options.window);
  }

  /** The pair's service, once there is one. */
  set link(link: CargoLink) {
    this.#link = link;
  }

  get link(): CargoLink {
    return this.#link!;
  }

  /** What the gateway is made from when it runs the next time. */
  setConfig(config: GatewayConfig): void {
    this.#options = { ...this.#options, gateway: { ...this.#options.gateway, config } };
  }

  get alone(): boolean {
    return this.#alone;
  }

  /** The gateway while it runs. */
  get gateway(): Gateway | null {
    return this.#gateway;
  }

  get view(): CargoView {
    return {
      running: this.#running,
      sessions: this.#gateway?.senders.size ?? this.#sessions.sessions,
      messages: this.#sessions.messages,
      spoolMessages: this.#gateway?.spool.messages ?? this.#replica?.messages ?? 0,
      spoolBytes: this.#gateway?.spool.bytes ?? this.#replica?.bytes ?? 0,
      addedLatencyMs: Math.max(this.#latencyMs, this.#sessions.latencyMs),
      mode: this.#options.window === 0 ? "sync" : "async",
    };
  }

  // ---- standby

  check(kind: number, from: Region, at: number, end: number): number {
    if (this.#replica === null) {
      return fail(Fault.State, "SYNC record kind", at, kind, "for a gateway that is held");
    }
    if (this.#sessions.has(kind)) return 0; // what does not fit makes all of it unfit, until a snapshot
    const row = readSpoolRecord(kind, from, at, end);
    return typeof row === "number" ? row : 0;
  }

  apply(kind: number, from: Region, at: number, end: number): number {
    const replica = this.#replica;
    if (replica === null) return this.check(kind, from, at, end);
    const applied = this.#sessions.apply(kind, from, at, end);
    if (this.#sessions.has(kind)) return applied;
    // What a refused post brought is forgotten: a snapshot follows it.
    if (!this.#begun || kind === RecordKind.SnapshotBegin) replica.begin();
    this.#begun = true;
    return replica.apply(kind, from, at, end);
  }

  async stored(): Promise<void> {
    const replica = this.#replica;
    if (replica === null) return;
    if (this.#begun) replica.end();
    this.#begun = false;
    await replica.stored();
  }

  // ---- active

  take(): Promise<void> {
    const asked = ++this.#asked;
    return this.#exclusively(async () => {
      if (asked !== this.#asked) return;
      if (this.#gateway !== null) {
        this.#running = true;
        if (this.#alone) this.#settleAll();
        this.#gateway.wake();
        return;
      }
      const { gateway, onGateway, window } = this.#options;
      const whole = this.#replica?.whole ?? false;
      if (whole && window > 0) await this.#replica!.skipAhead(window);
      this.#replica?.close();
      this.#replica = null;
      this.#running = true;
      this.#alone = true;
      try {
        this.#gateway = await Gateway.open({ ...gateway, pair: this.#pair(whole) });
      } catch (error) {
        this.#running = false; // what it had adopted is gone, and the spool is all here
        await this.#hold();
        throw error;
      }
      onGateway(this.#gateway);
    });
  }

  suspend(): void {
    this.#asked++;
    this.#running = false;
    this.#snapshot = null;
  }

  release(): Promise<void> {
    this.suspend();
    const released = this.#exclusively(async () => {
      const gateway = this.#gateway;
      if (gateway === null) {
        if (this.#replica === null) await this.#hold(); // nor was it held, as the disk refused
        return;
      }
      this.#gateway = null;
      this.#options.onGateway(null);
      await gateway.abandon();
      this.#waiting = []; // also what it wrote until then
      this.#sessions.stop();
      await this.#hold();
    });
    const releasing = this.#last.then(() => {
      if (this.#releasing === releasing) this.#releasing = null;
    });
    this.#releasing = releasing;
    return released;
  }

  get releasing(): Promise<void> | null {
    return this.#releasing;
  }

  writeSnapshot(writer: PostWriter, flush: () => number): "more" | "wait" | "done" {
    const gateway = this.#gateway;
    if (gateway === null || !this.#running) return "wait";
    this.#snapshot ??= gateway.spoolSnapshot();
    const rows = this.#snapshot.next(SNAPSHOT_STEP_BYTES);
    if (rows.length > 0) {
      for (const row of rows) addSpoolRecord(writer, row);
      this.#sent(flush());
      return "more";
    }
    const serial = this.#sessions.writeSnapshot(writer, flush);
    if (serial < 0) return "wait";
    if (serial > 0) this.#lastSerial = serial; // else there is no session, and nothing was written
    this.#snapshot = null;
    this.#alone = false;
    this.#wholeSerial = this.#lastSerial;
    return "done";
  }

  handleAcked(serial: number): void {
    if (serial > this.#wholeSerial) {
      this.#wholeSerial = Infinity;
      this.#gateway?.markCopied(true).catch(() => {}); // the next commit tells what ails the disk
    }
    let count = 0;
    for (const waiting of this.#waiting) {
      if (waiting.serial > serial) break;
      count++;
      this.#latencyMs = nowMs() - waiting.atMs;
      waiting.settle?.();
    }
    this.#waiting.splice(0, count);
    const opened = this.#sessions.handleAcked(serial);
    if (count === 0 && !opened) return;
    this.#settleAhead();
    this.#gateway?.wake();
  }

  handleLost(): void {
    this.#snapshot = null;
    this.#wholeSerial = Infinity;
    this.#sessions.handleLost();
    // What was on its way is waited for until a new term says that nobody has to.
    for (const waiting of this.#waiting) waiting.serial = Infinity;
  }

  handleAlone(): void {
    if (this.#alone) return;
    const marked = this.#gateway?.markCopied(false) ?? Promise.resolve();
    this.#alone = true;
    this.#snapshot = null;
    this.#wholeSerial = Infinity;
    this.#sessions.handleAlone();
    // A disk that fails is told by the commit that waits here.
    marked.catch(() => {}).then(() => {
      if (this.#running && this.#alone) this.#settleAll();
    });
    this.#gateway?.wake();
  }

  /**
   * Ends. A gateway that runs alone drains as ever; else the other box goes on with what there is, and
   * nothing more may be promised here.
   */
  async close(deadlineMs: number): Promise<number> {
    await this.#last;
    this.#replica?.close();
    this.#replica = null;
    const gateway = this.#gateway;
    this.#gateway = null;
    if (gateway === null) return 0;
    if (!this.#running || !this.#alone) {
      await gateway.abandon();
      return 0;
    }
    this.#settleAll();
    const left = await gateway.stop(deadlineMs);
    gateway.close();
    return left;
  }

  #pair(whole: boolean): GatewayPair {
    return {
      mayRun: () => this.#running && this.#link?.mayRun() === true,
      afterTurn: () => {
        if (this.#link !== null) this.#sessions.write(this.#link);
      },
      mirror: { store: (rows) => this.#store(rows) },
      adoptInto: (messenger: Messenger): void => {
        if (!whole) this.#sessions.clear();
        this.#sessions.adoptInto(messenger);
      },
    };
  }

  /** Rows of one transaction are one post: a takeover must not find half of it. */
  #store(rows: readonly SpoolRow[]): Promise<void> {
    const link = this.#link;
    let serial = 0;
    if (link !== null && this.#running && link.follows) {
      for (const row of rows) addSpoolRecord(link.writer, row);
      serial = link.flush();
      this.#sent(serial);
    }
    if (this.#alone && this.#running) return Promise.resolve();
    const messages = rows.reduce((sum, row) => sum + messagesOf(row), 0);
    return new Promise((settle) => {
      this.#waiting.push({ serial: serial || Infinity, atMs: nowMs(), messages, settle });
      this.#settleAhead();
    });
  }

  /** A post that did not leave leaves a gap: a snapshot begins anew. */
  #sent(serial: number): void {
    if (serial > 0) this.#lastSerial = serial;
    else this.#snapshot = null;
  }

  /** With a window, so many messages of the spool may be ahead of the other box, for so long. */
  #settleAhead(): void {
    if (this.#alone || !this.#running) return;
    const oldest = this.#waiting.find(({ messages }) => messages > 0);
    if (oldest !== undefined && nowMs() - oldest.atMs > this.#options.windowMs) return;
    let ahead = 0;
    for (const waiting of this.#waiting) {
      ahead += waiting.messages;
      if (ahead > this.#options.window) return;
      waiting.settle?.();
      waiting.settle = null;
    }
  }

  #settleAll(): void {
    for (const { settle } of this.#waiting.splice(0)) settle?.();
  }

  /** Opens the spool as a copy of the other box's. */
  async #hold(): Promise<void> {
    this.#sessions.clear();
    const replica = await SpoolReplica.open(this.#path, (kept) => this.#tellKept(kept));
    this.#replica = replica;
    if (replica.setAside === null) return;
    this.#options.tell("error", `The spool was damaged: it is set aside as ${replica.setAside}`);
  }

  #tellKept({ messages, path }: KeptSpool): void {
    const text =
      `${countText(messages, "message is", "messages are")} kept aside in ${path}: this ` +
      "box had taken them while no other one had them, and the other one goes on without them";
    this.#options.tell("error", text);
    this.#options.gateway.alarms.raise("spool_kept_aside", "error", text, path);
  }

  #exclusively(work: () => Promise<void>): Promise<void> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {}); // whoever asked hears it
    return done;
  }
}

function messagesOf(row: SpoolRow): number {
  return row.kind === RecordKind.SpoolEnvelope ? row.count : 0;
}
