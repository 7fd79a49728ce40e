/**
 * What one box of a pair sends the other: posts of records. A post is the front of a message of type
 * SYNC on the session between them, and is applied as a whole or not at all:
 *
 *     u8 version | u8 flags | u16 0 | u32 count | u64 term | u64 number | records
 *     record: u32 length of the body | u8 kind | u8 flags | u16 0 | body, padded to 4
 *
 * Little-endian. `term` is the sender's; posts of one term are numbered from 1 after each snapshot's
 * beginning, without gaps, so that whoever holds them sees what is stale, doubled or missing.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import { newRegion, type Region } from "../../mem/region.ts";
import { readCounter, writeCounter } from "../../mem/u64.ts";

const VERSION = 1;
const COUNT = 4;
const TERM = 8;
const NUMBER = 16;
/** Bytes of a post's head. */
export const POST_HEAD_SIZE = 24;
const KIND = 4;
const RECORD_HEAD_SIZE = 8;
const FIRST_BYTES = 64 * 1024;
/** A post that is larger is refused; a writer flushes long before. */
export const POST_BYTES_MAX: number = 32 * 1024 * 1024;

/** What a record is about. */
export const RecordKind = {
  /** A snapshot begins: what is held is replaced when it ends. */
  SnapshotBegin: 1,
  /** It ends: what it held is all there is. */
  SnapshotEnd: 2,
  /** An SA: the body of its XFRM_MSG_NEWSA (sa_record.ts). */
  Sa: 16,
  /** An SA is gone. */
  SaGone: 17,
  /** Where an SA is: the body of an XFRM_MSG_NEWAE, and how fast it moves. */
  SaState: 18,
  /** A policy: the body of its XFRM_MSG_NEWPOLICY. */
  Policy: 19,
  /** A policy is gone. */
  PolicyGone: 20,
  /** A msgr2 session: addresses, cookies, numbers (session_record.ts). */
  Session: 32,
  /** A session is over. */
  SessionGone: 33,
  /** A numbered message that the peer has not acknowledged. */
  SessionMessage: 34,
  /** How far the messages of a session were received and acknowledged. */
  SessionNumbers: 35,
  /** A spool: its id and generation (spool_record.ts). */
  Spool: 48,
  /** A stream of it. */
  SpoolStream: 49,
  /** An envelope of a stream. */
  SpoolEnvelope: 50,
  /** Envelopes of a stream that are deleted. */
  SpoolRemoved: 51,
  /** How far a hub has a stream. */
  SpoolCursor: 52,
  /** Where an input goes on. */
  SpoolPosition: 53,
} as const;

/** Gathers records into a post; its memory is used again for the next one. */
export class PostWriter {
  /** Where the body of a record is written, at the offset that {@linkcode begin} gives. */
  region: Region = newRegion(FIRST_BYTES);
  /** Records in it. */
  count = 0;
  #end = POST_HEAD_SIZE;
  #record = 0;

  /** Bytes written. */
  get size(): number {
    return this.#end;
  }

  /** Begins a record whose body takes at most `bytesMax`; returns where the body begins. */
  begin(kind: number, bytesMax: number): number {
    this.#reserve(RECORD_HEAD_SIZE + bytesMax + 3);
    this.#record = this.#end;
    const { view } = this.region;
    view.setUint32(this.#record, 0, true);
    view.setUint32(this.#record + KIND, kind, true);
    return this.#record + RECORD_HEAD_SIZE;
  }

  /** Ends the record whose body ends at `end`. */
  end(end: number): void {
    const { bytes, view } = this.region;
    view.setUint32(this.#record, end - this.#record - RECORD_HEAD_SIZE, true);
    const next = (end + 3) & ~3;
    bytes.fill(0, end, next);
    this.#end = next;
    this.count++;
  }

  /** A record without a body. */
  mark(kind: number): void {
    this.end(this.begin(kind, 0));
  }

  /** The post with its head, valid until the next {@linkcode begin}; the writer is empty after. */
  take(term: number, number: number): Uint8Array<ArrayBuffer> {
    const { bytes, view } = this.region;
    view.setUint32(0, VERSION, true);
    view.setUint32(COUNT, this.count, true);
    writeCounter(this.region, TERM, term);
    writeCounter(this.region, NUMBER, number);
    const post = bytes.subarray(0, this.#end);
    this.#end = POST_HEAD_SIZE;
    this.count = 0;
    return post;
  }

  #reserve(bytes: number): void {
    const wanted = this.#end + bytes;
    if (wanted <= this.region.bytes.length) return;
    const grown = newRegion(Math.max(wanted, this.region.bytes.length * 2));
    grown.bytes.set(this.region.bytes.subarray(0, this.#end));
    this.region = grown;
  }
}

/** The head of a post. */
export class PostHead {
  term = 0;
  number = 0;
  count = 0;
}

/** A record: its body is from `at` to `end`. */
export class PostRecord {
  kind = 0;
  at = 0;
  end = 0;
}

/** Reads a post's head; returns where its first record begins, or a negated {@linkcode Fault}. */
export function readPostHead(from: Region, at: number, end: number, into: PostHead): number {
  const size = end - at;
  if (size < POST_HEAD_SIZE) return fail(Fault.Field, "SYNC length", at, size, "24 or more");
  if (size > POST_BYTES_MAX) return fail(Fault.Large, "SYNC length", at, size, "32 MiB at most");
  const { view } = from;
  const version = view.getUint32(at, true);
  if (version !== VERSION) return fail(Fault.Field, "SYNC version", at, version, `${VERSION}`);
  into.count = view.getUint32(at + COUNT, true);
  into.term = readCounter(from, at + TERM, "SYNC term");
  if (into.term < 0) return into.term;
  into.number = readCounter(from, at + NUMBER, "SYNC number");
  if (into.number < 0) return into.number;
  return checkRecords(from, at + POST_HEAD_SIZE, end, into.count);
}

/** Reads a record of a post whose head was read, which has checked its lengths; returns the next. */
export function readPostRecord(from: Region, at: number, into: PostRecord): number {
  const { view } = from;
  const length = view.getUint32(at, true);
  into.kind = view.getUint8(at + KIND);
  into.at = at + RECORD_HEAD_SIZE;
  into.end = into.at + length;
  return into.at + ((length + 3) & ~3);
}

/** Checks every length before anything is applied; returns `start`, or a negated Fault. */
function checkRecords(from: Region, start: number, end: number, count: number): number {
  let at = start;
  for (let index = 0; index < count; index++) {
    if (end - at < RECORD_HEAD_SIZE) {
      return fail(Fault.Field, "SYNC records", at, index, `${count} as its head says`);
    }
    const length = from.view.getUint32(at, true);
    if (length > end - at - RECORD_HEAD_SIZE) {
      return fail(Fault.Field, "SYNC record length", at, length, "within the post");
    }
    at += RECORD_HEAD_SIZE + ((length + 3) & ~3); // past the end is told below
  }
  if (at !== end) {
    return fail(Fault.Field, "SYNC length", at, end - at, "0 bytes after its records");
  }
  return start;
}
