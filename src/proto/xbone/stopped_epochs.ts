/**
 * Overlays that their managers have stopped here, for as long as an INVITE of them may still be on its way: a
 * manager never asks a node again that it has sent STOP, so that what comes late must reserve nothing.
 *
 * @module
 */

/** As long as a signed datagram is fresh, for clocks that differ as much as they may. */
const REMEMBERED_MS = 120_000;
const EPOCHS_MAX = 4096;

/** A bounded set that forgets. */
export class StoppedEpochs {
  /** Until when, in the order in which they came. */
  readonly #until = new Map<string, number>();

  /** It was stopped by this manager. */
  add(manager: string, key: string, nowMs: number): void {
    for (const [known, untilMs] of this.#until) {
      if (untilMs > nowMs && this.#until.size < EPOCHS_MAX) break;
      this.#until.delete(known);
    }
    const name = nameOf(manager, key);
    this.#until.delete(name);
    this.#until.set(name, nowMs + REMEMBERED_MS);
  }

  /** Whether this manager has stopped it a while ago. */
  has(manager: string, key: string, nowMs: number): boolean {
    return (this.#until.get(nameOf(manager, key)) ?? -Infinity) > nowMs;
  }
}

function nameOf(manager: string, key: string): string {
  return `${manager} ${key}`;
}
