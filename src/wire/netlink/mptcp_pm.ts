/**
 * Commands of the generic netlink family `mptcp_pm`: the kernel's mptcp_pm.h and
 * Documentation/netlink/specs/mptcp_pm.yaml, as Linux 6.18 has them. Some are for the kernel's own
 * path manager (endpoints and limits), some are for a path manager in user space and name a connection
 * by its token. Ports are in host order here, and in network order in events.
 *
 * Writers return where the next message may begin; {@linkcode PM_REQUEST_BYTES} have room for each.
 * Readers take the payload of a message, from its genlmsghdr on.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { Family } from "../inet.ts";
import {
  Attribute,
  attributeBytes,
  attributeU16,
  attributeU32,
  attributeU8,
  beginNest,
  checkSize,
  endNest,
  readAttribute,
  writeBytes,
  writeU16,
  writeU32,
  writeU8,
} from "./attribute.ts";
import { beginGeneric, GENERIC_HEADER_SIZE, readCommand } from "./generic.ts";
import { endNlmsg, NlmsgFlag } from "./nlmsg.ts";

/** The name by which `nlctrl` tells the family's number. */
export const PM_FAMILY = "mptcp_pm";
/** The multicast group of its events; to join it takes CAP_NET_ADMIN. */
export const PM_EVENTS_GROUP = "mptcp_pm_events";

/** Bytes of the longest request: headers, token, and two addresses with all attributes. */
export const PM_REQUEST_BYTES = 16 + GENERIC_HEADER_SIZE + 8 + 2 * (4 + 8 + 20 + 8 + 8 + 8 + 8);

const VERSION = 1;

/** MPTCP_PM_CMD_*. */
export const PmCommand = {
  AddAddr: 1,
  DelAddr: 2,
  GetAddr: 3,
  FlushAddrs: 4,
  SetLimits: 5,
  GetLimits: 6,
  SetFlags: 7,
  Announce: 8,
  Remove: 9,
  SubflowCreate: 10,
  SubflowDestroy: 11,
} as const;

/** MPTCP_PM_ADDR_FLAG_*. */
export const PmFlag = {
  /** To be announced to peers. */
  Signal: 1,
  /** Subflows are made from it. */
  Subflow: 2,
  Backup: 4,
  Fullmesh: 8,
  /** Made by the kernel itself for an incoming join. */
  Implicit: 16,
  Laminar: 32,
} as const;

/** MPTCP_PM_ATTR_*. */
const ADDR = 1;
const RCV_ADD_ADDRS = 2;
const SUBFLOWS = 3;
const TOKEN = 4;
const LOC_ID = 5;
const ADDR_REMOTE = 6;

/** MPTCP_PM_ADDR_ATTR_*, within ADDR and ADDR_REMOTE. */
const FAMILY = 1;
const ID = 2;
const ADDR4 = 3;
const ADDR6 = 4;
const PORT = 5;
const FLAGS = 6;
const IF_IDX = 7;

/** An address of one side; members that hold their initial value are left out. */
export class PmAddress {
  /** {@linkcode Family}; None leaves out the address. */
  family = 0;
  /** Network order, IPv4 in the first four bytes. */
  readonly address = new Uint8Array(16);
  id = -1;
  port = 0;
  /** Bits of {@linkcode PmFlag}. */
  flags = -1;
  interfaceIndex = 0;

  /** Back to the initial values. */
  clear(): void {
    this.family = 0;
    this.address.fill(0);
    this.id = -1;
    this.port = 0;
    this.flags = -1;
    this.interfaceIndex = 0;
  }
}

/** Limits of the kernel's own manager, for each connection; -1 leaves one as it is. */
export class PmLimits {
  /** Addresses of peers that are accepted: RCV_ADD_ADDRS. */
  addresses = -1;
  /** Subflows beside the first. */
  subflows = -1;
}

/** Any request, as a kernel reads it. */
export class PmRequest {
  /** One of {@linkcode PmCommand}. */
  command = 0;
  /** 0 when there is none. */
  token = 0;
  readonly local = new PmAddress();
  readonly remote = new PmAddress();
  readonly limits = new PmLimits();
  /** LOC_ID of a REMOVE; -1 when there is none. */
  localId = -1;
}

