/**
 * As much of SCSI as a reader of iSCSI shows: names of commands, where a command reads or writes, names
 * of statuses and sense keys. SPC-5 tables D.2 and 4, SBC-4 section 5, SAM-5 table 54.
 *
 * @module
 */
import type { Region } from "../../mem/region.ts";

/** Commands by the first byte of their CDB. */
export const Cdb = {
  TestUnitReady: 0x00,
  Inquiry: 0x12,
  ReadCapacity10: 0x25,
  Read10: 0x28,
  Write10: 0x2a,
  Read16: 0x88,
  Write16: 0x8a,
  ServiceActionIn16: 0x9e,
  ReportLuns: 0xa0,
} as const;

const COMMANDS: Readonly<Record<number, string>> = {
  0x00: "TEST UNIT READY",
  0x01: "REZERO UNIT",
  0x03: "REQUEST SENSE",
  0x04: "FORMAT UNIT",
  0x05: "READ BLOCK LIMITS",
  0x07: "REASSIGN BLOCKS",
  0x08: "READ(6)",
  0x0a: "WRITE(6)",
  0x10: "WRITE FILEMARKS(6)",
  0x11: "SPACE(6)",
  0x12: "INQUIRY",
  0x15: "MODE SELECT(6)",
  0x16: "RESERVE(6)",
  0x17: "RELEASE(6)",
  0x1a: "MODE SENSE(6)",
  0x1b: "START STOP UNIT",
  0x1c: "RECEIVE DIAGNOSTIC RESULTS",
  0x1d: "SEND DIAGNOSTIC",
  0x1e: "PREVENT ALLOW MEDIUM REMOVAL",
  0x25: "READ CAPACITY(10)",
  0x28: "READ(10)",
  0x2a: "WRITE(10)",
  0x2b: "SEEK(10)",
  0x2e: "WRITE AND VERIFY(10)",
  0x2f: "VERIFY(10)",
  0x34: "PRE-FETCH(10)",
  0x35: "SYNCHRONIZE CACHE(10)",
  0x37: "READ DEFECT DATA(10)",
  0x3b: "WRITE BUFFER",
  0x3c: "READ BUFFER",
  0x3e: "READ LONG(10)",
  0x3f: "WRITE LONG(10)",
  0x41: "WRITE SAME(10)",
  0x42: "UNMAP",
  0x43: "READ TOC/PMA/ATIP",
  0x46: "GET CONFIGURATION",
  0x48: "SANITIZE",
  0x4a: "GET EVENT STATUS NOTIFICATION",
  0x4c: "LOG SELECT",
  0x4d: "LOG SENSE",
  0x51: "READ DISC INFORMATION",
  0x55: "MODE SELECT(10)",
  0x56: "RESERVE(10)",
  0x57: "RELEASE(10)",
  0x5a: "MODE SENSE(10)",
  0x5e: "PERSISTENT RESERVE IN",
  0x5f: "PERSISTENT RESERVE OUT",
  0x7f: "VARIABLE LENGTH CDB",
  0x83: "THIRD-PARTY COPY OUT",
  0x84: "THIRD-PARTY COPY IN",
  0x85: "ATA PASS-THROUGH(16)",
  0x88: "READ(16)",
  0x89: "COMPARE AND WRITE",
  0x8a: "WRITE(16)",
  0x8b: "ORWRITE(16)",
  0x8c: "READ ATTRIBUTE",
  0x8d: "WRITE ATTRIBUTE",
  0x8e: "WRITE AND VERIFY(16)",
  0x8f: "VERIFY(16)",
  0x90: "PRE-FETCH(16)",
  0x91: "SYNCHRONIZE CACHE(16)",
  0x93: "WRITE SAME(16)",
  0x9b: "READ BUFFER(16)",
  0x9c: "WRITE ATOMIC(16)",
  0x9e: "SERVICE ACTION IN(16)",
  0x9f: "SERVICE ACTION OUT(16)",
  0xa0: "REPORT LUNS",
  0xa1: "ATA PASS-THROUGH(12)",
  0xa2: "SECURITY PROTOCOL IN",
  0xa3: "MAINTENANCE IN",
  0xa4: "MAINTENANCE OUT",
  0xa8: "READ(12)",
  0xaa: "WRITE(12)",
  0xae: "WRITE AND VERIFY(12)",
  0xaf: "VERIFY(12)",
  0xb5: "SECURITY PROTOCOL OUT",
  0xb7: "READ DEFECT DATA(12)",
  0xbe: "READ CD",
};

const NAMES: readonly string[] = Array.from(
  { length: 256 },
  (_, code) => COMMANDS[code] ?? `CDB 0x${code.toString(16).padStart(2, "0")}`,
);

