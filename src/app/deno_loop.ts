/**
 * The fallback road: the same machines over Deno.connect and Deno.listen, where FFI is not
 * allowed or the system is no Linux. A read and a write are promises here, so it is slower; what
 * it sends and accepts is the same.
 *
 * @module
 */
import { nowMs } from "../io/clock.ts";
import { DenoListener, DenoStream } from "../io/deno_stream.ts";
import { Errno, errnoText } from "../io/errno.ts";
import { SocketAddress } from "../io/socket_address.ts";
import { type Connection, Phase } from "../proto/msgr2/connection.ts";
import type { Messenger } from "../proto/msgr2/messenger.ts";
import { EntityAddr } from "../wire/msgr2/entity_addr.ts";
import { fromSocketAddress, hostText } from "./address.ts";
import { type Deliver, PLAIN_TCP, type Road, type SessionTransport } from "./loop.ts";

/** Pieces handed to one write: they are copied together. */
const PIECES_PER_WRITE = 64;
/** The longest sleep: deadlines may have moved meanwhile. */
const SLEEP_MS_MAX = 1000;
/** Wait after the kernel refused to accept (too many open files): it would refuse again at once. */
const ACCEPT_RETRY_MS = 100;

interface Stream {
  readonly connection: Connection;
  readonly stream: DenoStream;
  writing: boolean;
  /** Ends the reader's wait for room. */
  roomy: (() => void) | null;
}

/** Runs a messenger over Deno's own sockets. */
export class DenoLoop implements Road {
  readonly #messenger: Messenger;
  readonly #deliver: Deliver;
  readonly #streams = new Map<number, Stream>();
  readonly #listeners: DenoListener[] = [];
  #stopped = false;
  #scheduled = false;
  #wake: (() => void) | null = null;
  #running: Promise<void> | null = null;

  /** @param deliver hands batches and events to the application; true when there was something */
  constructor(messenger: Messenger, deliver: Deliver) {
    this.#messenger = messenger;
    this.#deliver = deliver;
  }

  /** Listens on a numeric host; returns the bound address, or a negated errno. */
  listen(host: string, port: number): SocketAddress | number {
    const listener = DenoListener.listen(host, port);
    if (typeof listener === "number") return listener;
    this.#listeners.push(listener);
    this.#acceptAll(listener);
    const bound = new SocketAddress();
    listener.localAddress(bound);
    return bound;
  }

  /** Runs until {@linkcode stop}. */
  run(): Promise<void> {
    this.#running ??= this.#run();
    return this.#running;
  }

  /** Runs a turn at the end of the present task. */
  wake(): void {
    if (this.#scheduled || this.#stopped) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#wake?.();
    });
  }

  /** Closes listeners, connections go on. */
  closeListeners(): void {
    for (const listener of this.#listeners) listener.close();
    this.#listeners.length = 0;
  }

  /** What carries a connection: Deno has no MPTCP. Null while there is none. */
  transportOf(connection: Connection): SessionTransport | null {
    return this.#streams.has(connection.id) ? PLAIN_TCP : null;
  }

  /** Ends the run and closes every socket. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#wake?.();
    await this.#running;
    this.closeListeners();
    for (const { stream } of this.#streams.values()) stream.close();
    this.#streams.clear();
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      if (this.#turn(nowMs())) continue;
      const wait = Math.min(this.#messenger.pollDeadline() - nowMs(), SLEEP_MS_MAX);
      if (wait <= 0) continue;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, wait);
        this.#wake = (): void => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#wake = null;
    }
  }

  #turn(now: number): boolean {
    const messenger = this.#messenger;
    let worked = false;
    messenger.handleDeadline(now);
    for (let next = messenger.pollOpen(now); next !== null; next = messenger.pollOpen(now)) {
      this.#open(next);
    }
    if (this.#deliver()) worked = true;
    for (const stream of this.#streams.values()) stream.roomy?.();
    for (let left = messenger.dirtyCount; left > 0; left--) {
      const stream = this.#streams.get(messenger.pollDirty()!.id);
      if (stream !== undefined) this.#write(stream);
    }
    for (let next = messenger.pollClosed(); next !== null; next = messenger.pollClosed()) {
      const stream = this.#streams.get(next.id);
      this.#streams.delete(next.id);
      stream?.stream.close();
      stream?.roomy?.();
    }
    return worked;
  }

  async #open(connection: Connection): Promise<void> {
    const { peer } = connection;
    const stream = await DenoStream.connect(hostText(peer), peer.port);
    if (typeof stream === "number") {
      connection.handleEnd(`Cannot connect to ${peer}: ${errnoText(stream)}`, nowMs());
      this.wake();
    } else if (connection.phase !== Phase.Opening || this.#stopped) stream.close();
    else this.#link(connection, stream);
  }

  async #acceptAll(listener: DenoListener): Promise<void> {
    while (!this.#stopped) {
      const stream = await listener.accept();
      if (typeof stream === "number") {
        if (stream === -Errno.Ecanceled) return;
        await new Promise((resolve) => setTimeout(resolve, ACCEPT_RETRY_MS));
        continue;
      }
      const peer = new EntityAddr();
      const local = new EntityAddr();
      readAddresses(stream, peer, local);
      const connection = this.#messenger.accept(peer, local, nowMs());
      if (connection === null) stream.close();
      else this.#link(connection, stream);
    }
  }

  #link(connection: Connection, stream: DenoStream): void {
    stream.setNoDelay();
    readAddresses(stream, new EntityAddr(), connection.local);
    const link = { connection, stream, writing: false, roomy: null };
    this.#streams.set(connection.id, link);
    connection.handleConnected(nowMs());
    this.#readAll(link);
    this.wake();
  }

  /** Reads to the end. The buffer stays where it is while a read is under way. */
  async #readAll(link: Stream): Promise<void> {
    const { connection, stream } = link;
    while (connection.phase < Phase.Draining) {
      if (connection.stalled || connection.makeRoom() <= 0) {
        await new Promise<void>((resolve) => link.roomy = resolve);
        link.roomy = null;
        continue;
      }
      connection.received.reading = true;
      const count = await stream.read(connection.receiveAt, connection.receiveEnd);
      if (connection.phase >= Phase.Draining) {
        connection.received.endRead();
        if (count <= 0) connection.handleEnd("", nowMs());
        break;
      }
      if (count > 0) connection.handleReceived(count, nowMs());
      connection.received.endRead();
      if (count <= 0) {
        const text = count === 0 ? "" : `Connection failed: ${errnoText(count)}`;
        connection.handleEnd(text, nowMs());
      }
      this.wake();
    }
    this.wake();
  }

  async #write(link: Stream): Promise<void> {
    if (link.writing) return;
    link.writing = true;
    const { connection, stream } = link;
    const { gather } = connection.writer;
    while (connection.phase !== Phase.Closed && connection.pollTransmit(nowMs())) {
      const pieces = Math.min(gather.count, PIECES_PER_WRITE);
      const count = await stream.write(gather.pieces, gather.first, pieces, gather.skip);
      if (connection.phase === Phase.Closed) break;
      if (count < 0) {
        connection.handleEnd(`Connection failed: ${errnoText(count)}`, nowMs());
        break;
      }
      connection.handleSent(count, nowMs());
    }
    link.writing = false;
    this.wake();
  }
}

function readAddresses(stream: DenoStream, peer: EntityAddr, local: EntityAddr): void {
  const address = new SocketAddress();
  stream.peerAddress(address);
  fromSocketAddress(address, peer);
  stream.localAddress(address);
  fromSocketAddress(address, local);
}
