/**
 * Packets of one interface, or of all, as they pass: packet(7), SOCK_RAW, with a filter in the kernel
 * (SO_ATTACH_FILTER), the kernel's own time stamps (SO_TIMESTAMPNS) and its count of what it had to
 * drop (PACKET_STATISTICS). A batch is received straight into a block of the arena by one
 * recvmmsg(2). It needs CAP_NET_RAW. A VLAN tag that the kernel has taken out of a frame stays out.
 *
 * @module
 */
import { assert } from "../mem/assert.ts";
import { arena, give, take } from "../mem/arena.ts";
import { Errno } from "./errno.ts";
import { fold, type Libc, libc } from "./libc.ts";
import { fixedInts, putAddress, putArenaAddress } from "./native.ts";
import { interfaceIndex } from "./packet_socket.ts";

const AF_PACKET = 17;
const SOCK_RAW_CLOEXEC_NONBLOCK = 3 | 0x80000 | 0x800;
const ETH_P_ALL = 3;
const SIOCGIFHWADDR = 0x8927;
const IFREQ_SIZE = 40;
const NAME_SIZE = 16; // IFNAMSIZ
const SOCKADDR_LL_SIZE = 20;

const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_ATTACH_FILTER = 26;
const SO_RCVBUFFORCE = 33;
const SO_TIMESTAMPNS = 35;
const SOL_PACKET = 263;
const PACKET_ADD_MEMBERSHIP = 1;
const PACKET_STATISTICS = 6;
const PACKET_MR_PROMISC = 1;
const PACKET_OUTGOING = 4;
/** recvmmsg answers with the real length of a packet that does not fit. */
const MSG_TRUNC = 0x20;
const MSG_DONTWAIT = 0x40;

/** Hardware types of interfaces (ARPHRD_*) that can be read. */
export const Hardware = {
  /** Frames of Ethernet. */
  Ethernet: 1,
  /** Frames of Ethernet with zeros for addresses. */
  Loopback: 772,
  /** Packets without a link layer, as of a tunnel. */
  None: 65534,
} as const;

/** All interfaces of the namespace, as the name of one. */
export const EVERY_INTERFACE = "any";

// The largest packet of IPv4 behind a header of Ethernet is 65,549 bytes, so a slot is some more.
const SLOT_BYTES = 66_048;
const BATCH_BYTES: number = 4 * 1024 * 1024;
/** Packets of one batch. */
export const BATCH_PACKETS_MAX: number = Math.floor(BATCH_BYTES / SLOT_BYTES);

// struct mmsghdr in words: msghdr {name 0, namelen 2, iov 4, iovlen 6, control 8, controllen 10,
// flags 12}, then msg_len at 14.
const HEADER_WORDS = 16;
const NAME_LENGTH = 2;
const IOV = 4;
const IOV_COUNT = 6;
const CONTROL = 8;
const CONTROL_LENGTH = 10;
const MESSAGE_LENGTH = 14;
const VECTOR_WORDS = 4; // struct iovec
// struct sockaddr_ll in words: family and protocol, ifindex, hatype (16) and pkttype (8), address.
const NAME_WORDS = 8;
const NAME_INDEX = 1;
const NAME_TYPES = 2;
// struct cmsghdr {len 0, level 2, type 3} and struct timespec {seconds 4, nanoseconds 6}.
const CONTROL_WORDS = 16;
const CONTROL_TYPE = 3;
const SECONDS = 4;
const NANOSECONDS = 6;

/** How a capture is opened. */
export interface CaptureOptions {
  /**
   * Makes the program of classic BPF for an interface of a hardware type, pairs of words as struct
   * sock_filter has them; null takes everything.
   */
  readonly program: ((hardware: number) => Int32Array) | null;
  /** Room for packets that wait, in the kernel; beyond the system's limit where that is allowed. */
  readonly bufferBytes: number;
  /** Also frames that are for other stations. */
  readonly promiscuous: boolean;
}

