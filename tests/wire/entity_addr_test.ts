/**
 * src/wire/msgr2/entity_addr.ts: texts, order, the encodings that captures of IPv4 clusters do
 * not show, and what a hostile peer may send. Names of entities, of hello.ts, too.
 *
 * @module
 */
import assert from "node:assert/strict";
import { describeFault, Fault, lastFault } from "../../src/mem/fault.ts";
import { ADDRS_MAX } from "../../src/mem/limits.ts";
import { newRegion, regionOf } from "../../src/mem/region.ts";
import {
  EntityAddr,
  entityAddrBytes,
  parseAddress,
  readEntityAddr,
  writeEntityAddr,
} from "../../src/wire/msgr2/entity_addr.ts";
import {
  EntityAddrVec,
  entityAddrVecBytes,
  parseAddrVec,
  readEntityAddrVec,
  writeEntityAddrVec,
} from "../../src/wire/msgr2/entity_addrvec.ts";
import { EntityType, entityTypeName, parseEntityName } from "../../src/wire/msgr2/hello.ts";

/** Made by hand from the layouts in the header of entity_addr.ts; IPv4 ones are in captures too. */
const VECTORS = [
  {
    text: "v2:127.0.0.1:3300/0",
    hex: "010101 1c000000 02000000 00000000 10000000 0200 0ce4 7f000001 0000000000000000",
  },
  {
    text: "any:10.1.2.3:0/2391702556",
    hex: "010101 1c000000 03000000 1c7c8e8e 10000000 0200 0000 0a010203 0000000000000000",
  },
  {
    text: "v1:[2001:db8::1]:6789/5",
    hex: "010101 28000000 01000000 05000000 1c000000 0a00 1a85 00000000" +
      "20010db8000000000000000000000001 00000000",
  },
  {
    text: "v2:[fe80::1%2]:3300/0",
    hex: "010101 28000000 02000000 00000000 1c000000 0a00 0ce4 00000000" +
      "fe800000000000000000000000000001 02000000",
  },
  { text: "-", hex: "010101 0c000000 00000000 00000000 00000000" },
];

Deno.test.each(VECTORS)("readEntityAddr() and writeEntityAddr() agree on $text", (vector) => {
  const bytes = fromHex(vector.hex);
  const addr = new EntityAddr();
  assert.equal(readEntityAddr(regionOf(bytes), 0, bytes.length, addr), bytes.length);
  assert.equal(addr.toString(), vector.text);
  if (vector.text !== "-") assert.ok(EntityAddr.parse(vector.text).equals(addr));
  const out = newRegion(64);
  out.bytes.fill(0xa5);
  assert.equal(entityAddrBytes(addr), bytes.length);
  assert.equal(writeEntityAddr(out, 3, addr), 3 + bytes.length);
  assert.equal(out.bytes.toHex(), "a5a5a5" + bytes.toHex() + "a5".repeat(61 - bytes.length));
});

/** Bytes that are read as something else than what would be written. */
const LENIENT = [
  {
    name: "a newer version with more fields",
    hex: "010201 1e000000 02000000 00000000 10000000 0200 0ce4 7f000001 0000000000000000 beef",
    text: "v2:127.0.0.1:3300/0",
  },
  {
    name: "sin_zero that is not zero",
    hex: "010101 1c000000 02000000 00000000 10000000 0200 0ce4 7f000001 1122334455667788",
    text: "v2:127.0.0.1:3300/0",
  },
  {
    name: "a blank address with a sockaddr",
    hex: "010101 1c000000 00000000 00000000 10000000 0000 0000 00000000 0000000000000000",
    text: "-",
  },
  {
    name: "a legacy ceph_entity_addr with IPv4",
    hex: "00000000 07000000 0002 1a85 0a000001" + "00".repeat(120),
    text: "v1:10.0.0.1:6789/7",
  },
  {
    name: "a legacy ceph_entity_addr with IPv6",
    hex: "00000000 07000000 000a 1a85 00000000" + "00".repeat(15) + "01" + "00".repeat(104),
    text: "v1:[::1]:6789/7",
  },
  { name: "a blank legacy ceph_entity_addr", hex: "00".repeat(136), text: "-" },
];

Deno.test.each(LENIENT)("readEntityAddr() accepts $name, alone and as a list", (vector) => {
  const bytes = fromHex(vector.hex);
  const addr = new EntityAddr();
  assert.equal(readEntityAddr(regionOf(bytes), 0, bytes.length, addr), bytes.length);
  assert.equal(addr.toString(), vector.text);
  const vec = new EntityAddrVec();
  assert.equal(readEntityAddrVec(regionOf(bytes), 0, bytes.length, vec), bytes.length);
  assert.equal(vec.count, 1);
  assert.ok(vec.contains(addr));
});

