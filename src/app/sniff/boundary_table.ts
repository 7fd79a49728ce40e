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

/** The same while it grows. */
interface Sums {
  streams: number;
  bytes: number;
  lost: number;
  messages: number;
  whole: number;
  readonly sets: { -readonly [Name in keyof SetReport]: SetReport[Name] }[];
  readonly draft: { -readonly [Name in keyof DraftReport]: DraftReport[Name] };
}

/** Collects what was judged: the sums of all streams, and the largest of those that lost something. */
export class BoundaryTable {
  readonly #total: Sums = {
    streams: 0,
    bytes: 0,
    lost: 0,
    messages: 0,
    whole: 0,
    sets: MEANS_SETS.map(({ name }) => ({ name, told: 0, whole: 0, bytes: 0, wrong: 0 })),
    draft: { pointers: 0, clamped: 0, named: 0, right: 0 },
  };
  /** Largest first. */
  readonly #largest: StreamReport[] = [];
  #damaged = 0;

  /** All streams as one. */
  get total(): TotalReport {
    return this.#total;
  }

  /** Takes a stream. */
  add(report: StreamReport): void {
    const total = this.#total;
    total.streams++;
    for (const name of ["bytes", "lost", "messages", "whole"] as const) total[name] += report[name];
    for (const name of ["pointers", "clamped", "named", "right"] as const) {
      total.draft[name] += report.draft[name];
    }
    total.sets.forEach((sum, at) => {
      for (const name of ["told", "whole", "bytes", "wrong"] as const) {
        sum[name] += report.sets[at]![name];
      }
    });
    if (report.lost === 0) return;
    this.#damaged++;
    const place = this.#largest.findIndex(({ bytes }) => bytes < report.bytes);
    this.#largest.splice(place < 0 ? this.#largest.length : place, 0, report);
    if (this.#largest.length > STREAMS_TOLD) this.#largest.pop();
  }

  /** Lines of the tables. */
  lines(dropPercent: number): string[] {
    const { streams } = this.#total;
    const how = dropPercent === 0
      ? "As captured, where what all means find is taken for the truth"
      : `With ${dropPercent} % of the segments taken away`;
    if (streams === 0) return [`${how}: no message of msgr2 or iSCSI was found`];
    const lines = [`${how}; messages that were told, and how many of those left whole:`];
    for (const report of this.#largest) {
      lines.push("", `${report.src} > ${report.dst}, ${report.protocol}`, ...tableOf(report));
    }
    const more = this.#damaged - this.#largest.length;
    if (more > 0) lines.push("", `and ${countText(more, "more stream")}`);
    const intact = streams - this.#damaged;
    if (intact > 0) lines.push("", `${countText(intact, "stream")} lost nothing`);
    if (streams > 1 || intact > 0) {
      lines.push("", `${countText(streams, "stream")} in all`, ...tableOf(this.#total));
    }
    return lines;
  }
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
