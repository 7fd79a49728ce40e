/**
 * Bytes of one direction of a TCP connection that were captured ahead of a gap (RFC 9293 section
 * 3.10.7.4: "segments with higher beginning sequence numbers SHOULD be held for later processing").
 * They are copied into blocks of the arena, one behind the other, so that a small piece costs its own
 * bytes and no block; a block is given back with its last piece.
 *
 * @module
 */
import { arena, blockBytes, give, take } from "../../mem/arena.ts";
import { BLOCK_MIN_BYTES } from "../../mem/limits.ts";
import type { Moment } from "../boundary/found.ts";

/** Pieces that one direction holds at most: inserting one stays cheap, and passing over all of them. */
const PIECES_MAX = 4096;
/** Blocks grow to this as more is held. */
const BLOCK_BYTES_USUAL = 64 * 1024;
/** Places in the list of pieces that stay when it is empty. */
const ORDER_KEPT_MAX = 1024;
const EMPTY = new Int32Array(0);

/* A block begins with the count of its live pieces and its size. */
const BLOCK_LIVE = 0;
const BLOCK_SIZE = 4;
const BLOCK_HEADER_SIZE = 8;

/* A piece, aligned to 8: where it belongs, when it was captured, how long it is; then its bytes. */
const PIECE_OFFSET = 0;
const PIECE_TIME = 8;
const PIECE_PACKET = 16;
const PIECE_LENGTH = 24;
const PIECE_KEPT = 28;
const PIECE_BLOCK = 32;
const PIECE_HEADER_SIZE = 40;

/** Memory of all directions together. */
export class HeldBudget {
  /** Bytes in blocks that may be taken. */
  readonly bytesMax: number;
  /** Bytes in blocks that are taken. */
  bytes = 0;

  /** A budget of so many bytes. */
  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }
}

/** What {@linkcode HeldSegments.put} answers. */
export const Held = {
  Kept: 0,
  /** This direction holds as much as it may. */
  SideFull: 1,
  /** All directions together do. */
  AllFull: 2,
} as const;

/** The pieces that one direction holds, by their place in the stream; they never overlap. */
export class HeldSegments {
  readonly #budget: HeldBudget;
  readonly #bytesMax: number;
  /** Where the pieces lie in the arena, in the order of the stream: those from `first` to `end`. */
  #order = EMPTY;
  #first = 0;
  #end = 0;
  /** The block that is being filled, -1 while there is none. */
  #block = -1;
  #fill = 0;
  /** Bytes in blocks that are taken. */
  bytes = 0;

  /** Holds up to `bytesMax` bytes, and no more than the budget has left. */
  constructor(budget: HeldBudget, bytesMax: number) {
    this.#budget = budget;
    this.#bytesMax = bytesMax;
  }

  /** Pieces that are held. */
  get count(): number {
    return this.#end - this.#first;
  }

