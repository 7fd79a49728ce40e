/**
 * The msgr2 sessions of a cargo: while a messenger runs here its journal goes to the other box
 * (proto/msgr2/session_journal.ts), and else what that sends is held (proto/msgr2/session_store.ts), to
 * be gone on with.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import type { Region } from "../../mem/region.ts";
import type { Messenger } from "../../proto/msgr2/messenger.ts";
import type { SessionJournal } from "../../proto/msgr2/session_journal.ts";
import { SessionStore } from "../../proto/msgr2/session_store.ts";
import { type PostWriter, RecordKind } from "../../wire/standby/post.ts";
import type { CargoLink } from "./cargo.ts";

/** What the other box is to have before gates open. */
interface Mark {
  readonly serial: number;
  readonly mark: number;
  readonly atMs: number;
}

/** Sessions that go from box to box. */
export class SessionMirror {
  /** Time that the other box took for what it has acknowledged last; 0 before. */
  latencyMs = 0;
  readonly #window: number;
  readonly #store = new SessionStore();
  #journal: SessionJournal | null = null;
  #marks: Mark[] = [];

  /** @param window messages that may be ahead of the other box; 0: none */
  constructor(window: number) {
    this.#window = window;
  }

  /** Sessions held. */
  get sessions(): number {
    return this.#store.sessions;
  }

  /** Their messages. */
  get messages(): number {
    return this.#store.messages;
  }

  // ---- held

  /** Whether a record is of sessions. */
  has(kind: number): boolean {
    return kind >= RecordKind.Session && kind <= RecordKind.SessionNumbers;
  }

  /** A snapshot begins, ends, or a record of a session came; 0, or a negated Fault. */
  apply(kind: number, from: Region, at: number, end: number): number {
    if (kind === RecordKind.SnapshotBegin) this.#store.begin();
    else if (kind === RecordKind.SnapshotEnd) this.#store.end();
    else if (this.has(kind)) return this.#store.apply(kind, from, at, end);
    return 0;
  }

  /** Forgets what is held. */
  clear(): void {
    this.#store.clear();
  }

  // ---- running

  /** A fresh messenger goes on with what is held, unless its peers may have seen more. */
  adoptInto(messenger: Messenger): void {
    if (this.#window === 0) this.#store.adoptInto(messenger, nowMs());
    this.#store.clear();
    this.#journal = messenger.journal;
    if (this.#journal !== null) this.#journal.window = this.#window;
  }

  /** The messenger is gone. */
  stop(): void {
    this.#journal = null;
    this.#marks = [];
  }

  /** To be called after each turn of the messenger: what changed leaves for the other box. */
  write(link: CargoLink): void {
    const journal = this.#journal;
    if (journal === null || !journal.dirty || !link.follows) return;
    const mark = journal.write(link.writer, () => link.flush());
    this.#sent(link.flush(), mark);
  }

  /**
   * Closes the gates and writes all sessions; the serial of their last post, 0 when there are none.
   * -1: a batch is out, it is to be called again.
   */
  writeSnapshot(writer: PostWriter, flush: () => number): number {
    const journal = this.#journal;
    if (journal === null) return -1;
    journal.gate();
    const mark = journal.snapshot(writer, flush);
    if (mark === 0) return -1;
    const serial = flush();
    this.#sent(serial, mark);
    return serial;
  }

  /** The other box has all posts up to this serial; whether gates opened. */
  handleAcked(serial: number): boolean {
    let count = 0;
    for (const { atMs, mark, serial: sent } of this.#marks) {
      if (sent > serial) break;
      count++;
      this.latencyMs = nowMs() - atMs;
      this.#journal?.release(mark);
    }
    this.#marks.splice(0, count);
    return count > 0;
  }

  /** What was on its way never comes: only {@linkcode handleAlone} opens those gates. */
  handleLost(): void {
    this.#marks = [];
  }

  /** Nobody waits for the other box any more. */
  handleAlone(): void {
    this.#marks = [];
    this.#journal?.releaseAll();
  }

  #sent(serial: number, mark: number): void {
    if (serial > 0) this.#marks.push({ serial, mark, atMs: nowMs() });
  }
}
