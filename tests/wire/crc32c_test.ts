/**
 * src/wire/crc32c.ts against published values, a bitwise reference and its own chaining rules,
 * over ordinary arrays (the table, and copies in pieces) and over the arena (the kernel).
 *
 * @module
 */
import assert from "node:assert/strict";
import { arena, give, take } from "../../src/mem/arena.ts";
import { combine, crc32c, crc32cRaw, crc32cZeros } from "../../src/wire/crc32c.ts";
import { RULES, SCRATCH_BYTES } from "../../src/wire/crc32c_kernel.ts";

/** Values of Ceph src/test/common/test_crc32c.cc, cases Small, PartialWord and Big. */
const CEPH_VECTORS = [
  { bytes: text("foo bar baz"), seed: 0, crc: 4119623852 },
  { bytes: text("foo bar baz"), seed: 1234, crc: 881700046 },
  { bytes: text("whiz bang boom"), seed: 0, crc: 2360230088 },
  { bytes: text("whiz bang boom"), seed: 5678, crc: 3743019208 },
  { bytes: new Uint8Array(5).fill(1), seed: 0, crc: 2715569182 },
  { bytes: new Uint8Array(35).fill(1), seed: 0, crc: 440531800 },
  { bytes: new Uint8Array(4096000).fill(1), seed: 0, crc: 31583199 },
  { bytes: new Uint8Array(4096000).fill(1), seed: 1234, crc: 1400919119 },
];

/** RFC 3720 appendix B.4, the CRC bytes as sent read little-endian; the last one is the READ PDU. */
const RFC3720_VECTORS = [
  { name: "32 bytes of zeroes", bytes: new Uint8Array(32), crc: 0x8a9136aa },
  { name: "32 bytes of ones", bytes: new Uint8Array(32).fill(255), crc: 0x62a8ab43 },
  { name: "32 bytes incrementing", bytes: Uint8Array.from({ length: 32 }, up), crc: 0x46dd794e },
  { name: "32 bytes decrementing", bytes: Uint8Array.from({ length: 32 }, down), crc: 0x113fdb5c },
  {
    name: "an iSCSI SCSI Read (10) command",
    bytes: Uint8Array.fromHex(
      "01c00000000000000000000000000000140000000000040000000014000000182800000000000000" +
        "0200000000000000",
    ),
    crc: 0xd9963a56,
  },
];

Deno.test.each(CEPH_VECTORS)(
  "crc32cRaw() gives Ceph's value $crc from seed $seed",
  ({ bytes, seed, crc }) => {
    assert.equal(crc32cRaw(seed, bytes, 0, bytes.length), crc | 0);
    assert.equal(inArena(bytes, (at, end) => crc32cRaw(seed, arena.bytes, at, end)), crc | 0);
  },
);

Deno.test.each(RFC3720_VECTORS)("crc32c() gives RFC 3720's value for $name", ({ bytes, crc }) => {
  assert.equal(crc32c(bytes), crc);
  assert.equal(crc32c(bytes.subarray(7), crc32c(bytes.subarray(0, 7))), crc);
  const raw = inArena(bytes, (at, end) => crc32cRaw(-1, arena.bytes, at, end));
  assert.equal(~raw >>> 0, crc);
});

Deno.test("crc32c() of the digits 1 to 9 is the check value of the catalogues", () => {
  assert.equal(crc32c(text("123456789")), 0xe3069283);
});

Deno.test("each rule of the kernel is a multiple of the polynomial, no distance below 16", () => {
  for (const rule of RULES) {
    const run = new Uint8Array(rule.at(-1)! + 1);
    for (const distance of [0, ...rule]) run[distance] = 1;
    assert.equal(run.reduce(bitwise, 0), 0);
    assert.ok(rule.every((distance, index) => distance >= 16 && distance > (rule[index - 1] ?? 0)));
  }
});

Deno.test("crc32cRaw() agrees with a bitwise reference, 0 to 5000 bytes at offsets 0 to 79", () => {
  const bytes = noise(5000 + 80);
  const block = take(bytes.length);
  arena.bytes.set(bytes, block);
  for (let offset = 0; offset < 80; offset++) {
    const seed = Math.imul(offset, 0x9e3779b1);
    const expected = prefixes(bytes.subarray(offset, offset + 5000), seed);
    for (let length = 0; length <= 5000; length++) {
      const at = block + offset;
      const kernel = crc32cRaw(seed, arena.bytes, at, at + length);
      const part = crc32cRaw(seed, bytes, offset, offset + length);
      if (kernel !== expected[length] || part !== expected[length]) {
        assert.fail(`${length} bytes at ${offset}: ${kernel}, ${part}, not ${expected[length]}`);
      }
    }
  }
  give(block);
});

// Folding starts at 112 and at 320; the loops take 64, 16 and 224 bytes a turn.
const LENGTHS = [16, 31, 111, 112, 127, 128, 143, 191, 192, 319, 320, 335, 447, 448, 463, 672, 911];

