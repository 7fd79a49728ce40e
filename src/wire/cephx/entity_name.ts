/**
 * EntityName (Ceph common/entity_name.h): u32 type and a string id, written `client.admin`; and
 * the head that AUTH_REQUEST payloads of method none and of cephx towards a monitor share.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { U64 } from "../../mem/u64.ts";
import { entityTypeName } from "../msgr2/hello.ts";
import { PayloadReader, PayloadWriter } from "./payload.ts";

/** Who somebody is: a type of wire/msgr2/hello.ts and an id; `mon.` has an empty one. */
export interface EntityName {
  /** One of EntityType. */
  readonly type: number;
  /** `admin`, `0`, or nothing. */
  readonly id: string;
}

/** The first byte of an AUTH_REQUEST payload: what the rest is (AUTH_MODE_*). */
export const AuthMode = { Authorizer: 1, Mon: 10 } as const;

/** Ids are short words; what is longer is refused before it reaches a log. */
const ID_CHARACTERS_MAX = 128;

/**
 * A name as text, `client.admin`; `parseEntityName` is the inverse.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { EntityType, formatEntityName } from "@fairlead/fairlead";
 *
 * assert.equal(formatEntityName({ type: EntityType.Client, id: "admin" }), "client.admin");
 * ```
 */
export function formatEntityName(name: EntityName): string {
  return `${entityTypeName(name.type)}.${name.id}`;
}

/** A name from a peer for a log line: quoted, so that control characters stay harmless. */
export function quoteEntityName(name: EntityName): string {
  return JSON.stringify(formatEntityName(name));
}

/** True when type and id are the same. */
export function sameEntity(a: EntityName, b: EntityName): boolean {
  return a.type === b.type && a.id === b.id;
}

/** Writes u32 type and the id. */
export function writeEntityName(out: PayloadWriter, name: EntityName): void {
  out.u32(name.type).text(name.id);
}

/** Reads u32 type and the id. */
export function readEntityName(from: PayloadReader): EntityName {
  const type = from.u32("entity_name type");
  const id = from.text("entity_name id");
  if (id.length > ID_CHARACTERS_MAX) {
    from.refuse(Fault.Large, "entity_name id", id.length, `up to ${ID_CHARACTERS_MAX} characters`);
  }
  return { type, id };
}

/** What the head of an AUTH_REQUEST payload says. */
export interface Identity {
  /** {@linkcode AuthMode} */
  readonly mode: number;
  /** Who it is. */
  readonly name: EntityName;
  /** 0: give me one. */
  readonly globalId: U64;
}

/** u8 auth_mode, EntityName, u64 global_id. */
export function encodeIdentity(identity: Identity): Uint8Array {
  const out = new PayloadWriter().u8(identity.mode);
  writeEntityName(out, identity.name);
  return out.u64(identity.globalId).done();
}

/** The inverse; null when refused. */
export function decodeIdentity(payload: Uint8Array): Identity | null {
  const from = new PayloadReader(payload, "AUTH_REQUEST");
  const mode = from.u8("auth_mode");
  const name = readEntityName(from);
  const globalId = from.u64("global_id");
  if (from.failed) return null;
  if (mode === AuthMode.Mon || mode === AuthMode.Authorizer) return { mode, name, globalId };
  fail(Fault.Field, "AUTH_REQUEST auth_mode", 0, mode, "1 (authorizer) or 10 (mon)");
  return null;
}
