/**
 * The server's end of one MQTT connection, for clients that publish: MQTT 3.1.1 sections 3 and 4.
 *
 * Read this before touching it. Bytes come in by `room()` and `handleBytes()`. Then `pollEvent()`
 * handles one packet after another, until one needs the application, more bytes are needed, or the
 * connection is `blocked`: too much is owed to the client, so nothing more is handled until
 * `handleDurable()` or `takeOutput()`.
 *
 * ```text
 *            CONNECT           accept()
 *   Opening ---------> Asking ---------> Open <---------.
 *      |                  | refuse()      |  PUBLISH    | handleTaken()
 *      |                  |               |-----------> Holding
 *      | fault, deadline  v               v DISCONNECT, fault, deadline
 *      '---------------> Closed <---------'
 * ```
 *
 * A message of QoS 1 is acknowledged by PUBACK, one of QoS 2 by PUBREC, when `handleDurable()` says
 * so. QoS 2 is section 4.3.3 method B: the message is handed on at once and only its identifier is
 * kept until PUBREL, so that a PUBLISH that comes again is acknowledged and not handed on.
 *
 * SUBSCRIBE is answered with failure for each filter, as there is nothing to deliver. For the same
 * reason nothing is kept of a message with RETAIN (MQTT-3.3.1-5): no later subscriber could get it.
 *
 * @module
 */
import { assert } from "../../mem/assert.ts";
import { describeFault, fail, Fault } from "../../mem/fault.ts";
import { PAYLOAD_BYTES_MAX } from "../../wire/gateway/envelope.ts";
import {
  Connect,
  ConnectReturn,
  LEVEL_3_1,
  readConnect,
  type Will,
  writeConnack,
} from "../../wire/mqtt/connect.ts";
import {
  FixedHeader,
  packetName,
  PacketType,
  readFixedHeader,
  writeFixedHeader,
} from "../../wire/mqtt/header.ts";
import { Publish, readPacketId, readPublish } from "../../wire/mqtt/publish.ts";
import { Filters, readFilters, writeSubackFailure } from "../../wire/mqtt/subscribe.ts";
import { BUFFER_BYTES, PacketBuffer } from "./packet_buffer.ts";
import { PacketIds } from "./packet_ids.ts";
import { Replies } from "./replies.ts";

/** Topic name with its length, and packet identifier: section 3.3.2. */
const PUBLISH_HEAD_BYTES_MAX: number = 2 + 65535 + 2;
const REMAINING_BYTES_MAX: number = PAYLOAD_BYTES_MAX + PUBLISH_HEAD_BYTES_MAX;
const FIXED_HEADER_BYTES_MAX = 5;
/** Before CONNECT was accepted nothing larger than the buffer is taken. */
const CONNECT_REMAINING_BYTES_MAX: number = BUFFER_BYTES - FIXED_HEADER_BYTES_MAX;
/** Longer than any client's own; section 3.1.3.1 asks for 23. */
const CLIENT_ID_LENGTH_MAX = 256;

/** Section 3.1.4: CONNECT within a reasonable time. */
const CONNECT_DEADLINE_MS = 10_000;
/** A packet that has begun is whole by then: 4 MiB over 300 kbit/s. */
const PACKET_DEADLINE_MS = 120_000;
/** MQTT-3.1.2-24: one and a half times the keep-alive. */
const KEEP_ALIVE_MS = 1500;

/** What `pollEvent()` returns. */
export const MqttEvent = {
  /** Read more, unless it is blocked or closed. */
  None: 0,
  /** `connect` holds what came: `accept()` or `refuse()`. */
  Connect: 1,
  /** `publish` and `payload` hold a message: `handleTaken()`, `handleDropped()` or `close()`. */
  Publish: 2,
} as const;

/** Why a connection is closed. */
export const CloseReason = {
  None: "",
  /** DISCONNECT: the only one that drops the will (MQTT-3.14.4-3). */
  Disconnect: "disconnect",
  /** The client ended it, or the network did. */
  End: "end",
  /** It broke a rule of the document, or a limit of ours; `closeText` says which. */
  Fault: "fault",
  /** CONNECT was refused. */
  Refused: "refused",
  KeepAlive: "keep-alive",
  /** CONNECT, or the rest of a packet, did not come. */
  Deadline: "deadline",
  /** The same client identifier connected again: MQTT-3.1.4-2. */
  TakenOver: "taken over",
  /** There is no room for a message that must not be lost. */
  NoRoom: "no room",
  Stopped: "stopped",
} as const;

