/** Who plays what: src/proto/xbone/placement.ts against trying everything. @module */
import assert from "node:assert/strict";
import type { Candidate, Placement } from "../../src/proto/xbone/machine.ts";
import { madeUp, needOf, place } from "../../src/proto/xbone/placement.ts";
import type { SubNode, SubSpec } from "../../src/wire/xbone/messages.ts";

function box(node: string, type: Candidate["type"], more: Partial<Candidate> = {}): Candidate {
  return {
    node,
    type,
    host: "10.0.0.1",
    port: 265,
    hostname: node,
    os: "linux",
    mtu: 1500,
    capabilities: ["vxlan"],
    free: 1,
    guests: [],
    ...more,
  };
}

function slot(name: string, role: SubNode["role"], more: Partial<SubNode> = {}): SubNode {
  return { name, role, os: ["any"], on: "", ...more };
}

function spec(nodes: readonly SubNode[], subs: readonly SubSpec[] = [], name = ""): SubSpec {
  return { name, mode: "control", nodes, subs };
}

function told(placement: ReturnType<typeof place>): string {
  if ("missing" in placement) return placement.missing.join("; ");
  return [
    ...placement.nodes.map(({ slot, candidate }) => `${slot}=${candidate.node}`),
    ...placement.subs.map(({ sub, candidate }) => `${sub}:${candidate.node}`),
  ].join(" ");
}

/** A linear congruential generator: the same cases each time. */
function generator(seed: number): (below: number) => number {
  let state = seed * 2654435761 >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor(state / 4294967296 * below);
  };
}

function fits(candidate: Candidate, node: SubNode): boolean {
  return candidate.free > 0 && (node.on === "" || node.on === candidate.node) &&
    (candidate.type === node.role || candidate.type === "both") &&
    (node.os.length === 0 || node.os.includes("any") || node.os.includes(candidate.os));
}

/** The fewest `both` that a whole assignment can do with, by trying everything; null when there is none. */
function fewestBoth(nodes: readonly SubNode[], boxes: readonly Candidate[]): number | null {
  const [node, ...others] = nodes;
  if (node === undefined) return 0;
  let fewest: number | null = null;
  boxes.forEach((candidate, at) => {
    if (!fits(candidate, node)) return;
    const rest = fewestBoth(others, boxes.toSpliced(at, 1));
    if (rest === null) return;
    const count = rest + (candidate.type === "both" ? 1 : 0);
    if (fewest === null || count < fewest) fewest = count;
  });
  return fewest;
}

function randomCase(seed: number): { need: SubSpec; boxes: Candidate[] } {
  const below = generator(seed);
  const systems = ["linux", "freebsd"];
  const boxes = Array.from(
    { length: 1 + below(6) },
    (_, at) =>
      box(`box${at}`, (["host", "router", "both", "both", "meta"] as const)[below(5)]!, {
        os: systems[below(2)]!,
        free: below(8) === 0 ? 0 : 1,
      }),
  );
  const nodes = Array.from(
    { length: 1 + below(5) },
    (_, at) =>
      slot(`n${at}`, (["host", "router"] as const)[below(2)]!, {
        os: below(2) === 0 ? ["any"] : [systems[below(2)]!],
        on: below(5) === 0 ? `box${below(boxes.length)}` : "",
      }),
  );
  return { need: spec(nodes), boxes };
}

Deno.test("place() finds an assignment whenever there is one, with as few `both` as can be", () => {
  let found = 0;
  let short = 0;
  for (let seed = 1; seed <= 4000; seed++) {
    const { need, boxes } = randomCase(seed);
    const fewest = fewestBoth(need.nodes, boxes);
    const placement = place(need, boxes, false);
    if ("missing" in placement) {
      assert.equal(fewest, null, `seed ${seed}: ${told(placement)}`);
      assert.notEqual(placement.missing.length, 0);
      short++;
      continue;
    }
    const used = placement.nodes.map(({ candidate }) => candidate);
    assert.equal(new Set(used).size, used.length, `seed ${seed}: a box twice`);
    placement.nodes.forEach(({ slot, candidate }, at) => {
      assert.equal(slot, need.nodes[at]!.name);
      assert.ok(fits(candidate, need.nodes[at]!), `seed ${seed}: ${slot}`);
    });
    assert.equal(used.filter(({ type }) => type === "both").length, fewest, `seed ${seed}`);
    found++;
  }
  assert.ok(found > 1000 && short > 1000, `${found} found, ${short} short`);
});

