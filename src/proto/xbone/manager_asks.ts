/**
 * Requests that a manager waits for the answers of: T_SEL, T_DSP, T_CFG and T_DEL of the state table "For
 * GUI/OM" of the X-Bone control protocol. Each node has its own tries. That a connection failed is only
 * noted: the next try is the timer's, as the node may be starting.
 *
 * @module
 */
import type { Body } from "../../wire/xbone/messages.ts";
import type { Member, Outbox } from "./manager_outbox.ts";

/** A request that is not answered. */
export interface Ask {
  readonly to: Member;
  readonly body: Body;
  readonly waitMs: number;
  /** Times that it was sent, of how many. */
  sent: number;
  readonly tries: number;
  deadlineMs: number;
  /** Why there is no answer, as far as is known. */
  reason: string;
}

/** The open requests of one phase: one for each node. */
export class Asks {
  readonly #outbox: Outbox;
  readonly #open = new Map<string, Ask>();

  constructor(outbox: Outbox) {
    this.#outbox = outbox;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Sends it, and again every `waitMs`, `tries` times in all. */
  ask(to: Member, body: Body, waitMs: number, tries: number, nowMs: number): void {
    const ask = { to, body, waitMs, sent: 0, tries, deadlineMs: 0, reason: "" };
    this.#open.set(to.node, ask);
    this.#send(ask, nowMs);
  }

  /** What a node was asked and has not answered. */
  get(node: string): Ask | undefined {
    return this.#open.get(node);
  }

  /** It answered, or is not wanted any more. */
  settle(node: string): void {
    this.#open.delete(node);
  }

  /** No answer came to a try; false when there was no such request. */
  note(node: string, verb: Body["verb"], reason: string): boolean {
    const ask = this.#open.get(node);
    if (ask === undefined || ask.body.verb !== verb) return false;
    ask.reason = reason;
    return true;
  }

  /** Forgets all. */
  clear(): void {
    this.#open.clear();
  }

  /** Asks again where it is time; answers those whose last try is over, which are to be settled. */
  handleDeadline(nowMs: number): { readonly again: readonly Ask[]; readonly over: readonly Ask[] } {
    const due = [...this.#open.values()].filter(({ deadlineMs }) => deadlineMs <= nowMs);
    const over = due.filter(({ sent, tries }) => sent >= tries);
    const again = due.filter(({ sent, tries }) => sent < tries);
    for (const ask of again) this.#send(ask, nowMs);
    return { again, over };
  }

  /** Infinity when nobody is asked. */
  pollDeadline(): number {
    let deadlineMs = Infinity;
    for (const ask of this.#open.values()) deadlineMs = Math.min(deadlineMs, ask.deadlineMs);
    return deadlineMs;
  }

  #send(ask: Ask, nowMs: number): void {
    const { body } = ask;
    this.#outbox.send(
      ask.to,
      body.verb === "dispatch" ? { ...body, retry: ask.sent } : body,
      ask.waitMs,
    );
    ask.sent++;
    ask.deadlineMs = nowMs + ask.waitMs;
  }
}

/** `did not answer SELECT in 3 tries (connection refused)`. */
export function silence({ body, tries, reason }: Ask): string {
  const why = reason === "" ? "" : ` (${reason})`;
  return `did not answer ${body.verb.toUpperCase()} in ${tries} ${
    tries === 1 ? "try" : "tries"
  }${why}`;
}
