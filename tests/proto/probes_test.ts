/**
 * What a real monitor answers to malformed and odd input (probed on Ceph 16.2, 18.2 and 20.2),
 * turned round against our accepting side: the same answers, or better ones where the monitor has
 * a fault. One test per probe.
 *
 * @module
 */
import assert from "node:assert/strict";
import { crc32cRaw } from "../../src/wire/crc32c.ts";
import { EntityAddr } from "../../src/wire/msgr2/entity_addr.ts";
import {
  AuthBadMethod,
  AuthMethod,
  ConMode,
  readAuthBadMethod,
} from "../../src/wire/msgr2/auth.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";
import {
  IdentMissingFeatures,
  readIdentMissingFeatures,
  readServerIdent,
  ServerIdent,
} from "../../src/wire/msgr2/ident.ts";
import { readSessionReset, SessionReset } from "../../src/wire/msgr2/session.ts";
import { Tag } from "../../src/wire/msgr2/tag.ts";
import { FEATURES_SUPPORTED } from "../../src/wire/msgr2/features.ts";
import { HANDSHAKES_MAX } from "../../src/mem/limits.ts";
import { U64 } from "../../src/mem/u64.ts";
import { Phase } from "../../src/proto/msgr2/connection.ts";
import { POLICIES } from "../../src/proto/msgr2/policy.ts";
import { Net, type Node, type NodeOptions, say } from "./pair.ts";
import { controlFrame, messageFrame, RawPeer } from "./raw_peer.ts";

const ADDRESS = "v2:10.0.1.1:3300";
const TEXT = new TextEncoder().encode("eight by");

/** A server as a monitor is one: stateless, method none with crc. */
function mon(options: NodeOptions = {}): { net: Net; server: Node; peer: RawPeer } {
  const net = new Net();
  const server = net.node("server", {
    address: ADDRESS,
    entityType: EntityType.Mon,
    policy: POLICIES.statelessServer,
    ...options,
  });
  return { net, server, peer: RawPeer.client(server)! };
}

/** The connection is gone, without a further frame, and counted once under `reason`. */
function assertClosed(server: Node, peer: RawPeer, reason: string, lastTag: string): void {
  assert.ok(peer.closed, peer.connection.phaseName);
  assert.equal(peer.last!.tag, lastTag);
  assert.deepEqual([...server.messenger.counters.closed], [[reason, 1]]);
  assert.notEqual(peer.connection.closeText, "");
}

function badMethod(peer: RawPeer): AuthBadMethod {
  const { tag, payload, length } = peer.last!;
  assert.equal(tag, "AUTH_BAD_METHOD");
  const bad = new AuthBadMethod();
  assert.ok(readAuthBadMethod(payload, 0, length, bad) > 0);
  return bad;
}

function serverIdent(peer: RawPeer): ServerIdent {
  const { tag, payload, length } = peer.last!;
  assert.equal(tag, "SERVER_IDENT");
  const ident = new ServerIdent();
  assert.ok(readServerIdent(payload, 0, length, ident) > 0);
  return ident;
}

function preambleCrc(frame: Uint8Array<ArrayBuffer>): void {
  new DataView(frame.buffer).setInt32(28, crc32cRaw(0, frame, 0, 28), true);
}

Deno.test("a required feature bit that is unknown here: close", () => {
  const { server, peer } = mon();
  peer.say(RawPeer.banner(U64.of(3), U64.of(1n << 40n)));
  assertClosed(server, peer, "feature", "BANNER");
  assert.match(peer.connection.closeText, /peer_required_features 0x10000000000/);
});

Deno.test("supported features that are all unknown, and more payload than known: fine", () => {
  const { peer } = mon();
  const banner = RawPeer.banner(U64.of(0xfd));
  const longer = new Uint8Array(banner.length + 8);
  longer.set(banner);
  longer[8] = 24;
  peer.say(longer, RawPeer.hello());
  assert.deepEqual(peer.tags, ["BANNER", "HELLO"]);
});

