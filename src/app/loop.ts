/**
 * Where machines meet sockets: moves bytes between a messenger and the kernel. Hybrid: `epoll_wait(0)`
 * while there is work, `setImmediate` after a bounded number of turns so that timers and promises
 * of the program go on, and a parked wait on another thread when idle. Between the two it spins for
 * some 200 us, giving the processor away each time: with every core busy a spinning loop would
 * keep from running the very peer whose answer it waits for (64 bytes to and fro beside one busy
 * program on two cores: 8,000 requests a second without sched_yield(), 41,000 with it).
 *
 * @module
 */
import { Poller, Ready, yieldProcessor } from "../io/epoll.ts";
import { Errno, errnoText } from "../io/errno.ts";
import { nowMs } from "../io/clock.ts";
import {
  IPPROTO_MPTCP,
  MPTCP_SWITCHED_OFF,
  mptcpPathless,
  mptcpRefusal,
  mptcpToken,
} from "../io/mptcp_socket.ts";
import { SocketAddress } from "../io/socket_address.ts";
import {
  accept,
  close,
  connectTcp,
  IPPROTO_TCP,
  listenTcp,
  localAddress,
  peerAddress,
  receive,
  sendPieces,
  setNoDelay,
  socketError,
} from "../io/sockets.ts";
import { EntityAddr } from "../wire/msgr2/entity_addr.ts";
import type { Connection } from "../proto/msgr2/connection.ts";
import { Phase } from "../proto/msgr2/connection.ts";
import type { Messenger } from "../proto/msgr2/messenger.ts";
import { fromSocketAddress, hostText } from "./address.ts";
import { delay } from "./delay.ts";

/** Turns with work before the rest of the program gets a chance. */
const TURNS_BEFORE_YIELD = 32;
/** Empty turns before the loop parks: a parked wait takes 40 us to come back, a turn 1 us. */
const SPIN_TURNS = 200;
/** Empty turns before the rest of the program gets a chance, which costs about 5 us. */
const EMPTY_TURNS_BEFORE_YIELD = 10;
/** Reads of one connection in one turn. */
const READS_PER_TURN = 4;
/** Bytes sent on one connection in one turn. */
const SEND_BYTES_PER_TURN = 2 * 1024 * 1024;
/** Connections accepted in one turn. */
const ACCEPTS_PER_TURN = 64;
const BACKLOG = 512;
/** Wait after the kernel refused to accept (too many open files): it would refuse again at once. */
const ACCEPT_RETRY_MS = 100;
/** How often deadlines are looked at while there is work. */
const DEADLINE_SCAN_MS = 10;
/** How often MPTCP connections are looked at for having no path left. */
const PATHS_LOOK_MS = 1000;
/** While nothing may be read or sent, it is looked this often whether it may. */
const HELD_MS = 20;
/** Time to get another path; then a new connection is the better way. */
const PATHLESS_MS = 2000;
/** Ids of listeners in the poller; connections count from 1. */
const LISTENER_IDS = 1 << 30;
const INTEREST = Ready.In | Ready.Out | Ready.PeerClosed | Ready.Edge;

/** Which protocol carries the bytes: `auto` is MPTCP where the kernel has it. */
export type Transport = "auto" | "tcp" | "mptcp";

/** What carries one session at the moment. */
export interface SessionTransport {
  /** What the kernel came to, whatever was asked for. */
  readonly transport: "tcp" | "mptcp";
  /** The kernel's token of the MPTCP connection, by which its paths are found; 0 of plain TCP. */
  readonly token: number;
  /** MPTCP was offered, and the peer, or something on the way, has none. */
  readonly fallback: boolean;
}

/** A connection of plain TCP that was not to be anything else. */
export const PLAIN_TCP: SessionTransport = { transport: "tcp", token: 0, fallback: false };

/** What a loop offers to the endpoint; two implementations, libc and Deno. */
export interface Road {
  /** Listens; returns the bound address, or a negated errno. */
  listen(host: string, port: number): SocketAddress | number;
  /** Runs until {@linkcode Road.stop}. */
  run(): Promise<void>;
  /** The messenger has something new to do. */
  wake(): void;
  /** Ends the run and closes every socket. */
  stop(): Promise<void>;
  /** Closes listeners, connections go on. */
  closeListeners(): void;
  /** What carries a connection; null while there is none. */
  transportOf(connection: Connection): SessionTransport | null;
}

/** What the endpoint does in each turn, between reading and sending. */
export type Deliver = () => boolean;

