/**
 * Sessions by the addresses of their peers: how a CLIENT_IDENT or SESSION_RECONNECT finds the
 * session it belongs to. msgr2 "Message flow handshake"; Ceph's registered connections.
 *
 * @module
 */
import type { EntityAddrVec } from "../../wire/msgr2/entity_addrvec.ts";
import type { Session } from "./session.ts";

/** At most one session for each peer's address. */
export class Directory {
  readonly #byKey = new Map<string, Session>();
  readonly #keys = new Map<Session, string>();

  /** The session of a peer with these addresses, or null. */
  find(addrs: EntityAddrVec): Session | null {
    return this.#byKey.get(keyOf(addrs)) ?? null;
  }

  /**
   * Enters a session under what its peer is called now. An address is taken from another session
   * only by the one that dialled it: a peer may list addresses of others.
   */
  enter(session: Session): void {
    if (!session.policy.registered) return;
    const key = keyOf(session.peerAddrs);
    if (this.#keys.get(session) === key) return;
    const isDialled = session.target !== null && session.target.toString() === key;
    if (this.#byKey.has(key) && !isDialled) return;
    this.remove(session);
    this.#keys.set(session, key);
    this.#byKey.set(key, session);
  }

  /** Takes a session out. */
  remove(session: Session): void {
    const key = this.#keys.get(session);
    this.#keys.delete(session);
    if (key !== undefined && this.#byKey.get(key) === session) this.#byKey.delete(key);
  }
}

/** The session that waits longest for its peer, of this name if there is one; null when none waits. */
export function longestWaiting(sessions: Iterable<Session>, name: string): Session | null {
  let oldest: Session | null = null;
  for (const session of sessions) {
    if (session.connection !== null || session.target !== null) continue;
    const own = session.peerName === name;
    const ownOldest = oldest !== null && oldest.peerName === name;
    if (
      oldest === null || (own && !ownOldest) ||
      (own === ownOldest && session.lastSeenMs < oldest.lastSeenMs)
    ) oldest = session;
  }
  return oldest;
}

/** A peer is known by its v2 address; one that does not listen by all it told. */
function keyOf(addrs: EntityAddrVec): string {
  return (addrs.v2() ?? addrs).toString();
}
