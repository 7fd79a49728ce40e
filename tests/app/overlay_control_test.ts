/** The control port and its clients over loopback: who is heard, what is answered, and what attackers get. */
import assert from "node:assert/strict";
import { connect as connectTcp, createServer as createTcpServer, type Socket } from "node:net";
import { connect, createServer, type TLSSocket } from "node:tls";
import type { AddressInfo } from "node:net";
import { makeNode } from "../../src/app/overlay/authority.ts";
import { ControlClient } from "../../src/app/overlay/control_client.ts";
import { type AnswerTo, ControlServer, envelope } from "../../src/app/overlay/control_server.ts";
import type { Identity, Peer } from "../../src/app/overlay/identity.ts";
import type { Reach } from "../../src/proto/xbone/machine.ts";
import { MessageFramer, TCP_MESSAGE_MAX } from "../../src/wire/xbone/framing.ts";
import type { Body, Message } from "../../src/wire/xbone/messages.ts";
import { readMessage } from "../../src/wire/xbone/read_message.ts";
import { writeMessage } from "../../src/wire/xbone/write_message.ts";
import { until } from "./standby_rig.ts";
import { Pki } from "./overlay_pki.ts";

const COMMON = { application: "overlay", name: "field", version: "", level: 0 };
const DAY_MS = 86_400_000;

function refresh(epoch: number): Body {
  return { ...COMMON, verb: "refresh", epoch: `${epoch}`.padStart(16, "0") };
}

function ackOf(body: Body): Body {
  const { application, epoch, level, name, version } = body;
  return { application, epoch, level, name, version, verb: "ack-refresh", nodes: [] };
}

/** A node with an open control port, its authority, and a manager that may ask it. */
class Rig implements AsyncDisposable {
  readonly refusals: string[] = [];
  readonly requests: { body: Body; peer: Peer; answer: AnswerTo }[] = [];
  readonly sockets: (Socket | TLSSocket)[] = [];
  readonly clients: ControlClient[] = [];
  answers = true;
  reply: (body: Body) => Body = ackOf;

  private constructor(readonly pki: Pki, readonly node: Identity, readonly manager: Identity) {}

  server!: ControlServer;

  static async open(handshakeMs?: number): Promise<Rig> {
    const pki = await Pki.make("overlay CA", Date.now() - 1000);
    const rig = new Rig(
      pki,
      await pki.identity("gw1", "node"),
      await pki.identity("om1", "manager"),
    );
    rig.server = await ControlServer.open({
      host: "127.0.0.1",
      port: 0,
      identity: rig.node,
      handshakeMs,
      onRequest: (body, peer, answer) => {
        rig.requests.push({ body, peer, answer });
        if (rig.answers) answer(rig.reply(body));
      },
      onRefused: (reason) => void rig.refusals.push(reason),
    });
    return rig;
  }

  get reach(): Reach {
    return { node: "gw1", host: "127.0.0.1", port: this.server.port };
  }

  client(identity: Identity = this.manager): ControlClient {
    const client = new ControlClient(identity, 1000);
    this.clients.push(client);
    return client;
  }

  /** A peer that sends what it likes. */
  async raw(
    identity: Identity = this.manager,
    port: number = this.server.port,
  ): Promise<TLSSocket> {
    const socket = connect({
      host: "127.0.0.1",
      port,
      ca: identity.caPem,
      cert: identity.certificatePem,
      key: identity.keyPem,
      checkServerIdentity: () => undefined,
    });
    this.sockets.push(socket);
    socket.on("error", () => {});
    await new Promise<void>((resolve, reject) => {
      socket.once("secureConnect", resolve);
      socket.once("close", () => reject(new Error("closed")));
    });
    return socket;
  }

  /** A relay to the port that stops taking answers. */
  async deaf(): Promise<{ port: number; stop(): void } & AsyncDisposable> {
    const relay = createTcpServer((socket) => {
      const up = connectTcp(this.server.port, "127.0.0.1");
      for (const each of [socket, up]) each.on("error", () => each.destroy());
      socket.on("close", () => up.destroy());
      up.on("close", () => socket.destroy());
      socket.on("data", (bytes) => void up.write(bytes));
      up.on("data", (bytes) => void socket.write(bytes));
      ups.push(up);
    });
    const ups: Socket[] = [];
    await new Promise<void>((resolve) => relay.listen(0, "127.0.0.1", () => resolve()));
    return {
      port: (relay.address() as AddressInfo).port,
      stop: () => ups.forEach((up) => void up.pause()),
      [Symbol.asyncDispose]: (): Promise<void> => {
        for (const up of ups) up.destroy();
        return new Promise((resolve) => relay.close(() => resolve()));
      },
    };
  }

