/**
 * How a client of a Ceph cluster proves who it is: cephx by the key that `ceph.conf`, a keyring
 * or a flag leads to, method none where the cluster asks for nothing. Ceph documentation, "CephX
 * Config Reference" (auth_client_required) and "Messenger v2" (ms_mon_client_mode).
 *
 * @module
 */
import type { AuthClient } from "../proto/msgr2/auth.ts";
import type { AuthOptions } from "../proto/msgr2/messenger.ts";
import { decodeKey } from "../wire/cephx/crypto_key.ts";
import { formatEntityName } from "../wire/cephx/entity_name.ts";
import { Keyring, parseKeyring } from "../wire/cephx/keyring.ts";
import { AuthMethod } from "../wire/msgr2/auth.ts";
import { EntityType, parseEntityName } from "../wire/msgr2/hello.ts";
import { UsageError } from "./args.ts";
import { authCephx, authNone, type ModeName } from "./auth.ts";
import type { CephSettings } from "./ceph_settings.ts";

/** What the command line says about authentication. */
export interface CephAuthChoice {
  /** `client.admin` */
  readonly name: string;
  /** Only this method; else what auth_client_required says, else cephx before none. */
  readonly method?: string;
  /** Only this mode; else what ms_mon_client_mode says, else secure before crc. */
  readonly mode?: string;
}

/** Authentication, and where its key came from. */
export interface CephAuth {
  readonly options: AuthOptions;
  /** For errors: `the key of /etc/ceph/ceph.client.admin.keyring`. */
  readonly source: string;
}

/** Services that a client of RADOS needs tickets for: 0x35 with the authentication service. */
const SERVICES = EntityType.Mon | EntityType.Osd | EntityType.Mgr;

/**
 * Makes the authentication of a client of the cluster.
 *
 * @throws UsageError when there is no key where one is needed
 */
export function cephAuth(choice: CephAuthChoice, settings: CephSettings): CephAuth {
  const { name } = choice;
  const found = findKey(name, settings);
  const modes = modesOf(choice, settings);
  const methods = methodsOf(choice, settings).filter((method) =>
    method === AuthMethod.None ? modes.includes("crc") : found !== null
  );
  if (found === null && (choice.method === "cephx" || methods.length === 0)) {
    const tried = settings.keyringTried.join(", ");
    throw new UsageError(
      `Cannot authenticate as ${name} as a keyring must hold its key: none of ${tried} exists, ` +
        "give --keyring FILE",
    );
  }
  if (methods.length === 0) {
    throw new UsageError(
      "Cannot use --mode secure as it needs a key: current value is --auth none",
    );
  }
  const none = authNone(name);
  const source = found?.source ?? `no key (none of ${settings.keyringTried.join(", ")} exists)`;
  if (found === null) return { options: none, source };
  const cephx = authCephx(name, found.keyring, modes, SERVICES);
  const client = (method: number, peerType: number): AuthClient | null =>
    (method === AuthMethod.None ? none : cephx).client(method, peerType);
  return { options: { ...cephx, clientMethods: methods, client }, source };
}

interface FoundKey {
  readonly keyring: Keyring;
  readonly source: string;
}

/** The key of `name`, or null when there is no place to take one from. */
function findKey(name: string, settings: CephSettings): FoundKey | null {
  const entity = parseEntityName(name);
  if (settings.key !== null) {
    const keyring = new Keyring([{ name: entity, key: decodeKey(settings.key) }]);
    return { keyring, source: `the key of ${settings.confPath}` };
  }
  if (settings.keyring === null) return null;
  const { path, text } = settings.keyring;
  const keyring = readText(path, text);
  if (keyring.get(entity) !== undefined) return { keyring, source: `the key of ${path}` };
  const names = [...keyring.entries()].map((entry) => formatEntityName(entry.name)).join(", ");
  throw new UsageError(
    `Cannot authenticate as ${name} as ${path} must hold its key: it has ${names || "none"}, ` +
      "give --name or --keyring",
  );
}

function readText(path: string, text: string): Keyring {
  try {
    return parseKeyring(text);
  } catch (error) {
    throw new UsageError(`Cannot use keyring ${path}: ${(error as Error).message}`);
  }
}

/** Numbers of methods in order of preference. */
function methodsOf({ method }: CephAuthChoice, settings: CephSettings): number[] {
  const wanted = method ?? (settings.option("auth_client_required") || "cephx, none");
  const known: Record<string, number> = { cephx: AuthMethod.Cephx, none: AuthMethod.None };
  return wanted.split(/[,;\s]+/).map((word) => known[word] ?? 0).filter((number) => number > 0);
}

function modesOf({ mode }: CephAuthChoice, settings: CephSettings): ModeName[] {
  const wanted = mode ?? (settings.option("ms_mon_client_mode") || "secure crc");
  return wanted.split(/[,;\s]+/).filter((word) => word === "secure" || word === "crc");
}
