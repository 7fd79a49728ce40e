/**
 * Records of SAs and policies in posts (post.ts). Bodies of netlink messages are carried as they are,
 * and parsed little: a dump entry is a valid body of XFRM_MSG_NEWSA, and an event's body is a valid
 * body of XFRM_MSG_NEWAE (kernel's include/uapi/linux/xfrm.h).
 *
 *     Sa          u32 threshold in packets | u32 timer threshold in ms | u32 peak in | u32 peak out |
 *                 body of NEWSA with LTIME_VAL
 *     SaState     u32 peak in | u32 peak out, packets/s | u32 age of the event, ms | body of NEWAE
 *     SaGone      daddr 16 | u32 spi | u16 family | u8 proto | u8 0 | u32 mark | u32 mask
 *     Policy      body of NEWPOLICY
 *     PolicyGone  key of the policy, ASCII
 *
 * Little-endian.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { Family } from "../inet.ts";
import { Attribute, ATTRIBUTE_HEADER_SIZE, writeU32 } from "../netlink/attribute.ts";
import { align4 } from "../netlink/nlmsg.ts";
import { readXfrmAttribute, XfrmAttribute, type XfrmSaId } from "../netlink/xfrm.ts";
import { writeLtimeVal, type XfrmLifetime } from "../netlink/xfrm_lifetime.ts";
import { writeReplay, type XfrmReplay } from "../netlink/xfrm_replay.ts";

/** Bytes of an Sa record in front of the netlink body. */
export const SA_HEAD_SIZE = 16;
/** Bytes of an SaState record in front of the netlink body. */
export const SA_STATE_HEAD_SIZE = 12;
/** Bytes of an SaGone record. */
export const SA_GONE_SIZE = 32;
/** The largest netlink body that is carried: four keys of 512 bytes and a replay window of 4096. */
export const SA_BODY_BYTES_MAX = 4096;
/** The largest body of a policy: six templates, a security context. */
export const POLICY_BODY_BYTES_MAX = 4096;
/** The longest key of a policy. */
export const POLICY_KEY_BYTES_MAX = 512;
/** What {@linkcode writeTakeoverSa} adds to a body at most. */
export const TAKEOVER_BYTES_MAX = 96;

/** `struct xfrm_usersa_info`. */
const USERSA_INFO_SIZE = 224;
/** Its curlft and stats, which move with each packet. */
const MOVING_START = 160;
const MOVING_END = 204;
/** `struct xfrm_aevent_id`. */
const AEVENT_ID_SIZE = 48;
/** `struct xfrm_userpolicy_info`. */
const USERPOLICY_INFO_SIZE = 168;
const HALF = 2 ** 32;

/** When the kernel tells where an SA is. */
export interface Thresholds {
  /** Packets after which it does; 0 is never. */
  readonly packets: number;
  /** Milliseconds after which it does when something moved; 0 is never. */
  readonly timerMs: number;
}

/** The front of an Sa record. */
export class SaHead {
  /** The thresholds that it has, as {@linkcode Thresholds}. */
  packets = 0;
  timerMs = 0;
  /** As in {@linkcode SaStateHead}. */
  peakIn = 0;
  peakOut = 0;
}

/** The front of an SaState record. */
export class SaStateHead {
  /** The most packets per second that it received lately. */
  peakIn = 0;
  /** The most that it sent. */
  peakOut = 0;
  /** How old the event was when the record was written. */
  ageMs = 0;
}

/** Writes the front of an Sa record; returns where the netlink body begins. */
export function writeSaHead(out: Region, at: number, head: SaHead): number {
  putFigure(out, at, head.packets);
  putFigure(out, at + 4, head.timerMs);
  putFigure(out, at + 8, head.peakIn);
  putFigure(out, at + 12, head.peakOut);
  return at + SA_HEAD_SIZE;
}

/** Reads the front of an Sa record; returns where the netlink body begins, or a negated {@linkcode Fault}. */
export function readSaHead(from: Region, at: number, end: number, into: SaHead): number {
  const fault = checkBody("Sa record", at, end, SA_HEAD_SIZE + USERSA_INFO_SIZE, SA_HEAD_SIZE);
  if (fault < 0) return fault;
  into.packets = from.view.getUint32(at, true);
  into.timerMs = from.view.getUint32(at + 4, true);
  into.peakIn = from.view.getUint32(at + 8, true);
  into.peakOut = from.view.getUint32(at + 12, true);
  return at + SA_HEAD_SIZE;
}

