/**
 * The tests of Ceph's own messenger test (ceph_test_msgr), by their names there, repeated with our
 * machines back to back in virtual time.
 *
 * @module
 */
import assert from "node:assert/strict";
import { authCephx } from "../../src/app/auth.ts";
import { NodeCrypto } from "../../src/io/crypto.ts";
import { arenaTaken } from "../../src/mem/arena.ts";
import { U64 } from "../../src/mem/u64.ts";
import { POLICIES, type Policy } from "../../src/proto/msgr2/policy.ts";
import { type Session, SessionState } from "../../src/proto/msgr2/session.ts";
import { generateKey } from "../../src/wire/cephx/crypto_key.ts";
import { Keyring } from "../../src/wire/cephx/keyring.ts";
import { FEATURES_SUPPORTED } from "../../src/wire/msgr2/features.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";
import { Net, type Node, type NodeOptions, say, type Verdict } from "./pair.ts";

const SERVER = "v2:10.0.1.5:3300";
const CLIENT = "v2:10.0.1.2:3300";
const MIB = 1024 * 1024;

/** Runs a test, then stops its nodes: all memory must come back. */
function test(name: string, body: () => Net): void {
  Deno.test(name, () => {
    const before = arenaTaken();
    const net = body();
    for (const node of net.nodes) node.stop();
    assert.equal(arenaTaken(), before, "memory is given back");
  });
}

function two(
  serverPolicy: Policy,
  client: NodeOptions = {},
  server: NodeOptions = {},
): { net: Net; client: Node; server: Node } {
  const net = new Net();
  return {
    net,
    client: net.node("client", client),
    server: net.node("server", { address: SERVER, policy: serverPolicy, ...server }),
  };
}

function peers(): { net: Net; client: Node; server: Node } {
  const policy = POLICIES.losslessPeerReuse;
  return two(policy, { address: CLIENT, policy });
}

/** There and back: what the test's "ping" does. */
function ping(net: Net, there: Session, back: Node): void {
  const seen = back.received.length;
  assert.notEqual(say(there, `ping ${seen}`), 0);
  net.settle();
  assert.deepEqual(back.received.slice(seen), [`ping ${seen}`]);
}

test("SimpleTest: both ways, keepalive, marked down on one side, connected again", () => {
  const { net, client, server } = two(POLICIES.statelessServer);
  const session = client.connect(server, POLICIES.lossyClient);
  net.settle();
  ping(net, session, server);
  ping(net, server.session, client);
  session.connection!.sendKeepalive(1, 2);
  net.settle();
  assert.equal(session.connection!.keepaliveAcks, 1);
  assert.equal(session.connection!.keepaliveAck.nanoseconds, 2);
  client.messenger.close(session, net.now);
  net.settle();
  assert.equal(server.messenger.sessions.size, 0);
  ping(net, client.connect(server, POLICIES.lossyClient), server);
  return net;
});

test("FeatureTest: a client that lacks a feature is refused, and comes in once it has it", () => {
  const required = U64.of((1n << 59n) | (1n << 30n));
  const without = U64.of(FEATURES_SUPPORTED.toBigInt() & ~(1n << 30n));
  const { net, client, server } = two(
    POLICIES.statefulServer,
    { options: { features: { supported: without, required: U64.of(1n << 59n) } } },
    { options: { features: { supported: FEATURES_SUPPORTED, required } } },
  );
  const session = client.connect(server);
  say(session, "waits");
  net.settle();
  assert.ok(net.drawn.includes("server ident_missing_features"));
  assert.deepEqual(client.events, ["refused"]);
  assert.match(session.lastFault, /features that are not supported here: 0x40000000/);
  net.advance(60_000);
  assert.ok(client.events.length <= 5, "it asks again every 15 s only");
  assert.equal(session.unacknowledged, 1);
  const other = net.node("other");
  other.connect(server);
  net.settle();
  ping(net, other.session, server);
  return net;
});