const STATUSES: Readonly<Record<number, string>> = {
  0x00: "GOOD",
  0x02: "CHECK CONDITION",
  0x04: "CONDITION MET",
  0x08: "BUSY",
  0x10: "INTERMEDIATE",
  0x14: "INTERMEDIATE-CONDITION MET",
  0x18: "RESERVATION CONFLICT",
  0x22: "COMMAND TERMINATED",
  0x28: "TASK SET FULL",
  0x30: "ACA ACTIVE",
  0x40: "TASK ABORTED",
};

const SENSE_KEYS: readonly string[] = [
  "NO SENSE",
  "RECOVERED ERROR",
  "NOT READY",
  "MEDIUM ERROR",
  "HARDWARE ERROR",
  "ILLEGAL REQUEST",
  "UNIT ATTENTION",
  "DATA PROTECT",
  "BLANK CHECK",
  "VENDOR SPECIFIC",
  "COPY ABORTED",
  "ABORTED COMMAND",
  "RESERVED",
  "VOLUME OVERFLOW",
  "MISCOMPARE",
  "COMPLETED",
];

/** A service action of SERVICE ACTION IN(16). */
const READ_CAPACITY_16 = 0x10;

/** A command by the first byte of its CDB: `READ(10)`. */
export function commandName(opcode: number): string {
  return NAMES[opcode]!;
}

/** A status in words; a number where it is none of SAM's. */
export function statusName(status: number): string {
  return STATUSES[status] ?? `status 0x${status.toString(16)}`;
}

/** What a CDB of 16 bytes asks for: its command, and for reads and writes where and how much. */
export function cdbFields(from: Region, at: number): Record<string, unknown> {
  const { bytes, view } = from;
  const opcode = bytes[at]!;
  const command = opcode === Cdb.ServiceActionIn16 && (bytes[at + 1]! & 0x1f) === READ_CAPACITY_16
    ? "READ CAPACITY(16)"
    : commandName(opcode);
  const fields: Record<string, unknown> = { "scsi.opcode": opcode, command };
  switch (opcode) {
    case 0x08:
    case 0x0a:
      fields["lba"] = view.getUint32(at) & 0x1fffff;
      fields["blocks"] = bytes[at + 4]! || 256; // SBC-4: 0 means 256
      break;
    case 0x28:
    case 0x2a:
    case 0x2e:
    case 0x2f:
    case 0x34:
    case 0x35:
    case 0x41:
      fields["lba"] = view.getUint32(at + 2);
      fields["blocks"] = view.getUint16(at + 7);
      break;
    case 0xa8:
    case 0xaa:
    case 0xae:
    case 0xaf:
      fields["lba"] = view.getUint32(at + 2);
      fields["blocks"] = view.getUint32(at + 6);
      break;
    case 0x88:
    case 0x8a:
    case 0x8b:
    case 0x8e:
    case 0x8f:
    case 0x90:
    case 0x91:
    case 0x93:
      fields["lba"] = wide(view.getUint32(at + 2), view.getUint32(at + 6));
      fields["blocks"] = view.getUint32(at + 10);
      break;
    case 0x89:
      fields["lba"] = wide(view.getUint32(at + 2), view.getUint32(at + 6));
      fields["blocks"] = bytes[at + 13]!;
      break;
    case 0x9c:
      fields["lba"] = wide(view.getUint32(at + 2), view.getUint32(at + 6));
      fields["blocks"] = view.getUint16(at + 12);
      break;
  }
  return fields;
}

/**
 * Sense data as a SCSI Response carries it, in fixed or descriptor format (SPC-5 section 4.4), between
 * `at` and `end`; empty when it is neither.
 */
export function senseFields(from: Region, at: number, end: number): Record<string, unknown> {
  const { bytes } = from;
  if (end - at < 4) return {};
  switch (bytes[at]! & 0x7f) {
    case 0x70:
    case 0x71:
      return sense(bytes[at + 2]!, end - at < 14 ? -1 : bytes[at + 12]!, bytes[at + 13] ?? 0);
    case 0x72:
    case 0x73:
      return sense(bytes[at + 1]!, bytes[at + 2]!, bytes[at + 3]!);
    default:
      return {};
  }
}

function sense(key: number, code: number, qualifier: number): Record<string, unknown> {
  const fields = { "sense.key": key & 15, sense: SENSE_KEYS[key & 15]! };
  return code < 0 ? fields : { ...fields, "sense.asc": code, "sense.ascq": qualifier };
}

/** A 64-bit number: as text where a number is not exact. */
function wide(high: number, low: number): number | string {
  const value = high * 0x100000000 + low;
  if (Number.isSafeInteger(value)) return value;
  return `0x${high.toString(16)}${low.toString(16).padStart(8, "0")}`;
}
