/**
 * A gateway as the cargo of a pair. On the active box it runs, and what it promises to inputs, hubs and
 * peers is sent to the other box first: rows of its spool (app/spool), records of its sessions
 * (proto/msgr2/session_journal.ts). On the standby both are held, and become a gateway by a takeover.
 *
 *     held ──take──> running ──suspend──> suspended ──take──> running
 *      ^                └──────release──────┴──> held, and a snapshot comes
 *
 * While it runs: `alone` when nobody waits for the other box; else nothing is promised that it has not
 * acknowledged. It is gated from the moment at which its sessions are in a snapshot.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import type { Messenger } from "../../proto/msgr2/messenger.ts";
import { SessionStore } from "../../proto/msgr2/session_store.ts";
import { type PostWriter, RecordKind } from "../../wire/standby/post.ts";
import { addSpoolRecord, readSpoolRecord, type SpoolRow } from "../../wire/standby/spool_record.ts";
import type { GatewayConfig } from "../config/gateway_config.ts";
import { Gateway, type GatewayOptions, type GatewayPair } from "../gateway/gateway.ts";
import type { SpoolSnapshot } from "../spool/spool_snapshot.ts";
import { makeStateDirectory } from "../state_directory.ts";
import type { Tell } from "./associations.ts";
import type { Cargo, CargoLink, CargoView } from "./cargo.ts";
import { SpoolReplica } from "./spool_replica.ts";

/** Envelopes of one post of a snapshot. */
const SNAPSHOT_STEP_BYTES = 256 * 1024;

/** How a {@linkcode GatewayCargo} is made. */
export interface GatewayCargoOptions {
  /** All but what ties it to the pair. */
  readonly gateway: Omit<GatewayOptions, "pair">;
  /** Messages that may be ahead of the other box; 0: none. */
  readonly window: number;
  /** The gateway runs now, or does not any more. */
  onGateway(gateway: Gateway | null): void;
  readonly tell: Tell;
}

/** Something that the other box is to have. */
interface Waiting {
  /** Of its post; Infinity: it was written for nobody, and waits for a new term. */
  serial: number;
  readonly atMs: number;
  /** The mark of the sessions' journal; 0 when it is of the spool. */
  readonly mark: number;
  /** Messages of the spool in it. */
  readonly messages: number;
  /** Called once, when it need not be waited for any more. */
  settle: (() => void) | null;
}

