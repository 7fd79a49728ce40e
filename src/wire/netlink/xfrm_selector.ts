/**
 * Selectors, which traffic an SA or a policy is for: the kernel's xfrm.h, struct xfrm_selector.
 *
 * @module
 */
import type { Region } from "../../mem/region.ts";
import { formatInet } from "../inet.ts";
import { ADDRESS_SIZE, copyAddress, putAddress, xfrmProtoName } from "./xfrm.ts";

/** Offsets in struct xfrm_selector. */
const SADDR = 16;
const DPORT = 32;
const DPORT_MASK = 34;
const SPORT = 36;
const SPORT_MASK = 38;
const FAMILY = 40;
const PREFIXLEN_D = 42;
const PREFIXLEN_S = 43;
const PROTO = 44;
const IFINDEX = 48;
const USER = 52;
/** Bytes of struct xfrm_selector. */
export const SELECTOR_SIZE = 56;

/** Which packets are meant; a mask or a prefix of 0 takes all. */
export class XfrmSelector {
  readonly daddr: Uint8Array = new Uint8Array(ADDRESS_SIZE);
  readonly saddr: Uint8Array = new Uint8Array(ADDRESS_SIZE);
  dport = 0;
  dportMask = 0;
  sport = 0;
  sportMask = 0;
  /** A Family; 0 of an SA that says nothing. */
  family = 0;
  prefixlenD = 0;
  prefixlenS = 0;
  /** Of IP: 6 is TCP, 0 is any. */
  proto = 0;
  ifindex = 0;
  user = 0;
}

/** Reads a selector, whose length the caller has checked. */
export function readSelector(from: Region, at: number, into: XfrmSelector): void {
  const { view } = from;
  copyAddress(from, at, into.daddr);
  copyAddress(from, at + SADDR, into.saddr);
  into.dport = view.getUint16(at + DPORT);
  into.dportMask = view.getUint16(at + DPORT_MASK);
  into.sport = view.getUint16(at + SPORT);
  into.sportMask = view.getUint16(at + SPORT_MASK);
  into.family = view.getUint16(at + FAMILY, true);
  into.prefixlenD = view.getUint8(at + PREFIXLEN_D);
  into.prefixlenS = view.getUint8(at + PREFIXLEN_S);
  into.proto = view.getUint8(at + PROTO);
  into.ifindex = view.getInt32(at + IFINDEX, true);
  into.user = view.getUint32(at + USER, true);
}

/** Writes a selector; returns the offset after it. */
export function writeSelector(out: Region, at: number, selector: XfrmSelector): number {
  const { view } = out;
  putAddress(out, at, selector.daddr);
  putAddress(out, at + SADDR, selector.saddr);
  view.setUint16(at + DPORT, selector.dport);
  view.setUint16(at + DPORT_MASK, selector.dportMask);
  view.setUint16(at + SPORT, selector.sport);
  view.setUint16(at + SPORT_MASK, selector.sportMask);
  view.setUint16(at + FAMILY, selector.family, true);
  view.setUint8(at + PREFIXLEN_D, selector.prefixlenD);
  view.setUint8(at + PREFIXLEN_S, selector.prefixlenS);
  view.setUint32(at + PROTO, selector.proto, true); // and the padding
  view.setInt32(at + IFINDEX, selector.ifindex, true);
  view.setUint32(at + USER, selector.user, true);
  return at + SELECTOR_SIZE;
}

/** A selector as ip-xfrm(8) writes it: `src 10.9.0.1/32 dst 10.9.0.2/32 proto 17 dport 500`. */
export function selectorText(selector: XfrmSelector): string {
  const { family, saddr, daddr, prefixlenS, prefixlenD, proto, ifindex, user } = selector;
  const source = `src ${formatInet(family, saddr)}/${prefixlenS}`;
  const destination = `dst ${formatInet(family, daddr)}/${prefixlenD}`;
  const ports = portText("sport", selector.sport, selector.sportMask) +
    portText("dport", selector.dport, selector.dportMask);
  return `${source} ${destination}${proto === 0 ? "" : ` proto ${protocolName(proto)}`}${ports}${
    ifindex === 0 ? "" : ` ifindex ${ifindex}`
  }${user === 0 ? "" : ` uid ${user}`}`;
}

function portText(name: string, port: number, mask: number): string {
  if (mask === 0) return port === 0 ? "" : ` ${name} ${port}/0`;
  return mask === 0xffff ? ` ${name} ${port}` : ` ${name} ${port}/0x${mask.toString(16)}`;
}

function protocolName(proto: number): string {
  return NAMES[proto] ?? xfrmProtoName(proto);
}

const NAMES: Readonly<Record<number, string>> = { 1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6" };
