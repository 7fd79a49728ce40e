/**
 * What `fairlead sniff --json` tells of a capture, and how good it is against what is known of it.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Fairlead } from "../app/fairlead.ts";
import { type Packet, readPcap, writePcap } from "../capture/damage.ts";
import { type Extent, joinedAt, type Stream, streamKey, streamsOf } from "./sniff_truth.ts";

/** A message, as a line tells it. */
export interface MessageLine {
  readonly time: number;
  readonly src: string;
  readonly dst: string;
  readonly protocol: "msgr2" | "iscsi";
  readonly revision?: string;
  readonly mode?: string;
  readonly tag: string;
  readonly type?: string;
  readonly length: number;
  readonly found_by: string;
  readonly packet: number;
  readonly offset: number;
  readonly session?: number;
  readonly latency?: number;
  readonly answers?: string;
  readonly missing?: number;
  readonly fields: Record<string, unknown>;
  readonly errors: readonly string[];
}

/** Bytes of no message, as a line tells them. */
export interface GapLine {
  readonly hole: number;
  readonly src: string;
  readonly dst: string;
  readonly missing: number;
  readonly offset: number;
}

/** All lines of a capture. */
export interface Lines {
  readonly messages: readonly MessageLine[];
  readonly gaps: readonly GapLine[];
  /** What was said beside them. */
  readonly remarks: string;
}

/** Reads captures with the command. */
export async function sniff(...words: string[]): Promise<Lines> {
  const { code, stderr, stdout } = await Fairlead.run("sniff", ...words, "--json");
  assert.equal(code, 0, stderr);
  return readLines(stdout, stderr);
}

/** Sorts the lines of a run. */
export function readLines(stdout: string, remarks = ""): Lines {
  const lines = stdout.trimEnd().split("\n").filter((line) => line !== "");
  const all = lines.map((line) => JSON.parse(line) as MessageLine | GapLine);
  return {
    messages: all.filter((line): line is MessageLine => !("hole" in line)),
    gaps: all.filter((line): line is GapLine => "hole" in line),
    remarks,
  };
}

/** How many of each. */
export function countBy<T>(items: Iterable<T>, of: (item: T) => string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const item of items) counts[of(item)] = (counts[of(item)] ?? 0) + 1;
  return counts;
}

/**
 * Messages and gaps lie one behind the other, from the first byte of a stream to its last.
 *
 * @param maySkip whether of some streams nothing at all may be told: where no message was found
 * before they ended
 */
export function assertTiles(
  lines: Lines,
  streams: ReadonlyMap<string, Stream>,
  maySkip = false,
): void {
  const told = new Map<string, { offset: number; length: number; isGap: boolean }[]>();
  const add = (line: MessageLine | GapLine, length: number, isGap: boolean): void => {
    const key = streamKey(line);
    const list = told.get(key) ?? [];
    told.set(key, list);
    list.push({ offset: line.offset, length, isGap });
  };
  for (const line of lines.messages) add(line, line.length, false);
  for (const line of lines.gaps) add(line, line.hole, true);
  for (const [key, { bytes }] of streams) {
    if (maySkip && !told.has(key)) continue;
    let at = 0;
    for (const { length, offset } of (told.get(key) ?? []).sort((a, b) => a.offset - b.offset)) {
      assert.equal(offset, at, `${key}: what is told next to offset ${at}`);
      at += length;
    }
    // Only the last message of a stream that was cut may say that it is longer.
    assert.ok(at >= bytes.length, `${key}: told are ${at} bytes of ${bytes.length}`);
  }
}

/** Every message is one of the truth, no more and no less. */
export function assertTruth(lines: Lines, truth: ReadonlyMap<string, readonly Extent[]>): void {
  const told = countBy(lines.messages, (line) => `${streamKey(line)} ${placeOf(line)}`);
  const expected = [...truth].flatMap(([key, extents]) =>
    extents.map((one) => `${key} ${placeOf(one)}`)
  );
  assert.deepEqual(told, countBy(expected, (one) => one));
}

/** Whether a message is the last of its stream, whose end cut it short: its sender was killed. */
export function isCutShort(line: MessageLine, streams: ReadonlyMap<string, Stream>): boolean {
  const end = streams.get(streamKey(line))!.bytes.length;
  return line.errors.length > 0 && line.offset + line.length === end;
}

function placeOf({ length, offset }: Extent): string {
  return `${offset}+${length}`;
}

/** What a reader made of a damaged capture. */
export interface Recovery {
  /** Messages in the intact capture, and those whose bytes the damaged one has all. */
  readonly all: number;
  readonly whole: number;
  /** Messages of the truth that were told: whole ones, and ones with holes. */
  readonly told: number;
  readonly withHoles: number;
  /** What was told and is no message. */
  readonly wrong: readonly string[];
  readonly foundBy: Record<string, number>;
}

