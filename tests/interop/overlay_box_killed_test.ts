/** A box that is killed while an overlay is formed, and while it is up. */
import assert from "node:assert/strict";
import { ignoreWithoutNamespaces } from "./netns.ts";
import { becomesClean, killedIn, lab, ok, pingAll, view } from "./overlay_lab.ts";

const ignore = await ignoreWithoutNamespaces();
const FOUR = [..."abcd"];

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
        const { applied, seen } = await killedIn(where, phase, "c", spec);
        assert.ok(seen, "the phase was told");
        if (applied.code === 0) {
          // It was killed when everything was done: the manager knows it by its silence.
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
