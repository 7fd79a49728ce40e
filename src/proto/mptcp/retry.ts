/**
 * When a path that failed is tried again: the wait doubles with each failure from the first to the
 * last, per path of a connection, and starts again after a subflow that lived for a while.
 *
 * @module
 */

/** A subflow that lived this long did work. */
const LIVED_MS = 10_000;
/** Paths with a failure that one connection remembers: more than are looked at (layout.ts). */
const PATHS_MAX = 1024;

interface Failure {
  count: number;
  notBeforeMs: number;
  /** Local address: a change of its link lets the path be tried at once. */
  readonly address: string;
  /** The kernel will not have it at all. */
  never: boolean;
}

/** Failures of the paths of one connection; keys are those of {@linkcode pathKey}. */
export class Retries {
  readonly #failures = new Map<string, Failure>();

  /** When a path may be tried; 0 at once, Infinity never. */
  notBeforeMs(key: string): number {
    const failure = this.#failures.get(key);
    if (failure === undefined) return 0;
    return failure.never ? Infinity : failure.notBeforeMs;
  }

  /** A subflow of it was lost after `livedMs`, or was not made at all. Returns the wait. */
  fail(
    key: string,
    address: string,
    livedMs: number,
    nowMs: number,
    firstMs: number,
    maxMs: number,
  ): number {
    const failure = this.#failures.get(key) ?? { count: 0, notBeforeMs: 0, address, never: false };
    this.#failures.delete(key); // again at the end: the oldest is dropped first
    if (livedMs >= LIVED_MS) failure.count = 0;
    const waitMs = Math.min(firstMs * 2 ** Math.min(failure.count, 30), maxMs);
    failure.count++;
    failure.notBeforeMs = nowMs + waitMs;
    this.#failures.set(key, failure);
    if (this.#failures.size > PATHS_MAX) {
      this.#failures.delete(this.#failures.keys().next().value!);
    }
    return waitMs;
  }

  /** It is not tried again until the policy changes. */
  giveUp(key: string, address: string): void {
    this.#failures.set(key, { count: 0, notBeforeMs: 0, address, never: true });
  }

  /** The link of an address changed: what failed because of it may work now. */
  retryAddress(address: string): void {
    for (const [key, failure] of this.#failures) {
      if (failure.address === address && !failure.never) this.#failures.delete(key);
    }
  }

  /** A path works, or is announced anew. */
  forget(key: string): void {
    this.#failures.delete(key);
  }

  /** The policy changed. */
  clear(): void {
    this.#failures.clear();
  }
}
