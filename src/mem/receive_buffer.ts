/**
 * The receive buffer of one connection: a block of the arena that bytes are received into and
 * frames are read from where they lie. It moves or grows only while nothing points into it: no
 * message of an undone batch, no read under way.
 *
 * @module
 */
import { arena, arenaTaken, give, take } from "./arena.ts";
import {
  ARENA_BYTES,
  EXACT_READ_BYTES_MIN,
  RECEIVE_BYTES_BUSY,
  RECEIVE_BYTES_HANDSHAKE,
  RESERVE_BYTES,
} from "./limits.ts";

/** Bytes that arrived and were not handled yet: arena [head, tail). */
export class ReceiveBuffer {
  /** Where the first byte lies that was not handled. */
  head = 0;
  /** Where the next received byte goes. */
  tail = 0;
  /** Messages of undone batches that lie in it. */
  pinned = 0;
  /** A read into it is under way elsewhere. */
  reading = false;
  /** Where a read ends, as {@linkcode makeRoom} left it. */
  readEnd = 0;
  #block = -1;
  #size = 0;
  #closed = false;

  /** Takes memory; false when the arena is full. */
  open(): boolean {
    this.#block = take(RECEIVE_BYTES_HANDSHAKE);
    if (this.#block < 0) return false;
    this.#size = RECEIVE_BYTES_HANDSHAKE;
    this.readEnd = this.end;
    this.rewind();
    return true;
  }

  /** End of the block. */
  get end(): number {
    return this.#block + this.#size;
  }

  /** True when no byte more fits and something keeps it where it is. */
  get blocked(): boolean {
    return this.pinned > 0 && this.tail === this.end;
  }

  /** True when it is worth to wait: once nothing is pinned a frame of `needed` bytes will fit. */
  isCramped(needed: number): boolean {
    return this.pinned > 0 && needed >= EXACT_READ_BYTES_MIN && this.head + needed > this.end;
  }

  /** True while something points into it. */
  get fixed(): boolean {
    return this.pinned > 0 || this.reading;
  }

  /** True when an arena offset lies in it. */
  contains(at: number): boolean {
    return at >= this.#block && at < this.end;
  }

  /**
   * Makes room where it can: for a frame that needs `needed` bytes in all what waits moves to the
   * bottom, and a full buffer doubles while that frame does not fit, or reads keep filling it.
   * A large frame is read to its end and no further, so that the next one need not be moved.
   * Returns how many bytes are to be read now.
   *
   * @param needed what the frame at the front takes as far as known, or is expected to take
   */
  makeRoom(needed: number): number {
    if (!this.fixed) this.#settleFor(needed);
    const frameEnd = this.head + needed;
    const exact = needed >= EXACT_READ_BYTES_MIN && frameEnd > this.tail;
    this.readEnd = exact && frameEnd < this.end ? frameEnd : this.end;
    return this.readEnd - this.tail;
  }

  /** Starts from the bottom again, when everything was handled and nothing points into it. */
  rewind(): void {
    if (this.fixed || this.#block < 0) return;
    this.head = this.#block;
    this.tail = this.#block;
  }

  /** Gives back what it has grown by, when it is empty: a quiet connection needs little. */
  shrink(): void {
    if (this.fixed || this.head !== this.tail || this.#size <= RECEIVE_BYTES_HANDSHAKE) return;
    const block = take(RECEIVE_BYTES_HANDSHAKE);
    if (block < 0) return;
    give(this.#block);
    this.#block = block;
    this.#size = RECEIVE_BYTES_HANDSHAKE;
    this.readEnd = this.end;
    this.rewind();
  }

  /** One pinned message was done. */
  release(): void {
    this.pinned--;
    this.#settle();
  }

  /** The read that `reading` told of is over, and its bytes were handled. */
  endRead(): void {
    this.reading = false;
    this.#settle();
  }

  /** Gives the memory back, as soon as nothing points into it. */
  close(): void {
    this.#closed = true;
    this.#settle();
  }

  #settleFor(needed: number): void {
    const waiting = this.tail - this.head;
    if (this.tail === this.end) this.#grow(waiting, needed);
    if (this.head === this.#block || this.end - this.head >= needed) return;
    arena.bytes.copyWithin(this.#block, this.head, this.tail);
    this.head = this.#block;
    this.tail = this.#block + waiting;
  }

  #settle(): void {
    if (this.fixed) return;
    if (this.#closed) this.#free();
    else if (this.head === this.tail) this.rewind();
  }

  #grow(waiting: number, needed: number): void {
    const fits = waiting === 0 || needed <= this.#size;
    if (fits && this.#size >= RECEIVE_BYTES_BUSY) return;
    const large = this.#size * 2 > RECEIVE_BYTES_BUSY;
    if (large && arenaTaken() + this.#size * 2 > ARENA_BYTES - RESERVE_BYTES) return;
    const block = take(this.#size * 2);
    if (block < 0) return;
    arena.bytes.copyWithin(block, this.head, this.tail);
    give(this.#block);
    this.#block = block;
    this.#size *= 2;
    this.head = block;
    this.tail = block + waiting;
  }

  #free(): void {
    if (this.#block < 0) return;
    give(this.#block);
    this.#block = -1;
    this.#size = 0;
    this.head = 0;
    this.tail = 0;
  }
}
