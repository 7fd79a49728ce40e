/**
 * Sessions of iSCSI over all connections of a capture: RFC 7143 section 4.4.3, where a session is what
 * an initiator's name and ISID and a target's name and TSIH say. What no login was seen of has none.
 *
 * @module
 */

/** Sessions that are remembered. */
const SESSIONS_KNOWN_MAX = 4096;
/** A name of iSCSI has 223 bytes at most (RFC 7143 section 4.2.7.2). */
const NAME_MAX = 223;

/** What the conversations of one capture share. */
export class IscsiShared {
  /** Lengths that led to no header, and candidates of searches that were dropped for want of room. */
  readonly counters = { brokenChains: 0, candidatesDropped: 0 };

  readonly #known = new Map<string, number>();
  #last = 0;

  /** Number of a session that begins. */
  begin(): number {
    return ++this.#last;
  }

  /** Number of a session by its name, 0 when it is not known. */
  find(name: string): number {
    return this.#known.get(name) ?? 0;
  }

  /** Remembers a session by its name; the oldest makes room. */
  remember(name: string, session: number): void {
    this.#known.delete(name);
    if (this.#known.size >= SESSIONS_KNOWN_MAX) {
      for (const oldest of this.#known.keys()) {
        this.#known.delete(oldest);
        break;
      }
    }
    this.#known.set(name, session);
  }
}

/** A session's name from the parts of a login. */
export function sessionName(isid: number, tsih: number, initiator: string, target: string): string {
  return `${isid} ${tsih} ${initiator.slice(0, NAME_MAX)} ${target.slice(0, NAME_MAX)}`;
}
