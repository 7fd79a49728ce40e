/**
 * The live view of a gateway or hub that runs in a terminal: what `fairlead top` shows of it, and the
 * last messages.
 *
 * @module
 */
import type { Render, Row } from "../live_view.ts";
import type { RecentMessages } from "../recent_messages.ts";
import type { StatusReport } from "./health.ts";
import { Rates } from "./rates.ts";
import { topRows } from "./top_view.ts";

const READINGS_SHOWN = 3;
/** The last messages get at least this much of a terminal. */
const RECENT_SHARE = 0.3;

/** Draws reports; `recent` null where messages are seen elsewhere. */
export function daemonRows(
  report: () => StatusReport,
  statusUrl: string | null,
  recent: RecentMessages | null,
): Render {
  const rates = new Rates();
  return (rows) => {
    const now = report();
    rates.take(now);
    const hints: Row[] = [{
      text: `${statusUrl === null ? "" : `Status page: ${statusUrl}  `}Stop: Ctrl-C`,
      style: "dim",
    }];
    const all = topRows(now, rates.now);
    if (recent === null) return [...hints, ...all].slice(0, rows);
    const room = Math.max(0, Math.floor(rows * (1 - RECENT_SHARE)) - hints.length);
    const shown = all.slice(0, room);
    const left = rows - shown.length - hints.length;
    return [...hints, ...shown, ...recentRows(recent, left)].slice(0, rows);
  };
}

function recentRows(recent: RecentMessages, rows: number): Row[] {
  const readings = recent.readings().slice(0, READINGS_SHOWN);
  const shown: Row[] = [{ text: "LAST MESSAGES", style: "bold" }];
  for (const text of readings) shown.push({ text });
  const lines = recent.lines(rows - shown.length);
  for (const text of lines) shown.push({ text });
  if (lines.length + readings.length === 0) shown.push({ text: "none yet", style: "dim" });
  return shown;
}
