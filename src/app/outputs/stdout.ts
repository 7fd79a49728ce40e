/**
 * Messages on standard output. Written beside the event loop, so that a terminal that was stopped
 * or a pipe that nobody reads does not stop the hub; a reader that went away is told as trouble, as
 * the hub has other outputs. At-least-once as far as the pipe, when it is required.
 *
 * @module
 */
import type { Output, OutputCounts, Received } from "../hub/output.ts";
import { outputCounts } from "./counts.ts";
import { type Format, MessageBuffer } from "./format.ts";

/** What may wait for the reader when it is not required; when it is, a round of the hub waits. */
const WAITING_BYTES_MAX = 4 * 1024 * 1024;
/** A reader that takes so long to take a round is told as trouble, and asked again. */
const FLUSH_DEADLINE_MS = 2000;
/** On close: what a reader has not taken by then is given up. */
const CLOSE_DEADLINE_MS = 1000;

/** How it is configured. */
export interface StdoutOptions {
  readonly type: "stdout";
  readonly format: Format;
  readonly required: boolean;
}

/** Standard output, or what a test puts in its place. */
export class StdoutOutput implements Output {
  readonly name: string;
  readonly required: boolean;
  readonly counts: OutputCounts = outputCounts();
  readonly where: string = "standard output";
  readonly #to: { write(bytes: Uint8Array): Promise<number> };
  readonly #buffer: MessageBuffer;
  #trouble = "";
  /** The reader is gone. */
  #broken = false;
  #writing: Promise<void> | null = null;
  /** Rejects when the reader is gone. */
  readonly gone: Promise<never>;
  #tellGone: (error: Error) => void = () => {};

  constructor(
    name: string,
    options: StdoutOptions,
    to: { write(bytes: Uint8Array): Promise<number> } = Deno.stdout,
  ) {
    this.name = name;
    this.required = options.required;
    this.#to = to;
    this.#buffer = new MessageBuffer(options.format);
    this.gone = new Promise((_resolve, reject) => this.#tellGone = reject);
    this.gone.catch(() => {}); // who waits for it hears it as well
  }

  get trouble(): string {
    return this.#trouble;
  }

  take(message: Received): void {
    if (this.#broken || !this.required && this.#buffer.size > WAITING_BYTES_MAX) {
      if (!this.required) this.#drop();
      return;
    }
    this.counts.messages++;
    this.counts.bytes += this.#buffer.add(message);
    this.#writing ??= this.#writeAll();
  }

  async flush(): Promise<void> {
    if (this.#buffer.size > 0) this.#writing ??= this.#writeAll();
    if (!this.required) return;
    await this.#written(FLUSH_DEADLINE_MS);
    if (this.#writing !== null) {
      this.#trouble =
        `Cannot write to ${this.where} as its reader takes nothing: read it, or end it`;
    }
    if (this.#broken || this.#buffer.size > 0) throw new Error(this.#trouble);
  }

  position(): null {
    return null;
  }

  async close(): Promise<void> {
    await this.#written(CLOSE_DEADLINE_MS);
  }

  /** Waits for the write under way, but no longer than this. */
  async #written(deadlineMs: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, deadlineMs));
    await Promise.race([this.#writing, late]);
    clearTimeout(timer);
  }

  /** Begins after the turn that took the first message: a round is one write. */
  async #writeAll(): Promise<void> {
    await Promise.resolve();
    try {
      while (this.#buffer.size > 0) this.#buffer.drop(await this.#to.write(this.#buffer.view()));
      if (!this.#broken) this.#trouble = "";
    } catch (error) {
      if (error instanceof Deno.errors.BrokenPipe) this.#break(error.message);
      else this.#trouble = `Cannot write to ${this.where}: ${(error as Error).message}`;
    }
    this.#writing = null;
  }

  #drop(): void {
    this.counts.dropped++;
    if (!this.#broken) {
      this.#trouble = `Cannot write to ${this.where} as nobody reads it: messages are dropped`;
    }
  }

  #break(why: string): void {
    if (this.#broken) return;
    this.#broken = true;
    this.#trouble = `Cannot write to ${this.where}: ${why}; start the hub again with a reader`;
    this.#buffer.drop(this.#buffer.size);
    this.#tellGone(new Error(this.#trouble));
  }
}
