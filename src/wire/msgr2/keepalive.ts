/**
 * KEEPALIVE2 and KEEPALIVE2_ACK: msgr2 "Message exchange". The document calls the stamp a
 * ceph_timespec in one and a ceph_timestamp in the other; on the wire both are two __le32.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";

/** Bytes of a KEEPALIVE2 or KEEPALIVE2_ACK payload. */
export const KEEPALIVE_SIZE = 8;

/** The stamp: local to whoever sent the KEEPALIVE2, the answer only repeats it. */
export class Keepalive {
  /** Seconds of the sender's clock, modulo 2^32. */
  seconds = 0;
  /** Nanoseconds; not checked, since the peer's stamp is only given back. */
  nanoseconds = 0;
}

/** Writes either payload; returns the offset after it. */
export function writeKeepalive(out: Region, at: number, stamp: Keepalive): number {
  out.view.setUint32(at, stamp.seconds, true);
  out.view.setUint32(at + 4, stamp.nanoseconds, true);
  return at + KEEPALIVE_SIZE;
}

/** Reads either payload; returns the offset after it, or a negated {@linkcode Fault}. */
export function readKeepalive(from: Region, at: number, end: number, into: Keepalive): number {
  if (end - at < KEEPALIVE_SIZE) {
    return fail(Fault.Field, "KEEPALIVE2 stamp length", at, end - at, "8 or more");
  }
  into.seconds = from.view.getUint32(at, true);
  into.nanoseconds = from.view.getUint32(at + 4, true);
  return at + KEEPALIVE_SIZE;
}
