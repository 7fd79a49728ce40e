/**
 * A metric in the text form of StatsD: `name:value|type|@rate|#tag,tag:value`, as the README of
 * etsy/statsd ("docs/metric_types.md") has it and DogStatsD's "Datagram format" extends it.
 *
 * @module
 */

/** One metric; the names are those of the JSON. */
export interface Metric {
  name: string;
  /** A number; for a set (`s`) the text that is its member. */
  value: number | string;
  /** Counter, gauge, timing, histogram, set, distribution. */
  type: "c" | "g" | "ms" | "h" | "s" | "d";
  /** A gauge written with a sign: added to what it was, not set. Absent otherwise. */
  delta?: true;
  /** Share of the events that was counted: above 0, up to 1. */
  rate: number;
  tags: string[];
}

const TYPES: readonly string[] = ["c", "g", "ms", "h", "s", "d"] satisfies Metric["type"][];
const NUMBER = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?$/;
// deno-lint-ignore no-control-regex -- no metric may carry these to whoever prints it
const CONTROL = /[\x00-\x1f\x7f]/;
/** Fields that DogStatsD adds and may add: container, timestamp, external data, cardinality. */
const EXTENSION = /^[A-Za-z]/;

/** Reads one line without its ending; null when it is malformed. */
export function readMetric(line: string): Metric | null {
  const colon = line.indexOf(":");
  if (colon < 1 || CONTROL.test(line)) return null;
  const name = line.slice(0, colon);
  const [valueText, type, ...fields] = line.slice(colon + 1).split("|");
  if (name.includes("|") || valueText === "" || !isType(type)) return null;
  const value = type === "s" ? valueText! : readNumber(valueText!);
  if (value === null) return null;
  const metric: Metric = { name, value, type, rate: 1, tags: [] };
  if (type === "g" && /^[+-]/.test(valueText!)) metric.delta = true;
  return readFields(fields, metric) ? metric : null;
}

function isType(text: string | undefined): text is Metric["type"] {
  return text !== undefined && TYPES.includes(text);
}

function readNumber(text: string): number | null {
  const value = Number(text);
  return NUMBER.test(text) && Number.isFinite(value) ? value : null;
}

/** `@rate` and `#tags`, in any order, each once at most. */
function readFields(fields: readonly string[], metric: Metric): boolean {
  let rated = false;
  let tagged = false;
  for (const field of fields) {
    if (field.startsWith("@") && !rated) {
      rated = true;
      const rate = readNumber(field.slice(1));
      if (rate === null || rate <= 0 || rate > 1) return false;
      metric.rate = rate;
    } else if (field.startsWith("#") && !tagged) {
      tagged = true;
      metric.tags = field.slice(1).split(",").filter((tag) => tag !== "");
    } else if (!EXTENSION.test(field)) return false;
  }
  return true;
}
