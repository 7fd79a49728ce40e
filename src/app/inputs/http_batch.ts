/**
 * Cuts the body of a request into messages: lines, newline-delimited JSON, the elements of a JSON
 * array (RFC 8259), or all of it. Everything is checked before the first message is handed on; what
 * is handed on are parts of the body, as it was written.
 *
 * @module
 */
import { PAYLOAD_BYTES_MAX } from "../../wire/gateway/envelope.ts";
import { LINE_BYTES_MAX } from "../line_buffer.ts";

/** Messages of one request: handing them on takes a fraction of a second. */
export const BATCH_MESSAGES_MAX = 65_536;

/** What a body is cut into. */
export type BatchForm = "lines" | "json-lines" | "json" | "whole";

/** A body that cannot be cut; `status` is the answer. */
export class BatchError extends Error {
  override readonly name = "BatchError";
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const LF = 0x0a;
const CR = 0x0d;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

// RFC 8259 section 8.1: UTF-8 without a byte order mark, which JSON.parse refuses.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The messages of a body: where they lie, as a view of each would take more than a short line. */
export class Batch {
  readonly #body: Uint8Array;
  /** Start and end of each. */
  readonly #bounds: number[] = [];

  /** @param body what the messages are parts of */
  constructor(body: Uint8Array) {
    this.#body = body;
  }

  /** How many there are. */
  get count(): number {
    return this.#bounds.length / 2;
  }

  /** A view of one. */
  message(index: number): Uint8Array {
    return this.#body.subarray(this.#bounds[2 * index], this.#bounds[2 * index + 1]);
  }

  /** Adds one. @throws BatchError when there are too many, or it is too large */
  add(start: number, end: number, bytesMax: number, what: string): void {
    if (end - start > bytesMax) {
      throw new BatchError(
        413,
        `Cannot take ${what} as it must have ${bytesMax} bytes or less: it has ${end - start}`,
      );
    }
    if (this.count === BATCH_MESSAGES_MAX) {
      throw new BatchError(
        413,
        `Cannot take body as it must have ${BATCH_MESSAGES_MAX} messages or less: send it in parts`,
      );
    }
    this.#bounds.push(start, end);
  }
}

/** The messages of a body. @throws BatchError that is the answer */
export function cutBatch(body: Uint8Array, form: BatchForm): Batch {
  const batch = new Batch(body);
  if (form === "lines" || form === "json-lines") cutLines(body, form === "json-lines", batch);
  else if (form === "json" && Array.isArray(parseJson(body, "body"))) cutArray(body, batch);
  else batch.add(0, body.length, PAYLOAD_BYTES_MAX, "body");
  return batch;
}

/** A line ends with LF or CR LF; the last one need not. Blank ones say nothing in JSON. */
function cutLines(body: Uint8Array, isJson: boolean, batch: Batch): void {
  let number = 0;
  for (let at = 0; at < body.length;) {
    number++;
    const newline = body.indexOf(LF, at);
    const next = newline < 0 ? body.length : newline;
    const end = newline > at && body[newline - 1] === CR ? newline - 1 : next;
    const line = body.subarray(at, end);
    if (!isJson || !line.every(isSpace)) {
      batch.add(at, end, LINE_BYTES_MAX, `line ${number}`);
      if (isJson) parseJson(line, `line ${number}`);
    }
    at = next + 1;
  }
}

/** The elements of an array that is known to be well-formed, without the space around them. */
function cutArray(body: Uint8Array, batch: Batch): void {
  let start = body.indexOf(OPEN_BRACKET) + 1;
  let depth = 0;
  let at = start - 1;
  do {
    const byte = body[at]!;
    if (byte === QUOTE) at = endOfString(body, at);
    else if (byte === OPEN_BRACKET || byte === OPEN_BRACE) depth++;
    else if (byte === CLOSE_BRACKET || byte === CLOSE_BRACE) depth--;
    const over = depth === 0;
    if (over || depth === 1 && byte === COMMA) {
      addElement(body, start, at, batch);
      start = at + 1;
    }
    at++;
  } while (depth > 0);
}

/** An empty one is that of an empty array. */
function addElement(body: Uint8Array, start: number, end: number, batch: Batch): void {
  while (start < end && isSpace(body[start]!)) start++;
  while (end > start && isSpace(body[end - 1]!)) end--;
  if (start < end) batch.add(start, end, PAYLOAD_BYTES_MAX, `element ${batch.count + 1}`);
}

/** Where the quote is that ends the string. */
function endOfString(body: Uint8Array, at: number): number {
  for (at++; body[at] !== QUOTE; at++) if (body[at] === BACKSLASH) at++;
  return at;
}

function parseJson(bytes: Uint8Array, what: string): unknown {
  try {
    return JSON.parse(decoder.decode(bytes));
  } catch (error) {
    const why = error instanceof SyntaxError ? error.message : "it is no UTF-8";
    throw new BatchError(400, `Cannot take ${what} as it must be JSON: ${why}`);
  }
}

/** RFC 8259 section 2. */
function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x09 || byte === LF || byte === CR;
}
