/**
 * Which sessions want a connection, and when: at once, or after a wait that doubles with each
 * failure (Ceph's ms_initial_backoff and ms_max_backoff).
 *
 * @module
 */
import { type Session, SessionState } from "./session.ts";

/** Sessions that wait to be dialled. */
export class Dialer {
  readonly #waiting = new Set<Session>();
  readonly #backoffMs: number;
  readonly #backoffMaxMs: number;

  /** @param backoffMs the first wait  @param backoffMaxMs the longest one */
  constructor(backoffMs: number, backoffMaxMs: number) {
    this.#backoffMs = backoffMs;
    this.#backoffMaxMs = backoffMaxMs;
  }

  /** Dials as soon as the loop comes by. */
  now(session: Session, nowMs: number): void {
    session.state = SessionState.Connecting;
    this.#at(session, nowMs);
  }

  /** Dials after a wait, twice as long as the last one. */
  later(session: Session, nowMs: number): void {
    session.state = SessionState.Connecting;
    const doubled = Math.max(session.backoffMs * 2, this.#backoffMs);
    session.backoffMs = Math.min(doubled, this.#backoffMaxMs);
    this.#at(session, nowMs + session.backoffMs);
  }

  /** Waits for the peer's own connection, which should win a race; dials only much later. */
  yield(session: Session, nowMs: number): void {
    session.state = SessionState.Wait;
    this.#at(session, nowMs + this.#backoffMaxMs);
  }

  /** Takes a session that is due; null when none is. */
  take(nowMs: number): Session | null {
    for (const session of this.#waiting) {
      if (session.dialAtMs > nowMs) continue;
      this.#waiting.delete(session);
      if (session.state !== SessionState.Closed && session.connection === null) return session;
    }
    return null;
  }

  /** It need not be dialled any more. */
  remove(session: Session): void {
    this.#waiting.delete(session);
  }

  /** When the next one is due; Infinity when none waits. */
  pollDeadline(): number {
    let next = Infinity;
    for (const session of this.#waiting) next = Math.min(next, session.dialAtMs);
    return next;
  }

  #at(session: Session, atMs: number): void {
    session.dialAtMs = atMs;
    this.#waiting.add(session);
  }
}
