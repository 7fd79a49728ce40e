/**
 * Receives what urgent_sender.ts sends, looks at every byte, and tells at which message starts the
 * kernel had a mark. With urgent bytes in line a read stops at a mark, and SIOCATMARK tells that the
 * next byte is the one (RFC 6093 section 3.2, sockatmark(3)). Without, it is an ordinary receiver,
 * which loses them. Marks only ever are counted: messages are followed by their lengths, as the
 * document's section 4 wants it of data in order.
 *
 * A program that reads a socket gets bytes in order, so it cannot place what came behind a hole: that
 * the document wants marks for is only for those who see segments.
 *
 * @module
 */
import { Poller, Ready, yieldProcessor } from "../../io/epoll.ts";
import { Errno, errnoText } from "../../io/errno.ts";
import { SocketAddress } from "../../io/socket_address.ts";
import { accept, close, listenTcp, localAddress, peerAddress, receive } from "../../io/sockets.ts";
import {
  atMark,
  bytesReceived,
  READY_URGENT,
  setUrgentInline,
  standardUrgent,
} from "../../io/urgent_socket.ts";
import { assert } from "../../mem/assert.ts";
import { give, take } from "../../mem/arena.ts";
import { type MarkCounts, MessageCheck } from "./urgent_check.ts";
import { STILL_MS, type TcpEnd } from "./urgent_sender.ts";

const READ_BYTES: number = 64 * 1024;
const BACKLOG = 16;
/** Reads before the rest of the program gets a chance. */
const READS_PER_TURN = 64;
/** Empty looks before the wait moves to another thread, from which it takes 40 us to come back. */
const SPIN_TURNS = 100;

/** What came of one connection. */
export interface ReceiveReport {
  readonly peer: string;
  /** Whether urgent bytes stayed in the stream. */
  readonly inline: boolean;
  /** tcp_stdurg of the receiver's namespace: marks stand one byte later. */
  readonly standard: boolean;
  /** Bytes of a message; 0 when not even the first could be read. */
  readonly size: number;
  /** Whole messages, every byte of which was right. */
  readonly messages: number;
  /** Bytes that were read. */
  readonly bytes: number;
  /** Bytes that arrived and were taken out of the stream. */
  readonly lost: number;
  /** Why messages could not be followed to the end; empty when they could. */
  readonly broken: string;
  readonly marks: MarkCounts;
  /** Message starts that the urgent pointer named, by either of its meanings. */
  readonly named: number;
  /** How often a wait ended with the news of an urgent byte. */
  readonly announced: number;
  /** From the first byte to the end. */
  readonly seconds: number;
}

/** A listener that serves one connection at a time. */
export class UrgentReceiver {
  /** Where it listens. */
  readonly address: SocketAddress = new SocketAddress();
  readonly inline: boolean;
  /** tcp_stdurg of its namespace when it was opened. */
  readonly standard: boolean;
  readonly #listener: number;
  readonly #poller = new Poller(1);

  /**
   * Listens in this thread's network namespace; without `inline` as ordinary receivers do.
   *
   * @throws when it cannot
   */
  static listen({ host, port }: TcpEnd, inline: boolean): UrgentReceiver {
    const listener = listenTcp(host, port, BACKLOG);
    if (listener < 0) {
      throw new Error(`Cannot listen on port ${port} of ${host}: ${errnoText(listener)}`);
    }
    // Connections inherit it: an urgent byte may come before accept().
    if (inline) assert(setUrgentInline(listener) === 0, "SO_OOBINLINE is refused by no TCP socket");
    return new UrgentReceiver(listener, inline);
  }

  private constructor(listener: number, inline: boolean) {
    this.#listener = listener;
    this.inline = inline;
    this.standard = standardUrgent();
    localAddress(listener, this.address);
    this.#poller.add(listener, 0, Ready.In);
  }

