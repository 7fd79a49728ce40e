/**
 * CryptoKey (Ceph auth/Crypto.h): u16 type, u32 + u32 time of creation, u16 length, secret. The
 * text form of keyrings and of `--key` is the same structure in base64. Type 1 is AES-128, type 2
 * ("aes256k", Ceph 20.2) AES-256 with HMAC-SHA384.
 *
 * @module
 */
import { describeFault, Fault } from "../../mem/fault.ts";
import { PayloadReader, PayloadWriter } from "./payload.ts";

/**
 * Types of keys (CEPH_CRYPTO_*).
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { generateKey, KeyType, NodeCrypto } from "@fairlead/fairlead";
 *
 * const crypto = new NodeCrypto();
 * assert.equal(generateKey(crypto, KeyType.Aes, 0).secret.length, 16);
 * assert.equal(generateKey(crypto, KeyType.Aes256k, 0).secret.length, 32);
 * ```
 */
export const KeyType = { Aes: 1, Aes256k: 2 } as const;

const SECRET_BYTES: Record<number, number> = { [KeyType.Aes]: 16, [KeyType.Aes256k]: 32 };

/** A secret with its kind and age. */
export interface CryptoKey {
  /** {@linkcode KeyType} */
  readonly type: number;
  /** Seconds since 1970. */
  readonly createdSeconds: number;
  /** And the rest, so that the text form stays the same. */
  readonly createdNanoseconds: number;
  /** 16 bytes for type 1, 32 for type 2. */
  readonly secret: Uint8Array;
}

/** Bytes of the secret of a type; 0 for a type that is not known. */
export function secretBytes(type: number): number {
  return SECRET_BYTES[type] ?? 0;
}

/**
 * A new key. `wallSeconds` is when, in seconds since 1970, and may have a fraction.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { encodeKey, generateKey, KeyType, NodeCrypto } from "@fairlead/fairlead";
 *
 * const key = generateKey(new NodeCrypto(), KeyType.Aes, Date.now() / 1000);
 * assert.equal(key.secret.length, 16);
 * assert.match(encodeKey(key), /^AQ/);
 * ```
 */
export function generateKey(
  crypto: { randomBytes(count: number): Uint8Array },
  type: number,
  wallSeconds: number,
): CryptoKey {
  const createdSeconds = Math.floor(wallSeconds);
  const createdNanoseconds = Math.floor((wallSeconds - createdSeconds) * 1e9);
  const secret = crypto.randomBytes(secretBytes(type));
  return { type, createdSeconds, createdNanoseconds, secret };
}

/** Writes the structure. */
export function writeKey(out: PayloadWriter, key: CryptoKey): void {
  out.u16(key.type).u32(key.createdSeconds).u32(key.createdNanoseconds);
  out.u16(key.secret.length).raw(key.secret);
}

/** Reads the structure; refuses other types and lengths. */
export function readKey(from: PayloadReader): CryptoKey {
  const type = from.u16("key type");
  const size = secretBytes(type);
  if (size === 0) from.refuse(Fault.Field, "key type", type, "1 (aes) or 2 (aes256k)");
  const createdSeconds = from.u32("key created");
  const createdNanoseconds = from.u32("key created");
  const length = from.u16("key length");
  if (length !== size) from.refuse(Fault.Field, "key length", length, String(size));
  const secret = from.raw(size, "key secret");
  return { type, createdSeconds, createdNanoseconds, secret };
}

/**
 * The base64 text of keyrings: `AQ…` is type 1, `Ag…` type 2.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { decodeKey, encodeKey } from "@fairlead/fairlead";
 *
 * const text = "AQAAAAAAAAAAABAAAAECAwQFBgcICQoLDA0ODw==";
 * assert.equal(encodeKey(decodeKey(text)), text);
 * ```
 */
export function encodeKey(key: CryptoKey): string {
  const out = new PayloadWriter();
  writeKey(out, key);
  return out.done().toBase64();
}

/**
 * A key from its base64 text. Throws when it is none: the text comes from an operator.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { decodeKey, KeyType } from "@fairlead/fairlead";
 *
 * const key = decodeKey("AQAAAAAAAAAAABAAAAECAwQFBgcICQoLDA0ODw==");
 * assert.equal(key.type, KeyType.Aes);
 * assert.equal(key.secret.toHex(), "000102030405060708090a0b0c0d0e0f");
 * ```
 */
export function decodeKey(text: string): CryptoKey {
  const bytes = bytesOfBase64(text.trim());
  if (bytes === null) throw new Error("Cannot read key as it must be base64: AQ… or Ag…");
  const from = new PayloadReader(bytes, "keyring");
  const key = readKey(from);
  if (from.failed) throw new Error(describeFault());
  if (from.left > 0) {
    throw new Error(
      `Cannot read key as nothing may follow its ${key.secret.length} bytes of secret: ` +
        `current value is ${from.left} more`,
    );
  }
  return key;
}

function bytesOfBase64(text: string): Uint8Array | null {
  try {
    return Uint8Array.fromBase64(text);
  } catch {
    return null;
  }
}
