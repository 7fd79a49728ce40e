/**
 * Between what an input has cut out of its bytes and the intake: makes the payload, counts, and
 * waits for room or drops.
 *
 * @module
 */
import { type InputCounts, inputCounts, type Intake } from "../gateway/intake.ts";

/** What an input makes of a line, a frame, a metric. */
export interface PayloadRules {
  readonly topic: string;
  readonly contentType: string;
  /** The payload; null when the frame is malformed. */
  payload(frame: Uint8Array): Uint8Array | null;
}

/** The payload is the frame itself. */
export function sameBytes(frame: Uint8Array): Uint8Array {
  return frame;
}

/** Hands the frames of one input on. */
export class MessageTaker {
  readonly counts: InputCounts = inputCounts();
  readonly #rules: PayloadRules;
  readonly #intake: Intake;
  #abandoned = false;

  constructor(rules: PayloadRules, intake: Intake) {
    this.#rules = rules;
    this.#intake = intake;
  }

  /** For a protocol that cannot wait. */
  takeOrDrop(frame: Uint8Array): void {
    const payload = this.#rules.payload(frame);
    if (payload === null) this.counts.refused++;
    else if (!this.#offer(payload)) this.counts.dropped++;
  }

  /**
   * For a protocol that can wait. Null when the frame is settled: taken, refused, or dropped because
   * that is the policy of the spool. Otherwise a promise: false when it was given up, see `abandon`.
   *
   * @param keep waits whatever the policy is, as the sender keeps the frame meanwhile
   */
  take(frame: Uint8Array, keep: boolean): Promise<boolean> | null {
    const payload = this.#rules.payload(frame);
    if (payload === null) this.counts.refused++;
    else if (!this.#offer(payload)) {
      if (keep || this.#intake.waits) return this.#takeLater(payload, keep);
      this.counts.dropped++;
    }
    return null;
  }

  /** Resolves when all that was taken is durable. */
  durable(): Promise<void> {
    return this.#intake.durable();
  }

  /** Nobody waits any longer: what was not taken is dropped. */
  abandon(): void {
    this.#abandoned = true;
  }

  async #takeLater(payload: Uint8Array, keep: boolean): Promise<boolean> {
    this.counts.waiting++;
    let settled = false;
    while (!settled && !this.#abandoned && (keep || this.#intake.waits)) {
      await this.#intake.room();
      settled = this.#offer(payload);
    }
    this.counts.waiting--;
    if (!settled && !keep) this.counts.dropped++;
    return !this.#abandoned || settled;
  }

  #offer(payload: Uint8Array): boolean {
    const { topic, contentType } = this.#rules;
    if (!this.#intake.offer(topic, payload, contentType)) return false;
    this.counts.messages++;
    this.counts.bytes += payload.length;
    return true;
  }
}