  /** Offset in the stream of a piece's first byte. */
  offsetOf(index: number): number {
    return arena.view.getFloat64(this.#piece(index) + PIECE_OFFSET, true);
  }

  /** Offset in the stream of the byte behind a piece. */
  endOf(index: number): number {
    const piece = this.#piece(index);
    return arena.view.getFloat64(piece + PIECE_OFFSET, true) +
      arena.view.getUint32(piece + PIECE_LENGTH, true);
  }

  /** Where a piece's bytes lie in the arena; -1 when the snap length cut them off. */
  atOf(index: number): number {
    const piece = this.#piece(index);
    return arena.view.getUint32(piece + PIECE_KEPT, true) === 0 ? -1 : piece + PIECE_HEADER_SIZE;
  }

  /** When a piece was captured. */
  readMoment(index: number, into: Moment): void {
    const piece = this.#piece(index);
    into.timeNs = arena.view.getFloat64(piece + PIECE_TIME, true);
    into.packet = arena.view.getFloat64(piece + PIECE_PACKET, true);
  }

  /** The first piece that ends beyond `offset`; the count of pieces when there is none. */
  find(offset: number): number {
    const { count } = this;
    // What comes next usually belongs behind everything that is held.
    if (count === 0 || this.endOf(count - 1) <= offset) return count;
    let low = 0;
    let high = count - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.endOf(middle) > offset) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /**
   * Holds `length` bytes of the stream from `offset` on, which lie in the arena from `at` on (-1 for
   * bytes that the snap length cut off), as piece `index`. Answers one of {@linkcode Held}.
   */
  put(index: number, at: number, offset: number, length: number, moment: Moment): number {
    const kept = at < 0 ? 0 : length;
    const size = (PIECE_HEADER_SIZE + kept + 7) & ~7;
    if (this.count === PIECES_MAX) return Held.SideFull;
    const answer = this.#makeRoom(size);
    if (answer !== Held.Kept) return answer;
    const { view, bytes } = arena;
    const block = this.#block;
    const piece = this.#fill;
    this.#fill += size;
    view.setUint32(block + BLOCK_LIVE, view.getUint32(block + BLOCK_LIVE, true) + 1, true);
    view.setFloat64(piece + PIECE_OFFSET, offset, true);
    view.setFloat64(piece + PIECE_TIME, moment.timeNs, true);
    view.setFloat64(piece + PIECE_PACKET, moment.packet, true);
    view.setUint32(piece + PIECE_LENGTH, length, true);
    view.setUint32(piece + PIECE_KEPT, kept, true);
    view.setUint32(piece + PIECE_BLOCK, block, true);
    if (kept > 0) bytes.copyWithin(piece + PIECE_HEADER_SIZE, at, at + kept);
    this.#insert(index, piece);
    return Held.Kept;
  }

  /** Forgets the first piece. */
  shift(): void {
    const { view } = arena;
    const block = view.getUint32(this.#piece(0) + PIECE_BLOCK, true);
    this.#first++;
    const live = view.getUint32(block + BLOCK_LIVE, true) - 1;
    view.setUint32(block + BLOCK_LIVE, live, true);
    if (live > 0) return;
    if (block === this.#block) this.#block = -1;
    this.#giveBlock(block);
    if (this.count === 0) this.#restart();
  }

  #piece(index: number): number {
    return this.#order[this.#first + index]!;
  }

  /** Sees to it that the block being filled has room for `size` bytes. */
  #makeRoom(size: number): number {
    const { view } = arena;
    const block = this.#block;
    if (block >= 0 && block + view.getUint32(block + BLOCK_SIZE, true) - this.#fill >= size) {
      return Held.Kept;
    }
    const needed = BLOCK_HEADER_SIZE + size;
    const usual = Math.min(Math.max(this.bytes, BLOCK_MIN_BYTES), BLOCK_BYTES_USUAL);
    let wanted = blockBytes(Math.max(needed, usual));
    if (this.#refusal(wanted) !== Held.Kept) wanted = blockBytes(needed);
    const refusal = this.#refusal(wanted);
    if (refusal !== Held.Kept) return refusal;
    const taken = take(wanted);
    if (taken < 0) return Held.AllFull;
    this.bytes += wanted;
    this.#budget.bytes += wanted;
    this.#block = taken;
    this.#fill = taken + BLOCK_HEADER_SIZE;
    view.setUint32(taken + BLOCK_LIVE, 0, true);
    view.setUint32(taken + BLOCK_SIZE, wanted, true);
    return Held.Kept;
  }

  #refusal(wanted: number): number {
    if (this.bytes + wanted > this.#bytesMax) return Held.SideFull;
    if (this.#budget.bytes + wanted > this.#budget.bytesMax) return Held.AllFull;
    return Held.Kept;
  }

  #insert(index: number, piece: number): void {
    if (this.#end === this.#order.length) {
      const { count } = this;
      const order = count * 2 >= this.#order.length
        ? new Int32Array(Math.max(this.#order.length * 2, 16))
        : this.#order;
      order.set(this.#order.subarray(this.#first, this.#end));
      this.#order = order;
      this.#first = 0;
      this.#end = count;
    }
    const place = this.#first + index;
    if (place < this.#end) this.#order.copyWithin(place + 1, place, this.#end);
    this.#order[place] = piece;
    this.#end++;
  }

  #giveBlock(block: number): void {
    const size = arena.view.getUint32(block + BLOCK_SIZE, true);
    this.bytes -= size;
    this.#budget.bytes -= size;
    give(block);
  }

  #restart(): void {
    this.#first = 0;
    this.#end = 0;
    if (this.#order.length > ORDER_KEPT_MAX) this.#order = EMPTY;
  }
}