/**
 * Holds what was told of a damaged capture against all messages of the intact one: place, length and
 * name must be theirs, and what is missing must be what the damaged capture has not.
 */
export function recoveryOf(
  intact: readonly MessageLine[],
  streams: ReadonlyMap<string, Stream>,
  damaged: readonly Packet[],
  { messages }: Lines,
): Recovery {
  const bases = new Map([...streams].map(([key, { base }]) => [key, base]));
  const joined = joinedAt(damaged, bases);
  const left = streamsOf(damaged, bases);
  const missingOf = (key: string, { length, offset }: Extent): number => {
    const end = Math.min(offset + length, streams.get(key)!.bytes.length);
    const seen = left.get(key)?.seen.subarray(offset, end) ?? new Uint8Array(0);
    return length - seen.reduce((sum, one) => sum + one, 0);
  };
  const truth = new Map<string, MessageLine>();
  let whole = 0;
  for (const line of intact) {
    const key = streamKey(line);
    truth.set(`${key} ${line.offset}`, line);
    if (missingOf(key, line) === 0) whole++;
  }
  let told = 0;
  let withHoles = 0;
  const wrong: string[] = [];
  for (const line of messages) {
    const key = streamKey(line);
    const offset = line.offset + (joined.get(key) ?? 0);
    const real = truth.get(`${key} ${offset}`);
    const missing = missingOf(key, { offset, length: line.length });
    const isReal = real !== undefined && real.tag === line.tag &&
      (line.missing ?? 0) === missing && (real.length === line.length ||
        // Where the end was lost nobody knows it; of a lost FIN the acknowledgement counts one.
        isCutShort(real, streams) && line.errors.length > 0 && line.length <= real.length + 1);
    if (!isReal) wrong.push(`${JSON.stringify(line)} at ${offset}, ${missing} missing`);
    else if (missingOf(key, real) === 0) told++;
    else withHoles++;
  }
  const foundBy = countBy(messages, (line) => line.found_by);
  return { all: intact.length, whole, told, withHoles, wrong, foundBy };
}

/** Where offsets count from in a capture that begins later than the intact one. */
function basesOf(
  streams: ReadonlyMap<string, Stream>,
  packets: readonly Packet[],
): Map<string, number> {
  const bases = new Map([...streams].map(([key, { base }]) => [key, base]));
  const joined = joinedAt(packets, bases);
  return new Map([...bases].map(([key, base]) => [key, (base + (joined.get(key) ?? 0)) >>> 0]));
}

/** A row for people: what was damaged, and what share of the messages came back. */
export function recoveryText(name: string, recovery: Recovery): string {
  const { all, foundBy, told, whole, withHoles, wrong } = recovery;
  const means = Object.entries(foundBy).map(([means, count]) => `${means} ${count}`).join(", ");
  return `${name}: ${told} of ${whole} whole messages (${(told / whole * 100).toFixed(1)} %; ` +
    `intact ${all}), ${withHoles} with holes, ${wrong.length} wrong; found by ${means}`;
}

/** A capture and all that is known of it. */
export interface Known {
  readonly name: string;
  readonly path: string;
  readonly packets: readonly Packet[];
  readonly streams: Map<string, Stream>;
  readonly lines: Lines;
  /** More words for the command. */
  readonly words: readonly string[];
}

/** Reads an intact capture. */
export async function know(name: string, path: string, ...words: string[]): Promise<Known> {
  const packets = readPcap(await Deno.readFile(path));
  const lines = await sniff(path, ...words);
  return { name, path, packets, streams: streamsOf(packets), lines, words };
}

/**
 * Reads a damaged form of a capture, prints how much came back, and asserts that nothing is wrong.
 *
 * @param snapBytes what is kept of each packet
 */
export async function readDamaged(
  { lines, name, path, streams, words }: Known,
  what: string,
  packets: readonly Packet[],
  snapBytes = Infinity,
): Promise<Recovery> {
  const damaged = `${path}.damaged`;
  await Deno.writeFile(damaged, writePcap(packets, {}, Math.min(snapBytes, 262_144)));
  const read = await sniff(damaged, ...words);
  await Deno.remove(damaged);
  const left = packets.map(({ bytes, timeUs }) => ({ timeUs, bytes: bytes.slice(0, snapBytes) }));
  const recovery = recoveryOf(lines.messages, streams, left, read);
  assertTiles(read, streamsOf(left, basesOf(streams, left)), true);
  const text = recoveryText(`${name}, ${what}`, recovery);
  await Deno.stdout.write(new TextEncoder().encode(`${text}\n`));
  const { wrong } = recovery;
  assert.deepEqual(wrong.slice(0, 3), [], `${name}, ${what}: ${wrong.length} wrong`);
  return recovery;
}
