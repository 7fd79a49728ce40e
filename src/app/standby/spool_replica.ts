/**
 * The standby's copy of a spool: a spool.db that is kept equal to the active's by the records of posts
 * (spool_record.ts), so that a gateway which opens it goes on under the same id, with the same
 * streams, numbers, cursors and positions. The rows of a post are one transaction, on the disk
 * before the post is acknowledged.
 *
 *     partly ──snapshot ends──> whole ──post──> whole ──a gateway opens it──> partly
 *       ^                         │ snapshot begins
 *       └─────────────────────────┘
 *
 * A snapshot is laid over what is held (spool_snapshot.ts says why that converges), and what it has
 * not named is deleted at its end. In between the copy has something of both: `whole` is false, also
 * after a crash, as a row says which spool, opened how often, the copy was whole of. A gateway that
 * opens it counts that up, so that its spool is never taken for a copy.
 *
 * Another row says in the same way that all there is was copied: from another box, or to one by a gateway.
 * Without it there may be messages that nobody else has, and then a snapshot gets a new database,
 * and the old one is kept beside it.
 *
 * @module
 */
import type { StatementSync } from "node:sqlite";
import { Database, DatabaseError } from "../../io/database.ts";
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { STREAMS_MAX } from "../../wire/gateway/post.ts";
import { RecordKind } from "../../wire/standby/post.ts";
import {
  NUMBER_MAX,
  readSpoolRecord,
  type SpoolEnvelopeRow,
  type SpoolIdRow,
  type SpoolRow,
  type SpoolStreamRow,
} from "../../wire/standby/spool_record.ts";
import { COMMITS_PER_SHRINK, shrink } from "../spool/commits.ts";
import { finishSalvage, setAsideOf } from "../spool/open_spool.ts";
import { type Spool, SPOOL_SCHEMA } from "../spool/spool.ts";
import { ROW_BYTES, SpoolTables } from "../spool/tables.ts";

/** Rows of the table below: which spool this is a whole copy of, and which one has no other messages. */
const WHOLE = 1;
const COPIED = 2;
const REPLICA_SCHEMA = `${SPOOL_SCHEMA};
  CREATE TABLE IF NOT EXISTS replica (
    id INTEGER PRIMARY KEY, spool TEXT, generation INTEGER);
`;
const TABLES = ["spools", "streams", "cursors", "positions", "envelopes"] as const;

/** A record that has no row. */
interface Mark {
  readonly kind: typeof RecordKind.SnapshotBegin | typeof RecordKind.SnapshotEnd;
}

/** A database that a snapshot did not replace. */
export interface KeptSpool {
  readonly path: string;
  readonly messages: number;
}

/** A gateway's own database: another box has all of it, or (null) not any more. */
export function markCopied(database: Database, spool: Spool | null): void {
  if (spool === null) database.prepare("DELETE FROM replica WHERE id = ?").run(COPIED);
  else mark(database, COPIED, { spool: spool.id, generation: spool.generation(spool.id) });
}

/** A copy of a spool. */
export class SpoolReplica {
  /** Where a damaged database was put that was there before; null when there was none. */
  readonly setAside: string | null;
  #messages = 0;
  #bytes = 0;
  #database: Database;
  #tables: SpoolTables;
  #sql: Statements;
  readonly #onKept: (kept: KeptSpool) => void;
  /** Nobody else may have what is in it. */
  #unique: boolean;
  /** The database is being put aside: posts wait. */
  #keeping: Promise<void> | null = null;
  #waiting: (SpoolRow | Mark)[][] = [];
  /** Records of the present post. */
  #batch: (SpoolRow | Mark)[] = [];
  /** The active's own spool. */
  #own: SpoolIdRow | null = null;
  /** A snapshot has ended, and no other one has begun. */
  #complete = false;
  /** What the present snapshot, or a post meanwhile, has named; null outside of snapshots. */
  #seen: Seen | null = null;
  #trouble: DatabaseError | null = null;
  /** What was written may be lost: only a new start tells what is there. */
  #broken = false;
  #synced: Promise<void> = Promise.resolve();
  #dirty = false;
  #sinceShrink = 0;

  /**
   * Opens or creates the database at `path`. One that is damaged is set aside.
   *
   * @param onKept told when a snapshot came to messages that nobody else may have
   * @throws DatabaseError when the disk refuses
   */
  static async open(
    path: string,
    onKept: (kept: KeptSpool) => void = (): void => {},
  ): Promise<SpoolReplica> {
    await finishSalvage(path);
    try {
      return await SpoolReplica.#openAt(path, null, onKept);
    } catch (error) {
      if (!(error instanceof DatabaseError) || error.trouble !== "damaged") throw error;
      return await SpoolReplica.#openAt(path, await setAsideOf(path), onKept);
    }
  }

