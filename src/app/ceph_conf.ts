/**
 * The configuration a client of Ceph reads: ceph.conf, its search path, `mon_host` and the usual
 * keyrings. Behaviour was compared with ceph-conf and monmaptool of Ceph 16.2, see also "Configuring
 * Ceph" and "Messenger v2" of Ceph's documentation. Deviations, all towards mercy: a byte order mark,
 * blanks around a section's name, and comment signs inside quotes are accepted.
 *
 * @module
 */
import { type AddressText, AddrType } from "../wire/msgr2/entity_addr.ts";

/** Who reads a configuration: decides which sections count and what `$name` stands for. */
export interface ConfReader {
  /** `ceph`, or what the configuration file is called. */
  readonly cluster: string;
  /** `client` */
  readonly type: string;
  /** `admin` */
  readonly id: string;
  readonly host: string;
  readonly pid: number;
  readonly home: string;
}

/** IANA's port for msgr2 monitors. */
export const MON_PORT_V2 = 3300;
/** The port of the old protocol: an address that names no protocol but this port means that one. */
export const MON_PORT_V1 = 6789;

/** Options that refer to one another in a circle end here. */
const EXPANSIONS_MAX = 8;

/** A parsed ceph.conf. */
export class CephConf {
  readonly #sections: ReadonlyMap<string, ReadonlyMap<string, string>>;

  /** Section name to option name (with underscores) to value. */
  constructor(sections: ReadonlyMap<string, ReadonlyMap<string, string>>) {
    this.#sections = sections;
  }

  /** Names of the sections, in the order of the file. */
  get sections(): string[] {
    return [...this.#sections.keys()];
  }

  /**
   * An option for a reader, `$variables` replaced, or null: `[client.admin]` wins over `[client]`
   * and that over `[global]`, even with an empty value.
   */
  value(key: string, reader: ConfReader): string | null {
    return this.#expanded(normalKey(key), reader, 0);
  }

  /** An option of one section as it stands there. */
  raw(section: string, key: string): string | null {
    return this.#sections.get(section)?.get(normalKey(key)) ?? null;
  }

  /** A text with `$cluster`, `$type`, `$id`, `$name`, `$host`, `$pid`, `$home` and options replaced. */
  expand(text: string, reader: ConfReader): string {
    return this.#expandAt(text, reader, 0);
  }

  #expanded(key: string, reader: ConfReader, depth: number): string | null {
    for (const section of [`${reader.type}.${reader.id}`, reader.type, "global"]) {
      const found = this.#sections.get(section)?.get(key);
      if (found !== undefined) return this.#expandAt(found, reader, depth);
    }
    return null;
  }

  #expandAt(text: string, reader: ConfReader, depth: number): string {
    const variables: Record<string, string> = {
      cluster: reader.cluster,
      type: reader.type,
      id: reader.id,
      name: `${reader.type}.${reader.id}`,
      host: reader.host,
      pid: String(reader.pid),
      home: reader.home,
    };
    return text.replace(/\$\{([a-z_]+)\}|\$([a-z_]+)/g, (whole, braced, bare) => {
      const name: string = braced ?? bare;
      if (Object.hasOwn(variables, name)) return variables[name]!;
      const other = depth < EXPANSIONS_MAX ? this.#expanded(name, reader, depth + 1) : null;
      return other ?? whole;
    });
  }
}

/**
 * Parses a ceph.conf; throws with file and line where it is wrong.
 *
 * @example
 * ```ts
 * import { parseCephConf } from "./ceph_conf.ts";
 *
 * const conf = parseCephConf("[global]\nmon host = 10.0.0.1 # first\n", "ceph.conf");
 * console.assert(conf.raw("global", "mon_host") === "10.0.0.1");
 * ```
 */
