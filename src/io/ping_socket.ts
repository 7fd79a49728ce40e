/**
 * ICMP echo over one interface: RFC 792, raw(7). A raw socket rather than one of IPPROTO_ICMP, which a
 * namespace allows to no group at first, and bound to its interface, so that no route of another table
 * can lead elsewhere. It needs CAP_NET_RAW. Every function answers 0 or more, or a negated errno.
 *
 * @module
 */
import { Family, parseInet } from "../wire/inet.ts";
import { Errno } from "./errno.ts";
import { cString, fold, type Libc, libc } from "./libc.ts";
import { fixedInts } from "./native.ts";

const AF_INET = 2;
const SOCK_RAW_CLOEXEC_NONBLOCK = 3 | 0x80000 | 0x800;
const IPPROTO_ICMP = 1;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_BINDTODEVICE = 25;
const RECEIVE_BYTES = 64 * 1024;
const POLLIN = 1;

/** Offsets in an IPv4 header. */
const IP_PROTOCOL = 9;
const IP_SOURCE = 12;
const IP_SIZE = 20;
/** Offsets in a message of echo. */
const TYPE = 0;
const CODE = 1;
const CHECKSUM = 2;
const ID = 4;
const SEQUENCE = 6;
const NONCE = 8;
const NONCE_SIZE = 8;
const ECHO_SIZE = NONCE + NONCE_SIZE;
const ECHO = 8;
const ECHO_REPLY = 0;
/** An answer that is larger is none of ours. */
const PACKET_BYTES_MAX = 256;
const OTHERS_MAX = 256;

const packet = new Uint8Array(PACKET_BYTES_MAX);
const view = new DataView(packet.buffer);

/** Echoes to one address over one interface. */
export class PingSocket {
  readonly fd: number;
  readonly #libc: Libc = libc();
  /** struct sockaddr_in. */
  readonly #peer: Uint8Array<ArrayBuffer>;
  readonly #message = new Uint8Array(ECHO_SIZE);
  readonly #id: number;
  readonly #nonce: Uint8Array;

  /**
   * Opens one on the interface `device` in the network namespace of this thread, between two IPv4
   * addresses, of which `address` is ours.
   *
   * @param nonce random: an answer must repeat its id, of 16 bits, and the 8 bytes after it
   */
  static open(
    device: string,
    address: string,
    peer: string,
    nonce: Uint8Array,
  ): PingSocket | number {
    const [from, to] = [sockaddrOf(address), sockaddrOf(peer)];
    if (from === null || to === null) return -Errno.Einval;
    const { bind, close, setsockopt, socket } = libc();
    const fd = fold(socket(AF_INET, SOCK_RAW_CLOEXEC_NONBLOCK, IPPROTO_ICMP));
    if (fd < 0) return fd;
    const name = cString(device);
    let answer = fold(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, name.length));
    if (answer === 0) answer = fold(bind(fd, from, from.length));
    if (answer < 0) {
      close(fd);
      return answer;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, Int32Array.of(RECEIVE_BYTES), 4);
    return new PingSocket(fd, to, nonce);
  }

  private constructor(fd: number, peer: Uint8Array<ArrayBuffer>, nonce: Uint8Array) {
    this.fd = fd;
    this.#peer = peer;
    this.#id = nonce[0]! << 8 | nonce[1]!;
    this.#nonce = nonce.slice(2, 2 + NONCE_SIZE);
  }

  /** Sends the echo of that number. */
  send(sequence: number): number {
    const message = this.#message;
    const fields = new DataView(message.buffer);
    message.fill(0);
    fields.setUint8(TYPE, ECHO);
    fields.setUint16(ID, this.#id);
    fields.setUint16(SEQUENCE, sequence);
    message.set(this.#nonce, NONCE);
    fields.setUint16(CHECKSUM, checksum(message, 0, ECHO_SIZE));
    const to = this.#peer;
    for (;;) {
      const sent = fold(this.#libc.sendto(this.fd, message, ECHO_SIZE, 0, to, to.length));
      if (sent !== -Errno.Eintr) return sent;
    }
  }

  /**
   * The number of an echo that was answered by the peer; `-EAGAIN` when there is none. A raw socket gets
   * all ICMP of its interface: what is no answer to us is passed over, so much of it at a time.
   */
  receive(): number {
    for (let others = 0; others < OTHERS_MAX; others++) {
      const size = fold(this.#libc.recv(this.fd, packet, PACKET_BYTES_MAX, 0));
      if (size >= 0 && this.#isAnswer(size)) return view.getUint16(headerSize() + SEQUENCE);
      if (size < 0 && size !== -Errno.Eintr) return size;
    }
    return -Errno.Eagain;
  }

  /** Closes it. */
  close(): void {
    this.#libc.close(this.fd);
  }

  #isAnswer(size: number): boolean {
    const at = headerSize();
    return size >= IP_SIZE && packet[0]! >> 4 === 4 && at >= IP_SIZE && size === at + ECHO_SIZE &&
      packet[IP_PROTOCOL] === IPPROTO_ICMP && packet[at + TYPE] === ECHO_REPLY &&
      packet[at + CODE] === 0 && view.getUint16(at + ID) === this.#id &&
      checksum(packet, at, at + ECHO_SIZE) === 0 &&
      this.#peer.subarray(4, 8).every((byte, index) => packet[IP_SOURCE + index] === byte) &&
      this.#nonce.every((byte, index) => packet[at + NONCE + index] === byte);
  }
}

/** struct sockaddr_in with port 0; null when it is no IPv4 address. */
function sockaddrOf(text: string): Uint8Array<ArrayBuffer> | null {
  const address = new Uint8Array(16);
  if (parseInet(text, address) !== Family.Inet) return null;
  const sockaddr = new Uint8Array(16);
  sockaddr[0] = AF_INET;
  sockaddr.set(address.subarray(0, 4), 4);
  return sockaddr;
}

/** Of the packet that was received. */
function headerSize(): number {
  return (packet[0]! & 15) * 4;
}

/** Waits on another thread until one of the sockets has something, or `timeoutMs` has passed. */
export async function waitForPings(
  sockets: readonly PingSocket[],
  timeoutMs: number,
): Promise<void> {
  const entries = fixedInts(sockets.length * 2); // struct pollfd: fd, then events and revents
  for (const [index, { fd }] of sockets.entries()) {
    entries[index * 2] = fd;
    entries[index * 2 + 1] = POLLIN;
  }
  await libc().poll_parked(entries, sockets.length, timeoutMs);
}

/** RFC 1071; 0 of a message that has its own. */
function checksum(bytes: Uint8Array, at: number, end: number): number {
  let sum = 0;
  for (let i = at; i < end; i += 2) sum += bytes[i]! << 8 | bytes[i + 1]!;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
