/**
 * `fairlead ceph`: commands of a Ceph cluster, with the words, the output and the exit code that
 * Ceph's own tool has.
 *
 * @module
 */
import { errnoText } from "../../io/errno.ts";
import { EntityAddr } from "../../wire/msgr2/entity_addr.ts";
import { resolveAll } from "../address.ts";
import { command, Exit, parseArgs, UsageError } from "../args.ts";
import { cephAuth } from "../ceph_auth.ts";
import {
  type CommandJson,
  commandText,
  InvalidCommand,
  matchCommand,
  parseDescriptions,
} from "../ceph_command.ts";
import { formatMonAddress } from "../ceph_conf.ts";
import { type CephSettings, loadCephSettings } from "../ceph_settings.ts";
import { DaemonClient } from "../daemon_client.ts";
import { Dispatcher } from "../dispatcher.ts";
import type { IoRoad } from "../endpoint.ts";
import { helpText } from "../help.ts";
import { MonClient, Refused } from "../mon_client.ts";
import type { CommandOutcome } from "../pending_commands.ts";
import { printBytes, printError, printLine } from "../terminal.ts";

const CEPH = command({
  name: "fairlead ceph",
  summary: "Runs a command of a Ceph cluster",
  description: 'COMMAND is what Ceph\'s own tool takes: words, or one {"prefix": …} as JSON. The ' +
    "cluster's data\ngoes to standard output, its remarks to standard error; the exit code is the " +
    "cluster's return\ncode as a positive errno. `tell osd.N` and `tell mon.NAME` ask one daemon. " +
    "Words after -- are\nnever taken for options of this program.",
  positionals: [{
    name: "COMMAND",
    help: "status, osd tree, auth ls, …",
    many: true,
    optional: true,
  }],
  flags: {
    mon: {
      kind: "text",
      value: "ADDR",
      short: "m",
      help: "monitors, as mon_host has them; else those of ceph.conf",
    },
    name: {
      kind: "text",
      value: "TYPE.ID",
      short: "n",
      help: "who we are; client.admin unless set",
    },
    id: { kind: "text", value: "ID", help: "the same, for client.ID" },
    keyring: { kind: "text", value: "FILE", short: "k", help: "keyring; else the usual paths" },
    conf: { kind: "text", value: "FILE", short: "c", help: "ceph.conf; else the usual paths" },
    cluster: { kind: "text", value: "NAME", help: "name of the cluster's files; ceph unless set" },
    auth: {
      kind: "text",
      value: "METHOD",
      choices: ["none", "cephx"],
      help: "only this method; else cephx before none",
    },
    mode: {
      kind: "text",
      value: "MODE",
      choices: ["crc", "secure"],
      help: "only this mode; else secure before crc",
    },
    json: { kind: "boolean", help: "ask for JSON, same as --format json" },
    format: { kind: "text", value: "FORMAT", short: "f", help: "json, json-pretty, plain, xml" },
    "in-file": { kind: "text", value: "FILE", short: "i", help: "input data; - is standard input" },
    "out-file": { kind: "text", value: "FILE", short: "o", help: "write the data there" },
    status: { kind: "boolean", short: "s", help: "same as the command status" },
    timeout: {
      kind: "number",
      value: "SECONDS",
      default: 60,
      min: 0,
      max: 86_400,
      help: "give up after this; 0 waits without end",
    },
    io: {
      kind: "text",
      value: "ROAD",
      choices: ["auto", "libc", "deno"],
      default: "auto",
      help: "sockets: libc through FFI, or Deno's own",
    },
  },
  passUnknown: true,
  examples: [
    ["fairlead ceph --mon v2:10.0.0.1:3300 -k admin.keyring status", "How the cluster is"],
    ["fairlead ceph --json osd tree", "For a program; with /etc/ceph/ceph.conf and its keyring"],
    ["fairlead ceph osd pool create p 8", "Arguments in order, or by name: --pg-num 8"],
    ['fairlead ceph \'{"prefix": "df", "format": "json"}\'', "The command as it is sent"],
    ["fairlead ceph tell osd.0 version", "One daemon"],
  ],
});

