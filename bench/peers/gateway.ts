/**
 * The durable path: messages of 256 bytes from a client's socket over the gateway's spool to the hub's
 * file, on disk before they are acknowledged; beside mosquitto with a bridge to a second one, whose
 * subscriber writes the file (QoS 1 all the way, persistence on, saved once a second). Then both under
 * the same cut: see gateway_cut.ts.
 *
 * @module
 */
import { type Daemon, must } from "../../tests/interop/processes.ts";
import type { StatusReport } from "../../src/app/status/health.ts";
import { delay } from "../../src/app/delay.ts";
import { installBrokers } from "./brokers.ts";
import type { Context, Family } from "./family.ts";
import { cutRows } from "./gateway_cut.ts";
import { type Client, type Flooded, HTTP_BATCH, IN_FLIGHT } from "./gateway_load.ts";
import { tallyFile } from "./gateway_messages.ts";
import { FairleadPair, LOOPBACK, MosquittoPair, type Pair, type Saving } from "./gateway_pairs.ts";
import { writtenBytes } from "./gateway_process.ts";
import { cpuMicroseconds } from "./process_stat.ts";
import { durationText, median, rateText, reported, type Row, sizeText } from "./table.ts";

const NAME = "gateway";
const LOAD = new URL("./gateway_load.ts", import.meta.url).pathname;
const DEADLINE_MS = 120_000;

const SIZE = 256;
/** A run lasts some seconds. */
const COUNTS: Record<Client, number> = { http: 500_000, lines: 300_000, mqtt: 200_000 };
/** Before it is measured; its source has the same letter as a capital. */
const WARM_UP = 50_000;
const SOURCES: Record<Client, string> = { http: "h", lines: "l", mqtt: "m" };
/** Of the two the faster one; either way mosquitto acknowledges before it has saved. */
const SAVING: Saving = "each second";
const ARRIVED_MS = 2;
/** Acknowledgements are stored once a second: that belongs to what a message costs. */
const SETTLE_MS = 1500;

/** What one load came to. */
interface Figures {
  perSecond: number;
  /** CPU of a message, in nanoseconds. */
  nearNs: number;
  farNs: number;
  /** Written to the box's disk for a message. */
  writtenBytes: number;
}

/** The durable path and the cut. */
export const gatewayFamily: Family = {
  name: NAME,
  about:
    "the durable path from socket to far file, and what a cut loses, beside mosquitto's bridge",
  run,
};

async function run(context: Context): Promise<Row[]> {
  await installBrokers(context.say);
  return [...await pathRows(context), ...await cutRows(context, NAME)];
}

// ---- the durable path

async function pathRows({ directory, rounds, say }: Context): Promise<Row[]> {
  const ours: Record<Client, Figures[]> = { http: [], lines: [], mqtt: [] };
  const theirs: Figures[] = [];
  for (let round = 1; round <= rounds; round++) {
    {
      const place = await Deno.makeTempDir({ dir: directory });
      await using pair = await FairleadPair.start(place, LOOPBACK);
      for (const client of ["http", "lines", "mqtt"] as const) {
        ours[client].push(await measure(pair, client, () => spoolWritten(pair)));
      }
      await checkFile(pair, ["http", "lines", "mqtt"]);
    }
    {
      const place = await Deno.makeTempDir({ dir: directory });
      await using pair = await MosquittoPair.start(place, LOOPBACK, SAVING);
      theirs.push(await measure(pair, "mqtt", () => Promise.resolve(writtenBytes(pair.near.pid))));
      await checkFile(pair, ["mqtt"]);
    }
    const told = Object.entries({ ...ours, mosquitto: theirs })
      .map(([name, all]) => `${name} ${rateText(all.at(-1)!.perSecond)}`);
    say(`round ${round} of ${rounds}: ${told.join(", ")}`);
  }
  return rowsOf(ours, theirs);
}

