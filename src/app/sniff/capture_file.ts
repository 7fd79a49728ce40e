/**
 * A capture file, or a pipe, read packet by packet: in chunks into one block of the arena, which holds
 * the part of a packet that a chunk cut, and nothing else. Memory does not depend on what the file says.
 *
 * @module
 */
import { assert } from "../../mem/assert.ts";
import { arena, give, take } from "../../mem/arena.ts";
import { fail, Fault, lastFault } from "../../mem/fault.ts";
import { CaptureInterface, CaptureOrigin, type Packet } from "../../wire/capture/packet.ts";
import {
  isPcap,
  PCAP_HEADER_SIZE,
  PcapHeader,
  readPcapHeader,
  readPcapRecord,
} from "../../wire/capture/pcap.ts";
import {
  HELD_BLOCK_BYTES_MAX,
  isPcapng,
  PcapngState,
  readBlock,
} from "../../wire/capture/pcapng.ts";
import { printable } from "../printable.ts";

/** One read: the second-level cache still holds it when its packets are looked at. */
const CHUNK_BYTES = 256 * 1024;
/** So much that waits is moved to the bottom of the block before each read. */
const MOVE_BYTES_MAX = 64 * 1024;
const MAGIC_SIZE = 4;
const GZIP = 0x1f8b;

/** Where the bytes come from: a file, standard input, or what a test makes. */
export interface ByteSource {
  /** Reads up to as many bytes as `into` has; null or 0 at the end. */
  readSync(into: Uint8Array): number | null;
  close(): void;
}

/** A file that is no capture, or is damaged where nothing can be skipped. */
export class CaptureError extends Error {
  override readonly name = "CaptureError";
}

/** A capture that is being read. */
export class CaptureFile {
  readonly path: string;
  /** What is remarkable about the file, in sentences; complete when all is read. */
  readonly notes: string[] = [];
  /** Called before each read of a pipe, which may wait for long. */
  onWait: (() => void) | null = null;
  readonly #source: ByteSource;
  readonly #chunkBytes: number;
  readonly #block: number;
  readonly #blockEnd: number;
  readonly #origin = new CaptureOrigin();
  readonly #pcap = new PcapHeader();
  readonly #pcapng = new PcapngState();
  readonly #sizeBytes: number;
  #format: "pcap" | "pcapng" = "pcap";
  #interfaces: readonly CaptureInterface[] = [];
  /** What is there and not looked at: [at, end) of the arena. */
  #at: number;
  #end: number;
  /** Bytes of a block that is skipped, which are not read yet. */
  #skip = 0;
  /** Bytes of the file that were read. */
  #readBytes = 0;
  #packets = 0;
  #ended = false;
  #closed = false;

  /**
   * Opens a file, or standard input for `-`.
   *
   * @throws {CaptureError} when it cannot be read or is no capture
   */
  static open(path: string): CaptureFile {
    if (path === "-") return new CaptureFile("standard input", Deno.stdin, -1);
    let file: Deno.FsFile | null = null;
    try {
      file = Deno.openSync(path);
      const { isFile, isDirectory, size } = file.statSync();
      if (isDirectory) throw new Error("it is a directory");
      return new CaptureFile(path, file, isFile ? size : -1);
    } catch (error) {
      try {
        file?.close();
      } catch {
        // the constructor closed it
      }
      if (error instanceof CaptureError) throw error;
      const why = error instanceof Error ? error.message : String(error);
      throw new CaptureError(
        `Cannot read ${printable(path)} as it must be a readable file: ${printable(why)}`,
      );
    }
  }

