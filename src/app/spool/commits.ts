/**
 * Group commit: what inputs have gathered goes to the disk together, at once when nothing was written
 * lately and else after a short interval, so that a lone message waits for nobody and a flood costs
 * few writes. While one group is being synced the next one gathers.
 *
 * A database that refuses for a while (disk full, read-only) is asked again each second; nothing
 * that was gathered is lost. A disk that fails to sync is another matter: the kernel may have dropped
 * what was written, so the process must end and read what is really there.
 *
 * Where another box keeps a copy, a group is durable when both have it: the copy gets every row of a
 * transaction as soon as that stands, and works while the disk does.
 *
 * @module
 */
import { DatabaseError } from "../../io/database.ts";
import type { Database } from "../../io/database.ts";
import { nowMs } from "../../io/clock.ts";
import type { SpoolRow } from "../../wire/standby/spool_record.ts";
import { delay } from "../delay.ts";
import type { OpenSpool } from "./open_spool.ts";
import type { Reserve } from "./reserve.ts";
import type { Spool, Written } from "./spool.ts";

const RETRY_MS = 1000;
/** On a full disk, so much is given back at once: no more than the log has room for. */
const COMPACT_PAGES = 512;
const COMPACT_STEPS = 64;
/** How often it is looked whether the file is mostly empty, and what is given back then. */
export const COMMITS_PER_SHRINK = 64;
const SHRINK_PAGES = 256;
/** 16 MiB of free pages are kept for the next time. */
const FREE_PAGES_KEPT = 4096;
/** Acknowledgements alone are stored this often: they are not urgent. */
const ACKNOWLEDGED_MS = 1000;

/** Who keeps a copy of a spool on another box. */
export interface SpoolMirror {
  /**
   * Takes what one transaction wrote, before it returns and in the order of the calls; the rows' bytes
   * stay as they are. Resolves when the copy has it, or when nobody waits for the copy any more, within
   * a bounded time; never rejects.
   */
  store(rows: readonly SpoolRow[]): Promise<void>;
}

interface Waiter {
  readonly resolve: () => void;
}

/** Commits a spool. */
export class Commits {
  /** Transactions made. */
  count = 0;
  /** Why nothing is written at present; null when all is well. */
  trouble: DatabaseError | null = null;
  /** Rejects when the database cannot be used any more. */
  readonly failed: Promise<never>;
  readonly #database: Database;
  readonly #spool: Spool;
  readonly #onDurable: () => void;
  readonly #reserve: Reserve | null;
  readonly #mirror: SpoolMirror | null;
  /** Settles when the copy has all that was written. */
  #mirrored: Promise<void> = Promise.resolve();
  #sinceShrink = 0;
  #intervalMs: number;
  #waiters: Waiter[] = [];
  #rooms: Waiter[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #immediate: ReturnType<typeof setImmediate> | undefined;
  #busy = false;
  #dueMs = 0;
  #lastMs = -Infinity;
  #stopped = false;
  #abandoned = false;
  #syncing: Promise<void> = Promise.resolve();
  #fail: (error: Error) => void = () => {};

