/**
 * What each means of finding boundaries is worth, as tables: one for each stream, one for all.
 *
 * @module
 */
import type { DraftReport, MeansSet, SetReport, StreamReport } from "../../proto/boundary/judge.ts";
import { MEANS_SETS } from "../../proto/boundary/judge.ts";
import { countText } from "../count_text.ts";
import { bytesText } from "../readings.ts";

/** Streams that lost something and have a table of their own, largest first. */
const STREAMS_TOLD = 20;
const NAME_COLUMNS = 38;
const COLUMN = 12;

/** All streams as one. */
export type TotalReport = Omit<StreamReport, "src" | "dst" | "protocol"> & {
  readonly streams: number;
};

/** Adds streams up. */
export function totalOf(reports: readonly StreamReport[]): TotalReport {
  const sum = (of: (report: StreamReport) => number): number =>
    reports.reduce((total, report) => total + of(report), 0);
  const sets = MEANS_SETS.map(({ name }, at): SetReport => ({
    name,
    told: sum(({ sets }) => sets[at]!.told),
    whole: sum(({ sets }) => sets[at]!.whole),
    bytes: sum(({ sets }) => sets[at]!.bytes),
    wrong: sum(({ sets }) => sets[at]!.wrong),
  }));
  return {
    streams: reports.length,
    bytes: sum(({ bytes }) => bytes),
    lost: sum(({ lost }) => lost),
    messages: sum(({ messages }) => messages),
    whole: sum(({ whole }) => whole),
    sets,
    draft: {
      pointers: sum(({ draft }) => draft.pointers),
      clamped: sum(({ draft }) => draft.clamped),
      named: sum(({ draft }) => draft.named),
      right: sum(({ draft }) => draft.right),
    },
  };
}

/** Lines of the tables. */
export function boundaryLines(
  reports: readonly StreamReport[],
  total: TotalReport,
  dropPercent: number,
): string[] {
  const how = dropPercent === 0
    ? "As captured, where what all means find is taken for the truth"
    : `With ${dropPercent} % of the segments taken away`;
  if (reports.length === 0) return [`${how}: no message of msgr2 or iSCSI was found`];
  const lines = [`${how}; messages that were told, and how many of those left whole:`];
  const damaged = reports.filter(({ lost }) => lost > 0);
  for (const report of damaged.slice(0, STREAMS_TOLD)) {
    lines.push("", `${report.src} > ${report.dst}, ${report.protocol}`, ...tableOf(report));
  }
  const more = damaged.length - STREAMS_TOLD;
  if (more > 0) lines.push("", `and ${countText(more, "more stream")}`);
  const intact = reports.length - damaged.length;
  if (intact > 0) lines.push("", `${countText(intact, "stream")} lost nothing`);
  if (reports.length > 1 || intact > 0) {
    lines.push("", `${countText(total.streams, "stream")} in all`, ...tableOf(total));
  }
  return lines;
}

function tableOf(report: TotalReport | StreamReport): string[] {
  const { bytes, draft, lost, messages, sets, whole } = report;
  const protocol = "protocol" in report ? report.protocol : "";
  const rows = sets.filter((_, at) => isFor(MEANS_SETS[at]!, protocol)).map((set) => [
    set.name,
    `${set.told}`,
    percent(set.whole, whole),
    percent(set.bytes, bytes),
    `${set.wrong}`,
  ]);
  return [
    `  ${bytesText(bytes)}, ${percent(lost, bytes)} lost; ` +
    `${countText(messages, "message")}, ${whole} left whole`,
    row(["means", "messages", "of whole", "of bytes", "wrong"]),
    ...rows.map(row),
    `  ${draftText(draft)}`,
  ];
}

/** Whether a set of means is of use to a protocol; empty: to any. */
function isFor({ only }: MeansSet, protocol: string): boolean {
  return only === undefined || protocol === "" || only === protocol;
}

function draftText({ clamped, named, pointers, right }: DraftReport): string {
  if (pointers === 0) return "the draft's rule alone: no urgent pointer";
  return `the draft's rule alone: ${countText(pointers, "pointer")}, ${clamped} clamped; ` +
    `${countText(named, "start")} named, ${right} of them right`;
}

function row([name, ...cells]: readonly string[]): string {
  return `  ${name!.padEnd(NAME_COLUMNS)}${cells.map((cell) => cell.padStart(COLUMN)).join("")}`;
}

function percent(part: number, all: number): string {
  return all === 0 ? "-" : `${(part / all * 100).toFixed(1)} %`;
}
