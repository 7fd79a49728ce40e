/**
 * The side-by-side table: one row per bar, what was measured beside what was asked for, and the
 * arithmetic of it: medians, ratios, verdicts and how figures are written.
 *
 * @module
 */

/** What came of a bar: its aim was reached, its must held, neither, or there is no bar. */
export type Verdict = "aim" | "held" | "missed" | "reported";

/** One line of the table. */
export interface Row {
  /** Name of the family that measured it. */
  family: string;
  /** What was measured, such as "64 KiB against the best pure peer". */
  what: string;
  /** Our figure with its unit. */
  ours: string;
  /** Name and figure of each peer: "hash-wasm 1.2 GB/s, crc-32 0.5 GB/s". */
  peers: string;
  /** How many times better than the bar's peer; null when the figure stands alone. */
  ratio: number | null;
  /** What was asked for, such as "must 4x, aim 6x"; empty when nothing was. */
  bar: string;
  verdict: Verdict;
}

/** What a ratio must reach, and what it is meant to reach. */
export interface Bar {
  must: number;
  aim?: number;
}

/** The middle of some figures; of an even count the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new Error("Cannot take the median of nothing");
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Holds a ratio, of which more is better, against a bar. */
export function judge(ratio: number, bar: Bar): Verdict {
  if (bar.aim !== undefined && ratio >= bar.aim) return "aim";
  return ratio >= bar.must ? "held" : "missed";
}

/** How a bar is written in a row. */
export function barText({ must, aim }: Bar): string {
  return aim === undefined ? `must ${must}x` : `must ${must}x, aim ${aim}x`;
}

/** The fields of a row that follow from a ratio and its bar; `text` when the bar says it better. */
export function judged(
  ratio: number,
  bar: Bar,
  text: string = barText(bar),
): Pick<Row, "ratio" | "bar" | "verdict"> {
  return { ratio, bar: text, verdict: judge(ratio, bar) };
}

/** The same fields of a row that is only told. */
export function reported(ratio: number | null = null): Pick<Row, "ratio" | "bar" | "verdict"> {
  return { ratio, bar: "", verdict: "reported" };
}

// ---- figures

/** A rate, such as "63.2 k/s". */
export function rateText(perSecond: number): string {
  return `${scaled(perSecond, "")}/s`;
}

/** A data rate, such as "12.7 GB/s". */
export function bytesRateText(bytesPerSecond: number): string {
  return `${scaled(bytesPerSecond, "B")}/s`;
}

/** A duration, such as "31.4 ns" or "3.2 us". */
export function durationText(nanoseconds: number): string {
  for (const [unit, size] of DURATIONS) {
    if (nanoseconds >= size) return `${threeDigits(nanoseconds / size)} ${unit}`;
  }
  return `${threeDigits(nanoseconds)} ns`;
}

/** A size of data, such as "64 KiB". */
export function sizeText(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  return bytes < 1_048_576 ? `${bytes / 1024} KiB` : `${bytes / 1_048_576} MiB`;
}

/** Cut, not rounded, so that 3.996 does not look like a 4 that was missed. */
export function ratioText(ratio: number): string {
  return `${(Math.floor(ratio * 100 + 1e-9) / 100).toFixed(2)}x`;
}

const DURATIONS: readonly (readonly [string, number])[] = [["s", 1e9], ["ms", 1e6], ["us", 1e3]];
const PREFIXES: readonly (readonly [string, number])[] = [["G", 1e9], ["M", 1e6], ["k", 1e3]];

function scaled(value: number, unit: string): string {
  for (const [prefix, size] of PREFIXES) {
    if (value >= size) return `${threeDigits(value / size)} ${prefix}${unit}`;
  }
  return `${threeDigits(value)} ${unit}`.trimEnd();
}

function threeDigits(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value.toFixed(value >= 10 ? 1 : 2);
}

// ---- printing

