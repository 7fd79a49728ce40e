/**
 * The receiving half of a connection: finds whole frames in the bytes that have arrived, checks
 * or opens them where they lie, and tells where their segments are. msgr2 "Frame format" and
 * "Post-auth frame format".
 *
 * @module
 */
import { arena } from "../../mem/arena.ts";
import { fail, Fault } from "../../mem/fault.ts";
import { type Aead, GCM_TAG_SIZE } from "../../wire/msgr2/aead.ts";
import {
  BLOCK1_SIZE,
  checkCrcFrame,
  EPILOGUE_SECURE_SIZE,
  frameBytes,
  FrameFormat,
  FrameParts,
  INLINE_SIZE,
  isSecure,
  locateSecureFrame,
  padded,
  revisionOf,
} from "../../wire/msgr2/frame.ts";
import type { Nonce } from "../../wire/msgr2/nonce.ts";
import { Preamble, PREAMBLE_SIZE, readPreamble } from "../../wire/msgr2/preamble.ts";
import { nonceFault } from "./frame_writer.ts";

/** GCM operations that one frame takes at most. */
const OPERATIONS_MAX = 3;

/**
 * Reads the frames of one connection, in order.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   arena,
 *   FrameFormat,
 *   FrameReader,
 *   FrameWriter,
 *   readAck,
 *   Tag,
 *   writeAck,
 * } from "@fairlead/fairlead";
 *
 * const writer = new FrameWriter(FrameFormat.Crc21);
 * assert.ok(writer.open());
 * const at = writer.endControl(Tag.Ack, writeAck(arena, writer.beginControl(), 7));
 * const reader = new FrameReader(FrameFormat.Crc21);
 * assert.equal(reader.read(at, writer.tail - 1, 1024), 0); // a byte is missing
 * assert.equal(reader.read(at, writer.tail, 1024), writer.tail);
 * assert.equal(reader.preamble.tag, Tag.Ack);
 * assert.equal(readAck(arena, reader.parts.at[0]!, writer.tail), 7);
 * writer.close();
 * ```
 */
export class FrameReader {
  /** Tag and segment lengths of the frame last returned by {@linkcode read}. */
  readonly preamble: Preamble = new Preamble();
  /** Where its segments are. */
  readonly parts: FrameParts = new FrameParts();
  /** Bytes the frame at the front needs in all, as far as known. */
  needed: number = PREAMBLE_SIZE;
  /** The same, and before its preamble has arrived what the last frame took. */
  expected: number = PREAMBLE_SIZE;
  #format: number;
  #opener: Aead | null = null;
  #nonce: Nonce | null = null;
  /** True once the preamble of the frame at the front was read (and opened). */
  #begun = false;

  /**
   * Expects the first preamble.
   *
   * @param format crc format of the handshake; its revision stays
   */
  constructor(format: number) {
    this.#format = format;
  }

  /** The frame format in use. */
  get format(): number {
    return this.#format;
  }

  /** Settles the revision, once both banners are known. */
  setRevision(revision: number): void {
    this.#format = revision === 1 ? FrameFormat.Crc21 : FrameFormat.Crc20;
  }

  /** Switches to secure mode: every later frame is opened. */
  secure(opener: Aead, nonce: Nonce): void {
    this.#format = revisionOf(this.#format) === 1 ? FrameFormat.Secure21 : FrameFormat.Secure20;
    this.#opener = opener;
    this.#nonce = nonce;
    this.needed = this.#headBytes();
  }

  /** Releases the cipher. */
  close(): void {
    this.#opener?.free();
    this.#opener = null;
  }

  /**
   * Looks for a whole frame in the arena at [at, end). Returns the offset after it, 0 while bytes
   * are missing (`needed` tells how many it takes in all), or a negated Fault.
   *
   * @param bytesMax the largest sum of segment lengths that is accepted
   */
  read(at: number, end: number, bytesMax: number): number {
    if (!this.#begun) {
      const head = this.#headBytes();
      if (end - at < head) {
        this.needed = head;
        return 0;
      }
      const fault = this.#begin(at, bytesMax);
      if (fault < 0) return fault;
    }
    if (end - at < this.needed) return 0;
    this.#begun = false;
    const { preamble, parts } = this;
    if (!isSecure(this.#format)) return checkCrcFrame(this.#format, arena, at, preamble, parts);
    const fault = this.#openRest(at);
    if (fault < 0) return fault;
    return locateSecureFrame(this.#format, arena, at, preamble, parts);
  }

  #headBytes(): number {
    return this.#format === FrameFormat.Secure21 ? BLOCK1_SIZE : PREAMBLE_SIZE;
  }

  #begin(at: number, bytesMax: number): number {
    const { preamble } = this;
    if (isSecure(this.#format)) {
      if (!this.#nonce!.allows(OPERATIONS_MAX)) return nonceFault();
      if (this.#format === FrameFormat.Secure21) {
        const fault = this.#open(at, at + PREAMBLE_SIZE + INLINE_SIZE);
        if (fault < 0) return fault;
      } else {
        // Revision 0 has one tag at the end of the frame; its length is only known from the
        // preamble, which therefore is read before it is proven. Its own crc and the limit hold.
        this.#opener!.begin(this.#nonce!.bytes);
        this.#opener!.update(at, at, PREAMBLE_SIZE);
      }
    }
    const next = readPreamble(arena, at, at + PREAMBLE_SIZE, preamble, bytesMax);
    if (next < 0) return next;
    const { lengths } = preamble;
    this.needed = frameBytes(this.#format, lengths[0]!, lengths[1]!, lengths[2]!, lengths[3]!);
    this.expected = this.needed;
    this.#begun = true;
    return 0;
  }

  #openRest(at: number): number {
    const { lengths, segmentCount } = this.preamble;
    const end = at + this.needed;
    if (this.#format === FrameFormat.Secure20) {
      const from = at + PREAMBLE_SIZE;
      this.#opener!.update(from, from, end - GCM_TAG_SIZE - from);
      this.#nonce!.advance();
      return this.#opener!.finish(end - GCM_TAG_SIZE) ? 0 : tagFault(end - GCM_TAG_SIZE);
    }
    let next = at + BLOCK1_SIZE;
    if (lengths[0]! > INLINE_SIZE) {
      const length = padded(lengths[0]!) - INLINE_SIZE;
      const fault = this.#open(next, next + length);
      if (fault < 0) return fault;
      next += length + GCM_TAG_SIZE;
    }
    if (segmentCount === 1) return 0;
    const length = padded(lengths[1]!) + padded(lengths[2]!) + padded(lengths[3]!) +
      EPILOGUE_SECURE_SIZE;
    return this.#open(next, next + length);
  }

  /** Opens one whole operation in place; the tag stands at `end`. */
  #open(at: number, end: number): number {
    this.#opener!.begin(this.#nonce!.bytes);
    this.#opener!.update(at, at, end - at);
    this.#nonce!.advance();
    return this.#opener!.finish(end) ? 0 : tagFault(end);
  }
}

function tagFault(at: number): number {
  return fail(Fault.Checksum, "frame authentication tag", at, 0, "the tag of these bytes");
}