/** One of {@linkcode CloseReason}. */
export type CloseReason = typeof CloseReason[keyof typeof CloseReason];

type State = "Opening" | "Asking" | "Open" | "Holding" | "Closed";

/** See the head of this file. */
export class MqttConnection {
  /** The CONNECT that came. */
  readonly connect: Connect = new Connect();
  /** The message that came, valid from `MqttEvent.Publish` to the answer. */
  readonly publish: Publish = new Publish();
  /** To be published once the connection is closed; null when there is none. */
  will: Will | null = null;
  closeReason: CloseReason = CloseReason.None;
  /** What the client did wrong, in a sentence; empty when it did not. */
  closeText = "";
  #state: State = "Opening";
  #packetEnd = 0;
  #received: PacketIds = new PacketIds();
  #reading = true;
  #lastPacketMs: number;
  /** When the packet at the front began to be read. */
  #beganMs: number;
  readonly #buffer = new PacketBuffer();
  readonly #replies = new Replies();
  readonly #header = new FixedHeader();
  readonly #filters = new Filters();

  /** A connection that has just been accepted. */
  constructor(nowMs: number) {
    this.#lastPacketMs = nowMs;
    this.#beganMs = nowMs;
  }

  /** Nothing more is read from it or handled. */
  get closed(): boolean {
    return this.#state === "Closed";
  }

  /** CONNECT was accepted. */
  get open(): boolean {
    return this.#state === "Open" || this.#state === "Holding";
  }

  /** Nothing is handled until `handleDurable()` or `takeOutput()`. */
  get blocked(): boolean {
    return this.#replies.full;
  }

  /** Identifiers of QoS 2 messages, for the session to come: section 3.1.2.4. */
  get received(): PacketIds {
    return this.#received;
  }

  /** Messages ever that are to be acknowledged: remember it, and tell `handleDurable()`. */
  get owed(): number {
    return this.#replies.owed;
  }

  /** Messages that wait to be durable. */
  get undurable(): number {
    return this.#replies.owed - this.#replies.durable;
  }

  /** Bytes of memory to reserve, then `grow()`, before more can be read; 0 when there is room. */
  get lacking(): number {
    return this.closed ? 0 : this.#buffer.lacking;
  }

  /** Takes memory for the packet at the front. */
  grow(): void {
    this.#buffer.grow();
  }

  /** Gives back the memory that `grow()` took, once its packet is gone; true when it did. */
  shrink(): boolean {
    return this.#buffer.shrink();
  }

  /** Where the next bytes go. */
  room(): Uint8Array<ArrayBuffer> {
    return this.#buffer.room();
  }

