/**
 * Every scenario drawn in the msgr2 document ("Banner", "Authentication", "Example of failure
 * scenarios", "Example of protocol interaction"), by its name there: the frames of both sides in
 * their order, the cookies, and what arrives.
 *
 * @module
 */
import assert from "node:assert/strict";
import { newCookie } from "../../src/proto/msgr2/cookie.ts";
import { NodeCrypto } from "../../src/io/crypto.ts";
import { authCephx, authNone } from "../../src/app/auth.ts";
import type { AuthOptions } from "../../src/proto/msgr2/messenger.ts";
import { POLICIES } from "../../src/proto/msgr2/policy.ts";
import { SessionState } from "../../src/proto/msgr2/session.ts";
import { generateKey } from "../../src/wire/cephx/crypto_key.ts";
import { Keyring } from "../../src/wire/cephx/keyring.ts";
import { AuthMethod, ConMode } from "../../src/wire/msgr2/auth.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";
import { Net, type Node, say } from "./pair.ts";

/** A lossless client and its server. */
function clientAndServer(): { net: Net; client: Node; server: Node } {
  const net = new Net();
  const client = net.node("client");
  const server = net.node("server", { address: "v2:10.0.1.1:3300" });
  return { net, client, server };
}

/** Two that listen, each of which may connect: only such a server can reconnect. */
function twoPeers(): { net: Net; client: Node; server: Node } {
  const net = new Net();
  const policy = POLICIES.losslessPeer;
  const client = net.node("client", { address: "v2:10.0.1.2:3300", policy });
  const server = net.node("server", { address: "v2:10.0.1.1:3300", policy });
  return { net, client, server };
}

/** Messages both ways over a session that stands; exact order, nothing lost or doubled. */
function talk(net: Net, client: Node, server: Node): void {
  const before = [client.received.length, server.received.length];
  const texts = ["one", "two", "three"];
  for (const text of texts) {
    assert.notEqual(say(client.session, text), 0);
    assert.notEqual(say(server.session, text), 0);
  }
  net.settle();
  assert.deepEqual(client.received.slice(before[0]), texts);
  assert.deepEqual(server.received.slice(before[1]), texts);
  assert.equal(client.session.unacknowledged, 0);
  assert.equal(server.session.unacknowledged, 0);
  assert.ok(client.session.clientCookie.equals(server.session.clientCookie));
  assert.ok(client.session.serverCookie.equals(server.session.serverCookie));
}

/** The letters of both cookies, as the client and the server hold them. */
function cookies(net: Net, node: Node): string {
  const { clientCookie, serverCookie } = node.session;
  return `${net.letter(clientCookie)} ${net.letter(serverCookie)}`;
}

const CRYPTO = new NodeCrypto();

/** cephx for client.a, known to both ends. */
function cephx(modes: readonly ("crc" | "secure")[]): AuthOptions {
  return authCephx("client.a", KEYRING, modes);
}

const KEYRING = new Keyring();
KEYRING.set({ name: { type: EntityType.Client, id: "a" }, key: generateKey(CRYPTO, 1, 0) });

Deno.test("Banner: both send at once, before anything else", () => {
  const { net, client, server } = clientAndServer();
  client.connect(server);
  net.settle();
  assert.deepEqual(net.log.slice(0, 4), [
    "client BANNER",
    "server BANNER",
    "client HELLO",
    "server HELLO",
  ]);
});

Deno.test("a session without a fault: every frame of both sides, in order", () => {
  const { net, client, server } = clientAndServer();
  const session = client.connect(server);
  say(session, "hello");
  net.settle();
  assert.deepEqual(net.log.filter((frame) => frame.startsWith("client")), [
    "client BANNER",
    "client HELLO",
    "client AUTH_REQUEST",
    "client AUTH_SIGNATURE",
    "client COMPRESSION_REQUEST",
    "client CLIENT_IDENT",
    "client MSG",
  ]);
  assert.deepEqual(net.log.filter((frame) => frame.startsWith("server")), [
    "server BANNER",
    "server HELLO",
    "server AUTH_DONE",
    "server AUTH_SIGNATURE",
    "server COMPRESSION_DONE",
    "server SERVER_IDENT",
    "server ACK",
  ]);
  assert.deepEqual(server.received, ["hello"]);
  talk(net, client, server);
});

Deno.test("authentication phase interaction when the client uses an allowed authentication method", () => {
  const net = new Net();
  const client = net.node("client", { auth: cephx(["crc"]) });
  const server = net.node("server", { address: "v2:10.0.1.1:3300", auth: cephx(["crc"]) });
  client.connect(server);
  net.settle();
  assert.deepEqual(net.log.filter((frame) => frame.includes("AUTH_")), [
    "client AUTH_REQUEST",
    "server AUTH_REPLY_MORE",
    "client AUTH_REQUEST_MORE",
    "server AUTH_DONE",
    "server AUTH_SIGNATURE",
    "client AUTH_SIGNATURE",
  ]);
  talk(net, client, server);
});

