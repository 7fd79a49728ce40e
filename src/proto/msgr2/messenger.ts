/**
 * The messenger of one entity: its sessions, its connections, and what happens to the ones when
 * the others break. msgr2 "Message flow handshake" with its failure scenarios; the policies are
 * Ceph's. Pure: the loop opens and closes sockets as told by the poll functions, time is a
 * parameter in whole milliseconds, ciphers and random bytes are handed in.
 *
 * @module
 */
import { assert } from "../../mem/assert.ts";
import { fail, Fault } from "../../mem/fault.ts";
import {
  CONNECTIONS_MAX,
  FRAME_BYTES_MAX,
  HANDSHAKES_MAX,
  OUTBOX_BYTES_MAX,
  SESSIONS_MAX,
} from "../../mem/limits.ts";
import { U64 } from "../../mem/u64.ts";
import type { AeadMaker } from "../../wire/msgr2/aead.ts";
import { type Banner, Banner as BannerRecord } from "../../wire/msgr2/banner.ts";
import {
  FAIRLEAD_CLOSE,
  MSGR2_FEATURE_COMPRESSION,
  MSGR2_FEATURE_REVISION_1,
} from "../../wire/msgr2/banner.ts";
import { AddrType, type EntityAddr, EntityAddrVec } from "../../wire/msgr2/entity_addr.ts";
import { EntityType, entityTypeName } from "../../wire/msgr2/hello.ts";
import type { FrameParts } from "../../wire/msgr2/frame.ts";
import type { ClientIdent } from "../../wire/msgr2/ident.ts";
import type { MessageHeader } from "../../wire/msgr2/message.ts";
import type { Preamble } from "../../wire/msgr2/preamble.ts";
import type { AuthClient, AuthServer, Crypto } from "./auth.ts";
import { Batch } from "./batch.ts";
import { type CloseReason, Connection, Phase } from "./connection.ts";
import { Counters } from "./counters.ts";
import type { Policy } from "./policy.ts";
import { Session, SessionState } from "./session.ts";

/** Authentication of one entity: what it offers as a client, what it asks as a server. */
export interface AuthOptions {
  /** Methods to try when connecting, in order of preference. */
  readonly clientMethods: readonly number[];
  /** Connection modes to ask for, in order of preference. */
  readonly clientModes: readonly number[];
  /** A new attempt with a peer of this EntityType; null without credentials for it. */
  client(method: number, peerType: number): AuthClient | null;
  /** Methods allowed to those who connect. */
  readonly serverMethods: readonly number[];
  /** Modes allowed with a method. */
  serverModes(method: number): readonly number[];
  /** A new attempt of a peer; null when the method is not offered after all. */
  server(method: number): AuthServer | null;
}

/** Everything a messenger is made from. */
export interface MessengerOptions {
  /** Our EntityType. */
  readonly entityType: number;
  /** Our gid: a daemon's number, 2^64 - 1 for a client. */
  readonly gid: U64;
  /** Random part of our address; tells this process from its predecessor. 0 for a listener. */
  readonly nonce: number;
  /** CEPH_FEATURE bits. */
  readonly features: { readonly supported: U64; readonly required: U64 };
  /** Offer msgr2.1 (bit 0 of the banner). */
  readonly revision1: boolean;
  /** Policy for those who connect, by their EntityType. */
  policyFor(peerType: number): Policy;
  /** Authentication. */
  readonly auth: AuthOptions;
  /** AES-128-GCM. */
  readonly aead: AeadMaker;
  /** HMAC and random bytes. */
  readonly crypto: Crypto;
  /** Connections must be ready after this. */
  readonly handshakeMs: number;
  /** KEEPALIVE2 after this much silence. */
  readonly keepaliveMs: number;
  /** A silent peer is given up after this. */
  readonly deadMs: number;
  /** First wait before a connection is tried again. */
  readonly backoffMs: number;
  /** Longest wait before a connection is tried again. */
  readonly backoffMaxMs: number;
  /** Accepted sessions without a connection are forgotten after this. */
  readonly standbyMs: number;
  /** Largest sum of a frame's segments. */
  readonly frameBytesMax: number;
  /** Most that one session's outgoing messages may take. */
  readonly outboxBytesMax: number;
  /** GCM operations under one key; less than the counters allow in tests. */
  readonly nonceOperations?: number;
  /** Stop when authentication is done, without a session: what a probe wants. */
  readonly stopBeforeIdent: boolean;
}

