/**
 * The bytes of a message as people read them: offset, 16 bytes in hex, the same as ASCII.
 *
 * @module
 */
import { arena } from "../../mem/arena.ts";
import { countText } from "../count_text.ts";
import type { Found } from "../../proto/boundary/found.ts";

const ROW_BYTES = 16;
const OFFSET_DIGITS = 8;
/** `0011 2233 …`: two digits a byte, a blank after each second. */
const HEX_COLUMNS = ROW_BYTES * 2 + ROW_BYTES / 2 - 1;
const INDENT = "    ";

/** Lines with up to `bytesMax` bytes of what was kept of a message. */
export function hexDump(found: Found, bytesMax: number): string[] {
  const { at, end, length, missing, mode } = found;
  const kept = end - at;
  if (kept <= 0) return [`${INDENT}bytes were not kept`];
  const lines: string[] = [];
  // A secure frame is kept as what it holds, without the tags and the padding it had on the wire.
  const isPlaintext = mode === "secure";
  if (isPlaintext) {
    lines.push(`${INDENT}plaintext of a secure frame: ${countText(kept, "byte")} of ${length}`);
  }
  const shown = Math.min(kept, Math.max(0, bytesMax));
  for (let from = 0; from < shown; from += ROW_BYTES) {
    lines.push(rowText(at, from, Math.min(from + ROW_BYTES, shown)));
  }
  const left = (isPlaintext ? kept : Math.max(kept, length - missing)) - shown;
  if (left > 0) lines.push(`${INDENT}… ${countText(left, "more byte")}`);
  return lines;
}

function rowText(at: number, from: number, end: number): string {
  let hex = "";
  let ascii = "";
  for (let index = from; index < end; index++) {
    const byte = arena.bytes[at + index]!;
    if (index > from && (index - from) % 2 === 0) hex += " ";
    hex += byte.toString(16).padStart(2, "0");
    ascii += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".";
  }
  const offset = from.toString(16).padStart(OFFSET_DIGITS, "0");
  return `${INDENT}${offset}: ${hex.padEnd(HEX_COLUMNS)}  ${ascii}`;
}