Deno.test("place() with revisit needs one fitting box for each node and spreads visits evenly", () => {
  for (let seed = 1; seed <= 4000; seed++) {
    const { need, boxes } = randomCase(seed);
    const placement = place(need, boxes, true);
    const possible = need.nodes.every((node) => boxes.some((candidate) => fits(candidate, node)));
    assert.equal("nodes" in placement, possible, `seed ${seed}: ${told(placement)}`);
    if (!("nodes" in placement)) continue;
    const { nodes } = placement;
    const visits = new Map(boxes.map(({ node }) => [node, 0]));
    nodes.forEach(({ candidate }) => visits.set(candidate.node, visits.get(candidate.node)! + 1));
    // No single move to another box makes it more even.
    nodes.forEach(({ candidate }, at) => {
      const others = boxes.filter((other) => fits(other, need.nodes[at]!));
      for (const { node } of others) {
        assert.ok(visits.get(node)! + 1 >= visits.get(candidate.node)!, `seed ${seed}: ${node}`);
      }
    });
  }
});

Deno.test("place() does not depend on the order of the answers, and takes the last of a box", () => {
  const need = spec([slot("a", "host"), slot("b", "router"), slot("c", "router")]);
  const boxes = [box("z", "router"), box("m", "both"), box("h", "host"), box("k", "router")];
  const expected = "a=h b=k c=z";
  assert.equal(told(place(need, boxes, false)), expected);
  assert.equal(told(place(need, boxes.toReversed(), false)), expected);
  assert.equal(
    told(place(need, [...boxes, box("z", "router", { free: 0 })], false)),
    "a=h b=k c=m",
  );
});

Deno.test("place() moves others away from a box that one must have", () => {
  const need = spec([slot("a", "router"), slot("b", "router"), slot("c", "router", { on: "r1" })]);
  const boxes = [box("r1", "router"), box("r2", "router"), box("r3", "both")];
  assert.equal(told(place(need, boxes, false)), "a=r3 b=r2 c=r1");
});

Deno.test("place() gives sub-overlays to managers that have their nodes, one each", () => {
  const subs = [spec([], [], "east"), spec([], [], "west")];
  const need = spec([slot("a", "router")], subs);
  const boxes = [
    box("om1", "meta", { guests: ["east", "west"] }),
    box("om2", "meta", { guests: ["east"] }),
    box("r1", "router"),
  ];
  assert.equal(told(place(need, boxes, false)), "a=r1 east:om2 west:om1");
  assert.equal(
    told(place(need, boxes.slice(1), true)),
    "0 of 1 managers with nodes for west answered (1 answered)",
  );
  const full = boxes.map((each) => each.type === "meta" ? { ...each, free: 0 } : each);
  assert.match(told(place(need, full, false)), /for east answered.*for west answered/);
  assert.equal(
    told(place(need, [boxes[0]!, boxes[2]!], false)),
    "0 of 1 managers with nodes for west answered (1 with them, needed for others)",
  );
});

Deno.test("a manager plays no node and a box manages nothing", () => {
  const need = spec([slot("a", "host")], [spec([], [], "east")]);
  const boxes = [box("om1", "meta"), box("r1", "both", { guests: ["east"] })];
  assert.equal(
    told(place(need, boxes, true)),
    "0 of 1 managers with nodes for east answered (1 answered)",
  );
});

