/**
 * One direction of AES-128-GCM over arena offsets: msgr2 "Post-auth frame format". The codec asks
 * for it, io/libcrypto.ts makes it; no additional data is ever authenticated.
 *
 * @module
 */

/** A cipher for one direction of one connection: `begin`, any number of `update`, `finish`. */
export interface Aead {
  /** Starts an operation under a 12-byte nonce. */
  begin(nonce: Uint8Array<ArrayBuffer>): void;
  /** Encrypts or decrypts `length` bytes from arena offset `from` to `to` (may be the same). */
  update(from: number, to: number, length: number): void;
  /**
   * Ends the operation: when sealing, writes the 16-byte tag to `tagAt`; when opening, compares
   * it with the one there.
   *
   * @returns false when the tag does not match
   */
  finish(tagAt: number): boolean;
  /** Releases the native context. */
  free(): void;
}

/** Makes both directions of a connection; implemented by io. */
export interface AeadMaker {
  /** For frames that are sent. */
  sealer(key: Uint8Array): Aead;
  /** For frames that are received. */
  opener(key: Uint8Array): Aead;
}

/** Bytes of a GCM tag. */
export const GCM_TAG_SIZE = 16;
/** Bytes of a GCM nonce. */
export const GCM_NONCE_SIZE = 12;
