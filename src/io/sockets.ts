/**
 * TCP and MPTCP sockets: non-blocking, closed on exec, straight over libc. Every function answers 0 or
 * more, or a negated errno as the kernel does. Bytes are received into and sent from the arena;
 * neither road allocates (tests/io/allocation_test.ts). socket(7), tcp(7), ipv6(7).
 *
 * @module
 */
import { assert } from "../mem/assert.ts";
import { GATHER_PIECES_MAX } from "../mem/limits.ts";
import { Family } from "../wire/inet.ts";
import { Errno } from "./errno.ts";
import { cString, errno, fold, libc } from "./libc.ts";
import { fixedInts, putAddress, putArenaAddress } from "./native.ts";
import { SocketAddress } from "./socket_address.ts";

const SOCK_STREAM_CLOEXEC_NONBLOCK = 1 | 0x80000 | 0x800;
const SOCK_CLOEXEC_NONBLOCK = 0x80000 | 0x800;
const MSG_NOSIGNAL = 0x4000;

const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_ERROR = 4;
const SO_RCVBUF = 8;
/** Protocol of a socket that has one path. */
export const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;

// struct sockaddr_in and sockaddr_in6; the family is in host order, the port in network order.
const PORT = 2;
const IN_ADDR = 4;
const IN6_ADDR = 8;
const IN6_SCOPE = 24;
const SOCKADDR_IN_SIZE = 16;
const SOCKADDR_IN6_SIZE = 28;

const sockaddr = new DataView(new ArrayBuffer(128)); // sockaddr_storage
const sockaddrBytes = new Uint8Array(sockaddr.buffer);
const length = fixedInts(1);
const option = fixedInts(1);
const parsed = new SocketAddress();

// struct iovec {base, size_t len}: 4 words each; the high half of len stays 0.
const readVector = fixedInts(4);
const sendVectors = fixedInts(4 * GATHER_PIECES_MAX);
// struct msghdr of a 64-bit libc: name 0, namelen 8, iov 16, iovlen 24, control.. flags 48.
const sendHeader = fixedInts(14);
const MSG_IOV = 4;
const MSG_IOVLEN = 6;

/** `how` of {@linkcode shutdown}. */
export const Shutdown = { Read: 0, Write: 1, Both: 2 } as const;

/**
 * Opens a listener on a numeric host and a port (0: any free one, see {@linkcode localAddress}).
 * SO_REUSEADDR is set, so that a restarted process gets its port back at once. With IPPROTO_MPTCP
 * it accepts those who speak only TCP too, as sockets of TCP.
 */
export function listenTcp(
  host: string,
  port: number,
  backlog: number,
  protocol = IPPROTO_TCP,
): number {
  const fd = openFor(host, port, protocol);
  if (fd < 0) return fd;
  const bytes = writeSockaddr(parsed);
  let result = setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (result === 0) result = fold(libc().bind(fd, sockaddrBytes, bytes));
  if (result === 0) result = fold(libc().listen(fd, backlog));
  return result === 0 ? fd : closeWith(fd, result);
}

/**
 * Starts connecting to a numeric host; wait for `Ready.Out`, then ask {@linkcode socketError}.
 * A zone of a link-local address may be an index or an interface's name: `fe80::1%eth0`. With
 * IPPROTO_MPTCP the kernel goes on with TCP when the peer speaks nothing else.
 */
export function connectTcp(host: string, port: number, protocol = IPPROTO_TCP): number {
  const fd = openFor(host, port, protocol);
  if (fd < 0) return fd;
  const result = fold(libc().connect(fd, sockaddrBytes, writeSockaddr(parsed)));
  return result === 0 || result === -Errno.Einprogress ? fd : closeWith(fd, result);
}

/** Takes a waiting connection; `-EAGAIN` when there is none. */
export function accept(listenFd: number): number {
  return fold(libc().accept4(listenFd, null, null, SOCK_CLOEXEC_NONBLOCK));
}

/** Takes the pending error: 0, or negated as {@linkcode connectTcp} would have answered. */
export function socketError(fd: number): number {
  length[0] = 4;
  const result = libc().getsockopt(fd, SOL_SOCKET, SO_ERROR, option, length);
  return result < 0 ? -errno() : -option[0]! | 0;
}

/** Where a socket is bound. */
export function localAddress(fd: number, into: SocketAddress): number {
  length[0] = sockaddr.byteLength;
  const result = fold(libc().getsockname(fd, sockaddrBytes, length));
  return result < 0 ? result : readSockaddr(into);
}

/** The far end of a connected socket. */
export function peerAddress(fd: number, into: SocketAddress): number {
  length[0] = sockaddr.byteLength;
  const result = fold(libc().getpeername(fd, sockaddrBytes, length));
  return result < 0 ? result : readSockaddr(into);
}

