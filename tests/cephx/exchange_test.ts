/** cephx, a client and a server back to back: who gets in, who does not, tickets and their renewal. */
import assert from "node:assert/strict";
import { U64 } from "../../src/mem/u64.ts";
import { KeyType } from "../../src/wire/cephx/crypto_key.ts";
import { decodeAuthorizer, encodeAuthorizer } from "../../src/wire/cephx/authorizer.ts";
import { encodeIdentity } from "../../src/wire/cephx/entity_name.ts";
import {
  decodeAuthenticate,
  decodeSessionReply,
  encodeAuthenticate,
} from "../../src/wire/cephx/mon_exchange.ts";
import { NO_TICKET } from "../../src/wire/cephx/ticket.ts";
import { ConMode } from "../../src/wire/msgr2/auth.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";
import { run, type Tamper, World } from "./pair.ts";

const KINDS = [
  { type: KeyType.Aes, mode: ConMode.Crc, kind: "aes crc" },
  { type: KeyType.Aes, mode: ConMode.Secure, kind: "aes secure" },
  { type: KeyType.Aes256k, mode: ConMode.Crc, kind: "aes256k crc" },
  { type: KeyType.Aes256k, mode: ConMode.Secure, kind: "aes256k secure" },
];
const OSD = EntityType.Osd;

Deno.test.each(KINDS)("$kind: the right key gets in, and both ends agree", ({ type, mode }) => {
  const world = new World(type);
  const client = world.client();
  const near = client.toMon();
  const far = world.server.attempt();
  assert.equal(run(near, far, mode).end, "authenticated");
  assert.deepEqual(far.entity, World.GATEWAY);
  assert.equal(far.globalId.toBigInt(), 4097n);
  assert.equal(client.globalId.toBigInt(), 4097n);
  assert.deepEqual(near.sessionKey, far.sessionKey);
  assert.equal(near.sessionKey.length, type === KeyType.Aes ? 16 : 32);
  assert.deepEqual(near.connectionSecret, far.connectionSecret);
  assert.equal(near.connectionSecret.length, mode === ConMode.Secure ? 64 : 0);
});

Deno.test.each(KINDS)("$kind: wrong key and unknown name look the same to the peer", (row) => {
  const world = new World(row.type);
  const wrong = run(
    world.client(World.GATEWAY, world.newKey()).toMon(),
    world.server.attempt(),
    row.mode,
  );
  const nobody = { type: EntityType.Client, id: "gw9" };
  const unknown = run(
    world.client(nobody, world.newKey()).toMon(),
    world.server.attempt(),
    row.mode,
  );
  for (const outcome of [wrong, unknown]) {
    assert.equal(outcome.end, "server refused");
    assert.equal(outcome.result, -13);
    assert.deepEqual(outcome.payloads.map((payload) => payload.length), [20, 9, 36]);
  }
  assert.equal(wrong.why, 'Cannot authenticate "client.gw1" as its key is another one');
  assert.equal(unknown.why, 'Cannot find "client.gw9" in the keyring');
});

Deno.test("a name with control characters stays harmless in the server's words", () => {
  const world = new World(KeyType.Aes);
  const name = { type: EntityType.Client, id: "x\u001b[2J\n" };
  const { why } = run(world.client(name).toMon(), world.server.attempt(), ConMode.Crc);
  assert.equal(why, 'Cannot find "client.x\\u001b[2J\\n" in the keyring');
});

Deno.test("a name removed from the keyring gets in no more, its ticket notwithstanding", () => {
  const world = new World(KeyType.Aes);
  const client = world.client();
  run(client.toMon(), world.server.attempt(), ConMode.Crc);
  world.keyring.delete(World.GATEWAY);
  assert.equal(run(client.toMon(), world.server.attempt(), ConMode.Crc).result, -13);
});

