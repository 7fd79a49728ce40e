/**
 * Requests and replies over one connection in crc mode, beside Ceph's own load pair
 * (ceph_perf_msgr_server and ceph_perf_msgr_client with the usleep(0) of their think time taken
 * out): the same messages, both ends on loopback as two processes, run in turns. A request has
 * the size's bytes of data, a reply has none.
 *
 * @module
 */
import {
  findPeer,
  installPeer,
  perfClient,
  type PerfServer,
  perfServer,
  type Place,
  placeOf,
} from "../../tests/interop/debian_peers.ts";
import { must } from "../../tests/interop/processes.ts";
import { type BareFigures, runBareStream } from "./bare_stream.ts";
import { lineChart, type Series } from "./chart.ts";
import type { Context, Family } from "./family.ts";
import { cpuTime, watchOthers } from "./machine.ts";
import {
  type Bar,
  durationText,
  judged,
  median,
  rateText,
  ratioText,
  reported,
  type Row,
  sizeText,
} from "./table.ts";

const NAME = "request-reply";
const OURS = "Fairlead";
const CEPH = "Ceph 18.2";
const MAIN = new URL("../../src/main.ts", import.meta.url).pathname;

/** Concurrency 32 of Ceph's tool is 33 in flight, as it waits while there are more than 32. */
const IN_FLIGHT = 33;

/** One load: what is sent, and how many of it, so that a run lasts about a second. */
interface Load {
  size: number;
  inFlight: number;
  /** Requests of ours that are timed. */
  count: number;
  /** Requests of Ceph's. */
  ops: number;
}

/** What one run came to. */
interface Figures {
  perSecond: number;
  /** Of both ends. */
  cpuMicroseconds: number;
}

/** A run of each, one after the other. */
interface Pair {
  ours: Figures;
  ceph: Figures;
  /** Share of the CPU that other programs used meanwhile. */
  others: number;
}

const STREAMS: readonly (Load & { bar: Bar })[] = [
  { size: 64, inFlight: IN_FLIGHT, count: 400_000, ops: 80_000, bar: { must: 4, aim: 6 } },
  { size: 4096, inFlight: IN_FLIGHT, count: 300_000, ops: 80_000, bar: { must: 3, aim: 5 } },
  { size: 65_536, inFlight: IN_FLIGHT, count: 60_000, ops: 35_000, bar: { must: 1.5, aim: 2 } },
  { size: 1_048_576, inFlight: IN_FLIGHT, count: 6000, ops: 5000, bar: { must: 1, aim: 1.2 } },
];
const PING_PONGS: readonly Load[] = [
  { size: 64, inFlight: 1, count: 30_000, ops: 10_000 },
  { size: 4096, inFlight: 1, count: 30_000, ops: 10_000 },
];
/** Half of Ceph's time, half of its CPU. */
const HALF: Bar = { must: 2 };
const CPU_SIZE = 4096;
/** From here on copying and checking is most of the work: what the machine leaves room for is told. */
const BARE_SIZE_MIN = 65_536;
const WARMUP = 20_000;
/** Of the CPU: more than this, and a pair says more about them. */
const OTHERS_MAX = 0.1;

const CHART_SIZES: readonly number[] = [64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576];
const CHART_IN_FLIGHT: readonly number[] = [1, 2, 4, 8, 16, 32, 64];
const CHART_IN_FLIGHT_SIZE = 4096;

/** Requests and replies beside Ceph's load pair. */
export const requestReplyFamily: Family = {
  name: NAME,
  about: "requests and replies in crc mode, their latency and CPU, beside Ceph's load pair",
  run,
};

async function run(context: Context): Promise<Row[]> {
  await installPeer("reef", { chroots: true, say: context.say });
  const place = placeOf(await findPeer("reef"));
  await using server = await perfServer(place);
  const ceph = new CephPair(place, server);
  await ceph.calibrate();
  const rows: Row[] = [];
  for (const { bar, ...load } of STREAMS) {
    const pairs = await alternate(context, ceph, load, context.rounds);
    rows.push(rateRow(load, pairs, bar));
    if (load.size === CPU_SIZE) rows.push(cpuRow(load, pairs));
    if (load.size >= BARE_SIZE_MIN) rows.push(await bareRow(context, load, pairs));
  }
  for (const load of PING_PONGS) {
    rows.push(timeRow(load, await alternate(context, ceph, load, context.rounds)));
  }
  if (context.charts) await drawCharts(context, ceph);
  return rows;
}

