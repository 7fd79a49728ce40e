/**
 * Line charts as SVG texts: a card with its own background, readable on light and dark pages, at
 * the width of a README. Series differ by colour (those of Okabe and Ito, which the colour-blind
 * tell apart) and by marker, and carry their names at their right ends.
 *
 * @module
 */

/** One line of a chart. */
export interface Series {
  name: string;
  /** One figure for each place on the x axis; null where nothing was measured. */
  values: (number | null)[];
}

/** What a chart shows. */
export interface LineChart {
  title: string;
  /** With the unit. */
  xLabel: string;
  /** With the unit. */
  yLabel: string;
  /** Names of the places on the x axis, evenly apart. */
  x: string[];
  series: Series[];
  /** A logarithmic y axis, for figures that span decades; 0 stands at its foot. */
  log?: boolean;
}

const WIDTH = 760;
const HEIGHT = 420;
/** The plot inside of the card; to the right of it stand the names of the series. */
const LEFT = 64;
const TOP = 82;
const BOTTOM = HEIGHT - 62;
const NAME_GAP = 14;
const NAMES_MIN = 60;
const NAMES_MAX = 240;
const TITLE_Y = 32;
const Y_LABEL_Y = 60;
const TICK_Y = BOTTOM + 20;
const X_LABEL_Y = HEIGHT - 20;
/** Points keep off the sides of the plot. */
const INSET = 18;
const MARKER = 4;
const FONT = 13;
/** The widest of a bold text of that size, as there is nobody to measure it. */
const CHARACTER = 8.6;
const NAME_HEIGHT = 17;

const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#a64d84", "#b07c00", "#444444", "#3d9bd0"];
const MARKERS: readonly ((x: number, y: number) => string)[] = [
  (x, y) => `<circle cx="${px(x)}" cy="${px(y)}" r="${MARKER}"/>`,
  (x, y) => polygon(x, y, [-4, -4, 4, -4, 4, 4, -4, 4]),
  (x, y) => polygon(x, y, [0, -5, 5, 4, -5, 4]),
  (x, y) => polygon(x, y, [0, -5.5, 5.5, 0, 0, 5.5, -5.5, 0]),
  (x, y) => polygon(x, y, [0, 5, 5, -4, -5, -4]),
];
const STYLE = `text{font:${FONT}px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#333}` +
  `.title{font-size:17px;font-weight:600;fill:#111}.label{fill:#555}` +
  `.grid{stroke:#e4e4e4}.axis{stroke:#888}.line{fill:none;stroke-width:2.25;stroke-linejoin:round}`;

/** A chart as the text of an SVG file. */
export function lineChart(chart: LineChart): string {
  const frame = frameOf(chart);
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" ` +
    `width="${WIDTH}" height="${HEIGHT}" role="img" aria-label="${escaped(chart.title)}">`,
    `<style>${STYLE}</style>`,
    `<rect x="0.5" y="0.5" width="${WIDTH - 1}" height="${HEIGHT - 1}" rx="8" fill="#fff" ` +
    `stroke="#d0d0d0"/>`,
    text(LEFT - 40, TITLE_Y, chart.title, `class="title"`),
    ...yAxis(chart, frame),
    ...xAxis(chart, frame),
    ...chart.series.map((series, index) => seriesPart(series, index, frame)),
    ...namesPart(chart.series, frame),
    "</svg>",
  ];
  return parts.join("\n") + "\n";
}

/** How figures become places. */
interface Frame {
  /** Right side of the plot. */
  readonly right: number;
  readonly ticks: readonly number[];
  x(index: number): number;
  y(value: number): number;
}

function frameOf({ x, series, log }: LineChart): Frame {
  const values = series.flatMap((each) => each.values).filter((value) => value !== null)
    .filter((value) => !log || value > 0);
  const ticks = log === true ? logTicks(values) : linearTicks(values);
  const scale = log === true ? Math.log10 : (value: number): number => value;
  const low = scale(ticks[0]!);
  const span = scale(ticks.at(-1)!) - low;
  const names = Math.max(...series.map(({ name }) => name.length), 0) * CHARACTER;
  const right = WIDTH - NAME_GAP * 2 - Math.min(Math.max(names, NAMES_MIN), NAMES_MAX);
  const step = x.length > 1 ? (right - LEFT - INSET * 2) / (x.length - 1) : 0;
  return {
    right,
    ticks,
    x: (index) => LEFT + INSET + step * index,
    y: (value) => BOTTOM - (BOTTOM - TOP) * (scale(Math.max(value, ticks[0]!)) - low) / span,
  };
}

/** From 0, in steps of 1, 2 or 5 of a power of ten, to above the largest value. */
export function linearTicks(values: readonly number[]): number[] {
  const most = Math.max(...values, 0) || 1;
  const power = 10 ** Math.floor(Math.log10(most / 4));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => most / each <= 6)!;
  const count = Math.ceil(most / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, index) => Number((index * step).toPrecision(12)));
}

