/**
 * Latencies counted in buckets whose width grows with the value (a 32nd of it at most), so that
 * percentiles cost no memory per message. Log-linear buckets as HdrHistogram has them.
 *
 * @module
 */

const SUB_BITS = 5;
const SUB = 1 << SUB_BITS;
/** Values are 31-bit: in tenths of a microsecond 214 seconds. */
const VALUE_MAX = 0x7fffffff;
const BUCKETS = (32 - SUB_BITS) * SUB;

/** Counts of whole numbers from 0 up. */
export class Histogram {
  /** Values counted. */
  count = 0;
  readonly #buckets = new Float64Array(BUCKETS);

  /** Counts a value; fractions are cut off. */
  add(value: number): void {
    const whole = value < VALUE_MAX ? value | 0 : VALUE_MAX;
    const index = bucketOf(whole < 0 ? 0 : whole);
    this.#buckets[index] = this.#buckets[index]! + 1;
    this.count++;
  }

  /** The value that `share` (0 to 1) of all are not above: the middle of its bucket. */
  percentile(share: number): number {
    const wanted = Math.max(1, Math.ceil(share * this.count));
    let seen = 0;
    for (let index = 0; index < BUCKETS; index++) {
      seen += this.#buckets[index]!;
      if (seen >= wanted && this.count > 0) return (lowest(index) + lowest(index + 1) - 1) / 2;
    }
    return 0;
  }
}

function bucketOf(value: number): number {
  if (value < 2 * SUB) return value;
  const shift = 31 - Math.clz32(value) - SUB_BITS;
  return shift * SUB + (value >>> shift);
}

function lowest(index: number): number {
  if (index < 2 * SUB) return index;
  const shift = Math.floor(index / SUB) - 1;
  return (index - shift * SUB) * 2 ** shift;
}
