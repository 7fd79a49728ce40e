/**
 * `fairlead standby`: a second box that takes over. Each action is a module of its own, in the folder
 * beside this file.
 *
 * @module
 */
import { type CommandSet, runOf } from "../command_set.ts";

const ACTIONS: CommandSet["entries"] = {
  run: {
    summary: "be one box of a pair: the active one, its standby, or whichever a witness lets it be",
    load: () => import("./standby/run.ts"),
  },
  witness: {
    summary: "let one box of each pair be active at a time",
    load: () => import("./standby/witness.ts"),
  },
  status: {
    summary: "who is active, what the standby has, and how far it is behind",
    load: () => import("./standby/status.ts"),
  },
  diff: {
    summary: "the SAs of both boxes side by side",
    load: () => import("./standby/diff.ts"),
  },
  promote: {
    summary: "make this box the active one",
    load: () => import("./standby/promote.ts"),
  },
  demote: {
    summary: "make this box the standby",
    load: () => import("./standby/demote.ts"),
  },
  monitor: {
    summary: "events of the kernel's IPsec as they come",
    load: () => import("./standby/monitor.ts"),
  },
};

/** Runs an action; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  return await runOf({
    program: "fairlead standby",
    title: "Keeps a second box in step, which takes over without rekeying and without replay",
    word: "ACTION",
    entries: ACTIONS,
  }, words);
}
