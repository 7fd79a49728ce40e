/**
 * Opens the spool of a box. A database that is damaged is set aside, never deleted: what can still be
 * read of it is copied into a new one, under its old spool id and numbers, so that a hub that has
 * part of it already takes none of that twice; what cannot be read is counted.
 *
 * @module
 */
import { dirname } from "node:path";
import { DamagedDatabase, Database, DatabaseError } from "../../io/database.ts";
import { syncDirectory } from "../../io/files.ts";
import { crc32c } from "../../wire/crc32c.ts";
import { EnvelopeReader, SPOOL_ID_SIZE } from "../../wire/gateway/envelope.ts";
import { regionOf } from "../../mem/region.ts";
import { Reserve } from "./reserve.ts";
import { Spool, SPOOL_SCHEMA, type SpoolOptions, type Written } from "./spool.ts";

/** Streams whose rest was salvaged are fed by no route. */
const SALVAGED_ROUTE = "";
/** What is told of a spool whose generation cannot be read: nothing newer can exist. */
const GENERATION_UNKNOWN: number = 2 ** 40;

/** A spool with its database, and what became of the last one. */
export interface OpenSpool {
  readonly database: Database;
  readonly spool: Spool;
  /** Room for a full disk; null in memory. */
  readonly reserve: Reserve | null;
  /** Set when a damaged database was set aside. */
  readonly salvage: Salvage | null;
}

/** What was saved of a damaged database. */
export interface Salvage {
  /** Why it could not be used. */
  readonly why: string;
  /** Where it is now. */
  readonly setAside: string;
  readonly saved: number;
  /** Messages that are lost; null when not even that can be read. */
  readonly lost: number | null;
}

/**
 * Opens `path`, or a spool in memory when it is null.
 *
 * @throws DatabaseError when the database cannot be used and is not damaged either (disk full,
 * read-only, another process has it)
 */
export async function openSpool(
  path: string | null,
  options: Omit<SpoolOptions, "database">,
): Promise<OpenSpool> {
  const reserve = path === null ? null : new Reserve(`${path}.reserve`);
  try {
    if (path !== null) await finishSalvage(path);
    return await openAt(path, options, reserve);
  } catch (error) {
    if (!(error instanceof DatabaseError) || path === null) throw error;
    if (error.trouble === "full" && await reserve!.release()) {
      return await openSpool(path, options); // there is room now, and no reserve any more
    }
    if (error.trouble !== "damaged") throw error;
    const salvage = await salvageAt(path, error.message);
    return { ...await openAt(path, options, reserve), salvage };
  }
}

async function openAt(
  path: string | null,
  options: Omit<SpoolOptions, "database">,
  reserve: Reserve | null,
): Promise<OpenSpool> {
  const database = await Database.open(path ?? ":memory:", SPOOL_SCHEMA);
  try {
    let spool: Spool | null = null;
    database.transaction(() => spool = new Spool({ ...options, database }));
    storeGeneration(database, spool!);
    await reserve?.make();
    return { database, spool: spool!, reserve, salvage: null };
  } catch (error) {
    database.close();
    throw error;
  }
}

/**
 * Copies what can be read into a new database, and only then gives it the name of the damaged one:
 * when that fails, or the process ends on the way, the next start does it again.
 */
async function salvageAt(path: string, why: string): Promise<Salvage> {
  const made = salvagedName(path);
  await removeDatabase(made);
  const counts = { saved: 0, lost: null as number | null };
  try {
    const database = await Database.open(made, SPOOL_SCHEMA);
    try {
      database.transaction(() => Object.assign(counts, new Salvager(database).save(path)));
      await database.sync();
    } finally {
      database.close();
    }
  } catch (error) {
    await removeDatabase(made); // its room is needed
    throw error;
  }
  const setAside = await setAsideOf(path);
  await finishSalvage(path);
  return { why, setAside, ...counts };
}

/** A salvaged database is whole when there is no other any more. */
export async function finishSalvage(path: string): Promise<void> {
  if (await exists(path) || !await exists(salvagedName(path))) return;
  await Deno.remove(`${path}-wal`).catch(() => {}); // of the damaged one: it would be taken for ours
  await Deno.rename(salvagedName(path), path);
  await syncDirectory(dirname(path));
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

function salvagedName(path: string): string {
  return `${path}.salvaged`;
}

async function removeDatabase(path: string): Promise<void> {
  for (const name of [path, `${path}-wal`]) await Deno.remove(name).catch(() => {}); // mostly none
}

/** A disk that is full takes it later: what is stored can be sent meanwhile. */
function storeGeneration(database: Database, spool: Spool): void {
  try {
    let written: Written | null = null;
    database.transaction(() => written = spool.write());
    spool.committed(written!);
  } catch (error) {
    if (!(error instanceof DatabaseError) || error.trouble === "damaged") throw error;
  }
}

/** Renames a database and its log; returns the new name, which says why and is no other's. */
export async function setAsideOf(path: string, why = "damaged"): Promise<string> {
  const stamp = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, "");
  const name = `${path.replace(/\.db$/, "")}.${why}-${stamp}`;
  let to = `${name}.db`;
  for (let count = 2; await exists(to); count++) to = `${name}-${count}.db`;
  await Deno.rename(path, to);
  await Deno.rename(`${path}-wal`, `${to}-wal`).catch(() => {}); // there may be none
  await Deno.remove(`${path}-shm`).catch(() => {});
  return to;
}

