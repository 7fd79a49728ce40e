/**
 * `fairlead overlay keys`: a small CA and certificates of nodes, so that an overlay can be tried without
 * another PKI.
 *
 * @module
 */
import { wallSeconds } from "../../../io/clock.ts";
import { sameOctets } from "../../../wire/asn1/octets.ts";
import type { Certificate } from "../../../wire/x509/certificate.ts";
import { command, Exit, parseArgs, UsageError } from "../../args.ts";
import { helpText } from "../../help.ts";
import { type Authority, type MadePair, makeAuthority, makeNode } from "../../overlay/authority.ts";
import {
  checkMode,
  isEmail,
  peerOfCertificate,
  readCertificates,
  readKey,
  readText,
  ROLES,
} from "../../overlay/identity.ts";
import { shown, timeText } from "../../overlay/trust.ts";
import { printError, printLine } from "../../terminal.ts";

const KEYS = command({
  name: "fairlead overlay keys",
  summary: "Makes a CA and certificates of nodes, on P-256",
  description:
    "init makes DIR/ca.pem and DIR/ca.key, node makes DIR/NAME.pem and DIR/NAME.key, show lists\n" +
    "them. A node needs ca.pem and its own two files; ca.key stays where it was made.",
  positionals: [
    { name: "ACTION", help: "init, node or show" },
    { name: "NAME", help: "of a node, such as west1: small letters, digits, - .", optional: true },
  ],
  flags: {
    dir: { kind: "text", value: "DIR", default: "overlay-keys", help: "where the files are" },
    name: {
      kind: "text",
      value: "TEXT",
      default: "overlay CA",
      help: "init: what the CA is called",
    },
    role: {
      kind: "text",
      value: "ROLE",
      choices: ROLES,
      default: "node",
      help: "node: what it may be: manager forms overlays, node is part of them, operator asks",
    },
    email: { kind: "text", value: "ADDRESS", help: "node: who answers for it" },
    days: {
      kind: "number",
      value: "N",
      min: 1,
      max: 36_500,
      help: "how long it is valid: 3650 for a CA, 825 for a node, never longer than its CA",
    },
    force: { kind: "boolean", help: "replace files that are there" },
    json: { kind: "boolean", help: "print JSON" },
  },
  examples: [
    ["fairlead overlay keys init", "A CA in ./overlay-keys"],
    ["fairlead overlay keys node om1 --role manager", "A certificate for an overlay manager"],
    ["fairlead overlay keys node west1", "A certificate for a box that takes part"],
    ["fairlead overlay keys show", "Who has one, and until when"],
  ],
});

type Flags = ReturnType<typeof parseArgs<typeof KEYS.flags>>["flags"];

const CA_DAYS = 3650;
const NODE_DAYS = 825;
const CA = "ca";
/** Only the owner reads keys. */
const KEY_MODE = 0o600;
const CERTIFICATE_MODE = 0o644;
const DIRECTORY_MODE = 0o700;
const ROOTS_MAX = 1;
/** TLS asks for it by its DNS name; a name and its capital twin would be one and the same there. */
const LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const NODE_NAME = new RegExp(`^(?=.{1,63}$)${LABEL}(?:\\.${LABEL})*$`);
const CA_NAME = /^[\x20-\x7e]{1,64}$/;

