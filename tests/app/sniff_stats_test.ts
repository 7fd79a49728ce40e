/** Statistics of a capture: exact sums, tables, the verdict, and that they cost no memory. */
import assert from "node:assert/strict";
import { getHeapStatistics } from "node:v8";
import { RateTrack } from "../../src/app/sniff/rate_track.ts";
import { type CaptureCounters, SniffStats } from "../../src/app/sniff/sniff_stats.ts";
import { healthText, statsLines } from "../../src/app/sniff/stats_text.ts";
import { printableJson } from "../../src/app/printable.ts";
import { Conversation } from "../../src/proto/capture/conversation.ts";
import { CEPH, foundOf, gapOf, ISCSI } from "./sniff_found.ts";

const NOTHING: CaptureCounters = { span: null, capture: {}, tcp: {}, urgent: {} };
const MILLION = 1_000_000;
// deno-lint-ignore no-control-regex -- these are what must not get through
const UNSAFE = /[\x00-\x1f\x7f-\x9f\u2028-\u202e]/;

/** Two protocols in two seconds, one of them with answers. */
function usual(): SniffStats {
  const stats = new SniffStats();
  const iscsi = { conversation: ISCSI, protocol: "iscsi" as const };
  for (let index = 0; index < 10; index++) {
    const beginNs = index * 200_000_000;
    stats.handleFound(foundOf({ type: "osd_op", length: 1000 + index * 100, beginNs }));
    stats.handleFound(foundOf({
      ...iscsi,
      side: 1,
      tag: "SCSI Data-In",
      length: 4144,
      beginNs: beginNs + 100,
      answers: "task",
      latencyNs: (index + 1) * 100_000,
    }));
  }
  return stats;
}

Deno.test("sums, shares and percentiles are those of what was told", () => {
  const report = usual().report(NOTHING);
  assert.equal(report.messages, 20);
  assert.equal(report.bytes, 14_500 + 41_440);
  assert.equal(report.seconds, 1.8000001);
  assert.equal(Math.round(report.messages_per_second), 11);
  assert.deepEqual(report.peak, { at: 1, messages: 10, bytes: 29_220, seconds: 1 });
  assert.deepEqual(report.steps, [26_720, 29_220]);
  assert.deepEqual(report.found_by, {
    start: 0,
    length: 20,
    crc: 0,
    "header-chain": 0,
    digest: 0,
    urgent: 0,
  });
  const [msgr2, iscsi] = report.protocols;
  assert.equal(msgr2!.protocol, "msgr2");
  assert.deepEqual(msgr2!.kinds.map(({ tag, type, messages }) => [tag, type, messages]), [
    ["MSG", "osd_op", 10],
  ]);
  const { size } = msgr2!.kinds[0]!;
  assert.equal(size.min, 1000);
  assert.equal(size.max, 1900);
  assert.ok(Math.abs(size.p50 - 1400) < 50, `${size.p50}`);
  assert.equal(size.p99, 1900);
  assert.deepEqual(iscsi!.size, { min: 4144, p50: 4144, p90: 4144, p99: 4144, max: 4144 });
  const [latency] = report.latencies;
  assert.deepEqual([latency!.answers, latency!.tag, latency!.count], ["task", "SCSI Data-In", 10]);
  assert.equal(latency!.latency.min, 0.0001);
  assert.equal(latency!.latency.max, 0.001);
  assert.ok(Math.abs(latency!.latency.p50 - 0.0005) < 0.00002);
});

Deno.test("the busiest second is found, and time is that of the packets when they are known", () => {
  const stats = usual();
  stats.handleFound(foundOf({ beginNs: 1_500_000_000, length: 1 << 20 }));
  const report = stats.report({ ...NOTHING, span: { firstNs: 0, lastNs: 4e9 } });
  assert.equal(report.seconds, 4);
  assert.equal(report.peak.at, 1);
  assert.equal(report.peak.messages, 11);
});

Deno.test("conversations have both directions, what is assigned and what is not", () => {
  const stats = usual();
  stats.handleFound(foundOf({ length: 500, missing: 20, errors: ["hole: 20 bytes"] }));
  stats.handleGap(gapOf({ length: 1448, missing: 1000 }));
  stats.handleGap(gapOf({ length: 52, missing: 0, side: 1 }));
  const report = stats.report(NOTHING);
  assert.deepEqual(report.conversations[0]!.ends, ISCSI.ends);
  assert.deepEqual(report.conversations[1], {
    ends: CEPH.ends,
    directions: [
      { messages: 11, bytes: 15_000, assigned: 14_980, unassigned: 1448, holes: 2 },
      { messages: 0, bytes: 0, assigned: 0, unassigned: 52, holes: 0 },
    ],
  });
  assert.equal(report.gaps, 2);
  assert.equal(report.unassigned, 1500);
  assert.equal(report.unassigned_missing, 1000);
  assert.equal(report.messages_with_holes, 1);
  assert.equal(report.message_bytes_missing, 20);
});

