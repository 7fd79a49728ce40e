/**
 * An input that listens on one host and port, by UDP, TCP or both: what lines, syslog and StatsD
 * have in common.
 *
 * @module
 */
import type { EntityAddr } from "../../wire/msgr2/entity_addr.ts";
import { hostText, resolve } from "../address.ts";
import { hostPort } from "../address_text.ts";
import type { Input, InputCounts, Intake } from "../gateway/intake.ts";
import { MessageTaker, type PayloadRules } from "./message_taker.ts";
import { untilQuiet } from "./quiet.ts";
import { CLIENTS_MAX, type Cutter, IDLE_MS, TcpPort } from "./tcp_port.ts";
import { UdpPort } from "./udp_port.ts";

/** How often late connections are closed, and the kernel is asked for dropped datagrams. */
const TICK_MS = 2000;
/** Ports tried when any port will do, and TCP's is taken for UDP. */
const PORT_TRIES = 8;

const LF = 0x0a;
const CR = 0x0d;

/** Where an input listens; the names are those of the configuration. */
export interface PortOptions {
  /** `HOST:PORT`; port 0 is any free one. */
  readonly listen: string;
  readonly protocols: readonly ("udp" | "tcp")[];
  readonly topic: string;
}

/** What tells one such input from another. */
export interface PortRules extends PayloadRules {
  readonly acknowledge: boolean;
  /** Calls `take` for each frame of a datagram. */
  eachFrame(datagram: Uint8Array, take: (frame: Uint8Array) => void): void;
  openCutter(): Cutter;
}

/** A running one. */
export class PortInput implements Input {
  readonly name: string;
  readonly where: string;
  readonly #taker: MessageTaker;
  readonly #udp: UdpPort | null;
  readonly #tcp: TcpPort | null;
  readonly #ticker: ReturnType<typeof setInterval>;
  #update: Promise<void> = Promise.resolve();
  #stopped: Promise<void> | null = null;

  /**
   * Opens the sockets.
   *
   * @throws when the port is taken or the address is not of this box, naming the remedy
   */
  static async open(
    name: string,
    options: PortOptions,
    rules: PortRules,
    intake: Intake,
  ): Promise<PortInput> {
    const address = await resolve(options.listen);
    const taker = new MessageTaker(rules, intake);
    const take = (frame: Uint8Array): void => taker.takeOrDrop(frame);
    const takeDatagram = (datagram: Uint8Array): void => rules.eachFrame(datagram, take);
    const sockets = await openSockets(name, address, options.protocols, takeDatagram);
    return new PortInput(name, hostText(address), sockets, rules, taker);
  }

  private constructor(
    name: string,
    host: string,
    sockets: Sockets,
    rules: PortRules,
    taker: MessageTaker,
  ) {
    const { udp, listener } = sockets;
    this.name = name;
    this.where = hostPort(host, listener?.addr.port ?? udp?.port ?? 0);
    this.#taker = taker;
    this.#udp = udp;
    this.#tcp = listener && new TcpPort(
      listener,
      {
        openCutter: () => rules.openCutter(),
        acknowledge: rules.acknowledge,
        clientsMax: CLIENTS_MAX,
        idleMs: IDLE_MS,
      },
      taker,
    );
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
  }

  get counts(): InputCounts {
    return this.#taker.counts;
  }

  get trouble(): string {
    return this.#tcp?.trouble ?? "";
  }

  stop(deadlineMs: number): Promise<void> {
    this.#stopped ??= this.#stop(deadlineMs);
    return this.#stopped;
  }

  async #stop(deadlineMs: number): Promise<void> {
    clearInterval(this.#ticker);
    const udp = this.#udp;
    const tcp = this.#tcp;
    await untilQuiet(() => (udp?.arrived ?? 0) + (tcp?.arrived ?? 0), deadlineMs);
    await this.#update;
    await this.#countMissed();
    udp?.close();
    await tcp?.stop(deadlineMs);
  }

  #tick(): void {
    this.#tcp?.closeLate();
    this.#update = this.#update.then(() => this.#countMissed());
  }

  async #countMissed(): Promise<void> {
    this.counts.dropped += await this.#udp?.update() ?? 0;
  }
}

/** The lines of a datagram; empty ones are none, or 64 KiB of them would be 64 Ki messages. */
export function eachLine(datagram: Uint8Array, take: (line: Uint8Array) => void): void {
  for (let at = 0; at < datagram.length;) {
    const newline = datagram.indexOf(LF, at);
    const next = newline < 0 ? datagram.length : newline;
    const end = next > at && datagram[next - 1] === CR ? next - 1 : next;
    if (end > at) take(datagram.subarray(at, end));
    at = next + 1;
  }
}

interface Sockets {
  readonly udp: UdpPort | null;
  readonly listener: Deno.TcpListener | null;
}

/** Both sockets get the same port; when any will do, until one is free for both. */
async function openSockets(
  name: string,
  address: EntityAddr,
  protocols: PortOptions["protocols"],
  take: (datagram: Uint8Array) => void,
): Promise<Sockets> {
  for (let tries = 1;; tries++) {
    const listener = protocols.includes("tcp") ? listenTcp(name, address) : null;
    if (!protocols.includes("udp")) return { udp: null, listener };
    try {
      const port = listener?.addr.port ?? address.port;
      const udp = await UdpPort.open(hostText(address), port, take);
      return { udp, listener };
    } catch (error) {
      listener?.close();
      if (address.port !== 0 || tries === PORT_TRIES) {
        throw refused(name, address, "UDP", error as Error);
      }
    }
  }
}

function listenTcp(name: string, address: EntityAddr): Deno.TcpListener {
  try {
    return Deno.listen({ hostname: hostText(address), port: address.port });
  } catch (error) {
    throw refused(name, address, "TCP", error as Error);
  }
}

function refused(name: string, address: EntityAddr, protocol: string, error: Error): Error {
  const taken = error instanceof Deno.errors.AddrInUse || error.message.includes("EADDRINUSE");
  const why = taken ? "another program uses that port" : error.message;
  return new Error(
    `Cannot listen for input ${name} by ${protocol} as ${why}: current value is ` +
      `${hostPort(hostText(address), address.port)}, give another one as inputs.${name}.listen` +
      (name === "lines" ? " or with --listen" : ""),
  );
}