for (
  const { name, frame } of [
    { name: "cephx", frame: RawPeer.authRequest(AuthMethod.Cephx) },
    { name: "method 99", frame: RawPeer.authRequest(99) },
    { name: "secure mode", frame: RawPeer.authRequest(AuthMethod.None, [ConMode.Secure]) },
    { name: "mode 7", frame: RawPeer.authRequest(AuthMethod.None, [7]) },
    { name: "an empty mode list", frame: RawPeer.authRequest(AuthMethod.None, []) },
  ]
) {
  Deno.test(`${name} when only none with crc is allowed: BAD_METHOD -95, methods [1], modes [1]`, () => {
    const { peer } = mon();
    peer.say(RawPeer.banner(), RawPeer.hello(), frame);
    const bad = badMethod(peer);
    assert.equal(bad.result, -95);
    assert.deepEqual([...bad.methods.subarray(0, bad.methodCount)], [1]);
    assert.deepEqual([...bad.modes.subarray(0, bad.modeCount)], [1]);
    // ... and then a good AUTH_REQUEST on the same connection: AUTH_DONE.
    peer.say(RawPeer.authRequest(), RawPeer.signature(), peer.clientIdent());
    assert.deepEqual(peer.tags.slice(-3), ["AUTH_DONE", "AUTH_SIGNATURE", "SERVER_IDENT"]);
  });
}

Deno.test("auth_mode 5 and junk: BAD_METHOD -13, and a good AUTH_REQUEST gets in", () => {
  const { server, peer } = mon();
  const junk = Uint8Array.of(5, 0xde, 0xad, 0xbe, 0xef);
  peer.say(RawPeer.banner(), RawPeer.hello(), RawPeer.authRequest(AuthMethod.None, [1], junk));
  assert.equal(badMethod(peer).result, -13);
  assert.equal(server.messenger.counters.badMethods, 1);
  peer.say(RawPeer.authRequest());
  assert.deepEqual(peer.tags.slice(-2), ["AUTH_DONE", "AUTH_SIGNATURE"]);
});

Deno.test("an empty auth payload: BAD_METHOD result -13", () => {
  const { peer } = mon();
  const nothing = new Uint8Array(0);
  peer.say(RawPeer.banner(), RawPeer.hello(), RawPeer.authRequest(AuthMethod.None, [1], nothing));
  assert.equal(badMethod(peer).result, -13);
});

Deno.test("too busy to serve: closed without any frame", () => {
  const { server } = mon();
  for (let index = 1; index < HANDSHAKES_MAX; index++) RawPeer.client(server);
  assert.equal(RawPeer.client(server), null);
  assert.equal(server.messenger.counters.refusedConnections, 1);
});

Deno.test("HELLO twice: close", () => {
  const { server, peer } = mon();
  peer.say(RawPeer.banner(), RawPeer.hello()).say(RawPeer.hello());
  assertClosed(server, peer, "bytes", "HELLO");
});

Deno.test("MESSAGE before the ident: close", () => {
  const { server, peer } = mon();
  peer.authenticate().say(messageFrame(1, TEXT));
  assertClosed(server, peer, "bytes", "AUTH_SIGNATURE");
  assert.match(peer.connection.closeText, /MSG during ident/);
});

for (const tag of [23, 99, 200, Tag.Wait, Tag.CompressionRequest, Tag.Hello, Tag.ClientIdent]) {
  Deno.test(`tag ${tag} when READY: close`, () => {
    const { server, peer } = mon();
    peer.establish().say(controlFrame(tag));
    assertClosed(server, peer, "bytes", "SERVER_IDENT");
  });
}

Deno.test("CLOSE from a peer whose banner does not know it: close, as any unknown tag", () => {
  const { server, peer } = mon();
  peer.establish().say(controlFrame(Tag.Close));
  assertClosed(server, peer, "bytes", "SERVER_IDENT");
});

Deno.test("a wrong AUTH_SIGNATURE: close", () => {
  const { server, peer } = mon();
  peer.say(RawPeer.banner(), RawPeer.hello(), RawPeer.authRequest()).say(RawPeer.signature(1));
  assertClosed(server, peer, "auth", "AUTH_SIGNATURE");
});

