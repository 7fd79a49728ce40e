/**
 * Questions to the kernel over netlink and their answers: one request at a time, acknowledged, or a
 * dump. RFC 3549 section 2.3; extended acks as netlink(7).
 *
 * @module
 */
import { Errno, errnoText } from "../io/errno.ts";
import { NetlinkSocket } from "../io/netlink_socket.ts";
import type { Region } from "../mem/region.ts";
import { errorText, NetlinkError, readError } from "../wire/netlink/error.ts";
import { Nlmsg, NlmsgFlag, NlmsgType, readNlmsg } from "../wire/netlink/nlmsg.ts";

/** A dump that was disturbed is begun again so often. */
const DUMPS_MAX = 3;

/** One message of an answer; its payload is from `message.at` to `message.end`. */
export type OnMessage = (from: Region, message: Nlmsg) => void;

/** A socket with its sequence numbers. */
export class NetlinkChannel {
  readonly socket: NetlinkSocket;
  /** What the kernel said about the last request, for people; empty when it said nothing. */
  text = "";
  readonly #message = new Nlmsg();
  readonly #error = new NetlinkError();
  #sequence = 0;

  /**
   * Opens one in the network namespace of this thread.
   *
   * @throws when the kernel has no netlink of this kind
   */
  static open(protocol: number, name: string, outBytes?: number): NetlinkChannel {
    const socket = NetlinkSocket.open(protocol, outBytes);
    if (typeof socket === "number") {
      throw new Error(`Cannot open a netlink socket for ${name}: ${errnoText(socket)}`);
    }
    return new NetlinkChannel(socket);
  }

  private constructor(socket: NetlinkSocket) {
    this.socket = socket;
  }

  /** Where requests are written, from offset 0. */
  get out(): Region {
    return this.socket.out;
  }

  /** The sequence number for the next request. */
  next(): number {
    this.#sequence = (this.#sequence + 1) >>> 0;
    return this.#sequence;
  }

  /**
   * Sends a request of `size` bytes that asks to be acknowledged, with the sequence number that
   * {@linkcode next} gave last; returns 0 or the kernel's errno, positive.
   */
  request(size: number, onMessage: OnMessage | null = null): number {
    this.text = "";
    const sent = this.socket.send(size);
    return sent < 0 ? -sent : this.#collect(onMessage);
  }

  /** The same for a dump; `write` makes the request, once more when the dump was disturbed. */
  dump(write: () => number, onMessage: OnMessage, restart: () => void): number {
    for (let dumps = 0;; dumps++) {
      restart();
      const errno = this.request(write(), onMessage);
      if (errno !== DISTURBED || dumps === DUMPS_MAX) return errno === DISTURBED ? 0 : errno;
    }
  }

  /**
   * Sends a batch of nftables of `size` bytes, which is done as a whole or not at all; returns 0 or the
   * first errno. Only what fails is answered.
   */
  batch(size: number): number {
    this.text = "";
    const sent = this.socket.send(size);
    if (sent < 0) return -sent;
    const message = this.#message;
    let first = 0;
    for (;;) {
      const received = this.socket.receive();
      if (received === -Errno.Eagain) return first;
      if (received < 0) return -received;
      for (let at = 0; at < received;) {
        at = readNlmsg(this.socket.in, at, received, message);
        if (at < 0) return Errno.Eio;
        if (message.type !== NlmsgType.Error || first !== 0) continue;
        first = this.#end(this.socket.in, message);
      }
    }
  }

  /** Closes the socket. */
  close(): void {
    this.socket.close();
  }

  #collect(onMessage: OnMessage | null): number {
    const message = this.#message;
    let disturbed = false;
    for (;;) {
      const size = this.socket.receive();
      // The kernel answers in the context of the request: nothing to read is no answer at all.
      if (size === -Errno.Eagain) return Errno.Etimedout;
      if (size < 0) return -size;
      const region = this.socket.in;
      for (let at = 0; at < size;) {
        at = readNlmsg(region, at, size, message);
        if (at < 0) return Errno.Eio;
        if (message.sequence !== this.#sequence) continue;
        if ((message.flags & NlmsgFlag.DumpInterrupted) !== 0) disturbed = true;
        if (message.type === NlmsgType.Error || message.type === NlmsgType.Done) {
          const errno = this.#end(region, message);
          return errno === 0 && disturbed ? DISTURBED : errno;
        }
        onMessage?.(region, message);
      }
    }
  }

  #end(region: Region, message: Nlmsg): number {
    const error = this.#error;
    if (readError(region, message, error) < 0) return Errno.Eio;
    if (error.error !== 0) this.text = errorText(region, error);
    return error.error;
  }
}

/** No errno: what was dumped changed meanwhile. */
const DISTURBED = -1;
