/**
 * Checks of `fairlead doctor`: the disk that is written to. The magic numbers of file systems are
 * those of statfs(2), the numbers of devices those of the kernel's admin-guide/devices.txt.
 *
 * @module
 */
import { statfsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { type About, type Check, infoOf, limited, missing, ok } from "./check.ts";
import { bytesText } from "./progress.ts";

const DISK_WANTED_BYTES = 256 * 1024 * 1024;
const DISK_NEEDED_BYTES = 16 * 1024 * 1024;

const FILE_SYSTEMS: ReadonlyMap<number, { name: string; kind: "ram" | "flash" | "network" }> =
  new Map([
    [0x01021994, { name: "tmpfs", kind: "ram" }],
    [0x858458f6, { name: "ramfs", kind: "ram" }],
    [0x72b6, { name: "JFFS2", kind: "flash" }],
    [0x24051905, { name: "UBIFS", kind: "flash" }],
    [0xf2f52010, { name: "F2FS", kind: "flash" }],
    [0x6969, { name: "NFS", kind: "network" }],
    [0xff534d42, { name: "CIFS", kind: "network" }],
    [0xfe534d42, { name: "SMB2", kind: "network" }],
  ]);

/** Block devices: SD cards and eMMC, and the blocks of raw flash. */
const MMC_MAJOR = 179;
const MTD_MAJOR = 31;

/** What statfs(2) and stat(2) tell of a directory's place. */
export interface Place {
  /** Magic number of the file system. */
  readonly type: number;
  readonly freeBytes: number;
  /** The device, as st_dev has it. */
  readonly device: number;
}

/** The place of a directory, or of the nearest one above that is there; null when it is not told. */
export function placeOf(directory: string): Place | null {
  const there = nearest(directory);
  try {
    const { type, bavail, bsize } = statfsSync(there);
    return { type, freeBytes: bavail * bsize, device: Deno.statSync(there).dev };
  } catch {
    return null;
  }
}

/**
 * Whether there is room.
 *
 * @param spoolBytes what a spool there may grow to; 0 for none
 */
export function checkDisk(directory: string, place: Place | null, spoolBytes: number): Check {
  const about = { name: "disk", why: "received files and spools are written here", needed: false };
  if (place === null) {
    return limited(about, `${directory} cannot be looked at`, "allow --allow-read and --allow-sys");
  }
  const { freeBytes } = place;
  const found = `${bytesText(freeBytes)} free in ${directory}`;
  const remedy = "free some, or work in another directory";
  if (freeBytes < DISK_NEEDED_BYTES) return missing(about, found, remedy);
  if (freeBytes < spoolBytes) {
    const short = `${found}, and the spool may grow to ${bytesText(spoolBytes)}`;
    return limited(about, short, `lower spool.bytesMax, or ${remedy}`);
  }
  return freeBytes < DISK_WANTED_BYTES ? limited(about, found, remedy) : ok(about, found);
}

/** Whether what is written there survives a restart, and wears. */
export function checkStorage(directory: string, place: Place | null): Check {
  const why = "a spool must survive a restart, and flash wears by each write";
  const about = { name: "storage", why, needed: false };
  if (place === null) {
    return limited(about, `${directory} cannot be looked at`, "allow --allow-read and --allow-sys");
  }
  const { name, kind } = FILE_SYSTEMS.get(place.type >>> 0) ?? { name: "", kind: "disk" };
  if (kind === "ram") {
    const remedy = 'set "state" to a directory on a disk, or say "spool": {"place": "ram"}';
    return limited(about, `${directory} is in memory (${name}): a restart empties it`, remedy);
  }
  if (kind === "network") {
    const remedy = 'set "state" to a directory on this box';
    return limited(
      about,
      `${directory} is on another box (${name}), gone with its network`,
      remedy,
    );
  }
  const major = Math.floor(place.device / 256) & 0xfff;
  const card = major === MMC_MAJOR ? "an SD card or eMMC" : "";
  const raw = major === MTD_MAJOR ? "raw flash" : "";
  const flash = kind === "flash" ? name : card || raw;
  if (flash === "") return ok(about, `${directory} is on a disk`);
  return ok(about, `${directory} is on flash (${flash}); the status page shows what is written`);
}

/** Whether the state directory can be written to, or made: a file is made there and removed. */
export function checkState(directory: string): Check {
  const why = "spool and positions are kept there";
  const about: About = { name: "state", why, needed: true };
  const there = nearest(directory);
  const found = there === directory ? directory : `${there}, where ${directory} will be made,`;
  try {
    Deno.removeSync(Deno.makeTempFileSync({ dir: there, prefix: ".fairlead-doctor-" }));
    return ok(about, `${found} can be written to`);
  } catch (error) {
    const remedy =
      `make it and give it to the user of the gateway: install -d -o USER ${directory}`;
    return missing(about, `${found} cannot be written to: ${(error as Error).message}`, remedy);
  }
}

/** The directory itself, or the first one above it that is there. */
function nearest(directory: string): string {
  let at = resolve(directory);
  while (infoOf(at) === null && dirname(at) !== at) at = dirname(at);
  return at;
}
