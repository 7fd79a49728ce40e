/**
 * Netlink messages: RFC 3549 section 2.3.2 and the kernel's netlink.h, struct nlmsghdr. All fields are
 * in host order, which is little-endian on every machine that Fairlead runs on (src/io/native.ts).
 * A datagram holds several messages, each padded to four bytes.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";

/** Bytes of a message header. */
export const NLMSG_HEADER_SIZE = 16;

/** `nlmsg_type` below NLMSG_MIN_TYPE: control messages of every family. */
export const NlmsgType = {
  /** NLMSG_NOOP: to be skipped. */
  Noop: 1,
  /** NLMSG_ERROR: an errno, or an acknowledgement when it is 0. */
  Error: 2,
  /** NLMSG_DONE: the end of a dump. */
  Done: 3,
  /** NLMSG_OVERRUN: data was lost. */
  Overrun: 4,
} as const;

/** `nlmsg_flags`; some bits mean another thing in another kind of message. */
export const NlmsgFlag = {
  /** NLM_F_REQUEST. */
  Request: 0x01,
  /** NLM_F_MULTI: more messages follow, up to one of type Done. */
  Multi: 0x02,
  /** NLM_F_ACK: answer with an error message even when it is 0. */
  Ack: 0x04,
  /** NLM_F_ECHO. */
  Echo: 0x08,
  /** NLM_F_DUMP_INTR: what is dumped changed meanwhile; the dump may be inconsistent. */
  DumpInterrupted: 0x10,
  /** NLM_F_DUMP of a get request. */
  Dump: 0x300,
  /** NLM_F_REPLACE of a new request. */
  Replace: 0x100,
  /** NLM_F_EXCL of a new request. */
  Exclusive: 0x200,
  /** NLM_F_CREATE of a new request. */
  Create: 0x400,
  /** NLM_F_APPEND of a new request. */
  Append: 0x800,
  /** NLM_F_CAPPED of an error: the request is not repeated in it. */
  Capped: 0x100,
  /** NLM_F_ACK_TLVS of an error: attributes follow. */
  AckTlvs: 0x200,
} as const;

/** A message header, and where its payload is. */
export class Nlmsg {
  type = 0;
  flags = 0;
  sequence = 0;
  /** `nlmsg_pid`: the port of the sender; 0 is the kernel. */
  port = 0;
  /** Where the payload begins. */
  at = 0;
  /** Where it ends. */
  end = 0;
}

/** `offset` rounded up to NLMSG_ALIGNTO and NLA_ALIGNTO, which both are four. */
export function align4(offset: number): number {
  return (offset + 3) & ~3;
}

/**
 * Begins a message at `at`, which must be a multiple of four; returns the offset of its payload.
 * {@linkcode endNlmsg} sets its length.
 */
export function beginNlmsg(
  out: Region,
  at: number,
  type: number,
  flags: number,
  sequence: number,
): number {
  const { view } = out;
  view.setUint32(at, NLMSG_HEADER_SIZE, true);
  view.setUint16(at + 4, type, true);
  view.setUint16(at + 6, flags, true);
  view.setUint32(at + 8, sequence, true);
  view.setUint32(at + 12, 0, true); // nlmsg_pid: the kernel knows who asks
  return at + NLMSG_HEADER_SIZE;
}

/** Ends the message that began at `at`: sets its length; returns where the next one may begin. */
export function endNlmsg(out: Region, at: number, end: number): number {
  out.view.setUint32(at, end - at, true);
  const next = align4(end);
  out.bytes.fill(0, end, next);
  return next;
}

/** Adds flags to the message that begins at `at`: of a batch only the last one is acknowledged. */
export function addNlmsgFlags(out: Region, at: number, flags: number): void {
  out.view.setUint16(at + 6, out.view.getUint16(at + 6, true) | flags, true);
}

/**
 * Reads the header of the message at `at` of a datagram that ends at `end`; returns where the next
 * one begins, or a negated {@linkcode Fault}.
 */
export function readNlmsg(from: Region, at: number, end: number, into: Nlmsg): number {
  if (end - at < NLMSG_HEADER_SIZE) {
    return fail(Fault.Field, "nlmsghdr length of the datagram's rest", at, end - at, "16 or more");
  }
  const { view } = from;
  const length = view.getUint32(at, true);
  if (length < NLMSG_HEADER_SIZE || length > end - at) {
    return fail(Fault.Field, "nlmsg_len", at, length, "16 to what is left of the datagram");
  }
  into.type = view.getUint16(at + 4, true);
  into.flags = view.getUint16(at + 6, true);
  into.sequence = view.getUint32(at + 8, true);
  into.port = view.getUint32(at + 12, true);
  into.at = at + NLMSG_HEADER_SIZE;
  into.end = at + length;
  const next = align4(at + length);
  return next < end ? next : end;
}
