/** Requests that give and take addresses: as ip(8) makes them, and as address.ts reads them. */
import assert from "node:assert/strict";
import { newRegion } from "../../src/mem/region.ts";
import { Family, formatInet, parseInet } from "../../src/wire/inet.ts";
import { InterfaceAddress, readAddress } from "../../src/wire/netlink/address.ts";
import { writeDelAddress, writeNewAddress } from "../../src/wire/netlink/route_address.ts";
import { assertAllocatesNothing, readWhole, written } from "./kernel_message.ts";

/** iproute2 6.1.0 for interface 3, by strace (2026-11), with the sequence number 7. */
const CAPTURED = [
  {
    // address replace 10.9.0.101/24: without IFA_CACHEINFO
    address: "10.9.0.101",
    prefixLength: 24,
    lifetime: 0,
    remove: false,
    hex: "280000001400050507000000000000000218000003000000" + "080002000a090065080001000a090065",
  },
  {
    // address replace 10.9.0.102/32 valid_lft 3 preferred_lft 3
    address: "10.9.0.102",
    prefixLength: 32,
    lifetime: 3,
    remove: false,
    hex: "3c0000001400050507000000000000000220000003000000" + "080002000a090066080001000a090066" +
      "1400060003000000030000000000000000000000",
  },
  {
    // address replace fd09::101/64 nodad valid_lft 3 preferred_lft 3
    address: "fd09::101",
    prefixLength: 64,
    lifetime: 3,
    remove: false,
    hex: "540000001400050507000000000000000a40020003000000" +
      "14000200fd09000000000000000000000000010114000100fd090000000000000000000000000101" +
      "1400060003000000030000000000000000000000",
  },
  {
    // address del fd09::101/64
    address: "fd09::101",
    prefixLength: 64,
    lifetime: 0,
    remove: true,
    hex: "400000001500050007000000000000000a40000003000000" +
      "14000200fd09000000000000000000000000010114000100fd090000000000000000000000000101",
  },
] as const;

function addressOf(text: string, prefixLength: number): InterfaceAddress {
  const address = new InterfaceAddress();
  address.family = parseInet(text, address.local);
  address.index = 3;
  address.prefixLength = prefixLength;
  return address;
}

Deno.test.each([...CAPTURED])(
  "$address with lifetime $lifetime, removed: $remove, is what ip(8) asks for",
  ({ address, hex, lifetime, prefixLength, remove }) => {
    const wanted = addressOf(address, prefixLength);
    const asked = written((out, at) =>
      remove ? writeDelAddress(out, at, 7, wanted) : writeNewAddress(out, at, 7, wanted, lifetime)
    );
    assert.equal(asked, hex);
    const read = new InterfaceAddress();
    readWhole(asked, (from, message) => readAddress(from, message, read));
    assert.equal(formatInet(read.family, read.local), address);
    assert.equal(formatInet(read.family, read.peer), address);
    const { index, prefixLength: length } = read;
    assert.deepEqual({ index, length }, { index: 3, length: prefixLength });
  },
);

Deno.test("writing requests for addresses allocates nothing", () => {
  const out = newRegion(256);
  const address = addressOf("fd09::101", 64);
  assert.equal(address.family, Family.Inet6);
  assertAllocatesNothing((index) =>
    writeNewAddress(out, 0, index, address, index & 1) + writeDelAddress(out, 0, index, address)
  );
});
