/**
 * What one check of `fairlead doctor` tells, and who this process is to the kernel that it asks:
 * proc_pid_status(5), capabilities(7).
 *
 * @module
 */

/** `ok`: all of it. `limited`: it works, less well. `missing`: it does not. */
export type Status = "ok" | "limited" | "missing";

/** What is looked at, and why. */
export interface About {
  readonly name: string;
  /** Why it matters. */
  readonly why: string;
  /** True when what shall run cannot do without it. */
  readonly needed: boolean;
}

/** One thing of this box. */
export interface Check extends About {
  readonly status: Status;
  /** What was found. */
  readonly found: string;
  /** What to do; empty when it is ok. */
  readonly remedy: string;
}

/** All of it is there. */
export function ok(about: About, found: string): Check {
  return { ...about, status: "ok", found, remedy: "" };
}

/** It works, less well. */
export function limited(about: About, found: string, remedy: string): Check {
  return { ...about, status: "limited", found, remedy };
}

/** It does not work. */
export function missing(about: About, found: string, remedy: string): Check {
  return { ...about, status: "missing", found, remedy };
}

/** The text of a file; null when it cannot be read. */
export function readText(path: string): string | null {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return null;
  }
}

/** The names in a directory, sorted; none when it cannot be read. */
export function namesIn(path: string): string[] {
  try {
    return [...Deno.readDirSync(path)].map(({ name }) => name).sort();
  } catch {
    return [];
  }
}

/** What is at a path, links followed; null when nothing is, or it cannot be seen. */
export function infoOf(path: string): Deno.FileInfo | null {
  try {
    return Deno.statSync(path);
  } catch {
    return null;
  }
}

/** Bits of a capability set. */
export const Capability = { DacOverride: 1, NetBindService: 10, NetAdmin: 12, NetRaw: 13 } as const;

/** Who this process is. */
export interface Credentials {
  readonly uid: number;
  /** The effective group and the supplementary ones. */
  readonly groups: ReadonlySet<number>;
  readonly capabilities: bigint;
}

/** Reads the text of /proc/self/status; null when it is not as expected. */
export function credentialsOf(status: string | null): Credentials | null {
  const { uid, gid, groups, hex } =
    /^Uid:\t\d+\t(?<uid>\d+)\t[^]*^Gid:\t\d+\t(?<gid>\d+)\t[^]*^Groups:\t?(?<groups>[\d ]*)$[^]*^CapEff:\t(?<hex>[0-9a-f]+)$/m
      .exec(status ?? "")?.groups ?? {};
  if (uid === undefined || gid === undefined || hex === undefined) return null;
  const words = (groups ?? "").split(" ").filter((word) => word !== "");
  return {
    uid: Number(uid),
    groups: new Set([gid, ...words].map(Number)),
    capabilities: BigInt(`0x${hex}`),
  };
}

/** True when the process has the capability. */
export function hasCapability({ capabilities }: Credentials, bit: number): boolean {
  return (capabilities >> BigInt(bit) & 1n) === 1n;
}

/** Who owns something, and who may do what with it. */
export interface Guarded {
  readonly mode: number | null;
  readonly uid: number | null;
  readonly gid: number | null;
}

/** Bits of a mode, of its last digit. */
export const Permission = { Write: 0o2, ReadWrite: 0o6 } as const;

/**
 * True when the process may open something so; path_resolution(7). A device is not opened to find
 * out: that would start a watchdog, and reset what hangs on a serial line.
 */
export function mayOpen(
  { mode, uid, gid }: Guarded,
  permission: number,
  who: Credentials,
): boolean {
  if (hasCapability(who, Capability.DacOverride)) return true;
  let shift = 0;
  if (uid === who.uid) shift = 6;
  else if (who.groups.has(gid ?? -1)) shift = 3;
  return ((mode ?? 0) >> shift & permission) === permission;
}
