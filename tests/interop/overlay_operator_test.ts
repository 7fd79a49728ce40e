/**
 * What an operator may do with overlays before they are up, and what is refused, by name and reason; with real
 * daemons.
 */
import assert from "node:assert/strict";
import type { OverlayView } from "../../src/app/overlay/overlay_view.ts";
import { ignoreWithoutNamespaces } from "./netns.ts";
import {
  becomesClean,
  lab,
  LAB_TIMERS,
  ok,
  type OverlayLab,
  pingAll,
  view,
} from "./overlay_lab.ts";
import { READY_MS } from "./overlay_programs.ts";
import { fairlead } from "./paths_program.ts";
import { Daemon } from "./processes.ts";

const ignore = await ignoreWithoutNamespaces();
const THREE = [..."abc"];
const STATUS = { status: { listen: "127.0.0.1:8711" } };

/** What a daemon says of the overlays of its box: states of its responders. */
async function states(where: OverlayLab, box: string): Promise<string[]> {
  const { stdout } = ok(await where.on(box, fairlead("top", "--once", "--json")));
  const { overlay } = JSON.parse(stdout);
  return overlay.resource.overlays.map(({ state }: { state: string }) => state);
}

async function become(
  where: OverlayLab,
  boxes: readonly string[],
  wanted: readonly string[],
): Promise<void> {
  const deadline = performance.now() + READY_MS;
  for (const box of boxes) {
    for (;;) {
      const now = await states(where, box);
      if (JSON.stringify(now) === JSON.stringify(wanted)) break;
      if (performance.now() > deadline) assert.deepEqual(now, wanted, box);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

Deno.test({
  name: "an overlay in two steps, given up, replaced, and refused by name and reason",
  ignore,
  fn: async (t) => {
    await using where = await lab(THREE, ["om", "rival", "brief"]);
    const before = await where.states(THREE);
    const acl = [{ manager: "riv*", access: "none" }, { manager: "*" }];
    await where.startBoxes(["a", "b"], { config: { acl, ...STATUS } });
    await where.startBoxes(["c"], { config: { acl, ...STATUS, refusals: false } });
    await where.startManager("om");
    await where.startManager("rival");
    await where.startManager("brief", { timers: { ...LAB_TIMERS, invite: 1500, user: 4000 } });
    const ring = { name: "ring", topology: "ring", routers: 3 };
    const spec = where.spec("ring", ring);
    const hold = async (manager: string): Promise<void> => {
      const held = ok(await where.ask(manager, "apply", "--hold", spec));
      assert.match(held.stdout, /Overlay ring is committed .*overlay config ring/);
      for (const box of THREE) assert.deepEqual(await states(where, box), ["COMMITTED"]);
      assert.deepEqual(await where.states(THREE), before, "nothing is configured");
    };

    await t.step("held, then configured", async () => {
      await hold("om");
      const waits = ok(await where.ask("om", "status"));
      assert.match(waits.stdout, /ring +READY/);
      ok(await where.ask("om", "config", "ring"));
      await pingAll(where, await view(where, "om", "ring"));
      const twice = await where.ask("om", "config", "ring");
      assert.equal(twice.code, 1);
      assert.match(twice.stderr, /Cannot configure overlay ring as it must be READY: .* ACTIVE/);
      const cancelled = await where.ask("om", "cancel", "ring");
      assert.match(cancelled.stderr, /Cannot cancel overlay ring as it is ACTIVE: .* destroy ring/);
    });

    await t.step(
      "another of its name or of its addresses is refused, and may replace it",
      async () => {
        const other = where.spec("other", { ...ring, topology: "linear" });
        const refused = await where.ask("om", "apply", other);
        assert.equal(refused.code, 1);
        assert.match(refused.stderr, /another one of that name is there: .*--replace/);
        const same = where.spec("same", { ...ring, name: "same" });
        const taken = await where.ask("om", "apply", same);
        assert.equal(taken.code, 1);
        assert.match(
          taken.stderr,
          /same in CONFIG as node [abc]: .* overlay ring is on this box and has 10\.100\.0\.0\/16, use another/,
        );
        await pingAll(where, await view(where, "om", "ring"));
        ok(await where.ask("om", "apply", "--replace", other));
        const replaced = await view(where, "om", "ring");
        assert.deepEqual([replaced.topology, replaced.links.length], ["linear", 2]);
        ok(await where.ask("om", "destroy", "ring"));
        await become(where, THREE, []);
        assert.deepEqual(await where.states(THREE), before);
      },
    );

    await t.step("held, then cancelled, or forgotten by its user", async () => {
      await hold("om");
      ok(await where.ask("om", "cancel", "ring"));
      await become(where, THREE, []);
      await hold("brief");
      await become(where, THREE, []);
      assert.match(ok(await where.ask("brief", "status")).stdout, /No overlays/);
      const late = await where.ask("brief", "config", "ring");
      assert.match(late.stderr, /Cannot find overlay: current value is "ring", there is none/);
    });

    await t.step("Ctrl-C gives up, with and without progress", async () => {
      for (const words of [[], ["--quiet"]]) {
        const argv = fairlead(
          "overlay",
          "apply",
          spec,
          ...words,
          "--socket",
          where.socket("brief"),
        );
        await using apply = Daemon.start(argv, `${where.directory}/apply${words.length}`);
        await apply.until(
          "it is being formed",
          async () => /ring +[A-Z]/.test((await where.ask("brief", "status")).stdout),
          READY_MS,
        );
        await apply.stop("SIGINT");
        assert.equal(await apply.exited, 1);
        assert.match(apply.output(), /Giving up/);
        assert.match(
          apply.output(),
          /ring in [A-Z_]+ as .*cancelled by the operator; everything/,
        );
      }
      await become(where, THREE, []);
    });

    await t.step(
      "who is not allowed hears why where boxes say so; too few are counted",
      async () => {
        const rival = await where.ask("rival", "apply", spec);
        assert.equal(rival.code, 1);
        assert.match(rival.stderr, /0 of 3 routers/);
        for (const box of ["a", "b"]) {
          assert.match(
            rival.stderr,
            new RegExp(`${box}: .*the ACL refuses manager rival \\(rule riv`),
          );
        }
        assert.doesNotMatch(rival.stderr, /\bc: /);
        const many = where.spec("many", { ...ring, routers: 9 });
        const few = await where.ask("om", "apply", many);
        assert.equal(few.code, 1);
        assert.match(few.stderr, /3 of 9 routers/);
        const unknown = await where.ask("om", "destroy", "plant");
        assert.equal(unknown.code, 1);
        assert.match(
          unknown.stderr,
          /Cannot find overlay: current value is "plant", there is none/,
        );
      },
    );
    await t.step("a box that is away when it is destroyed is named until it is clean", async () => {
      ok(await where.ask("om", "apply", spec));
      await where.kill("c");
      const away = await where.ask("om", "status", "ring", "--json");
      assert.equal(away.code, 1);
      const { links, nodes } = JSON.parse(away.stdout).overlay as OverlayView;
      assert.deepEqual(nodes.map(({ node, silent }) => [node, silent]).sort(), [
        ["a", false],
        ["b", false],
        ["c", true],
      ]);
      const isOf = (
        { node, name }: OverlayView["nodes"][number],
        ends: readonly string[],
      ): boolean => node === "c" && ends.includes(name);
      for (const { answered, ends, rttUs, sent } of links) {
        // Its kernel lives and answers; nobody asks from there.
        const count = nodes.some((node) => isOf(node, ends)) ? 3 : 6;
        assert.deepEqual([sent, answered], [count, count]);
        assert.ok(rttUs! > 0);
      }
      const again = ok(await where.ask("om", "apply", spec));
      assert.match(again.stdout, /ring is up: nothing was changed, but c did not answer/);
      const destroyed = await where.ask("om", "destroy", "ring");
      assert.equal(destroyed.code, 1);
      assert.match(destroyed.stderr, /Overlay ring is gone, but c did not answer/);
      const told = await where.ask("om", "status", "ring");
      assert.equal(told.code, 1);
      assert.match(told.stdout, /^Overlay ring: IDLE[^]*^Left over on c: it did not answer$/m);
      const twice = await where.ask("om", "destroy", "ring");
      assert.match(twice.stderr, /Cannot find overlay: current value is "ring", there is none/);
      await where.restart("c", "rd");
      await becomesClean(where, before);
    });
    await becomesClean(where, before);
  },
});
