/**
 * One TCP connection of msgr2: its receive buffer, its phases up to READY, and the frames of the
 * message exchange. Read msgr2 "Phases" before touching it; the handshake's frames are answered
 * in `connect.ts` (the side that connected) and `accept.ts` (the side that accepted), sessions
 * are kept by `messenger.ts`.
 *
 *     Banner ─► Hello ─► Auth ◄─► (more) ─► AuthSign ─► [Compression] ─► Ident | Reconnect ─► Ready
 *        └────────┴────────┴─────── any fault ─────────────┴──────────────────┴────────────────┴─► Closed
 *
 * Inputs: `handleConnected`, `handleReceived`, `handleSent`, `handleEnd`, `handleDeadline`.
 * Outputs: `pollTransmit` and the messenger's queues. Time is a parameter in whole milliseconds.
 *
 * @module
 */
import { arena } from "../../mem/arena.ts";
import { describeFault, fail, Fault, lastFault } from "../../mem/fault.ts";
import {
  HANDSHAKE_BYTES_MAX,
  HANDSHAKE_FRAME_BYTES_MAX,
  SEND_AHEAD_BYTES,
} from "../../mem/limits.ts";
import { ReceiveBuffer } from "../../mem/receive_buffer.ts";
import { U64 } from "../../mem/u64.ts";
import { readAck, writeAck } from "../../wire/msgr2/ack.ts";
import { ConMode } from "../../wire/msgr2/auth.ts";
import { agreeRevision, Banner, readBanner, writeBanner } from "../../wire/msgr2/banner.ts";
import { EntityAddr } from "../../wire/msgr2/entity_addr.ts";
import { FrameFormat } from "../../wire/msgr2/frame.ts";
import { Hello, writeHello } from "../../wire/msgr2/hello.ts";
import { Keepalive, readKeepalive, writeKeepalive } from "../../wire/msgr2/keepalive.ts";
import { MessageHeader, readMessageHeader } from "../../wire/msgr2/message.ts";
import { Nonce } from "../../wire/msgr2/nonce.ts";
import { Tag, tagName } from "../../wire/msgr2/tag.ts";
import { handleAcceptFrame } from "./accept.ts";
import type { AuthClient, AuthServer } from "./auth.ts";
import { handleConnectFrame } from "./connect.ts";
import { FrameReader } from "./frame_reader.ts";
import { FrameWriter } from "./frame_writer.ts";
import type { Messenger } from "./messenger.ts";
import { isAborted, isNumbered, type Outbox, recordMark, recordSeq } from "./outbox.ts";
import { closeAgreed } from "./peer.ts";
import { type CloseReason, Phase, PHASE_NAMES } from "./phase.ts";
import type { Session } from "./session.ts";
import { Transcript } from "./transcript.ts";

export { type CloseReason, Phase } from "./phase.ts";

/** The part of connection_secret that is the AES-128 key, and the nonces behind it. */
const SECRET_KEY_END = 16;
const SECRET_ACCEPTOR_NONCE = 16;
const SECRET_CONNECTOR_NONCE = 28;
/** Bytes of a connection_secret: two nonces behind the key, the rest unused. */
export const CONNECTION_SECRET_SIZE = 64;

/** Bytes that count as life although the frame they belong to is not whole yet. */
const PROGRESS_BYTES = 16 * 1024;