/** An exit code has eight bits. */
const EXIT_MASK = 0xff;
const EINVAL = 22;

/** Runs the command; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  const parsed = parseArgs(CEPH, words);
  if (parsed.help) {
    printLine(helpText(CEPH));
    return Exit.Ok;
  }
  const { flags } = parsed;
  const typed = flags.status ? ["status"] : parsed.positionals;
  if (typed.length === 0) throw new UsageError("Cannot run fairlead ceph as COMMAND is missing");
  if (flags.name !== undefined && flags.id !== undefined) {
    throw new UsageError("Cannot use --name and --id together as both say who we are");
  }
  const name = flags.name ?? `client.${flags.id ?? "admin"}`;
  const { mon, keyring, conf, cluster } = flags;
  const settings = loadCephSettings({ name, mon, keyring, conf, cluster });
  const { options: auth, source } = cephAuth(
    { name, method: flags.auth, mode: flags.mode },
    settings,
  );
  const request: Request = {
    words: asTyped(typed),
    input: await readInput(flags["in-file"]),
    format: flags.json ? "json" : flags.format,
  };
  const dispatcher = new Dispatcher({ auth, io: flags.io as IoRoad });
  try {
    const timeoutMs = flags.timeout * 1000;
    const mons = await resolveMons(settings);
    const client = new MonClient(dispatcher, { mons, timeoutMs, host: Deno.hostname() });
    await client.connect();
    const outcome = await ask(dispatcher, client, request, timeoutMs);
    await deliver(outcome, typed, flags["out-file"]);
    return Math.abs(outcome.result) & EXIT_MASK;
  } catch (error) {
    if (error instanceof Refused) {
      throw new Error(`Cannot authenticate as ${name} with ${source}: ${error.message}`);
    }
    if (!(error instanceof InvalidCommand)) throw error;
    printError(error.message);
    return EINVAL;
  } finally {
    await dispatcher.close();
  }
}

interface Request {
  readonly words: readonly string[];
  readonly input: Uint8Array;
  readonly format: string | undefined;
}

/** Whoever takes commands: a monitor session, or one daemon. */
type Ask = (words: readonly string[], input?: Uint8Array) => Promise<CommandOutcome>;

/** One quoted argument, as in `ceph "osd tree"`, is several words. */
function asTyped(words: readonly string[]): readonly string[] {
  const [only] = words;
  if (words.length > 1 || only === undefined || only.trimStart().startsWith("{")) return words;
  return only.trim().split(/\s+/);
}

async function ask(
  dispatcher: Dispatcher,
  mon: MonClient,
  request: Request,
  timeoutMs: number,
): Promise<CommandOutcome> {
  const askMon: Ask = (words, input) => mon.command(words, input);
  if (request.words[0] !== "tell") return await askAs(askMon, request);
  const [, target, ...words] = request.words;
  if (target === undefined || words.length === 0) {
    throw new UsageError("Cannot tell as a daemon and its command must follow: tell osd.0 version");
  }
  const address = await addressOf(target, mon);
  const { fsid } = mon.monMap!;
  const daemon = new DaemonClient(dispatcher, { name: target, address, fsid, timeoutMs });
  return await askAs((asked, input) => daemon.command(asked, input), { ...request, words });
}

/** Turns words into JSON by what the other side describes, and asks. */
async function askAs(askOne: Ask, { words, input, format }: Request): Promise<CommandOutcome> {
  const [first = ""] = words;
  if (words.length === 1 && first.trimStart().startsWith("{")) {
    return await askOne([withFormat(first, format)], input);
  }
  const described = await askOne(['{"prefix": "get_command_descriptions"}']);
  if (described.result < 0) return described;
  const json = matchCommand(parseDescriptions(new TextDecoder().decode(described.output)), words);
  if (format !== undefined) json.format = format;
  return await askOne([commandText(json)], input);
}

/** A command in JSON goes as it was typed, with a format where it has none and one is wanted. */
function withFormat(text: string, format: string | undefined): string {
  const json = parseJson(text);
  if (format === undefined || "format" in json) return text;
  return `${text.trimEnd().slice(0, -1)}, "format": ${JSON.stringify(format)}}`;
}

