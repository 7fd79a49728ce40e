/** Machines are run in order, over disks that are full and ports that fail; records are as they were written. */
import assert from "node:assert/strict";
import { type Box, failedText, MachineRunner } from "../../src/app/overlay/machine_runner.ts";
import { RecordStore } from "../../src/app/overlay/record_store.ts";
import { nowMs } from "../../src/io/clock.ts";
import type { Output } from "../../src/proto/xbone/machine.ts";
import type { NodePlan } from "../../src/wire/xbone/node_plan.ts";
import { fakePorts, release, Scripted } from "./overlay_scripted.ts";
import { until } from "./standby_rig.ts";

const TO = { node: "gw1", host: "127.0.0.1", port: 265 };
const PLAN = { node: "gw1" } as NodePlan; // nobody looks into it

async function withStore(
  test: (records: RecordStore, dir: string) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir();
  const records = await RecordStore.open(dir);
  try {
    await test(records, dir);
  } finally {
    records.close();
    await Deno.remove(dir, { recursive: true });
  }
}

/** A runner that notes what it does. */
class Rig {
  readonly done: string[] = [];
  readonly machine = new Scripted();
  readonly runner: MachineRunner;

  constructor(records: RecordStore, box?: Box) {
    this.runner = new MachineRunner({
      ...fakePorts(),
      records: {
        write: (key: string, record: unknown): void => {
          records.write(key, record);
          this.done.push(`journal ${key}`);
        },
      } as RecordStore,
      ...(box === undefined ? {} : { box }),
      multicast: ({ verb }) => void this.done.push(`multicast ${verb}`),
      unicast: (to) => {
        this.done.push(`unicast ${to}`);
        if (to === "") throw new Error("it is no address");
      },
      request: (to) => {
        this.done.push(`request ${to.node}`);
        if (to.node === "nobody") throw new Error("nobody is there");
        return Promise.resolve({ ...release(1), verb: "ack-stop" });
      },
      answer: (ticket) => void this.done.push(`answer ${ticket}`),
      tell: (key, { event }) => void this.done.push(`event ${key} ${event}`),
      trouble: (text) => void this.done.push(`trouble ${text}`),
      failed: (error) => void this.done.push(`failed ${error.message}`),
    });
  }

  run(...outputs: Output[]): void {
    this.machine.outputs.push(...outputs);
    this.runner.add(this.machine);
  }
}

function multicast(): Output {
  return { kind: "multicast", body: release(1), ttl: 1 };
}

Deno.test("outputs are done in their order, and what they cause comes behind", () =>
  withStore(async (records) => {
    const rig = new Rig(records);
    rig.machine.react = (what) => {
      if (what.startsWith("answer")) rig.machine.outputs.push(multicast());
    };
    rig.run(
      multicast(),
      { kind: "journal", key: "field/1", record: { state: "A" } },
      { kind: "send", to: TO, body: release(1), waitMs: 1000 },
      { kind: "answer-invite", to: "127.0.0.1:1", body: release(1) },
      { kind: "answer", ticket: 7, body: release(1) },
      { kind: "event", key: "field/1", event: { event: "silent", node: "gw1" } },
    );
    const first = [
      ...["multicast release", "journal field/1", "request gw1", "unicast 127.0.0.1:1"],
      ...["answer 7", "event field/1 silent"],
    ];
    assert.deepEqual(rig.done, first);
    await until("it is answered", () => rig.machine.told.length === 1);
    assert.deepEqual(rig.machine.told, ["answer gw1 ack-stop"]);
    assert.deepEqual(rig.done, [...first, "multicast release"]);
    rig.runner.close();
  }));

Deno.test("a record that cannot be written holds back what is behind it, until it can", () =>
  withStore(async (records, dir) => {
    const rig = new Rig(records);
    const other = new Scripted();
    const blocker = `${dir}/field%2F1.json.new`;
    await Deno.mkdir(blocker);
    rig.runner.add(other);
    rig.machine.deadline = nowMs();
    rig.run({ kind: "journal", key: "field/1", record: { state: "A" } }, multicast());
    assert.equal(rig.done.length, 1);
    assert.match(rig.done[0]!, /^trouble The record of overlay field\/1 cannot be written/);
    rig.machine.deadline = nowMs();
    other.outputs.push(multicast());
    rig.runner.pump();
    assert.deepEqual(rig.done.slice(1), ["multicast release"], "others go on");
    assert.equal(rig.machine.told.length, 1, "it is not woken for what cannot be done");
    await Deno.remove(blocker);
    await until("it is written", () => rig.done.length === 5);
    assert.deepEqual(rig.done.slice(2), ["journal field/1", "trouble null", "multicast release"]);
    assert.deepEqual([...records.load()], [["field/1", { state: "A" }]]);
    assert.equal(rig.machine.told.length, 2);
    rig.runner.close();
  }));

