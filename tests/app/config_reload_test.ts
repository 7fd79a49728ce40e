/** What a reload may change, and what it says of the rest. */
import assert from "node:assert/strict";
import { type GatewayConfig, loadGatewayConfig } from "../../src/app/config/gateway_config.ts";
import { type HubConfig, loadHubConfig } from "../../src/app/config/hub_config.ts";
import { loadPathsConfig } from "../../src/app/config/paths_file.ts";
import {
  compareGatewayConfigs,
  compareHubConfigs,
  comparePathsConfigs,
} from "../../src/app/config/reload.ts";

async function gateway(values: Record<string, unknown>): Promise<GatewayConfig> {
  const { config } = await loadGatewayConfig(null, overrides(values));
  assert.ok(config !== null);
  return config;
}

async function hub(values: Record<string, unknown>): Promise<HubConfig> {
  const { config } = await loadHubConfig(null, overrides(values));
  assert.ok(config !== null);
  return config;
}

function overrides(
  values: Record<string, unknown>,
): { path: string; value: unknown; from: string }[] {
  return Object.entries(values).map(([path, value]) => ({ path, value, from: "test" }));
}

Deno.test("equal configurations have no differences", async () => {
  const values = { inputs: { a: { type: "lines" } }, state: "/s" };
  const now = await gateway(values);
  assert.deepEqual(compareGatewayConfigs(now, await gateway(values)), {
    changes: [],
    refused: [],
    config: now,
  });
});

Deno.test("inputs, routes, hubs, bounds, log and drain change while a gateway runs", async () => {
  const route = { topic: "#", to: ["hq"] };
  const now = await gateway({
    inputs: { a: { type: "lines" }, b: { type: "stdin" }, c: { type: "readings" } },
    hubs: { hq: { addresses: ["v2:h:1"] } },
    routes: [route],
  });
  const next = await gateway({
    inputs: {
      a: { type: "lines", listen: "127.0.0.1:1", protocols: ["tcp"] },
      c: { type: "readings" },
      d: { type: "statsd" },
    },
    hubs: { hq: { addresses: ["v2:h:1", "v2:i:1"] }, other: { addresses: ["v2:o:1"] } },
    routes: [{ ...route, messagesPerSecond: 5 }],
    drainSeconds: 9,
    "spool.bytesMax": 65536,
    "log.format": "json",
  });
  const { changes, refused, config } = compareGatewayConfigs(now, next);
  assert.deepEqual(refused, []);
  assert.deepEqual(config, next);
  assert.deepEqual(changes, [
    { path: "drainSeconds", kind: "changed", text: "drainSeconds changes: from 5 to 9" },
    {
      path: "inputs.a",
      kind: "changed",
      text: 'inputs.a changes: listen from "127.0.0.1:8710" to "127.0.0.1:1", ' +
        'protocols from ["udp","tcp"] to ["tcp"]',
    },
    { path: "inputs.b", kind: "removed", text: "inputs.b is removed" },
    { path: "inputs.d", kind: "added", text: "inputs.d is added" },
    {
      path: "spool.bytesMax",
      kind: "changed",
      text: "spool.bytesMax changes: from 268435456 to 65536",
    },
    {
      path: "hubs.hq",
      kind: "changed",
      text: 'hubs.hq changes: addresses from ["v2:h:1"] to ["v2:h:1","v2:i:1"]',
    },
    { path: "hubs.other", kind: "added", text: "hubs.other is added" },
    { path: "routes", kind: "changed", text: "routes changes: to another list of 1 item" },
    { path: "log.format", kind: "changed", text: 'log.format changes: from "text" to "json"' },
  ]);
});

