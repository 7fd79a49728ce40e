/**
 * The tests of tests/kernel, run in user-mode Linux with ESP; each of them is a test here. With CI=true
 * it fails where there is no user-mode Linux.
 *
 * @module
 */
import assert from "node:assert/strict";
import { ignoreWithoutUml } from "./debian_peers.ts";
import { testInUml, type UmlReport } from "./uml_lab.ts";

const FOLDER = new URL("../kernel/", import.meta.url).pathname;
const DEADLINE_MS = 400_000;
/** Each has one processor, and files of tests wait much of their time. */
const GUESTS = 2;

const ignore = await ignoreWithoutUml();
const report = await runAll();

Deno.test("user-mode Linux runs every file of tests/kernel to its end", { ignore }, () => {
  assert.deepEqual(report.broken, []);
  assert.ok(report.tests.length > 0);
});

for (const { file, name, outcome, text } of report.tests) {
  Deno.test(`${file}: ${name}`, { ignore: outcome === "skipped" }, () => {
    assert.equal(outcome, "passed", text);
  });
}

/** Before the first test, as their names come from there; what goes wrong is for the first to say. */
async function runAll(): Promise<UmlReport> {
  if (ignore) return { tests: [], broken: [] };
  const names = [...Deno.readDirSync(FOLDER)].map(({ name }) => name);
  const files = names.filter((name) => name.endsWith("_test.ts")).sort();
  const dealt = Array.from(
    { length: GUESTS },
    (_, guest) => files.filter((_, index) => index % GUESTS === guest).map((name) => FOLDER + name),
  );
  try {
    const run = (files: string[]): Promise<UmlReport> =>
      testInUml(files, { deadlineMs: DEADLINE_MS });
    const reports = await Promise.all(dealt.map(run));
    return {
      tests: reports.flatMap(({ tests }) => tests),
      broken: reports.flatMap(({ broken }) => broken),
    };
  } catch (error) {
    return { tests: [], broken: [{ what: "user-mode Linux", text: String(error) }] };
  }
}
