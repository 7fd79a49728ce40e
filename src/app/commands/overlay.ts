/**
 * `fairlead overlay`: a virtual network over many boxes, formed as a whole or not at all. Each action is a
 * module of its own, in the folder beside this file.
 *
 * @module
 */
import { type CommandSet, runOf } from "../command_set.ts";

const ACTIONS: CommandSet["entries"] = {
  rd: {
    summary: "lend this box to overlays: the resource daemon",
    load: () => import("./overlay/rd.ts"),
  },
  om: {
    summary: "form overlays: the manager, for operators and for managers above",
    load: () => import("./overlay/om.ts"),
  },
  plan: {
    summary: "what apply would change, per box; nothing is touched",
    load: () => import("./overlay/plan.ts"),
  },
  apply: {
    summary: "form an overlay from a specification, all of it or nothing",
    load: () => import("./overlay/apply.ts"),
  },
  config: {
    summary: "go on with an overlay that apply --hold has reserved",
    load: () => import("./overlay/config.ts"),
  },
  cancel: {
    summary: "give up an overlay that is held or being formed",
    load: () => import("./overlay/cancel.ts"),
  },
  status: {
    summary: "overlays, their boxes and links: round trip, loss, counters, drift",
    load: () => import("./overlay/status.ts"),
  },
  graph: {
    summary: "a picture of an overlay: text, SVG, dot or mermaid",
    load: () => import("./overlay/graph.ts"),
  },
  destroy: {
    summary: "take an overlay down on every box",
    load: () => import("./overlay/destroy.ts"),
  },
  discover: {
    summary: "which boxes answer, and what they offer",
    load: () => import("./overlay/discover.ts"),
  },
  orphans: {
    summary: "what carries an overlay's marks on this box and belongs to none",
    load: () => import("./overlay/orphans.ts"),
  },
  demo: {
    summary: "an overlay to look at, of boxes that are namespaces of this machine",
    load: () => import("./overlay/demo.ts"),
  },
  keys: {
    summary: "make a small authority and certificates for nodes, managers and operators",
    load: () => import("./overlay/keys.ts"),
  },
};

/** Runs an action; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  return await runOf({
    program: "fairlead overlay",
    title: "Forms a virtual network over many boxes, all of it or nothing",
    word: "ACTION",
    entries: ACTIONS,
  }, words);
}