/** Writes the front of an SaState record; figures above 2^32 - 1 are that. */
export function writeSaStateHead(out: Region, at: number, head: SaStateHead): number {
  putFigure(out, at, head.peakIn);
  putFigure(out, at + 4, head.peakOut);
  putFigure(out, at + 8, head.ageMs);
  return at + SA_STATE_HEAD_SIZE;
}

/** Reads the front of an SaState record; returns where the netlink body begins, or a negated {@linkcode Fault}. */
export function readSaStateHead(from: Region, at: number, end: number, into: SaStateHead): number {
  const least = SA_STATE_HEAD_SIZE + AEVENT_ID_SIZE;
  const fault = checkBody("SaState record", at, end, least, SA_STATE_HEAD_SIZE);
  if (fault < 0) return fault;
  into.peakIn = from.view.getUint32(at, true);
  into.peakOut = from.view.getUint32(at + 4, true);
  into.ageMs = from.view.getUint32(at + 8, true);
  return at + SA_STATE_HEAD_SIZE;
}

/** Checks the length of a Policy record, which is a netlink body; `at`, or a negated {@linkcode Fault}. */
export function checkPolicyRecord(at: number, end: number): number {
  return checkBody("Policy record", at, end, USERPOLICY_INFO_SIZE, 0);
}

/** Writes an SaGone record; returns its end. */
export function writeSaGone(out: Region, at: number, id: XfrmSaId): number {
  const { bytes, view } = out;
  const size = id.family === Family.Inet ? 4 : 16; // what follows an IPv4 address is anything
  bytes.fill(0, at, at + SA_GONE_SIZE);
  for (let i = 0; i < size; i++) bytes[at + i] = id.daddr[i]!;
  view.setUint32(at + 16, id.spi, true);
  view.setUint16(at + 20, id.family, true);
  view.setUint8(at + 22, id.proto);
  view.setUint32(at + 24, id.markValue, true);
  view.setUint32(at + 28, id.markMask, true);
  return at + SA_GONE_SIZE;
}

/** Reads an SaGone record; returns its end, or a negated {@linkcode Fault}. */
export function readSaGone(from: Region, at: number, end: number, into: XfrmSaId): number {
  const { bytes, view } = from;
  if (end - at !== SA_GONE_SIZE) return fail(Fault.Field, "SaGone length", at, end - at, "32");
  const family = view.getUint16(at + 20, true);
  if (family !== Family.Inet && family !== Family.Inet6) {
    return fail(Fault.Field, "SaGone family", at + 20, family, "2 or 10");
  }
  const reserved = view.getUint8(at + 23);
  if (reserved !== 0) return fail(Fault.Field, "SaGone reserved byte", at + 23, reserved, "0");
  for (let i = 0; i < 16; i++) into.daddr[i] = bytes[at + i]!;
  into.spi = view.getUint32(at + 16, true);
  into.family = family;
  into.proto = view.getUint8(at + 22);
  into.markValue = view.getUint32(at + 24, true);
  into.markMask = view.getUint32(at + 28, true);
  return end;
}

/** Writes a PolicyGone record, whose key has at most {@linkcode POLICY_KEY_BYTES_MAX} characters. */
export function writePolicyGone(out: Region, at: number, key: string): number {
  for (let i = 0; i < key.length; i++) out.bytes[at + i] = key.charCodeAt(i);
  return at + key.length;
}

/** The key of a PolicyGone record, or null (with a fault told) when it is none. */
export function readPolicyGone(from: Region, at: number, end: number): string | null {
  if (end - at < 1 || end - at > POLICY_KEY_BYTES_MAX) {
    fail(Fault.Field, "PolicyGone length", at, end - at, `1 to ${POLICY_KEY_BYTES_MAX}`);
    return null;
  }
  const { bytes } = from;
  let key = "";
  for (let i = at; i < end; i++) {
    const code = bytes[i]!;
    if (code < 0x20 || code > 0x7e) {
      fail(Fault.Field, "PolicyGone key", i, code, "printable ASCII");
      return null;
    }
    key += String.fromCharCode(code);
  }
  return key;
}

/**
 * True when two bodies of NEWSA, both read before, are the same SA but for what moves with its packets:
 * lifetime used, statistics, replay state, last use.
 */