Deno.test("trouble is over when every record was written", () =>
  withStore(async (records, dir) => {
    const rig = new Rig(records);
    const other = new Scripted();
    const blockers = [`${dir}/a.json.new`, `${dir}/b.json.new`];
    for (const blocker of blockers) await Deno.mkdir(blocker);
    other.outputs.push({ kind: "journal", key: "b", record: {} });
    rig.runner.add(other);
    rig.run({ kind: "journal", key: "a", record: {} });
    await Deno.remove(blockers[0]!);
    await until("one is written", () => rig.done.includes("journal a"));
    assert.ok(!rig.done.includes("trouble null"));
    await Deno.remove(blockers[1]!);
    await until("both are", () => rig.done.includes("journal b"));
    assert.equal(rig.done.at(-1), "trouble null");
    rig.runner.close();
  }));

Deno.test("a machine is woken at its deadline, and never after the runner was closed", () =>
  withStore(async (records) => {
    const rig = new Rig(records);
    rig.machine.deadline = nowMs() + 20;
    rig.run();
    assert.deepEqual(rig.machine.told, []);
    await until("it was woken", () => rig.machine.told.length === 1);
    rig.machine.deadline = nowMs();
    rig.machine.outputs.push(multicast(), { kind: "send", to: TO, body: release(1), waitMs: 1 });
    rig.machine.react = () => rig.machine.outputs.push(multicast());
    rig.runner.pump();
    assert.deepEqual(rig.machine.told, ["deadline", "deadline"]);
    const before = rig.done.length;
    rig.runner.close();
    rig.machine.outputs.push(multicast());
    rig.machine.deadline = nowMs();
    rig.runner.pump();
    rig.runner.call(() => rig.machine.handleDeadline());
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(rig.done.length, before);
    assert.deepEqual(rig.machine.told, ["deadline", "deadline"], "not even the answer");
  }));

Deno.test("a port that throws is told, and what is behind it is done all the same", () =>
  withStore(async (records) => {
    const rig = new Rig(records);
    rig.run(
      { kind: "answer-invite", to: "", body: release(1) },
      { kind: "send", to: { ...TO, node: "nobody" }, body: release(1), waitMs: 1000 },
      multicast(),
    );
    assert.deepEqual(rig.done, [
      ...["unicast ", "failed it is no address"],
      ...["request nobody", "multicast release"],
    ]);
    await until("it is told", () => rig.machine.told.length === 1);
    assert.deepEqual(rig.machine.told, ["unreachable nobody nobody is there"]);
    rig.runner.close();
  }));

