/**
 * Algorithms of SAs with their keys: the kernel's xfrm.h, struct xfrm_algo (ALG_AUTH, ALG_CRYPT,
 * ALG_COMP) and struct xfrm_algo_auth and xfrm_algo_aead (ALG_AUTH_TRUNC, ALG_AEAD), which have the
 * bits of the check value before the key.
 *
 * @module
 */
import { assert } from "../../mem/assert.ts";
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { type Attribute, ATTRIBUTE_HEADER_SIZE, checkSize } from "./attribute.ts";
import { align4 } from "./nlmsg.ts";
import { isText } from "./text.ts";

const NAME_SIZE = 64;
const KEY_BITS = 64;
const ICV_BITS = 68;
const ALGO_SIZE = 68;
const ALGO_ICV_SIZE = 72;

/** Bytes of the longest key, which is more than any algorithm of the kernel takes. */
export const KEY_BYTES_MAX = 512;

/** An algorithm and its key. What shows objects as text does not show the key. */
export class XfrmAlgorithm {
  /** As the kernel's crypto API calls it: `rfc4106(gcm(aes))`; "" when there is none. */
  name = "";
  /** With the salt of an AEAD. */
  keyBits = 0;
  /** Bits of the check value: alg_icv_len, alg_trunc_len; 0 when it does not say. */
  icvBits = 0;
  readonly #key = new Uint8Array(KEY_BYTES_MAX);
  /** The last name, kept so that a text is made only when it is another one. */
  #known = "";

  /** Memory of the key, of which the first `keyBits` count. */
  get key(): Uint8Array {
    return this.#key;
  }

  /** Takes an algorithm with a key of whole bytes. */
  set(name: string, key: Uint8Array, icvBits: number): void {
    assert(name.length < NAME_SIZE, "alg_name has 63 characters at most");
    assert(key.length <= KEY_BYTES_MAX, "alg_key has 512 bytes at most");
    this.name = name;
    this.keyBits = key.length * 8;
    this.icvBits = icvBits;
    this.#key.fill(0);
    this.#key.set(key);
  }

  /** No algorithm, and no key in memory. */
  clear(): void {
    if (this.keyBits > 0) this.#key.fill(0);
    this.name = "";
    this.keyBits = this.icvBits = 0;
  }

  /** Takes a name from a message; whether it is one. */
  readName(from: Region, at: number): boolean {
    if (this.#known === "" || !isText(from, at, at + NAME_SIZE, this.#known)) {
      this.#known = nameAt(from, at);
    }
    this.name = this.#known;
    return this.name !== "";
  }
}

/** Reads struct xfrm_algo; 0, or a negated {@linkcode Fault}. */
export function readAlgorithm(from: Region, attribute: Attribute, into: XfrmAlgorithm): number {
  if (checkSize(attribute, ALGO_SIZE) < 0) return -Fault.Field;
  return readKey(from, attribute, ALGO_SIZE, 0, into);
}

/** Reads struct xfrm_algo_auth or xfrm_algo_aead; 0, or a negated {@linkcode Fault}. */
export function readIcvAlgorithm(from: Region, attribute: Attribute, into: XfrmAlgorithm): number {
  if (checkSize(attribute, ALGO_ICV_SIZE) < 0) return -Fault.Field;
  const icvBits = from.view.getUint32(attribute.at + ICV_BITS, true);
  return readKey(from, attribute, ALGO_ICV_SIZE, icvBits, into);
}

/** Writes struct xfrm_algo when there is one; returns where the next attribute begins. */
export function writeAlgorithm(
  out: Region,
  at: number,
  type: number,
  algorithm: XfrmAlgorithm,
): number {
  return algorithm.name === "" ? at : write(out, at, type, algorithm, ALGO_SIZE);
}

/** Writes struct xfrm_algo_auth or xfrm_algo_aead when there is one. */
export function writeIcvAlgorithm(
  out: Region,
  at: number,
  type: number,
  algorithm: XfrmAlgorithm,
): number {
  if (algorithm.name === "") return at;
  out.view.setUint32(at + ATTRIBUTE_HEADER_SIZE + ICV_BITS, algorithm.icvBits, true);
  return write(out, at, type, algorithm, ALGO_ICV_SIZE);
}

function readKey(
  from: Region,
  { at, end }: Attribute,
  size: number,
  icvBits: number,
  into: XfrmAlgorithm,
): number {
  const { bytes, view } = from;
  const keyBits = view.getUint32(at + KEY_BITS, true);
  const keyBytes = Math.ceil(keyBits / 8);
  if (keyBytes > KEY_BYTES_MAX) {
    return fail(Fault.Large, "alg_key_len", at + KEY_BITS, keyBits, "4096 bits at most");
  }
  if (keyBytes > end - at - size) {
    return fail(Fault.Field, "alg_key_len", at + KEY_BITS, keyBits, "bits of the attribute's rest");
  }
  if (!into.readName(from, at)) {
    return fail(Fault.Field, "alg_name", at, bytes[at]!, "a text with its NUL");
  }
  into.keyBits = keyBits;
  into.icvBits = icvBits;
  const { key } = into;
  for (let i = 0; i < keyBytes; i++) key[i] = bytes[at + size + i]!;
  return 0;
}

/** A name up to its NUL, or "" when it is none: the kernel's are ASCII without spaces. */
function nameAt({ bytes }: Region, at: number): string {
  const end = at + NAME_SIZE;
  let name = "";
  for (let i = at; i < end && bytes[i] !== 0; i++) {
    if (i === end - 1 || bytes[i]! < 0x21 || bytes[i]! > 0x7e) return "";
    name += String.fromCharCode(bytes[i]!);
  }
  return name;
}

function write(
  out: Region,
  at: number,
  type: number,
  algorithm: XfrmAlgorithm,
  size: number,
): number {
  const { name, keyBits, key } = algorithm;
  const keyBytes = Math.ceil(keyBits / 8);
  const { bytes, view } = out;
  const value = at + ATTRIBUTE_HEADER_SIZE;
  const length = ATTRIBUTE_HEADER_SIZE + size + keyBytes;
  view.setUint16(at, length, true);
  view.setUint16(at + 2, type, true);
  for (let i = 0; i < NAME_SIZE; i++) bytes[value + i] = i < name.length ? name.charCodeAt(i) : 0;
  view.setUint32(value + KEY_BITS, keyBits, true);
  for (let i = 0; i < keyBytes; i++) bytes[value + size + i] = key[i]!;
  const next = at + align4(length);
  for (let i = at + length; i < next; i++) bytes[i] = 0;
  return next;
}
