/**
 * What a capture holds as tables for people; the last line says whether the capture is healthy.
 *
 * @module
 */
import { countText } from "../count_text.ts";
import { columnsOf, cut, printable } from "../printable.ts";
import { bytesText } from "../readings.ts";
import { durationText } from "./moment_text.ts";
import type {
  ConversationReport,
  Counters,
  DirectionReport,
  LatencyReport,
  ProtocolReport,
  StatsReport,
} from "./sniff_stats.ts";

/** What is not told in a table is added up in its last row. */
const KINDS_TOLD = 40;
const LATENCIES_TOLD = 20;
const ERRORS_TOLD = 20;
const NAME_COLUMNS = 48;
const NS_PER_SECOND = 1e9;
const BARS = "▁▂▃▄▅▆▇█";

/**
 * Lines of a report.
 *
 * @param isChoice whether messages of some kinds only were counted, and what lies between was not
 */
export function statsLines(report: StatsReport, isChoice = false): string[] {
  return [
    ...overview(report),
    ...report.protocols.flatMap(kindTable),
    ...latencyTable(report.latencies),
    ...conversationTable(report),
    ...sums(report),
    "",
    isChoice ? choiceText(report) : healthText(report),
  ];
}

/** One line: whether what the capture tells can be relied on, and what speaks against it. */
export function healthText(report: StatsReport): string {
  const { bytes, capture, messages, tcp, urgent } = report;
  const total = bytes + report.unassigned;
  const missing = report.message_bytes_missing + report.unassigned_missing;
  const unexplained = report.unassigned - report.unassigned_missing;
  const problems: string[] = [];
  const remedies: string[] = [];
  const dropped = capture.dropped ?? 0;
  if (missing > 0) {
    problems.push(`${shareText(missing, total)} of the bytes were not captured`);
    remedies.push("capture whole packets nearer to an end, with a larger buffer");
  }
  if (dropped > 0) problems.push(`the kernel dropped ${countText(dropped, "packet")}`);
  if (unexplained > 0) problems.push(`${bytesText(unexplained)} belong to no message`);
  if (report.errors.some(({ error }) => error.startsWith("secure mode"))) {
    remedies.push("give --keyring to read what is in secure mode");
  }
  if (report.messages_with_errors > 0) {
    problems.push(`${countText(report.messages_with_errors, "message")} with errors`);
  }
  const conflicts = tcp.conflicts ?? 0;
  if (conflicts > 0) {
    problems.push(`${countText(conflicts, "overlap")} with other bytes than first seen`);
    remedies.push("somebody may forge segments");
  }
  const lost = urgent.lostBytes ?? 0;
  if (lost > 0) {
    problems.push(`an ordinary receiver loses up to ${countText(lost, "urgent byte")}`);
    remedies.push("receive with SO_OOBINLINE or stop marking");
  }
  if (messages === 0) {
    const why = problems.length > 0 ? `: ${problems.join(", ")}` : "";
    return `No message was found${why}: this tells nothing of msgr2 or iSCSI`;
  }
  if (problems.length === 0) {
    return `Healthy: every byte of ${bytesText(total)} belongs to one of ` +
      `${countText(messages, "message")}, none with an error`;
  }
  const remedy = remedies.length > 0 ? `; ${remedies.join(", ")}` : "";
  return `Not healthy: ${problems.join(", ")}${remedy}`;
}

/** The same of a choice, of which no share of a stream can be told. */
function choiceText(report: StatsReport): string {
  const { messages, messages_with_errors: bad } = report;
  return `${countText(messages, "message")} chosen, ${
    bad === 0 ? "none" : bad
  } with errors; without ` +
    "--tag, --type and --errors the last line tells whether the capture is healthy";
}

function overview(report: StatsReport): string[] {
  const { bytes, bytes_per_second, messages, messages_per_second, peak, seconds } = report;
  const lines = [
    `${countText(messages, "message")} of ${bytesText(bytes)} in ${seconds.toFixed(3)} s: ` +
    `${rateText(messages_per_second)} messages/s, ${bytesText(bytes_per_second)}/s`,
  ];
  if (messages === 0) return lines;
  const slot = peak.seconds === 1 ? "second" : `${peak.seconds} seconds`;
  lines.push(
    `busiest ${slot}, from ${peak.at} s on: ${countText(peak.messages, "message")}, ` +
      bytesText(peak.bytes),
  );
  if (report.steps.length > 1) lines.push(`bytes over time: ${barsText(report.steps)}`);
  return lines;
}

function kindTable({ bytes, kinds, messages, protocol, size }: ProtocolReport): string[] {
  const rows = kinds.slice(0, KINDS_TOLD).map((kind) => [
    nameOf(kind),
    `${kind.messages}`,
    percentText(kind.messages_share),
    bytesText(kind.bytes),
    percentText(kind.bytes_share),
    ...[kind.size.min, kind.size.p50, kind.size.p90, kind.size.p99, kind.size.max].map(String),
    kind.with_errors > 0 ? `${kind.with_errors}` : "-",
  ]);
  const rest = kinds.slice(KINDS_TOLD);
  if (rest.length > 0) {
    const restMessages = rest.reduce((sum, kind) => sum + kind.messages, 0);
    const restBytes = rest.reduce((sum, kind) => sum + kind.bytes, 0);
    const restErrors = rest.reduce((sum, kind) => sum + kind.with_errors, 0);
    rows.push([
      `${countText(rest.length, "more kind")}`,
      `${restMessages}`,
      percentText(restMessages / messages),
      bytesText(restBytes),
      percentText(restBytes / bytes),
      ...["", "", "", "", ""],
      restErrors > 0 ? `${restErrors}` : "-",
    ]);
  }
  rows.push([
    "all",
    `${messages}`,
    "",
    bytesText(bytes),
    "",
    ...[size.min, size.p50, size.p90, size.p99, size.max].map(String),
    "",
  ]);
  return table(
    [protocol, "messages", "share", "bytes", "share", "min", "median", "p90", "p99", "max", "bad"],
    rows,
  );
}

