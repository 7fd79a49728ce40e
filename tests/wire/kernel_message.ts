/**
 * What tests of netlink readers do to a message of the kernel: read it whole, cut at every length,
 * with every bit flipped, and a million times.
 *
 * @module
 */
import assert from "node:assert/strict";
import { getHeapStatistics } from "node:v8";
import { newRegion, type Region, regionOf } from "../../src/mem/region.ts";
import { Nlmsg, readNlmsg } from "../../src/wire/netlink/nlmsg.ts";

const CALLS = 1_000_000;

/** A reader of a message: 0, or a negated fault. */
export type Reader = (from: Region, message: Nlmsg) => number;

/** Reads the message in `hex`; returns its header. */
export function readWhole(hex: string, read: Reader): Nlmsg {
  const from = regionOf(Uint8Array.fromHex(hex));
  const message = new Nlmsg();
  const { length } = from.bytes;
  assert.equal(readNlmsg(from, 0, length, message), length);
  assert.equal(read(from, message), 0);
  return message;
}

/**
 * Cuts the message at every length, in memory that ends there, so that a reader that goes beyond
 * it throws, and flips every bit; the reader answers 0 or a fault each time. Returns how many
 * faults it told of each kind.
 */
export function assertHardy(hex: string, read: Reader): { cut: number; flipped: number } {
  const whole = Uint8Array.fromHex(hex);
  const message = new Nlmsg();
  const told = { cut: 0, flipped: 0 };
  const reads = (bytes: Uint8Array<ArrayBuffer>): boolean => {
    const from = regionOf(bytes);
    if (readNlmsg(from, 0, bytes.length, message) < 0) return false;
    const answer = read(from, message);
    assert.ok(Number.isInteger(answer) && answer <= 0, `answered ${answer}`);
    return answer === 0;
  };
  for (let length = 0; length < whole.length; length++) {
    const bytes = whole.slice(0, length);
    assert.equal(reads(bytes), false, `cut to ${length} bytes`);
    if (length < 16) continue;
    new DataView(bytes.buffer).setUint32(0, length, true);
    if (!reads(bytes)) told.cut++;
  }
  for (let bit = 0; bit < 8 * whole.length; bit++) {
    const bytes = whole.slice();
    bytes[bit >> 3]! ^= 1 << (bit & 7);
    if (!reads(bytes)) told.flipped++;
  }
  return told;
}

/** What a writer writes into memory full of 0xa5, from offset 4; nothing beside it is touched. */
export function written(write: (out: Region, at: number) => number, bytesMax = 8192): string {
  const out = newRegion(bytesMax);
  out.bytes.fill(0xa5);
  const end = write(out, 4);
  assert.ok(end > 4 && end % 4 === 0);
  assert.ok(out.bytes.subarray(0, 4).every((byte) => byte === 0xa5));
  assert.ok(out.bytes.subarray(end).every((byte) => byte === 0xa5));
  return out.bytes.subarray(4, end).toHex();
}

/** Runs `call` until it is compiled, then a million times; it must allocate under 4 bytes a call. */
export function assertAllocatesNothing(call: (index: number) => number): void {
  let sum = 0;
  for (let index = 0; index < CALLS / 10; index++) sum ^= call(index);
  const before = allocated();
  for (let index = 0; index < CALLS; index++) sum ^= call(index);
  const bytes = (allocated() - before) / CALLS;
  assert.ok(bytes < 4, `${bytes} bytes a call`);
  assert.ok(Number.isInteger(sum));
}

function allocated(): number {
  return (getHeapStatistics() as unknown as { total_allocated_bytes: number })
    .total_allocated_bytes;
}
