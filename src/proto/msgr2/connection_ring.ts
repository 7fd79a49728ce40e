/**
 * Connections that may have something to send, in the order they said so, each once.
 *
 * @module
 */
import { assert } from "../../mem/assert.ts";
import { CONNECTIONS_MAX } from "../../mem/limits.ts";
import type { Connection } from "./connection.ts";

/** Closed connections stay until their turn comes, so there may be more than are open. */
const RING_MAX = 2 * CONNECTIONS_MAX;

/** A ring: an array that is emptied and filled again would allocate in every turn. */
export class ConnectionRing {
  /** Connections in it. */
  count = 0;
  readonly #ring: (Connection | null)[] = new Array(RING_MAX).fill(null);
  #head = 0;

  /** Puts a connection at the end, unless it is in already. */
  push(connection: Connection): void {
    if (connection.dirty) return;
    assert(this.count < RING_MAX, "a connection is in the ring once");
    connection.dirty = true;
    this.#ring[(this.#head + this.count) % RING_MAX] = connection;
    this.count++;
  }

  /** Takes the first one, or null. */
  shift(): Connection | null {
    if (this.count === 0) return null;
    const connection = this.#ring[this.#head]!;
    this.#ring[this.#head] = null;
    this.#head = (this.#head + 1) % RING_MAX;
    this.count--;
    connection.dirty = false;
    return connection;
  }
}
