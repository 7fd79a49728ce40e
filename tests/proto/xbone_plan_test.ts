/** What identifies a set of plans, and what a box refuses of one. */
import assert from "node:assert/strict";
import { checkPlan } from "../../src/proto/xbone/check_plan.ts";
import { canonicalJson, planDigest, withoutKeys } from "../../src/proto/xbone/plan_digest.ts";
import type { NodePlan, PlanLink, Visit } from "../../src/wire/xbone/node_plan.ts";
import { overlay, plansOf, router, routers, sub } from "./xbone_specs.ts";

const same = (text: string): string => text;

/** One of everything. */
function fullPlans(): readonly NodePlan[] {
  const west = sub("west", { mode: "stacked", prefix: "10.101.0.0/16", nodes: routers(3) });
  return plansOf(overlay({
    nodes: [router("a"), router("b")],
    subs: [west],
    encryption: "aes-gcm",
    mptcp: ["subflow"],
    peers: { hub: "west/r1", port: 3300 },
    script: { name: "app", script: "app.sh", sha256: "", deadlineMs: 1000 },
    rateBits: 1e6,
  }));
}

/** Of `west/r1`, which is the hub. */
const PLAN = fullPlans()[2]!;

Deno.test("a box takes every plan that is designed, and those with one of everything", () => {
  assert.equal(PLAN.visits.length, 2);
  for (const plan of fullPlans()) assert.equal(checkPlan(plan, plan.node), null);
});

Deno.test("the digest is the same in any order and with any keys", () => {
  const plans = fullPlans();
  const digest = planDigest(plans, same);
  assert.equal(planDigest(plans.toReversed(), same), digest);
  assert.equal(planDigest(plans.map(withoutKeys), same), digest);
  const turned = plans.map((plan) => Object.fromEntries(Object.entries(plan).toReversed()));
  assert.equal(planDigest(turned as unknown as NodePlan[], same), digest);
});

Deno.test("the digest changes with anything that a box would do otherwise", () => {
  const digest = planDigest([PLAN], same);
  const [visit, ...visits] = PLAN.visits;
  const changes: Partial<NodePlan>[] = [
    { epoch: "0000000000000000" },
    { visits: [...visits, visit!] },
    { visits: [{ ...visit!, routes: visit!.routes.slice(1) }, ...visits] },
    { associations: PLAN.associations.slice(1) },
    { names: PLAN.names.slice(1) },
    { peers: null },
    { script: null },
    { endpoints: [] },
  ];
  for (const change of changes) {
    assert.notEqual(planDigest([{ ...PLAN, ...change }], same), digest);
  }
});

Deno.test("no key is left by withoutKeys(), and nothing else is lost", () => {
  const bare = withoutKeys(PLAN);
  const text = JSON.stringify(bare);
  const keys = [
    ...PLAN.associations.flatMap(({ keyIn, keyOut }) => [keyIn, keyOut]),
    ...PLAN.peers!.keys.map(({ key }) => key),
  ];
  assert.equal(keys.length, 2 * PLAN.associations.length + 5);
  for (const key of keys) assert.ok(key.length >= 40 && !text.includes(key));
  assert.deepEqual(
    bare.associations.map(({ spiIn }) => spiIn),
    PLAN.associations.map((one) => one.spiIn),
  );
  assert.deepEqual(
    bare.peers!.keys.map(({ entity }) => entity),
    PLAN.peers!.keys.map((one) => one.entity),
  );
});

Deno.test("canonicalJson() sorts members at every depth and leaves lists alone", () => {
  assert.equal(
    canonicalJson({ b: [{ d: 1, c: 2 }, 3], a: null }),
    '{"a":null,"b":[{"c":2,"d":1},3]}',
  );
});

type Change = (plan: NodePlan) => Partial<NodePlan>;

