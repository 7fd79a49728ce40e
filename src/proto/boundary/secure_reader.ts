/**
 * Opens the sealed frames of one side of a captured connection: msgr2 "Post-auth frame format", both
 * revisions. Unlike proto/msgr2/frame_reader.ts it leaves the ciphertext as it is and opens each
 * frame into a block of its own.
 *
 * After a hole the nonce counter is not known. It counts operations, and a frame takes some bytes
 * for each of its operations: d bytes of frames use d * 3 / 176 nonces at most in revision 1 (176
 * bytes with both parts of segment 0 and one more segment have three), d / 64 in revision 0.
 * {@linkcode SecureReader.search} tries all of these, up to 65,536, at every offset. GCM encrypts in
 * counter mode, so the first 32 bytes of keystream of each nonce are kept. 20 bits of a preamble are
 * always zero (flags, reserved, the top of a length): there the ciphertext is the keystream itself,
 * and a filter and an index by those bits leave few nonces to look at, however many there are. What
 * then has the structure of a preamble and its crc must have the tag of its first block, too, in
 * revision 1; in revision 0 the tag is at the frame's end, and read() checks it.
 *
 * Measured on one core: 240 ns for each nonce once, then 200 MB/s with a thousand nonces and 130 MB/s
 * with 65,536. Bounds for each loss: 65,536 nonces, 4 MiB of the arena, 256 MiB of bytes searched (2
 * s); behind that the side stays lost. A loss of more than 65,536 operations is bridged only when
 * its frames were no denser than that. Compressed frames are opened, but not searched for.
 *
 * @module
 */
import { arena, arenaTaken, blockBytes, give, take } from "../../mem/arena.ts";
import { fail, Fault } from "../../mem/fault.ts";
import { ARENA_BYTES, RESERVE_BYTES, SEGMENTS_MAX } from "../../mem/limits.ts";
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
import { Tag } from "../../wire/msgr2/tag.ts";
import type { Side } from "./found.ts";
import { hasPreambleStructure, readSeenPreamble, SeenPreamble } from "./msgr2_search.ts";

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
    const block = takeSpare(bytes);
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

/** Candidates for the nonce counter that are tried. */
const NONCES_MAX = 65_536;
/** Room for so many is taken first. */
const NONCES_FIRST = 1024;
/** Bytes that are searched for each loss. */
const SEARCHED_BYTES_MAX: number = 256 * 1024 * 1024;

// Fields of the preamble by which keystream is recognised: see wire/msgr2/preamble.ts.
const SEGMENT_COUNT = 1;
const LENGTH_TOP = 5; // of segment 0, most significant byte: it is below 16
const LENGTH_ZEROS = 0xf0;
const FLAGS = 26;
const RESERVED = 27;

/** 2^20 bits. */
const FILTER_BYTES: number = 2 ** 20 / 8;

/** For each nonce the keystream of the preamble, and two links of the index. */
const NONCE_BYTES: number = PREAMBLE_SIZE + 4 + 4;
/** In front of them: zeros, and room for a first block. */
const FRONT_BYTES: number = PREAMBLE_SIZE + BLOCK1_SIZE;

const NO_INDEX = new Int32Array(0);

/** The search for the next frame after one loss. */
class NonceSearch {
  /** How many operations lie before what find() has found. */
  index = 0;
  readonly #opener: Aead;
  readonly #revision: number;
  /** The nonce after the last frame, and the next one that is not in the table. */
  readonly #start: Uint8Array<ArrayBuffer>;
  readonly #ahead: Nonce;
  #block = -1;
  #capacity = 0;
  #count = 0;
  /** By the two keystream bytes of flags and reserved: the last nonce that has them, or -1. */
  #heads = NO_INDEX;
  /** The one before it that falls into the same place, or -1. */
  #links = NO_INDEX;
  /** One bit for each value of the 20 bits of ciphertext that stand where zeros must be. */
  #filter = NO_INDEX;
  #searchedBytes = 0;

