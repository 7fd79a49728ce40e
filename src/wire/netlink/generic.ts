/**
 * Generic netlink: the kernel's genetlink.h. A family (`mptcp_pm`) has a name that everybody knows and
 * a number that only the running kernel knows; the family `nlctrl`, number 16, tells it, with the
 * numbers of the family's multicast groups.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import {
  Attribute,
  attributeText,
  attributeU16,
  attributeU32,
  readAttribute,
  writeText,
} from "./attribute.ts";
import { beginNlmsg, endNlmsg, NlmsgFlag } from "./nlmsg.ts";

/** Bytes of struct genlmsghdr: cmd, version, reserved. */
export const GENERIC_HEADER_SIZE = 4;

/** GENL_ID_CTRL. */
const CONTROL_FAMILY = 16;
const CTRL_CMD_NEWFAMILY = 1;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_VERSION = 1;

/** CTRL_ATTR_*. */
const FAMILY_ID = 1;
const FAMILY_NAME = 2;
const FAMILY_VERSION = 3;
const MCAST_GROUPS = 7;

/** CTRL_ATTR_MCAST_GRP_*. */
const GROUP_NAME = 1;
const GROUP_ID = 2;

/** Groups of a family that are kept; `nlctrl`, `mptcp_pm` and their like have one or two. */
const GROUPS_MAX = 64;

/** A family as the kernel has it. */
export class GenericFamily {
  /** The `nlmsg_type` of its messages. */
  id = 0;
  name = "";
  version = 0;
  /** Numbers of its multicast groups by name. */
  readonly groups = new Map<string, number>();
}

const attribute = new Attribute();
const group = new Attribute();
const member = new Attribute();

/**
 * Begins a message of the generic netlink family `family` at `at`; returns where its first attribute
 * begins. `endNlmsg()` ends it.
 */
export function beginGeneric(
  out: Region,
  at: number,
  family: number,
  flags: number,
  sequence: number,
  command: number,
  version: number,
): number {
  const start = beginNlmsg(out, at, family, flags, sequence);
  out.view.setUint32(start, command | (version << 8), true); // and two reserved bytes
  return start + GENERIC_HEADER_SIZE;
}

/** The command of a message whose payload begins at `at`, or a negated {@linkcode Fault}. */
export function readCommand(from: Region, at: number, end: number): number {
  if (end - at < GENERIC_HEADER_SIZE) {
    return fail(Fault.Field, "genlmsghdr length", at, end - at, "4 or more");
  }
  return from.view.getUint8(at);
}

/** Asks for the family `name` by CTRL_CMD_GETFAMILY; returns where the next message may begin. */
export function writeGetFamily(out: Region, at: number, sequence: number, name: string): number {
  const flags = NlmsgFlag.Request | NlmsgFlag.Ack;
  const next = beginGeneric(
    out,
    at,
    CONTROL_FAMILY,
    flags,
    sequence,
    CTRL_CMD_GETFAMILY,
    CTRL_VERSION,
  );
  return endNlmsg(out, at, writeText(out, next, FAMILY_NAME, name));
}

/** Reads the payload of a CTRL_CMD_NEWFAMILY; returns `end`, or a negated {@linkcode Fault}. */
export function readFamily(from: Region, at: number, end: number, into: GenericFamily): number {
  into.id = into.version = 0;
  into.name = "";
  into.groups.clear();
  const command = readCommand(from, at, end);
  if (command < 0) return command;
  if (command !== CTRL_CMD_NEWFAMILY) {
    return fail(Fault.Field, "nlctrl cmd", at, command, "1, CTRL_CMD_NEWFAMILY");
  }
  for (let next = at + GENERIC_HEADER_SIZE; next < end;) {
    next = readAttribute(from, next, end, attribute);
    const status = next < 0 ? next : take(from, into);
    if (status < 0) return status;
  }
  if (into.id === 0) return fail(Fault.Field, "CTRL_ATTR_FAMILY_ID", at, 0, "there");
  return end;
}

function take(from: Region, into: GenericFamily): number {
  switch (attribute.type) {
    case FAMILY_ID:
      return into.id = attributeU16(from, attribute);
    case FAMILY_NAME:
      into.name = attributeText(from, attribute);
      return 0;
    case FAMILY_VERSION:
      return into.version = attributeU32(from, attribute);
    case MCAST_GROUPS:
      return readGroups(from, attribute.at, attribute.end, into);
  }
  return 0;
}

/** An array of nests; the type of each is its place in the array. */
function readGroups(from: Region, at: number, end: number, into: GenericFamily): number {
  while (at < end) {
    at = readAttribute(from, at, end, group);
    const status = at < 0 ? at : readGroup(from, group.at, group.end, into);
    if (status < 0) return status;
  }
  return end;
}

function readGroup(from: Region, at: number, end: number, into: GenericFamily): number {
  const start = at;
  let name = "";
  let id = 0;
  while (at < end) {
    at = readAttribute(from, at, end, member);
    if (at < 0) return at;
    if (member.type === GROUP_NAME) name = attributeText(from, member);
    if (member.type === GROUP_ID) id = attributeU32(from, member);
    if (id < 0) return id;
  }
  if (name === "" || id === 0) {
    return fail(Fault.Field, "CTRL_ATTR_MCAST_GRP_ID", start, id, "there, with a name");
  }
  if (into.groups.size === GROUPS_MAX) {
    return fail(
      Fault.Large,
      "CTRL_ATTR_MCAST_GROUPS",
      start,
      GROUPS_MAX + 1,
      `${GROUPS_MAX} or less`,
    );
  }
  into.groups.set(name, id);
  return end;
}
