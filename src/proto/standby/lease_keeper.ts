/**
 * A box's side of its lease: what was asked and when, until when it may send, when to ask again. The
 * lease counts from when it was asked for and ends an eighth early: see election.ts.
 *
 * @module
 */
import type { LeaseAnswerWord, LeaseAskWord, LeaseGiveWord } from "../../wire/standby/words.ts";
import type { ElectionConfig } from "./orders.ts";

/** Asks whose answers are waited for. */
const ASKS_MAX = 16;

/** An ask whose answer is waited for. */
export interface LeaseAsked {
  readonly sentAtMs: number;
  /** It was for the next term of whoever is active. */
  readonly next: boolean;
}

/** Asks, and what came of them. */
export class LeaseKeeper {
  /** Until when the box may send; -Infinity when it may not. */
  untilMs = -Infinity;
  /** When to ask next, if there is a reason to. */
  askAtMs = 0;
  /** Before this nobody is asked: the other box shall get it. */
  holdUntilMs = -Infinity;
  /** Why the witness has refused the last time; empty when it has granted. */
  refusal = "";
  readonly #config: ElectionConfig;
  readonly #marginMs: number;
  #serial = 0;
  /** By serial. */
  readonly #asks = new Map<number, LeaseAsked>();

  constructor(config: ElectionConfig) {
    this.#config = config;
    this.#marginMs = config.leaseMs / 8;
  }

  /** Asks for it, for more of it, or for the next term. */
  ask(
    term: number,
    { exact, next }: Pick<LeaseAskWord, "exact" | "next">,
    nowMs: number,
  ): LeaseAskWord {
    const { group, box, instance, leaseMs } = this.#config;
    this.askAtMs = nowMs + leaseMs / 8;
    const serial = ++this.#serial;
    if (this.#asks.size >= ASKS_MAX) this.#asks.delete(this.#asks.keys().next().value!);
    this.#asks.set(serial, { sentAtMs: nowMs, next });
    return { word: "leaseAsk", group, box, instance, term, exact, next, leaseMs, serial };
  }

  /** Gives it back; what was asked before is answered in vain. */
  give(term: number): LeaseGiveWord {
    const { group, box, instance } = this.#config;
    this.forget();
    return { word: "leaseGive", group, box, instance, term, serial: ++this.#serial };
  }

  /** Answers to what was asked so far are of no use any more. */
  forget(): void {
    this.#asks.clear();
  }

  /** What an answer is to; null when it is not waited for. */
  asked({ serial }: LeaseAnswerWord): LeaseAsked | null {
    const asked = this.#asks.get(serial);
    this.#asks.delete(serial);
    return asked ?? null;
  }

  /** Until when an answer lets the box send. */
  endOf(answer: LeaseAnswerWord, sentAtMs: number): number {
    const { leaseMs } = this.#config;
    this.askAtMs = sentAtMs + leaseMs / 4;
    return sentAtMs + Math.min(answer.leaseMs, leaseMs) - this.#marginMs;
  }

  /**
   * Tries again about when the lease of the other ends; `soon` when it is being given back, `later`
   * when another box that waits for it goes first.
   */
  refused({ leftMs }: LeaseAnswerWord, soon: boolean, later: boolean, nowMs: number): void {
    const { heartbeatMs, leaseMs } = this.#config;
    const leastMs = heartbeatMs / 4;
    const mostMs = Math.max(leastMs, leaseMs / 4);
    const politeMs = later ? 2 * heartbeatMs : 0;
    const waitMs = leftMs > mostMs ? mostMs : Math.max(leftMs, leastMs) + politeMs;
    this.askAtMs = nowMs + (soon ? leastMs : waitMs);
  }
}
