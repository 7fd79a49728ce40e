/**
 * A netlink body that is kept as it came: memory of its own, used again when the next one fits.
 *
 * @module
 */
import { newRegion, type Region } from "../../mem/region.ts";

/** Bytes of a message. */
export class KeptBody {
  region: Region = NOTHING;
  /** It is from 0 to here; 0 is none. */
  end = 0;

  /** Takes a copy. */
  set(from: Region, at: number, end: number): void {
    const size = end - at;
    const room = this.region.bytes.length;
    // A body that shrank a lot gives its memory back: thousands of these are held.
    if (size > room || size * 2 < room) this.region = newRegion(size);
    const { bytes } = this.region;
    for (let i = 0; i < size; i++) bytes[i] = from.bytes[at + i]!;
    this.end = size;
  }

  /** Holds none. */
  clear(): void {
    this.end = 0;
  }
}

const NOTHING: Region = newRegion(0);
