/**
 * The 32-byte preamble of every frame: msgr2 "Frame format"; the byte that the document reserves
 * is `flags` since Ceph 17 (bit 0: compressed), which only a connection that negotiated
 * compression may set, and this one never does.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import { SEGMENTS_MAX } from "../../mem/limits.ts";
import type { Region } from "../../mem/region.ts";
import { crc32cRaw } from "../crc32c.ts";

const TAG = 0;
const NUM_SEGMENTS = 1;
const SEGMENTS = 2;
const SEGMENT_SIZE = 6; // __le32 length, __le16 alignment
const FLAGS = 26;
const RESERVED = 27;
const CRC = 28;

/**
 * Bytes of a preamble.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { newRegion, PREAMBLE_SIZE, Tag, writePreamble } from "@fairlead/fairlead";
 *
 * assert.equal(writePreamble(newRegion(PREAMBLE_SIZE), 0, Tag.Ack, 8, 0, 0, 0), PREAMBLE_SIZE);
 * ```
 */
export const PREAMBLE_SIZE = 32;

/** Alignment announced for header, front and middle; advice only. */
const ALIGNMENT = 8;
/** Alignment announced for the data segment of a message; advice only. */
const DATA_ALIGNMENT = 4096;

/**
 * A preamble as read, tag and segment lengths. msgr2 "Frame format".
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   MESSAGE_HEADER_SIZE,
 *   newRegion,
 *   Preamble,
 *   PREAMBLE_SIZE,
 *   readPreamble,
 *   Tag,
 *   writePreamble,
 * } from "@fairlead/fairlead";
 *
 * const frame = newRegion(PREAMBLE_SIZE);
 * writePreamble(frame, 0, Tag.Message, MESSAGE_HEADER_SIZE, 256, 0, 0);
 * const preamble = new Preamble();
 * readPreamble(frame, 0, PREAMBLE_SIZE, preamble, 1024);
 * assert.deepEqual([...preamble.lengths], [MESSAGE_HEADER_SIZE, 256, 0, 0]);
 * ```
 */
export class Preamble {
  /** One of `Tag`. */
  tag = 0;
  /** Segments on the wire, 1 to 4. */
  segmentCount = 0;
  /** Length of each segment in bytes; unused ones are 0. */
  readonly lengths: Int32Array = new Int32Array(SEGMENTS_MAX);
}

/**
 * Writes a preamble for the four segment lengths; trailing empty segments are left out.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   MESSAGE_HEADER_SIZE,
 *   newRegion,
 *   PREAMBLE_SIZE,
 *   Tag,
 *   writePreamble,
 * } from "@fairlead/fairlead";
 *
 * const frame = newRegion(PREAMBLE_SIZE);
 * writePreamble(frame, 0, Tag.Message, MESSAGE_HEADER_SIZE, 256, 0, 0);
 * assert.equal(frame.bytes[0], Tag.Message);
 * assert.equal(frame.bytes[1], 2); // segments
 * ```
 */
export function writePreamble(
  out: Region,
  at: number,
  tag: number,
  length0: number,
  length1: number,
  length2: number,
  length3: number,
): number {
  const { bytes, view } = out;
  const count = segmentCount(length1, length2, length3);
  view.setUint8(at + TAG, tag);
  view.setUint8(at + NUM_SEGMENTS, count);
  writeSegment(view, at + SEGMENTS, length0, ALIGNMENT);
  writeSegment(view, at + SEGMENTS + SEGMENT_SIZE, length1, count > 1 ? ALIGNMENT : 0);
  writeSegment(view, at + SEGMENTS + 2 * SEGMENT_SIZE, length2, count > 2 ? ALIGNMENT : 0);
  writeSegment(view, at + SEGMENTS + 3 * SEGMENT_SIZE, length3, count > 3 ? DATA_ALIGNMENT : 0);
  view.setUint8(at + FLAGS, 0);
  view.setUint8(at + RESERVED, 0);
  view.setInt32(at + CRC, crc32cRaw(0, bytes, at, at + CRC), true);
  return at + PREAMBLE_SIZE;
}

/**
 * Reads a preamble; returns the offset after it, or a negated {@linkcode Fault}.
 * `bytesMax` is the largest sum of segment lengths that is accepted.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   Fault,
 *   MESSAGE_HEADER_SIZE,
 *   newRegion,
 *   Preamble,
 *   PREAMBLE_SIZE,
 *   readPreamble,
 *   Tag,
 *   writePreamble,
 * } from "@fairlead/fairlead";
 *
 * const frame = newRegion(PREAMBLE_SIZE);
 * writePreamble(frame, 0, Tag.Message, MESSAGE_HEADER_SIZE, 256, 0, 0);
 * const preamble = new Preamble();
 * assert.equal(readPreamble(frame, 0, PREAMBLE_SIZE, preamble, 1024), PREAMBLE_SIZE);
 * assert.equal(readPreamble(frame, 0, PREAMBLE_SIZE, preamble, 100), -Fault.Large);
 * assert.equal(readPreamble(frame, 0, PREAMBLE_SIZE - 1, preamble, 1024), -Fault.Short);
 * ```
 */
export function readPreamble(
  from: Region,
  at: number,
  end: number,
  into: Preamble,
  bytesMax: number,
): number {
  if (end - at < PREAMBLE_SIZE) return -Fault.Short;
  const { bytes, view } = from;
  const crc = crc32cRaw(0, bytes, at, at + CRC);
  if (crc !== view.getInt32(at + CRC, true)) {
    return fail(
      Fault.Checksum,
      "preamble crc",
      at + CRC,
      view.getUint32(at + CRC, true),
      "its crc",
    );
  }
  const count = view.getUint8(at + NUM_SEGMENTS);
  if (count < 1 || count > SEGMENTS_MAX) {
    return fail(Fault.Field, "preamble segment count", at + NUM_SEGMENTS, count, "1 to 4");
  }
  if ((view.getUint8(at + FLAGS) & 1) !== 0) {
    return fail(Fault.Field, "preamble flags", at + FLAGS, 1, "0, compression is off");
  }
  into.tag = view.getUint8(at + TAG);
  into.segmentCount = count;
  let total = 0;
  for (let index = 0; index < SEGMENTS_MAX; index++) {
    const segment = at + SEGMENTS + index * SEGMENT_SIZE;
    const length = index < count ? view.getUint32(segment, true) : 0;
    total += length;
    if (total > bytesMax) {
      return fail(Fault.Large, "preamble segment lengths", segment, total, `${bytesMax} at most`);
    }
    into.lengths[index] = length;
  }
  if (count > 1 && into.lengths[count - 1] === 0) {
    const last = at + SEGMENTS + (count - 1) * SEGMENT_SIZE;
    return fail(Fault.Field, "preamble last segment length", last, 0, "above 0");
  }
  return at + PREAMBLE_SIZE;
}

/** Segments on the wire for these lengths: "an empty frame has one empty segment". */
export function segmentCount(length1: number, length2: number, length3: number): number {
  if (length3 > 0) return 4;
  if (length2 > 0) return 3;
  return length1 > 0 ? 2 : 1;
}

function writeSegment(view: DataView, at: number, length: number, alignment: number): void {
  view.setUint32(at, length, true);
  view.setUint16(at + 4, alignment, true);
}
