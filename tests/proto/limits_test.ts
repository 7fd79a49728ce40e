/**
 * What a hostile, broken or slow peer may cost, and a slow application: bounded memory, a
 * deadline, and a counted reason. msgr2 leaves these limits to us; they are in `mem/limits.ts`.
 *
 * @module
 */
import assert from "node:assert/strict";
import { arenaTaken } from "../../src/mem/arena.ts";
import {
  HANDSHAKE_BYTES_MAX,
  HANDSHAKES_MAX,
  RECEIVE_BYTES_BUSY,
  RECEIVE_BYTES_HANDSHAKE,
  SESSIONS_MAX,
  STAGING_BYTES,
} from "../../src/mem/limits.ts";
import { newRegion } from "../../src/mem/region.ts";
import { U64 } from "../../src/mem/u64.ts";
import { authCephx } from "../../src/app/auth.ts";
import { NodeCrypto } from "../../src/io/crypto.ts";
import { Phase } from "../../src/proto/msgr2/connection.ts";
import { POLICIES } from "../../src/proto/msgr2/policy.ts";
import { SessionState } from "../../src/proto/msgr2/session.ts";
import { generateKey } from "../../src/wire/cephx/crypto_key.ts";
import { AuthMode, encodeIdentity } from "../../src/wire/cephx/entity_name.ts";
import { Keyring } from "../../src/wire/cephx/keyring.ts";
import { AuthMethod } from "../../src/wire/msgr2/auth.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";
import { Keepalive, writeKeepalive } from "../../src/wire/msgr2/keepalive.ts";
import { writePreamble } from "../../src/wire/msgr2/preamble.ts";
import { writeSessionRetry } from "../../src/wire/msgr2/session.ts";
import { Tag } from "../../src/wire/msgr2/tag.ts";
import { Net, type Node, type NodeOptions, say } from "./pair.ts";
import { controlFrame, messageFrame, RawPeer } from "./raw_peer.ts";

/** What an idle connection of the handshake takes. */
const HANDSHAKE_COST = RECEIVE_BYTES_HANDSHAKE + STAGING_BYTES;

function listener(options: NodeOptions = {}): { net: Net; server: Node } {
  const net = new Net();
  return { net, server: net.node("server", { address: "v2:10.0.1.1:3300", ...options }) };
}

/** Runs a test, then ends all nodes: the memory must be what it was. */
function test(name: string, body: () => Net): void {
  Deno.test(name, () => {
    const before = arenaTaken();
    const net = body();
    for (const node of net.nodes) node.stop();
    assert.equal(arenaTaken(), before, "memory is given back");
  });
}

function preambleOf(length: number): Uint8Array {
  const region = newRegion(32);
  writePreamble(region, 0, Tag.Message, 41, length, 0, 0);
  return region.bytes;
}

const CRYPTO = new NodeCrypto();
const KEYRING = new Keyring([
  { name: { type: EntityType.Client, id: "raw" }, key: generateKey(CRYPTO, 1, 0) },
]);

test("a peer that announces 2 GiB in its handshake is dropped at once", () => {
  const { net, server } = listener();
  const before = arenaTaken();
  const peer = RawPeer.client(server)!;
  peer.say(RawPeer.banner(), preambleOf(2 ** 31 - 64));
  assert.ok(peer.closed);
  assert.equal(server.messenger.counters.closed.get("limit"), 1);
  assert.equal(arenaTaken(), before);
  return net;
});

test("a peer that announces 2 GiB in a session is dropped at once", () => {
  const { net, server } = listener();
  const peer = RawPeer.client(server)!.establish();
  assert.equal(peer.connection.phase, Phase.Ready);
  const before = arenaTaken();
  peer.say(preambleOf(2 ** 31 - 64));
  assert.ok(peer.closed);
  assert.ok(arenaTaken() < before);
  assert.match(peer.connection.closeText, /segment lengths.*67108864 at most/);
  assert.equal(server.messenger.counters.closed.get("limit"), 1);
  return net;
});

test("a peer that announces 60 MiB and sends nothing of it costs one receive buffer", () => {
  const { net, server } = listener();
  const peer = RawPeer.client(server)!.establish();
  const before = arenaTaken();
  peer.say(preambleOf(60 * 1024 * 1024));
  peer.say(new Uint8Array(20_000));
  assert.ok(!peer.closed);
  assert.ok(arenaTaken() - before <= RECEIVE_BYTES_HANDSHAKE);
  net.advance(31_000);
  assert.equal(server.messenger.counters.closed.get("silent"), 1);
  return net;
});

