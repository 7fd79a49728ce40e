/**
 * Messages and gaps as lines for people: one each, in columns; their fields below them when asked.
 * Whatever comes from the wire is made printable and cut.
 *
 * @module
 */
import type { Found, Gap } from "../../proto/boundary/found.ts";
import { canDraw } from "../live_view.ts";
import { columnsOf, cut, printable } from "../printable.ts";
import { bytesText } from "../readings.ts";
import { clockText, durationText, secondsText } from "./moment_text.ts";

/** Fits `999.000000`, two IPv4 addresses with their ports, and `Ready To Transfer WRITE(10)`. */
const TIME_COLUMNS = 10;
const ENDS_COLUMNS = 33;
const NAME_COLUMNS = 27;
/** Of a name and a length: a longer name takes from the blanks before the length. */
const NAME_AND_LENGTH_COLUMNS = NAME_COLUMNS + 8;
const DECIMALS = 6;

/** Of what a message tells of itself in one line. */
const DETAILS_MAX = 5;
const DETAIL_COLUMNS = 24;
/** SAM-5 4.7.7: the number without the two bits of the address method. */
const LUN_MASK = 0x3fff;
const ERRORS_MAX = 3;
const ERROR_COLUMNS = 100;

/** Of the fields below a line. */
const FIELDS_MAX = 256;
const FIELD_DEPTH_MAX = 6;
const FIELD_COLUMNS = 160;
const LIST_MAX = 32;
const INDENT = "    ";

const RED = "\x1b[31m";
const DIM = "\x1b[2m";
const STYLE_END = "\x1b[0m";

/** How lines are written. */
export interface LineStyle {
  /** Whole seconds since 1970 of the capture's origin. */
  readonly originSeconds: number;
  /** Of the first packet since the origin: seconds count from there, as Wireshark has them. */
  readonly startNs: number;
  /** Date and time (UTC) rather than seconds since the first packet. */
  readonly absolute: boolean;
  readonly colored: boolean;
}

/**
 * Fields that matter most, best first: as they are shown, and as decoders call them (in small letters,
 * without underscores and without what stands before a dot).
 */
const DETAILS: readonly (readonly [string, readonly string[]])[] = [
  ["malformed", ["malformed"]],
  ["seq", ["seq"]],
  ["tid", ["tid"]],
  ["itt", ["initiatortasktag"]],
  ["LUN", ["lun"]],
  ["LBA", ["lba"]],
  ["blocks", ["blocks"]],
  ["status", ["status"]],
  ["command", ["command"]],
  ["offset", ["bufferoffset"]],
  ["wants", ["desireddatalength", "desireddatatransferlength"]],
  ["cookie", ["clientcookie", "servercookie"]],
  ["entity", ["entitytype"]],
  ["method", ["method"]],
  ["mode", ["conmode"]],
  ["result", ["result"]],
  ["stage", ["csg"]],
  ["next", ["nsg"]],
  ["connect_seq", ["connectseq"]],
  ["global_seq", ["globalseq"]],
  ["msg_seq", ["msgseq"]],
  ["reason", ["reason"]],
];

/** PDUs of iSCSI that say which logical unit is meant. */
const ADDRESSED = /Command|Request/;
const ZERO_SAYS_NOTHING: ReadonlySet<string> = new Set(["tid", "status", "offset"]);

/** True when lines on standard output may be coloured. */
export function usesColor(): boolean {
  return canDraw() && !Deno.env.get("NO_COLOR");
}

/** A message as one line. */
export function foundLine(found: Found, style: LineStyle): string {
  const { conversation: { ends }, side } = found;
  const name = nameText(found);
  const length = ` ${found.length}`;
  const parts = [
    startText(found.begin.timeNs, ends[side], ends[side === 0 ? 1 : 0], style),
    padded(name, NAME_AND_LENGTH_COLUMNS - length.length) + length,
  ];
  const details = detailsText(found);
  if (details !== "") parts.push(details);
  if (found.foundBy !== "length") parts.push(`(${found.foundBy})`);
  if (found.latencyNs >= 0) parts.push(`after ${durationText(found.latencyNs)}`);
  if (found.errors.length > 0) parts.push(painted(errorsText(found.errors), RED, style));
  return parts.join("  ");
}

/** The fields of a message, one per line, what is within a field deeper. */
export function fieldLines(found: Found): string[] {
  const lines: string[] = [];
  addFields(lines, found.describe(), 1);
  return lines;
}

/** Bytes that belong to no message, as one line. */
export function gapLine(gap: Gap, style: LineStyle): string {
  const { conversation: { ends }, moment, side } = gap;
  const start = startText(moment.timeNs, ends[side], ends[side === 0 ? 1 : 0], style);
  return `${start}  ${painted(`… ${gapText(gap)}`, DIM, style)}`;
}

/** `1448 bytes not assigned (1448 not captured)`. */
export function gapText({ length, missing }: Gap): string {
  return `${length} ${length === 1 ? "byte" : "bytes"} not assigned (${missing} not captured)`;
}

/** `MSG osd_op`: a message's tag and type. */
export function nameText({ tag, type }: Found): string {
  const name = type === "" ? tag : `${tag} ${type}`;
  return shownText(name, NAME_COLUMNS * 2);
}