test("TimeoutTest: a connection that says nothing is closed and comes back when needed", () => {
  const { net, client, server } = peers();
  client.connect(server, POLICIES.losslessPeerReuse);
  net.settle();
  // Both directions go dead without a word.
  net.rule = (): Verdict => "hold";
  net.advance(31_000);
  assert.equal(client.messenger.counters.closed.get("silent"), 1);
  assert.equal(server.messenger.counters.closed.get("silent"), 1);
  assert.equal(client.session.stateName, "standby");
  net.rule = (): Verdict => "pass";
  ping(net, client.session, server);
  assert.ok(net.drawn.includes("client reconnect(a,b)"));
  return net;
});

test("StatefulTest: the server forgets; the client learns by a reset and goes on", () => {
  const { net, client, server } = two(POLICIES.statefulServer);
  const session = client.connect(server, POLICIES.losslessClient);
  net.settle();
  ping(net, session, server);
  ping(net, server.session, client);
  // mark_down: RECONNECT, RESET(full), a new CLIENT_IDENT.
  server.restart();
  net.settle();
  assert.deepEqual(net.drawn.slice(2), [
    "client reconnect(a,b)",
    "server reset_session(T)",
    "client client_ident(c)",
    "server server_ident(d)",
  ]);
  assert.ok(client.events.includes("remoteReset"));
  ping(net, session, server);
  ping(net, server.session, client);
  return net;
});

test("StatelessTest: the server forgets with the connection, the client starts anew", () => {
  const { net, client, server } = two(POLICIES.statelessServer);
  const session = client.connect(server, POLICIES.lossyClient);
  net.settle();
  ping(net, session, server);
  server.messenger.close(server.session, net.now);
  net.settle();
  assert.equal(session.state, SessionState.Closed);
  const again = client.connect(server, POLICIES.lossyClient);
  net.settle();
  ping(net, again, server);
  net.cut();
  assert.deepEqual(client.events, ["connect", "reset", "connect", "reset"]);
  assert.equal(server.messenger.sessions.size, 0);
  return net;
});

test("AnonTest: clients without an address of their own, several to one server", () => {
  const { net, client, server } = two(POLICIES.statelessServer);
  const other = net.node("other");
  const sessions = [
    client.connect(server, POLICIES.lossyClient),
    client.connect(server, POLICIES.lossyClient),
    other.connect(server, POLICIES.lossyClient),
  ];
  net.settle();
  for (const session of sessions) ping(net, session, server);
  assert.equal(server.messenger.sessions.size, 3);
  for (const session of server.messenger.sessions.values()) {
    assert.match(`${session.peerAddrs}`, /^any:10\.0\.0\.\d:0\/[1-9]/);
  }
  client.messenger.close(sessions[0]!, net.now);
  net.settle();
  assert.equal(server.messenger.sessions.size, 2);
  ping(net, sessions[1]!, server);
  return net;
});

test("ClientStandbyTest: the server stays in standby, and so does an idle lossless peer", () => {
  const { net, client, server } = two(POLICIES.statefulServer);
  const session = client.connect(server, {
    ...POLICIES.losslessClient,
    standby: true,
  });
  net.settle();
  ping(net, session, server);
  net.cut();
  net.advance(120_000);
  assert.equal(session.stateName, "standby");
  assert.equal(server.session.stateName, "standby");
  assert.equal(net.drawn.length, 2, "nobody dials with nothing to say");
  // The server's message waits for the client to come.
  assert.notEqual(say(server.session, "waits"), 0);
  net.advance(10_000);
  assert.deepEqual(client.received, []);
  ping(net, session, server);
  assert.deepEqual(client.received, ["waits"]);
  assert.deepEqual(net.drawn.slice(2), ["client reconnect(a,b)", "server reconnect_ok"]);
  return net;
});

const CRYPTO = new NodeCrypto();

for (const modes of [["crc"], ["secure"], ["secure", "crc"]] as const) {
  for (const type of [1, 2]) {
    test(`AuthTest: cephx, modes ${modes}, key type ${type}; across a cut`, () => {
      const name = { type: EntityType.Client, id: "a" };
      const keyring = new Keyring([{ name, key: generateKey(CRYPTO, type, 0) }]);
      const auth = authCephx("client.a", keyring, modes);
      const { net, client, server } = two(POLICIES.statefulServer, { auth }, { auth });
      const session = client.connect(server);
      net.settle();
      ping(net, session, server);
      ping(net, server.session, client);
      assert.equal(server.session.peerName, "client.a");
      net.cut();
      ping(net, session, server);
      ping(net, server.session, client);
      assert.deepEqual(client.events, ["connect", "fault", "resume"]);
      return net;
    });
  }
}

