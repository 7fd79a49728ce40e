/**
 * What follows PRI in a message of RFC 3164 section 4.1: TIMESTAMP, HOSTNAME, TAG and CONTENT.
 * Senders vary: a time may have its year, or be one of RFC 3339; the host may be missing.
 *
 * @module
 */
import { isDate, isTime, nearestYear } from "./calendar.ts";
import { isTimestamp } from "./ietf.ts";
import type { SyslogMessage } from "./message.ts";

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/** Section 4.1.2: `Mmm dd hh:mm:ss`, a day below 10 is padded by a space. */
const TIMESTAMP =
  /^([A-Z][a-z]{2}) ([ 0-3]?\d)(?: (\d{4}))? (\d\d):(\d\d):(\d\d)(\.\d{1,6})?(?= |$)/;
const TIMESTAMP_LENGTH_MAX = 40;
/** Section 4.1.3, and the `TAG[PID]:` that is common. */
const TAG = /^([^\s:[\]]{1,255})(?:\[([^\s\]]{0,255})\])?:(?: |$)/;

/** Reads from offset `at` into `message`; without a time all of it is CONTENT (section 4.3.2). */
export function readBsd(text: string, at: number, nowMs: number, message: SyslogMessage): void {
  message.format = "rfc3164";
  const time = readTime(text.slice(at, at + TIMESTAMP_LENGTH_MAX), nowMs);
  if (time === null) {
    message.message = text.slice(at);
    return;
  }
  message.timestamp = time.timestamp;
  message.timestamp_text = time.text;
  let rest = text.slice(at + time.text.length + 1);
  const space = rest.indexOf(" ");
  const first = space < 0 ? rest : rest.slice(0, space);
  if (space > 0 && !isTag(first)) {
    message.hostname = first;
    rest = rest.slice(space + 1);
  }
  const tag = TAG.exec(rest);
  message.appname = tag?.[1] ?? null;
  message.procid = tag?.[2] || null;
  message.message = tag === null ? rest : rest.slice(tag[0].length);
}

/** A word where the host is expected, but which no host can be. */
function isTag(word: string): boolean {
  return word.endsWith(":") || word.includes("[");
}

/** The time at the start, normalized and as it stands there; null when there is none. */
function readTime(text: string, nowMs: number): { timestamp: string; text: string } | null {
  const match = TIMESTAMP.exec(text);
  if (match === null) {
    const [first] = text.split(" ", 1);
    return isTimestamp(first!) ? { timestamp: first!, text: first! } : null;
  }
  const [whole, monthName, dayText, yearText, hour, minute, second, fraction = ""] = match;
  const month = MONTHS.indexOf(monthName!) + 1;
  const day = Number(dayText);
  const year = yearText === undefined ? nearestYear(month, day, nowMs) : Number(yearText);
  if (year === 0 || !isDate(year, month, day)) return null;
  if (!isTime(Number(hour), Number(minute), Number(second))) return null;
  const date = `${`${year}`.padStart(4, "0")}-${twoDigits(month)}-${twoDigits(day)}`;
  return { timestamp: `${date}T${hour}:${minute}:${second}${fraction}`, text: whole };
}

function twoDigits(value: number): string {
  return `${value}`.padStart(2, "0");
}
