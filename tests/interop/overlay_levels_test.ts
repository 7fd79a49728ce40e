/** Overlays of several levels: sub-managers, shares of an overlay, overlay on overlay. */
import assert from "node:assert/strict";
import { ignoreWithoutNamespaces } from "./netns.ts";
import { becomesClean, GROUP, killedIn, lab, ok, pingAll, view } from "./overlay_lab.ts";

const ignore = await ignoreWithoutNamespaces();
const FOUR = [..."abcd"];

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
      const { applied, seen } = await killedIn(where, "CONFIG", "omwest", spec);
      assert.ok(seen, "the phase was told");
      if (applied.code === 0) await where.ask("om", "destroy", "field");
      await becomesClean(where, before);
    });
  },
});
