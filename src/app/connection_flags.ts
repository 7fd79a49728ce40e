/**
 * The flags that say how sessions are made, the same in every command: who we are, by which key,
 * in which mode, under which policy, over which sockets.
 *
 * @module
 */
import type { AuthOptions } from "../proto/msgr2/messenger.ts";
import { POLICIES, type Policy } from "../proto/msgr2/policy.ts";
import { type Keyring, parseKeyring } from "../wire/cephx/keyring.ts";
import type { EntityAddr } from "../wire/msgr2/entity_addr.ts";
import { formatEntityName } from "../wire/cephx/entity_name.ts";
import { isLoopback } from "./address.ts";
import { addressText } from "./address_text.ts";
import { UsageError } from "./args.ts";
import { authCephx, authNone, type ModeName } from "./auth.ts";
import type { IoRoad } from "./endpoint.ts";
import { nameArgument } from "./name_argument.ts";

/** Spread into a command's flags. */
export const CONNECTION_FLAGS = {
  auth: {
    kind: "text",
    value: "METHOD",
    choices: ["none", "cephx"],
    help: "authentication; cephx when a keyring is given, else none",
  },
  keyring: { kind: "text", value: "FILE", short: "k", help: "keyring in ceph-authtool's format" },
  name: {
    kind: "text",
    value: "TYPE.ID",
    short: "n",
    default: "client.fairlead",
    help: "who we are",
  },
  mode: {
    kind: "text",
    value: "MODE",
    choices: ["crc", "secure"],
    help: "checksums only, or encryption; secure when there is a key",
  },
  io: {
    kind: "text",
    value: "ROAD",
    choices: ["auto", "libc", "deno"],
    default: "auto",
    help: "sockets: libc through FFI, or Deno's own",
  },
} as const;

/** The policy flag of commands that carry messages. */
export const POLICY_FLAG = {
  policy: {
    kind: "text",
    value: "POLICY",
    choices: ["lossless", "lossy"],
    default: "lossless",
    help: "keep messages until they are acknowledged, or not",
  },
} as const;

/** The parsed values of {@linkcode CONNECTION_FLAGS}. */
export interface ConnectionFlags {
  readonly auth: string | undefined;
  readonly keyring: string | undefined;
  readonly name: string;
  readonly mode: string | undefined;
  readonly io: string;
}

/** What the flags ask for. */
export interface ConnectionSettings {
  readonly auth: AuthOptions;
  readonly method: "none" | "cephx";
  readonly mode: ModeName;
  readonly io: IoRoad;
}

/**
 * Turns flags into settings; reads the keyring.
 *
 * @throws UsageError when they contradict each other
 */
export async function connectionSettings(
  flags: ConnectionFlags,
  side: "client" | "server",
): Promise<ConnectionSettings> {
  const method = flags.auth ?? (flags.keyring === undefined ? "none" : "cephx");
  const mode = flags.mode ?? (method === "cephx" ? "secure" : "crc");
  const io = flags.io as IoRoad;
  const entity = nameArgument("--name", flags.name);
  if (method === "none") {
    if (mode === "secure") {
      throw new UsageError(
        "Cannot use --mode secure as it needs a key: current value is --auth none, give --keyring FILE",
      );
    }
    return { auth: authNone(flags.name), method, mode: "crc", io };
  }
  if (flags.keyring === undefined) {
    throw new UsageError(
      "Cannot use --auth cephx as it needs a key: give --keyring FILE (fairlead keyring create makes one)",
    );
  }
  const keyring = await readKeyring(flags.keyring);
  if (side === "client" && keyring.get(entity) === undefined) {
    throw new UsageError(
      `Cannot authenticate as ${flags.name} as ${flags.keyring} must have its key: it has ${
        keyringNames(keyring) || "none"
      }, give --name`,
    );
  }
  // A server takes the first mode of the client's list that it allows; ours decides alone.
  return {
    auth: authCephx(flags.name, keyring, [mode as ModeName]),
    method: "cephx",
    mode: mode as ModeName,
    io,
  };
}

/** Reads a keyring file; errors name it. */
export async function readKeyring(path: string): Promise<Keyring> {
  try {
    return parseKeyring(await Deno.readTextFile(path));
  } catch (error) {
    // Of a line it says itself that it cannot be read.
    const { message } = error as Error;
    const why = message.replace(/^Cannot read keyring (?=line)|^/, (said) => said ? " " : ": ");
    throw new UsageError(`Cannot read keyring ${path}${why}`);
  }
}

/** How those who connect are let in, in words: `cephx, secure`. */
export function securityText({ method }: ConnectionSettings, mode: string): string {
  return `${method === "none" ? "no authentication" : "cephx"}, ${mode}`;
}

/** The policy of a session that we open. */
export function clientPolicy(policy: string): Policy {
  return policy === "lossy" ? POLICIES.lossyClient : { ...POLICIES.losslessClient, requeue: true };
}

/** The policy towards those who connect. */
export function serverPolicy(policy: string): Policy {
  return policy === "lossy" ? POLICIES.statelessServer : POLICIES.statefulServer;
}

/**
 * A listener that anybody can reach must know whom it lets in, unless the operator says
 * `--auth none` in so many words.
 */
export function refuseOpenListener(
  address: EntityAddr,
  flags: ConnectionFlags,
  settings: ConnectionSettings,
): void {
  if (isLoopback(address) || settings.method === "cephx" || flags.auth === "none") return;
  throw new UsageError(
    `Cannot listen on ${
      addressText(address)
    } without a keyring as others can reach it: give --keyring FILE, ` +
      "or --auth none to let everybody in",
  );
}

function keyringNames(keyring: Keyring): string {
  return [...keyring.entries()].map(({ name }) => formatEntityName(name)).join(", ");
}
