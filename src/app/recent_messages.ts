/**
 * What a person sees of arriving messages: the last ones, and each gateway's last reading.
 *
 * @module
 */
import type { Output, OutputCounts, Received } from "./hub/output.ts";
import { cut, printable, printableBytes, printableWord } from "./printable.ts";
import { readingSummary } from "./readings.ts";

const LINES_MAX = 50;
const LINE_BYTES_SHOWN = 512;
const GATEWAYS_SHOWN = 64;
/** A larger one is kept as if it were empty: ours take 32 KiB at most. */
const READING_BYTES_MAX = 64 * 1024;
const READINGS_TOPIC = "readings";
const JSON_TYPE = "application/json";

const decoder = new TextDecoder();

/** Keeps the last messages; an output of a hub that is never waited for. */
export class RecentMessages implements Output {
  readonly name = "view";
  readonly required = false;
  readonly counts: OutputCounts = { messages: 0, bytes: 0, dropped: 0, reopened: 0 };
  readonly where = "the live view";
  readonly trouble = "";
  readonly #lines: { time: string; gateway: string; topic: string; payload: Uint8Array }[] = [];
  readonly #readings = new Map<string, string>();
  #second = 0;
  #time = "";

  take({ contentType, gateway, payload, topic }: Received): void {
    if (topic === READINGS_TOPIC && contentType === JSON_TYPE) {
      this.#takeReading(gateway, payload);
      return;
    }
    const shown = payload.slice(0, LINE_BYTES_SHOWN + 1);
    this.#lines.push({ time: this.#clock(), gateway, topic, payload: shown });
    if (this.#lines.length > LINES_MAX) this.#lines.shift();
  }

  flush(): Promise<void> {
    return Promise.resolve();
  }

  position(): null {
    return null;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  /** The last messages, newest last. */
  lines(count: number): string[] {
    if (count <= 0) return [];
    return this.#lines.slice(-count).map(({ gateway, payload, time, topic }) => {
      const text = decoder.decode(printableBytes(payload.subarray(0, LINE_BYTES_SHOWN)));
      const whole = payload.length > LINE_BYTES_SHOWN ? cut(`${text} `, LINE_BYTES_SHOWN) : text;
      return `${time} ${printableWord(gateway)} ${printableWord(topic)} ${whole}`;
    });
  }

  /** Each gateway's last reading. */
  readings(): string[] {
    return [...this.#readings].map(([name, json]) => {
      const summary = readingSummary(json);
      const text = summary === null ? "a reading that is no JSON" : printable(summary);
      return `${printableWord(name)} ${text}`;
    });
  }

  #takeReading(gateway: string, payload: Uint8Array): void {
    if (!this.#readings.has(gateway) && this.#readings.size >= GATEWAYS_SHOWN) return;
    const json = payload.length > READING_BYTES_MAX ? "" : decoder.decode(payload);
    this.#readings.set(gateway, json);
  }

  #clock(): string {
    const second = Math.floor(Date.now() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#time = clockText(new Date());
    }
    return this.#time;
  }
}

/** `09:05:07`, local time. */
export function clockText(at: Date): string {
  return at.toTimeString().slice(0, 8);
}
