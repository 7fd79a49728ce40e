/**
 * What rotation makes of a log: `path`, `path.1`, `path.2`, … (a larger number is older) or
 * `path-20261121`, … (a smaller one is older), as logrotate(8) names them. Only their names order
 * them, no clock does: clocks jump.
 *
 * @module
 */
import { fileInfo } from "../../io/files.ts";

/** Siblings that are looked at; a directory with more has the rest ignored. */
const SIBLINGS_MAX = 1000;
/** A directory that changes all the time is taken as it is seen then. */
const LOOKS_MAX = 8;
/** A number of more digits is a date. */
const COUNTER_DIGITS_MAX = 3;

const ROTATED = /^[.\-_]\d[\d.\-_T:+]*$/;
const COMPRESSED = /\.(gz|bz2|xz|zst|lz4|Z)$/;

/** A file beside the followed one, whose name begins as its. */
export interface Sibling {
  path: string;
  info: Deno.FileInfo;
  /** What its name has more. */
  suffix: string;
}

/** One look at all generations. */
export interface Generations {
  /** What the path leads to; null when nothing is there. */
  live: Deno.FileInfo | null;
  siblings: Sibling[];
}

/**
 * What is at `path` and beside `base`. Rotation renames several files one after the other, so it is
 * looked at until it was the same twice.
 */
export async function generations(path: string, base: string): Promise<Generations> {
  let before = "";
  for (let looks = 1;; looks++) {
    const live = await fileInfo(path);
    const found = await siblings(base);
    const names = found.map((sibling) => `${sibling.path} ${sibling.info.ino}`).sort();
    const seen = [live?.ino, ...names].join("\n");
    if (seen === before || looks === LOOKS_MAX) return { live, siblings: found };
    before = seen;
  }
}

/** All regular files in the directory of `base` whose names begin with its name and are longer. */
async function siblings(base: string): Promise<Sibling[]> {
  const slash = base.lastIndexOf("/");
  const directory = slash < 0 ? "." : base.slice(0, slash) || "/";
  const name = base.slice(slash + 1);
  const found: Sibling[] = [];
  try {
    for await (const entry of Deno.readDir(directory)) {
      if (!entry.name.startsWith(name) || entry.name === name) continue;
      const path = `${directory === "/" ? "" : directory}/${entry.name}`;
      const info = await fileInfo(path);
      if (info === null || !info.isFile) continue;
      found.push({ path, info, suffix: entry.name.slice(name.length) });
      if (found.length === SIBLINGS_MAX) break;
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return found;
}

/** Those that rotation named, oldest first; compressed ones are none. */
export function rotated(found: readonly Sibling[]): Sibling[] {
  return found.filter(({ suffix }) => ROTATED.test(suffix)).sort(byAge);
}

/** How many compressed ones have changed after `sinceMs`; compressors keep the time. */
export function compressedSince(found: readonly Sibling[], sinceMs: number): number {
  return found.filter(({ suffix, info }) =>
    COMPRESSED.test(suffix) && ROTATED.test(suffix.replace(COMPRESSED, "")) &&
    modifiedMs(info) > sinceMs
  ).length;
}

/** Time of the last change; 0 where the file system keeps none. */
export function modifiedMs(info: Deno.FileInfo): number {
  return info.mtime?.getTime() ?? 0;
}

function byAge(a: Sibling, b: Sibling): number {
  const counterA = isCounter(a.suffix);
  if (counterA !== isCounter(b.suffix)) return modifiedMs(a.info) - modifiedMs(b.info);
  const order = a.suffix.localeCompare(b.suffix, "en", { numeric: true });
  return counterA ? -order : order;
}

function isCounter(suffix: string): boolean {
  return suffix.length <= 1 + COUNTER_DIGITS_MAX;
}
