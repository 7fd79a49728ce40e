/**
 * Where times stand on the page of a ladder diagram: later is lower, each message that begins has a row
 * of its own, and long silence is compressed.
 *
 * @module
 */
import type { TimelineEvent } from "./timeline.ts";

const ROW = 26;
/** Where the first message begins, below the head. */
const HEAD_ROOM = 30;
const FOOT_ROOM = 24;
const STEP = 3.5;
const STEP_MAX = 30;
const SILENCE_HEIGHT = 46;
const SILENCE_MIN_NS = 1_000_000;
/** So many times the usual distance is silence. */
const SILENCE_FACTOR = 30;

/** A compressed stretch of time; `y` is its middle. */
export interface Silence {
  readonly y: number;
  readonly ns: number;
}

interface Point {
  readonly ns: number;
  readonly event: number;
  readonly begins: boolean;
}

/** Of one connection, whose events are in the order in which they began. */
export class TimeScale {
  /** By the event's index. */
  readonly beginY: Float64Array;
  readonly finishY: Float64Array;
  readonly silences: Silence[] = [];
  readonly bottom: number;
  readonly #begins = new Map<number, number>();
  readonly #finishes = new Map<number, number>();

  /** A scale that starts at `top`. */
  constructor(events: readonly TimelineEvent[], top: number) {
    this.beginY = new Float64Array(events.length);
    this.finishY = new Float64Array(events.length);
    const points = pointsOf(events);
    const usualNs = usualDistance(points);
    let y = top + HEAD_ROOM;
    let rowY = y - ROW;
    points.forEach(({ begins, event, ns }, index) => {
      const distance = index === 0 ? 0 : ns - points[index - 1]!.ns;
      const before = y;
      const isSilent = distance > Math.max(SILENCE_MIN_NS, usualNs * SILENCE_FACTOR);
      if (isSilent) y += SILENCE_HEIGHT;
      else if (distance > 0) y += Math.min(STEP_MAX, STEP * Math.log2(1 + 4 * distance / usualNs));
      if (begins) {
        y = Math.max(y, rowY + ROW);
        rowY = y;
        this.beginY[event] = y;
        // The first of several messages in one packet.
        if (!this.#begins.has(ns)) this.#begins.set(ns, y);
        if (events[event]!.finishNs === ns) this.finishY[event] = y;
      } else {
        this.finishY[event] = y;
        this.#finishes.set(ns, y);
      }
      // The label of what follows stands above its row.
      if (isSilent) {
        this.silences.push({ y: (before + y - (begins ? ROW / 2 : 0)) / 2 + 2, ns: distance });
      }
    });
    this.bottom = y + FOOT_ROOM;
  }

  /** Where a message stands that began or else ended at that time; null when none did. */
  at(ns: number): number | null {
    return this.#begins.get(ns) ?? this.#finishes.get(ns) ?? null;
  }
}

/** What finishes at a time stands above what begins then. */
function pointsOf(events: readonly TimelineEvent[]): Point[] {
  const points: Point[] = [];
  events.forEach(({ beginNs, finishNs }, event) => {
    points.push({ ns: beginNs, event, begins: true });
    if (finishNs > beginNs) points.push({ ns: finishNs, event, begins: false });
  });
  return points.sort((a, b) => a.ns - b.ns || Number(a.begins) - Number(b.begins));
}

/** The median of the distances that are not 0. */
function usualDistance(points: readonly Point[]): number {
  const distances = points.slice(1).map(({ ns }, index) => ns - points[index]!.ns)
    .filter((distance) => distance > 0).sort((a, b) => a - b);
  return distances[distances.length >> 1] ?? 1;
}
