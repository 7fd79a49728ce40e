/**
 * CRC-32C by size, in this process: ours over the arena (crc32cRaw(), the frame path) and over any
 * array (crc32c(), which copies in), beside npm's packages. The candidates take turns in short
 * slices, after each has been checked against the others and warmed up.
 *
 * @module
 */
import { createRequire } from "node:module";
import { crc32c } from "../../mod.ts";
import { arena, give, take } from "../../src/mem/arena.ts";
import { crc32cRaw } from "../../src/wire/crc32c.ts";
import { must } from "../../tests/interop/processes.ts";
import { lineChart } from "./chart.ts";
import type { Context, Family } from "./family.ts";
import {
  type Bar,
  bytesRateText,
  durationText,
  judged,
  median,
  reported,
  type Row,
  sizeText,
} from "./table.ts";

const NAME = "crc32c";
const OURS = "Fairlead";
const ANY_ARRAY = "Fairlead, any array";
const PREAMBLE_BYTES = 28;

/** What is asked of the frame path, by size: against the best peer of a kind. */
const BARS: readonly { size: number; against: Against; bar: Bar; text?: string }[] = [
  { size: PREAMBLE_BYTES, against: "any", bar: { must: 0.95 }, text: "must within 5 %" },
  { size: 1024, against: "pure", bar: { must: 2 } },
  { size: 4096, against: "pure", bar: { must: 2.7, aim: 3.5 } },
  { size: 4096, against: "native", bar: { must: 1 } },
  { size: 65_536, against: "pure", bar: { must: 5 } },
  { size: 65_536, against: "native", bar: { must: 1.5 } },
  { size: 1_048_576, against: "pure", bar: { must: 5 } },
  { size: 1_048_576, against: "native", bar: { must: 1.5 } },
];
const ANY_ARRAY_SIZES: readonly number[] = [4096, 65_536, 1_048_576];
const CHART_SIZES: readonly number[] = [28, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576];
const SIZE_MAX = 1_048_576;
/** Below it a time says more than a rate. */
const RATE_BYTES_MIN = 4096;

/** The best peer in JavaScript or WebAssembly, the native one, or whichever is fastest. */
type Against = "pure" | "native" | "any";

const AGAINST_TEXT: Record<Against, string> = {
  pure: "the best JS/WASM peer",
  native: "the native peer",
  any: "the fastest peer",
};

/**
 * Takes the CRC of the same bytes `count` times. What it returns is the CRC when that is once, and
 * otherwise needs every result, so that none can be left out.
 */
type Loop = (count: number) => number;

/** One implementation; each has a loop of its own in the source, so that V8 can inline into it. */
interface Candidate {
  name: string;
  kind: "ours" | "pure" | "native";
  loop(bytes: Uint8Array<ArrayBuffer>): Loop;
}

/** Nanoseconds for one CRC, by the candidate's name. */
type Times = Map<string, number>;

/** CRC-32C beside npm's packages. */
export const crc32cFamily: Family = { name: NAME, about: "CRC-32C beside npm's packages", run };

async function run(context: Context): Promise<Row[]> {
  context.say(`installing ${PACKAGES.join(", ")} with npm`);
  const at = take(SIZE_MAX);
  try {
    const candidates = [...ownCandidates(at), ...await installCandidates(context.directory)];
    const wanted = [...BARS.map(({ size }) => size), ...(context.charts ? CHART_SIZES : [])];
    const bySize = new Map<number, Times>();
    for (const size of [...new Set(wanted)].sort((a, b) => a - b)) {
      bySize.set(size, measure(candidates, size, context.rounds));
      context.say(progressText(size, bySize.get(size)!));
    }
    if (context.charts) await drawChart(context, candidates, bySize);
    return [
      ...BARS.map((each) => barRow(each, candidates, bySize.get(each.size)!)),
      ...ANY_ARRAY_SIZES.map((size) => anyArrayRow(size, candidates, bySize.get(size)!)),
    ];
  } finally {
    give(at);
  }
}

// ---- the candidates

const PACKAGES = ["hash-wasm", "crc-32", "@aws-crypto/crc32c", "@node-rs/crc32"] as const;
const INSTALL_DEADLINE_MS = 120_000;
/** As hash-wasm wants it: reflected. */
const POLYNOMIAL = 0x82f63b78;

function ownCandidates(at: number): Candidate[] {
  return [
    {
      name: OURS,
      kind: "ours",
      loop(bytes): Loop {
        arena.bytes.set(bytes, at);
        const end = at + bytes.length;
        return (count) => {
          let sum = 0;
          while (count-- > 0) sum = (sum + ~crc32cRaw(-1, arena.bytes, at, end)) | 0;
          return sum >>> 0;
        };
      },
    },
    {
      name: ANY_ARRAY,
      kind: "ours",
      loop: (bytes) => (count): number => {
        let sum = 0;
        while (count-- > 0) sum = (sum + crc32c(bytes)) | 0;
        return sum >>> 0;
      },
    },
  ];
}

/** What is used of hash-wasm. */
interface HashWasm {
  createCRC32(polynomial: number): Promise<{
    init(): void;
    update(bytes: Uint8Array): void;
    /** In hexadecimal, which is faster than its "binary". */
    digest(): string;
  }>;
}

