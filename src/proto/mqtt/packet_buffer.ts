/**
 * Where the bytes of one MQTT connection wait until a packet is whole. It has a fixed size, and
 * more only for one packet that is larger, while that one is under way.
 *
 * @module
 */
import { assert } from "../../mem/assert.ts";
import { newRegion, type Region } from "../../mem/region.ts";

/** What every connection has: a CONNECT fits, and some hundred small messages at once. */
export const BUFFER_BYTES: number = 64 * 1024;

/** Write into `room()`, say `filled()`, read from `head` to `tail`, say `consumed()`. */
export class PacketBuffer {
  /** First byte that was not consumed. */
  head = 0;
  /** Behind the last byte that came. */
  tail = 0;
  /** Bytes that the packet at the front has in all; 0 when unknown. */
  packetBytes = 0;
  readonly #base = newRegion(BUFFER_BYTES);
  #region: Region = this.#base;

  /** The memory that `head` and `tail` count in; another one after `grow()` and `shrink()`. */
  get region(): Region {
    return this.#region;
  }

  /** Bytes that the packet at the front needs beside what every connection has. */
  get lacking(): number {
    return this.packetBytes > this.#region.bytes.length ? this.packetBytes : 0;
  }

  /** Takes memory for the packet at the front, `lacking` bytes. */
  grow(): void {
    assert(this.lacking > 0, "it grows for a packet that does not fit");
    this.#move(newRegion(this.packetBytes));
  }

  /** Gives back what it has grown by, once that packet is gone; true when it did. */
  shrink(): boolean {
    // It had grown to that packet's size, so nothing else is in it.
    if (this.#region === this.#base || this.tail > 0) return false;
    this.#move(this.#base);
    return true;
  }

  /** Where the next bytes go; never empty unless a packet lacks memory or is whole. */
  room(): Uint8Array<ArrayBuffer> {
    if (this.head > 0) this.#move(this.#region);
    return this.#region.bytes.subarray(this.tail);
  }

  /** So many bytes were written to `room()`. */
  filled(count: number): void {
    this.tail += count;
    assert(this.tail <= this.#region.bytes.length, "bytes were written where there is room");
  }

  /** The packet at the front, which ends at `end`, is done. */
  consumed(end: number): void {
    this.head = end;
    this.packetBytes = 0;
    if (this.head === this.tail) {
      this.head = 0;
      this.tail = 0;
    }
  }

  #move(to: Region): void {
    const { bytes } = this.#region;
    if (to === this.#region) bytes.copyWithin(0, this.head, this.tail);
    else to.bytes.set(bytes.subarray(this.head, this.tail));
    this.tail -= this.head;
    this.head = 0;
    this.#region = to;
  }
}