Deno.test("each attempt takes its frames once and in order", () => {
  const world = new World(KeyType.Aes);
  const client = world.client();
  const request = client.toMon().request();
  const early = world.server.attempt().handleRequest(request, false, ConMode.Crc);
  assert(early.kind === "bad" && early.why === "AUTH_REQUEST_MORE came without a challenge");
  const twice = world.server.attempt();
  assert.equal(twice.handleRequest(request, true, ConMode.Crc).kind, "more");
  const second = twice.handleRequest(request, true, ConMode.Crc);
  assert(second.kind === "bad" && second.why === "AUTH_REQUEST came twice");

  const near = client.toMon();
  const far = world.server.attempt();
  const outcome = run(near, far, ConMode.Crc);
  const key = far.sessionKey;
  for (const first of [true, false]) {
    const after = far.handleRequest(outcome.payloads[2]!, first, ConMode.Crc);
    assert(after.kind === "bad" && after.why.includes("done already"));
  }
  assert.equal(far.sessionKey, key);
  assert.equal(near.handleMore(outcome.payloads[1]!), null);
  assert(!near.handleDone(far.globalId, ConMode.Crc, outcome.payloads[3]!));
});

Deno.test("AUTH_DONE without a challenge, or a second challenge, is refused by the client", () => {
  const world = new World(KeyType.Aes);
  const client = world.client(World.GATEWAY, undefined, OSD);
  const { payloads } = run(client.toMon(), world.server.attempt(), ConMode.Crc);
  for (const attempt of [client.toMon(), client.toService(OSD)!]) {
    attempt.request();
    assert(!attempt.handleDone(new U64(), ConMode.Crc, payloads[3]!));
    assert.equal(attempt.handleMore(payloads[1]!), null);
  }
  const twice = client.toMon();
  twice.request();
  assert(twice.handleMore(payloads[1]!) !== null);
  assert.equal(twice.handleMore(payloads[1]!), null);
  assert(!twice.handleDone(new U64(), ConMode.Crc, payloads[3]!));
});

Deno.test("after a refusal the same connection may try again, with a fresh challenge", () => {
  const world = new World(KeyType.Aes256k);
  const far = world.server.attempt();
  const wrong = run(world.client(World.GATEWAY, world.newKey()).toMon(), far, ConMode.Secure);
  const right = run(world.client().toMon(), far, ConMode.Secure);
  assert.equal(wrong.end, "server refused");
  assert.equal(right.end, "authenticated");
  assert.notDeepEqual(wrong.payloads[1], right.payloads[1]);
});

Deno.test("an answer heard on one connection gets in on no other", () => {
  const world = new World(KeyType.Aes);
  const { payloads } = run(world.client().toMon(), world.server.attempt(), ConMode.Crc);
  const far = world.server.attempt();
  far.handleRequest(payloads[0]!, true, ConMode.Crc);
  assert.equal(far.handleRequest(payloads[2]!, false, ConMode.Crc).kind, "bad");
});

Deno.test.each(KINDS)("$kind: later connections reclaim the global_id", ({ type, mode }) => {
  const world = new World(type);
  const client = world.client(World.GATEWAY, undefined, OSD);
  run(client.toMon(), world.server.attempt(), mode);
  run(world.client(World.OTHER).toMon(), world.server.attempt(), mode);
  let before = new Uint8Array(0) as Uint8Array;
  for (let round = 0; round < 3; round++) {
    const near = client.toMon();
    const far = world.server.attempt();
    const { end, payloads } = run(near, far, mode);
    assert.equal(end, "authenticated");
    assert.equal(far.globalId.toBigInt(), 4097n);
    assert.notDeepEqual(near.sessionKey, before);
    before = near.sessionKey;
    const reply = decodeSessionReply(payloads[3]!)!;
    assert.deepEqual(reply.tickets.map(({ wrapped }) => wrapped), [true]);
    assert.deepEqual(reply.extraTickets.map(({ wrapped }) => wrapped), [false]);
  }
});

/** Claims made by changing what an honest client sends; the key stays right. */
const CLAIMS = [
  { claim: "no ticket", result: -13, globalId: 4097, keepsTicket: false, name: World.GATEWAY },
  { claim: "no global_id", result: -22, globalId: 0, keepsTicket: true, name: World.GATEWAY },
  {
    claim: "another's global_id",
    result: -13,
    globalId: 4098,
    keepsTicket: true,
    name: World.GATEWAY,
  },
  { claim: "another's ticket", result: -13, globalId: 4097, keepsTicket: true, name: World.OTHER },
];

