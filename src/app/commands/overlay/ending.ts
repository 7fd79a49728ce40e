/**
 * What cancel and destroy have in common: nothing is left of an overlay, or it is said where something is.
 *
 * @module
 */
import { Exit } from "../../args.ts";
import { printableJson } from "../../printable.ts";
import { printError, printLine } from "../../terminal.ts";
import { type AccessFlags, withManager } from "./common.ts";

/** Ends an overlay; returns the exit code. */
export async function end(
  verb: "cancel" | "destroy",
  name: string,
  flags: AccessFlags & { readonly json: boolean },
): Promise<number> {
  const answer = await withManager(flags, async (api) => await api.request(verb, { name }));
  const orphans = answer.orphans as string[];
  if (flags.json) printLine(printableJson(answer));
  else if (orphans.length === 0) printLine(`Overlay ${name} is gone: nothing is left of it`);
  else {
    printError(
      `Overlay ${name} is gone, but ${
        orphans.join(", ")
      } did not answer: it is tried on, and undone ` +
        "there at the latest when the lease is over",
    );
  }
  return orphans.length === 0 ? Exit.Ok : Exit.Failure;
}
