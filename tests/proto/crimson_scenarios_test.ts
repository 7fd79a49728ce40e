/**
 * The session cases of Crimson's messenger test, by their names there, repeated as our own. A
 * fault is injected at a breakpoint: the n-th frame of a tag, at its writer, at its reader, right
 * behind it, or so that one end only notices.
 *
 * @module
 */
import assert from "node:assert/strict";
import { arenaTaken } from "../../src/mem/arena.ts";
import { POLICIES, type Policy } from "../../src/proto/msgr2/policy.ts";
import { type Session, SessionState } from "../../src/proto/msgr2/session.ts";
import { Net, type Node, say, type Verdict } from "./pair.ts";

/** Both ends of one kind of session. */
interface Kind {
  readonly client: Policy;
  readonly server: Policy;
  readonly clientListens: boolean;
}

const LOSSY: Kind = {
  client: POLICIES.lossyClient,
  server: POLICIES.statelessServer,
  clientListens: false,
};
const LOSSLESS: Kind = {
  client: POLICIES.losslessClient,
  server: POLICIES.statefulServer,
  clientListens: false,
};
const PEER: Kind = {
  client: POLICIES.losslessPeer,
  server: POLICIES.losslessPeer,
  clientListens: true,
};
const PEER_REUSE: Kind = {
  client: POLICIES.losslessPeerReuse,
  server: POLICIES.losslessPeerReuse,
  clientListens: true,
};

const SERVER = "v2:10.0.1.5:3300";
/** Below and above the server's, for races. */
const LOWER = "v2:10.0.1.2:3300";
const HIGHER = "v2:10.0.1.8:3300";

interface Two {
  readonly net: Net;
  readonly client: Node;
  readonly server: Node;
}

function two(kind: Kind, clientAddress = LOWER): Two {
  const net = new Net();
  const client = net.node("client", {
    policy: kind.client,
    options: { nonce: 7 },
    ...(kind.clientListens ? { address: clientAddress } : {}),
  });
  const server = net.node("server", { address: SERVER, policy: kind.server });
  return { net, client, server };
}

/** Runs a test, then stops its nodes: all memory must come back. */
function test(name: string, body: () => Net): void {
  Deno.test(name, () => {
    const before = arenaTaken();
    const net = body();
    for (const node of net.nodes) node.stop();
    assert.equal(arenaTaken(), before, "memory is given back");
  });
}

/** A point of the exchange at which a fault strikes once. */
interface Breakpoint {
  readonly by: "client" | "server";
  readonly tag: string;
  readonly count?: number;
}

/** How the fault shows. */
const FAULTS: readonly Verdict[] = ["cut", "cutRead", "cutAfter", "cutSender", "cutReceiver"];

function strike(net: Net, { by, tag, count = 1 }: Breakpoint, fault: Verdict): { done: boolean } {
  const struck = { done: false };
  const before = net.rule;
  net.rule = (frame) => {
    const other = before(frame);
    if (other !== "pass") return other;
    if (frame.by.name !== by || frame.tag !== tag || frame.count !== count) return "pass";
    struck.done = true;
    return fault;
  };
  return struck;
}

/** Sends three messages and tells which. */
function sayThree(session: Session, name: string): string[] {
  const texts = [1, 2, 3].map((index) => `${name} ${index}`);
  for (const text of texts) assert.notEqual(say(session, text), 0);
  return texts;
}

/** One session on each side, both ends of the same, nothing owed. */
function assertSettled({ net, client, server }: Two): void {
  for (const node of [client, server]) {
    assert.equal(node.messenger.sessions.size, 1, `${node.name} sessions`);
    assert.equal(node.session.stateName, "ready", net.drawn.join("\n"));
    assert.equal(node.session.unacknowledged, 0, `${node.name} unacknowledged`);
    assert.equal(node.messenger.connections.size, 1, `${node.name} connections`);
  }
  assert.ok(client.session.clientCookie.equals(server.session.clientCookie));
  assert.ok(client.session.serverCookie.equals(server.session.serverCookie));
}

