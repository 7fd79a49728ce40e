/**
 * A message as bytes for the next reader. `text` is one line `TIME GATEWAY TOPIC PAYLOAD`, its
 * unsafe characters escaped as printable.ts does; `json` one object per line (RFC 8259); `raw` the
 * payload as it came. Times are RFC 3339 section 5.6, UTC with milliseconds. Lines end with LF.
 *
 * @module
 */
import type { Received } from "../hub/output.ts";
import { printableBytes, printableJson, printableWord } from "../printable.ts";

/** The forms that a message can have. */
export type Format = "text" | "json" | "raw";

/** Kept while empty; what a burst needed above this is given back. */
const CAPACITY_KEPT = 1024 * 1024;
const CAPACITY_FIRST = 64 * 1024;
/** Names that are kept encoded, and the longest of them: 256 KiB in all. */
const WORDS_KEPT = 1024;
const WORD_KEPT_LENGTH = 256;

/** `2026-11-21T16:00:00.`, without the milliseconds and `Z`. */
const SECOND_SIZE = 20;
const TIME_SIZE = SECOND_SIZE + 4;
/** 9999-12-31T23:59:59.999Z: RFC 3339 has four digits for a year. */
const TIME_MAX = 253402300799999;
/** Decimal digits of Number.MAX_SAFE_INTEGER. */
const DIGITS_MAX = 16;

const LF = 0x0a;
const SPACE = 0x20;
const ZERO = 0x30;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

const encoder = new TextEncoder();
// A byte order mark is part of a payload: what reads it later decides.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const JSON_TIME = encoder.encode('{"time":"');
const JSON_TEXT = encoder.encode(',"payload":"');
const JSON_VALUE = encoder.encode(',"payload":');
const JSON_BASE64 = encoder.encode(',"payload_base64":"');
const JSON_QUOTED_END = encoder.encode('"}\n');
const JSON_END = encoder.encode("}\n");

/** RFC 8259 section 11; parameters have no meaning there. */
const JSON_TYPE = /^application\/json[ \t]*(;|$)/i;

/** Messages one behind the other in memory that grows and is used again. */
export class MessageBuffer {
  readonly #format: Format;
  readonly #lines: boolean;
  #bytes = new Uint8Array(CAPACITY_FIRST);
  #end = 0;
  #second = NaN;
  readonly #secondText = new Uint8Array(SECOND_SIZE);
  readonly #digits = new Uint8Array(DIGITS_MAX);
  readonly #words = new Words(printableWord);
  readonly #topics = new Words((topic) => `,"topic":${printableJson(topic)}`);
  readonly #types = new Words((type) => `,"content_type":${printableJson(type)}`);
  #gateway = "";
  #spool = "";
  #stream = NaN;
  #source = new Uint8Array(0);

  /** @param lines false when nothing separates messages: a datagram ends by itself */
  constructor(format: Format, lines = true) {
    this.#format = format;
    this.#lines = lines;
  }

  /** Bytes held. */
  get size(): number {
    return this.#end;
  }

  /** All bytes held; valid until the next call. A write under way may still read them. */
  view(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#end);
  }

  /** Forgets the first `count` bytes. */
  drop(count: number): void {
    if (count < this.#end) {
      this.#bytes.copyWithin(0, count, this.#end);
      this.#end -= count;
      return;
    }
    this.#end = 0;
    if (this.#bytes.length > CAPACITY_KEPT) this.#bytes = new Uint8Array(CAPACITY_FIRST);
  }

  /** Adds one message; returns how many bytes it became. */
  add(message: Received): number {
    const before = this.#end;
    if (this.#format === "json") this.#addJson(message);
    else if (this.#format === "text") this.#addText(message);
    else this.#put(message.payload);
    if (!this.#lines) {
      if (this.#format === "json") this.#end--;
    } else if (this.#format !== "json") this.#putByte(LF);
    return this.#end - before;
  }

  #addText(message: Received): void {
    this.#putTime(message.arrivalMs);
    this.#putByte(SPACE);
    this.#put(this.#words.get(message.gateway));
    this.#putByte(SPACE);
    this.#put(this.#words.get(message.topic));
    this.#putByte(SPACE);
    this.#put(printableBytes(message.payload));
  }

  #addJson(message: Received): void {
    this.#put(JSON_TIME);
    this.#putTime(message.arrivalMs);
    this.#put(this.#sourceOf(message));
    this.#putNumber(message.number);
    this.#put(this.#topics.get(message.topic));
    this.#put(this.#types.get(message.contentType));
    this.#putPayload(message.payload, JSON_TYPE.test(message.contentType));
  }

  /** Text as a string, JSON as the value that it is, anything else in base64 (RFC 4648 section 4). */
  #putPayload(payload: Uint8Array, json: boolean): void {
    if (!json && isPlain(payload)) {
      this.#put(JSON_TEXT);
      this.#put(payload);
      this.#put(JSON_QUOTED_END);
      return;
    }
    const text = utf8(payload);
    if (text === null) {
      this.#put(JSON_BASE64);
      this.#putText(payload.toBase64());
      this.#put(JSON_QUOTED_END);
      return;
    }
    this.#put(JSON_VALUE);
    this.#putText((json ? jsonLine(text) : null) ?? printableJson(text));
    this.#put(JSON_END);
  }

  /** Messages of one gateway come in runs: this part is the same as in the one before. */
  #sourceOf({ gateway, spool, stream }: Received): Uint8Array {
    if (gateway !== this.#gateway || spool !== this.#spool || stream !== this.#stream) {
      this.#gateway = gateway;
      this.#spool = spool;
      this.#stream = stream;
      this.#source = encoder.encode(
        `","gateway":${printableJson(gateway)},"spool":${printableJson(spool)},` +
          `"stream":${stream},"number":`,
      );
    }
    return this.#source;
  }

