/**
 * What a gateway and a hub say to each other in messages of Fairlead's own types.
 *
 *     gateway -> hub   HELLO     JSON: who it is, what its spool has numbered
 *     hub -> gateway   WELCOME   JSON: the last number it stored of each stream; or why it refuses
 *     gateway -> hub   POST      a hop in front of an envelope; the ACK of the session is the receipt
 *
 * A POST's hop says which stream of which spool it is numbered in on this hop: u8[16] spool id, u32
 * stream, u64 number of the last message; the numbers of one stream only go up. On the first hop
 * they are those of the envelope; a hub that forwards numbers anew.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { readCounter, writeCounter } from "../../mem/u64.ts";
import { SPOOL_ID_SIZE } from "./envelope.ts";

const STREAM = SPOOL_ID_SIZE;
const NUMBER = SPOOL_ID_SIZE + 4;
/** Bytes of a hop. */
export const HOP_SIZE: number = SPOOL_ID_SIZE + 12;

/** Version of HELLO and WELCOME. */
export const GREETING_VERSION = 1;
/** Streams that one HELLO may name. */
export const STREAMS_MAX = 4096;

const decoder = new TextDecoder();

/** One stream in a HELLO. */
export interface HelloStream {
  readonly stream: number;
  /** Number of the oldest message that it still has, `next` when there is none. */
  readonly oldest: number;
  /** Number that its next message will get. */
  readonly next: number;
}

/** The front of a HELLO: one for each spool id that has messages. */
export interface Hello {
  readonly version: number;
  readonly gateway: string;
  /** 32 hex digits. */
  readonly spool: string;
  /** How many times this spool was opened: a copy of an older one shows by it. */
  readonly generation: number;
  readonly streams: readonly HelloStream[];
}

/** The front of a WELCOME. */
export interface Welcome {
  readonly version: number;
  readonly spool: string;
  /** Numbers of the last messages stored, for the streams of the HELLO. */
  readonly last: readonly { readonly stream: number; readonly number: number }[];
  /** Why nothing is taken from this spool; absent when it is. */
  readonly refused?: { readonly code: string; readonly text: string };
}

/** Where a POST stands in its stream. */
export class Hop {
  /** Offset of the spool's id. */
  spoolAt = 0;
  stream = 0;
  /** Number of the last message. */
  number = 0;
}

/** Writes a hop; returns the offset of the envelope. */
export function writeHop(
  out: Region,
  at: number,
  spool: Uint8Array,
  stream: number,
  number: number,
): number {
  out.bytes.set(spool, at);
  out.view.setUint32(at + STREAM, stream, true);
  return writeCounter(out, at + NUMBER, number);
}

/** Reads a hop; returns the offset of the envelope, or a negated {@linkcode Fault}. */
export function readHop(from: Region, at: number, end: number, into: Hop): number {
  if (end - at < HOP_SIZE) return fail(Fault.Field, "POST hop", at, end - at, `${HOP_SIZE} bytes`);
  into.spoolAt = at;
  into.stream = from.view.getUint32(at + STREAM, true);
  into.number = readCounter(from, at + NUMBER, "POST number");
  return into.number < 0 ? into.number : at + HOP_SIZE;
}

/** The JSON of a HELLO or WELCOME; null when it is none. */
export function greetingJson(front: Uint8Array): unknown {
  try {
    return JSON.parse(decoder.decode(front));
  } catch {
    return null;
  }
}

/** A HELLO from the network; a text says what is wrong with it. */
export function parseHello(json: unknown): Hello | string {
  const hello = objectOf(json);
  if (hello === null) return "HELLO must be an object";
  const { version, gateway, spool, generation, streams } = hello;
  if (version !== GREETING_VERSION) return `HELLO version must be ${GREETING_VERSION}`;
  if (typeof gateway !== "string" || gateway === "") return "HELLO gateway must be a name";
  if (!isSpoolId(spool)) return "HELLO spool must be 32 hex digits";
  if (!isNumber(generation)) return "HELLO generation must be a number";
  if (!Array.isArray(streams) || streams.length > STREAMS_MAX) {
    return `HELLO streams must be a list of ${STREAMS_MAX} at most`;
  }
  for (const entry of streams) {
    const stream = objectOf(entry);
    const valid = stream !== null && isNumber(stream.stream) && stream.stream < 2 ** 32 &&
      isNumber(stream.oldest) && isNumber(stream.next) && stream.oldest <= stream.next;
    if (!valid) return "HELLO stream must have a stream, an oldest number and a next one";
  }
  return hello as unknown as Hello;
}

/** A WELCOME from the network; a text says what is wrong with it. */
export function parseWelcome(json: unknown): Welcome | string {
  const welcome = objectOf(json);
  if (welcome === null) return "WELCOME must be an object";
  const { version, spool, last, refused } = welcome;
  if (version !== GREETING_VERSION) return `WELCOME version must be ${GREETING_VERSION}`;
  if (!isSpoolId(spool)) return "WELCOME spool must be 32 hex digits";
  if (!Array.isArray(last) || last.length > STREAMS_MAX) {
    return `WELCOME last must be a list of ${STREAMS_MAX} at most`;
  }
  for (const entry of last) {
    const stored = objectOf(entry);
    if (stored === null || !isNumber(stored.stream) || !isNumber(stored.number)) {
      return "WELCOME last must hold streams and numbers";
    }
  }
  if (refused !== undefined) {
    const reason = objectOf(refused);
    if (typeof reason?.code !== "string" || typeof reason.text !== "string") {
      return "WELCOME refused must have a code and a text";
    }
  }
  return welcome as unknown as Welcome;
}

function objectOf(value: unknown): Record<string, unknown> | null {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? value as Record<string, unknown>
    : null;
}

function isSpoolId(value: unknown): value is string {
  return typeof value === "string" && /^[0-9a-f]{32}$/.test(value);
}

function isNumber(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
