/** What a third party with a keyring hears of real cephx handshakes, and of damaged ones. */
import assert from "node:assert/strict";
import { U64 } from "../../src/mem/u64.ts";
import { CephxListener } from "../../src/proto/boundary/cephx_listener.ts";
import { KeyChest } from "../../src/proto/boundary/key_chest.ts";
import type { AuthClient, AuthServer } from "../../src/proto/msgr2/auth.ts";
import { decodeKey, generateKey, KeyType } from "../../src/wire/cephx/crypto_key.ts";
import { AuthMode, encodeIdentity } from "../../src/wire/cephx/entity_name.ts";
import { Keyring } from "../../src/wire/cephx/keyring.ts";
import { AuthMethod, ConMode } from "../../src/wire/msgr2/auth.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";
import { CAPTURES } from "../cephx/captures.ts";
import { crypto, run, World } from "../cephx/pair.ts";

const SERVICES = EntityType.Mon | EntityType.Osd;

const KINDS = [
  { type: KeyType.Aes, mode: ConMode.Crc, name: "aes, crc" },
  { type: KeyType.Aes, mode: ConMode.Secure, name: "aes, secure" },
  { type: KeyType.Aes256k, mode: ConMode.Crc, name: "aes256k, crc" },
  { type: KeyType.Aes256k, mode: ConMode.Secure, name: "aes256k, secure" },
];

/** One handshake as it was on the wire. */
interface Heard {
  readonly payloads: readonly Uint8Array[];
  readonly mode: number;
  readonly globalId: U64;
  readonly secret: Uint8Array;
  readonly sessionKey: Uint8Array;
}

function handshake(
  client: AuthClient & { handleBad(result: number): boolean },
  server: AuthServer,
  mode: number,
): Heard {
  const { end, payloads } = run(client, server, mode);
  assert.equal(end, "authenticated");
  const { connectionSecret: secret, sessionKey } = client;
  return { payloads, mode, globalId: server.globalId, secret, sessionKey };
}

/** Gives the payloads to a listener; what was read of each. */
function hear(
  listener: CephxListener,
  { payloads, mode, globalId }: Pick<Heard, "payloads" | "mode" | "globalId">,
): Record<string, unknown>[] {
  const told: Record<string, unknown>[] = [];
  listener.handleRequest(AuthMethod.Cephx, payloads[0]!);
  told.push(listener.describe());
  listener.handleReplyMore(payloads[1]!);
  told.push(listener.describe());
  listener.handleRequestMore(payloads[2]!);
  told.push(listener.describe());
  listener.handleDone(globalId, mode, payloads[3]!);
  told.push(listener.describe());
  return told;
}

/** What was opened is what both ends have. */
function assertOpened(listener: CephxListener, heard: Heard, entity: string): void {
  assert.equal(listener.refusal, "");
  assert.equal(listener.entity, entity);
  assert.deepEqual(listener.sessionKey, heard.sessionKey);
  assert.deepEqual(listener.secret, heard.mode === ConMode.Secure ? heard.secret : null);
}

/** Nothing was opened, and why is told. */
function assertShut(listener: CephxListener, why: RegExp): void {
  assert.match(listener.refusal, why);
  assert.equal(listener.secret, null);
  assert.equal(listener.sessionKey, null);
}

/** A client with tickets; its handshake is not heard. */
function ticketed(world: World): ReturnType<World["client"]> {
  const client = world.client(World.GATEWAY, undefined, SERVICES);
  handshake(client.toMon(), world.server.attempt(), ConMode.Secure);
  return client;
}

Deno.test.each(KINDS)("$name: a monitor, a service by its ticket, the monitor again", (row) => {
  const { type, mode } = row;
  const world = new World(type);
  const chest = new KeyChest(crypto, world.keyring);
  const client = world.client(World.GATEWAY, undefined, SERVICES);
  for (let round = 0; round < 3; round++) {
    const mon = handshake(client.toMon(), world.server.attempt(), mode);
    const atMon = new CephxListener(chest);
    const told = hear(atMon, mon);
    assertOpened(atMon, mon, "client.gw1");
    assert.equal(told[2]!.proof, "right");
    const tickets = told[3]!.tickets as { service: string; wrapped: boolean; secret_id: string }[];
    assert.deepEqual(tickets.map(({ service }) => service), ["auth", "mon", "osd"]);
    assert.equal(tickets[0]!.wrapped, round > 0); // with the session key of the round before
    assert.ok(tickets.every(({ secret_id }) => /^0x/.test(secret_id)), "all were unwrapped");
    const osd = handshake(client.toService(EntityType.Osd)!, world.server.attempt(), mode);
    const atOsd = new CephxListener(chest);
    const [request, , more, done] = hear(atOsd, osd);
    assertOpened(atOsd, osd, "client.gw1");
    assert.equal(request!.service, "osd");
    assert.equal(request!.nonce, more!.nonce);
    assert.equal(BigInt(request!.nonce as string) + 1n, BigInt(done!.nonce_plus_one as string));
  }
});

