/** Netlink: headers, attributes, what the kernel refuses and why, and the number of a family. */
import assert from "node:assert/strict";
import { describeFault, Fault, lastFault } from "../../src/mem/fault.ts";
import { newRegion, type Region, regionOf } from "../../src/mem/region.ts";
import {
  Attribute,
  ATTRIBUTE_HEADER_SIZE,
  attributeBytes,
  attributeText,
  attributeU16,
  attributeU16Be,
  attributeU32,
  attributeU32Be,
  attributeU8,
  beginNest,
  endNest,
  readAttribute,
  writeBytes,
  writeText,
  writeU16,
  writeU16Be,
  writeU32,
  writeU32Be,
  writeU8,
} from "../../src/wire/netlink/attribute.ts";
import { errorText, NetlinkError, readError } from "../../src/wire/netlink/error.ts";
import {
  beginGeneric,
  GENERIC_HEADER_SIZE,
  GenericFamily,
  readCommand,
  readFamily,
  writeGetFamily,
} from "../../src/wire/netlink/generic.ts";
import {
  align4,
  beginNlmsg,
  endNlmsg,
  Nlmsg,
  NLMSG_HEADER_SIZE,
  NlmsgFlag,
  NlmsgType,
  readNlmsg,
} from "../../src/wire/netlink/nlmsg.ts";
import { ERRORS, EVENTS, GET_FAMILY, NEW_FAMILY, REPLIES, REQUESTS } from "./netlink_vectors.ts";

/** Bits of an attribute's type that are no part of the number: nested, network order. */
const TYPE_FLAGS = 0xc000;

const ALL: readonly string[] = [
  GET_FAMILY,
  NEW_FAMILY,
  ...[EVENTS, REQUESTS, REPLIES, ERRORS].flat().map(({ hex }) => hex),
];

Deno.test("a message has its length, and the next one begins at a multiple of four", () => {
  const out = filled(64);
  const at = 8;
  const payload = beginNlmsg(out, at, 0x1234, NlmsgFlag.Request | NlmsgFlag.Ack, 0xfedcba98);
  assert.equal(payload, at + NLMSG_HEADER_SIZE);
  out.bytes.set([1, 2, 3, 4, 5], payload);
  assert.equal(endNlmsg(out, at, payload + 5), align4(payload + 5));
  assert.equal(
    out.bytes.subarray(at, 32).toHex(),
    "15000000" + "3412" + "0500" + "98badcfe" + "00000000" + "0102030405000000",
  );
  assert.equal(out.bytes[32], 0xa5);
});

Deno.test("messages of one datagram are read one after the other", () => {
  const out = filled(64);
  const second = endNlmsg(out, 0, beginNlmsg(out, 0, NlmsgType.Noop, 0, 1) + 3);
  const end = endNlmsg(out, second, beginNlmsg(out, second, NlmsgType.Done, NlmsgFlag.Multi, 2));
  const message = new Nlmsg();
  assert.equal(readNlmsg(out, 0, end, message), second);
  assert.deepEqual({ ...message }, { type: 1, flags: 0, sequence: 1, port: 0, at: 16, end: 19 });
  assert.equal(readNlmsg(out, second, end, message), end);
  assert.deepEqual({ ...message }, { type: 3, flags: 2, sequence: 2, port: 0, at: 36, end: 36 });
});

Deno.test("the last message of a datagram may lack its padding", () => {
  const out = filled(32);
  endNlmsg(out, 0, beginNlmsg(out, 0, NlmsgType.Noop, 0, 1) + 3);
  assert.equal(readNlmsg(out, 0, 19, new Nlmsg()), 19);
});

