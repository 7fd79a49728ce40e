/**
 * `fairlead probe`: what a msgr2 peer speaks.
 *
 * @module
 */
import type { EntityAddr } from "../../wire/msgr2/entity_addr.ts";
import type { Keyring } from "../../wire/cephx/keyring.ts";
import { formatEntityName } from "../../wire/cephx/entity_name.ts";
import { parseEntityName } from "../../wire/msgr2/hello.ts";
import { resolveAll } from "../address.ts";
import { command, Exit, parseArgs, UsageError } from "../args.ts";
import type { ModeName } from "../auth.ts";
import { formatMonAddress, parseMonHost } from "../ceph_conf.ts";
import { readKeyring } from "../connection_flags.ts";
import type { IoRoad } from "../endpoint.ts";
import { helpText } from "../help.ts";
import { checkAddress, nameArgument } from "../name_argument.ts";
import { probe, type ProbeReport } from "../prober.ts";
import { printable, printableJson } from "../printable.ts";
import { printError, printLine } from "../terminal.ts";

const PROBE = command({
  name: "fairlead probe",
  summary: "Shows what a msgr2 peer speaks",
  description: "Features, revision, auth methods and connection modes need no key; identity and " +
    "round trip do\nwhere the peer lets nobody in without one. Exit code 0 when all was learnt.",
  positionals: [{ name: "ADDR", help: "v2:HOST:PORT, for a daemon with its /NONCE" }],
  flags: {
    json: { kind: "boolean", help: "print one JSON object" },
    keyring: { kind: "text", value: "FILE", short: "k", help: "keyring in ceph-authtool's format" },
    name: {
      kind: "text",
      value: "TYPE.ID",
      short: "n",
      help: "who we are; the keyring's only name, or client.admin",
    },
    mode: {
      kind: "text",
      value: "MODE",
      choices: ["crc", "secure"],
      help: "ask for this mode only; else secure before crc",
    },
    mon: {
      kind: "text",
      value: "ADDR",
      short: "m",
      help: "monitors that give a ticket, when ADDR is another daemon with cephx",
    },
    timeout: {
      kind: "number",
      value: "SECONDS",
      default: 5,
      min: 1,
      max: 3600,
      help: "how long the peer may take for each step",
    },
    io: {
      kind: "text",
      value: "ROAD",
      choices: ["auto", "libc", "deno"],
      default: "auto",
      help: "sockets: libc through FFI, or Deno's own",
    },
  },
  examples: [
    ["fairlead probe v2:10.0.0.1:3300", "A monitor, without a key"],
    ["fairlead probe v2:10.0.0.1:3300 -k admin.keyring --json", "All of it, for a program"],
    ["fairlead probe v2:10.0.0.1:6800/4711 -m v2:10.0.0.1:3300 -k admin.keyring", "An OSD"],
  ],
});

/** Runs the command; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  const { help, flags, positionals } = parseArgs(PROBE, words);
  if (help) {
    printLine(helpText(PROBE));
    return Exit.Ok;
  }
  const keyring = flags.keyring === undefined ? null : await readKeyring(flags.keyring);
  if (flags.name !== undefined) nameArgument("--name", flags.name);
  const name = nameOf(flags.name, keyring, flags.keyring);
  const [targets, mons] = await addresses(positionals[0]!, flags.mon);
  const modes: ModeName[] = flags.mode === undefined ? ["secure", "crc"] : [flags.mode as ModeName];
  const timeoutMs = flags.timeout * 1000;
  const io = flags.io as IoRoad;
  const options = { timeoutMs, name, keyring, modes, mons, io };
  let report = await probe({ ...options, target: targets[0]! });
  for (const target of targets.slice(1)) {
    if (report.revision !== undefined) break;
    report = await probe({ ...options, target }); // the name's next address
  }
  if (flags.json) {
    printLine(printableJson(report));
  } else {
    for (const line of describe(report)) printLine(line);
    if (report.error !== undefined) printError(printable(report.error));
  }
  return report.error === undefined ? Exit.Ok : Exit.Failure;
}

function nameOf(given: string | undefined, keyring: Keyring | null, path = ""): string {
  const [only, ...others] = keyring === null ? [] : [...keyring.entries()];
  const isOnly = only !== undefined && others.length === 0;
  const name = given ?? (isOnly ? formatEntityName(only.name) : "client.admin");
  if (keyring === null || keyring.get(parseEntityName(name)) !== undefined) return name;
  const names = [...keyring.entries()].map((entry) => formatEntityName(entry.name)).join(", ");
  throw new UsageError(
    `Cannot authenticate as ${name} as ${path} must hold its key: it has ${names || "none"}, ` +
      "give --name",
  );
}

async function addresses(
  text: string,
  mon: string | undefined,
): Promise<[EntityAddr[], EntityAddr[]]> {
  checkAddress("ADDR", text);
  const mons = mon === undefined ? [] : parseMonHost(mon).map(formatMonAddress);
  const resolved = await Promise.all(mons.map(resolveAll));
  return [await resolveAll(text), resolved.flat()];
}

/** The report for a person. */
function describe(report: ProbeReport): string[] {
  const { identity, methods, modes } = report;
  const rows: [string, string | undefined][] = [
    ["address", report.address],
    ["entity", report.entity],
    ["revision", report.revision === undefined ? undefined : `msgr${report.revision}`],
    ["supported features", report.supported_features],
    ["required features", report.required_features],
    ["seen as", report.seen_as],
    ["auth methods", methods?.join(", ")],
    ["connection modes", modes?.join(", ")],
    ["let in by", report.method && `${report.method} in ${report.mode} mode`],
    ["its addresses", identity?.addrs],
    ["its gid", identity?.gid],
    ["its features", identity && `${identity.supported_features} ${named(identity.features)}`],
    ["its flags", identity && (identity.flags.join(" ") || "none")],
    ["its cookie", identity?.cookie],
    ["round trip", report.rtt_ms && `${report.rtt_ms} ms (at best ${report.rtt_min_ms} ms)`],
  ].map(([label, value]) => [String(label), value === undefined ? undefined : String(value)]);
  return rows
    .filter(([, value]) => value !== undefined)
    .map(([label, value]) => `${label.padEnd(LABEL_COLUMNS)}${printable(value!)}`);
}

const LABEL_COLUMNS = 20;

/** Bits without a name are in the number already. */
function named(features: readonly string[]): string {
  return features.filter((name) => !name.startsWith("bit ")).join(" ");
}
