/**
 * Whole PDUs of iSCSI: RFC 7143 section 11.2, in the order header, additional segments, header
 * digest, data with its padding, data digest.
 *
 * @module
 */
import type { Region } from "../../mem/region.ts";
import { crc32cRaw } from "../crc32c.ts";
import { type FieldValue, writeHeader } from "./fields.ts";
import { BHS_SIZE, DIGEST_SIZE, padded } from "./header.ts";

const NOTHING = new Uint8Array(0);

/** What a PDU has besides the fields of its header. */
export interface PduParts {
  /** Additional header segments, a multiple of four bytes. */
  readonly ahs?: Uint8Array;
  readonly data?: Uint8Array;
  readonly headerDigest?: boolean;
  readonly dataDigest?: boolean;
}

/** Writes a PDU with its lengths and digests; returns the offset after it, or a negated `Fault`. */
export function writePdu(
  out: Region,
  at: number,
  opcode: number,
  fields: Readonly<Record<string, FieldValue>>,
  parts: PduParts = {},
): number {
  const { ahs = NOTHING, data = NOTHING, headerDigest = false, dataDigest = false } = parts;
  const lengths = { totalahslength: ahs.length / 4, datasegmentlength: data.length };
  const written = writeHeader(out, at, opcode, { ...fields, ...lengths });
  if (written < 0) return written;
  let next = at + BHS_SIZE;
  out.bytes.set(ahs, next);
  next += ahs.length;
  if (headerDigest) next = writeDigest(out, at, next);
  const begin = next;
  out.bytes.set(data, next);
  next += data.length;
  const end = begin + padded(data.length);
  out.bytes.fill(0, next, end);
  return dataDigest && data.length > 0 ? writeDigest(out, begin, end) : end;
}

/** The digest of what lies between `at` and `end`, as it stands behind it: RFC 7143 section 13.1. */
export function digestOf(bytes: Uint8Array, at: number, end: number): number {
  return finishDigest(crc32cRaw(DIGEST_SEED, bytes, at, end));
}

/** What `crc32cRaw` starts a digest from, so that it can be made in pieces. */
export const DIGEST_SEED = -1;

/** A digest from the crc of all its pieces, unsigned. */
export function finishDigest(crc: number): number {
  return ~crc >>> 0;
}

/** The digest that stands at `at`, unsigned: its lowest byte comes first. */
export function readDigest({ view }: Region, at: number): number {
  return view.getUint32(at, true);
}

/** A digest as analysers show it: its bytes in the order in which they travel. */
export function digestText(digest: number): string {
  const reversed = (digest & 0xff) << 24 | (digest & 0xff00) << 8 | digest >>> 8 & 0xff00 |
    digest >>> 24;
  return `0x${(reversed >>> 0).toString(16).padStart(8, "0")}`;
}

function writeDigest(out: Region, at: number, end: number): number {
  out.view.setUint32(end, digestOf(out.bytes, at, end), true);
  return end + DIGEST_SIZE;
}
