/**
 * src/wire/msgr2/banner.ts: banners as real Ceph sends them, in any pieces, and other protocols.
 *
 * @module
 */
import assert from "node:assert/strict";
import { describeFault, Fault } from "../../src/mem/fault.ts";
import { BANNER_PAYLOAD_BYTES_MAX } from "../../src/mem/limits.ts";
import { newRegion, regionOf } from "../../src/mem/region.ts";
import {
  Banner,
  BANNER_PREFIX,
  BANNER_SIZE,
  FAIRLEAD_CLOSE,
  MSGR2_FEATURE_COMPRESSION,
  MSGR2_FEATURE_REVISION_1,
  readBanner,
  writeBanner,
} from "../../src/wire/msgr2/banner.ts";

/** Of 16.2.15 and 20.2.4 on loopback, and ours with the bit that only Fairlead knows. */
const VECTORS = [
  { name: "16.2.15", lo: 1, hi: 0, tail: "1000 0100000000000000 0000000000000000" },
  { name: "20.2.4", lo: 3, hi: 0, tail: "1000 0300000000000000 0000000000000000" },
  {
    name: "Fairlead",
    lo: MSGR2_FEATURE_REVISION_1 | MSGR2_FEATURE_COMPRESSION,
    hi: FAIRLEAD_CLOSE,
    tail: "1000 0300000000000080 0000000000000000",
  },
];

Deno.test.each(VECTORS)("the banner of $name is written, and read in any pieces", (vector) => {
  const banner = new Banner();
  banner.supported.set(vector.lo, vector.hi);
  const out = newRegion(BANNER_SIZE + 4);
  out.bytes.fill(0xa5);
  assert.equal(writeBanner(out, 2, banner), 2 + BANNER_SIZE);
  const hex = "63657068207632 0a" + vector.tail;
  assert.equal(out.bytes.toHex(), "a5a5" + hex.replaceAll(" ", "") + "a5a5");

  const read = new Banner();
  for (let end = 2; end < 2 + BANNER_SIZE; end++) {
    assert.equal(readBanner(out, 2, end, read), -Fault.Short);
  }
  assert.equal(readBanner(out, 2, out.bytes.length, read), 2 + BANNER_SIZE);
  assert.ok(read.supported.equals(banner.supported) && read.required.isZero());
});

Deno.test("readBanner() skips what a longer payload has", () => {
  const region = newRegion(512);
  const banner = new Banner();
  banner.required.set(5, 6);
  writeBanner(region, 0, banner);
  for (const length of [17, 24, BANNER_PAYLOAD_BYTES_MAX]) {
    region.view.setUint16(8, length, true);
    assert.equal(readBanner(region, 0, 10 + length - 1, new Banner()), -Fault.Short);
    const read = new Banner();
    assert.equal(readBanner(region, 0, 512, read), 10 + length);
    assert.ok(read.required.equals(banner.required));
  }
});

Deno.test("readBanner() refuses payloads that are too short or too long by their length", () => {
  const region = regionOf(bytesOf(`${BANNER_PREFIX}\x0f\0`));
  assert.equal(readBanner(region, 0, 10, new Banner()), -Fault.Field);
  assert.equal(
    describeFault(),
    "Cannot accept banner payload length at offset 8 as it must be 16 or more: " +
      "current value is 15 (field out of range)",
  );
  region.view.setUint16(8, BANNER_PAYLOAD_BYTES_MAX + 1, true);
  assert.equal(readBanner(region, 0, 10, new Banner()), -Fault.Large);
});

const OTHERS = [
  {
    sent: "ceph v027",
    says: 'prefix "ceph v027" at offset 6 as it must be "ceph v2\\n", not that of msgr1: ' +
      "current value is 48",
  },
  { sent: "H", says: 'prefix "H" at offset 0 as it must be "ceph v2\\n": current value is 72' },
  {
    sent: "SSH-2.0-OpenSSH_9.2\r\n",
    says: 'prefix "SSH-2.0-O" at offset 0 as it must be "ceph v2\\n": current value is 83',
  },
  {
    sent: "ceph v2\r\n",
    says: 'prefix "ceph v2\\r\\n" at offset 7 as it must be "ceph v2\\n": current value is 13',
  },
  {
    sent: "\x16\x03\x01\x9b\xff",
    says: 'prefix "\\u0016\\u0003\\u0001??" at offset 0 as it must be "ceph v2\\n": ' +
      "current value is 22",
  },
];

Deno.test.each(OTHERS)("readBanner() says: Cannot accept banner $says", ({ sent, says }) => {
  const bytes = bytesOf(sent);
  assert.equal(readBanner(regionOf(bytes), 0, bytes.length, new Banner()), -Fault.Field);
  assert.equal(describeFault(), `Cannot accept banner ${says} (field out of range)`);
});

Deno.test("readBanner() tells a wrong prefix at its first wrong byte, wherever it is", () => {
  for (let at = 0; at < BANNER_PREFIX.length; at++) {
    const bytes = bytesOf(BANNER_PREFIX.slice(0, at) + "#");
    assert.equal(readBanner(regionOf(bytes), 0, at, new Banner()), -Fault.Short);
    assert.equal(readBanner(regionOf(bytes), 0, at + 1, new Banner()), -Fault.Field);
  }
});

Deno.test("readBanner() takes every flipped bit without a throw", () => {
  const region = newRegion(BANNER_SIZE);
  writeBanner(region, 0, new Banner());
  for (let bit = 0; bit < BANNER_SIZE * 8; bit++) {
    region.bytes[bit >> 3]! ^= 1 << (bit & 7);
    const next = readBanner(region, 0, BANNER_SIZE, new Banner());
    assert.ok(next === BANNER_SIZE || [1, 3, 4].includes(-next), `${next}`);
    region.bytes[bit >> 3]! ^= 1 << (bit & 7);
  }
});

function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}
