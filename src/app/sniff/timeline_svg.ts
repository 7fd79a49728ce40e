/**
 * A timeline as a ladder diagram (SVG 2): both ends of a connection are lines down the page, messages are
 * arrows between them, later ones lower. Silence is compressed and marked. Further connections of a
 * session follow below. The same view gives the same bytes; colours follow the reader's preference for
 * light or dark.
 *
 * @module
 */
import { countText } from "../count_text.ts";
import { cut, printable } from "../printable.ts";
import { px, svgEscaped, svgText } from "../svg_text.ts";
import { clockText, durationText, secondsText } from "./moment_text.ts";
import type {
  Timeline,
  TimelineConnection,
  TimelineEvent,
  TimelineKind,
  TimelineView,
} from "./timeline.ts";
import { TimeScale } from "./time_scale.ts";

const WIDTH = 1040;
const MARGIN = 24;
const TIME_RIGHT = 118;
const LEFT = 230;
const RIGHT = 890;
const MIDDLE = (LEFT + RIGHT) / 2;
const TOP = 84;
const HEAD_WIDTH = 252;
const HEAD_HEIGHT = 28;
const HEAD_COLUMNS = 33;
/** From an arrow's start to its label. */
const LABEL_INDENT = 12;
const LABEL_RISE = 4;
const SLANT_MIN = 8;
const BREAK = 64;
const LEGEND = 52;
const GAP_HEIGHT = 12;
/** Waiting times beside a lifeline. */
const LANES = 8;
const LANE_WIDTH = 11;
const LANE_FIRST = 14;
/** Kept of all texts that show when the pointer rests, so that a picture stays below 2 MB. */
const TOLD_CHARACTERS_MAX = 250_000;
const DECIMALS = 6;

type ArrowKind = Exclude<TimelineKind, "gap">;

const ARROWS: readonly (readonly [ArrowKind, string])[] = [
  ["handshake", "handshake"],
  ["message", "message"],
  ["ack", "acknowledgement"],
  ["keepalive", "keepalive"],
  ["error", "error"],
];

const LIGHT = "--page:#fff;--box:#f6f7f9;--edge:#c3c9d4;--ink:#1d2433;--soft:#5b6577;" +
  "--handshake:#8a6d00;--message:#0072b2;--ack:#6b7280;--keepalive:#00805a;--error:#c62828";
const DARK = "--page:#14171c;--box:#1e232b;--edge:#4a5462;--ink:#e8ebf0;--soft:#a3adbd;" +
  "--handshake:#e0b93a;--message:#56b4e9;--ack:#98a2b3;--keepalive:#3fcf9a;--error:#ff7b72";

const STYLE = `.tl{${LIGHT}}@media(prefers-color-scheme:dark){.tl{${DARK}}}` +
  `.tl text{white-space:pre;font:11px ui-monospace,Menlo,Consolas,monospace;fill:var(--ink);` +
  `paint-order:stroke;stroke:var(--page);stroke-width:4px;stroke-linejoin:round}` +
  `.tl .h{font:600 17px system-ui,sans-serif}.tl .s{fill:var(--soft)}.tl .e{text-anchor:end}` +
  `.tl .c{text-anchor:middle}.tl .n{font-weight:600;stroke:none}` +
  `.tl .page{fill:var(--page);stroke:var(--edge)}.tl .box{fill:var(--box);stroke:var(--edge)}` +
  `.tl .life{stroke:var(--edge);stroke-width:2}.tl .cutout{fill:var(--page)}` +
  `.tl .wave{fill:none;stroke:var(--soft);stroke-width:1.25}` +
  `.tl .wait{fill:none;stroke:var(--soft);stroke-opacity:.7}` +
  `.tl .gap{fill:url(#tl-hatch);stroke:var(--error);stroke-dasharray:3 3}` +
  `.tl .hatch{stroke:var(--error);stroke-width:1.5;stroke-opacity:.55}` +
  `.tl .a{fill:none}.tl .near{fill:none;stroke:var(--edge);stroke-opacity:0;stroke-width:12;` +
  `pointer-events:stroke}.tl g:hover>.near{stroke-opacity:.4}` +
  ARROWS.map(([kind]) => `.tl .a-${kind}{stroke:var(--${kind})}.tl .t-${kind}{fill:var(--${kind})}`)
    .join("") +
  `.tl .a-keepalive{stroke-dasharray:2 4}.tl .a-ack{stroke-dasharray:7 4}` +
  `.tl text.t-error{fill:var(--error)}`;

