/**
 * Application scripts of overlays, on real boxes: where they may run, as whom, and what becomes of an overlay
 * whose script fails.
 */
import assert from "node:assert/strict";
import { ignoreWithoutNamespaces } from "./netns.ts";
import { becomesClean, lab, ok } from "./overlay_lab.ts";
import { deno, said, serve } from "./overlay_programs.ts";
import type { Finished } from "./processes.ts";

const ignore = await ignoreWithoutNamespaces();
const FOUR = [..."abcd"];

const DEMO = {
  name: "demo",
  topology: "linear",
  nodes: [{ name: "n1", on: "a" }, { name: "n2", on: "b" }],
};

Deno.test({
  name:
    "a script runs where the box's own configuration allows it, as nobody and without capabilities",
  ignore,
  fn: async (t) => {
    await using where = await lab(FOUR, ["om"]);
    // Its user must get to its copy.
    Deno.chmodSync(where.directory, 0o755);
    const folder = `${where.directory}/scripts`;
    Deno.mkdirSync(folder, { mode: 0o755 });
    const open = `${where.directory}/open`;
    Deno.mkdirSync(open);
    Deno.chmodSync(open, 0o777);
    const good = `#!/bin/sh
exec >>${open}/$NODE.$1
env | sort
id -u
grep -E "Cap|NoNewPrivs" /proc/self/status
`;
    const scripts = {
      good,
      bad: "#!/bin/sh\n[ $1 = stop ] && exit 0\necho the disk is full >&2\nexit 3\n",
      slow: "#!/bin/sh\n[ $1 = stop ] && exit 0\necho I begin\nsleep 60\n",
    };
    for (const [name, text] of Object.entries(scripts)) {
      Deno.writeTextFileSync(`${folder}/${name}`, text, { mode: 0o755 });
    }
    const before = await where.states(FOUR);
    const script = { folder, user: "nobody", deadlineSeconds: 5 };
    await where.startBoxes(["a", "b"], { config: { script: { ...script, urls: true } } });
    await where.startBoxes(["c"], { config: { script } });
    await where.startBoxes(["d"]);
    await where.startManager("om");
    const apply = async (script: object, ...on: string[]): Promise<Finished> => {
      const nodes = on.map((box, at) => ({ name: `n${at + 1}`, on: box }));
      const spec = where.spec("demo", {
        ...{ ...DEMO, nodes, script: { name: "demo", deadlineSeconds: 1, ...script } },
      });
      return await where.ask("om", "apply", spec);
    };
    const refuses = async (pattern: RegExp, script: object, ...on: string[]): Promise<void> => {
      const refused = await apply(script, ...on);
      assert.equal(refused.code, 1, refused.stdout);
      assert.match(refused.stderr, pattern);
      assert.match(refused.stderr, /everything was undone/);
      assert.deepEqual(await where.states(FOUR), before);
    };

    const check = (name: string, lines: readonly string[]): void => {
      const text = Deno.readTextFileSync(`${open}/${name}`);
      for (const line of [...lines, "OVERLAY=demo", "65534", "NoNewPrivs:\t1"]) {
        assert.ok(text.includes(`${line}\n`), `${line}\n${text}`);
      }
      const sets = [...text.matchAll(/^Cap\w+:\t(\w+)$/gm)].map(([, bits]) => bits);
      assert.deepEqual(sets, Array(5).fill("0".repeat(16)));
      // Nothing of the daemon's own.
      assert.deepEqual(
        [...text.matchAll(/^([A-Z_]+)=/gm)].map(([, variable]) => variable),
        ["ADDRESS", "EPOCH", "HOME", "LC_ALL", "NODE", "OVERLAY", "PATH", "PWD", "VISIT", "VISITS"],
      );
    };

    await t.step("not where it is off, and not what is not there", async () => {
      await refuses(
        /Cannot form .* d is needed for n2 and did not answer; refused by d: Cannot run a script/,
        { script: "good" },
        ..."ad",
      );
      await refuses(
        /in CONFIG as node [ab]: script demo: .*this box has no such script/,
        { script: "missing" },
        ..."ab",
      );
    });

    await t.step("it starts, and stops when the overlay is destroyed", async () => {
      ok(await apply({ script: "good" }, ..."ab"));
      check("a.start", ["VISIT=n1", "ADDRESS=10.100.0.1", "VISITS=n1=10.100.0.1", "NODE=a"]);
      check("b.start", ["VISIT=n2", "ADDRESS=10.100.0.2"]);
      assert.throws(() => Deno.statSync(`${open}/a.stop`));
      ok(await where.ask("om", "destroy", "demo"));
      check("a.stop", ["VISIT=n1"]);
      check("b.stop", ["VISIT=n2"]);
      await becomesClean(where, before);
    });

    await t.step("one that fails or takes too long fails the overlay, and is quoted", async () => {
      await refuses(
        /demo in CONFIG as node [ab]: .*ended with 3: it said "the disk is full"/,
        { script: "bad" },
        ..."ab",
      );
      await refuses(
        /demo in CONFIG as node [ab]: .*did not end within 1000 ms and was killed: it said "I begin"/,
        { script: "slow" },
        ..."ab",
      );
    });

    await t.step("from a URL with its hash only, where the box allows that", async () => {
      await using server = serve(
        where,
        "om",
        deno(where, `Deno.serve({ port: 8000 }, () => new Response(${JSON.stringify(good)}));`),
      );
      await said(server, /Listening/);
      const url = `http://${where.address("om")}:8000/good`;
      const hash = new Uint8Array(
        await crypto.subtle.digest("SHA-256", new TextEncoder().encode(good)),
      ).toHex();
      const without = where.spec("demo", { ...DEMO, script: { name: "demo", url } });
      for (const words of [["plan", without], ["plan", "--check", without], ["apply", without]]) {
        const refused = await where.ask("om", ...words);
        assert.equal(refused.code, 2);
        assert.match(refused.stderr, /nobody runs what comes from a URL without its SHA-256/);
      }
      const wrong = hash.replace(/^./, (digit) => digit === "0" ? "1" : "0");
      await refuses(
        new RegExp(`as node [ab]: .*SHA-256 must be ${wrong}: current value is ${hash};`),
        { url, sha256: wrong },
        ..."ab",
      );
      await refuses(/as node c: .*this box fetches no scripts/, { url, sha256: hash }, ..."ac");
      for (const { name } of Deno.readDirSync(open)) Deno.removeSync(`${open}/${name}`);
      ok(await apply({ url, sha256: hash }, ..."ab"));
      check("a.start", ["VISIT=n1"]);
      check("b.start", ["VISIT=n2"]);
      ok(await where.ask("om", "destroy", "demo"));
    });
    await becomesClean(where, before);
  },
});