/** A lossless exchange with a fault in it: everything arrives once, in order, both ways. */
function lossless(kind: Kind, at: Breakpoint, fault: Verdict, first?: Breakpoint): Net {
  const pair = two(kind);
  const { net, client, server } = pair;
  if (first !== undefined) strike(net, first, "cut");
  const struck = strike(net, at, fault);
  const session = client.connect(server, kind.client);
  const up = sayThree(session, "early");
  const down: string[] = [];
  net.advance(30_000);
  up.push(...sayThree(session, "up"));
  down.push(...sayThree(server.session, "down"));
  net.advance(70_000); // as long as a silent end needs to be found out
  up.push(...sayThree(session, "up again"));
  down.push(...sayThree(server.session, "down again"));
  net.advance(70_000);
  assert.ok(struck.done, `no ${at.tag} by ${at.by}`);
  assert.deepEqual(server.received, up);
  assert.deepEqual(client.received, down);
  assertSettled(pair);
  return net;
}

/** A lossy exchange that breaks before the session stands: it is tried again, and stands. */
function lossyConnecting(at: Breakpoint, fault: Verdict): Net {
  const { net, client, server } = two(LOSSY);
  const struck = strike(net, at, fault);
  const session = client.connect(server, LOSSY.client);
  net.advance(40_000);
  assert.ok(struck.done);
  if (session.state === SessionState.Closed) {
    // SERVER_IDENT had arrived: the fault struck an established session, which is over.
    assert.ok(client.events.includes("reset"));
    return net;
  }
  assert.equal(session.stateName, "ready");
  const texts = sayThree(session, "late");
  net.settle();
  assert.deepEqual(server.received, texts);
  return net;
}

/** A lossy exchange that breaks later: the session is over on both sides, a new one works. */
function lossyConnected(at: Breakpoint, fault: Verdict): Net {
  const { net, client, server } = two(LOSSY);
  const struck = strike(net, at, fault);
  const session = client.connect(server, LOSSY.client);
  net.settle();
  sayThree(session, "up");
  sayThree(server.session, "down");
  net.advance(60_000);
  assert.ok(struck.done);
  assert.equal(session.state, SessionState.Closed);
  assert.equal(say(session, "into the void"), 0);
  assert.ok(client.events.includes("reset"));
  assert.ok(server.events.includes("reset"));
  assert.equal(server.messenger.sessions.size, 0);
  const again = client.connect(server, LOSSY.client);
  net.settle();
  const seen = server.received.length;
  const texts = sayThree(again, "again");
  net.settle();
  assert.deepEqual(server.received.slice(seen), texts);
  return net;
}

function breakpoints(by: "client" | "server", ...tags: string[]): Breakpoint[] {
  return tags.map((tag) => ({ by, tag }));
}

function cases(
  name: string,
  points: readonly Breakpoint[],
  run: (at: Breakpoint, fault: Verdict) => Net,
): void {
  for (const at of points) {
    for (const fault of FAULTS) {
      test(`${name}: ${at.by} ${at.tag} ${at.count ?? 1} ${fault}`, () => run(at, fault));
    }
  }
}

const CLIENT_EARLY = breakpoints(
  "client",
  "BANNER",
  "HELLO",
  "AUTH_REQUEST",
  "AUTH_SIGNATURE",
  "COMPRESSION_REQUEST",
);
const SERVER_EARLY = breakpoints(
  "server",
  "BANNER",
  "HELLO",
  "AUTH_DONE",
  "AUTH_SIGNATURE",
  "COMPRESSION_DONE",
);
const CLIENT_IDENT = breakpoints("client", "CLIENT_IDENT");
const SERVER_IDENT = breakpoints("server", "SERVER_IDENT");
/** The message breaks the first connection, then the second breakpoint strikes. */
const MESSAGE: Breakpoint = { by: "client", tag: "MSG", count: 2 };

