/**
 * How a row gets into the tables of a spool: the same for the box whose spool it is and for one that
 * holds a copy of it.
 *
 * @module
 */
import type { StatementSync } from "node:sqlite";
import type { Database } from "../../io/database.ts";
import { RecordKind } from "../../wire/standby/post.ts";
import type { SpoolRow } from "../../wire/standby/spool_record.ts";

/** What a row costs beside its envelope, about. */
export const ROW_BYTES = 32;

/** What a stretch of a stream holds. */
export interface Stretch {
  readonly messages: number;
  readonly bytes: number;
}

/** Writes rows; within a transaction. */
export class SpoolTables {
  readonly #spool: StatementSync;
  readonly #stream: StatementSync;
  readonly #envelope: StatementSync;
  readonly #remove: StatementSync;
  readonly #cursor: StatementSync;
  readonly #position: StatementSync;
  readonly #sum: StatementSync;

  constructor(database: Database) {
    this.#spool = database.prepare("INSERT OR REPLACE INTO spools VALUES (?, ?, ?)");
    this.#stream = database.prepare(
      "INSERT OR REPLACE INTO streams VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    );
    this.#envelope = database.prepare("INSERT INTO envelopes VALUES (?, ?, ?, ?, ?, ?)");
    this.#remove = database.prepare(
      "DELETE FROM envelopes WHERE stream = ? AND number > ? AND number <= ?",
    );
    this.#cursor = database.prepare("INSERT OR REPLACE INTO cursors VALUES (?, ?, ?)");
    this.#position = database.prepare("INSERT OR REPLACE INTO positions VALUES (?, ?)");
    this.#sum = database.prepare(
      "SELECT count(*) AS envelopes, coalesce(sum(count), 0) AS messages, " +
        "coalesce(sum(length(envelope)), 0) AS bytes " +
        "FROM envelopes WHERE stream = ? AND number > ? AND number <= ?",
    );
  }

  /** Writes one row; an envelope must not be there. */
  put(row: SpoolRow): void {
    switch (row.kind) {
      case RecordKind.Spool:
        this.#spool.run(row.spool, row.generation, row.own ? 1 : 0);
        return;
      case RecordKind.SpoolStream: {
        const { clock, hubs, lane, next, number, route, spool, stream } = row;
        this.#stream.run(stream, spool, number, route, lane, next, clock, hubs);
        return;
      }
      case RecordKind.SpoolEnvelope: {
        const { at, bytes, count, crc, number, stream } = row;
        this.#envelope.run(stream, number, count, at, crc, bytes);
        return;
      }
      case RecordKind.SpoolRemoved:
        this.#remove.run(row.stream, row.after, row.number);
        return;
      case RecordKind.SpoolCursor:
        this.#cursor.run(row.hub, row.stream, row.number);
        return;
      case RecordKind.SpoolPosition:
        this.#position.run(row.input, row.position);
        return;
    }
  }

  /** What a stream holds above `after`, up to `number`. */
  sum(stream: number, after: number, number: number): Stretch {
    const row = this.#sum.get(stream, after, number) as unknown as SumRow;
    return { messages: row.messages, bytes: row.bytes + row.envelopes * ROW_BYTES };
  }
}

interface SumRow {
  envelopes: number;
  messages: number;
  bytes: number;
}
