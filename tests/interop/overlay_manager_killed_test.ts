/** A manager that is killed while it forms an overlay, and while one is up. */
import assert from "node:assert/strict";
import type { OverlayView } from "../../src/app/overlay/overlay_view.ts";
import { ignoreWithoutNamespaces } from "./netns.ts";
import { becomesClean, killedIn, lab, LAB_TIMERS, ok, pingAll, view } from "./overlay_lab.ts";

const ignore = await ignoreWithoutNamespaces();
const FOUR = [..."abcd"];

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
        const { applied, seen } = await killedIn(where, phase, "om", spec);
        assert.ok(seen, "the phase was told");
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
      const { seen } = await killedIn(where, "CONFIG", "om", spec);
      assert.ok(seen, "the phase was told");
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
