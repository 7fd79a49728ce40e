/**
 * entity_addr_t, as msgr2 "Hello" and "Message flow handshake" name it. Its bytes are real Ceph's
 * (observed on 16.2.15 to 20.2.4), the document does not give them.
 *
 *     u8 marker 1, u8 version 1, u8 compat 1, u32 length of what follows,
 *     u32 type, u32 nonce, u32 sockaddr_len, sockaddr as Linux has it
 *
 * An older encoding is read: marker 0 starts a ceph_entity_addr of msgr1.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { Family, formatInet, parseInet } from "../inet.ts";

const MARKER_LEGACY = 0;
const MARKER_ADDR = 1;

// entity_addr_t
const VERSION = 1;
const COMPAT = 2;
const LENGTH = 3;
const TYPE = 7;
const NONCE = 11;
const SOCKADDR_LEN = 15;
const SOCKADDR = 19;

// sockaddr_in and sockaddr_in6: family little-endian (the sender's own), the port big-endian
const PORT = 2;
const INET_ADDRESS = 4;
const INET_ZERO = 8;
const INET_SIZE = 16;
const INET6_FLOWINFO = 4;
const INET6_ADDRESS = 8;
const INET6_SCOPE = 24;
const INET6_SIZE = 28;

// ceph_entity_addr of msgr1: u32 type (its first byte is the marker), u32 nonce, a
// sockaddr_storage of which the family is big-endian
const LEGACY_NONCE = 4;
const LEGACY_SOCKADDR = 8;
const LEGACY_SIZE = 136;

/**
 * What protocol an address is for (entity_addr_t TYPE_*).
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { AddrType, EntityAddr } from "@fairlead/fairlead";
 *
 * assert.equal(EntityAddr.parse("v1:10.0.0.1:6789").type, AddrType.Legacy);
 * assert.equal(EntityAddr.parse("10.0.0.1:3300").type, AddrType.Msgr2);
 * ```
 */
export const AddrType = {
  /** A blank address. */
  None: 0,
  /** msgr1. */
  Legacy: 1,
  /** msgr2. */
  Msgr2: 2,
  /** Both: clients, which do not listen, call themselves so. */
  Any: 3,
} as const;

const TYPE_NAMES: readonly string[] = ["none", "v1", "v2", "any"];

/** An address as text, split up; the host is not resolved and may be a name. */
export interface AddressText {
  /** One of {@linkcode AddrType}. */
  readonly type: number;
  /** A name or a numeric address, IPv6 without its brackets. */
  readonly host: string;
  /** 0 to 65535. */
  readonly port: number;
  /** 0 to 2^32 - 1; 0 when the text has none. */
  readonly nonce: number;
}

/**
 * One address of an entity, entity_addr_t: protocol, host, port and nonce. Mutable, so that reading
 * one allocates nothing.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { EntityAddr } from "@fairlead/fairlead";
 *
 * const address = EntityAddr.parse("v2:[::1]:3300/5");
 * assert.equal(address.port, 3300);
 * assert.equal(`${address}`, "v2:[::1]:3300/5");
 * assert.ok(address.sameHost(EntityAddr.parse("v1:[::1]:6789")));
 * ```
 */
export class EntityAddr {
  /** One of {@linkcode AddrType}. */
  type = 0;
  /** Tells apart what lived at one address at different times; unsigned. */
  nonce = 0;
  /** One of {@linkcode Family}: 0 blank, 2 IPv4, 10 IPv6. */
  family = 0;
  /** In host order. */
  port = 0;
  /** sin6_flowinfo. */
  flowinfo = 0;
  /** sin6_scope_id: the interface of a link-local address. */
  scope = 0;
  /** Network order; IPv4 in the first four bytes, the rest 0. */
  readonly address: Uint8Array<ArrayBuffer> = new Uint8Array(16);

  /**
   * Reads `v2:10.0.0.1:3300/0`, `v1:…`, `any:…`, without a prefix as v2, without `/nonce` as 0,
   * IPv6 as `v2:[::1]:3300`.
   *
   * @throws Error when it is none of these; host names are not resolved here
   */
  static parse(text: string): EntityAddr {
    const { type, host, port, nonce } = parseAddress(text);
    const made = new EntityAddr();
    if (!made.set(host, port)) throw new Error(unusable("its host", NUMERIC, host));
    made.type = type;
    made.nonce = nonce;
    return made;
  }

