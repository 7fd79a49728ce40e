/**
 * The frame formats once more, written from the document's text alone (msgr2 "Frame format" and
 * "Post-auth frame format") with node:crypto and a bitwise CRC, to hold the real ones
 * against; and a sender and a receiver around the real ones that work on plain byte arrays.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createCipheriv } from "node:crypto";
import { gcmMaker } from "../../src/io/libcrypto.ts";
import { arena, give, take } from "../../src/mem/arena.ts";
import { FrameReader } from "../../src/proto/msgr2/frame_reader.ts";
import { FrameWriter } from "../../src/proto/msgr2/frame_writer.ts";
import {
  Outbox,
  recordDataAt,
  recordFrontAt,
  recordMiddleAt,
} from "../../src/proto/msgr2/outbox.ts";
import { FrameFormat } from "../../src/wire/msgr2/frame.ts";
import { Nonce } from "../../src/wire/msgr2/nonce.ts";

export type Bytes = Uint8Array<ArrayBuffer>;

/** The four formats by the document's names. */
export const FORMATS = [
  { format: FrameFormat.Crc20, name: "msgr2.0-crc" },
  { format: FrameFormat.Crc21, name: "msgr2.1-crc" },
  { format: FrameFormat.Secure20, name: "msgr2.0-secure" },
  { format: FrameFormat.Secure21, name: "msgr2.1-secure" },
] as const;

/** Key and nonce of the tests; the counters are about to wrap in both revisions. */
export const KEY: Bytes = Uint8Array.fromHex("000102030405060708090a0b0c0d0e0f");
export const NONCE: Bytes = Uint8Array.fromHex("fffffffffeffffffffffffff");

/** A frame in the clear: always four segments, trailing empty ones are not sent. */
export interface PlainFrame {
  readonly tag: number;
  readonly segments: readonly Bytes[];
  readonly aborted?: boolean;
  /** Late flags or status, when it is to be neither that of a complete nor of an aborted frame. */
  readonly late?: number;
}

/** One stretch of a frame, by the document's words. */
export interface Part {
  readonly name: string;
  readonly bytes: Bytes;
}

/** CRC-32C bit by bit: no final xor. */
export function modelCrc(seed: number, bytes: Uint8Array): number {
  let crc = seed >>> 0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return crc >>> 0;
}

/** One direction's nonces: `__le32` counted in revision 0, `__le64` in revision 1. */
export class ModelNonce {
  #low: number;
  #high: bigint;

  constructor(start: Uint8Array, readonly revision: number) {
    const view = new DataView(start.buffer, start.byteOffset, 12);
    this.#low = view.getUint32(0, true);
    this.#high = view.getBigUint64(4, true);
  }

