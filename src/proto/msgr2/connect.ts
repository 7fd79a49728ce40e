/**
 * The handshake as the side that connected sees it: msgr2 "Hello", "Authentication" and "Message
 * flow handshake", client to server. What real Ceph adds and the document leaves out:
 * AUTH_SIGNATURE follows AUTH_DONE in both directions, and COMPRESSION_REQUEST comes before the
 * ident when both banners carry its bit.
 *
 * @module
 */
import { arena } from "../../mem/arena.ts";
import { fail, Fault } from "../../mem/fault.ts";
import {
  AuthBadMethod,
  AuthDone,
  AuthMethod,
  authMethodName,
  AuthMore,
  AuthRequest,
  ConMode,
  conModeName,
  readAuthBadMethod,
  readAuthDone,
  readAuthMore,
  writeAuthMore,
  writeAuthRequest,
} from "../../wire/msgr2/auth.ts";
import {
  CompressionDone,
  CompressionRequest,
  readCompressionDone,
  writeCompressionRequest,
} from "../../wire/msgr2/compression.ts";
import type { EntityAddrVec } from "../../wire/msgr2/entity_addrvec.ts";
import { Hello, readHello } from "../../wire/msgr2/hello.ts";
import { missingFeatures } from "../../wire/msgr2/features.ts";
import {
  ClientIdent,
  CONNECT_LOSSY,
  IdentMissingFeatures,
  readIdentMissingFeatures,
  readServerIdent,
  ServerIdent,
  writeClientIdent,
} from "../../wire/msgr2/ident.ts";
import {
  readSessionReconnectOk,
  readSessionReset,
  readSessionRetry,
  readSessionRetryGlobal,
  SessionReconnect,
  SessionReconnectOk,
  SessionReset,
  SessionRetry,
  SessionRetryGlobal,
  writeSessionReconnect,
} from "../../wire/msgr2/session.ts";
import { Tag } from "../../wire/msgr2/tag.ts";
import { U64 } from "../../mem/u64.ts";
import { type Connection, CONNECTION_SECRET_SIZE, Phase, unexpected } from "./connection.ts";
import { compressionAgreed, fillGid } from "./peer.ts";
import type { Session } from "./session.ts";

/** -EACCES, the result of a refused authentication. */
const EACCES = -13;
/** AUTH_BAD_METHOD answers that one connection takes. */
const BAD_METHODS_MAX = 4;
/** What a peer may raise a counter of ours to: as many steps again are left below 2^53. */
const RAISED_MAX = 2 ** 52;

/**
 * Handles a frame of the handshake on a connection that this side opened; returns 0 or a negated
 * Fault.
 */
export function handleConnectFrame(
  connection: Connection,
  tag: number,
  at: number,
  end: number,
  nowMs: number,
): number {
  switch (connection.phase) {
    case Phase.Hello:
      if (tag === Tag.Hello) return handleHello(connection, at, end);
      break;
    case Phase.Auth:
      if (tag === Tag.AuthBadMethod) return handleBadMethod(connection, at, end, nowMs);
      if (tag === Tag.AuthReplyMore) return handleReplyMore(connection, at, end);
      if (tag === Tag.AuthDone) return handleDone(connection, at, end, nowMs);
      break;
    case Phase.AuthSign:
      if (tag === Tag.AuthSignature) return handleSignature(connection, at, end);
      break;
    case Phase.Compression:
      if (tag === Tag.CompressionDone) return handleCompressionDone(connection, at, end);
      break;
    case Phase.Ident:
      if (tag === Tag.ServerIdent) return handleServerIdent(connection, at, end, nowMs);
      if (tag === Tag.IdentMissingFeatures) return handleMissing(connection, at, end, nowMs);
      if (tag === Tag.Wait) return handleWait(connection, nowMs);
      break;
    case Phase.Reconnect:
      if (tag === Tag.SessionReconnectOk) return handleReconnectOk(connection, at, end, nowMs);
      if (tag === Tag.SessionReset) return handleReset(connection, at, end, nowMs);
      if (tag === Tag.SessionRetry) return handleRetry(connection, at, end);
      if (tag === Tag.SessionRetryGlobal) return handleRetryGlobal(connection, at, end);
      if (tag === Tag.Wait) return handleWait(connection, nowMs);
      break;
  }
  return unexpected(tag, connection.phaseName);
}

