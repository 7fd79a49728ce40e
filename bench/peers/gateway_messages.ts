/**
 * Numbered messages, so that their fate can be told: a ledger of what was sent and acknowledged at
 * one end, a tally of what arrived at the other. A message is one line: a letter for its source, ten
 * digits, and filling.
 *
 * @module
 */

const LF = 0x0a;
const ZERO = 0x30;
const NINE = 0x39;
const FILLING = 0x78; // x
const DIGITS = 10;
/** The shortest message. */
export const MESSAGE_SIZE_MIN: number = 1 + DIGITS;

const CAPACITY_FIRST = 4096;

/** Writes a message without a line end; returns the offset after it. */
export function writeMessage(
  into: Uint8Array,
  at: number,
  source: string,
  id: number,
  size: number,
): number {
  into[at] = source.charCodeAt(0);
  let left = id;
  for (let digit = at + DIGITS; digit > at; digit--) {
    const tenth = Math.floor(left / 10);
    into[digit] = ZERO + left - tenth * 10;
    left = tenth;
  }
  into.fill(FILLING, at + MESSAGE_SIZE_MIN, at + size);
  return at + size;
}

/** What one source has sent: identifiers from 0, each sent once, never again. */
export class Ledger {
  /** The letter of its messages. */
  readonly source: string;
  /** Messages sent, and with that the next identifier. */
  sent = 0;
  acknowledged = 0;
  /** The highest identifier that was acknowledged; -1 when none was. */
  last = -1;
  #acknowledgements: Uint8Array<ArrayBuffer> = new Uint8Array(CAPACITY_FIRST);

  /** @param source one letter */
  constructor(source: string) {
    this.source = source;
  }

  /** Takes the next identifiers; returns the first of them. */
  begin(count: number): number {
    const first = this.sent;
    this.sent += count;
    this.#acknowledgements = grown(this.#acknowledgements, this.sent);
    return first;
  }

  /** Notes that one was acknowledged. */
  acknowledge(id: number): void {
    if (!(id >= 0 && id < this.sent)) throw new Error(`Cannot acknowledge ${id}: never sent`);
    if (this.#acknowledgements[id] === 1) return;
    this.#acknowledgements[id] = 1;
    this.acknowledged++;
    this.last = Math.max(this.last, id);
  }

  /** One byte for each message sent: 1 when it was acknowledged. */
  bytes(): Uint8Array<ArrayBuffer> {
    return this.#acknowledgements.subarray(0, this.sent);
  }
}

/** What arrived of one source. */
export interface Arrivals {
  /** Different messages. */
  count: number;
  /** Times that a message came again. */
  doubled: number;
  /** Messages that came, for the first time, after a higher one. */
  disordered: number;
  /** The highest identifier; -1 before the first. */
  last: number;
}

interface Seen extends Arrivals {
  ids: Uint8Array<ArrayBuffer>;
}

/** Reads what arrived, in pieces of any size, and counts it. */
export class Tally {
  /** Lines that are no messages of this form. */
  foreign = 0;
  readonly #size: number;
  readonly #seen = new Map<string, Seen>();
  #rest: Uint8Array = new Uint8Array(0);

  /** @param size of every message, in bytes */
  constructor(size: number) {
    this.#size = size;
  }

  /** Counts the lines that end in this piece. */
  take(bytes: Uint8Array): void {
    let at = 0;
    if (this.#rest.length > 0) {
      const end = bytes.indexOf(LF) + 1;
      this.#rest = joined(this.#rest, end === 0 ? bytes : bytes.subarray(0, end));
      if (end === 0) return;
      this.#takeLine(this.#rest, 0, this.#rest.length - 1);
      at = end;
    }
    for (let end = bytes.indexOf(LF, at); end >= 0; end = bytes.indexOf(LF, at)) {
      this.#takeLine(bytes, at, end);
      at = end + 1;
    }
    this.#rest = bytes.slice(at);
  }

  /** What arrived of a source so far. */
  of(source: string): Arrivals {
    const { count, disordered, doubled, last } = this.#source(source);
    return { count, disordered, doubled, last };
  }

  /** How many messages of a ledger were acknowledged and have not arrived. */
  lost(source: string, acknowledgements: Uint8Array): number {
    const { ids } = this.#source(source);
    let lost = 0;
    for (let id = 0; id < acknowledgements.length; id++) {
      if (acknowledgements[id] === 1 && ids[id] !== 1) lost++;
    }
    return lost;
  }

  #takeLine(bytes: Uint8Array, at: number, end: number): void {
    const id = end - at === this.#size ? idOf(bytes, at + 1) : -1;
    if (id < 0) {
      this.foreign++;
      return;
    }
    const seen = this.#source(String.fromCharCode(bytes[at]!));
    seen.ids = grown(seen.ids, id + 1);
    if (seen.ids[id] === 1) {
      seen.doubled++;
      return;
    }
    seen.ids[id] = 1;
    seen.count++;
    if (id < seen.last) seen.disordered++;
    else seen.last = id;
  }

  #source(source: string): Seen {
    let seen = this.#seen.get(source);
    if (seen === undefined) {
      const ids = new Uint8Array(CAPACITY_FIRST);
      seen = { count: 0, doubled: 0, disordered: 0, last: -1, ids };
      this.#seen.set(source, seen);
    }
    return seen;
  }
}

/** Counts a whole file; one that is not there is empty. */
export async function tallyFile(path: string, size: number): Promise<Tally> {
  const tally = new Tally(size);
  await addFileFrom(tally, path, 0);
  return tally;
}

const READ_BYTES = 1024 * 1024;

/**
 * Counts one more file from an offset on; returns the offset to go on from.
 */
export async function addFileFrom(tally: Tally, path: string, offset: number): Promise<number> {
  using file = await openIfThere(path);
  if (file === null) return offset;
  await file.seek(offset, Deno.SeekMode.Start);
  const piece = new Uint8Array(READ_BYTES);
  let end = offset;
  for (let got = await file.read(piece); got !== null; got = await file.read(piece)) {
    tally.take(piece.subarray(0, got));
    end += got;
  }
  return end;
}

async function openIfThere(path: string): Promise<Deno.FsFile | null> {
  try {
    return await Deno.open(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/** -1 when these are no digits. */
function idOf(bytes: Uint8Array, at: number): number {
  let id = 0;
  for (let index = at; index < at + DIGITS; index++) {
    const byte = bytes[index]!;
    if (byte < ZERO || byte > NINE) return -1;
    id = id * 10 + byte - ZERO;
  }
  return id <= ID_MAX ? id : -1;
}

/** A damaged line must not make this program take all memory. */
const ID_MAX = 1e9;

function grown(bytes: Uint8Array<ArrayBuffer>, count: number): Uint8Array<ArrayBuffer> {
  if (count <= bytes.length) return bytes;
  const more = new Uint8Array(Math.max(count, bytes.length * 2));
  more.set(bytes);
  return more;
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
