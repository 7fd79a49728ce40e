/**
 * How a frame of msgr2 is recognised among any bytes, and how its parts are checked where they lie:
 * msgr2 "Frame format". The codec of wire/msgr2 refuses what a peer may not send to Fairlead; a
 * capture also has frames of others: compressed ones, damaged ones, ones of unknown tags.
 *
 * The crc of a preamble has seed 0 and no final inversion, so 28 zero bytes have crc 0, and the crc
 * alone is no proof: the structure must hold too. Both together are wrong for one offset in 2^100
 * of random bytes, and never for zeros. Only a copy of a msgr2 stream inside another message (a
 * capture that is stored as an object) has them; after a hole in front of it, it is taken for one.
 *
 * @module
 */
import { SEGMENTS_MAX } from "../../mem/limits.ts";
import type { Region } from "../../mem/region.ts";
import { crc32cRaw } from "../crc32c.ts";
import { frameBytes, FrameFormat } from "./frame.ts";
import { PREAMBLE_SIZE } from "./preamble.ts";
import { Tag } from "./tag.ts";

const TAG = 0;
const NUM_SEGMENTS = 1;
const SEGMENTS = 2;
const SEGMENT_SIZE = 6; // __le32 length, __le16 alignment
const LENGTH_HIGH = 3; // most significant byte of a length
const ALIGNMENT = 4;
const FLAGS = 26; // bit 0: compressed
const RESERVED = 27;
const CRC = 28;

/** Where fields are of which some bits are always zero: in a sealed frame keystream shows there. */
export const PreambleField = {
  SegmentCount: NUM_SEGMENTS,
  /** The most significant byte of segment 0's length. */
  LengthTop: SEGMENTS + LENGTH_HIGH,
  Flags: FLAGS,
  Reserved: RESERVED,
} as const;

const TAG_LAST: number = Tag.CompressionDone;
const FLAG_COMPRESSED = 1;
/** A segment is below 256 MiB: the most significant byte of its length is below this. */
const LENGTH_HIGH_END = 0x10;

/** Bytes of the epilogue: late_flags and four crcs, or late_status and three. */
const EPILOGUE_SIZES = [17, 13] as const;
const CRC_SIZE = 4;

/** A preamble as a capture shows it. */
export class SeenPreamble {
  tag = 0;
  segmentCount = 0;
  /** Bytes of each segment on the wire; 0 for those it has not. */
  readonly lengths: Int32Array = new Int32Array(SEGMENTS_MAX);
  compressed = false;
}

/**
 * Reads the preamble at `at`, all of whose bytes are there; false when its crc or its lengths do
 * not hold. Where a frame is due, this is all that is asked: the alignment is advice, and a tag
 * nobody knows is told as what it is.
 */
export function readSeenPreamble(from: Region, at: number, into: SeenPreamble): boolean {
  const { bytes, view } = from;
  const count = bytes[at + NUM_SEGMENTS]!;
  if (count < 1 || count > SEGMENTS_MAX || bytes[at + TAG] === 0) return false;
  if (crc32cRaw(0, bytes, at, at + CRC) !== view.getInt32(at + CRC, true)) return false;
  for (let index = 0; index < SEGMENTS_MAX; index++) {
    const segment = at + SEGMENTS + index * SEGMENT_SIZE;
    if (bytes[segment + LENGTH_HIGH]! >= LENGTH_HIGH_END) return false;
    into.lengths[index] = index < count ? view.getInt32(segment, true) : 0;
  }
  if (count > 1 && into.lengths[count - 1] === 0) return false;
  into.tag = bytes[at + TAG]!;
  into.segmentCount = count;
  into.compressed = (bytes[at + FLAGS]! & FLAG_COMPRESSED) !== 0;
  return true;
}

/**
 * Whether the 32 bytes at `at` have the whole structure of a preamble, their crc left aside: a
 * known tag, one to four segments below 256 MiB of which the last is not empty unless it is the
 * only one, alignments that are powers of two, zeros where nothing is.
 */
