/**
 * Urgent data of TCP: RFC 9293 section 3.8.5, tcp(7), sockatmark(3). A socket of sockets.ts sends a byte so that
 * the urgent pointer tells of it, and a receiver that keeps urgent bytes in line (SO_OOBINLINE) asks
 * whether the next byte is the one. Nothing here allocates, every function answers 0 or more, or a
 * negated errno as the kernel does.
 *
 * @module
 */
import { errno, fold, libc } from "./libc.ts";
import { fixedInts, putAddress, putArenaAddress } from "./native.ts";
import { IPPROTO_TCP } from "./sockets.ts";

const MSG_OOB = 0x1;
const MSG_NOSIGNAL = 0x4000;
const MSG_MORE = 0x8000;
const SOL_SOCKET = 1;
const SO_OOBINLINE = 10;
const SIOCATMARK = 0x8905;
const TCP_INFO = 11;
// struct tcp_info in words; tcpi_bytes_received is the u64 at 128, since Linux 4.1.
const BYTES_RECEIVED = 32;
const INFO_WORDS = 34;
/** Which byte of the pair the kernel takes a pointer for; proc(5), tcp_stdurg of tcp(7). */
const STANDARD_MEANING = "/proc/sys/net/ipv4/tcp_stdurg";

/** `flags` of {@linkcode sendFlagged}, which may be combined. */
export const SendFlag = {
  None: 0,
  /** MSG_OOB: the last byte of this call is the urgent one. */
  Urgent: MSG_OOB,
  /** MSG_MORE: more comes at once, a segment that is not full may wait for it. */
  More: MSG_MORE,
} as const;

/** EPOLLPRI, beside the bits of `Ready`: an urgent byte is there and was not read yet. */
export const READY_URGENT = 0x002;

// struct iovec, and struct msghdr with it: name 0, namelen 2, iov 4, iovlen 6, control and flags.
const vector = fixedInts(4);
const header = fixedInts(14);
const IOV = 4;
const IOV_COUNT = 6;
const option = fixedInts(1);
const information = fixedInts(INFO_WORDS);
const length = fixedInts(1);

/** Sends arena [at, end): how many bytes the kernel took, `-EAGAIN` when it has no room. */
export function sendFlagged(fd: number, at: number, end: number, flags: number): number {
  putArenaAddress(vector, 0, at);
  vector[2] = end - at;
  if (header[IOV] === 0) putAddress(header, IOV, vector);
  header[IOV_COUNT] = 1;
  const sent = libc().sendmsg(fd, header, flags | MSG_NOSIGNAL);
  return sent < 0 ? -errno() : sent;
}

/** Keeps urgent bytes where they are in the stream: without it the kernel takes them out. */
export function setUrgentInline(fd: number): number {
  option[0] = 1;
  return fold(libc().setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, option, 4));
}

/** 1 when the next byte to read is the one that the kernel takes the pointer for, else 0. */
export function atMark(fd: number): number {
  const result = libc().ioctl(fd, SIOCATMARK, option);
  return result < 0 ? -errno() : option[0]!;
}

/**
 * Bytes that arrived in order since the connection was opened, whether they were read or taken out
 * as urgent; the end of the stream counts as one more.
 */
export function bytesReceived(fd: number): number {
  length[0] = INFO_WORDS * 4;
  const result = libc().getsockopt(fd, IPPROTO_TCP, TCP_INFO, information, length);
  if (result < 0) return -errno();
  return (information[BYTES_RECEIVED]! >>> 0) + information[BYTES_RECEIVED + 1]! * 2 ** 32;
}

/**
 * Whether this thread's network namespace takes the pointer for the urgent byte itself (RFC 1122,
 * tcp_stdurg=1) rather than for the one after it (as BSD, RFC 6093): marks come one byte later then.
 */
export function standardUrgent(): boolean {
  return Deno.readTextFileSync(STANDARD_MEANING).trim() === "1";
}

/** Sets that for the namespace; it needs CAP_NET_ADMIN. */
export function setStandardUrgent(standard: boolean): void {
  Deno.writeTextFileSync(STANDARD_MEANING, standard ? "1\n" : "0\n");
}
