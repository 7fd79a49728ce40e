/**
 * Sessions as rows of a table, with their rates.
 *
 * @module
 */
import { nowMs } from "../io/clock.ts";
import { type Session, SessionState } from "../proto/msgr2/session.ts";
import { addressText } from "./address_text.ts";
import type { Row } from "./live_view.ts";
import { cut, printable } from "./printable.ts";
import { bytesText } from "./readings.ts";

/** Rates are taken over at least this. */
const WINDOW_MS = 1000;
const NAME_COLUMNS = 22;

interface Sample {
  atMs: number;
  messages: number;
  bytes: number;
  messagesPerSecond: number;
  bytesPerSecond: number;
}

/** Makes rows; remembers counts of the last second for the rates. */
export class SessionTable {
  readonly #samples = new WeakMap<Session, Sample>();

  /** A heading and up to `rowsMax` sessions by their printable names, connected ones first. */
  rows(sessions: Iterable<readonly [string, Session]>, rowsMax: number): Row[] {
    const all = [...sessions].sort(([, a], [, b]) => rank(a) - rank(b) || a.id - b.id);
    const rows: Row[] = [{ text: HEADING, style: "bold" }];
    for (const [name, session] of all.slice(0, rowsMax)) rows.push(this.#row(name, session));
    if (all.length > rowsMax) rows.push({ text: `... and ${all.length - rowsMax} more` });
    if (all.length === 0) rows.push({ text: "none yet", style: "dim" });
    return rows;
  }

  #row(name: string, session: Session): Row {
    const { messagesPerSecond, bytesPerSecond } = this.#sample(session);
    const { lastFault, state } = session;
    const ready = state === SessionState.Ready;
    const text = columns(
      name,
      session.stateName,
      messagesPerSecond.toFixed(messagesPerSecond < 10 ? 1 : 0),
      bytesText(bytesPerSecond),
      `${session.messagesSent + session.messagesReceived}`,
      `${session.unacknowledged}`,
      `${session.reconnects}`,
      addressText(session.connection?.peer ?? session.peerAddrs),
    );
    const why = ready || lastFault === "" ? "" : `  ${printable(lastFault)}`;
    return { text: `${text}${why}`, style: ready ? "plain" : "warn" };
  }

  #sample(session: Session): Sample {
    const now = nowMs();
    const messages = session.messagesSent + session.messagesReceived;
    const bytes = session.bytesSent + session.bytesReceived;
    let sample = this.#samples.get(session);
    if (sample === undefined) {
      sample = { atMs: now, messages, bytes, messagesPerSecond: 0, bytesPerSecond: 0 };
      this.#samples.set(session, sample);
    }
    const ms = now - sample.atMs;
    if (ms < WINDOW_MS) return sample;
    sample.messagesPerSecond = (messages - sample.messages) * 1000 / ms;
    sample.bytesPerSecond = (bytes - sample.bytes) * 1000 / ms;
    sample.atMs = now;
    sample.messages = messages;
    sample.bytes = bytes;
    return sample;
  }
}

const HEADING = columns(
  "SESSION",
  "STATE",
  "MSG/S",
  "BYTES/S",
  "MESSAGES",
  "UNACKED",
  "RECONN",
  "PEER",
);

/** What matters most comes first: a narrow terminal cuts the rest. */
function columns(
  name: string,
  state: string,
  rate: string,
  bytes: string,
  messages: string,
  unacked: string,
  reconnects: string,
  peer: string,
): string {
  return [
    cut(name, NAME_COLUMNS).padEnd(NAME_COLUMNS),
    state.padEnd(10),
    rate.padStart(7),
    bytes.padStart(10),
    messages.padStart(9),
    unacked.padStart(7),
    reconnects.padStart(6),
    peer,
  ].join(" ");
}

function rank(session: Session): number {
  return session.state === SessionState.Ready ? 0 : 1;
}
