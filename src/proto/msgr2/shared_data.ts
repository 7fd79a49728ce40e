/**
 * Data that many messages carry, to many peers or again and again: it lies in the arena once, and
 * its crc is computed once. Ceph keeps the crc of a buffer for the same reason. Whoever made it and
 * every message that has it hold its block; the last one gives it back.
 *
 * @module
 */
import { arena, give, take } from "../../mem/arena.ts";
import { assert } from "../../mem/assert.ts";
import { padded, segmentCrc } from "../../wire/msgr2/frame.ts";

// A block: how many hold it, its crc once it is known, and the data.
const HOLDERS = 0;
const CRC_KNOWN = 4;
const CRC = 8;
const HEAD_SIZE = 64;

const view = arena.view;

/**
 * The data segment of many messages. It must not change once a message has it, and cannot be
 * taken back half way: revoke() of such a message is false as soon as its frame was begun.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Endpoint, POLICIES, SharedData } from "@fairlead/fairlead";
 *
 * const hub = new Endpoint();
 * let arrived = 0;
 * hub.handle((batch) => void (arrived += batch.length));
 * const box = new Endpoint();
 * const session = await box.connect(await hub.listen("v2:127.0.0.1:0"), POLICIES.losslessClient);
 * const data = SharedData.of(new TextEncoder().encode("to everyone"));
 * for (let count = 0; count < 3; count++) session.send({ type: 0xfa00, data });
 * data.release(); // what is on its way keeps it
 * await box.flushed(session);
 * assert.equal(arrived, 3);
 * await box.close();
 * await hub.close();
 * ```
 */
export class SharedData {
  /** Length in bytes. */
  readonly length: number;
  readonly #block: number;
  #released = false;

  /**
   * Takes memory for `length` bytes, which the caller writes at {@linkcode at}.
   *
   * @throws RangeError when the arena has no room
   */
  constructor(length: number) {
    const block = take(HEAD_SIZE + padded(length));
    if (block < 0) {
      throw new RangeError(`Cannot share data as there is no memory for ${length} bytes`);
    }
    this.length = length;
    this.#block = block;
    view.setInt32(block + HOLDERS, 1, true);
    view.setInt32(block + CRC_KNOWN, 0, true);
    arena.bytes.fill(0, this.at + length, this.at + padded(length));
  }

  /** A copy of bytes that is ready to send. */
  static of(bytes: Uint8Array): SharedData {
    const data = new SharedData(bytes.length);
    arena.bytes.set(bytes, data.at);
    return data;
  }

  /** Arena offset of the first byte. */
  get at(): number {
    return this.#block + HEAD_SIZE;
  }

  /** Lets go of it: its memory goes back when no message has it any more. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    dropShared(this.#block);
  }

  /**
   * Counts one more message that has it; returns what {@linkcode dropShared} takes.
   *
   * @ignore
   */
  hold(): number {
    assert(!this.#released, "shared data is sent before it is released");
    view.setInt32(this.#block + HOLDERS, view.getInt32(this.#block + HOLDERS, true) + 1, true);
    return this.#block;
  }
}

/** One holder less. */
export function dropShared(block: number): void {
  const holders = view.getInt32(block + HOLDERS, true) - 1;
  view.setInt32(block + HOLDERS, holders, true);
  if (holders === 0) give(block);
}

/** The crc of a block's data, computed when it is asked for first. */
export function sharedCrc(block: number, length: number): number {
  if (view.getInt32(block + CRC_KNOWN, true) === 0) {
    const at = block + HEAD_SIZE;
    view.setInt32(block + CRC, segmentCrc(arena, at, at + length), true);
    view.setInt32(block + CRC_KNOWN, 1, true);
  }
  return view.getInt32(block + CRC, true);
}
