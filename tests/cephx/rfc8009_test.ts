/** Encryption of key type 2 against RFC 8009 appendix A. */
import assert from "node:assert/strict";
import { decryptRfc8009, encryptRfc8009 } from "../../src/proto/cephx/rfc8009.ts";
import { crypto } from "./pair.ts";

/** RFC 8009 appendix A, "Sample results for AES256-CTS-HMAC-SHA384-192"; the empty one left out. */
const SECRET = "6d404d37faf79f9df0d33568d320669800eb4836472ea8a026d16b7182460c52";
const USAGE = 2;
const SAMPLES = [
  {
    plain: "000102030405",
    confounder: "b80d3251c1f6471494256ffe712d0b9a",
    sealed: "4ed7b37c2bcac8f74f23c1cf07e62bc7b75fb3f637b9" +
      "f559c7f664f69eab7b6092237526ea0d1f61cb20d69d10f2",
  },
  {
    plain: "000102030405060708090a0b0c0d0e0f",
    confounder: "53bf8a0d105265d4e276428624ce5e63",
    sealed: "bc47ffec7998eb91e8115cf8d19dac4bbbe2e163e87dd37f49beca92027764f6" +
      "8cf51f14d798c2273f35df574d1f932e40c4ff255b36a266",
  },
  {
    plain: "000102030405060708090a0b0c0d0e0f1011121314",
    confounder: "763e65367e864f02f55153c7e3b58af1",
    sealed: "40013e2df58e8751957d2878bcd2d6fe101ccfd556cb1eae79db3c3ee86429f2b2a602ac86" +
      "fef6ecb647d6295fae077a1feb517508d2c16b4192e01f62",
  },
];

Deno.test.each(SAMPLES)("encryptRfc8009() and its inverse agree with the RFC for $plain", (row) => {
  const secret = Uint8Array.fromHex(SECRET);
  const plain = Uint8Array.fromHex(row.plain);
  const drawing = Object.create(crypto, {
    randomBytes: { value: () => Uint8Array.fromHex(row.confounder) },
  });
  const sealed = encryptRfc8009(drawing, secret, USAGE, plain);
  assert.equal(sealed.toHex(), row.sealed);
  assert.deepEqual(decryptRfc8009(crypto, secret, USAGE, sealed), plain);
  assert.equal(decryptRfc8009(crypto, secret, USAGE + 1, sealed), null);
  for (let bit = 0; bit < sealed.length * 8; bit++) {
    const flipped = sealed.slice();
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    assert.equal(decryptRfc8009(crypto, secret, USAGE, flipped), null);
  }
  for (let length = 0; length < sealed.length; length++) {
    assert.equal(decryptRfc8009(crypto, secret, USAGE, sealed.slice(0, length)), null);
  }
});

Deno.test("encryptRfc8009() and its inverse agree at every length around a block", () => {
  const secret = crypto.randomBytes(32);
  for (let length = 1; length <= 70; length++) {
    const plain = crypto.randomBytes(length);
    const sealed = encryptRfc8009(crypto, secret, USAGE, plain);
    assert.equal(sealed.length, length + 40);
    assert.deepEqual(decryptRfc8009(crypto, secret, USAGE, sealed), plain);
  }
});
