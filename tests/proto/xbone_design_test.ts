/** From a specification and pinned boxes to plans: properties of any design, and what is refused. */
import assert from "node:assert/strict";
import { checkPlan } from "../../src/proto/xbone/check_plan.ts";
import { Design } from "../../src/proto/xbone/design.ts";
import type { OverlaySpec, SpecNetwork, Topology } from "../../src/proto/xbone/overlay_spec.ts";
import { planDigest, withoutKeys } from "../../src/proto/xbone/plan_digest.ts";
import { linkMtu } from "../../src/proto/xbone/tunnels.ts";
import { decodeKey } from "../../src/wire/cephx/crypto_key.ts";
import type { PinnedNode } from "../../src/wire/xbone/messages.ts";
import type { NodePlan } from "../../src/wire/xbone/node_plan.ts";
import {
  CAPABILITIES,
  EPOCH,
  hexes,
  host,
  numbers,
  overlay,
  pin,
  plansOf,
  router,
  routers,
  slots,
  sub,
  visitsOf,
  walk,
} from "./xbone_specs.ts";

/** Everything that must hold of plans, whatever they are for. */
function assertSound(plans: readonly NodePlan[]): void {
  for (const plan of plans) assert.equal(checkPlan(plan, plan.node), null);
  const links = plans.flatMap(({ node, visits }) =>
    visits.flatMap((visit) => visit.links.map((link) => ({ node, visit, ...link })))
  );
  for (const name of new Set(links.map((link) => link.name))) {
    const [a, b, more] = links.filter((link) => link.name === name);
    assert.ok(a !== undefined && b !== undefined && more === undefined, `${name} has two ends`);
    for (const [here, there] of [[a, b], [b, a]] as const) {
      assert.deepEqual(
        [here.local, here.address, here.peer, here.peerNode],
        [there.remote, there.peerAddress, there.visit.name, there.node],
      );
    }
    assert.deepEqual([a.vni, a.port, a.mtu, a.rateBits], [b.vni, b.port, b.mtu, b.rateBits]);
  }
  const unique = (values: readonly unknown[]): void => {
    assert.equal(new Set(values).size, values.length);
  };
  assert.equal(new Set(links.map(({ vni }) => vni)).size, links.length / 2);
  const visits = plans.flatMap((plan) => plan.visits);
  unique([...visits.map(({ address }) => address), ...links.map(({ address }) => address)]);
  for (const name of new Set(visits.map(({ network }) => network))) {
    const inside = visitsOf(plans, name);
    for (const from of inside.keys()) for (const to of inside.keys()) walk(inside, from, to);
  }
  const associations = plans.flatMap((plan) => plan.associations);
  for (const one of associations) {
    const other = associations.find(({ local, remote }) =>
      local === one.remote && remote === one.local
    );
    assert.deepEqual([other?.spiIn, other?.keyIn], [one.spiOut, one.keyOut]);
  }
  unique(associations.map(({ spiIn }) => spiIn));
  unique(associations.map(({ keyIn }) => keyIn));
}

const SHAPES: readonly Topology[] = ["linear", "ring", "star", "tree", "mesh"];

/** Any network whose hosts are leaves. */
function randomNetwork(next: (below: number) => number, depth: number): SpecNetwork {
  const nodes = routers(3 + next(4));
  const subs = depth === 0 ? [] : Array.from({ length: next(3) }, (_, index) => {
    const mode = next(2) === 0 ? "control" : "stacked";
    const prefix = `10.${1 + next(90)}.${next(64) * 4}.0/22`;
    return sub(`s${index}`, { mode, prefix, ...randomNetwork(next, depth - 1) });
  });
  const topology = SHAPES[next(SHAPES.length)]!;
  const end = topology === "linear" && subs.length === 0 || topology === "mesh";
  return {
    topology,
    fanout: 1 + next(3),
    nodes: end ? [...nodes, host("h")] : nodes,
    links: [],
    subs,
  };
}

Deno.test("designs of 150 random specifications reach everywhere, and both ends agree", () => {
  let stacked = 0;
  let designed = 0;
  for (let seed = 0; seed < 150; seed++) {
    const next = numbers(seed);
    const encryption = next(2) === 0 ? "none" : "aes-gcm";
    const spec = overlay({ encryption, ...randomNetwork(next, 2), peers: { hub: "r1", port: 1 } });
    const design = new Design(spec, EPOCH, hexes(seed));
    const plans = design.design(pin(slots(design.need)));
    if ("reason" in plans) {
      // Prefixes are random, and a host of a sub-overlay may come to lie between others.
      assert.match(plans.reason, /overlaps with|does not forward/, `seed ${seed}`);
      continue;
    }
    designed++;
    if (plans.some(({ visits }) => visits.length > 1)) stacked++;
    assertSound(plans);
  }
  assert.ok(designed > 75 && stacked > 20, `${designed} designed, ${stacked} with stacked ones`);
});

