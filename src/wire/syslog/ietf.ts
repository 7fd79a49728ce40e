/**
 * What follows PRI in a message of RFC 5424 section 6: VERSION, TIMESTAMP, HOSTNAME, APP-NAME,
 * PROCID, MSGID, STRUCTURED-DATA and MSG.
 *
 * @module
 */
import { isDate, isTime } from "./calendar.ts";
import type { StructuredData, SyslogMessage } from "./message.ts";

const NILVALUE = "-";
const BOM = "\ufeff";
const VERSION = "1 ";
/** Section 6.2.3: T and Z are upper case, six digits of a second at most. */
const TIMESTAMP =
  /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d{1,6})?(?:Z|[+-](\d\d):(\d\d))$/;
/** Section 6.3.1: SD-NAME is printable ASCII without `=`, SP, `]` and `"`. */
const SD_NAME = /[!#-<>-\\^-~]+/y;

interface Place {
  at: number;
}

/**
 * Reads from offset `at` into `message`. `other`: it does not begin like a message of version 1.
 * `malformed`: it does, and `message` was left as it was.
 */
export function readIetf(
  text: string,
  at: number,
  message: SyslogMessage,
): "read" | "malformed" | "other" {
  if (!text.startsWith(VERSION, at)) return "other";
  const place = { at: at + VERSION.length };
  const timestamp = readToken(text, place);
  if (timestamp !== NILVALUE && !isTimestamp(timestamp)) {
    return looksLikeDate(timestamp) ? "malformed" : "other";
  }
  const hostname = readToken(text, place);
  const appname = readToken(text, place);
  const procid = readToken(text, place);
  const msgid = readToken(text, place);
  if (hostname === "" || appname === "" || procid === "" || msgid === "") return "malformed";
  const data = readStructuredData(text, place);
  if (data === undefined) return "malformed";
  if (place.at < text.length && text[place.at] !== " ") return "malformed";
  message.timestamp = orNull(timestamp);
  message.timestamp_text = message.timestamp;
  message.hostname = orNull(hostname);
  message.appname = orNull(appname);
  message.procid = orNull(procid);
  message.msgid = orNull(msgid);
  message.structured_data = data;
  const rest = text.slice(place.at + 1);
  message.message = rest.startsWith(BOM) ? rest.slice(1) : rest; // section 6.4: MSG-UTF8
  message.format = "rfc5424";
  return "read";
}

/** True for a TIMESTAMP of section 6.2.3, which is a stricter one of RFC 3339. */
export function isTimestamp(text: string): boolean {
  const match = TIMESTAMP.exec(text);
  if (match === null) return false;
  const [year, month, day, hour, minute, second, offsetHour, offsetMinute] = match.slice(1).map(
    (digits) => Number(digits ?? 0),
  );
  return isDate(year!, month!, day!) && isTime(hour!, minute!, second!) &&
    isTime(offsetHour!, offsetMinute!, 0);
}

function looksLikeDate(text: string): boolean {
  return /^\d{4}-\d/.test(text);
}

/**
 * Up to the next space, and that space too. Senders exceed the lengths of section 6.1 (48 for
 * APP-NAME), and the frame bounds them all: a longer one is taken as it is.
 */
function readToken(text: string, place: Place): string {
  const space = text.indexOf(" ", place.at);
  const end = space < 0 ? text.length : space;
  const token = text.slice(place.at, end);
  place.at = Math.min(end + 1, text.length);
  return token;
}

/** Section 6.3; null for NILVALUE, undefined when it is malformed. */
function readStructuredData(text: string, place: Place): StructuredData | null | undefined {
  if (text[place.at] === NILVALUE) {
    place.at++;
    return null;
  }
  // Without a prototype, "__proto__" is a name like any other.
  const data: StructuredData = Object.create(null);
  while (text[place.at] === "[") {
    place.at++;
    const id = readName(text, place);
    if (id === "" || id in data) return undefined; // section 6.3.2: each SD-ID once
    const element = readElement(text, place);
    if (element === undefined) return undefined;
    data[id] = element;
  }
  return Object.keys(data).length === 0 ? undefined : data;
}

/** `*(SP SD-PARAM) "]"` */
function readElement(
  text: string,
  place: Place,
): Record<string, string | string[]> | undefined {
  const element: Record<string, string | string[]> = Object.create(null);
  while (text[place.at] === " ") {
    place.at++;
    const name = readName(text, place);
    if (name === "" || !text.startsWith('="', place.at)) return undefined;
    place.at += 2;
    const value = readValue(text, place);
    if (value === undefined) return undefined;
    const before = element[name];
    if (before === undefined) element[name] = value;
    else if (typeof before === "string") element[name] = [before, value];
    else before.push(value);
  }
  if (text[place.at] !== "]") return undefined;
  place.at++;
  return element;
}

function readName(text: string, place: Place): string {
  SD_NAME.lastIndex = place.at;
  const name = SD_NAME.exec(text)?.[0] ?? "";
  place.at += name.length;
  return name;
}

/** Section 6.3.3: `"`, `\` and `]` are escaped by `\`; before anything else `\` is itself. */
function readValue(text: string, place: Place): string | undefined {
  let value = "";
  let from = place.at;
  for (let at = from; at < text.length; at++) {
    const char = text[at];
    if (char === '"') {
      place.at = at + 1;
      return value + text.slice(from, at);
    }
    if (char === "]") return undefined;
    if (char !== "\\") continue;
    const escaped = text[at + 1];
    if (escaped !== '"' && escaped !== "\\" && escaped !== "]") continue;
    value += text.slice(from, at);
    from = at + 1;
    at++;
  }
  return undefined;
}

function orNull(token: string): string | null {
  return token === NILVALUE ? null : token;
}
