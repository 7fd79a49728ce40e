/**
 * A load of numbered messages as a process of its own, so that it can stand inside a network
 * namespace:
 *
 *     flood CLIENT PORT SOURCE SIZE COUNT
 *     steady CLIENT PORT SOURCE SIZE RATE SECONDS LEDGER
 *
 * CLIENT is `http`, `lines` or `mqtt`, SOURCE the letter of the messages. `flood` sends as fast as it
 * goes, and prints when it began and when all was acknowledged, in milliseconds since 1970. `steady`
 * goes on over every break until the time is over; it prints now and then how far it is, and leaves in
 * the file LEDGER one byte for each message it sent: 1 when it was acknowledged.
 *
 * @module
 */
import { delay } from "../../src/app/delay.ts";
import { printLine } from "../../src/app/terminal.ts";
import {
  Flood,
  type Load,
  publishHttp,
  publishLines,
  publishMqtt,
  Steady,
  type Target,
} from "./gateway_clients.ts";
import { Ledger } from "./gateway_messages.ts";

/** Lines of an HTTP request, and requests at once. */
export const HTTP_BATCH = 1000;
/** Connections of the HTTP load. */
export const HTTP_CONNECTIONS = 4;
/** Messages that are sent and not acknowledged: far more than a commit takes. */
export const IN_FLIGHT = 4000;

/** A kind of client. */
export type Client = "http" | "lines" | "mqtt";

/** What a steady load prints. */
export interface Progress {
  sent: number;
  acknowledged: number;
  /** The highest identifier that was acknowledged. */
  last: number;
  /** Connections that ended before the time was over. */
  breaks: number;
  over: boolean;
}

/** What a flood prints. */
export interface Flooded {
  startedMs: number;
  acknowledgedMs: number;
}

const PROGRESS_MS = 50;
const RECONNECT_MS = 50;

if (import.meta.main) {
  const [how, client, port, source, size, ...rest] = Deno.args as [string, Client, ...string[]];
  const target = { hostname: "127.0.0.1", port: Number(port) };
  const ledger = new Ledger(source!);
  const sizeBytes = Number(size);
  if (how === "flood") {
    const load = { ledger, pace: new Flood(Number(rest[0])), sizeBytes };
    printLine(JSON.stringify(await flood(client, target, load)));
  } else {
    const pace = new Steady(Number(rest[0]), Number(rest[1]));
    await steady(client, target, { ledger, pace, sizeBytes });
    await Deno.writeFile(rest[2]!, ledger.bytes());
  }
}

/** Sends it all; fails with the first connection that does. */
async function flood(client: Client, target: Target, load: Load): Promise<Flooded> {
  const startedMs = epochMs();
  await publishOnce(client, target, load);
  return { startedMs, acknowledgedMs: epochMs() };
}

/** What was in flight when a connection broke is never sent again: nobody knows whether it counts. */
async function steady(client: Client, target: Target, load: Load): Promise<void> {
  const { ledger } = load;
  let breaks = 0;
  const tell = (): void => {
    const { acknowledged, last, sent } = ledger;
    const progress: Progress = { sent, acknowledged, last, breaks, over: load.pace.over };
    printLine(JSON.stringify(progress));
  };
  const timer = setInterval(tell, PROGRESS_MS);
  while (!load.pace.over) {
    try {
      await publishOnce(client, target, load);
    } catch {
      breaks++;
      await delay(RECONNECT_MS);
    }
  }
  clearInterval(timer);
  tell();
}

async function publishOnce(client: Client, target: Target, load: Load): Promise<void> {
  if (client === "mqtt") return await publishMqtt(target, load, IN_FLIGHT);
  if (client === "lines") return await publishLines(target, load, IN_FLIGHT);
  const connections = Array.from(
    { length: HTTP_CONNECTIONS },
    () => publishHttp(target, load, HTTP_BATCH),
  );
  await Promise.all(connections);
}

function epochMs(): number {
  return performance.timeOrigin + performance.now();
}
