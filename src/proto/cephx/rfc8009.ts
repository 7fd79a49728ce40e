/**
 * AES256-CTS-HMAC-SHA384-192, the encryption of RFC 8009, which key type 2 of cephx uses: AES-256
 * in CBC mode with ciphertext stealing behind a random block, and an HMAC over it.
 *
 * @module
 */
import { assert } from "../../mem/assert.ts";
import type { Crypto } from "../msgr2/auth.ts";

const ZERO_IV = new Uint8Array(16);
const BLOCK_BYTES = 16;

/** RFC 8009 section 5: the HMAC is cut to 192 bits. */
const MAC_BYTES = 24;

/** RFC 8009 section 5: key lengths of Ke and Ki. */
const ENCRYPTION_KEY_BYTES = 32;
const INTEGRITY_KEY_BYTES = 24;
const ENCRYPTION_LABEL = 0xaa;
const INTEGRITY_LABEL = 0x55;

/**
 * RFC 8009 section 5: ciphertext of (confounder, plain), then HMAC of (IV, ciphertext). `plain` is
 * not empty: with the confounder there are two blocks to steal from, always.
 */
export function encryptRfc8009(
  crypto: Crypto,
  secret: Uint8Array,
  usage: number,
  plain: Uint8Array,
): Uint8Array {
  assert(plain.length > 0, "cephx seals nothing that is empty");
  const input = joined(crypto.randomBytes(BLOCK_BYTES), plain);
  const cipher = encryptCts(
    crypto,
    deriveKey(crypto, secret, usage, ENCRYPTION_LABEL, ENCRYPTION_KEY_BYTES),
    input,
  );
  return joined(cipher, macOf(crypto, secret, usage, cipher));
}

/** The inverse; null when it is too short or its HMAC does not match. */
export function decryptRfc8009(
  crypto: Crypto,
  secret: Uint8Array,
  usage: number,
  sealed: Uint8Array,
): Uint8Array | null {
  const cipherBytes = sealed.length - MAC_BYTES;
  if (cipherBytes <= BLOCK_BYTES) return null;
  const cipher = sealed.slice(0, cipherBytes);
  if (!sameBytes(macOf(crypto, secret, usage, cipher), sealed.slice(cipherBytes))) return null;
  const key = deriveKey(crypto, secret, usage, ENCRYPTION_LABEL, ENCRYPTION_KEY_BYTES);
  return decryptCts(crypto, key, cipher)?.slice(BLOCK_BYTES) ?? null;
}

function macOf(
  crypto: Crypto,
  secret: Uint8Array,
  usage: number,
  cipher: Uint8Array,
): Uint8Array {
  const key = deriveKey(crypto, secret, usage, INTEGRITY_LABEL, INTEGRITY_KEY_BYTES);
  return crypto.hmacSha384(key, joined(ZERO_IV, cipher)).slice(0, MAC_BYTES);
}

/** RFC 8009 section 3, KDF-HMAC-SHA2 with label usage and label: one block of SHA-384 is enough. */
function deriveKey(
  crypto: Crypto,
  secret: Uint8Array,
  usage: number,
  label: number,
  size: number,
): Uint8Array {
  const input = new Uint8Array(14); // counter 1, usage, label, 0, bits: big-endian
  const view = new DataView(input.buffer);
  view.setUint32(0, 1);
  view.setUint32(4, usage);
  view.setUint8(8, label);
  view.setUint32(10, size * 8);
  return crypto.hmacSha384(secret, input).slice(0, size);
}

/** CBC with ciphertext stealing, variant CS3: the last two blocks always change places. */
function encryptCts(crypto: Crypto, key: Uint8Array, input: Uint8Array): Uint8Array {
  const blocks = Math.ceil(input.length / BLOCK_BYTES);
  const padded = new Uint8Array(blocks * BLOCK_BYTES);
  padded.set(input);
  const cipher = crypto.aesCbcEncrypt(key, ZERO_IV, padded, false);
  const last = (blocks - 1) * BLOCK_BYTES;
  const swapped = cipher.slice();
  swapped.set(cipher.subarray(last), last - BLOCK_BYTES);
  swapped.set(cipher.subarray(last - BLOCK_BYTES, last), last);
  return swapped.slice(0, input.length);
}

function decryptCts(crypto: Crypto, key: Uint8Array, cipher: Uint8Array): Uint8Array | null {
  const blocks = Math.ceil(cipher.length / BLOCK_BYTES);
  const last = (blocks - 1) * BLOCK_BYTES;
  const whole = cipher.subarray(last - BLOCK_BYTES, last);
  const short = cipher.subarray(last);
  // The block that stands last but one was made from the short one's input, filled with zeros:
  // decrypted alone it gives the bytes that were stolen from the short one.
  const stolen = crypto.aesCbcDecrypt(key, ZERO_IV, whole, false);
  if (stolen === null) return null;
  const ordered = new Uint8Array(blocks * BLOCK_BYTES);
  ordered.set(cipher.subarray(0, last - BLOCK_BYTES));
  ordered.set(stolen, last - BLOCK_BYTES);
  ordered.set(short, last - BLOCK_BYTES);
  ordered.set(whole, last);
  return crypto.aesCbcDecrypt(key, ZERO_IV, ordered, false)?.slice(0, cipher.length) ?? null;
}

/** True when both are equal; the time taken does not tell where they differ. */
function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let index = 0; index < a.length; index++) difference |= a[index]! ^ b[index]!;
  return difference === 0;
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
