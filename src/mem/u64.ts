/**
 * 64-bit numbers without BigInt on the frame path. Two shapes: {@linkcode U64} keeps two signed
 * 32-bit halves (always small integers for V8, so nothing is boxed) for cookies, ids and feature
 * bits; counters are safe integers, read by {@linkcode readCounter} which refuses 2^53 and above.
 *
 * @module
 */
import { fail, Fault } from "./fault.ts";
import type { Region } from "./region.ts";

/**
 * A mutable 64-bit value as two signed halves.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { U64 } from "@fairlead/fairlead";
 *
 * const cookie = U64.of(0x1_0000_0002n);
 * assert.equal(cookie.lo, 2);
 * assert.equal(cookie.hi, 1);
 * assert.equal(`${cookie}`, "0x100000002");
 * ```
 */
export class U64 {
  /** Low half, signed. */
  lo = 0;
  /** High half, signed. */
  hi = 0;

  /** A value from a BigInt or a safe integer. */
  static of(value: bigint | number): U64 {
    const made = new U64();
    made.setBigInt(BigInt(value));
    return made;
  }

  /** Takes both halves. */
  set(lo: number, hi: number): void {
    this.lo = lo | 0;
    this.hi = hi | 0;
  }

  /** Takes another's value. */
  copy(other: U64): void {
    this.lo = other.lo;
    this.hi = other.hi;
  }

  /** True when both are the same number. */
  equals(other: U64): boolean {
    return this.lo === other.lo && this.hi === other.hi;
  }

  /** True for 0. */
  isZero(): boolean {
    return (this.lo | this.hi) === 0;
  }

  /** Reads eight little-endian bytes; the caller has checked the length. */
  read(from: Region, at: number): void {
    this.lo = from.view.getInt32(at, true);
    this.hi = from.view.getInt32(at + 4, true);
  }

  /** Writes eight little-endian bytes; returns the offset after them. */
  write(out: Region, at: number): number {
    out.view.setInt32(at, this.lo, true);
    out.view.setInt32(at + 4, this.hi, true);
    return at + 8;
  }

  /** The value as a BigInt, for the edge. */
  toBigInt(): bigint {
    return (BigInt(this.hi >>> 0) << 32n) | BigInt(this.lo >>> 0);
  }

  /** Takes a BigInt modulo 2^64. */
  setBigInt(value: bigint): void {
    this.lo = Number(BigInt.asIntN(32, value));
    this.hi = Number(BigInt.asIntN(32, value >> 32n));
  }

  /** Hex as Ceph prints it: `0x3f01cfbdfffdffff`. */
  toString(): string {
    return `0x${this.toBigInt().toString(16)}`;
  }
}

const HALF = 2 ** 32;
const HIGH_MAX = 2 ** 21;

/**
 * Writes a safe integer as eight little-endian bytes; returns the offset after them.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { newRegion, writeCounter } from "@fairlead/fairlead";
 *
 * const out = newRegion(8);
 * assert.equal(writeCounter(out, 0, 2 ** 32 + 1), 8);
 * assert.equal(out.bytes.toHex(), "0100000001000000");
 * ```
 */
export function writeCounter(out: Region, at: number, value: number): number {
  out.view.setUint32(at, value >>> 0, true);
  out.view.setUint32(at + 4, (value / HALF) >>> 0, true);
  return at + 8;
}

/**
 * Reads eight little-endian bytes as a safe integer; a value of 2^53 or more is
 * `-Fault.Field`. The caller has checked the length.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Fault, newRegion, readCounter, writeCounter } from "@fairlead/fairlead";
 *
 * const from = newRegion(8);
 * writeCounter(from, 0, 2 ** 40);
 * assert.equal(readCounter(from, 0, "ACK seq"), 2 ** 40);
 * from.bytes.fill(0xff);
 * assert.equal(readCounter(from, 0, "ACK seq"), -Fault.Field);
 * ```
 */
export function readCounter(from: Region, at: number, field: string): number {
  const high = from.view.getUint32(at + 4, true);
  if (high === 0) return from.view.getUint32(at, true);
  if (high >= HIGH_MAX) return fail(Fault.Field, field, at, high * HALF, "below 2^53");
  return high * HALF + from.view.getUint32(at, true);
}
