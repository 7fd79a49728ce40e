/** Method none at both ends: payloads as Ceph sends them, names and global_ids. */
import assert from "node:assert/strict";
import { U64 } from "../../src/mem/u64.ts";
import { AuthNoneClient, AuthNoneServer, NoneTarget } from "../../src/proto/msgr2/auth_none.ts";
import { ConMode } from "../../src/wire/msgr2/auth.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";
import { run } from "./pair.ts";

const ADMIN = { type: EntityType.Client, id: "admin" };

/** `ceph -s` 16.2.15, auth none: the payload of AUTH_REQUEST to the mon, captured on loopback. */
const TO_MON = "0a080000000500000061646d696e0000000000000000";

Deno.test("AuthNoneClient says what Ceph says to a mon, to a service and to a tool", () => {
  const to = (target: NoneTarget): string =>
    new AuthNoneClient({ name: ADMIN, target }).request().toHex();
  assert.equal(to(NoneTarget.Mon), TO_MON);
  assert.equal(to(NoneTarget.Service), TO_MON.replace(/^0a/, "01"));
  assert.equal(to(NoneTarget.Tool), "");
  assert.equal(new AuthNoneClient({ name: ADMIN }).request().toHex(), TO_MON);
});

Deno.test("AuthNoneServer takes names, gives global_ids and leaves a client its own", () => {
  const server = new AuthNoneServer();
  const client = new AuthNoneClient({ name: ADMIN });
  for (let round = 0; round < 3; round++) {
    const far = server.attempt();
    assert.equal(run(client, far, ConMode.Crc).end, "authenticated");
    assert.deepEqual(far.entity, ADMIN);
    assert.equal(far.globalId.toBigInt(), 4097n);
  }
  assert.equal(client.globalId.toBigInt(), 4097n);
  assert.equal(client.sessionKey.length + client.connectionSecret.length, 0);
  const other = server.attempt();
  run(new AuthNoneClient({ name: ADMIN, target: NoneTarget.Service }), other, ConMode.Crc);
  assert.equal(other.globalId.toBigInt(), 4098n);
});

Deno.test("a restarted AuthNoneServer does not give away what a client still has", () => {
  const client = new AuthNoneClient({ name: ADMIN });
  run(client, new AuthNoneServer({ firstGlobalId: 5000 }).attempt(), ConMode.Crc);
  const restarted = new AuthNoneServer({ firstGlobalId: 5000 });
  run(client, restarted.attempt(), ConMode.Crc);
  const newcomer = new AuthNoneClient({ name: ADMIN });
  run(newcomer, restarted.attempt(), ConMode.Crc);
  assert.equal(newcomer.globalId.toBigInt(), 5001n);
  const greedy = new AuthNoneClient({ name: ADMIN });
  greedy.globalId.copy(U64.of(2n ** 63n));
  run(greedy, restarted.attempt(), ConMode.Crc);
  const next = new AuthNoneClient({ name: ADMIN });
  run(next, restarted.attempt(), ConMode.Crc);
  assert.equal(next.globalId.toBigInt(), 5002n);
});

Deno.test("AuthNoneServer without global_ids acts like Ceph's load tool", () => {
  const far = new AuthNoneServer({ tool: true }).attempt();
  const near = new AuthNoneClient({ name: ADMIN, target: NoneTarget.Tool });
  assert.equal(run(near, far, ConMode.Crc).end, "authenticated");
  assert(far.globalId.isZero() && near.globalId.isZero());
  assert.deepEqual(far.entity, { type: EntityType.Client, id: "" });
});

Deno.test("method none has neither secure mode nor a second frame", () => {
  const server = new AuthNoneServer();
  const secure = server.attempt().handleRequest(new Uint8Array(0), true, ConMode.Secure);
  assert(secure.kind === "bad" && secure.result === -95);
  const far = server.attempt();
  const payload = Uint8Array.fromHex(TO_MON);
  assert.equal(far.handleRequest(payload, false, ConMode.Crc).kind, "bad");
  assert.equal(far.handleRequest(payload, true, ConMode.Crc).kind, "done");
  assert.equal(far.handleRequest(payload, true, ConMode.Crc).kind, "bad");
  assert.equal(server.attempt().handleRequest(new Uint8Array(0), true, ConMode.Crc).kind, "bad");
  const near = new AuthNoneClient({ name: ADMIN });
  assert.equal(near.handleMore(new Uint8Array(9)), null);
  assert(!near.handleDone(new U64(), ConMode.Secure, new Uint8Array(0)));
  assert(!near.handleBad(-13));
});

Deno.test("AuthNoneServer refuses payloads that are cut or of another mode", () => {
  const server = new AuthNoneServer();
  const payload = Uint8Array.fromHex(TO_MON);
  for (let length = 1; length < payload.length; length++) {
    const answer = server.attempt().handleRequest(payload.slice(0, length), true, ConMode.Crc);
    assert(answer.kind === "bad" && answer.result === -13);
  }
  const junk = Uint8Array.fromHex(TO_MON.replace(/^0a/, "05"));
  const answer = server.attempt().handleRequest(junk, true, ConMode.Crc);
  assert(answer.kind === "bad" && answer.result === -13);
  assert.match(answer.why, /auth_mode/);
});
