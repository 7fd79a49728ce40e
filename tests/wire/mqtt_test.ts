/**
 * src/wire/mqtt: what mosquitto_pub 2.0.11 (Debian 2.0.11-1.2) sent on loopback in November 2026,
 * and the examples of MQTT 3.1.1 (OASIS Standard, 29 October 2014).
 *
 * @module
 */
import assert from "node:assert/strict";
import { Fault, lastFault } from "../../src/mem/fault.ts";
import { newRegion, type Region, regionOf } from "../../src/mem/region.ts";
import {
  Connect,
  ConnectReturn,
  readConnect,
  writeConnack,
  writeConnect,
} from "../../src/wire/mqtt/connect.ts";
import {
  FixedHeader,
  packetName,
  PacketType,
  readFixedHeader,
  REMAINING_LENGTH_MAX,
  writeFixedHeader,
} from "../../src/wire/mqtt/header.ts";
import {
  Publish,
  readPacketId,
  readPublish,
  writeAcknowledgement,
  writePublish,
} from "../../src/wire/mqtt/publish.ts";
import {
  Filters,
  FILTERS_MAX,
  readFilters,
  SUBACK_FAILURE,
  writeSubackFailure,
} from "../../src/wire/mqtt/subscribe.ts";
import { isTopicName, readBytes, readString, Span, writeString } from "../../src/wire/mqtt/text.ts";

/** Written over memory, so that what is not written shows. */
const DIRT = 0xa5;

function region(hex: string): Region {
  return regionOf(Uint8Array.fromHex(hex.replaceAll(" ", "")));
}

function dirty(size: number): Region {
  const to = newRegion(size);
  to.bytes.fill(DIRT);
  return to;
}

/** Reads a packet whatever it is; the fault, or the offset after it. */
function readPacket({ bytes, view }: Region): number {
  const header = new FixedHeader();
  const at = readFixedHeader({ bytes, view }, 0, bytes.length, header);
  if (at < 0) return at;
  const end = at + header.remainingLength;
  if (end > bytes.length) return -Fault.Short;
  const from = { bytes, view };
  switch (header.type) {
    case PacketType.Connect:
      return readConnect(from, at, end, new Connect());
    case PacketType.Publish:
      return readPublish(from, at, end, header.flags, new Publish());
    case PacketType.Subscribe:
    case PacketType.Unsubscribe:
      return readFilters(from, at, end, header.type, new Filters());
    case PacketType.Pubrel:
      return readPacketId(from, at, end, header.type, { packetId: 0 });
    default:
      return end;
  }
}

/** Section 2.2.3: the examples of its text, and both ends of each row of table 2.4. */
const LENGTHS = [
  { length: 0, hex: "00" },
  { length: 64, hex: "40" },
  { length: 127, hex: "7f" },
  { length: 128, hex: "8001" },
  { length: 321, hex: "c102" },
  { length: 16_383, hex: "ff7f" },
  { length: 16_384, hex: "808001" },
  { length: 2_097_151, hex: "ffff7f" },
  { length: 2_097_152, hex: "80808001" },
  { length: REMAINING_LENGTH_MAX, hex: "ffffff7f" },
];
Deno.test.each(LENGTHS)("a remaining length of $length is $hex", ({ length, hex }) => {
  const to = dirty(8);
  const end = writeFixedHeader(to, 1, PacketType.Publish, 0b1011, length);
  assert.equal(to.bytes.toHex(), `a53b${hex}`.padEnd(16, "a5"));
  const header = new FixedHeader();
  for (let cut = 1; cut < end; cut++) {
    assert.equal(readFixedHeader(to, 1, cut, header), -Fault.Short, `cut at ${cut}`);
  }
  assert.equal(readFixedHeader(to, 1, end, header), end);
  assert.deepEqual({ ...header }, { type: 3, flags: 0b1011, remainingLength: length });
});

Deno.test("a remaining length has four bytes at most: section 2.2.3", () => {
  assert.equal(readFixedHeader(region("30 80808080"), 0, 5, new FixedHeader()), -Fault.Field);
  assert.equal(lastFault.field, "PUBLISH remaining length");
  assert.equal(readFixedHeader(region("30 808080"), 0, 4, new FixedHeader()), -Fault.Short);
});

