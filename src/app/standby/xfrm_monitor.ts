/**
 * Listens to the kernel's IPsec for who wants to see it: netlink(7), ip-xfrm(8).
 *
 * @module
 */
import { Poller, Ready } from "../../io/epoll.ts";
import { Errno, errnoText } from "../../io/errno.ts";
import type { NetlinkSocket } from "../../io/netlink_socket.ts";
import { describeFault } from "../../mem/fault.ts";
import { Nlmsg, readNlmsg } from "../../wire/netlink/nlmsg.ts";
import { AEVENT_BUFFER_BYTES, listenToXfrm } from "./xfrm_kernel.ts";
import { type XfrmNote, XfrmReader } from "./xfrm_text.ts";

/** Datagrams of a turn: a signal is heard in between. */
const RECEIVES_MAX = 64;

const DROPPED = "The kernel has dropped events here, as they came faster than they were taken";

/** Who hears it. */
export interface XfrmHandler {
  /** A message came. */
  handleNote(note: XfrmNote): void;
  /** The kernel had to drop messages, or one cannot be read: a sentence. */
  handleGap(text: string): void;
}

/** Listens until it is closed. */
export class XfrmMonitor {
  readonly #socket: NetlinkSocket;
  readonly #handler: XfrmHandler;
  readonly #poller = new Poller();
  readonly #reader = new XfrmReader();
  readonly #message = new Nlmsg();
  readonly #running: Promise<void>;
  #closing: Promise<void> | null = null;

  /**
   * Joins groups, numbers of XfrmGroup, in the network namespace of this program.
   *
   * @throws with the remedy when it may not
   */
  static open(groups: readonly number[], handler: XfrmHandler): XfrmMonitor {
    return new XfrmMonitor(listenToXfrm(groups, AEVENT_BUFFER_BYTES), handler);
  }

  private constructor(socket: NetlinkSocket, handler: XfrmHandler) {
    this.#socket = socket;
    this.#handler = handler;
    this.#poller.add(socket.fd, 0, Ready.In);
    this.#running = this.#run();
  }

  /** Resolves when it has ended. */
  get ended(): Promise<void> {
    return this.#running;
  }

  /** Ends listening. */
  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    this.#poller.wake();
    await this.#running.catch(() => {}); // whoever waits for its end is told
    await this.#poller.close();
    this.#socket.close();
  }

  async #run(): Promise<void> {
    while (this.#closing === null) {
      this.#poller.wait(0);
      if (this.#hear()) await new Promise<void>((resolve) => setImmediate(resolve));
      else await this.#poller.park(Infinity);
    }
  }

  /** True when more may wait. */
  #hear(): boolean {
    for (let count = 0; count < RECEIVES_MAX && this.#closing === null; count++) {
      const size = this.#socket.receive();
      if (size === -Errno.Eagain) return false;
      if (size === -Errno.Enobufs) this.#handler.handleGap(DROPPED);
      else if (size < 0) throw new Error(`Cannot hear the kernel's IPsec: ${errnoText(size)}`);
      else this.#tell(size);
    }
    return true;
  }

  #tell(size: number): void {
    const message = this.#message;
    for (let at = 0; at < size;) {
      at = readNlmsg(this.#socket.in, at, size, message);
      if (at < 0) {
        return this.#handler.handleGap(`Cannot read what the kernel says: ${describeFault()}`);
      }
      const note = this.#reader.read(this.#socket.in, message);
      if (note !== null) this.#handler.handleNote(note);
    }
  }
}
