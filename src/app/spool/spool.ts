/**
 * Where messages wait until every hub that should have them has acknowledged them: tables in a SQLite
 * database, on disk or in memory. An envelope is a row; its number is that of its last message.
 * Messages are gathered in memory (stream.ts) and written by `write()`, within a transaction of
 * whoever owns the database, so that an input's position, or a hub's last numbers, are stored with
 * them; `committed()` and `synced()` tell how far that has come. Only what is on the disk is sent: a
 * number that a hub has seen never names another message after a crash.
 *
 * Ages are in running time, which no jump of the clock changes: time switched off does not count.
 *
 * @module
 */
import type { StatementSync } from "node:sqlite";
import type { Database } from "../../io/database.ts";
import { crc32c } from "../../wire/crc32c.ts";
import { RecordKind } from "../../wire/standby/post.ts";
import { NUMBER_MAX, type SpoolRow } from "../../wire/standby/spool_record.ts";
import { RunningClock } from "../clock_watch.ts";
import { type Hole, Stream } from "./stream.ts";
import { ROW_BYTES, SpoolTables } from "./tables.ts";

/** Tables of a spool; positions are those of inputs that can go on where they were. */
export const SPOOL_SCHEMA = `
  CREATE TABLE IF NOT EXISTS spools (
    id TEXT PRIMARY KEY, generation INTEGER, own INTEGER) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS streams (
    id INTEGER PRIMARY KEY, spool TEXT, number INTEGER, route TEXT, lane INTEGER, next INTEGER,
    clock INTEGER, hubs TEXT);
  CREATE TABLE IF NOT EXISTS cursors (
    hub TEXT, stream INTEGER, number INTEGER, PRIMARY KEY (hub, stream)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS positions (
    input TEXT PRIMARY KEY, position TEXT) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS envelopes (
    stream INTEGER, number INTEGER, count INTEGER, at INTEGER, crc INTEGER, envelope BLOB,
    PRIMARY KEY (stream, number)) WITHOUT ROWID;
`;

/** What happens to messages when there is no room. */
export type WhenFull = "block" | "drop-oldest" | "drop-newest";

/** How a {@linkcode Spool} is made. */
export interface SpoolOptions {
  readonly database: Database;
  /** The gateway's name, written into every envelope. */
  readonly gateway: string;
  /** A new id: 16 random bytes. */
  randomId(): Uint8Array;
  /** Running time in ms. */
  nowMs(): number;
  readonly bytesMax: number;
  /** 0: no limit. */
  readonly ageMaxMs: number;
  readonly whenFull: WhenFull;
  /** Give what is stored a new id and new numbers. */
  readonly renew: boolean;
}

/** An envelope as it is stored. */
export interface Stored {
  readonly envelope: Uint8Array<ArrayBuffer>;
  readonly number: number;
  readonly count: number;
}

/** Gathered and not written yet: more is not taken. */
const PENDING_BYTES_MAX = 8 * 1024 * 1024;
/** Envelopes of a stream that one write drops for their age. */
const DROPS_PER_WRITE = 256;
const encoder = new TextEncoder();

/** The spool. */
export class Spool {
  /** Our id, 32 hex digits. */
  readonly id: string;
  #committed = 0;
  #dropped = 0;
  #lost = 0;
  #bytes = 0;
  #messages = 0;
  readonly #database: Database;
  readonly #options: SpoolOptions;
  readonly #gateway: Uint8Array;
  readonly #streams: Stream[] = [];
  readonly #byKey = new Map<string, Stream>();
  readonly #generations = new Map<string, number>();
  readonly #positions = new Map<string, string>();
  readonly #positionsMoved = new Set<string>();
  readonly #sql: Statements;
  readonly #tables: SpoolTables;
  readonly #clock: RunningClock;
  #bytesMax: number;
  #ageMaxMs: number;
  #whenFull: WhenFull;
  #pendingBytes = 0;
  /** That it was opened is stored: on a full disk later. */
  #opened = false;
  #importanceOf: (stream: Stream) => number = () => 0;

