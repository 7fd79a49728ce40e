/** The guard's batches: their messages, rules and elements; every nest walked to its end. */
import assert from "node:assert/strict";
import { newRegion, type Region, regionOf } from "../../src/mem/region.ts";
import { Attribute, attributeText, readAttribute } from "../../src/wire/netlink/attribute.ts";
import {
  type Guard,
  GUARD_BYTES_MAX,
  GUARD_TOKENS_MAX,
  GuardDefault,
  GuardPrefix,
  guardTokensBytes,
  writeGuard,
  writeGuardAllow,
  writeGuardDelete,
  writeGuardDeny,
  writeGuardLink,
  writeGuardTokens,
} from "../../src/wire/netlink/join_guard.ts";
import { Nlmsg, NlmsgFlag, readNlmsg } from "../../src/wire/netlink/nlmsg.ts";
import { assertAllocatesNothing, written } from "./kernel_message.ts";

const GUARD: Guard = {
  table: "fairlead_join",
  owned: false,
  logGroup: 5,
  default: GuardDefault.Refuse,
  queue: 7,
  bypass: true,
  queueByTarget: false,
};

const NAMES: Record<number, string> = {
  16: "begin",
  17: "end",
  [0xa00]: "newtable",
  [0xa02]: "deltable",
  [0xa03]: "newchain",
  [0xa06]: "newrule",
  [0xa09]: "newset",
  [0xa0c]: "newsetelem",
  [0xa0e]: "delsetelem",
};

/** Where texts are in a message: their attribute, by the message. */
const TEXTS: Record<string, readonly number[]> = {
  newtable: [1],
  deltable: [1],
  newchain: [1, 3],
  newrule: [1, 2],
  newset: [1, 2],
  newsetelem: [1, 2],
  delsetelem: [1, 2],
};

/** The attributes between two offsets; they must fill it. */
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

/** The one of a type. */
function one(from: Region, { at, end }: { at: number; end: number }, type: number): Attribute {
  const found = attributes(from, at, end).filter((attribute) => attribute.type === type);
  assert.equal(found.length, 1, `attribute ${type}`);
  return found[0]!;
}

/** `lookup allowed`, `log accepted`, `immediate jump joins`; the name alone for others. */
function expression(from: Region, element: Attribute): string {
  const name = attributeText(from, one(from, element, 1));
  const data = one(from, element, 2);
  if (name === "lookup") return `lookup ${attributeText(from, one(from, data, 1))}`;
  if (name === "log") return `log ${attributeText(from, one(from, data, 2))}`;
  if (name !== "immediate") {
    attributes(from, data.at, data.end);
    return name;
  }
  const verdict = one(from, one(from, data, 2), 2);
  const code = from.view.getInt32(one(from, verdict, 1).at);
  return code === 1 ? "accept" : `jump ${attributeText(from, one(from, verdict, 2))}`;
}

/** A line for each message. */
function lines(hex: string, sequence = 9): string[] {
  const from = regionOf(Uint8Array.fromHex(hex));
  const found: string[] = [];
  const message = new Nlmsg();
  for (let at = 0; at < from.bytes.length;) {
    at = readNlmsg(from, at, from.bytes.length, message);
    assert.ok(at > 0, "a message is whole");
    assert.equal(message.sequence, sequence);
    const name = NAMES[message.type]!;
    const body = { at: message.at + 4, end: message.end };
    const texts = (TEXTS[name] ?? []).map((type) => attributeText(from, one(from, body, type)));
    let line = [name, ...texts].join(" ");
    if (name === "newrule") {
      const { at, end } = one(from, body, 4);
      line += `: ${attributes(from, at, end).map((each) => expression(from, each)).join(", ")}`;
    }
    if (name.endsWith("setelem")) {
      const { at, end } = one(from, body, 3);
      const keys = attributes(from, at, end).map((element) => one(from, one(from, element, 1), 1));
      line += `: ${keys.map(({ at, end }) => from.bytes.subarray(at, end).toHex()).join(" ")}`;
    }
    found.push(message.flags & NlmsgFlag.Ack ? `${line} (ack)` : line);
  }
  return found;
}

function guardLines(changes: Partial<Guard>): string[] {
  const guard = { ...GUARD, ...changes };
  return lines(written((out, at) => writeGuard(out, at, 9, guard), GUARD_BYTES_MAX + 8));
}

const HEAD = [
  "begin",
  "newtable fairlead_join",
  "deltable fairlead_join",
  "newtable fairlead_join",
  "newset fairlead_join accepted",
  "newset fairlead_join refused",
  "newset fairlead_join allowed",
  "newset fairlead_join links",
  "newset fairlead_join denied",
  "newchain fairlead_join input",
  "newchain fairlead_join options",
  "newchain fairlead_join joins",
  "newrule fairlead_join input: meta, cmp, payload, bitwise, cmp, exthdr, cmp, jump options",
  "newrule fairlead_join options: exthdr, bitwise, cmp, accept",
  "newrule fairlead_join options: exthdr, bitwise, cmp, jump joins",
  "newrule fairlead_join options: exthdr, exthdr, cmp, accept",
  "newrule fairlead_join options: log refused, reject",
  "newrule fairlead_join joins: exthdr, exthdr, lookup denied, log refused, reject",
  "newrule fairlead_join joins: exthdr, exthdr, lookup allowed, log accepted, accept",
  "newrule fairlead_join joins: exthdr, lookup refused, log refused, reject",
  "newrule fairlead_join joins: exthdr, lookup accepted, log accepted, accept",
];

