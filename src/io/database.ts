/**
 * A SQLite database for what must survive power loss, without waiting for the disk in the loop: a
 * commit writes the log (WAL, synchronous=NORMAL: no fsync), and `sync()` waits for an fdatasync of
 * that log on another thread. What was committed before `sync()` was called is then as durable as
 * with synchronous=FULL (sqlite.org "Write-Ahead Logging", "Performance Considerations").
 *
 * The database is opened exclusively: a second process is refused at once, and no shared-memory file
 * is needed. Closing the extra descriptor of the log drops no lock, as SQLite locks other files.
 *
 * @module
 */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { dirname } from "node:path";
import { syncDirectory } from "./files.ts";

/** Pages of the log after which it is written back: 4 MiB. */
const CHECKPOINT_PAGES = 1024;
/** A look at the log's length takes 3 us. */
const COMMITS_BETWEEN_LOOKS = 16;
/** Messages are in it; the log gets the same mode. */
const OWNER_ONLY = 0o600;
const PAGE_SIZE = 4096;
/** How long a starting process waits for one that is ending. */
const BUSY_MS = 2000;

/** What is wrong with a database. */
export type DatabaseTrouble = "full" | "read-only" | "damaged" | "busy" | "missing" | "failed";

/** A database that cannot do what was asked; the process goes on. */
export class DatabaseError extends Error {
  override name = "DatabaseError";
  readonly trouble: DatabaseTrouble;

  /** @param path of the database; a message of its own when `cause` is no error of SQLite */
  constructor(path: string, cause: { readonly message: string }) {
    const trouble = troubleOf(cause.message);
    super(`Cannot use database ${path}: ${cause.message}${remedyOf(trouble, path)}`, { cause });
    this.trouble = trouble;
  }
}

/** An open database. */
export class Database {
  /** The file, or `:memory:`. */
  readonly path: string;
  readonly #database: DatabaseSync;
  readonly #log: Deno.FsFile | null;
  #commits = 0;
  #closed = false;

  /**
   * Opens or creates it, with the tables of `schema` (CREATE TABLE IF NOT EXISTS …).
   *
   * @throws DatabaseError
   */
  static async open(path: string, schema: string): Promise<Database> {
    try {
      if (path !== ":memory:") {
        const database = new Database(path, schema);
        await syncDirectory(dirname(path)); // the files' own names survive too
        return database;
      }
      return new Database(path, schema);
    } catch (error) {
      throw error instanceof DatabaseError ? error : new DatabaseError(path, error as Error);
    }
  }

