/**
 * The four frame formats: msgr2 "Frame format" (msgr2.0-crc, msgr2.1-crc) and "Post-auth frame
 * format" (msgr2.0-secure, msgr2.1-secure). This file knows where each byte of a frame is, and
 * writes and checks what needs no key; sealing is done by the frame writer of `proto/msgr2`.
 *
 *     msgr2.0-crc     preamble | seg 0..3 | late_flags, 4 crcs
 *     msgr2.1-crc     preamble | seg 0, its crc if not empty | [seg 1..3 | late_status, 3 crcs]
 *     msgr2.0-secure  {preamble | seg 0..3 each padded to 16 | late_flags + 15} tag
 *     msgr2.1-secure  {preamble | first 48 of seg 0} tag | [{rest of seg 0} tag]
 *                     | [{seg 1..3 each padded to 16 | late_status + 15} tag]
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import { SEGMENTS_MAX } from "../../mem/limits.ts";
import type { Region } from "../../mem/region.ts";
import { crc32cRaw } from "../crc32c.ts";
import { GCM_TAG_SIZE } from "./aead.ts";
import { type Preamble, PREAMBLE_SIZE, segmentCount, writePreamble } from "./preamble.ts";

/**
 * The four frame formats; bit 0 is the revision, bit 1 secure mode. msgr2 "Frame format".
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { ACK_SIZE, frameBytes, FrameFormat } from "@fairlead/fairlead";
 *
 * const { Crc20, Crc21, Secure20, Secure21 } = FrameFormat;
 * const sizes = [Crc20, Crc21, Secure20, Secure21].map((it) => frameBytes(it, ACK_SIZE, 0, 0, 0));
 * assert.deepEqual(sizes, [57, 44, 80, 96]);
 * ```
 */
export const FrameFormat = { Crc20: 0, Crc21: 1, Secure20: 2, Secure21: 3 } as const;

/** True for both secure formats. */
export function isSecure(format: number): boolean {
  return format >= FrameFormat.Secure20;
}

/** The msgr2 revision of a format: 0 or 1. */
export function revisionOf(format: number): number {
  return format & 1;
}

/** Seed of a segment's crc, and the crc of a used empty segment. */
const CRC_SEED = -1;
const CRC_SIZE = 4;
/** late_flags and four crcs. */
const EPILOGUE_CRC20_SIZE = 17;
/** late_status and three crcs. */
const EPILOGUE_CRC21_SIZE = 13;
/** late_flags or late_status and 15 bytes of padding. */
export const EPILOGUE_SECURE_SIZE = 16;
/** The largest epilogue. */
export const EPILOGUE_SIZE_MAX: number = EPILOGUE_CRC20_SIZE;

/** FRAME_LATE_FLAG_ABORTED of revision 0. */
const LATE_FLAG_ABORTED = 1;
/** Code words of revision 1 in the low nibble, Hamming distance 4. */
const LATE_STATUS_ABORTED = 0x1;
const LATE_STATUS_COMPLETE = 0xe;
const LATE_STATUS_MASK = 0xf;

/** Bytes of segment 0 that travel under the first tag of msgr2.1-secure. */
export const INLINE_SIZE = 48;
/** Preamble, inline buffer and tag: what a receiver of msgr2.1-secure needs first. */
export const BLOCK1_SIZE: number = PREAMBLE_SIZE + INLINE_SIZE + GCM_TAG_SIZE;

/**
 * Where the segments of a received frame are, and whether its sender took it back.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   checkCrcFrame,
 *   finishControlCrc,
 *   FrameFormat,
 *   FrameParts,
 *   newRegion,
 *   Preamble,
 *   PREAMBLE_SIZE,
 *   readPreamble,
 *   Tag,
 *   writeAck,
 * } from "@fairlead/fairlead";
 *
 * const frame = newRegion(64);
 * const payloadEnd = writeAck(frame, PREAMBLE_SIZE, 7);
 * const end = finishControlCrc(FrameFormat.Crc21, frame, 0, Tag.Ack, payloadEnd);
 * const preamble = new Preamble();
 * readPreamble(frame, 0, end, preamble, 1024);
 * const parts = new FrameParts();
 * checkCrcFrame(FrameFormat.Crc21, frame, 0, preamble, parts);
 * assert.equal(parts.at[0], PREAMBLE_SIZE);
 * assert.equal(parts.aborted, false);
 * ```
 */
