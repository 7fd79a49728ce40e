/**
 * The handshake as the side that accepted sees it: msgr2 "Authentication" and "Message flow
 * handshake", server to client. The order of the checks on CLIENT_IDENT and SESSION_RECONNECT is
 * the one that real Ceph follows; where ours goes on where Ceph gives up, a comment says so.
 *
 * @module
 */
import { arena } from "../../mem/arena.ts";
import { fail, Fault } from "../../mem/fault.ts";
import { U64 } from "../../mem/u64.ts";
import {
  AuthBadMethod,
  AuthDone,
  authMethodName,
  AuthMore,
  AuthRequest,
  ConMode,
  conModeName,
  readAuthMore,
  readAuthRequest,
  writeAuthBadMethod,
  writeAuthDone,
  writeAuthMore,
} from "../../wire/msgr2/auth.ts";
import {
  CompressionDone,
  CompressionRequest,
  readCompressionRequest,
  writeCompressionDone,
} from "../../wire/msgr2/compression.ts";
import { missingFeatures } from "../../wire/msgr2/features.ts";
import { EntityType, entityTypeName, Hello, readHello } from "../../wire/msgr2/hello.ts";
import {
  ClientIdent,
  CONNECT_LOSSY,
  IdentMissingFeatures,
  readClientIdent,
  ServerIdent,
  writeIdentMissingFeatures,
  writeServerIdent,
} from "../../wire/msgr2/ident.ts";
import {
  readSessionReconnect,
  SessionReconnect,
  SessionReconnectOk,
  SessionReset,
  SessionRetry,
  SessionRetryGlobal,
  writeSessionReconnectOk,
  writeSessionReset,
  writeSessionRetry,
  writeSessionRetryGlobal,
} from "../../wire/msgr2/session.ts";
import { Tag, tagName } from "../../wire/msgr2/tag.ts";
import type { AuthAnswer } from "./auth.ts";
import { newCookie } from "./cookie.ts";
import { checkSignature, sendSignature } from "./connect.ts";
import { type Connection, Phase, unexpected } from "./connection.ts";
import { compressionAgreed, peerNameOf, peerWins } from "./peer.ts";
import type { Policy } from "./policy.ts";
import { type Session, SessionState } from "./session.ts";

/** -EOPNOTSUPP: the method or the mode is not allowed here. */
const EOPNOTSUPP = -95;
/** AUTH_BAD_METHOD answers that one connection gets. */
const BAD_METHODS_MAX = 8;
/** A client's gid before it has a global_id: 2^64 - 1. */
const GID_NONE = U64.of(-1);

/**
 * Handles a frame of the handshake on a connection that the peer opened; returns 0 or a negated
 * Fault.
 */
export function handleAcceptFrame(
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
      if (tag === Tag.AuthRequest) return handleAuthRequest(connection, at, end, nowMs);
      if (tag === Tag.AuthRequestMore) return handleAuthRequestMore(connection, at, end, nowMs);
      break;
    case Phase.AuthSign:
      if (tag === Tag.AuthSignature) return handleSignature(connection, at, end);
      break;
    case Phase.Compression:
      if (tag === Tag.CompressionRequest) return handleCompression(connection, at, end);
      break;
    case Phase.Ident:
      if (tag === Tag.ClientIdent) return handleClientIdent(connection, at, end, nowMs);
      if (tag === Tag.SessionReconnect) return handleReconnect(connection, at, end, nowMs);
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
  connection.phase = Phase.Auth;
  return 0;
}

