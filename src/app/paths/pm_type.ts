/**
 * Who manages the paths of new connections of a network namespace: net.mptcp.pm_type, 0 for the kernel's
 * own manager and 1 for a program like this one. Connections keep the manager that they were made with.
 *
 * @module
 */
import { inNamespace, namespaceOf } from "../../io/namespace.ts";

const PM_TYPE = "/proc/sys/net/mptcp/pm_type";
const ENABLED = "/proc/sys/net/mptcp/enabled";
import type { PathsConfig } from "../config/paths_config.ts";

/** Managers with their numbers. */
export const PmType = { Kernel: 0, UserSpace: 1 } as const;

/** The value now; null where the kernel has no MPTCP, it is switched off, or the namespace is gone. */
export function readPmType(namespace: string): number | null {
  if (namespaceOf(namespace) === null) return null;
  return inNamespace(namespace, () => {
    if (read(ENABLED) !== "1") return null;
    const text = read(PM_TYPE);
    return text === null ? null : Number(text);
  });
}

/** Has pm_type as a manager needs it, and puts it back. */
export class PmTypeKeeper {
  readonly #namespace: string;
  readonly #inode: number | null;
  readonly #wanted: number;
  readonly #memory: PmTypeMemory;
  /** What it was, when it was set here; else -1. */
  readonly #before: number;
  #told = false;

  /**
   * Sets it where that is wanted and allowed.
   *
   * @throws when the kernel has no MPTCP, or pm_type is another and stays so, with the remedy
   */
  static open(
    namespace: string,
    { manager, setPmType, socket }: Pick<PathsConfig, "manager" | "setPmType" | "socket">,
  ): PmTypeKeeper {
    const now = readPmType(namespace);
    const where = namespace === "" ? "" : ` of network namespace ${namespace}`;
    if (now === null) {
      throw new Error(
        `Cannot manage paths${where} as the kernel has no MPTCP, or net.mptcp.enabled is 0: ` +
          "sessions use one path, over TCP",
      );
    }
    const wanted = manager === "kernel" ? PmType.Kernel : PmType.UserSpace;
    const memory = new PmTypeMemory(namespace, socket);
    // One that was killed may have set it.
    if (now === wanted) return new PmTypeKeeper(namespace, wanted, memory, memory.read());
    if (!setPmType) {
      throw new Error(
        `Cannot manage paths${where} as net.mptcp.pm_type must be ${wanted} for manager ` +
          `"${manager}": current value is ${now}, set it, or let Fairlead set it and put it back at ` +
          'its end with --set-pm-type ("setPmType": true)',
      );
    }
    writePmType(namespace, wanted);
    memory.write(now);
    return new PmTypeKeeper(namespace, wanted, memory, now);
  }

  private constructor(namespace: string, wanted: number, memory: PmTypeMemory, before: number) {
    this.#namespace = namespace;
    this.#inode = namespaceOf(namespace);
    this.#wanted = wanted;
    this.#memory = memory;
    this.#before = before;
  }

  /** A sentence once somebody has set it back, so that new connections are not managed; else empty. */
  check(): string {
    const now = readPmType(this.#namespace);
    const told = this.#told;
    this.#told = now !== null && now !== this.#wanted;
    if (told || !this.#told) return "";
    return `net.mptcp.pm_type is ${now}, not ${this.#wanted}: connections that are made now are not ` +
      "managed, set it again";
  }

  /** Puts it back, unless somebody else has, or another namespace has got the name. */
  restore(): void {
    if (this.#before < 0 || namespaceOf(this.#namespace) !== this.#inode) return;
    if (readPmType(this.#namespace) === this.#wanted) writePmType(this.#namespace, this.#before);
    this.#memory.forget();
  }
}

/**
 * What pm_type was before Fairlead set it, for a start after one that was killed: kept beside the access
 * socket, where files are gone after a boot as pm_type is.
 */
class PmTypeMemory {
  readonly #path: string | null;

  /** @param socket path of the access socket; false: nothing is remembered */
  constructor(namespace: string, socket: string | false) {
    const name = namespaceOf(namespace);
    this.#path = socket === false || name === null ? null : `${socket}.pm_type.${name}`;
  }

  /** The value before, or -1. */
  read(): number {
    const text = this.#path === null ? null : read(this.#path);
    return text === null || !/^[01]$/.test(text) ? -1 : Number(text);
  }

  /** Remembers a value; where nothing can be written, only this process knows it. */
  write(value: number): void {
    if (this.#path === null) return;
    try {
      Deno.writeTextFileSync(this.#path, `${value}\n`, { mode: 0o600 });
    } catch {
      // The manager works all the same.
    }
  }

  /** It is put back. */
  forget(): void {
    try {
      if (this.#path !== null) Deno.removeSync(this.#path);
    } catch {
      // It was not there.
    }
  }
}

/**
 * Sets it for connections that are made from now on.
 *
 * @throws when it may not be written, naming the remedy
 */
function writePmType(namespace: string, value: number): void {
  inNamespace(namespace, () => {
    try {
      Deno.writeTextFileSync(PM_TYPE, `${value}\n`);
    } catch (error) {
      throw new Error(
        `Cannot set net.mptcp.pm_type to ${value}: ${(error as Error).message}, run ` +
          `"sysctl net.mptcp.pm_type=${value}" as root`,
      );
    }
  });
}

function read(path: string): string | null {
  try {
    return Deno.readTextFileSync(path).trim();
  } catch {
    return null;
  }
}
