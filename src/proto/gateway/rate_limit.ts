/**
 * A token bucket: so many messages a second, one second's worth at once. What is taken in one piece
 * may be more than there is; the debt is paid off before the next piece.
 *
 * @module
 */

/** A limit; 0 messages a second is none. */
export class RateLimit {
  readonly #perSecond: number;
  #tokens: number;
  #filledMs: number;

  /** @param perSecond messages a second; 0 for no limit */
  constructor(perSecond: number, nowMs: number) {
    this.#perSecond = perSecond;
    this.#tokens = perSecond;
    this.#filledMs = nowMs;
  }

  /** True when something may be taken now. */
  allows(nowMs: number): boolean {
    if (this.#perSecond === 0) return true;
    const filled = this.#tokens + (nowMs - this.#filledMs) * this.#perSecond / 1000;
    this.#tokens = Math.min(this.#perSecond, filled);
    this.#filledMs = nowMs;
    return this.#tokens > 0;
  }

  /** Takes `count` messages. */
  take(count: number): void {
    this.#tokens -= count;
  }
}