cases("lossy_early_connect_fault", CLIENT_EARLY, lossyConnecting);
cases("lossy_early_accept_fault", SERVER_EARLY, lossyConnecting);
cases("lossy_connect_fault", CLIENT_IDENT, lossyConnecting);
cases("lossy_accept_fault", CLIENT_IDENT, lossyConnecting);
cases("lossy_establishing_fault", SERVER_IDENT, lossyConnecting);
cases("lossy_connected_fault", breakpoints("client", "MSG"), lossyConnected);
cases("lossy_accepted_fault", breakpoints("server", "MSG"), lossyConnected);

for (const [prefix, kind] of [["lossless", LOSSLESS], ["peer", PEER]] as const) {
  const run = (at: Breakpoint, fault: Verdict): Net => lossless(kind, at, fault);
  const again = (at: Breakpoint, fault: Verdict): Net => lossless(kind, at, fault, MESSAGE);
  cases(`${prefix}_early_connect_fault`, [...CLIENT_EARLY, ...SERVER_EARLY], run);
  cases(`${prefix}_connect_fault`, CLIENT_IDENT, run);
  cases(`${prefix}_establishing_fault`, SERVER_IDENT, run);
  cases(`${prefix}_connected_fault`, [MESSAGE, { by: "client", tag: "MSG", count: 5 }], run);
  cases(
    `${prefix}_accepted_fault`,
    [{ by: "server", tag: "MSG" }, { by: "server", tag: "MSG", count: 4 }],
    run,
  );
  cases(
    `${prefix}_connected_fault2`,
    [
      ...breakpoints("client", "ACK", "KEEPALIVE2", "KEEPALIVE2_ACK"),
      ...breakpoints("server", "ACK", "KEEPALIVE2", "KEEPALIVE2_ACK"),
    ],
    run,
  );
  cases(`${prefix}_connected_reconnect_fault`, breakpoints("client", "RECONNECT"), again);
  cases(`${prefix}_connected_reaccept_fault`, breakpoints("server", "RECONNECT_OK"), again);
}

test("lossless_connect_fault: the socket is refused, and refused again", () => {
  const pair = two(LOSSLESS);
  const { net, client, server } = pair;
  net.reachable = false;
  const session = client.connect(server);
  const texts = sayThree(session, "early");
  net.advance(1300);
  // 0, 200, 400 and 800 ms after one another: "exponential back-off"
  assert.deepEqual(client.events, ["fault", "fault", "fault"]);
  net.advance(120_000);
  assert.ok(client.events.length < 16, "never sooner than ms_initial_backoff, 15 s at most");
  net.reachable = true;
  net.advance(15_000);
  assert.deepEqual(server.received, texts);
  assertSettled(pair);
  return net;
});

// ---- races: both sides act at once, and each frame may come first

/** The one with the lower address dials; the other's attempt gives way. */
function assertWinner({ client, server }: Two, winner: Node): void {
  for (const node of [client, server]) {
    assert.equal(node.session.connection!.accepted, node !== winner, `${node.name} accepted`);
  }
}

/** Runs a race to its end with the first frame of `held` delayed until the other side is done. */
function race(
  address: string,
  held: { by: string; tag: string } | null,
  begin: (pair: Two) => void,
  tag: string,
): Two {
  const pair = two(PEER, address);
  const { net, client, server } = pair;
  begin(pair);
  let holds = held !== null;
  net.rule = (frame): Verdict => {
    if (!holds || frame.by.name !== held!.by || frame.tag !== held!.tag) return "pass";
    holds = false;
    return "hold";
  };
  const up = sayThree(client.session, "up");
  const down = sayThree(server.session, "down");
  net.settle();
  net.release();
  net.advance(60_000);
  up.push(...sayThree(client.session, "up again"));
  down.push(...sayThree(server.session, "down again"));
  net.advance(60_000);
  assert.deepEqual(server.received, up, `${tag}\n${net.drawn.join("\n")}`);
  assert.deepEqual(client.received, down);
  assertSettled(pair);
  const frames = net.drawn.length;
  net.advance(120_000);
  assert.equal(net.drawn.length, frames, "the race is over");
  return pair;
}

