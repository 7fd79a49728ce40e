/** The key "standby": its defaults, its mistakes, what it needs of the file around it, and its unit. */
import assert from "node:assert/strict";
import { ADDRESS_BITS, hasForm, LINK_NAME } from "../../src/app/config/forms.ts";
import { GATEWAY_SCHEMA, loadGatewayConfig } from "../../src/app/config/gateway_config.ts";
import { jsonSchema } from "../../src/app/config/json_schema.ts";
import type { Loaded } from "../../src/app/config/load_config.ts";
import { printConfig } from "../../src/app/config/print_config.ts";
import { problemText } from "../../src/app/config/problem.ts";
import { compareGatewayConfigs } from "../../src/app/config/reload.ts";
import { STANDBY_SCHEMA, type StandbyFile } from "../../src/app/config/standby_config.ts";
import { loadStandbyConfig } from "../../src/app/config/standby_file.ts";
import { gatewayUnit, standbyUnit } from "../../src/app/config/systemd_unit.ts";

/** What has no default. */
const LEAST = {
  role: "active",
  listen: "v2:127.0.0.1:6810",
  peer: "v2:10.9.9.2:6810",
  box: "gw-1",
};
const AUTO = { ...LEAST, role: "auto", witness: "v2:10.9.9.3:6820" };

/** A pair carries over sessions with hubs elsewhere. */
const HUBS = { hq: { addresses: ["v2:h:1"] } };

type Values = Record<string, unknown>;

function load(standby: unknown, around: Values = {}): Promise<Loaded<StandbyFile>> {
  const values = { state: "/var/lib/fairlead", ...around, standby };
  return loadStandbyConfig(
    null,
    Object.entries(values).map(([path, value]) => ({ path, value, from: "F" })),
  );
}

/** What is told, without the place and but for the warning of every configuration without a key. */
async function told(standby: unknown, around: Values = {}): Promise<string[]> {
  const loaded = await load(standby, around);
  const problems = loaded.config === null ? loaded.problems : loaded.warnings;
  return problems.map((problem) => problemText(problem).replace(/^F: /, ""))
    .filter((text) => !text.includes("Keys of associations and messages go"));
}

async function usable(standby: unknown, around: Values = {}): Promise<StandbyFile> {
  const loaded = await load(standby, around);
  assert.ok(loaded.config !== null, JSON.stringify(loaded));
  return loaded.config;
}

Deno.test("a gateway has no second box unless it is told to", async () => {
  const { config } = await loadGatewayConfig(null);
  assert.equal(config?.standby, false);
});

Deno.test("a box needs a role, and where it and the other one are; the rest has defaults", async () => {
  const { standby } = await usable(LEAST);
  assert.deepEqual(standby, {
    ...LEAST,
    group: "fairlead",
    witness: null,
    preferred: false,
    heartbeatMs: 150,
    deadMs: 600,
    leaseMs: 1500,
    associations: true,
    inbound: "lossless",
    apply: "hold",
    thresholdPackets: 64,
    thresholdMs: 100,
    sessions: "sync",
    asyncMessages: 1000,
    asyncMs: 1000,
    addresses: [],
    watch: [],
    socket: "/run/fairlead/standby.sock",
  });
  for (const key of ["role", "listen", "peer"]) {
    const { [key]: _, ...rest } = LEAST as Record<string, string>;
    const texts = await told(rest);
    assert.ok(
      texts.some((text) => text.includes(`standby as "${key}" is missing`)),
      `${key}: ${texts}`,
    );
  }
});

Deno.test("the box is called as its host unless it has a name", async () => {
  const { box: _, ...rest } = LEAST;
  const { standby } = await usable(rest);
  assert.match(standby.box, /^[a-z0-9][a-z0-9_-]*$/);
});

Deno.test("without a configuration it says what to add", async () => {
  const texts = await told(false);
  assert.equal(texts.length, 1);
  assert.match(
    texts[0]!,
    /standby as there is none: .* add "standby" with a role, listen and peer/,
  );
});

