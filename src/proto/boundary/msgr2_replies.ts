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

/** Places in each table; a power of two, so that numbers in sequence do not meet. */
const PLACES = 1024;

/** Not answered, or not seen. */
export const UNANSWERED = -1;

/** What one side has sent that waits for an answer. Times are nanoseconds of the capture. */
export class SentBySide {
  readonly #seqs = new Float64Array(PLACES);
  readonly #seqTimes = new Float64Array(PLACES);
  readonly #tids = new Int32Array(PLACES * 2);
  readonly #tidTimes = new Float64Array(PLACES).fill(UNANSWERED);
  readonly #stamps = new Float64Array(PLACES * 2);
  readonly #stampTimes = new Float64Array(PLACES).fill(UNANSWERED);

  /** A message was sent. */
  noteSeq(seq: number, timeNs: number): void {
    const place = seq % PLACES;
    this.#seqs[place] = seq;
    this.#seqTimes[place] = timeNs;
  }

  /** When the message `seq` was sent; {@linkcode UNANSWERED} when it was not seen. */
  takeSeq(seq: number): number {
    const place = seq % PLACES;
    if (seq === 0 || this.#seqs[place] !== seq) return UNANSWERED;
    this.#seqs[place] = 0;
    return this.#seqTimes[place]!;
  }

  /** A message with a tid was sent that answers nothing itself. */
  noteTid(tid: U64, timeNs: number): void {
    const place = placeOf(tid.lo, tid.hi);
    this.#tids[2 * place] = tid.lo;
    this.#tids[2 * place + 1] = tid.hi;
    this.#tidTimes[place] = timeNs;
  }

  /** When the message with `tid` was sent; it is answered now. */
  takeTid(tid: U64): number {
    const place = placeOf(tid.lo, tid.hi);
    if (this.#tids[2 * place] !== tid.lo || this.#tids[2 * place + 1] !== tid.hi) {
      return UNANSWERED;
    }
    const timeNs = this.#tidTimes[place]!;
    this.#tidTimes[place] = UNANSWERED;
    return timeNs;
  }

  /** A KEEPALIVE2 was sent. */
  noteStamp(seconds: number, nanoseconds: number, timeNs: number): void {
    const place = placeOf(seconds, nanoseconds);
    this.#stamps[2 * place] = seconds;
    this.#stamps[2 * place + 1] = nanoseconds;
    this.#stampTimes[place] = timeNs;
  }

  /** When the KEEPALIVE2 with this stamp was sent; it is answered now. */
  takeStamp(seconds: number, nanoseconds: number): number {
    const place = placeOf(seconds, nanoseconds);
    if (
      this.#stamps[2 * place] !== seconds || this.#stamps[2 * place + 1] !== nanoseconds
    ) return UNANSWERED;
    const timeNs = this.#stampTimes[place]!;
    this.#stampTimes[place] = UNANSWERED;
    return timeNs;
  }
}

function placeOf(lo: number, hi: number): number {
  return (lo ^ hi ^ (hi >>> 10)) & (PLACES - 1);
}
