/**
 * A box becomes what a plan says, and what it was before: against the kernel in namespaces of its own, and the
 * journal alone.
 */
import assert from "node:assert/strict";
import { NodeConfigurer } from "../../src/app/overlay/node/node_configurer.ts";
import { openOrphans } from "../../src/app/overlay/node/open_node.ts";
import { planSteps } from "../../src/app/overlay/node/plan_steps.ts";
import type { StepKind, StepRecord } from "../../src/app/overlay/node/step.ts";
import { StepJournal } from "../../src/app/overlay/node/step_journal.ts";
import type { Association } from "../../src/wire/xbone/node_plan.ts";
import { testUnshared, unshared } from "../io/unshared.ts";
import { CASES, configurer, KEY, planOf } from "./overlay_steps_program.ts";

const INSIDE = "mount -t tmpfs tmpfs /run && ip link set lo up && ip netns add one && " +
  "ip netns add two && ip link add left0 netns one type veth peer name right0 netns two && " +
  "ip -n one address add 192.0.2.1/24 dev left0 && ip -n two address add 192.0.2.2/24 dev right0 && " +
  "ip -n one link set lo up && ip -n two link set lo up && " +
  "ip -n one link set left0 up && ip -n two link set right0 up && ip netns add three && " +
  "ip link add left1 netns one type veth peer name right1 netns three && " +
  "ip -n one address add 198.51.100.1/24 dev left1 && ip -n one link set left1 up && " +
  "ip -n three address add 198.51.100.3/24 dev right1 && ip -n three link set right1 up && " +
  'ip -n three link set lo up && exec "$@"';
const PREPARE = `exec unshare -m sh -c '${INSIDE}' sh "$@";`;

const isThere = (await unshared(
  PREPARE,
  ["ip", "link", "add", "x", "type", "vxlan", "id", "1"]
    .concat("dstport", "4789"),
))?.success ?? false;

testUnshared(
  import.meta.resolve("./overlay_steps_program.ts"),
  Object.keys(CASES),
  PREPARE,
  isThere,
);

