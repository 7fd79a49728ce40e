/**
 * Clients that publish numbered messages and note what was acknowledged: MQTT 3.1.1 with QoS 1 over
 * a raw socket, lines over TCP that are acknowledged by a running count, and HTTP batches. None
 * sends a message again: whatever arrives twice was doubled on the way.
 *
 * @module
 */
import { delay } from "../../src/app/delay.ts";
import { type Ledger, writeMessage } from "./gateway_messages.ts";

/** What a client is to send. */
export interface Load {
  ledger: Ledger;
  pace: Pace;
  /** Of each payload. */
  sizeBytes: number;
}

/** Where to. */
export interface Target {
  hostname: string;
  port: number;
}

/** When messages may be sent. */
export interface Pace {
  /** Takes up to `max` that are due now; none when fewer than `min` are due and more will be. */
  take(max: number, min?: number): number;
  /** Whether there will be no more. */
  readonly over: boolean;
}

/** So many, as fast as they go. */
export class Flood implements Pace {
  #left: number;

  /** @param count of messages */
  constructor(count: number) {
    this.#left = count;
  }

  get over(): boolean {
    return this.#left === 0;
  }

  take(max: number): number {
    const count = Math.min(max, this.#left);
    this.#left -= count;
    return count;
  }
}

/** What was not taken for so long is not due any more. */
const DEBT_SECONDS = 0.2;

/** A steady rate; what nobody could take in its time is not sent later. */
export class Steady implements Pace {
  readonly #perMs: number;
  readonly #untilMs: number;
  readonly #clock: () => number;
  #lastMs: number;
  #due = 0;

  /** @param clock in milliseconds */
  constructor(perSecond: number, seconds: number, clock: () => number = () => performance.now()) {
    this.#perMs = perSecond / 1000;
    this.#clock = clock;
    this.#lastMs = clock();
    this.#untilMs = this.#lastMs + seconds * 1000;
  }

  get over(): boolean {
    return this.#clock() >= this.#untilMs;
  }

