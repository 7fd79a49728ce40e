/**
 * What `deno test --reporter=tap` says, read back: tests with their outcomes, failures with their texts,
 * also of steps. A report that was cut short says what it has. Test Anything Protocol 14.
 *
 * @module
 */

/** One test of a report. */
export interface TapTest {
  /** Its name. */
  name: string;
  /** What came of it. */
  outcome: "passed" | "failed" | "skipped";
  /** Why it failed; empty when it did not. */
  text: string;
}

const POINT = /^( *)(not )?ok \d+ - (.*?)( # SKIP\b.*)?$/;
const DIAGNOSIS = /^ *(\{"message":.*\})$/;

/** Reads a report: tests of the outermost level. */
export function readTap(report: string): TapTest[] {
  const tests: TapTest[] = [];
  let texts: string[] = [];
  let step = "";
  for (const line of report.split("\n")) {
    const diagnosis = DIAGNOSIS.exec(line);
    if (diagnosis) {
      const text = message(diagnosis[1]!);
      texts.push(step === "" ? text : `${step}: ${text}`);
      if (step !== "" || tests.length === 0) continue;
      tests.at(-1)!.text = texts.join("\n");
      texts = [];
      continue;
    }
    const point = POINT.exec(line);
    if (!point) continue;
    const name = point[3]!.replaceAll("\\#", "#").replaceAll("\\\\", "\\");
    step = point[1] === "" ? "" : name;
    if (step !== "") continue;
    const outcome = point[2] ? "failed" : point[4] ? "skipped" : "passed";
    if (outcome !== "failed") texts = [];
    tests.push({ name, outcome, text: texts.join("\n") });
  }
  return tests;
}

function message(json: string): string {
  try {
    return String(JSON.parse(json).message);
  } catch {
    return json; // cut short
  }
}
