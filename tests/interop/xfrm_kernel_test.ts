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
/** How long files take, so that the guests end together; a file that is not named is a short one. */
const SECONDS: Readonly<Record<string, number>> = {
  "overlay_daemons_test.ts": 50,
  "overlay_ipsec_test.ts": 18,
  "standby_fencing_test.ts": 53,
  "standby_mirror_test.ts": 30,
  "standby_rounds_test.ts": 73,
  "standby_scale_test.ts": 44,
  "standby_strongswan_test.ts": 47,
  "standby_takeover_test.ts": 41,
  "strongswan_lab_test.ts": 28,
};
const SHORT_SECONDS = 6;

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
  const dealt = deal(names.filter((name) => name.endsWith("_test.ts")).sort());
  try {
    const run = (files: string[]): Promise<UmlReport> =>
      testInUml(files, { deadlineMs: DEADLINE_MS });
    const reports = await Promise.all(
      dealt.map((names) => run(names.map((name) => FOLDER + name))),
    );
    return {
      tests: reports.flatMap(({ tests }) => tests),
      broken: reports.flatMap(({ broken }) => broken),
    };
  } catch (error) {
    return { tests: [], broken: [{ what: "user-mode Linux", text: String(error) }] };
  }
}

/** The longest first, each to the guest that has the least to do. */
function deal(names: readonly string[]): string[][] {
  const secondsOf = (name: string): number => SECONDS[name] ?? SHORT_SECONDS;
  const guests = Array.from({ length: GUESTS }, () => ({ names: [] as string[], seconds: 0 }));
  for (const name of names.toSorted((a, b) => secondsOf(b) - secondsOf(a))) {
    const least = guests.reduce((best, guest) => guest.seconds < best.seconds ? guest : best);
    least.names.push(name);
    least.seconds += secondsOf(name);
  }
  return guests.map((guest) => guest.names);
}
