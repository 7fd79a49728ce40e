/** Messages and gaps as lines, fields, JSON and bytes: exact texts, hostile texts, limits. */
import assert from "node:assert/strict";
import { arena, give, take } from "../../src/mem/arena.ts";
import { U64 } from "../../src/mem/u64.ts";
import { Conversation } from "../../src/proto/capture/conversation.ts";
import { foundJson, gapJson } from "../../src/app/sniff/found_json.ts";
import {
  detailsText,
  fieldLines,
  foundLine,
  gapLine,
  type LineStyle,
} from "../../src/app/sniff/found_line.ts";
import { hexDump } from "../../src/app/sniff/hex_dump.ts";
import { clockText, durationText, secondsText } from "../../src/app/sniff/moment_text.ts";
import { foundOf, gapOf, ISCSI } from "./sniff_found.ts";

const ORIGIN = 1_790_000_000;
const PLAIN: LineStyle = { originSeconds: ORIGIN, startNs: 0, absolute: false, colored: false };
const HOSTILE = "\x1b]0;owned\x07\u202e\n\r\x00\x9b31m";
// deno-lint-ignore no-control-regex -- these are what must not get through
const UNSAFE = /[\x00-\x1f\x7f-\x9f\u2028-\u202e]/;

const OSD_OP = foundOf({
  type: "osd_op",
  length: 4261,
  beginNs: 1_234_567_891,
  packet: 17,
  offset: 8_589_934_592,
  session: 3,
  fields: { seq: 17, tid: 9, type: 42 },
});

const READ_DATA = foundOf({
  conversation: ISCSI,
  side: 1,
  protocol: "iscsi",
  revision: "",
  mode: "",
  tag: "SCSI Data-In",
  length: 4144,
  beginNs: 7,
  packet: 2,
  foundBy: "header-chain",
  answers: "task",
  latencyNs: 1_500_000_001,
  missing: 20,
  fields: { lun: "0001000000000000", initiatortasktag: 26, status: "CHECK CONDITION" },
  errors: ["hole: 20 bytes were not captured"],
});

Deno.test("times are exact to the nanosecond, before the origin too", () => {
  assert.equal(secondsText(ORIGIN, 1, 9), "1790000000.000000001");
  assert.equal(secondsText(ORIGIN, 8_999_999_999_999_999, 9), "1798999999.999999999");
  assert.equal(secondsText(0, Number.MAX_SAFE_INTEGER, 9), "9007199.254740991");
  assert.equal(secondsText(ORIGIN, -1, 9), "1789999999.999999999");
  assert.equal(secondsText(0, -1, 9), "-0.000000001");
  assert.equal(secondsText(0, -1_500_000_000, 6), "-1.500000");
  assert.equal(clockText(ORIGIN, 1_000_001_000, 6), "2026-09-21 14:13:21.000001");
  assert.equal(clockText(1e15, 0, 6), "1000000000000000.000000");
});

Deno.test("durations have three digits and a unit", () => {
  const texts = [
    480,
    9_996,
    12_345,
    99_960,
    999_400,
    999_960,
    4_560_000,
    999_960_000,
    78_900_000_000,
  ]
    .map(durationText);
  assert.deepEqual(texts, [
    "480 ns",
    "10.0 us",
    "12.3 us",
    "100 us",
    "999 us",
    "1.00 ms",
    "4.56 ms",
    "1.00 s",
    "78.9 s",
  ]);
});

Deno.test("foundJson() writes the keys in order, and leaves out the later ones that are empty", () => {
  assert.equal(
    foundJson(OSD_OP, ORIGIN),
    '{"time":1790000001.234567891,"src":"10.9.1.1:50000","dst":"10.9.1.2:6800",' +
      '"protocol":"msgr2","revision":"2.1","mode":"crc","tag":"MSG","type":"osd_op",' +
      '"length":4261,"found_by":"length","packet":17,"offset":8589934592,"session":3,' +
      '"fields":{"seq":17,"tid":9,"type":42},"errors":[]}',
  );
  assert.equal(
    foundJson(READ_DATA, ORIGIN),
    '{"time":1790000000.000000007,"src":"[fd09::2]:3260","dst":"[fd09::1]:41000",' +
      '"protocol":"iscsi","revision":null,"mode":null,"tag":"SCSI Data-In","length":4144,"found_by":"header-chain",' +
      '"packet":2,"offset":0,"latency":1.500000001,"answers":"task","missing":20,' +
      '"fields":{"lun":"0001000000000000","initiatortasktag":26,"status":"CHECK CONDITION"},' +
      '"errors":["hole: 20 bytes were not captured"]}',
  );
});

Deno.test("gapJson() begins with hole", () => {
  assert.equal(
    gapJson(gapOf({ length: 100, missing: 60, offset: 5, packet: 9, side: 1, timeNs: 1 }), ORIGIN),
    '{"hole":100,"time":1790000000.000000001,"src":"10.9.1.2:6800","dst":"10.9.1.1:50000",' +
      '"length":100,"missing":60,"offset":5,"packet":9}',
  );
});

