/**
 * Frames of one interface: packet(7), SOCK_RAW. It needs CAP_NET_RAW. Every function answers 0 or more,
 * or a negated errno as the kernel does.
 *
 * @module
 */
import { Errno } from "./errno.ts";
import { cString, fold, type Libc, libc } from "./libc.ts";

const AF_PACKET = 17;
const SOCK_RAW_CLOEXEC_NONBLOCK = 3 | 0x80000 | 0x800;
const SIOCGIFHWADDR = 0x8927;
const IFREQ_SIZE = 40;
const NAME_SIZE = 16; // IFNAMSIZ
const ARPHRD_ETHER = 1;
const HARDWARE_BYTES = 6;

/** The number of an interface in the network namespace of this thread, or a negated errno. */
export function interfaceIndex(name: string): number {
  const index = libc().if_nametoindex(cString(name));
  return index === 0 ? fold(-1) : index;
}

/** A socket that sends and receives on one interface. */
export class PacketSocket {
  readonly fd: number;
  /** Whether its frames are those of Ethernet. */
  readonly ethernet: boolean;
  /** Its hardware address; zeros when it is no Ethernet. */
  readonly hardware: Uint8Array;
  readonly #libc: Libc = libc();

  /**
   * Opens one on the interface `name` in the network namespace of this thread. It receives frames of
   * `etherType`; with 0 it only sends.
   */
  static open(name: string, etherType: number): PacketSocket | number {
    const { bind, close, ioctl, socket } = libc();
    const index = interfaceIndex(name);
    if (index < 0) return index;
    // Protocol 0: nothing is received before it is bound to its interface.
    const fd = fold(socket(AF_PACKET, SOCK_RAW_CLOEXEC_NONBLOCK, 0));
    if (fd < 0) return fd;
    const request = new Uint8Array(IFREQ_SIZE); // struct ifreq: name, sockaddr
    new TextEncoder().encodeInto(name, request.subarray(0, NAME_SIZE - 1));
    let answer = fold(ioctl(fd, SIOCGIFHWADDR, request));
    if (answer >= 0) {
      const address = new DataView(new ArrayBuffer(20)); // struct sockaddr_ll
      address.setUint16(0, AF_PACKET, true);
      address.setUint16(2, etherType);
      address.setInt32(4, index, true);
      answer = fold(bind(fd, new Uint8Array(address.buffer), address.byteLength));
    }
    if (answer < 0) {
      close(fd);
      return answer;
    }
    const ethernet = new DataView(request.buffer).getUint16(NAME_SIZE, true) === ARPHRD_ETHER;
    const at = NAME_SIZE + 2;
    const hardware = ethernet
      ? request.slice(at, at + HARDWARE_BYTES)
      : new Uint8Array(HARDWARE_BYTES);
    return new PacketSocket(fd, ethernet, hardware);
  }

  private constructor(fd: number, ethernet: boolean, hardware: Uint8Array) {
    this.fd = fd;
    this.ethernet = ethernet;
    this.hardware = hardware;
  }

  /** Sends the first `size` bytes as one frame, header included; `-ENETDOWN` on one that is down. */
  send(bytes: Uint8Array<ArrayBuffer>, size: number): number {
    for (;;) {
      const sent = fold(this.#libc.write(this.fd, bytes, size));
      if (sent !== -Errno.Eintr) return sent;
    }
  }

  /** Receives one frame, cut to what `bytes` has room for: its size, `-EAGAIN` when there is none. */
  receive(bytes: Uint8Array<ArrayBuffer>): number {
    for (;;) {
      const size = fold(this.#libc.recv(this.fd, bytes, bytes.length, 0));
      if (size !== -Errno.Eintr) return size;
    }
  }

  /** Closes it. */
  close(): void {
    this.#libc.close(this.fd);
  }
}
