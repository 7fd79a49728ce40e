/**
 * What answers what between the two sides of a connection of msgr2 ("Message exchange"), and after
 * how long: ACK the message of its seq, KEEPALIVE2_ACK the KEEPALIVE2 of its stamp, a message the
 * one of the other side with its tid. Tables of bounded size: the newest entry takes the place.
 *
 * Latency counts from the last byte of what is answered to the first byte of the answer.
 *
 * @module
 */
import type { U64 } from "../../mem/u64.ts";

/** Places for seqs and for tids; powers of two, so that numbers in sequence do not meet. */
const PLACES_MIN = 16;
const PLACES_MAX = 1024;
/** Places for stamps: one KEEPALIVE2 is under way as a rule. */
const STAMP_PLACES = 16;

/** Not answered, or not seen. */
export const UNANSWERED = -1;

/** What one side has sent that waits for an answer. Times are nanoseconds of the capture. */
export class SentBySide {
  // Taken when the first one comes, as many connections have only one kind, or none.
  #seqs: Float64Array | null = null;
  #tids: Float64Array | null = null;
  #stamps: Float64Array | null = null;

  /** A message was sent. */
  noteSeq(seq: number, timeNs: number): void {
    this.#seqs = note(this.#seqs, seq, 0, timeNs, PLACES_MAX);
  }

  /** When the message `seq` was sent; it is answered now. */
  takeSeq(seq: number): number {
    return take(this.#seqs, seq, 0);
  }

  /** A message with a tid was sent that answers nothing itself. */
  noteTid(tid: U64, timeNs: number): void {
    this.#tids = note(this.#tids, tid.lo, tid.hi, timeNs, PLACES_MAX);
  }

  /** When the message with `tid` was sent; it is answered now. */
  takeTid(tid: U64): number {
    return take(this.#tids, tid.lo, tid.hi);
  }

  /** A KEEPALIVE2 was sent. */
  noteStamp(seconds: number, nanoseconds: number, timeNs: number): void {
    this.#stamps = note(this.#stamps, seconds, nanoseconds, timeNs, STAMP_PLACES);
  }

  /** When the KEEPALIVE2 with this stamp was sent; it is answered now. */
  takeStamp(seconds: number, nanoseconds: number): number {
    return take(this.#stamps, seconds, nanoseconds);
  }
}

// A place has three numbers: two that name it, and the time, which is UNANSWERED when it is free.

function newTable(places: number): Float64Array {
  return new Float64Array(3 * places).fill(UNANSWERED);
}

/** Writes an entry; a table in which something waits at its place grows first, up to `placesMax`. */
function note(
  table: Float64Array | null,
  lo: number,
  hi: number,
  timeNs: number,
  placesMax: number,
): Float64Array {
  let into = table ?? newTable(PLACES_MIN);
  let at = placeOf(lo, hi, into);
  while (into[at + 2] !== UNANSWERED && into.length < 3 * placesMax) {
    into = enlarged(into);
    at = placeOf(lo, hi, into);
  }
  into[at] = lo;
  into[at + 1] = hi;
  into[at + 2] = timeNs;
  return into;
}

function take(table: Float64Array | null, lo: number, hi: number): number {
  if (table === null) return UNANSWERED;
  const at = placeOf(lo, hi, table);
  if (table[at] !== lo || table[at + 1] !== hi) return UNANSWERED;
  const timeNs = table[at + 2]!;
  table[at + 2] = UNANSWERED;
  return timeNs;
}

/** Twice the places: what shared none before shares none then. */
function enlarged(table: Float64Array): Float64Array {
  const larger = newTable(table.length / 3 * 2);
  for (let from = 0; from < table.length; from += 3) {
    if (table[from + 2] === UNANSWERED) continue;
    larger.set(table.subarray(from, from + 3), placeOf(table[from]!, table[from + 1]!, larger));
  }
  return larger;
}

/** Where in a table an entry has its place. */
function placeOf(lo: number, hi: number, table: Float64Array): number {
  return 3 * ((lo ^ hi ^ (hi >>> 10)) & (table.length / 3 - 1));
}
