/**
 * The envelope: messages of one stream with consecutive numbers, as a spool keeps them and a session
 * carries them. One layout for both, versioned as Ceph's structures are (ENCODE_START: a version, the
 * oldest version whose reader understands it, and a length, so that a reader may skip what came
 * later). Little-endian:
 *
 *     u8 version, u8 compat, u32 bytes after this field
 *     u8[16] spool id, u32 stream, u64 number of the first message, u32 count
 *     u16 length + gateway name (UTF-8)
 *     then for each message
 *     u64 arrival in ms since 1970
 *     u16 length + topic (UTF-8), u16 length + content type (UTF-8), u32 length + payload
 *
 * Stream and number name a message within its spool; the spool's id is random, made with its
 * database, so the three together name it for ever.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { readCounter, writeCounter } from "../../mem/u64.ts";

const VERSION = 1;
const COMPAT = 1;
/** A reader of ours understands everything that says so with this or less. */
const COMPAT_MAX = 1;

const LENGTH = 2;
const BODY = 6;
const SPOOL = 6;
const STREAM = 22;
const FIRST = 26;
const COUNT = 34;
const GATEWAY = 38;

/** Bytes of a spool's id. */
export const SPOOL_ID_SIZE = 16;
/** The longest gateway name, topic or content type, in bytes. */
export const NAME_BYTES_MAX = 1024;
/** The largest payload of one message. */
export const PAYLOAD_BYTES_MAX: number = 4 * 1024 * 1024;
/** Messages in one envelope. */
export const ENVELOPE_MESSAGES_MAX = 4096;

/** Numbers of all its messages, and the one after, are safe integers. */
const FIRST_MAX = Number.MAX_SAFE_INTEGER - ENVELOPE_MESSAGES_MAX;

/** What stands before the messages of an envelope. */
export interface EnvelopeHead {
  readonly spool: Uint8Array;
  readonly stream: number;
  readonly gateway: Uint8Array;
}

/** Bytes in front of the first message. */
export function envelopeHeadBytes(head: EnvelopeHead): number {
  return GATEWAY + 2 + head.gateway.length;
}

/** Bytes of one message. */
export function envelopeMessageBytes(
  topicBytes: number,
  contentTypeBytes: number,
  payloadBytes: number,
): number {
  return 16 + topicBytes + contentTypeBytes + payloadBytes;
}

/** Writes the head; numbers and lengths come with {@linkcode finishEnvelope}. Returns the next offset. */
export function writeEnvelopeHead(out: Region, at: number, head: EnvelopeHead): number {
  const { bytes, view } = out;
  view.setUint8(at, VERSION);
  view.setUint8(at + 1, COMPAT);
  view.setUint32(at + LENGTH, 0, true);
  bytes.set(head.spool, at + SPOOL);
  view.setUint32(at + STREAM, head.stream, true);
  return writeName(out, at + GATEWAY, head.gateway);
}

/** Appends a message; returns the next offset. */
export function writeEnvelopeMessage(
  out: Region,
  at: number,
  arrivalMs: number,
  topic: Uint8Array,
  contentType: Uint8Array,
  payload: Uint8Array,
): number {
  const topicAt = writeCounter(out, at, arrivalMs);
  const contentTypeAt = writeName(out, topicAt, topic);
  const payloadAt = writeName(out, contentTypeAt, contentType);
  out.view.setUint32(payloadAt, payload.length, true);
  out.bytes.set(payload, payloadAt + 4);
  return payloadAt + 4 + payload.length;
}

/** Fills in what is known when the last message has been appended: the envelope is [at, end). */
export function finishEnvelope(
  out: Region,
  at: number,
  end: number,
  first: number,
  count: number,
): void {
  out.view.setUint32(at + LENGTH, end - at - BODY, true);
  writeCounter(out, at + FIRST, first);
  out.view.setUint32(at + COUNT, count, true);
}

/** Walks over an envelope: {@linkcode open}, then {@linkcode next} for each message. */
export class EnvelopeReader {
  /** Offset of the spool's id. */
  spoolAt = 0;
  stream = 0;
  /** Number of the first message. */
  first = 0;
  /** Messages in it. */
  count = 0;
  gatewayAt = 0;
  gatewayBytes = 0;
  /** Of the present message. */
  number = 0;
  arrivalMs = 0;
  topicAt = 0;
  topicBytes = 0;
  contentTypeAt = 0;
  contentTypeBytes = 0;
  payloadAt = 0;
  payloadBytes = 0;
  #from: Region | null = null;
  #at = 0;
  #end = 0;
  #left = 0;