/** Called once, with the reason, when `auto` has to do without MPTCP. */
export type TcpOnly = (why: string) => void;

interface Listener {
  readonly fd: number;
  readonly protocol: number;
}

interface Link {
  readonly connection: Connection;
  readonly fd: number;
  /** What was asked for: the kernel may have fallen back. */
  readonly protocol: number;
  /** When it was seen to have no path; Infinity while it has one. */
  pathlessMs: number;
  readable: boolean;
  writable: boolean;
  ended: boolean;
  active: boolean;
}

/** The main road: libc sockets. */
export class Loop implements Road {
  readonly #messenger: Messenger;
  readonly #deliver: Deliver;
  readonly #transport: Transport;
  readonly #tcpOnly: TcpOnly;
  readonly #poller = new Poller();
  readonly #links = new Map<number, Link>();
  readonly #active: Link[] = [];
  readonly #listeners = new Map<number, Listener>();
  readonly #address = new SocketAddress();
  #saidTcpOnly = false;
  #stopped = false;
  #parked = false;
  #parkedUntil = Infinity;
  #scheduled = false;
  #inTurn = false;
  #scannedMs = 0;
  #running: Promise<void> | null = null;
  #pathsTimer: ReturnType<typeof setInterval> | undefined;

  /** @param deliver hands batches and events to the application; true when there was something */
  constructor(messenger: Messenger, deliver: Deliver, transport: Transport, tcpOnly: TcpOnly) {
    this.#messenger = messenger;
    this.#deliver = deliver;
    this.#transport = transport;
    this.#tcpOnly = tcpOnly;
  }

  /** Listens on a numeric host; returns the bound address, or a negated errno. */
  listen(host: string, port: number): SocketAddress | number {
    const protocol = this.#protocol();
    const fd = listenTcp(host, port, BACKLOG, protocol);
    if (fd < 0) return fd;
    const id = LISTENER_IDS + this.#listeners.size;
    this.#listeners.set(id, { fd, protocol });
    const bound = new SocketAddress();
    localAddress(fd, bound);
    const added = this.#poller.add(fd, id, Ready.In);
    if (added < 0) return added;
    this.wake();
    return bound;
  }

  /** Runs until {@linkcode stop}. */
  run(): Promise<void> {
    this.#running ??= this.#run();
    return this.#running;
  }

  /** Runs a turn soon: at the end of the present task, so that what it sends goes out together. */
  wake(): void {
    if (this.#inTurn || this.#scheduled || !this.#parked || this.#stopped) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      if (this.#stopped || !this.#parked || !this.#messenger.mayRun()) return;
      const worked = this.#turn(nowMs());
      if (worked || this.#messenger.pollDeadline() < this.#parkedUntil) this.#poller.wake();
    });
  }

  /** Closes listeners, connections go on. */
  closeListeners(): void {
    for (const { fd } of this.#listeners.values()) {
      this.#poller.remove(fd);
      close(fd);
    }
    this.#listeners.clear();
  }

  /** What carries a connection, asked of the kernel; null while there is none. */
  transportOf(connection: Connection): SessionTransport | null {
    const link = this.#links.get(connection.id);
    if (link === undefined || connection.phase === Phase.Opening) return null;
    if (link.protocol === IPPROTO_TCP) return PLAIN_TCP;
    const token = mptcpToken(link.fd);
    return { transport: token === 0 ? "tcp" : "mptcp", token, fallback: token === 0 };
  }

