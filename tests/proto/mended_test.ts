/** Faults that were found from outside and mended, each with the test that shows it. */
import assert from "node:assert/strict";
import { SESSIONS_MAX } from "../../src/mem/limits.ts";
import { U64 } from "../../src/mem/u64.ts";
import { POLICIES } from "../../src/proto/msgr2/policy.ts";
import { AuthMode, encodeIdentity } from "../../src/wire/cephx/entity_name.ts";
import { AuthMethod } from "../../src/wire/msgr2/auth.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";
import { Net, say } from "./pair.ts";
import { RawPeer } from "./raw_peer.ts";

const HUB = "v2:10.0.0.1:3300/0";

Deno.test("a stranger that claims an address we dial does not get what waits for its owner", () => {
  const net = new Net();
  const owner = net.node("owner", { address: "v2:10.0.1.1:3300/0" });
  const node = net.node("node", {
    address: "v2:10.0.1.2:3300/0",
    policy: POLICIES.losslessPeerReuse,
  });
  net.reachable = false;
  const session = node.connect(owner, POLICIES.losslessPeerReuse);
  say(session, "for the owner only");
  net.settle();
  const stranger = RawPeer.client(node, "v2:10.6.6.6:4000")!;
  stranger.establish({ address: "v2:10.0.1.1:3300/0" });
  assert.ok(stranger.closed);
  assert.equal(node.messenger.counters.closed.get("auth"), 1);
  net.reachable = true;
  net.advance(20_000);
  assert.deepEqual(owner.received, ["for the owner only"]);
});

Deno.test("a server that lets us in and cuts at once is not hammered", () => {
  const net = new Net();
  const hub = net.node("hub", { address: HUB });
  const client = net.node("client");
  net.rule = ({ tag, by }) =>
    by === hub && (tag === "SERVER_IDENT" || tag === "RECONNECT_OK") ? "cutAfter" : "pass";
  const session = client.connect(hub);
  net.advance(30_000);
  const attempts = net.log.filter((line) => line === "client BANNER").length;
  assert.ok(attempts <= 12, `${attempts} connections in 30 s`);
  net.rule = () => "pass";
  say(session, "at last");
  net.advance(16_000);
  assert.deepEqual(hub.received, ["at last"]);
});

Deno.test("a session that makes progress between cuts is made again at once", () => {
  const net = new Net();
  const hub = net.node("hub", { address: HUB });
  const client = net.node("client");
  const session = client.connect(hub);
  net.settle();
  // Every message arrives, and the connection is cut before its ACK leaves.
  net.rule = ({ tag, by }) => by === client && tag === "MSG" ? "cutAfter" : "pass";
  const sent: string[] = [];
  for (let index = 0; index < 20; index++) {
    sent.push(`${index}`);
    say(session, `${index}`);
    net.advance(10);
  }
  net.rule = () => "pass";
  net.advance(10);
  assert.deepEqual(hub.received, sent);
  assert.equal(session.unacknowledged, 0);
});

Deno.test("what was taken over is acknowledged before CLOSE", () => {
  const net = new Net();
  const hub = net.node("hub", { address: HUB });
  const client = net.node("client");
  const session = client.connect(hub);
  net.settle();
  hub.takes = false;
  say(session, "last words");
  net.settle();
  const batch = hub.messenger.takeBatch()!;
  hub.messenger.done(batch, net.now);
  hub.messenger.close(hub.session, net.now);
  net.settle();
  assert.deepEqual(client.events, ["connect", "reset"]);
  assert.equal(session.dropped, 0);
});

Deno.test("closed without a word: the peer keeps its session and comes back", () => {
  const net = new Net();
  const hub = net.node("hub", { address: HUB });
  const client = net.node("client");
  const session = client.connect(hub, { ...POLICIES.losslessClient, requeue: true });
  net.settle();
  hub.messenger.close(hub.session, net.now, false);
  say(session, "still here");
  net.advance(1000);
  assert.deepEqual(hub.received, ["still here"]);
  assert.ok(!net.log.includes("hub CLOSE"));
});

Deno.test("a name that opens sessions without end pushes out its own, not those of others", () => {
  const net = new Net();
  const hub = net.node("hub", { address: HUB });
  const open = (name: string, address: string): void => {
    const peer = RawPeer.client(hub)!;
    const payload = encodeIdentity({
      mode: AuthMode.Mon,
      name: { type: EntityType.Client, id: name },
      globalId: new U64(),
    });
    peer.say(RawPeer.banner(), RawPeer.hello(), RawPeer.authRequest(AuthMethod.None, [1], payload));
    peer.say(RawPeer.signature(), peer.clientIdent({ address }));
    peer.connection.handleEnd("", net.now);
    net.settle();
  };
  open("quiet", "any:10.8.0.1:0/1");
  net.now++;
  for (let index = 1; index < SESSIONS_MAX + 3; index++) {
    open("greedy", `any:10.9.${index >> 8}.${index & 255}:0/${index}`);
  }
  const names = [...hub.messenger.sessions.values()].map((session) => session.peerName);
  assert.equal(names.length, SESSIONS_MAX);
  assert.ok(names.includes("client.quiet"));
});

Deno.test("messages that arrive together with CLOSE are handed on, and the reset is told after them", () => {
  const net = new Net();
  const hub = net.node("hub", { address: HUB, policy: POLICIES.statelessServer });
  const client = net.node("client");
  const session = client.connect(hub, POLICIES.lossyClient);
  net.settle();
  hub.takes = false;
  say(session, "last words");
  net.settle();
  client.messenger.close(session, net.now);
  net.settle();
  assert.deepEqual(hub.events, ["accept"], "not over while its last message waits");
  hub.takes = true;
  net.settle();
  assert.deepEqual(hub.received, ["last words"]);
  assert.deepEqual(hub.events, ["accept", "reset"]);
});
