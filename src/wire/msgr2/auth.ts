/**
 * The AUTH frames: msgr2 "Authentication". Real Ceph differs from the document in two points that
 * are obeyed here: the method specific payload of AUTH_REQUEST and AUTH_DONE has a __le32 length
 * in front, like that of the MORE frames; and AUTH_SIGNATURE, 32 bytes without a length, follows
 * AUTH_DONE each way, of which the document says nothing.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import { AUTH_LIST_MAX } from "../../mem/limits.ts";
import type { Region } from "../../mem/region.ts";
import { U64 } from "../../mem/u64.ts";
import { listBytes, readList, writeList } from "./list.ts";

/**
 * CEPH_AUTH_*: how an entity proves who it is.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { AuthMethod, authMethodName } from "@fairlead/fairlead";
 *
 * assert.equal(authMethodName(AuthMethod.Cephx), "cephx");
 * ```
 */
export const AuthMethod = { None: 1, Cephx: 2, Gss: 4 } as const;

/**
 * CEPH_CON_MODE_*: what protects the frames after authentication.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { ConMode, conModeName } from "@fairlead/fairlead";
 *
 * assert.equal(conModeName(ConMode.Secure), "secure");
 * ```
 */
export const ConMode = { Crc: 1, Secure: 2 } as const;

/**
 * Bytes of an AUTH_SIGNATURE payload: HMAC-SHA-256, or zeros when there is no session key.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { AUTH_SIGNATURE_SIZE, NodeCrypto } from "@fairlead/fairlead";
 *
 * const signature = new NodeCrypto().hmacSha256(new Uint8Array(16), new Uint8Array(0));
 * assert.equal(signature.length, AUTH_SIGNATURE_SIZE);
 * ```
 */
export const AUTH_SIGNATURE_SIZE = 32;

const METHOD_NAMES: Record<number, string> = {
  [AuthMethod.None]: "none",
  [AuthMethod.Cephx]: "cephx",
  [AuthMethod.Gss]: "gss",
};

const MODE_NAMES: Record<number, string> = {
  [ConMode.Crc]: "crc",
  [ConMode.Secure]: "secure",
};

/**
 * `none`, `cephx`, `gss`; `method 9` when unknown.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { AuthMethod, authMethodName } from "@fairlead/fairlead";
 *
 * assert.equal(authMethodName(AuthMethod.None), "none");
 * assert.equal(authMethodName(9), "method 9");
 * ```
 */
export function authMethodName(method: number): string {
  return METHOD_NAMES[method] ?? `method ${method}`;
}

/**
 * `crc`, `secure`; `mode 9` when unknown.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { ConMode, conModeName } from "@fairlead/fairlead";
 *
 * assert.equal(conModeName(ConMode.Crc), "crc");
 * assert.equal(conModeName(9), "mode 9");
 * ```
 */
export function conModeName(mode: number): string {
  return MODE_NAMES[mode] ?? `mode ${mode}`;
}

/** A frame with a method specific payload. */
export interface AuthPayload {
  /** After a read: where the payload lies. */
  payloadAt: number;
  /** After a read: its length. */
  payloadBytes: number;
  /** For a write: the payload. */
  payload: Uint8Array;
}

const NO_PAYLOAD = new Uint8Array(0);

/**
 * AUTH_REQUEST, from the client: a method, the connection modes it would take, and the payload of
 * the method. msgr2 "Authentication".
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { AuthMethod, AuthRequest, authRequestBytes, ConMode } from "@fairlead/fairlead";
 *
 * const request = new AuthRequest();
 * request.method = AuthMethod.Cephx;
 * request.modeCount = 1;
 * request.modes[0] = ConMode.Secure;
 * request.payload = Uint8Array.of(1, 2, 3);
 * assert.equal(authRequestBytes(request), 19);
 * ```
 */
export class AuthRequest implements AuthPayload {
  /** One of {@linkcode AuthMethod}. */
  method = 0;
  /** How many of `modes` are in use. */
  modeCount = 0;
  /** Preferred connection modes, best first. */
  readonly modes: Int32Array = new Int32Array(AUTH_LIST_MAX);
  payloadAt = 0;
  payloadBytes = 0;
  payload: Uint8Array = NO_PAYLOAD;
}

