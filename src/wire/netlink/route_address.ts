/**
 * Addresses given to interfaces and taken away: rtnetlink(7) RTM_NEWADDR and RTM_DELADDR, the kernel's
 * if_addr.h. They are read by address.ts.
 *
 * @module
 */
import type { Region } from "../../mem/region.ts";
import { Family } from "../inet.ts";
import type { InterfaceAddress } from "./address.ts";
import { writeBytes, writeU32, writeU8 } from "./attribute.ts";
import { beginNlmsg, endNlmsg, NlmsgFlag } from "./nlmsg.ts";
import { RtmType } from "./rtnetlink.ts";

const IFADDRMSG_SIZE = 8;
const ADDRESS = 1; // IFA_ADDRESS
const LOCAL = 2; // IFA_LOCAL
const CACHEINFO = 6; // IFA_CACHEINFO
const CACHEINFO_SIZE = 16; // struct ifa_cacheinfo: preferred, valid, two stamps
const IFA_FLAGS = 8; // IFA_FLAGS: all 32 bits of them
const IFA_PROTO = 11; // IFA_PROTO
/** IFA_F_NOPREFIXROUTE: no route comes with it. */
const NOPREFIXROUTE = 0x200;
/** IFA_F_NODAD: an IPv6 address works at once; it was another box's a moment ago. */
const NODAD = 0x02;

/**
 * Writes the request that gives an interface the address `local` of `family`, with what else it needs:
 * `index`, `prefixLength`, `scope`. One that is there already gets the lifetime: seconds after
 * which the kernel takes the address away by itself, 0 for never.
 */
export function writeNewAddress(
  out: Region,
  at: number,
  sequence: number,
  address: InterfaceAddress,
  lifetimeSeconds: number,
): number {
  const { Ack, Create, Replace, Request } = NlmsgFlag;
  const flags = Request | Ack | Create | Replace;
  const nodad = address.family === Family.Inet6 ? NODAD : 0;
  let end = writeAddress(out, at, sequence, RtmType.NewAddress, flags, address, nodad);
  if (lifetimeSeconds > 0) {
    const { bytes, view } = out;
    view.setUint16(end, 4 + CACHEINFO_SIZE, true);
    view.setUint16(end + 2, CACHEINFO, true);
    view.setUint32(end + 4, lifetimeSeconds, true);
    view.setUint32(end + 8, lifetimeSeconds, true);
    bytes.fill(0, end + 12, end + 20);
    end += 4 + CACHEINFO_SIZE;
  }
  return endNlmsg(out, at, end);
}

/**
 * Writes the request that gives an interface an address that it must not have yet, without a route, and
 * with `protocol`, which tells later whose it is.
 */
export function writeTaggedAddress(
  out: Region,
  at: number,
  sequence: number,
  { family, index, local, prefixLength, protocol, scope }: InterfaceAddress,
): number {
  const { Ack, Create, Exclusive, Request } = NlmsgFlag;
  const flags = Request | Ack | Create | Exclusive;
  const { view } = out;
  const info = beginNlmsg(out, at, RtmType.NewAddress, flags, sequence);
  view.setUint8(info, family);
  view.setUint8(info + 1, prefixLength);
  view.setUint8(info + 2, 0);
  view.setUint8(info + 3, scope);
  view.setUint32(info + 4, index, true);
  const size = family === Family.Inet ? 4 : 16;
  let end = writeBytes(out, info + IFADDRMSG_SIZE, LOCAL, local, size);
  end = writeU32(out, end, IFA_FLAGS, NOPREFIXROUTE);
  end = writeBytes(out, end, ADDRESS, local, size);
  return endNlmsg(out, at, writeU8(out, end, IFA_PROTO, protocol));
}

/** Writes the request that takes the address away from the interface. */
export function writeDelAddress(
  out: Region,
  at: number,
  sequence: number,
  address: InterfaceAddress,
): number {
  const flags = NlmsgFlag.Request | NlmsgFlag.Ack;
  return endNlmsg(
    out,
    at,
    writeAddress(out, at, sequence, RtmType.DelAddress, flags, address, 0),
  );
}

function writeAddress(
  out: Region,
  at: number,
  sequence: number,
  type: number,
  flags: number,
  { family, index, local, prefixLength, scope }: InterfaceAddress,
  addressFlags: number,
): number {
  const { view } = out;
  const info = beginNlmsg(out, at, type, flags, sequence);
  view.setUint8(info, family);
  view.setUint8(info + 1, prefixLength);
  view.setUint8(info + 2, addressFlags);
  view.setUint8(info + 3, scope);
  view.setUint32(info + 4, index, true);
  const size = family === Family.Inet ? 4 : 16;
  const end = writeBytes(out, info + IFADDRMSG_SIZE, LOCAL, local, size);
  return writeBytes(out, end, ADDRESS, local, size);
}
