/** The batches of the fence: their messages and rules, and counters as the kernel tells them. */
import assert from "node:assert/strict";
import { Fault } from "../../src/mem/fault.ts";
import { newRegion, type Region, regionOf } from "../../src/mem/region.ts";
import { Attribute, attributeText, readAttribute } from "../../src/wire/netlink/attribute.ts";
import {
  FENCE_BYTES_MAX,
  FENCE_CLOSED,
  FENCE_ENDLESS,
  FENCE_RULES,
  writeFence,
  writeFenceDelete,
  writeFenceLease,
  writeFenceProbe,
} from "../../src/wire/netlink/egress_fence.ts";
import { NFT_RULE, readNftRulePackets, writeNftRuleDump } from "../../src/wire/netlink/nftables.ts";
import { Nlmsg, NlmsgFlag, readNlmsg } from "../../src/wire/netlink/nlmsg.ts";
import { assertAllocatesNothing, assertHardy, readWhole, written } from "./kernel_message.ts";

const NAMES: Record<number, string> = {
  16: "begin",
  17: "end",
  [0xa00]: "newtable",
  [0xa02]: "deltable",
  [0xa03]: "newchain",
  [0xa06]: "newrule",
  [0xa07]: "getrule",
  [0xa09]: "newset",
  [0xa0c]: "newsetelem",
  [0xa0e]: "delsetelem",
};

/** The attributes between two offsets, by type; they must fill it. */
function attributes(from: Region, at: number, end: number): Attribute[] {
  const found: Attribute[] = [];
  while (at < end) {
    const attribute = new Attribute();
    at = readAttribute(from, at, end, attribute);
    assert.ok(at > 0, "an attribute is whole");
    found.push(attribute);
  }
  assert.equal(at, end);
  return found;
}

function optional(from: Region, { at, end }: Attribute, type: number): Attribute | undefined {
  return attributes(from, at, end).find((attribute) => attribute.type === type);
}

function one(from: Region, within: Attribute, type: number): Attribute {
  const found = optional(from, within, type);
  assert.ok(found !== undefined, `attribute ${type}`);
  return found;
}

function hexOf({ bytes }: Region, { at, end }: Attribute): string {
  return bytes.subarray(at, end).toHex();
}

/** Name and data of an expression, numbers in hex. */
function expression(from: Region, element: Attribute): string {
  const name = attributeText(from, one(from, element, 1));
  const data = one(from, element, 2);
  if (name === "lookup") return `lookup ${attributeText(from, one(from, data, 1))}`;
  if (name !== "immediate" && name !== "cmp") {
    const numbers = attributes(from, data.at, data.end).map((each) =>
      parseInt(hexOf(from, each), 16)
    );
    return [name, ...numbers].join(" ");
  }
  const value = one(from, data, name === "cmp" ? 3 : 2);
  const plain = optional(from, value, 1);
  if (name === "cmp") {
    const operator = from.view.getUint32(one(from, data, 2).at) === 0 ? "eq" : "neq";
    return `${operator} ${hexOf(from, plain!)}`;
  }
  const verdict = one(from, value, 2);
  const code = from.view.getInt32(one(from, verdict, 1).at);
  if (code === -3) return `jump ${attributeText(from, one(from, verdict, 2))}`;
  return code === 0 ? "drop" : code === 1 ? "accept" : `verdict ${code}`;
}

function element(from: Region, each: Attribute): string {
  const timeout = optional(from, each, 4);
  const key = hexOf(from, one(from, one(from, each, 1), 1));
  return timeout === undefined ? key : `${key} for ${parseInt(hexOf(from, timeout), 16)}`;
}

/** A line for each message. */
function lines(hex: string): string[] {
  const from = regionOf(Uint8Array.fromHex(hex));
  const found: string[] = [];
  const message = new Nlmsg();
  for (let at = 0; at < from.bytes.length;) {
    at = readNlmsg(from, at, from.bytes.length, message);
    assert.ok(at > 0, "a message is whole");
    const name = NAMES[message.type]!;
    const body = new Attribute();
    [body.at, body.end] = [message.at + 4, message.end];
    let line = name;
    if (name !== "begin" && name !== "end") {
      const texts = name === "newrule"
        ? [2]
        : name === "newchain"
        ? [3]
        : /set/.test(name)
        ? [2]
        : [1];
      line = [name, ...texts.map((type) => attributeText(from, one(from, body, type)))].join(" ");
    }
    if (name === "newset") line += ` flags ${from.view.getUint32(one(from, body, 3).at)}`;
    const hook = name === "newchain" ? optional(from, body, 4) : undefined;
    if (hook !== undefined) line += ` ${hexOf(from, one(from, hook, 1))}`;
    if (name === "newrule") {
      const { at, end } = one(from, body, 4);
      line += `: ${attributes(from, at, end).map((each) => expression(from, each)).join(", ")}`;
    }
    const elements = name.endsWith("setelem") ? optional(from, body, 3) : undefined;
    if (elements !== undefined) {
      const { at, end } = elements;
      line += `: ${attributes(from, at, end).map((each) => element(from, each)).join(", ")}`;
    }
    found.push(message.flags & NlmsgFlag.Ack ? `${line} (ack)` : line);
  }
  return found;
}

