/**
 * What holds one mirrored session back: nothing leaves before the standby has its record. The
 * records are written by `session_journal.ts`; the connection asks here what it may send. msgr2
 * "Message exchange" and "Message flow handshake" stay as they are: an acknowledgement that comes
 * later, and a message that waits, are what a peer sees of it.
 *
 * @module
 */
import { EntityAddrVec } from "../../wire/msgr2/entity_addrvec.ts";
import { isNumbered, recordSeq } from "./outbox.ts";
import type { Session } from "./session.ts";
import type { SessionJournal } from "./session_journal.ts";

/** How far a session is recorded, and how far the standby has the records. */
export class SessionGate {
  /** Counts changes of what the peer relies on: cookies, epoch, addresses. */
  edition = 0;
  /** The edition that was recorded last. */
  writtenEdition = 0;
  /** Number of the last message that was recorded. */
  writtenSeq = 0;
  /** Number of the last message that was ever put on a wire. */
  sentSeq = 0;
  /** In the journal's list of those to number. */
  unsettled = false;
  /** In the journal's list of those to write. */
  changed = false;
  /** The session has ended: nothing of it is recorded any more. */
  over = false;
  readonly session: Session;
  readonly #journal: SessionJournal;
  #releasedEdition = 0;
  #releasedSeq = 0;
  #releasedIn = 0;

  /** Made by the journal. */
  constructor(session: Session, journal: SessionJournal) {
    this.session = session;
    this.#journal = journal;
  }

  /** False while the standby does not know what the peer is about to rely on. */
  get open(): boolean {
    const { gated, window } = this.#journal;
    return !gated || window > 0 || this.#releasedEdition === this.edition;
  }

  /** True when a message that waits may be sent. */
  lets(record: number): boolean {
    const { gated, window } = this.#journal;
    if (!gated) return true;
    if (!isNumbered(record)) return false;
    const seq = recordSeq(record);
    return seq <= this.#releasedSeq + window && seq <= this.writtenSeq;
  }

  /** True when a message can be taken back although it has a number. */
  get revocable(): boolean {
    return !this.#journal.gated;
  }

  /**
   * The number that may be acknowledged. Never one below what was: a peer whose queue is empty
   * counts on from what RECONNECT_OK tells (Ceph does).
   */
  get ackableSeq(): number {
    const { gated, window } = this.#journal;
    const { takenSeq, ackSentSeq } = this.session;
    if (!gated) return takenSeq;
    return Math.max(ackSentSeq, Math.min(takenSeq, this.#releasedIn + window));
  }

  /** Something was sent or taken over: it is to be numbered and recorded. */
  touch(): void {
    if (!this.unsettled) this.#journal.addUnsettled(this);
  }

  /** Numbers changed that nothing waits for. */
  change(): void {
    if (!this.changed) this.#journal.addChanged(this);
  }

  /** Cookies, epoch or addresses changed: nothing leaves until the standby knows. */
  renew(): void {
    this.edition++;
    this.change();
  }

  /** Keeps the addresses that the peer is told, by which it will look for the session. */
  tell(addrs: EntityAddrVec): void {
    this.session.ownAddrs = EntityAddrVec.of();
    this.session.ownAddrs.copy(addrs);
    this.renew();
  }

  /** Numbers start anew; returns the last one that is given already. */
  restart(): number {
    const { outbox } = this.session;
    let last = 0;
    if (this.#journal.gated) last = outbox.recount();
    else outbox.renumber();
    this.writtenSeq = this.#journal.gated ? outbox.written : 0;
    this.sentSeq = 0;
    this.#releasedSeq = 0;
    this.#releasedIn = 0;
    this.renew();
    return last;
  }

  /** Numbers everything that waits. */
  settle(): void {
    const { session } = this;
    const last = session.outbox.number(session.outSeq);
    session.messagesSent += last - session.outSeq;
    session.outSeq = last;
  }

  /** The standby has everything up to these numbers. */
  release(edition: number, epoch: number, seq: number, inSeq: number): void {
    if (edition > this.#releasedEdition) this.#releasedEdition = edition;
    if (epoch !== this.session.epoch) return;
    if (seq > this.#releasedSeq) this.#releasedSeq = seq;
    if (inSeq > this.#releasedIn) this.#releasedIn = inSeq;
  }

  /** The session goes on from what a standby was told: all of it may have been sent. */
  adopt(): void {
    this.sentSeq = this.session.outSeq;
    this.renew();
  }
}