Deno.test.each(KINDS)("$name: a capture that begins when a global_id is reclaimed", (row) => {
  const world = new World(row.type);
  const chest = new KeyChest(crypto, world.keyring);
  const client = ticketed(world);
  const mon = handshake(client.toMon(), world.server.attempt(), row.mode);
  const listener = new CephxListener(chest);
  const told = hear(listener, mon);
  assertOpened(listener, mon, "client.gw1");
  const [auth] = told[3]!.tickets as { wrapped: boolean; secret_id?: string }[];
  assert.deepEqual([auth!.wrapped, auth!.secret_id], [true, undefined]);
  const osd = handshake(client.toService(EntityType.Osd)!, world.server.attempt(), row.mode);
  hear(listener, osd);
  assertOpened(listener, osd, "client.gw1");
});

Deno.test.each(KINDS)("$name: monitor to monitor opens with the key of mon.", ({ type, mode }) => {
  const world = new World(type);
  world.clientSeconds = world.serverSeconds; // its ticket tells the time of who made it
  const mon = handshake(world.client(World.MON).toPeerMon(), world.server.attempt(), mode);
  const listener = new CephxListener(new KeyChest(crypto, world.keyring));
  const [request] = hear(listener, mon);
  assertOpened(listener, mon, "mon.");
  assert.equal(request!.caps, "allow *");
  const without = new CephxListener(new KeyChest(crypto, new Keyring()));
  hear(without, mon);
  assertShut(without, /no key of mon\..*add it/);
  const other = new Keyring([{ name: World.MON, key: world.newKey() }]);
  const wrong = new CephxListener(new KeyChest(crypto, other));
  hear(wrong, mon);
  assertShut(wrong, /another one/);
});

Deno.test.each(KINDS)("$name: a key that is missing, and one that is wrong", ({ type, mode }) => {
  const world = new World(type);
  const client = world.client(World.GATEWAY, undefined, SERVICES);
  const mon = handshake(client.toMon(), world.server.attempt(), mode);
  const missing = new CephxListener(new KeyChest(crypto, new Keyring()));
  const told = hear(missing, mon);
  assertShut(missing, /^the keyring has no key of client\.gw1: add it$/);
  assert.equal(missing.entity, "client.gw1");
  const tickets = told[3]!.tickets as { service: string }[];
  assert.deepEqual(tickets.map(({ service }) => service), ["auth", "mon", "osd"]);
  for (const otherType of [KeyType.Aes, KeyType.Aes256k]) {
    const key = generateKey(crypto, otherType, 0);
    const chest = new KeyChest(crypto, new Keyring([{ name: World.GATEWAY, key }]));
    const wrong = new CephxListener(chest);
    assert.equal(hear(wrong, mon)[2]!.proof, "of another key");
    assertShut(wrong, /does not open with the key of client\.gw1/);
    const osd = handshake(client.toService(EntityType.Osd)!, world.server.attempt(), mode);
    hear(wrong, osd);
    assertShut(wrong, /ticket for osd was issued before .*monitor too/);
    assert.equal(wrong.entity, "");
  }
});

Deno.test("a connection whose handshake was not captured says so", () => {
  const listener = new CephxListener(new KeyChest(crypto, new Keyring()));
  assertShut(listener, /from its first byte/);
  listener.handleDone(new U64(), ConMode.Secure, new Uint8Array(100));
  assertShut(listener, /from its first byte/);
  listener.handleReplyMore(new Uint8Array(9));
  listener.handleRequestMore(new Uint8Array(9));
  assert.deepEqual(listener.describe(), {});
});

Deno.test.each(KINDS)("$name: a reply of another connection is not taken", ({ type, mode }) => {
  const world = new World(type);
  const chest = new KeyChest(crypto, world.keyring);
  const client = world.client(World.GATEWAY, undefined, SERVICES);
  const listener = new CephxListener(chest);
  hear(listener, handshake(client.toMon(), world.server.attempt(), mode));
  const [one, other] = [0, 1].map(() =>
    handshake(client.toService(EntityType.Osd)!, world.server.attempt(), mode)
  );
  hear(listener, { ...one!, payloads: one!.payloads.with(3, other!.payloads[3]!) });
  assertShut(listener, /does not answer the nonce/);
  hear(listener, one!);
  assertOpened(listener, one!, "client.gw1");
});

