/**
 * 2000 connections, opened as fast as the machine can, and one a millisecond: how many second subflows a manager makes, what it costs, and
 * what it still knows of them after half of them were closed by their client and the rest aborted by
 * their server, of which the kernel tells nothing.
 *
 * @module
 */
import { delay } from "../../src/app/delay.ts";
import { Daemon } from "../../tests/interop/processes.ts";
import type { Context } from "./family.ts";
import { FAR_ADDRESS, PathsLab, PORT } from "./paths_lab.ts";
import type { Manager } from "./paths_managers.ts";
import { MANAGERS } from "./paths_join.ts";
import { cpuMicroseconds, memoryText, rssBytes } from "./process_stat.ts";
import { durationText, reported, type Row } from "./table.ts";

/** How many connections a storm has. */
export const COUNT = 2000;
const OPEN_MS = 30_000;
/** All subflows are there, or none came for so long. */
const QUIET_MS = 3000;
const LOOK_MS = 50;
/** A manager that looks at its connections every 30 s has done so once. */
const FORGET_MS = 45_000;

/** How the connections are opened. */
export interface Pace {
  name: string;
  /** Between two of them, in microseconds. */
  pauseUs: number;
}

const BURST: Pace = { name: "in a burst", pauseUs: 0 };
/** Slow enough for a peer that goes deaf when the kernel's queue of events overflows. */
const STEADY: Pace = { name: "one a millisecond", pauseUs: 1000 };

/** What one manager came to. */
export interface StormFigures {
  name: string;
  /** Connections that were opened. */
  opened: number;
  /** How long the load took to open them, in milliseconds. */
  openMs: number;
  /** Most second subflows that were there at once. */
  subflows: number;
  /** CPU of its process until then, in microseconds, and its memory then; null for the kernel. */
  process: { cpuUs: number; rssBytes: number } | null;
  /** What is left in its tables after the end of all connections; null when it cannot be asked. */
  left: number | null;
  /** How long until nothing was left, in milliseconds; null when something is, or is not known. */
  forgottenMs: number | null;
}

/** Measures all, and gives the rows of the table. */
export async function stormRows(context: Context, family: string, load: string): Promise<Row[]> {
  const burst = await measureStorms(context, load, MANAGERS, BURST);
  const steady = await measureStorms(context, load, MANAGERS, STEADY);
  return [
    ...burstRows(burst, `${COUNT} connections ${BURST.name}`, family),
    ...costRows(steady, `${COUNT} connections, ${STEADY.name}`, family),
  ];
}

/** The figures of each manager. */
export async function measureStorms(
  { directory, say }: Context,
  load: string,
  managers: readonly Manager[],
  pace: Pace,
): Promise<StormFigures[]> {
  const all: StormFigures[] = [];
  for (const manager of managers) {
    const place = await Deno.makeTempDir({ dir: directory });
    const figures = await measureStorm(manager, pace, load, place);
    say(`storm ${pace.name}: ${JSON.stringify(figures)}`);
    all.push(figures);
  }
  return all;
}

async function measureStorm(
  manager: Manager,
  pace: Pace,
  load: string,
  directory: string,
): Promise<StormFigures> {
  await using lab = await PathsLab.create();
  const plugins = await Deno.makeTempDir({ dir: directory });
  await using running = await manager.start(lab, plugins);
  const { pid } = running;
  await using listener = await lab.startListener(load, ["echo"], `${directory}/far.out`);
  const before = pid === null ? 0 : cpuMicroseconds(pid);
  const words = ["storm", FAR_ADDRESS, `${PORT}`, `${COUNT}`, `${pace.pauseUs}`];
  await using client = Daemon.start(lab.onNear([load, ...words]), `${directory}/near.out`);
  await client.until("all connections are open", () => opened(client) !== null, OPEN_MS);
  const subflows = await settledSubflows(lab);
  const process = pid === null
    ? null
    : { cpuUs: cpuMicroseconds(pid) - before, rssBytes: rssBytes(pid) };
  await ask(client, "closed");
  await ask(listener, "aborted");
  const endedMs = performance.now();
  const left = await running.left(FORGET_MS);
  const forgottenMs = left === 0 ? performance.now() - endedMs : null;
  return { name: manager.name, ...opened(client)!, subflows, process, left, forgottenMs };
}

/** What the load has said of its connections; null before. */
function opened(client: Daemon): { opened: number; openMs: number } | null {
  const said = /^open (\d+) ([\d.]+)$/m.exec(client.output());
  return said === null ? null : { opened: Number(said[1]), openMs: Number(said[2]) };
}

async function settledSubflows(lab: PathsLab): Promise<number> {
  let most = 0;
  let sinceMs = performance.now();
  while (most < COUNT && performance.now() - sinceMs < QUIET_MS) {
    const count = await lab.secondSubflows();
    if (count > most) {
      most = count;
      sinceMs = performance.now();
    }
    await delay(LOOK_MS);
  }
  return most;
}

async function ask(load: Daemon, word: string): Promise<void> {
  Deno.kill(load.pid, "SIGUSR1");
  await load.until(`the load has ${word} them`, () => load.output().includes(word), OPEN_MS);
}

/** The rows of the burst; the first manager is ours, which must miss and keep nothing. */
export function burstRows(all: readonly StormFigures[], what: string, family: string): Row[] {
  const own = all[0]!;
  return [
    {
      family,
      what: `${what}: second subflows`,
      ...texts(all, subflowsText),
      ratio: null,
      bar: `must be ${COUNT}`,
      verdict: own.opened === COUNT && own.subflows === COUNT ? "held" : "missed",
    },
    {
      family,
      what: `${what}: left in the tables once all were closed or aborted`,
      ...texts(all, ({ left, forgottenMs }) => {
        if (left === null) return "cannot tell";
        return forgottenMs === null ? `${left}` : `0 after ${durationText(forgottenMs * 1e6)}`;
      }),
      ratio: null,
      bar: "must be 0",
      verdict: own.left === 0 ? "held" : "missed",
    },
    ...costRows(all, what, family).slice(1),
  ];
}

/** What a storm costs. */
export function costRows(all: readonly StormFigures[], what: string, family: string): Row[] {
  const row = (measured: string, text: (figures: StormFigures) => string): Row => ({
    family,
    what: `${what}: ${measured}`,
    ...texts(all, text),
    ...reported(),
  });
  return [
    row("second subflows", subflowsText),
    row(
      "CPU of the manager",
      ({ process }) => process === null ? "none" : durationText(process.cpuUs * 1e3),
    ),
    row(
      "memory of the manager",
      ({ process }) => process === null ? "none" : memoryText(process.rssBytes),
    ),
  ];
}

function subflowsText({ subflows, opened }: StormFigures): string {
  return `${subflows} of ${opened}`;
}

function texts(
  [own, ...peers]: readonly StormFigures[],
  text: (figures: StormFigures) => string,
): Pick<Row, "ours" | "peers"> {
  return {
    ours: text(own!),
    peers: peers.map((figures) => `${figures.name} ${text(figures)}`).join(", "),
  };
}