function handleHello(connection: Connection, at: number, end: number): number {
  const hello = new Hello();
  const next = readHello(arena, at, end, hello);
  if (next < 0) return next;
  connection.peerType = hello.entityType;
  connection.seenAs.copy(hello.peerAddr);
  connection.messenger.own.learn(hello.peerAddr);
  connection.phase = Phase.Auth;
  const { clientMethods } = connection.messenger.options.auth;
  for (const method of clientMethods) {
    if (requestAuth(connection, method)) return 0;
  }
  const text = clientMethods.map(authMethodName).join(", ") || "none configured";
  return fail(Fault.Auth, `AUTH_REQUEST method (${text})`, -1, 0, "one with credentials");
}

/** Sends AUTH_REQUEST for a method; false when there are no credentials for it. */
function requestAuth(connection: Connection, method: number): boolean {
  const { auth } = connection.messenger.options;
  const client = auth.client(method, connection.peerType);
  if (client === null) return false;
  const request = new AuthRequest();
  const modes = auth.clientModes.filter((mode) =>
    method !== AuthMethod.None || mode === ConMode.Crc
  );
  // Ceph knows no secure mode without a key; asking with an empty list says so in its answer.
  connection.authClient = client;
  connection.authMethod = method;
  request.method = method;
  request.modeCount = modes.length;
  modes.forEach((mode, index) => request.modes[index] = mode);
  request.payload = client.request();
  connection.endControl(
    Tag.AuthRequest,
    writeAuthRequest(arena, connection.beginControl(), request),
  );
  return true;
}

/** "reject client-selected auth method": try the next one that both sides have. */
function handleBadMethod(connection: Connection, at: number, end: number, nowMs: number): number {
  const bad = new AuthBadMethod();
  const next = readAuthBadMethod(arena, at, end, bad);
  if (next < 0) return next;
  connection.badMethods++;
  connection.allowedMethods = Array.from(bad.methods.subarray(0, bad.methodCount));
  connection.allowedModes = Array.from(bad.modes.subarray(0, bad.modeCount));
  const { clientMethods } = connection.messenger.options.auth;
  const tried = clientMethods.indexOf(bad.method);
  if (connection.badMethods <= BAD_METHODS_MAX && connection.authClient!.handleBad(bad.result)) {
    if (requestAuth(connection, bad.method)) return 0;
  }
  if (bad.result !== EACCES && connection.badMethods <= BAD_METHODS_MAX) {
    for (const method of clientMethods.slice(tried + 1)) {
      if (!connection.allowedMethods.includes(method)) continue;
      if (requestAuth(connection, method)) return 0;
    }
  }
  const methods = connection.allowedMethods.map(authMethodName).join(", ");
  const modes = connection.allowedModes.map(conModeName).join(", ");
  const text = bad.result === EACCES
    ? `Peer refused the credentials for ${authMethodName(bad.method)} (EACCES): check the name ` +
      "and the key in the keyring"
    : `Peer refused auth method ${authMethodName(bad.method)} (result ${bad.result}): it allows ` +
      `methods ${methods || "-"} with modes ${modes || "-"}`;
  connection.messenger.refuse(connection, "auth", text, nowMs);
  return 0;
}

function handleReplyMore(connection: Connection, at: number, end: number): number {
  const more = new AuthMore();
  const next = readAuthMore(arena, at, end, more);
  if (next < 0) return next;
  const payload = arena.bytes.slice(more.payloadAt, more.payloadAt + more.payloadBytes);
  const answer = connection.authClient!.handleMore(payload);
  if (answer === null) return -Fault.Auth;
  more.payload = answer;
  connection.endControl(Tag.AuthRequestMore, writeAuthMore(arena, connection.beginControl(), more));
  return 0;
}

