/**
 * Three sources of a gateway at load, in a process of their own as they run inside a namespace:
 * HTTP batches, TCP lines that are acknowledged, and a file that grows. Each message is
 * `SOURCE NUMBER xxx…`; none is sent twice, so that a number that comes twice was doubled on the
 * way. Ends when standard input ends; prints what was durable then as JSON.
 *
 *     gateway_load.ts HTTP_PORT TCP_PORT FILE MESSAGES_PER_SECOND
 *
 * @module
 */
import { printError, printLine } from "../../src/app/terminal.ts";
import { readCounts } from "./durable_counts.ts";

/** Of each message. */
const MESSAGE_BYTES = 256;
const BATCH = 50;
const HTTP_TIMEOUT_MS = 10_000;
const PAUSE_MS = 20;

/** Numbers of a source that are durable, as ranges [from, to). */
export interface Durable {
  readonly sent: number;
  readonly durable: [number, number][];
}

/** What the process prints. */
export interface LoadReport {
  readonly http: Durable;
  readonly tcp: Durable;
  readonly file: Durable;
}

const encoder = new TextEncoder();

/** The text of a message, without its newline. */
function message(source: string, number: number): string {
  return `${source} ${number} `.padEnd(MESSAGE_BYTES, "x");
}

function batch(source: string, from: number, count: number): Uint8Array<ArrayBuffer> {
  const lines = Array.from({ length: count }, (_, at) => `${message(source, from + at)}\n`);
  return encoder.encode(lines.join(""));
}

/** Paces one source: sleeps so that so many messages a second are sent. */
class Pace {
  readonly #perSecond: number;
  #dueMs = performance.now();

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
  }

  async wait(count: number): Promise<void> {
    this.#dueMs = Math.max(this.#dueMs + count * 1000 / this.#perSecond, performance.now() - 1000);
    await sleep(this.#dueMs - performance.now());
  }
}

let running = true;

async function sendHttp(port: number, perSecond: number): Promise<Durable> {
  const durable: [number, number][] = [];
  const pace = new Pace(perSecond);
  let next = 0;
  while (running) {
    const from = next;
    next += BATCH;
    try {
      const response = await fetch(`http://127.0.0.1:${port}/http`, {
        method: "POST",
        headers: { "content-type": "text/plain" },
        body: batch("http", from, BATCH),
        signal: AbortSignal.timeout(HTTP_TIMEOUT_MS),
      });
      await response.body?.cancel();
      if (response.status === 202) durable.push([from, next]);
      else await sleep(PAUSE_MS);
    } catch {
      await sleep(PAUSE_MS); // it is being restarted: nobody knows what became of the batch
    }
    await pace.wait(BATCH);
  }
  return { sent: next, durable };
}

async function sendTcp(port: number, perSecond: number): Promise<Durable> {
  const durable: [number, number][] = [];
  const pace = new Pace(perSecond);
  let next = 0;
  while (running) {
    try {
      using conn = await Deno.connect({ hostname: "127.0.0.1", port });
      const first = next;
      let told = 0;
      const listening = readCounts(conn, (count) => told = count);
      try {
        while (running) {
          const bytes = batch("tcp", next, BATCH);
          next += BATCH;
          await writeAll(conn, bytes);
          await pace.wait(BATCH);
        }
        const deadline = performance.now() + HTTP_TIMEOUT_MS;
        while (told < next - first && performance.now() < deadline) await sleep(PAUSE_MS);
      } catch {
        // the connection broke
      } finally {
        durable.push([first, first + told]);
        try {
          await conn.closeWrite();
        } catch {
          // it is broken already
        }
        await listening;
        durable[durable.length - 1] = [first, first + told];
      }
    } catch {
      await sleep(PAUSE_MS);
    }
  }
  return { sent: next, durable };
}

async function writeFile(path: string, perSecond: number): Promise<Durable> {
  using file = await Deno.open(path, { append: true, create: true });
  const pace = new Pace(perSecond);
  let next = 0;
  while (running) {
    await writeAll(file, batch("file", next, BATCH));
    next += BATCH;
    await pace.wait(BATCH);
  }
  return { sent: next, durable: [[0, next]] };
}

async function writeAll(
  to: { write(bytes: Uint8Array): Promise<number> },
  bytes: Uint8Array,
): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await to.write(bytes.subarray(at));
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}

if (import.meta.main) {
  const [httpPort, tcpPort, path, rate] = Deno.args;
  const perSecond = Number(rate);
  const work = Promise.all([
    sendHttp(Number(httpPort), perSecond),
    sendTcp(Number(tcpPort), perSecond),
    writeFile(path!, perSecond),
  ]);
  printError("started");
  for await (const _ of Deno.stdin.readable) {
    // whoever started us says when to end by closing this
  }
  running = false;
  const [http, tcp, file] = await work;
  printLine(JSON.stringify({ http, tcp, file } satisfies LoadReport));
}
