/**
 * Messages appended to a file, exactly once: the position of each round is stored with its numbers,
 * and at start the file is cut back to it. What makes that hold:
 *
 * - Only `flush` writes; when it cannot, it cuts back what it wrote and rejects.
 * - Files change (rotation, or somebody moved ours away) at the end of a flush, and nothing is
 *   written to the new one before the next: its first bytes come after the position that names it
 *   was stored. So what follows a stored position is in the file of that position, nowhere else.
 *   Between two flushes that resolve, the hub stores the position or ends.
 *
 * An output that is not required writes by itself a moment after it was given something, and has no
 * position: what a crash took is lost, what it wrote stays.
 *
 * @module
 */
import { basename, dirname, join } from "node:path";
import { fileInfo, syncDirectory } from "../../io/files.ts";
import type { Output, OutputCounts, Received } from "../hub/output.ts";
import { outputCounts } from "./counts.ts";
import {
  type CutBack,
  cutBack,
  type FilePosition,
  parsePosition,
  positionOf,
} from "./file_position.ts";
import { type Format, MessageBuffer } from "./format.ts";
import { claim, moveAside, release } from "./rotation.ts";

/**
 * What waits for the disk at most when the output is not required. When it is, a round waits: the hub
 * hands out no other before `flush` has resolved.
 */
const WAITING_BYTES_MAX = 64 * 1024 * 1024;
/** An output that is not required: so long after the first message, and after a failure. */
const WRITE_DELAY_MS = 200;
const RETRY_MS = 1000;

const LF = 0x0a;

/** How it is configured. */
export interface FileOptions {
  readonly type: "file";
  readonly path: string;
  readonly format: Format;
  /** A file of this size is moved aside; 0: of any size. */
  readonly rotateBytes: number;
  /** A file of this age is moved aside, unless it is empty; 0: of any age. */
  readonly rotateSeconds: number;
  /** How many of those are kept. */
  readonly keep: number;
  readonly required: boolean;
}

interface OpenFile {
  readonly file: Deno.FsFile;
  readonly info: Deno.FileInfo;
  /** Ends in the middle of a line that is not ours. */
  readonly torn: boolean;
}

/** One file and those that it was before. */
export class FileOutput implements Output {
  readonly name: string;
  readonly required: boolean;
  readonly counts: OutputCounts = outputCounts();
  readonly where: string;
  /** Times that the file was not as this output had left it. */
  mismatches = 0;
  readonly #options: FileOptions;
  readonly #buffer: MessageBuffer;
  readonly #waitingMax: number;
  #open: OpenFile;
  #position: FilePosition;
  /** A failed write may have left bytes behind the position. */
  #spoiled = false;
  #trouble = "";
  /** What was wrong when it was opened; told until it has written something. */
  #notice = "";
  #running: Promise<void> | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  /**
   * Opens or makes the file.
   *
   * @param stored the last position that was stored
   * @param waitingMax bytes that may wait for the disk when it is not required
   * @throws when it cannot be written to, or another output has it
   */
  static async open(
    name: string,
    options: FileOptions,
    stored: string | null,
    waitingMax: number = WAITING_BYTES_MAX,
  ): Promise<FileOutput> {
    const path = await realPath(options.path);
    claim(path);
    let file: Deno.FsFile | null = null;
    try {
      file = await openLocked(path);
      const before = await restore(options.required ? stored : null);
      const opened = await inspect(file, before?.path === path);
      const output = new FileOutput(name, path, options, opened, waitingMax);
      if (before !== null && before.trouble !== "") output.#mismatch(before.trouble);
      return output;
    } catch (error) {
      file?.close();
      release(path);
      throw error;
    }
  }

  private constructor(
    name: string,
    path: string,
    options: FileOptions,
    opened: OpenFile,
    waitingMax: number,
  ) {
    this.name = name;
    this.required = options.required;
    this.where = path;
    this.#options = options;
    this.#buffer = new MessageBuffer(options.format);
    this.#waitingMax = waitingMax;
    this.#open = opened;
    this.#position = positionOf(path, opened.info, opened.info.size);
  }

  get trouble(): string {
    return this.#trouble || this.#notice;
  }

  take(message: Received): void {
    if (!this.required && this.#buffer.size > this.#waitingMax) {
      this.counts.dropped++;
      return;
    }
    this.counts.messages++;
    this.counts.bytes += this.#buffer.add(message);
    this.#writeLater(WRITE_DELAY_MS);
  }