/**
 * AUTH_BAD_METHOD, from the server: the method, or its proof, was refused; and what would be
 * allowed. msgr2 "Authentication".
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { AuthBadMethod, authBadMethodBytes, AuthMethod } from "@fairlead/fairlead";
 *
 * const bad = new AuthBadMethod();
 * bad.method = AuthMethod.None;
 * bad.result = -95; // EOPNOTSUPP
 * bad.methodCount = 1;
 * bad.methods[0] = AuthMethod.Cephx;
 * assert.equal(authBadMethodBytes(bad), 20);
 * ```
 */
export class AuthBadMethod {
  /** The method that was refused. */
  method = 0;
  /** A negative errno. */
  result = 0;
  /** How many of `methods` are in use. */
  methodCount = 0;
  /** Methods that would be allowed. */
  readonly methods: Int32Array = new Int32Array(AUTH_LIST_MAX);
  /** How many of `modes` are in use. */
  modeCount = 0;
  /** Connection modes that would be allowed. */
  readonly modes: Int32Array = new Int32Array(AUTH_LIST_MAX);
}

/**
 * AUTH_REPLY_MORE from the server and AUTH_REQUEST_MORE, the answer: a further round of the
 * method. msgr2 "Authentication".
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { AuthMore, authMoreBytes } from "@fairlead/fairlead";
 *
 * const more = new AuthMore();
 * more.payload = Uint8Array.of(1, 2, 3);
 * assert.equal(authMoreBytes(more), 7);
 * ```
 */
export class AuthMore implements AuthPayload {
  payloadAt = 0;
  payloadBytes = 0;
  payload: Uint8Array = NO_PAYLOAD;
}

/**
 * AUTH_DONE, from the server: the client has proved its name, and this mode protects the frames
 * from here on. msgr2 "Authentication".
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { AuthDone, authDoneBytes, ConMode } from "@fairlead/fairlead";
 *
 * const done = new AuthDone();
 * done.globalId.setBigInt(4107n);
 * done.mode = ConMode.Crc;
 * assert.equal(authDoneBytes(done), 16);
 * ```
 */
export class AuthDone implements AuthPayload {
  /** Given to the client by the monitor. */
  readonly globalId: U64 = new U64();
  /** The connection mode from here on, one of {@linkcode ConMode}. */
  mode = 0;
  payloadAt = 0;
  payloadBytes = 0;
  payload: Uint8Array = NO_PAYLOAD;
}

/**
 * A copy of the payload that a read has located in `from`.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   AuthMore,
 *   copyPayload,
 *   newRegion,
 *   readAuthMore,
 *   writeAuthMore,
 * } from "@fairlead/fairlead";
 *
 * const from = newRegion(16);
 * const sent = new AuthMore();
 * sent.payload = Uint8Array.of(1, 2, 3);
 * const read = new AuthMore();
 * readAuthMore(from, 0, writeAuthMore(from, 0, sent), read);
 * assert.deepEqual(copyPayload(from, read), Uint8Array.of(1, 2, 3));
 * ```
 */
export function copyPayload(from: Region, located: AuthPayload): Uint8Array<ArrayBuffer> {
  return from.bytes.slice(located.payloadAt, located.payloadAt + located.payloadBytes);
}

/**
 * Bytes that {@linkcode writeAuthRequest} writes.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { AuthRequest, authRequestBytes } from "@fairlead/fairlead";
 *
 * const request = new AuthRequest();
 * assert.equal(authRequestBytes(request), 12);
 * request.modeCount = 2;
 * assert.equal(authRequestBytes(request), 20);
 * ```
 */
export function authRequestBytes(request: AuthRequest): number {
  return 4 + listBytes(request.modeCount) + 4 + request.payload.length;
}

/**
 * Writes an AUTH_REQUEST payload; returns the offset after it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   AuthMethod,
 *   AuthRequest,
 *   authRequestBytes,
 *   ConMode,
 *   newRegion,
 *   writeAuthRequest,
 * } from "@fairlead/fairlead";
 *
 * const request = new AuthRequest();
 * request.method = AuthMethod.Cephx;
 * request.modeCount = 1;
 * request.modes[0] = ConMode.Secure;
 * request.payload = Uint8Array.of(1, 2, 3);
 * const out = newRegion(authRequestBytes(request));
 * assert.equal(writeAuthRequest(out, 0, request), out.bytes.length);
 * ```
 */
export function writeAuthRequest(out: Region, at: number, request: AuthRequest): number {
  out.view.setUint32(at, request.method, true);
  const next = writeList(out, at + 4, request.modes, request.modeCount);
  return writePayload(out, next, request.payload);
}