for (const [role, address] of [["lose", HIGHER], ["win", LOWER]] as const) {
  // Named by what happens to the client's own attempt.
  const winner = ({ client, server }: Two): Node => role === "win" ? client : server;
  const both = ({ client, server }: Two): void => {
    client.connect(server, PEER.client);
    server.connect(client, PEER.server);
  };
  const reconnecting = (pair: Two): void => {
    pair.client.connect(pair.server, PEER.client);
    pair.net.settle();
    pair.net.cut();
  };

  test(`racing_connect_acceptor_${role}: at the same time`, () => {
    const pair = race(address, null, both, "CLIENT_IDENT");
    assertWinner(pair, winner(pair));
    return pair.net;
  });
  for (const by of ["client", "server"]) {
    test(`racing_connect_acceptor_${role}: the CLIENT_IDENT of the ${by} is late`, () =>
      race(address, { by, tag: "CLIENT_IDENT" }, both, by).net);
    test(`racing_connect_acceptor_${role}: the SERVER_IDENT of the ${by} is late`, () =>
      race(address, { by, tag: "SERVER_IDENT" }, both, by).net);
    test(`racing_connect_acceptor_${role}: the banner of the ${by} is late`, () =>
      race(address, { by, tag: "BANNER" }, both, by).net);
    test(`racing_reconnect_acceptor_${role}: the RECONNECT of the ${by} is late`, () =>
      race(address, { by, tag: "RECONNECT" }, reconnecting, by).net);
    test(`racing_reconnect_acceptor_${role}: the RECONNECT_OK of the ${by} is late`, () =>
      race(address, { by, tag: "RECONNECT_OK" }, reconnecting, by).net);
  }
  test(`racing_reconnect_acceptor_${role}: at the same time`, () => {
    const pair = race(address, null, reconnecting, "RECONNECT");
    assertWinner(pair, winner(pair));
    return pair.net;
  });

  // The client never got SERVER_IDENT and connects; for the server the session stands and it
  // reconnects.
  for (const late of ["client CLIENT_IDENT", "server RECONNECT", "none"]) {
    test(`racing_connect_reconnect_${role}: late is ${late}`, () => {
      const pair = two(PEER, address);
      const { net, client, server } = pair;
      const [by, tag] = late.split(" ");
      let idents = 0;
      let holds = true;
      net.rule = (frame): Verdict => {
        if (frame.tag === "SERVER_IDENT" && idents++ === 0) return "cut";
        if (idents === 0 || !holds || frame.by.name !== by || frame.tag !== tag) return "pass";
        holds = false;
        return "hold";
      };
      net.refuses = (): boolean => idents > 0;
      const session = client.connect(server, PEER.client);
      const up = sayThree(session, "up");
      net.settle();
      const down = sayThree(server.session, "down");
      net.settle();
      net.refuses = (): boolean => false;
      net.advance(1000);
      net.release();
      net.advance(60_000);
      assert.deepEqual(server.received, up, net.drawn.join("\n"));
      assert.deepEqual(client.received, down);
      assertSettled(pair);
      return net;
    });
  }
}

// ---- stale connections: one end gives up, what it had sent arrives late

for (
  const { name, held, again } of [
    { name: "stale_connect", held: "server SERVER_IDENT", again: false },
    { name: "stale_accept", held: "client CLIENT_IDENT", again: false },
    { name: "stale_establishing", held: "server AUTH_DONE", again: false },
    { name: "stale_reconnect", held: "client RECONNECT", again: true },
    { name: "stale_reaccept", held: "server RECONNECT_OK", again: true },
  ]
) {
  for (const kind of [LOSSLESS, PEER]) {
    const policy = kind === PEER ? "lossless_peer" : "lossless_client";
    test(`${name} (${policy}): the late frame changes nothing`, () => {
      const pair = two(kind);
      const { net, client, server } = pair;
      const session = client.connect(server, kind.client);
      const up: string[] = [];
      if (again) {
        up.push(...sayThree(session, "before"));
        net.settle();
      }
      const [by, tag] = held.split(" ");
      let holds = true;
      net.rule = (frame): Verdict => {
        if (!holds || frame.by.name !== by || frame.tag !== tag) return "pass";
        holds = false;
        return "hold";
      };
      if (again) net.cut(undefined, false);
      up.push(...sayThree(session, "up"));
      net.settle();
      assert.equal(holds, false);
      // The client's end dies; the server's does not hear of it until the frame is let go.
      session.connection!.handleEnd("Connection timed out (ETIMEDOUT)", net.now);
      net.advance(5000);
      assert.equal(session.stateName, "ready", net.drawn.join("\n"));
      const down = sayThree(server.session, "down");
      net.settle();
      const { connection, reconnects } = server.session;
      net.release();
      net.advance(60_000);
      assert.equal(server.session.connection, connection);
      assert.equal(server.session.reconnects, reconnects);
      assert.deepEqual(server.received, up, net.drawn.join("\n"));
      assert.deepEqual(client.received, down);
      assertSettled(pair);
      if (name === "stale_accept") assert.equal(server.messenger.counters.closed.get("stale"), 1);
      return net;
    });
  }
}

