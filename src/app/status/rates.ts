/**
 * Rates from the counters of two looks at the same box.
 *
 * @module
 */
import type { StatusReport, Totals } from "./health.ts";

/** Two looks that are nearer than this tell nothing new. */
const WINDOW_MS = 500;

/** Per second. */
export interface RatesNow {
  readonly totals: Totals;
  /** Messages of a session, an input or an output, by kind and name. */
  readonly rows: ReadonlyMap<string, number>;
}

/** Remembers the last look. */
export class Rates {
  /** As of the last look; null until there were two. */
  now: RatesNow | null = null;
  #last: StatusReport | null = null;

  /** Takes a look. A box that was started again, or whose clock went back, starts afresh. */
  take(report: StatusReport): void {
    const last = this.#last;
    const ms = last === null ? 0 : report.nowMs - last.nowMs;
    if (last !== null && last.startedMs === report.startedMs && ms >= 0 && ms < WINDOW_MS) return;
    this.#last = report;
    this.now = last === null || last.startedMs !== report.startedMs || ms <= 0
      ? null
      : between(last, report, ms / 1000);
  }
}

/** The key of a row in {@linkcode RatesNow}. */
export function rateKey(kind: "session" | "input" | "output", name: string): string {
  return `${kind} ${name}`;
}

function between(last: StatusReport, now: StatusReport, seconds: number): RatesNow {
  const rate = (after: number, before: number): number => Math.max(0, after - before) / seconds;
  const before = counts(last);
  const rows = new Map<string, number>();
  for (const [key, count] of counts(now)) rows.set(key, rate(count, before.get(key) ?? count));
  return {
    totals: {
      messagesIn: rate(now.totals.messagesIn, last.totals.messagesIn),
      bytesIn: rate(now.totals.bytesIn, last.totals.bytesIn),
      messagesOut: rate(now.totals.messagesOut, last.totals.messagesOut),
      bytesOut: rate(now.totals.bytesOut, last.totals.bytesOut),
    },
    rows,
  };
}

function counts({ inputs = [], outputs = [], sessions }: StatusReport): Map<string, number> {
  const all = new Map<string, number>();
  for (const { name, messagesReceived, messagesSent } of sessions) {
    all.set(rateKey("session", name), messagesSent + messagesReceived);
  }
  for (const { name, messages } of inputs) all.set(rateKey("input", name), messages);
  for (const { name, messages } of outputs) all.set(rateKey("output", name), messages);
  return all;
}
