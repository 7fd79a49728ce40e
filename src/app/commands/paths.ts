/**
 * `fairlead paths`: MPTCP connections over several links. Each action is a module of its own, in the
 * folder beside this file.
 *
 * @module
 */
import { type CommandSet, runOf } from "../command_set.ts";

const ACTIONS: CommandSet["entries"] = {
  daemon: {
    summary: "decide which subflows connections have, as the configuration says",
    load: () => import("./paths/daemon.ts"),
  },
  list: {
    summary: "connections with their subflows, links, round trips and bytes",
    load: () => import("./paths/list.ts"),
  },
  monitor: {
    summary: "events as they come",
    load: () => import("./paths/monitor.ts"),
  },
  graph: {
    summary: "a picture (SVG) of connections over links",
    load: () => import("./paths/graph.ts"),
  },
  announce: {
    summary: "tell a peer of an address (ADD_ADDR)",
    load: () => import("./paths/announce.ts"),
  },
  subflow: {
    summary: "add a subflow to a connection (MP_JOIN)",
    load: () => import("./paths/subflow.ts"),
  },
  backup: {
    summary: "make a subflow a backup, or no longer (MP_PRIO)",
    load: () => import("./paths/backup.ts"),
  },
  remove: {
    summary: "remove a subflow (REMOVE_ADDR)",
    load: () => import("./paths/remove.ts"),
  },
  allow: {
    summary: "decide whether a peer may add a subflow",
    load: () => import("./paths/allow.ts"),
  },
  joins: {
    summary: "who may add subflows: the default, or one connection's own rule",
    load: () => import("./paths/joins.ts"),
  },
  endpoint: {
    summary: "endpoints of the kernel's own path manager",
    load: () => import("./paths/endpoint.ts"),
  },
  limits: {
    summary: "limits of the kernel's own path manager",
    load: () => import("./paths/limits.ts"),
  },
};

/** Runs an action; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  return await runOf({
    program: "fairlead paths",
    title: "Keeps MPTCP connections alive over several links",
    word: "ACTION",
    entries: ACTIONS,
  }, words);
}
