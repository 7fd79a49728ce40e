/**
 * A TCP socket that takes connections, cuts what they send into frames and hands these on. While
 * there is no room nothing more is read, so the sender's own socket fills. With acknowledgements it
 * writes back, as a decimal line, how many frames of the connection are durable.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import { delay } from "../delay.ts";
import type { MessageTaker } from "./message_taker.ts";

/** Connections at once; each has a buffer for one frame. */
export const CLIENTS_MAX = 128;
/** Half a frame is completed within this, and acknowledgements are fetched within it. */
export const IDLE_MS: number = 10 * 60 * 1000;

/** Wait after the kernel refused a connection (too many open files). */
const ACCEPT_RETRY_MS = 100;
/** After the deadline of `stop`: for those who waited for room, to see that it is over. */
const FAREWELL_MS = 1000;

const encoder = new TextEncoder();

/** Cuts a byte stream within a bounded memory: read into `room()`, say `filled()`, take `next()`. */
export interface Cutter {
  /** Frames that were skipped because they were too long. */
  readonly tooLong: number;
  /** True in the middle of a frame. */
  readonly partial: boolean;
  /** True when nobody knows where the next frame begins. */
  readonly broken?: boolean;
  /** Where the next bytes go, never empty; it ends the views that `next()` returned. */
  room(): Uint8Array<ArrayBuffer>;
  filled(count: number): void;
  /** The next whole frame, null when there is none. */
  next(): Uint8Array | null;
  /** The last frame of a stream that ended without saying so; null when there is none. */
  rest(): Uint8Array | null;
}

/** How connections are treated. */
export interface TcpRules {
  openCutter(): Cutter;
  /** Write back how many frames are durable. */
  readonly acknowledge: boolean;
  readonly clientsMax: number;
  readonly idleMs: number;
}

interface Client {
  readonly conn: Deno.TcpConn;
  readonly cutter: Cutter;
  /** Waits for bytes: nothing of its is in our hands. */
  reading: boolean;
  /** When it is closed for having left us waiting; Infinity when it does not. */
  dueMs: number;
  /** Of `cutter.tooLong`, what was counted. */
  skipped: number;
  /** Frames that were handed on, and what of them was acknowledged. */
  taken: number;
  acknowledged: number;
  acknowledging: Promise<void> | null;
  /** Ends the wait for the last acknowledgement. */
  readonly over: PromiseWithResolvers<void>;
}

/** A listening socket and its connections. */
export class TcpPort {
  /** Counts whatever the kernel handed over. */
  arrived = 0;
  /** Why no connections are accepted right now, else empty. */
  trouble = "";
  readonly #listener: Deno.TcpListener;
  readonly #rules: TcpRules;
  readonly #taker: MessageTaker;
  readonly #clients = new Set<Client>();
  readonly #work = new Set<Promise<void>>();
  #stopping = false;

  constructor(listener: Deno.TcpListener, rules: TcpRules, taker: MessageTaker) {
    this.#listener = listener;
    this.#rules = rules;
    this.#taker = taker;
    this.#track(this.#acceptAll());
  }

  /** Closes the connections that left us waiting for too long; call it now and then. */
  closeLate(): void {
    const now = nowMs();
    for (const client of this.#clients) {
      if (now < client.dueMs) continue;
      client.over.resolve();
      close(client.conn);
    }
  }

