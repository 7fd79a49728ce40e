/** MP_JOIN in packets: captured, made with every kind of header in front, cut, flipped, hostile. */
import assert from "node:assert/strict";
import { Fault, lastFault } from "../../src/mem/fault.ts";
import { regionOf } from "../../src/mem/region.ts";
import { Family, formatInet } from "../../src/wire/inet.ts";
import { JoinAttempt, readJoin } from "../../src/wire/mptcp/join_option.ts";
import { assertAllocatesNothing } from "./kernel_message.ts";

/** Captured on Linux 6.18: a SYN of 10.9.2.1 that joins as a backup, address id 9. */
const INET = "450000488b784000400698230a0902010a090102e1cd1b59b6c2cbe600000000d002faf0174f0000" +
  "020405b40402080a84e19387000000000103030a" + "1e0c11093fbd720d0f0bae4d";

/** Captured on Linux 6.18: the same of fd09:2::1. */
const INET6_HEADER =
  "6004d50500340640fd090002000000000000000000000001fd090001000000000000000000000002";
const TCP = "eda11b5977e84e2400000000d002fd20fa530000";
const OPTIONS = "020405a00402080a73766cf5000000000103030a";
const JOIN = "1e0c1109518d904cf0601974";

const join = new JoinAttempt();

function read(hex: string): number {
  const from = regionOf(Uint8Array.fromHex("a5a5a5a5" + hex));
  return readJoin(from, 4, from.bytes.length, join);
}

/** An IPv6 packet whose first next header is `next`, with `headers` before a TCP header. */
function inet6(next: string, headers: string, tcp = TCP + OPTIONS + JOIN): string {
  return INET6_HEADER.slice(0, 12) + next + INET6_HEADER.slice(14) + headers + tcp;
}

/** A TCP header with its length, and options padded to words. */
function tcp(options: string): string {
  const padded = options.padEnd(Math.ceil(options.length / 8) * 8, "0");
  const words = 5 + padded.length / 8;
  return TCP.slice(0, 24) + words.toString(16) + TCP.slice(25) + padded;
}

Deno.test("readJoin() reads an MP_JOIN by IPv4", () => {
  assert.equal(read(INET), 0);
  assert.equal(join.family, Family.Inet);
  assert.equal(formatInet(join.family, join.source), "10.9.2.1");
  assert.equal(formatInet(join.family, join.destination), "10.9.1.2");
  assert.equal(join.sourcePort, 57805);
  assert.equal(join.destinationPort, 7001);
  assert.equal(join.backup, true);
  assert.equal(join.addressId, 9);
  assert.equal(join.token, 0x3fbd720d);
  assert.equal(join.nonce, 0x0f0bae4d);
});

Deno.test("readJoin() reads an MP_JOIN by IPv6", () => {
  assert.equal(read(INET6_HEADER + TCP + OPTIONS + JOIN), 0);
  assert.equal(formatInet(join.family, join.source), "fd09:2::1");
  assert.equal(formatInet(join.family, join.destination), "fd09:1::2");
  assert.equal(join.token, 0x518d904c);
  assert.equal(join.backup, true);
  assert.equal(read(INET6_HEADER + TCP + OPTIONS + JOIN.replace("1e0c11", "1e0c10")), 0);
  assert.equal(join.backup, false);
});

Deno.test("readJoin() reads the option of the reference's capture", () => {
  assert.equal(read(INET6_HEADER + tcp("1e0c1003427b1e4dce53f90a")), 0);
  assert.equal(join.token, 0x427b1e4d);
  assert.equal(join.addressId, 3);
  assert.equal(join.nonce, 0xce53f90a);
  assert.equal(join.backup, false);
});

Deno.test("readJoin() goes over IPv4 options", () => {
  const from = INET.replace(/^45/, "47");
  assert.equal(read(from.slice(0, 40) + "94040000" + "01010100" + from.slice(40)), 0);
  assert.equal(join.token, 0x3fbd720d);
});

Deno.test.each([
  { header: "hop-by-hop", next: "00", headers: "0600" + "00".repeat(6) },
  { header: "routing of 16 bytes", next: "2b", headers: "0601" + "00".repeat(14) },
  { header: "destination options", next: "3c", headers: "0600" + "00".repeat(6) },
  { header: "a first fragment", next: "2c", headers: "0600000100000007" },
  { header: "authentication of 24 bytes", next: "33", headers: "0604" + "00".repeat(22) },
  {
    header: "three in a row",
    next: "00",
    headers: "2b00" + "00".repeat(6) + "3c00" + "00".repeat(6) + "0601" + "00".repeat(14),
  },
])("readJoin() goes over an IPv6 extension header: $header", ({ next, headers }) => {
  assert.equal(read(inet6(next, headers)), 0);
  assert.equal(join.token, 0x518d904c);
});

