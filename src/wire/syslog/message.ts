/**
 * A syslog message as fields, whichever document it obeys: RFC 5424, RFC 3164, or none.
 *
 * @module
 */
import { readBsd } from "./bsd.ts";
import { readIetf } from "./ietf.ts";

/** SD-ID to its parameters; one that is repeated (RFC 5424 section 6.3.3) has a list of values. */
export type StructuredData = Record<string, Record<string, string | string[]>>;

/** What a message says; null where it says nothing. The names are those of the JSON. */
export interface SyslogMessage {
  /** 0 to 23: RFC 5424 section 6.2.1, table 1. */
  facility: number | null;
  /** 0 (emergency) to 7 (debug): table 2. */
  severity: number | null;
  /** RFC 3339; without an offset when the sender gave none, as RFC 3164 does not. */
  timestamp: string | null;
  /** The time as the sender wrote it. */
  timestamp_text: string | null;
  hostname: string | null;
  /** APP-NAME, or the TAG of RFC 3164. */
  appname: string | null;
  procid: string | null;
  msgid: string | null;
  structured_data: StructuredData | null;
  message: string;
  /** `raw`: neither of the two, all of it is in `message`. */
  format: "rfc5424" | "rfc3164" | "raw";
}

/** 191 is facility 23, severity 7. */
const PRIVAL_MAX = 191;
/** RFC 5424 section 6.1 and RFC 3164 section 4.1.1: no leading zeros but in `<0>`. */
const PRI = /^<(0|[1-9]\d{0,2})>/;

/**
 * Reads one message; never fails, as what cannot be read becomes the text of a raw one.
 *
 * @param nowMs ms since 1970: RFC 3164 leaves the year out
 */
export function readSyslog(text: string, nowMs: number): SyslogMessage {
  const message = rawMessage(text);
  const pri = PRI.exec(text);
  if (pri === null || Number(pri[1]) > PRIVAL_MAX) return message;
  message.facility = Number(pri[1]) >> 3;
  message.severity = Number(pri[1]) & 7;
  const at = pri[0].length;
  const ietf = readIetf(text, at, message);
  if (ietf === "other") readBsd(text, at, nowMs, message);
  return message;
}

function rawMessage(text: string): SyslogMessage {
  return {
    facility: null,
    severity: null,
    timestamp: null,
    timestamp_text: null,
    hostname: null,
    appname: null,
    procid: null,
    msgid: null,
    structured_data: null,
    message: text,
    format: "raw",
  };
}