  /** Takes no more connections and bytes; what is held is offered until `deadlineMs`. */
  async stop(deadlineMs: number): Promise<void> {
    close(this.#listener);
    this.#stopping = true;
    for (const client of this.#clients) if (client.reading) closeAcknowledged(client);
    if (await this.#ended(deadlineMs)) return;
    this.#taker.abandon();
    for (const client of this.#clients) {
      client.over.resolve();
      close(client.conn);
    }
    await this.#ended(nowMs() + FAREWELL_MS);
  }

  /** True when all connections were over by then. */
  async #ended(deadlineMs: number): Promise<boolean> {
    const timer = new AbortController();
    const ended = await Promise.race([
      Promise.all(this.#work).then(() => true),
      delay(Math.max(0, deadlineMs - nowMs()), timer.signal).then(() => false),
    ]);
    timer.abort();
    return ended;
  }

  async #acceptAll(): Promise<void> {
    while (!this.#stopping) {
      try {
        const conn = await this.#listener.accept();
        this.arrived++;
        this.trouble = "";
        if (this.#clients.size < this.#rules.clientsMax) this.#track(this.#serve(conn));
        else {
          this.#taker.counts.refused++;
          close(conn);
        }
      } catch (error) {
        if (this.#stopping) return;
        this.trouble = `Cannot accept connections: ${(error as Error).message}; raise the limit ` +
          "of open files or close some";
        await delay(ACCEPT_RETRY_MS);
      }
    }
  }

  async #serve(conn: Deno.TcpConn): Promise<void> {
    const { counts } = this.#taker;
    const client: Client = {
      conn,
      cutter: this.#rules.openCutter(),
      reading: false,
      dueMs: Infinity,
      skipped: 0,
      taken: 0,
      acknowledged: 0,
      acknowledging: null,
      over: Promise.withResolvers<void>(),
    };
    this.#clients.add(client);
    counts.clients++;
    try {
      conn.setKeepAlive(true);
      await this.#readAll(client);
    } catch {
      // The connection broke, or was closed here: what was whole has been taken.
    }
    if (client.cutter.partial) counts.refused++; // broken ones end there too
    client.dueMs = nowMs() + this.#rules.idleMs;
    await Promise.race([client.acknowledging, client.over.promise]);
    this.#clients.delete(client);
    counts.clients--;
    close(conn);
  }

  async #readAll(client: Client): Promise<void> {
    const { conn, cutter } = client;
    while (!this.#stopping) {
      client.reading = true;
      const count = await conn.read(cutter.room());
      client.reading = false;
      this.arrived++;
      const { taken, dueMs } = client;
      client.dueMs = Infinity; // from here on it waits for us
      if (count === null) {
        const rest = cutter.rest();
        if (this.#follows(client) && rest !== null) await this.#take(client, rest);
        this.#acknowledge(client);
        return;
      }
      cutter.filled(count);
      const goOn = await this.#takeFrames(client);
      this.#acknowledge(client);
      if (!goOn) return;
      if (!cutter.partial) continue;
      const since = client.taken > taken ? Infinity : dueMs;
      client.dueMs = since === Infinity ? nowMs() + this.#rules.idleMs : since;
    }
  }

  /** Takes every whole frame; false when the connection is to be closed. */
  async #takeFrames(client: Client): Promise<boolean> {
    const { cutter } = client;
    for (let frame = cutter.next(); frame !== null; frame = cutter.next()) {
      if (!this.#follows(client)) return false;
      const later = this.#take(client, frame);
      if (later === null || await later) continue;
      if (this.#rules.acknowledge) return false; // its sender keeps it and what follows
    }
    return this.#follows(client) && !cutter.broken;
  }

  #take(client: Client, frame: Uint8Array): Promise<boolean> | null {
    const { acknowledge } = this.#rules;
    const later = this.#taker.take(frame, acknowledge);
    if (later === null) {
      client.taken++;
      return null;
    }
    this.#acknowledge(client); // what came before it; it may wait for long
    return later.then((taken) => {
      if (taken) client.taken++;
      return taken;
    });
  }

  /**
   * Counts frames that were skipped. False when one was and frames are acknowledged: any number
   * after it would make the sender forget a wrong one, so the connection ends before it.
   */
  #follows(client: Client): boolean {
    const skipped = client.cutter.tooLong - client.skipped;
    client.skipped += skipped;
    this.#taker.counts.refused += skipped;
    return skipped === 0 || !this.#rules.acknowledge;
  }

  #acknowledge(client: Client): void {
    if (!this.#rules.acknowledge || client.acknowledging !== null) return;
    if (client.acknowledged < client.taken) client.acknowledging = this.#acknowledgeAll(client);
  }

  /** One number at a time: while a commit or the sender takes long, the next number grows. */
  async #acknowledgeAll(client: Client): Promise<void> {
    try {
      while (client.acknowledged < client.taken) {
        const { taken } = client;
        await this.#taker.durable();
        const line = encoder.encode(`${taken}\n`);
        for (let at = 0; at < line.length;) at += await client.conn.write(line.subarray(at));
        client.acknowledged = taken;
      }
    } catch {
      close(client.conn); // the sender is gone, or the spool does not answer for what it took
    }
    client.acknowledging = null; // in one step with the last comparison: no number is forgotten
  }

  #track(work: Promise<void>): void {
    this.#work.add(work);
    work.finally(() => this.#work.delete(work));
  }
}

/** Ends the wait for bytes, once what was taken is acknowledged. */
async function closeAcknowledged(client: Client): Promise<void> {
  await client.acknowledging;
  close(client.conn);
}

function close(closable: { close(): void }): void {
  try {
    closable.close();
  } catch {
    // It was closed already.
  }
}