Deno.test.each(SHAPES.map((topology) => ({ topology })))(
  "a $topology of 100 nodes is designed within a second",
  ({ topology }) => {
    const spec = overlay({ topology, nodes: routers(100), encryption: "aes-gcm" });
    const design = new Design(spec, EPOCH, hexes(1));
    const pinned = pin(slots(design.need));
    const start = performance.now();
    const plans = design.design(pinned);
    assert.ok(performance.now() - start < 1000);
    assert.ok(!("reason" in plans));
    assert.equal(plans.length, 100);
    const visits = visitsOf(plans, "field");
    for (const to of visits.keys()) walk(visits, "r1", to);
  },
);

Deno.test("need repeats the sub-overlays without how they are joined", () => {
  const west = sub("west", { mode: "stacked", prefix: "10.101.0.0/16", nodes: routers(3) });
  const { need } = new Design(overlay({ nodes: [router("a")], subs: [west] }), EPOCH, hexes(1));
  assert.deepEqual(need, {
    name: "field",
    mode: "control",
    nodes: [router("a")],
    subs: [{ name: "west", mode: "stacked", nodes: routers(3), subs: [] }],
  });
});

Deno.test("the plan of a box in a line, whole", () => {
  const nodes = [host("a"), router("b"), host("c")];
  const [, plan] = plansOf(overlay({ topology: "linear", nodes, rateBits: 5 }));
  const link = { port: 4789, mtu: 1450, rateBits: 5, local: "192.0.0.2" };
  assert.deepEqual(plan, {
    overlay: "field",
    epoch: EPOCH,
    node: "box1",
    visits: [{
      name: "b",
      network: "field",
      role: "router",
      address: "10.100.0.2",
      prefix: "10.100.0.0/16",
      links: [
        {
          ...link,
          name: "a-b",
          vni: 0x00f1e2,
          remote: "192.0.0.1",
          address: "10.100.128.1",
          peerAddress: "10.100.128.0",
          peer: "a",
          peerNode: "box0",
        },
        {
          ...link,
          name: "b-c",
          vni: (0x00f1e2 + (0xd3c4b5 | 1)) % 0x1000000,
          remote: "192.0.0.3",
          address: "10.100.128.2",
          peerAddress: "10.100.128.3",
          peer: "c",
          peerNode: "box2",
        },
      ],
      routes: [
        { to: "10.100.0.1/32", via: "10.100.128.0", link: "a-b" },
        { to: "10.100.0.3/32", via: "10.100.128.3", link: "b-c" },
      ],
    }],
    associations: [],
    endpoints: [],
    names: [
      { address: "10.100.0.1", name: "a.field" },
      { address: "10.100.0.2", name: "b.field" },
      { address: "10.100.0.3", name: "c.field" },
    ],
    peers: null,
    script: null,
  });
});

const MTUS = [
  { underlay: 1500, address: "192.0.2.1", encrypted: false, mtu: 1450 },
  { underlay: 1500, address: "2001:db8::1", encrypted: false, mtu: 1430 },
  { underlay: 1500, address: "192.0.2.1", encrypted: true, mtu: 1416 },
  { underlay: 1500, address: "2001:db8::1", encrypted: true, mtu: 1396 },
  { underlay: 9000, address: "192.0.2.1", encrypted: true, mtu: 8916 },
];

Deno.test.each(MTUS)(
  "$underlay bytes to $address, encrypted $encrypted, carry $mtu",
  ({ underlay, address, encrypted, mtu }) => {
    assert.equal(linkMtu(underlay, address, encrypted), mtu);
  },
);

Deno.test("inside ESP the largest packet fits, and one byte more does not, for any way", () => {
  /** RFC 4303 section 2: what an IPv4 packet of the tunnel becomes. */
  const outer = (mtu: number): number => {
    const protectedBytes = 8 + 8 + 14 + mtu + 2;
    return 20 + 8 + 8 + Math.ceil(protectedBytes / 4) * 4 + 16;
  };
  for (let underlay = 700; underlay < 710; underlay++) {
    const mtu = linkMtu(underlay, "192.0.2.1", true);
    assert.ok(outer(mtu) <= underlay && outer(mtu + 1) > underlay, `${underlay}`);
  }
});

