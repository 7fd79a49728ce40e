/** The standby's copy of a spool: equal to the original, also after a crash, and fit to go on. */
import assert from "node:assert/strict";
import { SpoolReplica } from "../../src/app/standby/spool_replica.ts";
import { SpoolSnapshot } from "../../src/app/spool/spool_snapshot.ts";
import { Database, DatabaseError } from "../../src/io/database.ts";
import { Fault, lastFault } from "../../src/mem/fault.ts";
import { newRegion } from "../../src/mem/region.ts";
import { RecordKind } from "../../src/wire/standby/post.ts";
import type { SpoolRow } from "../../src/wire/standby/spool_record.ts";
import { Box } from "../spool/box.ts";
import { contentOf, copyDatabase, inDirectory, send, write } from "../spool/copying.ts";
import { random } from "../spool/random.ts";

/** All that a box holds, in one go. */
function everything(box: Box): SpoolRow[] {
  const snapshot = new SpoolSnapshot(box.database);
  const rows: SpoolRow[] = [];
  for (let step = snapshot.next(1000); step.length > 0; step = snapshot.next(1000)) {
    rows.push(...step);
  }
  return rows;
}

/** A box with some messages, cursors and a position, all written. */
async function filled(path: string | null): Promise<Box> {
  const box = await Box.open(path);
  const one = box.spool.stream("#", 0, ["hq", "other"]);
  const two = box.spool.stream("alarm/#", 1, ["hq"]);
  box.add(one, "a", "b", "c");
  write(box);
  box.add(one, "d");
  box.add(two, "alarm");
  box.spool.setPosition("log", "here");
  box.spool.acknowledge(one, "hq", 3);
  write(box);
  return box;
}

/** Does to a box what its inputs and hubs do, by chance. */
function disturb(box: Box, next: (below: number) => number): void {
  const { spool } = box;
  for (let count = next(4); count > 0; count--) {
    const stream = spool.stream(`route ${next(3)}`, next(3), ["hq", "other"]);
    const size = next(20) === 0 ? 70_000 : next(300);
    box.add(stream, ...Array.from({ length: next(5) }, () => "x".repeat(size + next(9))));
  }
  for (const stream of spool.streams) {
    for (const hub of ["hq", "other"]) {
      if (next(3) > 0) continue;
      const from = stream.cursors.get(hub) ?? 0;
      const stored = spool.read(stream, from + next(3));
      if (stored !== null) spool.acknowledge(stream, hub, stored.number);
    }
  }
  if (next(4) === 0) spool.setPosition(`input ${next(3)}`, `${next(1000)}`);
}

/** A snapshot of a box that goes on meanwhile, and a while after. */
function copyWhileItRuns(box: Box, replica: SpoolReplica, next: (below: number) => number): void {
  const snapshot = new SpoolSnapshot(box.database);
  send(replica, "begin");
  assert.equal(replica.whole, false);
  for (;;) {
    if (next(2) === 0) {
      disturb(box, next);
      send(replica, ...write(box));
      continue;
    }
    const step = snapshot.next(next(5) === 0 ? 100_000 : 1 + next(2000));
    if (step.length === 0) break;
    const cut = next(step.length + 1); // a step may be more than one post
    send(replica, ...step.slice(0, cut));
    send(replica, ...step.slice(cut));
  }
  for (let count = next(3); count > 0; count--) {
    disturb(box, next);
    send(replica, ...write(box));
  }
  send(replica, "end");
  assert.equal(replica.whole, true);
  for (let count = next(10); count > 0; count--) {
    disturb(box, next);
    send(replica, ...write(box));
  }
}

async function assertEqualCopy(box: Box, replica: SpoolReplica, path: string): Promise<void> {
  await replica.stored();
  assert.equal(replica.spool, box.spool.id);
  assert.equal(replica.messages, box.spool.messages);
  assert.equal(replica.bytes, box.spool.bytes);
  await copyDatabase(path, `${path}.look`);
  assert.deepEqual(await contentOf(`${path}.look`), await contentOf(box.database));
}

