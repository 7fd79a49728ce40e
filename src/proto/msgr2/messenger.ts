/**
 * The messenger of one entity: its sessions, its connections, and what happens to the ones when
 * the others break. msgr2 "Message flow handshake" with its failure scenarios; the policies are
 * Ceph's. Pure: the loop opens and closes sockets as told by the poll functions, time is a
 * parameter in whole milliseconds, ciphers and random bytes are handed in.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import { CONNECTIONS_MAX, HANDSHAKES_MAX, SESSIONS_MAX } from "../../mem/limits.ts";
import {
  Banner,
  FAIRLEAD_CLOSE,
  MSGR2_FEATURE_COMPRESSION,
  MSGR2_FEATURE_REVISION_1,
} from "../../wire/msgr2/banner.ts";
import type { EntityAddr } from "../../wire/msgr2/entity_addr.ts";
import { EntityAddrVec } from "../../wire/msgr2/entity_addrvec.ts";
import type { FrameParts } from "../../wire/msgr2/frame.ts";
import type { ClientIdent } from "../../wire/msgr2/ident.ts";
import type { MessageHeader } from "../../wire/msgr2/message.ts";
import type { Preamble } from "../../wire/msgr2/preamble.ts";
import { Batch } from "./batch.ts";
import { type CloseReason, Connection, Phase } from "./connection.ts";
import { ConnectionRing } from "./connection_ring.ts";
import { newCookie } from "./cookie.ts";
import { Counters } from "./counters.ts";
import { Dialer } from "./dialer.ts";
import { Directory, longestWaiting } from "./directory.ts";
import { EventQueue, type MessengerEvent } from "./events.ts";
import type { MessengerOptions } from "./options.ts";
import { OwnAddresses } from "./own_addresses.ts";
import type { Policy } from "./policy.ts";
import { peerNameOf } from "./peer.ts";
import { Session, SessionState } from "./session.ts";
import { SessionJournal } from "./session_journal.ts";

export type { EventKind, MessengerEvent } from "./events.ts";
export { type AuthOptions, MESSENGER_DEFAULTS, type MessengerOptions } from "./options.ts";

/** Connections in a row that carried nothing and broke: from then on there is a wait between them. */
const BARREN_MAX = 3;

