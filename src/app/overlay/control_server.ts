/**
 * The control port of a node: requests over TCP with mutual TLS, "TCP/SSL" of the X-Bone control protocol.
 * Both ends show a certificate of our authority; the name in it is who they are. Messages follow each other
 * in a connection, an answer carries the number of its request, and requests need not be answered in order.
 *
 * @module
 */
import { createServer, type Server, type TLSSocket } from "node:tls";
import type { AddressInfo } from "node:net";
import { MessageFramer, TCP_MESSAGE_MAX } from "../../wire/xbone/framing.ts";
import { type Body, type Message, PROTOCOL_VERSION } from "../../wire/xbone/messages.ts";
import { readMessage } from "../../wire/xbone/read_message.ts";
import { writeMessage } from "../../wire/xbone/write_message.ts";
import { hostPort } from "../address_text.ts";
import { VERSION } from "../version.ts";
import { type Identity, type Peer, peerOf } from "./identity.ts";

/** Peers that are connected at once. */
const CONNECTIONS_MAX = 512;
/** Requests of one connection that wait for their answers. */
const WAITING_MAX = 256;
/** A peer that says nothing is let go; it connects again when it has something to say. */
const IDLE_MS = 600_000;
const HANDSHAKE_MS = 10_000;
/** What a peer has not read is not answered further. */
const UNREAD_BYTES_MAX = 16 * 1024 * 1024;

/** Takes an answer; called once. */
export type AnswerTo = (body: Body) => void;

/** How a {@linkcode ControlServer} is opened. */
export interface ControlServerOptions {
  readonly host: string;
  readonly port: number;
  readonly identity: Identity;
  onRequest(body: Body, peer: Peer, answer: AnswerTo): void;
  onRefused(reason: string, from: string): void;
}

/** What came. */
export interface ControlServerCounts {
  accepted: number;
  requests: number;
  answers: number;
  /** Without a certificate of our authority, or too many. */
  refused: number;
  malformed: number;
  unknownFields: number;
}

/** The open port. */
export class ControlServer {
  readonly counts: ControlServerCounts = {
    accepted: 0,
    requests: 0,
    answers: 0,
    refused: 0,
    malformed: 0,
    unknownFields: 0,
  };
  readonly #server: Server;
  readonly #options: ControlServerOptions;
  readonly #sockets = new Set<TLSSocket>();

  /**
   * Opens it.
   *
   * @throws when the port cannot be had
   */
  static async open(options: ControlServerOptions): Promise<ControlServer> {
    const { host, identity, port } = options;
    const server = createServer({
      cert: identity.certificatePem,
      key: identity.keyPem,
      ca: identity.caPem,
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: "TLSv1.2",
      handshakeTimeout: HANDSHAKE_MS,
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
        `Cannot open the control port as ${(error as Error).message}: current value is ` +
          `${hostPort(host, port)}, give another one, or run as root for a port below 1024`,
      );
    }
    return new ControlServer(server, options);
  }

  private constructor(server: Server, options: ControlServerOptions) {
    this.#server = server;
    this.#options = options;
    server.on("error", () => this.counts.refused++);
    server.on("tlsClientError", (error: Error, socket: TLSSocket) => {
      this.counts.refused++;
      options.onRefused(error.message, fromOf(socket));
      socket.destroy();
    });
    server.on("secureConnection", (socket: TLSSocket) => this.#take(socket));
  }

  /** The port that was given to us. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Ends every connection. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #take(socket: TLSSocket): void {
    const { onRefused } = this.#options;
    socket.on("error", () => socket.destroy());
    const peer = peerOf(socket);
    const full = this.#sockets.size >= CONNECTIONS_MAX;
    if (typeof peer === "string" || full) {
      this.counts.refused++;
      onRefused(full ? `${CONNECTIONS_MAX} peers are connected` : `${peer}`, fromOf(socket));
      return void socket.destroy();
    }
    this.counts.accepted++;
    this.#sockets.add(socket);
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    const framer = new MessageFramer(TCP_MESSAGE_MAX);
    let waiting = 0;
    const answerTo = (request: Message): AnswerTo => {
      waiting++;
      return (body) => {
        waiting--;
        if (socket.destroyed || socket.writableLength > UNREAD_BYTES_MAX) return;
        this.counts.answers++;
        socket.write(writeMessage(envelope(request.sequence, body)));
      };
    };
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("data", (bytes: Uint8Array) => {
      framer.push(bytes);
      for (let next = framer.next(); next !== null; next = framer.next()) {
        if (waiting >= WAITING_MAX) return void socket.destroy();
        this.#read(next, peer, socket, answerTo);
      }
      if (framer.refusal === null) return;
      this.counts.malformed++;
      onRefused(`${peer.name}: ${framer.refusal}`, fromOf(socket));
      socket.destroy();
    });
  }

  #read(
    bytes: Uint8Array,
    peer: Peer,
    socket: TLSSocket,
    answerTo: (request: Message) => AnswerTo,
  ): void {
    const read = readMessage(bytes, TCP_MESSAGE_MAX);
    if ("message" in read) {
      this.counts.requests++;
      this.counts.unknownFields += read.unknownFields;
      return this.#options.onRequest(read.message.body, peer, answerTo(read.message));
    }
    this.counts.malformed++;
    this.#options.onRefused(`${peer.name}: ${read.refusal}`, fromOf(socket));
    const { answerable, refusal } = read;
    if (answerable === null) return void socket.destroy();
    const { sequence, verb, ...common } = answerable;
    const node = this.#options.identity.name;
    const nack: Body = { ...common, verb: "nack", of: verb, node, step: "", reason: refusal };
    socket.write(writeMessage(envelope(sequence, nack)));
  }
}

/** A body as a message of this program. */
export function envelope(sequence: number, body: Body): Message {
  return { protocol: PROTOCOL_VERSION, release: VERSION, sequence, credential: null, body };
}

function fromOf({ remoteAddress, remotePort }: TLSSocket): string {
  return remoteAddress === undefined ? "a peer" : hostPort(remoteAddress, remotePort ?? 0);
}
