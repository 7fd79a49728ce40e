/**
 * `fairlead overlay graph`: a picture of an overlay as it is now.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../../args.ts";
import { helpText } from "../../help.ts";
import { overlayDot, overlayMermaid, overlayText } from "../../overlay/overlay_graph_text.ts";
import { overlaySvg } from "../../overlay/overlay_graph.ts";
import type { OverlayView } from "../../overlay/overlay_view.ts";
import { printLine } from "../../terminal.ts";
import { OVERLAY_ACCESS, withManager } from "./common.ts";

const GRAPH = command({
  name: "fairlead overlay graph",
  summary: "Draws an overlay as it is now",
  positionals: [{ name: "NAME", help: "the overlay" }],
  flags: {
    format: {
      kind: "text",
      value: "FORMAT",
      short: "f",
      default: "text",
      choices: ["text", "svg", "dot", "mermaid"],
      help: "text, svg, dot or mermaid",
    },
    ...OVERLAY_ACCESS,
  },
  examples: [
    ["fairlead overlay graph field", "For a terminal"],
    ["fairlead overlay graph field --format svg > field.svg", "For a browser"],
    ["fairlead overlay graph field --format dot | dot -Tpng > field.png", "For Graphviz"],
  ],
});

/** Runs the action. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals } = parseArgs(GRAPH, words);
  if (help) {
    printLine(helpText(GRAPH));
    return Exit.Ok;
  }
  const [name] = positionals;
  const answer = await withManager(
    flags,
    async (api) => await api.request("status", { name, probes: 1 }),
  );
  const overlay = answer.overlay as OverlayView;
  const draw = {
    text: (view: OverlayView): string => overlayText(view).join("\n"),
    svg: overlaySvg,
    dot: overlayDot,
    mermaid: overlayMermaid,
  }[flags.format as "text" | "svg" | "dot" | "mermaid"];
  printLine(draw(overlay));
  return Exit.Ok;
}