const attribute = new Attribute();
const member = new Attribute();

/** ANNOUNCE: sends the peer an ADD_ADDR; `local` needs an id from 1 on and {@linkcode PmFlag}.Signal. */
export function writeAnnounce(
  out: Region,
  at: number,
  family: number,
  sequence: number,
  token: number,
  local: PmAddress,
): number {
  const next = beginOf(out, at, family, sequence, PmCommand.Announce, token);
  return endNlmsg(out, at, writeAddress(out, next, ADDR, local));
}

/** REMOVE: sends the peer a REMOVE_ADDR and closes what subflows the address has. */
export function writeRemove(
  out: Region,
  at: number,
  family: number,
  sequence: number,
  token: number,
  localId: number,
): number {
  const next = beginOf(out, at, family, sequence, PmCommand.Remove, token);
  return endNlmsg(out, at, writeU8(out, next, LOC_ID, localId));
}

/** SUBFLOW_CREATE: joins `remote` from `local`, which needs an id from 1 on unless it is the first's. */
export function writeSubflowCreate(
  out: Region,
  at: number,
  family: number,
  sequence: number,
  token: number,
  local: PmAddress,
  remote: PmAddress,
): number {
  return writeSubflow(out, at, family, sequence, PmCommand.SubflowCreate, token, local, remote);
}

/** SUBFLOW_DESTROY: both addresses in the form that events have, with their ports. */
export function writeSubflowDestroy(
  out: Region,
  at: number,
  family: number,
  sequence: number,
  token: number,
  local: PmAddress,
  remote: PmAddress,
): number {
  return writeSubflow(out, at, family, sequence, PmCommand.SubflowDestroy, token, local, remote);
}

/** SET_FLAGS of a subflow: `local.flags` with or without {@linkcode PmFlag}.Backup. */
export function writeSetFlags(
  out: Region,
  at: number,
  family: number,
  sequence: number,
  token: number,
  local: PmAddress,
  remote: PmAddress,
): number {
  return writeSubflow(out, at, family, sequence, PmCommand.SetFlags, token, local, remote);
}

/** SET_FLAGS of an endpoint of the kernel's own manager, which its id or its address names. */
export function writeSetEndpointFlags(
  out: Region,
  at: number,
  family: number,
  sequence: number,
  endpoint: PmAddress,
): number {
  return writeEndpoint(out, at, family, sequence, PmCommand.SetFlags, endpoint);
}

/** ADD_ADDR: gives the kernel's own manager an endpoint. */
export function writeAddEndpoint(
  out: Region,
  at: number,
  family: number,
  sequence: number,
  endpoint: PmAddress,
): number {
  return writeEndpoint(out, at, family, sequence, PmCommand.AddAddr, endpoint);
}

/** DEL_ADDR: takes an endpoint away, which its id names; id 0 needs the address too. */
export function writeDeleteEndpoint(
  out: Region,
  at: number,
  family: number,
  sequence: number,
  endpoint: PmAddress,
): number {
  return writeEndpoint(out, at, family, sequence, PmCommand.DelAddr, endpoint);
}

/** FLUSH_ADDRS: takes all endpoints away. */
export function writeFlushEndpoints(
  out: Region,
  at: number,
  family: number,
  sequence: number,
): number {
  return endNlmsg(out, at, beginOf(out, at, family, sequence, PmCommand.FlushAddrs, 0));
}

/** GET_ADDR: asks for one address of a connection, or, with token 0, for one endpoint. */
export function writeGetEndpoint(
  out: Region,
  at: number,
  family: number,
  sequence: number,
  token: number,
  id: number,
): number {
  const nest = beginOf(out, at, family, sequence, PmCommand.GetAddr, token);
  const next = writeU8(out, beginNest(out, nest, ADDR), ID, id);
  return endNlmsg(out, at, endNest(out, nest, next));
}

