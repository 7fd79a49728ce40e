/** HMAC and AES-CBC of io/crypto.ts against RFC 4231 and NIST SP 800-38A. */
import assert from "node:assert/strict";
import { crypto } from "./pair.ts";

const hex = (text: string): Uint8Array => Uint8Array.fromHex(text);

/** RFC 4231 section 4.3, test case 2. */
Deno.test("hmacSha256() and hmacSha384() agree with RFC 4231", () => {
  const key = new TextEncoder().encode("Jefe");
  const data = new TextEncoder().encode("what do ya want for nothing?");
  assert.equal(
    crypto.hmacSha256(key, data).toHex(),
    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
  );
  assert.equal(
    crypto.hmacSha384(key, data).toHex(),
    "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e" +
      "8e2240ca5e69e2c78b3239ecfab21649",
  );
});

/** NIST SP 800-38A F.2.1 and F.2.5: the first two blocks. */
const IV = "000102030405060708090a0b0c0d0e0f";
const PLAIN = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51";
const CBC = [
  {
    bits: 128,
    key: "2b7e151628aed2a6abf7158809cf4f3c",
    cipher: "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2",
  },
  {
    bits: 256,
    key: "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
    cipher: "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d",
  },
];

Deno.test.each(CBC)("aesCbcEncrypt() and its inverse agree with NIST for $bits bits", (row) => {
  const key = hex(row.key);
  const iv = hex(IV);
  assert.equal(crypto.aesCbcEncrypt(key, iv, hex(PLAIN), false).toHex(), row.cipher);
  assert.equal(crypto.aesCbcDecrypt(key, iv, hex(row.cipher), false)?.toHex(), PLAIN);
  for (let length = 0; length <= 33; length++) {
    const data = crypto.randomBytes(length);
    const padded = crypto.aesCbcEncrypt(key, iv, data, true);
    assert.equal(padded.length, (Math.floor(length / 16) + 1) * 16);
    assert.deepEqual(crypto.aesCbcDecrypt(key, iv, padded, true), data);
  }
  assert.equal(crypto.aesCbcDecrypt(key, iv, hex(row.cipher), true), null); // no padding inside
  for (const length of [0, 15, 17]) {
    assert.equal(crypto.aesCbcDecrypt(key, iv, new Uint8Array(length), false), null);
  }
});

Deno.test("randomBytes() gives arrays of their own that differ", () => {
  const [a, b] = [crypto.randomBytes(32), crypto.randomBytes(32)];
  assert.equal(a.length, 32);
  assert.equal(a.buffer.byteLength, 32);
  assert.notDeepEqual(a, b);
});
