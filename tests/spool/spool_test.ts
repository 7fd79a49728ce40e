/** The spool: order, acknowledgements, bounds, restarts, crashes, damage. */
import assert from "node:assert/strict";
import { Database, DatabaseError } from "../../src/io/database.ts";
import { Commits } from "../../src/app/spool/commits.ts";
import type { Stream } from "../../src/app/spool/stream.ts";
import { Box } from "./box.ts";
import { copyDatabase, inDirectory } from "./copying.ts";

function stream(box: Box, lane = 0, hubs: readonly string[] = ["hq"]): Stream {
  return box.spool.stream("#", lane, hubs);
}

function range(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, at) => `message ${from + at}`);
}

for (const place of ["disk", "ram"]) {
  Deno.test(`${place}: messages are read in order, once they are durable, until all hubs have them`, async () => {
    await inDirectory(async (directory) => {
      using box = await Box.open(place === "disk" ? `${directory}/spool.db` : null);
      const one = stream(box, 0, ["hq", "other"]);
      assert.equal(box.add(one, "a", "b"), 2);
      assert.deepEqual(box.texts(one), []);
      await box.commit();
      box.add(one, "c");
      assert.deepEqual(box.texts(one), ["a", "b"]);
      await box.commit();
      assert.deepEqual(box.texts(one), ["a", "b", "c"]);
      assert.deepEqual(box.texts(one, 2), ["c"]);
      assert.equal(box.spool.waiting(one, "hq"), 3);
      box.spool.acknowledge(one, "hq", 3);
      await box.commit();
      assert.equal(box.spool.waiting(one, "hq"), 0);
      assert.deepEqual(box.texts(one), ["a", "b", "c"]);
      box.spool.acknowledge(one, "other", 2);
      await box.commit();
      assert.deepEqual(box.texts(one), ["c"]);
      box.spool.acknowledge(one, "other", 3);
      await box.commit();
      assert.equal(box.spool.messages, 0);
      assert.equal(box.spool.bytes, 0);
      assert.equal(box.spool.committedMessages, 3);
    });
  });
}

Deno.test("many messages fill many envelopes, a large one has its own", async () => {
  using box = await Box.open(null);
  const one = stream(box);
  const texts = [...range(0, 3000), "x".repeat(3_000_000), ...range(3000, 3100)];
  box.add(one, ...texts);
  await box.commit();
  assert.deepEqual(box.texts(one), texts);
  const first = box.spool.read(one, 0)!;
  assert.ok(first.envelope.length <= 64 * 1024 + 100 && first.count > 500);
  assert.equal(box.spool.read(one, 3000)!.count, 1);
});

Deno.test("a restart finds everything as it was: messages, numbers, cursors, positions, age", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/spool.db`;
    let id = "";
    {
      using box = await Box.open(path, { nowMs: () => 5000 });
      const one = stream(box);
      id = box.spool.id;
      assert.equal(box.spool.generation(id), 1);
      box.add(one, ...range(0, 10));
      box.spool.setPosition("log", "here");
      await box.commit();
      box.spool.acknowledge(one, "hq", 10);
      box.add(one, "next");
      await box.commit();
    }
    using again = await Box.open(path, { nowMs: () => 1 });
    assert.equal(again.spool.id, id);
    assert.equal(again.spool.generation(id), 2);
    assert.equal(again.spool.position("log"), "here");
    const one = stream(again);
    assert.equal(again.spool.streams.length, 1);
    assert.equal(one.next, 12);
    assert.equal(one.gone, 10);
    assert.equal(again.spool.messages, 1);
    assert.deepEqual(again.texts(one), ["next"]);
    assert.equal(again.spool.waiting(one, "hq"), 1);
    assert.equal(again.spool.oldestMs(), 0); // the time it was off does not count
  });
});

Deno.test("numbers never come again, also when everything was acknowledged and deleted", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/spool.db`;
    for (let round = 0; round < 5; round++) {
      using box = await Box.open(path);
      const one = stream(box);
      assert.equal(one.next, round * 3 + 1);
      box.add(one, "a", "b", "c");
      await box.commit();
      box.spool.acknowledge(one, "hq", one.next - 1);
      await box.commit();
    }
  });
});

