/**
 * Cuts a byte stream into lines within a bounded memory. A line ends with LF or CR LF; one that is
 * longer than the bound is skipped whole and counted.
 *
 * @module
 */
import { assert } from "../mem/assert.ts";

/** The longest line, without its ending. */
export const LINE_BYTES_MAX = 64 * 1024;

const LF = 0x0a;
const CR = 0x0d;

/** Read into `room()`, say `filled()`, take lines by `next()` until it is null. */
export class LineBuffer {
  /** Lines that were skipped because they were too long. */
  tooLong = 0;
  readonly #lineBytesMax: number;
  readonly #bytes: Uint8Array<ArrayBuffer>;
  /** Start of what was not handed out yet. */
  #start = 0;
  /** What is before this has no newline. */
  #scanned = 0;
  #end = 0;
  #skipping = false;

  /** @param lineBytesMax bound of a line, {@linkcode LINE_BYTES_MAX} unless set */
  constructor(lineBytesMax: number = LINE_BYTES_MAX) {
    this.#lineBytesMax = lineBytesMax;
    this.#bytes = new Uint8Array(lineBytesMax + 2); // CR LF
  }

  /** Where the next bytes go; it ends the views that `next()` returned. Never empty. */
  room(): Uint8Array<ArrayBuffer> {
    if (this.#start > 0) {
      this.#bytes.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#scanned -= this.#start;
      this.#start = 0;
    }
    assert(this.#end < this.#bytes.length, "lines are taken out before more is read");
    return this.#bytes.subarray(this.#end);
  }

  /** So many bytes were written to `room()`. */
  filled(count: number): void {
    this.#end += count;
  }

  /** The next whole line without its ending, valid until `room()`; null when there is none. */
  next(): Uint8Array<ArrayBuffer> | null {
    while (true) {
      const newline = this.#find();
      if (newline < 0) {
        this.#limit();
        return null;
      }
      const start = this.#start;
      this.#start = newline + 1;
      this.#scanned = newline + 1;
      const line = this.#line(start, newline);
      if (!this.#skipping && line.length <= this.#lineBytesMax) return line;
      if (!this.#skipping) this.tooLong++;
      this.#skipping = false;
    }
  }

  /** The last line when the stream ended without a newline; null when there is none. */
  rest(): Uint8Array<ArrayBuffer> | null {
    const start = this.#start;
    this.#start = this.#end;
    if (this.#skipping || start === this.#end) return null;
    const line = this.#line(start, this.#end);
    if (line.length <= this.#lineBytesMax) return line;
    this.tooLong++;
    return null;
  }

  /** Whole lines that were not taken out. */
  get waiting(): number {
    let count = 0;
    for (let at = this.#start; at < this.#end; at++) {
      if (this.#bytes[at] === LF) count++;
    }
    return this.#skipping && count > 0 ? count - 1 : count;
  }

  /** True in the middle of a line. */
  get partial(): boolean {
    return this.#end > this.#start && this.#bytes[this.#end - 1] !== LF;
  }

  #find(): number {
    const at = this.#bytes.indexOf(LF, this.#scanned);
    return at >= this.#end ? -1 : at;
  }

  /** No newline in what is there: too long when nothing more fits. */
  #limit(): void {
    this.#scanned = this.#end;
    if (!this.#skipping && this.#end - this.#start < this.#bytes.length) return;
    if (!this.#skipping) this.tooLong++;
    this.#skipping = true;
    this.#start = this.#end;
  }

  #line(start: number, end: number): Uint8Array<ArrayBuffer> {
    const last = end > start && this.#bytes[end - 1] === CR ? end - 1 : end;
    return this.#bytes.subarray(start, last);
  }
}
