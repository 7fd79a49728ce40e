/**
 * Checks a value against its table, fills in defaults, remembers where each leaf came from, and
 * tells every mistake with the present value and the remedy.
 *
 * @module
 */
import { nearest } from "../nearest.ts";
import { type Form, hasForm } from "./forms.ts";
import { type JsonNode, nodeOf, plainValue } from "./jsonc.ts";
import type { Findings } from "./problem.ts";
import {
  aboutOf,
  type ArraySchema,
  defaultOf,
  type IntegerSchema,
  isRequired,
  isScalar,
  type MapSchema,
  type ObjectSchema,
  type OrSchema,
  type Schema,
  type TaggedSchema,
  type TextSchema,
} from "./schema.ts";

/** How much of a value a message shows. */
const SHOWN_MAX = 60;

type ObjectNode = Extract<JsonNode, { kind: "object" }>;

/** The value with defaults; what is wrong is told to `findings` and is absent. */
export function checkSchema(schema: ObjectSchema, root: JsonNode, findings: Findings): unknown {
  return new Checker(findings).check(schema, root, "");
}

/** `inputs` and `http`: `inputs.http`. */
export function joinPath(path: string, key: string): string {
  if (!/^[\w$-]+$/.test(key)) return `${path}[${JSON.stringify(shorten(key))}]`;
  return path === "" ? key : `${path}.${key}`;
}

/** A value for a message. */
export function shown(value: unknown): string {
  return shorten(JSON.stringify(value));
}

/** `"a", "b" or "c"` */
export function choiceText(choices: Iterable<string>): string {
  const quoted = [...choices].map((choice) => JSON.stringify(choice));
  const last = quoted.pop() ?? "nothing";
  return quoted.length === 0 ? last : `${quoted.join(", ")} or ${last}`;
}

/** `, did you mean "hq"`, or else the text given. */
export function meant(word: string, known: Iterable<string>, otherwise = ""): string {
  const near = nearest(word.slice(0, SHOWN_MAX), known);
  return near === null ? otherwise : `, did you mean ${JSON.stringify(near)}`;
}

class Checker {
  readonly #findings: Findings;

  constructor(findings: Findings) {
    this.#findings = findings;
  }

  /** @param outer the table as messages shall tell it, when `schema` is a part of one */
  check(schema: Schema, node: JsonNode, path: string, outer: Schema = schema): unknown {
    this.#findings.place(path, node);
    if (node.kind === "broken") return undefined;
    switch (schema.kind) {
      case "text":
        return this.#text(schema, node, path, outer);
      case "integer":
        return this.#integer(schema, node, path, outer);
      case "boolean":
        if (node.kind !== "boolean") return this.#wrong(outer, node, path);
        return this.#leaf(node, path);
      case "array":
        return this.#array(schema, node, path, outer);
      case "or":
        return this.#or(schema, node, path);
    }
    if (node.kind !== "object") return this.#wrong(outer, node, path);
    switch (schema.kind) {
      case "map":
        return this.#map(schema, node, path);
      case "object":
        return this.#object(schema, node, path, {});
      case "tagged":
        return this.#tagged(schema, node, path);
    }
  }

