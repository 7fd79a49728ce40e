/**
 * The numbers of the posts between two boxes (wire/standby/post.ts): given by {@linkcode SyncSender},
 * judged by {@linkcode SyncReceiver}. The post with number 1 begins a snapshot, and every further one
 * has the next number, whether it is of the snapshot or an increment after it.
 *
 *     sender    needs a snapshot ──begin()──> 1, 2, 3, … ──new session, RESYNC──> needs a snapshot
 *     receiver  waiting ──1──> following ──next──> following ──gap, bad record──> waiting
 *
 * A receiver that waits takes nothing but number 1, and one that follows takes no second number 1:
 * a sender that begins anew by itself says RESYNC before (words.ts), as `expectSnapshot()` hears.
 *
 * @module
 */
import { assert } from "../../mem/assert.ts";
import type { PostHead } from "../../wire/standby/post.ts";

/** What is to be done with a post. */
export const SyncVerdict = {
  /** Check its records, and apply them all. */
  Apply: 0,
  /** It is of an earlier term: its sender is not active any more. */
  StaleTerm: 1,
  /** It is of a term that was not heard of. */
  UnknownTerm: 2,
  /** Its number was taken before. */
  Duplicate: 3,
  /** Posts before it are missing: ask for a snapshot. */
  Gap: 4,
  /** A snapshot is awaited, and it does not begin one. */
  Waiting: 5,
} as const;

/** What a receiver holds of the sender's state. */
export const SnapshotState = { None: 0, Coming: 1, Whole: 2 } as const;

/** Gives numbers. */
export class SyncSender {
  /** Number of the last post; 0 before the first. */
  sent = 0;
  /** Number up to which the other box has them. */
  acked = 0;
  /** Bytes of the posts after that. */
  unackedBytes = 0;
  /** Snapshots begun. */
  snapshots = 0;
  #snapshotNeeded = true;
  readonly #bytesMax: number;
  /** Sizes of unacknowledged posts; that of number n is at n modulo its length. */
  readonly #sizes: Float64Array;

  /** Bounds of what may be unacknowledged before {@linkcode full}. */
  constructor(postsMax: number, bytesMax: number) {
    assert(postsMax > 0 && bytesMax > 0, "a sender may send something");
    this.#sizes = new Float64Array(postsMax);
    this.#bytesMax = bytesMax;
  }

  /** True until {@linkcode begin} after a new session or a RESYNC. */
  get snapshotNeeded(): boolean {
    return this.#snapshotNeeded;
  }

  /** Posts that the other box does not have. */
  get unackedPosts(): number {
    return this.sent - this.acked;
  }

  /** True when nothing more is to be sent before something is acknowledged. */
  get full(): boolean {
    return this.unackedPosts >= this.#sizes.length || this.unackedBytes >= this.#bytesMax;
  }

  /** A session that does not go on with an earlier one, a RESYNC, or a new term. */
  needSnapshot(): void {
    this.#snapshotNeeded = true;
  }

  /** A snapshot begins: its first post gets number 1. */
  begin(): void {
    this.#snapshotNeeded = false;
    this.sent = 0;
    this.acked = 0;
    this.unackedBytes = 0;
    this.snapshots++;
  }

  /** The number of a post that is sent now; not while {@linkcode full}, nor before a snapshot. */
  next(bytes: number): number {
    assert(!this.full && !this.#snapshotNeeded, "a post is numbered in its turn");
    this.sent++;
    this.#sizes[this.sent % this.#sizes.length] = bytes;
    this.unackedBytes += bytes;
    return this.sent;
  }

  /** The other box has this snapshot up to this number; one that was never sent changes nothing. */
  handleAcked(number: number): void {
    if (number > this.sent) return;
    while (this.acked < number) {
      this.acked++;
      this.unackedBytes -= this.#sizes[this.acked % this.#sizes.length]!;
    }
  }
}

/** Judges numbers. */
export class SyncReceiver {
  /** Number of the last post that was applied; 0 while a snapshot is awaited. */
  holds = 0;
  /** Posts by verdict. */
  readonly counts: number[] = new Array(Object.keys(SyncVerdict).length).fill(0);
  /** Posts that had a bad record. */
  bad = 0;
  /** Times at which it lost its place: the session ends, and a snapshot begins the next one. */
  resyncs = 0;
  #term = 0;
  #waiting = true;
  #snapshot: number = SnapshotState.None;
  #wholeTerm = -1;

  /** Of the snapshot that was begun last. */
  get snapshot(): number {
    return this.#snapshot;
  }

  /** Term of the last whole snapshot, which goes on being held while the next one comes; -1: none. */
  get wholeTerm(): number {
    return this.#wholeTerm;
  }

  /** The term that the election knows: posts of others are refused. */
  setTerm(term: number): void {
    if (term === this.#term) return;
    this.#term = term;
    this.expectSnapshot();
  }

  /** A session that does not go on with an earlier one, or the sender's RESYNC: number 1 is next. */
  expectSnapshot(): void {
    this.#waiting = true;
    this.holds = 0;
    if (this.#snapshot === SnapshotState.Coming) this.#snapshot = SnapshotState.None;
  }

  /** What was held is gone: it was taken over from, or its SAs were deleted. */
  forget(): void {
    this.expectSnapshot();
    this.#snapshot = SnapshotState.None;
    this.#wholeTerm = -1;
  }

  /** One of {@linkcode SyncVerdict}; after Apply the post counts as held, unless it was bad. */
  judge(head: PostHead): number {
    const verdict = this.#verdict(head);
    this.counts[verdict]!++;
    if (verdict === SyncVerdict.Apply) {
      this.holds = head.number;
      this.#waiting = false;
      if (head.number === 1) this.#snapshot = SnapshotState.Coming;
    } else if (verdict === SyncVerdict.Gap) this.#lose();
    return verdict;
  }

  /** The post that was judged last has a bad record: nothing of it was applied. */
  handleBad(): void {
    this.bad++;
    this.#lose();
  }

  /** The end of a snapshot was applied. */
  handleSnapshotEnd(): void {
    if (this.#snapshot !== SnapshotState.Coming) return;
    this.#snapshot = SnapshotState.Whole;
    this.#wholeTerm = this.#term;
  }

  #verdict({ term, number }: PostHead): number {
    if (term < this.#term) return SyncVerdict.StaleTerm;
    if (term > this.#term) return SyncVerdict.UnknownTerm;
    if (this.#waiting) return number === 1 ? SyncVerdict.Apply : SyncVerdict.Waiting;
    if (number <= this.holds) return SyncVerdict.Duplicate;
    return number === this.holds + 1 ? SyncVerdict.Apply : SyncVerdict.Gap;
  }

  #lose(): void {
    this.expectSnapshot();
    this.resyncs++;
  }
}
