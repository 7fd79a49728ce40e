/**
 * Secure mode: what it adds to a request and its reply, beside the AES-GCM calls of both ends in a
 * tight loop; its data rate; and beside Ceph's own secure mode, which only a cluster speaks: reads
 * of `rados bench` from one object store in memory.
 *
 * What is compared is CPU of both ends, as both processes run at the same time on a core each: the
 * difference of the modes, run in turns, against all calls of both ends one after the other.
 *
 * @module
 */
import { arena, give, take } from "../../src/mem/arena.ts";
import { gcmMaker } from "../../src/io/libcrypto.ts";
import { PERF_OSD_OP_REPLY_SIZE, PERF_OSD_OP_SIZE } from "../../src/wire/ceph/osd.ts";
import { crc32cRaw } from "../../src/wire/crc32c.ts";
import { type Aead, GCM_NONCE_SIZE, GCM_TAG_SIZE } from "../../src/wire/msgr2/aead.ts";
import { EPILOGUE_SECURE_SIZE, INLINE_SIZE, padded } from "../../src/wire/msgr2/frame.ts";
import { MESSAGE_HEADER_SIZE } from "../../src/wire/msgr2/message.ts";
import { Nonce } from "../../src/wire/msgr2/nonce.ts";
import { PREAMBLE_SIZE } from "../../src/wire/msgr2/preamble.ts";
import { CephCluster } from "../../tests/interop/ceph_cluster.ts";
import {
  findPeer,
  installPeer,
  type Place,
  placeOf,
  within,
} from "../../tests/interop/debian_peers.ts";
import { must } from "../../tests/interop/processes.ts";
import type { Context, Family } from "./family.ts";
import {
  bytesRateText,
  durationText,
  judged,
  median,
  rateText,
  reported,
  type Row,
  sizeText,
} from "./table.ts";

const NAME = "secure";
const CEPH = "Ceph 18.2";
const MAIN = new URL("../../src/main.ts", import.meta.url).pathname;
const DEADLINE_MS = 120_000;
const WARMUP = 20_000;

/** Concurrency 32 of Ceph's load tool is 33 in flight. */
const IN_FLIGHT = 33;
/** What is added, by size, and how many requests a run of about a second has. */
const ADDED: readonly Load[] = [
  { size: 4096, inFlight: IN_FLIGHT, count: 200_000 },
  { size: 65_536, inFlight: IN_FLIGHT, count: 40_000 },
];
/** Secure may add this many times what the calls alone take. */
const ADDED_MAX = 1.5;
const STREAM: Load = { size: 1_048_576, inFlight: IN_FLIGHT, count: 4000 };
const STREAM_BYTES_PER_SECOND = 1.5e9;
/** `rados bench` has 16 in flight unless told otherwise. */
const READS: readonly Load[] = [
  { size: 4096, inFlight: 16, count: 150_000 },
  { size: 65_536, inFlight: 16, count: 40_000 },
  { size: 1_048_576, inFlight: 16, count: 4000 },
];
const READ_SECONDS = 2;
/** Objects that are written and then read, of any size within the object store's memory. */
const READ_OBJECTS = 64;

type Mode = "crc" | "secure";

interface Load {
  size: number;
  inFlight: number;
  count: number;
}

/** What one run of `fairlead bench` came to. */
interface Figures {
  perSecond: number;
  bytesPerSecond: number;
  /** Of both ends. */
  cpuMicroseconds: number;
}

/** Secure mode beside its own cost, and beside Ceph's. */
export const secureFamily: Family = {
  name: NAME,
  about: "what secure mode adds beside its AES-GCM calls alone, and beside Ceph's secure reads",
  run,
};

async function run(context: Context): Promise<Row[]> {
  const rows: Row[] = [];
  for (const load of ADDED) rows.push(...await addedRows(context, load));
  rows.push(await streamRow(context));
  await installPeer("reef", { chroots: true, say: context.say });
  rows.push(...await readRows(context, placeOf(await findPeer("reef"))));
  return rows;
}

// ---- what secure adds

