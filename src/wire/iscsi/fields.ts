/**
 * The basic header segment of a PDU as named fields, both ways, and its additional segments: RFC 7143
 * sections 11.2.1 to 11.19, with the names of Wireshark.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { ahsBytes, BHS_SIZE, hasStatus, opcodeAt, statusAt } from "./header.ts";
import { type Field, isAlwaysFinal, layoutOf } from "./layout.ts";
import { Opcode } from "./opcode.ts";
import { cdbFields, statusName } from "./scsi.ts";

const FLAGS = 1;
const FINAL = 0x80;
const CDB = 32;
const AHS_EXTENDED_CDB = 1;
const AHS_READ_LENGTH = 2;

/** What a field of a header can be: a number, a bit, or bytes. */
export type FieldValue = number | boolean | Uint8Array;

/** The fields of a header: numbers, bits, bytes as hex; with what its CDB and its status mean. */
export function headerFields(from: Region, at: number): Record<string, unknown> {
  const opcode = opcodeAt(from, at);
  const fields: Record<string, unknown> = {};
  for (const field of layoutOf(opcode)) {
    if (field.isAlias) fields[field.name] = from.bytes[at + field.at]!;
    else fields[field.name] = readField(from, at, field);
  }
  if (opcode === Opcode.ScsiCommand) Object.assign(fields, cdbFields(from, at + CDB));
  const told = opcode === Opcode.ScsiResponse || (opcode === Opcode.DataIn && hasStatus(from, at));
  if (told) fields["status"] = statusName(statusAt(from, at));
  return fields;
}

/**
 * The additional segments behind a header of a SCSI Command, as far as they lie before `end`: an
 * extended CDB, or how much a command that writes also reads.
 */
export function ahsFields(from: Region, at: number, end: number): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  const last = Math.min(end, at + BHS_SIZE + ahsBytes(from, at));
  let next = at + BHS_SIZE;
  while (last - next >= 4) {
    const length = from.view.getUint16(next);
    const type = from.bytes[next + 2]!;
    if (length > last - next - 3) break;
    if (type === AHS_EXTENDED_CDB && length > 1) {
      fields["ahs.extended_cdb"] = from.bytes.subarray(next + 4, next + 3 + length).toHex();
    } else if (type === AHS_READ_LENGTH && length === 5) {
      fields["ahs.bidir.length"] = from.view.getUint32(next + 4);
    }
    next += (3 + length + 3) & ~3;
  }
  return fields;
}

/**
 * Writes a header with these fields, the rest zero but a final bit that is always one. Returns the offset after it, or a negated {@linkcode Fault} for a name that this
 * PDU has not.
 */
export function writeHeader(
  out: Region,
  at: number,
  opcode: number,
  fields: Readonly<Record<string, FieldValue>>,
): number {
  out.bytes.fill(0, at, at + BHS_SIZE);
  const layout = layoutOf(opcode);
  out.bytes[at] = opcode;
  if (isAlwaysFinal(opcode)) out.bytes[at + FLAGS] = FINAL;
  for (const [name, value] of Object.entries(fields)) {
    const field = layout.find((one) => one.name === name);
    if (field === undefined) return fail(Fault.Field, `BHS ${name}`, at, opcode, "of this PDU");
    writeField(out, at, field, value);
  }
  return at + BHS_SIZE;
}

function readField(from: Region, at: number, field: Field): number | boolean | string {
  const { bytes, view } = from;
  const place = at + field.at;
  switch (field.size) {
    case 1: {
      const { mask } = field;
      const value = (bytes[place]! & mask) >> (31 - Math.clz32(mask & -mask));
      return (mask & (mask - 1)) === 0 ? value === 1 : value;
    }
    case 2:
      return view.getUint16(place);
    case 3:
      return view.getUint32(place - 1) & 0xffffff;
    case 4:
      return view.getUint32(place);
    default:
      return bytes.subarray(place, place + field.size).toHex();
  }
}

function writeField(out: Region, at: number, field: Field, value: FieldValue): void {
  const { bytes, view } = out;
  const place = at + field.at;
  if (typeof value === "object") {
    bytes.set(value.subarray(0, field.size), place);
    return;
  }
  const number = Number(value);
  switch (field.size) {
    case 1: {
      const shift = 31 - Math.clz32(field.mask & -field.mask);
      bytes[place] = (bytes[place]! & ~field.mask) | ((number << shift) & field.mask);
      break;
    }
    case 2:
      view.setUint16(place, number);
      break;
    case 3:
      view.setUint32(place - 1, (bytes[place - 1]! << 24) | (number & 0xffffff));
      break;
    default:
      view.setUint32(place, number);
  }
}
