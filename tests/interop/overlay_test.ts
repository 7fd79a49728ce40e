/**
 * Overlays over real namespaces, multicast, tunnels and kills: the X-Bone control protocol end to end. What is
 * left on every box is compared with what was there before.
 */
import assert from "node:assert/strict";
import type { OverlayView } from "../../src/app/overlay/overlay_view.ts";
import { ignoreWithoutNamespaces } from "./netns.ts";
import { GROUP, LAB_TIMERS, OverlayLab } from "./overlay_lab.ts";
import type { Finished } from "./processes.ts";

const ignore = await ignoreWithoutNamespaces();
const TWELVE = [..."abcdefghijkl"];
const FOUR = [..."abcd"];
/** Nothing that leases or teardowns do takes longer. */
const CLEAN_MS = 25_000;

async function lab(boxes: readonly string[], managers: readonly string[]): Promise<OverlayLab> {
  const made = await OverlayLab.create([...boxes, ...managers]);
  await made.keys(boxes, "node");
  await made.keys(managers, "manager");
  return made;
}

function ok(finished: Finished): Finished {
  assert.equal(finished.code, 0, finished.stdout + finished.stderr);
  return finished;
}

async function view(where: OverlayLab, manager: string, name: string): Promise<OverlayView> {
  const { stdout } = ok(await where.ask(manager, "status", name, "--json"));
  return JSON.parse(stdout).overlay;
}

/** Every link is pinged from its first end, and every node of a network from its first one. */
async function pingAll(where: OverlayLab, overlay: OverlayView): Promise<void> {
  const boxOf = new Map(overlay.nodes.map(({ name, node }) => [name, node]));
  for (const { addresses: [near, far], ends: [end] } of overlay.links) {
    ok(await where.on(boxOf.get(end)!, ["ping", "-c1", "-W2", "-I", near, far]));
  }
  for (const { address, network } of overlay.nodes) {
    const first = overlay.nodes.find((node) => node.network === network)!;
    ok(await where.on(first.node, ["ping", "-c1", "-W2", "-I", first.address, address]));
  }
}

