/**
 * Announcements of an IPv6 address by neighbour discovery: the unsolicited neighbour advertisement of
 * RFC 4861 sections 4.4 and 7.2.6, to all nodes of the link, with the override flag and the target's
 * link-layer address (section 4.6.1), in a frame of Ethernet (RFC 2464).
 *
 * @module
 */
import { fail, Fault } from "../mem/fault.ts";
import type { Region } from "../mem/region.ts";
import { ETHERNET_HEADER_SIZE, EtherType, HARDWARE_BYTES, writeEthernet } from "./arp.ts";

/** Bytes of the frame of an advertisement with one option. */
export const ADVERTISEMENT_FRAME_SIZE = 86;

/** Bits of the first byte behind the checksum, section 4.4. */
export const AdvertisementFlag = { Router: 0x80, Solicited: 0x40, Override: 0x20 } as const;

/** Offsets in a frame. */
const TYPE = 12;
const VERSION = ETHERNET_HEADER_SIZE;
const PAYLOAD_LENGTH = VERSION + 4;
const NEXT_HEADER = VERSION + 6;
const HOP_LIMIT = VERSION + 7;
const SOURCE = VERSION + 8;
const DESTINATION = VERSION + 24;
const ICMP = VERSION + 40;
const CHECKSUM = ICMP + 2;
const FLAGS = ICMP + 4;
const TARGET = ICMP + 8;
const OPTION = ICMP + 24;

const ICMPV6 = 58;
const ICMP_BYTES = 32;
const ADVERTISEMENT = 136; // ND_NEIGHBOR_ADVERT
const TARGET_LINK_LAYER = 2; // ND_OPT_TARGET_LINKADDR, of one unit of eight bytes

/** What an advertisement says. */
export class Advertisement {
  readonly source: Uint8Array = new Uint8Array(16);
  readonly target: Uint8Array = new Uint8Array(16);
  readonly hardware: Uint8Array = new Uint8Array(HARDWARE_BYTES);
  /** Bits of {@linkcode AdvertisementFlag}. */
  flags = 0;
}

/**
 * Writes the frame that tells all nodes of the link that the IPv6 `address` is at `hardware`. Who is a
 * `router` must say so: a host forgets the default routes by a neighbour that ceases to (section
 * 7.2.5). Returns its end.
 */
export function writeUnsolicitedAdvertisement(
  out: Region,
  at: number,
  hardware: Uint8Array,
  address: Uint8Array,
  router: boolean,
): number {
  const { bytes, view } = out;
  const end = at + ADVERTISEMENT_FRAME_SIZE;
  bytes.fill(0, at, end);
  writeEthernet(out, at, ALL_NODES_HARDWARE, hardware, EtherType.Inet6);
  view.setUint8(at + VERSION, 6 << 4);
  view.setUint16(at + PAYLOAD_LENGTH, ICMP_BYTES);
  view.setUint8(at + NEXT_HEADER, ICMPV6);
  view.setUint8(at + HOP_LIMIT, 255); // section 7.1.2: anything else is refused
  copy(out, at + SOURCE, address, 16);
  copy(out, at + DESTINATION, ALL_NODES, 16);
  view.setUint8(at + ICMP, ADVERTISEMENT);
  view.setUint8(at + FLAGS, AdvertisementFlag.Override | (router ? AdvertisementFlag.Router : 0));
  copy(out, at + TARGET, address, 16);
  view.setUint8(at + OPTION, TARGET_LINK_LAYER);
  view.setUint8(at + OPTION + 1, 1);
  copy(out, at + OPTION + 2, hardware, HARDWARE_BYTES);
  view.setUint16(at + CHECKSUM, checksum(out, at));
  return end;
}

/**
 * Reads an advertisement with the target's link-layer address, and nothing else; returns its end, or a
 * negated {@linkcode Fault}.
 */
export function readAdvertisement(
  from: Region,
  at: number,
  end: number,
  into: Advertisement,
): number {
  if (end - at < ADVERTISEMENT_FRAME_SIZE) {
    return fail(Fault.Short, "advertisement length", at, end - at, "86 or more");
  }
  const { bytes, view } = from;
  const type = view.getUint16(at + TYPE);
  if (type !== EtherType.Inet6) return fail(Fault.Field, "EtherType", at + TYPE, type, "0x86dd");
  const length = view.getUint16(at + PAYLOAD_LENGTH);
  if (length !== ICMP_BYTES) {
    return fail(Fault.Field, "Payload Length", at + PAYLOAD_LENGTH, length, "32");
  }
  const next = view.getUint16(at + NEXT_HEADER);
  if (next !== ((ICMPV6 << 8) | 255)) {
    return fail(Fault.Field, "Next Header, Hop Limit", at + NEXT_HEADER, next, "58 and 255");
  }
  if (view.getUint16(at + CHECKSUM) !== checksum(from, at)) {
    return fail(Fault.Checksum, "ICMPv6 Checksum", at + CHECKSUM, 0, "that of the packet");
  }
  const kind = view.getUint16(at + ICMP);
  if (kind !== ADVERTISEMENT << 8) return fail(Fault.Field, "Type", at + ICMP, kind, "136, 0");
  const option = view.getUint16(at + OPTION);
  if (option !== ((TARGET_LINK_LAYER << 8) | 1)) {
    return fail(Fault.Field, "option", at + OPTION, option, "Target Link-Layer Address");
  }
  into.flags = view.getUint8(at + FLAGS);
  for (let i = 0; i < 16; i++) {
    into.source[i] = bytes[at + SOURCE + i]!;
    into.target[i] = bytes[at + TARGET + i]!;
  }
  for (let i = 0; i < HARDWARE_BYTES; i++) into.hardware[i] = bytes[at + OPTION + 2 + i]!;
  return at + ADVERTISEMENT_FRAME_SIZE;
}

/** Of the message and its pseudo-header, RFC 8200 section 8.1; the field itself counts as zero. */
function checksum({ view }: Region, at: number): number {
  let sum = ICMP_BYTES + ICMPV6 - view.getUint16(at + CHECKSUM);
  for (let from = at + SOURCE; from < at + ADVERTISEMENT_FRAME_SIZE; from += 2) {
    sum += view.getUint16(from);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function copy({ bytes }: Region, at: number, from: Uint8Array, size: number): void {
  for (let i = 0; i < size; i++) bytes[at + i] = from[i]!;
}

const ALL_NODES = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_HARDWARE = Uint8Array.of(0x33, 0x33, 0, 0, 0, 1); // RFC 2464 section 7
