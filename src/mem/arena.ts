/**
 * The one memory that frames live in: a WebAssembly.Memory taken at start, so that the CRC kernel
 * works where the bytes already are and the kernel's iovecs can point into it. It never grows
 * (that would detach every view); untouched pages cost no RAM. Blocks are powers of two, handed
 * out and joined again by the buddy rule (Knuth, The Art of Computer Programming 1, 2.5).
 *
 * @module
 */
import { assert } from "./assert.ts";
import { ARENA_BYTES, BLOCK_MIN_BYTES, RESERVE_BYTES } from "./limits.ts";
import { type Region, regionOf } from "./region.ts";

const PAGE_BYTES = 65536;
const MIN_SHIFT = Math.log2(BLOCK_MIN_BYTES);
const ORDERS = Math.log2(ARENA_BYTES) - MIN_SHIFT + 1;
const BLOCKS = ARENA_BYTES / BLOCK_MIN_BYTES;

const FREE = 1;
const TAKEN = 2;

/** The memory itself; imported by the WebAssembly kernels. */
export const memory: WebAssembly.Memory = new WebAssembly.Memory({
  initial: ARENA_BYTES / PAGE_BYTES,
  maximum: ARENA_BYTES / PAGE_BYTES,
});

/**
 * The whole arena as one region: offsets everywhere on the frame path count from its start.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { arena, giveBlock, takeBlock } from "@fairlead/fairlead";
 *
 * const at = takeBlock(4096);
 * arena.view.setUint32(at, 7, true);
 * assert.equal(arena.bytes[at], 7);
 * giveBlock(at);
 * ```
 */
export const arena: Region = regionOf(new Uint8Array(memory.buffer as ArrayBuffer));

// A block of order k starts at index i (in smallest blocks): state[i] tells free or taken,
// order[i] its size; free blocks of one order are a doubly linked list.
const state = new Uint8Array(BLOCKS);
const order = new Uint8Array(BLOCKS);
const next = new Int32Array(BLOCKS).fill(-1);
const previous = new Int32Array(BLOCKS).fill(-1);
const heads = new Int32Array(ORDERS).fill(-1);
let takenBytes = 0;

push(0, ORDERS - 1);

/**
 * Takes a block of at least `bytes`; returns its offset, or -1 when the arena has none left.
 * The block is the next power of two, 4096 bytes at least, and is not cleared.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { giveBlock, takeBlock } from "@fairlead/fairlead";
 *
 * const at = takeBlock(5000);
 * assert.ok(at >= 0); // 8192 bytes of the arena from there on
 * giveBlock(at);
 * ```
 */
export function take(bytes: number): number {
  const wanted = orderOf(bytes);
  let from = wanted;
  while (from < ORDERS && heads[from] === -1) from++;
  if (from >= ORDERS) return -1;
  const index = heads[from]!;
  unlink(index, from);
  while (from > wanted) {
    from--;
    push(index + (1 << from), from);
  }
  state[index] = TAKEN;
  order[index] = wanted;
  takenBytes += BLOCK_MIN_BYTES << wanted;
  return index << MIN_SHIFT;
}

/**
 * As {@linkcode take}, for what nobody else may suffer from: -1 too when less than RESERVE_BYTES
 * would be left.
 */
export function takeSpare(bytes: number): number {
  return takenBytes + blockBytes(bytes) > ARENA_BYTES - RESERVE_BYTES ? -1 : take(bytes);
}

/**
 * Gives a block back; `offset` is what {@linkcode take} returned.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { giveBlock, takeBlock } from "@fairlead/fairlead";
 *
 * const at = takeBlock(4096);
 * giveBlock(at);
 * assert.throws(() => giveBlock(at), /Invariant broken/);
 * ```
 */
export function give(offset: number): void {
  let index = offset >>> MIN_SHIFT;
  assert(state[index] === TAKEN && offset === index << MIN_SHIFT, "a block is given back once");
  let at = order[index]!;
  takenBytes -= BLOCK_MIN_BYTES << at;
  state[index] = 0;
  while (at < ORDERS - 1) {
    const buddy = index ^ (1 << at);
    if (state[buddy] !== FREE || order[buddy] !== at) break;
    unlink(buddy, at);
    index &= ~(1 << at);
    at++;
  }
  push(index, at);
}

/** Size of the block that {@linkcode take} would hand out for `bytes`. */
export function blockBytes(bytes: number): number {
  return BLOCK_MIN_BYTES << orderOf(bytes);
}

/**
 * Bytes in taken blocks.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { arenaTaken, giveBlock, takeBlock } from "@fairlead/fairlead";
 *
 * const before = arenaTaken();
 * const at = takeBlock(5000);
 * assert.equal(arenaTaken() - before, 8192);
 * giveBlock(at);
 * ```
 */
export function arenaTaken(): number {
  return takenBytes;
}

function orderOf(bytes: number): number {
  assert(bytes > 0 && bytes <= ARENA_BYTES, "a block is within the arena");
  return Math.max(0, 32 - Math.clz32(bytes - 1) - MIN_SHIFT);
}

function push(index: number, at: number): void {
  state[index] = FREE;
  order[index] = at;
  const head = heads[at]!;
  next[index] = head;
  previous[index] = -1;
  if (head !== -1) previous[head] = index;
  heads[at] = index;
}

function unlink(index: number, at: number): void {
  const before = previous[index]!;
  const after = next[index]!;
  if (before === -1) heads[at] = after;
  else next[before] = after;
  if (after !== -1) previous[after] = before;
  state[index] = 0;
}
