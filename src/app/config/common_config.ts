/**
 * What the configurations of gateway and hub have in common: parts of their tables, and the checks
 * of names, keys, files and listeners.
 *
 * @module
 */
import { parseEntityName } from "../../wire/msgr2/hello.ts";
import { type Keyring, parseKeyring } from "../../wire/cephx/keyring.ts";
import { formatInet, parseInet } from "../../wire/inet.ts";
import { parseAddress } from "../../wire/msgr2/entity_addr.ts";
import { HOST_PORT, PATH } from "./forms.ts";
import type { Findings } from "./problem.ts";
import type { Draft, Infer } from "./schema.ts";
import { shown } from "./schema_check.ts";

/** Bits of a file's mode: others may read it. */
const OTHERS_READ = 0o004;

/** A session's addresses at once: what is tried one after another. */
export const ADDRESSES_MAX = 16;

/** Who lets whom in, and how what is said is kept from others. */
export const AUTH_SCHEMA = {
  kind: "object",
  about: "How the two ends know each other, and whether others can read along.",
  default: {},
  keys: {
    keyring: {
      kind: "or",
      literal: null,
      default: null,
      of: {
        kind: "text",
        form: PATH,
        about: "File with the keys, as `fairlead keyring` makes it.",
      },
    },
    method: {
      kind: "text",
      choices: ["none", "cephx"],
      derived: "cephx when a keyring is given, else none",
      about: "Who is let in: everybody, or who has a key.",
    },
    mode: {
      kind: "text",
      choices: ["crc", "secure"],
      derived: "secure when a keyring is given, else crc",
      about: "Checksums only, or encryption.",
    },
  },
} as const;

/** Which sockets are used. */
export const IO_SCHEMA = {
  kind: "text",
  choices: ["auto", "libc", "deno"],
  default: "auto",
  about: "Sockets: libc through FFI, or Deno's own.",
} as const;

/** Whether sessions may have several paths. */
export const TRANSPORT_SCHEMA = {
  kind: "text",
  choices: ["auto", "tcp"],
  default: "auto",
  about: "Sessions over MPTCP where the kernel has it, or over TCP.",
} as const;

/** Where what must survive a restart is kept. */
export const STATE_SCHEMA = {
  kind: "or",
  literal: null,
  default: null,
  of: { kind: "text", form: PATH, about: "Directory for what must survive a restart." },
} as const;

/** What a stop waits for. */
export const DRAIN_SCHEMA = {
  kind: "integer",
  min: 0,
  max: 3600,
  default: 5,
  about: "How long a stop waits for what is not acknowledged, in seconds.",
} as const;

/** How events are written. */
export const LOG_SCHEMA = {
  kind: "object",
  about: "Events that matter, one line each, on standard error.",
  default: {},
  keys: {
    format: {
      kind: "text",
      choices: ["text", "json"],
      default: "text",
      about: "Lines for people, or one JSON object each.",
    },
  },
} as const;

/** The hardware's watchdog. */
export const WATCHDOG_SCHEMA = {
  kind: "or",
  literal: null,
  default: null,
  of: {
    kind: "text",
    form: {
      expected: "a device such as /dev/watchdog",
      pattern: "^/dev/[^\\u0000]+$",
    },
    about: "Device that restarts the box unless it is written to.",
  },
} as const;

/** Where the status listener is; its port is added by each. */
export const STATUS_LISTEN = {
  kind: "text",
  form: HOST_PORT,
  about: "Where the status page, /metrics, /healthz and /readyz are served, HOST:PORT.",
} as const;

/** The part `auth` of a configuration. */
export type AuthConfig = Infer<typeof AUTH_SCHEMA>;

/** Fills a value in that depends on others. */
export function derive<K extends string, V>(
  into: { [N in K]?: V } | undefined,
  path: string,
  key: K,
  value: V,
  why: string,
  findings: Findings,
): void {
  if (into === undefined || into[key] !== undefined) return;
  into[key] = value;
  findings.origins.set(`${path}.${key}`, `default, ${why}`);
}

/**
 * Method and mode where they are left out, and whether they can be had. Returns the keyring.
 */