test("a peer that sends one byte a minute is dropped in its handshake", () => {
  const { net, server } = listener();
  const before = arenaTaken();
  const peer = RawPeer.client(server)!;
  const banner = RawPeer.banner();
  for (let index = 0; index < banner.length && !peer.closed; index++) {
    peer.say(banner.slice(index, index + 1));
    assert.ok(arenaTaken() - before <= HANDSHAKE_COST);
    net.advance(60_000);
  }
  assert.equal(server.messenger.counters.closed.get("handshake"), 1);
  assert.match(peer.connection.closeText, /did not finish within 10000 ms: it stopped at banner/);
  assert.equal(arenaTaken(), before);
  return net;
});

test("a peer that sends one byte a minute of a message is dropped as silent", () => {
  const { net, server } = listener();
  const peer = RawPeer.client(server)!.establish();
  const frame = messageFrame(1, new Uint8Array(1000));
  for (let index = 0; index < 5 && !peer.closed; index++) {
    peer.say(frame.slice(index, index + 1));
    net.advance(60_000);
  }
  assert.equal(server.messenger.counters.closed.get("silent"), 1);
  return net;
});

test("a peer that never finishes its handshake is dropped, wherever it stops", () => {
  const steps = [
    RawPeer.banner(),
    RawPeer.hello(),
    RawPeer.authRequest(),
    RawPeer.signature(),
  ];
  const { net, server } = listener();
  const before = arenaTaken();
  for (let count = 0; count <= steps.length; count++) {
    RawPeer.client(server)!.say(...steps.slice(0, count));
  }
  assert.ok(arenaTaken() - before <= (steps.length + 1) * HANDSHAKE_COST);
  net.advance(9999);
  assert.equal(server.messenger.connections.size, steps.length + 1);
  net.advance(1);
  assert.equal(server.messenger.connections.size, 0);
  assert.equal(server.messenger.counters.closed.get("handshake"), steps.length + 1);
  assert.equal(arenaTaken(), before);
  return net;
});

test("a server that never answers is given up, and tried again later", () => {
  const { net, server } = listener();
  const client = net.node("client");
  client.connect(server);
  const peer = RawPeer.server(client)!;
  net.advance(10_000);
  assert.ok(peer.closed);
  assert.equal(client.messenger.counters.closed.get("handshake"), 1);
  net.advance(1000);
  assert.equal(client.session.state, SessionState.Ready);
  return net;
});

test("a banner with a huge payload is refused", () => {
  const { net, server } = listener();
  const peer = RawPeer.client(server)!;
  const banner = RawPeer.banner();
  banner[8] = 0xff;
  banner[9] = 0xff;
  peer.say(banner);
  assert.ok(peer.closed);
  assert.equal(
    [...server.messenger.counters.closed.values()].reduce((sum, count) => sum + count, 0),
    1,
  );
  return net;
});

test("a flood of handshake bytes ends at its limit", () => {
  const { net, server } = listener();
  const before = arenaTaken();
  const peer = RawPeer.client(server)!.authenticate();
  const ident = peer.clientIdent({ supported: U64.of(0) });
  let sent = 0;
  while (!peer.closed && sent < 10 * HANDSHAKE_BYTES_MAX) {
    peer.say(ident);
    sent += ident.length;
    assert.ok(arenaTaken() - before <= 2 * HANDSHAKE_COST);
  }
  assert.ok(sent <= HANDSHAKE_BYTES_MAX + ident.length);
  assert.equal(server.messenger.counters.closed.get("limit"), 1);
  return net;
});

test("KEEPALIVE2 without end is answered without a queue", () => {
  const { net, server } = listener();
  const peer = RawPeer.client(server)!.establish();
  const stamp = new Keepalive();
  const before = arenaTaken();
  for (let round = 0; round < 20; round++) {
    for (let index = 0; index < 500; index++) {
      stamp.seconds = round * 500 + index;
      peer.bytes(controlFrame(Tag.Keepalive2, (out, at) => writeKeepalive(out, at, stamp)));
    }
    peer.say();
  }
  assert.ok(!peer.closed);
  assert.ok(arenaTaken() - before <= RECEIVE_BYTES_BUSY);
  // One answer for each time that we could send, with the newest stamp.
  assert.equal(peer.tags.filter((tag) => tag === "KEEPALIVE2_ACK").length, 20);
  assert.equal(peer.last!.payload.view.getUint32(0, true), 9999);
  return net;
});

