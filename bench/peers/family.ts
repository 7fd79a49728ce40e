/**
 * What the families of measurements have in common: each measures one thing of ours beside the
 * peers that do the same, and gives its rows of the table.
 *
 * @module
 */
import type { Row } from "./table.ts";

/** One group of measurements. */
export interface Family {
  /** As `--only` takes it. */
  name: string;
  /** What it measures, one line for `--help`. */
  about: string;
  /** Measures; throws when a peer cannot be had. */
  run(context: Context): Promise<Row[]>;
}

/** What a family is given. */
export interface Context {
  /** How many alternating pairs a median is taken of. */
  rounds: number;
  /** Tells on standard error what is being measured. */
  say(line: string): void;
  /** A temporary directory of this run, removed at its end. */
  directory: string;
  /** Whether charts are wanted: what only they need is measured only then. */
  charts: boolean;
  /** Writes bench/charts/NAME.svg; does nothing when charts are not wanted. */
  chart(name: string, svg: string): Promise<void>;
}
