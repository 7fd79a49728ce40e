/**
 * Paths as a picture (SVG 2): the links of this host on the left, connections on the right, and a line
 * for each subflow from its link to its connection, wider the more of the connection's bytes it carried.
 * The same view gives the same bytes. Colours follow the reader's preference for light or dark.
 *
 * @module
 */
import { countText } from "../count_text.ts";
import { cut, printable } from "../printable.ts";
import { px, svgEscaped, svgText } from "../svg_text.ts";
import { bytesText } from "../readings.ts";
import type { ConnectionView, LinkView, PathsView, SubflowView } from "./paths_view.ts";

/** What does not fit is counted, not drawn. */
const LINKS_MAX = 16;
const ADDRESSES_MAX = 4;
const CONNECTIONS_MAX = 20;
const SUBFLOWS_MAX = 8;

const WIDTH = 960;
const MARGIN = 24;
const TOP = 76;
const LINK_WIDTH = 260;
const CONNECTION_LEFT = 540;
const CONNECTION_WIDTH = WIDTH - MARGIN - CONNECTION_LEFT;
const LINK_RIGHT = MARGIN + LINK_WIDTH;
const PADDING = 12;
const ROW = 18;
const GAP = 16;
const LEGEND = 48;
/** From a row's top to its baseline. */
const BASELINE = 13;
/** Columns of 12 px text that a box holds, as nobody can measure it: 7.2 px each at most. */
const LINK_COLUMNS = 32;
const CONNECTION_COLUMNS = 50;
const LINE_MIN = 1.5;
const LINE_MAX = 8;

type Kind = "active" | "backup" | "dead";

const STYLE = `.paths{--page:#fff;--box:#f6f7f9;--edge:#d0d5dd;--ink:#1d2433;--soft:#5b6577;` +
  `--active:#0072b2;--backup:#8a6d00;--dead:#c62828;--up:#00805a}` +
  `@media(prefers-color-scheme:dark){.paths{--page:#14171c;--box:#1e232b;--edge:#3a4350;` +
  `--ink:#e8ebf0;--soft:#a3adbd;--active:#56b4e9;--backup:#e0b93a;--dead:#ff7b72;--up:#3fcf9a}}` +
  `.paths text{white-space:pre;font:12px ui-monospace,Menlo,Consolas,monospace;fill:var(--ink)}` +
  `.paths .heading{font:600 17px system-ui,sans-serif}.paths .name{font-weight:600}` +
  `.paths .soft{fill:var(--soft)}.paths .page{fill:var(--page);stroke:var(--edge)}` +
  `.paths .box{fill:var(--box);stroke:var(--edge)}.paths .none{stroke-dasharray:4 4}` +
  `.paths .stripe-up{fill:var(--up)}.paths .stripe-down{fill:var(--dead)}` +
  `.paths .stripe-none{fill:var(--edge)}.paths .line{fill:none;stroke-opacity:.85}` +
  `.paths .active{stroke:var(--active)}` +
  `.paths .backup{stroke:var(--backup);stroke-dasharray:8 6}.paths .dead{stroke:var(--dead)}`;

/** The picture as the text of an SVG file. */
export function pathsGraph(view: PathsView): string {
  const connections = view.connections.slice(0, CONNECTIONS_MAX).map(boxOf);
  const bars = barsOf(view, connections);
  const tall = Math.max(heightOf(bars), heightOf(connections), ROW * 2);
  place(bars, tall);
  place(connections, tall);
  const lines = linesOf(bars, connections);
  const notes = notesOf(view, bars.filter(({ link }) => link !== null).length);
  const height = TOP + tall + LEGEND + notes.length * ROW;
  const heading = headingOf(view);
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" class="paths" viewBox="0 0 ${WIDTH} ${height}" ` +
    `width="${WIDTH}" height="${height}" role="img" aria-labelledby="paths-title paths-desc">`,
    `<title id="paths-title">${svgEscaped(heading)}</title>`,
    `<desc id="paths-desc">${svgEscaped(descriptionOf(view))}</desc>`,
    `<style>${STYLE}</style>`,
    `<rect class="page" x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="8"/>`,
    svgText(MARGIN, 34, heading, "heading"),
    svgText(MARGIN, 60, "Links of this host", "soft"),
    svgText(CONNECTION_LEFT, 60, "Connections", "soft"),
    ...lines,
    ...bars.map(barPart),
    ...connections.map(boxPart),
    ...(connections.length === 0
      ? [svgText(CONNECTION_LEFT, TOP + BASELINE, "No MPTCP connections", "soft")]
      : []),
    ...notes.map((note, index) => svgText(MARGIN, TOP + tall + ROW * (index + 1), note, "soft")),
    legend(height - 20),
    "</svg>",
  ];
  return `${parts.join("\n")}\n`;
}