Deno.test("a refused attempt, and the next one on the same connection", () => {
  const world = new World(KeyType.Aes);
  const listener = new CephxListener(new KeyChest(crypto, world.keyring));
  listener.handleRequest(
    AuthMethod.Cephx,
    encodeIdentity({ mode: AuthMode.Mon, name: World.OTHER, globalId: U64.of(5) }),
  );
  assert.match(listener.refusal, /AUTH_DONE is missing/);
  listener.handleBad();
  assertShut(listener, /server refused to authenticate client\.gw2/);
  const mon = handshake(world.client().toMon(), world.server.attempt(), ConMode.Secure);
  hear(listener, mon);
  assertOpened(listener, mon, "client.gw1");
  listener.handleRequest(AuthMethod.Cephx, mon.payloads[0]!);
  assertShut(listener, /AUTH_DONE is missing/);
});

Deno.test("methods without keys", () => {
  const listener = new CephxListener(new KeyChest(crypto, new Keyring()));
  const identity = { mode: AuthMode.Mon, name: World.GATEWAY, globalId: U64.of(7) };
  listener.handleRequest(AuthMethod.None, encodeIdentity(identity));
  assert.deepEqual(listener.describe(), { entity: "client.gw1", global_id: 7 });
  listener.handleDone(U64.of(8), ConMode.Crc, new Uint8Array(0));
  assertShut(listener, /method none has no keys/);
  listener.handleRequest(AuthMethod.None, new Uint8Array(0));
  assertShut(listener, /method none has no keys/);
  listener.handleRequest(AuthMethod.Gss, new Uint8Array(50));
  assertShut(listener, /method gss gives no keys/);
});

Deno.test("a name with control characters is quoted", () => {
  const listener = new CephxListener(new KeyChest(crypto, new Keyring()));
  const name = { type: EntityType.Client, id: "\x1b[2J\n" };
  const payload = encodeIdentity({ mode: AuthMode.Mon, name, globalId: new U64() });
  listener.handleRequest(AuthMethod.Cephx, payload);
  assert.equal(listener.entity, '"client.\\u001b[2J\\n"');
});

Deno.test.each([...CAPTURES])("handshakes with Ceph $release, as they were recorded", (capture) => {
  const name = { type: EntityType.Client, id: "admin" };
  const keyring = new Keyring([{ name, key: decodeKey(capture.key) }]);
  const chest = new KeyChest(crypto, keyring);
  for (const { peer, request, replyMore, requestMore, done, ...rest } of capture.exchanges) {
    const payloads = [request, replyMore, requestMore, done].map((hex) => Uint8Array.fromHex(hex));
    const listener = new CephxListener(chest);
    hear(listener, { payloads, mode: rest.mode, globalId: U64.of(rest.globalId) });
    assert.equal(listener.refusal, "", peer);
    assert.equal(listener.entity, "client.admin");
    const signature = crypto.hmacSha256(listener.sessionKey!, Uint8Array.fromHex(rest.sent));
    assert.equal(signature.toHex(), rest.signature);
    assert.equal(listener.secret?.length, rest.mode === ConMode.Secure ? 64 : undefined);
  }
});

/** A handshake of each kind in secure mode, and a chest that opens it. */
const EXCHANGES = [KeyType.Aes, KeyType.Aes256k].flatMap((type) =>
  ["mon", "osd"].map((peer) => ({ type, peer, name: `type ${type}, ${peer}` }))
);

function exchange(type: number, peer: string): { heard: Heard; chest: KeyChest } {
  const world = new World(type);
  const chest = new KeyChest(crypto, world.keyring);
  const client = world.client(World.GATEWAY, undefined, SERVICES);
  const mon = handshake(client.toMon(), world.server.attempt(), ConMode.Secure);
  if (peer === "mon") return { heard: mon, chest };
  hear(new CephxListener(chest), mon);
  const attempt = client.toService(EntityType.Osd)!;
  return { heard: handshake(attempt, world.server.attempt(), ConMode.Secure), chest };
}