Deno.test.each(CLAIMS)("a global_id is not left to who has $claim", (row) => {
  const world = new World(KeyType.Aes256k);
  const client = world.client();
  run(client.toMon(), world.server.attempt(), ConMode.Secure);
  const { payloads } = run(client.toMon(), world.server.attempt(), ConMode.Secure);
  const { oldTicket } = decodeAuthenticate(payloads[2]!)!;
  const globalId = U64.of(row.globalId);
  const tamper: Tamper = (step, payload) => {
    if (step === "request") return encodeIdentity({ mode: 10, name: row.name, globalId });
    if (step !== "requestMore") return payload;
    const request = decodeAuthenticate(payload)!;
    return encodeAuthenticate({ ...request, oldTicket: row.keepsTicket ? oldTicket : NO_TICKET });
  };
  const honest = world.client(row.name).toMon();
  const outcome = run(honest, world.server.attempt(), ConMode.Secure, tamper);
  assert.equal(outcome.end, "server refused");
  assert.equal(outcome.result, row.result);
});

Deno.test("a server with new secrets refuses old tickets; the client starts anew", () => {
  const world = new World(KeyType.Aes);
  const client = world.client(World.GATEWAY, undefined, OSD);
  run(client.toMon(), world.server.attempt(), ConMode.Crc);
  world.server = world.newServer();
  assert.equal(
    run(client.toService(OSD)!, world.server.attempt(), ConMode.Crc).end,
    "server refused",
  );
  assert(!client.hasTicket(OSD));
  const near = client.toMon();
  near.request();
  assert(!near.handleBad(-95), "speaks of the method: the ticket may be good");
  assert(client.hasTicket(EntityType.Auth));
  const refused = run(near, world.server.attempt(), ConMode.Crc);
  assert.equal(refused.end, "server refused");
  assert.match(refused.why!, /^Cannot let "client.gw1" reclaim global_id 4097 as its ticket /);
  assert(!client.hasTicket(EntityType.Auth));
  assert(client.globalId.isZero());
  assert.equal(run(client.toMon(), world.server.attempt(), ConMode.Crc).end, "authenticated");
});

Deno.test("handleBad() tells that forgetting the ticket is worth another attempt", () => {
  const world = new World(KeyType.Aes);
  const client = world.client();
  const first = client.toMon();
  first.request();
  assert(!first.handleBad(-13), "without a ticket the key is wrong");
  run(client.toMon(), world.server.attempt(), ConMode.Crc);
  const reclaiming = client.toMon();
  reclaiming.request();
  assert(reclaiming.handleBad(-13));
});

Deno.test("an expired ticket is refused by the server, and not used by the client", () => {
  const world = new World(KeyType.Aes, { authTicketSeconds: 1000, serviceTicketSeconds: 100 });
  const client = world.client(World.GATEWAY, undefined, OSD);
  run(client.toMon(), world.server.attempt(), ConMode.Crc);
  assert.equal(client.renewAtSeconds, world.clientSeconds + 75);

  world.serverSeconds += 150; // the client's clock stands still
  const service = run(client.toService(OSD)!, world.server.attempt(), ConMode.Crc);
  assert.equal(service.end, "server refused");
  assert.equal(service.why, "Cannot accept authorizer for osd as its ticket expired 50 s ago");
  world.serverSeconds += 1100;
  const reclaim = run(client.toMon(), world.server.attempt(), ConMode.Crc);
  assert.equal(
    reclaim.why,
    'Cannot let "client.gw1" reclaim global_id 4097 as its ticket expired 250 s ago',
  );

  run(client.toMon(), world.server.attempt(), ConMode.Crc);
  assert(client.hasTicket(OSD));
  world.clientSeconds += 100;
  assert(!client.hasTicket(OSD));
  assert.equal(client.toService(OSD), null);
  world.clientSeconds += 900;
  assert(!client.hasTicket(EntityType.Auth));
  const anew = run(client.toMon(), world.server.attempt(), ConMode.Crc);
  assert.equal(anew.end, "authenticated");
  assert.equal(client.globalId.toBigInt(), 4099n);
});

Deno.test("secrets rotate: the one before the present one still opens its tickets", () => {
  const world = new World(KeyType.Aes, { authTicketSeconds: 1000, serviceTicketSeconds: 1000 });
  const early = world.client(World.GATEWAY, undefined, OSD);
  const other = world.client(World.OTHER, undefined, OSD);
  run(other.toMon(), world.server.attempt(), ConMode.Crc); // makes the secret
  world.pass(999);
  run(early.toMon(), world.server.attempt(), ConMode.Crc);
  world.pass(2); // now it is the previous one
  const late = world.client(World.OTHER, undefined, OSD);
  run(late.toMon(), world.server.attempt(), ConMode.Crc);
  for (const client of [early, late]) {
    const attempt = client.toService(OSD)!;
    assert.equal(run(attempt, world.server.attempt(), ConMode.Crc).end, "authenticated");
  }
  world.pass(990);
  assert.equal(run(early.toMon(), world.server.attempt(), ConMode.Crc).end, "authenticated");
  assert.equal(early.globalId.toBigInt(), 4098n);
});

