/**
 * The records of a post (post.ts) that are about msgr2 sessions. Little-endian; addresses as msgr2
 * has them, counters below 2^53.
 *
 *     SESSION          u32 session | u8 policy | u8 flags | u8 peer type | u8 0 | u32 epoch | u32 kept
 *                      | u64 last seq | u64 peer gid | u64 supported | u64 required
 *                      | u64 client cookie | u64 server cookie | entity_addr target
 *                      | entity_addrvec own | entity_addrvec peer | name up to the end
 *     SESSION_MESSAGE  u32 session | u16 type | u16 priority | u16 version | u16 compat | u64 seq
 *                      | u64 tid | u32 front | u32 middle | u32 data | their bytes
 *     SESSION_NUMBERS  u32 session | u32 epoch | u64 taken | u64 acked | u64 out | u64 connect_seq
 *                      | u64 peer's global_seq | u64 global_seq
 *     SESSION_GONE     u32 session
 *
 * SESSION comes first, and again when cookies or addresses change: of the messages held before, the
 * last `kept` stay, the last of them as number `last seq`; in a new epoch they are numbered anew,
 * without gaps up to that. Messages above `out` of the last SESSION_NUMBERS do not count: they, and
 * what was received before they were sent, hold from one post on.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { readCounter, U64, writeCounter } from "../../mem/u64.ts";
import { EntityAddr, readEntityAddr, writeEntityAddr } from "../msgr2/entity_addr.ts";
import { EntityAddrVec, readEntityAddrVec, writeEntityAddrVec } from "../msgr2/entity_addrvec.ts";

const SESSION = 0;

// SESSION
const POLICY = 4;
const FLAGS = 5;
const PEER_TYPE = 6;
const EPOCH = 8;
const KEPT = 12;
const LAST_SEQ = 16;
const PEER_GID = 24;
const SUPPORTED = 32;
const REQUIRED = 40;
const CLIENT_COOKIE = 48;
const SERVER_COOKIE = 56;
const TARGET = 64;
/** The most that a session's name takes. */
const NAME_BYTES_MAX = 1024;
/** The most that a SESSION's body takes. */
export const SESSION_RECORD_BYTES_MAX = 4096;

const ESTABLISHED = 1;
const HAS_TARGET = 2;

// SESSION_MESSAGE
const TYPE = 4;
const PRIORITY = 6;
const VERSION = 8;
const COMPAT_VERSION = 10;
const SEQ = 12;
const TID = 20;
const FRONT = 28;
const MIDDLE = 32;
const DATA = 36;
/** Bytes of a SESSION_MESSAGE in front of its segments. */
export const SESSION_MESSAGE_HEAD_SIZE = 40;

// SESSION_NUMBERS
const NUMBERS_EPOCH = 4;
const TAKEN = 8;
const ACKED = 16;
const OUT = 24;
const CONNECT_SEQ = 32;
const PEER_GLOBAL_SEQ = 40;
const GLOBAL_SEQ = 48;
/** Bytes of a SESSION_NUMBERS. */
export const SESSION_NUMBERS_SIZE = 56;

/** Bytes of a SESSION_GONE. */
export const SESSION_GONE_SIZE = 4;

/** The switches of a session's policy, as bits. */
export const PolicyBit = {
  Lossy: 1,
  Server: 2,
  Standby: 4,
  Resetcheck: 8,
  Registered: 16,
  Requeue: 32,
  Reopen: 64,
} as const;

/** SESSION: what a session is, without its messages and how far they are. */
export class SessionRecord {
  /** The session's number on the box that has it. */
  session = 0;
  /** {@linkcode PolicyBit}s. */
  policy = 0;
  /** It stood once. */
  established = false;
  /** `target` counts. */
  hasTarget = false;
  /** Where the peer listens. */
  readonly target: EntityAddr = new EntityAddr();
  /** What we told the peer that our addresses are; empty where the peer connects. */
  readonly own: EntityAddrVec = new EntityAddrVec();
  /** What the peer told. */
  readonly peerAddrs: EntityAddrVec = new EntityAddrVec();
  peerType = 0;
  peerName = "";
  readonly peerGid: U64 = new U64();
  readonly supported: U64 = new U64();
  readonly required: U64 = new U64();
  readonly clientCookie: U64 = new U64();
  readonly serverCookie: U64 = new U64();
  epoch = 0;
  /** How many of the messages told before are still owed. */
  kept = 0;
  /** The number of the last one of them, or of the last one that was sent. */
  lastSeq = 0;
}

/** SESSION_MESSAGE: its segments lie one behind the other from `at`. */
export class SessionMessage {
  session = 0;
  type = 0;
  priority = 0;
  version = 0;
  compatVersion = 0;
  seq = 0;
  readonly tid: U64 = new U64();
  frontBytes = 0;
  middleBytes = 0;
  dataBytes = 0;
  at = 0;
}

