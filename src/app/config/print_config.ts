/**
 * The effective configuration, with where each value came from: `--print-config`. Secrets stand in
 * files of their own, so there is nothing to hide.
 *
 * @module
 */
import { joinPath } from "./schema_check.ts";

/** As JSONC that is a configuration file itself; a comment behind each value says where it is from. */
export function printConfig(config: object, origins: ReadonlyMap<string, string>): string {
  return lines(config, origins, "", "", "").join("\n");
}

/** As one JSON object: the values, and where they came from by path. */
export function printConfigJson(config: object, origins: ReadonlyMap<string, string>): string {
  return JSON.stringify({ config, origins: Object.fromEntries(origins) }, null, 2);
}

/** @param head what stands before the value in its first line, without the indent: `"key": ` */
function lines(
  value: unknown,
  origins: ReadonlyMap<string, string>,
  path: string,
  indent: string,
  head: string,
  tail = "",
): string[] {
  const origin = origins.get(path);
  if (origin !== undefined || typeof value !== "object" || value === null) {
    const comment = origin === undefined ? "" : ` // ${printable(origin)}`;
    return [`${indent}${head}${inline(value)}${tail}${comment}`];
  }
  const array = Array.isArray(value);
  const members = Object.entries(value);
  const inner = members.flatMap(([key, member], index) => {
    const comma = index < members.length - 1 ? "," : "";
    const [name, at] = array
      ? ["", `${path}[${key}]`]
      : [`${JSON.stringify(key)}: `, joinPath(path, key)];
    return lines(member, origins, at, `${indent}  `, name, comma);
  });
  const [open, close] = array ? ["[", "]"] : ["{", "}"];
  return [`${indent}${head}${open}`, ...inner, `${indent}${close}${tail}`];
}

/** A leaf: a list of texts stands in one line. */
function inline(value: unknown): string {
  return Array.isArray(value)
    ? `[${value.map((item) => JSON.stringify(item)).join(", ")}]`
    : JSON.stringify(value);
}

/** A file's name could end the comment's line. */
function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, "?");
}