Deno.test("CLIENT_IDENT without features: IDENT_MISSING_FEATURES, and a corrected one is welcome", () => {
  const required = U64.of((1n << 59n) | (1n << 30n));
  const { server, peer } = mon({
    options: { features: { supported: FEATURES_SUPPORTED, required } },
  });
  peer.authenticate().say(peer.clientIdent({ supported: U64.of(1n << 59n) }));
  const { tag, payload, length } = peer.last!;
  assert.equal(tag, "IDENT_MISSING_FEATURES");
  const missing = new IdentMissingFeatures();
  assert.ok(readIdentMissingFeatures(payload, 0, length, missing) > 0);
  assert.equal(missing.features.toBigInt(), 1n << 30n);
  assert.equal(server.messenger.counters.missingFeatures, 1);
  peer.say(peer.clientIdent());
  assert.equal(peer.last!.tag, "SERVER_IDENT");
  assert.equal(peer.connection.phase, Phase.Ready);
});

Deno.test("a features_required bit that we lack: not checked by a server", () => {
  const { peer } = mon();
  peer.establish({ required: U64.of(1n << 63n) });
  assert.equal(peer.last!.tag, "SERVER_IDENT");
});

for (
  const { name, target } of [
    { name: "port", target: "v2:10.0.1.1:3301" },
    { name: "nonce", target: "v2:10.0.1.1:3300/1" },
    { name: "type", target: "v1:10.0.1.1:3300" },
    { name: "host", target: "v2:10.0.1.2:3300" },
  ]
) {
  Deno.test(`a target whose ${name} is not ours: close, no frame`, () => {
    const { server, peer } = mon();
    peer.establish({ target: EntityAddr.parse(target) });
    assertClosed(server, peer, "bytes", "AUTH_SIGNATURE");
    assert.match(peer.connection.closeText, /CLIENT_IDENT target .*one of ours/);
  });
}

Deno.test("an empty addrvec: close", () => {
  const { server, peer } = mon();
  peer.establish({ noAddress: true });
  assertClosed(server, peer, "bytes", "AUTH_SIGNATURE");
});

Deno.test("flags 0 and cookie 5 to a stateless server: SERVER_IDENT with flags 1 and cookie 0", () => {
  const { server, peer } = mon();
  peer.establish({ cookie: U64.of(5) });
  const ident = serverIdent(peer);
  assert.equal(ident.flags.toBigInt(), 1n);
  assert.ok(ident.cookie.isZero());
  assert.ok(server.session.lossy);
});

for (const policy of ["statelessServer", "statefulServer", "losslessPeer"] as const) {
  Deno.test(`RECONNECT to a stranger: RESET full=1 (${policy})`, () => {
    const { peer } = mon({ policy: POLICIES[policy] });
    peer.authenticate().say(RawPeer.reconnect({
      clientCookie: U64.of(1),
      serverCookie: U64.of(2),
    }));
    const { tag, payload, length } = peer.last!;
    assert.equal(tag, "RESET_SESSION");
    const reset = new SessionReset();
    assert.ok(readSessionReset(payload, 0, length, reset) > 0);
    assert.equal(reset.full, true);
    // "both continue with CLIENT_IDENT on the same connection"
    peer.say(peer.clientIdent());
    assert.equal(peer.last!.tag, "SERVER_IDENT");
  });
}

Deno.test("ACK on a lossy session: ignored", () => {
  const { server, peer } = mon();
  peer.establish().say(RawPeer.ack(99)).say(messageFrame(1, TEXT, { ackSeq: 77 }));
  assert.ok(!peer.closed);
  assert.deepEqual(server.received, ["eight by"]);
});

for (const policy of [POLICIES.statelessServer, POLICIES.statefulServer]) {
  Deno.test(`a duplicate seq is dropped, and the reader lives (lossy ${policy.lossy})`, () => {
    // A monitor's reader stops for good here: no close, no keepalive ack.
    const { server, peer } = mon({ policy });
    peer.establish().say(
      messageFrame(1, TEXT),
      messageFrame(2, TEXT),
      messageFrame(1, TEXT),
      messageFrame(2, TEXT),
    );
    assert.equal(server.received.length, 2);
    assert.equal(server.messenger.counters.duplicates, 2);
    peer.say(controlFrame(Tag.Keepalive2, (_out, at) => at + 8), messageFrame(3, TEXT));
    assert.ok(peer.tags.includes("KEEPALIVE2_ACK"));
    assert.equal(server.received.length, 3);
  });
}

