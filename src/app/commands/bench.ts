/**
 * `fairlead bench`: a load generator that does the same work as Ceph's ceph_perf_msgr pair, so
 * that either half can be Ceph's. Alone it runs both halves as two processes on loopback.
 *
 * @module
 */
import process from "node:process";
import { wallSeconds } from "../../io/clock.ts";
import { NodeCrypto } from "../../io/crypto.ts";
import { AuthNoneClient, AuthNoneServer, NoneTarget } from "../../proto/msgr2/auth_none.ts";
import type { AuthClient, AuthServer } from "../../proto/msgr2/auth.ts";
import type { AuthOptions, MessengerEvent } from "../../proto/msgr2/messenger.ts";
import { POLICIES, type Policy } from "../../proto/msgr2/policy.ts";
import type { Session } from "../../proto/msgr2/session.ts";
import { generateKey, KeyType } from "../../wire/cephx/crypto_key.ts";
import { formatKeyring } from "../../wire/cephx/keyring.ts";
import { EntityType, parseEntityName } from "../../wire/msgr2/hello.ts";
import { addressText } from "../address_text.ts";
import { command, Exit, parseArgs, type Parsed, UsageError } from "../args.ts";
import { authNone } from "../auth.ts";
import {
  CONNECTION_FLAGS,
  type ConnectionSettings,
  connectionSettings,
  refuseOpenListener,
  serverPolicy,
} from "../connection_flags.ts";
import { Endpoint } from "../endpoint.ts";
import { helpText } from "../help.ts";
import { checkAddress, listenArgument } from "../name_argument.ts";
import { LoadClient, LoadServer } from "../load.ts";
import { bytesText } from "../progress.ts";
import { selfCommand } from "../self.ts";
import { onStop } from "../signals.ts";
import { printError, printLine } from "../terminal.ts";

const BENCH = command({
  name: "fairlead bench",
  summary: "Load generator, the same work as Ceph's ceph_perf_msgr pair",
  description: "Requests carry SIZE bytes of data, answers none. Without --server and --client " +
    "both run\nhere, as two processes on loopback, and a table of sizes is printed; " +
    "cpu_us_per_message is\nthen that of both processes, with --client that of the client alone.",
  flags: {
    server: { kind: "text", value: "ADDR", help: "answer requests at this address" },
    client: { kind: "text", value: "ADDR", help: "send requests to this address" },
    size: { kind: "number", value: "N", min: 0, max: 33_554_432, help: "bytes of data" },
    "in-flight": { kind: "number", value: "N", min: 1, max: 65_536, help: "unanswered requests" },
    count: { kind: "number", value: "N", min: 1, max: 1e9, help: "requests that are timed" },
    warmup: { kind: "number", value: "N", min: 0, max: 1e9, default: 0, help: "untimed ones" },
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
      default: "lossy",
      help: "lossless keeps and acknowledges messages on both sides; lossy is as Ceph's tool",
    },
    json: { kind: "boolean", help: "print JSON" },
    ...CONNECTION_FLAGS,
  },
  examples: [
    ["fairlead bench", "Both ends here, a table"],
    ["fairlead bench --server v2:127.0.0.1:13400", "For ceph_perf_msgr_client, or for ours"],
    ["fairlead bench --client v2:127.0.0.1:13400 --size 4096 --in-flight 32 --json", "One line"],
  ],
});

type Flags = Parsed<typeof BENCH["flags"]>["flags"];

/** What one run of a client measured; the names of `--json`. */
interface Result {
  readonly size: number;
  readonly in_flight: number;
  readonly mode: string;
  readonly messages: number;
  readonly messages_per_second: number;
  readonly bytes_per_second: number;
  readonly p50_us: number;
  readonly p99_us: number;
  readonly cpu_us_per_message: number;
  readonly errors: number;
}

/** What a server tells about a session that ended. */
interface Served {
  readonly messages: number;
  readonly bytes: number;
  readonly errors: number;
  readonly cpu_us_per_message: number;
}

const SIZE_DEFAULT = 4096;
const IN_FLIGHT_DEFAULT = 32;
/** Rows of the table. */
const TABLE_SIZES: readonly number[] = [64, 4096, 65_536, 1_048_576];
const TABLE_IN_FLIGHT: readonly number[] = [1, 32];
/** Bytes of data of one row, unless --count says otherwise. */
const ROW_BYTES = 1.5e9;
const ROW_COUNT_MAX: Record<number, number> = { 1: 10_000 };
const ROW_COUNT_DEFAULT_MAX = 100_000;
/** Enough for V8 to compile what is hot. */
const ROW_WARMUP = 3000;
/** Requests in flight must fit into the arena, each in a block up to twice its size. */
const IN_FLIGHT_BYTES_MAX = 128 * 1024 * 1024;
const OUTBOX_BYTES_MIN = 16 * 1024 * 1024;
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
  if (flags.server !== undefined && flags.client !== undefined) {
    throw new UsageError("Cannot run both --server and --client: without them both run here");
  }
  if (flags.server !== undefined) return await serve(flags.server, flags);
  if (flags.client === undefined) return await runTable(flags);
  const result = await load(flags.client, flags);
  if (flags.json) printLine(JSON.stringify(result));
  else printLine(`${HEADING}\n${rowText(result)}`);
  return result.errors === 0 ? Exit.Ok : Exit.Failure;
}

