/**
 * Who sent what when, of one session over all its connections or of a conversation without one: what
 * timeline_svg.ts draws. It keeps the first messages only, and counts the rest.
 *
 * @module
 */
import type { Conversation } from "../../proto/capture/conversation.ts";
import type { Found, FoundSink, Gap, Side } from "../../proto/boundary/found.ts";
import { cut, printable } from "../printable.ts";
import { bytesText } from "../readings.ts";
import {
  detailsText,
  errorsText,
  fieldLines,
  foundSentence,
  gapText,
  nameText,
} from "./found_line.ts";
import { durationText } from "./moment_text.ts";

const EVENTS_MAX = 2000;
/** Connections of a session. */
const CONNECTIONS_MAX = 64;
/** Which session a connection belongs to is known only after its handshake: that much is kept of it. */
const UNDECIDED_MAX = 64;
const UNDECIDED_EVENTS_MAX = 64;
const LABEL_COLUMNS = 92;
const TOLD_FIELDS_MAX = 16;
const TOLD_COLUMNS = 100;

/** What gives an event its colour. */
export type TimelineKind = "handshake" | "message" | "ack" | "keepalive" | "error" | "gap";

/** A message or a gap. */
export interface TimelineEvent {
  readonly kind: TimelineKind;
  readonly side: Side;
  /** Nanoseconds since the capture's origin. */
  readonly beginNs: number;
  readonly finishNs: number;
  readonly length: number;
  /** -1: it answers nothing. */
  readonly latencyNs: number;
  readonly label: string;
  /** Some lines more. */
  readonly told: string;
}

/** One TCP connection. */
export interface TimelineConnection {
  readonly number: number;
  readonly ends: readonly [string, string];
  /** In the order in which they began. */
  readonly events: readonly TimelineEvent[];
}

/** All that is drawn. */
export interface TimelineView {
  /** 0: no session is known. */
  readonly session: number;
  readonly connections: readonly TimelineConnection[];
  /** Messages and gaps for which there was no room. */
  readonly leftOut: number;
}

interface Track {
  readonly conversation: Conversation;
  readonly events: TimelineEvent[];
}

/** Keeps what belongs to a session, or to a conversation without one. */
export class Timeline implements FoundSink {
  #session: number;
  /** Of which the session is drawn once it is known; 0: a session was chosen, or nothing came. */
  #conversation = 0;
  readonly #tracks = new Map<number, Track>();
  /** Null: it belongs to another session, or goes on too long to be a handshake. */
  readonly #undecided = new Map<number, Track | null>();
  #events = 0;
  #leftOut = 0;

  /** @param session which one; 0: of the first conversation, with all its others when it has one */
  constructor(session: number) {
    this.#session = session;
  }

