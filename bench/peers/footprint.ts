/**
 * What Fairlead costs where it runs: an idle gateway with one session, a thousand sessions on one
 * server, the start of the bundled file; beside the brokers where they have the same figure. And
 * how messages a second change with the number of sessions.
 *
 * @module
 */
import {
  findPeer,
  installPeer,
  perfClient,
  perfServer,
  type Place,
  placeOf,
} from "../../tests/interop/debian_peers.ts";
import { Daemon, freePort, must, run as runCommand } from "../../tests/interop/processes.ts";
import { installBrokers, mosquittoCommand, natsCommand } from "./brokers.ts";
import { lineChart } from "./chart.ts";
import type { Context, Family } from "./family.ts";
import { cpuMicroseconds, memoryText, rssBytes } from "./process_stat.ts";
import { durationText, median, rateText, reported, type Row, type Verdict } from "./table.ts";

const NAME = "footprint";
const CEPH = "Ceph 18.2";
const MAIN = new URL("../../src/main.ts", import.meta.url).pathname;
const DEADLINE_MS = 120_000;

const IDLE_RSS_MAX = 90e6;
const IDLE_CPU_PERCENT_MAX = 0.5;
const IDLE_SECONDS = 10;
/** What start-up leaves to be done is not idleness. */
const SETTLE_SECONDS = 3;

const SESSIONS = 1000;
const SESSIONS_RSS_MAX = 250e6;
const RATE = 10;
const RATE_SECONDS = 10;
const RATE_SIZE = 256;

const STARTS = 10;
const START_MS_MAX = 150;

/** What memory, CPU and time Fairlead takes. */
export const footprintFamily: Family = {
  name: NAME,
  about: "memory and CPU of an idle gateway and of a thousand sessions, and the time of a start",
  run,
};

async function run(context: Context): Promise<Row[]> {
  const { directory, say } = context;
  await installBrokers(say);
  const bundle = `${directory}/fairlead.js`;
  await must([Deno.execPath(), "bundle", "--quiet", "-o", bundle, MAIN], {
    deadlineMs: DEADLINE_MS,
  });
  const starts = await measureStarts(context, bundle);
  const rows = [
    ...await idleRows(context, bundle, starts),
    ...await sessionRows(context),
    startRow(starts),
  ];
  if (context.charts) await drawChart(context);
  return rows;
}

/** A row that is held against a figure, not against a peer. */
function limited(what: string, ours: string, peers: string, bar: string, held: boolean): Row {
  const verdict: Verdict = held ? "held" : "missed";
  return { family: NAME, what, ours, peers, ratio: null, bar, verdict };
}

// ---- idle

async function idleRows(
  { directory, say }: Context,
  bundle: string,
  [, ...brokers]: readonly Start[],
): Promise<Row[]> {
  say(`an idle gateway and its hub, for ${IDLE_SECONDS} s`);
  const address = `v2:127.0.0.1:${freePort()}`;
  await using _hub = await startOurs(["hub", address], bundle, `${directory}/hub`, "Listening on");
  const lines = `127.0.0.1:${freePort()}`;
  const words = ["gateway", "--hub", address, "--listen", lines];
  await using gateway = await startOurs(words, bundle, `${directory}/gateway`, "stands");
  await seconds(SETTLE_SECONDS);
  const before = cpuMicroseconds(gateway.pid);
  const startedMs = performance.now();
  await seconds(IDLE_SECONDS);
  const spent = cpuMicroseconds(gateway.pid) - before;
  const percent = spent / (performance.now() - startedMs) / 10;
  const rss = rssBytes(gateway.pid);
  const peers = brokers.map((each) => `${each.name} ${memoryText(each.rssBytes)}`).join(", ");
  return [
    limited(
      "idle gateway with one session: memory",
      memoryText(rss),
      peers,
      `must be under ${memoryText(IDLE_RSS_MAX)}`,
      rss < IDLE_RSS_MAX,
    ),
    limited(
      "idle gateway with one session: CPU of a core",
      `${percent.toFixed(2)} %`,
      "",
      `must be under ${IDLE_CPU_PERCENT_MAX} %`,
      percent < IDLE_CPU_PERCENT_MAX,
    ),
  ];
}

