/**
 * Several sessions of one endpoint, each with an owner of its own: messages and events go to
 * whoever opened the session. What a client of a cluster needs, which speaks to monitors and to
 * other daemons under one name and with one set of tickets.
 *
 * @module
 */
import { nowMs } from "../io/clock.ts";
import type { Batch } from "../proto/msgr2/batch.ts";
import type { MessengerEvent } from "../proto/msgr2/messenger.ts";
import type { Policy } from "../proto/msgr2/policy.ts";
import type { Session } from "../proto/msgr2/session.ts";
import type { EntityAddr } from "../wire/msgr2/entity_addr.ts";
import { Endpoint, type EndpointOptions } from "./endpoint.ts";

/** The owner of a session. */
export interface Receiver {
  /** A message arrived; its views are valid until this returns. */
  handleMessage(batch: Batch, index: number): void;
  /** Something happened to the session. */
  handleEvent(event: MessengerEvent, session: Session): void;
}

/** An endpoint that only connects, shared by the owners of its sessions. */
export class Dispatcher {
  /** The endpoint behind it. */
  readonly endpoint: Endpoint;
  readonly #receivers = new Map<Session, Receiver>();

  /** Takes its memory and starts. */
  constructor(options: EndpointOptions) {
    this.endpoint = new Endpoint(options);
    this.endpoint.handle((batch) => {
      for (let index = 0; index < batch.length; index++) {
        this.#receivers.get(batch.session(index))?.handleMessage(batch, index);
      }
    });
    this.endpoint.onEvent((event) => {
      const { session } = event;
      if (session !== null) this.#receivers.get(session)?.handleEvent(event, session);
    });
  }

  /** Opens a session; null when too many are open. */
  open(target: EntityAddr, policy: Policy, receiver: Receiver): Session | null {
    const session = this.endpoint.messenger.connect(target, policy, nowMs());
    if (session !== null) this.#receivers.set(session, receiver);
    return session;
  }

  /** Ends a session; its owner hears nothing more of it. */
  disconnect(session: Session): void {
    this.#receivers.delete(session);
    this.endpoint.disconnect(session);
  }

  /** Ends all sessions and the endpoint. */
  async close(): Promise<void> {
    this.#receivers.clear();
    await this.endpoint.close();
  }
}
