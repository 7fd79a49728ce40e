/**
 * `fairlead overlay discover`: which boxes answer, "discover" of X-Bone's API.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../../args.ts";
import { helpText } from "../../help.ts";
import { candidateLines } from "../../overlay/overlay_table.ts";
import type { Candidate } from "../../../proto/xbone/machine.ts";
import { printableJson } from "../../printable.ts";
import { printLine } from "../../terminal.ts";
import { OVERLAY_ACCESS, withManager } from "./common.ts";

const DISCOVER = command({
  name: "fairlead overlay discover",
  summary: "Shows which boxes answer, and what they offer",
  description:
    "Invites in growing rings without reserving anything. Exit code 1 when nobody answers.",
  flags: OVERLAY_ACCESS,
  examples: [["fairlead overlay discover", "Boxes, what they may be, and what they can"]],
});

/** Runs the action. */
export async function run(words: string[]): Promise<number> {
  const { flags, help } = parseArgs(DISCOVER, words);
  if (help) {
    printLine(helpText(DISCOVER));
    return Exit.Ok;
  }
  const answer = await withManager(flags, async (api) => await api.request("discover"));
  const nodes = answer.nodes as Candidate[];
  if (flags.json) printLine(printableJson(answer));
  else for (const line of candidateLines(nodes)) printLine(line);
  return nodes.length > 0 ? Exit.Ok : Exit.Failure;
}
