/**
 * The frames that take a session up again: msgr2 "Message flow handshake", TAG_RECONNECT and its
 * answers. Real Ceph differs from the document: RECONNECT starts with one entity_addrvec_t, not
 * with "num_addrs" and a list; the RETRY frames, of which the document shows no payload, carry a
 * u64; WAIT (RECONNECT_WAIT) is an empty frame, so it has no codec.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { readCounter, U64, writeCounter } from "../../mem/u64.ts";
import {
  EntityAddrVec,
  entityAddrVecBytes,
  readEntityAddrVec,
  writeEntityAddrVec,
} from "./entity_addrvec.ts";

// RECONNECT, after the addresses
const CLIENT_COOKIE = 0;
const SERVER_COOKIE = 8;
const GLOBAL_SEQ = 16;
const CONNECT_SEQ = 24;
const MESSAGE_SEQ = 32;
const TAIL_SIZE = 40;

/**
 * Bytes of a RESET_SESSION payload.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   newRegion,
 *   SESSION_RESET_SIZE,
 *   SessionReset,
 *   writeSessionReset,
 * } from "@fairlead/fairlead";
 *
 * const out = newRegion(SESSION_RESET_SIZE);
 * assert.equal(writeSessionReset(out, 0, new SessionReset()), SESSION_RESET_SIZE);
 * ```
 */
export const SESSION_RESET_SIZE = 1;
/**
 * Bytes of a RECONNECT_RETRY_SESSION payload.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   newRegion,
 *   SESSION_RETRY_SIZE,
 *   SessionRetry,
 *   writeSessionRetry,
 * } from "@fairlead/fairlead";
 *
 * const out = newRegion(SESSION_RETRY_SIZE);
 * assert.equal(writeSessionRetry(out, 0, new SessionRetry()), SESSION_RETRY_SIZE);
 * ```
 */
export const SESSION_RETRY_SIZE = 8;
/**
 * Bytes of a RECONNECT_RETRY_GLOBAL payload.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   newRegion,
 *   SESSION_RETRY_GLOBAL_SIZE,
 *   SessionRetryGlobal,
 *   writeSessionRetryGlobal,
 * } from "@fairlead/fairlead";
 *
 * const out = newRegion(SESSION_RETRY_GLOBAL_SIZE);
 * assert.equal(writeSessionRetryGlobal(out, 0, new SessionRetryGlobal()), 8);
 * ```
 */
export const SESSION_RETRY_GLOBAL_SIZE = 8;
/**
 * Bytes of a RECONNECT_OK payload.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   newRegion,
 *   SESSION_RECONNECT_OK_SIZE,
 *   SessionReconnectOk,
 *   writeSessionReconnectOk,
 * } from "@fairlead/fairlead";
 *
 * const out = newRegion(SESSION_RECONNECT_OK_SIZE);
 * assert.equal(writeSessionReconnectOk(out, 0, new SessionReconnectOk()), 8);
 * ```
 */
export const SESSION_RECONNECT_OK_SIZE = 8;

/**
 * TAG_RECONNECT, which takes a session up again: whoever reconnects, the cookies keep the roles
 * they got first. msgr2 "Message flow handshake".
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { parseAddrVec, SessionReconnect, sessionReconnectBytes } from "@fairlead/fairlead";
 *
 * const reconnect = new SessionReconnect();
 * reconnect.addrs.copy(parseAddrVec("any:10.0.0.7:0/99"));
 * reconnect.clientCookie.setBigInt(11n);
 * reconnect.serverCookie.setBigInt(22n);
 * reconnect.messageSeq = 7; // received so far
 * assert.equal(sessionReconnectBytes(reconnect), 80);
 * ```
 */
export class SessionReconnect {
  /** Where the sender can be reached. */
  readonly addrs: EntityAddrVec = new EntityAddrVec();
  /** Cookie of the side that sent CLIENT_IDENT. */
  readonly clientCookie: U64 = new U64();
  /** Cookie of the side that answered with SERVER_IDENT. */
  readonly serverCookie: U64 = new U64();
  /** Counts the connection attempts of the sender. */
  globalSeq = 0;
  /** Counts the reconnects of this session. */
  connectSeq = 0;
  /** msg_seq: the last message that the sender has received. */
  messageSeq = 0;
}

/**
 * TAG_RESET_SESSION, an answer to RECONNECT: the server does not have this session.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { SessionReset } from "@fairlead/fairlead";
 *
 * const reset = new SessionReset();
 * assert.equal(reset.full, false); // the peer has the session, but not yet our SERVER_IDENT
 * ```
 */