// ---- the client

async function load(address: string, flags: Flags): Promise<Result> {
  const size = flags.size ?? SIZE_DEFAULT;
  const inFlight = flags["in-flight"] ?? IN_FLIGHT_DEFAULT;
  const count = flags.count ?? rowCount(size, inFlight);
  const bytes = (size + OVERHEAD_BYTES) * (inFlight + 1);
  if (bytes > IN_FLIGHT_BYTES_MAX) {
    throw new UsageError(
      `Cannot keep ${inFlight} requests of ${size} bytes in flight as all must stay below ` +
        `${IN_FLIGHT_BYTES_MAX} bytes: use a smaller --size or --in-flight`,
    );
  }
  checkAddress("--client", address);
  const settings = await connectionSettings(flags, "client");
  const endpoint = new Endpoint({
    entityType: EntityType.Client,
    auth: loadAuth(settings, flags),
    io: settings.io,
    messenger: { outboxBytesMax: Math.max(bytes, OUTBOX_BYTES_MIN) },
  });
  try {
    // As Ceph's client: lossless, until the server's SERVER_IDENT makes it lossy.
    const session = await endpoint.connect(address, POLICIES.losslessClient);
    const run = new Run(endpoint, session, flags.timeout);
    await run.race(endpoint.established(session));
    if (flags.policy === "lossless" && session.lossy) {
      throw new Error(
        `Cannot bench losslessly as ${session.target} keeps no sessions: start it with ` +
          "--policy lossless",
      );
    }
    if (flags.warmup > 0) await run.load(new LoadClient(session, size, inFlight, flags.warmup));
    const client = new LoadClient(session, size, inFlight, count);
    const cpuBefore = cpuMicroseconds();
    const startedMs = performance.now();
    await run.load(client);
    const seconds = (performance.now() - startedMs) / 1000;
    const cpu = cpuMicroseconds() - cpuBefore;
    return {
      size,
      in_flight: inFlight,
      mode: settings.mode,
      messages: count,
      messages_per_second: Math.round(count / seconds),
      bytes_per_second: Math.round(count * size / seconds),
      p50_us: client.latencies.percentile(0.5) / 10,
      p99_us: client.latencies.percentile(0.99) / 10,
      cpu_us_per_message: round(cpu / count),
      errors: client.errors,
    };
  } finally {
    await endpoint.close();
  }
}

/** Runs loads over one session, and ends them when it breaks or stops answering. */
class Run {
  readonly #endpoint: Endpoint;
  readonly #session: Session;
  readonly #timeoutMs: number;
  readonly #failed: Promise<never>;
  #reject: (error: Error) => void = () => {};
  #answered: () => number = () => 0;

  constructor(endpoint: Endpoint, session: Session, timeoutSeconds: number) {
    this.#endpoint = endpoint;
    this.#session = session;
    this.#timeoutMs = timeoutSeconds * 1000;
    this.#failed = new Promise((_resolve, reject) => this.#reject = reject);
    this.#failed.catch(() => {}); // it may come when nobody waits any more
    endpoint.onEvent((event) => this.#handleEvent(event));
  }

  /** Waits for `wanted`, for a failure, or until there was no answer for too long. */
  async race(wanted: Promise<void>): Promise<void> {
    let seen = this.#answered();
    const timer = setInterval(() => {
      const answered = this.#answered();
      if (answered === seen) {
        const text = `Gave up as there was no answer for ${this.#timeoutMs / 1000} s`;
        this.#reject(new Error(`${text}: ${this.#session.lastFault || `${seen} answers came`}`));
      }
      seen = answered;
    }, this.#timeoutMs);
    try {
      await Promise.race([wanted, this.#failed]);
    } finally {
      clearInterval(timer);
    }
  }

  /** Runs one load to its end. */
  async load(client: LoadClient): Promise<void> {
    this.#answered = (): number => client.answered;
    const finished = new Promise<void>((resolve) => {
      this.#endpoint.handle((batch) => {
        try {
          client.handle(batch);
        } catch (error) {
          this.#reject(error as Error);
        }
        if (client.done) resolve();
      });
    });
    client.pump(performance.now());
    await this.race(finished);
  }

  #handleEvent(event: MessengerEvent): void {
    const { kind, text } = event;
    const { target, established } = this.#session;
    if (kind === "refused" || (kind === "fault" && !established)) {
      this.#reject(new Error(`Cannot bench ${target}: ${text}`));
    } else if (kind === "reset" || kind === "remoteReset") {
      this.#reject(
        new Error(`Session with ${target} is over after ${this.#answered()} answers: ${text}`),
      );
    }
  }
}

// ---- the server

