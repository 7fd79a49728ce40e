/**
 * Policies, which say what traffic needs an SA: the kernel's xfrm.h, XFRM_MSG_NEWPOLICY, UPDPOLICY,
 * DELPOLICY, GETPOLICY, FLUSHPOLICY and POLEXPIRE. A policy of a dump is a valid body of a NEWPOLICY.
 *
 * ```text
 * NEWPOLICY, UPDPOLICY   struct xfrm_userpolicy_info, attributes
 * POLEXPIRE              struct xfrm_user_polexpire: the same and what ran out, attributes
 * DELPOLICY              struct xfrm_userpolicy_id; as an event XFRMA_POLICY with the info, attributes
 * ```
 *
 * @module
 */
import { assert } from "../../mem/assert.ts";
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { Attribute, checkSize, writeU32 } from "./attribute.ts";
import { beginNlmsg, endNlmsg, type Nlmsg, NlmsgFlag } from "./nlmsg.ts";
import {
  ADDRESS_SIZE,
  beginXfrmAttribute,
  checkStruct,
  copyAddress,
  markText,
  putAddress,
  readMark,
  readXfrmAttribute,
  writeMark,
  XfrmAttribute,
  XfrmMsg,
} from "./xfrm.ts";
import {
  readLifetime,
  readLimits,
  writeLifetime,
  writeLimits,
  type XfrmLifetime,
  XfrmLimits,
} from "./xfrm_lifetime.ts";
import {
  readSelector,
  SELECTOR_SIZE,
  selectorText,
  writeSelector,
  XfrmSelector,
} from "./xfrm_selector.ts";

/** Offsets in struct xfrm_userpolicy_info. */
const LFT = 56;
const CURLFT = 120;
const PRIORITY = 152;
const INDEX = 156;
const DIR = 160;
const ACTION = 161;
const FLAGS = 162;
const SHARE = 163;
/** Bytes of struct xfrm_userpolicy_info. */
export const USERPOLICY_INFO_SIZE = 168;
/** In struct xfrm_user_polexpire. */
const HARD = 168;
const USER_POLEXPIRE_SIZE = 176;

/** Offsets in struct xfrm_userpolicy_id. */
const ID_INDEX = SELECTOR_SIZE;
const ID_DIR = 60;
/** Bytes of struct xfrm_userpolicy_id. */
export const USERPOLICY_ID_SIZE = 64;

/** Offsets in struct xfrm_user_tmpl. */
const TMPL_SPI = 16;
const TMPL_PROTO = 20;
const TMPL_FAMILY = 24;
const TMPL_SADDR = 28;
const TMPL_REQID = 44;
const TMPL_MODE = 48;
const TMPL_SHARE = 49;
const TMPL_OPTIONAL = 50;
const TMPL_AALGOS = 52;
const TMPL_EALGOS = 56;
const TMPL_CALGOS = 60;
const TMPL_SIZE = 64;
/** XFRM_MAX_DEPTH. */
const TEMPLATES_MAX = 6;

/** Bytes of struct xfrm_userpolicy_type. */
const TYPE_SIZE = 6;

/** XFRM_POLICY_IN and so on; 3 to 5 are those of single sockets, which go with their process. */
export const PolicyDirection = { In: 0, Out: 1, Forward: 2 } as const;

/** XFRM_POLICY_ALLOW and XFRM_POLICY_BLOCK. */
export const PolicyAction = { Allow: 0, Block: 1 } as const;

const DIRECTION_NAMES: readonly string[] = [
  "in",
  "out",
  "fwd",
  "socket in",
  "socket out",
  "socket fwd",
];
const ACTION_NAMES: readonly string[] = ["allow", "block"];

/** The name of a {@linkcode PolicyDirection}: `out`. */
export function policyDirectionName(direction: number): string {
  return DIRECTION_NAMES[direction] ?? `${direction}`;
}

/** The name of a {@linkcode PolicyAction}: `allow`. */
export function policyActionName(action: number): string {
  return ACTION_NAMES[action] ?? `${action}`;
}

/** What the SA of a policy has to be. */
export class XfrmTemplate {
  readonly daddr: Uint8Array = new Uint8Array(ADDRESS_SIZE);
  /** 0 is any. */
  spi = 0;
  /** An XfrmProto. */
  proto = 0;
  family = 0;
  readonly saddr: Uint8Array = new Uint8Array(ADDRESS_SIZE);
  reqid = 0;
  /** An XfrmMode. */
  mode = 0;
  share = 0;
  /** 1 when packets may come without it. */
  optional = 0;
  /** Algorithms that are allowed, a bit each. */
  aalgos = 0xffffffff;
  ealgos = 0xffffffff;
  calgos = 0xffffffff;
}

