/**
 * `fairlead bench`: a load generator that does the same work as Ceph's ceph_perf_msgr pair, so
 * that either half can be Ceph's; or sends lines one way, as a gateway does. Alone it runs both
 * halves as two processes on loopback.
 *
 * @module
 */
import process from "node:process";
import { wallSeconds } from "../../io/clock.ts";
import { NodeCrypto } from "../../io/crypto.ts";
import { AuthNoneClient, AuthNoneServer, NoneTarget } from "../../proto/msgr2/auth_none.ts";
import type { AuthClient, AuthServer } from "../../proto/msgr2/auth.ts";
import type { AuthOptions } from "../../proto/msgr2/messenger.ts";
import type { Policy } from "../../proto/msgr2/policy.ts";
import type { Session } from "../../proto/msgr2/session.ts";
import { generateKey, KeyType } from "../../wire/cephx/crypto_key.ts";
import { formatKeyring } from "../../wire/cephx/keyring.ts";
import { EntityType, parseEntityName } from "../../wire/msgr2/hello.ts";
import { addressText } from "../address_text.ts";
import { command, Exit, parseArgs, type Parsed, UsageError } from "../args.ts";
import { authNone } from "../auth.ts";
import { runClient, ServerProcess } from "../bench_processes.ts";
import {
  CONNECTION_FLAGS,
  type ConnectionSettings,
  connectionSettings,
  refuseOpenListener,
  serverPolicy,
} from "../connection_flags.ts";
import { countText } from "../count_text.ts";
import { Endpoint } from "../endpoint.ts";
import { helpText } from "../help.ts";
import { checkAddress, listenArgument } from "../name_argument.ts";
import { LoadRun } from "../load_run.ts";
import { type Load, LoadServer, OneWayLoad, PacedLoad, RequestLoad, type Tally } from "../load.ts";
import { bytesText } from "../progress.ts";
import { onStop } from "../signals.ts";
import { printError, printLine } from "../terminal.ts";

/** Above it, the ends of all sessions at once would be more than one turn has events for. */
const SESSIONS_MAX = 1000;

const BENCH = command({
  name: "fairlead bench",
  summary: "Load generator, the same work as Ceph's ceph_perf_msgr pair",
  description: "Requests carry SIZE bytes of data, answers none. Without --server and --client " +
    "both run\nhere, as two processes on loopback, and a table of sizes is printed; " +
    "cpu_us_per_message is\nthen that of both processes, with --client that of the client alone. " +
    "With --one-way lines are\nsent as a gateway sends them, without answers, until all are " +
    "acknowledged. With --rate requests\nare sent when they are due, and latencies count from " +
    "then. Lossless --sessions are told to both\nends.",
  flags: {
    server: { kind: "text", value: "ADDR", help: "answer requests at this address" },
    client: { kind: "text", value: "ADDR", help: "send requests to this address" },
    size: { kind: "number", value: "N", min: 0, max: 33_554_432, help: "bytes of data" },
    "in-flight": {
      kind: "number",
      value: "N",
      min: 1,
      max: 65_536,
      help: "unanswered requests of each session",
    },
    count: {
      kind: "number",
      value: "N",
      min: 1,
      max: 1e9,
      help: "messages that are timed, in all",
    },
    warmup: { kind: "number", value: "N", min: 0, max: 1e9, default: 0, help: "untimed ones" },
    "one-way": { kind: "boolean", help: "lines without answers, over lossless sessions" },
    sessions: {
      kind: "number",
      value: "N",
      min: 1,
      max: SESSIONS_MAX,
      default: 1,
      help: "sessions that share the load",
    },
    rate: {
      kind: "number",
      value: "R",
      min: 1,
      max: 1_000_000,
      help: "requests per second of each session, instead of as fast as can be",
    },
    duration: {
      kind: "number",
      value: "SECONDS",
      min: 1,
      max: 86_400,
      help: "of a run with --rate, instead of --count",
    },
    timeout: {
      kind: "number",
      value: "SECONDS",
      min: 1,
      max: 86_400,
      default: 30,
      help: "give up after this long without an answer",
    },
    policy: {
      kind: "text",
      value: "POLICY",
      choices: ["lossless", "lossy"],
      help: "lossless keeps and acknowledges messages; lossy, as Ceph's tool, unless --one-way",
    },
    json: { kind: "boolean", help: "print JSON" },
    ...CONNECTION_FLAGS,
  },
  examples: [
    ["fairlead bench", "Both ends here, a table"],
    ["fairlead bench --server v2:127.0.0.1:13400", "For ceph_perf_msgr_client, or for ours"],
    ["fairlead bench --client v2:127.0.0.1:13400 --size 4096 --in-flight 32 --json", "One line"],
    ["fairlead bench --one-way --size 256 --count 3000000", "Lines, until all are acknowledged"],
    ["fairlead bench --sessions 1000 --rate 10 --duration 10", "Latencies under a steady load"],
  ],
});

