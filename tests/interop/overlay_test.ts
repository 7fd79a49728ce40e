/**
 * Overlays over real namespaces, multicast and tunnels: the X-Bone control protocol end to end. What is left on
 * every box is compared with what was there before.
 */
import assert from "node:assert/strict";
import { printLine } from "../../src/app/terminal.ts";
import { ignoreWithoutNamespaces } from "./netns.ts";
import { fairlead } from "./paths_program.ts";
import { type Finished, must, run } from "./processes.ts";
import { becomesClean, lab, LAB_TIMERS, ok, pingAll, view } from "./overlay_lab.ts";

const ignore = await ignoreWithoutNamespaces();
const TWELVE = [..."abcdefghijkl"];
const FOUR = [..."abcd"];

/** Discovery waits for its whole ring, which is most of it. */
function tellSeconds({ stdout }: Finished): void {
  printLine(stdout.trim().split("\n").at(-1)!);
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

    for (const routers of [3, 6]) {
      const some = where.spec(`some${routers}`, { name: "some", topology: "ring", routers });
      tellSeconds(ok(await where.ask("om", "apply", some)));
      ok(await where.ask("om", "destroy", "some"));
    }
    tellSeconds(ok(await where.ask("om", "apply", ring)));
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
  name: "with 30 % of the control packets lost an overlay comes up, or nothing of it does",
  ignore,
  fn: async () => {
    await using where = await lab(FOUR, ["om"]);
    const before = await where.states(FOUR);
    await where.startBoxes(FOUR);
    // Loss takes TCP its time.
    const timers = { ...LAB_TIMERS, invite: 1500, select: 6000, config: 12_000, delete: 6000 };
    await where.startManager("om", {
      rings: [1, 2, 3, 4],
      timers: { ...timers, lease: 20_000, refresh: 3000 },
    });
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
    printLine(
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

Deno.test({
  name: "a link that carries nothing undoes the whole overlay, and is named",
  ignore,
  fn: async () => {
    const boxes = FOUR.slice(0, 3);
    await using where = await lab(boxes, ["om"]);
    const before = await where.states(boxes);
    await where.startBoxes(boxes);
    await where.startManager("om");
    const rules = `table inet deaf { chain input { type filter hook input priority 0;
      ip saddr ${where.address("b")} udp dport 4789 drop
      }
    }
`;
    ok(await where.on("c", ["nft", "-f", "-"], { stdin: rules }));
    const nodes = ["a", "b", "c"].map((on) => ({ name: `r${on}`, role: "router", on }));
    const spec = where.spec("field", { name: "field", topology: "ring", nodes });
    const applied = await where.ask("om", "apply", spec);
    assert.equal(applied.code, 1);
    assert.match(
      applied.stderr,
      /in PROBE as node [bc]: .*link rb-rc has 0 of 3 probes answered.*everything was undone/,
    );
    ok(await where.on("c", ["nft", "flush", "ruleset"]));
    await becomesClean(where, before);
  },
});

Deno.test({
  name: "the demonstration shows an overlay, and leaves nothing",
  ignore,
  fn: async () => {
    const namespaces = async (): Promise<Set<string>> =>
      new Set((await must(["ip", "netns", "list"])).match(/fairlead-demo-\S+/g));
    const before = await namespaces();
    const argv = fairlead("overlay", "demo", "--boxes", "3", "--topology", "star", "--once");
    const shown = ok(await run(argv, { deadlineMs: 60_000 }));
    assert.match(shown.stdout, /Overlay demo: ACTIVE, star, 3 nodes, 2 links/);
    assert.deepEqual([...(await namespaces()).difference(before)], []);
  },
});
