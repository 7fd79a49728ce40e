/**
 * One run of `fairlead sniff`: packets of files or of an interface go through the pipeline, and what is found
 * is printed, counted, drawn and annotated as the flags say.
 *
 * @module
 */
import type { FoundSink } from "../../proto/boundary/found.ts";
import { CaptureFilter } from "../../wire/capture/filter.ts";
import { CaptureInterface, Packet } from "../../wire/capture/packet.ts";
import type { Keyring } from "../../wire/cephx/keyring.ts";
import { LinkType } from "../../wire/capture/link_layer.ts";
import { Opcode, pduName } from "../../wire/iscsi/opcode.ts";
import { UsageError } from "../args.ts";
import { readKeyring } from "../connection_flags.ts";
import { countText } from "../count_text.ts";
import { printable, printableJson } from "../printable.ts";
import { Progress } from "../progress.ts";
import { onStop } from "../signals.ts";
import { printError, printLine } from "../terminal.ts";
import { Annotations } from "./annotations.ts";
import { CaptureError, CaptureFile } from "./capture_file.ts";
import { CaptureWriter } from "./capture_writer.ts";
import { FoundFilter } from "./found_filter.ts";
import { usesColor } from "./found_line.ts";
import { LiveCapture } from "./live_capture.ts";
import { SniffOutput } from "./output.ts";
import { findingPipeline, type Pipeline } from "./pipeline.ts";
import { captureCounters, pipelineNotes } from "./pipeline_counters.ts";
import { SniffStats } from "./sniff_stats.ts";
import { statsLines } from "./stats_text.ts";
import { Timeline } from "./timeline.ts";
import { timelineSvg } from "./timeline_svg.ts";

/** Of a capture that is read with `--live`: how long it waits for packets at a time. */
const LIVE_WAIT_MS = 100;
/** Packets handled before Deno's own loop has its turn. */
const LIVE_PACKETS_MAX = 4096;
/** Packets between two looks at the progress line. */
const PROGRESS_PACKETS = 8192;
const LIVE_LINK_TYPES: readonly number[] = [LinkType.Ethernet, LinkType.Raw];
const NANOSECONDS = 1_000_000_000;

/** The flags of the command; its help says what each is for. */
export interface SniffFlags {
  readonly filter: string | undefined;
  readonly promiscuous: boolean;
  readonly packets: number | undefined;
  readonly seconds: number | undefined;
  readonly keyring: string | undefined;
  readonly tag: readonly string[];
  readonly type: readonly string[];
  readonly peer: readonly string[];
  readonly errors: boolean;
  readonly verbose: boolean;
  readonly bytes: boolean;
  readonly "bytes-max": number;
  readonly absolute: boolean;
  readonly json: boolean;
  readonly stats: boolean;
  readonly write: string | undefined;
  readonly timeline: string | undefined;
  readonly session: number | undefined;
}

/** One run: what it reads with, and what becomes of it. */
export class SniffJob {
  readonly #flags: SniffFlags;
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

  /** Makes a run; reads the keyring. */
  static async make(flags: SniffFlags): Promise<SniffJob> {
    const keyring = flags.keyring === undefined ? null : await readKeyring(flags.keyring);
    return new SniffJob(flags, keyring);
  }

  private constructor(flags: SniffFlags, keyring: Keyring | null) {
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

  /**
   * Reads an interface until a signal, `--packets` or `--seconds`; false when the interface is removed
   * before that.
   */
  async readLive(name: string): Promise<boolean> {
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
      while (!stopped && !capture.isGone && !this.#isEnough() && performance.now() < untilMs) {
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
    if (capture.isGone) printError(`Cannot capture on ${printable(name)} any more: it was removed`);
    return !capture.isGone;
  }

  /** Writes out what waits. */
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
function printsMessages({ bytes, json, stats, timeline, verbose, write }: SniffFlags): boolean {
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