  /** Serves the next connection to its end; null when `signal` came before there was one. */
  async serve(signal?: AbortSignal): Promise<ReceiveReport | null> {
    const wake = (): void => this.#poller.wake();
    signal?.addEventListener("abort", wake);
    try {
      while (!signal?.aborted) {
        const fd = accept(this.#listener);
        if (fd >= 0) return await this.#follow(fd);
        if (fd !== -Errno.Eagain && fd !== -Errno.Econnaborted) {
          throw new Error(`Cannot accept a connection: ${errnoText(fd)}`);
        }
        await this.#poller.park(Infinity);
        this.#poller.wait(0);
      }
      return null;
    } finally {
      signal?.removeEventListener("abort", wake);
    }
  }

  /** Ends it. */
  async close(): Promise<void> {
    await this.#poller.close();
    close(this.#listener);
  }

  async #follow(fd: number): Promise<ReceiveReport> {
    const peer = new SocketAddress();
    peerAddress(fd, peer);
    const connection = new Connection(fd, this.inline);
    try {
      const ended = await connection.read();
      const { announced, check, seconds } = connection;
      const marks = check.marks();
      // The end of the stream counts as a byte that arrived.
      const lost = ended ? bytesReceived(fd) - 1 - check.bytes : 0;
      const broken = check.broken !== "" || ended ? check.broken : "it ended without its end";
      // The pointer of a mark is the marked byte by one meaning, the byte after it by the other.
      const named = marks.at + (this.standard ? marks.after : marks.before);
      return {
        peer: `${peer}`,
        inline: this.inline,
        standard: this.standard,
        size: check.size,
        messages: check.messages,
        bytes: check.bytes,
        lost,
        broken,
        marks,
        named,
        announced,
        seconds,
      };
    } finally {
      await connection.close();
    }
  }
}

/** One connection while it is read. */
class Connection {
  readonly check = new MessageCheck();
  announced = 0;
  seconds = 0;
  readonly #fd: number;
  readonly #inline: boolean;
  readonly #block = take(READ_BYTES);
  readonly #poller = new Poller(1);

  constructor(fd: number, inline: boolean) {
    assert(this.#block >= 0, "the arena has room for one connection at a time");
    this.#fd = fd;
    this.#inline = inline;
    // Without in-line bytes, the news of one would last until it is read, which nobody does.
    const events = Ready.In | Ready.PeerClosed | (inline ? READY_URGENT : 0);
    this.#poller.add(fd, 0, events);
  }

  /** Reads to the end; true when it was one, false when the connection broke or stood still. */
  async read(): Promise<boolean> {
    let startedMs = -1;
    for (let reads = 1;; reads++) {
      if (this.#inline && atMark(this.#fd) === 1) this.check.handleMark();
      const count = receive(this.#fd, this.#block, this.#block + READ_BYTES);
      if (count > 0) {
        if (startedMs < 0) startedMs = performance.now();
        this.check.handleBytes(this.#block, this.#block + count);
        if (reads % READS_PER_TURN === 0) await new Promise<void>((done) => setImmediate(done));
        continue;
      }
      if (startedMs >= 0) this.seconds = (performance.now() - startedMs) / 1000;
      if (count === 0) return true;
      if (count !== -Errno.Eagain || !await this.#ready()) return false;
    }
  }

  async close(): Promise<void> {
    await this.#poller.close();
    close(this.#fd);
    give(this.#block);
    this.check.close();
  }

  /** False when nothing came for too long. */
  async #ready(): Promise<boolean> {
    const poller = this.#poller;
    const deadlineMs = performance.now() + STILL_MS;
    for (let turns = 0;; turns++) {
      if (poller.wait(0) > 0) {
        if ((poller.events(0) & READY_URGENT) !== 0) this.announced++;
        return true;
      }
      if (turns < SPIN_TURNS) {
        yieldProcessor();
        continue;
      }
      const restMs = deadlineMs - performance.now();
      if (restMs <= 0) return false;
      await poller.park(restMs);
    }
  }
}