/** Waits until the boxes are as they were. */
async function becomesClean(
  where: OverlayLab,
  before: Awaited<ReturnType<OverlayLab["states"]>>,
): Promise<void> {
  const deadline = performance.now() + CLEAN_MS;
  for (const [name, state] of before) {
    for (;;) {
      const now = await where.state(name);
      if (JSON.stringify(now) === JSON.stringify(state)) break;
      if (performance.now() > deadline) assert.deepEqual(now, state, `${name} is as it was`);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

Deno.test({
  name: "twelve boxes become an overlay, a second one beside it, and then nothing is left",
  ignore,
  fn: async () => {
    await using where = await lab(TWELVE, ["om"]);
    const before = await where.states(TWELVE);
    await where.startBoxes(TWELVE);
    await where.startManager("om");
    const ring = where.spec("field", {
      ...{ name: "field", topology: "ring", prefix: "10.100.0.0/16", routers: 12, names: true },
    });
    const planned = ok(await where.ask("om", "plan", ring));
    assert.match(planned.stdout, /12 of 12 boxes that answered/);
    assert.deepEqual(await where.states(TWELVE), before, "a plan touches nothing");

    const started = performance.now();
    ok(await where.ask("om", "apply", ring));
    console.log(`12 boxes in ${((performance.now() - started) / 1000).toFixed(2)} s`);
    const field = await view(where, "om", "field");
    assert.equal(field.state, "ACTIVE");
    assert.equal(field.links.length, 12);
    await pingAll(where, field);
    const hosts = Deno.readTextFileSync(`${where.directory}/a.hosts`);
    assert.match(hosts, /10\.100\.0\.12\tr12\.field/);

    const again = ok(await where.ask("om", "apply", ring));
    assert.match(again.stdout, /nothing was changed/);
    const other = where.spec("field2", {
      ...{ name: "field", topology: "star", prefix: "10.100.0.0/16", routers: 3 },
    });
    const refused = await where.ask("om", "apply", other);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /another one of that name is there.*--replace/);

    const star = where.spec("plant", {
      ...{ name: "plant", topology: "star", prefix: "10.101.0.0/16", rate: "20mbit" },
      nodes: [{ name: "hq", role: "router" }, { name: "x", role: "host" }, {
        name: "y",
        role: "host",
      }, { name: "z", role: "host" }],
    });
    ok(await where.ask("om", "apply", star));
    const plant = await view(where, "om", "plant");
    await pingAll(where, plant);
    await pingAll(where, field);
    assert.match(
      (await where.state(plant.nodes[0]!.node)).qdiscs,
      /tbf .*rate 20Mbit/,
    );

    ok(await where.ask("om", "destroy", "field"));
    await pingAll(where, plant);
    ok(await where.ask("om", "destroy", "plant"));
    await becomesClean(where, before);
    assert.equal(Deno.readTextFileSync(`${where.directory}/a.hosts`), "127.0.0.1 localhost\n");
  },
});

Deno.test({
  name: "a box that is killed in any phase leaves the whole overlay or nothing",
  ignore,
  fn: async (t) => {
    await using where = await lab(FOUR, ["om"]);
    const before = await where.states(FOUR);
    await where.startBoxes(FOUR);
    await where.startManager("om");
    const spec = where.spec("field", {
      ...{ name: "field", topology: "ring", prefix: "10.100.0.0/24", routers: 4 },
    });
    for (const phase of ["DISCOVERY", "WAIT_RD", "CONFIG", "PROBE"]) {
      await t.step(`in ${phase}`, async () => {
        let killed: Promise<void> | null = null;
        const pattern = new RegExp(`^${phase} `);
        const applied = await where.follow(
          "om",
          (line) => {
            if (pattern.test(line)) killed ??= where.kill("c");
          },
          "apply",
          spec,
        );
        await killed;
        if (applied.code === 0) {
          // It was killed when everything was done: the manager knows it by its silence.
          assert.notEqual(killed, null, "the phase was seen");
          await where.ask("om", "destroy", "field");
        } else assert.match(applied.stderr, /Cannot form overlay field/);
        const alive = new Map([...before].filter(([name]) => name !== "c"));
        await becomesClean(where, alive);
        await where.restart("c", "rd");
        await becomesClean(where, before);
      });
    }
    ok(await where.ask("om", "apply", spec));
    await t.step("while it is up, and comes back", async () => {
      await where.kill("c");
      await where.restart("c", "rd");
      await pingAll(where, await view(where, "om", "field"));
    });
    ok(await where.ask("om", "destroy", "field"));
    await becomesClean(where, before);
  },
});

Deno.test({
  name: "a manager that is killed in any phase leaves the whole overlay or nothing",
  ignore,
  fn: async (t) => {
    await using where = await lab(FOUR, ["om"]);
    const before = await where.states(FOUR);
    await where.startBoxes(FOUR);
    await where.startManager("om");
    const spec = where.spec("field", {
      ...{ name: "field", topology: "mesh", prefix: "10.100.0.0/24", routers: 4 },
    });
    for (const phase of ["DISCOVERY", "WAIT_RD", "CONFIG", "PROBE"]) {
      await t.step(`in ${phase}, and comes back`, async () => {
        let killed: Promise<void> | null = null;
        const pattern = new RegExp(`^${phase} `);
        const applied = await where.follow(
          "om",
          (line) => {
            if (pattern.test(line)) killed ??= where.kill("om");
          },
          "apply",
          spec,
        );
        assert.notEqual(killed, null, "the phase was seen");
        await killed;
        await where.restart("om", "om");
        const listed = JSON.parse(ok(await where.ask("om", "status", "--json")).stdout);
        const [overlay] = listed.overlays as OverlayView[];
        if (overlay?.state === "ACTIVE") {
          await pingAll(where, await view(where, "om", "field"));
          ok(await where.ask("om", "destroy", "field"));
        } else assert.equal(applied.code, 1);
        await becomesClean(where, before);
      });
    }
    await t.step("for ever, while it is up: the lease takes everything down", async () => {
      ok(await where.ask("om", "apply", spec));
      await where.kill("om");
      await becomesClean(where, before);
    });
    await t.step("for ever, in CONFIG: nothing is left, too", async () => {
      await where.restart("om", "om");
      let killed: Promise<void> | null = null;
      await where.follow(
        "om",
        (line) => {
          if (line.startsWith("CONFIG")) killed ??= where.kill("om");
        },
        "apply",
        spec,
      );
      await killed;
      await becomesClean(where, before);
    });
    await t.step("and comes back while it is up: it goes on", async () => {
      await where.restart("om", "om");
      // What is known of it is lost on every box, so that it is formed again.
      ok(await where.ask("om", "apply", spec));
      await where.kill("om");
      await where.restart("om", "om");
      await pingAll(where, await view(where, "om", "field"));
      await new Promise((resolve) => setTimeout(resolve, LAB_TIMERS.lease! + 1000));
      await pingAll(where, await view(where, "om", "field"));
      ok(await where.ask("om", "destroy", "field"));
      await becomesClean(where, before);
    });
  },
});

Deno.test({
  name: "overlay on overlay through a sub-manager, and as a share of one overlay",
  ignore,
  fn: async (t) => {
    const west = ["e", "f", "g"];
    const west_group = "239.255.2.66:2650";
    await using where = await lab([...FOUR, ...west], ["om", "omwest"]);
    const all = [...FOUR, ...west];
    const before = await where.states(all);
    await where.startBoxes(FOUR);
    await where.startBoxes(west, { config: { group: west_group } });
    await where.startManager("omwest", { group: west_group, above: GROUP });
    await where.startManager("om");
    for (const mode of ["control", "stacked"]) {
      await t.step(mode, async () => {
        const spec = where.spec(mode, {
          ...{ name: "field", topology: "ring", prefix: "10.100.0.0/16", routers: 3 },
          subs: [{
            ...{ name: "west", mode, topology: "linear", routers: 3 },
            ...(mode === "stacked" ? { prefix: "10.101.0.0/16" } : {}),
          }],
        });
        ok(await where.ask("om", "apply", spec));
        const field = await view(where, "om", "field");
        assert.deepEqual(field.managers, [{ sub: "west", node: "omwest" }]);
        const played = new Set(field.nodes.map(({ node }) => node));
        for (const name of west) assert.ok(played.has(name), `${name} is part of it`);
        await pingAll(where, field);
        if (mode === "stacked") {
          assert.equal(new Set(field.nodes.map(({ network }) => network)).size, 2);
          const riding = field.links.filter(({ mtu }) => mtu < 1450);
          assert.ok(riding.length > 0, "some links ride on the lower network");
        }
        ok(await where.ask("om", "destroy", "field"));
        await becomesClean(where, before);
      });
    }
    await t.step("a sub-manager that is killed leaves nothing", async () => {
      const spec = `${where.directory}/control.spec.json`;
      let killed: Promise<void> | null = null;
      const applied = await where.follow(
        "om",
        (line) => {
          if (line.startsWith("CONFIG")) killed ??= where.kill("omwest");
        },
        "apply",
        spec,
      );
      await killed;
      if (applied.code === 0) await where.ask("om", "destroy", "field");
      await becomesClean(where, before);
    });
  },
});

Deno.test({
  name: "with 30 % of the control packets lost an overlay comes up, or nothing of it does",
  ignore,
  fn: async () => {
    await using where = await lab(FOUR, ["om"]);
    const before = await where.states(FOUR);
    await where.startBoxes(FOUR);
    // Loss takes TCP its time.
    const timers = { ...LAB_TIMERS, invite: 1500, select: 6000, config: 12_000, delete: 6000 };
    await where.startManager("om", { timers: { ...timers, lease: 20_000, refresh: 3000 } });
    const rules = `table inet loss { chain input { type filter hook input priority 0;
      meta l4proto { tcp, udp } th dport != 4789 numgen random mod 10 < 3 drop
      }
    }
`;
    const lossy = await where.on("om", ["nft", "-f", "-"], { stdin: rules });
    assert.equal(lossy.code, 0, lossy.stderr);
    for (const box of FOUR) ok(await where.on(box, ["nft", "-f", "-"], { stdin: rules }));
    const spec = where.spec("field", {
      ...{ name: "field", topology: "ring", prefix: "10.100.0.0/24", routers: 4 },
    });
    const applied = await where.ask("om", "apply", spec);
    console.log(
      `30 % loss: ${applied.code === 0 ? "formed" : applied.stderr.trim().split("\n").at(-1)}`,
    );
    if (applied.code === 0) {
      for (const box of [...FOUR, "om"]) ok(await where.on(box, ["nft", "flush", "ruleset"]));
      await pingAll(where, await view(where, "om", "field"));
      ok(await where.ask("om", "destroy", "field"));
    } else {
      for (const box of [...FOUR, "om"]) ok(await where.on(box, ["nft", "flush", "ruleset"]));
    }
    await becomesClean(where, before);
  },
});
