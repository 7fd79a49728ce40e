/**
 * Takes in the files that `fairlead send --file` sends: each grows as NAME.part and gets its name
 * when its size and CRC-32C are proven. The sender's name for it is never trusted.
 *
 * @module
 */
import { arena } from "../mem/arena.ts";
import type { Batch } from "../proto/msgr2/batch.ts";
import type { Session } from "../proto/msgr2/session.ts";
import { crc32cRaw } from "../wire/crc32c.ts";
import type { FileEnd, FileHead } from "./message_types.ts";

const NAME_LENGTH_MAX = 200;
const decoder = new TextDecoder("utf-8", { fatal: true });

interface Partial {
  readonly file: Deno.FsFile;
  readonly path: string;
  readonly partPath: string;
  size: number;
  /** Ceph's convention: starts from all ones, inverted at the end. */
  crc: number;
}

/** Files under way, one a session. */
export class FileIntake {
  readonly #output: string;
  readonly #isDirectory: boolean;
  readonly #partials = new Map<Session, Partial>();

  /** @param output a file; or a directory, which exists or is written with a slash at its end */
  constructor(output: string) {
    this.#output = output;
    this.#isDirectory = output.endsWith("/") || isDirectory(output);
    if (this.#isDirectory) Deno.mkdirSync(output, { recursive: true });
  }

  /** FILE_HEAD: opens the partial file. Throws when it cannot be. */
  begin(session: Session, head: Uint8Array): void {
    this.drop(session);
    const { name } = parse<FileHead>(head, "FILE_HEAD");
    const path = this.#isDirectory
      ? `${this.#output.replace(/\/*$/, "/")}${safeName(name)}`
      : this.#output;
    const partPath = `${path}.part`;
    for (const other of this.#partials.values()) {
      if (other.path === path || other.path === partPath || other.partPath === path) {
        throw new Error(`Cannot take ${path} as another session is sending it right now`);
      }
    }
    removeIfThere(partPath); // a link there is removed, not followed
    const file = Deno.openSync(partPath, { write: true, createNew: true });
    this.#partials.set(session, { file, path, partPath, size: 0, crc: -1 });
  }

  /** FILE_DATA: appends message `index` of the batch. */
  data(session: Session, batch: Batch, index: number): void {
    const partial = this.#partial(session);
    const at = batch.dataAt(index);
    const end = at + batch.dataBytes(index);
    partial.crc = crc32cRaw(partial.crc, arena.bytes, at, end);
    partial.size += end - at;
    const bytes = batch.data(index);
    for (let done = 0; done < bytes.length;) done += partial.file.writeSync(bytes.subarray(done));
  }

  /** FILE_END: checks, and gives the file its name; says whether another one had it. */
  end(session: Session, end: Uint8Array): { path: string; size: number; replaced: boolean } {
    const partial = this.#partial(session);
    const { size, crc32c } = parse<FileEnd>(end, "FILE_END");
    const crc = ~partial.crc >>> 0;
    if (partial.size !== size || crc !== crc32c) {
      throw new Error(
        `Cannot take ${partial.path} as it must have ${size} bytes with crc32c ${crc32c}: it has ` +
          `${partial.size} with ${crc}, kept as ${partial.partPath}`,
      );
    }
    partial.file.syncSync();
    this.drop(session);
    const replaced = isThere(partial.path);
    Deno.renameSync(partial.partPath, partial.path);
    return { path: partial.path, size, replaced };
  }

  /** The session is over: what there is of its file stays as NAME.part. */
  drop(session: Session): string | null {
    const partial = this.#partials.get(session);
    if (partial === undefined) return null;
    this.#partials.delete(session);
    partial.file.close();
    return partial.partPath;
  }

  /** Closes every partial file. */
  close(): void {
    for (const session of [...this.#partials.keys()]) this.drop(session);
  }

  #partial(session: Session): Partial {
    const partial = this.#partials.get(session);
    if (partial !== undefined) return partial;
    throw new Error("Cannot take file as its FILE_HEAD is missing: send it again from the start");
  }
}

/** A name without directories, control characters and leading dots. */
export function safeName(name: unknown): string {
  const text = typeof name === "string" ? name : "";
  const last = text.split(/[/\\]/).filter((part) => part !== "").at(-1) ?? "";
  // deno-lint-ignore no-control-regex -- these are the ones that must not get through
  const clean = last.replace(/[\x00-\x1f\x7f]/g, "_").replace(/^\.+/, "").trim();
  return [...clean].slice(0, NAME_LENGTH_MAX / 4).join("") || "file";
}

function parse<T>(bytes: Uint8Array, what: string): T {
  try {
    const value = JSON.parse(decoder.decode(bytes));
    if (typeof value === "object" && value !== null) return value;
  } catch {
    // the same answer as for any other wrong value
  }
  throw new Error(`Cannot take file as ${what} must be a JSON object`);
}

function isDirectory(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}

function isThere(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