/**
 * Defaults for everything that is not identity or authentication; times in milliseconds, Ceph's
 * own where it has them.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Endpoint, MESSENGER_DEFAULTS } from "@fairlead/fairlead";
 *
 * const { keepaliveMs, deadMs } = MESSENGER_DEFAULTS;
 * assert.ok(keepaliveMs < deadMs);
 * const box = new Endpoint({ messenger: { keepaliveMs: 1_000, deadMs: 3_000 } });
 * assert.equal(box.messenger.options.handshakeMs, MESSENGER_DEFAULTS.handshakeMs);
 * await box.close();
 * ```
 */
export const MESSENGER_DEFAULTS = {
  revision1: true,
  handshakeMs: 10_000, // ms_connection_ready_timeout
  keepaliveMs: 10_000, // as Ceph's MonClient
  deadMs: 30_000,
  backoffMs: 200, // ms_initial_backoff
  backoffMaxMs: 15_000, // ms_max_backoff
  standbyMs: 24 * 3_600_000,
  frameBytesMax: FRAME_BYTES_MAX,
  outboxBytesMax: OUTBOX_BYTES_MAX,
  stopBeforeIdent: false,
} as const;

/** What happened to a session or a connection. */
export type EventKind =
  | "connect"
  | "accept"
  | "resume"
  | "fault"
  | "reset"
  | "remoteReset"
  | "refused"
  | "dropped"
  | "authenticated"
  | "alive";

/** An event for the application. */
export interface MessengerEvent {
  /**
   * `connect`: a session we opened stands. `accept`: a peer's session stands. `resume`: a broken
   * session goes on. `fault`: its connection broke, it will be tried again. `reset`: the session
   * is over. `remoteReset`: the peer forgot it, a new one begins. `refused`: the peer (or we)
   * refused to go on. `dropped`: a connection ended that had no session yet. `authenticated`:
   * a probe has what it wanted. `alive`: the peer answered a KEEPALIVE2.
   */
  readonly kind: EventKind;
  /** The session, when there is one. */
  readonly session: Session | null;
  /** The connection, when there is one. */
  readonly connection: Connection | null;
  /** In a sentence. */
  readonly text: string;
}

/** Connections that have something to send: each is in the ring once, closed ones too for a while. */
const DIRTY_MAX = 2 * CONNECTIONS_MAX;

/** A handshake may take this long even when others wait for its place. */
const HANDSHAKE_GRACE_MS = 1000;

/** Events that wait for the application; older ones are dropped and counted. */
const EVENTS_MAX = 1024;

/**
 * All sessions and connections of one entity, without sockets and without a clock.
 *
 * The program tells it what happened (`accept`, and `handle…` of the connections), then takes what
 * is to be done until nothing is left (`pollOpen`, `pollDirty`, `pollClosed`, `pollEvent`,
 * `takeBatch`), then waits for its sockets until `pollDeadline`.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   authNone,
 *   EntityAddr,
 *   EntityType,
 *   FEATURES_REQUIRED,
 *   FEATURES_SUPPORTED,
 *   gcmMaker,
 *   Messenger,
 *   MESSENGER_DEFAULTS,
 *   NodeCrypto,
 *   POLICIES,
 *   U64,
 * } from "@fairlead/fairlead";
 *
 * const messenger = new Messenger({
 *   ...MESSENGER_DEFAULTS,
 *   entityType: EntityType.Client,
 *   gid: U64.of(-1),
 *   nonce: 1,
 *   features: { supported: FEATURES_SUPPORTED, required: FEATURES_REQUIRED },
 *   policyFor: () => POLICIES.statefulServer,
 *   auth: authNone("client.gw1"),
 *   aead: gcmMaker(),
 *   crypto: new NodeCrypto(),
 * });
 * messenger.connect(EntityAddr.parse("v2:10.0.0.1:3300"), POLICIES.losslessClient, 0);
 * const connection = messenger.pollOpen(0)!; // now connect a socket to connection.peer
 * assert.equal(`${connection.peer}`, "v2:10.0.0.1:3300/0");
 * connection.handleConnected(20);
 * assert.equal(messenger.pollDirty(), connection);
 * assert.ok(connection.pollTransmit(20)); // now send what its writer's gather list names
 * assert.equal(messenger.pollDeadline(), 10_000); // call handleDeadline() then
 * ```
 */
