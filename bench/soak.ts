/**
 * `deno task soak [--minutes N]`: a gateway and a hub under a moderate load over four inputs for an
 * hour, while the connection between them is cut each minute (ss -K, which needs root) and, in the
 * first half, the hub is killed and started again now and then. Prints a line each minute. At the end:
 * memory, heap and open files of both after one minute and at the end, and what became of every
 * message. The exit status is 1 when one was lost or doubled, or when the memory of either has grown by
 * more than a fifth and 20 MB.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { delay } from "../src/app/delay.ts";
import type { StatusReport } from "../src/app/status/health.ts";
import { printError, printLine } from "../src/app/terminal.ts";
import { run } from "../tests/interop/processes.ts";
import { FollowedLog } from "./peers/gateway_followed_log.ts";
import {
  type Load,
  publishHttp,
  publishLines,
  publishMqtt,
  Steady,
} from "./peers/gateway_clients.ts";
import { addFileFrom, Ledger, Tally } from "./peers/gateway_messages.ts";
import { FairleadPair, LOOPBACK, targetOf } from "./peers/gateway_pairs.ts";
import { memoryText } from "./peers/process_stat.ts";

const MINUTES = 60;
const MINUTE_MS = 60_000;
const SIZE = 64;
/** Of each input. */
const PER_SECOND = 200;
const IN_FLIGHT = 1000;
const HTTP_BATCH = 20;
const ROTATE_BYTES = 16 * 1024 * 1024;
const FILES_KEPT = 10_000;
const CUT_MS = 60_000;
const KILLS_MAX = 6;
const KILL_MIN_MS = 10_000;
const RETRY_MS = 100;
const DRAIN_MS = 60_000;
const DRAINED_LOOK_MS = 500;
const STATUS_DEADLINE_MS = 10_000;
/** By the letter of their messages. */
const NAMES: Record<string, string> = { h: "http", l: "lines", m: "mqtt", f: "file" };
/** More than this, both together, is a leak. */
const GROWTH_MAX = 0.2;
const GROWTH_BYTES_MAX = 20e6;
const INTERRUPTED = 130;

if (import.meta.main) Deno.exit(await main(Deno.args));

async function main(words: string[]): Promise<number> {
  const minutes = readMinutes(words);
  if (typeof minutes === "string") {
    printError(minutes);
    return 2;
  }
  const directory = await Deno.makeTempDir({ prefix: "fairlead_soak_" });
  const remove = (): void => Deno.removeSync(directory, { recursive: true });
  Deno.addSignalListener("SIGINT", () => {
    remove();
    Deno.exit(INTERRUPTED);
  });
  const good = await finished(soak(minutes, directory));
  // What went wrong can be looked into.
  if (good) remove();
  else printLine(`Kept for a look: ${directory}`);
  return good ? 0 : 1;
}

/** False as well when it came to no end. */
async function finished(run: Promise<boolean>): Promise<boolean> {
  try {
    return await run;
  } catch (error) {
    printError(`Cannot go on: ${(error as Error).message}`);
    return false;
  }
}

function readMinutes(words: string[]): number | string {
  try {
    const { values } = parseArgs({
      args: words,
      options: { minutes: { type: "string", default: `${MINUTES}` } },
    });
    const minutes = Number(values.minutes);
    if (minutes >= 2 && Number.isFinite(minutes)) return minutes;
    return `Cannot take --minutes as it must be a number from 2: it is ${values.minutes}`;
  } catch (error) {
    return (error as Error).message;
  }
}

// ---- the run

/** One input and what it was given. */
interface Source {
  ledger: Ledger;
  /** Sends for so long; rejects when a connection ends before. */
  send(load: Load): Promise<void>;
  breaks: number;
}