/**
 * One TCP connection as a machine: received bytes in, frames to send and messages out. It is made
 * by {@linkcode Messenger}, which tells when to open and to close its socket.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   arena,
 *   authNone,
 *   Banner,
 *   Connection,
 *   EntityAddr,
 *   EntityType,
 *   FEATURES_REQUIRED,
 *   FEATURES_SUPPORTED,
 *   gcmMaker,
 *   Messenger,
 *   MESSENGER_DEFAULTS,
 *   NodeCrypto,
 *   Phase,
 *   POLICIES,
 *   U64,
 *   writeBanner,
 * } from "@fairlead/fairlead";
 *
 * const messenger = new Messenger({
 *   ...MESSENGER_DEFAULTS,
 *   entityType: EntityType.Mon,
 *   gid: U64.of(0),
 *   nonce: 1,
 *   features: { supported: FEATURES_SUPPORTED, required: FEATURES_REQUIRED },
 *   policyFor: () => POLICIES.statefulServer,
 *   auth: authNone("mon.0"),
 *   aead: gcmMaker(),
 *   crypto: new NodeCrypto(),
 * });
 * const [peer, local] = ["v2:10.0.0.7:40000", "v2:10.0.0.1:3300"].map(EntityAddr.parse);
 * const connection: Connection = messenger.accept(peer!, local!, 0)!;
 * connection.handleConnected(0);
 * // A socket receives into the arena from receiveAt to receiveEnd; here the peer says its banner.
 * const end = writeBanner(arena, connection.receiveAt, new Banner());
 * connection.handleReceived(end - connection.receiveAt, 5);
 * assert.equal(connection.phase, Phase.Hello);
 * ```
 */
export class Connection {
  /** Number in this process; the loop keeps its socket under it. */
  readonly id: number;
  /** True when the peer connected to us. */
  readonly accepted: boolean;
  /** The peer's socket address, as sent in HELLO. */
  readonly peer: EntityAddr = new EntityAddr();
  /** Our own socket address on this connection, when the loop knows it. */
  readonly local: EntityAddr = new EntityAddr();
  /** The messenger it belongs to. */
  readonly messenger: Messenger;
  /** One of {@linkcode Phase}. */
  phase: number = Phase.Opening;
  /** The session it carries, once one is known. */
  session: Session | null = null;
  /** The session's epoch that this connection's message numbers belong to. */
  epoch = 0;
  /** Builds what is sent. */
  readonly writer: FrameWriter;
  /** Finds what was received. */
  readonly reader: FrameReader;
  /** What the peer's banner said. */
  readonly banner: Banner = new Banner();
  /** Our address as the peer sees it: HELLO peer_addr. */
  readonly seenAs: EntityAddr = new EntityAddr();
  /** The peer's EntityType: HELLO entity_type. */
  peerType = 0;
  /** The client's side of the authentication method. */
  authClient: AuthClient | null = null;
  /** The server's side of the authentication method. */
  authServer: AuthServer | null = null;
  /** Method in use, one of AuthMethod. */
  authMethod = 0;
  /** Connection mode, one of ConMode. */
  mode: number = ConMode.Crc;
  /** Methods a peer allows, from AUTH_BAD_METHOD. */
  allowedMethods: readonly number[] = [];
  /** Modes a peer allows, from AUTH_BAD_METHOD. */
  allowedModes: readonly number[] = [];
  /** AUTH_BAD_METHOD frames on this connection, either way. */
  badMethods = 0;
  /** global_id of this authentication. */
  readonly globalId: U64 = new U64();
  /** global_seq of this attempt (connecting side). */
  globalSeq = 0;
  /** True once messages can flow. */
  ready = false;
  /** True once a message or an acknowledgement came. */
  fruitful = false;
  /** The phase in which it ended. */
  lastPhase: number = Phase.Opening;
  /** Why it ended. */
  closeReason: CloseReason | "" = "";
  /** The same in a sentence. */
  closeText = "";
  /** Queued in the messenger's list of connections with something to send. */
  dirty = false;
  /** Waits for room in the batch. */
  stalled = false;
  /**
   * What arrived and was not handled yet.
   *
   * @ignore
   */
  readonly received: ReceiveBuffer = new ReceiveBuffer();
  /**
   * What the signatures of authentication cover.
   *
   * @ignore
   */
  readonly transcript: Transcript = new Transcript();
  /** Stamp of the last KEEPALIVE2_ACK. */
  readonly keepaliveAck: Keepalive = new Keepalive();
  /** KEEPALIVE2_ACK frames received in answer to ours. */
  keepaliveAcks = 0;