Deno.test("errors that differ in numbers only are of one kind, and kinds are bounded", () => {
  const stats = new SniffStats();
  for (let index = 0; index < 1000; index++) {
    stats.handleFound(foundOf({ errors: [`crc is 0x${index.toString(16)} rather than ${index}`] }));
  }
  assert.deepEqual(stats.report(NOTHING).errors, [
    { error: "crc is N rather than N", count: 1000 },
  ]);
  for (let index = 0; index < 1000; index++) {
    stats.handleFound(foundOf({ errors: [`kind ${"abcdefghij"[index % 10]!.repeat(index)}`] }));
  }
  const { errors } = stats.report(NOTHING);
  assert.equal(errors.length, 65);
  assert.equal(errors.reduce((sum, { count }) => sum + count, 0), 2000);
  assert.ok(errors.every(({ error }) => error.length <= 160));
});

Deno.test("kinds that a peer invents are added up", () => {
  const stats = new SniffStats();
  for (let type = 0; type < 5000; type++) {
    stats.handleFound(foundOf({ type: `0x${type.toString(16)}` }));
    stats.handleFound(foundOf({ protocol: "iscsi", tag: `opcode ${type % 64}` }));
  }
  const { messages, protocols: [msgr2, iscsi] } = stats.report(NOTHING);
  assert.equal(messages, 10_000);
  assert.ok(msgr2!.kinds.length + iscsi!.kinds.length <= 258);
  assert.equal(msgr2!.kinds.reduce((sum, kind) => sum + kind.messages, 0), 5000);
  assert.equal(iscsi!.kinds.reduce((sum, kind) => sum + kind.messages, 0), 5000);
  assert.ok(msgr2!.kinds.some(({ tag }) => tag === "other kinds"));
});

Deno.test("small conversations are added up when there are too many, large ones stay", () => {
  const stats = new SniffStats();
  for (let number = 1; number <= 20_000; number++) {
    const ends = [`10.0.0.1:${number}`, "10.0.0.2:3260"] as const;
    const conversation = new Conversation(number, ends, [number, 3260]);
    stats.handleFound(foundOf({ conversation, length: number % 4000 === 0 ? 1 << 20 : 100 }));
  }
  const report = stats.report(NOTHING);
  assert.equal(report.conversations_total, 20_000);
  assert.equal(report.conversations.length, 21);
  const large = report.conversations.filter(({ directions: [{ bytes }] }) => bytes === 1 << 20);
  assert.equal(large.length, 5);
  const all = report.conversations.reduce(
    (sum, { directions: [{ messages }] }) => sum + messages,
    0,
  );
  assert.equal(all, 20_000);
  assert.equal(report.conversations.at(-1)!.ends, null);
});

Deno.test("a million messages allocate nothing", () => {
  const stats = new SniffStats();
  const kinds = ["osd_op", "osd_op_reply", "ping"].map((type, index) =>
    foundOf({
      type,
      side: index === 1 ? 1 : 0,
      conversation: index === 2 ? ISCSI : CEPH,
      answers: index === 1 ? "tid" : "",
      latencyNs: index === 1 ? 123_456 : -1,
    })
  );
  const tell = (count: number): void => {
    for (let index = 0; index < count; index++) {
      const found = kinds[index % kinds.length]!;
      found.length = 100 + index % 5000;
      found.begin.timeNs = index * 1000;
      found.finish.timeNs = index * 1000 + 10;
      stats.handleFound(found);
    }
  };
  let least = Infinity; // less than a boxed number for each
  for (let round = 0; round < 3; round++) { // the first ones are compiled on the way
    const before = allocatedBytes();
    tell(MILLION);
    least = Math.min(least, (allocatedBytes() - before) / MILLION);
  }
  assert.ok(least < 16, `${least} bytes for a message`);
  assert.equal(stats.report(NOTHING).messages, 3 * MILLION);
});

function allocatedBytes(): number {
  return (getHeapStatistics() as unknown as { total_allocated_bytes: number })
    .total_allocated_bytes;
}

Deno.test("RateTrack doubles its slots when time outgrows them, and loses nothing", () => {
  const track = new RateTrack();
  track.add(0, 10);
  track.add(5000 * 1e9, 30);
  track.add(5001 * 1e9, 5);
  assert.equal(track.slotSeconds, 2);
  assert.deepEqual(track.peak(), { at: 5000, messages: 2, bytes: 35 });
  track.add(Number.MAX_SAFE_INTEGER, 1);
  track.add(-5, 1);
  assert.equal(track.steps(60).reduce((sum, bytes) => sum + bytes, 0), 47);
  assert.ok(track.steps(60).length <= 60);
  assert.deepEqual(new RateTrack().peak(), { at: 0, messages: 0, bytes: 0 });
  assert.deepEqual(new RateTrack().steps(60), []);
});

