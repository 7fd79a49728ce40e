/**
 * The two ends of `fairlead bench` as processes of their own, which speak JSON with whoever started
 * them.
 *
 * @module
 */
import { selfCommand } from "./self.ts";

/** Runs `fairlead bench --client`; returns what it prints. */
export async function runClient(words: readonly string[]): Promise<unknown> {
  const child = selfCommand(words, { stdin: "null", stderr: "inherit" });
  const { code, stdout } = await child.output();
  const text = new TextDecoder().decode(stdout);
  if (text === "") throw new Error(`The client ended with exit code ${code}`);
  return JSON.parse(text); // one that lost messages tells so, and ends with a failure
}

/** `fairlead bench --server` beside us. */
export class ServerProcess implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #errors: AsyncIterator<string>;

  /** Starts it; `words` are more flags. */
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

  /** What it tells about the run whose last session has just ended. */
  async served(): Promise<unknown> {
    const { value } = await this.#lines.next();
    if (value === undefined) throw new Error("The server ended before its client");
    return JSON.parse(value);
  }

  /** Ends it. */
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
