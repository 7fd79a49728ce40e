/**
 * Child processes with deadlines, for the tests against real peers. Nothing here outlives the
 * test run: commands run under coreutils' timeout(1), daemons ask the kernel for SIGKILL when the
 * thread that started them ends (prctl PR_SET_PDEATHSIG).
 *
 * @module
 */

/** How a command ended. */
export interface Finished {
  /** Exit status; 124 or 137 means that the deadline passed. */
  code: number;
  /** Standard output as text. */
  stdout: string;
  /** Standard error as text. */
  stderr: string;
}

/** What a command may be given. */
export interface RunOptions {
  /** Killed after this long; 30 s when absent. */
  deadlineMs?: number;
  /** Text for standard input; nothing when absent. */
  stdin?: string;
  /** Variables on top of the inherited ones. */
  env?: Record<string, string>;
}

/** The locale that makes other programs' texts parseable. */
const ENV = { LC_ALL: "C", CEPH_ARGS: "", CEPH_CONF: "" };
const KILL_GRACE_S = 2;
/** How much of what a program said goes into an error. */
const SAID_MAX = 2000;

/** Runs a command to its end, whatever its exit status; a missing program is status 127. */
export async function run(argv: string[], options: RunOptions = {}): Promise<Finished> {
  const seconds = (options.deadlineMs ?? 30_000) / 1000;
  const child = new Deno.Command("timeout", {
    args: [`--kill-after=${KILL_GRACE_S}`, `${seconds}`, ...argv],
    stdin: options.stdin === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
    env: { ...ENV, ...options.env },
  }).spawn();
  const output = child.output();
  if (options.stdin !== undefined) await feed(child.stdin, options.stdin);
  const { code, stdout, stderr } = await output;
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** Runs a command and returns its standard output; throws when its exit status is not 0. */
export async function must(argv: string[], options: RunOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await run(argv, options);
  if (code !== 0) {
    const why = stderr.trim().slice(-SAID_MAX);
    throw new Error(`Cannot run ${argv.join(" ")}: status ${code}: ${why}`);
  }
  return stdout;
}

/** Whether a program is on the path. */
export async function hasProgram(name: string): Promise<boolean> {
  return (await run(["sh", "-c", 'command -v "$0"', name])).code === 0;
}

/** A program that runs beside the test, its output in a file. */
export class Daemon implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #outputPath: string;
  #code: number | null = null;

  private constructor(child: Deno.ChildProcess, outputPath: string) {
    this.#child = child;
    this.#outputPath = outputPath;
    this.exited = child.status.then((status) => this.#code = status.code);
  }

  /** Settles with the exit status. */
  readonly exited: Promise<number>;

  /** Starts a program whose standard output and error go to `outputPath`. */
  static start(argv: string[], outputPath: string, env: Record<string, string> = {}): Daemon {
    const child = new Deno.Command("setpriv", {
      args: ["--pdeathsig", "KILL", "sh", "-c", 'exec "$@" >"$0" 2>&1', outputPath, ...argv],
      stdin: "null",
      stdout: "null",
      stderr: "null",
      env: { ...ENV, ...env },
    }).spawn();
    return new Daemon(child, outputPath);
  }

  /** The process id; every wrapper on the way execs, so it is the program's own. */
  get pid(): number {
    return this.#child.pid;
  }

  /** Whether it has not ended yet. */
  get running(): boolean {
    return this.#code === null;
  }

  /** What it has printed so far. */
  output(): string {
    return readIfThere(this.#outputPath);
  }

  /** Sends a signal and waits for the end. */
  async stop(signal: Deno.Signal = "SIGKILL"): Promise<void> {
    if (this.running) this.#child.kill(signal);
    await this.exited;
  }

  /** Kills it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Waits until `ready` says true; throws when the program ends or the deadline passes first. */
  async until(
    what: string,
    ready: () => boolean | Promise<boolean>,
    deadlineMs: number,
  ): Promise<void> {
    const deadline = performance.now() + deadlineMs;
    while (!(await ready())) {
      const late = performance.now() > deadline;
      if (late || !this.running) {
        const why = late ? `not within ${deadlineMs} ms` : `ended with status ${this.#code}`;
        throw new Error(`Cannot wait until ${what}: ${why}: ${this.output().slice(-SAID_MAX)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }
}

/** Real processes tell nothing when they become ready, so this is asked again. */
const POLL_MS = 10;

/** Whether a process's network namespace has a TCP socket listening on a port. */
export function listens(pid: number, port: number): boolean {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  const listening = new RegExp(`^\\s*\\d+: [0-9A-F]+:${hex} [0-9A-F]+:0000 0A `, "m");
  return ["tcp", "tcp6"].some((table) => listening.test(readIfThere(`/proc/${pid}/net/${table}`)));
}

/**
 * A TCP port that is free on loopback, below the range that the kernel gives to outgoing
 * connections: a daemon that is restarted finds its port still free.
 */
export function freePort(): number {
  for (let attempt = 0; attempt < 100; attempt++) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    try {
      Deno.listen({ hostname: "127.0.0.1", port }).close();
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
  throw new Error("Cannot find a free port: 100 of 10000 to 29999 are taken");
}

/** A file's text; nothing when it is not there yet, or no more. */
function readIfThere(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}

async function feed(stdin: WritableStream<Uint8Array>, text: string): Promise<void> {
  const writer = stdin.getWriter();
  try {
    await writer.write(new TextEncoder().encode(text));
    await writer.close();
  } catch (error) {
    // A program may end without reading; its exit status tells whether that was right.
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}