test("a flood of connections stops at HANDSHAKES_MAX", () => {
  const { net, server } = listener();
  const before = arenaTaken();
  let accepted = 0;
  for (let index = 0; index < HANDSHAKES_MAX + 100; index++) {
    if (RawPeer.client(server) !== null) accepted++;
  }
  assert.equal(accepted, HANDSHAKES_MAX);
  assert.equal(server.messenger.counters.refusedConnections, 100);
  assert.equal(arenaTaken() - before, HANDSHAKES_MAX * HANDSHAKE_COST);
  net.advance(10_000);
  assert.equal(arenaTaken(), before);
  assert.notEqual(RawPeer.client(server), null);
  return net;
});

for (const stay of [true, false]) {
  const end = stay ? "newer ones are refused" : "those that wait longest make room";
  test(`a flood of sessions stops at SESSIONS_MAX: ${end}`, () => {
    const { net, server } = listener();
    for (let index = 0; index < SESSIONS_MAX + 3; index++) {
      const peer = RawPeer.client(server)!;
      peer.establish({ address: `any:10.9.${index >> 8}.${index & 255}:0/${index + 1}` });
      if (!stay) peer.connection.handleEnd("", net.now);
    }
    assert.equal(server.messenger.sessions.size, SESSIONS_MAX);
    assert.equal(server.messenger.counters.refusedSessions, stay ? 3 : 0);
    assert.equal(server.messenger.counters.expiredSessions, stay ? 0 : 3);
    return net;
  });
}

test("AUTH_REQUEST with garbage forever ends after a few refusals", () => {
  const { net, server } = listener();
  const peer = RawPeer.client(server)!.say(RawPeer.banner(), RawPeer.hello());
  for (let index = 0; index < 100; index++) {
    peer.say(RawPeer.authRequest(AuthMethod.None, [1], Uint8Array.of(index, 1, 2, 3)));
  }
  assert.ok(peer.closed);
  assert.equal(server.messenger.counters.closed.get("auth"), 1);
  assert.ok(peer.tags.filter((tag) => tag === "AUTH_BAD_METHOD").length <= 8);
  return net;
});

test("AUTH_REQUEST after AUTH_REQUEST without reading the answers is stopped", () => {
  const { net, server } = listener({ auth: authCephx("client.raw", KEYRING, ["crc"]) });
  const before = arenaTaken();
  const peer = RawPeer.client(server)!;
  const name = { type: EntityType.Client, id: "raw" };
  const payload = encodeIdentity({ mode: AuthMode.Mon, name, globalId: new U64() });
  const request = RawPeer.authRequest(AuthMethod.Cephx, [1], payload);
  peer.bytes(RawPeer.banner());
  peer.bytes(RawPeer.hello());
  for (let index = 0; index < 2000 && !peer.closed; index++) peer.bytes(request);
  assert.ok(peer.closed);
  assert.equal(server.messenger.counters.closed.get("limit"), 1);
  assert.equal(arenaTaken(), before);
  return net;
});

test("a server that says RETRY forever is left", () => {
  const net = new Net();
  const server = net.node("server", { address: "v2:10.0.1.1:3300" });
  const client = net.node("client");
  client.connect(server);
  net.settle();
  net.cut(undefined, false);
  const peer = RawPeer.server(client)!;
  peer.say(
    RawPeer.banner(),
    RawPeer.hello(),
    RawPeer.authDone(),
    RawPeer.signature(),
  );
  assert.equal(peer.last!.tag, "RECONNECT");
  const retry = controlFrame(
    Tag.SessionRetry,
    (out, at) => writeSessionRetry(out, at, { connectSeq: 5 }),
  );
  let count = 0;
  while (!peer.closed && count < 5000) {
    peer.bytes(retry);
    count++;
  }
  assert.ok(peer.closed);
  assert.equal(client.messenger.counters.closed.get("limit"), 1);
  return net;
});

test("a slow application stops its peer by back-pressure; nothing is lost, memory stays bounded", () => {
  const net = new Net();
  const server = net.node("server", { address: "v2:10.0.1.1:3300" });
  const client = net.node("client", { options: { outboxBytesMax: 256 * 1024 } });
  const session = client.connect(server);
  net.settle();
  const before = arenaTaken();
  server.takes = false;
  const sent: string[] = [];
  const text = "x".repeat(1000);
  for (let index = 0; index < 5000; index++) {
    if (say(session, `${index} ${text}`) === 0) break;
    sent.push(`${index} ${text}`);
    net.settle();
  }
  assert.ok(sent.length > 100 && sent.length < 300, `${sent.length}`);
  assert.equal(session.ackedSeq, 0);
  net.advance(300_000); // nobody takes this for a dead peer
  assert.equal(client.messenger.counters.closed.size, 0);
  assert.equal(server.messenger.counters.closed.size, 0);
  assert.ok(arenaTaken() - before <= 512 * 1024 + 2 * RECEIVE_BYTES_BUSY, `${arenaTaken()}`);
  assert.equal(say(session, text), 0);
  server.takes = true;
  net.settle();
  assert.deepEqual(server.received, sent);
  assert.equal(session.unacknowledged, 0);
  assert.notEqual(say(session, "room again"), 0);
  net.settle();
  assert.equal(server.received.at(-1), "room again");
  return net;
});

