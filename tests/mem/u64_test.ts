/** 64-bit numbers without BigInt, against BigInt. */
import assert from "node:assert/strict";
import { Fault, lastFault } from "../../src/mem/fault.ts";
import { newRegion } from "../../src/mem/region.ts";
import { readCounter, U64, writeCounter } from "../../src/mem/u64.ts";

const VALUES = [
  0n,
  1n,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  0x100000000n,
  0x1fffffffffffffn,
  0x20000000000000n,
  0x7fffffffffffffffn,
  0x8000000000000000n,
  0x3f01cfbdfffdffffn,
  0xffffffffffffffffn,
];

Deno.test.each(VALUES.map((value) => ({ value, hex: value.toString(16) })))(
  "U64 0x$hex: halves, bytes and text",
  ({ value, hex }) => {
    const u64 = U64.of(value);
    assert.equal(u64.toBigInt(), value);
    assert.equal(u64.toString(), `0x${hex}`);
    assert.equal(u64.lo, u64.lo | 0);
    assert.equal(u64.hi, u64.hi | 0);
    assert.equal(u64.isZero(), value === 0n);
    const region = newRegion(24);
    region.bytes.fill(0xa5);
    assert.equal(u64.write(region, 3), 11);
    assert.equal(region.view.getBigUint64(3, true), value);
    assert.deepEqual([region.bytes[2], region.bytes[11]], [0xa5, 0xa5]);
    const back = new U64();
    back.read(region, 3);
    assert.ok(back.equals(u64));
    const copy = new U64();
    copy.copy(back);
    assert.ok(copy.equals(u64));
    copy.set(copy.lo ^ 1, copy.hi);
    assert.ok(!copy.equals(u64));
    copy.set(u64.lo, u64.hi ^ 1);
    assert.ok(!copy.equals(u64));
  },
);

Deno.test("U64 takes numbers modulo 2^64", () => {
  assert.equal(U64.of(-1).toBigInt(), 2n ** 64n - 1n);
  assert.equal(U64.of(2n ** 64n + 5n).toBigInt(), 5n);
  const u64 = new U64();
  u64.set(0xffffffff, 0x80000000);
  assert.equal(u64.toBigInt(), 0x80000000ffffffffn);
});

Deno.test("counters are safe integers on the way out and back", () => {
  const region = newRegion(32);
  const values = [0, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 53 - 1];
  for (const value of values) {
    region.bytes.fill(0xa5);
    assert.equal(writeCounter(region, 5, value), 13);
    assert.equal(region.view.getBigUint64(5, true), BigInt(value));
    assert.equal(readCounter(region, 5, "seq"), value);
    assert.deepEqual([region.bytes[4], region.bytes[13]], [0xa5, 0xa5]);
  }
});

Deno.test("a counter of 2^53 or more is refused by name and place", () => {
  const region = newRegion(16);
  for (const value of [2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]) {
    region.view.setBigUint64(8, value, true);
    assert.equal(readCounter(region, 8, "MESSAGE seq"), -Fault.Field);
    assert.deepEqual([lastFault.field, lastFault.at], ["MESSAGE seq", 8]);
    assert.ok(lastFault.value >= 2 ** 53);
  }
});