const SHORTAGES = [
  {
    nodes: [1, 2, 3, 4].map((at) => slot(`r${at}`, "router", { os: ["linux"] })),
    told: "2 of 4 routers (linux) answered",
  },
  {
    nodes: [
      slot("a", "host"),
      slot("b", "host"),
      slot("c", "router", { os: ["plan9", "freebsd"] }),
    ],
    told: "1 of 2 hosts answered; 0 of 1 routers (freebsd, plan9) answered",
  },
  { nodes: [slot("a", "host", { on: "gone" })], told: "gone is needed for a and did not answer" },
  {
    nodes: [slot("a", "host", { on: "box1" })],
    told: "box1 is needed for a as a host and offers to be a router",
  },
  {
    nodes: [slot("a", "router", { on: "box1", os: ["plan9"] })],
    told: "box1 is needed for a with plan9 and runs linux",
  },
  {
    nodes: [slot("a", "router", { on: "full" })],
    told: "full is needed for a and has no room for another overlay",
  },
  {
    nodes: [slot("a", "router", { on: "box1" }), slot("b", "router", { on: "box1" })],
    told: "box1 is needed for b and plays another node: allow revisit or free it",
  },
];

Deno.test.each(SHORTAGES)("what is missing is told: $told", ({ nodes, told: expected }) => {
  const boxes = [
    box("box1", "router"),
    box("box2", "router"),
    box("box3", "host"),
    box("full", "router", { free: 0 }),
  ];
  assert.equal(told(place(spec(nodes), boxes, false)), expected);
});

Deno.test("needOf() counts roles and systems of each level and madeUp() makes as many again", () => {
  const west = spec([slot("x", "router", { os: ["linux"] })], [], "west");
  const need = needOf(spec(
    [
      slot("a", "host", { os: ["linux"] }),
      slot("b", "host", { os: ["freebsd", "linux"] }),
      slot("c", "router", { os: ["linux"] }),
      slot("d", "router"),
    ],
    [west],
    "all",
  ));
  assert.deepEqual(need, {
    name: "all",
    host: { count: 2, os: ["freebsd", "linux"] },
    router: { count: 2, os: ["any"] },
    subs: [{
      name: "west",
      host: { count: 0, os: ["any"] },
      router: { count: 1, os: ["linux"] },
      subs: [],
    }],
  });
  const made = madeUp(need);
  assert.deepEqual(needOf(made), need);
  assert.deepEqual(made.nodes.map(({ name }) => name), ["host1", "host2", "router1", "router2"]);
  assert.deepEqual(made.subs[0]!.nodes, [slot("router1", "router", { os: ["linux"] })]);
});

Deno.test("needOf() names the boxes that nodes are pinned to and madeUp() pins as many to them again", () => {
  const need = needOf(spec([
    slot("a", "host", { on: "box2" }),
    slot("b", "router"),
    slot("c", "router", { on: "box9" }),
    slot("d", "host", { on: "box1" }),
    slot("e", "host"),
  ]));
  assert.deepEqual(need.host, { count: 3, os: ["any"], on: ["box1", "box2"] });
  assert.deepEqual(need.router, { count: 2, os: ["any"], on: ["box9"] });
  const made = madeUp(need);
  assert.deepEqual(needOf(made), need);
  assert.deepEqual(made.nodes.map(({ on }) => on), ["box1", "box2", "", "box9", ""]);
});

Deno.test("512 nodes on 4096 candidates are placed, and what cannot be is refused, in no time", () => {
  const hosts = Array.from({ length: 256 }, (_, at) => slot(`h${at}`, "host"));
  const routers = Array.from({ length: 256 }, (_, at) => slot(`r${at}`, "router"));
  const both = Array.from({ length: 4096 }, (_, at) => box(`b${at}`, "both"));
  const started = performance.now();
  const placed = place(spec([...hosts, ...routers]), both, false) as Placement;
  assert.equal(new Set(placed.nodes.map(({ candidate }) => candidate)).size, 512);
  const few = both.slice(0, 300);
  assert.equal(told(place(spec([...hosts, ...routers]), few, false)), "44 of 256 routers answered");
  const pinned = [...hosts, ...routers].map((node) => ({ ...node, on: "b7" }));
  const all = place(spec(pinned), both, true) as Placement;
  assert.ok(all.nodes.every(({ candidate }) => candidate.node === "b7"));
  assert.ok(performance.now() - started < 5000);
});