  take(max: number, min = 1): number {
    const nowMs = this.#clock();
    const debtMax = Math.max(min, this.#perMs * 1000 * DEBT_SECONDS);
    this.#due = Math.min(this.#due + (nowMs - this.#lastMs) * this.#perMs, debtMax);
    this.#lastMs = nowMs;
    if (this.over || this.#due < min) return 0;
    const count = Math.min(max, Math.floor(this.#due));
    this.#due -= count;
    return count;
  }
}

const IDLE_MS = 2;

// ---- connections with many in flight

/** How a protocol looks on the wire. */
interface Protocol {
  /** Bytes of a message above its payload, at most. */
  readonly overhead: number;
  /** Begins a connection. */
  open(conn: Deno.TcpConn, ledger: Ledger): Promise<void>;
  /** Writes a message; returns the offset after it. */
  write(into: Uint8Array, at: number, ledger: Ledger, id: number, size: number): number;
  /** Reads what the other end says; returns how many messages were acknowledged with it. */
  read(bytes: Uint8Array, ledger: Ledger): number;
  /** Says that there is no more; the other end is to close then. */
  close(conn: Deno.TcpConn): Promise<void>;
}

/** Messages written with one call. */
const WRITE_MESSAGES = 256;
const READ_BYTES = 64 * 1024;

/**
 * Sends a load over one connection; resolves when all of it was acknowledged.
 *
 * @param inFlight messages that may be sent and not acknowledged
 * @throws when the connection ends before
 */
export async function publishMqtt(target: Target, load: Load, inFlight: number): Promise<void> {
  await publish(target, load, inFlight, new Mqtt());
}

/** The same with lines over TCP. */
export async function publishLines(target: Target, load: Load, inFlight: number): Promise<void> {
  await publish(target, load, inFlight, new Lines());
}

async function publish(
  target: Target,
  load: Load,
  inFlight: number,
  protocol: Protocol,
): Promise<void> {
  using conn = await Deno.connect(target);
  conn.setNoDelay(true);
  await protocol.open(conn, load.ledger);
  const connection = new Connection(conn, load, inFlight, protocol);
  await connection.run();
}

class Connection {
  readonly #conn: Deno.TcpConn;
  readonly #load: Load;
  readonly #inFlightMax: number;
  readonly #protocol: Protocol;
  #inFlight = 0;
  #ended = false;
  #hungUp = false;
  #changed = Promise.withResolvers<void>();

  constructor(conn: Deno.TcpConn, load: Load, inFlightMax: number, protocol: Protocol) {
    this.#conn = conn;
    this.#load = load;
    this.#inFlightMax = inFlightMax;
    this.#protocol = protocol;
  }

  async run(): Promise<void> {
    const reading = this.#readAll();
    reading.catch(() => {}); // it is waited for below, whatever happens before
    try {
      await this.#writeAll();
    } catch (error) {
      this.#conn.close();
      throw error;
    }
    await reading;
  }

  async #writeAll(): Promise<void> {
    const { ledger, pace, sizeBytes } = this.#load;
    const protocol = this.#protocol;
    const bytes = new Uint8Array(WRITE_MESSAGES * (sizeBytes + protocol.overhead));
    while (!pace.over && !this.#hungUp) {
      const room = Math.min(WRITE_MESSAGES, this.#inFlightMax - this.#inFlight);
      const count = room === 0 ? 0 : pace.take(room);
      if (room === 0) await this.#acknowledgement();
      else if (count === 0) await delay(IDLE_MS);
      if (count === 0) continue;
      const first = ledger.begin(count);
      let end = 0;
      for (let id = first; id < first + count; id++) {
        end = protocol.write(bytes, end, ledger, id, sizeBytes);
      }
      this.#inFlight += count;
      await writeAll(this.#conn, bytes.subarray(0, end));
    }
    while (this.#inFlight > 0 && !this.#hungUp) await this.#acknowledgement();
    if (this.#hungUp) return;
    this.#ended = true;
    await protocol.close(this.#conn);
  }

  /** Waits until something was acknowledged, or the other end hung up. */
  async #acknowledgement(): Promise<void> {
    this.#changed = Promise.withResolvers<void>();
    await this.#changed.promise;
  }

  async #readAll(): Promise<void> {
    try {
      const bytes = new Uint8Array(READ_BYTES);
      for (;;) {
        const got = await this.#conn.read(bytes);
        if (got === null) break;
        this.#inFlight -= this.#protocol.read(bytes.subarray(0, got), this.#load.ledger);
        this.#changed.resolve();
      }
    } finally {
      this.#hungUp = true;
      this.#changed.resolve();
    }
    if (this.#ended) return;
    throw new Error(`The other end hung up with ${this.#inFlight} messages in flight`);
  }
}

async function writeAll(conn: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}

async function readExactly(conn: Deno.TcpConn, count: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(count);
  for (let at = 0; at < count;) {
    const got = await conn.read(bytes.subarray(at));
    if (got === null) throw new Error(`The other end hung up after ${at} of ${count} bytes`);
    at += got;
  }
  return bytes;
}

// ---- MQTT 3.1.1

/** Topic of all messages. */
export const TOPIC = "bench/lines";

const PACKET_IDS = 65_535;
const PUBLISH_QOS1 = 0x32;
const PUBACK = 0x40;
const ACKNOWLEDGEMENT_SIZE = 4;
const DISCONNECT = new Uint8Array([0xe0, 0]);
const encoder = new TextEncoder();
const TOPIC_BYTES = encoder.encode(TOPIC);

/** Fixed header, topic and packet identifier: sections 3.1, 3.3 and 3.4. */
class Mqtt implements Protocol {
  readonly overhead = 1 + 4 + 2 + TOPIC_BYTES.length + 2;
  /** What a packet identifier stands for. */
  readonly #messages = new Int32Array(PACKET_IDS + 1);
  readonly #packet = new Uint8Array(ACKNOWLEDGEMENT_SIZE);
  #held = 0;

  /** Clean session, no keep alive; an identifier made by the server, section 3.1.3.1. */
  async open(conn: Deno.TcpConn): Promise<void> {
    await writeAll(conn, Uint8Array.fromHex("100c00044d515454040200000000"));
    const answer = await readExactly(conn, ACKNOWLEDGEMENT_SIZE);
    if (answer.toHex() !== "20020000") throw new Error(`Cannot connect: ${answer.toHex()}`);
  }

  write(into: Uint8Array, at: number, ledger: Ledger, id: number, size: number): number {
    const packetId = 1 + id % PACKET_IDS;
    this.#messages[packetId] = id;
    into[at++] = PUBLISH_QOS1;
    let length = 2 + TOPIC_BYTES.length + 2 + size;
    for (; length > 0x7f; length >>>= 7) into[at++] = length & 0x7f | 0x80;
    into[at++] = length;
    into[at++] = TOPIC_BYTES.length >> 8;
    into[at++] = TOPIC_BYTES.length & 0xff;
    into.set(TOPIC_BYTES, at);
    at += TOPIC_BYTES.length;
    into[at++] = packetId >> 8;
    into[at++] = packetId & 0xff;
    return writeMessage(into, at, ledger.source, id, size);
  }

  read(bytes: Uint8Array, ledger: Ledger): number {
    let count = 0;
    for (const byte of bytes) {
      this.#packet[this.#held++] = byte;
      if (this.#held < ACKNOWLEDGEMENT_SIZE) continue;
      this.#held = 0;
      const [type, length, high, low] = this.#packet as unknown as [number, number, number, number];
      if (type !== PUBACK || length !== 2) {
        throw new Error(`Cannot read an answer as it must be PUBACK: ${this.#packet.toHex()}`);
      }
      ledger.acknowledge(this.#messages[high << 8 | low]!);
      count++;
    }
    return count;
  }

  async close(conn: Deno.TcpConn): Promise<void> {
    await writeAll(conn, DISCONNECT);
  }
}

// ---- lines

const LF = 0x0a;

/** The answer is a line with the number of this connection's lines that are on disk. */
class Lines implements Protocol {
  readonly overhead = 1;
  readonly #decoder = new TextDecoder();
  #first = 0;
  #acknowledged = 0;
  #text = "";

  open(_conn: Deno.TcpConn, ledger: Ledger): Promise<void> {
    this.#first = ledger.sent;
    return Promise.resolve();
  }

  write(into: Uint8Array, at: number, ledger: Ledger, id: number, size: number): number {
    const end = writeMessage(into, at, ledger.source, id, size);
    into[end] = LF;
    return end + 1;
  }

  read(bytes: Uint8Array, ledger: Ledger): number {
    const lines = (this.#text + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#text = lines.pop()!;
    const before = this.#acknowledged;
    for (const line of lines) {
      if (!/^\d+$/.test(line)) {
        throw new Error(`Cannot read an answer as it must be a count: ${line}`);
      }
      while (this.#acknowledged < Number(line)) {
        ledger.acknowledge(this.#first + this.#acknowledged++);
      }
    }
    return this.#acknowledged - before;
  }

  async close(conn: Deno.TcpConn): Promise<void> {
    await conn.closeWrite();
  }
}

// ---- HTTP

/**
 * Sends a load as requests, one after the other; several of these at once share a ledger.
 *
 * @param batch lines of a request
 * @throws when a request is not answered with 202
 */
export async function publishHttp(target: Target, load: Load, batch: number): Promise<void> {
  const { ledger, pace, sizeBytes } = load;
  const url = `http://${target.hostname}:${target.port}/bench`;
  const headers = { "content-type": "text/plain" };
  const bytes = new Uint8Array(batch * (sizeBytes + 1));
  while (!pace.over) {
    const count = pace.take(batch, batch);
    if (count === 0) {
      await delay(IDLE_MS);
      continue;
    }
    const first = ledger.begin(count);
    let end = 0;
    for (let id = first; id < first + count; id++) {
      end = writeMessage(bytes, end, ledger.source, id, sizeBytes);
      bytes[end++] = LF;
    }
    const body = bytes.subarray(0, end);
    const answer = await fetch(url, { method: "POST", headers, body });
    const text = await answer.text();
    if (answer.status !== 202) throw new Error(`POST was answered ${answer.status}: ${text}`);
    for (let id = first; id < first + count; id++) ledger.acknowledge(id);
  }
}