  /**
   * @param reserve room for a full disk; null in memory
   * @param onDurable called when more is on the disk than before
   * @param mirror keeps a copy, which is to have all that is durable; null when nobody does
   */
  constructor(
    { database, reserve, spool }: OpenSpool,
    intervalMs: number,
    onDurable: () => void,
    mirror: SpoolMirror | null = null,
  ) {
    this.#database = database;
    this.#reserve = reserve;
    this.#spool = spool;
    this.#intervalMs = intervalMs;
    this.#onDurable = onDurable;
    this.#mirror = mirror;
    this.failed = new Promise((_resolve, reject) => this.#fail = reject);
    this.failed.catch(() => {}); // whoever waits for it hears it as well
  }

  /** How long a group gathers. */
  set intervalMs(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  /** Something was gathered. */
  touch(): void {
    if (this.#busy || this.#immediate !== undefined || this.#stopped) return;
    this.#schedule(this.#intervalMs);
  }

  /** Something was acknowledged. */
  touchAcknowledged(): void {
    if (this.#busy || this.#immediate !== undefined || this.#stopped) return;
    this.#schedule(ACKNOWLEDGED_MS);
  }

  /** Resolves when all that was gathered before is on the disk. */
  durable(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiters.push({ resolve });
      this.touch();
    });
  }

  /** Resolves after the next commit, or soon. */
  room(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, this.trouble === null ? 50 : RETRY_MS);
      this.#rooms.push({
        resolve: () => {
          clearTimeout(timer);
          resolve();
        },
      });
    });
  }

  /** Writes what is left, as far as the database takes it; nothing is written after. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
    while (this.#busy) await delay(1);
    if (this.trouble?.trouble === "full") await this.#reserve?.release(); // for the last words
    await this.#commit();
  }

  /** Ends at once: what was not written never will be, and nobody hears that anything was. */
  async abandon(): Promise<void> {
    this.#stopped = true;
    this.#abandoned = true;
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
    await this.#syncing;
  }

  #schedule(intervalMs: number): void {
    const dueMs = this.#lastMs + intervalMs;
    if (this.#timer !== undefined && this.#dueMs <= dueMs) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const wait = dueMs - nowMs();
    if (wait <= 0) {
      this.#immediate = setImmediate(() => {
        this.#immediate = undefined;
        this.#commit();
      });
      return;
    }
    this.#dueMs = dueMs;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#commit();
    }, wait);
  }

  async #commit(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#busy = true;
    this.#lastMs = nowMs();
    const waiters = this.#waiters;
    this.#waiters = [];
    if (!this.#write("all")) {
      this.#waiters = [...waiters, ...this.#waiters];
      this.#busy = false;
      if (!this.#stopped) this.#timer = setTimeout(() => this.#retry(), RETRY_MS);
      this.#dueMs = 0; // and nothing comes before it
      return;
    }
    const numbers = this.#spool.writtenNumbers();
    try {
      const synced = this.#database.sync();
      this.#syncing = synced.catch(() => {}); // told below
      await Promise.all([synced, this.#mirrored]);
    } catch (error) {
      this.#fail(error as Error);
      return; // and stays busy: nothing is written any more
    }
    if (this.#abandoned) return;
    this.#spool.synced(numbers);
    this.#busy = false;
    for (const { resolve } of waiters) resolve();
    for (const { resolve } of this.#rooms.splice(0)) resolve();
    this.#onDurable();
    this.#shrink();
    if (this.#stopped) return;
    if (this.#spool.pending || this.#waiters.length > 0) this.#schedule(this.#intervalMs);
    else if (this.#spool.acknowledged) this.#schedule(ACKNOWLEDGED_MS);
  }

  async #retry(): Promise<void> {
    this.#timer = undefined;
    if (this.#busy || this.#stopped) return;
    if (this.trouble?.trouble === "full") await this.#makeRoom();
    if (!this.#stopped) this.#commit();
  }

  /** On a full disk: forgets what was acknowledged and gives its room back. */
  async #makeRoom(): Promise<void> {
    this.#busy = true;
    await this.#reserve?.release();
    this.#database.compact(0);
    this.#write("acknowledged");
    for (let step = 0; step < COMPACT_STEPS && this.#database.compact(COMPACT_PAGES); step++);
    await this.#reserve?.make();
    this.#busy = false;
  }

  /** After a long backlog the file is mostly empty: its room goes back to the disk, bit by bit. */
  #shrink(): void {
    if (++this.#sinceShrink < COMMITS_PER_SHRINK) return;
    this.#sinceShrink = 0;
    shrink(this.#database);
  }

  /** One transaction; false when the database refuses, and is to be asked again. */
  #write(part: "all" | "acknowledged"): boolean {
    if (part === "all" && this.#reserve?.present === false && !this.#stopped) {
      this.trouble = new DatabaseError(this.#database.path, { message: "disk is full" });
      return false;
    }
    try {
      const rows: SpoolRow[] | null = this.#mirror === null ? null : [];
      let written: Written | null = null;
      this.#database.transaction(() => written = this.#spool.write(part, rows));
      this.#spool.committed(written!);
      if (rows !== null && rows.length > 0) this.#mirrored = this.#mirror!.store(rows);
      this.count++;
      if (part === "all") this.trouble = null;
      return true;
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error;
      this.trouble = error;
      if (error.trouble === "damaged") this.#fail(error);
      return false;
    }
  }
}

/** Gives a little room back to the disk when most of a database is empty. */
export function shrink(database: Database): void {
  const { freePages, pages } = database;
  if (freePages > FREE_PAGES_KEPT && freePages > pages / 2) database.compact(SHRINK_PAGES);
}
