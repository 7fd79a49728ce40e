/**
 * Bodies of netlink messages that are kept while others are read: a dump's messages lie in a buffer that
 * the next datagram overwrites.
 *
 * @module
 */
import { newRegion, type Region } from "../../mem/region.ts";

const FIRST_BYTES = 64 * 1024;

/** Copies of bodies, one behind the other. */
export class Bodies {
  /** Where they are. */
  region: Region = newRegion(FIRST_BYTES);
  readonly #ends: number[] = [];

  /** How many. */
  get count(): number {
    return this.#ends.length;
  }

  /** Where one begins. */
  at(index: number): number {
    return index === 0 ? 0 : this.#ends[index - 1]!;
  }

  /** Where it ends. */
  end(index: number): number {
    return this.#ends[index]!;
  }

  /** Keeps one more. */
  add(from: Region, at: number, end: number): void {
    const start = this.at(this.count);
    const stop = start + end - at;
    if (stop > this.region.bytes.length) {
      const grown = newRegion(Math.max(stop, this.region.bytes.length * 2));
      grown.bytes.set(this.region.bytes.subarray(0, start));
      this.region = grown;
    }
    this.region.bytes.set(from.bytes.subarray(at, end), start);
    this.#ends.push(stop);
  }

  /** Forgets all. */
  clear(): void {
    this.#ends.length = 0;
  }
}