  #handshakeBytes = 0;
  /** CLOSE is to be sent behind a message that is half sealed. */
  #closeDue = false;
  /** Messages of a session that ended here, as long as their bytes wait to be sent. */
  #kept: Outbox | null = null;
  #openedMs = 0;
  #heardMs = 0;
  #progress = 0;
  #probedMs = 0;
  #keepaliveDue = false;
  #keepaliveAckDue = false;
  /** KEEPALIVE2 frames that were not answered yet. */
  #keepalivesOut = 0;
  readonly #keepalive = new Keepalive();
  readonly #keepaliveReply = new Keepalive();
  readonly #header = new MessageHeader();

  /** Made by the messenger: for a session that connects, or for an accepted socket. */
  constructor(messenger: Messenger, id: number, accepted: boolean) {
    this.messenger = messenger;
    this.id = id;
    this.accepted = accepted;
    this.writer = new FrameWriter(FrameFormat.Crc20);
    this.reader = new FrameReader(FrameFormat.Crc20);
  }

  /** The phase as a word. */
  get phaseName(): string {
    return PHASE_NAMES[this.phase]!;
  }

  /** Takes memory and starts the clock; false when the arena is full. */
  open(nowMs: number): boolean {
    this.#openedMs = nowMs;
    this.#heardMs = nowMs;
    return this.received.open() && this.writer.open();
  }

  /** TCP is connected: the banner goes out at once, msgr2 "Banner". */
  handleConnected(nowMs: number): void {
    if (this.phase !== Phase.Opening) return;
    this.phase = Phase.Banner;
    this.#heardMs = nowMs;
    const at = this.writer.beginRaw();
    const end = writeBanner(arena, at, this.messenger.banner);
    this.writer.endRaw(end);
    this.transcript.noteSent(at, end);
    this.messenger.markDirty(this);
  }

  /** When it began, or began to drain. */
  get openedMs(): number {
    return this.#openedMs;
  }

  /** Where received bytes go: arena [receiveAt, receiveEnd). Empty while back-pressure holds. */
  get receiveAt(): number {
    return this.received.tail;
  }

  /** End of the room for received bytes. */
  get receiveEnd(): number {
    return this.received.readEnd;
  }

  /** Makes room for received bytes where it can; returns how many are to be read now. */
  makeRoom(): number {
    if (this.phase >= Phase.Draining) return this.received.readEnd - this.received.tail;
    return this.received.makeRoom(this.reader.expected);
  }

  /** True when reading on is better done once the messages read so far are taken over. */
  get cramped(): boolean {
    return this.received.isCramped(this.reader.expected);
  }