const REFUSED = [
  { hex: "02", says: "entity_addr marker at offset 0 as it must be 0 or 1: current value is 2" },
  {
    hex: "010202 1c000000",
    says: "entity_addr compat at offset 2 as it must be 0 or 1: current value is 2",
  },
  {
    hex: "010101 ffffffff",
    says: "entity_addr length at offset 3 as it must be within the segment: " +
      "current value is 4294967295",
  },
  {
    hex: "010101 08000000 02000000 00000000",
    says: "entity_addr length at offset 3 as it must be 12 or more: current value is 8",
  },
  {
    hex: "010101 0c000000 02000000 00000000 10000000 02000ce4 7f000001 0000000000000000",
    says: "entity_addr sockaddr_len at offset 15 as it must be within its struct: " +
      "current value is 16",
  },
  {
    hex: "010101 14000000 02000000 00000000 08000000 02000ce4 7f000001",
    says: "entity_addr sockaddr_len at offset 19 as it must be 16 or more: current value is 8",
  },
  {
    hex: "010101 1c000000 02000000 00000000 10000000 0a000ce4 00000000 0000000000000000",
    says: "entity_addr sockaddr_len at offset 19 as it must be 28 or more: current value is 16",
  },
  {
    hex: "010101 0e000000 02000000 00000000 02000000 0100",
    says: "entity_addr family at offset 19 as it must be 0, 2 or 10: current value is 1",
  },
  {
    hex: "010101 0d000000 02000000 00000000 01000000 02",
    says: "entity_addr family at offset 19 as it must be 0, 2 or 10: current value is -1",
  },
  {
    hex: "00000000",
    says: "entity_addr legacy length at offset 0 as it must be 136 or more: current value is 4",
  },
];

Deno.test.each(REFUSED)("readEntityAddr() says: Cannot accept $says", ({ hex, says }) => {
  const bytes = fromHex(hex);
  const code = readEntityAddr(regionOf(bytes), 0, bytes.length, new EntityAddr());
  assert.equal(code, -Fault.Field);
  assert.equal(describeFault(), `Cannot accept ${says} (field out of range)`);
});

Deno.test("readEntityAddrVec() reads as many addresses as there is room for and no more", () => {
  const vec = EntityAddrVec.of(
    ...Array.from({ length: ADDRS_MAX }, (_, index) => EntityAddr.parse(`v2:[::${index}]:1`)),
  );
  const out = newRegion(512);
  const end = writeEntityAddrVec(out, 0, vec);
  assert.equal(end, entityAddrVecBytes(vec));
  const again = new EntityAddrVec();
  assert.equal(readEntityAddrVec(out, 0, end, again), end);
  assert.ok(again.equals(vec));
  out.view.setUint32(1, ADDRS_MAX + 1, true);
  assert.equal(readEntityAddrVec(out, 0, 512, again), -Fault.Large);
  assert.equal(lastFault.value, ADDRS_MAX + 1);
  assert.equal(again.count, 0);
  out.view.setUint8(0, 3);
  assert.equal(readEntityAddrVec(out, 0, 512, again), -Fault.Field);
  assert.equal(vec.add(vec.addrs[0]!), false);
});

Deno.test("parseAddress() splits an address and leaves names alone", () => {
  const cases = [
    ["10.0.0.1:3300", { type: 2, host: "10.0.0.1", port: 3300, nonce: 0 }],
    ["v1:hub.example:6789/12", { type: 1, host: "hub.example", port: 6789, nonce: 12 }],
    ["any:[::1]:0/4294967295", { type: 3, host: "::1", port: 0, nonce: 4294967295 }],
    ["[fe80::1%3]:3300", { type: 2, host: "fe80::1%3", port: 3300, nonce: 0 }],
  ] as const;
  for (const [text, expected] of cases) assert.deepEqual(parseAddress(text), expected);
});

const FORM = "it must be [v2:|v1:|any:]HOST:PORT[/NONCE], IPv6 in brackets";
const NUMERIC = "its host must be an IPv4 address or an IPv6 address in brackets";
const BAD_TEXTS = [
  { text: "", says: `${FORM}: current value is ` },
  { text: "10.0.0.1", says: `${FORM}: current value is 10.0.0.1` },
  { text: "v3:10.0.0.1:1", says: `${FORM}: current value is v3:10.0.0.1:1` },
  { text: "::1:3300", says: `${FORM}: current value is ::1:3300` },
  { text: "10.0.0.1:3300/", says: `${FORM}: current value is 10.0.0.1:3300/` },
  { text: "10.0.0.1:65536", says: "its port must be 0 to 65535: current value is 65536" },
  {
    text: "10.0.0.1:1/4294967296",
    says: "its nonce must be 0 to 4294967295: current value is 4294967296",
  },
  { text: "hub:3300", says: `${NUMERIC}: current value is hub` },
  { text: "10.0.0.256:3300", says: `${NUMERIC}: current value is 10.0.0.256` },
  { text: "10.0.0.1%1:3300", says: `${NUMERIC}: current value is 10.0.0.1%1` },
  { text: "[fe80::1%eth0]:3300", says: `${NUMERIC}: current value is fe80::1%eth0` },
  {
    text: "[hub]:3300",
    says: "what is in brackets must be an IPv6 address: current value is hub",
  },
];

