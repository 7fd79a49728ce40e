/**
 * The wall clock of a small box jumps: it starts in 1970 without a battery, NTP or an operator sets it.
 * Here a jump is noticed by comparing it with the clock that only runs, CLOCK_MONOTONIC, which stands
 * still while the machine sleeps: a sleep shows as a jump forward, too. Slewing (adjtimex(2), 0.5 ms a
 * second) is none. And there is a clock for ages, which no jump changes.
 *
 * @module
 */
import { nowMs } from "../io/clock.ts";

const INTERVAL_MS = 1000;
/** A smaller step is left alone: no deadline and no age here is so exact. */
const JUMP_MS = 2000;

/** The two clocks, ms. */
export interface Clocks {
  wallMs(): number;
  runningMs(): number;
}

const SYSTEM_CLOCKS: Clocks = { wallMs: Date.now, runningMs: nowMs };

/** Compares the clocks every second. */
export class ClockWatch {
  readonly #onJump: (ms: number) => void;
  readonly #clocks: Clocks;
  readonly #timer: ReturnType<typeof setInterval>;
  #wallMs: number;
  #runningMs: number;

  /** @param onJump is told by how much the wall clock jumped, negative when back */
  constructor(onJump: (ms: number) => void, clocks: Clocks = SYSTEM_CLOCKS) {
    this.#onJump = onJump;
    this.#clocks = clocks;
    this.#wallMs = clocks.wallMs();
    this.#runningMs = clocks.runningMs();
    this.#timer = setInterval(() => this.check(), INTERVAL_MS);
  }

  /** Compares now; each second's difference counts by itself, so that slewing never adds up. */
  check(): void {
    const wallMs = this.#clocks.wallMs();
    const runningMs = this.#clocks.runningMs();
    const jumpMs = (wallMs - this.#wallMs) - (runningMs - this.#runningMs);
    this.#wallMs = wallMs;
    this.#runningMs = runningMs;
    if (Math.abs(jumpMs) > JUMP_MS) this.#onJump(jumpMs);
  }

  /** Ends it. */
  stop(): void {
    clearInterval(this.#timer);
  }
}

/**
 * Running time: it goes on from a stored value and counts only what this program ran. The difference
 * of two readings is an age; time that the box was off does not make anything older.
 */
export class RunningClock {
  readonly #offsetMs: number;
  readonly #runningMs: () => number;

  /** @param fromMs the last reading before the program ended, as it was stored; 0 at the first start */
  constructor(fromMs: number, runningMs: () => number = nowMs) {
    this.#runningMs = runningMs;
    this.#offsetMs = fromMs - runningMs();
  }

  /** The reading; it never goes back. */
  nowMs(): number {
    return this.#offsetMs + this.#runningMs();
  }
}