function handleAuthRequest(connection: Connection, at: number, end: number, nowMs: number): number {
  const request = new AuthRequest();
  const next = readAuthRequest(arena, at, end, request);
  if (next < 0) return next;
  const { auth } = connection.messenger.options;
  const server = auth.serverMethods.includes(request.method) ? auth.server(request.method) : null;
  const allowed = auth.serverModes(request.method);
  const offered = Array.from(request.modes.subarray(0, request.modeCount));
  // The client's list is in its order of preference; the first one allowed here is taken.
  const mode = offered.find((offer) => allowed.includes(offer));
  if (server === null || mode === undefined) {
    const why = `it asks for ${authMethodName(request.method)} in mode ` +
      `${offered.map(conModeName).join(" or ") || "(none)"}, allowed are ` +
      `${auth.serverMethods.map(authMethodName).join(" or ")} in mode ` +
      `${auth.serverModes(auth.serverMethods[0] ?? 0).map(conModeName).join(" or ")}`;
    return sendBadMethod(connection, request.method, EOPNOTSUPP, why, nowMs);
  }
  connection.authServer = server;
  connection.authMethod = request.method;
  connection.mode = mode;
  const payload = arena.bytes.slice(request.payloadAt, request.payloadAt + request.payloadBytes);
  return answer(connection, server.handleRequest(payload, true, mode), nowMs);
}

function handleAuthRequestMore(
  connection: Connection,
  at: number,
  end: number,
  nowMs: number,
): number {
  const more = new AuthMore();
  const next = readAuthMore(arena, at, end, more);
  if (next < 0) return next;
  const server = connection.authServer;
  if (server === null) return unexpected(Tag.AuthRequestMore, connection.phaseName);
  const payload = arena.bytes.slice(more.payloadAt, more.payloadAt + more.payloadBytes);
  return answer(connection, server.handleRequest(payload, false, connection.mode), nowMs);
}

function answer(connection: Connection, reply: AuthAnswer, nowMs: number): number {
  if (reply.kind === "bad") {
    return sendBadMethod(connection, connection.authMethod, reply.result, reply.why, nowMs);
  }
  if (reply.kind === "more") {
    const more = new AuthMore();
    more.payload = reply.payload;
    connection.endControl(Tag.AuthReplyMore, writeAuthMore(arena, connection.beginControl(), more));
    return 0;
  }
  const server = connection.authServer!;
  const done = new AuthDone();
  done.globalId.copy(server.globalId);
  done.mode = connection.mode;
  done.payload = reply.payload;
  connection.globalId.copy(server.globalId);
  connection.endControl(Tag.AuthDone, writeAuthDone(arena, connection.beginControl(), done));
  connection.phase = Phase.AuthSign;
  if (connection.mode === ConMode.Secure && !connection.secure(server.connectionSecret)) {
    connection.close("memory", "The arena is full", nowMs);
    return 0;
  }
  sendSignature(connection, server.sessionKey);
  return 0;
}

function sendBadMethod(
  connection: Connection,
  method: number,
  result: number,
  why: string,
  nowMs: number,
): number {
  const { messenger } = connection;
  const { auth } = messenger.options;
  connection.badMethods++;
  connection.authServer = null;
  messenger.handleBadMethod(connection, why);
  if (connection.badMethods > BAD_METHODS_MAX) {
    connection.close("auth", `Authentication failed ${BAD_METHODS_MAX} times: ${why}`, nowMs);
    return 0;
  }
  const bad = new AuthBadMethod();
  bad.method = method;
  bad.result = result;
  const modes = new Set<number>();
  auth.serverMethods.forEach((allowed, index) => {
    bad.methods[index] = allowed;
    for (const mode of auth.serverModes(allowed)) modes.add(mode);
  });
  bad.methodCount = auth.serverMethods.length;
  bad.modeCount = modes.size;
  [...modes].sort((a, b) => a - b).forEach((mode, index) => bad.modes[index] = mode);
  connection.endControl(
    Tag.AuthBadMethod,
    writeAuthBadMethod(arena, connection.beginControl(), bad),
  );
  return 0;
}

function handleSignature(connection: Connection, at: number, end: number): number {
  const fault = checkSignature(connection, connection.authServer!.sessionKey, at, end);
  if (fault < 0) return fault;
  connection.phase = compressionAgreed(connection) ? Phase.Compression : Phase.Ident;
  return 0;
}