  /** So many bytes came. */
  handleBytes(count: number, nowMs: number): void {
    if (this.#buffer.head === this.#buffer.tail) this.#beganMs = nowMs;
    this.#buffer.filled(count);
  }

  /** The application waits for something else than bytes: meanwhile no deadline runs. */
  handlePause(): void {
    this.#reading = false;
  }

  /** It reads again. */
  handleResume(nowMs: number): void {
    this.#reading = true;
    this.#lastPacketMs = nowMs;
    this.#beganMs = nowMs;
  }

  /** Handles packets until one of {@linkcode MqttEvent} came of it. */
  pollEvent(nowMs: number): number {
    assert(this.#state !== "Asking" && this.#state !== "Holding", "an event is answered");
    while (!this.closed && !this.blocked) {
      const bodyAt = this.#nextPacket();
      if (bodyAt < 0) break;
      this.#lastPacketMs = nowMs;
      this.#beganMs = nowMs;
      const event = this.#handlePacket(bodyAt);
      if (event < 0) this.close(CloseReason.Fault, describeFault(this.#buffer.head));
      else if (event !== MqttEvent.None) return event;
      else this.#buffer.consumed(this.#packetEnd);
    }
    return MqttEvent.None;
  }

  /** The payload of `publish`; a view that is valid until the answer. */
  get payload(): Uint8Array<ArrayBuffer> {
    const { payloadAt, payloadEnd } = this.publish;
    return this.#buffer.region.bytes.subarray(payloadAt, payloadEnd);
  }

  /**
   * Answers CONNECT with success.
   *
   * @param received what an earlier connection of this session left behind; null without one
   */
  accept(received: PacketIds | null): void {
    assert(this.#state === "Asking", "CONNECT is answered once");
    if (received !== null) this.#received = received;
    // MQTT-3.2.2-2; MQTT 3.1 has no such flag.
    const present = received !== null && this.connect.level !== LEVEL_3_1;
    this.#replies.write((to, at) => writeConnack(to, at, present, ConnectReturn.Accepted));
    this.will = this.connect.will;
    this.#state = "Open";
    this.#buffer.consumed(this.#packetEnd);
  }

  /** Answers CONNECT with one of {@linkcode ConnectReturn}, and closes: MQTT-3.2.2-5. */
  refuse(returnCode: number, text: string): void {
    this.#replies.write((to, at) => writeConnack(to, at, false, returnCode));
    this.close(CloseReason.Refused, text);
  }

  /** The message was taken; it is acknowledged when it is durable. */
  handleTaken(): void {
    const { packetId, qos } = this.publish;
    if (qos === 1) this.#replies.owe(PacketType.Puback, packetId);
    if (qos === 2) {
      this.#received.add(packetId);
      this.#replies.owe(PacketType.Pubrec, packetId);
    }
    this.#release();
  }

  /** A message of QoS 0 was dropped. */
  handleDropped(): void {
    assert(this.publish.qos === 0, "only QoS 0 may be dropped");
    this.#release();
  }

  /** The first `count` messages ever owed are durable. */
  handleDurable(count: number): void {
    if (!this.closed) this.#replies.handleDurable(count);
  }

  /** The stream ended. */
  handleEnd(): void {
    this.close(CloseReason.End, "");
  }

  /** Call at or after `pollDeadline()`. */
  handleDeadline(nowMs: number): void {
    if (nowMs < this.pollDeadline()) return;
    if (this.#state === "Opening") {
      this.close(CloseReason.Deadline, "Cannot wait for CONNECT any longer: 10 s are over");
    } else if (this.#partial) {
      this.close(CloseReason.Deadline, "Cannot wait for the rest of a packet: 120 s are over");
    } else this.close(CloseReason.KeepAlive, "");
  }

  /** When to call `handleDeadline()`; Infinity means never. */
  pollDeadline(): number {
    if (this.closed || !this.#reading) return Infinity;
    if (this.#state === "Opening") return this.#lastPacketMs + CONNECT_DEADLINE_MS;
    // Bytes of a large packet are life, too: with a keep-alive of 1 s it would never get through.
    return this.#partial ? this.#beganMs + PACKET_DEADLINE_MS : this.#keepAliveMs();
  }

  /** Closes; what is to be sent may still be taken. The first reason stays. */
  close(reason: CloseReason, text: string): void {
    if (this.closed) return;
    this.#state = "Closed";
    this.closeReason = reason;
    this.closeText = text;
    if (reason === CloseReason.Disconnect) this.will = null;
  }

  /** True when there is something to send. */
  get hasOutput(): boolean {
    return this.#replies.waiting;
  }

  /** Takes what is to be sent; valid until the next call. */
  takeOutput(): Uint8Array<ArrayBuffer> {
    return this.#replies.take();
  }

  /** Where the body of the packet at the front begins once it is whole; negative before. */
  #nextPacket(): number {
    const { head, region, tail } = this.#buffer;
    const bodyAt = readFixedHeader(region, head, tail, this.#header);
    if (bodyAt === -Fault.Short) return bodyAt;
    const { remainingLength, type } = this.#header;
    const fault = bodyAt < 0 ? bodyAt : this.#admit(type, remainingLength);
    if (fault < 0) {
      this.close(CloseReason.Fault, describeFault(head));
      return fault;
    }
    this.#packetEnd = bodyAt + remainingLength;
    this.#buffer.packetBytes = this.#packetEnd - head;
    return this.#packetEnd <= tail ? bodyAt : -Fault.Short;
  }

  /** Whether a packet may come now, and how large it may be. */
  #admit(type: number, length: number): number {
    const opening = this.#state === "Opening";
    if (opening !== (type === PacketType.Connect)) { // MQTT-3.1.0-1, MQTT-3.1.0-2
      const expected = opening ? "CONNECT" : "any other than a second CONNECT";
      return fail(Fault.State, `${packetName(type)} as packet type`, -1, type, expected);
    }
    const most = opening ? CONNECT_REMAINING_BYTES_MAX : REMAINING_BYTES_MAX;
    if (length <= most) return 0;
    return fail(Fault.Large, `${packetName(type)} remaining length`, -1, length, `${most} or less`);
  }

  /** Returns an event, or a negated fault. */
  #handlePacket(at: number): number {
    const { flags, remainingLength, type } = this.#header;
    switch (type) {
      case PacketType.Connect:
        return this.#handleConnect(at);
      case PacketType.Publish:
        return this.#handlePublish(at, flags);
      case PacketType.Pubrel:
        return this.#handlePubrel(at);
      case PacketType.Subscribe:
      case PacketType.Unsubscribe:
        return this.#handleFilters(at, type);
      case PacketType.Pingreq:
        if (remainingLength > 0) break; // section 3.12
        this.#replies.write((to, from) => writeFixedHeader(to, from, PacketType.Pingresp, 0, 0));
        return MqttEvent.None;
      case PacketType.Disconnect:
        if (remainingLength > 0) break; // section 3.14
        this.close(CloseReason.Disconnect, "");
        return MqttEvent.None;
      default: // what only a server sends, or a client that was sent messages
        return fail(
          Fault.State,
          `${packetName(type)} as packet type`,
          at,
          type,
          "one that a publisher sends",
        );
    }
    return fail(Fault.Field, `${packetName(type)} remaining length`, at, remainingLength, "0");
  }

  #handleConnect(at: number): number {
    const { connect } = this;
    const next = readConnect(this.#buffer.region, at, this.#packetEnd, connect);
    this.#state = "Asking";
    if (next === -Fault.Feature) { // MQTT-3.1.2-2
      this.refuse(ConnectReturn.UnacceptableProtocol, describeFault(this.#buffer.head));
      return MqttEvent.None;
    }
    if (next < 0) return next; // MQTT-3.1.4-1: closed without CONNACK
    const { length } = connect.clientId;
    if (length > CLIENT_ID_LENGTH_MAX || length === 0 && !this.#mayBeNameless()) {
      this.refuse(
        ConnectReturn.IdentifierRejected,
        "Cannot accept CONNECT client identifier as it must have 1 to 256 characters, or a clean " +
          `session: current length is ${length}`,
      );
      return MqttEvent.None;
    }
    return MqttEvent.Connect;
  }

  /** MQTT-3.1.3-7 and MQTT-3.1.3-8; MQTT 3.1 has no such case. */
  #mayBeNameless(): boolean {
    return this.connect.cleanSession && this.connect.level !== LEVEL_3_1;
  }

  #handlePublish(at: number, flags: number): number {
    const { publish } = this;
    const next = readPublish(this.#buffer.region, at, this.#packetEnd, flags, publish);
    if (next < 0) return next;
    const payloadBytes = publish.payloadEnd - publish.payloadAt;
    if (payloadBytes > PAYLOAD_BYTES_MAX) {
      const most = `${PAYLOAD_BYTES_MAX} bytes or less`;
      return fail(Fault.Large, "PUBLISH payload", publish.payloadAt, payloadBytes, most);
    }
    if (publish.qos === 2 && this.#received.has(publish.packetId)) {
      this.#replies.owe(PacketType.Pubrec, publish.packetId);
      return MqttEvent.None;
    }
    this.#state = "Holding";
    return MqttEvent.Publish;
  }

  /** MQTT-4.3.3-2: PUBCOMP also for what is unknown, which was released before. */
  #handlePubrel(at: number): number {
    const { publish } = this;
    const next = readPacketId(
      this.#buffer.region,
      at,
      this.#packetEnd,
      PacketType.Pubrel,
      publish,
    );
    if (next < 0) return next;
    if (next !== this.#packetEnd) {
      return fail(Fault.Field, "PUBREL bytes left over", next, this.#packetEnd - next, "0");
    }
    this.#received.delete(publish.packetId);
    this.#replies.acknowledge(PacketType.Pubcomp, publish.packetId);
    return MqttEvent.None;
  }

  #handleFilters(at: number, type: number): number {
    const filters = this.#filters;
    const next = readFilters(this.#buffer.region, at, this.#packetEnd, type, filters);
    if (next < 0) return next;
    if (type === PacketType.Unsubscribe) {
      this.#replies.acknowledge(PacketType.Unsuback, filters.packetId); // MQTT-3.10.4-5
    } else this.#replies.write((to, from) => writeSubackFailure(to, from, filters));
    return MqttEvent.None;
  }

  #release(): void {
    if (this.closed) return; // in the meantime
    assert(this.#state === "Holding", "a message is answered once");
    this.#state = "Open";
    this.#buffer.consumed(this.#packetEnd);
  }

  /** In the middle of a packet. */
  get #partial(): boolean {
    return this.#buffer.head < this.#buffer.tail;
  }

  #keepAliveMs(): number {
    const { keepAliveSeconds } = this.connect;
    return keepAliveSeconds === 0
      ? Infinity
      : this.#lastPacketMs + keepAliveSeconds * KEEP_ALIVE_MS;
  }
}
