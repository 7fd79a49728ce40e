/**
 * A session: an ordered, lossless stream of messages between two entities that may outlive many
 * connections. msgr2 "Definitions" and "Message flow handshake". This file holds what survives a
 * connection; the decisions are in `messenger.ts`, `connect.ts` and `accept.ts`.
 *
 * @module
 */
import { arena } from "../../mem/arena.ts";
import { U64 } from "../../mem/u64.ts";
import type { EntityAddr } from "../../wire/msgr2/entity_addr.ts";
import { EntityAddrVec } from "../../wire/msgr2/entity_addrvec.ts";
import { MESSAGE_HEADER_SIZE, PRIORITY_DEFAULT } from "../../wire/msgr2/message.ts";
import type { Connection } from "./connection.ts";
import type { Messenger } from "./messenger.ts";
import {
  Outbox,
  recordDataAt,
  recordDataBytes,
  recordFrontAt,
  recordFrontBytes,
  recordMiddleAt,
  recordMiddleBytes,
} from "./outbox.ts";
import type { Policy } from "./policy.ts";
import type { SessionGate } from "./session_gate.ts";
import { MIRRORED_BYTES_MAX } from "./session_journal.ts";
import { SharedData } from "./shared_data.ts";

/**
 * Life of a session:
 *
 *     Connecting ──► Ready ──► (fault) ──► Connecting | Standby | Closed
 *         ▲  └─► Wait (lost a race) ──┘
 *     Standby ──(something to send, or the peer comes)──► Connecting | Ready
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Endpoint, POLICIES, SessionState } from "@fairlead/fairlead";
 *
 * const box = new Endpoint();
 * const session = await box.connect("v2:127.0.0.1:1", POLICIES.losslessClient);
 * assert.equal(session.state, SessionState.Connecting);
 * await box.close();
 * assert.equal(session.state, SessionState.Closed);
 * ```
 */
export const SessionState = {
  /** A connection is being made, or will be at `dialAtMs`. */
  Connecting: 0,
  /** Messages flow. */
  Ready: 1,
  /** No connection, and none wanted until there is something to send or the peer comes. */
  Standby: 2,
  /** The peer's connection should win a race: wait for it, dial only after a long while. */
  Wait: 3,
  /** Over. */
  Closed: 4,
} as const;

const STATE_NAMES = ["connecting", "ready", "standby", "wait", "closed"] as const;
const NO_BYTES = new Uint8Array(0);

/** What is sent with {@linkcode Session.send}; everything but the type may be left out. */
export interface OutMessage {
  /** Message type: 0xfa00 and up are not used by Ceph. */
  readonly type: number;
  /** First payload segment. */
  readonly front?: Uint8Array;
  /** Second payload segment. */
  readonly middle?: Uint8Array;
  /** Third payload segment. */
  readonly data?: Uint8Array | SharedData;
  /** Higher goes first; 127 unless set. */
  readonly priority?: number;
  /** Encoding version; 1 unless set. */
  readonly version?: number;
  /** Oldest compatible version; 1 unless set. */
  readonly compatVersion?: number;
  /** Transaction id, the application's own. */
  readonly tid?: U64;
}

/**
 * One session with one peer: it queues what is sent, keeps it until the peer has acknowledged it,
 * and outlives its connections. msgr2 "Message flow handshake".
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Endpoint, POLICIES, Session } from "@fairlead/fairlead";
 *
 * const box = new Endpoint();
 * const session: Session = await box.connect("v2:127.0.0.1:1", POLICIES.losslessClient);
 * const serial = session.send({ type: 0xfa00, front: new Uint8Array(100) });
 * assert.equal(session.unacknowledged, 1); // it waits until somebody listens there
 * assert.equal(session.revoke(serial), true);
 * assert.equal(session.unacknowledged, 0);
 * await box.close();
 * ```
 */
