/**
 * CONNECT and CONNACK: MQTT 3.1.1 sections 3.1 and 3.2. The CONNECT of MQTT 3.1, which differs in
 * name and level only, is read too.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { PacketType, writeFixedHeader } from "./header.ts";
import { isTopicName, readBytes, readString, Span, writeBytes, writeString } from "./text.ts";

/** Section 3.1.2.1 and 3.1.2.2. */
const NAME_3_1_1 = "MQTT";
const LEVEL_3_1_1 = 4;

const NAME_3_1 = "MQIsdp";
/** The protocol level of MQTT 3.1, in its section 3.1. */
export const LEVEL_3_1 = 3;

// Section 3.1.2.3, figure 3.4
const RESERVED = 1;
const CLEAN_SESSION = 2;
const WILL = 4;
const WILL_QOS_SHIFT = 3;
const WILL_RETAIN = 32;
const PASSWORD = 64;
const USER_NAME = 128;

const CONNACK_LENGTH = 2;
const SESSION_PRESENT = 1;

/** Section 3.2.2.3, table 3.1. */
export const ConnectReturn = {
  Accepted: 0,
  UnacceptableProtocol: 1,
  IdentifierRejected: 2,
  ServerUnavailable: 3,
  NotAuthorized: 5,
} as const;

/** A message to be published when the connection breaks: section 3.1.2.5. */
export interface Will {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly qos: number;
  readonly retain: boolean;
}

/** What a CONNECT says; what it points to is a copy. */
export class Connect {
  level = 0;
  cleanSession = false;
  /** Section 3.1.2.10; 0 switches it off. */
  keepAliveSeconds = 0;
  clientId = "";
  will: Will | null = null;
  username: string | null = null;
  password: Uint8Array | null = null;
}

const text = { value: "" };
const span = new Span();

/**
 * Reads the body of a CONNECT that ends at `end`. `-Fault.Feature` when its level is none of ours:
 * `into.level` is set, nothing behind it was read (MQTT-3.1.2-2).
 */
export function readConnect(from: Region, at: number, end: number, into: Connect): number {
  at = readString(from, at, end, "CONNECT protocol name", text);
  if (at < 0) return at;
  const name = text.value;
  if (name !== NAME_3_1_1 && name !== NAME_3_1) { // MQTT-3.1.2-1
    return fail(Fault.Field, "CONNECT protocol name", at, name.length, "MQTT or MQIsdp");
  }
  if (end - at < 1) return fail(Fault.Field, "CONNECT", at, 0, "1 byte of level or more");
  into.level = from.bytes[at]!;
  if (into.level !== (name === NAME_3_1_1 ? LEVEL_3_1_1 : LEVEL_3_1)) {
    return fail(Fault.Feature, "CONNECT protocol level", at, into.level, "4, or 3 of MQIsdp");
  }
  if (end - at < 4) return fail(Fault.Field, "CONNECT", at, end - at, "4 bytes or more");
  const flags = from.bytes[at + 1]!;
  if (flagsWrong(flags)) {
    return fail(Fault.Field, "CONNECT flags", at + 1, flags, "a sum that section 3.1.2 allows");
  }
  into.cleanSession = (flags & CLEAN_SESSION) !== 0;
  into.keepAliveSeconds = from.view.getUint16(at + 2);
  return readConnectPayload(from, at + 4, end, flags, into);
}

/** Section 3.1.3: client identifier, will topic, will message, user name, password. */
function readConnectPayload(
  from: Region,
  at: number,
  end: number,
  flags: number,
  into: Connect,
): number {
  at = readString(from, at, end, "CONNECT client identifier", text);
  if (at < 0) return at;
  into.clientId = text.value;
  into.will = null;
  if ((flags & WILL) !== 0) {
    at = readString(from, at, end, "CONNECT will topic", text);
    if (at < 0) return at;
    const topic = text.value;
    if (!isTopicName(topic)) {
      return fail(Fault.Field, "CONNECT will topic", at, topic.length, "a topic name");
    }
    at = readBytes(from, at, end, "CONNECT will message", span);
    if (at < 0) return at;
    const payload = from.bytes.slice(span.at, span.end);
    const qos = flags >> WILL_QOS_SHIFT & 3;
    into.will = { topic, payload, qos, retain: (flags & WILL_RETAIN) !== 0 };
  }
  into.username = null;
  if ((flags & USER_NAME) !== 0) {
    at = readString(from, at, end, "CONNECT user name", text);
    if (at < 0) return at;
    into.username = text.value;
  }
  into.password = null;
  if ((flags & PASSWORD) !== 0) {
    at = readBytes(from, at, end, "CONNECT password", span);
    if (at < 0) return at;
    into.password = from.bytes.slice(span.at, span.end);
  }
  if (at !== end) return fail(Fault.Field, "CONNECT bytes left over", at, end - at, "0");
  return at;
}

function flagsWrong(flags: number): boolean {
  if ((flags & RESERVED) !== 0) return true; // MQTT-3.1.2-3
  const qos = flags >> WILL_QOS_SHIFT & 3;
  // MQTT-3.1.2-13, MQTT-3.1.2-15, then MQTT-3.1.2-14
  if ((flags & WILL) === 0 && (qos !== 0 || (flags & WILL_RETAIN) !== 0)) return true;
  if (qos === 3) return true;
  return (flags & USER_NAME) === 0 && (flags & PASSWORD) !== 0; // MQTT-3.1.2-22
}

/** Writes the body of a CONNECT, without its fixed header. */
export function writeConnect(to: Region, at: number, connect: Connect): number {
  const { will, username, password } = connect;
  at = writeString(to, at, connect.level === LEVEL_3_1 ? NAME_3_1 : NAME_3_1_1);
  to.bytes[at++] = connect.level;
  to.bytes[at++] = (connect.cleanSession ? CLEAN_SESSION : 0) |
    (will === null ? 0 : WILL | will.qos << WILL_QOS_SHIFT | (will.retain ? WILL_RETAIN : 0)) |
    (username === null ? 0 : USER_NAME) | (password === null ? 0 : PASSWORD);
  to.view.setUint16(at, connect.keepAliveSeconds);
  at = writeString(to, at + 2, connect.clientId);
  if (will !== null) {
    at = writeString(to, at, will.topic);
    at = writeBytes(to, at, will.payload);
  }
  if (username !== null) at = writeString(to, at, username);
  if (password !== null) at = writeBytes(to, at, password);
  return at;
}

/** Writes a whole CONNACK. */
export function writeConnack(
  to: Region,
  at: number,
  sessionPresent: boolean,
  returnCode: number,
): number {
  at = writeFixedHeader(to, at, PacketType.Connack, 0, CONNACK_LENGTH);
  to.bytes[at++] = sessionPresent ? SESSION_PRESENT : 0;
  to.bytes[at++] = returnCode;
  return at;
}