test("AuthTest: a wrong key is refused by name, and nothing of the session is lost", () => {
  const name = { type: EntityType.Client, id: "a" };
  const right = new Keyring([{ name, key: generateKey(CRYPTO, 1, 0) }]);
  const wrong = new Keyring([{ name, key: generateKey(CRYPTO, 1, 0) }]);
  const { net, client, server } = two(
    POLICIES.statefulServer,
    { auth: authCephx("client.a", wrong, ["crc"]) },
    { auth: authCephx("client.a", right, ["crc"]) },
  );
  const session = client.connect(server);
  say(session, "waits");
  net.settle();
  assert.deepEqual(client.events, ["refused"]);
  assert.match(session.lastFault, /EACCES.*keyring/);
  assert.equal(server.messenger.sessions.size, 0);
  net.advance(20_000);
  assert.deepEqual(client.events, ["refused", "refused"]);
  assert.equal(session.unacknowledged, 1);
  return net;
});

for (const modes of [["crc"], ["secure"]] as const) {
  test(`MessageTest: large messages with all segments, ${modes[0]}`, () => {
    const name = { type: EntityType.Client, id: "a" };
    const keyring = new Keyring([{ name, key: generateKey(CRYPTO, 1, 0) }]);
    const auth = authCephx("client.a", keyring, modes);
    const { net, client, server } = two(POLICIES.statefulServer, { auth }, { auth });
    const session = client.connect(server);
    net.settle();
    server.takes = false;
    const front = new Uint8Array(5 * MIB + 3).map((_, index) => index);
    const middle = new Uint8Array(MIB + 1).map((_, index) => index * 3);
    const data = new Uint8Array(1).fill(0xda);
    const tid = U64.of(0x1122334455667788n);
    assert.notEqual(
      session.send({ type: 0xfa01, front, middle, data, priority: 200, version: 8, tid }),
      0,
    );
    net.settle();
    const batch = server.messenger.takeBatch()!;
    assert.equal(batch.length, 1);
    assert.equal(batch.type(0), 0xfa01);
    assert.equal(batch.priority(0), 200);
    assert.equal(batch.version(0), 8);
    assert.equal(batch.tid(0), 0x1122334455667788n);
    assert.ok(batch.front(0).every((byte, index) => byte === (index & 255)));
    assert.equal(batch.frontBytes(0), front.length);
    assert.ok(batch.middle(0).every((byte, index) => byte === (index * 3 & 255)));
    assert.equal(batch.middleBytes(0), middle.length);
    assert.deepEqual([...batch.data(0)], [0xda]);
    server.messenger.done(batch, net.now);
    net.settle();
    assert.equal(session.unacknowledged, 0);
    return net;
  });
}

test("ConnectionRaceTest: both connect at once, the lower address wins, nothing is lost", () => {
  const { net, client, server } = peers();
  const policy = POLICIES.losslessPeerReuse;
  const there = client.connect(server, policy);
  const back = server.connect(client, policy);
  for (let index = 0; index < 3; index++) {
    say(there, `there ${index}`);
    say(back, `back ${index}`);
  }
  net.advance(60_000);
  assert.deepEqual(server.received, ["there 0", "there 1", "there 2"]);
  assert.deepEqual(client.received, ["back 0", "back 1", "back 2"]);
  assert.equal(client.session.connection!.accepted, false);
  assert.equal(server.session.connection!.accepted, true);
  assert.equal(client.messenger.connections.size, 1);
  return net;
});

test("ConnectionRaceTest: the loser is told to WAIT, and the winner's connection is probed", () => {
  const { net, client, server } = peers();
  const policy = POLICIES.losslessPeerReuse;
  // The winner's CLIENT_IDENT is late, so that the loser's arrives first.
  net.rule = ({ by, tag }): Verdict => by === client && tag === "CLIENT_IDENT" ? "hold" : "pass";
  const there = client.connect(server, policy);
  const back = server.connect(client, policy);
  net.settle();
  assert.deepEqual(net.drawn, ["client client_ident(a)", "server client_ident(b)", "client wait"]);
  assert.equal(server.session.stateName, "wait");
  net.release();
  assert.equal(net.drawn.at(-1), "server server_ident(c)");
  assert.ok(net.log.includes("client KEEPALIVE2"));
  ping(net, there, server);
  ping(net, back, client);
  return net;
});

