/**
 * src/proto/mqtt: the server's end of one connection, fed with bytes and a clock of its own. The
 * rules are those of MQTT 3.1.1, by section or by number.
 *
 * @module
 */
import assert from "node:assert/strict";
import { newRegion } from "../../src/mem/region.ts";
import { CloseReason, MqttConnection, MqttEvent } from "../../src/proto/mqtt/connection.ts";
import { BUFFER_BYTES } from "../../src/proto/mqtt/packet_buffer.ts";
import { PacketIds } from "../../src/proto/mqtt/packet_ids.ts";
import { OWED_MAX } from "../../src/proto/mqtt/replies.ts";
import { PAYLOAD_BYTES_MAX } from "../../src/wire/gateway/envelope.ts";
import { Connect, ConnectReturn, writeConnect } from "../../src/wire/mqtt/connect.ts";
import { PacketType, writeFixedHeader } from "../../src/wire/mqtt/header.ts";
import { Publish, writeAcknowledgement, writePublish } from "../../src/wire/mqtt/publish.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A connection with an application that takes every message and notes what happens. */
class Peer {
  readonly machine = new MqttConnection(0);
  /** `topic=payload`. */
  readonly messages: string[] = [];
  nowMs = 0;
  /** What is left behind by an earlier connection. */
  received: PacketIds | null = null;

  /** Sends bytes in pieces, as many as there is room for at once. */
  send(bytes: Uint8Array, pieceBytes = Infinity): this {
    for (let at = 0; at < bytes.length && !this.machine.closed;) {
      if (this.machine.lacking > 0) this.machine.grow();
      const room = this.machine.room();
      const count = Math.min(room.length, bytes.length - at, pieceBytes);
      room.set(bytes.subarray(at, at + count));
      at += count;
      this.machine.handleBytes(count, this.nowMs);
      this.poll();
    }
    return this;
  }

  poll(): void {
    const { machine } = this;
    for (;;) {
      switch (machine.pollEvent(this.nowMs)) {
        case MqttEvent.Connect:
          machine.accept(this.received);
          break;
        case MqttEvent.Publish:
          this.messages.push(`${machine.publish.topic}=${decoder.decode(machine.payload)}`);
          machine.handleTaken();
          break;
        default:
          machine.shrink();
          return;
      }
    }
  }

  /** Everything is durable that was owed. */
  durable(): this {
    this.machine.handleDurable(this.machine.owed);
    return this;
  }

  /** What there is to send, in hex. */
  output(): string {
    return this.machine.hasOutput ? this.machine.takeOutput().toHex() : "";
  }
}

function connect(fields: Partial<Connect> = {}): Uint8Array<ArrayBuffer> {
  const to = newRegion(100_000);
  const all = { level: 4, cleanSession: true, clientId: "c", ...fields };
  const body = newRegion(100_000);
  const length = writeConnect(body, 0, Object.assign(new Connect(), all));
  const at = writeFixedHeader(to, 0, PacketType.Connect, 0, length);
  to.bytes.set(body.bytes.subarray(0, length), at);
  return to.bytes.slice(0, at + length);
}

function publish(qos: number, packetId: number, payload: string, dup = false): Uint8Array {
  return publishBytes(qos, packetId, encoder.encode(payload), dup);
}

function publishBytes(qos: number, packetId: number, payload: Uint8Array, dup = false): Uint8Array {
  const to = newRegion(payload.length + 20);
  const fields = Object.assign(new Publish(), { topic: "t", qos, packetId, dup });
  return to.bytes.subarray(0, writePublish(to, 0, fields, payload));
}

function pubrel(packetId: number): Uint8Array {
  const to = newRegion(4);
  writeAcknowledgement(to, 0, PacketType.Pubrel, packetId);
  return to.bytes;
}

function hex(text: string): Uint8Array {
  return Uint8Array.fromHex(text.replaceAll(" ", ""));
}