Deno.test("a secret two lives old is gone, and a clock set back keeps nobody out", () => {
  const world = new World(KeyType.Aes, { authTicketSeconds: 1000, serviceTicketSeconds: 1000 });
  const client = world.client(World.GATEWAY, undefined, OSD);
  run(client.toMon(), world.server.attempt(), ConMode.Crc);
  world.serverSeconds += 2000;
  const gone = run(client.toService(OSD)!, world.server.attempt(), ConMode.Crc);
  assert.match(gone.why!, /secret not known here$/);
  world.serverSeconds -= 1_000_000;
  run(client.toMon(), world.server.attempt(), ConMode.Crc); // refused, and forgotten
  assert.equal(run(client.toMon(), world.server.attempt(), ConMode.Crc).end, "authenticated");
  world.pass(500);
  assert.equal(run(client.toMon(), world.server.attempt(), ConMode.Crc).end, "authenticated");
});

Deno.test.each(KINDS)("$kind: a ticket gets in at its service", ({ type, mode }) => {
  const world = new World(type);
  const client = world.client(World.GATEWAY, undefined, OSD | EntityType.Mgr);
  run(client.toMon(), world.server.attempt(), mode);
  const near = client.toService(OSD)!;
  const far = world.server.attempt();
  const { end, payloads } = run(near, far, mode);
  assert.equal(end, "authenticated");
  assert.deepEqual(far.entity, World.GATEWAY);
  assert.equal(far.globalId.toBigInt(), 4097n);
  assert.equal(far.caps, 'allow rw pool="x"');
  assert.deepEqual(near.connectionSecret, far.connectionSecret);
  assert.equal(near.connectionSecret.length, mode === ConMode.Secure ? 64 : 0);
  assert.equal(payloads[1]!.length, type === KeyType.Aes ? 32 : 58);
  const manager = world.server.attempt();
  run(client.toService(EntityType.Mgr)!, manager, mode);
  assert.equal(manager.caps, null);
  assert.notDeepEqual(manager.sessionKey, far.sessionKey);
});

Deno.test("services that were not asked for, or are not served, get no ticket", () => {
  const world = new World(KeyType.Aes, { services: EntityType.Mon });
  const client = world.client(World.GATEWAY, undefined, OSD | EntityType.Mon);
  run(client.toMon(), world.server.attempt(), ConMode.Crc);
  assert(client.hasTicket(EntityType.Mon));
  assert(!client.hasTicket(OSD));
  assert.equal(client.toService(OSD), null);
});

Deno.test("an authorizer is bound to its service, its global_id and its connection", () => {
  const world = new World(KeyType.Aes);
  const client = world.client(World.GATEWAY, undefined, OSD | EntityType.Mgr);
  run(client.toMon(), world.server.attempt(), ConMode.Crc);
  const changed = (change: (a: ReturnType<typeof decodeAuthorizer> & object) => object): Tamper => {
    return (step, payload) => {
      if (step !== "request") return payload;
      const authorizer = decodeAuthorizer(payload)!;
      return encodeAuthorizer({ ...authorizer, ...change(authorizer) });
    };
  };
  const tampers = [
    changed(() => ({ service: EntityType.Mgr })),
    changed(() => ({ service: EntityType.Auth })),
    changed(() => ({ service: 3 })),
    changed(() => ({ service: 64 })),
    changed(() => ({ globalId: U64.of(4098) })),
    changed(({ ticket }) => ({ ticket: { ...ticket, secretId: U64.of(-1n) } })),
    changed(({ ticket }) => ({
      ticket: { ...ticket, secretId: U64.of(-1n) },
      service: EntityType.Mon,
    })),
    changed(() => ({ ticket: NO_TICKET })),
  ];
  for (const tamper of tampers) {
    run(client.toMon(), world.server.attempt(), ConMode.Crc); // tickets refused were forgotten
    const attempt = client.toService(OSD)!;
    const outcome = run(attempt, world.server.attempt(), ConMode.Crc, tamper);
    assert.equal(outcome.end, "server refused");
    assert.equal(outcome.result, -13);
  }
  run(client.toMon(), world.server.attempt(), ConMode.Crc);
  const { payloads } = run(client.toService(OSD)!, world.server.attempt(), ConMode.Crc);
  const replay = world.server.attempt();
  assert.equal(replay.handleRequest(payloads[0]!, true, ConMode.Crc).kind, "more");
  assert.equal(replay.handleRequest(payloads[2]!, false, ConMode.Crc).kind, "bad");
  const direct = world.server.attempt().handleRequest(payloads[2]!, true, ConMode.Crc);
  assert(direct.kind === "bad" && direct.why.includes("must answer the present challenge"));
  const unanswered = world.server.attempt();
  unanswered.handleRequest(payloads[0]!, true, ConMode.Crc);
  assert.equal(unanswered.handleRequest(payloads[0]!, false, ConMode.Crc).kind, "bad");
});

