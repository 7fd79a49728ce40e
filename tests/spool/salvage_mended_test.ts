/**
 * A spool whose database is damaged: what is read of it, salvages that end on the way, and room that
 * a hub that is gone must not keep.
 */
import assert from "node:assert/strict";
import { Router } from "../../src/app/gateway/router.ts";
import { DamagedDatabase } from "../../src/io/database.ts";
import { Box } from "./box.ts";

const PAGE = 4096;

async function inDirectory(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await work(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** A spool with `count` messages, `together` in an envelope; each begins with its place. */
async function fill(
  path: string,
  count: number,
  sizeBytes: number,
  together: number,
): Promise<void> {
  using box = await Box.open(path);
  const stream = box.spool.stream("#", 0, ["hq"]);
  for (let at = 0; at < count; at += together) {
    for (let one = at; one < at + together; one++) {
      box.add(stream, `${one} ${"x".repeat(sizeBytes)}`);
    }
    await box.commit();
  }
}

async function damage(path: string, page: number): Promise<void> {
  using file = await Deno.open(path, { write: true });
  await file.seek(page * PAGE, Deno.SeekMode.Start);
  await file.write(new Uint8Array(PAGE).fill(0x5a));
}

function placesIn(box: Box): number[] {
  return box.spool.streams.flatMap((one) => box.texts(one)).map((text) => parseInt(text));
}

/** Copies of a spool, each with another page damaged; never the first, which names the format. */
async function* damagedCopies(path: string, step: number): AsyncGenerator<[number, string]> {
  const pages = (await Deno.stat(path)).size / PAGE;
  for (let page = 1; page < pages; page += step) {
    const copy = `${path}.${page}.db`;
    await Deno.copyFile(path, copy);
    await damage(copy, page);
    yield [page, copy];
  }
}

Deno.test("a table is read from both ends up to a damaged page", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/spool.db`;
    await fill(path, 400, 300, 1);
    let gaps = 0;
    for await (const [page, copy] of damagedCopies(path, 4)) {
      const seen = new Set<number>();
      const database = new DamagedDatabase(copy);
      const select = "SELECT stream, number FROM envelopes";
      database.each<{ number: number }>(select, ["stream", "number"], ({ number }) => {
        seen.add(number);
      });
      database.close();
      if (seen.size === 400 || !seen.has(1) || !seen.has(400)) continue;
      gaps++;
      assert.ok(seen.size >= 250, `page ${page}: ${seen.size} of 400`);
    }
    assert.ok(gaps >= 5, `${gaps} pages left a gap in the midst`);
  });
});

for (const [sizeBytes, count, together] of [[5000, 400, 10], [60_000, 20, 1]] as const) {
  Deno.test(`a damaged page costs one envelope of messages of ${sizeBytes} bytes at most, counted`, async () => {
    await inDirectory(async (directory) => {
      const path = `${directory}/spool.db`;
      await fill(path, count, sizeBytes, together);
      let salvaged = 0;
      for await (const [page, copy] of damagedCopies(path, 13)) {
        using box = await Box.open(copy);
        const places = placesIn(box);
        const lost = count - places.length;
        assert.ok(lost <= together, `page ${page}: ${lost} lost`);
        assert.deepEqual(places, [...new Set(places)].sort((a, b) => a - b), "in order, once");
        if (box.salvage === null) assert.equal(box.spool.lost, lost, `page ${page}`);
        else {
          salvaged++;
          assert.equal(box.salvage.saved, places.length, `page ${page}`);
          assert.equal(box.salvage.lost ?? lost, lost, `page ${page}`);
        }
      }
      assert.ok(salvaged > 0);
    });
  });
}

/**
 * Opens a spool in a process that is killed before the given step of its work on files and databases,
 * and tells its steps when it has fewer.
 */
const KILLED = (path: string, step: number): string => `
  import { DatabaseSync } from "node:sqlite";
  import { openSpool } from ${
  JSON.stringify(import.meta.resolve("../../src/app/spool/open_spool.ts"))
};
  let steps = 0;
  for (const [owner, name] of [
    [Deno, "rename"], [Deno, "remove"], [Deno, "open"], [DatabaseSync.prototype, "exec"],
  ]) {
    const work = owner[name];
    owner[name] = function (...words) {
      if (++steps === ${step}) Deno.kill(Deno.pid, "SIGKILL");
      return work.apply(this, words);
    };
  }
  await openSpool(${JSON.stringify(path)}, {
    gateway: "client.gw1", randomId: () => crypto.getRandomValues(new Uint8Array(16)),
    nowMs: () => 0, bytesMax: 1 << 30, ageMaxMs: 0, whenFull: "block", renew: false,
  });
  console.log(steps);
`;

/** Returns how many steps there were, or null when it was killed. */
async function openKilled(path: string, step: number): Promise<number | null> {
  const script = `${path}.ts`;
  await Deno.writeTextFile(script, KILLED(path, step));
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--no-config", "--no-lock", script],
  });
  const { signal, stderr, stdout } = await command.output();
  if (signal === "SIGKILL") return null;
  assert.equal(new TextDecoder().decode(stderr), "");
  return Number(new TextDecoder().decode(stdout));
}

Deno.test("a salvage that is killed at any step is finished, or done again, at the next start", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/damaged.db`;
    await fill(path, 200, 300, 1);
    await damage(path, 7);
    const copyOf = async (step: number): Promise<string> => {
      await Deno.mkdir(`${directory}/${step}`);
      await Deno.copyFile(path, `${directory}/${step}/spool.db`);
      return `${directory}/${step}/spool.db`;
    };
    const whole = await copyOf(0);
    const steps = await openKilled(whole, 0);
    assert.ok(steps !== null && steps > 10, `${steps} steps`);
    using box = await Box.open(whole);
    const places = placesIn(box);
    assert.ok(places.length >= 180 && places.length < 200, `${places.length} saved`);
    let again = 0;
    const check = async (step: number): Promise<void> => {
      const copy = await copyOf(step);
      assert.equal(await openKilled(copy, step), null, `step ${step}`);
      using box = await Box.open(copy);
      assert.deepEqual(placesIn(box), places, `step ${step}`);
      if (box.salvage !== null) again++;
      const names = [...Deno.readDirSync(`${directory}/${step}`)].map(({ name }) => name);
      assert.equal(names.filter((name) => /^spool\.damaged-.*\.db$/.test(name)).length, 1);
      assert.deepEqual(names.filter((name) => name.includes("salvaged")), []);
    };
    for (let step = 1; step <= steps; step += 3) {
      await Promise.all([step, step + 1, step + 2].filter((one) => one <= steps).map(check));
    }
    assert.ok(again > 0 && again < steps, `${again} of ${steps} were done again`);
  });
});

