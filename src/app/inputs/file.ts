/**
 * A file that is followed as `tail -F` does, with the place kept across restarts. The life of a file:
 *
 *     live        it is at the path: read to its end, then wait for inotify or a poll
 *     away        it was renamed, deleted, or the path leads elsewhere: read to its end, too, until the
 *                 next one has something in it and this one was quiet for a while, since its writer may
 *                 not know yet; what has no newline then is a line
 *     successor   the generation after it by the names of rotation, at last the one at the path
 *     truncated   what was read is gone. If a rotated sibling has it (copytruncate), that is read to its
 *                 end as if it were the file; else the file is read from its start
 *
 * What was cut before any of it was read is lost, as nothing proves that a copy is of it.
 *
 * The place goes to the intake after the lines in front of it, without a pause between both.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import { fileInfo } from "../../io/files.ts";
import { type Input, type InputCounts, inputCounts, type Intake } from "../gateway/intake.ts";
import { FileEvents } from "./file_events.ts";
import { FollowedFile, type Place } from "./followed_file.ts";
import { compressedSince, generations, modifiedMs, rotated, type Sibling } from "./generations.ts";

/** The configuration of an input of type `file`. */
export interface FileOptions {
  path: string;
  topic: string;
  /** Where to begin at the first start; a file that comes later is always read from its start. */
  from: "end" | "start";
}

/** How patient the input is. */
export interface FileTiming {
  /** Looks so often even when nothing tells of a change: network and overlay file systems. */
  pollMs: number;
  /** A rotated file is finished when nothing came for so long. */
  quietMs: number;
  /** Or so long after its successor was seen, whatever comes. */
  awayMaxMs: number;
}

const TIMING: FileTiming = { pollMs: 1000, quietMs: 2000, awayMaxMs: 60_000 };
const TEXT = "text/plain";

/** The stored position. */
interface Position extends Place {
  /** What the path led to when it was opened: the names of rotation begin with it. */
  base: string;
}

/** Starts following; a file that is not there is waited for. */
export function openFile(
  name: string,
  options: FileOptions,
  intake: Intake,
  timing: FileTiming = TIMING,
): Input {
  return new FileInput(name, options, intake, timing);
}

class FileInput implements Input {
  readonly name: string;
  readonly counts: InputCounts = inputCounts();
  readonly where: string;
  readonly #options: FileOptions;
  readonly #intake: Intake;
  readonly #timing: FileTiming;
  readonly #events: FileEvents;
  readonly #done: Promise<void>;
  #file: FollowedFile | null = null;
  #base: string;
  /** Where to go on when no file is open. */
  #last: Place | null = null;
  #begun = false;
  /** The last place is to be looked for in copies, too: once, as that reads them. */
  #thorough = true;
  #problem = "";
  #note = "";
  /** What comes after the file, empty while it is at the path; and since when that is so. */
  #awayKey = "";
  #awayMs = 0;
  #endSeen = -1;
  #grownMs = 0;
  #stopping = false;
  #deadlineMs = Infinity;

  constructor(name: string, options: FileOptions, intake: Intake, timing: FileTiming) {
    this.name = name;
    this.where = options.path;
    this.#options = options;
    this.#intake = intake;
    this.#timing = timing;
    this.#base = options.path;
    this.#events = new FileEvents(options.path);
    this.#done = this.#run();
  }

  get trouble(): string {
    return this.#problem === "" ? this.#note : this.#problem;
  }

  async stop(deadlineMs: number): Promise<void> {
    this.#deadlineMs = deadlineMs;
    this.#stopping = true;
    this.#events.wake();
    await this.#done;
  }

  async #run(): Promise<void> {
    while (nowMs() < this.#deadlineMs) {
      let progress = false;
      try {
        progress = await this.#step();
        if (this.#file !== null) this.#problem = "";
      } catch (error) {
        this.#problem = `Cannot read ${this.where}: ${(error as Error).message}; it is tried again`;
        this.#drop(); // a stale handle of NFS: what it was is found again by its place
      }
      if (progress) continue;
      if (this.#stopping) break;
      await this.#events.wait(this.#timing.pollMs, this.#base);
    }
    this.#drop();
    await this.#events.close();
  }

  /** One look; false when there is nothing to do until something changes. */
  async #step(): Promise<boolean> {
    this.#file ??= await this.#begin();
    const file = this.#file;
    if (file === null) return false;
    if (!await file.fill()) {
      this.#drop();
      return true; // truncated: what was in it may be in a copy
    }
    if (file.endOffset !== this.#endSeen) {
      this.#endSeen = file.endOffset;
      this.#grownMs = nowMs();
    }
    const taken = await this.#takeLines(file);
    if (nowMs() >= this.#deadlineMs) return false;
    return taken || !file.atEnd || await this.#atEnd(file);
  }

  /** The file to go on with; null when there is none. */
  async #begin(): Promise<FollowedFile | null> {
    if (!this.#begun) {
      this.#last = this.#stored();
      this.#begun = true;
    }
    return this.#last === null ? await this.#first() : await this.#find(this.#last);
  }

