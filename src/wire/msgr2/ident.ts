/**
 * CLIENT_IDENT, SERVER_IDENT and IDENT_MISSING_FEATURES: msgr2 "Message flow handshake". Where
 * the document has "num_addrs" and a list, real Ceph has one entity_addrvec_t.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { readCounter, U64, writeCounter } from "../../mem/u64.ts";
import { EntityAddr, entityAddrBytes, readEntityAddr, writeEntityAddr } from "./entity_addr.ts";
import {
  EntityAddrVec,
  entityAddrVecBytes,
  readEntityAddrVec,
  writeEntityAddrVec,
} from "./entity_addrvec.ts";

/**
 * CEPH_MSG_CONNECT_LOSSY, low half of `flags`: the session ends with its connection.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { ClientIdent, CONNECT_LOSSY } from "@fairlead/fairlead";
 *
 * const ident = new ClientIdent();
 * ident.flags.set(CONNECT_LOSSY, 0);
 * assert.equal(`${ident.flags}`, "0x1");
 * ```
 */
export const CONNECT_LOSSY = 1;

// The six fields after the addresses
const GID = 0;
const GLOBAL_SEQ = 8;
const SUPPORTED = 16;
const REQUIRED = 24;
const FLAGS = 32;
const COOKIE = 40;
const TAIL_SIZE = 48;

/**
 * Bytes of an IDENT_MISSING_FEATURES payload.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   IDENT_MISSING_FEATURES_SIZE,
 *   IdentMissingFeatures,
 *   newRegion,
 *   writeIdentMissingFeatures,
 * } from "@fairlead/fairlead";
 *
 * const out = newRegion(IDENT_MISSING_FEATURES_SIZE);
 * assert.equal(writeIdentMissingFeatures(out, 0, new IdentMissingFeatures()), 8);
 * ```
 */
export const IDENT_MISSING_FEATURES_SIZE = 8;

/**
 * SERVER_IDENT, the answer to CLIENT_IDENT: a new session stands. msgr2 "Message flow handshake".
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { parseAddrVec, ServerIdent, serverIdentBytes } from "@fairlead/fairlead";
 *
 * const ident = new ServerIdent();
 * ident.addrs.copy(parseAddrVec("v2:10.0.0.1:3300"));
 * ident.cookie.setBigInt(77n);
 * assert.equal(serverIdentBytes(ident), 88);
 * ```
 */
export class ServerIdent {
  /** Where the sender can be reached. */
  readonly addrs: EntityAddrVec = new EntityAddrVec();
  /** The number in osd.0 or of a client; 2^64 - 1 for a client that has none yet. */
  readonly gid: U64 = new U64();
  /** Counts the connection attempts of the sender. */
  globalSeq = 0;
  /** CEPH_FEATURE_* bits the sender has. */
  readonly supported: U64 = new U64();
  /** CEPH_FEATURE_* bits the sender insists on. */
  readonly required: U64 = new U64();
  /** CEPH_MSG_CONNECT_* bits. */
  readonly flags: U64 = new U64();
  /** Names the session at the sender; 0 when lossy. */
  readonly cookie: U64 = new U64();
}

/**
 * CLIENT_IDENT, which asks for a new session: the fields of SERVER_IDENT, and whom the client
 * wants to reach. msgr2 "Message flow handshake".
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { ClientIdent, clientIdentBytes, EntityAddr, parseAddrVec } from "@fairlead/fairlead";
 *
 * const ident = new ClientIdent();
 * ident.addrs.copy(parseAddrVec("any:10.0.0.7:0/99"));
 * ident.target.copy(EntityAddr.parse("v2:10.0.0.1:3300"));
 * ident.gid.setBigInt(4107n);
 * ident.globalSeq = 1;
 * assert.equal(clientIdentBytes(ident), 123);
 * ```
 */
export class ClientIdent extends ServerIdent {
  /** The server closes when this is not exactly one of its addresses. */
  readonly target: EntityAddr = new EntityAddr();
}

/**
 * IDENT_MISSING_FEATURES: the server refuses a CLIENT_IDENT that lacks feature bits.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   featureNames,
 *   FEATURES_REQUIRED,
 *   IdentMissingFeatures,
 *   missingFeatures,
 *   U64,
 * } from "@fairlead/fairlead";
 *
 * const missing = new IdentMissingFeatures();
 * missingFeatures(FEATURES_REQUIRED, new U64(), missing.features);
 * assert.deepEqual(featureNames(missing.features), ["MSG_ADDR2"]);
 * ```
 */
