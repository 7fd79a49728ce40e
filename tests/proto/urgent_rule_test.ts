/**
 * The draft's rule for urgent pointers, one test for each corner of it: sequence numbers as they are on
 * the wire, then offsets in the stream as the machine has them.
 */
import assert from "node:assert/strict";
import { arena, give, take } from "../../src/mem/arena.ts";
import { UrgentRule } from "../../src/proto/boundary/urgent_rule.ts";
import { Moment } from "../../src/proto/boundary/found.ts";
import { ConversationTable } from "../../src/proto/capture/conversation_table.ts";
import { TcpFlag, TcpSegment } from "../../src/wire/capture/tcp.ts";
import { Reading, readingOf } from "../../src/wire/iscsi/urgent_start.ts";

const SECOND_NS = 1_000_000_000;
/** The first two bytes of a header by the draft: bit 7 clear, bit 7 set. */
const FIRST = 0x05;
const SECOND = 0x90;

/** Gives `bytes` as the stream's from `offset` on. */
function feed(rule: UrgentRule, bytes: readonly number[], offset: number): void {
  const at = take(Math.max(1, bytes.length));
  arena.bytes.set(bytes, at);
  rule.handleBytes(at, at + bytes.length, offset);
  give(at);
}

/** `count` bytes, of which those at `first` begin a message. */
function segment(count: number, ...first: number[]): number[] {
  const bytes = new Array<number>(count).fill(0x41);
  for (const at of first) {
    bytes[at] = FIRST;
    if (at + 1 < count) bytes[at + 1] = SECOND;
  }
  return bytes;
}

function starts(rule: UrgentRule): number[] {
  const found: number[] = [];
  for (let start = rule.pollStart(); start >= 0; start = rule.pollStart()) found.push(start);
  return found;
}

Deno.test("SEQ wraps: SEQ fffffffc UP 11 -> start 6", () => {
  for (const [pointed, start] of [[SECOND, 6], [FIRST, 7]] as const) {
    const rule = new UrgentRule();
    const table = new ConversationTable(() => ({
      handleBytes: (_side, at, end, offset) => rule.handleBytes(at, end, offset),
      handleHole: () => {},
      handleUrgent: (_side, offset, length, pointer, { timeNs }) =>
        rule.handleUrgent(offset, length, pointer, timeNs),
      handleEnd: () => {},
      close: () => {},
    }));
    const at = take(64);
    arena.bytes.fill(pointed, at, at + 64);
    const tcp = new TcpSegment();
    tcp.sourcePort = 5000;
    tcp.destinationPort = 3260;
    const send = (sequence: number, flags: number, bytes: number): void => {
      tcp.sequence = sequence;
      tcp.flags = flags;
      tcp.dataAt = at;
      tcp.dataEnd = at + bytes;
      tcp.dataBytes = bytes;
      table.handleSegment(tcp, new Moment());
    };
    const first = 0xfffffff0; // the sequence number of offset 0
    send(first - 1, TcpFlag.Syn, 0);
    send(first, TcpFlag.Ack, 12);
    tcp.urgentPointer = 11;
    send(0xfffffffc, TcpFlag.Ack | TcpFlag.Urg, 20);
    assert.deepEqual(starts(rule).map((offset) => (first + offset) >>> 0), [start]);
    table.end(new Moment());
    give(at);
  }
});

Deno.test("bit 7 clear is RFC 1122 and starts at p, bit 7 set is BSD and starts at p - 1", () => {
  for (let byte = 0; byte < 256; byte++) {
    const isBsd = byte >= 128;
    assert.equal(readingOf(byte), isBsd ? Reading.Bsd : Reading.Rfc1122);
    const rule = new UrgentRule();
    rule.handleUrgent(1000, 100, 20, 0);
    feed(rule, new Array<number>(100).fill(byte), 1000);
    assert.deepEqual(starts(rule), [isBsd ? 1019 : 1020]);
  }
});

Deno.test("the pointer of RFC 1122 names the first byte, that of BSD the one behind it", () => {
  for (const [pointer, reading] of [[20, "rfc1122"], [21, "bsd"]] as const) {
    const rule = new UrgentRule();
    rule.handleUrgent(1000, 100, pointer, 0);
    feed(rule, segment(100, 20), 1000);
    assert.deepEqual(starts(rule), [1020]);
    assert.ok(rule.names(1020));
    assert.equal(rule.counters.clear, reading === "rfc1122" ? 1 : 0);
    assert.equal(rule.counters.set, reading === "bsd" ? 1 : 0);
  }
});

