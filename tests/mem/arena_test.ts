/** The buddy allocator of the arena against its rules: Knuth, TAOCP 1, 2.5, algorithms R and S. */
import assert from "node:assert/strict";
import { arena, arenaTaken, blockBytes, give, memory, take } from "../../src/mem/arena.ts";
import { ARENA_BYTES, BLOCK_MIN_BYTES } from "../../src/mem/limits.ts";
import { newRegion, regionOf } from "../../src/mem/region.ts";

/** Numbers below `limit`, the same ones at each run. */
function randomFrom(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor(state / 2 ** 32 * limit);
  };
}

/** The whole arena is one free block: nothing was lost by splitting and joining. */
function assertWhole(): void {
  assert.equal(arenaTaken(), 0);
  const all = take(ARENA_BYTES);
  assert.equal(all, 0);
  assert.equal(take(1), -1);
  give(all);
  assert.equal(arenaTaken(), 0);
}

Deno.test("a block is the next power of two, a page at least", () => {
  assert.equal(blockBytes(1), BLOCK_MIN_BYTES);
  assert.equal(blockBytes(4096), 4096);
  assert.equal(blockBytes(4097), 8192);
  assert.equal(blockBytes(65_536), 65_536);
  assert.equal(blockBytes(65_537), 131_072);
  assert.equal(blockBytes(ARENA_BYTES), ARENA_BYTES);
  for (const wrong of [0, -1, ARENA_BYTES + 1]) {
    assert.throws(() => take(wrong), /Invariant broken: a block is within the arena/);
    assert.throws(() => blockBytes(wrong), /Invariant broken/);
  }
});

Deno.test.each([{ seed: 1 }, { seed: 2 }, { seed: 3 }])(
  "taken blocks are aligned, never overlap, and join again (seed $seed)",
  ({ seed }) => {
    const random = randomFrom(seed);
    const taken = new Map<number, number>();
    let bytes = 0;
    for (let step = 0; step < 20_000; step++) {
      if (random(100) < 52 || taken.size === 0) {
        const wanted = 1 + random(1 << random(24));
        const size = blockBytes(wanted);
        const at = take(wanted);
        if (at === -1) continue;
        assert.equal(at % size, 0);
        assert.ok(at + size <= ARENA_BYTES);
        assert.ok(!taken.has(at));
        taken.set(at, size);
        bytes += size;
      } else {
        const [at, size] = [...taken][random(Math.min(taken.size, 50))]!;
        give(at);
        taken.delete(at);
        bytes -= size;
      }
      assert.equal(arenaTaken(), bytes);
      if (step % 1000 !== 0) continue;
      let end = 0;
      for (const [at, size] of [...taken].sort(([a], [b]) => a - b)) {
        assert.ok(at >= end, "two blocks overlap");
        end = at + size;
      }
    }
    for (const at of taken.keys()) give(at);
    assertWhole();
  },
);

Deno.test("a full arena answers -1, and works on when something was given back", () => {
  const blocks: number[] = [];
  const size = ARENA_BYTES / 64;
  for (let at = take(size); at !== -1; at = take(size)) blocks.push(at);
  assert.equal(blocks.length, 64);
  assert.equal(new Set(blocks).size, 64);
  assert.equal(take(1), -1);
  give(blocks[9]!);
  assert.equal(take(size + 1), -1);
  const pages = Array.from({ length: size / BLOCK_MIN_BYTES }, () => take(1));
  assert.ok(pages.every((at) => at >= blocks[9]! && at < blocks[9]! + size));
  assert.equal(take(1), -1);
  for (const at of pages) give(at);
  assert.equal(take(size), blocks[9]);
  for (const at of blocks) give(at);
  assertWhole();
});

Deno.test("neighbours that are no buddies do not join", () => {
  const [a, b, c, d] = [take(4096), take(4096), take(4096), take(4096)];
  assert.deepEqual([a, b, c, d], [0, 4096, 8192, 12_288]);
  give(b!);
  give(c!);
  const pair = take(8192);
  assert.equal(pair, 16_384, "b and c are halves of two pairs");
  for (const at of [a, d, pair]) give(at!);
  assertWhole();
});

Deno.test("give() of what is not taken is a fault of ours", () => {
  const at = take(8192);
  assert.throws(() => give(at + 4096), /Invariant broken: a block is given back once/);
  assert.throws(() => give(at + 1), /Invariant broken/);
  give(at);
  assert.throws(() => give(at), /Invariant broken: a block is given back once/);
  assertWhole();
});

Deno.test("the arena is one memory with two views, and never moves", () => {
  assert.equal(arena.bytes.buffer, memory.buffer);
  assert.equal(arena.bytes.length, ARENA_BYTES);
  const at = take(1);
  arena.view.setUint32(at, 0x04030201, true);
  assert.deepEqual([...arena.bytes.subarray(at, at + 4)], [1, 2, 3, 4]);
  assert.throws(() => memory.grow(1), RangeError);
  give(at);
});

Deno.test("a region over a part of a buffer counts from its start", () => {
  const region = regionOf(new Uint8Array(16).subarray(4, 12));
  region.view.setUint8(0, 9);
  assert.equal(region.bytes[0], 9);
  assert.equal(region.view.byteLength, 8);
  assert.deepEqual(newRegion(3).bytes, new Uint8Array(3));
});
