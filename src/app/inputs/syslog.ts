/**
 * Syslog by UDP (RFC 5426: a message in each datagram) and TCP (RFC 6587). Parsed, a message is
 * JSON with the fields of RFC 5424 or RFC 3164, and one that is neither is kept as `raw`; not parsed,
 * it is the frame as it came, without its line ending.
 *
 * @module
 */
import { readSyslog } from "../../wire/syslog/message.ts";
import type { Intake } from "../gateway/intake.ts";
import { PortInput, type PortOptions } from "./port_input.ts";
import { SyslogBuffer } from "./syslog_buffer.ts";

const NUL = 0x00;
const LF = 0x0a;
const CR = 0x0d;

const encoder = new TextEncoder();
/** RFC 5424 section 6.4 allows octets of any encoding: what is no UTF-8 becomes U+FFFD. */
const decoder = new TextDecoder();

/** The names are those of the configuration. */
export interface SyslogOptions extends PortOptions {
  /** JSON with fields; otherwise text. */
  readonly parse: boolean;
}

/**
 * Opens the sockets.
 *
 * @throws when the port is taken, naming the remedy
 */
export function openSyslog(
  name: string,
  options: SyslogOptions,
  intake: Intake,
): Promise<PortInput> {
  const { topic, parse } = options;
  const rules = {
    topic,
    contentType: parse ? "application/json" : "text/plain",
    acknowledge: false,
    payload: (frame: Uint8Array) => syslogPayload(frame, parse),
    eachFrame: (datagram: Uint8Array, take: (frame: Uint8Array) => void) => take(datagram),
    openCutter: () => new SyslogBuffer(),
  };
  return PortInput.open(name, options, rules, intake);
}

/** Null when there is nothing in it. */
function syslogPayload(frame: Uint8Array, parse: boolean): Uint8Array | null {
  const text = withoutEnding(frame);
  if (text.length === 0) return null;
  return parse
    ? encoder.encode(JSON.stringify(readSyslog(decoder.decode(text), Date.now())))
    : text;
}

/** Many senders end a frame by LF, CR LF or NUL although its length is known. */
function withoutEnding(frame: Uint8Array): Uint8Array {
  let end = frame.length;
  while (end > 0 && [NUL, LF, CR].includes(frame[end - 1]!)) end--;
  return frame.subarray(0, end);
}