Deno.test("without a flag there is nothing: bytes alone name no start", () => {
  const rule = new UrgentRule();
  feed(rule, segment(100, 0, 50), 0);
  assert.deepEqual(starts(rule), []);
  for (let offset = 0; offset < 100; offset++) assert.equal(rule.names(offset), false);
});

Deno.test("in order, while nobody is lost, no byte is tested and no start named", () => {
  const rule = new UrgentRule();
  rule.handleUrgent(0, 100, 0, 0); // the owner gives bytes only while the side is lost
  assert.equal(rule.names(0), false);
  assert.equal(rule.names(0), false);
  assert.deepEqual(starts(rule), []);
});

Deno.test("a clamped pointer, 0xffff, is counted and names nothing", () => {
  const rule = new UrgentRule();
  rule.handleUrgent(0, 1448, 0xffff, 0);
  feed(rule, segment(70000, 65535), 0);
  assert.deepEqual(starts(rule), []);
  assert.equal(rule.counters.clamped, 1);
  assert.equal(rule.counters.pointers, 1);
});

Deno.test("p = SEQ and bit 7 set starts in the segment before: the header is split", () => {
  const rule = new UrgentRule();
  feed(rule, segment(100, 99), 0);
  rule.handleUrgent(100, 50, 0, 0);
  feed(rule, [SECOND, ...segment(49)], 100);
  assert.deepEqual(starts(rule), [99]);
  assert.equal(rule.counters.set, 1);
});

Deno.test("p = SEQ and bit 7 set behind a hole: the start is in the hole and is not given", () => {
  const rule = new UrgentRule();
  feed(rule, segment(100), 0);
  rule.handleUrgent(200, 50, 0, 0);
  feed(rule, [SECOND, ...segment(49)], 200);
  assert.deepEqual(starts(rule), []);
});

Deno.test("UP = 0 is the first byte of the segment by RFC 1122, and one before by BSD", () => {
  const clear = new UrgentRule();
  clear.handleUrgent(100, 50, 0, 0);
  feed(clear, segment(50, 0), 100);
  assert.deepEqual(starts(clear), [100]);
  const set = new UrgentRule();
  feed(set, segment(100), 0);
  set.handleUrgent(100, 50, 0, 0);
  feed(set, [SECOND, ...segment(49)], 100);
  assert.deepEqual(starts(set), [99]);
});

Deno.test("a first byte that is last in its segment is tested when the next segment comes", () => {
  const rule = new UrgentRule();
  rule.handleUrgent(0, 100, 100, 0); // mode A of Linux: BSD, SEQ + LEN
  feed(rule, segment(100, 99), 0);
  assert.deepEqual(starts(rule), []);
  feed(rule, [SECOND, ...segment(49)], 100);
  assert.deepEqual(starts(rule), [99]);
});

Deno.test("a pointer past the end waits, and is never read beyond the segment", () => {
  const rule = new UrgentRule();
  rule.handleUrgent(0, 10, 60, 0);
  feed(rule, segment(10), 0);
  feed(rule, segment(50), 10); // up to 59
  assert.deepEqual(starts(rule), []);
  feed(rule, segment(10, 0), 60);
  assert.deepEqual(starts(rule), [60]);
});

Deno.test("bytes of the pointer that are never captured make it a pointer outside", () => {
  const rule = new UrgentRule();
  rule.handleUrgent(0, 10, 60, 0);
  feed(rule, segment(10), 100);
  assert.deepEqual(starts(rule), []);
  assert.equal(rule.counters.outside, 1);
});

Deno.test("of several messages in a segment only the one that is named is a start", () => {
  const rule = new UrgentRule();
  rule.handleUrgent(0, 150, 101, 0);
  feed(rule, segment(150, 0, 50, 100), 0);
  assert.deepEqual(starts(rule), [100]);
  assert.equal(rule.names(0), false);
  assert.equal(rule.names(50), false);
});

Deno.test("a retransmission with another pointer adds its place and takes none away", () => {
  const rule = new UrgentRule();
  rule.handleUrgent(0, 200, 51, 0);
  rule.handleUrgent(0, 200, 151, SECOND_NS);
  rule.handleUrgent(0, 200, 151, SECOND_NS);
  feed(rule, segment(200, 50, 150), 0);
  assert.deepEqual(starts(rule).sort(), [150, 50]);
  assert.ok(rule.names(50) && rule.names(150));
  assert.equal(rule.counters.repeated, 1);
  rule.handleUrgent(0, 200, 51, SECOND_NS);
  assert.equal(rule.counters.repeated, 2);
  assert.deepEqual(starts(rule), []);
});

