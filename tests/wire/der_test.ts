/** DER: what is written is read, and what X.690 does not allow is refused with its reason. */
import assert from "node:assert/strict";
import { describeFault } from "../../src/mem/fault.ts";
import { checkDer } from "../../src/wire/asn1/der_check.ts";
import { DerReader } from "../../src/wire/asn1/der_reader.ts";
import {
  bitString,
  booleanTrue,
  element,
  integer,
  integerOf,
  objectIdentifier,
  octetString,
  sequence,
  setOf,
  time,
  utf8String,
} from "../../src/wire/asn1/der_writer.ts";
import { compareOctets, sameOctets } from "../../src/wire/asn1/octets.ts";
import { Oid, oidBytes, oidText } from "../../src/wire/asn1/oid.ts";
import { explicitTag, implicitTag, Tag } from "../../src/wire/asn1/tag.ts";
import { formatTime, parseTime } from "../../src/wire/asn1/time.ts";

/** From X.690 (the sections named) and RFC 5480. */
const WRITTEN = [
  { what: "TRUE, 11.1", der: booleanTrue(), hex: "0101ff" },
  { what: "zero, 8.3", der: integer(0), hex: "020100" },
  { what: "P-256, RFC 5480", der: objectIdentifier(Oid.P256), hex: "06082a8648ce3d030107" },
  { what: "2.999.3, 8.19.5", der: objectIdentifier("2.999.3"), hex: "0603883703" },
  {
    what: "bits 0A3B5F291CD, 8.6.4.2",
    der: bitString(Uint8Array.fromHex("0a3b5f291cd0"), 4),
    hex: "0307040a3b5f291cd0",
  },
  { what: "Jones, 8.21.5.4", der: utf8String("Jones"), hex: "0c054a6f6e6573" },
  { what: "a SET OF in order, 11.6", der: setOf(integer(9), integer(1)), hex: "3106020101020109" },
  {
    what: "128 octets, 10.1",
    der: element(Tag.OctetString, new Uint8Array(128)),
    hex: `048180${"00".repeat(128)}`,
  },
  { what: "256 octets", der: octetString(new Uint8Array(256)), hex: `04820100${"00".repeat(256)}` },
  {
    what: "a UTCTime",
    der: time(Date.UTC(2049, 11, 31, 23, 59, 59)),
    hex: "170d3439313233313233353935395a",
  },
  {
    what: "a GeneralizedTime",
    der: time(Date.UTC(2050, 0, 1)),
    hex: "180f32303530303130313030303030305a",
  },
];

Deno.test.each(WRITTEN)("DER of $what", ({ der, hex }) => {
  assert.equal(der.toHex(), hex);
  assert.equal(checkDer(der), 0, describeFault());
});

Deno.test("a structure is read as it was written, and its end is checked", () => {
  const der = sequence(
    integer(127),
    integerOf(Uint8Array.of(0, 0xff)),
    booleanTrue(),
    objectIdentifier(Oid.Sha256),
    element(explicitTag(3), element(Tag.Null)),
    element(implicitTag(2), Uint8Array.of(65)),
    bitString(Uint8Array.of(0x06), 1),
    time(0),
  );
  const reader = new DerReader(der);
  const inner = reader.enter(Tag.Sequence, "outer");
  assert.equal(inner.integer("small"), 127);
  assert.equal(inner.integer("255"), 255);
  assert.equal(inner.boolean("flag"), true);
  assert.equal(inner.oid("algorithm"), Oid.Sha256);
  const tagged = inner.enter(explicitTag(3), "tagged");
  tagged.null("parameters");
  tagged.end("tagged");
  assert.deepEqual([...inner.content(implicitTag(2), "name")], [65]);
  assert.equal(inner.namedBits("usage"), 0x0600);
  assert.equal(inner.time("since"), 0);
  inner.end("outer");
  reader.end("all");
  assert.equal(reader.fault, 0, describeFault());
  inner.skip("one more");
  assert.match(describeFault(), /^Cannot accept one more .*must be there/);
});

/** A wrong element, and what the reason says. */
const REFUSED = [
  { hex: "", why: /DER element .* 2 or more bytes/ },
  { hex: "30", why: /DER element/ },
  { hex: "3080020101 0000", why: /definite \(X\.690 section 10\.1\)/ },
  { hex: "2480040101 0000", why: /definite/ },
  { hex: "048101ff", why: /shortest form/ },
  { hex: "04820001ff", why: /shortest form/ },
  { hex: "0484000000 01ff", why: /octets of a length/ },
  { hex: "0482ffff00", why: /up to 1, what is left/ },
  { hex: "048201", why: /DER length .* 2 octets/ },
  { hex: "3003040200", why: /DER length/ },
  { hex: "020101 00", why: /bytes behind the element/ },
  { hex: "1f8101 00", why: /low tag number/ },
  { hex: "0000", why: /DER tag .* 1 or more/ },
  { hex: "1000", why: /constructed/ },
  { hex: "220302 0101", why: /primitive/ },
  { hex: "3002 0000", why: /1 or more/ },
];

Deno.test.each(REFUSED)("checkDer() refuses $hex", ({ hex, why }) => {
  const result = checkDer(Uint8Array.fromHex(hex.replaceAll(" ", "")));
  assert.ok(result < 0);
  assert.match(describeFault(), why);
});