/**
 * Reads an AUTH_REQUEST payload; returns the offset after it, or a negated fault.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   AuthMethod,
 *   AuthRequest,
 *   ConMode,
 *   copyPayload,
 *   newRegion,
 *   readAuthRequest,
 *   writeAuthRequest,
 * } from "@fairlead/fairlead";
 *
 * const request = new AuthRequest();
 * request.method = AuthMethod.Cephx;
 * request.modeCount = 1;
 * request.modes[0] = ConMode.Secure;
 * request.payload = Uint8Array.of(1, 2, 3);
 * const from = newRegion(64);
 * const end = writeAuthRequest(from, 0, request);
 * const read = new AuthRequest();
 * assert.equal(readAuthRequest(from, 0, end, read), end);
 * assert.equal(read.modes[0], ConMode.Secure);
 * assert.deepEqual(copyPayload(from, read), Uint8Array.of(1, 2, 3));
 * ```
 */
export function readAuthRequest(from: Region, at: number, end: number, into: AuthRequest): number {
  if (end - at < 4) return fail(Fault.Field, "AUTH_REQUEST length", at, end - at, "4 or more");
  const modes = readList(from, at + 4, end, "AUTH_REQUEST num_preferred_modes", into.modes);
  if (modes < 0) return modes;
  const next = at + 4 + listBytes(modes);
  into.method = from.view.getUint32(at, true);
  into.modeCount = modes;
  return readPayload(from, next, end, "AUTH_REQUEST payload length", into);
}

/**
 * Bytes that {@linkcode writeAuthBadMethod} writes.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { AuthBadMethod, authBadMethodBytes } from "@fairlead/fairlead";
 *
 * assert.equal(authBadMethodBytes(new AuthBadMethod()), 16);
 * ```
 */
export function authBadMethodBytes(bad: AuthBadMethod): number {
  return 8 + listBytes(bad.methodCount) + listBytes(bad.modeCount);
}

/**
 * Writes an AUTH_BAD_METHOD payload; returns the offset after it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   AuthBadMethod,
 *   authBadMethodBytes,
 *   AuthMethod,
 *   newRegion,
 *   writeAuthBadMethod,
 * } from "@fairlead/fairlead";
 *
 * const bad = new AuthBadMethod();
 * bad.method = AuthMethod.None;
 * bad.result = -95; // EOPNOTSUPP
 * bad.methodCount = 1;
 * bad.methods[0] = AuthMethod.Cephx;
 * const out = newRegion(authBadMethodBytes(bad));
 * assert.equal(writeAuthBadMethod(out, 0, bad), out.bytes.length);
 * assert.equal(out.view.getInt32(4, true), -95);
 * ```
 */
export function writeAuthBadMethod(out: Region, at: number, bad: AuthBadMethod): number {
  out.view.setUint32(at, bad.method, true);
  out.view.setInt32(at + 4, bad.result, true);
  const next = writeList(out, at + 8, bad.methods, bad.methodCount);
  return writeList(out, next, bad.modes, bad.modeCount);
}

/**
 * Reads an AUTH_BAD_METHOD payload; returns the offset after it, or a negated fault.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   AuthBadMethod,
 *   AuthMethod,
 *   newRegion,
 *   readAuthBadMethod,
 *   writeAuthBadMethod,
 * } from "@fairlead/fairlead";
 *
 * const bad = new AuthBadMethod();
 * bad.method = AuthMethod.None;
 * bad.result = -95; // EOPNOTSUPP
 * bad.methodCount = 1;
 * bad.methods[0] = AuthMethod.Cephx;
 * const from = newRegion(64);
 * const end = writeAuthBadMethod(from, 0, bad);
 * const read = new AuthBadMethod();
 * assert.equal(readAuthBadMethod(from, 0, end, read), end);
 * assert.deepEqual([...read.methods.subarray(0, read.methodCount)], [AuthMethod.Cephx]);
 * ```
 */
export function readAuthBadMethod(
  from: Region,
  at: number,
  end: number,
  into: AuthBadMethod,
): number {
  if (end - at < 8) return fail(Fault.Field, "AUTH_BAD_METHOD length", at, end - at, "8 or more");
  const methods = readList(from, at + 8, end, "AUTH_BAD_METHOD num_methods", into.methods);
  if (methods < 0) return methods;
  const modesAt = at + 8 + listBytes(methods);
  const modes = readList(from, modesAt, end, "AUTH_BAD_METHOD num_modes", into.modes);
  if (modes < 0) return modes;
  into.method = from.view.getUint32(at, true);
  into.result = from.view.getInt32(at + 4, true);
  into.methodCount = methods;
  into.modeCount = modes;
  return modesAt + listBytes(modes);
}