  /** Keeps a message when it is of the session. */
  handleFound(found: Found): void {
    const { conversation, session } = found;
    if (this.#session === 0 && this.#conversation === 0) this.#conversation = conversation.number;
    if (conversation.number === this.#conversation) {
      // A conversation that turns out to be part of a session brings the others of that session.
      if (this.#session === 0) this.#session = session;
      this.#adopt(conversation);
    } else if (session !== 0 && session === this.#session) this.#adopt(conversation);
    const track = this.#trackOf(conversation, session);
    if (track === null) return;
    if (this.#hasRoom(track)) track.events.push(eventOf(found));
  }

  /** Keeps a gap when it is of the session. */
  handleGap(gap: Gap): void {
    const track = this.#trackOf(gap.conversation, 0);
    if (track === null || !this.#hasRoom(track)) return;
    const { length, moment: { timeNs }, side } = gap;
    const label = gapText(gap);
    track.events.push({
      kind: "gap",
      side,
      beginNs: timeNs,
      finishNs: timeNs,
      length,
      latencyNs: -1,
      label,
      told: `${label}\nfrom offset ${gap.offset} on, before packet ${gap.moment.packet}`,
    });
  }

  /** What there is to draw. */
  view(): TimelineView {
    const connections = [...this.#tracks.values()].filter(({ events }) => events.length > 0).map(
      ({ conversation, events }) => ({
        number: conversation.number,
        ends: conversation.ends,
        events: events.toSorted((a, b) => a.beginNs - b.beginNs),
      }),
    ).sort((a, b) => a.events[0]!.beginNs - b.events[0]!.beginNs);
    return { session: this.#session, connections, leftOut: this.#leftOut };
  }

  /** A conversation belongs to it, also what was told of it before that was known. */
  #adopt(conversation: Conversation): void {
    if (this.#tracks.has(conversation.number) || this.#tracks.size >= CONNECTIONS_MAX) return;
    const before = this.#undecided.get(conversation.number);
    this.#undecided.delete(conversation.number);
    const track: Track = { conversation, events: [] };
    this.#tracks.set(conversation.number, track);
    for (const event of before?.events ?? []) if (this.#hasRoom(track)) track.events.push(event);
  }

  /** Where events of a conversation are kept; null when they are not. */
  #trackOf(conversation: Conversation, session: number): Track | null {
    const { number } = conversation;
    const chosen = this.#tracks.get(number);
    if (chosen !== undefined) return chosen;
    if (session !== 0 && session === this.#session) {
      this.#leftOut++; // of a connection too many
      return null;
    }
    let track = this.#undecided.get(number);
    if (track === null) return null;
    if (session !== 0 || (track !== undefined && track.events.length >= UNDECIDED_EVENTS_MAX)) {
      this.#undecide(number, null);
      return null;
    }
    if (track === undefined) this.#undecide(number, track = { conversation, events: [] });
    return track;
  }

  #undecide(number: number, track: Track | null): void {
    this.#undecided.set(number, track);
    if (this.#undecided.size <= UNDECIDED_MAX) return;
    for (const oldest of this.#undecided.keys()) {
      this.#undecided.delete(oldest);
      return;
    }
  }

  /** What is not decided has bounds of its own. */
  #hasRoom(track: Track): boolean {
    if (!this.#tracks.has(track.conversation.number)) return true;
    if (this.#events >= EVENTS_MAX) {
      this.#leftOut++;
      return false;
    }
    this.#events++;
    return true;
  }
}

function eventOf(found: Found): TimelineEvent {
  const { begin, errors, finish, latencyNs, length, side } = found;
  const details = detailsText(found);
  const label = [
    nameText(found),
    ...(details === "" ? [] : [details]),
    `· ${bytesText(length)}`,
    ...(latencyNs >= 0 ? [`· after ${durationText(latencyNs)}`] : []),
    ...(errors.length > 0 ? [`· ${errorsText(errors)}`] : []),
  ].join(" ");
  const fields = fieldLines(found);
  const told = [
    foundSentence(found),
    `packet ${begin.packet}, offset ${found.offset}`,
    ...fields.slice(0, TOLD_FIELDS_MAX).map((line) => cut(line, TOLD_COLUMNS)),
    ...(fields.length > TOLD_FIELDS_MAX ? ["…"] : []),
  ].join("\n");
  return {
    kind: kindOf(found),
    side,
    beginNs: begin.timeNs,
    finishNs: Math.max(begin.timeNs, finish.timeNs),
    length,
    latencyNs,
    label: cut(printable(label), LABEL_COLUMNS),
    told,
  };
}

/** What opens or changes a session, what acknowledges, what only keeps it alive, and the rest. */
const HANDSHAKE = /BANNER|HELLO|AUTH|IDENT|RECONNECT|RESET|COMPRESSION|CLOSE|^Log|^Text/i;
const ACK = /^ACK$|^R2T$|^Ready|^SNACK/i;
const KEEPALIVE = /^KEEPALIVE|^NOP/i;

function kindOf({ errors, tag }: Found): TimelineKind {
  if (errors.length > 0) return "error";
  if (KEEPALIVE.test(tag)) return "keepalive";
  if (ACK.test(tag)) return "ack";
  return HANDSHAKE.test(tag) ? "handshake" : "message";
}
