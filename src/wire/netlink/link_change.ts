/**
 * Changes to network interfaces: rtnetlink(7) RTM_NEWLINK of one that is there, and RTM_DELLINK; the
 * kernel's if_link.h.
 *
 * @module
 */
import type { Region } from "../../mem/region.ts";
import { Family } from "../inet.ts";
import { beginNest, endNest, writeBytes, writeU32 } from "./attribute.ts";
import { LinkFlag } from "./link.ts";
import { beginNlmsg, endNlmsg, NlmsgFlag } from "./nlmsg.ts";
import { RtmType } from "./rtnetlink.ts";
import type { Vxlan } from "./vxlan.ts";

/** Offsets in struct ifinfomsg. */
const INDEX = 4;
const FLAGS = 8;
const CHANGE = 12;
const IFINFOMSG_SIZE = 16;

const IFALIAS = 20; // IFLA_IFALIAS
const AF_SPEC = 26; // IFLA_AF_SPEC
const INET_CONF = 1; // IFLA_INET_CONF
const FORWARDING = 1; // IPV4_DEVCONF_FORWARDING
const RP_FILTER = 8; // IPV4_DEVCONF_RP_FILTER
const ACCEPT_LOCAL = 23; // IPV4_DEVCONF_ACCEPT_LOCAL

/** Writes the request that brings an interface up, or down. */
export function writeLinkState(
  out: Region,
  at: number,
  sequence: number,
  index: number,
  up: boolean,
): number {
  const info = begin(out, at, RtmType.NewLink, sequence, index);
  out.view.setUint32(info + FLAGS, up ? LinkFlag.Up : 0, true);
  out.view.setUint32(info + CHANGE, LinkFlag.Up, true);
  return endNlmsg(out, at, info + IFINFOMSG_SIZE);
}

/** Writes the request that gives an interface an alias: up to 255 bytes of UTF-8. */
export function writeLinkAlias(
  out: Region,
  at: number,
  sequence: number,
  index: number,
  alias: string,
): number {
  const info = begin(out, at, RtmType.NewLink, sequence, index);
  const bytes = new TextEncoder().encode(alias);
  return endNlmsg(out, at, writeBytes(out, info + IFINFOMSG_SIZE, IFALIAS, bytes, bytes.length));
}

/**
 * Writes the request that sets what IPv4 does with packets that come in by the interface: `forwarding`,
 * `rpFilter`, `acceptLocal`.
 */
export function writeLinkInet(
  out: Region,
  at: number,
  sequence: number,
  { acceptLocal, forwarding, index, rpFilter }: Vxlan,
): number {
  const info = begin(out, at, RtmType.NewLink, sequence, index);
  const spec = info + IFINFOMSG_SIZE;
  const inet = beginNest(out, spec, AF_SPEC);
  const conf = beginNest(out, inet, Family.Inet);
  let end = writeU32(out, beginNest(out, conf, INET_CONF), FORWARDING, forwarding);
  end = writeU32(out, end, RP_FILTER, rpFilter);
  end = endNest(out, conf, writeU32(out, end, ACCEPT_LOCAL, acceptLocal));
  return endNlmsg(out, at, endNest(out, spec, endNest(out, inet, end)));
}

/** Writes the request that deletes an interface. */
export function writeDelLink(out: Region, at: number, sequence: number, index: number): number {
  const info = begin(out, at, RtmType.DelLink, sequence, index);
  return endNlmsg(out, at, info + IFINFOMSG_SIZE);
}

function begin(out: Region, at: number, type: number, sequence: number, index: number): number {
  const info = beginNlmsg(out, at, type, NlmsgFlag.Request | NlmsgFlag.Ack, sequence);
  out.bytes.fill(0, info, info + IFINFOMSG_SIZE);
  out.view.setInt32(info + INDEX, index, true);
  return info;
}