async function addedRows(context: Context, load: Load): Promise<Row[]> {
  const { say, rounds } = context;
  const added: number[] = [];
  const addedWall: number[] = [];
  const alone: number[] = [];
  for (let round = 1; round <= rounds; round++) {
    const crc = await runOurs("crc", load);
    const secure = await runOurs("secure", load);
    const calls = callsAlone(load.size);
    added.push(secure.cpuMicroseconds - crc.cpuMicroseconds);
    addedWall.push(1e6 / secure.perSecond - 1e6 / crc.perSecond);
    alone.push(calls.gcm - calls.crc);
    say(
      `${sizeText(load.size)}, pair ${round} of ${rounds}: CPU ${
        us(crc.cpuMicroseconds)
      } in crc, ` +
        `${us(secure.cpuMicroseconds)} in secure; alone: GCM ${us(calls.gcm)}, CRC ${
          us(calls.crc)
        }`,
    );
  }
  const [own, wall, bar] = [added, addedWall, alone].map(median) as [number, number, number];
  const peers = `its GCM calls less the CRC saved ${us(bar)}`;
  const what = `${sizeText(load.size)}, ${load.inFlight} in flight: what secure adds`;
  // Below a nanosecond it is nothing: no ratio says how much better that is.
  const ratio = bar / Math.max(own, 0.001);
  const limits = judged(ratio, { must: 1 / ADDED_MAX }, `must be at most ${ADDED_MAX} of it`);
  return [
    { family: NAME, what: `${what}, CPU of both ends`, ours: us(own), peers, ...limits },
    { family: NAME, what: `${what}, wall time`, ours: us(wall), peers, ...reported() },
  ];
}

function us(microseconds: number): string {
  return `${microseconds < 0 ? "-" : ""}${durationText(Math.abs(microseconds) * 1000)}`;
}

/** msgr2.1 "Post-auth frame format": preamble and inline bytes are one operation. */
const BLOCK1_BYTES = PREAMBLE_SIZE + INLINE_SIZE;
const KEY_SIZE = 16;
/** Long enough for a median, short beside a run. */
const SLICE_MS = 40;
const SLICES = 5;
const CALLS_BETWEEN_LOOKS = 32;

/** What both ends spend on a request and its reply, in microseconds. */
function callsAlone(size: number): { gcm: number; crc: number } {
  const calls = new Calls(size);
  try {
    const gcm: number[] = [];
    const crc: number[] = [];
    for (let slice = 0; slice < SLICES; slice++) {
      gcm.push(microsecondsOf(() => calls.gcm()));
      crc.push(microsecondsOf(() => calls.crc()));
    }
    return { gcm: median(gcm), crc: median(crc) };
  } finally {
    calls.free();
  }
}

function microsecondsOf(call: () => void): number {
  const start = performance.now();
  let count = 0;
  let spent = 0;
  while (spent < SLICE_MS) {
    for (let index = 0; index < CALLS_BETWEEN_LOOKS; index++) call();
    count += CALLS_BETWEEN_LOOKS;
    spent = performance.now() - start;
  }
  return spent * 1000 / count;
}

/**
 * The calls themselves, on as many buffers as requests are in flight, so that the caches help no
 * more than they do there.
 */
class Calls {
  readonly #request: number;
  readonly #records: number[] = [];
  readonly #wires: number[] = [];
  readonly #sealer: Aead;
  readonly #opener: Aead;
  readonly #sealNonce = new Nonce(new Uint8Array(GCM_NONCE_SIZE), 1);
  readonly #openNonce = new Nonce(new Uint8Array(GCM_NONCE_SIZE), 1);
  readonly #size: number;
  #turn = 0;

  constructor(size: number) {
    this.#size = size;
    this.#request = padded(PERF_OSD_OP_SIZE) + padded(size) + EPILOGUE_SECURE_SIZE;
    const maker = gcmMaker();
    const key = crypto.getRandomValues(new Uint8Array(KEY_SIZE));
    this.#sealer = maker.sealer(key);
    this.#opener = maker.opener(key);
    for (let index = 0; index < IN_FLIGHT; index++) {
      this.#records.push(block(this.#request));
      this.#wires.push(block(this.#request + GCM_TAG_SIZE));
    }
  }