function latencyTable(latencies: readonly LatencyReport[]): string[] {
  if (latencies.length === 0) return [];
  const rows = latencies.slice(0, LATENCIES_TOLD).map((one) => [
    `${one.answers} ${nameOf(one)}`,
    `${one.count}`,
    ...[one.latency.min, one.latency.p50, one.latency.p90, one.latency.p99, one.latency.max]
      .map((seconds) => durationText(Math.round(seconds * NS_PER_SECOND))),
  ]);
  if (latencies.length > LATENCIES_TOLD) {
    const rest = latencies.slice(LATENCIES_TOLD);
    const count = rest.reduce((sum, one) => sum + one.count, 0);
    rows.push([countText(rest.length, "more kind"), `${count}`, "", "", "", "", ""]);
  }
  return table(["latency of answers", "count", "min", "p50", "p90", "p99", "max"], rows);
}

function conversationTable(report: StatsReport): string[] {
  const { conversations } = report;
  if (conversations.length === 0) return [];
  const named = conversations.filter(({ ends }) => ends !== null).length;
  const others = report.conversations_total - named;
  return table(
    ["conversation", "messages", "bytes", "captured", "not assigned", "holes"],
    conversations.flatMap((each) => conversationRows(each, others)),
  );
}

function conversationRows(report: ConversationReport, others: number): string[][] {
  const { directions: [there, back], ends } = report;
  const [from, to] = ends === null
    ? [`${countText(others, "more conversation")}, there`, "and back"]
    : [`${ends[0]} > ${ends[1]}`, "and back"];
  return [directionRow(cut(printable(from), NAME_COLUMNS * 2), there), directionRow(to, back)];
}

function directionRow(name: string, direction: DirectionReport): string[] {
  const { assigned, bytes, holes, messages, unassigned } = direction;
  return [
    name,
    `${messages}`,
    bytesText(bytes),
    bytes > 0 ? shareText(assigned, bytes) : "-",
    unassigned > 0 ? bytesText(unassigned) : "-",
    holes > 0 ? `${holes}` : "-",
  ];
}

function sums(report: StatsReport): string[] {
  const { errors, gaps, messages_with_holes: withHoles } = report;
  const lines: string[] = ["", `found by: ${countersText(report.found_by)}`];
  lines.push(
    `gaps: ${gaps}, ${bytesText(report.unassigned)} of no message, ` +
      `${bytesText(report.unassigned_missing)} of it not captured; ` +
      `${countText(withHoles, "message")} with holes, ` +
      `${bytesText(report.message_bytes_missing)} not captured`,
  );
  for (const name of ["capture", "tcp", "urgent"] as const) {
    const text = countersText(report[name]);
    if (text !== "none") lines.push(`${name === "tcp" ? "TCP" : name}: ${text}`);
  }
  if (errors.length > 0) {
    lines.push(`errors: ${countText(report.messages_with_errors, "message")}`);
    for (const { count, error } of errors.slice(0, ERRORS_TOLD)) {
      lines.push(`${`${count}`.padStart(10)}  ${cut(printable(error), NAME_COLUMNS * 2)}`);
    }
    const more = errors.length - ERRORS_TOLD;
    if (more > 0) lines.push(`            and ${countText(more, "more kind")}`);
  }
  return lines;
}

/** The counters that are not 0: `lostBytes` is shown as `lost bytes`. */
function countersText(counters: Counters): string {
  const told = Object.entries(counters).filter(([, count]) => count > 0);
  const texts = told.map(([name, count]) => `${wordsOf(name)} ${count}`);
  return texts.length === 0 ? "none" : texts.join(", ");
}

function wordsOf(name: string): string {
  return printable(name).replaceAll("_", " ")
    .replaceAll(/([a-z])([A-Z])/g, (_, before, after) => `${before} ${after.toLowerCase()}`);
}

function nameOf({ tag, type }: { readonly tag: string; readonly type: string }): string {
  return cut(printable(type === "" ? tag : `${tag} ${type}`), NAME_COLUMNS);
}

/** The first column is text and stands left, the others are numbers and stand right. */
function table(heading: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [heading, ...rows];
  const widths = heading.map((_, at) => Math.max(...all.map((row) => columnsOf(row[at]!))));
  const lines = all.map((row) =>
    row.map((cell, at) => {
      const blanks = " ".repeat(widths[at]! - columnsOf(cell));
      return at === 0 ? cell + blanks : blanks + cell;
    }).join("  ").trimEnd()
  );
  return ["", ...lines];
}

function barsText(steps: readonly number[]): string {
  const most = Math.max(...steps);
  return steps.map((step) => {
    if (step === 0) return " ";
    return BARS[Math.min(BARS.length - 1, Math.floor(step / most * BARS.length))]!;
  }).join("").trimEnd();
}

function rateText(rate: number): string {
  return rate >= 100 ? `${Math.round(rate)}` : rate.toFixed(1);
}

function percentText(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

/** Never rounded to all or nothing: that much is said of it. */
function shareText(part: number, all: number): string {
  const percent = all > 0 ? part / all * 100 : 0;
  if (part > 0 && percent < 0.01) return "under 0.01 %";
  if (part < all && percent > 99.99) return "over 99.99 %";
  return `${Number(percent.toFixed(2))} %`;
}
