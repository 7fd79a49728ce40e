/**
 * One direction of a captured TCP connection: the rules of src/proto/capture/tcp_stream.ts one by one.
 * The log has side, offset, what was told, and the packet that it came in.
 */
import assert from "node:assert/strict";
import { getHeapStatistics } from "node:v8";
import { arenaTaken, give, take } from "../../src/mem/arena.ts";
import { Moment } from "../../src/proto/boundary/found.ts";
import {
  type ConversationFollower,
  ConversationTable,
} from "../../src/proto/capture/conversation_table.ts";
import { TcpFlag, TcpSegment } from "../../src/wire/capture/tcp.ts";
import { Rig } from "./segment_rig.ts";

const { Ack, Fin, Rst, Syn } = TcpFlag;

/** Opens a connection, runs `body`, and sees that no memory is left behind. */
function opened(name: string, body: (rig: Rig) => void): void {
  Deno.test(name, () => {
    const rig = new Rig();
    rig.open();
    assert.deepEqual(rig.told(), []);
    body(rig);
    rig.end();
    assert.equal(rig.leak(), 0);
  });
}

opened("bytes in order are told at once, both ways", (rig) => {
  rig.up(0, "abc", { ack: 0 });
  rig.down(0, "xy", { ack: 3 });
  rig.up(3, "de", { ack: 2 });
  assert.deepEqual(rig.told(), ["0 0 abc @4", "1 0 xy @5", "0 3 de @6"]);
  rig.shut(5, 2);
  assert.deepEqual(rig.told(), ["0 5 end @7", "1 2 end @8", "close"]);
  assert.deepEqual(rig.conversations[0]!.fromStart, [true, true]);
});

for (const isn of [0xffff_fffc, 0x7fff_fffc, 0xffff_ffff, 0xffff_fffe]) {
  Deno.test(`sequence numbers wrap: first ${isn.toString(16)}`, () => {
    const rig = new Rig({}, isn, 0x7fff_fffe);
    rig.open();
    rig.up(0, "ab");
    rig.up(4, "ef");
    rig.up(2, "cd");
    rig.up(6, "gh");
    rig.down(0, "0123", { ack: 8 });
    rig.down(4, "45", { ack: 8 });
    rig.shut(8, 6);
    assert.deepEqual(rig.told(), [
      "0 0 ab @4",
      "0 2 cd @6",
      "0 4 ef @5",
      "0 6 gh @7",
      "1 0 0123 @8",
      "1 4 45 @9",
      "0 8 end @10",
      "1 6 end @11",
      "close",
    ]);
    assert.equal(rig.leak(), 0);
  });
}

Deno.test("offsets go on beyond 2^32", () => {
  const rig = new Rig();
  rig.open();
  let offset = 0;
  const step = 2 ** 30 - 1000;
  while (offset < 2 ** 33) {
    offset += step;
    rig.up(offset, "x", { ack: 0 });
    rig.wait(10_000);
  }
  const last = rig.told().slice(-2);
  assert.equal(last[1], `0 ${offset} x @12`);
  assert.match(last[0]!, / hole \d+ stalled @12$/);
  rig.end();
  assert.equal(rig.leak(), 0);
});

Deno.test("data on the SYN is the beginning of the stream", () => {
  const rig = new Rig();
  rig.up(0, "abc", { flags: Syn });
  rig.down(0, "", { flags: Syn, ack: 3 });
  rig.up(3, "de", { ack: 0 });
  assert.deepEqual(rig.told(), ["0 0 abc @1", "0 3 de @3"]);
  rig.end();
  assert.equal(rig.leak(), 0);
});

opened("a segment ahead waits for the gap, and keeps its own moment", (rig) => {
  rig.up(3, "def");
  rig.up(9, "j");
  rig.up(6, "ghi");
  assert.deepEqual(rig.told(), []);
  rig.up(0, "abc");
  assert.deepEqual(rig.told(), ["0 0 abc @7", "0 3 def @4", "0 6 ghi @6", "0 9 j @5"]);
  const [counts] = rig.conversations[0]!.counts;
  assert.equal(counts.outOfOrderSegments, 3);
  assert.equal(counts.retransmittedSegments, 0);
});

