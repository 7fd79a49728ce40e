/** The file input on real files: rotation in all its ways, restarts, limits, and chance with a seed. */
import assert from "node:assert/strict";
import type { Input, Intake } from "../../src/app/gateway/intake.ts";
import { type FileOptions, openFile } from "../../src/app/inputs/file.ts";
import { LINE_BYTES_MAX } from "../../src/app/line_buffer.ts";
import { nowMs } from "../../src/io/clock.ts";
import { FakeIntake } from "./fake_intake.ts";

/** Patience for tests: what takes seconds on a box takes moments here. */
const QUICK = { pollMs: 20, quietMs: 20, awayMaxMs: 60_000 };
/** Long enough for a busy machine; nothing here waits so long unless it fails. */
const LATE_MS = 20_000;

interface Box {
  readonly directory: string;
  readonly path: string;
  readonly intake: FakeIntake;
  open(options?: Partial<FileOptions>, intake?: Intake, timing?: typeof QUICK): Input;
  /** Stops the input that runs. */
  stop(): Promise<void>;
  append(text: string, path?: string): void;
}

async function withBox(job: (box: Box) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  const path = `${directory}/log`;
  const intake = new FakeIntake();
  let input: Input | null = null;
  const box: Box = {
    directory,
    path,
    intake,
    open: (options = {}, into = intake, timing = QUICK) => {
      input = openFile("log", { path, topic: "t", from: "start", ...options }, into, timing);
      return input;
    },
    stop: async () => {
      await input?.stop(nowMs() + LATE_MS);
      input = null;
    },
    append: (text, to = path) => Deno.writeTextFileSync(to, text, { append: true }),
  };
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error("a wait does not end")), LATE_MS);
  try {
    await Promise.race([job(box), late.promise]);
    await box.stop();
    assert.deepEqual(openIn(directory), [], "left open");
  } finally {
    clearTimeout(timer);
    await box.stop();
    await Deno.remove(directory, { recursive: true });
  }
}

