/** rtnetlink: links and addresses as the kernel tells them, cut and flipped. */
import assert from "node:assert/strict";
import { Fault } from "../../src/mem/fault.ts";
import { newRegion, type Region, regionOf } from "../../src/mem/region.ts";
import { Family, formatInet } from "../../src/wire/inet.ts";
import {
  AddressFlag,
  AddressScope,
  InterfaceAddress,
  readAddress,
  writeAddressDump,
} from "../../src/wire/netlink/address.ts";
import { Link, LinkFlag, readLink, writeLinkRequest } from "../../src/wire/netlink/link.ts";
import type { Nlmsg } from "../../src/wire/netlink/nlmsg.ts";
import { RtmType } from "../../src/wire/netlink/rtnetlink.ts";
import { assertAllocatesNothing, assertHardy, readWhole, written } from "./kernel_message.ts";
import * as vectors from "./kernel_vectors.ts";

const link = new Link();
const address = new InterfaceAddress();
const asLink = (from: Region, message: Nlmsg): number => readLink(from, message, link);
const asAddress = (from: Region, message: Nlmsg): number => readAddress(from, message, address);

const { Up, Loopback, Running, LowerUp } = LinkFlag;

Deno.test.each([
  {
    state: "of lo",
    hex: vectors.LINK_LOOPBACK,
    expected: { index: 1, name: "lo", mtu: 65536, operstate: 0, kind: "" },
    flags: Up | Loopback | Running | LowerUp,
  },
  {
    state: "with carrier",
    hex: vectors.LINK_UP,
    expected: { index: 3, name: "e2", mtu: 1500, operstate: 6, kind: "veth" },
    flags: Up | Running | LowerUp,
  },
  {
    state: "without carrier",
    hex: vectors.LINK_NO_CARRIER,
    expected: { index: 3, name: "e2", mtu: 1500, operstate: 2, kind: "veth" },
    flags: Up,
  },
  {
    state: "of vxlan, down",
    hex: vectors.LINK_VXLAN,
    expected: { index: 4, name: "vx0", mtu: 1500, operstate: 2, kind: "vxlan" },
    flags: 0,
  },
])("readLink() reads a link $state", ({ hex, expected, flags }) => {
  assert.equal(readWhole(hex, asLink).type, RtmType.NewLink);
  const { index, name, mtu, operstate, kind } = link;
  assert.deepEqual({ index, name, mtu, operstate, kind }, expected);
  assert.equal(link.flags & (Up | Loopback | Running | LowerUp), flags);
});

Deno.test("readLink() leaves nothing of the link before", () => {
  readWhole(vectors.LINK_VXLAN, asLink);
  readWhole("20000000100000000000000000000000" + "00000000" + "05000000" + "00".repeat(8), asLink);
  assert.deepEqual({ ...link }, {
    family: 0,
    index: 5,
    name: "",
    flags: 0,
    mtu: 0,
    operstate: 0,
    kind: "",
  });
});

Deno.test.each([
  {
    state: "of IPv4",
    hex: vectors.ADDRESS_INET,
    local: "10.9.1.1",
    peer: "10.9.1.1",
    expected: { index: 2, prefixLength: 24, scope: AddressScope.Universe },
    flags: AddressFlag.Permanent,
  },
  {
    state: "of a point-to-point link",
    hex: vectors.ADDRESS_PEER,
    local: "10.9.9.1",
    peer: "10.9.9.2",
    expected: { index: 2, prefixLength: 32, scope: AddressScope.Universe },
    flags: AddressFlag.Permanent,
  },
  {
    state: "that is deprecated and tentative",
    hex: vectors.ADDRESS_DEPRECATED,
    local: "fd09:9::1",
    peer: "fd09:9::1",
    expected: { index: 2, prefixLength: 64, scope: AddressScope.Universe },
    flags: AddressFlag.Deprecated | AddressFlag.Tentative | AddressFlag.Permanent,
  },
])("readAddress() reads an address $state", ({ hex, local, peer, expected, flags }) => {
  assert.equal(readWhole(hex, asAddress).type, RtmType.NewAddress);
  assert.equal(formatInet(address.family, address.local), local);
  assert.equal(formatInet(address.family, address.peer), peer);
  const { index, prefixLength, scope } = address;
  assert.deepEqual({ index, prefixLength, scope }, expected);
  assert.equal(address.flags, flags);
});

