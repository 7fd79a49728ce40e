/** What the two contestants of the cut are configured with, and how their results are judged. */
import assert from "node:assert/strict";
import { type CutResult, drainOf, rowsOf } from "../../bench/peers/gateway_cut.ts";
import { gatewayFile, hubFile, mosquittoConf } from "../../bench/peers/gateway_pairs.ts";
import { loadGatewayConfig } from "../../src/app/config/gateway_config.ts";
import { loadHubConfig } from "../../src/app/config/hub_config.ts";

Deno.test("gateway and hub are configured without a mistake, durable and exactly once", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const ports = { http: 1, lines: 2, mqtt: 3, status: 4 };
    const paths = { gateway: `${directory}/gateway.json`, hub: `${directory}/hub.json` };
    const files = {
      gateway: gatewayFile(directory, ports, "192.0.2.2:5"),
      hub: hubFile(directory, "192.0.2.2:5", 6),
    };
    await Deno.writeTextFile(paths.gateway, JSON.stringify(files.gateway));
    await Deno.writeTextFile(paths.hub, JSON.stringify(files.hub));
    const gateway = await loadGatewayConfig(paths.gateway);
    assert.ok(gateway.config !== null && gateway.warnings.length === 0);
    assert.equal(gateway.config.spool.place, "disk");
    assert.equal(gateway.config.spool.whenFull, "block");
    const hub = await loadHubConfig(paths.hub);
    assert.ok(hub.config !== null && hub.warnings.length === 0);
    assert.equal(hub.config.outputs.far?.required, true);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("mosquitto is configured to keep as much as it can", () => {
  const listen = { address: "127.0.0.1", port: 1 };
  const bridge = { address: "192.0.2.2", port: 2 };
  const near = mosquittoConf("/state", listen, "on each change", bridge).split("\n");
  for (
    const wanted of [
      "listener 1 127.0.0.1",
      "persistence true",
      "persistence_location /state/",
      "autosave_interval 1",
      "autosave_on_changes true",
      "queue_qos0_messages false",
      "max_queued_messages 0",
      "address 192.0.2.2:2",
      "topic # out 1",
      "cleansession false",
    ]
  ) assert.ok(near.includes(wanted), wanted);
  const far = mosquittoConf("/state", listen, "each second", null);
  assert.match(far, /^autosave_on_changes false$/m);
  assert.doesNotMatch(far, /^connection /m);
});

const GOOD: CutResult = {
  name: "Fairlead",
  sent: 110,
  acknowledged: 100,
  lost: 0,
  doubled: 0,
  disordered: 0,
  foreign: 0,
  drain: { messages: 50, allMs: 1500, perSecond: 40_000 },
};
const PEER: CutResult = { ...GOOD, name: "peer", lost: 7, doubled: 8, disordered: 9, drain: null };

function verdicts(own: CutResult): string[] {
  return rowsOf([own, PEER], "gateway").map(({ verdict }) => verdict);
}

Deno.test("what we lose, double or disorder is missed; what a peer does is told", () => {
  assert.deepEqual(verdicts(GOOD), ["held", "held", "held", "reported"]);
  assert.deepEqual(verdicts({ ...GOOD, lost: 1 }), ["missed", "held", "held", "reported"]);
  assert.deepEqual(verdicts({ ...GOOD, doubled: 1 }), ["held", "missed", "held", "reported"]);
  assert.deepEqual(verdicts({ ...GOOD, disordered: 1 }), ["held", "held", "missed", "reported"]);
  const rows = rowsOf([GOOD, PEER], "gateway");
  assert.deepEqual(rows.map(({ ours }) => ours), [
    "0 of 100",
    "0",
    "0",
    "40.0 k/s and all after 1.50 s",
  ]);
  assert.deepEqual(rows.map(({ peers }) => peers), [
    "peer 7 of 100",
    "peer 8",
    "peer 9",
    "peer never all",
  ]);
});

Deno.test("a run that acknowledged nothing, or left torn lines, proves nothing", () => {
  const missed = ["missed", "missed", "missed", "reported"];
  assert.deepEqual(verdicts({ ...GOOD, acknowledged: 0 }), missed);
  assert.deepEqual(verdicts({ ...GOOD, foreign: 1 }), missed);
});

Deno.test("drainOf() leaves out the wait for a connection, and what came before it", () => {
  const samples = [
    { atMs: 0, count: 1000 },
    { atMs: 300, count: 1009 }, // from the socket of a dead process
    { atMs: 5000, count: 1009 },
    { atMs: 5010, count: 1100 },
    { atMs: 5410, count: 1900 },
    { atMs: 5420, count: 2000 },
  ];
  assert.deepEqual(drainOf(samples), { messages: 1000, allMs: 5420, perSecond: 2000 });
  const atOnce = [{ atMs: 0, count: 0 }, { atMs: 700, count: 1000 }];
  assert.deepEqual(drainOf(atOnce), { messages: 1000, allMs: 700, perSecond: 80_000 });
});