Deno.test("killed after any commit, it holds exactly what was committed", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/spool.db`;
    const wanted: string[][] = [];
    {
      using box = await Box.open(path);
      const one = stream(box);
      let at = 0;
      let acknowledged = 0;
      for (let step = 0; step < 40; step++) {
        const count = (step * 7) % 50 + 1;
        box.add(one, ...range(at, at + count));
        at += count;
        if (step % 3 === 2) {
          acknowledged = one.written; // an envelope's last number, as hubs acknowledge
          box.spool.acknowledge(one, "hq", acknowledged);
        }
        await box.commit();
        wanted.push(range(acknowledged, at));
        box.add(one, ...range(at, at + 1)); // gathered, and not written when the box dies
        at++;
        await copyDatabase(path, `${directory}/step${step}.db`);
      }
    }
    for (const [step, texts] of wanted.entries()) {
      using box = await Box.open(`${directory}/step${step}.db`);
      assert.deepEqual(box.texts(stream(box)), texts, `step ${step}`);
    }
  });
});

Deno.test("a bound on bytes: block and drop-newest refuse, drop-oldest lets the oldest go", async () => {
  for (const whenFull of ["block", "drop-newest", "drop-oldest"] as const) {
    using box = await Box.open(null, { bytesMax: 100_000, whenFull });
    const one = stream(box);
    let taken = 0;
    for (let round = 0; round < 100; round++) {
      taken += box.add(one, ...Array.from({ length: 10 }, () => "x".repeat(500)));
      await box.commit();
    }
    const { bytes, dropped, messages } = box.spool;
    assert.equal(box.spool.waits, whenFull !== "drop-newest");
    assert.ok(bytes <= 110_000 && bytes > 80_000, `${bytes} bytes`);
    if (whenFull === "drop-oldest") {
      assert.equal(taken, 1000);
      assert.equal(dropped, 1000 - messages);
      assert.equal(box.spool.waiting(one, "hq"), messages);
      assert.equal(box.spool.read(one, 0)!.number - box.spool.read(one, 0)!.count, dropped);
    } else {
      assert.ok(box.spool.full);
      assert.equal(dropped, 0);
      assert.equal(taken, messages);
      box.spool.acknowledge(one, "hq", one.durable);
      await box.commit();
      assert.ok(!box.spool.full);
      assert.equal(box.add(one, "room again"), 1);
    }
  }
});

Deno.test("drop-oldest takes from what matters least first", async () => {
  using box = await Box.open(null, { bytesMax: 50_000, whenFull: "drop-oldest" });
  const low = stream(box, 0);
  const high = stream(box, 1);
  box.spool.importanceOf = (one) => one === high ? 1 : 0;
  box.add(high, ...range(0, 100));
  await box.commit();
  for (let round = 0; round < 50; round++) {
    box.add(low, ...Array.from({ length: 10 }, () => "y".repeat(300)));
    await box.commit();
  }
  assert.equal(box.texts(high).length, 100);
  assert.ok(box.spool.dropped > 300);
});

Deno.test("a bound on age counts running time only", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/spool.db`;
    let now = 1_000_000;
    {
      using box = await Box.open(path, { nowMs: () => now, ageMaxMs: 10_000 });
      const one = stream(box);
      box.add(one, "old");
      await box.commit();
      now += 6000;
      box.add(one, "newer");
      await box.commit();
      assert.equal(box.spool.oldestMs(), 6000);
    }
    now = 5; // switched off for a year, with another clock
    using box = await Box.open(path, { nowMs: () => now, ageMaxMs: 10_000 });
    const one = stream(box);
    await box.commit();
    assert.deepEqual(box.texts(one), ["old", "newer"]);
    now += 4500;
    await box.commit();
    assert.deepEqual(box.texts(one), ["newer"]);
    assert.equal(box.spool.dropped, 1);
  });
});

