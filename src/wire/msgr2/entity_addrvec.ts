/**
 * entity_addrvec_t: the addresses of one entity. Where msgr2 "Message flow handshake" has "num_addrs"
 * and a list of addresses there is one of these on the wire; its bytes are real Ceph's (observed on
 * 16.2.15 to 20.2.4), the document does not give them.
 *
 *     u8 marker 2, u32 count, entity_addr_t * count
 *
 * An older encoding is read: a single address, of either kind that entity_addr.ts knows.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import { ADDRS_MAX } from "../../mem/limits.ts";
import type { Region } from "../../mem/region.ts";
import {
  AddrType,
  EntityAddr,
  entityAddrBytes,
  readEntityAddr,
  writeEntityAddr,
} from "./entity_addr.ts";

const MARKER_VEC = 2;
const COUNT = 1;
const ADDRS = 5;

/**
 * A mutable entity_addrvec_t: the addresses of one entity, at most ADDRS_MAX.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { EntityAddr, EntityAddrVec } from "@fairlead/fairlead";
 *
 * const mon = EntityAddrVec.of(
 *   EntityAddr.parse("v2:10.0.0.1:3300"),
 *   EntityAddr.parse("v1:10.0.0.1:6789"),
 * );
 * assert.equal(`${mon}`, "[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]");
 * assert.equal(mon.v2()?.port, 3300);
 * ```
 */
export class EntityAddrVec {
  /** How many of `addrs` are in use. */
  count = 0;
  /** Storage; entries at `count` and after it mean nothing. */
  readonly addrs: readonly EntityAddr[] = Array.from({ length: ADDRS_MAX }, () => new EntityAddr());

  /** A list of copies of `addrs`. */
  static of(...addrs: EntityAddr[]): EntityAddrVec {
    const made = new EntityAddrVec();
    for (const addr of addrs) {
      if (!made.add(addr)) {
        throw new Error(
          `Cannot use address as the count must be ${ADDRS_MAX} at most: current value is ` +
            `${addrs.length}`,
        );
      }
    }
    return made;
  }

  /** Appends a copy of `addr`; false when there is no room. */
  add(addr: EntityAddr): boolean {
    if (this.count === ADDRS_MAX) return false;
    this.addrs[this.count]!.copy(addr);
    this.count++;
    return true;
  }

  /** Takes another's addresses. */
  copy(other: EntityAddrVec): void {
    this.count = other.count;
    for (let index = 0; index < other.count; index++) {
      this.addrs[index]!.copy(other.addrs[index]!);
    }
  }

  /** True when both have the same addresses in the same order. */
  equals(other: EntityAddrVec): boolean {
    if (this.count !== other.count) return false;
    for (let index = 0; index < this.count; index++) {
      if (!this.addrs[index]!.equals(other.addrs[index]!)) return false;
    }
    return true;
  }

  /** True when `addr` is one of them. */
  contains(addr: EntityAddr): boolean {
    for (let index = 0; index < this.count; index++) {
      if (this.addrs[index]!.equals(addr)) return true;
    }
    return false;
  }

  /** The first address for msgr2 (`v2:` or `any:`), null when there is none. */
  v2(): EntityAddr | null {
    for (let index = 0; index < this.count; index++) {
      const addr = this.addrs[index]!;
      if (addr.type === AddrType.Msgr2 || addr.type === AddrType.Any) return addr;
    }
    return null;
  }

  /** As Ceph writes it: `[v2:…,v1:…]`, a single address without brackets, `-` when empty. */
  toString(): string {
    if (this.count === 0) return "-";
    const text = this.addrs.slice(0, this.count).join(",");
    return this.count === 1 ? text : `[${text}]`;
  }
}

/**
 * Reads `[v2:10.0.0.1:3300,v1:10.0.0.1:6789]`, a list without brackets, or one address.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { parseAddrVec } from "@fairlead/fairlead";
 *
 * const addrs = parseAddrVec("[v2:10.0.0.1:3300,v1:10.0.0.1:6789]");
 * assert.equal(addrs.count, 2);
 * ```
 *
 * @throws Error when an address in it cannot be used
 */
