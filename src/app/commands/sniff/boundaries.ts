/**
 * `fairlead sniff boundaries FILE…`: what each means of finding message boundaries is worth on the traffic
 * of a capture, after losses.
 *
 * @module
 */
import { Packet } from "../../../wire/capture/packet.ts";
import { command, Exit, parseArgs, UsageError } from "../../args.ts";
import { readKeyring } from "../../connection_flags.ts";
import { helpText } from "../../help.ts";
import { printableJson } from "../../printable.ts";
import { Progress } from "../../progress.ts";
import { BoundaryTable } from "../../sniff/boundary_table.ts";
import { CaptureError, CaptureFile } from "../../sniff/capture_file.ts";
import { judgingPipeline, type Pipeline } from "../../sniff/pipeline.ts";
import { pipelineNotes } from "../../sniff/pipeline_counters.ts";
import { printError, printLine } from "../../terminal.ts";

const BOUNDARIES = command({
  name: "fairlead sniff boundaries",
  summary: "Shows how much of each stream each means can assign to messages after losses",
  description:
    "Segments are taken away from the streams of a capture, and what each set of means still finds is held\n" +
    "against what the whole capture tells: messages, bytes, and what was found and is wrong. The urgent\n" +
    "pointer is judged with a check of the header that it names, and alone, as the draft has it.",
  positionals: [{ name: "FILE", help: "captures, oldest first; - is standard input", many: true }],
  flags: {
    drop: {
      kind: "number",
      value: "PERCENT",
      default: 2,
      min: 0,
      max: 90,
      help: "of the segments are taken away; 0: the capture's own losses count",
    },
    seed: {
      kind: "number",
      value: "N",
      default: 1,
      min: 0,
      max: 0x7fff_ffff,
      help: "another seed takes other segments",
    },
    keyring: { kind: "text", value: "FILE", short: "k", help: "opens secure mode" },
    json: { kind: "boolean", help: "a line of JSON for each stream, and one for all" },
  },
  examples: [
    ["fairlead sniff boundaries iscsi.pcap", "What the urgent pointer adds, and what it costs"],
    ["fairlead sniff boundaries lossy.pcap --drop 0", "A capture that has losses itself"],
  ],
});

const PROGRESS_PACKETS = 8192;
const NANOSECONDS = 1_000_000_000;

/** Runs the action; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals: paths } = parseArgs(BOUNDARIES, words);
  if (help) {
    printLine(helpText(BOUNDARIES));
    return Exit.Ok;
  }
  if (paths.length === 0) throw new UsageError("Cannot judge boundaries as FILE is missing", true);
  const keyring = flags.keyring === undefined ? null : await readKeyring(flags.keyring);
  const table = new BoundaryTable();
  const damage = { share: flags.drop / 100, seed: flags.seed };
  const pipeline = judgingPipeline(keyring, damage, (report) => {
    table.add(report);
    if (flags.json) printLine(printableJson(report));
  });
  let isDamaged = false;
  let origin = NaN;
  for (const path of paths) {
    const file = CaptureFile.open(path);
    try {
      origin = readFile(file, pipeline, origin);
    } catch (error) {
      if (!(error instanceof CaptureError)) throw error;
      isDamaged = true; // what was read before is judged
      printError(error.message);
    } finally {
      file.close();
    }
    for (const note of file.notes) printError(note);
  }
  pipeline.end();
  if (flags.json) {
    const { seed, share: drop } = damage;
    printLine(printableJson({ total: true, drop, seed, ...table.total }));
  } else {
    for (const line of table.lines(flags.drop)) printLine(line);
  }
  for (const note of pipelineNotes(pipeline)) printError(note);
  return isDamaged ? Exit.Failure : Exit.Ok;
}

/** Reads a file as a part of the capture that began at `origin`, seconds; returns it once it is known. */
function readFile(file: CaptureFile, pipeline: Pipeline, origin: number): number {
  const packet = new Packet();
  const progress = new Progress(file.bytesTotal < 0 ? null : file.bytesTotal, "bytes");
  let since = origin;
  while (file.next(packet)) {
    if (Number.isNaN(since)) since = file.originSeconds;
    packet.timeNs += (file.originSeconds - since) * NANOSECONDS;
    pipeline.handlePacket(packet);
    if (packet.number % PROGRESS_PACKETS === 0) progress.update(file.bytesDone);
  }
  progress.end(file.bytesDone);
  return since;
}
