/** The datagrams of a control port over loopback: groups, signatures, replays, floods. */
import assert from "node:assert/strict";
import { createSocket, type Socket } from "node:dgram";
import {
  ControlDatagrams,
  type ControlDatagramsOptions,
  type DatagramCounts,
} from "../../src/app/overlay/control_datagrams.ts";
import { envelope } from "../../src/app/overlay/control_server.ts";
import type { Identity } from "../../src/app/overlay/identity.ts";
import { SignedDatagrams, type Signer } from "../../src/app/overlay/signed_datagram.ts";
import type { Body, Message } from "../../src/wire/xbone/messages.ts";
import { writeMessage } from "../../src/wire/xbone/write_message.ts";
import { Pki } from "./overlay_pki.ts";
import { until } from "./standby_rig.ts";

const GROUP = "239.255.2.66";
const COMMON = { application: "overlay", name: "field", version: "", level: 0 };

function release(epoch: number): Body {
  return { ...COMMON, verb: "release", keep: [], epoch: `${epoch}`.padStart(16, "0") };
}

function bytesOf(message: Message): Uint8Array {
  return new TextEncoder().encode(writeMessage(message));
}

/** Everything that a test opens, closed again. */
class Rig implements AsyncDisposable {
  readonly heard: { message: Message; signer: Signer; from: string }[] = [];
  readonly refusals: string[] = [];
  readonly #open: { close(): Promise<void> }[] = [];

  private constructor(readonly pki: Pki, readonly manager: Identity, readonly node: Identity) {}

  static async make(): Promise<Rig> {
    const pki = await Pki.make("overlay CA", Date.now() - 1000);
    const manager = await pki.identity("om1", "manager");
    return new Rig(pki, manager, await pki.identity("gw1", "node"));
  }

  async open(
    identity: Identity,
    options: Partial<ControlDatagramsOptions> = {},
  ): Promise<ControlDatagrams> {
    const datagrams = await ControlDatagrams.open({
      ...{ host: "127.0.0.1", port: 0, group: null, interface: "" },
      signed: new SignedDatagrams(identity),
      onMessage: (message, signer, from) => void this.heard.push({ message, signer, from }),
      onRefused: (reason) => void this.refusals.push(reason),
      ...options,
    });
    this.#open.push(datagrams);
    return datagrams;
  }

  /** A socket that sends whatever it likes. */
  raw(): Socket {
    const socket = createSocket("udp4");
    this.#open.push({
      close: () => new Promise<void>((resolve) => socket.close(() => resolve())),
    });
    return socket;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const each of this.#open) await each.close();
    await this.pki[Symbol.asyncDispose]();
  }
}

function send(socket: Socket, bytes: Uint8Array, port: number): Promise<void> {
  return new Promise((resolve, reject) =>
    socket.send(bytes, port, "127.0.0.1", (error) => error ? reject(error) : resolve())
  );
}

