/**
 * The CRC-32C of crc32c.ts over arena memory, as a WebAssembly function made at start. Two parts:
 *
 * `slice` takes 16 bytes a step through 16 tables of 256 words (slicing-by-16 after Kounavis and
 * Berry, "Novel Table Lookup-Based Algorithms for High-Performance CRC Generation").
 *
 * `crc` first folds long runs. Over GF(2) Q(x)^128 = Q(x^128), so a sparse multiple Q of the CRC's
 * polynomial is also a rule for whole 16-byte vectors: with Q = x^79 + x^75 + x^71 + x^58 + x^18 +
 * x^12 + x + 1 each vector may be taken out when it is xored onto the 79th, 78th, 67th, 61st,
 * 21st, 8th and 4th after it. What is left, 80 vectors, goes through `slice`. No multiplication
 * and no table is in that loop, only loads and xors.
 *
 * Instruction codes: WebAssembly Core Specification, "Binary Format".
 *
 * @module
 */
import { arena, memory, take } from "../mem/arena.ts";
import { assert } from "../mem/assert.ts";

/** Exponents of Q below its degree. */
const EXPONENTS = [0, 1, 12, 18, 58, 71, 75];
const DEGREE = 79;

const VECTOR = 16;
/** Vectors a turn of the folding loop; the nearest one that is needed is 4 before. */
const UNROLL = 4;
const TABLE_BYTES = 1024;
/** Folded vectors that a vector looks back on. */
const HISTORY_BYTES = DEGREE * VECTOR;
/** What folding leaves: {@linkcode DEGREE} vectors, and one more so that turns come out even. */
const REST_BYTES = (DEGREE + 1) * VECTOR;
/** Folded at a time; 8 KiB stay in the first-level cache beside the tables. */
const CHUNK_BYTES = 8192;
/** From here on folding is faster than slicing alone (measured). */
const FOLD_BYTES_MIN = 2048;

const TABLES = take(16 * TABLE_BYTES + HISTORY_BYTES + CHUNK_BYTES + REST_BYTES);
const FOLDED = TABLES + 16 * TABLE_BYTES;
const REST = FOLDED + HISTORY_BYTES + CHUNK_BYTES;
assert(TABLES >= 0, "the arena has room for the crc tables");
assert(
  CHUNK_BYTES >= REST_BYTES && CHUNK_BYTES % (UNROLL * VECTOR) === 0,
  "chunks are whole turns",
);

/**
 * Makes the kernel: `(crc, at, end)` over arena offsets, the convention of `crc32cRaw`.
 *
 * @param table the remainders of all bytes
 */
export function makeKernel(
  table: Int32Array,
): (crc: number, at: number, end: number) => number {
  fillTables(table);
  const module = new WebAssembly.Module(emitModule());
  const { exports } = new WebAssembly.Instance(module, { arena: { memory } });
  return exports.crc as (crc: number, at: number, end: number) => number;
}

/** Table k: the remainder of a byte that has k more bytes behind it. */
function fillTables(table: Int32Array): void {
  const tables = new Int32Array(arena.bytes.buffer, TABLES, 16 * 256);
  tables.set(table);
  for (let index = 256; index < tables.length; index++) {
    const before = tables[index - 256]!;
    tables[index] = (before >>> 8) ^ table[before & 255]!;
  }
}

type Code = readonly number[];

// Locals of both functions: the parameters, then what else they need
const CRC = 0;
const AT = 1;
const END = 2;
const STOP = 3;
const WORD = 4; // slice: four words of input
const FROM = 4; // crc: where in FOLDED the history of the next vector starts

const I32 = 0x7f;
const LT_U = 0x49;
const GE_S = 0x4e;
const GE_U = 0x4f;
const ADD = 0x6a;
const SUB = 0x6b;
const AND = 0x71;
const XOR = 0x73;
const SHL = 0x74;
const SHR_U = 0x76;
const IF: Code = [0x04, 0x40];
const BLOCK: Code = [0x02, 0x40];
const LOOP: Code = [0x03, 0x40];
const BREAK = 0x0c;
const BREAK_IF = 0x0d;
const CLOSE = 0x0b;
const CALL = 0x10;
const SELECT = 0x1b;
const LOAD8_U: Code = [0x2d, 0, 0];
const MEMORY_COPY: Code = [0xfc, 10, 0, 0];
const MEMORY_FILL: Code = [0xfc, 11, 0];
const V128_XOR: Code = [0xfd, 0x51];
const SLICE = 0;

function emitModule(): Uint8Array<ArrayBuffer> {
  return new Uint8Array([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // magic, version
    ...section(1, [0x60, ...vector([I32], [I32], [I32]), ...vector([I32])]), // one type
    ...section(2, [...name("arena"), ...name("memory"), 2, 0, 1]), // the memory, 1 page or more
    ...section(3, [0], [0]), // both functions are of type 0
    ...section(7, [...name("crc"), 0, 1]),
    ...section(10, body(5, emitSlice()), body(2, emitCrc())),
  ]);
}

function emitSlice(): Code {
  return [...sliceBy(16), ...sliceBy(4), ...sliceBy(1), ...get(CRC)];
}

/** crc over as many whole steps of `width` bytes as there are. */
function sliceBy(width: 16 | 4 | 1): Code {
  const stop = [...get(AT), ...get(END), ...get(AT), SUB, ...i32(-width), AND, ADD, ...set(STOP)];
  return [
    ...stop,
    ...whileBelow(AT, STOP, [
      ...(width === 1 ? sliceByte() : sliceWords(width)),
      ...add(AT, width),
    ]),
  ];
}

