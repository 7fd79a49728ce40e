/**
 * What stands in front of the IP header in a captured packet, by the link types of the registry that
 * draft-ietf-opsawg-pcaplinktype describes; tags of IEEE 802.1Q section 9.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";

/** Link types that are read: numbers of LINKTYPE_ values. */
export const LinkType = {
  Null: 0,
  Ethernet: 1,
  /** LINKTYPE_RAW as some systems' DLT_RAW has it in files: BSD/OS and OpenBSD. */
  RawDlt: 12,
  RawOpenBsd: 14,
  Raw: 101,
  Loop: 108,
  LinuxSll: 113,
  Ipv4: 228,
  Ipv6: 229,
  LinuxSll2: 276,
} as const;

/** EtherType of IPv4. */
export const ETHER_TYPE_IPV4 = 0x0800;
/** EtherType of IPv6. */
export const ETHER_TYPE_IPV6 = 0x86dd;

const ETHERNET_TYPE = 12;
const ETHERNET_SIZE = 14;
const SLL_TYPE = 14;
const SLL_SIZE = 16;
const SLL2_SIZE = 20;
const NULL_SIZE = 4;
const TAG_SIZE = 4;
const TAGS_MAX = 4;

/** AF_INET of every system; AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, macOS. */
const FAMILY_INET = 2;
const FAMILIES_INET6: readonly number[] = [10, 24, 28, 30];

/** What a packet carries. */
export class LinkHeader {
  /** {@linkcode ETHER_TYPE_IPV4}, {@linkcode ETHER_TYPE_IPV6}, or whatever else there was. */
  etherType = 0;
}

/**
 * Reads what stands in front of the network's header; returns that one's offset, or a negated
 * {@linkcode Fault}: Feature for a link type that is not read.
 */
export function readLinkHeader(
  from: Region,
  at: number,
  end: number,
  linkType: number,
  into: LinkHeader,
): number {
  switch (linkType) {
    case LinkType.Ethernet:
      if (end - at < ETHERNET_SIZE) return short(at, end);
      return readTags(from, at + ETHERNET_TYPE, end, at + ETHERNET_SIZE, into);
    case LinkType.LinuxSll:
      if (end - at < SLL_SIZE) return short(at, end);
      return readTags(from, at + SLL_TYPE, end, at + SLL_SIZE, into);
    case LinkType.LinuxSll2:
      if (end - at < SLL2_SIZE) return short(at, end);
      return readTags(from, at, end, at + SLL2_SIZE, into);
    case LinkType.Null:
    case LinkType.Loop:
      if (end - at < NULL_SIZE) return short(at, end);
      into.etherType = etherTypeOfFamily(from.view.getUint32(at));
      return at + NULL_SIZE;
    case LinkType.Raw:
    case LinkType.RawDlt:
    case LinkType.RawOpenBsd:
    case LinkType.Ipv4:
    case LinkType.Ipv6:
      if (end - at < 1) return short(at, end);
      into.etherType = etherTypeOfVersion(from.view.getUint8(at) >> 4);
      return at;
    default:
      return fail(Fault.Feature, "link type", -1, linkType, "one that is read");
  }
}

/** The name of a link type without `LINKTYPE_`, its number where it is a rare one. */
export function linkTypeName(linkType: number): string {
  return NAMES[linkType] ?? `link type ${linkType}`;
}

/** Reads the EtherType at `typeAt` and the tags that begin at `at`, each a TCI and the next type. */
function readTags(
  from: Region,
  typeAt: number,
  end: number,
  at: number,
  into: LinkHeader,
): number {
  const { view } = from;
  let type = view.getUint16(typeAt);
  for (let tags = 0; isTag(type) && tags < TAGS_MAX; tags++) {
    if (end - at < TAG_SIZE) return short(at, end);
    type = view.getUint16(at + 2);
    at += TAG_SIZE;
  }
  into.etherType = type;
  return at;
}

/** 802.1Q, 802.1ad, and what was in use before it. */
function isTag(type: number): boolean {
  return type === 0x8100 || type === 0x88a8 || type === 0x9100;
}

/** LINKTYPE_NULL has the family in the order of the machine that captured; it is a small number. */
function etherTypeOfFamily(word: number): number {
  const family = word > 0xffff ? ((word >>> 24) | ((word >>> 8) & 0xff00)) : word;
  if (family === FAMILY_INET) return ETHER_TYPE_IPV4;
  return FAMILIES_INET6.includes(family) ? ETHER_TYPE_IPV6 : 0;
}

function etherTypeOfVersion(version: number): number {
  return version === 4 ? ETHER_TYPE_IPV4 : version === 6 ? ETHER_TYPE_IPV6 : 0;
}

function short(at: number, end: number): number {
  return fail(Fault.Short, "link-layer header length", at, end - at, "that of its link type");
}

/** Those that are met: the others by their number. */
const NAMES: Record<number, string> = {
  0: "NULL",
  1: "ETHERNET",
  6: "IEEE802_5",
  8: "SLIP",
  9: "PPP",
  10: "FDDI",
  12: "RAW",
  14: "RAW",
  50: "PPP_HDLC",
  51: "PPP_ETHER",
  101: "RAW",
  104: "C_HDLC",
  105: "IEEE802_11",
  107: "FRELAY",
  108: "LOOP",
  113: "LINUX_SLL",
  117: "PFLOG",
  119: "IEEE802_11_PRISM",
  122: "IP_OVER_FC",
  127: "IEEE802_11_RADIOTAP",
  166: "PPP_PPPD",
  187: "BLUETOOTH_HCI_H4",
  189: "USB_LINUX",
  195: "IEEE802_15_4_WITHFCS",
  201: "BLUETOOTH_HCI_H4_WITH_PHDR",
  220: "USB_LINUX_MMAPPED",
  227: "CAN_SOCKETCAN",
  228: "IPV4",
  229: "IPV6",
  230: "IEEE802_15_4_NOFCS",
  239: "NFLOG",
  242: "IPOIB",
  247: "INFINIBAND",
  249: "USBPCAP",
  253: "NETLINK",
  276: "LINUX_SLL2",
};
