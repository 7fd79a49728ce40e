/**
 * The `fairlead` command: finds the command's module and runs it. Modules are loaded only when
 * their command is called, so that a small command starts fast.
 *
 * @module
 */
import { Exit, UsageError } from "./app/args.ts";
import { nearest } from "./app/nearest.ts";
import { printError, printLine } from "./app/terminal.ts";
import { versionText } from "./app/version.ts";

interface Entry {
  readonly summary: string;
  load(): Promise<{ run(words: string[]): Promise<number> }>;
}

const COMMANDS: Record<string, Entry> = {
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
  const [name, ...rest] = words;
  if (name === undefined) {
    printError(overview());
    return Exit.Usage;
  }
  if (name === "--help" || name === "-h" || name === "help") {
    printLine(overview());
    return Exit.Ok;
  }
  if (name === "--version" || name === "-V") {
    printLine(versionText());
    return Exit.Ok;
  }
  const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (entry === undefined) {
    const close = nearest(name, Object.keys(COMMANDS));
    const hint = close === null ? "fairlead --help lists them" : `did you mean "${close}"`;
    printError(`Cannot run command as it is unknown: current value is "${name}", ${hint}`);
    return Exit.Usage;
  }
  try {
    const command = await entry.load();
    return await command.run(rest);
  } catch (error) {
    if (error instanceof UsageError) {
      printError(error.message);
      if (error.seeHelp) printError(`Try "fairlead ${name} --help".`);
      return Exit.Usage;
    }
    printError(error instanceof Error ? error.message : String(error));
    return Exit.Failure;
  }
}

function overview(): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length));
  const lines = Object.entries(COMMANDS).map(([name, { summary }]) =>
    `  ${name.padEnd(width)}  ${summary}`
  );
  return [
    "fairlead: carries messages over networks that break, and loses none",
    "",
    "Usage: fairlead COMMAND [ARGUMENTS]",
    "",
    "Commands:",
    ...lines,
    "",
    'Run "fairlead COMMAND --help" for the flags of a command; --version tells the version.',
  ].join("\n");
}

if (import.meta.main) Deno.exit(await main(Deno.args));
