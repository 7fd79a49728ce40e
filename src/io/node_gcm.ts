/**
 * AES-128-GCM through node:crypto: the fallback where libcrypto cannot be called. The same bytes
 * as libcrypto.ts at a tenth of the speed, and with allocations.
 *
 * @module
 */
import { createCipheriv, createDecipheriv } from "node:crypto";
import { arena } from "../mem/arena.ts";
import { assert } from "../mem/assert.ts";
import { type Aead, type AeadMaker, GCM_TAG_SIZE } from "../wire/msgr2/aead.ts";

const CIPHER = "aes-128-gcm";
const KEY_SIZE = 16;

/** AES-128-GCM with node:crypto. */
export class NodeGcm implements AeadMaker {
  /** For frames that are sent. */
  sealer(key: Uint8Array): Aead {
    return new NodeSealer(key);
  }

  /** For frames that are received. */
  opener(key: Uint8Array): Aead {
    return new NodeOpener(key);
  }
}

class NodeSealer implements Aead {
  readonly #key: Uint8Array;
  #cipher: ReturnType<typeof makeCipher> | null = null;

  constructor(key: Uint8Array) {
    assert(key.length === KEY_SIZE, `AES-128 key of ${key.length} bytes`);
    this.#key = new Uint8Array(key);
  }

  begin(nonce: Uint8Array<ArrayBuffer>): void {
    this.#cipher = makeCipher(this.#key, nonce);
  }

  update(from: number, to: number, length: number): void {
    assert(this.#cipher !== null, "update() after begin()");
    arena.bytes.set(this.#cipher.update(arena.bytes.subarray(from, from + length)), to);
  }

  finish(tagAt: number): boolean {
    assert(this.#cipher !== null, "finish() after begin()");
    this.#cipher.final();
    arena.bytes.set(this.#cipher.getAuthTag(), tagAt);
    this.#cipher = null;
    return true;
  }

  free(): void {
    this.#key.fill(0);
    this.#cipher = null;
  }
}

class NodeOpener implements Aead {
  readonly #key: Uint8Array;
  #decipher: ReturnType<typeof makeDecipher> | null = null;

  constructor(key: Uint8Array) {
    assert(key.length === KEY_SIZE, `AES-128 key of ${key.length} bytes`);
    this.#key = new Uint8Array(key);
  }

  begin(nonce: Uint8Array<ArrayBuffer>): void {
    this.#decipher = makeDecipher(this.#key, nonce);
  }

  update(from: number, to: number, length: number): void {
    assert(this.#decipher !== null, "update() after begin()");
    arena.bytes.set(this.#decipher.update(arena.bytes.subarray(from, from + length)), to);
  }

  finish(tagAt: number): boolean {
    assert(this.#decipher !== null, "finish() after begin()");
    const decipher = this.#decipher;
    this.#decipher = null;
    decipher.setAuthTag(arena.bytes.slice(tagAt, tagAt + GCM_TAG_SIZE));
    try {
      decipher.final();
      return true;
    } catch {
      return false; // node:crypto throws only for a tag that does not match here
    }
  }

  free(): void {
    this.#key.fill(0);
    this.#decipher = null;
  }
}

function makeCipher(
  key: Uint8Array,
  nonce: Uint8Array,
): ReturnType<typeof createCipheriv> & { getAuthTag(): Uint8Array } {
  return createCipheriv(CIPHER, key, nonce);
}

function makeDecipher(
  key: Uint8Array,
  nonce: Uint8Array,
): ReturnType<typeof createDecipheriv> & { setAuthTag(tag: Uint8Array): unknown } {
  return createDecipheriv(CIPHER, key, nonce);
}
