/**
 * A regular file that is read line by line while it grows, with proof that it is still the file that
 * was read before: the CRC-32C of the (up to) 256 bytes in front of the place to go on from. Every
 * read begins with these bytes, so one look tells what is new and whether what is old is still there:
 * a file cut to nothing, written anew over it, and an inode number used again do not pass, and no
 * moment lies between the check and the read.
 *
 * @module
 */
import { crc32c } from "../../wire/crc32c.ts";
import { LINE_BYTES_MAX } from "../line_buffer.ts";

/** Bytes in front of a place that prove it. */
const PROOF_BYTES = 256;
const BUFFER_BYTES = 2 * LINE_BYTES_MAX;

const LF = 0x0a;
const CR = 0x0d;

/** A place in a file, at the start of a line. */
export interface Place {
  device: number;
  inode: number;
  offset: number;
  /** Of the bytes in front of `offset`, {@linkcode PROOF_BYTES} of them or all. */
  crc: number;
  /** The file's own time of its last change, as of the reading; ms since 1970, 0 when unknown. */
  modifiedMs: number;
}

/** `fill()`, then `next()` until it is null, with `take()` after each line that was handed on. */
export class FollowedFile {
  /** Lines skipped because they were longer than LINE_BYTES_MAX. */
  tooLong = 0;
  /** The last `fill()` saw the end of the file. */
  atEnd = false;
  readonly device: number;
  readonly inode: number;
  /** Its size when it was opened. */
  readonly firstSize: number;
  readonly #file: Deno.FsFile;
  readonly #bytes = new Uint8Array(BUFFER_BYTES);
  /** What was not taken, in the buffer; in front of it what was. */
  #start = 0;
  #end = 0;
  /** End of the line that `next()` returned. */
  #next = 0;
  /** Where `#start` is in the file, and the proof of it as of the last `fill()`. */
  #offset = 0;
  #crc = 0;
  #modifiedMs = 0;
  /** In the middle of a line that is too long; the last place in front of it. */
  #skipping: Place | null = null;

  private constructor(file: Deno.FsFile, info: Deno.FileInfo) {
    this.#file = file;
    this.device = info.dev;
    this.inode = info.ino ?? 0;
    this.firstSize = info.size;
    this.#modifiedMs = info.mtime?.getTime() ?? 0;
  }

  /** Opens it at its start. */
  static async open(path: string): Promise<FollowedFile> {
    const file = await Deno.open(path);
    try {
      return new FollowedFile(file, await file.stat());
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /** Goes on from `place`, right after `open()`; false when that is not in this file. */
  async resume(place: Place): Promise<boolean> {
    this.#offset = place.offset;
    this.#crc = place.crc;
    return await this.fill();
  }

  /**
   * Right after `open()`: goes behind the last line that is whole; a last line that is too long
   * counts as whole.
   */
  async skipToLastLine(): Promise<void> {
    const { size } = await this.#file.stat();
    const from = Math.max(0, size - LINE_BYTES_MAX);
    const count = await this.#read(from, this.#bytes.subarray(0, size - from));
    const last = this.#bytes.subarray(0, count).lastIndexOf(LF) + 1;
    const at = last === 0 && from > 0 ? count : last;
    this.#offset = from + at;
    const proofAt = Math.max(0, this.#offset - PROOF_BYTES);
    const proof = this.#bytes.subarray(0, this.#offset - proofAt);
    await this.#read(proofAt, proof);
    this.#crc = crc32c(proof);
  }

  /** Goes to the start: what was there is gone. */
  rewind(): void {
    this.#start =
      this.#end =
      this.#next =
      this.#offset =
      this.#crc =
        0;
    this.#skipping = null;
  }

  /** Reads on; false when what was read before is not in the file any more. */
  async fill(): Promise<boolean> {
    this.#seal();
    const proofBytes = Math.min(PROOF_BYTES, this.#offset);
    const modified = (await this.#file.stat()).mtime; // before the reading: rather too old
    this.#start = this.#end = this.#next = 0; // the proof is taken, the bytes go
    const count = await this.#read(this.#offset - proofBytes, this.#bytes);
    this.atEnd = count < this.#bytes.length;
    if (count < proofBytes) return false;
    if (crc32c(this.#bytes.subarray(0, proofBytes)) !== this.#crc) return false;
    this.#modifiedMs = modified?.getTime() ?? 0;
    this.#start = proofBytes;
    this.#next = proofBytes;
    this.#end = count;
    return true;
  }

  /** The next whole line without its ending, valid until `fill()`; null when there is none. */
  next(): Uint8Array<ArrayBuffer> | null {
    for (;;) {
      const newline = this.#bytes.indexOf(LF, this.#start);
      if (newline < 0 || newline >= this.#end) {
        if (this.#end - this.#start > LINE_BYTES_MAX + 1) this.#skip(); // CR
        return null;
      }
      const line = this.#line(newline);
      this.#next = newline + 1;
      if (this.#skipping === null && line.length <= LINE_BYTES_MAX) return line;
      if (this.#skipping === null) this.tooLong++;
      this.#skipping = null;
      this.take();
    }
  }

  /** What is behind the last newline, for a file that will not grow any more; null when nothing. */
  rest(): Uint8Array<ArrayBuffer> | null {
    if (this.#start === this.#end) return null;
    const line = this.#line(this.#end);
    this.#next = this.#end;
    if (this.#skipping === null && line.length <= LINE_BYTES_MAX) return line;
    if (this.#skipping === null) this.tooLong++;
    this.#skipping = null;
    this.take();
    return null;
  }

  /** The line that `next()` or `rest()` returned was handed on. */
  take(): void {
    this.#offset += this.#next - this.#start;
    this.#start = this.#next;
  }

  /** Where the first line that was not taken begins. */
  get place(): Place {
    if (this.#skipping !== null) return { ...this.#skipping, modifiedMs: this.#modifiedMs };
    this.#seal();
    const { device, inode } = this;
    return {
      device,
      inode,
      offset: this.#offset,
      crc: this.#crc,
      modifiedMs: this.#modifiedMs,
    };
  }

  /** End of what was seen. */
  get endOffset(): number {
    return this.#offset + this.#end - this.#start;
  }

  /** True when the file has no name any more. */
  async unlinked(): Promise<boolean> {
    return (await this.#file.stat()).nlink === 0;
  }

  /** Gives the descriptor back. */
  close(): void {
    this.#file.close();
  }

  /** The proof of where we are, from the buffer, which holds it whenever something was read. */
  #seal(): void {
    if (this.#end === 0) return;
    const proofBytes = Math.min(PROOF_BYTES, this.#offset);
    this.#crc = crc32c(this.#bytes.subarray(this.#start - proofBytes, this.#start));
  }

  /** All there is cannot become a line. */
  #skip(): void {
    if (this.#skipping === null) {
      this.#skipping = this.place;
      this.tooLong++;
    }
    this.#next = this.#end;
    this.take();
  }

  #line(end: number): Uint8Array<ArrayBuffer> {
    const last = end > this.#start && this.#bytes[end - 1] === CR ? end - 1 : end;
    return this.#bytes.subarray(this.#start, last);
  }

  async #read(from: number, into: Uint8Array): Promise<number> {
    await this.#file.seek(from, Deno.SeekMode.Start);
    let count = 0;
    while (count < into.length) {
      const read = await this.#file.read(into.subarray(count));
      if (read === null) break;
      count += read;
    }
    return count;
  }
}