/** A policy with everything that its attributes say. */
export class XfrmPolicy implements XfrmLifetime {
  readonly selector: XfrmSelector = new XfrmSelector();
  readonly limits: XfrmLimits = new XfrmLimits();
  bytes = 0;
  packets = 0;
  addTime = 0;
  useTime = 0;
  /** The lowest is taken first. */
  priority = 0;
  /** The kernel's number of it. */
  index = 0;
  /** A {@linkcode PolicyDirection}. */
  direction = 0;
  /** A {@linkcode PolicyAction}. */
  action = 0;
  flags = 0;
  share = 0;
  /** 0 is main, 1 is sub. */
  type = 0;
  /** No mark when this and its mask are 0. */
  markValue = 0;
  markMask = 0;
  ifId = 0;
  /** Six, of which {@linkcode templateCount} count. */
  readonly templates: readonly XfrmTemplate[] = Array.from(
    { length: TEMPLATES_MAX },
    () => new XfrmTemplate(),
  );
  templateCount = 0;
  /** Of a POLEXPIRE: whether the policy is gone by it. */
  hard = false;
}

/**
 * Reads NEWPOLICY, UPDPOLICY, DELPOLICY or POLEXPIRE; 0, or a negated
 * {@linkcode Fault}. Of a DELPOLICY that is a request there are only selector, index and direction.
 */
export function readPolicy(from: Region, message: Nlmsg, into: XfrmPolicy): number {
  const { type, at, end } = message;
  if (type === XfrmMsg.NewPolicy || type === XfrmMsg.UpdPolicy) {
    return readPolicyBody(from, at, end, into);
  }
  clear(into);
  if (type === XfrmMsg.DelPolicy) {
    const read = readPolicyId(from, at, end, into);
    return read < 0 ? read : readPolicyAttributes(from, read, end, into);
  }
  if (type !== XfrmMsg.PolExpire) {
    const expected = "NEWPOLICY, UPDPOLICY, DELPOLICY or POLEXPIRE";
    return fail(Fault.Field, "nlmsg_type of a policy", at, type, expected);
  }
  const size = USER_POLEXPIRE_SIZE;
  const short = checkStruct("xfrm_user_polexpire length", at, end, size, "176 or more");
  if (short < 0) return short;
  const read = readPolicyInfo(from, at, into);
  if (read < 0) return read;
  into.hard = from.view.getUint8(at + HARD) !== 0;
  return readPolicyAttributes(from, at + size, end, into);
}

/** Reads the body of a NEWPOLICY, which may be at any offset; 0, or a negated Fault. */
export function readPolicyBody(from: Region, at: number, end: number, into: XfrmPolicy): number {
  clear(into);
  const short = checkInfo(at, end);
  if (short < 0) return short;
  const read = readPolicyInfo(from, at, into);
  return read < 0 ? read : readPolicyAttributes(from, at + USERPOLICY_INFO_SIZE, end, into);
}

/**
 * Policies that the kernel takes for the same one have the same text; priority and index may differ:
 * `out src 10.9.0.1/32 dst 10.9.0.2/32 mark 0x5/0xff if_id 7`.
 */
export function policyKey(policy: XfrmPolicy): string {
  const { direction, selector, markValue, markMask, ifId, type } = policy;
  const where = `${policyDirectionName(direction)} ${selectorText(selector)}`;
  return `${where}${markText(markValue, markMask)}${ifId === 0 ? "" : ` if_id ${ifId}`}${
    type === 0 ? "" : ` type ${type}`
  }`;
}

/** Writes a policy as NEWPOLICY or UPDPOLICY. */
export function writePolicy(
  out: Region,
  at: number,
  sequence: number,
  type: number,
  flags: number,
  policy: XfrmPolicy,
): number {
  const { templateCount, templates } = policy;
  assert(templateCount <= TEMPLATES_MAX, "a policy has 6 templates at most");
  let end = writeInfo(out, beginNlmsg(out, at, type, flags, sequence), policy);
  if (templateCount > 0) {
    end = beginXfrmAttribute(out, end, XfrmAttribute.Tmpl, templateCount * TMPL_SIZE);
    for (let i = 0; i < templateCount; i++) end = writeTemplate(out, end, templates[i]!);
  }
  return endNlmsg(out, at, writeScope(out, end, policy));
}

/** Asks for all policies. */
export function writePolicyDump(out: Region, at: number, sequence: number): number {
  const { Request, Dump } = NlmsgFlag;
  return endNlmsg(out, at, beginNlmsg(out, at, XfrmMsg.GetPolicy, Request | Dump, sequence));
}