  /** Ends the run and closes every socket. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    clearInterval(this.#pathsTimer);
    this.#poller.wake();
    await this.#running;
    this.closeListeners();
    for (const link of this.#links.values()) close(link.fd);
    this.#links.clear();
    await this.#poller.close();
  }

  async #run(): Promise<void> {
    let busy = 0;
    let empty = 0;
    while (!this.#stopped) {
      if (!this.#messenger.mayRun()) {
        await delay(HELD_MS);
        continue;
      }
      if (this.#turn(nowMs())) {
        empty = 0;
        if (++busy < TURNS_BEFORE_YIELD) continue;
      } else if (++empty > SPIN_TURNS) {
        empty = 0;
        await this.#park();
        continue;
      } else {
        yieldProcessor();
        if (empty % EMPTY_TURNS_BEFORE_YIELD !== 0) continue;
      }
      busy = 0;
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  async #park(): Promise<void> {
    const deadline = this.#messenger.pollDeadline();
    const wait = deadline - nowMs();
    if (wait <= 0) return;
    this.#parkedUntil = deadline;
    this.#parked = true;
    await this.#poller.park(wait);
    this.#parked = false;
  }

  /** One round: sockets in, application, sockets out. True when there was something to do. */
  #turn(now: number): boolean {
    this.#inTurn = true;
    const messenger = this.#messenger;
    let worked = false;
    if (now - this.#scannedMs >= DEADLINE_SCAN_MS) {
      this.#scannedMs = now;
      messenger.handleDeadline(now);
    }
    for (let next = messenger.pollOpen(now); next !== null; next = messenger.pollOpen(now)) {
      this.#open(next, now);
      worked = true;
    }
    const count = this.#poller.wait(0);
    for (let index = 0; index < count; index++) {
      this.#handleReady(this.#poller.ready(index), this.#poller.events(index), now);
      worked = true;
    }
    if (this.#readAll(now)) worked = true;
    if (this.#deliver()) worked = true;
    for (let left = messenger.dirtyCount; left > 0; left--) {
      if (this.#send(messenger.pollDirty()!, now)) worked = true;
    }
    for (let next = messenger.pollClosed(); next !== null; next = messenger.pollClosed()) {
      this.#close(next);
      worked = true;
    }
    this.#inTurn = false;
    return worked;
  }

  #open(connection: Connection, now: number): void {
    const host = hostText(connection.peer);
    const protocol = this.#protocol();
    const fd = connectTcp(host, connection.peer.port, protocol);
    if (fd < 0) {
      connection.handleEnd(`Cannot connect to ${connection.peer}: ${errnoText(fd)}`, now);
      return;
    }
    this.#link(connection, fd, protocol, false);
  }

  /** Asked anew for every socket, as net.mptcp.enabled may change while we run. */
  #protocol(): number {
    if (this.#transport === "tcp") return IPPROTO_TCP;
    if (this.#transport === "mptcp") return IPPROTO_MPTCP;
    const refusal = mptcpRefusal();
    if (refusal === 0) return IPPROTO_MPTCP;
    if (!this.#saidTcpOnly) this.#tcpOnly(tcpOnlyText(refusal));
    this.#saidTcpOnly = true;
    return IPPROTO_TCP;
  }

  #link(connection: Connection, fd: number, protocol: number, writable: boolean): void {
    setNoDelay(fd);
    const link = {
      connection,
      fd,
      protocol,
      pathlessMs: Infinity,
      readable: false,
      writable,
      ended: false,
      active: false,
    };
    this.#links.set(connection.id, link);
    this.#poller.add(fd, connection.id, INTEREST);
    if (protocol !== IPPROTO_MPTCP) return;
    this.#pathsTimer ??= setInterval(() => this.#endPathless(nowMs()), PATHS_LOOK_MS);
  }

  /** Ends connections whose last path is gone, which no readiness tells. */
  #endPathless(now: number): void {
    for (const link of this.#links.values()) {
      const { connection, protocol } = link;
      if (protocol !== IPPROTO_MPTCP || link.ended) continue;
      if (connection.phase === Phase.Opening || connection.phase >= Phase.Draining) continue;
      link.pathlessMs = mptcpPathless(link.fd) ? Math.min(link.pathlessMs, now) : Infinity;
      if (now - link.pathlessMs < PATHLESS_MS) continue;
      connection.handleEnd("Connection failed: its last path is gone", now);
      this.wake();
    }
  }

  #handleReady(id: number, bits: number, now: number): void {
    if (id >= LISTENER_IDS) {
      this.#acceptAll(id, now);
      return;
    }
    const link = this.#links.get(id);
    if (link === undefined) return;
    const { connection } = link;
    if (connection.phase === Phase.Opening) {
      const error = socketError(link.fd);
      if (error < 0) {
        connection.handleEnd(`Cannot connect to ${connection.peer}: ${errnoText(error)}`, now);
        return;
      }
      if ((bits & Ready.Out) === 0) return;
      localAddress(link.fd, this.#address);
      fromSocketAddress(this.#address, connection.local);
      link.writable = true;
      connection.handleConnected(now);
    }
    if ((bits & Ready.Out) !== 0) {
      link.writable = true;
      this.#messenger.markDirty(connection);
    }
    if ((bits & (Ready.PeerClosed | Ready.HangUp | Ready.Error)) !== 0) link.ended = true;
    if ((bits & Ready.In) !== 0 || link.ended) {
      link.readable = true;
      this.#activate(link);
    }
  }

  #activate(link: Link): void {
    if (link.active) return;
    link.active = true;
    this.#active.push(link);
  }

  #acceptAll(id: number, now: number): void {
    const listener = this.#listeners.get(id);
    if (listener === undefined) return;
    for (let index = 0; index < ACCEPTS_PER_TURN; index++) {
      const fd = accept(listener.fd);
      if (fd < 0) {
        if (fd !== -Errno.Eagain && fd !== -Errno.Econnaborted) this.#rest(id, listener);
        return;
      }
      const peer = new EntityAddr();
      const local = new EntityAddr();
      peerAddress(fd, this.#address);
      fromSocketAddress(this.#address, peer);
      localAddress(fd, this.#address);
      fromSocketAddress(this.#address, local);
      const connection = this.#messenger.accept(peer, local, now);
      if (connection === null) {
        close(fd);
        continue;
      }
      this.#link(connection, fd, listener.protocol, true);
      connection.handleConnected(now);
    }
  }

  /** Leaves a listener alone for a while. */
  #rest(id: number, listener: Listener): void {
    this.#poller.remove(listener.fd);
    setTimeout(() => {
      if (this.#listeners.get(id) === listener) this.#poller.add(listener.fd, id, Ready.In);
    }, ACCEPT_RETRY_MS);
  }

  /** Reads every readable connection once; those that still have bytes stay in the list. */
  #readAll(now: number): boolean {
    const active = this.#active;
    let worked = false;
    let kept = 0;
    const { length } = active;
    for (let index = 0; index < length; index++) {
      const link = active[index]!;
      if (this.#read(link, now)) worked = true;
      if (link.readable && link.connection.phase < Phase.Closed) active[kept++] = link;
      else link.active = false;
    }
    active.length = kept;
    return worked;
  }

  #read(link: Link, now: number): boolean {
    const { connection } = link;
    for (let reads = 0; reads < READS_PER_TURN; reads++) {
      if (connection.stalled || connection.phase >= Phase.Draining) {
        if (connection.phase >= Phase.Draining) this.#readDraining(link, now);
        return reads > 0;
      }
      const room = connection.makeRoom();
      if (room <= 0) return reads > 0;
      const count = receive(link.fd, connection.receiveAt, connection.receiveEnd);
      if (count > 0) {
        if (count < room && !link.ended) link.readable = false;
        connection.handleReceived(count, now);
        if (!link.readable || connection.cramped) return true;
      } else {
        link.readable = false;
        if (count === -Errno.Eagain) return reads > 0;
        connection.handleEnd(count === 0 ? "" : `Connection failed: ${errnoText(count)}`, now);
        return true;
      }
    }
    return true;
  }

  /** A connection that only sends its last bytes ends early when the peer is gone. */
  #readDraining(link: Link, now: number): void {
    link.readable = false;
    if (link.ended) link.connection.handleEnd("", now);
  }

  #send(connection: Connection, now: number): boolean {
    const link = this.#links.get(connection.id);
    if (link === undefined || !link.writable) return false;
    const { gather } = connection.writer;
    let sent = 0;
    while (connection.pollTransmit(now)) {
      const count = sendPieces(link.fd, gather.pieces, gather.first, gather.count, gather.skip);
      if (count < 0) {
        link.writable = false;
        if (count === -Errno.Eagain) return sent > 0;
        // The peer is gone, but what it sent before (an ACK, CLOSE) may still wait to be read:
        // the read that comes to its end tells.
        link.ended = true;
        link.readable = true;
        this.#activate(link);
        return true;
      }
      const all = count === gather.bytes;
      connection.handleSent(count, now);
      sent += count;
      if (!all) {
        link.writable = false; // the kernel is full: an edge tells when it is not
        return true;
      }
      if (sent > SEND_BYTES_PER_TURN) {
        this.#messenger.markDirty(connection);
        return true;
      }
    }
    return sent > 0;
  }

  #close(connection: Connection): void {
    const link = this.#links.get(connection.id);
    if (link === undefined) return;
    this.#links.delete(connection.id);
    this.#poller.remove(link.fd);
    close(link.fd);
  }
}

function tcpOnlyText(refusal: number): string {
  const remedy = refusal === MPTCP_SWITCHED_OFF
    ? ", sysctl net.mptcp.enabled=1 switches it on"
    : "";
  return "Sessions use TCP, with one path only, as this kernel has no MPTCP: " +
    `${errnoText(refusal)}${remedy}`;
}