/** Starts the bundled file, and waits until it says something. */
async function startOurs(
  words: string[],
  bundle: string,
  outputPath: string,
  wanted: string,
): Promise<Daemon> {
  const daemon = Daemon.start([Deno.execPath(), "run", "-A", bundle, ...words], outputPath);
  try {
    const said = (): boolean => daemon.output().includes(wanted);
    await daemon.until(`it says ${wanted}`, said, DEADLINE_MS);
  } catch (error) {
    await daemon.stop();
    throw error;
  }
  return daemon;
}

function seconds(count: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, count * 1000));
}

// ---- a thousand sessions

async function sessionRows({ say }: Context): Promise<Row[]> {
  say(`${SESSIONS} sessions with ${RATE} requests a second each, for ${RATE_SECONDS} s`);
  // With a loss it ends in a failure, and tells the figures all the same.
  const { stdout, stderr } = await runCommand([
    ...[Deno.execPath(), "run", "-A", MAIN, "bench", "--json", "--policy=lossless"],
    ...[`--sessions=${SESSIONS}`, `--rate=${RATE}`, `--duration=${RATE_SECONDS}`],
    `--size=${RATE_SIZE}`,
  ], { deadlineMs: DEADLINE_MS });
  if (stdout === "") throw new Error(`Cannot hold ${SESSIONS} sessions: ${stderr}`);
  const [result] = JSON.parse(stdout).runs;
  const { errors, lost, p50_us, p99_us, server } = result;
  const rss = server.rss_bytes;
  const missing = lost + errors;
  const what = `${SESSIONS} lossless sessions, ${RATE} requests/s each`;
  return [
    limited(
      `${what}: memory of the server`,
      memoryText(rss),
      `its client ${memoryText(result.rss_bytes)}`,
      `must be under ${memoryText(SESSIONS_RSS_MAX)}`,
      rss < SESSIONS_RSS_MAX,
    ),
    limited(`${what}: lost`, `${missing}`, "", "must be 0", missing === 0),
    {
      family: NAME,
      what: `${what}: 99 of 100 answered within`,
      ours: durationText((p99_us ?? 0) * 1000),
      peers: `the median ${durationText((p50_us ?? 0) * 1000)}`,
      ...reported(),
    },
    {
      family: NAME,
      what: `${what}: CPU of the server`,
      ours: `${server.cpu_percent.toFixed(1)} %`,
      peers: `its client ${result.cpu_percent.toFixed(1)} %`,
      ...reported(),
    },
  ];
}

// ---- the start

/** How long a program takes until it listens, and the memory it has then. */
interface Start {
  name: string;
  ms: number;
  rssBytes: number;
}

/** The bundled hub first, then the brokers; in turns, after one start of each for the caches. */
async function measureStarts({ directory, say }: Context, bundle: string): Promise<Start[]> {
  const hub = (_directory: string, port: number): Promise<string[]> =>
    Promise.resolve([Deno.execPath(), "run", "-A", bundle, "hub", `v2:127.0.0.1:${port}`]);
  const commands = { "Fairlead": hub, "nats-server": natsCommand, "mosquitto": mosquittoCommand };
  const runs = Object.entries(commands).map(([name, command]) => ({
    name,
    command,
    starts: [] as { ms: number; rssBytes: number }[],
  }));
  for (let count = 0; count <= STARTS; count++) {
    for (const { command, starts } of runs) {
      const port = freePort();
      const start = await startOnce(await command(directory, port), port);
      if (count > 0) starts.push(start);
    }
  }
  return runs.map(({ name, starts }) => {
    say(`${name} listens after ${starts.map(({ ms }) => ms.toFixed(0)).join(", ")} ms`);
    return {
      name,
      ms: median(starts.map(({ ms }) => ms)),
      rssBytes: median(starts.map((start) => start.rssBytes)),
    };
  });
}

const START_DEADLINE_MS = 10_000;

