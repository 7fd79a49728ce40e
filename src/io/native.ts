/**
 * Addresses for the kernel and for libcrypto. An address never is a JavaScript number on the
 * frame path: it is written as two 32-bit halves into memory made once, because a `u64` argument
 * allocates 20 bytes, a view at a changing offset 104, and a half in an Int32Array nothing.
 * Little-endian hosts only (x86-64 and aarch64 Linux).
 *
 * @module
 */
import { arena } from "../mem/arena.ts";

const SIGN = 0x80000000 | 0;

let located = false;
let baseLow = 0;
let baseHigh = 0;

/**
 * Memory whose address stays: an ArrayBuffer of its own, as V8 keeps small typed arrays made
 * by length inside its heap, where the collector may move them.
 */
export function fixedInts(count: number): Int32Array<ArrayBuffer> {
  return new Int32Array(new ArrayBuffer(count * 4));
}

/** Writes the address of `target` as two halves; `target` must live as long as the address. */
export function putAddress(
  into: Int32Array<ArrayBuffer>,
  index: number,
  target: ArrayBufferView<ArrayBuffer>,
): void {
  const pointer = Deno.UnsafePointer.of(target as Uint8Array<ArrayBuffer>);
  const address = Deno.UnsafePointer.value(pointer);
  into[index] = Number(BigInt.asIntN(32, address));
  into[index + 1] = Number(BigInt.asIntN(32, address >> 32n));
}

/** Finds the arena's address: once, before the first {@linkcode putArenaAddress}. */
export function locateArena(): void {
  if (located) return;
  const halves = fixedInts(2);
  putAddress(halves, 0, arena.bytes);
  baseLow = halves[0]!;
  baseHigh = halves[1]!;
  located = true;
}

/** Writes the address of arena offset `at` as two halves at `index` and `index + 1`. */
export function putArenaAddress(into: Int32Array<ArrayBuffer>, index: number, at: number): void {
  const low = (baseLow + at) | 0;
  into[index] = low;
  // Unsigned low < at means the sum passed 2^32; compared with flipped signs to stay in small
  // integers.
  into[index + 1] = (low ^ SIGN) < (at ^ SIGN) ? (baseHigh + 1) | 0 : baseHigh;
}
