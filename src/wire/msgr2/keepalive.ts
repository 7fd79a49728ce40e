/**
 * KEEPALIVE2 and KEEPALIVE2_ACK: msgr2 "Message exchange". The document calls the stamp a
 * ceph_timespec in one and a ceph_timestamp in the other; on the wire both are two __le32.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";

/**
 * Bytes of a KEEPALIVE2 or KEEPALIVE2_ACK payload.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Keepalive, KEEPALIVE_SIZE, newRegion, writeKeepalive } from "@fairlead/fairlead";
 *
 * assert.equal(writeKeepalive(newRegion(8), 0, new Keepalive()), KEEPALIVE_SIZE);
 * ```
 */
export const KEEPALIVE_SIZE = 8;

/**
 * The stamp: local to whoever sent the KEEPALIVE2, the answer only repeats it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Keepalive } from "@fairlead/fairlead";
 *
 * const stamp = new Keepalive();
 * stamp.seconds = 5;
 * stamp.nanoseconds = 250_000_000;
 * assert.equal(stamp.seconds * 1000 + stamp.nanoseconds / 1e6, 5250);
 * ```
 */
export class Keepalive {
  /** Seconds of the sender's clock, modulo 2^32. */
  seconds = 0;
  /** Nanoseconds; not checked, since the peer's stamp is only given back. */
  nanoseconds = 0;
}

/**
 * Writes either payload; returns the offset after it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Keepalive, KEEPALIVE_SIZE, newRegion, writeKeepalive } from "@fairlead/fairlead";
 *
 * const stamp = new Keepalive();
 * stamp.seconds = 5;
 * stamp.nanoseconds = 250_000_000;
 * const out = newRegion(KEEPALIVE_SIZE);
 * assert.equal(writeKeepalive(out, 0, stamp), 8);
 * assert.equal(out.bytes.toHex(), "0500000080b2e60e");
 * ```
 */
export function writeKeepalive(out: Region, at: number, stamp: Keepalive): number {
  out.view.setUint32(at, stamp.seconds, true);
  out.view.setUint32(at + 4, stamp.nanoseconds, true);
  return at + KEEPALIVE_SIZE;
}

/**
 * Reads either payload; returns the offset after it, or a negated {@linkcode Fault}.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Keepalive, KEEPALIVE_SIZE, readKeepalive, regionOf } from "@fairlead/fairlead";
 *
 * const from = regionOf(Uint8Array.fromHex("0500000080b2e60e"));
 * const stamp = new Keepalive();
 * assert.equal(readKeepalive(from, 0, KEEPALIVE_SIZE, stamp), 8);
 * assert.equal(stamp.nanoseconds, 250_000_000);
 * ```
 */
export function readKeepalive(from: Region, at: number, end: number, into: Keepalive): number {
  if (end - at < KEEPALIVE_SIZE) {
    return fail(Fault.Field, "KEEPALIVE2 stamp length", at, end - at, "8 or more");
  }
  into.seconds = from.view.getUint32(at, true);
  into.nanoseconds = from.view.getUint32(at + 4, true);
  return at + KEEPALIVE_SIZE;
}
