/**
 * Where messages of the X-Bone control protocol end in a stream: behind each stands `XBoneEOC`,
 * which counts only outside of lists, quotes and comments. On UDP a datagram is one message and
 * needs none of this.
 *
 * @module
 */
import { DEPTH_MAX, TERMINATOR } from "./sexpr.ts";

/**
 * The most that a signed datagram carries: what is left of 65,507 bytes by signature and
 * certificate.
 */
export const UDP_MESSAGE_MAX = 60_000;
/**
 * The most of a message over TCP: the CONFIG of a sub-manager carries the plans of all boxes below.
 */
export const TCP_MESSAGE_MAX = 8 * 1024 * 1024;

/** What may stand around a message of the largest size: two line ends and the terminator. */
const AROUND_SIZE = TERMINATOR.length + 4;

/** Memory that is kept from one message to the next. */
const KEPT_SIZE = 65_536;

/**
 * ```text
 * Before --"("--> Inside --last ")"--> Behind --"X"--> Ending --"boneEOC"--> Before
 *                 Inside <--"'"--> Quoted <--"\"--> Escaped
 * ```
 * A comment may stand in Before, Inside and Behind and leads back to where it began.
 */
const State = { Before: 0, Inside: 1, Behind: 2, Ending: 3, Quoted: 4, Escaped: 5 } as const;

const NEWLINE = 0x0a;
const HASH = 0x23;
const QUOTE = 0x27;
const OPEN = 0x28;
const CLOSE = 0x29;
const BACKSLASH = 0x5c;

const ENDING = new TextEncoder().encode(TERMINATOR);

/**
 * Cuts a stream into messages. Push what came, then take messages until there is none: what waits
 * is no more than what was pushed. After a refusal the stream has no meaning any more.
 */
export class MessageFramer {
  readonly #bytesMax: number;
  readonly #messages: Uint8Array[] = [];
  #taken = 0;
  #buffer = new Uint8Array(1024);
  /** Of the message in the buffer; past its last parenthesis nothing is kept. */
  #size = 0;
  /** Since the last message, blanks and comments included. */
  #seen = 0;
  #state: number = State.Before;
  #comment = false;
  #depth = 0;
  #matched = 0;
  #refusal: string | null = null;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Why the stream is over, or null. Messages in front of what is refused can still be taken. */
  get refusal(): string | null {
    return this.#refusal;
  }

  /** Takes bytes of the stream; they may be cut anywhere. */
  push(bytes: Uint8Array): void {
    let kept = this.#state === State.Before ? -1 : 0; // where in `bytes` the message goes on
    for (let at = 0; at < bytes.length && this.#refusal === null; at++) {
      const before = this.#state;
      this.#step(bytes[at]!);
      if (++this.#seen > this.#bytesMax + AROUND_SIZE) this.#refuseSize();
      if (this.#refusal !== null || this.#state === before) continue;
      if (before === State.Before) kept = at;
      else if (this.#state === State.Behind && before === State.Inside) {
        this.#keep(bytes.subarray(kept, at + 1));
      } else if (this.#state === State.Before) this.#finish();
    }
    if (this.#refusal !== null) {
      this.#buffer = new Uint8Array(0);
      this.#size = 0;
    } else if (this.#isOpen()) this.#keep(bytes.subarray(kept));
  }

  /** The next message without its terminator, or null. */
  next(): Uint8Array | null {
    if (this.#taken === this.#messages.length) {
      this.#messages.length = 0;
      this.#taken = 0;
      return null;
    }
    return this.#messages[this.#taken++]!;
  }

  #isOpen(): boolean {
    return this.#state === State.Inside || this.#state === State.Quoted ||
      this.#state === State.Escaped;
  }

  #step(byte: number): void {
    if (this.#comment) {
      if (byte === NEWLINE) this.#comment = false;
    } else if (this.#state === State.Inside) this.#stepInside(byte);
    else if (this.#state === State.Quoted) {
      if (byte === BACKSLASH) this.#state = State.Escaped;
      else if (byte === QUOTE) this.#state = State.Inside;
    } else if (this.#state === State.Escaped) this.#state = State.Quoted;
    else this.#stepOutside(byte);
  }

  #stepInside(byte: number): void {
    if (byte === OPEN) {
      if (++this.#depth > DEPTH_MAX) {
        this.#refuse(`lists must be at most ${DEPTH_MAX} deep`, "one more");
      }
    } else if (byte === CLOSE) {
      if (--this.#depth === 0) this.#state = State.Behind;
    } else if (byte === QUOTE) this.#state = State.Quoted;
    else if (byte === HASH) this.#comment = true;
  }

  #stepOutside(byte: number): void {
    if (this.#state === State.Ending) {
      if (byte !== ENDING[this.#matched]) {
        this.#refuse(`a message must end with ${TERMINATOR}`, `byte ${byte}`);
      } else if (++this.#matched === ENDING.length) this.#state = State.Before;
    } else if (byte === HASH) this.#comment = true;
    else if (byte === 0x20 || byte === 0x09 || byte === 0x0d || byte === NEWLINE) return;
    else if (this.#state === State.Before && byte === OPEN) {
      this.#depth = 1;
      this.#state = State.Inside;
    } else if (this.#state === State.Behind && byte === ENDING[0]) {
      this.#matched = 1;
      this.#state = State.Ending;
    } else {
      const expected = this.#state === State.Before ? "begin with (" : `end with ${TERMINATOR}`;
      this.#refuse(`a message must ${expected}`, `byte ${byte}`);
    }
  }

  /**
   * Appends to the message; memory doubles, so that many small pieces cost no more than a large
   * one.
   */
  #keep(bytes: Uint8Array): void {
    const size = this.#size + bytes.length;
    if (size > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(size, this.#buffer.length * 2));
      larger.set(this.#buffer.subarray(0, this.#size));
      this.#buffer = larger;
    }
    this.#buffer.set(bytes, this.#size);
    this.#size = size;
  }

  #finish(): void {
    this.#messages.push(this.#buffer.slice(0, this.#size));
    if (this.#buffer.length > KEPT_SIZE) this.#buffer = new Uint8Array(1024);
    this.#size = 0;
    this.#seen = 0;
  }

  #refuseSize(): void {
    this.#refuse(`a message must be at most ${this.#bytesMax} bytes`, `${this.#seen} and no end`);
  }

  #refuse(reason: string, value: string): void {
    this.#refusal ??= `Cannot read stream of messages as ${reason}: current value is ${value}`;
  }
}
