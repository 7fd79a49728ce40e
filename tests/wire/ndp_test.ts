/** Unsolicited neighbour advertisements: as the kernel announces an address, cut and flipped. */
import assert from "node:assert/strict";
import { Fault } from "../../src/mem/fault.ts";
import { newRegion, regionOf } from "../../src/mem/region.ts";
import { formatInet, parseInet } from "../../src/wire/inet.ts";
import {
  Advertisement,
  ADVERTISEMENT_FRAME_SIZE,
  AdvertisementFlag,
  readAdvertisement,
  writeUnsolicitedAdvertisement,
} from "../../src/wire/ndp.ts";
import { assertAllocatesNothing } from "./kernel_message.ts";

/**
 * Linux 6.18.44 with ndisc_notify=1 for addresses of 02:00:00:00:00:01, by tcpdump 4.99.3 (2026-11): one
 * that was added, and the link's own when it came up.
 */
const CAPTURED = {
  "fd09::100": "33330000000102000000000186dd6000000000203afffd090000000000000000000000000100" +
    "ff0200000000000000000000000000018800588b20000000fd090000000000000000000000000100" +
    "0201020000000001",
  "fe80::ff:fe00:1":
    "33330000000102000000000186dd6000000000203afffe80000000000000000000fffe000001" +
    "ff0200000000000000000000000000018800599b20000000fe80000000000000000000fffe000001" +
    "0201020000000001",
} as const;

const HARDWARE = Uint8Array.fromHex("020000000001");
const { Override, Router } = AdvertisementFlag;

function frame(text: string, router: boolean): string {
  const address = new Uint8Array(16);
  parseInet(text, address);
  const out = newRegion(ADVERTISEMENT_FRAME_SIZE + 8);
  out.bytes.fill(0xa5);
  const end = writeUnsolicitedAdvertisement(out, 4, HARDWARE, address, router);
  assert.equal(end, 4 + ADVERTISEMENT_FRAME_SIZE);
  assert.equal(out.bytes.subarray(0, 4).toHex() + out.bytes.subarray(-4).toHex(), "a5".repeat(8));
  return out.bytes.subarray(4, end).toHex();
}

function read(hex: string, into = new Advertisement()): number {
  const from = regionOf(Uint8Array.fromHex(hex));
  return readAdvertisement(from, 0, from.bytes.length, into);
}

for (const [address, hex] of Object.entries(CAPTURED)) {
  Deno.test(`writeUnsolicitedAdvertisement() of ${address} is the kernel's, and is read`, () => {
    assert.equal(frame(address, false), hex);
    const told = new Advertisement();
    assert.equal(read(hex, told), ADVERTISEMENT_FRAME_SIZE);
    assert.equal(formatInet(10, told.target), address);
    assert.equal(formatInet(10, told.source), address);
    assert.deepEqual(told.hardware, HARDWARE);
    assert.equal(told.flags, Override);
  });
}

Deno.test("a router says that it is one, and the checksum holds", () => {
  const told = new Advertisement();
  const hex = frame("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", true);
  assert.equal(read(hex, told), ADVERTISEMENT_FRAME_SIZE);
  assert.equal(told.flags, Override | Router);
});

Deno.test("readAdvertisement() refuses every cut, and every flipped bit behind the header's head", () => {
  const whole = Uint8Array.fromHex(CAPTURED["fd09::100"]);
  for (let length = 0; length < whole.length; length++) {
    assert.equal(read(whole.slice(0, length).toHex()), -Fault.Short);
  }
  for (let bit = 8 * 18; bit < 8 * whole.length; bit++) {
    const bytes = whole.slice();
    bytes[bit >> 3]! ^= 1 << (bit & 7);
    assert.ok(read(bytes.toHex()) < 0, `bit ${bit}`);
  }
});

Deno.test("an announcement by neighbour discovery allocates nothing", () => {
  const out = newRegion(96);
  const address = new Uint8Array(16).fill(0xfe);
  assertAllocatesNothing((index) =>
    writeUnsolicitedAdvertisement(out, 0, HARDWARE, address, (index & 1) === 1)
  );
});
