/**
 * What a session still owes its peer: messages that wait, and messages that were sent and are not
 * acknowledged. msgr2 "Message exchange". A message lies in the arena as a record in which its
 * frame is built in place, so the application's copy is the only one:
 *
 *     meta 80 | head room 80 | front | middle | data, each padded to 16 | room for an epilogue
 *
 * The head of a crc-mode frame ends where the front begins; a secure frame is sealed from here.
 * Data that many messages carry lies outside of their records, see `shared_data.ts`.
 * Records fill blocks of the arena from the bottom; a block goes back when its last record does.
 *
 * @module
 */
import { arena, blockBytes, give, take } from "../../mem/arena.ts";
import { assert } from "../../mem/assert.ts";
import { readCounter, writeCounter } from "../../mem/u64.ts";
import { EPILOGUE_SIZE_MAX, padded } from "../../wire/msgr2/frame.ts";
import { dropShared, sharedCrc, type SharedData } from "./shared_data.ts";

// A block: its live records, and how much of it is used.
const BLOCK_LIVE = 0;
const BLOCK_HEAD = 64;
const BLOCK_BYTES_MIN = 32 * 1024;
/** The arena's first block begins at 0. */
const NO_BLOCK = -1;

// A record's meta, offsets in bytes from its start.
const NEXT = 0;
const BLOCK = 4;
const FRONT_BYTES = 8;
const MIDDLE_BYTES = 12;
const DATA_BYTES = 16;
const TYPE = 20;
const PRIORITY = 22;
const VERSION = 24;
const COMPAT_VERSION = 26;
const TID = 28;
const SEQ = 36;
const CRCS = 44;
const STATE = 56;
const MARK = 60;
const SERIAL = 64;
const BYTES = 68;
const DATA_BLOCK = 72;
const DATA_AT = 76;
const META_SIZE = 80;
const HEAD_SIZE = 80;
const TAIL_SIZE = padded(EPILOGUE_SIZE_MAX);

const CRCS_VALID = 1;
const NUMBERED = 2;
const ABORTED = 4;

/** Priority levels that are told apart; higher ones count as the highest. */
const LEVELS = 256;
const view = arena.view;

/**
 * Messages of one session, waiting or unacknowledged. A record is named by its arena offset.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { arena, Outbox, PRIORITY_DEFAULT, recordFrontAt } from "@fairlead/fairlead";
 *
 * const outbox = new Outbox(1024 * 1024);
 * const record = outbox.reserve(5, 0, 0);
 * arena.bytes.set(new TextEncoder().encode("hello"), recordFrontAt(record));
 * outbox.commit(record, 0xfa00, PRIORITY_DEFAULT, 1, 1, 0, 0);
 * outbox.moveToSent(outbox.peek(), 1); // it leaves as message 1
 * assert.equal(outbox.acknowledge(1), 1);
 * assert.equal(outbox.bytes, 0);
 * outbox.close();
 * ```
 */
export class Outbox {
  /** Messages that wait for their first sending, or for their replay. */
  queued = 0;
  /** Messages sent and not acknowledged. */
  sent = 0;
  /** Bytes of all records. */
  bytes = 0;
  /** What the last {@linkcode reserve} wanted that did not fit into the share; 0 after a success. */
  wanted = 0;
  /** True when the last {@linkcode reserve} failed because the whole arena is full. */
  starved = false;

  /** The most that all records may take. */
  readonly bytesMax: number;
  #block = NO_BLOCK;
  #used = 0;
  #size = 0;
  #serial = 0;
  #sentHead = 0;
  #sentTail = 0;
  #replayHead = 0;
  #replayTail = 0;
  /** True when replays may have no number. */
  #loose = false;
  /** The first message that is numbered and that the session's journal has not written. */
  #unwritten = 0;
  readonly #heads = new Int32Array(LEVELS);
  readonly #tails = new Int32Array(LEVELS);
  readonly #levels = new Int32Array(LEVELS / 32);