  constructor(opener: Aead, nonce: Nonce, revision: number) {
    this.#opener = opener;
    this.#revision = revision;
    this.#start = nonce.bytes.slice();
    this.#ahead = new Nonce(this.#start, revision);
  }

  find(at: number, end: number, missingBytes: number): number {
    const head = this.#revision === 1 ? BLOCK1_SIZE : PREAMBLE_SIZE;
    const offsets = Math.min(end - head + 1 - at, SEARCHED_BYTES_MAX - this.#searchedBytes);
    if (offsets <= 0) return -1;
    this.#prepare(noncesIn(missingBytes + this.#searchedBytes + offsets - 1, this.#revision) + 1);
    const found = this.#count === 0 ? -1 : this.#scan(at, at + offsets);
    if (found >= 0) return found;
    this.#searchedBytes += offsets;
    if (this.#searchedBytes === SEARCHED_BYTES_MAX) this.close();
    return -1;
  }

  close(): void {
    if (this.#block >= 0) give(this.#block);
    this.#block = -1;
    this.#capacity = 0;
    this.#count = 0;
    this.#heads = NO_INDEX;
    this.#links = NO_INDEX;
    this.#filter = NO_INDEX;
  }

  /** The filter rules out 94 of 100 offsets or more; what is left goes through the index. */
  #scan(at: number, end: number): number {
    const { bytes } = arena;
    const filter = this.#filter;
    let flags = bytes[at + FLAGS]!;
    for (let offset = at; offset < end; offset++) {
      const reserved = bytes[offset + RESERVED]!;
      const zeros = flags | reserved << 8 | (bytes[offset + LENGTH_TOP]! & LENGTH_ZEROS) << 12;
      flags = reserved; // of the next offset
      if ((filter[zeros >> 5]! >> (zeros & 31) & 1) === 0) continue;
      if (this.#findIndex(offset, zeros)) return offset;
    }
    return -1;
  }

  #findIndex(offset: number, zeros: number): boolean {
    let index = this.#heads[zeros & (this.#capacity - 1)]!;
    while (index >= 0 && !this.#fits(offset, index)) index = this.#links[index]!;
    this.index = index;
    return index >= 0;
  }

  /** Whether the bytes at `offset` are a first block under the nonce `index`. */
  #fits(offset: number, index: number): boolean {
    const { bytes } = arena;
    const stream = this.#block + FRONT_BYTES + index * PREAMBLE_SIZE;
    const count = bytes[offset + SEGMENT_COUNT]! ^ bytes[stream + SEGMENT_COUNT]!;
    if (count < 1 || count > SEGMENTS_MAX) return false;
    const tag = bytes[offset]! ^ bytes[stream]!;
    if (tag < 1 || (tag > Tag.CompressionDone && tag !== Tag.Close)) return false;
    if (bytes[offset + FLAGS] !== bytes[stream + FLAGS]) return false;
    if (bytes[offset + RESERVED] !== bytes[stream + RESERVED]) return false;
    return this.#proves(offset, index, stream);
  }

  #proves(offset: number, index: number, stream: number): boolean {
    const { bytes } = arena;
    const plain = this.#block + PREAMBLE_SIZE;
    for (let at = 0; at < PREAMBLE_SIZE; at++) {
      bytes[plain + at] = bytes[offset + at]! ^ bytes[stream + at]!;
    }
    if (!hasPreambleStructure(arena, plain) || !readSeenPreamble(arena, plain, seen)) return false;
    if (this.#revision === 0) return true;
    const nonce = new Nonce(this.#start, this.#revision);
    for (let left = index; left > 0; left--) nonce.advance();
    this.#opener.begin(nonce.bytes);
    this.#opener.update(offset, plain, PREAMBLE_SIZE + INLINE_SIZE);
    return this.#opener.finish(offset + PREAMBLE_SIZE + INLINE_SIZE);
  }

  /** Keystream for the first `wanted` nonces, as far as limit and memory allow. */
  #prepare(wanted: number): void {
    const count = Math.min(wanted, NONCES_MAX);
    if (count > this.#capacity) this.#grow(count);
    const streams = this.#block + FRONT_BYTES;
    const last = Math.min(count, this.#capacity);
    for (let index = this.#count; index < last; index++) {
      this.#opener.begin(this.#ahead.bytes);
      this.#opener.update(this.#block, streams + index * PREAMBLE_SIZE, PREAMBLE_SIZE);
      this.#ahead.advance();
      this.#enter(index);
    }
    this.#count = Math.max(this.#count, last);
  }

  #grow(count: number): void {
    let capacity = Math.max(this.#capacity, NONCES_FIRST);
    while (capacity < count) capacity *= 2;
    const block = takeSpare(FRONT_BYTES + capacity * NONCE_BYTES + FILTER_BYTES);
    if (block < 0) return;
    const { bytes } = arena;
    bytes.fill(0, block, block + PREAMBLE_SIZE);
    if (this.#block >= 0) {
      const from = this.#block + FRONT_BYTES;
      bytes.copyWithin(block + FRONT_BYTES, from, from + this.#count * PREAMBLE_SIZE);
      give(this.#block);
    }
    this.#block = block;
    this.#capacity = capacity;
    const indexAt = block + FRONT_BYTES + capacity * PREAMBLE_SIZE;
    this.#heads = new Int32Array(bytes.buffer, indexAt, capacity).fill(-1);
    this.#links = new Int32Array(bytes.buffer, indexAt + capacity * 4, capacity);
    this.#filter = new Int32Array(bytes.buffer, indexAt + capacity * 8, FILTER_BYTES / 4).fill(0);
    for (let index = 0; index < this.#count; index++) this.#enter(index);
  }

  #enter(index: number): void {
    const { bytes } = arena;
    const stream = this.#block + FRONT_BYTES + index * PREAMBLE_SIZE;
    const zeros = bytes[stream + FLAGS]! | bytes[stream + RESERVED]! << 8 |
      (bytes[stream + LENGTH_TOP]! & LENGTH_ZEROS) << 12;
    const place = zeros & (this.#capacity - 1);
    this.#links[index] = this.#heads[place]!;
    this.#heads[place] = index;
    this.#filter[zeros >> 5]! |= 1 << (zeros & 31);
  }
}

/** The most operations that `bytes` of whole frames can hold. */
function noncesIn(bytes: number, revision: number): number {
  if (revision === 0) return Math.floor(bytes / SMALLEST_FRAME_REV0);
  return Math.floor(bytes * OPERATIONS_DENSE / DENSEST_FRAME_REV1);
}

/** A frame with an empty segment: preamble, epilogue, tag; one operation. */
const SMALLEST_FRAME_REV0: number = PREAMBLE_SIZE + EPILOGUE_SECURE_SIZE + GCM_TAG_SIZE;
/** A frame with 49 bytes in segment 0 and one in segment 1 has most operations for its bytes. */
const OPERATIONS_DENSE = 3;
const DENSEST_FRAME_REV1: number = frameBytes(FrameFormat.Secure21, INLINE_SIZE + 1, 1, 0, 0);

/** A block of the arena that nobody else depends on; -1 when there is none to spare. */
function takeSpare(bytes: number): number {
  if (bytes > KEPT_BYTES_MAX && arenaTaken() + blockBytes(bytes) > ARENA_BYTES - RESERVE_BYTES) {
    return -1;
  }
  return take(bytes);
}

function tagFault(at: number): number {
  return fail(Fault.Checksum, "frame authentication tag", at, 0, "the tag of these bytes");
}

function fullFault(bytes: number): number {
  return fail(Fault.Full, "memory for an opened frame", -1, bytes, "within what is left");
}
