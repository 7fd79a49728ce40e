/**
 * `fairlead standby diff`: the SAs of both boxes side by side.
 *
 * @module
 */
import type { SaDifference } from "../../../proto/xfrm/sa_table.ts";
import { command, Exit, parseArgs } from "../../args.ts";
import { helpText } from "../../help.ts";
import { printableJson } from "../../printable.ts";
import { diffLines, isMissing, ROWS_MAX, tableColumns } from "../../standby/standby_table.ts";
import { printLine } from "../../terminal.ts";
import { askStandby, STANDBY_ACCESS } from "./common.ts";

const DIFF = command({
  name: "fairlead standby diff",
  summary: "Shows the SAs of both boxes side by side",
  description:
    "The active box tells what its kernel has, the standby what it holds. Figures of SAs that carry\n" +
    "traffic differ by what is on its way. Exit code 0 when both boxes have the same SAs, 1 when one is\n" +
    "missing on a side.",
  flags: {
    all: { kind: "boolean", short: "a", help: `every SA; without it, ${ROWS_MAX} of them` },
    ...STANDBY_ACCESS,
  },
  examples: [
    ["fairlead standby diff", "Rows that differ first"],
    ["fairlead standby diff --json", "All rows with all figures, for a program"],
  ],
});

/** Runs the action. */
export async function run(words: string[]): Promise<number> {
  const { flags, help } = parseArgs(DIFF, words);
  if (help) {
    printLine(helpText(DIFF));
    return Exit.Ok;
  }
  const answer = await askStandby(flags.socket, "diff");
  const sas = answer.sas as SaDifference[];
  const lines = flags.json
    ? [printableJson(answer)]
    : diffLines(`${answer.box}`, sas, tableColumns(), flags.all ? Infinity : ROWS_MAX);
  for (const line of lines) printLine(line);
  return sas.some(isMissing) ? Exit.Failure : Exit.Ok;
}
