/**
 * Packets of an interface as they pass, in the shape in which capture files are read. What the filter of
 * the kernel lets through may be more than was asked for (wire/capture/filter.ts): whoever has the
 * segment asks the filter once more.
 *
 * @module
 */
import { Poller, Ready } from "../../io/epoll.ts";
import { Errno, errnoText } from "../../io/errno.ts";
import { libcRefusal } from "../../io/libc.ts";
import { EVERY_INTERFACE, Hardware, PacketCapture } from "../../io/packet_capture.ts";
import { interfaceIndex } from "../../io/packet_socket.ts";
import type { CaptureFilter } from "../../wire/capture/filter.ts";
import { LinkType } from "../../wire/capture/link_layer.ts";
import type { Packet } from "../../wire/capture/packet.ts";

/** Room in the kernel: a second of 250 MB/s, as it counts some overhead of each packet too. */
const BUFFER_BYTES: number = 32 * 1024 * 1024;
const NANOSECONDS = 1_000_000_000;
const ENODEV = 19;
/** Of Packet.flags: its direction. */
const INBOUND = 1;
const OUTBOUND = 2;

/** What a live capture may be told. */
export interface LiveOptions {
  /** What is wanted; everything unless given. */
  readonly filter?: CaptureFilter;
  /** Room in the kernel for packets that wait. */
  readonly bufferBytes?: number;
  /** Also frames for other stations. */
  readonly promiscuous?: boolean;
}

/** An open capture; `close()` gives back what it took. */
export class LiveCapture {
  /** Since 1970: what times count from. 0 before the first packet. */
  originSeconds = 0;
  readonly #name: string;
  readonly #capture: PacketCapture;
  #isGone = false;
  readonly #poller = new Poller(1);
  #count = 0;
  #next = 0;
  #number = 0;
  #skipped = 0;

  /**
   * Opens a capture on an interface of this thread's network namespace, or on `any`, which takes
   * everything out of the kernel: packets of different interfaces begin with different headers,
   * which one program cannot tell apart.
   *
   * @throws when it cannot be, with the remedy
   */
  static open(interfaceName: string, options: LiveOptions = {}): LiveCapture {
    const refusal = libcRefusal();
    if (refusal !== "") throw new Error(`Cannot capture on ${interfaceName}: ${refusal}`);
    const { bufferBytes = BUFFER_BYTES, filter, promiscuous = false } = options;
    // Which program fits is known when the link layer is.
    const program = filter === undefined || interfaceName === EVERY_INTERFACE
      ? null
      : (hardware: number): Int32Array => filter.program(linkTypeOf(hardware));
    const capture = PacketCapture.open(interfaceName, { program, bufferBytes, promiscuous });
    if (typeof capture === "number") throw refused(interfaceName, capture);
    const { hardware } = capture;
    if (interfaceName !== EVERY_INTERFACE && linkTypeOf(hardware) < 0) {
      capture.close();
      throw new Error(
        `Cannot capture on ${interfaceName} as it must be Ethernet, loopback or without a link ` +
          `layer: current value is hardware type ${hardware}`,
      );
    }
    return new LiveCapture(interfaceName, capture);
  }

  private constructor(name: string, capture: PacketCapture) {
    this.#name = name;
    this.#capture = capture;
    this.#poller.add(capture.fd, 0, Ready.In);
  }

  /** Takes the next packet, valid until the next call; false: there is none at hand, {@linkcode wait}. */
  next(packet: Packet): boolean {
    const capture = this.#capture;
    for (;;) {
      if (this.#next === this.#count && !this.#fill()) return false;
      const index = this.#next++;
      const hardware = capture.hardwareAt(index);
      const linkType = linkTypeOf(hardware);
      // On loopback each packet passes twice, leaving and arriving.
      if (linkType < 0 || (hardware === Hardware.Loopback && capture.outgoing(index))) {
        this.#skipped++;
        continue;
      }
      packet.at = capture.at(index);
      packet.end = packet.at + capture.capturedBytes(index);
      packet.originalBytes = capture.originalBytes(index);
      packet.linkType = linkType;
      const seconds = capture.seconds(index);
      if (this.originSeconds === 0) this.originSeconds = seconds;
      packet.timeNs = (seconds - this.originSeconds) * NANOSECONDS + capture.nanoseconds(index);
      packet.number = ++this.#number;
      packet.interfaceIndex = 0;
      packet.flags = capture.outgoing(index) ? OUTBOUND : INBOUND;
      return true;
    }
  }

  /** Waits until there are packets, `ms` have passed, or somebody calls {@linkcode wake}. */
  async wait(ms: number): Promise<void> {
    // The rest of the program gets its chance even while packets keep coming.
    if (this.#next < this.#count || ms <= 0) await turn();
    else await this.#poller.park(ms);
  }

  /** Ends a wait. */
  wake(): void {
    this.#poller.wake();
  }

  /** Packets that the kernel dropped for want of room. */
  get drops(): number {
    return this.#capture.drops;
  }

  /** Whether the interface was removed: nothing comes any more. */
  get isGone(): boolean {
    return this.#isGone;
  }

  /** Packets that were handed out. */
  get received(): number {
    return this.#number;
  }

  /** Packets that were not: second copies on loopback, link layers that are not read. */
  get skipped(): number {
    return this.#skipped;
  }

  /** Closes it. */
  async close(): Promise<void> {
    await this.#poller.close();
    this.#capture.close();
  }

  #fill(): boolean {
    const count = this.#capture.receive();
    this.#next = 0;
    this.#count = Math.max(0, count);
    // An interface that goes down is told once and comes back by itself; one that is removed does not.
    if (count < 0 && count !== -Errno.Eagain && this.#name !== EVERY_INTERFACE) {
      this.#isGone = interfaceIndex(this.#name) < 0;
    }
    return count > 0;
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** The link type of packets of a kind of interface; -1 when they cannot be read. */
function linkTypeOf(hardware: number): number {
  switch (hardware) {
    case Hardware.Ethernet:
    case Hardware.Loopback:
      return LinkType.Ethernet;
    case Hardware.None:
      return LinkType.Raw;
    default:
      return -1;
  }
}

function refused(name: string, errno: number): Error {
  const remedy = errno === -Errno.Eperm
    ? ", it needs CAP_NET_RAW: run it as root"
    : errno === -ENODEV
    ? ", see ip link for the interfaces there are, or give any"
    : errno === -Errno.Enobufs
    ? ", there is no memory left"
    : "";
  return new Error(`Cannot capture on ${name}: ${errnoText(errno)}${remedy}`);
}
