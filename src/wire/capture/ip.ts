/**
 * The headers of IPv4 (RFC 791 section 3.1) and IPv6 (RFC 8200 sections 3 and 4, RFC 4302 section 2.2)
 * of a captured packet, down to the transport's. Checksums are not looked at: what a host sends is
 * captured before its network card computes them.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";

/** Assigned number of TCP. */
export const PROTOCOL_TCP = 6;

const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const AUTHENTICATION = 51;
const DESTINATION_OPTIONS = 60;
/** More than any stack sends; RFC 8504 section 5.3 lets a node set such a limit. */
const EXTENSIONS_MAX = 16;

const IPV4_HEADER_SIZE = 20;
const IPV4_TOTAL_LENGTH = 2;
const IPV4_IDENTIFICATION = 4;
const IPV4_FRAGMENT = 6;
const IPV4_PROTOCOL = 9;
const IPV4_SOURCE = 12;
const IPV4_DESTINATION = 16;
const IPV4_MORE_FRAGMENTS = 0x2000;
const IPV4_FRAGMENT_OFFSET = 0x1fff;

const IPV6_HEADER_SIZE = 40;
const IPV6_PAYLOAD_LENGTH = 4;
const IPV6_NEXT_HEADER = 6;
const IPV6_SOURCE = 8;
const EXTENSION_UNIT = 8;
const FRAGMENT_OFFSET = 2;
const FRAGMENT_IDENTIFICATION = 4;

const MAPPED = 0xffff;
/** Of a packet without a length of its own: twice what Linux lets segmentation offload build. */
const OFFLOAD_BYTES_MAX = 1024 * 1024;

/** What an IP packet carries. */
export class IpPacket {
  /** 4 or 6. */
  version = 0;
  /** Of the payload; of a fragment of IPv6, the header that begins in it, where its offset is 0. */
  protocol = 0;
  /** Where the captured payload lies. */
  at = 0;
  end = 0;
  /** Payload on the wire. */
  payloadBytes = 0;
  /** Whether it is a part of a datagram; the next three say which. */
  isFragment = false;
  identification = 0;
  fragmentOffset = 0;
  moreFragments = false;
}

/**
 * Reads a header of IPv4 in [at, end), of which the link carried `wireBytes`, and its addresses (as in
 * TcpSegment). What lies behind the total length is padding of the link. Returns the offset of the
 * payload, or a negated {@linkcode Fault}.
 */
export function readIpv4(
  from: Region,
  at: number,
  end: number,
  wireBytes: number,
  into: IpPacket,
  addresses: Int32Array,
): number {
  if (end - at < IPV4_HEADER_SIZE) {
    return fail(Fault.Short, "IPv4 header length", at, end - at, "20 or more");
  }
  const { view } = from;
  const first = view.getUint8(at);
  if (first >> 4 !== 4) return fail(Fault.Field, "IPv4 Version", at, first >> 4, "4");
  const headerBytes = (first & 15) * 4;
  // Offloads that cut a segment later leave 0: then the frame tells the length.
  const totalBytes = view.getUint16(at + IPV4_TOTAL_LENGTH) || wireBytes;
  if (headerBytes < IPV4_HEADER_SIZE || headerBytes > totalBytes) {
    return fail(Fault.Field, "IPv4 IHL in bytes", at, headerBytes, "20 to the packet's length");
  }
  if (headerBytes > end - at) {
    return fail(Fault.Short, "IPv4 header length", at, end - at, "what its IHL says");
  }
  if (totalBytes > OFFLOAD_BYTES_MAX) return tooLong(at, totalBytes);
  const word = view.getUint16(at + IPV4_FRAGMENT);
  into.version = 4;
  into.protocol = view.getUint8(at + IPV4_PROTOCOL);
  into.isFragment = (word & (IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET)) !== 0;
  if (into.isFragment) {
    into.identification = view.getUint16(at + IPV4_IDENTIFICATION);
    into.fragmentOffset = (word & IPV4_FRAGMENT_OFFSET) * EXTENSION_UNIT;
    into.moreFragments = (word & IPV4_MORE_FRAGMENTS) !== 0;
  }
  addresses[0] = 0;
  addresses[1] = 0;
  addresses[2] = MAPPED;
  addresses[3] = view.getInt32(at + IPV4_SOURCE);
  addresses[4] = 0;
  addresses[5] = 0;
  addresses[6] = MAPPED;
  addresses[7] = view.getInt32(at + IPV4_DESTINATION);
  into.at = at + headerBytes;
  into.end = Math.min(end, at + totalBytes);
  into.payloadBytes = totalBytes - headerBytes;
  return into.at;
}

