/**
 * JSON (RFC 8259) with `//` and block comments and commas before a closing bracket. Each value
 * keeps the line and column where it stands, and all mistakes of a text are told, not only the
 * first: after one the parser goes on as if it had read what was meant.
 *
 * @module
 */
import { assert } from "../../mem/assert.ts";

/** A configuration has a few KiB; beyond this it is some other file. */
export const TEXT_SIZE_MAX: number = 1024 * 1024;
/** Brackets within brackets; the deepest configuration has four. */
export const DEPTH_MAX = 32;
/** More mistakes than this are not told: it is some other format. */
export const MISTAKES_MAX = 50;

/** A place in a text; line and column count from 1, the column in UTF-16 units as editors do. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

/** What is wrong at a place: a sentence without its end. */
export interface Mistake extends Place {
  readonly text: string;
}

/** A member of an object: where its key stands, and its value. */
export interface Member {
  readonly key: Place;
  readonly value: JsonNode;
}

/** A value and where it begins. */
export type JsonNode =
  & {
    readonly at: Place;
    /** Where the value came from, when that is not the text. */
    readonly from?: string;
  }
  & (
    | { readonly kind: "object"; readonly members: Map<string, Member> }
    | { readonly kind: "array"; readonly items: JsonNode[] }
    | { readonly kind: "string"; readonly value: string }
    | { readonly kind: "number"; readonly value: number }
    | { readonly kind: "boolean"; readonly value: boolean }
    | { readonly kind: "null"; readonly value: null }
    // Something that cannot be read: a mistake is told of it already.
    | { readonly kind: "broken"; readonly value: undefined }
  );

/** What was read; the root is null when the text could not be read to its end. */
export interface JsonText {
  readonly root: JsonNode | null;
  readonly mistakes: Mistake[];
}

/** Reads a text; never throws. */
export function parseJsonc(text: string): JsonText {
  if (text.length > TEXT_SIZE_MAX) {
    const why = `Cannot read more than ${TEXT_SIZE_MAX} characters: current size is ${text.length}`;
    return { root: null, mistakes: [{ line: 1, column: 1, text: why }] };
  }
  return new Parser(text).parse();
}

/** The value of a node, as JSON.parse would give it. */
export function plainValue(node: JsonNode): unknown {
  switch (node.kind) {
    case "object": // fromEntries makes own members, also of "__proto__"
      return Object.fromEntries(
        [...node.members].map(([key, { value }]) => [key, plainValue(value)]),
      );
    case "array":
      return node.items.map(plainValue);
    default:
      return node.value;
  }
}

/** A plain value as a node that says where it came from; what JSON has no word for is null. */
export function nodeOf(value: unknown, from: string, at: Place = { line: 0, column: 0 }): JsonNode {
  const node = (inner: unknown): JsonNode => nodeOf(inner, from, at);
  if (Array.isArray(value)) return { kind: "array", at, from, items: value.map(node) };
  switch (typeof value) {
    case "string":
      return { kind: "string", at, from, value };
    case "number":
      return { kind: "number", at, from, value };
    case "boolean":
      return { kind: "boolean", at, from, value };
    case "object": {
      if (value === null) break;
      const members = Object.entries(value).map(([key, inner]) =>
        [key, { key: at, value: node(inner) }] as const
      );
      return { kind: "object", at, from, members: new Map(members) };
    }
  }
  return { kind: "null", at, from, value: null };
}

/** RFC 8259 section 6. */
const NUMBER = /^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$/;
/** What stands where a value or a key was meant, up to the next sign of the grammar. */
const WORD = /[^\s,:{}[\]"'/]+/y;
const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};

/** Thrown by the parser to itself when there is no use in going on. */
class Stop extends Error {}

class Parser {
  readonly #text: string;
  #at = 0;
  #line = 1;
  #lineStart = 0;
  #depth = 0;
  readonly #mistakes: Mistake[] = [];