/** SESSION_NUMBERS: how far the messages of a session are. */
export class SessionNumbers {
  session = 0;
  epoch = 0;
  /** The last message that the application has taken over. */
  takenSeq = 0;
  /** The last message of ours that the peer has acknowledged. */
  ackedSeq = 0;
  /** The last message of ours that has a number. */
  outSeq = 0;
  connectSeq = 0;
  peerGlobalSeq = 0;
  /** Our own global_seq, of all sessions. */
  globalSeq = 0;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** Writes a SESSION; returns the offset after it, at most SESSION_RECORD_BYTES_MAX further. */
export function writeSessionRecord(out: Region, at: number, from: SessionRecord): number {
  const { view } = out;
  view.setUint32(at + SESSION, from.session, true);
  view.setUint8(at + POLICY, from.policy);
  view.setUint8(
    at + FLAGS,
    (from.established ? ESTABLISHED : 0) | (from.hasTarget ? HAS_TARGET : 0),
  );
  view.setUint16(at + PEER_TYPE, from.peerType & 0xff, true);
  view.setUint32(at + EPOCH, from.epoch, true);
  view.setUint32(at + KEPT, from.kept, true);
  writeCounter(out, at + LAST_SEQ, from.lastSeq);
  from.peerGid.write(out, at + PEER_GID);
  from.supported.write(out, at + SUPPORTED);
  from.required.write(out, at + REQUIRED);
  from.clientCookie.write(out, at + CLIENT_COOKIE);
  from.serverCookie.write(out, at + SERVER_COOKIE);
  let next = writeEntityAddr(out, at + TARGET, from.target);
  next = writeEntityAddrVec(out, next, from.own);
  next = writeEntityAddrVec(out, next, from.peerAddrs);
  const name = out.bytes.subarray(next, next + NAME_BYTES_MAX);
  return next + encoder.encodeInto(from.peerName, name).written;
}

/** Reads a SESSION; returns `end`, or a negated {@linkcode Fault}. */
export function readSessionRecord(
  from: Region,
  at: number,
  end: number,
  into: SessionRecord,
): number {
  const { view, bytes } = from;
  if (end - at < TARGET) return short("SESSION length", at, end, TARGET);
  into.session = view.getUint32(at + SESSION, true);
  into.policy = view.getUint8(at + POLICY);
  const flags = view.getUint8(at + FLAGS);
  into.established = (flags & ESTABLISHED) !== 0;
  into.hasTarget = (flags & HAS_TARGET) !== 0;
  into.peerType = view.getUint8(at + PEER_TYPE);
  into.epoch = view.getUint32(at + EPOCH, true);
  into.kept = view.getUint32(at + KEPT, true);
  into.lastSeq = readCounter(from, at + LAST_SEQ, "SESSION last seq");
  if (into.lastSeq < 0) return into.lastSeq;
  into.peerGid.read(from, at + PEER_GID);
  into.supported.read(from, at + SUPPORTED);
  into.required.read(from, at + REQUIRED);
  into.clientCookie.read(from, at + CLIENT_COOKIE);
  into.serverCookie.read(from, at + SERVER_COOKIE);
  let next = readEntityAddr(from, at + TARGET, end, into.target);
  if (next >= 0) next = readEntityAddrVec(from, next, end, into.own);
  if (next >= 0) next = readEntityAddrVec(from, next, end, into.peerAddrs);
  if (next < 0) return next;
  if (into.hasTarget === into.target.isBlank()) {
    return fail(Fault.Field, "SESSION flags", at + FLAGS, flags, "a target where they say so");
  }
  if (end - next > NAME_BYTES_MAX) {
    return fail(Fault.Large, "SESSION name", next, end - next, `${NAME_BYTES_MAX} at most`);
  }
  try {
    into.peerName = decoder.decode(bytes.subarray(next, end));
  } catch {
    return fail(Fault.Field, "SESSION name", next, end - next, "UTF-8");
  }
  return end;
}

/** Writes a SESSION_MESSAGE up to its segments, which the caller appends; returns where they go. */
export function writeSessionMessage(out: Region, at: number, from: SessionMessage): number {
  const { view } = out;
  view.setUint32(at + SESSION, from.session, true);
  view.setUint16(at + TYPE, from.type, true);
  view.setUint16(at + PRIORITY, from.priority, true);
  view.setUint16(at + VERSION, from.version, true);
  view.setUint16(at + COMPAT_VERSION, from.compatVersion, true);
  writeCounter(out, at + SEQ, from.seq);
  from.tid.write(out, at + TID);
  view.setUint32(at + FRONT, from.frontBytes, true);
  view.setUint32(at + MIDDLE, from.middleBytes, true);
  view.setUint32(at + DATA, from.dataBytes, true);
  return at + SESSION_MESSAGE_HEAD_SIZE;
}

/** Reads a SESSION_MESSAGE; returns `end`, or a negated {@linkcode Fault}. */
export function readSessionMessage(
  from: Region,
  at: number,
  end: number,
  into: SessionMessage,
): number {
  const { view } = from;
  if (end - at < SESSION_MESSAGE_HEAD_SIZE) {
    return short("SESSION_MESSAGE length", at, end, SESSION_MESSAGE_HEAD_SIZE);
  }
  into.session = view.getUint32(at + SESSION, true);
  into.type = view.getUint16(at + TYPE, true);
  into.priority = view.getUint16(at + PRIORITY, true);
  into.version = view.getUint16(at + VERSION, true);
  into.compatVersion = view.getUint16(at + COMPAT_VERSION, true);
  into.seq = readCounter(from, at + SEQ, "SESSION_MESSAGE seq");
  if (into.seq < 0) return into.seq;
  into.tid.read(from, at + TID);
  into.frontBytes = view.getUint32(at + FRONT, true);
  into.middleBytes = view.getUint32(at + MIDDLE, true);
  into.dataBytes = view.getUint32(at + DATA, true);
  into.at = at + SESSION_MESSAGE_HEAD_SIZE;
  const bytes = into.frontBytes + into.middleBytes + into.dataBytes;
  if (bytes === end - into.at) return end;
  return fail(Fault.Field, "SESSION_MESSAGE segments", at + FRONT, bytes, `${end - into.at} bytes`);
}

/** Writes a SESSION_NUMBERS; returns the offset after it. */
export function writeSessionNumbers(out: Region, at: number, from: SessionNumbers): number {
  out.view.setUint32(at + SESSION, from.session, true);
  out.view.setUint32(at + NUMBERS_EPOCH, from.epoch, true);
  writeCounter(out, at + TAKEN, from.takenSeq);
  writeCounter(out, at + ACKED, from.ackedSeq);
  writeCounter(out, at + OUT, from.outSeq);
  writeCounter(out, at + CONNECT_SEQ, from.connectSeq);
  writeCounter(out, at + PEER_GLOBAL_SEQ, from.peerGlobalSeq);
  return writeCounter(out, at + GLOBAL_SEQ, from.globalSeq);
}

/** Reads a SESSION_NUMBERS; returns `end`, or a negated {@linkcode Fault}. */
export function readSessionNumbers(
  from: Region,
  at: number,
  end: number,
  into: SessionNumbers,
): number {
  if (end - at !== SESSION_NUMBERS_SIZE) {
    return fail(Fault.Field, "SESSION_NUMBERS length", at, end - at, `${SESSION_NUMBERS_SIZE}`);
  }
  into.session = from.view.getUint32(at + SESSION, true);
  into.epoch = from.view.getUint32(at + NUMBERS_EPOCH, true);
  into.takenSeq = readCounter(from, at + TAKEN, "SESSION_NUMBERS taken");
  if (into.takenSeq < 0) return into.takenSeq;
  into.ackedSeq = readCounter(from, at + ACKED, "SESSION_NUMBERS acked");
  if (into.ackedSeq < 0) return into.ackedSeq;
  into.outSeq = readCounter(from, at + OUT, "SESSION_NUMBERS out");
  if (into.outSeq < 0) return into.outSeq;
  into.connectSeq = readCounter(from, at + CONNECT_SEQ, "SESSION_NUMBERS connect_seq");
  if (into.connectSeq < 0) return into.connectSeq;
  into.peerGlobalSeq = readCounter(from, at + PEER_GLOBAL_SEQ, "SESSION_NUMBERS peer global_seq");
  if (into.peerGlobalSeq < 0) return into.peerGlobalSeq;
  into.globalSeq = readCounter(from, at + GLOBAL_SEQ, "SESSION_NUMBERS global_seq");
  return into.globalSeq < 0 ? into.globalSeq : end;
}

/** Writes a SESSION_GONE; returns the offset after it. */
export function writeSessionGone(out: Region, at: number, session: number): number {
  out.view.setUint32(at, session, true);
  return at + SESSION_GONE_SIZE;
}

/** Reads a SESSION_GONE; returns the session's number, or a negated {@linkcode Fault}. */
export function readSessionGone(from: Region, at: number, end: number): number {
  if (end - at !== SESSION_GONE_SIZE) {
    return fail(Fault.Field, "SESSION_GONE length", at, end - at, `${SESSION_GONE_SIZE}`);
  }
  return from.view.getUint32(at, true);
}

function short(field: string, at: number, end: number, size: number): number {
  return fail(Fault.Field, field, at, end - at, `${size} or more`);
}
