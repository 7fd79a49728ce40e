/**
 * TEARDOWN of the state table "For GUI/OM" of the X-Bone control protocol: DELETE to everybody who was ever
 * sent SELECT. Who does not answer in time is an orphan, and asked again for a long while; the lease of a
 * node that never answers finishes the job.
 *
 * @module
 */
import type { Timers } from "./machine.ts";
import { type Ask, Asks } from "./manager_asks.ts";
import type { Member, Outbox } from "./manager_outbox.ts";
import { timesLevels } from "./manager_timing.ts";

/** The end of one overlay. */
export class Teardown {
  readonly #outbox: Outbox;
  readonly #timers: Timers;
  readonly #levels: number;
  /** Writes down who is left. */
  readonly #save: (left: readonly Member[]) => void;
  readonly #asks: Asks;
  readonly #left = new Map<string, Member>();
  #total = 0;
  #isGone = false;
  #againAtMs = Infinity;
  #forgetAtMs = Infinity;

  constructor(
    outbox: Outbox,
    timers: Timers,
    levels: number,
    save: (left: readonly Member[]) => void,
  ) {
    this.#outbox = outbox;
    this.#timers = timers;
    this.#levels = levels;
    this.#save = save;
    this.#asks = new Asks(outbox);
  }

  /** Who has not answered. */
  get left(): readonly Member[] {
    return [...this.#left.values()];
  }

  /** Whether the owner has been told that it is over; orphans may be left. */
  get isGone(): boolean {
    return this.#isGone;
  }

  /** DELETE to all of them. */
  start(members: Iterable<Member>, nowMs: number): void {
    for (const member of members) this.#left.set(member.node, member);
    this.#total = this.#left.size;
    const { deleteMs, deleteTries } = this.#timers;
    for (const member of this.#left.values()) {
      const waitMs = timesLevels(deleteMs, member, this.#levels);
      const body = { ...this.#outbox.common, verb: "stop" } as const;
      this.#asks.ask(member, body, waitMs, deleteTries, nowMs);
    }
  }

  /** ACK-DELETE; false when nobody waits for it. */
  handleAnswer(from: string, nowMs: number): boolean {
    if (!this.#left.delete(from)) return false;
    if (this.#isGone) {
      this.#save(this.left);
      this.#outbox.tell({ event: "cleaned", node: from });
      if (this.#left.size === 0) this.#forget();
      return true;
    }
    this.#asks.settle(from);
    this.#progress(from, "is undone");
    this.end(nowMs);
    return true;
  }

  /** NACK-DELETE, or no answer: it is tried again. */
  handleRefusal(from: string, reason: string): boolean {
    if (!this.#asks.note(from, "stop", reason)) return this.#left.has(from);
    this.#progress(from, `is not undone: ${reason}`);
    return true;
  }

  /** Call at or after `pollDeadline()`. */
  handleDeadline(nowMs: number): void {
    const { again, over } = this.#asks.handleDeadline(nowMs);
    for (const ask of again) this.#progress(ask.to.node, `is sent STOP again, ${triesOf(ask)}`);
    for (const { to } of over) this.#asks.settle(to.node);
    if (over.length > 0) this.end(nowMs);
    if (nowMs >= this.#forgetAtMs) {
      this.#left.clear();
      this.#outbox.tell({ event: "forgotten", nodes: [...this.#left.keys()] });
      this.#forget();
      this.#save(this.left);
    } else if (nowMs >= this.#againAtMs) {
      this.#againAtMs = nowMs + this.#timers.deleteAgainMs;
      for (const orphan of this.#left.values()) {
        this.#outbox.send(orphan, { ...this.#outbox.common, verb: "stop" }, this.#timers.deleteMs);
      }
    }
  }

  /** Infinity when nobody is left. */
  pollDeadline(): number {
    return Math.min(this.#asks.pollDeadline(), this.#againAtMs, this.#forgetAtMs);
  }

  /** Tells the owner when no try is left. */
  end(nowMs: number): void {
    if (this.#asks.size > 0 || this.#isGone) return;
    this.#isGone = true;
    if (this.#left.size > 0) {
      this.#againAtMs = nowMs + this.#timers.deleteAgainMs;
      this.#forgetAtMs = nowMs + this.#timers.deleteForgetMs;
    }
    this.#save(this.left);
    this.#outbox.tell({ event: "gone", orphans: [...this.#left.keys()] });
  }

  #forget(): void {
    this.#againAtMs = Infinity;
    this.#forgetAtMs = Infinity;
  }

  #progress(node: string, text: string): void {
    this.#outbox.progress("TEARDOWN", node, text, this.#total - this.#left.size, this.#total);
  }
}

function triesOf({ sent, tries }: Ask): string {
  return `${sent} of ${tries}`;
}
