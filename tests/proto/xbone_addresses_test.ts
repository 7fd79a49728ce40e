/** Addresses of an overlay's networks. */
import assert from "node:assert/strict";
import {
  bitsNeeded,
  inPrefix,
  linkAddresses,
  nodeAddress,
  overlap,
  quadText,
  readPrefix,
  readQuad,
} from "../../src/proto/xbone/addresses.ts";

Deno.test("readQuad() and quadText() are each other's reverse up to the last address", () => {
  for (const text of ["0.0.0.1", "10.100.0.7", "127.255.255.255", "192.0.2.1", "255.255.255.255"]) {
    assert.equal(quadText(readQuad(text)), text);
  }
  assert.equal(readQuad("255.255.255.255"), 2 ** 32 - 1);
  for (const text of ["", "1.2.3", "1.2.3.256", "01.2.3.4", "::1", "a.b.c.d"]) {
    assert.equal(readQuad(text), -1, text);
  }
});

Deno.test("readPrefix() takes what a network can have and nothing else", () => {
  assert.deepEqual(readPrefix("10.100.0.0/16"), { base: 0x0a640000, bits: 16, size: 65_536 });
  assert.equal(readPrefix("172.16.8.8/29")?.size, 8);
  for (const text of ["172.31.0.0/16", "192.168.0.0/16", "100.127.0.0/16", "198.19.0.0/16"]) {
    assert.equal(readPrefix(text)?.bits, 16, text);
  }
  const refused = [
    "10.100.0.1/16",
    "10.0.0.0/7",
    "10.0.0.0/30",
    "10.0.0.0",
    "10.0.0.0/016",
    "0.0.0.0/8",
    "127.0.0.0/16",
    "224.0.0.0/8",
    "240.0.0.0/8",
    "8.8.8.0/24",
    "172.0.0.0/8",
    "172.32.0.0/16",
    "192.168.0.0/15",
    "100.128.0.0/16",
    "169.254.0.0/16",
    "fd00::/16",
    "10.0.0.0/16 ",
  ];
  for (const text of refused) assert.equal(readPrefix(text), null, text);
});

Deno.test("nodes stand in the first half of a prefix, links in the second", () => {
  const prefix = readPrefix("10.100.0.0/24")!;
  assert.equal(nodeAddress(prefix, 0), "10.100.0.1");
  assert.equal(nodeAddress(prefix, 126), "10.100.0.127");
  assert.deepEqual(linkAddresses(prefix, 0), ["10.100.0.128", "10.100.0.129"]);
  assert.deepEqual(linkAddresses(prefix, 63), ["10.100.0.254", "10.100.0.255"]);
  assert.equal(inPrefix(prefix, readQuad("10.100.0.255")), true);
  assert.equal(inPrefix(prefix, readQuad("10.100.1.0")), false);
  assert.equal(inPrefix(prefix, -1), false);
});

Deno.test("what bitsNeeded() says is enough, and one bit less is not", () => {
  for (const need of [{ nodes: 2, links: 1 }, { nodes: 127, links: 64 }, { nodes: 5, links: 65 }]) {
    const bits = Number(bitsNeeded({ base: 0, bits: 32, size: 1 }, need)!.slice(1));
    const sized = (length: number) => ({ base: 0, bits: length, size: 2 ** (32 - length) });
    assert.equal(bitsNeeded(sized(bits), need), null);
    assert.equal(bitsNeeded(sized(bits + 1), need), `/${bits}`);
  }
  assert.equal(bitsNeeded(readPrefix("10.0.0.0/24")!, { nodes: 127, links: 64 }), null);
  assert.equal(bitsNeeded(readPrefix("10.0.0.0/24")!, { nodes: 128, links: 1 }), "/23");
  assert.equal(bitsNeeded(readPrefix("10.0.0.0/24")!, { nodes: 1, links: 65 }), "/23");
});

Deno.test("overlap() finds a prefix in another one, either way round", () => {
  const [wide, inside, beside] = ["10.0.0.0/8", "10.9.0.0/16", "172.16.0.0/12"].map((text) =>
    readPrefix(text)!
  );
  assert.deepEqual([overlap(wide!, inside!), overlap(inside!, wide!)], [true, true]);
  assert.deepEqual([overlap(wide!, beside!), overlap(inside!, beside!)], [false, false]);
});