Deno.test("readAddress() reads link-local addresses and those that go", () => {
  readWhole(vectors.ADDRESS_LINK_LOCAL, asAddress);
  assert.equal(address.scope, AddressScope.Link);
  assert.equal(address.family, Family.Inet6);
  assert.equal(readWhole(vectors.ADDRESS_GONE, asAddress).type, RtmType.DelAddress);
  assert.equal(formatInet(address.family, address.local), "10.9.2.1");
  assert.equal(address.index, 3);
});

Deno.test("readAddress() takes all 32 flags from IFA_FLAGS, and eight without it", () => {
  const whole = vectors.ADDRESS_INET;
  const wide = whole.replace("0800080080000000", "0800080080010000");
  assert.notEqual(wide, whole);
  readWhole(wide, asAddress);
  assert.equal(address.flags, 0x180);
  readWhole(whole.replace("0800080080000000", "08007f0080010000"), asAddress);
  assert.equal(address.flags, AddressFlag.Permanent);
});

Deno.test("readAddress() refuses an address that is too short, or missing", () => {
  const head = "000000001400000000000000000000000a40800002000000";
  const short = (attributes: string): string => {
    const bytes = Uint8Array.fromHex(head + attributes);
    bytes[0] = bytes.length;
    return bytes.toHex();
  };
  const read = (hex: string): number => {
    let answer = 0;
    try {
      readWhole(hex, (from, message) => answer = asAddress(from, message));
    } catch { /* it expects 0 */ }
    return answer;
  };
  assert.equal(read(short("080001000a090101")), -Fault.Field);
  assert.equal(read(short("")), -Fault.Field);
  assert.equal(read(short("14000200" + "fe".repeat(16))), 0);
});

Deno.test("requests are what the kernel answered", () => {
  assert.equal(
    written((out, at) => writeLinkRequest(out, at, 1, 0)),
    "20000000120001030100000000000000" + "00".repeat(16),
  );
  assert.equal(
    written((out, at) => writeLinkRequest(out, at, 2, 3)),
    "20000000120001000200000000000000" + "0000000003000000" + "00".repeat(8),
  );
  assert.equal(
    written((out, at) => writeAddressDump(out, at, 1, Family.None)),
    "18000000160001030100000000000000" + "00".repeat(8),
  );
});

Deno.test("every cut and every flipped bit of a link and an address is survived", () => {
  const { LINK_LOOPBACK, LINK_UP, LINK_VXLAN } = vectors;
  for (const hex of [LINK_LOOPBACK, LINK_UP, LINK_VXLAN]) {
    assert.ok(assertHardy(hex, asLink).cut > 16);
  }
  const { ADDRESS_INET, ADDRESS_PEER, ADDRESS_DEPRECATED, ADDRESS_GONE } = vectors;
  for (const hex of [ADDRESS_INET, ADDRESS_PEER, ADDRESS_DEPRECATED, ADDRESS_GONE]) {
    const told = assertHardy(hex, asAddress);
    assert.ok(told.cut > 8);
    assert.ok(told.flipped > 0);
  }
});

Deno.test("links and addresses are read without allocation", () => {
  const out = newRegion(128);
  const reads = [
    [vectors.LINK_UP, asLink],
    [vectors.ADDRESS_PEER, asAddress],
  ] as const;
  for (const [hex, read] of reads) {
    const from = regionOf(Uint8Array.fromHex(hex));
    const message = readWhole(hex, read);
    assertAllocatesNothing(() => read(from, message));
  }
  assertAllocatesNothing((index) =>
    writeLinkRequest(out, 0, index, 3) + writeAddressDump(out, 0, index, Family.Inet)
  );
});
