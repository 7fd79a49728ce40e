/**
 * Requests to one overlay's responder whose answers are due. A manager asks again when a connection broke,
 * so each request may be here more than once: all are answered, whichever connection still lives.
 *
 * @module
 */
import type { Body, Common, Nack } from "../../wire/xbone/messages.ts";
import type { Failure } from "./machine.ts";
import { commonOf, type Desk } from "./responder_work.ts";

/** So many of one kind; the oldest is refused when there are more. */
const WAITING_MAX = 8;

/** Who refuses, in which step, and why. */
export type Refusal = Pick<Failure, "node" | "step" | "reason">;

interface Waiting {
  readonly ticket: number;
  readonly body: Body;
  readonly untilMs: number;
}

/** Those of one overlay. */
export class WaitingRequests {
  readonly #desk: Desk;
  #waiting: readonly Waiting[] = [];

  constructor(desk: Desk) {
    this.#desk = desk;
  }

  /** Its answer will come; `untilMs` is for those that no state ends. */
  add(ticket: number, body: Body, untilMs = Infinity): void {
    const same = this.#waiting.filter((waiting) => waiting.body.verb === body.verb);
    if (same.length >= WAITING_MAX) {
      const oldest = same[0]!;
      this.#waiting = this.#waiting.filter((waiting) => waiting !== oldest);
      this.nack(oldest.ticket, oldest.body, "Cannot answer as it was asked too often meanwhile");
    }
    this.#waiting = [...this.#waiting, { ticket, body, untilMs }];
  }

  /** The request of a ticket, which waits no longer. */
  take(ticket: number): Body | null {
    const found = this.#waiting.find((waiting) => waiting.ticket === ticket);
    this.#waiting = this.#waiting.filter((waiting) => waiting !== found);
    return found?.body ?? null;
  }

  /** Those of a verb, which wait no longer. */
  takeAll<V extends Body["verb"]>(verb: V): { ticket: number; body: Extract<Body, { verb: V }> }[] {
    const taken = this.#waiting.filter(({ body }) => body.verb === verb);
    this.#waiting = this.#waiting.filter(({ body }) => body.verb !== verb);
    return taken as { ticket: number; body: Extract<Body, { verb: V }>; untilMs: number }[];
  }

  /** Answers all of a verb alike. */
  answerAll(verb: Body["verb"], makeBody: (common: Common) => Body): void {
    for (const { ticket, body } of this.takeAll(verb)) {
      this.answer(ticket, makeBody(commonOf(body)));
    }
  }

  /** Refuses all but those of one verb. */
  nackAll(refusal: Refusal, butVerb: Body["verb"] | null = null): void {
    const waiting = this.#waiting.filter(({ body }) => body.verb !== butVerb);
    this.#waiting = this.#waiting.filter(({ body }) => body.verb === butVerb);
    for (const { ticket, body } of waiting) this.refuse(ticket, body, refusal);
  }

  /** Refuses those whose time is over. */
  handleDeadline(nowMs: number): void {
    const over = this.#waiting.filter(({ untilMs }) => untilMs <= nowMs);
    this.#waiting = this.#waiting.filter(({ untilMs }) => untilMs > nowMs);
    for (const { ticket, body } of over) {
      this.nack(ticket, body, `Cannot ${body.verb} as it took too long: ask again`);
    }
  }

  /** Infinity when none has an end of its own. */
  pollDeadline(): number {
    let soonest = Infinity;
    for (const { untilMs } of this.#waiting) soonest = Math.min(soonest, untilMs);
    return soonest;
  }

  /** Of one that did not wait, too. */
  answer(ticket: number, body: Body): void {
    this.#desk.put({ kind: "answer", ticket, body });
  }

  /** We refuse one that did not wait. */
  nack(ticket: number, body: Body, reason: string): void {
    this.refuse(ticket, body, { node: "", step: "", reason });
  }

  /** Somebody refuses one that did not wait: we, or a node below. */
  refuse(ticket: number, body: Body, { node, step, reason }: Refusal): void {
    this.#desk.counts.nacks++;
    const who = node === "" ? this.#desk.tools.node : node;
    this.answer(ticket, nackOf(body, who, reason, body.verb === "config" ? step : ""));
  }
}

/** A refusal of a request. */
export function nackOf(request: Body, node: string, reason: string, step = ""): Nack {
  return { ...commonOf(request), verb: "nack", of: request.verb, node, step, reason };
}