export class Messenger {
  /** What it was made from. */
  readonly options: MessengerOptions;
  /** Our banner. */
  readonly banner: Banner = new BannerRecord();
  /** Our addresses; empty (no port) while we do not listen. */
  readonly addrs: EntityAddrVec = new EntityAddrVec();
  /** What was counted. */
  readonly counters: Counters = new Counters();
  /** Sessions by number. */
  readonly sessions: Map<number, Session> = new Map();
  /** Connections by number. */
  readonly connections: Map<number, Connection> = new Map();

  /** Called when something new is to be done from outside of a turn: the loop sets it. */
  onWork: () => void = () => {};

  #nextId = 1;
  #globalSeq = 0;
  #handshakes = 0;
  readonly #byAddrs = new Map<string, Session>();
  readonly #keys = new Map<Session, string>();
  readonly #seenAs = { addr: null as EntityAddr | null };
  readonly #dialing = new Set<Session>();
  // A ring: an array that is emptied and filled again would allocate in every turn.
  readonly #dirty: (Connection | null)[] = new Array(DIRTY_MAX).fill(null);
  #dirtyHead = 0;
  #dirtyCount = 0;
  readonly #closed: Connection[] = [];
  readonly #stalled: Connection[] = [];
  readonly #events: MessengerEvent[] = [];
  #filling = new Batch();
  #out: Batch | null = null;
  #spare: Batch | null = new Batch();

  /**
   * Has no session and no connection yet.
   *
   * @param options see {@linkcode MessengerOptions}; spread {@linkcode MESSENGER_DEFAULTS} first
   */
  constructor(options: MessengerOptions) {
    this.options = options;
    const supported = MSGR2_FEATURE_COMPRESSION |
      (options.revision1 ? MSGR2_FEATURE_REVISION_1 : 0);
    this.banner.supported.set(supported, FAIRLEAD_CLOSE);
  }

  // ---- the application's side

  /**
   * Opens a session with the entity that listens at `target`. Between two entities there is one
   * lossless session: where there is one that this side may dial, that one is returned.
   */
  connect(target: EntityAddr, policy: Policy, nowMs: number): Session | null {
    if (policy.registered && !policy.lossy) {
      const existing = this.#byAddrs.get(target.toString());
      // A peer may list addresses of others in SERVER_IDENT: what was dialled counts.
      const same = existing !== undefined && existing.target?.equals(target) === true;
      if (same && !existing.lossy) return existing;
    }
    if (this.sessions.size >= SESSIONS_MAX) {
      this.counters.refusedSessions++;
      return null;
    }
    const session = new Session(
      this.#nextId++,
      this,
      policy,
      target,
      this.options.outboxBytesMax,
    );
    session.peerAddrs.count = 1;
    session.peerAddrs.addrs[0]!.copy(target);
    if (!policy.lossy) this.newCookie(session.clientCookie);
    this.sessions.set(session.id, session);
    this.#register(session);
    this.#dial(session, nowMs);
    return session;
  }

  /** Ends a session: CLOSE where the peer knows it, what was queued is dropped. */
  close(session: Session, nowMs: number): void {
    if (session.state === SessionState.Closed) return;
    const connection = session.connection;
    session.connection = null;
    if (connection !== null && connection.phase === Phase.Ready) {
      this.#strike(session);
      connection.sayClose(session.outbox, nowMs);
      return;
    }
    if (connection !== null) {
      connection.session = null;
      connection.close("local", "Closed here", nowMs);
    }
    this.#forget(session);
  }

  /** A message was queued: wake what has to send it. */
  handleQueued(session: Session): void {
    const { connection } = session;
    if (connection !== null) {
      if (connection.phase === Phase.Ready) this.markDirty(connection);
      return;
    }
    if (session.state === SessionState.Standby && session.target !== null) {
      session.state = SessionState.Connecting;
      this.#dialing.add(session);
      this.onWork();
    }
  }

