/**
 * What the kernel tells of SAs and policies beside their making and unmaking: the kernel's xfrm.h,
 * XFRM_MSG_EXPIRE, POLEXPIRE, ACQUIRE, MAPPING, REPORT and MIGRATE.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { Attribute, checkSize } from "./attribute.ts";
import type { Nlmsg } from "./nlmsg.ts";
import {
  ADDRESS_SIZE,
  checkStruct,
  copyAddress,
  readMark,
  readSaId,
  readXfrmAttribute,
  XfrmAttribute,
  XfrmMsg,
  XfrmSaId,
} from "./xfrm.ts";
import {
  readPolicy,
  readPolicyAttributes,
  readPolicyId,
  readPolicyInfo,
  XfrmPolicy,
} from "./xfrm_policy.ts";
import { readSa, type XfrmSa } from "./xfrm_sa.ts";
import { readSelector, SELECTOR_SIZE, XfrmSelector } from "./xfrm_selector.ts";

/** Offsets in struct xfrm_user_acquire, which begins with a struct xfrm_id. */
const ACQUIRE_SPI = 16;
const ACQUIRE_PROTO = 20;
const ACQUIRE_SADDR = 24;
const ACQUIRE_SEL = 40;
const ACQUIRE_POLICY = 96;
const ACQUIRE_SEQ = 276;
const ACQUIRE_SIZE = 280;

/** Offsets in struct xfrm_user_mapping, which begins with a struct xfrm_usersa_id. */
const MAPPING_REQID = 24;
const MAPPING_OLD_SADDR = 28;
const MAPPING_NEW_SADDR = 44;
const MAPPING_OLD_SPORT = 60;
const MAPPING_NEW_SPORT = 62;
const MAPPING_SIZE = 64;

/** In struct xfrm_user_report. */
const REPORT_SEL = 4;

/** Offsets in struct xfrm_user_migrate. */
const MIGRATE_OLD_SADDR = 16;
const MIGRATE_NEW_DADDR = 32;
const MIGRATE_NEW_SADDR = 48;
const MIGRATE_PROTO = 64;
const MIGRATE_MODE = 65;
const MIGRATE_REQID = 68;
const MIGRATE_OLD_FAMILY = 72;
const MIGRATE_NEW_FAMILY = 74;
const MIGRATE_SIZE = 76;
/** XFRM_MAX_DEPTH. */
const MIGRATIONS_MAX = 6;

/** A packet met a policy whose SA is missing. */
export class XfrmAcquire {
  /** Of the SA that is wanted: its SPI is 0, its family that of the template. */
  readonly id: XfrmSaId = new XfrmSaId();
  readonly saddr: Uint8Array = new Uint8Array(ADDRESS_SIZE);
  /** Of the packet. */
  readonly selector: XfrmSelector = new XfrmSelector();
  readonly policy: XfrmPolicy = new XfrmPolicy();
  /** To be repeated by the SA that answers it. */
  seq = 0;
}

/** The peer of an SA within UDP comes from another address. */
export class XfrmMapping {
  readonly id: XfrmSaId = new XfrmSaId();
  reqid = 0;
  readonly oldSaddr: Uint8Array = new Uint8Array(ADDRESS_SIZE);
  readonly newSaddr: Uint8Array = new Uint8Array(ADDRESS_SIZE);
  oldSport = 0;
  newSport = 0;
}

/** A packet was refused by a policy of Mobile IPv6. */
export class XfrmReport {
  proto = 0;
  readonly selector: XfrmSelector = new XfrmSelector();
  /** The care-of address, when {@linkcode hasCoaddr}. */
  readonly coaddr: Uint8Array = new Uint8Array(ADDRESS_SIZE);
  hasCoaddr = false;
}

/** New addresses of an SA. */
export class XfrmMigration {
  readonly oldDaddr: Uint8Array = new Uint8Array(ADDRESS_SIZE);
  readonly oldSaddr: Uint8Array = new Uint8Array(ADDRESS_SIZE);
  readonly newDaddr: Uint8Array = new Uint8Array(ADDRESS_SIZE);
  readonly newSaddr: Uint8Array = new Uint8Array(ADDRESS_SIZE);
  proto = 0;
  mode = 0;
  reqid = 0;
  oldFamily = 0;
  newFamily = 0;
}

