/**
 * Ends a wait when something changes at a path: inotify(7) of its directory, and of the one that it
 * leads to, where that works; a poll anyway.
 *
 * @module
 */
import { delay } from "../delay.ts";
import { fileInfo } from "../../io/files.ts";

/** Changes within so long are one: a busy writer makes thousands a second. */
const GATHER_MS = 10;

/** One waiter, for one path. */
export class FileEvents {
  readonly #path: string;
  #watcher: Deno.FsWatcher | null = null;
  #watching: Promise<void> = Promise.resolve();
  /** What is watched, or was. */
  #key = "";
  #changed = false;
  #closed = false;
  #end: () => void = () => {};

  /** @param path of the file */
  constructor(path: string) {
    this.#path = path;
  }

  /**
   * Resolves when something has changed since the last wait, and after `pollMs`.
   *
   * @param base what the path leads to
   */
  async wait(pollMs: number, base: string): Promise<void> {
    try {
      await this.#watch(base);
    } catch {
      // The directory may not be read: the poll does it.
    }
    if (!this.#changed && !this.#closed) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, pollMs);
        this.#end = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#end = () => {};
    }
    this.#changed = false;
  }

  /** Ends the wait, or the next one at once. */
  wake(): void {
    this.#changed = true;
    this.#end();
  }

  /** Gives the watch back. */
  async close(): Promise<void> {
    this.#closed = true;
    this.wake();
    this.#unwatch();
    await this.#watching;
  }

  /** Watches both directories, again after one was made anew. */
  async #watch(base: string): Promise<void> {
    const there: string[] = [];
    let key = nameOf(base);
    for (const path of new Set([directoryOf(this.#path), directoryOf(base)])) {
      const inode = (await fileInfo(path))?.ino ?? null;
      key += `\n${path} ${inode}`;
      if (inode !== null) there.push(path);
    }
    if (key === this.#key || this.#closed) return;
    this.#key = key;
    this.#unwatch();
    if (there.length === 0) return;
    try {
      this.#watcher = Deno.watchFs(there, { recursive: false });
    } catch {
      return; // no inotify here, or its limit is reached: the poll does it
    }
    this.wake(); // what changed while nobody watched
    const pump = this.#pump(this.#watcher, [nameOf(this.#path), nameOf(base)]);
    this.#watching = Promise.all([this.#watching, pump]).then(() => {});
  }

  async #pump(watcher: Deno.FsWatcher, names: string[]): Promise<void> {
    try {
      for await (const { kind, paths } of watcher) {
        if (kind === "access") continue; // our own reading
        if (!paths.some((path) => names.some((name) => nameOf(path).startsWith(name)))) continue;
        this.wake();
        await delay(GATHER_MS);
      }
    } catch {
      // The watch broke: the poll goes on.
    }
  }

  #unwatch(): void {
    try {
      this.#watcher?.close();
    } catch {
      // It ended by itself.
    }
    this.#watcher = null;
  }
}

function directoryOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "." : path.slice(0, slash) || "/";
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
