/**
 * VXLAN devices (RFC 7348) by rtnetlink(7): RTM_NEWLINK with IFLA_LINKINFO, the kernel's if_link.h. One
 * remote, nothing learned: the two ends of a tunnel.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { Family } from "../inet.ts";
import {
  Attribute,
  attributeBytes,
  attributeText,
  attributeU16Be,
  attributeU32,
  beginNest,
  checkSize,
  endNest,
  readAttribute,
  writeBytes,
  writeText,
  writeU16Be,
  writeU32,
  writeU8,
} from "./attribute.ts";
import { beginNlmsg, endNlmsg, type Nlmsg, NlmsgFlag } from "./nlmsg.ts";
import { RtmType } from "./rtnetlink.ts";

/** Offsets in struct ifinfomsg. */
const INDEX = 4;
const FLAGS = 8;
const IFINFOMSG_SIZE = 16;

const IFNAME = 3; // IFLA_IFNAME
const MTU = 4; // IFLA_MTU
const LINKINFO = 18; // IFLA_LINKINFO
const IFALIAS = 20; // IFLA_IFALIAS
const STATS64 = 23; // IFLA_STATS64: struct rtnl_link_stats64
const AF_SPEC = 26; // IFLA_AF_SPEC: a nest of each family
const INFO_KIND = 1; // IFLA_INFO_KIND
const INFO_DATA = 2; // IFLA_INFO_DATA

/** IFLA_VXLAN_*. */
const ID = 1;
const GROUP = 2;
const LOCAL = 4;
const TTL = 5;
const LEARNING = 7;
const PORT = 15;
const GROUP6 = 16;
const LOCAL6 = 17;
const UDP_CSUM = 18;
const UDP_ZERO_CSUM6_RX = 20;

/** Of the packets around ours; 0 would be 1 for some and inherited by others. */
const OUTER_TTL = 64;

/** IFLA_INET_CONF, in AF_INET of IFLA_AF_SPEC: an array of 32-bit numbers, IPV4_DEVCONF_* from 1. */
const INET_CONF = 1;
const FORWARDING_AT = 0;
const RP_FILTER_AT = 28;
const ACCEPT_LOCAL_AT = 88;
const CONF_SIZE_MIN = 92;

/** Counters of struct rtnl_link_stats64 that are read, each of 64 bits. */
const RX_PACKETS_AT = 0;
const TX_PACKETS_AT = 8;
const RX_BYTES_AT = 16;
const TX_BYTES_AT = 24;
const RX_ERRORS_AT = 32;
const DROPS_END_AT = 64; // rx_errors, tx_errors, rx_dropped, tx_dropped
const STATS_SIZE = 64;

const KIND = new TextEncoder().encode("vxlan");

/** An interface: what makes it a tunnel's end, and what is told of every other one too. */
export class Vxlan {
  index = 0;
  name = "";
  /** Bits of `LinkFlag` of link.ts. */
  flags = 0;
  mtu = 0;
  alias = "";
  /** `vxlan`, or what else it is. */
  kind = "";
  /** -1 when it is none. */
  vni = -1;
  /** UDP port of the other end, and here. */
  port = 0;
  /** {@linkcode Family} of the tunnel's ends. */
  family = 0;
  /** IPv4 in the first four bytes, as in {@linkcode remote}. */
  readonly local: Uint8Array = new Uint8Array(16);
  readonly remote: Uint8Array = new Uint8Array(16);
  /** Of IPv4, for packets that come in here: 0, 1; -1 when the kernel does not say. */
  forwarding = -1;
  rpFilter = -1;
  /** Whether a packet may come from an address that is our own: it was here before. */
  acceptLocal = -1;
  rxPackets = 0;
  txPackets = 0;
  rxBytes = 0;
  txBytes = 0;
  /** Errors and drops of both directions. */
  errors = 0;
}

/** Writes the request that makes the device, down: `name`, `mtu`, `vni`, `port`, the two ends. */
export function writeNewVxlan(out: Region, at: number, sequence: number, device: Vxlan): number {
  const { Ack, Create, Exclusive, Request } = NlmsgFlag;
  const info = beginNlmsg(out, at, RtmType.NewLink, Request | Ack | Create | Exclusive, sequence);
  out.bytes.fill(0, info, info + IFINFOMSG_SIZE);
  let end = writeU32(out, info + IFINFOMSG_SIZE, MTU, device.mtu);
  end = writeText(out, end, IFNAME, device.name);
  const linkInfo = end;
  end = beginFlatNest(out, linkInfo, LINKINFO);
  end = writeBytes(out, end, INFO_KIND, KIND, KIND.length);
  const data = end;
  end = writeU8(out, beginFlatNest(out, data, INFO_DATA), TTL, OUTER_TTL);
  end = writeU8(out, end, UDP_CSUM, 1);
  const inet6 = device.family === Family.Inet6;
  if (inet6) end = writeU8(out, end, UDP_ZERO_CSUM6_RX, 0);
  end = writeU32(out, end, ID, device.vni);
  const size = inet6 ? 16 : 4;
  end = writeBytes(out, end, inet6 ? LOCAL6 : LOCAL, device.local, size);
  end = writeBytes(out, end, inet6 ? GROUP6 : GROUP, device.remote, size);
  end = writeU8(out, end, LEARNING, 0);
  end = writeU16Be(out, end, PORT, device.port);
  endNest(out, data, end);
  return endNlmsg(out, at, endNest(out, linkInfo, end));
}

