/** The file output: exactly once through crashes, rotation, other people's moves and full disks. */
import assert from "node:assert/strict";
import { FileOutput } from "../../src/app/outputs/file.ts";
import type { FileOptions } from "../../src/app/outputs/file.ts";
import { openOutput } from "../../src/app/outputs/open.ts";
import { received, until } from "./outputs_messages.ts";

const WRITER = new URL("outputs_file_writer.ts", import.meta.url).pathname;

async function withFolder(job: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await job(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function options(path: string, fields: Partial<FileOptions> = {}): FileOptions {
  return {
    type: "file",
    path,
    format: "raw",
    rotateBytes: 0,
    rotateSeconds: 0,
    keep: 3,
    required: true,
    ...fields,
  };
}

function open(
  path: string,
  stored: string | null,
  fields: Partial<FileOptions> = {},
  waitingMax?: number,
): Promise<FileOutput> {
  return FileOutput.open("archive", options(path, fields), stored, waitingMax);
}

/** One round; its position. */
async function round(output: FileOutput, ...payloads: string[]): Promise<string> {
  for (const payload of payloads) output.take(received(payload));
  await output.flush();
  const position = output.position();
  assert.notEqual(position, null);
  return position!;
}

function names(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}

function read(path: string): string {
  return Deno.readTextFileSync(path);
}

/** `a.log`, then `a.log.1` and so on, oldest first, as one text. */
function history(path: string): string {
  let text = "";
  const folder = path.slice(0, path.lastIndexOf("/"));
  const numbers = names(folder).flatMap((name) => {
    const match = /^a\.log\.(\d+)$/.exec(name);
    return match === null ? [] : [Number(match[1])];
  });
  for (const number of numbers.sort((a, b) => b - a)) text += read(`${path}.${number}`);
  return text + read(path);
}

Deno.test("rounds are appended, and the position names the file and its size", () =>
  withFolder(async (folder) => {
    const path = `${folder}/a.log`;
    const output = await open(path, null);
    assert.equal(JSON.parse(output.position()!).size, 0);
    await round(output, "one", "two");
    const stored = JSON.parse(await round(output, "three"));
    const info = Deno.statSync(path);
    assert.equal(read(path), "one\ntwo\nthree\n");
    assert.deepEqual([stored.path, stored.device, stored.inode, stored.size], [
      ...[path, info.dev, info.ino, 14],
    ]);
    assert.equal(info.mode! & 0o777, 0o640 & ~Deno.umask());
    assert.deepEqual(output.counts, { messages: 3, bytes: 14, dropped: 0, reopened: 0 });
    assert.equal(output.trouble, "");
    await output.close();
    await output.close();
  }));

Deno.test("nothing is in the file before flush(), and nothing of what was not flushed after close", () =>
  withFolder(async (folder) => {
    const path = `${folder}/a.log`;
    const output = await open(path, null);
    output.take(received("never"));
    assert.equal(read(path), "");
    await output.close();
    assert.equal(read(path), "");
    await assert.rejects(output.flush(), /as it is closed/);
  }));

Deno.test("opened with each older position, the file is cut back and the rest written once", () =>
  withFolder(async (folder) => {
    const path = `${folder}/a.log`;
    const lines = ["zero", "one", "two", "three", "four"];
    for (let crash = 0; crash <= lines.length; crash++) {
      await Deno.writeTextFile(path, "");
      const first = await open(path, null);
      const stored = [first.position()!];
      for (const line of lines) stored.push(await round(first, line));
      await first.close();
      // The process ended after its file was written and before the position was stored; the last
      // write came to the disk in part.
      const whole = Deno.statSync(path).size;
      await Deno.truncate(path, Math.max(JSON.parse(stored[crash]!).size, whole - 2));
      const second = await open(path, stored[crash]!);
      await round(second, ...lines.slice(crash));
      assert.equal(second.trouble, "");
      await second.close();
      assert.equal(read(path), `${lines.join("\n")}\n`, `after ${crash} rounds`);
    }
  }));

Deno.test("a crash between rotation and the next stored position neither loses nor doubles", () =>
  withFolder(async (folder) => {
    const path = `${folder}/a.log`;
    const settings = { rotateBytes: 10, keep: 9 };
    const first = await open(path, null, settings);
    const before = await round(first, "12345");
    const after = await round(first, "67890"); // 12 bytes: moved aside at the end of this round
    await first.close();
    assert.deepEqual(names(folder), ["a.log", "a.log.1"]);
    assert.equal(JSON.parse(after).size, 0);
    const second = await open(path, before, settings); // `after` was never stored
    assert.equal(read(`${path}.1`), "12345\n");
    await round(second, "67890");
    assert.equal(second.trouble, "");
    await second.close();
    assert.equal(history(path), "12345\n67890\n");
  }));

Deno.test("a crash at each step of a rotation goes on where it was", () =>
  withFolder(async (folder) => {
    const path = `${folder}/a.log`;
    const settings = { rotateBytes: 6, keep: 9 };
    // a.log.2 -> a.log.3, a.log.1 -> a.log.2, a.log -> a.log.1, a new a.log
    for (let steps = 0; steps <= 4; steps++) {
      const first = await open(path, null, settings);
      await round(first, "11111");
      await round(first, "22222");
      const stored = await round(first, "3333"); // not enough to be moved
      assert.deepEqual(names(folder), ["a.log", "a.log.1", "a.log.2"]);
      await first.close();
      await Deno.writeTextFile(path, "444\n", { append: true }); // written, not stored
      const moves = [["a.log.2", "a.log.3"], ["a.log.1", "a.log.2"], ["a.log", "a.log.1"]] as const;
      for (const [from, to] of moves.slice(0, steps)) {
        await Deno.rename(`${folder}/${from}`, `${folder}/${to}`);
      }
      if (steps === 4) await Deno.writeTextFile(path, "");
      const second = await open(path, stored, settings);
      assert.equal(second.trouble, "");
      await round(second, "444");
      await round(second, "55555");
      await second.close();
      assert.equal(history(path), "11111\n22222\n3333\n444\n55555\n", `after ${steps} steps`);
      for (const name of names(folder)) await Deno.remove(`${folder}/${name}`);
    }
  }));

Deno.test("killed twenty times at any moment, each line is there once and in order", () =>
  withFolder(async (folder) => {
    const logs = `${folder}/logs`;
    await Deno.mkdir(logs);
    const path = `${logs}/a.log`;
    const state = `${folder}/state`;
    for (let run = 0; run < 20; run++) {
      const writer = new Deno.Command(Deno.execPath(), {
        args: ["run", "--allow-all", "--no-check", WRITER, path, state],
        stdout: "piped",
        stderr: "inherit",
      }).spawn();
      const reader = writer.stdout.getReader();
      await reader.read(); // it runs
      const size = run * 7;
      const before = JSON.parse(Deno.readTextFileSync(state)).next;
      while (JSON.parse(Deno.readTextFileSync(state)).next <= before + size) {
        await new Promise((resolve) => setTimeout(resolve, run % 3));
      }
      writer.kill("SIGKILL");
      await writer.status;
      await reader.cancel();
    }
    const { next, position } = JSON.parse(Deno.readTextFileSync(state));
    const output = await open(path, position, { rotateBytes: 2000, keep: 100_000 });
    assert.equal(output.trouble, "");
    await output.close();
    const wanted = Array.from({ length: next }, (_, number) => `line ${number}`);
    assert.ok(next > 1000, `${next} lines`);
    assert.ok(names(logs).length > 3);
    assert.deepEqual(history(path).trimEnd().split("\n"), wanted);
  }));

Deno.test("a file is moved aside at rotateBytes, not a byte before; the oldest goes", () =>
  withFolder(async (folder) => {
    const path = `${folder}/a.log`;
    const output = await open(path, null, { rotateBytes: 10, keep: 2 });
    await round(output, "12345678"); // 9 bytes
    assert.deepEqual(names(folder), ["a.log"]);
    await round(output, ""); // 10
    assert.deepEqual(names(folder), ["a.log", "a.log.1"]);
    assert.equal(read(path), "");
    await round(output, "second long line", "one round stays together");
    await round(output, "the third one");
    await round(output, "the fourth one");
    assert.deepEqual(names(folder), ["a.log", "a.log.1", "a.log.2"]);
    assert.equal(read(`${path}.2`), "the third one\n");
    assert.equal(read(`${path}.1`), "the fourth one\n");
    assert.equal(output.counts.reopened, 4);
    await output.close();
  }));

Deno.test("a gap in the numbers is filled: nothing is overwritten, nothing goes before its time", () =>
  withFolder(async (folder) => {
    const path = `${folder}/a.log`;
    await Deno.writeTextFile(`${path}.1`, "one\n");
    await Deno.writeTextFile(`${path}.3`, "three\n");
    const output = await open(path, null, { rotateBytes: 1, keep: 3 });
    await round(output, "new");
    await output.close();
    assert.equal(read(`${path}.1`), "new\n");
    assert.equal(read(`${path}.2`), "one\n");
    assert.equal(read(`${path}.3`), "three\n");
  }));

Deno.test("a file is moved aside at its age, but not while it is empty", () =>
  withFolder(async (folder) => {
    const path = `${folder}/a.log`;
    const output = await open(path, null, { rotateSeconds: 1 });
    await until(() => Date.now() - Deno.statSync(path).birthtime!.getTime() > 1050, "a second");
    await output.flush();
    assert.deepEqual(names(folder), ["a.log"]);
    await round(output, "old enough");
    assert.deepEqual(names(folder), ["a.log", "a.log.1"]);
    await round(output, "young");
    assert.deepEqual(names(folder), ["a.log", "a.log.1"]);
    assert.equal(read(path), "young\n");
    await output.close();
  }));

Deno.test("rotation that cannot be done is told, and the present file goes on", () =>
  withFolder(async (folder) => {
    const path = `${folder}/a.log`;
    const output = await open(path, null, { rotateBytes: 1, keep: 1 });
    await Deno.mkdir(`${path}.1/full`, { recursive: true }); // cannot be removed as a file is
    await round(output, "one");
    assert.match(output.trouble, /Cannot go on to a new /);
    await round(output, "two");
    assert.equal(read(path), "one\ntwo\n");
    await Deno.remove(`${path}.1`, { recursive: true });
    await round(output, "three");
    assert.equal(output.trouble, "");
    assert.equal(read(`${path}.1`), "one\ntwo\nthree\n");
    await output.close();
  }));

Deno.test("a file that somebody moved away gets the round under way, then a new one is made", () =>
  withFolder(async (folder) => {
    const path = `${folder}/a.log`;
    const first = await open(path, null);
    const before = await round(first, "one");
    await Deno.rename(path, `${path}-20261121`);
    const after = await round(first, "two");
    assert.equal(read(`${path}-20261121`), "one\ntwo\n");
    assert.equal(JSON.parse(after).size, 0);
    assert.equal(first.counts.reopened, 1);
    assert.equal(first.trouble, "");
    await first.close();
    const second = await open(path, before); // `after` was never stored
    assert.equal(read(`${path}-20261121`), "one\n");
    await round(second, "two");
    assert.equal(second.trouble, "");
    assert.equal(read(path), "two\n");
    await second.close();
  }));

Deno.test("a file moved away while the hub was down is cut back where it is now", () =>
  withFolder(async (folder) => {
    const path = `${folder}/a.log`;
    const first = await open(path, null);
    const stored = await round(first, "one");
    await round(first, "two");
    await first.close();
    await Deno.rename(path, `${path}.1`);
    await Deno.writeTextFile(path, "somebody else's"); // no line end: ours begins on its own line
    const second = await open(path, stored);
    assert.equal(second.trouble, "");
    await round(second, "two");
    await second.close();
    assert.equal(read(`${path}.1`), "one\n");
    assert.equal(read(path), "somebody else's\ntwo\n");
  }));

Deno.test("another path in the configuration: the old file is cut back, the new one gets the rest", () =>
  withFolder(async (folder) => {
    const first = await open(`${folder}/a.log`, null);
    const stored = await round(first, "one");
    await round(first, "two");
    await first.close();
    const second = await open(`${folder}/b.log`, stored);
    await round(second, "two");
    await second.close();
    assert.equal(read(`${folder}/a.log`), "one\n");
    assert.equal(read(`${folder}/b.log`), "two\n");
  }));

Deno.test("what cannot be resolved is told and counted, and nobody's bytes are cut", () =>
  withFolder(async (folder) => {
    const path = `${folder}/a.log`;
    const first = await open(path, null);
    const stored = await round(first, "one");
    await first.close();
    await Deno.remove(path);
    await Deno.writeTextFile(`${folder}/keeps-the-inode-busy`, "");
    await Deno.writeTextFile(path, "somebody else's file, longer than ours was\n");
    const second = await open(path, stored);
    assert.match(second.trouble, /Cannot find the file that was .*after byte 4 will be written ag/);
    assert.equal(second.mismatches, 1);
    await round(second, "two");
    assert.equal(second.trouble, "");
    await second.close();
    assert.equal(read(path), "somebody else's file, longer than ours was\ntwo\n");
  }));

Deno.test("an inode that is used again is another file; a device may have another number", () =>
  withFolder(async (folder) => {
    const path = `${folder}/a.log`;
    const first = await open(path, null);
    const stored = JSON.parse(await round(first, "one"));
    await round(first, "two");
    await first.close();
    const reused = await open(path, JSON.stringify({ ...stored, bornMs: stored.bornMs - 1 }));
    assert.match(reused.trouble, /Cannot find the file/);
    await reused.close();
    assert.equal(read(path), "one\ntwo\n");
    const moved = await open(path, JSON.stringify({ ...stored, device: stored.device + 1 }));
    assert.equal(moved.trouble, "");
    await moved.close();
    assert.equal(read(path), "one\n");
  }));

Deno.test("a file that others made shorter is told and gone on with at its end", () =>
  withFolder(async (folder) => {
    const path = `${folder}/a.log`;
    const first = await open(path, null);
    const stored = await round(first, "one", "two");
    await Deno.truncate(path, 5);
    await round(first, "three"); // copytruncate under our feet
    assert.equal(first.mismatches, 1);
    assert.equal(read(path), "one\nt\nthree\n");
    await first.close();
    await Deno.truncate(path, 2);
    const second = await open(path, stored);
    assert.match(second.trouble, /as others have cut it: current size is 2 of 8 bytes/);
    await round(second, "four");
    await second.close();
    assert.equal(read(path), "on\nfour\n");
  }));

Deno.test("a file that others removed is made again before anything is written", () =>
  withFolder(async (folder) => {
    const path = `${folder}/a.log`;
    const output = await open(path, null);
    await round(output, "one");
    await Deno.remove(path);
    await round(output, "two");
    assert.equal(read(path), "two\n");
    assert.equal(output.mismatches, 1);
    await output.close();
  }));

Deno.test.each([
  ...["", "null", "7", "{}", '{"path":"/etc/passwd"}', "a\0b"],
  '{"path":"a","device":1,"inode":1,"bornMs":null,"size":-1}',
  '{"path":"a","device":1,"inode":1.5,"bornMs":null,"size":1}',
  '{"path":"","device":1,"inode":1,"bornMs":"x","size":1}',
])("a stored position that is none is told: %j", (stored) =>
  withFolder(async (folder) => {
    const path = `${folder}/a.log`;
    await Deno.writeTextFile(path, "mine\n");
    const output = await open(path, stored);
    assert.match(output.trouble, /Cannot read the stored position/);
    await round(output, "two");
    await output.close();
    assert.equal(read(path), "mine\ntwo\n");
  }));

Deno.test("a stored position whose folder is gone is told", () =>
  withFolder(async (folder) => {
    const stored = JSON.stringify({
      ...{ path: `${folder}/gone/a.log`, device: 1, inode: 1, bornMs: null, size: 1 },
    });
    const output = await open(`${folder}/a.log`, stored);
    assert.match(output.trouble, /Cannot find the file/);
    await output.close();
  }));

Deno.test("two outputs do not share a file, by whatever name, nor an old one's", () =>
  withFolder(async (folder) => {
    const path = `${folder}/a.log`;
    const output = await open(path, null);
    await Deno.symlink(path, `${folder}/link.log`);
    await Deno.symlink(folder, `${folder}/self`);
    for (const other of [path, `${folder}/link.log`, `${folder}/self/a.log`, `${path}.7`]) {
      await assert.rejects(
        open(other, null),
        /another output writes to .*a file of its own/,
        other,
      );
    }
    const similar = await open(`${path}.old`, null);
    await similar.close();
    await output.close();
    await (await open(path, null)).close();
  }));

Deno.test("another process that writes to the file is noticed", () =>
  withFolder(async (folder) => {
    const path = `${folder}/a.log`;
    using other = await Deno.open(path, { write: true, create: true });
    await other.lock(true); // flock(2) is of the opened file, so this stands for another process
    await assert.rejects(open(path, null), /as another process does/);
    await other.unlock();
    await (await open(path, null)).close();
  }));

Deno.test("what is no regular file, or has no folder, is refused with the remedy", () =>
  withFolder(async (folder) => {
    await assert.rejects(open(folder, null), /as it is not a regular file: give another path/);
    await assert.rejects(open("/dev/null", null), /as it is not a regular file/);
    await assert.rejects(open(`${folder}/no/a.log`, null), /as its directory must be there/);
    const fifo = `${folder}/fifo`;
    await new Deno.Command("mkfifo", { args: [fifo] }).output();
    await assert.rejects(open(fifo, null), /as it is not a regular file/); // and does not hang
    await Deno.writeTextFile(`${folder}/ok.log`, "");
    await (await open(`${folder}/ok.log`, null)).close(); // nothing stayed taken
  }));

Deno.test("openOutput() opens a file as it is configured", () =>
  withFolder(async (folder) => {
    const output = await openOutput("archive", options(`${folder}/a.log`), null);
    assert.deepEqual([output.name, output.required], ["archive", true]);
    assert.equal(output.where, `${folder}/a.log`);
    await output.close();
  }));

Deno.test("not required: it writes by itself, has no position, and drops what does not fit", () =>
  withFolder(async (folder) => {
    const path = `${folder}/a.log`;
    const output = await open(path, '{"bad":1}', { required: false }, 100);
    assert.equal(output.position(), null);
    assert.equal(output.trouble, "");
    output.take(received("x".repeat(100)));
    output.take(received("dropped"));
    assert.deepEqual(output.counts, { messages: 1, bytes: 101, dropped: 1, reopened: 0 });
    await until(() => Deno.statSync(path).size === 101, "written without a flush");
    await output.flush(); // its own write may still be on its way to the disk
    output.take(received("last words"));
    await output.close();
    assert.equal(read(path), `${"x".repeat(100)}\nlast words\n`);
  }));

Deno.test("required: a round is kept whole, however long", () =>
  withFolder(async (folder) => {
    const path = `${folder}/a.log`;
    const output = await open(path, null, {}, 100);
    await round(output, "x".repeat(100), "y".repeat(100), "z");
    assert.equal(output.counts.dropped, 0);
    await output.close();
    assert.equal(read(path), `${"x".repeat(100)}\n${"y".repeat(100)}\nz\n`);
  }));

Deno.test("keep 0: a file goes when it is due, and nothing is moved aside", () =>
  withFolder(async (folder) => {
    const path = `${folder}/a.log`;
    const output = await open(path, null, { rotateBytes: 10, keep: 0 });
    await round(output, "long enough");
    assert.equal(output.trouble, "");
    assert.equal(JSON.parse(await round(output, "new")).size, 4);
    assert.deepEqual(names(folder), ["a.log"]);
    assert.equal(read(path), "new\n");
    await output.close();
  }));

Deno.test("flushes that overlap, and messages that come meanwhile, are written once each", () =>
  withFolder(async (folder) => {
    const path = `${folder}/a.log`;
    const output = await open(path, null);
    const flushes: Promise<void>[] = [];
    let wanted = "";
    for (let index = 0; index < 50; index++) {
      const line = `${index}`.padEnd(index * 40, ".");
      output.take(received(line));
      wanted += `${line}\n`;
      flushes.push(output.flush());
      if (index % 7 === 0) await Promise.resolve();
    }
    await Promise.all(flushes);
    assert.equal(read(path), wanted);
    assert.equal(JSON.parse(output.position()!).size, wanted.length);
    await output.close();
  }));

/** A small file system, which only root can mount. */
async function withSmallDisk(job: (folder: string) => Promise<void>): Promise<void> {
  await withFolder(async (folder) => {
    const args = ["-t", "tmpfs", "-o", "size=256k", "tmpfs", folder];
    const { success, stderr } = await new Deno.Command("mount", { args }).output();
    assert.ok(success, new TextDecoder().decode(stderr));
    try {
      await job(folder);
    } finally {
      await new Deno.Command("umount", { args: [folder] }).output();
    }
  });
}

const mayMount = Deno.env.get("CI") === "true" || Deno.uid() === 0;

Deno.test({
  name: `a full disk: flush() rejects, nothing is lost or doubled, it goes on when there is room${
    mayMount ? "" : " (skipped: mounting a small disk needs root)"
  }`,
  ignore: !mayMount,
  fn: () =>
    withSmallDisk(async (folder) => {
      const path = `${folder}/a.log`;
      const ballast = `${folder}/ballast`;
      const first = await open(path, null);
      const stored = await round(first, "one");
      await Deno.writeFile(ballast, new Uint8Array(200 * 1024));
      const long = "x".repeat(100_000);
      first.take(received(long));
      first.take(received("two"));
      await assert.rejects(first.flush(), /Cannot write to .*a\.log: No space left/);
      assert.match(first.trouble, /No space left/);
      assert.equal(read(path), "one\n", "what was written in part was cut back");
      assert.equal(first.position(), stored);
      first.take(received("three"));
      await assert.rejects(first.flush(), /No space left/);
      await Deno.remove(ballast);
      await first.flush();
      assert.equal(first.trouble, "");
      assert.equal(read(path), `one\n${long}\ntwo\nthree\n`);
      const after = first.position()!;
      await Deno.writeFile(ballast, new Uint8Array(100 * 1024));
      first.take(received(long));
      await assert.rejects(first.flush(), /No space left/);
      await first.close(); // ended while it was full
      const second = await open(path, after);
      assert.equal(second.trouble, "");
      await Deno.remove(ballast);
      await round(second, "four");
      await second.close();
      assert.equal(read(path), `one\n${long}\ntwo\nthree\nfour\n`);
    }),
});