  /** At the first start. */
  async #first(): Promise<FollowedFile | null> {
    const file = await this.#open(this.where, null);
    if (file === null) {
      // Whatever is there now is older than what will come; and that is to be read from its start.
      const { siblings } = await generations(this.where, this.#base);
      const newest = Math.max(0, ...siblings.map(({ info }) => modifiedMs(info)));
      this.#last = { device: 0, inode: 0, offset: 0, crc: 0, modifiedMs: newest };
      this.#store(this.#last);
      return null;
    }
    if (this.#options.from === "end") await closing(file, file.skipToLastLine());
    this.#store(file.place);
    return file;
  }

  /** The file that `place` is in, wherever it is now; or what came after it. */
  async #find(place: Place): Promise<FollowedFile | null> {
    const { live, siblings } = await generations(this.where, this.#base);
    const named = siblings.map(({ path, info }) => ({ path, info }));
    if (live !== null) named.unshift({ path: this.where, info: live });
    const target = this.#base === this.where ? null : await fileInfo(this.#base);
    if (target !== null) named.push({ path: this.#base, info: target });
    for (const { path, info } of named) {
      if (info.ino !== place.inode || !info.isFile) continue;
      const file = await this.#open(path, info);
      if (file === null) return null; // it was renamed just now: look again
      if (await this.#resume(file, place)) return file;
    }
    const copy = this.#thorough ? await this.#findCopy(place, siblings) : null;
    this.#thorough = false;
    if (copy !== null) return copy;
    const compressed = place.inode === 0 ? 0 : compressedSince(siblings, place.modifiedMs);
    if (compressed > 0) {
      this.#note = `Cannot read ${compressed} rotated and compressed files beside ${this.where}, ` +
        "which changed while nobody followed: read them by hand";
    }
    // Its own inode with other bytes was cut, or used again: what is in it is newer, too.
    const newer = rotated(siblings).find(({ info }) =>
      info.ino === place.inode || modifiedMs(info) > place.modifiedMs
    );
    const next = newer ?? (live === null ? null : { path: this.where, info: live });
    if (next === null) this.#missing(this.where);
    const file = next === null ? null : await this.#open(next.path, next.info);
    if (file !== null) this.#store(file.place);
    return file;
  }

  /** A rotated sibling that has what is in front of `place`: made by copytruncate. */
  async #findCopy(place: Place, siblings: readonly Sibling[]): Promise<FollowedFile | null> {
    if (place.offset === 0) return null; // nothing to recognize it by
    for (const { path, info } of rotated(siblings).reverse()) {
      if (info.size < place.offset || info.ino === place.inode) continue;
      const file = await this.#open(path, info);
      if (file !== null && await this.#resume(file, place)) return file;
    }
    return null;
  }

  /** Goes on from `place` in `file`, or closes it. */
  async #resume(file: FollowedFile, place: Place): Promise<boolean> {
    // Without bytes to prove it, the numbers must do.
    if (place.offset > 0 || file.device === place.device && file.inode === place.inode) {
      if (await closing(file, file.resume(place))) return true;
    }
    file.close();
    return false;
  }

  /**
   * Opens a file at its start; null when it is not there, or not the one that `expected` tells of.
   *
   * @throws when it is no regular file: a FIFO would wait for its writer
   */
  async #open(path: string, expected: Deno.FileInfo | null): Promise<FollowedFile | null> {
    try {
      const info = await Deno.stat(path);
      if (!info.isFile) {
        throw new Error("it is not a regular file; a FIFO has an input of type fifo");
      }
      const base = path === this.where ? await Deno.realPath(path) : this.#base;
      const file = await FollowedFile.open(path);
      if (expected !== null && (!isSame(expected, file) || file.firstSize < expected.size)) {
        file.close();
        return null; // it was rotated, or copied and cut, since it was looked at
      }
      this.#base = base;
      this.#awayKey = "";
      this.#endSeen = -1;
      return file;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      this.#missing(path);
      return null;
    }
  }

  #missing(path: string): void {
    this.#problem = `Cannot open ${path}: nothing is there; it is read as soon as it is`;
  }

  /** Hands on the lines that were read; true when there were any. */
  async #takeLines(file: FollowedFile): Promise<boolean> {
    let taken = false;
    const tooLong = file.tooLong;
    for (let line = file.next(); line !== null; line = file.next()) {
      while (!this.#offer(line)) {
        if (taken) this.#store(file.place);
        if (!await this.#room()) return taken;
      }
      file.take();
      taken = true;
    }
    this.counts.refused += file.tooLong - tooLong;
    if (taken || file.tooLong > tooLong) this.#store(file.place);
    return taken;
  }

  /** The file is read to its end. */
  async #atEnd(file: FollowedFile): Promise<boolean> {
    const live = await fileInfo(this.where);
    if (live !== null && isSame(live, file)) {
      this.#awayKey = "";
      return false;
    }
    const next = await this.#successor(file);
    // With nothing in the next one its writer may still be here.
    const empty = next === null || next.path === this.where && next.info.size === 0;
    const key = empty ? "none" : `${next.info.dev} ${next.info.ino}`;
    if (key !== this.#awayKey) {
      this.#awayKey = key;
      this.#awayMs = nowMs();
      return true; // it may have grown between the last read and this look
    }
    const quiet = nowMs() - Math.max(this.#awayMs, this.#grownMs) >= this.#timing.quietMs;
    const late = quiet || nowMs() - this.#awayMs >= this.#timing.awayMaxMs;
    if (empty && !(quiet && await file.unlinked())) return false; // deleted, it takes up the disk
    if (!empty && next.path === this.where && !late) return false;
    return await this.#leave(file, next);
  }

  /** The generation after `file`; null when there is none yet. */
  async #successor(
    file: FollowedFile,
  ): Promise<{ path: string; info: Deno.FileInfo } | null> {
    const { live, siblings } = await generations(this.where, this.#base);
    const old = rotated(siblings);
    const own = old.findIndex(({ info }) => isSame(info, file));
    const { modifiedMs: lastMs } = file.place;
    const newer = own >= 0
      ? old.slice(own + 1)
      : old.filter(({ info }) => modifiedMs(info) > lastMs);
    return newer[0] ?? (live === null ? null : { path: this.where, info: live });
  }

  /** Hands on what is left of a file that is finished, and opens the next one. */
  async #leave(
    file: FollowedFile,
    next: { path: string; info: Deno.FileInfo } | null,
  ): Promise<boolean> {
    const opened = next === null ? null : await this.#open(next.path, next.info);
    if (next !== null && opened === null) return true; // rotated again: look once more
    const tooLong = file.tooLong;
    const rest = file.rest();
    this.counts.refused += file.tooLong - tooLong;
    while (rest !== null && !this.#offer(rest)) {
      if (await this.#room()) continue;
      opened?.close();
      return false;
    }
    if (rest !== null) file.take();
    this.#last = file.place;
    this.#store(opened?.place ?? this.#last);
    file.close();
    this.#file = opened;
    return opened !== null;
  }

  /** False when the line has to wait. */
  #offer(line: Uint8Array): boolean {
    if (this.#intake.offer(this.#options.topic, line, TEXT)) {
      this.counts.messages++;
      this.counts.bytes += line.length;
      return true;
    }
    if (this.#intake.waits) return false;
    this.counts.dropped++;
    return true;
  }

  /** Waits for room; false when the input is to end: the line will be read again. */
  async #room(): Promise<boolean> {
    if (nowMs() >= this.#deadlineMs) return false;
    this.counts.waiting = 1;
    await this.#intake.room();
    this.counts.waiting = 0;
    return true;
  }

  /** Closes what is open; `#find` will look for it. */
  #drop(): void {
    if (this.#file === null) return;
    this.#last = this.#file.place;
    this.#thorough = true;
    this.#file.close();
    this.#file = null;
  }

  #store(place: Place): void {
    const position: Position = { base: this.#base, ...place };
    this.#intake.setPosition(JSON.stringify(position));
  }

  /** The stored position; null at the first start, and when it is not ours. */
  #stored(): Place | null {
    const text = this.#intake.position();
    if (text === null) return null;
    const position = parsePosition(text);
    if (position === null) {
      this.#note =
        `Cannot go on in ${this.where} as its stored position is damaged: it was begun ` +
        `from its ${this.#options.from}`;
      return null;
    }
    this.#base = position.base;
    return position;
  }
}

function parsePosition(text: string): Position | null {
  try {
    const value = JSON.parse(text) as Position;
    const numbers = [value.device, value.inode, value.offset, value.crc, value.modifiedMs];
    const fits = numbers.every((number) => Number.isFinite(number) && number >= 0) &&
      Number.isSafeInteger(value.offset) && typeof value.base === "string" && value.base !== "";
    return fits ? value : null;
  } catch {
    return null;
  }
}

/** A file that breaks right after it was opened is not left open. */
async function closing<T>(file: FollowedFile, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    file.close();
    throw error;
  }
}

function isSame(info: Deno.FileInfo, file: FollowedFile): boolean {
  return info.dev === file.device && (info.ino ?? 0) === file.inode;
}
