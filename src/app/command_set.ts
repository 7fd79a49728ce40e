/**
 * Commands by name, each a module of its own that is loaded when it is called, so that a small command
 * starts fast: those of `fairlead`, and the actions of one of them.
 *
 * @module
 */
import { Exit, UsageError } from "./args.ts";
import { nearest } from "./nearest.ts";
import { printError, printLine } from "./terminal.ts";

/** A command, or an action. */
export interface CommandEntry {
  readonly summary: string;
  load(): Promise<{ run(words: string[]): Promise<number> }>;
}

/** All of one kind. */
export interface CommandSet {
  /** How they are called: `fairlead`, `fairlead paths`. */
  readonly program: string;
  /** What they are for: the first line of the overview. */
  readonly title: string;
  /** What the name stands for in the usage. */
  readonly word: "COMMAND" | "ACTION";
  readonly entries: Readonly<Record<string, CommandEntry>>;
  /** What else the overview says at its end. */
  readonly more?: string;
}

/** Runs the command that the first word names; returns the exit code. A wrong use is told here. */
export async function runOf(set: CommandSet, words: readonly string[]): Promise<number> {
  const { entries, program, word } = set;
  const [name, ...rest] = words;
  if (name === undefined) {
    printError(overview(set));
    return Exit.Usage;
  }
  if (name === "--help" || name === "-h" || name === "help") {
    printLine(overview(set));
    return Exit.Ok;
  }
  const entry = Object.hasOwn(entries, name) ? entries[name] : undefined;
  if (entry === undefined) {
    const close = nearest(name, Object.keys(entries));
    const hint = close === null ? `${program} --help lists them` : `did you mean "${close}"`;
    const what = word.toLowerCase();
    printError(`Cannot run ${what} as it is unknown: current value is "${name}", ${hint}`);
    return Exit.Usage;
  }
  try {
    return await (await entry.load()).run(rest);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    printError(error.message);
    if (error.seeHelp) printError(`Try "${program} ${name} --help".`);
    return Exit.Usage;
  }
}

function overview({ entries, more = "", program, title, word }: CommandSet): string {
  const width = Math.max(...Object.keys(entries).map((name) => name.length));
  const lines = Object.entries(entries).map(([name, { summary }]) =>
    `  ${name.padEnd(width)}  ${summary}`
  );
  const what = word.toLowerCase();
  return [
    title,
    "",
    `Usage: ${program} ${word} [ARGUMENTS]`,
    "",
    `${word[0]}${what.slice(1)}s:`,
    ...lines,
    "",
    `Run "${program} ${word} --help" for the flags of ${
      word === "ACTION" ? "an" : "a"
    } ${what}${more}.`,
  ].join("\n");
}