opened("retransmissions are told once, whole and in part", (rig) => {
  rig.up(0, "abc");
  rig.up(0, "abc");
  rig.up(1, "bcd");
  rig.up(0, "abcdef");
  assert.deepEqual(rig.told(), ["0 0 abc @4", "0 3 d @6", "0 4 ef @7"]);
  const [counts] = rig.conversations[0]!.counts;
  assert.equal(counts.retransmittedSegments, 3);
  assert.equal(counts.retransmittedBytes, 3 + 2 + 4);
  assert.equal(counts.conflicts, 0);
  assert.equal(counts.bytes, 15);
});

/** Overlaps with a held "EFGH" at 4: what is sent, what is told when "abcd" fills the gap, bytes that differ. */
const OVERLAPS = [
  { name: "the same", offset: 4, data: "EFGH", told: ["0 4 EFGH @4"], differing: 0 },
  { name: "the same, other bytes", offset: 4, data: "efGH", told: ["0 4 EFGH @4"], differing: 2 },
  { name: "inside", offset: 5, data: "FG", told: ["0 4 EFGH @4"], differing: 0 },
  {
    name: "around",
    offset: 2,
    data: "cdEFGHijk",
    told: ["0 2 cd @5", "0 4 EFGH @4", "0 8 ijk @5"],
    differing: 0,
  },
  {
    name: "around, other bytes",
    offset: 2,
    data: "cdefghijk",
    told: ["0 2 cd @5", "0 4 EFGH @4", "0 8 ijk @5"],
    differing: 4,
  },
  { name: "its begin", offset: 3, data: "dEF", told: ["0 3 d @5", "0 4 EFGH @4"], differing: 0 },
  { name: "its end", offset: 7, data: "Hi", told: ["0 4 EFGH @4", "0 8 i @5"], differing: 0 },
];

for (const { name, offset, data, told, differing } of OVERLAPS) {
  opened(`an overlap with held bytes: ${name}: what was seen first stays`, (rig) => {
    rig.up(4, "EFGH");
    rig.up(offset, data);
    rig.up(0, "abcd".slice(0, Math.min(offset, 4)));
    assert.deepEqual(rig.told(), [`0 0 ${"abcd".slice(0, Math.min(offset, 4))} @6`, ...told]);
    const [counts] = rig.conversations[0]!.counts;
    assert.equal(counts.conflicts, differing > 0 ? 1 : 0);
    assert.equal(counts.conflictBytes, differing);
    assert.equal(counts.retransmittedSegments, 1);
  });
}

opened("a segment that fills a gap and reaches over several held pieces", (rig) => {
  rig.up(2, "C");
  rig.up(4, "E");
  rig.up(6, "G");
  rig.up(0, "abCdxfGhi");
  assert.deepEqual(rig.told(), [
    "0 0 ab @7",
    "0 2 C @4",
    "0 3 d @7",
    "0 4 E @5",
    "0 5 f @7",
    "0 6 G @6",
    "0 7 hi @7",
  ]);
  const [counts] = rig.conversations[0]!.counts;
  assert.equal(counts.conflicts, 1);
  assert.equal(counts.conflictBytes, 1);
  assert.equal(counts.retransmittedBytes, 3);
});

opened("what the snap length cut off is a hole, in order and ahead", (rig) => {
  rig.up(0, "abcdef", { captured: 2 });
  assert.deepEqual(rig.told(), ["0 0 ab @4", "0 2 hole 4 snap @4"]);
  rig.up(9, "jkl", { captured: 1 });
  rig.up(6, "ghi", { captured: 0 });
  assert.deepEqual(rig.told(), ["0 6 hole 3 snap @6", "0 9 j @5", "0 10 hole 2 snap @5"]);
  assert.deepEqual(rig.conversations[0]!.counts[0].holes.snap, { count: 3, bytes: 9 });
});

