/**
 * `fairlead sniff measure`: what marks at message starts are worth on this kernel, as tables.
 *
 * @module
 */
import { command, Exit, parseArgs, UsageError } from "../../args.ts";
import { helpText } from "../../help.ts";
import { Progress } from "../../progress.ts";
import { printableJson } from "../../printable.ts";
import { onEarlyStop } from "../../signals.ts";
import { printError, printLine } from "../../terminal.ts";
import { UrgentLab } from "../../sniff/urgent_lab.ts";
import {
  quickPlan,
  runTrial,
  type Trial,
  type TrialResult,
  wholePlan,
} from "../../sniff/urgent_measure.ts";
import { urgentTables } from "../../sniff/urgent_tables.ts";

const MEASURE = command({
  name: "fairlead sniff measure",
  summary: "Measures in two network namespaces what marks at message starts are worth",
  description:
    "A sender and a receiver in namespaces of their own, joined by a veth pair: messages with pauses, as fast\n" +
    "as it goes, and behind 100 Mbit/s, marked in three ways, with both settings of tcp_stdurg, while the\n" +
    "wire is captured. It needs root, ip and tc, touches nothing else, takes a minute or two, and removes\n" +
    "what it made. Tables are Markdown: how many message starts some segment names, how many a receiver\n" +
    "sees, what an ordinary receiver loses, what marks cost, and what the document's rule finds.",
  flags: {
    quick: { kind: "boolean", help: "two sizes and two modes: some 10 seconds" },
    json: { kind: "boolean", help: "print all results as JSON rather than tables" },
    output: { kind: "text", short: "o", value: "FILE", help: "write to FILE" },
  },
  examples: [
    ["fairlead sniff measure", "All tables"],
    ["fairlead sniff measure --quick --json", "A few results, for a program"],
  ],
});

/** 128 + SIGINT, as shells have it. */
const EXIT_INTERRUPTED = 130;

/** Runs the action; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  const { flags, help } = parseArgs(MEASURE, words);
  if (help) {
    printLine(helpText(MEASURE));
    return Exit.Ok;
  }
  if (flags.output !== undefined) checkWritable(flags.output);
  const plan = flags.quick ? quickPlan() : wholePlan();
  const results = await measure(plan);
  if (results === null) return EXIT_INTERRUPTED;
  const kernel = Deno.osRelease();
  const text = flags.json
    ? printableJson({ kernel, results })
    : `Linux ${kernel}\n\n${urgentTables(results)}`;
  if (flags.output === undefined) printLine(text);
  else {
    await Deno.writeTextFile(flags.output, `${text}\n`);
    printError(`Wrote ${flags.output}`);
  }
  return Exit.Ok;
}

/** Runs the plan in a laboratory of its own; null when a signal ended it. */
async function measure(plan: readonly Trial[]): Promise<TrialResult[] | null> {
  const lab = UrgentLab.plan();
  const building = lab.build();
  const interrupt = new AbortController();
  const settled = onEarlyStop(async () => {
    interrupt.abort();
    await building.catch(() => {}); // what is made meanwhile is removed too
    await lab.remove();
  });
  const progress = new Progress(plan.length, "trials");
  const results: TrialResult[] = [];
  try {
    await building;
    for (const trial of plan) {
      progress.update(results.length);
      results.push(await runTrial(lab, trial, interrupt.signal));
    }
    return results;
  } catch (error) {
    if (interrupt.signal.aborted) return null;
    throw error;
  } finally {
    progress.end(results.length);
    await lab.remove();
    settled();
  }
}

/** Two minutes are long to find out that the directory is missing. */
function checkWritable(path: string): void {
  try {
    Deno.openSync(path, { write: true, create: true }).close();
  } catch (error) {
    throw new UsageError(`Cannot write ${path}: ${(error as Error).message}`);
  }
}