Deno.test("what cannot change is told with the reason and the remedy, and stays", async () => {
  const now = await gateway({ state: "/a", watchdog: "/dev/null" });
  const next = await gateway({
    name: "client.b",
    io: "deno",
    status: false,
    "auth.method": "none",
    drainSeconds: 6,
  });
  const { changes, refused, config } = compareGatewayConfigs(now, next);
  assert.deepEqual(changes.map(({ path }) => path), ["drainSeconds"]);
  assert.deepEqual(config, { ...now, drainSeconds: 6 });
  assert.deepEqual(refused.map(({ text }) => text), [
    "Cannot change name while running as the other ends know it by this name: " +
    'it stays "client.fairlead", restart to use "client.b"',
    "Cannot change state while running as what is stored there is in use: " +
    'it stays "/a", restart to use null',
    'Cannot change io while running as the sockets are open: it stays "auto", restart to use "deno"',
    "Cannot change spool.place while running as messages wait there: " +
    'it stays "disk", restart to use "ram"',
    "Cannot change status while running as its listener is open: " +
    'it stays {"listen":"127.0.0.1:8711"}, restart to use false',
    "Cannot change watchdog while running as a watchdog that was started must be kept fed: " +
    'it stays "/dev/null", restart to use null',
  ]);
  assert.deepEqual(refused.map(({ path }) => path), [
    ...["name", "state", "io", "spool.place", "status", "watchdog"],
  ]);
});

Deno.test("the status listener's address is told by its own path", async () => {
  const { refused } = compareGatewayConfigs(
    await gateway({}),
    await gateway({ "status.listen": "127.0.0.1:1" }),
  );
  assert.deepEqual(refused.map(({ path }) => path), ["status.listen"]);
});

Deno.test("a type that changes tells the members that come and go", async () => {
  const { changes } = compareGatewayConfigs(
    await gateway({ inputs: { a: { type: "stdin" } } }),
    await gateway({ inputs: { a: { type: "fifo", path: "/p" } } }),
  );
  assert.deepEqual(changes.map(({ text }) => text), [
    'inputs.a changes: type from "stdin" to "fifo", path is "/p"',
  ]);
});

Deno.test("a file input waits for a restart when there is no state yet", async () => {
  const now = await gateway({ inputs: { a: { type: "lines" } } });
  const log = { type: "file", path: "/l" };
  const next = await gateway({ state: "/s", inputs: { a: log, b: log, c: { type: "stdin" } } });
  const { changes, refused, config } = compareGatewayConfigs(now, next);
  assert.deepEqual(changes.map(({ path }) => path), ["inputs.c"]);
  assert.deepEqual(refused.map(({ path }) => path), [
    ...["inputs.a", "inputs.b", "state", "spool.place"],
  ]);
  assert.equal(
    refused[0]!.text,
    "Cannot use inputs.a while running as its position must be kept and state stays null: " +
      "restart to use it",
  );
  assert.deepEqual(config.inputs, { a: now.inputs.a, c: next.inputs.c });
});

Deno.test("a hub changes its outputs, not its address", async () => {
  const now = await hub({ outputs: { a: { type: "stdout" } }, status: false });
  const next = await hub({
    outputs: { a: { type: "stdout", format: "raw" }, live: { type: "sse" }, c: { type: "stdout" } },
    listen: "v2:127.0.0.1:1",
  });
  const { changes, refused, config } = compareHubConfigs(now, next);
  assert.deepEqual(changes.map(({ text }) => text), [
    'outputs.a changes: format from "text" to "raw"',
    "outputs.c is added",
  ]);
  assert.deepEqual(refused.map(({ path }) => path), ["outputs.live", "listen", "status"]);
  assert.deepEqual(config.outputs, { a: next.outputs.a, c: next.outputs.c });
  assert.equal(config.listen, "v2:127.0.0.1:3300");
});

const PATHS = {
  layout: "primary-backup",
  interfaces: [{ name: "wwan*", role: "metered" }, { name: "eth0", priority: 1 }],
  connections: [{ port: 3300 }],
  subflowsMax: 4,
  linkPollMs: 0,
  reconcileSeconds: 5,
  joins: { default: "refuse" },
};

