/**
 * Results of urgent_measure.ts as tables of Markdown.
 *
 * @module
 */
import type { Traffic, TrialResult } from "./urgent_measure.ts";

const TRAFFIC_TEXT: Readonly<Record<Traffic, string>> = {
  paced: "paced 2 ms",
  bulk: "bulk",
  limited: "100 Mbit/s",
};

/** All tables that the results have something for. */
export function urgentTables(results: readonly TrialResult[]): string {
  const inline = results.filter((each) => each.inline);
  const marked = inline.filter((each) => each.mode !== "none");
  const setting = (standard: boolean): TrialResult[] =>
    marked.filter((each) => each.standard === standard);
  const parts = [
    section(
      "Message starts that some URG segment in the capture names, percent",
      grid(setting(false), ({ trace }) => percent(trace.named, trace.starts)),
    ),
    ...[false, true].map((standard) =>
      section(
        `Message starts named at the receiver, tcp_stdurg=${standard ? 1 : 0}, percent ` +
          "(in brackets: SIOCATMARK true at the start itself)",
        grid(setting(standard), ({ receiver, trace }) => {
          const at = percent(receiver.marks.at, trace.starts);
          return `${percent(receiver.named, trace.starts)} (${at})`;
        }),
      )
    ),
    section(
      "Bytes that an ordinary receiver lost, of how many messages",
      grid(
        results.filter((each) => !each.inline),
        ({ count, receiver }) =>
          `${receiver.lost} of ${count}${receiver.broken === "" ? "" : ", broken"}`,
      ),
    ),
    section("What marks cost: segments, MB/s", costs(inline.filter((each) => !each.standard))),
    section("The document's rule: starts found in percent, false ones", rules(setting(false))),
  ];
  const cut = results.reduce((sum, each) => sum + each.sender.cut, 0);
  if (cut > 0) {
    parts.push(
      `${cut} calls with a mark were taken in part by the kernel, which then marks a byte within the ` +
        "message: false pointers of mode B.",
    );
  }
  const drops = results.reduce((sum, each) => sum + each.drops, 0);
  if (drops > 0) parts.push(`The capture lost ${drops} packets: shares in it are too low.`);
  return parts.filter((each) => each !== "").join("\n\n");
}

function section(title: string, table: string): string {
  return table === "" ? "" : `### ${title}\n\n${table}`;
}

/** A row for each size, a column for each traffic and mode. */
function grid(results: readonly TrialResult[], cell: (result: TrialResult) => string): string {
  if (results.length === 0) return "";
  const columns = [...new Set(results.map(columnOf))];
  const rows = sizesOf(results).map((size) => [
    `${size}`,
    ...columns.map((column) => {
      const found = results.find((each) => each.size === size && columnOf(each) === column);
      return found === undefined ? "-" : cell(found);
    }),
  ]);
  return table(["message bytes", ...columns], rows);
}

function columnOf({ mode, traffic }: TrialResult): string {
  return `${TRAFFIC_TEXT[traffic]} ${mode}`;
}

function costs(results: readonly TrialResult[]): string {
  const bulk = results.filter((each) => each.traffic === "bulk");
  if (!bulk.some((each) => each.mode === "none")) return "";
  const modes = [...new Set(bulk.map((each) => each.mode))].sort().reverse();
  const rows = sizesOf(bulk).map((size) => {
    const cells = modes.map((mode) => {
      const found = bulk.find((each) => each.size === size && each.mode === mode);
      if (found === undefined) return "-";
      const { bytes, seconds } = found.receiver;
      const rate = seconds > 0 ? (bytes / seconds / 1e6).toFixed(0) : "-";
      return `${found.trace.segments}, ${rate}`;
    });
    return [`${size}`, ...cells];
  });
  const headers = modes.map((mode) => mode === "none" ? "without marks" : mode);
  return table(["message bytes", ...headers], rows);
}

function rules(results: readonly TrialResult[]): string {
  const rows = results.map((result) => {
    const { clamped, everyPointer, sameSegment, starts, unclamped, urgent } = result.trace;
    const cell = ({ found, wrong }: { found: number; wrong: number }): string =>
      `${percent(found, starts)}, ${wrong} false`;
    return [
      `${result.mode} ${result.size} ${TRAFFIC_TEXT[result.traffic]}`,
      `${clamped} of ${urgent}`,
      cell(sameSegment),
      cell(everyPointer),
      cell(unclamped),
    ];
  });
  const headers = ["capture", "clamped pointers", "same segment only", "wait, every pointer"];
  return rows.length === 0 ? "" : table([...headers, "wait, ignore 0xffff"], rows);
}

function sizesOf(results: readonly TrialResult[]): number[] {
  return [...new Set(results.map((each) => each.size))].sort((a, b) => a - b);
}

function percent(part: number, whole: number): string {
  if (whole === 0) return "-";
  const value = part * 100 / whole;
  return value === 0 || value === 100 ? `${value}` : value.toFixed(1);
}

function table(headers: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(headers), line(headers.map(() => "---")), ...rows.map(line)].join("\n");
}