Deno.test("a copy is equal after a snapshot while messages come and go, whatever it held before", async () => {
  for (let seed = 1; seed <= 25; seed++) {
    const next = random(seed);
    const bounds = { bytesMax: 30_000, whenFull: "drop-oldest" as const };
    const options = next(2) === 0 ? bounds : {};
    await inDirectory(async (directory) => {
      const path = `${directory}/replica.db`;
      const replica = await SpoolReplica.open(path);
      try {
        using box = await Box.open(`${directory}/a.db`, options);
        for (let count = next(30); count > 0; count--) {
          disturb(box, next);
          write(box);
        }
        copyWhileItRuns(box, replica, next);
        await assertEqualCopy(box, replica, path);
        // It is away for a while, and the active goes on alone.
        for (let count = next(10); count > 0; count--) {
          disturb(box, next);
          write(box);
        }
        copyWhileItRuns(box, replica, next);
        await assertEqualCopy(box, replica, path);
        // Another box goes on from a state before that: what is held was never there.
        await copyDatabase(`${directory}/a.db`, `${directory}/b.db`);
        for (let count = next(10); count > 0; count--) {
          disturb(box, next);
          send(replica, ...write(box));
        }
        using other = await Box.open(`${directory}/b.db`, options);
        copyWhileItRuns(other, replica, next);
        await assertEqualCopy(other, replica, path);
        using stranger = await Box.open(null, options);
        copyWhileItRuns(stranger, replica, next);
        await assertEqualCopy(stranger, replica, path);
      } catch (error) {
        throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
      } finally {
        replica.close();
      }
    });
  }
});

Deno.test("a snapshot is read in bounded steps, also of large envelopes and many streams", async () => {
  using box = await Box.open(null);
  for (let lane = 0; lane < 5000; lane++) box.add(box.spool.stream("#", lane, ["hq"]), "one");
  const large = box.spool.stream("large", 0, ["hq"]);
  for (let count = 0; count < 20; count++) box.add(large, "x".repeat(300_000));
  write(box);
  const snapshot = new SpoolSnapshot(box.database);
  snapshot.next(1); // the small tables
  let envelopes = 0;
  for (let step = snapshot.next(500_000); step.length > 0; step = snapshot.next(500_000)) {
    assert.ok(step.length <= 4096 + 1, `${step.length} rows`);
    let bytes = 0;
    for (const row of step) {
      if (row.kind !== RecordKind.SpoolEnvelope) continue;
      envelopes++;
      bytes += row.bytes.length;
    }
    assert.ok(bytes < 900_000, `${bytes} bytes`);
  }
  assert.equal(envelopes, 5020);
});

Deno.test("a spool goes on in the copy: id, streams, numbers, cursors, positions; counted as opened", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/spool.db`;
    using box = await filled(null);
    const replica = await SpoolReplica.open(path);
    send(replica, "begin", ...everything(box), "end");
    await replica.stored();
    assert.ok(replica.whole);
    replica.close();
    using again = await Box.open(path);
    assert.equal(again.spool.id, box.spool.id);
    assert.equal(again.spool.generation(box.spool.id), box.spool.generation(box.spool.id) + 1);
    const [one, two] = again.spool.streams;
    assert.deepEqual(again.texts(one!), ["a", "b", "c", "d"]);
    assert.deepEqual(again.texts(two!), ["alarm"]);
    assert.deepEqual([one!.next, one!.hubs, one!.route], [5, ["hq", "other"], "#"]);
    assert.equal(one!.cursors.get("hq"), 3);
    assert.equal(again.spool.waiting(one!, "hq"), 1);
    assert.equal(again.spool.position("log"), "here");
    assert.equal(again.spool.stream("alarm/#", 1, ["hq"]), two);
  });
});

Deno.test("killed after any acknowledged post, the copy holds exactly what was acknowledged", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/replica.db`;
    const next = random(4711);
    using box = await Box.open(null);
    const wanted: Record<string, unknown[]>[] = [];
    const replica = await SpoolReplica.open(path);
    send(replica, "begin", ...everything(box), "end");
    for (let step = 0; step < 40; step++) {
      disturb(box, next);
      send(replica, ...write(box));
      await replica.stored();
      wanted.push(await contentOf(box.database));
      disturb(box, next);
      write(box); // never sent
      await copyDatabase(path, `${directory}/step${step}.db`);
      send(replica, "begin", ...everything(box), "end");
    }
    replica.close();
    for (const [step, content] of wanted.entries()) {
      assert.deepEqual(await contentOf(`${directory}/step${step}.db`), content, `step ${step}`);
      const opened = await SpoolReplica.open(`${directory}/step${step}.db`);
      assert.ok(opened.whole);
      opened.close();
      using again = await Box.open(`${directory}/step${step}.db`);
      assert.equal(again.spool.id, box.spool.id);
    }
  });
});

