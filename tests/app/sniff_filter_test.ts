/** Filters for messages, and comments for packets: what passes, what is refused, what is bounded. */
import assert from "node:assert/strict";
import { UsageError } from "../../src/app/args.ts";
import { Annotations } from "../../src/app/sniff/annotations.ts";
import { type FilterWords, FoundFilter } from "../../src/app/sniff/found_filter.ts";
import { Conversation } from "../../src/proto/capture/conversation.ts";
import { CEPH, foundOf, type FoundParts, gapOf, ISCSI } from "./sniff_found.ts";

const PDUS = ["BANNER", "SCSI Command", "SCSI Data-In", "NOP-In"];

function filterOf(words: Partial<FilterWords>): FoundFilter {
  return new FoundFilter({
    tags: [],
    types: [],
    peers: [],
    errors: false,
    otherTags: PDUS,
    ...words,
  });
}

/** Which of these messages pass, as 1 and 0. */
function passes(words: Partial<FilterWords>, messages: readonly FoundParts[]): string {
  const filter = filterOf(words);
  const once = (): string =>
    messages.map((each) => filter.passesFound(foundOf(each)) ? "1" : "0").join("");
  const first = once();
  assert.equal(once(), first); // also from what it remembers
  return first;
}

function refuses(words: Partial<FilterWords>, pattern: RegExp): void {
  assert.throws(() => filterOf(words), (error) => {
    assert.ok(error instanceof UsageError);
    assert.match(error.message, pattern);
    return true;
  });
}

Deno.test("without words everything passes", () => {
  assert.equal(passes({}, [{}, { tag: "ACK" }, { errors: ["x"] }]), "111");
  assert.ok(filterOf({}).passesGap(gapOf()));
});

Deno.test("--tag takes the document's names, Ceph's, numbers and PDUs in any case", () => {
  const messages = [
    { tag: "MSG" },
    { tag: "RECONNECT_OK" },
    { tag: "SCSI Command" },
    { tag: "tag 99" },
    { tag: "BANNER" },
  ];
  for (const word of ["MSG", "msg", "Message", "TAG_MSG", "17", "0x11"]) {
    assert.equal(passes({ tags: [word] }, messages), "10000", word);
  }
  for (const word of ["reconnect_ok", "SESSION_RECONNECT_OK", "reconnect-ok"]) {
    assert.equal(passes({ tags: [word] }, messages), "01000", word);
  }
  assert.equal(passes({ tags: ["scsi-command", "banner"] }, messages), "00101");
  assert.equal(passes({ tags: ["99"] }, messages), "00010");
  assert.equal(passes({ tags: ["tag 99"] }, messages), "00010");
});