/** Sends small segments at once (TCP_NODELAY): frames are gathered before they get here. */
export function setNoDelay(fd: number): number {
  return setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

/**
 * SO_RCVBUF; the kernel doubles it for its bookkeeping and stops tuning it. Before connecting or
 * listening for windows above 64 KiB.
 */
export function setReceiveBuffer(fd: number, bytes: number): number {
  return setOption(fd, SOL_SOCKET, SO_RCVBUF, bytes);
}

/** Receives into arena [at, end): the count, 0 at the end of the stream, or `-EAGAIN`. */
export function receive(fd: number, at: number, end: number): number {
  assert(end > at, "receive() has room: 0 bytes would look like the end");
  putArenaAddress(readVector, 0, at);
  readVector[2] = end - at;
  const count = libc().readv(fd, readVector, 1);
  return count < 0 ? -errno() : count;
}

/**
 * Sends pieces of the arena in one system call.
 *
 * @param pieces pairs of arena offset and length
 * @param first index of the first pair to send
 * @param count how many pairs from there; at most GATHER_PIECES_MAX are taken
 * @param skip bytes of the first piece that were sent before
 * @returns how many bytes the kernel took, often fewer than asked; or a negated errno. A closed
 * peer is `-EPIPE`, never a signal.
 */
export function sendPieces(
  fd: number,
  pieces: Int32Array,
  first: number,
  count: number,
  skip: number,
): number {
  const vectors = count < GATHER_PIECES_MAX ? count : GATHER_PIECES_MAX;
  let omit = skip;
  for (let i = 0; i < vectors; i++) {
    const pair = (first + i) * 2;
    putArenaAddress(sendVectors, i * 4, pieces[pair]! + omit);
    sendVectors[i * 4 + 2] = pieces[pair + 1]! - omit;
    omit = 0;
  }
  if (sendHeader[MSG_IOV] === 0) putAddress(sendHeader, MSG_IOV, sendVectors);
  sendHeader[MSG_IOVLEN] = vectors;
  const sent = libc().sendmsg(fd, sendHeader, MSG_NOSIGNAL);
  return sent < 0 ? -errno() : sent;
}

/** Ends one direction or both; see {@linkcode Shutdown}. */
export function shutdown(fd: number, how: number): number {
  return fold(libc().shutdown(fd, how));
}

/** Closes a descriptor; it is gone whatever the answer. */
export function close(fd: number): number {
  return fold(libc().close(fd));
}

/** A socket of the family that `host` has, which is left in `parsed`; `-EINVAL` for a name. */
function openFor(host: string, port: number, protocol: number): number {
  if (!parsed.set(withZoneIndex(host), port)) return -Errno.Einval;
  return fold(libc().socket(parsed.family, SOCK_STREAM_CLOEXEC_NONBLOCK, protocol));
}

/** `fe80::1%eth0` with the interface's index in place of its name; unknown names stay. */
function withZoneIndex(host: string): string {
  const percent = host.indexOf("%");
  if (percent < 0) return host;
  const index = libc().if_nametoindex(cString(host.slice(percent + 1)));
  return index === 0 ? host : `${host.slice(0, percent + 1)}${index}`;
}

function writeSockaddr(from: SocketAddress): number {
  sockaddrBytes.fill(0);
  sockaddr.setUint16(0, from.family, true);
  sockaddr.setUint16(PORT, from.port);
  if (from.family === Family.Inet) {
    for (let i = 0; i < 4; i++) sockaddrBytes[IN_ADDR + i] = from.address[i]!;
    return SOCKADDR_IN_SIZE;
  }
  sockaddrBytes.set(from.address, IN6_ADDR);
  sockaddr.setUint32(IN6_SCOPE, from.scope, true);
  return SOCKADDR_IN6_SIZE;
}

function readSockaddr(into: SocketAddress): number {
  into.clear();
  into.family = sockaddr.getUint16(0, true);
  into.port = sockaddr.getUint16(PORT);
  if (into.family === Family.Inet) {
    for (let i = 0; i < 4; i++) into.address[i] = sockaddrBytes[IN_ADDR + i]!;
    return 0;
  }
  for (let i = 0; i < 16; i++) into.address[i] = sockaddrBytes[IN6_ADDR + i]!;
  into.scope = sockaddr.getUint32(IN6_SCOPE, true);
  return 0;
}

function setOption(fd: number, level: number, name: number, value: number): number {
  option[0] = value;
  return fold(libc().setsockopt(fd, level, name, option, 4));
}

/** Gives up a half-made socket, keeping why. */
function closeWith(fd: number, result: number): number {
  libc().close(fd);
  return result;
}