async function serve(address: string, flags: Flags): Promise<number> {
  const settings = await connectionSettings(flags, "server");
  const wanted = await listenArgument("--server", address);
  refuseOpenListener(wanted, flags, settings);
  const endpoint = new Endpoint({
    // Ceph's tool says osd; but an osd takes service tickets, which only a cluster issues.
    entityType: settings.method === "none" ? EntityType.Osd : EntityType.Mon,
    auth: loadAuth(settings, flags),
    io: settings.io,
    policyFor: (): Policy => serverPolicy(flags.policy),
  });
  try {
    const server = new LoadServer(endpoint);
    const starts = new Map<Session, number>();
    endpoint.handle((batch) => server.handle(batch));
    const report = (session: Session, startCpu: number): void => {
      starts.delete(session);
      const tally = server.take(session);
      const cpu = cpuMicroseconds() - startCpu;
      const each = tally.messages === 0 ? 0 : round(cpu / tally.messages);
      const served: Served = { ...tally, cpu_us_per_message: each };
      if (flags.json) printLine(JSON.stringify(served));
      else printLine(`${served.messages} requests, ${each} us of CPU each`);
    };
    endpoint.onEvent(({ kind, session, text }) => {
      if (kind === "accept") starts.set(session!, cpuMicroseconds());
      else if (kind === "dropped") printError(`Refused: ${text}`);
      else if (kind === "reset") report(session!, starts.get(session!) ?? 0);
    });
    const bound = await endpoint.listen(`${wanted}`);
    const stopped = new Promise<void>((resolve) => onStop(resolve));
    printError(`Listening on ${addressText(bound)}`);
    await stopped;
    for (const [session, startCpu] of starts) report(session, startCpu);
    return Exit.Ok;
  } finally {
    await endpoint.close();
  }
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
  const sizes = flags.size === undefined ? TABLE_SIZES : [flags.size];
  const inFlights = flags["in-flight"] === undefined ? TABLE_IN_FLIGHT : [flags["in-flight"]];
  const results: Result[] = [];
  await using keyring = await throwawayKeyring(flags);
  const words = [`--policy=${flags.policy}`, `--io=${flags.io}`, "--json", ...keyring.words];
  await using server = new ServerProcess(words);
  const address = await server.address();
  if (!flags.json) printLine(HEADING);
  for (const inFlight of inFlights) {
    for (const size of sizes) {
      const count = flags.count ?? rowCount(size, inFlight);
      const warmup = Math.min(ROW_WARMUP, count);
      const client = await runClient([
        ...["bench", "--client", address, `--size=${size}`, `--in-flight=${inFlight}`],
        ...[`--count=${count}`, `--warmup=${warmup}`, `--timeout=${flags.timeout}`, ...words],
      ]);
      const served = await server.served();
      const result = {
        ...client,
        cpu_us_per_message: round(client.cpu_us_per_message + served.cpu_us_per_message),
        errors: client.errors + served.errors,
      };
      results.push(result);
      if (!flags.json) printLine(rowText(result));
    }
  }
  if (flags.json) printLine(JSON.stringify({ runs: results }));
  return results.every(({ errors }) => errors === 0) ? Exit.Ok : Exit.Failure;
}

async function runClient(words: readonly string[]): Promise<Result> {
  const child = selfCommand(words, { stdin: "null", stderr: "inherit" });
  const { code, stdout } = await child.output();
  if (code !== Exit.Ok) throw new Error(`The client ended with exit code ${code}`);
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** `fairlead bench --server` beside us. */
class ServerProcess implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #errors: AsyncIterator<string>;

  constructor(words: readonly string[]) {
    const all = ["bench", "--server", "v2:127.0.0.1:0", ...words];
    this.#child = selfCommand(all, { stdin: "null", stdout: "piped", stderr: "piped" }).spawn();
    this.#lines = textLines(this.#child.stdout);
    this.#errors = textLines(this.#child.stderr);
  }

  /** Where it listens. */
  async address(): Promise<string> {
    const { value } = await this.#errors.next();
    const match = /^Listening on (?<address>\S+)/.exec(value ?? "");
    if (match === null) throw new Error(`The server did not start: ${value ?? "it said nothing"}`);
    return match.groups!.address!;
  }

  /** What it tells about the session that has just ended. */
  async served(): Promise<Served> {
    const { value } = await this.#lines.next();
    if (value === undefined) throw new Error("The server ended before its client");
    return JSON.parse(value);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGTERM");
    } catch {
      // it has ended already
    }
    await this.#lines.return?.();
    await this.#errors.return?.();
    await this.#child.status;
  }
}

async function* textLines(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = `${rest}${text}`.split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
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

function rowCount(size: number, inFlight: number): number {
  const most = ROW_COUNT_MAX[inFlight] ?? ROW_COUNT_DEFAULT_MAX;
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
    `${result.in_flight}`,
    result.mode,
    `${result.messages_per_second}`,
    bytesText(result.bytes_per_second),
    result.p50_us.toFixed(1),
    result.p99_us.toFixed(1),
    result.cpu_us_per_message.toFixed(2),
    `${result.errors}`,
  ]);
}

function columns(texts: readonly string[]): string {
  return texts.map((text, index) => text.padStart(COLUMNS[index]!)).join("  ");
}