Deno.test("a removed hub frees what only it did not have: while it runs, and after a restart", async () => {
  await inDirectory(async (directory) => {
    for (const restart of [false, true]) {
      const path = `${directory}/${restart}.db`;
      let box = await Box.open(path, { bytesMax: 5000 });
      try {
        const stream = new Router(box.spool, [], ["here", "gone"]).way("x")!.stream!;
        while (box.add(stream, "m".repeat(100)) === 1) await box.commit();
        box.spool.acknowledge(stream, "here", stream.durable);
        await box.commit();
        assert.ok(box.spool.full);
        if (restart) {
          box[Symbol.dispose]();
          box = await Box.open(path, { bytesMax: 5000 });
        }
        new Router(box.spool, [], ["here"]);
        assert.ok(box.spool.acknowledged, "there is something to write");
        await box.commit();
        assert.equal(box.spool.full, false, `restart: ${restart}`);
        assert.equal(box.spool.messages, 0);
      } finally {
        box[Symbol.dispose]();
      }
    }
  });
});

Deno.test("a removed hub takes nothing from a hub that still waits", async () => {
  using box = await Box.open(null);
  const stream = new Router(box.spool, [], ["here", "gone"]).way("x")!.stream!;
  for (const text of ["a", "b", "c"]) {
    box.add(stream, text);
    await box.commit();
  }
  box.spool.acknowledge(stream, "here", 1);
  box.spool.acknowledge(stream, "gone", 3);
  await box.commit();
  new Router(box.spool, [], ["here"]);
  await box.commit();
  assert.deepEqual(box.texts(stream), ["b", "c"]);
  assert.equal(box.spool.waiting(stream, "here"), 2);
});
