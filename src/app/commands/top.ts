/**
 * `fairlead top`: the status of a running gateway or hub in the terminal, from its status listener.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import { command, Exit, parseArgs, UsageError } from "../args.ts";
import { helpText } from "../help.ts";
import { canDraw, LiveView, type Row } from "../live_view.ts";
import { printable, printableJson } from "../printable.ts";
import { onStop } from "../signals.ts";
import type { StatusReport } from "../status/health.ts";
import { Rates } from "../status/rates.ts";
import { topRows } from "../status/top_view.ts";
import { printError, printLine } from "../terminal.ts";

const WHERE_DEFAULT = "127.0.0.1:8711";
const INTERVAL_MS = 1000;
const ANSWER_DEADLINE_MS = 5000;
const ANSWER_BYTES_MAX = 8 * 1024 * 1024;
/** What is told of an answer that is none of ours. */
const SAID_MAX = 200;

const TOP = command({
  name: "fairlead top",
  summary: "Shows what a running gateway or hub does, from its status listener",
  description:
    'Without a terminal it prints once, as with --once; --json goes on. The address is "' +
    'listen" of\n"status" in the configuration of the gateway or hub.',
  positionals: [{
    name: "WHERE",
    help: `URL or HOST:PORT of the status listener; ${WHERE_DEFAULT} when left out`,
    optional: true,
  }],
  flags: {
    once: { kind: "boolean", help: "print once, with the rates of one second, and end" },
    json: { kind: "boolean", help: "print the status as a line of JSON each second" },
  },
  examples: [
    ["fairlead top", "The gateway of this box"],
    ["fairlead top 127.0.0.1:8721", "A hub of this box"],
    ["fairlead top --once --json", "One look, for a program"],
  ],
});

/** Runs the command; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  const { flags, help, positionals } = parseArgs(TOP, words);
  if (help) {
    printLine(helpText(TOP));
    return Exit.Ok;
  }
  const url = statusUrl(positionals[0] ?? WHERE_DEFAULT);
  const stop = new AbortController();
  onStop(() => stop.abort());
  const first = await look(url);
  if (flags.json) {
    printLine(printableJson(first));
    if (!flags.once) await follow(url, stop.signal, (report) => printLine(printableJson(report)));
    return Exit.Ok;
  }
  const rates = new Rates();
  rates.take(first);
  if (flags.once || !canDraw()) {
    await pause(INTERVAL_MS, stop.signal);
    const report = await look(url);
    rates.take(report);
    for (const { text } of topRows(report, rates.now)) printLine(text);
  } else await show(url, first, rates, stop.signal);
  return Exit.Ok;
}

/** Draws until it is stopped. */
async function show(
  url: URL,
  first: StatusReport,
  rates: Rates,
  signal: AbortSignal,
): Promise<void> {
  let report = first;
  let seenMs = nowMs();
  let trouble = "";
  const view = new LiveView((rows) => {
    const since = Math.floor((nowMs() - seenMs) / 1000);
    const lost: Row[] = trouble === ""
      ? []
      : [{ text: `Last seen ${since} s ago: ${trouble}`, style: "warn" }];
    return [...lost, ...topRows(report, rates.now)].slice(0, rows);
  });
  view.start();
  await follow(url, signal, (next) => {
    report = next;
    rates.take(report);
    seenMs = nowMs();
    trouble = "";
  }, (text) => trouble = text);
  view.stop();
}

/** Looks each second; what goes wrong is said, and the next look may go well. */
async function follow(
  url: URL,
  signal: AbortSignal,
  take: (report: StatusReport) => void,
  say: (text: string) => void = printError,
): Promise<void> {
  for (;;) {
    await pause(INTERVAL_MS, signal);
    if (signal.aborted) return;
    let report: StatusReport;
    try {
      report = await look(url);
    } catch (error) {
      say((error as Error).message);
      continue;
    }
    take(report);
  }
}

/** One look; throws when there is nothing to see. */
async function look(url: URL): Promise<StatusReport> {
  const refuse = (why: string, remedy: string): Error =>
    new Error(`Cannot read the status as ${why}: current value is "${url.host}", ${remedy}`);
  const start = "start `fairlead gateway` or `fairlead hub`, or give the address of its status " +
    'listener ("listen" of "status" in its configuration)';
  let answer: Response;
  let text: string;
  try {
    answer = await fetch(url, {
      redirect: "error",
      signal: AbortSignal.timeout(ANSWER_DEADLINE_MS),
    });
    text = await bodyText(answer);
  } catch (error) {
    if (error instanceof RangeError) throw refuse("its answer is too long", start);
    if ((error as Error).name === "TimeoutError") {
      throw refuse(
        `no answer came within ${ANSWER_DEADLINE_MS / 1000} s`,
        "try again, or see its log",
      );
    }
    throw refuse("nobody answers there", start);
  }
  if (!answer.ok) {
    const said = printable(text.trim().slice(0, SAID_MAX));
    throw refuse(`the answer is ${answer.status} (${said})`, "see there, or give another address");
  }
  const report = parseReport(text);
  if (report === null) throw refuse("what answers there is no fairlead", start);
  return report;
}

async function bodyText({ body }: Response): Promise<string> {
  let text = "";
  if (body === null) return text;
  for await (const piece of body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    if (text.length > ANSWER_BYTES_MAX) throw new RangeError("too long");
  }
  return text;
}

/** Null when it is no report: then it cannot be laid out either. */
function parseReport(text: string): StatusReport | null {
  try {
    const report = JSON.parse(text);
    topRows(report, null);
    return report;
  } catch {
    return null;
  }
}

function statusUrl(where: string): URL {
  const text = /^https?:\/\//.test(where) ? where : `http://${where}`;
  const url = URL.parse("api/status", text.endsWith("/") ? text : `${text}/`);
  if (url !== null && url.hostname !== "") return url;
  throw new UsageError(
    `Cannot use WHERE as it must be a URL or HOST:PORT: current value is "${where}"`,
  );
}

/** Ends early when it is stopped. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
  });
}