  /**
   * Takes a numeric host (IPv6 without brackets, a zone as `%index`) and a port, as type v2 with
   * nonce 0; false, and blank, when the host is not numeric.
   */
  set(host: string, port: number): boolean {
    this.clear();
    const percent = host.indexOf("%");
    const zone = percent < 0 ? "0" : host.slice(percent + 1);
    const family = parseInet(percent < 0 ? host : host.slice(0, percent), this.address);
    const allowed = percent < 0 || (family === Family.Inet6 && /^[0-9]{1,9}$/.test(zone));
    if (family === Family.None || !allowed) {
      this.clear();
      return false;
    }
    this.type = AddrType.Msgr2;
    this.family = family;
    this.port = port;
    this.scope = Number(zone);
    return true;
  }

  /** Makes it blank. */
  clear(): void {
    this.type = 0;
    this.nonce = 0;
    this.family = 0;
    this.port = 0;
    this.flowinfo = 0;
    this.scope = 0;
    this.address.fill(0);
  }

  /** Takes another's fields. */
  copy(other: EntityAddr): void {
    this.type = other.type;
    this.nonce = other.nonce;
    this.family = other.family;
    this.port = other.port;
    this.flowinfo = other.flowinfo;
    this.scope = other.scope;
    for (let index = 0; index < 16; index++) this.address[index] = other.address[index]!;
  }

  /** True when every field is the same. */
  equals(other: EntityAddr): boolean {
    return this.compare(other) === 0;
  }

  /** True when both are the same machine's: family and address, whatever the port. */
  sameHost(other: EntityAddr): boolean {
    return this.family === other.family && compareBytes(this.address, other.address) === 0;
  }

  /** True when there is no address in it. */
  isBlank(): boolean {
    return this.family === Family.None;
  }

  /** True for 0.0.0.0 and ::, which a listener may have but nobody can be reached at. */
  isWildcard(): boolean {
    return !this.isBlank() && this.address.every(isZero);
  }

  /**
   * Negative, 0 or positive, in Ceph's order, which decides connection races: type, then nonce,
   * then the bytes of the sockaddr as they lie in memory.
   */
  compare(other: EntityAddr): number {
    if (this.type !== other.type) return this.type - other.type;
    if (this.nonce !== other.nonce) return this.nonce - other.nonce;
    if (this.family !== other.family) return this.family - other.family;
    if (this.port !== other.port) return this.port - other.port;
    if (this.flowinfo !== other.flowinfo) return this.flowinfo - other.flowinfo;
    const order = compareBytes(this.address, other.address);
    return order !== 0 ? order : reversed(this.scope) - reversed(other.scope);
  }

  /** As Ceph writes it: `v2:127.0.0.1:3300/0`, `v2:[::1]:3300/5`, `-` when blank. */
  toString(): string {
    if (this.isBlank()) return "-";
    let host = formatInet(this.family, this.address);
    if (this.family === Family.Inet6) host = `[${host}${this.scope === 0 ? "" : `%${this.scope}`}]`;
    const type = TYPE_NAMES[this.type] ?? `type${this.type}`;
    return `${type}:${host}:${this.port}/${this.nonce}`;
  }
}

const FORM = "[v2:|v1:|any:]HOST:PORT[/NONCE], IPv6 in brackets";
const NUMERIC = "an IPv4 address or an IPv6 address in brackets";
const PARTS = /^(?:(v1|v2|any):)?(?:\[([^\][]+)\]|([^:/\][]+)):([0-9]+)(?:\/([0-9]+))?$/;

/**
 * Splits an address text up without resolving its host.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { AddrType, parseAddress } from "@fairlead/fairlead";
 *
 * const { type, host, port } = parseAddress("hub.example:3300");
 * assert.equal(type, AddrType.Msgr2);
 * assert.equal(`${host} ${port}`, "hub.example 3300");
 * assert.throws(() => parseAddress("hub.example"), /HOST:PORT/);
 * ```
 *
 * @throws Error with the form that was expected
 */
