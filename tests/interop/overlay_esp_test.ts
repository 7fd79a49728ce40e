/** An overlay with IPsec where the kernel has no ESP: who refuses, and why. With ESP it is in tests/kernel. */
import assert from "node:assert/strict";
import { espCapable } from "../../src/app/overlay/node/association_step.ts";
import { ignoreWithoutNamespaces } from "./netns.ts";
import { lab } from "./overlay_lab.ts";

const ignore = await ignoreWithoutNamespaces() || espCapable("");

Deno.test({
  name: "a box whose kernel has no ESP is named with the reason, and nothing is touched",
  ignore,
  fn: async () => {
    const boxes = ["a", "b"];
    await using where = await lab(boxes, ["om"]);
    const before = await where.states(boxes);
    await where.startBoxes(boxes);
    await where.startManager("om");
    const spec = where.spec("field", {
      ...{ name: "field", topology: "linear", prefix: "10.100.0.0/24", routers: 2, ipsec: true },
    });
    const planned = await where.ask("om", "plan", spec);
    assert.equal(planned.code, 1);
    assert.match(planned.stdout, /[ab] as it must offer esp for link r1-r2: it offers /);
    const applied = await where.ask("om", "apply", spec);
    assert.equal(applied.code, 1);
    for (const box of boxes) {
      const reason = `${box}: Cannot encrypt as this box does not offer it: needed is esp`;
      assert.ok(applied.stderr.includes(reason), applied.stderr);
    }
    assert.match(applied.stderr, /everything was undone/);
    assert.deepEqual(await where.states(boxes), before);
  },
});
