/**
 * What a standby holds of another box's msgr2 sessions: built from the records that
 * `session_journal.ts` writes there, and made into sessions of a messenger here when this box takes
 * over. Bytes of messages lie in ordinary memory until then.
 *
 * With a window above 0 (async) the peers have seen more than is held: such a store is for looking
 * at only, its sessions must not be adopted but are started anew.
 *
 * @module
 */
import { arena } from "../../mem/arena.ts";
import { assert } from "../../mem/assert.ts";
import { fail, Fault } from "../../mem/fault.ts";
import { ARENA_BYTES, SESSIONS_MAX } from "../../mem/limits.ts";
import type { Region } from "../../mem/region.ts";
import { EntityAddrVec } from "../../wire/msgr2/entity_addrvec.ts";
import { RecordKind } from "../../wire/standby/post.ts";
import {
  PolicyBit,
  readSessionGone,
  readSessionMessage,
  readSessionNumbers,
  readSessionRecord,
  SessionMessage,
  SessionNumbers,
  SessionRecord,
} from "../../wire/standby/session_record.ts";
import type { Messenger } from "./messenger.ts";
import { recordDataAt, recordFrontAt, recordMiddleAt } from "./outbox.ts";
import type { Policy } from "./policy.ts";
import type { Session } from "./session.ts";

/** What a message takes besides its segments. */
const MESSAGE_BYTES = 200;
/** All messages held: no messenger has more in its outboxes than the arena. */
const BYTES_MAX = ARENA_BYTES;

/** A message that the peer of a session is owed. */
interface HeldMessage {
  seq: number;
  readonly head: SessionMessage;
  /** Front, middle and data. */
  readonly segments: Uint8Array<ArrayBuffer>;
}

/** A session as far as it was told. */
class HeldSession {
  record = new SessionRecord();
  readonly numbers = new SessionNumbers();
  /** By their numbers, upwards. */
  messages: HeldMessage[] = [];
  /** Number of the last message told. */
  lastSeq = 0;
}

/** The sessions of one box. */
class Sessions {
  readonly byId = new Map<number, HeldSession>();
  messages = 0;
  bytes = 0;
  globalSeq = 0;
}

/** Sessions of another box, to go on with when it is gone. */
export class SessionStore {
  /** Records that were refused. */
  refused = 0;
  #held = new Sessions();
  /** A snapshot of which not everything has come. */
  #coming: Sessions | null = null;
  #complete = false;
  #record = new SessionRecord();
  #message = new SessionMessage();
  readonly #numbers = new SessionNumbers();

  /** Sessions held. */
  get sessions(): number {
    return this.#held.byId.size;
  }

  /** Messages held. */
  get messages(): number {
    return this.#held.messages;
  }

  /** Bytes that they take. */
  get bytes(): number {
    return this.#held.bytes;
  }

  /**
   * True when everything there is was told: a snapshot has ended, and no record was refused since.
   * Only then can sessions be adopted.
   */
  get complete(): boolean {
    return this.#complete;
  }

  /** A snapshot begins; what is held stays as it is until it ends. */
  begin(): void {
    this.#coming = new Sessions();
  }