Deno.test.each(EXCHANGES)("$name: payloads cut at every length", ({ type, peer }) => {
  const { heard, chest } = exchange(type, peer);
  for (const [step, payload] of heard.payloads.entries()) {
    for (let length = 0; length < payload.length; length++) {
      const payloads = heard.payloads.with(step, payload.slice(0, length));
      const listener = new CephxListener(chest);
      hear(listener, { ...heard, payloads });
      const { secret } = listener;
      if (secret !== null) {
        assert.ok(step === 1 || step === 2, "without request or reply nothing opens");
        assert.deepEqual(secret, heard.secret);
      }
      assert.equal(listener.refusal === "", secret !== null);
    }
  }
});

Deno.test.each(EXCHANGES)("$name: every byte changed in turn", ({ type, peer }) => {
  const { heard, chest } = exchange(type, peer);
  for (const [step, payload] of heard.payloads.entries()) {
    for (let at = 0; at < payload.length; at++) {
      const changed = payload.slice();
      changed[at]! ^= 1 << at % 8;
      const listener = new CephxListener(chest);
      hear(listener, { ...heard, payloads: heard.payloads.with(step, changed) });
      const { secret } = listener;
      if (secret === null) assert.notEqual(listener.refusal, "");
      // Type 1 has no integrity behind its first bytes; the frames' own tags will tell.
      else if (type === KeyType.Aes) assert.equal(secret.length, 64);
      else assert.deepEqual(secret, heard.secret);
    }
  }
});

Deno.test("random payloads in any order: nothing throws, nothing opens", () => {
  const world = new World(KeyType.Aes);
  const listener = new CephxListener(new KeyChest(crypto, world.keyring));
  for (let round = 0; round < 3000; round++) {
    const dice = crypto.randomBytes(4);
    const payload = crypto.randomBytes(dice[0]!);
    if (dice[1]! % 2 === 0 && payload.length > 2) payload[0] = [1, 10, 0][dice[1]! % 3]!;
    const step = dice[2]! % 5;
    if (step === 0) listener.handleRequest(dice[3]! % 4, payload);
    else if (step === 1) listener.handleReplyMore(payload);
    else if (step === 2) listener.handleRequestMore(payload);
    else if (step === 3) listener.handleDone(new U64(), dice[3]! % 3, payload);
    else listener.handleBad();
    assert.equal(listener.secret, null);
    assert.notEqual(listener.refusal, "");
  }
});

Deno.test.each(KINDS)("$name: no key is ever told", ({ type, mode }) => {
  const world = new World(type);
  const chest = new KeyChest(crypto, world.keyring);
  const client = world.client(World.GATEWAY, undefined, SERVICES);
  const mon = handshake(client.toMon(), world.server.attempt(), mode);
  const osd = handshake(client.toService(EntityType.Osd)!, world.server.attempt(), mode);
  const listener = new CephxListener(chest);
  const told = JSON.stringify([...hear(listener, mon), ...hear(listener, osd)]);
  const secrets = [mon.secret, osd.secret, mon.sessionKey, osd.sessionKey];
  for (const { key } of world.keyring.entries()) secrets.push(key.secret);
  for (const secret of secrets.filter(({ length }) => length > 0)) {
    for (let at = 0; at + 8 <= secret.length; at += 8) {
      const part = secret.slice(at, at + 8);
      assert.ok(!told.includes(part.toHex()) && !told.includes(part.toReversed().toHex()));
      assert.ok(!told.includes(part.slice(0, 6).toBase64()));
    }
  }
});

Deno.test("a chest remembers the last 1024 tickets", () => {
  const chest = new KeyChest(crypto, new Keyring());
  const sessionKey = generateKey(crypto, KeyType.Aes, 0);
  const ticket = (number: number): { secretId: U64; blob: Uint8Array } => (
    { secretId: U64.of(2), blob: new TextEncoder().encode(`ticket ${number}`) }
  );
  const known = { owner: World.GATEWAY, sessionKey, caps: null };
  for (let number = 0; number < 1024; number++) chest.learn(ticket(number), known);
  assert.equal(chest.find(ticket(0)), known);
  chest.learn(ticket(0), known); // issued again: the youngest now
  chest.learn(ticket(1024), known);
  assert.equal(chest.find(ticket(1)), null);
  for (const number of [0, 2, 1023, 1024]) assert.equal(chest.find(ticket(number)), known);
  assert.equal(chest.find({ secretId: U64.of(3), blob: ticket(2).blob }), null);
  chest.learn({ secretId: U64.of(2), blob: new Uint8Array(0) }, known);
  assert.equal(chest.find({ secretId: U64.of(2), blob: new Uint8Array(0) }), null);
});
