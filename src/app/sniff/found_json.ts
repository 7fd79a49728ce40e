/**
 * Messages and gaps as JSON lines, for programs: README "What is on the wire" names the keys. The text
 * is put together by hand, as times need more digits than a number has.
 *
 * @module
 */
import { arena } from "../../mem/arena.ts";
import { U64 } from "../../mem/u64.ts";
import type { Found, Gap } from "../../proto/boundary/found.ts";
import { printableJson } from "../printable.ts";
import { secondsText } from "./moment_text.ts";

/** Deeper, longer and wider than these no field is written. */
const DEPTH_MAX = 8;
const MEMBERS_MAX = 1024;
const TEXT_MAX = 65536;
const DECIMALS = 9;

/**
 * A message as one line of JSON.
 *
 * @param bytesMax so many of its bytes, where they were kept, are written as hex under `bytes`
 */
export function foundJson(found: Found, originSeconds: number, bytesMax = 0): string {
  const { conversation: { ends }, side } = found;
  let line = `{"time":${secondsText(originSeconds, found.begin.timeNs, DECIMALS)},` +
    `"src":${textJson(ends[side])},"dst":${textJson(ends[side === 0 ? 1 : 0])},` +
    `"protocol":${textJson(found.protocol)}`;
  line += `,"revision":${wordJson(found.revision)},"mode":${wordJson(found.mode)},` +
    `"tag":${textJson(found.tag)}`;
  if (found.type !== "") line += `,"type":${textJson(found.type)}`;
  line += `,"length":${found.length},"found_by":${textJson(found.foundBy)},` +
    `"packet":${found.begin.packet},"offset":${found.offset}`;
  if (found.session !== 0) line += `,"session":${found.session}`;
  if (found.latencyNs >= 0) {
    line += `,"latency":${secondsText(0, found.latencyNs, DECIMALS)},` +
      `"answers":${textJson(found.answers)}`;
  }
  if (found.missing > 0) line += `,"missing":${found.missing}`;
  line += `,"fields":${valueJson(found.describe(), 0)},"errors":${valueJson(found.errors, 0)}`;
  const end = Math.min(found.end, found.at + bytesMax);
  if (end > found.at) line += `,"bytes":"${arena.bytes.subarray(found.at, end).toHex()}"`;
  return `${line}}`;
}

/** Bytes that belong to no message, as one line of JSON. */
export function gapJson(gap: Gap, originSeconds: number): string {
  const { conversation: { ends }, length, missing, moment, offset, side } = gap;
  return `{"hole":${length},"time":${secondsText(originSeconds, moment.timeNs, DECIMALS)},` +
    `"src":${textJson(ends[side])},"dst":${textJson(ends[side === 0 ? 1 : 0])},` +
    `"length":${length},"missing":${missing},"offset":${offset},"packet":${moment.packet}}`;
}

/** What JSON cannot hold becomes text (64-bit numbers, bytes) or null. */
function valueJson(value: unknown, depth: number): string {
  if (typeof value === "string") return textJson(value);
  if (typeof value === "number") return Number.isFinite(value) ? `${value}` : "null";
  if (typeof value === "boolean") return `${value}`;
  if (typeof value === "bigint") return `"${hexOf(value)}"`;
  if (typeof value !== "object" || value === null || depth > DEPTH_MAX) return "null";
  if (value instanceof U64) return `"${value}"`;
  if (value instanceof Uint8Array) return `"${value.subarray(0, TEXT_MAX).toHex()}"`;
  if (Array.isArray(value)) {
    const members = value.slice(0, MEMBERS_MAX).map((member) => valueJson(member, depth + 1));
    return `[${members.join()}]`;
  }
  const members: string[] = [];
  for (const [key, member] of Object.entries(value).slice(0, MEMBERS_MAX)) {
    if (member === undefined) continue;
    members.push(`${textJson(key)}:${valueJson(member, depth + 1)}`);
  }
  return `{${members.join()}}`;
}

function hexOf(value: bigint): string {
  return value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}

/** A key that is always there; null where there is nothing to say. */
function wordJson(word: string): string {
  return word === "" ? "null" : textJson(word);
}

function textJson(text: string): string {
  return printableJson(text.length > TEXT_MAX ? text.slice(0, TEXT_MAX) : text);
}
