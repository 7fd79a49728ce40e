/**
 * Lines of standard input, or of any other stream of bytes. While there is no room nothing more is
 * read; the end of the stream ends the input, which is no trouble.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import type { Input, InputCounts, Intake } from "../gateway/intake.ts";
import { LineBuffer } from "../line_buffer.ts";
import { delay } from "../delay.ts";
import { MessageTaker, sameBytes } from "./message_taker.ts";
import { untilQuiet } from "./quiet.ts";

/** After the deadline of `stop`: for the line that waited for room, to see that it is over. */
const FAREWELL_MS = 1000;

/** The names are those of the configuration. */
export interface StdinOptions {
  readonly topic: string;
}

/** Starts to read `stream`: this process's standard input, or any other one. */
export function openStdin(
  name: string,
  options: StdinOptions,
  intake: Intake,
  stream: ReadableStream<Uint8Array>,
): StdinInput {
  return new StdinInput(name, options, intake, stream);
}

/** A running one. */
export class StdinInput implements Input {
  readonly name: string;
  readonly where = "standard input";
  /** Resolves when the stream has ended, broken or not, and all that came was taken. */
  readonly ended: Promise<void>;
  #trouble = "";
  /** Counts pieces that came. */
  #arrived = 0;
  #stopping = false;
  readonly #taker: MessageTaker;
  readonly #lines = new LineBuffer();
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;

  constructor(
    name: string,
    { topic }: StdinOptions,
    intake: Intake,
    stream: ReadableStream<Uint8Array>,
  ) {
    this.name = name;
    this.#taker = new MessageTaker(
      { topic, contentType: "text/plain", payload: sameBytes },
      intake,
    );
    this.#reader = stream.getReader();
    this.ended = this.#readAll();
  }

  get counts(): InputCounts {
    return this.#taker.counts;
  }

  get trouble(): string {
    return this.#trouble;
  }

  async stop(deadlineMs: number): Promise<void> {
    if (!await this.#endedWithin(0)) await untilQuiet(() => this.#arrived, deadlineMs);
    this.#stopping = true;
    this.#reader.cancel().catch(() => {}); // a stream that broke meanwhile needs no end
    if (await this.#endedWithin(deadlineMs - nowMs())) return;
    this.#taker.abandon();
    await this.#endedWithin(FAREWELL_MS);
  }

  async #endedWithin(ms: number): Promise<boolean> {
    const timer = new AbortController();
    const ended = await Promise.race([
      this.ended.then(() => true),
      delay(Math.max(0, ms), timer.signal).then(() => false),
    ]);
    timer.abort();
    return ended;
  }

  async #readAll(): Promise<void> {
    try {
      for (let piece = await this.#read(); piece !== null; piece = await this.#read()) {
        await this.#takePiece(piece);
      }
      const rest = this.#stopping ? null : this.#lines.rest();
      if (rest !== null) await this.#taker.take(rest, false);
    } catch (error) {
      this.#trouble = `Cannot read standard input: ${(error as Error).message}; start again with ` +
        "a readable one, or remove this input";
    }
    this.#countTooLong();
    if (this.#lines.partial) this.counts.refused++;
  }

  async #read(): Promise<Uint8Array | null> {
    const { value } = await this.#reader.read();
    this.#arrived++;
    return value ?? null;
  }

  async #takePiece(piece: Uint8Array): Promise<void> {
    const lines = this.#lines;
    for (let at = 0; at < piece.length;) {
      const room = lines.room();
      const part = piece.subarray(at, at + room.length);
      room.set(part);
      lines.filled(part.length);
      at += part.length;
      for (let line = lines.next(); line !== null; line = lines.next()) {
        const later = this.#taker.take(line, false);
        if (later !== null) await later;
      }
      this.#countTooLong();
    }
  }

  #countTooLong(): void {
    this.counts.refused += this.#lines.tooLong;
    this.#lines.tooLong = 0;
  }
}