Deno.test("the first byte is one of table 2.2, and is refused as soon as it is there", () => {
  const flags: Record<number, number> = { 6: 2, 8: 2, 10: 2 };
  for (let first = 0; first < 256; first++) {
    const type = first >> 4;
    const good = type === 3 || type > 0 && type < 15 && (first & 15) === (flags[type] ?? 0);
    const from = regionOf(Uint8Array.of(first));
    const expected = good ? -Fault.Short : -Fault.Field;
    assert.equal(readFixedHeader(from, 0, 1, new FixedHeader()), expected, first.toString(16));
  }
  assert.equal(packetName(PacketType.Pingreq), "PINGREQ");
  assert.equal(packetName(15), "packet type 15");
});

interface ConnectVector {
  readonly what: string;
  readonly hex: string;
  readonly connect: Partial<Connect>;
}

const CONNECTS: readonly ConnectVector[] = [
  {
    what: "mosquitto_pub -q 0 -i dev1",
    hex: "10 10" + // CONNECT, 16 bytes
      "0004 4d515454 04" + // "MQTT", level 4
      "02 003c" + // clean session, keep-alive 60 s
      "0004 64657631", // "dev1"
    connect: { level: 4, cleanSession: true, keepAliveSeconds: 60, clientId: "dev1" },
  },
  {
    what: "mosquitto_pub -c -i dev1 -u ann -P secret --will-topic w/t --will-qos 1 -k 10",
    hex: "10 28" +
      "0004 4d515454 04" +
      "cc 000a" + // user name, password, will with QoS 1; 10 s
      "0004 64657631" + // "dev1"
      "0003 772f74" + // "w/t"
      "0004 676f6e65" + // "gone"
      "0003 616e6e" + // "ann"
      "0006 736563726574", // "secret"
    connect: {
      level: 4,
      keepAliveSeconds: 10,
      clientId: "dev1",
      will: { topic: "w/t", payload: new TextEncoder().encode("gone"), qos: 1, retain: false },
      username: "ann",
      password: new TextEncoder().encode("secret"),
    },
  },
  {
    what: "mosquitto_pub -V mqttv31 -i d",
    hex: "10 0f" +
      "0006 4d5149736470 03" + // "MQIsdp", level 3
      "02 003c" +
      "0001 64",
    connect: { level: 3, cleanSession: true, keepAliveSeconds: 60, clientId: "d" },
  },
];
Deno.test.each(CONNECTS)("CONNECT of $what", ({ hex, connect }) => {
  const from = region(hex);
  const end = from.bytes.length;
  const expected = Object.assign(new Connect(), connect);
  const read = new Connect();
  assert.equal(readConnect(from, 2, end, read), end);
  assert.deepEqual({ ...read }, { ...expected });
  const to = dirty(end + 2);
  const bodyAt = writeFixedHeader(to, 0, PacketType.Connect, 0, end - 2);
  assert.equal(writeConnect(to, bodyAt, expected), end);
  assert.equal(to.bytes.toHex(), from.bytes.toHex() + "a5a5");
});

Deno.test("CONNECT of MQTT 5 is told from a malformed one, and nothing behind its level is read", () => {
  // mosquitto_pub -V mqttv5 -i d: level 5, then properties
  const from = region("10 11 0004 4d515454 05 02 003c 03 210014 0001 64");
  const connect = new Connect();
  assert.equal(readConnect(from, 2, from.bytes.length, connect), -Fault.Feature);
  assert.equal(connect.level, 5);
  for (const [name, level] of [["0004 4d515454", "03"], ["0006 4d5149736470", "04"]] as const) {
    const other = region(`${name} ${level} 02 003c 0001 64`);
    assert.equal(readConnect(other, 0, other.bytes.length, connect), -Fault.Feature);
  }
});

