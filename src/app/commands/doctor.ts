/**
 * `fairlead doctor`: what this box offers, why it matters, and the remedy for what is missing.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../args.ts";
import type { Check } from "../check.ts";
import { checkAll, checkFor } from "../checks.ts";
import { CONNECTION_FLAGS } from "../connection_flags.ts";
import type { IoRoad } from "../endpoint.ts";
import { helpText } from "../help.ts";
import { printLine } from "../terminal.ts";
import { versionText } from "../version.ts";

const DOCTOR = command({
  name: "fairlead doctor",
  summary: "Tells what this box offers, and the remedy for what is missing",
  description: "Exit code 0 unless something is missing that the main road needs (libc sockets " +
    "with\nepoll; nothing of that with --io=deno), or that the configuration needs. Rights are those " +
    "of\nwho calls: with --config, run it as the user that the gateway has.",
  flags: {
    json: { kind: "boolean", help: "print JSON" },
    io: CONNECTION_FLAGS.io,
    config: {
      kind: "text",
      value: "FILE",
      short: "c",
      help: "configuration of a gateway, or of a box of a pair: what it needs is checked too",
    },
  },
  examples: [
    ["fairlead doctor", "A line for each thing"],
    ["fairlead doctor --io=deno", "For a system without FFI"],
    [
      "sudo -u fairlead fairlead doctor --config /etc/fairlead/gateway.jsonc",
      "Whether that gateway can run here",
    ],
  ],
});

/** Runs the command; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  const { help, flags } = parseArgs(DOCTOR, words);
  if (help) {
    printLine(helpText(DOCTOR));
    return Exit.Ok;
  }
  const io = flags.io as IoRoad;
  const checks = flags.config === undefined ? checkAll(io) : await checkFor(flags.config, io);
  const lacking = checks.filter(({ status, needed }) => needed && status === "missing");
  const ok = lacking.length === 0;
  if (flags.json) {
    printLine(JSON.stringify({ ok, version: versionText(), io, checks }));
  } else {
    printLine(versionText());
    const width = Math.max(...checks.map(({ name }) => name.length));
    for (const check of checks) printLine(checkText(check, width));
    printLine(conclusion(lacking, flags.config));
  }
  return ok ? Exit.Ok : Exit.Failure;
}

function checkText({ name, status, found, why, remedy }: Check, width: number): string {
  const line = `${status.padEnd(7)}  ${name.padEnd(width)}  ${found} (${why})`;
  return remedy === "" ? line : `${line}\n${" ".repeat(width + 13)}remedy: ${remedy}`;
}

function conclusion(lacking: readonly Check[], config: string | undefined): string {
  const names = [...new Set(lacking.map(({ name }) => name))].join(", ");
  if (config === undefined) {
    return names === "" ? "The main road is open" : `The main road is closed, it needs ${names}`;
  }
  return names === ""
    ? `A gateway with ${config} can run here`
    : `A gateway with ${config} cannot run here as it should, it needs ${names}`;
}
