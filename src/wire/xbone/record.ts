/**
 * Records: lists whose items are fields, `(NAME VALUE …)`, in any order. A field that is not known
 * is ignored and counted, one that must be there and is not, or that comes twice, is refused.
 *
 * @module
 */
import type { Form, Reading } from "./form.ts";
import type { Item, SexprWriter } from "./sexpr.ts";

/** A field of a record. */
export interface Field<T> {
  /** Its name in the message. */
  readonly name: string;
  /** True for one that is told from its namesake by beginning with a list. */
  readonly nested: boolean;
  /** How often it may come. */
  readonly max: number;
  /** What it is when it is not there; undefined: it must be. */
  readonly absent: T | undefined;
  write(value: T, to: SexprWriter): void;
  /** `before` is what came already of one that may come more than once. */
  read(list: readonly Item[], reading: Reading, before: T | undefined): T | undefined;
}

/** Every member of `T` has its field. */
export type Fields<T> = { readonly [K in keyof T]-?: Field<T[K]> };

/** A field that must be there. */
export function needed<T>(name: string, form: Form<T>): Field<T> {
  return { ...assumed(name, form, undefined as T), absent: undefined };
}

/** A field that is always written, and means `absent` where a peer does not know it. */
export function assumed<T>(name: string, form: Form<T>, absent: T): Field<T> {
  return {
    name,
    nested: false,
    max: 1,
    absent,
    write: (value, to) => writeList(name, form, value, to),
    read: (list, reading) => form.read(list, reading),
  };
}

/** A field that is left out when it is `absent`. */
export function optional<T>(name: string, form: Form<T>, absent: T): Field<T> {
  return {
    ...assumed(name, form, absent),
    write: (value, to) => {
      if (value !== absent) writeList(name, form, value, to);
    },
  };
}

/** A list of texts that is left out when it is empty. */
export function list<T>(name: string, form: Form<readonly T[]>): Field<readonly T[]> {
  return {
    ...assumed(name, form, []),
    write: (value, to) => {
      if (value.length > 0) writeList(name, form, value, to);
    },
  };
}

/** A field that comes once for each value, in their order, at most `max` times. */
export function many<T>(name: string, form: Form<T>, max: number): Field<readonly T[]> {
  return {
    name,
    nested: false,
    max,
    absent: [],
    write: (values, to) => {
      for (const value of values) writeList(name, form, value, to);
    },
    read: (list, reading, before) => {
      const value = form.read(list, reading);
      if (value === undefined) return undefined;
      if (before === undefined) return [value];
      (before as T[]).push(value);
      return before;
    },
  };
}

/** The same field where another of its name is a text: known by the list that it begins with. */
export function nested<T>(field: Field<T>): Field<T> {
  return { ...field, nested: true };
}

/** The form of a record. */
export function record<T>(fields: Fields<T>): Form<T> {
  const members = Object.entries(fields) as [keyof T, Field<T[keyof T]>][];
  const indexes = new Map(
    members.map(([, { name, nested }], index) => [nested ? nestedName(name) : name, index]),
  );
  return {
    write: (value, to) => {
      for (const [member, field] of members) field.write(value[member], to);
    },
    read: (list, reading) => {
      const values = new Array<T[keyof T] | undefined>(members.length).fill(undefined);
      const counts = new Uint32Array(members.length);
      for (let at = 1; at < list.length; at++) {
        const item = list[at]!;
        const index = indexOf(item, indexes);
        if (index === undefined) {
          reading.unknownFields++;
          continue;
        }
        const field = members[index]![1];
        reading.path.push(field.name);
        if (++counts[index]! > field.max) {
          const reason = field.max === 1 ? "it must come once" : `it must be at most ${field.max}`;
          return reading.refuseShown(reason, "one more"); // it may be a key
        }
        const value = field.read(item as readonly Item[], reading, values[index]);
        if (value === undefined) return undefined;
        values[index] = value;
        reading.path.pop();
      }
      return assemble(members, values, reading);
    },
  };
}

/**
 * The form of a list of texts in a fixed order, for what comes by the hundred: `(route TO VIA
 * LINK)`.
 */
export function row<T extends { readonly [K in keyof T]: string }>(
  columns: { readonly [K in keyof T]: Form<string> },
): Form<T> {
  const members = Object.entries(columns) as [keyof T & string, Form<string>][];
  return {
    write: (value, to) => {
      for (const [member, form] of members) form.write(value[member], to);
    },
    read: (list, reading) => {
      const value: Record<string, string> = {};
      for (let index = 0; index < members.length; index++) {
        const [member, form] = members[index]!;
        reading.path.push(member);
        const item = list[index + 1];
        const text = item === undefined
          ? reading.refuse("it must be there", item)
          : form.read([member, item], reading);
        if (text === undefined) return undefined;
        value[member] = text;
        reading.path.pop();
      }
      reading.unknownFields += list.length - 1 - members.length;
      return value as unknown as T;
    },
  };
}

/** A form that is defined by itself. */
export function lazy<T>(form: () => Form<T>): Form<T> {
  return {
    write: (value, to) => form().write(value, to),
    read: (list, reading) => form().read(list, reading),
  };
}

/** Writes `(HEAD …)`. */
export function writeList<T>(head: string, form: Form<T>, value: T, to: SexprWriter): void {
  to.open(head);
  form.write(value, to);
  to.close();
}

/** No name of a field has a blank. */
function nestedName(name: string): string {
  return `${name} (`;
}

function indexOf(item: Item, indexes: ReadonlyMap<string, number>): number | undefined {
  if (typeof item === "string") return undefined;
  const head = item[0];
  if (typeof head !== "string") return undefined;
  const index = Array.isArray(item[1]) ? indexes.get(nestedName(head)) : undefined;
  return index ?? indexes.get(head);
}

function assemble<T>(
  members: readonly [keyof T, Field<T[keyof T]>][],
  values: readonly (T[keyof T] | undefined)[],
  reading: Reading,
): T | undefined {
  const value: Partial<T> = {};
  for (const [index, [member, field]] of members.entries()) {
    const found = values[index] ?? field.absent;
    if (found === undefined) return reading.refuse("it must be there", undefined, field.name);
    value[member] = found;
  }
  return value as T;
}