/** Flags of figure 3.4, and the payload that goes with them. */
const WRONG_FLAGS = [
  { flags: "03", why: "MQTT-3.1.2-3: the reserved flag" },
  { flags: "0a", why: "MQTT-3.1.2-13: will QoS without will" },
  { flags: "22", why: "MQTT-3.1.2-15: will retain without will" },
  { flags: "1e", why: "MQTT-3.1.2-14: will QoS 3" },
  { flags: "42", why: "MQTT-3.1.2-22: password without user name" },
];
Deno.test.each(WRONG_FLAGS)("CONNECT flags $flags are refused: $why", ({ flags }) => {
  const from = region(`0004 4d515454 04 ${flags} 003c 0001 64 0001 61 0001 62`);
  assert.equal(readConnect(from, 0, from.bytes.length, new Connect()), -Fault.Field);
  assert.equal(lastFault.field, "CONNECT flags");
});

const WRONG_CONNECTS = [
  { hex: "0004 4d515458 04 02 003c 0001 64", field: "CONNECT protocol name" }, // MQTT-3.1.2-1
  { hex: "0004 4d515454 04 02 003c 0001 64 00", field: "CONNECT bytes left over" },
  { hex: "0004 4d515454 04 02 003c 0001 00", field: "CONNECT client identifier" }, // MQTT-1.5.3-2
  { hex: "0004 4d515454 04 06 003c 0001 64 0003 612f23 0000", field: "CONNECT will topic" }, // a/#
  { hex: "0004 4d515454 04 06 003c 0001 64 0000 0000", field: "CONNECT will topic" }, // MQTT-4.7.3-1
];
Deno.test.each(WRONG_CONNECTS)("CONNECT with a wrong $field is refused", ({ hex, field }) => {
  const from = region(hex);
  assert.equal(readConnect(from, 0, from.bytes.length, new Connect()), -Fault.Field);
  assert.equal(lastFault.field, field);
});

const ACKNOWLEDGEMENTS = [
  { hex: "20 02 00 00", present: false, code: ConnectReturn.Accepted },
  { hex: "20 02 01 00", present: true, code: ConnectReturn.Accepted },
  { hex: "20 02 00 01", present: false, code: ConnectReturn.UnacceptableProtocol },
  { hex: "20 02 00 05", present: false, code: ConnectReturn.NotAuthorized },
];
Deno.test.each(ACKNOWLEDGEMENTS)("CONNACK $hex: figures 3.8 and 3.9", ({ hex, present, code }) => {
  const to = dirty(6);
  assert.equal(writeConnack(to, 1, present, code), 5);
  assert.equal(to.bytes.toHex(), `a5${hex.replaceAll(" ", "")}a5`);
});

interface PublishVector {
  readonly what: string;
  readonly hex: string;
  readonly publish: Partial<Publish>;
  readonly payload: string;
}

const PUBLISHES: readonly PublishVector[] = [
  {
    what: "mosquitto_pub -q 0 -t a/b -m hi",
    hex: "30 07 0003 612f62 6869",
    publish: { topic: "a/b" },
    payload: "hi",
  },
  {
    what: "mosquitto_pub -q 2 -r -t a/b -m hi",
    hex: "35 09 0003 612f62 0001 6869",
    publish: { topic: "a/b", qos: 2, retain: true, packetId: 1 },
    payload: "hi",
  },
  {
    what: "figure 3.11: packet identifier 10, topic a/b, no payload",
    hex: "3a 07 0003 612f62 000a",
    publish: { topic: "a/b", qos: 1, dup: true, packetId: 10 },
    payload: "",
  },
  {
    what: "figure 1.2: U+0041 U+2A6D4 as a topic",
    hex: "30 08 0005 41f0aa9b94 21",
    publish: { topic: "A\u{2a6d4}" },
    payload: "!",
  },
  {
    what: "MQTT-1.5.3-3: U+FEFF is a character",
    hex: "30 06 0004 efbbbf61",
    publish: { topic: "\ufeffa" },
    payload: "",
  },
];
Deno.test.each(PUBLISHES)("PUBLISH of $what", ({ hex, publish, payload }) => {
  const from = region(hex);
  const end = from.bytes.length;
  const read = new Publish();
  assert.equal(readPublish(from, 2, end, from.bytes[0]! & 15, read), end);
  const { payloadAt, payloadEnd } = read;
  assert.equal(new TextDecoder().decode(from.bytes.subarray(payloadAt, payloadEnd)), payload);
  const expected = Object.assign(new Publish(), publish, { payloadAt, payloadEnd });
  assert.deepEqual({ ...read }, { ...expected });
  const to = dirty(end + 2);
  assert.equal(writePublish(to, 0, expected, new TextEncoder().encode(payload)), end);
  assert.equal(to.bytes.toHex(), from.bytes.toHex() + "a5a5");
});

