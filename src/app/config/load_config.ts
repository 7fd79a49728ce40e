/**
 * From a file and the flags that win over it to a value that was checked against its table.
 *
 * @module
 */
import { type JsonNode, nodeOf, parseJsonc, TEXT_SIZE_MAX } from "./jsonc.ts";
import { Findings, type Problem } from "./problem.ts";
import type { Draft, ObjectSchema } from "./schema.ts";
import { checkSchema } from "./schema_check.ts";

/** A value that wins over the file's: a flag. */
export interface Override {
  /** Keys with dots between them: `inputs.lines.listen`; what is on the way is made. */
  readonly path: string;
  /** Takes the place of what is there; undefined takes that away. */
  readonly value: unknown;
  /** As messages shall name it: `command line --listen`. */
  readonly from: string;
}

/** A configuration that can be used, or what is wrong with it (warnings among it). */
export type Loaded<T> =
  | {
    readonly config: T;
    /** Where each leaf came from, by its path. */
    readonly origins: ReadonlyMap<string, string>;
    readonly warnings: readonly Problem[];
  }
  | { readonly config: null; readonly problems: readonly Problem[] };

/**
 * Reads and checks; `path` null: there is no file, only overrides and defaults.
 *
 * @param complete adds what the table cannot say: values that depend on others, checks across keys
 */
export async function loadConfig<T>(
  schema: ObjectSchema,
  path: string | null,
  overrides: readonly Override[],
  complete: (draft: Draft<T>, findings: Findings) => Promise<void>,
): Promise<Loaded<T>> {
  const findings = new Findings(path);
  const root = path === null ? nodeOf({}, "default") : await readRoot(path, findings);
  if (root !== null) {
    for (const override of overrides) apply(root, override);
    const draft = (checkSchema(schema, root, findings) ?? {}) as Draft<T>;
    await complete(draft, findings);
    if (!findings.failed) {
      const { origins, problems } = findings;
      return { config: draft as T, origins, warnings: problems };
    }
  }
  return { config: null, problems: findings.problems };
}

async function readRoot(path: string, findings: Findings): Promise<JsonNode | null> {
  const text = await readText(path, findings);
  if (text === null) return null;
  const { root, mistakes } = parseJsonc(text);
  for (const { line, column, text } of mistakes) findings.mistake(line, column, text);
  // An editor's key: it says where the JSON Schema is.
  if (root?.kind === "object" && root.members.get("$schema")?.value.kind === "string") {
    root.members.delete("$schema");
  }
  return root;
}

/** Reads a file that may be a pipe, and no more of it than a configuration can have. */
async function readText(path: string, findings: Findings): Promise<string | null> {
  try {
    using file = await Deno.open(path);
    const bytes = new Uint8Array(TEXT_SIZE_MAX + 1);
    let size = 0;
    while (size < bytes.length) {
      const count = await file.read(bytes.subarray(size));
      if (count === null) break;
      size += count;
    }
    if (size > TEXT_SIZE_MAX) {
      findings.mistake(0, 0, `Cannot read more than ${TEXT_SIZE_MAX} bytes: give another file`);
      return null;
    }
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, size));
  } catch (error) {
    const why = error instanceof TypeError ? "it must be UTF-8" : (error as Error).message;
    findings.mistake(0, 0, `Cannot read the configuration: ${why}`);
    return null;
  }
}

function apply(root: JsonNode, { path, value, from }: Override): void {
  const keys = path.split(".");
  const last = keys.pop()!;
  let around = root;
  for (const key of keys) {
    if (around.kind !== "object") return; // told when it is checked
    const inner = around.members.get(key);
    if (inner === undefined && value === undefined) return;
    const made = inner?.value ?? nodeOf({}, from);
    if (inner === undefined) around.members.set(key, { key: made.at, value: made });
    around = made;
  }
  if (around.kind !== "object") return;
  if (value === undefined) around.members.delete(last);
  else {
    const node = nodeOf(value, from);
    around.members.set(last, { key: node.at, value: node });
  }
}