/** Something with rows of text, and where it came to stand. */
interface Card {
  readonly rows: readonly string[];
  y: number;
}

/** A link; null for what belongs to none. */
interface Bar extends Card {
  readonly link: LinkView | null;
}

interface Box extends Card {
  readonly connection: ConnectionView;
  readonly subflows: readonly SubflowView[];
}

/** Where the rows of the subflows begin. */
const BOX_ROWS = 3;

function boxOf(connection: ConnectionView): Box {
  const subflows = connection.subflows.slice(0, SUBFLOWS_MAX);
  const hidden = connection.subflows.length - subflows.length;
  const { bytesReceived, bytesSent, remote, serverSide, state } = connection;
  const arrow = serverSide === null ? "-" : serverSide ? "<-" : "->";
  const rows = [
    `${connection.connection}  ${state}`,
    `${arrow} ${remote}`, // the longest of IPv6 fits
    `sent ${bytesText(bytesSent)}, received ${bytesText(bytesReceived)}`,
    ...subflows.map((subflow) => subflowText(subflow, shareOf(subflow, connection))),
  ];
  if (connection.subflows.length === 0) rows.push("no subflow");
  if (hidden > 0) rows.push(`and ${countText(hidden, "more subflow", "more subflows")}`);
  return { connection, subflows, rows, y: 0 };
}

/** Links that carry something come first where not all can be drawn, in the view's order. */
function barsOf({ links }: PathsView, boxes: readonly Box[]): Bar[] {
  const used = new Set(boxes.flatMap(({ subflows }) => subflows.map(({ link }) => link)));
  const drawn = new Set(
    [...links.filter(({ name }) => used.has(name)), ...links.filter(({ name }) => !used.has(name))]
      .slice(0, LINKS_MAX),
  );
  const bars: Bar[] = links.filter((link) => drawn.has(link)).map((link) => {
    const { addresses, name, role, up } = link;
    const hidden = addresses.length - ADDRESSES_MAX;
    return {
      link,
      rows: [
        [name, up ? "up" : "down", ...(role === "" ? [] : [role])].join("  "),
        ...addresses.slice(0, ADDRESSES_MAX),
        ...(addresses.length === 0 ? ["no address"] : []),
        ...(hidden > 0 ? [`and ${hidden} more`] : []),
      ],
      y: 0,
    };
  });
  const names = new Set(bars.map(({ link }) => link!.name));
  if ([...used].some((name) => !names.has(name))) {
    bars.push({ link: null, rows: ["other", "addresses of no link above"], y: 0 });
  }
  return bars;
}

function heightOf(cards: readonly Card[]): number {
  return cards.reduce((sum, card) => sum + cardHeight(card) + GAP, cards.length > 0 ? -GAP : 0);
}

function cardHeight({ rows }: Card): number {
  return rows.length * ROW + PADDING * 2;
}

/** The shorter column is spread over the height of the longer one. */
function place(cards: readonly Card[], tall: number): void {
  const gap = (tall - heightOf(cards)) / (cards.length + 1);
  let y = TOP + gap;
  for (const card of cards) {
    card.y = y;
    y += cardHeight(card) + GAP + gap;
  }
}

/** Lines leave a bar in the order of where they go, so that those of one bar do not cross. */
function linesOf(bars: readonly Bar[], boxes: readonly Box[]): string[] {
  const barOf = new Map<string, Bar>();
  for (const bar of bars) if (bar.link !== null) barOf.set(bar.link.name, bar);
  const other = bars.find(({ link }) => link === null);
  const all = boxes.flatMap((box) =>
    box.subflows.map((subflow, index) => ({
      bar: barOf.get(subflow.link) ?? other!,
      box,
      subflow,
      y: box.y + PADDING + (BOX_ROWS + index + 0.5) * ROW,
    }))
  );
  return bars.flatMap((bar) => {
    const own = all.filter((line) => line.bar === bar);
    return own.map(({ box, subflow, y }, index) => {
      const from = bar.y + cardHeight(bar) * (index + 1) / (own.length + 1);
      const share = shareOf(subflow, box.connection);
      const width = LINE_MIN + (LINE_MAX - LINE_MIN) * share;
      const middle = (LINK_RIGHT + CONNECTION_LEFT) / 2;
      const d = `M${LINK_RIGHT} ${px(from)}C${middle} ${px(from)} ${middle} ${px(y)} ` +
        `${CONNECTION_LEFT} ${px(y)}`;
      const told = `${subflow.link || "no link"}: ${subflow.local} to ${subflow.remote}, ` +
        subflowText(subflow, share);
      return `<path class="line ${kindOf(subflow, bar.link)}" stroke-width="${px(width)}" ` +
        `d="${d}"><title>${svgEscaped(told)}</title></path>`;
    });
  });
}