/** A policy, and the SAs of it that have new addresses. */
export class XfrmMigrate {
  /** Of which there are selector, index, direction, type and if_id. */
  readonly policy: XfrmPolicy = new XfrmPolicy();
  /** Six, of which {@linkcode count} count. */
  readonly migrations: readonly XfrmMigration[] = Array.from(
    { length: MIGRATIONS_MAX },
    () => new XfrmMigration(),
  );
  count = 0;
}

/** Reads EXPIRE; 0, or a negated {@linkcode Fault}. */
export function readExpire(from: Region, message: Nlmsg, into: XfrmSa): number {
  const wrong = checkType(message, XfrmMsg.Expire, "EXPIRE");
  return wrong < 0 ? wrong : readSa(from, message, into);
}

/** Reads POLEXPIRE; 0, or a negated {@linkcode Fault}. */
export function readPolExpire(from: Region, message: Nlmsg, into: XfrmPolicy): number {
  const wrong = checkType(message, XfrmMsg.PolExpire, "POLEXPIRE");
  return wrong < 0 ? wrong : readPolicy(from, message, into);
}

/** Reads ACQUIRE; 0, or a negated {@linkcode Fault}. */
export function readAcquire(from: Region, message: Nlmsg, into: XfrmAcquire): number {
  const wrong = checkType(message, XfrmMsg.Acquire, "ACQUIRE");
  if (wrong < 0) return wrong;
  const { at, end } = message;
  const short = checkStruct("xfrm_user_acquire length", at, end, ACQUIRE_SIZE, "280 or more");
  if (short < 0) return short;
  const { view } = from;
  const { id, selector, policy } = into;
  readSelector(from, at + ACQUIRE_SEL, selector);
  copyAddress(from, at, id.daddr);
  id.spi = view.getUint32(at + ACQUIRE_SPI);
  id.proto = view.getUint8(at + ACQUIRE_PROTO);
  id.family = selector.family;
  copyAddress(from, at + ACQUIRE_SADDR, into.saddr);
  into.seq = view.getUint32(at + ACQUIRE_SEQ, true);
  policy.templateCount =
    policy.type =
    policy.markValue =
    policy.markMask =
    policy.ifId =
      0;
  const info = readPolicyInfo(from, at + ACQUIRE_POLICY, policy);
  if (info < 0) return info;
  const read = readPolicyAttributes(from, at + ACQUIRE_SIZE, end, policy);
  id.markValue = policy.markValue;
  id.markMask = policy.markMask;
  for (let i = policy.templateCount - 1; i >= 0; i--) {
    const { proto, family } = policy.templates[i]!;
    if (proto === id.proto) id.family = family; // a tunnel's may be another than its packets'
  }
  return read;
}

/** Reads MAPPING; 0, or a negated {@linkcode Fault}. */
export function readMapping(from: Region, message: Nlmsg, into: XfrmMapping): number {
  const wrong = checkType(message, XfrmMsg.Mapping, "MAPPING");
  if (wrong < 0) return wrong;
  const { at, end } = message;
  const short = checkStruct("xfrm_user_mapping length", at, end, MAPPING_SIZE, "64 or more");
  if (short < 0) return short;
  const read = readSaId(from, at, into.id);
  if (read < 0) return read;
  const { view } = from;
  into.reqid = view.getUint32(at + MAPPING_REQID, true);
  copyAddress(from, at + MAPPING_OLD_SADDR, into.oldSaddr);
  copyAddress(from, at + MAPPING_NEW_SADDR, into.newSaddr);
  into.oldSport = view.getUint16(at + MAPPING_OLD_SPORT);
  into.newSport = view.getUint16(at + MAPPING_NEW_SPORT);
  for (let next = at + MAPPING_SIZE; next < end;) {
    next = readXfrmAttribute(from, next, end, attribute);
    if (next < 0) return next;
    if (attribute.type !== XfrmAttribute.Mark) continue;
    if (readMark(from, attribute, into.id) < 0) return -Fault.Field;
  }
  return 0;
}

