/**
 * Addresses of interfaces: rtnetlink(7) RTM_NEWADDR, RTM_DELADDR and RTM_GETADDR, the kernel's
 * if_addr.h.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { Family } from "../inet.ts";
import {
  Attribute,
  attributeBytes,
  attributeU32,
  attributeU8,
  readAttribute,
} from "./attribute.ts";
import { beginNlmsg, endNlmsg, type Nlmsg, NlmsgFlag } from "./nlmsg.ts";
import { RtmType } from "./rtnetlink.ts";

/** Offsets in struct ifaddrmsg. */
const PREFIXLEN = 1;
const FLAGS = 2;
const SCOPE = 3;
const INDEX = 4;
const IFADDRMSG_SIZE = 8;

const ADDRESS = 1; // IFA_ADDRESS: the peer's, on a point-to-point link
const LOCAL = 2; // IFA_LOCAL: our own, where IFA_ADDRESS may be another
const IFA_FLAGS = 8; // IFA_FLAGS: all 32 bits of them
const IFA_PROTO = 11; // IFA_PROTO

/** IFA_F_*. */
export const AddressFlag = {
  /** IFA_F_TEMPORARY of IPv6, IFA_F_SECONDARY of IPv4. */
  Temporary: 0x01,
  DadFailed: 0x08,
  Deprecated: 0x20,
  Tentative: 0x40,
  Permanent: 0x80,
} as const;

/** `ifa_scope`: RT_SCOPE_*. */
export const AddressScope = { Universe: 0, Site: 200, Link: 253, Host: 254 } as const;

/** An address of an interface. */
export class InterfaceAddress {
  /** A {@linkcode Family}; the address is not read when it is another one. */
  family = 0;
  index = 0;
  prefixLength = 0;
  /** One of {@linkcode AddressScope}. */
  scope = 0;
  /** Bits of {@linkcode AddressFlag}. */
  flags = 0;
  /** Who gave it: 0 when nobody said, 1 to 3 the kernel. */
  protocol = 0;
  /** Our own, IPv4 in the first four bytes. */
  readonly local: Uint8Array = new Uint8Array(16);
  /** The other end's on a point-to-point link, else our own again. */
  readonly peer: Uint8Array = new Uint8Array(16);
}

/** Asks for the addresses of all interfaces; {@linkcode Family}.None for both families. */
export function writeAddressDump(
  out: Region,
  at: number,
  sequence: number,
  family: number,
): number {
  const { Request, Dump } = NlmsgFlag;
  const info = beginNlmsg(out, at, RtmType.GetAddress, Request | Dump, sequence);
  out.bytes.fill(0, info, info + IFADDRMSG_SIZE);
  out.view.setUint8(info, family);
  return endNlmsg(out, at, info + IFADDRMSG_SIZE);
}

/** Reads RTM_NEWADDR or RTM_DELADDR; 0, or a negated {@linkcode Fault}. */
export function readAddress(from: Region, message: Nlmsg, into: InterfaceAddress): number {
  const { at: info, end } = message;
  if (end - info < IFADDRMSG_SIZE) {
    return fail(Fault.Field, "ifaddrmsg length", info, end - info, "8 or more");
  }
  const { view } = from;
  const family = view.getUint8(info);
  into.family = family;
  into.prefixLength = view.getUint8(info + PREFIXLEN);
  into.flags = view.getUint8(info + FLAGS);
  into.scope = view.getUint8(info + SCOPE);
  into.index = view.getUint32(info + INDEX, true);
  into.protocol = 0;
  const { local, peer } = into;
  local.fill(0);
  peer.fill(0);
  const size = family === Family.Inet ? 4 : family === Family.Inet6 ? 16 : 0;
  let hasLocal = false;
  let hasPeer = false;
  for (let at = info + IFADDRMSG_SIZE; at < end;) {
    at = readAttribute(from, at, end, attribute);
    if (at < 0) return at;
    const { type } = attribute;
    let read = 0;
    if (type === LOCAL) {
      read = attributeBytes(from, attribute, size, local);
      hasLocal = true;
    } else if (type === ADDRESS) {
      read = attributeBytes(from, attribute, size, peer);
      hasPeer = true;
    } else if (type === IFA_FLAGS) read = into.flags = attributeU32(from, attribute);
    else if (type === IFA_PROTO) read = into.protocol = attributeU8(from, attribute);
    if (read < 0) return read;
  }
  if (!hasLocal && !hasPeer && size > 0) {
    return fail(Fault.Field, "RTM_NEWADDR address", info, 0, "IFA_LOCAL or IFA_ADDRESS");
  }
  if (!hasLocal) local.set(peer);
  if (!hasPeer) peer.set(local);
  return 0;
}

const attribute = new Attribute();
