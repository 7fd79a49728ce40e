/**
 * The rate of an interface: rtnetlink(7) RTM_NEWQDISC, RTM_DELQDISC and RTM_GETQDISC with the token bucket
 * of tc-tbf(8), the kernel's pkt_sched.h.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import {
  Attribute,
  attributeText,
  beginNest,
  checkSize,
  endNest,
  readAttribute,
  writeText,
  writeU32,
} from "./attribute.ts";
import { beginNlmsg, endNlmsg, type Nlmsg, NlmsgFlag } from "./nlmsg.ts";
import { RtmType } from "./rtnetlink.ts";

/** Offsets in struct tcmsg. */
const INDEX = 4;
const PARENT = 12;
const TCMSG_SIZE = 20;
/** TC_H_ROOT. */
const ROOT = 0xffffffff;

const TCA_KIND = 1; // TCA_KIND
const TCA_OPTIONS = 2; // TCA_OPTIONS
const PARMS = 1; // TCA_TBF_PARMS
const RATE64 = 4; // TCA_TBF_RATE64
const BURST = 6; // TCA_TBF_BURST

/** Offsets in struct tc_tbf_qopt: the rate, the peak's rate, limit, buffer, mtu. */
const LINKLAYER = 1;
const RATE = 8;
const LIMIT = 24;
const QOPT_SIZE = 36;
/** TC_LINKLAYER_ETHERNET: the kernel computes times itself, and needs no table of them. */
const ETHERNET = 1;
/** A rate of 32 bits that says: look at the one of 64. */
const RATE_MAX = 0xffffffff;

/** What an interface sends by. */
export class Qdisc {
  index = 0;
  parent = 0;
  /** `tbf`, or another one. */
  kind = "";
  /** Bytes in a second, at most 2^53. */
  rate = 0;
  /** Bytes that wait at most. */
  limit = 0;
}

/** Writes the request for a token bucket at the root of the interface, where there must be none yet. */
export function writeNewTbf(
  out: Region,
  at: number,
  sequence: number,
  { index, limit, rate }: Qdisc,
  burstBytes: number,
): number {
  const { Ack, Create, Exclusive, Request } = NlmsgFlag;
  const tcm = begin(out, at, RtmType.NewQdisc, Request | Ack | Create | Exclusive, sequence, index);
  const { bytes, view } = out;
  const options = writeText(out, tcm + TCMSG_SIZE, TCA_KIND, "tbf");
  const parms = beginNest(out, options, TCA_OPTIONS);
  const qopt = beginNest(out, parms, PARMS);
  view.setUint16(parms + 2, PARMS, true); // a struct, no nest
  bytes.fill(0, qopt, qopt + QOPT_SIZE);
  view.setUint8(qopt + LINKLAYER, ETHERNET);
  view.setUint32(qopt + RATE, Math.min(rate, RATE_MAX), true);
  view.setUint32(qopt + LIMIT, limit, true);
  let end = endNest(out, parms, qopt + QOPT_SIZE);
  if (rate >= RATE_MAX) {
    view.setUint16(end, 12, true);
    view.setUint16(end + 2, RATE64, true);
    view.setUint32(end + 4, rate % 2 ** 32, true);
    view.setUint32(end + 8, Math.floor(rate / 2 ** 32), true);
    end += 12;
  }
  end = writeU32(out, end, BURST, burstBytes);
  return endNlmsg(out, at, endNest(out, options, end));
}

/** Writes the request that takes away what is at the root of the interface. */
export function writeDelQdisc(out: Region, at: number, sequence: number, index: number): number {
  const { Ack, Request } = NlmsgFlag;
  const tcm = begin(out, at, RtmType.DelQdisc, Request | Ack, sequence, index);
  return endNlmsg(out, at, tcm + TCMSG_SIZE);
}

/** Asks for what all interfaces send by. */
export function writeQdiscDump(out: Region, at: number, sequence: number): number {
  const { Dump, Request } = NlmsgFlag;
  const tcm = begin(out, at, RtmType.GetQdisc, Request | Dump, sequence, 0);
  out.view.setUint32(tcm + PARENT, 0, true);
  return endNlmsg(out, at, tcm + TCMSG_SIZE);
}

/** Reads RTM_NEWQDISC; 0, or a negated {@linkcode Fault}. */
export function readQdisc(from: Region, message: Nlmsg, into: Qdisc): number {
  const { at: tcm, end } = message;
  if (end - tcm < TCMSG_SIZE) {
    return fail(Fault.Field, "tcmsg length", tcm, end - tcm, "20 or more");
  }
  into.index = from.view.getInt32(tcm + INDEX, true);
  into.parent = from.view.getUint32(tcm + PARENT, true);
  into.kind = "";
  into.rate = into.limit = 0;
  const attribute = new Attribute();
  let optionsAt = 0;
  let optionsEnd = 0;
  for (let at = tcm + TCMSG_SIZE; at < end;) {
    at = readAttribute(from, at, end, attribute);
    if (at < 0) return at;
    if (attribute.type === TCA_KIND) into.kind = attributeText(from, attribute);
    if (attribute.type === TCA_OPTIONS) [optionsAt, optionsEnd] = [attribute.at, attribute.end];
  }
  return into.kind === "tbf" ? readTbf(from, optionsAt, optionsEnd, into) : 0;
}

/** Whether it stands at the root of its interface. */
export function isRoot({ parent }: Qdisc): boolean {
  return parent === ROOT;
}

function readTbf(from: Region, at: number, end: number, into: Qdisc): number {
  const { view } = from;
  const attribute = new Attribute();
  let wide = -1;
  while (at < end) {
    at = readAttribute(from, at, end, attribute);
    if (at < 0) return at;
    let read = 0;
    if (attribute.type === PARMS) {
      read = checkSize(attribute, QOPT_SIZE);
      if (read === 0) {
        into.rate = view.getUint32(attribute.at + RATE, true);
        into.limit = view.getUint32(attribute.at + LIMIT, true);
      }
    } else if (attribute.type === RATE64) {
      read = checkSize(attribute, 8);
      if (read === 0) {
        const low = view.getUint32(attribute.at, true);
        wide = low + view.getUint32(attribute.at + 4, true) * 2 ** 32;
      }
    }
    if (read < 0) return read;
  }
  if (wide >= 0) into.rate = wide;
  return 0;
}

function begin(
  out: Region,
  at: number,
  type: number,
  flags: number,
  sequence: number,
  index: number,
): number {
  const tcm = beginNlmsg(out, at, type, flags, sequence);
  out.bytes.fill(0, tcm, tcm + TCMSG_SIZE);
  out.view.setInt32(tcm + INDEX, index, true);
  out.view.setUint32(tcm + PARENT, ROOT, true);
  return tcm;
}
