/**
 * `fairlead send`: lines, or a whole file, through one session; ends well only when the far end
 * has acknowledged all.
 *
 * @module
 */
import type { Session } from "../../proto/msgr2/session.ts";
import type { EntityAddr } from "../../wire/msgr2/entity_addr.ts";
import { crc32c } from "../../wire/crc32c.ts";
import { PRIORITY_DEFAULT } from "../../wire/msgr2/message.ts";
import { addressText } from "../address_text.ts";
import { command, Exit, parseArgs, UsageError } from "../args.ts";
import {
  clientPolicy,
  CONNECTION_FLAGS,
  connectionSettings,
  POLICY_FLAG,
} from "../connection_flags.ts";
import { countText } from "../count_text.ts";
import { Endpoint } from "../endpoint.ts";
import { helpText } from "../help.ts";
import { linesOf, LineTooLong } from "../lines.ts";
import { FairleadType } from "../message_types.ts";
import { resolveArgument } from "../name_argument.ts";
import { Progress } from "../progress.ts";
import { dialNext, refusalText } from "../session_text.ts";
import { onStop } from "../signals.ts";
import { printError, printLine } from "../terminal.ts";
import { Watch } from "../watch.ts";

const SEND = command({
  name: "fairlead send",
  summary: "Sends lines or a file through one lossless session",
  description:
    "Each line of FILE, or of standard input, is one message; a line has 4 MiB at most, " +
    "longer\nones need --file. The session is made again whenever it breaks. Exit code 0 only when " +
    "the\nfar end acknowledged all (with --policy lossy: when all was sent). The first Ctrl-C reads\n" +
    "no more and drains, a second one ends at once.",
  positionals: [
    { name: "ADDR", help: "where a listener or a hub is: v2:HOST:PORT" },
    { name: "FILE", help: "what to send; - is standard input, as is no FILE", optional: true },
  ],
  flags: {
    file: { kind: "boolean", short: "f", help: "send FILE as a whole, bytes as they are" },
    priority: {
      kind: "number",
      value: "N",
      min: 0,
      max: 255,
      default: PRIORITY_DEFAULT,
      help: "higher goes first",
    },
    timeout: {
      kind: "number",
      value: "SECONDS",
      min: 0,
      max: 86_400,
      default: 0,
      help: "give up after this long without progress; 0 keeps trying",
    },
    drain: {
      kind: "number",
      value: "SECONDS",
      min: 0,
      max: 3600,
      default: 5,
      help: "how long a stop waits for what is not acknowledged",
    },
    ...POLICY_FLAG,
    ...CONNECTION_FLAGS,
  },
  examples: [
    ["dmesg | fairlead send v2:10.0.0.1:3300 -", "Lines of standard input"],
    ["fairlead send v2:hub.example:3300 --file image.raw", "A file, bit-exact"],
    ["fairlead send v2:hub.example:3300 -k gw1.keyring -n client.gw1 log.txt", "Encrypted"],
  ],
});

/** The longest line: longer ones are files. */
const LINE_BYTES_MAX = 4 * 1024 * 1024;
/** One message of a file. */
const CHUNK_BYTES = 256 * 1024;
const encoder = new TextEncoder();

