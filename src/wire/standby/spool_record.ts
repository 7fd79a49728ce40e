/**
 * Rows of a spool as records of a post (post.ts): what one box's spool.db holds, so that another box
 * holds the same. Little-endian; a text is u32 length + UTF-8:
 *
 *     SPOOL           u8[16] id | u64 generation | u8 own
 *     SPOOL_STREAM    u32 stream | u8[16] spool | u32 number | u32 lane | u64 next | u64 clock |
 *                     text route | text hubs
 *     SPOOL_ENVELOPE  u32 stream | u32 count | u64 number of the last message | u64 at | u32 crc | bytes
 *     SPOOL_REMOVED   u32 stream | u64 after | u64 up to: envelopes in between are deleted
 *     SPOOL_CURSOR    u32 stream | u64 number | text hub
 *     SPOOL_POSITION  text input | text position
 *
 * `stream` is the row of the database, `number` of a stream its number in its spool. The crc of an
 * envelope is that of its row: damage on the sender's disk shows at whoever reads it, not here.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { readCounter, writeCounter } from "../../mem/u64.ts";
import { ENVELOPE_MESSAGES_MAX, SPOOL_ID_SIZE } from "../gateway/envelope.ts";
import { type PostWriter, RecordKind } from "./post.ts";

const GENERATION = 16;
const OWN = 24;
const SPOOL_SIZE = 25;

const STREAM_SPOOL = 4;
const STREAM_NUMBER = 20;
const STREAM_LANE = 24;
const STREAM_NEXT = 28;
const STREAM_CLOCK = 36;
const STREAM_ROUTE = 44;

const ENVELOPE_COUNT = 4;
const ENVELOPE_NUMBER = 8;
const ENVELOPE_AT = 16;
const ENVELOPE_CRC = 24;
const ENVELOPE_BYTES = 28;

const REMOVED_AFTER = 4;
const REMOVED_NUMBER = 12;
const REMOVED_SIZE = 20;

const CURSOR_NUMBER = 4;
const CURSOR_HUB = 12;

/** The last number of a removal that leaves nothing behind `after`. */
export const NUMBER_MAX: number = Number.MAX_SAFE_INTEGER;
/** The largest text, or envelope: an envelope is 64 KiB, or one message of 4 MiB at most. */
const BYTES_MAX = 8 * 1024 * 1024;
/** UTF-8 of one UTF-16 unit. */
const UTF8_BYTES_MAX = 3;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A spool: how often it was opened, and whether it is the box's own. */
export interface SpoolIdRow {
  readonly kind: typeof RecordKind.Spool;
  /** 32 hex digits. */
  readonly spool: string;
  readonly generation: number;
  readonly own: boolean;
}

/** A stream. */
export interface SpoolStreamRow {
  readonly kind: typeof RecordKind.SpoolStream;
  readonly stream: number;
  readonly spool: string;
  readonly number: number;
  readonly route: string;
  readonly lane: number;
  readonly next: number;
  readonly clock: number;
  /** Names, with spaces between. */
  readonly hubs: string;
}

/** An envelope. */
export interface SpoolEnvelopeRow {
  readonly kind: typeof RecordKind.SpoolEnvelope;
  readonly stream: number;
  readonly number: number;
  readonly count: number;
  readonly at: number;
  readonly crc: number;
  readonly bytes: Uint8Array;
}

/** Envelopes that are deleted: those above `after`, up to `number`. */
export interface SpoolRemovedRow {
  readonly kind: typeof RecordKind.SpoolRemoved;
  readonly stream: number;
  readonly after: number;
  readonly number: number;
}

/** How far a hub has a stream. */
export interface SpoolCursorRow {
  readonly kind: typeof RecordKind.SpoolCursor;
  readonly hub: string;
  readonly stream: number;
  readonly number: number;
}

/** Where an input goes on. */
export interface SpoolPositionRow {
  readonly kind: typeof RecordKind.SpoolPosition;
  readonly input: string;
  readonly position: string;
}

/** Whatever changes in a spool. */
export type SpoolRow =
  | SpoolIdRow
  | SpoolStreamRow
  | SpoolEnvelopeRow
  | SpoolRemovedRow
  | SpoolCursorRow
  | SpoolPositionRow;

/** Bytes that a row's record takes at most. */
export function spoolRecordBytes(row: SpoolRow): number {
  switch (row.kind) {
    case RecordKind.Spool:
      return SPOOL_SIZE;
    case RecordKind.SpoolStream:
      return STREAM_ROUTE + textBytes(row.route) + textBytes(row.hubs);
    case RecordKind.SpoolEnvelope:
      return ENVELOPE_BYTES + row.bytes.length;
    case RecordKind.SpoolRemoved:
      return REMOVED_SIZE;
    case RecordKind.SpoolCursor:
      return CURSOR_HUB + textBytes(row.hub);
    case RecordKind.SpoolPosition:
      return textBytes(row.input) + textBytes(row.position);
  }
}