function barPart(bar: Bar): string {
  const state = bar.link === null ? "none" : bar.link.up ? "up" : "down";
  const { y } = bar;
  const height = cardHeight(bar);
  return `<g><rect class="box${bar.link === null ? " none" : ""}" x="${MARGIN}" y="${px(y)}" ` +
    `width="${LINK_WIDTH}" height="${height}" rx="6"/>` +
    `<rect class="stripe-${state}" x="${MARGIN}" y="${px(y)}" width="6" height="${height}" ` +
    `rx="3"/>${rowsPart(bar, MARGIN + PADDING + 4, LINK_COLUMNS)}</g>`;
}

function boxPart(box: Box): string {
  return `<g><rect class="box" x="${CONNECTION_LEFT}" y="${px(box.y)}" ` +
    `width="${CONNECTION_WIDTH}" height="${cardHeight(box)}" rx="6"/>` +
    `${rowsPart(box, CONNECTION_LEFT + PADDING, CONNECTION_COLUMNS)}</g>`;
}

function rowsPart({ rows, y }: Card, x: number, columns: number): string {
  return rows.map((row, index) => {
    const at = y + PADDING + index * ROW + BASELINE;
    return svgText(x, at, cut(printable(row), columns), index === 0 ? "name" : "");
  }).join("");
}

function subflowText(subflow: SubflowView, share: number): string {
  const { backup, retransmitted, rttMs, state } = subflow;
  return [
    ...(subflow.subflow === null ? [] : [`#${subflow.subflow}`]),
    `rtt ${Number.isFinite(rttMs) ? Number(rttMs.toPrecision(3)) : "?"} ms`,
    `${Math.round(share * 100)} %`,
    ...(state === "established" ? [] : [state]),
    ...(backup === "" ? [] : [backup === "both" ? "backup" : `backup (${backup})`]),
    ...(retransmitted > 0 ? [`${retransmitted} retransmitted`] : []),
  ].join("  ");
}

/** Of the bytes that all subflows carried; 0 to 1. */
function shareOf(subflow: SubflowView, { subflows }: ConnectionView): number {
  const sum = subflows.reduce((total, each) => total + carried(each), 0);
  return sum > 0 ? carried(subflow) / sum : 0;
}

function carried({ bytesReceived, bytesSent }: SubflowView): number {
  const sum = bytesReceived + bytesSent;
  return Number.isFinite(sum) && sum > 0 ? sum : 0;
}

/** Half-open ones are on their way to carry data; all else that is not established is ending. */
function kindOf({ backup, state }: SubflowView, link: LinkView | null): Kind {
  const isOpen = state === "established" || state.startsWith("syn");
  if (!isOpen || link?.up === false) return "dead";
  return backup === "" ? "active" : "backup";
}

function headingOf({ namespace, pathManager }: PathsView): string {
  const where = namespace === "" ? "" : ` in namespace ${cut(printable(namespace), 40)}`;
  const who = pathManager === "none" ? "no MPTCP here" : `path manager: ${pathManager}`;
  return `MPTCP paths${where}, ${who}`;
}

function descriptionOf({ connections, links }: PathsView): string {
  const byName = new Map(links.map((link) => [link.name, link]));
  const kinds = connections.flatMap(({ subflows }) =>
    subflows.map((subflow) => kindOf(subflow, byName.get(subflow.link) ?? null))
  );
  const count = (kind: Kind): number => kinds.filter((each) => each === kind).length;
  const down = links.filter(({ up }) => !up).length;
  return `${countText(links.length, "link")}, ${down} down; ` +
    `${countText(connections.length, "connection")} with ${countText(kinds.length, "subflow")}: ` +
    `${count("active")} active, ${count("backup")} backup, ${count("dead")} closing or dead.`;
}

function notesOf({ connections, links }: PathsView, drawn: number): string[] {
  const notes: string[] = [];
  const hidden = connections.length - CONNECTIONS_MAX;
  if (links.length > drawn) notes.push(`and ${countText(links.length - drawn, "more link")}`);
  if (hidden > 0) notes.push(`and ${countText(hidden, "more connection")}`);
  return notes;
}

function legend(y: number): string {
  const kinds: readonly (readonly [Kind, string])[] = [
    ["active", "active"],
    ["backup", "backup"],
    ["dead", "closing or dead"],
  ];
  const parts = kinds.map(([kind, name], index) => {
    const x = MARGIN + index * 130;
    return `<path class="line ${kind}" stroke-width="3" d="M${x} ${y - 4}h32"/>` +
      svgText(x + 40, y, name, "soft");
  });
  const width = "width: share of the connection's bytes";
  return parts.join("") + svgText(CONNECTION_LEFT, y, width, "soft");
}