Deno.test("a machine that throws is told now and then, does not spin, and stops no other", () =>
  withStore(async (records) => {
    const rig = new Rig(records);
    const other = new Scripted();
    rig.machine.handleDeadline = (): never => {
      throw new Error("a mistake");
    };
    rig.machine.deadline = nowMs();
    rig.run();
    rig.runner.add(other);
    for (let count = 0; count < 100; count++) rig.runner.pump();
    assert.deepEqual(rig.done, ["failed a mistake"]);
    other.outputs.push(multicast());
    rig.runner.call(() => {
      throw new Error("another mistake");
    });
    assert.deepEqual(rig.done, ["failed a mistake", "failed another mistake", "multicast release"]);
    other.react = (): never => {
      throw new Error("a third one");
    };
    other.outputs.push({ kind: "send", to: TO, body: release(1), waitMs: 1000 });
    rig.runner.pump();
    await until("it is told", () => rig.done.includes("failed a third one"));
    await until("it is tried again", () => rig.done.filter((e) => /a mistake/.test(e)).length > 1);
    rig.runner.close();
    const text = failedText(new Error("a mistake"));
    assert.match(text, /^Mistake in this program: a mistake \(at .*overlay_runner_test.ts/);
  }));

Deno.test("a box is configured, undone and checked; what it throws is a failure with its reason", () =>
  withStore(async (records) => {
    let fails = false;
    const refuse = (): void => {
      if (fails) throw new Error("no kernel");
    };
    const rig = new Rig(records, {
      apply: (_plan, generation, keysOnly) => {
        refuse(); // at once, and not in the promise
        return Promise.resolve(keysOnly ? { step: "esp", reason: `keys ${generation}` } : null);
      },
      undo: async () => await Promise.resolve().then(refuse).then(() => []),
      check: async () =>
        await Promise.resolve().then(refuse).then(() => ({ drift: [], links: [] })),
    });
    const key = "field/1";
    const outputs: Output[] = [
      { kind: "apply", key, plan: PLAN, generation: 1 },
      { kind: "rekey", key, plan: PLAN, generation: 2 },
      { kind: "undo", key },
      { kind: "check", key, ticket: 4, probes: 0, waitMs: 1, mend: false },
    ];
    rig.run(...outputs);
    await until("all is told", () => rig.machine.told.length === 4);
    assert.deepEqual(rig.machine.told.toSorted(), [
      ...["applied field/1 keys 2", "applied field/1 well"],
      ...["checked field/1 4 ", "undone field/1 "],
    ]);
    fails = true;
    rig.machine.told.length = 0;
    rig.machine.outputs.push(...outputs);
    rig.runner.pump();
    await until("all is told", () => rig.machine.told.length === 4);
    for (const told of rig.machine.told) assert.match(told, /no kernel$/);
    rig.runner.close();
  }));

Deno.test("a machine that was removed is not woken, but its last record is written", () =>
  withStore(async (records, dir) => {
    const rig = new Rig(records);
    records.write("field/1", { state: "ACTIVE" });
    const path = `${dir}/field%2F1.json`;
    await Deno.remove(path);
    await Deno.mkdir(`${path}/full`, { recursive: true }); // cannot be removed
    rig.run({ kind: "journal", key: "field/1", record: null });
    rig.runner.remove(rig.machine);
    assert.match(rig.done[0]!, /trouble .*field\/1/);
    rig.machine.deadline = nowMs();
    rig.runner.pump();
    assert.deepEqual(rig.machine.told, []);
    rig.runner.close();
  }));

Deno.test("a full disk is told, nothing is lost, and it goes on when there is room", {
  ignore: Deno.uid() !== 0,
}, async () => {
  const state = await Deno.makeTempDir();
  const program = [Deno.execPath(), "run", "-A", "--no-check"];
  const output = await new Deno.Command("unshare", {
    args: [
      ...["-m", "sh", "-c", `mount -t tmpfs -o size=16k tmpfs "$0" && exec "$@"`, state],
      ...[...program, import.meta.resolve("./overlay_full_disk.ts"), state],
    ],
    stdout: "piped",
    stderr: "piped",
  }).output();
  await Deno.remove(state, { recursive: true });
  const text = new TextDecoder().decode(output.stdout);
  const errors = new TextDecoder().decode(output.stderr);
  if (!output.success && /mount|unshare/.test(errors)) return;
  assert.match(text, /^trouble: .*field\/1.*(space|ENOSPC)/i, errors);
  assert.match(text, /kept: \["kept\/1"\]\ntrouble: null\nsent\nthen: \["field\/1","kept\/1"\]\n/);
});

Deno.test("what is undone does not wait for a disk that takes nothing", () => {
  const full = {
    write: (): void => {
      throw new Error("no space left");
    },
  } as unknown as RecordStore;
  const rig = new Rig(full);
  rig.run({ kind: "journal", key: "a/1", record: {}, ending: true }, multicast());
  rig.runner.close();
  assert.deepEqual(rig.done.map((what) => what.split(" ")[0]), ["trouble", "multicast"]);
});

Deno.test("a record has any key, stays in its directory, and is gone when it is removed", () =>
  withStore((records, dir) => {
    const keys = [
      "../x/0000",
      "field/0123456789abcdef",
      "above:a/1",
      ".",
      "..",
      "a b%2f\n\0é",
      "/",
    ];
    for (const [at, key] of keys.entries()) records.write(key, { at });
    const files = [...Deno.readDirSync(dir)].filter(({ name }) => name.endsWith(".json"));
    assert.equal(files.length, keys.length);
    assert.deepEqual(records.load(), new Map(keys.map((key, at) => [key, { at }])));
    for (const key of keys) {
      records.write(key, null);
      records.write(key, null); // and again
    }
    assert.equal(records.load().size, 0);
    return Promise.resolve();
  }));

Deno.test("a second daemon is not let into the directory of the first, until that ends", () =>
  withStore(async (_records, dir) => {
    await assert.rejects(RecordStore.open(dir), /as another daemon does.*--state/);
    const first = await RecordStore.open(`${dir}/other`);
    first.close();
    (await RecordStore.open(`${dir}/other`)).close();
  }));

Deno.test("a damaged record stops the start with its name; half of a new one does not", () =>
  withStore(async (records, dir) => {
    records.write("field/1", { state: "ACTIVE" });
    await Deno.writeTextFile(`${dir}/field%2F1.json.new`, `{"state": "TEAR`); // killed in a write
    await Deno.writeTextFile(`${dir}/readme`, "of somebody else");
    assert.deepEqual([...records.load()], [["field/1", { state: "ACTIVE" }]]);
    records.write("field/1", { state: "TEARDOWN" });
    assert.deepEqual([...records.load()], [["field/1", { state: "TEARDOWN" }]]);
    for (const [name, text] of [["a%2F1", "{"], ["b", "7"], ["c", "null"], ["%zz", "{}"]]) {
      const path = `${dir}/${name}.json`;
      await Deno.writeTextFile(path, text!);
      assert.throws(() => records.load(), (error: Error) => {
        assert.ok(error.message.startsWith(`Cannot use ${path} as it is damaged: `), error.message);
        assert.match(error.message, /put back a backup of it, or move it away/);
        return true;
      });
      await Deno.remove(path);
    }
    assert.equal(records.load().size, 1);
  }));
