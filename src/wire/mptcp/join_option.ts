/**
 * An attempt to join, as it is in a packet: IPv4 (RFC 791) or IPv6 (RFC 8200), TCP (RFC 9293) with SYN,
 * and the option MP_JOIN (RFC 8684 section 3.2, figure 6).
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { Family } from "../inet.ts";

const IPV4_SIZE = 20;
const IPV6_SIZE = 40;
const TCP_SIZE = 20;
const PROTOCOL_TCP = 6;
const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const AUTHENTICATION = 51;
const DESTINATION_OPTIONS = 60;
/** RFC 8200 section 4.1 has seven in a row at most. */
const EXTENSIONS_MAX = 8;

const FLAG_SYN = 0x02;
const FLAG_ACK = 0x10;
const OPTION_END = 0;
const OPTION_NOP = 1;
const OPTION_MPTCP = 30;
const SUBTYPE_JOIN = 1;
const JOIN_SIZE = 12;

/** An MP_JOIN of a SYN, with who sent it to whom. */
export class JoinAttempt {
  /** A {@linkcode Family}. */
  family = 0;
  /** The peer's, IPv4 in the first four bytes. */
  readonly source: Uint8Array = new Uint8Array(16);
  readonly destination: Uint8Array = new Uint8Array(16);
  sourcePort = 0;
  destinationPort = 0;
  /** The peer asks for a backup. */
  backup = false;
  /** The peer's id of its address. */
  addressId = 0;
  /** Of the connection on this host: the number that events have. */
  token = 0;
  nonce = 0;
}

/**
 * Reads the packet between `at` and `end`, which may be cut after its TCP header; 0, or a negated
 * {@linkcode Fault}: also when it is none, or has several options of MPTCP, of which the kernel would
 * take the last.
 */
export function readJoin(from: Region, at: number, end: number, into: JoinAttempt): number {
  if (end - at < IPV4_SIZE) return fail(Fault.Field, "IP length", at, end - at, "20 or more");
  const version = from.view.getUint8(at) >> 4;
  if (version !== 4 && version !== 6) return fail(Fault.Field, "IP version", at, version, "4 or 6");
  const tcp = version === 4 ? readIpv4(from, at, end, into) : readIpv6(from, at, end, into);
  return tcp < 0 ? tcp : readTcp(from, tcp, end, into);
}

/** Returns where the TCP header begins. */
function readIpv4(from: Region, at: number, end: number, into: JoinAttempt): number {
  const { view } = from;
  const size = (view.getUint8(at) & 15) * 4;
  if (size < IPV4_SIZE || size > end - at) {
    return fail(Fault.Field, "IPv4 IHL", at, size / 4, "5 to what the packet has");
  }
  const fragment = view.getUint16(at + 6) & 0x1fff;
  if (fragment !== 0) return fail(Fault.Field, "IPv4 Fragment Offset", at + 6, fragment, "0");
  const protocol = view.getUint8(at + 9);
  if (protocol !== PROTOCOL_TCP) return fail(Fault.Field, "IPv4 Protocol", at + 9, protocol, "6");
  into.family = Family.Inet;
  copyAddresses(from, at + 12, 4, into);
  return at + size;
}

/** Returns where the TCP header begins. */
function readIpv6(from: Region, at: number, end: number, into: JoinAttempt): number {
  if (end - at < IPV6_SIZE) return fail(Fault.Field, "IPv6 length", at, end - at, "40 or more");
  const { view } = from;
  into.family = Family.Inet6;
  copyAddresses(from, at + 8, 16, into);
  let next = view.getUint8(at + 6);
  at += IPV6_SIZE;
  for (let count = 0; next !== PROTOCOL_TCP; count++) {
    if (count === EXTENSIONS_MAX) {
      return fail(Fault.Large, "IPv6 extension headers", at, count + 1, "8 or less");
    }
    if (end - at < 8) return fail(Fault.Field, "IPv6 extension length", at, end - at, "8 or more");
    const length = view.getUint8(at + 1);
    let size = 8;
    if (next === HOP_BY_HOP || next === ROUTING || next === DESTINATION_OPTIONS) {
      size = (length + 1) * 8;
    } else if (next === AUTHENTICATION) {
      size = (length + 2) * 4; // RFC 4302 section 2.2
    } else if (next === FRAGMENT) {
      const fragment = view.getUint16(at + 2) >> 3;
      if (fragment !== 0) return fail(Fault.Field, "IPv6 Fragment Offset", at + 2, fragment, "0");
    } else return fail(Fault.Field, "IPv6 Next Header", at, next, "6 or an extension header");
    if (size > end - at) {
      return fail(Fault.Field, "IPv6 Hdr Ext Len", at + 1, length, "within the packet");
    }
    next = view.getUint8(at);
    at += size;
  }
  return at;
}

function readTcp(from: Region, at: number, end: number, into: JoinAttempt): number {
  if (end - at < TCP_SIZE) return fail(Fault.Field, "TCP length", at, end - at, "20 or more");
  const { view } = from;
  const size = (view.getUint8(at + 12) >> 4) * 4;
  if (size < TCP_SIZE || size > end - at) {
    return fail(Fault.Field, "TCP Data Offset", at + 12, size / 4, "5 to what the packet has");
  }
  const flags = view.getUint8(at + 13);
  if ((flags & (FLAG_SYN | FLAG_ACK)) !== FLAG_SYN) {
    return fail(Fault.Field, "TCP flags", at + 13, flags, "SYN without ACK");
  }
  into.sourcePort = view.getUint16(at);
  into.destinationPort = view.getUint16(at + 2);
  return readOptions(from, at + TCP_SIZE, at + size, into);
}

function readOptions({ view }: Region, at: number, end: number, into: JoinAttempt): number {
  let join = -1;
  for (let count = 0; at < end;) {
    const kind = view.getUint8(at);
    if (kind === OPTION_END) break;
    if (kind === OPTION_NOP) {
      at++;
      continue;
    }
    const length = end - at < 2 ? 0 : view.getUint8(at + 1);
    if (length < 2 || length > end - at) {
      return fail(Fault.Field, "TCP option length", at, length, "2 to what the header has");
    }
    if (kind === OPTION_MPTCP) {
      const subtype = length < 3 ? -1 : view.getUint8(at + 2) >> 4;
      if (subtype !== SUBTYPE_JOIN || length !== JOIN_SIZE) {
        return fail(Fault.Field, "MPTCP option", at, subtype, "MP_JOIN of 12 bytes");
      }
      if (++count > 1) return fail(Fault.Field, "MPTCP options", at, count, "one");
      join = at;
    }
    at += length;
  }
  if (join < 0) return fail(Fault.Field, "MP_JOIN", at, 0, "there");
  into.backup = (view.getUint8(join + 2) & 1) === 1;
  into.addressId = view.getUint8(join + 3);
  into.token = view.getUint32(join + 4);
  into.nonce = view.getUint32(join + 8);
  return 0;
}

function copyAddresses({ bytes }: Region, at: number, size: number, into: JoinAttempt): void {
  const { source, destination } = into;
  source.fill(0);
  destination.fill(0);
  for (let i = 0; i < size; i++) {
    source[i] = bytes[at + i]!;
    destination[i] = bytes[at + size + i]!;
  }
}
