/**
 * Netlink sockets: netlink(7). Requests are answered before `send()` is over, as the kernel works on
 * them in the caller's context; a socket that listens to groups is for a {@linkcode Poller}. Every function
 * answers 0 or more, or a negated errno as the kernel does.
 *
 * @module
 */
import { newRegion, type Region } from "../mem/region.ts";
import { Errno } from "./errno.ts";
import { fold, type Libc, libc } from "./libc.ts";
import { fixedInts } from "./native.ts";

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC_NONBLOCK = 3 | 0x80000 | 0x800;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
/** Answers with the real length of a datagram that does not fit. */
const MSG_TRUNC = 0x20;

/** `protocol` of {@linkcode NetlinkSocket.open}. */
export const NetlinkProtocol = {
  /** NETLINK_ROUTE: links, addresses, routes. */
  Route: 0,
  /** NETLINK_SOCK_DIAG: sockets of every process. */
  SockDiag: 4,
  /** NETLINK_XFRM: IPsec associations and policies. */
  Xfrm: 6,
  /** NETLINK_NETFILTER: nftables, logs and queues of packets. */
  Netfilter: 12,
  /** NETLINK_GENERIC: families by name. */
  Generic: 16,
} as const;

/** What is sent, but for large batches of nftables. */
const OUT_SIZE = 16 * 1024;
/** What is received: the kernel fills a dump's datagrams up to this. */
const IN_SIZE = 64 * 1024;

const option = fixedInts(1);
const sockaddr = new Uint8Array(12); // struct sockaddr_nl: the kernel chooses the port

/** A socket of its own for each purpose, so that answers never mix with events. */
export class NetlinkSocket {
  readonly fd: number;
  /** Where requests are written, from offset 0. */
  readonly out: Region;
  /** Where {@linkcode receive} puts a datagram. */
  readonly in: Region = newRegion(IN_SIZE);
  readonly #libc: Libc = libc();

  /**
   * Opens one in the network namespace of this thread, for requests of up to `outBytes`; a negated errno
   * when the kernel refuses.
   */
  static open(protocol: number, outBytes: number = OUT_SIZE): NetlinkSocket | number {
    const { bind, close, socket } = libc();
    const fd = fold(socket(AF_NETLINK, SOCK_RAW_CLOEXEC_NONBLOCK, protocol));
    if (fd < 0) return fd;
    sockaddr[0] = AF_NETLINK;
    const bound = fold(bind(fd, sockaddr, sockaddr.length));
    if (bound < 0) {
      close(fd);
      return bound;
    }
    setOption(fd, SOL_NETLINK, NETLINK_EXT_ACK, 1);
    setOption(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
    return new NetlinkSocket(fd, outBytes);
  }

  private constructor(fd: number, outBytes: number) {
    this.fd = fd;
    this.out = newRegion(outBytes);
  }

  /** Joins a multicast group; `-EPERM` where it is only for who administers the network. */
  join(group: number): number {
    return setOption(this.fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group);
  }

  /** Room for events that wait: beyond the system's limit where that is allowed. */
  setReceiveBuffer(bytes: number): number {
    const forced = setOption(this.fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes);
    return forced === 0 ? 0 : setOption(this.fd, SOL_SOCKET, SO_RCVBUF, bytes);
  }

  /** Sends the first `size` bytes of {@linkcode out} to the kernel. */
  send(size: number): number {
    for (;;) {
      const sent = fold(this.#libc.write(this.fd, this.out.bytes, size));
      if (sent !== -Errno.Eintr) return sent;
    }
  }

  /**
   * Receives one datagram into {@linkcode in}: its size, `-EAGAIN` when there is none, `-ENOBUFS` when
   * events were lost before it, `-EMSGSIZE` when it was larger than there is room.
   */
  receive(): number {
    for (;;) {
      const size = fold(this.#libc.recv(this.fd, this.in.bytes, IN_SIZE, MSG_TRUNC));
      if (size === -Errno.Eintr) continue;
      return size > IN_SIZE ? -Errno.Emsgsize : size;
    }
  }

  /** Closes it. */
  close(): void {
    this.#libc.close(this.fd);
  }
}

function setOption(fd: number, level: number, name: number, value: number): number {
  option[0] = value;
  return fold(libc().setsockopt(fd, level, name, option, 4));
}
