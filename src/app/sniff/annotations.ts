/**
 * Comments for the packets of an annotated pcapng. A message is told while the packet is read that made it
 * whole (or that proved it), and its comment stands at that packet, as analysers show a reassembled
 * message; the packet in which it begins is named. So nothing waits but one packet's comments.
 *
 * @module
 */
import type { Found, FoundSink, Gap } from "../../proto/boundary/found.ts";
import { COMMENT_BYTES_MAX } from "../../wire/capture/pcapng_writer.ts";
import { cut } from "../printable.ts";
import { foundSentence, gapText } from "./found_line.ts";

const COMMENT_COLUMNS = 400;
/** What frames a comment, with its padding. */
const FRAME_BYTES = 8;

const NONE: readonly string[] = [];

const encoder = new TextEncoder();

/** Comments of the packet that is read. */
export class Annotations implements FoundSink {
  /** Comments for which there was no room. */
  dropped = 0;
  #comments: string[] = [];
  /** What they take in the file: a gap that is given up lets hundreds of messages be told at once. */
  #bytes = 0;

  /** A message was told. */
  handleFound(found: Found): void {
    const { begin, finish } = found;
    const since = begin.packet === finish.packet ? "" : `, begins in packet ${begin.packet}`;
    this.#note(`${foundSentence(found)}${since}`);
  }

  /** A gap was told. */
  handleGap(gap: Gap): void {
    this.#note(gapText(gap));
  }

  /** Takes the comments of the packet that was read last. */
  take(): readonly string[] {
    if (this.#comments.length === 0) return NONE;
    const taken = this.#comments;
    this.#comments = [];
    this.#bytes = 0;
    return taken;
  }

  #note(text: string): void {
    const comment = cut(text, COMMENT_COLUMNS);
    const bytes = encoder.encode(comment).length + FRAME_BYTES;
    if (this.#bytes + bytes > COMMENT_BYTES_MAX) {
      this.dropped++;
      return;
    }
    this.#bytes += bytes;
    this.#comments.push(comment);
  }
}