/** Runs the command; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals } = parseArgs(KEYS, words);
  if (help) {
    printLine(helpText(KEYS));
    return Exit.Ok;
  }
  const [action, name] = positionals as [string, string | undefined];
  if (action === "node") return await node(flags, name);
  if (action !== "init" && action !== "show") {
    throw wrong("ACTION", "init, node or show", action);
  }
  if (name !== undefined) {
    throw new UsageError(`Cannot run keys ${action} as NAME is for node only: leave out "${name}"`);
  }
  return await (action === "init" ? init(flags) : show(flags));
}

async function init(flags: Flags): Promise<number> {
  if (!CA_NAME.test(flags.name)) throw wrong("--name", "1 to 64 of ASCII", flags.name);
  await makeDirectory(flags.dir);
  const days = flags.days ?? CA_DAYS;
  const made = makeAuthority(flags.name, days, wallSeconds() * 1000);
  const files = await write(flags, CA, made);
  const [certificate] = readCertificates("CA", files.certificate, made.certificatePem, ROOTS_MAX);
  tell(flags, { ...files, name: flags.name, role: CA, expires: timeText(certificate.notAfterMs) }, [
    `Next, for each box: fairlead overlay keys node NAME${dirFlag(flags)}`,
    `Keep ${files.key} here: who has it makes nodes`,
  ]);
  return Exit.Ok;
}

async function node(flags: Flags, name: string | undefined): Promise<number> {
  if (name === undefined) {
    throw new UsageError(
      "Cannot make a node's certificate as NAME is missing: give one, such as west1",
    );
  }
  if (!NODE_NAME.test(name) || name === CA) {
    throw wrong("NAME", `1 to 63 small letters, digits, - and . within, not "${CA}"`, name);
  }
  const { email = "" } = flags;
  if (email !== "" && !isEmail(email)) throw wrong("--email", "an e-mail address", email);
  const role = ROLES.find((one) => one === flags.role)!; // the choices are these
  const authority = await readAuthority(flags);
  const days = flags.days ?? NODE_DAYS;
  const made = makeNode(authority, { name, role, email }, days, wallSeconds() * 1000);
  const files = await write(flags, name, made);
  const [certificate] = readCertificates("node", files.certificate, made.certificatePem, ROOTS_MAX);
  const expires = timeText(certificate.notAfterMs);
  const ca = pathsOf(flags.dir, CA).certificate;
  tell(flags, { ...files, ca, name, role, email, expires }, [
    `Next: copy ${ca}, ${files.certificate} and ${files.key} to ${name}, to files that only ${
      role === "operator" ? "who asks" : "its daemon's user"
    } reads,`,
    role === "operator"
      ? "and give them there as --ca, --certificate and --key beside --om HOST:PORT"
      : 'and name them there in "identity" of its configuration, "ca", "certificate" and "key", or as ' +
        "--ca, --certificate and --key",
  ]);
  return Exit.Ok;
}

async function readAuthority({ dir }: Flags): Promise<Authority> {
  const paths = pathsOf(dir, CA);
  if (!await isThere(paths.certificate)) {
    throw new UsageError(
      `Cannot make a node's certificate as there is no ${paths.certificate}: run "fairlead overlay ` +
        'keys init", or give its directory as --dir',
    );
  }
  const pem = await readText("CA", paths.certificate);
  const [certificate] = readCertificates("CA", paths.certificate, pem, ROOTS_MAX);
  await checkMode(paths.key);
  const key = readKey(paths.key, await readText("key", paths.key));
  if (!certificate.isCa || !sameOctets(key.spki, certificate.spki)) {
    throw new Error(
      `Cannot use CA ${paths.certificate} as ${paths.key} is not the key of it, or it is no CA: ` +
        "give the two that were made together",
    );
  }
  if (wallSeconds() * 1000 < certificate.notAfterMs) return { certificate, key };
  throw new Error(
    `Cannot use CA ${paths.certificate} as it expired: current value is ${
      timeText(certificate.notAfterMs)
    }; make another with "fairlead overlay keys init --force", and new certificates for all nodes`,
  );
}

/** One line of what a directory has. */
interface Row {
  readonly file: string;
  readonly name: string;
  readonly role: string;
  readonly email: string;
  readonly expires: string;
  readonly expired: boolean;
}