export function hasPreambleStructure(from: Region, at: number): boolean {
  const { bytes, view } = from;
  const count = bytes[at + NUM_SEGMENTS]!;
  if (count < 1 || count > SEGMENTS_MAX) return false;
  const tag = bytes[at + TAG]!;
  if (tag < 1 || (tag > TAG_LAST && tag !== Tag.Close)) return false;
  if (bytes[at + RESERVED] !== 0 || bytes[at + FLAGS]! > FLAG_COMPRESSED) return false;
  for (let index = 0; index < SEGMENTS_MAX; index++) {
    const segment = at + SEGMENTS + index * SEGMENT_SIZE;
    const alignment = view.getUint16(segment + ALIGNMENT, true);
    if (index >= count) {
      if (alignment !== 0 || view.getInt32(segment, true) !== 0) return false;
      continue;
    }
    if (bytes[segment + LENGTH_HIGH]! >= LENGTH_HIGH_END) return false;
    if (alignment === 0 || (alignment & (alignment - 1)) !== 0) return false;
  }
  const last = at + SEGMENTS + (count - 1) * SEGMENT_SIZE;
  return count === 1 || view.getInt32(last, true) !== 0;
}

/**
 * The first offset of [at, end) where a whole preamble stands whose structure and crc hold, or -1.
 * The bytes that rule most offsets out are looked at first: 98 of 100 by the segment count alone.
 */
export function searchPreamble(from: Region, at: number, end: number): number {
  const { bytes, view } = from;
  const last = end - PREAMBLE_SIZE;
  for (let offset = at; offset <= last; offset++) {
    const count = bytes[offset + NUM_SEGMENTS]!;
    if (count === 0 || count > SEGMENTS_MAX) continue;
    const tag = bytes[offset + TAG]!;
    if (tag === 0 || (tag > TAG_LAST && tag !== Tag.Close)) continue;
    if (bytes[offset + RESERVED] !== 0 || !hasPreambleStructure(from, offset)) continue;
    if (crc32cRaw(0, bytes, offset, offset + CRC) === view.getInt32(offset + CRC, true)) {
      return offset;
    }
  }
  return -1;
}

/** Bytes of the crc behind segment 0, which only revision 1 has, and not for an empty one. */
export function headCrcBytes(revision: number, length0: number): number {
  return revision === 1 && length0 > 0 ? CRC_SIZE : 0;
}

/** Bytes of the epilogue of a frame in crc mode; 0 when it has none. */
export function epilogueBytes(revision: number, segmentCount: number): number {
  if (revision === 1) return segmentCount > 1 ? EPILOGUE_SIZES[1] : 0;
  return EPILOGUE_SIZES[0];
}

/** The crc of a segment in the epilogue at `at`; signed. */
export function readEpilogueCrc(
  from: Region,
  at: number,
  revision: number,
  segment: number,
): number {
  return from.view.getInt32(at + 1 + CRC_SIZE * (segment - revision), true);
}

/** What the first byte of an epilogue says. */
export const Late = { Complete: 0, Aborted: 1, Invalid: 2 } as const;

const LATE_FLAG_ABORTED = 1;
const LATE_STATUS_ABORTED = 0x1;
const LATE_STATUS_COMPLETE = 0xe;
const LATE_STATUS_MASK = 0xf;

/** Reads late_flags of revision 0, late_status of revision 1: one of {@linkcode Late}. */
export function readLate(from: Region, at: number, revision: number): number {
  const byte = from.bytes[at]!;
  if (revision === 0) {
    if (byte > LATE_FLAG_ABORTED) return Late.Invalid;
    return byte === LATE_FLAG_ABORTED ? Late.Aborted : Late.Complete;
  }
  const word = byte & LATE_STATUS_MASK;
  if (word === LATE_STATUS_COMPLETE) return Late.Complete;
  return word === LATE_STATUS_ABORTED ? Late.Aborted : Late.Invalid;
}

/** Bytes of the crc-mode frame whose preamble at `at` has the structure of one. */
export function seenFrameBytes(from: Region, at: number, revision: number): number {
  const { view } = from;
  const lengthOf = (index: number): number =>
    view.getInt32(at + SEGMENTS + index * SEGMENT_SIZE, true);
  const format = revision === 1 ? FrameFormat.Crc21 : FrameFormat.Crc20;
  return frameBytes(format, lengthOf(0), lengthOf(1), lengthOf(2), lengthOf(3));
}
