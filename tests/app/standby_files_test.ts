/** What a box keeps on its disk: damaged, missing, full. */
import assert from "node:assert/strict";
import { DurableFile } from "../../src/app/standby/durable_file.ts";
import { TermFile } from "../../src/app/standby/term_file.ts";
import { configOf, openWitness, RigBox, Stranger, until } from "./standby_rig.ts";

async function withState(work: (state: string) => Promise<void> | void): Promise<void> {
  const state = await Deno.makeTempDir();
  try {
    await work(state);
  } finally {
    await Deno.remove(state, { recursive: true });
  }
}

Deno.test("a term is there again, and nothing is left beside it", () =>
  withState(async (state) => {
    const terms = new TermFile(state);
    assert.deepEqual(terms.read(), { term: 0, activeTerm: 0 });
    terms.write({ term: 7, activeTerm: 5 });
    assert.deepEqual(new TermFile(state).read(), { term: 7, activeTerm: 5 });
    assert.deepEqual([...Deno.readDirSync(state)].map(({ name }) => name), ["standby.json"]);
    assert.equal((await Deno.stat(`${state}/standby.json`)).mode! & 0o777, 0o600);
    const inMemory = new TermFile(null);
    inMemory.write({ term: 3, activeTerm: 3 });
    assert.deepEqual(inMemory.read(), { term: 0, activeTerm: 0 }, "it is not asked again");
  }));

Deno.test("a term file that is damaged stops the start, and says what to do", () =>
  withState(async (state) => {
    const path = `${state}/standby.json`;
    const texts = [
      "",
      "{",
      '{"term":5',
      "null",
      "5",
      '"5"',
      "{}",
      "[]",
      '{"term":5}',
      '{"term":5,"activeTerm":6}',
      '{"term":-1,"activeTerm":-1}',
      '{"term":1.5,"activeTerm":1}',
      '{"term":"5","activeTerm":1}',
      '{"term":1e300,"activeTerm":1}',
      '{"term":281474976710657,"activeTerm":1}',
      "\0".repeat(64),
    ];
    for (const text of texts) {
      await Deno.writeTextFile(path, text);
      assert.throws(() => new TermFile(state).read(), /Cannot use .*standby\.json/, text);
      await assert.rejects(RigBox.open(configOf(), { state }), /Cannot use .*standby\.json/);
    }
  }));

Deno.test("a half that was written before a power cut is not read", () =>
  withState(async (state) => {
    const file = new DurableFile(`${state}/it.json`);
    file.write({ a: 1 });
    await Deno.writeTextFile(`${state}/it.json.new`, '{"a":');
    assert.deepEqual(file.read(), { a: 1 });
    file.write({ a: 2 });
    assert.deepEqual(file.read(), { a: 2 });
  }));

Deno.test("a file that cannot be written says so, and keeps what it said", () =>
  withState(async (state) => {
    const file = new DurableFile(`${state}/it.json`);
    file.write({ a: 1 });
    await Deno.mkdir(`${state}/it.json.new`);
    assert.throws(() => file.write({ a: 2 }));
    assert.deepEqual(file.read(), { a: 1 });
    const gone = new DurableFile(`${state}/nowhere/it.json`);
    assert.equal(gone.read(), null);
    assert.throws(() => gone.write({}));
  }));

Deno.test("a box is not active in a term that is not stored, lives, and goes on when it is", () =>
  withState(async (state) => {
    const blocked = `${state}/standby.json.new`;
    await Deno.mkdir(blocked);
    const config = configOf({ role: "active", heartbeatMs: 20, deadMs: 100 });
    await using box = await RigBox.open(config, { state });
    await until("it is told", () => box.told.some((text) => /cannot be stored/.test(text)));
    assert.doesNotMatch(box.roles.join(), /active/);
    assert.equal(box.service.guard.untilMs, -Infinity);
    await Deno.remove(blocked);
    await box.is("active");
    assert.match(await Deno.readTextFile(`${state}/standby.json`), /"activeTerm":1/);
  }));

Deno.test("an active box that hears a later term and cannot store it stops, and lives", () =>
  withState(async (state) => {
    const config = configOf({ role: "active", heartbeatMs: 20, deadMs: 100 });
    await using box = await RigBox.open(config, { state });
    await box.is("active");
    await Deno.mkdir(`${state}/standby.json.new`);
    await using peer = await Stranger.open(config.listen, { listen: config.peer });
    peer.live({ role: "active", mode: "standby", term: 5, stateTerm: 5 });
    await until("it is blocked", () => box.service.guard.untilMs === -Infinity);
    await until("it is told", () => box.told.some((text) => /cannot be stored/.test(text)));
    assert.match(await Deno.readTextFile(`${state}/standby.json`), /"term":1/);
    await Deno.remove(`${state}/standby.json.new`);
    await box.is("standby");
    await until(
      "it is stored",
      () => /"term":5/.test(Deno.readTextFileSync(`${state}/standby.json`)),
    );
  }));

Deno.test("a lease that is granted is of no use before its term is stored", () =>
  withState(async (state) => {
    const own = `${state}/box`;
    const others = `${state}/witness`;
    await Deno.mkdir(own);
    await Deno.mkdir(`${own}/standby.json.new`);
    const witness = await openWitness(others);
    try {
      const config = configOf({
        role: "auto",
        witness: witness.address,
        leaseMs: 400,
        heartbeatMs: 20,
        deadMs: 100,
        preferred: true,
      });
      await using box = await RigBox.open(config, { state: own });
      await using peer = await Stranger.open(config.listen, { listen: config.peer });
      peer.live({ role: "standby", mode: "auto", term: 0, stateTerm: 0, ready: false });
      await until("it is told", () => box.told.some((text) => /cannot be stored/.test(text)));
      assert.doesNotMatch(box.roles.join(), /active/);
      await Deno.remove(`${own}/standby.json.new`);
      await box.is("active");
    } finally {
      await witness.close();
    }
  }));

Deno.test("a full disk is told, and nothing that was stored is lost", {
  ignore: Deno.uid() !== 0,
}, () =>
  withState(async (state) => {
    const mounted = await new Deno.Command("unshare", {
      args: [
        ...["-m", "sh", "-c"],
        `mount -t tmpfs -o size=16k tmpfs "$0" && exec "$@"`,
        ...[
          state,
          Deno.execPath(),
          "run",
          "-A",
          "--no-check",
          import.meta.resolve("./full_disk.ts"),
        ],
        state,
      ],
      stdout: "piped",
      stderr: "piped",
    }).output();
    const text = new TextDecoder().decode(mounted.stdout);
    if (!mounted.success && /mount|unshare/.test(new TextDecoder().decode(mounted.stderr))) return;
    assert.match(text, /full: .*(space|ENOSPC)/i);
    assert.match(text, /kept: \{"term":3,"activeTerm":3\}/);
    assert.match(text, /then: \{"term":4,"activeTerm":4\}/);
  }));