  /** Reads what is there; only `renew` writes. Run it within a transaction. */
  constructor(options: SpoolOptions) {
    const { database, gateway } = options;
    this.#database = database;
    this.#options = options;
    this.#gateway = encoder.encode(gateway);
    this.#bytesMax = options.bytesMax;
    this.#ageMaxMs = options.ageMaxMs;
    this.#whenFull = options.whenFull;
    this.#sql = new Statements(database);
    this.#tables = new SpoolTables(database);
    if (options.renew) this.#renew();
    this.id = this.#readSpools();
    this.#clock = new RunningClock(this.#readStreams(), options.nowMs);
    for (const row of rows<PositionRow>(database, "SELECT input, position FROM positions")) {
      this.#positions.set(row.input, row.position);
    }
  }

  /** Messages written since the start. */
  get committedMessages(): number {
    return this.#committed;
  }

  /** Messages dropped to keep a bound. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Messages lost to damage. */
  get lost(): number {
    return this.#lost;
  }

  /** Messages stored. */
  get messages(): number {
    return this.#messages;
  }

  /** Bytes that they take. */
  get bytes(): number {
    return this.#bytes;
  }

  /** All streams, in the order they were made. */
  get streams(): readonly Stream[] {
    return this.#streams;
  }

  /** How many times the spool of that id was opened. */
  generation(spool: string): number {
    return this.#generations.get(spool) ?? 0;
  }

