/**
 * A spool in a temporary directory, or in memory, for tests: with a clock that is set by hand.
 *
 * @module
 */
import type { Database } from "../../src/io/database.ts";
import { type OpenSpool, openSpool } from "../../src/app/spool/open_spool.ts";
import type { Spool, SpoolOptions } from "../../src/app/spool/spool.ts";
import type { Stream } from "../../src/app/spool/stream.ts";
import { EnvelopeReader } from "../../src/wire/gateway/envelope.ts";
import { regionOf } from "../../src/mem/region.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const TOPIC = encoder.encode("lines");
const TYPE = encoder.encode("text/plain");

/** Counts up, so that ids tell apart which spool was made first. */
let ids = 0;

/** A spool with its database. */
export class Box implements Disposable {
  readonly spool: Spool;
  readonly database: Database;
  readonly salvage: OpenSpool["salvage"];

  private constructor(opened: OpenSpool) {
    this.spool = opened.spool;
    this.database = opened.database;
    this.salvage = opened.salvage;
  }

  /** Opens `path`, or one in memory. */
  static async open(
    path: string | null,
    options: Partial<SpoolOptions> = {},
  ): Promise<Box> {
    return new Box(
      await openSpool(path, {
        gateway: "client.gw1",
        randomId: () => encoder.encode(`spool ${++ids}`.padEnd(16)),
        nowMs: () => 0,
        bytesMax: 1 << 30,
        ageMaxMs: 0,
        whenFull: "block",
        renew: false,
        ...options,
      }),
    );
  }

  /** Gathers texts; returns how many were taken. */
  add(stream: Stream, ...texts: string[]): number {
    let taken = 0;
    for (const text of texts) {
      if (this.spool.append(stream, 1, TOPIC, TYPE, encoder.encode(text))) taken++;
    }
    return taken;
  }

  /** Writes what was gathered, and makes it durable. */
  async commit(): Promise<void> {
    this.database.transaction(() => this.#written = this.spool.write());
    this.spool.committed(this.#written!);
    const numbers = this.spool.writtenNumbers();
    await this.database.sync();
    this.spool.synced(numbers);
  }

  /** What can be read of a stream after a number. */
  texts(stream: Stream, after = 0): string[] {
    const found: string[] = [];
    for (let at = after;;) {
      const stored = this.spool.read(stream, at);
      if (stored === null) return found;
      found.push(...textsOf(stored.envelope));
      at = stored.number;
    }
  }

  [Symbol.dispose](): void {
    this.database.close();
  }

  #written: ReturnType<Spool["write"]> | null = null;
}

/** Payloads of an envelope, as texts. */
export function textsOf(envelope: Uint8Array<ArrayBuffer>): string[] {
  const reader = new EnvelopeReader();
  const found: string[] = [];
  if (reader.open(regionOf(envelope), 0, envelope.length) < 0) throw new Error("no envelope");
  while (reader.next() > 0) {
    const { payloadAt, payloadBytes } = reader;
    found.push(decoder.decode(envelope.subarray(payloadAt, payloadAt + payloadBytes)));
  }
  return found;
}
