/**
 * The configuration file of the daemons: a small JSON object with the same keys as the flags (and
 * the positional arguments, in lower case). Words on the command line win.
 *
 *     { "hub": "v2:hub.example:3300", "keyring": "gw1.keyring", "name": "client.gw1" }
 *
 * @module
 */
import {
  type BooleanFlag,
  type Command,
  type Flag,
  flagValue,
  parseArgs,
  UsageError,
} from "./args.ts";
import { nearest } from "./nearest.ts";

/** Spread into a command's flags. */
export const CONFIG_FLAG = {
  config: {
    kind: "text",
    value: "FILE",
    short: "c",
    help: "JSON object with the same keys as these flags; flags win",
  },
} as const;

/**
 * The words with those of the configuration file in front, when `--config` is among them.
 *
 * @throws UsageError that names the file, the key and what is wrong
 */
export async function withConfig<F extends Record<string, Flag>>(
  table: Command<F>,
  words: readonly string[],
): Promise<string[]> {
  const { flags, help, positionals } = parseArgs(table, words);
  const path = (flags as { config?: string }).config;
  if (path === undefined || help) return [...words];
  const config = await readObject(path);
  const added: string[] = [];
  for (const [key, value] of Object.entries(config)) {
    const at = (table.positionals ?? []).findIndex(({ name }) => name.toLowerCase() === key);
    if (at >= 0) {
      if (positionals.length <= at) added.push(textOf(path, key, value));
    } else added.push(...flagWords(table, path, key, value));
  }
  return [...added, ...words];
}

async function readObject(path: string): Promise<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(await Deno.readTextFile(path));
  } catch (error) {
    throw new UsageError(`Cannot read configuration ${path}: ${(error as Error).message}`);
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw new UsageError(
    `Cannot use configuration ${path} as it must be a JSON object: current value is ` +
      JSON.stringify(value).slice(0, 40),
  );
}

function flagWords<F extends Record<string, Flag>>(
  table: Command<F>,
  path: string,
  key: string,
  value: unknown,
): string[] {
  const flag = key !== "config" && Object.hasOwn(table.flags, key) ? table.flags[key] : undefined;
  if (flag === undefined) throw unknownKey(table, path, key);
  switch (flag.kind) {
    case "boolean":
      if (typeof value !== "boolean") throw wrong(path, key, "true or false", value);
      return value ? [`--${key}`] : [];
    case "number":
      if (typeof value !== "number") throw wrong(path, key, "a number", value);
      return [word(flag, path, key, `${value}`)];
    case "list":
      if (!Array.isArray(value)) throw wrong(path, key, "a list of texts", value);
      return value.map((one: unknown) => word(flag, path, key, textOf(path, key, one)));
    case "text":
      return [word(flag, path, key, textOf(path, key, value))];
  }
}

/** Checked here, where the error can name the key rather than a flag that nobody typed. */
function word(flag: Exclude<Flag, BooleanFlag>, path: string, key: string, text: string): string {
  return `--${key}=${flagValue(flag, `"${key}" of configuration ${path}`, text)}`;
}

function textOf(path: string, key: string, value: unknown): string {
  if (typeof value === "string") return value;
  throw wrong(path, key, "a text", value);
}

function wrong(path: string, key: string, expected: string, value: unknown): UsageError {
  return new UsageError(
    `Cannot use configuration ${path} as "${key}" must be ${expected}: current value is ` +
      JSON.stringify(value),
  );
}

function unknownKey<F extends Record<string, Flag>>(
  table: Command<F>,
  path: string,
  key: string,
): UsageError {
  const known = [
    ...(table.positionals ?? []).map(({ name }) => name.toLowerCase()),
    ...Object.keys(table.flags).filter((name) => name !== "config"),
  ];
  const near = nearest(key, known);
  const hint = near === null ? `see ${table.name} --help` : `did you mean "${near}"`;
  return new UsageError(
    `Cannot use configuration ${path} as it has an unknown key: current value is "${key}", ${hint}`,
  );
}
