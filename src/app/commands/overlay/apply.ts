/**
 * `fairlead overlay apply`: forms an overlay, all of it or nothing.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../../args.ts";
import { helpText } from "../../help.ts";
import type { OverlayApi } from "../../overlay/api_client.ts";
import type { OverlayEvent } from "../../overlay/api_message.ts";
import { overlayLines } from "../../overlay/overlay_table.ts";
import type { OverlayView } from "../../overlay/overlay_view.ts";
import { printable, printableJson } from "../../printable.ts";
import { printError, printLine } from "../../terminal.ts";
import { OVERLAY_ACCESS, specText, withManager } from "./common.ts";

const APPLY = command({
  name: "fairlead overlay apply",
  summary: "Forms an overlay from a specification, all of it or nothing",
  description:
    "The manager finds boxes, has them reserved and committed, configures all of them and probes every link. When\n" +
    "a box refuses, stays silent or a link carries nothing, everything is undone and the reason names the box.\n" +
    "The same specification again changes nothing, unless a box has drifted: then the overlay is formed again.\n" +
    "Ctrl-C gives up, and everything is undone.",
  positionals: [{
    name: "SPEC",
    help: "the specification, JSON with comments; - is standard input",
  }],
  flags: {
    hold: {
      kind: "boolean",
      help: "only reserve and commit; overlay config goes on, overlay cancel gives up",
    },
    replace: {
      kind: "boolean",
      help: "destroy the overlay of that name first when it is another one",
    },
    quiet: { kind: "boolean", short: "q", help: "do not tell the progress" },
    ...OVERLAY_ACCESS,
  },
  examples: [
    ["fairlead overlay apply field.jsonc", "Forms it, or says which box is in the way"],
    ["fairlead overlay apply --hold field.jsonc", "Boxes are committed; nothing is configured"],
    [
      "fairlead overlay apply field.jsonc --om om.example:2165 --certificate me.pem --key me.key --ca ca.pem",
      "At a manager elsewhere",
    ],
  ],
});

/** Runs the action. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals } = parseArgs(APPLY, words);
  if (help) {
    printLine(helpText(APPLY));
    return Exit.Ok;
  }
  const spec = await specText(positionals[0]!);
  if (spec === null) return Exit.Usage;
  const startedMs = performance.now();
  return await withManager(flags, async (api) => {
    const { name, text } = spec;
    const { endLine, tell } = progressTeller();
    if (!flags.quiet && !flags.json) {
      await api.follow((event) => {
        if (event.overlay === name) tell(event);
      });
    }
    const give = (): void => {
      endLine();
      printError("Giving up: everything is being undone");
      // A connection of its own, as requests of one are done one after the other.
      withManager(flags, async (other) => await other.request("cancel", { name }))
        .catch((error: Error) => printError(error.message));
    };
    Deno.addSignalListener("SIGINT", give);
    try {
      const { hold, replace } = flags;
      const answer = await api.request("create", { spec: text, hold, replace });
      const formed = answer.overlay as OverlayView;
      endLine();
      const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
      if (flags.json) printLine(printableJson(answer));
      else {
        const overlay = await withFigures(api, formed);
        for (const line of overlayLines(overlay)) printLine(line);
        for (const line of answer.drift as readonly string[]) {
          printLine(`Formed again, as it was not as configured: ${printable(line)}`);
        }
        printLine(outcome(overlay, answer.unchanged === true, seconds));
      }
      return Exit.Ok;
    } finally {
      endLine(); // what comes next may be why it failed
      Deno.removeSignalListener("SIGINT", give);
    }
  });
}

/** What was probed while it was formed is over: its links are looked at once more. */
async function withFigures(api: OverlayApi, formed: OverlayView): Promise<OverlayView> {
  if (formed.state !== "ACTIVE") return formed;
  const answer = await api.request("status", { name: formed.name, probes: 1 });
  return answer.overlay as OverlayView;
}

function outcome({ name, nodes, state }: OverlayView, unchanged: boolean, seconds: string): string {
  const silent = new Set(nodes.flatMap((node) => node.silent ? [node.node] : []));
  if (unchanged && silent.size > 0) {
    return `Overlay ${name} is up: nothing was changed, but ${
      [...silent].join(", ")
    } did not answer`;
  }
  if (unchanged) return `Overlay ${name} is up as specified: nothing was changed`;
  if (state === "READY") {
    return `Overlay ${name} is committed (${seconds} s): fairlead overlay config ${name} configures it, ` +
      `fairlead overlay cancel ${name} gives it up`;
  }
  return `Overlay ${name} is up: ${nodes.length} nodes, every link probed (${seconds} s)`;
}

/** A line for each phase and node; on a terminal nodes of a phase share one. */
function progressTeller(): { tell: (event: OverlayEvent) => void; endLine: () => void } {
  const inPlace = Deno.stderr.isTerminal();
  const encoder = new TextEncoder();
  let phase = "";
  const endLine = (): void => {
    if (phase !== "") Deno.stderr.writeSync(encoder.encode("\n"));
    phase = "";
  };
  const tell = ({ done, node, of, phase: now, text }: OverlayEvent): void => {
    const who = node === "" ? "" : ` ${node}`;
    const line = printable(`${now.padEnd(9)} ${done}/${of}${who} ${text}`);
    if (!inPlace) return printError(line);
    const start = phase === now || phase === "" ? "\r\x1b[2K" : "\n";
    phase = now;
    Deno.stderr.writeSync(encoder.encode(`${start}${line}${done === of ? "\n" : ""}`));
    if (done === of) phase = "";
  };
  return { tell, endLine };
}
