/**
 * Messages as datagrams to the next program, one each (RFC 768): at most once, as UDP is, and to
 * whoever listens there at the moment. `raw` is what relays of syslog want: a syslog message is a
 * whole datagram (RFC 5426 section 3.1).
 *
 * @module
 */
import dgram from "node:dgram";
import { lookup } from "node:dns";
import { isIP } from "node:net";
import { nowMs } from "../../io/clock.ts";
import type { Output, OutputCounts, Received } from "../hub/output.ts";
import { parseAddress } from "../../wire/msgr2/entity_addr.ts";
import { outputCounts } from "./counts.ts";
import { type Format, MessageBuffer } from "./format.ts";

/** The largest payload over IPv4: 65535 less the headers of IP and UDP; over IPv6 20 more fit. */
export const DATAGRAM_BYTES_MAX = 65507;
/** What node and the kernel have not taken yet at most. */
const WAITING_BYTES_MAX = 4 * 1024 * 1024;
/** What the memory of a datagram costs besides its bytes, so that empty ones are bounded too. */
const DATAGRAM_COST = 64;
/** A name is looked up again after so long; without an answer, sooner. */
const NAME_KEPT_MS = 60_000;
const NAME_RETRY_MS = 1000;

/** How it is configured. */
export interface UdpOptions {
  readonly type: "udp";
  /** `HOST:PORT`. */
  readonly address: string;
  readonly format: Format;
  readonly required: boolean;
}

type Found = (error: Error | null, address: string, family: number) => void;

/** One socket that only sends; a name stands for its first IPv4 address. */
export class UdpOutput implements Output {
  readonly name: string;
  readonly required: boolean;
  readonly counts: OutputCounts = outputCounts();
  readonly where: string;
  /** Messages that were longer than a datagram. */
  cut = 0;
  /** Messages that the kernel refused; they count as dropped too. */
  failed = 0;
  readonly #host: string;
  readonly #port: number;
  readonly #socket: dgram.Socket;
  readonly #buffer: MessageBuffer;
  /** Sent one after another: node's sends overtake each other. */
  #queue: Uint8Array[] = [];
  #sending = false;
  #waiting = 0;
  #idle: (() => void)[] = [];
  /** What the host's name stands for, or why that is not known, and until when that holds. */
  #found: { error: Error | null; address: string; family: number } | null = null;
  #foundUntilMs = 0;
  #trouble = "";
  #closed = false;

  /** @throws when the address is none */
  constructor(name: string, options: UdpOptions) {
    const { host, port } = parseAddress(options.address);
    this.name = name;
    this.required = options.required;
    this.where = options.address;
    this.#host = host;
    this.#port = port;
    this.#buffer = new MessageBuffer(options.format, false);
    this.#socket = dgram.createSocket({
      type: host.includes(":") ? "udp6" : "udp4",
      lookup: (host, _, found) => this.#lookUp(host, found),
    });
    this.#socket.on("error", (error) => this.#trouble = this.#because(error));
  }

  get trouble(): string {
    return this.#trouble;
  }

  take(message: Received): void {
    if (this.#closed) return;
    this.#buffer.add(message);
    const whole = this.#buffer.view();
    const bytes = whole.slice(0, datagramEnd(whole));
    this.#buffer.drop(whole.length);
    if (bytes.length < whole.length) this.cut++;
    const cost = bytes.length + DATAGRAM_COST;
    if (this.#waiting + cost > WAITING_BYTES_MAX) {
      this.counts.dropped++;
      return;
    }
    this.counts.messages++;
    this.counts.bytes += bytes.length;
    this.#waiting += cost;
    this.#queue.push(bytes);
    if (!this.#sending) void this.#sendAll();
  }

  /** Resolves when the kernel has taken or refused them all: more is not known of a datagram. */
  flush(): Promise<void> {
    return this.required ? this.#settled() : Promise.resolve();
  }

  position(): null {
    return null;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#settled();
    this.#socket.close();
  }

  async #sendAll(): Promise<void> {
    this.#sending = true;
    while (this.#queue.length > 0) {
      const datagrams = this.#queue; // a moment's, so that what was sent is not kept
      this.#queue = [];
      for (const bytes of datagrams) {
        const error = await this.#send(bytes);
        this.#waiting -= bytes.length + DATAGRAM_COST;
        this.#trouble = error === null ? "" : this.#because(error);
        if (error === null) continue;
        this.failed++;
        this.counts.dropped++;
      }
    }
    this.#sending = false;
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  #send(bytes: Uint8Array): Promise<Error | null> {
    return new Promise((resolve) => {
      try {
        this.#socket.send(bytes, this.#port, this.#host, (error) => resolve(error ?? null));
      } catch (error) {
        resolve(error as Error);
      }
    });
  }

  /** Once for many datagrams: node would ask for each. */
  #lookUp(host: string, found: Found): void {
    if (isIP(host) !== 0) {
      found(null, host, isIP(host));
      return;
    }
    if (this.#found !== null && nowMs() < this.#foundUntilMs) {
      found(this.#found.error, this.#found.address, this.#found.family);
      return;
    }
    lookup(host, { family: 4 }, (error, address, family) => {
      this.#found = { error, address, family };
      this.#foundUntilMs = nowMs() + (error === null ? NAME_KEPT_MS : NAME_RETRY_MS);
      found(error, address, family);
    });
  }

  #settled(): Promise<void> {
    return new Promise((resolve) => {
      if (!this.#sending) resolve();
      else this.#idle.push(resolve);
    });
  }

  #because(error: Error): string {
    return `Cannot send to ${this.where}: ${error.message}`;
  }
}

/** Where a datagram ends; not in the middle of a character when it is UTF-8 (RFC 3629 section 3). */
function datagramEnd(bytes: Uint8Array): number {
  if (bytes.length <= DATAGRAM_BYTES_MAX) return bytes.length;
  let end = DATAGRAM_BYTES_MAX;
  while (end > DATAGRAM_BYTES_MAX - 4 && (bytes[end]! & 0xc0) === 0x80) end--;
  return (bytes[end]! & 0xc0) === 0x80 ? DATAGRAM_BYTES_MAX : end;
}
