/**
 * Checks of `fairlead doctor`: serial lines, the hardware watchdog, and what inputs read by a path.
 * None of them is opened where that does something: opening a watchdog starts it, opening a serial
 * line may reset what hangs on it, opening a pipe waits for its writer.
 *
 * @module
 */
import { dirname } from "node:path";
import {
  type About,
  type Check,
  type Credentials,
  infoOf,
  limited,
  mayOpen,
  missing,
  namesIn,
  ok,
  Permission,
  readText,
} from "./check.ts";

const WATCHDOG = "/dev/watchdog";
/** Ports of USB adapters and of boards; ttyS0 and the like are there without hardware too. */
const SERIAL = /^tty(USB|ACM|AMA|O|mxc|SC|XRUSB)\d+$/;

/**
 * Whether the hardware watchdog can be fed.
 *
 * @param device what the configuration names; null: it names none
 */
export function checkWatchdog(device: string | null, who: Credentials | null): Check {
  const path = device ?? WATCHDOG;
  const why = "it restarts a box that hangs";
  const about = { name: "watchdog", why, needed: device !== null };
  const info = infoOf(path);
  if (info === null) {
    const remedy = "load its driver (softdog where the hardware has none); nothing else needs it";
    return missing(about, `${path} is not there`, remedy);
  }
  if (!info.isCharDevice) {
    return missing(about, `${path} is no device`, `set "watchdog" to ${WATCHDOG}`);
  }
  if (mayUse(info, Permission.Write, who)) return ok(about, `${path} can be written to`);
  const remedy = "let a udev rule give it to the gateway's group, or let systemd feed it " +
    "(RuntimeWatchdogSec=)";
  return deny(about, `${path} ${ownerText(info)}`, remedy);
}

/**
 * Whether serial lines can be read.
 *
 * @param paths what the configuration names; empty: those that are found
 */
export function checkSerials(paths: readonly string[], who: Credentials | null): Check {
  const why = "inputs of type serial read them";
  const about = { name: "serial lines", why, needed: paths.length > 0 };
  const present = namesIn("/dev").filter((name) => SERIAL.test(name)).map((name) => `/dev/${name}`);
  const looked = paths.length > 0 ? paths : present;
  if (looked.length === 0) {
    return missing(about, "none", "plug one in; ls /dev/serial/by-id names it then");
  }
  const absent = looked.filter((path) => infoOf(path) === null);
  if (absent.length > 0) {
    const others = present.length > 0 ? `, there are ${present.join(", ")}` : "";
    const remedy = "plug it in; names that stay are in /dev/serial/by-id";
    return missing(about, `${absent.join(", ")} not there${others}`, remedy);
  }
  const closed = looked.filter((path) => !mayUse(infoOf(path)!, Permission.ReadWrite, who));
  if (closed.length === 0) return ok(about, looked.join(", "));
  const group = groupName(infoOf(closed[0]!)?.gid ?? null) ?? "dialout";
  const remedy =
    `usermod -aG ${group} USER and a new login, or SupplementaryGroups=${group} in its ` +
    "systemd unit";
  const found = closed.map((path) => `${path} ${ownerText(infoOf(path)!)}`).join(", ");
  return deny(about, found, remedy);
}

/** Whether files that are followed can be read; one that is not there yet is waited for. */
export function checkFollowed(paths: readonly string[]): Check {
  const about = { name: "files", why: "inputs of type file follow them", needed: true };
  const refused = paths.flatMap((path) => {
    const reason = tryRead(path);
    return reason === "" ? [] : [reason];
  });
  if (refused.length > 0) {
    const remedy = "give the gateway's user the right to read them, often by group adm";
    return missing(about, refused.join("; "), remedy);
  }
  const absent = paths.filter((path) => infoOf(path) === null);
  if (absent.length === 0) return ok(about, paths.join(", "));
  const remedy = "none when another program makes it; else correct its path";
  return limited(about, `${absent.join(", ")} not there yet`, remedy);
}

/** Whether named pipes are there or can be made. */
export function checkPipes(paths: readonly string[], who: Credentials | null): Check {
  const about = { name: "pipes", why: "inputs of type fifo read them", needed: true };
  const refused = paths.flatMap((path) => {
    const info = infoOf(path);
    if (info !== null && !info.isFifo) return [`${path} is no pipe`];
    if (info !== null) {
      return mayUse(info, Permission.ReadWrite, who) ? [] : [`${path} ${ownerText(info)}`];
    }
    const above = infoOf(dirname(path));
    if (above === null) return [`${dirname(path)} is not there`];
    return mayUse(above, Permission.Write, who) ? [] : [`${dirname(path)} ${ownerText(above)}`];
  });
  if (refused.length === 0) return ok(about, paths.join(", "));
  const remedy = "give it to the gateway's user, or name a pipe in a directory of it";
  return missing(about, refused.join("; "), remedy);
}

/** What may not be used is missing where it is needed. */
function deny(about: About, found: string, remedy: string): Check {
  return about.needed ? missing(about, found, remedy) : limited(about, found, remedy);
}

/** Without knowing who we are, the kernel's word at the start is what counts. */
function mayUse(info: Deno.FileInfo, permission: number, who: Credentials | null): boolean {
  return who === null || mayOpen(info, permission, who);
}

/** `belongs to 0:20 with mode 0660` */
function ownerText({ uid, gid, mode }: Deno.FileInfo): string {
  const digits = ((mode ?? 0) & 0o777).toString(8).padStart(4, "0");
  return `belongs to ${uid}:${groupName(gid) ?? gid} with mode ${digits}`;
}

function groupName(gid: number | null): string | null {
  const line = readText("/etc/group")?.split("\n").find((line) => line.split(":")[2] === `${gid}`);
  return line?.split(":")[0] ?? null;
}

/** Empty when a file can be read or is not there, else why not. */
function tryRead(path: string): string {
  const info = infoOf(path);
  if (info !== null && !info.isFile) return `${path} is no file`;
  try {
    Deno.openSync(path).close();
    return "";
  } catch (error) {
    return error instanceof Deno.errors.NotFound ? "" : `${path}: ${(error as Error).message}`;
  }
}