function handleDone(connection: Connection, at: number, end: number, nowMs: number): number {
  const done = new AuthDone();
  const next = readAuthDone(arena, at, end, done);
  if (next < 0) return next;
  const client = connection.authClient!;
  const { clientModes } = connection.messenger.options.auth;
  if (!clientModes.includes(done.mode)) {
    const expected = clientModes.map(conModeName).join(" or ");
    return fail(Fault.Auth, "AUTH_DONE connection mode", at + 8, done.mode, expected);
  }
  const payload = arena.bytes.slice(done.payloadAt, done.payloadAt + done.payloadBytes);
  if (!client.handleDone(done.globalId, done.mode, payload)) return -Fault.Auth;
  connection.globalId.copy(done.globalId);
  connection.mode = done.mode;
  connection.phase = Phase.AuthSign;
  if (done.mode === ConMode.Secure) {
    const { length } = client.connectionSecret;
    if (length < CONNECTION_SECRET_SIZE) {
      const field = "AUTH_DONE connection_secret length";
      return fail(Fault.Auth, field, at, length, `${CONNECTION_SECRET_SIZE}`);
    }
    if (!connection.secure(client.connectionSecret)) {
      connection.close("memory", "The arena is full", nowMs);
      return 0;
    }
  }
  sendSignature(connection, client.sessionKey);
  return 0;
}

/** Sends AUTH_SIGNATURE over everything received up to here. */
export function sendSignature(connection: Connection, sessionKey: Uint8Array): void {
  const payloadAt = connection.beginControl();
  const signature = connection.transcript.sign(connection.messenger.options.crypto, sessionKey);
  arena.bytes.set(signature, payloadAt);
  connection.endControl(Tag.AuthSignature, payloadAt + signature.length);
}

/** Compares a received AUTH_SIGNATURE with the one over what was sent; 0 or a negated Fault. */
export function checkSignature(
  connection: Connection,
  sessionKey: Uint8Array,
  at: number,
  end: number,
): number {
  const expected = connection.transcript.expect(connection.messenger.options.crypto, sessionKey);
  let difference = (end - at) ^ expected.length;
  for (let index = 0; index < expected.length && at + index < end; index++) {
    difference |= arena.bytes[at + index]! ^ expected[index]!;
  }
  connection.transcript.clear();
  if (difference === 0) return 0;
  return fail(Fault.Auth, "AUTH_SIGNATURE", at, end - at, "the HMAC of the bytes we sent");
}

function handleSignature(connection: Connection, at: number, end: number): number {
  const fault = checkSignature(connection, connection.authClient!.sessionKey, at, end);
  if (fault < 0) return fault;
  if (compressionAgreed(connection)) {
    connection.phase = Phase.Compression;
    const request = new CompressionRequest(); // not enabled, no methods: "none"
    connection.endControl(
      Tag.CompressionRequest,
      writeCompressionRequest(arena, connection.beginControl(), request),
    );
    return 0;
  }
  return identify(connection);
}

function handleCompressionDone(connection: Connection, at: number, end: number): number {
  const done = new CompressionDone();
  const next = readCompressionDone(arena, at, end, done);
  if (next < 0) return next;
  if (done.enabled) {
    return fail(Fault.Field, "COMPRESSION_DONE is_compress", at, 1, "0, none was asked for");
  }
  return identify(connection);
}

/** Starts the message flow handshake: CLIENT_IDENT for a new session, else SESSION_RECONNECT. */
function identify(connection: Connection): number {
  const { messenger } = connection;
  const session = connection.session!;
  if (messenger.options.stopBeforeIdent) {
    messenger.handleSign("authenticated", connection);
    return 0;
  }
  if (session.serverCookie.isZero() || session.lossy) sendClientIdent(connection);
  else sendReconnect(connection);
  return 0;
}

function sendClientIdent(connection: Connection): void {
  const { messenger } = connection;
  const session = connection.session!;
  const ident = new ClientIdent();
  fillOwn(connection, session, ident.addrs);
  ident.target.copy(session.target!);
  fillGid(connection, ident.gid);
  ident.globalSeq = connection.globalSeq;
  ident.supported.copy(messenger.options.features.supported);
  ident.required.copy(messenger.options.features.required);
  ident.flags.set(session.policy.lossy ? CONNECT_LOSSY : 0, 0);
  ident.cookie.copy(session.clientCookie);
  connection.phase = Phase.Ident;
  connection.endControl(
    Tag.ClientIdent,
    writeClientIdent(arena, connection.beginControl(), ident),
  );
}

function sendReconnect(connection: Connection): void {
  const session = connection.session!;
  const reconnect = new SessionReconnect();
  fillOwn(connection, session, reconnect.addrs);
  reconnect.clientCookie.copy(session.clientCookie);
  reconnect.serverCookie.copy(session.serverCookie);
  reconnect.globalSeq = connection.globalSeq;
  reconnect.connectSeq = session.connectSeq;
  reconnect.messageSeq = session.ackableSeq;
  session.ackSentSeq = reconnect.messageSeq;
  connection.phase = Phase.Reconnect;
  connection.endControl(
    Tag.SessionReconnect,
    writeSessionReconnect(arena, connection.beginControl(), reconnect),
  );
}

