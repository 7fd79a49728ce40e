/**
 * Strings and binary fields of MQTT: MQTT 3.1.1 section 1.5.3 "UTF-8 encoded strings" (u16 length,
 * most significant byte first, then the bytes), and the rules for topic names of section 4.7.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";

/** Bytes of a length field. */
const LENGTH_SIZE = 2;

// MQTT-1.5.3-1: ill-formed UTF-8 and surrogates are refused; MQTT-1.5.3-3: U+FEFF is not stripped.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** Where a field that was read lies. */
export class Span {
  /** First byte after the length. */
  at = 0;
  /** Behind the last byte. */
  end = 0;
}

/** Reads a field with a length; all of its packet is there, so one that is longer is malformed. */
export function readBytes(
  from: Region,
  at: number,
  end: number,
  field: string,
  into: Span,
): number {
  if (end - at < LENGTH_SIZE) return fail(Fault.Field, field, at, end - at, "2 bytes or more");
  const length = from.view.getUint16(at);
  const left = end - at - LENGTH_SIZE;
  if (length > left) return fail(Fault.Field, `${field} length`, at, length, `${left} or less`);
  into.at = at + LENGTH_SIZE;
  into.end = into.at + length;
  return into.end;
}

/** Reads a UTF-8 string: MQTT-1.5.3-1 and MQTT-1.5.3-2. */
export function readString(
  from: Region,
  at: number,
  end: number,
  field: string,
  into: { value: string },
): number {
  const next = readBytes(from, at, end, field, span);
  if (next < 0) return next;
  const value = decodeText(from.bytes.subarray(span.at, span.end));
  if (value === null) return fail(Fault.Field, field, span.at, 0, "UTF-8 without U+0000");
  into.value = value;
  return next;
}

const span = new Span();

/** The text of well-formed UTF-8 without U+0000 (MQTT-1.5.3-2); null when it is none. */
function decodeText(bytes: Uint8Array): string | null {
  if (bytes.includes(0)) return null;
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}

/** Writes a UTF-8 string; the caller knows that it fits, and has 65535 bytes or less. */
export function writeString(to: Region, at: number, text: string): number {
  return writeBytes(to, at, encoder.encode(text));
}

/** Writes a field with its length. */
export function writeBytes(to: Region, at: number, bytes: Uint8Array): number {
  to.view.setUint16(at, bytes.length);
  to.bytes.set(bytes, at + LENGTH_SIZE);
  return at + LENGTH_SIZE + bytes.length;
}

/**
 * True for a name that a message may be published to: MQTT-4.7.3-1 at least one character,
 * MQTT-4.7.3-2 no U+0000, MQTT-3.3.2-2 no wildcards. Its length in bytes is the caller's matter.
 */
export function isTopicName(text: string): boolean {
  // deno-lint-ignore no-control-regex -- U+0000 is what must not get through
  return text.length > 0 && !/[+#\x00]/.test(text);
}
