/** AES-128-GCM of both roads against published vectors and against each other. */
import assert from "node:assert/strict";
import { createCipheriv } from "node:crypto";
import { arena, give, take } from "../../src/mem/arena.ts";
import type { AeadMaker } from "../../src/wire/msgr2/aead.ts";
import { libcryptoAvailable, LibcryptoGcm } from "../../src/io/libcrypto.ts";
import { NodeGcm } from "../../src/io/node_gcm.ts";

/**
 * McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", appendix B, test cases 1 to 3,
 * which NIST took over: those for 128-bit keys, 96-bit nonces and no additional data.
 */
const VECTORS = [
  {
    name: "test case 1",
    key: "00000000000000000000000000000000",
    nonce: "000000000000000000000000",
    plain: "",
    sealed: "",
    tag: "58e2fccefa7e3061367f1d57a4e7455a",
  },
  {
    name: "test case 2",
    key: "00000000000000000000000000000000",
    nonce: "000000000000000000000000",
    plain: "00000000000000000000000000000000",
    sealed: "0388dace60b6a392f328c2b971b2fe78",
    tag: "ab6e47d42cec13bdf53a67b21257bddf",
  },
  {
    name: "test case 3",
    key: "feffe9928665731c6d6a8f9467308308",
    nonce: "cafebabefacedbaddecaf888",
    plain: "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72" +
      "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
    sealed: "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e" +
      "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985",
    tag: "4d5c2af327cd64a62cf35abd2ba6fab4",
  },
];

const ROADS: { road: string; maker: AeadMaker }[] = [
  { road: "libcrypto", maker: new LibcryptoGcm() },
  { road: "node:crypto", maker: new NodeGcm() },
];

const hex = (text: string): Uint8Array<ArrayBuffer> => Uint8Array.fromHex(text);
const at = take(1 << 20);
const other = take(1 << 20);

/** A small generator, so that a failure repeats. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state;
  };
}

function fillRandom(random: () => number, from: number, length: number): void {
  for (let i = 0; i < length; i++) arena.bytes[from + i] = random() >>> 24;
}

function slice(from: number, length: number): string {
  return arena.bytes.subarray(from, from + length).toHex();
}

for (const { road, maker } of ROADS) {
  Deno.test.each(VECTORS)(`${road} seals and opens $name`, (vector) => {
    const length = vector.plain.length / 2;
    arena.bytes.fill(0xa5, at, at + length + 17);
    arena.bytes.set(hex(vector.plain), at);
    const sealer = maker.sealer(hex(vector.key));
    sealer.begin(hex(vector.nonce));
    sealer.update(at, at, length);
    assert.equal(sealer.finish(at + length), true);
    sealer.free();
    assert.equal(slice(at, length + 16), vector.sealed + vector.tag);
    assert.equal(arena.bytes[at + length + 16], 0xa5);
    const opener = maker.opener(hex(vector.key));
    opener.begin(hex(vector.nonce));
    opener.update(at, at, length);
    assert.equal(opener.finish(at + length), true);
    opener.free();
    assert.equal(slice(at, length), vector.plain);
  });

  Deno.test(`${road} seals what node:crypto seals, at every length and split, in and out of place`, () => {
    const random = randomFrom(1);
    const key = hex("000102030405060708090a0b0c0d0e0f");
    const sealer = maker.sealer(key);
    const opener = maker.opener(key);
    const lengths = [0, 1, 15, 16, 17, 95, 2047, 2048, 2049, 4096, 65536, 300001];
    for (let i = 0; i < 150; i++) lengths.push(random() % 9000);
    for (const length of lengths) {
      const nonce = new Uint8Array(12);
      for (let i = 0; i < 12; i++) nonce[i] = random() >>> 24;
      const start = at + random() % 64;
      const inPlace = length % 2 === 0;
      const to = inPlace ? start : other + random() % 64;
      fillRandom(random, start, length);
      const plain = slice(start, length);
      const reference = createCipheriv("aes-128-gcm", key, nonce);
      const sealed = reference.update(plain, "hex", "hex") + reference.final("hex") +
        reference.getAuthTag().toString("hex");
      const split = length === 0 ? 0 : random() % length;
      sealer.begin(nonce);
      sealer.update(start, to, split);
      sealer.update(start + split, to + split, length - split);
      assert.ok(sealer.finish(to + length));
      assert.equal(slice(to, length + 16), sealed, `length ${length}`);
      opener.begin(nonce);
      opener.update(to, start, length - split);
      opener.update(to + length - split, start + length - split, split);
      assert.ok(opener.finish(to + length), `length ${length}`);
      assert.equal(slice(start, length), plain);
    }
    sealer.free();
    opener.free();
  });

  Deno.test(`${road} refuses every flipped bit, and goes on after it`, () => {
    const random = randomFrom(2);
    const key = hex("feffe9928665731c6d6a8f9467308308");
    const nonce = hex("cafebabefacedbaddecaf888");
    const sealer = maker.sealer(key);
    const opener = maker.opener(key);
    const length = 40;
    fillRandom(random, at, length);
    sealer.begin(nonce);
    sealer.update(at, at, length);
    sealer.finish(at + length);
    const opened = (): boolean => {
      opener.begin(nonce);
      opener.update(at, other, length);
      return opener.finish(at + length);
    };
    for (let bit = 0; bit < (length + 16) * 8; bit++) {
      arena.bytes[at + (bit >> 3)]! ^= 1 << (bit & 7);
      assert.equal(opened(), false, `bit ${bit}`);
      arena.bytes[at + (bit >> 3)]! ^= 1 << (bit & 7);
    }
    assert.equal(opened(), true);
    nonce[0]! ^= 1;
    assert.equal(opened(), false);
    sealer.free();
    opener.free();
  });

  Deno.test(`${road} keeps two connections apart`, () => {
    const nonce = new Uint8Array(12);
    const one = maker.sealer(hex("00".repeat(16)));
    const two = maker.sealer(hex("11".repeat(16)));
    arena.bytes.fill(0, at, at + 100);
    one.begin(nonce);
    two.begin(nonce);
    one.update(at, at, 16);
    two.update(at + 50, at + 50, 16);
    one.finish(at + 16);
    two.finish(at + 66);
    assert.equal(slice(at, 32), VECTORS[1]!.sealed + VECTORS[1]!.tag);
    assert.notEqual(slice(at + 50, 32), slice(at, 32));
    one.free();
    two.free();
  });
}

Deno.test("a cipher that was freed or not begun is our mistake, and says so", () => {
  const maker = new LibcryptoGcm();
  const sealer = maker.sealer(new Uint8Array(16));
  assert.throws(() => sealer.update(at, at, 16), /after begin/);
  assert.throws(() => sealer.finish(at), /after begin/);
  sealer.begin(new Uint8Array(12));
  sealer.finish(at);
  assert.throws(() => sealer.update(at, at, 16), /after begin/); // the nonce is used up
  sealer.begin(new Uint8Array(12));
  sealer.free();
  sealer.free();
  assert.throws(() => sealer.begin(new Uint8Array(12)), /live cipher/);
  assert.throws(() => sealer.update(at, at, 16), /after begin/);
  assert.throws(() => sealer.finish(at), /after begin/);
  assert.throws(() => maker.opener(new Uint8Array(32)), /AES-128 key of 32 bytes/);
});

Deno.test("libcrypto is what this machine takes", () => {
  assert.ok(libcryptoAvailable());
});

globalThis.addEventListener("unload", () => {
  give(at);
  give(other);
});