function parseJson(text: string): CommandJson {
  try {
    const json: unknown = JSON.parse(text);
    if (typeof json === "object" && json !== null && "prefix" in json) return { ...json };
  } catch {
    // Told below, with what it has to be.
  }
  throw new UsageError(
    `Cannot parse COMMAND as it must be JSON with a prefix, {"prefix": "status"}: ` +
      `current value is ${text}`,
  );
}

/** Where a daemon listens, with its nonce: from the OSD map, or the monitor map. */
async function addressOf(target: string, mon: MonClient): Promise<EntityAddr> {
  const [, type, id = ""] = /^(osd|mon)\.(.+)$/.exec(target) ?? [];
  if (type === undefined) {
    throw new UsageError(
      `Cannot tell ${target} as it must be osd.N or mon.NAME: current value is "${target}"`,
    );
  }
  if (type === "mon") {
    const { mons } = mon.monMap!;
    const found = mons.find(({ name }) => name === id)?.addrs.v2() ?? null;
    if (found !== null) return found;
    const names = mons.map(({ name }) => `mon.${name}`).join(", ");
    throw new Error(`Cannot tell ${target} as the cluster has no such monitor: it has ${names}`);
  }
  const dump = await mon.command(['{"prefix": "osd dump", "format": "json"}']);
  if (dump.result < 0) {
    throw new Error(`Cannot find ${target}: ${errnoText(dump.result)} ${dump.status}`);
  }
  const { osds } = JSON.parse(new TextDecoder().decode(dump.output)) as OsdDump;
  const osd = osds.find(({ osd }) => String(osd) === id);
  if (osd === undefined) throw new Error(`Cannot tell ${target} as the cluster has no such OSD`);
  if (osd.up === 0) throw new Error(`Cannot tell ${target} as it is down`);
  const v2 = osd.public_addrs.addrvec.find((addr) => addr.type === "v2");
  if (v2 === undefined) throw new Error(`Cannot tell ${target} as it listens to no msgr2`);
  return EntityAddr.parse(`v2:${v2.addr}/${v2.nonce}`);
}

/** The part of `osd dump` that is looked at. */
interface OsdDump {
  readonly osds: readonly {
    readonly osd: number;
    readonly up: number;
    readonly public_addrs: {
      readonly addrvec: readonly { type: string; addr: string; nonce: number }[];
    };
  }[];
}

/** Monitors whose names cannot be looked up are left out, as long as there is another one. */
async function resolveMons(settings: CephSettings): Promise<EntityAddr[]> {
  const mons: EntityAddr[] = [];
  let failure: unknown = null;
  for (const mon of settings.mons) {
    try {
      mons.push(...await resolveAll(formatMonAddress(mon)));
    } catch (error) {
      failure = error;
    }
  }
  if (mons.length === 0 && failure !== null) throw failure;
  return mons;
}

async function readInput(path: string | undefined): Promise<Uint8Array> {
  if (path === undefined) return new Uint8Array(0);
  if (path === "-") return new Uint8Array(await new Response(Deno.stdin.readable).arrayBuffer());
  try {
    return await Deno.readFile(path);
  } catch (error) {
    throw new Error(`Cannot read input file ${path}: ${(error as Error).message}`);
  }
}

/** Data to standard output or a file, remarks to standard error. */
async function deliver(
  { result, status, output }: CommandOutcome,
  typed: readonly string[],
  path: string | undefined,
): Promise<void> {
  if (result < 0) {
    const remark = status === "" ? "" : `, ${status.trimEnd()}`;
    printError(`Cannot run "${typed.join(" ")}": ${errnoText(result)}${remark}`);
  } else if (status !== "") printError(status.trimEnd());
  if (path !== undefined) {
    await Deno.writeFile(path, output);
  } else if (output.length > 0) {
    printBytes(output);
    if (isLineOpen(output)) printBytes(new Uint8Array([NEWLINE]));
  }
}

const NEWLINE = 10;

/** Text without a newline at its end; data such as a binary map is left alone. */
function isLineOpen(output: Uint8Array): boolean {
  return output.at(-1) !== NEWLINE && !output.includes(0);
}
