/**
 * What an active box sends to the other one: a snapshot in parts, and what changes meanwhile and after.
 * Both go in one order of posts; a cargo (cargo.ts) is the last part of a snapshot, and from then on
 * nobody is promised anything that the other box does not have.
 *
 *     nothing ──the other box is there, in our term──> associations ──> cargo ──> increments
 *        ^                                                                │
 *        └────────── a new session, a new term, a post without room ──────┘
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import type { Election } from "../../proto/standby/election.ts";
import { type PostWriter, RecordKind } from "../../wire/standby/post.ts";
import { writeWord } from "../../wire/standby/words.ts";
import type { Associations } from "./associations.ts";
import type { Cargo, CargoLink } from "./cargo.ts";
import type { PairLink } from "./pair_link.ts";
import { SyncOut } from "./sync_out.ts";

/** Bytes of a snapshot that are on the way at a time: what changes meanwhile waits behind them. */
const SNAPSHOT_AHEAD_BYTES = 2 * 1024 * 1024;
/** A box that lives and acknowledges nothing for so long has a disk that hangs. */
const STALLED_MS = 5000;

/** How a {@linkcode SyncFlow} is made. */
export interface SyncFlowOptions {
  readonly link: PairLink;
  readonly election: Election;
  readonly associations: Associations | null;
  readonly cargo: Cargo | null;
  readonly deadMs: number;
  /** False once the lease of this box is over. */
  mayRun(): boolean;
}

/** The active box's side of the pair. */
export class SyncFlow implements CargoLink {
  readonly out: SyncOut;
  readonly #options: SyncFlowOptions;
  /** A snapshot is being sent: what comes next of it. */
  #snapshot: "none" | "associations" | "cargo" = "none";
  /** The other box has the last post when it has this number; 0: nobody waits for that. */
  #flushing = 0;
  /** The term whose cargo the other box has. */
  #gatedTerm = 0;
  /** When the other box had everything for the last time. */
  #syncedMs = -Infinity;

  /** @param options what it works with */
  constructor(options: SyncFlowOptions) {
    this.#options = options;
    this.out = new SyncOut(options.link);
  }

  /** True while the other box has everything up to what is on its way. */
  get isSynced(): boolean {
    const { deadMs, election } = this.#options;
    const now = nowMs();
    const lives = election.peer.lives(now, deadMs) && this.out.stalledFor(now) < STALLED_MS;
    return lives && !this.out.snapshotNeeded && this.#snapshot === "none";
  }

  get writer(): PostWriter {
    return this.out.writer;
  }

  get follows(): boolean {
    return !this.out.snapshotNeeded && this.#options.election.role === "active";
  }

  mayRun(): boolean {
    return this.#options.mayRun();
  }

  flush(): number {
    const serial = this.out.flush();
    if (serial > 0) this.#options.election.sentNumber = this.out.sent;
    return serial;
  }

  /** Nothing that was sent counts any more. */
  needSnapshot(): void {
    this.out.needSnapshot();
    this.#snapshot = "none";
    this.#flushing = 0;
    this.#options.cargo?.handleLost();
  }

  /** Sends what is to be sent at the moment. */
  turn(now: number): void {
    const { associations, cargo, election: { peer, role, term }, link } = this.#options;
    this.#watchAlone(now);
    if (role !== "active" && role !== "yielding") return;
    if (this.out.snapshotNeeded) {
      const ready = peer.known && peer.term === term && link.reaches("peer");
      if (!ready || peer.role !== "standby" || cargo?.alone === false) return;
      this.#beginSnapshot(term);
    }
    if (this.#snapshot !== "none") this.#continueSnapshot(now);
    if (!this.out.full) associations?.writePosts(this.writer, now, () => this.flush());
  }

  /** When {@linkcode turn} has something to do by itself. */
  pollDeadline(now: number): number {
    const { associations, cargo, deadMs, election } = this.#options;
    const watched = cargo?.alone === false ? now + deadMs / 2 : Infinity;
    const sends = election.role === "active" && !this.out.snapshotNeeded && !this.out.full;
    if (!sends || associations === null) return watched;
    return Math.min(watched, associations.mirror.pollDeadline());
  }

  /** True while a snapshot waits for acknowledgements to go on. */
  get sendsSnapshot(): boolean {
    return this.#snapshot !== "none";
  }

  /** A box that yields sends its last records. */
  beginFlush(now: number): void {
    this.#options.associations?.refresh(now);
    this.turn(now);
    this.#flushing = this.isSynced ? Math.max(1, this.out.sent) : 0;
  }

  /** Number of the last of them, once the other box has it; 0 before. */
  takeFlushed(): number {
    if (this.#flushing === 0 || this.out.acked < this.#flushing) return 0;
    const number = this.#flushing;
    this.#flushing = 0;
    return number;
  }

  /** The other box has everything up to this serial. */
  handleAcknowledged(serial: number): void {
    this.out.handleAcknowledged(serial);
    this.#options.associations?.mirror.handleAcked(serial);
    this.#options.cargo?.handleAcked(serial);
  }

  /**
   * A cargo that waits for the other box does not wait for ever: once that does not follow, what it holds
   * is made of an earlier term, which nobody goes on with, and then nobody waits.
   */
  #watchAlone(now: number): void {
    const { cargo, deadMs, election } = this.#options;
    if (cargo === null || cargo.alone || election.role !== "active") return;
    if (election.storedTerm > this.#gatedTerm) return cargo.handleAlone();
    if (this.isSynced) this.#syncedMs = now;
    const late = now - this.#syncedMs >= deadMs;
    if (late || this.out.snapshotNeeded) election.handleAlone(now);
  }

  #beginSnapshot(term: number): void {
    const word = { word: "resync", term, why: "a snapshot begins" } as const;
    if (!this.#options.link.say("peer", writeWord(word))) return;
    this.out.begin(term);
    this.writer.mark(RecordKind.SnapshotBegin);
    this.flush();
    this.#options.associations?.mirror.beginSnapshot();
    this.#snapshot = "associations";
  }

  #continueSnapshot(now: number): void {
    const { associations, cargo, election } = this.#options;
    const { out, writer } = this;
    const flush = (): number => this.flush();
    while (this.#snapshot !== "none" && out.unackedBytes < SNAPSHOT_AHEAD_BYTES && !out.full) {
      if (this.#snapshot === "associations") {
        const more = associations?.writeSnapshot(writer, now, flush) ?? false;
        if (!more) this.#snapshot = "cargo";
        continue;
      }
      const state = cargo === null ? "done" : cargo.writeSnapshot(writer, flush);
      if (state === "wait") return;
      if (state === "more") continue;
      this.#gatedTerm = election.term;
      this.#syncedMs = now;
      writer.mark(RecordKind.SnapshotEnd);
      this.#snapshot = "none";
      flush();
    }
  }
}
