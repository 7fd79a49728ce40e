/**
 * An overlay as a picture in text: for a terminal, for Graphviz (the DOT language) and for Mermaid
 * (flowchart syntax). Names and addresses are quoted so that they are labels and nothing else.
 *
 * @module
 */
import { countText } from "../count_text.ts";
import { columnsOf, printable, printableWord } from "../printable.ts";
import { compareNames } from "./overlay_graph_layout.ts";
import {
  type LinkHealth,
  linkHealth,
  type NodeHealth,
  nodeHealth,
  overlayCounts,
  troubleWords,
} from "./overlay_health.ts";
import { lossText, rateText, rttText } from "./overlay_table.ts";
import type { OverlayLinkView, OverlayNodeView, OverlayView } from "./overlay_view.ts";

/** Links below a node; the rest is counted. */
const LINKS_SHOWN = 24;

/** How a link looks in a terminal; `=` where it is encrypted. */
const STROKES: Readonly<Record<LinkHealth, readonly [plain: string, encrypted: string]>> = {
  well: ["---", "==="],
  lossy: ["-~-", "=~="],
  dead: ["-x-", "=x="],
  unknown: ["-?-", "=?="],
};

const NODE_COLOURS: Readonly<Record<NodeHealth, string>> = {
  well: "#00805a",
  silent: "#c62828",
  drifted: "#8a5a00",
  unknown: "#6b7686",
};

const LINK_COLOURS: Readonly<Record<LinkHealth, string>> = {
  well: "#00805a",
  lossy: "#8a5a00",
  dead: "#c62828",
  unknown: "#6b7686",
};

/** For a terminal: every node, and below it its links with who is at their other ends. */
export function overlayText(view: OverlayView): string[] {
  const { failure, orphans } = view;
  const trouble = troubleWords(overlayCounts(view)).join(", ");
  const lines = [
    `${printableWord(view.name)}: ${view.state}, ${printable(view.topology)}, ` +
    `${countText(view.nodes.length, "node")}, ${countText(view.links.length, "link")}`,
    ...(trouble === "" ? [] : [trouble]),
    ...(failure === null ? [] : [printable(`failed in ${failure.phase}: ${failure.reason}`)]),
    ...(orphans.length === 0 ? [] : [`left over on ${orphans.map(printableWord).join(", ")}`]),
  ];
  const networks = networksOf(view);
  for (const { links, name, nodes } of networks) {
    lines.push("");
    if (networks.length > 1) lines.push(`Network ${printableWord(name)}`);
    const heads = nodes.map((node) => headCells(node));
    const widths = heads.reduce(
      (most, cells) => cells.map((cell, at) => Math.max(most[at] ?? 0, columnsOf(cell))),
      [] as number[],
    );
    const own = linksByNode(links);
    for (const [at, node] of nodes.entries()) {
      lines.push(aligned(heads[at]!, widths));
      lines.push(...linkLines(node, own.get(node.name) ?? []));
    }
  }
  return [...lines, "", "=== encrypted  -~- some lost  -x- dead  -?- not probed"];
}

/** For `dot`, `neato`, `circo` and the like. */
export function overlayDot(view: OverlayView): string {
  const networks = networksOf(view);
  const lines = [
    `graph ${quoted(view.name)} {`,
    `  layout=${LAYOUTS[view.topology] ?? "neato"};`,
    "  overlap=false;",
    "  splines=true;",
    '  node [shape=box, style=rounded, fontname="sans-serif", fontsize=10];',
    '  edge [fontname="sans-serif", fontsize=9];',
  ];
  for (const [at, { ids, links, name, nodes }] of networks.entries()) {
    lines.push(`  subgraph cluster_${at} {`, `    label=${quoted(name)};`);
    for (const node of nodes) {
      const health = nodeHealth(node);
      const label = quoted(nodeLabel(node, health).join("\n"));
      const shape = node.role === "router" ? "box" : "ellipse";
      const pen = health === "silent" ? ", style=dashed" : "";
      lines.push(
        `    ${ids.get(node.name)} [label=${label}, shape=${shape}, ` +
          `color="${NODE_COLOURS[health]}"${pen}];`,
      );
    }
    for (const link of links) {
      const health = linkHealth(link);
      const style = { well: "solid", lossy: "dashed", dead: "dotted", unknown: "dotted" }[health];
      const width = link.encrypted ? 3 : 1;
      lines.push(
        `    ${endsOf(link, ids).join(" -- ")} [label=${quoted(linkLabel(link))}, ` +
          `color="${LINK_COLOURS[health]}", style=${style}, penwidth=${width}];`,
      );
    }
    lines.push("  }");
  }
  return [...lines, "}"].join("\n");
}

/** For pages that draw Mermaid. */
export function overlayMermaid(view: OverlayView): string {
  const networks = networksOf(view);
  const lines = ["flowchart LR"];
  const styles: string[] = [];
  let edge = 0;
  for (const [at, { ids, links, name, nodes }] of networks.entries()) {
    lines.push(`  subgraph g${at}["${entities(name)}"]`);
    for (const node of nodes) {
      const health = nodeHealth(node);
      const label = nodeLabel(node, health).map(entities).join("<br/>");
      const [open, close] = node.role === "router" ? ["[", "]"] : ["([", "])"];
      lines.push(`    ${ids.get(node.name)}${open}"${label}"${close}:::${health}`);
    }
    for (const link of links) {
      const health = linkHealth(link);
      const stroke = health === "well" || health === "lossy"
        ? link.encrypted ? "===" : "---"
        : "-.-";
      const [a, b] = endsOf(link, ids);
      lines.push(`    ${a} ${stroke}|"${entities(linkLabel(link))}"| ${b}`);
      styles.push(`  linkStyle ${edge++} stroke:${LINK_COLOURS[health]}`);
    }
    lines.push("  end");
  }
  const classes = Object.entries(NODE_COLOURS).map(([name, colour]) =>
    `  classDef ${name} stroke:${colour}${name === "silent" ? ",stroke-dasharray:5 4" : ""}`
  );
  return [...lines, ...styles, ...classes].join("\n");
}