function stackedLine(): OverlaySpec {
  const west = sub("west", {
    mode: "stacked",
    prefix: "10.101.0.0/16",
    topology: "linear",
    nodes: routers(3),
  });
  const links = [
    { ends: ["a", "west/r1"], rateBits: 0 },
    { ends: ["west/r1", "west/r3"], rateBits: 0 },
    { ends: ["west/r2", "west/r3"], rateBits: 0 },
  ] as const;
  return overlay({ topology: "custom", nodes: [router("a")], subs: [west], links });
}

Deno.test("a link of a stacked network's nodes rides on it, with the MTU of its narrowest part", () => {
  const plans = plansOf(
    stackedLine(),
    (pinned) => pinned.map((one) => one.name === "west/r2" ? { ...one, mtu: 1400 } : one),
  );
  const { visits } = plans.find(({ node }) => node === "box1")!;
  assert.deepEqual(visits.map(({ network, address }) => [network, address]), [
    ["field/west", "10.101.0.1"],
    ["field", "10.100.0.2"],
  ]);
  const links = visits.flatMap((visit) => visit.links);
  assert.deepEqual(links.map(({ name, local, remote, mtu }) => [name, local, remote, mtu]), [
    ["west:r1-r2", "192.0.0.2", "192.0.0.3", 1350],
    ["a-west/r1", "192.0.0.2", "192.0.0.1", 1450],
    ["west/r1-west/r3", "10.101.0.1", "10.101.0.3", 1300],
  ]);
});

Deno.test("there and back may go other ways below: the narrowest of both counts, or of all", () => {
  const links = [
    { ends: ["west/r1", "west/r2"], rateBits: 0 },
    { ends: ["west/r2", "west/r4"], rateBits: 0 },
    { ends: ["west/r4", "west/r3"], rateBits: 0 },
  ] as const;
  const west = sub("west", { mode: "stacked", prefix: "10.101.0.0/16", nodes: routers(4) });
  const spec = overlay({ topology: "custom", subs: [west], links });
  const mtus = (spec: OverlaySpec, narrow: string): number[] => {
    const plans = plansOf(spec, (pinned) =>
      pinned.map((one) => ({
        ...one,
        mtu: one.name === narrow ? 1400 : 1500,
        capabilities: [...CAPABILITIES, "routing-bird"],
      })));
    return visitsOf(plans, "field").get("west/r2")!.links.map(({ mtu }) => mtu);
  };
  // From r2 to r4 packets go over r1, from r4 to r2 over r3.
  assert.deepEqual(mtus(spec, "west/r1"), [1300, 1300]);
  assert.deepEqual(mtus(spec, "west/r3"), [1400, 1300]);
  const dynamic = { ...spec, routing: "dynamic", routingDaemon: "bird" } as const;
  assert.deepEqual(mtus(dynamic, "west/r3"), [1300, 1300]);
});

Deno.test("what rides on a network below is protected by that network's tunnels", () => {
  const plans = plansOf({ ...stackedLine(), encryption: "aes-gcm" });
  const [, { associations, visits }] = plans as [NodePlan, NodePlan];
  assert.deepEqual(associations.map(({ remote }) => remote), ["192.0.0.3", "192.0.0.1"]);
  assert.equal(visits[1]!.links.find(({ name }) => name === "west/r1-west/r3")!.mtu, 1366);
});

Deno.test("an encrypted overlay has a port of its own unless one is set", () => {
  const portOf = (spec: OverlaySpec): number => plansOf(spec)[0]!.visits[0]!.links[0]!.port;
  const spec = overlay({ nodes: routers(3), encryption: "aes-gcm" });
  assert.equal(portOf(spec), 20_000 + 0xa697 % 10_000);
  assert.equal(portOf({ ...spec, port: 4790 }), 4790);
  assert.equal(plansOf(spec)[0]!.associations[0]!.port, portOf(spec));
});

Deno.test("two boxes have one association however many tunnels join them", () => {
  const spec = overlay({ nodes: routers(4), encryption: "aes-gcm", revisit: true });
  const design = new Design(spec, EPOCH, hexes(2));
  const plans = design.design(pin(slots(design.need), 2));
  assert.ok(!("reason" in plans));
  assert.deepEqual(plans.map(({ visits, associations }) => [visits.length, associations.length]), [
    [2, 1],
    [2, 1],
  ]);
  assertSound(plans);
});