/** The picture as the text of an SVG file; `originSeconds` is the capture's origin since 1970. */
export function timelineSvg(timeline: Timeline, originSeconds: number): string {
  const view = timeline.view();
  const parts: string[] = [];
  const told = { left: TOLD_CHARACTERS_MAX };
  const origin = view.connections[0]?.events[0]?.beginNs ?? 0;
  let y = TOP;
  let lastNs = origin;
  view.connections.forEach((connection, index) => {
    const begin = connection.events[0]!.beginNs;
    if (index > 0) {
      parts.push(breakPart(y, begin - lastNs));
      y += BREAK;
    }
    y = connectionPart(parts, connection, y, origin, told);
    lastNs = connection.events.reduce((last, { finishNs }) => Math.max(last, finishNs), begin);
  });
  if (view.connections.length === 0) {
    parts.push(svgText(MIDDLE, y + 20, "No message of it was found", "s c"));
    y += 40;
  }
  if (view.leftOut > 0) {
    y += 24;
    parts.push(svgText(MIDDLE, y, `… ${countText(view.leftOut, "more event")} not drawn`, "s c"));
  }
  const height = Math.ceil(y + LEGEND);
  const heading = headingOf(view);
  const description = descriptionOf(view, originSeconds);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" class="tl" viewBox="0 0 ${WIDTH} ${height}" ` +
    `width="${WIDTH}" height="${height}" role="img" aria-labelledby="tl-title tl-desc">`,
    `<title id="tl-title">${svgEscaped(heading)}</title>`,
    `<desc id="tl-desc">${svgEscaped(description)}</desc>`,
    `<style>${STYLE}</style>`,
    `<defs>${ARROWS.map(markerPart).join("")}${HATCH}</defs>`,
    `<rect class="page" x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="8"/>`,
    svgText(MARGIN, 34, heading, "h"),
    svgText(MARGIN, 58, description, "s"),
    ...parts,
    legend(height - 22),
    "</svg>",
  ].join("\n");
}

/** Draws a connection from `top` on; returns where it ends. */
function connectionPart(
  parts: string[],
  { ends, events }: TimelineConnection,
  top: number,
  origin: number,
  told: { left: number },
): number {
  const scale = new TimeScale(events, top + HEAD_HEIGHT);
  const bottom = scale.bottom;
  for (const x of [LEFT, RIGHT]) {
    parts.push(`<path class="life" d="M${x} ${px(top + HEAD_HEIGHT)}V${px(bottom)}"/>`);
  }
  ends.forEach((end, side) => {
    const x = (side === 0 ? LEFT : RIGHT) - HEAD_WIDTH / 2;
    parts.push(
      `<rect class="box" x="${x}" y="${px(top)}" width="${HEAD_WIDTH}" height="${HEAD_HEIGHT}" ` +
        `rx="6"/>`,
      svgText(x + HEAD_WIDTH / 2, top + 18, cut(printable(end), HEAD_COLUMNS), "n c"),
    );
  });
  for (const { ns, y } of scale.silences) parts.push(silencePart(y, ns));
  const lanes = [new Float64Array(LANES).fill(-1), new Float64Array(LANES).fill(-1)] as const;
  const labels: string[] = [];
  events.forEach((event, index) => {
    const y = scale.beginY[index]!;
    const end = Math.max(scale.finishY[index]!, y + SLANT_MIN);
    const since = secondsText(0, event.beginNs - origin, DECIMALS);
    parts.push(svgText(TIME_RIGHT, y + LABEL_RISE, since, "s e"));
    const [from, to] = event.side === 0 ? [LEFT, RIGHT] : [RIGHT, LEFT];
    const line = `M${from} ${px(y)}L${to} ${px(end)}`;
    parts.push(event.kind === "gap" ? gapPart(y) : arrowPart(event.kind, event.length, line));
    labels.push(labelPart(event, y, line, told));
    if (event.latencyNs < 0) return;
    const asked = scale.at(event.beginNs - event.latencyNs) ??
      scale.at(event.finishNs - event.latencyNs);
    if (asked !== null && asked < end) {
      parts.push(waitPart(lanes[event.side === 0 ? 1 : 0], event, asked, end));
    }
  });
  parts.push(...labels); // above all arrows
  return bottom;
}

function arrowPart(kind: ArrowKind, length: number, line: string): string {
  const width = 1.2 + Math.min(2, Math.max(0, Math.log2(length / 256)) * 0.2);
  return `<path class="a a-${kind}" stroke-width="${px(width)}" marker-end="url(#tl-${kind})" ` +
    `d="${line}"/>`;
}

function gapPart(y: number): string {
  return `<rect class="gap" x="${LEFT}" y="${px(y - GAP_HEIGHT / 2)}" width="${RIGHT - LEFT}" ` +
    `height="${GAP_HEIGHT}"/>`;
}