/** A gateway that goes from box to box. */
export class GatewayCargo implements Cargo {
  #options: GatewayCargoOptions;
  readonly #path: string;
  #link: CargoLink | null = null;
  #replica: SpoolReplica | null = null;
  readonly #sessions = new SessionStore();
  #gateway: Gateway | null = null;
  #running = false;
  #alone = true;
  #begun = false;
  #snapshot: SpoolSnapshot | null = null;
  #waiting: Waiting[] = [];
  #latencyMs = 0;
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
    const messenger = this.#gateway?.sessionJournal ?? null;
    const sessions = messenger === null ? this.#sessions.sessions : this.#gateway!.senders.size;
    return {
      running: this.#running,
      sessions,
      messages: this.#sessions.messages,
      spoolMessages: this.#gateway?.spool.messages ?? this.#replica?.messages ?? 0,
      spoolBytes: this.#gateway?.spool.bytes ?? this.#replica?.bytes ?? 0,
      addedLatencyMs: this.#latencyMs,
      mode: this.#options.window === 0 ? "sync" : "async",
    };
  }

  // ---- standby

  check(kind: number, from: Region, at: number, end: number): number {
    if (this.#replica === null) {
      return fail(Fault.State, "SYNC record kind", at, kind, "for a gateway that is held");
    }
    if (isSession(kind)) return 0; // what does not fit makes all of it unfit, until a snapshot
    const row = readSpoolRecord(kind, from, at, end);
    return typeof row === "number" ? row : 0;
  }

  apply(kind: number, from: Region, at: number, end: number): number {
    const replica = this.#replica!;
    if (isSession(kind)) return this.#sessions.apply(kind, from, at, end);
    if (!this.#begun) replica.begin();
    this.#begun = true;
    if (kind === RecordKind.SnapshotBegin) this.#sessions.begin();
    else if (kind === RecordKind.SnapshotEnd) this.#sessions.end();
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
    return this.#exclusively(async () => {
      if (this.#gateway !== null) {
        this.#running = true;
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
      this.#gateway = await Gateway.open({ ...gateway, pair: this.#pair(whole) });
      const { sessionJournal } = this.#gateway;
      if (sessionJournal !== null) sessionJournal.window = window;
      onGateway(this.#gateway);
    });
  }

  suspend(): void {
    this.#running = false;
    this.#snapshot = null;
  }

  release(): Promise<void> {
    this.suspend();
    return this.#exclusively(async () => {
      const gateway = this.#gateway;
      if (gateway === null) return;
      this.#gateway = null;
      this.#options.onGateway(null);
      this.#waiting = [];
      await gateway.abandon();
      await this.#hold();
    });
  }

  writeSnapshot(writer: PostWriter, flush: () => number): "more" | "wait" | "done" {
    const gateway = this.#gateway;
    const journal = gateway?.sessionJournal ?? null;
    if (gateway === null || journal === null || !this.#running) return "wait";
    this.#snapshot ??= gateway.spoolSnapshot();
    const rows = this.#snapshot.next(SNAPSHOT_STEP_BYTES);
    if (rows.length > 0) {
      for (const row of rows) addSpoolRecord(writer, row);
      flush();
      return "more";
    }
    journal.gate();
    const mark = journal.snapshot(writer, flush);
    if (mark === 0) return "wait";
    this.#snapshot = null;
    this.#alone = false;
    this.#waiting.push(waitingFor(flush(), mark, 0, null));
    return "done";
  }

  handleAcked(serial: number): void {
    let count = 0;
    const journal = this.#gateway?.sessionJournal ?? null;
    for (const waiting of this.#waiting) {
      if (waiting.serial > serial) break;
      count++;
      this.#latencyMs = nowMs() - waiting.atMs;
      if (waiting.mark > 0) journal?.release(waiting.mark);
      waiting.settle?.();
    }
    if (count === 0) return;
    this.#waiting.splice(0, count);
    this.#settleAhead();
    this.#gateway?.wake();
  }

  handleLost(): void {
    this.#snapshot = null;
    // What was on its way is waited for until a new term says that nobody has to.
    for (const waiting of this.#waiting) waiting.serial = Infinity;
  }

  handleAlone(): void {
    if (this.#alone) return;
    this.#alone = true;
    this.#snapshot = null;
    this.#gateway?.sessionJournal?.releaseAll();
    for (const { settle } of this.#waiting.splice(0)) settle?.();
    this.#gateway?.wake();
  }

  /** Ends: a gateway that runs drains as ever, as this box is the active one. */
  async close(deadlineMs: number): Promise<number> {
    await this.#last;
    this.#replica?.close();
    this.#replica = null;
    const gateway = this.#gateway;
    this.#gateway = null;
    if (gateway === null) return 0;
    if (this.#running) this.handleAlone();
    const left = this.#running ? await gateway.stop(deadlineMs) : 0;
    if (this.#running) gateway.close();
    else await gateway.abandon();
    return left;
  }

  #pair(whole: boolean): GatewayPair {
    const { window } = this.#options;
    return {
      mayRun: () => this.#running,
      afterTurn: () => this.#writeSessions(),
      mirror: { store: (rows) => this.#store(rows) },
      adoptInto: (messenger: Messenger): void => {
        if (whole && window === 0) this.#sessions.adoptInto(messenger, nowMs());
        this.#sessions.clear();
      },
    };
  }

  /** Rows of one transaction are one post: a takeover must not find half of it. */
  #store(rows: readonly SpoolRow[]): Promise<void> {
    const link = this.#link;
    let serial = Infinity;
    if (link !== null && this.#running && link.follows) {
      for (const row of rows) addSpoolRecord(link.writer, row);
      serial = link.flush() || Infinity;
    }
    if (this.#alone) return Promise.resolve();
    const messages = rows.reduce((sum, row) => sum + messagesOf(row), 0);
    return new Promise((resolve) => {
      this.#waiting.push(waitingFor(serial, 0, messages, resolve));
      this.#settleAhead();
    });
  }

  #writeSessions(): void {
    const link = this.#link;
    const journal = this.#gateway?.sessionJournal ?? null;
    if (link === null || journal === null || !journal.dirty || !link.follows) return;
    const mark = journal.write(link.writer, () => link.flush());
    this.#waiting.push(waitingFor(link.flush(), mark, 0, null));
  }

  /** With a window, so many messages of the spool may be ahead of the other box. */
  #settleAhead(): void {
    let ahead = 0;
    for (const waiting of this.#waiting) {
      ahead += waiting.messages;
      if (ahead > this.#options.window) return;
      waiting.settle?.();
      waiting.settle = null;
    }
  }

  /** Opens the spool as a copy of the other box's. */
  async #hold(): Promise<void> {
    this.#sessions.clear();
    const replica = await SpoolReplica.open(this.#path);
    this.#replica = replica;
    if (replica.setAside === null) return;
    this.#options.tell("error", `The spool was damaged: it is set aside as ${replica.setAside}`);
  }

  #exclusively(work: () => Promise<void>): Promise<void> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {}); // whoever asked hears it
    return done;
  }
}

function isSession(kind: number): boolean {
  return kind >= RecordKind.Session && kind <= RecordKind.SessionNumbers;
}

function messagesOf(row: SpoolRow): number {
  return row.kind === RecordKind.SpoolEnvelope ? row.count : 0;
}

function waitingFor(
  serial: number,
  mark: number,
  messages: number,
  settle: (() => void) | null,
): Waiting {
  return { serial: serial || Infinity, atMs: nowMs(), mark, messages, settle };
}
