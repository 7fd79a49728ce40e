/**
 * What is to be told to the kernel so that it tells where its SAs are. Each SA is asked for its
 * thresholds first. A timer that is set on an SA that was made without one never fires until an event
 * came by count, and one that is shorter than before begins when the longer one has fired, or an
 * event came: such an SA gets a count of one, and what is wanted after its first event. An SA that
 * cannot be made to tell is asked every second instead.
 *
 *     Ask -> Set -> Told
 *     Ask -> Prime -> (event) -> Set -> Told
 *     any -> Polled, after orders that failed or were not answered
 *
 * @module
 */
import type { XfrmSaId } from "../../wire/netlink/xfrm.ts";
import type { Thresholds } from "../../wire/standby/sa_record.ts";

/** What an order is. */
export const OrderKind = {
  /** GETAE that asks for both thresholds. */
  Ask: 1,
  /** NEWAE with a count of one and the timer. */
  Prime: 2,
  /** NEWAE with both thresholds. */
  Set: 3,
} as const;

/** An order; its SA's id must not be changed. */
export interface ThresholdOrder {
  readonly kind: number;
  readonly id: XfrmSaId;
  /** What REPLAY_THRESH shall be. */
  readonly packets: number;
  /** What ETIMER_THRESH shall be, which the kernel takes in jiffies. */
  readonly timerMs: number;
}

/** Between questions to an SA that gives no events. */
export const POLL_MS = 1000;
/** An answer takes no longer, or there is none. */
const ANSWER_MS = 1000;
/** An order that fails is given again so often. */
const TRIES_MAX = 5;
/** The kernel tells a timer in these units, cut. */
const TIMER_UNIT_MS = 100;

/** How far an SA is with its thresholds. */
const Watch = { Ask: 1, Prime: 2, Primed: 3, Set: 4, Told: 5, Polled: 6 } as const;

/** An SA that orders are for. */
export class Watched {
  readonly id: XfrmSaId;
  watch: number = Watch.Ask;
  tries = 0;

  constructor(id: XfrmSaId) {
    this.id = id;
  }
}

/** Gives orders; each SA has one under way at most. */
export class SaOrders<T extends Watched> {
  #wanted: Thresholds;
  readonly #due = new Set<T>();
  /** Asked or failed, and when to try again: all wait equally long, so the first is the next. */
  readonly #waiting = new Map<T, number>();
  /** When those that give no events are to be asked; the first is the next. */
  readonly #polled = new Map<T, number>();

  constructor(wanted: Thresholds) {
    this.#wanted = wanted;
  }

  /** What SAs shall have. */
  get wanted(): Thresholds {
    return this.#wanted;
  }

  /** What this SA has, or will have: one that gives no events is asked every second. */
  of(sa: T): Thresholds {
    return sa.watch === Watch.Polled ? POLLED : this.#wanted;
  }

  /** True when its events do not come and it is asked instead. */
  isPolled(sa: T): boolean {
    return sa.watch === Watch.Polled;
  }