  /** The snapshot is whole: it is all there is. */
  end(): void {
    if (this.#coming === null) return;
    this.#held = this.#coming;
    this.#coming = null;
    this.#complete = true;
  }

  /** Forgets everything. */
  clear(): void {
    this.#held = new Sessions();
    this.#coming = null;
    this.#complete = false;
  }

  /**
   * Takes a record whose body is from `at` to `end`; 0, or a negated {@linkcode Fault} for one that
   * does not fit to what was told: then a new snapshot is needed.
   */
  apply(kind: number, from: Region, at: number, end: number): number {
    const sessions = this.#coming ?? this.#held;
    const fault = this.#apply(sessions, kind, from, at, end);
    if (fault >= 0) return 0;
    this.refused++;
    this.#coming = null;
    this.#complete = false;
    return fault;
  }

  /**
   * Makes the sessions those of a messenger: it must be fresh, with the names, keys and addresses of
   * the box that is gone. Sessions that peers opened wait for them, those that were opened to
   * others are dialled at once. Returns how many could be made, and holds nothing any more.
   */
  adoptInto(messenger: Messenger, nowMs: number): number {
    assert(messenger.journal?.gated !== true, "sessions are adopted before the gates close");
    if (!this.#complete) return 0;
    let count = 0;
    messenger.nextGlobalSeq(this.#held.globalSeq);
    for (const held of this.#held.byId.values()) {
      const { record } = held;
      const policy = policyOf(record.policy);
      const target = record.hasTarget ? record.target : null;
      if (messenger.adopt(policy, target, nowMs, (session) => fill(session, held))) count++;
    }
    this.clear();
    return count;
  }

  #apply(sessions: Sessions, kind: number, from: Region, at: number, end: number): number {
    switch (kind) {
      case RecordKind.Session:
        return this.#applySession(sessions, from, at, end);
      case RecordKind.SessionMessage:
        return this.#applyMessage(sessions, from, at, end);
      case RecordKind.SessionNumbers:
        return this.#applyNumbers(sessions, from, at, end);
      case RecordKind.SessionGone:
        return this.#applyGone(sessions, from, at, end);
      default:
        return fail(Fault.Field, "SYNC record kind", at, kind, "one of a session");
    }
  }

  #applySession(sessions: Sessions, from: Region, at: number, end: number): number {
    const record = this.#record;
    const next = readSessionRecord(from, at, end, record);
    if (next < 0) return next;
    if (record.peerAddrs.count === 0) {
      return fail(Fault.Field, "SESSION peer addresses", at, 0, "one or more");
    }
    let held = sessions.byId.get(record.session);
    const size = sessions.byId.size;
    if (held === undefined && size >= SESSIONS_MAX) {
      return fail(Fault.Full, "SESSION", at, size, `${SESSIONS_MAX} sessions at most`);
    }
    const count = held?.messages.length ?? 0;
    if (record.kept > count) {
      return fail(
        Fault.Field,
        "SESSION kept",
        at,
        record.kept,
        `${count} at most, as many are held`,
      );
    }
    const { kept, epoch, lastSeq } = record;
    const anew = held === undefined || held.record.epoch !== epoch;
    if (kept > lastSeq) return fail(Fault.Field, "SESSION kept", at, kept, "the last seq at most");
    if (held === undefined) {
      held = new HeldSession();
      sessions.byId.set(record.session, held);
    }
    this.#record = held.record; // the two change places
    held.record = record;
    drop(sessions, held, count - kept);
    if (!anew) return 0;
    held.messages.forEach((message, index) => message.seq = lastSeq - kept + 1 + index);
    held.lastSeq = lastSeq;
    const { numbers } = held;
    numbers.epoch = epoch;
    numbers.takenSeq = 0;
    numbers.ackedSeq = 0;
    numbers.outSeq = lastSeq;
    numbers.connectSeq = 0;
    return 0;
  }

  #applyMessage(sessions: Sessions, from: Region, at: number, end: number): number {
    const head = this.#message;
    const next = readSessionMessage(from, at, end, head);
    if (next < 0) return next;
    const held = sessions.byId.get(head.session);
    if (held === undefined) return unknown("SESSION_MESSAGE session", at, head.session);
    const { seq } = head;
    if (seq <= held.lastSeq) {
      return fail(Fault.Field, "SESSION_MESSAGE seq", at, seq, `above ${held.lastSeq}`);
    }
    const bytes = sessions.bytes + MESSAGE_BYTES + end - head.at;
    if (bytes > BYTES_MAX) {
      return fail(Fault.Full, "SESSION_MESSAGE", at, bytes, `${BYTES_MAX} bytes at most`);
    }
    this.#message = new SessionMessage();
    held.messages.push({ seq, head, segments: from.bytes.slice(head.at, end) });
    held.lastSeq = seq;
    sessions.messages++;
    sessions.bytes = bytes;
    return 0;
  }