/** Waits for what has no event of its own. */
async function until(what: string, fits: () => boolean): Promise<void> {
  const lateMs = nowMs() + LATE_MS;
  while (!fits()) {
    assert.ok(nowMs() < lateMs, `${what} did not come`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const file = (name: string, job: (box: Box) => Promise<void>): void => {
  Deno.test(`file: ${name}`, () => withBox(job));
};

file("lines are taken as they come, a half one when it is whole", async (box) => {
  box.append("one\ntwo\r\n");
  const input = box.open();
  await box.intake.taken(2);
  box.append("thr");
  box.append("\n", `${box.directory}/other`);
  await box.intake.positioned(2);
  box.append("ee\n\n");
  await box.intake.taken(4);
  assert.deepEqual(box.intake.texts, ["one", "two", "three", ""]);
  assert.deepEqual([input.counts.messages, input.counts.bytes, input.trouble], [4, 11, ""]);
  assert.deepEqual([input.name, input.where], ["log", box.path]);
  const { topic, contentType } = box.intake.messages[0]!;
  assert.deepEqual([topic, contentType], ["t", "text/plain"]);
});

file("a change is noticed at once, not by the poll", async (box) => {
  box.append("one\n");
  box.open({}, box.intake, { ...QUICK, pollMs: 10 * LATE_MS });
  await box.intake.taken(1);
  for (let i = 0; i < 20; i++) {
    box.append(`${i}\n`);
    await box.intake.taken(2 + i);
  }
});

file("from the end: what is there is left, a last line that is not whole is not", async (box) => {
  box.append("old\nol");
  box.open({ from: "end" });
  await box.intake.positioned(1);
  box.append("der\nnew\n");
  await box.intake.taken(2);
  assert.deepEqual(box.intake.texts, ["older", "new"]);
});

file(
  "from the end holds for the first start only, and not for a file that comes later",
  async (box) => {
    const input = box.open({ from: "end" });
    await box.intake.positioned(1);
    await until("trouble", () => input.trouble !== "");
    assert.match(
      input.trouble,
      /^Cannot open .*log: nothing is there; it is read as soon as it is$/,
    );
    await box.stop();
    box.append("one\n");
    const again = box.open({ from: "end" });
    await box.intake.taken(1);
    await until("no trouble", () => again.trouble === "");
    assert.deepEqual(box.intake.texts, ["one"]);
  },
);

file(
  "a directory that is missing is waited for, and once more when it is made anew",
  async (box) => {
    const path = `${box.directory}/deep/log`;
    box.open({ path });
    await box.intake.positioned(1);
    Deno.mkdirSync(`${box.directory}/deep`);
    box.append("one\n", path);
    await box.intake.taken(1);
    Deno.removeSync(`${box.directory}/deep`, { recursive: true });
    await until("removal", () => !existsSync(path));
    Deno.mkdirSync(`${box.directory}/deep`);
    box.append("two\n", path);
    await box.intake.taken(2);
    assert.deepEqual(box.intake.texts, ["one", "two"]);
  },
);

file("the renamed file is read to its end before the new one, which came first", async (box) => {
  box.append("1\n");
  box.open({}, box.intake, { ...QUICK, quietMs: 300 });
  await box.intake.taken(1);
  Deno.renameSync(box.path, `${box.path}.1`);
  box.append("4\n"); // the new one
  box.append("2\n", `${box.path}.1`); // its writer does not know yet
  await box.intake.taken(2);
  box.append("3", `${box.path}.1`);
  await box.intake.taken(4);
  assert.deepEqual(box.intake.texts, ["1", "2", "3", "4"]);
});

file("an old file is read on for as long as the new one is empty", async (box) => {
  box.append("1\n");
  box.open();
  await box.intake.taken(1);
  Deno.renameSync(box.path, `${box.path}.1`);
  box.append("");
  for (let i = 2; i < 6; i++) {
    await new Promise((resolve) => setTimeout(resolve, 3 * QUICK.quietMs)); // longer than quiet
    box.append(`${i}\n`, `${box.path}.1`);
    await box.intake.taken(i);
  }
  box.append("6\n");
  await box.intake.taken(6);
  assert.deepEqual(box.intake.texts, ["1", "2", "3", "4", "5", "6"]);
});

file("an old file that never falls silent does not hold back the new one for ever", async (box) => {
  box.append("old\n");
  box.open({}, box.intake, { ...QUICK, quietMs: 1000, awayMaxMs: 200 });
  await box.intake.taken(1);
  Deno.renameSync(box.path, `${box.path}.1`);
  box.append("new\n");
  const timer = setInterval(() => box.append("old\n", `${box.path}.1`), 20);
  await until("the new one", () => box.intake.texts.includes("new"));
  clearInterval(timer);
});

file("rotated several times between two looks: every generation, in order", async (box) => {
  box.append("1\n");
  box.open({}, box.intake);
  await box.intake.taken(1);
  box.intake.setRoom(0);
  box.append("2\n");
  await box.intake.refused(1);
  for (let i = 3; i < 15; i++) {
    rotate(box.path);
    box.append(`${i}\n`);
  }
  box.intake.setRoom(Infinity);
  await box.intake.taken(14);
  assert.deepEqual(box.intake.texts, Array.from({ length: 14 }, (_, i) => `${i + 1}`));
});

file("what comes between the read of the end and the look for a successor is read", async (box) => {
  box.append(`${"x".repeat(LINE_BYTES_MAX + 1)}\n`);
  const setPosition = box.intake.setPosition.bind(box.intake);
  box.intake.setPosition = (position) => {
    setPosition(position);
    // The second place is that behind the line that was refused: nothing was taken, the end was
    // seen, and the successor is what is looked for next.
    if (box.intake.positions.length !== 2) return;
    box.append("1\n");
    for (const line of ["2\n", "3\n"]) {
      rotate(box.path);
      box.append(line);
    }
  };
  box.open();
  await box.intake.taken(3);
  assert.deepEqual(box.intake.texts, ["1", "2", "3"]);
});

file("rotated by dates while nobody followed: the rest, all between, the new one", async (box) => {
  box.append("1\n");
  box.open();
  await box.intake.taken(1);
  await box.stop();
  box.append("2\n3");
  Deno.renameSync(box.path, `${box.path}-20261119`);
  box.append("4\n", `${box.path}-20261120`);
  box.append("never\n", `${box.path}-20261120.gz`);
  box.append("never\n", `${box.path}.err`); // another log, no generation
  box.append("5\n");
  box.open();
  await box.intake.taken(5);
  assert.deepEqual(box.intake.texts, ["1", "2", "3", "4", "5"]);
});

file(
  "what was rotated and compressed while nobody followed is told, with the count",
  async (box) => {
    box.append("1\n");
    box.open();
    await box.intake.taken(1);
    await box.stop();
    Deno.renameSync(box.path, `${box.path}.2.gz`); // its inode is there, its bytes are not
    Deno.truncateSync(`${box.path}.2.gz`);
    box.append("x".repeat(50), `${box.path}.2.gz`);
    box.append("2\n", `${box.path}.1`);
    for (const suffix of [".2.gz", ".1"]) later(`${box.path}${suffix}`);
    box.append("3\n");
    const input = box.open();
    await box.intake.taken(3);
    assert.deepEqual(box.intake.texts, ["1", "2", "3"]);
    assert.match(input.trouble, /^Cannot read 1 rotated and compressed files/);
  },
);

file("old generations are left alone when the file is deleted and made again", async (box) => {
  box.append("never\n", `${box.path}.1`);
  box.append("1\n");
  later(box.path);
  box.open();
  await box.intake.taken(1);
  Deno.removeSync(box.path);
  box.append("2\n");
  await box.intake.taken(2);
  await box.stop();
  Deno.removeSync(box.path);
  box.append("3\n");
  box.open();
  await box.intake.taken(3);
  assert.deepEqual(box.intake.texts, ["1", "2", "3"]);
});

file("a deleted file is given back, though nothing comes after it", async (box) => {
  box.append("1\nrest");
  const input = box.open();
  await box.intake.taken(1);
  Deno.removeSync(box.path);
  await box.intake.taken(2);
  await until("trouble", () => input.trouble !== "");
  assert.deepEqual(openIn(box.directory), []);
  assert.equal(JSON.parse(box.intake.position()!).offset, 6);
  box.append("2\n");
  await box.intake.taken(3);
  assert.deepEqual(box.intake.texts, ["1", "rest", "2"]);
});

file("a file put in place by a rename is read from its start", async (box) => {
  box.append("1\n");
  box.open();
  await box.intake.taken(1);
  box.append("2\n3\n", `${box.directory}/new`);
  Deno.renameSync(`${box.directory}/new`, box.path);
  await box.intake.taken(3);
  assert.deepEqual(box.intake.texts, ["1", "2", "3"]);
});

file(
  "a symbolic link that is switched: the old target to its end, then the new one",
  async (box) => {
    const [first, second] = [`${box.directory}/a.log`, `${box.directory}/b.log`];
    box.append("1\n", first);
    Deno.symlinkSync(first, box.path);
    box.open();
    await box.intake.taken(1);
    await box.stop(); // and the rest of the old one is found again after a restart
    box.append("2\n", first);
    box.append("3\n", second);
    Deno.removeSync(box.path);
    Deno.symlinkSync(second, box.path);
    box.open();
    await box.intake.taken(3);
    Deno.removeSync(box.path);
    Deno.symlinkSync(first, box.path);
    await box.intake.taken(5);
    assert.deepEqual(box.intake.texts, ["1", "2", "3", "1", "2"]);
  },
);

file(
  "cut to nothing: the file is read from its start, also when it has grown beyond",
  async (box) => {
    box.append("first\n");
    box.open();
    await box.intake.taken(1);
    Deno.truncateSync(box.path);
    box.append("2nd\n");
    await box.intake.taken(2);
    box.intake.setRoom(0);
    Deno.writeTextFileSync(box.path, "long third line\n4\n");
    await box.intake.refused(1);
    box.intake.setRoom(Infinity);
    await box.intake.taken(4);
    Deno.writeTextFileSync(box.path, "of the same size!\n"); // as long as the one before
    await box.intake.taken(5);
    assert.deepEqual(
      box.intake.texts,
      ["first", "2nd", "long third line", "4", "of the same size!"],
    );
  },
);

file("copied and cut: what was not read yet is read from the copy", async (box) => {
  box.append("1\n");
  box.open();
  await box.intake.taken(1);
  await box.stop();
  box.append("2\n");
  Deno.copyFileSync(box.path, `${box.path}.1`);
  Deno.writeTextFileSync(box.path, "3, and more than there was\n");
  box.open();
  await box.intake.taken(3);
  assert.deepEqual(box.intake.texts, ["1", "2", "3, and more than there was"]);
});

file(
  "copied and cut twice while nobody followed: the copies in order, then the file",
  async (box) => {
    box.append("1\n");
    box.open();
    await box.intake.taken(1);
    await box.stop();
    for (const lines of ["2\n", "3\n4\n"]) {
      box.append(lines);
      shift(box.path);
      Deno.copyFileSync(box.path, `${box.path}.1`);
      Deno.truncateSync(box.path);
    }
    box.append("5\n");
    box.open();
    await box.intake.taken(5);
    assert.deepEqual(box.intake.texts, ["1", "2", "3", "4", "5"]);
  },
);

file("an inode used again is no old friend", async (box) => {
  box.append("one line\n");
  box.open();
  await box.intake.taken(1);
  await box.stop();
  const stored = JSON.parse(box.intake.position()!);
  assert.equal(stored.offset, 9);
  Deno.writeTextFileSync(box.path, "another, longer line\n"); // the same inode, other bytes
  assert.equal(Deno.statSync(box.path).ino, stored.inode);
  box.open();
  await box.intake.taken(2);
  assert.deepEqual(box.intake.texts, ["one line", "another, longer line"]);
});

file("lines that are too long are skipped and counted, wherever they end", async (box) => {
  const longest = "x".repeat(LINE_BYTES_MAX);
  box.append(`1\n${longest}\n${longest}\r\n${longest}x\n2\n`);
  const input = box.open();
  await box.intake.taken(4);
  assert.equal(input.counts.refused, 1);
  box.append("y".repeat(LINE_BYTES_MAX + 2));
  await until("a refusal", () => input.counts.refused === 2);
  await box.stop(); // the place is in front of it: half of it is no line
  box.append("y\n3\n");
  const again = box.open();
  await box.intake.taken(5);
  assert.equal(again.counts.refused, 1);
  box.append("z".repeat(5 * LINE_BYTES_MAX));
  await until("a refusal", () => again.counts.refused === 2);
  Deno.renameSync(box.path, `${box.path}.1`);
  box.append("4\n");
  await box.intake.taken(6);
  assert.deepEqual(box.intake.texts, ["1", longest, longest, "2", "3", "4"]);
});

file("without room the place stays, and nothing is lost or doubled", async (box) => {
  box.intake.setRoom(3);
  box.append(Array.from({ length: 1000 }, (_, i) => `${i}\n`).join(""));
  const input = box.open();
  await box.intake.refused(1);
  assert.equal(box.intake.messages.length, 3);
  assert.equal(JSON.parse(box.intake.position()!).offset, 6);
  await until("waiting", () => input.counts.waiting === 1);
  await input.stop(nowMs()); // at once
  box.intake.setRoom(Infinity);
  box.open();
  await box.intake.taken(1000);
  assert.deepEqual(box.intake.texts, Array.from({ length: 1000 }, (_, i) => `${i}`));
});

file("where the spool drops, lines are counted and left", async (box) => {
  box.intake.waits = false;
  box.intake.setRoom(1);
  box.append("1\n2\n3\n");
  const input = box.open();
  await until("drops", () => input.counts.dropped === 2);
  assert.deepEqual(box.intake.texts, ["1"]);
});

file(
  "a place is never stored in front of a line that was taken, nor behind another",
  async (box) => {
    box.append(Array.from({ length: 500 }, (_, i) => `${String(i).padStart(3, "0")}\n`).join(""));
    box.intake.setRoom(7);
    box.open();
    for (let taken = 7; taken < 500; taken += 7) {
      await box.intake.taken(taken);
      await box.intake.refused(1);
      box.intake.setRoom(7);
    }
    await box.intake.taken(500);
    await box.stop();
    for (const { position, messages } of box.intake.positions) {
      assert.equal(JSON.parse(position).offset, 4 * messages);
    }
  },
);

file("a FIFO, a directory and a damaged position are told", async (box) => {
  Deno.mkdirSync(box.path);
  const input = box.open();
  await until("trouble", () => input.trouble !== "");
  assert.match(input.trouble, /it is not a regular file; a FIFO has an input of type fifo/);
  await box.stop();
  Deno.removeSync(box.path);
  box.append("1\n");
  for (const position of ["", "{", "null", "[]", '{"offset":-1}', '{"inode":1,"offset":1e99}']) {
    const intake = new FakeIntake(position);
    const damaged = box.open({}, intake);
    await intake.taken(1);
    await until("trouble", () => damaged.trouble !== "");
    assert.match(damaged.trouble, /stored position is damaged: it was begun from its start/);
    await box.stop();
  }
});

/** Where a reader is, and how many lines it has. */
interface Reached {
  inode: number;
  offset: number;
  count: number;
}

/** Commits when it is told to; a crash forgets the rest. */
class CrashingIntake implements Intake {
  readonly waits = true;
  readonly messages: string[];
  readonly #random: () => number;
  #position: string | null;
  #dead = false;
  #committed: { count: number; position: string | null };
  #changed = Promise.withResolvers<void>();
  readonly #begun = Promise.withResolvers<void>();

  constructor(messages: string[], position: string | null, random: () => number) {
    this.messages = messages;
    this.#random = random;
    this.#position = position;
    this.#committed = { count: messages.length, position };
  }

  offer(_topic: string, payload: Uint8Array): boolean {
    if (this.#dead || this.#random() < 0.05) return false;
    this.messages.push(new TextDecoder().decode(payload));
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
    return true;
  }

  async room(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
  }

  durable(): Promise<void> {
    return Promise.resolve();
  }

  position(): string | null {
    return this.#position;
  }

  setPosition(position: string): void {
    if (!this.#dead) this.#position = position;
    this.#begun.resolve();
  }

  /** Resolves when the first position was stored. */
  get begun(): Promise<void> {
    return this.#begun.promise;
  }

  commit(): void {
    this.#committed = { count: this.messages.length, position: this.#position };
  }

  /** What is there after a start: all that was committed. */
  crash(): CrashingIntake {
    this.#dead = true;
    const { count, position } = this.#committed;
    return new CrashingIntake(this.messages.slice(0, count), position, this.#random);
  }

  /** The place now, and after a crash. */
  get places(): Reached[] {
    const now = { count: this.messages.length, position: this.#position };
    return [now, this.#committed].map(({ count, position }) => {
      const { inode, offset } = position === null ? { inode: 0, offset: 0 } : JSON.parse(position);
      return { inode, offset, count };
    });
  }

  async reached(count: number, what: string): Promise<void> {
    const lateMs = nowMs() + LATE_MS;
    while (this.messages.length < count) {
      assert.ok(nowMs() < lateMs, `${what}: ${this.messages.length} of ${count} came`);
      const timer = Promise.withResolvers<void>();
      const id = setTimeout(timer.resolve, LATE_MS);
      await Promise.race([this.#changed.promise, timer.promise]);
      clearTimeout(id);
    }
  }
}

/** A writer with a mind of its own, and what a reader should have got. */
class Writer {
  readonly expected: string[] = [];
  readonly path: string;
  readonly #random: () => number;
  /** Where it writes: not the path after a rotation that it has not heard of. */
  #at: string;
  #half = "";
  #number = 0;
  /** Lines that were written before something was destroyed. */
  #cutAt = 0;

  constructor(path: string, random: () => number) {
    this.path = path;
    this.#at = path;
    this.#random = random;
  }

  below(count: number): number {
    return Math.floor(this.#random() * count);
  }

  write(): void {
    let text = this.#half === "" ? "" : this.#finish();
    for (let lines = this.below(12); lines > 0; lines--) {
      const line = `${this.#number++} ${
        "abcdefgh".repeat(this.below(this.below(8) === 0 ? 300 : 9))
      }`;
      if (this.below(40) === 0) text += `${line}${"z".repeat(LINE_BYTES_MAX)}\n`; // refused
      else {
        text += `${line}${this.below(4) === 0 ? "\r" : ""}\n`;
        this.expected.push(line);
      }
    }
    if (this.below(4) === 0) {
      this.#half = `${this.#number++} half`;
      text += this.#half;
    }
    Deno.writeTextFileSync(this.#at, text, { append: true });
  }

  /** The path is renamed; the writer goes on where it was until `reopen()`. */
  rotate(create: boolean): void {
    if (this.#at !== this.path || !existsSync(this.path)) return;
    rotate(this.path);
    this.#at = `${this.path}.1`;
    if (create) Deno.writeTextFileSync(this.path, "");
  }

  reopen(): void {
    if (this.#at === this.path) return;
    this.#at = this.path;
    this.#endHalf();
    this.write();
  }

  /** Copied and cut, if a reader has something to know the copy by. */
  copyAndCut(places: Reached[]): void {
    if (this.#at !== this.path || !existsSync(this.path)) return;
    const inode = Deno.statSync(this.path).ino;
    const [now, stored] = places as [Reached, Reached];
    if (now.inode !== inode) return; // it may just be opening the file
    for (const { inode: at, offset, count } of [now, stored]) {
      if (offset === 0 && [0, inode].includes(at) || count <= this.#cutAt) return;
    }
    shift(this.path);
    Deno.copyFileSync(this.path, `${this.path}.1`);
    Deno.truncateSync(this.path);
    this.#endHalf();
  }

  /** Only when all was read: what is cut or deleted is gone. */
  destroy(how: number): void {
    this.reopen();
    this.#cutAt = this.expected.length;
    if (how === 0) Deno.truncateSync(this.path);
    else if (how === 1) Deno.removeSync(this.path);
    else {
      Deno.writeTextFileSync(`${this.path}new`, "");
      Deno.renameSync(`${this.path}new`, this.path);
    }
    this.write();
  }

  /** Ends a half line, so that all of the file is lines. */
  complete(): void {
    this.reopen();
    // Until something is in the new file, the old one's half line may still become whole.
    while (!existsSync(this.path) || Deno.statSync(this.path).size === 0) this.write();
    if (this.#half !== "") Deno.writeTextFileSync(this.#at, this.#finish(), { append: true });
  }

  #finish(): string {
    this.expected.push(`${this.#half}!`);
    this.#half = "";
    return "!\n";
  }

  /** Nobody will end it: what there is of it is the last line of its file. */
  #endHalf(): void {
    if (this.#half !== "") this.expected.push(this.#half);
    this.#half = "";
  }
}

const FIRST_SEED = Number(Deno.env.get("SEED") ?? 1);
const SEEDS = Number(Deno.env.get("SEEDS") ?? 8);
const STEPS = 80;

Deno.test.each(
  Array.from({ length: SEEDS }, (_, index) => ({ seed: FIRST_SEED + index })),
)("file: whatever happens to it, nothing is lost and nothing comes twice: seed $seed", async ({
  seed,
}) => {
  const directory = await Deno.makeTempDir();
  const random = chance(seed);
  const writer = new Writer(`${directory}/log`, random);
  const options: FileOptions = { path: writer.path, topic: "t", from: "start" };
  let intake = new CrashingIntake([], null, chance(seed + 1000));
  let input = openFile("log", options, intake, QUICK);
  await intake.begun; // what is rotated before the first start is not read
  intake.commit();
  const log: string[] = [];
  const settle = async (): Promise<void> => {
    writer.complete();
    await intake.reached(writer.expected.length, `seed ${seed}, ${log.join(" ")}`);
  };
  try {
    for (let step = 0; step < STEPS; step++) {
      const choice = writer.below(20);
      log.push(String(choice));
      if (choice < 8) writer.write();
      else if (choice < 10) writer.rotate(choice === 8);
      else if (choice < 13) writer.reopen();
      else if (choice === 13) writer.copyAndCut(intake.places);
      else if (choice === 14) {
        await settle();
        intake.commit();
        await new Promise((resolve) => setTimeout(resolve, 5)); // its time of change is another
        writer.destroy(writer.below(3));
      } else if (choice === 15) {
        await input.stop(nowMs() + writer.below(2) * 50);
        intake.commit();
        intake = intake.crash(); // which forgets nothing now
        input = openFile("log", options, intake, QUICK);
      } else if (choice === 16) {
        const after = intake.crash();
        await input.stop(nowMs());
        intake = after;
        input = openFile("log", options, intake, QUICK);
      } else if (choice === 17) intake.commit();
      else await new Promise((resolve) => setTimeout(resolve, writer.below(30)));
    }
    await settle();
    assert.deepEqual(intake.messages, writer.expected, `seed ${seed}, ${log.join(" ")}`);
    await input.stop(nowMs());
    assert.deepEqual(openIn(directory), [], "left open");
  } finally {
    await input.stop(nowMs());
    await Deno.remove(directory, { recursive: true });
  }
});

/** Mulberry32: small, and the same everywhere. */
function chance(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

function rotate(path: string): void {
  shift(path);
  Deno.renameSync(path, `${path}.1`);
}

/** Makes place for `path.1`. */
function shift(path: string): void {
  let count = 1;
  while (existsSync(`${path}.${count}`)) count++;
  for (; count > 1; count--) Deno.renameSync(`${path}.${count - 1}`, `${path}.${count}`);
}

/** As if it had been changed in an hour. */
function later(path: string): void {
  const time = new Date(Date.now() + 3_600_000);
  Deno.utimeSync(path, time, time);
}

/** Files of a directory, deleted ones too, that this process has open; proc(5). */
function openIn(directory: string): string[] {
  return [...Deno.readDirSync("/proc/self/fd")].flatMap(({ name }) => {
    try {
      const path = Deno.readLinkSync(`/proc/self/fd/${name}`);
      return path.startsWith(`${directory}/`) ? [path] : [];
    } catch {
      return []; // closed meanwhile
    }
  });
}

function existsSync(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}
