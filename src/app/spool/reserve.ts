/**
 * A file that does nothing but take some room, so that there is some when the disk is full: SQLite
 * needs room for its log even to delete, and a spool that has filled its disk must be able to get
 * smaller, also when it was started again meanwhile. Nothing new is written while it is not there.
 *
 * @module
 */

/** As much as the log of the database takes. */
const RESERVE_BYTES = 4 * 1024 * 1024;
const BLOCK_BYTES = 64 * 1024;

/** The file. */
export class Reserve {
  /** It takes its room. */
  present = false;
  readonly #path: string;

  /** @param path beside the database */
  constructor(path: string) {
    this.#path = path;
  }

  /** Makes it, unless it is there; a disk that is too full for it is left alone. */
  async make(): Promise<void> {
    const there = await Deno.stat(this.#path).catch(() => null);
    this.present = there !== null && there.size >= RESERVE_BYTES;
    if (this.present) return;
    try {
      using file = await Deno.open(this.#path, { write: true, create: true });
      const block = new Uint8Array(BLOCK_BYTES);
      for (let at = 0; at < RESERVE_BYTES;) {
        at += await file.write(block.subarray(0, Math.min(BLOCK_BYTES, RESERVE_BYTES - at)));
      }
      this.present = true;
    } catch {
      await this.release();
    }
  }

  /** Gives its room to others; false when there was none. */
  async release(): Promise<boolean> {
    this.present = false;
    try {
      await Deno.remove(this.#path);
      return true;
    } catch {
      return false;
    }
  }
}