export class FrameParts {
  /** Offset of each segment. */
  readonly at: Int32Array = new Int32Array(SEGMENTS_MAX);
  /** True when the sender aborted the frame: it must be dropped. */
  aborted = false;
}

/** Rounds up to a whole GCM block: "each segment is zero padded out to 16 bytes". */
export function padded(length: number): number {
  return (length + 15) & ~15;
}

/**
 * Bytes of a whole frame on the wire, from the lengths of its four segments.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { frameBytes, FrameFormat, MESSAGE_HEADER_SIZE } from "@fairlead/fairlead";
 *
 * assert.equal(frameBytes(FrameFormat.Crc21, MESSAGE_HEADER_SIZE, 256, 0, 0), 346);
 * assert.equal(frameBytes(FrameFormat.Secure21, MESSAGE_HEADER_SIZE, 256, 0, 0), 384);
 * ```
 */
export function frameBytes(
  format: number,
  length0: number,
  length1: number,
  length2: number,
  length3: number,
): number {
  const later = length1 + length2 + length3;
  switch (format) {
    case FrameFormat.Crc20:
      return PREAMBLE_SIZE + length0 + later + EPILOGUE_CRC20_SIZE;
    case FrameFormat.Crc21:
      return PREAMBLE_SIZE + length0 + (length0 > 0 ? CRC_SIZE : 0) +
        (later > 0 ? later + EPILOGUE_CRC21_SIZE : 0);
    case FrameFormat.Secure20:
      return PREAMBLE_SIZE + padded(length0) + padded(length1) + padded(length2) +
        padded(length3) + EPILOGUE_SECURE_SIZE + GCM_TAG_SIZE;
    default:
      return BLOCK1_SIZE +
        (length0 > INLINE_SIZE ? padded(length0) - INLINE_SIZE + GCM_TAG_SIZE : 0) +
        (later > 0
          ? padded(length1) + padded(length2) + padded(length3) + EPILOGUE_SECURE_SIZE +
            GCM_TAG_SIZE
          : 0);
  }
}

/**
 * Completes a crc-mode frame of one segment whose payload stands at `at + PREAMBLE_SIZE` to
 * `payloadEnd`; returns the offset after the frame.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   ACK_SIZE,
 *   finishControlCrc,
 *   frameBytes,
 *   FrameFormat,
 *   newRegion,
 *   PREAMBLE_SIZE,
 *   Tag,
 *   writeAck,
 * } from "@fairlead/fairlead";
 *
 * const frame = newRegion(64);
 * const payloadEnd = writeAck(frame, PREAMBLE_SIZE, 7);
 * const end = finishControlCrc(FrameFormat.Crc21, frame, 0, Tag.Ack, payloadEnd);
 * assert.equal(end, frameBytes(FrameFormat.Crc21, ACK_SIZE, 0, 0, 0));
 * ```
 */
export function finishControlCrc(
  format: number,
  out: Region,
  at: number,
  tag: number,
  payloadEnd: number,
): number {
  const start = at + PREAMBLE_SIZE;
  const length = payloadEnd - start;
  writePreamble(out, at, tag, length, 0, 0, 0);
  const crc = crc32cRaw(CRC_SEED, out.bytes, start, payloadEnd);
  if (revisionOf(format) === 1) {
    if (length === 0) return payloadEnd;
    out.view.setInt32(payloadEnd, crc, true);
    return payloadEnd + CRC_SIZE;
  }
  return writeEpilogueCrc20(out, payloadEnd, 1, crc, 0, 0, 0, false);
}

/**
 * Lays out the plaintext of a secure frame of one segment whose payload stands at
 * `at + PREAMBLE_SIZE` to `payloadEnd`, with gaps where tags go; returns the offset after the
 * frame. {@linkcode BLOCK1_SIZE} tells where the first tag of msgr2.1 is.
 */
export function layControlSecure(
  format: number,
  out: Region,
  at: number,
  tag: number,
  payloadEnd: number,
): number {
  const { bytes } = out;
  const length = payloadEnd - at - PREAMBLE_SIZE;
  writePreamble(out, at, tag, length, 0, 0, 0);
  const end = at + frameBytes(format, length, 0, 0, 0);
  if (format === FrameFormat.Secure20) {
    bytes.fill(0, payloadEnd, end); // padding, late_flags 0, padding, room for the tag
    return end;
  }
  if (length > INLINE_SIZE) {
    const inlineEnd = at + PREAMBLE_SIZE + INLINE_SIZE;
    bytes.copyWithin(inlineEnd + GCM_TAG_SIZE, inlineEnd, payloadEnd);
    bytes.fill(0, payloadEnd + GCM_TAG_SIZE, end);
  } else {
    bytes.fill(0, payloadEnd, at + PREAMBLE_SIZE + INLINE_SIZE);
  }
  return end;
}