const WRONG_PUBLISHES = [
  { hex: "36 07 0003 612f62 0001", field: "PUBLISH QoS", why: "MQTT-3.3.1-4: both bits" },
  { hex: "38 05 0003 612f62", field: "PUBLISH DUP", why: "MQTT-3.3.1-2: with QoS 0" },
  { hex: "30 05 0003 612f2b", field: "PUBLISH topic name", why: "MQTT-3.3.2-2: +" },
  { hex: "30 05 0003 612f23", field: "PUBLISH topic name", why: "MQTT-3.3.2-2: #" },
  { hex: "30 05 0003 610062", field: "PUBLISH topic name", why: "MQTT-4.7.3-2: U+0000" },
  { hex: "30 02 0000", field: "PUBLISH topic name", why: "MQTT-4.7.3-1: empty" },
  { hex: "30 05 0003 eda080", field: "PUBLISH topic name", why: "MQTT-1.5.3-1: a surrogate" },
  { hex: "30 04 0002 c080", field: "PUBLISH topic name", why: "RFC 3629 section 3: overlong" },
  { hex: "30 05 0004 612f62", field: "PUBLISH topic name length", why: "longer than its packet" },
  { hex: "30 01 00", field: "PUBLISH topic name", why: "half a length" },
  {
    hex: "32 07 0003 612f62 0000",
    field: "PUBLISH packet identifier",
    why: "MQTT-2.3.1-1: zero",
  },
  { hex: "32 06 0003 612f62 00", field: "PUBLISH", why: "half a packet identifier" },
];
Deno.test.each(WRONG_PUBLISHES)("PUBLISH $hex is refused: $why", ({ hex, field }) => {
  const from = region(hex);
  const flags = from.bytes[0]! & 15;
  assert.equal(readPublish(from, 2, from.bytes.length, flags, new Publish()), -Fault.Field);
  assert.equal(lastFault.field, field);
});

/** Sections 3.4 to 3.7 and 3.11. */
const ACKS = [
  { type: PacketType.Puback, hex: "40 02 000a" },
  { type: PacketType.Pubrec, hex: "50 02 000a" },
  { type: PacketType.Pubrel, hex: "62 02 000a" },
  { type: PacketType.Pubcomp, hex: "70 02 000a" },
  { type: PacketType.Unsuback, hex: "b0 02 000a" },
];
Deno.test.each(ACKS)("packet type $type for packet 10 is $hex", ({ type, hex }) => {
  const to = dirty(5);
  assert.equal(writeAcknowledgement(to, 0, type, 10), 4);
  assert.equal(to.bytes.toHex(), `${hex.replaceAll(" ", "")}a5`);
  const header = new FixedHeader();
  const id = { packetId: 0 };
  assert.equal(readFixedHeader(to, 0, 4, header), 2);
  assert.equal(readPacketId(to, 2, 4, type, id), 4);
  assert.deepEqual([header.type, id.packetId], [type, 10]);
});

Deno.test("SUBSCRIBE: figure 3.23 (a/b with QoS 1, c/d with QoS 2), answered with failures", () => {
  const from = region("82 0e 000a 0003 612f62 01 0003 632f64 02");
  const filters = new Filters();
  assert.equal(readFilters(from, 2, 16, PacketType.Subscribe, filters), 16);
  assert.deepEqual({ ...filters }, { packetId: 10, count: 2 });
  const to = dirty(7);
  assert.equal(writeSubackFailure(to, 0, filters), 6);
  assert.equal(to.bytes.toHex(), "9004000a8080a5"); // section 3.9.3
  assert.equal(SUBACK_FAILURE, 0x80);
});