/** A packet socket and its last batch; records of a batch are valid until the next one. */
export class PacketCapture {
  readonly fd: number;
  /** One of {@linkcode Hardware}, or another number that is not read here; 0 of all interfaces. */
  readonly hardware: number;
  readonly #libc: Libc = libc();
  readonly #block: number;
  // The kernel is given the addresses of these, so they live as long as this object does.
  readonly #headers = fixedInts(HEADER_WORDS * BATCH_PACKETS_MAX);
  readonly #vectors = fixedInts(VECTOR_WORDS * BATCH_PACKETS_MAX);
  readonly #names = fixedInts(NAME_WORDS * BATCH_PACKETS_MAX);
  readonly #controls = fixedInts(CONTROL_WORDS * BATCH_PACKETS_MAX);
  readonly #statistics = fixedInts(2);
  readonly #length = fixedInts(1);
  #packets = 0;
  #drops = 0;
  #closed = false;

  /**
   * Opens one on the interface `name` in the network namespace of this thread, or on
   * {@linkcode EVERY_INTERFACE}; a negated errno when the kernel refuses, or the arena is full.
   */
  static open(name: string, options: CaptureOptions): PacketCapture | number {
    const every = name === EVERY_INTERFACE;
    const index = every ? 0 : interfaceIndex(name);
    if (index < 0) return index;
    // Protocol 0: nothing is received before filter and interface are set.
    const fd = fold(libc().socket(AF_PACKET, SOCK_RAW_CLOEXEC_NONBLOCK, 0));
    if (fd < 0) return fd;
    const hardware = every ? 0 : hardwareOf(fd, name);
    const answer = hardware < 0 ? hardware : prepare(fd, index, hardware, options);
    const block = answer < 0 ? answer : take(BATCH_BYTES);
    if (answer === 0 && block >= 0) return new PacketCapture(fd, hardware, block);
    libc().close(fd);
    return answer < 0 ? answer : -Errno.Enobufs;
  }

  private constructor(fd: number, hardware: number, block: number) {
    this.fd = fd;
    this.hardware = hardware;
    this.#block = block;
    for (let i = 0; i < BATCH_PACKETS_MAX; i++) this.#prepare(i);
  }