Deno.test("an AUTH ticket is no authorizer", () => {
  const world = new World(KeyType.Aes);
  const client = world.client();
  run(client.toMon(), world.server.attempt(), ConMode.Crc);
  const attempt = client.toService(EntityType.Auth)!;
  const outcome = run(attempt, world.server.attempt(), ConMode.Crc);
  assert.equal(outcome.why, "Cannot accept authorizer for auth as that is no service");
});

Deno.test.each(KINDS)("$kind: monitors let each other in by the key of mon.", ({ type, mode }) => {
  const world = new World(type);
  world.clientSeconds = world.serverSeconds; // who makes the ticket dates it
  const far = world.server.attempt();
  assert.equal(run(world.client(World.MON).toPeerMon(), far, mode).end, "authenticated");
  assert.deepEqual(far.entity, World.MON);
  const stranger = world.client(World.MON, world.newKey()).toPeerMon();
  assert.equal(run(stranger, world.server.attempt(), mode).result, -13);
  const early = world.client(World.MON).toPeerMon();
  world.serverSeconds += 72 * 3600 + 1;
  const expired = run(early, world.server.attempt(), mode);
  assert.match(expired.why!, /expired 1 s ago$/);
  world.serverSeconds = world.clientSeconds;
  world.keyring.delete(World.MON);
  const late = world.client(World.MON, world.newKey()).toPeerMon();
  assert.equal(run(late, world.server.attempt(), mode).result, -13);
});

Deno.test("toPeerMon() vouches for monitors only", () => {
  const world = new World(KeyType.Aes);
  assert.throws(() => world.client().toPeerMon(), /only a monitor/);
});

Deno.test("requests of clients before Nautilus 14.2.20 get in, but reclaim nothing", () => {
  const world = new World(KeyType.Aes);
  const older: Tamper = (step, payload) => {
    if (step !== "requestMore") return payload;
    const changed = payload.slice();
    changed[2] = 2; // the version of CephXAuthenticate
    return changed;
  };
  const client = world.client();
  const far = world.server.attempt();
  assert.equal(run(client.toMon(), far, ConMode.Crc, older).end, "signatures differ");
  assert.deepEqual(far.entity, World.GATEWAY); // the server let it in
  assert.equal(run(client.toMon(), world.server.attempt(), ConMode.Crc, older).result, -13);
});

Deno.test("a server gives each newcomer its own global_id, from where it was told to", () => {
  const world = new World(KeyType.Aes, { firstGlobalId: 2 ** 33 });
  const given = new Set<bigint>();
  for (let count = 0; count < 100; count++) {
    const far = world.server.attempt();
    run(world.client().toMon(), far, ConMode.Crc);
    given.add(far.globalId.toBigInt());
  }
  assert.equal(given.size, 100);
  assert(given.has(2n ** 33n) && given.has(2n ** 33n + 99n));
});

Deno.test("keys of both types live in one keyring", () => {
  const world = new World(KeyType.Aes);
  const newer = new World(KeyType.Aes256k).newKey();
  world.keyring.set({ name: World.OTHER, key: newer });
  for (const name of [World.GATEWAY, World.OTHER]) {
    const client = world.client(name, undefined, OSD);
    const outcome = run(client.toMon(), world.server.attempt(), ConMode.Secure);
    assert.equal(outcome.end, "authenticated");
    const service = run(client.toService(OSD)!, world.server.attempt(), ConMode.Secure);
    assert.equal(service.end, "authenticated");
  }
});
