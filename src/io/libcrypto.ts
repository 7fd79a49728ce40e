/**
 * AES-128-GCM through libcrypto.so.3 (OpenSSL 3, EVP_EncryptInit_ex(3)): one context for each
 * direction of a connection, made with its key once; an operation changes only the nonce.
 *
 * Getting arena addresses to EVP_EncryptUpdate without allocating has two roads, best of seven
 * rounds here, a whole seal (nonce, update, final, tag):
 *
 * | bytes  | by-value structs | copied to fixed scratch | node:crypto |
 * | ------ | ---------------- | ----------------------- | ----------- |
 * | 96     | 339 ns           | 269 ns                  | 4.3 us      |
 * | 1024   | 530 ns           | 457 ns                  |             |
 * | 4096   | 1120 ns          | 1091 ns                 | 20 us       |
 * | 65536  | 12.7 us          | 13.7 us                 | 300 us      |
 *
 * A struct of two u64 passed by value travels in two integer registers on both x86-64 (System V)
 * and aarch64 (AAPCS64), like two pointers; but such a call takes the slow road of the FFI. So
 * short runs are copied, long ones are not. EVP_Cipher with one struct is no faster than
 * EVP_EncryptUpdate with two (345, 541, 1117 ns, 12.6 us).
 *
 * @module
 */
import { arena, take } from "../mem/arena.ts";
import { assert } from "../mem/assert.ts";
import { type Aead, type AeadMaker, GCM_NONCE_SIZE, GCM_TAG_SIZE } from "../wire/msgr2/aead.ts";
import { fixedInts, locateArena, putAddress, putArenaAddress } from "./native.ts";
import { NodeGcm } from "./node_gcm.ts";

const LIBRARY = "libcrypto.so.3";

/** Two pointers, or a pointer and an int, in two integer registers. */
const PAIR = { struct: ["u64", "u64"] } as const;

const SYMBOLS = {
  EVP_CIPHER_CTX_new: { parameters: [], result: "pointer" },
  EVP_CIPHER_CTX_free: { parameters: ["pointer"], result: "void" },
  EVP_aes_128_gcm: { parameters: [], result: "pointer" },
  // ctx, cipher, engine, key, iv, enc
  EVP_CipherInit_ex: {
    parameters: ["pointer", "pointer", "pointer", "buffer", "buffer", "i32"],
    result: "i32",
  },
  // ctx, (out, outl), (in, inl)
  update_pairs: {
    name: "EVP_CipherUpdate",
    parameters: ["pointer", PAIR, PAIR],
    result: "i32",
  },
  // ctx, out, outl, in, inl
  update_buffers: {
    name: "EVP_CipherUpdate",
    parameters: ["pointer", "buffer", "buffer", "buffer", "i32"],
    result: "i32",
  },
  EVP_CipherFinal_ex: { parameters: ["pointer", "buffer", "buffer"], result: "i32" },
  EVP_CIPHER_CTX_ctrl: { parameters: ["pointer", "i32", "i32", "buffer"], result: "i32" },
} as const;

type Libcrypto = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

const KEY_SIZE = 16;
const EVP_CTRL_GCM_GET_TAG = 0x10;
const EVP_CTRL_GCM_SET_TAG = 0x11;
/** `enc` of EVP_CipherInit_ex: as it is. */
const UNCHANGED = -1;

/** The longest run that is copied rather than addressed, see the table above. */
const COPIED_BYTES_MAX = 2048;

// One block of the arena, so that copying needs no views: the run, then the tag.
const scratchAt = take(COPIED_BYTES_MAX + GCM_TAG_SIZE);
assert(scratchAt >= 0, "the arena has room for the cipher's scratch");
const tagAt = scratchAt + COPIED_BYTES_MAX;
const scratch = arena.bytes.subarray(scratchAt, tagAt);
const tag = arena.bytes.subarray(tagAt, tagAt + GCM_TAG_SIZE);

const outputLength = fixedInts(1);
const output = fixedInts(4); // out, &outl
const input = fixedInts(4); // in, inl
const outputBytes = new Uint8Array(output.buffer);
const inputBytes = new Uint8Array(input.buffer);
const nothing = new Uint8Array(new ArrayBuffer(GCM_TAG_SIZE)); // GCM's final gives no bytes

let symbols: Libcrypto | null = null;
let refusal = "";

/** True when libcrypto can be called; {@linkcode gcmMaker} falls back when not. */
export function libcryptoAvailable(): boolean {
  if (symbols !== null) return true;
  if (refusal !== "") return false;
  refusal = tryOpen();
  return refusal === "";
}

/** Why {@linkcode libcryptoAvailable} is false; empty when it is true. */
export function libcryptoRefusal(): string {
  return libcryptoAvailable() ? "" : refusal;
}

/**
 * The fastest AES-128-GCM of this process: libcrypto, else node:crypto.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { gcmMaker, giveBlock, takeBlock } from "@fairlead/fairlead";
 *
 * const [key, nonce] = [new Uint8Array(16), new Uint8Array(12)];
 * const at = takeBlock(4096);
 * const sealer = gcmMaker().sealer(key);
 * sealer.begin(nonce);
 * sealer.update(at, at, 32);
 * sealer.finish(at + 32); // the tag goes there
 * const opener = gcmMaker().opener(key);
 * opener.begin(nonce);
 * opener.update(at, at, 32);
 * assert.equal(opener.finish(at + 32), true);
 * sealer.free();
 * opener.free();
 * giveBlock(at);
 * ```
 */