for (const messages of [256, 5]) {
  test(`an application that holds a batch of ${messages} for minutes keeps its session`, () => {
    const net = new Net();
    const server = net.node("server", { address: "v2:10.0.1.1:3300" });
    const client = net.node("client", { options: { outboxBytesMax: 4 * 1024 * 1024 } });
    const session = client.connect(server);
    net.settle();
    server.holds = true;
    const sent: string[] = [];
    const text = "x".repeat(messages === 5 ? 30_000 : 100);
    for (let index = 0; index < 100 * messages && index < 2000; index++) {
      if (say(session, `${index} ${text}`) === 0) break;
      sent.push(`${index} ${text}`);
      if (index === messages - 1) net.settle();
    }
    net.settle();
    assert.notEqual(server.held, null);
    net.advance(200_000);
    assert.equal(server.messenger.counters.closed.size, 0);
    assert.equal(client.messenger.counters.closed.size, 0);
    server.holds = false;
    server.done();
    assert.deepEqual(server.received, sent);
    assert.equal(session.unacknowledged, 0);
    return net;
  });
}

test("a session's full share: send() returns 0, and goes on after acknowledgements", () => {
  const net = new Net();
  const server = net.node("server", { address: "v2:10.0.1.1:3300" });
  const client = net.node("client", { options: { outboxBytesMax: 64 * 1024 } });
  const before = arenaTaken();
  net.reachable = false;
  const session = client.connect(server);
  let count = 0;
  while (say(session, `${count}`) !== 0) count++;
  assert.ok(count > 100);
  assert.ok(arenaTaken() - before <= 128 * 1024 + HANDSHAKE_COST);
  assert.equal(session.unacknowledged, count);
  net.reachable = true;
  net.advance(1000);
  assert.deepEqual(server.received, Array.from({ length: count }, (_, index) => `${index}`));
  assert.notEqual(say(session, "again"), 0);
  net.settle();
  assert.equal(session.unacknowledged, 0);
  assert.equal(server.received.at(-1), "again");
  return net;
});

test("a message larger than the share goes alone", () => {
  const net = new Net();
  const server = net.node("server", { address: "v2:10.0.1.1:3300" });
  const client = net.node("client", { options: { outboxBytesMax: 64 * 1024 } });
  const session = client.connect(server);
  const large = "y".repeat(1_000_000);
  assert.notEqual(say(session, large), 0);
  assert.equal(say(session, "behind it"), 0);
  net.settle();
  assert.deepEqual(server.received, [large]);
  assert.notEqual(say(session, "behind it"), 0);
  return net;
});

test("the ACK of something never sent drops the connection", () => {
  const { net, server } = listener();
  const peer = RawPeer.client(server)!.establish();
  const { session } = server;
  say(session, "one");
  peer.say();
  peer.say(RawPeer.ack(1));
  assert.equal(session.unacknowledged, 0);
  peer.say(RawPeer.ack(2));
  assert.ok(peer.closed);
  assert.match(peer.connection.closeText, /ACK seq .*1 at most, the last one sent.* is 2/);
  assert.equal(server.messenger.counters.closed.get("bytes"), 1);
  return net;
});

test("the ack_seq of something never sent drops the connection", () => {
  const { net, server } = listener();
  const peer = RawPeer.client(server)!.establish();
  peer.say(messageFrame(1, new Uint8Array(8), { ackSeq: 1 }));
  assert.ok(peer.closed);
  assert.deepEqual(server.received, []);
  return net;
});

test("an ACK of what is not sent yet, behind a slow socket, drops the connection", () => {
  const { net, server } = listener();
  const peer = RawPeer.client(server)!.establish();
  say(server.session, "one");
  assert.ok(peer.connection.pollTransmit(net.now)); // encoded; the kernel has taken nothing
  peer.bytes(RawPeer.ack(1));
  assert.ok(peer.closed);
  return net;
});

test("an old ACK again is harmless", () => {
  const { net, server } = listener();
  const peer = RawPeer.client(server)!.establish();
  for (const text of ["one", "two", "three"]) say(server.session, text);
  peer.say().say(RawPeer.ack(2)).say(RawPeer.ack(1)).say(RawPeer.ack(2));
  assert.ok(!peer.closed);
  assert.equal(server.session.unacknowledged, 1);
  return net;
});

