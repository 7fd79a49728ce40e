/**
 * `fairlead paths graph`: a picture of MPTCP connections over the links of this host.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../../args.ts";
import { helpText } from "../../help.ts";
import { pathsGraph } from "../../paths/paths_graph.ts";
import { printableJson } from "../../printable.ts";
import { printLine } from "../../terminal.ts";
import { look, LOOK_FLAGS } from "./common.ts";

const GRAPH = command({
  name: "fairlead paths graph",
  summary: "Draws MPTCP connections over the links of this host, as SVG",
  flags: {
    ...LOOK_FLAGS,
    output: {
      kind: "text",
      value: "FILE",
      short: "o",
      help: "write it there rather than to standard output",
    },
    json: { kind: "boolean", help: "print what the picture shows, as JSON" },
  },
  examples: [["fairlead paths graph -o paths.svg", "A picture for a browser"]],
});

/** Runs the action; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  const { flags, help } = parseArgs(GRAPH, words);
  if (help) {
    printLine(helpText(GRAPH));
    return Exit.Ok;
  }
  const view = await look(flags);
  const text = flags.json ? printableJson(view) : pathsGraph(view);
  if (flags.output === undefined) printLine(text);
  else {
    try {
      await Deno.writeTextFile(flags.output, `${text}\n`);
    } catch (error) {
      const why = (error as Error).message;
      throw new Error(`Cannot write the picture to ${flags.output}: ${why}, give another FILE`);
    }
  }
  return Exit.Ok;
}