/** Programs of Graphviz by topology. */
const LAYOUTS: Readonly<Record<string, string>> = {
  ring: "circo",
  mesh: "circo",
  star: "twopi",
  tree: "dot",
  linear: "dot",
};

interface NetworkText {
  readonly name: string;
  readonly nodes: readonly OverlayNodeView[];
  readonly links: readonly OverlayLinkView[];
  /** Of nodes by their names. */
  readonly ids: ReadonlyMap<string, string>;
}

/** The overlay's own first; links whose ends are not told are left out. */
function networksOf(view: OverlayView): NetworkText[] {
  const rank = (name: string): string => name === view.name ? "" : name;
  const names = [...new Set(view.nodes.map(({ network }) => network))]
    .sort((a, b) => compareNames(rank(a), rank(b)));
  return names.map((name, number) => {
    const nodes = view.nodes.filter(({ network }) => network === name)
      .sort((a, b) => compareNames(a.name, b.name));
    const ids = new Map(nodes.map((node, at) => [node.name, `n${number}_${at}`]));
    const links = view.links.filter(({ ends, network }) =>
      network === name && ends.every((end) => ids.has(end))
    ).sort((a, b) => compareNames(a.name, b.name));
    return { name, nodes, links, ids };
  });
}

function headCells(node: OverlayNodeView): string[] {
  const { address, ipaddr, name, node: box, role } = node;
  const health = nodeHealth(node);
  return [
    printableWord(name),
    role,
    printableWord(address),
    `on ${printableWord(box)}${ipaddr === "" ? "" : ` (${printableWord(ipaddr)})`}`,
    health === "well" || health === "unknown" ? printableWord(node.state) : health.toUpperCase(),
  ];
}

function linksByNode(links: readonly OverlayLinkView[]): Map<string, OverlayLinkView[]> {
  const byNode = new Map<string, OverlayLinkView[]>();
  for (const link of links) {
    for (const end of new Set(link.ends)) {
      const own = byNode.get(end);
      if (own === undefined) byNode.set(end, [link]);
      else own.push(link);
    }
  }
  return byNode;
}

function linkLines({ name }: OverlayNodeView, links: readonly OverlayLinkView[]): string[] {
  const other = ({ ends: [a, b] }: OverlayLinkView): string => a === name ? b : a;
  const own = links.toSorted((a, b) => compareNames(other(a), other(b)));
  const shown = own.slice(0, LINKS_SHOWN);
  const rows = shown.map((link) => {
    const health = linkHealth(link);
    return [
      `  ${STROKES[health][link.encrypted ? 1 : 0]} ${printableWord(other(link))}`,
      health === "dead" ? "dead" : rttText(link.rttUs),
      health === "well" || health === "lossy" ? `${lossText(link)} lost` : "-",
      ...(link.rateBits === 0 ? [] : [rateText(link.rateBits)]),
    ];
  });
  const widths = [0, 1, 2].map((at) => Math.max(0, ...rows.map((row) => columnsOf(row[at]!))));
  return [
    ...rows.map((row) => aligned(row, widths)),
    ...(own.length > shown.length
      ? [`  and ${countText(own.length - shown.length, "more link")}`]
      : []),
  ];
}

function aligned(cells: readonly string[], widths: readonly number[]): string {
  return cells.map((cell, at) =>
    cell + " ".repeat(Math.max(0, (widths[at] ?? 0) - columnsOf(cell)))
  )
    .join("  ").trimEnd();
}

function nodeLabel(node: OverlayNodeView, health: NodeHealth): string[] {
  const word = health === "silent" || health === "drifted" ? [health] : [];
  return [node.name, node.node, node.address, ...word];
}

function linkLabel(link: OverlayLinkView): string {
  const health = linkHealth(link);
  const said = health === "dead"
    ? "dead"
    : health === "unknown"
    ? "not probed"
    : `${rttText(link.rttUs)}, ${lossText(link)}`;
  return link.encrypted ? `${said}, esp` : said;
}

function endsOf({ ends }: OverlayLinkView, ids: ReadonlyMap<string, string>): string[] {
  return ends.map((end) => ids.get(end)!);
}

/** A quoted string of the DOT language; a backslash would begin an escape of a label. */
function quoted(text: string): string {
  const lines = text.split("\n").map((line) =>
    printable(line).toWellFormed().replaceAll("\\", "\\\\").replaceAll('"', '\\"')
  );
  return `"${lines.join("\\n")}"`;
}

/** Mermaid's entity codes, by number: for all that could mean something to it or to HTML. */
function entities(text: string): string {
  return printable(text).toWellFormed().replace(
    /[^A-Za-z0-9 .:,/_()%-]/gu,
    (character) => `#${character.codePointAt(0)};`,
  );
}
