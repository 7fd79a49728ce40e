/**
 * What every PDU of iSCSI has: the basic header segment of 48 bytes, additional header segments, a
 * data segment padded to four bytes, and digests where they were negotiated (RFC 7143 section 11.2).
 * All numbers are big-endian.
 *
 * @module
 */
import type { Region } from "../../mem/region.ts";

const OPCODE = 0;
const FLAGS = 1;
const STATUS = 3;
const TOTAL_AHS_LENGTH = 4; // in words of four bytes
const DATA_SEGMENT_LENGTH = 4; // the low 24 bits of this word
const ISID = 8;
const TSIH = 14;
const INITIATOR_TASK_TAG = 16;
const TARGET_TRANSFER_TAG = 20;
const EXPECTED_SN = 28; // ExpStatSN of an initiator, ExpCmdSN of a target
const CDB = 32;
const LOGIN_STATUS = 36;

/** Bytes of a basic header segment. */
export const BHS_SIZE = 48;

/** Bytes of a header or data digest. */
export const DIGEST_SIZE = 4;

/** Bytes of a header at most: with the longest additional segments, and its digest. */
export const HEADER_BYTES_MAX: number = BHS_SIZE + 255 * 4 + DIGEST_SIZE;

/** A tag that names nothing (`0xffffffff`), as it reads here: signed. */
export const RESERVED_TAG = -1;

/** `FullFeaturePhase` as the next stage of a login. */
export const FULL_FEATURE_PHASE = 3;

/** The opcode, one of `Opcode`. */
export function opcodeAt({ bytes }: Region, at: number): number {
  return bytes[at + OPCODE]! & 0x3f;
}

/** The final bit; of a login it says that the stage changes. */
export function isFinal({ bytes }: Region, at: number): boolean {
  return (bytes[at + FLAGS]! & 0x80) !== 0;
}

/** Of SCSI Data-In: whether the status of the command is in it. */
export function hasStatus({ bytes }: Region, at: number): boolean {
  return (bytes[at + FLAGS]! & 1) !== 0;
}

/** Of a SCSI Response, or Data-In with status: the status of the command. */
export function statusAt({ bytes }: Region, at: number): number {
  return bytes[at + STATUS]!;
}

/** Bytes of the additional header segments. */
export function ahsBytes({ bytes }: Region, at: number): number {
  return bytes[at + TOTAL_AHS_LENGTH]! * 4;
}

/** Bytes of the data segment without its padding: 0 to 16777215. */
export function dataBytes({ view }: Region, at: number): number {
  return view.getUint32(at + DATA_SEGMENT_LENGTH) & 0xffffff;
}

/** A length with its padding to four bytes. */
export function padded(bytes: number): number {
  return (bytes + 3) & ~3;
}

/** The initiator task tag, signed. */
export function initiatorTaskTag({ view }: Region, at: number): number {
  return view.getInt32(at + INITIATOR_TASK_TAG);
}

/** The target transfer tag, signed. */
export function targetTransferTag({ view }: Region, at: number): number {
  return view.getInt32(at + TARGET_TRANSFER_TAG);
}

/** The number that the sender expects next of the other side: ExpStatSN or ExpCmdSN, signed. */
export function expectedSn({ view }: Region, at: number): number {
  return view.getInt32(at + EXPECTED_SN);
}

/** Of a SCSI Command: the first byte of its CDB. */
export function cdbOpcode({ bytes }: Region, at: number): number {
  return bytes[at + CDB]!;
}

/** Of a login: the stage that comes next, where {@linkcode isFinal} says that it changes. */
export function nextStage({ bytes }: Region, at: number): number {
  return bytes[at + FLAGS]! & 3;
}

/** Of a Login Response: class and detail of its status, 0 for success. */
export function loginStatus({ view }: Region, at: number): number {
  return view.getUint16(at + LOGIN_STATUS);
}

/** Of a login: the target's handle of the session; 0 in a request for a new one. */
export function tsihAt({ view }: Region, at: number): number {
  return view.getUint16(at + TSIH);
}

/** Of a login: the initiator's part of the session's name, as a number below 2^48. */
export function isidAt({ view }: Region, at: number): number {
  return view.getUint16(at + ISID) * 0x100000000 + view.getUint32(at + ISID + 2);
}

/** Copies `size` bytes, a multiple of four. */
export function copyWords(from: Region, at: number, to: Region, toAt: number, size: number): void {
  for (let index = 0; index < size; index += 4) {
    to.view.setInt32(toAt + index, from.view.getInt32(at + index));
  }
}
