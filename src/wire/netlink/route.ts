/**
 * Routes: rtnetlink(7) RTM_NEWROUTE, RTM_DELROUTE and RTM_GETROUTE, the kernel's rtnetlink.h. Tables
 * above 255 are in an attribute.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { Family } from "../inet.ts";
import {
  Attribute,
  attributeBytes,
  attributeU32,
  readAttribute,
  writeBytes,
  writeU32,
} from "./attribute.ts";
import { beginNlmsg, endNlmsg, type Nlmsg, NlmsgFlag } from "./nlmsg.ts";
import { RtmType } from "./rtnetlink.ts";

/** Offsets in struct rtmsg. */
const DST_LENGTH = 1;
const SRC_LENGTH = 2;
const TABLE = 4;
const PROTOCOL = 5;
const SCOPE = 6;
const TYPE = 7;
const RTM_FLAGS = 8;
const RTMSG_SIZE = 12;

const DST = 1; // RTA_DST
const SRC = 2; // RTA_SRC
const OIF = 4; // RTA_OIF
const GATEWAY = 5; // RTA_GATEWAY
const PRIORITY = 6; // RTA_PRIORITY
const PREFSRC = 7; // RTA_PREFSRC
const METRICS = 8; // RTA_METRICS
const RTA_TABLE = 15; // RTA_TABLE
const METRIC_MTU = 2; // RTAX_MTU

/** RTM_F_LOOKUP_TABLE: the answer names the table that it is of. */
const LOOKUP_TABLE = 0x1000;
/** RT_SCOPE_NOWHERE: of what is deleted, any. */
const ANY_SCOPE = 255;

/** `rtm_type`: RTN_*. */
export const RouteType = { Unicast: 1, Local: 2, Unreachable: 7 } as const;

/** `rtm_scope`: RT_SCOPE_*; through a gateway, and on the link itself. */
export const RouteScope = { Universe: 0, Link: 253 } as const;

/** A route. */
export class Route {
  family: number = Family.Inet;
  /** Bits of {@linkcode destination} that count. */
  length = 0;
  table = 0;
  /** Who made it: RTPROT_*. */
  protocol = 0;
  scope = 0;
  /** One of {@linkcode RouteType}, or another one. */
  type = 0;
  /** RTA_PRIORITY: `metric` of ip-route(8). */
  metric = 0;
  /** Of the interface; 0 when it has none. */
  index = 0;
  /** RTAX_MTU; 0 is the interface's. */
  mtu = 0;
  /** IPv4 in the first four bytes; all zero where there is none. */
  readonly destination: Uint8Array = new Uint8Array(16);
  readonly gateway: Uint8Array = new Uint8Array(16);
  /** RTA_PREFSRC: where our own packets come from. */
  readonly source: Uint8Array = new Uint8Array(16);
}

/** Writes the request for a route that must not be there yet. */
export function writeNewRoute(out: Region, at: number, sequence: number, route: Route): number {
  const { Ack, Create, Exclusive, Request } = NlmsgFlag;
  const flags = Request | Ack | Create | Exclusive;
  return writeRoute(out, at, sequence, RtmType.NewRoute, flags, route, route.scope);
}

/** Writes the request that takes away the route that is all of this. */
export function writeDelRoute(out: Region, at: number, sequence: number, route: Route): number {
  const { Ack, Request } = NlmsgFlag;
  return writeRoute(out, at, sequence, RtmType.DelRoute, Request | Ack, route, ANY_SCOPE);
}

function writeRoute(
  out: Region,
  at: number,
  sequence: number,
  type: number,
  flags: number,
  route: Route,
  scope: number,
): number {
  const { family, length, table } = route;
  const rtm = begin(out, at, type, flags, sequence, family);
  const { view } = out;
  view.setUint8(rtm + DST_LENGTH, length);
  view.setUint8(rtm + PROTOCOL, route.protocol);
  view.setUint8(rtm + SCOPE, scope);
  view.setUint8(rtm + TYPE, route.type);
  const size = family === Family.Inet ? 4 : 16;
  let end = writeBytes(out, rtm + RTMSG_SIZE, DST, route.destination, size);
  if (isSet(route.gateway)) end = writeBytes(out, end, GATEWAY, route.gateway, size);
  end = writeU32(out, end, RTA_TABLE, table);
  if (isSet(route.source)) end = writeBytes(out, end, PREFSRC, route.source, size);
  if (route.index !== 0) end = writeU32(out, end, OIF, route.index);
  if (route.metric !== 0) end = writeU32(out, end, PRIORITY, route.metric);
  return endNlmsg(out, at, end);
}

