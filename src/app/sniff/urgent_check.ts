/**
 * What came of the messages of a marked sender: every byte is compared with what was sent, and marks
 * are told by where they stand beside the start of a message.
 *
 * @module
 */
import { assert } from "../../mem/assert.ts";
import { arena, give, take } from "../../mem/arena.ts";
import { DraftPdu, readDraftPdu, writeDraftPdu } from "../../wire/iscsi/draft_layout.ts";
import { BHS_SIZE } from "../../wire/iscsi/header.ts";

/** The largest message that is sent or taken. */
export const MESSAGE_BYTES_MAX: number = 1024 * 1024;

/** Where marks stood: at the first byte of a message, one byte before it, after it, or anywhere else. */
export interface MarkCounts {
  readonly before: number;
  readonly at: number;
  readonly after: number;
  readonly elsewhere: number;
}

/** Follows one stream from its first byte on. */
export class MessageCheck {
  /** Bytes of each message; 0 until the first header is there. */
  size = 0;
  /** Whole messages that were as they had to be. */
  messages = 0;
  /** Bytes that were read. */
  bytes = 0;
  /** Why the stream cannot be followed any more; empty while it can. */
  broken = "";
  readonly #header = take(BHS_SIZE);
  #expected = -1;
  /** Bytes of the present message that were compared, or, before the size is known, held. */
  #within = 0;
  #before = 0;
  #at = 0;
  #after = 0;
  #elsewhere = 0;
  /** Marks that came before the size was known: no more than there are bytes in a header. */
  readonly #early: number[] = [];
  #lastMark = -1;

  /** Takes the little memory that a header needs. */
  constructor() {
    assert(this.#header >= 0, "the arena has room for a header");
  }

  /** Takes the next bytes of the stream. */
  handleBytes(at: number, end: number): void {
    this.bytes += end - at;
    let next = at;
    while (next < end && this.broken === "") {
      next = this.size === 0 ? this.#takeHeader(next, end) : this.#compare(next, end);
    }
  }

  /** The kernel has a mark at the next byte. */
  handleMark(): void {
    if (this.bytes === this.#lastMark) return; // asked twice, as nothing was there to be read
    this.#lastMark = this.bytes;
    if (this.size === 0) {
      if (this.#early.length < BHS_SIZE) this.#early.push(this.bytes);
    } else this.#count(this.bytes, 1);
  }

  /** Where the marks were; one that names what would follow the last message is left out. */
  marks(): MarkCounts {
    const { size } = this;
    const named = size > 0 ? Math.round(this.#lastMark / size) * size : -1;
    if (named === this.bytes && Math.abs(named - this.#lastMark) <= 1) {
      this.#count(this.#lastMark, -1);
      this.#lastMark = -1;
    }
    return {
      before: this.#before,
      at: this.#at,
      after: this.#after,
      elsewhere: this.#elsewhere,
    };
  }

  /** Gives back what it took. */
  close(): void {
    give(this.#header);
    if (this.#expected >= 0) give(this.#expected);
  }

  #takeHeader(at: number, end: number): number {
    const count = Math.min(end - at, BHS_SIZE - this.#within);
    arena.bytes.copyWithin(this.#header + this.#within, at, at + count);
    this.#within += count;
    if (this.#within === BHS_SIZE) this.#learn();
    return at + count;
  }

  #learn(): void {
    const header = this.#header;
    const pdu = new DraftPdu();
    const end = readDraftPdu(arena, header, header + BHS_SIZE, pdu);
    const { size } = pdu;
    if (end < 0 || size > MESSAGE_BYTES_MAX) {
      this.broken = "what came first is no header of such a message";
      return;
    }
    this.#expected = take(size);
    if (this.#expected < 0) {
      this.broken = "there is no memory left";
      return;
    }
    this.size = size;
    writeDraftPdu(arena, this.#expected, size, 0);
    this.#within = 0;
    this.#compare(header, header + BHS_SIZE);
    for (const mark of this.#early) this.#count(mark, 1);
  }

  #compare(at: number, end: number): number {
    const { bytes } = arena;
    const stop = Math.min(end, at + this.size - this.#within);
    let wanted = this.#expected + this.#within;
    for (let next = at; next < stop; next++) {
      if (bytes[next] !== bytes[wanted]) {
        const offset = wanted - this.#expected;
        this.broken = `message ${this.messages + 1} is another one from its byte ${offset} on`;
        return end;
      }
      wanted++;
    }
    this.#within += stop - at;
    if (this.#within === this.size) {
      this.#within = 0;
      this.messages++;
      writeDraftPdu(arena, this.#expected, this.size, this.messages);
    }
    return stop;
  }

  #count(mark: number, by: number): void {
    const place = mark % this.size;
    if (place === 0) this.#at += by;
    else if (place === 1) this.#after += by;
    else if (place === this.size - 1) this.#before += by;
    else this.#elsewhere += by;
  }
}
