/**
 * Events of the generic netlink family `mptcp_pm`: the kernel's mptcp.h, enum mptcp_event_type and
 * mptcp_event_attr, as Linux 6.18 has them. Attributes are known by their number, never by their order;
 * ports are in network order.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { Family } from "../inet.ts";
import {
  Attribute,
  attributeU16,
  attributeU16Be,
  attributeU32,
  attributeU8,
  readAttribute,
} from "./attribute.ts";
import { GENERIC_HEADER_SIZE, readCommand } from "./generic.ts";
import { takeFamily, takeInet, takeToken } from "./mptcp_pm.ts";

/** MPTCP_EVENT_*: what `genlmsghdr.cmd` says. */
export const MptcpEventType = {
  Created: 1,
  /** Of the side that connected: only when the peer has acknowledged data. */
  Established: 2,
  /** Not told when the peer aborts, and told of connections that fell back to TCP. */
  Closed: 3,
  Announced: 6,
  Removed: 7,
  SubEstablished: 10,
  SubClosed: 11,
  SubPriority: 13,
  ListenerCreated: 15,
  ListenerClosed: 16,
} as const;

/** MPTCP_PM_EV_FLAG_*. */
export const MptcpEventFlag = {
  /** The peer asks that its initial address is not joined. */
  DenyJoinId0: 1,
  /** The connection was accepted here. */
  ServerSide: 2,
} as const;

/** MPTCP_ATTR_*; TIMEOUT (14) is never sent. */
const TOKEN = 1;
const FAMILY = 2;
const LOC_ID = 3;
const REM_ID = 4;
const SADDR4 = 5;
const SADDR6 = 6;
const DADDR4 = 7;
const DADDR6 = 8;
const SPORT = 9;
const DPORT = 10;
const BACKUP = 11;
const ERROR = 12;
const FLAGS = 13;
const IF_IDX = 15;
const RESET_REASON = 16;
const RESET_FLAGS = 17;
const SERVER_SIDE = 18;

/** An event; members that it does not carry hold their initial value. */
export class MptcpEvent {
  /** One of {@linkcode MptcpEventType}, or one of a newer kernel. */
  type = 0;
  token = 0;
  /** {@linkcode Family} of both addresses; None without one. */
  family = 0;
  /** Network order, IPv4 in the first four bytes. */
  readonly local = new Uint8Array(16);
  readonly remote = new Uint8Array(16);
  localPort = 0;
  remotePort = 0;
  localId = -1;
  remoteId = -1;
  /** 1 when the peer asked for backup; what this side asked for is not told. */
  backup = 0;
  /** An errno of a subflow that was closed. */
  error = 0;
  /** Bits of {@linkcode MptcpEventFlag}. */
  flags = 0;
  /** Of the device that the socket is bound to. */
  interfaceIndex = 0;
  /** RFC 8684 section 3.6, of a subflow that the peer reset. */
  resetReason = -1;
  resetFlags = -1;

  /** Back to the initial values. */
  clear(): void {
    this.type = this.token = this.family = 0;
    this.local.fill(0);
    this.remote.fill(0);
    this.localPort = this.remotePort = 0;
    this.localId = this.remoteId = -1;
    this.backup =
      this.error =
      this.flags =
      this.interfaceIndex =
        0;
    this.resetReason = this.resetFlags = -1;
  }
}

const LOCAL = 1 << SADDR4;
const REMOTE = 1 << DADDR4;
const CONNECTION = 1 << TOKEN;
const PEER_ID = 1 << REM_ID;
const SUBFLOW = CONNECTION | LOCAL | REMOTE | (1 << LOC_ID) | PEER_ID;

/** Attributes without which an event says nothing, as bits of their numbers. */
const REQUIRED: readonly number[] = Array.from({ length: 256 }, (_, type) => {
  switch (type) {
    case MptcpEventType.Created:
    case MptcpEventType.Established:
      return CONNECTION | LOCAL | REMOTE;
    case MptcpEventType.Closed:
      return CONNECTION;
    case MptcpEventType.Announced:
      return CONNECTION | PEER_ID | REMOTE;
    case MptcpEventType.Removed:
      return CONNECTION | PEER_ID;
    case MptcpEventType.SubEstablished:
    case MptcpEventType.SubClosed:
    case MptcpEventType.SubPriority:
      return SUBFLOW;
    case MptcpEventType.ListenerCreated:
    case MptcpEventType.ListenerClosed:
      return LOCAL;
  }
  return 0; // of a newer kernel
});

const attribute = new Attribute();

/**
 * Reads the payload of an event, from its genlmsghdr on; returns `end`, or a negated
 * {@linkcode Fault}.
 */
export function readMptcpEvent(from: Region, at: number, end: number, into: MptcpEvent): number {
  into.clear();
  const type = readCommand(from, at, end);
  if (type < 0) return type;
  into.type = type;
  let seen = 0;
  for (let next = at + GENERIC_HEADER_SIZE; next < end;) {
    next = readAttribute(from, next, end, attribute);
    const status = next < 0 ? next : take(from, into);
    if (status < 0) return status;
    seen |= bitOf(attribute.type);
  }
  const missing = REQUIRED[type]! & ~seen;
  return missing === 0
    ? end
    : fail(Fault.Field, "mptcp event's missing attribute", at, 31 - Math.clz32(missing), "there");
}

/** Both forms of an address have the bit of the first. */
function bitOf(type: number): number {
  if (type === SADDR6) return LOCAL;
  if (type === DADDR6) return REMOTE;
  return type < 32 ? 1 << type : 0;
}

function take(from: Region, into: MptcpEvent): number {
  switch (attribute.type) {
    case TOKEN:
      return takeToken(from, attribute, into);
    case FAMILY:
      return takeFamily(attribute, attributeU16(from, attribute), into);
    case LOC_ID:
      return into.localId = attributeU8(from, attribute);
    case REM_ID:
      return into.remoteId = attributeU8(from, attribute);
    case SADDR4:
      return takeInet(from, attribute, Family.Inet, into, into.local);
    case SADDR6:
      return takeInet(from, attribute, Family.Inet6, into, into.local);
    case DADDR4:
      return takeInet(from, attribute, Family.Inet, into, into.remote);
    case DADDR6:
      return takeInet(from, attribute, Family.Inet6, into, into.remote);
    case SPORT:
      return into.localPort = attributeU16Be(from, attribute);
    case DPORT:
      return into.remotePort = attributeU16Be(from, attribute);
    case BACKUP:
      return into.backup = attributeU8(from, attribute);
    case ERROR:
      return into.error = attributeU8(from, attribute);
    case FLAGS:
      return takeFlags(attributeU16(from, attribute), into);
    case IF_IDX:
      return into.interfaceIndex = attributeU32(from, attribute);
    case RESET_REASON:
      return into.resetReason = attributeU32(from, attribute);
    case RESET_FLAGS:
      return into.resetFlags = attributeU32(from, attribute);
    case SERVER_SIDE: // all that a kernel before 6.18 says
      return takeServerSide(attributeU8(from, attribute), into);
  }
  return 0;
}

function takeFlags(flags: number, into: MptcpEvent): number {
  if (flags > 0) into.flags |= flags;
  return flags;
}

function takeServerSide(is: number, into: MptcpEvent): number {
  if (is > 0) into.flags |= MptcpEventFlag.ServerSide;
  return is;
}