/** Runs the command; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  const { help, flags, positionals } = parseArgs(SEND, words);
  if (help) {
    printLine(helpText(SEND));
    return Exit.Ok;
  }
  const [address, path = "-"] = positionals as [string, string | undefined];
  const settings = await connectionSettings(flags, "client");
  const targets = await resolveArgument("ADDR", address);
  using source = await openSource(path);
  const endpoint = new Endpoint({ auth: settings.auth, io: settings.io });
  let watch: Watch | null = null;
  let drainTimer: ReturnType<typeof setTimeout> | undefined;
  try {
    const session = await endpoint.connect(targets[0]!, clientPolicy(flags.policy));
    watch = new Watch(session, flags.timeout, printError);
    const job: Job = {
      endpoint,
      session,
      watch,
      source,
      priority: flags.priority,
      isFile: flags.file,
      taken: 0,
      queued: 0,
      complete: false,
      stop: new AbortController(),
    };
    observe(job, targets, flags.policy === "lossless");
    onStop(() => drainTimer = stopSending(job, flags.drain));
    const work = flags.file ? sendFile(job) : sendLines(job);
    return await Promise.race([work, watch.failed]);
  } finally {
    clearTimeout(drainTimer);
    watch?.stop();
    await endpoint.close();
  }
}

interface Job {
  readonly endpoint: Endpoint;
  readonly session: Session;
  readonly watch: Watch;
  readonly source: Source;
  readonly priority: number;
  readonly isFile: boolean;
  /** Messages made of what was read. */
  taken: number;
  /** Those that the session has taken. */
  queued: number;
  /** All of the input has been queued. */
  complete: boolean;
  /** The operator wants the end. */
  readonly stop: AbortController;
}

/** Where the bytes come from. */
interface Source extends Disposable {
  /** Without directories. */
  readonly name: string;
  /** Null for a pipe. */
  readonly bytes: number | null;
  /** Like `Deno.FsFile.read`. */
  read(into: Uint8Array): Promise<number | null>;
}

