/**
 * Writes DER: X.690 sections 8 and 10. Each function makes one element out of its parts; that is enough
 * for certificates and control messages, of which there are few.
 *
 * @module
 */
import { assert } from "../../mem/assert.ts";
import { compareOctets } from "./octets.ts";
import { oidBytes } from "./oid.ts";
import { Tag } from "./tag.ts";
import { formatTime } from "./time.ts";

/** One octet without a sign, and a length in its short form. */
const SMALL_MAX = 0x7f;

/** Tag, length, and the parts one after the other. */
export function element(tag: number, ...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const size = parts.reduce((sum, { length }) => sum + length, 0);
  const head = [tag, ...lengthOctets(size)];
  const out = new Uint8Array(head.length + size);
  out.set(head);
  let at = head.length;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** SEQUENCE. */
export function sequence(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return element(Tag.Sequence, ...parts);
}

/** SET OF, in the order that X.690 section 11.6 asks for. */
export function setOf(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return element(Tag.Set, ...parts.toSorted(compareOctets));
}

/** INTEGER, of 0 to 127. */
export function integer(value: number): Uint8Array<ArrayBuffer> {
  assert(value >= 0 && value <= SMALL_MAX, "a small INTEGER is 0 to 127");
  return element(Tag.Integer, Uint8Array.of(value));
}

/** INTEGER, of octets that are its content. */
export function integerOf(content: Uint8Array): Uint8Array<ArrayBuffer> {
  return element(Tag.Integer, content);
}

/** OBJECT IDENTIFIER. */
export function objectIdentifier(oid: string): Uint8Array<ArrayBuffer> {
  return element(Tag.Oid, oidBytes(oid));
}

/** OCTET STRING. */
export function octetString(content: Uint8Array): Uint8Array<ArrayBuffer> {
  return element(Tag.OctetString, content);
}

/** BIT STRING of whole octets, unless the last one has `unused` bits. */
export function bitString(content: Uint8Array, unused = 0): Uint8Array<ArrayBuffer> {
  return element(Tag.BitString, Uint8Array.of(unused), content);
}

/** TRUE: X.690 section 11.1. */
export function booleanTrue(): Uint8Array<ArrayBuffer> {
  return element(Tag.Boolean, Uint8Array.of(0xff));
}

/** UTF8String. */
export function utf8String(text: string): Uint8Array<ArrayBuffer> {
  return element(Tag.Utf8String, new TextEncoder().encode(text));
}

/** UTCTime through 2049, GeneralizedTime after: RFC 5280 section 4.1.2.5. Whole seconds. */
export function time(ms: number): Uint8Array<ArrayBuffer> {
  const { text, isUtcTime } = formatTime(ms);
  return element(isUtcTime ? Tag.UtcTime : Tag.GeneralizedTime, new TextEncoder().encode(text));
}

function lengthOctets(size: number): number[] {
  if (size <= SMALL_MAX) return [size];
  const octets: number[] = [];
  for (let left = size; left > 0; left >>>= 8) octets.unshift(left & 0xff);
  return [0x80 | octets.length, ...octets];
}
