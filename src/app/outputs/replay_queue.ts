/**
 * Messages on their way through one TCP connection after another. A peer's kernel acknowledges
 * bytes that its program has not read: when both die, those are lost. So the last of what was
 * acknowledged is kept, and sent once more unless the connection was closed in order.
 *
 *     first kept        acknowledged        sent              end
 *        |  may be replayed  |  in flight    |  to be sent     |
 *
 * Offsets count bytes of the whole stream; what is dropped unsent was never part of it.
 *
 * @module
 */
import { assert } from "../../mem/assert.ts";

const CHUNK_BYTES = 64 * 1024;

/** Whole messages, one behind the other. */
interface Chunk {
  /** Offset in the stream. */
  start: number;
  size: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Where its messages end, from its start. */
  readonly ends: number[];
}

/** The queue; its owner bounds what waits by {@linkcode ReplayQueue.dropOldest}. */
export class ReplayQueue {
  readonly #replayMax: number;
  readonly #chunks: Chunk[] = [];
  #end = 0;
  #sent = 0;
  /** What was handed out to be sent ends here: it must stay where it is. */
  #handedOut = 0;
  #acknowledged = 0;
  /** The most that was ever acknowledged: what is replayed goes back before it. */
  #reached = 0;
  /** What is before this was read by the peer. */
  #read = 0;

  /** @param replayMax acknowledged bytes that are kept */
  constructor(replayMax: number) {
    this.#replayMax = replayMax;
  }

  /** Offset behind the last message. */
  get end(): number {
    return this.#end;
  }

  /** Everything before this offset is with the peer's kernel. */
  get acknowledged(): number {
    return this.#acknowledged;
  }

  /** Bytes that were never acknowledged. */
  get waiting(): number {
    return this.#end - this.#reached;
  }

  /** Adds one message; its bytes are copied. */
  push(message: Uint8Array): void {
    let chunk = this.#chunks.at(-1);
    if (chunk === undefined || chunk.size + message.length > chunk.bytes.length) {
      const bytes = new Uint8Array(Math.max(CHUNK_BYTES, message.length));
      chunk = { start: this.#end, size: 0, bytes, ends: [] };
      this.#chunks.push(chunk);
    }
    chunk.bytes.set(message, chunk.size);
    chunk.size += message.length;
    chunk.ends.push(chunk.size);
    this.#end += message.length;
  }

  /** The next bytes to send, null when there are none; they stay where they are. */
  next(): Uint8Array<ArrayBuffer> | null {
    if (this.#sent === this.#end) return null;
    const chunk = this.#at(this.#sent);
    this.#handedOut = chunk.start + chunk.size;
    return chunk.bytes.subarray(this.#sent - chunk.start, chunk.size);
  }

  /** So many of them went out. */
  advance(count: number): void {
    this.#sent += count;
    this.#handedOut = this.#sent;
    assert(this.#sent <= this.#end, "what is sent is there");
  }

  /** All but the last `inFlight` bytes sent have been acknowledged. */
  acknowledge(inFlight: number): void {
    this.#acknowledged = Math.max(this.#acknowledged, this.#sent - inFlight);
    this.#reached = Math.max(this.#reached, this.#acknowledged);
    this.#forget(this.#acknowledged - this.#replayMax);
  }

  /**
   * The connection is over: back to the first message that may not have arrived.
   *
   * @param inOrder all that was acknowledged has been read
   */
  rewind(inOrder: boolean): void {
    if (inOrder) this.#read = this.#acknowledged;
    const first = this.#chunks[0]?.start ?? this.#end;
    const from = this.#messageAt(Math.max(first, this.#read));
    this.#sent = from;
    this.#handedOut = from;
    this.#acknowledged = from;
    this.#forget(from);
  }

  /** Drops the oldest messages that were never sent; how many, 0 when there are none. */
  dropOldest(): number {
    const from = Math.max(this.#handedOut, this.#reached);
    const index = this.#chunks.findIndex(({ start }) => start >= from);
    if (index < 0) return 0;
    const [{ size, ends }] = this.#chunks.splice(index, 1) as [Chunk];
    for (let after = index; after < this.#chunks.length; after++) {
      this.#chunks[after]!.start -= size;
    }
    this.#end -= size;
    return ends.length;
  }

  /** Gives back chunks that lie before an offset. */
  #forget(offset: number): void {
    let count = 0;
    while (count < this.#chunks.length) {
      const { start, size } = this.#chunks[count]!;
      if (start + size > offset || start + size > this.#acknowledged) break;
      count++;
    }
    if (count > 0) this.#chunks.splice(0, count);
  }

  /** Where the message begins that the byte at `offset` belongs to. */
  #messageAt(offset: number): number {
    if (offset === this.#end) return offset;
    const { start, ends } = this.#at(offset);
    let begin = start;
    for (const end of ends) {
      if (start + end > offset) break;
      begin = start + end;
    }
    return begin;
  }

  #at(offset: number): Chunk {
    const chunk = this.#chunks.findLast(({ start }) => start <= offset);
    assert(chunk !== undefined && offset < chunk.start + chunk.size, "the offset is kept");
    return chunk;
  }
}
