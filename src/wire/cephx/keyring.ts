/**
 * Keyrings in the text format of ceph-authtool: `[type.id]`, then `key = BASE64` and lines like
 * `caps mon = "allow *"`. Comments start with `#` or `;`; spaces around words and `=` do not
 * matter; `_` in a word stands for a space, as in all of Ceph's configuration files.
 *
 * @module
 */
import { parseEntityName } from "../msgr2/hello.ts";
import { type CryptoKey, decodeKey, encodeKey } from "./crypto_key.ts";
import { type EntityName, formatEntityName } from "./entity_name.ts";

/** One section of a keyring. */
export interface KeyringEntry {
  /** Whose key it is. */
  readonly name: EntityName;
  /** The secret. */
  readonly key: CryptoKey;
  /** Capabilities by service: `mon` → `allow *`. Empty when omitted. */
  readonly caps?: ReadonlyMap<string, string>;
}

/**
 * Names and their keys. May change while a server uses it: what is removed gets in no more.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { decodeKey, Keyring, KeyType, parseEntityName } from "@fairlead/fairlead";
 *
 * const keyring = new Keyring();
 * const name = parseEntityName("client.gw1");
 * keyring.set({ name, key: decodeKey("AQAAAAAAAAAAABAAAAECAwQFBgcICQoLDA0ODw==") });
 * assert.equal(keyring.get(name)?.key.type, KeyType.Aes);
 * assert.equal(keyring.delete(name), true);
 * ```
 */
export class Keyring {
  readonly #entries = new Map<string, KeyringEntry>();

  /** Starts with `entries`; a later one of the same name replaces an earlier one. */
  constructor(entries: Iterable<KeyringEntry> = []) {
    for (const entry of entries) this.set(entry);
  }

  /** How many names there are. */
  get size(): number {
    return this.#entries.size;
  }

  /** The entry of a name. */
  get(name: EntityName): KeyringEntry | undefined {
    return this.#entries.get(slot(name));
  }

  /** Adds an entry, or replaces the one of this name. */
  set(entry: KeyringEntry): void {
    this.#entries.set(slot(entry.name), entry);
  }

  /** Removes a name; false when it was not there. */
  delete(name: EntityName): boolean {
    return this.#entries.delete(slot(name));
  }

  /** All entries in the order they were added. */
  entries(): Iterable<KeyringEntry> {
    return this.#entries.values();
  }
}

/**
 * The text of a keyring file, as ceph-authtool would write it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { formatKeyring, parseKeyring } from "@fairlead/fairlead";
 *
 * const text = "[client.gw1]\n\tkey = AQAAAAAAAAAAABAAAAECAwQFBgcICQoLDA0ODw==\n";
 * assert.equal(formatKeyring(parseKeyring(text).entries()), text);
 * ```
 */
export function formatKeyring(entries: Iterable<KeyringEntry>): string {
  let text = "";
  for (const { name, key, caps } of entries) {
    text += `[${formatEntityName(name)}]\n\tkey = ${encodeKey(key)}\n`;
    const services = [...(caps ?? [])].sort(([a], [b]) => a < b ? -1 : 1);
    for (const [service, cap] of services) text += `\tcaps ${service} = "${escape(cap)}"\n`;
  }
  return text;
}

/**
 * Reads the text of a keyring file. Throws with the line number when it is none. Words other than
 * `key` and `caps` are passed over: other releases of Ceph have more.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { parseEntityName, parseKeyring } from "@fairlead/fairlead";
 *
 * const keyring = parseKeyring(`
 *   [client.gw1]
 *     key = AQAAAAAAAAAAABAAAAECAwQFBgcICQoLDA0ODw==
 *     caps mon = "allow r"
 * `);
 * assert.equal(keyring.get(parseEntityName("client.gw1"))?.caps?.get("mon"), "allow r");
 * assert.throws(() => parseKeyring("key = AQ"), /line 1/);
 * ```
 */
