/**
 * Where a box keeps its term: what is stored here was promised to others.
 *
 * @module
 */
import type { ElectionStored } from "../../proto/standby/orders.ts";
import { TERM_MAX } from "../../wire/standby/words.ts";
import { DurableFile } from "./durable_file.ts";

const NOTHING: ElectionStored = { term: 0, activeTerm: 0 };

/** In a state directory, or only in memory: then a box that was restarted knows what others tell. */
export class TermFile {
  readonly #file: DurableFile | null;

  /** @param directory null keeps it in memory */
  constructor(directory: string | null) {
    this.#file = directory === null ? null : new DurableFile(`${directory}/standby.json`);
  }

  /**
   * What was stored last; zeros when nothing was.
   *
   * @throws when it is damaged: a term that is too low would let two boxes send
   */
  read(): ElectionStored {
    const value = this.#file?.read() ?? null;
    if (value === null) return NOTHING;
    const { activeTerm, term } = value as Partial<ElectionStored>;
    if (isTerm(term) && isTerm(activeTerm) && activeTerm <= term) return { term, activeTerm };
    throw new Error(
      "Cannot use standby.json of the state directory as it holds no terms: remove it when the other " +
        "box, or the witness, is sure to know the last one",
    );
  }

  /** @throws when the disk does not take it: then the term must not be used */
  write({ activeTerm, term }: ElectionStored): void {
    this.#file?.write({ term, activeTerm });
  }
}

function isTerm(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= TERM_MAX;
}
