/**
 * Requests to the control ports of other nodes, one connection with mutual TLS to each, which stays open while
 * it is used. The name in the other end's certificate must be the node's that is asked: an address alone
 * proves nothing.
 *
 * @module
 */
import { connect, type TLSSocket } from "node:tls";
import type { Reach } from "../../proto/xbone/machine.ts";
import { MessageFramer, TCP_MESSAGE_MAX } from "../../wire/xbone/framing.ts";
import type { Body, Credential, Message } from "../../wire/xbone/messages.ts";
import { readMessage } from "../../wire/xbone/read_message.ts";
import { writeMessage } from "../../wire/xbone/write_message.ts";
import { hostPort } from "../address_text.ts";
import { envelope } from "./control_server.ts";
import { type Identity, peerOf } from "./identity.ts";

/** An unused connection is closed. */
const IDLE_MS = 120_000;
const CONNECT_MS = 5000;
/** Requests that wait, to all nodes. */
const WAITING_MAX = 16_384;

interface Waiting {
  resolve(body: Body): void;
  reject(error: Error): void;
  readonly timer: ReturnType<typeof setTimeout>;
}

/** What is open to one node. */
interface Line {
  readonly socket: TLSSocket;
  readonly waiting: Map<number, Waiting>;
  ready: boolean;
  /** How often something came. */
  heard: number;
  /** Written when the handshake is done. */
  readonly queued: string[];
}

/** All connections of a program. */
export class ControlClient {
  /** Who asks, for the envelope. It is for people: a node goes by the certificate. */
  readonly credential: Credential;
  readonly #identity: Identity;
  /** Those that further requests take, by node and address. */
  readonly #lines = new Map<string, Line>();
  readonly #open = new Set<Line>();
  #sequence: number;
  #waiting = 0;

  /** @param sequence the first number; grows from start to start, so that no answer is taken for another */
  constructor(identity: Identity, sequence: number) {
    this.#identity = identity;
    this.#sequence = sequence;
    const { email, name } = identity;
    // The field must be there; not every certificate has an address.
    this.credential = { userName: name, userEmail: email || name, authType: "x509" };
  }

  /** The number for the next message, of a datagram too. */
  next(): number {
    return ++this.#sequence;
  }

  /**
   * Asks a node; its answer.
   *
   * @throws with the reason when there is none within `waitMs`
   */
  request(to: Reach, body: Body, waitMs: number): Promise<Body> {
    if (this.#waiting >= WAITING_MAX) {
      return Promise.reject(new Error(`${WAITING_MAX} requests wait for answers`));
    }
    const sequence = this.next();
    const text = writeMessage(envelope(sequence, body, this.credential));
    const line = this.#line(to);
    const { heard } = line;
    this.#waiting++;
    return new Promise<Body>((resolve, reject) => {
      const settle = (): void => {
        clearTimeout(timer);
        if (line.waiting.delete(sequence)) this.#waiting--;
      };
      const timer = setTimeout(() => {
        settle();
        reject(new Error(`no answer within ${waitMs / 1000} s`));
        // It may be dead: further requests take another one, and it ends when nobody waits on it.
        if (line.heard === heard) this.#retire(line);
      }, waitMs);
      line.waiting.set(sequence, {
        timer,
        resolve: (answer): void => {
          settle();
          resolve(answer);
        },
        reject: (error): void => {
          settle();
          reject(error);
        },
      });
      if (line.ready) line.socket.write(text);
      else line.queued.push(text);
    });
  }

  /** Ends all; who waits is told. */
  close(): void {
    for (const { socket } of this.#open) socket.destroy();
    this.#lines.clear();
  }

  #retire(line: Line): void {
    for (const [key, other] of this.#lines) if (other === line) this.#lines.delete(key);
    if (line.waiting.size === 0) line.socket.destroy();
  }

  #line({ host, node, port }: Reach): Line {
    const key = `${node} ${hostPort(host, port)}`;
    const open = this.#lines.get(key);
    if (open !== undefined && !open.socket.destroyed) return open;
    const { caPem, certificatePem, keyPem } = this.#identity;
    const socket = connect({
      host,
      port,
      ca: caPem,
      cert: certificatePem,
      key: keyPem,
      rejectUnauthorized: true,
      minVersion: "TLSv1.2",
      checkServerIdentity: () => undefined, // the name in it is compared below
    });
    const line: Line = { socket, waiting: new Map(), ready: false, heard: 0, queued: [] };
    this.#lines.set(key, line);
    this.#open.add(line);
    const connecting = setTimeout(
      () => socket.destroy(new Error(`no connection within ${CONNECT_MS / 1000} s`)),
      CONNECT_MS,
    );
    let why = "the connection ended";
    socket.on("error", (error: Error) => why = error.message);
    socket.on("close", () => {
      clearTimeout(connecting);
      this.#retire(line);
      this.#open.delete(line);
      for (const { reject } of [...line.waiting.values()]) reject(new Error(why));
    });
    socket.on("secureConnect", () => {
      clearTimeout(connecting);
      const peer = peerOf(socket);
      const wrong = typeof peer === "string"
        ? peer
        : peer.name !== node
        ? `another node is there: current value is ${peer.name}`
        : peer.role === "operator"
        ? `${node} is an operator, and lends nothing`
        : null;
      if (wrong !== null) return void socket.destroy(new Error(wrong));
      socket.setTimeout(IDLE_MS, () => socket.destroy());
      line.ready = true;
      for (const text of line.queued.splice(0)) socket.write(text);
    });
    const framer = new MessageFramer(TCP_MESSAGE_MAX);
    socket.on("data", (bytes: Uint8Array) => {
      line.heard++;
      framer.push(bytes);
      for (let next = framer.next(); next !== null; next = framer.next()) {
        const message = messageOf(next);
        if (typeof message === "string") return void socket.destroy(new Error(message));
        line.waiting.get(message.sequence)?.resolve(message.body);
      }
      if (framer.refusal !== null) socket.destroy(new Error(framer.refusal));
    });
    return line;
  }
}

function messageOf(bytes: Uint8Array): Message | string {
  const read = readMessage(bytes, TCP_MESSAGE_MAX);
  return "message" in read ? read.message : `it sent what cannot be read: ${read.refusal}`;
}