/**
 * Runs both in turns, so that what else the machine does falls on both. For each pair that other
 * programs disturb all the same there is one more, twice as many as rounds at most; of all those
 * that were disturbed least count.
 */
async function alternate(
  context: Context,
  ceph: CephPair,
  load: Load,
  rounds: number,
): Promise<Pair[]> {
  const pairs: Pair[] = [];
  let quiet = 0;
  while (quiet < rounds && pairs.length < rounds * 2) {
    const watch = watchOthers([ceph.serverPid]);
    const pair = { ceph: await ceph.run(load), ours: await runOurs(load), others: watch() };
    pairs.push(pair);
    if (pair.others <= OTHERS_MAX) quiet++;
    context.say(`${loadText(load)}, pair ${pairs.length}: ${pairText(pair)}`);
  }
  return pairs.sort((a, b) => a.others - b.others).slice(0, rounds);
}

function pairText({ ours, ceph, others }: Pair): string {
  const ratio = ratioText(ours.perSecond / ceph.perSecond);
  const figures = `${OURS} ${rateText(ours.perSecond)}, ${CEPH} ${rateText(ceph.perSecond)}`;
  const disturbed = `, other programs ${Math.round(others * 100)} % of the CPU`;
  return `${figures}, ${ratio}${others > OTHERS_MAX ? disturbed : ""}`;
}

function loadText({ size, inFlight }: Load): string {
  return `${sizeText(size)}, ${inFlight === 1 ? "ping-pong" : `${inFlight} in flight`}`;
}

// ---- ours

const OWN_DEADLINE_MS = 120_000;

/** One run of `fairlead bench`: both ends, each a process. */
async function runOurs({ size, inFlight, count }: Load): Promise<Figures> {
  const output = await must([
    ...[Deno.execPath(), "run", "-A", MAIN, "bench", "--json", "--mode=crc", `--size=${size}`],
    ...[`--in-flight=${inFlight}`, `--count=${count}`, `--warmup=${Math.min(WARMUP, count)}`],
  ], { deadlineMs: OWN_DEADLINE_MS });
  const [result] = JSON.parse(output).runs;
  return {
    perSecond: result.messages_per_second,
    cpuMicroseconds: result.cpu_us_per_message,
  };
}

// ---- Ceph's

/** Enough to have them connect, too few to cost anything. */
const CALIBRATION_OPS = 100;
const CALIBRATION_RUNS = 3;

/** Ceph's server, and its client for each load. */
class CephPair {
  readonly #place: Place;
  readonly #server: PerfServer;
  /** CPU of a client that does next to nothing: what starting and connecting costs. */
  #startMicroseconds = 0;

  constructor(place: Place, server: PerfServer) {
    this.#place = place;
    this.#server = server;
  }

  /** The process that its server is. */
  get serverPid(): number {
    return this.#server.pid;
  }

  /** Measures what is not to be counted as CPU of requests. */
  async calibrate(): Promise<void> {
    const load = { size: CPU_SIZE, inFlight: IN_FLIGHT, count: 0, ops: CALIBRATION_OPS };
    const costs: number[] = [];
    for (let run = 0; run < CALIBRATION_RUNS; run++) {
      costs.push((await this.run(load)).cpuMicroseconds * CALIBRATION_OPS);
    }
    this.#startMicroseconds = median(costs);
  }