async function withDirectory(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await work(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const HEAD = { key: KEY, overlay: "demo", epoch: "1f", networks: [] };
const record = (about: string): StepRecord => ({ kind: "fake", about });

Deno.test("a journal that is cut at any byte tells of every step before", () =>
  withDirectory(async (directory) => {
    const journal = StepJournal.create(directory, HEAD);
    journal.begin(record("first"));
    journal.begin(record("sécond"));
    journal.undone(1);
    journal.complete(3);
    const path = `${directory}/${[...Deno.readDirSync(directory)][0]!.name}`;
    const whole = await Deno.readFile(path);
    for (let size = 0; size <= whole.length; size++) {
      const cut = whole.slice(0, size);
      const lines = cut.filter((byte) => byte === 10).length;
      await Deno.writeFile(path, cut);
      if (lines === 0) {
        assert.throws(() => StepJournal.load(directory), /is damaged/, "no name without a line");
        continue;
      }
      const found = StepJournal.load(directory).get(KEY);
      const open = found!.open().map(([, { about }]) => about);
      assert.deepEqual(open, [[], ["first"], ["first", "sécond"], ["first"], ["first"]][lines - 1]);
      assert.equal(found!.generation, lines === 5 ? 3 : 0);
      if (size % 8 !== 0) continue;
      // It goes on behind the last whole line.
      found!.begin(record("next"));
      const again = StepJournal.load(directory).get(KEY)!;
      assert.equal(again.open().at(-1)![1].about, "next");
      assert.equal(again.steps.length, found!.steps.length);
    }
  }));

Deno.test("a journal that is damaged elsewhere stops the start and names its file", () =>
  withDirectory(async (directory) => {
    const path = `${directory}/demo.steps`;
    const head = `${JSON.stringify(HEAD)}\n`;
    const bad = [
      "",
      "{}\n",
      "nothing\n",
      `${head}{"step":{}}\n`,
      `${head}{"undone":0}\n`,
      `${head}7\n`,
    ];
    for (const text of bad) {
      await Deno.writeTextFile(path, text);
      assert.throws(() => StepJournal.load(directory), /Cannot use .*demo.steps as it is damaged/);
    }
  }));

Deno.test("a journal with new keys every day does not grow", () =>
  withDirectory((directory) => {
    const journal = StepJournal.create(directory, HEAD);
    journal.begin(record("link"));
    let old = journal.begin(record("keys 0"));
    journal.complete(1);
    const sizes = new Set<number>();
    for (let generation = 2; generation < 9; generation++) {
      journal.begin(record(`keys ${generation}`));
      journal.undone(old);
      journal.complete(generation);
      old = 1;
      const loaded = StepJournal.load(directory).get(KEY)!;
      assert.deepEqual(loaded.open().map(([, { about }]) => about), ["link", `keys ${generation}`]);
      assert.deepEqual(journal.open(), loaded.open());
      assert.equal(loaded.generation, generation);
      sizes.add(Deno.statSync(`${directory}/demo%2F1f.steps`).size);
    }
    assert.equal(sizes.size, 1);
    journal.undone(0);
    journal.undone(1);
    assert.deepEqual(StepJournal.load(directory).get(KEY)!.open(), []);
    assert.deepEqual([...Deno.readDirSync(directory)].map(({ name }) => name), ["demo%2F1f.steps"]);
    return Promise.resolve();
  }));

Deno.test("there is one journal of an overlay", () =>
  withDirectory((directory) => {
    const journal = StepJournal.create(directory, HEAD);
    journal.begin(record("first"));
    // Killed between the two names of a new one.
    const name = `${directory}/demo%2F1f.steps`;
    Deno.linkSync(name, `${name}.new`);
    assert.throws(() => StepJournal.create(directory, HEAD), Deno.errors.AlreadyExists);
    assert.equal(StepJournal.load(directory).get(KEY)!.steps.length, 1);
    journal.remove();
    StepJournal.create(directory, HEAD);
    assert.deepEqual([...Deno.readDirSync(directory)].map((file) => file.name), [
      "demo%2F1f.steps",
    ]);
    return Promise.resolve();
  }));

/** A kind that keeps what is there, and refuses what it is told to. */
class Fake implements StepKind<StepRecord> {
  readonly there: string[] = [];
  readonly secrets: unknown[] = [];
  refuses = "";

  constructor(readonly kind: string) {}

  #spiOf(one: StepRecord): string {
    return String((one as StepRecord & { spiIn: number }).spiIn);
  }

  apply(one: StepRecord, secret?: unknown): void {
    if (this.refuses !== "") throw new Error(this.refuses);
    this.there.push(this.#spiOf(one));
    this.secrets.push(secret);
  }

  undo(one: StepRecord): void {
    if (this.refuses !== "") throw new Error(this.refuses);
    const at = this.there.indexOf(this.#spiOf(one));
    if (at >= 0) this.there.splice(at, 1);
  }

  drift(one: StepRecord): string[] {
    return this.there.includes(this.#spiOf(one)) ? [] : [`${one.about}: missing`];
  }

  rekey(old: StepRecord, next: StepRecord, secret: unknown): void {
    this.apply(next, secret);
    this.undo(old);
  }
}

function association(spi: number): Association {
  return {
    ...{ local: "192.0.2.1", remote: "192.0.2.2", port: 4790, spiIn: spi, spiOut: spi + 1 },
    ...{ keyIn: "0123456789".repeat(4), keyOut: "abcdef0123".repeat(4) },
  };
}

Deno.test("new keys take the place of old ones, and none is ever written down", () =>
  withDirectory(async (stateDirectory) => {
    const fake = new Fake("association");
    const kinds = [new Fake("protection"), fake];
    const open = (): Promise<NodeConfigurer> =>
      NodeConfigurer.open({ stateDirectory, namespace: "", kinds, esp: () => false });
    let node = await open();
    const plan = (spi: number) => planOf([], { associations: [association(spi)] });
    assert.match((await node.rekey(plan(300), 2))!.reason, /it is not configured here/);
    assert.equal(await node.apply(plan(300), 1), null);
    assert.equal(await node.rekey(plan(400), 2), null);
    assert.deepEqual(fake.there, ["400"]);
    assert.deepEqual(node.drift(KEY), []);
    fake.refuses = "no such cipher";
    assert.deepEqual(await node.rekey(plan(500), 3), {
      step: "association 192.0.2.1 - 192.0.2.2 (UDP port 4790)",
      reason: "no such cipher",
    });
    fake.refuses = "";
    assert.deepEqual([fake.there, node.drift(KEY)], [["400"], []]);
    const other = { ...association(600), remote: "192.0.2.3" };
    const strange = planOf([], { associations: [other] });
    assert.match((await node.rekey(strange, 3))!.reason, /not configured with any/);
    const [file] = [...Deno.readDirSync(`${stateDirectory}/steps`)];
    const path = `${stateDirectory}/steps/${file!.name}`;
    const text = await Deno.readTextFile(path);
    for (const { keyIn, keyOut } of [association(300)]) {
      assert.ok(!text.includes(keyIn) && !text.includes(keyOut));
    }
    assert.equal((await Deno.stat(path)).mode! & 0o777, 0o600);
    node.close();
    node = await open();
    assert.deepEqual(node.drift(KEY), []);
    fake.refuses = "busy";
    assert.deepEqual(await node.undo(KEY), [
      "association 192.0.2.1 - 192.0.2.2 (UDP port 4790): busy",
    ]);
    fake.refuses = "";
    assert.deepEqual(await node.undo(KEY), []);
    assert.deepEqual([fake.there, node.keys()], [[], []]);
    node.close();
  }));

Deno.test("without the journals of a daemon nothing is told to be nobody's, and none are made", () =>
  withDirectory(async (directory) => {
    const state = `${directory}/elsewhere`;
    await assert.rejects(openOrphans(state, "/etc/hosts"), /give its state directory as --state/);
    assert.deepEqual([...Deno.readDirSync(directory)], []);
  }));

Deno.test("two overlays of one name do not share the files of a Fairlead", () =>
  withDirectory(async (stateDirectory) => {
    const kinds = [new Fake("peers")];
    const node = await NodeConfigurer.open({
      ...{ stateDirectory, namespace: "", kinds, esp: () => false },
    });
    const peers = { role: "hub", entity: "mon.hub", hub: "10.100.0.1:3300", keys: [] } as const;
    assert.equal(await node.apply(planOf([], { peers }), 1), null);
    const second = await node.apply(planOf([], { peers, epoch: "2f" }), 1);
    assert.match(second!.reason, /another overlay demo of this box has them/);
    assert.deepEqual(await node.undo("demo/2f"), []);
    assert.equal(kinds[0]!.there.length, 1);
    assert.equal(await node.apply(planOf([], { peers, overlay: "demo2" }), 1), null);
    for (const key of node.keys()) assert.deepEqual(await node.undo(key), []);
    node.close();
  }));

Deno.test("what a reboot took away is made again, but for keys, and only what was complete", () =>
  withDirectory(async (stateDirectory) => {
    const fakes = [new Fake("protection"), new Fake("association"), new Fake("hosts")];
    const [protection, keyed, hosts] = fakes;
    const plain = fakes.map((fake) =>
      fake === keyed ? fake : Object.assign(fake, { rekey: undefined })
    );
    const open = (): Promise<NodeConfigurer> =>
      NodeConfigurer.open({ stateDirectory, namespace: "", kinds: plain, esp: () => false });
    let node = await open();
    assert.equal(await node.mend(KEY), null, "nothing is configured");
    const plan = planOf([], {
      associations: [association(300)],
      names: [{ name: "b", address: "10.100.0.2" }],
    });
    hosts!.refuses = "full";
    assert.notEqual(await node.apply(plan, 1), null);
    protection!.there.length = 0;
    assert.equal(await node.mend(KEY), null);
    assert.deepEqual(protection!.there, [], "it was never complete");
    hosts!.refuses = "";
    assert.deepEqual(await node.undo(KEY), []);
    assert.equal(await node.apply(plan, 1), null);
    assert.equal(await node.mend(KEY), null);
    assert.deepEqual(fakes.map(({ there }) => there.length), [1, 1, 1], "all was there");
    node.close();
    for (const fake of fakes) fake.there.length = 0;
    node = await open();
    assert.equal(await node.mend(KEY), null);
    assert.deepEqual(fakes.map(({ there }) => there.length), [1, 0, 1]);
    assert.equal(node.drift(KEY).length, 1, "the keys");
    protection!.there.length = hosts!.there.length = 0;
    protection!.refuses = "busy";
    assert.deepEqual(await node.mend(KEY), {
      step: "protection 192.0.2.1 - 192.0.2.2 (UDP port 4790)",
      reason: "busy",
    });
    assert.deepEqual(hosts!.there, [], "nothing goes on without protection");
    protection!.refuses = "";
    const [mended, left] = await Promise.all([node.mend(KEY), node.undo(KEY)]);
    assert.match(mended!.reason, /cancelled/);
    assert.deepEqual(left, []);
    node.close();
  }));

Deno.test("a plan with what this box does not take is refused before anything is done", () =>
  withDirectory(async (directory) => {
    const node = await configurer(directory);
    const failure = await node.apply(planOf([], { associations: [association(300)] }), 1);
    assert.equal(failure!.step, "check");
    assert.match(failure!.reason, /not configured for it: current value is protection/);
    assert.deepEqual(node.keys(), []);
    assert.deepEqual(node.drift(KEY), ["nothing is configured"]);
    node.close();
  }));

Deno.test("a link comes up between its policies and its keys, so that nothing is ever in clear", () => {
  const link = {
    ...{ name: "a-b", vni: 7, port: 4790, local: "192.0.2.1", remote: "192.0.2.2", mtu: 1400 },
    ...{ address: "10.100.128.0", peerAddress: "10.100.128.1", peer: "b", peerNode: "two" },
    rateBits: 0,
  };
  const visit = {
    ...{ name: "a", network: "demo", address: "10.100.0.1", prefix: "10.100.0.0/16" },
    ...{ role: "host" as const, links: [link], routes: [] },
  };
  const plan = planOf([visit], { associations: [association(300)] });
  const kinds = planSteps(plan, [19900]).map(({ record }) => record.kind);
  const order = kinds.filter((kind) => ["protection", "up", "association"].includes(kind));
  assert.deepEqual(order, ["protection", "up", "association"]);
});

Deno.test("a route over a link that the plan lacks is refused", () => {
  const visit = {
    ...{ name: "a", network: "demo", address: "10.100.0.1", prefix: "10.100.0.0/16", links: [] },
    role: "host" as const,
    routes: [{ to: "10.100.0.2/32", via: "10.100.128.1", link: "a-b" }],
  };
  assert.throws(() => planSteps(planOf([visit]), [19900]), /no such link: current value is a-b/);
});
