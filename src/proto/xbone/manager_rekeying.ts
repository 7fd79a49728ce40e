/**
 * Fresh keys for an overlay that lives: CONFIG of a greater generation, ours. It never fails the overlay:
 * who does not answer is asked again with each REFRESH.
 *
 * @module
 */
import type { AckConfig } from "../../wire/xbone/messages.ts";
import type { Configuration } from "./manager_configuration.ts";
import type { Member, Outbox } from "./manager_outbox.ts";

/** Who has not got the keys of the present generation. */
export class Rekeying {
  readonly #outbox: Outbox;
  readonly #waitMs: number;
  readonly #open = new Map<string, Member>();
  #total = 0;

  constructor(outbox: Outbox, waitMs: number) {
    this.#outbox = outbox;
    this.#waitMs = waitMs;
  }

  /** How many have not. */
  get size(): number {
    return this.#open.size;
  }

  /** How many have, of how many. */
  get progress(): [number, number] {
    return [this.#total - this.#open.size, this.#total];
  }

  /** Whether this node is one of them. */
  has(node: string): boolean {
    return this.#open.has(node);
  }

  /** A new generation: nobody is known to have it. */
  open(configuration: Configuration): void {
    this.stop();
    for (const member of configuration.keyed) this.#open.set(member.node, member);
    this.#total = this.#open.size;
  }

  /** Sends it to those who have not answered; after a restart there is nothing to send. */
  again(configuration: Configuration): void {
    if (configuration.isBare) return;
    for (const member of this.#open.values()) {
      this.#outbox.send(member, configuration.body(member.node, this.#outbox), this.#waitMs);
    }
  }

  /** False when this is no answer to it. */
  handleAnswer(from: string, body: AckConfig, configuration: Configuration): boolean {
    return configuration.isDone(from, body) && this.#open.delete(from);
  }

  /** It ends. */
  stop(): void {
    this.#open.clear();
  }
}
