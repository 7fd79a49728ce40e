/**
 * The same cut for fairlead and for mosquitto: a publisher of MQTT QoS 1 sends at a steady rate to a box
 * in one network namespace, a far end in another one writes a file. Meanwhile the cable is pulled out
 * for a while, and both ends are killed with SIGKILL and started again. Once all has drained the file is
 * held against what the publisher knows. The publisher sends no message twice, so each one that came
 * twice was doubled on the way.
 *
 * mosquitto keeps as much as it can: persistence on, saved once a second or on each change, queues
 * without bound, sessions of bridge and subscriber kept. Its subscriber is never killed, and what it
 * prints need not be on the disk; fairlead's hub, which writes the file, is.
 *
 * @module
 */
import { delay } from "../../src/app/delay.ts";
import { canMakeNamespaces, NamespacePair } from "../../tests/interop/netns.ts";
import { Daemon } from "../../tests/interop/processes.ts";
import type { Context } from "./family.ts";
import type { Progress } from "./gateway_load.ts";
import { addFileFrom, Tally, tallyFile } from "./gateway_messages.ts";
import { FairleadPair, type Ground, groundOf, MosquittoPair, type Pair } from "./gateway_pairs.ts";
import { durationText, rateText, reported, type Row } from "./table.ts";

const LOAD = new URL("./gateway_load.ts", import.meta.url).pathname;
const SIZE = 256;
const SOURCE = "m";

/** What happens, and when, in seconds after the publisher began. */
export interface CutPlan {
  perSecond: number;
  seconds: number;
  events: readonly { atSeconds: number; what: CutEvent }[];
  /** Most that is waited for the last messages after the publisher ended. */
  drainSeconds: number;
  /** No message for so long: none will come any more. */
  quietSeconds: number;
}

/** One thing that happens. */
export type CutEvent = "cable out" | "cable in" | "far end killed" | "box killed";

const PLAN: CutPlan = {
  perSecond: 2000,
  seconds: 60,
  events: [
    { atSeconds: 10, what: "cable out" },
    { atSeconds: 20, what: "box killed" },
    { atSeconds: 30, what: "cable in" },
    { atSeconds: 42, what: "far end killed" },
    { atSeconds: 50, what: "box killed" },
  ],
  drainSeconds: 180,
  quietSeconds: 20,
};

/** What came of it. */
export interface CutResult {
  name: string;
  sent: number;
  acknowledged: number;
  /** Acknowledged to the publisher, and not in the far file. */
  lost: number;
  doubled: number;
  disordered: number;
  /** Lines of the far file that are no messages. */
  foreign: number;
  /** Null when what waited had not all arrived when it was looked at last. */
  drain: Drain | null;
}

/** How what waited behind the cable arrived. */
export interface Drain {
  messages: number;
  /** From the cable to the last of them; before the first one stands the wait for a connection. */
  allMs: number;
  /** While the middle eight tenths came: the first may come from the socket of a dead process. */
  perSecond: number;
}

/** What the far file held at a moment. */
export interface Sample {
  atMs: number;
  count: number;
}

/** Starts a pair in an empty directory. */
export type StartPair = (directory: string, ground: Ground) => Promise<Pair>;

const CONTESTANTS: readonly StartPair[] = [
  (directory, ground) => FairleadPair.start(directory, ground),
  (directory, ground) => MosquittoPair.start(directory, ground, "each second"),
  (directory, ground) => MosquittoPair.start(directory, ground, "on each change"),
];

/** Runs the cut for each, and gives the rows of the table. */
export async function cutRows({ directory, say }: Context, family: string): Promise<Row[]> {
  if (!await canMakeNamespaces()) {
    throw new Error("Cannot cut a cable as this needs network namespaces: run it as root");
  }
  const results: CutResult[] = [];
  for (const start of CONTESTANTS) {
    const place = await Deno.makeTempDir({ dir: directory });
    const result = await runCut(start, PLAN, place, say);
    say(`${result.name}: ${JSON.stringify(result)}`);
    results.push(result);
  }
  return rowsOf(results, family);
}

/** One run. */
export async function runCut(
  start: StartPair,
  plan: CutPlan,
  directory: string,
  say: (line: string) => void,
): Promise<CutResult> {
  await using namespaces = await NamespacePair.create();
  const ground = groundOf(namespaces);
  await using pair = await start(directory, ground);
  say(`the cut: ${pair.name} (${pair.settings})`);
  say(`${plan.perSecond} messages/s for ${plan.seconds} s: ${eventsText(plan)}`);
  const ledgerPath = `${directory}/ledger`;
  const words = [`${pair.ports.mqtt}`, SOURCE, `${SIZE}`, `${plan.perSecond}`, `${plan.seconds}`];
  const argv = [Deno.execPath(), "run", "-A", LOAD, "steady", "mqtt", ...words, ledgerPath];
  await using load = Daemon.start(ground.near(argv), `${directory}/load.out`);
  const begun = (): boolean => progressOf(load) !== null;
  await load.until("the publisher has begun", begun, START_DEADLINE_MS);
  const drain = await play(plan, namespaces, pair, load);
  await ended(load, plan);
  await drained(pair, ledgerPath, plan);
  const { sent, acknowledged } = progressOf(load)!;
  const tally = await tallyFile(pair.farPath, SIZE);
  const { disordered, doubled } = tally.of(SOURCE);
  const lost = tally.lost(SOURCE, await Deno.readFile(ledgerPath));
  const { foreign } = tally;
  return { name: pair.name, sent, acknowledged, lost, doubled, disordered, foreign, drain };
}

function eventsText({ events }: CutPlan): string {
  return events.map(({ atSeconds, what }) => `${what} at ${atSeconds} s`).join(", ");
}

