/**
 * The proof that a built `fairlead` is one: it tells our version, and a gateway with an embedded hub
 * carries a line, lives for a while and ends at SIGINT with 0. What is built may be anything, so no
 * wait is without an end, and what it prints is kept up to a limit.
 *
 * @module
 */
import { delay } from "./delay.ts";

/** What the gateway says of its port for lines, once it stands. */
const LINES_AT = /\blines \(127\.0\.0\.1:(\d{1,5})\)/;
const OUTPUT_LENGTH_MAX = 1024 * 1024;
/** A child of the process may hold its output open when it has ended. */
const HELD_MS = 1000;
/** As much of it as an error tells. */
const TOLD_LENGTH_MAX = 1000;

/** What is tried, and how long. */
export interface SmokeOptions {
  /** The program with the words in front of a command's name. */
  readonly program: readonly string[];
  /** What `--version` must print. */
  readonly version: string;
  /** How long the gateway runs. */
  readonly runMs: number;
  /** How long each step may take: a start, a line's way, the end. */
  readonly stepMs: number;
}

/** What was seen. */
export interface Smoke {
  /** From the start of the process until the gateway took lines. */
  readonly startMs: number;
}

/**
 * Runs `--version` and a gateway.
 *
 * @throws with what must be and what is, and what the program printed
 */
export async function smokeTest(options: SmokeOptions): Promise<Smoke> {
  const directory = await Deno.makeTempDir({ prefix: "fairlead-smoke-" });
  try {
    await checkVersion(options, directory);
    return await checkGateway(options, directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** A REPL in its place ends at once, as its input is empty. */
async function checkVersion(options: SmokeOptions, directory: string): Promise<void> {
  const { program, version, stepMs } = options;
  await using child = new Child([...program, "--version"], directory);
  const code = await child.end(stepMs);
  const told = child.out.text.trim();
  if (code === 0 && told === version) return;
  const value = code === 0 ? JSON.stringify(told) : `exit code ${code}${child.printed()}`;
  throw new Error(
    `Cannot use ${program.join(" ")} as its --version must be "${version}": current value is ` +
      value,
  );
}

async function checkGateway(options: SmokeOptions, directory: string): Promise<Smoke> {
  const { program, runMs, stepMs } = options;
  const fail = (what: string, child: Child): never => {
    throw new Error(
      `Cannot use ${program.join(" ")} as its gateway must ${what}${child.printed()}`,
    );
  };
  const startedMs = performance.now();
  const words = ["gateway", "--no-status", "--listen", "127.0.0.1:0"];
  await using child = new Child([...program, ...words], directory);
  const port = await child.err.match(LINES_AT, stepMs);
  const startMs = performance.now() - startedMs;
  if (port === null) return fail("say where it takes lines", child);
  const line = `smoke ${crypto.randomUUID()}`;
  try {
    await sendLine(Number(port[1]), line);
  } catch (error) {
    return fail(`take a line over TCP (${(error as Error).message})`, child);
  }
  const arrived = await child.out.match(new RegExp(` ${line}$`, "m"), stepMs);
  if (arrived === null) return fail("print the line that was sent to it", child);
  const leftMs = Math.max(0, runMs - (performance.now() - startedMs));
  if (!await child.lives(leftMs)) return fail(`run for ${runMs / 1000} s`, child);
  child.kill("SIGINT");
  const code = await child.end(stepMs);
  if (code !== 0) return fail(`end with 0 at SIGINT, and not with ${code}`, child);
  return { startMs };
}

async function sendLine(port: number, line: string): Promise<void> {
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  const bytes = new TextEncoder().encode(`${line}\n`);
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}

/** What a process prints on one of its streams. */
class Output {
  /** The last of it. */
  text = "";
  readonly done: Promise<void>;
  readonly #stop = new AbortController();
  #ended = false;
  #changed = Promise.withResolvers<void>();

  constructor(stream: ReadableStream<Uint8Array<ArrayBuffer>>) {
    this.done = this.#read(stream);
  }

  /** Waits until a pattern is in it; null when the stream ends or the time is over before. */
  async match(pattern: RegExp, withinMs: number): Promise<RegExpExecArray | null> {
    const late = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => late.resolve(true), withinMs);
    try {
      for (let over = false;;) {
        const changed = this.#changed.promise.then(() => false);
        const found = pattern.exec(this.text);
        if (found !== null || over || this.#ended) return found;
        over = await Promise.race([changed, late.promise]);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** Reads no more. */
  stop(): void {
    this.#stop.abort();
  }

  async #read(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    const { signal } = this.#stop;
    try {
      for await (const text of stream.pipeThrough(new TextDecoderStream(), { signal })) {
        this.text = `${this.text}${text}`.slice(-OUTPUT_LENGTH_MAX);
        this.#wake();
      }
    } catch {
      // stopped
    }
    this.#ended = true;
    this.#wake();
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}

/** A process that does not outlive the block that started it. */
class Child implements AsyncDisposable {
  readonly out: Output;
  readonly err: Output;
  readonly #child: Deno.ChildProcess;

  constructor([program, ...args]: readonly string[], directory: string) {
    this.#child = new Deno.Command(program!, {
      args,
      cwd: directory,
      env: { NO_COLOR: "1" },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.out = new Output(this.#child.stdout);
    this.err = new Output(this.#child.stderr);
  }

  /** True when it runs for so long. */
  async lives(forMs: number): Promise<boolean> {
    const over = new AbortController();
    try {
      const ended = this.#child.status.then(() => false);
      return await Promise.race([ended, delay(forMs, over.signal).then(() => true)]);
    } finally {
      over.abort();
    }
  }

  /** Sends a signal, unless it has ended. */
  kill(signal: Deno.Signal): void {
    try {
      this.#child.kill(signal);
    } catch {
      // it has ended already
    }
  }

  /** The exit code, when all output was read; what does not end in time is killed (137). */
  async end(withinMs: number): Promise<number> {
    const outputs = [this.out, this.err];
    const late = setTimeout(() => this.kill("SIGKILL"), withinMs);
    const { code } = await this.#child.status;
    clearTimeout(late);
    const held = setTimeout(() => outputs.forEach((output) => output.stop()), HELD_MS);
    await Promise.all(outputs.map(({ done }) => done));
    clearTimeout(held);
    return code;
  }

  /** `; it printed: …` */
  printed(): string {
    const text = `${this.err.text}${this.out.text}`.trim();
    return text === "" ? "; it printed nothing" : `; it printed: ${text.slice(-TOLD_LENGTH_MAX)}`;
  }

  /** Ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.kill("SIGKILL");
    await this.end(0);
  }
}