export async function completeAuth(
  auth: Draft<AuthConfig> | undefined,
  findings: Findings,
): Promise<Keyring | null> {
  if (auth === undefined) return null;
  const given = (auth.keyring ?? null) !== null;
  const why = given ? "as a keyring is given" : "as there is no keyring";
  derive(auth, "auth", "method", given ? "cephx" : "none", why, findings);
  const secure = given && auth.method === "cephx";
  const modeWhy = given && !secure ? "as the method is none" : why;
  derive(auth, "auth", "mode", secure ? "secure" : "crc", modeWhy, findings);
  if (auth.method === "cephx" && auth.keyring === null) {
    const remedy = "add auth.keyring or --keyring FILE (fairlead keyring create makes one)";
    findings.error("auth.method", `it needs a key: current value is "cephx", ${remedy}`);
  }
  if (auth.method === "none" && auth.mode === "secure") {
    const remedy = "add auth.keyring or --keyring FILE, and leave auth.method out";
    findings.error("auth.mode", `it needs a key: current value is "secure", ${remedy}`);
  }
  const text = await checkSecret(auth.keyring, "auth.keyring", findings);
  if (text === null) return null;
  try {
    return parseKeyring(text);
  } catch (error) {
    const { message } = error as Error;
    findings.error("auth.keyring", `${shown(auth.keyring)} is no keyring: ${message}`);
    return null;
  }
}

/** A client authenticates under its name, so the keyring must have it. */
export function checkName(
  name: string | undefined,
  keyring: Keyring | null,
  file: string,
  findings: Findings,
): void {
  if (name === undefined || keyring === null) return;
  if (keyring.get(parseEntityName(name)) !== undefined) return;
  const why = `keyring ${file} must have its key: current value is ${shown(name)}`;
  findings.error("name", `${why}, add it with fairlead keyring add`);
}

/** Reads a file that only its owner should; null, and told, when that fails. */
export async function checkSecret(
  file: string | null | undefined,
  path: string,
  findings: Findings,
): Promise<string | null> {
  if (file === null || file === undefined) return null;
  try {
    const text = await Deno.readTextFile(file);
    const { mode } = await Deno.stat(file);
    if (mode !== null && (mode & OTHERS_READ) !== 0) {
      const text = `Everybody on this box can read ${path}: current mode of ${file} is ` +
        `${(mode & 0o777).toString(8).padStart(4, "0")}, use chmod o-r ${file}`;
      findings.warning(path, text);
    }
    return text;
  } catch (error) {
    findings.error(path, `it must be a file that can be read: ${reason(error)}`);
    return null;
  }
}

/** The hardware watchdog must be a device; where it is not there, the box goes on without. */
export async function checkWatchdog(
  device: string | null | undefined,
  findings: Findings,
): Promise<void> {
  if (device === null || device === undefined) return;
  try {
    const { isCharDevice } = await Deno.stat(device);
    if (isCharDevice) return;
    findings.error("watchdog", `it must be a device: current value is ${shown(device)}`);
  } catch (error) {
    findings.warning("watchdog", `The watchdog will not be used: ${reason(error)}`);
  }
}

/** A socket that somebody listens on. */
export interface Listener {
  /** The path of its address in the configuration. */
  readonly path: string;
  /** `HOST:PORT` or an msgr2 address. */
  readonly address: string;
  readonly protocol: "udp" | "tcp";
}

/** No two may listen on one address and protocol; any port (0) is another each time. */
export function checkListeners(listeners: readonly Listener[], findings: Findings): void {
  for (const [index, { path, address, protocol }] of listeners.entries()) {
    const other = listeners.slice(0, index).find((before) =>
      before.protocol === protocol && overlaps(before.address, address)
    );
    if (other === undefined || other.path === path) continue;
    const why = `${other.path} listens there with ${protocol} too`;
    findings.error(path, `${why}: current value is ${shown(address)}, take another port`);
  }
}

/** True for an address that only this box reaches. */
export function isLoopbackAddress(address: string): boolean {
  const host = hostOf(address);
  return host === "localhost" || host === "::1" || /^127\.[0-9.]+$/.test(host);
}

/** The port of an address. */
export function portOf(address: string): number {
  return parseAddress(address).port;
}

function overlaps(a: string, b: string): boolean {
  if (portOf(a) !== portOf(b) || portOf(a) === 0) return false;
  const hosts = [hostOf(a), hostOf(b)];
  if (hosts[0] === hosts[1] || hosts.includes("::")) return true;
  return hosts.includes("0.0.0.0") && hosts.every((host) => !host.includes(":"));
}

/** In one spelling. */
function hostOf(address: string): string {
  const host = parseAddress(address).host.toLowerCase();
  const bytes = new Uint8Array(16);
  const family = parseInet(host, bytes);
  return family === 0 ? host : formatInet(family, bytes);
}

/** `No such file or directory (os error 2): stat 'x'`, without what only a programmer wants. */
function reason(error: unknown): string {
  return (error as Error).message.replace(/ \(os error \d+\)/, "").replace(
    /: (readfile|stat) /,
    " ",
  );
}