/** What stands at an arrow, and what is told when the pointer is near it. */
function labelPart(event: TimelineEvent, y: number, line: string, told: { left: number }): string {
  const { kind, label, side } = event;
  const isGap = kind === "gap";
  const x = side === 0 ? LEFT + LABEL_INDENT : RIGHT - LABEL_INDENT;
  const name = `t-${isGap ? "error" : kind}${side === 0 ? "" : " e"}`;
  const shown = svgText(x, isGap ? y + LABEL_RISE : y - LABEL_RISE, label, name);
  if (told.left < event.told.length) return shown;
  told.left -= event.told.length;
  return `<g><title>${svgEscaped(event.told)}</title><path class="near" d="${line}"/>${shown}</g>`;
}

/** How long who asked has waited: beside its lifeline, in the first lane that is free there. */
function waitPart(lanes: Float64Array, event: TimelineEvent, from: number, end: number): string {
  const lane = lanes.findIndex((until) => until < from);
  if (lane < 0) return "";
  lanes[lane] = end;
  const [x, out] = event.side === 1 ? [LEFT, -1] : [RIGHT, 1];
  const near = x + out * 4;
  const far = x + out * (LANE_FIRST + lane * LANE_WIDTH);
  return `<g><title>${
    svgEscaped(`${durationText(event.latencyNs)} until ${event.label}`)
  }</title>` +
    `<path class="wait" d="M${near} ${px(from)}H${far}V${px(end)}H${near}"/></g>`;
}

function silencePart(y: number, ns: number): string {
  const waves = [LEFT, RIGHT].map((x) =>
    `<rect class="cutout" x="${x - 3}" y="${px(y - 5)}" width="6" height="10"/>` +
    [-5, 5].map((off) => `<path class="wave" d="M${x - 9} ${px(y + off + 2)}q4.5 -6 9 -2t9 -2"/>`)
      .join("")
  ).join("");
  return `${waves}${svgText(MIDDLE, y + LABEL_RISE, `${durationText(ns)} of silence`, "s c")}`;
}

function breakPart(y: number, ns: number): string {
  const waves = [LEFT, RIGHT].map((x) =>
    `<path class="wave" d="M${x - 14} ${px(y + 6)}q7 -8 14 -2t14 -2"/>`
  ).join("");
  const when = ns >= 0 ? `${durationText(ns)} later` : "at the same time";
  return `${waves}${
    svgText(MIDDLE, y + BREAK / 2, `the session goes on over another connection, ${when}`, "s c")
  }`;
}

const HATCH = `<pattern id="tl-hatch" width="6" height="6" patternUnits="userSpaceOnUse" ` +
  `patternTransform="rotate(45)"><path class="hatch" d="M0 0V6"/></pattern>`;

function markerPart([kind]: readonly [ArrowKind, string]): string {
  return `<marker id="tl-${kind}" viewBox="0 0 10 10" refX="10" refY="5" markerWidth="9" ` +
    `markerHeight="9" markerUnits="userSpaceOnUse" orient="auto">` +
    `<path class="t-${kind}" d="M0 1L10 5L0 9z"/></marker>`;
}

function legend(y: number): string {
  const arrows = ARROWS.map(([kind, name], index) => {
    const x = MARGIN + index * 148;
    return `<path class="a a-${kind}" stroke-width="2" marker-end="url(#tl-${kind})" ` +
      `d="M${x} ${y - 4}h30"/>${svgText(x + 36, y, name, "s")}`;
  });
  const x = MARGIN + ARROWS.length * 148;
  return `${arrows.join("")}<rect class="gap" x="${x}" y="${y - 10}" width="30" height="12"/>` +
    `${svgText(x + 36, y, "of no message", "s")}` +
    `<path class="wait" d="M${x + 154} ${y - 10}h-8v12h8"/>${svgText(x + 160, y, "waiting", "s")}`;
}

function headingOf({ connections, session }: TimelineView): string {
  if (session !== 0) return `Session ${session}`;
  return connections.length === 0 ? "Timeline" : `Conversation ${connections[0]!.number}`;
}

function descriptionOf({ connections }: TimelineView, originSeconds: number): string {
  const events = connections.flatMap((connection) => connection.events);
  const gaps = events.filter(({ kind }) => kind === "gap").length;
  const errors = events.filter(({ kind }) => kind === "error").length;
  const begin = events.reduce((first, { beginNs }) => Math.min(first, beginNs), Infinity);
  const end = events.reduce((last, { finishNs }) => Math.max(last, finishNs), -Infinity);
  return [
    countText(events.length - gaps, "message"),
    countText(connections.length, "connection"),
    ...(end >= begin
      ? [`${durationText(end - begin)} from ${clockText(originSeconds, begin, DECIMALS)} UTC`]
      : []),
    ...(gaps > 0 ? [countText(gaps, "gap")] : []),
    ...(errors > 0 ? [`${countText(errors, "message")} with errors`] : []),
  ].join(", ");
}