Deno.test("a side joined in mid-stream begins with its first captured byte", () => {
  const rig = new Rig();
  rig.up(0, "", { ack: 100 });
  rig.down(100, "xy", { ack: 500 });
  rig.up(500, "", { ack: 102 });
  rig.up(500, "abc", { ack: 102 });
  rig.up(497, "...");
  rig.up(499, ".abcd");
  assert.deepEqual(rig.told(), ["1 0 xy @2", "0 0 abc @4", "0 3 d @6"]);
  const [counts] = rig.conversations[0]!.counts;
  assert.equal(counts.earlySegments, 2);
  assert.equal(counts.earlyBytes, 4);
  assert.deepEqual(rig.conversations[0]!.fromStart, [false, false]);
  rig.end();
  assert.equal(rig.leak(), 0);
});

opened("keepalive probes are retransmissions and nothing else", (rig) => {
  rig.up(0, "abc");
  rig.up(2, "", { ack: 0 });
  rig.up(2, "\0", { ack: 0 });
  rig.up(3, "d");
  assert.deepEqual(rig.told(), ["0 0 abc @4", "0 3 d @7"]);
  const [counts] = rig.conversations[0]!.counts;
  assert.equal(counts.retransmittedSegments, 2);
  assert.equal(counts.retransmittedBytes, 1);
});

Deno.test("a keepalive probe of a side joined in mid-stream is no early byte", () => {
  const rig = new Rig();
  rig.up(500, "");
  rig.up(501, "abc");
  rig.up(503, "");
  rig.up(503, "\0");
  assert.deepEqual(rig.told(), ["0 0 abc @2"]);
  const [counts] = rig.conversations[0]!.counts;
  assert.equal(counts.earlySegments, 0);
  assert.equal(counts.retransmittedSegments, 2);
  rig.end();
  assert.equal(rig.leak(), 0);
});

opened("segments further ahead than any window are counted and dropped", (rig) => {
  rig.up(2 ** 30 + 1, "far");
  rig.wait(20_000);
  assert.deepEqual(rig.told(), []);
  assert.equal(rig.conversations[0]!.counts[0].farSegments, 1);
  rig.up(0, "abc");
  assert.deepEqual(rig.told(), ["0 0 abc @5"]);
});

opened("an acknowledged gap is a hole after 100 ms, told once with its whole length", (rig) => {
  rig.up(0, "ab");
  rig.up(10, "kl");
  rig.down(0, "", { ack: 12 });
  rig.wait(99);
  assert.deepEqual(rig.told(), ["0 0 ab @4"]);
  rig.wait(1);
  assert.deepEqual(rig.told(), ["0 2 hole 8 acknowledged @5", "0 10 kl @5"]);
  rig.up(2, "cdefghij");
  rig.up(12, "m");
  assert.deepEqual(rig.told(), ["0 12 m @8"]);
  const [counts] = rig.conversations[0]!.counts;
  assert.deepEqual(counts.holes.acknowledged, { count: 1, bytes: 8 });
  assert.equal(counts.retransmittedBytes, 8);
});

opened("the segments of the capture move the clock too", (rig) => {
  rig.up(2, "c");
  rig.down(0, "", { ack: 3 });
  rig.nowMs += 100;
  rig.down(0, "x", { ack: 3 });
  assert.deepEqual(rig.told(), ["1 0 x @6", "0 0 hole 2 acknowledged @4", "0 2 c @4"]);
});

opened("an acknowledged gap that is filled within 100 ms is none", (rig) => {
  rig.up(2, "cd");
  rig.down(0, "", { ack: 4 });
  rig.wait(99);
  rig.up(0, "ab");
  rig.wait(1000);
  assert.deepEqual(rig.told(), ["0 0 ab @6", "0 2 cd @4"]);
});

opened("an acknowledged gap is a hole when 24 more segments came behind it", (rig) => {
  rig.up(1, "b");
  rig.down(0, "", { ack: 2 });
  for (let index = 0; index < 23; index++) rig.up(2 + index, "x");
  assert.deepEqual(rig.told(), []);
  rig.up(25, "y");
  const told = rig.told();
  assert.equal(told[0], "0 0 hole 1 acknowledged @4");
  assert.equal(told.length, 26);
  assert.equal(told[25], "0 25 y @29");
});

