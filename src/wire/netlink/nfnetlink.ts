/**
 * Netfilter over netlink: the kernel's nfnetlink.h. A message's type is a subsystem and a number of
 * it; struct nfgenmsg stands before the attributes, which are in network order.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { beginNlmsg, type Nlmsg } from "./nlmsg.ts";

/** Bytes of struct nfgenmsg. */
const NFGENMSG_SIZE = 4;

/** NFNL_SUBSYS_*, in the upper byte of a message's type. */
export const NfnlSubsystem = { Queue: 3, Log: 4, Tables: 10 } as const;

/** NFPROTO_*: who a hook is for. */
export const Nfproto = { Unspec: 0, Inet: 1 } as const;

/**
 * Begins a message of `subsystem`; `resource` is its res_id: a group, a queue. Returns the offset of
 * its attributes; {@linkcode endNlmsg} ends it.
 */
export function beginNfnetlink(
  out: Region,
  at: number,
  sequence: number,
  subsystem: number,
  message: number,
  flags: number,
  family: number,
  resource: number,
): number {
  const payload = beginNlmsg(out, at, (subsystem << 8) | message, flags, sequence);
  const { view } = out;
  view.setUint8(payload, family);
  view.setUint8(payload + 1, 0); // NFNETLINK_V0
  view.setUint16(payload + 2, resource);
  return payload + NFGENMSG_SIZE;
}

/** Checks struct nfgenmsg; returns the offset of the attributes, or a negated {@linkcode Fault}. */
export function readNfnetlink({ at, end }: Nlmsg): number {
  if (end - at < NFGENMSG_SIZE) {
    return fail(Fault.Field, "nfgenmsg length", at, end - at, "4 or more");
  }
  return at + NFGENMSG_SIZE;
}

/** The res_id of a message that {@linkcode readNfnetlink} accepted. */
export function nfnetlinkResource(from: Region, message: Nlmsg): number {
  return from.view.getUint16(message.at + 2);
}
