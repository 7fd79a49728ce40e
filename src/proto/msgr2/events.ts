/**
 * What a messenger tells its application, rarely enough for objects: a bounded queue.
 *
 * @module
 */
import type { Connection } from "./connection.ts";
import type { Counters } from "./counters.ts";
import type { Session } from "./session.ts";

/** What happened to a session or a connection. */
export type EventKind =
  | "connect"
  | "accept"
  | "resume"
  | "fault"
  | "reset"
  | "remoteReset"
  | "refused"
  | "dropped"
  | "authenticated"
  | "alive";

/** An event for the application. */
export interface MessengerEvent {
  /**
   * `connect`: a session we opened stands. `accept`: a peer's session stands. `resume`: a broken
   * session goes on. `fault`: its connection broke, it will be tried again. `reset`: the session
   * is over. `remoteReset`: the peer forgot it, a new one begins. `refused`: the peer (or we)
   * refused to go on. `dropped`: a connection ended that had no session yet. `authenticated`:
   * a probe has what it wanted. `alive`: the peer answered a KEEPALIVE2.
   */
  readonly kind: EventKind;
  /** The session, when there is one. */
  readonly session: Session | null;
  /** The connection, when there is one. */
  readonly connection: Connection | null;
  /** In a sentence. */
  readonly text: string;
}

/** Events that wait for the application; older ones are dropped and counted. */
const EVENTS_MAX = 1024;

/** Events in the order they happened. */
export class EventQueue {
  readonly #counters: Counters;
  readonly #events: MessengerEvent[] = [];

  /** @param counters where events are counted that nobody took in time */
  constructor(counters: Counters) {
    this.#counters = counters;
  }

  /** Appends an event; what happens to strangers never pushes out what happened to sessions. */
  push(
    kind: EventKind,
    session: Session | null,
    connection: Connection | null,
    text: string,
  ): void {
    if (this.#events.length >= EVENTS_MAX) {
      this.#counters.eventsDropped++;
      if (session === null) return;
      this.#events.shift();
    }
    this.#events.push({ kind, session, connection, text });
  }

  /** The next event, which stays, or null. */
  peek(): MessengerEvent | null {
    return this.#events[0] ?? null;
  }

  /** Takes the next event, or null. */
  poll(): MessengerEvent | null {
    return this.#events.shift() ?? null;
  }
}