const WRONG: { what: string; standby: Values; around?: Values; said: RegExp }[] = [
  {
    what: "a role that there is not",
    standby: { ...LEAST, role: "actve" },
    said: /standby\.role .*"active"/,
  },
  {
    what: "auto without a witness",
    standby: { ...AUTO, witness: null },
    said: /standby\.role as two boxes that cannot see each other must not both be active: current/,
  },
  {
    what: "a witness that decides nothing",
    standby: { ...LEAST, witness: "v2:h:1" },
    said: /standby\.witness as it decides only with role "auto": current value is "v2:h:1"/,
  },
  {
    what: "auto that forgets its term",
    standby: AUTO,
    around: { state: null },
    said: /state as the term must outlive this program: .* give a directory/,
  },
  {
    what: "a box that one lost heartbeat kills",
    standby: { ...LEAST, heartbeatMs: 300, deadMs: 600 },
    said:
      /standby\.deadMs as it must be 3 times standby\.heartbeatMs at least, which is 900: current/,
  },
  {
    what: "associations that tell nothing",
    standby: { ...LEAST, thresholdMs: 0, thresholdPackets: 0 },
    said: /standby\.thresholdMs as an association must tell where it is by time or by packets/,
  },
  {
    what: "one address twice",
    standby: {
      ...LEAST,
      addresses: [
        { interface: "a", address: "10.0.0.1/24" },
        { interface: "b", address: "10.0.0.1/24" },
      ],
    },
    said: /standby\.addresses\[1\]\.address as standby\.addresses\[0\]\.address is the same/,
  },
  {
    what: "an address without bits",
    standby: { ...LEAST, addresses: [{ interface: "a", address: "10.0.0.1" }] },
    said: /standby\.addresses\[0\]\.address .*ADDRESS\/BITS.*10\.0\.0\.1\/32/,
  },
  {
    what: "an interface that is a pattern",
    standby: { ...LEAST, watch: ["eth*"] },
    said: /standby\.watch\[0\] .*the name of an interface/,
  },
  {
    what: "a mistyped key",
    standby: { ...LEAST, heartbeat: 5 },
    said: /standby\.heartbeat .*heartbeatMs/,
  },
  {
    what: "a lease that is too short",
    standby: { ...AUTO, leaseMs: 100 },
    said: /standby\.leaseMs .*100/,
  },
  {
    what: "a mistyped key elsewhere in a gateway's file",
    standby: LEAST,
    around: { inpust: {} },
    said: /inpust .*inputs/,
  },
];

Deno.test.each(WRONG)("$what is told with the remedy", async ({ around, said, standby }) => {
  const texts = await told(standby, around);
  assert.ok(texts.some((text) => said.test(text)), texts.join("\n"));
  assert.equal((await load(standby, around)).config, null);
});

Deno.test("thresholds may be by one of the two, and none where there is no IPsec", async () => {
  assert.deepEqual(await told({ ...LEAST, thresholdMs: 0 }), []);
  assert.deepEqual(await told({ ...LEAST, thresholdPackets: 0 }), []);
  const none = { ...LEAST, associations: false, thresholdMs: 0, thresholdPackets: 0 };
  assert.deepEqual(await told(none), []);
});

Deno.test("keys that go over the network as they are, are a warning", async () => {
  const loaded = await load(LEAST);
  assert.ok(loaded.config !== null);
  assert.ok(
    loaded.warnings.some((problem) =>
      /Keys of associations and messages .* add auth\.keyring/.test(problemText(problem))
    ),
  );
});

Deno.test("of a gateway's file the standby takes its own keys, and the gateway takes them too", async () => {
  const values = {
    state: "/var/lib/fairlead",
    standby: AUTO,
    inputs: { box: { type: "readings" } },
    hubs: HUBS,
  };
  const overrides = Object.entries(values).map(([path, value]) => ({ path, value, from: "F" }));
  const alone = await loadStandbyConfig(null, overrides);
  assert.ok(alone.config !== null);
  assert.deepEqual(Object.keys(alone.config).sort(), [
    ...["auth", "log", "name", "standby", "state", "status"],
  ]);
  for (const key of alone.origins.keys()) {
    assert.match(key, /^(name|state|auth|log|status|standby)/);
  }
  const gateway = await loadGatewayConfig(null, overrides);
  assert.ok(gateway.config !== null);
  assert.deepEqual(gateway.config.standby, alone.config.standby);
});

Deno.test("a gateway of a pair needs a hub elsewhere: an embedded one would go down with it", async () => {
  const loaded = await loadGatewayConfig(null, [{ path: "standby", value: LEAST, from: "F" }]);
  assert.equal(loaded.config, null);
  const texts = "problems" in loaded ? loaded.problems.map(problemText) : [];
  assert.ok(
    texts.some((text) => /hubs as an embedded hub ends with its box/.test(text)),
    `${texts}`,
  );
});

Deno.test("a running gateway keeps its pair", async () => {
  const gateway = async (
    standby: unknown,
  ): Promise<Parameters<typeof compareGatewayConfigs>[0]> => {
    const { config } = await loadGatewayConfig(null, [
      { path: "standby", value: standby, from: "F" },
      { path: "state", value: "/s", from: "F" },
      { path: "hubs", value: HUBS, from: "F" },
    ]);
    assert.ok(config !== null);
    return config;
  };
  const now = await gateway(LEAST);
  const { changes, config, refused } = compareGatewayConfigs(
    now,
    await gateway({ ...LEAST, deadMs: 900 }),
  );
  assert.deepEqual(changes, []);
  assert.match(
    refused[0]!.text,
    /^Cannot change standby\.deadMs while running as the other box and/,
  );
  assert.deepEqual(config, now);
  const ended = compareGatewayConfigs(now, await gateway(false));
  assert.deepEqual(ended.config, now);
  assert.ok(ended.refused.length > 0);
});