Deno.test("it knows after a crash whether it is whole: not in a snapshot, not once a gateway had it", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/replica.db`;
    using box = await filled(null);
    const rows = everything(box);
    const wholeAfter = async (name: string): Promise<boolean> => {
      await copyDatabase(path, `${directory}/${name}.db`);
      const opened = await SpoolReplica.open(`${directory}/${name}.db`);
      opened.close();
      return opened.whole;
    };
    const replica = await SpoolReplica.open(path);
    assert.equal(replica.whole, false);
    send(replica, "begin", ...rows.slice(0, -2));
    await replica.stored();
    assert.equal(await wholeAfter("within"), false);
    send(replica, ...rows.slice(-2));
    send(replica, "end");
    await replica.stored();
    assert.equal(await wholeAfter("after"), true);
    const generation = { kind: RecordKind.Spool, spool: box.spool.id, own: true, generation: 5 };
    send(replica, generation as SpoolRow); // the active's gateway was started again
    await replica.stored();
    assert.equal(await wholeAfter("again"), true);
    send(replica, "begin");
    await replica.stored();
    assert.equal(await wholeAfter("second"), false);
    replica.close();
    {
      using _ = await Box.open(`${directory}/after.db`);
    }
    const opened = await SpoolReplica.open(`${directory}/after.db`);
    assert.equal(opened.whole, false);
    assert.equal(opened.spool, box.spool.id);
    opened.close();
  });
});

Deno.test("a bad record is refused, and nothing of its post is applied", async () => {
  using box = await filled(null);
  const replica = await SpoolReplica.open(":memory:");
  send(replica, "begin", ...everything(box), "end");
  const { messages, bytes } = replica;
  replica.begin();
  const body = newRegion(20);
  body.view.setUint32(0, 1, true);
  body.view.setUint32(12, 99, true);
  assert.equal(replica.apply(RecordKind.SpoolRemoved, body, 0, 20), 20);
  assert.ok(replica.apply(RecordKind.SpoolRemoved, body, 0, 19) < 0);
  assert.ok(replica.apply(RecordKind.Sa, body, 0, 20) < 0);
  replica.begin(); // the next post
  replica.end();
  await replica.stored();
  assert.deepEqual([replica.messages, replica.bytes], [messages, bytes]);
  assert.equal(replica.apply(RecordKind.SnapshotEnd, body, 0, 0), -Fault.State);
  assert.equal(lastFault.field, "SNAPSHOT_END");
  replica.close();
});

Deno.test("a disk that refuses a post: none is acknowledged until a snapshot is stored", async () => {
  using box = await filled(null);
  const replica = await SpoolReplica.open(":memory:");
  send(replica, "begin", ...everything(box), "end");
  const { messages } = replica;
  const { transaction } = Database.prototype;
  box.add(box.spool.streams[0]!, "e");
  const rows = write(box);
  try {
    Database.prototype.transaction = (): void => {
      throw new DatabaseError("x.db", { message: "database or disk is full" });
    };
    send(replica, ...rows);
  } finally {
    Database.prototype.transaction = transaction;
  }
  await assert.rejects(replica.stored(), /disk is full/);
  assert.equal(replica.whole, false);
  send(replica, ...write(box)); // behind a gap
  await assert.rejects(replica.stored(), /disk is full/);
  assert.equal(replica.messages, messages);
  send(replica, "begin", ...everything(box), "end");
  await replica.stored();
  assert.ok(replica.whole);
  assert.equal(replica.messages, messages + 1);
  replica.close();
});

Deno.test("a sync that fails is final, as what was written may be gone", async () => {
  using box = await filled(null);
  const replica = await SpoolReplica.open(":memory:");
  const { sync } = Database.prototype;
  try {
    Database.prototype.sync = () =>
      Promise.reject(new DatabaseError("x.db", { message: "disk I/O error" }));
    send(replica, "begin", ...everything(box), "end");
    await assert.rejects(replica.stored(), /I\/O error/);
  } finally {
    Database.prototype.sync = sync;
  }
  send(replica, "begin", ...everything(box), "end");
  await assert.rejects(replica.stored(), /I\/O error/);
  assert.equal(replica.whole, false);
  replica.close();
});

Deno.test("a damaged database is set aside, and the copy begins anew", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/spool.db`;
    await Deno.writeTextFile(path, "this is no database, whatever it is".repeat(1000));
    using box = await filled(null);
    const replica = await SpoolReplica.open(path);
    assert.match(replica.setAside!, /spool\.damaged-\d{8}T\d{6}Z\.db$/);
    send(replica, "begin", ...everything(box), "end");
    await replica.stored();
    assert.ok(replica.whole);
    replica.close();
  });
});

