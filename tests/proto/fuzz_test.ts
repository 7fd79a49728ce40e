/**
 * Wrong bytes into every phase of both roles, in crc and secure mode: flipped bits, cut frames,
 * random tags, payloads and lengths under right checksums. Never an exception, never a hang; memory
 * stays bounded and comes back. A failure names its seed; `FAIRLEAD_SEED=n` runs that one alone.
 *
 * @module
 */
import assert from "node:assert/strict";
import { authCephx, authNone } from "../../src/app/auth.ts";
import { NodeCrypto } from "../../src/io/crypto.ts";
import { arena, arenaTaken } from "../../src/mem/arena.ts";
import { newRegion } from "../../src/mem/region.ts";
import type { AuthOptions } from "../../src/proto/msgr2/messenger.ts";
import { Phase } from "../../src/proto/msgr2/connection.ts";
import { POLICIES } from "../../src/proto/msgr2/policy.ts";
import { crc32cRaw } from "../../src/wire/crc32c.ts";
import { generateKey } from "../../src/wire/cephx/crypto_key.ts";
import { Keyring } from "../../src/wire/cephx/keyring.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";
import { U64 } from "../../src/mem/u64.ts";
import { Net, type Node, say } from "./pair.ts";
import { controlFrame, messageFrame, RawPeer } from "./raw_peer.ts";

const RAW_SEEDS = 4000;
const SEALED_SEEDS = 1500;
const NOISE_SEEDS = 150;
/** Two nodes, each with a few connections at work. */
const MEMORY_MAX = 8 * 1024 * 1024;
const SERVER = "v2:10.0.1.1:3300";

const CRYPTO = new NodeCrypto();
const KEYRING = new Keyring([
  { name: { type: EntityType.Client, id: "a" }, key: generateKey(CRYPTO, 1, 0) },
]);

function auths(kind: number): AuthOptions {
  if (kind === 0) return authNone("client.a");
  return authCephx("client.a", KEYRING, kind === 1 ? ["crc"] : ["secure"]);
}

/** Runs `body` for each seed, and tells which failed. */
function seeds(name: string, count: number, body: (net: Net) => void): void {
  const only = Deno.env.get("FAIRLEAD_SEED");
  const [first, last] = only === undefined ? [1, count] : [Number(only), Number(only)];
  Deno.test(`${name}: seeds ${first} to ${last}`, () => {
    const failures: string[] = [];
    for (let seed = first; seed <= last; seed++) {
      const before = arenaTaken();
      const net = new Net(seed * 2654435761 + 7);
      for (let index = 0; index < 8; index++) net.random(2);
      try {
        body(net);
        assert.ok(arenaTaken() - before <= MEMORY_MAX, "memory is bounded");
      } catch (error) {
        failures.push(`FAIRLEAD_SEED=${seed}: ${error instanceof Error ? error.stack : error}`);
      }
      for (const node of net.nodes) node.stop();
      if (arenaTaken() !== before) failures.push(`FAIRLEAD_SEED=${seed}: memory is not given back`);
    }
    assert.equal(failures.length, 0, failures.slice(0, 3).join("\n\n"));
  });
}

function randomBytes(net: Net, length: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(length).map(() => net.random(256));
}

/** Numbers that decoders stumble over, and any. */
function oddNumber(net: Net): number {
  const odd = [0, 1, 2, 0x7f, 0x80, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff];
  return net.random(3) === 0 ? net.random(2 ** 32) : odd[net.random(odd.length)]!;
}

/** A payload with some of its bytes or words changed, shortened or lengthened. */
function mutatePayload(net: Net, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  let mutated = payload.slice();
  for (let count = net.random(4); count >= 0; count--) {
    const at = net.random(mutated.length + 1);
    switch (net.random(5)) {
      case 0:
        if (at < mutated.length) mutated[at]! ^= 1 << net.random(8);
        break;
      case 1:
        if (at + 4 <= mutated.length) {
          new DataView(mutated.buffer).setUint32(at, oddNumber(net), true);
        }
        break;
      case 2:
        mutated = mutated.slice(0, at);
        break;
      case 3:
        mutated = new Uint8Array([...mutated, ...randomBytes(net, net.random(40))]);
        break;
      default:
        if (at < mutated.length) mutated[at] = net.random(256);
    }
  }
  return mutated;
}

