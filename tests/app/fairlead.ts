/**
 * The `fairlead` command as a process of its own, for tests of commands; and a relay that cuts
 * the connections it carries.
 *
 * @module
 */
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(import.meta.resolve("../../src/main.ts"));
/** Nothing here takes this long; a test that hangs ends with what was printed so far. */
const DEADLINE_MS = 20_000;

/** How a command ended. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running command. Ends with the test at the latest. */
export class Fairlead implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #deadline: ReturnType<typeof setTimeout>;
  readonly #done: Promise<void>;
  readonly #piped: boolean;
  readonly #waiters: (() => void)[] = [];
  #stdout = "";
  #stderr = "";

  private constructor(words: readonly string[], stdin: "piped" | "null") {
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "-A", MAIN, ...words],
      stdin,
      stdout: "piped",
      stderr: "piped",
      env: { NO_COLOR: "1" },
    }).spawn();
    this.#piped = stdin === "piped";
    this.#deadline = setTimeout(() => this.#child.kill("SIGKILL"), DEADLINE_MS);
    this.#done = Promise.all([
      this.#gather(this.#child.stdout, (text) => this.#stdout += text),
      this.#gather(this.#child.stderr, (text) => this.#stderr += text),
    ]).then(() => this.#wake());
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
    return await this.#match(pattern, () => this.#stderr);
  }

  /** Waits for text on standard output; returns the match. */
  async stdoutMatch(pattern: RegExp): Promise<RegExpExecArray> {
    return await this.#match(pattern, () => this.#stdout);
  }

  /** Waits for the end. */
  async ended(): Promise<Ended> {
    const { code } = await this.#child.status;
    await this.#done;
    clearTimeout(this.#deadline);
    return { code, stdout: this.#stdout, stderr: this.#stderr };
  }

  /** Ends the process if it has not ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // it has ended already
    }
    if (this.#piped) await this.#child.stdin.abort().catch(() => {});
    await this.ended();
  }

  async #match(pattern: RegExp, text: () => string): Promise<RegExpExecArray> {
    let ended = false;
    this.#done.then(() => ended = true);
    for (;;) {
      const match = pattern.exec(text());
      if (match !== null) return match;
      if (ended) throw new Error(`${pattern} never came: ${this.#stdout}${this.#stderr}`);
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
    }
  }

  async #gather(stream: ReadableStream<Uint8Array>, take: (text: string) => void): Promise<void> {
    const decoder = new TextDecoder();
    for await (const bytes of stream) {
      take(decoder.decode(bytes, { stream: true }));
      this.#wake();
    }
  }

  #wake(): void {
    for (const resolve of this.#waiters.splice(0)) resolve();
  }
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