  /** One run of the client. */
  async run({ size, inFlight, ops }: Load): Promise<Figures> {
    const before = this.#cpuMicroseconds();
    const { address } = this.#server;
    const result = await perfClient(this.#place, { address, inFlight, ops, bytes: size });
    const spent = this.#cpuMicroseconds() - before - this.#startMicroseconds;
    return { perSecond: result.opsPerSecond, cpuMicroseconds: spent / ops };
  }

  /** Of the server, and of the clients that have ended: nothing else that this process started. */
  #cpuMicroseconds(): number {
    return cpuTime(this.#server.pid).own + cpuTime(Deno.pid).children;
  }
}

// ---- the rows

function rateRow(load: Load, pairs: readonly Pair[], bar: Bar): Row {
  const { ours, ceph } = medians(pairs, ({ perSecond }) => perSecond);
  return {
    family: NAME,
    what: `${loadText(load)}: requests`,
    ours: rateText(ours),
    peers: `${CEPH} ${rateText(ceph)}`,
    ...judged(ours / ceph, bar),
  };
}

/** Ours beside loopback TCP with nothing but the CRC of what is received: the most there can be. */
async function bareRow(context: Context, load: Load, pairs: readonly Pair[]): Promise<Row> {
  const runs: BareFigures[] = [];
  for (let round = 0; round < context.rounds; round++) {
    runs.push(await runBareStream(load.size, load.count));
  }
  const bare = median(runs.map(({ perSecond }) => perSecond));
  const cpu = median(runs.map(({ cpuMicroseconds }) => cpuMicroseconds * 1000));
  const { ours } = medians(pairs, ({ perSecond }) => perSecond);
  return {
    family: NAME,
    what: `${sizeText(load.size)}: beside a bare stream, received and checked one way`,
    ours: rateText(ours),
    peers: `bare stream ${rateText(bare)}, ${durationText(cpu)} of CPU to receive`,
    ...reported(ours / bare),
  };
}

function timeRow(load: Load, pairs: readonly Pair[]): Row {
  const { ours, ceph } = medians(pairs, ({ perSecond }) => 1e9 / perSecond);
  return {
    family: NAME,
    what: `${loadText(load)}: mean time`,
    ours: durationText(ours),
    peers: `${CEPH} ${durationText(ceph)}`,
    ...judged(ceph / ours, HALF, "must be half"),
  };
}

function cpuRow(load: Load, pairs: readonly Pair[]): Row {
  const { ours, ceph } = medians(pairs, ({ cpuMicroseconds }) => cpuMicroseconds * 1000);
  return {
    family: NAME,
    what: `${loadText(load)}: CPU of both ends`,
    ours: durationText(ours),
    peers: `${CEPH} ${durationText(ceph)}`,
    ...judged(ceph / ours, HALF, "must be under half"),
  };
}

function medians(
  pairs: readonly Pair[],
  figure: (figures: Figures) => number,
): { ours: number; ceph: number } {
  return {
    ours: median(pairs.map(({ ours }) => figure(ours))),
    ceph: median(pairs.map(({ ceph }) => figure(ceph))),
  };
}

// ---- the charts

async function drawCharts(context: Context, ceph: CephPair): Promise<void> {
  const bySize: Pair[] = [];
  for (const size of CHART_SIZES) {
    bySize.push(...await alternate(context, ceph, chartLoad(size, IN_FLIGHT), 1));
  }
  const byInFlight: Pair[] = [];
  for (const inFlight of CHART_IN_FLIGHT) {
    const load = chartLoad(CHART_IN_FLIGHT_SIZE, inFlight);
    byInFlight.push(...await alternate(context, ceph, load, 1));
  }
  await context.chart(
    "request-reply-by-size",
    lineChart({
      title: `Requests and replies by size, ${IN_FLIGHT} in flight`,
      xLabel: "bytes of data in a request",
      yLabel: "requests/s",
      x: CHART_SIZES.map(sizeText),
      series: seriesOf(bySize),
      log: true,
    }),
  );
  await context.chart(
    "request-reply-by-in-flight",
    lineChart({
      title: `Requests and replies of ${sizeText(CHART_IN_FLIGHT_SIZE)} by how many are in flight`,
      xLabel: "requests in flight on one connection",
      yLabel: "requests/s",
      x: CHART_IN_FLIGHT.map(String),
      series: seriesOf(byInFlight),
    }),
  );
}

/** As many requests as the nearest load of the table has, so that a run lasts about as long. */
function chartLoad(size: number, inFlight: number): Load {
  if (inFlight === 1) return { ...PING_PONGS[0]!, size };
  const nearest = STREAMS.find((stream) => stream.size >= size)!;
  const share = Math.min(1, inFlight / 8);
  const { count, ops } = nearest;
  return { size, inFlight, count: Math.round(count * share), ops: Math.round(ops * share) };
}

function seriesOf(pairs: readonly Pair[]): Series[] {
  return [
    { name: OURS, values: pairs.map(({ ours }) => ours.perSecond) },
    { name: CEPH, values: pairs.map(({ ceph }) => ceph.perSecond) },
  ];
}
