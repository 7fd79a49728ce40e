/**
 * Netlink attributes: the kernel's netlink.h, struct nlattr. Type and length, then the value, padded
 * to four bytes; a nest is an attribute whose value is attributes. Numbers are in host order unless
 * an attribute says otherwise. What is not known is skipped.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { align4 } from "./nlmsg.ts";

/** Bytes of an attribute's header. */
export const ATTRIBUTE_HEADER_SIZE = 4;
/** NLA_F_NESTED. */
const NESTED = 0x8000;
/** NLA_TYPE_MASK: without NLA_F_NESTED and NLA_F_NET_BYTEORDER. */
const TYPE_MASK = 0x3fff;

/** An attribute's type, and where its value is. */
export class Attribute {
  type = 0;
  /** Where the value begins. */
  at = 0;
  /** Where it ends. */
  end = 0;
}

/**
 * Reads the attribute at `at`; returns where the next one begins (`end` after the last), or a negated
 * {@linkcode Fault}. Fewer bytes than a header after an attribute are padding. `at` must be a
 * multiple of four, as it is in a message that begins at one.
 *
 * ```ts ignore
 * for (let at = start; at < end;) {
 *   at = readAttribute(from, at, end, attribute);
 *   if (at < 0) return at;
 * }
 * ```
 */
export function readAttribute(from: Region, at: number, end: number, into: Attribute): number {
  if (end - at < ATTRIBUTE_HEADER_SIZE) {
    return fail(Fault.Field, "nlattr length of the rest", at, end - at, "4 or more");
  }
  const { view } = from;
  const length = view.getUint16(at, true);
  if (length < ATTRIBUTE_HEADER_SIZE || length > end - at) {
    return fail(Fault.Field, "nla_len", at, length, "4 to what is left of the message");
  }
  into.type = view.getUint16(at + 2, true) & TYPE_MASK;
  into.at = at + ATTRIBUTE_HEADER_SIZE;
  into.end = at + length;
  const next = align4(at + length);
  return end - next < ATTRIBUTE_HEADER_SIZE ? end : next;
}

/** A u8, u16 or u32 value whose length was checked here; a negated {@linkcode Fault} when it is short. */
export function attributeU8(from: Region, { at, end, type }: Attribute): number {
  return end - at < 1 ? short(type, at, end, "1 or more") : from.view.getUint8(at);
}

/** A u16 in host order. */
export function attributeU16(from: Region, { at, end, type }: Attribute): number {
  return end - at < 2 ? short(type, at, end, "2 or more") : from.view.getUint16(at, true);
}

/** A u16 in network order. */
export function attributeU16Be(from: Region, { at, end, type }: Attribute): number {
  return end - at < 2 ? short(type, at, end, "2 or more") : from.view.getUint16(at);
}

/** A u32 in host order. */
export function attributeU32(from: Region, { at, end, type }: Attribute): number {
  return end - at < 4 ? short(type, at, end, "4 or more") : from.view.getUint32(at, true);
}

/** A u32 in network order. */
export function attributeU32Be(from: Region, { at, end, type }: Attribute): number {
  return end - at < 4 ? short(type, at, end, "4 or more") : from.view.getUint32(at);
}

/** 0, or a negated {@linkcode Fault} when a value has less than `size` bytes. */
export function checkSize({ at, end, type }: Attribute, size: number): number {
  return end - at < size ? short(type, at, end, "that of its type") : 0;
}

/** Copies exactly `size` bytes, an address, to the start of `into`; 0, or a negated {@linkcode Fault}. */
export function attributeBytes(
  from: Region,
  { at, end, type }: Attribute,
  size: number,
  into: Uint8Array,
): number {
  if (end - at < size) return short(type, at, end, "that of the address");
  const { bytes } = from;
  for (let i = 0; i < size; i++) into[i] = bytes[at + i]!;
  return 0;
}

/** A text up to its NUL, or to the end of the value; it makes a string. */
export function attributeText(from: Region, { at, end }: Attribute): string {
  const { bytes } = from;
  let stop = at;
  while (stop < end && bytes[stop] !== 0) stop++;
  return new TextDecoder().decode(bytes.subarray(at, stop));
}

/** Writes a u8; like all writers here it returns where the next attribute begins. */
export function writeU8(out: Region, at: number, type: number, value: number): number {
  out.view.setUint32(at, 5 | (type << 16), true);
  out.view.setUint32(at + 4, value & 255, true);
  return at + 8;
}

/** Writes a u16 in host order. */
export function writeU16(out: Region, at: number, type: number, value: number): number {
  out.view.setUint32(at, 6 | (type << 16), true);
  out.view.setUint32(at + 4, value & 0xffff, true);
  return at + 8;
}

/** Writes a u16 in network order. */
export function writeU16Be(out: Region, at: number, type: number, value: number): number {
  out.view.setUint32(at, 6 | (type << 16), true);
  out.view.setUint32(at + 4, 0, true);
  out.view.setUint16(at + 4, value);
  return at + 8;
}

/** Writes a u32 in host order. */
export function writeU32(out: Region, at: number, type: number, value: number): number {
  out.view.setUint32(at, 8 | (type << 16), true);
  out.view.setUint32(at + 4, value, true);
  return at + 8;
}

/** Writes a u32 in network order. */
export function writeU32Be(out: Region, at: number, type: number, value: number): number {
  out.view.setUint32(at, 8 | (type << 16), true);
  out.view.setUint32(at + 4, value);
  return at + 8;
}

/** Writes the first `size` bytes of `value`. */
export function writeBytes(
  out: Region,
  at: number,
  type: number,
  value: Uint8Array,
  size: number,
): number {
  out.view.setUint16(at, ATTRIBUTE_HEADER_SIZE + size, true);
  out.view.setUint16(at + 2, type, true);
  const start = at + ATTRIBUTE_HEADER_SIZE;
  const { bytes } = out;
  for (let i = 0; i < size; i++) bytes[start + i] = value[i]!;
  const next = align4(start + size);
  bytes.fill(0, start + size, next);
  return next;
}

/** Writes an ASCII text with its NUL. */
export function writeText(out: Region, at: number, type: number, text: string): number {
  const { length } = text;
  out.view.setUint16(at, ATTRIBUTE_HEADER_SIZE + length + 1, true);
  out.view.setUint16(at + 2, type, true);
  const start = at + ATTRIBUTE_HEADER_SIZE;
  const { bytes } = out;
  for (let i = 0; i < length; i++) bytes[start + i] = text.charCodeAt(i);
  const next = align4(start + length + 1);
  bytes.fill(0, start + length, next);
  return next;
}

/** Begins a nest at `at`; returns where its first attribute begins. {@linkcode endNest} ends it. */
export function beginNest(out: Region, at: number, type: number): number {
  out.view.setUint16(at, ATTRIBUTE_HEADER_SIZE, true);
  out.view.setUint16(at + 2, type | NESTED, true);
  return at + ATTRIBUTE_HEADER_SIZE;
}

/** Ends the nest that began at `at`: sets its length; returns `end`. */
export function endNest(out: Region, at: number, end: number): number {
  out.view.setUint16(at, end - at, true);
  return end;
}

function short(type: number, at: number, end: number, expected: string): number {
  return fail(Fault.Field, LENGTH_OF[type] ?? "nla_len", at, end - at, expected);
}

/** Names of fields without making a text on the way. */
const LENGTH_OF: readonly string[] = Array.from(
  { length: 64 },
  (_, type) => `length of attribute ${type}`,
);