/** One at a time, so that the kernel has room for each. */
async function deliver(
  socket: Socket,
  bytes: Uint8Array,
  port: number,
  counts: DatagramCounts,
): Promise<void> {
  const before = counts.received;
  await send(socket, bytes, port);
  for (let turn = 0; counts.received === before; turn++) {
    assert.ok(turn < 5000, "it came");
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

Deno.test("two members of a group hear one invitation, with who signed it", async () => {
  await using rig = await Rig.make();
  const inGroup = { host: "0.0.0.0", group: GROUP, interface: "127.0.0.1" };
  const first = await rig.open(rig.node, inGroup);
  const second = await rig.open(await rig.pki.identity("gw2", "node"), {
    ...inGroup,
    port: first.port,
  });
  const sender = await rig.open(rig.manager, { interface: "127.0.0.1" });
  sender.send(envelope(7, release(1)), GROUP, first.port, 1);
  await until("both heard it", () => rig.heard.length === 2);
  assert.equal(second.port, first.port);
  for (const { from, message, signer } of rig.heard) {
    assert.equal(message.sequence, 7);
    assert.deepEqual(message.body, release(1));
    assert.deepEqual(signer, { name: "om1", role: "manager", email: "" });
    assert.equal(from, `127.0.0.1:${sender.port}`);
  }
  assert.equal(first.counts.received + second.counts.received, 2);
  assert.equal(sender.counts.sent, 1);
});

Deno.test("a captured datagram counts once, an old one never, and not that of another authority", async () => {
  await using rig = await Rig.make();
  await using foreign = await Pki.make("other CA", Date.now() - 1000);
  const { counts, port } = await rig.open(rig.node);
  const socket = rig.raw();
  const signed = new SignedDatagrams(rig.manager);
  const captured = signed.sign(bytesOf(envelope(7, release(1))));
  for (let count = 0; count < 3; count++) await send(socket, captured, port);
  await until("all came", () => counts.received === 3);
  assert.equal(rig.heard.length, 1);
  assert.equal(counts.replayed, 2);
  assert.match(rig.refusals[0]!, /^om1: .*heard before: current value is sequence 7 of epoch/);

  for (const lateMs of [-61_000, 61_000]) {
    await send(socket, signed.sign(bytesOf(envelope(8, release(1))), Date.now() + lateMs), port);
  }
  const stranger = new SignedDatagrams(await foreign.identity("om1", "manager"));
  await send(socket, stranger.sign(bytesOf(envelope(9, release(1)))), port);
  await until("all came", () => counts.received === 6);
  assert.equal(counts.unsigned, 3);
  assert.match(rig.refusals[2]!, /signingTime.*compare the clocks/);
  assert.match(rig.refusals[4]!, /issue|trust|CA/);
  assert.equal(rig.heard.length, 1);
});

Deno.test("what was changed on the way is not heard, wherever it was changed", async () => {
  await using rig = await Rig.make();
  const { counts, port } = await rig.open(rig.node);
  const socket = rig.raw();
  const datagram = new SignedDatagrams(rig.manager).sign(bytesOf(envelope(7, release(1))));
  const places = Array.from({ length: 64 }, (_, at) => Math.floor(at * datagram.length / 64));
  for (const at of places) {
    const changed = datagram.slice();
    changed[at]! ^= 1;
    await deliver(socket, changed, port, counts);
  }
  for (const size of [0, 1, 100, datagram.length - 1]) {
    await deliver(socket, datagram.subarray(0, size), port, counts);
  }
  await deliver(socket, crypto.getRandomValues(new Uint8Array(60_000)), port, counts);
  const all = places.length + 5;
  assert.equal(counts.unsigned, all);
  assert.equal(rig.refusals.length, all);
  assert.ok(rig.refusals.every((reason) => reason !== ""));
  assert.equal(rig.heard.length, 0);
  await send(socket, datagram, port);
  await until("it lives", () => rig.heard.length === 1);
});

Deno.test("a member that signs what is no message is named", async () => {
  await using rig = await Rig.make();
  const { counts, port } = await rig.open(rig.node);
  const socket = rig.raw();
  const signed = new SignedDatagrams(rig.manager);
  const text = writeMessage(envelope(7, release(1)));
  const contents = ["", "hello", "(".repeat(10_000), text + text, text.replace("release", "dance")];
  for (const content of contents) {
    await send(socket, signed.sign(new TextEncoder().encode(content)), port);
  }
  await send(socket, signed.sign(new Uint8Array(60_001).fill(0x20)), port);
  await until("all came", () => counts.received === contents.length + 1);
  assert.equal(counts.malformed, contents.length + 1);
  for (const reason of rig.refusals) assert.match(reason, /^om1: Cannot/);
  assert.equal(rig.heard.length, 0);
});

Deno.test("a flood from one address costs no signatures after the limit, and ends with its second", async () => {
  await using rig = await Rig.make();
  const { counts, port } = await rig.open(rig.node);
  const socket = rig.raw();
  const noise = new Uint8Array(64);
  for (let sent = 0; sent < 5000 && counts.limited < 100; sent++) {
    await send(socket, noise, port);
    // The receiver's turn: the kernel's buffer holds fewer than the limit.
    if (sent % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await until("the limit holds", () => counts.limited >= 100);
  assert.ok(counts.unsigned >= 200);
  assert.equal(counts.received, counts.unsigned + counts.limited);
  const signed = new SignedDatagrams(rig.manager);
  let sequence = 0;
  // Within its second even what is signed is dropped.
  while (rig.heard.length === 0) {
    assert.ok(sequence < 200, "it is heard again");
    await send(socket, signed.sign(bytesOf(envelope(++sequence, release(1)))), port);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
});

Deno.test("what is too long to be a datagram, and a port that cannot be had, are told", async () => {
  await using rig = await Rig.make();
  const datagrams = await rig.open(rig.manager);
  const { port } = datagrams;
  const name = "a".repeat(60);
  const body: Body = {
    ...COMMON,
    verb: "ack-dispatch",
    epoch: "0".repeat(16),
    nodes: Array.from({ length: 512 }, (_, at) => (
      {
        name,
        node: `${name}${at}`,
        hostname: name,
        ipaddr: "10.0.0.1",
        mtu: 1500,
        capabilities: [],
      }
    )),
  };
  assert.throws(
    () => datagrams.send(envelope(1, body), "127.0.0.1", port, 0),
    /Cannot sign a message as a datagram has 65507 bytes at most/,
  );
  datagrams.send(envelope(1, release(1)), "256.0.0.1", port, 0);
  await until("nobody took it", () => datagrams.counts.unsent === 1);
  await assert.rejects(
    rig.open(rig.node, { host: "192.0.2.1", port: 5 }),
    /Cannot hear invitations as .*: current value is 192.0.2.1:5, give another address/,
  );
  await assert.rejects(
    rig.open(rig.node, { host: "0.0.0.0", group: "10.0.0.1" }),
    /Cannot hear invitations as .* in group 10.0.0.1/,
  );
});