/** 1, 2 and 5 of each power of ten around the values; over three decades the powers alone. */
export function logTicks(values: readonly number[]): number[] {
  const least = values.length === 0 ? 1 : Math.min(...values);
  const most = values.length === 0 ? 10 : Math.max(...values);
  const factors = most / least > 1000 ? [1] : [1, 2, 5];
  const ticks: number[] = [];
  for (let power = Math.floor(Math.log10(least)); power <= Math.log10(most) + 1; power++) {
    ticks.push(...factors.map((factor) => Number((factor * 10 ** power).toPrecision(12))));
  }
  const first = ticks.findLastIndex((tick) => tick <= least);
  const last = ticks.findIndex((tick) => tick >= most && tick > ticks[first]!);
  return ticks.slice(first, last + 1);
}

function yAxis({ yLabel }: LineChart, { ticks, right, y }: Frame): string[] {
  const lines = ticks.flatMap((tick) => [
    `<path class="${tick === ticks[0] ? "axis" : "grid"}" d="M${LEFT} ${px(y(tick))}H${
      px(right)
    }"/>`,
    text(LEFT - 8, y(tick) + 4.5, tickText(tick), `text-anchor="end"`),
  ]);
  return [text(LEFT - 40, Y_LABEL_Y, yLabel, `class="label"`), ...lines];
}

function xAxis({ x, xLabel }: LineChart, frame: Frame): string[] {
  const middle = (LEFT + frame.right) / 2;
  return [
    ...x.map((name, index) => {
      const at = px(frame.x(index));
      return `<path class="axis" d="M${at} ${BOTTOM}v5"/>` +
        text(frame.x(index), TICK_Y, name, `text-anchor="middle"`);
    }),
    text(middle, X_LABEL_Y, xLabel, `class="label" text-anchor="middle"`),
  ];
}

/** A line between neighbours that were both measured, and a marker at each. */
function seriesPart({ values }: Series, index: number, frame: Frame): string {
  let path = "";
  let markers = "";
  let drawing = false;
  values.forEach((value, place) => {
    if (value !== null) {
      const [x, y] = [frame.x(place), frame.y(value)];
      path += `${drawing ? "L" : "M"}${px(x)} ${px(y)}`;
      markers += MARKERS[index % MARKERS.length]!(x, y);
    }
    drawing = value !== null;
  });
  const colour = COLOURS[index % COLOURS.length]!;
  return `<path class="line" stroke="${colour}" d="${path}"/>\n` +
    `<g fill="${colour}" stroke="#fff">${markers}</g>`;
}

/** The names beside the last points, moved apart where they would cover each other. */
function namesPart(series: readonly Series[], frame: Frame): string[] {
  const names = series.flatMap(({ name, values }, index) => {
    const last = values.findLastIndex((value) => value !== null);
    if (last < 0) return [];
    return [{ name, index, x: frame.x(last), y: frame.y(values[last]!) }];
  }).sort((a, b) => a.y - b.y);
  const places = spread(names.map(({ y }) => y), NAME_HEIGHT, TOP, BOTTOM);
  return names.flatMap(({ name, index, x, y }, order) => {
    const colour = COLOURS[index % COLOURS.length]!;
    const at = places[order]!;
    const left = frame.right + NAME_GAP - 4;
    const leader = `<path stroke="${colour}" stroke-opacity="0.5" fill="none" ` +
      `d="M${px(x + MARKER + 3)} ${px(y)}L${px(left - 3)} ${px(at)}"/>`;
    return [leader, text(left, at + 4.5, name, `style="fill:${colour};font-weight:600"`)];
  });
}

/** Moves sorted places so that they are `apart` from each other and within [low, high]. */
export function spread(
  places: readonly number[],
  apart: number,
  low: number,
  high: number,
): number[] {
  const moved = [...places];
  for (let index = 0; index < moved.length; index++) {
    const least = index === 0 ? low : moved[index - 1]! + apart;
    moved[index] = Math.max(moved[index]!, least);
  }
  for (let index = moved.length - 1; index >= 0; index--) {
    const most = index === moved.length - 1 ? high : moved[index + 1]! - apart;
    moved[index] = Math.min(moved[index]!, most);
  }
  return moved;
}

const PREFIXES: readonly (readonly [string, number])[] = [["G", 1e9], ["M", 1e6], ["k", 1e3]];

/** A figure at a grid line, such as "200 k". */
export function tickText(value: number): string {
  for (const [prefix, size] of PREFIXES) {
    if (value >= size) return `${Number((value / size).toPrecision(6))} ${prefix}`;
  }
  return `${value}`;
}

function polygon(x: number, y: number, offsets: readonly number[]): string {
  const points = offsets.map((offset, index) => px((index % 2 === 0 ? x : y) + offset));
  return `<polygon points="${points.join(" ")}"/>`;
}

function text(x: number, y: number, content: string, attributes: string): string {
  return `<text x="${px(x)}" y="${px(y)}" ${attributes}>${escaped(content)}</text>`;
}

/** A tenth of a pixel is enough. */
function px(value: number): string {
  return `${Math.round(value * 10) / 10}`;
}

function escaped(content: string): string {
  return content.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}