  /**
   * Is empty, and takes memory with the first message.
   *
   * @param bytesMax the most that all records of this session may take
   */
  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /**
   * Makes room for a message; returns its record, or 0 when the session's share or the arena is
   * full. Fill the segments, then {@linkcode commit}.
   *
   * @param data length of the data segment, or data that lies elsewhere and is only held
   */
  reserve(frontBytes: number, middleBytes: number, data: number | SharedData): number {
    const shared = typeof data !== "number";
    const dataBytes = shared ? data.length : data;
    const payload = padded(frontBytes) + padded(middleBytes) + (shared ? 0 : padded(dataBytes));
    const bytes = META_SIZE + HEAD_SIZE + payload + TAIL_SIZE;
    this.wanted = this.bytes + bytes > this.bytesMax && this.bytes > 0 ? bytes : 0;
    if (this.wanted > 0) return 0;
    this.starved = this.#used + bytes > this.#size && !this.#takeBlock(bytes);
    if (this.starved) return 0;
    const record = this.#block + this.#used;
    this.#used += bytes;
    this.bytes += bytes;
    view.setInt32(
      this.#block + BLOCK_LIVE,
      view.getInt32(this.#block + BLOCK_LIVE, true) + 1,
      true,
    );
    view.setInt32(record + NEXT, 0, true);
    view.setInt32(record + BLOCK, this.#block, true);
    view.setInt32(record + FRONT_BYTES, frontBytes, true);
    view.setInt32(record + MIDDLE_BYTES, middleBytes, true);
    view.setInt32(record + DATA_BYTES, dataBytes, true);
    view.setInt32(record + STATE, 0, true);
    view.setInt32(record + BYTES, bytes, true);
    view.setInt32(record + DATA_BLOCK, shared ? data.hold() : NO_BLOCK, true);
    const middleAt = recordMiddleAt(record);
    view.setInt32(record + DATA_AT, shared ? data.at : middleAt + padded(middleBytes), true);
    return record;
  }

  /** Queues a reserved message; returns its serial, by which it can be revoked. */
  commit(
    record: number,
    type: number,
    priority: number,
    version: number,
    compatVersion: number,
    tidLo: number,
    tidHi: number,
  ): number {
    view.setUint16(record + TYPE, type, true);
    view.setUint16(record + PRIORITY, priority, true);
    view.setUint16(record + VERSION, version, true);
    view.setUint16(record + COMPAT_VERSION, compatVersion, true);
    view.setInt32(record + TID, tidLo, true);
    view.setInt32(record + TID + 4, tidHi, true);
    this.#serial = this.#serial === 0x7fffffff ? 1 : this.#serial + 1;
    view.setInt32(record + SERIAL, this.#serial, true);
    const level = Math.min(priority, LEVELS - 1);
    if (this.#heads[level] === 0) {
      this.#heads[level] = record;
      this.#levels[level >>> 5] = this.#levels[level >>> 5]! | (1 << (level & 31));
    } else {
      view.setInt32(this.#tails[level]! + NEXT, record, true);
    }
    this.#tails[level] = record;
    this.queued++;
    return this.#serial;
  }

  /** The message to send next, or 0: replays first, then by priority. It stays where it is. */
  peek(): number {
    return this.#replayHead !== 0 ? this.#replayHead : this.#peekLevels();
  }

  #peekLevels(): number {
    for (let word = LEVELS / 32 - 1; word >= 0; word--) {
      const bits = this.#levels[word]!;
      if (bits !== 0) return this.#heads[word * 32 + 31 - Math.clz32(bits)]!;
    }
    return 0;
  }

  /** Moves the message that {@linkcode peek} told to the sent ones, under `seq`. */
  moveToSent(record: number, seq: number): void {
    this.#unlinkFirst(record);
    writeCounter(arena, record + SEQ, seq);
    view.setInt32(record + STATE, view.getInt32(record + STATE, true) | NUMBERED, true);
    if (this.#sentHead === 0) this.#sentHead = record;
    else view.setInt32(this.#sentTail + NEXT, record, true);
    this.#sentTail = record;
    this.queued--;
    this.sent++;
  }

  /** Frees sent messages up to `seq`; returns how many. */
  acknowledge(seq: number): number {
    let count = 0;
    while (this.#sentHead !== 0 && recordSeq(this.#sentHead) <= seq) {
      this.#freeFirstSent();
      count++;
    }
    return count;
  }

  /** Frees replays up to `seq`, which the peer has: what RECONNECT and RECONNECT_OK tell. */
  discardReplays(seq: number): number {
    let count = 0;
    while (this.#replayHead !== 0 && isNumbered(this.#replayHead)) {
      const record = this.#replayHead;
      if (recordSeq(record) > seq) break;
      this.#unlinkFirst(record);
      this.queued--;
      this.#free(record);
      count++;
    }
    return count;
  }

  /**
   * Numbers what has no number, upwards from after `seq`, in the order in which it would be sent,
   * and puts it behind the replays: from now on it goes in this order. Returns the last number.
   */
  number(seq: number): number {
    let last = seq;
    if (this.#loose) {
      this.#loose = false;
      for (let at = this.#replayHead; at !== 0; at = view.getInt32(at + NEXT, true)) {
        if (!isNumbered(at)) this.#setSeq(at, ++last);
      }
    }
    for (let at = this.#peekLevels(); at !== 0; at = this.#peekLevels()) {
      this.#unlinkFirst(at);
      this.#setSeq(at, ++last);
      if (this.#replayHead === 0) this.#replayHead = at;
      else view.setInt32(this.#replayTail + NEXT, at, true);
      this.#replayTail = at;
    }
    return last;
  }

  /** The next message that is numbered and not written into the journal, or 0; it counts as written. */
  takeUnwritten(): number {
    const record = this.#unwritten;
    if (record !== 0) this.#unwritten = view.getInt32(record + NEXT, true);
    return record;
  }

  /** Counts every numbered message as written: a snapshot has them all. */
  setWritten(): void {
    this.#unwritten = 0;
  }

  /** Messages that are numbered and written into the journal. */
  get written(): number {
    let count = 0;
    for (let at = this.nextNumbered(0); at !== 0; at = this.nextNumbered(at)) {
      if (at === this.#unwritten) break;
      count++;
    }
    return count;
  }

  /** The numbered message after `record` in order, from the first for 0; 0 after the last. */
  nextNumbered(record: number): number {
    let at = record === 0 ? this.#sentHead : view.getInt32(record + NEXT, true);
    if (at === 0 && (record === 0 || record === this.#sentTail)) at = this.#replayHead;
    while (at !== 0 && isAborted(at)) {
      at = at === this.#sentTail ? this.#replayHead : view.getInt32(at + NEXT, true);
    }
    return at !== 0 && isNumbered(at) ? at : 0;
  }

  /** The oldest sent message, or 0. */
  firstSent(): number {
    return this.#sentHead;
  }

  /** Frees the oldest sent message: on a lossy session once its bytes are in the kernel. */
  dropFirstSent(): void {
    this.#freeFirstSent();
  }

  /** Puts everything sent in front of what waits, in order; aborted messages are dropped. */
  requeue(): void {
    let record = this.#sentHead;
    let tail = 0;
    let head = 0;
    while (record !== 0) {
      const next = view.getInt32(record + NEXT, true);
      this.sent--;
      if (isAborted(record)) this.#free(record);
      else {
        if (head === 0) head = record;
        else view.setInt32(tail + NEXT, record, true);
        view.setInt32(record + NEXT, 0, true);
        tail = record;
        this.queued++;
      }
      record = next;
    }
    this.#sentHead = 0;
    this.#sentTail = 0;
    if (head === 0) return;
    view.setInt32(tail + NEXT, this.#replayHead, true);
    if (this.#replayHead === 0) this.#replayTail = tail;
    this.#replayHead = head;
  }

  /** Forgets the numbers of the replays: a new session counts from 1. */
  renumber(): void {
    assert(this.sent === 0, "a session is renumbered after its messages were requeued");
    this.#loose = this.#replayHead !== 0;
    for (let at = this.#replayHead; at !== 0; at = view.getInt32(at + NEXT, true)) {
      view.setInt32(at + STATE, view.getInt32(at + STATE, true) & ~NUMBERED, true);
    }
  }

  /**
   * Numbers the replays from 1, for a session that is journaled: whoever has them by their old
   * numbers counts them in the same way. Returns the last number.
   */
  recount(): number {
    assert(this.sent === 0, "a session is renumbered after its messages were requeued");
    let seq = 0;
    for (let at = this.#replayHead; at !== 0; at = view.getInt32(at + NEXT, true)) {
      if (isNumbered(at)) writeCounter(arena, at + SEQ, ++seq);
    }
    return seq;
  }

  /**
   * Takes a message back. Returns its record while it is among the sent ones (the writer must
   * then abort its frame), 0 when it only waited and is gone, -1 when it is not here, or waits
   * for its replay: the peer may have it already, so it is too late.
   */
  revoke(serial: number): number {
    for (let at = this.#sentHead; at !== 0; at = view.getInt32(at + NEXT, true)) {
      if (view.getInt32(at + SERIAL, true) === serial) return at;
    }
    for (let level = 0; level < LEVELS; level++) {
      let before = 0;
      for (let at = this.#heads[level]!; at !== 0; at = view.getInt32(at + NEXT, true)) {
        if (view.getInt32(at + SERIAL, true) === serial) {
          this.#unlinkQueued(level, before, at);
          this.queued--;
          this.#free(at);
          return 0;
        }
        before = at;
      }
    }
    return -1;
  }

  /** Drops everything; returns how many messages that were. */
  clear(): number {
    this.requeue();
    this.#unwritten = 0;
    let count = 0;
    for (let record = this.peek(); record !== 0; record = this.peek()) {
      this.#unlinkFirst(record);
      this.queued--;
      this.#free(record);
      count++;
    }
    return count;
  }

  /** Drops everything and gives all memory back. */
  close(): void {
    this.clear();
    if (this.#block !== NO_BLOCK) give(this.#block);
    this.#block = NO_BLOCK;
    this.#used = 0;
    this.#size = 0;
  }

  #takeBlock(bytes: number): boolean {
    const size = Math.max(BLOCK_BYTES_MIN, bytes + BLOCK_HEAD);
    const block = take(size);
    if (block < 0) return false;
    const old = this.#block;
    if (old !== NO_BLOCK && view.getInt32(old + BLOCK_LIVE, true) === 0) give(old);
    this.#block = block;
    this.#size = blockBytes(size);
    this.#used = BLOCK_HEAD;
    view.setInt32(block + BLOCK_LIVE, 0, true);
    return true;
  }

  #unlinkFirst(record: number): void {
    const next = view.getInt32(record + NEXT, true);
    view.setInt32(record + NEXT, 0, true);
    if (record === this.#replayHead) {
      this.#replayHead = next;
      if (next === 0) this.#replayTail = 0;
      return;
    }
    const level = Math.min(view.getUint16(record + PRIORITY, true), LEVELS - 1);
    assert(this.#heads[level] === record, "only the first message of a level is taken");
    this.#heads[level] = next;
    if (next === 0) this.#levels[level >>> 5] = this.#levels[level >>> 5]! & ~(1 << (level & 31));
  }

  #setSeq(record: number, seq: number): void {
    writeCounter(arena, record + SEQ, seq);
    view.setInt32(record + STATE, view.getInt32(record + STATE, true) | NUMBERED, true);
    if (this.#unwritten === 0) this.#unwritten = record;
  }

  #unlinkQueued(level: number, before: number, record: number): void {
    const next = view.getInt32(record + NEXT, true);
    if (before === 0) this.#heads[level] = next;
    else view.setInt32(before + NEXT, next, true);
    if (next === 0) this.#tails[level] = before;
    if (this.#heads[level] === 0) {
      this.#levels[level >>> 5] = this.#levels[level >>> 5]! & ~(1 << (level & 31));
    }
  }

  #freeFirstSent(): void {
    const record = this.#sentHead;
    this.#sentHead = view.getInt32(record + NEXT, true);
    if (this.#sentHead === 0) this.#sentTail = 0;
    this.sent--;
    this.#free(record);
  }

  #free(record: number): void {
    const block = view.getInt32(record + BLOCK, true);
    const live = view.getInt32(block + BLOCK_LIVE, true) - 1;
    this.bytes -= view.getInt32(record + BYTES, true);
    const dataBlock = view.getInt32(record + DATA_BLOCK, true);
    if (dataBlock !== NO_BLOCK) dropShared(dataBlock);
    view.setInt32(block + BLOCK_LIVE, live, true);
    if (live > 0) return;
    if (block !== this.#block) give(block);
    else if (this.#size === BLOCK_BYTES_MIN) this.#used = BLOCK_HEAD;
    else {
      give(block);
      this.#block = NO_BLOCK;
      this.#used = 0;
      this.#size = 0;
    }
  }
}

/**
 * Arena offset where the front segment of a record begins; the frame's head ends here.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { arena, Outbox, recordFrontAt } from "@fairlead/fairlead";
 *
 * const outbox = new Outbox(1024 * 1024);
 * const record = outbox.reserve(5, 0, 0);
 * const front = new TextEncoder().encode("hello");
 * arena.bytes.set(front, recordFrontAt(record)); // no further copy is made on its way
 * assert.equal(recordFrontAt(record) % 16, 0);
 * outbox.close();
 * ```
 */
export function recordFrontAt(record: number): number {
  return record + META_SIZE + HEAD_SIZE;
}

/**
 * Arena offset where the middle segment of a record begins.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Outbox, recordFrontAt, recordMiddleAt } from "@fairlead/fairlead";
 *
 * const outbox = new Outbox(1024 * 1024);
 * const record = outbox.reserve(5, 20, 0);
 * assert.equal(recordMiddleAt(record), recordFrontAt(record) + 16); // whole blocks of 16
 * outbox.close();
 * ```
 */
export function recordMiddleAt(record: number): number {
  return recordFrontAt(record) + padded(recordFrontBytes(record));
}

/**
 * Arena offset where the data segment of a record begins.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Outbox, recordDataAt, recordMiddleAt } from "@fairlead/fairlead";
 *
 * const outbox = new Outbox(1024 * 1024);
 * const record = outbox.reserve(5, 20, 4096);
 * assert.equal(recordDataAt(record), recordMiddleAt(record) + 32); // whole blocks of 16
 * outbox.close();
 * ```
 */
export function recordDataAt(record: number): number {
  return view.getInt32(record + DATA_AT, true);
}

/** True when the data segment does not lie in the record: see {@linkcode SharedData}. */
export function isDataShared(record: number): boolean {
  return view.getInt32(record + DATA_BLOCK, true) !== NO_BLOCK;
}

/** The crc of a data segment that does not lie in the record. */
export function recordSharedCrc(record: number): number {
  return sharedCrc(view.getInt32(record + DATA_BLOCK, true), recordDataBytes(record));
}

/** Length of the front segment. */
export function recordFrontBytes(record: number): number {
  return view.getInt32(record + FRONT_BYTES, true);
}

/** Length of the middle segment. */
export function recordMiddleBytes(record: number): number {
  return view.getInt32(record + MIDDLE_BYTES, true);
}

/** Length of the data segment. */
export function recordDataBytes(record: number): number {
  return view.getInt32(record + DATA_BYTES, true);
}

/** Message type. */
export function recordType(record: number): number {
  return view.getUint16(record + TYPE, true);
}

/** Message priority. */
export function recordPriority(record: number): number {
  return view.getUint16(record + PRIORITY, true);
}

/** Encoding version. */
export function recordVersion(record: number): number {
  return view.getUint16(record + VERSION, true);
}

/** Oldest compatible encoding version. */
export function recordCompatVersion(record: number): number {
  return view.getUint16(record + COMPAT_VERSION, true);
}

/** Low half of the transaction id. */
export function recordTidLo(record: number): number {
  return view.getInt32(record + TID, true);
}

/** High half of the transaction id. */
export function recordTidHi(record: number): number {
  return view.getInt32(record + TID + 4, true);
}

/** Sequence number, once the record is numbered. */
export function recordSeq(record: number): number {
  return readCounter(arena, record + SEQ, "record seq");
}

/** True when a sequence number was given in this session. */
export function isNumbered(record: number): boolean {
  return (view.getInt32(record + STATE, true) & NUMBERED) !== 0;
}

/** True when the sender took the message back while it was on the wire. */
export function isAborted(record: number): boolean {
  return (view.getInt32(record + STATE, true) & ABORTED) !== 0;
}

/** Notes that the message was taken back. */
export function setAborted(record: number): void {
  view.setInt32(record + STATE, view.getInt32(record + STATE, true) | ABORTED, true);
}

/** The crc of payload segment 1, 2 or 3, or undefined bits until {@linkcode setRecordCrcs}. */
export function recordCrc(record: number, segment: number): number {
  return view.getInt32(record + CRCS + (segment - 1) * 4, true);
}

/** True when the crcs of the payload are known, as they are before a replay. */
export function hasCrcs(record: number): boolean {
  return (view.getInt32(record + STATE, true) & CRCS_VALID) !== 0;
}

/** Keeps the crcs of the payload, so that a replay need not compute them. */
export function setRecordCrcs(record: number, crc1: number, crc2: number, crc3: number): void {
  view.setInt32(record + CRCS, crc1, true);
  view.setInt32(record + CRCS + 4, crc2, true);
  view.setInt32(record + CRCS + 8, crc3, true);
  view.setInt32(record + STATE, view.getInt32(record + STATE, true) | CRCS_VALID, true);
}

/** The gather mark after the record's frame. */
export function recordMark(record: number): number {
  return view.getInt32(record + MARK, true);
}

/** Keeps the gather mark after the record's frame. */
export function setRecordMark(record: number, mark: number): void {
  view.setInt32(record + MARK, mark, true);
}
