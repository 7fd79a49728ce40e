/**
 * The control port of a node: requests over TCP with mutual TLS, "TCP/SSL" of the X-Bone control protocol.
 * Both ends show a certificate of our authority; the name in it is who they are. Messages follow each other
 * in a connection, an answer carries the number of its request, and requests need not be answered in order.
 *
 * @module
 */
import type { TLSSocket } from "node:tls";
import { MessageFramer, TCP_MESSAGE_MAX } from "../../wire/xbone/framing.ts";
import {
  type Body,
  type Credential,
  type Message,
  PROTOCOL_VERSION,
} from "../../wire/xbone/messages.ts";
import { readMessage } from "../../wire/xbone/read_message.ts";
import { writeMessage } from "../../wire/xbone/write_message.ts";
import { VERSION } from "../version.ts";
import type { Identity, Peer } from "./identity.ts";
import { fromOf, TlsDoor } from "./tls_door.ts";

/** Peers that are connected at once. */
const CONNECTIONS_MAX = 512;
/** Requests of one connection that wait for their answers. */
const WAITING_MAX = 256;
/** A peer that says nothing is let go; it connects again when it has something to say. */
const IDLE_MS = 600_000;
/** What a peer has not read, but for one answer; then it is let go. */
const UNREAD_BYTES_MAX = TCP_MESSAGE_MAX;

/** Takes an answer; called once. */
export type AnswerTo = (body: Body) => void;

/** How a {@linkcode ControlServer} is opened. */
export interface ControlServerOptions {
  readonly host: string;
  readonly port: number;
  readonly identity: Identity;
  /** How long a handshake may take; 10 s unless set. */
  readonly handshakeMs?: number;
  onRequest(body: Body, peer: Peer, answer: AnswerTo): void;
  onRefused(reason: string, from: string): void;
}

/** What came. */
export interface ControlServerCounts {
  accepted: number;
  requests: number;
  answers: number;
  /** Without a certificate of our authority, too many, or too slow to read. */
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
  readonly #options: ControlServerOptions;
  #door: TlsDoor | null = null;

  /**
   * Opens it.
   *
   * @throws when the port cannot be had
   */
  static async open(options: ControlServerOptions): Promise<ControlServer> {
    const server = new ControlServer(options);
    server.#door = await TlsDoor.open({
      ...{ what: "the control port", host: options.host, port: options.port },
      ...{ identity: options.identity, peersMax: CONNECTIONS_MAX },
      handshakeMs: options.handshakeMs,
      onPeer: (socket, peer) => server.#take(socket, peer),
      onRefused: (reason, from) => server.#refuse(reason, from),
    });
    return server;
  }

  private constructor(options: ControlServerOptions) {
    this.#options = options;
  }

  /** The port that was given to us. */
  get port(): number {
    return this.#door!.address.port;
  }

  /** Ends every connection. */
  async close(): Promise<void> {
    await this.#door!.close();
  }

  #take(socket: TLSSocket, peer: Peer): void {
    this.counts.accepted++;
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    const framer = new MessageFramer(TCP_MESSAGE_MAX);
    let waiting = 0;
    const answerTo = ({ sequence }: Message): AnswerTo => {
      waiting++;
      return (body) => {
        waiting--;
        this.#tell(socket, peer, envelope(sequence, body));
      };
    };
    socket.on("data", (bytes: Uint8Array) => {
      framer.push(bytes);
      for (let next = framer.next(); next !== null; next = framer.next()) {
        if (waiting >= WAITING_MAX) {
          this.#refuse(`${peer.name}: ${WAITING_MAX} requests wait`, fromOf(socket));
          return void socket.destroy();
        }
        this.#read(next, peer, socket, answerTo);
        if (socket.destroyed) return;
      }
      if (framer.refusal === null) return;
      this.counts.malformed++;
      this.#options.onRefused(`${peer.name}: ${framer.refusal}`, fromOf(socket));
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
    this.#tell(socket, peer, envelope(sequence, nack));
  }

  /** Who asks and does not read is let go: what waits for it is memory. */
  #tell(socket: TLSSocket, { name }: Peer, message: Message): void {
    if (socket.destroyed) return;
    if (socket.writableLength > UNREAD_BYTES_MAX) {
      this.#refuse(`${name} does not read its answers`, fromOf(socket));
      return void socket.destroy();
    }
    this.counts.answers++;
    socket.write(writeMessage(message));
  }

  #refuse(reason: string, from: string): void {
    this.counts.refused++;
    this.#options.onRefused(reason, from);
  }
}

/** A body as a message of this program. */
export function envelope(
  sequence: number,
  body: Body,
  credential: Credential | null = null,
): Message {
  return { protocol: PROTOCOL_VERSION, release: VERSION, sequence, credential, body };
}