  /**
   * Reads the beginning of a capture.
   *
   * @param path what messages call it
   * @param sizeBytes its size, -1 when that is not known
   * @param chunkBytes how much is read at once
   * @throws {CaptureError} when it is no capture; the source is closed then
   */
  constructor(path: string, source: ByteSource, sizeBytes: number, chunkBytes = CHUNK_BYTES) {
    this.path = path;
    this.#source = source;
    this.#sizeBytes = sizeBytes;
    this.#chunkBytes = chunkBytes;
    const blockBytes = HELD_BLOCK_BYTES_MAX + chunkBytes;
    this.#block = take(blockBytes);
    if (this.#block < 0) {
      throw new CaptureError(`Cannot read ${printable(path)}: no memory is left`);
    }
    this.#blockEnd = this.#block + blockBytes;
    this.#at = this.#block;
    this.#end = this.#block;
    try {
      this.#start();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  get format(): "pcap" | "pcapng" {
    return this.#format;
  }

  /** Those that were described so far; a file may add some between its packets. */
  get interfaces(): readonly CaptureInterface[] {
    return this.#interfaces;
  }

  /** The whole second of the first packet, since 1970; 0 before it was read. */
  get originSeconds(): number {
    return this.#origin.seconds;
  }

  /** Bytes of the file up to the packet that was read last. */
  get bytesDone(): number {
    return this.#readBytes - (this.#end - this.#at);
  }

  /** Its size, no less than `bytesDone`; -1 when it is not known. */
  get bytesTotal(): number {
    return this.#sizeBytes < 0 ? -1 : Math.max(this.#sizeBytes, this.#readBytes);
  }

  /**
   * Reads the next packet, whose bytes are valid until the next call; false: there is none.
   *
   * @throws {CaptureError} when the file is damaged
   */
  next(packet: Packet): boolean {
    if (this.#packets === 0) packet.timeNs = 0; // what a simple packet keeps
    for (;;) {
      const next = this.#format === "pcap"
        ? readPcapRecord(arena, this.#at, this.#end, this.#pcap, this.#origin, packet)
        : readBlock(arena, this.#at, this.#end, this.#pcapng, this.#origin, packet);
      if (next >= 0) {
        this.#advance(next);
        if (this.#format === "pcapng" && !this.#pcapng.isPacket) continue;
        packet.number = ++this.#packets;
        return true;
      }
      if (next !== -Fault.Short) throw this.#error();
      if (!this.#refill()) return false;
    }
  }

  /** Closes the file and gives back what it took of the arena. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#ended = true;
    give(this.#block);
    if (this.#source !== Deno.stdin) this.#source.close();
  }

  /** Finds out what it is, and reads the header that pcap has once. */
  #start(): void {
    while (this.#end - this.#at < PCAP_HEADER_SIZE && this.#read());
    const { view } = arena;
    const size = this.#end - this.#at;
    if (size < MAGIC_SIZE) {
      fail(Fault.Short, "its size", this.#at, size, "24 bytes or more");
      throw this.#error();
    }
    const magic = view.getUint32(this.#at);
    if (magic >>> 16 === GZIP) {
      const path = printable(this.path);
      throw new CaptureError(
        `Cannot read ${path} as it must not be compressed: current format is gzip. ` +
          `Give it as: gunzip -c ${path} | fairlead sniff -`,
      );
    }
    if (isPcapng(arena, this.#at)) {
      this.#format = "pcapng";
      this.#interfaces = this.#pcapng.interfaces;
      return;
    }
    if (!isPcap(arena, this.#at)) {
      const expected = "0xa1b2c3d4 or 0xa1b23c4d of pcap, or 0x0a0d0d0a of pcapng";
      fail(Fault.Field, "the word", this.#at, magic, expected);
      throw this.#error();
    }
    const next = readPcapHeader(arena, this.#at, this.#end, this.#pcap);
    if (next < 0) throw this.#error();
    this.#at = next;
    const { linkType, snapLength } = this.#pcap;
    this.#interfaces = [new CaptureInterface(linkType, snapLength, "")];
  }

  /** Goes to `next`, which may lie beyond what was read. */
  #advance(next: number): void {
    this.#skip = Math.max(0, next - this.#end);
    this.#at = Math.min(next, this.#end);
  }

  /** Reads more behind what is there; false at the end of the file, where what is cut is noted. */
  #refill(): boolean {
    if (this.#ended) return false;
    if (this.#read()) return true;
    this.#ended = true;
    const left = this.#end - this.#at;
    if (left > 0 || this.#skip > 0) {
      this.notes.push(
        `The file ends within a packet or a block: ${left} bytes behind offset ${this.bytesDone} ` +
          `are not read, ${this.#packets} packets before them are`,
      );
      this.#at = this.#end;
    }
    return false;
  }

  /** Reads one chunk; much that waits is moved only when there is no room behind it. */
  #read(): boolean {
    const waiting = this.#end - this.#at;
    if (waiting <= MOVE_BYTES_MAX || this.#blockEnd - this.#end < this.#chunkBytes) {
      arena.bytes.copyWithin(this.#block, this.#at, this.#end);
      this.#end = this.#block + waiting;
      this.#at = this.#block;
    }
    assert(this.#blockEnd - this.#end >= this.#chunkBytes, "what waits leaves room for a chunk");
    do {
      const room = arena.bytes.subarray(this.#end, this.#end + this.#chunkBytes);
      const count = this.#readSource(room);
      if (count === 0) return false;
      this.#readBytes += count;
      const skipped = Math.min(this.#skip, count);
      this.#skip -= skipped;
      if (skipped > 0) {
        assert(this.#at === this.#end, "what is skipped lies behind what was read");
        this.#at += skipped;
      }
      this.#end += count;
      if (this.#at === this.#end) {
        this.#at = this.#block;
        this.#end = this.#block;
      }
    } while (this.#at === this.#end);
    return true;
  }

  #readSource(into: Uint8Array): number {
    if (this.#sizeBytes < 0) this.onWait?.();
    try {
      return this.#source.readSync(into) ?? 0;
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new CaptureError(
        `Cannot read ${printable(this.path)} beyond byte ${this.#readBytes}: ${printable(why)}`,
      );
    }
  }

  /** The last fault as an error, its offset counted in the file. */
  #error(): CaptureError {
    const { field, at, value, expected } = lastFault;
    const offset = this.bytesDone + at - this.#at;
    const hex = value > 0xffff ? ` (0x${value.toString(16)})` : "";
    const advice = this.#packets === 0
      ? "Give a file that tcpdump or Wireshark can read"
      : `The ${this.#packets} packets before it were read`;
    return new CaptureError(
      `Cannot read capture ${printable(this.path)} as ${field} at offset ${offset} must be ` +
        `${expected}: current value is ${value}${hex}. ${advice}`,
    );
  }
}
