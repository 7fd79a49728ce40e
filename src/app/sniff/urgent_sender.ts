/**
 * Sends messages in the bit layout of draft-wakeley-iscsi-msgbndry-00 over TCP and marks where each
 * begins by urgent data (its section 3.1). Linux marks the last byte of a call, and its pointer names
 * the byte after that one (RFC 6093 section 3.4), so there are three ways:
 *
 * - A: the first byte alone, marked, then the rest: the pointer names the byte after the first.
 * - B: the whole message, marked: the pointer names the first byte of the next message.
 * - C: as A, but the first byte waits for the rest (MSG_MORE), which saves a segment.
 *
 * @module
 */
import { Poller, Ready } from "../../io/epoll.ts";
import { Errno, errnoText } from "../../io/errno.ts";
import { SocketAddress } from "../../io/socket_address.ts";
import { close, connectTcp, receive, Shutdown, shutdown, socketError } from "../../io/sockets.ts";
import { SendFlag, sendFlagged } from "../../io/urgent_socket.ts";
import { assert } from "../../mem/assert.ts";
import { arena, give, take } from "../../mem/arena.ts";
import { writeDraftPdu } from "../../wire/iscsi/draft_layout.ts";
import { UsageError } from "../args.ts";
import { delay } from "../delay.ts";

/** How messages are marked; `none` sends them as they are. */
export type UrgentMode = "A" | "B" | "C" | "none";

/** Nothing may stand still for longer. */
export const STILL_MS = 10_000;
/** Messages sent before the rest of the program gets a chance. */
const MESSAGES_PER_TURN = 32;
const WAKE_BYTES = 4096;
/** Messages are written ahead, so that the connection is what sets the rate. */
const AHEAD_BYTES: number = 8 * 1024 * 1024;

/** What is sent. */
export interface SendOptions {
  readonly mode: UrgentMode;
  /** Bytes of one message. */
  readonly size: number;
  readonly count: number;
  /** Between two messages; 0 sends as fast as the connection takes. */
  readonly paceMs: number;
}

/** What was sent. */
export interface SendReport {
  readonly mode: UrgentMode;
  readonly size: number;
  readonly messages: number;
  readonly bytes: number;
  /** From the first byte until the receiver has closed. */
  readonly seconds: number;
  /** Marked sends that the kernel took only in part: each has put a mark where no message begins. */
  readonly cut: number;
}

/** An end of a connection: a numeric host, and a port. */
export interface TcpEnd {
  readonly host: string;
  readonly port: number;
}

/**
 * `192.0.2.1:3260`, `[2001:db8::1]:3260`; where there is a default host, `3260` alone.
 *
 * @throws UsageError
 */
export function tcpEnd(what: string, text: string, hostDefault?: string): TcpEnd {
  const match = /^(?:(?:\[(?<six>[^\]]+)\]|(?<four>[^:]+)):)?(?<port>\d{1,5})$/.exec(text)?.groups;
  const host = match?.six ?? match?.four ?? hostDefault;
  const port = Number(match?.port);
  if (match !== undefined && host !== undefined && new SocketAddress().set(host, port)) {
    return { host, port };
  }
  const form = hostDefault === undefined ? "HOST:PORT" : "HOST:PORT or PORT";
  throw new UsageError(
    `Cannot use ${what} as it must be ${form} with a numeric address, IPv6 in brackets: current ` +
      `value is ${JSON.stringify(text)}`,
  );
}

/** A connected sender; `close()` gives everything back. */
export class UrgentSender {
  readonly #fd: number;
  readonly #to: string;
  readonly #poller: Poller;
  readonly #wake = take(WAKE_BYTES);
  #cut = 0;

  /**
   * Connects, from this thread's network namespace.
   *
   * @throws when nobody is there
   */
  static async connect({ host, port }: TcpEnd): Promise<UrgentSender> {
    const to = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
    const fd = connectTcp(host, port);
    if (fd < 0) throw new Error(`Cannot connect to ${to}: ${errnoText(fd)}`);
    const sender = new UrgentSender(fd, to);
    try {
      await sender.#ready(Ready.Out);
      const error = socketError(fd);
      if (error < 0) throw new Error(`Cannot connect to ${to}: ${errnoText(error)}`);
      return sender;
    } catch (error) {
      await sender.close();
      throw error;
    }
  }

