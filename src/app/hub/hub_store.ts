/**
 * What a hub must not forget: the last number of every stream of every spool, how often each spool
 * was opened, and where each output had got to. Stored in one transaction a round, so that numbers
 * and outputs always agree.
 *
 * @module
 */
import type { StatementSync } from "node:sqlite";
import type { Database } from "../../io/database.ts";
import { Ledger, type LedgerSpool } from "../../proto/gateway/ledger.ts";

/** Tables of a hub. */
export const HUB_TABLES = `
  CREATE TABLE IF NOT EXISTS gateways (
    gateway TEXT, spool TEXT, generation INTEGER, greeted INTEGER,
    PRIMARY KEY (gateway, spool)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS last_numbers (
    gateway TEXT, spool TEXT, stream INTEGER, number INTEGER,
    PRIMARY KEY (gateway, spool, stream)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS outputs (name TEXT PRIMARY KEY, position TEXT) WITHOUT ROWID;
`;

/** Reads and writes those tables. */
export class HubStore {
  /** What is known of the gateways' numbers. */
  readonly ledger: Ledger = new Ledger();
  readonly #database: Database;
  readonly #gateway: StatementSync;
  readonly #number: StatementSync;
  readonly #position: StatementSync;
  readonly #greeted = new Set<LedgerSpool>();
  readonly #forgotten: LedgerSpool[] = [];
  /** Counts greetings: what was greeted least lately is forgotten first. */
  #greetings = 0;
  readonly #moved = new Map<LedgerSpool, Set<number>>();

  /** Reads what is stored. */
  constructor(database: Database) {
    this.#database = database;
    this.#gateway = database.prepare("INSERT OR REPLACE INTO gateways VALUES (?, ?, ?, ?)");
    this.#number = database.prepare("INSERT OR REPLACE INTO last_numbers VALUES (?, ?, ?, ?)");
    this.#position = database.prepare("INSERT OR REPLACE INTO outputs VALUES (?, ?)");
    const gateways = "SELECT gateway, spool, generation, greeted FROM gateways ORDER BY greeted";
    for (const { gateway, generation, greeted, spool } of this.#rows<GatewayRow>(gateways)) {
      this.ledger.restore(gateway, spool, generation);
      this.#greetings = greeted;
    }
    const numbers = "SELECT gateway, spool, stream, number FROM last_numbers";
    for (const { gateway, spool, stream, number } of this.#rows<NumberRow>(numbers)) {
      this.ledger.find(gateway, spool)?.last.set(stream, number);
    }
  }

  /** Where an output had got to; null when it is new. */
  position(output: string): string | null {
    const rows = this.#rows<OutputRow>("SELECT name, position FROM outputs");
    return rows.find(({ name }) => name === output)?.position ?? null;
  }

  /**
   * Forgets where other outputs had got to: whoever writes to their files from now on stores no
   * position under their names, so they must never be cut back to it. Within a transaction.
   */
  keepPositions(outputs: readonly { readonly name: string; readonly required: boolean }[]): void {
    const kept = new Set(outputs.filter(({ required }) => required).map(({ name }) => name));
    for (const { name } of this.#rows<OutputRow>("SELECT name, position FROM outputs")) {
      if (!kept.has(name)) this.#database.prepare("DELETE FROM outputs WHERE name = ?").run(name);
    }
  }

  /** A spool was greeted: its generation and numbers are to be stored. */
  noteGreeted(spool: LedgerSpool): void {
    this.#greeted.add(spool);
    for (const forgotten of this.ledger.takeForgotten()) {
      this.#forgotten.push(forgotten);
      this.#greeted.delete(forgotten);
      this.#moved.delete(forgotten);
    }
    for (const stream of spool.last.keys()) this.noteNumber(spool, stream);
  }

  /** A stream's last number changed. */
  noteNumber(spool: LedgerSpool, stream: number): void {
    let streams = this.#moved.get(spool);
    if (streams === undefined) this.#moved.set(spool, streams = new Set());
    streams.add(stream);
  }

  /** True when something is to be stored. */
  get pending(): boolean {
    return this.#greeted.size > 0 || this.#moved.size > 0;
  }

  /** Writes what changed, and the positions; within a transaction. */
  write(positions: Iterable<readonly [string, string]>): void {
    for (const { gateway, spool } of this.#forgotten) {
      for (const table of ["gateways", "last_numbers"]) {
        this.#database.prepare(`DELETE FROM ${table} WHERE gateway = ? AND spool = ?`)
          .run(gateway, spool);
      }
    }
    for (const { gateway, spool, generation } of this.#greeted) {
      this.#gateway.run(gateway, spool, generation, ++this.#greetings);
    }
    for (const [{ gateway, spool, last }, streams] of this.#moved) {
      for (const stream of streams) this.#number.run(gateway, spool, stream, last.get(stream)!);
    }
    for (const [name, position] of positions) this.#position.run(name, position);
  }

  /** The transaction stands. */
  written(): void {
    this.#forgotten.length = 0;
    this.#greeted.clear();
    this.#moved.clear();
  }

  #rows<T>(sql: string): T[] {
    return this.#database.prepare(sql).all() as unknown as T[];
  }
}

interface GatewayRow {
  gateway: string;
  spool: string;
  generation: number;
  greeted: number;
}

interface NumberRow {
  gateway: string;
  spool: string;
  stream: number;
  number: number;
}

interface OutputRow {
  name: string;
  position: string;
}