  /** Receives what waits, up to a batch: how many packets, `-EAGAIN` when there is none. */
  receive(): number {
    assert(!this.#closed, "receive of a closed capture");
    const headers = this.#headers;
    for (let i = 0; i < BATCH_PACKETS_MAX; i++) {
      // The kernel writes into these how much it used.
      headers[i * HEADER_WORDS + NAME_LENGTH] = SOCKADDR_LL_SIZE;
      headers[i * HEADER_WORDS + CONTROL_LENGTH] = CONTROL_WORDS * 4;
      this.#controls[i * CONTROL_WORDS + CONTROL_TYPE] = 0;
    }
    const flags = MSG_DONTWAIT | MSG_TRUNC;
    for (;;) {
      const count = this.#libc.recvmmsg(this.fd, headers, BATCH_PACKETS_MAX, flags, null);
      const answer = fold(count);
      if (answer !== -Errno.Eintr) return answer;
    }
  }

  /** Where packet `index` of the batch begins in the arena. */
  at(index: number): number {
    return this.#block + index * SLOT_BYTES;
  }

  /** How many bytes of it are there. */
  capturedBytes(index: number): number {
    const bytes = this.originalBytes(index);
    return bytes < SLOT_BYTES ? bytes : SLOT_BYTES;
  }

  /** How long it was. */
  originalBytes(index: number): number {
    return this.#headers[index * HEADER_WORDS + MESSAGE_LENGTH]!;
  }

  /** When the kernel saw it, in seconds since 1970; 0 when it did not tell. */
  seconds(index: number): number {
    const at = index * CONTROL_WORDS;
    if (this.#controls[at + CONTROL_TYPE] !== SO_TIMESTAMPNS) return 0;
    return (this.#controls[at + SECONDS]! >>> 0) + this.#controls[at + SECONDS + 1]! * 2 ** 32;
  }

  /** The rest of that time. */
  nanoseconds(index: number): number {
    const at = index * CONTROL_WORDS;
    return this.#controls[at + CONTROL_TYPE] === SO_TIMESTAMPNS
      ? this.#controls[at + NANOSECONDS]!
      : 0;
  }

  /** The number of the interface that it passed. */
  interfaceIndex(index: number): number {
    return this.#names[index * NAME_WORDS + NAME_INDEX]!;
  }

  /** The hardware type of that interface. */
  hardwareAt(index: number): number {
    return this.#names[index * NAME_WORDS + NAME_TYPES]! & 0xffff;
  }

  /** Whether this machine sent it. */
  outgoing(index: number): boolean {
    return ((this.#names[index * NAME_WORDS + NAME_TYPES]! >>> 16) & 0xff) === PACKET_OUTGOING;
  }

  /** Packets that passed the filter, those that were dropped included. */
  get packets(): number {
    this.#readStatistics();
    return this.#packets;
  }

  /** Packets that the kernel dropped as there was no room for them. */
  get drops(): number {
    this.#readStatistics();
    return this.#drops;
  }

  /** Closes it and gives its memory back. */
  close(): void {
    if (this.#closed) return;
    this.#readStatistics();
    this.#closed = true;
    this.#libc.close(this.fd);
    give(this.#block);
  }

  #prepare(index: number): void {
    const header = index * HEADER_WORDS;
    const name = this.#names.subarray(index * NAME_WORDS);
    const vector = this.#vectors.subarray(index * VECTOR_WORDS);
    const control = this.#controls.subarray(index * CONTROL_WORDS);
    putArenaAddress(this.#vectors, index * VECTOR_WORDS, this.at(index));
    this.#vectors[index * VECTOR_WORDS + 2] = SLOT_BYTES;
    putAddress(this.#headers, header, name);
    putAddress(this.#headers, header + IOV, vector);
    this.#headers[header + IOV_COUNT] = 1;
    putAddress(this.#headers, header + CONTROL, control);
  }

  /** Reading them sets them back to 0 in the kernel. */
  #readStatistics(): void {
    if (this.#closed) return;
    this.#length[0] = 8;
    const read = this.#libc.getsockopt(
      this.fd,
      SOL_PACKET,
      PACKET_STATISTICS,
      this.#statistics,
      this.#length,
    );
    if (read < 0) return;
    this.#packets += this.#statistics[0]! >>> 0;
    this.#drops += this.#statistics[1]! >>> 0;
  }
}

assert(BATCH_PACKETS_MAX * SLOT_BYTES <= BATCH_BYTES, "a batch fits into its block");
assert(arena.bytes.length > BATCH_BYTES, "the arena has room for a batch");

function hardwareOf(fd: number, name: string): number {
  const request = new Uint8Array(IFREQ_SIZE); // struct ifreq: name, sockaddr
  new TextEncoder().encodeInto(name, request.subarray(0, NAME_SIZE - 1));
  const answer = fold(libc().ioctl(fd, SIOCGIFHWADDR, request));
  return answer < 0 ? answer : new DataView(request.buffer).getUint16(NAME_SIZE, true);
}

/** Options first, the interface last: not one packet comes from elsewhere. */
function prepare(fd: number, index: number, hardware: number, options: CaptureOptions): number {
  const { bufferBytes, program, promiscuous } = options;
  if (setOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, bufferBytes) < 0) {
    setOption(fd, SOL_SOCKET, SO_RCVBUF, bufferBytes);
  }
  let answer = setOption(fd, SOL_SOCKET, SO_TIMESTAMPNS, 1);
  if (answer === 0 && program !== null) answer = attach(fd, program(hardware));
  if (answer === 0 && promiscuous && index !== 0) {
    const request = fixedInts(4); // struct packet_mreq: ifindex, type and alen, address
    request[0] = index;
    request[1] = PACKET_MR_PROMISC;
    answer = fold(libc().setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, request, 16));
  }
  if (answer < 0) return answer;
  const address = new DataView(new ArrayBuffer(SOCKADDR_LL_SIZE));
  address.setUint16(0, AF_PACKET, true);
  address.setUint16(2, ETH_P_ALL);
  address.setInt32(4, index, true);
  return fold(libc().bind(fd, new Uint8Array(address.buffer), SOCKADDR_LL_SIZE));
}

/** struct sock_fprog: how many instructions, and where they are. */
function attach(fd: number, program: Int32Array): number {
  const instructions = fixedInts(program.length);
  instructions.set(program);
  const description = fixedInts(4);
  description[0] = program.length / 2;
  putAddress(description, 2, instructions);
  const answer = fold(libc().setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, description, 16));
  // Named after the call, so that the collector leaves it until then.
  return instructions.length === program.length ? answer : -Errno.Einval;
}

function setOption(fd: number, level: number, name: number, value: number): number {
  const option = fixedInts(1);
  option[0] = value;
  return fold(libc().setsockopt(fd, level, name, option, 4));
}
