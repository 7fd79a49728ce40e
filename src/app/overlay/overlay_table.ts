/**
 * Overlays as text: what `overlay status`, `apply` and `discover` print.
 *
 * @module
 */
import type { Candidate } from "../../proto/xbone/machine.ts";
import { countText } from "../count_text.ts";
import { columnsOf, printable, printableWord } from "../printable.ts";
import { bytesText } from "../readings.ts";
import type { OverlayLinkView, OverlayNodeView, OverlayView } from "./overlay_view.ts";

const GAP = "  ";
const NONE = "-";

/** All overlays, a line each. */
export function overlaysLines(overlays: readonly OverlayView[]): string[] {
  if (overlays.length === 0) return ["No overlays"];
  const rows = overlays.map((view) => [
    view.name,
    view.state,
    view.topology,
    `${view.nodes.length}`,
    `${view.links.length}`,
    troubleOf(view),
  ]);
  return table(["OVERLAY", "STATE", "TOPOLOGY", "NODES", "LINKS", "TROUBLE"], rows);
}

/** One overlay: its nodes, and its links as they were probed last. */
export function overlayLines(view: OverlayView): string[] {
  const { digest, epoch, failure, links, managers, name, nodes, state, topology } = view;
  const lines = [
    `Overlay ${printable(name)}: ${state}, ${printable(topology)}, ${
      countText(nodes.length, "node")
    }, ` +
    `${countText(links.length, "link")}, epoch ${epoch}, digest ${digest.slice(0, 12)}`,
  ];
  if (failure !== null) {
    const where = [failure.node, failure.step].filter((word) => word !== "").join(", ");
    const at = where === "" ? "" : ` at ${printable(where)}`;
    lines.push(`Failed in ${printable(failure.phase)}${at}: ${printable(failure.reason)}`);
  }
  for (const node of view.orphans) lines.push(`Left over on ${printable(node)}: it did not answer`);
  for (const { node, sub } of managers) {
    lines.push(`Sub-overlay ${printable(sub)} by manager ${printable(node)}`);
  }
  if (nodes.length > 0) {
    const header = ["NODE", "ROLE", "ADDRESS", "NETWORK", "BOX", "TUNNELS AT", "STATE"];
    lines.push("", ...table(header, nodes.map(nodeRow)));
  }
  if (links.length > 0) {
    const header = [
      "LINK",
      "ADDRESSES",
      "MTU",
      "RATE",
      "RTT",
      "LOSS",
      "RECEIVED",
      "SENT",
      "ERRORS",
    ];
    lines.push("", ...table(header, links.map(linkRow)));
  }
  // Of a silent node it is only said why nothing is known.
  const drift = nodes.filter(({ silent }) => !silent).flatMap(({ drift, name, node }) =>
    drift.map((line) => `Drift at ${printable(name)} (${printable(node)}): ${printable(line)}`)
  );
  return drift.length === 0 ? lines : [...lines, "", ...new Set(drift)];
}

/** `overlay discover`. */
export function candidateLines(nodes: readonly Candidate[]): string[] {
  if (nodes.length === 0) {
    return [
      "Nobody answers: is fairlead overlay rd running there, of the same authority, and does the group reach it?",
    ];
  }
  const rows = nodes.map(({ capabilities, free, host, hostname, mtu, node, os, port, type }) => [
    node,
    type,
    hostname,
    host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`,
    os,
    `${mtu}`,
    `${free}`,
    capabilities.join(",") || NONE,
  ]);
  return table(["BOX", "MAY BE", "HOST", "CONTROL", "OS", "MTU", "FREE", "CAN"], rows);
}

/** A round trip: `0.35 ms`. */
export function rttText(rttUs: number | null): string {
  return rttUs === null ? NONE : `${(rttUs / 1000).toFixed(2)} ms`;
}

/** A share of probes that were lost: `0 %` only when none was, `100 %` only when all were. */
export function lossText({ answered, sent }: OverlayLinkView): string {
  if (sent === null || answered === null || sent <= 0) return NONE;
  if (answered >= sent) return "0 %";
  if (answered <= 0) return "100 %";
  return `${Math.min(99, Math.max(1, Math.round(100 * (1 - answered / sent))))} %`;
}

/** As tc(8) writes it: `10mbit`. */
export function rateText(bits: number): string {
  if (bits === 0) return NONE;
  if (bits % 1_000_000_000 === 0) return `${bits / 1_000_000_000}gbit`;
  if (bits % 1_000_000 === 0) return `${bits / 1_000_000}mbit`;
  return bits % 1000 === 0 ? `${bits / 1000}kbit` : `${bits}bit`;
}

function nodeRow(node: OverlayNodeView): string[] {
  const state = node.silent ? "silent" : node.drift.length > 0 ? "drifted" : node.state || NONE;
  return [node.name, node.role, node.address, node.network, node.node, node.ipaddr, state];
}

function linkRow(link: OverlayLinkView): string[] {
  const bytes = (count: number | null): string => count === null ? NONE : bytesText(count);
  return [
    `${link.name}${link.encrypted ? " (esp)" : ""}`,
    link.addresses.join(" - "),
    `${link.mtu}`,
    rateText(link.rateBits),
    rttText(link.rttUs),
    lossText(link),
    bytes(link.rxBytes),
    bytes(link.txBytes),
    link.errors === null ? NONE : `${link.errors}`,
  ];
}

function troubleOf({ failure, links, nodes, orphans }: OverlayView): string {
  const silent = nodes.filter((node) => node.silent).length;
  const drifted = nodes.filter(({ drift }) => drift.length > 0).length;
  const dead = links.filter(({ answered, sent }) => (sent ?? 0) > 0 && answered === 0).length;
  const words = [
    ...(failure === null ? [] : [failure.reason]),
    ...(silent === 0 ? [] : [`${countText(silent, "node")} silent`]),
    ...(drifted === 0 ? [] : [`${countText(drifted, "node")} drifted`]),
    ...(dead === 0 ? [] : [`${countText(dead, "link")} dead`]),
    ...(orphans.length === 0 ? [] : [`left over on ${orphans.join(", ")}`]),
  ];
  return words.join("; ") || NONE;
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const cells = [header, ...rows.map((row) => row.map((cell) => cellOf(cell)))];
  const widths = header.map((_, column) =>
    Math.max(...cells.map((row) => columnsOf(row[column] ?? "")))
  );
  return cells.map((row) =>
    row.map((cell, column) => cell + " ".repeat(widths[column]! - columnsOf(cell))).join(GAP)
      .trimEnd()
  );
}

/** Blanks may stand in a cell, as cells are two apart. */
function cellOf(text: string): string {
  return text.trim() === "" ? NONE : text.trim().split(/ +/).map(printableWord).join(" ");
}