Deno.test("rekey() changes every key and SPI and nothing else, also of plans kept without keys", () => {
  const peers = { hub: "r2", port: 3300 };
  const spec = overlay({ nodes: routers(4), encryption: "aes-gcm", peers });
  const design = new Design(spec, EPOCH, hexes(3));
  const before = design.design(pin(slots(design.need)));
  assert.ok(!("reason" in before));
  const after = design.rekey(before.map(withoutKeys));
  const rest = (plans: readonly NodePlan[]): object[] =>
    plans.map((plan) => ({ ...withoutKeys(plan), associations: plan.associations.length }));
  assert.deepEqual(rest(after), rest(before));
  assertSound(after);
  const spis = (plans: readonly NodePlan[]): Set<number> =>
    new Set(
      plans.flatMap(({ associations }) => associations.flatMap((one) => [one.spiIn, one.spiOut])),
    );
  assert.equal(spis(after).size, 8);
  assert.equal(spis(after).intersection(spis(before)).size, 0);
  const keys = (plans: readonly NodePlan[]): Set<string> =>
    new Set(plans.flatMap(({ associations, peers }) => [
      ...associations.flatMap(({ keyIn, keyOut }) => [keyIn, keyOut]),
      ...peers!.keys.map(({ key }) => key),
    ]));
  assert.equal(keys(before).size, 8 + 4);
  assert.equal(keys(after).intersection(keys(before)).size, 0);
  const same = (text: string): string => text;
  assert.equal(planDigest(before, same), planDigest(after, same));
});

Deno.test("the same epoch gives the same tunnels, another one others", () => {
  const spec = overlay({ nodes: routers(3) });
  const vnis = (epoch: string): number[] => {
    const design = new Design(spec, epoch, hexes(1));
    const plans = design.design(pin(slots(design.need)));
    assert.ok(!("reason" in plans));
    return plans.flatMap(({ visits }) => visits[0]!.links.map(({ vni }) => vni));
  };
  assert.deepEqual(vnis(EPOCH), vnis(EPOCH));
  assert.notDeepEqual(vnis(EPOCH), vnis("a0f1e2d3c4b5a697"));
  assert.ok(vnis("0000000000000000").every((vni) => vni > 0));
});

Deno.test("the hub has everybody's key, a gateway its own, in a keyring's form", () => {
  const west = sub("west", { topology: "linear", nodes: routers(2) });
  const peers = { hub: "west/r2", port: 3301 };
  const plans = plansOf(overlay({ topology: "linear", nodes: [router("a")], subs: [west], peers }));
  const [a, r1, hub] = plans.map((plan) => plan.peers!);
  assert.deepEqual([a!.role, r1!.role, hub!.role], ["gateway", "gateway", "hub"]);
  assert.deepEqual([a!.entity, r1!.entity, hub!.entity], [
    "client.a",
    "client.r1.west",
    "client.r2.west",
  ]);
  assert.equal(a!.hub, "v2:10.100.0.3:3301");
  assert.deepEqual(hub!.keys, [...a!.keys, ...r1!.keys, hub!.keys[2]!]);
  for (const { key } of hub!.keys) assert.equal(decodeKey(key).secret.length, 16);
});

Deno.test("MPTCP endpoints are at the overlay's addresses, and no more than the kernel takes", () => {
  const spec = { ...stackedLine(), mptcp: ["subflow", "signal"] };
  assert.deepEqual(plansOf(spec)[1]!.endpoints, [
    { address: "10.100.0.2", flags: ["subflow", "signal"] },
  ]);
  const many = overlay({ topology: "ring", nodes: routers(20), mptcp: ["subflow"], revisit: true });
  assert.match(refusal(many, (names) => pin(names, 2)), /box0 .* 8 MPTCP endpoints: .* have 10/);
});

Deno.test("names can be left out, and a script goes to every box", () => {
  const script = { name: "app", script: "app.sh", sha256: "", deadlineMs: 1000 };
  const plans = plansOf(overlay({ nodes: routers(3), names: false, script }));
  assert.deepEqual(plans.map(({ names }) => names), [[], [], []]);
  assert.deepEqual(plans.map((plan) => plan.script), [script, script, script]);
});

