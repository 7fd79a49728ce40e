/**
 * Network interfaces: rtnetlink(7) RTM_NEWLINK, RTM_DELLINK and RTM_GETLINK, the kernel's if_link.h.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { Attribute, attributeU32, attributeU8, readAttribute } from "./attribute.ts";
import { beginNlmsg, endNlmsg, type Nlmsg, NlmsgFlag } from "./nlmsg.ts";
import { RtmType } from "./rtnetlink.ts";
import { textOr } from "./text.ts";

/** Offsets in struct ifinfomsg. */
const FAMILY = 0;
const INDEX = 4;
const FLAGS = 8;
const IFINFOMSG_SIZE = 16;

const IFNAME = 3; // IFLA_IFNAME
const MTU = 4; // IFLA_MTU
const OPERSTATE = 16; // IFLA_OPERSTATE
const LINKINFO = 18; // IFLA_LINKINFO
const INFO_KIND = 1; // IFLA_INFO_KIND

/** `ifi_flags`. */
export const LinkFlag = {
  /** IFF_UP: administratively. */
  Up: 0x1,
  /** IFF_LOOPBACK. */
  Loopback: 0x8,
  /** IFF_RUNNING: RFC 2863 operational state up. */
  Running: 0x40,
  /** IFF_LOWER_UP: it has carrier. */
  LowerUp: 0x10000,
} as const;

/** An interface. */
export class Link {
  /** AF_UNSPEC (0); AF_BRIDGE (7) of a message about a bridge's port, whose end is not the link's. */
  family = 0;
  index = 0;
  name = "";
  /** Bits of {@linkcode LinkFlag}. */
  flags = 0;
  mtu = 0;
  /** IF_OPER_*: 6 is up. */
  operstate = 0;
  /** `veth`, `vxlan`; empty for hardware and loopback. */
  kind = "";
}

/** Asks for an interface, or with `index` 0 for all of them. */
export function writeLinkRequest(
  out: Region,
  at: number,
  sequence: number,
  index: number,
): number {
  const flags = NlmsgFlag.Request | (index === 0 ? NlmsgFlag.Dump : 0);
  const info = beginNlmsg(out, at, RtmType.GetLink, flags, sequence);
  out.bytes.fill(0, info, info + IFINFOMSG_SIZE);
  out.view.setInt32(info + INDEX, index, true);
  return endNlmsg(out, at, info + IFINFOMSG_SIZE);
}

/** Reads RTM_NEWLINK or RTM_DELLINK; 0, or a negated {@linkcode Fault}. */
export function readLink(from: Region, message: Nlmsg, into: Link): number {
  const { at: info, end } = message;
  if (end - info < IFINFOMSG_SIZE) {
    return fail(Fault.Field, "ifinfomsg length", info, end - info, "16 or more");
  }
  const { view } = from;
  into.family = view.getUint8(info + FAMILY);
  into.index = view.getInt32(info + INDEX, true);
  into.flags = view.getUint32(info + FLAGS, true);
  into.mtu = 0;
  into.operstate = 0;
  let named = false;
  let kinded = false;
  for (let at = info + IFINFOMSG_SIZE; at < end;) {
    at = readAttribute(from, at, end, attribute);
    if (at < 0) return at;
    let read = 0;
    switch (attribute.type) {
      case IFNAME:
        into.name = textOr(from, attribute, into.name);
        named = true;
        break;
      case MTU:
        read = into.mtu = attributeU32(from, attribute);
        break;
      case OPERSTATE:
        read = into.operstate = attributeU8(from, attribute);
        break;
      case LINKINFO:
        read = readKind(from, attribute.at, attribute.end, into);
        kinded = read === 1;
        break;
    }
    if (read < 0) return read;
  }
  if (!named) into.name = "";
  if (!kinded) into.kind = "";
  return 0;
}

/** 1 when there is a kind, 0 when not. */
function readKind(from: Region, at: number, end: number, into: Link): number {
  let found = 0;
  while (at < end) {
    at = readAttribute(from, at, end, attribute);
    if (at < 0) return at;
    if (attribute.type !== INFO_KIND) continue;
    into.kind = textOr(from, attribute, into.kind);
    found = 1;
  }
  return found;
}

const attribute = new Attribute();