/** Method none first, cephx when that is refused. */
function noneThenCephx(): AuthOptions {
  const real = cephx(["secure", "crc"]);
  const none = authNone("client.a");
  return {
    ...real,
    clientMethods: [AuthMethod.None, AuthMethod.Cephx],
    client: (method, peerType) =>
      method === AuthMethod.None ? none.client(method, peerType) : real.client(method, peerType),
  };
}

for (const modes of [["crc"], ["secure", "crc"]] as const) {
  Deno.test(
    `authentication phase interaction when the client uses a forbidden authentication method as the first attempt (${
      modes[0]
    })`,
    () => {
      const net = new Net();
      const client = net.node("client", { auth: noneThenCephx() });
      const server = net.node("server", { address: "v2:10.0.1.1:3300", auth: cephx(modes) });
      client.connect(server);
      net.settle();
      assert.deepEqual(net.log.filter((frame) => frame.includes("AUTH_")).slice(0, 6), [
        "client AUTH_REQUEST",
        "server AUTH_BAD_METHOD",
        "client AUTH_REQUEST",
        "server AUTH_REPLY_MORE",
        "client AUTH_REQUEST_MORE",
        "server AUTH_DONE",
      ]);
      const { connection } = client.session;
      assert.deepEqual(connection!.allowedMethods, [AuthMethod.Cephx]);
      assert.equal(connection!.mode, modes[0] === "secure" ? ConMode.Secure : ConMode.Crc);
      assert.equal(server.messenger.counters.badMethods, 1);
      talk(net, client, server);
    },
  );
}

Deno.test("Example of protocol interaction: banner, bad method, auth more, auth done", () => {
  const net = new Net();
  const client = net.node("client", { auth: noneThenCephx() });
  const server = net.node("server", { address: "v2:10.0.1.1:3300", auth: cephx(["crc"]) });
  client.connect(server);
  net.settle();
  // The drawing's "send new stream" is a left-over of a draft; HELLO stands in its place.
  assert.deepEqual(net.log.slice(0, 10), [
    "client BANNER",
    "server BANNER",
    "client HELLO",
    "server HELLO",
    "client AUTH_REQUEST",
    "server AUTH_BAD_METHOD",
    "client AUTH_REQUEST",
    "server AUTH_REPLY_MORE",
    "client AUTH_REQUEST_MORE",
    "server AUTH_DONE",
  ]);
});

Deno.test("First client's client_ident message is lost, and then client reconnects", () => {
  const { net, client, server } = clientAndServer();
  net.rule = ({ tag, count }) => tag === "CLIENT_IDENT" && count === 1 ? "cut" : "pass";
  const session = client.connect(server);
  say(session, "early");
  net.settle();
  assert.deepEqual(net.drawn, ["client client_ident(a) X"]);
  net.advance(1000);
  assert.deepEqual(net.drawn, [
    "client client_ident(a) X",
    "client client_ident(a)",
    "server server_ident(b)",
  ]);
  assert.deepEqual(server.received, ["early"]);
  assert.equal(cookies(net, client), "a b");
  talk(net, client, server);
});

Deno.test("Server's server_ident message is lost, and then client reconnects", () => {
  const { net, client, server } = clientAndServer();
  net.rule = ({ tag, count }) => tag === "SERVER_IDENT" && count === 1 ? "cut" : "pass";
  const session = client.connect(server);
  say(session, "early");
  net.settle();
  assert.deepEqual(net.drawn, ["client client_ident(a)", "server server_ident(b) X"]);
  assert.equal(cookies(net, server), "a b");
  assert.equal(cookies(net, client), "a -");
  say(server.session, "from the server");
  net.advance(1000);
  assert.deepEqual(net.drawn, [
    "client client_ident(a)",
    "server server_ident(b) X",
    "client client_ident(a)",
    "server server_ident(c)",
  ]);
  assert.deepEqual(server.received, ["early"]);
  assert.deepEqual(client.received, ["from the server"]);
  assert.equal(cookies(net, client), "a c");
  assert.equal(server.messenger.counters.remoteResets, 0);
  talk(net, client, server);
});

Deno.test("Server's server_ident message is lost, and then server reconnects", () => {
  const { net, client, server } = twoPeers();
  net.rule = ({ by, tag, count }) =>
    by === server && tag === "SERVER_IDENT" && count === 1 ? "cut" : "pass";
  const session = client.connect(server, POLICIES.losslessPeer);
  say(session, "early");
  net.settle();
  // The client waits before it tries again; the server, for which the session stood, does not.
  assert.equal(cookies(net, server), "a b");
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
  assert.deepEqual(server.received, ["early"]);
  assert.deepEqual(client.received, ["from the server"]);
  assert.equal(cookies(net, client), "a c");
  talk(net, client, server);
  net.advance(60_000);
  assert.equal(net.drawn.length, 6); // the client's own attempt was given up
});