/** Changes the overlay's own visit, the second. */
const inVisit =
  (change: (visit: Visit) => Partial<Visit>): Change => ({ visits: [below, top] }) => ({
    visits: [below!, { ...top!, ...change(top!) }],
  });

const inLink = (change: Partial<PlanLink>): Change =>
  inVisit(({ links: [first, ...links] }) => ({ links: [{ ...first!, ...change }, ...links] }));

const inRoute = (change: Partial<Visit["routes"][number]>): Change =>
  inVisit(({ routes: [first, ...routes] }) => ({ routes: [{ ...first!, ...change }, ...routes] }));

const inAssociation = (change: Partial<NodePlan["associations"][number]>): Change => (plan) => ({
  associations: plan.associations.map((one, index) => index === 0 ? { ...one, ...change } : one),
});

const inScript = (change: object): Change => ({ script }) => ({
  script: { ...script!, ...change },
});
const inPeers = (change: object): Change => ({ peers }) => ({ peers: { ...peers!, ...change } });
const named = (address: string, name: string): Change => ({ names }) => ({
  names: [...names, { address, name }],
});

/** Changes the first link of the network below. */
const inLinkBelow = (change: Partial<PlanLink>): Change => ({ visits: [below, ...visits] }) => ({
  visits: [
    {
      ...below!,
      links: below!.links.map((link, index) => index === 0 ? { ...link, ...change } : link),
    },
    ...visits,
  ],
  associations: [],
});

