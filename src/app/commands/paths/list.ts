/**
 * `fairlead paths list`: MPTCP connections with their subflows.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../../args.ts";
import { helpText } from "../../help.ts";
import { pathsLines } from "../../paths/paths_table.ts";
import { printableJson } from "../../printable.ts";
import { printLine } from "../../terminal.ts";
import { look, LOOK_FLAGS } from "./common.ts";

const LIST = command({
  name: "fairlead paths list",
  summary: "Shows MPTCP connections with their subflows",
  description:
    "Whoever made them and whoever manages them. It asks the daemon, which knows the numbers of subflows and\n" +
    "what peers announced; where there is none, the kernel (no privilege is needed).",
  flags: {
    ...LOOK_FLAGS,
    json: { kind: "boolean", help: "print JSON, one object" },
  },
  examples: [
    ["fairlead paths list", "Connections, subflows, links, round trips, bytes"],
    ["fairlead paths list --namespace blue --json", "Of another namespace, for a program"],
  ],
});

const COLUMNS_DEFAULT = 200;

/** Runs the action; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  const { flags, help } = parseArgs(LIST, words);
  if (help) {
    printLine(helpText(LIST));
    return Exit.Ok;
  }
  const view = await look(flags);
  if (flags.json) printLine(printableJson(view));
  else for (const line of pathsLines(view, columns())) printLine(line);
  return Exit.Ok;
}

function columns(): number {
  return Deno.stdout.isTerminal() ? Deno.consoleSize().columns : COLUMNS_DEFAULT;
}
