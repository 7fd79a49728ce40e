/**
 * The CRC-32C of crc32c.ts over arena memory, as a WebAssembly function made at start. Short runs
 * go through `slice`: 16 bytes a step through 16 tables of 256 words (slicing-by-16 after Kounavis
 * and Berry, "Novel Table Lookup-Based Algorithms for High-Performance CRC Generation"). Longer
 * ones are first folded, without tables or multiplication: loads, xors and byte shuffles only.
 *
 * Why folding is right. The bits of a run, each byte from its lowest bit on, are the coefficients
 * of a polynomial M over GF(2), highest power first; the seed is xored onto the first four bytes,
 * and the CRC is the remainder of x^32 M after division by P. So M may have multiples of P added.
 *
 * 1. P divides Q(x) = x^209 + x^144 + x^54 + x^39 + x^14 + 1.
 * 2. Over GF(2) Q(x)^2 = Q(x^2), the mixed terms cancel. So Q(x)^8 = Q(x^8), and P divides it too.
 * 3. x^8 is one byte further to the front. A byte B with n bytes behind it, n >= 209, is the term
 *    B x^(8n); with B Q(x^8) x^(8(n - 209)) added it is gone from its place, and is xored onto the
 *    bytes 65, 155, 170, 195 and 209 places after it: 209 less each exponent of Q. These distances
 *    are the rule.
 * 4. So each byte in turn is moved away, the first one first; the last 209 or more only receive.
 *    What is moved from place p is v[p] = m[p] ^ v[p - 65] ^ v[p - 155] ^ v[p - 170] ^ v[p - 195] ^
 *    v[p - 209], m being the run, v zero in front of it. There are only zeros then before what
 *    stays, and zeros in front of a run do not change its CRC from seed 0.
 * 5. No distance is below 16, so 16 bytes in a row do not need one another: v is found by vectors.
 * 6. A distance 16 a + c wants the last c bytes of the vector a + 1 before and the first 16 - c of
 *    the vector a before: one shuffle with fixed lanes (palignr on x86-64, ext on ARM). Distances
 *    with the same c, as 65 and 209, are xored first and share the shuffle.
 * 7. What stays is a run like any other: 14 vectors, which a rule of less reach and more distances
 *    brings to 7, and another to 4. Those go through `slice`.
 *
 * A rule is thus a sparse multiple of P. For LONG: below degree 5275 no multiple has fewer than six
 * terms, and below 209 none has six; the code's distance is 6 up to 5243 bits of data and 8 up to
 * 177 (Koopman, "32-Bit Cyclic Redundancy Codes for Internet Applications"; confirmed by search).
 * MIDDLE and SHORT are, of all multiples that fit into 7 and 4 vectors with no distance below 16,
 * those that cost the fewest xors and shuffles. The tests check that all three are multiples.
 *
 * The last vectors folded are in locals, so mostly in registers. A turn of the loop takes as many
 * vectors as the rule reaches back, so that each stays in its local until it is replaced. Only
 * plain SIMD instructions are used, whose results are the same on every machine.
 *
 * @module
 */
import { arena, memory, take } from "../mem/arena.ts";
import { assert } from "../mem/assert.ts";
import {
  add,
  type Body,
  call,
  choose,
  type Code,
  emitModule,
  get,
  I32,
  i32,
  load,
  loadByte,
  loadVector,
  replaceFirstLane,
  set,
  storeVector,
  whileBelow,
  whileTrue,
  window,
  XOR_VECTORS,
  zeroVector,
} from "./wasm_emitter.ts";

/** How far behind its place a byte is xored on, in bytes; ascending. */
type Rule = readonly number[];

const LONG: Rule = [65, 155, 170, 195, 209];
const MIDDLE: Rule = [17, 62, 63, 87, 103, 108, 112];
const SHORT: Rule = [19, 40, 43, 45, 46, 48, 52, 54, 62];

/** All rules, for the test that each is a multiple of the polynomial. */
export const RULES: readonly Rule[] = [LONG, MIDDLE, SHORT];

const VECTOR = 16;
const GROUPS = new Map(RULES.map((rule) => [rule, groupsOf(rule)]));

/** From here on folding by SHORT is faster than slicing alone (measured). */
const SHORT_BYTES_MIN = 112;
/** From here on folding by LONG is faster (measured). */
const LONG_BYTES_MIN = 320;