export class Session {
  /** Number of this session in this process. */
  readonly id: number;
  /** What happens when a connection breaks. */
  readonly policy: Policy;
  /** Where the peer listens, when this side may connect. */
  readonly target: EntityAddr | null;
  /** All addresses the peer told. */
  readonly peerAddrs: EntityAddrVec = new EntityAddrVec();
  /** The peer's EntityType. */
  peerType = 0;
  /** The peer's name as authenticated (`client.gw1`), or `client.?`. */
  peerName = "";
  /** The peer's gid. */
  readonly peerGid: U64 = new U64();
  /** CEPH_FEATURE bits of the peer's ident: what it knows. */
  readonly peerSupported: U64 = new U64();
  /** CEPH_FEATURE bits of the peer's ident: what it insists on. */
  readonly peerRequired: U64 = new U64();
  /** One of {@linkcode SessionState}. */
  state: number = SessionState.Connecting;
  /** True when messages are not kept for replay; the server's SERVER_IDENT decides. */
  lossy: boolean;
  /** True once SERVER_IDENT stood for the first time. */
  established = false;
  /** Cookie of the side that connected first. */
  readonly clientCookie: U64 = new U64();
  /** Cookie of the side that accepted first; 0 until SERVER_IDENT. */
  readonly serverCookie: U64 = new U64();
  /** The peer's global_seq on its last connection. */
  peerGlobalSeq = 0;
  /** Reconnect attempts of this session. */
  connectSeq = 0;
  /** Counts SERVER_IDENTs: numbers of different epochs do not compare. */
  epoch = 0;
  /** Number of the last message received. */
  inSeq = 0;
  /** Number of the last message the application has taken over: what is acknowledged. */
  takenSeq = 0;
  /** Number last acknowledged to the peer. */
  ackSentSeq = 0;
  /** Number of the last message that has a number: sent, or with a journal also to be sent. */
  outSeq = 0;
  /** Number of our last message that the peer has acknowledged. */
  ackedSeq = 0;
  /** What the peer is still owed. */
  readonly outbox: Outbox;
  /** The addresses that the peer is told, once they must not change: the peer knows us by them. */
  ownAddrs: EntityAddrVec | null = null;
  /**
   * What holds it back until a standby has it too; null where none is asked for.
   *
   * @ignore
   */
  gate: SessionGate | null = null;
  /** The present connection. */
  connection: Connection | null = null;
  /** When to connect next. */
  dialAtMs = 0;
  /** Wait before the next attempt; 0 after a healthy connection. */
  backoffMs = 0;
  /** Connections in a row that became ready, carried nothing and broke. */
  barren = 0;
  /** When the session last had a connection, for the expiry of those that wait. */
  lastSeenMs = 0;
  /** Messages sent, replays not counted. */
  messagesSent = 0;
  /** Messages handed to the application. */
  messagesReceived = 0;
  /** Payload bytes queued for sending. */
  bytesSent = 0;
  /** Payload bytes handed to the application. */
  bytesReceived = 0;
  /** Times that a connection was made again. */
  reconnects = 0;
  /** Messages that were not acknowledged when the session ended. */
  dropped = 0;
  /** Messages dropped because they had been received before. */
  duplicates = 0;
  /** Why the last connection ended. */
  lastFault = "";
  readonly #messenger: Messenger;

  /** Made by the messenger: {@linkcode Messenger.connect}, or by accepting. */
  constructor(
    id: number,
    messenger: Messenger,
    policy: Policy,
    target: EntityAddr | null,
    outboxBytesMax: number,
  ) {
    this.id = id;
    this.#messenger = messenger;
    this.policy = policy;
    this.lossy = policy.lossy;
    this.target = target;
    this.outbox = new Outbox(outboxBytesMax);
  }

  /** The state as a word. */
  get stateName(): string {
    return STATE_NAMES[this.state]!;
  }

  /** Number of the last message received that may be acknowledged. */
  get ackableSeq(): number {
    return this.gate === null ? this.takenSeq : this.gate.ackableSeq;
  }

