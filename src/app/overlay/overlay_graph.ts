/**
 * An overlay as a picture (SVG 2): its virtual nodes with their boxes and addresses, and its links as they
 * were probed last, each network of a stack for itself. The same view gives the same bytes. Colours follow
 * the reader's preference for light or dark, and nothing is told by colour alone.
 *
 * @module
 */
import { countText } from "../count_text.ts";
import { columnsOf, cut, printable } from "../printable.ts";
import { px, svgEscaped, svgText } from "../svg_text.ts";
import {
  BOXES,
  compareNames,
  DOT_TEXT,
  MARGIN,
  place,
  type Placed,
  type Spot,
  WIDTH,
} from "./overlay_graph_layout.ts";
import {
  type LinkHealth,
  linkHealth,
  nodeHealth,
  overlayCounts,
  troubleWords,
} from "./overlay_health.ts";
import { lossText, rateText, rttText } from "./overlay_table.ts";
import type { OverlayLinkView, OverlayNodeView, OverlayView } from "./overlay_view.ts";

/** What does not fit is counted, not drawn. */
const NETWORKS_MAX = 8;
const NODES_MAX = 128;
const LINKS_MAX = 1000;
/** Links for whose labels room is looked for. */
const LABELS_TRIED = 160;

const TOP = 62;
const ROW = 18;
const LEGEND = 52;
const HEADING = 30;
const NETWORK_GAP = 12;
/** Widths of a column, as nobody can measure text. */
const COLUMN = 7.2;
const SMALL_COLUMN = 6.6;
const LABEL_HEIGHT = 13;
const BASELINE = 4;
/** Of the text beside a dot, and of the node's name in it. */
const DOT_COLUMNS = 35;
const DOT_NAME_COLUMNS = 12;
const NOTE_COLUMNS = 140;
/** Where on a link its label may stand, from its first end. */
const PLACES = [0.5, 0.43, 0.57, 0.36, 0.64, 0.29, 0.71, 0.22, 0.78];
/** Labels stand inside a circle of dots where no more links than these cross it, per dot. */
const OPEN_SHARE = 0.25;
/** Nearer to each other, at the end that is nearer to the middle, labels of dots are shorter. */
const TURNED_PITCH_MIN = 11;

/** The picture's style sheet, which whoever serves it has to allow. */
export const OVERLAY_STYLE: string =
  `.overlay{--page:#fff;--box:#f6f7f9;--edge:#b4bcc8;--ink:#1d2433;--soft:#5b6577;--well:#00805a;` +
  `--lossy:#8a5a00;--dead:#c62828;--unknown:#6b7686;--hue:#0072b2}` +
  `@media(prefers-color-scheme:dark){.overlay{--page:#14171c;--box:#1e232b;--edge:#4a5463;` +
  `--ink:#e8ebf0;--soft:#a3adbd;--well:#3fcf9a;--lossy:#e0b93a;--dead:#ff7b72;--unknown:#8d99aa;` +
  `--hue:#56b4e9}}` +
  `.overlay text{white-space:pre;font:11px ui-monospace,Menlo,Consolas,monospace;fill:var(--ink)}` +
  `.overlay .heading{font:600 17px system-ui,sans-serif}` +
  `.overlay .network{font:600 13px system-ui,sans-serif}` +
  `.overlay .name{font-weight:600;font-size:12px}.overlay .soft{fill:var(--soft)}` +
  `.overlay .page{fill:var(--page);stroke:var(--edge)}.overlay .rule{stroke:var(--edge)}` +
  `.overlay .box{fill:var(--box);stroke:var(--edge)}` +
  `.overlay .silent .box{stroke:var(--dead);stroke-width:2;stroke-dasharray:5 4}` +
  `.overlay .drifted .box{stroke:var(--lossy);stroke-width:2}` +
  `.overlay .unknown .box{stroke-dasharray:2 3}` +
  `.overlay .badge{fill:var(--page);stroke-width:1.2}.overlay .plate{fill:var(--page)}` +
  `.overlay .silent .badge{stroke:var(--dead)}.overlay .silent .word{fill:var(--dead)}` +
  `.overlay .drifted .badge{stroke:var(--lossy)}.overlay .drifted .word{fill:var(--lossy)}` +
  `.overlay .word{font-weight:600;font-size:10px}.overlay .stripe{fill:var(--hue)}` +
  `.overlay .line{fill:none;stroke-width:2}.overlay .esp{fill:none;stroke-width:8;` +
  `stroke-opacity:.28;stroke-linecap:round}` +
  `.overlay .line-well,.overlay .esp-well{stroke:var(--well)}` +
  `.overlay .line-lossy{stroke:var(--lossy);stroke-dasharray:10 5}` +
  `.overlay .esp-lossy{stroke:var(--lossy)}.overlay .line-dead{stroke:var(--dead);` +
  `stroke-width:2.5;stroke-dasharray:3 5}.overlay .esp-dead{stroke:var(--dead)}` +
  `.overlay .line-unknown{stroke:var(--unknown);stroke-dasharray:1 4}` +
  `.overlay .esp-unknown{stroke:var(--unknown)}.overlay .thin{stroke-width:1;stroke-opacity:.3}` +
  `.overlay .text-lossy{fill:var(--lossy);font-weight:600}` +
  `.overlay .text-dead{fill:var(--dead);font-weight:600}` +
  `.overlay .hue-1{--hue:#d55e00}.overlay .hue-2{--hue:#009e73}.overlay .hue-3{--hue:#b0579a}` +
  `.overlay .hue-4{--hue:#b59200}.overlay .hue-5{--hue:#4f8fc0}.overlay .hue-6{--hue:#a0522d}` +
  `.overlay .hue-7{--hue:#7a7a7a}`;

