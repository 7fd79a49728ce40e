/** Specifications of overlays as users write them: what they become, and every mistake at once. */
import assert from "node:assert/strict";
import { specText } from "../../src/app/commands/overlay/common.ts";
import { TEXT_SIZE_MAX } from "../../src/app/config/jsonc.ts";
import { problemText } from "../../src/app/config/problem.ts";
import { readSpec, specDigest } from "../../src/app/overlay/spec.ts";
import { readRate, specJsonSchema } from "../../src/app/overlay/spec_schema.ts";
import { Design } from "../../src/proto/xbone/design.ts";
import type { OverlaySpec } from "../../src/proto/xbone/overlay_spec.ts";
import { layOut } from "../../src/proto/xbone/topology.ts";
import { EPOCH, hexes, pin, slots } from "../proto/xbone_specs.ts";

function accepted(value: unknown): OverlaySpec {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const read = readSpec(text, "spec.json");
  if (read.spec === null) assert.fail(read.problems.map(problemText).join("\n"));
  assert.deepEqual(read.warnings, []);
  return read.spec;
}

function problems(value: unknown): string[] {
  const read = readSpec(typeof value === "string" ? value : JSON.stringify(value), "spec.json");
  assert.ok(read.spec === null, "it was accepted");
  return read.problems.map(({ path, text }) => `${path}: ${text}`);
}

function links(spec: OverlaySpec): string {
  const layout = layOut(spec);
  assert.ok("networks" in layout);
  return layout.networks.at(-1)!.links.map(({ name }) => name).join(" ");
}

/** Four boxes: two hosts at the ends of two routers, encrypted, one Fairlead the hub. */
const EXAMPLE = `{
  // fairlead overlay apply field.jsonc
  "name": "field",
  "topology": "linear",
  "hosts": 2,
  "routers": 2,
  "links": [{ "ends": ["r1", "r2"], "rate": "10mbit" }],
  "ipsec": true,
  "fairlead": { "hub": "r1" },
}`;

Deno.test("an overlay of four boxes in ten lines", () => {
  const spec = accepted(EXAMPLE);
  assert.equal(links(spec), "h1-r1 r1-r2 r2-h2");
  assert.deepEqual(spec, {
    name: "field",
    application: "overlay",
    version: "",
    topology: "linear",
    fanout: 2,
    nodes: [
      { name: "h1", role: "host", os: [], on: "" },
      { name: "r1", role: "router", os: [], on: "" },
      { name: "r2", role: "router", os: [], on: "" },
      { name: "h2", role: "host", os: [], on: "" },
    ],
    links: [{ ends: ["r1", "r2"], rateBits: 10_000_000 }],
    subs: [],
    prefix: "10.100.0.0/16",
    routing: "static",
    routingDaemon: "",
    encryption: "aes-gcm",
    rateBits: 0,
    port: 0,
    names: true,
    revisit: false,
    mptcp: [],
    peers: { hub: "r1", port: 3300 },
    script: null,
  });
});

const TOPOLOGIES: { spec: Record<string, unknown>; made: string }[] = [
  { spec: { topology: "linear", routers: 3 }, made: "r1-r2 r2-r3" },
  { spec: { topology: "ring", routers: 3, hosts: 0 }, made: "r1-r2 r2-r3 r3-r1" },
  { spec: { topology: "star", routers: 1, hosts: 3 }, made: "r1-h1 r1-h2 r1-h3" },
  { spec: { topology: "tree", routers: 3, hosts: 2 }, made: "r1-r2 r1-r3 r2-h1 r2-h2" },
  { spec: { topology: "tree", fanout: 3, routers: 1, hosts: 3 }, made: "r1-h1 r1-h2 r1-h3" },
  { spec: { topology: "mesh", hosts: 3 }, made: "h1-h2 h1-h3 h2-h3" },
  {
    spec: {
      topology: "custom",
      nodes: [{ name: "gw" }, { name: "cam", role: "host", os: ["linux"], on: "box-7.example" }],
      links: [["gw", "cam"]],
    },
    made: "gw-cam",
  },
  {
    spec: {
      topology: "linear",
      routers: 1,
      subs: [
        { name: "west", topology: "ring", routers: 3, border: "r2" },
        { name: "low", mode: "stacked", topology: "linear", routers: 2 },
      ],
    },
    made: "west/r1-west/r2 west/r2-west/r3 west/r3-west/r1 " +
      "r1-west/r2 west/r2-low/r1 low/r1-low/r2",
  },
];