Deno.test("foundJson() writes what JSON cannot hold as text or null", () => {
  const loop: Record<string, unknown> = {};
  loop.loop = loop;
  const fields = {
    nan: NaN,
    endless: -Infinity,
    big: 0xffff_ffff_ffff_ffffn,
    cookie: U64.of(0x1_0000_0002n),
    bytes: Uint8Array.of(1, 255),
    nothing: undefined,
    none: null,
    list: [1, { deep: true }, Infinity],
    [HOSTILE]: HOSTILE,
    lone: "\ud800",
    long: "x".repeat(100_000),
    loop,
  };
  const line = foundJson(foundOf({ fields, tag: HOSTILE, errors: [HOSTILE] }), ORIGIN);
  assert.doesNotMatch(line, UNSAFE);
  const read = JSON.parse(line);
  assert.equal(read.tag, HOSTILE);
  assert.deepEqual(read.errors, [HOSTILE]);
  assert.equal(read.fields.nan, null);
  assert.equal(read.fields.endless, null);
  assert.equal(read.fields.big, "0xffffffffffffffff");
  assert.equal(read.fields.cookie, "0x100000002");
  assert.equal(read.fields.bytes, "01ff");
  assert.ok(!("nothing" in read.fields));
  assert.deepEqual(read.fields.list, [1, { deep: true }, null]);
  assert.equal(read.fields[HOSTILE], HOSTILE);
  assert.equal(read.fields.long.length, 65536);
});

Deno.test("foundJson() of a key __proto__ is a key", () => {
  const fields = JSON.parse('{"__proto__":{"x":1}}');
  assert.match(foundJson(foundOf({ fields }), ORIGIN), /"fields":\{"__proto__":\{"x":1\}\}/);
});

Deno.test("foundLine() is one line in columns", () => {
  assert.equal(
    foundLine(OSD_OP, PLAIN),
    "  1.234567  10.9.1.1:50000 > 10.9.1.2:6800     " +
      "MSG osd_op                     4261  seq 17 tid 9",
  );
  assert.equal(
    foundLine(READ_DATA, PLAIN),
    "  0.000000  [fd09::2]:3260 > [fd09::1]:41000   SCSI Data-In                   4144  " +
      "itt 0x1a status CHECK CONDITION  (header-chain)  after 1.50 s  " +
      "hole: 20 bytes were not captured",
  );
  const fromStart = foundLine(OSD_OP, { ...PLAIN, startNs: 1_000_000_000 });
  assert.ok(fromStart.startsWith("  0.234567  10.9.1.1:50000 > "));
  assert.equal(
    foundLine(foundOf({ tag: "SCSI Response", type: "TEST UNIT READY", length: 48 }), PLAIN).length,
    foundLine(OSD_OP, PLAIN).indexOf("4261") + 4,
  );
  assert.equal(
    foundLine(OSD_OP, { ...PLAIN, absolute: true }),
    "2026-09-21 14:13:21.234567  10.9.1.1:50000 > 10.9.1.2:6800     " +
      "MSG osd_op                     4261  seq 17 tid 9",
  );
});

Deno.test("foundLine() leaves out an address that both ends have", () => {
  const conversation = new Conversation(1, ["127.0.0.1:41000", "127.0.0.1:3300"], [41000, 3300]);
  assert.match(foundLine(foundOf({ conversation }), PLAIN), / {2}127\.0\.0\.1:41000 > :3300 {2}/);
});

Deno.test("foundLine() of usual content fits 120 columns", () => {
  const fields = { initiatortasktag: 0x1a, lun: "0001000000000000", lba: 123456, blocks: 8 };
  const found = foundOf({
    protocol: "iscsi",
    tag: "SCSI Command",
    type: "WRITE(10)",
    length: 65584,
    fields,
  });
  const line = foundLine(found, PLAIN);
  assert.ok(line.endsWith("itt 0x1a LUN 1 LBA 123456 blocks 8"));
  assert.ok(line.length <= 120, `${line.length}: ${line}`);
});

Deno.test("errors are red and gaps are dim on a terminal, and without escapes elsewhere", () => {
  const colored = { ...PLAIN, colored: true };
  const broken = foundOf({ errors: ["crc is wrong"] });
  assert.ok(foundLine(broken, colored).endsWith("\x1b[31mcrc is wrong\x1b[0m"));
  assert.doesNotMatch(foundLine(broken, PLAIN), UNSAFE);
  assert.equal(
    gapLine(gapOf(), PLAIN),
    "  0.000000  10.9.1.1:50000 > 10.9.1.2:6800     " +
      "… 1448 bytes not assigned (1448 not captured)",
  );
  assert.ok(
    gapLine(gapOf({ length: 1, missing: 0 }), colored).includes(
      "\x1b[2m… 1 byte not assigned (0 not captured)\x1b[0m",
    ),
  );
});

