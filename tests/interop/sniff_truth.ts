/**
 * What is in a capture, found the plain way: each stream is put together by its sequence numbers and
 * walked from its first byte by lengths, which an intact capture allows and a damaged one does not.
 *
 * @module
 */
import assert from "node:assert/strict";
import { type Packet, segmentOf, SYN } from "../capture/damage.ts";

/** One direction of a connection. */
export interface Stream {
  readonly src: string;
  readonly dst: string;
  /** Sequence number of offset 0. */
  readonly base: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** For each byte, whether it was captured. */
  readonly seen: Uint8Array<ArrayBuffer>;
}

/** Where a message lies; of one that the end of its stream cut short, what was sent. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
}

/** A key for one direction. */
export function streamKey({ src, dst }: { src: string; dst: string }): string {
  return `${src} > ${dst}`;
}

/**
 * The streams of a capture by their keys.
 *
 * @param bases sequence numbers of offset 0, where SYNs were not captured: those of the intact capture
 */
export function streamsOf(
  packets: readonly Packet[],
  bases: ReadonlyMap<string, number> = new Map(),
): Map<string, Stream> {
  const found = new Map<string, { base: number; segments: [number, Uint8Array<ArrayBuffer>][] }>();
  for (const packet of packets) {
    const segment = segmentOf(packet);
    if (segment === null) continue;
    const key = streamKey(segment);
    const isSyn = (segment.flags & SYN) !== 0;
    let stream = found.get(key);
    if (stream === undefined) {
      const base = bases.get(key) ?? (segment.sequence + (isSyn ? 1 : 0)) >>> 0;
      found.set(key, stream = { base, segments: [] });
    }
    const { dataAt, dataBytes, sequence } = segment;
    const offset = (sequence - stream.base) | 0;
    // A keepalive repeats the byte before the first.
    if (isSyn || dataBytes === 0 || offset < 0) continue;
    stream.segments.push([offset, packet.bytes.subarray(dataAt, dataAt + dataBytes)]);
  }
  const streams = new Map<string, Stream>();
  for (const [key, { base, segments }] of found) {
    const [src, dst] = key.split(" > ") as [string, string];
    const end = segments.reduce((most, [at, { length }]) => Math.max(most, at + length), 0);
    const bytes = new Uint8Array(end);
    const seen = new Uint8Array(end);
    for (const [at, data] of segments) {
      bytes.set(data, at);
      seen.fill(1, at, at + data.length);
    }
    streams.set(key, { src, dst, base, bytes, seen });
  }
  return streams;
}

/** How far the first captured segment of each direction lies behind the start of its stream. */
export function joinedAt(
  packets: readonly Packet[],
  bases: ReadonlyMap<string, number>,
): Map<string, number> {
  const joined = new Map<string, number>();
  for (const packet of packets) {
    const segment = segmentOf(packet);
    if (segment === null || joined.has(streamKey(segment))) continue;
    const isSyn = (segment.flags & SYN) !== 0;
    const base = bases.get(streamKey(segment))!;
    joined.set(streamKey(segment), isSyn ? 0 : (segment.sequence - base) | 0);
  }
  return joined;
}

const BHS_BYTES = 48;
const LOGIN = 0x03;
const LOGIN_RESPONSE = 0x23;

/** PDUs of iSCSI: RFC 7143 section 11.1. */
export function iscsiPdus(streams: Map<string, Stream>): Map<string, Extent[]> {
  const pdus = new Map<string, Extent[]>();
  for (const [key, stream] of streams) {
    const peer = streams.get(streamKey({ src: stream.dst, dst: stream.src }));
    const login = [stream, peer].map((one) => loginText(one?.bytes ?? new Uint8Array(0))).join("");
    const header = login.includes("HeaderDigest=CRC32C") ? 4 : 0;
    const data = login.includes("DataDigest=CRC32C") ? 4 : 0;
    pdus.set(key, walkPdus(stream.bytes, header, data));
  }
  return pdus;
}

/** What the target says while the session is being made. */
function loginText(bytes: Uint8Array<ArrayBuffer>): string {
  let text = "";
  for (const { offset, length } of walkPdus(bytes, 0, 0)) {
    if (bytes[offset] !== LOGIN_RESPONSE) break;
    text += new TextDecoder().decode(bytes.subarray(offset + BHS_BYTES, offset + length));
  }
  return text;
}

function walkPdus(bytes: Uint8Array<ArrayBuffer>, header: number, data: number): Extent[] {
  const view = new DataView(bytes.buffer);
  const pdus: Extent[] = [];
  for (let offset = 0; offset + BHS_BYTES <= bytes.length;) {
    const opcode = bytes[offset]! & 0x3f;
    const digests = opcode === LOGIN || opcode === LOGIN_RESPONSE ? 0 : 1;
    const ahs = bytes[offset + 4]! * 4;
    const segment = ((view.getUint32(offset + 4) & 0xffffff) + 3) & ~3;
    const length = BHS_BYTES + ahs + digests * header +
      (segment > 0 ? segment + digests * data : 0);
    pdus.push({ offset, length: Math.min(length, bytes.length - offset) });
    offset += length;
  }
  return pdus;
}

const BANNER = "ceph v2\n";
const BANNER_BYTES = 26;
const PREAMBLE_BYTES = 32;
const CRC_BYTES = 4;
const EPILOGUE_20_BYTES = 17;
const EPILOGUE_21_BYTES = 13;

/** Frames of msgr2 in mode crc, banners included: msgr2 "Frame format". */
export function msgr2Frames(streams: Map<string, Stream>): Map<string, Extent[]> {
  const frames = new Map<string, Extent[]>();
  for (const [key, stream] of streams) {
    const peer = streams.get(streamKey({ src: stream.dst, dst: stream.src }));
    assert.ok(peer, `${key} has another direction`);
    frames.set(key, walkFrames(stream.bytes, revisionOf(stream) & revisionOf(peer)));
  }
  return frames;
}

/** Bit 0 of the features that a banner offers. */
function revisionOf({ bytes }: Stream): number {
  if (bytes.length < BANNER_BYTES) return 0;
  assert.equal(new TextDecoder().decode(bytes.subarray(0, BANNER.length)), BANNER);
  return bytes[BANNER.length + 2]! & 1;
}

function walkFrames(bytes: Uint8Array<ArrayBuffer>, revision: number): Extent[] {
  if (bytes.length < BANNER_BYTES) return [];
  const view = new DataView(bytes.buffer);
  const frames: Extent[] = [{ offset: 0, length: BANNER_BYTES }];
  for (let offset = BANNER_BYTES; offset + PREAMBLE_BYTES <= bytes.length;) {
    const count = bytes[offset + 1]!;
    const lengths = [0, 1, 2, 3].map((index) => view.getUint32(offset + 2 + 6 * index, true));
    const [first, ...others] = lengths as [number, number, number, number];
    const rest = others.reduce((sum, length) => sum + length, 0);
    const length = PREAMBLE_BYTES + first + rest +
      (revision === 0
        ? EPILOGUE_20_BYTES
        : (first > 0 || count > 1 ? CRC_BYTES : 0) + (count > 1 ? EPILOGUE_21_BYTES : 0));
    frames.push({ offset, length: Math.min(length, bytes.length - offset) });
    offset += length;
  }
  return frames;
}
