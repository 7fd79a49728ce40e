/**
 * Headers as draft-wakeley-iscsi-msgbndry-00 section 3.3 wants them: bit 7 of the first byte is always
 * zero and bit 7 of the second always one, so that a receiver can tell which of the two an urgent
 * pointer names. The draft moves what was there: the retry bit to bit 5 of the first byte, and a bit
 * of the flags elsewhere in the flags. RFC 7143, which came later, has no retry bit, but uses bit 5 of
 * the first byte and bit 7 of the second. So here, from RFC 7143 to the draft's layout:
 *
 * ```text
 * byte 0   7: 0 always   6: sent by a target (RFC 7143: bit 5)   5: retry   4-0: opcode
 * byte 1   7: 1 always   4: F or T of PDUs in which it is not always one (RFC 7143: bit 7)
 *          3: immediate delivery (RFC 7143: bit 6 of byte 0); of a task management request bit 5,
 *             as its function needs bit 3; of a login none, as it is always immediate
 * ```
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import { newRegion, type Region } from "../../mem/region.ts";
import { headerFields, writeHeader } from "./fields.ts";
import { BHS_SIZE } from "./header.ts";
import { isAlwaysFinal } from "./layout.ts";
import { Opcode } from "./opcode.ts";

/**
 * What the draft advises for the size of a PDU (section 3.2): "perhaps a few TCP segments", so that a
 * lost header costs little. Here four segments of Ethernet with timestamps.
 */
export const DRAFT_PDU_BYTES_MAX: number = 4 * 1448;

const ALWAYS_ONE = 0x80;
const RETRY = 0x20;
const DRAFT_TARGET = 0x40;
const DRAFT_FINAL = 0x10;
const TARGET = 0x20;
const IMMEDIATE = 0x40;
const FINAL = 0x80;
const OPCODE_LOW = 0x1f;

/** TotalAHSLength, which is zero, and DataSegmentLength. */
const LENGTHS = 4;
const DATA_SN = 36;
/** A data segment has 24 bits of length. */
const DATA_BYTES_MAX = 0xffffff;

/** A header of {@linkcode writeDraftPdu}: all of them are like it but for length and DataSN. */
const PATTERN = newRegion(BHS_SIZE);
const FIRST_BYTE = Opcode.DataOut;
const SECOND_BYTE = ALWAYS_ONE | DRAFT_FINAL;

/** Turns a header of RFC 7143 at `at` into one of the draft, with its retry bit. */
export function toDraftLayout({ bytes }: Region, at: number, retry: boolean): void {
  const first = bytes[at]!;
  const opcode = first & 0x3f;
  let flags = bytes[at + 1]!;
  if (!isAlwaysFinal(opcode)) {
    flags = (flags & ~(FINAL | DRAFT_FINAL)) | ((flags & FINAL) !== 0 ? DRAFT_FINAL : 0);
  }
  if ((first & IMMEDIATE) !== 0) flags |= immediateBit(opcode);
  bytes[at] = (opcode & OPCODE_LOW) | ((opcode & TARGET) !== 0 ? DRAFT_TARGET : 0) |
    (retry ? RETRY : 0);
  bytes[at + 1] = flags | ALWAYS_ONE;
}

/**
 * Turns a header of the draft at `at` into one of RFC 7143; returns 1 when its retry bit was set, else
 * 0, or a negated {@linkcode Fault} when its first two bytes are not the draft's.
 */
export function fromDraftLayout({ bytes }: Region, at: number): number {
  const first = bytes[at]!;
  let flags = bytes[at + 1]!;
  if ((first & ALWAYS_ONE) !== 0) return fail(Fault.Field, "BHS byte 0 bit 7", at, first, "0");
  if ((flags & ALWAYS_ONE) === 0) return fail(Fault.Field, "BHS byte 1 bit 7", at + 1, flags, "1");
  const opcode = (first & OPCODE_LOW) | ((first & DRAFT_TARGET) !== 0 ? TARGET : 0);
  const bit = immediateBit(opcode);
  const immediate = opcode === Opcode.LoginRequest || (flags & bit) !== 0;
  flags &= ~bit;
  if (!isAlwaysFinal(opcode)) {
    flags = (flags & ~(FINAL | DRAFT_FINAL)) | ((flags & DRAFT_FINAL) !== 0 ? FINAL : 0);
  }
  bytes[at] = opcode | (immediate ? IMMEDIATE : 0);
  bytes[at + 1] = flags;
  return (first & RETRY) !== 0 ? 1 : 0;
}

