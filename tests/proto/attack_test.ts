/**
 * Attacks on the session machine that have succeeded once: each is told by what the attacker
 * wanted, and must fail now. msgr2 "Message flow handshake", "Authentication"; limits of our own.
 *
 * @module
 */
import assert from "node:assert/strict";
import { authCephx } from "../../src/app/auth.ts";
import { NodeCrypto } from "../../src/io/crypto.ts";
import { arenaTaken, give, take } from "../../src/mem/arena.ts";
import { ARENA_BYTES, HANDSHAKES_MAX, RESERVE_BYTES } from "../../src/mem/limits.ts";
import { newRegion, regionOf } from "../../src/mem/region.ts";
import { U64 } from "../../src/mem/u64.ts";
import { POLICIES } from "../../src/proto/msgr2/policy.ts";
import { generateKey, KeyType } from "../../src/wire/cephx/crypto_key.ts";
import { Keyring } from "../../src/wire/cephx/keyring.ts";
import {
  AuthRequest,
  ConMode,
  readAuthRequest,
  writeAuthRequest,
} from "../../src/wire/msgr2/auth.ts";
import { EntityAddr } from "../../src/wire/msgr2/entity_addr.ts";
import { FEATURES_REQUIRED, FEATURES_SUPPORTED } from "../../src/wire/msgr2/features.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";
import { ServerIdent, writeServerIdent } from "../../src/wire/msgr2/ident.ts";
import { Keepalive, writeKeepalive } from "../../src/wire/msgr2/keepalive.ts";
import { PREAMBLE_SIZE, writePreamble } from "../../src/wire/msgr2/preamble.ts";
import {
  SessionRetry,
  SessionRetryGlobal,
  writeSessionRetry,
  writeSessionRetryGlobal,
} from "../../src/wire/msgr2/session.ts";
import { Tag } from "../../src/wire/msgr2/tag.ts";
import { Net } from "./pair.ts";
import { controlFrame, RawPeer } from "./raw_peer.ts";

const HONEST = "v2:10.0.1.1:3300";
const HOSTILE = "v2:10.0.1.2:3300";
/** Counters of msgr2 are u64; ours end here. */
const COUNTER_MAX = Number.MAX_SAFE_INTEGER;

function test(name: string, body: (net: Net) => void): void {
  Deno.test(name, () => {
    const before = arenaTaken();
    const net = new Net();
    body(net);
    for (const node of net.nodes) node.stop();
    assert.equal(arenaTaken(), before, "memory is given back");
  });
}

function serverIdent(...addresses: string[]): Uint8Array {
  const ident = new ServerIdent();
  for (const address of addresses) ident.addrs.add(EntityAddr.parse(address));
  ident.gid.copy(U64.of(1));
  ident.globalSeq = 1;
  ident.supported.copy(FEATURES_SUPPORTED);
  ident.required.copy(FEATURES_REQUIRED);
  ident.cookie.copy(U64.of(5));
  return controlFrame(Tag.ServerIdent, (out, at) => writeServerIdent(out, at, ident));
}

function authenticateAsServer(peer: RawPeer): RawPeer {
  return peer.say(
    RawPeer.banner(),
    RawPeer.hello(EntityType.Osd),
    RawPeer.authDone(),
    RawPeer.signature(),
  );
}

test("a server that lists another's address does not get what is meant for that one", (net) => {
  const client = net.node("client");
  const hostile = client.messenger.connect(
    EntityAddr.parse(HOSTILE),
    POLICIES.losslessClient,
    net.now,
  )!;
  authenticateAsServer(RawPeer.server(client)!).say(serverIdent(HONEST, HOSTILE));
  assert.equal(hostile.stateName, "ready");
  net.node("honest", { address: HONEST });
  const honest = client.messenger.connect(
    EntityAddr.parse(HONEST),
    POLICIES.losslessClient,
    net.now,
  )!;
  assert.notEqual(honest, hostile);
  net.settle();
  assert.equal(honest.stateName, "ready");
  const again = client.messenger.connect(honest.target!, POLICIES.losslessClient, net.now);
  assert.equal(again, honest, "and it is found under its address");
});

