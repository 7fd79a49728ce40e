/**
 * A small WebAssembly assembler: each function gives the bytes of one instruction, or of one part
 * of a module; code is put together in arrays of arrays. Only what the kernels of this folder need.
 * WebAssembly Core Specification, "Binary Format".
 *
 * @module
 */

/** Bytes of instructions or of parts of a module, nested as they were put together. */
export type Code = number | readonly Code[];

/** A function of a module: its further locals, 32-bit integers first, and its code. */
export interface Body {
  readonly integers: number;
  readonly vectors: number;
  readonly code: Code;
}

const TYPE_I32 = 0x7f;
const TYPE_V128 = 0x7b;

/** Operations on two integers, both on the stack: `i32.ge_s` and so on. */
export const I32 = {
  GE_S: 0x4e,
  GE_U: 0x4f,
  ADD: 0x6a,
  SUB: 0x6b,
  AND: 0x71,
  XOR: 0x73,
  SHL: 0x74,
  SHR_U: 0x76,
} as const;

/** `v128.xor`. */
export const XOR_VECTORS: Code = [0xfd, 0x51];

const BLOCK: Code = [0x02, 0x40];
const LOOP: Code = [0x03, 0x40];
const IF: Code = [0x04, 0x40];
const ELSE = 0x05;
const BREAK = 0x0c;
const BREAK_IF = 0x0d;
const CLOSE = 0x0b;

/** Bytes of two vectors in a row. */
const LANES: readonly number[] = Array.from({ length: 32 }, (_, index) => index);
const ZERO_LANES: readonly number[] = new Array<number>(16).fill(0);

/** `local.get`. */
export function get(local: number): Code {
  return [0x20, local];
}

/** `local.set`. */
export function set(local: number): Code {
  return [0x21, local];
}

/** Adds a constant to an integer local. */
export function add(local: number, count: number): Code {
  return [get(local), i32(count), I32.ADD, set(local)];
}

/** `i32.const`: signed LEB128. */
export function i32(value: number): Code {
  const code = [0x41];
  for (; value < -64 || value > 63; value >>= 7) code.push((value & 127) | 128);
  code.push(value & 127);
  return code;
}

/** `i32.load`, no alignment promised; the address is on the stack. */
export function load(offset: number): Code {
  return [0x28, 0, unsigned(offset)];
}

/** `i32.load8_u`. */
export function loadByte(offset: number): Code {
  return [0x2d, 0, unsigned(offset)];
}

/** `v128.load`, no alignment promised. */
export function loadVector(offset: number): Code {
  return [0xfd, 0x00, 0, unsigned(offset)];
}

/** `v128.store`, no alignment promised. */
export function storeVector(offset: number): Code {
  return [0xfd, 0x0b, 0, unsigned(offset)];
}

/** `v128.const` of zeros. */
export function zeroVector(): Code {
  return [0xfd, 0x0c, ZERO_LANES];
}

/** `i32x4.replace_lane` of the first lane. */
export function replaceFirstLane(): Code {
  return [0xfd, 0x1c, 0];
}

/** `i8x16.shuffle`: of two vectors in a row, the 16 bytes from `first` on. */
export function window(first: number): Code {
  return [0xfd, 0x0d, LANES.slice(first, first + 16)];
}

/** Runs `code` again and again as long as `condition` gives anything but 0. */
export function whileTrue(condition: Code, code: Code): Code {
  const leave = [condition, 0x45, BREAK_IF, 1]; // i32.eqz
  return [BLOCK, LOOP, leave, code, BREAK, 0, CLOSE, CLOSE];
}

/** Runs `code` again and again as long as one local is below another, both unsigned. */
export function whileBelow(local: number, bound: number, code: Code): Code {
  const leave = [get(local), get(bound), I32.GE_U, BREAK_IF, 1];
  return [BLOCK, LOOP, leave, code, BREAK, 0, CLOSE, CLOSE];
}

/** `if` … `else` … `end`. */
export function choose(condition: Code, code: Code, otherwise: Code): Code {
  return [condition, IF, code, ELSE, otherwise, CLOSE];
}

/** `call`. */
export function call(index: number): Code {
  return [0x10, unsigned(index)];
}

/**
 * A module whose functions all take three integers and give one, over the imported memory
 * `arena.memory`; the last function is exported as `name`.
 */
export function emitModule(name: string, bodies: readonly Body[]): Uint8Array<ArrayBuffer> {
  const last = bodies.length - 1;
  const code = [
    [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // magic, version
    section(1, [[0x60, list([TYPE_I32, TYPE_I32, TYPE_I32]), list([TYPE_I32])]]), // one type
    section(2, [[text("arena"), text("memory"), 2, 0, 1]]), // a memory, 1 page or more
    section(3, bodies.map(() => 0)), // all functions are of type 0
    section(7, [[text(name), 0, last]]),
    section(10, bodies.map(emitBody)),
  ];
  return new Uint8Array(flat(code));
}

function emitBody({ integers, vectors, code }: Body): Code {
  return sized([list([[integers, TYPE_I32], [vectors, TYPE_V128]]), code, CLOSE]);
}

function section(id: number, items: readonly Code[]): Code {
  return [id, sized(list(items))];
}

function text(value: string): Code {
  return list(Array.from(value, (letter) => letter.charCodeAt(0)));
}

function list(items: readonly Code[]): Code {
  return [unsigned(items.length), items];
}

function sized(code: Code): Code {
  const bytes = flat(code);
  return [unsigned(bytes.length), bytes];
}

function flat(code: Code): number[] {
  return [code as unknown].flat(Infinity) as number[];
}

/** Unsigned LEB128. */
function unsigned(value: number): Code {
  const code: number[] = [];
  for (; value > 127; value >>>= 7) code.push((value & 127) | 128);
  code.push(value);
  return code;
}
