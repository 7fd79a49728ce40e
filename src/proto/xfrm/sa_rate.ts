/**
 * How fast an SA moves: a ring of tenths of a second over the last ten seconds. Packets that an event
 * tells are spread over the time since the event before, as nobody knows when they came.
 *
 * @module
 */

const BUCKET_MS = 100;
/** Buckets of the ring: ten seconds. */
const BUCKETS = 100;
/** So far back the peak goes. */
export const RATE_MS: number = BUCKET_MS * BUCKETS;
/** Buckets of the present rate: one second. */
const RECENT = 10;

/** Counts per second, now and at the most. */
export class Rate {
  readonly #counts = new Float32Array(BUCKETS);
  /** Number since time began of the newest bucket. */
  #newest = -1;

  /** `count` of them came between two times. */
  add(count: number, sinceMs: number, nowMs: number): void {
    const last = this.#moveTo(nowMs);
    if (count <= 0) return;
    const first = Math.max(Math.floor(sinceMs / BUCKET_MS), last - BUCKETS + 1, 0);
    const share = count / (last - first + 1);
    for (let bucket = first; bucket <= last; bucket++) {
      this.#counts[bucket % BUCKETS]! += share;
    }
  }

  /** Over the last second, the present tenth included. */
  perSecond(nowMs: number): number {
    const last = this.#moveTo(nowMs);
    let sum = 0;
    for (let bucket = Math.max(last - RECENT + 1, 0); bucket <= last; bucket++) {
      sum += this.#counts[bucket % BUCKETS]!;
    }
    return sum * 1000 / (RECENT * BUCKET_MS);
  }

  /** The most of any tenth of the last ten seconds. */
  peakPerSecond(nowMs: number): number {
    this.#moveTo(nowMs);
    let most = 0;
    for (let i = 0; i < BUCKETS; i++) most = Math.max(most, this.#counts[i]!);
    return most * 1000 / BUCKET_MS;
  }

  /** Empties what time has passed by; returns the newest bucket. */
  #moveTo(nowMs: number): number {
    const bucket = Math.max(Math.floor(nowMs / BUCKET_MS), this.#newest);
    const stale = Math.min(bucket - this.#newest, BUCKETS);
    for (let i = 0; i < stale; i++) this.#counts[(bucket - i) % BUCKETS] = 0;
    this.#newest = bucket;
    return bucket;
  }
}
