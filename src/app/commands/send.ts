/**
 * `fairlead send`: lines, or a whole file, through one session; ends well only when the far end
 * has acknowledged all.
 *
 * @module
 */
import type { Session } from "../../proto/msgr2/session.ts";
import { crc32c } from "../../wire/crc32c.ts";
import { PRIORITY_DEFAULT } from "../../wire/msgr2/message.ts";
import { command, Exit, parseArgs, UsageError } from "../args.ts";
import {
  clientPolicy,
  CONNECTION_FLAGS,
  connectionSettings,
  POLICY_FLAG,
} from "../connection_flags.ts";
import { Endpoint } from "../endpoint.ts";
import { helpText } from "../help.ts";
import { linesOf } from "../lines.ts";
import { FairleadType } from "../message_types.ts";
import { Progress } from "../progress.ts";
import { onStop } from "../signals.ts";
import { printError, printLine } from "../terminal.ts";
import { Watch } from "../watch.ts";

const SEND = command({
  name: "fairlead send",
  summary: "Sends lines or a file through one lossless session",
  description: "Each line of FILE, or of standard input, is one message. The session is made " +
    "again\nwhenever it breaks. Exit code 0 only when the far end acknowledged all (with " +
    "--policy\nlossy: when all was sent).",
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
    ...POLICY_FLAG,
    ...CONNECTION_FLAGS,
  },
  examples: [
    ["dmesg | fairlead send v2:10.0.0.1:8700 -", "Lines of standard input"],
    ["fairlead send v2:hub.example:8700 --file image.raw", "A file, bit-exact"],
    ["fairlead send v2:hub.example:8700 -k gw1.keyring -n client.gw1 log.txt", "Encrypted"],
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
  using source = await openSource(path);
  const endpoint = new Endpoint({ auth: settings.auth, io: settings.io });
  let watch: Watch | null = null;
  try {
    const session = await endpoint.connect(address, clientPolicy(flags.policy));
    watch = new Watch(session, flags.timeout, printError);
    const job: Job = {
      endpoint,
      session,
      watch,
      source,
      priority: flags.priority,
      stop: new AbortController(),
    };
    const wantLossless = flags.policy === "lossless";
    observe(job, wantLossless, flags.file);
    onStop(() => job.stop.abort());
    const work = flags.file ? sendFile(job) : sendLines(job);
    return await Promise.race([work, watch.failed]);
  } finally {
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
function observe({ endpoint, session, watch }: Job, wantLossless: boolean, isFile: boolean): void {
  endpoint.onEvent((event) => {
    if (event.session !== session) return;
    if (event.kind === "connect" && wantLossless && session.lossy) {
      watch.fail(
        new Error(
          `Cannot send losslessly as ${session.target} keeps no sessions: start it with ` +
            "--policy lossless, or send with --policy lossy",
        ),
      );
    } else if (event.kind === "refused") {
      watch.fail(new Error(`Cannot send to ${session.target}: ${event.text}`));
    } else if (event.kind === "remoteReset") {
      if (isFile) {
        watch.fail(
          new Error(`Cannot go on as ${session.target} was restarted: send the file again`),
        );
      } else printError(`${session.target} was restarted: the last lines may arrive twice`);
    } else if (event.kind === "reset") {
      watch.fail(new Error(`Session with ${session.target} is over: ${event.text}`));
    }
  });
}

async function sendLines(job: Job): Promise<number> {
  const { endpoint, session, source, priority, stop } = job;
  await endpoint.established(session);
  const progress = new Progress(null, "lines");
  const tick = setInterval(() => progress.update(count - session.unacknowledged), 100);
  let count = 0;
  try {
    for await (const front of linesOf(chunksOf(source, stop.signal), LINE_BYTES_MAX)) {
      await queue(job, { type: FairleadType.Line, front, priority });
      count++;
      if (stop.signal.aborted) break;
    }
    if (stop.signal.aborted && session.unacknowledged > 0) {
      printError(`Waiting for ${session.unacknowledged} acknowledgements; once more ends at once`);
    }
    await endpoint.flushed(session);
  } finally {
    clearInterval(tick);
    progress.end(count - session.unacknowledged);
  }
  return Exit.Ok;
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
    await endpoint.flushed(session);
  } finally {
    clearInterval(tick);
    progress.end(acknowledged());
  }
  return Exit.Ok;
}

/** Queues a message; waits while the session's queue is full. */
async function queue(
  { endpoint, session }: Job,
  message: Parameters<Session["send"]>[0],
): Promise<void> {
  while (session.send(message) === 0) {
    await endpoint.writable(session);
    if (session.send(message) > 0) return;
    // The arena is full although this session's share is not: others must give back first.
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
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
