/**
 * "This was addressed by disconnecting before the counter repeats (CVE-2020-1759)": no nonce is
 * ever used twice under one key, and the session does not notice.
 */
import assert from "node:assert/strict";
import { gcmMaker } from "../../src/io/libcrypto.ts";
import { arenaTaken } from "../../src/mem/arena.ts";
import { POLICIES } from "../../src/proto/msgr2/policy.ts";
import type { Aead, AeadMaker } from "../../src/wire/msgr2/aead.ts";
import { FrameFormat } from "../../src/wire/msgr2/frame.ts";
import { Nonce } from "../../src/wire/msgr2/nonce.ts";
import { ModelNonce, pattern } from "../wire/frame_model.ts";
import { Link, say } from "./link.ts";

const SECURE = [
  { format: FrameFormat.Secure20, name: "msgr2.0-secure" },
  { format: FrameFormat.Secure21, name: "msgr2.1-secure" },
] as const;

const STARTS = [
  { revision: 0, start: "fdffffff0102030405060708", after: "020000000102030405060708" },
  { revision: 0, start: "ffffff7fffffffffffffffff", after: "04000080ffffffffffffffff" },
  { revision: 1, start: "01020304fdffffff00000000", after: "010203040200000001000000" },
  { revision: 1, start: "ffffffffffffffffffffffff", after: "ffffffff0400000000000000" },
  { revision: 1, start: "00000000ffffff7fffffff7f", after: "0000000004000080ffffff7f" },
];

Deno.test.each(STARTS)("revision $revision from $start, five operations on", (row) => {
  const { revision, start, after } = row;
  const nonce = new Nonce(Uint8Array.fromHex(start), revision);
  const model = new ModelNonce(Uint8Array.fromHex(start), revision);
  for (let index = 0; index < 5; index++) {
    assert.deepEqual(nonce.bytes, model.next());
    assert.ok(nonce.allows(3), "passing 0 is legal: the start is random");
    nonce.advance();
  }
  assert.equal(nonce.bytes.toHex(), after);
});

Deno.test("allows() ends before the start value comes back", () => {
  for (const revision of [0, 1]) {
    const nonce = new Nonce(new Uint8Array(12), revision, 4);
    const allowed: boolean[] = [];
    for (let index = 0; index < 7; index++) {
      allowed.push(nonce.allows(1), nonce.allows(3));
      nonce.advance();
    }
    const [yes, no] = [true, false];
    assert.deepEqual(allowed, [yes, yes, yes, yes, yes, no, yes, no, no, no, no, no, no, no]);
  }
  const boundary = new Nonce(new Uint8Array(12), 1, 2 ** 30 + 1);
  for (let index = 0; index < 5; index++) {
    assert.ok(boundary.allows(3));
    boundary.advance();
  }
  assert.ok(new Nonce(new Uint8Array(12), 0).allows(2 ** 30));
  assert.ok(new Nonce(new Uint8Array(12), 1).allows(2 ** 30));
});

Deno.test("the start value is the caller's, and stays", () => {
  const start = pattern(40, 3);
  const nonce = new Nonce(start, 1);
  nonce.advance();
  assert.deepEqual(start, pattern(40, 3));
  assert.equal(nonce.bytes.length, 12);
});

/** Notes what every operation was done under. */
class Recorder implements AeadMaker {
  readonly sealed = new Set<string>();
  readonly keys = new Set<string>();
  repeated = 0;
  unsealed = 0;
  open = 0;
  readonly #maker = gcmMaker();