/** `seq 17 tid 9`: what matters most of a message's fields; may be empty. */
export function detailsText(found: Found): string {
  const values = new Map<string, unknown>();
  for (const [key, value] of Object.entries(found.describe())) {
    if (values.size === FIELDS_MAX) break;
    values.set(key.slice(key.lastIndexOf(".") + 1).replaceAll("_", "").toLowerCase(), value);
  }
  const parts: string[] = [];
  for (const [shown, keys] of DETAILS) {
    const value = keys.map((key) => values.get(key)).find((each) => each !== undefined);
    if (value === undefined || value === null || value === "" || !isScalar(value)) continue;
    if (value === 0 && ZERO_SAYS_NOTHING.has(shown)) continue;
    if (shown === "status" && value === "GOOD") continue; // what is not stands out
    if (value === found.type) continue; // it stands in a column of its own
    if (shown === "LUN" && !ADDRESSED.test(found.tag)) continue; // reserved, or known from there
    const text = shownText(detailText(shown, value), DETAIL_COLUMNS).replaceAll(/\s/g, " ");
    parts.push(`${shown} ${text}`);
    if (parts.length === DETAILS_MAX) break;
  }
  return parts.join(" ");
}

/** Task tags as Wireshark shows them, LUNs of one level (RFC 7143 section 11.2.1.7) as their number. */
function detailText(shown: string, value: unknown): string {
  if (shown === "itt" && typeof value === "number") {
    return `0x${value.toString(16)}`;
  }
  if (shown === "LUN" && typeof value === "string" && /^[0-7][0-9a-f]{3}0{12}$/.test(value)) {
    return `${Number(`0x${value.slice(0, 4)}`) & LUN_MASK}`;
  }
  return scalarText(value);
}

/** Errors of a message in one text: the first few, and how many more. */
export function errorsText(errors: readonly string[]): string {
  const told = errors.slice(0, ERRORS_MAX).map((each) => shownText(each, ERROR_COLUMNS));
  if (errors.length > ERRORS_MAX) told.push(`and ${errors.length - ERRORS_MAX} more`);
  return told.join("; ");
}

/** `msgr2 MSG osd_op seq 17 tid 9, 4.1 KiB, found by length`: a message where no columns are. */
export function foundSentence(found: Found): string {
  const name = `${found.protocol} ${nameText(found)}`;
  const details = detailsText(found);
  const after = found.latencyNs >= 0 ? `, after ${durationText(found.latencyNs)}` : "";
  const errors = found.errors.length > 0 ? `; ${errorsText(found.errors)}` : "";
  return `${name}${details === "" ? "" : ` ${details}`}, ${bytesText(found.length)}, ` +
    `found by ${found.foundBy}${after}${errors}`;
}

function startText(timeNs: number, from: string, to: string, style: LineStyle): string {
  const { absolute, originSeconds, startNs } = style;
  const time = absolute
    ? clockText(originSeconds, timeNs, DECIMALS)
    : secondsText(0, timeNs - startNs, DECIMALS).padStart(TIME_COLUMNS);
  return `${time}  ${padded(endsText(from, to), ENDS_COLUMNS)}`;
}

/** The second address is left out where it is the first one's. */
function endsText(from: string, to: string): string {
  const hostEnd = from.lastIndexOf(":");
  const same = hostEnd >= 0 && to.lastIndexOf(":") === hostEnd &&
    from.slice(0, hostEnd) === to.slice(0, hostEnd);
  return printable(`${from} > ${same ? to.slice(hostEnd) : to}`);
}

function addFields(lines: string[], fields: object, depth: number): void {
  const indent = INDENT.repeat(depth);
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    if (lines.length >= FIELDS_MAX) {
      if (lines.length === FIELDS_MAX) lines.push(`${INDENT}… more fields`);
      return;
    }
    const name = `${indent}${shownText(key, DETAIL_COLUMNS * 2)}:`;
    if (isScalar(value)) {
      lines.push(`${name} ${shownText(scalarText(value), FIELD_COLUMNS)}`.trimEnd());
    } else if (isShortList(value)) {
      lines.push(`${name} ${listText(value)}`.trimEnd());
    } else if (depth === FIELD_DEPTH_MAX) {
      lines.push(`${name} …`);
    } else {
      lines.push(name);
      addFields(lines, value as object, depth + 1);
    }
  }
}

/** What fits into a line; other lists have a line for each of their values. */
function isShortList(value: unknown): value is readonly unknown[] {
  if (!Array.isArray(value) || !value.every(isScalar)) return false;
  return value.length > LIST_MAX || columnsOf(listText(value)) <= FIELD_COLUMNS;
}

function listText(values: readonly unknown[]): string {
  const told = values.slice(0, LIST_MAX).map((each) => shownText(scalarText(each), FIELD_COLUMNS));
  const more = values.length > LIST_MAX ? ` and ${values.length - LIST_MAX} more` : "";
  const text = told.join(", ");
  return more === "" ? text : cut(text, FIELD_COLUMNS) + more;
}

/** What is written as one value: U64 and the like have a text of their own. */
function isScalar(value: unknown): boolean {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return true;
  return !Array.isArray(value) && value.toString !== Object.prototype.toString;
}

function scalarText(value: unknown): string {
  if (value instanceof Uint8Array) {
    const more = value.length > LIST_MAX
      ? ` and ${value.length - LIST_MAX} more ${value.length === LIST_MAX + 1 ? "byte" : "bytes"}`
      : "";
    return `${value.subarray(0, LIST_MAX).toHex()}${more}`;
  }
  if (typeof value === "bigint") return `0x${value.toString(16)}`;
  return `${value}`;
}

/** Cut before it is made printable, too: nobody escapes a mebibyte for one line. */
function shownText(text: string, columns: number): string {
  return cut(printable(text.slice(0, columns * 2)), columns);
}

function padded(text: string, columns: number): string {
  return text + " ".repeat(Math.max(0, columns - columnsOf(text)));
}

function painted(text: string, color: string, { colored }: LineStyle): string {
  return colored ? `${color}${text}${STYLE_END}` : text;
}
