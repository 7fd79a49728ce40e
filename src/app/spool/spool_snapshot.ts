/**
 * Everything that a spool holds, in steps: a backlog may be larger than memory, and messages come and
 * go while a copy is made. Whoever keeps the copy is handed the rows of each step when they are read,
 * in one order with what transactions write meanwhile (commits.ts), and replays both in that order.
 *
 * Why that ends with an equal copy, whatever it held before:
 *
 *   - Spools, streams, cursors and positions are only ever written whole, and never deleted: the last
 *     writing stands, and what neither the first step nor a transaction has named is not in the spool.
 *   - The envelopes of a stream are read by number. A step says first that there are none between the
 *     last step's end and its own, then which ones there are: at that moment the copy's stretch is
 *     equal. What transactions insert or delete in it later comes later. What they have inserted above
 *     it is deleted by a later step, which has it again; what they have deleted above it is not read.
 *   - The last step of a stream ends at the largest number, so that nothing is left above.
 *   - A stream that is made meanwhile starts empty (spool.ts), also in the copy.
 *
 * @module
 */
import type { StatementSync } from "node:sqlite";
import type { Database } from "../../io/database.ts";
import { RecordKind } from "../../wire/standby/post.ts";
import {
  NUMBER_MAX,
  type SpoolEnvelopeRow,
  spoolRecordBytes,
  type SpoolRow,
} from "../../wire/standby/spool_record.ts";

/** Rows of one step: as many streams may have nothing. */
const ROWS_PER_STEP = 4096;

/** Reads a spool; between its steps the database may change. */
export class SpoolSnapshot {
  readonly #database: Database;
  readonly #read: StatementSync;
  /** Streams whose envelopes are to be read; null before the first step. */
  #streams: number[] | null = null;
  /** Number of the last envelope read of the first of them. */
  #after = 0;

  /** @param database of the spool */
  constructor(database: Database) {
    this.#database = database;
    this.#read = database.prepare(
      "SELECT stream, number, count, at, crc, envelope AS bytes FROM envelopes " +
        "WHERE stream = ? AND number > ? ORDER BY number LIMIT 1",
    );
  }

  /**
   * Reads the next step: about `bytesMax` bytes of envelopes, at least one. Empty when all was read.
   * Not to be called within a transaction.
   */
  next(bytesMax: number): SpoolRow[] {
    if (this.#streams === null) return this.#first();
    const rows: SpoolRow[] = [];
    let bytes = 0;
    while (this.#streams.length > 0 && bytes < bytesMax && rows.length < ROWS_PER_STEP) {
      bytes += this.#stretch(this.#streams[0]!, bytesMax - bytes, rows);
    }
    return rows;
  }

  /** The small tables: a spool has all of that in memory, too. */
  #first(): SpoolRow[] {
    const spools = this.#all<SpoolsRow>("SELECT id, generation, own FROM spools ORDER BY own DESC");
    const streams = this.#all<StreamsRow>(
      "SELECT id, spool, number, route, lane, next, clock, hubs FROM streams ORDER BY id",
    );
    const cursors = this.#all<CursorsRow>("SELECT hub, stream, number FROM cursors");
    const positions = this.#all<PositionsRow>("SELECT input, position FROM positions");
    this.#streams = streams.map(({ id }) => id);
    return [
      ...spools.map(({ generation, id, own }) => {
        return { kind: RecordKind.Spool, spool: id, generation, own: own === 1 } as const;
      }),
      ...streams.map(({ id, ...row }) => {
        return { kind: RecordKind.SpoolStream, stream: id, ...row } as const;
      }),
      ...cursors.map((row) => ({ kind: RecordKind.SpoolCursor, ...row }) as const),
      ...positions.map((row) => ({ kind: RecordKind.SpoolPosition, ...row }) as const),
    ];
  }

  /** Reads on in a stream; returns how many bytes its records take. */
  #stretch(stream: number, bytesMax: number, rows: SpoolRow[]): number {
    const envelopes: SpoolEnvelopeRow[] = [];
    const after = this.#after;
    let bytes = 0;
    let ended = false;
    while (bytes < bytesMax && rows.length + envelopes.length < ROWS_PER_STEP) {
      const row = this.#read.get(stream, this.#after) as unknown as EnvelopesRow | undefined;
      ended = row === undefined;
      if (row === undefined) break;
      const envelope = { kind: RecordKind.SpoolEnvelope, ...row } as const;
      envelopes.push(envelope);
      bytes += spoolRecordBytes(envelope);
      this.#after = row.number;
    }
    const number = ended ? NUMBER_MAX : this.#after;
    rows.push({ kind: RecordKind.SpoolRemoved, stream, after, number }, ...envelopes);
    if (ended) {
      this.#streams!.shift();
      this.#after = 0;
    }
    return bytes;
  }

  #all<T>(sql: string): T[] {
    return this.#database.prepare(sql).all() as unknown as T[];
  }
}

interface SpoolsRow {
  readonly id: string;
  readonly generation: number;
  readonly own: number;
}

interface StreamsRow {
  readonly id: number;
  readonly spool: string;
  readonly number: number;
  readonly route: string;
  readonly lane: number;
  readonly next: number;
  readonly clock: number;
  readonly hubs: string;
}

interface CursorsRow {
  readonly hub: string;
  readonly stream: number;
  readonly number: number;
}

interface PositionsRow {
  readonly input: string;
  readonly position: string;
}

interface EnvelopesRow {
  readonly stream: number;
  readonly number: number;
  readonly count: number;
  readonly at: number;
  readonly crc: number;
  readonly bytes: Uint8Array;
}
