/**
 * A UDP socket that datagrams are received on, and how many of them the kernel dropped.
 *
 * @module
 */
import dgram from "node:dgram";
import { UdpSocket } from "../../io/udp_socket.ts";

/** What the kernel keeps while the gateway is busy: some 5000 short lines. */
const BUFFER_BYTES = 4 * 1024 * 1024;

/** A bound socket. */
export class UdpPort {
  /** Datagrams that were received. */
  arrived = 0;
  /** Datagrams that the kernel dropped because they came faster than they were read. */
  missed = 0;
  readonly #socket: dgram.Socket;
  readonly #info: UdpSocket | null;

  /** Binds, and calls `take` for each datagram, which is valid during that call. Rejects when taken. */
  static async open(
    host: string,
    port: number,
    take: (datagram: Uint8Array) => void,
  ): Promise<UdpPort> {
    const socket = await bind(host, port);
    const info = await UdpSocket.find(host, socket.address().port);
    info?.enlarge(BUFFER_BYTES);
    return new UdpPort(socket, info, take);
  }

  private constructor(
    socket: dgram.Socket,
    info: UdpSocket | null,
    take: (datagram: Uint8Array) => void,
  ) {
    this.#socket = socket;
    this.#info = info;
    socket.on("message", (datagram: Uint8Array) => {
      this.arrived++;
      take(datagram);
    });
  }

  /** The port that it is bound to. */
  get port(): number {
    return this.#socket.address().port;
  }

  /** Brings `missed` up to date; returns how many came to it. */
  async update(): Promise<number> {
    const before = this.missed;
    this.missed = Math.max(before, await this.#info?.drops() ?? 0);
    return this.missed - before;
  }

  /** Receives nothing more. */
  close(): void {
    this.#socket.close();
  }
}

function bind(host: string, port: number): Promise<dgram.Socket> {
  const socket = dgram.createSocket(host.includes(":") ? "udp6" : "udp4");
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.bind(port, host, () => {
      socket.removeAllListeners("error");
      socket.on("error", () => {}); // an ICMP answer to nothing we sent: nothing to do
      resolve(socket);
    });
  });
}