  constructor(text: string) {
    this.#text = text;
    if (text.charCodeAt(0) === 0xfeff) this.#at = this.#lineStart = 1; // RFC 8259 section 8.1
  }

  parse(): JsonText {
    let root: JsonNode | null = null;
    try {
      this.#skip();
      root = this.#value();
      this.#skip();
      if (this.#at < this.#text.length) {
        this.#tell(
          `Cannot read what follows the end of the value: current text is ${this.#here()}`,
        );
      }
    } catch (error) {
      if (!(error instanceof Stop)) throw error;
    }
    return { root, mistakes: this.#mistakes };
  }

  #value(): JsonNode {
    const at = this.#place();
    switch (this.#text[this.#at]) {
      case "{":
        return { kind: "object", at, members: this.#nested(() => this.#members(at)) };
      case "[":
        return { kind: "array", at, items: this.#nested(() => this.#items(at)) };
      case '"':
      case "'":
        return { kind: "string", at, value: this.#string() };
      default:
        return this.#word(at);
    }
  }

  #nested<T>(read: () => T): T {
    if (++this.#depth > DEPTH_MAX) {
      this.#tell(`Cannot read more than ${DEPTH_MAX} brackets within each other`);
      throw new Stop();
    }
    const result = read();
    this.#depth--;
    return result;
  }

  #members(open: Place): Map<string, Member> {
    const members = new Map<string, Member>();
    this.#list("}", open, () => {
      const key = this.#place();
      const name = this.#key();
      this.#skip();
      if (this.#text[this.#at] === ":") this.#at++;
      else this.#tell(`Cannot read the value of ${quote(name)} as ":" must stand before it`);
      this.#skip();
      const value = this.#value();
      const first = members.get(name);
      if (first !== undefined) {
        this.#tell(
          `Cannot use ${quote(name)} twice: it stands in line ${first.key.line} too, remove one`,
          key,
        );
      } else members.set(name, { key, value });
    });
    return members;
  }

  #items(open: Place): JsonNode[] {
    const items: JsonNode[] = [];
    this.#list("]", open, () => items.push(this.#value()));
    return items;
  }

  /** Reads `read` and commas up to the bracket that closes. */
  #list(close: string, open: Place, read: () => unknown): void {
    this.#at++;
    let separated = true; // by the bracket that opens, or a comma
    for (;;) {
      this.#skip();
      const sign = this.#text[this.#at];
      if (sign === undefined) {
        this.#tell(`Cannot find the ${quote(close)} of what opens in line ${open.line}`);
        throw new Stop();
      }
      if (sign === close) {
        this.#at++;
        return;
      }
      if (sign === "}" || sign === "]") {
        this.#tell(
          `Cannot close what opens in line ${open.line} with ${quote(sign)}: ${quote(close)} must`,
        );
        this.#at++;
        return;
      }
      if (sign === ",") {
        if (separated) this.#tell("Cannot read a comma where a value must stand: remove it");
        separated = true;
        this.#at++;
        continue;
      }
      if (!separated) this.#tell(`Cannot read ${this.#here()} as a comma must stand before it`);
      separated = false;
      const before = this.#at;
      read();
      if (this.#at === before) this.#at++; // a sign that no value begins with
    }
  }

  #key(): string {
    const sign = this.#text[this.#at];
    if (sign === '"' || sign === "'") return this.#string();
    const place = this.#place();
    const word = this.#takeWord();
    const fault = word === "" ? `Cannot read ${this.#here()} as` : `Cannot read ${quote(word)} as`;
    this.#tell(`${fault} a key must stand in double quotes`, place);
    return word;
  }

  #word(at: Place): JsonNode {
    const word = this.#takeWord();
    if (word === "true" || word === "false") return { kind: "boolean", at, value: word === "true" };
    if (word === "null") return { kind: "null", at, value: null };
    if (NUMBER.test(word)) return { kind: "number", at, value: Number(word) };
    if (word === "") this.#tell(`Cannot read a value: current text is ${this.#here()}`, at);
    else {
      this.#tell(
        /^[-+.]*[0-9]/.test(word)
          ? `Cannot read number ${quote(word)} as it must be decimal, without + or leading zeros`
          : `Cannot read ${quote(word)} as a value: put texts in double quotes`,
        at,
      );
    }
    return { kind: "broken", at, value: undefined };
  }

  #takeWord(): string {
    WORD.lastIndex = this.#at;
    const word = WORD.exec(this.#text)?.[0] ?? "";
    this.#at += word.length;
    return word;
  }

  /** Reads up to the quote that opened, or to the end of the line. */
  #string(): string {
    const open = this.#place();
    const quoted = this.#text[this.#at++]!;
    if (quoted === "'") this.#tell("Cannot read single quotes: put texts in double quotes", open);
    let value = "";
    for (;;) {
      const sign = this.#text[this.#at];
      if (sign === undefined || sign === "\n" || sign === "\r") {
        this.#tell("Cannot find the end of the text that begins here: put a quote after it", open);
        return value;
      }
      if (sign === "\\") {
        value += this.#escape();
        continue;
      }
      if (sign < " ") {
        const code = sign.charCodeAt(0).toString(16).padStart(4, "0");
        this.#tell(`Cannot read a control character in a text: write \\u${code}`);
      }
      this.#at++;
      if (sign === quoted) return value;
      value += sign;
    }
  }

  #escape(): string {
    const place = this.#place();
    const sign = this.#text[this.#at + 1] ?? "";
    if (Object.hasOwn(ESCAPES, sign)) {
      this.#at += 2;
      return ESCAPES[sign]!;
    }
    const digits = /^u([0-9a-fA-F]{4})/.exec(this.#text.slice(this.#at + 1, this.#at + 6));
    if (digits !== null) {
      this.#at += 6;
      return String.fromCharCode(parseInt(digits[1]!, 16));
    }
    this.#tell(`Cannot read escape ${quote(`\\${sign}`)}: write a backslash as "\\\\"`, place);
    this.#at++;
    return "\\";
  }

  /** Passes white space and comments. */
  #skip(): void {
    for (;;) {
      const sign = this.#text[this.#at];
      if (sign === "\n") {
        this.#at++;
        this.#newLine();
      } else if (sign === " " || sign === "\t" || sign === "\r") this.#at++;
      else if (sign === "/" && this.#text[this.#at + 1] === "/") {
        const end = this.#text.indexOf("\n", this.#at);
        this.#at = end < 0 ? this.#text.length : end;
      } else if (sign === "/" && this.#text[this.#at + 1] === "*") this.#skipBlock();
      else return;
    }
  }

  #skipBlock(): void {
    const open = this.#place();
    const end = this.#text.indexOf("*/", this.#at + 2);
    if (end < 0) {
      this.#tell("Cannot find the end of the comment that begins here: put */ after it", open);
      throw new Stop();
    }
    for (; this.#at < end + 2;) if (this.#text[this.#at++] === "\n") this.#newLine();
  }

  #newLine(): void {
    this.#line++;
    this.#lineStart = this.#at;
  }

  #place(): Place {
    return { line: this.#line, column: this.#at - this.#lineStart + 1 };
  }

  /** What stands here, for a message. */
  #here(): string {
    const sign = this.#text.codePointAt(this.#at);
    if (sign === undefined) return "the end of the file";
    WORD.lastIndex = this.#at;
    return quote(WORD.exec(this.#text)?.[0] ?? String.fromCodePoint(sign));
  }

  #tell(text: string, { line, column }: Place = this.#place()): void {
    assert(this.#mistakes.length < MISTAKES_MAX, "the parser stops at the last mistake it tells");
    this.#mistakes.push({ line, column, text });
    if (this.#mistakes.length === MISTAKES_MAX) throw new Stop();
  }
}

/** At most forty characters of a text, in quotes. */
function quote(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}