  #applyNumbers(sessions: Sessions, from: Region, at: number, end: number): number {
    const numbers = this.#numbers;
    const next = readSessionNumbers(from, at, end, numbers);
    if (next < 0) return next;
    const held = sessions.byId.get(numbers.session);
    if (held === undefined) return unknown("SESSION_NUMBERS session", at, numbers.session);
    const before = held.numbers;
    const { epoch, takenSeq, ackedSeq, outSeq } = numbers;
    if (epoch !== before.epoch) {
      return fail(Fault.Field, "SESSION_NUMBERS epoch", at, epoch, `${before.epoch}`);
    }
    if (takenSeq < before.takenSeq) {
      return fail(Fault.Field, "SESSION_NUMBERS taken", at, takenSeq, `from ${before.takenSeq} on`);
    }
    if (outSeq < held.lastSeq || outSeq < before.outSeq) {
      const expected = `from ${Math.max(held.lastSeq, before.outSeq)} on`;
      return fail(Fault.Field, "SESSION_NUMBERS out", at, outSeq, expected);
    }
    if (ackedSeq < before.ackedSeq || ackedSeq > outSeq) {
      const expected = `${before.ackedSeq} to ${outSeq}`;
      return fail(Fault.Field, "SESSION_NUMBERS acked", at, ackedSeq, expected);
    }
    before.takenSeq = takenSeq;
    before.ackedSeq = ackedSeq;
    before.outSeq = outSeq;
    before.connectSeq = numbers.connectSeq;
    before.peerGlobalSeq = numbers.peerGlobalSeq;
    held.lastSeq = outSeq;
    sessions.globalSeq = Math.max(sessions.globalSeq, numbers.globalSeq);
    let count = 0;
    for (const { seq } of held.messages) {
      if (seq > ackedSeq) break;
      count++;
    }
    drop(sessions, held, count);
    return 0;
  }

  #applyGone(sessions: Sessions, from: Region, at: number, end: number): number {
    const session = readSessionGone(from, at, end);
    if (session < 0) return session;
    const held = sessions.byId.get(session);
    if (held === undefined) return unknown("SESSION_GONE session", at, session);
    drop(sessions, held, held.messages.length);
    sessions.byId.delete(session);
    return 0;
  }
}

function unknown(field: string, at: number, session: number): number {
  return fail(Fault.Field, field, at, session, "a session that was told");
}

/** Lets go of the oldest messages. */
function drop(sessions: Sessions, held: HeldSession, count: number): void {
  if (count === 0) return;
  for (const { segments } of held.messages.splice(0, count)) {
    sessions.messages--;
    sessions.bytes -= MESSAGE_BYTES + segments.length;
  }
}

/** Gives a session what is held; false when its messages find no room. */
function fill(session: Session, { record, numbers, messages }: HeldSession): boolean {
  session.peerAddrs.copy(record.peerAddrs);
  session.peerType = record.peerType;
  session.peerName = record.peerName;
  session.peerGid.copy(record.peerGid);
  session.peerSupported.copy(record.supported);
  session.peerRequired.copy(record.required);
  session.clientCookie.copy(record.clientCookie);
  session.serverCookie.copy(record.serverCookie);
  session.established = record.established;
  session.epoch = record.epoch;
  session.peerGlobalSeq = numbers.peerGlobalSeq;
  session.connectSeq = numbers.connectSeq;
  session.inSeq = numbers.takenSeq;
  session.takenSeq = numbers.takenSeq;
  session.ackSentSeq = numbers.takenSeq;
  session.outSeq = numbers.outSeq;
  session.ackedSeq = numbers.ackedSeq;
  if (record.own.count > 0) {
    session.ownAddrs = new EntityAddrVec();
    session.ownAddrs.copy(record.own);
  }
  for (const message of messages) {
    if (message.seq > numbers.outSeq) break; // it does not count: its numbers never came
    if (!queue(session, message)) return false;
  }
  return true;
}

function queue({ outbox }: Session, { seq, head, segments }: HeldMessage): boolean {
  const { frontBytes, middleBytes, dataBytes } = head;
  const record = outbox.reserve(frontBytes, middleBytes, dataBytes);
  if (record === 0) return false;
  const dataAt = frontBytes + middleBytes;
  arena.bytes.set(segments.subarray(0, frontBytes), recordFrontAt(record));
  arena.bytes.set(segments.subarray(frontBytes, dataAt), recordMiddleAt(record));
  arena.bytes.set(segments.subarray(dataAt), recordDataAt(record));
  const { type, priority, version, compatVersion, tid } = head;
  outbox.commit(record, type, priority, version, compatVersion, tid.lo, tid.hi);
  outbox.number(seq - 1);
  outbox.setWritten();
  return true;
}

function policyOf(bits: number): Policy {
  return {
    lossy: (bits & PolicyBit.Lossy) !== 0,
    server: (bits & PolicyBit.Server) !== 0,
    standby: (bits & PolicyBit.Standby) !== 0,
    resetcheck: (bits & PolicyBit.Resetcheck) !== 0,
    registered: (bits & PolicyBit.Registered) !== 0,
    requeue: (bits & PolicyBit.Requeue) !== 0,
    reopen: (bits & PolicyBit.Reopen) !== 0,
  };
}