/**
 * Bytes that {@linkcode writeAuthMore} writes.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { AuthMore, authMoreBytes } from "@fairlead/fairlead";
 *
 * assert.equal(authMoreBytes(new AuthMore()), 4);
 * ```
 */
export function authMoreBytes(more: AuthMore): number {
  return 4 + more.payload.length;
}

/**
 * Writes an AUTH_REPLY_MORE or AUTH_REQUEST_MORE payload; returns the offset after it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { AuthMore, authMoreBytes, newRegion, writeAuthMore } from "@fairlead/fairlead";
 *
 * const more = new AuthMore();
 * more.payload = Uint8Array.of(1, 2, 3);
 * const out = newRegion(authMoreBytes(more));
 * assert.equal(writeAuthMore(out, 0, more), 7);
 * assert.equal(out.bytes.toHex(), "03000000010203");
 * ```
 */
export function writeAuthMore(out: Region, at: number, more: AuthMore): number {
  return writePayload(out, at, more.payload);
}

/**
 * Reads an AUTH_REPLY_MORE or AUTH_REQUEST_MORE payload; the offset after it, or a negated fault.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { AuthMore, newRegion, readAuthMore, writeAuthMore } from "@fairlead/fairlead";
 *
 * const more = new AuthMore();
 * more.payload = Uint8Array.of(1, 2, 3);
 * const from = newRegion(16);
 * const end = writeAuthMore(from, 0, more);
 * const read = new AuthMore();
 * assert.equal(readAuthMore(from, 0, end, read), end);
 * assert.equal(read.payloadBytes, 3); // from read.payloadAt on: nothing was copied
 * ```
 */
export function readAuthMore(from: Region, at: number, end: number, into: AuthMore): number {
  return readPayload(from, at, end, "AUTH_MORE len", into);
}

/**
 * Bytes that {@linkcode writeAuthDone} writes.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { AuthDone, authDoneBytes } from "@fairlead/fairlead";
 *
 * assert.equal(authDoneBytes(new AuthDone()), 16);
 * ```
 */
export function authDoneBytes(done: AuthDone): number {
  return 16 + done.payload.length;
}

/**
 * Writes an AUTH_DONE payload; returns the offset after it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { AuthDone, authDoneBytes, ConMode, newRegion, writeAuthDone } from "@fairlead/fairlead";
 *
 * const done = new AuthDone();
 * done.globalId.setBigInt(4107n);
 * done.mode = ConMode.Crc;
 * const out = newRegion(authDoneBytes(done));
 * assert.equal(writeAuthDone(out, 0, done), 16);
 * assert.equal(out.bytes.toHex(), "0b100000000000000100000000000000");
 * ```
 */
export function writeAuthDone(out: Region, at: number, done: AuthDone): number {
  const next = done.globalId.write(out, at);
  out.view.setUint32(next, done.mode, true);
  return writePayload(out, next + 4, done.payload);
}

/**
 * Reads an AUTH_DONE payload; returns the offset after it, or a negated fault.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { AuthDone, ConMode, newRegion, readAuthDone, writeAuthDone } from "@fairlead/fairlead";
 *
 * const done = new AuthDone();
 * done.globalId.setBigInt(4107n);
 * done.mode = ConMode.Crc;
 * const from = newRegion(16);
 * const read = new AuthDone();
 * assert.equal(readAuthDone(from, 0, writeAuthDone(from, 0, done), read), 16);
 * assert.equal(read.globalId.toBigInt(), 4107n);
 * ```
 */
export function readAuthDone(from: Region, at: number, end: number, into: AuthDone): number {
  if (end - at < 12) return fail(Fault.Field, "AUTH_DONE length", at, end - at, "12 or more");
  into.globalId.read(from, at);
  into.mode = from.view.getUint32(at + 8, true);
  return readPayload(from, at + 12, end, "AUTH_DONE payload length", into);
}

function writePayload(out: Region, at: number, payload: Uint8Array): number {
  out.view.setUint32(at, payload.length, true);
  out.bytes.set(payload, at + 4);
  return at + 4 + payload.length;
}

function readPayload(
  from: Region,
  at: number,
  end: number,
  field: string,
  into: AuthPayload,
): number {
  if (end - at < 4) return fail(Fault.Field, field, at, end - at, "4 bytes or more");
  const length = from.view.getUint32(at, true);
  if (length > end - at - 4) return fail(Fault.Field, field, at, length, "within the segment");
  into.payloadAt = at + 4;
  into.payloadBytes = length;
  return at + 4 + length;
}
