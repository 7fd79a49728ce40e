/**
 * The steps `association` and `endpoint` against this machine's kernel, in a user and network namespace
 * of their own (unshare(1)). It need not have ESP: what an association does is in tests/kernel.
 */
import assert from "node:assert/strict";
import {
  type AssociationRecord,
  associationStep,
  associationSteps,
  espCapable,
  protectionStep,
  protectionSteps,
} from "../../src/app/overlay/node/association_step.ts";
import {
  type EndpointRecord,
  endpointStep,
  endpointSteps,
} from "../../src/app/overlay/node/endpoint_step.ts";
import { KernelEndpoints } from "../../src/app/paths/kernel_endpoints.ts";
import type { NodePlan } from "../../src/wire/xbone/node_plan.ts";
import { testUnshared, unshared } from "../io/unshared.ts";

const PREPARE = "ip link set lo up && ip addr add 10.100.0.1/32 dev lo && " +
  "ip addr add 10.100.0.2/32 dev lo &&";
const KEYS = { keyIn: "1a".repeat(20), keyOut: "2b".repeat(20) };
const ASSOCIATION = {
  ...{ local: "192.0.2.1", remote: "192.0.2.2", port: 4790, spiIn: 0x1001, spiOut: 0x2001 },
  ...KEYS,
};

function associationOf(changes: Partial<typeof ASSOCIATION> & { epoch?: string } = {}): {
  record: AssociationRecord;
  secret: unknown;
} {
  const { epoch = "a1", ...more } = changes;
  const associations = [{ ...ASSOCIATION, ...more }];
  const [step] = associationSteps({ overlay: "field", epoch, associations } as unknown as NodePlan);
  return { record: step!.record as AssociationRecord, secret: step!.secret };
}

function endpointOf(address: string, flags: string[]): EndpointRecord {
  const [step] = endpointSteps({ endpoints: [{ address, flags }] } as unknown as NodePlan);
  return step!.record as EndpointRecord;
}

function endpoints(): string[] {
  const kernel = KernelEndpoints.open("");
  try {
    return kernel.list().map(({ address, flags }) => `${address} ${flags}`).sort();
  } finally {
    kernel.close();
  }
}

function output(command: string, ...args: string[]): string {
  return new TextDecoder().decode(new Deno.Command(command, { args }).outputSync().stdout);
}

const HOSTILE: { changes: Partial<typeof ASSOCIATION>; reason: RegExp }[] = [
  { changes: { remote: "2001:db8::1" }, reason: /two addresses of one family/ },
  { changes: { local: "r1" }, reason: /two addresses of one family/ },
  { changes: { port: 0 }, reason: /port must be 1 to 65535/ },
  { changes: { port: 65536 }, reason: /port must be 1 to 65535/ },
  { changes: { spiIn: 255 }, reason: /SPIs are 256 to 4294967295: current value is 255/ },
  { changes: { spiOut: 2 ** 32 }, reason: /SPIs are 256/ },
  { changes: { keyIn: "1A".repeat(20) }, reason: /40 hexadecimal digits/ },
  { changes: { keyOut: "" }, reason: /40 hexadecimal digits each: current value is 0 characters/ },
];

const CASES: Readonly<Record<string, () => void>> = {
  "an association that cannot be is refused before the kernel is asked": () => {
    for (const { changes, reason } of HOSTILE) {
      const { record, secret } = associationOf(changes);
      assert.throws(() => associationStep("").apply(record, secret), reason);
      associationStep("").undo(record);
    }
    assert.equal(output("ip", "xfrm", "state") + output("ip", "xfrm", "policy"), "");
  },
  "the record of an association tells its overlay apart by the reqid, and has no key": () => {
    const { record, secret } = associationOf();
    assert.equal(record.reqid, associationOf({ spiIn: 0x1002 }).record.reqid);
    assert.notEqual(record.reqid, associationOf({ epoch: "a2" }).record.reqid);
    assert.ok(record.reqid > 0xffff && record.reqid < 2 ** 31);
    assert.deepEqual(secret, KEYS);
    const text = JSON.stringify(record);
    assert.ok(!text.includes("1a1a") && !text.includes("2b2b"));
  },
  "what the kernel cannot do leaves nothing, and undoing what was never there is fine": () => {
    const { record, secret } = associationOf();
    const step = associationStep("");
    assert.equal(step.drift(record).length, 2);
    const associations = [ASSOCIATION];
    const plan = { overlay: "field", epoch: "a1", associations } as unknown as NodePlan;
    const [protection] = protectionSteps(plan);
    assert.equal(protectionStep("").drift(protection!).length, 2);
    protectionStep("").undo(protection!);
    assert.throws(
      () => protectionStep("").apply({ ...protection!, port: 0 }),
      /port must be 1 to 65535/,
    );
    if (espCapable("")) step.apply(record, secret);
    else assert.throws(() => step.apply(record, secret), /^Error: Cannot add SA 0x00001001 of /);
    step.undo(record);
    step.undo(record);
    assert.equal(output("ip", "xfrm", "state") + output("ip", "xfrm", "policy"), "");
  },
  "endpoints come and go with the plan, and those of others stay": () => {
    const step = endpointStep("");
    output("ip", "mptcp", "endpoint", "add", "10.100.0.2", "signal");
    const before = endpoints();
    const record = endpointOf("10.100.0.1", ["subflow", "backup"]);
    assert.deepEqual(step.drift(record), ["MPTCP endpoint 10.100.0.1 is missing"]);
    step.apply(record);
    step.apply(record);
    assert.deepEqual(endpoints(), ["10.100.0.1 6", ...before]);
    assert.deepEqual(step.drift(record), []);
    step.undo(record);
    step.undo(record);
    assert.deepEqual(endpoints(), before);
    const taken = endpointOf("10.100.0.2", ["subflow"]);
    assert.throws(() => step.apply(taken), /somebody else has it with other flags/);
    assert.deepEqual(step.drift(taken), ["MPTCP endpoint 10.100.0.2 has other flags"]);
    step.undo(taken);
    assert.deepEqual(endpoints(), before);
    const odd = endpointOf("10.100.0.1", ["toString"]);
    assert.throws(() => step.apply(odd), /flags are subflow/);
    step.undo(odd);
    assert.throws(() => step.apply(endpointOf("r1", ["subflow"])), /Cannot add MPTCP endpoint r1/);
  },
};

if (import.meta.main && Deno.args[0] !== undefined) {
  CASES[Deno.args[0]]!();
} else {
  const there = await unshared(PREPARE, ["ip", "mptcp", "endpoint"]);
  testUnshared(import.meta.url, Object.keys(CASES), PREPARE, there?.code === 0);
}
