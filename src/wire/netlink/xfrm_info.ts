/**
 * How many SAs and policies there are: the kernel's xfrm.h, XFRM_MSG_GETSADINFO and GETSPDINFO with
 * their answers, and the kinds of attribute that only these have.
 *
 * @module
 */
import { Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { Attribute, checkSize } from "./attribute.ts";
import { beginNlmsg, endNlmsg, type Nlmsg, NlmsgFlag } from "./nlmsg.ts";
import { checkStruct, readXfrmAttribute, XfrmMsg } from "./xfrm.ts";

/** XFRMA_SAD_*. */
const SAD_CNT = 1;
const SAD_HINFO = 2;
/** XFRMA_SPD_*. */
const SPD_INFO = 1;
const SPD_HINFO = 2;

const HINFO_SIZE = 8;
const SPDINFO_SIZE = 24;
/** A u32 of flags, of which there are none. */
const FLAGS_SIZE = 4;

/** Of NEWSADINFO. */
export class SadInfo {
  /** SAs. */
  count = 0;
  /** Buckets of the table, and how many it may have. */
  buckets = 0;
  bucketsMax = 0;
}

/** Of NEWSPDINFO. */
export class SpdInfo {
  /** Policies by direction. */
  incnt = 0;
  outcnt = 0;
  fwdcnt = 0;
  /** Policies of sockets. */
  inscnt = 0;
  outscnt = 0;
  fwdscnt = 0;
  buckets = 0;
  bucketsMax = 0;
}

/** Asks how many SAs there are. */
export function writeSadInfoGet(out: Region, at: number, sequence: number): number {
  return write(out, at, XfrmMsg.GetSadInfo, sequence);
}

/** Asks how many policies there are. */
export function writeSpdInfoGet(out: Region, at: number, sequence: number): number {
  return write(out, at, XfrmMsg.GetSpdInfo, sequence);
}

/** Reads NEWSADINFO; 0, or a negated {@linkcode Fault}. */
export function readSadInfo(from: Region, message: Nlmsg, into: SadInfo): number {
  const { at, end } = message;
  const short = checkStruct("NEWSADINFO length", at, end, FLAGS_SIZE, "4 or more");
  if (short < 0) return short;
  into.count = into.buckets = into.bucketsMax = 0;
  const { view } = from;
  for (let next = at + FLAGS_SIZE; next < end;) {
    next = readXfrmAttribute(from, next, end, attribute);
    if (next < 0) return next;
    const { type, at: value } = attribute;
    if (type === SAD_CNT) {
      if (checkSize(attribute, 4) < 0) return -Fault.Field;
      into.count = view.getUint32(value, true);
    } else if (type === SAD_HINFO) {
      if (checkSize(attribute, HINFO_SIZE) < 0) return -Fault.Field;
      into.buckets = view.getUint32(value, true);
      into.bucketsMax = view.getUint32(value + 4, true);
    }
  }
  return 0;
}

/** Reads NEWSPDINFO; 0, or a negated {@linkcode Fault}. */
export function readSpdInfo(from: Region, message: Nlmsg, into: SpdInfo): number {
  const { at, end } = message;
  const short = checkStruct("NEWSPDINFO length", at, end, FLAGS_SIZE, "4 or more");
  if (short < 0) return short;
  into.incnt =
    into.outcnt =
    into.fwdcnt =
    into.inscnt =
    into.outscnt =
    into.fwdscnt =
      0;
  into.buckets = into.bucketsMax = 0;
  const { view } = from;
  for (let next = at + FLAGS_SIZE; next < end;) {
    next = readXfrmAttribute(from, next, end, attribute);
    if (next < 0) return next;
    const { type, at: value } = attribute;
    if (type === SPD_INFO) {
      if (checkSize(attribute, SPDINFO_SIZE) < 0) return -Fault.Field;
      into.incnt = view.getUint32(value, true);
      into.outcnt = view.getUint32(value + 4, true);
      into.fwdcnt = view.getUint32(value + 8, true);
      into.inscnt = view.getUint32(value + 12, true);
      into.outscnt = view.getUint32(value + 16, true);
      into.fwdscnt = view.getUint32(value + 20, true);
    } else if (type === SPD_HINFO) {
      if (checkSize(attribute, HINFO_SIZE) < 0) return -Fault.Field;
      into.buckets = view.getUint32(value, true);
      into.bucketsMax = view.getUint32(value + 4, true);
    }
  }
  return 0;
}

function write(out: Region, at: number, type: number, sequence: number): number {
  const body = beginNlmsg(out, at, type, NlmsgFlag.Request, sequence);
  out.view.setUint32(body, 0, true);
  return endNlmsg(out, at, body + FLAGS_SIZE);
}

const attribute = new Attribute();
