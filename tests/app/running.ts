/** A `fairlead` process under test: its output line by line, its signals, its end. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const WAIT_MS = 20_000;

/** What a process has printed on one of its streams. */
class Output {
  readonly lines: string[] = [];
  readonly done: Promise<void>;
  #taken = 0;
  #ended = false;
  #changed: () => void = () => {};

  constructor(stream: ReadableStream<Uint8Array<ArrayBuffer>>) {
    this.done = this.#read(stream);
  }

  /** The next line, after the last one returned, that matches. */
  async line(pattern: RegExp): Promise<string> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`No line ${pattern} in ${this}`)), WAIT_MS);
    });
    try {
      while (true) {
        while (this.#taken < this.lines.length) {
          const line = this.lines[this.#taken++]!;
          if (pattern.test(line)) return line;
        }
        if (this.#ended) throw new Error(`Ended without a line ${pattern}: ${this}`);
        await Promise.race([new Promise<void>((resolve) => this.#changed = resolve), late]);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  toString(): string {
    return this.lines.slice(-20).join("\n");
  }

  async #read(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    let rest = "";
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      const parts = `${rest}${text}`.split("\n");
      rest = parts.pop()!;
      this.lines.push(...parts);
      this.#changed();
    }
    this.#ended = true;
    this.#changed();
  }
}

/** One process; killed at the end of the block that declared it with `await using`. */
export class Running {
  readonly out: Output;
  readonly err: Output;
  readonly #child: Deno.ChildProcess;
  #code: number | null = null;

  constructor(...words: string[]) {
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", MAIN, ...words],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      env: { NO_COLOR: "1" },
    }).spawn();
    this.out = new Output(this.#child.stdout);
    this.err = new Output(this.#child.stderr);
  }

  /** Sends a signal. */
  kill(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** The exit code, when all output has been read; a process that does not end is killed (137). */
  async end(): Promise<number> {
    const late = setTimeout(() => this.kill("SIGKILL"), WAIT_MS);
    const { code } = await this.#child.status;
    clearTimeout(late);
    this.#code = code;
    await Promise.all([this.out.done, this.err.done]);
    return code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#code !== null) return;
    try {
      this.kill("SIGKILL");
    } catch {
      // It ended by itself.
    }
    await this.end();
  }
}

/** What `pattern`'s first group matched. */
export function group(text: string, pattern: RegExp): string {
  const found = pattern.exec(text)?.[1];
  assert(found !== undefined, `${pattern} in ${text}`);
  return found;
}