export class IdentMissingFeatures {
  /** CEPH_FEATURE_* bits that the server insists on and the client lacks. */
  readonly features: U64 = new U64();
}

/**
 * Bytes that {@linkcode writeClientIdent} writes.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { ClientIdent, clientIdentBytes } from "@fairlead/fairlead";
 *
 * assert.equal(clientIdentBytes(new ClientIdent()), 72); // no address, a blank target
 * ```
 */
export function clientIdentBytes(ident: ClientIdent): number {
  return entityAddrVecBytes(ident.addrs) + entityAddrBytes(ident.target) + TAIL_SIZE;
}

/**
 * Writes a CLIENT_IDENT payload; returns the offset after it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   ClientIdent,
 *   clientIdentBytes,
 *   EntityAddr,
 *   newRegion,
 *   parseAddrVec,
 *   writeClientIdent,
 * } from "@fairlead/fairlead";
 *
 * const ident = new ClientIdent();
 * ident.addrs.copy(parseAddrVec("any:10.0.0.7:0/99"));
 * ident.target.copy(EntityAddr.parse("v2:10.0.0.1:3300"));
 * ident.gid.setBigInt(4107n);
 * ident.globalSeq = 1;
 * const out = newRegion(clientIdentBytes(ident));
 * assert.equal(writeClientIdent(out, 0, ident), out.bytes.length);
 * ```
 */
export function writeClientIdent(out: Region, at: number, ident: ClientIdent): number {
  const targetAt = writeEntityAddrVec(out, at, ident.addrs);
  return writeTail(out, writeEntityAddr(out, targetAt, ident.target), ident);
}

/**
 * Reads a CLIENT_IDENT payload; returns the offset after it, or a negated fault.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   ClientIdent,
 *   EntityAddr,
 *   Fault,
 *   newRegion,
 *   parseAddrVec,
 *   readClientIdent,
 *   writeClientIdent,
 * } from "@fairlead/fairlead";
 *
 * const ident = new ClientIdent();
 * ident.addrs.copy(parseAddrVec("any:10.0.0.7:0/99"));
 * ident.target.copy(EntityAddr.parse("v2:10.0.0.1:3300"));
 * ident.gid.setBigInt(4107n);
 * ident.globalSeq = 1;
 * const from = newRegion(256);
 * const end = writeClientIdent(from, 0, ident);
 * const read = new ClientIdent();
 * assert.equal(readClientIdent(from, 0, end, read), end);
 * assert.equal(`${read.target}`, "v2:10.0.0.1:3300/0");
 * assert.equal(readClientIdent(from, 0, end - 1, read), -Fault.Field);
 * ```
 */
export function readClientIdent(from: Region, at: number, end: number, into: ClientIdent): number {
  const targetAt = readEntityAddrVec(from, at, end, into.addrs);
  if (targetAt < 0) return targetAt;
  const tailAt = readEntityAddr(from, targetAt, end, into.target);
  if (tailAt < 0) return tailAt;
  if (end - tailAt < TAIL_SIZE) {
    return fail(
      Fault.Field,
      "CLIENT_IDENT gid to cookie length",
      tailAt,
      end - tailAt,
      "48 or more",
    );
  }
  return readTail(from, tailAt, "CLIENT_IDENT global_seq", into);
}

/**
 * Bytes that {@linkcode writeServerIdent} writes.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { ServerIdent, serverIdentBytes } from "@fairlead/fairlead";
 *
 * assert.equal(serverIdentBytes(new ServerIdent()), 53); // without an address
 * ```
 */
export function serverIdentBytes(ident: ServerIdent): number {
  return entityAddrVecBytes(ident.addrs) + TAIL_SIZE;
}

/**
 * Writes a SERVER_IDENT payload; returns the offset after it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   newRegion,
 *   parseAddrVec,
 *   ServerIdent,
 *   serverIdentBytes,
 *   writeServerIdent,
 * } from "@fairlead/fairlead";
 *
 * const ident = new ServerIdent();
 * ident.addrs.copy(parseAddrVec("v2:10.0.0.1:3300"));
 * ident.cookie.setBigInt(77n);
 * const out = newRegion(serverIdentBytes(ident));
 * assert.equal(writeServerIdent(out, 0, ident), out.bytes.length);
 * ```
 */