  /** Sends it and waits until the port ends the connection. */
  async ends(bytes: string | Uint8Array): Promise<void> {
    const socket = await this.raw();
    socket.resume();
    const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
    socket.write(bytes);
    await closed;
  }

  /** It is still there for others. */
  async lives(): Promise<void> {
    const answer = await this.client().request(this.reach, refresh(99), 5000);
    assert.equal(answer.verb, "ack-refresh");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.clients) client.close();
    const closed = this.sockets.filter((socket) => !socket.closed).map((socket) =>
      new Promise<void>((resolve) => socket.once("close", () => resolve()))
    );
    for (const socket of this.sockets) socket.destroy();
    await Promise.all(closed);
    await this.server.close();
    await this.pki[Symbol.asyncDispose]();
  }
}

/** A server that is no daemon: what a client gets from it. */
async function fakeServer(
  identity: Identity,
  take: (socket: TLSSocket, request: Message) => void,
): Promise<{ port: number; accepted(): number } & AsyncDisposable> {
  const sockets = new Set<TLSSocket>();
  let accepted = 0;
  const server = createServer({
    cert: identity.certificatePem,
    key: identity.keyPem,
    ca: identity.caPem,
    requestCert: true,
  }, (socket) => {
    accepted++;
    sockets.add(socket);
    socket.on("error", () => {});
    const framer = new MessageFramer(TCP_MESSAGE_MAX);
    socket.on("data", (bytes: Uint8Array) => {
      framer.push(bytes);
      for (let next = framer.next(); next !== null; next = framer.next()) {
        const read = readMessage(next, TCP_MESSAGE_MAX);
        assert.ok("message" in read);
        take(socket, read.message);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  return {
    port: (server.address() as AddressInfo).port,
    accepted: () => accepted,
    async [Symbol.asyncDispose](): Promise<void> {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

Deno.test("answers carry the number of their request, in any order, over one connection", async () => {
  await using rig = await Rig.open();
  rig.answers = false;
  const client = rig.client();
  const asked = [1, 2, 3].map((epoch) => client.request(rig.reach, refresh(epoch), 5000));
  await until("all came", () => rig.requests.length === 3);
  for (const { answer, body } of rig.requests.toReversed()) answer(ackOf(body));
  const answers = await Promise.all(asked);
  assert.deepEqual(answers.map(({ epoch }) => Number(epoch)), [1, 2, 3]);
  assert.equal(rig.server.counts.accepted, 1);
  assert.equal(rig.server.counts.answers, 3);
  assert.deepEqual(rig.requests[0]!.peer, { name: "om1", role: "manager", email: "" });
});

Deno.test("who is not of our authority is not heard: foreign, none, expired, no TLS", async () => {
  await using rig = await Rig.open();
  await using foreign = await Pki.make("other CA", Date.now() - 1000);
  const { port } = rig.server;
  const stranger = await foreign.identity("om1", "manager");
  const old = makeNode(
    rig.pki,
    { name: "om1", role: "manager", email: "" },
    1,
    Date.now() - 5 * DAY_MS,
  );
  const shown = [
    { cert: stranger.certificatePem, key: stranger.keyPem },
    { cert: old.certificatePem, key: old.keyPem },
    {},
  ];
  for (const [index, own] of shown.entries()) {
    const socket = connect({
      ...{ host: "127.0.0.1", port, ca: rig.pki.caPem, ...own },
      checkServerIdentity: () => undefined,
    });
    rig.sockets.push(socket);
    socket.on("error", () => {});
    socket.on("secureConnect", () => void socket.write(writeMessage(envelope(1, refresh(1)))));
    socket.resume();
    await new Promise<void>((resolve) => socket.once("close", () => resolve()));
    await until("it is counted", () => rig.server.counts.refused === index + 1);
  }
  const plain = connectTcp(port, "127.0.0.1", () => void plain.write("GET / HTTP/1.1\r\n\r\n"));
  rig.sockets.push(plain);
  plain.on("error", () => {});
  plain.resume();
  await new Promise<void>((resolve) => plain.once("close", () => resolve()));
  await until("it is counted", () => rig.server.counts.refused === 4);
  assert.equal(rig.refusals.length, 4);
  for (const reason of rig.refusals) assert.notEqual(reason, "");
  assert.equal(rig.requests.length, 0);
  await rig.lives();
});

Deno.test("a client asks a name, not an address: another node, another authority, an operator", async () => {
  await using rig = await Rig.open();
  await using foreign = await Pki.make("other CA", Date.now() - 1000);
  const client = rig.client();
  const ask = (reach: Partial<Reach>): Promise<Body> =>
    client.request({ ...rig.reach, ...reach }, refresh(1), 5000);
  await assert.rejects(ask({ node: "gw2" }), /another node is there: current value is gw1/);
  await using fake = await fakeServer(await foreign.identity("gw1", "node"), () => {});
  await assert.rejects(ask({ port: fake.port }), /certificate|issuer|signer|trust/i);
  await using operator = await fakeServer(await rig.pki.identity("op1", "operator"), () => {});
  await assert.rejects(ask({ node: "op1", port: operator.port }), /op1 is an operator/);
  await rig.lives();
});

Deno.test("no answer is an error with its reason: refused, closed, garbage, silent", async () => {
  await using rig = await Rig.open();
  const client = rig.client();
  const gw2 = await rig.pki.identity("gw2", "node");
  const ask = async (port: number, waitMs: number): Promise<Body> =>
    await client.request({ node: "gw2", host: "127.0.0.1", port }, refresh(1), waitMs);
  await assert.rejects(ask(1, 5000), /ECONNREFUSED|refused/);
  await using closes = await fakeServer(gw2, (socket) => socket.destroy());
  await assert.rejects(ask(closes.port, 5000), /connection ended|reset/i);
  await using garbage = await fakeServer(gw2, (socket) => void socket.write("HTTP/1.1 200 OK\r\n"));
  await assert.rejects(ask(garbage.port, 5000), /a message must begin with \(/);
  await using other = await fakeServer(
    gw2,
    (socket) => void socket.write("(no message)XBoneEOC\n"),
  );
  await assert.rejects(ask(other.port, 5000), /cannot be read: .*xbonecontrol/);
  await using deep = await fakeServer(gw2, (socket) => void socket.write("(".repeat(10_000)));
  await assert.rejects(ask(deep.port, 5000), /at most \d+ deep/);
  let quiet = true;
  await using silent = await fakeServer(gw2, (socket, { body, sequence }) => {
    if (!quiet) socket.write(writeMessage(envelope(sequence, ackOf(body))));
  });
  await assert.rejects(ask(silent.port, 50), /no answer within 0.05 s/);
  quiet = false;
  assert.equal((await ask(silent.port, 5000)).verb, "ack-refresh");
  assert.equal(silent.accepted(), 2, "a line on which nothing came is not used again");
});

Deno.test("a line that one request gave up is still there for those that wait on it", async () => {
  await using rig = await Rig.open();
  rig.answers = false;
  const client = rig.client();
  const patient = client.request(rig.reach, refresh(1), 5000);
  await assert.rejects(client.request(rig.reach, refresh(2), 50), /no answer/);
  const next = client.request(rig.reach, refresh(3), 5000);
  await until("all came", () => rig.requests.length === 3);
  assert.equal(rig.server.counts.accepted, 2);
  for (const { answer, body } of rig.requests) answer(ackOf(body));
  assert.equal(Number((await patient).epoch), 1);
  assert.equal(Number((await next).epoch), 3);
});

Deno.test("a client that is closed tells everybody who waits", async () => {
  await using rig = await Rig.open();
  rig.answers = false;
  const client = rig.client();
  const asked = [1, 2].map((epoch) => client.request(rig.reach, refresh(epoch), 60_000));
  await until("they came", () => rig.requests.length === 2);
  client.close();
  for (const each of asked) await assert.rejects(each, /connection ended/);
});

Deno.test("what is no message ends the connection, with a reason, and nobody else's", async () => {
  await using rig = await Rig.open();
  const message = writeMessage(envelope(7, refresh(1)));
  const cases: [string | Uint8Array, RegExp][] = [
    ["GET / HTTP/1.1\r\n\r\n", /must begin with \(/],
    ["(".repeat(10_000), /at most \d+ deep/],
    ["(hello)XBoneEOC\n", /must begin with xbonecontrol/],
    [crypto.getRandomValues(new Uint8Array(4096)), /a message must|Cannot/],
    [message.replace("XBoneEOC", "XBoneEOF"), /must end with XBoneEOC/],
    [message.replaceAll(/\(refresh.*\)\)/gs, "(ack-stop))"), /Cannot|must/],
    [message.replace("(seq_no 7)", "(seq_no -7)").replace(" 7", " -7"), /seq_no/],
  ];
  for (const [bytes, reason] of cases) {
    const before = rig.refusals.length;
    await rig.ends(bytes);
    assert.match(rig.refusals[before] ?? "none", reason);
    assert.match(rig.refusals[before]!, /^om1: /);
  }
  assert.equal(rig.server.counts.malformed, cases.length);
  assert.equal(rig.requests.length, 0);
  await rig.lives();
});

Deno.test("an endless message is let go at the limit, not at the end of memory", async () => {
  await using rig = await Rig.open();
  const socket = await rig.raw();
  let isClosed = false;
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()))
    .then(() => isClosed = true);
  socket.write("(xbonecontrol ");
  const piece = "a".repeat(1024 * 1024);
  for (
    let sent = 0;
    !isClosed && sent < TCP_MESSAGE_MAX + 20 * piece.length;
    sent += piece.length
  ) {
    await Promise.race([
      closed,
      new Promise<void>((resolve) => socket.write(piece, () => resolve())),
    ]);
  }
  await until("it is let go", () => isClosed);
  assert.match(rig.refusals.join(), /at most 8388608 bytes/);
  assert.equal(rig.server.counts.malformed, 1);
  await rig.lives();
});

Deno.test("an unknown verb and another major version get a NACK, a minor one is read", async () => {
  await using rig = await Rig.open();
  const socket = await rig.raw();
  const framer = new MessageFramer(TCP_MESSAGE_MAX);
  const answers: Message[] = [];
  socket.on("data", (bytes: Uint8Array) => {
    framer.push(bytes);
    for (let next = framer.next(); next !== null; next = framer.next()) {
      const read = readMessage(next, TCP_MESSAGE_MAX);
      assert.ok("message" in read, JSON.stringify(read));
      answers.push(read.message);
    }
  });
  const text = writeMessage(envelope(7, refresh(1)));
  socket.write(text.replace("(refresh", "(dance"));
  socket.write(text.replace(" 1.0", " 2.0").replace(/ 7\b/, " 8"));
  socket.write(text.replace(" 1.0", " 1.9").replace(/ 7\b/, " 9"));
  await until("all are answered", () => answers.length === 3);
  const [verb, major, minor] = answers;
  assert.deepEqual([verb!.sequence, major!.sequence, minor!.sequence], [7, 8, 9]);
  assert.ok(verb!.body.verb === "nack" && verb!.body.of === "dance", JSON.stringify(verb));
  assert.match(verb!.body.reason, /must be a verb of the protocol: current value is dance/);
  assert.equal(verb!.body.node, "gw1");
  assert.ok(major!.body.verb === "nack" && /must be 1\.x/.test(major!.body.reason));
  assert.equal(minor!.body.verb, "ack-refresh");
  assert.equal(rig.server.counts.malformed, 2);
});

Deno.test("half a message keeps nobody waiting; a whole one may come byte by byte", async () => {
  await using rig = await Rig.open();
  const text = writeMessage(envelope(7, refresh(1)));
  const half = await rig.raw();
  half.write(text.slice(0, text.length / 2));
  await rig.lives();
  const slow = await rig.raw();
  const answered = new Promise<void>((resolve) => slow.once("data", () => resolve()));
  for (const letter of text) {
    await new Promise<void>((resolve) => slow.write(letter, () => resolve()));
  }
  await answered;
  assert.equal(rig.requests.length, 2);
});

Deno.test("a thousand connections without a handshake keep nobody out, and are let go", async () => {
  await using rig = await Rig.open(1000);
  const { port } = rig.server;
  let closed = 0;
  await Promise.all(Array.from({ length: 1000 }, () =>
    new Promise<void>((resolve) => {
      const socket = connectTcp(port, "127.0.0.1", () => resolve());
      socket.on("error", () => {});
      socket.on("close", () => void closed++);
      socket.resume();
      rig.sockets.push(socket);
    })));
  await rig.lives();
  await until("most were let go", () => closed >= 700);
  assert.match(rig.refusals.join(), /256 handshakes are not finished/);
  await until("the others took too long", () => closed === 1000);
  assert.equal(rig.server.counts.refused, rig.refusals.length);
  await rig.lives();
});

Deno.test("a port that is closed does not wait for handshakes", async () => {
  const rig = await Rig.open();
  const socket = connectTcp(rig.server.port, "127.0.0.1");
  rig.sockets.push(socket);
  socket.on("error", () => {});
  await new Promise<void>((resolve) => socket.once("connect", () => resolve()));
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  socket.resume();
  await rig.lives();
  const beganMs = performance.now();
  await rig[Symbol.asyncDispose]();
  await closed;
  assert.ok(performance.now() - beganMs < 5000);
});

Deno.test("one peer has eight connections: its oldest one ends, others' stay", async () => {
  await using rig = await Rig.open();
  const other = await rig.raw(await rig.pki.identity("om2", "manager"));
  const ended: number[] = [];
  for (let count = 0; count < 10; count++) {
    const socket = await rig.raw();
    socket.resume();
    socket.once("close", () => void ended.push(count));
  }
  await until("the oldest ended", () => ended.length === 2);
  assert.deepEqual(ended, [0, 1]);
  assert.ok(!other.closed);
  assert.equal(rig.refusals.length, 2);
  assert.match(rig.refusals[0]!, /om1 has 8 connections/);
});

Deno.test("who asks and never reads is let go: requests, and what is refused", async () => {
  await using rig = await Rig.open();
  const own = { of: "refresh", node: "gw1", step: "", reason: "long ".repeat(2000) } as const;
  rig.reply = (body) => {
    const { application, epoch, level, name, version } = body;
    return { application, epoch, level, name, version, verb: "nack", ...own };
  };
  const text = writeMessage(envelope(7, refresh(1)));
  for (const piece of [text, text.replace("(refresh", `(${"dance".repeat(6)}`)]) {
    const before = rig.server.counts.refused;
    await using relay = await rig.deaf();
    const socket = await rig.raw(rig.manager, relay.port);
    relay.stop();
    const pieces = piece.repeat(100);
    for (let sent = 0; sent < 2000 && rig.server.counts.refused === before; sent++) {
      await Promise.race([
        new Promise<void>((resolve) => socket.write(pieces, () => resolve())),
        new Promise<void>((resolve) => setTimeout(resolve, 20)),
      ]);
    }
    await until("it was let go", () => rig.server.counts.refused > before);
    assert.match(rig.refusals.at(-1)!, /om1 does not read its answers/);
    socket.destroy();
  }
  rig.reply = ackOf;
  await rig.lives();
});

Deno.test("who asks faster than anybody can answer is let go", async () => {
  await using rig = await Rig.open();
  rig.answers = false;
  await rig.ends(writeMessage(envelope(7, refresh(1))).repeat(300));
  assert.equal(rig.requests.length, 256);
  assert.match(rig.refusals.join(), /om1: 256 requests wait/);
  assert.equal(rig.server.counts.refused, 1);
  for (const { answer, body } of rig.requests) answer(ackOf(body)); // nobody is there any more
  rig.answers = true;
  await rig.lives();
});

Deno.test("a port that somebody has is told, with what to do", async () => {
  await using rig = await Rig.open();
  const taken = createTcpServer();
  await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", () => resolve()));
  const { port } = taken.address() as AddressInfo;
  await assert.rejects(
    ControlServer.open({
      ...{ host: "127.0.0.1", port, identity: rig.node },
      onRequest: () => {},
      onRefused: () => {},
    }),
    new RegExp(`Cannot open the control port as .*: current value is 127.0.0.1:${port}, give`),
  );
  await new Promise<void>((resolve) => taken.close(() => resolve()));
});
