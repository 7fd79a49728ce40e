/**
 * The language of the tables that say what a configuration may hold. One table gives the TypeScript
 * type ({@linkcode Infer}), the checks and defaults (schema_check.ts) and the JSON Schema
 * (json_schema.ts).
 *
 * @module
 */
import type { Form } from "./forms.ts";

interface Described {
  /** One sentence for people. */
  readonly about: string;
}

/** A text. */
export interface TextSchema extends Described {
  readonly kind: "text";
  /** The only texts allowed. */
  readonly choices?: readonly string[];
  readonly form?: Form;
  readonly default?: string;
  /** How it is found when it is left out and has no fixed default: `the input's name`. */
  readonly derived?: string;
}

/** A whole number. */
export interface IntegerSchema extends Described {
  readonly kind: "integer";
  readonly min: number;
  readonly max: number;
  readonly default?: number;
}

/** True or false. */
export interface BooleanSchema extends Described {
  readonly kind: "boolean";
  readonly default?: boolean;
}

/** A list; texts and numbers stand in it only once. */
export interface ArraySchema extends Described {
  readonly kind: "array";
  readonly of: Schema;
  readonly min: number;
  readonly max: number;
  readonly default?: readonly unknown[];
}

/** An object whose keys are named by the operator. */
export interface MapSchema extends Described {
  readonly kind: "map";
  /** The form of the keys. */
  readonly names: Form;
  readonly of: Schema;
  readonly max: number;
  readonly default?: Readonly<Record<string, unknown>>;
}

/** An object whose keys are known; those without a default must be there. */
export interface ObjectSchema extends Described {
  readonly kind: "object";
  readonly keys: Readonly<Record<string, Schema>>;
  readonly default?: Readonly<Record<string, unknown>>;
}

/** An object whose `type` says which keys it has. */
export interface TaggedSchema extends Described {
  readonly kind: "tagged";
  readonly variants: Readonly<Record<string, ObjectSchema>>;
}

/** Something, or the word for nothing. */
export interface OrSchema {
  readonly kind: "or";
  readonly literal: null | false;
  readonly of: Schema;
  readonly default?: unknown;
}

/** One value of a configuration. */
export type Schema =
  | TextSchema
  | IntegerSchema
  | BooleanSchema
  | ArraySchema
  | MapSchema
  | ObjectSchema
  | TaggedSchema
  | OrSchema;

/** What a table's value is once it was checked and filled. */
export type Infer<S> = S extends { kind: "text"; choices: readonly (infer C)[] } ? C
  : S extends { kind: "text" } ? string
  : S extends { kind: "integer" } ? number
  : S extends { kind: "boolean" } ? boolean
  : S extends { kind: "array"; of: infer O } ? readonly Infer<O>[]
  : S extends { kind: "map"; of: infer O } ? Readonly<Record<string, Infer<O>>>
  : S extends { kind: "object"; keys: infer K } ? InferKeys<K>
  : S extends { kind: "tagged"; variants: infer V }
    ? { [T in keyof V]: { readonly type: T } & Infer<V[T]> }[keyof V]
  : S extends { kind: "or"; literal: infer L; of: infer O } ? L | Infer<O>
  : never;

type InferKeys<K> = { readonly [N in keyof K]: Infer<K[N]> };

/** The same while it may have mistakes: what is wrong is undefined. */
export type Draft<T> = T extends readonly (infer E)[] ? (Draft<E> | undefined)[]
  : T extends object ?
      & { -readonly [K in Exclude<keyof T, "type">]?: Draft<T[K]> }
      & Pick<T, Extract<keyof T, "type">>
  : T;

/** The one sentence about a value. */
export function aboutOf(schema: Schema): string {
  return schema.kind === "or" ? aboutOf(schema.of) : schema.about;
}

/** What a value is when it is left out; undefined when it must not be, or is derived. */
export function defaultOf(schema: Schema): unknown {
  return schema.kind === "tagged" ? undefined : schema.default;
}

/** True when a value must be given. */
export function isRequired(schema: Schema): boolean {
  return defaultOf(schema) === undefined && !(schema.kind === "text" && schema.derived);
}

/** True for what stands in a list only once. */
export function isScalar({ kind }: Schema): boolean {
  return kind === "text" || kind === "integer" || kind === "boolean";
}