/** The picture as the text of an SVG file. */
export function overlaySvg(view: OverlayView): string {
  const networks = networksOf(view);
  const drawn = networks.slice(0, NETWORKS_MAX);
  const told = toldOf(view);
  let y = TOP + told.length * ROW;
  const parts: string[] = [];
  let unlabelled = 0;
  for (const [index, network] of drawn.entries()) {
    const named = networks.length > 1;
    if (named) {
      parts.push(headingPart(network, index, y));
      y += HEADING;
    }
    const { height, labelsLeft, text } = networkPart(network, index, y);
    parts.push(text);
    unlabelled += labelsLeft;
    y += height + NETWORK_GAP;
    for (const note of hiddenOf(network)) {
      parts.push(svgText(MARGIN, y, note, "soft"));
      y += ROW;
    }
  }
  if (drawn.length === 0) {
    parts.push(svgText(MARGIN, y + ROW, "No node plays a part in it yet", "soft"));
    y += 2 * ROW;
  }
  const notes = [
    ...(networks.length > drawn.length
      ? [`and ${countText(networks.length - drawn.length, "more network")}`]
      : []),
    ...(unlabelled > 0
      ? [
        `no room for the labels of ${
          countText(unlabelled, "link")
        }: fairlead overlay status tells all`,
      ]
      : []),
  ];
  for (const note of notes) {
    parts.push(svgText(MARGIN, y + BASELINE, note, "soft"));
    y += ROW;
  }
  const height = Math.ceil(y + LEGEND);
  const heading = headingOf(view);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" class="overlay" viewBox="0 0 ${WIDTH} ${height}" ` +
    `width="${WIDTH}" height="${height}" role="img" aria-labelledby="overlay-title overlay-desc">`,
    `<title id="overlay-title">${svgEscaped(heading)}</title>`,
    `<desc id="overlay-desc">${svgEscaped(descriptionOf(view))}</desc>`,
    `<style>${OVERLAY_STYLE}</style>`,
    `<rect class="page" x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="8"/>`,
    svgText(MARGIN, 34, heading, "heading"),
    ...told.map(({ kind, text }, index) => svgText(MARGIN, 58 + index * ROW, text, kind)),
    ...parts,
    legend(height - 22),
    "</svg>",
  ].join("\n");
}

/** A network of the overlay, and what of it is drawn. */
interface NetworkPart {
  readonly name: string;
  readonly topology: string | null;
  readonly all: { readonly nodes: number; readonly links: number };
  readonly nodes: readonly OverlayNodeView[];
  readonly links: readonly { readonly view: OverlayLinkView; readonly ends: [number, number] }[];
}

