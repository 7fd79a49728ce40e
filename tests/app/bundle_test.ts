/**
 * The command as one file of `deno bundle`, run elsewhere than in its sources. The bundler is fetched
 * once; where it cannot be had the test is left out, but not in CI.
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { checkAll } from "../../src/app/checks.ts";
import type { Check } from "../../src/app/check.ts";
import { GATEWAY_SCHEMA } from "../../src/app/config/gateway_config.ts";
import { jsonSchema } from "../../src/app/config/json_schema.ts";
import { smokeTest } from "../../src/app/smoke.ts";
import { versionText } from "../../src/app/version.ts";

const MAIN = fileURLToPath(import.meta.resolve("../../src/main.ts"));
const SMALL = fileURLToPath(import.meta.resolve("../../src/app/version.ts"));
const WAIT_MS = 60_000;

const ignore = Deno.env.get("CI") !== "true" && !(await deno("bundle", "--quiet", SMALL)).success;

async function deno(...args: string[]): Promise<Deno.CommandOutput> {
  return await new Deno.Command(Deno.execPath(), {
    args,
    env: { NO_COLOR: "1" },
    stdin: "null",
    signal: AbortSignal.timeout(WAIT_MS),
  }).output();
}

Deno.test({
  name: "the bundled file passes the proof of a binary, and answers as the sources do",
  ignore,
  fn: async (t) => {
    const folder = await Deno.makeTempDir();
    const bundle = `${folder}/fairlead.js`;
    const decoder = new TextDecoder();
    const bundled = await deno("bundle", "--quiet", "-o", bundle, MAIN);
    assert.ok(bundled.success, decoder.decode(bundled.stderr));
    const fairlead = async (...words: string[]): Promise<{ code: number; stdout: string }> => {
      const { code, stdout } = await deno("run", "--quiet", "-A", bundle, ...words);
      return { code, stdout: decoder.decode(stdout) };
    };
    await t.step("--version, and a gateway for three seconds", async () => {
      const program = [Deno.execPath(), "run", "--quiet", "-A", bundle];
      await smokeTest({ program, version: versionText(), runMs: 3000, stepMs: 20_000 });
    });
    await t.step("gateway --schema", async () => {
      const { code, stdout } = await fairlead("gateway", "--schema");
      assert.equal(code, 0);
      const schema = jsonSchema(GATEWAY_SCHEMA, "fairlead gateway");
      assert.deepEqual(JSON.parse(stdout), JSON.parse(JSON.stringify(schema)));
    });
    await t.step("doctor --json", async () => {
      const { code, stdout } = await fairlead("doctor", "--json");
      const { ok, version, checks } = JSON.parse(stdout);
      assert.equal(code, ok ? 0 : 1);
      assert.equal(version, versionText());
      const names = (all: Check[]): string[] => all.map(({ name }) => name);
      assert.deepEqual(names(checks), names(checkAll("auto")));
    });
    await t.step("gateway --print-unit names the bundled file", async () => {
      const { code, stdout } = await fairlead("gateway", "--print-unit");
      assert.equal(code, 0);
      assert.match(stdout, new RegExp(`^ExecStart=.* ${RegExp.escape(bundle)} gateway$`, "m"));
    });
    await Deno.remove(folder, { recursive: true });
  },
});
