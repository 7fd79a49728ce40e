/** The text form of StatsD metrics: what is read, and what is refused. */
import assert from "node:assert/strict";
import { readMetric } from "../../src/wire/statsd.ts";

const METRICS = [
  { line: "a:1|c", name: "a", value: 1, type: "c", rate: 1, tags: [] },
  { line: "a.b-c/d e:-2.5|c|@0.1", name: "a.b-c/d e", value: -2.5, type: "c", rate: 0.1, tags: [] },
  { line: "t:320|ms", name: "t", value: 320, type: "ms", rate: 1, tags: [] },
  { line: "t:.5|h", name: "t", value: 0.5, type: "h", rate: 1, tags: [] },
  { line: "t:5.|d", name: "t", value: 5, type: "d", rate: 1, tags: [] },
  { line: "t:1e3|d", name: "t", value: 1000, type: "d", rate: 1, tags: [] },
  { line: "g:333|g", name: "g", value: 333, type: "g", rate: 1, tags: [] },
  { line: "g:+3|g", name: "g", value: 3, type: "g", delta: true, rate: 1, tags: [] },
  { line: "g:-10|g", name: "g", value: -10, type: "g", delta: true, rate: 1, tags: [] },
  { line: "u:76:5 x|s", name: "u", value: "76:5 x", type: "s", rate: 1, tags: [] },
  {
    line: "a:1|c|#x:1,y,,z:a:b",
    name: "a",
    value: 1,
    type: "c",
    rate: 1,
    tags: ["x:1", "y", "z:a:b"],
  },
  { line: "a:1|c|#x|@1", name: "a", value: 1, type: "c", rate: 1, tags: ["x"] },
  { line: "a:1|c|#", name: "a", value: 1, type: "c", rate: 1, tags: [] },
  {
    line: "a:1|c|#x|c:ci-83|T1656581400|e:it",
    name: "a",
    value: 1,
    type: "c",
    rate: 1,
    tags: ["x"],
  },
  { line: "température:1|g", name: "température", value: 1, type: "g", rate: 1, tags: [] },
] as const;

Deno.test.each(METRICS)("readMetric() reads $line", ({ line, ...metric }) => {
  assert.deepEqual(readMetric(line), metric);
});

const MALFORMED = [
  "",
  ":",
  "a",
  "a:",
  ":1|c",
  "a:1",
  "a:1|",
  "a:1|x",
  "a:1|C",
  "a:|c",
  "a:|s",
  "a:one|c",
  "a:1:2|c",
  "a:0x10|c",
  "a: 1|c",
  "a:1 |c",
  "a:.|c",
  "a:-|g",
  "a:NaN|g",
  "a:Infinity|g",
  "a:1e999|g",
  "a:1|c|",
  "a:1|c|@",
  "a:1|c|@0",
  "a:1|c|@-1",
  "a:1|c|@1.1",
  "a:1|c|@x",
  "a:1|c|@1|@1",
  "a:1|c|#a|#b",
  "a:1|c|5",
  "a|b:1|c",
  "a\t:1|c",
  "a:1|c|#\u0000",
  "_e{5,4}:title|text",
  "_sc|name|0",
];

Deno.test("readMetric() refuses what is malformed", () => {
  for (const line of MALFORMED) assert.equal(readMetric(line), null, JSON.stringify(line));
});

Deno.test("readMetric() refuses every cut of a metric that is not one itself", () => {
  const line = "ab:12|ms|@0.5|#t:1";
  const read = Array.from({ length: line.length }, (_, size) => line.slice(0, size))
    .filter((cut) => readMetric(cut) !== null);
  assert.deepEqual(read, [
    "ab:12|ms",
    "ab:12|ms|@0.5",
    "ab:12|ms|@0.5|#",
    "ab:12|ms|@0.5|#t",
    "ab:12|ms|@0.5|#t:",
  ]);
});
