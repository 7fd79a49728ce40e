/**
 * `fairlead overlay config`: the second step of an overlay that is held, "Config@" of the X-Bone control
 * protocol.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../../args.ts";
import { helpText } from "../../help.ts";
import { overlayLines } from "../../overlay/overlay_table.ts";
import type { OverlayView } from "../../overlay/overlay_view.ts";
import { printableJson } from "../../printable.ts";
import { printLine } from "../../terminal.ts";
import { OVERLAY_ACCESS, withManager } from "./common.ts";

const CONFIG = command({
  name: "fairlead overlay config",
  summary: "Goes on with an overlay that apply --hold has reserved",
  positionals: [{ name: "NAME", help: "the overlay" }],
  flags: OVERLAY_ACCESS,
  examples: [["fairlead overlay config field", "Configures every box and probes every link"]],
});

/** Runs the action. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals } = parseArgs(CONFIG, words);
  if (help) {
    printLine(helpText(CONFIG));
    return Exit.Ok;
  }
  const [name] = positionals;
  const answer = await withManager(flags, async (api) => {
    const formed = await api.request("config", { name });
    return flags.json ? formed : await api.request("status", { name, probes: 1 });
  });
  if (flags.json) printLine(printableJson(answer));
  else for (const line of overlayLines(answer.overlay as OverlayView)) printLine(line);
  return Exit.Ok;
}