/** Reads REPORT; 0, or a negated {@linkcode Fault}. */
export function readReport(from: Region, message: Nlmsg, into: XfrmReport): number {
  const wrong = checkType(message, XfrmMsg.Report, "REPORT");
  if (wrong < 0) return wrong;
  const { at, end } = message;
  const size = REPORT_SEL + SELECTOR_SIZE;
  const short = checkStruct("xfrm_user_report length", at, end, size, "60 or more");
  if (short < 0) return short;
  into.proto = from.view.getUint8(at);
  readSelector(from, at + REPORT_SEL, into.selector);
  into.hasCoaddr = false;
  for (let next = at + size; next < end;) {
    next = readXfrmAttribute(from, next, end, attribute);
    if (next < 0) return next;
    if (attribute.type !== XfrmAttribute.Coaddr) continue;
    if (checkSize(attribute, ADDRESS_SIZE) < 0) return -Fault.Field;
    copyAddress(from, attribute.at, into.coaddr);
    into.hasCoaddr = true;
  }
  return 0;
}

/** Reads MIGRATE; 0, or a negated {@linkcode Fault}. */
export function readMigrate(from: Region, message: Nlmsg, into: XfrmMigrate): number {
  const wrong = checkType(message, XfrmMsg.Migrate, "MIGRATE");
  if (wrong < 0) return wrong;
  const { at, end } = message;
  const { policy } = into;
  into.count = policy.type = policy.ifId = 0;
  const start = readPolicyId(from, at, end, policy);
  if (start < 0) return start;
  for (let next = start; next < end;) {
    next = readXfrmAttribute(from, next, end, attribute);
    if (next < 0) return next;
    const { type, at: value } = attribute;
    if (type === XfrmAttribute.Migrate) {
      const read = readMigrations(from, into);
      if (read < 0) return read;
    } else if (type === XfrmAttribute.PolicyType) {
      if (checkSize(attribute, 1) < 0) return -Fault.Field;
      policy.type = from.view.getUint8(value);
    } else if (type === XfrmAttribute.IfId) {
      if (checkSize(attribute, 4) < 0) return -Fault.Field;
      policy.ifId = from.view.getUint32(value, true);
    }
  }
  return 0;
}

function checkType({ type, at }: Nlmsg, wanted: number, name: string): number {
  return type === wanted ? 0 : fail(Fault.Field, "nlmsg_type of an event", at, type, name);
}

/** One attribute for each when the kernel tells it, one for all in a request. */
function readMigrations(from: Region, into: XfrmMigrate): number {
  const { at, end } = attribute;
  const size = end - at;
  if (size % MIGRATE_SIZE !== 0 || into.count + size / MIGRATE_SIZE > MIGRATIONS_MAX) {
    return fail(Fault.Field, "XFRMA_MIGRATE length", at, size, "76 each, of 6 at most");
  }
  for (let next = at; next < end; next += MIGRATE_SIZE) {
    readMigration(from, next, into.migrations[into.count]!);
    into.count++;
  }
  return 0;
}

function readMigration(from: Region, at: number, into: XfrmMigration): void {
  const { view } = from;
  copyAddress(from, at, into.oldDaddr);
  copyAddress(from, at + MIGRATE_OLD_SADDR, into.oldSaddr);
  copyAddress(from, at + MIGRATE_NEW_DADDR, into.newDaddr);
  copyAddress(from, at + MIGRATE_NEW_SADDR, into.newSaddr);
  into.proto = view.getUint8(at + MIGRATE_PROTO);
  into.mode = view.getUint8(at + MIGRATE_MODE);
  into.reqid = view.getUint32(at + MIGRATE_REQID, true);
  into.oldFamily = view.getUint16(at + MIGRATE_OLD_FAMILY, true);
  into.newFamily = view.getUint16(at + MIGRATE_NEW_FAMILY, true);
}

const attribute = new Attribute();
