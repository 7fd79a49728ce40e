/**
 * Watches over a session that a person waits for: says what is being waited for, and ends the
 * wait when there is a limit. A session itself never gives up.
 *
 * @module
 */
import { nowMs } from "../io/clock.ts";
import { type Session, SessionState } from "../proto/msgr2/session.ts";

const TICK_MS = 500;
/** A shorter interruption is not worth a word. */
const FIRST_WORD_MS = 1000;
const NEXT_WORD_MS = 10_000;

/** Ends in an error, or not at all. */
export class Watch {
  /** Rejects when the wait is over the limit, or with what {@linkcode fail} was told. */
  readonly failed: Promise<never>;
  readonly #session: Session;
  readonly #timeoutMs: number;
  readonly #say: (text: string) => void;
  readonly #timer: ReturnType<typeof setInterval>;
  #reject: (error: Error) => void = () => {};
  #progress = "";
  #movedMs = nowMs();
  #nextWordMs = nowMs() + FIRST_WORD_MS;
  #spoke = false;

  /**
   * @param timeoutSeconds longest time without progress; 0 waits for ever
   * @param say takes a line for the person
   */
  constructor(session: Session, timeoutSeconds: number, say: (text: string) => void) {
    this.#session = session;
    this.#timeoutMs = timeoutSeconds === 0 ? Infinity : timeoutSeconds * 1000;
    this.#say = say;
    this.failed = new Promise((_resolve, reject) => this.#reject = reject);
    this.failed.catch(() => {}); // nobody may be waiting when it fails
    this.#timer = setInterval(() => this.#look(nowMs()), TICK_MS);
  }

  /** Ends the wait with an error. */
  fail(error: Error): void {
    this.#reject(error);
  }

  /** Ends the watch. */
  stop(): void {
    clearInterval(this.#timer);
  }

  #look(now: number): void {
    const session = this.#session;
    const { target, unacknowledged } = session;
    const ready = session.state === SessionState.Ready;
    const progress = `${session.epoch} ${session.ackedSeq} ${unacknowledged}`;
    if (ready && (unacknowledged === 0 || progress !== this.#progress)) {
      this.#progress = progress;
      this.#movedMs = now;
      this.#nextWordMs = now + FIRST_WORD_MS;
      if (this.#spoke) this.#say(`${target} is there`);
      this.#spoke = false;
      return;
    }
    const waitedMs = now - this.#movedMs;
    const why = ready
      ? `${unacknowledged} messages are not acknowledged`
      : session.lastFault || "it does not answer";
    if (waitedMs >= this.#timeoutMs) {
      this.fail(new Error(`Gave up on ${target} after ${Math.floor(waitedMs / 1000)} s: ${why}`));
    } else if (now >= this.#nextWordMs) {
      this.#nextWordMs = now + NEXT_WORD_MS;
      this.#spoke = true;
      this.#say(`Waiting for ${target}: ${why}`);
    }
  }
}