type Flags = Parsed<typeof BENCH["flags"]>["flags"];

/** What one run of a client measured; the names of `--json`. */
interface Result {
  readonly size: number;
  /** Null where requests do not wait for answers. */
  readonly in_flight: number | null;
  readonly mode: string;
  readonly sessions: number;
  readonly messages: number;
  readonly messages_per_second: number;
  readonly bytes_per_second: number;
  /** Null where there are no answers. */
  readonly p50_us: number | null;
  readonly p99_us: number | null;
  readonly cpu_us_per_message: number;
  /** Of one core. */
  readonly cpu_percent: number;
  readonly rss_bytes: number;
  readonly errors: number;
  /** Messages without an answer, or not acknowledged. */
  readonly lost: number;
  /** The other end, when it ran here too. */
  readonly server?: Served;
}

/** What a server tells when the last of its sessions has ended. */
interface Served extends Tally {
  readonly sessions: number;
  readonly cpu_us_per_message: number;
  readonly cpu_percent: number;
  readonly rss_bytes: number;
}

const SIZE_DEFAULT = 4096;
const IN_FLIGHT_DEFAULT = 32;
const ONE_WAY_COUNT_MAX = 2_000_000;
const PACED_SECONDS_DEFAULT = 10;
/** Rows of the table. */
const TABLE_SIZES: readonly number[] = [64, 4096, 65_536, 1_048_576];
const TABLE_IN_FLIGHT: readonly number[] = [1, 32];
/** Bytes of data of one row, unless --count says otherwise. */
const ROW_BYTES = 1.5e9;
const ROW_COUNT_MAX: Record<number, number> = { 1: 10_000 };
const ROW_COUNT_DEFAULT_MAX = 100_000;
/** Enough for V8 to compile what is hot. */
const ROW_WARMUP = 3000;
const ONE_WAY_WARMUP = 300_000;
/** Requests in flight must fit into the arena, each in a block up to twice its size. */
const IN_FLIGHT_BYTES_MAX = 128 * 1024 * 1024;
const OUTBOX_BYTES_MIN = 16 * 1024 * 1024;
/** Lines of one session that wait or are on their way: a promise is made for each half of it. */
const ONE_WAY_OUTBOX_BYTES = 8 * 1024 * 1024;
/** More than a message's frame adds to its data. */
const OVERHEAD_BYTES = 1024;
const THROWAWAY_NAME = "client.bench";

/** Runs the command; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  const { help, flags } = parseArgs(BENCH, words);
  if (help) {
    printLine(helpText(BENCH));
    return Exit.Ok;
  }
  checkFlags(flags);
  if (flags.server !== undefined) return await serve(flags.server, flags);
  if (flags.client === undefined) return await runTable(flags);
  const result = await load(flags.client, flags);
  if (flags.json) printLine(JSON.stringify(result));
  else printLine(`${HEADING}\n${rowText(result)}`);
  return exitOf([result]);
}

/** Refuses flags that contradict each other. */
function checkFlags(flags: Flags): void {
  const { client, count, duration, policy, rate, server } = flags;
  if (server !== undefined && client !== undefined) {
    throw new UsageError("Cannot run both --server and --client: without them both run here");
  }
  const refuse = (flag: string, value: string | number, why: string): never => {
    throw new UsageError(`Cannot use --${flag} as ${why}: current value is ${value}`);
  };
  if (flags["one-way"]) {
    if (policy === "lossy") refuse("policy", policy, "--one-way needs lossless");
    if (rate !== undefined) refuse("rate", rate, "--one-way sends as fast as it can");
  }
  const paced = rate !== undefined ? "--rate" : flags["one-way"] ? "--one-way" : null;
  const inFlight = flags["in-flight"];
  if (paced !== null && inFlight !== undefined) {
    refuse("in-flight", inFlight, `${paced} does not wait for answers`);
  }
  if (duration !== undefined && rate === undefined) {
    refuse("duration", duration, "it needs --rate");
  }
  if (duration !== undefined && count !== undefined) {
    refuse("duration", duration, "--count says when to end");
  }
}

