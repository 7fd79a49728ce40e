/**
 * Whether bytes are DER all through: X.690 sections 8.1 and 10.1. It looks at every element once,
 * without recursion, so that what comes after it meets neither a length that leads out of its element
 * nor a nest deeper than it has a stack.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import { CONSTRUCTED } from "./tag.ts";

/** Elements within each other: a signed message with certificates has up to 14. */
const DEPTH_MAX = 24;
/** Octets of a length: lengths up to 16 MiB. */
const LENGTH_OCTETS_MAX = 3;
/** Of the class "universal", X.680 section 8.4: what is always constructed. */
const CLASS = 0xc0;
const NUMBER = 0x1f;
const END_OF_CONTENTS = 0;
const OCTET_STRING = 4;
const EXTERNAL = 8;
const EMBEDDED_PDV = 11;
const SEQUENCE = 16;
const SET = 17;

/** An element's tag and where its content lies. */
export class Header {
  tag = 0;
  /** Where the content begins. */
  at = 0;
  /** Where it ends, and the next element begins. */
  end = 0;
}

const header = new Header();
const ends = new Int32Array(DEPTH_MAX);

/** Checks one element that fills `bytes`: 0, or a negated {@linkcode Fault}. */
export function checkDer(bytes: Uint8Array): number {
  let depth = 0;
  let at = readHeader(bytes, 0, bytes.length, header);
  if (at < 0) return at;
  if (header.end !== bytes.length) {
    const left = bytes.length - header.end;
    return fail(Fault.Field, "DER bytes behind the element", header.end, left, "0");
  }
  for (;;) {
    if (header.tag & CONSTRUCTED) {
      if (depth === DEPTH_MAX) {
        return fail(Fault.Large, "DER depth", header.at, depth + 1, `up to ${DEPTH_MAX}`);
      }
      ends[depth++] = header.end;
    } else at = header.end;
    while (depth > 0 && at === ends[depth - 1]) depth--;
    if (depth === 0) return 0;
    at = readHeader(bytes, at, ends[depth - 1]!, header);
    if (at < 0) return at;
  }
}

/** Reads tag and length; returns where the content begins, or a negated {@linkcode Fault}. */
export function readHeader(bytes: Uint8Array, at: number, end: number, into: Header): number {
  if (end - at < 2) return fail(Fault.Short, "DER element", at, end - at, "2 or more bytes");
  const tag = bytes[at]!;
  const fault = checkTag(tag, at);
  if (fault < 0) return fault;
  const first = bytes[at + 1]!;
  let contentAt = at + 2;
  let length = first;
  if (first === 0x80) {
    return fail(Fault.Field, "DER length", at + 1, first, "definite (X.690 section 10.1)");
  }
  if (first > 0x80) {
    const count = first & 0x7f;
    if (count > LENGTH_OCTETS_MAX) {
      return fail(
        Fault.Large,
        "DER octets of a length",
        at + 1,
        count,
        `1 to ${LENGTH_OCTETS_MAX}`,
      );
    }
    if (end - contentAt < count) {
      return fail(Fault.Short, "DER length", at + 1, end - contentAt, `${count} octets`);
    }
    length = 0;
    for (let i = 0; i < count; i++) length = length << 8 | bytes[contentAt + i]!;
    contentAt += count;
    if (length < 0x80 || length >>> (count - 1) * 8 === 0) {
      return fail(Fault.Field, "DER length", at + 1, length, "in the shortest form");
    }
  }
  if (length > end - contentAt) {
    return fail(
      Fault.Short,
      "DER length",
      at + 1,
      length,
      `up to ${end - contentAt}, what is left`,
    );
  }
  into.tag = tag;
  into.at = contentAt;
  into.end = contentAt + length;
  return contentAt;
}

function checkTag(tag: number, at: number): number {
  const number = tag & NUMBER;
  if (number === NUMBER) return fail(Fault.Field, "DER tag", at, tag, "a low tag number");
  if ((tag & CLASS) !== 0) return 0;
  if (number === END_OF_CONTENTS) return fail(Fault.Field, "DER tag", at, tag, "1 or more");
  const constructed = (tag & CONSTRUCTED) !== 0;
  const isNest = number === SEQUENCE || number === SET || number === EXTERNAL ||
    number === EMBEDDED_PDV;
  if (isNest === constructed || number === OCTET_STRING) return 0;
  return fail(Fault.Field, "DER tag", at, tag, isNest ? "constructed" : "primitive");
}
