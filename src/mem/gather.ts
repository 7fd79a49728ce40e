/**
 * What waits to be sent on one connection: pieces of the arena as (offset, length) pairs, in
 * order, for a gathering send. Neighbours are joined, so a run of frames that lie side by side is
 * one piece.
 *
 * @module
 */
import { assert } from "./assert.ts";
import { GATHER_PIECES_MAX } from "./limits.ts";

/**
 * Pieces of the arena that wait to be sent on one connection, bounded in number, with a position
 * for partial sends.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Gather } from "@fairlead/fairlead";
 *
 * const gather = new Gather();
 * gather.add(4096, 100);
 * gather.add(4196, 50); // joined, as it lies right behind
 * assert.equal(gather.count, 1);
 * gather.sent(120);
 * assert.equal(gather.bytes, 30);
 * ```
 */
export class Gather {
  /** Offset and length of each piece. */
  readonly pieces: Int32Array = new Int32Array(GATHER_PIECES_MAX * 2);
  /** Index of the first piece that is not wholly sent. */
  first = 0;
  /** Bytes of that piece that are sent already. */
  skip = 0;
  /** Index after the last piece. */
  end = 0;
  /** Bytes that wait. */
  bytes = 0;
  /** Bytes ever added, modulo 2^32. */
  #added = 0;

  /** Pieces that wait. */
  get count(): number {
    return this.end - this.first;
  }

  /** Pieces that can be added now. */
  get room(): number {
    return GATHER_PIECES_MAX - this.end;
  }

  /** Appends a piece; the caller has looked at `room`. */
  add(at: number, length: number): void {
    if (length === 0) return;
    const { pieces, end } = this;
    this.bytes += length;
    this.#added = (this.#added + length) | 0;
    if (end > this.first && pieces[end * 2 - 2]! + pieces[end * 2 - 1]! === at) {
      pieces[end * 2 - 1] = pieces[end * 2 - 1]! + length;
      return;
    }
    assert(end < GATHER_PIECES_MAX, "a gathering send takes no more pieces");
    pieces[end * 2] = at;
    pieces[end * 2 + 1] = length;
    this.end = end + 1;
  }

  /** Takes `count` bytes from the front as sent. */
  sent(count: number): void {
    assert(count <= this.bytes, "not more sent than waits");
    this.bytes -= count;
    let left = count + this.skip;
    let first = this.first;
    while (first < this.end && left >= this.pieces[first * 2 + 1]!) {
      left -= this.pieces[first * 2 + 1]!;
      first++;
    }
    this.skip = left;
    this.first = first;
    if (first === this.end) this.#restart();
    else if (first > GATHER_PIECES_MAX / 2) {
      this.pieces.copyWithin(0, first * 2, this.end * 2);
      this.end -= first;
      this.first = 0;
    }
  }

  /** The position after everything added so far: compare with {@linkcode passed}. */
  mark(): number {
    return this.#added;
  }

  /** True when everything before `mark` has been sent. */
  passed(mark: number): boolean {
    return ((this.#added - this.bytes - mark) | 0) >= 0;
  }

  /** Drops everything that waits. */
  clear(): void {
    this.bytes = 0;
    this.#restart();
  }

  #restart(): void {
    this.first = 0;
    this.end = 0;
    this.skip = 0;
  }
}
