/**
 * The next deadline of very many connections: a binary heap in which each has at most one place, so
 * that setting, moving and clearing a deadline cost the logarithm of their number.
 *
 * @module
 */

/** Somebody with a deadline. */
export interface Timed {
  /** Infinity: none. */
  deadlineMs: number;
  /** Place in the heap, -1 when in none; only the heap writes it. */
  place: number;
}

/** Keeps the earliest first. */
export class DeadlineHeap<T extends Timed> {
  readonly #heap: T[] = [];

  /** The earliest; Infinity when there is none. */
  get nextMs(): number {
    return this.#heap[0]?.deadlineMs ?? Infinity;
  }

  /** Sets or moves a deadline; Infinity clears it. */
  set(timed: T, deadlineMs: number): void {
    if (timed.place >= 0) {
      if (timed.deadlineMs === deadlineMs) return;
      this.#remove(timed);
    }
    timed.deadlineMs = deadlineMs;
    if (deadlineMs === Infinity) return;
    this.#heap.push(timed);
    this.#rise(this.#heap.length - 1, timed);
  }

  /** Takes out one whose deadline has passed; null when there is none. */
  take(nowMs: number): T | null {
    const first = this.#heap[0];
    if (first === undefined || first.deadlineMs > nowMs) return null;
    this.#remove(first);
    first.deadlineMs = Infinity;
    return first;
  }

  #remove(timed: T): void {
    const place = timed.place;
    const last = this.#heap.pop()!;
    timed.place = -1;
    if (last === timed) return;
    this.#rise(place, last);
    this.#sink(last.place, last);
  }

  #rise(from: number, timed: T): void {
    let place = from;
    while (place > 0) {
      const above = (place - 1) >> 1;
      const other = this.#heap[above]!;
      if (other.deadlineMs <= timed.deadlineMs) break;
      this.#put(place, other);
      place = above;
    }
    this.#put(place, timed);
  }

  #sink(from: number, timed: T): void {
    let place = from;
    for (;;) {
      let below = 2 * place + 1;
      if (below >= this.#heap.length) break;
      const right = this.#heap[below + 1];
      if (right !== undefined && right.deadlineMs < this.#heap[below]!.deadlineMs) below++;
      if (this.#heap[below]!.deadlineMs >= timed.deadlineMs) break;
      this.#put(place, this.#heap[below]!);
      place = below;
    }
    this.#put(place, timed);
  }

  #put(place: number, timed: T): void {
    this.#heap[place] = timed;
    timed.place = place;
  }
}