/** The overlay's own first, then those that carry some of its links. */
function networksOf(view: OverlayView): NetworkPart[] {
  const rank = (name: string): string => name === view.name ? "" : name;
  const names = [...new Set([...view.nodes, ...view.links].map(({ network }) => network))]
    .sort((a, b) => compareNames(rank(a), rank(b)));
  return names.map((name, at) => {
    const own = view.nodes.filter(({ network }) => network === name)
      .sort((a, b) => compareNames(a.name, b.name));
    const nodes = own.slice(0, NODES_MAX);
    const index = new Map(nodes.map((node, at) => [node.name, at]));
    const all = view.links.filter(({ network }) => network === name);
    const links = all.flatMap((link) => {
      const [a, b] = link.ends.map((end) => index.get(end));
      return a === undefined || b === undefined
        ? []
        : [{ view: link, ends: [a, b] as [number, number] }];
    });
    return {
      name,
      topology: at === 0 ? view.topology : null,
      all: { nodes: own.length, links: all.length },
      nodes,
      links: worstFirst(links).slice(0, LINKS_MAX),
    };
  });
}

const RANK: Readonly<Record<LinkHealth, number>> = { dead: 0, lossy: 1, well: 2, unknown: 3 };

function worstFirst(links: NetworkPart["links"]): NetworkPart["links"] {
  return links.toSorted((one, other) =>
    RANK[linkHealth(one.view)] - RANK[linkHealth(other.view)] ||
    compareNames(one.view.name, other.view.name)
  );
}

function hiddenOf({ all, links, nodes }: NetworkPart): string[] {
  return [
    ...(all.nodes > nodes.length
      ? [`and ${countText(all.nodes - nodes.length, "more node")}`]
      : []),
    ...(all.links > links.length
      ? [`and ${countText(all.links - links.length, "more link")}`]
      : []),
  ];
}

function headingPart({ all, name }: NetworkPart, index: number, y: number): string {
  const about = index === 0 ? "" : "  (carries links of the network above it)";
  const text = `Network ${cut(printable(name), 60)}: ${countText(all.nodes, "node")}, ` +
    `${countText(all.links, "link")}${about}`;
  return `<g class="hue-${index}"><path class="rule" d="M${MARGIN} ${px(y)}H${WIDTH - MARGIN}"/>` +
    `<rect class="stripe" x="${MARGIN}" y="${px(y + 8)}" width="12" height="12" rx="2"/>` +
    `${svgText(MARGIN + 20, y + 19, text, "network")}</g>`;
}

function networkPart(
  network: NetworkPart,
  index: number,
  y: number,
): { height: number; labelsLeft: number; text: string } {
  const { links, nodes, topology } = network;
  const texts = nodes.map(dotText);
  const placed = place(
    {
      names: nodes.map(({ name }) => name),
      pairs: links.map(({ ends }) => ends),
      textWidth: Math.max(0, ...texts.map(columnsOf)) * SMALL_COLUMN,
    },
    topology,
  );
  const { labels, left } = labelsOf(network, placed);
  const text = [
    `<g class="hue-${index}" transform="translate(0 ${px(y)})">`,
    ...links.toReversed().map((link) => linePart(link, placed, links.length)),
    ...labels,
    ...nodes.map((node, at) => {
      const spot = placed.spots[at]!;
      if (placed.look !== "dot") return boxPart(node, spot, placed.look);
      return spot.angle === null
        ? boxPart(node, spot, "small")
        : dotPart(node, spot, spot.angle, texts[at]!);
    }),
    "</g>",
  ].join("\n");
  return { height: placed.height, labelsLeft: left, text };
}

type Drawn = NetworkPart["links"][number];

function linePart({ ends: [a, b], view }: Drawn, { spots }: Placed, count: number): string {
  const [from, to] = [spots[a]!, spots[b]!];
  const d = `M${px(from.x)} ${px(from.y)}L${px(to.x)} ${px(to.y)}`;
  const health = linkHealth(view);
  const thin = count > 200 && (health === "well" || health === "unknown") ? " thin" : "";
  const halo = view.encrypted && thin === "" ? `<path class="esp esp-${health}" d="${d}"/>` : "";
  return `<g><title>${svgEscaped(linkText(view))}</title>${halo}` +
    `<path class="line line-${health}${thin}" d="${d}"/></g>`;
}