export class SessionReset {
  /** True when the messages that wait are to be dropped too. */
  full = false;
}

/**
 * TAG_RECONNECT_RETRY_SESSION, an answer to RECONNECT: its connect_seq is too low.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   newRegion,
 *   SESSION_RETRY_SIZE,
 *   SessionRetry,
 *   writeSessionRetry,
 * } from "@fairlead/fairlead";
 *
 * const retry = new SessionRetry();
 * retry.connectSeq = 3;
 * assert.equal(writeSessionRetry(newRegion(8), 0, retry), SESSION_RETRY_SIZE);
 * ```
 */
export class SessionRetry {
  /** The server's; the client goes on above it. */
  connectSeq = 0;
}

/**
 * TAG_RECONNECT_RETRY_GLOBAL, an answer to RECONNECT: its global_seq is too low.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   newRegion,
 *   SESSION_RETRY_GLOBAL_SIZE,
 *   SessionRetryGlobal,
 *   writeSessionRetryGlobal,
 * } from "@fairlead/fairlead";
 *
 * const retry = new SessionRetryGlobal();
 * retry.globalSeq = 12;
 * assert.equal(writeSessionRetryGlobal(newRegion(8), 0, retry), SESSION_RETRY_GLOBAL_SIZE);
 * ```
 */
export class SessionRetryGlobal {
  /** The highest the server has seen; the client goes on above it. */
  globalSeq = 0;
}

/**
 * TAG_RECONNECT_OK, an answer to RECONNECT: the session goes on.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   newRegion,
 *   SESSION_RECONNECT_OK_SIZE,
 *   SessionReconnectOk,
 *   writeSessionReconnectOk,
 * } from "@fairlead/fairlead";
 *
 * const ok = new SessionReconnectOk();
 * ok.messageSeq = 41; // the client sends 42 and later ones again
 * assert.equal(writeSessionReconnectOk(newRegion(8), 0, ok), SESSION_RECONNECT_OK_SIZE);
 * ```
 */
export class SessionReconnectOk {
  /** msg_seq: the last message that the server has received. */
  messageSeq = 0;
}

/**
 * Bytes that {@linkcode writeSessionReconnect} writes.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { SessionReconnect, sessionReconnectBytes } from "@fairlead/fairlead";
 *
 * assert.equal(sessionReconnectBytes(new SessionReconnect()), 45); // without an address
 * ```
 */
export function sessionReconnectBytes(reconnect: SessionReconnect): number {
  return entityAddrVecBytes(reconnect.addrs) + TAIL_SIZE;
}

/**
 * Writes a RECONNECT payload; returns the offset after it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   newRegion,
 *   parseAddrVec,
 *   SessionReconnect,
 *   sessionReconnectBytes,
 *   writeSessionReconnect,
 * } from "@fairlead/fairlead";
 *
 * const reconnect = new SessionReconnect();
 * reconnect.addrs.copy(parseAddrVec("any:10.0.0.7:0/99"));
 * reconnect.clientCookie.setBigInt(11n);
 * reconnect.serverCookie.setBigInt(22n);
 * reconnect.messageSeq = 7; // received so far
 * const out = newRegion(sessionReconnectBytes(reconnect));
 * assert.equal(writeSessionReconnect(out, 0, reconnect), out.bytes.length);
 * ```
 */
export function writeSessionReconnect(
  out: Region,
  at: number,
  reconnect: SessionReconnect,
): number {
  const tailAt = writeEntityAddrVec(out, at, reconnect.addrs);
  reconnect.clientCookie.write(out, tailAt + CLIENT_COOKIE);
  reconnect.serverCookie.write(out, tailAt + SERVER_COOKIE);
  writeCounter(out, tailAt + GLOBAL_SEQ, reconnect.globalSeq);
  writeCounter(out, tailAt + CONNECT_SEQ, reconnect.connectSeq);
  return writeCounter(out, tailAt + MESSAGE_SEQ, reconnect.messageSeq);
}