/** Appends a row to a post: the only copy that is made of its bytes. */
export function addSpoolRecord(post: PostWriter, row: SpoolRow): void {
  const at = post.begin(row.kind, spoolRecordBytes(row));
  post.end(writeRow(post.region, at, row));
}

function writeRow(out: Region, at: number, row: SpoolRow): number {
  const { bytes, view } = out;
  switch (row.kind) {
    case RecordKind.Spool:
      bytes.subarray(at, at + SPOOL_ID_SIZE).setFromHex(row.spool);
      writeCounter(out, at + GENERATION, row.generation);
      view.setUint8(at + OWN, row.own ? 1 : 0);
      return at + SPOOL_SIZE;
    case RecordKind.SpoolStream:
      view.setUint32(at, row.stream, true);
      bytes.subarray(at + STREAM_SPOOL, at + STREAM_NUMBER).setFromHex(row.spool);
      view.setUint32(at + STREAM_NUMBER, row.number, true);
      view.setUint32(at + STREAM_LANE, row.lane, true);
      writeCounter(out, at + STREAM_NEXT, row.next);
      writeCounter(out, at + STREAM_CLOCK, row.clock);
      return writeText(out, writeText(out, at + STREAM_ROUTE, row.route), row.hubs);
    case RecordKind.SpoolEnvelope:
      view.setUint32(at, row.stream, true);
      view.setUint32(at + ENVELOPE_COUNT, row.count, true);
      writeCounter(out, at + ENVELOPE_NUMBER, row.number);
      writeCounter(out, at + ENVELOPE_AT, row.at);
      view.setUint32(at + ENVELOPE_CRC, row.crc, true);
      bytes.set(row.bytes, at + ENVELOPE_BYTES);
      return at + ENVELOPE_BYTES + row.bytes.length;
    case RecordKind.SpoolRemoved:
      view.setUint32(at, row.stream, true);
      writeCounter(out, at + REMOVED_AFTER, row.after);
      return writeCounter(out, at + REMOVED_NUMBER, row.number);
    case RecordKind.SpoolCursor:
      view.setUint32(at, row.stream, true);
      writeCounter(out, at + CURSOR_NUMBER, row.number);
      return writeText(out, at + CURSOR_HUB, row.hub);
    case RecordKind.SpoolPosition:
      return writeText(out, writeText(out, at, row.input), row.position);
  }
}

/**
 * Reads the body of a record of that kind at [at, end), and nothing but it; returns the row, whose
 * bytes are those of `from`, or a negated {@linkcode Fault}.
 */
export function readSpoolRecord(
  kind: number,
  from: Region,
  at: number,
  end: number,
): SpoolRow | number {
  switch (kind) {
    case RecordKind.Spool:
      return readSpool(from, at, end);
    case RecordKind.SpoolStream:
      return readStream(from, at, end);
    case RecordKind.SpoolEnvelope:
      return readEnvelope(from, at, end);
    case RecordKind.SpoolRemoved:
      return readRemoved(from, at, end);
    case RecordKind.SpoolCursor:
      return readCursor(from, at, end);
    case RecordKind.SpoolPosition:
      return readPosition(from, at, end);
    default:
      return fail(Fault.Field, "SPOOL kind", at, kind, "48 to 53");
  }
}

function readSpool(from: Region, at: number, end: number): SpoolRow | number {
  if (end - at !== SPOOL_SIZE) {
    return fail(Fault.Field, "SPOOL length", at, end - at, `${SPOOL_SIZE}`);
  }
  const generation = readCounter(from, at + GENERATION, "SPOOL generation");
  if (generation < 0) return generation;
  const own = from.view.getUint8(at + OWN);
  if (own > 1) return fail(Fault.Field, "SPOOL own", at + OWN, own, "0 or 1");
  return { kind: RecordKind.Spool, spool: spoolId(from, at), generation, own: own === 1 };
}

function readStream(from: Region, at: number, end: number): SpoolRow | number {
  const short = tooShort("SPOOL_STREAM length", at, end, STREAM_ROUTE);
  if (short < 0) return short;
  const { view } = from;
  const number = view.getUint32(at + STREAM_NUMBER, true);
  const lane = view.getUint32(at + STREAM_LANE, true);
  const next = readCounter(from, at + STREAM_NEXT, "SPOOL_STREAM next");
  if (next < 1) return fail(Fault.Field, "SPOOL_STREAM next", at + STREAM_NEXT, next, "1 or more");
  const clock = readCounter(from, at + STREAM_CLOCK, "SPOOL_STREAM clock");
  if (clock < 0) return clock;
  const route = readText(from, at + STREAM_ROUTE, end, "SPOOL_STREAM route");
  if (typeof route === "number") return route;
  const hubs = readText(from, textEnd, end, "SPOOL_STREAM hubs");
  if (typeof hubs === "number") return hubs;
  if (textEnd !== end) return tooLong("SPOOL_STREAM length", end);
  const stream = view.getUint32(at, true);
  const spool = spoolId(from, at + STREAM_SPOOL);
  return { kind: RecordKind.SpoolStream, stream, spool, number, route, lane, next, clock, hubs };
}