const TABLE_BYTES = 1024;
const REST_BYTES = reach(SHORT) * VECTOR;

/** Bytes of other arrays that {@linkcode SCRATCH} takes at a time. */
export const SCRATCH_BYTES = 32768;

const TABLES = take(16 * TABLE_BYTES + REST_BYTES + SCRATCH_BYTES);
assert(TABLES >= 0, "the arena has room for the crc tables");
/** What folding leaves. */
const REST = TABLES + 16 * TABLE_BYTES;

/** Where bytes of other arrays are put for the kernel: an arena offset. */
export const SCRATCH: number = REST + REST_BYTES;

/**
 * Makes the kernel: `(crc, at, end)` over arena offsets, the convention of `crc32cRaw`.
 *
 * @param table the remainders of all bytes
 */
export function makeKernel(
  table: Int32Array,
): (crc: number, at: number, end: number) => number {
  fillTables(table);
  const module = new WebAssembly.Module(emitModule("crc", [emitSlice(), emitCrc()]));
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

// Locals of both functions: the parameters, then what else they need
const CRC = 0;
const AT = 1;
const END = 2;
const STOP = 3; // slice
const WORD = 4; // slice: four words of input
const SEED = 3; // crc: a vector, the seed until it is xored on
const VECTORS = 4; // crc: the vectors last folded, then others

const SLICE = 0;

function emitSlice(): Body {
  return {
    integers: 5,
    vectors: 0,
    code: [sliceBy(16), sliceBy(4), sliceBy(1), get(CRC)],
  };
}

/** crc over as many whole steps of `width` bytes as there are. */
function sliceBy(width: 16 | 4 | 1): Code {
  const stop = [
    get(AT),
    get(END),
    get(AT),
    I32.SUB,
    i32(-width),
    I32.AND,
    I32.ADD,
    set(STOP),
  ];
  return [
    stop,
    whileBelow(AT, STOP, [
      width === 1 ? sliceByte() : sliceWords(width),
      add(AT, width),
    ]),
  ];
}

/** The first word waits for the crc of the step before: it comes last, so that little waits. */
function sliceWords(width: number): Code {
  const code: Code[] = [];
  for (let at = width - 4; at >= 0; at -= 4) {
    const word = WORD + at / 4;
    code.push(get(AT), load(at), at === 0 ? [get(CRC), I32.XOR] : [], set(word));
    for (let byte = 0; byte < 4; byte++) {
      const shift = byte === 0 ? [i32(2), I32.SHL] : [i32(8 * byte - 2), I32.SHR_U];
      code.push(get(word), shift, i32(0x3fc), I32.AND);
      code.push(load(TABLES + (width - 1 - at - byte) * TABLE_BYTES));
      if (byte > 0) code.push(I32.XOR);
    }
    if (at < width - 4) code.push(I32.XOR);
  }
  return [code, set(CRC)];
}

function sliceByte(): Code {
  const index = [
    get(AT),
    loadByte(0),
    get(CRC),
    I32.XOR,
    i32(255),
    I32.AND,
    i32(2),
    I32.SHL,
  ];
  return [index, load(TABLES), get(CRC), i32(8), I32.SHR_U, I32.XOR, set(CRC)];
}

function emitCrc(): Body {
  const long = choose(
    leftAtLeast(LONG_BYTES_MIN),
    foldRun([LONG, MIDDLE, SHORT]),
    foldRun([SHORT]),
  );
  return {
    integers: 0,
    vectors: 2 + 2 * reach(LONG),
    code: [
      choose(leftAtLeast(SHORT_BYTES_MIN), long, []),
      [get(CRC), get(AT), get(END), call(SLICE)],
    ],
  };
}

/** Folds the run by the first rule, and what stays by the others; crc is then that of the rest. */
function foldRun([rule, ...others]: [Rule, ...Rule[]]): Code {
  const count = reach(rule);
  const folded = Array.from({ length: count + 1 }, (_, index) => VECTORS + index);
  const rest = folded.slice(1).map((local) => local + count);
  let stays = rest;
  const code = [
    [zeroVector(), get(CRC), replaceFirstLane(), set(SEED)],
    whileTrue(leftAtLeast(2 * count * VECTOR), foldTurn(rule, folded.slice(0, count))),
    whileTrue(leftAtLeast((count + 1) * VECTOR), foldOne(rule, folded)),
    receive(rule, folded.slice(0, count), rest),
  ];
  for (const other of others) {
    code.push(foldLocals(other, stays));
    stays = stays.slice(-reach(other));
  }
  for (const [index, local] of stays.entries()) {
    code.push(i32(REST), get(local), storeVector(index * VECTOR));
  }
  return [code, i32(0), i32(REST), i32(REST + REST_BYTES), call(SLICE), set(CRC)];
}

/** As many vectors as the rule reaches back: each takes the place of the oldest one. */
function foldTurn(rule: Rule, folded: readonly number[]): Code {
  const code: Code[] = [];
  for (const [index, local] of folded.entries()) {
    const before = [...folded.slice(index), ...folded.slice(0, index)];
    code.push(get(AT), loadVector(index * VECTOR), index === 0 ? takeSeed() : []);
    code.push(gather(rule, before), set(local));
  }
  return [code, add(AT, folded.length * VECTOR)];
}

/** One vector: it becomes the last of `folded`, all others move up. */
function foldOne(rule: Rule, folded: readonly number[]): Code {
  const code = [get(AT), loadVector(0), takeSeed()];
  code.push(gather(rule, folded.slice(0, -1)), set(folded.at(-1)!));
  for (const local of folded.slice(0, -1)) code.push(get(local + 1), set(local));
  return [code, add(AT, VECTOR)];
}

/** Xors the seed on the vector on the stack, for once. */
function takeSeed(): Code {
  return [get(SEED), XOR_VECTORS, zeroVector(), set(SEED)];
}

/** The last vectors get what is due to them, but are not moved away themselves. */
function receive(rule: Rule, folded: readonly number[], rest: readonly number[]): Code {
  const before: (number | undefined)[] = [...folded];
  const code: Code[] = [];
  for (const [index, local] of rest.entries()) {
    code.push(get(AT), loadVector(index * VECTOR), gather(rule, before), set(local));
    before.push(undefined);
  }
  return [code, add(AT, rest.length * VECTOR)];
}

/** Folds a run that is in locals: its last `reach(rule)` vectors stay. */
function foldLocals(rule: Rule, run: readonly number[]): Code {
  const moved = run.length - reach(rule);
  const before: (number | undefined)[] = [];
  const code: Code[] = [];
  for (const [index, local] of run.entries()) {
    code.push(get(local), gather(rule, before), set(local));
    before.push(index < moved ? local : undefined);
  }
  return code;
}

/** Vectors before some place, the nearest last; undefined where they are zero. */
type Before = readonly (number | undefined)[];

/** Xors onto the vector on the stack what the rule brings from `before`. */
function gather(rule: Rule, before: Before): Code {
  const code: Code[] = [];
  for (const { shift, back } of GROUPS.get(rule)!) {
    const near = sum(before, back, 0);
    const far = shift === 0 ? [] : sum(before, back, 1);
    if (near.length + far.length === 0) continue;
    if (shift === 0) code.push(near);
    else code.push(orZero(far), orZero(near), window(VECTOR - shift));
    code.push(XOR_VECTORS);
  }
  return code;
}

/** The xor of the vectors that many places back, and `more`; no code if all are zero. */
function sum(before: Before, back: readonly number[], more: number): readonly Code[] {
  const code: Code[] = [];
  for (const count of back) {
    const local = before.at(-count - more);
    if (local === undefined) continue;
    code.push(get(local));
    if (code.length > 1) code.push(XOR_VECTORS);
  }
  return code;
}

function orZero(code: readonly Code[]): Code {
  return code.length > 0 ? code : zeroVector();
}

/** Distances that share a shuffle: `shift` bytes more than so many vectors back. */
interface Group {
  readonly shift: number;
  readonly back: readonly number[];
}

/** What is furthest comes first, as what is nearest is known last. */
function groupsOf(rule: Rule): Group[] {
  const shifts = new Set(rule.map((distance) => distance % VECTOR));
  return Array.from(shifts, (shift) => {
    const distances = rule.filter((distance) => distance % VECTOR === shift);
    return { shift, back: distances.map((distance) => (distance - shift) / VECTOR).reverse() };
  }).reverse();
}

/** Vectors that a rule reaches back. */
function reach(rule: Rule): number {
  return Math.ceil(rule.at(-1)! / VECTOR);
}

/** Whether that many bytes are left. */
function leftAtLeast(count: number): Code {
  return [get(END), get(AT), I32.SUB, i32(count), I32.GE_S];
}
