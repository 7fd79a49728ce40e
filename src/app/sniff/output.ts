/**
 * What `fairlead sniff` does with each message and gap: prints those that pass the filter, as lines or as
 * JSON, and hands all of them to what counts, draws and annotates.
 *
 * @module
 */
import type { Found, FoundSink, Gap } from "../../proto/boundary/found.ts";
import { printBytes } from "../terminal.ts";
import type { FoundFilter } from "./found_filter.ts";
import { foundJson, gapJson } from "./found_json.ts";
import { fieldLines, foundLine, gapLine, type LineStyle } from "./found_line.ts";
import { hexDump } from "./hex_dump.ts";

/** Lines wait until they are this many characters: a write for each would take longer than all else. */
const BUFFER_CHARACTERS = 64 * 1024;

const encoder = new TextEncoder();

/** How messages are printed. */
export interface PrintOptions {
  /** Whether messages are printed at all. */
  readonly prints: boolean;
  readonly json: boolean;
  /** Fields below each line. */
  readonly verbose: boolean;
  /** Bytes of each message that are printed; 0: none. */
  readonly bytesMax: number;
  readonly absolute: boolean;
  readonly colored: boolean;
}

/** Prints messages and gaps, and hands them on. */
export class SniffOutput implements FoundSink {
  /** Whole seconds since 1970 that times count from; set once the first packet is known. */
  originSeconds = 0;
  /** Of the first packet since then. */
  startNs = 0;
  /** Messages so far, and how many messages and gaps passed the filter. */
  messages = 0;
  passed = 0;
  readonly #options: PrintOptions;
  readonly #filter: FoundFilter;
  readonly #others: readonly FoundSink[];
  #waiting = "";

  /** An output that hands on what passes the filter to `others`. */
  constructor(options: PrintOptions, filter: FoundFilter, others: readonly FoundSink[]) {
    this.#options = options;
    this.#filter = filter;
    this.#others = others;
  }

  /** A message. */
  handleFound(found: Found): void {
    this.messages++;
    if (!this.#filter.passesFound(found)) return;
    this.passed++;
    for (const other of this.#others) other.handleFound(found);
    const { bytesMax, json, prints, verbose } = this.#options;
    if (!prints) return;
    if (json) {
      this.#print(foundJson(found, this.originSeconds, bytesMax));
      return;
    }
    this.#print(foundLine(found, this.#style()));
    if (verbose && found.session > 0) this.#print(`    session: ${found.session}`);
    if (verbose) { for (const line of fieldLines(found)) this.#print(line); }
    if (bytesMax > 0) { for (const line of hexDump(found, bytesMax)) this.#print(line); }
  }

  /** A gap. */
  handleGap(gap: Gap): void {
    if (!this.#filter.passesGap(gap)) return;
    this.passed++;
    for (const other of this.#others) other.handleGap(gap);
    const { json, prints } = this.#options;
    if (!prints) return;
    this.#print(json ? gapJson(gap, this.originSeconds) : gapLine(gap, this.#style()));
  }

  /** Writes out what waits. */
  flush(): void {
    if (this.#waiting === "") return;
    printBytes(encoder.encode(this.#waiting));
    this.#waiting = "";
  }

  #style(): LineStyle {
    const { absolute, colored } = this.#options;
    return { originSeconds: this.originSeconds, startNs: this.startNs, absolute, colored };
  }

  #print(line: string): void {
    this.#waiting += `${line}\n`;
    if (this.#waiting.length >= BUFFER_CHARACTERS) this.flush();
  }
}