Deno.test("the policy of paths changes while a gateway runs", async () => {
  const now = await gateway({ paths: { joins: { answerMs: 5 } } });
  const next = await gateway({ paths: PATHS });
  const { changes, refused, config } = compareGatewayConfigs(now, next);
  assert.deepEqual(refused, []);
  assert.deepEqual(config, next);
  assert.deepEqual(changes.map(({ text }) => text), [
    'paths.layout changes: from "full-mesh" to "primary-backup"',
    "paths.interfaces changes: to another list of 2 items",
    "paths.connections changes: to another list of 1 item",
    "paths.subflowsMax changes: from 8 to 4",
    "paths.reconcileSeconds changes: from 30 to 5",
    "paths.linkPollMs changes: from 100 to 0",
    'paths.joins.default changes: from "accept" to "refuse"',
    "paths.joins.answerMs changes: from 5 to 500",
  ]);
});

Deno.test("whether and how joins are guarded stays, who may join does not", async () => {
  const joins = async (value: unknown): Promise<GatewayConfig> =>
    await gateway({ paths: { joins: value } });
  const now = await joins({});
  const next = await joins({ default: "refuse", answerMs: 9, decide: "queue", whenAway: "refuse" });
  const { changes, refused, config } = compareGatewayConfigs(now, next);
  assert.deepEqual(changes.map(({ path }) => path), [
    "paths.joins.default",
    "paths.joins.answerMs",
  ]);
  assert.deepEqual(refused.map(({ text }) => text), [
    "Cannot change paths.joins.decide while running as the guard was made so: " +
    'it stays "set", restart to use "queue"',
    "Cannot change paths.joins.whenAway while running as the guard was made so: " +
    'it stays "accept", restart to use "refuse"',
  ]);
  assert.deepEqual(config, await joins({ default: "refuse", answerMs: 9 }));
  const gone = compareGatewayConfigs(now, await joins(false));
  assert.deepEqual([gone.changes, gone.config], [[], now]);
  assert.deepEqual(gone.refused.map(({ path }) => path), ["paths.joins"]);
  const come = compareGatewayConfigs(await joins(false), now);
  assert.match(come.refused[0]!.text, /^Cannot change paths\.joins .*: it stays false, restart/);
});

Deno.test("who manages paths, where and for whom stays, whoever runs them", async () => {
  const other = {
    manager: "kernel",
    setPmType: true,
    socket: false,
    namespaces: ["blue"],
    subflowsMax: 2,
  };
  const texts = [
    "Cannot change paths.manager while running as connections keep the manager that they were " +
    'made with: it stays "userspace", restart to use "kernel"',
    "Cannot change paths.setPmType while running as it is set at the start and restored at the " +
    "end: it stays false, restart to use true",
    "Cannot change paths.socket while running as other programs are connected there: it stays " +
    '"/run/fairlead/paths.sock", restart to use false',
    "Cannot change paths.namespaces while running as their sockets are open: it stays [], restart " +
    'to use ["blue"]',
  ];
  const now = await gateway({ paths: {} });
  const inGateway = compareGatewayConfigs(now, await gateway({ paths: other }));
  const load = async (
    paths: unknown,
  ): Promise<{ paths: Exclude<GatewayConfig["paths"], false> }> => {
    const { config } = await loadPathsConfig(null, overrides({ paths }));
    assert.ok(config !== null);
    return config;
  };
  const alone = comparePathsConfigs(await load({}), await load(other));
  for (const { changes, refused, config } of [inGateway, alone]) {
    assert.deepEqual(refused.map(({ text }) => text), texts);
    assert.deepEqual(changes.map(({ path }) => path), ["paths.subflowsMax"]);
    assert.ok(now.paths !== false);
    assert.deepEqual(config.paths, { ...now.paths, subflowsMax: 2 });
  }
});

Deno.test("paths begin and end with the gateway", async () => {
  const [without, withPaths] = [await gateway({}), await gateway({ paths: {} })];
  const begin = compareGatewayConfigs(without, withPaths);
  assert.deepEqual(begin.changes, []);
  assert.deepEqual(begin.config, without);
  assert.deepEqual(begin.refused.map(({ path }) => path), ["paths"]);
  assert.match(
    begin.refused[0]!.text,
    /^Cannot change paths while running as its sockets .*: it stays false, restart to use {"man/,
  );
  const end = compareGatewayConfigs(withPaths, without);
  assert.deepEqual(end.config, withPaths);
  assert.match(end.refused[0]!.text, /restart to use false$/);
});