Deno.test.each([
  {
    what: "refuse",
    changes: { default: GuardDefault.Refuse },
    rules: ["newrule fairlead_join joins: log refused, reject (ack)"],
  },
  {
    what: "accept",
    changes: { default: GuardDefault.Accept },
    rules: ["newrule fairlead_join joins: log accepted, accept (ack)"],
  },
  {
    what: "accept by interface",
    changes: { default: GuardDefault.Links },
    rules: [
      "newrule fairlead_join joins: meta, lookup links, log accepted, accept",
      "newrule fairlead_join joins: log refused, reject (ack)",
    ],
  },
  {
    what: "queue",
    changes: { default: GuardDefault.Queue },
    rules: ["newrule fairlead_join joins: log waiting, queue (ack)"],
  },
  {
    what: "queue by xt_NFQUEUE",
    changes: { default: GuardDefault.Queue, queueByTarget: true },
    rules: ["newrule fairlead_join joins: log waiting, target (ack)"],
  },
])("writeGuard() replaces the table as a whole; the default is to $what", ({ changes, rules }) => {
  assert.deepEqual(guardLines(changes), [...HEAD, ...rules, "end"]);
});

Deno.test("writeGuard() says whether a queue without listener is passed, both ways", () => {
  const queue = (changes: Partial<Guard>): string =>
    written((out, at) =>
      writeGuard(out, at, 9, { ...GUARD, default: GuardDefault.Queue, ...changes })
    );
  assert.ok(queue({}).includes("060001000007000006000200000100000600030000010000"));
  assert.ok(queue({ bypass: false }).includes("060001000007000006000200000100000600030000000000"));
  // struct xt_NFQ_info_v3, host order, and what iptables-nft sends in front of it.
  const target = "0c0001004e46515545554500" + "0800020000000003" + "0c000300";
  assert.ok(queue({ queueByTarget: true }).includes(`${target}0700010001000000`));
  assert.ok(queue({ queueByTarget: true, bypass: false }).includes(`${target}0700010000000000`));
});

Deno.test("writeGuard() owns its table when it shall, in both messages that make it", () => {
  const flags = (owned: boolean): number =>
    written((out, at) => writeGuard(out, at, 9, { ...GUARD, owned })).split("0800020000000002")
      .length - 1;
  assert.equal(flags(true) - flags(false), 2);
});

Deno.test("writeGuardTokens() adds and removes; an element is as nft 1.0.6 writes it", () => {
  const tokens = Uint32Array.of(0x11223344, 0xfedcba98);
  const add = written((out, at) =>
    writeGuardTokens(out, at, 9, "fairlead_join", "accept", false, tokens, 2)
  );
  assert.deepEqual(lines(add), [
    "begin",
    "newsetelem fairlead_join accepted: 11223344 fedcba98 (ack)",
    "end",
  ]);
  const remove = written((out, at) =>
    writeGuardTokens(out, at, 9, "fairlead_join", "refuse", true, tokens, 1)
  );
  assert.deepEqual(lines(remove), [
    "begin",
    "delsetelem fairlead_join refused: 11223344 (ack)",
    "end",
  ]);
  assert.ok(remove.includes("14000380100001800c0001800800010011223344"));
});

Deno.test("writeGuardTokens() holds as many tokens as it says", () => {
  const tokens = Uint32Array.from({ length: GUARD_TOKENS_MAX }, (_, index) => index * 7919);
  const room = guardTokensBytes(GUARD_TOKENS_MAX);
  const all = written(
    (out, at) =>
      writeGuardTokens(out, at, 9, "t".repeat(31), "accept", false, tokens, tokens.length),
    room + 8,
  );
  const line = lines(all)[1]!;
  assert.equal(line.split(" ").length, GUARD_TOKENS_MAX + 4);
});

Deno.test("writeGuardAllow(), writeGuardDeny(), writeGuardLink() and writeGuardDelete() name what they are for", () => {
  assert.deepEqual(
    lines(written((out, at) => writeGuardAllow(out, at, 9, "t", false, 0x11223344, 9))),
    ["begin", "newsetelem t allowed: 1122334409000000 (ack)", "end"],
  );
  assert.deepEqual(
    lines(written((out, at) => writeGuardAllow(out, at, 9, "t", true, 0x11223344, 255))),
    ["begin", "delsetelem t allowed: 11223344ff000000 (ack)", "end"],
  );
  assert.deepEqual(
    lines(written((out, at) => writeGuardDeny(out, at, 9, "t", false, 0x11223344, 9))),
    ["begin", "newsetelem t denied: 1122334409000000 (ack)", "end"],
  );
  assert.deepEqual(
    lines(written((out, at) => writeGuardLink(out, at, 9, "t", false, "wwan0"))),
    ["begin", `newsetelem t links: 7777616e30${"00".repeat(11)} (ack)`, "end"],
  );
  assert.deepEqual(
    lines(written((out, at) => writeGuardLink(out, at, 9, "t", true, "abcdefghijklmnopq"))),
    ["begin", `delsetelem t links: 6162636465666768696a6b6c6d6e6f00 (ack)`, "end"],
  );
  assert.deepEqual(
    lines(written((out, at) => writeGuardDelete(out, at, 9, "t"))),
    ["begin", "deltable t (ack)", "end"],
  );
});

Deno.test("prefixes tell what became of an attempt", () => {
  assert.deepEqual({ ...GuardPrefix }, {
    Accepted: "accepted",
    Refused: "refused",
    Waiting: "waiting",
  });
});

Deno.test("batches of elements allocate nothing", () => {
  const out = newRegion(4096);
  const tokens = Uint32Array.of(0x11223344, 0xfedcba98);
  assertAllocatesNothing((index) =>
    writeGuardTokens(out, 0, index, "t", "accept", false, tokens, 2) +
    writeGuardAllow(out, 0, index, "t", false, 0xfedcba98, index & 255)
  );
});
