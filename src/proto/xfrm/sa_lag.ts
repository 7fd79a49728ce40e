/**
 * How far the standby is behind an SA: what the kernel was last heard to be at, against what the
 * standby has acknowledged. Two records on the way are remembered, the first and the last: what was
 * between them is taken as not acknowledged until the last one is, so the lag is never understated.
 *
 * @module
 */

/** Where one SA is known to be, and where the standby is known to have it. */
export class SaLag {
  /** Packets as the kernel last told. */
  #known = 0;
  #acked = 0;
  /** The oldest change that is not in a record. */
  #waitingSinceMs = Infinity;
  #firstTicket = 0;
  #firstTotal = 0;
  #firstSinceMs = 0;
  #lastTicket = 0;
  #lastTotal = 0;
  #lastSinceMs = 0;

  /** The kernel told that the SA is at `total` packets. */
  handleKnown(total: number, nowMs: number): void {
    this.#known = total;
    this.#waitingSinceMs = Math.min(this.#waitingSinceMs, nowMs);
  }

  /** That went into a record, which leaves with a ticket; all up to `acked` was acknowledged. */
  handleWritten(ticket: number, acked: number, nowMs: number): void {
    this.#resolve(acked);
    const sinceMs = Math.min(this.#waitingSinceMs, nowMs);
    this.#waitingSinceMs = Infinity;
    if (this.#firstTicket === 0) {
      this.#firstTicket = ticket;
      this.#firstTotal = this.#known;
      this.#firstSinceMs = sinceMs;
      return;
    }
    if (this.#lastTicket === 0) this.#lastSinceMs = sinceMs;
    this.#lastTicket = ticket;
    this.#lastTotal = this.#known;
  }

  /** Records on the way are lost; all up to `acked` had been acknowledged. */
  handleLost(acked: number): void {
    this.#resolve(acked);
    if (this.#firstTicket !== 0) {
      this.#waitingSinceMs = Math.min(this.#waitingSinceMs, this.#firstSinceMs);
    }
    this.#firstTicket = this.#lastTicket = 0;
  }

  /** Packets that the kernel is ahead. */
  packets(acked: number): number {
    this.#resolve(acked);
    return Math.max(this.#known - this.#acked, 0);
  }

  /** Since when something has not been acknowledged; Infinity when all is. */
  sinceMs(acked: number): number {
    this.#resolve(acked);
    return this.#firstTicket !== 0 ? this.#firstSinceMs : this.#waitingSinceMs;
  }

  #resolve(acked: number): void {
    if (this.#lastTicket !== 0 && this.#lastTicket <= acked) {
      this.#acked = this.#lastTotal;
      this.#firstTicket = this.#lastTicket = 0;
    } else if (this.#firstTicket !== 0 && this.#firstTicket <= acked) {
      this.#acked = this.#firstTotal;
      this.#firstTicket = this.#lastTicket;
      this.#firstTotal = this.#lastTotal;
      this.#firstSinceMs = this.#lastSinceMs;
      this.#lastTicket = 0;
    }
  }
}