/** Compression is understood and answered "none": zlib-like state per session is not for a box. */
function handleCompression(connection: Connection, at: number, end: number): number {
  const request = new CompressionRequest();
  const next = readCompressionRequest(arena, at, end, request);
  if (next < 0) return next;
  const done = new CompressionDone();
  connection.endControl(
    Tag.CompressionDone,
    writeCompressionDone(arena, connection.beginControl(), done),
  );
  connection.phase = Phase.Ident;
  return 0;
}

function handleClientIdent(connection: Connection, at: number, end: number, nowMs: number): number {
  const ident = new ClientIdent();
  const next = readClientIdent(arena, at, end, ident);
  if (next < 0) return next;
  const { messenger } = connection;
  if (ident.addrs.count === 0) return fail(Fault.Field, "CLIENT_IDENT addrs", at, 0, "one or more");
  const { anyTarget } = messenger.options;
  if (!anyTarget && !messenger.own.has(ident.target, connection.local)) {
    return fail(
      Fault.Field,
      `CLIENT_IDENT target ${ident.target}`,
      at,
      ident.target.nonce,
      `one of ours, ${messenger.addrs}`,
    );
  }
  const missing = new IdentMissingFeatures();
  const { required } = messenger.options.features;
  if (missingFeatures(required, ident.supported, missing.features)) {
    messenger.counters.missingFeatures++;
    connection.endControl(
      Tag.IdentMissingFeatures,
      writeIdentMissingFeatures(arena, connection.beginControl(), missing),
    );
    return 0; // the connection stays: a corrected CLIENT_IDENT is welcome
  }
  const wrong = checkIdentity(connection, ident.gid, at);
  if (wrong < 0) return wrong;
  return placeClient(connection, ident, at, nowMs);
}

/** "implementations will likely want to mask this against what the authenticated credential allows" */
function checkIdentity(connection: Connection, gid: U64, at: number): number {
  const { entity, globalId } = connection.authServer!;
  if (entity.type === 0) return 0; // a method without names (Ceph's load tools)
  if (entity.type !== connection.peerType) {
    const field = `HELLO entity_type ${entityTypeName(connection.peerType)}`;
    const expected = `${entityTypeName(entity.type)} as authenticated`;
    return fail(Fault.Auth, field, at, connection.peerType, expected);
  }
  if (entity.type === EntityType.Client) {
    if (gid.equals(GID_NONE) || globalId.isZero() || gid.equals(globalId)) return 0;
    return fail(Fault.Auth, `CLIENT_IDENT gid ${gid}`, at, gid.lo, `global_id ${globalId}`);
  }
  if (!/^\d{1,9}$/.test(entity.id) || gid.equals(U64.of(Number(entity.id)))) return 0;
  return fail(Fault.Auth, `CLIENT_IDENT gid ${gid}`, at, gid.lo, `${entity.id} as authenticated`);
}

