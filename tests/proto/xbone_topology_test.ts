/** From specifications to nodes and links. */
import assert from "node:assert/strict";
import type { OverlaySpec, Topology } from "../../src/proto/xbone/overlay_spec.ts";
import { type Layout, layOut, type Unfit } from "../../src/proto/xbone/topology.ts";
import { host, overlay, router, routers, sub } from "./xbone_specs.ts";

function laid(spec: OverlaySpec): Layout {
  const layout = layOut(spec);
  assert.ok("networks" in layout, JSON.stringify(layout));
  return layout;
}

function unfit(spec: OverlaySpec): readonly Unfit[] {
  const layout = layOut(spec);
  assert.ok(!("networks" in layout), "it was laid out");
  return layout;
}

function linkNames(spec: OverlaySpec): string[] {
  return laid(spec).networks.at(-1)!.links.map(({ name }) => name);
}

const SHAPES: { topology: Topology; count: number; fanout?: number; links: string }[] = [
  { topology: "linear", count: 1, links: "" },
  { topology: "linear", count: 4, links: "r1-r2 r2-r3 r3-r4" },
  { topology: "ring", count: 3, links: "r1-r2 r2-r3 r3-r1" },
  { topology: "ring", count: 4, links: "r1-r2 r2-r3 r3-r4 r4-r1" },
  { topology: "star", count: 4, links: "r1-r2 r1-r3 r1-r4" },
  { topology: "tree", count: 6, links: "r1-r2 r1-r3 r2-r4 r2-r5 r3-r6" },
  { topology: "tree", count: 5, fanout: 3, links: "r1-r2 r1-r3 r1-r4 r2-r5" },
  { topology: "tree", count: 3, fanout: 1, links: "r1-r2 r2-r3" },
  { topology: "mesh", count: 4, links: "r1-r2 r1-r3 r1-r4 r2-r3 r2-r4 r3-r4" },
];

Deno.test.each(SHAPES)("$topology of $count is $links", ({ topology, count, fanout, links }) => {
  const spec = overlay({ topology, fanout: fanout ?? 2, nodes: routers(count) });
  assert.equal(linkNames(spec).join(" "), links);
});

Deno.test("the middle of a star is its first router", () => {
  const spec = overlay({ topology: "star", nodes: [host("a"), router("b"), router("c")] });
  assert.deepEqual(linkNames(spec), ["b-a", "b-c"]);
});

Deno.test("links of a custom topology are those that are listed, with their rates", () => {
  const links = [
    { ends: ["c", "a"], rateBits: 0 },
    { ends: ["a", "b"], rateBits: 7 },
  ] as const;
  const nodes = ["a", "b", "c"].map(router);
  const { networks } = laid(overlay({ topology: "custom", nodes, links, rateBits: 3 }));
  assert.deepEqual(networks[0]!.links.map(({ name, rateBits }) => [name, rateBits]), [
    ["c-a", 3],
    ["a-b", 7],
  ]);
});

Deno.test("a link that is listed for a ring changes its rate and no more", () => {
  const spec = overlay({ nodes: routers(3), links: [{ ends: ["r2", "r1"], rateBits: 5 }] });
  const { networks } = laid(spec);
  assert.deepEqual(networks[0]!.links.map(({ name, rateBits }) => [name, rateBits]), [
    ["r1-r2", 5],
    ["r2-r3", 0],
    ["r3-r1", 0],
  ]);
});

Deno.test("a border stands for its sub-overlay of mode control, whose links are the overlay's", () => {
  const west = sub("west", { topology: "linear", nodes: [host("h1"), router("r1"), router("r2")] });
  const spec = overlay({ topology: "linear", nodes: [router("a")], subs: [west] });
  assert.deepEqual(linkNames(spec), ["west/h1-west/r1", "west/r1-west/r2", "a-west/r1"]);
  const bordered = { ...west, border: "r2" };
  assert.equal(linkNames({ ...spec, subs: [bordered] }).at(-1), "a-west/r2");
  assert.deepEqual([...laid(spec).nodes.keys()], ["a", "west/h1", "west/r1", "west/r2"]);
  assert.deepEqual(laid(spec).networks.map(({ name }) => name), ["field"]);
});

