/** The side-by-side table: medians, verdicts, how figures are written, and its layout. */
import assert from "node:assert/strict";
import {
  barText,
  bytesRateText,
  durationText,
  judge,
  judged,
  median,
  rateText,
  ratioText,
  reported,
  type Row,
  sizeText,
  summaryText,
  tableText,
} from "../../bench/peers/table.ts";

Deno.test("median() is the middle, or the mean of the two in the middle", () => {
  assert.equal(median([3]), 3);
  assert.equal(median([9, 1, 5]), 5);
  assert.equal(median([10, 9, 1, 2]), 5.5);
  assert.throws(() => median([]), /median of nothing/);
});

Deno.test("median() leaves its figures as they were", () => {
  const values = [3, 1, 2];
  median(values);
  assert.deepEqual(values, [3, 1, 2]);
});

Deno.test.each(
  [
    { ratio: 6, bar: { must: 4, aim: 6 }, verdict: "aim" },
    { ratio: 5.99, bar: { must: 4, aim: 6 }, verdict: "held" },
    { ratio: 4, bar: { must: 4, aim: 6 }, verdict: "held" },
    { ratio: 3.99, bar: { must: 4, aim: 6 }, verdict: "missed" },
    { ratio: 100, bar: { must: 4 }, verdict: "held" },
    { ratio: NaN, bar: { must: 4 }, verdict: "missed" },
  ] as const,
)("judge() finds $ratio $verdict", ({ ratio, bar, verdict }) => {
  assert.equal(judge(ratio, bar), verdict);
});

Deno.test("judged() and reported() are the last fields of a row", () => {
  assert.equal(barText({ must: 4 }), "must 4x");
  const bar = { must: 2.7, aim: 3.5 };
  assert.deepEqual(judged(3, bar), { ratio: 3, bar: "must 2.7x, aim 3.5x", verdict: "held" });
  assert.deepEqual(judged(1, bar, "as said"), { ratio: 1, bar: "as said", verdict: "missed" });
  assert.deepEqual(reported(), { ratio: null, bar: "", verdict: "reported" });
});

Deno.test.each([
  { text: rateText(912), expected: "912/s" },
  { text: rateText(63_240), expected: "63.2 k/s" },
  { text: rateText(1_046_000), expected: "1.05 M/s" },
  { text: bytesRateText(512), expected: "512 B/s" },
  { text: bytesRateText(451_000_000), expected: "451 MB/s" },
  { text: bytesRateText(12.68e9), expected: "12.7 GB/s" },
  { text: durationText(0.5), expected: "0.50 ns" },
  { text: durationText(31.44), expected: "31.4 ns" },
  { text: durationText(3210), expected: "3.21 us" },
  { text: durationText(112e6), expected: "112 ms" },
  { text: durationText(2e9), expected: "2.00 s" },
  { text: sizeText(28), expected: "28 B" },
  { text: sizeText(65_536), expected: "64 KiB" },
  { text: sizeText(1_048_576), expected: "1 MiB" },
  { text: ratioText(3.999), expected: "3.99x" },
  { text: ratioText(0.57), expected: "0.57x" },
])("a figure is written $expected", ({ text, expected }) => {
  assert.equal(text, expected);
});

const STREAM: Row = {
  family: "request-reply",
  what: "64 B, 33 in flight: requests",
  ours: "300 k/s",
  peers: "Ceph 18.2 60.0 k/s",
  ratio: 5,
  bar: "must 4x, aim 6x",
  verdict: "held",
};
const MANY_PEERS: Row = {
  family: "crc32c",
  what: "28 B, a text that is far longer than its column may be, the fastest peer",
  ours: "20.8 ns",
  peers:
    "SheetJS crc-32 30.2 ns, @node-rs/crc32 135 ns, hash-wasm 208 ns, @aws-crypto/crc32c 304 ns",
  ratio: 1.456,
  bar: "must within 5 %",
  verdict: "held",
};

Deno.test("tableText() puts rows under the name of their family, in columns", () => {
  const alone: Row = {
    ...STREAM,
    what: "resident memory",
    ours: "80 MB",
    peers: "",
    ...reported(),
  };
  assert.equal(
    tableText([STREAM, alone]),
    `what                               ours  peers               ratio  bar              verdict
------------------------------  -------  ------------------  -----  ---------------  --------
request-reply
  64 B, 33 in flight: requests  300 k/s  Ceph 18.2 60.0 k/s  5.00x  must 4x, aim 6x  held
  resident memory                 80 MB                                              reported`,
  );
});

Deno.test("tableText() keeps to 120 columns and breaks between peers", () => {
  const lines = tableText([MANY_PEERS, STREAM]).split("\n");
  for (const line of lines) assert.ok(line.length <= 120, line);
  const peers = lines.filter((line) => /SheetJS|@node|hash-wasm|@aws/.test(line));
  assert.ok(peers.length > 1);
  for (const peer of MANY_PEERS.peers.split(", ")) {
    assert.ok(peers.some((line) => line.includes(peer)), peer);
  }
  assert.ok(lines.includes("request-reply"));
  assert.match(lines.join(" ").replaceAll(/\s+/g, " "), /1\.45x must within 5 % held/);
});

Deno.test("tableText() breaks within a peer that is too long by itself", () => {
  const peers = "what the same calls cost in a tight loop, less the checksum that is saved 20.6 us";
  const bar = "must be at most one and a half of that";
  const lines = tableText([{ ...MANY_PEERS, peers, bar }]).split("\n");
  for (const line of lines) assert.ok(line.length <= 120, line);
});

Deno.test("tableText() shows a missed bar from afar", () => {
  assert.match(tableText([{ ...STREAM, verdict: "missed" }]), /MISSED$/);
});

Deno.test("summaryText() counts bars, and not what is only told", () => {
  const rows: Row[] = [
    STREAM,
    { ...STREAM, verdict: "aim" },
    { ...STREAM, verdict: "missed" },
    { ...STREAM, ...reported(2) },
  ];
  assert.equal(summaryText(rows), "3 bars: 1 at their aim, 1 held, 1 missed");
});