Deno.test.each([
  { why: "another IP version", hex: INET.replace(/^45/, "55"), field: "IP version" },
  { why: "a short IHL", hex: INET.replace(/^45/, "44"), field: "IPv4 IHL" },
  {
    why: "a later fragment",
    hex: INET.replace("8b784000", "8b780001"),
    field: "IPv4 Fragment Offset",
  },
  { why: "UDP", hex: INET.replace("40004006", "40004011"), field: "IPv4 Protocol" },
  {
    why: "a later fragment of IPv6",
    hex: inet6("2c", "0600000900000007"),
    field: "IPv6 Fragment Offset",
  },
  { why: "ESP", hex: inet6("32", "06".repeat(8)), field: "IPv6 Next Header" },
  {
    why: "an extension header beyond the packet",
    hex: inet6("00", "06ff" + "00".repeat(6)),
    field: "IPv6 Hdr Ext Len",
  },
  { why: "SYN with ACK", hex: INET.replace("d002faf0", "d012faf0"), field: "TCP flags" },
  { why: "no SYN", hex: INET.replace("d002faf0", "d010faf0"), field: "TCP flags" },
  {
    why: "a short data offset",
    hex: INET.replace("d002faf0", "4002faf0"),
    field: "TCP Data Offset",
  },
  {
    why: "a long data offset",
    hex: INET.replace("d002faf0", "e002faf0"),
    field: "TCP Data Offset",
  },
  { why: "no options", hex: INET6_HEADER + tcp(""), field: "MP_JOIN" },
  { why: "an end before it", hex: INET6_HEADER + tcp("00" + JOIN), field: "MP_JOIN" },
  {
    why: "an option of length 0",
    hex: INET6_HEADER + tcp("0200" + JOIN),
    field: "TCP option length",
  },
  {
    why: "an option of length 1",
    hex: INET6_HEADER + tcp("0201" + JOIN),
    field: "TCP option length",
  },
  { why: "a kind without length", hex: INET6_HEADER + tcp("01010102"), field: "TCP option length" },
  {
    why: "an option beyond the header",
    hex: INET6_HEADER + tcp("1e0d1109518d904cf0601974"),
    field: "TCP option length",
  },
  { why: "MP_CAPABLE", hex: INET6_HEADER + tcp("1e040181"), field: "MPTCP option" },
  {
    why: "an MP_JOIN of another length",
    hex: INET6_HEADER + tcp("1e0811090102030401010101"),
    field: "MPTCP option",
  },
  {
    why: "an empty option in front",
    hex: INET6_HEADER + tcp("1e02" + JOIN),
    field: "MPTCP option",
  },
  {
    why: "an MP_CAPABLE in front",
    hex: INET6_HEADER + tcp("1e040181" + JOIN),
    field: "MPTCP option",
  },
  { why: "two of them", hex: INET6_HEADER + tcp(JOIN + JOIN), field: "MPTCP options" },
])("readJoin() refuses $why", ({ hex, field }) => {
  assert.equal(read(hex), -Fault.Field);
  assert.equal(lastFault.field, field);
});

Deno.test("readJoin() refuses more extension headers than there can be", () => {
  const headers = ("0000" + "00".repeat(6)).repeat(9) + "0600" + "00".repeat(6);
  assert.equal(read(inet6("00", headers)), -Fault.Large);
});

Deno.test("every cut is refused, and every flipped bit is survived", () => {
  const packets = [
    INET,
    INET6_HEADER + TCP + OPTIONS + JOIN,
    inet6("33", "3c04" + "00".repeat(22) + "0600" + "00".repeat(6)),
  ];
  for (const hex of packets) {
    const whole = Uint8Array.fromHex(hex);
    for (let length = 0; length < whole.length; length++) {
      assert.ok(readJoin(regionOf(whole.slice(0, length)), 0, length, join) < 0);
    }
    let refused = 0;
    for (let bit = 0; bit < 8 * whole.length; bit++) {
      const bytes = whole.slice();
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      if (readJoin(regionOf(bytes), 0, bytes.length, join) < 0) refused++;
    }
    assert.ok(refused > 50);
  }
});

Deno.test("what follows the TCP header does not matter", () => {
  assert.equal(read(INET + "ff".repeat(20)), 0);
  assert.equal(join.token, 0x3fbd720d);
});

Deno.test("readJoin() allocates nothing", () => {
  const from = regionOf(Uint8Array.fromHex(INET));
  const { length } = from.bytes;
  assertAllocatesNothing(() => readJoin(from, 0, length, join));
});
