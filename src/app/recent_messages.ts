/**
 * What a person sees of arriving messages: the last lines, and each session's last reading.
 * Everything is bounded; at a high rate only the end of a batch is looked at.
 *
 * @module
 */
import type { Batch } from "../proto/msgr2/batch.ts";
import { FairleadType, messageTypeName } from "./message_types.ts";
import { cut, printable, printableBytes, printableWord } from "./printable.ts";
import { readingSummary } from "./readings.ts";

const LINES_MAX = 50;
const LINE_BYTES_SHOWN = 512;
const SESSIONS_SHOWN = 64;
/** A larger one is kept as if it were empty: ours take 32 KiB at most. */
const READING_BYTES_MAX = 64 * 1024;

const decoder = new TextDecoder();

interface Shown {
  readonly time: string;
  readonly name: string;
  readonly text: string;
}

/** Keeps the last messages. */
export class RecentMessages {
  #lines: Shown[] = [];
  readonly #readings = new Map<string, string>();

  /** Looks at a batch; its bytes are copied. */
  take(batch: Batch): void {
    const time = clockText(new Date());
    const lines: Shown[] = [];
    for (let index = batch.length - 1; index >= 0; index--) {
      if (batch.type(index) === FairleadType.Reading) this.#takeReading(batch, index);
      else if (lines.length < LINES_MAX) {
        const name = printableWord(batch.session(index).peerName);
        lines.push({ time, name, text: shownText(batch, index) });
      }
    }
    this.#lines = [...this.#lines, ...lines.reverse()].slice(-LINES_MAX);
  }

  /** The last lines, newest last. */
  lines(count: number): string[] {
    if (count <= 0) return [];
    return this.#lines.slice(-count).map(({ time, name, text }) => `${time} ${name} ${text}`);
  }

  /** Each session's last reading. */
  readings(): string[] {
    return [...this.#readings].map(([name, json]) => {
      const summary = readingSummary(json);
      return `${name} ${summary === null ? "a reading that is no JSON" : printable(summary)}`;
    });
  }

  #takeReading(batch: Batch, index: number): void {
    const name = printableWord(batch.session(index).peerName);
    if (!this.#readings.has(name) && this.#readings.size >= SESSIONS_SHOWN) return;
    const front = batch.front(index);
    this.#readings.set(name, front.length > READING_BYTES_MAX ? "" : decoder.decode(front));
  }
}

/** `09:05:07`, local time. */
export function clockText(at: Date): string {
  return at.toTimeString().slice(0, 8);
}

function shownText(batch: Batch, index: number): string {
  const type = batch.type(index);
  if (type === FairleadType.Line) {
    const front = batch.front(index);
    const text = decoder.decode(printableBytes(front.subarray(0, LINE_BYTES_SHOWN)));
    return front.length > LINE_BYTES_SHOWN ? cut(`${text} `, LINE_BYTES_SHOWN) : text;
  }
  const bytes = batch.frontBytes(index) + batch.middleBytes(index) + batch.dataBytes(index);
  return `(${messageTypeName(type)}, ${bytes} bytes)`;
}