/** The crc of a segment as the epilogue holds it; -1 for an empty one. */
export function segmentCrc(from: Region, at: number, end: number): number {
  return crc32cRaw(CRC_SEED, from.bytes, at, end);
}

/** Bytes between the start of a crc-mode MESSAGE frame and its front segment. */
export function messageHeadBytes(format: number, headerBytes: number): number {
  return PREAMBLE_SIZE + headerBytes + (revisionOf(format) === 1 ? CRC_SIZE : 0);
}

/**
 * Completes the head of a crc-mode message frame: the preamble at `at`, and in revision 1 the crc
 * of segment 0, which stands right after the preamble already.
 */
export function finishMessageHead(
  format: number,
  out: Region,
  at: number,
  tag: number,
  length0: number,
  length1: number,
  length2: number,
  length3: number,
): number {
  writePreamble(out, at, tag, length0, length1, length2, length3);
  const start = at + PREAMBLE_SIZE;
  const end = start + length0;
  if (revisionOf(format) === 0) return end;
  out.view.setInt32(end, crc32cRaw(CRC_SEED, out.bytes, start, end), true);
  return end + CRC_SIZE;
}

/** Writes the epilogue of a crc-mode message frame; `crc0` counts in revision 0 only. */
export function writeMessageEpilogue(
  format: number,
  out: Region,
  at: number,
  crc0: number,
  length1: number,
  crc1: number,
  length2: number,
  crc2: number,
  length3: number,
  crc3: number,
  aborted: boolean,
): number {
  const count = segmentCount(length1, length2, length3);
  if (revisionOf(format) === 0) {
    return writeEpilogueCrc20(out, at, count, crc0, crc1, crc2, crc3, aborted);
  }
  if (count === 1) return at;
  const { view } = out;
  view.setUint8(at, aborted ? LATE_STATUS_ABORTED : LATE_STATUS_COMPLETE);
  view.setInt32(at + 1, crc1, true);
  view.setInt32(at + 5, count > 2 ? crc2 : 0, true);
  view.setInt32(at + 9, count > 3 ? crc3 : 0, true);
  return at + EPILOGUE_CRC21_SIZE;
}

/** Writes the 16-byte epilogue of a secure frame with more than one segment (or of revision 0). */
export function writeSecureEpilogue(
  format: number,
  out: Region,
  at: number,
  aborted: boolean,
): number {
  out.bytes.fill(0, at, at + EPILOGUE_SECURE_SIZE);
  if (revisionOf(format) === 0) out.view.setUint8(at, aborted ? LATE_FLAG_ABORTED : 0);
  else out.view.setUint8(at, aborted ? LATE_STATUS_ABORTED : LATE_STATUS_COMPLETE);
  return at + EPILOGUE_SECURE_SIZE;
}

/**
 * Checks a whole crc-mode frame at `at` whose preamble was read, and tells where its segments
 * are. Returns the offset after the frame, or a negated {@linkcode Fault}.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   checkCrcFrame,
 *   Fault,
 *   finishControlCrc,
 *   FrameFormat,
 *   FrameParts,
 *   newRegion,
 *   Preamble,
 *   PREAMBLE_SIZE,
 *   readPreamble,
 *   Tag,
 *   writeAck,
 * } from "@fairlead/fairlead";
 *
 * const frame = newRegion(64);
 * const payloadEnd = writeAck(frame, PREAMBLE_SIZE, 7);
 * const end = finishControlCrc(FrameFormat.Crc21, frame, 0, Tag.Ack, payloadEnd);
 * const preamble = new Preamble();
 * readPreamble(frame, 0, end, preamble, 1024);
 * assert.equal(checkCrcFrame(FrameFormat.Crc21, frame, 0, preamble, new FrameParts()), end);
 * frame.bytes[PREAMBLE_SIZE]! ^= 1;
 * const fault = checkCrcFrame(FrameFormat.Crc21, frame, 0, preamble, new FrameParts());
 * assert.equal(fault, -Fault.Checksum);
 * ```
 */