/**
 * Reads a RECONNECT payload; returns the offset after it, or a negated {@linkcode Fault}.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   newRegion,
 *   parseAddrVec,
 *   readSessionReconnect,
 *   SessionReconnect,
 *   writeSessionReconnect,
 * } from "@fairlead/fairlead";
 *
 * const reconnect = new SessionReconnect();
 * reconnect.addrs.copy(parseAddrVec("any:10.0.0.7:0/99"));
 * reconnect.clientCookie.setBigInt(11n);
 * reconnect.serverCookie.setBigInt(22n);
 * reconnect.messageSeq = 7; // received so far
 * const from = newRegion(128);
 * const end = writeSessionReconnect(from, 0, reconnect);
 * const read = new SessionReconnect();
 * assert.equal(readSessionReconnect(from, 0, end, read), end);
 * assert.equal(read.serverCookie.toBigInt(), 22n);
 * assert.equal(read.messageSeq, 7);
 * ```
 */
export function readSessionReconnect(
  from: Region,
  at: number,
  end: number,
  into: SessionReconnect,
): number {
  const tailAt = readEntityAddrVec(from, at, end, into.addrs);
  if (tailAt < 0) return tailAt;
  if (end - tailAt < TAIL_SIZE) {
    const left = end - tailAt;
    return fail(
      Fault.Field,
      "RECONNECT client_cookie to msg_seq length",
      tailAt,
      left,
      "40 or more",
    );
  }
  const globalSeq = readCounter(from, tailAt + GLOBAL_SEQ, "RECONNECT global_seq");
  if (globalSeq < 0) return globalSeq;
  const connectSeq = readCounter(from, tailAt + CONNECT_SEQ, "RECONNECT connect_seq");
  if (connectSeq < 0) return connectSeq;
  const messageSeq = readCounter(from, tailAt + MESSAGE_SEQ, "RECONNECT msg_seq");
  if (messageSeq < 0) return messageSeq;
  into.clientCookie.read(from, tailAt + CLIENT_COOKIE);
  into.serverCookie.read(from, tailAt + SERVER_COOKIE);
  into.globalSeq = globalSeq;
  into.connectSeq = connectSeq;
  into.messageSeq = messageSeq;
  return tailAt + TAIL_SIZE;
}

/**
 * Writes a RESET_SESSION payload; returns the offset after it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   newRegion,
 *   SESSION_RESET_SIZE,
 *   SessionReset,
 *   writeSessionReset,
 * } from "@fairlead/fairlead";
 *
 * const reset = new SessionReset();
 * reset.full = true;
 * const out = newRegion(SESSION_RESET_SIZE);
 * assert.equal(writeSessionReset(out, 0, reset), 1);
 * assert.equal(out.bytes[0], 1);
 * ```
 */
export function writeSessionReset(out: Region, at: number, reset: SessionReset): number {
  out.view.setUint8(at, reset.full ? 1 : 0);
  return at + SESSION_RESET_SIZE;
}

/**
 * Reads a RESET_SESSION payload; returns the offset after it, or a negated {@linkcode Fault}.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { readSessionReset, regionOf, SessionReset } from "@fairlead/fairlead";
 *
 * const reset = new SessionReset();
 * assert.equal(readSessionReset(regionOf(Uint8Array.of(1)), 0, 1, reset), 1);
 * assert.equal(reset.full, true);
 * ```
 */
export function readSessionReset(
  from: Region,
  at: number,
  end: number,
  into: SessionReset,
): number {
  if (end - at < SESSION_RESET_SIZE) {
    return fail(Fault.Field, "RESET_SESSION length", at, end - at, "1 or more");
  }
  into.full = from.view.getUint8(at) !== 0;
  return at + SESSION_RESET_SIZE;
}

/**
 * Writes a RECONNECT_RETRY_SESSION payload; returns the offset after it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   newRegion,
 *   SESSION_RETRY_SIZE,
 *   SessionRetry,
 *   writeSessionRetry,
 * } from "@fairlead/fairlead";
 *
 * const retry = new SessionRetry();
 * retry.connectSeq = 3;
 * const out = newRegion(SESSION_RETRY_SIZE);
 * assert.equal(writeSessionRetry(out, 0, retry), 8);
 * assert.equal(out.bytes.toHex(), "0300000000000000");
 * ```
 */
export function writeSessionRetry(out: Region, at: number, retry: SessionRetry): number {
  return writeCounter(out, at, retry.connectSeq);
}

/**
 * Reads a RECONNECT_RETRY_SESSION payload; returns the offset after it, or a negated fault.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { readSessionRetry, regionOf, SessionRetry } from "@fairlead/fairlead";
 *
 * const retry = new SessionRetry();
 * assert.equal(readSessionRetry(regionOf(Uint8Array.fromHex("0300000000000000")), 0, 8, retry), 8);
 * assert.equal(retry.connectSeq, 3);
 * ```
 */