/** The same for IPv6, its extension headers included up to the one of a fragment. */
export function readIpv6(
  from: Region,
  at: number,
  end: number,
  wireBytes: number,
  into: IpPacket,
  addresses: Int32Array,
): number {
  if (end - at < IPV6_HEADER_SIZE) {
    return fail(Fault.Short, "IPv6 header length", at, end - at, "40 or more");
  }
  const { view } = from;
  const version = view.getUint8(at) >> 4;
  if (version !== 6) return fail(Fault.Field, "IPv6 Version", at, version, "6");
  for (let i = 0; i < 8; i++) addresses[i] = view.getInt32(at + IPV6_SOURCE + 4 * i);
  const payloadAt = at + IPV6_HEADER_SIZE;
  // 0 with a jumbo payload (RFC 2675), and of offloads: then the frame tells the length.
  const payloadBytes = view.getUint16(at + IPV6_PAYLOAD_LENGTH) || wireBytes - IPV6_HEADER_SIZE;
  if (payloadBytes > OFFLOAD_BYTES_MAX) return tooLong(at, payloadBytes);
  into.version = 6;
  into.protocol = view.getUint8(at + IPV6_NEXT_HEADER);
  into.at = payloadAt;
  into.end = Math.min(end, payloadAt + payloadBytes);
  into.payloadBytes = payloadBytes;
  return skipExtensions(from, into);
}

/**
 * Goes over the extension headers at the start of a payload of IPv6, and stops behind that of a
 * fragment; returns the offset behind them, or a negated {@linkcode Fault}.
 */
export function skipExtensions(from: Region, packet: IpPacket): number {
  const { view } = from;
  const start = packet.at;
  packet.isFragment = false;
  for (let count = 0; count < EXTENSIONS_MAX; count++) {
    const { at, protocol } = packet;
    if (!isExtension(protocol)) return at;
    if (packet.end - at < EXTENSION_UNIT) {
      return fail(Fault.Short, "IPv6 extension header length", at, packet.end - at, "8 or more");
    }
    const bytes = extensionBytes(protocol, view.getUint8(at + 1));
    if (bytes > packet.end - at) {
      return fail(Fault.Short, "Hdr Ext Len in bytes", at + 1, bytes, "within the packet");
    }
    packet.protocol = view.getUint8(at);
    packet.at = at + bytes;
    packet.payloadBytes -= bytes;
    if (protocol !== FRAGMENT) continue;
    const word = view.getUint16(at + FRAGMENT_OFFSET);
    // Offset 0 and nothing behind it: a whole datagram, RFC 6946.
    if ((word & ~6) === 0) continue;
    packet.isFragment = true;
    packet.fragmentOffset = word & ~7;
    packet.moreFragments = (word & 1) !== 0;
    packet.identification = view.getUint32(at + FRAGMENT_IDENTIFICATION);
    return packet.at;
  }
  return fail(Fault.Large, "extension headers", start, EXTENSIONS_MAX, "15 or less");
}

function tooLong(at: number, bytes: number): number {
  return fail(Fault.Large, "length of an IP packet without one", at, bytes, "1048576 or less");
}

function isExtension(protocol: number): boolean {
  switch (protocol) {
    case HOP_BY_HOP:
    case ROUTING:
    case FRAGMENT:
    case AUTHENTICATION:
    case DESTINATION_OPTIONS:
      return true;
    default:
      return false;
  }
}

/** Sections 4.3 to 4.6; the authentication header counts in units of four bytes, less two. */
function extensionBytes(protocol: number, length: number): number {
  if (protocol === FRAGMENT) return EXTENSION_UNIT;
  if (protocol === AUTHENTICATION) return (length + 2) * 4;
  return (length + 1) * EXTENSION_UNIT;
}