const REFUSED: { what: string; change: Change; reason: RegExp }[] = [
  {
    what: "a tunnel to an address of the overlay",
    change: inLinkBelow({ remote: "10.101.0.9" }),
    reason: /must be outside of the prefix of field\/west/,
  },
  {
    what: "a tunnel that rides on a network from an address that it does not have there",
    change: inLinkBelow({ local: "10.100.0.99", remote: "10.100.0.1" }),
    reason: /must be outside of the prefix of field,/,
  },
  {
    what: "a tunnel that takes the packets of a service",
    change: inLinkBelow({ port: 53 }),
    reason: /port of .* 1024 to 65535/,
  },
  {
    what: "a prefix of the world",
    change: ({ visits }) => ({
      visits: visits.map((visit) => ({ ...visit, prefix: "8.0.0.0/8" })),
    }),
    reason: /private IPv4/,
  },
  { what: "another box's plan", change: () => ({ node: "box9" }), reason: /must be for box2/ },
  {
    what: "an overlay's name with a line break",
    change: () => ({ overlay: "a\nb" }),
    reason: /name/,
  },
  { what: "an overlay's name that leads out", change: () => ({ overlay: "../x" }), reason: /name/ },
  { what: "an epoch that is none", change: () => ({ epoch: "12" }), reason: /epoch/ },
  { what: "a plan without visits", change: () => ({ visits: [] }), reason: /visits .* 1 to 512/ },
  {
    what: "too many visits",
    change: ({ visits }) => ({ visits: Array(513).fill(visits[0]) }),
    reason: /visits/,
  },
  {
    what: "too many links",
    change: inVisit(({ links }) => ({ links: Array(1025).fill(links[0]) })),
    reason: /links .* 0 to 1024/,
  },
  {
    what: "too many routes",
    change: inVisit(({ routes }) => ({ routes: Array(513).fill(routes[0]) })),
    reason: /routes of "west\/r1"/,
  },
  {
    what: "too many endpoints",
    change: ({ endpoints }) => ({ endpoints: Array(9).fill(endpoints[0]) }),
    reason: /MPTCP endpoints .* 0 to 8/,
  },
  {
    what: "too many names",
    change: ({ names }) => ({ names: Array(513).fill(names[0]) }),
    reason: /names/,
  },
  {
    what: "a node's name with a space",
    change: inVisit(() => ({ name: "a b" })),
    reason: /node's/,
  },
  {
    what: "a node's name that is too long",
    change: inVisit(() => ({ name: Array(9).fill("longname").join("/") })),
    reason: /63 at most/,
  },
  {
    what: "a network of another overlay",
    change: inVisit(() => ({ network: "other" })),
    reason: /must be of field/,
  },
  {
    what: "a role that is none",
    change: inVisit(() => ({ role: "king" as "host" })),
    reason: /host or router/,
  },
  {
    what: "all addresses for itself",
    change: inVisit(() => ({ prefix: "0.0.0.0/0" })),
    reason: /prefix/,
  },
  {
    what: "an address outside",
    change: inVisit(() => ({ address: "192.0.2.1" })),
    reason: /must be in 10.100.0.0\/16/,
  },
  {
    what: "a visit twice",
    change: ({ visits }) => ({ visits: [...visits, visits[0]!] }),
    reason: /twice/,
  },
  {
    what: "two prefixes of one network",
    change: ({ visits: [below, top] }) => ({
      visits: [
        below!,
        top!,
        { ...top!, name: "x", address: "10.9.0.1", prefix: "10.9.0.0/16", links: [], routes: [] },
      ],
    }),
    reason: /one prefix/,
  },
  {
    what: "networks that overlap",
    change: ({ visits: [below, top] }) => ({
      visits: [{ ...below!, prefix: "10.0.0.0/8" }, top!],
    }),
    reason: /overlap/,
  },
  { what: "a link's name with a quote", change: inLink({ name: "a'-b" }), reason: /link's name/ },
  { what: "a VNI of 0", change: inLink({ vni: 0 }), reason: /VNI .* 1 to 16777215/ },
  { what: "a VNI of 25 bits", change: inLink({ vni: 0x1000000 }), reason: /VNI/ },
  {
    what: "a VNI twice",
    change: (plan) => inLink({ vni: plan.visits[0]!.links[0]!.vni })(plan),
    reason: /VNI .* another link has it/,
  },
  { what: "a port of 0", change: inLink({ port: 0 }), reason: /port/ },
  { what: "a port that is no number", change: inLink({ port: NaN }), reason: /port/ },
  { what: "an MTU below IPv4's", change: inLink({ mtu: 575 }), reason: /MTU .* 576/ },
  { what: "an MTU that is no whole number", change: inLink({ mtu: 1400.5 }), reason: /MTU/ },
  { what: "a rate below nothing", change: inLink({ rateBits: -1 }), reason: /rate/ },
  { what: "a tunnel to a group", change: inLink({ remote: "239.1.1.1" }), reason: /tunnel/ },
  {
    what: "a tunnel to everybody",
    change: inLink({ remote: "255.255.255.255" }),
    reason: /tunnel/,
  },
  { what: "a tunnel from nowhere", change: inLink({ local: "0.0.0.0" }), reason: /tunnel/ },
  {
    what: "a tunnel between families",
    change: inLink({ remote: "2001:db8::1" }),
    reason: /tunnel/,
  },
  {
    what: "a tunnel to itself",
    change: inLink({ local: "192.0.2.1", remote: "192.0.2.1" }),
    reason: /tunnel/,
  },
  { what: "a name for an address", change: inLink({ remote: "box.example" }), reason: /tunnel/ },
  {
    what: "ends that are no pair",
    change: inLink({ address: "10.100.128.1", peerAddress: "10.100.128.2" }),
    reason: /\/31/,
  },
  {
    what: "ends outside",
    change: inLink({ address: "10.9.0.0", peerAddress: "10.9.0.1" }),
    reason: /\/31/,
  },
  {
    what: "a link twice",
    change: inVisit(({ links }) => ({ links: [...links, links[0]!] })),
    reason: /there are two of it/,
  },
  { what: "a peer's box with a space", change: inLink({ peerNode: "a b" }), reason: /peer's box/ },
  { what: "a route to everywhere", change: inRoute({ to: "0.0.0.0/0" }), reason: /route/ },
  { what: "a route to the network", change: inRoute({ to: "10.100.0.0/16" }), reason: /route/ },
  { what: "a route outside", change: inRoute({ to: "192.0.2.1/32" }), reason: /route/ },
  { what: "a route over no link", change: inRoute({ link: "x-y" }), reason: /must have its link/ },
  { what: "a route past its link", change: inRoute({ via: "192.0.2.1" }), reason: /must go via/ },
  {
    what: "a route twice",
    change: inVisit(({ routes }) => ({ routes: [...routes, routes[0]!] })),
    reason: /there are two of it/,
  },
  {
    what: "an association for no tunnel",
    change: inAssociation({ remote: "192.0.2.99" }),
    reason: /must protect a tunnel/,
  },
  {
    what: "an association for another port",
    change: inAssociation({ port: 22 }),
    reason: /must protect a tunnel/,
  },
  { what: "an SPI that is reserved", change: inAssociation({ spiIn: 255 }), reason: /SPI .* 256/ },
  {
    what: "an SPI twice",
    change: (plan) => inAssociation({ spiIn: plan.associations[1]!.spiIn })(plan),
    reason: /another association has it/,
  },
  { what: "a short key", change: inAssociation({ keyIn: "00" }), reason: /keys of .* 40/ },
  { what: "a plan without keys", change: (plan) => withoutKeys(plan), reason: /keys of/ },
  {
    what: "an association twice",
    change: ({ associations }) => ({ associations: [...associations, associations[0]!] }),
    reason: /there are two of it/,
  },
  {
    what: "an endpoint at an address that is not its own",
    change: () => ({ endpoints: [{ address: "192.0.2.1", flags: [] }] }),
    reason: /visit's address/,
  },
  {
    what: "a flag that is none",
    change: ({ endpoints: [one] }) => ({ endpoints: [{ ...one!, flags: ["root"] }] }),
    reason: /flags/,
  },
  {
    what: "somebody else's name",
    change: named("10.100.0.1", "www.example.com"),
    reason: /\.field/,
  },
  { what: "the overlay's name alone", change: named("10.100.0.1", "field"), reason: /\.field/ },
  { what: "a name with a line break", change: named("10.100.0.1", "x\n.field"), reason: /\.field/ },
  { what: "a name twice", change: named("10.100.0.1", "a.field"), reason: /there are two of it/ },
  {
    what: "names in a domain of the world",
    change: ({ visits }) => ({
      overlay: "com",
      visits: visits.map((visit) => ({
        ...visit,
        network: visit.network.replace("field", "com"),
      })),
      names: [{ address: "10.100.0.1", name: "www.example.com" }],
    }),
    reason: /domain of the world: current value is "com"/,
  },
  { what: "a name outside", change: named("192.0.2.1", "x.field"), reason: /overlay's prefix/ },
  {
    what: "a role of peers that is none",
    change: inPeers({ role: "x" }),
    reason: /hub or gateway/,
  },
  { what: "a hub that is none", change: inPeers({ hub: "v2:hub.example:3300" }), reason: /hub/ },
  { what: "a hub elsewhere", change: inPeers({ hub: "v2:10.101.0.9:3300" }), reason: /visit's/ },
  {
    what: "a gateway whose hub is elsewhere",
    change: inPeers({ role: "gateway", hub: "v2:192.168.0.1:3300" }),
    reason: /in the overlay/,
  },
  { what: "a hub's port that is none", change: inPeers({ hub: "v2:10.100.0.1:0" }), reason: /hub/ },
  { what: "no key of its own", change: inPeers({ keys: [] }), reason: /own key/ },
  {
    what: "an entity with a line break",
    change: inPeers({ keys: [{ entity: "client.x\n[client.y]", key: "A".repeat(40) }] }),
    reason: /client\.NAME/,
  },
  {
    what: "a script outside its folder",
    change: inScript({ script: "../sh" }),
    reason: /file's name/,
  },
  { what: "a script that is hidden", change: inScript({ script: ".sh" }), reason: /file's name/ },
  {
    what: "a script with a shell's words",
    change: inScript({ script: "a;b" }),
    reason: /file's name/,
  },
  {
    what: "a URL without a digest",
    change: inScript({ script: "https://x.example/y" }),
    reason: /SHA-256/,
  },
  { what: "a digest that is none", change: inScript({ sha256: "ff" }), reason: /SHA-256/ },
  { what: "no deadline", change: inScript({ deadlineMs: 0 }), reason: /deadline/ },
];

Deno.test.each(REFUSED)("a box refuses $what", ({ change, reason }) => {
  const refusal = checkPlan({ ...PLAN, ...change(PLAN) }, "box2");
  assert.match(refusal ?? "it was taken", reason);
  assert.match(refusal!, /^Cannot /);
  assert.ok(!refusal!.includes("\n"), "a refusal is one line");
});

/** Of another overlay, whose plan clashes with nothing of {@linkcode PLAN}. */
const BESIDE: NodePlan = plansOf(
  overlay({ name: "other", prefix: "10.8.0.0/16", nodes: routers(3) }),
)[2]!;

const besideLink = (change: Partial<PlanLink>): NodePlan => {
  const [visit] = BESIDE.visits;
  return { ...BESIDE, visits: [{ ...visit!, links: [{ ...visit!.links[0]!, ...change }] }] };
};

const OURS = PLAN.visits[0]!.links[0]!;

const CLASHES: { what: string; beside: NodePlan; reason: RegExp }[] = [
  { what: "an overlay of its name", beside: PLAN, reason: /one of its name/ },
  {
    what: "one with its prefix",
    beside: { ...BESIDE, visits: [{ ...BESIDE.visits[0]!, prefix: "10.100.128.0/24" }] },
    reason: /overlay other is on this box and has 10.100.128.0\/24, use another/,
  },
  {
    what: "one with a tunnel that leads into its prefix",
    beside: besideLink({ remote: "10.100.77.1" }),
    reason: /a tunnel to 10\.100\.77\.1, use another/,
  },
  {
    what: "one with a VNI of its",
    beside: besideLink({ vni: OURS.vni, port: OURS.port }),
    reason: /VNI/,
  },
  {
    what: "one whose tunnels it would protect",
    beside: besideLink({ vni: 1, local: OURS.local, remote: OURS.remote, port: OURS.port }),
    reason: /Cannot protect tunnels/,
  },
  {
    what: "one with an SPI of its",
    beside: { ...BESIDE, associations: [{ ...PLAN.associations[0]!, port: 1 }] },
    reason: /SPI/,
  },
];

Deno.test.each(CLASHES)("a box refuses an overlay beside $what", ({ beside, reason }) => {
  assert.match(checkPlan(PLAN, "box2", [BESIDE, beside]) ?? "it was taken", reason);
});

Deno.test("a box takes overlays beside each other that have nothing in common", () => {
  assert.equal(checkPlan(PLAN, "box2", [BESIDE]), null);
  assert.equal(checkPlan(BESIDE, "box2", [withoutKeys(PLAN)]), null);
});

Deno.test("no refusal tells a key", () => {
  const [first] = PLAN.associations;
  const keyIn = `${first!.keyIn.slice(0, 39)}g`;
  const refusal = checkPlan({ ...PLAN, ...inAssociation({ keyIn })(PLAN) }, "box2")!;
  assert.ok(!refusal.includes(keyIn.slice(0, 8)));
  const key = `${PLAN.peers!.keys[0]!.key}!`;
  const keys = [{ entity: PLAN.peers!.entity, key }];
  const other = checkPlan({ ...PLAN, ...inPeers({ keys })(PLAN) }, "box2")!;
  assert.match(other, /base64/);
  assert.ok(!other.includes(key.slice(0, 20)));
});