  private constructor(fd: number, to: string) {
    assert(this.#wake >= 0, "the arena has room for one connection");
    this.#fd = fd;
    this.#to = to;
    this.#poller = new Poller(1);
    this.#poller.add(fd, 0, 0);
  }

  /**
   * Sends all messages, ends the stream and waits until the receiver has closed too. An abort ends
   * it after a whole message.
   */
  async send(options: SendOptions, signal?: AbortSignal): Promise<SendReport> {
    const { count, mode, paceMs, size } = options;
    const ahead = Math.min(count, Math.max(1, Math.floor(AHEAD_BYTES / size)));
    const block = take(size * ahead);
    if (block < 0) {
      throw new Error(`Cannot send messages of ${size} bytes: there is no memory left`);
    }
    let startedMs = 0;
    let messages = 0;
    try {
      while (messages < count && !signal?.aborted) {
        const slot = messages % ahead;
        if (slot === 0) writeMessages(block, size, messages, Math.min(ahead, count - messages));
        if (messages === 0) startedMs = performance.now();
        const at = block + slot * size;
        await this.#sendMessage(mode, at, at + size);
        messages++;
        if (paceMs > 0) await delay(paceMs, signal);
        else if (messages % MESSAGES_PER_TURN === 0) await turn();
      }
      await this.#finish();
    } finally {
      give(block);
    }
    const seconds = (performance.now() - startedMs) / 1000;
    return { mode, size, messages, bytes: messages * size, seconds, cut: this.#cut };
  }

  /** Closes the connection. */
  async close(): Promise<void> {
    await this.#poller.close();
    close(this.#fd);
    give(this.#wake);
  }

  async #sendMessage(mode: UrgentMode, at: number, end: number): Promise<void> {
    switch (mode) {
      case "A":
        await this.#sendAll(at, at + 1, SendFlag.Urgent);
        return await this.#sendAll(at + 1, end, SendFlag.None);
      case "B":
        return await this.#sendAll(at, end, SendFlag.Urgent);
      case "C":
        await this.#sendAll(at, at + 1, SendFlag.Urgent | SendFlag.More);
        return await this.#sendAll(at + 1, end, SendFlag.None);
      case "none":
        return await this.#sendAll(at, end, SendFlag.None);
    }
  }

  async #sendAll(at: number, end: number, flags: number): Promise<void> {
    for (let next = at; next < end;) {
      const sent = sendFlagged(this.#fd, next, end, flags);
      if (sent === -Errno.Eagain) {
        await this.#ready(Ready.Out);
        continue;
      }
      if (sent < 0) throw new Error(`Cannot send to ${this.#to}: ${errnoText(sent)}`);
      next += sent;
      if (next < end && (flags & SendFlag.Urgent) !== 0) this.#cut++;
    }
  }

  async #finish(): Promise<void> {
    shutdown(this.#fd, Shutdown.Write);
    for (;;) {
      const count = receive(this.#fd, this.#wake, this.#wake + WAKE_BYTES);
      if (count === 0) return;
      if (count === -Errno.Eagain) await this.#ready(Ready.In);
      else if (count < 0) throw new Error(`Cannot send to ${this.#to}: ${errnoText(count)}`);
    }
  }

  async #ready(events: number): Promise<void> {
    this.#poller.change(this.#fd, 0, events);
    const deadlineMs = performance.now() + STILL_MS;
    for (;;) {
      if (this.#poller.wait(0) > 0) return;
      const restMs = deadlineMs - performance.now();
      if (restMs <= 0) {
        throw new Error(`Cannot send to ${this.#to}: nothing moved for ${STILL_MS / 1000} s`);
      }
      await this.#poller.park(restMs);
    }
  }
}

function writeMessages(at: number, size: number, sequence: number, count: number): void {
  for (let i = 0; i < count; i++) writeDraftPdu(arena, at + i * size, size, sequence + i);
}

/** Gives the rest of the program a chance. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