async function openSource(path: string): Promise<Source> {
  if (path === "-") {
    return {
      name: "stdin",
      bytes: null,
      read: (into): Promise<number | null> => Deno.stdin.read(into),
      [Symbol.dispose]: (): void => {},
    };
  }
  try {
    const file = await Deno.open(path);
    const { isFile, isDirectory, size } = await file.stat();
    if (isDirectory) {
      file.close();
      throw new Error("it is a directory");
    }
    return {
      name: path.replace(/^.*\//s, ""),
      bytes: isFile ? size : null,
      read: (into): Promise<number | null> => file.read(into),
      [Symbol.dispose]: (): void => file.close(),
    };
  } catch (error) {
    throw new UsageError(`Cannot read ${path}: ${(error as Error).message}`);
  }
}

/** What happens to the session and matters to what is being sent. */
function observe(job: Job, targets: readonly EntityAddr[], wantLossless: boolean): void {
  const { endpoint, session, watch, isFile } = job;
  endpoint.onEvent((event) => {
    if (event.session !== session) return;
    const target = addressText(session.target!);
    if (event.kind === "connect" && wantLossless && session.lossy) {
      watch.fail(
        new Error(
          `Cannot send losslessly as ${target} keeps no sessions: start it with ` +
            "--policy lossless, or send with --policy lossy",
        ),
      );
    } else if (event.kind === "refused") {
      watch.fail(new Error(`Cannot send to ${target}: ${refusalText(event)}`));
    } else if (event.kind === "fault") {
      dialNext(session, targets);
    } else if (event.kind === "remoteReset") {
      if (isFile) {
        watch.fail(
          new Error(`Cannot go on as ${target} was restarted: send the file again`),
        );
      } else printError(`${target} was restarted: the last lines may arrive twice`);
    } else if (event.kind === "reset") {
      const lost = countText(job.taken - job.queued + session.dropped, "message");
      const hint = isFile ? ", and whether it listens with -o" : "";
      watch.fail(
        new Error(
          `Session with ${target} is over: ${event.text}; ${lost} not acknowledged, see the ` +
            `output of the far end${hint}`,
        ),
      );
    }
  });
}

/** Reads no more, says what is waited for, and fails when the wait is over. */
function stopSending(job: Job, drainSeconds: number): ReturnType<typeof setTimeout> | undefined {
  const { isFile, session, source, watch } = job;
  job.stop.abort();
  const target = addressText(session.target!);
  if (isFile && !job.complete) {
    watch.fail(new Error(`Stopped before all of ${source.name} was sent to ${target}`));
    return undefined;
  }
  if (!session.established && job.taken === 0) {
    watch.fail(new Error(`Stopped: ${target} was never reached, nothing was sent`));
    return undefined;
  }
  const open = (): string => countText(job.taken - job.queued + session.unacknowledged, "message");
  printError(
    `Stopping: up to ${drainSeconds} s for ${target} to acknowledge ${open()}; Ctrl-C again ends ` +
      "at once",
  );
  return setTimeout(() => {
    const text = `Stopped: ${open()} not acknowledged by ${target} within ${drainSeconds} s`;
    watch.fail(new Error(text));
  }, drainSeconds * 1000);
}

async function sendLines(job: Job): Promise<number> {
  const { endpoint, session, source, priority, stop } = job;
  await endpoint.established(session);
  const progress = new Progress(null, "lines");
  const tick = setInterval(() => progress.update(job.queued - session.unacknowledged), 100);
  let refused: LineTooLong | null = null;
  try {
    try {
      for await (const front of linesOf(chunksOf(source, stop.signal), LINE_BYTES_MAX)) {
        await queue(job, { type: FairleadType.Line, front, priority });
        if (stop.signal.aborted) break;
      }
    } catch (error) {
      if (!(error instanceof LineTooLong)) throw error;
      refused = error; // told when the lines before it have arrived
    }
    await endpoint.flushed(session);
  } finally {
    clearInterval(tick);
    progress.end(job.queued - session.unacknowledged);
  }
  if (refused === null) return Exit.Ok;
  const before = countText(job.queued, "line");
  throw new Error(`${refused.message}; ${before} before it arrived, nothing after it was sent`);
}

async function sendFile(job: Job): Promise<number> {
  const { endpoint, session, source, priority, stop } = job;
  await endpoint.established(session);
  const progress = new Progress(source.bytes, "bytes");
  const acknowledged = (): number =>
    Math.max(0, size - Math.max(0, session.unacknowledged - 1) * CHUNK_BYTES);
  const tick = setInterval(() => progress.update(acknowledged()), 100);
  let size = 0;
  let crc = 0;
  try {
    const head = json({ name: source.name, size: source.bytes });
    await queue(job, { type: FairleadType.FileHead, front: head, priority });
    const chunk = new Uint8Array(CHUNK_BYTES);
    for (let filled = await fill(job, chunk); filled > 0; filled = await fill(job, chunk)) {
      const data = chunk.subarray(0, filled);
      crc = crc32c(data, crc);
      await queue(job, { type: FairleadType.FileData, data, priority });
      size += filled;
    }
    if (stop.signal.aborted) throw new Error(`Stopped before all of ${source.name} was sent`);
    const end = json({ size, crc32c: crc });
    await queue(job, { type: FairleadType.FileEnd, front: end, priority });
    job.complete = true;
    await endpoint.flushed(session);
  } finally {
    clearInterval(tick);
    progress.end(acknowledged());
  }
  return Exit.Ok;
}

/** Queues a message; waits while the session's queue is full. */
async function queue(job: Job, message: Parameters<Session["send"]>[0]): Promise<void> {
  const { endpoint, session } = job;
  job.taken++;
  while (session.send(message) === 0) {
    await endpoint.writable(session);
    if (session.send(message) > 0) break;
    // The arena is full although this session's share is not: others must give back first.
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  job.queued++;
}

/** Fills the chunk as far as there are bytes; 0 at the end, or when the operator wants it. */
async function fill({ source, stop }: Job, chunk: Uint8Array): Promise<number> {
  let filled = 0;
  while (filled < chunk.length && !stop.signal.aborted) {
    const count = await source.read(chunk.subarray(filled));
    if (count === null) break;
    filled += count;
  }
  return stop.signal.aborted ? 0 : filled;
}

/** Bytes as they come, until the end or until the operator wants it. */
async function* chunksOf(
  source: Source,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const stopped = new Promise<null>((resolve) => {
    signal.addEventListener("abort", () => resolve(null), { once: true });
  });
  const chunk = new Uint8Array(64 * 1024);
  while (!signal.aborted) {
    const count = await Promise.race([source.read(chunk), stopped]);
    if (count === null) return;
    yield chunk.subarray(0, count);
  }
}

function json(value: unknown): Uint8Array {
  return encoder.encode(JSON.stringify(value));
}