/** GET_ADDR: asks for all addresses of a connection, or, with token 0, for all endpoints. */
export function writeDumpEndpoints(
  out: Region,
  at: number,
  family: number,
  sequence: number,
  token: number,
): number {
  const flags = NlmsgFlag.Request | NlmsgFlag.Dump;
  const next = beginGeneric(out, at, family, flags, sequence, PmCommand.GetAddr, VERSION);
  return endNlmsg(out, at, token === 0 ? next : writeU32(out, next, TOKEN, token));
}

/** SET_LIMITS of the kernel's own manager; it takes up to 8 of each. */
export function writeSetLimits(
  out: Region,
  at: number,
  family: number,
  sequence: number,
  limits: PmLimits,
): number {
  const { addresses, subflows } = limits;
  let next = beginOf(out, at, family, sequence, PmCommand.SetLimits, 0);
  if (addresses >= 0) next = writeU32(out, next, RCV_ADD_ADDRS, addresses);
  if (subflows >= 0) next = writeU32(out, next, SUBFLOWS, subflows);
  return endNlmsg(out, at, next);
}

/** GET_LIMITS of the kernel's own manager. */
export function writeGetLimits(out: Region, at: number, family: number, sequence: number): number {
  return endNlmsg(out, at, beginOf(out, at, family, sequence, PmCommand.GetLimits, 0));
}

/** Reads an answer to GET_ADDR; returns `end`, or a negated {@linkcode Fault}. */
export function readEndpoint(from: Region, at: number, end: number, into: PmAddress): number {
  into.clear();
  const command = readCommand(from, at, end);
  if (command < 0) return command;
  for (let next = at + GENERIC_HEADER_SIZE; next < end;) {
    next = readAttribute(from, next, end, attribute);
    if (next < 0) return next;
    if (attribute.type !== ADDR) continue;
    const status = readAddress(from, attribute.at, attribute.end, into);
    if (status < 0) return status;
  }
  if (into.family === Family.None || into.id < 0) {
    return fail(Fault.Field, "MPTCP_PM_ATTR_ADDR", at, into.id, "an address with its id");
  }
  return end;
}

/** Reads the answer to GET_LIMITS; returns `end`, or a negated {@linkcode Fault}. */
export function readLimits(from: Region, at: number, end: number, into: PmLimits): number {
  const status = readPmRequest(from, at, end, answer);
  if (status < 0) return status;
  const { addresses, subflows } = answer.limits;
  into.addresses = addresses;
  into.subflows = subflows;
  if (addresses < 0) {
    return fail(Fault.Field, "MPTCP_PM_ATTR_RCV_ADD_ADDRS", at, addresses, "there");
  }
  if (subflows < 0) return fail(Fault.Field, "MPTCP_PM_ATTR_SUBFLOWS", at, subflows, "there");
  return end;
}

/** Reads any request; returns `end`, or a negated {@linkcode Fault}. */
export function readPmRequest(from: Region, at: number, end: number, into: PmRequest): number {
  const command = readCommand(from, at, end);
  if (command < 0) return command;
  into.command = command;
  into.token = 0;
  into.localId = into.limits.addresses = into.limits.subflows = -1;
  into.local.clear();
  into.remote.clear();
  for (let next = at + GENERIC_HEADER_SIZE; next < end;) {
    next = readAttribute(from, next, end, attribute);
    const status = next < 0 ? next : take(from, into);
    if (status < 0) return status;
  }
  return end;
}

/** Takes a token; 0, or a negated {@linkcode Fault}. Half of all tokens would be boxed if returned. */
export function takeToken(from: Region, value: Attribute, into: { token: number }): number {
  const status = checkSize(value, 4);
  if (status === 0) into.token = from.view.getUint32(value.at, true);
  return status;
}

/**
 * Takes an IPv4 or IPv6 address into a record that was cleared, and sets the record's family, which
 * must not be another one already; 0, or a negated {@linkcode Fault}.
 */
export function takeInet(
  from: Region,
  value: Attribute,
  family: number,
  into: { family: number },
  address: Uint8Array,
): number {
  const size = family === Family.Inet ? 4 : 16;
  const status = attributeBytes(from, value, size, address);
  return status < 0 ? status : takeFamily(value, family, into);
}

