/**
 * What the kernel tells of one MPTCP socket, in the process that has it: include/uapi/linux/mptcp.h,
 * getsockopt(SOL_MPTCP, MPTCP_INFO). A socket that was made with {@linkcode IPPROTO_MPTCP} may carry
 * plain TCP all the same (RFC 8684 section 3.7), and only this says so.
 *
 * @module
 */
import { Errno } from "./errno.ts";
import { errno, libc } from "./libc.ts";
import { fixedInts } from "./native.ts";

/** Protocol of a socket that may have several paths. */
export const IPPROTO_MPTCP = 262;
const AF_INET = 2;
const SOCK_STREAM_CLOEXEC = 1 | 0x80000;

const SOL_MPTCP = 284;
const MPTCP_INFO = 1;
// struct mptcp_info in words of 4 bytes; mptcpi_subflows_total is the byte at 80, since Linux 6.8.
const FLAGS = 2;
const TOKEN = 3;
const SUBFLOWS_TOTAL = 20;
const INFO_WORDS = 21;
const MPTCP_INFO_FLAG_FALLBACK = 1;

/** What {@linkcode mptcpRefusal} answers with net.mptcp.enabled=0: -ENOPROTOOPT. */
export const MPTCP_SWITCHED_OFF = -92;
/** -EPROTONOSUPPORT of a kernel built without it; an older one does not know the number (EINVAL). */
const REFUSALS: readonly number[] = [
  MPTCP_SWITCHED_OFF,
  -93,
  -Errno.Einval,
  -Errno.Eperm, // a sandbox
  -Errno.Eacces,
];

const info = fixedInts(INFO_WORDS);
const length = fixedInts(1);

/**
 * Why this process can have no MPTCP socket, as a negated errno; 0 when it can, or when nothing else
 * would do either (no more descriptors).
 */
export function mptcpRefusal(): number {
  const fd = libc().socket(AF_INET, SOCK_STREAM_CLOEXEC, IPPROTO_MPTCP);
  if (fd >= 0) libc().close(fd);
  const refusal = fd < 0 ? -errno() : 0;
  return REFUSALS.includes(refusal) ? refusal : 0;
}

/**
 * The token by which netlink knows the connection of a connected socket, from 1 to 2^32 - 1; 0 when
 * it is plain TCP, or had to become that.
 */
export function mptcpToken(fd: number): number {
  return readInfo(fd) > TOKEN ? info[TOKEN]! >>> 0 : 0;
}

/**
 * True when a connection has lost its last subflow. The kernel tells nobody: it keeps the socket as
 * it is for another one to come, for a minute (net.mptcp.close_timeout), where TCP would say at once
 * that the peer has reset it. A kernel that cannot tell answers false.
 */
export function mptcpPathless(fd: number): boolean {
  return readInfo(fd) > SUBFLOWS_TOTAL && (info[SUBFLOWS_TOTAL]! & 0xff) === 0;
}

/** Fills `info`, and tells how many words of it; 0 for plain TCP. */
function readInfo(fd: number): number {
  length[0] = 4 * INFO_WORDS;
  if (libc().getsockopt(fd, SOL_MPTCP, MPTCP_INFO, info, length) < 0) return 0;
  return (info[FLAGS]! & MPTCP_INFO_FLAG_FALLBACK) !== 0 ? 0 : length[0]! >> 2;
}
