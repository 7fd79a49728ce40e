/**
 * Messages to the next program over TCP, which has no acknowledgement of its own: at-least-once as
 * far as the kernels can tell. What the peer's kernel has not acknowledged when a connection breaks
 * is sent again on the next one, from the start of its first message. Unless the peer closed in
 * order, its program may have died with bytes unread: so the last 8 MiB are sent again too; what a
 * peer leaves unread beyond them, in receive buffers larger than that, is lost with it. Where the
 * kernel cannot be asked (no FFI) what was handed to it counts as acknowledged, and every break
 * sends those 8 MiB again. A peer that ends its direction is taken to be closing.
 *
 * An output that is required waits for the peer's kernel before the hub acknowledges anything; the
 * hub hands out no other round before, so that one round waits. Else the oldest that were not sent
 * are dropped when too much waits.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import { parseAddress } from "../../wire/msgr2/entity_addr.ts";
import type { Output, OutputCounts, Received } from "../hub/output.ts";
import { outputCounts } from "./counts.ts";
import { type Format, MessageBuffer } from "./format.ts";
import { KernelQueue } from "./kernel_queue.ts";
import { ReplayQueue } from "./replay_queue.ts";

const WAITING_BYTES_MAX = 16 * 1024 * 1024;
const REPLAY_BYTES_MAX = 8 * 1024 * 1024;

const CONNECT_DEADLINE_MS = 10_000;
const FLUSH_DEADLINE_MS = 2_000;
const CLOSE_DEADLINE_MS = 1_000;
/** Between two tries to connect. */
const BACKOFF_MIN_MS = 200;
const BACKOFF_MAX_MS = 15_000;
/** A connection that stood so long was no failure. */
const STEADY_MS = 10_000;
/** How often the kernel is asked while a flush waits. */
const ASK_MIN_MS = 1;
const ASK_MAX_MS = 32;

const READ_BYTES = 4096;

/** How it is configured. */
export interface TcpOptions {
  readonly type: "tcp";
  /** `HOST:PORT`. */
  readonly address: string;
  readonly format: Format;
  readonly required: boolean;
}

interface Link {
  readonly conn: Deno.TcpConn;
  readonly kernel: KernelQueue | null;
  over: boolean;
}

/** One connection at a time, made again whenever it breaks. */
export class TcpOutput implements Output {
  readonly name: string;
  readonly required: boolean;
  readonly counts: OutputCounts = outputCounts();
  readonly where: string;
  readonly #host: string;
  readonly #port: number;
  readonly #waitingMax: number;
  readonly #scratch: MessageBuffer;
  readonly #queue = new ReplayQueue(REPLAY_BYTES_MAX);
  readonly #running: Promise<void>;
  #link: Link | null = null;
  #connected = 0;
  #connecting: AbortController | null = null;
  #trouble = "";
  #closed = false;
  /** Those who wait for something to send, for the end, for a moment to pass. */
  #sleepers = new Set<() => void>();

  /**
   * Starts connecting, and never gives up.
   *
   * @param waitingMax bytes that may wait for the peer when it is not required
   * @throws when the address is none
   */
  constructor(name: string, options: TcpOptions, waitingMax: number = WAITING_BYTES_MAX) {
    const { host, port } = parseAddress(options.address);
    this.name = name;
    this.required = options.required;
    this.where = options.address;
    this.#host = host;
    this.#port = port;
    this.#waitingMax = waitingMax;
    this.#scratch = new MessageBuffer(options.format);
    this.#running = this.#run();
  }

  get trouble(): string {
    return this.#trouble;
  }