test("a server that lists an address which another session dialled does not take it over", (net) => {
  const client = net.node("client");
  net.node("honest", { address: HONEST });
  const policy = POLICIES.losslessClient;
  const honest = client.messenger.connect(EntityAddr.parse(HONEST), policy, net.now)!;
  net.settle();
  client.messenger.connect(EntityAddr.parse(HOSTILE), policy, net.now);
  authenticateAsServer(RawPeer.server(client)!).say(serverIdent(HONEST, HOSTILE));
  assert.equal(client.messenger.connect(EntityAddr.parse(HONEST), policy, net.now), honest);
});

for (const global of [true, false]) {
  const tag = global ? "RETRY_GLOBAL" : "RETRY";
  test(`a server cannot use up our counters by ${tag} just below 2^53`, (net) => {
    const client = net.node("client");
    const policy = POLICIES.losslessClient;
    client.messenger.connect(EntityAddr.parse(HOSTILE), policy, net.now);
    RawPeer.server(client)!.welcome().connection.handleEnd("cut", net.now);
    const hostile = authenticateAsServer(RawPeer.server(client)!);
    assert.equal(hostile.last!.tag, "RECONNECT");
    hostile.say(global ? retryGlobal(COUNTER_MAX) : retry(COUNTER_MAX));
    assert.equal(hostile.connection.closeReason, "bytes");
    net.node("honest", { address: HONEST });
    const honest = client.messenger.connect(EntityAddr.parse(HONEST), policy, net.now)!;
    net.settle();
    assert.equal(honest.stateName, "ready");
  });
}

function retryGlobal(globalSeq: number): Uint8Array {
  const frame = new SessionRetryGlobal();
  frame.globalSeq = globalSeq;
  return controlFrame(
    Tag.SessionRetryGlobal,
    (out, at) => writeSessionRetryGlobal(out, at, frame),
  );
}

function retry(connectSeq: number): Uint8Array {
  const frame = new SessionRetry();
  frame.connectSeq = connectSeq;
  return controlFrame(Tag.SessionRetry, (out, at) => writeSessionRetry(out, at, frame));
}

test("KEEPALIVE2_ACK that nobody asked for pushes out no event of others", (net) => {
  const hub = net.node("hub", { address: HONEST });
  const hostile = RawPeer.client(hub)!.establish();
  const other = RawPeer.client(hub, "v2:10.9.9.8:4000")!.establish({
    address: "any:10.9.9.8:0/5",
  });
  other.connection.handleEnd("cut", net.now);
  const stamp = new Keepalive();
  const ack = controlFrame(Tag.Keepalive2Ack, (out, at) => writeKeepalive(out, at, stamp));
  for (let index = 0; index < 3000; index++) hostile.bytes(ack);
  assert.equal(hub.messenger.counters.eventsDropped, 0);
  assert.equal(hub.messenger.pollEvent()!.kind, "fault");
  assert.equal(hub.messenger.pollEvent(), null);
});

test("refused strangers push out no event of a session", (net) => {
  const hub = net.node("hub", { address: HONEST });
  const other = RawPeer.client(hub)!.establish();
  other.connection.handleEnd("cut", net.now);
  for (let index = 0; index < 2000; index++) {
    RawPeer.client(hub)!.connection.handleEnd("cut", net.now);
    hub.messenger.pollClosed();
    hub.messenger.pollDirty();
  }
  assert.equal(hub.messenger.pollEvent()!.kind, "fault");
  assert.ok(hub.messenger.counters.eventsDropped > 0);
});

test("silent connections keep others out for a moment only", (net) => {
  const hub = net.node("hub", { address: HONEST });
  for (let index = 0; index < HANDSHAKES_MAX; index++) RawPeer.client(hub);
  assert.equal(RawPeer.client(hub), null);
  net.now += 1000;
  const honest = RawPeer.client(hub);
  assert.notEqual(honest, null);
  honest!.establish();
  assert.equal(honest!.last!.tag, "SERVER_IDENT");
  assert.equal(hub.messenger.counters.closed.get("handshake"), 1);
});