/** From the exec to the first connection that is accepted. */
async function startOnce(argv: string[], port: number): Promise<{ ms: number; rssBytes: number }> {
  const [program, ...args] = argv as [string, ...string[]];
  const startedMs = performance.now();
  const child = new Deno.Command(program, { args, stdin: "null", stdout: "null", stderr: "null" })
    .spawn();
  try {
    while (!await accepts(port)) {
      if (performance.now() - startedMs > START_DEADLINE_MS) {
        throw new Error(`Cannot connect to ${program} within ${START_DEADLINE_MS} ms of its start`);
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    return { ms: performance.now() - startedMs, rssBytes: rssBytes(child.pid) };
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
}

async function accepts(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return true;
  } catch {
    return false;
  }
}

function startRow([own, ...brokers]: readonly Start[]): Row {
  return limited(
    "start of the bundled hub, until it listens",
    durationText(own!.ms * 1e6),
    brokers.map(({ name, ms }) => `${name} ${durationText(ms * 1e6)}`).join(", "),
    `must be under ${START_MS_MAX} ms`,
    own!.ms < START_MS_MAX,
  );
}

// ---- the chart

const CHART_SESSIONS: readonly number[] = [1, 10, 100, 1000];
const CHART_ONE_WAY_SIZE = 256;
const CHART_ONE_WAY_COUNT = 1_000_000;
const CHART_SIZE = 4096;
const CHART_COUNT = 150_000;
const CHART_OPS = 60_000;
/** In flight on each session: with a thousand of them more would not fit into the arena. */
const CHART_IN_FLIGHT = 24;

async function drawChart(context: Context): Promise<void> {
  const oneWay: number[] = [];
  const requests: number[] = [];
  for (const sessions of CHART_SESSIONS) {
    oneWay.push(
      await benchRate(sessions, CHART_ONE_WAY_SIZE, CHART_ONE_WAY_COUNT, ["--one-way"]),
    );
    const inFlight = `--in-flight=${CHART_IN_FLIGHT}`;
    requests.push(await benchRate(sessions, CHART_SIZE, CHART_COUNT, [inFlight]));
    const rates = [oneWay, requests].map((rates) => rateText(rates.at(-1)!)).join(", ");
    context.say(`${sessions} sessions: one way and with replies ${rates}`);
  }
  const ceph = await cephRates(context);
  await context.chart(
    "messages-by-sessions",
    lineChart({
      title: "Messages by sessions, all of them from one process to another",
      xLabel: `sessions; with replies ${CHART_IN_FLIGHT} in flight on each`,
      yLabel: "messages/s",
      x: CHART_SESSIONS.map(String),
      series: [
        { name: "Fairlead, 256 B one way", values: oneWay },
        { name: "Fairlead, 4 KiB and reply", values: requests },
        { name: `${CEPH}, 4 KiB and reply`, values: ceph },
      ],
      log: true,
    }),
  );
}

async function benchRate(
  sessions: number,
  size: number,
  count: number,
  flags: string[],
): Promise<number> {
  const output = await must([
    ...[Deno.execPath(), "run", "-A", MAIN, "bench", "--json", `--sessions=${sessions}`],
    ...[`--size=${size}`, `--count=${count}`, ...flags],
  ], { deadlineMs: DEADLINE_MS });
  return JSON.parse(output).runs[0].messages_per_second;
}

/** Ceph's client now and then misses the last answer of a thread, and then waits for ever. */
const CEPH_ATTEMPTS = 3;
const CEPH_DEADLINE_MS = 12_000;

/** Each session is a connection with a thread in Ceph's tool; null where it does not come to an end. */
async function cephRates({ say }: Context): Promise<(number | null)[]> {
  await installPeer("reef", { chroots: true, say });
  const place = placeOf(await findPeer("reef"));
  const rates: (number | null)[] = [];
  for (const jobs of CHART_SESSIONS) {
    let rate: number | null = null;
    for (let attempt = 0; attempt < CEPH_ATTEMPTS && rate === null; attempt++) {
      rate = await cephRate(place, jobs);
    }
    rates.push(rate);
    say(`${CEPH}, ${jobs} connections: ${rate === null ? "no end" : rateText(rate)}`);
  }
  return rates;
}

async function cephRate(place: Place, jobs: number): Promise<number | null> {
  await using server = await perfServer(place);
  const { address } = server;
  const ops = Math.ceil(CHART_OPS / jobs);
  const load = { address, jobs, ops, inFlight: CHART_IN_FLIGHT, bytes: CHART_SIZE };
  try {
    return (await perfClient(place, { ...load, deadlineMs: CEPH_DEADLINE_MS })).opsPerSecond;
  } catch {
    return null;
  }
}
