/**
 * `fairlead standby promote`: makes this box the active one.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../../args.ts";
import { helpText } from "../../help.ts";
import { printableJson } from "../../printable.ts";
import { printLine } from "../../terminal.ts";
import { askStandby, STANDBY_ACCESS } from "./common.ts";

const PROMOTE = command({
  name: "fairlead standby promote",
  summary: "Makes this box the active one",
  description:
    "The other box is asked to hand over: it stops sending, tells where its associations are, and then\n" +
    "this one goes on. When it cannot be reached, a witness decides; without a witness it is refused, as\n" +
    "two boxes must never send with one key, unless --force says that the other one is surely not\n" +
    "running. A script of keepalived (notify_master) calls it with --force.",
  flags: {
    force: {
      kind: "boolean",
      help: "the other box is surely not sending, or this one has to start",
    },
    ...STANDBY_ACCESS,
  },
  examples: [
    ["fairlead standby promote", "Before the other box is taken down for maintenance"],
    ["fairlead standby promote --force", "After it was switched off, without a witness"],
  ],
});

/** Runs the action. */
export async function run(words: string[]): Promise<number> {
  const { flags, help } = parseArgs(PROMOTE, words);
  if (help) {
    printLine(helpText(PROMOTE));
    return Exit.Ok;
  }
  const answer = await askStandby(flags.socket, "promote", { force: flags.force });
  printLine(flags.json ? printableJson(answer) : `This box is active (term ${answer.term})`);
  return Exit.Ok;
}