Deno.test("statsLines() are tables, and the last line is the verdict", () => {
  const lines = statsLines(
    usual().report({
      span: { firstNs: 0, lastNs: 2e9 },
      capture: { packets: 40, notTcp: 2, dropped: 0 },
      tcp: { retransmittedSegments: 3, conflicts: 0 },
      urgent: { segments: 0, lostBytes: 0 },
    }),
  );
  assert.deepEqual(lines, [
    "20 messages of 54.6 KiB in 2.000 s: 10.0 messages/s, 27.3 KiB/s",
    "busiest second, from 1 s on: 10 messages, 28.5 KiB",
    "bytes over time: ██",
    "",
    "msgr2       messages    share     bytes    share   min  median   p90   p99   max  bad",
    "MSG osd_op        10  100.0 %  14.2 KiB  100.0 %  1000    1392  1808  1900  1900    -",
    "all               10           14.2 KiB           1000    1392  1808  1900  1900",
    "",
    "iscsi         messages    share     bytes    share   min  median   p90   p99   max  bad",
    "SCSI Data-In        10  100.0 %  40.5 KiB  100.0 %  4144    4144  4144  4144  4144    -",
    "all                 10           40.5 KiB           4144    4144  4144  4144  4144",
    "",
    "latency of answers  count     min     p50     p90      p99      max",
    "task SCSI Data-In      10  100 us  506 us  909 us  1.00 ms  1.00 ms",
    "",
    "conversation                      messages     bytes  captured  not assigned  holes",
    "[fd09::1]:41000 > [fd09::2]:3260         0       0 B         -             -      -",
    "and back                                10  40.5 KiB     100 %             -      -",
    "10.9.1.1:50000 > 10.9.1.2:6800          10  14.2 KiB     100 %             -      -",
    "and back                                 0       0 B         -             -      -",
    "",
    "found by: length 20",
    "gaps: 0, 0 B of no message, 0 B of it not captured; 0 messages with holes, 0 B not captured",
    "capture: packets 40, not tcp 2",
    "TCP: retransmitted segments 3",
    "",
    "Healthy: every byte of 54.6 KiB belongs to one of 20 messages, none with an error",
  ]);
});

Deno.test("the verdict names everything that speaks against a capture", () => {
  const stats = usual();
  assert.equal(
    healthText(new SniffStats().report(NOTHING)),
    "No message was found: this tells nothing of msgr2 or iSCSI",
  );
  stats.handleFound(foundOf({ length: 500, missing: 20, errors: ["hole: 20 bytes"] }));
  stats.handleGap(gapOf({ length: 1448, missing: 1000 }));
  const report = stats.report({
    ...NOTHING,
    capture: { dropped: 2 },
    tcp: { conflicts: 1 },
    urgent: { lostBytes: 7 },
  });
  assert.equal(
    healthText(report),
    "Not healthy: 1.76 % of the bytes were not captured, the kernel dropped 2 packets, 448 B " +
      "belong to no message, 1 message with errors, 1 overlap with other bytes than first seen, an " +
      "ordinary receiver loses up to 7 urgent bytes; capture whole packets nearer to an end, with a " +
      "larger buffer, somebody may forge segments, receive with SO_OOBINLINE or stop marking",
  );
  const nearly = new SniffStats();
  nearly.handleFound(foundOf({ length: 1e9 }));
  nearly.handleGap(gapOf({ length: 1, missing: 1 }));
  assert.match(healthText(nearly.report(NOTHING)), /^Not healthy: under 0\.01 % of the bytes/);
});

Deno.test("of a choice of messages nothing is said of the capture's health", () => {
  const stats = new SniffStats();
  stats.handleFound(foundOf({ length: 500 }));
  assert.match(statsLines(stats.report(NOTHING)).at(-1)!, /^Healthy: every byte of 500 B/);
  const none = statsLines(stats.report(NOTHING), true).at(-1)!;
  assert.match(none, /^1 message chosen, none with errors; without --tag, --type and --errors /);
  stats.handleFound(foundOf({ length: 500, errors: ["crc"] }));
  assert.match(
    statsLines(stats.report(NOTHING), true).at(-1)!,
    /^2 messages chosen, 1 with errors;/,
  );
});

Deno.test("hostile names and empty captures make plain tables and JSON", () => {
  const stats = new SniffStats();
  assert.equal(statsLines(stats.report(NOTHING)).at(-1)!.slice(0, 20), "No message was found");
  assert.doesNotMatch(printableJson(stats.report(NOTHING)), /NaN|Infinity|null/);
  for (let index = 0; index < 100; index++) {
    const bad = `\x1b[2J\u202e\n${index}`;
    stats.handleFound(foundOf({ tag: bad, type: bad.repeat(1000), errors: [bad], latencyNs: 0 }));
  }
  const report = stats.report({ ...NOTHING, tcp: { ["\x1b[31m"]: 1 } });
  for (const line of statsLines(report)) {
    assert.doesNotMatch(line, UNSAFE);
    assert.ok(line.length < 250);
  }
  assert.doesNotMatch(printableJson(report), UNSAFE);
});