test("a dead peer is probed by KEEPALIVE2 and given up after its time", () => {
  const { net, server } = listener();
  const peer = RawPeer.client(server)!.establish();
  net.advance(29_999);
  peer.collect();
  assert.equal(peer.tags.filter((tag) => tag === "KEEPALIVE2").length, 1);
  assert.ok(!peer.closed);
  net.advance(1);
  assert.ok(peer.closed);
  assert.equal(server.messenger.counters.closed.get("silent"), 1);
  assert.match(peer.connection.closeText, /silent for 30000 ms/);
  assert.equal(server.session.state, SessionState.Standby);
  return net;
});

test("two idle ends keep each other alive", () => {
  const net = new Net();
  const server = net.node("server", { address: "v2:10.0.1.1:3300" });
  const client = net.node("client");
  client.connect(server);
  net.advance(600_000);
  assert.deepEqual(client.events, ["connect"]);
  assert.equal(client.messenger.counters.closed.size, 0);
  assert.ok(client.session.connection!.keepaliveAcks > 10);
  return net;
});

test("a session nobody comes back to expires, with what it held", () => {
  const net = new Net();
  const server = net.node("server", {
    address: "v2:10.0.1.1:3300",
    options: { standbyMs: 60_000 },
  });
  const client = net.node("client");
  client.connect(server);
  net.settle();
  client.stop();
  net.nodes.splice(net.nodes.indexOf(client), 1);
  say(server.session, "for nobody");
  net.advance(59_000);
  assert.equal(server.messenger.sessions.size, 1);
  net.advance(1000);
  assert.equal(server.messenger.sessions.size, 0);
  assert.equal(server.messenger.counters.expiredSessions, 1);
  assert.equal(server.events.at(-1), "reset");
  return net;
});

test("acknowledgements count only what the application has taken over", () => {
  const net = new Net();
  const server = net.node("server", { address: "v2:10.0.1.1:3300" });
  const client = net.node("client");
  const session = client.connect(server);
  net.settle();
  server.holds = true;
  server.takes = false;
  for (const text of ["one", "two", "three"]) say(session, text);
  net.settle();
  server.takes = true;
  net.settle();
  assert.deepEqual(server.received, ["one", "two", "three"]); // handed over, not taken over
  assert.equal(session.unacknowledged, 3);
  say(server.session, "back"); // its ack_seq must not count them either
  net.settle();
  assert.deepEqual(client.received, ["back"]);
  assert.equal(session.ackedSeq, 0);
  // RECONNECT_OK tells what is taken over too; what is in the application's hands comes again and
  // is dropped as a duplicate.
  net.cut();
  assert.equal(session.state, SessionState.Ready);
  assert.equal(session.ackedSeq, 0);
  assert.deepEqual(server.received, ["one", "two", "three"]);
  server.holds = false;
  server.done();
  assert.equal(session.unacknowledged, 0);
  assert.deepEqual(server.received, ["one", "two", "three"]);
  assert.equal(server.session.inSeq, 3);
  return net;
});

test("what is taken over while RECONNECT is under way is acknowledged afterwards", () => {
  const net = new Net();
  const server = net.node("server", { address: "v2:10.0.1.1:3300" });
  const client = net.node("client");
  client.connect(server);
  net.settle();
  client.holds = true;
  say(server.session, "one");
  net.settle();
  assert.notEqual(client.held, null);
  net.rule = ({ tag }) => tag === "RECONNECT" ? "hold" : "pass";
  net.cut();
  client.done(); // RECONNECT said 0
  net.rule = (): "pass" => "pass";
  net.release();
  assert.deepEqual(client.received, ["one"]);
  assert.equal(server.session.unacknowledged, 0);
  return net;
});

test("a session closed while its messages wait in the socket sends nothing of others", () => {
  const net = new Net();
  const server = net.node("server", { address: "v2:10.0.1.1:3300" });
  const client = net.node("client");
  const session = client.connect(server);
  net.settle();
  const { connection } = session;
  say(session, "a".repeat(500));
  assert.ok(connection!.pollTransmit(net.now)); // encoded, and the kernel took nothing yet
  client.messenger.close(session, net.now);
  const other = client.connect(server, POLICIES.losslessClient);
  say(other, "b".repeat(500)); // would take the memory of the first
  net.advance(1000);
  assert.deepEqual(server.received, ["a".repeat(500), "b".repeat(500)]);
  assert.equal(server.messenger.counters.closed.get("bytes"), undefined);
  return net;
});