Deno.test.each(TOPOLOGIES)("$spec.topology makes $made, and can be formed", ({ spec, made }) => {
  const read = accepted({ name: "lab", ...spec });
  assert.equal(links(read), made);
  const design = new Design(read, EPOCH, hexes(1));
  const plans = design.design(pin(slots(design.need)));
  assert.ok(!("reason" in plans), "reason" in plans ? plans.reason : "");
});

Deno.test("the short forms of links and of ipsec are the long ones", () => {
  const nodes = { name: "lab", topology: "custom", routers: 2 };
  const long = { ends: ["r1", "r2"], rate: null };
  assert.deepEqual(
    accepted({ ...nodes, links: [["r1", "r2"]], ipsec: true }),
    accepted({ ...nodes, links: [long], ipsec: { encryption: "aes-gcm" } }),
  );
  assert.equal(accepted({ ...nodes, links: [long], ipsec: false }).encryption, "none");
});

Deno.test("everything else that can be asked for", () => {
  const script = { name: "app", url: "https://x.example/a", sha256: "0f".repeat(32) };
  const spec = accepted({
    $schema: "overlay.schema.json",
    name: "lab",
    application: "video",
    version: "1.2",
    topology: "ring",
    routers: 3,
    prefix: "10.7.0.0/20",
    routing: "dynamic",
    routingDaemon: "bird",
    rate: "1.5gbit",
    port: 5000,
    names: false,
    revisit: true,
    mptcp: { flags: ["subflow", "backup"] },
    script,
  });
  assert.deepEqual(spec.script, {
    name: "app",
    script: "https://x.example/a",
    sha256: script.sha256,
    deadlineMs: 60_000,
  });
  assert.deepEqual([spec.rateBits, spec.mptcp], [1.5e9, ["subflow", "backup"]]);
  assert.deepEqual([spec.routing, spec.routingDaemon, spec.port], ["dynamic", "bird", 5000]);
});

Deno.test("stacked networks without a prefix get one that is free", () => {
  const low = (name: string, prefix?: string) => {
    return { name, mode: "stacked", topology: "ring", routers: 3, prefix };
  };
  const subs = [low("a"), low("b", "10.102.0.0/16"), low("c")];
  const spec = accepted({ name: "lab", topology: "mesh", prefix: "10.101.0.0/16", subs });
  assert.deepEqual(spec.subs.map(({ prefix }) => prefix), [
    "10.103.0.0/16",
    "10.102.0.0/16",
    "10.104.0.0/16",
  ]);
});

const RATES = [["10mbit", 1e7], ["1gbit", 1e9], ["500kbit", 5e5], ["64bit", 64], ["0.5tbit", 5e11]];

Deno.test("rates are read as tc writes them", () => {
  for (const [text, bits] of RATES) assert.equal(readRate(text as string), bits);
});

const RING = { name: "lab", topology: "ring", routers: 3 };