function exitOf(results: readonly Result[]): number {
  const clean = results.every(({ errors, lost }) => errors === 0 && lost === 0);
  return clean ? Exit.Ok : Exit.Failure;
}

// ---- the client

/** A run as the flags ask for it, with what they leave open filled in. */
interface Plan {
  readonly size: number;
  readonly inFlight: number | null;
  readonly sessions: number;
  readonly count: number;
  readonly outboxBytes: number;
  readonly lossless: boolean;
}

function planOf(flags: Flags): Plan {
  const { sessions } = flags;
  const size = flags.size ?? SIZE_DEFAULT;
  const lossless = policyOf(flags) === "lossless";
  if (flags["one-way"]) {
    const count = flags.count ?? rowCount(size, null);
    const share = Math.floor(IN_FLIGHT_BYTES_MAX / sessions);
    const outboxBytes = Math.min(share, Math.max(ONE_WAY_OUTBOX_BYTES, 4 * size));
    return { size, inFlight: null, sessions, count, outboxBytes, lossless };
  }
  if (flags.rate !== undefined) {
    const seconds = flags.duration ?? PACED_SECONDS_DEFAULT;
    const count = flags.count ?? flags.rate * sessions * seconds;
    return { size, inFlight: null, sessions, count, outboxBytes: OUTBOX_BYTES_MIN, lossless };
  }
  const inFlight = flags["in-flight"] ?? IN_FLIGHT_DEFAULT;
  const bytes = (size + OVERHEAD_BYTES) * (inFlight + 1);
  if (bytes * sessions > IN_FLIGHT_BYTES_MAX) {
    throw new UsageError(
      `Cannot keep ${inFlight * sessions} requests of ${size} bytes in flight as all must stay ` +
        `below ${IN_FLIGHT_BYTES_MAX} bytes: use a smaller --size or --in-flight`,
    );
  }
  const count = flags.count ?? rowCount(size, inFlight);
  const outboxBytes = Math.max(bytes, OUTBOX_BYTES_MIN);
  return { size, inFlight, sessions, count, outboxBytes, lossless };
}

function policyOf(flags: Flags): string {
  return flags.policy ?? (flags["one-way"] ? "lossless" : "lossy");
}

async function load(address: string, flags: Flags): Promise<Result> {
  const plan = planOf(flags);
  checkAddress("--client", address);
  const settings = await connectionSettings(flags, "client");
  const endpoint = new Endpoint({
    entityType: EntityType.Client,
    auth: loadAuth(settings, flags),
    io: settings.io,
    messenger: { outboxBytesMax: plan.outboxBytes },
  });
  try {
    const run = new LoadRun(endpoint, flags.timeout);
    await run.open(address, plan);
    if (flags.warmup > 0) await run.load(loadOf(endpoint, run.sessions, plan, flags.warmup));
    const measured = flags.rate === undefined
      ? loadOf(endpoint, run.sessions, plan, plan.count)
      : new PacedLoad(run.sessions, plan.size, flags.rate, plan.count);
    return await measure(run, measured, plan, settings.mode);
  } finally {
    await endpoint.close();
  }
}

/** A load that goes as fast as it can. */
function loadOf(
  endpoint: Endpoint,
  sessions: readonly Session[],
  { size, inFlight, lossless }: Plan,
  count: number,
): Load {
  if (inFlight !== null) return new RequestLoad(sessions, size, inFlight, count);
  if (lossless) return new OneWayLoad(endpoint, sessions, size, count);
  return new RequestLoad(sessions, size, 1, count);
}

async function measure(run: LoadRun, load: Load, plan: Plan, mode: string): Promise<Result> {
  const { count, inFlight, sessions, size } = plan;
  const cpuBefore = cpuMicroseconds();
  const startedMs = performance.now();
  try {
    await run.load(load);
  } catch (error) {
    if (!(load instanceof PacedLoad)) throw error;
    printError((error as Error).message); // what is lost is a figure here
  }
  const seconds = (performance.now() - startedMs) / 1000;
  const cpu = cpuMicroseconds() - cpuBefore;
  const { answered, errors, latencies } = load;
  const percentile = (share: number): number | null =>
    latencies.count === 0 ? null : latencies.percentile(share) / 10;
  return {
    size,
    in_flight: inFlight,
    mode,
    sessions,
    messages: answered,
    messages_per_second: Math.round(answered / seconds),
    bytes_per_second: Math.round(answered * size / seconds),
    p50_us: percentile(0.5),
    p99_us: percentile(0.99),
    cpu_us_per_message: round(cpu / Math.max(answered, 1)),
    cpu_percent: round(cpu / seconds / 1e4),
    rss_bytes: Deno.memoryUsage().rss,
    errors,
    lost: count - answered,
  };
}

