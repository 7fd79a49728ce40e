/**
 * An annotated copy of captures: a pcapng file with comments at its packets. What waits for the disk is
 * bounded by one block of the arena.
 *
 * @module
 */
import { arena, give, take } from "../../mem/arena.ts";
import { assert } from "../../mem/assert.ts";
import { type CaptureInterface, Packet } from "../../wire/capture/packet.ts";
import {
  copyWritten,
  writeInterface,
  writePacket,
  writeSection,
  WRITTEN_BLOCK_BYTES_MAX,
} from "../../wire/capture/pcapng_writer.ts";
import { printable } from "../printable.ts";
import { VERSION } from "../version.ts";

const BUFFER_BYTES = 1024 * 1024;

/** Where the bytes go: a file, standard output, or what a test looks at. */
export interface ByteSink {
  /** Writes some of the bytes; returns how many. */
  writeSync(bytes: Uint8Array): number;
  close(): void;
}

/** What packets come from: a capture file, or a live socket. */
export interface PacketOrigin {
  readonly interfaces: readonly CaptureInterface[];
  readonly originSeconds: number;
}

/** A pcapng file that is being written. */
export class CaptureWriter {
  /** Bytes handed over so far, those that wait included. */
  bytesWritten = 0;
  readonly #path: string;
  readonly #sink: ByteSink;
  readonly #block: number;
  #end: number;
  #closed = false;
  #origin: PacketOrigin | null = null;
  /** Numbers that the interfaces of the origin have in the section that is written. */
  readonly #ids = new Map<number, number>();
  /** Where the packet that was written last begins, which still waits; -1 when it does not. */
  #lastAt = -1;
  readonly #last = new Packet();
  #lastComments: readonly string[] = [];

  /**
   * Makes a file, or writes to standard output for `-`; what was there before is lost.
   *
   * @throws when it cannot be made
   */
  static create(path: string): CaptureWriter {
    if (path === "-") return new CaptureWriter("standard output", Deno.stdout);
    try {
      const options = { write: true, create: true, truncate: true };
      return new CaptureWriter(path, Deno.openSync(path, options));
    } catch (error) {
      throw writeError(path, error);
    }
  }

  /** A writer into `sink`, which messages call `path`. */
  constructor(path: string, sink: ByteSink) {
    this.#path = path;
    this.#sink = sink;
    this.#block = take(BUFFER_BYTES);
    if (this.#block < 0) throw new Error(`Cannot write ${printable(path)}: no memory is left`);
    this.#end = this.#block;
  }

  /** Begins a section for the packets of one capture, whose interfaces may be added to later. */
  begin(origin: PacketOrigin): void {
    this.#origin = origin;
    this.#ids.clear();
    this.#lastAt = -1;
    this.#flushUnlessRoom();
    this.#advance(writeSection(arena, this.#end, `fairlead ${VERSION}`));
  }

  /**
   * Writes a packet of the capture that began last.
   *
   * @throws when the file cannot be written to
   */
  write(packet: Packet, comments: readonly string[]): void {
    const origin = this.#origin;
    assert(origin !== null, "a section was begun");
    const { interfaceIndex } = packet;
    let id = this.#ids.get(interfaceIndex);
    if (id === undefined) {
      id = this.#ids.size;
      this.#ids.set(interfaceIndex, id);
      this.#flushUnlessRoom();
      this.#advance(writeInterface(arena, this.#end, origin.interfaces[interfaceIndex]!));
    }
    this.#flushUnlessRoom();
    this.#lastAt = this.#end;
    this.#advance(writePacket(arena, this.#end, packet, id, origin.originSeconds, comments));
    copyWritten(packet, this.#lastAt, this.#last);
    this.#lastComments = comments;
  }

  /** Adds comments, as far as there is room, to the packet that was written last: what the end tells. */
  amend(comments: readonly string[]): void {
    if (this.#lastAt < 0 || comments.length === 0) return;
    const last = this.#last;
    const id = this.#ids.get(last.interfaceIndex)!;
    const { originSeconds } = this.#origin!;
    const all = [...this.#lastComments, ...comments];
    this.#advance(writePacket(arena, this.#lastAt, last, id, originSeconds, all));
    this.#lastAt = -1;
  }

  /** Writes out what waits. */
  flush(): void {
    let at = this.#block;
    try {
      while (at < this.#end) at += this.#sink.writeSync(arena.bytes.subarray(at, this.#end));
    } catch (error) {
      throw writeError(this.#path, error);
    }
    this.#end = this.#block;
    this.#lastAt = -1;
  }

  /** Writes out what waits and closes the file. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      // Of a capture without packets, too, a file is written that can be read.
      if (this.#origin === null) this.begin({ interfaces: [], originSeconds: 0 });
      this.flush();
    } finally {
      give(this.#block);
      if (this.#sink !== Deno.stdout) this.#sink.close();
    }
  }

  #flushUnlessRoom(): void {
    const room = this.#block + BUFFER_BYTES - this.#end;
    if (room < WRITTEN_BLOCK_BYTES_MAX) this.flush();
  }

  #advance(next: number): void {
    this.bytesWritten += next - this.#end;
    this.#end = next;
  }
}

function writeError(path: string, error: unknown): Error {
  const why = error instanceof Error ? error.message : String(error);
  return new Error(
    `Cannot write capture ${printable(path)} as it must be a file with room: ${printable(why)}`,
  );
}