Deno.test("a second process is told that the spool is in use", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/spool.db`;
    using _box = await Box.open(path);
    await assert.rejects(Box.open(path), (error: DatabaseError) => {
      assert.equal(error.trouble, "busy");
      assert.match(error.message, /another process uses it/);
      return true;
    });
  });
});

Deno.test("a transaction that fails changes nothing, and can be tried again", async () => {
  using box = await Box.open(null);
  const one = stream(box);
  box.add(one, "a", "b");
  assert.throws(() =>
    box.database.transaction(() => {
      box.spool.write();
      throw new Error("the disk");
    })
  );
  assert.deepEqual(box.texts(one), []);
  await box.commit();
  assert.deepEqual(box.texts(one), ["a", "b"]);
});

Deno.test("a new id keeps the messages and numbers them where no hub has seen any", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/spool.db`;
    let id = "";
    {
      using box = await Box.open(path);
      id = box.spool.id;
      box.add(stream(box), "kept");
      await box.commit();
    }
    using box = await Box.open(path, { renew: true });
    assert.notEqual(box.spool.id, id);
    assert.equal(box.spool.generation(box.spool.id), 1);
    assert.deepEqual(box.texts(stream(box)), ["kept"]);
    assert.equal(box.spool.streams[0]!.spool, box.spool.id);
  });
});

Deno.test("an envelope whose bytes changed on the disk is skipped and counted", async () => {
  using box = await Box.open(null);
  const one = stream(box);
  for (const text of ["first", "second", "third"]) {
    box.add(one, text);
    await box.commit();
  }
  box.database.prepare(
    "UPDATE envelopes SET envelope = zeroblob(length(envelope)) WHERE number = 2",
  ).run();
  assert.deepEqual(box.texts(one), ["first", "third"]);
  assert.equal(box.spool.lost, 1);
});

/** Fills a spool with as much as spans many pages; returns its stream's texts. */
async function fill(path: string): Promise<{ id: string; texts: string[] }> {
  using box = await Box.open(path);
  const one = stream(box);
  const texts = range(0, 4000);
  for (let at = 0; at < texts.length; at += 20) {
    box.add(one, ...texts.slice(at, at + 20));
    await box.commit();
  }
  box.spool.acknowledge(one, "hq", 400);
  box.spool.setPosition("log", "there");
  await box.commit();
  return { id: box.spool.id, texts: texts.slice(400) };
}

const PAGE = 4096;

Deno.test("a damaged page: set aside, the rest saved under its old id, the lost counted", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/spool.db`;
    const { id, texts } = await fill(path);
    const { size } = await Deno.stat(path);
    let damaged = 0;
    for (let page = 2; page < size / PAGE; page += 5) {
      const copy = `${directory}/page${page}/spool.db`;
      await Deno.mkdir(`${directory}/page${page}`);
      await Deno.copyFile(path, copy);
      const file = await Deno.open(copy, { write: true });
      await file.seek(page * PAGE, Deno.SeekMode.Start);
      await file.write(new Uint8Array(PAGE).fill(0x5a));
      file.close();
      using box = await Box.open(copy);
      const { salvage, spool } = box;
      const all = spool.streams.flatMap((one) => box.texts(one));
      assert.equal(new Set(all).size, all.length);
      const lost = texts.length - all.length;
      if (salvage === null) {
        assert.equal(spool.lost, lost, `page ${page}: counted when read`);
        continue;
      }
      damaged++;
      assert.notEqual(spool.id, id);
      assert.ok((await Deno.stat(salvage.setAside)).isFile);
      assert.match(salvage.why, /malformed/);
      assert.equal(salvage.saved, all.length);
      if (salvage.lost !== null) assert.equal(salvage.lost, lost, `page ${page}`);
      assert.deepEqual(all, texts.filter((text) => all.includes(text)), "in order");
      if (all.length > 0) {
        const old = spool.streams.find((one) => one.messages > 0)!;
        assert.equal(old.spool, id);
        assert.ok(spool.generation(id) > 1, "newer than what a hub has seen");
      }
    }
    assert.ok(damaged > 3, `${damaged} pages mattered`);
  });
});

Deno.test("a file that is no database at all is set aside, and a new spool begins", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/spool.db`;
    await Deno.writeTextFile(path, "this is no database, whatever it is".repeat(1000));
    using box = await Box.open(path);
    assert.equal(box.salvage!.lost, null);
    assert.equal(box.salvage!.saved, 0);
    assert.match(box.salvage!.setAside, /spool\.damaged-\d{8}T\d{6}Z\.db$/);
    box.add(stream(box), "goes on");
    await box.commit();
    assert.deepEqual(box.texts(stream(box)), ["goes on"]);
  });
});