Deno.test("a message of a wrong length is refused", () => {
  const out = filled(64);
  for (const length of [0, 15, 33, 0x7fffffff, 0xffffffff]) {
    out.view.setUint32(0, length, true);
    assert.equal(readNlmsg(out, 0, 32, new Nlmsg()), -Fault.Field, `${length}`);
    assert.equal(lastFault.value, length);
  }
  for (let end = 0; end < NLMSG_HEADER_SIZE; end++) {
    assert.equal(readNlmsg(out, 0, end, new Nlmsg()), -Fault.Field, `${end}`);
  }
  assert.match(describeFault(), /^Cannot accept nlmsghdr length of the datagram's rest .* 15 /);
});

Deno.test("each writer of an attribute is read back, padding is zero, nothing behind is touched", () => {
  const attribute = new Attribute();
  const address = Uint8Array.from({ length: 16 }, (_, index) => 0xf0 + index);
  const rows: [string, (out: Region) => number, string, (from: Region) => unknown, unknown][] = [
    [
      "u8",
      (out) => writeU8(out, 0, 1, 255),
      "05000100ff000000",
      (from) => attributeU8(from, attribute),
      255,
    ],
    [
      "u16",
      (out) => writeU16(out, 0, 2, 0x1234),
      "0600020034120000",
      (from) => attributeU16(from, attribute),
      0x1234,
    ],
    [
      "u16 BE",
      (out) => writeU16Be(out, 0, 3, 0x1234),
      "0600030012340000",
      (from) => attributeU16Be(from, attribute),
      0x1234,
    ],
    [
      "u32",
      (out) => writeU32(out, 0, 4, 0xfedcba98),
      "0800040098badcfe",
      (from) => attributeU32(from, attribute),
      0xfedcba98,
    ],
    [
      "u32 BE",
      (out) => writeU32Be(out, 0, 5, 0xfedcba98),
      "08000500fedcba98",
      (from) => attributeU32Be(from, attribute),
      0xfedcba98,
    ],
    ["bytes", (out) => writeBytes(out, 0, 6, address, 5), "09000600f0f1f2f3f4000000", (from) => {
      const into = new Uint8Array(5);
      assert.equal(attributeBytes(from, attribute, 5, into), 0);
      return into.toHex();
    }, "f0f1f2f3f4"],
    [
      "text",
      (out) => writeText(out, 0, 7, "abc"),
      "0800070061626300",
      (from) => attributeText(from, attribute),
      "abc",
    ],
    [
      "empty text",
      (out) => writeText(out, 0, 7, ""),
      "0500070000000000",
      (from) => attributeText(from, attribute),
      "",
    ],
  ];
  for (const [name, write, hex, read, value] of rows) {
    const out = filled(32);
    const end = write(out);
    assert.equal(out.bytes.subarray(0, end).toHex(), hex, name);
    assert.equal(out.bytes[end], 0xa5, name);
    assert.equal(readAttribute(out, 0, end, attribute), end, name);
    assert.equal(attribute.type, out.bytes[2], name);
    assert.equal(read(out), value, name);
  }
});

Deno.test("a value that is too short is refused by name, one that is too long is cut", () => {
  const from = regionOf(Uint8Array.fromHex("010203040506"));
  const readers: [(attribute: Attribute) => number, number, number][] = [
    [(attribute) => attributeU8(from, attribute), 1, 1],
    [(attribute) => attributeU16(from, attribute), 2, 0x0201],
    [(attribute) => attributeU16Be(from, attribute), 2, 0x0102],
    [(attribute) => attributeU32(from, attribute), 4, 0x04030201],
    [(attribute) => attributeU32Be(from, attribute), 4, 0x01020304],
    [(attribute) => attributeBytes(from, attribute, 4, new Uint8Array(4)), 4, 0],
  ];
  const attribute = new Attribute();
  for (const [read, size, value] of readers) {
    for (attribute.end = 0; attribute.end < size; attribute.end++) {
      attribute.type = 9;
      assert.equal(read(attribute), -Fault.Field);
      assert.deepEqual([lastFault.field, lastFault.value], [
        "length of attribute 9",
        attribute.end,
      ]);
    }
    attribute.end = 6;
    assert.equal(read(attribute), value);
    attribute.end = 0;
    attribute.type = 0x3fff; // of which there is no text
    assert.equal(read(attribute), -Fault.Field);
    assert.equal(lastFault.field, "nla_len");
  }
});

Deno.test("a text ends at its NUL or with its value", () => {
  const from = regionOf(new TextEncoder().encode("ab\0cd"));
  const attribute = Object.assign(new Attribute(), { at: 0, end: 5 });
  assert.equal(attributeText(from, attribute), "ab");
  attribute.at = 3;
  assert.equal(attributeText(from, attribute), "cd");
});

Deno.test("a nest holds attributes and is read without its flag", () => {
  const out = filled(32);
  const inner = beginNest(out, 4, 1);
  assert.equal(inner, 4 + ATTRIBUTE_HEADER_SIZE);
  const end = endNest(out, 4, writeU8(out, writeU16(out, inner, 2, 7), 3, 8));
  assert.equal(
    out.bytes.subarray(4, end).toHex(),
    "14000180" + "0600020007000000" + "0500030008000000",
  );
  const attribute = new Attribute();
  assert.equal(readAttribute(out, 4, end, attribute), end);
  assert.deepEqual({ ...attribute }, { type: 1, at: inner, end });
  out.view.setUint16(6, 1 | TYPE_FLAGS, true);
  readAttribute(out, 4, end, attribute);
  assert.equal(attribute.type, 1);
});

Deno.test("an attribute of a wrong length is refused", () => {
  const out = filled(32);
  for (const length of [0, 3, 17, 0xffff]) {
    out.view.setUint16(0, length, true);
    assert.equal(readAttribute(out, 0, 16, new Attribute()), -Fault.Field, `${length}`);
    assert.deepEqual([lastFault.field, lastFault.value], ["nla_len", length]);
  }
  for (let end = 0; end < ATTRIBUTE_HEADER_SIZE; end++) {
    assert.equal(readAttribute(out, 0, end, new Attribute()), -Fault.Field, `${end}`);
  }
});

Deno.test("what is behind an attribute and shorter than a header is padding", () => {
  const out = filled(32);
  const end = writeU32(out, 0, 1, 5);
  for (let rest = 0; rest < ATTRIBUTE_HEADER_SIZE; rest++) {
    assert.equal(readAttribute(out, 0, end + rest, new Attribute()), end + rest);
  }
  assert.equal(readAttribute(out, 0, end + ATTRIBUTE_HEADER_SIZE, new Attribute()), end);
  const short = writeU8(out, 0, 1, 5) - 3; // without its own padding
  assert.equal(readAttribute(out, 0, short, new Attribute()), short);
});

Deno.test("every captured message is the same after it was read and written attribute by attribute", () => {
  assert.equal(ALL.length, 129);
  for (const hex of ALL) {
    const from = regionOf(Uint8Array.fromHex(hex));
    const out = filled(from.bytes.length + 16);
    const message = new Nlmsg();
    assert.equal(readNlmsg(from, 0, from.bytes.length, message), from.bytes.length, hex);
    let at = beginNlmsg(out, 0, message.type, message.flags, message.sequence);
    out.view.setUint32(12, message.port, true);
    const attributes = attributesAt(from, message);
    out.bytes.set(from.bytes.subarray(message.at, attributes), at);
    at += attributes - message.at;
    at = copyAttributes(from, attributes, message.end, out, at);
    assert.equal(out.bytes.subarray(0, endNlmsg(out, 0, at)).toHex(), hex);
    assert.equal(out.bytes[at], 0xa5);
  }
});

Deno.test("an acknowledgement or a refusal is read with all that the kernel says of it", () => {
  for (const { label, hex, fields } of ERRORS) {
    const { from, message } = messageOf(hex);
    const error = new NetlinkError();
    assert.equal(readError(from, message, error), message.end, label);
    assert.equal(error.error, fields.error, label);
    assert.equal(error.offset, fields.offset ?? -1, label);
    assert.equal(error.missing, fields.missing ?? -1, label);
    assert.equal(error.nest, -1, label);
    const text = fields.missing === undefined ? "" : `attribute ${fields.missing} is missing`;
    assert.equal(errorText(from, error), fields.text ?? text, label);
  }
});

Deno.test("a missing attribute is named with the nest that misses it", () => {
  const { from, message, error } = refusal(
    NlmsgFlag.Capped | NlmsgFlag.AckTlvs,
    (out, at) => writeU32(out, writeU32(out, at, 5, 3), 6, 28),
  );
  assert.equal(readError(from, message, error), message.end);
  assert.equal(errorText(from, error), "attribute 3 is missing in the one at offset 28");
});

Deno.test("an error without attributes has no text, whatever was read before", () => {
  const error = new NetlinkError();
  const before = messageOf(ERRORS.find(({ fields }) => fields.text !== undefined)!.hex);
  readError(before.from, before.message, error);
  const { from, message } = refusal(NlmsgFlag.Capped, (out, at) => writeText(out, at, 1, "no"));
  assert.equal(readError(from, message, error), message.end);
  assert.deepEqual([error.error, error.offset, errorText(from, error)], [22, -1, ""]);
});

Deno.test("the cookie, the policy and attributes of later kernels are skipped", () => {
  const flags = NlmsgFlag.Capped | NlmsgFlag.AckTlvs;
  const { from, message, error } = refusal(flags, (out, at) => {
    for (const type of [3, 4, 7, 200]) at = writeU8(out, at, type, 9);
    return writeText(out, at, 1, "no");
  });
  assert.equal(readError(from, message, error), message.end);
  assert.deepEqual([error.missing, errorText(from, error)], [-1, "no"]);
});

Deno.test("an error that cannot be one is refused", () => {
  const { from, message, error } = refusal(NlmsgFlag.Capped, (_, at) => at);
  for (const value of [1, -4096, 0x7fffffff, -0x80000000]) {
    from.view.setInt32(message.at, value, true);
    assert.equal(readError(from, message, error), -Fault.Field, `${value}`);
    assert.equal(lastFault.field, "nlmsgerr error");
  }
  from.view.setInt32(message.at, -4095, true);
  assert.equal(readError(from, message, error), message.end);
  assert.equal(error.error, 4095);
});

Deno.test("a repeated request of a wrong length is refused", () => {
  const { from, message, error } = refusal(
    NlmsgFlag.AckTlvs,
    (out, at) => writeText(out, at, 1, "no"),
  );
  for (const length of [0, 15, 16 + 8 + 1, 0xffffffff]) {
    from.view.setUint32(message.at + 4, length, true);
    assert.equal(readError(from, message, error), -Fault.Field, `${length}`);
    assert.equal(lastFault.field, "nlmsgerr nlmsg_len");
  }
  from.view.setUint32(message.at + 4, 16 + 8, true); // all is the request: nothing is said
  assert.equal(readError(from, message, error), message.end);
  assert.equal(errorText(from, error), "");
});

Deno.test("an error that is cut is refused, or read as far as its whole attributes go", () => {
  for (const { label, hex, fields } of ERRORS) {
    const { from, message } = messageOf(hex);
    const { end } = message;
    let whole = 0;
    for (message.end = message.at; message.end < end; message.end++) {
      const status = readError(from, message, new NetlinkError());
      assert.ok(status === -Fault.Field || status === message.end, label);
      if (status > 0) whole++;
    }
    // What may be left off: attributes one by one with their padding, and the padding of the last.
    const said = Number(fields.text !== undefined) + Number(fields.offset !== undefined);
    assert.ok(whole <= 4 * (said + 2), `${label}: ${whole}`);
  }
});

Deno.test("nlctrl is asked for a family by name", () => {
  const out = filled(64);
  const end = writeGetFamily(out, 0, 0x65, "mptcp_pm");
  assert.equal(out.bytes.subarray(0, end).toHex(), GET_FAMILY);
  assert.equal(out.bytes[end], 0xa5);
});

Deno.test("nlctrl tells the family's number and its groups", () => {
  const { from, message } = messageOf(NEW_FAMILY);
  const family = new GenericFamily();
  family.groups.set("of another family", 1);
  assert.equal(readFamily(from, message.at, message.end, family), message.end);
  assert.deepEqual([family.id, family.name, family.version], [28, "mptcp_pm", 1]);
  assert.deepEqual([...family.groups], [["mptcp_pm_cmds", 8], ["mptcp_pm_events", 9]]);
});

Deno.test("a family without a number, or another answer, is refused", () => {
  const { from, message } = messageOf(NEW_FAMILY);
  const family = new GenericFamily();
  for (let end = message.at; end < message.at + GENERIC_HEADER_SIZE; end++) {
    assert.equal(readFamily(from, message.at, end, family), -Fault.Field);
  }
  assert.equal(
    readFamily(from, message.at, message.at + GENERIC_HEADER_SIZE, family),
    -Fault.Field,
  );
  assert.equal(lastFault.field, "CTRL_ATTR_FAMILY_ID");
  from.bytes[message.at] = 2;
  assert.equal(readFamily(from, message.at, message.end, family), -Fault.Field);
  assert.equal(lastFault.field, "nlctrl cmd");
});

Deno.test("groups without a name or a number, and too many groups, are refused", () => {
  const family = new GenericFamily();
  const told = (count: number, named: boolean, numbered: boolean): number => {
    const out = filled(8192);
    let at = writeU16(out, beginGeneric(out, 0, 16, 0, 1, 1, 2), 1, 28);
    const groups = at;
    at = beginNest(out, groups, 7);
    for (let index = 1; index <= count; index++) {
      const group = at;
      at = beginNest(out, group, index);
      if (numbered) at = writeU32(out, at, 2, index);
      if (named) at = writeText(out, at, 1, `group ${index}`);
      at = endNest(out, group, at);
    }
    return readFamily(out, NLMSG_HEADER_SIZE, endNest(out, groups, at), family);
  };
  assert.ok(told(64, true, true) > 0);
  assert.deepEqual([family.id, family.groups.size, family.groups.get("group 64")], [28, 64, 64]);
  assert.equal(told(65, true, true), -Fault.Large);
  assert.equal(told(1, false, true), -Fault.Field);
  assert.equal(told(1, true, false), -Fault.Field);
  assert.ok(told(0, true, true) > 0);
});

Deno.test("a generic message tells its command", () => {
  const out = filled(32);
  const at = beginGeneric(out, 0, 28, NlmsgFlag.Request, 7, 200, 1);
  assert.equal(at, NLMSG_HEADER_SIZE + GENERIC_HEADER_SIZE);
  assert.equal(out.bytes.subarray(16, 21).toHex(), "c8010000a5");
  assert.equal(readCommand(out, 16, at), 200);
  assert.equal(readCommand(out, 16, at - 1), -Fault.Field);
});

/** A refusal with EINVAL of a request without payload, with attributes that `write` writes. */
function refusal(
  flags: number,
  write: (out: Region, at: number) => number,
): { from: Region; message: Nlmsg; error: NetlinkError } {
  const from = newRegion(256);
  const at = beginNlmsg(from, 0, NlmsgType.Error, flags, 1);
  from.view.setInt32(at, -22, true);
  const end = write(from, beginNlmsg(from, at + 4, 28, 5, 1));
  endNlmsg(from, 0, end);
  const message = new Nlmsg();
  readNlmsg(from, 0, end, message);
  return { from, message, error: new NetlinkError() };
}

function messageOf(hex: string): { from: Region; message: Nlmsg } {
  const from = regionOf(Uint8Array.fromHex(hex));
  const message = new Nlmsg();
  assert.equal(readNlmsg(from, 0, from.bytes.length, message), from.bytes.length);
  return { from, message };
}

/** Where the attributes of a captured message begin. */
function attributesAt(from: Region, { type, flags, at, end }: Nlmsg): number {
  if (type === NlmsgType.Done) return at + 4;
  if (type !== NlmsgType.Error) return at + GENERIC_HEADER_SIZE;
  if ((flags & NlmsgFlag.AckTlvs) === 0) return end;
  return (flags & NlmsgFlag.Capped) === 0 ? at + 4 + from.view.getUint32(at + 4, true) : at + 20;
}

/** Copies attributes, into nests that have the flag; returns where they end in `out`. */
function copyAttributes(
  from: Region,
  at: number,
  end: number,
  out: Region,
  outAt: number,
): number {
  while (at < end) {
    const attribute = new Attribute();
    const header = at;
    at = readAttribute(from, at, end, attribute);
    assert.ok(at > header);
    if ((from.view.getUint16(header + 2, true) & TYPE_FLAGS) !== 0) {
      const inner = beginNest(out, outAt, attribute.type);
      const next = copyAttributes(from, attribute.at, attribute.end, out, inner);
      outAt = endNest(out, outAt, next);
    } else {
      const value = from.bytes.subarray(attribute.at, attribute.end);
      outAt = writeBytes(out, outAt, attribute.type, value, value.length);
    }
  }
  return outAt;
}

/** Memory where a byte that nobody wrote is seen. */
function filled(size: number): Region {
  const region = newRegion(size);
  region.bytes.fill(0xa5);
  return region;
}
