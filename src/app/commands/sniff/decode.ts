/**
 * `fairlead sniff FILE…` and `fairlead sniff --live IFACE`: the messages of msgr2 and iSCSI in captures.
 *
 * @module
 */
import type { FoundSink } from "../../../proto/boundary/found.ts";
import { CaptureFilter } from "../../../wire/capture/filter.ts";
import { CaptureInterface, Packet } from "../../../wire/capture/packet.ts";
import { LinkType } from "../../../wire/capture/link_layer.ts";
import { Opcode, pduName } from "../../../wire/iscsi/opcode.ts";
import { command, Exit, parseArgs, UsageError } from "../../args.ts";
import { readKeyring } from "../../connection_flags.ts";
import { countText } from "../../count_text.ts";
import { helpText } from "../../help.ts";
import { printable, printableJson } from "../../printable.ts";
import { Progress } from "../../progress.ts";
import { onStop } from "../../signals.ts";
import { Annotations } from "../../sniff/annotations.ts";
import { CaptureError, CaptureFile } from "../../sniff/capture_file.ts";
import { CaptureWriter } from "../../sniff/capture_writer.ts";
import { FoundFilter } from "../../sniff/found_filter.ts";
import { usesColor } from "../../sniff/found_line.ts";
import { LiveCapture } from "../../sniff/live_capture.ts";
import { SniffOutput } from "../../sniff/output.ts";
import { findingPipeline, type Pipeline } from "../../sniff/pipeline.ts";
import { captureCounters, pipelineNotes } from "../../sniff/pipeline_counters.ts";
import { SniffStats } from "../../sniff/sniff_stats.ts";
import { statsLines } from "../../sniff/stats_text.ts";
import { Timeline } from "../../sniff/timeline.ts";
import { timelineSvg } from "../../sniff/timeline_svg.ts";
import { printError, printLine } from "../../terminal.ts";

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

