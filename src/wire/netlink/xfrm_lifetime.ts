/**
 * How long SAs and policies live: the kernel's xfrm.h, struct xfrm_lifetime_cfg (the limits) and
 * struct xfrm_lifetime_cur (what was used of them, also the value of XFRMA_LTIME_VAL).
 *
 * @module
 */
import type { Region } from "../../mem/region.ts";
import { readCounter } from "../../mem/u64.ts";
import { beginXfrmAttribute, XfrmAttribute } from "./xfrm.ts";

/** Bytes of struct xfrm_lifetime_cur. */
export const LIFETIME_SIZE = 32;
/** Offsets in struct xfrm_lifetime_cur. */
const PACKETS = 8;
const ADD_TIME = 16;
const USE_TIME = 24;

const HALF = 2 ** 32;
/** The upper half of 2^53: 9 PB, which no counter here reaches. */
const HIGH_MAX = 2 ** 21;

/** Limits: Infinity of bytes and packets, and 0 of seconds, is none. */
export class XfrmLimits {
  softBytes = Infinity;
  hardBytes = Infinity;
  softPackets = Infinity;
  hardPackets = Infinity;
  /** Since it was made. */
  softAddSeconds = 0;
  hardAddSeconds = 0;
  /** Since its first packet. */
  softUseSeconds = 0;
  hardUseSeconds = 0;
}

/** What was used. */
export interface XfrmLifetime {
  bytes: number;
  packets: number;
  /** Wall-clock seconds at which it was made. */
  addTime: number;
  /** Wall-clock seconds of its first packet, 0 before. */
  useTime: number;
}

/** Reads limits, whose length the caller has checked. What is 2^53 or more is Infinity. */
export function readLimits({ view }: Region, at: number, into: XfrmLimits): void {
  into.softBytes = limitAt(view, at);
  into.hardBytes = limitAt(view, at + 8);
  into.softPackets = limitAt(view, at + 16);
  into.hardPackets = limitAt(view, at + 24);
  into.softAddSeconds = limitAt(view, at + 32);
  into.hardAddSeconds = limitAt(view, at + 40);
  into.softUseSeconds = limitAt(view, at + 48);
  into.hardUseSeconds = limitAt(view, at + 56);
}

/** Writes limits; returns the offset after them. */
export function writeLimits(out: Region, at: number, limits: XfrmLimits): number {
  numbers[0] = limits.softBytes;
  numbers[1] = limits.hardBytes;
  numbers[2] = limits.softPackets;
  numbers[3] = limits.hardPackets;
  numbers[4] = limits.softAddSeconds;
  numbers[5] = limits.hardAddSeconds;
  numbers[6] = limits.softUseSeconds;
  numbers[7] = limits.hardUseSeconds;
  return putNumbers(out, at, 8);
}

/** Reads what was used, whose length the caller has checked; 0, or a negated Fault. */
export function readLifetime(from: Region, at: number, into: XfrmLifetime): number {
  const bytes = readCounter(from, at, "xfrm_lifetime_cur bytes");
  if (bytes < 0) return bytes;
  const packets = readCounter(from, at + PACKETS, "xfrm_lifetime_cur packets");
  if (packets < 0) return packets;
  const addTime = readCounter(from, at + ADD_TIME, "xfrm_lifetime_cur add_time");
  if (addTime < 0) return addTime;
  const useTime = readCounter(from, at + USE_TIME, "xfrm_lifetime_cur use_time");
  if (useTime < 0) return useTime;
  into.bytes = bytes;
  into.packets = packets;
  into.addTime = addTime;
  into.useTime = useTime;
  return 0;
}

/** Writes what was used; returns the offset after it. */
export function writeLifetime(out: Region, at: number, lifetime: XfrmLifetime): number {
  numbers[0] = lifetime.bytes;
  numbers[1] = lifetime.packets;
  numbers[2] = lifetime.addTime;
  numbers[3] = lifetime.useTime;
  return putNumbers(out, at, 4);
}

/** Writes XFRMA_LTIME_VAL; returns where the next attribute begins. */
export function writeLtimeVal(out: Region, at: number, lifetime: XfrmLifetime): number {
  const value = beginXfrmAttribute(out, at, XfrmAttribute.LtimeVal, LIFETIME_SIZE);
  return writeLifetime(out, value, lifetime);
}

function limitAt(view: DataView, at: number): number {
  const high = view.getUint32(at + 4, true);
  return high >= HIGH_MAX ? Infinity : high * HALF + view.getUint32(at, true);
}

/**
 * What is written next. A number above 2^31 that a function is given is an object in V8; so these are
 * not arguments, and the halves are signed.
 */
const numbers = new Float64Array(8);

function putNumbers({ view }: Region, at: number, count: number): number {
  for (let i = 0; i < count; i++) {
    const value = numbers[i]!;
    const none = value === Infinity;
    view.setInt32(at + 8 * i, none ? -1 : value | 0, true);
    view.setInt32(at + 8 * i + 4, none ? -1 : (value / HALF) | 0, true);
  }
  return at + 8 * count;
}