Deno.test("a seq gap: accepted, counted", () => {
  const { server, peer } = mon({ policy: POLICIES.statefulServer });
  peer.establish().say(messageFrame(1, TEXT)).say(messageFrame(10, TEXT));
  assert.equal(server.received.length, 2);
  assert.equal(server.messenger.counters.gaps, 1);
  assert.equal(peer.last!.tag, "ACK");
  assert.equal(peer.last!.payload.view.getUint32(0, true), 10);
});

Deno.test("a bad preamble crc: close", () => {
  const { server, peer } = mon();
  const frame = messageFrame(1, TEXT);
  frame[28]! ^= 1;
  peer.establish().say(frame);
  assertClosed(server, peer, "bytes", "SERVER_IDENT");
});

for (const { name, at } of [{ name: "header", at: 32 }, { name: "front", at: 77 }]) {
  Deno.test(`a bad crc of the ${name} segment: close, nothing is handed on`, () => {
    const { server, peer } = mon();
    const frame = messageFrame(1, TEXT);
    frame[at]! ^= 1;
    peer.establish().say(frame);
    assertClosed(server, peer, "bytes", "SERVER_IDENT");
    assert.deepEqual(server.received, []);
  });
}

Deno.test("late_status 0x01: the frame is dropped, its seq is not consumed", () => {
  const { server, peer } = mon({ policy: POLICIES.statefulServer });
  peer.establish().say(messageFrame(1, TEXT, { aborted: true }));
  assert.ok(!peer.closed);
  assert.deepEqual(server.received, []);
  assert.equal(server.messenger.counters.aborted, 1);
  assert.equal(server.session.inSeq, 0);
  peer.say(messageFrame(1, TEXT));
  assert.deepEqual(server.received, ["eight by"]);
  assert.equal(server.messenger.counters.gaps, 0);
});

for (const status of [0x00, 0x0f, 0x03]) {
  Deno.test(`late_status 0x0${status.toString(16)}: close`, () => {
    const { server, peer } = mon();
    const frame = messageFrame(1, TEXT);
    frame[frame.length - 13] = status;
    peer.establish().say(frame);
    assertClosed(server, peer, "bytes", "SERVER_IDENT");
    assert.deepEqual(server.received, []);
  });
}

for (const alignment of [0, 3, 65535]) {
  Deno.test(`segment alignment ${alignment}: advice only`, () => {
    const { server, peer } = mon();
    const frame = messageFrame(1, TEXT);
    new DataView(frame.buffer).setUint16(6, alignment, true);
    preambleCrc(frame);
    peer.establish().say(frame);
    assert.deepEqual(server.received, ["eight by"]);
  });
}

Deno.test("3 s idle before authentication: kept", () => {
  const { net, peer } = mon();
  net.advance(3000);
  peer.say(RawPeer.banner(), RawPeer.hello());
  net.advance(3000);
  peer.say(RawPeer.authRequest(), RawPeer.signature(), peer.clientIdent());
  assert.equal(peer.last!.tag, "SERVER_IDENT");
});

Deno.test("banner, HELLO and AUTH_REQUEST sent blind in one piece: answered", () => {
  const { peer } = mon();
  const parts = [RawPeer.banner(), RawPeer.hello(), RawPeer.authRequest(), RawPeer.signature()];
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  peer.say(whole, peer.clientIdent());
  assert.equal(peer.last!.tag, "SERVER_IDENT");
});

Deno.test("a v1 peer's banner: close, and the text says so", () => {
  const { server, peer } = mon();
  peer.say(new TextEncoder().encode("ceph v027"));
  assertClosed(server, peer, "bytes", "BANNER");
});

Deno.test("a lossless session keeps what the peer has not acknowledged across all of this", () => {
  const { server, peer } = mon({ policy: POLICIES.statefulServer });
  peer.establish();
  const { session } = server;
  say(session, "kept");
  peer.say(controlFrame(99));
  assert.ok(peer.closed);
  assert.equal(session.unacknowledged, 1);
  const again = RawPeer.client(server)!.authenticate().say(RawPeer.reconnect({
    clientCookie: session.clientCookie,
    serverCookie: session.serverCookie,
    globalSeq: 2,
  }));
  assert.deepEqual(again.tags.slice(-2), ["RECONNECT_OK", "MSG"]);
});