function boxPart(node: OverlayNodeView, { x, y }: Spot, look: Placed["look"]): string {
  const { height, width } = BOXES[look];
  const left = x - width / 2;
  const top = y - height / 2;
  const columns = Math.floor((width - 20) / COLUMN);
  const small = Math.floor((width - 18) / SMALL_COLUMN);
  const row = (at: number, text: string, kind: string): string =>
    svgText(left + 12, top + at, cut(printable(text), kind === "name" ? columns : small), kind);
  const rows = look === "card"
    ? [row(19, node.name, "name"), row(34, node.node, ""), row(48, node.address, "soft")]
    : look === "small"
    ? [row(16, node.name, "name"), row(30, node.node, "soft")]
    : [row(15, `${node.name} ${node.node}`, "")];
  const radius = node.role === "router" ? 6 : height / 2;
  const health = nodeHealth(node);
  return `<g class="${health}"><title>${svgEscaped(nodeText(node))}</title>` +
    `<rect class="box" x="${px(left)}" y="${px(top)}" width="${width}" height="${height}" ` +
    `rx="${px(Math.min(radius, 16))}"/>` +
    `<rect class="stripe" x="${px(left + 4)}" y="${px(top + 5)}" width="3" ` +
    `height="${height - 10}" rx="1.5"/>${rows.join("")}` +
    `${badgePart(health, left + width - 8, top)}</g>`;
}

function badgePart(health: string, right: number, y: number): string {
  if (health !== "silent" && health !== "drifted") return "";
  const width = health.length * 6 + 12;
  return `<rect class="badge" x="${px(right - width)}" y="${px(y - 8)}" width="${width}" ` +
    `height="15" rx="7.5"/>` +
    `<text class="word" x="${px(right - width + 6)}" y="${px(y + 3)}">${health}</text>`;
}

function dotPart(node: OverlayNodeView, { x, y }: Spot, angle: number, text: string): string {
  const health = nodeHealth(node);
  const mark = node.role === "router"
    ? `<rect class="box" x="${px(x - 5)}" y="${px(y - 5)}" width="10" height="10" rx="2"/>`
    : `<circle class="box" cx="${px(x)}" cy="${px(y)}" r="5"/>`;
  const word = health === "silent" || health === "drifted" ? "word" : "";
  return `<g class="${health}"><title>${svgEscaped(nodeText(node))}</title>` +
    `${mark}<circle class="stripe" cx="${px(x)}" cy="${px(y)}" r="2"/>` +
    `${turned({ x, y }, angle, DOT_TEXT, text, word)}</g>`;
}

/**
 * A text on the line from the middle through a point: behind it by `away`, or before it when that is
 * negative. Never upside down.
 */
function turned(
  { x, y }: { readonly x: number; readonly y: number },
  angle: number,
  away: number,
  text: string,
  kind: string,
): string {
  const isLeft = Math.cos(angle) < -1e-9;
  const degrees = angle * 180 / Math.PI + (isLeft ? 180 : 0);
  const isEnd = isLeft === away > 0;
  const at = `${px(x + away * Math.cos(angle))} ${px(y + away * Math.sin(angle))}`;
  const width = columnsOf(text) * SMALL_COLUMN;
  const plate = away > 0
    ? ""
    : `<rect class="plate" x="${px(isEnd ? -width - 2 : -2)}" y="-6" width="${px(width + 4)}" ` +
      `height="12"/>`;
  return `<g transform="translate(${at}) rotate(${px(degrees)})">${plate}` +
    `<text class="${kind}" y="${BASELINE}" text-anchor="${isEnd ? "end" : "start"}">` +
    `${svgEscaped(text)}</text></g>`;
}

