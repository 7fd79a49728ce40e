/**
 * `fairlead overlay cancel`: gives up an overlay before it is up, "Cancel@" of the X-Bone control protocol.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../../args.ts";
import { helpText } from "../../help.ts";
import { printLine } from "../../terminal.ts";
import { OVERLAY_ACCESS } from "./common.ts";
import { end } from "./ending.ts";

const CANCEL = command({
  name: "fairlead overlay cancel",
  summary: "Gives up an overlay that is held or being formed",
  positionals: [{ name: "NAME", help: "the overlay" }],
  flags: OVERLAY_ACCESS,
  examples: [["fairlead overlay cancel field", "Every box that was reserved is free again"]],
});

/** Runs the action. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals } = parseArgs(CANCEL, words);
  if (!help) return await end("cancel", positionals[0]!, flags);
  printLine(helpText(CANCEL));
  return Exit.Ok;
}
