/**
 * The way from an active box's journal to a standby's store, in virtual time: posts arrive late, in
 * order, and what they acknowledge later still.
 *
 * @module
 */
import { assert } from "../../src/mem/assert.ts";
import { regionOf } from "../../src/mem/region.ts";
import type { SessionJournal } from "../../src/proto/msgr2/session_journal.ts";
import { SessionStore } from "../../src/proto/msgr2/session_store.ts";
import {
  PostHead,
  PostRecord,
  PostWriter,
  readPostHead,
  readPostRecord,
  RecordKind,
} from "../../src/wire/standby/post.ts";

interface Post {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** What its acknowledgement releases; 0 for all but the last of a write. */
  readonly mark: number;
  readonly arrivesMs: number;
}

interface Release {
  readonly mark: number;
  readonly arrivesMs: number;
}

/** Applies a post as a standby does; the first fault, or 0. */
export function applyPost(store: SessionStore, bytes: Uint8Array<ArrayBuffer>): number {
  const from = regionOf(bytes);
  const head = new PostHead();
  const record = new PostRecord();
  let at = readPostHead(from, 0, bytes.length, head);
  for (let index = 0; index < head.count && at >= 0; index++) {
    at = readPostRecord(from, at, record);
    if (record.kind === RecordKind.SnapshotBegin) store.begin();
    else if (record.kind === RecordKind.SnapshotEnd) store.end();
    else {
      const fault = store.apply(record.kind, from, record.at, record.end);
      if (fault < 0) return fault;
    }
  }
  return Math.min(at, 0);
}

/** A standby behind a slow link. */
export class Mirror {
  readonly store = new SessionStore();
  /** True: nothing arrives, neither way. */
  stalled = false;
  /** Posts on their way. */
  readonly posts: Post[] = [];
  readonly #releases: Release[] = [];
  readonly #writer = new PostWriter();
  readonly #journal: SessionJournal;
  readonly #delayMs: () => number;
  #snapshotDue = true;
  #number = 0;

  constructor(journal: SessionJournal, delayMs: () => number) {
    this.#journal = journal;
    this.#delayMs = delayMs;
    journal.gate();
  }

  /** Writes what is due. */
  write(nowMs: number): void {
    const journal = this.#journal;
    if (!this.#snapshotDue && !journal.dirty) return;
    const flush = (): void => this.#post(0, nowMs);
    let mark: number;
    if (this.#snapshotDue) {
      this.#writer.mark(RecordKind.SnapshotBegin);
      mark = journal.snapshot(this.#writer, flush);
      if (mark === 0) {
        this.#writer.take(1, 0);
        return;
      }
      this.#writer.mark(RecordKind.SnapshotEnd);
      this.#snapshotDue = false;
    } else mark = journal.write(this.#writer, flush);
    this.#post(mark, nowMs);
  }

  /** Delivers posts and acknowledgements that have arrived. */
  deliver(nowMs: number): void {
    if (this.stalled) return;
    while (this.posts.length > 0 && this.posts[0]!.arrivesMs <= nowMs) {
      const { mark } = this.posts[0]!;
      this.applyNext();
      if (mark > 0) this.#releases.push({ mark, arrivesMs: this.#after(this.#releases, nowMs) });
    }
    while (this.#releases.length > 0 && this.#releases[0]!.arrivesMs <= nowMs) {
      this.#journal.release(this.#releases.shift()!.mark);
    }
  }

  /** The next post arrives now, and nothing is acknowledged. */
  applyNext(): void {
    const { bytes } = this.posts.shift()!;
    assert(applyPost(this.store, bytes) === 0, "a standby takes what a journal writes");
  }

  #post(mark: number, nowMs: number): void {
    const bytes = this.#writer.take(1, ++this.#number).slice();
    this.posts.push({ bytes, mark, arrivesMs: this.#after(this.posts, nowMs) });
  }

  #after(queue: readonly { readonly arrivesMs: number }[], nowMs: number): number {
    return Math.max(queue.at(-1)?.arrivesMs ?? 0, nowMs + this.#delayMs());
  }
}