  /** Takes `count` bytes that arrived at `receiveAt`. */
  handleReceived(count: number, nowMs: number): void {
    this.received.tail += count;
    if (this.phase < Phase.Ready) {
      this.#handshakeBytes += count;
      if (this.#handshakeBytes > HANDSHAKE_BYTES_MAX) {
        const text =
          `Cannot accept handshake as it must take ${HANDSHAKE_BYTES_MAX} bytes at most` +
          `: current value is ${this.#handshakeBytes}`;
        this.close("limit", text, nowMs);
        return;
      }
    }
    this.#progress += count;
    if (this.#progress >= PROGRESS_BYTES) this.#heard(nowMs);
    this.handleInput(nowMs);
  }

  /** Handles what is in the buffer, as far as the batch has room. */
  handleInput(nowMs: number): void {
    while (this.phase < Phase.Draining) {
      if (this.phase === Phase.Banner) {
        if (!this.#handleBanner(nowMs)) return;
        continue;
      }
      if (this.phase === Phase.Ready && this.messenger.batchFull) {
        this.messenger.markStalled(this);
        return;
      }
      const at = this.received.head;
      const limit = this.phase < Phase.Ready
        ? HANDSHAKE_FRAME_BYTES_MAX
        : this.messenger.options.frameBytesMax;
      const next = this.reader.read(at, this.received.tail, limit);
      if (next === 0) return;
      if (next < 0) {
        this.#closeForFault(next, nowMs);
        return;
      }
      this.received.head = next;
      this.#heard(nowMs);
      this.#handleFrame(at, next, nowMs);
      if (this.received.head === this.received.tail) this.received.rewind();
    }
  }

  /** The kernel took `count` bytes. */
  handleSent(count: number, nowMs: number): void {
    this.writer.gather.sent(count);
    if (this.phase === Phase.Draining) {
      if (this.#drained) this.#end(nowMs);
      else this.messenger.markDirty(this);
      return;
    }
    const session = this.session;
    if (session !== null && this.phase === Phase.Ready) {
      this.#dropSent(session);
    }
  }

  /** The stream ended (`errorText` empty) or failed. What arrived before still counts. */
  handleEnd(errorText: string, nowMs: number): void {
    if (this.phase === Phase.Closed) return;
    const text = errorText !== ""
      ? errorText
      : this.phase < Phase.Ready
      ? `Peer closed the connection during ${this.phaseName}`
      : "Peer closed the connection";
    this.close(errorText === "" ? "peer" : "cut", text, nowMs);
  }

  /**
   * Writes what is due: control frames, messages in order, an ACK when no message carried it.
   * True when the gather list holds something to send.
   */
  pollTransmit(nowMs: number): boolean {
    if (this.phase === Phase.Closed || this.#isHeld) return false;
    const { writer } = this;
    writer.pump();
    if (this.#closeDue && writer.canControl()) {
      this.#closeDue = false;
      writer.endControl(Tag.Close, writer.beginControl());
    }
    if (this.phase === Phase.Ready) this.#transmitReady(this.session!, nowMs);
    return writer.gather.bytes > 0;
  }

  /** Asks the peer for a sign of life; the answer counts up `keepaliveAcks`. */
  sendKeepalive(seconds: number, nanoseconds: number): void {
    this.#keepalive.seconds = seconds;
    this.#keepalive.nanoseconds = nanoseconds;
    this.#keepaliveDue = true;
    this.messenger.markDirty(this);
  }

  /** When {@linkcode handleDeadline} must be called next. */
  pollDeadline(): number {
    const { options } = this.messenger;
    if (this.phase === Phase.Closed) return Infinity;
    if (this.phase < Phase.Ready || this.phase === Phase.Draining) {
      return this.#openedMs + options.handshakeMs;
    }
    const since = Math.max(this.#heardMs, this.#probedMs);
    return Math.min(since + options.keepaliveMs, this.#heardMs + options.deadMs);
  }

  /** Call at or after {@linkcode pollDeadline}. */
  handleDeadline(nowMs: number): void {
    const { options } = this.messenger;
    if (nowMs < this.pollDeadline()) return;
    if (this.phase === Phase.Draining) {
      this.#end(nowMs);
    } else if (this.phase < Phase.Ready) {
      const text = `Handshake did not finish within ${options.handshakeMs} ms: it stopped at ` +
        this.phaseName;
      this.close("handshake", text, nowMs);
    } else if (this.stalled || this.received.blocked) {
      this.#heardMs = nowMs; // we do not listen, so its silence says nothing
      this.#probe(nowMs); // and ours would look like death to it
    } else if (nowMs - this.#heardMs >= options.deadMs) {
      this.close("silent", `Peer was silent for ${nowMs - this.#heardMs} ms`, nowMs);
    } else {
      this.#probe(nowMs);
    }
  }

  /** Ends the connection at once; what the session makes of it is the messenger's business. */
  close(reason: CloseReason, text: string, nowMs: number): void {
    if (this.phase === Phase.Closed) return;
    this.closeReason = reason;
    this.closeText = text;
    this.#end(nowMs);
  }

  /** Ends the connection once everything written so far is sent. */
  drain(reason: CloseReason, text: string, nowMs: number): void {
    if (this.phase >= Phase.Draining) return;
    this.closeReason = reason;
    this.closeText = text;
    this.#openedMs = nowMs;
    this.lastPhase = this.phase;
    this.phase = Phase.Draining;
    this.session = null;
    if (this.#drained) this.#end(nowMs);
  }

  /**
   * Ends, and with `tell` says so to a peer that knows TAG_CLOSE. What was written before lies in
   * `outbox`, which is closed once that is sent.
   */
  sayClose(outbox: Outbox, tell: boolean, nowMs: number): void {
    this.pollTransmit(nowMs); // a last ACK, so that what was taken over is not sent again
    this.#kept = outbox;
    this.#closeDue = tell && closeAgreed(this);
    this.messenger.markDirty(this);
    this.drain("local", "Closed here", nowMs);
  }

  /** Where the payload of a control frame goes. */
  beginControl(): number {
    return this.writer.beginControl();
  }

  /** Sends a control frame; before the end of authentication it belongs to the signed bytes. */
  endControl(tag: number, payloadEnd: number): void {
    const at = this.writer.endControl(tag, payloadEnd);
    if (this.phase < Phase.AuthSign) {
      this.transcript.noteSent(at, this.writer.tail);
    }
    this.messenger.markDirty(this);
  }

  /** Sends HELLO: who we are, and the peer's address as we see it. */
  sendHello(): void {
    const hello = new Hello();
    hello.entityType = this.messenger.options.entityType;
    hello.peerAddr.copy(this.peer);
    this.endControl(Tag.Hello, writeHello(arena, this.beginControl(), hello));
  }

  /**
   * Switches both directions to secure mode. connection_secret: 16 bytes of key, the nonce of the
   * side that accepted, the nonce of the side that connected. False when memory is short.
   */
  secure(secret: Uint8Array): boolean {
    const key = secret.subarray(0, SECRET_KEY_END);
    const acceptor = secret.subarray(SECRET_ACCEPTOR_NONCE, SECRET_CONNECTOR_NONCE);
    const connector = secret.subarray(SECRET_CONNECTOR_NONCE);
    const revision = this.reader.format & 1;
    const { aead, nonceOperations } = this.messenger.options;
    const sealNonce = new Nonce(this.accepted ? acceptor : connector, revision, nonceOperations);
    const openNonce = new Nonce(this.accepted ? connector : acceptor, revision, nonceOperations);
    this.reader.secure(aead.opener(key), openNonce);
    return this.writer.secure(aead.sealer(key), sealNonce);
  }

  /** Closes for the fault that a codec or a check has just told. */
  #closeForFault(code: number, nowMs: number, where = this.phaseName): void {
    const reason = -code === Fault.Large
      ? "limit"
      : -code === Fault.Feature
      ? "feature"
      : -code === Fault.Auth
      ? "auth"
      : "bytes";
    const start = this.received.contains(lastFault.at) ? this.#frameAt : 0;
    this.close(reason, `${describeFault(start)} (${where})`, nowMs);
  }

  /** Start of the frame in hand, for offsets in messages. */
  #frameAt = 0;

  #handleBanner(nowMs: number): boolean {
    const at = this.received.head;
    const next = readBanner(arena, at, this.received.tail, this.banner);
    if (next === -Fault.Short) return false;
    this.#frameAt = at;
    if (next < 0) {
      this.#closeForFault(next, nowMs);
      return false;
    }
    this.received.head = next;
    this.transcript.noteReceived(at, next);
    const revision = agreeRevision(this.messenger.banner, this.banner);
    if (revision < 0) {
      this.#closeForFault(revision, nowMs);
      return false;
    }
    this.reader.setRevision(revision);
    this.writer.setRevision(revision);
    this.phase = Phase.Hello;
    this.sendHello();
    return true;
  }

  #handleFrame(at: number, next: number, nowMs: number): void {
    const { preamble, parts } = this.reader;
    this.#frameAt = at;
    if (parts.aborted) {
      this.messenger.counters.aborted++;
      return;
    }
    const { tag } = preamble;
    const payload = parts.at[0]!;
    const payloadEnd = payload + preamble.lengths[0]!;
    if (this.phase < Phase.AuthSign) this.transcript.noteReceived(at, next);
    if (this.phase < Phase.Ready) {
      if (!this.writer.canHandshake()) {
        this.close("limit", "Peer sends handshake frames without reading the answers", nowMs);
        return;
      }
      const fault = this.accepted
        ? handleAcceptFrame(this, tag, payload, payloadEnd, nowMs)
        : handleConnectFrame(this, tag, payload, payloadEnd, nowMs);
      if (fault < 0) this.#closeForFault(fault, nowMs, tagName(tag));
      return;
    }
    const fault = this.#handleReady(tag, payload, payloadEnd, nowMs);
    if (fault < 0) this.#closeForFault(fault, nowMs, tagName(tag));
  }

  #handleReady(tag: number, payload: number, payloadEnd: number, nowMs: number): number {
    const session = this.session!;
    switch (tag) {
      case Tag.Message:
        return this.#handleMessage(session, payload, payloadEnd);
      case Tag.Ack: {
        const seq = readAck(arena, payload, payloadEnd);
        if (seq < 0) return seq;
        return this.#handleAck(session, seq);
      }
      case Tag.Keepalive2: {
        const next = readKeepalive(arena, payload, payloadEnd, this.#keepaliveReply);
        if (next < 0) return next;
        this.#keepaliveAckDue = true;
        this.messenger.markDirty(this);
        return 0;
      }
      case Tag.Keepalive2Ack: {
        const next = readKeepalive(arena, payload, payloadEnd, this.keepaliveAck);
        if (next < 0) return next;
        if (this.#keepalivesOut === 0) return 0; // nobody asked, so nobody is told
        this.#keepalivesOut--;
        this.keepaliveAcks++;
        this.messenger.handleSign("alive", this);
        return 0;
      }
      case Tag.Close:
        if (!closeAgreed(this)) return unexpected(tag, this.phaseName);
        this.messenger.handlePeerClose(this, nowMs);
        return 0;
      default:
        return unexpected(tag, this.phaseName);
    }
  }

  #handleMessage(session: Session, at: number, end: number): number {
    const header = this.#header;
    const { preamble, parts } = this.reader;
    const next = readMessageHeader(arena, at, end, preamble.lengths[3]!, header);
    if (next < 0) return next;
    if (!session.lossy && header.ackSeq > session.ackedSeq) {
      const fault = this.#handleAck(session, header.ackSeq);
      if (fault < 0) return fault;
    }
    if (header.seq <= session.inSeq) {
      session.duplicates++;
      this.messenger.counters.duplicates++;
      return 0;
    }
    if (header.seq > session.inSeq + 1) this.messenger.counters.gaps++;
    session.inSeq = header.seq;
    this.fruitful = true;
    this.received.pinned++;
    this.messenger.handleMessage(this, session, header, preamble, parts);
    return 0;
  }

  #handleAck(session: Session, seq: number): number {
    if (session.lossy) return 0;
    if (seq > session.sentSeq) {
      return fail(Fault.Field, "ACK seq", -1, seq, `${session.sentSeq} at most, the last one sent`);
    }
    const { outbox } = session;
    const { gather } = this.writer;
    for (let record = outbox.firstSent(); record !== 0; record = outbox.firstSent()) {
      if (recordSeq(record) > seq) break;
      if (!gather.passed(recordMark(record))) {
        return fail(Fault.Field, "ACK seq", -1, seq, "of a message that is wholly sent");
      }
      outbox.dropFirstSent();
    }
    this.#dropSent(session);
    if (seq > session.ackedSeq) {
      session.ackedSeq = seq;
      session.gate?.change();
    }
    this.fruitful = true;
    if (outbox.queued > 0) this.messenger.markDirty(this);
    return 0;
  }

  /** Frees what nobody will acknowledge: sent messages of a lossy session, aborted ones. */
  #dropSent(session: Session): void {
    const { outbox } = session;
    const { gather } = this.writer;
    for (let record = outbox.firstSent(); record !== 0; record = outbox.firstSent()) {
      if (!session.lossy && !isAborted(record)) return;
      if (!gather.passed(recordMark(record))) return;
      outbox.dropFirstSent();
    }
  }

  #transmitReady(session: Session, nowMs: number): void {
    const { writer } = this;
    const { outbox, gate } = session;
    if (this.#keepaliveAckDue && writer.canControl()) {
      this.#keepaliveAckDue = false;
      this.#control(Tag.Keepalive2Ack, this.#keepaliveReply);
    }
    if (this.#keepaliveDue && writer.canControl()) {
      this.#keepaliveDue = false;
      this.#keepalivesOut++;
      this.#control(Tag.Keepalive2, this.#keepalive);
    }
    const { ackableSeq } = session;
    let written = false;
    while (outbox.queued > 0 && writer.gather.bytes < SEND_AHEAD_BYTES && writer.canMessage()) {
      const record = outbox.peek();
      if (gate !== null && !gate.lets(record)) break;
      let seq = 0;
      if (isNumbered(record)) seq = recordSeq(record);
      else {
        seq = ++session.outSeq;
        session.messagesSent++;
      }
      if (gate !== null && seq > gate.sentSeq) gate.sentSeq = seq;
      writer.message(record, seq, ackableSeq);
      outbox.moveToSent(record, seq);
      written = true;
    }
    if (written) session.ackSentSeq = ackableSeq;
    else if (ackableSeq > session.ackSentSeq && !session.lossy && writer.canControl()) {
      session.ackSentSeq = ackableSeq;
      const at = writer.beginControl();
      writer.endControl(Tag.Ack, writeAck(arena, at, ackableSeq));
    }
    if (writer.exhausted && writer.gather.bytes === 0) {
      this.close("nonce", "The nonces of this connection are used up", nowMs);
    }
  }

  /** True while a standby does not know yet what the peer would be told. */
  get #isHeld(): boolean {
    if (this.phase < Phase.Ident || this.session === null) return false;
    const { gate } = this.session;
    return gate !== null && !gate.open;
  }

