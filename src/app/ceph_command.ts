/**
 * Words of a command line to the JSON that monitors and daemons of Ceph take. They describe their
 * commands themselves (`get_command_descriptions`): each is a list of fixed words, the prefix, and
 * of typed arguments. Arguments are given in order, or by name: `--name value`, `--name=value`,
 * `--flag`. Ceph documentation, "ceph -- ceph administration tool".
 *
 * @module
 */
import { nearest } from "./nearest.ts";

/** What a command is made of once parsed: `{"prefix": "osd out", "ids": ["0"]}`. */
export type CommandJson = Record<string, unknown>;

/** A CephFloat: JSON has one kind of number, but a monitor refuses `1` where it wants `1.0`. */
export class CommandFloat {
  /** Holds a number. */
  constructor(readonly value: number) {}
}

/** One argument of a command. */
export interface ArgumentDescription {
  readonly name: string;
  /** `CephInt`, `CephString`, … */
  readonly type: string;
  readonly isRequired: boolean;
  /** Takes a list of words. */
  readonly isList: boolean;
  /** For CephChoices. */
  readonly choices: readonly string[];
  /** Smallest and largest value. */
  readonly range: readonly [number, number];
  /** The characters allowed, as the inside of a regular expression; empty: all. */
  readonly goodChars: string;
}

/** One command. */
export interface CommandDescription {
  /** `["osd", "pool", "create"]` */
  readonly prefix: readonly string[];
  readonly arguments: readonly ArgumentDescription[];
  readonly help: string;
}

/** The words are no command of this cluster. */
export class InvalidCommand extends Error {
  override name = "InvalidCommand";
}

/** Usages shown when no command fits. */
const USAGES_MAX = 10;

/**
 * Reads the answer to `get_command_descriptions`.
 *
 * @throws when it is not one
 */
export function parseDescriptions(json: string): CommandDescription[] {
  const descriptions: CommandDescription[] = [];
  for (const entry of Object.values(record(JSON.parse(json)))) {
    const { sig, help } = record(entry);
    if (!Array.isArray(sig)) throw new Error("Cannot read command descriptions: one has no sig");
    const prefix: string[] = [];
    const arguments_: ArgumentDescription[] = [];
    for (const part of sig) {
      if (typeof part === "string") prefix.push(part);
      else arguments_.push(argumentOf(record(part)));
    }
    descriptions.push({ prefix, arguments: arguments_, help: text(help) });
  }
  return descriptions;
}

/**
 * Finds the command that the words are, and gives its arguments the types they must have.
 *
 * @throws InvalidCommand when they are none, with the usage of what they may have meant
 */
export function matchCommand(
  descriptions: readonly CommandDescription[],
  words: readonly string[],
): CommandJson {
  const fitting = descriptions
    .filter(({ prefix }) => prefix.every((word, index) => words[index] === word))
    .sort((a, b) => b.prefix.length - a.prefix.length);
  let firstProblem = "";
  for (const description of fitting) {
    const into: CommandJson = { prefix: description.prefix.join(" ") };
    const problem = takeArguments(description, words.slice(description.prefix.length), into);
    if (problem === "") return into;
    if (firstProblem === "") firstProblem = problem;
  }
  const [best] = fitting;
  if (best !== undefined) {
    const usages = fitting
      .filter(({ prefix }) => prefix.length === best.prefix.length)
      .map((description) => `\n  ${usageOf(description)}`);
    throw new InvalidCommand(
      `Cannot run "${best.prefix.join(" ")}" as ${firstProblem}, usage:${usages.join("")}`,
    );
  }
  throw new InvalidCommand(
    `Cannot run "${words.join(" ")}" as the cluster has no such command${
      hint(descriptions, words)
    }`,
  );
}

/** The JSON text of a command, as it is sent. */
export function commandText(json: CommandJson): string {
  const fields = Object.entries(json).map(([key, value]) =>
    `${JSON.stringify(key)}: ${valueText(value)}`
  );
  return `{${fields.join(", ")}}`;
}

