/**
 * What was done to this box for an overlay: a file of lines. That of a step is on disk before the step is
 * taken, so that a program that was killed anywhere finds all that may be there. The last line may be torn:
 * then nothing of it was done. No key is in it.
 *
 * ```text
 * {"key":"demo/1f","overlay":"demo","epoch":"1f","networks":[…]}
 * {"step":{"kind":"link",…}}      is about to be taken
 * {"undone":0}                    step 0 left nothing
 * {"complete":1}                  all steps were taken, with the keys of this generation
 * ```
 *
 * @module
 */
import type { StepRecord } from "./step.ts";

const SUFFIX = ".steps";
/** A box of 1024 links has 8000 steps of 250 bytes. */
const BYTES_MAX = 16 * 1024 * 1024;
const NAME_MAX = 200;

/** A visit's table of routes. */
export interface NetworkTable {
  readonly visit: string;
  readonly network: string;
  readonly prefix: string;
  readonly table: number;
}

/** The first line. */
export interface JournalHead {
  /** `NAME/EPOCH`. */
  readonly key: string;
  readonly overlay: string;
  readonly epoch: string;
  readonly networks: readonly NetworkTable[];
}

/** A step that was begun. */
export interface JournalStep {
  readonly record: StepRecord;
  /** Nothing of it is left. */
  undone: boolean;
}

/** One overlay's. */
export class StepJournal {
  readonly head: JournalHead;
  readonly steps: JournalStep[] = [];
  readonly #directory: string;
  #path: string;
  #bytes = 0;
  #generation = 0;

  /**
   * Begins one: its first line is on disk. It gets its name when it has that line.
   *
   * @throws when there is one already, or the disk does not take it
   */
  static create(directory: string, head: JournalHead): StepJournal {
    const path = `${directory}/${fileOf(head.key)}`;
    const beside = `${path}.new`;
    removeFile(beside); // one that was left may be the other name of a journal
    Deno.openSync(beside, { write: true, createNew: true, mode: 0o600 }).close();
    const journal = new StepJournal(directory, beside, head);
    journal.#write(true, [head]);
    Deno.linkSync(beside, path); // refuses to replace
    journal.#path = path;
    Deno.removeSync(beside);
    syncDirectory(directory);
    return journal;
  }

  /**
   * All that are there, by their keys.
   *
   * @throws when one is damaged elsewhere than at its end, naming its file
   */
  static load(directory: string): Map<string, StepJournal> {
    const journals = new Map<string, StepJournal>();
    for (const { isFile, name } of [...Deno.readDirSync(directory)]) {
      if (!isFile || !name.endsWith(SUFFIX)) continue;
      const path = `${directory}/${name}`;
      const journal = StepJournal.#read(directory, path);
      journals.set(journal.head.key, journal);
    }
    return journals;
  }

  private constructor(directory: string, path: string, head: JournalHead) {
    this.#directory = directory;
    this.#path = path;
    this.head = head;
  }

  /** Of the keys; 0 until all steps were taken. */
  get generation(): number {
    return this.#generation;
  }

  /** Steps of which something may be there, with their numbers. */
  open(): [index: number, record: StepRecord][] {
    return this.steps.flatMap(({ record, undone }, index) => undone ? [] : [[index, record]]);
  }

  /** Is about to take these steps, in this order; returns the number of the first. */
  begin(...records: readonly StepRecord[]): number {
    this.#write(true, records.map((step) => ({ step })));
    const first = this.steps.length;
    this.steps.push(...records.map((record) => ({ record, undone: false })));
    return first;
  }

  /**
   * Nothing is left of a step. The disk may take the line later, or not at all: after a restart the step
   * is undone once more.
   */
  undone(index: number): void {
    this.steps[index]!.undone = true;
    try {
      this.#write(false, [{ undone: index }]);
    } catch {
      // said above
    }
  }