test("ConnectionRaceTest: WAIT for a winner that never comes ends after ms_max_backoff", () => {
  const { net, client, server } = peers();
  const policy = POLICIES.losslessPeerReuse;
  net.rule = ({ by, tag }): Verdict => by === client && tag === "CLIENT_IDENT" ? "hold" : "pass";
  client.connect(server, policy);
  const back = server.connect(client, policy);
  say(back, "back");
  net.settle();
  assert.equal(server.session.stateName, "wait");
  client.restart(); // the winner died
  net.rule = (): Verdict => "pass";
  net.release();
  net.advance(14_000);
  assert.deepEqual(client.received, []);
  net.advance(2000);
  assert.deepEqual(client.received, ["back"]);
  return net;
});

test("MissingServerIdenTest: SERVER_IDENT is lost, the client repeats CLIENT_IDENT", () => {
  const { net, client, server } = two(POLICIES.statefulServer);
  net.rule = ({ tag, count }): Verdict => tag === "SERVER_IDENT" && count === 1 ? "cut" : "pass";
  const session = client.connect(server);
  say(session, "one");
  net.settle();
  say(server.session, "from the server");
  net.advance(1000);
  assert.deepEqual(net.drawn, [
    "client client_ident(a)",
    "server server_ident(b) X",
    "client client_ident(a)",
    "server server_ident(c)",
  ]);
  assert.deepEqual(server.received, ["one"]);
  assert.deepEqual(client.received, ["from the server"]);
  return net;
});

test("MissingServerIdenTest2: the server reconnects; RESET(full=0), roles swap, same cookie", () => {
  const { net, client, server } = peers();
  net.rule = ({ by, tag, count }): Verdict =>
    by === server && tag === "SERVER_IDENT" && count === 1 ? "cut" : "pass";
  const session = client.connect(server, POLICIES.losslessPeerReuse);
  say(session, "one");
  net.settle();
  say(server.session, "from the server");
  net.settle();
  assert.deepEqual(net.drawn, [
    "client client_ident(a)",
    "server server_ident(b) X",
    "server reconnect(a,b)",
    "client reset_session(F)",
    "server client_ident(a)",
    "client server_ident(c)",
  ]);
  assert.deepEqual(server.received, ["one"]);
  assert.deepEqual(client.received, ["from the server"]);
  return net;
});

test("ReconnectTest: messages under way when the connection breaks arrive once, in order", () => {
  const { net, client, server } = peers();
  const session = client.connect(server, POLICIES.losslessPeerReuse);
  net.settle();
  const up: string[] = [];
  const down: string[] = [];
  let fault = 0;
  net.rule = ({ tag, count }): Verdict => {
    if (tag !== "MSG" && tag !== "ACK" && tag !== "RECONNECT_OK" || count % 3 !== 0) return "pass";
    return (["cut", "cutAfter", "cutRead"] as const)[fault++ % 3]!;
  };
  for (let index = 0; index < 30; index++) {
    up.push(`up ${index}`);
    say(session, `up ${index}`);
    down.push(`down ${index}`);
    say(server.session, `down ${index}`);
    if (index % 4 === 0) net.settle();
  }
  net.advance(20_000);
  net.rule = (): Verdict => "pass";
  net.advance(20_000);
  assert.deepEqual(server.received, up);
  assert.deepEqual(client.received, down);
  assert.ok(session.reconnects > 5);
  return net;
});

test("ReconnectRaceTest: both reconnect at once", () => {
  const { net, client, server } = peers();
  const session = client.connect(server, POLICIES.losslessPeerReuse);
  net.settle();
  for (let round = 0; round < 5; round++) {
    net.cut(undefined, false);
    say(session, `up ${round}`);
    say(server.session, `down ${round}`);
    net.advance(20_000);
  }
  assert.deepEqual(server.received, [0, 1, 2, 3, 4].map((round) => `up ${round}`));
  assert.deepEqual(client.received, [0, 1, 2, 3, 4].map((round) => `down ${round}`));
  assert.equal(client.messenger.connections.size, 1);
  return net;
});