/** Of a capture that is read with `--live`: how long it waits for packets at a time. */
const LIVE_WAIT_MS = 100;
/** Packets handled before Deno's own loop has its turn. */
const LIVE_PACKETS_MAX = 4096;
/** Packets between two looks at the progress line. */
const PROGRESS_PACKETS = 8192;
const LIVE_LINK_TYPES: readonly number[] = [LinkType.Ethernet, LinkType.Raw];
const NANOSECONDS = 1_000_000_000;

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
  const job = await Job.make(flags);
  try {
    if (flags.live !== undefined) await job.readLive(flags.live);
    else if (!job.readFiles(files)) return Exit.Failure;
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

/** One run: what it reads with, and what becomes of it. */
class Job {
  readonly #flags: Flags;
  readonly #filter: CaptureFilter | null;
  readonly #output: SniffOutput;
  readonly #pipeline: Pipeline;
  readonly #stats: SniffStats | null;
  readonly #timeline: Timeline | null;
  readonly #annotations: Annotations | null;
  #writer: CaptureWriter | null = null;
  readonly #packet = new Packet();
  #packets = 0;
  #originSeconds = 0;
  #firstNs = 0;
  #lastNs = 0;
  #dropped = 0;

  static async make(flags: Flags): Promise<Job> {
    const keyring = flags.keyring === undefined ? null : await readKeyring(flags.keyring);
    return new Job(flags, keyring);
  }

  private constructor(flags: Flags, keyring: Awaited<ReturnType<typeof readKeyring>> | null) {
    this.#flags = flags;
    this.#filter = filterOf(flags.filter);
    this.#stats = flags.stats ? new SniffStats() : null;
    this.#timeline = flags.timeline === undefined ? null : new Timeline(flags.session ?? 0);
    this.#annotations = flags.write === undefined ? null : new Annotations();
    const others = [this.#stats, this.#timeline, this.#annotations];
    const bytesMax = flags.bytes ? flags["bytes-max"] : 0;
    this.#output = new SniffOutput(
      {
        prints: printsMessages(flags),
        json: flags.json,
        verbose: flags.verbose,
        bytesMax,
        absolute: flags.absolute,
        colored: usesColor(),
      },
      new FoundFilter({
        tags: flags.tag,
        types: flags.type,
        peers: flags.peer,
        errors: flags.errors,
        otherTags: ["BANNER", ...Object.values(Opcode).map(pduName)],
      }),
      others.filter((other): other is SniffStats | Timeline | Annotations => other !== null),
    );
    const sink: FoundSink = this.#output;
    const options = { filter: this.#filter, keyring, keepsBytes: bytesMax > 0 };
    this.#pipeline = findingPipeline(options, sink);
    if (flags.write !== undefined) this.#writer = CaptureWriter.create(flags.write);
  }

  /** Reads files one after the other, as parts of one capture; false when one of them is damaged. */
  readFiles(paths: readonly string[]): boolean {
    let damage: CaptureError | null = null;
    for (const path of paths) {
      if (this.#isEnough()) break;
      let file: CaptureFile | null = null;
      try {
        file = CaptureFile.open(path);
        this.#readFile(file);
      } catch (error) {
        if (!(error instanceof CaptureError)) throw error;
        damage = error; // what was found before is told, here and in the files that follow
        printError(error.message);
      } finally {
        file?.close();
      }
      for (const note of file?.notes ?? []) printError(note);
    }
    if (damage !== null && this.#packets === 0) return false;
    this.#end();
    return damage === null;
  }

  /** Reads an interface until a signal, `--packets` or `--seconds`. */
  async readLive(name: string): Promise<void> {
    const { promiscuous, seconds = Infinity } = this.#flags;
    const filter = this.#filter ?? undefined;
    const capture = LiveCapture.open(name, { ...(filter && { filter }), promiscuous });
    let stopped = false;
    onStop(() => {
      stopped = true;
      capture.wake();
    });
    const untilMs = performance.now() + seconds * 1000;
    printError(`Capturing on ${printable(name)}; Ctrl-C ends it`);
    try {
      let begun = false;
      while (!stopped && !this.#isEnough() && performance.now() < untilMs) {
        let left = LIVE_PACKETS_MAX;
        while (left > 0 && !this.#isEnough() && capture.next(this.#packet)) {
          if (!begun) {
            begun = true;
            this.#setOrigin(capture.originSeconds);
            const { originSeconds } = capture;
            this.#writer?.begin({ interfaces: liveInterfaces(name), originSeconds });
          }
          this.#packet.interfaceIndex = LIVE_LINK_TYPES.indexOf(this.#packet.linkType);
          this.#handlePacket();
          left--;
        }
        if (begun) this.#pipeline.table.handleDeadline(this.#nowNs());
        this.#output.flush();
        await capture.wait(left === 0 ? 0 : Math.min(LIVE_WAIT_MS, untilMs - performance.now()));
      }
      this.#dropped = capture.drops;
    } finally {
      await capture.close();
    }
    this.#end();
    printError(
      `${countText(this.#packets, "packet")}, ${this.#dropped} dropped by the kernel` +
        (this.#dropped > 0 ? ": narrow it with --filter" : ""),
    );
  }

  close(): void {
    this.#output.flush();
    this.#writer?.close();
  }

  #readFile(file: CaptureFile): void {
    const packet = this.#packet;
    const total = file.bytesTotal < 0 ? null : file.bytesTotal;
    const printsHere = !this.#flags.stats && Deno.stdout.isTerminal();
    const progress = printsHere ? null : new Progress(total, "bytes");
    file.onWait = () => {
      this.#output.flush();
      this.#writer?.flush();
    };
    const numberBase = this.#packets;
    let shiftNs = 0;
    let first = true;
    while (!this.#isEnough() && file.next(packet)) {
      if (first) {
        first = false;
        if (this.#packets === 0) this.#setOrigin(file.originSeconds);
        shiftNs = (file.originSeconds - this.#originSeconds) * NANOSECONDS;
        this.#writer?.begin({
          interfaces: file.interfaces,
          originSeconds: this.#originSeconds,
        });
      }
      packet.timeNs += shiftNs;
      packet.number += numberBase;
      this.#handlePacket();
      if (progress !== null && this.#packets % PROGRESS_PACKETS === 0) {
        progress.update(file.bytesDone);
      }
    }
    progress?.end(file.bytesDone);
  }

  #handlePacket(): void {
    const packet = this.#packet;
    if (this.#packets++ === 0) {
      this.#firstNs = packet.timeNs;
      this.#output.startNs = packet.timeNs;
    }
    this.#lastNs = packet.timeNs;
    this.#pipeline.handlePacket(packet);
    this.#writer?.write(packet, this.#annotations!.take());
  }

  #isEnough(): boolean {
    return this.#packets >= (this.#flags.packets ?? Infinity);
  }

  #setOrigin(seconds: number): void {
    this.#originSeconds = seconds;
    this.#output.originSeconds = seconds;
  }

  /** Now as the capture counts it. */
  #nowNs(): number {
    return Math.max(this.#lastNs, (Date.now() - this.#originSeconds * 1000) * 1e6);
  }

  #end(): void {
    this.#pipeline.end();
    this.#output.flush();
    this.#writer?.amend(this.#annotations!.take());
    const { errors, json, tag, timeline, type, write } = this.#flags;
    if (this.#stats !== null) {
      const report = this.#stats.report(
        captureCounters(this.#pipeline, this.#dropped, this.#firstNs, this.#lastNs),
      );
      const isChoice = errors || tag.length > 0 || type.length > 0;
      if (json) printLine(printableJson(report));
      else for (const line of statsLines(report, isChoice)) printLine(line);
    }
    for (const note of pipelineNotes(this.#pipeline)) printError(note);
    this.#noteWhenNone();
    if (write !== undefined) {
      const { dropped } = this.#annotations!;
      const more = dropped === 0 ? "" : `, ${countText(dropped, "comment")} had no room`;
      printError(`${printable(write)}: ${countText(this.#packets, "packet")} written${more}`);
    }
    if (timeline !== undefined) writeTimeline(timeline, this.#timeline!, this.#originSeconds);
  }

  /** Who sees nothing is told whether there was nothing, or nothing that was asked for. */
  #noteWhenNone(): void {
    const { errors, filter, peer, tag, type } = this.#flags;
    const { messages, passed } = this.#output;
    if (passed > 0) return;
    if (messages > 0) {
      const words = { tag, type, peer, errors: errors ? ["any"] : [] };
      const given = Object.entries(words).filter(([, values]) => values.length > 0);
      const names = given.map(([name]) => `--${name}`).join(" and ");
      printError(`${countText(messages, "message")} found, none passes ${names}`);
    } else if (filter !== undefined) {
      printError(`No message found with --filter ${JSON.stringify(filter)}`);
    }
  }
}

/** Files are made instead of lines, tables too. */
function printsMessages({ bytes, json, stats, timeline, verbose, write }: Flags): boolean {
  if (stats || timeline === "-" || write === "-") return false;
  return bytes || json || verbose || (timeline === undefined && write === undefined);
}

/** Of a live capture, one for each link layer: "any" has packets of both. */
function liveInterfaces(name: string): CaptureInterface[] {
  return LIVE_LINK_TYPES.map((linkType) => new CaptureInterface(linkType, 0, name));
}

function filterOf(text: string | undefined): CaptureFilter | null {
  if (text === undefined) return null;
  try {
    return new CaptureFilter(text);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function writeTimeline(path: string, timeline: Timeline, originSeconds: number): void {
  const svg = timelineSvg(timeline, originSeconds);
  const { connections, leftOut, session } = timeline.view();
  const events = connections.reduce((sum, connection) => sum + connection.events.length, 0);
  if (path === "-") {
    printLine(svg);
    return;
  }
  try {
    Deno.writeTextFileSync(path, `${svg}\n`);
  } catch (error) {
    const why = (error as Error).message;
    throw new Error(`Cannot write the picture to ${path}: ${why}, give another FILE`);
  }
  if (events === 0) {
    printError(
      `${printable(path)}: no message of it was found; --json tells which sessions are there`,
    );
    return;
  }
  const what = session === 0 ? "a conversation without a session" : `session ${session}`;
  const more = leftOut === 0 ? "" : `, ${leftOut} more not drawn`;
  printError(
    `${printable(path)}: ${what}, ${countText(events, "event")} over ` +
      `${countText(connections.length, "connection")}${more}`,
  );
}
