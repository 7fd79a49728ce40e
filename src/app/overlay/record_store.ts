/**
 * What the machines of an overlay must remember over a restart: a file for each overlay, replaced as a
 * whole. A file that cannot be read stops the start, as nothing may be assumed of what it said.
 *
 * @module
 */
import { DurableFile } from "../standby/durable_file.ts";
import { makeStateDirectory } from "../state_directory.ts";

const SUFFIX = ".json";

/** One directory of records. */
export class RecordStore {
  readonly #directory: string;

  /** Makes the directory unless it is there. */
  static async open(directory: string): Promise<RecordStore> {
    await makeStateDirectory(directory);
    return new RecordStore(directory);
  }

  private constructor(directory: string) {
    this.#directory = directory;
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
      const key = decodeURIComponent(name.slice(0, -SUFFIX.length));
      const record = new DurableFile(`${this.#directory}/${name}`).read();
      if (record !== null) records.set(key, record);
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