export function writeServerIdent(out: Region, at: number, ident: ServerIdent): number {
  return writeTail(out, writeEntityAddrVec(out, at, ident.addrs), ident);
}

/**
 * Reads a SERVER_IDENT payload; returns the offset after it, or a negated fault.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   newRegion,
 *   parseAddrVec,
 *   readServerIdent,
 *   ServerIdent,
 *   writeServerIdent,
 * } from "@fairlead/fairlead";
 *
 * const ident = new ServerIdent();
 * ident.addrs.copy(parseAddrVec("v2:10.0.0.1:3300"));
 * ident.cookie.setBigInt(77n);
 * const from = newRegion(128);
 * const end = writeServerIdent(from, 0, ident);
 * const read = new ServerIdent();
 * assert.equal(readServerIdent(from, 0, end, read), end);
 * assert.equal(read.cookie.toBigInt(), 77n);
 * ```
 */
export function readServerIdent(from: Region, at: number, end: number, into: ServerIdent): number {
  const tailAt = readEntityAddrVec(from, at, end, into.addrs);
  if (tailAt < 0) return tailAt;
  if (end - tailAt < TAIL_SIZE) {
    return fail(
      Fault.Field,
      "SERVER_IDENT gid to cookie length",
      tailAt,
      end - tailAt,
      "48 or more",
    );
  }
  return readTail(from, tailAt, "SERVER_IDENT global_seq", into);
}

/**
 * Writes an IDENT_MISSING_FEATURES payload; returns the offset after it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   IDENT_MISSING_FEATURES_SIZE,
 *   IdentMissingFeatures,
 *   newRegion,
 *   writeIdentMissingFeatures,
 * } from "@fairlead/fairlead";
 *
 * const missing = new IdentMissingFeatures();
 * missing.features.setBigInt(1n << 59n);
 * const out = newRegion(IDENT_MISSING_FEATURES_SIZE);
 * assert.equal(writeIdentMissingFeatures(out, 0, missing), 8);
 * assert.equal(out.bytes.toHex(), "0000000000000008");
 * ```
 */
export function writeIdentMissingFeatures(
  out: Region,
  at: number,
  missing: IdentMissingFeatures,
): number {
  return missing.features.write(out, at);
}

/**
 * Reads an IDENT_MISSING_FEATURES payload; returns the offset after it, or a negated fault.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   featureNames,
 *   IdentMissingFeatures,
 *   readIdentMissingFeatures,
 *   regionOf,
 * } from "@fairlead/fairlead";
 *
 * const from = regionOf(Uint8Array.fromHex("0000000000000008"));
 * const missing = new IdentMissingFeatures();
 * assert.equal(readIdentMissingFeatures(from, 0, 8, missing), 8);
 * assert.deepEqual(featureNames(missing.features), ["MSG_ADDR2"]);
 * ```
 */
export function readIdentMissingFeatures(
  from: Region,
  at: number,
  end: number,
  into: IdentMissingFeatures,
): number {
  if (end - at < IDENT_MISSING_FEATURES_SIZE) {
    return fail(Fault.Field, "IDENT_MISSING_FEATURES length", at, end - at, "8 or more");
  }
  into.features.read(from, at);
  return at + IDENT_MISSING_FEATURES_SIZE;
}

function writeTail(out: Region, at: number, ident: ServerIdent): number {
  ident.gid.write(out, at + GID);
  writeCounter(out, at + GLOBAL_SEQ, ident.globalSeq);
  ident.supported.write(out, at + SUPPORTED);
  ident.required.write(out, at + REQUIRED);
  ident.flags.write(out, at + FLAGS);
  return ident.cookie.write(out, at + COOKIE);
}

function readTail(from: Region, at: number, globalSeqField: string, into: ServerIdent): number {
  const globalSeq = readCounter(from, at + GLOBAL_SEQ, globalSeqField);
  if (globalSeq < 0) return globalSeq;
  into.globalSeq = globalSeq;
  into.gid.read(from, at + GID);
  into.supported.read(from, at + SUPPORTED);
  into.required.read(from, at + REQUIRED);
  into.flags.read(from, at + FLAGS);
  into.cookie.read(from, at + COOKIE);
  return at + TAIL_SIZE;
}