Deno.test("Connection failure after session is established, and then client reconnects", () => {
  const { net, client, server } = clientAndServer();
  const session = client.connect(server);
  net.settle();
  // The message is lost with the connection and sent again.
  net.rule = ({ by, tag, count }) => by === server && tag === "MSG" && count === 2 ? "cut" : "pass";
  say(server.session, "one");
  say(server.session, "two");
  say(server.session, "three");
  net.settle();
  assert.deepEqual(net.drawn, [
    "client client_ident(a)",
    "server server_ident(b)",
    "client reconnect(a,b)",
    "server reconnect_ok",
  ]);
  assert.deepEqual(client.received, ["one", "two", "three"]);
  assert.equal(session.duplicates, 0);
  assert.equal(cookies(net, client), "a b");
  assert.deepEqual(client.events, ["connect", "fault", "resume"]);
  assert.deepEqual(server.events, ["accept", "fault", "resume"]);
  talk(net, client, server);
});

Deno.test("Connection failure after session is established, and then server reconnects", () => {
  const { net, client, server } = twoPeers();
  client.connect(server, POLICIES.losslessPeer);
  net.settle();
  net.cut();
  assert.equal(client.session.state, SessionState.Standby);
  say(server.session, "from the server");
  net.settle();
  assert.deepEqual(net.drawn, [
    "client client_ident(a)",
    "server server_ident(b)",
    "server reconnect(a,b)", // the cookies keep their roles
    "client reconnect_ok",
  ]);
  assert.deepEqual(client.received, ["from the server"]);
  talk(net, client, server);
});

for (const resetcheck of [true, false]) {
  const name = `Connection failure after session is established because server reset, and then ` +
    `client reconnects (resetcheck ${resetcheck})`;
  Deno.test(name, () => {
    const { net, client, server } = clientAndServer();
    const policy = resetcheck
      ? POLICIES.losslessClient
      : { ...POLICIES.losslessClient, resetcheck: false };
    const session = client.connect(server, policy);
    net.settle();
    server.restart();
    net.settle();
    assert.deepEqual(net.drawn, [
      "client client_ident(a)",
      "server server_ident(b)",
      "client reconnect(a,b)",
      "server reset_session(T)", // RC*: to a stranger the answer is a full reset
      "client client_ident(c)",
      "server server_ident(d)",
    ]);
    assert.equal(cookies(net, client), "c d");
    assert.deepEqual(client.events, ["connect", "fault", "remoteReset", "connect"]);
    assert.equal(session.state, SessionState.Ready);
    talk(net, client, server);
  });
}

for (const resetcheck of [true, false]) {
  const name = "reset_session(RC*): its full flag is the policy's resetcheck when cookies differ " +
    `(resetcheck ${resetcheck})`;
  Deno.test(name, () => {
    const net = new Net();
    const client = net.node("client");
    const policy = { ...POLICIES.statefulServer, resetcheck };
    const server = net.node("server", { address: "v2:10.0.1.1:3300", policy });
    client.connect(server);
    net.settle();
    net.reachable = false;
    net.cut();
    // The server has met another incarnation of this client meanwhile.
    newCookie(server.messenger.options.crypto, server.session.clientCookie);
    net.reachable = true;
    net.advance(1000);
    const [clientCookie, serverCookie] = resetcheck ? ["c", "d"] : ["a", "c"];
    assert.deepEqual(net.drawn.slice(2), [
      "client reconnect(a,b)",
      `server reset_session(${resetcheck ? "T" : "F"})`,
      `client client_ident(${clientCookie})`,
      `server server_ident(${serverCookie})`,
    ]);
    talk(net, client, server);
  });
}

for (const resetcheck of [true, false]) {
  const name = `Connection failure after session is established because client reset, and then ` +
    `client reconnects (resetcheck ${resetcheck})`;
  Deno.test(name, () => {
    const net = new Net();
    const client = net.node("client", { options: { nonce: 7 } });
    const policy = { ...POLICIES.statefulServer, resetcheck };
    const server = net.node("server", { address: "v2:10.0.1.1:3300", policy });
    client.connect(server);
    net.settle();
    net.cut();
    net.reachable = false;
    say(server.session, "for whom?");
    client.restart();
    net.reachable = true;
    client.connect(server);
    net.settle();
    const idents = net.drawn.filter((words) => !words.includes("reconnect"));
    assert.deepEqual(idents, [
      "client client_ident(a)",
      "server server_ident(b)",
      "client client_ident(c)",
      "server server_ident(d)",
    ]);
    assert.equal(cookies(net, client), "c d");
    assert.equal(server.messenger.sessions.size, 1);
    // "reset if policy.resetcheck": then what was queued for the dead client is dropped.
    assert.deepEqual(client.received, resetcheck ? [] : ["for whom?"]);
    assert.equal(server.messenger.counters.messagesDropped, resetcheck ? 1 : 0);
    assert.equal(server.events.includes("remoteReset"), resetcheck);
    talk(net, client, server);
  });
}