/** Asks for the policy with the same selector, direction and mark. */
export function writePolicyGet(
  out: Region,
  at: number,
  sequence: number,
  policy: XfrmPolicy,
): number {
  return writeId(out, at, XfrmMsg.GetPolicy, NlmsgFlag.Request, sequence, policy);
}

/** Deletes the policy with the same selector, direction and mark. */
export function writePolicyDelete(
  out: Region,
  at: number,
  sequence: number,
  policy: XfrmPolicy,
): number {
  const { Request, Ack } = NlmsgFlag;
  return writeId(out, at, XfrmMsg.DelPolicy, Request | Ack, sequence, policy);
}

/** Deletes all policies of the main type but those of sockets. */
export function writePolicyFlush(out: Region, at: number, sequence: number): number {
  const { Request, Ack } = NlmsgFlag;
  return endNlmsg(out, at, beginNlmsg(out, at, XfrmMsg.FlushPolicy, Request | Ack, sequence));
}

/** Reads FLUSHPOLICY; the type, or a negated {@linkcode Fault}. */
export function readPolicyFlush(from: Region, { at, end }: Nlmsg): number {
  let type = 0;
  while (at < end) {
    at = readXfrmAttribute(from, at, end, attribute);
    if (at < 0) return at;
    if (attribute.type !== XfrmAttribute.PolicyType) continue;
    if (checkSize(attribute, 1) < 0) return -Fault.Field;
    type = from.view.getUint8(attribute.at);
  }
  return type;
}

/** Sets the {@linkcode PolicyAction} in the body of a NEWPOLICY; 0, or a negated Fault. */
export function setPolicyAction(region: Region, at: number, end: number, action: number): number {
  const short = checkInfo(at, end);
  if (short < 0) return short;
  region.view.setUint8(at + ACTION, action);
  return 0;
}

/** Reads struct xfrm_userpolicy_info, whose length the caller has checked; 0, or a negated Fault. */
export function readPolicyInfo(from: Region, at: number, into: XfrmPolicy): number {
  const { view } = from;
  readSelector(from, at, into.selector);
  readLimits(from, at + LFT, into.limits);
  into.priority = view.getUint32(at + PRIORITY, true);
  into.index = view.getUint32(at + INDEX, true);
  into.direction = view.getUint8(at + DIR);
  into.action = view.getUint8(at + ACTION);
  into.flags = view.getUint8(at + FLAGS);
  into.share = view.getUint8(at + SHARE);
  return readLifetime(from, at + CURLFT, into);
}

/** Reads struct xfrm_userpolicy_id; returns the offset after it, or a negated Fault. */
export function readPolicyId(from: Region, at: number, end: number, into: XfrmPolicy): number {
  const short = checkStruct("xfrm_userpolicy_id length", at, end, USERPOLICY_ID_SIZE, "64 or more");
  if (short < 0) return short;
  readSelector(from, at, into.selector);
  into.index = from.view.getUint32(at + ID_INDEX, true);
  into.direction = from.view.getUint8(at + ID_DIR);
  return at + USERPOLICY_ID_SIZE;
}

/** Reads what follows; 0, or a negated Fault. */
export function readPolicyAttributes(
  from: Region,
  at: number,
  end: number,
  into: XfrmPolicy,
): number {
  while (at < end) {
    at = readXfrmAttribute(from, at, end, attribute);
    if (at < 0) return at;
    const read = takeAttribute(from, into);
    if (read < 0) return read;
  }
  return 0;
}

function checkInfo(at: number, end: number): number {
  return checkStruct("xfrm_userpolicy_info length", at, end, USERPOLICY_INFO_SIZE, "168 or more");
}

function clear(policy: XfrmPolicy): void {
  policy.bytes =
    policy.packets =
    policy.addTime =
    policy.useTime =
      0;
  policy.priority =
    policy.index =
    policy.action =
    policy.flags =
    policy.share =
      0;
  policy.type =
    policy.markValue =
    policy.markMask =
    policy.ifId =
    policy.templateCount =
      0;
  policy.hard = false;
}

function takeAttribute(from: Region, into: XfrmPolicy): number {
  const { type, at } = attribute;
  switch (type) {
    case XfrmAttribute.Policy:
      if (checkSize(attribute, USERPOLICY_INFO_SIZE) < 0) return -Fault.Field;
      return readPolicyInfo(from, at, into);
    case XfrmAttribute.Tmpl:
      return readTemplates(from, into);
    case XfrmAttribute.Mark:
      return readMark(from, attribute, into);
    case XfrmAttribute.PolicyType:
      if (checkSize(attribute, 1) < 0) return -Fault.Field;
      into.type = from.view.getUint8(at);
      return 0;
    case XfrmAttribute.IfId:
      if (checkSize(attribute, 4) < 0) return -Fault.Field;
      into.ifId = from.view.getUint32(at, true);
      return 0;
  }
  return 0;
}

