/**
 * `fairlead overlay demo`: an overlay to look at, on one machine.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../../args.ts";
import { helpText } from "../../help.ts";
import { connectOverlay } from "../../overlay/api_client.ts";
import { DemoLab } from "../../overlay/demo_lab.ts";
import { overlayText } from "../../overlay/overlay_graph_text.ts";
import { overlayLines } from "../../overlay/overlay_table.ts";
import type { OverlayView } from "../../overlay/overlay_view.ts";
import { onStop } from "../../signals.ts";
import { printError, printLine } from "../../terminal.ts";

const DEMO = command({
  name: "fairlead overlay demo",
  summary: "Forms an overlay of boxes that are network namespaces of this machine",
  description:
    "Makes an authority, namespaces on a bridge, a resource daemon in each and a manager, applies a specification\n" +
    "and shows it. Until Ctrl-C every other action can be tried on it with the --socket that is told; then\n" +
    "everything is removed. It needs root and iproute2; nothing outside of its namespaces is touched.",
  flags: {
    boxes: {
      kind: "number",
      value: "COUNT",
      default: 4,
      min: 2,
      max: 32,
      help: "how many",
    },
    topology: {
      kind: "text",
      value: "TOPOLOGY",
      default: "ring",
      choices: ["linear", "ring", "star", "tree", "mesh"],
      help: "linear, ring, star, tree or mesh",
    },
    once: { kind: "boolean", help: "end when it was shown" },
  },
  examples: [["sudo fairlead overlay demo --boxes 6 --topology star", "Six boxes around one"]],
});

/** Runs the action; ends at SIGINT or SIGTERM. */
export async function run(words: string[]): Promise<number> {
  const { flags, help } = parseArgs(DEMO, words);
  if (help) {
    printLine(helpText(DEMO));
    return Exit.Ok;
  }
  const stopped = new Promise<void>((resolve) => {
    onStop(() => resolve());
    Deno.addSignalListener("SIGHUP", () => resolve()); // its terminal is gone, the boxes must be, too
  });
  const lab = new DemoLab(flags.boxes);
  try {
    printError(`Making ${flags.boxes} boxes and a manager`);
    await lab.build();
    const api = await connectOverlay({ socket: lab.socket });
    try {
      await api.follow(({ done, node, of, phase, text }) =>
        printError(`${phase.padEnd(9)} ${done}/${of} ${node} ${text}`)
      );
      const { boxes, topology } = flags;
      const spec = JSON.stringify({ name: "demo", topology, routers: boxes });
      await api.request("create", { spec });
      const { overlay } = await api.request("status", { name: "demo", probes: 3 });
      const view = overlay as OverlayView;
      for (const line of [...overlayText(view), "", ...overlayLines(view)]) printLine(line);
      if (!flags.once) {
        tellWhatToTry(view, lab);
        await stopped;
      }
      printError("Taking it down");
      await api.request("destroy", { name: "demo" });
    } finally {
      await api.close();
    }
    return Exit.Ok;
  } finally {
    await lab.remove();
  }
}

function tellWhatToTry(overlay: OverlayView, lab: DemoLab): void {
  const [first] = overlay.nodes;
  const last = overlay.nodes.at(-1)!;
  const lines = [
    "",
    "Try, in another terminal:",
    `  fairlead overlay status demo --socket ${lab.socket}`,
    `  fairlead overlay graph demo --format svg --socket ${lab.socket} > demo.svg`,
    `  ip netns exec ${lab.namespace(first!.node)} ping -I ${first!.address} ${last.address}`,
    `  ip -n ${lab.namespace(first!.node)} route show table all proto 199`,
    "Ctrl-C takes it down and removes everything",
  ];
  for (const line of lines) printLine(line);
}