/** From the first message sent to the last one in the far file. */
async function measure(
  pair: Pair,
  client: Client,
  written: () => Promise<number>,
): Promise<Figures> {
  const { far, near } = pair;
  await flood(pair, client, SOURCES[client].toUpperCase(), WARM_UP);
  await delay(SETTLE_MS);
  const count = COUNTS[client];
  const cpuOf = (daemons: readonly Daemon[]): number =>
    daemons.reduce((sum, { pid }) => sum + cpuMicroseconds(pid), 0);
  const before = { near: cpuOf([near]), far: cpuOf(far), written: await written() };
  const { endedMs, startedMs } = await flood(pair, client, SOURCES[client], count);
  await delay(SETTLE_MS);
  return {
    perSecond: count * 1000 / (endedMs - startedMs),
    nearNs: (cpuOf([near]) - before.near) * 1000 / count,
    farNs: (cpuOf(far) - before.far) * 1000 / count,
    writtenBytes: (await written() - before.written) / count,
  };
}

/** Sends so many, and waits until the far file has grown by them; every line has one size. */
async function flood(
  pair: Pair,
  client: Client,
  source: string,
  count: number,
): Promise<{ startedMs: number; endedMs: number }> {
  const wanted = sizeOf(pair.farPath) + count * (SIZE + 1);
  const argv = [Deno.execPath(), "run", "-A", LOAD, "flood", client, `${pair.ports[client]}`];
  const words = [source, `${SIZE}`, `${count}`];
  const load = must([...argv, ...words], { deadlineMs: DEADLINE_MS });
  const endedMs = arrival(pair.farPath, wanted);
  const { startedMs }: Flooded = JSON.parse(await load);
  return { startedMs, endedMs: await endedMs };
}

async function arrival(path: string, wanted: number): Promise<number> {
  const untilMs = performance.now() + DEADLINE_MS;
  while (sizeOf(path) < wanted) {
    if (performance.now() > untilMs) {
      throw new Error(`Cannot wait for the far file: it has ${sizeOf(path)} of ${wanted} bytes`);
    }
    await delay(ARRIVED_MS);
  }
  return performance.timeOrigin + performance.now();
}

function sizeOf(path: string): number {
  try {
    return Deno.statSync(path).size;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0; // nothing has arrived
    throw error;
  }
}

/** What the gateway itself says that it has written. */
async function spoolWritten({ ports }: FairleadPair): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${ports.status}/api/status`);
  const { spool }: StatusReport = await answer.json();
  return spool!.bytesWrittenPerMessage * spool!.committed;
}

/** A figure counts only when every message came exactly once. */
async function checkFile({ farPath, name }: Pair, clients: readonly Client[]): Promise<void> {
  const tally = await tallyFile(farPath, SIZE);
  for (const client of clients) {
    const source = SOURCES[client];
    const { count, doubled } = tally.of(source);
    if (count === COUNTS[client] && doubled === 0) continue;
    throw new Error(
      `Cannot compare ${name} as ${client} must bring ${COUNTS[client]} messages once: ` +
        `${count} came, ${doubled} of them again`,
    );
  }
}

function rowsOf(
  ours: Record<Client, readonly Figures[]>,
  theirs: readonly Figures[],
): Row[] {
  const of = (all: readonly Figures[], key: keyof Figures): number =>
    median(all.map((figures) => figures[key]));
  const rate = (all: readonly Figures[]): number => of(all, "perSecond");
  const cpu = (all: readonly Figures[]): string =>
    `${durationText(of(all, "nearNs"))} + ${durationText(of(all, "farNs"))}`;
  const bytes = (all: readonly Figures[]): string => `${of(all, "writtenBytes").toFixed(0)} B`;
  const how: Record<Client, string> = {
    http: `HTTP, ${HTTP_BATCH} lines a request`,
    lines: "TCP lines, acknowledged",
    mqtt: `MQTT QoS 1, ${IN_FLIGHT} in flight`,
  };
  return (["http", "lines", "mqtt"] as const).flatMap((client) => {
    const own = ours[client];
    const peer = client === "mqtt";
    const peers = (text: (all: readonly Figures[]) => string): string =>
      peer ? `mosquitto saving ${SAVING} ${text(theirs)}` : "";
    const row = (what: string, text: (all: readonly Figures[]) => string): Row => ({
      family: NAME,
      what: `${how[client]}: ${what}`,
      ours: text(own),
      peers: peers(text),
      ...reported(),
    });
    return [
      {
        ...row(`${sizeText(SIZE)} to the far file, durable`, (all) => rateText(rate(all))),
        ...reported(peer ? rate(own) / rate(theirs) : null),
      },
      row("CPU of a message, box + far end", cpu),
      row("written to the box's disk for a message", bytes),
    ];
  });
}