Deno.test("with dynamic routing a router has routes to its hosts only, a host all of them", () => {
  const spec = overlay({
    topology: "linear",
    nodes: [host("a"), router("b"), router("c"), host("d")],
    routing: "dynamic",
    routingDaemon: "bird",
  });
  assert.match(refusal(spec, pin), /box1 as it must offer routing-bird for routing of b by bird/);
  const plans = plansOf(
    spec,
    (pinned) => pinned.map((one) => ({ ...one, capabilities: [...CAPABILITIES, "routing-bird"] })),
  );
  assert.deepEqual(plans.map(({ visits }) => visits[0]!.routes.length), [3, 1, 1, 3]);
  assert.equal(plans[1]!.visits[0]!.routes[0]!.to, "10.100.0.1/32");
});

/** The reason for which there are no plans. */
function refusal(spec: OverlaySpec, boxes: (names: readonly string[]) => PinnedNode[]): string {
  const design = new Design(spec, EPOCH, hexes(1));
  const plans = design.design(boxes(slots(design.need)));
  assert.ok("reason" in plans, "it was designed");
  assert.equal(plans.phase, "READY");
  if (plans.node !== "") assert.ok(plans.reason.includes(plans.node));
  return plans.reason;
}

const REFUSED: {
  what: string;
  spec?: Partial<OverlaySpec>;
  change: (one: PinnedNode) => PinnedNode | null;
  reason: RegExp;
}[] = [
  {
    what: "a node that nobody plays",
    change: (one) => one.name === "r2" ? null : one,
    reason: /Cannot place r2/,
  },
  {
    what: "neighbours on one box",
    change: (one) => ({ ...one, node: one.name === "r3" ? "box1" : one.node }),
    reason: /link r2-r3 as r2 and r3 are both played by box1/,
  },
  {
    what: "IPv4 and IPv6 at the two ends",
    change: (one) => one.name === "r2" ? { ...one, ipaddr: "2001:db8::2" } : one,
    reason: /link r1-r2 .*box0 has 192.0.0.1, box1 has 2001:db8::2/,
  },
  {
    what: "an address that is none",
    change: (one) => one.name === "r2" ? { ...one, ipaddr: "box1.example" } : one,
    reason: /box1 must have an address: current value is "box1.example"/,
  },
  {
    what: "two boxes of one address",
    change: (one) => ({ ...one, ipaddr: "192.0.2.1" }),
    reason: /addresses of their own/,
  },
  {
    what: "a way that is too narrow",
    change: (one) => one.name === "r3" ? { ...one, mtu: 625 } : one,
    reason:
      /link r2-r3 as its MTU must be 576 at least: it would be 575, as the MTU of box2 is 625/,
  },
  {
    what: "a box with an address in the overlay's prefix",
    change: (one) => one.name === "r3" ? { ...one, ipaddr: "10.100.7.1" } : one,
    reason: /10.100.0.0\/16 for field as box2 has an address in it: current value is 10.100.7.1/,
  },
  {
    what: "a box without VXLAN",
    change: (one) => ({ ...one, capabilities: ["esp"] }),
    reason: /box0 as it must offer vxlan for link r3-r1: it offers esp/,
  },
  {
    what: "a box without ESP",
    spec: { encryption: "aes-gcm" },
    change: (one) => ({
      ...one,
      capabilities: one.name === "r2" ? ["vxlan", "hosts"] : CAPABILITIES,
    }),
    reason: /box1 as it must offer esp/,
  },
  {
    what: "a rate where there is no tbf",
    spec: { rateBits: 10 },
    change: (one) => ({ ...one, capabilities: ["vxlan", "hosts"] }),
    reason: /box0 as it must offer tbf for the rate of link/,
  },
  {
    what: "a script where none may run",
    spec: { script: { name: "app", script: "app", sha256: "", deadlineMs: 1 } },
    change: (one) => ({ ...one, capabilities: ["vxlan", "hosts"] }),
    reason: /must offer script for script app/,
  },
  {
    what: "a specification that cannot be",
    spec: { nodes: [] },
    change: (one) => one,
    reason: /ring/,
  },
];

Deno.test.each(REFUSED)("design() refuses $what", ({ spec, change, reason }) => {
  const boxes = (names: readonly string[]): PinnedNode[] =>
    pin(names).flatMap((one) => change(one) ?? []);
  assert.match(refusal(overlay({ nodes: routers(3), ...spec }), boxes), reason);
});

Deno.test("a stacked network below which nothing fits is refused with what it rides on", () => {
  const narrow = (names: readonly string[]): PinnedNode[] =>
    pin(names).map((one) => ({ ...one, mtu: 670 }));
  const reason = /west\/r1-west\/r3 as its MTU .* would be 570, as it rides on field\/west/;
  assert.match(refusal(stackedLine(), narrow), reason);
});