test("large frames that never end leave memory for new sessions", (net) => {
  const hub = net.node("hub", { address: HONEST });
  const others = [take(ARENA_BYTES / 2), take(ARENA_BYTES / 4)]; // by more of the same
  const hostile = RawPeer.client(hub)!.establish();
  const head = newRegion(PREAMBLE_SIZE);
  writePreamble(head, 0, Tag.Message, 41, 63 * 1024 * 1024, 0, 0);
  hostile.bytes(head.bytes);
  const piece = new Uint8Array(1024 * 1024);
  while (hostile.bytes(piece) === piece.length);
  assert.ok(ARENA_BYTES - arenaTaken() >= RESERVE_BYTES * 3 / 4);
  const honest = RawPeer.client(hub, "v2:10.9.9.8:4000")!;
  honest.establish({ address: "any:10.9.9.8:0/5" });
  assert.equal(honest.last!.tag, "SERVER_IDENT");
  for (const block of others) give(block);
});

const KEYRING = new Keyring([{
  name: { type: EntityType.Client, id: "gw1" },
  key: generateKey(new NodeCrypto(), KeyType.Aes, 0),
}]);

/** What a man in the middle makes of the bytes, and whether he has changed any. */
type Edit = (bytes: Uint8Array) => Uint8Array;

/** Clears bits of both banners: byte `at` keeps those of `mask`. */
function editBanner(at: number, mask: number): Edit {
  return (bytes) => {
    if (bytes[0] !== 0x63 || bytes.length < 26) return bytes;
    const edited = bytes.slice();
    edited[at] = edited[at]! & mask;
    return edited;
  };
}

/** Puts another list of modes into AUTH_REQUEST, its crcs made anew. */
function editModes(modes: readonly number[]): Edit {
  return (bytes) => {
    if (bytes[0] !== Tag.AuthRequest || bytes[1] !== 1) return bytes;
    const region = regionOf(bytes.slice());
    const request = new AuthRequest();
    const end = PREAMBLE_SIZE + region.view.getUint32(2, true);
    assert.ok(readAuthRequest(region, PREAMBLE_SIZE, end, request) > 0);
    const { payloadAt, payloadBytes } = request;
    request.payload = region.bytes.slice(payloadAt, payloadAt + payloadBytes);
    request.modeCount = modes.length;
    modes.forEach((mode, index) => request.modes[index] = mode);
    const frame = controlFrame(
      Tag.AuthRequest,
      (out, at) => writeAuthRequest(out, at, request),
    );
    const rest = bytes.subarray(end + 4); // behind the crc of its only segment
    const edited = new Uint8Array(frame.length + rest.length);
    edited.set(frame);
    edited.set(rest, frame.length);
    return edited;
  };
}

for (
  const [what, edit] of [
    ["takes msgr2.1 out of both banners", editBanner(10, ~1)],
    ["takes compression out of both banners", editBanner(10, ~2)],
    ["takes TAG_CLOSE out of both banners", editBanner(17, 0)],
    ["takes secure mode out of AUTH_REQUEST", editModes([ConMode.Crc])],
    ["puts crc mode first in AUTH_REQUEST", editModes([ConMode.Crc, ConMode.Secure])],
  ] as const
) {
  test(`a man in the middle who ${what} is caught by AUTH_SIGNATURE`, (net) => {
    const hub = net.node("hub", {
      address: HONEST,
      auth: authCephx("mon.", KEYRING, ["secure", "crc"]),
    });
    const client = net.node("client", {
      auth: authCephx("client.gw1", KEYRING, ["secure", "crc"]),
    });
    let edits = 0;
    net.noise = (bytes) => {
      const edited = edit(bytes);
      if (edited !== bytes) edits++;
      return edited;
    };
    const session = client.connect(hub);
    net.settle();
    assert.ok(edits > 0);
    assert.equal(session.established, false);
    assert.match(session.lastFault, /AUTH_SIGNATURE/);
    net.noise = (bytes) => bytes;
    net.advance(20_000);
    assert.equal(session.stateName, "ready");
    assert.equal(session.connection!.mode, ConMode.Secure);
  });
}
