/**
 * Sockets for laboratories of network namespaces, without promises: between namespaces of one kernel
 * a datagram has arrived when the call is over, but for the few that the kernel puts off.
 * udp(7), packet(7).
 *
 * @module
 */
import assert from "node:assert/strict";
import { yieldProcessor } from "../../src/io/epoll.ts";
import { errnoText } from "../../src/io/errno.ts";
import { fold, libc } from "../../src/io/libc.ts";
import { inNamespace } from "../../src/io/namespace.ts";
import { fixedInts } from "../../src/io/native.ts";
import { PacketSocket } from "../../src/io/packet_socket.ts";
import { Family, parseInet } from "../../src/wire/inet.ts";

const SOCK_DGRAM = 2;
const CLOEXEC_NONBLOCK = 0x80000 | 0x800;
const ETH_P_ALL = 3;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SO_MARK = 36;
const RECEIVE_BYTES = 4 * 1024 * 1024;
const FRAME_MAX = 2048;
const MAC_SIZE = 6;

/** A UDP socket in a namespace. */
export class LabUdp implements Disposable {
  readonly #fd: number;
  readonly #in = new Uint8Array(FRAME_MAX);

  /** Binds one; packets that it sends have the mark when it is not 0. */
  constructor(namespace: string, host: string, port: number, mark = 0) {
    const address = sockaddr(host, port);
    const fd = inNamespace(namespace, () =>
      must(
        fold(libc().socket(address[0]!, SOCK_DGRAM | CLOEXEC_NONBLOCK, 0)),
        "a socket",
      ));
    this.#fd = fd;
    must(fold(libc().bind(fd, address, address.length)), `a socket bound to ${host}`);
    setOption(fd, SO_RCVBUFFORCE, RECEIVE_BYTES);
    if (mark !== 0) setOption(fd, SO_MARK, mark);
  }

  /** Sends datagrams of `bytes` bytes; says how many the kernel took. */
  send(host: string, port: number, count = 1, bytes = 36): number {
    const to = sockaddr(host, port);
    const datagram = new Uint8Array(bytes);
    let taken = 0;
    for (let i = 0; i < count; i++) {
      if (fold(libc().sendto(this.#fd, datagram, bytes, 0, to, to.length)) === bytes) taken++;
    }
    return taken;
  }

  /** Takes what has arrived; says how many datagrams it was. */
  drain(): number {
    for (let count = 0;; count++) {
      if (libc().recv(this.#fd, this.#in, FRAME_MAX, 0) < 0) return count;
    }
  }

  /** Takes what arrives until it is `count`, or `deadlineMs` are over; says how many it was. */
  await(count: number, deadlineMs: number): number {
    const deadline = performance.now() + deadlineMs;
    let arrived = this.drain();
    while (arrived < count && performance.now() < deadline) {
      yieldProcessor();
      arrived += this.drain();
    }
    return arrived;
  }

  /** Closes it. */
  [Symbol.dispose](): void {
    libc().close(this.#fd);
  }
}

/** What passes an interface, both ways, and what is put onto it: whole Ethernet frames. */
export class LabTap implements Disposable {
  readonly #socket: PacketSocket;
  readonly #in = new Uint8Array(FRAME_MAX);

  /** Begins to listen; frames wait until they are taken. */
  constructor(namespace: string, interfaceName: string) {
    const socket = inNamespace(namespace, () => PacketSocket.open(interfaceName, ETH_P_ALL));
    if (typeof socket === "number") must(socket, `a packet socket on ${interfaceName}`);
    this.#socket = socket as PacketSocket;
    setOption(this.#socket.fd, SO_RCVBUFFORCE, RECEIVE_BYTES);
  }

  /** Takes the frames that passed. */
  take(): Uint8Array<ArrayBuffer>[] {
    const frames: Uint8Array<ArrayBuffer>[] = [];
    for (;;) {
      const size = this.#socket.receive(this.#in);
      if (size < 0) return frames;
      frames.push(this.#in.slice(0, size));
    }
  }

  /** Puts a frame onto the interface. */
  put(frame: Uint8Array<ArrayBuffer>): void {
    must(this.#socket.send(frame, frame.length), "a frame sent");
  }

  /** Closes it. */
  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

/** Lets the kernel's own thread take packets that it has put off, which it does now and then. */
export function settle(): void {
  for (let i = 0; i < 20; i++) yieldProcessor();
}

/** A frame with another destination. */
export function frameTo(frame: Uint8Array<ArrayBuffer>, mac: string): Uint8Array<ArrayBuffer> {
  const copy = frame.slice();
  copy.set(Uint8Array.fromHex(mac.replaceAll(":", "")).subarray(0, MAC_SIZE));
  return copy;
}

/** An ESP packet in an Ethernet frame: RFC 4303 section 2, without UDP around it. */
export interface EspPacket {
  /** Security Parameters Index. */
  spi: number;
  /** The lower half of the sequence number. */
  sequence: number;
  /** IV, ciphertext and check value. */
  payload: Uint8Array<ArrayBuffer>;
  /** The frame that it came in. */
  frame: Uint8Array<ArrayBuffer>;
}

const ETHERNET_SIZE = 14;
const PROTO_ESP = 50;
const ESP_HEADER_SIZE = 8;

/** Those of frames that hold ESP. */
export function espPackets(frames: readonly Uint8Array<ArrayBuffer>[]): EspPacket[] {
  return frames.flatMap((frame) => {
    const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
    const at = espAt(view);
    if (at < 0 || at + ESP_HEADER_SIZE > frame.length) return [];
    const payload = frame.slice(at + ESP_HEADER_SIZE);
    return [{ spi: view.getUint32(at), sequence: view.getUint32(at + 4), payload, frame }];
  });
}

function espAt(frame: DataView): number {
  if (frame.byteLength < ETHERNET_SIZE + 40) return -1;
  const type = frame.getUint16(12);
  if (type === 0x0800 && frame.getUint8(ETHERNET_SIZE + 9) === PROTO_ESP) {
    return ETHERNET_SIZE + (frame.getUint8(ETHERNET_SIZE) & 15) * 4;
  }
  if (type === 0x86dd && frame.getUint8(ETHERNET_SIZE + 6) === PROTO_ESP) return ETHERNET_SIZE + 40;
  return -1;
}

/** struct sockaddr_in or sockaddr_in6. */
function sockaddr(host: string, port: number): Uint8Array<ArrayBuffer> {
  const address = new Uint8Array(16);
  const family = parseInet(host, address);
  assert.notEqual(family, Family.None, host);
  const bytes = new Uint8Array(family === Family.Inet ? 16 : 28);
  bytes[0] = family;
  new DataView(bytes.buffer).setUint16(2, port);
  if (family === Family.Inet) bytes.set(address.subarray(0, 4), 4);
  else bytes.set(address, 8);
  return bytes;
}

function setOption(fd: number, name: number, value: number): void {
  const option = fixedInts(1);
  option[0] = value;
  must(fold(libc().setsockopt(fd, SOL_SOCKET, name, option, 4)), `option ${name} of a socket`);
}

function must(result: number, what: string): number {
  if (result < 0) throw new Error(`Cannot have ${what}: ${errnoText(result)}`);
  return result;
}