/** The terminal that the table is made for. */
const WIDTH = 120;
const GAP = "  ";
const WHAT_MAX = 40;
const PEERS_MIN = 24;
const BAR_MAX = 26;
const HEADINGS = ["what", "ours", "peers", "ratio", "bar", "verdict"] as const;
/** Figures stand on the right, texts on the left. */
const ON_THE_RIGHT: readonly boolean[] = [false, true, false, true, false, false];
const WHAT = 0;
const PEERS = 2;
const BAR = 4;

/** The whole table: a heading, and the rows of each family under its name. */
export function tableText(rows: readonly Row[]): string {
  const cells = rows.map(cellsOf);
  const widths = columnWidths(cells);
  const rule = widths.map((width) => "-".repeat(width)).join(GAP);
  const lines = [lineText(HEADINGS, widths), rule];
  let family = "";
  rows.forEach((row, index) => {
    if (row.family !== family) {
      if (family !== "") lines.push("");
      lines.push(row.family);
      family = row.family;
    }
    lines.push(...rowLines(cells[index]!, widths));
  });
  return lines.join("\n");
}

/** One line under the table: how many bars were reached, held and missed. */
export function summaryText(rows: readonly Row[]): string {
  const count = (verdict: Verdict): number => rows.filter((row) => row.verdict === verdict).length;
  const bars = rows.length - count("reported");
  return `${bars} bars: ${count("aim")} at their aim, ${count("held")} held, ` +
    `${count("missed")} missed`;
}

/** A row stands in from its family's name. */
const INDENT = "  ";

function cellsOf(row: Row): string[] {
  const ratio = row.ratio === null ? "" : ratioText(row.ratio);
  const verdict = row.verdict === "missed" ? "MISSED" : row.verdict;
  return [row.what, row.ours, row.peers, ratio, row.bar, verdict];
}

/** As wide as the widest cell; the peers get what is left of the terminal. */
function columnWidths(cells: readonly string[][]): number[] {
  const widths = HEADINGS.map((heading, column) =>
    Math.max(heading.length, ...cells.map((row) => row[column]!.length))
  );
  widths[WHAT] = Math.min(widths[WHAT]! + INDENT.length, WHAT_MAX);
  widths[BAR] = Math.min(widths[BAR]!, BAR_MAX);
  const others = widths.reduce((sum, width) => sum + width) - widths[PEERS]!;
  const room = WIDTH - others - GAP.length * (widths.length - 1);
  widths[PEERS] = Math.min(widths[PEERS]!, Math.max(room, PEERS_MIN));
  return widths;
}

/** The lines of one row; long cells go on below. */
function rowLines(cells: readonly string[], widths: readonly number[]): string[] {
  const wrapped = cells.map((cell, column) => {
    const width = widths[column]!;
    if (column === PEERS) return wrapPeers(cell, width);
    if (column !== WHAT) return wrap(cell, width, " ");
    return wrap(cell, width - INDENT.length, " ").map((line) => INDENT + line);
  });
  const height = Math.max(...wrapped.map((lines) => lines.length));
  return Array.from(
    { length: height },
    (_, line) => lineText(wrapped.map((lines) => lines[line] ?? ""), widths),
  );
}

/** Breaks between peers, and within one only when it is too long by itself. */
function wrapPeers(text: string, width: number): string[] {
  return wrap(text, width, ", ").flatMap((line) =>
    line.length <= width ? [line] : wrap(line, width, " ")
  );
}

/** Breaks a text at a separator so that each line fits; a piece that is too long stands alone. */
function wrap(text: string, width: number, separator: string): string[] {
  const mark = separator.trimEnd();
  const lines: string[] = [];
  let line: string | null = null;
  for (const piece of text.split(separator)) {
    const longer: string = line === null ? piece : line + separator + piece;
    if (line === null || longer.length + mark.length <= width) {
      line = longer;
    } else {
      lines.push(line + mark);
      line = piece;
    }
  }
  return [...lines, line ?? ""];
}

function lineText(cells: readonly string[], widths: readonly number[]): string {
  return cells.map((cell, column) =>
    ON_THE_RIGHT[column]! ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)
  ).join(GAP).trimEnd();
}
