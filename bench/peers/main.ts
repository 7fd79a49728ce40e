/**
 * `deno task bench:peers [--only FAMILY,…] [--rounds N] [--charts] [--json]`: Fairlead beside its
 * peers on this machine, in this run, as one table. Peers come from npm or from Debian packages
 * when the run needs them; npm's go into a temporary directory. The exit status is 1 when a bar
 * was missed or could not be measured.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { printError, printLine } from "../../src/app/terminal.ts";
import { crc32cFamily } from "./crc32c.ts";
import type { Context, Family } from "./family.ts";
import { footprintFamily } from "./footprint.ts";
import { gatewayFamily } from "./gateway.ts";
import { type Machine, machineText, readMachine, watchOthers } from "./machine.ts";
import { oneWayFamily } from "./one_way.ts";
import { pathsFamily } from "./paths.ts";
import { requestReplyFamily } from "./request_reply.ts";
import { secureFamily } from "./secure.ts";
import { type Row, summaryText, tableText } from "./table.ts";

const FAMILIES: readonly Family[] = [
  crc32cFamily,
  requestReplyFamily,
  secureFamily,
  oneWayFamily,
  footprintFamily,
  gatewayFamily,
  pathsFamily,
];

const ROUNDS = 5;
const CHARTS = new URL("../charts/", import.meta.url);
/** More than this of the CPU, and the figures are of another machine. */
const OTHERS_MAX = 0.05;
/** 128 and the number of SIGINT, as a shell has it. */
const INTERRUPTED = 130;

/** How the run of a family went. */
interface Outcome {
  family: string;
  rows: Row[];
  /** Why there are no rows; null when there are. */
  failure: string | null;
  seconds: number;
  /** Share of the CPU that other programs used meanwhile. */
  others: number;
}

if (import.meta.main) Deno.exit(await main(Deno.args));

async function main(words: string[]): Promise<number> {
  const flags = readFlags(words);
  if (typeof flags === "string") {
    printError(flags);
    return 2;
  }
  if (flags.help) {
    printLine(helpText());
    return 0;
  }
  const machine = readMachine();
  if (!flags.json) printLine(machineText(machine));
  const outcomes: Outcome[] = [];
  for (const family of flags.families) outcomes.push(await measure(family, flags));
  if (flags.json) printLine(JSON.stringify(reportJson(machine, outcomes), null, 2));
  else printLine(reportText(outcomes));
  const held = ({ rows, failure }: Outcome): boolean =>
    failure === null && rows.every(({ verdict }) => verdict !== "missed");
  return outcomes.every(held) ? 0 : 1;
}

async function measure(family: Family, { rounds, charts }: Flags): Promise<Outcome> {
  const started = performance.now();
  const others = watchOthers();
  let rows: Row[] = [];
  let failure: string | null = null;
  try {
    rows = await runFamily(family, rounds, charts);
  } catch (error) {
    failure = error instanceof Error ? error.message : String(error);
    printError(failureText(family.name, failure));
  }
  const seconds = (performance.now() - started) / 1000;
  return { family: family.name, rows, failure, seconds, others: others() };
}

/** Runs one family with a directory of its own, which goes even when the run is interrupted. */
async function runFamily(family: Family, rounds: number, charts: boolean): Promise<Row[]> {
  const directory = await Deno.makeTempDir({ prefix: "fairlead_peers_" });
  const remove = (): void => Deno.removeSync(directory, { recursive: true });
  const interrupt = (): never => {
    remove();
    Deno.exit(INTERRUPTED);
  };
  Deno.addSignalListener("SIGINT", interrupt);
  const say = (line: string): void => printError(`${family.name}: ${line}`);
  const chart = async (name: string, svg: string): Promise<void> => {
    if (!charts) return;
    await Deno.mkdir(CHARTS, { recursive: true });
    await Deno.writeTextFile(new URL(`${name}.svg`, CHARTS), svg);
    say(`bench/charts/${name}.svg`);
  };
  const context: Context = { rounds, say, directory, charts, chart };
  try {
    return await family.run(context);
  } finally {
    Deno.removeSignalListener("SIGINT", interrupt);
    remove();
  }
}

// ---- the command line

interface Flags {
  families: readonly Family[];
  rounds: number;
  charts: boolean;
  json: boolean;
  help: boolean;
}

/** The flags, or what is wrong with them. */
function readFlags(words: string[]): Flags | string {
  try {
    const { values } = parseArgs({
      args: words,
      options: {
        only: { type: "string" },
        rounds: { type: "string", default: `${ROUNDS}` },
        charts: { type: "boolean", default: false },
        json: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    });
    const { charts, json, help } = values;
    return { families: select(values.only), rounds: readRounds(values.rounds), charts, json, help };
  } catch (error) {
    return (error as Error).message;
  }
}

function select(only: string | undefined): readonly Family[] {
  if (only === undefined) return FAMILIES;
  return only.split(",").map((name) => {
    const family = FAMILIES.find((each) => each.name === name);
    if (family !== undefined) return family;
    const known = FAMILIES.map((each) => each.name).join(", ");
    throw new Error(`Cannot measure --only ${name} as the families are ${known}`);
  });
}

function readRounds(text: string): number {
  const rounds = Number(text);
  if (Number.isInteger(rounds) && rounds >= 1) return rounds;
  throw new Error(`Cannot take --rounds as it must be a whole number from 1: it is ${text}`);
}

function helpText(): string {
  const width = Math.max(...FAMILIES.map(({ name }) => name.length));
  return `Fairlead beside its peers: one table, one line per bar, measured in this run.

Usage: deno task bench:peers [flags]

Flags:
  --only FAMILY,…  only these families
  --rounds N       alternating pairs that a median is taken of (default: ${ROUNDS})
  --charts         measure what the charts need too, and write them to bench/charts/
  --json           print the rows as JSON
  --help           print this

Families:
${FAMILIES.map(({ name, about }) => `  ${name.padEnd(width)}  ${about}`).join("\n")}

The exit status is 1 when a bar was missed or could not be measured. Peers that are not here are
installed: with npm into a temporary directory, and, as root, from Debian packages.`;
}

// ---- the report

/** The names of `--json`. */
function reportJson(machine: Machine, outcomes: readonly Outcome[]): unknown {
  return {
    machine,
    rows: outcomes.flatMap(({ rows }) => rows),
    families: outcomes.map(({ family, failure, seconds, others }) => ({
      family,
      failure,
      seconds: Math.round(seconds),
      others_percent: Math.round(others * 100),
    })),
  };
}

function reportText(outcomes: readonly Outcome[]): string {
  const rows = outcomes.flatMap((outcome) => outcome.rows);
  const table = rows.length === 0 ? [] : ["", tableText(rows), "", summaryText(rows)];
  return [...table, ...outcomes.flatMap(remarks)].join("\n");
}

/** What a reader of the figures is to know. */
function remarks({ family, failure, others }: Outcome): string[] {
  if (failure !== null) return [failureText(family, failure)];
  if (others < OTHERS_MAX) return [];
  const percent = Math.round(others * 100);
  return [
    `${family}: other programs used ${percent} % of the CPU meanwhile: measure again when idle`,
  ];
}

function failureText(family: string, reason: string): string {
  return `${family}: not measured: ${reason}`;
}