/**
 * Asks for the routes of a family: of one table, or with 0 of all; of one protocol, or with 0 of all. A table
 * that never had a route is refused with ENOENT.
 */
export function writeRouteDump(
  out: Region,
  at: number,
  sequence: number,
  family: number,
  table: number,
  protocol: number,
): number {
  const { Dump, Request } = NlmsgFlag;
  const rtm = begin(out, at, RtmType.GetRoute, Request | Dump, sequence, family);
  out.view.setUint8(rtm + PROTOCOL, protocol);
  const end = rtm + RTMSG_SIZE;
  return endNlmsg(out, at, table === 0 ? end : writeU32(out, end, RTA_TABLE, table));
}

/** Asks which route a packet takes, to one address, from another unless `source` is null. */
export function writeRouteLookup(
  out: Region,
  at: number,
  sequence: number,
  family: number,
  destination: Uint8Array,
  source: Uint8Array | null,
): number {
  const { Ack, Request } = NlmsgFlag;
  const rtm = begin(out, at, RtmType.GetRoute, Request | Ack, sequence, family);
  const size = family === Family.Inet ? 4 : 16;
  out.view.setUint8(rtm + DST_LENGTH, size * 8);
  out.view.setUint8(rtm + SRC_LENGTH, source === null ? 0 : size * 8);
  // Of IPv6 it is refused, and the table is told anyway.
  if (family === Family.Inet) out.view.setUint32(rtm + RTM_FLAGS, LOOKUP_TABLE, true);
  let end = writeBytes(out, rtm + RTMSG_SIZE, DST, destination, size);
  if (source !== null) end = writeBytes(out, end, SRC, source, size);
  return endNlmsg(out, at, end);
}

/** Reads RTM_NEWROUTE; 0, or a negated {@linkcode Fault}. */
export function readRoute(from: Region, message: Nlmsg, into: Route): number {
  const { at: rtm, end } = message;
  if (end - rtm < RTMSG_SIZE) {
    return fail(Fault.Field, "rtmsg length", rtm, end - rtm, "12 or more");
  }
  const { view } = from;
  into.family = view.getUint8(rtm);
  into.length = view.getUint8(rtm + DST_LENGTH);
  into.table = view.getUint8(rtm + TABLE);
  into.protocol = view.getUint8(rtm + PROTOCOL);
  into.scope = view.getUint8(rtm + SCOPE);
  into.type = view.getUint8(rtm + TYPE);
  into.metric = into.index = into.mtu = 0;
  into.destination.fill(0);
  into.gateway.fill(0);
  into.source.fill(0);
  const size = into.family === Family.Inet ? 4 : into.family === Family.Inet6 ? 16 : 0;
  const attribute = new Attribute();
  for (let at = rtm + RTMSG_SIZE; at < end;) {
    at = readAttribute(from, at, end, attribute);
    if (at < 0) return at;
    const read = take(from, attribute, size, into);
    if (read < 0) return read;
  }
  if (into.length > size * 8) {
    return fail(Fault.Field, "rtm_dst_len", rtm + DST_LENGTH, into.length, "that of an address");
  }
  return 0;
}

function take(from: Region, attribute: Attribute, size: number, into: Route): number {
  switch (attribute.type) {
    case DST:
      return attributeBytes(from, attribute, size, into.destination);
    case GATEWAY:
      return attributeBytes(from, attribute, size, into.gateway);
    case PREFSRC:
      return attributeBytes(from, attribute, size, into.source);
    case OIF:
      return into.index = attributeU32(from, attribute);
    case PRIORITY:
      into.metric = attributeU32(from, attribute);
      return 0;
    case RTA_TABLE:
      into.table = attributeU32(from, attribute);
      return 0;
    case METRICS:
      return takeMetrics(from, attribute, into);
  }
  return 0;
}

function takeMetrics(from: Region, { at, end }: Attribute, into: Route): number {
  const metric = new Attribute();
  while (at < end) {
    at = readAttribute(from, at, end, metric);
    if (at < 0) return at;
    if (metric.type !== METRIC_MTU) continue;
    const read = into.mtu = attributeU32(from, metric);
    if (read < 0) return read;
  }
  return 0;
}

function begin(
  out: Region,
  at: number,
  type: number,
  flags: number,
  sequence: number,
  family: number,
): number {
  const rtm = beginNlmsg(out, at, type, flags, sequence);
  out.bytes.fill(0, rtm, rtm + RTMSG_SIZE);
  out.view.setUint8(rtm, family);
  return rtm;
}

function isSet(address: Uint8Array): boolean {
  return address.some((byte) => byte !== 0);
}