  sealer(key: Uint8Array): Aead {
    const name = key.toHex();
    this.keys.add(name);
    return this.#watch(this.#maker.sealer(key), (nonce) => {
      const used = `${name} ${nonce.toHex()}`;
      if (this.sealed.has(used)) this.repeated++;
      this.sealed.add(used);
    });
  }

  opener(key: Uint8Array): Aead {
    const name = key.toHex();
    return this.#watch(this.#maker.opener(key), (nonce) => {
      if (!this.sealed.has(`${name} ${nonce.toHex()}`)) this.unsealed++;
    });
  }

  #watch(aead: Aead, begins: (nonce: Uint8Array) => void): Aead {
    this.open++;
    return {
      begin: (nonce): void => {
        begins(nonce);
        aead.begin(nonce);
      },
      update: (from, to, length): void => aead.update(from, to, length),
      finish: (tagAt): boolean => aead.finish(tagAt),
      free: (): void => {
        this.open--;
        aead.free();
      },
    };
  }
}

const ROWS = SECURE.flatMap(({ format, name }) =>
  [13, 16, 29, 64].map((nonceOperations) => ({ format, name, nonceOperations }))
);

Deno.test.each(ROWS)("$name: $nonceOperations operations a connection, nothing is lost", (row) => {
  const { format, nonceOperations } = row;
  const start = arenaTaken();
  const aead = new Recorder();
  const link = new Link({ format, options: { nonceOperations, aead } });
  link.ready();
  const expected: string[] = [];
  let back = 0;
  let seed = nonceOperations;
  const random = (limit: number): number => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor(seed / 2 ** 32 * limit);
  };
  for (let index = 0; index < 300; index++) {
    const text = `${index}`.padEnd(random(random(10) === 0 ? 300_000 : 500), ".");
    expected.push(text);
    assert.ok(say(link, text) > 0);
    if (random(4) === 0) {
      link.serverSession.send({ type: 0xfa02, front: pattern(random(400), 1) });
      back++;
    }
    if (random(5) === 0) link.near?.sendKeepalive(index, 0);
    if (random(3) === 0) link.settle();
  }
  link.settle();
  assert.deepEqual(link.received, expected);
  assert.equal(link.session.messagesReceived, back);
  assert.equal(link.session.unacknowledged, 0);
  assert.equal(link.serverSession.unacknowledged, 0);
  assert.equal(aead.repeated, 0, "a nonce was used twice");
  assert.equal(aead.unsealed, 0);
  assert.equal(aead.keys.size, link.connections, "each connection has a key of its own");
  assert.ok(link.connections > 300 / nonceOperations, `${link.connections} connections`);
  const { client, server } = link;
  const remade = (client.counters.closed.get("nonce") ?? 0) +
    (server.counters.closed.get("nonce") ?? 0);
  assert.equal(remade, link.connections - 1);
  link.close();
  assert.equal(aead.open, 0, "every cipher is freed");
  assert.equal(arenaTaken(), start);
});

Deno.test.each(SECURE)("$name: ACKs and keepalives alone use nonces up too", ({ format }) => {
  const aead = new Recorder();
  const link = new Link({ format, options: { nonceOperations: 20, aead } });
  link.ready();
  for (let index = 0; index < 100; index++) {
    link.near.sendKeepalive(index, 0);
    link.settle();
  }
  assert.ok(link.connections > 5);
  assert.equal(aead.repeated, 0);
  say(link, "still here");
  link.settle();
  assert.deepEqual(link.received, ["still here"]);
  link.close();
});

Deno.test.each(SECURE)("$name: a lossy session ends when its nonces do", ({ format }) => {
  const aead = new Recorder();
  const link = new Link({
    format,
    clientPolicy: POLICIES.lossyClient,
    serverPolicy: POLICIES.statelessServer,
    options: { nonceOperations: 20, aead },
  });
  link.ready();
  for (let index = 0; index < 60 && link.session.stateName === "ready"; index++) {
    say(link, `${index}`);
    link.settle();
  }
  assert.equal(link.session.stateName, "closed");
  assert.equal(link.client.counters.closed.get("nonce"), 1);
  assert.deepEqual(link.received, link.received.map((_, index) => `${index}`));
  assert.ok(link.received.length > 3);
  assert.equal(aead.repeated, 0);
  link.close();
});
