/** The laboratory of user-mode Linux: what it reports, and that a guest never outlives its time. */
import assert from "node:assert/strict";
import { ignoreWithoutUml } from "./debian_peers.ts";
import { runInUml, testInUml } from "./uml_lab.ts";
import { readTap } from "./uml_tap.ts";

const ignore = await ignoreWithoutUml();

async function inDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = Deno.makeTempDirSync({ prefix: "fairlead-uml-test-" });
  try {
    await run(directory);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

/** Processes whose command line names a directory. */
function processesOf(directory: string): string[] {
  return [...Deno.readDirSync("/proc")].map(({ name }) => name).filter((name) => {
    try {
      return /^\d+$/.test(name) &&
        Deno.readTextFileSync(`/proc/${name}/cmdline`).includes(directory);
    } catch {
      return false; // it ended meanwhile
    }
  });
}

Deno.test(
  "a guest hands back the exit status and the words of its command",
  { ignore },
  async () => {
    await inDirectory(async (directory) => {
      const end = await runInUml(directory, 'echo "processes: $$"; (exit 7)');
      assert.equal(end.code, 7, end.console);
      assert.match(end.console, /^processes: \d+$/m);
      assert.doesNotMatch(end.console, /a module is missing/);
      assert.deepEqual(processesOf(directory), []);
    });
  },
);

Deno.test("a guest that does not end is ended, and none of its processes is left", {
  ignore,
}, async () => {
  await inDirectory(async (directory) => {
    const end = await runInUml(directory, "echo begun; sleep 100", { deadlineMs: 5000 });
    assert.equal(end.code, null);
    assert.match(end.console, /^begun$/m);
    assert.deepEqual(processesOf(directory), []);
  });
});

const FILES = {
  good: 'Deno.test("good", () => {});\nDeno.test({ name: "left out", ignore: true, fn() {} });',
  bad: 'Deno.test("bad", () => { throw new Error("because"); });\nDeno.test("fine", () => {});',
  broken: 'import "./absent.ts";',
  empty: "export {};",
};

Deno.test("each test inside is told, and each file that did not load or had none", {
  ignore,
}, async () => {
  await inDirectory(async (directory) => {
    const files = Object.entries(FILES).map(([name, text]) => {
      const path = `${directory}/${name}_test.ts`;
      Deno.writeTextFileSync(path, text);
      return path;
    });
    const { tests, broken } = await testInUml(files);
    assert.deepEqual(tests.map(({ name, outcome }) => `${name} ${outcome}`), [
      ...["good passed", "left out skipped", "bad failed", "fine passed"],
    ]);
    assert.match(tests[2]!.text, /^Error: because/);
    assert.deepEqual(broken.map(({ what }) => what.replace(/^.*\//, "")), [
      "broken_test.ts: status 1 after 0 tests",
      "empty_test.ts: status 0 after 0 tests",
    ]);
    assert.match(broken[0]!.text, /absent/);
  });
});

const REPORT = String.raw`TAP version 14
ok 1 - plain
# Subtest: has \# and \\ in it
    not ok 1 - inner
      ---
      {"message":"Error: one\n    at x","severity":"fail"}
      ...
    1..1
not ok 2 - has \# and \\ in it
  ---
  {"message":"1 test step failed.","severity":"fail"}
  ...
ok 3 - left out # SKIP
not ok 4 - cut
  ---
  {"message":"Err`;

Deno.test("readTap() has every test with its text, and of a report cut short what there is", () => {
  assert.deepEqual(readTap(REPORT), [
    { name: "plain", outcome: "passed", text: "" },
    {
      name: "has # and \\ in it",
      outcome: "failed",
      text: "inner: Error: one\n    at x\n1 test step failed.",
    },
    { name: "left out", outcome: "skipped", text: "" },
    { name: "cut", outcome: "failed", text: "" },
  ]);
  assert.deepEqual(readTap(""), []);
});
