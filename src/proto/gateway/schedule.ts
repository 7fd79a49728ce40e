/**
 * Which stream a hub gets an envelope of next. Streams of three priorities share a session: in a
 * round of 21 turns high has 16, normal 4 and low 1, so that none starves while a more important
 * one never stops; a turn that its priority has no use for goes to the next one. Streams of one
 * priority take turns: one that has just begun to fill waits for one envelope of each of the others,
 * not for hours of their backlog. What is left over of earlier spools and routes goes before all.
 *
 * @module
 */

/** Priorities by their names in the configuration; smaller goes first. */
export const Priority = { Leftover: 0, High: 1, Normal: 2, Low: 3 } as const;

/** Turns of a round, for High, Normal and Low. */
const TURNS: readonly number[] = [16, 4, 1];
const CLASSES = 4;

/** Takes turns among streams, named by small whole numbers. */
export class Schedule {
  readonly #classes: number[][] = Array.from({ length: CLASSES }, () => []);
  /** In each class, the place of the stream that is asked first. */
  readonly #places: number[] = new Array(CLASSES).fill(0);
  /** Turns left in this round, for High, Normal and Low. */
  readonly #left: number[] = [...TURNS];

  /** Adds a stream; in an earlier class it must be added once only. */
  add(stream: number, priority: number): void {
    this.#classes[priority]!.push(stream);
  }

  /** Forgets all streams, not whose turn it is. */
  clear(): void {
    for (const streams of this.#classes) streams.length = 0;
  }

  /** The stream whose turn it is among those that `ready` says yes to; -1 when there is none. */
  next(ready: (stream: number) => boolean): number {
    const leftover = this.#pick(Priority.Leftover, ready);
    if (leftover >= 0) return leftover;
    for (let round = 0; round < 2; round++) {
      for (let at = 0; at < TURNS.length; at++) {
        if (this.#left[at]! === 0) continue;
        const stream = this.#pick(at + 1, ready);
        if (stream < 0) continue;
        this.#left[at]!--;
        return stream;
      }
      for (let at = 0; at < TURNS.length; at++) this.#left[at] = TURNS[at]!;
    }
    return -1;
  }

  #pick(priority: number, ready: (stream: number) => boolean): number {
    const streams = this.#classes[priority]!;
    const from = this.#places[priority]!;
    for (let step = 0; step < streams.length; step++) {
      const place = (from + step) % streams.length;
      if (!ready(streams[place]!)) continue;
      this.#places[priority] = (place + 1) % streams.length;
      return streams[place]!;
    }
    return -1;
  }
}
