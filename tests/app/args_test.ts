/** Command lines: words to typed values, usage errors, help. */
import assert from "node:assert/strict";
import { command, Exit, parseArgs, UsageError } from "../../src/app/args.ts";
import { helpText, usage } from "../../src/app/help.ts";
import { nearest } from "../../src/app/nearest.ts";

const SEND = command({
  name: "fairlead send",
  summary: "Sends lines or a file through one lossless session",
  description: "Exit code 0 only when the far end acknowledged all.",
  positionals: [
    { name: "ADDR", help: "v2:HOST:PORT" },
    { name: "FILE", help: "- is standard input", optional: true },
  ],
  flags: {
    json: { kind: "boolean", help: "Prints JSON" },
    file: { kind: "boolean", short: "f", help: "One message with the whole file" },
    output: { kind: "text", short: "o", value: "FILE", help: "Writes there" },
    mode: {
      kind: "text",
      value: "MODE",
      choices: ["crc", "secure"],
      default: "crc",
      help: "How frames are protected",
    },
    "in-flight": { kind: "number", value: "N", min: 1, max: 1024, default: 32, help: "Unanswered" },
    count: { kind: "number", value: "N", min: 1, max: 9, help: "Ends after N" },
    mon: { kind: "list", value: "ADDR", help: "A monitor" },
  },
  examples: [["fairlead send v2:10.0.0.1:3300 -", "Lines of standard input"]],
});

Deno.test("parseArgs() gives typed values, defaults and positional arguments in any order", () => {
  const parsed = parseArgs(SEND, [
    "--mode=secure",
    "v2:[::1]:3300",
    "-oout.txt",
    "--mon",
    "a",
    "-",
    "--mon=b",
    "-f",
    "--in-flight",
    "7",
  ]);
  const inFlight: number = parsed.flags["in-flight"];
  const mode: string = parsed.flags.mode;
  const count: number | undefined = parsed.flags.count;
  const mons: string[] = parsed.flags.mon;
  const file: boolean = parsed.flags.file;
  assert.deepEqual([inFlight, mode, count, mons, file], [7, "secure", undefined, ["a", "b"], true]);
  assert.equal(parsed.flags.output, "out.txt");
  assert.equal(parsed.flags.json, false);
  assert.deepEqual(parsed.positionals, ["v2:[::1]:3300", "-"]);
  assert.deepEqual(parseArgs(SEND, ["A"]).flags.mon, [], "a list is not shared between runs");
});

Deno.test("parseArgs() takes what follows -- as it is, and -1 as a word", () => {
  assert.deepEqual(parseArgs(SEND, ["--", "--json", "-h"]).positionals, ["--json", "-h"]);
  assert.deepEqual(parseArgs(SEND, ["a", "-1"]).positionals, ["a", "-1"]);
  assert.equal(parseArgs(SEND, ["a", "--output", "--json"]).flags.output, "--json");
  assert.equal(parseArgs(SEND, ["a", "-o=x", "-o", "y"]).flags.output, "y");
  assert.equal(parseArgs(SEND, ["a", "--output="]).flags.output, "");
});

Deno.test("parseArgs() asks nothing more once --help is there", () => {
  assert.equal(parseArgs(SEND, ["--help"]).help, true);
  assert.equal(parseArgs(SEND, ["-h", "a", "b", "c"]).help, true);
});

const WRONG = [
  {
    words: ["a", "--jsn"],
    text: "Cannot run fairlead send as it has no flag --jsn: did you mean --json",
  },
  {
    words: ["a", "--xyzzyplugh=1"],
    text: "Cannot run fairlead send as it has no flag --xyzzyplugh: see fairlead send --help",
  },
  {
    words: ["a", "--constructor"],
    text: "Cannot run fairlead send as it has no flag --constructor: see fairlead send --help",
  },
  {
    words: ["a", "-q"],
    text: "Cannot run fairlead send as it has no flag -q: see fairlead send --help",
  },
  {
    words: ["a", "-fx"],
    text: "Cannot run fairlead send as it has no flag -fx: see fairlead send --help",
  },
  {
    words: ["a", "--json=1"],
    text: 'Cannot use --json as it must stand alone: current value is "--json=1"',
  },
  { words: ["a", "-o"], text: "Cannot use -o as FILE must follow it: nothing does" },
  {
    words: ["a", "--mode", "tls"],
    text: 'Cannot use --mode as it must be crc or secure: current value is "tls"',
  },
  {
    words: ["a", "--count", "10"],
    text: 'Cannot use --count as it must be a whole number from 1 to 9: current value is "10"',
  },
  {
    words: ["a", "--count="],
    text: 'Cannot use --count as it must be a whole number from 1 to 9: current value is ""',
  },
  {
    words: ["a", "--in-flight", "1e2"],
    text:
      'Cannot use --in-flight as it must be a whole number from 1 to 1024: current value is "1e2"',
  },
  {
    words: [],
    text: "Cannot run fairlead send as ADDR is missing: fairlead send [options] ADDR [FILE]",
  },
  {
    words: ["a", "b", "c"],
    text:
      'Cannot run fairlead send as "c" is one word too many: fairlead send [options] ADDR [FILE]',
  },
];

Deno.test.each(WRONG)("parseArgs() says: $text", ({ words, text }) => {
  assert.throws(() => parseArgs(SEND, words), (error: unknown) => {
    assert.ok(error instanceof UsageError);
    assert.equal(error.message, text);
    assert.equal(error.seeHelp, !text.includes("--help"));
    return true;
  });
  assert.equal(Exit.Usage, 2);
});

Deno.test("parseArgs() leaves unknown flags to a command that passes them on", () => {
  const table = command({
    name: "fairlead ceph",
    summary: "Runs a command of a Ceph cluster",
    positionals: [{ name: "COMMAND", help: "as ceph has it", many: true }],
    flags: { json: { kind: "boolean", help: "Prints JSON" } },
    passUnknown: true,
  });
  const parsed = parseArgs(table, ["osd", "pool", "rm", "--json", "p", "--yes-i-really-mean-it"]);
  assert.equal(parsed.flags.json, true);
  assert.deepEqual(parsed.positionals, ["osd", "pool", "rm", "p", "--yes-i-really-mean-it"]);
  assert.equal(usage(table), "fairlead ceph [options] COMMAND...");
});

Deno.test("helpText() aligns the options and shows choices, defaults and examples", () => {
  assert.equal(
    helpText(SEND),
    `Sends lines or a file through one lossless session

Usage: fairlead send [options] ADDR [FILE]

Exit code 0 only when the far end acknowledged all.

Arguments:
  ADDR  v2:HOST:PORT
  FILE  - is standard input

Options:
      --json         Prints JSON
  -f, --file         One message with the whole file
  -o, --output FILE  Writes there
      --mode MODE    How frames are protected (crc, secure; default crc)
      --in-flight N  Unanswered (default 32)
      --count N      Ends after N
      --mon ADDR     A monitor (may be repeated)
  -h, --help         Shows this

Examples:
  # Lines of standard input
  fairlead send v2:10.0.0.1:3300 -`,
  );
});

Deno.test("nearest() finds a mistyped command and leaves others alone", () => {
  const commands = ["gateway", "hub", "send", "listen"];
  assert.equal(nearest("gatway", commands), "gateway");
  assert.equal(nearest("lsiten", commands), "listen");
  assert.equal(nearest("overlay", commands), null);
});