/** A frame of random segments under right checksums, for every tag. */
function randomFrame(net: Net): Uint8Array {
  const count = 1 + net.random(4);
  const lengths = [0, 0, 0, 0].map((_, index) => index < count ? net.random(90) : 0);
  const region = newRegion(1024);
  const { bytes, view } = region;
  view.setUint8(0, net.random(4) === 0 ? net.random(256) : 1 + net.random(22));
  view.setUint8(1, net.random(8) === 0 ? net.random(256) : count);
  lengths.forEach((length, index) => {
    view.setUint32(2 + index * 6, net.random(12) === 0 ? oddNumber(net) : length, true);
    view.setUint16(6 + index * 6, net.random(65536), true);
  });
  view.setUint16(26, net.random(10) === 0 ? net.random(65536) : 0, true);
  view.setInt32(28, crc32cRaw(0, bytes, 0, 28), true);
  let at = 32;
  const crcs: number[] = [];
  lengths.forEach((length, index) => {
    bytes.set(randomBytes(net, length), at);
    if (index === 0 && length >= 41) view.setBigUint64(at, BigInt(1 + net.random(3)), true);
    crcs.push(crc32cRaw(-1, bytes, at, at + length));
    at += length;
    if (index === 0 && length > 0) {
      view.setInt32(at, crcs[0]!, true);
      at += 4;
    }
  });
  if (count > 1) {
    view.setUint8(at, net.random(4) === 0 ? net.random(256) : 0x0e);
    for (let index = 1; index < 4; index++) {
      view.setInt32(at + 1 + (index - 1) * 4, index < count ? crcs[index]! : 0, true);
    }
    at += 13;
  }
  return bytes.slice(0, at);
}

/** Takes one thing that would be right, and breaks it. */
function mutate(net: Net, frame: Uint8Array): Uint8Array {
  switch (net.random(6)) {
    case 0: {
      const flipped = frame.slice();
      flipped[net.random(flipped.length)]! ^= 1 << net.random(8);
      return flipped;
    }
    case 1:
      return frame.slice(0, net.random(frame.length));
    case 2:
      return randomBytes(net, net.random(300));
    case 3:
      return randomFrame(net);
    default: {
      if (frame[0] === 0x63) {
        // A banner has no checksum: its payload may be anything.
        return new Uint8Array([...frame.slice(0, 8), ...mutatePayload(net, frame.slice(8))]);
      }
      const length = new DataView(frame.buffer, frame.byteOffset).getUint32(2, true);
      const payload = mutatePayload(net, frame.slice(32, 32 + length));
      const tag = net.random(5) === 0 ? net.random(256) : frame[0]!;
      return controlFrame(tag, (out, at) => {
        out.bytes.set(payload, at);
        return at + payload.length;
      });
    }
  }
}

/** What a client says, step by step, to have a session. */
function clientScript(net: Net, peer: RawPeer): Uint8Array[] {
  const reconnects = net.random(3) === 0;
  const identity = reconnects
    ? RawPeer.reconnect({ clientCookie: U64.of(1), serverCookie: U64.of(2), messageSeq: 1 })
    : peer.clientIdent({ lossy: net.random(2) === 0 });
  return [
    RawPeer.banner(),
    RawPeer.hello(),
    RawPeer.authRequest(),
    RawPeer.signature(),
    identity,
    messageFrame(1, randomBytes(net, net.random(500))),
    RawPeer.ack(net.random(3)),
    messageFrame(2, randomBytes(net, net.random(500)), { ackSeq: net.random(2) }),
  ];
}

/** What a server says. */
function serverScript(net: Net, peer: RawPeer): Uint8Array[] {
  return [
    RawPeer.banner(),
    RawPeer.hello(EntityType.Osd),
    RawPeer.authDone(),
    RawPeer.signature(),
    peer.serverIdent({ lossy: net.random(2) === 0 }),
    messageFrame(1, randomBytes(net, net.random(500))),
    RawPeer.ack(net.random(3)),
  ];
}

