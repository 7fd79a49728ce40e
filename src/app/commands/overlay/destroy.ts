/**
 * `fairlead overlay destroy`: takes an overlay down on every box.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../../args.ts";
import { helpText } from "../../help.ts";
import { printLine } from "../../terminal.ts";
import { OVERLAY_ACCESS } from "./common.ts";
import { end } from "./ending.ts";

const DESTROY = command({
  name: "fairlead overlay destroy",
  summary: "Takes an overlay down on every box",
  description:
    "Every step is undone in reverse. Exit code 1 when a box did not answer: it is tried on, and undoes the\n" +
    "overlay by itself when its lease is over.",
  positionals: [{ name: "NAME", help: "the overlay" }],
  flags: OVERLAY_ACCESS,
  examples: [["fairlead overlay destroy field", "Nothing of it is left on any box"]],
});

/** Runs the action. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals } = parseArgs(DESTROY, words);
  if (!help) return await end("destroy", positionals[0]!, flags);
  printLine(helpText(DESTROY));
  return Exit.Ok;
}
