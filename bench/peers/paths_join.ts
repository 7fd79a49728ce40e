/**
 * How soon a manager makes a second subflow: connections one after the other, from the packet that makes
 * each established to the SYN with MP_JOIN, both with the kernel's times of one capture; alternating
 * runs. The bar is of daemons that have run for a while, on CPUs that are kept from sleeping: to wake an
 * idle virtual CPU takes 40 to 170 us, as its host likes, and hides what a manager takes. Both the first
 * connections after a start and idle CPUs are told beside it.
 *
 * @module
 */
import { delay } from "../../src/app/delay.ts";
import { Daemon, must } from "../../tests/interop/processes.ts";
import type { Context } from "./family.ts";
import { readJoins } from "./paths_capture.ts";
import { FAR_ADDRESS, PathsLab, PORT } from "./paths_lab.ts";
import {
  FAIRLEAD_MANAGER,
  KERNEL_MANAGER,
  type Manager,
  MPTCPD_MANAGER,
} from "./paths_managers.ts";
import { cpuMicroseconds } from "./process_stat.ts";
import { durationText, median, reported, type Row } from "./table.ts";

const COUNT = 200;
const RUNS = 3;
/** Between the first connections after a start and those that stand for a daemon that has run. */
const WARM_UP = 1000;
const CONNECTIONS = COUNT + WARM_UP + COUNT;
/** A capture may lose some packets; that every connection gets its subflow is the storm's to show. */
const SEEN_MIN = 0.95 * COUNT;
/** How long each connection stays, and how long the pause after it is: more than any join takes. */
const OPEN_MS = 10;
const WARM_UP_OPEN_MS = 1;
const FACTOR_MAX = 2.5;
const CAPTURE_MS = 10_000;
const CAPTURED_BYTES = 160;
const CAPTURE_KIB = 32_768;
/** tcpdump gets its packets from the kernel in blocks, up to a second late. */
const CAPTURE_LATE_MS = 1500;
const LOAD_MS = 60_000;

/** What one manager came to. */
export interface JoinFigures {
  name: string;
  /** With CPUs kept awake. */
  awake: JoinRun[];
  /** With CPUs that sleep when there is nothing to do. */
  idle: JoinRun[];
}

/** One run of it. */
export interface JoinRun {
  /** Microseconds of each of the first joins. */
  firstUs: number[];
  /** Of each of the later ones. */
  laterUs: number[];
  /** CPU of the manager's process for the whole run, in microseconds; null when it is the kernel. */
  cpuUs: number | null;
}

/** All of them; ours first, the bar's peer second. */
export const MANAGERS: readonly Manager[] = [FAIRLEAD_MANAGER, MPTCPD_MANAGER, KERNEL_MANAGER];

/** Measures all, in turns, and gives the rows of the table. */
export async function joinRows(context: Context, family: string, load: string): Promise<Row[]> {
  return rowsOfJoins(await measureJoins(context, load, MANAGERS), family);
}

/** The figures of each manager, in turns. */
export async function measureJoins(
  { directory, say }: Context,
  load: string,
  managers: readonly Manager[],
): Promise<JoinFigures[]> {
  const all = managers.map(({ name }): JoinFigures => ({ name, awake: [], idle: [] }));
  for (let run = 1; run <= RUNS; run++) {
    for (const cpus of ["awake", "idle"] as const) {
      for (const [index, manager] of managers.entries()) {
        const place = await Deno.makeTempDir({ dir: directory });
        await using _spinners = await Spinners.start(cpus === "awake" ? CPUS : 0, place);
        all[index]![cpus].push(await measureRun(manager, load, place));
      }
      const told = all.map((figures) => {
        const { firstUs, laterUs } = figures[cpus].at(-1)!;
        const [first, later] = [firstUs, laterUs].map((each) => percentile(each, 50).toFixed(0));
        return `${figures.name} ${first} then ${later} us (${firstUs.length + laterUs.length})`;
      });
      say(`joins ${run} of ${RUNS}, CPUs ${cpus}: ${told.join(", ")}`);
    }
  }
  return all;
}

async function measureRun(manager: Manager, load: string, directory: string): Promise<JoinRun> {
  await using lab = await PathsLab.create();
  const plugins = await Deno.makeTempDir({ dir: directory });
  await using running = await manager.start(lab, plugins);
  await using _listener = await lab.startListener(load, ["echo"], `${directory}/far.out`);
  const path = `${directory}/capture`;
  const { pid } = running;
  const before = pid === null ? 0 : cpuMicroseconds(pid);
  {
    await using capture = await startCapture(lab, path, `${directory}/tcpdump.out`);
    const plan = [[COUNT, OPEN_MS], [WARM_UP, WARM_UP_OPEN_MS], [COUNT, OPEN_MS]] as const;
    for (const [count, openMs] of plan) {
      const argv = [load, "joins", FAR_ADDRESS, `${PORT}`, `${count}`, `${openMs}`];
      await must(lab.onNear(argv), { deadlineMs: LOAD_MS });
    }
    await delay(CAPTURE_LATE_MS);
    await capture.stop("SIGINT"); // it writes what it has
  }
  const cpuUs = pid === null ? null : cpuMicroseconds(pid) - before;
  const delaysUs = readJoins(await Deno.readFile(path), PORT);
  const seen = (each: readonly (number | null)[]): number[] => each.flatMap((us) => us ?? []);
  return { firstUs: seen(delaysUs.slice(0, COUNT)), laterUs: seen(delaysUs.slice(-COUNT)), cpuUs };
}

