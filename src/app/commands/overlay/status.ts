/**
 * `fairlead overlay status`: overlays, their boxes and links.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../../args.ts";
import { helpText } from "../../help.ts";
import { overlayLines, overlaysLines } from "../../overlay/overlay_table.ts";
import type { OverlayView } from "../../overlay/overlay_view.ts";
import { printableJson } from "../../printable.ts";
import { printLine } from "../../terminal.ts";
import { OVERLAY_ACCESS, withManager } from "./common.ts";

const STATUS = command({
  name: "fairlead overlay status",
  summary: "Shows overlays, their boxes and links",
  description:
    "Without NAME all overlays of the manager, a line each. With NAME every link is probed from both ends: round\n" +
    "trip, loss, counters; and what is not as it was configured (drift). Exit code 1 when a link carries nothing,\n" +
    "a box is silent or something has drifted.",
  positionals: [{ name: "NAME", help: "the overlay", optional: true }],
  flags: {
    probes: {
      kind: "number",
      value: "COUNT",
      default: 3,
      min: 0,
      max: 100,
      help: "echo requests over each link; 0: counters only",
    },
    ...OVERLAY_ACCESS,
  },
  examples: [
    ["fairlead overlay status", "All overlays"],
    ["fairlead overlay status field", "One with its links probed"],
  ],
});

/** Runs the action. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals } = parseArgs(STATUS, words);
  if (help) {
    printLine(helpText(STATUS));
    return Exit.Ok;
  }
  const [name] = positionals;
  const answer = await withManager(
    flags,
    async (api) =>
      name === undefined
        ? await api.request("list")
        : await api.request("status", { name, probes: flags.probes }),
  );
  if (flags.json) printLine(printableJson(answer));
  if (name === undefined) {
    const overlays = answer.overlays as OverlayView[];
    if (!flags.json) { for (const line of overlaysLines(overlays)) printLine(line); }
    return Exit.Ok;
  }
  const overlay = answer.overlay as OverlayView;
  if (!flags.json) { for (const line of overlayLines(overlay)) printLine(line); }
  return isWell(overlay) ? Exit.Ok : Exit.Failure;
}

function isWell({ links, nodes, state }: OverlayView): boolean {
  return state === "ACTIVE" && nodes.every(({ drift, silent }) => drift.length === 0 && !silent) &&
    links.every(({ answered, sent }) => sent === null || sent === 0 || (answered ?? 0) > 0);
}