async function soak(minutes: number, directory: string): Promise<boolean> {
  let hubPort = 0;
  const log = new FollowedLog(`${directory}/followed.log`);
  await using pair = await FairleadPair.start(directory, LOOPBACK, (gateway, hub) => {
    hubPort = Number(hub.listen.split(":").at(-1));
    gateway.inputs.log = { type: "file", path: log.path, from: "start" };
    Object.assign(hub.outputs.far!, { rotateBytes: ROTATE_BYTES, keep: FILES_KEPT });
  });
  const sources = sourcesOf(pair, log);
  const startedMs = performance.now();
  const untilMs = startedMs + minutes * MINUTE_MS;
  const loads = sources.map((source) => keepSending(source, untilMs));
  const stop = new AbortController();
  const cutting = cutNowAndThen(hubPort, stop.signal);
  const killing = killHub(pair, minutes, stop.signal);
  const looks: Look[] = [];
  for (let minute = 1; minute <= minutes; minute++) {
    await delay(startedMs + minute * MINUTE_MS - performance.now());
    const look = await lookAt(pair);
    looks.push(look);
    printLine(minuteText(minute, look, sources));
  }
  await Promise.all(loads);
  stop.abort();
  const kills = await killing;
  const cuts = await cutting;
  await drained(pair);
  // Both under load: once it is over the heap shrinks.
  const [first, last] = [looks[0]!, looks.at(-1)!];
  printLine(
    `The connection was cut ${cuts} times${cuts === 0 ? " (ss -K needs root)" : ""}, ` +
      `the hub was killed ${kills} times`,
  );
  printLine(lookText("after one minute", first));
  printLine(lookText("at the end", last));
  const whole = await judgeMessages(sources, pair.farPath);
  return judgeMemory(first, last) && whole;
}

function sourcesOf(pair: FairleadPair, log: FollowedLog): Source[] {
  const source = (letter: string, send: (load: Load) => Promise<void>): Source => ({
    ledger: new Ledger(letter),
    send,
    breaks: 0,
  });
  return [
    source("h", (load) => publishHttp(targetOf(pair, "http"), load, HTTP_BATCH)),
    source("l", (load) => publishLines(targetOf(pair, "lines"), load, IN_FLIGHT)),
    source("m", (load) => publishMqtt(targetOf(pair, "mqtt"), load, IN_FLIGHT)),
    source("f", (load) => log.write(load)),
  ];
}

async function keepSending(source: Source, untilMs: number): Promise<void> {
  const pace = new Steady(PER_SECOND, (untilMs - performance.now()) / 1000);
  while (!pace.over) {
    try {
      await source.send({ ledger: source.ledger, pace, sizeBytes: SIZE });
    } catch {
      source.breaks++;
      await delay(RETRY_MS);
    }
  }
}

/** Ends the connection now and then; ss(8) needs root for that. */
async function cutNowAndThen(port: number, signal: AbortSignal): Promise<number> {
  let cuts = 0;
  for (;;) {
    await delay(CUT_MS / 2, signal);
    if (signal.aborted) return cuts;
    if (await cut(port)) cuts++;
    await delay(CUT_MS / 2, signal);
  }
}

/** True when a connection was ended: only those with this port of loopback are named. */
async function cut(port: number): Promise<boolean> {
  const filter = `src 127.0.0.1 and dst 127.0.0.1 and ( sport = :${port} or dport = :${port} )`;
  const ss = ["ss", "-H", "-K", "-t", "-n", "state", "established", filter];
  const { code, stdout } = await run(ss);
  return code === 0 && stdout.trim() !== "";
}

/** In the first half, after the first minute: what lives on to the end shows whether it grows. */
async function killHub(pair: FairleadPair, minutes: number, signal: AbortSignal): Promise<number> {
  await delay(MINUTE_MS, signal);
  const spanMs = Math.max(minutes / 2 - 1, 0.5) * MINUTE_MS;
  const eachMs = Math.max(spanMs / KILLS_MAX, KILL_MIN_MS);
  const kills = Math.floor(spanMs / eachMs);
  for (let kill = 1; kill <= kills; kill++) {
    await delay(eachMs, signal);
    if (signal.aborted) return kill - 1;
    await pair.restartFar();
  }
  return kills;
}

// ---- what both tell

interface Look {
  gateway: StatusReport;
  hub: StatusReport;
}

async function lookAt({ ports }: FairleadPair): Promise<Look> {
  const gateway = await statusOf(ports.status);
  return { gateway, hub: await statusOf(ports.hubStatus) };
}

/** A hub that was just killed answers a moment later. */
async function statusOf(port: number): Promise<StatusReport> {
  const untilMs = performance.now() + STATUS_DEADLINE_MS;
  for (;;) {
    try {
      const signal = AbortSignal.timeout(STATUS_DEADLINE_MS);
      return await (await fetch(`http://127.0.0.1:${port}/api/status`, { signal })).json();
    } catch (error) {
      if (performance.now() > untilMs) throw error;
      await delay(RETRY_MS);
    }
  }
}

