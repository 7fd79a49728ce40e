/**
 * The primitives of authentication by node:crypto, which is synchronous. It fits the `Crypto` of
 * proto/msgr2/auth.ts without importing it: io knows nothing of proto.
 *
 * @module
 */
import { createCipheriv, createDecipheriv, createHmac, randomBytes } from "node:crypto";

/**
 * The primitives of authentication by node:crypto: random bytes, HMAC and AES-CBC.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { NodeCrypto } from "@fairlead/fairlead";
 *
 * const crypto = new NodeCrypto();
 * const text = new TextEncoder().encode("Hi There"); // RFC 4231 section 4.2
 * const mac = crypto.hmacSha256(new Uint8Array(20).fill(0x0b), text);
 * assert.equal(mac.toHex().slice(0, 16), "b0344c61d8db3853");
 * ```
 */
export class NodeCrypto {
  /** Fresh random bytes. */
  randomBytes(count: number): Uint8Array {
    return new Uint8Array(randomBytes(count));
  }

  /** HMAC-SHA-256, 32 bytes. */
  hmacSha256(key: Uint8Array, data: Uint8Array): Uint8Array {
    return new Uint8Array(createHmac("sha256", key).update(data).digest());
  }

  /** HMAC-SHA-384, 48 bytes. */
  hmacSha384(key: Uint8Array, data: Uint8Array): Uint8Array {
    return new Uint8Array(createHmac("sha384", key).update(data).digest());
  }

  /** AES-CBC with 128 or 256 bits by the key's length; PKCS#7 padding when `pad`. */
  aesCbcEncrypt(key: Uint8Array, iv: Uint8Array, data: Uint8Array, pad: boolean): Uint8Array {
    const cipher = createCipheriv(cipherName(key), key, iv).setAutoPadding(pad);
    return joined(cipher.update(data), cipher.final());
  }

  /** The inverse; null when the length or the padding is wrong. */
  aesCbcDecrypt(
    key: Uint8Array,
    iv: Uint8Array,
    data: Uint8Array,
    pad: boolean,
  ): Uint8Array | null {
    if (data.length === 0 || data.length % BLOCK_BYTES !== 0) return null;
    const decipher = createDecipheriv(cipherName(key), key, iv).setAutoPadding(pad);
    const start = decipher.update(data);
    try {
      return joined(start, decipher.final());
    } catch {
      return null; // node:crypto throws for wrong padding; it is the peer's mistake, not ours
    }
  }
}

const BLOCK_BYTES = 16;

function cipherName(key: Uint8Array): "aes-128-cbc" | "aes-256-cbc" {
  return key.length === 16 ? "aes-128-cbc" : "aes-256-cbc";
}

/** Arrays of their own: what node:crypto returns are views into a shared pool. */
function joined(start: Uint8Array, end: Uint8Array): Uint8Array {
  const all = new Uint8Array(start.length + end.length);
  all.set(start);
  all.set(end, start.length);
  return all;
}