/** Finds or makes the session of a CLIENT_IDENT; the order of the cases is Ceph's. */
function placeClient(
  connection: Connection,
  ident: ClientIdent,
  at: number,
  nowMs: number,
): number {
  const { messenger } = connection;
  const policy = messenger.options.policyFor(connection.peerType);
  const existing = policy.registered ? messenger.findSession(ident.addrs) : null;
  if (existing === null || existing.state === SessionState.Closed) {
    return startNew(connection, ident, policy, nowMs);
  }
  if (!sameIdentity(connection, existing)) {
    return identityFault(connection, existing, Tag.ClientIdent, at);
  }
  if (existing.target !== null && !existing.established) {
    // We are dialling this address and have not met its owner: a stranger must not pass for it.
    if (!connection.peer.sameHost(existing.target)) {
      const field = `CLIENT_IDENT addrs ${ident.addrs} from ${connection.peer}`;
      return fail(Fault.Auth, field, at, connection.peer.port, "sent by the host they name");
    }
  }
  const restarted = !existing.clientCookie.isZero() && !existing.serverCookie.isZero() &&
    !existing.clientCookie.equals(ident.cookie);
  if (existing.peerGlobalSeq > ident.globalSeq) {
    // Ceph 16 drops this connection silently; Ceph 20 lets a restarted client in. A peer that
    // restarted and finds its old session without a living connection must get in, also when
    // this side was told so by RESET_SESSION and has no server cookie any more: with the lower
    // address it would tell us to WAIT, and be taken for stale itself.
    const other = !existing.clientCookie.equals(ident.cookie);
    if (!other || existing.state === SessionState.Ready) {
      const text = `CLIENT_IDENT global_seq ${ident.globalSeq} is older than ` +
        `${existing.peerGlobalSeq}`;
      connection.close("stale", text, nowMs);
      return 0;
    }
  }
  if (existing.lossy) {
    messenger.endSession(existing, "Peer connected anew", nowMs);
    return startNew(connection, ident, policy, nowMs);
  }
  if (restarted) {
    if (existing.policy.resetcheck) messenger.resetSession(existing, nowMs);
    return startSession(connection, existing, ident, nowMs);
  }
  if (existing.clientCookie.equals(ident.cookie)) {
    return startSession(connection, existing, ident, nowMs); // SERVER_IDENT was lost
  }
  if (existing.state === SessionState.Ready || existing.state === SessionState.Standby) {
    return startSession(connection, existing, ident, nowMs);
  }
  if (peerWins(connection, existing)) {
    return startSession(connection, existing, ident, nowMs);
  }
  return sendWait(connection, existing, nowMs);
}

function startNew(
  connection: Connection,
  ident: ClientIdent,
  policy: Policy,
  nowMs: number,
): number {
  const session = connection.messenger.newAccepted(connection, ident, policy, nowMs);
  if (session !== null) return startSession(connection, session, ident, nowMs);
  connection.close("limit", "There are as many sessions as SESSIONS_MAX allows", nowMs);
  return 0;
}

/** SERVER_IDENT: "accept client ident and identify server". Numbers start anew in both directions. */
function startSession(
  connection: Connection,
  session: Session,
  client: ClientIdent,
  nowMs: number,
): number {
  const { messenger } = connection;
  session.peerAddrs.copy(client.addrs);
  session.peerType = connection.peerType;
  session.peerGid.copy(client.gid);
  session.peerSupported.copy(client.supported);
  session.peerRequired.copy(client.required);
  session.peerGlobalSeq = client.globalSeq;
  session.lossy = session.policy.lossy || (client.flags.lo & CONNECT_LOSSY) !== 0;
  session.clientCookie.copy(client.cookie);
  if (session.lossy) session.serverCookie.set(0, 0);
  else newCookie(messenger.options.crypto, session.serverCookie);
  session.connectSeq = 0;
  const ident = new ServerIdent();
  messenger.own.fillServer(connection.local, client.target, ident.addrs);
  ident.gid.copy(messenger.options.gid);
  ident.globalSeq = messenger.nextGlobalSeq(0);
  ident.supported.copy(messenger.options.features.supported);
  ident.required.copy(messenger.options.features.required);
  ident.flags.set(session.lossy ? CONNECT_LOSSY : 0, 0);
  ident.cookie.copy(session.serverCookie);
  connection.endControl(
    Tag.ServerIdent,
    writeServerIdent(arena, connection.beginControl(), ident),
  );
  messenger.takeOver(connection, session, nowMs);
  messenger.handleEstablished(connection, session, nowMs);
  return 0;
}

