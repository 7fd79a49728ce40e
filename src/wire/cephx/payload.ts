/**
 * Reading and writing of authentication payloads, which travel inside the AUTH frames of msgr2:
 * little-endian fields, strings and nested lists with a u32 length in front, as Ceph's
 * include/encoding.h has them. Handshakes are rare, so here whole arrays go in and out.
 *
 * A {@linkcode PayloadReader} is sticky: the first fault is told to `fail()`, from then on every
 * read gives zeros, and one look at `failed` at the end of a structure is enough.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import { U64 } from "../../mem/u64.ts";

/** Takes fields from a payload in order. What it returns are copies. */
export class PayloadReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #frame: string;
  #at = 0;
  #failed = false;

  /** `frame` is put in front of each field's name in faults: `"AUTH_DONE"`. */
  constructor(bytes: Uint8Array, frame: string) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#frame = frame;
  }

  /** True once a field was missing or refused. */
  get failed(): boolean {
    return this.#failed;
  }

  /** Bytes not yet read. */
  get left(): number {
    return this.#bytes.length - this.#at;
  }

  /** Refuses the field that ends here; the first refusal is the one that stays. */
  refuse(code: number, field: string, value: number, expected: string): void {
    if (this.#failed) return;
    this.#failed = true;
    fail(code, `${this.#frame} ${field}`, this.#at, value, expected);
  }

  /** One byte. */
  u8(field: string): number {
    if (!this.#room(1, field)) return 0;
    return this.#bytes[this.#at++]!;
  }

  /** Two bytes. */
  u16(field: string): number {
    if (!this.#room(2, field)) return 0;
    this.#at += 2;
    return this.#view.getUint16(this.#at - 2, true);
  }

  /** Four bytes. */
  u32(field: string): number {
    if (!this.#room(4, field)) return 0;
    this.#at += 4;
    return this.#view.getUint32(this.#at - 4, true);
  }

  /** Eight bytes. */
  u64(field: string): U64 {
    const value = new U64();
    if (!this.#room(8, field)) return value;
    this.#at += 8;
    value.set(this.#view.getInt32(this.#at - 8, true), this.#view.getInt32(this.#at - 4, true));
    return value;
  }

  /** A structure's version: 1 or more; versions above the known one only add fields at the end. */
  version(field: string): number {
    const version = this.u8(field);
    if (version === 0) this.refuse(Fault.Field, field, version, "1 or more");
    return version;
  }

  /** Bytes of a known count. */
  raw(count: number, field: string): Uint8Array {
    if (!this.#room(count, field)) return new Uint8Array(0);
    this.#at += count;
    return this.#bytes.slice(this.#at - count, this.#at);
  }

  /** A u32 length and as many bytes. */
  blob(field: string): Uint8Array {
    return this.raw(this.u32(field), field);
  }

  /** A u32 length and as many bytes of UTF-8. */
  text(field: string): string {
    return decoder.decode(this.blob(field));
  }

  #room(count: number, field: string): boolean {
    if (this.#failed) return false;
    if (count <= this.left) return true;
    this.refuse(Fault.Short, field, this.left, `${count} bytes long`);
    return false;
  }
}

/** Puts fields behind one another into memory that grows. */
export class PayloadWriter {
  #bytes = new Uint8Array(128);
  #view: DataView<ArrayBuffer> = new DataView(this.#bytes.buffer);
  #at = 0;

  /** One byte. */
  u8(value: number): this {
    const at = this.#take(1);
    this.#bytes[at] = value;
    return this;
  }

  /** Two bytes. */
  u16(value: number): this {
    const at = this.#take(2); // first, as it may change the view
    this.#view.setUint16(at, value, true);
    return this;
  }

  /** Four bytes; signed values too. */
  u32(value: number): this {
    const at = this.#take(4); // first, as it may change the view
    this.#view.setUint32(at, value, true);
    return this;
  }

  /** Eight bytes. */
  u64(value: U64): this {
    return this.u32(value.lo).u32(value.hi);
  }

  /** The bytes alone. */
  raw(bytes: Uint8Array): this {
    const at = this.#take(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }

  /** A u32 length and the bytes. */
  blob(bytes: Uint8Array): this {
    return this.u32(bytes.length).raw(bytes);
  }

  /** A u32 length and the text as UTF-8. */
  text(text: string): this {
    return this.blob(encoder.encode(text));
  }

  /** What was written. */
  done(): Uint8Array {
    return this.#bytes.slice(0, this.#at);
  }

  #take(count: number): number {
    const at = this.#at;
    this.#at += count;
    if (this.#at > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#at, this.#bytes.length * 2));
      grown.set(this.#bytes);
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    return at;
  }
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