  next(): Bytes {
    const bytes = new Uint8Array(12);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, this.#low, true);
    view.setBigUint64(4, this.#high, true);
    if (this.revision === 0) this.#low = (this.#low + 1) % 2 ** 32;
    else this.#high = (this.#high + 1n) % (1n << 64n);
    return bytes;
  }
}

/** The parts of a frame before any of them is sealed; `{` and `}` surround what one tag covers. */
export function modelParts(format: number, frame: PlainFrame): Part[] {
  const last = frame.segments.findLastIndex((segment) => segment.length > 0);
  const used = frame.segments.slice(0, Math.max(last, 0) + 1);
  const parts: Part[] = [{ name: "preamble", bytes: modelPreamble(frame.tag, used) }];
  if (format === FrameFormat.Crc20) {
    used.forEach((bytes, index) => addPart(parts, `segment${index + 1} payload`, bytes));
    parts.push({ name: "epilogue", bytes: epilogue(frame, used, 0, 4) });
  } else if (format === FrameFormat.Crc21) {
    addPart(parts, "segment1 payload", used[0]!);
    if (used[0]!.length > 0) {
      parts.push({ name: "segment1 crc", bytes: le32(modelCrc(-1, used[0]!)) });
    }
    if (used.length > 1) {
      for (let i = 1; i < used.length; i++) addPart(parts, `segment${i + 1} payload`, used[i]!);
      parts.push({ name: "epilogue", bytes: epilogue(frame, used, 1, 3) });
    }
  } else if (format === FrameFormat.Secure20) {
    parts.unshift(mark("{"));
    used.forEach((bytes, index) => addPadded(parts, `segment${index + 1} payload`, bytes));
    parts.push({ name: "epilogue", bytes: secureEpilogue(lateStatus(frame, 0)) }, mark("}"));
  } else {
    parts.unshift(mark("{"));
    addPart(parts, "segment1 payload", used[0]!.slice(0, 48));
    addPart(parts, "zero padding", new Uint8Array(Math.max(0, 48 - used[0]!.length)));
    parts.push(mark("}"));
    if (used[0]!.length > 48) {
      parts.push(mark("{"));
      addPadded(parts, "segment1 payload remainder", used[0]!.slice(48));
      parts.push(mark("}"));
    }
    if (used.length > 1) {
      parts.push(mark("{"));
      for (let i = 1; i < used.length; i++) addPadded(parts, `segment${i + 1} payload`, used[i]!);
      parts.push({ name: "epilogue", bytes: secureEpilogue(lateStatus(frame, 1)) }, mark("}"));
    }
  }
  return parts;
}

/** A whole frame as it is on the wire. */
export function modelFrame(
  format: number,
  frame: PlainFrame,
  nonce: ModelNonce | null,
  key: Uint8Array = KEY,
): Bytes {
  const out: Uint8Array[] = [];
  let open: Uint8Array[] = [];
  for (const { name, bytes } of modelParts(format, frame)) {
    if (name === "{") open = [];
    else if (name === "}") {
      const cipher = createCipheriv("aes-128-gcm", key, nonce!.next());
      out.push(cipher.update(concat(open)), cipher.final(), cipher.getAuthTag());
    } else (nonce === null ? out : open).push(bytes);
  }
  return concat(out);
}

/** The same as a text: `preamble 32 | segment1 payload 20 | …`, `auth tag 16` after each `}`. */
export function modelLayout(format: number, frame: PlainFrame): string {
  return modelParts(format, frame).map(({ name, bytes }) =>
    name === "{" ? name : name === "}" ? "} auth tag 16" : `${name} ${bytes.length}`
  ).join(" | ");
}

function modelPreamble(tag: number, used: readonly Uint8Array[]): Bytes {
  const bytes = new Uint8Array(32);
  const view = new DataView(bytes.buffer);
  bytes[0] = tag;
  bytes[1] = used.length;
  used.forEach((segment, index) => {
    view.setUint32(2 + index * 6, segment.length, true);
    view.setUint16(6 + index * 6, index === 3 ? 4096 : 8, true);
  });
  view.setUint32(28, modelCrc(0, bytes.subarray(0, 28)), true);
  return bytes;
}

function epilogue(
  frame: PlainFrame,
  used: readonly Uint8Array[],
  first: number,
  crcs: number,
): Bytes {
  const parts: Uint8Array[] = [Uint8Array.of(lateStatus(frame, first))];
  for (let index = first; index < first + crcs; index++) {
    parts.push(le32(index < used.length ? modelCrc(-1, used[index]!) : 0));
  }
  return concat(parts);
}

function lateStatus(frame: PlainFrame, revision: number): number {
  if (frame.late !== undefined) return frame.late;
  if (revision === 0) return frame.aborted ? 1 : 0;
  return frame.aborted ? 0x01 : 0x0e;
}

function secureEpilogue(late: number): Bytes {
  const bytes = new Uint8Array(16);
  bytes[0] = late;
  return bytes;
}

function addPart(parts: Part[], name: string, bytes: Bytes): void {
  if (bytes.length > 0) parts.push({ name, bytes });
}

function addPadded(parts: Part[], name: string, bytes: Bytes): void {
  addPart(parts, name, bytes);
  addPart(parts, "zero padding", new Uint8Array((16 - bytes.length % 16) % 16));
}

function mark(name: string): Part {
  return { name, bytes: new Uint8Array(0) };
}

function le32(value: number): Bytes {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

/** Byte arrays one after the other. */
export function concat(parts: readonly Uint8Array[]): Bytes {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Bytes that differ from their neighbours and from 0, the same for the same seed. */
export function pattern(length: number, seed: number): Bytes {
  return Uint8Array.from({ length }, (_, index) => (index * 7 + seed * 13) % 255 + 1);
}

/** A message for {@linkcode Sender}. */
export interface PlainMessage {
  readonly type?: number;
  readonly priority?: number;
  readonly version?: number;
  readonly compatVersion?: number;
  readonly tidLo?: number;
  readonly seq: number;
  readonly ackSeq?: number;
  readonly front: Uint8Array;
  readonly middle?: Uint8Array;
  readonly data?: Uint8Array;
}

/** A FrameWriter with an outbox, giving out byte arrays. */
export class Sender {
  readonly writer: FrameWriter = new FrameWriter(FrameFormat.Crc20);
  readonly outbox: Outbox = new Outbox(64 * 1024 * 1024);

  constructor(format: number, key: Uint8Array = KEY, nonce: Uint8Array = NONCE) {
    this.writer.setRevision(format & 1);
    assert.ok(this.writer.open());
    if (format < FrameFormat.Secure20) return;
    assert.ok(this.writer.secure(gcmMaker().sealer(key), new Nonce(nonce, format & 1)));
  }

  /** The bytes of a control frame. */
  control(tag: number, payload: Uint8Array): Bytes {
    const at = this.writer.beginControl();
    arena.bytes.set(payload, at);
    this.writer.endControl(tag, at + payload.length);
    return this.flush();
  }

  /** Writes a message; its bytes are still to be taken. Returns its record. */
  begin(message: PlainMessage): number {
    const { front, middle = new Uint8Array(0), data = new Uint8Array(0) } = message;
    const record = this.outbox.reserve(front.length, middle.length, data.length);
    assert.notEqual(record, 0);
    arena.bytes.set(front, recordFrontAt(record));
    arena.bytes.set(middle, recordMiddleAt(record));
    arena.bytes.set(data, recordDataAt(record));
    const { type = 0xfa00, priority = 127, version = 1, compatVersion = 1, tidLo = 0 } = message;
    this.outbox.commit(record, type, priority, version, compatVersion, tidLo, 0);
    assert.ok(this.writer.canMessage());
    this.writer.message(record, message.seq, message.ackSeq ?? 0);
    this.outbox.moveToSent(record, message.seq);
    return record;
  }

  /** The bytes of a message. */
  message(message: PlainMessage): Bytes {
    this.begin(message);
    const bytes = this.flush();
    assert.equal(this.outbox.acknowledge(message.seq), 1);
    return bytes;
  }

  /** Takes up to `count` bytes, as a kernel would. */
  taken(count: number): Bytes {
    const { gather } = this.writer;
    const parts: Uint8Array[] = [];
    let left = count;
    for (let index = gather.first; index < gather.end && left > 0; index++) {
      const skip = index === gather.first ? gather.skip : 0;
      const at = gather.pieces[index * 2]! + skip;
      const length = Math.min(gather.pieces[index * 2 + 1]! - skip, left);
      parts.push(arena.bytes.slice(at, at + length));
      left -= length;
    }
    gather.sent(count - left);
    return concat(parts);
  }

  /** Takes everything. */
  flush(): Bytes {
    const parts: Uint8Array[] = [];
    for (this.writer.pump(); this.writer.gather.bytes > 0; this.writer.pump()) {
      parts.push(this.taken(this.writer.gather.bytes));
    }
    return concat(parts);
  }

  close(): void {
    this.writer.close();
    this.outbox.close();
  }
}

/** What a frame holds, as read. */
export interface FrameRead {
  readonly tag: number;
  readonly segments: readonly Bytes[];
  readonly aborted: boolean;
  /** Bytes of the whole frame. */
  readonly bytes: number;
}

/** A FrameReader over memory of its own. */
export class Receiver {
  readonly reader: FrameReader = new FrameReader(FrameFormat.Crc20);
  readonly at: number;
  #end: number;

  constructor(
    format: number,
    key: Uint8Array = KEY,
    nonce: Uint8Array = NONCE,
    size = 1 << 20,
  ) {
    this.at = take(size);
    this.#end = this.at;
    this.reader.setRevision(format & 1);
    if (format < FrameFormat.Secure20) return;
    this.reader.secure(gcmMaker().opener(key), new Nonce(nonce, format & 1));
  }

  /** Adds bytes and looks for a frame; a number is the reader's answer when there is none. */
  feed(bytes: Uint8Array): FrameRead | number {
    arena.bytes.set(bytes, this.#end);
    this.#end += bytes.length;
    return this.next();
  }

  /** Looks for a frame in what is there. */
  next(): FrameRead | number {
    const { reader } = this;
    const next = reader.read(this.at, this.#end, 1 << 24);
    if (next <= 0) return next;
    const { lengths, segmentCount, tag } = reader.preamble;
    const segments = [0, 1, 2, 3].map((index) => {
      if (index >= segmentCount) return new Uint8Array(0);
      const at = reader.parts.at[index]!;
      return arena.bytes.slice(at, at + lengths[index]!);
    });
    const bytes = next - this.at;
    arena.bytes.copyWithin(this.at, next, this.#end);
    this.#end -= bytes;
    return { tag, segments, aborted: reader.parts.aborted, bytes };
  }

  close(): void {
    this.reader.close();
    give(this.at);
  }
}

/** The frame, or a failed test. */
export function whole(read: FrameRead | number): FrameRead {
  if (typeof read === "number") assert.fail(`no frame: ${read}`);
  return read;
}