Deno.test("a torn log: what was synced before is there, and nothing is set aside", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/spool.db`;
    const copy = `${directory}/copy.db`;
    {
      using box = await Box.open(path);
      const one = stream(box);
      box.add(one, ...range(0, 10));
      await box.commit();
      await copyDatabase(path, copy);
    }
    const log = await Deno.readFile(`${copy}-wal`);
    for (const cut of [log.length - 1, log.length - 100, log.length - 5000]) {
      await Deno.writeFile(`${directory}/torn.db-wal`, log.subarray(0, cut));
      await Deno.copyFile(copy, `${directory}/torn.db`);
      using box = await Box.open(`${directory}/torn.db`);
      assert.equal(box.salvage, null);
      assert.deepEqual(box.spool.streams.flatMap((one) => box.texts(one)), []);
      box.add(stream(box), "goes on");
      await box.commit();
    }
  });
});

Deno.test("the room of a backlog that was sent goes back to the disk", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/spool.db`;
    using box = await Box.open(path);
    const one = stream(box);
    box.add(one, ...Array.from({ length: 20_000 }, () => "z".repeat(500)));
    await box.commit();
    box.spool.acknowledge(one, "hq", one.durable);
    await box.commit();
    assert.ok(box.database.freePages > 2000);
    let steps = 0;
    while (box.database.compact(512)) steps++;
    assert.ok(steps >= 4, `${steps} steps`);
    assert.ok(box.database.pages < 100, `${box.database.pages} pages`);
    assert.ok((await Deno.stat(path)).size < 500_000);
    box.add(one, "goes on");
    await box.commit();
    assert.deepEqual(box.texts(one), ["goes on"]);
  });
});

/** A commit loop over a box, in real time. */
function commitsOf(box: Box, onDurable = (): void => {}): Commits {
  return new Commits({ ...box, salvage: null, reserve: null }, 5, onDurable);
}

Deno.test("Commits: what was gathered is durable once, in few transactions, and then told", async () => {
  using box = await Box.open(null);
  const one = stream(box);
  let told = 0;
  const commits = commitsOf(box, () => told++);
  for (let round = 0; round < 100; round++) {
    box.add(one, `message ${round}`);
    commits.touch();
  }
  await commits.durable();
  assert.deepEqual(box.texts(one), range(0, 100));
  assert.ok(commits.count <= 2 && told === commits.count);
  box.add(one, "last");
  await commits.stop();
  assert.deepEqual(box.texts(one, 100), ["last"]);
});

Deno.test("Commits: while the database refuses, nothing is durable and nothing is lost", async () => {
  using box = await Box.open(null);
  const one = stream(box);
  const commits = commitsOf(box);
  let refuse = true;
  const write = box.spool.write.bind(box.spool);
  box.spool.write = (part) => {
    if (refuse) throw new DatabaseError("x.db", { message: "disk I/O error" });
    return write(part);
  };
  box.add(one, "kept");
  let durable = false;
  const done = commits.durable().then(() => durable = true);
  await commits.room();
  assert.equal(durable, false);
  assert.match(commits.trouble!.message, /disk I\/O error/);
  refuse = false;
  await done;
  assert.equal(commits.trouble, null);
  assert.deepEqual(box.texts(one), ["kept"]);
  await commits.stop();
});

Deno.test("Commits: a sync that fails ends it, as what was written may be gone", async () => {
  using box = await Box.open(null);
  const commits = commitsOf(box);
  box.database.sync = () => Promise.reject(new DatabaseError("x.db", { message: "EIO" }));
  box.add(stream(box), "lost with the disk");
  commits.touch();
  await assert.rejects(commits.failed, /EIO/);
  assert.deepEqual(box.texts(stream(box)), []);
});

Deno.test("Database: a path that cannot be used says why and what to do", async () => {
  await assert.rejects(Database.open("/proc/none/x.db", ""), (error: Error) => {
    assert.match(error.message, /^Cannot use database \/proc\/none\/x\.db: unable to open/);
    return true;
  });
});