Deno.test.each(BAD_TEXTS)("EntityAddr.parse() of '$text' says what is wrong", ({ text, says }) => {
  assert.throws(() => EntityAddr.parse(text), { message: `Cannot use address as ${says}` });
});

Deno.test("parseAddrVec() reads lists with and without brackets", () => {
  const vec = parseAddrVec("[v2:[::1]:3300/0,v1:[::1]:6789/0]");
  assert.equal(vec.toString(), "[v2:[::1]:3300/0,v1:[::1]:6789/0]");
  assert.ok(vec.equals(parseAddrVec("v2:[::1]:3300,v1:[::1]:6789")));
  assert.equal(vec.v2()?.toString(), "v2:[::1]:3300/0");
  assert.equal(parseAddrVec("[::1]:3300").toString(), "v2:[::1]:3300/0");
  assert.equal(parseAddrVec("v1:10.0.0.1:6789").v2(), null);
  assert.equal(parseAddrVec("any:10.0.0.1:0/9").v2()?.nonce, 9);
  assert.equal(new EntityAddrVec().toString(), "-");
  assert.throws(() => parseAddrVec("[]"), {
    message: `Cannot use address as ${FORM}: current value is `,
  });
  const nine = new Array(ADDRS_MAX + 1).fill("10.0.0.1:1").join();
  assert.throws(() => parseAddrVec(nine), {
    message: `Cannot use address as the count must be ${ADDRS_MAX} at most: current value is 9`,
  });
});

Deno.test("EntityAddr.compare() orders by type, nonce and the sockaddr's bytes", () => {
  const ordered = [
    ...["v1:10.0.0.9:9/9", "v2:10.0.0.9:9/1", "v2:9.0.0.9:3300/2", "v2:10.0.0.1:3300/2"],
    ...["v2:10.0.0.2:3300/2", "v2:10.0.0.1:3301/2", "v2:[::1]:1/2", "v2:[fe80::1%256]:1/2"],
    ...["v2:[fe80::1%1]:1/2", "any:1.1.1.1:1/0"],
  ].map(EntityAddr.parse);
  for (const [index, addr] of ordered.entries()) {
    for (const [other, against] of ordered.entries()) {
      assert.equal(
        Math.sign(addr.compare(against)),
        Math.sign(index - other),
        `${addr} ${against}`,
      );
      assert.equal(addr.equals(against), index === other);
    }
  }
});

Deno.test("EntityAddr copies, clears, and knows hosts and wildcards", () => {
  const addr = EntityAddr.parse("v2:[fe80::1%2]:3300/7");
  const copy = new EntityAddr();
  copy.copy(addr);
  assert.ok(copy.equals(addr));
  assert.ok(addr.sameHost(EntityAddr.parse("v1:[fe80::1]:1/9")));
  assert.ok(!addr.sameHost(EntityAddr.parse("v1:[fe80::2]:1/9")));
  copy.clear();
  assert.ok(copy.isBlank() && copy.equals(new EntityAddr()));
  assert.ok(EntityAddr.parse("0.0.0.0:1").isWildcard());
  assert.ok(EntityAddr.parse("[::]:1").isWildcard());
  assert.ok(!addr.isWildcard() && !copy.isWildcard());
  const vec = EntityAddrVec.of(addr);
  const same = new EntityAddrVec();
  same.copy(vec);
  assert.ok(same.equals(vec) && same.contains(addr) && !same.contains(copy));
  assert.ok(!same.equals(EntityAddrVec.of(addr, copy)) && !same.equals(EntityAddrVec.of(copy)));
});

Deno.test("parseEntityName() splits names and says which types there are", () => {
  assert.deepEqual(parseEntityName("client.gw1"), { type: EntityType.Client, id: "gw1" });
  assert.deepEqual(parseEntityName("mon."), { type: EntityType.Mon, id: "" });
  assert.deepEqual(parseEntityName("osd.a.b"), { type: EntityType.Osd, id: "a.b" });
  for (const text of ["", "client", "gateway.1", ".x"]) {
    assert.throws(() => parseEntityName(text), {
      message: "Cannot parse entity name as it must be TYPE.ID with TYPE one of " +
        `mon, mds, osd, client, mgr, auth: current value is ${text}`,
    });
  }
  assert.equal(entityTypeName(4), "osd");
  assert.equal(entityTypeName(7), "type7");
});

function fromHex(hex: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromHex(hex.replaceAll(" ", ""));
}
