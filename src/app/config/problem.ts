/**
 * What is wrong in a configuration, and where: collected, so that one run tells all of it.
 *
 * @module
 */
import { countText } from "../count_text.ts";
import type { JsonNode } from "./jsonc.ts";

/** More than these are counted, not told. */
export const PROBLEMS_MAX = 100;

/** A mistake, or what an operator should know. */
export interface Problem {
  /** `inputs.http.listen`; empty when it is about the text as a whole. */
  readonly path: string;
  /** `gateway.jsonc:12:5`, `command line --hub`. */
  readonly where: string;
  /** In the file, from 1; 0 when it did not come from there. */
  readonly line: number;
  readonly column: number;
  /** With an error the configuration cannot be used. */
  readonly level: "error" | "warning";
  /** What, why, the present value and the remedy. */
  readonly text: string;
}

/** One line for people. */
export function problemText({ where, level, text }: Problem): string {
  return `${where}: ${level === "warning" ? "warning: " : ""}${text}`;
}

/** Collects problems, and remembers where each path stands. */
export class Findings {
  /** The file's name; `configuration` when there is none. */
  readonly file: string;
  /** Where each leaf came from, for `--print-config`. */
  readonly origins = new Map<string, string>();
  readonly #places = new Map<string, { line: number; column: number; where: string }>();
  readonly #problems: Problem[] = [];
  #untold = 0;

  constructor(file: string | null) {
    this.file = file ?? "configuration";
  }

  /** In the order of the file; what is not from it comes last. */
  get problems(): Problem[] {
    const rank = ({ line }: Problem): number => line === 0 ? Infinity : line;
    const sorted = this.#problems.toSorted((a, b) =>
      rank(a) === rank(b) ? a.column - b.column : rank(a) - rank(b)
    );
    if (this.#untold === 0) return sorted;
    const text = `There are ${countText(this.#untold, "more problem")}: mend these first`;
    return [...sorted, { path: "", where: this.file, line: 0, column: 0, level: "error", text }];
  }

  /** True when the configuration cannot be used. */
  get failed(): boolean {
    return this.#untold > 0 || this.#problems.some(({ level }) => level === "error");
  }

  /** Remembers where the value of `path` stands. */
  place(path: string, { at, from }: Pick<JsonNode, "at" | "from">): void {
    if (from === "default") return; // what is wrong with it stands where it was left out
    const where = from ?? `${this.file}:${at.line}:${at.column}`;
    this.#places.set(path, { line: from === undefined ? at.line : 0, column: at.column, where });
  }

  /** Remembers where a leaf came from. */
  origin(path: string, { at, from }: Pick<JsonNode, "at" | "from">): void {
    this.origins.set(path, from ?? `file ${this.file}:${at.line}`);
  }

  /** `Cannot use PATH as WHY`; the configuration cannot be used. */
  error(path: string, why: string): void {
    this.#add(path, "error", `Cannot use ${path === "" ? "it" : path} as ${why}`);
  }

  /** A whole sentence that stops nothing. */
  warning(path: string, text: string): void {
    this.#add(path, "warning", text);
  }

  /** A mistake of the text. */
  mistake(line: number, column: number, text: string): void {
    const where = line === 0 ? this.file : `${this.file}:${line}:${column}`;
    this.#push({ path: "", where, line, column, level: "error", text });
  }

  #add(path: string, level: Problem["level"], text: string): void {
    const { line, column, where } = this.#find(path);
    this.#push({ path, where, line, column, level, text });
  }

  #push(problem: Problem): void {
    if (this.#problems.length < PROBLEMS_MAX) this.#problems.push(problem);
    else this.#untold++;
  }

  /** Where the path stands, or the nearest thing around it that was written by somebody. */
  #find(path: string): { line: number; column: number; where: string } {
    for (let around = path;;) {
      const found = this.#places.get(around);
      if (found !== undefined) return found;
      if (around === "") return { line: 0, column: 0, where: this.file };
      around = around.slice(0, Math.max(0, around.search(/(\.[^.[\]]*|\[[^[\]]*\])$/)));
    }
  }
}