export function parseCephConf(text: string, path: string): CephConf {
  const sections = new Map<string, Map<string, string>>();
  const lines = text.replace(/^\ufeff/, "").split(/\r?\n/);
  let options: Map<string, string> | null = null;
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i]!;
    if (/^\s*([#;]|$)/.test(line)) continue;
    const section = /^\s*\[([^\]]+)\]\s*([#;].*)?$/.exec(line);
    if (section !== null) {
      const name = section[1]!.trim();
      options = sections.get(name) ?? new Map();
      sections.set(name, options);
      continue;
    }
    const equals = line.indexOf("=");
    const key = equals < 0 ? "" : normalKey(line.slice(0, equals));
    if (key === "" || line.trimStart().startsWith("[")) {
      throw wrongLine(path, i, "[section], key = value or a comment", line);
    }
    if (options === null) throw wrongLine(path, i, "inside a [section]", line);
    const read = readValue(lines, i, equals + 1, path);
    options.set(key, read.value);
    i = read.line;
  }
  return new CephConf(sections);
}

/**
 * The msgr2 addresses in a `mon_host`: `10.0.0.1`, `a,b c`, `[fd00::1]:3300`,
 * `[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0] [v2:10.0.0.2:3300]`. Those of the old protocol are left
 * out; throws when none remains.
 */
export function parseMonHost(text: string): AddressText[] {
  const found: AddressText[] = [];
  for (const word of splitOutside(text)) {
    const group = /^\[(.*)\]$/s.exec(word);
    if (group !== null && !isIpv6(group[1]!)) {
      for (const inner of splitOutside(group[1]!)) addMonAddress(found, inner, false);
    } else {
      addMonAddress(found, word, true);
    }
  }
  if (found.length === 0) {
    const wanted = `at least one v2 address, as v2:10.0.0.1:${MON_PORT_V2}`;
    throw new Error(`Cannot use mon_host as it must hold ${wanted}: current value is ${text}`);
  }
  return found;
}

/** An address as Ceph writes it: `v2:[fd00::1]:3300/0`. */
export function formatMonAddress({ host, port, nonce }: AddressText): string {
  return `v2:${host.includes(":") ? `[${host}]` : host}:${port}/${nonce}`;
}

/** The monitors a configuration names: `mon_host`, or `mon addr` of each [mon.X]; may be empty. */
export function confMons(conf: CephConf, reader: ConfReader): AddressText[] {
  const host = conf.value("mon_host", reader);
  if (host !== null && host !== "") return parseMonHost(host);
  const addresses: string[] = [];
  for (const section of conf.sections) {
    if (!section.startsWith("mon.")) continue;
    const address = conf.raw(section, "mon_addr");
    if (address !== null && address !== "") addresses.push(address);
  }
  return addresses.length === 0 ? [] : parseMonHost(addresses.join(" "));
}

/** Where a ceph.conf is looked for when none is named; the first that exists counts. */
export function confPaths(cluster: string, home: string): string[] {
  const file = `${cluster}.conf`;
  return [`/etc/ceph/${file}`, ...(home === "" ? [] : [`${home}/.ceph/${file}`]), file];
}

/** Where a keyring is looked for; the first that exists counts. */
export function keyringPaths(conf: CephConf, reader: ConfReader): string[] {
  const list = conf.value("keyring", reader) ?? conf.expand(
    "/etc/ceph/$cluster.$name.keyring,/etc/ceph/$cluster.keyring,/etc/ceph/keyring,/etc/ceph/keyring.bin",
    reader,
  );
  return list.split(/[,;\s]+/).filter((path) => path !== "");
}

/** `mon-host`, `mon host` and `mon_host` are one option. */
function normalKey(key: string): string {
  return key.trim().replace(/[ \t]+/g, "_").replaceAll("-", "_");
}

/** A value from `at` on: quotes, backslashes, comments; a backslash at a line's end joins the next. */
function readValue(
  lines: readonly string[],
  first: number,
  at: number,
  path: string,
): { value: string; line: number } {
  let line = first;
  let text = lines[line]!;
  while (text[at] === " " || text[at] === "\t") at++;
  const quote = text[at] === '"' || text[at] === "'" ? text[at++] : null;
  let value = "";
  for (;; at++) {
    const letter = text[at];
    if (letter === "\\" && at + 1 === text.length && line + 1 < lines.length) {
      text = lines[++line]!;
      at = -1;
    } else if (letter === "\\") {
      value += text[++at] ?? "";
    } else if (quote !== null && letter === undefined) {
      throw wrongLine(path, first, `closed with ${quote}`, lines[first]!);
    } else if (quote !== null && letter === quote) {
      if (/^\s*([#;].*)?$/.test(text.slice(at + 1))) return { value, line };
      throw wrongLine(path, line, "empty or a comment behind the closing quote", text);
    } else if (letter === undefined || (quote === null && (letter === "#" || letter === ";"))) {
      return { value: quote === null ? value.trimEnd() : value, line };
    } else {
      value += letter;
    }
  }
}

function wrongLine(path: string, line: number, expected: string, text: string): Error {
  const value = JSON.stringify(text.trim());
  return new Error(
    `Cannot parse ${path} line ${line + 1} as it must be ${expected}: current value is ${value}`,
  );
}

/** Splits at commas, semicolons and blanks that are in no brackets. */
function splitOutside(text: string): string[] {
  const words: string[] = [];
  let word = "";
  let depth = 0;
  for (const letter of text) {
    if (letter === "[") depth++;
    if (letter === "]") depth--;
    if (depth === 0 && /[,;\s]/.test(letter)) {
      words.push(word);
      word = "";
    } else {
      word += letter;
    }
  }
  words.push(word);
  return words.filter((found) => found !== "");
}

function isIpv6(text: string): boolean {
  return /^[0-9a-f.]*:[0-9a-f.]*:[0-9a-f:.]*(%\w+)?$/i.test(text);
}

/** One address; outside a group the old protocol's port means the old protocol. */
function addMonAddress(into: AddressText[], text: string, alone: boolean): void {
  const [, type, rest = ""] = /^(?:(v1|v2|any):)?(.*)$/s.exec(text)!;
  const parts = isIpv6(rest.replace(/\/\d+$/, ""))
    ? /^([^/]+)()(?:\/(\d+))?$/.exec(rest)
    : /^(\[[^\]]+\]|[^\[\]:/]+)(?::(\d+))?(?:\/(\d+))?$/.exec(rest);
  const [, host = "", portText, nonceText] = parts ?? [];
  const port = Number(portText || (type === "v1" ? MON_PORT_V1 : MON_PORT_V2));
  const nonce = Number(nonceText ?? 0);
  if (host === "" || port < 1 || port > 65535 || nonce > 0xffffffff) {
    const wanted = "HOST, HOST:PORT or v2:HOST:PORT/NONCE";
    throw new Error(`Cannot parse mon_host as it must hold ${wanted}: current value is ${text}`);
  }
  if (type === "v1" || (alone && type === undefined && port === MON_PORT_V1)) return;
  into.push({ type: AddrType.Msgr2, host: host.replace(/^\[(.*)\]$/, "$1"), port, nonce });
}
