/**
 * Messages and bytes over the time of a capture, in as many slots as there is room for: a slot is a
 * second long, and twice as long each time a capture outgrows them.
 *
 * @module
 */

const SLOTS = 4096;
const NS_PER_SECOND = 1e9;

/** The busiest slot. */
export interface Peak {
  /** Seconds since the capture's origin. */
  readonly at: number;
  readonly messages: number;
  readonly bytes: number;
}

/** Counts per slot; moments may come in any order. */
export class RateTrack {
  /** Seconds of a slot. */
  slotSeconds = 1;
  #end = 0;
  readonly #messages = new Float64Array(SLOTS);
  readonly #bytes = new Float64Array(SLOTS);

  /** Counts a message at a moment. */
  add(timeNs: number, bytes: number): void {
    const seconds = timeNs > 0 ? timeNs / NS_PER_SECOND : 0;
    while (seconds >= SLOTS * this.slotSeconds) this.#fold();
    const slot = Math.floor(seconds / this.slotSeconds);
    this.#messages[slot]! += 1;
    this.#bytes[slot]! += bytes;
    if (slot >= this.#end) this.#end = slot + 1;
  }

  /** The slot with the most bytes. */
  peak(): Peak {
    let best = 0;
    for (let slot = 1; slot < this.#end; slot++) {
      if (this.#bytes[slot]! > this.#bytes[best]!) best = slot;
    }
    const at = best * this.slotSeconds;
    return { at, messages: this.#messages[best]!, bytes: this.#bytes[best]! };
  }

  /** Bytes over time in `count` steps at most, for a small picture. */
  steps(count: number): number[] {
    const width = Math.ceil(this.#end / count);
    const steps: number[] = [];
    for (let slot = 0; slot < this.#end; slot += width) {
      let sum = 0;
      for (let at = slot; at < Math.min(slot + width, this.#end); at++) sum += this.#bytes[at]!;
      steps.push(sum);
    }
    return steps;
  }

  #fold(): void {
    for (const counts of [this.#messages, this.#bytes]) {
      for (let slot = 0; slot < SLOTS / 2; slot++) {
        counts[slot] = counts[2 * slot]! + counts[2 * slot + 1]!;
      }
      counts.fill(0, SLOTS / 2);
    }
    this.#end = Math.ceil(this.#end / 2);
    this.slotSeconds *= 2;
  }
}
