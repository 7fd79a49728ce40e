/**
 * Cuts a byte stream into syslog frames within a bounded memory: RFC 6587 section 3.4. A line that
 * is too long is skipped whole and counted; a count that is none leaves the stream broken, as nobody
 * knows where the next frame begins.
 *
 * @module
 */
import { assert } from "../../mem/assert.ts";
import { Fault } from "../../mem/fault.ts";
import {
  COUNT_BYTES_MAX,
  FRAME_BYTES_MAX,
  isCounted,
  readFrame,
} from "../../wire/syslog/framing.ts";
import type { Cutter } from "./tcp_port.ts";

const LF = 0x0a;

/** Read into `room()`, say `filled()`, take frames by `next()` until it is null. */
export class SyslogBuffer implements Cutter {
  tooLong = 0;
  broken = false;
  readonly #bytes: Uint8Array<ArrayBuffer> = new Uint8Array(COUNT_BYTES_MAX + FRAME_BYTES_MAX);
  readonly #place = { start: 0, end: 0 };
  #start = 0;
  #end = 0;
  /** In a line that is too long. */
  #skipping = false;

  room(): Uint8Array<ArrayBuffer> {
    if (this.#start > 0) {
      this.#bytes.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    assert(this.#end < this.#bytes.length, "frames are taken out before more is read");
    return this.#bytes.subarray(this.#end);
  }

  filled(count: number): void {
    this.#end += count;
  }

  next(): Uint8Array<ArrayBuffer> | null {
    while (!this.broken && this.#start < this.#end) {
      if (this.#skipping && !this.#skipLine()) return null;
      const next = readFrame(this.#bytes, this.#start, this.#end, this.#place);
      if (next === -Fault.Short) {
        this.#limit();
        return null;
      }
      if (next < 0) {
        this.broken = true;
        return null;
      }
      this.#start = next;
      const { start, end } = this.#place;
      if (end - start > FRAME_BYTES_MAX) this.tooLong++;
      else if (end > start) return this.#bytes.subarray(start, end); // an empty line is no message
    }
    return null;
  }

  /** A line whose LF is missing is whole; a counted frame is known to be not, and stays. */
  rest(): Uint8Array<ArrayBuffer> | null {
    if (this.broken || !this.partial || isCounted(this.#bytes[this.#start]!)) return null;
    const line = this.#bytes.subarray(this.#start, this.#end);
    this.#start = this.#end;
    return line;
  }

  get partial(): boolean {
    return this.#end > this.#start;
  }

  /** True when the line that is too long has ended. */
  #skipLine(): boolean {
    const newline = this.#bytes.indexOf(LF, this.#start);
    const found = newline >= 0 && newline < this.#end;
    this.#start = found ? newline + 1 : this.#end;
    this.#skipping = !found;
    return found;
  }

  /** No LF in what is there: too long when nothing more fits. A counted frame always fits. */
  #limit(): void {
    if (this.#end - this.#start < this.#bytes.length) return;
    this.tooLong++;
    this.#skipping = true;
    this.#start = this.#end;
  }
}
