/**
 * Runs the bytes of one crc-mode frame through its crcs, piece by piece where they lie, and compares
 * them with those it carries: msgr2 "msgr2.0-crc mode" and "msgr2.1-crc mode". What a hole has
 * touched is left out, the rest is checked all the same.
 *
 * @module
 */
import { arena } from "../../mem/arena.ts";
import { SEGMENTS_MAX } from "../../mem/limits.ts";
import { crc32cRaw } from "../../wire/crc32c.ts";
import type { Msgr2Link } from "./msgr2_link.ts";
import {
  epilogueBytes,
  headCrcBytes,
  Late,
  readEpilogueCrc,
  readLate,
} from "../../wire/msgr2/seen_preamble.ts";
import type { Msgr2Teller } from "./msgr2_teller.ts";

/** Seed of a segment's crc, and the crc of an empty segment that the frame has. */
export const CRC_SEED = -1;

// Parts of a frame in their order; segments 1 to 3 are parts 2 to 4.
const BODY = 0;
const BODY_CRC = 1;
const FRONT = 2;
const EPILOGUE = 5;
const PARTS = 6;

/** A bit of what is damaged, beside those of the segments. */
const EPILOGUE_DAMAGED: number = 1 << SEGMENTS_MAX;

/** The walk through one frame after the other. */
export class Msgr2Walk {
  /** Revision 0 is a guess that the crc of segment 0 in the epilogue must prove. */
  isGuess = false;
  /** Whether anything was wrong. */
  isFaulty = false;
  readonly #teller: Msgr2Teller;
  readonly #link: Msgr2Link;
  readonly #crcs = [0, 0, 0, 0];
  #revision = 0;
  #part = PARTS;
  #partEnd = 0;
  #crc = 0;
  #damaged = 0;

  /** Walks through the frames whose preambles `teller` has, and complains to it. */
  constructor(teller: Msgr2Teller, link: Msgr2Link) {
    this.#teller = teller;
    this.#link = link;
  }

  /** True when all of the frame was seen. */
  get isDone(): boolean {
    return this.#part === PARTS;
  }

  /** A frame whose segment 0 is at `position` of the stream. */
  begin(revision: number, position: number): void {
    this.#revision = revision;
    this.isFaulty = false;
    this.#damaged = 0;
    this.#enter(BODY, position);
  }

  /**
   * Takes the stream's bytes from `position` to `limit`, which lie `base` further in the arena.
   * Returns up to where they were needed: a crc is only taken whole.
   */
  advance(base: number, position: number, limit: number): number {
    let at = position;
    while (this.#part < PARTS) {
      const end = this.#partEnd;
      if (this.#part === BODY_CRC || this.#part === EPILOGUE) {
        if (limit < end) return at;
        if (this.#part === EPILOGUE) this.#checkEpilogue(base + at);
        else this.#checkBody(base + at);
        at = end;
      } else {
        const stop = limit < end ? limit : end;
        this.#crc = crc32cRaw(this.#crc, arena.bytes, base + at, base + stop);
        at = stop;
        if (stop < end) return at;
        this.#crcs[segmentOf(this.#part)] = this.#crc;
      }
      this.#enter(this.#part + 1, at);
    }
    return at;
  }

  /** What lies from `position` up to `end` cannot be checked; returns where it goes on. */
  spoil(position: number, end: number): number {
    let at = position;
    while (this.#part < PARTS && at < end) {
      if (this.#part === EPILOGUE) this.#damaged |= EPILOGUE_DAMAGED;
      else this.#damaged |= 1 << segmentOf(this.#part);
      at = Math.min(end, this.#partEnd);
      if (at === this.#partEnd) this.#enter(this.#part + 1, at);
    }
    return at;
  }

  /** The part from `at` on; those without bytes are passed over. */
  #enter(first: number, at: number): void {
    let part = first;
    let bytes = 0;
    for (; part < PARTS; part++) {
      bytes = this.#partBytes(part);
      if (bytes > 0) break;
      if (part !== BODY_CRC && part !== EPILOGUE) this.#crcs[segmentOf(part)] = CRC_SEED;
    }
    this.#part = part;
    this.#partEnd = at + bytes;
    this.#crc = CRC_SEED;
  }

  #partBytes(part: number): number {
    const { lengths, segmentCount } = this.#teller.preamble;
    if (part === BODY_CRC) return headCrcBytes(this.#revision, lengths[0]!);
    if (part === EPILOGUE) return epilogueBytes(this.#revision, segmentCount);
    return lengths[segmentOf(part)]!;
  }

  #checkBody(at: number): void {
    if ((this.#damaged & 1) === 0) this.#compare(0, arena.view.getInt32(at, true));
  }

  #checkEpilogue(at: number): void {
    if ((this.#damaged & EPILOGUE_DAMAGED) !== 0) return;
    const revision = this.#revision;
    const { segmentCount } = this.#teller.preamble;
    for (let segment = revision; segment < SEGMENTS_MAX; segment++) {
      if (segment >= segmentCount) this.#crcs[segment] = 0; // unused ones are zeroed
      if ((this.#damaged & (1 << segment)) !== 0) continue;
      this.#compare(segment, readEpilogueCrc(arena, at, revision, segment));
    }
    const late = readLate(arena, at, revision);
    this.#teller.aborted = late === Late.Aborted;
    if (late !== Late.Invalid) return;
    const status = hex(arena.bytes[at]!, 2);
    this.#complain(
      revision === 0
        ? `late_flags is ${status}, not 0x00 or 0x01`
        : `late_status is ${status}, not 0x0e or 0x01`,
    );
  }

  #compare(segment: number, found: number): void {
    const computed = this.#crcs[segment]!;
    if (found !== computed) {
      const values = `${hex(found, 8)} found, ${hex(computed, 8)} computed`;
      this.#complain(`crc of segment ${segment}: ${values}`);
    } else if (segment === 0 && this.isGuess) {
      this.isGuess = false;
      this.#link.revision = 0;
    }
  }

  #complain(error: string): void {
    this.isFaulty = true;
    this.#teller.complain(error);
  }
}

/** The segment that a part, other than a crc, is. */
function segmentOf(part: number): number {
  return part < FRONT ? 0 : part - 1;
}

function hex(value: number, digits: number): string {
  return `0x${(value >>> 0).toString(16).padStart(digits, "0")}`;
}