const START_DEADLINE_MS = 10_000;
const END_GRACE_MS = 30_000;

/** Lets everything happen; returns how the first drain went. */
async function play(
  plan: CutPlan,
  namespaces: NamespacePair,
  pair: Pair,
  load: Daemon,
): Promise<Drain | null> {
  const startedMs = performance.now();
  let drain: Promise<Drain | null> = Promise.resolve(null);
  for (const { atSeconds, what } of plan.events) {
    await delay(Math.max(0, startedMs + atSeconds * 1000 - performance.now()));
    switch (what) {
      case "cable out":
        await namespaces.setCable(false);
        break;
      case "cable in": {
        const { last } = progressOf(load)!;
        await namespaces.setCable(true);
        drain = watchDrain(pair.farPath, last, plan.drainSeconds);
        break;
      }
      case "far end killed":
        await pair.restartFar();
        break;
      case "box killed":
        await pair.restartNear();
        break;
    }
  }
  return await drain;
}

const WATCH_MS = 10;

/** Until `last`, acknowledged before the cable was put back, or a later one is in the far file. */
async function watchDrain(
  path: string,
  last: number,
  deadlineSeconds: number,
): Promise<Drain | null> {
  const tally = new Tally(SIZE);
  const startedMs = performance.now();
  const samples: Sample[] = [];
  let offset = 0;
  for (;;) {
    offset = await addFileFrom(tally, path, offset);
    const { count, last: arrived } = tally.of(SOURCE);
    const atMs = performance.now() - startedMs;
    samples.push({ atMs, count });
    if (arrived >= last) return drainOf(samples);
    if (atMs > deadlineSeconds * 1000) return null;
    await delay(WATCH_MS);
  }
}

/** The first sample is of the moment when the cable was put back, the last one when all was there. */
export function drainOf(samples: readonly Sample[]): Drain {
  const [first, last] = [samples[0]!, samples.at(-1)!];
  const messages = last.count - first.count;
  const reached = (share: number): Sample =>
    samples.find(({ count }) => count >= first.count + messages * share)!;
  const [from, to] = [reached(0.1), reached(0.9)];
  // With both in one sample it was faster than can be seen.
  const tookMs = Math.max(to.atMs - from.atMs, WATCH_MS);
  const perSecond = Math.max(to.count - from.count, messages * 0.8) * 1000 / tookMs;
  return { messages, allMs: last.atMs - first.atMs, perSecond };
}

/** The publisher waits for the last acknowledgements, then leaves its ledger. */
async function ended(load: Daemon, { seconds }: CutPlan): Promise<void> {
  const deadline = new AbortController();
  const late = delay(seconds * 1000 + END_GRACE_MS, deadline.signal).then(() => null);
  const code = await Promise.race([load.exited, late]);
  deadline.abort();
  if (code !== 0) throw new Error(`Cannot take the publisher's word: status ${code}`);
}

const LOOK_MS = 1000;
/** Once nothing is missing: what comes later than this after the last one would be doubled. */
const SETTLED_MS = 5000;

/** Until all that was acknowledged is there, or nothing comes any more. */
async function drained(pair: Pair, ledgerPath: string, plan: CutPlan): Promise<void> {
  const acknowledgements = await Deno.readFile(ledgerPath);
  const untilMs = performance.now() + plan.drainSeconds * 1000;
  let size = -1;
  let sinceMs = performance.now();
  while (performance.now() < Math.min(untilMs, sinceMs + plan.quietSeconds * 1000)) {
    const now = (await Deno.stat(pair.farPath)).size;
    if (now !== size) {
      size = now;
      sinceMs = performance.now();
    } else if (performance.now() > sinceMs + SETTLED_MS) {
      const tally = await tallyFile(pair.farPath, SIZE);
      if (tally.lost(SOURCE, acknowledgements) === 0) return;
    }
    await delay(LOOK_MS);
  }
}

/** The last whole line of what the publisher has printed; null before the first. */
function progressOf(load: Daemon): Progress | null {
  const line = load.output().split("\n").at(-2);
  return line === undefined ? null : JSON.parse(line);
}

// ---- rows

/** The rows of the table; the first result is ours, which must lose and double nothing. */
export function rowsOf(results: readonly CutResult[], family: string): Row[] {
  const [own, ...peers] = results as [CutResult, ...CutResult[]];
  const told = (text: (result: CutResult) => string): Pick<Row, "ours" | "peers"> => ({
    ours: text(own),
    peers: peers.map((peer) => `${peer.name} ${text(peer)}`).join(", "),
  });
  const must = (
    key: "lost" | "doubled" | "disordered",
  ): Pick<Row, "ratio" | "bar" | "verdict"> => ({
    ratio: null,
    bar: "must be 0",
    verdict: own[key] === 0 && own.foreign === 0 && own.acknowledged > 0 ? "held" : "missed",
  });
  return [
    {
      family,
      what: "the cut: acknowledged to the publisher, and lost",
      ...told(({ acknowledged, lost }) => `${lost} of ${acknowledged}`),
      ...must("lost"),
    },
    {
      family,
      what: "the cut: doubled",
      ...told(({ doubled }) => `${doubled}`),
      ...must("doubled"),
    },
    {
      family,
      what: "the cut: out of order",
      ...told(({ disordered }) => `${disordered}`),
      ...must("disordered"),
    },
    {
      family,
      what: "the cut: how fast what waited came, and when all was there",
      ...told(({ drain }) => drain === null ? "never all" : drainText(drain)),
      ...reported(),
    },
  ];
}

function drainText({ allMs, perSecond }: Drain): string {
  return `${rateText(perSecond)} and all after ${durationText(allMs * 1e6)}`;
}