export function readSessionRetry(
  from: Region,
  at: number,
  end: number,
  into: SessionRetry,
): number {
  if (end - at < SESSION_RETRY_SIZE) {
    return fail(Fault.Field, "RECONNECT_RETRY_SESSION length", at, end - at, "8 or more");
  }
  const connectSeq = readCounter(from, at, "RECONNECT_RETRY_SESSION connect_seq");
  if (connectSeq < 0) return connectSeq;
  into.connectSeq = connectSeq;
  return at + SESSION_RETRY_SIZE;
}

/**
 * Writes a RECONNECT_RETRY_GLOBAL payload; returns the offset after it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   newRegion,
 *   SESSION_RETRY_GLOBAL_SIZE,
 *   SessionRetryGlobal,
 *   writeSessionRetryGlobal,
 * } from "@fairlead/fairlead";
 *
 * const retry = new SessionRetryGlobal();
 * retry.globalSeq = 12;
 * const out = newRegion(SESSION_RETRY_GLOBAL_SIZE);
 * assert.equal(writeSessionRetryGlobal(out, 0, retry), 8);
 * assert.equal(out.bytes.toHex(), "0c00000000000000");
 * ```
 */
export function writeSessionRetryGlobal(
  out: Region,
  at: number,
  retry: SessionRetryGlobal,
): number {
  return writeCounter(out, at, retry.globalSeq);
}

/**
 * Reads a RECONNECT_RETRY_GLOBAL payload; returns the offset after it, or a negated fault.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { readSessionRetryGlobal, regionOf, SessionRetryGlobal } from "@fairlead/fairlead";
 *
 * const from = regionOf(Uint8Array.fromHex("0c00000000000000"));
 * const retry = new SessionRetryGlobal();
 * assert.equal(readSessionRetryGlobal(from, 0, 8, retry), 8);
 * assert.equal(retry.globalSeq, 12);
 * ```
 */
export function readSessionRetryGlobal(
  from: Region,
  at: number,
  end: number,
  into: SessionRetryGlobal,
): number {
  if (end - at < SESSION_RETRY_GLOBAL_SIZE) {
    return fail(Fault.Field, "RECONNECT_RETRY_GLOBAL length", at, end - at, "8 or more");
  }
  const globalSeq = readCounter(from, at, "RECONNECT_RETRY_GLOBAL global_seq");
  if (globalSeq < 0) return globalSeq;
  into.globalSeq = globalSeq;
  return at + SESSION_RETRY_GLOBAL_SIZE;
}

/**
 * Writes a RECONNECT_OK payload; returns the offset after it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   newRegion,
 *   SESSION_RECONNECT_OK_SIZE,
 *   SessionReconnectOk,
 *   writeSessionReconnectOk,
 * } from "@fairlead/fairlead";
 *
 * const ok = new SessionReconnectOk();
 * ok.messageSeq = 41;
 * const out = newRegion(SESSION_RECONNECT_OK_SIZE);
 * assert.equal(writeSessionReconnectOk(out, 0, ok), 8);
 * assert.equal(out.bytes.toHex(), "2900000000000000");
 * ```
 */
export function writeSessionReconnectOk(
  out: Region,
  at: number,
  ok: SessionReconnectOk,
): number {
  return writeCounter(out, at, ok.messageSeq);
}

/**
 * Reads a RECONNECT_OK payload; returns the offset after it, or a negated {@linkcode Fault}.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { readSessionReconnectOk, regionOf, SessionReconnectOk } from "@fairlead/fairlead";
 *
 * const from = regionOf(Uint8Array.fromHex("2900000000000000"));
 * const ok = new SessionReconnectOk();
 * assert.equal(readSessionReconnectOk(from, 0, 8, ok), 8);
 * assert.equal(ok.messageSeq, 41);
 * ```
 */
export function readSessionReconnectOk(
  from: Region,
  at: number,
  end: number,
  into: SessionReconnectOk,
): number {
  if (end - at < SESSION_RECONNECT_OK_SIZE) {
    return fail(Fault.Field, "RECONNECT_OK length", at, end - at, "8 or more");
  }
  const messageSeq = readCounter(from, at, "RECONNECT_OK msg_seq");
  if (messageSeq < 0) return messageSeq;
  into.messageSeq = messageSeq;
  return at + SESSION_RECONNECT_OK_SIZE;
}
