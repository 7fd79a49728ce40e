/**
 * The datagrams of the X-Bone control protocol: INVITE and RELEASE to a multicast group, their answers to one
 * address, each a CMS object whose content is exactly one message. What is not signed by somebody of
 * our authority, is old or was seen before is counted and not answered.
 *
 * @module
 */
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { isIPv6 } from "node:net";
import { UDP_MESSAGE_MAX } from "../../wire/xbone/framing.ts";
import type { Message } from "../../wire/xbone/messages.ts";
import { readMessage } from "../../wire/xbone/read_message.ts";
import { writeMessage } from "../../wire/xbone/write_message.ts";
import { hostPort } from "../address_text.ts";
import { ReplayGuard, type SignedDatagrams, type Signer } from "./signed_datagram.ts";

const encoder = new TextEncoder();
/** Of one address, a second; more is dropped before its signature costs anything. */
const PER_SOURCE_MAX = 200;
const SOURCES_MAX = 1024;
/** Of all addresses, a second: two signatures of a datagram are checked in 0.3 ms. */
const ALL_MAX = 2048;

/** How {@linkcode ControlDatagrams} are opened. */
export interface ControlDatagramsOptions {
  /** Listen here, HOST:PORT; port 0 for any. */
  readonly host: string;
  readonly port: number;
  /** The group to join; null to hear only what is sent to us. */
  readonly group: string | null;
  /** Address of the interface for the group; empty for the kernel's choice. */
  readonly interface: string;
  readonly signed: SignedDatagrams;
  /** A message of a verified sender. */
  onMessage(message: Message, signer: Signer, from: string): void;
  /** Something that an operator may want to know. */
  onRefused(reason: string, from: string): void;
}

/** What came and what was refused. */
export interface DatagramCounts {
  received: number;
  sent: number;
  /** Not signed by one of ours, changed on the way, expired. */
  unsigned: number;
  /** Seen before. */
  replayed: number;
  /** Signed, but no message. */
  malformed: number;
  /** Fields that we do not know. */
  unknownFields: number;
  /** Too many from one address, or of all. */
  limited: number;
  /** The kernel did not take it. */
  unsent: number;
}

/** One socket. */
export class ControlDatagrams {
  readonly counts: DatagramCounts = {
    received: 0,
    sent: 0,
    unsigned: 0,
    replayed: 0,
    malformed: 0,
    unknownFields: 0,
    limited: 0,
    unsent: 0,
  };
  readonly #socket: Socket;
  readonly #options: ControlDatagramsOptions;
  readonly #guard = new ReplayGuard();
  readonly #sources = new Map<string, number>();
  #all = 0;
  readonly #window: ReturnType<typeof setInterval>;
  #ttl = -1;

  /**
   * Opens it.
   *
   * @throws when the port or the group cannot be had
   */
  static async open(options: ControlDatagramsOptions): Promise<ControlDatagrams> {
    const { group, host, port } = options;
    const socket = createSocket({ type: isIPv6(host) ? "udp6" : "udp4", reuseAddr: true });
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once("error", reject);
        socket.bind({ port, address: host }, () => {
          socket.off("error", reject);
          resolve();
        });
      });
      if (group !== null) socket.addMembership(group, options.interface || undefined);
      if (options.interface !== "") socket.setMulticastInterface(options.interface);
      socket.setMulticastLoopback(true);
    } catch (error) {
      socket.close();
      const where = group === null ? "" : ` in group ${group}`;
      throw new Error(
        `Cannot hear invitations as ${(error as Error).message}: current value is ` +
          `${
            hostPort(host, port)
          }${where}, give another address, or run as root for a port below 1024`,
      );
    }
    return new ControlDatagrams(socket, options);
  }

  private constructor(socket: Socket, options: ControlDatagramsOptions) {
    this.#socket = socket;
    this.#options = options;
    socket.on("message", (bytes: Uint8Array, from: RemoteInfo) => this.#take(bytes, from));
    socket.on("error", () => this.counts.unsent++);
    this.#window = setInterval(() => {
      this.#sources.clear();
      this.#all = 0;
    }, 1000);
  }

  /** The port that was given to us. */
  get port(): number {
    return this.#socket.address().port;
  }

  /** Sends one message to HOST:PORT; `ttl` counts for groups. A datagram may get lost: nobody is told. */
  send(message: Message, host: string, port: number, ttl: number): void {
    const bytes = this.#options.signed.sign(encoder.encode(writeMessage(message)));
    if (ttl > 0 && ttl !== this.#ttl) {
      this.#socket.setMulticastTTL(ttl);
      this.#ttl = ttl;
    }
    this.#socket.send(bytes, port, host, (error: Error | null) => {
      if (error === null || error === undefined) this.counts.sent++;
      else this.counts.unsent++;
    });
  }

  /** Closes the socket. */
  async close(): Promise<void> {
    clearInterval(this.#window);
    await new Promise<void>((resolve) => this.#socket.close(() => resolve()));
  }

  #take(bytes: Uint8Array, { address, port }: RemoteInfo): void {
    const from = hostPort(address, port);
    this.counts.received++;
    if (!this.#mayCome(address)) return void this.counts.limited++;
    const { onMessage, onRefused, signed } = this.#options;
    const nowMs = Date.now();
    const opened = signed.verify(bytes, nowMs);
    if ("refusal" in opened) {
      this.counts.unsigned++;
      return onRefused(opened.refusal, from);
    }
    const read = readMessage(opened.content, UDP_MESSAGE_MAX);
    if ("refusal" in read) {
      this.counts.malformed++;
      return onRefused(`${opened.signer.name}: ${read.refusal}`, from);
    }
    this.counts.unknownFields += read.unknownFields;
    const { message } = read;
    const seen = this.#guard.check(opened.signer.name, message.body, message.sequence, nowMs);
    if (seen !== null) {
      this.counts.replayed++;
      return onRefused(`${opened.signer.name}: ${seen}`, from);
    }
    onMessage(message, opened.signer, from);
  }

  #mayCome(address: string): boolean {
    const count = (this.#sources.get(address) ?? 0) + 1;
    if (this.#all >= ALL_MAX || count > PER_SOURCE_MAX) return false;
    if (count === 1 && this.#sources.size >= SOURCES_MAX) return false;
    this.#all++;
    this.#sources.set(address, count);
    return true;
  }
}