  static async #openAt(
    path: string,
    setAside: string | null,
    onKept: (kept: KeptSpool) => void,
  ): Promise<SpoolReplica> {
    const database = await Database.open(path, REPLICA_SCHEMA);
    try {
      let replica: SpoolReplica | null = null;
      database.transaction(() => replica = new SpoolReplica(database, setAside, onKept));
      return replica!;
    } catch (error) {
      database.close();
      throw error;
    }
  }

  private constructor(
    database: Database,
    setAside: string | null,
    onKept: (kept: KeptSpool) => void,
  ) {
    this.setAside = setAside;
    this.#onKept = onKept;
    this.#database = database;
    this.#tables = new SpoolTables(database);
    this.#sql = new Statements(database);
    const own = this.#sql.own.get() as unknown as SpoolKey | undefined;
    if (own !== undefined) this.#own = { kind: RecordKind.Spool, own: true, ...own };
    const isMarked = (row: number): boolean => {
      const of = this.#sql.marked.get(row) as unknown as SpoolKey | undefined;
      return of !== undefined && of.spool === own?.spool && of.generation === own.generation;
    };
    this.#complete = isMarked(WHOLE);
    this.#unique = !this.#complete && !isMarked(COPIED);
    for (const stream of this.#streams()) this.#count(1, stream, 0, NUMBER_MAX);
  }

  /** True when it holds all that the active held at the last post. */
  get whole(): boolean {
    return this.#complete && this.#own !== null && this.#trouble === null;
  }

  /** Id of the active's spool, 32 hex digits; null while it is not known. */
  get spool(): string | null {
    return this.#own?.spool ?? null;
  }

  /** Messages in it. */
  get messages(): number {
    return this.#messages;
  }

  /** Bytes that they take. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Begins a post; what an unfinished one brought is forgotten. */
  begin(): void {
    this.#batch = [];
  }

  /**
   * Takes a record of the post: of a spool, or a snapshot's beginning or end. Its bytes must stay until
   * {@linkcode end}. Returns `end`, or a negated {@linkcode Fault}: the post is then to be refused.
   */
  apply(kind: number, from: Region, at: number, end: number): number {
    if (kind === RecordKind.SnapshotBegin || kind === RecordKind.SnapshotEnd) {
      if (kind === RecordKind.SnapshotEnd && !this.#inSnapshot()) {
        return fail(Fault.State, "SNAPSHOT_END", at, kind, "behind a SNAPSHOT_BEGIN");
      }
      this.#batch.push({ kind });
      return end;
    }
    const row = readSpoolRecord(kind, from, at, end);
    if (typeof row === "number") return row;
    this.#batch.push(row);
    return end;
  }

  /**
   * Writes what the post brought, all of it or nothing; {@linkcode stored} tells what became of it.
   * After a failure only the next snapshot is taken, as something is missing.
   */
  end(): void {
    const batch = this.#batch;
    this.#batch = [];
    const begins = batch.some(({ kind }) => kind === RecordKind.SnapshotBegin);
    if (begins && this.#unique && this.#messages > 0) this.#keeping ??= this.#keep();
    if (this.#keeping === null) this.#writeAll(batch);
    else this.#waiting.push(batch);
  }

  /** Gives what nobody else may have another name, and begins with nothing. */
  async #keep(): Promise<void> {
    const messages = this.#messages;
    const { path } = this.#database;
    try {
      this.#database.close();
      const kept = await setAsideOf(path, "kept");
      this.#database = await Database.open(path, REPLICA_SCHEMA);
      this.#tables = new SpoolTables(this.#database);
      this.#sql = new Statements(this.#database);
      this.#messages = 0;
      this.#bytes = 0;
      this.#own = null;
      this.#complete = false;
      this.#unique = false;
      this.#onKept({ path: kept, messages });
    } catch (error) {
      this.#broken = true;
      this.#trouble = error instanceof DatabaseError
        ? error
        : new DatabaseError(path, error as Error);
    }
    this.#keeping = null;
    for (const batch of this.#waiting.splice(0)) this.#writeAll(batch);
  }

  #writeAll(batch: readonly (SpoolRow | Mark)[]): void {
    const begins = batch.some(({ kind }) => kind === RecordKind.SnapshotBegin);
    if (batch.length === 0 || this.#broken || (this.#trouble !== null && !begins)) return;
    const before = [this.#messages, this.#bytes, this.#own] as const;
    try {
      this.#database.transaction(() => {
        for (const record of batch) this.#write(record);
      });
      this.#trouble = null;
      this.#dirty = true;
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error;
      [this.#messages, this.#bytes, this.#own] = before;
      this.#complete = false;
      this.#trouble = error;
      return;
    }
    if (++this.#sinceShrink < COMMITS_PER_SHRINK) return;
    this.#sinceShrink = 0;
    shrink(this.#database);
  }

  /**
   * Resolves when all posts that ended are on the disk.
   *
   * @throws DatabaseError when they are not: none of them may be acknowledged
   */
  async stored(): Promise<void> {
    await this.#keeping;
    if (this.#trouble !== null) throw this.#trouble;
    if (this.#dirty) {
      this.#dirty = false;
      this.#synced = this.#database.sync();
    }
    try {
      await this.#synced;
    } catch (error) {
      this.#broken = true;
      this.#trouble = error as DatabaseError;
      throw error;
    }
  }

  /**
   * For a takeover from an active that may have given numbers which never came here, to `count`
   * messages at most: none of them will ever name another message. The hub takes the gap, as numbers
   * need only go up. Streams that were made for such messages are passed over in the same way.
   *
   * @throws DatabaseError when the disk refuses
   */
  async skipAhead(count: number): Promise<void> {
    const own = this.#own?.spool;
    if (own === undefined) return;
    this.#database.transaction(() => {
      this.#sql.raise.run(count + 1, own);
      const { id, number } = this.#sql.lastStream.get(own) as unknown as LastStream;
      this.#tables.put({
        kind: RecordKind.SpoolStream,
        stream: id + 1,
        spool: own,
        number: number + Math.min(count, STREAMS_MAX) + 1,
        route: "", // no route feeds it
        lane: 0,
        next: 1,
        clock: 0,
        hubs: "",
      });
    });
    await this.#database.sync();
  }

  /** Ends; a gateway may open the database then. */
  close(): void {
    this.#database.close();
  }

  #inSnapshot(): boolean {
    return this.#seen !== null || this.#batch.some(({ kind }) => kind === RecordKind.SnapshotBegin);
  }

  #write(record: SpoolRow | Mark): void {
    switch (record.kind) {
      case RecordKind.SnapshotBegin:
        this.#seen = new Seen();
        this.#complete = false;
        this.#sql.unmark.run(WHOLE);
        return;
      case RecordKind.SnapshotEnd:
        this.#sweep();
        this.#seen = null;
        this.#complete = true;
        this.#mark();
        return;
      case RecordKind.Spool:
        this.#writeSpool(record);
        return;
      case RecordKind.SpoolStream:
        this.#writeStream(record);
        return;
      case RecordKind.SpoolEnvelope:
        this.#writeEnvelope(record);
        return;
      case RecordKind.SpoolRemoved:
        this.#count(-1, record.stream, record.after, record.number);
        this.#tables.put(record);
        return;
      case RecordKind.SpoolCursor:
        this.#seen?.cursors.add(cursorKey(record.hub, record.stream));
        this.#tables.put(record);
        return;
      case RecordKind.SpoolPosition:
        this.#seen?.positions.add(record.input);
        this.#tables.put(record);
        return;
    }
  }

  /** Another box's spool, or one with a new id: nothing that is held belongs to it. */
  #writeSpool(row: SpoolIdRow): void {
    if (row.own) {
      if (this.#own !== null && this.#own.spool !== row.spool) this.#wipe();
      this.#own = row;
      this.#unique = false;
      mark(this.#database, COPIED, row);
      if (this.#complete) this.#mark();
    }
    this.#seen?.spools.add(row.spool);
    this.#tables.put(row);
  }

  /** A stream that means another one than before begins empty. */
  #writeStream(row: SpoolStreamRow): void {
    const { lane, number, route, spool, stream } = row;
    const held = this.#sql.stream.get(stream) as unknown as HeldStream | undefined;
    const same = held === undefined || (held.spool === spool && held.number === number &&
      held.route === route && held.lane === lane);
    if (!same) this.#removeAll(stream);
    this.#seen?.streams.add(stream);
    this.#tables.put(row);
  }

  #writeEnvelope(row: SpoolEnvelopeRow): void {
    const { number, stream } = row;
    this.#remove(stream, number - 1, number); // it comes twice when a snapshot reads it later
    this.#tables.put(row);
    this.#messages += row.count;
    this.#bytes += row.bytes.length + ROW_BYTES;
  }

  #removeAll(stream: number): void {
    this.#remove(stream, 0, NUMBER_MAX);
  }

  #remove(stream: number, after: number, number: number): void {
    this.#count(-1, stream, after, number);
    this.#tables.put({ kind: RecordKind.SpoolRemoved, stream, after, number });
  }

  #count(sign: 1 | -1, stream: number, after: number, number: number): void {
    const { bytes, messages } = this.#tables.sum(stream, after, number);
    this.#messages += sign * messages;
    this.#bytes += sign * bytes;
  }

  #mark(): void {
    if (this.#own !== null) mark(this.#database, WHOLE, this.#own);
  }

  #wipe(): void {
    for (const table of TABLES) this.#database.prepare(`DELETE FROM ${table}`).run();
    this.#messages = 0;
    this.#bytes = 0;
  }

  /** Deletes what the snapshot has not named. */
  #sweep(): void {
    const { cursors, positions, spools, streams } = this.#seen!;
    for (const stream of this.#streams()) if (!streams.has(stream)) this.#removeAll(stream);
    for (const { id } of this.#all<{ id: number }>("SELECT id FROM streams")) {
      if (!streams.has(id)) this.#delete("streams WHERE id = ?", id);
    }
    for (const { id } of this.#all<{ id: string }>("SELECT id FROM spools")) {
      if (!spools.has(id)) this.#delete("spools WHERE id = ?", id);
    }
    for (const { hub, stream } of this.#all<CursorKey>("SELECT hub, stream FROM cursors")) {
      if (cursors.has(cursorKey(hub, stream))) continue;
      this.#delete("cursors WHERE hub = ? AND stream = ?", hub, stream);
    }
    for (const { input } of this.#all<{ input: string }>("SELECT input FROM positions")) {
      if (!positions.has(input)) this.#delete("positions WHERE input = ?", input);
    }
  }

  /** Streams that have envelopes, each found by a look behind the last one. */
  #streams(): number[] {
    const found: number[] = [];
    for (let last = -1;;) {
      const row = this.#sql.nextStream.get(last) as unknown as { stream: number } | undefined;
      if (row === undefined) return found;
      found.push(last = row.stream);
    }
  }

  #delete(from: string, ...key: (string | number)[]): void {
    this.#database.prepare(`DELETE FROM ${from}`).run(...key);
  }

  #all<T>(sql: string): T[] {
    return this.#database.prepare(sql).all() as unknown as T[];
  }
}