Deno.test("crc32cRaw() is right for every single bit: being linear, for every run", () => {
  const block = take(LENGTHS.at(-1)!);
  for (const length of LENGTHS) {
    arena.bytes.fill(0, block, block + length);
    for (let bit = 0; bit < 8; bit++) {
      let expected = bitwise(0, 1 << bit);
      for (let at = block + length - 1; at >= block; at--) {
        arena.bytes[at] = 1 << bit;
        assert.equal(crc32cRaw(0, arena.bytes, block, block + length), expected);
        arena.bytes[at] = 0;
        expected = bitwise(expected, 0);
      }
      const ofSeed = crc32cZeros(1 << bit, length);
      assert.equal(crc32cRaw(1 << bit, arena.bytes, block, block + length), ofSeed);
      assert.equal(new Uint8Array(length).reduce(bitwise, 1 << bit), ofSeed);
    }
  }
  give(block);
});

Deno.test("crc32cRaw() and crc32c() of other arrays, around the sizes of their pieces", () => {
  const bytes = noise(3 * SCRATCH_BYTES + 100);
  const expected = prefixes(bytes, -1);
  for (const pieces of [0, 1, 2, 3]) {
    for (let more = pieces === 0 ? 0 : -40; more <= 40; more++) {
      const length = pieces * SCRATCH_BYTES + more;
      const whole = bytes.slice(0, length);
      assert.equal(crc32cRaw(-1, whole, 0, length), expected[length]);
      assert.equal(crc32cRaw(-1, bytes, 0, length), expected[length]);
      assert.equal(crc32c(whole), ~expected[length]! >>> 0);
      assert.deepEqual(whole, bytes.subarray(0, length));
    }
  }
});

Deno.test("crc32cRaw() of up to 3 MiB, whole, chained and combined at random cuts", () => {
  const bytes = noise(3 << 20);
  const expected = prefixes(bytes, -1);
  const block = take(bytes.length);
  arena.bytes.set(bytes, block);
  const cuts = new Uint32Array(noise(4 * 300).buffer);
  for (const [index, cut] of cuts.entries()) {
    const end = index < 8 ? bytes.length - index : cut % bytes.length;
    const middle = Math.floor(end * (cuts[(index + 1) % cuts.length]! / 2 ** 32));
    const head = crc32cRaw(-1, arena.bytes, block, block + middle);
    const tail = crc32cRaw(0, arena.bytes, block + middle, block + end);
    assert.equal(head, expected[middle]);
    assert.equal(crc32cRaw(head, arena.bytes, block + middle, block + end), expected[end]);
    assert.equal(crc32cRaw(head, bytes, middle, end), expected[end]);
    assert.equal(combine(head, tail, end - middle), expected[end]);
  }
  give(block);
});

Deno.test("crc32cRaw() of the arena leaves the bytes around and in the run as they are", () => {
  const bytes = noise(12000);
  const block = take(bytes.length);
  arena.bytes.set(bytes, block);
  crc32cRaw(-1, arena.bytes, block + 100, block + 11900);
  assert.deepEqual(arena.bytes.slice(block, block + bytes.length), bytes);
  give(block);
});

Deno.test("crc32cRaw() gives back the seed for an empty run, signed", () => {
  assert.equal(crc32cRaw(0xffffffff, arena.bytes, 64, 64), -1);
  assert.equal(crc32cRaw(0xffffffff, new Uint8Array(4), 2, 2), -1);
});

Deno.test("crc32cZeros() and combine() agree with the bytes themselves", () => {
  const bytes = noise(5000);
  for (const length of [0, 1, 2, 3, 7, 8, 31, 255, 256, 4096, 4999]) {
    const zeros = new Uint8Array(length);
    assert.equal(crc32cZeros(-77, length), crc32cRaw(-77, zeros, 0, length));
    const cut = bytes.length - length;
    const head = crc32cRaw(-1, bytes, 0, cut);
    const tail = crc32cRaw(0, bytes, cut, bytes.length);
    assert.equal(combine(head, tail, length), crc32cRaw(-1, bytes, 0, bytes.length));
    const joined = combine(crc32c(bytes.subarray(0, cut)), crc32c(bytes.subarray(cut)), length);
    assert.equal(joined >>> 0, crc32c(bytes));
  }
});

Deno.test("crc32cZeros() of a count above 2^32 is that of its parts", () => {
  const count = 3 * 2 ** 40 + 12345;
  let parts = -1;
  for (const part of [2 ** 40, 2 ** 40, 2 ** 40, 12345]) parts = crc32cZeros(parts, part);
  assert.equal(crc32cZeros(-1, count), parts);
});

function up(_: unknown, index: number): number {
  return index;
}

function down(_: unknown, index: number): number {
  return 31 - index;
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

/** Bytes of a linear congruential generator (Numerical Recipes), the same in each run. */
function noise(length: number): Uint8Array {
  let state = 1;
  return Uint8Array.from({ length }, () => (state = Math.imul(state, 1664525) + 1013904223) >>> 24);
}

/** The reference's crc of each prefix, the empty one first. */
function prefixes(bytes: Uint8Array, seed: number): Int32Array {
  const crcs = new Int32Array(bytes.length + 1).fill(seed, 0, 1);
  for (let index = 0; index < bytes.length; index++) {
    crcs[index + 1] = bitwise(crcs[index]!, bytes[index]!);
  }
  return crcs;
}

/** One byte more, bit by bit. */
function bitwise(crc: number, byte: number): number {
  crc ^= byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  return crc;
}

function inArena(bytes: Uint8Array, run: (at: number, end: number) => number): number {
  const block = take(bytes.length);
  arena.bytes.set(bytes, block);
  const result = run(block, block + bytes.length);
  give(block);
  return result;
}