Deno.test("elements nested 10,000 deep are refused without a stack of calls", () => {
  assert.equal(checkDer(nest(24)), 0, describeFault());
  for (const depth of [25, 10_000]) {
    assert.ok(checkDer(nest(depth)) < 0);
    assert.match(describeFault(), /DER depth .* up to 24: current value is 25/);
  }
});

/** SEQUENCEs within each other, made from the inside. */
function nest(depth: number): Uint8Array<ArrayBuffer> {
  const backwards: number[] = [];
  for (let i = 0; i < depth; i++) {
    const size = backwards.length;
    const octets = size < 128 ? [size] : size < 256 ? [size, 0x81] : [size & 255, size >> 8, 0x82];
    backwards.push(...octets, 0x30);
  }
  return Uint8Array.from(backwards.reverse());
}

/** A value that its type does not allow, and how it is read. */
const WRONG: readonly { hex: string; read: (reader: DerReader) => unknown; why: RegExp }[] = [
  { hex: "0200", read: (reader) => reader.integer("n"), why: /n octets .* 1 or more/ },
  { hex: "02020001", read: (reader) => reader.integer("n"), why: /n .*shortest form/ },
  { hex: "0202ffff", read: (reader) => reader.integerOctets("n"), why: /n .*shortest form/ },
  { hex: "0201ff", read: (reader) => reader.integer("n"), why: /n .*not negative/ },
  { hex: "02050100000000", read: (reader) => reader.integer("n"), why: /n octets .* up to 4/ },
  { hex: "010101", read: (reader) => reader.boolean("b"), why: /b .* 0 or 255/ },
  { hex: "010200ff", read: (reader) => reader.boolean("b"), why: /b .* one octet/ },
  { hex: "0600", read: (reader) => reader.oid("o"), why: /o octets/ },
  { hex: "06022a80", read: (reader) => reader.oid("o"), why: /o octets/ },
  { hex: "06032a8001", read: (reader) => reader.oid("o"), why: /o octets/ },
  { hex: "06062affffffff7f", read: (reader) => reader.oid("o"), why: /o octets/ },
  { hex: "050100", read: (reader) => reader.null("x"), why: /x length .* 0/ },
  { hex: "03020180", read: (reader) => reader.bitOctets("s"), why: /s unused bits/ },
  { hex: "0300", read: (reader) => reader.namedBits("u"), why: /u unused bits/ },
  { hex: "03020680", read: (reader) => reader.namedBits("u"), why: /u .*shortest/ },
  { hex: "03020000", read: (reader) => reader.namedBits("u"), why: /u .*shortest/ },
  { hex: "170b323630313031303030305a", read: (reader) => reader.time("t"), why: /t octets/ },
  { hex: "170d3236303233303030303030305a", read: (reader) => reader.time("t"), why: /t octets/ },
  {
    hex: "0c0141",
    read: (reader) => reader.enter(Tag.Set, "s"),
    why: /s tag .* 49: current value is 12/,
  },
];

Deno.test.each(WRONG)("a value $hex is refused by its field", ({ hex, read, why }) => {
  const reader = new DerReader(Uint8Array.fromHex(hex));
  read(reader);
  assert.ok(reader.fault < 0);
  assert.match(describeFault(), why);
});

Deno.test("times are those of the calendar, from 1950 to 9999", () => {
  for (const year of [1950, 1969, 1970, 1999, 2000, 2024, 2026, 2049, 2050, 2100, 2400, 9999]) {
    for (const [month, day] of [[0, 1], [1, 28], [1, 29], [2, 1], [11, 31]] as const) {
      const ms = Date.UTC(year, month, day, 23, 59, 58);
      const digits = new Date(ms).toISOString().replaceAll(/\D/g, "").slice(0, 14);
      const { isUtcTime, text } = formatTime(ms);
      assert.equal(text, `${isUtcTime ? digits.slice(2) : digits}Z`);
      assert.equal(isUtcTime, year < 2050);
      assert.equal(parseTime(text, isUtcTime), ms);
    }
  }
  for (
    const wrong of ["20270229000000Z", "20261301000000Z", "20260101240000Z", "20260100000000Z"]
  ) {
    assert.ok(Number.isNaN(parseTime(wrong, false)), wrong);
  }
  assert.ok(Number.isNaN(parseTime("2601010000Z", true)), "seconds must be there");
  assert.ok(Number.isNaN(parseTime("260101000000+0000", true)), "UTC only");
});

Deno.test("identifiers go there and back, and a changed octet is another one", () => {
  for (const oid of [...Object.values(Oid), "0.0", "1.39", "2.40", "2.999.2147483647"]) {
    assert.equal(oidText(oidBytes(oid)), oid);
  }
  assert.equal(oidText(new Uint8Array(40).fill(1)), null, "more arcs than any has");
});

Deno.test("octets are ordered as X.690 section 11.6 says, and the same only with their length", () => {
  assert.ok(compareOctets(Uint8Array.of(1, 2), Uint8Array.of(1, 3)) < 0);
  assert.ok(compareOctets(Uint8Array.of(2), Uint8Array.of(1, 9)) > 0);
  assert.equal(compareOctets(Uint8Array.of(1), Uint8Array.of(1, 0)), 0);
  assert.equal(sameOctets(Uint8Array.of(1), Uint8Array.of(1, 0)), false);
  assert.equal(sameOctets(Uint8Array.of(1, 0), Uint8Array.of(1, 0)), true);
});