  /** True when nothing written waits any more. */
  get #drained(): boolean {
    return this.writer.gather.bytes === 0 && !this.writer.sealing && !this.#closeDue;
  }

  #probe(nowMs: number): void {
    this.#probedMs = nowMs;
    this.received.shrink();
    this.writer.shrink();
    this.sendKeepalive(Math.floor(nowMs / 1000), (nowMs % 1000) * 1_000_000);
  }

  #control(tag: number, stamp: Keepalive): void {
    const at = this.writer.beginControl();
    this.writer.endControl(tag, writeKeepalive(arena, at, stamp));
  }

  #heard(nowMs: number): void {
    this.#heardMs = nowMs;
    this.#progress = 0;
  }

  #end(nowMs: number): void {
    if (this.phase !== Phase.Draining) this.lastPhase = this.phase;
    this.phase = Phase.Closed;
    this.writer.close();
    this.reader.close();
    this.#kept?.close();
    this.#kept = null;
    this.transcript.clear();
    this.messenger.handleClosed(this, nowMs);
    this.received.close();
  }
}

/** Says that a frame does not belong into this phase. */
export function unexpected(tag: number, phase: string): number {
  return fail(Fault.State, `${tagName(tag)} during ${phase}`, -1, tag, "a tag of this phase");
}
