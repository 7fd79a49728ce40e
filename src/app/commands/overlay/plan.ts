/**
 * `fairlead overlay plan`: what apply would change.
 *
 * @module
 */
import { command, Exit, parseArgs } from "../../args.ts";
import { helpText } from "../../help.ts";
import type { OverlayPlan } from "../../overlay/overlay_plan.ts";
import { specJsonSchema } from "../../overlay/spec_schema.ts";
import { printable, printableJson } from "../../printable.ts";
import { printError, printLine } from "../../terminal.ts";
import { OVERLAY_ACCESS, specText, withManager } from "./common.ts";

const PLAN = command({
  name: "fairlead overlay plan",
  summary: "Shows what apply would change, per box; nothing is touched",
  description:
    "Asks which boxes are there without reserving any, and designs the overlay. What is to be made begins with\n" +
    "+, what is to be taken away with -. Exit code 1 when it could not be formed now. A box that a sub-manager\n" +
    "would choose is not known before apply.",
  positionals: [{
    name: "SPEC",
    help: "the specification, JSON with comments; - is standard input",
    optional: true,
  }],
  flags: {
    schema: { kind: "boolean", help: "print the JSON Schema of specifications, and end" },
    check: { kind: "boolean", help: "only look at the specification; no manager is asked" },
    ...OVERLAY_ACCESS,
  },
  examples: [
    ["fairlead overlay plan field.jsonc", "Per box what would be made"],
    ["fairlead overlay plan --schema > overlay.schema.json", "For an editor"],
  ],
});

/** Runs the action. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals } = parseArgs(PLAN, words);
  if (help) {
    printLine(helpText(PLAN));
    return Exit.Ok;
  }
  if (flags.schema) {
    printLine(JSON.stringify(specJsonSchema(), null, 2));
    return Exit.Ok;
  }
  const path = positionals[0];
  if (path === undefined) {
    printError('Cannot plan without SPEC: try "fairlead overlay plan --help"');
    return Exit.Usage;
  }
  const spec = await specText(path);
  if (spec === null) return Exit.Usage;
  if (flags.check) {
    printLine(`${path === "-" ? "Standard input" : path} can be used`);
    return Exit.Ok;
  }
  const answer = await withManager(
    flags,
    async (api) => await api.request("plan", { spec: spec.text }),
  );
  const plan = answer.plan as OverlayPlan;
  if (flags.json) printLine(printableJson(plan));
  else for (const line of planLines(plan)) printLine(printable(line));
  return plan.missing.length === 0 ? Exit.Ok : Exit.Failure;
}

function planLines(
  { answered, boxes, drift, managers, missing, name, unchanged }: OverlayPlan,
): string[] {
  if (unchanged) return [`Overlay ${name} is up as specified: nothing would change`];
  const made = boxes.flatMap(({ changes }) => changes).filter((line) => line.startsWith("+"));
  return [
    ...boxes.flatMap(({ changes, hostname, node, plays }) => [
      `${node}${hostname === "" || hostname === node ? "" : ` (${hostname})`}: ` +
      (plays.length === 0 ? "no longer part of it" : plays.join(", ")),
      ...changes.map((line) => `  ${line}`),
    ]),
    ...managers.map(({ node, sub }) => `${node}: would find boxes for ${sub}`),
    ...drift.map((line) => `Would be formed again, as it is not as it was configured: ${line}`),
    ...missing.map((line) => `Missing: ${line}`),
    missing.length > 0
      ? `Overlay ${name} could not be formed now: ${answered} boxes answered`
      : drift.length > 0
      ? `Overlay ${name}: ${boxes.length} of ${answered} boxes that answered; nothing was touched`
      : `Overlay ${name}: ${boxes.length} of ${answered} boxes that answered, ${made.length} changes; ` +
        "nothing was touched",
  ];
}