  /** Checks the head of the envelope at [at, end); returns its end, or a negated {@linkcode Fault}. */
  open(from: Region, at: number, end: number): number {
    if (end - at < GATEWAY + 2) {
      return fail(Fault.Field, "envelope", at, end - at, `${GATEWAY + 2} bytes or more`);
    }
    const { view } = from;
    const compat = view.getUint8(at + 1);
    if (compat > COMPAT_MAX) {
      return fail(Fault.Field, "envelope compat", at + 1, compat, `${COMPAT_MAX} at most`);
    }
    const bytes = view.getUint32(at + LENGTH, true);
    if (bytes > end - at - BODY || bytes < GATEWAY + 2 - BODY) {
      return fail(Fault.Field, "envelope length", at + LENGTH, bytes, "what is there");
    }
    this.#end = at + BODY + bytes;
    this.spoolAt = at + SPOOL;
    this.stream = view.getUint32(at + STREAM, true);
    this.first = readCounter(from, at + FIRST, "envelope first number");
    if (this.first < 0) return this.first;
    if (this.first > FIRST_MAX) {
      return fail(
        Fault.Field,
        "envelope first number",
        at + FIRST,
        this.first,
        "below 2^53 - 4096",
      );
    }
    this.count = view.getUint32(at + COUNT, true);
    if (this.count === 0 || this.count > ENVELOPE_MESSAGES_MAX) {
      const expected = `1 to ${ENVELOPE_MESSAGES_MAX}`;
      return fail(Fault.Field, "envelope count", at + COUNT, this.count, expected);
    }
    this.gatewayAt = at + GATEWAY + 2;
    this.gatewayBytes = this.#name(from, at + GATEWAY, "envelope gateway");
    if (this.gatewayBytes < 0) return this.gatewayBytes;
    this.#from = from;
    this.#at = this.gatewayAt + this.gatewayBytes;
    this.#left = this.count;
    this.number = this.first - 1;
    return this.#end;
  }

  /** Moves to the next message: 1, 0 after the last one, or a negated {@linkcode Fault}. */
  next(): number {
    const from = this.#from!;
    if (this.#left === 0) return 0;
    const at = this.#at;
    if (this.#end - at < 16) {
      return fail(Fault.Field, "envelope message", at, this.#end - at, "16 bytes or more");
    }
    this.arrivalMs = readCounter(from, at, "message arrival");
    if (this.arrivalMs < 0) return this.arrivalMs;
    this.topicAt = at + 10;
    this.topicBytes = this.#name(from, at + 8, "message topic");
    if (this.topicBytes < 0) return this.topicBytes;
    const contentTypeLength = this.topicAt + this.topicBytes;
    this.contentTypeAt = contentTypeLength + 2;
    this.contentTypeBytes = this.#name(from, contentTypeLength, "message content type");
    if (this.contentTypeBytes < 0) return this.contentTypeBytes;
    const payloadLength = this.contentTypeAt + this.contentTypeBytes;
    if (this.#end - payloadLength < 4) {
      return fail(Fault.Field, "message payload", payloadLength, 0, "a length");
    }
    this.payloadAt = payloadLength + 4;
    this.payloadBytes = from.view.getUint32(payloadLength, true);
    if (this.payloadBytes > PAYLOAD_BYTES_MAX || this.payloadBytes > this.#end - this.payloadAt) {
      return fail(
        Fault.Field,
        "message payload",
        payloadLength,
        this.payloadBytes,
        "what is there",
      );
    }
    this.#at = this.payloadAt + this.payloadBytes;
    this.#left--;
    this.number++;
    return 1;
  }

  #name(from: Region, at: number, field: string): number {
    if (this.#end - at < 2) return fail(Fault.Field, field, at, this.#end - at, "2 bytes or more");
    const bytes = from.view.getUint16(at, true);
    if (bytes > NAME_BYTES_MAX || bytes > this.#end - at - 2) {
      return fail(Fault.Field, field, at, bytes, `${NAME_BYTES_MAX} at most, and what is there`);
    }
    return bytes;
  }
}

function writeName(out: Region, at: number, name: Uint8Array): number {
  out.view.setUint16(at, name.length, true);
  out.bytes.set(name, at + 2);
  return at + 2 + name.length;
}