/** Installs the peers into `directory` and loads them from there. */
async function installCandidates(directory: string): Promise<Candidate[]> {
  const npm = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"];
  await must([...npm, "--prefix", directory, ...PACKAGES], { deadlineMs: INSTALL_DEADLINE_MS });
  const require = createRequire(`${directory}/peers.cjs`);
  const hasher = await (require(PACKAGES[0]) as HashWasm).createCRC32(POLYNOMIAL);
  const sheet: { buf(bytes: Uint8Array): number } = require(`${PACKAGES[1]}/crc32c.js`);
  const aws: { crc32c(bytes: Uint8Array): number } = require(PACKAGES[2]);
  const native: { crc32c(bytes: Uint8Array): number } = require(PACKAGES[3]);
  return [
    {
      name: PACKAGES[0],
      kind: "pure",
      loop: (bytes) => (count): number => {
        let hex = "";
        while (count-- > 0) {
          hasher.init();
          hasher.update(bytes);
          hex = hasher.digest();
        }
        return parseInt(hex, 16);
      },
    },
    {
      name: `SheetJS ${PACKAGES[1]}`,
      kind: "pure",
      loop: (bytes) => (count): number => {
        let sum = 0;
        while (count-- > 0) sum = (sum + sheet.buf(bytes)) | 0;
        return sum >>> 0;
      },
    },
    {
      name: PACKAGES[2],
      kind: "pure",
      loop: (bytes) => (count): number => {
        let sum = 0;
        while (count-- > 0) sum = (sum + aws.crc32c(bytes)) | 0;
        return sum >>> 0;
      },
    },
    {
      name: PACKAGES[3],
      kind: "native",
      loop: (bytes) => (count): number => {
        let sum = 0;
        while (count-- > 0) sum = (sum + native.crc32c(bytes)) | 0;
        return sum >>> 0;
      },
    },
  ];
}

// ---- the clock

const SLICE_MS = 20;
const WARMUP_MS = 60;
/** A slice is short, so more of them make a median than of runs that are whole processes. */
const SLICES_PER_ROUND = 3;
/** RFC 3720 appendix B.4 has others; this one is what catalogues of CRCs call the check. */
const CHECK = { text: "123456789", crc: 0xe3069283 };

function measure(candidates: readonly Candidate[], size: number, rounds: number): Times {
  const bytes = Uint8Array.from({ length: size }, (_, index) => index * 193 + (index >> 8));
  const expected = crc32c(bytes);
  const runs = candidates.map((candidate) => {
    check(candidate, new TextEncoder().encode(CHECK.text), CHECK.crc);
    check(candidate, bytes, expected);
    const loop = candidate.loop(bytes);
    return { name: candidate.name, loop, count: warmUp(loop), times: [] as number[] };
  });
  for (let slice = 0; slice < rounds * SLICES_PER_ROUND; slice++) {
    for (const { loop, count, times } of runs) times.push(milliseconds(loop, count) / count * 1e6);
  }
  return new Map(runs.map(({ name, times }) => [name, median(times)]));
}

function check(candidate: Candidate, bytes: Uint8Array<ArrayBuffer>, expected: number): void {
  const crc = candidate.loop(bytes)(1);
  if (crc === expected) return;
  throw new Error(
    `Cannot measure ${candidate.name} as its CRC of ${bytes.length} bytes is ` +
      `${crc.toString(16)}: it must be ${expected.toString(16)}`,
  );
}

/** Runs a loop until V8 has compiled it well; returns how many turns fill a slice. */
function warmUp(loop: Loop): number {
  let spent = 0;
  for (let count = 1;; count *= 2) {
    const took = milliseconds(loop, count);
    spent += took;
    if (spent >= WARMUP_MS) return Math.max(1, Math.round(count * SLICE_MS / took));
  }
}

function milliseconds(loop: Loop, count: number): number {
  const started = performance.now();
  loop(count);
  return performance.now() - started;
}

// ---- the rows

function barRow(
  { size, against, bar, text }: typeof BARS[number],
  candidates: readonly Candidate[],
  times: Times,
): Row {
  const peers = fastestFirst(candidates, against, times);
  const ours = times.get(OURS)!;
  return {
    family: NAME,
    what: `${sizeText(size)} against ${AGAINST_TEXT[against]}`,
    ours: figureText(size, ours),
    peers: peers.map((name) => `${name} ${figureText(size, times.get(name)!)}`).join(", "),
    ...judged(times.get(peers[0]!)! / ours, bar, text),
  };
}

function anyArrayRow(size: number, candidates: readonly Candidate[], times: Times): Row {
  const [best] = fastestFirst(candidates, "pure", times);
  const ours = times.get(ANY_ARRAY)!;
  return {
    family: NAME,
    what: `${sizeText(size)}, crc32c() of any array`,
    ours: figureText(size, ours),
    peers: `${best!} ${figureText(size, times.get(best!)!)}`,
    ...reported(times.get(best!)! / ours),
  };
}

function fastestFirst(
  candidates: readonly Candidate[],
  against: Against,
  times: Times,
): string[] {
  return candidates
    .filter(({ kind }) => kind !== "ours" && (against === "any" || kind === against))
    .map(({ name }) => name)
    .sort((a, b) => times.get(a)! - times.get(b)!);
}

function figureText(size: number, nanoseconds: number): string {
  if (size < RATE_BYTES_MIN) return durationText(nanoseconds);
  return bytesRateText(size / nanoseconds * 1e9);
}

function progressText(size: number, times: Times): string {
  const figures = [...times].map(([name, time]) => `${name} ${figureText(size, time)}`);
  return `${sizeText(size)}: ${figures.join(", ")}`;
}

async function drawChart(
  context: Context,
  candidates: readonly Candidate[],
  bySize: ReadonlyMap<number, Times>,
): Promise<void> {
  const svg = lineChart({
    title: "CRC-32C by size",
    xLabel: "bytes in one call",
    yLabel: "GB/s",
    x: CHART_SIZES.map(sizeText),
    series: candidates.map(({ name, kind }) => ({
      name: kind === "native" ? `${name} (native)` : name,
      values: CHART_SIZES.map((size) => size / bySize.get(size)!.get(name)!),
    })),
    log: true,
  });
  await context.chart("crc32c", svg);
}