opened(
  "segments of the other side count too, and what waited is told before their bytes",
  (rig) => {
    rig.up(1, "b");
    rig.down(0, "", { ack: 2 });
    for (let index = 0; index < 23; index++) rig.down(index, "z", { ack: 2 });
    assert.equal(rig.told().length, 23);
    rig.down(23, "z", { ack: 2 });
    assert.deepEqual(rig.told(), ["0 0 hole 1 acknowledged @4", "0 1 b @4", "1 23 z @29"]);
  },
);

opened("without an acknowledgement no number of segments makes a hole", (rig) => {
  rig.up(1, "b");
  for (let index = 0; index < 200; index++) rig.down(index, "z", { ack: 0 });
  assert.equal(rig.told().length, 200);
});

opened("several gaps that were acknowledged together are given up together", (rig) => {
  rig.up(1, "b");
  rig.up(3, "d");
  rig.up(5, "f");
  rig.down(0, "", { ack: 4 });
  rig.wait(100);
  assert.deepEqual(rig.told(), [
    "0 0 hole 1 acknowledged @4",
    "0 1 b @4",
    "0 2 hole 1 acknowledged @5",
    "0 3 d @5",
  ]);
  rig.wait(5000);
  assert.deepEqual(rig.told(), []);
  rig.down(0, "", { ack: 6 });
  rig.wait(100);
  assert.deepEqual(rig.told(), ["0 4 hole 1 acknowledged @6", "0 5 f @6"]);
});

opened("a gap that nobody acknowledges is given up after 10 s without progress", (rig) => {
  rig.up(4, "e");
  rig.wait(9000);
  rig.up(0, "ab");
  assert.deepEqual(rig.told(), ["0 0 ab @5"]);
  rig.wait(9999);
  assert.deepEqual(rig.told(), []);
  rig.wait(1);
  assert.deepEqual(rig.told(), ["0 2 hole 2 stalled @4", "0 4 e @4"]);
});

Deno.test("where the other side was never captured, one second is enough", () => {
  const rig = new Rig();
  rig.up(0, "", { flags: Syn });
  rig.up(1, "b");
  rig.wait(500);
  rig.up(3, "d");
  rig.wait(499);
  assert.deepEqual(rig.told(), []);
  rig.wait(1);
  assert.deepEqual(rig.told(), ["0 0 hole 1 stalled @2", "0 1 b @2"]);
  rig.wait(500);
  assert.deepEqual(rig.told(), ["0 2 hole 1 stalled @3", "0 3 d @3"]);
  rig.end();
  assert.equal(rig.leak(), 0);
});

opened("a FIN waits for the bytes before it; bytes behind it are dropped", (rig) => {
  rig.up(4, "ef", { flags: Fin });
  rig.up(6, "bad");
  assert.deepEqual(rig.told(), []);
  rig.up(0, "abcd");
  assert.deepEqual(rig.told(), ["0 0 abcd @6", "0 4 ef @4", "0 6 end @4"]);
  rig.up(6, "worse");
  rig.up(4, "ef", { flags: Fin });
  assert.deepEqual(rig.told(), []);
  const [counts] = rig.conversations[0]!.counts;
  assert.equal(counts.straySegments, 2);
  assert.equal(counts.strayBytes, 8);
  rig.down(0, "still", { ack: 7 });
  rig.down(5, "", { flags: Fin, ack: 7 });
  assert.deepEqual(rig.told(), ["1 0 still @9", "1 5 end @10", "close"]);
});

opened("a gap in front of a lone FIN is a hole when it was acknowledged", (rig) => {
  rig.up(4, "", { flags: Fin });
  rig.down(0, "", { flags: Fin, ack: 5 });
  rig.wait(100);
  assert.deepEqual(rig.told(), ["1 0 end @5", "0 0 hole 4 acknowledged @4", "0 4 end @4", "close"]);
  assert.equal(rig.table.counters.finished, 1);
});

opened("a FIN in front of bytes that are held is none", (rig) => {
  rig.up(4, "ef");
  rig.up(2, "", { flags: Fin });
  rig.up(0, "abcd");
  assert.deepEqual(rig.told(), ["0 0 abcd @6", "0 4 ef @4"]);
});