  #leaf<T>(node: JsonNode & { readonly value: T }, path: string): T {
    this.#findings.origin(path, node);
    return node.value;
  }

  #text(schema: TextSchema, node: JsonNode, path: string, outer: Schema): unknown {
    if (node.kind !== "string") return this.#wrong(outer, node, path);
    const { value } = node;
    if (schema.choices !== undefined && !schema.choices.includes(value)) {
      return this.#wrong(outer, node, path, meant(value, schema.choices));
    }
    if (schema.form !== undefined && !hasForm(schema.form, value)) {
      return this.#wrong(outer, node, path, remedyText(schema.form, value));
    }
    return this.#leaf(node, path);
  }

  #integer(schema: IntegerSchema, node: JsonNode, path: string, outer: Schema): unknown {
    if (node.kind !== "number") return this.#wrong(outer, node, path);
    const { value } = node;
    if (!Number.isSafeInteger(value) || value < schema.min || value > schema.max) {
      return this.#wrong(outer, node, path);
    }
    return this.#leaf(node, path);
  }

  #or(schema: OrSchema, node: JsonNode, path: string): unknown {
    const none = node.kind === "null" || node.kind === "boolean" ? node : null;
    if (none !== null && none.value === schema.literal) return this.#leaf(none, path);
    return this.check(schema.of, node, path, schema);
  }

  #array(schema: ArraySchema, node: JsonNode, path: string, outer: Schema): unknown {
    if (node.kind !== "array") return this.#wrong(outer, node, path);
    const { length } = node.items;
    if (length < schema.min || length > schema.max) {
      const bounds = `${schema.min} to ${schema.max} items`;
      this.#findings.error(path, `it must have ${bounds}: current number is ${length}`);
    }
    const scalar = isScalar(schema.of);
    if (scalar || length === 0) this.#findings.origin(path, node);
    const seen = new Set<unknown>();
    return node.items.slice(0, schema.max).map((item, index) => {
      const value = this.check(schema.of, item, `${path}[${index}]`);
      if (scalar) this.#findings.origins.delete(`${path}[${index}]`); // the list is the leaf
      if (scalar && value !== undefined && seen.has(value)) {
        const why = `it stands in the list already: current value is ${shown(value)}, remove it`;
        this.#findings.error(`${path}[${index}]`, why);
      }
      seen.add(value);
      return value;
    });
  }

  #map(schema: MapSchema, node: ObjectNode, path: string): unknown {
    const { size } = node.members;
    if (size > schema.max) {
      this.#findings.error(path, `it must have ${schema.max} keys at most: it has ${size}`);
      return undefined;
    }
    if (size === 0) this.#findings.origin(path, node);
    const entries = [...node.members].map(([name, { key, value }]) => {
      const inner = joinPath(path, name);
      if (!hasForm(schema.names, name)) {
        this.#findings.place(inner, { ...value, at: key });
        const { expected } = schema.names;
        const hint = remedyText(schema.names, name);
        const why = `its name must be ${expected}: current value is ${shown(name)}${hint}`;
        this.#findings.error(inner, why);
      }
      return [name, this.check(schema.of, value, inner)] as const;
    });
    return Object.fromEntries(entries); // makes own members, also of "__proto__"
  }

  #tagged(schema: TaggedSchema, node: ObjectNode, path: string): unknown {
    const types = Object.keys(schema.variants);
    const member = node.members.get("type");
    const inner = joinPath(path, "type");
    if (member === undefined) {
      this.#findings.error(path, `"type" is missing: add it, ${choiceText(types)}`);
      return undefined;
    }
    const type: TextSchema = { kind: "text", about: "", choices: types };
    const value = this.check(type, member.value, inner) as string | undefined;
    if (value === undefined) return undefined;
    return this.#object(schema.variants[value]!, node, path, { type: value });
  }

  /** @param known members that were read already */
  #object(
    schema: ObjectSchema,
    node: ObjectNode,
    path: string,
    known: Readonly<Record<string, unknown>>,
  ): unknown {
    const keys = Object.keys(schema.keys);
    for (const [name, { key, value }] of node.members) {
      if (Object.hasOwn(schema.keys, name) || Object.hasOwn(known, name)) continue;
      const inner = joinPath(path, name);
      this.#findings.place(inner, { ...value, at: key });
      const all = choiceText([...Object.keys(known), ...keys]);
      this.#findings.error(inner, `it is no known key${meant(name, keys, `: use ${all}`)}`);
    }
    const entries = keys.map((key) => {
      const inner = joinPath(path, key);
      return [key, this.#member(schema.keys[key]!, node, key, path, inner)] as const;
    });
    return { ...known, ...Object.fromEntries(entries) }; // what is derived keeps its place
  }

  #member(schema: Schema, node: ObjectNode, key: string, path: string, inner: string): unknown {
    const member = node.members.get(key);
    if (member !== undefined) return this.check(schema, member.value, inner);
    const fallback = defaultOf(schema);
    if (fallback !== undefined) return this.check(schema, nodeOf(fallback, "default"), inner);
    if (isRequired(schema)) {
      this.#findings.error(path, `"${key}" is missing: add it, ${whatIs(schema)}`);
    }
    return undefined;
  }

  #wrong(schema: Schema, node: JsonNode, path: string, hint = rewritten(schema, node)): undefined {
    const value = shown(plainValue(node));
    this.#findings.error(
      path,
      `it must be ${expectedText(schema)}: current value is ${value}${hint}`,
    );
    return undefined;
  }
}

function remedyText(form: Form, text: string): string {
  const remedy = text.length > SHOWN_MAX ? null : form.remedy?.(text) ?? null;
  return remedy === null ? "" : `, did you mean ${JSON.stringify(remedy)}`;
}

/** What a value must be, in words. */
function expectedText(schema: Schema): string {
  switch (schema.kind) {
    case "text":
      return schema.choices ? choiceText(schema.choices) : schema.form?.expected ?? "a text";
    case "integer":
      return `a whole number from ${schema.min} to ${schema.max}`;
    case "boolean":
      return "true or false";
    case "array":
      return `a list of ${schema.min} to ${schema.max} items`;
    case "or":
      return `${expectedText(schema.of)}, or ${schema.literal}`;
    default:
      return "an object";
  }
}

/** The sentence about a value as a part of one: `The file to follow.` */
function whatIs(schema: Schema): string {
  const about = aboutOf(schema).replace(/[;:] .*$|\.$/, "");
  return about.charAt(0).toLowerCase() + about.slice(1);
}

/** The same value in the kind that is wanted, when only the quotes or brackets are wrong. */
function rewritten(schema: Schema, node: JsonNode): string {
  if (schema.kind === "or") return rewritten(schema.of, node);
  const { kind } = schema;
  if (node.kind === "string" && node.value.length <= SHOWN_MAX) {
    const bare = (kind === "integer" && /^-?[0-9]+$/.test(node.value)) ||
      (kind === "boolean" && /^(true|false)$/.test(node.value));
    if (bare) return `, write ${node.value} without quotes`;
  }
  const plain = node.kind === "number" || node.kind === "boolean";
  if (kind === "text" && plain && schema.choices === undefined && schema.form === undefined) {
    return `, write "${node.value}" in quotes`;
  }
  const scalar = plain || node.kind === "string";
  if (kind === "array" && scalar && isScalar(schema.of)) {
    return `, write [${shown(node.value)}]`;
  }
  if (node.kind === "null") return ", leave it out for the default";
  return "";
}

function shorten(text: string): string {
  return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
}