Deno.test("UNSUBSCRIBE: figure 3.30 (a/b, c/d)", () => {
  const from = region("a2 0c 000a 0003 612f62 0003 632f64");
  const filters = new Filters();
  assert.equal(readFilters(from, 2, 14, PacketType.Unsubscribe, filters), 14);
  assert.deepEqual({ ...filters }, { packetId: 10, count: 2 });
});

const WRONG_FILTERS = [
  { hex: "82 02 000a", why: "MQTT-3.8.3-3: no filter" },
  { hex: "82 08 000a 0003 612f62 03", why: "MQTT-3-8.3-4: QoS 3" },
  { hex: "82 07 000a 0003 612f62", why: "no QoS" },
  { hex: "82 05 000a 0000 00", why: "MQTT-4.7.3-1: empty filter" },
  { hex: "82 08 0000 0003 612f62 00", why: "MQTT-2.3.1-1: packet identifier 0" },
  { hex: "a2 02 000a", why: "MQTT-3.10.3-2: no filter" },
];
Deno.test.each(WRONG_FILTERS)("filters $hex are refused: $why", ({ hex }) => {
  assert.equal(readPacket(region(hex)), -Fault.Field);
});

Deno.test("one packet has no more filters than an answer has room for", () => {
  for (const count of [FILTERS_MAX, FILTERS_MAX + 1]) {
    const from = region(`000a${"00016100".repeat(count)}`);
    const next = readFilters(from, 0, from.bytes.length, PacketType.Subscribe, new Filters());
    assert.equal(next, count > FILTERS_MAX ? -Fault.Large : from.bytes.length);
  }
});

Deno.test("topic names: section 4.7", () => {
  for (const name of ["a", "/", "a//b", "a b", "$SYS/x", "\u{10ffff}"]) {
    assert.equal(isTopicName(name), true, name);
  }
  for (const name of ["", "+", "a/#", "a+", "a\0"]) assert.equal(isTopicName(name), false, name);
});

Deno.test("a string of 65535 bytes is read as it was written: section 1.5.3", () => {
  const to = dirty(65_540);
  const text = "é".repeat(32_767) + "x";
  assert.equal(writeString(to, 1, text), 65_538);
  const into = { value: "" };
  assert.equal(readString(to, 1, 65_538, "x", into), 65_538);
  assert.equal(into.value, text);
  assert.equal(readString(to, 1, 65_537, "x", into), -Fault.Field, "one byte too few");
  assert.equal(readBytes(to, 1, 65_538, "x", new Span()), 65_538);
});

const WHOLE = [
  ...CONNECTS.map(({ hex }) => hex),
  ...PUBLISHES.map(({ hex }) => hex),
  "82 0e 000a 0003 612f62 01 0003 632f64 02",
  "a2 0c 000a 0003 612f62 0003 632f64",
  "62 02 000a",
];

Deno.test("every packet that is cut short asks for more, and never reads past its end", () => {
  for (const hex of WHOLE) {
    const { bytes } = region(hex);
    for (let cut = 0; cut < bytes.length; cut++) {
      assert.equal(readPacket(regionOf(bytes.slice(0, cut))), -Fault.Short, `${hex} at ${cut}`);
    }
    assert.equal(readPacket(regionOf(bytes)), bytes.length, hex);
  }
});

Deno.test("every packet whose remaining length is too small is refused or ends there", () => {
  for (const hex of WHOLE) {
    const { bytes } = region(hex);
    for (let length = 0; length < bytes.length - 2; length++) {
      const shorter = bytes.slice();
      shorter[1] = length;
      const next = readPacket(regionOf(shorter));
      assert.ok(next === length + 2 || next === -Fault.Field, `${hex}, ${length}: ${next}`);
    }
  }
});

Deno.test("no flipped bit makes a reader throw or go past the end", () => {
  for (const hex of WHOLE) {
    const { bytes } = region(hex);
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = bytes.slice();
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      assert.ok(readPacket(regionOf(flipped)) <= bytes.length, `${hex}, bit ${bit}`);
    }
  }
});