opened("RST ends both sides, and what is held is told", (rig) => {
  rig.up(2, "cd");
  rig.down(0, "xy");
  rig.abort(4);
  assert.deepEqual(rig.told(), [
    "1 0 xy @5",
    "0 0 hole 2 ended @4",
    "0 2 cd @4",
    "0 4 end @6",
    "1 2 end @6",
    "close",
  ]);
  assert.equal(rig.table.counters.reset, 1);
});

opened("an RST that is of no such connection is counted, and ends nothing", (rig) => {
  rig.up(0, "ab");
  rig.abort(2 ** 30 + 10);
  rig.up(2, "cd");
  assert.deepEqual(rig.told(), ["0 0 ab @4", "0 2 cd @6"]);
  assert.equal(rig.table.counters.straySegments, 1);
});

opened("the end of the capture tells what is held and what was acknowledged", (rig) => {
  rig.up(2, "cd");
  rig.up(6, "gh");
  rig.down(0, "x", { ack: 20 });
  rig.end();
  assert.deepEqual(rig.told(), [
    "1 0 x @6",
    "0 0 hole 2 ended @4",
    "0 2 cd @4",
    "0 4 hole 2 ended @5",
    "0 6 gh @5",
    "0 8 hole 12 ended @6",
    "0 20 end @6",
    "1 1 end @6",
    "close",
  ]);
});

opened("one number that was acknowledged at the end is a FIN that was not captured", (rig) => {
  rig.up(0, "ab");
  rig.down(0, "", { ack: 3 });
  rig.end();
  assert.deepEqual(rig.told(), ["0 0 ab @4", "0 2 end @5", "1 0 end @5", "close"]);
});

opened("urgent segments are told in order, ahead and once more, before their bytes", (rig) => {
  rig.up(0, "a", { urgent: 1 });
  rig.up(4, "e", { urgent: 1 });
  rig.up(1, "bcd", { urgent: 4 });
  rig.up(0, "a", { urgent: 5 });
  rig.up(5, "f", { urgent: 0xffff });
  rig.up(6, "", { urgent: 0 });
  assert.deepEqual(rig.told(), [
    "0 0 urgent 1 -> 1 @4",
    "0 0 a @4",
    "0 4 urgent 1 -> 1 @5",
    "0 1 urgent 3 -> 4 @6",
    "0 1 bcd @6",
    "0 4 e @5",
    "0 0 urgent 1 -> 5 @7",
    "0 5 urgent 1 -> 65535 @8",
    "0 5 f @8",
    "0 6 urgent 0 -> 0 @9",
  ]);
  const [counts] = rig.conversations[0]!.counts;
  assert.equal(counts.urgentSegments, 6);
  assert.equal(counts.urgentClamped, 1);
  // The places 0 and 4, the latter three times, and 6.
  assert.equal(counts.urgentBytesLost, 3);
});

opened("each place of an urgent byte is counted once, whatever the order is", (rig) => {
  for (let place = 0; place < 500; place++) rig.up(place, "x", { urgent: 1 });
  for (let place = 499; place >= 0; place--) rig.up(place, "x", { urgent: 1 });
  for (let place = 540; place >= 500; place--) rig.up(place, "x", { urgent: 1 });
  assert.equal(rig.conversations[0]!.counts[0].urgentBytesLost, 541);
});

Deno.test("what one side holds is bounded: the gap in front is given up", () => {
  const rig = new Rig({ heldBytesPerSide: 64 * 1024 });
  rig.open();
  const piece = "x".repeat(1000);
  for (let index = 1; index <= 100; index++) {
    rig.up(index * 2000, piece);
    assert.ok(arenaTaken() - rig.before <= 64 * 1024);
  }
  const holes = rig.told().filter((line) => line.includes("hole"));
  assert.ok(holes.length > 30 && holes.length < 60, `${holes.length}`);
  assert.equal(holes[0], "0 0 hole 2000 full @4");
  assert.ok(holes.slice(1).every((line) => line.includes(" hole 1000 full ")));
  rig.end();
  assert.equal(arenaTaken(), rig.before);
  assert.equal(rig.leak(), 0);
});

Deno.test("a segment in the first gap is told, not lost, when nothing more can be held", () => {
  const rig = new Rig({ heldBytesPerSide: 4096 });
  rig.open();
  rig.up(10_000, "x".repeat(4000));
  rig.up(5000, "y".repeat(500));
  assert.deepEqual(rig.told(), ["0 0 hole 5000 full @5", "0 5000 500 x y @5"]);
  rig.end();
  assert.equal(rig.leak(), 0);
});