Deno.test("a sub-overlay that is stacked is a network below, and carries links between its nodes", () => {
  const west = sub("west", {
    mode: "stacked",
    prefix: "10.101.0.0/16",
    topology: "linear",
    nodes: routers(3),
  });
  const spec = overlay({ topology: "ring", nodes: [router("a")], subs: [west] });
  const { networks: [below, top] } = laid(spec);
  assert.equal(below!.name, "field/west");
  assert.deepEqual(below!.links.map(({ name, over }) => [name, over]), [
    ["west:r1-r2", null],
    ["west:r2-r3", null],
  ]);
  assert.deepEqual(top!.links.map(({ name, over }) => [name, over?.name ?? ""]), [
    ["a-west/r1", ""],
    ["west/r1-west/r2", "field/west"],
    ["west/r2-west/r3", "field/west"],
    ["west/r3-a", ""],
  ]);
  assert.deepEqual(top!.nodes, ["a", "west/r1", "west/r2", "west/r3"]);
});

Deno.test("networks are stacked on stacked ones, also through one of mode control", () => {
  const inner = sub("in", { mode: "stacked", prefix: "10.102.0.0/16", nodes: routers(3) });
  const share = sub("share", { topology: "linear", nodes: [router("x")], subs: [inner] });
  const outer = sub("out", { mode: "stacked", prefix: "10.101.0.0/16", topology: "linear" });
  const spec = overlay({
    topology: "custom",
    nodes: [router("a")],
    subs: [{ ...outer, subs: [share] }],
    links: [
      { ends: ["a", "out"], rateBits: 0 },
      { ends: ["out/share/in/r1", "out/share/in"], rateBits: 0 },
      { ends: ["out/share/in/r1", "out/share/in/r2"], rateBits: 0 },
    ],
  });
  assert.match(JSON.stringify(unfit(spec)), /both ends are out\/share\/in\/r1/);
  const { networks } = laid({ ...spec, links: spec.links.filter((_, index) => index !== 1) });
  assert.deepEqual(networks.map(({ name }) => name), ["field/out/share/in", "field/out", "field"]);
  const [, middle, top] = networks;
  assert.deepEqual(middle!.links.map(({ name, over }) => [name, over?.name ?? ""]), [
    ["out:share/x-share/in/r1", ""],
    ["out:share/in/r1-share/in/r2", "field/out/share/in"],
    ["out:share/in/r2-share/in/r3", "field/out/share/in"],
  ]);
  assert.deepEqual(top!.links.map(({ name, over }) => [name, over?.name ?? ""]), [
    ["a-out/share/x", ""],
    ["out/share/in/r1-out/share/in/r2", "field/out"],
  ]);
});

const REFUSED: { what: string; spec: Partial<OverlaySpec>; key: string; reason: RegExp }[] = [
  {
    what: "a ring of two",
    spec: { nodes: routers(2) },
    key: "topology",
    reason: /3 nodes at least/,
  },
  {
    what: "a custom topology without links",
    spec: { topology: "custom", nodes: routers(2) },
    key: "topology",
    reason: /made of links/,
  },
  {
    what: "an end that nobody is",
    spec: { nodes: routers(3), links: [{ ends: ["r1", "r9"], rateBits: 1 }] },
    key: "links[0]",
    reason: /no node "r9"/,
  },
  {
    what: "a link to itself",
    spec: { nodes: routers(3), links: [{ ends: ["r1", "r1"], rateBits: 1 }] },
    key: "links[0]",
    reason: /both ends are r1/,
  },
  {
    what: "a link that is listed twice",
    spec: {
      topology: "custom",
      nodes: routers(2),
      links: [{ ends: ["r1", "r2"], rateBits: 0 }, { ends: ["r2", "r1"], rateBits: 1 }],
    },
    key: "links[1]",
    reason: /joined already/,
  },
  {
    what: "a rate of a link that a ring has not",
    spec: { nodes: routers(4), links: [{ ends: ["r1", "r3"], rateBits: 1 }] },
    key: "links[0]",
    reason: /not joined in a ring/,
  },
  {
    what: "two links of one name",
    spec: { topology: "mesh", nodes: ["a-b", "c", "a", "b-c"].map(router) },
    key: "links",
    reason: /the name a-b-c/,
  },
  {
    what: "a border that nobody is",
    spec: {
      nodes: routers(3),
      subs: [sub("w", { topology: "mesh", nodes: routers(2), border: "x" })],
    },
    key: "border",
    reason: /current value is "x"/,
  },
];

Deno.test.each(REFUSED)("layOut() refuses $what", ({ spec, key, reason }) => {
  const [first] = unfit(overlay(spec));
  assert.equal(first!.key, key);
  assert.match(first!.reason, reason);
});

Deno.test("all that is wrong with links is told at once", () => {
  const links = ["x", "y", "z"].map((name) => ({ ends: ["r1", name], rateBits: 1 } as const));
  assert.equal(unfit(overlay({ nodes: routers(3), links })).length, 3);
});
