/**
 * src/wire/crc32c.ts against published values, a bitwise reference and its own chaining rules,
 * over ordinary arrays (the table) and over the arena (the WebAssembly kernel).
 *
 * @module
 */
import assert from "node:assert/strict";
import { arena, give, take } from "../../src/mem/arena.ts";
import { combine, crc32c, crc32cRaw, crc32cZeros } from "../../src/wire/crc32c.ts";

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

Deno.test("crc32cRaw() agrees with a bitwise reference for 0 to 1100 bytes at offsets 0 to 15", () => {
  const bytes = noise(1100 + 16);
  const reference = new Int32Array(1101);
  const block = take(bytes.length);
  arena.bytes.set(bytes, block);
  for (let offset = 0; offset < 16; offset++) {
    let crc = 0x5eed1234 | 0;
    for (let length = 0; length <= 1100; length++) {
      reference[length] = crc;
      crc = bitwise(crc, bytes[offset + length]!);
    }
    for (let length = 0; length <= 1100; length++) {
      const expected = reference[length]!;
      const table = crc32cRaw(0x5eed1234, bytes, offset, offset + length);
      const at = block + offset;
      const kernel = crc32cRaw(0x5eed1234, arena.bytes, at, at + length);
      if (table !== expected || kernel !== expected) {
        assert.fail(`${length} bytes at ${offset}: ${table}, ${kernel}, not ${expected}`);
      }
    }
  }
  give(block);
});

// Where the kernel changes its way: folding starts at 2048, a chunk is 8192, 80 vectors are left.
const EDGES = [
  1279,
  1280,
  2047,
  2048,
  2049,
  8191,
  8192,
  9471,
  9472,
  9473,
  9535,
  9536,
  17664,
  17728,
];

Deno.test("crc32cRaw() agrees between table and kernel around the kernel's limits", () => {
  const bytes = noise(20000);
  const block = take(bytes.length);
  arena.bytes.set(bytes, block);
  for (const edge of EDGES) {
    for (let length = edge - 20; length <= edge + 80; length++) {
      const offset = length % 16;
      const table = crc32cRaw(length, bytes, offset, offset + length);
      const at = block + offset;
      const kernel = crc32cRaw(length, arena.bytes, at, at + length);
      if (table !== kernel) assert.fail(`${length} bytes: ${kernel}, not ${table}`);
    }
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