Deno.test("what is given up for want of memory after it was acknowledged is called so", () => {
  const rig = new Rig({ heldBytesPerSide: 64 * 1024 });
  rig.open();
  rig.up(1000, "x".repeat(40_000), { ack: 0 });
  rig.down(0, "", { ack: 41_000 });
  rig.up(41_000, "y".repeat(30_000), { ack: 0 });
  assert.deepEqual(rig.told(), [
    "0 0 hole 1000 acknowledged @4",
    "0 1000 40000 x x @4",
    "0 41000 30000 x y @6",
  ]);
  rig.end();
  assert.equal(rig.leak(), 0);
});

Deno.test("small pieces share blocks", () => {
  const rig = new Rig();
  rig.open();
  for (let index = 1; index <= 1000; index++) rig.up(index * 2, "x");
  assert.ok(arenaTaken() - rig.before <= 64 * 1024 + 64 * 1024, `${arenaTaken() - rig.before}`);
  rig.end();
  assert.equal(rig.leak(), 0);
});

Deno.test("the side that holds most gives first when all together hold too much", () => {
  const rig = new Rig({ heldBytes: 256 * 1024 });
  rig.open();
  for (let index = 1; index <= 40; index++) rig.up(index * 4000, "x".repeat(3000));
  rig.told();
  for (let index = 1; index <= 60; index++) rig.down(index * 4000, "y".repeat(3000));
  const told = rig.told();
  assert.equal(told[0], "0 0 hole 4000 full @4");
  assert.ok(arenaTaken() - rig.before <= 256 * 1024);
  rig.end();
  assert.equal(rig.leak(), 0);
});

/** Counts, and does nothing else. */
class Counter implements ConversationFollower {
  bytes = 0;

  handleBytes(_side: number, at: number, end: number): void {
    this.bytes += end - at;
  }

  handleHole(): void {}
  handleUrgent(): void {}
  handleEnd(): void {}
  close(): void {}
}

Deno.test("an in-order segment of a known conversation allocates nothing", () => {
  const counter = new Counter();
  const table = new ConversationTable(() => counter);
  const block = take(4096);
  const segments = [new TcpSegment(), new TcpSegment()] as const;
  for (const [index, segment] of segments.entries()) {
    segment.addresses.set([0, 0, 0xffff, 0x0a000001 + index, 0, 0, 0xffff, 0x0a000002 - index]);
    segment.sourcePort = index === 0 ? 40000 : 3260;
    segment.destinationPort = index === 0 ? 3260 : 40000;
    segment.flags = Syn | (index === 0 ? 0 : Ack);
    segment.acknowledgment = index === 0 ? 0 : 1;
  }
  const moment = new Moment();
  for (const segment of segments) table.handleSegment(segment, moment);
  const [data, answer] = segments;
  data.flags = answer.flags = Ack;
  data.sequence = answer.sequence = 1;
  data.dataAt = block;
  data.dataEnd = block + 1448;
  data.dataBytes = 1448;
  const run = (count: number): void => {
    for (let index = 0; index < count; index++) {
      moment.timeNs += 1000;
      moment.packet++;
      table.handleSegment(data, moment);
      data.sequence = (data.sequence + 1448) >>> 0;
      answer.acknowledgment = data.sequence;
      if (index % 2 === 0) table.handleSegment(answer, moment);
    }
  };
  run(100_000);
  const before = allocated();
  run(1_000_000);
  const bytes = (allocated() - before) / 1_000_000;
  assert.equal(counter.bytes, 1448 * 1_100_000);
  assert.ok(bytes < 4, `${bytes} bytes a segment`);
  give(block);
});

function allocated(): number {
  return (getHeapStatistics() as unknown as { total_allocated_bytes: number })
    .total_allocated_bytes;
}

opened("an RST with data tells none of it", (rig) => {
  rig.up(0, "no such thing", { flags: Rst });
  assert.deepEqual(rig.told(), ["0 0 end @4", "1 0 end @4", "close"]);
});