export function parseAddress(text: string): AddressText {
  const parts = PARTS.exec(text);
  if (parts === null) throw new Error(unusable("it", FORM, text));
  const [, prefix = "v2", bracketed, plain, portText, nonceText = "0"] = parts;
  const port = Number(portText);
  if (port > 65535) throw new Error(unusable("its port", "0 to 65535", portText));
  const nonce = Number(nonceText);
  if (nonce > 0xffffffff) throw new Error(unusable("its nonce", "0 to 4294967295", nonceText));
  const address = new Uint8Array(16);
  if (
    bracketed !== undefined && parseInet(bracketed.replace(/%.*$/, ""), address) !== Family.Inet6
  ) {
    throw new Error(unusable("what is in brackets", "an IPv6 address", bracketed));
  }
  return { type: TYPE_NAMES.indexOf(prefix), host: bracketed ?? plain!, port, nonce };
}

/**
 * Bytes that {@linkcode writeEntityAddr} writes.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { EntityAddr, entityAddrBytes } from "@fairlead/fairlead";
 *
 * assert.equal(entityAddrBytes(EntityAddr.parse("v2:10.0.0.1:3300")), 35);
 * assert.equal(entityAddrBytes(EntityAddr.parse("v2:[::1]:3300")), 47);
 * ```
 */
export function entityAddrBytes(addr: EntityAddr): number {
  return SOCKADDR + sockaddrBytes(addr.family);
}

/**
 * Writes an entity_addr_t; returns the offset after it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { EntityAddr, entityAddrBytes, newRegion, writeEntityAddr } from "@fairlead/fairlead";
 *
 * const address = EntityAddr.parse("v2:10.0.0.1:3300");
 * const out = newRegion(entityAddrBytes(address));
 * assert.equal(writeEntityAddr(out, 0, address), 35);
 * assert.equal(out.view.getUint16(21), 3300); // the port alone is big-endian
 * ```
 */
export function writeEntityAddr(out: Region, at: number, addr: EntityAddr): number {
  const { view } = out;
  const size = sockaddrBytes(addr.family);
  view.setUint8(at, MARKER_ADDR);
  view.setUint8(at + VERSION, 1);
  view.setUint8(at + COMPAT, 1);
  view.setUint32(at + LENGTH, SOCKADDR - TYPE + size, true);
  view.setUint32(at + TYPE, addr.type, true);
  view.setUint32(at + NONCE, addr.nonce, true);
  view.setUint32(at + SOCKADDR_LEN, size, true);
  if (size > 0) writeSockaddr(out, at + SOCKADDR, addr);
  return at + SOCKADDR + size;
}

/**
 * Reads an entity_addr_t; returns the offset after it, or a negated {@linkcode Fault}.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { EntityAddr, newRegion, readEntityAddr, writeEntityAddr } from "@fairlead/fairlead";
 *
 * const from = newRegion(64);
 * const end = writeEntityAddr(from, 0, EntityAddr.parse("v2:10.0.0.1:3300"));
 * const address = new EntityAddr();
 * assert.equal(readEntityAddr(from, 0, end, address), end);
 * assert.equal(`${address}`, "v2:10.0.0.1:3300/0");
 * ```
 */
export function readEntityAddr(from: Region, at: number, end: number, into: EntityAddr): number {
  const { view } = from;
  if (end - at < 1) return fail(Fault.Field, "entity_addr length", at, end - at, "1 or more");
  const marker = view.getUint8(at);
  if (marker === MARKER_LEGACY) return readLegacy(from, at, end, into);
  if (marker !== MARKER_ADDR) return fail(Fault.Field, "entity_addr marker", at, marker, "0 or 1");
  if (end - at < TYPE) return fail(Fault.Field, "entity_addr length", at, end - at, "7 or more");
  const compat = view.getUint8(at + COMPAT);
  if (compat > 1) return fail(Fault.Field, "entity_addr compat", at + COMPAT, compat, "0 or 1");
  const length = view.getUint32(at + LENGTH, true);
  if (length > end - at - TYPE) {
    return fail(Fault.Field, "entity_addr length", at + LENGTH, length, "within the segment");
  }
  if (length < SOCKADDR - TYPE) {
    return fail(Fault.Field, "entity_addr length", at + LENGTH, length, "12 or more");
  }
  const next = at + TYPE + length; // a newer version may have more fields in front of this
  const size = view.getUint32(at + SOCKADDR_LEN, true);
  if (size > next - at - SOCKADDR) {
    return fail(
      Fault.Field,
      "entity_addr sockaddr_len",
      at + SOCKADDR_LEN,
      size,
      "within its struct",
    );
  }
  const type = view.getUint32(at + TYPE, true);
  const nonce = view.getUint32(at + NONCE, true);
  into.clear();
  if (size > 0) {
    const family = size < 2 ? -1 : view.getUint16(at + SOCKADDR, true);
    const fault = readSockaddr(from, at + SOCKADDR, size, family, into);
    if (fault < 0) return fault;
  }
  into.type = type;
  into.nonce = nonce;
  return next;
}