export function checkCrcFrame(
  format: number,
  from: Region,
  at: number,
  preamble: Preamble,
  into: FrameParts,
): number {
  const { view } = from;
  const { lengths, segmentCount: count } = preamble;
  const revision = revisionOf(format);
  into.aborted = false;
  let next = at + PREAMBLE_SIZE;
  into.at[0] = next;
  next += lengths[0]!;
  if (revision === 1) {
    if (lengths[0]! > 0) {
      if (segmentCrc(from, into.at[0]!, next) !== view.getInt32(next, true)) {
        return crcFault(view, next, 0);
      }
      next += CRC_SIZE;
    }
    if (count === 1) return next;
  }
  for (let index = 1; index < count; index++) {
    into.at[index] = next;
    next += lengths[index]!;
  }
  const status = view.getUint8(next);
  const first = revision === 0 ? 0 : 1;
  let crcAt = next + 1;
  for (let index = first; index < SEGMENTS_MAX; index++) {
    const start = into.at[index]!;
    // "For unused (trailing) segments, it is zeroed": real Ceph writes 0 and does not look.
    const crc = index < count ? segmentCrc(from, start, start + lengths[index]!) : 0;
    if (crc !== view.getInt32(crcAt, true)) return crcFault(view, crcAt, index);
    crcAt += CRC_SIZE;
  }
  const fault = readLateStatus(revision, status, next, into);
  if (fault < 0) return fault;
  return next + (revision === 0 ? EPILOGUE_CRC20_SIZE : EPILOGUE_CRC21_SIZE);
}

/**
 * Tells where the segments of an opened secure frame at `at` are, and reads its late status.
 * Segment 0 of msgr2.1 is made contiguous: its inlined part moves up over the first tag.
 */
export function locateSecureFrame(
  format: number,
  from: Region,
  at: number,
  preamble: Preamble,
  into: FrameParts,
): number {
  const { lengths, segmentCount: count } = preamble;
  into.aborted = false;
  let next = at + PREAMBLE_SIZE;
  if (format === FrameFormat.Secure20) {
    for (let index = 0; index < count; index++) {
      into.at[index] = next;
      next += padded(lengths[index]!);
    }
  } else {
    const length = lengths[0]!;
    into.at[0] = next;
    if (length > INLINE_SIZE) {
      from.bytes.copyWithin(next + GCM_TAG_SIZE, next, next + INLINE_SIZE);
      into.at[0] = next + GCM_TAG_SIZE;
    }
    next = at + frameBytes(format, length, 0, 0, 0);
    if (count === 1) return next;
    for (let index = 1; index < count; index++) {
      into.at[index] = next;
      next += padded(lengths[index]!);
    }
  }
  const fault = readLateStatus(revisionOf(format), from.view.getUint8(next), next, into);
  if (fault < 0) return fault;
  return next + EPILOGUE_SECURE_SIZE + GCM_TAG_SIZE;
}

function readLateStatus(revision: number, status: number, at: number, into: FrameParts): number {
  if (revision === 0) {
    into.aborted = (status & LATE_FLAG_ABORTED) !== 0;
    return 0;
  }
  const word = status & LATE_STATUS_MASK;
  if (word !== LATE_STATUS_COMPLETE && word !== LATE_STATUS_ABORTED) {
    return fail(Fault.Field, "epilogue late_status", at, status, "0x0e or 0x01");
  }
  into.aborted = word === LATE_STATUS_ABORTED;
  return 0;
}

function writeEpilogueCrc20(
  out: Region,
  at: number,
  count: number,
  crc0: number,
  crc1: number,
  crc2: number,
  crc3: number,
  aborted: boolean,
): number {
  const { view } = out;
  view.setUint8(at, aborted ? LATE_FLAG_ABORTED : 0);
  view.setInt32(at + 1, crc0, true);
  view.setInt32(at + 5, count > 1 ? crc1 : 0, true);
  view.setInt32(at + 9, count > 2 ? crc2 : 0, true);
  view.setInt32(at + 13, count > 3 ? crc3 : 0, true);
  return at + EPILOGUE_CRC20_SIZE;
}

function crcFault(view: DataView, at: number, segment: number): number {
  return fail(Fault.Checksum, SEGMENT_CRC[segment]!, at, view.getUint32(at, true), "its crc");
}

const SEGMENT_CRC = ["segment 0 crc", "segment 1 crc", "segment 2 crc", "segment 3 crc"] as const;