/** A nest without NLA_F_NESTED, as these ones always were. */
function beginFlatNest(out: Region, at: number, type: number): number {
  const inside = beginNest(out, at, type);
  out.view.setUint16(at + 2, type, true);
  return inside;
}

/** Asks for an interface by its name; it is answered, then acknowledged. */
export function writeVxlanRequest(
  out: Region,
  at: number,
  sequence: number,
  name: string,
): number {
  const { Ack, Request } = NlmsgFlag;
  const info = beginNlmsg(out, at, RtmType.GetLink, Request | Ack, sequence);
  out.bytes.fill(0, info, info + IFINFOMSG_SIZE);
  return endNlmsg(out, at, writeText(out, info + IFINFOMSG_SIZE, IFNAME, name));
}

/** Reads RTM_NEWLINK of any interface; 0, or a negated {@linkcode Fault}. */
export function readVxlan(from: Region, message: Nlmsg, into: Vxlan): number {
  const { at: info, end } = message;
  if (end - info < IFINFOMSG_SIZE) {
    return fail(Fault.Field, "ifinfomsg length", info, end - info, "16 or more");
  }
  clear(into);
  into.index = from.view.getInt32(info + INDEX, true);
  into.flags = from.view.getUint32(info + FLAGS, true);
  return each(from, info + IFINFOMSG_SIZE, end, (attribute) => {
    switch (attribute.type) {
      case IFNAME:
        into.name = attributeText(from, attribute);
        return 0;
      case MTU:
        return into.mtu = attributeU32(from, attribute);
      case IFALIAS:
        into.alias = attributeText(from, attribute);
        return 0;
      case LINKINFO:
        return readLinkInfo(from, attribute, into);
      case STATS64:
        return readCounters(from, attribute, into);
      case AF_SPEC:
        return readFamilies(from, attribute, into);
    }
    return 0;
  });
}

function clear(into: Vxlan): void {
  into.name = into.alias = into.kind = "";
  into.mtu = into.port = into.family = 0;
  into.vni =
    into.forwarding =
    into.rpFilter =
    into.acceptLocal =
      -1;
  into.rxPackets =
    into.txPackets =
    into.rxBytes =
    into.txBytes =
    into.errors =
      0;
  into.local.fill(0);
  into.remote.fill(0);
}

function readLinkInfo(from: Region, { at, end }: Attribute, into: Vxlan): number {
  let dataAt = 0;
  let dataEnd = 0;
  const answer = each(from, at, end, (attribute) => {
    if (attribute.type === INFO_KIND) into.kind = attributeText(from, attribute);
    if (attribute.type === INFO_DATA) [dataAt, dataEnd] = [attribute.at, attribute.end];
    return 0;
  });
  if (answer < 0 || into.kind !== "vxlan") return answer; // another kind's data is another's
  return each(from, dataAt, dataEnd, (attribute) => readData(from, attribute, into));
}

function readData(from: Region, attribute: Attribute, into: Vxlan): number {
  const size = attribute.type === LOCAL6 || attribute.type === GROUP6 ? 16 : 4;
  switch (attribute.type) {
    case ID:
      return into.vni = attributeU32(from, attribute);
    case PORT:
      return into.port = attributeU16Be(from, attribute);
    case LOCAL:
    case LOCAL6:
      into.family = size === 4 ? Family.Inet : Family.Inet6;
      return attributeBytes(from, attribute, size, into.local);
    case GROUP:
    case GROUP6:
      into.family = size === 4 ? Family.Inet : Family.Inet6;
      return attributeBytes(from, attribute, size, into.remote);
  }
  return 0;
}

function readCounters(from: Region, attribute: Attribute, into: Vxlan): number {
  const answer = checkSize(attribute, STATS_SIZE);
  if (answer < 0) return answer;
  const { at } = attribute;
  into.rxPackets = counter(from, at + RX_PACKETS_AT);
  into.txPackets = counter(from, at + TX_PACKETS_AT);
  into.rxBytes = counter(from, at + RX_BYTES_AT);
  into.txBytes = counter(from, at + TX_BYTES_AT);
  for (let one = RX_ERRORS_AT; one < DROPS_END_AT; one += 8) into.errors += counter(from, at + one);
  return 0;
}

function readFamilies(from: Region, { at, end }: Attribute, into: Vxlan): number {
  return each(from, at, end, (family) => {
    if (family.type !== Family.Inet) return 0;
    return each(from, family.at, family.end, (conf) => {
      if (conf.type !== INET_CONF || conf.end - conf.at < CONF_SIZE_MIN) return 0;
      into.forwarding = from.view.getInt32(conf.at + FORWARDING_AT, true);
      into.rpFilter = from.view.getInt32(conf.at + RP_FILTER_AT, true);
      into.acceptLocal = from.view.getInt32(conf.at + ACCEPT_LOCAL_AT, true);
      return 0;
    });
  });
}

/** Up to 2^53 exactly; what is beyond is near enough for a counter. */
function counter({ view }: Region, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
}

/** Calls `take` for each attribute until one answers a fault; 0, or that fault. */
function each(from: Region, at: number, end: number, take: (one: Attribute) => number): number {
  const attribute = new Attribute();
  while (at < end) {
    at = readAttribute(from, at, end, attribute);
    if (at < 0) return at;
    const answer = take(attribute);
    if (answer < 0) return answer;
  }
  return 0;
}
