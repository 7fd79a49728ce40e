/**
 * PUBLISH and the four packets that answer it: MQTT 3.1.1 sections 3.3 to 3.7.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { packetName, PacketType, writeFixedHeader } from "./header.ts";
import { isTopicName, readString, writeString } from "./text.ts";

// Section 3.3.1, figure 3.10
const RETAIN = 1;
const QOS_SHIFT = 1;
const QOS_MAX = 2;
const DUP = 8;

const PACKET_ID_SIZE = 2;
/** MQTT-3.6.1-1. */
const PUBREL_FLAGS = 2;

/** What a PUBLISH says. */
export class Publish {
  dup = false;
  qos = 0;
  retain = false;
  topic = "";
  /** 0 with QoS 0. */
  packetId = 0;
  /** Where the payload lies. */
  payloadAt = 0;
  payloadEnd = 0;
}

const text = { value: "" };

/** Reads the body of a PUBLISH that ends at `end`, with the flags of its fixed header. */
export function readPublish(
  from: Region,
  at: number,
  end: number,
  flags: number,
  into: Publish,
): number {
  const qos = flags >> QOS_SHIFT & 3;
  if (qos > QOS_MAX) return fail(Fault.Field, "PUBLISH QoS", -1, qos, "0 to 2"); // MQTT-3.3.1-4
  if (qos === 0 && (flags & DUP) !== 0) {
    return fail(Fault.Field, "PUBLISH DUP", -1, 1, "0 with QoS 0"); // MQTT-3.3.1-2
  }
  at = readString(from, at, end, "PUBLISH topic name", text);
  if (at < 0) return at;
  if (!isTopicName(text.value)) {
    const { length } = text.value;
    return fail(Fault.Field, "PUBLISH topic name", at, length, "1 or more, without wildcards");
  }
  into.packetId = 0;
  if (qos > 0) {
    at = readPacketId(from, at, end, PacketType.Publish, into);
    if (at < 0) return at;
  }
  into.dup = (flags & DUP) !== 0;
  into.qos = qos;
  into.retain = (flags & RETAIN) !== 0;
  into.topic = text.value;
  into.payloadAt = at;
  into.payloadEnd = end;
  return end;
}

/** Writes a whole PUBLISH, its fixed header included. */
export function writePublish(
  to: Region,
  at: number,
  publish: Publish,
  payload: Uint8Array,
): number {
  const topicBytes = new TextEncoder().encode(publish.topic).length;
  const idBytes = publish.qos > 0 ? PACKET_ID_SIZE : 0;
  const flags = (publish.dup ? DUP : 0) | publish.qos << QOS_SHIFT | (publish.retain ? RETAIN : 0);
  const length = 2 + topicBytes + idBytes + payload.length;
  at = writeFixedHeader(to, at, PacketType.Publish, flags, length);
  at = writeString(to, at, publish.topic);
  if (publish.qos > 0) to.view.setUint16(at, publish.packetId);
  to.bytes.set(payload, at + idBytes);
  return at + idBytes + payload.length;
}

/** Reads a packet identifier, which is never 0: section 2.3.1. */
export function readPacketId(
  from: Region,
  at: number,
  end: number,
  type: number,
  into: { packetId: number },
): number {
  if (end - at < PACKET_ID_SIZE) {
    return fail(Fault.Field, packetName(type), at, end - at, "2 bytes or more");
  }
  const packetId = from.view.getUint16(at);
  if (packetId === 0) { // MQTT-2.3.1-1
    return fail(Fault.Field, `${packetName(type)} packet identifier`, at, 0, "1 to 65535");
  }
  into.packetId = packetId;
  return at + PACKET_ID_SIZE;
}

/** Writes a whole packet that carries an identifier only: PUBACK, PUBREC, PUBREL, PUBCOMP, UNSUBACK. */
export function writeAcknowledgement(
  to: Region,
  at: number,
  type: number,
  packetId: number,
): number {
  const flags = type === PacketType.Pubrel ? PUBREL_FLAGS : 0;
  at = writeFixedHeader(to, at, type, flags, PACKET_ID_SIZE);
  to.view.setUint16(at, packetId);
  return at + PACKET_ID_SIZE;
}
