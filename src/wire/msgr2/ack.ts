/**
 * ACK: msgr2 "Message exchange", TAG_ACK. Only on lossless sessions; on a lossy one real Ceph
 * ignores it.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { readCounter, writeCounter } from "../../mem/u64.ts";

/** Bytes of an ACK payload. */
export const ACK_SIZE = 8;

/** Writes an ACK of everything up to message `seq`; returns the offset after it. */
export function writeAck(out: Region, at: number, seq: number): number {
  return writeCounter(out, at, seq);
}

/** Reads an ACK payload; returns the seq (not an offset), or a negated {@linkcode Fault}. */
export function readAck(from: Region, at: number, end: number): number {
  if (end - at < ACK_SIZE) return fail(Fault.Field, "ACK length", at, end - at, "8 or more");
  return readCounter(from, at, "ACK seq");
}