function sliceWords(width: number): Code {
  const code: number[] = [];
  for (let at = 0; at < width; at += 4) {
    code.push(
      ...get(AT),
      ...load(at),
      ...(at === 0 ? [...get(CRC), XOR] : []),
      ...set(WORD + at / 4),
    );
  }
  for (let at = 0; at < width; at++) {
    const bit = 8 * (at % 4);
    const shift = bit === 0 ? [...i32(2), SHL] : [...i32(bit - 2), SHR_U];
    code.push(...get(WORD + (at >> 2)), ...shift, ...i32(0x3fc), AND);
    code.push(...load(TABLES + (width - 1 - at) * TABLE_BYTES), ...(at === 0 ? [] : [XOR]));
  }
  return [...code, ...set(CRC)];
}

function sliceByte(): Code {
  const index = [...get(AT), ...LOAD8_U, ...get(CRC), XOR, ...i32(255), AND, ...i32(2), SHL];
  return [...index, ...load(TABLES), ...get(CRC), ...i32(8), SHR_U, XOR, ...set(CRC)];
}

function emitCrc(): Code {
  const left = [...get(END), ...get(AT), SUB];
  const turns = [...left, ...i32(REST_BYTES), SUB, ...i32(-UNROLL * VECTOR), AND];
  return [
    ...[...left, ...i32(FOLD_BYTES_MIN), GE_S, ...IF],
    // The seed is xored onto the first four bytes: it is put where the vector 79 before them is.
    ...zero(FOLDED, HISTORY_BYTES),
    ...[...i32(FOLDED), ...get(CRC), ...store(0)],
    ...LOOP,
    ...[...turns, ...set(STOP), ...get(STOP), ...i32(CHUNK_BYTES)],
    ...[...get(STOP), ...i32(CHUNK_BYTES), LT_U, SELECT, ...get(AT), ADD, ...set(STOP)],
    ...foldTo(HISTORY_BYTES),
    ...[...i32(FOLDED), ...get(FROM), ...i32(HISTORY_BYTES), ...MEMORY_COPY],
    ...[...turns, BREAK_IF, 0, CLOSE],
    // The last vectors get what was folded, but are not folded themselves.
    ...zero(FOLDED + HISTORY_BYTES, REST_BYTES),
    ...[...get(AT), ...i32(REST_BYTES), ADD, ...set(STOP)],
    ...foldTo(REST - FOLDED),
    ...[...i32(0), ...i32(REST), ...i32(REST + REST_BYTES), CALL, SLICE, ...set(CRC), CLOSE],
    ...[...get(CRC), ...get(AT), ...get(END), CALL, SLICE],
  ];
}

/** Folds [at, stop) with the history at FOLDED; results go `distance` behind each history. */
function foldTo(distance: number): Code {
  const code: number[] = [];
  for (let at = 0; at < UNROLL * VECTOR; at += VECTOR) {
    code.push(...get(FROM), ...get(AT), ...loadVector(at));
    for (const exponent of EXPONENTS) {
      code.push(...get(FROM), ...loadVector(exponent * VECTOR + at), ...V128_XOR);
    }
    code.push(0xfd, 11, 0, ...unsigned(distance + at)); // v128.store
  }
  code.push(...add(AT, UNROLL * VECTOR), ...add(FROM, UNROLL * VECTOR));
  return [...i32(FOLDED), ...set(FROM), ...whileBelow(AT, STOP, code)];
}

function zero(at: number, count: number): Code {
  return [...i32(at), ...i32(0), ...i32(count), ...MEMORY_FILL];
}

function whileBelow(local: number, bound: number, code: Code): Code {
  const leave = [...get(local), ...get(bound), GE_U, BREAK_IF, 1];
  return [...BLOCK, ...LOOP, ...leave, ...code, BREAK, 0, CLOSE, CLOSE];
}

function get(local: number): Code {
  return [0x20, local];
}

function set(local: number): Code {
  return [0x21, local];
}

function add(local: number, count: number): Code {
  return [...get(local), ...i32(count), ADD, ...set(local)];
}

function load(offset: number): Code {
  return [0x28, 0, ...unsigned(offset)]; // i32.load, no alignment promised
}

function store(offset: number): Code {
  return [0x36, 0, ...unsigned(offset)]; // i32.store
}

function loadVector(offset: number): Code {
  return [0xfd, 0, 0, ...unsigned(offset)]; // v128.load
}

/** i32.const: signed LEB128. */
function i32(value: number): Code {
  const code = [0x41];
  for (; value < -64 || value > 63; value >>= 7) code.push((value & 127) | 128);
  return [...code, value & 127];
}

/** Unsigned LEB128. */
function unsigned(value: number): Code {
  const code: number[] = [];
  for (; value > 127; value >>>= 7) code.push((value & 127) | 128);
  return [...code, value];
}

function name(text: string): Code {
  return vector(...Array.from(text, (letter) => [letter.charCodeAt(0)]));
}

function vector(...items: Code[]): Code {
  return [...unsigned(items.length), ...items.flat()];
}

function section(id: number, ...items: Code[]): Code {
  const content = vector(...items);
  return [id, ...unsigned(content.length), ...content];
}

/** A function body with `locals` more i32 locals. */
function body(locals: number, code: Code): Code {
  const content = [1, locals, I32, ...code, CLOSE];
  return [...unsigned(content.length), ...content];
}