export function parseKeyring(text: string): Keyring {
  const keyring = new Keyring();
  let section: Section | null = null;
  let lineNumber = 0;
  for (const raw of text.split(/\r\n|\r|\n/)) {
    lineNumber++;
    const line = raw.trim();
    if (line === "" || line.startsWith("#") || line.startsWith(";")) continue;
    if (line.startsWith("[")) {
      if (section !== null) close(section, keyring);
      section = open(line, lineNumber, keyring);
    } else if (section === null) {
      throw syntax(lineNumber, "it must stand below a [type.id]");
    } else {
      take(section, raw, lineNumber);
    }
  }
  if (section !== null) close(section, keyring);
  return keyring;
}

interface Section {
  readonly lineNumber: number;
  /** Null in [global], which Ceph passes over in keyrings. */
  readonly name: EntityName | null;
  key: CryptoKey | null;
  readonly caps: Map<string, string>;
}

/** A section that comes twice continues the first one, as Ceph reads it. */
function open(line: string, lineNumber: number, keyring: Keyring): Section {
  const match = /^\[\s*(?<name>[^\]]*?)\s*\]\s*(?:[#;].*)?$/.exec(line);
  if (match === null) throw syntax(lineNumber, "it must be [type.id]");
  const text = match.groups!.name!;
  const name = text === "global" ? null : entityName(text, lineNumber);
  const before = name === null ? undefined : keyring.get(name);
  return { lineNumber, name, key: before?.key ?? null, caps: new Map(before?.caps) };
}

function entityName(text: string, lineNumber: number): EntityName {
  try {
    return parseEntityName(text);
  } catch (cause) {
    throw new Error(`Cannot read keyring line ${lineNumber}: ${(cause as Error).message}`, {
      cause,
    });
  }
}

function take(section: Section, raw: string, lineNumber: number): void {
  const at = raw.indexOf("=");
  if (at < 0) throw syntax(lineNumber, "it must be word = value");
  if (section.name === null) return;
  const word = raw.slice(0, at).trim().replaceAll(/[\s_]+/g, " ");
  const value = unquoted(raw.slice(at + 1).trim());
  if (value === null) throw syntax(lineNumber, "its value must end with its quote");
  if (value === "") return;
  if (word === "key") section.key = keyOf(value, lineNumber);
  else if (word.startsWith("caps ")) section.caps.set(word.slice("caps ".length), value);
}

function keyOf(value: string, lineNumber: number): CryptoKey {
  try {
    return decodeKey(value);
  } catch (cause) {
    throw new Error(`Cannot read keyring line ${lineNumber}: ${(cause as Error).message}`, {
      cause,
    });
  }
}

function close(section: Section, keyring: Keyring): void {
  const { name, key, caps } = section;
  if (name === null) return;
  if (key === null) {
    const must = `section [${formatEntityName(name)}] must have a line key = …`;
    throw syntax(section.lineNumber, must);
  }
  keyring.set({ name, key, caps });
}

/** The value without its quotes, escapes and comment; null when a quote is not closed. */
function unquoted(text: string): string | null {
  if (!/^["']/.test(text)) return text.replace(/\s*[#;].*$/, "");
  const match = /^(?<quote>["'])(?<inside>(?:\\.|(?!\k<quote>)[^\\])*)\k<quote>\s*(?:[#;].*)?$/
    .exec(text);
  // A backslash before anything else stays: ceph-authtool escapes only the quotes it writes.
  return match === null ? null : match.groups!.inside!.replaceAll(/\\(["'\\])/g, "$1");
}

function escape(text: string): string {
  return text.replaceAll(/["\\]/g, "\\$&");
}

function slot(name: EntityName): string {
  return `${name.type}.${name.id}`;
}

/** The line itself stays out of the message, as it may hold a secret. */
function syntax(lineNumber: number, must: string): Error {
  return new Error(`Cannot read keyring line ${lineNumber} as ${must}`);
}
