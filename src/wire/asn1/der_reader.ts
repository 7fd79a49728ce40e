/**
 * Reads DER element by element: X.690, with the strings and times of RFC 5280 section 4.1. The first
 * thing that is wrong is kept: everything after it answers with something empty, so that a structure can
 * be read from top to bottom and be asked for its fault at the end.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import { Header, readHeader } from "./der_check.ts";
import { oidText } from "./oid.ts";
import { Tag } from "./tag.ts";
import { parseTime } from "./time.ts";

const UNUSED_MAX = 7;
const SMALL_OCTETS_MAX = 4;

/** What all readers of one structure share. */
interface Verdict {
  fault: number;
}

/** The elements of a structure, one after the other. */
export class DerReader {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #header = new Header();
  readonly #verdict: Verdict;
  #at: number;
  readonly #end: number;

  constructor(
    bytes: Uint8Array<ArrayBuffer>,
    at = 0,
    end = bytes.length,
    verdict: Verdict = { fault: 0 },
  ) {
    this.#bytes = bytes;
    this.#at = at;
    this.#end = end;
    this.#verdict = verdict;
  }

  /** 0, or a negated {@linkcode Fault} as soon as something is wrong. */
  get fault(): number {
    return this.#verdict.fault;
  }

  /** Whether elements are left; never after a fault. */
  get more(): boolean {
    return this.fault === 0 && this.#at < this.#end;
  }

  /** Whether the next element has this tag. */
  is(tag: number): boolean {
    return this.more && this.#bytes[this.#at] === tag;
  }

  /** Says that what was read last is wrong. */
  refuse(field: string, value: number, expected: string, code: number = Fault.Field): void {
    if (this.fault === 0) this.#verdict.fault = fail(code, field, this.#at, value, expected);
  }

  /** Goes into an element that holds others. */
  enter(tag: number, field: string): DerReader {
    const { at, end } = this.#next(tag, field);
    return new DerReader(this.#bytes, at, end, this.#verdict);
  }

  /** Reads what an OCTET STRING or a BIT STRING wraps as a structure of its own. */
  wrapped(content: Uint8Array<ArrayBuffer>): DerReader {
    return new DerReader(content, 0, content.length, this.#verdict);
  }

  /** The whole next element with its tag and length. */
  element(tag: number, field: string): Uint8Array<ArrayBuffer> {
    const start = this.#at;
    const { end } = this.#next(tag, field);
    return this.#bytes.subarray(start, Math.max(start, end));
  }

  /** The content of an element. */
  content(tag: number, field: string): Uint8Array<ArrayBuffer> {
    const { at, end } = this.#next(tag, field);
    return this.#bytes.subarray(at, end);
  }

  /** Steps over an element of any tag. */
  skip(field: string): void {
    this.#next(-1, field);
  }

  /** Nothing may be left. */
  end(field: string): void {
    if (this.more) this.refuse(`bytes at the end of ${field}`, this.#end - this.#at, "0");
  }

  /** BOOLEAN: X.690 section 11.1 has one TRUE. */
  boolean(field: string): boolean {
    const octets = this.content(Tag.Boolean, field);
    const value = octets[0] ?? 0;
    if (octets.length !== 1 || value !== 0 && value !== 0xff) {
      this.refuse(field, value, "one octet, 0 or 255");
    }
    return value === 0xff;
  }

  /** The octets of an INTEGER in its shortest form: X.690 section 8.3.2. */
  integerOctets(field: string): Uint8Array<ArrayBuffer> {
    const octets = this.content(Tag.Integer, field);
    const [first = 0, second = 0] = octets;
    if (octets.length === 0) this.refuse(`${field} octets`, 0, "1 or more");
    const isPadded = first === 0 && second < 0x80 || first === 0xff && second >= 0x80;
    if (octets.length > 1 && isPadded) this.refuse(field, first, "an INTEGER in the shortest form");
    return octets;
  }

  /** An INTEGER of up to 31 bits that is not negative. */
  integer(field: string): number {
    const octets = this.integerOctets(field);
    if (octets.length > SMALL_OCTETS_MAX) {
      this.refuse(`${field} octets`, octets.length, `up to ${SMALL_OCTETS_MAX}`);
    }
    if ((octets[0] ?? 0) >= 0x80) this.refuse(field, octets[0]!, "not negative");
    return this.fault === 0 ? octets.reduce((sum, octet) => sum << 8 | octet, 0) : 0;
  }

  /** OBJECT IDENTIFIER in dotted form. */
  oid(field: string): string {
    const octets = this.content(Tag.Oid, field);
    const text = oidText(octets);
    if (text === null) this.refuse(`${field} octets`, octets.length, "an OBJECT IDENTIFIER");
    return text ?? "";
  }

  /** NULL. */
  null(field: string): void {
    const { length } = this.content(Tag.Null, field);
    if (length > 0) this.refuse(`${field} length`, length, "0");
  }

  /** BIT STRING of whole octets, such as a signature. */
  bitOctets(field: string): Uint8Array<ArrayBuffer> {
    const octets = this.content(Tag.BitString, field);
    if (octets[0] !== 0) this.refuse(`${field} unused bits`, octets[0] ?? 0, "0");
    return octets.subarray(1);
  }

  /** The first sixteen bits of a BIT STRING of names: bit 0 of X.680 is 0x8000 here. */
  namedBits(field: string): number {
    const octets = this.content(Tag.BitString, field);
    const unused = octets[0] ?? 0;
    const last = octets.at(-1)!;
    // X.690 section 11.2.2: no zero bits at the end
    const lowest = octets.length > 1 ? 31 - Math.clz32(last & -last) : 0;
    if (octets.length === 0 || octets.length > 3 || unused > UNUSED_MAX || unused !== lowest) {
      this.refuse(`${field} unused bits`, unused, "a BIT STRING in the shortest form");
    }
    return (octets[1] ?? 0) << 8 | (octets[2] ?? 0);
  }

  /** UTCTime or GeneralizedTime as milliseconds since 1970. */
  time(field: string): number {
    const isUtcTime = this.is(Tag.UtcTime);
    const octets = this.content(isUtcTime ? Tag.UtcTime : Tag.GeneralizedTime, field);
    const ms = parseTime(String.fromCharCode(...octets.subarray(0, 32)), isUtcTime);
    if (Number.isNaN(ms)) {
      this.refuse(`${field} octets`, octets.length, "a UTC time with seconds and Z");
    }
    return Number.isNaN(ms) ? 0 : ms;
  }

  #next(tag: number, field: string): Header {
    const header = this.#header;
    header.at = header.end = this.#at;
    if (this.fault !== 0) return header;
    const found = this.#bytes[this.#at] ?? 0;
    if (this.#at >= this.#end) this.refuse(field, 0, "there", Fault.Short);
    else if (tag >= 0 && found !== tag) this.refuse(`${field} tag`, found, `${tag}`);
    else {
      const fault = readHeader(this.#bytes, this.#at, this.#end, header);
      if (fault < 0) {
        this.#verdict.fault = fault;
        header.at = header.end = this.#at;
      } else this.#at = header.end;
    }
    return header;
  }
}
