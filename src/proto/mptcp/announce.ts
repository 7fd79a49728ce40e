/**
 * The pace of ADD_ADDR and REMOVE_ADDR: RFC 8684 section 3.4. Linux sends, and takes, one of each
 * at a time per connection; of a burst the rest is dropped: six REMOVE in a row were six REMOVED
 * events, and one address whose subflows were closed. So there is one per interval, and what else
 * there is to do waits for its turn.
 *
 * @module
 */
import type { Endpoint } from "./path_events.ts";

/** An address that was told to the peer. */
export interface Announced {
  readonly id: number;
  readonly local: Endpoint;
  /** By another program, or by the policy, which may withdraw it. */
  readonly asked: boolean;
  /** Announced as it was removed when its link was lost, and is back. */
  readonly returned: boolean;
  /**
   * The kernel forgot it, as it does when a SUBFLOW_CREATE from this address fails and at each
   * SUBFLOW_DESTROY: it must be announced again before REMOVE can withdraw it.
   */
  forgotten: boolean;
}

/** One kind of option of one connection. */
export class Pacer {
  #nextMs = 0;

  /** When the next one may go. */
  get nextMs(): number {
    return this.#nextMs;
  }

  /** Takes the turn if it is there. */
  take(nowMs: number, intervalMs: number): boolean {
    if (nowMs < this.#nextMs) return false;
    this.#nextMs = nowMs + intervalMs;
    return true;
  }
}