  /** True when a message would be refused. */
  get full(): boolean {
    if (this.#pendingBytes >= PENDING_BYTES_MAX) return true;
    return this.#whenFull !== "drop-oldest" && this.#bytes + this.#pendingBytes >= this.#bytesMax;
  }

  /** True when what is stored has reached its bound, whatever waits to be written. */
  get stuffed(): boolean {
    return this.#bytes >= this.#bytesMax;
  }

  /** True when a refused message should be offered again, false when it is lost. */
  get waits(): boolean {
    return this.#whenFull !== "drop-newest";
  }

  /** True when something waits to be written. */
  get pending(): boolean {
    return this.#pendingBytes > 0 || this.#positionsMoved.size > 0 || !this.#opened;
  }

  /** Bounds that may change while it runs. */
  setBounds(bytesMax: number, ageMaxMs: number, whenFull: WhenFull): void {
    this.#bytesMax = bytesMax;
    this.#ageMaxMs = ageMaxMs;
    this.#whenFull = whenFull;
  }

  /** Says how important a stream is: of the least important the oldest are dropped first. */
  set importanceOf(importanceOf: (stream: Stream) => number) {
    this.#importanceOf = importanceOf;
  }

  /** The stream of a route and lane, made when it is first asked for; `hubs` are to have it. */
  stream(route: string, lane: number, hubs: readonly string[]): Stream {
    const key = keyOf(route, lane);
    let stream = this.#byKey.get(key);
    if (stream === undefined) {
      const own = this.#streams.filter(({ spool }) => spool === this.id);
      const number = own.reduce((last, { number }) => Math.max(last, number), 0) + 1;
      const id = this.#streams.reduce((last, { id }) => Math.max(last, id), 0) + 1;
      const made = { id, spool: this.id, number, route, lane, next: 1, hubs };
      stream = new Stream(made, this.#gateway);
      this.#streams.push(stream);
      this.#byKey.set(key, stream);
    }
    stream.hubs = hubs;
    return stream;
  }

  /** Gathers a message; false when there is no room. */
  append(
    stream: Stream,
    arrivalMs: number,
    topic: Uint8Array,
    contentType: Uint8Array,
    payload: Uint8Array,
  ): boolean {
    if (this.full) return false;
    this.#pendingBytes += stream.append(arrivalMs, topic, contentType, payload);
    return true;
  }

  /** Gathers a whole envelope of another gateway. There is always room: its sender was told to stop. */
  appendEnvelope(stream: Stream, envelope: Uint8Array, count: number): void {
    stream.appendSealed(envelope, count);
    this.#pendingBytes += envelope.length;
  }

  /** Where an input goes on. */
  position(input: string): string | null {
    return this.#positions.get(input) ?? null;
  }

  /** Stores it with what was gathered before. */
  setPosition(input: string, position: string): void {
    this.#positions.set(input, position);
    this.#positionsMoved.add(input);
  }

  /** A hub has everything of the stream up to `number`. */
  acknowledge(stream: Stream, hub: string, number: number): void {
    if (number <= (stream.cursors.get(hub) ?? 0)) return;
    stream.cursors.set(hub, number);
    stream.moved.add(hub);
  }

  /** True when acknowledgements wait to be stored. */
  get acknowledged(): boolean {
    return this.#streams.some(({ moved }) => moved.size > 0);
  }

  /**
   * Messages of a stream that a hub does not have; those that are lost meanwhile are counted too, numbers
   * that named none when it was opened are not.
   */
  waiting(stream: Stream, hub: string): number {
    const from = Math.max(stream.cursors.get(hub) ?? 0, stream.gone);
    let count = stream.next - 1 - from;
    for (const { after, number } of stream.holes) {
      count -= Math.max(0, number - Math.max(after, from));
    }
    return count;
  }

  /** The first envelope after `number` that is on the disk, or null. One that is damaged is lost. */
  read(stream: Stream, number: number): Stored | null {
    for (let after = number;;) {
      const row = this.#sql.read.get(stream.id, after, stream.durable) as unknown as
        | EnvelopeRow
        | undefined;
      if (row === undefined) return null;
      if (crc32c(row.envelope) === row.crc) {
        return { envelope: row.envelope, number: row.number, count: row.count };
      }
      this.#lost += row.count;
      after = row.number;
    }
  }

  /** When the oldest message that is stored came, in ms of age; 0 when there is none. */
  oldestMs(): number {
    let oldest = Infinity;
    for (const { id, messages } of this.#streams) {
      if (messages === 0) continue;
      const row = this.#sql.oldest.get(id) as unknown as { at: number } | undefined;
      if (row !== undefined) oldest = Math.min(oldest, row.at);
    }
    return oldest === Infinity ? 0 : Math.max(0, this.#clockMs() - oldest);
  }

  /**
   * Writes what was gathered, forgets what every hub has, and keeps the bounds; within a transaction.
   * What changes in memory is returned, for {@linkcode committed} when the transaction stands.
   *
   * @param part `acknowledged`: only forgets, which makes room on a full disk
   * @param rows takes every row that is written or deleted, in this order, for a copy elsewhere
   */
  write(part: "all" | "acknowledged" = "all", rows: SpoolRow[] | null = null): Written {
    const all = part === "all";
    const written: Written = { all, streams: [], changes: [], moved: [], positions: [], rows };
    const clock = this.#clockMs();
    for (const stream of this.#streams) {
      if (stream.moved.size === 0) continue;
      this.#writeCursors(stream, written);
      written.moved.push(stream);
    }
    if (!all) return written;
    if (!this.#opened) this.#writeGeneration(written);
    for (const stream of this.#streams) {
      if (!stream.pending) continue;
      this.#writeStream(stream, clock, written);
      written.streams.push(stream);
    }
    if (this.#ageMaxMs > 0) this.#dropOld(clock - this.#ageMaxMs, written);
    if (this.#whenFull === "drop-oldest") this.#dropOldest(written);
    for (const input of this.#positionsMoved) {
      const position = this.#positions.get(input)!;
      this.#put({ kind: RecordKind.SpoolPosition, input, position }, written);
      written.positions.push(input);
    }
    return written;
  }

  /** The transaction of a {@linkcode write} stands. */
  committed(written: Written): void {
    for (const stream of written.streams) {
      this.#committed += stream.next - 1 - stream.written;
      stream.taken();
    }
    for (const { stream, bytes, messages, dropped, gone } of written.changes) {
      stream.gone = Math.max(stream.gone, gone);
      stream.bytes += bytes;
      stream.messages += messages;
      this.#bytes += bytes;
      this.#messages += messages;
      this.#dropped += dropped;
    }
    for (const { moved } of written.moved) moved.clear();
    for (const input of written.positions) this.#positionsMoved.delete(input);
    if (written.streams.length > 0) this.#pendingBytes = 0;
    if (written.all) this.#opened = true;
  }

  /** What had been committed when `numbers` was taken ({@linkcode written}) is on the disk. */
  synced(numbers: readonly number[]): void {
    for (const [index, number] of numbers.entries()) this.#streams[index]!.durable = number;
  }

  /** Numbers of the last messages that are written, of all streams. */
  writtenNumbers(): number[] {
    return this.#streams.map(({ written }) => written);
  }

  #clockMs(): number {
    return Math.round(this.#clock.nowMs());
  }

  #put(row: SpoolRow, { rows }: Written): void {
    this.#tables.put(row);
    rows?.push(row);
  }

  #writeStream(stream: Stream, clock: number, written: Written): void {
    const change: Change = { stream, bytes: 0, messages: 0, dropped: 0, gone: 0 };
    const { id, spool, number, route, lane, next } = stream;
    // A copy may hold a stream of that name which no other box knew: it ends where ours begins.
    const none = {
      kind: RecordKind.SpoolRemoved,
      stream: id,
      after: 0,
      number: NUMBER_MAX,
    } as const;
    if (stream.written === 0) written.rows?.push(none);
    for (const { bytes, count, number } of stream.waiting()) {
      const kind = RecordKind.SpoolEnvelope;
      const crc = crc32c(bytes);
      this.#put({ kind, stream: id, number, count, at: clock, crc, bytes }, written);
      change.bytes += bytes.length + ROW_BYTES;
      change.messages += count;
    }
    written.changes.push(change);
    const hubs = stream.hubs.join(" ");
    const kind = RecordKind.SpoolStream;
    this.#put({ kind, stream: id, spool, number, route, lane, next, clock, hubs }, written);
  }

  /** Stores what hubs have acknowledged, and deletes what all of them have. */
  #writeCursors(stream: Stream, written: Written): void {
    for (const hub of stream.moved) {
      const number = stream.cursors.get(hub)!;
      this.#put({ kind: RecordKind.SpoolCursor, hub, stream: stream.id, number }, written);
    }
    if (stream.hubs.length === 0) return;
    const all = Math.min(...stream.hubs.map((hub) => stream.cursors.get(hub) ?? 0));
    if (all > 0) this.#delete(stream, all, false, written);
  }

  /** Drops what came before `before`, a bounded number of envelopes at a time. */
  #dropOld(before: number, written: Written): void {
    for (const stream of this.#streams) {
      for (let count = 0; count < DROPS_PER_WRITE && stream.messages > 0; count++) {
        const row = this.#sql.oldest.get(stream.id) as unknown as OldestRow | undefined;
        if (row === undefined || row.at >= before) break;
        this.#delete(stream, row.number, true, written);
      }
    }
  }

  /** Drops the oldest envelopes, those of later streams in the order of importance first. */
  #dropOldest(written: Written): void {
    let bytes = this.#bytes;
    for (const change of written.changes) bytes += change.bytes;
    while (bytes > this.#bytesMax) {
      const victim = this.#victim();
      if (victim === null) return;
      bytes += this.#delete(victim.stream, victim.number, true, written);
    }
  }

  #victim(): { stream: Stream; number: number } | null {
    let found: { stream: Stream; number: number; at: number } | null = null;
    for (const stream of this.#streams) {
      const row = this.#sql.oldest.get(stream.id) as unknown as OldestRow | undefined;
      if (row === undefined) continue;
      const importance = this.#importanceOf(stream);
      const least = found === null ? Infinity : this.#importanceOf(found.stream);
      if (importance > least || (importance === least && row.at >= found!.at)) continue;
      found = { stream, number: row.number, at: row.at };
    }
    return found;
  }

