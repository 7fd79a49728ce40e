/** The configurations of an overlay's two daemons: defaults, mistakes told at once, and the flags that tell. */
import assert from "node:assert/strict";
import { loadManagerConfig } from "../../src/app/config/overlay_manager_config.ts";
import { loadResourceConfig } from "../../src/app/config/overlay_resource_config.ts";
import { managerUnit, resourceUnit } from "../../src/app/config/overlay_unit.ts";
import { problemText } from "../../src/app/config/problem.ts";
import { Fairlead } from "./fairlead.ts";
import { Pki } from "./overlay_pki.ts";

const pki = await Pki.make("overlay CA", Date.now() - 1000);
await pki.identity("gw1", "node");
await pki.identity("om1", "manager");
Deno.test.afterAll(() => pki[Symbol.asyncDispose]());

function identityOf(name: string): { certificate: string; key: string; ca: string } {
  const { dir } = pki;
  return { certificate: `${dir}/${name}.pem`, key: `${dir}/${name}.key`, ca: `${dir}/ca.pem` };
}

const RD = identityOf("gw1");
const OM = identityOf("om1");
const LOADS = { rd: loadResourceConfig, om: loadManagerConfig };

async function withFile<T>(text: string, act: (path: string) => Promise<T>): Promise<T> {
  const path = await Deno.makeTempFile({ suffix: ".jsonc" });
  try {
    await Deno.writeTextFile(path, text);
    return await act(path);
  } finally {
    await Deno.remove(path);
  }
}

function problems(daemon: "rd" | "om", members: object): Promise<string[]> {
  const text = JSON.stringify({ identity: daemon === "rd" ? RD : OM, ...members }, null, 2);
  return withFile(text, async (path) => {
    const loaded = await LOADS[daemon](path);
    return "problems" in loaded ? loaded.problems.map(problemText) : [];
  });
}

Deno.test("a resource daemon needs its identity only", async () => {
  const { config } = await loadResourceConfig(null, [
    { path: "identity", value: RD, from: "test" },
  ]);
  assert.deepEqual(config, {
    identity: RD,
    listen: "0.0.0.0:265",
    group: "239.255.2.65:265",
    interface: null,
    address: null,
    role: "both",
    overlays: 8,
    acl: [{ manager: "*", access: "deploy", overlays: 8 }],
    leaseSeconds: 3600,
    routing: null,
    script: false,
    hosts: "/etc/hosts",
    refusals: true,
    state: "/var/lib/fairlead/overlay-rd",
    status: false,
    log: { format: "text" },
  });
});

Deno.test("a manager needs its identity only", async () => {
  const { config } = await loadManagerConfig(null, [
    { path: "identity", value: OM, from: "test" },
  ]);
  assert.ok(config !== null);
  const { above, api, nodes, rings, socket, timers } = config;
  assert.deepEqual({ above, api, nodes, rings, socket }, {
    ...{ above: false, api: false, nodes: [], rings: [1, 4, 16] },
    socket: "/run/fairlead/overlay.sock",
  });
  assert.deepEqual(timers, {
    ...{ invite: 1000, select: 2000, dispatch: 15_000, user: 60_000, config: 10_000 },
    ...{ probe: 2000, delete: 2000, refresh: 10_000, lease: 60_000 },
  });
});

Deno.test("mistakes are told all at once, with the place and what to write", async () => {
  const told = await problems("om", {
    listen: "265",
    rings: [],
    timers: { lease: 20_000, refresh: 10_000, invite: 1 },
    nodes: ["gw1"],
    lissten: "0.0.0.0:265",
  });
  const all = told.join("\n");
  assert.ok(told.length >= 5, all);
  for (
    const expected of [
      /:7:\d+: .*listen.*HOST:PORT.*"265"/,
      /rings.*1 to 8.*/,
      /timers\.invite.*10 to 86400000.*1/,
      /nodes.*HOST:PORT.*"gw1"/,
      /lissten.*listen/,
    ]
  ) assert.match(all, expected);
});

