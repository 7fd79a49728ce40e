/**
 * A program of the tests: sends numbered lines to a gateway and counts what it acknowledges. A connection
 * that breaks is made anew, and what was not acknowledged by then is not sent again: so a line that is
 * in the hub's file twice was doubled on the way. SIGTERM ends it, with a report.
 *
 *     standby_sender.ts HOST PORT WINDOW BYTES
 *
 * @module
 */
import { printLine } from "../../src/app/terminal.ts";
import { readCounts } from "./durable_counts.ts";

/** What it has seen. */
export interface SenderReport {
  /** Numbers given: 0 to one less. */
  readonly sent: number;
  /** Which of them were acknowledged: from, to one less. */
  readonly acknowledged: readonly (readonly [number, number])[];
  /** Between the last acknowledgement of a connection and the first of the next one. */
  readonly gapsMs: readonly number[];
  /** Lines acknowledged, and the time in which they were, without the gaps. */
  readonly count: number;
  readonly seconds: number;
  /** From writing a line to its acknowledgement. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly worstMs: number;
}

const RETRY_MS = 5;
const CONNECT_MS = 250;
/** A connection that says nothing for so long is given up. */
const STALL_MS = 1500;
const SAY_MS = 50;
const LATENCIES_MAX = 200_000;

/** One sender. */
class Sender {
  readonly #host: string;
  readonly #port: number;
  readonly #window: number;
  readonly #bytes: number;
  #running = true;
  #next = 0;
  #acknowledged: [number, number][] = [];
  #gapsMs: number[] = [];
  #latenciesMs: number[] = [];
  #count = 0;
  #lastMs = -1;
  #busyMs = 0;

  constructor(host: string, port: number, window: number, bytes: number) {
    this.#host = host;
    this.#port = port;
    this.#window = window;
    this.#bytes = bytes;
  }

  get count(): number {
    return this.#count;
  }

  stop(): void {
    this.#running = false;
  }

  async run(): Promise<SenderReport> {
    while (this.#running) {
      const conn = await this.#connect();
      if (conn === null) await sleep(RETRY_MS);
      else await this.#use(conn);
    }
    const sorted = this.#latenciesMs.sort((a, b) => a - b);
    const at = (share: number): number => sorted[Math.floor(sorted.length * share)] ?? 0;
    return {
      sent: this.#next,
      acknowledged: this.#acknowledged,
      gapsMs: this.#gapsMs,
      count: this.#count,
      seconds: this.#busyMs / 1000,
      p50Ms: at(0.5),
      p99Ms: at(0.99),
      worstMs: sorted.at(-1) ?? 0,
    };
  }

  async #connect(): Promise<Deno.TcpConn | null> {
    const { promise, resolve } = Promise.withResolvers<Deno.TcpConn | null>();
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      resolve(null);
    }, CONNECT_MS);
    Deno.connect({ hostname: this.#host, port: this.#port }).then((conn) => {
      if (late) conn.close();
      else resolve(conn);
    }, () => resolve(null));
    const conn = await promise;
    clearTimeout(timer);
    return conn;
  }

  async #use(conn: Deno.TcpConn): Promise<void> {
    const first = this.#next;
    const range: [number, number] = [first, first];
    this.#acknowledged.push(range);
    const sentMs: number[] = [];
    let room = Promise.withResolvers<void>();
    let open = true;
    let heardMs = performance.now();
    const stall = setInterval(() => {
      if (performance.now() - heardMs > STALL_MS) close(conn);
    }, STALL_MS / 5);
    const reading = readCounts(conn, (told) => {
      const now = performance.now();
      heardMs = now;
      if (range[1] === first && this.#lastMs >= 0) this.#gapsMs.push(now - this.#lastMs);
      else if (this.#lastMs >= 0) this.#busyMs += now - this.#lastMs;
      this.#lastMs = now;
      for (; range[1] < first + told; range[1]++) {
        this.#count++;
        const latency = now - sentMs[range[1] - first]!;
        if (this.#latenciesMs.length < LATENCIES_MAX) this.#latenciesMs.push(latency);
      }
      room.resolve();
    }).then(() => {
      open = false;
      room.resolve();
    });
    const encoder = new TextEncoder();
    try {
      while (open && this.#running) {
        const free = this.#window - (this.#next - range[1]);
        if (free === 0) {
          room = Promise.withResolvers<void>();
          await room.promise;
          continue;
        }
        const lines: string[] = [];
        for (let count = 0; count < free; count++) {
          sentMs.push(performance.now());
          lines.push(`${this.#next++} `.padEnd(this.#bytes - 1, "x"));
        }
        const bytes = encoder.encode(`${lines.join("\n")}\n`);
        for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
      }
      const deadline = performance.now() + STALL_MS;
      while (open && range[1] < this.#next && performance.now() < deadline) await sleep(RETRY_MS);
    } catch {
      // it broke
    }
    clearInterval(stall);
    close(conn);
    await reading;
  }
}

function close(conn: Deno.TcpConn): void {
  try {
    conn.close();
  } catch {
    // it is closed already
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

if (import.meta.main) {
  const [host, ...numbers] = Deno.args;
  const [port, window, bytes] = numbers.map(Number) as [number, number, number];
  const sender = new Sender(host!, port, window, bytes);
  Deno.addSignalListener("SIGTERM", () => sender.stop());
  const saying = setInterval(() => printLine(`${sender.count}`), SAY_MS);
  const report = await sender.run();
  clearInterval(saying);
  printLine(JSON.stringify(report));
  Deno.exit(0);
}