/** Sets the record's family; a negated {@linkcode Fault} when it is another one already. */
export function takeFamily(value: Attribute, family: number, into: { family: number }): number {
  if (family !== Family.Inet && family !== Family.Inet6) {
    return family < 0 ? family : fail(Fault.Field, "family", value.at, family, "2 or 10");
  }
  if (into.family !== Family.None && into.family !== family) {
    return fail(Fault.Field, "family", value.at, family, "that of the addresses");
  }
  into.family = family;
  return 0;
}

/** What an answer to GET_LIMITS holds is a subset of what a request may hold. */
const answer = new PmRequest();

function take(from: Region, into: PmRequest): number {
  switch (attribute.type) {
    case ADDR:
      return readAddress(from, attribute.at, attribute.end, into.local);
    case ADDR_REMOTE:
      return readAddress(from, attribute.at, attribute.end, into.remote);
    case TOKEN:
      return takeToken(from, attribute, into);
    case LOC_ID:
      return into.localId = attributeU8(from, attribute);
    case RCV_ADD_ADDRS:
      return into.limits.addresses = attributeU32(from, attribute);
    case SUBFLOWS:
      return into.limits.subflows = attributeU32(from, attribute);
  }
  return 0;
}

function readAddress(from: Region, at: number, end: number, into: PmAddress): number {
  into.clear();
  while (at < end) {
    at = readAttribute(from, at, end, member);
    const status = at < 0 ? at : takeMember(from, into);
    if (status < 0) return status;
  }
  return end;
}

function takeMember(from: Region, into: PmAddress): number {
  switch (member.type) {
    case FAMILY:
      return takeFamily(member, attributeU16(from, member), into);
    case ID:
      return into.id = attributeU8(from, member);
    case ADDR4:
      return takeInet(from, member, Family.Inet, into, into.address);
    case ADDR6:
      return takeInet(from, member, Family.Inet6, into, into.address);
    case PORT:
      return into.port = attributeU16(from, member);
    case FLAGS:
      return into.flags = attributeU32(from, member);
    case IF_IDX:
      return into.interfaceIndex = attributeU32(from, member);
  }
  return 0;
}

function writeSubflow(
  out: Region,
  at: number,
  family: number,
  sequence: number,
  command: number,
  token: number,
  local: PmAddress,
  remote: PmAddress,
): number {
  let next = beginOf(out, at, family, sequence, command, token);
  next = writeAddress(out, next, ADDR, local);
  return endNlmsg(out, at, writeAddress(out, next, ADDR_REMOTE, remote));
}

function writeEndpoint(
  out: Region,
  at: number,
  family: number,
  sequence: number,
  command: number,
  endpoint: PmAddress,
): number {
  const next = beginOf(out, at, family, sequence, command, 0);
  return endNlmsg(out, at, writeAddress(out, next, ADDR, endpoint));
}

/** Begins a request that is to be acknowledged, of a connection unless its token is 0. */
function beginOf(
  out: Region,
  at: number,
  family: number,
  sequence: number,
  command: number,
  token: number,
): number {
  const flags = NlmsgFlag.Request | NlmsgFlag.Ack;
  const next = beginGeneric(out, at, family, flags, sequence, command, VERSION);
  return token === 0 ? next : writeU32(out, next, TOKEN, token);
}

function writeAddress(out: Region, at: number, type: number, from: PmAddress): number {
  const { family, address, id, port, flags, interfaceIndex } = from;
  let next = beginNest(out, at, type);
  if (family !== Family.None) {
    const inet = family === Family.Inet;
    next = writeU16(out, next, FAMILY, family);
    next = writeBytes(out, next, inet ? ADDR4 : ADDR6, address, inet ? 4 : 16);
  }
  if (id >= 0) next = writeU8(out, next, ID, id);
  if (port !== 0) next = writeU16(out, next, PORT, port);
  if (flags >= 0) next = writeU32(out, next, FLAGS, flags);
  if (interfaceIndex !== 0) next = writeU32(out, next, IF_IDX, interfaceIndex);
  return endNest(out, at, next);
}
