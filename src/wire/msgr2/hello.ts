/**
 * HELLO, the first frame each way: msgr2 "Hello". Entity types and names are real Ceph's.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { EntityAddr, entityAddrBytes, readEntityAddr, writeEntityAddr } from "./entity_addr.ts";

/**
 * What an entity is (CEPH_ENTITY_TYPE_*): one bit each.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { EntityType, entityTypeName } from "@fairlead/fairlead";
 *
 * assert.equal(entityTypeName(EntityType.Osd), "osd");
 * assert.equal(EntityType.Osd | EntityType.Mgr, 20); // one bit each: sets of services
 * ```
 */
export const EntityType = { Mon: 1, Mds: 2, Osd: 4, Client: 8, Mgr: 16, Auth: 32 } as const;

const NAMES: Record<number, string> = {
  [EntityType.Mon]: "mon",
  [EntityType.Mds]: "mds",
  [EntityType.Osd]: "osd",
  [EntityType.Client]: "client",
  [EntityType.Mgr]: "mgr",
  [EntityType.Auth]: "auth",
};

/**
 * HELLO, the first frame each way: who the sender is, and how it sees the receiver. msgr2 "Hello".
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { EntityAddr, EntityType, Hello, helloBytes } from "@fairlead/fairlead";
 *
 * const hello = new Hello();
 * hello.entityType = EntityType.Mon;
 * hello.peerAddr.copy(EntityAddr.parse("v2:10.0.0.7:40000"));
 * assert.equal(helloBytes(hello), 36);
 * ```
 */
export class Hello {
  /** The sender's, one of {@linkcode EntityType}. */
  entityType = 0;
  /** peer_socket_address: how the sender sees the receiver, behind NAT too. */
  readonly peerAddr: EntityAddr = new EntityAddr();
}

/**
 * Bytes that {@linkcode writeHello} writes.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Hello, helloBytes } from "@fairlead/fairlead";
 *
 * assert.equal(helloBytes(new Hello()), 20); // with a blank address
 * ```
 */
export function helloBytes(hello: Hello): number {
  return 1 + entityAddrBytes(hello.peerAddr);
}

/**
 * Writes a HELLO payload; returns the offset after it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   EntityAddr,
 *   EntityType,
 *   Hello,
 *   helloBytes,
 *   newRegion,
 *   writeHello,
 * } from "@fairlead/fairlead";
 *
 * const hello = new Hello();
 * hello.entityType = EntityType.Mon;
 * hello.peerAddr.copy(EntityAddr.parse("v2:10.0.0.7:40000"));
 * const out = newRegion(helloBytes(hello));
 * assert.equal(writeHello(out, 0, hello), out.bytes.length);
 * assert.equal(out.bytes[0], EntityType.Mon);
 * ```
 */
export function writeHello(out: Region, at: number, hello: Hello): number {
  out.view.setUint8(at, hello.entityType);
  return writeEntityAddr(out, at + 1, hello.peerAddr);
}

/**
 * Reads a HELLO payload; returns the offset after it, or a negated {@linkcode Fault}.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   EntityAddr,
 *   EntityType,
 *   Fault,
 *   Hello,
 *   newRegion,
 *   readHello,
 *   writeHello,
 * } from "@fairlead/fairlead";
 *
 * const hello = new Hello();
 * hello.entityType = EntityType.Mon;
 * hello.peerAddr.copy(EntityAddr.parse("v2:10.0.0.7:40000"));
 * const from = newRegion(64);
 * const end = writeHello(from, 0, hello);
 * const read = new Hello();
 * assert.equal(readHello(from, 0, end, read), end);
 * assert.equal(`${read.peerAddr}`, "v2:10.0.0.7:40000/0");
 * assert.equal(readHello(from, 0, 0, read), -Fault.Field);
 * ```
 */
export function readHello(from: Region, at: number, end: number, into: Hello): number {
  if (end - at < 1) return fail(Fault.Field, "HELLO length", at, end - at, "1 or more");
  into.entityType = from.view.getUint8(at);
  return readEntityAddr(from, at + 1, end, into.peerAddr);
}

/**
 * `mon`, `osd`, …; `type7` when unknown.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { EntityType, entityTypeName } from "@fairlead/fairlead";
 *
 * assert.equal(entityTypeName(EntityType.Client), "client");
 * assert.equal(entityTypeName(7), "type7");
 * ```
 */
export function entityTypeName(type: number): string {
  return NAMES[type] ?? `type${type}`;
}

/**
 * Splits `client.gw1` into type and id; the id may be empty (`mon.`) and may hold dots.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { EntityType, parseEntityName } from "@fairlead/fairlead";
 *
 * assert.deepEqual(parseEntityName("client.gw1"), { type: EntityType.Client, id: "gw1" });
 * assert.throws(() => parseEntityName("gw1"), /TYPE\.ID/);
 * ```
 *
 * @throws Error when the type is not one of Ceph's
 */
export function parseEntityName(text: string): { type: number; id: string } {
  const dot = text.indexOf(".");
  const word = text.slice(0, Math.max(dot, 0));
  for (const type of Object.values(EntityType)) {
    if (NAMES[type] === word) return { type, id: text.slice(dot + 1) };
  }
  const known = Object.values(NAMES).join(", ");
  throw new Error(
    `Cannot parse entity name as it must be TYPE.ID with TYPE one of ${known}: ` +
      `current value is ${text}`,
  );
}
