/**
 * Bounds what the connections of one input hold in memory together.
 *
 * @module
 */

/** Bytes that may be taken, and those that wait for them. */
export class MemoryBudget {
  #left: number;
  #waiting: (() => void)[] = [];

  /** @param bytesMax all that there is */
  constructor(bytesMax: number) {
    this.#left = bytesMax;
  }

  /** Takes bytes; false when there are not so many. */
  take(bytes: number): boolean {
    if (bytes > this.#left) return false;
    this.#left -= bytes;
    return true;
  }

  /** Gives back what was taken. */
  give(bytes: number): void {
    if (bytes === 0) return;
    this.#left += bytes;
    this.wake();
  }

  /** Resolves when bytes were given back. */
  room(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Resolves what waits, so that it can see that it is over. */
  wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
