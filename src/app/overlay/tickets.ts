/**
 * Requests that wait for their answers: a machine knows them by numbers.
 *
 * @module
 */
import type { Body } from "../../wire/xbone/messages.ts";
import type { AnswerTo } from "./control_server.ts";
import type { Peer } from "./identity.ts";

/** Of all peers together. */
const TICKETS_MAX = 4096;

/** All of a program. */
export class Tickets {
  readonly #open = new Map<number, AnswerTo>();
  #last = 0;

  /** Why a peer's request is not even looked at; null when it is. */
  refusal({ name, role }: Peer): string | null {
    if (role !== "manager") return `${name} has the role ${role}, and only managers may ask`;
    return this.#open.size < TICKETS_MAX ? null : `${TICKETS_MAX} requests wait here: ask again`;
  }

  /** The number of a request. */
  take(answer: AnswerTo): number {
    this.#open.set(++this.#last, answer);
    return this.#last;
  }

  /** Answers it, once. */
  answer(ticket: number, body: Body): void {
    const answer = this.#open.get(ticket);
    this.#open.delete(ticket);
    answer?.(body);
  }
}