// ---- the server

async function serve(address: string, flags: Flags): Promise<number> {
  const settings = await connectionSettings(flags, "server");
  const wanted = await listenArgument("--server", address);
  refuseOpenListener(wanted, flags, settings);
  const policy = { ...serverPolicy(policyOf(flags)) };
  // Sessions of one load generator come from one address.
  if (flags.sessions > 1) Object.assign(policy, { registered: false });
  const endpoint = new Endpoint({
    // Ceph's tool says osd; but an osd takes service tickets, which only a cluster issues.
    entityType: settings.method === "none" ? EntityType.Osd : EntityType.Mon,
    auth: loadAuth(settings, flags),
    io: settings.io,
    policyFor: (): Policy => policy,
  });
  try {
    const tally = new ServedTally(new LoadServer(endpoint), (served) => {
      if (flags.json) printLine(JSON.stringify(served));
      else printLine(servedText(served));
    });
    endpoint.handle((batch) => tally.server.handle(batch));
    endpoint.onEvent(({ kind, session, text }) => {
      if (kind === "accept") tally.begin(session!);
      else if (kind === "dropped") printError(`Refused: ${text}`);
      else if (kind === "reset") tally.end(session!);
    });
    const bound = await endpoint.listen(`${wanted}`);
    const stopped = new Promise<void>((resolve) => onStop(resolve));
    printError(`Listening on ${addressText(bound)}`);
    await stopped;
    tally.stop();
    return Exit.Ok;
  } finally {
    await endpoint.close();
  }
}

/** What a server tells: from the first session of a run to the end of its last one. */
class ServedTally {
  readonly server: LoadServer;
  readonly #report: (served: Served) => void;
  readonly #open = new Set<Session>();
  #sessions = 0;
  #startedMs = 0;
  #startCpu = 0;
  #total: Tally = { messages: 0, bytes: 0, errors: 0 };

  constructor(server: LoadServer, report: (served: Served) => void) {
    this.server = server;
    this.#report = report;
  }

