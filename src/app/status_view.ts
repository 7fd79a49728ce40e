/**
 * The layout of the live view of gateway and hub: title, hints, sessions, counts, and in the rows
 * that are left the last readings, lines and events.
 *
 * @module
 */
import type { EventLog } from "./event_log.ts";
import type { Row } from "./live_view.ts";
import type { RecentMessages } from "./recent_messages.ts";

const READINGS_SHOWN = 3;
const EVENTS_SHOWN = 4;

/** What is shown. */
export interface Status {
  readonly title: string;
  readonly hints: readonly string[];
  readonly table: readonly Row[];
  /** Counts, and what is wrong. */
  readonly notes: readonly Row[];
  readonly recent: RecentMessages | null;
  readonly log: EventLog;
}

/** The rows of a status, at most `rows`. */
export function statusRows(status: Status, rows: number): Row[] {
  const { title, hints, table, notes, recent, log } = status;
  const shown: Row[] = [
    { text: title, style: "bold" },
    ...hints.map((text): Row => ({ text, style: "dim" })),
    ...table,
    ...notes,
  ];
  const events = log.entries(EVENTS_SHOWN);
  if (recent !== null) {
    const readings = recent.readings();
    if (readings.length > 0) shown.push({ text: "LAST READINGS", style: "bold" });
    for (const text of readings.slice(0, READINGS_SHOWN)) shown.push({ text });
    const left = rows - shown.length - events.length - 2;
    const lines = recent.lines(left);
    shown.push({ text: "LAST LINES", style: "bold" });
    for (const text of lines) shown.push({ text });
    if (lines.length === 0) shown.push({ text: "none yet", style: "dim" });
  }
  if (events.length > 0) shown.push({ text: "EVENTS", style: "bold" });
  for (const text of events) shown.push({ text });
  return shown.slice(0, rows);
}

/** `0:00:12`, `3 d 4:05:06`. */
export function upText(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const days = Math.floor(seconds / 86_400);
  const two = (value: number): string => `${value % 60}`.padStart(2, "0");
  const clock = `${Math.floor(seconds / 3600) % 24}:${two(Math.floor(seconds / 60))}:${
    two(seconds)
  }`;
  return days > 0 ? `${days} d ${clock}` : clock;
}