const CPUS = navigator.hardwareConcurrency;

/** What runs on each CPU whenever nothing else wants to: SCHED_IDLE of sched(7). */
class Spinners implements AsyncDisposable {
  readonly #all: Daemon[] = [];

  static async start(count: number, directory: string): Promise<Spinners> {
    const spinners = new Spinners();
    for (let cpu = 0; cpu < count; cpu++) {
      const argv = [
        "chrt",
        "-i",
        "0",
        "taskset",
        "-c",
        `${cpu}`,
        "sh",
        "-c",
        "while :; do :; done",
      ];
      spinners.#all.push(Daemon.start(argv, `${directory}/spinner${cpu}.out`));
    }
    await delay(SPIN_MS);
    if (spinners.#all.every(({ running }) => running)) return spinners;
    await spinners[Symbol.asyncDispose]();
    throw new Error("Cannot keep the CPUs awake: chrt or taskset has failed, see util-linux");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const spinner of this.#all) await spinner.stop();
  }
}

/** Until chrt(1) and taskset(1) have become the loop. */
const SPIN_MS = 100;

async function startCapture(lab: PathsLab, path: string, outputPath: string): Promise<Daemon> {
  const argv = [
    ...[
      "tcpdump",
      "-n",
      "-i",
      "any",
      "-y",
      "LINUX_SLL2",
      "-s",
      `${CAPTURED_BYTES}`,
      "-B",
      `${CAPTURE_KIB}`,
    ],
    ...["--time-stamp-precision=nano", "-Z", "root", "-w", path, "tcp", "port", `${PORT}`],
  ];
  const capture = Daemon.start(lab.onNear(argv), outputPath);
  try {
    const listening = (): boolean => capture.output().includes("listening on");
    await capture.until("tcpdump listens", listening, CAPTURE_MS);
  } catch (error) {
    await capture.stop();
    throw error;
  }
  return capture;
}

/** The value that so many of a hundred do not exceed, by the nearest rank. */
export function percentile(values: readonly number[], percent: number): number {
  if (values.length === 0) throw new Error("Cannot take a percentile of nothing");
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(Math.ceil(sorted.length * percent / 100) - 1, 0)]!;
}

/** The rows of the table: medians over the runs. */
export function rowsOfJoins(all: readonly JoinFigures[], family: string): Row[] {
  const [own, peer] = all as [JoinFigures, JoinFigures, ...JoinFigures[]];
  type Value = (figures: JoinFigures) => number;
  const middle = (
    cpus: "awake" | "idle",
    which: "firstUs" | "laterUs",
    percent: number,
  ): Value =>
  (figures) => median(figures[cpus].map((run) => percentile(run[which], percent)));
  const row = (what: string, text: (figures: JoinFigures) => string): Row => ({
    family,
    what,
    ours: text(own),
    peers: all.slice(1).map((figures) => `${figures.name} ${text(figures)}`).join(", "),
    ...reported(),
  });
  const times = (what: string, value: Value): Row => ({
    ...row(`established to MP_JOIN, ${what}`, (figures) => durationText(value(figures) * 1e3)),
    ...reported(value(peer) / value(own)),
  });
  const later = middle("awake", "laterUs", 50);
  const joined = own.awake.every(({ laterUs }) => laterUs.length >= SEEN_MIN);
  const held = joined && later(own) <= FACTOR_MAX * later(peer);
  return [
    {
      ...times(`p50 of ${COUNT}`, later),
      bar: `must be at most ${FACTOR_MAX} times mptcpd`,
      verdict: held ? "held" : "missed",
    },
    times(`p99 of ${COUNT}`, middle("awake", "laterUs", 99)),
    times(`p50 of the first ${COUNT} after the start`, middle("awake", "firstUs", 50)),
    times(`p50 of ${COUNT} with idle CPUs`, middle("idle", "laterUs", 50)),
    row(`CPU of the manager for ${CONNECTIONS} joins`, ({ awake }) => {
      const used = awake.flatMap(({ cpuUs }) => cpuUs ?? []);
      return used.length === 0 ? "none" : durationText(median(used) * 1e3);
    }),
  ];
}
