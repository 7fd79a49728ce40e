/** How the figures of path managers are read and held against their bars. */
import assert from "node:assert/strict";
import { gapOf, gapRows, type Gaps } from "../../bench/peers/paths_failover.ts";
import {
  type JoinFigures,
  type JoinRun,
  percentile,
  rowsOfJoins,
} from "../../bench/peers/paths_join.ts";
import { bytesByLink } from "../../bench/peers/paths_lab.ts";
import { burstRows, costRows, COUNT, type StormFigures } from "../../bench/peers/paths_storm.ts";
import type { Row } from "../../bench/peers/table.ts";

function verdicts(rows: readonly Row[]): string[] {
  return rows.map(({ verdict }) => verdict);
}

// ---- failover

const OURS: Gaps = { name: "Fairlead", out: [6, 300, 7], in: [9, 8, 7] };
const MPTCPD: Gaps = { name: "mptcpd", out: [400, 410, 390], in: [205, 210, 5] };
const KERNEL: Gaps = { name: "in-kernel", out: [400, 400, 400], in: [400, 400, 400] };

Deno.test("the median of our gaps must be short where mptcpd's is long", () => {
  const rows = gapRows([OURS, MPTCPD, KERNEL], "paths");
  assert.deepEqual(verdicts(rows), ["held", "reported", "held", "reported"]);
  assert.deepEqual(rows.map(({ ours }) => ours), ["7.00 ms", "300 ms", "8.00 ms", "9.00 ms"]);
  assert.equal(rows[2]!.peers, "mptcpd 205 ms, in-kernel 400 ms");
  assert.equal(rows[0]!.ratio, 400 / 7);
});

Deno.test("a gap of 20 ms misses its bar, and so does a peer without a gap", () => {
  const slow = { ...OURS, in: [20, 20, 20] };
  assert.deepEqual(
    verdicts(gapRows([slow, MPTCPD], "paths")).filter((each) => each !== "reported"),
    [
      "held",
      "missed",
    ],
  );
  const quick = { ...MPTCPD, out: [99, 99, 99] };
  assert.equal(gapRows([OURS, quick], "paths")[0]!.verdict, "missed");
});

Deno.test("gapOf() finds what the load printed, and refuses a flow that never came", () => {
  assert.equal(gapOf('{"bytes":700000,"gapMs":6.125}\n'), 6.125);
  assert.throws(() => gapOf("recv: Resource temporarily unavailable\n"), /Cannot find the gap/);
  assert.throws(() => gapOf('{"bytes":0,"gapMs":0.000}\n'), /nothing came/);
  assert.throws(() => gapOf('{"bytes":1000,"gapMs":0.000}\n'), /nothing came/);
});

Deno.test("bytesByLink() adds up both ways of each link", () => {
  const link = (ifname: string, rx: number, tx: number): unknown => ({
    ifname,
    flags: ["UP"],
    stats64: { rx: { bytes: rx, packets: 1 }, tx: { bytes: tx, packets: 1 } },
  });
  const text = JSON.stringify([link("lo", 0, 0), link("up1", 5, 7)]);
  assert.deepEqual(bytesByLink(text), { lo: 0, up1: 12 });
});

// ---- joins

function figures(name: string, us: number, count = 200): JoinFigures {
  const run: JoinRun = {
    firstUs: new Array<number>(200).fill(us * 3),
    laterUs: new Array<number>(count).fill(us),
    cpuUs: 5000,
  };
  const idle = { ...run, laterUs: new Array<number>(200).fill(us * 2) };
  return { name, awake: [run, run, run], idle: [idle, idle, idle] };
}

Deno.test("percentile() takes the nearest rank", () => {
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
  assert.deepEqual([50, 90, 99, 100].map((percent) => percentile(hundred, percent)), [
    50,
    90,
    99,
    100,
  ]);
  assert.equal(percentile([3], 50), 3);
  assert.equal(percentile([3, 1], 0), 1);
  assert.throws(() => percentile([], 50), /of nothing/);
});

Deno.test("a join may take two and a half times as long as mptcpd's, no more", () => {
  const verdict = (us: number, count?: number): string =>
    rowsOfJoins([figures("Fairlead", us, count), figures("mptcpd", 100)], "paths")[0]!.verdict;
  assert.equal(verdict(250), "held");
  assert.equal(verdict(251), "missed");
  assert.equal(verdict(100, 190), "held");
  assert.equal(verdict(100, 189), "missed");
});

Deno.test("the median of three runs stands for a manager, and idle CPUs count apart", () => {
  const ours = figures("Fairlead", 200);
  ours.awake[0] = { ...ours.awake[0]!, laterUs: new Array<number>(200).fill(9000) };
  const kernel = figures("in-kernel", 20);
  kernel.awake = kernel.awake.map((run) => ({ ...run, cpuUs: null }));
  const rows = rowsOfJoins([ours, figures("mptcpd", 100), kernel], "paths");
  assert.deepEqual(rows.map((row) => row.ours), [
    "200 us",
    "200 us",
    "600 us",
    "400 us",
    "5.00 ms",
  ]);
  assert.deepEqual(rows.map(({ peers }) => peers), [
    "mptcpd 100 us, in-kernel 20.0 us",
    "mptcpd 100 us, in-kernel 20.0 us",
    "mptcpd 300 us, in-kernel 60.0 us",
    "mptcpd 200 us, in-kernel 40.0 us",
    "mptcpd 5.00 ms, in-kernel none",
  ]);
  assert.equal(rows[0]!.ratio, 0.5);
});

// ---- storm

const STORM: StormFigures = {
  name: "Fairlead",
  opened: COUNT,
  openMs: 70,
  subflows: COUNT,
  process: { cpuUs: 200_000, rssBytes: 60e6 },
  left: 0,
  forgottenMs: 1200,
};
const PEER: StormFigures = {
  ...STORM,
  name: "mptcpd",
  subflows: 3,
  process: null,
  left: null,
  forgottenMs: null,
};

Deno.test("a storm must bring every second subflow, and leave nothing behind", () => {
  const told = verdicts(burstRows([STORM, PEER], "storm", "paths"));
  assert.deepEqual(told, ["held", "held", "reported", "reported"]);
  const first = (changed: Partial<StormFigures>): string[] =>
    verdicts(burstRows([{ ...STORM, ...changed }, PEER], "storm", "paths")).slice(0, 2);
  assert.deepEqual(first({ subflows: COUNT - 1 }), ["missed", "held"]);
  assert.deepEqual(first({ opened: COUNT - 1 }), ["missed", "held"]);
  assert.deepEqual(first({ left: 1, forgottenMs: null }), ["held", "missed"]);
  assert.deepEqual(first({ left: null, forgottenMs: null }), ["held", "missed"]);
});

Deno.test("the rows of a storm say what each manager came to", () => {
  const rows = burstRows([STORM, PEER], "storm", "paths");
  assert.deepEqual(rows.map(({ ours }) => ours), [
    "2000 of 2000",
    "0 after 1.20 s",
    "200 ms",
    "60.0 MB",
  ]);
  assert.deepEqual(rows.map(({ peers }) => peers), [
    "mptcpd 3 of 2000",
    "mptcpd cannot tell",
    "mptcpd none",
    "mptcpd none",
  ]);
  assert.deepEqual(verdicts(costRows([STORM, PEER], "slow", "paths")), [
    "reported",
    "reported",
    "reported",
  ]);
});