function handleReconnect(connection: Connection, at: number, end: number, nowMs: number): number {
  const reconnect = new SessionReconnect();
  const next = readSessionReconnect(arena, at, end, reconnect);
  if (next < 0) return next;
  const { messenger } = connection;
  if (reconnect.addrs.count === 0) {
    return fail(Fault.Field, "SESSION_RECONNECT addrs", at, 0, "one or more");
  }
  const existing = messenger.findSession(reconnect.addrs);
  if (existing === null || existing.state === SessionState.Closed || existing.lossy) {
    return sendReset(connection, true);
  }
  if (!existing.clientCookie.equals(reconnect.clientCookie)) {
    return sendReset(connection, existing.policy.resetcheck);
  }
  if (existing.serverCookie.isZero()) return sendReset(connection, false);
  if (!existing.serverCookie.equals(reconnect.serverCookie)) {
    // Not checked by Ceph. The numbers of two sessions must not be mixed.
    return sendReset(connection, existing.policy.resetcheck);
  }
  if (!sameIdentity(connection, existing)) {
    return identityFault(connection, existing, Tag.SessionReconnect, at);
  }
  if (existing.peerGlobalSeq > reconnect.globalSeq) {
    return sendRetryGlobal(connection, existing.peerGlobalSeq);
  }
  if (existing.connectSeq > reconnect.connectSeq) return sendRetry(connection, existing.connectSeq);
  if (
    existing.connectSeq === reconnect.connectSeq && existing.state !== SessionState.Ready &&
    existing.connection !== null && !peerWins(connection, existing)
  ) {
    return sendWait(connection, existing, nowMs);
  }
  existing.connectSeq = reconnect.connectSeq;
  existing.peerGlobalSeq = reconnect.globalSeq;
  existing.gate?.change();
  messenger.takeOver(connection, existing, nowMs);
  const ok = new SessionReconnectOk();
  ok.messageSeq = existing.ackableSeq;
  existing.ackSentSeq = ok.messageSeq;
  connection.endControl(
    Tag.SessionReconnectOk,
    writeSessionReconnectOk(arena, connection.beginControl(), ok),
  );
  return messenger.handleResumed(connection, existing, reconnect.messageSeq, nowMs);
}

/**
 * A session belongs to the name that made it; another key must not take it over. A session that
 * this side opened learns the peer's name when the peer reconnects for the first time: until then
 * the peer's type and the two cookies, which only it was told, speak for it.
 */
function sameIdentity(connection: Connection, session: Session): boolean {
  const name = peerNameOf(connection);
  if (session.peerType !== 0 && session.peerType !== connection.peerType) return false;
  if (session.peerName === "") {
    session.peerName = name;
    session.gate?.renew();
  }
  return session.peerName === name;
}

function identityFault(connection: Connection, session: Session, tag: number, at: number): number {
  const field = `${tagName(tag)} by ${peerNameOf(connection)}`;
  const expected = `by the session's owner, ${session.peerName}`;
  return fail(Fault.Auth, field, at, connection.peerType, expected);
}

function sendReset(connection: Connection, full: boolean): number {
  const reset = new SessionReset();
  reset.full = full;
  connection.endControl(
    Tag.SessionReset,
    writeSessionReset(arena, connection.beginControl(), reset),
  );
  return 0;
}

function sendRetry(connection: Connection, connectSeq: number): number {
  const retry = new SessionRetry();
  retry.connectSeq = connectSeq;
  connection.endControl(
    Tag.SessionRetry,
    writeSessionRetry(arena, connection.beginControl(), retry),
  );
  return 0;
}

function sendRetryGlobal(connection: Connection, globalSeq: number): number {
  const retry = new SessionRetryGlobal();
  retry.globalSeq = globalSeq;
  connection.endControl(
    Tag.SessionRetryGlobal,
    writeSessionRetryGlobal(arena, connection.beginControl(), retry),
  );
  return 0;
}

/** "Indicates that the server is already connecting to the client, and that direction should win." */
function sendWait(connection: Connection, existing: Session, nowMs: number): number {
  existing.connection?.sendKeepalive(Math.floor(nowMs / 1000), (nowMs % 1000) * 1_000_000);
  connection.endControl(Tag.Wait, connection.beginControl());
  connection.drain("wait", "Our own connection to this peer wins the race", nowMs);
  return 0;
}
