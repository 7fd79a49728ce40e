/**
 * The gateway's session with its hub, which outlives every connection: what is queued waits while
 * the hub is away. When the hub itself ends the session (TAG_CLOSE), a new one is opened.
 *
 * @module
 */
import { nowMs } from "../io/clock.ts";
import type { MessengerEvent } from "../proto/msgr2/messenger.ts";
import type { Policy } from "../proto/msgr2/policy.ts";
import type { Session } from "../proto/msgr2/session.ts";
import type { EntityAddr } from "../wire/msgr2/entity_addr.ts";
import type { Endpoint } from "./endpoint.ts";

/** How long to wait when the queue has room by its own count and still takes nothing. */
const MEMORY_SHORT_MS = 50;
/** Wait before a session that the hub ended is opened anew. */
const REOPEN_MS = 1000;

/** A session to one place. */
export class Uplink {
  /** Messages taken into the queue. */
  accepted = 0;
  /** Times that the hub ended the session. */
  ended = 0;
  readonly #endpoint: Endpoint;
  readonly #target: EntityAddr;
  readonly #policy: Policy;
  #session: Session;
  #full = false;

  /** Opens the session; it is made in the background. Hand its events to `handleEvent`. */
  static async open(endpoint: Endpoint, target: EntityAddr, policy: Policy): Promise<Uplink> {
    return new Uplink(endpoint, target, policy, await endpoint.connect(target, policy));
  }

  private constructor(endpoint: Endpoint, target: EntityAddr, policy: Policy, session: Session) {
    this.#endpoint = endpoint;
    this.#target = target;
    this.#policy = policy;
    this.#session = session;
  }

  /** The present session. */
  get session(): Session {
    return this.#session;
  }

  /** True from the first message the queue refused until half of it is free. */
  get full(): boolean {
    if (this.#full && this.#halfFree()) this.#full = false;
    return this.#full;
  }

  /** Queues a message; false when the queue is full. */
  offer(type: number, front: Uint8Array): boolean {
    if (this.#session.send({ type, front }) === 0) {
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
      await this.#endpoint.writable(this.#session);
    } catch {
      await delay(MEMORY_SHORT_MS); // the session ended; the next one has room
    }
  }

  /** Waits until everything is acknowledged, or the deadline; returns what is not. */
  async drain(deadlineMs: number): Promise<number> {
    const session = this.#session;
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

  /** Tells what happened to the endpoint: a session that is over is opened anew. */
  handleEvent(event: MessengerEvent): void {
    if (event.session !== this.#session || event.kind !== "reset") return;
    this.ended++;
    setTimeout(() => this.#reopen(), REOPEN_MS);
  }

  async #reopen(): Promise<void> {
    try {
      this.#session = await this.#endpoint.connect(this.#target, this.#policy);
    } catch {
      setTimeout(() => this.#reopen(), REOPEN_MS);
    }
  }

  #halfFree(): boolean {
    const { outbox } = this.#session;
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
