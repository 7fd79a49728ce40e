/**
 * What a Ceph client finds on this box: reads the ceph.conf and the keyring that the flags, the
 * environment and the usual paths lead to. The meaning of what is read is in `ceph_conf.ts`.
 *
 * @module
 */
import type { AddressText } from "../wire/msgr2/entity_addr.ts";
import {
  CephConf,
  confMons,
  confPaths,
  type ConfReader,
  keyringPaths,
  parseCephConf,
  parseMonHost,
} from "./ceph_conf.ts";

/** What the command line says; all but the name may be left out. */
export interface CephChoice {
  /** `client.admin` */
  readonly name: string;
  /** `--conf`: a path that must exist. */
  readonly conf?: string;
  /** `--cluster` */
  readonly cluster?: string;
  /** `--keyring`: a path that must exist. */
  readonly keyring?: string;
  /** `--mon`: in the form of `mon_host`. */
  readonly mon?: string;
}

/** What the process was started with. */
export interface Environment {
  /** CEPH_CONF, CEPH_KEYRING and HOME. */
  readonly variables: Readonly<Record<string, string | undefined>>;
  readonly host: string;
  readonly pid: number;
}

/** What was found. */
export interface CephSettings {
  /** The configuration file that was read, or null when there is none. */
  readonly confPath: string | null;
  /** Monitors to try. */
  readonly mons: readonly AddressText[];
  /** The keyring that was read, or null when none of `keyringTried` exists. */
  readonly keyring: { readonly path: string; readonly text: string } | null;
  readonly keyringTried: readonly string[];
  /** The secret in base64 from option `key` or `keyfile`, which come before a keyring. */
  readonly key: string | null;
  /** Any other option of the configuration, or null. */
  option(name: string): string | null;
}

/** The environment of this process. */
export function processEnvironment(): Environment {
  const variables: Record<string, string | undefined> = {};
  for (const name of ["CEPH_CONF", "CEPH_KEYRING", "HOME"]) variables[name] = Deno.env.get(name);
  return { variables, host: Deno.hostname().split(".")[0]!, pid: Deno.pid };
}

/** Reads the configuration; throws when a file is named but missing, or no monitor is known. */
export function loadCephSettings(
  choice: CephChoice,
  environment: Environment = processEnvironment(),
): CephSettings {
  const { variables, host, pid } = environment;
  const home = variables.HOME ?? "";
  const dot = choice.name.indexOf(".");
  if (dot < 1) {
    throw new Error(
      `Cannot use name as it must be TYPE.ID, like client.admin: current value is ${choice.name}`,
    );
  }
  const named = choice.conf ?? variables.CEPH_CONF;
  const paths = named === undefined || named === ""
    ? confPaths(choice.cluster ?? "ceph", home)
    : named.split(",").map((path) => path.trim());
  const confFile = firstFile(paths);
  if (confFile === null && choice.conf !== undefined) throw missing("configuration", paths);
  const reader: ConfReader = {
    cluster: choice.cluster ?? clusterOf(confFile?.path),
    type: choice.name.slice(0, dot),
    id: choice.name.slice(dot + 1),
    host,
    pid,
    home,
  };
  const conf = confFile === null
    ? new CephConf(new Map())
    : parseCephConf(confFile.text, confFile.path);
  const mons = choice.mon === undefined ? confMons(conf, reader) : parseMonHost(choice.mon);
  if (mons.length === 0) {
    const where = confFile === null ? `none of ${paths.join(", ")} exists` : confFile.path;
    throw new Error(
      `Cannot find a monitor as --mon ADDR or mon_host in a ceph.conf must name one: ${where}`,
    );
  }
  const keyringNamed = choice.keyring ?? variables.CEPH_KEYRING;
  const keyringTried = keyringNamed === undefined || keyringNamed === ""
    ? keyringPaths(conf, reader)
    : keyringNamed.split(",");
  const keyring = firstFile(keyringTried);
  if (keyring === null && choice.keyring !== undefined) throw missing("keyring", keyringTried);
  const key = choice.keyring === undefined ? keyOf(conf, reader) : null;
  const option = (name: string): string | null => conf.value(name, reader);
  return { confPath: confFile?.path ?? null, mons, keyring, keyringTried, key, option };
}

interface TextFile {
  readonly path: string;
  readonly text: string;
}

function firstFile(paths: readonly string[]): TextFile | null {
  for (const path of paths) {
    try {
      return { path, text: Deno.readTextFileSync(path) };
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) {
        const why = error instanceof Error ? error.message : String(error);
        throw new Error(`Cannot read ${path} as it must be a readable file: ${why}`);
      }
    }
  }
  return null;
}

function missing(what: string, paths: readonly string[]): Error {
  return new Error(`Cannot read the ${what} as it must exist: ${paths.join(", ")} does not`);
}

/** `/etc/ceph/site2.conf` belongs to cluster `site2`, as Ceph sees it. */
function clusterOf(path: string | undefined): string {
  return /([^/]+)\.conf$/.exec(path ?? "")?.[1] ?? "ceph";
}

function keyOf(conf: CephConf, reader: ConfReader): string | null {
  const key = conf.value("key", reader);
  if (key !== null && key !== "") return key;
  const path = conf.value("keyfile", reader);
  if (path === null || path === "") return null;
  const file = firstFile([path]);
  if (file === null) throw missing("keyfile", [path]);
  return file.text.trim();
}
