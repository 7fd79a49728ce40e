/**
 * The `fairlead` command as a process of its own, for tests of commands; and a relay that cuts
 * the connections it carries.
 *
 * @module
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(import.meta.resolve("../../src/main.ts"));
/** No output takes this long to come; a test that hangs ends with what was printed so far. */
const WAIT_MS = 20_000;
/** No command runs for so long. */
const LIFE_MS = 60_000;

/** How a command ended. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a process prints on one of its streams. */
class Output {
  /** All of it so far. */
  text = "";
  /** Whole lines so far. */
  readonly lines: string[] = [];
  readonly done: Promise<void>;
  #rest = "";
  #taken = 0;
  #ended = false;
  #changed = Promise.withResolvers<void>();

  constructor(stream: ReadableStream<Uint8Array<ArrayBuffer>>) {
    this.done = this.#read(stream);
  }

  /** The next line, after the last one returned, that matches. */
  async line(pattern: RegExp): Promise<string> {
    return await this.#await(pattern, () => {
      while (this.#taken < this.lines.length) {
        const line = this.lines[this.#taken++]!;
        if (pattern.test(line)) return line;
      }
      return null;
    });
  }

  /** The first match in all that is printed. */
  async match(pattern: RegExp): Promise<RegExpExecArray> {
    return await this.#await(pattern, () => pattern.exec(this.text));
  }

  async #await<T>(pattern: RegExp, look: () => T | null): Promise<T> {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => late.reject(this.#missing(pattern)), WAIT_MS);
    try {
      for (;;) {
        const changed = this.#changed.promise;
        const found = look();
        if (found !== null) return found;
        if (this.#ended) throw this.#missing(pattern);
        await Promise.race([changed, late.promise]);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  #missing(pattern: RegExp): Error {
    return new Error(`${pattern} never came: ${this.text.slice(-2000)}`);
  }

  async #read(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      this.text += text;
      const parts = `${this.#rest}${text}`.split("\n");
      this.#rest = parts.pop()!;
      this.lines.push(...parts);
      this.#wake();
    }
    this.#ended = true;
    this.#wake();
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}

/** A running command; killed at the end of the block that declared it with `await using`. */
export class Fairlead implements AsyncDisposable {
  readonly out: Output;
  readonly err: Output;
  readonly #child: Deno.ChildProcess;
  readonly #deadline: ReturnType<typeof setTimeout>;
  readonly #piped: boolean;

  private constructor(words: readonly string[], stdin: "piped" | "null") {
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "-A", MAIN, ...words],
      stdin,
      stdout: "piped",
      stderr: "piped",
      env: { NO_COLOR: "1" },
    }).spawn();
    this.#piped = stdin === "piped";
    this.#deadline = setTimeout(() => this.#child.kill("SIGKILL"), LIFE_MS);
    this.out = new Output(this.#child.stdout);
    this.err = new Output(this.#child.stderr);
  }

  /** Starts a command without standard input. */
  static start(...words: string[]): Fairlead {
    return new Fairlead(words, "null");
  }

  /** Starts a command with standard input; see {@linkcode write} and {@linkcode endInput}. */
  static startPiped(...words: string[]): Fairlead {
    return new Fairlead(words, "piped");
  }

  /** Runs a command to its end. */
  static async run(...words: string[]): Promise<Ended> {
    await using command = Fairlead.start(...words);
    return await command.ended();
  }

  /** Writes to standard input. */
  async write(text: string): Promise<void> {
    const writer = this.#child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(text));
    writer.releaseLock();
  }

  /** Ends standard input. */
  async endInput(): Promise<void> {
    await this.#child.stdin.close();
  }

  /** Sends a signal. */
  kill(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** Waits for text on standard error; returns the match. */
  async stderrMatch(pattern: RegExp): Promise<RegExpExecArray> {
    return await this.err.match(pattern);
  }

  /** Waits for text on standard output; returns the match. */
  async stdoutMatch(pattern: RegExp): Promise<RegExpExecArray> {
    return await this.out.match(pattern);
  }

  /** The exit code, when all output has been read; a process that does not end is killed (137). */
  async end(): Promise<number> {
    const late = setTimeout(() => this.#child.kill("SIGKILL"), WAIT_MS);
    const { code } = await this.#child.status;
    clearTimeout(late);
    clearTimeout(this.#deadline);
    await Promise.all([this.out.done, this.err.done]);
    return code;
  }

  /** Waits for the end, and returns all that was printed. */
  async ended(): Promise<Ended> {
    const code = await this.end();
    return { code, stdout: this.out.text, stderr: this.err.text };
  }

  /** Ends the process if it has not ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // it has ended already
    }
    if (this.#piped) await this.#child.stdin.abort().catch(() => {});
    await this.end();
  }
}

/** What `pattern`'s first group matched. */
export function group(text: string, pattern: RegExp): string {
  const found = pattern.exec(text)?.[1];
  assert(found !== undefined, `${pattern} in ${text}`);
  return found;
}

/** A line of the log, whose pattern may begin with `^`: RFC 3339 in front of the sentence. */
export function logged(sentence: RegExp): RegExp {
  const text = sentence.source.replace(/^\^/, "");
  return new RegExp(`^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z ${text}`);
}

/** Carries TCP connections to `port`, and cuts each after as many bytes as `budget` says. */
export class CuttingRelay implements AsyncDisposable {
  /** Connections that were cut. */
  cuts = 0;
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #open = new Set<Deno.TcpConn>();
  readonly #work: Promise<void>[] = [];
  #to = 0;

  /** Where to connect. */
  get port(): number {
    return this.#listener.addr.port;
  }

  /** Starts carrying. @param budget bytes that the next connection carries; Infinity never cuts */
  start(port: number, budget: () => number): void {
    this.#to = port;
    this.#work.push(this.#accept(budget));
  }

  /** Ends everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const conn of this.#open) close(conn);
    await Promise.all(this.#work);
  }

  async #accept(budget: () => number): Promise<void> {
    for (;;) {
      let near: Deno.TcpConn;
      try {
        near = await this.#listener.accept();
      } catch {
        return; // closed
      }
      const far = await Deno.connect({ hostname: "127.0.0.1", port: this.#to });
      this.#open.add(near).add(far);
      const left = { bytes: budget() };
      this.#work.push(this.#carry(near, far, left), this.#carry(far, near, left));
    }
  }

  async #carry(from: Deno.TcpConn, to: Deno.TcpConn, left: { bytes: number }): Promise<void> {
    const chunk = new Uint8Array(16 * 1024);
    try {
      for (;;) {
        const count = await from.read(chunk);
        if (count === null) break;
        const carried = Math.min(count, left.bytes);
        left.bytes -= carried;
        for (let at = 0; at < carried;) at += await to.write(chunk.subarray(at, carried));
        if (carried < count) {
          this.cuts++;
          break;
        }
      }
    } catch {
      // the other direction has cut
    }
    this.#open.delete(from);
    this.#open.delete(to);
    close(from);
    close(to);
  }
}

function close(conn: Deno.TcpConn): void {
  try {
    conn.close();
  } catch {
    // closed from the other direction
  }
}

/** Numbers from a seed (xorshift32): 0 up to, not including, `below`. */
export function seeded(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}
