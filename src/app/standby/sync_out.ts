/**
 * The posts of an active box: what is written into {@linkcode SyncOut.writer} leaves as a post with the
 * next number of its term, and comes back as acknowledged. xfrm_sync.txt leaves open how boxes tell
 * each other; ours is wire/standby/post.ts over a msgr2 session.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import { SyncSender } from "../../proto/standby/sync_stream.ts";
import { PostWriter } from "../../wire/standby/post.ts";
import type { PairLink } from "./pair_link.ts";

/** Posts and bytes that the other box has not acknowledged: then no more is sent. */
const POSTS_MAX = 4096;
const BYTES_MAX = 32 * 1024 * 1024;

/** Numbers and sends posts. */
export class SyncOut {
  /** Where records are written. */
  readonly writer = new PostWriter();
  /** Bytes of all posts. */
  bytes = 0;
  /** Posts that found no room although there should have been some. */
  lost = 0;
  readonly #sender = new SyncSender(POSTS_MAX, BYTES_MAX);
  readonly #link: PairLink;
  #term = 0;
  /** Since when the other box has acknowledged nothing although there is something. */
  #stalledMs = Infinity;
  /** Serial of the link's post before the one with number 1. */
  #base = 0;
  #lastSerial = 0;

  /** @param link takes the posts */
  constructor(link: PairLink) {
    this.#link = link;
  }

  /** True until a snapshot is begun. */
  get snapshotNeeded(): boolean {
    return this.#sender.snapshotNeeded;
  }

  /** Snapshots begun. */
  get snapshots(): number {
    return this.#sender.snapshots;
  }

  /** True when the other box has to acknowledge something first. */
  get full(): boolean {
    return this.#sender.full;
  }

  /** Number of the last post. */
  get sent(): number {
    return this.#sender.sent;
  }

  /** Number of the last post that the other box has. */
  get acked(): number {
    return this.#sender.acked;
  }

  /** Bytes on the way. */
  get unackedBytes(): number {
    return this.#sender.unackedBytes;
  }

  /** How long it has acknowledged nothing of what is on its way. */
  stalledFor(now: number): number {
    return Math.max(0, now - this.#stalledMs);
  }

  /** Nothing that was sent counts any more: a new session, a RESYNC, a new term. */
  needSnapshot(): void {
    this.#sender.needSnapshot();
  }

  /** The next post begins a snapshot of this term. */
  begin(term: number): void {
    this.#term = term;
    this.#base = this.#lastSerial;
    this.#stalledMs = Infinity;
    this.#sender.begin();
  }

  /** Sends what was written; its serial, or 0 when nothing was or nothing can be. */
  flush(): number {
    const { writer } = this;
    if (writer.count === 0) return 0;
    const sender = this.#sender;
    if (sender.snapshotNeeded || sender.full) {
      writer.take(0, 0);
      sender.needSnapshot();
      this.lost++;
      return 0;
    }
    const post = writer.take(this.#term, sender.next(writer.size));
    const serial = this.#link.post(post);
    if (serial === 0) {
      sender.needSnapshot();
      this.lost++;
      return 0;
    }
    this.bytes += post.length;
    if (this.#stalledMs === Infinity) this.#stalledMs = nowMs();
    this.#lastSerial = serial;
    return serial;
  }

  /** The other box has everything up to this serial. */
  handleAcknowledged(serial: number): void {
    if (serial > this.#base) this.#sender.handleAcked(serial - this.#base);
    this.#stalledMs = this.#sender.unackedPosts > 0 ? nowMs() : Infinity;
  }
}
