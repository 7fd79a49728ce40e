/**
 * The command line that all commands share: a table says which flags and positional arguments a
 * command has; the parser turns words into typed values (help.ts makes `--help` of the same table). GNU
 * habits: `--flag value`, `--flag=value`, `-f value`, `-fvalue`, `--` ends the flags, flags may
 * stand between positional arguments, the last of two equal flags counts.
 *
 * @module
 */
import { usage } from "./help.ts";
import { nearest } from "./nearest.ts";

/** What a process ends with. */
export const Exit = { Ok: 0, Failure: 1, Usage: 2 } as const;

/** The words on the command line are wrong: the process ends with {@linkcode Exit.Usage}. */
export class UsageError extends Error {
  override name = "UsageError";
  /** True when `--help` of the command says what would be right. */
  readonly seeHelp: boolean;

  constructor(message: string, seeHelp = false) {
    super(message);
    this.seeHelp = seeHelp;
  }
}

interface FlagBase {
  /** One line for `--help`. */
  readonly help: string;
  /** The one-letter form, without the dash. */
  readonly short?: string;
}

/** Given or not. */
export interface BooleanFlag extends FlagBase {
  readonly kind: "boolean";
}

/** Takes a word. */
export interface TextFlag extends FlagBase {
  readonly kind: "text";
  /** How help calls the word: `FILE`. */
  readonly value: string;
  readonly default?: string;
  /** The only words allowed. */
  readonly choices?: readonly string[];
}

/** Takes a whole number. */
export interface NumberFlag extends FlagBase {
  readonly kind: "number";
  readonly value: string;
  readonly default?: number;
  readonly min: number;
  readonly max: number;
}

/** Takes a word each time it is given. */
export interface ListFlag extends FlagBase {
  readonly kind: "list";
  readonly value: string;
}

/** One flag; its name is the key in the table: `"in-flight"`. */
export type Flag = BooleanFlag | TextFlag | NumberFlag | ListFlag;

/** One positional argument. */
export interface Positional {
  /** `ADDR` */
  readonly name: string;
  readonly help: string;
  /** May be left out. */
  readonly optional?: boolean;
  /** Takes all the words that are left; only the last one may. */
  readonly many?: boolean;
}

/** A command's table. */
export interface Command<F extends Record<string, Flag>> {
  /** With the program's name: `fairlead send`. */
  readonly name: string;
  /** What it is for: the first line of help. */
  readonly summary: string;
  /** More of it. */
  readonly description?: string;
  readonly positionals?: readonly Positional[];
  readonly flags: F;
  /** Pairs of a command line and what it does. */
  readonly examples?: readonly (readonly [string, string])[];
  /** Unknown flags belong to the positional arguments (a command of a Ceph cluster). */
  readonly passUnknown?: boolean;
}

/** What a flag's value is once parsed. */
export type FlagValue<T extends Flag> = T extends BooleanFlag ? boolean
  : T extends ListFlag ? string[]
  : T extends NumberFlag ? (T extends { default: number } ? number : number | undefined)
  : (T extends { default: string } ? string : string | undefined);

/** A command line in parts. */
export interface Parsed<F extends Record<string, Flag>> {
  /** `--help` or `-h` was there: nothing else was checked. */
  readonly help: boolean;
  readonly flags: { [K in keyof F]: FlagValue<F[K]> };
  readonly positionals: string[];
}

type Value = boolean | number | string | string[] | undefined;

/** Keeps the exact type of a table: `const SEND = command({ … })`. */
export function command<const F extends Record<string, Flag>>(table: Command<F>): Command<F> {
  return table;
}