export function sameSaBody(
  one: Region,
  oneAt: number,
  oneEnd: number,
  other: Region,
  otherAt: number,
  otherEnd: number,
): boolean {
  if (!sameBytes(one, oneAt, other, otherAt, MOVING_START)) return false;
  const rest = USERSA_INFO_SIZE - MOVING_END;
  if (!sameBytes(one, oneAt + MOVING_END, other, otherAt + MOVING_END, rest)) return false;
  const left = new Attribute();
  const right = new Attribute();
  let a = nextFixed(one, oneAt + USERSA_INFO_SIZE, oneEnd, left);
  let b = nextFixed(other, otherAt + USERSA_INFO_SIZE, otherEnd, right);
  while (a > 0 && b > 0) {
    const size = left.end - left.at;
    if (left.type !== right.type || size !== right.end - right.at) return false;
    if (!sameBytes(one, left.at, other, right.at, size)) return false;
    a = nextFixed(one, a, oneEnd, left);
    b = nextFixed(other, b, otherEnd, right);
  }
  return a === b;
}

/**
 * Copies a body of NEWSA, read before, with these values instead of its own: replay state of the kind
 * that it has, lifetime, thresholds (the timer in jiffies, as the kernel takes it). The output has
 * room for {@linkcode TAKEOVER_BYTES_MAX} more. Returns the end, or a negated {@linkcode Fault}.
 */
export function writeTakeoverSa(
  from: Region,
  at: number,
  end: number,
  replay: XfrmReplay,
  lifetime: XfrmLifetime,
  packets: number,
  timerJiffies: number,
  out: Region,
  outAt: number,
): number {
  const attribute = new Attribute();
  copy(from, at, at + USERSA_INFO_SIZE, out, outAt);
  let to = outAt + USERSA_INFO_SIZE;
  for (let next = at + USERSA_INFO_SIZE; next < end;) {
    next = readXfrmAttribute(from, next, end, attribute);
    if (next < 0) return next;
    const { type } = attribute;
    if (isMoving(type) || isThreshold(type)) continue;
    copy(from, attribute.at - ATTRIBUTE_HEADER_SIZE, attribute.end, out, to);
    const stop = to + ATTRIBUTE_HEADER_SIZE + attribute.end - attribute.at;
    to = outAt + align4(stop - outAt);
    out.bytes.fill(0, stop, to);
  }
  to = writeReplay(out, to, replay);
  to = writeLtimeVal(out, to, lifetime);
  to = writeU32(out, to, XfrmAttribute.ReplayThresh, packets);
  return writeU32(out, to, XfrmAttribute.EtimerThresh, timerJiffies);
}

function putFigure(out: Region, at: number, value: number): void {
  out.view.setUint32(at, Math.min(Math.max(Math.ceil(value), 0), HALF - 1), true);
}

function checkBody(what: string, at: number, end: number, least: number, head: number): number {
  const size = end - at;
  if (size < least) return fail(Fault.Field, `${what} length`, at, size, `${least} or more`);
  if (size > head + SA_BODY_BYTES_MAX) {
    return fail(Fault.Large, `${what} length`, at, size, `${head + SA_BODY_BYTES_MAX} at most`);
  }
  return at;
}

/** The next attribute that does not move with packets; where it ends, or 0 when there is none. */
function nextFixed(from: Region, at: number, end: number, into: Attribute): number {
  for (let next = at; next < end;) {
    next = readXfrmAttribute(from, next, end, into);
    if (next < 0) return 0;
    if (!isMoving(into.type)) return next;
  }
  return 0;
}

function isMoving(type: number): boolean {
  return type === XfrmAttribute.LtimeVal || type === XfrmAttribute.ReplayVal ||
    type === XfrmAttribute.ReplayEsnVal || type === XfrmAttribute.Lastused ||
    type === XfrmAttribute.Pad;
}

function isThreshold(type: number): boolean {
  return type === XfrmAttribute.ReplayThresh || type === XfrmAttribute.EtimerThresh;
}

function sameBytes(
  one: Region,
  oneAt: number,
  other: Region,
  otherAt: number,
  size: number,
): boolean {
  const a = one.bytes;
  const b = other.bytes;
  for (let i = 0; i < size; i++) if (a[oneAt + i] !== b[otherAt + i]) return false;
  return true;
}

function copy(from: Region, at: number, end: number, out: Region, outAt: number): void {
  out.bytes.set(from.bytes.subarray(at, end), outAt);
}
