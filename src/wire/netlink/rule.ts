/**
 * Rules that choose the table of routes: rtnetlink(7) RTM_NEWRULE, RTM_DELRULE and RTM_GETRULE, the kernel's
 * fib_rules.h.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { Family } from "../inet.ts";
import {
  Attribute,
  attributeBytes,
  attributeText,
  attributeU32,
  attributeU8,
  readAttribute,
  writeBytes,
  writeText,
  writeU32,
  writeU8,
} from "./attribute.ts";
import { beginNlmsg, endNlmsg, type Nlmsg, NlmsgFlag } from "./nlmsg.ts";
import { RtmType } from "./rtnetlink.ts";

/** Offsets in struct fib_rule_hdr. */
const DST_LENGTH = 1;
const SRC_LENGTH = 2;
const TABLE = 4;
const ACTION = 7;
const HEADER_SIZE = 12;

const DST = 1; // FRA_DST
const SRC = 2; // FRA_SRC
const IIFNAME = 3; // FRA_IIFNAME
const PRIORITY = 6; // FRA_PRIORITY
const FRA_TABLE = 15; // FRA_TABLE
const PROTOCOL = 21; // FRA_PROTOCOL
const TO_TABLE = 1; // FR_ACT_TO_TBL

/** A rule. What it does not look at is empty, or of length 0. */
export class Rule {
  family: number = Family.Inet;
  priority = 0;
  table = 0;
  protocol = 0;
  /** FR_ACT_*: 1 is to look into the table. */
  action: number = TO_TABLE;
  /** The interface that a packet came in by. */
  device = "";
  fromLength = 0;
  toLength = 0;
  /** IPv4 in the first four bytes. */
  readonly from: Uint8Array = new Uint8Array(16);
  readonly to: Uint8Array = new Uint8Array(16);
}

/** Writes the request for a rule that must not be there yet. */
export function writeNewRule(out: Region, at: number, sequence: number, rule: Rule): number {
  const { Ack, Create, Exclusive, Request } = NlmsgFlag;
  const flags = Request | Ack | Create | Exclusive;
  return writeRule(out, at, sequence, RtmType.NewRule, flags, rule, TO_TABLE);
}

/** Writes the request that takes away the rule that is all of this. */
export function writeDelRule(out: Region, at: number, sequence: number, rule: Rule): number {
  const { Ack, Request } = NlmsgFlag;
  return writeRule(out, at, sequence, RtmType.DelRule, Request | Ack, rule, 0);
}

function writeRule(
  out: Region,
  at: number,
  sequence: number,
  type: number,
  flags: number,
  rule: Rule,
  action: number,
): number {
  const header = beginNlmsg(out, at, type, flags, sequence);
  out.bytes.fill(0, header, header + HEADER_SIZE);
  const { view } = out;
  view.setUint8(header, rule.family);
  view.setUint8(header + DST_LENGTH, rule.toLength);
  view.setUint8(header + SRC_LENGTH, rule.fromLength);
  view.setUint8(header + ACTION, action);
  const size = rule.family === Family.Inet ? 4 : 16;
  let end = header + HEADER_SIZE;
  if (rule.device !== "") end = writeText(out, end, IIFNAME, rule.device);
  if (rule.fromLength > 0) end = writeBytes(out, end, SRC, rule.from, size);
  if (rule.toLength > 0) end = writeBytes(out, end, DST, rule.to, size);
  end = writeU32(out, end, PRIORITY, rule.priority);
  end = writeU32(out, end, FRA_TABLE, rule.table);
  return endNlmsg(out, at, writeU8(out, end, PROTOCOL, rule.protocol));
}

/** Asks for all rules of a family. */
export function writeRuleDump(out: Region, at: number, sequence: number, family: number): number {
  const { Dump, Request } = NlmsgFlag;
  const header = beginNlmsg(out, at, RtmType.GetRule, Request | Dump, sequence);
  out.bytes.fill(0, header, header + HEADER_SIZE);
  out.view.setUint8(header, family);
  return endNlmsg(out, at, header + HEADER_SIZE);
}

/** Reads RTM_NEWRULE; 0, or a negated {@linkcode Fault}. */
export function readRule(from: Region, message: Nlmsg, into: Rule): number {
  const { at: header, end } = message;
  if (end - header < HEADER_SIZE) {
    return fail(Fault.Field, "fib_rule_hdr length", header, end - header, "12 or more");
  }
  const { view } = from;
  into.family = view.getUint8(header);
  into.toLength = view.getUint8(header + DST_LENGTH);
  into.fromLength = view.getUint8(header + SRC_LENGTH);
  into.table = view.getUint8(header + TABLE);
  into.action = view.getUint8(header + ACTION);
  into.priority = into.protocol = 0;
  into.device = "";
  into.from.fill(0);
  into.to.fill(0);
  const size = into.family === Family.Inet ? 4 : into.family === Family.Inet6 ? 16 : 0;
  if (into.toLength > size * 8 || into.fromLength > size * 8) {
    const length = Math.max(into.toLength, into.fromLength);
    return fail(Fault.Field, "fib_rule_hdr prefix", header, length, "that of an address");
  }
  const attribute = new Attribute();
  for (let at = header + HEADER_SIZE; at < end;) {
    at = readAttribute(from, at, end, attribute);
    if (at < 0) return at;
    const read = take(from, attribute, size, into);
    if (read < 0) return read;
  }
  return 0;
}

function take(from: Region, attribute: Attribute, size: number, into: Rule): number {
  switch (attribute.type) {
    case DST:
      return attributeBytes(from, attribute, size, into.to);
    case SRC:
      return attributeBytes(from, attribute, size, into.from);
    case IIFNAME:
      into.device = attributeText(from, attribute);
      return 0;
    case PRIORITY:
      return into.priority = attributeU32(from, attribute);
    case FRA_TABLE:
      return into.table = attributeU32(from, attribute);
    case PROTOCOL:
      return into.protocol = attributeU8(from, attribute);
  }
  return 0;
}
