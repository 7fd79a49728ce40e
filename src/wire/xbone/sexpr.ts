/**
 * S-expressions, the form of all messages of the X-Bone control protocol ("XBone Control Message
 * Format Examples"): atoms, texts in single quotes, lists, comments from `#` to the end of the
 * line, and `XBoneEOC` behind the outermost list. The document leaves the details to its parser;
 * ours are: an atom is printable ASCII without `( ) ' " # \`, in quotes stands UTF-8 without
 * control characters and with `\\` and `\'` as the only escapes, and two texts never touch.
 *
 * @module
 */

/** An atom or a quoted text (the same to us), or a list. */
export type Item = string | readonly Item[];

/** Ends every message. It counts only outside of lists, quotes and comments. */
export const TERMINATOR = "XBoneEOC";
/** How deep lists may stand in one another. */
export const DEPTH_MAX = 32;
/** Characters of an atom, or between quotes. */
const TEXT_MAX = 4096;
/** Texts and lists of one message: more is not a message but an attack on memory. */
const ITEMS_MAX = 1 << 21;

/** Kinds of characters outside of quotes and comments. */
const Kind = { Bad: 0, Atom: 1, Space: 2, Open: 3, Close: 4, Quote: 5, Comment: 6 } as const;

const NEWLINE = 0x0a;
const QUOTE = 0x27;
const BACKSLASH = 0x5c;
const DELETE = 0x7f;

const KINDS = kinds();

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * The outermost list of `bytes`, with or without its {@linkcode TERMINATOR}; a text says why there
 * is none.
 */
export function readSexpr(bytes: Uint8Array, bytesMax: number): readonly Item[] | string {
  if (bytes.length > bytesMax) {
    return refuse(`it must be at most ${bytesMax} bytes`, String(bytes.length));
  }
  let text = "";
  try {
    text = UTF8.decode(bytes);
  } catch {
    return refuse("it must be UTF-8", `${bytes.length} bytes that are not`);
  }
  return new Scanner(text).scan();
}

/** Whether `text` needs no quotes. */
export function isAtom(text: string): boolean {
  return /^[!$-&*-[\]-~]+$/.test(text);
}

/** Writes lists and texts, with quotes and blanks only where they must be. */
export class SexprWriter {
  readonly #parts: string[] = [];
  /** After "(" nothing separates, after ")" a list need not be separated. */
  #last: "open" | "close" | "text" = "open";

  /** Begins a list with its first atom. */
  open(head: string): void {
    this.#parts.push(this.#last === "text" ? " (" : "(", head);
    this.#last = "text";
  }

  /** Ends the list begun last. */
  close(): void {
    this.#parts.push(")");
    this.#last = "close";
  }

  /** Writes an atom, or in quotes what cannot be one. */
  text(text: string): void {
    if (this.#last !== "open") this.#parts.push(" ");
    this.#parts.push(isAtom(text) ? text : `'${text.replaceAll(/['\\]/g, "\\$&")}'`);
    this.#last = "text";
  }

  /** All that was written. */
  toString(): string {
    return this.#parts.join("");
  }
}

/** One pass over a message with a stack of its own: depth costs no recursion. */
class Scanner {
  readonly #text: string;
  readonly #stack: Item[][] = [];
  #at = 0;
  #items = 0;
  #refusal = "";

  constructor(text: string) {
    this.#text = text;
  }

