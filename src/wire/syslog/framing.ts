/**
 * Frames of syslog in a byte stream: RFC 6587 section 3.4. A frame that begins with a digit is
 * counted (section 3.4.1: `MSG-LEN SP MSG`), any other one ends at LF (section 3.4.2), and a CR
 * before that LF belongs to the ending. The two may follow each other in one stream.
 *
 * @module
 */
import { Fault } from "../../mem/fault.ts";

/** The longest frame; RFC 5425 section 4.3.1 asks for 8192 at least. */
export const FRAME_BYTES_MAX: number = 64 * 1024;

/** The longest count and its space: `65536 `. */
export const COUNT_BYTES_MAX: number = `${FRAME_BYTES_MAX} `.length;

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const DIGIT_0 = 0x30;
const DIGIT_9 = 0x39;

/** Where a frame's message lies, without its count and its ending. */
export interface FramePlace {
  start: number;
  end: number;
}

/** True when the frame that begins with this byte is counted. */
export function isCounted(byte: number): boolean {
  return byte >= DIGIT_0 && byte <= DIGIT_9;
}

/**
 * Finds the frame at `at`, of which bytes up to `end` have come. Returns the offset after it, or
 * `-Fault.Short` (more bytes are needed), `-Fault.Large` (the count is above
 * {@linkcode FRAME_BYTES_MAX}), `-Fault.Field` (the count is none); after the latter two nobody
 * knows where the next frame begins. A frame that ends at LF may be longer than the limit.
 */
export function readFrame(bytes: Uint8Array, at: number, end: number, into: FramePlace): number {
  if (at >= end) return -Fault.Short;
  return isCounted(bytes[at]!) ? readCounted(bytes, at, end, into) : readLine(bytes, at, end, into);
}

/** RFC 6587 section 3.4.1: MSG-LEN = NONZERO-DIGIT *DIGIT. */
function readCounted(bytes: Uint8Array, at: number, end: number, into: FramePlace): number {
  if (bytes[at] === DIGIT_0) return -Fault.Field;
  let count = 0;
  for (; at < end && isCounted(bytes[at]!); at++) {
    count = count * 10 + bytes[at]! - DIGIT_0;
    if (count > FRAME_BYTES_MAX) return -Fault.Large;
  }
  if (at === end) return -Fault.Short;
  if (bytes[at] !== SPACE) return -Fault.Field;
  into.start = at + 1;
  into.end = into.start + count;
  return into.end > end ? -Fault.Short : into.end;
}

function readLine(bytes: Uint8Array, at: number, end: number, into: FramePlace): number {
  const newline = bytes.indexOf(LF, at);
  if (newline < 0 || newline >= end) return -Fault.Short;
  into.start = at;
  into.end = newline > at && bytes[newline - 1] === CR ? newline - 1 : newline;
  return newline + 1;
}
