/**
 * `fairlead standby status`: who is active, what the standby has, and how far it is behind.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../../args.ts";
import { delay } from "../../delay.ts";
import { helpText } from "../../help.ts";
import { canDraw, LiveView } from "../../live_view.ts";
import { printableJson } from "../../printable.ts";
import { onStop } from "../../signals.ts";
import { ROWS_MAX, standbyLines, tableColumns } from "../../standby/standby_table.ts";
import type { StandbyView } from "../../standby/standby_view.ts";
import { printLine } from "../../terminal.ts";
import { askStandby, STANDBY_ACCESS } from "./common.ts";

const STATUS = command({
  name: "fairlead standby status",
  summary: "Shows who is active, what the standby has, and how far it is behind",
  description:
    "LAG: packets that the standby has not acknowledged, and for how long there were some. JUMP: what a\n" +
    "takeover now would add to the number of packets sent. LAST: age of the last event of the kernel;\n" +
    '"asked": this SA gives none, and is read from time to time. DROPS: packets that the kernel refused\n' +
    "as replayed. The SAs furthest behind come first.",
  flags: {
    all: { kind: "boolean", short: "a", help: `every SA; without it, ${ROWS_MAX} of them` },
    watch: { kind: "boolean", short: "w", help: "look each second, on a terminal, until Ctrl-C" },
    ...STANDBY_ACCESS,
  },
  examples: [
    ["fairlead standby status", "The pair, and the SAs furthest behind"],
    ["fairlead standby status --json", "All of it, for a program"],
  ],
});

const LOOK_MS = 1000;

/** Runs the action. */
export async function run(words: string[]): Promise<number> {
  const { flags, help } = parseArgs(STATUS, words);
  if (help) {
    printLine(helpText(STATUS));
    return Exit.Ok;
  }
  const rowsMax = flags.all ? Infinity : ROWS_MAX;
  const status = await look(flags.socket);
  if (flags.watch && !flags.json && canDraw()) await watch(status, flags.socket, rowsMax);
  else if (flags.json) printLine(printableJson(status));
  else for (const line of standbyLines(status, tableColumns(), rowsMax)) printLine(line);
  return Exit.Ok;
}

async function look(socket: string): Promise<StandbyView> {
  return (await askStandby(socket, "status")).status as StandbyView;
}

async function watch(first: StandbyView, socket: string, rowsMax: number): Promise<void> {
  const stop = new AbortController();
  onStop(() => stop.abort());
  let status = first;
  const view = new LiveView(() =>
    standbyLines(status, tableColumns(), rowsMax).map((text) => ({ text }))
  );
  view.start();
  try {
    while (!stop.signal.aborted) {
      await delay(LOOK_MS, stop.signal);
      status = await look(socket);
    }
  } finally {
    view.stop();
  }
}