  /** A session stands. */
  begin(session: Session): void {
    if (this.#open.size === 0) {
      this.#sessions = 0;
      this.#startedMs = performance.now();
      this.#startCpu = cpuMicroseconds();
      this.#total = { messages: 0, bytes: 0, errors: 0 };
    }
    if (!this.#open.has(session)) this.#sessions++;
    this.#open.add(session);
  }

  /** A session is over; with the last one the report is made. */
  end(session: Session): void {
    if (!this.#open.delete(session)) return;
    const { messages, bytes, errors } = this.server.take(session);
    this.#total.messages += messages;
    this.#total.bytes += bytes;
    this.#total.errors += errors;
    if (this.#open.size > 0) return;
    const cpu = cpuMicroseconds() - this.#startCpu;
    const each = this.#total.messages === 0 ? 0 : round(cpu / this.#total.messages);
    this.#report({
      ...this.#total,
      sessions: this.#sessions,
      cpu_us_per_message: each,
      cpu_percent: round(cpu / (performance.now() - this.#startedMs) / 10),
      rss_bytes: Deno.memoryUsage().rss,
    });
  }

  /** All sessions are over. */
  stop(): void {
    for (const session of [...this.#open]) this.end(session);
  }
}

function servedText({ messages, cpu_us_per_message, rss_bytes }: Served): string {
  return `${countText(messages, "message")}, ${cpu_us_per_message} us of CPU each, ` +
    `${bytesText(rss_bytes)} of memory`;
}

/** Method none as Ceph's tools have it: no payload, global_id 0. */
function loadAuth(settings: ConnectionSettings, flags: Flags): AuthOptions {
  if (settings.method === "cephx") return settings.auth;
  const name = parseEntityName(flags.name);
  const client = new AuthNoneClient({ name, target: NoneTarget.Tool });
  const server = new AuthNoneServer({ tool: true });
  return {
    ...authNone(flags.name),
    client: (): AuthClient => client,
    server: (): AuthServer => server.attempt(),
  };
}

// ---- both

async function runTable(flags: Flags): Promise<number> {
  const { json, sessions, timeout } = flags;
  const results: Result[] = [];
  await using keyring = await throwawayKeyring(flags);
  const words = [
    ...[`--policy=${policyOf(flags)}`, `--io=${flags.io}`, `--sessions=${sessions}`, "--json"],
    ...keyring.words,
  ];
  await using server = new ServerProcess(words);
  const address = await server.address();
  if (!json) printLine(HEADING);
  for (const row of rowsOf(flags)) {
    const client = await runClient([
      ...["bench", "--client", address, ...row, `--timeout=${timeout}`, ...words],
    ]) as Result;
    const served = await server.served() as Served;
    const result = {
      ...client,
      cpu_us_per_message: round(client.cpu_us_per_message + served.cpu_us_per_message),
      errors: client.errors + served.errors,
      server: served,
    };
    results.push(result);
    if (!json) printLine(rowText(result));
  }
  if (json) printLine(JSON.stringify({ runs: results }));
  return exitOf(results);
}

/** The flags of each row's client. */
function rowsOf(flags: Flags): string[][] {
  const { rate } = flags;
  const row = (size: number, count: number, warmup: number): string[] => [
    ...[`--size=${size}`, `--count=${count}`],
    `--warmup=${Math.min(Math.max(warmup, flags.warmup), count)}`,
  ];
  if (flags["one-way"]) {
    const sizes = flags.size === undefined ? TABLE_SIZES : [flags.size];
    return sizes.map((size) => [
      ...row(size, flags.count ?? rowCount(size, null), ONE_WAY_WARMUP),
      "--one-way",
    ]);
  }
  if (rate !== undefined) {
    const { count } = planOf(flags);
    return [[...row(flags.size ?? SIZE_DEFAULT, count, ROW_WARMUP), `--rate=${rate}`]];
  }
  const sizes = flags.size === undefined ? TABLE_SIZES : [flags.size];
  const inFlights = flags["in-flight"] === undefined ? TABLE_IN_FLIGHT : [flags["in-flight"]];
  return inFlights.flatMap((inFlight) =>
    sizes.map((size) => [
      ...row(size, flags.count ?? rowCount(size, inFlight), ROW_WARMUP),
      `--in-flight=${inFlight}`,
    ])
  );
}

/** The keyring that both processes use: the operator's, one made for the run, or none. */
async function throwawayKeyring(
  flags: Flags,
): Promise<{ readonly words: readonly string[] } & AsyncDisposable> {
  const nothing = (): Promise<void> => Promise.resolve();
  const mode = flags.mode === undefined ? [] : [`--mode=${flags.mode}`];
  if (flags.keyring !== undefined || flags.mode !== "secure") {
    const keyring = flags.keyring === undefined ? [] : [`--keyring=${flags.keyring}`];
    const words = [...mode, ...keyring, `--name=${flags.name}`];
    return { words, [Symbol.asyncDispose]: nothing };
  }
  const path = await Deno.makeTempFile({ suffix: ".keyring" }); // its mode is 0600
  const key = generateKey(new NodeCrypto(), KeyType.Aes, wallSeconds());
  await Deno.writeTextFile(path, formatKeyring([{ name: parseEntityName(THROWAWAY_NAME), key }]));
  return {
    words: [...mode, `--keyring=${path}`, `--name=${THROWAWAY_NAME}`],
    [Symbol.asyncDispose]: () => Deno.remove(path),
  };
}

// ---- figures

/** @param inFlight null for one way */
function rowCount(size: number, inFlight: number | null): number {
  const most = inFlight === null
    ? ONE_WAY_COUNT_MAX
    : ROW_COUNT_MAX[inFlight] ?? ROW_COUNT_DEFAULT_MAX;
  return Math.min(most, Math.ceil(ROW_BYTES / Math.max(size, 1)));
}

/** CPU of all threads of this process, user and system. */
function cpuMicroseconds(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

const COLUMNS = [10, 9, 7, 10, 12, 10, 10, 12, 6] as const;
const HEADING = columns([
  "size",
  "in flight",
  "mode",
  "messages/s",
  "data/s",
  "p50 us",
  "p99 us",
  "CPU us/msg",
  "errors",
]);

function rowText(result: Result): string {
  return columns([
    bytesText(result.size),
    `${result.in_flight ?? "-"}`,
    result.mode,
    `${result.messages_per_second}`,
    bytesText(result.bytes_per_second),
    result.p50_us?.toFixed(1) ?? "-",
    result.p99_us?.toFixed(1) ?? "-",
    result.cpu_us_per_message.toFixed(2),
    `${result.errors + result.lost}`,
  ]);
}

function columns(texts: readonly string[]): string {
  return texts.map((text, index) => text.padStart(COLUMNS[index]!)).join("  ");
}