  /** The messages that arrived since the last batch; null when there are none, or one is out. */
  takeBatch(): Batch | null {
    if (this.#out !== null || this.#filling.length === 0) return null;
    const batch = this.#filling;
    this.#out = batch;
    this.#filling = this.#spare!;
    this.#spare = null;
    for (let index = 0; index < batch.length; index++) {
      const session = batch.session(index);
      session.messagesReceived++;
      session.bytesReceived += batch.frontBytes(index) + batch.middleBytes(index) +
        batch.dataBytes(index);
    }
    return batch;
  }

  /** The application has taken the batch's messages over: they are acknowledged from now on. */
  done(batch: Batch, nowMs: number): void {
    if (this.#out !== batch) return;
    for (let index = 0; index < batch.length; index++) {
      const connection = batch.connection(index);
      const session = batch.session(index);
      if (connection.epoch === session.epoch) {
        session.takenSeq = batch.seq(index);
        if (!session.lossy && session.connection !== null) this.markDirty(session.connection);
      }
      connection.received.release();
    }
    batch.clear();
    this.#out = null;
    this.#spare = batch;
    this.#resumeStalled(nowMs);
  }

  /** The next event, or null. */
  pollEvent(): MessengerEvent | null {
    return this.#events.shift() ?? null;
  }

  // ---- the loop's side

  /** A socket was accepted; null when too many connections are open or memory is short. */
  accept(peer: EntityAddr, local: EntityAddr, nowMs: number): Connection | null {
    const full = this.#handshakes >= HANDSHAKES_MAX && !this.#dropSlowest(nowMs);
    if (full || this.connections.size >= CONNECTIONS_MAX) {
      this.counters.refusedConnections++;
      return null;
    }
    const connection = this.#newConnection(true, nowMs);
    if (connection === null) return null;
    connection.peer.copy(peer);
    connection.local.copy(local);
    return connection;
  }

  /** The next connection that must be opened, to its `peer`; null when none is due. */
  pollOpen(nowMs: number): Connection | null {
    for (const session of this.#dialing) {
      if (session.dialAtMs > nowMs) continue;
      this.#dialing.delete(session);
      if (session.state === SessionState.Closed || session.connection !== null) continue;
      const connection = this.#newConnection(false, nowMs);
      if (connection === null) {
        this.#retryLater(session, nowMs);
        return null;
      }
      session.state = SessionState.Connecting;
      session.connection = connection;
      connection.session = session;
      connection.peer.copy(session.target!);
      connection.globalSeq = this.nextGlobalSeq(0);
      if (!session.serverCookie.isZero()) session.connectSeq++;
      return connection;
    }
    return null;
  }

  /** The next connection whose socket must be closed; null when none. */
  pollClosed(): Connection | null {
    return this.#closed.shift() ?? null;
  }

  /** Connections that may have something to send. */
  get dirtyCount(): number {
    return this.#dirtyCount;
  }

  /**
   * The next connection that may have something to send; null when none. One that is marked again
   * meanwhile comes after all others: take `dirtyCount` of them in a turn.
   */
  pollDirty(): Connection | null {
    if (this.#dirtyCount === 0) return null;
    const connection = this.#dirty[this.#dirtyHead]!;
    this.#dirty[this.#dirtyHead] = null;
    this.#dirtyHead = (this.#dirtyHead + 1) % DIRTY_MAX;
    this.#dirtyCount--;
    connection.dirty = false;
    return connection;
  }

  /** When {@linkcode handleDeadline} must be called next; Infinity means never. */
  pollDeadline(): number {
    let next = Infinity;
    for (const connection of this.connections.values()) {
      next = Math.min(next, connection.pollDeadline());
    }
    for (const session of this.#dialing) next = Math.min(next, session.dialAtMs);
    for (const session of this.sessions.values()) {
      if (session.connection === null && session.target === null) {
        next = Math.min(next, session.lastSeenMs + this.options.standbyMs);
      }
    }
    return next;
  }

  /** Call at or after {@linkcode pollDeadline}; connections due are then told by `pollOpen`. */
  handleDeadline(nowMs: number): void {
    for (const connection of this.connections.values()) connection.handleDeadline(nowMs);
    for (const session of this.sessions.values()) {
      if (session.connection !== null || session.target !== null) continue;
      if (nowMs - session.lastSeenMs < this.options.standbyMs) continue;
      this.counters.expiredSessions++;
      this.endSession(session, "Nobody came back to this session", nowMs);
    }
  }

  // ---- connections report here

  /** True when no further message can be handed on before the application is done. */
  get batchFull(): boolean {
    return this.#filling.full;
  }

  /** A message arrived whole, checked and in order. */
  handleMessage(
    connection: Connection,
    session: Session,
    header: MessageHeader,
    preamble: Preamble,
    parts: FrameParts,
  ): void {
    this.#filling.push(connection, session, header, preamble, parts);
  }

  /** Puts a connection on the list of those with something to send. */
  markDirty(connection: Connection): void {
    if (connection.dirty) return;
    connection.dirty = true;
    assert(this.#dirtyCount < DIRTY_MAX, "a connection is in the ring once");
    this.#dirty[(this.#dirtyHead + this.#dirtyCount) % DIRTY_MAX] = connection;
    this.#dirtyCount++;
    this.onWork();
  }

  /** A connection has frames that the batch has no room for. */
  markStalled(connection: Connection): void {
    if (connection.stalled) return;
    connection.stalled = true;
    this.#stalled.push(connection);
  }

  /** Checks the peer's banner; returns the revision that both speak, or a negated Fault. */
  agree(peer: Banner): number {
    const lo = peer.required.lo & ~this.banner.supported.lo;
    const hi = peer.required.hi & ~this.banner.supported.hi;
    if ((lo | hi) !== 0) {
      const missing = new U64();
      missing.set(lo, hi);
      const field = `banner peer_required_features ${missing}`;
      return fail(Fault.Feature, field, -1, lo >>> 0, `within ours, ${this.banner.supported}`);
    }
    return (peer.supported.lo & this.banner.supported.lo & MSGR2_FEATURE_REVISION_1) === 0 ? 0 : 1;
  }

  /** True when both banners carry the compression bit: its two frames are then exchanged. */
  compressionAgreed(connection: Connection): boolean {
    return (connection.banner.supported.lo & MSGR2_FEATURE_COMPRESSION) !== 0;
  }

  /** True when the peer knows TAG_CLOSE, which real Ceph does not. */
  closeAgreed(connection: Connection): boolean {
    return (connection.banner.supported.hi & FAIRLEAD_CLOSE) !== 0;
  }

  /** HELLO told how a peer sees us: that is our address while we do not listen. */
  learnAddress(seen: EntityAddr): void {
    this.#seenAs.addr ??= seen;
  }

  /** Our addresses as CLIENT_IDENT and SESSION_RECONNECT carry them. */
  fillAddrs(connection: Connection, into: EntityAddrVec): void {
    if (this.addrs.count > 0) {
      this.#fillOwn(connection.seenAs, into);
      return;
    }
    into.count = 1;
    const own = into.addrs[0]!;
    own.copy(this.#seenAs.addr ?? connection.seenAs);
    own.type = AddrType.Any;
    own.port = 0;
    own.nonce = this.options.nonce;
  }

  /** Our addresses as SERVER_IDENT carries them: the dialled one is always among them. */
  fillServerAddrs(connection: Connection, dialled: EntityAddr, into: EntityAddrVec): void {
    this.#fillOwn(connection.local, into);
    if (into.contains(dialled)) return;
    into.addrs[0]!.copy(dialled);
    if (into.count === 0) into.count = 1;
  }

  #fillOwn(here: EntityAddr, into: EntityAddrVec): void {
    into.copy(this.addrs);
    for (let index = 0; index < into.count; index++) {
      const own = into.addrs[index]!;
      if (!own.isWildcard()) continue;
      const { type, port, nonce } = own;
      own.copy(here);
      own.type = type;
      own.port = port;
      own.nonce = nonce;
    }
  }

  /** Our gid for an ident: a client's is its global_id. */
  fillGid(connection: Connection, into: U64): void {
    if (this.options.entityType === EntityType.Client && !connection.globalId.isZero()) {
      into.copy(connection.globalId);
    } else into.copy(this.options.gid);
  }

  /**
   * True when `target` names this entity: type, nonce and port equal one of our addresses, and
   * the host too, unless we listen on every address of the box.
   */
  isOwnAddress(connection: Connection, target: EntityAddr): boolean {
    for (let index = 0; index < this.addrs.count; index++) {
      const own = this.addrs.addrs[index]!;
      const same = own.type === target.type && own.nonce === target.nonce &&
        own.port === target.port;
      if (same && (own.isWildcard() || own.sameHost(target))) return true;
    }
    return this.addrs.count === 0 && connection.local.port === target.port;
  }

  /** The session of a peer with these addresses, or null. */
  findSession(addrs: EntityAddrVec): Session | null {
    return this.#byAddrs.get(keyOf(addrs)) ?? null;
  }

  /** The policy for a peer that connected. */
  policyFor(peerType: number): Policy {
    return this.options.policyFor(peerType);
  }

  /** The name a peer authenticated with, `client.gw1`. */
  peerNameOf(connection: Connection): string {
    const entity = connection.authServer?.entity;
    if (entity === undefined || entity.type === 0) {
      return `${entityTypeName(connection.peerType)}.?`;
    }
    return `${entityTypeName(entity.type)}.${entity.id}`;
  }

  /** True when, in a race of both sides, the peer's connection goes on: the lower address dials. */
  peerWins(connection: Connection, existing: Session): boolean {
    if (existing.policy.server || existing.target === null) return true;
    const addrs = new EntityAddrVec();
    this.#fillOwn(connection.local, addrs); // both sides must compare the same two addresses
    const own = addrs.v2();
    const peer = existing.peerAddrs.v2();
    return own === null || peer === null || peer.compare(own) < 0;
  }

  /** The next global_seq, above `floor`. */
  nextGlobalSeq(floor: number): number {
    this.#globalSeq = Math.max(this.#globalSeq, floor) + 1;
    return this.#globalSeq;
  }

  /** A random cookie, never 0. */
  newCookie(into: U64): void {
    do {
      const bytes = this.options.crypto.randomBytes(8);
      const view = new DataView(bytes.buffer, bytes.byteOffset, 8);
      into.set(view.getInt32(0, true), view.getInt32(4, true));
    } while (into.isZero());
  }

  /** A session for a peer that connected; null when there are too many. */
  newAccepted(
    connection: Connection,
    ident: ClientIdent,
    policy: Policy,
    nowMs: number,
  ): Session | null {
    if (this.sessions.size >= SESSIONS_MAX && !this.#evict(nowMs)) {
      this.counters.refusedSessions++;
      return null;
    }
    const listens = ident.addrs.v2();
    const target = policy.server || listens === null || listens.port === 0 ? null : listens;
    const session = new Session(
      this.#nextId++,
      this,
      policy,
      target,
      this.options.outboxBytesMax,
    );
    session.peerAddrs.copy(ident.addrs);
    session.peerName = this.peerNameOf(connection);
    this.sessions.set(session.id, session);
    if (policy.registered) this.#register(session);
    return session;
  }

  /** Gives a session this connection; the one it had is closed, its messages are sent again. */
  takeOver(connection: Connection, session: Session, nowMs: number): void {
    const before = session.connection;
    if (before !== null && before !== connection) {
      session.connection = null;
      before.session = null;
      before.close("replaced", "Replaced by a newer connection of the same session", nowMs);
    }
    this.#dialing.delete(session);
    session.outbox.requeue();
    session.connection = connection;
    connection.session = session;
  }

  /** SERVER_IDENT was sent or received: a session stands, numbers start anew. */
  handleEstablished(connection: Connection, session: Session, nowMs: number): void {
    this.#register(session);
    session.outbox.requeue();
    session.outbox.renumber();
    session.epoch++;
    session.inSeq = 0;
    session.takenSeq = 0;
    session.ackSentSeq = 0;
    session.outSeq = 0;
    session.ackedSeq = 0;
    const again = session.established;
    session.established = true;
    if (again) session.reconnects++;
    this.#ready(connection, session, nowMs);
    const kind = connection.accepted ? "accept" : "connect";
    this.#event(kind, session, connection, `${session.peerAddrs}`);
  }

  /** SESSION_RECONNECT_OK was sent or received: the session goes on where the peer stopped. */
  handleResumed(
    connection: Connection,
    session: Session,
    messageSeq: number,
    nowMs: number,
  ): number {
    if (messageSeq > session.outSeq) {
      const expected = `${session.outSeq} at most, the last one sent`;
      return fail(Fault.Field, "SESSION_RECONNECT msg_seq", -1, messageSeq, expected);
    }
    session.outbox.requeue();
    session.outbox.discardReplays(messageSeq);
    if (messageSeq > session.ackedSeq) session.ackedSeq = messageSeq;
    session.reconnects++;
    this.#ready(connection, session, nowMs);
    this.#event("resume", session, connection, `${session.peerAddrs}`);
    return 0;
  }

  /** SESSION_RESET was received: the peer does not know this session (any more). */
  handleReset(connection: Connection, session: Session, full: boolean, nowMs: number): void {
    session.serverCookie.set(0, 0);
    session.connectSeq = 0;
    if (!full) return; // same cookie, same queue: the peer never got our SERVER_IDENT
    this.newCookie(session.clientCookie);
    this.resetSession(session, nowMs);
    if (session.connection !== connection) connection.close("stale", "The session is over", nowMs);
  }

  /** The peer forgot this session: what was queued is dropped, unless the policy says otherwise. */
  resetSession(session: Session, _nowMs: number): void {
    const lost = session.policy.requeue ? 0 : session.outbox.clear();
    this.counters.messagesDropped += lost;
    this.counters.remoteResets++;
    const text = session.policy.requeue
      ? `Peer forgot the session: ${session.unacknowledged} messages are sent again`
      : `Peer forgot the session: ${lost} messages are dropped`;
    this.#event("remoteReset", session, session.connection, text);
  }

  /** A session of a lossy peer ends, or one that expired. */
  endSession(session: Session, text: string, nowMs: number): void {
    const { connection } = session;
    session.connection = null;
    if (connection !== null) {
      connection.session = null;
      connection.close("stale", text, nowMs);
    }
    this.#forget(session);
    this.#event("reset", session, connection, text);
  }

  /** TAG_CLOSE: "equivalent to a hangup or reset". */
  handlePeerClose(connection: Connection, nowMs: number): void {
    const session = connection.session!;
    session.connection = null;
    connection.session = null;
    connection.close("peer", "Peer said CLOSE", nowMs);
    if (session.policy.reopen && session.target !== null) {
      session.lastFault = connection.closeText;
      session.outbox.requeue();
      session.serverCookie.set(0, 0);
      session.connectSeq = 0;
      this.newCookie(session.clientCookie);
      this.resetSession(session, nowMs);
      this.#retryLater(session, nowMs);
      return;
    }
    this.#forget(session);
    this.#event("reset", session, connection, "Peer said CLOSE");
  }

  /** We or the peer refuse to go on; the session tries again after the longest wait. */
  refuse(connection: Connection, reason: CloseReason, text: string, nowMs: number): void {
    const { session } = connection;
    if (session !== null) session.backoffMs = this.options.backoffMaxMs;
    connection.close(reason, text, nowMs);
  }

  /** A peer failed to authenticate; the reason stays here, the peer learns the result only. */
  handleBadMethod(connection: Connection, why: string): void {
    this.counters.badMethods++;
    this.#event("dropped", null, connection, `Cannot authenticate ${connection.peer}: ${why}`);
  }

  /** A probe has reached the end of authentication. */
  handleAuthenticated(connection: Connection, _nowMs: number): void {
    this.#event("authenticated", connection.session, connection, `${connection.peer}`);
  }

  /** KEEPALIVE2_ACK came. */
  handleAlive(connection: Connection): void {
    this.#event("alive", connection.session, connection, `${connection.peer}`);
  }

  /** A connection ended, for whatever reason; it reports here exactly once. */
  handleClosed(connection: Connection, nowMs: number): void {
    this.connections.delete(connection.id);
    this.#closed.push(connection);
    const { session } = connection;
    if (!connection.ready) this.#handshakes--;
    this.counters.count(connection.closeReason);
    if (session === null || session.connection !== connection) {
      if (connection.accepted && !connection.ready) {
        const text = `${connection.peer}: ${connection.closeText}`;
        this.#event("dropped", null, connection, text);
      }
      return;
    }
    session.connection = null;
    session.lastSeenMs = nowMs;
    session.lastFault = connection.closeText;
    this.#handleFault(connection, session, nowMs);
  }

  // ---- inside

  /** Ends the oldest handshake of a peer that connected, unless it is young; false when it is. */
  #dropSlowest(nowMs: number): boolean {
    for (const connection of this.connections.values()) { // in the order in which they came
      if (!connection.accepted || connection.ready) continue;
      if (nowMs - connection.openedMs < HANDSHAKE_GRACE_MS) return false;
      connection.close("handshake", "A newer connection needed its place", nowMs);
      return true;
    }
    return false;
  }

  #newConnection(accepted: boolean, nowMs: number): Connection | null {
    const connection = new Connection(this, this.#nextId++, accepted);
    if (!connection.open(nowMs)) {
      connection.writer.close();
      this.counters.count("memory");
      return null;
    }
    this.#handshakes++;
    this.connections.set(connection.id, connection);
    return connection;
  }

  #ready(connection: Connection, session: Session, nowMs: number): void {
    this.#handshakes--;
    connection.ready = true;
    connection.phase = Phase.Ready;
    connection.epoch = session.epoch;
    session.state = SessionState.Ready;
    session.backoffMs = 0;
    session.lastSeenMs = nowMs;
    this.markDirty(connection);
  }

  /** What a broken connection means for its session: the policy decides. */
  #handleFault(connection: Connection, session: Session, nowMs: number): void {
    const wasReady = session.state === SessionState.Ready;
    const text = connection.closeText;
    if (session.lossy && wasReady) {
      this.#forget(session);
      this.#event("reset", session, connection, text);
      return;
    }
    session.outbox.requeue();
    const { closeReason } = connection;
    if (closeReason === "auth" || closeReason === "feature" || closeReason === "identity") {
      this.#event("refused", session, connection, text);
    } else this.#event("fault", session, connection, text);
    const { policy } = session;
    if (session.target === null || policy.server) {
      session.state = SessionState.Standby;
    } else if (policy.standby && wasReady && session.outbox.queued === 0) {
      session.state = SessionState.Standby;
    } else if (closeReason === "wait") {
      session.state = SessionState.Wait;
      session.dialAtMs = nowMs + this.options.backoffMaxMs;
      this.#dialing.add(session);
    } else if (wasReady) {
      this.#dial(session, nowMs);
    } else this.#retryLater(session, nowMs);
  }

  #dial(session: Session, nowMs: number): void {
    session.state = SessionState.Connecting;
    session.dialAtMs = nowMs;
    this.#dialing.add(session);
    this.onWork();
  }

  #retryLater(session: Session, nowMs: number): void {
    const { backoffMs, backoffMaxMs } = this.options;
    session.state = SessionState.Connecting;
    session.backoffMs = Math.min(Math.max(session.backoffMs * 2, backoffMs), backoffMaxMs);
    session.dialAtMs = nowMs + session.backoffMs;
    this.#dialing.add(session);
  }

