/**
 * Where a file output stands, so that a file can be cut back to it: what was written after the last
 * stored position will come again. A file is known by its inode and the time it was made (device
 * numbers may change when the box starts, inodes are used again), whatever name it has by now.
 * stat(2), statx(2).
 *
 * @module
 */
import { basename, dirname, join } from "node:path";
import { fileInfo } from "../../io/files.ts";

/** What is stored with the numbers of a round. */
export interface FilePosition {
  /** The name that it had. */
  path: string;
  device: number;
  inode: number;
  /** When it was made, ms since 1970; null where the file system does not know. */
  bornMs: number | null;
  /** What is in it up to here was acknowledged. */
  size: number;
}

/** What became of a stored position. */
export interface CutBack {
  /** Where its file is now, which ends there; null when that cannot be told. */
  readonly path: string | null;
  /** Why exactly-once cannot be promised for its last round; empty when all is well. */
  readonly trouble: string;
}

/** Entries of a directory that are looked at. */
const SIBLINGS_MAX = 10_000;

/** A file's position when it has `size`. */
export function positionOf(path: string, info: Deno.FileInfo, size: number): FilePosition {
  const bornMs = info.birthtime?.getTime() ?? null;
  return { path, device: info.dev, inode: info.ino ?? 0, bornMs, size };
}

/** Reads what `JSON.stringify` made of a position; null when it is none. */
export function parsePosition(text: string): FilePosition | null {
  let value: Partial<FilePosition> | null;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== "object" || value === null) return null;
  const { path, device, inode, bornMs, size } = value;
  if (typeof path !== "string" || path === "") return null;
  if (!isCount(device) || !isCount(inode) || !isCount(size)) return null;
  if (bornMs !== null && typeof bornMs !== "number") return null;
  return { path, device, inode, bornMs, size };
}

/** Cuts the file of a stored position back to its size, also when it was moved aside meanwhile. */
export async function cutBack(stored: FilePosition): Promise<CutBack> {
  const path = await findFile(stored);
  if (path === null) {
    return {
      path,
      trouble: `Cannot find the file that was ${stored.path}: messages written to it after byte ` +
        `${stored.size} will be written again`,
    };
  }
  using file = await Deno.open(path, { read: true, write: true });
  const { size } = await file.stat();
  if (size < stored.size) {
    return {
      path: null,
      trouble: `Cannot go on where ${path} ended as others have cut it: current size is ${size} ` +
        `of ${stored.size} bytes`,
    };
  }
  if (size > stored.size) {
    await file.truncate(stored.size);
    await file.sync();
  }
  return { path, trouble: "" };
}

/** By its own name, or that of one moved aside: `NAME.1`, `NAME-20261121`. */
async function findFile(stored: FilePosition): Promise<string | null> {
  const own = await fileInfo(stored.path);
  if (own !== null && isSame(own, stored)) return stored.path;
  const directory = dirname(stored.path);
  const name = basename(stored.path);
  let seen = 0;
  try {
    for await (const entry of Deno.readDir(directory)) {
      if (!entry.isFile || !entry.name.startsWith(name)) continue;
      if (++seen > SIBLINGS_MAX) break;
      const path = join(directory, entry.name);
      const info = await fileInfo(path);
      if (info !== null && isSame(info, stored)) return path;
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error; // the directory itself is gone
  }
  return null;
}

function isSame(info: Deno.FileInfo, stored: FilePosition): boolean {
  if (!info.isFile || info.ino !== stored.inode) return false;
  const bornMs = info.birthtime?.getTime() ?? null;
  if (bornMs === null || stored.bornMs === null) return info.dev === stored.device;
  return bornMs === stored.bornMs;
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
