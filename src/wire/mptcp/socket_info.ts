/**
 * What the kernel tells of an MPTCP connection: struct mptcp_info of its mptcp.h, as
 * getsockopt(SOL_MPTCP, MPTCP_INFO) and sock_diag have it. It grew over the years: what is beyond its
 * length is 0.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { readCounter } from "../../mem/u64.ts";

const SUBFLOWS = 0; // u8, beside the first one
const FLAGS = 8; // u32
const TOKEN = 12; // u32
const INFO_SIZE_MIN = 16;
const RETRANSMITS = 44; // u32
const BYTES_RETRANS = 48; // u64
const BYTES_SENT = 56; // u64
const BYTES_RECEIVED = 64; // u64
const BYTES_ACKED = 72; // u64
const SUBFLOWS_TOTAL = 80; // u8

/** Bits of `mptcpi_flags`. */
export const MptcpInfoFlag = {
  /** MPTCP_INFO_FLAG_FALLBACK: it is plain TCP. */
  Fallback: 1,
  /** MPTCP_INFO_FLAG_REMOTE_KEY_RECEIVED. */
  RemoteKeyReceived: 2,
} as const;

/** A connection's state. */
export class MptcpInfo {
  /** Its token on this host; 0 of a listener. */
  token = 0;
  /** Bits of {@linkcode MptcpInfoFlag}. */
  flags = 0;
  /** Subflows beside the first one. */
  extraSubflows = 0;
  /** Subflows that are there, since Linux 6.10; 0 before. */
  subflowsTotal = 0;
  retransmits = 0;
  bytesRetransmitted = 0;
  bytesSent = 0;
  bytesReceived = 0;
  bytesAcked = 0;
}

/** Reads the structure between `at` and `end`; 0, or a negated {@linkcode Fault}. */
export function readMptcpInfo(from: Region, at: number, end: number, into: MptcpInfo): number {
  const bytes = end - at;
  if (bytes < INFO_SIZE_MIN) {
    return fail(Fault.Field, "mptcp_info length", at, bytes, "16 or more");
  }
  const { view } = from;
  into.extraSubflows = view.getUint8(at + SUBFLOWS);
  into.flags = view.getUint32(at + FLAGS, true);
  into.token = view.getUint32(at + TOKEN, true);
  into.retransmits = bytes < RETRANSMITS + 4 ? 0 : view.getUint32(at + RETRANSMITS, true);
  into.bytesRetransmitted = counterAt(from, at, end, BYTES_RETRANS);
  into.bytesSent = counterAt(from, at, end, BYTES_SENT);
  into.bytesReceived = counterAt(from, at, end, BYTES_RECEIVED);
  into.bytesAcked = counterAt(from, at, end, BYTES_ACKED);
  into.subflowsTotal = bytes <= SUBFLOWS_TOTAL ? 0 : view.getUint8(at + SUBFLOWS_TOTAL);
  return 0;
}

/**
 * A u64 of a structure of the kernel that grew over the years: 0 when it is beyond its end. What is
 * too large for a number, a counter that went below 0, is 0 as well.
 */
export function counterAt(from: Region, at: number, end: number, offset: number): number {
  if (end - at < offset + 8) return 0;
  return Math.max(0, readCounter(from, at + offset, "counter"));
}