function valueText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(valueText).join(", ")}]`;
  if (!(value instanceof CommandFloat)) return JSON.stringify(value);
  return Number.isInteger(value.value) ? value.value.toFixed(1) : String(value.value);
}

/** A command's usage: `osd pool create <pool> [<pg_num:int>] …`. */
export function usageOf(description: CommandDescription): string {
  const shown = description.arguments.map((argument) => {
    const { name, type, isRequired, isList, choices } = argument;
    const kind = SHOWN_TYPES[type];
    const word = type === "CephBool"
      ? optionOf(name)
      : type === "CephChoices"
      ? choices.join("|")
      : `<${name}${kind === undefined ? "" : `:${kind}`}>`;
    const whole = isList ? `${word}...` : word;
    return isRequired ? whole : `[${whole}]`;
  });
  return [...description.prefix, ...shown].join(" ");
}

const SHOWN_TYPES: Readonly<Record<string, string>> = {
  CephInt: "int",
  CephFloat: "float",
  CephOsdName: "id|osd.id",
  CephPgid: "pgid",
  CephName: "type.id",
  CephUUID: "uuid",
  CephIPAddr: "ip[:port]",
  CephEntityAddr: "address",
};

/** Fills `into` from words; returns what is wrong with them, or an empty text. */
function takeArguments(
  description: CommandDescription,
  words: readonly string[],
  into: CommandJson,
): string {
  const left = takeNamed(description, words, into);
  if (typeof left === "string") return left;
  for (const argument of description.arguments) {
    if (Object.hasOwn(into, argument.name)) continue;
    const { name, isRequired, isList } = argument;
    const values: unknown[] = [];
    while (left.length > 0 && (isList || values.length === 0)) {
      const value = convert(argument, left[0]!);
      if (value === undefined) break;
      values.push(value);
      left.shift();
    }
    if (values.length > 0) into[name] = isList ? values : values[0];
    else if (isRequired) {
      return left.length === 0
        ? `<${name}> is missing`
        : `<${name}> must be ${expectation(argument)}: current value is "${left[0]}"`;
    }
  }
  return left.length === 0 ? "" : `"${left[0]}" is one word too many or none of its choices`;
}

/** Takes out what is given by name; returns the other words, or what is wrong. */
function takeNamed(
  description: CommandDescription,
  words: readonly string[],
  into: CommandJson,
): string[] | string {
  const left: string[] = [];
  for (let index = 0; index < words.length; index++) {
    const word = words[index]!;
    const equals = word.indexOf("=");
    const option = equals < 0 ? word : word.slice(0, equals);
    const argument = description.arguments.find(({ name }) =>
      option === optionOf(name) || option === `--${name}`
    );
    if (argument === undefined) {
      left.push(word);
      continue;
    }
    if (argument.type === "CephBool" && equals < 0) {
      into[argument.name] = true;
      continue;
    }
    const given = equals < 0 ? words[++index] : word.slice(equals + 1);
    if (given === undefined) return `a value must follow ${option}`;
    const value = convert(argument, given);
    if (value === undefined) {
      return `${option} must be ${expectation(argument)}: current value is "${given}"`;
    }
    if (!argument.isList) into[argument.name] = value;
    else into[argument.name] = [...(into[argument.name] as unknown[] | undefined ?? []), value];
  }
  return left;
}

/** A word as the value that an argument wants; undefined when it is none. */
function convert(argument: ArgumentDescription, word: string): unknown {
  const { choices, goodChars } = argument;
  switch (argument.type) {
    case "CephInt":
      return /^[+-]?\d+$/.test(word) ? inRange(argument, Number(word)) : undefined;
    case "CephFloat": {
      const value = word.trim() === "" ? undefined : inRange(argument, Number(word));
      return value === undefined ? undefined : new CommandFloat(value);
    }
    case "CephBool":
      return /^(true|yes|on|1)$/i.test(word)
        ? true
        : /^(false|no|off|0)$/i.test(word)
        ? false
        : undefined;
    case "CephChoices":
      return choices.includes(word) ? word : undefined;
    case "CephOsdName": {
      const id = /^(?:osd\.)?(\d+)$/.exec(word)?.[1];
      return word === "*" ? word : id === undefined ? undefined : Number(id);
    }
    case "CephPgid":
      return /^\d+\.[0-9a-f]+$/i.test(word) ? word : undefined;
    case "CephName":
      return word === "*" || /^[a-z-]+\../.test(word) ? word : undefined;
    case "CephUUID":
      return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(word) ? word : undefined;
    default:
      return goodChars === "" || onlyOf(goodChars, word) ? word : undefined;
  }
}

function expectation({ type, choices, range, goodChars }: ArgumentDescription): string {
  const [min, max] = range;
  const within = [
    ...(min === -Infinity ? [] : [`${min} or more`]),
    ...(max === Infinity ? [] : [`${max} at most`]),
  ].join(" and ");
  switch (type) {
    case "CephInt":
      return `a whole number${within === "" ? "" : `, ${within}`}`;
    case "CephFloat":
      return `a number${within === "" ? "" : `, ${within}`}`;
    case "CephChoices":
      return choices.join(" or ");
    default:
      return SHOWN_TYPES[type] ?? (goodChars === "" ? "a word" : `of the characters ${goodChars}`);
  }
}

function inRange({ range }: ArgumentDescription, value: number): number | undefined {
  return value >= range[0] && value <= range[1] ? value : undefined;
}

/** The class comes from the cluster: one that is no plain character class allows everything. */
function onlyOf(goodChars: string, word: string): boolean {
  if (!/^\[[^\]]+\]$/.test(goodChars)) return true;
  try {
    return new RegExp(`^${goodChars}*$`).test(word);
  } catch {
    return true;
  }
}

/** `yes_i_really_mean_it` is given as `--yes-i-really-mean-it`. */
function optionOf(name: string): string {
  return `--${name.replaceAll("_", "-")}`;
}

function hint(descriptions: readonly CommandDescription[], words: readonly string[]): string {
  const prefixes = new Set(descriptions.map(({ prefix }) => prefix.join(" ")));
  for (let count = words.length; count > 0; count--) {
    const near = nearest(words.slice(0, count).join(" "), prefixes);
    if (near !== null) return `: did you mean "${near}"`;
  }
  const family = descriptions.filter(({ prefix }) => prefix[0] === words[0]).slice(0, USAGES_MAX);
  if (family.length === 0) return "";
  return `, near it are:${family.map((one) => `\n  ${usageOf(one)}`).join("")}`;
}

function argumentOf(part: Record<string, unknown>): ArgumentDescription {
  const [min, max] = text(part.range).split("|");
  return {
    name: text(part.name),
    type: text(part.type),
    isRequired: text(part.req) !== "false",
    isList: text(part.n) === "N",
    choices: text(part.strings).split("|"),
    range: [min ? Number(min) : -Infinity, max ? Number(max) : Infinity],
    goodChars: text(part.goodchars),
  };
}

function record(value: unknown): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw new Error(`Cannot read command descriptions as they must be objects: ${typeof value}`);
}

function text(value: unknown): string {
  return value === undefined ? "" : String(value);
}
