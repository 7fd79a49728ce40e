/**
 * Old files of an output: NAME is moved to NAME.1, NAME.1 to NAME.2, and so on, as rename(2) does:
 * each step whole or not at all. A crash between two of them leaves a gap in the numbers, which the
 * next rotation fills; no file is ever overwritten.
 *
 * @module
 */
import { basename, dirname } from "node:path";
import { fileInfo, syncDirectory } from "../../io/files.ts";

/** Moves `path` aside, or removes it when none is kept; of what was moved before, the oldest goes when `keep` are there already. */
export async function moveAside(path: string, keep: number): Promise<void> {
  if (keep === 0) {
    await Deno.remove(path);
    return;
  }
  let free = 1;
  while (free <= keep && await fileInfo(`${path}.${free}`) !== null) free++;
  if (free > keep) {
    free = keep;
    await Deno.remove(`${path}.${free}`);
  }
  for (; free > 1; free--) await Deno.rename(`${path}.${free - 1}`, `${path}.${free}`);
  await Deno.rename(path, `${path}.1`);
  await syncDirectory(dirname(path));
}

/** Paths that outputs of this process write to. */
const claimed = new Set<string>();

/**
 * Takes a path for one output; {@linkcode release} gives it back.
 *
 * @throws when another one has it, or would move its own files there
 */
export function claim(path: string): void {
  for (const other of claimed) {
    if (other !== path && !isOldOf(path, other) && !isOldOf(other, path)) continue;
    throw new Error(
      `Cannot write to ${path} as another output writes to ${other}: give each a file of its own, ` +
        `none of them named like an old ${basename(other)}`,
    );
  }
  claimed.add(path);
}

/** The path is free for another output. */
export function release(path: string): void {
  claimed.delete(path);
}

function isOldOf(path: string, current: string): boolean {
  return path.startsWith(`${current}.`) && /^[0-9]+$/.test(path.slice(current.length + 1));
}
