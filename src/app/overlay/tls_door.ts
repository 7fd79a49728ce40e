/**
 * A port that only peers with a certificate of our authority pass: TLS with certificates on both ends, RFC
 * 8446 section 4.3.2. Whoever is turned away costs little and is told of; nobody can keep others out by
 * holding connections open.
 *
 * @module
 */
import type { AddressInfo, Socket } from "node:net";
import { createServer, type Server, type TLSSocket } from "node:tls";
import { hostPort } from "../address_text.ts";
import { type Identity, type Peer, peerOf } from "./identity.ts";

const HANDSHAKE_MS = 10_000;
/** In their handshakes at once; when there is one more, the oldest one goes. */
const HANDSHAKES_MAX = 256;
/** Of one peer; the oldest one goes: a box that lost its power has left some behind. */
const PER_PEER_MAX = 8;

/** How a {@linkcode TlsDoor} is opened. */
export interface TlsDoorOptions {
  /** Of error messages: `the control port`. */
  readonly what: string;
  readonly host: string;
  readonly port: number;
  readonly identity: Identity;
  /** Peers that are connected at once. */
  readonly peersMax: number;
  /** How long a handshake may take; 10 s unless set. */
  readonly handshakeMs?: number;
  /** Somebody of our authority. */
  onPeer(socket: TLSSocket, peer: Peer): void;
  onRefused(reason: string, from: string): void;
}

/** The open port. */
export class TlsDoor {
  readonly #server: Server;
  readonly #options: TlsDoorOptions;
  /** In their handshakes, by where they come from; oldest first. */
  readonly #shaking = new Map<string, Socket>();
  readonly #peers = new Map<TLSSocket, string>();

  /**
   * Opens it.
   *
   * @throws when the port cannot be had
   */
  static async open(options: TlsDoorOptions): Promise<TlsDoor> {
    const { host, identity, port, what } = options;
    const server = createServer({
      cert: identity.certificatePem,
      key: identity.keyPem,
      ca: identity.caPem,
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: "TLSv1.2",
      handshakeTimeout: options.handshakeMs ?? HANDSHAKE_MS,
    });
    try {
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen(port, host, () => {
          server.off("error", reject);
          resolve();
        });
      });
    } catch (error) {
      throw new Error(
        `Cannot open ${what} as ${(error as Error).message}: current value is ` +
          `${hostPort(host, port)}, give another one, or run as root for a port below 1024`,
      );
    }
    return new TlsDoor(server, options);
  }

  private constructor(server: Server, options: TlsDoorOptions) {
    this.#server = server;
    this.#options = options;
    server.on("error", (error: Error) => options.onRefused(error.message, "a peer"));
    server.on("connection", (socket: Socket) => this.#shake(socket));
    server.on("tlsClientError", (error: Error, socket: TLSSocket) => {
      options.onRefused(error.message, fromOf(socket));
      socket.destroy();
    });
    server.on("secureConnection", (socket: TLSSocket) => this.#pass(socket));
  }

  /** Where it is. */
  get address(): AddressInfo {
    return this.#server.address() as AddressInfo;
  }

  /** Ends every connection. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of [...this.#shaking.values(), ...this.#peers.keys()]) socket.destroy();
    await closed;
  }

  #shake(socket: Socket): void {
    const from = fromOf(socket);
    this.#shaking.set(from, socket);
    socket.on("close", () => {
      if (this.#shaking.get(from) === socket) this.#shaking.delete(from);
    });
    if (this.#shaking.size <= HANDSHAKES_MAX) return;
    const [oldest, first] = this.#shaking.entries().next().value!;
    this.#shaking.delete(oldest);
    this.#options.onRefused(`${HANDSHAKES_MAX} handshakes are not finished`, oldest);
    first.destroy();
  }

  #pass(socket: TLSSocket): void {
    const { onPeer, onRefused, peersMax } = this.#options;
    const from = fromOf(socket);
    this.#shaking.delete(from);
    socket.on("error", () => socket.destroy());
    const peer = peerOf(socket);
    const full = this.#peers.size >= peersMax;
    if (typeof peer === "string" || full) {
      onRefused(full ? `${peersMax} peers are connected` : `${peer}`, from);
      return void socket.destroy();
    }
    const { name } = peer;
    this.#peers.set(socket, name);
    socket.on("close", () => this.#peers.delete(socket));
    const own = [...this.#peers.keys()].filter((other) => this.#peers.get(other) === name);
    if (own.length > PER_PEER_MAX) {
      onRefused(`${name} has ${PER_PEER_MAX} connections, so that its oldest one ends`, from);
      own[0]!.destroy();
    }
    onPeer(socket, peer);
  }
}

/** Where a peer is. */
export function fromOf({ remoteAddress, remotePort }: Socket): string {
  return remoteAddress === undefined ? "a peer" : hostPort(remoteAddress, remotePort ?? 0);
}
