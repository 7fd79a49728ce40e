/**
 * What answers what between the two sides of a connection of msgr2 ("Message exchange"), and after
 * how long: ACK the message of its seq, KEEPALIVE2_ACK the KEEPALIVE2 of its stamp, a message the
 * one of the other side with its tid. Tables of a fixed size: the newest entry takes the place.
 *
 * Latency counts from the last byte of what is answered to the first byte of the answer.
 *
 * @module
 */
import type { U64 } from "../../mem/u64.ts";

/** Places for seqs and for tids; a power of two, so that numbers in sequence do not meet. */
const PLACES = 1024;
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
    this.#seqs ??= newTable(PLACES);
    note(this.#seqs, seq % PLACES, seq, 0, timeNs);
  }

  /** When the message `seq` was sent; it is answered now. */
  takeSeq(seq: number): number {
    return take(this.#seqs, seq % PLACES, seq, 0);
  }

  /** A message with a tid was sent that answers nothing itself. */
  noteTid(tid: U64, timeNs: number): void {
    this.#tids ??= newTable(PLACES);
    note(this.#tids, placeOf(tid.lo, tid.hi, PLACES), tid.lo, tid.hi, timeNs);
  }

  /** When the message with `tid` was sent; it is answered now. */
  takeTid(tid: U64): number {
    return take(this.#tids, placeOf(tid.lo, tid.hi, PLACES), tid.lo, tid.hi);
  }

  /** A KEEPALIVE2 was sent. */
  noteStamp(seconds: number, nanoseconds: number, timeNs: number): void {
    this.#stamps ??= newTable(STAMP_PLACES);
    const place = placeOf(seconds, nanoseconds, STAMP_PLACES);
    note(this.#stamps, place, seconds, nanoseconds, timeNs);
  }

  /** When the KEEPALIVE2 with this stamp was sent; it is answered now. */
  takeStamp(seconds: number, nanoseconds: number): number {
    const place = placeOf(seconds, nanoseconds, STAMP_PLACES);
    return take(this.#stamps, place, seconds, nanoseconds);
  }
}

// A place has three numbers: two that name it, and the time, which is UNANSWERED when it is free.

function newTable(places: number): Float64Array {
  return new Float64Array(3 * places).fill(UNANSWERED);
}

function note(table: Float64Array, place: number, lo: number, hi: number, timeNs: number): void {
  table[3 * place] = lo;
  table[3 * place + 1] = hi;
  table[3 * place + 2] = timeNs;
}

function take(table: Float64Array | null, place: number, lo: number, hi: number): number {
  if (table === null || table[3 * place] !== lo || table[3 * place + 1] !== hi) return UNANSWERED;
  const timeNs = table[3 * place + 2]!;
  table[3 * place + 2] = UNANSWERED;
  return timeNs;
}

function placeOf(lo: number, hi: number, places: number): number {
  return (lo ^ hi ^ (hi >>> 10)) & (places - 1);
}