Deno.test("a pointer to old data is ignored, whether it moves back or the stream went on", () => {
  const rule = new UrgentRule();
  feed(rule, segment(100), 0);
  rule.handleUrgent(50, 20, 10, 0);
  assert.equal(rule.counters.outside, 1);
  rule.handleUrgent(100, 20, 50, 0);
  rule.forget(160);
  assert.equal(rule.counters.outside, 2);
  rule.handleUrgent(150, 20, 5, 0);
  assert.equal(rule.counters.outside, 3);
  feed(rule, segment(100), 100);
  assert.deepEqual(starts(rule), []);
});

Deno.test("a segment of 65160 bytes, as offload makes them, has its pointer from its own start", () => {
  const rule = new UrgentRule();
  rule.handleUrgent(1_000_000, 65160, 65001, 0);
  feed(rule, segment(65160, 65000), 1_000_000);
  assert.deepEqual(starts(rule), [1_065_000]);
});

Deno.test("with the bits of RFC 7143 rule 6 errs by one for BSD, and both places are offered", () => {
  const rule = new UrgentRule();
  rule.handleUrgent(0, 100, 21, 0);
  const bytes = segment(100);
  bytes[20] = 0x05;
  bytes[21] = 0x00; // F is clear: not the last of its sequence
  feed(rule, bytes, 0);
  assert.deepEqual(starts(rule), [21]);
  assert.ok(rule.names(20) && rule.names(21));
  assert.equal(rule.names(19), false);
  assert.equal(rule.names(22), false);
  assert.ok(rule.names(20));
  assert.ok(rule.names(21));
});

Deno.test("msgr2, where bit 7 of both bytes is clear, is offered both places too", () => {
  const rule = new UrgentRule();
  rule.handleUrgent(0, 100, 21, 0);
  const bytes = segment(100);
  bytes[20] = 17;
  bytes[21] = 4;
  feed(rule, bytes, 0);
  assert.ok(rule.names(20) && rule.names(21));
});

Deno.test("a byte is tested once its segment is there, in the same call or in a later one", () => {
  const inside = new UrgentRule();
  inside.handleUrgent(0, 561, 1, 0);
  feed(inside, segment(561, 0), 0); // first byte and rest together
  assert.deepEqual(starts(inside), [0]);
  const alone = new UrgentRule();
  alone.handleUrgent(0, 1, 1, 0);
  feed(alone, [FIRST], 0); // the first byte travels alone: look only inside and there is nothing
  assert.deepEqual(starts(alone), []);
  feed(alone, [SECOND, 0x41], 1);
  assert.deepEqual(starts(alone), [0]);
});

Deno.test("a pointer to the byte behind a whole message names the next one: mode B", () => {
  const rule = new UrgentRule();
  rule.handleUrgent(0, 560, 560, 0);
  feed(rule, segment(560, 0), 0);
  feed(rule, segment(560, 0), 560);
  assert.deepEqual(starts(rule), [560]);
});

Deno.test("pointers wait five seconds of the capture and no longer", () => {
  const rule = new UrgentRule();
  rule.handleUrgent(0, 10, 1000, 0);
  rule.handleUrgent(10, 10, 1050, 4 * SECOND_NS);
  rule.handleUrgent(20, 10, 1100, 5 * SECOND_NS + 1);
  assert.equal(rule.counters.expired, 1);
  feed(rule, segment(200), 1000);
  assert.deepEqual(starts(rule), [1060, 1120]);
});

Deno.test("64 pointers wait, and the oldest makes room", () => {
  const rule = new UrgentRule();
  for (let index = 0; index < 100; index++) rule.handleUrgent(0, 10, 1000 + index * 2, 0);
  assert.equal(rule.counters.expired, 36);
  feed(rule, segment(400), 1000);
  const found = starts(rule);
  assert.equal(found.length, 64);
  assert.equal(found[0], 1072);
});

Deno.test("any number of pointers keeps the machine within its bounds", () => {
  const rule = new UrgentRule();
  let offset = 0;
  let seed = 1;
  const at = take(2000);
  for (let index = 0; index < 100_000; index++) {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    const length = seed % 1500;
    rule.handleUrgent(offset, length, seed % 65536, index);
    if (seed % 7 !== 0) rule.handleBytes(at, at + length, offset);
    if (seed % 11 === 0) rule.forget(offset - 1000);
    offset += length;
    rule.names(offset);
  }
  give(at);
  assert.equal(rule.counters.pointers, 100_000);
  assert.ok(starts(rule).length <= 128);
});