/** What we call ourselves; a session that is mirrored, or was, stays with what it once told. */
function fillOwn(connection: Connection, session: Session, into: EntityAddrVec): void {
  if (session.ownAddrs !== null) {
    into.copy(session.ownAddrs);
    return;
  }
  connection.messenger.own.fillClient(connection.seenAs, into);
  session.gate?.tell(into);
}

function handleServerIdent(connection: Connection, at: number, end: number, nowMs: number): number {
  const ident = new ServerIdent();
  const next = readServerIdent(arena, at, end, ident);
  if (next < 0) return next;
  const { messenger } = connection;
  const session = connection.session!;
  if (!ident.addrs.contains(session.target!)) {
    return fail(
      Fault.Field,
      `SERVER_IDENT addrs ${ident.addrs}`,
      at,
      ident.addrs.count,
      `with the address that was dialled, ${session.target}`,
    );
  }
  const missing = new U64();
  if (missingFeatures(messenger.options.features.required, ident.supported, missing)) {
    return fail(Fault.Feature, `SERVER_IDENT features ${missing}`, at, 0, "supported by the peer");
  }
  session.peerAddrs.copy(ident.addrs);
  session.peerType = connection.peerType;
  session.peerGid.copy(ident.gid);
  session.peerSupported.copy(ident.supported);
  session.peerRequired.copy(ident.required);
  session.peerGlobalSeq = ident.globalSeq;
  session.serverCookie.copy(ident.cookie);
  // "the server's flag makes the client lossy": the accepting side decides.
  session.lossy = (ident.flags.lo & CONNECT_LOSSY) !== 0;
  messenger.handleEstablished(connection, session, nowMs);
  return 0;
}

function handleMissing(connection: Connection, at: number, end: number, nowMs: number): number {
  const missing = new IdentMissingFeatures();
  const next = readIdentMissingFeatures(arena, at, end, missing);
  if (next < 0) return next;
  const text = `Peer requires features that are not supported here: ${missing.features}`;
  connection.messenger.refuse(connection, "feature", text, nowMs);
  return 0;
}

function handleReconnectOk(connection: Connection, at: number, end: number, nowMs: number): number {
  const ok = new SessionReconnectOk();
  const next = readSessionReconnectOk(arena, at, end, ok);
  if (next < 0) return next;
  return connection.messenger.handleResumed(connection, connection.session!, ok.messageSeq, nowMs);
}

/** "full flag indicates whether peer should do a full reset, i.e., drop message queue". */
function handleReset(connection: Connection, at: number, end: number, nowMs: number): number {
  const reset = new SessionReset();
  const next = readSessionReset(arena, at, end, reset);
  if (next < 0) return next;
  connection.messenger.handleReset(connection, connection.session!, reset.full, nowMs);
  if (connection.phase === Phase.Reconnect) sendClientIdent(connection);
  return 0;
}

function handleRetry(connection: Connection, at: number, end: number): number {
  const retry = new SessionRetry();
  const next = readSessionRetry(arena, at, end, retry);
  if (next < 0) return next;
  const { connectSeq } = retry;
  if (connectSeq > RAISED_MAX) {
    return fail(Fault.Field, "SESSION_RETRY connect_seq", at, connectSeq, "2^52 at most");
  }
  connection.session!.connectSeq = connectSeq + 1;
  sendReconnect(connection);
  return 0;
}

function handleRetryGlobal(connection: Connection, at: number, end: number): number {
  const retry = new SessionRetryGlobal();
  const next = readSessionRetryGlobal(arena, at, end, retry);
  if (next < 0) return next;
  const { globalSeq } = retry;
  if (globalSeq > RAISED_MAX) { // it counts for all sessions, also with other peers
    return fail(Fault.Field, "SESSION_RETRY_GLOBAL global_seq", at, globalSeq, "2^52 at most");
  }
  connection.globalSeq = connection.messenger.nextGlobalSeq(globalSeq);
  sendReconnect(connection);
  return 0;
}

/** "The client should wait for that connection to complete." */
function handleWait(connection: Connection, nowMs: number): number {
  connection.close("wait", "Peer is connecting to us already", nowMs);
  return 0;
}