async function show({ dir, json }: Flags): Promise<number> {
  const rows: Row[] = [];
  try {
    for await (const { isFile, name } of Deno.readDir(dir)) {
      if (isFile && name.endsWith(".pem")) rows.push(await rowOf(dir, name));
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new UsageError(`Cannot show keys as there is no ${dir}: give their directory as --dir`);
  }
  rows.sort((left, right) => left.file < right.file ? -1 : 1);
  if (json) {
    printLine(JSON.stringify({ certificates: rows }));
    return Exit.Ok;
  }
  if (rows.length === 0) printError(`No certificates in ${dir}`);
  const names = Math.max(...rows.map(({ name }) => name.length));
  const roles = Math.max(...rows.map(({ role }) => role.length));
  for (const { email, expired, expires, name, role } of rows) {
    const until = `${expired ? "expired" : "until"} ${expires}`;
    printLine(`${name.padEnd(names)}  ${role.padEnd(roles)}  ${until}  ${email}`.trimEnd());
  }
  return Exit.Ok;
}

async function rowOf(dir: string, file: string): Promise<Row> {
  const path = `${dir}/${file}`;
  try {
    const [certificate] = readCertificates("certificate", path, await readText("", path), 64);
    const expires = timeText(certificate.notAfterMs);
    const expired = certificate.notAfterMs < wallSeconds() * 1000;
    return { file, ...ownerOf(certificate), expires, expired };
  } catch {
    return { file, name: file, role: "unreadable", email: "", expires: "never", expired: false };
  }
}

function ownerOf(certificate: Certificate): Pick<Row, "name" | "role" | "email"> {
  const name = shown(certificate.subjectName.commonName).slice(1, -1);
  if (certificate.isCa) return { name, role: CA, email: "" };
  const peer = peerOfCertificate(certificate);
  return typeof peer === "string" ? { name, role: "stranger", email: "" } : peer;
}

interface Paths {
  readonly certificate: string;
  readonly key: string;
}

function pathsOf(dir: string, name: string): Paths {
  return { certificate: `${dir}/${name}.pem`, key: `${dir}/${name}.key` };
}

async function makeDirectory(dir: string): Promise<void> {
  try {
    await Deno.mkdir(dir, { recursive: true, mode: DIRECTORY_MODE });
  } catch (error) {
    const why = (error as Error).message;
    throw new Error(`Cannot make directory ${dir}: ${why}; give another one as --dir`);
  }
}

/** The key first: a certificate without one would be found and could not be used. */
async function write({ dir, force }: Flags, name: string, made: MadePair): Promise<Paths> {
  const paths = pathsOf(dir, name);
  for (const path of [paths.key, paths.certificate]) {
    if (force || !await isThere(path)) continue;
    const lost = name === CA ? ", which makes all certificates of the old one worthless" : "";
    throw new Error(
      `Cannot make ${path} as it exists already: give --force to replace it${lost}, or another ` +
        (name === CA ? "--dir" : "NAME"),
    );
  }
  await replace(paths.key, made.keyPem, KEY_MODE);
  await replace(paths.certificate, made.certificatePem, CERTIFICATE_MODE);
  return paths;
}

/** The whole file beside the old one, on the disk, then in its place in one step. */
async function replace(path: string, text: string, mode: number): Promise<void> {
  const temporary = `${path}.${crypto.randomUUID().slice(0, 8)}.new`;
  const bytes = new TextEncoder().encode(text);
  try {
    using file = await Deno.open(temporary, { write: true, createNew: true, mode });
    for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
    await file.sync();
    await Deno.rename(temporary, path);
  } catch (error) {
    await Deno.remove(temporary).catch(() => {}); // it may not have come to be
    throw new Error(`Cannot write ${path}: ${(error as Error).message}`);
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    return !(error instanceof Deno.errors.NotFound); // why it cannot be read comes with reading it
  }
}

/** What was made goes to standard error with what to do next; with --json to standard output alone. */
function tell(flags: Flags, made: Record<string, string>, next: readonly string[]): void {
  if (flags.json) return printLine(JSON.stringify(made));
  printError(
    `Made ${made.certificate} and ${made.key}: ${made.name}, ${made.role}, until ${made.expires}`,
  );
  for (const line of next) printError(line);
}

function dirFlag({ dir }: Flags): string {
  return dir === KEYS.flags.dir.default ? "" : ` --dir ${dir}`;
}

function wrong(what: string, expected: string, text: string): UsageError {
  const value = JSON.stringify(text);
  return new UsageError(`Cannot use ${what} as it must be ${expected}: current value is ${value}`);
}
