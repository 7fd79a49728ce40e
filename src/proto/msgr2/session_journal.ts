/**
 * The journal of a messenger whose sessions a standby holds too: what changed, as records of a post
 * (wire/standby/session_record.ts), and the gates that open when the standby has them. After the
 * messenger's end another one goes on with its sessions (`session_store.ts`): the peer's
 * SESSION_RECONNECT finds cookies and numbers, nothing is lost and nothing doubled.
 *
 *     gates open ──gate()──► closed ──snapshot()──► write(), release() … ──releaseAll()──► open
 *
 * With closed gates a message is numbered when it is recorded, no longer when it is sent, and leaves
 * when its record is released; priorities hold among messages of one `write()`. What was received
 * is acknowledged once its number is released. CLIENT_IDENT, SERVER_IDENT and what follows them wait
 * until the standby knows cookies and addresses.
 *
 * An answer and the request it answers stand or fall together: a standby that had one of them only
 * would lose the answer, or give a second one. So what is sent while a batch is out is recorded
 * after the batch is done, in one post with its numbers: an application must not wait, before
 * `done()`, for what it has sent. The records of large messages may come in posts before; they
 * count when the numbers come, which are always in the last post of a `write()`.
 *
 * With a `window` above 0 (async) messages leave up to that many ahead of the standby; sessions are
 * then started anew after a takeover, with at most that many lost in each direction.
 *
 * The session over which posts go to the standby belongs to another messenger, one without a
 * journal: its own posts would wait for themselves.
 *
 * @module
 */
import { arena } from "../../mem/arena.ts";
import { assert } from "../../mem/assert.ts";
import {
  PolicyBit,
  SESSION_GONE_SIZE,
  SESSION_MESSAGE_HEAD_SIZE,
  SESSION_NUMBERS_SIZE,
  SESSION_RECORD_BYTES_MAX,
  SessionMessage,
  SessionNumbers,
  SessionRecord,
  writeSessionGone,
  writeSessionMessage,
  writeSessionNumbers,
  writeSessionRecord,
} from "../../wire/standby/session_record.ts";
import { POST_BYTES_MAX, type PostWriter, RecordKind } from "../../wire/standby/post.ts";
import type { Messenger } from "./messenger.ts";
import {
  recordCompatVersion,
  recordDataAt,
  recordDataBytes,
  recordFrontAt,
  recordFrontBytes,
  recordMiddleAt,
  recordMiddleBytes,
  recordPriority,
  recordSeq,
  recordTidHi,
  recordTidLo,
  recordType,
  recordVersion,
} from "./outbox.ts";
import type { Policy } from "./policy.ts";
import type { Session } from "./session.ts";
import { SessionGate } from "./session_gate.ts";

/** A post of this size is handed over, further messages go into the next one. */
const FLUSH_BYTES = 1024 * 1024;
/** What one session may send in a message: with everything else of a post it fits into one. */
export const MIRRORED_BYTES_MAX: number = POST_BYTES_MAX - 4 * FLUSH_BYTES;
/** Writes of sessions that wait for their release; while there are more nothing is written. */
const PENDING_MAX = 16 * 1024;

/** What opens when a mark is released. */
interface Pending {
  readonly mark: number;
  readonly gate: SessionGate;
  readonly edition: number;
  readonly epoch: number;
  readonly seq: number;
  readonly inSeq: number;
}

/** Writes what changed in a messenger's sessions, and opens their gates. */
export class SessionJournal {
  /** Messages of a session, each way, that may be ahead of the standby; 0: none (sync). */
  window = 0;
  readonly #messenger: Messenger;
  #gated = false;
  /** A batch is out that began before the gates closed. */
  #torn = false;
  #mark = 0;
  readonly #unsettled = new Set<SessionGate>();
  readonly #changed = new Set<SessionGate>();
  #gone: number[] = [];
  #pending: Pending[] = [];
  readonly #session = new SessionRecord();
  readonly #message = new SessionMessage();
  readonly #numbers = new SessionNumbers();

  /** Its gates are open. */
  constructor(messenger: Messenger) {
    this.#messenger = messenger;
  }

  /** True while gates hold back what the standby does not have. */
  get gated(): boolean {
    return this.#gated;
  }

