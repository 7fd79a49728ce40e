/**
 * `fairlead keyring`: keys in ceph-authtool's file format, for boxes that have no Ceph.
 *
 * @module
 */
import { wallSeconds } from "../../io/clock.ts";
import { NodeCrypto } from "../../io/crypto.ts";
import { encodeKey, generateKey, KeyType } from "../../wire/cephx/crypto_key.ts";
import { type EntityName, formatEntityName } from "../../wire/cephx/entity_name.ts";
import { formatKeyring, type KeyringEntry } from "../../wire/cephx/keyring.ts";
import { command, Exit, parseArgs, UsageError } from "../args.ts";
import { readKeyring } from "../connection_flags.ts";
import { helpText } from "../help.ts";
import { nameArgument } from "../name_argument.ts";
import { printError, printLine } from "../terminal.ts";

const KEYRING = command({
  name: "fairlead keyring",
  summary: "Makes and shows keys in ceph-authtool's format",
  description:
    "create makes a new file with one key, add puts one more key into a file, show lists names; " +
    "the\nkeys themselves only with --secret.",
  positionals: [
    { name: "ACTION", help: "create, add or show" },
    { name: "FILE", help: "the keyring" },
    {
      name: "NAME",
      help: "TYPE.ID, such as client.gw1; show without it lists all",
      optional: true,
    },
  ],
  flags: {
    "key-type": {
      kind: "text",
      value: "TYPE",
      choices: ["aes", "aes256k"],
      default: "aes",
      help: "AES-128, known to every Ceph; or AES-256 with HMAC-SHA384, known from 20.2 on",
    },
    cap: { kind: "list", value: "SERVICE=TEXT", help: "capability, such as mon='allow *'" },
    replace: {
      kind: "boolean",
      help: "add: put the new key, and only the --cap given now, in the place of NAME's old ones",
    },
    json: { kind: "boolean", help: "print JSON" },
    secret: { kind: "boolean", help: "show the keys too" },
  },
  examples: [
    ["fairlead keyring create hub.keyring client.gw1", "A file with a key for one gateway"],
    ["fairlead keyring add hub.keyring client.gw2 --cap mon='allow r'", "One more key"],
    ["fairlead keyring show hub.keyring --json", "Who is in it"],
  ],
});

const KEY_TYPES: Record<string, number> = { aes: KeyType.Aes, aes256k: KeyType.Aes256k };
/** Only the owner reads keys. */
const FILE_MODE = 0o600;