seeds("wrong frames from a peer, crc", RAW_SEEDS, (net) => {
  const server = net.node("server", {
    address: SERVER,
    policy: [
      POLICIES.statefulServer,
      POLICIES.statelessServer,
      POLICIES.losslessPeer,
    ][net.random(3)]!,
    auth: net.random(4) === 0 ? auths(1) : authNone("client.a"),
  });
  let node = server;
  let peer = RawPeer.client(server)!;
  let script = clientScript(net, peer);
  if (net.random(2) === 0) {
    node = net.node("client");
    const session = node.connect(server);
    say(session, "waits");
    peer = RawPeer.server(node)!;
    script = serverScript(net, peer);
  }
  const upTo = net.random(script.length + 1);
  for (const frame of script.slice(0, upTo)) peer.say(frame);
  for (let count = net.random(4); count >= 0 && !peer.closed; count--) {
    const model =
      script[net.random(3) === 0 ? net.random(script.length) : Math.min(upTo, script.length - 1)]!;
    peer.say(mutate(net, model));
  }
  net.advance(45_000);
  assert.ok(peer.closed, `still ${peer.connection.phaseName}`);
  assert.notEqual(peer.connection.closeReason, "");
  assert.notEqual(peer.connection.closeText, "");
  const counted = [...node.messenger.counters.closed.values()].reduce((sum, one) => sum + one, 0);
  assert.ok(counted >= 1);
});

/** Every connection of a node, in a fixed order. */
function connectionsOf(node: Node): ReturnType<typeof node.messenger.connections.get>[] {
  return [...node.messenger.connections.values()];
}

seeds("wrong frames under right seals, from both roles, crc and secure", SEALED_SEEDS, (net) => {
  const kind = net.random(3);
  const options = { revision1: net.random(4) > 0 };
  const policy = net.random(2) === 0 ? POLICIES.losslessPeer : POLICIES.statefulServer;
  const client = net.node("client", {
    auth: auths(kind),
    options,
    policy,
    ...(policy === POLICIES.losslessPeer ? { address: "v2:10.0.1.2:3300" } : {}),
  });
  const server = net.node("server", { address: SERVER, auth: auths(kind), policy });
  const session = client.connect(
    server,
    policy === POLICIES.losslessPeer ? policy : POLICIES.losslessClient,
  );
  say(session, "first");
  net.run(net.random(10));
  for (let count = net.random(3); count >= 0; count--) {
    const connection = connectionsOf(net.random(2) === 0 ? client : server)[0];
    if (connection === undefined || connection.phase < Phase.Hello) continue;
    if (connection.phase >= Phase.Draining || !connection.writer.canHandshake()) continue;
    const payload = randomBytes(net, net.random(5) === 0 ? net.random(900) : net.random(60));
    if (payload.length >= 4 && net.random(2) === 0) {
      new DataView(payload.buffer).setUint32(0, oddNumber(net), true);
    }
    const at = connection.beginControl();
    arena.bytes.set(payload, at);
    connection.endControl(
      net.random(6) === 0 ? net.random(256) : 1 + net.random(22),
      at + payload.length,
    );
    net.run(net.random(6));
  }
  net.advance(60_000);
  // The garbage cost its connection; a session that still stands works.
  if (session.stateName === "ready" && server.messenger.sessions.size === 1) {
    say(session, "last");
    net.advance(60_000);
    assert.ok(server.received.includes("last"));
  }
});

seeds(
  "bit errors and missing bytes on the wire: all is delivered once, in order",
  NOISE_SEEDS,
  (net) => {
    const kind = net.random(3);
    // In msgr2.0-crc nothing covers late_flags: a flipped bit there drops a message, says msgr2.
    const options = { revision1: kind !== 2 || net.random(2) === 0 };
    const client = net.node("client", { auth: auths(kind), options });
    const server = net.node("server", { address: SERVER, auth: auths(kind) });
    const session = client.connect(server);
    net.noise = (bytes): Uint8Array => {
      if (net.random(25) > 0) return bytes;
      if (bytes[0] === 0x63) return bytes; // not covered by any checksum, unlike all that follows
      // Never a whole frame: TCP does not lose one, and Ceph's rules accept a gap in seq.
      if (net.random(3) === 0) return bytes.slice(0, Math.max(1, net.random(bytes.length)));
      const flipped = bytes.slice();
      flipped[net.random(flipped.length)]! ^= 1 << net.random(8);
      return flipped;
    };
    const up: string[] = [];
    const down: string[] = [];
    for (let index = 0; index < 60; index++) {
      const text = `${index} ${"n".repeat(net.random(300))}`;
      if (say(session, text) !== 0) up.push(text);
      const [back] = server.messenger.sessions.values();
      if (back !== undefined && say(back, text) !== 0) down.push(text);
      if (net.random(4) === 0) net.advance(net.random(1000));
    }
    net.advance(60_000);
    net.noise = (bytes): Uint8Array => bytes;
    net.advance(60_000);
    assert.deepEqual(server.received, up);
    assert.deepEqual(client.received, down);
  },
);