  take(message: Received): void {
    if (this.#closed) return;
    this.#scratch.add(message);
    this.#queue.push(this.#scratch.view());
    this.counts.messages++;
    this.counts.bytes += this.#scratch.size;
    this.#scratch.drop(this.#scratch.size);
    if (!this.required) this.#shorten();
    if (this.#sleepers.size > 0) this.#wake();
  }

  async flush(): Promise<void> {
    if (!this.required) return;
    await this.#acknowledgedUntil(nowMs() + FLUSH_DEADLINE_MS);
  }

  position(): null {
    return null;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    try {
      if (this.#link !== null) await this.#acknowledgedUntil(nowMs() + CLOSE_DEADLINE_MS);
    } catch {
      // What is required comes again; the rest was told in `trouble`.
    }
    this.#closed = true;
    this.#connecting?.abort();
    this.#end(this.#link);
    this.#wake();
    await this.#running;
  }

  #shorten(): void {
    while (this.#queue.waiting > this.#waitingMax) {
      const dropped = this.#queue.dropOldest();
      if (dropped === 0) return;
      this.counts.dropped += dropped;
    }
  }

  async #acknowledgedUntil(deadlineMs: number): Promise<void> {
    const target = this.#queue.end;
    for (let askMs = ASK_MIN_MS;; askMs = Math.min(2 * askMs, ASK_MAX_MS)) {
      this.#ask();
      if (this.#queue.acknowledged >= target) return;
      if (this.#closed || nowMs() >= deadlineMs) {
        const left = target - this.#queue.acknowledged;
        throw new Error(
          this.#trouble || `Cannot send to ${this.where} in time: ${left} bytes are not taken`,
        );
      }
      await this.#pause(askMs);
    }
  }

  async #run(): Promise<void> {
    let backoffMs = BACKOFF_MIN_MS;
    while (!this.#closed) {
      const conn = await this.#connect();
      if (conn !== null) {
        const sinceMs = nowMs();
        await this.#serve(conn);
        if (nowMs() - sinceMs >= STEADY_MS) backoffMs = BACKOFF_MIN_MS;
      }
      const untilMs = nowMs() + backoffMs;
      while (!this.#closed && nowMs() < untilMs) await this.#pause(untilMs - nowMs());
      backoffMs = Math.min(2 * backoffMs, BACKOFF_MAX_MS);
    }
  }

  async #connect(): Promise<Deno.TcpConn | null> {
    const controller = new AbortController();
    this.#connecting = controller;
    const timer = setTimeout(() => controller.abort(), CONNECT_DEADLINE_MS);
    try {
      const { signal } = controller;
      return await Deno.connect({ hostname: this.#host, port: this.#port, signal });
    } catch (error) {
      const why = controller.signal.aborted ? "no answer in time" : (error as Error).message;
      this.#trouble = `Cannot connect to ${this.where}: ${why}`;
      return null;
    } finally {
      clearTimeout(timer);
      this.#connecting = null;
    }
  }

  /** Sends until the connection is over. */
  async #serve(conn: Deno.TcpConn): Promise<void> {
    conn.setNoDelay(true); // what is written was gathered before
    const link: Link = { conn, kernel: KernelQueue.find(conn), over: false };
    this.#link = link;
    this.#trouble = "";
    if (++this.#connected > 1) this.counts.reopened++;
    const reading = this.#readAway(link);
    try {
      while (!link.over && !this.#closed) {
        const bytes = this.#queue.next();
        if (bytes === null) {
          await this.#pause();
          continue;
        }
        // Written now, it would be answered by RST, and nobody could tell any more what was read.
        if (link.kernel?.closedInOrder() === true) {
          this.#trouble = this.#closedText();
          break;
        }
        const count = await conn.write(bytes);
        if (link.over) break; // the queue went back meanwhile: this is not of the next connection
        this.#queue.advance(count);
        this.#ask();
      }
    } catch (error) {
      if (!link.over) this.#trouble = `Cannot send to ${this.where}: ${(error as Error).message}`;
    }
    this.#end(link);
    await reading;
  }

  /** Nothing is expected of the peer but its end. */
  async #readAway(link: Link): Promise<void> {
    const away = new Uint8Array(READ_BYTES);
    try {
      while (await link.conn.read(away) !== null);
      if (!link.over) this.#trouble = this.#closedText();
    } catch (error) {
      if (!link.over) this.#trouble = `Cannot send to ${this.where}: ${(error as Error).message}`;
    }
    this.#end(link);
  }

  #closedText(): string {
    return `Cannot send to ${this.where} as it closed the connection`;
  }

  /** Learns what arrived, closes, and goes back to what may not have. */
  #end(link: Link | null): void {
    if (link === null || link.over) return;
    this.#ask();
    link.over = true;
    this.#queue.rewind(link.kernel?.closedInOrder() === true);
    link.conn.close();
    this.#link = null;
    this.#wake();
  }

  #ask(): void {
    if (this.#link !== null) this.#queue.acknowledge(this.#link.kernel?.unacknowledged() ?? 0);
  }

  /** Until something changes, or a moment has passed. */
  #pause(ms?: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#sleepers.delete(wake);
        resolve();
      };
      const timer = ms === undefined ? undefined : setTimeout(wake, ms);
      this.#sleepers.add(wake);
    });
  }

  #wake(): void {
    for (const wake of [...this.#sleepers]) wake();
  }
}
