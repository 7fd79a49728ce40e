/**
 * Comments for the packets of an annotated pcapng. A message is told while the packet is read that made it
 * whole (or that proved it), and its comment stands at that packet, as analysers show a reassembled
 * message; the packet in which it begins is named. So nothing waits but one packet's comments.
 *
 * @module
 */
import type { Found, FoundSink, Gap } from "../../proto/boundary/found.ts";
import { cut } from "../printable.ts";
import { foundSentence, gapText } from "./found_line.ts";

const PACKET_COMMENTS_MAX = 64;
const COMMENT_COLUMNS = 400;

const NONE: readonly string[] = [];

/** Comments of the packet that is read. */
export class Annotations implements FoundSink {
  /** Comments for which there was no room. */
  dropped = 0;
  #comments: string[] = [];

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
    return taken;
  }

  #note(text: string): void {
    if (this.#comments.length === PACKET_COMMENTS_MAX) this.dropped++;
    else this.#comments.push(cut(text, COMMENT_COLUMNS));
  }
}