export function gcmMaker(): AeadMaker {
  return libcryptoAvailable() ? new LibcryptoGcm() : new NodeGcm();
}

/** AES-128-GCM with libcrypto contexts; free each of its ciphers. */
export class LibcryptoGcm implements AeadMaker {
  readonly #lib: Libcrypto;

  /**
   * Opens libcrypto.
   *
   * @throws when it cannot be called
   */
  constructor() {
    if (!libcryptoAvailable()) throw new Error(`Cannot call libcrypto through FFI: ${refusal}`);
    this.#lib = symbols!;
  }

  /** For frames that are sent. */
  sealer(key: Uint8Array): Aead {
    return new EvpCipher(this.#lib, key, true);
  }

  /** For frames that are received. */
  opener(key: Uint8Array): Aead {
    return new EvpCipher(this.#lib, key, false);
  }
}

class EvpCipher implements Aead {
  readonly #lib: Libcrypto;
  readonly #seals: boolean;
  #context: Deno.PointerValue;
  // EVP itself would seal without a nonce, under a random one.
  #begun = false;

  constructor(lib: Libcrypto, key: Uint8Array, seals: boolean) {
    assert(key.length === KEY_SIZE, `AES-128 key of ${key.length} bytes`);
    this.#lib = lib;
    this.#seals = seals;
    this.#context = lib.EVP_CIPHER_CTX_new();
    assert(this.#context !== null, "EVP_CIPHER_CTX_new() has memory");
    const cipher = lib.EVP_aes_128_gcm();
    const made = new Uint8Array(key);
    const encrypts = seals ? 1 : 0;
    const result = lib.EVP_CipherInit_ex(this.#context, cipher, null, made, null, encrypts);
    made.fill(0);
    assert(result === 1, "EVP_CipherInit_ex() takes the key");
  }

  begin(nonce: Uint8Array<ArrayBuffer>): void {
    assert(this.#context !== null && nonce.length === GCM_NONCE_SIZE, "begin() of a live cipher");
    const result = this.#lib.EVP_CipherInit_ex(this.#context, null, null, null, nonce, UNCHANGED);
    assert(result === 1, "EVP_CipherInit_ex() takes the nonce");
    this.#begun = true;
  }

  update(from: number, to: number, length: number): void {
    assert(this.#begun, "update() after begin()");
    if (length <= COPIED_BYTES_MAX) this.#updateCopied(from, to, length);
    else this.#updateAddressed(from, to, length);
  }

  finish(at: number): boolean {
    assert(this.#begun, "finish() after begin()");
    this.#begun = false;
    return this.#seals ? this.#seal(at) : this.#open(at);
  }

  free(): void {
    if (this.#context === null) return;
    this.#lib.EVP_CIPHER_CTX_free(this.#context); // wipes the key
    this.#context = null;
    this.#begun = false;
  }

  #updateCopied(from: number, to: number, length: number): void {
    if (length === 0) return;
    arena.bytes.copyWithin(scratchAt, from, from + length);
    const context = this.#context;
    const result = this.#lib.update_buffers(context, scratch, outputLength, scratch, length);
    assert(result === 1 && outputLength[0] === length, "EVP_CipherUpdate() takes the run");
    arena.bytes.copyWithin(to, scratchAt, scratchAt + length);
  }

  /** `from` and `to` are the same or do not overlap: EVP refuses the rest. */
  #updateAddressed(from: number, to: number, length: number): void {
    putArenaAddress(output, 0, to);
    putArenaAddress(input, 0, from);
    input[2] = length;
    const result = this.#lib.update_pairs(this.#context, outputBytes, inputBytes);
    assert(result === 1 && outputLength[0] === length, "EVP_CipherUpdate() takes the run");
  }

  #seal(at: number): boolean {
    const context = this.#context;
    const ended = this.#lib.EVP_CipherFinal_ex(context, nothing, outputLength);
    assert(ended === 1, "EVP_CipherFinal_ex() ends the operation");
    const got = this.#lib.EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, GCM_TAG_SIZE, tag);
    assert(got === 1, "EVP_CTRL_GCM_GET_TAG after the end");
    arena.bytes.copyWithin(at, tagAt, tagAt + GCM_TAG_SIZE);
    return true;
  }

  /** EVP compares the tag in constant time. */
  #open(at: number): boolean {
    arena.bytes.copyWithin(tagAt, at, at + GCM_TAG_SIZE);
    const context = this.#context;
    const set = this.#lib.EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, GCM_TAG_SIZE, tag);
    assert(set === 1, "EVP_CTRL_GCM_SET_TAG before the end");
    return this.#lib.EVP_CipherFinal_ex(context, nothing, outputLength) === 1;
  }
}

function tryOpen(): string {
  const { state } = Deno.permissions.querySync({ name: "ffi" });
  if (state !== "granted") return `allow it with --allow-ffi: current permission is ${state}`;
  try {
    symbols = Deno.dlopen(LIBRARY, SYMBOLS).symbols;
    locateArena();
    putAddress(output, 2, outputLength);
    return "";
  } catch (error) {
    return `${LIBRARY} does not open: ${(error as Error).message}`;
  }
}