  private constructor(path: string, schema: string) {
    this.path = path;
    this.#database = new DatabaseSync(path);
    try {
      if (path !== ":memory:") Deno.chmodSync(path, OWNER_ONLY);
      this.#database.exec(
        `PRAGMA busy_timeout=${BUSY_MS}; PRAGMA page_size=${PAGE_SIZE}; ` +
          "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; " +
          `PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit=${
            CHECKPOINT_PAGES * PAGE_SIZE
          }; ` +
          `BEGIN IMMEDIATE; ${schema}; COMMIT`,
      );
      this.#log = path === ":memory:" ? null : Deno.openSync(`${path}-wal`, {
        write: true,
        create: true,
      });
    } catch (error) {
      this.#database.close();
      throw error;
    }
  }

  /** A statement to be used many times. */
  prepare(sql: string): StatementSync {
    return this.#database.prepare(sql);
  }

  /**
   * Runs `work` as one transaction: all of it or nothing.
   *
   * @throws DatabaseError when the database refuses; whatever else `work` throws
   */
  transaction(work: () => void): void {
    try {
      this.#database.exec("BEGIN IMMEDIATE");
      work();
      this.#database.exec("COMMIT");
    } catch (error) {
      this.#rollback();
      throw this.#told(error as Error);
    }
    if (++this.#commits % COMMITS_BETWEEN_LOOKS === 0) this.#checkpoint(false);
  }

  /**
   * Resolves when everything committed before the call is on the disk.
   *
   * @throws DatabaseError when the disk refuses: what was committed may be lost
   */
  async sync(): Promise<void> {
    try {
      await this.#log?.syncData();
    } catch (error) {
      throw new DatabaseError(this.path, error as Error);
    }
  }

  /**
   * Gives room that is not used any more back to the disk, so many pages at most, and cuts the log.
   * Returns true when there is more to give back.
   */
  compact(pages: number): boolean {
    this.#checkpoint(true);
    try {
      this.#database.exec(`PRAGMA incremental_vacuum(${pages})`);
    } catch {
      return false; // a disk so full that not even this can be written to the log
    }
    this.#checkpoint(true);
    return this.freePages > 0;
  }

  /** Pages of the file that hold nothing. */
  get freePages(): number {
    return this.#pragma("freelist_count");
  }

  /** Pages of the file. */
  get pages(): number {
    return this.#pragma("page_count");
  }

  /** Writes everything back and ends. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#log?.close();
    this.#database.close();
  }

  #pragma(name: string): number {
    const row = this.#database.prepare(`PRAGMA ${name}`).get() as Record<string, number>;
    return row[name] ?? 0;
  }

  #rollback(): void {
    try {
      this.#database.exec("ROLLBACK");
    } catch {
      // SQLite has rolled back itself, as it does when the disk is full
    }
  }

  #told(error: Error): Error {
    const { code } = error as Error & { code?: string };
    return code === "ERR_SQLITE_ERROR" ? new DatabaseError(this.path, error) : error;
  }

  /** Writes the log back when it is long, or when `cut`. */
  #checkpoint(cut: boolean): void {
    try {
      if (!cut && this.#checkpointed("NOOP") < CHECKPOINT_PAGES) return;
      this.#checkpointed(cut ? "TRUNCATE" : "RESTART");
    } catch {
      // A full disk: the log stays as it is, and is tried again.
    }
  }

  /** Runs a checkpoint; returns how many pages the log has. */
  #checkpointed(mode: "NOOP" | "RESTART" | "TRUNCATE"): number {
    const row = this.#database.prepare(`PRAGMA wal_checkpoint(${mode})`).get();
    return (row as unknown as { log: number }).log;
  }
}

/** A database that is damaged: reads what it can. */
export class DamagedDatabase {
  readonly #database: DatabaseSync | null;

  /** Opens it with what it needs no more; a file that is no database at all has no rows. */
  constructor(path: string) {
    this.#database = null;
    try {
      this.#database = new DatabaseSync(path);
    } catch {
      // nothing can be read
    }
  }

  /**
   * Calls `take` with each row that can be read: from the front as far as it goes, and from the back,
   * as an iterator that meets a damaged page ends without a word. Rows come twice.
   *
   * @param select without ORDER BY
   * @param key columns of the table's primary key
   */
  each<T>(select: string, key: readonly string[], take: (row: T) => void): void {
    this.#read(`${select} ORDER BY ${key.join(", ")}`, take);
    this.#read(`${select} ORDER BY ${key.map((column) => `${column} DESC`).join(", ")}`, take);
  }

  /** Closes it. */
  close(): void {
    this.#database?.close();
  }

  #read<T>(sql: string, take: (row: T) => void): void {
    if (this.#database === null) return;
    let rows: Iterator<unknown>;
    try {
      rows = this.#database.prepare(sql).iterate();
    } catch {
      return;
    }
    for (;;) {
      let next: IteratorResult<unknown>;
      try {
        next = rows.next();
      } catch {
        return;
      }
      if (next.done) return;
      take(next.value as T);
    }
  }
}

function troubleOf(text: string): DatabaseTrouble {
  if (/disk is full|no space left/i.test(text)) return "full";
  if (/readonly database|read-only file system/i.test(text)) return "read-only";
  if (/malformed|not a database|corrupt/i.test(text)) return "damaged";
  if (/database is locked|busy/i.test(text)) return "busy";
  if (/unable to open/i.test(text)) return "missing";
  return "failed";
}

function remedyOf(trouble: DatabaseTrouble, path: string): string {
  switch (trouble) {
    case "full":
      return `; free some space in ${dirname(path)}`;
    case "read-only":
      return "; make its file system writable (mount -o remount,rw) and look at dmesg for the cause";
    case "missing":
      return `; the directory ${
        dirname(path)
      } must be there and this user must be able to write it`;
    case "busy":
      return "; another process uses it: end that one, or give this one another directory";
    default:
      return "";
  }
}
