/**
 * `fairlead sniff FILE…` and `fairlead sniff --live IFACE`: the messages of msgr2 and iSCSI in captures.
 *
 * @module
 */
import { command, Exit, parseArgs, UsageError } from "../../args.ts";
import { helpText } from "../../help.ts";
import { printable } from "../../printable.ts";
import { CaptureError } from "../../sniff/capture_file.ts";
import { printLine } from "../../terminal.ts";
import { SniffJob } from "../../sniff/sniff_job.ts";

const DECODE = command({
  name: "fairlead sniff",
  summary: "Decodes the messages of msgr2 and iSCSI in captures, or live",
  description:
    "A line for each message; after a loss it locks again on the next message that can be proven, and\n" +
    "tells by which means. Lines come when messages end, with the time of their first byte. FILE is\n" +
    "pcap or pcapng, - standard input; several files are read as one capture. With --write or\n" +
    "--timeline there are no lines, unless -v, -x or --json asks for them.\n" +
    "It also has actions: boundaries, send, receive, measure (each with --help).",
  positionals: [{ name: "FILE", help: "captures, oldest first", optional: true, many: true }],
  flags: {
    live: { kind: "text", value: "IFACE", help: "capture on an interface until Ctrl-C; or any" },
    filter: {
      kind: "text",
      value: "EXPR",
      short: "f",
      help: 'only these segments: "host 10.0.0.1 and port 3300"',
    },
    promiscuous: { kind: "boolean", help: "with --live: frames for other stations too" },
    packets: {
      kind: "number",
      value: "N",
      min: 1,
      max: Number.MAX_SAFE_INTEGER,
      short: "c",
      help: "stop after so many packets",
    },
    seconds: {
      kind: "number",
      value: "N",
      min: 1,
      max: 31_536_000,
      help: "with --live: stop then",
    },
    keyring: {
      kind: "text",
      value: "FILE",
      short: "k",
      help: "open secure mode and cephx where the capture has the handshake",
    },
    tag: { kind: "list", value: "NAME", help: "only these frames or PDUs: MSG, ACK, SCSI Command" },
    type: {
      kind: "list",
      value: "NAME",
      help: "only these messages or commands: osd_op, READ(10)",
    },
    peer: { kind: "list", value: "ADDR", help: "only these ends: ADDRESS, ADDRESS:PORT, :PORT" },
    errors: { kind: "boolean", help: "only messages with errors, and gaps" },
    verbose: { kind: "boolean", short: "v", help: "the fields of each message" },
    bytes: { kind: "boolean", short: "x", help: "the bytes of each message" },
    "bytes-max": {
      kind: "number",
      value: "N",
      default: 1024,
      min: 16,
      max: 65_536,
      help: "of each message, with --bytes",
    },
    absolute: { kind: "boolean", help: "date and time (UTC), not seconds since the first packet" },
    json: { kind: "boolean", help: "a line of JSON for each message and gap" },
    stats: { kind: "boolean", help: "tables of what there was instead of lines" },
    write: {
      kind: "text",
      value: "FILE",
      short: "w",
      help: "an annotated pcapng: comments at packets",
    },
    timeline: { kind: "text", value: "FILE", help: "draw a session as a ladder diagram (SVG)" },
    session: {
      kind: "number",
      value: "N",
      min: 1,
      max: Number.MAX_SAFE_INTEGER,
      help: "with --timeline: which one, as --json numbers them; else the first that talks",
    },
  },
  examples: [
    ["fairlead sniff ceph.pcap --tag MSG", "Messages of a capture"],
    ["fairlead sniff --live eth0 -f 'port 3300' -k keyring -v", "Live, opened, with fields"],
    ["fairlead sniff iscsi.pcapng --stats", "Mix, sizes, rates, latencies, holes"],
    ["fairlead sniff ceph.pcap --timeline session.svg", "Who sent what when"],
    ["fairlead sniff boundaries iscsi.pcapng", "What each means is worth on this traffic"],
  ],
});

type Flags = ReturnType<typeof parseArgs<typeof DECODE.flags>>["flags"];

/** Runs the command; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals: files } = parseArgs(DECODE, words);
  if (help) {
    printLine(helpText(DECODE));
    return Exit.Ok;
  }
  checkUse(flags, files);
  for (const file of files) checkFile(file);
  const job = await SniffJob.make(flags);
  try {
    const isWell = flags.live === undefined ? job.readFiles(files) : await job.readLive(flags.live);
    if (!isWell) return Exit.Failure;
  } finally {
    job.close();
  }
  return Exit.Ok;
}

function checkUse(flags: Flags, files: readonly string[]): void {
  for (const output of [flags.write, flags.timeline]) {
    if (output === undefined || output === "-" || !files.some((file) => isSame(file, output))) {
      continue;
    }
    throw new UsageError(
      `Cannot write ${printable(output)} as it is read at the same time: give another FILE`,
    );
  }
  const needs = [
    ["--seconds", flags.seconds !== undefined, "--live", flags.live],
    ["--promiscuous", flags.promiscuous, "--live", flags.live],
    ["--session", flags.session !== undefined, "--timeline", flags.timeline],
  ] as const;
  for (const [name, given, other, value] of needs) {
    if (given && value === undefined) {
      throw new UsageError(`Cannot use ${name} as it needs ${other}: that is not given`, true);
    }
  }
  if (flags.live === undefined && files.length === 0) {
    throw new UsageError("Cannot sniff as it needs a FILE or --live IFACE: neither is given", true);
  }
  if (flags.live !== undefined && files.length > 0) {
    throw new UsageError(
      `Cannot sniff as it needs either FILE or --live: current values are ${
        printable(files[0]!)
      } and ${printable(flags.live)}`,
      true,
    );
  }
}

/** All are looked at before the first is read: that may take long. */
function checkFile(file: string): void {
  if (file === "-") return;
  try {
    Deno.statSync(file);
  } catch (error) {
    const why = printable((error as Error).message);
    throw new CaptureError(`Cannot read ${printable(file)} as it must be a readable file: ${why}`);
  }
}

function isSame(file: string, output: string): boolean {
  try {
    return Deno.realPathSync(file) === Deno.realPathSync(output);
  } catch {
    return false; // one of them is not there
  }
}