export function parseAddrVec(text: string): EntityAddrVec {
  const list = /^\[(.*)\]$/.exec(text);
  return EntityAddrVec.of(...(list === null ? text : list[1]!).split(",").map(EntityAddr.parse));
}

/**
 * Bytes that {@linkcode writeEntityAddrVec} writes.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { entityAddrVecBytes, parseAddrVec } from "@fairlead/fairlead";
 *
 * assert.equal(entityAddrVecBytes(parseAddrVec("[v2:10.0.0.1:3300,v1:10.0.0.1:6789]")), 75);
 * ```
 */
export function entityAddrVecBytes(vec: EntityAddrVec): number {
  let bytes = ADDRS;
  for (let index = 0; index < vec.count; index++) bytes += entityAddrBytes(vec.addrs[index]!);
  return bytes;
}

/**
 * Writes an entity_addrvec_t; returns the offset after it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   entityAddrVecBytes,
 *   newRegion,
 *   parseAddrVec,
 *   writeEntityAddrVec,
 * } from "@fairlead/fairlead";
 *
 * const addrs = parseAddrVec("v2:10.0.0.1:3300");
 * const out = newRegion(entityAddrVecBytes(addrs));
 * assert.equal(writeEntityAddrVec(out, 0, addrs), out.bytes.length);
 * assert.equal(out.bytes[0], 2); // the marker of a list
 * ```
 */
export function writeEntityAddrVec(out: Region, at: number, vec: EntityAddrVec): number {
  out.view.setUint8(at, MARKER_VEC);
  out.view.setUint32(at + COUNT, vec.count, true);
  let next = at + ADDRS;
  for (let index = 0; index < vec.count; index++) {
    next = writeEntityAddr(out, next, vec.addrs[index]!);
  }
  return next;
}

/**
 * Reads an entity_addrvec_t; returns the offset after it, or a negated {@linkcode Fault}, with
 * which `into` is empty.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import {
 *   EntityAddrVec,
 *   newRegion,
 *   parseAddrVec,
 *   readEntityAddrVec,
 *   writeEntityAddrVec,
 * } from "@fairlead/fairlead";
 *
 * const from = newRegion(128);
 * const end = writeEntityAddrVec(from, 0, parseAddrVec("v2:10.0.0.1:3300"));
 * const addrs = new EntityAddrVec();
 * assert.equal(readEntityAddrVec(from, 0, end, addrs), end);
 * assert.equal(`${addrs}`, "v2:10.0.0.1:3300/0");
 * assert.ok(readEntityAddrVec(from, 0, end - 1, addrs) < 0);
 * ```
 */
export function readEntityAddrVec(
  from: Region,
  at: number,
  end: number,
  into: EntityAddrVec,
): number {
  const { view } = from;
  into.count = 0;
  if (end - at < 1) return fail(Fault.Field, "entity_addrvec length", at, end - at, "1 or more");
  const marker = view.getUint8(at);
  if (marker < MARKER_VEC) {
    const next = readEntityAddr(from, at, end, into.addrs[0]!);
    if (next >= 0) into.count = 1;
    return next;
  }
  if (marker > MARKER_VEC) return fail(Fault.Field, "entity_addrvec marker", at, marker, "0 to 2");
  if (end - at < ADDRS) {
    return fail(Fault.Field, "entity_addrvec length", at, end - at, "5 or more");
  }
  const count = view.getUint32(at + COUNT, true);
  if (count > ADDRS_MAX) {
    return fail(Fault.Large, "entity_addrvec count", at + COUNT, count, `${ADDRS_MAX} at most`);
  }
  let next = at + ADDRS;
  for (let index = 0; index < count; index++) {
    next = readEntityAddr(from, next, end, into.addrs[index]!);
    if (next < 0) return next;
  }
  into.count = count;
  return next;
}