test("ReconnectRaceTest: RETRY_SESSION and RETRY_GLOBAL are answered on the same connection", () => {
  const { net, client, server } = two(POLICIES.statefulServer);
  const session = client.connect(server);
  net.settle();
  server.session.connectSeq = 7;
  server.session.peerGlobalSeq = 1000;
  net.cut();
  assert.deepEqual(net.drawn.slice(2), [
    "client reconnect(a,b)",
    "server retry_global",
    "client reconnect(a,b)",
    "server retry_session",
    "client reconnect(a,b)",
    "server reconnect_ok",
  ]);
  assert.equal(session.connectSeq, 8);
  assert.ok(session.connection !== null && session.connection.globalSeq > 1000);
  ping(net, session, server);
  return net;
});

test("MarkdownTest: sessions marked down over and over, on either side, while messages flow", () => {
  const policy = POLICIES.losslessPeerReuse;
  const net = new Net(99);
  const nodes = [1, 2, 3].map((index) =>
    net.node(`node${index}`, { address: `v2:10.0.1.${index}:3300`, policy })
  );
  for (let round = 0; round < 200; round++) {
    const from = nodes[net.random(3)]!;
    const to = nodes[(nodes.indexOf(from) + 1 + net.random(2)) % 3]!;
    const session = from.connect(to, policy);
    say(session, `${round}`);
    if (net.random(3) === 0) net.settle();
    if (net.random(4) === 0) {
      const victim = nodes[net.random(3)]!;
      const [first] = victim.messenger.sessions.values();
      if (first !== undefined) victim.messenger.close(first, net.now);
    }
    if (net.random(5) === 0) net.advance(300);
  }
  net.advance(60_000);
  // No storm is left over: each pair has one session that works.
  for (const from of nodes) {
    for (const to of nodes) {
      if (from === to) continue;
      const session = from.connect(to, policy);
      net.advance(20_000);
      ping(net, session, to);
    }
  }
  for (const node of nodes) assert.equal(node.messenger.connections.size, 2);
  return net;
});

/** Many peers, random sends; `faultOneIn` as ms_inject_socket_failures. */
function synthetic(faultOneIn: number, seed: number): Net {
  const policy = POLICIES.losslessPeerReuse;
  const net = new Net(seed);
  const nodes = Array.from(
    { length: 6 },
    (_, index) => net.node(`n${index}`, { address: `v2:10.0.1.${index + 1}:3300`, policy }),
  );
  const faults = ["cut", "cutRead", "cutAfter", "cutSender", "cutReceiver"] as const;
  if (faultOneIn > 0) {
    net.rule = (): Verdict => net.random(faultOneIn) === 0 ? faults[net.random(5)]! : "pass";
  }
  const sent = new Map<string, string[]>();
  for (let index = 0; index < 2000; index++) {
    const from = nodes[net.random(6)]!;
    const to = nodes[(nodes.indexOf(from) + 1 + net.random(5)) % 6]!;
    const text = `${from.name}>${to.name} ${index}`;
    assert.notEqual(say(from.connect(to, policy), text), 0);
    const key = `${from.name}>${to.name}`;
    sent.set(key, [...sent.get(key) ?? [], text]);
    if (net.random(10) === 0) net.settle();
    if (net.random(50) === 0) net.advance(net.random(500));
  }
  net.advance(60_000);
  net.rule = (): Verdict => "pass";
  net.advance(120_000);
  for (const [key, texts] of sent) {
    const to = nodes.find(({ name }) => key.endsWith(name))!;
    const got = to.received.filter((text) => text.startsWith(`${key} `));
    assert.deepEqual(got, texts, `seed ${seed}`);
  }
  return net;
}

test("SyntheticStressTest: many peers, no fault", () => synthetic(0, 1));

for (const [faultOneIn, seed] of [[600, 2], [100, 3], [30, 4]] as const) {
  test(`SyntheticInjectTest: one frame in ${faultOneIn} breaks its connection`, () =>
    synthetic(faultOneIn, seed));
}