Deno.test("hostile texts never reach the terminal and never make long lines", () => {
  const huge = HOSTILE.repeat(100_000);
  const found = foundOf({
    tag: huge,
    type: huge,
    errors: Array.from({ length: 1000 }, () => huge),
    fields: { seq: huge, [huge]: huge, deep: { [HOSTILE]: [huge, huge] } },
  });
  const line = foundLine(found, PLAIN);
  assert.doesNotMatch(line, UNSAFE);
  assert.ok(line.length < 600, `${line.length}`);
  assert.match(line, /; and 997 more$/);
  for (const field of fieldLines(found)) {
    assert.doesNotMatch(field, UNSAFE);
    assert.ok(field.length < 300);
  }
});

Deno.test("fieldLines() shows nested fields deeper, one per line", () => {
  const fields = {
    seq: 1,
    empty: "",
    big: 255n,
    cookie: U64.of(16n),
    nested: { a: 1, list: [1, 2], deep: { b: null } },
    items: [{ x: 1 }, { x: 2 }],
    bytes: new Uint8Array(33),
  };
  assert.deepEqual(fieldLines(foundOf({ fields })), [
    "    seq: 1",
    "    empty:",
    "    big: 0xff",
    "    cookie: 0x10",
    "    nested:",
    "        a: 1",
    "        list: 1, 2",
    "        deep:",
    "            b: null",
    "    items:",
    "        0:",
    "            x: 1",
    "        1:",
    "            x: 2",
    `    bytes: ${"00".repeat(32)} and 1 more byte`,
  ]);
});

Deno.test("fieldLines() is bounded in lines and in depth", () => {
  const many = Object.fromEntries(Array.from({ length: 5000 }, (_, at) => [`field${at}`, at]));
  const lines = fieldLines(foundOf({ fields: many }));
  assert.equal(lines.length, 257);
  assert.equal(lines.at(-1), "    … more fields");
  const loop: Record<string, unknown> = {};
  loop.loop = loop;
  assert.equal(fieldLines(foundOf({ fields: loop })).length, 6);
  const keys = ["InitiatorName", "TargetName"].map((key) => `${key}=${key.repeat(7)}`);
  assert.deepEqual(fieldLines(foundOf({ fields: { keyvalue: keys } })), [
    "    keyvalue:",
    `        0: ${keys[0]}`,
    `        1: ${keys[1]}`,
  ]);
  const list = Array.from({ length: 40 }, (_, at) => at);
  assert.match(fieldLines(foundOf({ fields: { list } }))[0]!, /30, 31 and 8 more$/);
});

Deno.test("detailsText() tells five of the fields, by the names of either protocol", () => {
  assert.equal(detailsText(foundOf({ fields: {} })), "");
  assert.equal(
    detailsText(foundOf({ fields: { "login.csg": 1, "login.nsg": 3, "cdb": "00" } })),
    "stage 1 next 3",
  );
  assert.equal(
    detailsText(foundOf({ fields: { client_cookie: U64.of(255n), global_seq: 2 } })),
    "cookie 0xff global_seq 2",
  );
  const zeros = { seq: 0, tid: 0, lba: 0, status: 0, bufferOffset: 0 };
  assert.equal(detailsText(foundOf({ fields: zeros })), "seq 0 LBA 0");
  const lun = { lun: "0001000000000000" };
  assert.equal(detailsText(foundOf({ tag: "SCSI Command", fields: lun })), "LUN 1");
  assert.equal(detailsText(foundOf({ tag: "SCSI Data-In", fields: lun })), "");
  const fields = { seq: 1, tid: 2, lba: 3, blocks: 4, status: "BUSY", result: 0 };
  assert.equal(detailsText(foundOf({ fields })), "seq 1 tid 2 LBA 3 blocks 4 status BUSY");
  assert.equal(detailsText(foundOf({ fields: { tid: 2, status: "GOOD" } })), "tid 2");
});

Deno.test("hexDump() shows offset, bytes and ASCII, and how many more there are", () => {
  const at = take(4096);
  try {
    for (let index = 0; index < 40; index++) arena.bytes[at + index] = 0x3f + index;
    arena.bytes[at] = 0x1b;
    const kept = foundOf({ at, end: at + 40, length: 100, missing: 10 });
    assert.deepEqual(hexDump(kept, 20), [
      "    00000000: 1b40 4142 4344 4546 4748 494a 4b4c 4d4e  .@ABCDEFGHIJKLMN",
      "    00000010: 4f50 5152                                OPQR",
      "    … 70 more bytes",
    ]);
    assert.equal(hexDump(foundOf({ at, end: at + 40, length: 40 }), 1000).length, 3);
    assert.deepEqual(hexDump(foundOf({ at, end: at + 16, length: 96, mode: "secure" }), 16), [
      "    plaintext of a secure frame: 16 bytes of 96",
      "    00000000: 1b40 4142 4344 4546 4748 494a 4b4c 4d4e  .@ABCDEFGHIJKLMN",
    ]);
    assert.deepEqual(hexDump(foundOf({ length: 96 }), 16), ["    bytes were not kept"]);
    assert.match(foundJson(kept, ORIGIN, 4), /,"errors":\[\],"bytes":"1b404142"\}$/);
    assert.doesNotMatch(foundJson(kept, ORIGIN), /"bytes"/);
  } finally {
    give(at);
  }
});
