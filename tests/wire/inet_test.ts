/**
 * src/wire/inet.ts: texts of RFC 4291 section 2.2 in, texts of RFC 5952 out.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Family, formatInet, parseInet } from "../../src/wire/inet.ts";

const VECTORS = [
  { read: "127.0.0.1", hex: "7f000001", written: "127.0.0.1" },
  { read: "0.0.0.0", hex: "00000000", written: "0.0.0.0" },
  { read: "255.255.255.255", hex: "ffffffff", written: "255.255.255.255" },
  { read: "::", hex: "00000000000000000000000000000000", written: "::" },
  { read: "::1", hex: "00000000000000000000000000000001", written: "::1" },
  { read: "1::", hex: "00010000000000000000000000000000", written: "1::" },
  // RFC 5952 section 2.2 and 4.2.2: a single zero group is not shortened
  {
    read: "2001:db8::1:1:1:1:1",
    hex: "20010db8000000010001000100010001",
    written: "2001:db8:0:1:1:1:1:1",
  },
  // section 4.2.3: the longer run, then the first of equals
  { read: "2001:0:0:1:0:0:0:1", hex: "20010000000000010000000000000001", written: "2001:0:0:1::1" },
  {
    read: "2001:db8:0:0:1:0:0:1",
    hex: "20010db8000000000001000000000001",
    written: "2001:db8::1:0:0:1",
  },
  // section 4.1 and 4.3: no leading zeros, lower case
  {
    read: "2001:0DB8:00AA::0A",
    hex: "20010db800aa0000000000000000000a",
    written: "2001:db8:aa::a",
  },
  {
    read: "::ffff:192.0.2.128",
    hex: "00000000000000000000ffffc0000280",
    written: "::ffff:192.0.2.128",
  },
  {
    read: "64:ff9b::192.0.2.33",
    hex: "0064ff9b0000000000000000c0000221",
    written: "64:ff9b::c000:221",
  },
  { read: "1:2:3:4:5:6:7:8", hex: "00010002000300040005000600070008", written: "1:2:3:4:5:6:7:8" },
  { read: "1:2:3:4:5:6:7::", hex: "00010002000300040005000600070000", written: "1:2:3:4:5:6:7:0" },
];
Deno.test.each(VECTORS)("parseInet() reads $read and formatInet() writes it", (vector) => {
  const address = new Uint8Array(16).fill(0xa5);
  const family = parseInet(vector.read, address);
  assert.equal(family, vector.hex.length === 8 ? Family.Inet : Family.Inet6);
  assert.equal(address.toHex(), vector.hex.padEnd(32, "0"));
  assert.equal(formatInet(family, address), vector.written);
  const again = new Uint8Array(16);
  assert.equal(parseInet(vector.written, again), family);
  assert.deepEqual(again, address);
});

const REFUSED = [
  ...[
    "",
    "localhost",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.256",
    "01.2.3.4",
    "1.2.3.4 ",
    "1..2.3",
    "0x1.2.3.4",
  ],
  ...[":", ":::", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "12345::"],
  ...["::1%1", "[::1]", "::1.2.3", "1.2.3.4::", "::1.2.3.4:5", "g::", "1:2:3:4::5:6:7:8"],
];

Deno.test("parseInet() refuses what is not an address and clears", () => {
  for (const text of REFUSED) {
    const address = new Uint8Array(16).fill(0xa5);
    assert.equal(parseInet(text, address), Family.None, text);
    assert.deepEqual(address, new Uint8Array(16), text);
  }
});
