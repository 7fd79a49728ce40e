/**
 * What the machines of an overlay must remember over a restart: a file for each overlay, replaced as a
 * whole. A file that cannot be read stops the start, as nothing may be assumed of what it said.
 *
 * @module
 */
import { DurableFile } from "../standby/durable_file.ts";
import { makeStateDirectory } from "../state_directory.ts";
import { StateLock } from "./state_lock.ts";

const SUFFIX = ".json";

/** One directory of records, of one daemon at a time. */
export class RecordStore {
  readonly #directory: string;
  readonly #lock: StateLock;

  /**
   * Makes the directory unless it is there.
   *
   * @throws when another daemon has it
   */
  static async open(directory: string): Promise<RecordStore> {
    await makeStateDirectory(directory);
    return new RecordStore(directory, StateLock.take(directory));
  }

  private constructor(directory: string, lock: StateLock) {
    this.#directory = directory;
    this.#lock = lock;
  }

  /** Lets another daemon have it. */
  close(): void {
    this.#lock.release();
  }

  /**
   * All records by their keys.
   *
   * @throws when one is damaged, naming its file
   */
  load(): Map<string, unknown> {
    const records = new Map<string, unknown>();
    for (const { isFile, name } of Deno.readDirSync(this.#directory)) {
      if (!isFile || !name.endsWith(SUFFIX)) continue;
      const path = `${this.#directory}/${name}`;
      try {
        const record: unknown = JSON.parse(Deno.readTextFileSync(path));
        if (typeof record !== "object" || record === null) throw new Error("it is no object");
        records.set(decodeURIComponent(name.slice(0, -SUFFIX.length)), record);
      } catch (error) {
        throw new Error(
          `Cannot use ${path} as it is damaged: ${
            (error as Error).message
          }; put back a backup of ` +
            "it, or move it away and see what is left by fairlead overlay orphans on each box",
        );
      }
    }
    return records;
  }

  /**
   * Is on disk when it returns; null removes it.
   *
   * @throws when the disk does not take it
   */
  write(key: string, record: unknown): void {
    const path = `${this.#directory}/${encodeURIComponent(key)}${SUFFIX}`;
    if (record !== null) return new DurableFile(path).write(record);
    try {
      Deno.removeSync(path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    using directory = Deno.openSync(this.#directory);
    directory.syncSync();
  }
}