function sockaddrBytes(family: number): number {
  if (family === Family.Inet) return INET_SIZE;
  return family === Family.Inet6 ? INET6_SIZE : 0;
}

function writeSockaddr(out: Region, at: number, addr: EntityAddr): void {
  const { bytes, view } = out;
  view.setUint16(at, addr.family, true);
  view.setUint16(at + PORT, addr.port);
  if (addr.family === Family.Inet) {
    for (let index = 0; index < 4; index++) bytes[at + INET_ADDRESS + index] = addr.address[index]!;
    view.setUint32(at + INET_ZERO, 0);
    view.setUint32(at + INET_ZERO + 4, 0);
    return;
  }
  view.setUint32(at + INET6_FLOWINFO, addr.flowinfo);
  for (let index = 0; index < 16; index++) bytes[at + INET6_ADDRESS + index] = addr.address[index]!;
  view.setUint32(at + INET6_SCOPE, addr.scope, true);
}

/** Reads a sockaddr into a blank `into`; sin_zero is ignored. Returns 0 or a negated fault. */
function readSockaddr(
  from: Region,
  at: number,
  size: number,
  family: number,
  into: EntityAddr,
): number {
  if (family === Family.None) return 0;
  if (family !== Family.Inet && family !== Family.Inet6) {
    return fail(Fault.Field, "entity_addr family", at, family, "0, 2 or 10");
  }
  if (size < sockaddrBytes(family)) {
    const expected = family === Family.Inet ? "16 or more" : "28 or more";
    return fail(Fault.Field, "entity_addr sockaddr_len", at, size, expected);
  }
  const { bytes, view } = from;
  into.family = family;
  into.port = view.getUint16(at + PORT);
  if (family === Family.Inet) {
    for (let index = 0; index < 4; index++) into.address[index] = bytes[at + INET_ADDRESS + index]!;
    return 0;
  }
  into.flowinfo = view.getUint32(at + INET6_FLOWINFO);
  for (let index = 0; index < 16; index++) into.address[index] = bytes[at + INET6_ADDRESS + index]!;
  into.scope = view.getUint32(at + INET6_SCOPE, true);
  return 0;
}

function readLegacy(from: Region, at: number, end: number, into: EntityAddr): number {
  if (end - at < LEGACY_SIZE) {
    return fail(Fault.Field, "entity_addr legacy length", at, end - at, "136 or more");
  }
  const { view } = from;
  const family = view.getUint16(at + LEGACY_SOCKADDR);
  into.clear();
  const size = LEGACY_SIZE - LEGACY_SOCKADDR;
  const fault = readSockaddr(from, at + LEGACY_SOCKADDR, size, family, into);
  if (fault < 0) return fault;
  into.type = family === Family.None ? AddrType.None : AddrType.Legacy;
  into.nonce = view.getUint32(at + LEGACY_NONCE, true);
  return at + LEGACY_SIZE;
}

function isZero(byte: number): boolean {
  return byte === 0;
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  for (let index = 0; index < 16; index++) {
    const order = a[index]! - b[index]!;
    if (order !== 0) return order;
  }
  return 0;
}

/** The four bytes the other way round: a little-endian field in memcmp's order. */
function reversed(value: number): number {
  return ((value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24)) >>>
    0;
}

function unusable(what: string, expected: string, found: string | number | undefined): string {
  return `Cannot use address as ${what} must be ${expected}: current value is ${found}`;
}