  /** A request and its reply: four frames' operations sealed at one end, opened at the other. */
  gcm(): void {
    const record = this.#records[this.#turn]!;
    const wire = this.#wires[this.#turn]!;
    this.#turn = (this.#turn + 1) % IN_FLIGHT;
    const reply = padded(PERF_OSD_OP_REPLY_SIZE) + EPILOGUE_SECURE_SIZE;
    this.#across(wire, wire, BLOCK1_BYTES);
    this.#across(record, wire, this.#request);
    this.#across(wire, wire, BLOCK1_BYTES);
    this.#across(record, wire, reply);
  }

  /**
   * The checksums that secure mode has no need of, computed at one end and checked at the other;
   * that of the data is only checked, as all requests of the load carry the same.
   */
  crc(): void {
    const { bytes } = arena;
    const record = this.#records[this.#turn]!;
    const wire = this.#wires[this.#turn]!;
    this.#turn = (this.#turn + 1) % IN_FLIGHT;
    for (const at of [record, wire]) {
      crc32cRaw(-1, bytes, at, at + MESSAGE_HEADER_SIZE);
      crc32cRaw(-1, bytes, at, at + PERF_OSD_OP_SIZE);
      crc32cRaw(-1, bytes, at, at + MESSAGE_HEADER_SIZE);
      crc32cRaw(-1, bytes, at, at + PERF_OSD_OP_REPLY_SIZE);
    }
    const data = wire + padded(PERF_OSD_OP_SIZE);
    crc32cRaw(-1, bytes, data, data + this.#size);
  }

  free(): void {
    for (const at of [...this.#records, ...this.#wires]) give(at);
    this.#sealer.free();
    this.#opener.free();
  }

  /** One operation: sealed from where a message lies to where it waits, opened in place. */
  #across(from: number, to: number, length: number): void {
    this.#sealer.begin(this.#sealNonce.bytes);
    this.#sealer.update(from, to, length);
    this.#sealer.finish(to + length);
    this.#sealNonce.advance();
    this.#opener.begin(this.#openNonce.bytes);
    this.#opener.update(to, to, length);
    if (!this.#opener.finish(to + length)) throw new Error("Cannot open what was sealed");
    this.#openNonce.advance();
  }
}

function block(bytes: number): number {
  const at = take(bytes);
  if (at < 0) throw new Error(`Cannot take ${bytes} bytes of the arena as it is full`);
  return at;
}

// ---- the data rate

async function streamRow({ rounds, say }: Context): Promise<Row> {
  const rates: number[] = [];
  for (let round = 1; round <= rounds; round++) {
    const { bytesPerSecond } = await runOurs("secure", STREAM);
    say(`${sizeText(STREAM.size)}, round ${round} of ${rounds}: ${bytesRateText(bytesPerSecond)}`);
    rates.push(bytesPerSecond);
  }
  const rate = median(rates);
  return {
    family: NAME,
    what: `${sizeText(STREAM.size)}, ${STREAM.inFlight} in flight: data`,
    ours: bytesRateText(rate),
    peers: "",
    ratio: null,
    bar: `must ${bytesRateText(STREAM_BYTES_PER_SECOND)}`,
    verdict: rate >= STREAM_BYTES_PER_SECOND ? "held" : "missed",
  };
}

/** How this machine's own system runs Fairlead. */
const HERE = [Deno.execPath(), "run", "-A", MAIN];

/** One run of `fairlead bench`: both ends, each a process. */
async function runOurs(
  mode: Mode,
  { size, inFlight, count }: Load,
  fairlead: readonly string[] = HERE,
): Promise<Figures> {
  const output = await must([
    ...[...fairlead, "bench", "--json", `--mode=${mode}`],
    ...[`--size=${size}`, `--in-flight=${inFlight}`],
    ...[`--count=${count}`, `--warmup=${Math.min(WARMUP, count)}`],
  ], { deadlineMs: DEADLINE_MS });
  const [result] = JSON.parse(output).runs;
  return {
    perSecond: result.messages_per_second,
    bytesPerSecond: result.bytes_per_second,
    cpuMicroseconds: result.cpu_us_per_message,
  };
}

// ---- Ceph's reads

/**
 * How Fairlead is run where Ceph is, from one bundled file: both then have the same libcrypto,
 * whose releases differ by half in AES-GCM.
 */
async function fairleadIn(place: Place, directory: string): Promise<string[]> {
  const bundle = `${directory}/fairlead.js`;
  const deno = `${directory}/deno`;
  await must([Deno.execPath(), "bundle", "--quiet", "-o", bundle, MAIN], {
    deadlineMs: DEADLINE_MS,
  });
  await Deno.copyFile(Deno.execPath(), deno);
  const home = ["env", `HOME=${directory}`, `DENO_DIR=${directory}/cache`];
  return within(place, [...home, deno, "run", "-A", bundle]);
}

async function readRows({ rounds, say, directory }: Context, place: Place): Promise<Row[]> {
  const fairlead = await fairleadIn(place, directory);
  say("starting two small clusters, one in each mode");
  await using crc = await readCluster(place, "crc");
  await using secure = await readCluster(place, "secure");
  const rows: Row[] = [];
  for (const load of READS) {
    for (const cluster of [crc, secure]) await writeObjects(cluster, load);
    const ours: number[] = [];
    const theirs: number[] = [];
    const inCrc: number[] = [];
    for (let round = 1; round <= rounds; round++) {
      inCrc.push(await readObjects(crc, load));
      theirs.push(await readObjects(secure, load));
      ours.push((await runOurs("secure", load, fairlead)).perSecond);
      say(
        `${sizeText(load.size)}, pair ${round} of ${rounds}: Fairlead ${rateText(ours.at(-1)!)}, ` +
          `${CEPH} ${rateText(theirs.at(-1)!)}, in crc ${rateText(inCrc.at(-1)!)}`,
      );
    }
    const [own, peer, peerCrc] = [ours, theirs, inCrc].map(median) as [number, number, number];
    rows.push({
      family: NAME,
      what: `${sizeText(load.size)}, ${load.inFlight} in flight: requests beside secure reads`,
      ours: rateText(own),
      peers: `${CEPH} rados bench ${rateText(peer)}, in crc ${rateText(peerCrc)}`,
      ...judged(own / peer, { must: 1 }),
    });
  }
  return rows;
}

const POOL = "bench";

async function readCluster(place: Place, mode: Mode): Promise<CephCluster> {
  const cluster = await CephCluster.start({ auth: "cephx", mode, osds: 1, place });
  await cluster.createPool(POOL);
  return cluster;
}

/** Writes what is then read; a run name keeps the sizes apart. */
async function writeObjects(cluster: CephCluster, { size }: Load): Promise<void> {
  await rados(cluster, size, [
    ...["60", "write", "-b", `${size}`, "-O", `${size}`, "--max-objects", `${READ_OBJECTS}`],
    "--no-cleanup",
  ]);
}

/** Reads a second. */
async function readObjects(cluster: CephCluster, load: Load): Promise<number> {
  const { inFlight, size } = load;
  const output = await rados(cluster, size, [`${READ_SECONDS}`, "rand", "-t", `${inFlight}`]);
  const made = /^Total reads made:\s*(\d+)/m.exec(output)?.[1];
  const seconds = /^Total time run:\s*([\d.]+)/m.exec(output)?.[1];
  if (made === undefined || seconds === undefined) {
    throw new Error(`Cannot find the result of rados bench in: ${output}`);
  }
  return Number(made) / Number(seconds);
}

async function rados(cluster: CephCluster, size: number, words: string[]): Promise<string> {
  const argv = ["rados", "-p", POOL, "bench", ...words, "--run-name", `of-${size}`];
  const { code, stdout, stderr } = await cluster.run(argv, { deadlineMs: DEADLINE_MS });
  if (code !== 0) throw new Error(`Cannot run ${argv.join(" ")}: status ${code}: ${stderr}`);
  return stdout;
}
