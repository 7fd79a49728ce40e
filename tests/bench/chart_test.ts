/** Charts: their axes, where names go, and that what comes out is one well-formed SVG. */
import assert from "node:assert/strict";
import {
  linearTicks,
  type LineChart,
  lineChart,
  logTicks,
  spread,
  tickText,
} from "../../bench/peers/chart.ts";

Deno.test.each([
  { values: [3], ticks: [0, 0.5, 1, 1.5, 2, 2.5, 3] },
  { values: [260_000, 17_000], ticks: [0, 50_000, 100_000, 150_000, 200_000, 250_000, 300_000] },
  { values: [0.31], ticks: [0, 0.1, 0.2, 0.3, 0.4] },
  { values: [], ticks: [0, 0.2, 0.4, 0.6, 0.8, 1] },
])("linearTicks() of $values are $ticks", ({ values, ticks }) => {
  assert.deepEqual(linearTicks(values), ticks);
});

Deno.test.each([
  { values: [3, 40], ticks: [2, 5, 10, 20, 50] },
  { values: [10, 100], ticks: [10, 20, 50, 100] },
  { values: [7], ticks: [5, 10] },
  { values: [0.09, 10], ticks: [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10] },
  { values: [15, 250_000], ticks: [10, 100, 1000, 10_000, 100_000, 1_000_000] },
])("logTicks() of $values are $ticks", ({ values, ticks }) => {
  assert.deepEqual(logTicks(values), ticks);
});

Deno.test("ticks hold every value, whatever it is", () => {
  for (let exponent = -3; exponent < 10; exponent += 0.17) {
    const value = 10 ** exponent;
    const linear = linearTicks([value]);
    assert.ok(linear.at(-1)! >= value * (1 - 1e-9), `${value}`);
    assert.ok(linear.length >= 4 && linear.length <= 8, `${value}: ${linear}`);
    const logarithmic = logTicks([value]);
    assert.ok(logarithmic[0]! <= value && logarithmic.at(-1)! >= value, `${value}`);
  }
});

Deno.test("tickText() is short", () => {
  assert.deepEqual([0, 0.5, 900, 50_000, 2.5e6, 1e9].map(tickText), [
    ...["0", "0.5", "900", "50 k", "2.5 M", "1 G"],
  ]);
});

Deno.test("spread() moves names apart, and none out of the plot", () => {
  assert.deepEqual(spread([10, 40], 15, 0, 100), [10, 40]);
  assert.deepEqual(spread([10, 12, 13], 15, 0, 100), [10, 25, 40]);
  assert.deepEqual(spread([90, 95], 15, 0, 100), [85, 100]);
});

const CHART: LineChart = {
  title: 'Rates < "others" & so on',
  xLabel: "requests in flight",
  yLabel: "requests/s",
  x: ["1", "2", "4"],
  series: [
    { name: "Fairlead", values: [10_000, 20_000, 40_000] },
    { name: "Ceph", values: [5000, null, 20_000] },
  ],
};

/** The places of a path: pairs after M and L. */
function places(path: string): number[][] {
  return [...path.matchAll(/[ML]([\d.]+) ([\d.]+)/g)].map(([, x, y]) => [Number(x), Number(y)]);
}

/** The lines of the series, as path texts. */
function seriesPaths(svg: string): string[] {
  return [...svg.matchAll(/class="line"[^>]* d="([^"]*)"/g)].map(([, path]) => path!);
}

Deno.test("lineChart() is balanced, and its texts are escaped", () => {
  const svg = lineChart(CHART);
  const open: string[] = [];
  for (const [, end, name, alone] of svg.matchAll(/<(\/?)([a-z]+)[^>]*?(\/?)>/g)) {
    if (end === "/") assert.equal(open.pop(), name);
    else if (alone === "") open.push(name!);
  }
  assert.deepEqual(open, []);
  assert.ok(svg.includes("Rates &lt; &quot;others&quot; &amp; so on"));
  for (const label of ["requests in flight", "requests/s", "Fairlead", "Ceph"]) {
    assert.ok(svg.includes(`>${label}</text>`), label);
  }
  assert.ok(!/<script|href|url\(/.test(svg));
});

Deno.test("lineChart() has higher values higher, in equal steps to the right", () => {
  const [first] = seriesPaths(lineChart(CHART)).map(places);
  assert.equal(first!.length, 3);
  const [[x0, y0], [x1, y1], [x2, y2]] = first as [number[], number[], number[]];
  assert.ok(Math.abs((x1! - x0!) - (x2! - x1!)) < 0.2);
  assert.ok(y0! > y1! && y1! > y2!);
});

Deno.test("lineChart() draws no line to where nothing was measured", () => {
  const path = seriesPaths(lineChart(CHART))[1]!;
  assert.equal(path.match(/M/g)!.length, 2);
  assert.ok(!path.includes("L"));
});

Deno.test("lineChart() with a logarithmic axis has equal factors in equal steps", () => {
  const [first] = seriesPaths(lineChart({ ...CHART, log: true })).map(places);
  const [[, y0], [, y1], [, y2]] = first as [number[], number[], number[]];
  assert.ok(Math.abs((y0! - y1!) - (y1! - y2!)) < 0.2);
});

Deno.test("lineChart() of one place, of nothing measured, and of zeros is still a chart", () => {
  for (const log of [false, true]) {
    for (const values of [[7], [null], [0]]) {
      const svg = lineChart({ ...CHART, x: ["1"], series: [{ name: "Fairlead", values }], log });
      assert.ok(!/NaN|Infinity/.test(svg), `${values} ${log}`);
    }
  }
});