  /** Number of the last message that was ever put on a wire. */
  get sentSeq(): number {
    return this.gate === null ? this.outSeq : this.gate.sentSeq;
  }

  /** Messages that are queued or sent and not acknowledged. */
  get unacknowledged(): number {
    return this.outbox.queued + this.outbox.sent;
  }

  /**
   * Queues a message; its bytes are copied. Returns its serial (above 0, for `revoke`), or 0 when
   * the queue is full or the session closed: wait for acknowledgements and try again.
   *
   * @throws RangeError when the message is larger than any frame may be
   */
  send(message: OutMessage): number {
    const front = message.front ?? NO_BYTES;
    const middle = message.middle ?? NO_BYTES;
    const data = message.data ?? NO_BYTES;
    const shared = data instanceof SharedData;
    const record = this.reserve(front.length, middle.length, shared ? data : data.length);
    if (record === 0) return 0;
    if (front.length > 0) arena.bytes.set(front, recordFrontAt(record));
    if (middle.length > 0) arena.bytes.set(middle, recordMiddleAt(record));
    if (!shared && data.length > 0) arena.bytes.set(data, recordDataAt(record));
    const tid = message.tid;
    return this.commit(
      record,
      message.type,
      message.priority ?? PRIORITY_DEFAULT,
      message.version ?? 1,
      message.compatVersion ?? 1,
      tid === undefined ? 0 : tid.lo,
      tid === undefined ? 0 : tid.hi,
    );
  }

  /**
   * Makes room for a message whose segments the caller writes into the arena itself, at
   * `recordFrontAt(record)` and so on; follow with {@linkcode commit}. 0 when full or closed.
   */
  reserve(frontBytes: number, middleBytes: number, data: number | SharedData): number {
    if (this.state === SessionState.Closed) return 0;
    const bytes = frontBytes + middleBytes + (typeof data === "number" ? data : data.length);
    let { frameBytesMax } = this.#messenger.options;
    if (this.gate !== null) frameBytesMax = Math.min(frameBytesMax, MIRRORED_BYTES_MAX);
    if (bytes + MESSAGE_HEADER_SIZE > frameBytesMax) {
      throw new RangeError(
        `Cannot send message as it must be ${frameBytesMax - MESSAGE_HEADER_SIZE} bytes at most: ` +
          `current value is ${bytes}`,
      );
    }
    return this.outbox.reserve(frontBytes, middleBytes, data);
  }

  /** Queues a reserved message; returns its serial. */
  commit(
    record: number,
    type: number,
    priority: number,
    version: number,
    compatVersion: number,
    tidLo: number,
    tidHi: number,
  ): number {
    const serial = this.outbox.commit(
      record,
      type,
      priority,
      version,
      compatVersion,
      tidLo,
      tidHi,
    );
    this.bytesSent += recordFrontBytes(record) + recordMiddleBytes(record) +
      recordDataBytes(record);
    this.#messenger.handleQueued(this);
    return serial;
  }

  /**
   * SERVER_IDENT was sent or received: numbers start anew in both directions.
   *
   * @ignore
   */
  restart(): void {
    this.outbox.requeue();
    this.established = true;
    this.epoch++;
    this.inSeq = 0;
    this.takenSeq = 0;
    this.ackSentSeq = 0;
    this.ackedSeq = 0;
    this.outSeq = 0;
    if (this.gate === null) this.outbox.renumber();
    else this.outSeq = this.gate.restart();
  }

  /**
   * Takes a message back: dropped when it waits, aborted on the wire when it is half sent. False
   * when it is too late: also when its connection broke, as the peer may have it already, or when
   * a standby has it, which would send it.
   */
  revoke(serial: number): boolean {
    const record = this.outbox.revoke(serial);
    if (record === 0) return true;
    if (record < 0 || this.connection === null) return false;
    if (this.gate !== null && !this.gate.revocable) return false;
    if (!this.connection.writer.abort(record)) return false;
    this.#messenger.markDirty(this.connection);
    return true;
  }
}
