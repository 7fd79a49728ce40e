/**
 * `fairlead standby demote`: makes this box the standby.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../../args.ts";
import { helpText } from "../../help.ts";
import { printableJson } from "../../printable.ts";
import { printLine } from "../../terminal.ts";
import { askStandby, STANDBY_ACCESS } from "./common.ts";

const DEMOTE = command({
  name: "fairlead standby demote",
  summary: "Makes this box the standby",
  description:
    "It stops sending. The other box takes over when it can; when it cannot, nobody sends. A script of\n" +
    "keepalived (notify_backup, notify_fault) calls it.",
  flags: STANDBY_ACCESS,
  examples: [["fairlead standby demote", "Hand over"]],
});

/** Runs the action. */
export async function run(words: string[]): Promise<number> {
  const { flags, help } = parseArgs(DEMOTE, words);
  if (help) {
    printLine(helpText(DEMOTE));
    return Exit.Ok;
  }
  const answer = await askStandby(flags.socket, "demote");
  printLine(flags.json ? printableJson(answer) : "This box hands over");
  return Exit.Ok;
}
