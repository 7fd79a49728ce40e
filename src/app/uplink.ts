/**
 * The gateway's session with its hub, which outlives every connection: what is queued waits while
 * the hub is away. A hub that forgot the session, or ended it (TAG_CLOSE), gets what it had not
 * acknowledged in a new one: that is in the policy (`requeue`, `reopen`), not here.
 *
 * @module
 */
import { nowMs } from "../io/clock.ts";
import type { Policy } from "../proto/msgr2/policy.ts";
import type { Session } from "../proto/msgr2/session.ts";
import type { EntityAddr } from "../wire/msgr2/entity_addr.ts";
import type { Endpoint } from "./endpoint.ts";

/** How long to wait when the queue has room by its own count and still takes nothing. */
const MEMORY_SHORT_MS = 50;

/** A session to one place. */
export class Uplink {
  /** Messages taken into the queue. */
  accepted = 0;
  /** The session. */
  readonly session: Session;
  readonly #endpoint: Endpoint;
  #full = false;

  /** Opens the session; it is made in the background. Hand its events to `handleEvent`. */
  static async open(endpoint: Endpoint, target: EntityAddr, policy: Policy): Promise<Uplink> {
    return new Uplink(endpoint, await endpoint.connect(target, policy));
  }

  private constructor(endpoint: Endpoint, session: Session) {
    this.#endpoint = endpoint;
    this.session = session;
  }

  /** True from the first message the queue refused until half of it is free. */
  get full(): boolean {
    if (this.#full && this.#halfFree()) this.#full = false;
    return this.#full;
  }

  /** Queues a message; false when the queue is full. */
  offer(type: number, front: Uint8Array): boolean {
    if (this.session.send({ type, front }) === 0) {
      this.#full = true;
      return false;
    }
    this.accepted++;
    return true;
  }

  /** Resolves when the queue takes messages again. */
  async room(): Promise<void> {
    if (this.#halfFree()) {
      await delay(MEMORY_SHORT_MS); // the session is over, or the arena is used up by others
      return;
    }
    try {
      await this.#endpoint.writable(this.session);
    } catch {
      await delay(MEMORY_SHORT_MS); // the session ended; the next one has room
    }
  }

  /** Waits until everything is acknowledged, or the deadline; returns what is not. */
  async drain(deadlineMs: number): Promise<number> {
    const session = this.session;
    const timer = new AbortController();
    try {
      await Promise.race([
        this.#endpoint.flushed(session),
        delay(Math.max(0, deadlineMs - nowMs()), timer.signal),
      ]);
    } catch {
      // The session ended meanwhile: it holds nothing that could still be acknowledged.
    }
    timer.abort();
    return session.unacknowledged;
  }

  #halfFree(): boolean {
    const { outbox } = this.session;
    return outbox.bytes <= outbox.bytesMax / 2;
  }
}

/** Resolves after `ms`, or when aborted. */
export function delay(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