function readTemplates(from: Region, into: XfrmPolicy): number {
  const { at, end } = attribute;
  const size = end - at;
  if (size % TMPL_SIZE !== 0 || size > TEMPLATES_MAX * TMPL_SIZE) {
    return fail(Fault.Field, "XFRMA_TMPL length", at, size, "0 to 6 times 64");
  }
  const count = size / TMPL_SIZE;
  for (let i = 0; i < count; i++) readTemplate(from, at + i * TMPL_SIZE, into.templates[i]!);
  into.templateCount = count;
  return 0;
}

function readTemplate(from: Region, at: number, into: XfrmTemplate): void {
  const { view } = from;
  copyAddress(from, at, into.daddr);
  into.spi = view.getUint32(at + TMPL_SPI);
  into.proto = view.getUint8(at + TMPL_PROTO);
  into.family = view.getUint16(at + TMPL_FAMILY, true);
  copyAddress(from, at + TMPL_SADDR, into.saddr);
  into.reqid = view.getUint32(at + TMPL_REQID, true);
  into.mode = view.getUint8(at + TMPL_MODE);
  into.share = view.getUint8(at + TMPL_SHARE);
  into.optional = view.getUint8(at + TMPL_OPTIONAL);
  into.aalgos = view.getUint32(at + TMPL_AALGOS, true);
  into.ealgos = view.getUint32(at + TMPL_EALGOS, true);
  into.calgos = view.getUint32(at + TMPL_CALGOS, true);
}

function writeTemplate(out: Region, at: number, template: XfrmTemplate): number {
  const { view } = out;
  putAddress(out, at, template.daddr);
  view.setUint32(at + TMPL_SPI, template.spi);
  view.setUint32(at + TMPL_PROTO, template.proto, true); // and the padding
  view.setUint32(at + TMPL_FAMILY, template.family, true); // and the padding
  putAddress(out, at + TMPL_SADDR, template.saddr);
  view.setUint32(at + TMPL_REQID, template.reqid, true);
  view.setUint8(at + TMPL_MODE, template.mode);
  view.setUint8(at + TMPL_SHARE, template.share);
  view.setUint16(at + TMPL_OPTIONAL, template.optional, true); // and the padding
  // Signed: a number above 2^31 that is not is an object in V8.
  view.setInt32(at + TMPL_AALGOS, template.aalgos | 0, true);
  view.setInt32(at + TMPL_EALGOS, template.ealgos | 0, true);
  view.setInt32(at + TMPL_CALGOS, template.calgos | 0, true);
  return at + TMPL_SIZE;
}

function writeInfo(out: Region, at: number, policy: XfrmPolicy): number {
  const { view } = out;
  writeSelector(out, at, policy.selector);
  writeLimits(out, at + LFT, policy.limits);
  writeLifetime(out, at + CURLFT, policy);
  view.setUint32(at + PRIORITY, policy.priority, true);
  view.setUint32(at + INDEX, policy.index, true);
  view.setUint8(at + DIR, policy.direction);
  view.setUint8(at + ACTION, policy.action);
  view.setUint8(at + FLAGS, policy.flags);
  view.setUint8(at + SHARE, policy.share);
  view.setUint32(at + SHARE + 1, 0, true);
  return at + USERPOLICY_INFO_SIZE;
}

/** What else tells policies with the same selector apart. */
function writeScope(out: Region, at: number, policy: XfrmPolicy): number {
  let end = at;
  if (policy.type !== 0) {
    const value = beginXfrmAttribute(out, end, XfrmAttribute.PolicyType, TYPE_SIZE);
    out.bytes.fill(0, value, value + 8);
    out.view.setUint8(value, policy.type);
    end = value + 8;
  }
  end = writeMark(out, end, policy);
  return policy.ifId === 0 ? end : writeU32(out, end, XfrmAttribute.IfId, policy.ifId);
}

function writeId(
  out: Region,
  at: number,
  type: number,
  flags: number,
  sequence: number,
  policy: XfrmPolicy,
): number {
  const body = beginNlmsg(out, at, type, flags, sequence);
  const index = writeSelector(out, body, policy.selector);
  out.view.setUint32(index, 0, true); // by selector: the number is of one kernel
  out.view.setUint32(body + ID_DIR, policy.direction, true); // and the padding
  return endNlmsg(out, at, writeScope(out, body + USERPOLICY_ID_SIZE, policy));
}

const attribute = new Attribute();