/** Runs the command; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  const { help, flags, positionals } = parseArgs(KEYRING, words);
  if (help) {
    printLine(helpText(KEYRING));
    return Exit.Ok;
  }
  const [action, path, nameText] = positionals as [string, string, string | undefined];
  const name = nameText === undefined ? null : entityName(nameText);
  if (action === "show") return await show(path, name, flags.json, flags.secret);
  if (action !== "create" && action !== "add") {
    throw new UsageError(
      `Cannot run keyring as ACTION must be create, add or show: current value is ${
        JSON.stringify(action)
      }`,
    );
  }
  if (name === null) {
    throw new UsageError(`Cannot ${action} a key as NAME is missing: give one, such as client.gw1`);
  }
  const wanted = { type: KEY_TYPES[flags["key-type"]]!, caps: parseCaps(flags.cap) };
  if (action === "create" && flags.replace) {
    throw new UsageError(
      "Cannot use --replace with create as a new file holds no key: leave it out",
    );
  }
  const { entry, replaced } = action === "create"
    ? await create(path, name, wanted)
    : await add(path, name, wanted, flags.replace);
  const shown = formatEntityName(name);
  if (flags.json) printLine(JSON.stringify({ ...entryJson(entry, flags.secret), replaced }));
  else if (replaced) printError(`Key and caps of ${shown} in ${path} are replaced`);
  else printError(`${shown} is in ${path}`);
  return Exit.Ok;
}

interface Wanted {
  readonly type: number;
  readonly caps: ReadonlyMap<string, string>;
}

interface Made {
  readonly entry: KeyringEntry;
  readonly replaced: boolean;
}

async function create(path: string, name: EntityName, wanted: Wanted): Promise<Made> {
  const entry = newEntry(name, wanted);
  try {
    // Takes the name, so that nobody's file is replaced; the key comes with the rename.
    (await Deno.open(path, { write: true, createNew: true, mode: FILE_MODE })).close();
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw refused(path, error);
    throw new Error(
      `Cannot create ${path} as it exists already: use "keyring add" for one more key, or ` +
        "another name",
    );
  }
  await replace(path, [entry]);
  return { entry, replaced: false };
}

async function add(
  path: string,
  name: EntityName,
  wanted: Wanted,
  mayReplace: boolean,
): Promise<Made> {
  if (!await isThere(path)) {
    throw new UsageError(`Cannot add to ${path} as it does not exist: use "keyring create"`);
  }
  const keyring = await readKeyring(path);
  const replaced = keyring.get(name) !== undefined;
  if (replaced && !mayReplace) {
    throw new Error(
      `Cannot add ${formatEntityName(name)} as ${path} has its key already: give --replace to ` +
        "have a new key and new caps in its place",
    );
  }
  const entry = newEntry(name, wanted);
  keyring.set(entry);
  // Behind a symbolic link the file itself is replaced, not the link.
  await replace(await Deno.realPath(path), keyring.entries());
  return { entry, replaced };
}

async function isThere(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    return !(error instanceof Deno.errors.NotFound); // why it cannot be read comes with reading it
  }
}

async function show(
  path: string,
  name: EntityName | null,
  json: boolean,
  secret: boolean,
): Promise<number> {
  const keyring = await readKeyring(path);
  const entries = [...keyring.entries()];
  const shown = name === null ? entries : entries.filter((entry) => {
    return formatEntityName(entry.name) === formatEntityName(name);
  });
  if (name !== null && shown.length === 0) {
    const names = entries.map((entry) => formatEntityName(entry.name)).join(", ") || "nobody";
    throw new Error(`Cannot show ${formatEntityName(name)} as ${path} has ${names} only`);
  }
  if (json) {
    printLine(JSON.stringify({ entries: shown.map((entry) => entryJson(entry, secret)) }));
  } else if (shown.length === 0) printError(`No keys in ${path}`);
  else if (secret) printLine(formatKeyring(shown).trimEnd());
  else for (const entry of shown) printLine(entryText(entry));
  return Exit.Ok;
}

function newEntry(name: EntityName, { type, caps }: Wanted): KeyringEntry {
  return { name, key: generateKey(new NodeCrypto(), type, wallSeconds()), caps };
}

function entryJson(entry: KeyringEntry, secret: boolean): Record<string, unknown> {
  return {
    name: formatEntityName(entry.name),
    key_type: keyTypeName(entry.key.type),
    created: new Date(entry.key.createdSeconds * 1000).toISOString(),
    caps: Object.fromEntries(entry.caps ?? []),
    ...(secret ? { key: encodeKey(entry.key) } : {}),
  };
}

function entryText(entry: KeyringEntry): string {
  const caps = [...entry.caps ?? []].map(([service, text]) => `${service} "${text}"`);
  const created = new Date(entry.key.createdSeconds * 1000).toISOString();
  const about = `${keyTypeName(entry.key.type)}, made ${created}`;
  return [`${formatEntityName(entry.name)}: ${about}`, ...caps].join(", ");
}

function keyTypeName(type: number): string {
  return type === KeyType.Aes256k ? "aes256k" : "aes";
}

function parseCaps(texts: readonly string[]): Map<string, string> {
  const caps = new Map<string, string>();
  for (const text of texts) {
    const match = /^(?<service>[a-z]+)=(?<cap>[^\r\n]+)$/.exec(text);
    if (match === null) {
      throw new UsageError(
        `Cannot use --cap as it must be SERVICE=TEXT, such as mon='allow *': current value is ${
          JSON.stringify(text)
        }`,
      );
    }
    caps.set(match.groups!.service!, match.groups!.cap!);
  }
  return caps;
}

function entityName(text: string): EntityName {
  if (/[\]\s#;[]/.test(text)) {
    throw new UsageError(
      `Cannot use NAME as it must have no spaces, brackets, # or ;: current value is ${
        JSON.stringify(text)
      }`,
    );
  }
  return nameArgument("NAME", text);
}

/** The whole file beside the old one, on the disk, then in its place in one step. */
async function replace(path: string, entries: Iterable<KeyringEntry>): Promise<void> {
  const temporary = `${path}.${crypto.randomUUID().slice(0, 8)}.new`;
  const bytes = new TextEncoder().encode(formatKeyring(entries));
  try {
    using file = await Deno.open(temporary, { write: true, createNew: true, mode: FILE_MODE });
    for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
    await file.sync();
    await Deno.rename(temporary, path);
  } catch (error) {
    await Deno.remove(temporary).catch(() => {}); // it may not have come to be
    throw refused(path, error);
  }
}

function refused(path: string, error: unknown): Error {
  return new Error(`Cannot write ${path}: ${(error as Error).message}`);
}