Deno.test("what contradicts itself is told with the remedy", async () => {
  const cases: ["rd" | "om", object, RegExp][] = [
    [
      "om",
      { timers: { lease: 20_000 } },
      /lease.*three times timers\.refresh.*is 20000, write 30000$/,
    ],
    ["om", { group: false }, /nodes.*without a group.*write "nodes" or "group"$/],
    ["om", { socket: false }, /socket.*nobody could ask.*write "socket", "api" or "above"$/],
    ["om", { rings: [] }, /rings/],
    ["om", { rings: [0] }, /rings/],
    ["om", { rings: [256] }, /rings/],
    ["rd", { group: false }, /address.*without a group.*write where tunnels end$/],
    ["rd", { acl: [{ manager: "a b" }] }, /manager.*a name, \* for any run/],
    ["rd", { acl: [{ access: "deploy" }] }, /acl\[0\]\.manager|manager/],
    ["rd", { role: "king" }, /role.*"host", "router"/],
    ["rd", { script: {} }, /script\.user|user/],
  ];
  for (const [daemon, members, expected] of cases) {
    const told = await problems(daemon, members);
    assert.equal(told.length, 1, `${JSON.stringify(members)}: ${told.join("\n")}`);
    assert.match(told[0]!, expected);
  }
  assert.deepEqual(await problems("om", { socket: false, api: "0.0.0.0:2165" }), []);
  assert.deepEqual(await problems("om", { group: false, nodes: ["gw1.example:265"] }), []);
  assert.deepEqual(await problems("rd", { group: false, address: "192.0.2.1" }), []);
});

Deno.test("a unit may write what its configuration names, and is not started again when it is wrong", async () => {
  const options = { configFile: "/etc/fairlead/a b$c.jsonc", program: ["/bin/true"] };
  const rd = await loadResourceConfig(null, [
    { path: "identity", value: RD, from: "test" },
    { path: "hosts", value: "/srv/hosts", from: "test" },
  ]);
  const om = await loadManagerConfig(null, [{ path: "identity", value: OM, from: "test" }]);
  assert.ok(rd.config !== null && om.config !== null);
  const units = [resourceUnit(rd.config, options), managerUnit(om.config, options)];
  for (const [index, action] of ["rd", "om"].entries()) {
    const unit = units[index]!;
    assert.match(unit, /^RestartPreventExitStatus=2$/m);
    assert.match(unit, /^Type=notify$/m);
    const file = '"/etc/fairlead/a b$$c.jsonc"';
    assert.ok(unit.includes(`\nExecStart=/bin/true overlay ${action} --config ${file}\n`), unit);
  }
  assert.match(units[0]!, /^ReadWritePaths=-\/var\/lib\/fairlead\/overlay-rd -\/srv$/m);
  assert.match(units[0]!, /CAP_NET_ADMIN/);
  assert.match(units[1]!, /^CapabilityBoundingSet=CAP_NET_BIND_SERVICE$/m);
  assert.match(units[1]!, /^RuntimeDirectory=fairlead$/m);
});

Deno.test("the flags of both daemons tell instead of running", async () => {
  const flags = ["--certificate", RD.certificate, "--key", RD.key, "--ca", RD.ca];
  const [schema, printed, unit, checked, wrong] = await Promise.all([
    Fairlead.run("overlay", "om", "--schema"),
    Fairlead.run("overlay", "rd", ...flags, "--address", "192.0.2.1", "--print-config"),
    withFile(
      JSON.stringify({ identity: OM }),
      (path) => Fairlead.run("overlay", "om", "--config", path, "--print-unit"),
    ),
    Fairlead.run("overlay", "rd", ...flags, "--check"),
    withFile(
      '{"rings": [], "listen": 7}',
      (path) => Fairlead.run("overlay", "om", "--config", path, "--check"),
    ),
  ]);
  assert.equal(JSON.parse(schema.stdout).properties.rings.minItems, 1);
  assert.deepEqual([schema.code, printed.code, unit.code, checked.code], [0, 0, 0, 0]);
  assert.match(printed.stdout, /"?address"?: "192\.0\.2\.1".*command line --address/);
  assert.match(unit.stdout, /^\[Service\]$/m);
  assert.equal(checked.stderr, "");
  assert.equal(wrong.code, 2);
  for (const expected of [/:1:\d+: .*rings/, /:1:\d+: .*listen/, /identity/]) {
    assert.match(wrong.stderr, expected);
  }
});