  /** Deletes a stream's envelopes up to `number`; returns by how much its bytes change. */
  #delete(stream: Stream, number: number, drop: boolean, written: Written): number {
    const { bytes, messages } = this.#tables.sum(stream.id, 0, number);
    if (messages === 0) return 0;
    this.#put({ kind: RecordKind.SpoolRemoved, stream: stream.id, after: 0, number }, written);
    const dropped = drop ? messages : 0;
    written.changes.push({ stream, bytes: -bytes, messages: -messages, dropped, gone: number });
    return -bytes;
  }

  /** Number of the first message stored, `next` when there is none. */
  #firstOf({ id, next }: Stream): number {
    const row = this.#sql.first.get(id) as unknown as { first: number } | undefined;
    return row === undefined ? next : row.first;
  }

  /** Numbers above `gone` that name no message: others were to have them, or they are lost. */
  #holesOf({ id, next }: Stream): Hole[] {
    const holes = this.#sql.holes.all(id) as unknown as Hole[];
    const { last } = this.#sql.last.get(id) as unknown as { last: number | null };
    if (last !== null && next - 1 > last) holes.push({ after: last, number: next - 1 });
    return holes;
  }

  /** The same messages, numbered in a spool that no hub has seen. */
  #renew(): void {
    const id = this.#options.randomId().toHex();
    const own = "(SELECT id FROM spools WHERE own = 1)";
    this.#database.prepare(`UPDATE streams SET spool = ? WHERE spool = ${own}`).run(id);
    this.#database.prepare("DELETE FROM spools WHERE own = 1").run();
    this.#database.prepare("INSERT INTO spools VALUES (?, 0, 1)").run(id);
  }

  #readSpools(): string {
    const spools = rows<OpenedRow>(this.#database, "SELECT id, generation, own FROM spools");
    for (const { id, generation } of spools) this.#generations.set(id, generation);
    const own = spools.find((row) => row.own === 1);
    const id = own?.id ?? this.#options.randomId().toHex();
    const generation = (own?.generation ?? 0) + 1;
    this.#generations.set(id, generation);
    return id;
  }

  /** Stores how often this spool was opened; within a transaction. */
  #writeGeneration(written: Written): void {
    const generation = this.generation(this.id);
    this.#put({ kind: RecordKind.Spool, spool: this.id, generation, own: true }, written);
  }

  /** Returns the running time at which the last run ended, as far as stored. */
  #readStreams(): number {
    let clock = 0;
    const select =
      "SELECT id, spool, number, route, lane, next, clock, hubs FROM streams ORDER BY id";
    for (const row of rows<StreamRow>(this.#database, select)) {
      const hubs = row.hubs.split(" ").filter((hub) => hub !== "");
      const stream = new Stream({ ...row, hubs }, this.#gateway);
      this.#streams.push(stream);
      if (row.spool === this.id) this.#byKey.set(keyOf(row.route, row.lane), stream);
      const { bytes, messages } = this.#tables.sum(row.id, 0, NUMBER_MAX);
      stream.messages = messages;
      stream.bytes = bytes;
      this.#messages += stream.messages;
      this.#bytes += stream.bytes;
      stream.gone = this.#firstOf(stream) - 1;
      if (stream.next - 1 - stream.gone > messages) stream.holes = this.#holesOf(stream);
      clock = Math.max(clock, row.clock);
    }
    const byId = new Map(this.#streams.map((stream) => [stream.id, stream]));
    const cursors = "SELECT hub, stream, number FROM cursors";
    for (const { hub, stream, number } of rows<CursorRow>(this.#database, cursors)) {
      byId.get(stream)?.cursors.set(hub, number);
    }
    return clock;
  }
}

/** What a write changes in memory once its transaction stands. */
export interface Written {
  /** More than acknowledgements was written. */
  readonly all: boolean;
  /** Those whose gathered messages were written. */
  readonly streams: Stream[];
  readonly changes: Change[];
  /** Those whose cursors were. */
  readonly moved: Stream[];
  /** Inputs whose positions were. */
  readonly positions: string[];
  /** Every row, when somebody keeps a copy. */
  readonly rows: SpoolRow[] | null;
}

interface Change {
  readonly stream: Stream;
  bytes: number;
  messages: number;
  dropped: number;
  /** Number of the last message that it deletes. */
  readonly gone: number;
}

interface OpenedRow {
  id: string;
  generation: number;
  own: number;
}

interface StreamRow {
  id: number;
  spool: string;
  number: number;
  route: string;
  lane: number;
  next: number;
  clock: number;
  hubs: string;
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

interface EnvelopeRow {
  number: number;
  count: number;
  crc: number;
  envelope: Uint8Array<ArrayBuffer>;
}

interface OldestRow {
  number: number;
  at: number;
}

class Statements {
  readonly read: StatementSync;
  readonly oldest: StatementSync;
  readonly first: StatementSync;
  readonly holes: StatementSync;
  readonly last: StatementSync;

  constructor(database: Database) {
    this.read = database.prepare(
      "SELECT number, count, crc, envelope FROM envelopes " +
        "WHERE stream = ? AND number > ? AND number <= ? ORDER BY number LIMIT 1",
    );
    this.oldest = database.prepare(
      "SELECT number, at FROM envelopes WHERE stream = ? ORDER BY number LIMIT 1",
    );
    this.first = database.prepare(
      "SELECT number - count + 1 AS first FROM envelopes WHERE stream = ? ORDER BY number LIMIT 1",
    );
    this.holes = database.prepare(
      "SELECT after, number FROM (SELECT lag(number) OVER (ORDER BY number) AS after, " +
        "number - count AS number FROM envelopes WHERE stream = ?) WHERE number > after",
    );
    this.last = database.prepare("SELECT max(number) AS last FROM envelopes WHERE stream = ?");
  }
}

function rows<T>(database: Database, sql: string): T[] {
  return database.prepare(sql).all() as unknown as T[];
}

function keyOf(route: string, lane: number): string {
  return `${lane} ${route}`;
}