const TABLE = [
  "newtable standby",
  "deltable standby",
  "newtable standby",
  "newset lease flags 16",
  "newchain fence",
  "newrule fence: meta 8 15, lookup lease, accept",
  "newrule fence: counter, drop",
  "newchain transform 00000004",
  "newrule transform: rt 8 4, eq 01, jump fence",
  "newchain out 00000003",
  "newrule out: meta 8 16, eq 32, jump fence",
  "newrule out: meta 8 16, eq 33, jump fence",
  "newrule out: meta 8 16, eq 11, payload 8 2 0 2, eq 1194, payload 8 2 8 4, neq 00000000, jump fence",
  "newrule out: meta 8 16, eq 11, payload 8 2 2 2, eq 1194, payload 8 2 8 4, neq 00000000, jump fence (ack)",
];

function fence(timeoutMs: number): string[] {
  return lines(written((out, at) => writeFence(out, at, 9, "standby", timeoutMs)));
}

Deno.test("writeFence() replaces the table as a whole: closed, open for a time, or for ever", () => {
  assert.deepEqual(fence(FENCE_CLOSED), ["begin", ...TABLE, "end"]);
  const open = (element: string): string[] => [
    ...["begin", ...TABLE],
    ...[`newsetelem lease: ${element} (ack)`, "end"],
  ];
  assert.deepEqual(fence(300), open("02 for 300, 0a for 300"));
  assert.deepEqual(fence(FENCE_ENDLESS), open("02, 0a"));
  assert.equal(TABLE.filter((line) => line.startsWith("newrule")).length, FENCE_RULES);
});

Deno.test("writeFence() with the longest name fits into what it says", () => {
  const hex = written(
    (out, at) => writeFence(out, at, 9, "t".repeat(81), 300),
    FENCE_BYTES_MAX + 8,
  );
  assert.ok(lines(hex).length > FENCE_RULES);
});

Deno.test("writeFenceLease() empties the set and fills it in one batch", () => {
  const lease = (timeoutMs: number): string[] =>
    lines(written((out, at) => writeFenceLease(out, at, 9, "standby", timeoutMs)));
  assert.deepEqual(lease(FENCE_CLOSED), ["begin", "delsetelem lease (ack)", "end"]);
  assert.deepEqual(lease(1), [
    "begin",
    "delsetelem lease (ack)",
    "newsetelem lease: 02 for 1, 0a for 1 (ack)",
    "end",
  ]);
  assert.equal(lease(FENCE_ENDLESS)[2], "newsetelem lease: 02, 0a (ack)");
});

Deno.test("writeFenceProbe() takes away what it made, writeFenceDelete() what is there", () => {
  assert.deepEqual(
    lines(written((out, at) => writeFenceProbe(out, at, 9, "standby"))),
    ["begin", ...TABLE.slice(0, -1), TABLE.at(-1)!, "deltable standby (ack)", "end"],
  );
  assert.deepEqual(
    lines(written((out, at) => writeFenceDelete(out, at, 9, "standby"))),
    ["begin", "deltable standby (ack)", "end"],
  );
  assert.deepEqual(
    lines(written((out, at) => writeNftRuleDump(out, at, 9, "standby"))),
    ["getrule standby"],
  );
});

/**
 * Linux 6.18.44 (2026-11): the second rule of `fence` after 35 packets, and the first one, which counts
 * none, of a table "fairlead_standby_a_b".
 */
const COUNTED =
  "b4000000060a0208010000004d49798d010000ea19000100666169726c6561645f7374616e6462795f" +
  "615f62000000000a00020066656e63650000000c00030000000000000000040c0006000000000000000003600004" +
  "002c0001000c000100636f756e746572001c0002000c000100000000000000071c0c000200000000000000002330" +
  "0001000e000100696d6d6564696174650000001c0002000800010000000000100002000c000200080001000000" +
  "0000";
const UNCOUNTED =
  "d0000000060a0208010000004d49798d010000ea19000100666169726c6561645f7374616e646279" +
  "5f615f62000000000a00020066656e63650000000c00030000000000000000038800040024000100090001006d65" +
  "74610000000014000200080002000000000f0800010000000001300001000b0001006c6f6f6b75700000200002000a" +
  "0001006c6561736500000008000200000000010800050000000000300001000e000100696d6d6564696174650000" +
  "001c0002000800010000000000100002000c0002000800010000000001";

function countedIn(hex: string): number {
  let counted = -1;
  const { type } = readWhole(hex, (from, message) => {
    counted = readNftRulePackets(from, message);
    return 0;
  });
  assert.equal(type, NFT_RULE);
  return counted;
}

Deno.test("readNftRulePackets() finds the counter of a rule, beyond 32 bits, and 0 without one", () => {
  assert.equal(countedIn(COUNTED), 35);
  assert.equal(countedIn(UNCOUNTED), 0);
  const more = COUNTED.replace("0c0002000000000000000023", "0c0002000000000300000023");
  assert.equal(countedIn(more), 3 * 2 ** 32 + 35);
  const short = COUNTED.replace("0c0002000000000000000023", "0b0002000000000000000023");
  assert.equal(countedIn(short), -Fault.Field);
});

Deno.test("every cut and every flipped bit of a rule is survived", () => {
  for (const hex of [COUNTED, UNCOUNTED]) {
    const told = assertHardy(
      hex,
      (from, message) => Math.min(0, readNftRulePackets(from, message)),
    );
    assert.ok(told.cut > 8 && told.flipped > 0);
  }
});

Deno.test("renewing a lease and reading a counter allocate nothing", () => {
  const out = newRegion(512);
  const from = regionOf(Uint8Array.fromHex(COUNTED));
  const message = readWhole(COUNTED, () => 0);
  assertAllocatesNothing((index) =>
    writeFenceLease(out, 0, index, "standby", 1 + (index & 1023)) +
    readNftRulePackets(from, message)
  );
});
