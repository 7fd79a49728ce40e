/**
 * How long data stands still when the uplink that carries it loses its carrier: an MPTCP connection
 * over two uplinks, 1000 bytes every 5 ms, the largest gap at the receiver from the loss on, for each
 * manager and both directions.
 *
 * @module
 */
import { delay } from "../../src/app/delay.ts";
import { Daemon } from "../../tests/interop/processes.ts";
import type { Context } from "./family.ts";
import { FAR_ADDRESS, PathsLab, PORT } from "./paths_lab.ts";
import {
  FAIRLEAD_MANAGER,
  KERNEL_MANAGER,
  type Manager,
  MPTCPD_MANAGER,
} from "./paths_managers.ts";
import { durationText, median, reported, type Row } from "./table.ts";

/** Which way the data goes, seen from the managed host. */
export type Direction = "out" | "in";

/** A manager under test. */
export interface Contestant {
  name: string;
  manager: Manager;
  /** It is stopped once it has made the second subflow. */
  leaves: boolean;
}

/** Gaps of one contestant, in milliseconds. */
export interface Gaps {
  name: string;
  out: number[];
  in: number[];
}

const OURS: Contestant = { name: "Fairlead", manager: FAIRLEAD_MANAGER, leaves: false };
const MPTCPD: Contestant = { name: "mptcpd", manager: MPTCPD_MANAGER, leaves: false };
/** All of them; mptcpd is the one that the bar names. */
export const CONTESTANTS: readonly Contestant[] = [
  OURS,
  MPTCPD,
  { name: "in-kernel", manager: KERNEL_MANAGER, leaves: false },
  { name: "no manager", manager: MPTCPD_MANAGER, leaves: true },
];

const GAP_MS_MAX = 20;
const PEER_GAP_MS_MIN = 100;
const DIRECTIONS: readonly Direction[] = ["out", "in"];

const SECONDS = 4;
const SUBFLOW_MS = 5000;
/** The kernel tells a change of a link late when another one was within the last second. */
const LINKS_REST_MS = 1200;
const END_MS = 30_000;

/** Measures all, in turns, and gives the rows of the table. */
export async function failoverRows(context: Context, family: string, load: string): Promise<Row[]> {
  return gapRows(await measureGaps(context, load, CONTESTANTS), family);
}

/** The gaps of each contestant, in turns. */
export async function measureGaps(
  { directory, rounds, say }: Context,
  load: string,
  contestants: readonly Contestant[],
): Promise<Gaps[]> {
  const all = contestants.map(({ name }): Gaps => ({ name, out: [], in: [] }));
  for (let round = 1; round <= rounds; round++) {
    for (const direction of DIRECTIONS) {
      for (const [index, contestant] of contestants.entries()) {
        const place = await Deno.makeTempDir({ dir: directory });
        all[index]![direction].push(await measureGap(contestant, direction, load, place));
      }
      const told = all.map((gaps) => `${gaps.name} ${gaps[direction].at(-1)!.toFixed(0)} ms`);
      say(`failover ${round} of ${rounds}, data ${direction}: ${told.join(", ")}`);
    }
  }
  return all;
}

/** One loss of carrier. */
async function measureGap(
  { manager, leaves }: Contestant,
  direction: Direction,
  load: string,
  directory: string,
): Promise<number> {
  await using lab = await PathsLab.create();
  const plugins = await Deno.makeTempDir({ dir: directory });
  await using running = await manager.start(lab, plugins);
  const roles = direction === "out" ? ["send", "receive"] : ["receive", "send"];
  const [near, far] = roles.map((role) => [role, `${SECONDS}`]) as [string[], string[]];
  await using listener = await lab.startListener(load, far, `${directory}/far.out`);
  const argv = lab.onNear([load, "connect", FAR_ADDRESS, `${PORT}`, ...near]);
  await using connector = Daemon.start(argv, `${directory}/near.out`);
  const joined = async (): Promise<boolean> => await lab.secondSubflows() === 1;
  await connector.until(`${manager.name} has made a second subflow`, joined, SUBFLOW_MS);
  if (leaves) await running[Symbol.asyncDispose]();
  await delay(LINKS_REST_MS);
  const receiver = direction === "out" ? listener : connector;
  const uplink = await lab.busyUplink();
  Deno.kill(receiver.pid, "SIGUSR1");
  await lab.unplug(uplink);
  await ended(receiver);
  return gapOf(receiver.output());
}

async function ended(receiver: Daemon): Promise<void> {
  await receiver.until("the load ends", () => !receiver.running, END_MS);
}

/** What the load printed: how long nothing came. */
export function gapOf(output: string): number {
  const said = /^\{.*\}$/m.exec(output);
  if (said === null) throw new Error(`Cannot find the gap in what the load said: ${output}`);
  const { bytes, gapMs }: { bytes: number; gapMs: number } = JSON.parse(said[0]);
  if (bytes === 0 || gapMs === 0) throw new Error(`Cannot take a gap as nothing came: ${output}`);
  return gapMs;
}

/** The rows of the table; the first contestant is ours, the second one the bar's peer. */
export function gapRows(all: readonly Gaps[], family: string): Row[] {
  const [own, peer] = all as [Gaps, Gaps, ...Gaps[]];
  return DIRECTIONS.flatMap((direction): Row[] => {
    const middle = (gaps: Gaps): number => median(gaps[direction]);
    const texts = (value: (gaps: Gaps) => number): Pick<Row, "ours" | "peers"> => ({
      ours: durationText(value(own) * 1e6),
      peers: all.slice(1).map((gaps) => `${gaps.name} ${durationText(value(gaps) * 1e6)}`)
        .join(", "),
    });
    const held = middle(own) < GAP_MS_MAX && middle(peer) >= PEER_GAP_MS_MIN;
    const what = `carrier lost, data ${direction}: the gap`;
    return [
      {
        family,
        what: `${what}, median of ${own[direction].length}`,
        ...texts(middle),
        ratio: middle(peer) / middle(own),
        bar: `must be under ${GAP_MS_MAX} ms where mptcpd has hundreds`,
        verdict: held ? "held" : "missed",
      },
      {
        family,
        what: `${what}, largest`,
        ...texts((gaps) => Math.max(...gaps[direction])),
        ...reported(),
      },
    ];
  });
}