/**
 * Writes a SCSI Data-Out of `size` bytes, header and data, in the draft's layout with `sequence` as its
 * DataSN: what a generator sends as message number `sequence`. `size` is a multiple of four, 48 at
 * least. Returns the offset after it, or a negated {@linkcode Fault}.
 */
export function writeDraftPdu(out: Region, at: number, size: number, sequence: number): number {
  const data = size - BHS_SIZE;
  if (data < 0 || data > DATA_BYTES_MAX || size % 4 !== 0) {
    return fail(Fault.Field, "PDU size", -1, size, "48 or more, in steps of 4, 16 MiB at most");
  }
  writeDraftHeader(out, at, data, sequence);
  out.bytes.fill(sequence & 0x7f, at + BHS_SIZE, at + size);
  return at + size;
}

function writeDraftHeader(out: Region, at: number, data: number, sequence: number): void {
  writeHeader(out, at, Opcode.DataOut, {
    "scsidata.F": true,
    datasegmentlength: data,
    initiatortasktag: 1,
    targettransfertag: 0xffffffff,
    expstatsn: 1,
    datasn: sequence,
  });
  toDraftLayout(out, at, false);
}

writeDraftHeader(PATTERN, 0, 0, 0);

/** A PDU of {@linkcode writeDraftPdu}. */
export class DraftPdu {
  sequence = 0;
  /** Header and data. */
  size = 0;
}

/**
 * Reads the header of such a PDU between `at` and `end`; returns the offset after the whole PDU, which
 * may lie behind `end`, or a negated {@linkcode Fault} when the generator cannot have written it.
 */
export function readDraftPdu(from: Region, at: number, end: number, into: DraftPdu): number {
  if (end - at < BHS_SIZE) return -Fault.Short;
  const { view } = from;
  for (let word = 0; word < BHS_SIZE; word += 4) {
    if (word === LENGTHS || word === DATA_SN) continue;
    const value = view.getUint32(at + word);
    const expected = PATTERN.view.getUint32(word);
    if (value !== expected) {
      return fail(Fault.Field, "PDU header", at + word, value, "that of a marked sender");
    }
  }
  const data = view.getUint32(at + LENGTHS);
  if (data > DATA_BYTES_MAX || data % 4 !== 0) {
    return fail(Fault.Field, "PDU lengths", at + LENGTHS, data, "no AHS, data in steps of 4");
  }
  into.sequence = view.getUint32(at + DATA_SN);
  into.size = BHS_SIZE + data;
  return at + into.size;
}

/** The first place in [at, end) where such a header may begin by its first two bytes, or `end`. */
export function findDraftPdu({ bytes }: Region, at: number, end: number): number {
  for (let place = at; place < end; place++) {
    if (bytes[place] !== FIRST_BYTE) continue;
    if (place + 1 === end || bytes[place + 1] === SECOND_BYTE) return place;
  }
  return end;
}

/** The fields of such a PDU by RFC 7143: all else in its header is constant. */
export function draftFields({ sequence, size }: DraftPdu): Record<string, unknown> {
  const header = newRegion(BHS_SIZE);
  writeDraftHeader(header, 0, size - BHS_SIZE, sequence);
  fromDraftLayout(header, 0);
  return { layout: "draft-wakeley-iscsi-msgbndry-00", ...headerFields(header, 0) };
}

/** Where immediate delivery is told in the flags; 0 for PDUs that cannot, or always are. */
function immediateBit(opcode: number): number {
  switch (opcode) {
    case Opcode.NopOut:
    case Opcode.ScsiCommand:
    case Opcode.TextRequest:
    case Opcode.LogoutRequest:
      return 0x08;
    case Opcode.TaskRequest:
      return 0x20;
    default:
      return 0;
  }
}
