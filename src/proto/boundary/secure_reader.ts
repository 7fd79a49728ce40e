/**
 * Opens the sealed frames of one side of a captured connection: msgr2 "Post-auth frame format", both
 * revisions. Unlike proto/msgr2/frame_reader.ts it leaves the ciphertext as it is and opens each
 * frame into a block of its own.
 *
 * After a loss nonce_search.ts finds where the next one begins.
 *
 * @module
 */
import { arena, blockBytes, give, take, takeSpare } from "../../mem/arena.ts";
import { fail, Fault } from "../../mem/fault.ts";
import { type Aead, type AeadMaker, GCM_NONCE_SIZE, GCM_TAG_SIZE } from "../../wire/msgr2/aead.ts";
import {
  BLOCK1_SIZE,
  EPILOGUE_SECURE_SIZE,
  frameBytes,
  FrameFormat,
  FrameParts,
  INLINE_SIZE,
  locateSecureFrame,
  padded,
} from "../../wire/msgr2/frame.ts";
import { Nonce } from "../../wire/msgr2/nonce.ts";
import { Preamble, PREAMBLE_SIZE } from "../../wire/msgr2/preamble.ts";
import type { Side } from "./found.ts";
import { NonceSearch } from "./nonce_search.ts";
import { readSeenPreamble, SeenPreamble } from "../../wire/msgr2/seen_preamble.ts";

/** connection_secret: 16 bytes of key, the nonce of who accepted, the nonce of who connected. */
const SECRET_KEY_END = 16;
const SECRET_CONNECTOR_NONCE: number = SECRET_KEY_END + GCM_NONCE_SIZE;
const SECRET_END: number = SECRET_CONNECTOR_NONCE + GCM_NONCE_SIZE;

/** What the segments of a frame that is opened may hold in all. */
const OPENED_BYTES_MAX: number = 16 * 1024 * 1024;
/** A larger block is given back at the next read(), and not taken when memory is short. */
const KEPT_BYTES_MAX: number = 16 * 1024;

/** Filled and used within one call. */
const seen = new SeenPreamble();

/** The frames of one side, in order. */
export class SecureReader {
  /** Of the frame at the front, once {@linkcode begun}; of the last one after read() gave it. */
  readonly preamble: Preamble = new Preamble();
  /** Where its segments are in the opened copy; valid until the next read(). */
  readonly parts: FrameParts = new FrameParts();
  /** Whether its segments are compressed, as Ceph 17 and newer may agree on. */
  compressed = false;
  /** Bytes that the frame at the front needs in all, as far as known. */
  needed: number;
  readonly #format: number;
  readonly #revision: number;
  readonly #headBytes: number;
  readonly #nonce: Nonce;
  #opener: Aead | null;
  #block = -1;
  #blockBytes = 0;
  #plainBytes = 0;
  #begun = false;
  /** Operations of the frame at the front that its nonce counter has not counted yet. */
  #left = 0;
  /** What is wrong with the rest of it; 0 while nothing is. */
  #fault = 0;
  #search: NonceSearch | null = null;

  /**
   * Expects the first frame behind AUTH_DONE.
   *
   * @param secret the 64 bytes of the connection secret
   * @param side 0 for the frames of who connected, 1 for those of who accepted
   * @param revision 0 or 1, the msgr2 revision
   */
  constructor(maker: AeadMaker, secret: Uint8Array, side: Side, revision: number) {
    const nonceAt = side === 0 ? SECRET_CONNECTOR_NONCE : SECRET_KEY_END;
    const nonceEnd = side === 0 ? SECRET_END : SECRET_CONNECTOR_NONCE;
    this.#revision = revision;
    this.#format = revision === 1 ? FrameFormat.Secure21 : FrameFormat.Secure20;
    this.#headBytes = revision === 1 ? BLOCK1_SIZE : PREAMBLE_SIZE;
    this.#nonce = new Nonce(secret.subarray(nonceAt, nonceEnd), revision);
    this.#opener = maker.opener(secret.subarray(0, SECRET_KEY_END));
    this.needed = this.#headBytes;
  }

  /** True once the preamble of the frame at the front was read: `needed` is its length. */
  get begun(): boolean {
    return this.#begun;
  }