  /** True when {@linkcode write} has something to write. */
  get dirty(): boolean {
    if (!this.#gated || this.#torn || this.#pending.length >= PENDING_MAX) return false;
    return this.#changed.size > 0 || this.#gone.length > 0 ||
      (this.#unsettled.size > 0 && !this.#messenger.batchOut);
  }

  /** Closes the gates; a {@linkcode snapshot} must follow, before which nothing opens them. */
  gate(): void {
    if (this.#gated) return;
    this.#gated = true;
    this.#torn = this.#messenger.batchOut;
    for (const { gate } of this.#messenger.sessions.values()) gate?.touch();
    if (!this.#torn) this.settle();
  }

  /** The standby is away: everything may leave, nothing is recorded until {@linkcode gate}. */
  releaseAll(): void {
    this.#gated = false;
    this.#torn = false;
    this.#pending = [];
    for (const gate of this.#unsettled) gate.unsettled = false;
    this.#unsettled.clear();
    this.#forgetChanges();
    for (const { gate, outbox, connection } of this.#messenger.sessions.values()) {
      if (gate === null) continue;
      gate.writtenEdition = 0;
      outbox.setWritten();
      if (connection !== null) this.#messenger.markDirty(connection);
    }
  }

  /**
   * Writes everything that changed since the last time, as one whole; returns its mark, which is
   * an old one when there is nothing. `flush` is called when the writer should be emptied into a
   * post of its own; the mark belongs to the last one.
   */
  write(writer: PostWriter, flush: () => void): number {
    if (!this.dirty) return this.#mark;
    if (!this.#messenger.batchOut) this.settle();
    const gates = [...this.#changed];
    for (const gate of gates) {
      const { outbox } = gate.session;
      if (gate.writtenEdition !== gate.edition) {
        this.#writeSession(writer, gate, outbox.written, gate.writtenSeq);
      }
      for (let at = outbox.takeUnwritten(); at !== 0; at = outbox.takeUnwritten()) {
        this.#writeMessage(writer, gate, at, flush);
      }
    }
    const gone = this.#gone;
    this.#forgetChanges();
    return this.#writeEnd(writer, gates, gone, flush);
  }

  /**
   * Writes everything there is, between the marks of a snapshot that the caller sets; returns its
   * mark, or 0 while a batch is out that began before the gates closed: then nothing is written, it
   * is to be called again once the batch is done.
   */
  snapshot(writer: PostWriter, flush: () => void): number {
    assert(this.#gated, "gates are closed before a snapshot");
    if (!this.#messenger.batchOut) this.settle();
    if (this.#torn) return 0;
    const gates: SessionGate[] = [];
    for (const { gate, outbox } of this.#messenger.sessions.values()) {
      if (gate === null) continue;
      gates.push(gate);
      this.#writeSession(writer, gate, 0, 0);
      for (let at = outbox.nextNumbered(0); at !== 0; at = outbox.nextNumbered(at)) {
        this.#writeMessage(writer, gate, at, flush);
      }
      outbox.setWritten();
    }
    this.#forgetChanges();
    return this.#writeEnd(writer, gates, [], flush);
  }

  /** The standby has everything up to this mark. */
  release(mark: number): void {
    let count = 0;
    for (const { mark: written, gate, edition, epoch, seq, inSeq } of this.#pending) {
      if (written > mark) break;
      count++;
      gate.release(edition, epoch, seq, inSeq);
      const { connection } = gate.session;
      if (connection !== null) this.#messenger.markDirty(connection);
    }
    this.#pending.splice(0, count);
  }

  // ---- the messenger reports here

  /** A session that is to be mirrored, if it can be found again by its peer. */
  admit(session: Session): SessionGate | null {
    if (session.lossy || !session.policy.registered) {
      this.dismiss(session);
      return null;
    }
    if (session.gate !== null) return session.gate;
    const gate = new SessionGate(session, this);
    gate.touch();
    gate.renew();
    return gate;
  }

  /** A session ended, or is lossy after all. */
  dismiss({ gate, id }: Session): void {
    if (gate === null || gate.over) return;
    gate.over = true;
    this.#unsettled.delete(gate);
    this.#changed.delete(gate);
    if (gate.writtenEdition > 0) this.#gone.push(id);
  }

  /**
   * Numbers what was sent so far, which goes with the numbers of what was taken over. Those stand
   * while a batch is out, so nothing else is numbered then; a batch is handed out after this.
   */
  settle(): void {
    this.#torn = false;
    for (const gate of this.#unsettled) {
      gate.unsettled = false;
      gate.settle();
      gate.change();
    }
    this.#unsettled.clear();
  }

  /** See {@linkcode SessionGate.touch}. */
  addUnsettled(gate: SessionGate): void {
    if (!this.#gated || gate.over) return;
    gate.unsettled = true;
    this.#unsettled.add(gate);
    this.#messenger.onWork();
  }

  /** See {@linkcode SessionGate.change}. */
  addChanged(gate: SessionGate): void {
    if (!this.#gated || gate.over) return;
    gate.changed = true;
    this.#changed.add(gate);
    this.#messenger.onWork();
  }

  #forgetChanges(): void {
    for (const gate of this.#changed) gate.changed = false;
    this.#changed.clear();
    this.#gone = [];
  }

  #writeSession(writer: PostWriter, gate: SessionGate, kept: number, lastSeq: number): void {
    const { session } = gate;
    const record = this.#session;
    record.session = session.id;
    record.policy = policyBits(session.policy);
    record.established = session.established;
    record.hasTarget = session.target !== null;
    if (session.target === null) record.target.clear();
    else record.target.copy(session.target);
    record.own.count = 0;
    if (session.ownAddrs !== null) record.own.copy(session.ownAddrs);
    record.peerAddrs.copy(session.peerAddrs);
    record.peerType = session.peerType;
    record.peerName = session.peerName;
    record.peerGid.copy(session.peerGid);
    record.supported.copy(session.peerSupported);
    record.required.copy(session.peerRequired);
    record.clientCookie.copy(session.clientCookie);
    record.serverCookie.copy(session.serverCookie);
    record.epoch = session.epoch;
    record.kept = kept;
    record.lastSeq = lastSeq;
    const at = writer.begin(RecordKind.Session, SESSION_RECORD_BYTES_MAX);
    writer.end(writeSessionRecord(writer.region, at, record));
    gate.writtenEdition = gate.edition;
  }

  #writeMessage(writer: PostWriter, gate: SessionGate, at: number, flush: () => void): void {
    const message = this.#message;
    message.session = gate.session.id;
    message.type = recordType(at);
    message.priority = recordPriority(at);
    message.version = recordVersion(at);
    message.compatVersion = recordCompatVersion(at);
    message.seq = recordSeq(at);
    message.tid.set(recordTidLo(at), recordTidHi(at));
    message.frontBytes = recordFrontBytes(at);
    message.middleBytes = recordMiddleBytes(at);
    message.dataBytes = recordDataBytes(at);
    const bytes = message.frontBytes + message.middleBytes + message.dataBytes;
    const start = writer.begin(RecordKind.SessionMessage, SESSION_MESSAGE_HEAD_SIZE + bytes);
    let next = writeSessionMessage(writer.region, start, message);
    next = append(writer, next, recordFrontAt(at), message.frontBytes);
    next = append(writer, next, recordMiddleAt(at), message.middleBytes);
    writer.end(append(writer, next, recordDataAt(at), message.dataBytes));
    gate.writtenSeq = message.seq;
    if (writer.size > FLUSH_BYTES) flush();
  }

  /** The numbers, with which everything before them begins to count: they stay in one post. */
  #writeEnd(
    writer: PostWriter,
    gates: readonly SessionGate[],
    gone: readonly number[],
    flush: () => void,
  ): number {
    if (writer.size > FLUSH_BYTES) flush();
    const numbers = this.#numbers;
    const mark = ++this.#mark;
    numbers.globalSeq = this.#messenger.globalSeq;
    for (const gate of gates) {
      const { session, edition } = gate;
      const { id, epoch, outSeq, takenSeq } = session;
      gate.writtenSeq = outSeq;
      numbers.session = id;
      numbers.epoch = epoch;
      numbers.takenSeq = takenSeq; // as it was when messages were numbered: see settle()
      numbers.ackedSeq = session.ackedSeq;
      numbers.outSeq = outSeq;
      numbers.connectSeq = session.connectSeq;
      numbers.peerGlobalSeq = session.peerGlobalSeq;
      const at = writer.begin(RecordKind.SessionNumbers, SESSION_NUMBERS_SIZE);
      writer.end(writeSessionNumbers(writer.region, at, numbers));
      this.#pending.push({ mark, gate, edition, epoch, seq: outSeq, inSeq: takenSeq });
      const { connection } = session;
      if (this.window > 0 && connection !== null) this.#messenger.markDirty(connection);
    }
    for (const session of gone) {
      const at = writer.begin(RecordKind.SessionGone, SESSION_GONE_SIZE);
      writer.end(writeSessionGone(writer.region, at, session));
    }
    return mark;
  }
}

function append(writer: PostWriter, to: number, at: number, bytes: number): number {
  if (bytes > 0) writer.region.bytes.set(arena.bytes.subarray(at, at + bytes), to);
  return to + bytes;
}

function policyBits(policy: Policy): number {
  return (policy.lossy ? PolicyBit.Lossy : 0) | (policy.server ? PolicyBit.Server : 0) |
    (policy.standby ? PolicyBit.Standby : 0) | (policy.resetcheck ? PolicyBit.Resetcheck : 0) |
    (policy.registered ? PolicyBit.Registered : 0) | (policy.requeue ? PolicyBit.Requeue : 0) |
    (policy.reopen ? PolicyBit.Reopen : 0);
}
