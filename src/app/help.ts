/**
 * `--help` of a command, made from the table that parses its flags (args.ts).
 *
 * @module
 */
import type { Command, Flag } from "./args.ts";

/** What `--help` prints. */
export function helpText<F extends Record<string, Flag>>(table: Command<F>): string {
  const { description, positionals = [], examples = [] } = table;
  const arguments_ = positionals.map((at): [string, string] => [at.name, at.help]);
  const flags = Object.entries(table.flags).map(([name, flag]): [string, string] => [
    `${flag.short === undefined ? "    " : `-${flag.short}, `}--${name}${metavar(flag)}`,
    `${flag.help}${note(flag)}`,
  ]);
  flags.push(["-h, --help", "Shows this"]);
  return [
    `${table.summary}\n`,
    `Usage: ${usage(table)}\n`,
    ...(description === undefined ? [] : [`${description}\n`]),
    ...(arguments_.length === 0 ? [] : [`Arguments:\n${columns(arguments_)}`]),
    `Options:\n${columns(flags)}`,
    ...(examples.length === 0
      ? []
      : [`Examples:\n${examples.map(([line, why]) => `  # ${why}\n  ${line}\n`).join("")}`]),
  ].join("\n").trimEnd();
}

/** One line: `fairlead send [options] ADDR [FILE]`. */
export function usage<F extends Record<string, Flag>>(table: Command<F>): string {
  const words = (table.positionals ?? []).map(({ name, optional, many }) => {
    const word = many ? `${name}...` : name;
    return optional ? `[${word}]` : word;
  });
  return [table.name, "[options]", ...words].join(" ");
}

function metavar(flag: Flag): string {
  return flag.kind === "boolean" ? "" : ` ${flag.value}`;
}

function note(flag: Flag): string {
  const notes: string[] = [];
  if (flag.kind === "text" && flag.choices !== undefined) notes.push(flag.choices.join(", "));
  if (flag.kind === "list") notes.push("may be repeated");
  if ((flag.kind === "text" || flag.kind === "number") && flag.default !== undefined) {
    notes.push(`default ${flag.default}`);
  }
  return notes.length === 0 ? "" : ` (${notes.join("; ")})`;
}

function columns(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}\n`).join("");
}
