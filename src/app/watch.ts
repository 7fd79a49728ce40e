/**
 * Watches over a session that a person waits for: says what is being waited for, and ends the
 * wait when there is a limit. A session itself never gives up.
 *
 * @module
 */
import { nowMs } from "../io/clock.ts";
import { type Session, SessionState } from "../proto/msgr2/session.ts";
import { addressText } from "./address_text.ts";
import { countText } from "./count_text.ts";

const TICK_MS = 500;
/** A shorter interruption is not worth a word. */
const FIRST_WORD_MS = 1000;
/** Between two words with different reasons. */
const NEXT_WORD_MS = 10_000;
/** The longest between two words with the same reason, which come more and more seldom. */
const REPEAT_MAX_MS = 160_000;

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
  /** The reason that was told last; empty when nothing was told. */
  #told = "";
  #repeatMs = 0;
  #repeatAtMs = 0;

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
    const { unacknowledged } = session;
    const target = addressText(session.target!);
    const ready = session.state === SessionState.Ready;
    const progress = `${session.epoch} ${session.ackedSeq} ${unacknowledged}`;
    if (ready && (unacknowledged === 0 || progress !== this.#progress)) {
      this.#progress = progress;
      this.#movedMs = now;
      this.#nextWordMs = now + FIRST_WORD_MS;
      if (this.#told !== "") this.#say(`${target} is there`);
      this.#told = "";
      return;
    }
    const waitedMs = now - this.#movedMs;
    const why = ready
      ? `it does not acknowledge ${countText(unacknowledged, "message")}`
      : addressText(session.lastFault || "it does not answer");
    if (waitedMs >= this.#timeoutMs) {
      this.fail(new Error(`Gave up on ${target} after ${secondsText(waitedMs)}: ${why}`));
      return;
    }
    const isNew = why !== this.#told;
    if (now < this.#nextWordMs || (!isNew && now < this.#repeatAtMs)) return;
    this.#say(`Waiting for ${target}: ${why}${isNew ? "" : ` (since ${secondsText(waitedMs)})`}`);
    this.#repeatMs = isNew ? NEXT_WORD_MS : Math.min(this.#repeatMs * 2, REPEAT_MAX_MS);
    this.#repeatAtMs = now + this.#repeatMs;
    this.#nextWordMs = now + NEXT_WORD_MS;
    this.#told = why;
  }
}

function secondsText(ms: number): string {
  return `${Math.floor(ms / 1000)} s`;
}
