/**
 * What the kernel knows of a TCP connection that Deno opened: how much the peer has not
 * acknowledged (SIOCOUTQ, tcp(7)), and whether the peer closed it in order (TCP_INFO). The
 * descriptor is found by the addresses at its ends: /proc/self/fd, proc(5).
 *
 * @module
 */
import { libc, libcAvailable } from "../../io/libc.ts";
import { fixedInts } from "../../io/native.ts";
import { localAddress, peerAddress } from "../../io/sockets.ts";
import { SocketAddress } from "../../io/socket_address.ts";
import { hostPort } from "../address_text.ts";

const SIOCOUTQ = 0x5411;
const IPPROTO_TCP = 6;
const TCP_INFO = 11;
/** The peer's FIN has come, and no RST: struct tcp_info, tcpi_state. */
const TCP_CLOSE_WAIT = 8;
const TCP_INFO_SIZE = 256;

const count = fixedInts(1);
const length = fixedInts(1);
const info = new Uint8Array(new ArrayBuffer(TCP_INFO_SIZE));

/** One connection; to be asked only until it is closed, as descriptors are used again. */
export class KernelQueue {
  readonly #fd: number;

  /** Finds the connection; null without libc or /proc. */
  static find(conn: Deno.TcpConn): KernelQueue | null {
    if (!libcAvailable()) return null;
    const here = new SocketAddress();
    const there = new SocketAddress();
    const local = addressText(conn.localAddr);
    const remote = addressText(conn.remoteAddr);
    try {
      for (const { name } of Deno.readDirSync("/proc/self/fd")) {
        const fd = Number(name);
        if (localAddress(fd, here) !== 0 || `${here}` !== local) continue;
        if (peerAddress(fd, there) === 0 && `${there}` === remote) return new KernelQueue(fd);
      }
    } catch {
      // No /proc: it cannot be told.
    }
    return null;
  }

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** Bytes written that the peer's kernel has not acknowledged. */
  unacknowledged(): number {
    return libc().ioctl(this.#fd, SIOCOUTQ, count) < 0 ? 0 : count[0]!;
  }

  /**
   * True when the peer has closed and had read all that its kernel acknowledged: with unread bytes
   * it would have sent RST instead, RFC 1122 section 4.2.2.13.
   */
  closedInOrder(): boolean {
    length[0] = TCP_INFO_SIZE;
    const result = libc().getsockopt(this.#fd, IPPROTO_TCP, TCP_INFO, info, length);
    return result === 0 && info[0] === TCP_CLOSE_WAIT;
  }
}

function addressText({ hostname, port }: Deno.NetAddr): string {
  return hostPort(hostname, port);
}
