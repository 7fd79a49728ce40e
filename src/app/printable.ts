/**
 * Text from the network, made safe for terminals and for programs that read lines: control
 * characters, what turns the direction of writing round, and bytes that are not UTF-8 are shown as
 * escapes; everything else stays as it is.
 *
 * @module
 */

const encoder = new TextEncoder();
// A byte order mark is shown, not swallowed.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** C0 without tab, DEL, C1, line and paragraph separators, bidirectional controls, the BOM. */
const UNSAFE =
  // deno-lint-ignore no-control-regex -- these are what must not get through
  /[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

const HEX = encoder.encode("0123456789abcdef");
const UNSAFE_ONE = new RegExp(UNSAFE.source);
/** The longest escape of a byte: \xNN; escapes of longer characters grow less. */
const GROWTH_MAX = 4;

/** Text with its unsafe characters as `\x1b` or `\u{202e}`. */
export function printable(text: string): string {
  return text.replace(UNSAFE, escape);
}

/** One word: blanks are escaped too, an empty one is `-`. */
export function printableWord(text: string): string {
  return printable(text).replace(/\s/g, escape) || "-";
}

/** JSON whose unsafe characters are escaped the way JSON does it. */
export function printableJson(value: unknown): string {
  return JSON.stringify(value).replace(
    UNSAFE,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** The same bytes when they are safe (no copy is made), else their printable form as UTF-8. */
export function printableBytes(bytes: Uint8Array): Uint8Array {
  let plain = 0;
  while (plain < bytes.length && isPlain(bytes[plain]!)) plain++;
  if (plain === bytes.length) return bytes;
  const out = new Uint8Array(plain + GROWTH_MAX * (bytes.length - plain));
  out.set(bytes.subarray(0, plain));
  let end = plain;
  for (let at = plain; at < bytes.length;) {
    const size = utf8Size(bytes, at);
    const character = size > 1 ? decoder.decode(bytes.subarray(at, at + size)) : "";
    if (isPlain(bytes[at]!) || (size > 1 && !UNSAFE_ONE.test(character))) {
      for (let left = size; left > 0; left--) out[end++] = bytes[at++]!;
      continue;
    }
    if (size > 1) end += encoder.encodeInto(escape(character), out.subarray(end)).written;
    else {
      const byte = bytes[at]!;
      out[end++] = 0x5c;
      out[end++] = 0x78;
      out[end++] = HEX[byte >>> 4]!;
      out[end++] = HEX[byte & 15]!;
    }
    at += Math.max(size, 1);
  }
  return out.subarray(0, end);
}

/** Columns that text takes at most: characters that may be wide count double. */
export function columnsOf(text: string): number {
  let columns = 0;
  for (const character of text) columns += character.codePointAt(0)! < 0x1100 ? 1 : 2;
  return columns;
}

/** The start of a text that fits into `columns`; `~` shows that there was more. */
export function cut(text: string, columns: number): string {
  if (columnsOf(text) <= columns) return text;
  let kept = "";
  let used = 1;
  for (const character of text) {
    used += columnsOf(character);
    if (used > columns) break;
    kept += character;
  }
  return `${kept}~`;
}

function isPlain(byte: number): boolean {
  return (byte >= 0x20 && byte < 0x7f) || byte === 0x09;
}

function escape(character: string): string {
  const code = character.codePointAt(0)!;
  return code < 0x100 ? escapeByte(code) : `\\u{${code.toString(16)}}`;
}

function escapeByte(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, "0")}`;
}

/** Size of the UTF-8 sequence at `at`, RFC 3629 section 4; 0 when there is none. */
function utf8Size(bytes: Uint8Array, at: number): number {
  const first = bytes[at];
  if (first === undefined) return 0;
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  const size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  const second = bytes[at + 1] ?? 0;
  const low = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const high = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  if (second < low || second > high) return 0;
  for (let index = 2; index < size; index++) {
    if (((bytes[at + index] ?? 0) & 0xc0) !== 0x80) return 0;
  }
  return size;
}