  /** Other thresholds from here on, for every SA. */
  setWanted(wanted: Thresholds, sas: Iterable<T>): void {
    const watch = isSlower(this.#wanted.timerMs, wanted.timerMs) ? Watch.Prime : Watch.Set;
    this.#wanted = wanted;
    for (const sa of sas) {
      if (sa.watch !== Watch.Told) continue;
      sa.tries = 0;
      this.#order(sa, watch);
    }
  }

  /** An SA is new; `windowless` ones tell nothing of what they receive. */
  handleNew(sa: T, windowless: boolean, nowMs: number): void {
    sa.tries = 0;
    this.#order(sa, Watch.Ask);
    if (windowless) this.#polled.set(sa, nowMs + POLL_MS);
  }

  /** An SA is gone. */
  handleGone(sa: T): void {
    this.#due.delete(sa);
    this.#waiting.delete(sa);
    this.#polled.delete(sa);
  }

  /** The kernel told its thresholds, the timer in units of 100 ms. */
  handleThresholds(sa: T, packets: number, timer: number): void {
    if (sa.watch !== Watch.Ask) return;
    this.#waiting.delete(sa);
    const { packets: count, timerMs } = this.#wanted;
    if (isSlower(timer * TIMER_UNIT_MS, timerMs)) this.#order(sa, Watch.Prime);
    else if (packets === count && timer === Math.floor(timerMs / TIMER_UNIT_MS)) this.#told(sa);
    else this.#order(sa, Watch.Set);
  }

  /** Packets made an event, which also starts the timer. */
  handleEvent(sa: T): void {
    if (sa.watch === Watch.Primed) this.#order(sa, Watch.Set);
  }

  /** The kernel refused the last order for an SA. True when it is given up, and asked from here on. */
  handleFailed(sa: T, nowMs: number): boolean {
    sa.tries++;
    if (sa.watch === Watch.Polled || sa.watch === Watch.Ask) return false; // its time runs already
    if (sa.watch === Watch.Primed) sa.watch = Watch.Prime;
    if (sa.watch === Watch.Told) sa.watch = Watch.Set;
    this.#due.delete(sa);
    if (sa.tries >= TRIES_MAX) return this.#giveUp(sa, nowMs);
    this.#waiting.delete(sa);
    this.#waiting.set(sa, nowMs + ANSWER_MS);
    return false;
  }

  /** The next order, or null; what was not answered is asked again. */
  poll(nowMs: number): ThresholdOrder | null {
    for (const [sa, untilMs] of this.#waiting) {
      if (untilMs > nowMs) break;
      this.#waiting.delete(sa);
      if (sa.watch === Watch.Ask) sa.tries++;
      if (sa.tries >= TRIES_MAX) this.#giveUp(sa, nowMs);
      else this.#due.add(sa);
    }
    for (const sa of this.#due) {
      this.#due.delete(sa);
      return this.#give(sa, nowMs);
    }
    return null;
  }

  /** The next SA that gives no events and is to be asked, or null. */
  pollStale(nowMs: number): T | null {
    for (const [sa, atMs] of this.#polled) {
      if (atMs > nowMs) return null;
      this.#polled.delete(sa);
      this.#polled.set(sa, nowMs + POLL_MS);
      return sa;
    }
    return null;
  }

  /** When there is an order or a question again. */
  pollDeadline(): number {
    if (this.#due.size > 0) return 0;
    let next = Infinity;
    for (const untilMs of this.#waiting.values()) {
      next = untilMs;
      break;
    }
    for (const atMs of this.#polled.values()) return Math.min(next, atMs);
    return next;
  }

  #give(sa: T, nowMs: number): ThresholdOrder {
    const { id } = sa;
    const { packets, timerMs } = this.#wanted;
    if (sa.watch === Watch.Ask) {
      this.#waiting.set(sa, nowMs + ANSWER_MS);
      return { kind: OrderKind.Ask, id, packets: 0, timerMs: 0 };
    }
    if (sa.watch === Watch.Prime) {
      sa.watch = Watch.Primed;
      return { kind: OrderKind.Prime, id, packets: 1, timerMs };
    }
    this.#told(sa);
    return { kind: OrderKind.Set, id, packets, timerMs };
  }

  #told(sa: T): void {
    sa.watch = Watch.Told;
  }

  #order(sa: T, watch: number): void {
    sa.watch = watch;
    this.#waiting.delete(sa);
    this.#due.add(sa);
  }

  #giveUp(sa: T, nowMs: number): boolean {
    sa.watch = Watch.Polled;
    this.#polled.set(sa, nowMs + POLL_MS);
    return true;
  }
}

/** Whether the kernel's timer fires later than the one that is wanted, or never. */
function isSlower(presentMs: number, wantedMs: number): boolean {
  return wantedMs > 0 && (presentMs === 0 || presentMs > wantedMs);
}

const POLLED: Thresholds = { packets: 0, timerMs: POLL_MS };
