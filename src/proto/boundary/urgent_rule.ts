/**
 * The detection rule of draft-wakeley-iscsi-msgbndry-00 section 3.3 for one direction: which bytes
 * urgent pointers name as starts of messages. Read this before touching it:
 *
 * 1. Only what follows a hole, or joined late, is ever asked for (section 4): the owner gives bytes
 *    while the side is lost, and asks {@linkcode UrgentRule.names} then.
 * 2. No flag, no pointer: the owner calls {@linkcode UrgentRule.handleUrgent} for segments with URG.
 * 3. A pointer of 0xffff only says "at least so far": nothing.
 * 4. A pointer to what was told or forgotten already: nothing.
 * 5. The byte is not there yet: the pointer waits for it, WAITING_MAX at most and WAITING_NS at most.
 * 6. Bit 7 of the byte: clear, the message starts there; set, one byte before it.
 * 7. Whoever asks checks the header. Both places are offered, as the bits of RFC 7143 are not the
 *    draft's: two thirds of its PDUs have bit 7 of the second byte clear (measured).
 * 8. From the start on the owner goes by lengths.
 *
 * Offsets count in the stream; the sequence numbers behind them wrap in proto/capture/tcp_stream.ts.
 *
 * @module
 */
import { arena } from "../../mem/arena.ts";
import { POINTER_CLAMPED, Reading, readingOf } from "../../wire/iscsi/urgent_start.ts";
import type { UrgentStarts } from "./side_decoder.ts";

/** Pointers that wait for their byte. */
const WAITING_MAX = 64;
/** How long, in the time of the capture. */
const WAITING_NS = 5_000_000_000;
/** Pointers with a byte that are remembered. */
const POINTED_MAX = 128;
/** Starts that wait to be polled. */
const RAW_MAX = 128;

/** Pointers of one direction. */
export class UrgentRule implements UrgentStarts {
  /** What came of the pointers that were seen. */
  readonly counters = {
    /** Segments with URG. */
    pointers: 0,
    /** Of them with 0xffff. */
    clamped: 0,
    /** To bytes that were told, forgotten or never captured. */
    outside: 0,
    /** Seen before, in a retransmission or in another segment. */
    repeated: 0,
    /** Given up before their byte came. */
    expired: 0,
    /** Bytes with bit 7 clear: the message starts there. */
    clear: 0,
    /** Bytes with bit 7 set: the message starts one before. */
    set: 0,
  };

  // Lists, not tables of their greatest size: most connections with pointers have but a few.
  readonly #waiting: number[] = [];
  readonly #waitingSince: number[] = [];
  #waitingCount = 0;

  // Places that pointers name, whose byte was there: a ring.
  readonly #pointed: number[] = [];
  #newest = 0;

  readonly #raw: number[] = [];
  #rawFirst = 0;
  #rawCount = 0;

  /** What lies before is told or forgotten. */
  #oldest = 0;
  /** The bytes that were given last end here. */
  #reached = -1;

  /** A segment with URG: its place in the stream, its bytes and its pointer. */
  handleUrgent(offset: number, _length: number, pointer: number, timeNs: number): void {
    this.counters.pointers++;
    this.#expire(timeNs);
    if (pointer === POINTER_CLAMPED) {
      this.counters.clamped++;
      return;
    }
    const place = offset + pointer;
    if (place < this.#oldest || place < this.#reached) {
      if (this.#isPointed(place)) this.counters.repeated++;
      else this.counters.outside++;
      return;
    }
    if (this.#isWaiting(place)) {
      this.counters.repeated++;
      return;
    }
    if (this.#waitingCount === WAITING_MAX) this.#drop(0);
    this.#waiting[this.#waitingCount] = place;
    this.#waitingSince[this.#waitingCount++] = timeNs;
  }

  /** Bytes [at, end) of the arena are the stream's from `offset` on: tests the pointers to them. */
  handleBytes(at: number, end: number, offset: number): void {
    const reached = offset + end - at;
    let kept = 0;
    for (let index = 0; index < this.#waitingCount; index++) {
      const place = this.#waiting[index]!;
      if (place >= reached) {
        this.#waiting[kept] = place;
        this.#waitingSince[kept++] = this.#waitingSince[index]!;
      } else if (place < offset) this.counters.outside++;
      else this.#test(place, arena.bytes[at + place - offset]!, offset);
    }
    this.#waitingCount = kept;
    if (reached > this.#reached) this.#reached = reached;
  }

  /** Whether a pointer names `offset` as a start, by either reading: the header there decides. */
  names(offset: number): boolean {
    return this.#find(offset) >= 0 || this.#find(offset + 1) >= 0;
  }

  /**
   * The next start that the rule gives by bit 7 alone, before any header was looked at: what the
   * draft is worth by itself. -1 when there is none; the oldest are dropped when nobody asks.
   */
  pollStart(): number {
    if (this.#rawCount === 0) return -1;
    const start = this.#raw[this.#rawFirst]!;
    this.#rawFirst = (this.#rawFirst + 1) % RAW_MAX;
    this.#rawCount--;
    return start;
  }

  /** The stream is told up to `offset`: pointers to what lies before are of no use. */
  forget(offset: number): void {
    if (offset <= this.#oldest) return;
    this.#oldest = offset;
    let kept = 0;
    for (let index = 0; index < this.#waitingCount; index++) {
      if (this.#waiting[index]! < offset) {
        this.counters.outside++;
        continue;
      }
      this.#waiting[kept] = this.#waiting[index]!;
      this.#waitingSince[kept++] = this.#waitingSince[index]!;
    }
    this.#waitingCount = kept;
  }

  #test(place: number, byte: number, offset: number): void {
    const isBsd = readingOf(byte) === Reading.Bsd;
    if (isBsd) this.counters.set++;
    else this.counters.clear++;
    this.#pointed[this.#newest] = place;
    this.#newest = (this.#newest + 1) % POINTED_MAX;
    // The byte before these may be in a hole: then the start is not there to be read.
    if (isBsd && place === offset && this.#reached !== offset) return;
    this.#pushRaw(isBsd ? place - 1 : place);
  }

  #pushRaw(start: number): void {
    if (this.#rawCount === RAW_MAX) {
      this.#rawFirst = (this.#rawFirst + 1) % RAW_MAX;
      this.#rawCount--;
    }
    this.#raw[(this.#rawFirst + this.#rawCount++) % RAW_MAX] = start;
  }

  #find(place: number): number {
    return this.#pointed.indexOf(place);
  }

  #isPointed(place: number): boolean {
    return this.#find(place) >= 0;
  }

  #isWaiting(place: number): boolean {
    for (let index = 0; index < this.#waitingCount; index++) {
      if (this.#waiting[index] === place) return true;
    }
    return false;
  }

  #expire(nowNs: number): void {
    while (this.#waitingCount > 0 && nowNs - this.#waitingSince[0]! > WAITING_NS) this.#drop(0);
  }

  #drop(index: number): void {
    this.counters.expired++;
    this.#waiting.splice(index, 1);
    this.#waitingSince.splice(index, 1);
    this.#waitingCount--;
  }
}