Deno.test("skipAhead() passes over numbers and streams, and what waits is counted as before", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/spool.db`;
    using box = await filled(null);
    const replica = await SpoolReplica.open(path);
    send(replica, "begin", ...everything(box), "end");
    await replica.skipAhead(1000);
    replica.close();
    for (const restart of [false, true]) {
      using again = await Box.open(path);
      const [one, two, skipped] = again.spool.streams;
      assert.equal(again.spool.streams.length, 3 + (restart ? 1 : 0));
      assert.equal(skipped!.number, 2 + 1001);
      assert.equal(one!.next, restart ? 1007 : 1006);
      assert.deepEqual(again.texts(one!), ["a", "b", "c", "d", ...(restart ? ["e"] : [])]);
      assert.equal(again.spool.waiting(one!, "hq"), restart ? 2 : 1);
      assert.equal(again.spool.waiting(one!, "other"), restart ? 5 : 4);
      assert.equal(again.spool.waiting(two!, "hq"), 1);
      if (restart) break;
      again.add(one!, "e");
      const made = again.spool.stream("new", 0, ["hq"]);
      assert.equal(made.number, 2 + 1002);
      again.add(made, "first");
      await again.commit();
      assert.equal(again.spool.waiting(one!, "hq"), 2);
      assert.equal(again.spool.waiting(one!, "other"), 5);
      again.spool.acknowledge(one!, "other", 5); // the hub has one of those that never came here
      assert.equal(again.spool.waiting(one!, "other"), 1);
    }
  });
});

Deno.test("a stream that another box gave another meaning is empty as soon as that is known", async () => {
  using box = await filled(null);
  const replica = await SpoolReplica.open(":memory:");
  const rows = everything(box);
  send(replica, "begin", ...rows, "end");
  const stream = rows.find((row) => row.kind === RecordKind.SpoolStream)!;
  const before = replica.messages;
  send(replica, "begin", ...rows.slice(0, 1), stream);
  assert.equal(replica.messages, before);
  send(replica, { ...stream, route: "other/#" });
  assert.equal(replica.messages, before - 4);
  replica.close();
});