test("stale_connect: a restarted peer with the lower address and a low global_seq gets in", () => {
  const pair = two(PEER, LOWER);
  const { net, client, server } = pair;
  client.connect(server, PEER.client);
  net.settle();
  server.session.peerGlobalSeq = 1000; // as after many connections
  client.restart();
  net.settle();
  // The server learns of it by RESET_SESSION, and its own CLIENT_IDENT is lost.
  net.rule = ({ by, tag, count }): Verdict =>
    by === server && tag === "CLIENT_IDENT" && count === 1 ? "cut" : "pass";
  say(server.session, "to the one before");
  net.settle();
  assert.deepEqual(net.drawn.slice(2), [
    "server reconnect(a,b)",
    "client reset_session(T)",
    "server client_ident(c) X",
  ]);
  // Now both dial: WAIT from one side and "stale" from the other would be for ever.
  const session = client.connect(server, PEER.client);
  const up = sayThree(session, "up");
  const down = sayThree(server.session, "down");
  net.advance(5000);
  assert.deepEqual(server.received, up, net.drawn.join("\n"));
  assert.deepEqual(client.received, down);
  assertSettled(pair);
  return net;
});

// ---- policies: what a marked down or restarted end means to the other

test("lossy_client: a server that comes back new is a reset; what waits is dropped", () => {
  const { net, client, server } = two(LOSSY);
  const session = client.connect(server, LOSSY.client);
  net.settle();
  server.restart();
  net.settle();
  assert.equal(session.state, SessionState.Closed);
  assert.deepEqual(client.events, ["connect", "reset"]);
  assert.equal(client.messenger.sessions.size, 0);
  net.advance(60_000);
  assert.equal(server.messenger.sessions.size, 0); // it does not come back by itself
  return net;
});

test("lossy_client: marking it down on either side ends it on both", () => {
  for (const side of ["client", "server"] as const) {
    const pair = two(LOSSY);
    const { net, client, server } = pair;
    client.connect(server, LOSSY.client);
    net.settle();
    pair[side].messenger.close(pair[side].session, net.now);
    net.settle();
    assert.ok((side === "client" ? server : client).events.includes("reset"));
    assert.equal(client.messenger.sessions.size + server.messenger.sessions.size, 0);
    assert.equal(client.messenger.connections.size + server.messenger.connections.size, 0);
    for (const node of net.nodes) node.stop();
  }
  return new Net();
});

test("stateless_server: each connection is a session of its own", () => {
  const { net, client, server } = two(LOSSY);
  const one = client.connect(server, LOSSY.client);
  const other = client.connect(server, LOSSY.client);
  net.settle();
  assert.equal(server.messenger.sessions.size, 2);
  say(one, "one");
  say(other, "other");
  net.settle();
  assert.deepEqual(server.received.toSorted(), ["one", "other"]);
  client.restart();
  net.settle();
  assert.equal(server.messenger.sessions.size, 0);
  assert.equal(server.events.filter((kind) => kind === "reset").length, 2);
  return net;
});