  async flush(): Promise<void> {
    while (this.#running !== null) await settled(this.#running);
    this.#running = this.#round();
    try {
      await this.#running;
    } finally {
      this.#running = null;
    }
  }

  position(): string | null {
    return this.required ? JSON.stringify(this.#position) : null;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    if (!this.required) await settled(this.flush());
    while (this.#running !== null) await settled(this.#running);
    this.#closed = true;
    this.#open.file.close();
    release(this.where);
  }

  async #round(): Promise<void> {
    try {
      await this.#write();
      this.#trouble = "";
    } catch (error) {
      this.#trouble = (error as Error).message;
      throw error;
    }
    await this.#changeFile();
  }

  async #write(): Promise<void> {
    if (this.#closed) throw new Error(`Cannot write to ${this.where} as it is closed`);
    await this.#mend();
    const bytes = this.#buffer.view(); // what is taken from here on is of the next round
    if (bytes.length === 0) return;
    try {
      if (this.#open.torn) await writeAll(this.#open.file, new Uint8Array([LF]));
      await writeAll(this.#open.file, bytes);
      await this.#open.file.syncData();
    } catch (error) {
      this.#spoiled = true;
      await settled(this.#mend());
      throw new Error(`Cannot write to ${this.where}: ${(error as Error).message}`);
    }
    this.#buffer.drop(bytes.length);
    this.#notice = "";
    this.#setSize(this.#position.size + bytes.length + (this.#open.torn ? 1 : 0));
    this.#open = { ...this.#open, torn: false };
  }

  /** The file is as the last round left it: what a failed one wrote is cut off. */
  async #mend(): Promise<void> {
    const info = await this.#open.file.stat();
    const { size } = this.#position;
    if (info.nlink === 0) {
      // What went there would be lost: the one case where a new file is written to at once.
      await this.#replace();
      this.#mismatch(`${this.where} was removed by others: a new one is written`);
    } else if (info.size > size && this.#spoiled) {
      await this.#open.file.truncate(size);
    } else if (info.size !== size) {
      this.#mismatch(`${this.where} was changed by others: ${info.size} bytes instead of ${size}`);
      this.#open = await inspect(this.#open.file, false);
      this.#setSize(this.#open.info.size);
    }
    this.#spoiled = false;
  }

  /** At the end of a round, when nothing waits in the file: see the top. */
  async #changeFile(): Promise<void> {
    try {
      const named = await fileInfo(this.where);
      const { inode, device, size } = this.#position;
      if (named === null || named.ino !== inode || named.dev !== device) {
        await this.#replace();
      } else if (size > 0 && this.#isDue(size)) {
        await this.#open.file.sync();
        await moveAside(this.where, this.#options.keep);
        await this.#replace();
      }
    } catch (error) {
      // The present file goes on; the next round tries again.
      this.#trouble = `Cannot go on to a new ${this.where}: ${(error as Error).message}`;
    }
  }

  #isDue(size: number): boolean {
    const { rotateBytes, rotateSeconds } = this.#options;
    if (rotateBytes > 0 && size >= rotateBytes) return true;
    const bornMs = this.#position.bornMs ?? this.#open.info.mtime?.getTime() ?? Date.now();
    return rotateSeconds > 0 && Date.now() - bornMs >= rotateSeconds * 1000;
  }

  async #replace(): Promise<void> {
    const file = await openLocked(this.where);
    try {
      const opened = await inspect(file, false);
      this.#open.file.close();
      this.#open = opened;
      this.#position = positionOf(this.where, opened.info, opened.info.size);
      this.counts.reopened++;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  #setSize(size: number): void {
    this.#position = { ...this.#position, size };
  }

  #mismatch(text: string): void {
    this.mismatches++;
    this.#notice = text;
  }

  #writeLater(delayMs: number): void {
    if (this.required || this.#closed || this.#timer !== undefined) return;
    this.#timer = setTimeout(async () => {
      this.#timer = undefined;
      await settled(this.flush());
      if (this.#buffer.size > 0) this.#writeLater(RETRY_MS);
    }, delayMs);
  }
}

/** Cuts back to a stored position; null at the first start. */
async function restore(stored: string | null): Promise<CutBack | null> {
  if (stored === null) return null;
  const position = parsePosition(stored);
  if (position !== null) return await cutBack(position);
  const shown = stored.length > 200 ? `${stored.slice(0, 200)}…` : stored;
  return {
    path: null,
    trouble: `Cannot read the stored position as it is no file's: current value is ${shown}`,
  };
}

/** The name without links, so that old files stand beside the one that is written. */
async function realPath(path: string): Promise<string> {
  const info = await fileInfo(path);
  if (info !== null && !info.isFile) {
    throw new Error(`Cannot write to ${path} as it is not a regular file: give another path`);
  }
  if (info !== null) return await Deno.realPath(path);
  try {
    return join(await Deno.realPath(dirname(path)), basename(path));
  } catch (error) {
    throw new Error(
      `Cannot write to ${path} as its directory must be there: ${(error as Error).message}`,
    );
  }
}

/** Opens or makes a file, which then is this process's until it closes it. */
async function openLocked(path: string): Promise<Deno.FsFile> {
  const file = await openToAppend(path);
  try {
    if (!await isFree(file)) {
      throw new Error(
        `Cannot write to ${path} as another process does: end it, or give another path`,
      );
    }
    await syncDirectory(dirname(path));
    return file;
  } catch (error) {
    file.close();
    throw error;
  }
}

async function openToAppend(path: string): Promise<Deno.FsFile> {
  try {
    return await Deno.open(path, { read: true, append: true, create: true, mode: 0o640 });
  } catch (error) {
    throw new Error(`Cannot write to ${path}: ${(error as Error).message}`);
  }
}

/** Takes the lock, flock(2); a file system that has no locks refuses nobody. */
async function isFree(file: Deno.FsFile): Promise<boolean> {
  try {
    return await file.tryLock(true);
  } catch {
    return true;
  }
}

/** @param ours its last line is whole, however it ends */
async function inspect(file: Deno.FsFile, ours: boolean): Promise<OpenFile> {
  const info = await file.stat();
  if (!info.isFile) throw new Error("Cannot write to it as it is not a regular file");
  return { file, info, torn: !ours && info.size > 0 && await lastByte(file) !== LF };
}

async function lastByte(file: Deno.FsFile): Promise<number> {
  const byte = new Uint8Array(1);
  await file.seek(-1, Deno.SeekMode.End);
  await file.read(byte);
  return byte[0]!;
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
}

/** Waits; how it ended is told to others. */
async function settled(job: Promise<void>): Promise<void> {
  try {
    await job;
  } catch {
    // See above.
  }
}