  /**
   * All steps were taken. With other keys than before what is undone is forgotten, as there may be new ones
   * every day for years.
   */
  complete(generation: number): void {
    const lines = [{ complete: generation }];
    const open = this.steps.filter(({ undone }) => !undone);
    if (this.#generation === 0 || open.length === this.steps.length) this.#write(true, lines);
    else this.#replace(open, lines);
    this.#generation = generation;
  }

  /** Nothing is left of all of it. */
  remove(): void {
    removeFile(this.#path);
    syncDirectory(this.#directory);
  }

  static #read(directory: string, path: string): StepJournal {
    const { size } = Deno.statSync(path);
    if (size > BYTES_MAX) throw damaged(path, `it has ${size} bytes`);
    const bytes = Deno.readFileSync(path);
    const end = bytes.lastIndexOf(10) + 1;
    const lines = new TextDecoder().decode(bytes.subarray(0, end)).split("\n").slice(0, -1);
    const journal = new StepJournal(directory, path, readHead(path, lines[0] ?? ""));
    for (const [at, line] of lines.entries()) if (at > 0) journal.#take(path, at, line);
    journal.#bytes = end;
    return journal;
  }

  #take(path: string, at: number, line: string): void {
    const { complete, step, undone } = parse(path, line) as Record<string, unknown>;
    if (isStep(step)) this.steps.push({ record: step, undone: false });
    else if (typeof undone === "number" && this.steps[undone] !== undefined) {
      this.steps[undone].undone = true;
    } else if (typeof complete === "number") this.#generation = complete;
    else throw damaged(path, `line ${at + 1} says nothing that it can say`);
  }

  /** A file of these steps alone takes its place; they have other numbers from then on. */
  #replace(steps: readonly JournalStep[], lines: readonly unknown[]): void {
    const beside = `${this.#path}.new`;
    removeFile(beside);
    Deno.openSync(beside, { write: true, createNew: true, mode: 0o600 }).close();
    const written = new StepJournal(this.#directory, beside, this.head);
    written.#write(true, [this.head, ...steps.map(({ record }) => ({ step: record })), ...lines]);
    Deno.renameSync(beside, this.#path);
    this.#bytes = written.#bytes;
    this.steps.splice(0, this.steps.length, ...steps);
    syncDirectory(this.#directory);
  }

  /** What a failed write left is cut off by the next one. */
  #write(sync: boolean, lines: readonly unknown[]): void {
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
    const bytes = new TextEncoder().encode(text);
    using file = Deno.openSync(this.#path, { write: true });
    file.truncateSync(this.#bytes);
    file.seekSync(this.#bytes, Deno.SeekMode.Start);
    for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
    if (sync) file.syncSync();
    this.#bytes += bytes.length;
  }
}

function isStep(value: unknown): value is StepRecord {
  if (typeof value !== "object" || value === null) return false;
  const { about, kind } = value as Partial<StepRecord>;
  return typeof kind === "string" && typeof about === "string";
}

function readHead(path: string, line: string): JournalHead {
  const head = parse(path, line) as Partial<JournalHead>;
  const { epoch, key, networks, overlay } = head;
  if (typeof key === "string" && typeof overlay === "string" && typeof epoch === "string") {
    if (Array.isArray(networks)) return { epoch, key, networks, overlay };
  }
  throw damaged(path, "its first line names no overlay");
}

function parse(path: string, line: string): unknown {
  try {
    const value = JSON.parse(line);
    if (typeof value === "object" && value !== null) return value;
  } catch {
    // told below
  }
  throw damaged(path, "a line in it is no JSON");
}

function damaged(path: string, why: string): Error {
  return new Error(
    `Cannot use ${path} as it is damaged: ${why}. See what the overlay left with ip -d link, ip rule ` +
      "and ip route, and move the file aside",
  );
}

/** The epoch is at the end, and tells them apart. */
function fileOf(key: string): string {
  return `${encodeURIComponent(key).slice(-NAME_MAX)}${SUFFIX}`;
}

function removeFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function syncDirectory(directory: string): void {
  using opened = Deno.openSync(directory);
  opened.syncSync();
}
