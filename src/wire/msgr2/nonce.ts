/**
 * GCM nonces of one direction: msgr2 "msgr2.0-secure mode" issue 2 and "msgr2.1-secure mode"
 * point 4. The connection secret's nonce is read as __le32 and __le64; revision 0 counts the
 * first, revision 1 the second. The start is random, so a counter may pass zero; it may never
 * come back to its start (CVE-2020-1759).
 *
 * @module
 */
import { GCM_NONCE_SIZE } from "./aead.ts";

/** Operations that a 32-bit counter allows. */
const OPERATIONS_REV0 = 2 ** 32;
/** Operations that a 64-bit counter allows, as far as a safe integer can count. */
const OPERATIONS_REV1 = Number.MAX_SAFE_INTEGER;
/** What is left is counted in two small integers: one above 2^31 would be boxed at each step. */
const CHUNK = 2 ** 30;

/**
 * The nonce counter of one direction of one connection.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Nonce } from "@fairlead/fairlead";
 *
 * const nonce = new Nonce(new Uint8Array(12), 1, 2); // revision 1, two operations
 * nonce.advance();
 * assert.equal(nonce.bytes[4], 1);
 * assert.equal(nonce.allows(2), false);
 * ```
 */
export class Nonce {
  /** The nonce of the next operation. */
  readonly bytes: Uint8Array<ArrayBuffer> = new Uint8Array(GCM_NONCE_SIZE);
  readonly #view = new DataView(this.bytes.buffer);
  readonly #revision: number;
  #leftChunks: number;
  #left: number;

  /**
   * Starts where the connection secret says.
   *
   * @param start the 12 bytes of the connection secret for this direction
   * @param revision 0 or 1, the msgr2 revision of the connection
   * @param operations how many operations are allowed; less than the counter's range in tests
   */
  constructor(
    start: Uint8Array,
    revision: number,
    operations: number = revision === 0 ? OPERATIONS_REV0 : OPERATIONS_REV1,
  ) {
    this.bytes.set(start.subarray(0, GCM_NONCE_SIZE));
    this.#revision = revision;
    this.#leftChunks = Math.floor(operations / CHUNK);
    this.#left = operations % CHUNK;
  }

  /** False once `count` more operations would repeat a nonce: the connection must be re-made. */
  allows(count: number): boolean {
    return this.#leftChunks > 0 || (this.#leftChunks === 0 && this.#left >= count);
  }

  /** Steps to the next nonce, after an operation used the present one. */
  advance(): void {
    if (this.#left === 0) {
      this.#leftChunks--;
      this.#left = CHUNK;
    }
    this.#left--;
    const view = this.#view;
    if (this.#revision === 0) {
      view.setInt32(0, (view.getInt32(0, true) + 1) | 0, true);
      return;
    }
    const low = (view.getInt32(4, true) + 1) | 0;
    view.setInt32(4, low, true);
    if (low === 0) view.setInt32(8, (view.getInt32(8, true) + 1) | 0, true);
  }
}