/** Until the hub has acknowledged everything, and no input brings more. */
async function drained(pair: FairleadPair): Promise<void> {
  const untilMs = performance.now() + DRAIN_MS;
  let before = -1;
  while (performance.now() < untilMs) {
    const { totals, spool } = (await lookAt(pair)).gateway;
    if (spool!.messages === 0 && totals.messagesIn === before) return;
    before = totals.messagesIn;
    await delay(DRAINED_LOOK_MS);
  }
  printLine(`Not drained within ${DRAIN_MS / 1000} s`);
}

function minuteText(minute: number, { gateway, hub }: Look, sources: readonly Source[]): string {
  const acknowledged = sources.reduce((sum, { ledger }) => sum + ledger.acknowledged, 0);
  const breaks = sources.reduce((sum, source) => sum + source.breaks, 0);
  const alarms = [...gateway.alarms, ...hub.alarms].map(({ code }) => code);
  return [
    `minute ${minute}: in ${acknowledged}, out ${gateway.totals.messagesOut}`,
    `waiting ${gateway.spool!.messages}`,
    `inputs broke ${breaks} times`,
    `gateway ${processText(gateway)}`,
    `hub ${processText(hub)}`,
    ...(alarms.length === 0 ? [] : [`alarms ${alarms.join(" ")}`]),
  ].join("; ");
}

function lookText(when: string, { gateway, hub }: Look): string {
  return `${when}: gateway ${processText(gateway)}; hub ${processText(hub)}`;
}

function processText({ process }: StatusReport): string {
  const { heapBytes, openFiles, rssBytes } = process;
  return `RSS ${memoryText(rssBytes)}, heap ${memoryText(heapBytes)}, ${openFiles} files`;
}

// ---- the verdict

/** Prints what became of the messages of each input; true when none was lost or doubled. */
async function judgeMessages(sources: readonly Source[], farPath: string): Promise<boolean> {
  const tally = new Tally(SIZE);
  for (const path of await filesOf(farPath)) await addFileFrom(tally, path, 0);
  let good = tally.foreign === 0;
  for (const { breaks, ledger } of sources) {
    const { count, disordered, doubled } = tally.of(ledger.source);
    const lost = tally.lost(ledger.source, ledger.bytes());
    printLine(
      `input ${NAMES[ledger.source]}: in ${ledger.acknowledged} of ${ledger.sent} sent, ` +
        `out ${count}, lost ${lost}, doubled ${doubled}, out of order ${disordered}, ` +
        `broke ${breaks} times`,
    );
    good &&= lost === 0 && doubled === 0;
  }
  if (tally.foreign > 0) printLine(`${tally.foreign} lines of the hub's file are no messages`);
  printLine(good ? "No message was lost or doubled" : "MESSAGES WERE LOST OR DOUBLED");
  return good;
}

/** The oldest first: the output moves `far.log` to `far.log.1`, that to `far.log.2`, and so on. */
async function filesOf(path: string): Promise<string[]> {
  const directory = path.slice(0, path.lastIndexOf("/"));
  const name = path.slice(directory.length + 1);
  const numbers: number[] = [];
  for await (const entry of Deno.readDir(directory)) {
    const number = entry.name.startsWith(`${name}.`)
      ? Number(entry.name.slice(name.length + 1))
      : 0;
    if (number > 0) numbers.push(number);
  }
  return [...numbers.sort((a, b) => b - a).map((number) => `${path}.${number}`), path];
}

/** Prints how memory has grown; true when it has not grown too much. */
function judgeMemory(first: Look, last: Look): boolean {
  let good = true;
  for (const role of ["gateway", "hub"] as const) {
    const before = first[role].process.rssBytes;
    const growth = last[role].process.rssBytes - before;
    const held = growth <= before * GROWTH_MAX + GROWTH_BYTES_MAX;
    const percent = (growth * 100 / before).toFixed(1);
    printLine(
      `${role}: RSS grew by ${memoryText(growth)}, ${percent} %${held ? "" : ": TOO MUCH"}`,
    );
    good &&= held;
  }
  return good;
}
