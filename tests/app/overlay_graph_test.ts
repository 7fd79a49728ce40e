/** Pictures of overlays: what they show, how they are laid out, and that nobody's text becomes markup. */
import assert from "node:assert/strict";
import { overlaySvg } from "../../src/app/overlay/overlay_graph.ts";
import {
  overlayDot,
  overlayMermaid,
  overlayText,
} from "../../src/app/overlay/overlay_graph_text.ts";
import type { OverlayView } from "../../src/app/overlay/overlay_view.ts";
import { fakeLink, fakeNode, fakeOverlay, inTrouble, stacked } from "./fake_overlay.ts";

/** Throws where tags do not nest or text is not escaped; returns the names of the elements. */
function elementsOf(svg: string): string[] {
  const open: string[] = [];
  const names: string[] = [];
  let at = 0;
  for (const match of svg.matchAll(/<(\/?)([a-z]+)((?: [a-zA-Z:0-9-]+="[^"<>]*")*)(\/?)>/g)) {
    assert.doesNotMatch(svg.slice(at, match.index), /[<>]|&(?!amp;|lt;|gt;|quot;)/);
    at = match.index + match[0].length;
    if (match[1] === "/") assert.equal(open.pop(), match[2]);
    else {
      names.push(match[2]!);
      if (match[4] === "") open.push(match[2]!);
    }
  }
  assert.equal(svg.slice(at), "");
  assert.deepEqual(open, []);
  assert.doesNotMatch(svg, /NaN|undefined|Infinity/);
  return names;
}

function count(text: string, part: string): number {
  return text.split(part).length - 1;
}

interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** Boxes of nodes; those of the legend are smaller. */
function boxesOf(svg: string): Box[] {
  const found = svg.matchAll(
    /class="box" x="([\d.-]+)" y="([\d.-]+)" width="(\d{3})" height="(\d+)"/g,
  );
  return [...found].map(([, x, y, width, height]) => ({
    left: Number(x),
    top: Number(y),
    right: Number(x) + Number(width),
    bottom: Number(y) + Number(height),
  }));
}

function assertApart(boxes: readonly Box[]): void {
  for (const [index, one] of boxes.entries()) {
    for (const other of boxes.slice(index + 1)) {
      const meet = one.left < other.right && other.left < one.right && one.top < other.bottom &&
        other.top < one.bottom;
      assert.ok(!meet, JSON.stringify([one, other]));
    }
  }
}

const TOPOLOGIES = ["ring", "linear", "star", "tree", "mesh", "custom"];
const SIZES = [1, 2, 3, 5, 8, 12, 13, 15, 26, 60, 100];

Deno.test.each(TOPOLOGIES.map((topology) => ({ topology })))(
  "a $topology of 1 to 100 nodes: all are drawn, apart from each other and inside",
  ({ topology }) => {
    for (const size of SIZES.filter((each) => topology !== "mesh" || each <= 60)) {
      const view = fakeOverlay(topology === "custom" ? "mesh" : topology, size);
      if (topology === "ring" && size < 3) continue;
      const svg = overlaySvg({ ...view, topology });
      elementsOf(svg);
      const [, width, height] = /viewBox="0 0 (\d+) (\d+)"/.exec(svg)!.map(Number);
      assert.equal(width, 1080);
      assert.ok(height! < 2800, `${topology} ${size}: ${height}`);
      const boxes = boxesOf(svg);
      assertApart(boxes);
      for (const { bottom, left, right, top } of boxes) {
        assert.ok(left >= 0 && right <= width! && top >= 0 && bottom <= height!, `${size}`);
      }
      for (const { address, name } of view.nodes) {
        assert.ok(svg.includes(`<title>${name} (`), name);
        assert.ok(svg.includes(address), address);
      }
      const lines = count(svg, 'class="line line-') - 5; // the legend has five
      assert.equal(lines, Math.min(1000, view.links.length), `${topology} ${size}`);
    }
  },
);

Deno.test("a ring stands in the order of its links, whatever that of the view is", () => {
  const view = fakeOverlay("ring", 6);
  const shuffled = { ...view, nodes: view.nodes.toReversed(), links: view.links.toReversed() };
  assert.equal(overlaySvg(shuffled), overlaySvg(view));
  const names = ["a", "c", "e", "b", "d"];
  const crossed: OverlayView = {
    ...view,
    nodes: names.toSorted().map((name, at) => ({ ...fakeNode(at), name })),
    links: names.map((name, at) => fakeLink(name, names[(at + 1) % 5]!, at)),
  };
  // Neighbours stand side by side: every line has the same share of the circle, up to its shape.
  const boxes = boxesOf(overlaySvg(crossed));
  const place = (name: string): Box => boxes[names.toSorted().indexOf(name)]!;
  const middle = (boxes[0]!.left + boxes[0]!.right) / 2;
  assert.equal(middle, 540, "a is on top");
  const [b, c, d, e] = ["b", "c", "d", "e"].map(place);
  assert.ok(c!.left > 540 && d!.right < 540, "c and d are beside a");
  assert.ok(e!.left > b!.left && e!.top > c!.top && b!.top > d!.top);
});

Deno.test("a star has its middle in the centre, also as dots", () => {
  const view = fakeOverlay("star", 6);
  const [middle, ...others] = boxesOf(overlaySvg(view));
  assert.equal((middle!.left + middle!.right) / 2, 540);
  assert.ok(others.some(({ bottom }) => bottom < middle!.top));
  assert.ok(others.some(({ top }) => top > middle!.bottom));
  const [only, ...none] = boxesOf(overlaySvg(fakeOverlay("star", 40)));
  assert.equal((only!.left + only!.right) / 2, 540);
  assert.deepEqual(none, []);
});

Deno.test("a tree stands in levels, a long line in rows that turn", () => {
  const lefts = boxesOf(overlaySvg(fakeOverlay("tree", 15))).map(({ left }) => left);
  const levels = [...new Set(lefts)].sort((a, b) => a - b);
  assert.deepEqual(levels.map((level) => lefts.filter((left) => left === level).length), [
    ...[1, 2, 4, 8],
  ]);
  const line = boxesOf(overlaySvg(fakeOverlay("linear", 7)));
  const rows = new Set(line.map(({ top }) => top));
  assert.equal(rows.size, 2);
  assert.equal(line[5]!.left, line[4]!.left, "the second row begins below the end of the first");
  assert.ok(line[6]!.left < line[5]!.left);
});

Deno.test("links are told apart by health, and encrypted ones are marked", () => {
  const svg = overlaySvg(inTrouble(fakeOverlay("ring", 12)));
  const lines = (kind: string): number => count(svg, `class="line line-${kind}"`);
  // The legend has one of each, and one more that is encrypted.
  assert.deepEqual([lines("dead"), lines("lossy"), lines("unknown"), lines("well")], [
    ...[2, 2, 2, 11],
  ]);
  assert.equal(count(svg, 'class="esp esp-'), 4 + 1);
  assert.ok(svg.includes(">dead</text>") && svg.includes(">0.38 ms, 33 %</text>"));
  assert.match(svg, /<title>r2-r3: r2 - r3, dead: no probe was answered/);
  assert.match(svg, /<title>r4-r5: r4 - r5, not probed/);
  assert.match(svg, /<title>r1-r2: r1 - r2, round trip 0\.35 ms, lost 0 %\n.*10mbit, encrypted</);
  assert.match(svg, /1 node silent, 1 node drifted, 1 link dead, 1 link with losses/);
});

Deno.test("silent and drifted nodes are marked with a word", () => {
  const svg = overlaySvg(inTrouble(fakeOverlay("ring", 12)));
  assert.match(svg, /<g class="silent"><title>r2 /);
  assert.match(svg, /<g class="drifted"><title>r3 [^<]*drift: route 10\.100\.0\.1\/32 is missing/);
  assert.ok(svg.includes(">silent</text>") && svg.includes(">drifted</text>"));
  const dots = overlaySvg(inTrouble(fakeOverlay("ring", 40)));
  assert.ok(dots.includes(">r2  silent  gw2  10.100.0.2</text>"));
  const well = overlaySvg(fakeOverlay("ring", 12));
  assert.ok(!well.includes(">silent</text>") && !well.includes(">drifted</text>"));
});

Deno.test("networks of a stack stand below each other, each node in its own", () => {
  const svg = overlaySvg(stacked(fakeOverlay("ring", 4)));
  elementsOf(svg);
  assert.match(svg, />Network field: 4 nodes, 4 links</);
  assert.match(svg, />Network field\/west: 3 nodes, 2 links {2}\(carries/);
  assert.ok(svg.indexOf("Network field:") < svg.indexOf("Network field/west:"));
  assert.equal(boxesOf(svg).length, 7);
  assert.ok(svg.includes('class="hue-0"') && svg.includes('class="hue-1"'));
  assert.doesNotMatch(overlaySvg(fakeOverlay("ring", 4)), />Network /);
});

Deno.test("labels do not cover each other or a node; what has no room is counted", () => {
  const svg = overlaySvg(fakeOverlay("mesh", 12));
  const plates = [...svg.matchAll(
    /class="plate" x="([\d.-]+)" y="([\d.-]+)" width="([\d.]+)" height="([\d.]+)"/g,
  )].map(([, x, y, width, height]): Box => ({
    left: Number(x) + 0.2,
    top: Number(y) + 0.2,
    right: Number(x) + Number(width) - 0.2,
    bottom: Number(y) + Number(height) - 0.2,
  }));
  assert.ok(plates.length > 30, `${plates.length}`);
  assertApart([...plates, ...boxesOf(svg)]);
  const left = Number(/no room for the labels of (\d+) link/.exec(svg)?.[1] ?? 0);
  assert.equal(plates.length + left, 66);
});

Deno.test("more than can be drawn is counted", () => {
  const svg = overlaySvg(fakeOverlay("mesh", 140));
  elementsOf(svg);
  assert.match(svg, />and 12 more nodes</);
  assert.match(svg, />and 8730 more links</);
  assert.ok(svg.length < 700_000, `${svg.length}`);
  const nodes = Array.from({ length: 12 }, (_, at) => fakeNode(at, `field/n${at}`));
  assert.match(
    overlaySvg({ ...fakeOverlay("ring", 3), nodes, links: [] }),
    />and 4 more networks</,
  );
});

Deno.test("an overlay that has no nodes yet, or failed, makes a picture too", () => {
  const failure = { phase: "CONFIG", node: "gw3", step: "link", reason: "no such device" };
  const svg = overlaySvg({
    ...fakeOverlay("ring", 0),
    state: "TEARDOWN",
    links: [fakeLink("r1", "r2", 1)],
    failure,
    orphans: ["gw4"],
  });
  elementsOf(svg);
  assert.match(svg, />failed in CONFIG: no such device</);
  assert.match(svg, />left over on gw4</);
  elementsOf(overlaySvg({ ...fakeOverlay("ring", 0), links: [] }));
  assert.match(overlaySvg({ ...fakeOverlay("ring", 0), links: [] }), /No node plays a part/);
});

Deno.test("the same view gives the same bytes, in each format", () => {
  const view = stacked(inTrouble(fakeOverlay("mesh", 9)));
  for (const draw of [overlaySvg, overlayText, overlayDot, overlayMermaid]) {
    assert.deepEqual(draw(structuredClone(view)), draw(view), draw.name);
  }
});

Deno.test("in a terminal each node has its links below, at both ends", () => {
  assert.deepEqual(overlayText(inTrouble(fakeOverlay("ring", 4))), [
    "field: ACTIVE, ring, 4 nodes, 4 links",
    "1 node silent, 1 node drifted, 1 link dead, 1 link with losses",
    "",
    "r1  router  10.100.0.1  on gw1 (192.0.2.1)  ACTIVE",
    "  === r2  0.35 ms  0 % lost  10mbit",
    "  =?= r4  -        -",
    "r2  router  10.100.0.2  on gw2 (192.0.2.2)  SILENT",
    "  === r1  0.35 ms  0 % lost  10mbit",
    "  -x- r3  dead     -",
    "r3  router  10.100.0.3  on gw3 (192.0.2.3)  DRIFTED",
    "  -x- r2  dead     -",
    "  -~- r4  0.38 ms  33 % lost  10mbit",
    "r4  host    10.100.0.4  on gw4 (192.0.2.4)  ACTIVE",
    "  =?= r1  -        -",
    "  -~- r3  0.38 ms  33 % lost  10mbit",
    "",
    "=== encrypted  -~- some lost  -x- dead  -?- not probed",
  ]);
  const mesh = overlayText(fakeOverlay("mesh", 40));
  assert.equal(mesh.filter((line) => line === "  and 15 more links").length, 40);
});

Deno.test("Graphviz and Mermaid get every node and link once, by safe names", () => {
  const view = stacked(inTrouble(fakeOverlay("ring", 4)));
  const dot = overlayDot(view);
  assert.equal(count(dot, " -- "), 6);
  assert.match(dot, /n0_1 \[label="r2\\ngw2\\n10\.100\.0\.2\\nsilent", shape=box, color="#c62828"/);
  assert.match(dot, /n0_1 -- n0_2 \[label="dead", color="#c62828", style=dotted/);
  assert.equal(count(dot, "subgraph cluster_"), 2);
  const mermaid = overlayMermaid(view);
  assert.match(mermaid, /^flowchart LR\n/);
  assert.equal(count(mermaid, "linkStyle "), 6);
  assert.match(mermaid, /n0_0 ===\|"0\.35 ms, 0 %, esp"\| n0_1/);
  assert.match(mermaid, /n0_3\(\["r4<br\/>gw4<br\/>10\.100\.0\.4"\]\):::well/);
});

Deno.test("beside a dot long names give way to the address, and to what is wrong", () => {
  const view = inTrouble(fakeOverlay("ring", 100));
  const long = (name: string): string => `west/router-${name}`;
  const svg = overlaySvg({
    ...view,
    nodes: view.nodes.map((each) => ({
      ...each,
      ...{ name: long(each.name), node: `${each.node}.site.example`, address: "10.100.200.250" },
    })),
    links: view.links.map((each) => ({ ...each, ends: [long(each.ends[0]), long(each.ends[1])] })),
  });
  assert.ok(svg.includes(">west/router~  gw1.~  10.100.200.250</text>"));
  assert.ok(svg.includes(">west/router~  silent  gw2.site.exa~</text>"));
  const [, height] = /viewBox="0 0 1080 (\d+)"/.exec(svg)!.map(Number);
  assert.ok(height! < 1300, `${height}`);
});

const HOSTILE = [
  "</text><script>alert(1)</script>",
  '" onload="alert(1)',
  "&lt;&amp;&#60;]]>",
  "\u0000\u0008\u001b\u202e\ufffe\uffff\ud800",
  '\\"];} graph { x [label="',
  '"]\n  click n0 href "javascript:alert(1)"',
  "x".repeat(5000),
];

Deno.test.each(HOSTILE.map((name) => ({ name })))("no name becomes markup: $name", ({ name }) => {
  const node = {
    ...fakeNode(0, name),
    ...{ name, address: name, node: name, hostname: name, ipaddr: name },
    drift: [name],
  };
  const links = [{ ...fakeLink(name, "r2", 1, name), addresses: [name, name] as const }];
  const view: OverlayView = {
    ...fakeOverlay("ring", 3),
    ...{ name, epoch: name, topology: name, nodes: [node, fakeNode(1, name), fakeNode(2)], links },
    failure: { phase: name, node: name, step: name, reason: name },
    orphans: [name],
  };
  const svg = overlaySvg(view);
  assert.ok(!elementsOf(svg).includes("script"));
  assert.doesNotMatch(svg, / onload="/);
  // deno-lint-ignore no-control-regex -- XML has no place for them
  assert.doesNotMatch(svg, /[\x00-\x09\x0b-\x1f\ufffe\uffff\u202e]|[\ud800-\udfff]/);
  for (const line of overlayText(view)) {
    // deno-lint-ignore no-control-regex -- a terminal would obey them
    assert.doesNotMatch(line, /[\x00-\x1f\u202e]/);
  }
  const bare = overlayDot(view).replaceAll(/"(?:[^"\\]|\\["\\nN])*"/g, "S");
  assert.doesNotMatch(bare, /"|alert|click/);
  assert.equal(count(bare, "{"), count(bare, "}"));
  const mermaid = overlayMermaid(view).split("\n");
  for (const line of mermaid) {
    assert.match(
      line,
      /^flowchart LR$|^ {2}subgraph g\d+\["[^"]*"\]$|^ {4}n\d+_\d+\(?\["[^"<>]*(<br\/>[^"<>]*)*"\]\)?:::\w+$|^ {4}n\d+_\d+ [=.-]{3}\|"[^"<>|]*"\| n\d+_\d+$|^ {2}end$|^ {2}linkStyle \d+ stroke:#\w{6}$|^ {2}classDef [\w ,:#-]+$/,
    );
  }
});
