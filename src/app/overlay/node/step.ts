/**
 * One step of configuring a box: "form the configuration commands to each node" of the X-Bone control
 * protocol, step [7]. What a step's undoing needs is written to the journal before the step acts, so that
 * a box that was killed in the middle knows what may be there. No key is ever in it.
 *
 * @module
 */

/** What stands in the journal: JSON, without keys. */
export interface StepRecord {
  /** Which kind of step: `link`, `address`, `association` … */
  readonly kind: string;
  /** For people and for refusals: `link a-b (xb00a1f2)`. */
  readonly about: string;
}

/** A kind of step. All are idempotent: a step may have been taken in part, or not at all, or twice. */
export interface StepKind<R extends StepRecord> {
  readonly kind: R["kind"];
  /**
   * Takes it.
   *
   * @param secret of an association: its keys; else undefined
   * @throws with the reason
   */
  apply(record: R, secret?: unknown): void | Promise<void>;
  /**
   * Undoes it; what is gone already is fine.
   *
   * @throws with the reason when something is left
   */
  undo(record: R): void | Promise<void>;
  /** What is not as it should be: a line each. */
  drift(record: R): readonly string[];
  /**
   * Takes `next` in the place of `old`, which has the same `about`; absent where no secret is.
   *
   * @throws with the reason; then it is as before
   */
  rekey?(old: R, next: R, secret: unknown): void | Promise<void>;
  /**
   * What carries this kind's marks outside of the kernel and belongs to no overlay; absent where nothing does.
   *
   * @param load reads the records of the journals, to be called after the marks were looked at
   */
  orphans?(load: () => readonly R[]): readonly Orphan[];
}

/** Something that is nobody's. */
export interface Orphan {
  readonly about: string;
  readonly remove: () => void;
}

/** A step to be taken, and what it needs that is never written down. */
export interface PlannedStep {
  readonly record: StepRecord;
  readonly secret?: unknown;
}

/** What marks everything of ours in the kernel: RTPROT of routes, rules and addresses. */
export const OVERLAY_PROTOCOL = 199;
