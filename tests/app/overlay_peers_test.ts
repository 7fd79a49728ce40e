/** The step `peers`: its files are loaded by the hub and the gateway that they are for. */
import assert from "node:assert/strict";
import { loadGatewayConfig } from "../../src/app/config/gateway_config.ts";
import { loadHubConfig } from "../../src/app/config/hub_config.ts";
import { type PeersRecord, peersStep, peerSteps } from "../../src/app/overlay/node/peers_step.ts";
import { NodeCrypto } from "../../src/io/crypto.ts";
import { encodeKey, generateKey, KeyType } from "../../src/wire/cephx/crypto_key.ts";
import { parseKeyring } from "../../src/wire/cephx/keyring.ts";
import { parseEntityName } from "../../src/wire/msgr2/hello.ts";
import type { NodePlan, PlanPeers } from "../../src/wire/xbone/node_plan.ts";
import { Fairlead } from "./fairlead.ts";

const HUB = "v2:10.100.0.1:3300";
const KEYS = ["client.gw1", "client.gw2"].map((entity, index) => ({
  entity,
  key: encodeKey(generateKey(new NodeCrypto(), KeyType.Aes, 1_700_000_000 + index)),
}));

function stepOf(
  role: PlanPeers["role"],
  changes: Partial<PlanPeers> & { overlay?: string } = {},
): { record: PeersRecord; secret: unknown } {
  const { overlay = "field", ...more } = changes;
  const entity = role === "hub" ? "mon.hub" : "client.gw1";
  const keys = role === "hub" ? KEYS : KEYS.slice(0, 1);
  const peers = { role, entity, hub: HUB, keys, ...more };
  const [step, ...others] = peerSteps({ overlay, peers } as unknown as NodePlan);
  assert.deepEqual(others, []);
  return { record: step!.record as PeersRecord, secret: step!.secret };
}

async function withFolder(body: (folder: string) => Promise<void> | void): Promise<void> {
  const folder = Deno.makeTempDirSync({ prefix: "fairlead-peers-" });
  try {
    await body(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

const LOADERS = [
  { role: "hub", load: loadHubConfig },
  { role: "gateway", load: loadGatewayConfig },
] as const;

Deno.test.each(LOADERS)(
  "a $role loads its file without a warning",
  ({ load, role }) =>
    withFolder(async (folder) => {
      const { record, secret } = stepOf(role);
      peersStep(folder).apply(record, secret);
      const { config, problems, warnings } = await load(`${folder}/field/${role}.json`) as {
        config: { name: string; auth: { method: string; mode: string } } | null;
        problems?: unknown;
        warnings?: unknown;
      };
      assert.ok(config !== null, JSON.stringify(problems));
      assert.deepEqual(warnings, []);
      assert.deepEqual([config.name, config.auth.method, config.auth.mode], [
        record.entity,
        "cephx",
        "secure",
      ]);
      const text = JSON.stringify(config);
      assert.ok(text.includes(HUB));
    }),
);

Deno.test.each(LOADERS)(
  "fairlead $role --check accepts its file",
  ({ role }) =>
    withFolder(async (folder) => {
      const { record, secret } = stepOf(role);
      peersStep(folder).apply(record, secret);
      const path = `${folder}/field/${role}.json`;
      const { code, stderr } = await Fairlead.run(role, "--check", "--config", path);
      assert.equal(code, 0, stderr);
    }),
);

Deno.test("keys stand in a keyring that only its owner reads, and nowhere else", () =>
  withFolder((folder) => {
    const { record, secret } = stepOf("hub");
    peersStep(folder).apply(record, secret);
    const path = `${folder}/field/keyring`;
    assert.equal(Deno.statSync(path).mode! & 0o777, 0o600);
    assert.equal(Deno.statSync(`${folder}/field`).mode! & 0o777, 0o700);
    const keyring = parseKeyring(Deno.readTextFileSync(path));
    for (const { entity, key } of KEYS) {
      assert.equal(encodeKey(keyring.get(parseEntityName(entity))!.key), key);
      assert.ok(!Deno.readTextFileSync(`${folder}/field/hub.json`).includes(key));
      assert.ok(!JSON.stringify(record).includes(key));
    }
    assert.deepEqual(record.entities, ["client.gw1", "client.gw2"]);
  }));

Deno.test("undoing removes what was written, and only that", () =>
  withFolder((folder) => {
    const { record, secret } = stepOf("gateway");
    const step = peersStep(folder);
    step.undo(record);
    step.apply(record, secret);
    step.apply(record, secret);
    step.undo(record);
    assert.deepEqual([...Deno.readDirSync(folder)], []);
    step.apply(record, secret);
    Deno.writeTextFileSync(`${folder}/field/notes`, "by hand");
    Deno.writeTextFileSync(`${folder}/field/keyring.new`, "half");
    step.undo(record);
    assert.deepEqual([...Deno.readDirSync(`${folder}/field`)].map(({ name }) => name), ["notes"]);
  }));

Deno.test("drift is told when a file was changed, is missing, or others can read the keys", () =>
  withFolder((folder) => {
    const { record, secret } = stepOf("gateway");
    const step = peersStep(folder);
    const [config, keyring] = [`${folder}/field/gateway.json`, `${folder}/field/keyring`];
    assert.deepEqual(step.drift(record), [`${config} is missing`, `${keyring} is missing`]);
    step.apply(record, secret);
    assert.deepEqual(step.drift(record), []);
    Deno.writeTextFileSync(config, "{}");
    Deno.chmodSync(keyring, 0o644);
    assert.deepEqual(step.drift(record), [
      `${config} was changed`,
      `${keyring} can be read by others`,
    ]);
    Deno.writeTextFileSync(keyring, "[client.other]\n");
    assert.match(step.drift(record)[1]!, /keyring was changed/);
  }));

Deno.test("after a restart the keys that are there are kept, and the rest is written again", () =>
  withFolder((folder) => {
    const { record, secret } = stepOf("hub");
    const step = peersStep(folder);
    step.apply(record, secret);
    const keyring = Deno.readTextFileSync(`${folder}/field/keyring`);
    Deno.removeSync(`${folder}/field/hub.json`);
    step.apply(record);
    assert.deepEqual(step.drift(record), []);
    assert.equal(Deno.readTextFileSync(`${folder}/field/keyring`), keyring);
    Deno.removeSync(`${folder}/field/keyring`);
    assert.throws(() => step.apply(record), /there are no keys/);
  }));

Deno.test("without keys or with a wrong one nothing is written, and the key is not told", () =>
  withFolder((folder) => {
    const { record } = stepOf("gateway");
    const step = peersStep(folder);
    const secrets = [undefined, [], [{ entity: "client.gw1", key: "c2VjcmV0LXNlY3JldA==" }]];
    for (const secret of secrets) {
      assert.throws(() => step.apply(record, secret), (error: Error) => {
        assert.match(error.message, /^Cannot write files of the gateway client\.gw1 as /);
        return !error.message.includes("c2Vj");
      });
    }
    assert.deepEqual([...Deno.readDirSync(folder)], []);
  }));

Deno.test("an overlay's name leads to no other directory", () =>
  withFolder((folder) => {
    for (const overlay of ["..", "a/b", "", ".hidden", "a\0b"]) {
      const { record, secret } = stepOf("gateway", { overlay });
      const step = peersStep(folder);
      assert.throws(() => step.apply(record, secret), /name must be letters, digits/);
      step.undo(record);
    }
  }));

Deno.test("a plan without peers has no step", () => {
  assert.deepEqual(peerSteps({ overlay: "field", peers: null } as unknown as NodePlan), []);
});
