/**
 * What a capture shows of the marks of one stream whose message starts are known: which of them some
 * segment's pointer names, and what the rule of draft-wakeley-iscsi-msgbndry-00 section 3.3 makes of the
 * pointers: the byte that is pointed to is the start when its bit 7 is clear, else the one before.
 *
 * @module
 */
import { arena, give, take } from "../../mem/arena.ts";
import { UrgentRule } from "../../proto/boundary/urgent_rule.ts";
import { POINTER_CLAMPED, Reading, readingOf } from "../../wire/iscsi/urgent_start.ts";
import { TcpFlag, type TcpSegment } from "../../wire/capture/tcp.ts";
import type { UrgentMode } from "./urgent_sender.ts";

/** Pointers that are kept of one stream. */
const POINTERS_MAX: number = 1 << 18;
const POINTER_WORDS = 3;

/** What one way of using the rule finds: starts of messages, and places that are none. */
export interface RuleResult {
  readonly found: number;
  readonly wrong: number;
}

/** What a trace comes to. */
export interface TraceResult {
  /** Segments with data. */
  readonly segments: number;
  /** Those with URG. */
  readonly urgent: number;
  /** Those of them whose pointer is clamped. */
  readonly clamped: number;
  /** Message starts that a pointer can name in this mode. */
  readonly starts: number;
  /** Those that some pointer does name. */
  readonly named: number;
  /** The byte that is pointed to must be in the segment that has the pointer. */
  readonly sameSegment: RuleResult;
  /** It is waited for, whatever the pointer is. */
  readonly everyPointer: RuleResult;
  /** It is waited for, unless the pointer is clamped: the rule as it is used (urgent_rule.ts). */
  readonly unclamped: RuleResult;
}

/** The segments of one direction of one connection. */
export class UrgentTrace {
  readonly #mode: UrgentMode;
  readonly #size: number;
  readonly #count: number;
  readonly #stream: number;
  readonly #rule = new UrgentRule();
  readonly #starts: Places;
  readonly #pointers = new Int32Array(POINTERS_MAX * POINTER_WORDS);
  #pointerCount = 0;
  #base = -1;
  #segments = 0;
  #seen = 0;

  /** Of `count` messages of `size` bytes. */
  constructor(mode: UrgentMode, size: number, count: number) {
    this.#mode = mode;
    this.#size = size;
    this.#count = count;
    this.#starts = new Places(size, count);
    this.#stream = take(size * count);
    if (this.#stream >= 0) return;
    throw new Error(`Cannot keep a stream of ${size * count} bytes: there is no memory left`);
  }

  /** Takes a segment of the sender. */
  handleSegment(segment: TcpSegment, timeNs: number): void {
    if ((segment.flags & TcpFlag.Syn) !== 0) this.#base = (segment.sequence + 1) >>> 0;
    const { dataAt, dataBytes, dataEnd, urgentPointer } = segment;
    if (this.#base < 0 || dataBytes === 0) return;
    const offset = (segment.sequence - this.#base) >>> 0;
    const after = offset + dataBytes;
    if (after > this.#size * this.#count || dataEnd - dataAt !== dataBytes) return;
    this.#segments++;
    arena.bytes.copyWithin(this.#stream + offset, dataAt, dataEnd);
    if ((segment.flags & TcpFlag.Urg) !== 0) {
      this.#rule.handleUrgent(offset, dataBytes, urgentPointer, timeNs);
      this.#keep(offset, dataBytes, urgentPointer);
    }
    if (after <= this.#seen) return; // a retransmission
    this.#rule.handleBytes(dataAt, dataEnd, offset);
    this.#seen = after;
    for (let start = this.#rule.pollStart(); start >= 0; start = this.#rule.pollStart()) {
      this.#starts.add(start);
    }
  }

  /** What it comes to. */
  result(): TraceResult {
    const mode = this.#mode;
    const count = this.#count;
    const named = new Places(this.#size, count);
    const sameSegment = new Places(this.#size, count);
    const everyPointer = new Places(this.#size, count);
    let clamped = 0;
    for (let i = 0; i < this.#pointerCount; i++) {
      const at = i * POINTER_WORDS;
      const pointer = this.#pointers[at + 2]!;
      const place = this.#pointers[at]! + pointer;
      if (pointer === POINTER_CLAMPED) clamped++;
      else named.add(mode === "B" ? place : place - 1);
      if (place >= this.#seen) continue; // a byte that never came
      const isBsd = readingOf(arena.bytes[this.#stream + place]!) === Reading.Bsd;
      const start = isBsd ? place - 1 : place;
      everyPointer.add(start);
      if (pointer < this.#pointers[at + 1]!) sameSegment.add(start);
    }
    return {
      segments: this.#segments,
      urgent: this.#pointerCount,
      clamped,
      starts: mode === "none" ? 0 : mode === "B" ? count - 1 : count,
      named: named.result.found,
      sameSegment: sameSegment.result,
      everyPointer: everyPointer.result,
      unclamped: this.#starts.result,
    };
  }

  /** Gives its memory back. */
  close(): void {
    give(this.#stream);
  }

  #keep(offset: number, bytes: number, pointer: number): void {
    if (this.#pointerCount === POINTERS_MAX) return;
    this.#pointers.set([offset, bytes, pointer], this.#pointerCount++ * POINTER_WORDS);
  }
}

/** Places in a stream, each counted once. */
class Places {
  #found = 0;
  readonly #size: number;
  readonly #marked: Uint8Array;
  #wrong = 0;

  constructor(size: number, count: number) {
    this.#size = size;
    this.#marked = new Uint8Array(size * count);
  }

  add(place: number): void {
    if (place < 0 || place >= this.#marked.length || this.#marked[place] !== 0) return;
    this.#marked[place] = 1;
    if (place % this.#size === 0) this.#found++;
    else this.#wrong++;
  }

  get result(): RuleResult {
    return { found: this.#found, wrong: this.#wrong };
  }
}