Deno.test("an unknown tag is refused with the nearest", () => {
  refuses(
    { tags: ["KEEPALIV2"] },
    /^Cannot use --tag as .*current value is "KEEPALIV2", did you mean KEEPALIVE2\?$/,
  );
  refuses({ tags: ["scsi comand"] }, /did you mean SCSI Command\?$/);
  refuses({ tags: ["\x1b[31mquite different"] }, /"\\u001b\[31m.*known are HELLO, .*NOP-In$/);
  refuses({ tags: [""] }, /current value is ""/);
  refuses({ tags: ["256"] }, /current value is "256"/);
});

Deno.test("--type takes names, families of commands, and numbers", () => {
  const messages = [
    { type: "osd_op", fields: { type: 42 } },
    { type: "osd_op_reply", fields: { type: 43 } },
    { tag: "SCSI Command", type: "READ(10)", fields: { opcode: 1, "scsi.opcode": 0x28 } },
    { tag: "SCSI Command", type: "READ(16)", fields: { opcode: 1, "scsi.opcode": 0x88 } },
    { tag: "ACK" },
  ];
  assert.equal(passes({ types: ["osd_op"] }, messages), "10000");
  assert.equal(passes({ types: ["OSD-OP"] }, messages), "10000");
  assert.equal(passes({ types: ["42"] }, messages), "10000");
  assert.equal(passes({ types: ["read"] }, messages), "00110");
  assert.equal(passes({ types: ["read10"] }, messages), "00100");
  assert.equal(passes({ types: ["0x88", "43"] }, messages), "01010");
});

Deno.test("--type does not grow with what a peer invents", () => {
  const filter = filterOf({ types: ["osd_op"] });
  for (let type = 0; type < 20_000; type++) {
    assert.ok(!filter.passesFound(foundOf({ type: `invented ${type}` })));
  }
  assert.ok(filter.passesFound(foundOf({ type: "osd_op" })));
});

Deno.test("--peer takes an address, with a port, or a port, of either end", () => {
  const messages = [{ conversation: CEPH }, { conversation: ISCSI, side: 1 as const }];
  for (const peer of ["10.9.1.1", "10.9.1.2", "10.9.1.2:6800", ":6800", ":50000"]) {
    assert.equal(passes({ peers: [peer] }, messages), "10", peer);
  }
  for (const peer of ["fd09::1", "[fd09::2]", "[fd09:0::2]:3260", "FD09::1", ":3260"]) {
    assert.equal(passes({ peers: [peer] }, messages), "01", peer);
  }
  for (const peer of ["10.9.1.1:6800", "10.9.1.10", "0.9.1.1", ":680", ":800", "::1"]) {
    assert.equal(passes({ peers: [peer] }, messages), "00", peer);
  }
  assert.equal(passes({ peers: [":6800", ":3260"] }, messages), "11");
  assert.ok(!filterOf({ peers: [":1"] }).passesGap(gapOf()));
  assert.ok(filterOf({ peers: [":6800"] }).passesGap(gapOf()));
});

Deno.test("a peer that is no address is refused", () => {
  for (const peer of ["", "host", "host:80", "10.9.1.1:99999", "10.9.1", "[]:5", "1.2.3.4:", "["]) {
    refuses({ peers: [peer] }, /^Cannot use --peer as it must be an address/);
  }
});

Deno.test("kinds of words are combined with and", () => {
  const messages = [
    { errors: ["bad"] },
    { errors: [] },
    { errors: ["bad"], tag: "ACK" },
    { errors: ["bad"], conversation: new Conversation(9, ["1.1.1.1:1", "2.2.2.2:2"], [1, 2]) },
  ];
  assert.equal(passes({ errors: true }, messages), "1011");
  assert.equal(passes({ errors: true, tags: ["MSG"], peers: [":6800"] }, messages), "1000");
  assert.ok(filterOf({ errors: true }).passesGap(gapOf()));
  assert.ok(!filterOf({ errors: true, tags: ["MSG"] }).passesGap(gapOf()));
  assert.ok(!filterOf({ types: ["osd_op"] }).passesGap(gapOf()));
});

Deno.test("comments are those of the packet that was read last", () => {
  const annotations = new Annotations();
  annotations.handleFound(foundOf({
    packet: 2,
    type: "osd_op",
    length: 4261,
    fields: { seq: 17, tid: 9 },
    errors: ["crc is wrong"],
  }));
  const long = foundOf({ packet: 1, tag: "ACK", foundBy: "crc", latencyNs: 5000 });
  long.finish.packet = 2;
  annotations.handleFound(long);
  annotations.handleGap(gapOf({ packet: 2 }));
  assert.deepEqual(annotations.take(), [
    "msgr2 MSG osd_op seq 17 tid 9, 4.2 KiB, found by length; crc is wrong",
    "msgr2 ACK, 128 B, found by crc, after 5.00 us, begins in packet 1",
    "1448 bytes not assigned (1448 not captured)",
  ]);
  assert.deepEqual(annotations.take(), []);
});

Deno.test("comments are bounded in number and length, and printable", () => {
  const annotations = new Annotations();
  const errors = Array.from({ length: 9 }, () => "\x1b[31m".repeat(10_000));
  for (let index = 0; index < 1000; index++) annotations.handleFound(foundOf({ errors }));
  const taken = annotations.take();
  assert.ok(taken.length > 100, `${taken.length} comments fit into a packet's options`);
  assert.equal(annotations.dropped, 1000 - taken.length);
  assert.ok(taken.every((text) => text.length <= 400 && !text.includes("\x1b")));
  annotations.handleGap(gapOf());
  assert.equal(annotations.take().length, 1);
});