test("lossless_client: a server that comes back new is a remote reset; the session goes on", () => {
  const pair = two(LOSSLESS);
  const { net, client, server } = pair;
  const session = client.connect(server, LOSSLESS.client);
  net.settle();
  net.reachable = false;
  server.restart();
  sayThree(session, "lost");
  net.reachable = true;
  net.advance(1000);
  assert.deepEqual(server.received, []); // Ceph's policy drops them
  assert.equal(client.messenger.counters.messagesDropped, 3);
  assert.ok(client.events.includes("remoteReset"));
  const texts = sayThree(session, "new");
  net.settle();
  assert.deepEqual(server.received, texts);
  assertSettled(pair);
  return net;
});

test("lossless_client with requeue: what the new server has not acknowledged comes again", () => {
  const pair = two({ ...LOSSLESS, client: { ...POLICIES.losslessClient, requeue: true } });
  const { net, client, server } = pair;
  const session = client.connect(server, { ...POLICIES.losslessClient, requeue: true });
  const before = sayThree(session, "before");
  net.settle();
  assert.deepEqual(server.received, before);
  server.holds = true;
  const taken = sayThree(session, "taken, not taken over");
  net.settle();
  server.restart();
  server.holds = false;
  net.advance(1000);
  const later = sayThree(session, "later");
  net.settle();
  assert.deepEqual(server.received.filter((text) => later.includes(text)), later);
  assert.deepEqual(server.received.slice(-6), [...taken, ...later]);
  assertSettled(pair);
  return net;
});

test("stateful_server: a client that comes back new is a remote reset; it never dials", () => {
  const pair = two(LOSSLESS);
  const { net, client, server } = pair;
  client.connect(server, LOSSLESS.client);
  net.settle();
  client.restart();
  sayThree(server.session, "for the dead");
  net.advance(60_000);
  assert.equal(server.session.stateName, "standby");
  const session = client.connect(server, LOSSLESS.client);
  const texts = sayThree(session, "new");
  net.settle();
  assert.deepEqual(server.received, texts);
  assert.deepEqual(client.received, []);
  assert.ok(server.events.includes("remoteReset"));
  assertSettled(pair);
  return net;
});

for (const [kind, name] of [[PEER_REUSE, "peer_reuse"], [PEER, "lossless_peer"]] as const) {
  test(`${name}_connector: the acceptor comes back new`, () => {
    const pair = two(kind);
    const { net, client, server } = pair;
    const session = client.connect(server, kind.client);
    net.settle();
    net.reachable = false;
    server.restart();
    sayThree(session, "before");
    net.reachable = true;
    net.advance(1000);
    // To a stranger the answer is a full reset, whatever the policy.
    assert.ok(net.drawn.includes("server reset_session(T)"));
    assert.ok(client.events.includes("remoteReset"));
    const texts = sayThree(session, "after");
    const down = sayThree(server.session, "down");
    net.settle();
    assert.deepEqual(server.received, texts);
    assert.deepEqual(client.received, down);
    assertSettled(pair);
    return net;
  });

  test(`${name}_acceptor: the connector comes back new`, () => {
    const pair = two(kind);
    const { net, client, server } = pair;
    client.connect(server, kind.client);
    net.settle();
    client.restart();
    net.reachable = false;
    const before = sayThree(server.session, "before");
    net.settle();
    const session = client.connect(server, kind.client);
    net.reachable = true;
    net.advance(1000);
    const texts = sayThree(session, "up");
    const down = sayThree(server.session, "down");
    net.advance(60_000);
    assert.deepEqual(server.received, texts);
    const reset = kind.server.resetcheck;
    const expected = reset ? down : [...before, ...down];
    assert.deepEqual(client.received, expected, net.drawn.join("\n"));
    assertSettled(pair);
    return net;
  });

  test(`${name}: connecting where a session stands already gives that session`, () => {
    const pair = two(kind);
    const { net, client, server } = pair;
    client.connect(server, kind.client);
    net.settle();
    const back = server.connect(client, kind.server);
    assert.equal(back, server.session);
    const texts = sayThree(back, "back");
    net.settle();
    assert.deepEqual(client.received, texts);
    assertSettled(pair);
    return net;
  });
}
