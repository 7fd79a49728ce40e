/**
 * Lines of 256 bytes one way, as a gateway sends them: ours over a lossless session until the last
 * one is acknowledged, no spool; beside nats-server (core NATS, at most once, without
 * acknowledgements) and mosquitto (`mosquitto_pub -l`, QoS 0 and 1), whose messages pass a broker
 * and count once a subscriber has them.
 *
 * @module
 */
import { Daemon, must, run as runCommand } from "../../tests/interop/processes.ts";
import { type Broker, installBrokers, startMosquitto, startNats } from "./brokers.ts";
import type { Context, Family } from "./family.ts";
import { memoryText, rssBytes } from "./process_stat.ts";
import { median, rateText, reported, type Row, sizeText } from "./table.ts";

const NAME = "one-way";
const MAIN = new URL("../../src/main.ts", import.meta.url).pathname;
const NATS_LOAD = new URL("./nats_load.ts", import.meta.url).pathname;
const DEADLINE_MS = 120_000;

const SIZE = 256;
/** A run lasts a second or two. */
const COUNT = 3_000_000;
const NATS_COUNT = 2_000_000;
const MOSQUITTO_COUNT: Record<Qos, number> = { 0: 200_000, 1: 50_000 };
const PER_SECOND_MIN = 1_000_000;

type Qos = 0 | 1;

/** What one run came to. */
interface Figures {
  perSecond: number;
  /** Memory of the end that receives, or of the broker. */
  rssBytes: number;
}

/** Lines one way beside two brokers. */
export const oneWayFamily: Family = {
  name: NAME,
  about: "lines of 256 bytes one way, acknowledged, beside nats-server and mosquitto",
  run,
};

async function run(context: Context): Promise<Row[]> {
  const { directory, rounds, say } = context;
  await installBrokers(say);
  await using nats = await startNats(directory);
  await using mosquitto = await startMosquitto(directory);
  const lines = `${directory}/lines`;
  await Deno.writeTextFile(lines, `${"x".repeat(SIZE)}\n`.repeat(MOSQUITTO_COUNT[0]));
  const candidates: Record<string, () => Promise<Figures>> = {
    "Fairlead": runOurs,
    "nats-server": () => runNats(nats, directory),
    "mosquitto QoS 0": () => runMosquitto(mosquitto, lines, 0),
    "mosquitto QoS 1": () => runMosquitto(mosquitto, lines, 1),
  };
  const figures = new Map<string, Figures[]>(Object.keys(candidates).map((name) => [name, []]));
  for (let round = 1; round <= rounds; round++) {
    for (const [name, measure] of Object.entries(candidates)) {
      figures.get(name)!.push(await measure());
    }
    const told = [...figures].map(([name, all]) => `${name} ${rateText(all.at(-1)!.perSecond)}`);
    say(`round ${round} of ${rounds}: ${told.join(", ")}`);
  }
  return rowsOf(figures);
}

function rowsOf(figures: ReadonlyMap<string, readonly Figures[]>): Row[] {
  const [own, ...peers] = [...figures].map(([name, all]) => ({
    name,
    perSecond: median(all.map((each) => each.perSecond)),
    rss: median(all.map((each) => each.rssBytes)),
  }));
  const what = `${sizeText(SIZE)}, lossless with acknowledgements`;
  return [
    {
      family: NAME,
      what: `${what}: messages`,
      ours: rateText(own!.perSecond),
      peers: peers.map(({ name, perSecond }) => `${name} ${rateText(perSecond)}`).join(", "),
      ratio: null,
      bar: `must ${rateText(PER_SECOND_MIN)}`,
      verdict: own!.perSecond >= PER_SECOND_MIN ? "held" : "missed",
    },
    {
      family: NAME,
      what: `${what}: memory of who receives, or of the broker`,
      ours: memoryText(own!.rss),
      peers: peers.map(({ name, rss }) => `${name} ${memoryText(rss)}`).join(", "),
      ...reported(),
    },
  ];
}

/** Both ends, each a process; the warm-up is not counted. */
async function runOurs(): Promise<Figures> {
  const output = await must([
    ...[Deno.execPath(), "run", "-A", MAIN, "bench", "--json", "--one-way"],
    ...[`--size=${SIZE}`, `--count=${COUNT}`],
  ], { deadlineMs: DEADLINE_MS });
  const [result] = JSON.parse(output).runs;
  return { perSecond: result.messages_per_second, rssBytes: result.server.rss_bytes };
}

/** From before the first PUB to after the last MSG. */
async function runNats({ pid, port }: Broker, directory: string): Promise<Figures> {
  const load = (what: string): string[] => [
    ...[Deno.execPath(), "run", "-A", NATS_LOAD, what],
    ...[`${port}`, `${NATS_COUNT}`, `${SIZE}`],
  ];
  const outputPath = await Deno.makeTempFile({ dir: directory }); // not that of the last round
  await using subscriber = Daemon.start(load("subscribe"), outputPath);
  const subscribed = (): boolean => subscriber.output().includes("subscribed\n");
  await subscriber.until("nats-server has its subscriber", subscribed, DEADLINE_MS);
  const startedMs = Number(await must(load("publish"), { deadlineMs: DEADLINE_MS }));
  const counted = /^subscribed\n(\d+\.?\d*)\n$/;
  const ended = (): boolean => counted.test(subscriber.output());
  await subscriber.until("the subscriber has every message", ended, DEADLINE_MS);
  const endedMs = Number(counted.exec(subscriber.output())![1]);
  return { perSecond: NATS_COUNT * 1000 / (endedMs - startedMs), rssBytes: rssBytes(pid) };
}

const MOSQUITTO_TOPIC = "lines";

/** mosquitto_sub says nothing when it is ready; on loopback it is long before this. */
const SUBSCRIBE_MS = 300;

/** From the start of mosquitto_pub to the end of mosquitto_sub, which has then all it waits for. */
async function runMosquitto({ pid, port }: Broker, lines: string, qos: Qos): Promise<Figures> {
  const count = MOSQUITTO_COUNT[qos];
  const words = `-h 127.0.0.1 -p ${port} -q ${qos} -t ${MOSQUITTO_TOPIC}`;
  const subscribe = `mosquitto_sub ${words} -C ${count} -W ${DEADLINE_MS / 1000} > /dev/null`;
  const publish = `head -n ${count} "$0" | mosquitto_pub ${words} -l`;
  const subscriber = runCommand(["sh", "-c", subscribe], { deadlineMs: DEADLINE_MS });
  await new Promise((resolve) => setTimeout(resolve, SUBSCRIBE_MS));
  const startedMs = performance.now();
  await must(["sh", "-c", publish, lines], { deadlineMs: DEADLINE_MS });
  const { code, stderr } = await subscriber;
  if (code !== 0) throw new Error(`Cannot count QoS ${qos} of mosquitto: ${code}: ${stderr}`);
  const seconds = (performance.now() - startedMs) / 1000;
  return { perSecond: count / seconds, rssBytes: rssBytes(pid) };
}
