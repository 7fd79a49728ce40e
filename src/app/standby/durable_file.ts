/**
 * A small file of JSON that survives whatever happens: it is written beside, synced and renamed, and the
 * directory is synced. What it says is what was said last, or before: never a half. rename(2), fsync(2).
 *
 * @module
 */

/** One such file. */
export class DurableFile {
  readonly #path: string;

  /** @param path in a directory that is there */
  constructor(path: string) {
    this.#path = path;
  }

  /**
   * What it says; null when it is not there.
   *
   * @throws when it cannot be read, or is no JSON: nothing may be assumed of what it said
   */
  read(): unknown {
    let text: string;
    try {
      text = Deno.readTextFileSync(this.#path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return null;
      throw new Error(`Cannot read ${this.#path}: ${(error as Error).message}`);
    }
    let value: unknown = null;
    try {
      value = JSON.parse(text);
    } catch {
      // told below
    }
    if (typeof value === "object" && value !== null) return value;
    throw new Error(
      `Cannot use ${this.#path} as it is damaged: put back a backup of it, or move it aside when ` +
        "the other box and the witness are sure to know the last term",
    );
  }

  /**
   * Says something else from now on.
   *
   * @throws when the disk does not take it
   */
  write(value: unknown): void {
    const beside = `${this.#path}.new`;
    const bytes = new TextEncoder().encode(`${JSON.stringify(value)}\n`);
    {
      using file = Deno.openSync(beside, {
        write: true,
        create: true,
        truncate: true,
        mode: 0o600,
      });
      for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
      file.syncSync();
    }
    Deno.renameSync(beside, this.#path);
    using directory = Deno.openSync(this.#path.slice(0, this.#path.lastIndexOf("/")) || "/");
    directory.syncSync();
  }
}
