/** The list of pieces for a gathering send, against a list of bytes. */
import assert from "node:assert/strict";
import { Gather } from "../../src/mem/gather.ts";
import { GATHER_PIECES_MAX } from "../../src/mem/limits.ts";

/** What waits, as offsets of single bytes. */
function waiting(gather: Gather): number[] {
  const found: number[] = [];
  for (let index = gather.first; index < gather.end; index++) {
    const at = gather.pieces[index * 2]!;
    const length = gather.pieces[index * 2 + 1]!;
    for (let i = index === gather.first ? gather.skip : 0; i < length; i++) found.push(at + i);
  }
  return found;
}

Deno.test.each([{ seed: 1 }, { seed: 2 }, { seed: 3 }])(
  "add() and sent() in any order (seed $seed)",
  ({ seed }) => {
    let state = seed;
    const random = (limit: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor(state / 2 ** 32 * limit);
    };
    const gather = new Gather();
    const model: number[] = [];
    const marks: { mark: number; left: number }[] = [];
    let next = 0;
    for (let step = 0; step < 20_000; step++) {
      if (random(2) === 0 && gather.room > 0) {
        next += random(3) === 0 ? 0 : 1 + random(50); // side by side, or with a gap
        const length = random(40);
        gather.add(next, length);
        for (let i = 0; i < length; i++) model.push(next + i);
        next += length;
        marks.push({ mark: gather.mark(), left: model.length });
      } else {
        const count = random(random(8) === 0 ? model.length + 1 : Math.min(60, model.length + 1));
        gather.sent(count);
        model.splice(0, count);
        for (const entry of marks) entry.left -= count;
      }
      assert.equal(gather.bytes, model.length);
      assert.equal(gather.count, gather.end - gather.first);
      assert.ok(gather.end <= GATHER_PIECES_MAX);
      for (const { mark, left } of marks) assert.equal(gather.passed(mark), left <= 0);
      while (marks.length > 20) marks.shift();
      if (step % 50 === 0) assert.deepEqual(waiting(gather), model);
    }
  },
);

Deno.test("neighbours are one piece, as long as the first is not wholly sent", () => {
  const gather = new Gather();
  gather.add(100, 10);
  gather.add(110, 5);
  assert.deepEqual([gather.count, gather.bytes], [1, 15]);
  gather.sent(12);
  gather.add(115, 5);
  assert.deepEqual([gather.count, gather.skip, gather.bytes], [1, 12, 8]);
  gather.add(121, 1);
  assert.equal(gather.count, 2);
  gather.sent(9);
  assert.deepEqual([gather.count, gather.first, gather.end], [0, 0, 0]);
  gather.add(122, 1);
  assert.deepEqual(waiting(gather), [122], "a sent piece is not made longer");
});

Deno.test("an empty piece is none", () => {
  const gather = new Gather();
  gather.add(7, 0);
  assert.deepEqual([gather.count, gather.bytes], [0, 0]);
  gather.sent(0);
  assert.equal(gather.passed(gather.mark()), true);
});

Deno.test("it takes as many pieces as the kernel, and room comes back", () => {
  const gather = new Gather();
  for (let index = 0; index < GATHER_PIECES_MAX; index++) {
    assert.equal(gather.room, GATHER_PIECES_MAX - index);
    gather.add(index * 10, 5);
  }
  assert.equal(gather.room, 0);
  assert.throws(() => gather.add(99_999, 1), /Invariant broken/);
  gather.clear();
  for (let index = 0; index < GATHER_PIECES_MAX; index++) gather.add(index * 10, 5);
  gather.sent(5 * (GATHER_PIECES_MAX / 2 + 1));
  assert.equal(gather.room, GATHER_PIECES_MAX / 2 + 1);
  gather.clear();
  assert.deepEqual([gather.room, gather.bytes, gather.count], [GATHER_PIECES_MAX, 0, 0]);
});

Deno.test("more cannot be sent than waits", () => {
  const gather = new Gather();
  gather.add(0, 5);
  assert.throws(() => gather.sent(6), /Invariant broken/);
});

Deno.test("mark() and passed() hold over 2^32 bytes", () => {
  const gather = new Gather();
  const piece = 0x3000_0000;
  for (let round = 0; round < 20; round++) {
    gather.add(0, piece);
    const mark = gather.mark();
    gather.add(piece + 1, 100);
    assert.equal(gather.passed(mark), false);
    gather.sent(piece - 1);
    assert.equal(gather.passed(mark), false, `round ${round}`);
    gather.sent(1);
    assert.equal(gather.passed(mark), true, `round ${round}`);
    gather.sent(100);
    assert.equal(gather.passed(mark), true);
    assert.equal(gather.bytes, 0);
  }
});