  #resumeStalled(nowMs: number): void {
    let count = this.#stalled.length;
    while (count-- > 0 && !this.batchFull) {
      const connection = this.#stalled.shift()!;
      connection.stalled = false;
      connection.handleInput(nowMs);
    }
  }

  #register(session: Session): void {
    if (!session.policy.registered) return;
    const key = keyOf(session.peerAddrs);
    const before = this.#keys.get(session);
    if (before === key) return;
    // An address is taken from another session only by the one that dialled it.
    const isDialled = session.target !== null && session.target.toString() === key;
    if (this.#byAddrs.has(key) && !isDialled) return;
    if (before !== undefined && this.#byAddrs.get(before) === session) this.#byAddrs.delete(before);
    this.#keys.set(session, key);
    this.#byAddrs.set(key, session);
  }

  /** Ends the session that waits longest for its peer to come back; false when none waits. */
  #evict(nowMs: number): boolean {
    let oldest: Session | null = null;
    for (const session of this.sessions.values()) {
      if (session.connection !== null || session.target !== null) continue;
      if (oldest === null || session.lastSeenMs < oldest.lastSeenMs) oldest = session;
    }
    if (oldest === null) return false;
    this.counters.expiredSessions++;
    this.endSession(oldest, "A newer session needed its place", nowMs);
    return true;
  }

  #forget(session: Session): void {
    this.#strike(session);
    session.outbox.close();
  }

  /** Takes a session off every list; its messages are left. */
  #strike(session: Session): void {
    session.state = SessionState.Closed;
    session.dropped = session.unacknowledged;
    this.sessions.delete(session.id);
    this.#dialing.delete(session);
    const key = this.#keys.get(session);
    this.#keys.delete(session);
    if (key !== undefined && this.#byAddrs.get(key) === session) this.#byAddrs.delete(key);
  }

  #event(
    kind: EventKind,
    session: Session | null,
    connection: Connection | null,
    text: string,
  ): void {
    if (this.#events.length >= EVENTS_MAX) {
      this.counters.eventsDropped++;
      if (session === null) return; // strangers never push out what happened to sessions
      this.#events.shift();
    }
    this.#events.push({ kind, session, connection, text });
  }
}

/** What a peer is found by: its msgr2 address, whatever else it lists. */
function keyOf(addrs: EntityAddrVec): string {
  return (addrs.v2() ?? addrs).toString();
}
