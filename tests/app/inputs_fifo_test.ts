/** The FIFO input on real FIFOs: writers that come and go, back-pressure, limits. */
import assert from "node:assert/strict";
import { openFifo } from "../../src/app/inputs/fifo.ts";
import { nowMs } from "../../src/io/clock.ts";
import { Access, makeFifo, openPath, writeBytes } from "../../src/io/descriptor.ts";
import { Errno } from "../../src/io/errno.ts";
import { close } from "../../src/io/sockets.ts";
import { FakeIntake } from "./fake_intake.ts";

const LATE_MS = 20_000;

interface Box {
  readonly directory: string;
  readonly path: string;
  readonly intake: FakeIntake;
  open(path?: string): ReturnType<typeof openFifo>;
  /** A program that writes once and leaves. */
  write(text: string): void;
}

async function withBox(job: (box: Box) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  const path = `${directory}/in`;
  const intake = new FakeIntake();
  const ends: (() => Promise<void>)[] = [];
  const box: Box = {
    directory,
    path,
    intake,
    open: (at = path) => {
      const input = openFifo("pipe", { path: at, topic: "p" }, intake);
      ends.push(() => input.stop(nowMs()));
      return input;
    },
    write: (text) => Deno.writeTextFileSync(path, text, { create: false }),
  };
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error("a wait does not end")), LATE_MS);
  try {
    await Promise.race([job(box), late.promise]);
  } finally {
    clearTimeout(timer);
    for (const end of ends) await end();
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("fifo: it is made, for its owner and group, and writers come and go", () =>
  withBox(async (box) => {
    const input = box.open();
    const { isFifo, mode } = Deno.statSync(box.path);
    assert.deepEqual([isFifo, mode! & 0o777], [true, 0o620]);
    for (let i = 0; i < 20; i++) {
      box.write(`${i}\n`);
      await box.intake.taken(i + 1);
    }
    box.write("ha");
    box.write("lf\n");
    await box.intake.taken(21);
    assert.deepEqual(box.intake.texts.slice(-2), ["19", "half"]);
    const { topic, contentType } = box.intake.messages[0]!;
    assert.deepEqual([topic, contentType, input.where, input.trouble], [
      "p",
      "text/plain",
      box.path,
      "",
    ]);
  }));

Deno.test("fifo: one that is there is used as it is", () =>
  withBox(async (box) => {
    assert.equal(makeFifo(box.path, 0o600), 0);
    box.open();
    box.write("1\n");
    await box.intake.taken(1);
    assert.equal(Deno.statSync(box.path).mode! & 0o777, 0o600);
  }));

Deno.test("fifo: while there is no room the pipe fills, and its writer waits", () =>
  withBox(async (box) => {
    box.intake.setRoom(0);
    const input = box.open();
    const writer = openPath(box.path, Access.Write);
    const line = new TextEncoder().encode(`${"x".repeat(99)}\n`);
    let written = 0;
    let result = 0;
    // The pipe is full when, after the reader had its turns, it takes nothing more.
    for (let full = 0; full < 20;) {
      result = writeBytes(writer, line);
      if (result < 0) {
        full++;
        await box.intake.room();
      } else {
        full = 0;
        written += result;
      }
      assert.ok(written < 1_000_000, "the pipe never fills");
    }
    assert.equal(result, -Errno.Eagain);
    assert.equal(input.counts.waiting, 1);
    box.intake.setRoom(Infinity);
    await box.intake.taken(written / 100);
    assert.equal(writeBytes(writer, line), 100);
    await box.intake.taken(written / 100 + 1);
    close(writer);
    assert.equal(input.counts.dropped, 0);
  }));

Deno.test("fifo: where the spool drops, lines are counted", () =>
  withBox(async (box) => {
    box.intake.waits = false;
    box.intake.setRoom(1);
    const input = box.open();
    box.write("1\n2\n3\n");
    await box.intake.refused(2);
    await input.stop(nowMs() + LATE_MS);
    assert.deepEqual([box.intake.texts, input.counts.dropped], [["1"], 2]);
  }));

Deno.test("fifo: stop takes what is in the pipe, also a last line without an end", () =>
  withBox(async (box) => {
    const input = box.open();
    box.write("1\n2\n3");
    await input.stop(nowMs() + LATE_MS);
    assert.deepEqual(box.intake.texts, ["1", "2", "3"]);
    assert.deepEqual([input.counts.messages, input.counts.bytes], [3, 3]);
  }));

Deno.test("fifo: removed, it is made again", () =>
  withBox(async (box) => {
    box.open();
    box.write("1\n");
    await box.intake.taken(1);
    Deno.removeSync(box.path);
    for (const lateMs = nowMs() + LATE_MS;;) {
      try {
        box.write("2\n");
        break;
      } catch (error) {
        assert.ok(error instanceof Deno.errors.NotFound && nowMs() < lateMs);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
    await box.intake.taken(2);
  }));

Deno.test("fifo: a file in its place and a missing directory are told with the remedy", () =>
  withBox(async (box) => {
    await Deno.writeTextFile(box.path, "");
    assert.throws(() => box.open(), /Cannot make FIFO .*EEXIST.*; Remove what is there/);
    assert.throws(
      () => box.open(`${box.directory}/no/in`),
      /Cannot make FIFO .*ENOENT.*; Make its directory/,
    );
  }));