  /** The gateway's clock may be anything: what RFC 3339 cannot write is brought into its range. */
  #putTime(arrivalMs: number): void {
    const ms = arrivalMs > 0 ? Math.floor(Math.min(arrivalMs, TIME_MAX)) : 0;
    const second = Math.floor(ms / 1000);
    if (second !== this.#second) {
      this.#second = second;
      encoder.encodeInto(new Date(second * 1000).toISOString(), this.#secondText);
    }
    this.#reserve(TIME_SIZE);
    this.#bytes.set(this.#secondText, this.#end);
    const rest = ms - second * 1000;
    const at = this.#end + SECOND_SIZE;
    this.#bytes[at] = ZERO + Math.floor(rest / 100);
    this.#bytes[at + 1] = ZERO + Math.floor(rest / 10) % 10;
    this.#bytes[at + 2] = ZERO + rest % 10;
    this.#bytes[at + 3] = 0x5a; // Z
    this.#end += TIME_SIZE;
  }

  #putNumber(number: number): void {
    let at = DIGITS_MAX;
    let left = number;
    do {
      const tenth = Math.floor(left / 10);
      this.#digits[--at] = ZERO + (left - tenth * 10);
      left = tenth;
    } while (left > 0 && at > 0);
    this.#put(this.#digits.subarray(at));
  }

  #putText(text: string): void {
    this.#reserve(text.length * 3); // UTF-8 needs at most three bytes for a UTF-16 unit
    this.#end += encoder.encodeInto(text, this.#bytes.subarray(this.#end)).written;
  }

  #put(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#end);
    this.#end += bytes.length;
  }

  #putByte(byte: number): void {
    this.#reserve(1);
    this.#bytes[this.#end++] = byte;
  }

  /** Grows into new memory: a write under way keeps what it was given. */
  #reserve(count: number): void {
    const wanted = this.#end + count;
    if (wanted <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(wanted, this.#bytes.length * 2));
    grown.set(this.view());
    this.#bytes = grown;
  }
}

/** Names encoded once: there are few, and they come again with each message. */
class Words {
  readonly #kept = new Map<string, Uint8Array>();
  readonly #form: (text: string) => string;

  constructor(form: (text: string) => string) {
    this.#form = form;
  }

  get(text: string): Uint8Array {
    const kept = this.#kept.get(text);
    if (kept !== undefined) return kept;
    const bytes = encoder.encode(this.#form(text));
    if (text.length > WORD_KEPT_LENGTH) return bytes;
    if (this.#kept.size === WORDS_KEPT) this.#kept.clear();
    this.#kept.set(text, bytes);
    return bytes;
  }
}

/** Printable ASCII that JSON writes as it is. */
function isPlain(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]!;
    if (byte < SPACE || byte > 0x7e || byte === QUOTE || byte === BACKSLASH) return false;
  }
  return true;
}

function utf8(bytes: Uint8Array): string | null {
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}

/**
 * A JSON text on one line, null when it is none. It stays the text that it was, so that long
 * numbers keep their digits: line ends can only stand between its tokens (RFC 8259 sections 2 and
 * 7), and unsafe characters only in its strings.
 */
function jsonLine(text: string): string | null {
  try {
    JSON.parse(text);
  } catch {
    return null;
  }
  return text.replace(/[\t\n\r]/g, " ")
    .replace(/[^ -~]/gu, (character) => printableJson(character).slice(1, -1));
}