const REFUSED: { what: string; spec: Record<string, unknown>; told: RegExp }[] = [
  { what: "no name", spec: { name: undefined }, told: /^: .*"name" is missing/ },
  { what: "no topology", spec: { topology: undefined }, told: /"topology" is missing/ },
  { what: "a name in capitals", spec: { name: "Lab" }, told: /^name: .*"Lab", did you mean "lab"/ },
  { what: "a key that is none", spec: { rooters: 1 }, told: /^rooters: .* did you mean "routers"/ },
  { what: "des", spec: { ipsec: { encryption: "des" } }, told: /^ipsec.encryption: .* "aes-gcm"/ },
  { what: "3des", spec: { ipsec: { encryption: "3des" } }, told: /"3des", did you mean "aes-gcm"/ },
  { what: "md5", spec: { ipsec: { authentication: "md5" } }, told: /md5 and sha1 are broken/ },
  {
    what: "sha1",
    spec: { ipsec: { authentication: "sha1" } },
    told: /"sha1", did you mean "none"/,
  },
  { what: "a rate of bytes", spec: { rate: "10mbps" }, told: /^rate: .*such as 500kbit/ },
  { what: "a rate of M", spec: { rate: "10 M" }, told: /did you mean "10mbit"/ },
  { what: "a rate of nothing", spec: { rate: "0mbit" }, told: /^rate: / },
  { what: "bits behind the prefix", spec: { prefix: "10.1.2.3/16" }, told: /^prefix: / },
  {
    what: "a prefix too small",
    spec: { routers: 9, prefix: "10.0.0.0/28" },
    told: /need \/26 at least/,
  },
  { what: "a ring of two", spec: { routers: 2 }, told: /^topology: .*3 nodes at least/ },
  { what: "no node", spec: { routers: 0 }, told: /it has no node/ },
  {
    what: "custom without links",
    spec: { topology: "custom" },
    told: /^topology: .* made of links/,
  },
  {
    what: "parts",
    spec: { topology: "custom", links: [["r1", "r2"]] },
    told: /^topology: .* falls apart: r1, r2; r3/,
  },
  {
    what: "an unknown end",
    spec: { topology: "custom", links: [["r1", "r9"]] },
    told: /^links\[0\]: .* no node "r9"/,
  },
  {
    what: "a link of three",
    spec: { links: [["r1", "r2", "r3"]] },
    told: /^links\[0\].ends: .*2 to 2/,
  },
  {
    what: "a host in the middle",
    spec: { topology: "linear", hosts: 3, routers: 1 },
    told: /^topology: .* h2 lies between h1 and h3/,
  },
  {
    what: "a name twice",
    spec: { nodes: [{ name: "a" }, { name: "a" }] },
    told: /^nodes\[1\].name: .* has it/,
  },
  {
    what: "a counted name twice",
    spec: { nodes: [{ name: "r2" }] },
    told: /^routers: .* has it: current value is "r2"/,
  },
  {
    what: "a sub-overlay with a node's name",
    spec: { subs: [{ name: "r1", topology: "ring", routers: 3 }] },
    told: /^subs\[0\].name: /,
  },
  {
    what: "a prefix of mode control",
    spec: { subs: [{ name: "w", topology: "ring", routers: 3, prefix: "10.9.0.0/16" }] },
    told: /^subs\[0\].prefix: .* "stacked"/,
  },
  {
    what: "prefixes that overlap",
    spec: {
      subs: [{ name: "w", mode: "stacked", topology: "ring", routers: 3, prefix: "10.100.8.0/24" }],
    },
    told: /^prefix: .* overlaps with 10.100.8.0\/24 of lab\/w/,
  },
  {
    what: "a mistake two levels down",
    spec: {
      subs: [{
        name: "w",
        topology: "mesh",
        subs: [{ name: "v", topology: "ring", routers: 2 }],
      }],
    },
    told: /^subs\[0\].subs\[0\].topology: .*3 nodes/,
  },
  {
    what: "a border that nobody is",
    spec: { subs: [{ name: "w", topology: "ring", routers: 3, border: "r9" }] },
    told: /^subs\[0\].border: .* "r9"/,
  },
  {
    what: "names that are too long together",
    spec: {
      subs: [{
        name: "a".repeat(32),
        topology: "mesh",
        routers: 1,
        subs: [{ name: "b".repeat(32), topology: "mesh", routers: 1 }],
      }],
    },
    told: /^subs\[0\].subs\[0\].name: .* too long/,
  },
  { what: "an unknown hub", spec: { fairlead: { hub: "x" } }, told: /^fairlead.hub: .* "x"/ },
  {
    what: "dynamic without a daemon",
    spec: { routing: "dynamic" },
    told: /^routing: .* no routing/,
  },
  { what: "a daemon without dynamic", spec: { routingDaemon: "bird" }, told: /^routingDaemon: / },
  {
    what: "a URL without SHA-256",
    spec: { script: { name: "s", url: "https://x.example/s" } },
    told: /^script.url: .* without its SHA-256/,
  },
  {
    what: "a script that is none",
    spec: { script: { name: "s" } },
    told: /^script: .* needs "script"/,
  },
  {
    what: "a script with a path",
    spec: { script: { name: "s", script: "../s" } },
    told: /^script.script: /,
  },
  {
    what: "a script twice",
    spec: {
      script: { name: "s", script: "s", url: "https://x.example/", sha256: "0f".repeat(32) },
    },
    told: /^script.url: .* already/,
  },
  {
    what: "513 nodes",
    spec: { nodes: [{ name: "x" }], routers: 512, topology: "linear" },
    told: /512/,
  },
];