/** A handshake may take this long even when others wait for its place. */
const HANDSHAKE_GRACE_MS = 1000;

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
  readonly banner: Banner = new Banner();
  /**
   * What we call ourselves.
   *
   * @ignore
   */
  readonly own: OwnAddresses;
  /**
   * Records for a standby, which goes on with the sessions; null unless asked for.
   *
   * @ignore
   */
  readonly journal: SessionJournal | null;
  /** What was counted. */
  readonly counters: Counters = new Counters();
  /** Sessions by number. */
  readonly sessions: Map<number, Session> = new Map();
  /** Connections by number. */
  readonly connections: Map<number, Connection> = new Map();

  /** Called when something new is to be done from outside of a turn: the loop sets it. */
  onWork: () => void = () => {};
  /** False while nothing may be read or sent: another box may have the sessions by now. */
  mayRun: () => boolean = () => true;

  #nextId = 1;
  #globalSeq = 0;
  #handshakes = 0;
  readonly #directory = new Directory();
  readonly #dialer: Dialer;
  readonly #dirty = new ConnectionRing();
  readonly #closed: Connection[] = [];
  readonly #stalled: Connection[] = [];
  readonly #events = new EventQueue(this.counters);
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
    this.own = new OwnAddresses(options.nonce);
    this.journal = options.journal ? new SessionJournal(this) : null;
    this.#dialer = new Dialer(options.backoffMs, options.backoffMaxMs);
    const supported = MSGR2_FEATURE_COMPRESSION |
      (options.revision1 ? MSGR2_FEATURE_REVISION_1 : 0);
    this.banner.supported.set(supported, FAIRLEAD_CLOSE);
  }

  /**
   * Opens a session with the entity that listens at `target`. Between two entities there is one
   * lossless session: where there is one that this side may dial, that one is returned.
   */
  connect(target: EntityAddr, policy: Policy, nowMs: number): Session | null {
    if (policy.registered && !policy.lossy) {
      const existing = this.#directory.find(EntityAddrVec.of(target));
      // A peer may list addresses of others in SERVER_IDENT: what was dialled counts.
      const same = existing !== null && existing.target?.equals(target) === true;
      if (same && !existing.lossy) return existing;
    }
    if (this.sessions.size >= SESSIONS_MAX) {
      this.counters.refusedSessions++;
      return null;
    }
    const { outboxBytesMax } = this.options;
    const session = new Session(this.#nextId++, this, policy, target, outboxBytesMax);
    session.peerAddrs.count = 1;
    session.peerAddrs.addrs[0]!.copy(target);
    if (!policy.lossy) newCookie(this.options.crypto, session.clientCookie);
    this.#admit(session);
    this.#dialer.now(session, nowMs);
    this.onWork();
    return session;
  }

  /**
   * Goes on with a session that another messenger had: its peer comes back with SESSION_RECONNECT,
   * or is dialled. `fill` gives it what it was; false when there is no room for it.
   *
   * @ignore
   */
  adopt(
    policy: Policy,
    target: EntityAddr | null,
    nowMs: number,
    fill: (session: Session) => boolean,
  ): boolean {
    const { outboxBytesMax } = this.options;
    const session = new Session(this.#nextId++, this, policy, target, outboxBytesMax);
    if (this.sessions.size >= SESSIONS_MAX || !fill(session)) {
      session.outbox.close();
      this.counters.refusedSessions++;
      return false;
    }
    session.lastSeenMs = nowMs;
    this.#admit(session);
    session.gate?.adopt();
    if (target === null || policy.server) session.state = SessionState.Standby;
    else this.#dialer.now(session, nowMs);
    this.onWork();
    return true;
  }

  /** Ends a session: CLOSE where the peer knows it, what was queued is dropped. */
  close(session: Session, nowMs: number, tellPeer = true): void {
    if (session.state === SessionState.Closed) return;
    const connection = session.connection;
    session.connection = null;
    if (connection !== null && connection.phase === Phase.Ready) {
      this.#strike(session);
      connection.sayClose(session.outbox, tellPeer, nowMs);
      return;
    }
    if (connection !== null) {
      connection.session = null;
      connection.close("local", "Closed here", nowMs);
    }
    this.#forget(session);
  }

  /** Where we listen; empty while we do not. */
  get addrs(): EntityAddrVec {
    return this.own.listening;
  }

  /** A message was queued: wake what has to send it. */
  handleQueued(session: Session): void {
    const { connection } = session;
    session.gate?.touch();
    if (connection !== null) {
      if (connection.phase === Phase.Ready) this.markDirty(connection);
      return;
    }
    if (session.state === SessionState.Standby && session.target !== null) {
      this.#dialer.now(session, session.dialAtMs);
      this.onWork();
    }
  }

  /** The messages that arrived since the last batch; null when there are none, or one is out. */
  takeBatch(): Batch | null {
    if (this.#out !== null || this.#filling.length === 0) return null;
    this.journal?.settle();
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

  /** True while the application has a batch that is not done. */
  get batchOut(): boolean {
    return this.#out !== null;
  }

  /** The application has taken the batch's messages over: they are acknowledged from now on. */
  done(batch: Batch, nowMs: number): void {
    if (this.#out !== batch) return;
    for (let index = 0; index < batch.length; index++) {
      const connection = batch.connection(index);
      const session = batch.session(index);
      if (connection.epoch === session.epoch) {
        session.takenSeq = batch.seq(index);
        session.gate?.touch();
        if (!session.lossy && session.connection !== null) this.markDirty(session.connection);
      }
      connection.received.release();
    }
    batch.clear();
    this.#out = null;
    this.#spare = batch;
    this.#resumeStalled(nowMs);
  }

  /** Gives a batch that is out back without a word: its messages are not taken over. */
  giveBack(): void {
    const batch = this.#out;
    if (batch === null) return;
    for (let index = 0; index < batch.length; index++) batch.connection(index).received.release();
    batch.clear();
    this.#out = null;
    this.#spare = batch;
  }

  /** The next event, or null. */
  pollEvent(): MessengerEvent | null {
    const next = this.#events.peek();
    // The end of a session comes after its last messages.
    if (next?.kind === "reset" && this.#filling.has(next.session!)) return null;
    return this.#events.poll();
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
    const session = this.#dialer.take(nowMs);
    if (session === null) return null;
    const connection = this.#newConnection(false, nowMs);
    if (connection === null) {
      this.#dialer.later(session, nowMs);
      return null;
    }
    session.state = SessionState.Connecting;
    session.connection = connection;
    connection.session = session;
    connection.peer.copy(session.target!);
    connection.globalSeq = this.nextGlobalSeq(0);
    if (!session.serverCookie.isZero()) session.connectSeq++;
    session.gate?.change();
    return connection;
  }

  /** The next connection whose socket must be closed; null when none. */
  pollClosed(): Connection | null {
    return this.#closed.shift() ?? null;
  }

  /** Connections that may have something to send. */
  get dirtyCount(): number {
    return this.#dirty.count;
  }

  /**
   * The next connection that may have something to send; null when none. One that is marked again
   * meanwhile comes after all others: take `dirtyCount` of them in a turn.
   */
  pollDirty(): Connection | null {
    return this.#dirty.shift();
  }

  /** When {@linkcode handleDeadline} must be called next; Infinity means never. */
  pollDeadline(): number {
    let next = this.#dialer.pollDeadline();
    for (const connection of this.connections.values()) {
      next = Math.min(next, connection.pollDeadline());
    }
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
    this.#dirty.push(connection);
    this.onWork();
  }

  /** A connection has frames that the batch has no room for. */
  markStalled(connection: Connection): void {
    if (connection.stalled) return;
    connection.stalled = true;
    this.#stalled.push(connection);
  }

  /** The session of a peer with these addresses, or null. */
  findSession(addrs: EntityAddrVec): Session | null {
    return this.#directory.find(addrs);
  }

  /** The last global_seq. */
  get globalSeq(): number {
    return this.#globalSeq;
  }

  /** The next global_seq, above `floor`. */
  nextGlobalSeq(floor: number): number {
    this.#globalSeq = Math.max(this.#globalSeq, floor) + 1;
    return this.#globalSeq;
  }

  /** A session for a peer that connected; null when there are too many. */
  newAccepted(
    connection: Connection,
    ident: ClientIdent,
    policy: Policy,
    nowMs: number,
  ): Session | null {
    if (this.sessions.size >= SESSIONS_MAX && !this.#evict(peerNameOf(connection), nowMs)) {
      this.counters.refusedSessions++;
      return null;
    }
    const listens = ident.addrs.v2();
    const target = policy.server || listens === null || listens.port === 0 ? null : listens;
    const { outboxBytesMax } = this.options;
    const session = new Session(this.#nextId++, this, policy, target, outboxBytesMax);
    session.peerAddrs.copy(ident.addrs);
    session.peerName = peerNameOf(connection);
    this.sessions.set(session.id, session);
    this.#directory.enter(session);
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
    this.#dialer.remove(session);
    session.outbox.requeue();
    session.connection = connection;
    connection.session = session;
  }

  /** SERVER_IDENT was sent or received: a session stands, numbers start anew. */
  handleEstablished(connection: Connection, session: Session, nowMs: number): void {
    this.#directory.enter(session);
    session.gate = this.journal?.admit(session) ?? null; // lossy or not is known only now
    const again = session.established;
    session.restart();
    if (again) session.reconnects++;
    this.#ready(connection, session, nowMs);
    const kind = connection.accepted ? "accept" : "connect";
    this.#events.push(kind, session, connection, `${session.peerAddrs}`);
  }

  /** SESSION_RECONNECT_OK was sent or received: the session goes on where the peer stopped. */
  handleResumed(
    connection: Connection,
    session: Session,
    messageSeq: number,
    nowMs: number,
  ): number {
    if (messageSeq > session.sentSeq) {
      const expected = `${session.sentSeq} at most, the last one sent`;
      return fail(Fault.Field, "SESSION_RECONNECT msg_seq", -1, messageSeq, expected);
    }
    session.outbox.requeue();
    session.outbox.discardReplays(messageSeq);
    if (messageSeq > session.ackedSeq) {
      session.ackedSeq = messageSeq;
      session.gate?.change();
      session.barren = 0; // the last connection was cut before its ACK came, it did carry something
      session.backoffMs = 0;
    }
    session.reconnects++;
    this.#ready(connection, session, nowMs);
    this.#events.push("resume", session, connection, `${session.peerAddrs}`);
    return 0;
  }

  /** SESSION_RESET was received: the peer does not know this session (any more). */
  handleReset(connection: Connection, session: Session, full: boolean, nowMs: number): void {
    session.serverCookie.set(0, 0);
    session.connectSeq = 0;
    session.gate?.renew();
    if (!full) return; // same cookie, same queue: the peer never got our SERVER_IDENT
    newCookie(this.options.crypto, session.clientCookie);
    this.resetSession(session, nowMs);
    if (session.connection !== connection) connection.close("stale", "The session is over", nowMs);
  }

  /** The peer forgot this session: what was queued is dropped, unless the policy says otherwise. */
  resetSession(session: Session, _nowMs: number): void {
    const lost = session.policy.requeue ? 0 : session.outbox.clear();
    this.counters.messagesDropped += lost;
    this.counters.remoteResets++;
    session.gate?.renew();
    const text = session.policy.requeue
      ? `Peer forgot the session: ${session.unacknowledged} messages are sent again`
      : `Peer forgot the session: ${lost} messages are dropped`;
    this.#events.push("remoteReset", session, session.connection, text);
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
    this.#events.push("reset", session, connection, text);
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
      newCookie(this.options.crypto, session.clientCookie);
      this.resetSession(session, nowMs);
      this.#dialer.later(session, nowMs);
      return;
    }
    this.#forget(session);
    this.#events.push("reset", session, connection, "Peer said CLOSE");
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
    this.#events.push(
      "dropped",
      null,
      connection,
      `Cannot authenticate ${connection.peer}: ${why}`,
    );
  }

  /** A probe has reached the end of authentication, or a peer answered a KEEPALIVE2. */
  handleSign(kind: "authenticated" | "alive", connection: Connection): void {
    this.#events.push(kind, connection.session, connection, `${connection.peer}`);
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
        this.#events.push("dropped", null, connection, text);
      }
      return;
    }
    session.connection = null;
    session.lastSeenMs = nowMs;
    session.lastFault = connection.closeText;
    this.#handleFault(connection, session, nowMs);
  }

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
    session.lastSeenMs = nowMs;
    this.markDirty(connection);
  }

  /** What a broken connection means for its session: the policy decides. */
  #handleFault(connection: Connection, session: Session, nowMs: number): void {
    const wasReady = session.state === SessionState.Ready;
    if (wasReady && connection.closeReason !== "nonce") {
      session.barren = connection.fruitful ? 0 : session.barren + 1;
      if (session.barren === 0) session.backoffMs = 0;
    }
    const text = connection.closeText;
    if (session.lossy && wasReady) {
      this.#forget(session);
      this.#events.push("reset", session, connection, text);
      return;
    }
    session.outbox.requeue();
    const { closeReason } = connection;
    if (closeReason === "auth" || closeReason === "feature") {
      this.#events.push("refused", session, connection, text);
    } else this.#events.push("fault", session, connection, text);
    const { policy } = session;
    if (session.target === null || policy.server) {
      session.state = SessionState.Standby;
    } else if (policy.standby && wasReady && session.outbox.queued === 0) {
      session.state = SessionState.Standby;
    } else if (closeReason === "wait") {
      this.#dialer.yield(session, nowMs);
    } else if (wasReady && session.barren < BARREN_MAX) {
      this.#dialer.now(session, nowMs);
      this.onWork();
    } else this.#dialer.later(session, nowMs);
  }

  #resumeStalled(nowMs: number): void {
    let count = this.#stalled.length;
    while (count-- > 0 && !this.batchFull) {
      const connection = this.#stalled.shift()!;
      connection.stalled = false;
      connection.handleInput(nowMs);
    }
  }

  /**
   * Ends the session that waits longest for its peer to come back, of the newcomer's own name if
   * there is one, so that one name cannot push out the others; false when none waits.
   */
  #evict(name: string, nowMs: number): boolean {
    const oldest = longestWaiting(this.sessions.values(), name);
    if (oldest === null) return false;
    this.counters.expiredSessions++;
    this.endSession(oldest, "A newer session needed its place", nowMs);
    return true;
  }

  #admit(session: Session): void {
    this.sessions.set(session.id, session);
    this.#directory.enter(session);
    session.gate = this.journal?.admit(session) ?? null;
  }

  #forget(session: Session): void {
    this.#strike(session);
    session.outbox.close();
  }

  /** Takes a session off every list; its messages are left. */
  #strike(session: Session): void {
    this.journal?.dismiss(session);
    session.state = SessionState.Closed;
    session.dropped = session.unacknowledged;
    this.sessions.delete(session.id);
    this.#dialer.remove(session);
    this.#directory.remove(session);
  }
}