function readEnvelope(from: Region, at: number, end: number): SpoolRow | number {
  const short = tooShort("SPOOL_ENVELOPE length", at, end, ENVELOPE_BYTES);
  if (short < 0) return short;
  const size = end - at - ENVELOPE_BYTES;
  if (size > BYTES_MAX) {
    return fail(Fault.Large, "SPOOL_ENVELOPE length", at, size, `${BYTES_MAX} at most`);
  }
  const { bytes, view } = from;
  const count = view.getUint32(at + ENVELOPE_COUNT, true);
  if (count < 1 || count > ENVELOPE_MESSAGES_MAX) {
    const expected = `1 to ${ENVELOPE_MESSAGES_MAX}`;
    return fail(Fault.Field, "SPOOL_ENVELOPE count", at + ENVELOPE_COUNT, count, expected);
  }
  const number = readCounter(from, at + ENVELOPE_NUMBER, "SPOOL_ENVELOPE number");
  if (number < 0) return number;
  if (number < count) {
    const field = "SPOOL_ENVELOPE number";
    return fail(Fault.Field, field, at + ENVELOPE_NUMBER, number, "its count or more");
  }
  const arrival = readCounter(from, at + ENVELOPE_AT, "SPOOL_ENVELOPE at");
  if (arrival < 0) return arrival;
  return {
    kind: RecordKind.SpoolEnvelope,
    stream: view.getUint32(at, true),
    number,
    count,
    at: arrival,
    crc: view.getUint32(at + ENVELOPE_CRC, true),
    bytes: bytes.subarray(at + ENVELOPE_BYTES, end),
  };
}

function readRemoved(from: Region, at: number, end: number): SpoolRow | number {
  if (end - at !== REMOVED_SIZE) {
    return fail(Fault.Field, "SPOOL_REMOVED length", at, end - at, `${REMOVED_SIZE}`);
  }
  const after = readCounter(from, at + REMOVED_AFTER, "SPOOL_REMOVED after");
  if (after < 0) return after;
  const number = readCounter(from, at + REMOVED_NUMBER, "SPOOL_REMOVED number");
  if (number < 0) return number;
  if (number < after) {
    const field = "SPOOL_REMOVED number";
    return fail(Fault.Field, field, at + REMOVED_NUMBER, number, `from ${after} on`);
  }
  return { kind: RecordKind.SpoolRemoved, stream: from.view.getUint32(at, true), after, number };
}

function readCursor(from: Region, at: number, end: number): SpoolRow | number {
  const short = tooShort("SPOOL_CURSOR length", at, end, CURSOR_HUB);
  if (short < 0) return short;
  const number = readCounter(from, at + CURSOR_NUMBER, "SPOOL_CURSOR number");
  if (number < 0) return number;
  const hub = readText(from, at + CURSOR_HUB, end, "SPOOL_CURSOR hub");
  if (typeof hub === "number") return hub;
  if (textEnd !== end) return tooLong("SPOOL_CURSOR length", end);
  return { kind: RecordKind.SpoolCursor, hub, stream: from.view.getUint32(at, true), number };
}

function readPosition(from: Region, at: number, end: number): SpoolRow | number {
  const input = readText(from, at, end, "SPOOL_POSITION input");
  if (typeof input === "number") return input;
  const position = readText(from, textEnd, end, "SPOOL_POSITION position");
  if (typeof position === "number") return position;
  if (textEnd !== end) return tooLong("SPOOL_POSITION length", end);
  return { kind: RecordKind.SpoolPosition, input, position };
}

function spoolId({ bytes }: Region, at: number): string {
  return bytes.subarray(at, at + SPOOL_ID_SIZE).toHex();
}

function tooShort(field: string, at: number, end: number, least: number): number {
  return end - at < least ? fail(Fault.Field, field, at, end - at, `${least} or more`) : 0;
}

function tooLong(field: string, end: number): number {
  return fail(Fault.Field, field, textEnd, end - textEnd, "0 bytes after its texts");
}

function textBytes(text: string): number {
  return 4 + text.length * UTF8_BYTES_MAX;
}

function writeText(out: Region, at: number, text: string): number {
  const { written } = encoder.encodeInto(text, out.bytes.subarray(at + 4));
  out.view.setUint32(at, written, true);
  return at + 4 + written;
}

/** Where the last text that was read ends. */
let textEnd = 0;

function readText(from: Region, at: number, end: number, field: string): string | number {
  if (end - at < 4) return fail(Fault.Field, field, at, end - at, "4 bytes or more");
  const length = from.view.getUint32(at, true);
  if (length > BYTES_MAX || length > end - at - 4) {
    return fail(Fault.Field, field, at, length, `${BYTES_MAX} at most, and what is there`);
  }
  textEnd = at + 4 + length;
  try {
    return decoder.decode(from.bytes.subarray(at + 4, textEnd));
  } catch {
    return fail(Fault.Field, field, at, length, "bytes of UTF-8");
  }
}
