/**
 * Requests of a connection that wait for their answers, by tag: initiator task tags, and the target
 * transfer tags of R2T (RFC 7143 sections 11.2.1.8 and 11.8). The oldest makes room when it is full.
 *
 * @module
 */

/** Requests that are remembered of one conversation. */
const TASKS_MAX = 4096;

/** So few that the tables need no memory beside their objects: many connections have no more. */
const TASKS_MIN = 8;
const NONE = -1;

/** What a table holds before its first request: most conversations of a capture have none. */
const NO_BYTES = new Uint8Array(0);
const NO_NUMBERS = new Float64Array(0);
const NO_WORDS = new Int32Array(0);

/** Requests by tag. Slots are numbers; what a slot holds is in the arrays. */
export class IscsiTasks {
  /** By slot: the opcode of the request. */
  opcodes: Uint8Array = NO_BYTES;
  /** By slot: the first byte of the CDB of a SCSI Command. */
  commands: Uint8Array = NO_BYTES;
  /** By slot: when the first byte of the request was captured. */
  times: Float64Array = NO_NUMBERS;
  /** By slot: the number of the packet in which it ended. */
  packets: Float64Array = NO_NUMBERS;
  /** By slot: its place in the stream of its side. */
  offsets: Float64Array = NO_NUMBERS;

  readonly #max: number;
  #tags: Int32Array = NO_WORDS;
  // Slots of one bucket are a list; slots in use are a list by age; free ones use #next.
  #buckets: Int32Array = NO_WORDS;
  #next: Int32Array = NO_WORDS;
  #older: Int32Array = NO_WORDS;
  #newer: Int32Array = NO_WORDS;
  #oldest = NONE;
  #newest = NONE;
  #free = NONE;

  /** A table that grows to `max` requests, a power of two. */
  constructor(max = TASKS_MAX) {
    this.#max = max;
  }

  /** Remembers a request; one with the same tag is replaced. */
  add(
    tag: number,
    opcode: number,
    command: number,
    timeNs: number,
    packet: number,
    offset: number,
  ): void {
    const before = this.find(tag);
    if (before >= 0) this.remove(before);
    if (this.#free === NONE) this.#makeRoom();
    const slot = this.#free;
    this.#free = this.#next[slot]!;
    const bucket = this.#bucketOf(tag);
    this.#tags[slot] = tag;
    this.#next[slot] = this.#buckets[bucket]!;
    this.#buckets[bucket] = slot;
    this.#older[slot] = this.#newest;
    this.#newer[slot] = NONE;
    if (this.#newest === NONE) this.#oldest = slot;
    else this.#newer[this.#newest] = slot;
    this.#newest = slot;
    this.opcodes[slot] = opcode;
    this.commands[slot] = command;
    this.times[slot] = timeNs;
    this.packets[slot] = packet;
    this.offsets[slot] = offset;
  }

  /** The slot of a tag, -1 when it is not known. */
  find(tag: number): number {
    if (this.#oldest === NONE) return NONE;
    let slot = this.#buckets[this.#bucketOf(tag)]!;
    while (slot !== NONE && this.#tags[slot] !== tag) slot = this.#next[slot]!;
    return slot;
  }

  /** Forgets the request in a slot; what the slot holds can be read until the next add(). */
  remove(slot: number): void {
    const bucket = this.#bucketOf(this.#tags[slot]!);
    const following = this.#next[slot]!;
    let before = this.#buckets[bucket]!;
    if (before === slot) this.#buckets[bucket] = following;
    else {
      while (this.#next[before] !== slot) before = this.#next[before]!;
      this.#next[before] = following;
    }
    const older = this.#older[slot]!;
    const newer = this.#newer[slot]!;
    if (older === NONE) this.#oldest = newer;
    else this.#newer[older] = newer;
    if (newer === NONE) this.#newest = older;
    else this.#older[newer] = older;
    this.#next[slot] = this.#free;
    this.#free = slot;
  }

  /** Forgets all: a request may have been missed whose tag is that of an older one. */
  clear(): void {
    while (this.#oldest !== NONE) this.remove(this.#oldest);
  }

  #bucketOf(tag: number): number {
    return (Math.imul(tag, 0x9e3779b1) >>> 16) & (this.#buckets.length - 1);
  }

  #makeRoom(): void {
    const size = this.#tags.length;
    if (size === this.#max) this.remove(this.#oldest);
    else this.#grow(Math.max(TASKS_MIN, size * 2));
  }

  #grow(size: number): void {
    const before = this.#tags.length;
    this.opcodes = enlarged(this.opcodes, new Uint8Array(size));
    this.commands = enlarged(this.commands, new Uint8Array(size));
    this.times = enlarged(this.times, new Float64Array(size));
    this.packets = enlarged(this.packets, new Float64Array(size));
    this.offsets = enlarged(this.offsets, new Float64Array(size));
    this.#tags = enlarged(this.#tags, new Int32Array(size));
    this.#next = enlarged(this.#next, new Int32Array(size));
    this.#older = enlarged(this.#older, new Int32Array(size));
    this.#newer = enlarged(this.#newer, new Int32Array(size));
    this.#buckets = new Int32Array(size).fill(NONE);
    for (let slot = 0; slot < before; slot++) { // growing means that all of them are in use
      const bucket = this.#bucketOf(this.#tags[slot]!);
      this.#next[slot] = this.#buckets[bucket]!;
      this.#buckets[bucket] = slot;
    }
    for (let slot = before; slot < size; slot++) {
      this.#next[slot] = this.#free;
      this.#free = slot;
    }
  }
}

function enlarged<T extends Uint8Array | Int32Array | Float64Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