/** Something that text must not cover. */
interface Area {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

/** Labels of as many links as there is room for, those in trouble first. */
function labelsOf(
  { links }: NetworkPart,
  placed: Placed,
): { labels: string[]; left: number } {
  const { look, ring, shape, spots } = placed;
  const told = links.filter(({ view }) => linkHealth(view) !== "unknown");
  const taken = spots.map((spot) =>
    areaOf(spot, look !== "dot" || spot.angle !== null ? look : "small")
  );
  const outer = shape === "star" ? placed.order.slice(1) : placed.order;
  const positions = new Map(outer.map((index, at) => [index, at]));
  const isOpen = links.length <= outer.length * (1 + OPEN_SHARE);
  const labels: string[] = [];
  let tried = 0;
  for (const { ends: [a, b], view } of told) {
    const health = linkHealth(view);
    // Where all is crossed by lines there is room for what is wrong only.
    if (ring !== null && !isOpen && health === "well") continue;
    const step = ring === null
      ? null
      : stepOf(positions.get(a), positions.get(b), outer.length, shape);
    if (ring !== null && step !== null) {
      labels.push(innerLabel(view, ring, step, outer.length));
      continue;
    }
    if (tried++ >= LABELS_TRIED) continue;
    const label = roomFor(view, spots[a]!, spots[b]!, taken);
    if (label !== null) labels.push(label);
  }
  return { labels, left: told.length - labels.length };
}

/**
 * Where between dots the label of a link leads inward: between two that stand side by side, and at the
 * outer end of a line from the middle. Null: it crosses the circle.
 */
function stepOf(
  one: number | undefined,
  other: number | undefined,
  count: number,
  shape: Placed["shape"],
): number | null {
  if (one === undefined || other === undefined) return one ?? other ?? null;
  if (shape === "star") return null;
  const [low, high] = [Math.min(one, other), Math.max(one, other)];
  if (high - low === 1) return low + 0.5;
  return low === 0 && high === count - 1 ? high + 0.5 : null;
}

function innerLabel(
  view: OverlayLinkView,
  ring: NonNullable<Placed["ring"]>,
  step: number,
  count: number,
): string {
  const angle = -Math.PI / 2 + 2 * Math.PI * step / count;
  const x = ring.x + ring.radius * Math.cos(angle);
  const y = ring.y + ring.radius * Math.sin(angle);
  const pitch = (text: string): number =>
    2 * Math.PI * (ring.radius - DOT_TEXT - columnsOf(text) * SMALL_COLUMN) / count;
  const texts = textsOf(view).filter((lines) => lines.length === 1).map(([text]) => text!);
  const text = texts.find((text) => pitch(text) >= TURNED_PITCH_MIN) ?? texts.at(-1)!;
  return turned({ x, y }, angle, -DOT_TEXT, text, classOf(linkHealth(view)));
}

function roomFor(view: OverlayLinkView, from: Spot, to: Spot, taken: Area[]): string | null {
  const length = Math.hypot(to.x - from.x, to.y - from.y) || 1;
  const across = [(from.y - to.y) / length, (to.x - from.x) / length] as const;
  for (const lines of textsOf(view)) {
    const half = Math.max(...lines.map(columnsOf)) * SMALL_COLUMN / 2 + 3;
    const tall = lines.length * LABEL_HEIGHT / 2;
    // Beside the line by so much that it just does not touch it.
    const off = Math.abs(across[0]) * half + Math.abs(across[1]) * tall + 3;
    for (const share of PLACES) {
      for (const side of [0, -off, off]) {
        const x = from.x + (to.x - from.x) * share + across[0] * side;
        const y = from.y + (to.y - from.y) * share + across[1] * side;
        const area = { left: x - half, right: x + half, top: y - tall, bottom: y + tall };
        if (taken.some((other) => overlap(area, other))) continue;
        taken.push(area);
        return labelPart(lines, area, classOf(linkHealth(view)));
      }
    }
  }
  return null;
}

function labelPart(
  lines: readonly string[],
  { bottom, left, right, top }: Area,
  kind: string,
): string {
  const middle = px((left + right) / 2);
  const rows = lines.map((line, at) =>
    `<text class="${kind}" x="${middle}" y="${px(top + at * LABEL_HEIGHT + 10)}" ` +
    `text-anchor="middle">${svgEscaped(line)}</text>`
  );
  return `<g><rect class="plate" x="${px(left)}" y="${px(top)}" width="${px(right - left)}" ` +
    `height="${px(bottom - top)}"/>${rows.join("")}</g>`;
}

function classOf(health: LinkHealth): string {
  return health === "well" ? "soft" : `text-${health}`;
}

function areaOf({ x, y }: Spot, look: Placed["look"]): Area {
  const { height, width } = BOXES[look];
  // A badge stands out of the top.
  return {
    left: x - width / 2,
    right: x + width / 2,
    top: y - height / 2 - 8,
    bottom: y + height / 2,
  };
}

function overlap(one: Area, other: Area): boolean {
  return one.left < other.right && other.left < one.right && one.top < other.bottom &&
    other.top < one.bottom;
}

/** What its label may say, in lines; the next one needs less room. */
function textsOf(link: OverlayLinkView): string[][] {
  const health = linkHealth(link);
  if (health === "dead") return [["dead"]];
  const [rtt, loss] = [rttText(link.rttUs), lossText(link)];
  return [[`${rtt}, ${loss}`], [rtt, loss], [health === "well" ? rtt : loss]];
}

/** What is wrong comes before what the end may take away; else the box's name gives way. */
function dotText(node: OverlayNodeView): string {
  const health = nodeHealth(node);
  const [name, box, address] = [node.name, node.node, node.address].map(printable);
  const first = cut(name!, DOT_NAME_COLUMNS);
  if (health === "silent" || health === "drifted") {
    return cut([first, health, box, address].join("  "), DOT_COLUMNS);
  }
  const room = DOT_COLUMNS - columnsOf(first) - columnsOf(address!) - 4;
  return cut([first, cut(box!, Math.max(room, 4)), address].join("  "), DOT_COLUMNS);
}

function nodeText(node: OverlayNodeView): string {
  const { address, drift, ipaddr, name, role, state } = node;
  const health = nodeHealth(node);
  return [
    `${name} (${role}), ${address}`,
    `on ${node.node}${ipaddr === "" ? "" : `, tunnels end at ${ipaddr}`}`,
    ...(state === "" ? [] : [state]),
    ...(health === "silent" ? ["silent"] : []),
    ...drift.map((line) => `drift: ${line}`),
  ].join("\n");
}

function linkText(link: OverlayLinkView): string {
  const { addresses, encrypted, ends, mtu, name, port, rateBits, vni } = link;
  const health = linkHealth(link);
  const said = health === "unknown"
    ? "not probed"
    : health === "dead"
    ? "dead: no probe was answered"
    : `round trip ${rttText(link.rttUs)}, lost ${lossText(link)}`;
  return [
    `${name}: ${ends.join(" - ")}, ${said}`,
    `${addresses.join(" - ")}, VNI ${vni}, port ${port}, MTU ${mtu}` +
    `${rateBits === 0 ? "" : `, ${rateText(rateBits)}`}${encrypted ? ", encrypted" : ""}`,
  ].join("\n");
}

function headingOf({ links, name, nodes, state, topology }: OverlayView): string {
  return `${cut(printable(name), 40)}: ${state}, ${topology}, ${
    countText(nodes.length, "node")
  }, ` +
    countText(links.length, "link");
}

/** Sentences below the heading. */
function toldOf(view: OverlayView): { kind: string; text: string }[] {
  const { failure, orphans } = view;
  const trouble = troubleWords(overlayCounts(view)).join(", ");
  return [
    ...(trouble === "" ? [] : [{ kind: "text-dead", text: trouble }]),
    ...(failure === null
      ? []
      : [{ kind: "text-dead", text: `failed in ${failure.phase}: ${failure.reason}` }]),
    ...(orphans.length === 0
      ? []
      : [{ kind: "text-lossy", text: `left over on ${orphans.join(", ")}` }]),
  ].map(({ kind, text }) => ({ kind, text: cut(printable(text), NOTE_COLUMNS) }));
}

function descriptionOf(view: OverlayView): string {
  const { encrypted, links, unprobed } = overlayCounts(view);
  const trouble = troubleWords(overlayCounts(view));
  return `${encrypted} of ${countText(links, "link")} encrypted, ${unprobed} not probed; ` +
    `${trouble.length === 0 ? "no trouble is known" : trouble.join(", ")}.`;
}

function legend(y: number): string {
  const kinds: readonly (readonly [LinkHealth, string])[] = [
    ["well", "all probes answered"],
    ["lossy", "some lost"],
    ["dead", "dead"],
    ["unknown", "not probed"],
  ];
  let x = MARGIN;
  const parts: string[] = [];
  const add = (mark: string, name: string): void => {
    parts.push(mark + svgText(x + 38, y, name, "soft"));
    x += 38 + name.length * SMALL_COLUMN + 22;
  };
  for (const [kind, name] of kinds) {
    add(`<path class="line line-${kind}" d="M${px(x)} ${y - 4}h30"/>`, name);
  }
  add(
    `<path class="esp esp-well" d="M${px(x + 4)} ${y - 4}h22"/>` +
      `<path class="line line-well" d="M${px(x)} ${y - 4}h30"/>`,
    "encrypted",
  );
  const box = (radius: number): string =>
    `<rect class="box" x="${px(x + 8)}" y="${y - 12}" width="22" height="15" rx="${radius}"/>`;
  add(box(3), "router");
  add(box(7.5), "host");
  return parts.join("");
}
