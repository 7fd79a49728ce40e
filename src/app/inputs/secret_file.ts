/**
 * A file with secrets that inputs check their clients against: read when it is opened, and again
 * whenever it has changed, so that a secret can be replaced while the gateway runs.
 *
 * @module
 */
import { createHash, timingSafeEqual } from "node:crypto";

/** Larger ones are no such file. */
const BYTES_MAX = 1024 * 1024;

/** What `parse` made of the file as it is now. */
export class SecretFile<T> {
  /** Why the file as it is now cannot be used; empty when it can. What was read last counts on. */
  trouble = "";
  #value: T;
  #stamp: string;
  readonly #path: string;
  readonly #parse: (text: string, path: string) => T;

  /**
   * Reads the file.
   *
   * @param parse throws when the text cannot be used
   * @throws when the file cannot be read or used
   */
  constructor(path: string, parse: (text: string, path: string) => T) {
    this.#path = path;
    this.#parse = parse;
    this.#stamp = stampOf(path);
    this.#value = parse(read(path), path);
  }

  /** What the file says; looks whether it has changed. */
  get value(): T {
    try {
      const stamp = stampOf(this.#path);
      if (stamp === this.#stamp) return this.#value;
      this.#value = this.#parse(read(this.#path), this.#path);
      this.#stamp = stamp;
      this.trouble = "";
    } catch (error) {
      this.trouble = (error as Error).message;
    }
    return this.#value;
  }
}

/** Compares without telling by its time where two secrets differ, or how long they are. */
export function sameSecret(left: Uint8Array, right: Uint8Array): boolean {
  return timingSafeEqual(digest(left), digest(right));
}

function digest(bytes: Uint8Array): Uint8Array {
  return createHash("sha256").update(bytes).digest();
}

/** Changes with every write and every rename onto it. */
function stampOf(path: string): string {
  try {
    const { ctime, ino, mtime, size } = Deno.statSync(path);
    return [ino, size, mtime?.getTime(), ctime?.getTime()].join(" ");
  } catch (error) {
    throw unreadable(path, error as Error);
  }
}

function read(path: string): string {
  try {
    const { isFile, size } = Deno.statSync(path);
    if (!isFile || size > BYTES_MAX) throw new Error("it must be a file of 1 MiB or less");
    return Deno.readTextFileSync(path);
  } catch (error) {
    throw unreadable(path, error as Error);
  }
}

function unreadable(path: string, error: Error): Error {
  return new Error(
    `Cannot read ${path}: ${error.message}; give a file that this user (uid ${Deno.uid()}) may read`,
  );
}
