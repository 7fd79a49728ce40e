/**
 * A spool and the copy that is kept of it, with posts in between, for tests.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { SpoolMirror } from "../../src/app/spool/commits.ts";
import type { Spool } from "../../src/app/spool/spool.ts";
import type { SpoolReplica } from "../../src/app/standby/spool_replica.ts";
import { Database } from "../../src/io/database.ts";
import { regionOf } from "../../src/mem/region.ts";
import {
  PostHead,
  PostRecord,
  PostWriter,
  readPostHead,
  readPostRecord,
  RecordKind,
} from "../../src/wire/standby/post.ts";
import { addSpoolRecord, type SpoolRow } from "../../src/wire/standby/spool_record.ts";
import type { Box } from "./box.ts";

/** Hands a post to a replica, which takes all of it. */
export function apply(replica: SpoolReplica, post: Uint8Array<ArrayBuffer>): void {
  const from = regionOf(post);
  const head = new PostHead();
  const record = new PostRecord();
  let at = readPostHead(from, 0, post.length, head);
  assert.ok(at > 0);
  replica.begin();
  for (let index = 0; index < head.count; index++) {
    at = readPostRecord(from, at, record);
    assert.equal(replica.apply(record.kind, from, record.at, record.end), record.end);
  }
  replica.end();
}

/** Sends rows, and what stands between them, to a replica as one post. */
export function send(replica: SpoolReplica, ...rows: (SpoolRow | "begin" | "end")[]): void {
  const post = new PostWriter();
  for (const row of rows) {
    if (row === "begin") post.mark(RecordKind.SnapshotBegin);
    else if (row === "end") post.mark(RecordKind.SnapshotEnd);
    else addSpoolRecord(post, row);
  }
  apply(replica, post.take(1, 1));
}

/** A mirror that copies at once, as a standby that answers. */
export function mirrorInto(replica: SpoolReplica): SpoolMirror {
  return {
    store: (rows) => {
      send(replica, ...rows);
      return replica.stored();
    },
  };
}

/** Writes what a box has gathered; returns the rows. */
export function write(box: Box): SpoolRow[] {
  const rows: SpoolRow[] = [];
  let written: ReturnType<Spool["write"]> | null = null;
  box.database.transaction(() => written = box.spool.write("all", rows));
  box.spool.committed(written!);
  box.spool.synced(box.spool.writtenNumbers());
  return rows;
}

/** Everything that a spool's tables hold, of an open database or of one at a path. */
export async function contentOf(from: Database | string): Promise<Record<string, unknown[]>> {
  if (typeof from === "string") {
    const database = await Database.open(from, "");
    try {
      return await contentOf(database);
    } finally {
      database.close();
    }
  }
  const content: Record<string, unknown[]> = {};
  for (const table of ["spools", "streams", "cursors", "positions", "envelopes"]) {
    content[table] = from.prepare(`SELECT * FROM ${table} ORDER BY 1, 2`).all();
  }
  return content;
}

/** A database as a crash leaves it: both files at one moment. */
export async function copyDatabase(from: string, to: string): Promise<void> {
  for (const end of ["", "-wal"]) await Deno.copyFile(`${from}${end}`, `${to}${end}`);
}

/** Does work in a directory of its own. */
export async function inDirectory(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await work(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}
