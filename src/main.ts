/**
 * The `fairlead` command: finds the command's module and runs it.
 *
 * @module
 */
import { Exit } from "./app/args.ts";
import { type CommandSet, runOf } from "./app/command_set.ts";
import { printError, printLine } from "./app/terminal.ts";
import { versionText } from "./app/version.ts";

const COMMANDS: CommandSet["entries"] = {
  gateway: {
    summary: "carry this box's messages to a hub; without flags, one with an embedded hub",
    load: () => import("./app/commands/gateway.ts"),
  },
  hub: {
    summary: "accept gateways and show what they bring",
    load: () => import("./app/commands/hub.ts"),
  },
  top: {
    summary: "what a running gateway or hub does, from its status listener",
    load: () => import("./app/commands/top.ts"),
  },
  send: {
    summary: "send lines or a file through one lossless session",
    load: () => import("./app/commands/send.ts"),
  },
  listen: {
    summary: "receive what send sends",
    load: () => import("./app/commands/listen.ts"),
  },
  probe: {
    summary: "what a msgr2 peer speaks: features, methods, modes, identity, round trip",
    load: () => import("./app/commands/probe.ts"),
  },
  paths: {
    summary: "MPTCP connections over several links: daemon, list, monitor, graph and more",
    load: () => import("./app/commands/paths.ts"),
  },
  standby: {
    summary:
      "a second box that takes over IPsec and sessions: run, witness, status, promote and more",
    load: () => import("./app/commands/standby.ts"),
  },
  sniff: {
    summary: "messages of msgr2 and iSCSI in captures or live; boundaries after losses",
    load: () => import("./app/commands/sniff.ts"),
  },
  overlay: {
    summary:
      "a virtual network over many boxes, formed as a whole or not at all: rd, om, plan, apply and more",
    load: () => import("./app/commands/overlay.ts"),
  },
  ceph: {
    summary: "any monitor command of a Ceph cluster",
    load: () => import("./app/commands/ceph.ts"),
  },
  keyring: {
    summary: "make and show keys, in ceph-authtool's format",
    load: () => import("./app/commands/keyring.ts"),
  },
  bench: {
    summary: "load generator, the same work as Ceph's ceph_perf_msgr pair",
    load: () => import("./app/commands/bench.ts"),
  },
  doctor: {
    summary: "what this box offers, and the remedy for what is missing",
    load: () => import("./app/commands/doctor.ts"),
  },
};

/** Runs a command line; returns the exit code. */
export async function main(words: string[]): Promise<number> {
  if (words[0] === "--version" || words[0] === "-V") {
    printLine(versionText());
    return Exit.Ok;
  }
  const set: CommandSet = {
    program: "fairlead",
    title: "fairlead: carries messages over networks that break, and loses none",
    word: "COMMAND",
    entries: COMMANDS,
    more: "; --version tells the version",
  };
  try {
    return await runOf(set, words);
  } catch (error) {
    printError(error instanceof Error ? error.message : String(error));
    return Exit.Failure;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