Deno.test("names of interfaces and addresses with bits: what is one, and what is not", () => {
  for (const name of ["eth0", "wlp3s0", "br-lan.7", "a", "x".repeat(15), "vpn@x"]) {
    assert.ok(hasForm(LINK_NAME, name), name);
  }
  for (const name of ["", ".", "..", "a/b", "a b", "a:1", "eth*", "x".repeat(16), "é".repeat(8)]) {
    assert.ok(!hasForm(LINK_NAME, name), name);
  }
  for (const address of ["10.0.0.1/24", "10.0.0.1/0", "10.0.0.1/32", "fd00::1/64", "::1/128"]) {
    assert.ok(hasForm(ADDRESS_BITS, address), address);
  }
  for (const address of ["10.0.0.1", "10.0.0.1/33", "10.0.0.256/8", "fd00::1/129", "/24", "a/8"]) {
    assert.ok(!hasForm(ADDRESS_BITS, address), address);
  }
});

Deno.test("the configuration prints as one that can be used, and its table is a JSON schema", async () => {
  const loaded = await load(AUTO);
  assert.ok(loaded.config !== null);
  const text = printConfig(loaded.config, loaded.origins);
  assert.match(text, /"witness": "v2:10\.9\.9\.3:6820".* \/\/ F$/m);
  assert.match(text, /"leaseMs": 1500.* \/\/ default$/m);
  const schema = JSON.stringify(jsonSchema(GATEWAY_SCHEMA, "Fairlead gateway"));
  for (const key of Object.keys(STANDBY_SCHEMA.of.keys)) {
    assert.ok(schema.includes(`"${key}"`), key);
  }
});

const OPTIONS = { configFile: "/etc/fairlead.jsonc", program: ["/bin/true"] };

/** The settings of a unit's service. */
function settings(unit: string): Record<string, string> {
  const lines = unit.split("\n").filter((line) => /^\w+=/.test(line));
  return Object.fromEntries(lines.map((line) => {
    const at = line.indexOf("=");
    return [line.slice(0, at), line.slice(at + 1)];
  }));
}

Deno.test("standby run has a unit of its own, with the rights for IPsec and no more", async () => {
  const text = standbyUnit(await usable(AUTO), OPTIONS);
  assert.match(text, /^# Save as \/etc\/systemd\/system\/fairlead-standby\.service, then:/);
  const unit = settings(text);
  const expected = {
    Type: "notify",
    ExecStart: "/bin/true standby run --config /etc/fairlead.jsonc",
    AmbientCapabilities: "CAP_NET_ADMIN",
    CapabilityBoundingSet: "CAP_NET_ADMIN",
    ProtectKernelTunables: "no",
    StateDirectory: "fairlead",
    RuntimeDirectory: "fairlead",
    RuntimeDirectoryPreserve: "yes",
    DynamicUser: "yes",
    RestrictAddressFamilies: "AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    RestrictNamespaces: "yes",
  };
  for (const [key, value] of Object.entries(expected)) assert.equal(unit[key], value, key);
});

Deno.test("addresses that move need packets of links; sessions alone need no sysctl", async () => {
  const addresses = [{ interface: "eth0", address: "10.0.0.1/24" }];
  const moving = settings(standbyUnit(await usable({ ...AUTO, addresses }), OPTIONS));
  assert.equal(moving.AmbientCapabilities, "CAP_NET_ADMIN CAP_NET_RAW");
  assert.match(moving.RestrictAddressFamilies!, / AF_PACKET$/);
  const sessions = await usable({ ...LEAST, associations: false, socket: false });
  const plain = settings(standbyUnit(sessions, OPTIONS));
  assert.equal(plain.ProtectKernelTunables, "yes");
  assert.equal(plain.RuntimeDirectory, undefined);
  const low = settings(standbyUnit(await usable({ ...LEAST, listen: "v2:[::1]:680" }), OPTIONS));
  assert.equal(low.AmbientCapabilities, "CAP_NET_BIND_SERVICE CAP_NET_ADMIN");
});

Deno.test("a gateway with a second box has the same rights, and one without has none", async () => {
  const gateway = async (standby: unknown): Promise<Record<string, string>> => {
    const { config } = await loadGatewayConfig(null, [
      { path: "standby", value: standby, from: "F" },
      { path: "state", value: "/var/lib/fairlead", from: "F" },
      { path: "hubs", value: HUBS, from: "F" },
    ]);
    assert.ok(config !== null);
    return settings(gatewayUnit(config, OPTIONS));
  };
  const alone = settings(standbyUnit(await usable(AUTO), OPTIONS));
  const within = await gateway(AUTO);
  for (const [key, value] of Object.entries(alone)) {
    if (!/^(Description|ExecStart|TimeoutStopSec|WorkingDirectory)$/.test(key)) {
      assert.equal(within[key], value, key);
    }
  }
  assert.equal((await gateway(false)).AmbientCapabilities, undefined);
});