/** Keys of the tables that are small: a spool has them all in memory. */
class Seen {
  readonly spools = new Set<string>();
  readonly streams = new Set<number>();
  readonly cursors = new Set<string>();
  readonly positions = new Set<string>();
}

interface SpoolKey {
  readonly spool: string;
  readonly generation: number;
}

interface HeldStream {
  readonly spool: string;
  readonly number: number;
  readonly route: string;
  readonly lane: number;
}

interface LastStream {
  readonly id: number;
  readonly number: number;
}

interface CursorKey {
  readonly hub: string;
  readonly stream: number;
}

class Statements {
  readonly own: StatementSync;
  readonly marked: StatementSync;
  readonly unmark: StatementSync;
  readonly stream: StatementSync;
  readonly nextStream: StatementSync;
  readonly lastStream: StatementSync;
  readonly raise: StatementSync;

  constructor(database: Database) {
    this.own = database.prepare("SELECT id AS spool, generation FROM spools WHERE own = 1");
    this.marked = database.prepare("SELECT spool, generation FROM replica WHERE id = ?");
    this.unmark = database.prepare("DELETE FROM replica WHERE id = ?");
    this.stream = database.prepare("SELECT spool, number, route, lane FROM streams WHERE id = ?");
    this.nextStream = database.prepare(
      "SELECT stream FROM envelopes WHERE stream > ? ORDER BY stream LIMIT 1",
    );
    this.lastStream = database.prepare(
      "SELECT coalesce((SELECT max(id) FROM streams), 0) AS id, " +
        "coalesce((SELECT max(number) FROM streams WHERE spool = ?), 0) AS number",
    );
    this.raise = database.prepare("UPDATE streams SET next = next + ? WHERE spool = ?");
  }
}

function mark(database: Database, row: number, { generation, spool }: SpoolKey): void {
  database.prepare("INSERT OR REPLACE INTO replica VALUES (?, ?, ?)").run(row, spool, generation);
}

function cursorKey(hub: string, stream: number): string {
  return `${stream} ${hub}`;
}
