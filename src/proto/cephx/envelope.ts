/**
 * How cephx encrypts, by type of key (Ceph auth/Crypto.cc, auth/cephx/CephxProtocol.h).
 *
 * Every plaintext starts with u8 1 and a magic number, which is all the integrity that type 1 has:
 * AES-128-CBC with a constant IV. Type 2 ("aes256k") is the encryption of RFC 8009,
 * AES256-CTS-HMAC-SHA384-192, with a usage number per place.
 *
 * @module
 */
import { assert } from "../../mem/assert.ts";
import { fail, Fault } from "../../mem/fault.ts";
import { U64 } from "../../mem/u64.ts";
import { type CryptoKey, KeyType, secretBytes } from "../../wire/cephx/crypto_key.ts";
import { PayloadReader, PayloadWriter } from "../../wire/cephx/payload.ts";
import type { Crypto } from "../msgr2/auth.ts";
import { decryptRfc8009, encryptRfc8009 } from "./rfc8009.ts";

/** Usage numbers of key type 2; type 1 has none. */
export const Usage = {
  ConnectionSecret: 0x03,
  TicketSessionKey: 0x04,
  TicketBlob: 0x05,
  Authorize: 0x10,
  AuthorizeChallenge: 0x11,
  AuthorizeReply: 0x12,
  TicketInfo: 0x30,
} as const;

/** Results of AUTH_BAD_METHOD: negated errno. */
export const EACCES: number = -13;
/** See {@linkcode EACCES}. */
export const EINVAL: number = -22;

/** Bytes of a connection_secret: a key, two nonces, and room. */
export const CONNECTION_SECRET_BYTES = 64;

/** AUTH_ENC_MAGIC. */
const MAGIC = U64.of(0xff009cad8826aa55n);

/** CEPH_AES_IV. */
const AES_IV = new TextEncoder().encode("cephsageyudagreg");

/** E(key){u8 1, u64 magic, data}. */
export function seal(crypto: Crypto, key: CryptoKey, usage: number, data: Uint8Array): Uint8Array {
  assert(key.secret.length === secretBytes(key.type), "a key has the length of its type");
  const plain = new PayloadWriter().u8(1).u64(MAGIC).raw(data).done();
  return key.type === KeyType.Aes
    ? crypto.aesCbcEncrypt(key.secret, AES_IV, plain, true)
    : encryptRfc8009(crypto, key.secret, usage, plain);
}

/** The data inside; null when it was not made with this key, and then `field` is told as fault. */
export function open(
  crypto: Crypto,
  key: CryptoKey,
  usage: number,
  sealed: Uint8Array,
  field: string,
): Uint8Array | null {
  assert(key.secret.length === secretBytes(key.type), "a key has the length of its type");
  const plain = key.type === KeyType.Aes
    ? crypto.aesCbcDecrypt(key.secret, AES_IV, sealed, true)
    : decryptRfc8009(crypto, key.secret, usage, sealed);
  const data = plain === null ? null : dataOf(plain);
  if (data === null) {
    fail(Fault.Auth, field, -1, sealed.length, "encrypted with the key agreed");
  }
  return data;
}

/**
 * What a client proves its key with: 64 bits made from both challenges. Type 1 encrypts them and
 * folds the words of `bl E(key){…}`: the length in front is part of it, and so the last four
 * bytes, which fill no word, are not.
 */
export function challengeKey(
  crypto: Crypto,
  key: CryptoKey,
  serverChallenge: U64,
  clientChallenge: U64,
): U64 {
  const both = new PayloadWriter().u64(serverChallenge).u64(clientChallenge).done();
  if (key.type === KeyType.Aes256k) return foldWords(crypto.hmacSha256(key.secret, both));
  return foldWords(new PayloadWriter().blob(seal(crypto, key, 0, both)).done());
}

/** Eight random bytes. */
export function randomU64(crypto: Crypto): U64 {
  return new PayloadReader(crypto.randomBytes(8), "random").u64("value");
}

/** True when both are equal; the time taken does not tell where they differ. */
export function sameSecret(a: U64, b: U64): boolean {
  return ((a.lo ^ b.lo) | (a.hi ^ b.hi)) === 0;
}

function dataOf(plain: Uint8Array): Uint8Array | null {
  const from = new PayloadReader(plain, "envelope");
  from.version("version");
  const magic = from.u64("magic");
  if (from.failed || !magic.equals(MAGIC)) return null;
  return from.raw(from.left, "data");
}

/** Exclusive or of the little-endian u64 words; what fills no word is left out. */
function foldWords(bytes: Uint8Array): U64 {
  const from = new PayloadReader(bytes, "challenge");
  const folded = new U64();
  while (from.left >= 8) {
    const word = from.u64("key");
    folded.set(folded.lo ^ word.lo, folded.hi ^ word.hi);
  }
  return folded;
}