/** Parses the words after the command's name; throws a {@linkcode UsageError}. */
export function parseArgs<F extends Record<string, Flag>>(
  table: Command<F>,
  words: readonly string[],
): Parsed<F> {
  const values: Record<string, Value> = {};
  for (const [name, flag] of Object.entries(table.flags)) values[name] = initial(flag);
  const positionals: string[] = [];
  let help = false;
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (word === "--") {
      positionals.push(...words.slice(i + 1));
      break;
    }
    if (!/^-[^\d]/.test(word)) { // "-", "-1" and plain words
      positionals.push(word);
      continue;
    }
    if (word === "--help" || word === "-h") {
      help = true;
      continue;
    }
    const found = find(table, word);
    if (found === null) {
      if (!table.passUnknown) throw unknown(table, word);
      positionals.push(word);
      continue;
    }
    const { name, shown } = found;
    const flag = table.flags[name]!;
    if (flag.kind === "boolean") {
      if (found.attached !== undefined) {
        throw new UsageError(
          `Cannot use ${shown} as it must stand alone: current value is ${JSON.stringify(word)}`,
          true,
        );
      }
      values[name] = true;
      continue;
    }
    const text = found.attached ?? words[++i];
    if (text === undefined) {
      throw new UsageError(
        `Cannot use ${shown} as ${flag.value} must follow it: nothing does`,
        true,
      );
    }
    const value = flagValue(flag, shown, text);
    values[name] = flag.kind === "list" ? [...(values[name] as string[]), text] : value;
  }
  if (!help) checkPositionals(table, positionals);
  return { help, flags: values as Parsed<F>["flags"], positionals };
}

interface Found {
  readonly name: string;
  readonly shown: string;
  /** A value in the same word, after `=` or after the letter. */
  readonly attached: string | undefined;
}

function find<F extends Record<string, Flag>>(table: Command<F>, word: string): Found | null {
  if (word.startsWith("--")) {
    const equals = word.indexOf("=");
    const name = equals < 0 ? word.slice(2) : word.slice(2, equals);
    if (!Object.hasOwn(table.flags, name)) return null;
    return { name, shown: `--${name}`, attached: equals < 0 ? undefined : word.slice(equals + 1) };
  }
  for (const [name, { kind, short }] of Object.entries(table.flags)) {
    if (short === undefined || short !== word[1]) continue;
    if (kind === "boolean" && word.length > 2) return null;
    const attached = word.length > 2 ? word.slice(2).replace(/^=/, "") : undefined;
    return { name, shown: `-${short}`, attached };
  }
  return null;
}

function initial(flag: Flag): Value {
  if (flag.kind === "boolean") return false;
  return flag.kind === "list" ? [] : flag.default;
}

/** The value that a word means to a flag; throws a {@linkcode UsageError} that calls it `shown`. */
export function flagValue(
  flag: TextFlag | NumberFlag | ListFlag,
  shown: string,
  text: string,
): number | string {
  if (flag.kind === "number") {
    const number = /^[+-]?\d+$/.test(text) ? Number(text) : NaN;
    if (number >= flag.min && number <= flag.max) return number;
    throw wrong(shown, `a whole number from ${flag.min} to ${flag.max}`, text);
  }
  if (flag.kind === "list") return text;
  if (flag.choices === undefined || flag.choices.includes(text)) return text;
  throw wrong(shown, flag.choices.join(" or "), text);
}

function checkPositionals<F extends Record<string, Flag>>(
  table: Command<F>,
  words: readonly string[],
): void {
  const wanted = table.positionals ?? [];
  const missing = wanted[words.length];
  if (missing !== undefined && !missing.optional) {
    throw new UsageError(
      `Cannot run ${table.name} as ${missing.name} is missing: ${usage(table)}`,
      true,
    );
  }
  if (words.length > wanted.length && !wanted.at(-1)?.many) {
    const word = words[wanted.length]!;
    throw new UsageError(
      `Cannot run ${table.name} as "${word}" is one word too many: ${usage(table)}`,
      true,
    );
  }
}

function wrong(shown: string, expected: string, text: string): UsageError {
  const value = JSON.stringify(text);
  return new UsageError(
    `Cannot use ${shown} as it must be ${expected}: current value is ${value}`,
    true,
  );
}

function unknown<F extends Record<string, Flag>>(table: Command<F>, word: string): UsageError {
  const flag = word.replace(/=.*$/s, "");
  const near = nearest(flag, ["--help", ...Object.keys(table.flags).map((name) => `--${name}`)]);
  const hint = near === null ? `see ${table.name} --help` : `did you mean ${near}`;
  return new UsageError(
    `Cannot run ${table.name} as it has no flag ${flag}: ${hint}`,
    near !== null,
  );
}
