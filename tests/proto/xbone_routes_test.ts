/** Ways through a network, and why there is none. */
import assert from "node:assert/strict";
import { drawBlueprint } from "../../src/proto/xbone/blueprint.ts";
import type { OverlaySpec } from "../../src/proto/xbone/overlay_spec.ts";
import { findWays } from "../../src/proto/xbone/static_routes.ts";
import { layOut } from "../../src/proto/xbone/topology.ts";
import { host, overlay, router, routers, sub } from "./xbone_specs.ts";

/** Names of the links from one node of an overlay to another. */
function path(spec: OverlaySpec, from: string, to: string): string[] | null {
  const layout = layOut(spec);
  assert.ok("networks" in layout);
  const network = layout.networks.at(-1)!;
  const { index, path } = findWays(network, layout.nodes);
  return path(index.get(from)!, index.get(to)!)?.map((link) => network.links[link]!.name) ?? null;
}

function reasons(spec: OverlaySpec): string[] {
  const blueprint = drawBlueprint(spec);
  if (!("unfit" in blueprint)) return [];
  return blueprint.unfit.map(({ path, key, reason }) => `${path} ${key}: ${reason}`);
}

Deno.test("ways are the shortest, and of equal ones the first link's", () => {
  const ring = overlay({ nodes: routers(6) });
  assert.deepEqual(path(ring, "r1", "r3"), ["r1-r2", "r2-r3"]);
  assert.deepEqual(path(ring, "r1", "r4"), ["r1-r2", "r2-r3", "r3-r4"]);
  assert.deepEqual(path(ring, "r1", "r5"), ["r6-r1", "r5-r6"]);
  assert.deepEqual(path(ring, "r2", "r2"), []);
});

Deno.test("a way goes round a host, not through it", () => {
  const nodes = [router("a"), host("b"), router("c"), router("d"), router("e")];
  assert.deepEqual(path(overlay({ nodes }), "a", "c"), ["e-a", "d-e", "c-d"]);
  assert.deepEqual(path(overlay({ nodes }), "b", "d"), ["b-c", "c-d"]);
  assert.deepEqual(reasons(overlay({ nodes })), []);
});

Deno.test("a host that would have to forward is named with those it lies between", () => {
  const nodes = [router("a"), router("b"), host("c"), router("d")];
  const spec = overlay({ topology: "linear", nodes });
  assert.equal(path(spec, "a", "d"), null);
  assert.deepEqual(reasons(spec), [
    " topology: c lies between a and d and a host does not forward: make it a router, or move it " +
    "to an end",
  ]);
});

Deno.test("parts that nothing joins are named", () => {
  const links = [
    { ends: ["r1", "r3"], rateBits: 0 },
    { ends: ["r2", "r4"], rateBits: 0 },
  ] as const;
  assert.deepEqual(reasons(overlay({ topology: "custom", nodes: routers(5), links })), [
    " topology: it falls apart: r1, r3; r2, r4; r5, join them by links",
  ]);
});

Deno.test("parts with many names are cut short", () => {
  const links = [{ ends: ["r1", "r2"], rateBits: 0 }] as const;
  const [reason] = reasons(overlay({ topology: "custom", nodes: routers(9), links }));
  assert.match(reason!, /r1, r2; r3; r4; r5; …, join/);
});

Deno.test("a prefix that is too small is refused with the one that is needed", () => {
  const spec = overlay({ topology: "mesh", nodes: routers(12), prefix: "10.9.0.0/25" });
  assert.deepEqual(reasons(spec), [
    ' prefix: 12 nodes and 66 links need /23 at least: current value is "10.9.0.0/25"',
  ]);
  assert.deepEqual(reasons({ ...spec, prefix: "10.9.0.0/23" }), []);
});

Deno.test("networks that are stacked have prefixes of their own", () => {
  const west = sub("west", { mode: "stacked", prefix: "10.100.8.0/24", nodes: routers(3) });
  const spec = overlay({ subs: [west] });
  assert.deepEqual(reasons(spec), [
    ' prefix: it overlaps with 10.100.8.0/24 of field/west: current value is "10.100.0.0/16", ' +
    "give another one",
  ]);
  assert.deepEqual(reasons({ ...spec, subs: [{ ...west, prefix: "" }] }), [
    'west prefix: it must be ADDRESS/8 to /29, IPv4: current value is ""',
  ]);
  assert.deepEqual(reasons({ ...spec, subs: [{ ...west, prefix: "10.101.8.0/24" }] }), []);
});

Deno.test("an overlay has 1 to 512 nodes, and a hub among them", () => {
  assert.match(reasons(overlay({ topology: "mesh" }))[0]!, /1 to 512 nodes: current number is 0/);
  const many = overlay({ topology: "linear", nodes: routers(513) });
  assert.match(reasons(many)[0]!, /current number is 513/);
  const spec = overlay({ nodes: routers(3), peers: { hub: "r9", port: 3300 } });
  assert.deepEqual(reasons(spec), [
    ' fairlead.hub: there is no such node: current value is "r9"',
  ]);
});
