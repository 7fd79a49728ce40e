/**
 * ACK: msgr2 "Message exchange", TAG_ACK. Only on lossless sessions; on a lossy one real Ceph
 * ignores it.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { readCounter, writeCounter } from "../../mem/u64.ts";

/**
 * Bytes of an ACK payload.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { ACK_SIZE, newRegion, writeAck } from "@fairlead/fairlead";
 *
 * assert.equal(writeAck(newRegion(ACK_SIZE), 0, 7), ACK_SIZE);
 * ```
 */
export const ACK_SIZE = 8;

/**
 * Writes an ACK of everything up to message `seq`; returns the offset after it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { ACK_SIZE, newRegion, writeAck } from "@fairlead/fairlead";
 *
 * const out = newRegion(ACK_SIZE);
 * assert.equal(writeAck(out, 0, 7), 8);
 * assert.equal(out.bytes.toHex(), "0700000000000000");
 * ```
 */
export function writeAck(out: Region, at: number, seq: number): number {
  return writeCounter(out, at, seq);
}

/**
 * Reads an ACK payload; returns the seq (not an offset), or a negated {@linkcode Fault}.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { ACK_SIZE, Fault, newRegion, readAck, writeAck } from "@fairlead/fairlead";
 *
 * const from = newRegion(ACK_SIZE);
 * writeAck(from, 0, 7);
 * assert.equal(readAck(from, 0, ACK_SIZE), 7);
 * assert.equal(readAck(from, 0, 4), -Fault.Field);
 * ```
 */
export function readAck(from: Region, at: number, end: number): number {
  if (end - at < ACK_SIZE) return fail(Fault.Field, "ACK length", at, end - at, "8 or more");
  return readCounter(from, at, "ACK seq");
}
