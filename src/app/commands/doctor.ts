/**
 * `fairlead doctor`: what this box offers, why it matters, and the remedy for what is missing.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../args.ts";
import { type Check, checkAll } from "../checks.ts";
import { CONNECTION_FLAGS } from "../connection_flags.ts";
import type { IoRoad } from "../endpoint.ts";
import { helpText } from "../help.ts";
import { printLine } from "../terminal.ts";
import { versionText } from "../version.ts";

const DOCTOR = command({
  name: "fairlead doctor",
  summary: "Tells what this box offers, and the remedy for what is missing",
  description: "Exit code 0 unless something is missing that the main road needs (libc sockets " +
    "with\nepoll; nothing of that with --io=deno).",
  flags: {
    json: { kind: "boolean", help: "print JSON" },
    io: CONNECTION_FLAGS.io,
  },
  examples: [
    ["fairlead doctor", "A line for each thing"],
    ["fairlead doctor --io=deno", "For a system without FFI"],
  ],
});

/** Runs the command; returns the exit code. */
export function run(words: string[]): Promise<number> {
  const { help, flags } = parseArgs(DOCTOR, words);
  if (help) {
    printLine(helpText(DOCTOR));
    return Promise.resolve(Exit.Ok);
  }
  const checks = checkAll(flags.io as IoRoad);
  const lacking = checks.filter(({ status, needed }) => needed && status === "missing");
  const ok = lacking.length === 0;
  if (flags.json) {
    printLine(JSON.stringify({ ok, version: versionText(), io: flags.io, checks }));
  } else {
    printLine(versionText());
    for (const check of checks) printLine(checkText(check));
    const names = lacking.map(({ name }) => name).join(", ");
    printLine(ok ? "The main road is open" : `The main road is closed, it needs ${names}`);
  }
  return Promise.resolve(ok ? Exit.Ok : Exit.Failure);
}

function checkText({ name, status, found, why, remedy }: Check): string {
  const line = `${status.padEnd(7)}  ${name.padEnd(13)}  ${found} (${why})`;
  return remedy === "" ? line : `${line}\n${" ".repeat(26)}remedy: ${remedy}`;
}