function join(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Past CONNACK. */
function opened(fields: Partial<Connect> = {}): Peer {
  const peer = new Peer().send(connect(fields));
  assert.equal(peer.output(), "20020000");
  return peer;
}

const PINGREQ = hex("c000");
const DISCONNECT = hex("e000");

Deno.test("CONNECT is answered with CONNACK: section 3.2", () => {
  const peer = new Peer();
  assert.equal(peer.machine.open, false);
  peer.send(connect({ keepAliveSeconds: 60 }));
  assert.equal(peer.output(), "20020000");
  assert.equal(peer.machine.open, true);
});

Deno.test("session present is said of a session that was kept, but not to MQTT 3.1", () => {
  for (const [level, expected] of [[4, "20020100"], [3, "20020000"]] as const) {
    const peer = new Peer();
    peer.received = new PacketIds();
    peer.send(connect({ cleanSession: false, level }));
    assert.equal(peer.output(), expected);
  }
});

Deno.test("another protocol level gets return code 1, then the end: MQTT-3.1.2-2", () => {
  const peer = new Peer().send(hex("10 11 0004 4d515454 05 02 003c 03 210014 0001 64"));
  assert.equal(peer.output(), "20020001");
  assert.equal(peer.machine.closeReason, CloseReason.Refused);
  assert.match(peer.machine.closeText, /protocol level .* current value is 5/);
});

const CLIENT_IDS = [
  { clientId: "", cleanSession: true, level: 4, output: "20020000", why: "MQTT-3.1.3-6" },
  { clientId: "", cleanSession: false, level: 4, output: "20020002", why: "MQTT-3.1.3-8" },
  { clientId: "", cleanSession: true, level: 3, output: "20020002", why: "MQTT 3.1" },
  { clientId: "x".repeat(23), cleanSession: true, level: 4, output: "20020000", why: "3.1.3-5" },
  { clientId: "x".repeat(256), cleanSession: true, level: 4, output: "20020000", why: "ours" },
  { clientId: "x".repeat(257), cleanSession: true, level: 4, output: "20020002", why: "ours" },
];
Deno.test.each(CLIENT_IDS)(
  "client identifier $clientId, clean session $cleanSession, level $level: $output ($why)",
  ({ clientId, cleanSession, level, output }) => {
    const peer = new Peer().send(connect({ clientId, cleanSession, level }));
    assert.equal(peer.output(), output);
    assert.equal(peer.machine.closed, output !== "20020000");
  },
);

Deno.test("an application that refuses says so by its return code, and nothing else is handled", () => {
  const machine = new MqttConnection(0);
  const bytes = join(connect(), publish(0, 0, "x"));
  machine.room().set(bytes);
  machine.handleBytes(bytes.length, 0);
  assert.equal(machine.pollEvent(0), MqttEvent.Connect);
  machine.refuse(ConnectReturn.NotAuthorized, "who?");
  assert.equal(machine.pollEvent(0), MqttEvent.None, "MQTT-3.1.4-5");
  assert.equal(machine.takeOutput().toHex(), "20020005");
  assert.deepEqual([machine.closeReason, machine.closeText], [CloseReason.Refused, "who?"]);
});

Deno.test("all at once, byte by byte and at every split point: the same messages and replies", () => {
  const stream = join(
    connect(),
    publish(0, 0, "zero"),
    publish(1, 7, "one"),
    PINGREQ,
    publish(2, 8, "two"),
    pubrel(8),
    hex("82 06 0009 0001 61 00"), // SUBSCRIBE a
    hex("a2 05 000a 0001 61"), // UNSUBSCRIBE a
    publish(1, 65535, ""),
    DISCONNECT,
  );
  const expected = ["t=zero", "t=one", "t=two", "t="];
  // CONNACK, PINGRESP, PUBCOMP 8, SUBACK failure, UNSUBACK; nothing is durable
  const output = "20020000 d000 70020008 9003000980 b002000a".replaceAll(" ", "");
  const check = (peer: Peer): void => {
    assert.deepEqual(peer.messages, expected);
    assert.equal(peer.output(), output);
    assert.equal(peer.machine.closeReason, CloseReason.Disconnect);
    assert.equal(peer.machine.undurable, 3);
  };
  check(new Peer().send(stream));
  check(new Peer().send(stream, 1));
  for (let at = 1; at < stream.length; at++) {
    check(new Peer().send(stream.subarray(0, at)).send(stream.subarray(at)));
  }
});

Deno.test("PUBACK and PUBREC leave when messages are durable, in their order: MQTT-4.6.0-2", () => {
  const peer = opened();
  peer.send(join(publish(1, 3, "a"), publish(2, 1, "b"), publish(0, 0, "c"), publish(1, 2, "d")));
  assert.equal(peer.output(), "");
  assert.equal(peer.machine.owed, 3);
  peer.machine.handleDurable(1);
  assert.equal(peer.output(), "40020003");
  peer.durable();
  assert.equal(peer.output(), "5002000140020002");
  assert.equal(peer.machine.undurable, 0);
  peer.durable();
  assert.equal(peer.output(), "", "once");
});

Deno.test("QoS 1: the same identifier is a new message: MQTT-4.3.2-2", () => {
  const peer = opened().send(join(publish(1, 3, "a"), publish(1, 3, "a", true))).durable();
  assert.deepEqual(peer.messages, ["t=a", "t=a"]);
  assert.equal(peer.output(), "4002000340020003");
});

Deno.test("QoS 2: until PUBREL the same identifier is the same message: MQTT-4.3.3-2", () => {
  const peer = opened().send(publish(2, 9, "a")).durable();
  assert.equal(peer.output(), "50020009");
  peer.send(publish(2, 9, "a", true)).durable();
  assert.equal(peer.output(), "50020009", "PUBREC again");
  assert.deepEqual(peer.messages, ["t=a"], "no second message");
  peer.send(pubrel(9));
  assert.equal(peer.output(), "70020009");
  peer.send(pubrel(9));
  assert.equal(peer.output(), "70020009", "PUBCOMP again, though it is unknown");
  peer.send(publish(2, 9, "b")).durable();
  assert.deepEqual(peer.messages, ["t=a", "t=b"]);
});

Deno.test("QoS 2: PUBREC of a message that came again waits for the disk like the first one", () => {
  const peer = opened().send(join(publish(2, 9, "a"), publish(2, 9, "a", true)));
  assert.equal(peer.output(), "");
  assert.equal(peer.durable().output(), "5002000950020009");
});

Deno.test("QoS 2: a session goes on with the identifiers of its last connection: section 4.1", () => {
  const first = opened({ cleanSession: false }).send(publish(2, 9, "a"));
  first.machine.handleEnd();
  const second = new Peer();
  second.received = first.machine.received;
  second.send(join(connect({ cleanSession: false }), publish(2, 9, "a", true))).durable();
  assert.deepEqual(second.messages, []);
  assert.equal(second.output(), "2002010050020009");
});

Deno.test("packet identifiers are told apart, all of them", () => {
  const ids = new PacketIds();
  for (let id = 1; id < 65536; id += 2) ids.add(id);
  for (let id = 0; id < 65536; id++) assert.equal(ids.has(id), id % 2 === 1);
  ids.delete(1);
  assert.deepEqual([ids.has(1), ids.has(3)], [false, true]);
});

const VIOLATIONS = [
  { bytes: "c000", why: "MQTT-3.1.0-1: not CONNECT first", before: true },
  { bytes: "00", why: "packet type 0", before: true },
  { bytes: "474554", why: "GET", before: true },
  { bytes: "10 80808080", why: "five bytes of length", before: true },
  { bytes: "10 ffff7f", why: "a CONNECT of 2 MiB", before: true },
  { bytes: "10 00", why: "an empty CONNECT", before: true },
  { bytes: "10 0d 0004 4d515454 04 02 003c 0001 64", why: "MQTT-3.1.0-2: CONNECT again" },
  { bytes: "f000", why: "packet type 15" },
  { bytes: "2002 0000", why: "CONNACK from a client" },
  { bytes: "4002 0001", why: "PUBACK of nothing" },
  { bytes: "5002 0001", why: "PUBREC of nothing" },
  { bytes: "7002 0001", why: "PUBCOMP of nothing" },
  { bytes: "9003 0001 00", why: "SUBACK from a client" },
  { bytes: "b002 0001", why: "UNSUBACK from a client" },
  { bytes: "d000", why: "PINGRESP from a client" },
  { bytes: "c001 00", why: "PINGREQ with a body" },
  { bytes: "e001 00", why: "DISCONNECT with a body" },
  { bytes: "e100", why: "MQTT-3.14.1-1: reserved bits of DISCONNECT" },
  { bytes: "6002 0001", why: "MQTT-3.6.1-1: reserved bits of PUBREL" },
  { bytes: "6203 0001 00", why: "PUBREL with more" },
  { bytes: "8006 0001 0001 61 00", why: "MQTT-3.8.1-1: reserved bits of SUBSCRIBE" },
  { bytes: "36 06 0001 74 0001 78", why: "MQTT-3.3.1-4: QoS 3" },
  { bytes: "30 ffffff7f", why: "a PUBLISH of 256 MiB" },
];
Deno.test.each(VIOLATIONS)("a violation closes: $why", ({ before, bytes }) => {
  const peer = before === true ? new Peer() : opened();
  peer.send(hex(bytes));
  assert.equal(peer.machine.closeReason, CloseReason.Fault);
  assert.match(peer.machine.closeText, /^Cannot accept .+ as it must be .+: current value is /);
  assert.equal(peer.output(), "", "MQTT-3.1.4-1, MQTT-4.8.0-1: without an answer");
  assert.equal(peer.machine.pollDeadline(), Infinity);
});

Deno.test("the largest payload is taken, in memory of its own that is given back; one more is not", () => {
  const peer = opened();
  const payload = new Uint8Array(PAYLOAD_BYTES_MAX).fill(0x61);
  peer.send(publishBytes(1, 1, payload).subarray(0, 10));
  assert.ok(peer.machine.lacking > PAYLOAD_BYTES_MAX);
  assert.ok(peer.machine.lacking < PAYLOAD_BYTES_MAX + 20);
  peer.send(publishBytes(1, 1, payload).subarray(10));
  assert.equal(peer.messages[0]?.length, PAYLOAD_BYTES_MAX + 2);
  assert.equal(peer.machine.room().length, BUFFER_BYTES);
  peer.send(publishBytes(1, 2, new Uint8Array(PAYLOAD_BYTES_MAX + 1)));
  assert.equal(peer.machine.closeReason, CloseReason.Fault);
  assert.match(peer.machine.closeText, /PUBLISH payload .* current value is 4194305 /);
});

Deno.test("what does not fit into the buffer says so, what just fits does not", () => {
  for (
    const [payloadBytes, lacks] of [[BUFFER_BYTES - 7, false], [BUFFER_BYTES - 6, true]] as const
  ) {
    const peer = opened();
    const bytes = publishBytes(0, 0, new Uint8Array(payloadBytes)); // header 4, topic 3
    peer.send(bytes.subarray(0, 100));
    assert.equal(peer.machine.lacking > 0, lacks);
    peer.send(bytes.subarray(100));
    assert.equal(peer.messages.length, 1);
  }
});

Deno.test("a client that is owed too much is not handled until something is durable", () => {
  const peer = opened();
  const count = OWED_MAX + 10;
  const all = Array.from({ length: count }, (_, index) => publish(1, index + 1, "x"));
  peer.send(join(...all));
  assert.equal(peer.messages.length, OWED_MAX);
  assert.equal(peer.machine.blocked, true);
  peer.durable().poll();
  assert.equal(peer.messages.length, count);
});

Deno.test("replies that nobody reads stop the connection, and do not grow", () => {
  const peer = opened();
  const pings = new Uint8Array(20_000);
  for (let at = 0; at < pings.length; at += 2) pings.set(PINGREQ, at);
  peer.send(pings);
  assert.equal(peer.machine.blocked, true);
  const first = peer.machine.takeOutput().length;
  assert.ok(first > 4000 && first < 5000, `${first}`);
  let all = first;
  for (peer.poll(); peer.machine.hasOutput; peer.poll()) all += peer.machine.takeOutput().length;
  assert.equal(all, 20_000);
});

Deno.test("a message is handled once it is answered, and the next one only then", () => {
  const machine = new MqttConnection(0);
  const bytes = join(connect(), publish(1, 1, "a"), publish(0, 0, "b"));
  machine.room().set(bytes);
  machine.handleBytes(bytes.length, 0);
  assert.equal(machine.pollEvent(0), MqttEvent.Connect);
  machine.accept(null);
  assert.equal(machine.pollEvent(0), MqttEvent.Publish);
  assert.throws(() => machine.pollEvent(0), /Invariant/);
  assert.throws(() => machine.handleDropped(), /QoS 0/);
  machine.handleTaken();
  assert.equal(machine.pollEvent(0), MqttEvent.Publish);
  assert.equal(decoder.decode(machine.payload), "b");
  machine.handleDropped();
  assert.equal(machine.pollEvent(0), MqttEvent.None);
  assert.equal(machine.owed, 1);
});

Deno.test("the will stays unless DISCONNECT comes: MQTT-3.1.2-8, MQTT-3.14.4-3", () => {
  const will = { topic: "gone", payload: encoder.encode("x"), qos: 1, retain: false };
  const ended = opened({ will });
  ended.machine.handleEnd();
  assert.deepEqual(ended.machine.will, will);
  const broken = opened({ will }).send(hex("00"));
  assert.deepEqual(broken.machine.will, will);
  assert.equal(opened({ will }).send(DISCONNECT).machine.will, null);
  const refused = new MqttConnection(0);
  const bytes = connect({ will });
  refused.room().set(bytes);
  refused.handleBytes(bytes.length, 0);
  refused.pollEvent(0);
  refused.refuse(ConnectReturn.NotAuthorized, "no");
  assert.equal(refused.will, null, "only of a connection that was accepted");
});

Deno.test("CONNECT must come within 10 s", () => {
  const peer = new Peer().send(connect().subarray(0, 5));
  assert.equal(peer.machine.pollDeadline(), 10_000);
  peer.machine.handleDeadline(9_999);
  assert.equal(peer.machine.closed, false);
  peer.machine.handleDeadline(10_000);
  assert.equal(peer.machine.closeReason, CloseReason.Deadline);
});

Deno.test("silence for one and a half times the keep-alive closes: MQTT-3.1.2-24", () => {
  const peer = opened({ keepAliveSeconds: 2 });
  assert.equal(peer.machine.pollDeadline(), 3000);
  peer.nowMs = 2999;
  peer.send(PINGREQ);
  assert.equal(peer.machine.pollDeadline(), 5999);
  peer.machine.handleDeadline(5998);
  assert.equal(peer.machine.closed, false);
  peer.machine.handleDeadline(5999);
  assert.equal(peer.machine.closeReason, CloseReason.KeepAlive);
  assert.equal(opened({ keepAliveSeconds: 0 }).machine.pollDeadline(), Infinity);
});

Deno.test("a packet that has begun is whole within 120 s, whatever the keep-alive is", () => {
  for (const keepAliveSeconds of [0, 1]) {
    const peer = opened({ keepAliveSeconds });
    peer.nowMs = 500;
    const bytes = publish(0, 0, "x");
    peer.send(bytes.subarray(0, 2));
    assert.equal(peer.machine.pollDeadline(), 120_500);
    peer.nowMs = 90_000;
    peer.send(bytes.subarray(2, 4));
    assert.equal(peer.machine.pollDeadline(), 120_500, "more bytes do not put it off");
    peer.machine.handleDeadline(120_500);
    assert.equal(peer.machine.closeReason, CloseReason.Deadline);
  }
});

Deno.test("no deadline runs while the application waits for something else", () => {
  const peer = opened({ keepAliveSeconds: 2 });
  peer.machine.handlePause();
  assert.equal(peer.machine.pollDeadline(), Infinity);
  peer.machine.handleDeadline(1_000_000);
  assert.equal(peer.machine.closed, false);
  peer.machine.handleResume(1_000_000);
  assert.equal(peer.machine.pollDeadline(), 1_003_000);
});

Deno.test("the first reason to close stays, and what is durable then is not acknowledged", () => {
  const peer = opened().send(publish(1, 1, "a"));
  peer.machine.close(CloseReason.TakenOver, "");
  peer.machine.handleEnd();
  assert.equal(peer.durable().output(), "");
  assert.equal(peer.machine.closeReason, CloseReason.TakenOver);
});

Deno.test("no flipped bit of a session makes the machine throw", () => {
  const stream = join(
    connect({ username: "u" }),
    publish(1, 7, "one"),
    publish(2, 8, "two"),
    pubrel(8),
  );
  for (let bit = 0; bit < stream.length * 8; bit++) {
    const flipped = stream.slice();
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    const peer = new Peer();
    peer.send(flipped).durable().output();
    assert.ok(peer.messages.length <= 2);
  }
});
