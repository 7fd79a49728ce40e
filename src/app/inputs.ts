/**
 * Where other programs of the box hand lines to the gateway: one port, UDP and TCP. Each line of a
 * datagram and of a TCP stream becomes one message. While the queue is full, TCP waits (nothing
 * more is read, so the sender's own socket fills) and UDP lines are dropped and counted.
 *
 * @module
 */
import dgram from "node:dgram";
import { nowMs } from "../io/clock.ts";
import { UdpSocket } from "../io/udp_socket.ts";
import type { EntityAddr } from "../wire/msgr2/entity_addr.ts";
import { hostText } from "./address.ts";
import { LineBuffer } from "./line_buffer.ts";
import { delay } from "./uplink.ts";

/** TCP connections at once; each has a buffer for one line. */
export const CLIENTS_MAX = 128;
/** What the kernel keeps while the gateway is busy: some 5000 short lines. */
const UDP_BUFFER_BYTES = 4 * 1024 * 1024;
/** On stop: what the kernel holds already has come when nothing did for so long. */
const GRACE_MS = 50;
/** On stop: no longer than this, should somebody go on sending. */
const GRACE_MAX_MS = 500;
/** Wait after the kernel refused a connection (too many open files). */
const ACCEPT_RETRY_MS = 100;
/** Ports tried when any port will do, and TCP's is taken for UDP. */
const PORT_TRIES = 8;

const LF = 0x0a;
const CR = 0x0d;

/** Where lines go. */
export interface LineSink {
  /** Takes a line; false when it cannot now. */
  offer(line: Uint8Array): boolean;
  /** Resolves when `offer` may succeed again. */
  room(): Promise<void>;
}

interface Client {
  readonly conn: Deno.TcpConn;
  readonly lines: LineBuffer;
  /** A line that was read and has not been taken. */
  held: boolean;
  /** Waits for bytes: nothing of its is in our hands. */
  reading: boolean;
}

/** Both sockets and what they counted. */
export class Inputs {
  /** Lines that came over UDP and were taken. */
  udpLines = 0;
  /** UDP lines dropped because the queue was full. */
  udpDropped = 0;
  /** Datagrams that the kernel dropped because they came faster than they were read. */
  udpMissed = 0;
  /** Lines that came over TCP and were taken. */
  tcpLines = 0;
  /** TCP connections refused because too many were open. */
  tcpRefused = 0;
  /** TCP connections that broke off in the middle of a line. */
  tcpBroken = 0;
  #tooLong = 0;
  /** Counts whatever the kernel handed over. */
  #arrived = 0;
  #stopping = false;
  readonly #sink: LineSink;
  readonly #listener: Deno.TcpListener;
  readonly #socket: dgram.Socket;
  readonly #info: UdpSocket | null;
  readonly #clients = new Set<Client>();
  readonly #pumps = new Set<Promise<void>>();

  /**
   * Opens both sockets on `address`; its port may be 0.
   *
   * @throws when the port is taken, naming the remedy
   */
  static async open(address: EntityAddr, sink: LineSink): Promise<Inputs> {
    for (let tries = 1;; tries++) {
      const listener = listenTcp(address);
      try {
        const { hostname, port } = listener.addr;
        const socket = await bindUdp(address, port);
        const info = await UdpSocket.find(hostname, port);
        info?.enlarge(UDP_BUFFER_BYTES);
        return new Inputs(listener, socket, info, sink);
      } catch (error) {
        listener.close();
        if (address.port !== 0 || tries === PORT_TRIES) throw error;
      }
    }
  }