  scan(): readonly Item[] | string {
    this.#skipBlanks();
    if (this.#kind() !== Kind.Open) return this.#unexpected("a list");
    const outermost = this.#scanLists();
    if (outermost === null) return this.#refusal;
    this.#skipBlanks();
    if (this.#text.startsWith(TERMINATOR, this.#at)) {
      this.#at += TERMINATOR.length;
      this.#skipBlanks();
    }
    return this.#at === this.#text.length ? outermost : this.#unexpected(TERMINATOR);
  }

  /** From an opening parenthesis to the one that closes it. */
  #scanLists(): readonly Item[] | null {
    let list: Item[] = [];
    for (;;) {
      this.#skipBlanks();
      const kind = this.#kind();
      if (kind === Kind.Open) {
        if (this.#stack.length === DEPTH_MAX) {
          return this.#fail(refuse(`lists must be at most ${DEPTH_MAX} deep`, "one more"));
        }
        this.#at++;
        this.#stack.push(list);
        list = [];
      } else if (kind === Kind.Close) {
        this.#at++;
        const outer = this.#stack.pop()!;
        outer.push(list);
        if (this.#stack.length === 0) return list;
        list = outer;
      } else {
        const text = kind === Kind.Quote ? this.#scanQuoted() : this.#scanAtom();
        if (text === null) return null;
        list.push(text);
      }
      if (++this.#items > ITEMS_MAX) {
        return this.#fail(refuse(`it must have at most ${ITEMS_MAX} items`, "one more"));
      }
    }
  }

  #scanAtom(): string | null {
    const start = this.#at;
    while (this.#kind() === Kind.Atom) this.#at++;
    if (this.#at === start) return this.#fail(this.#unexpected("a text, a list or its end"));
    return this.#separated(this.#text.slice(start, this.#at));
  }

  #scanQuoted(): string | null {
    const pieces: string[] = [];
    let start = ++this.#at;
    for (;; this.#at++) {
      const code = this.#text.charCodeAt(this.#at);
      // Past the end the code is NaN, which is not at least a blank either.
      if (!(code >= 0x20) || code === DELETE) {
        return this.#fail(this.#unexpected("a printable character or the closing quote"));
      }
      if (code === QUOTE) break;
      if (code !== BACKSLASH) continue;
      pieces.push(this.#text.slice(start, this.#at));
      start = ++this.#at;
      const escaped = this.#text.charCodeAt(this.#at);
      if (escaped !== QUOTE && escaped !== BACKSLASH) {
        return this.#fail(this.#unexpected("\\\\ or \\'"));
      }
    }
    pieces.push(this.#text.slice(start, this.#at++));
    return this.#separated(pieces.length === 1 ? pieces[0]! : pieces.join(""));
  }

  /** A text that does not touch the next one. */
  #separated(text: string): string | null {
    if (text.length > TEXT_MAX) {
      const length = `one of ${text.length}`;
      return this.#fail(refuse(`a text must be at most ${TEXT_MAX} characters`, length));
    }
    const kind = this.#kind();
    if (kind === Kind.Atom || kind === Kind.Quote || kind === Kind.Bad) {
      return this.#fail(this.#unexpected("a blank or a parenthesis behind a text"));
    }
    return text;
  }

  #skipBlanks(): void {
    for (let kind = this.#kind();; kind = this.#kind()) {
      if (kind === Kind.Comment) {
        const end = this.#text.indexOf("\n", this.#at);
        this.#at = end < 0 ? this.#text.length : end + 1;
      } else if (kind === Kind.Space) this.#at++;
      else return;
    }
  }

  #kind(): number {
    return KINDS[this.#text.charCodeAt(this.#at)] ?? Kind.Bad;
  }

  #unexpected(expected: string): string {
    const code = this.#text.codePointAt(this.#at);
    // The character's number only: what stands around it may be a key.
    const found = code === undefined
      ? "the end of the text"
      : `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
    return refuse(`it must have ${expected} at character ${this.#at}`, found);
  }

  #fail(refusal: string): null {
    this.#refusal = refusal;
    return null;
  }
}

function refuse(reason: string, value: string): string {
  return `Cannot read message as ${reason}: current value is ${value}`;
}

/** The kind of each ASCII character; whatever lies beyond stands in quotes and comments only. */
function kinds(): Uint8Array {
  const table = new Uint8Array(128);
  for (let code = 0; code < 128; code++) {
    if (isAtom(String.fromCharCode(code))) table[code] = Kind.Atom;
  }
  for (const code of [0x20, 0x09, 0x0d, NEWLINE]) table[code] = Kind.Space;
  table[0x28] = Kind.Open;
  table[0x29] = Kind.Close;
  table[QUOTE] = Kind.Quote;
  table[0x23] = Kind.Comment;
  return table;
}