  /** Where the frame last given by read() was opened to; tags stand there as on the wire. */
  get plainAt(): number {
    return this.#plainBytes > 0 ? this.#block : 0;
  }

  /** The end of it. */
  get plainEnd(): number {
    return this.#plainBytes > 0 ? this.#block + this.#plainBytes : 0;
  }

  /**
   * Opens the frame at the front, whose ciphertext is the arena's [at, end) and more. Returns its
   * bytes on the wire; 0 while some are missing, `needed` says how many it takes in all; or a negated
   * Fault. After a fault with `begun` the frame is known and only its rest is wrong or too large:
   * skip() passes it over, the next one follows `needed` bytes from its start. After a fault without
   * it nothing is known.
   */
  read(at: number, end: number): number {
    if (!this.#begun) {
      this.#drop();
      if (end - at < this.#headBytes) return 0;
      const fault = this.#begin(at);
      if (fault < 0) return fault;
    }
    if (this.#fault === 0 && end - at < this.needed) return 0;
    if (this.#fault === 0) this.#fault = this.#openRest(at);
    if (this.#fault < 0) return this.#fault;
    const bytes = this.needed;
    this.#plainBytes = bytes;
    this.skip();
    return bytes;
  }

  /** Passes over the frame at the front whose preamble was read: its nonces are counted. */
  skip(): void {
    for (; this.#left > 0; this.#left--) this.#nonce.advance();
    this.#begun = false;
    this.#fault = 0;
    this.needed = this.#headBytes;
  }

  /**
   * Looks in [at, end) for a frame, when what stands at the front is not known. Returns the arena
   * offset where one begins, which read() opens next, or -1: then it is called again from 95 bytes
   * before `end` on, with more behind them. A frame at the front whose preamble was read is skipped.
   *
   * @param missingBytes bytes of the stream that lie between the last frame (or what was skipped) and
   * `at` and were never given to this function since then, in all calls together; more is harmless
   */
  search(at: number, end: number, missingBytes: number): number {
    if (this.#begun) this.skip();
    if (this.#opener === null) return -1;
    this.#search ??= new NonceSearch(this.#opener, this.#nonce, this.#revision);
    const found = this.#search.find(at, end, missingBytes);
    if (found < 0) return -1;
    for (let left = this.#search.index; left > 0; left--) this.#nonce.advance();
    this.#endSearch();
    return found;
  }

  /** Gives back what it took of the arena, and the cipher. */
  close(): void {
    this.#endSearch();
    if (this.#block >= 0) give(this.#block);
    this.#block = -1;
    this.#blockBytes = 0;
    this.#plainBytes = 0;
    this.#opener?.free();
    this.#opener = null;
  }

  #endSearch(): void {
    this.#search?.close();
    this.#search = null;
  }

  /** The frame opened last is not needed any more. */
  #drop(): void {
    this.#plainBytes = 0;
    if (this.#blockBytes <= KEPT_BYTES_MAX) return;
    give(this.#block);
    this.#block = -1;
    this.#blockBytes = 0;
  }

  #begin(at: number): number {
    const opener = this.#opener;
    if (opener === null) return fail(Fault.Closed, "secure reader", -1, 0, "open");
    if (!this.#grow(BLOCK1_SIZE)) return fullFault(BLOCK1_SIZE);
    const block = this.#block;
    opener.begin(this.#nonce.bytes);
    if (this.#revision === 1) {
      opener.update(at, block, PREAMBLE_SIZE + INLINE_SIZE);
      const tagAt = at + PREAMBLE_SIZE + INLINE_SIZE;
      if (!opener.finish(tagAt)) return tagFault(tagAt);
    } else {
      // One tag at the frame's end: the length must be taken before it is proven.
      opener.update(at, block, PREAMBLE_SIZE);
    }
    if (!readSeenPreamble(arena, block, seen)) {
      return fail(Fault.Checksum, "preamble crc", at, 0, "its crc, with lengths that can be");
    }
    this.#endSearch();
    const { preamble } = this;
    const { lengths, segmentCount } = seen;
    preamble.tag = seen.tag;
    preamble.segmentCount = segmentCount;
    preamble.lengths.set(lengths);
    this.compressed = seen.compressed;
    const length0 = lengths[0]!;
    const later = lengths[1]! + lengths[2]! + lengths[3]!;
    this.needed = frameBytes(this.#format, length0, lengths[1]!, lengths[2]!, lengths[3]!);
    this.#begun = true;
    this.#left = 1;
    if (this.#revision === 1) {
      this.#nonce.advance();
      this.#left = (length0 > INLINE_SIZE ? 1 : 0) + (segmentCount > 1 ? 1 : 0);
    }
    const total = length0 + later;
    if (total > OPENED_BYTES_MAX) {
      const expected = `${OPENED_BYTES_MAX} at most to be opened`;
      this.#fault = fail(Fault.Large, "preamble segment lengths", at, total, expected);
    } else if (!this.#grow(this.needed)) {
      this.#fault = fullFault(this.needed);
    }
    return this.#fault;
  }

  #openRest(at: number): number {
    const { lengths, segmentCount } = this.preamble;
    const opener = this.#opener!;
    const block = this.#block;
    const bytes = this.needed;
    if (this.#revision === 0) {
      const tagAt = at + bytes - GCM_TAG_SIZE;
      opener.begin(this.#nonce.bytes); // search() may have used the cipher since
      opener.update(at, block, PREAMBLE_SIZE);
      const rest = bytes - PREAMBLE_SIZE - GCM_TAG_SIZE;
      opener.update(at + PREAMBLE_SIZE, block + PREAMBLE_SIZE, rest);
      this.#countOne();
      if (!opener.finish(tagAt)) return tagFault(tagAt);
      arena.bytes.copyWithin(block + bytes - GCM_TAG_SIZE, tagAt, tagAt + GCM_TAG_SIZE);
    } else {
      let next = BLOCK1_SIZE;
      arena.bytes.copyWithin(block + next - GCM_TAG_SIZE, at + next - GCM_TAG_SIZE, at + next);
      if (lengths[0]! > INLINE_SIZE) {
        const length = padded(lengths[0]!) - INLINE_SIZE;
        const fault = this.#open(at + next, block + next, length);
        if (fault < 0) return fault;
        next += length + GCM_TAG_SIZE;
      }
      if (segmentCount > 1) {
        const length = padded(lengths[1]!) + padded(lengths[2]!) + padded(lengths[3]!) +
          EPILOGUE_SECURE_SIZE;
        const fault = this.#open(at + next, block + next, length);
        if (fault < 0) return fault;
      }
    }
    const end = locateSecureFrame(this.#format, arena, block, this.preamble, this.parts);
    return end < 0 ? end : 0;
  }

  /** Opens one whole operation and copies its tag behind it. */
  #open(from: number, to: number, length: number): number {
    const opener = this.#opener!;
    opener.begin(this.#nonce.bytes);
    opener.update(from, to, length);
    this.#countOne();
    const tagAt = from + length;
    arena.bytes.copyWithin(to + length, tagAt, tagAt + GCM_TAG_SIZE);
    return opener.finish(tagAt) ? 0 : tagFault(tagAt);
  }

  #countOne(): void {
    this.#nonce.advance();
    this.#left--;
  }

  /** A block of at least `bytes`, with the same first block in it; false when memory is short. */
  #grow(bytes: number): boolean {
    if (bytes <= this.#blockBytes) return true;
    const block = takeBlock(bytes);
    if (block < 0) return false;
    if (this.#block >= 0) {
      arena.bytes.copyWithin(block, this.#block, this.#block + BLOCK1_SIZE);
      give(this.#block);
    }
    this.#block = block;
    this.#blockBytes = blockBytes(bytes);
    return true;
  }
}

/** A large block only where there is some to spare. */
function takeBlock(bytes: number): number {
  return bytes > KEPT_BYTES_MAX ? takeSpare(bytes) : take(bytes);
}

function tagFault(at: number): number {
  return fail(Fault.Checksum, "frame authentication tag", at, 0, "the tag of these bytes");
}

function fullFault(bytes: number): number {
  return fail(Fault.Full, "memory for an opened frame", -1, bytes, "within what is left");
}