interface Rest {
  readonly id: number;
  readonly spool: string;
  readonly number: number;
  readonly lane: number;
  next: number;
  readonly hubs: string;
  /** The least that a hub has acknowledged; Infinity when no hub has. */
  acknowledged: number;
  saved: number;
}

/** Copies what can be read of a damaged spool into a new one. */
class Salvager {
  readonly #database: Database;
  readonly #rests = new Map<number, Rest>();

  constructor(database: Database) {
    this.#database = database;
  }

  /** Reads the database at `path`; tells how many messages were saved and lost. */
  save(path: string): { saved: number; lost: number | null } {
    const from = new DamagedDatabase(path);
    try {
      const generations = this.#saveSpools(from);
      const streams = "SELECT id, spool, number, lane, next, hubs FROM streams";
      from.each<StreamRow>(streams, ["id"], (row) => {
        this.#rests.set(row.id, { ...row, acknowledged: Infinity, saved: 0 });
      });
      const known = this.#rests.size;
      this.#saveEnvelopes(from);
      this.#saveCursors(from);
      this.#savePositions(from);
      this.#saveStreams(generations);
      const rests = [...this.#rests.values()];
      const lost = rests.reduce((sum, rest) => sum + lostOf(rest), 0);
      return {
        saved: rests.reduce((sum, { saved }) => sum + saved, 0),
        lost: known === 0 ? null : lost,
      };
    } finally {
      from.close();
    }
  }

  #saveSpools(from: DamagedDatabase): Map<string, number> {
    const generations = new Map<string, number>();
    from.each<SpoolRow>("SELECT id, generation FROM spools", ["id"], (row) => {
      generations.set(row.id, row.generation);
    });
    return generations;
  }

  /** Envelopes that are whole; each says itself which stream of which spool it belongs to. */
  #saveEnvelopes(from: DamagedDatabase): void {
    const add = this.#database.prepare("INSERT OR IGNORE INTO envelopes VALUES (?, ?, ?, 0, ?, ?)");
    const reader = new EnvelopeReader();
    const select = "SELECT stream, number, count, crc, envelope FROM envelopes";
    from.each<EnvelopeRow>(select, ["stream", "number"], (row) => {
      const { count, crc, envelope, number } = row;
      if (!(envelope instanceof Uint8Array) || crc32c(envelope) !== crc) return;
      if (reader.open(regionOf(envelope), 0, envelope.length) < 0) return;
      let rest = this.#rests.get(row.stream);
      if (rest === undefined) {
        const spool = envelope.subarray(reader.spoolAt, reader.spoolAt + SPOOL_ID_SIZE).toHex();
        const found = { id: row.stream, spool, number: reader.stream, lane: 0, next: 1, hubs: "" };
        this.#rests.set(row.stream, rest = { ...found, acknowledged: Infinity, saved: 0 });
      }
      if (add.run(row.stream, number, count, crc, envelope).changes === 0) return;
      rest.saved += count;
      rest.next = Math.max(rest.next, number + 1);
    });
  }

  #saveCursors(from: DamagedDatabase): void {
    const add = this.#database.prepare("INSERT OR IGNORE INTO cursors VALUES (?, ?, ?)");
    const select = "SELECT hub, stream, number FROM cursors";
    from.each<CursorRow>(select, ["hub", "stream"], ({ hub, stream, number }) => {
      add.run(hub, stream, number);
      const rest = this.#rests.get(stream);
      if (rest !== undefined) rest.acknowledged = Math.min(rest.acknowledged, number);
    });
  }

  #savePositions(from: DamagedDatabase): void {
    const add = this.#database.prepare("INSERT OR IGNORE INTO positions VALUES (?, ?)");
    const select = "SELECT input, position FROM positions";
    from.each<PositionRow>(select, ["input"], ({ input, position }) => {
      add.run(input, position);
    });
  }

  #saveStreams(generations: Map<string, number>): void {
    const addSpool = this.#database.prepare("INSERT OR IGNORE INTO spools VALUES (?, ?, 0)");
    const addStream = this.#database.prepare("INSERT INTO streams VALUES (?, ?, ?, ?, ?, ?, 0, ?)");
    for (const { id, spool, number, lane, next, hubs } of this.#rests.values()) {
      addSpool.run(spool, (generations.get(spool) ?? GENERATION_UNKNOWN) + 1);
      addStream.run(id, spool, number, SALVAGED_ROUTE, lane, next, hubs);
    }
  }
}

/** What a stream had numbered, less what every hub had and what was saved. */
function lostOf({ acknowledged, next, saved }: Rest): number {
  return Math.max(0, next - 1 - (acknowledged === Infinity ? 0 : acknowledged) - saved);
}

interface SpoolRow {
  id: string;
  generation: number;
}

interface StreamRow {
  id: number;
  spool: string;
  number: number;
  lane: number;
  next: number;
  hubs: string;
}

interface EnvelopeRow {
  stream: number;
  number: number;
  count: number;
  crc: number;
  envelope: Uint8Array<ArrayBuffer>;
}

interface CursorRow {
  hub: string;
  stream: number;
  number: number;
}

interface PositionRow {
  input: string;
  position: string;
}
