/** Commits of a spool that another box keeps a copy of: durable is what both have. */
import assert from "node:assert/strict";
import { Commits, type SpoolMirror } from "../../src/app/spool/commits.ts";
import type { Stream } from "../../src/app/spool/stream.ts";
import { SpoolReplica } from "../../src/app/standby/spool_replica.ts";
import { DatabaseError } from "../../src/io/database.ts";
import { RecordKind } from "../../src/wire/standby/post.ts";
import type { SpoolRow } from "../../src/wire/standby/spool_record.ts";
import { Box } from "./box.ts";
import { contentOf, mirrorInto } from "./copying.ts";

/** A standby whose answers are given by hand. */
class Standby implements SpoolMirror {
  readonly stored: (readonly SpoolRow[])[] = [];
  readonly answers: (() => void)[] = [];

  store(rows: readonly SpoolRow[]): Promise<void> {
    this.stored.push(rows);
    return new Promise((resolve) => this.answers.push(resolve));
  }

  kinds(at: number): number[] {
    return this.stored[at]!.map(({ kind }) => kind);
  }
}

function commitsOf(box: Box, mirror: SpoolMirror | null, onDurable = (): void => {}): Commits {
  return new Commits({ ...box, salvage: null, reserve: null }, 5, onDurable, mirror);
}

function stream(box: Box): Stream {
  return box.spool.stream("#", 0, ["hq"]);
}

/** Time for whatever would happen by itself to happen. */
async function turns(count = 20): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setTimeout(resolve, 1));
}

Deno.test("nothing is durable, and nothing may be sent, before the copy has it", async () => {
  using box = await Box.open(null);
  const standby = new Standby();
  let told = 0;
  const commits = commitsOf(box, standby, () => told++);
  const one = stream(box);
  box.add(one, "a", "b");
  box.spool.setPosition("log", "here");
  let durable = false;
  const done = commits.durable().then(() => durable = true);
  await turns();
  assert.equal(standby.stored.length, 1);
  const { SpoolEnvelope, SpoolPosition, SpoolRemoved, SpoolStream } = RecordKind;
  assert.deepEqual(standby.kinds(0), [SpoolRemoved, SpoolEnvelope, SpoolStream, SpoolPosition]);
  assert.deepEqual([durable, told, one.written, one.durable], [false, 0, 2, 0]);
  assert.deepEqual(box.texts(one), []);
  standby.answers[0]!();
  await done;
  assert.deepEqual([told, one.durable], [1, 2]);
  assert.deepEqual(box.texts(one), ["a", "b"]);
  await commits.stop();
});

Deno.test("while one group waits for the copy the next gathers, and goes as one", async () => {
  using box = await Box.open(null);
  const standby = new Standby();
  const commits = commitsOf(box, standby);
  const one = stream(box);
  box.add(one, "a");
  const first = commits.durable();
  await turns();
  const later: Promise<void>[] = [];
  for (let round = 0; round < 10; round++) {
    assert.equal(box.add(one, `message ${round}`), 1);
    later.push(commits.durable());
    await turns(2);
  }
  assert.equal(standby.stored.length, 1);
  standby.answers[0]!(); // also when it only says that the standby is away
  await first;
  await turns();
  assert.equal(standby.stored.length, 2);
  assert.deepEqual(standby.kinds(1), [RecordKind.SpoolEnvelope, RecordKind.SpoolStream]);
  standby.answers[1]!();
  await Promise.all(later);
  assert.equal(one.durable, 11);
  await commits.stop();
});

Deno.test("the disk and the copy work at the same time, and the later one decides", async () => {
  using box = await Box.open(null);
  const standby = new Standby();
  const commits = commitsOf(box, standby);
  const { promise, resolve: synced } = Promise.withResolvers<void>();
  box.database.sync = () => promise;
  const one = stream(box);
  box.add(one, "a");
  const done = commits.durable();
  await turns();
  assert.equal(standby.answers.length, 1); // the disk has not answered
  standby.answers[0]!();
  await turns();
  assert.equal(one.durable, 0);
  synced();
  await done;
  assert.equal(one.durable, 1);
  await commits.stop();
});

Deno.test("what a database refuses is not copied until it is written, and then once", async () => {
  using box = await Box.open(null);
  const standby = new Standby();
  const commits = commitsOf(box, standby);
  const write = box.spool.write.bind(box.spool);
  let refuse = true;
  box.spool.write = (part, rows) => {
    const written = write(part, rows);
    if (refuse) throw new DatabaseError("x.db", { message: "disk I/O error" });
    return written;
  };
  const one = stream(box);
  box.add(one, "kept");
  const done = commits.durable();
  await commits.room();
  assert.equal(standby.stored.length, 0);
  refuse = false;
  while (standby.answers.length === 0) await turns();
  standby.answers[0]!();
  await done;
  assert.deepEqual(box.texts(one), ["kept"]);
  assert.equal(standby.stored.length, 1);
  await commits.stop();
});

Deno.test("acknowledgements reach the copy, with the deletions that they allow", async () => {
  using box = await Box.open(null);
  const replica = await SpoolReplica.open(":memory:");
  const copies: SpoolRow[] = [];
  const into = mirrorInto(replica);
  const commits = commitsOf(box, {
    store: (rows) => {
      copies.push(...rows);
      return into.store(rows);
    },
  });
  const one = stream(box);
  box.add(one, "a", "b");
  await commits.durable();
  box.spool.acknowledge(one, "hq", 2);
  box.add(one, "c");
  await commits.durable();
  assert.deepEqual(copies.filter(({ kind }) => kind === RecordKind.SpoolCursor), [
    { kind: RecordKind.SpoolCursor, hub: "hq", stream: 1, number: 2 },
  ]);
  assert.deepEqual(copies.filter(({ kind }) => kind === RecordKind.SpoolRemoved).at(-1), {
    kind: RecordKind.SpoolRemoved,
    stream: 1,
    after: 0,
    number: 2,
  });
  assert.equal(replica.messages, 1);
  await commits.stop();
  replica.close();
});

Deno.test("without a mirror no row is gathered", async () => {
  using box = await Box.open(null);
  const commits = commitsOf(box, null);
  const write = box.spool.write.bind(box.spool);
  let gathered: unknown = "nothing was written";
  box.spool.write = (part, rows) => {
    gathered = rows;
    return write(part, rows);
  };
  box.add(stream(box), "a");
  await commits.durable();
  assert.equal(gathered, null);
  assert.equal((await contentOf(box.database)).envelopes!.length, 1);
  await commits.stop();
});