  private constructor(
    listener: Deno.TcpListener,
    socket: dgram.Socket,
    info: UdpSocket | null,
    sink: LineSink,
  ) {
    this.#listener = listener;
    this.#socket = socket;
    this.#sink = sink;
    this.#info = info;
    socket.on("message", (datagram: Uint8Array) => this.#takeDatagram(datagram));
    this.#track(this.#acceptAll());
  }

  /** Numeric host that is listened on. */
  get host(): string {
    return this.#listener.addr.hostname;
  }

  /** The port, for UDP and TCP. */
  get port(): number {
    return this.#listener.addr.port;
  }

  /** Open TCP connections. */
  get clients(): number {
    return this.#clients.size;
  }

  /** TCP connections that wait for room in the queue. */
  get waitingClients(): number {
    let count = 0;
    for (const client of this.#clients) if (client.held) count++;
    return count;
  }

  /** Lines that were read from TCP and not taken yet. */
  get waitingLines(): number {
    let count = 0;
    for (const { held, lines } of this.#clients) count += lines.waiting + (held ? 1 : 0);
    return count;
  }

  /** Lines skipped because they were longer than `LINE_BYTES_MAX`. */
  get tooLong(): number {
    let count = this.#tooLong;
    for (const { lines } of this.#clients) count += lines.tooLong;
    return count;
  }

  /** Brings `udpMissed` up to date. */
  async update(): Promise<void> {
    this.udpMissed = Math.max(this.udpMissed, await this.#info?.drops() ?? 0);
  }

  /** Takes what has arrived already and closes; what is held is offered until `deadlineMs`. */
  async stop(deadlineMs: number): Promise<void> {
    await this.#takeArrived();
    await this.update();
    this.#listener.close();
    this.#socket.close();
    this.#stopping = true;
    for (const client of this.#clients) if (client.reading) closeConn(client.conn);
    const timer = new AbortController();
    await Promise.race([
      Promise.all(this.#pumps),
      delay(Math.max(0, deadlineMs - nowMs()), timer.signal),
    ]);
    timer.abort();
  }

  /** Waits until nothing comes any more: connections in the backlog, bytes in the kernel. */
  async #takeArrived(): Promise<void> {
    const untilMs = nowMs() + GRACE_MAX_MS;
    let before = -1;
    while (before !== this.#arrived && nowMs() < untilMs) {
      before = this.#arrived;
      await delay(GRACE_MS);
    }
  }

  #takeDatagram(datagram: Uint8Array): void {
    this.#arrived++;
    for (let at = 0; at < datagram.length;) {
      const newline = datagram.indexOf(LF, at);
      const next = newline < 0 ? datagram.length : newline;
      const end = next > at && datagram[next - 1] === CR ? next - 1 : next;
      if (this.#sink.offer(datagram.subarray(at, end))) this.udpLines++;
      else this.udpDropped++;
      at = next + 1;
    }
  }

  async #acceptAll(): Promise<void> {
    while (true) {
      try {
        const conn = await this.#listener.accept();
        this.#arrived++;
        if (this.#clients.size < CLIENTS_MAX) this.#track(this.#pump(conn));
        else {
          this.tcpRefused++;
          closeConn(conn);
        }
      } catch (error) {
        if (error instanceof Deno.errors.BadResource) return; // closed by stop()
        if (error instanceof Deno.errors.Interrupted) return;
        await delay(ACCEPT_RETRY_MS);
      }
    }
  }

  async #pump(conn: Deno.TcpConn): Promise<void> {
    const client: Client = { conn, lines: new LineBuffer(), held: false, reading: false };
    const { lines } = client;
    this.#clients.add(client);
    try {
      conn.setKeepAlive(true);
      while (!this.#stopping) {
        client.reading = true;
        const count = await conn.read(lines.room());
        client.reading = false;
        this.#arrived++;
        if (count === null) {
          const line = lines.rest();
          if (line !== null) await this.#take(client, line);
          break;
        }
        lines.filled(count);
        for (let line = lines.next(); line !== null; line = lines.next()) {
          if (this.#sink.offer(line)) this.tcpLines++;
          else await this.#take(client, line);
        }
      }
    } catch {
      // The connection broke, or stop() closed it: what was whole has been taken.
    }
    if (lines.partial) this.tcpBroken++;
    this.#tooLong += lines.tooLong;
    this.#clients.delete(client);
    closeConn(conn);
  }

  /** Hands a line on, waiting for room: meanwhile nothing is read. */
  async #take(client: Client, line: Uint8Array): Promise<void> {
    client.held = true;
    while (!this.#sink.offer(line)) await this.#sink.room();
    client.held = false;
    this.tcpLines++;
  }

  #track(work: Promise<void>): void {
    this.#pumps.add(work);
    work.finally(() => this.#pumps.delete(work));
  }
}

/** How to send a line by hand. */
export function inputHints(inputs: Inputs | null): string[] {
  if (inputs === null) return [];
  const { host, port } = inputs;
  return [
    `Try UDP: echo hello | nc -u -w0 ${host} ${port}`,
    `Try TCP: echo hello | nc -w1 ${host} ${port}`,
  ];
}

function listenTcp(address: EntityAddr): Deno.TcpListener {
  try {
    return Deno.listen({ hostname: hostText(address), port: address.port });
  } catch (error) {
    throw refused(address, "TCP", error as Error);
  }
}

function bindUdp(address: EntityAddr, port: number): Promise<dgram.Socket> {
  const host = hostText(address);
  const socket = dgram.createSocket(host.includes(":") ? "udp6" : "udp4");
  return new Promise((resolve, reject) => {
    socket.once("error", (error: Error) => reject(refused(address, "UDP", error)));
    socket.bind(port, host, () => {
      socket.removeAllListeners("error");
      socket.on("error", () => {}); // an ICMP answer to nothing we sent: nothing to do
      resolve(socket);
    });
  });
}

function refused(address: EntityAddr, protocol: string, error: Error): Error {
  const host = hostText(address);
  const where = host.includes(":") ? `[${host}]:${address.port}` : `${host}:${address.port}`;
  const taken = error instanceof Deno.errors.AddrInUse || error.message.includes("EADDRINUSE");
  const why = taken ? "another program uses that port" : error.message;
  return new Error(
    `Cannot listen for lines on ${where} (${protocol}): ${why}; give --listen HOST:PORT with ` +
      "another one, or --no-listen",
  );
}

function closeConn(conn: Deno.TcpConn): void {
  try {
    conn.close();
  } catch {
    // It was closed already.
  }
}