Deno.test.each(REFUSED)("readSpec() refuses $what", ({ spec, told }) => {
  const all = problems({ ...RING, ...spec });
  assert.ok(all.some((problem) => told.test(problem)), all.join("\n"));
});

Deno.test("all mistakes are told at once, each where it stands", () => {
  const text = `{ "name": "Net", "topology": "rng",
    "nodes": [{ "name": "a" }, { "name": "a" }],
    "ipsec": { "encryption": "des" },
    "routing": "dynamic" }`;
  const read = readSpec(text, "spec.json");
  assert.ok(read.spec === null);
  assert.deepEqual(read.problems.map(({ where, path }) => `${where} ${path}`), [
    "spec.json:1:11 name",
    "spec.json:1:30 topology",
    "spec.json:2:42 nodes[1].name",
    "spec.json:3:30 ipsec.encryption",
    "spec.json:4:16 routing",
  ]);
});

Deno.test("what is no specification at all is refused without an exception", () => {
  for (
    const text of ["", "[]", "7", '"x"', "{", '{"links":[[]],"subs":7}', '{"subs":[{"subs":[3]}]}']
  ) {
    assert.ok(problems(text).length > 0, text);
  }
  assert.ok(problems("[".repeat(10_000)).length > 0);
});

Deno.test("sub-overlays go four deep and no deeper", () => {
  const nested = (depth: number): Record<string, unknown> => ({
    name: "s",
    topology: "ring",
    routers: 3,
    subs: depth === 0 ? [] : [nested(depth - 1)],
  });
  const read = accepted({ ...RING, subs: [nested(3)] });
  assert.ok(links(read).includes("s/s/s/r3-s/s/s/s/r1"));
  assert.match(problems({ ...RING, subs: [nested(4)] })[0]!, /subs\[0\]\.subs: .*0 to 0 items/);
});

Deno.test("specDigest() is the same for the same meaning, and another for another", () => {
  const same = (text: string): string => text;
  const digest = specDigest(accepted(RING), same);
  const turned = { routers: 3, topology: "ring", prefix: "10.100.0.0/16", name: "lab" };
  assert.equal(specDigest(accepted(turned), same), digest);
  assert.notEqual(specDigest(accepted({ ...RING, routers: 4 }), same), digest);
});

Deno.test("the JSON Schema knows the short forms at every depth", () => {
  const text = JSON.stringify(specJsonSchema());
  const pairs = [...text.matchAll(/"links":\{[^{]*"items":\{"anyOf":\[\{[^[]*"type":"array"/g)];
  assert.equal(pairs.length, 5); // the overlay's and four levels of sub-overlays
  const { properties } = specJsonSchema() as { properties: Record<string, { anyOf: unknown[] }> };
  assert.deepEqual(properties.ipsec!.anyOf.slice(0, 2), [{ const: true }, { const: false }]);
});

Deno.test("what every box would refuse as somebody else's is refused at once", () => {
  const field = { name: "field", topology: "linear", routers: 2 };
  const refused = problems({ ...field, name: "com", port: 53 });
  assert.deepEqual(refused.map((text) => text.split(":")[0]), ["name", "port"]);
  assert.match(problems({ ...field, prefix: "8.0.0.0/8" })[0]!, /^prefix: .*private IPv4/);
  assert.match(problems({ ...field, name: "de" })[0]!, /^name: .*hosts entries .*"de"/);
  assert.equal(accepted({ ...field, name: "com", names: false }).name, "com");
  assert.equal(accepted({ ...field, port: 1024 }).port, 1024);
});

Deno.test("a file that is none, too long or not UTF-8 is told, and is no specification", async () => {
  const directory = await Deno.makeTempDir();
  try {
    await Deno.writeFile(`${directory}/long`, new Uint8Array(TEXT_SIZE_MAX + 1).fill(32));
    await Deno.writeFile(`${directory}/latin`, Uint8Array.of(0x7b, 0xe4, 0x7d));
    const good = `${directory}/good`;
    await Deno.writeTextFile(good, '{"name": "field", "topology": "ring", "routers": 3}');
    for (const name of ["missing", "long", "latin", ""]) {
      assert.equal(await specText(`${directory}/${name}`), null);
    }
    assert.equal((await specText(good))?.name, "field");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
