/**
 * One daemon at a time for a state directory: a second one would replay the journals of the first. flock(2);
 * the kernel lets go of it when the process ends, however it ends.
 *
 * @module
 */

/** The held lock. */
export class StateLock {
  readonly #file: Deno.FsFile;

  /**
   * Takes it.
   *
   * @throws when another daemon has it
   */
  static take(directory: string): StateLock {
    const path = `${directory}/lock`;
    const file = Deno.openSync(path, { write: true, create: true, mode: 0o600 });
    if (isFree(file)) return new StateLock(file);
    file.close();
    throw new Error(
      `Cannot use state directory ${directory} as another daemon does: stop that one, or give another ` +
        'directory as --state or "state"',
    );
  }

  private constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  /** Lets go of it. */
  release(): void {
    this.#file.close();
  }
}

/** A file system that has no locks refuses nobody. */
function isFree(file: Deno.FsFile): boolean {
  try {
    return file.tryLockSync(true);
  } catch {
    return true;
  }
}
