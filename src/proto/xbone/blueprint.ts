/**
 * All of an overlay that follows from its specification alone: layout, ways and room for addresses.
 * Whatever can be refused before boxes are known is refused here, for `plan` and for `apply` alike.
 *
 * @module
 */
import { bitsNeeded, overlap, type Prefix, readPrefix } from "./addresses.ts";
import { NODES_MAX } from "../../wire/xbone/messages.ts";
import type { OverlaySpec } from "./overlay_spec.ts";
import { findGap, findWays, type Gap, type Ways } from "./static_routes.ts";
import { type Layout, layOut, type Network, type Unfit } from "./topology.ts";

/** How many names a sentence holds. */
const NAMES_SHOWN = 4;

/** An overlay without boxes. */
export interface Blueprint {
  readonly layout: Layout;
  readonly prefixes: ReadonlyMap<Network, Prefix>;
  readonly ways: ReadonlyMap<Network, Ways>;
}

/** Draws it, or tells all for which it cannot be. */
export function drawBlueprint(spec: OverlaySpec): Blueprint | { readonly unfit: readonly Unfit[] } {
  const layout = layOut(spec);
  if (!("networks" in layout)) return { unfit: layout };
  const { nodes, networks } = layout;
  if (nodes.size < 1 || nodes.size > NODES_MAX) {
    const reason = `an overlay must have 1 to ${NODES_MAX} nodes: current number is ${nodes.size}`;
    return { unfit: [{ path: "", key: "nodes", reason }] };
  }
  const prefixes = new Map<Network, Prefix>();
  const ways = new Map<Network, Ways>();
  const unfit: Unfit[] = [];
  for (const network of networks) {
    const path = network.name.slice(spec.name.length + 1);
    const found = findWays(network, nodes);
    ways.set(network, found);
    const gap = findGap(network, found, nodes);
    if (gap !== null) unfit.push({ path, ...gapText(gap) });
    const prefix = readPrefix(network.prefix);
    const reason = prefix === null
      ? `it must be ADDRESS/8 to /29, IPv4: current value is ${JSON.stringify(network.prefix)}`
      : roomText(network, prefix) ?? overlapText(network, prefix, prefixes);
    if (reason !== null) unfit.push({ path, key: "prefix", reason });
    if (prefix !== null) prefixes.set(network, prefix);
  }
  if (spec.peers !== null && !nodes.has(spec.peers.hub)) {
    const reason = `there is no such node: current value is ${JSON.stringify(spec.peers.hub)}`;
    unfit.push({ path: "", key: "fairlead.hub", reason });
  }
  return unfit.length > 0 ? { unfit } : { layout, prefixes, ways };
}

function gapText(gap: Gap): Pick<Unfit, "key" | "reason"> {
  if ("parts" in gap) {
    const parts = gap.parts.slice(0, NAMES_SHOWN).map((part) => {
      const more = part.length > NAMES_SHOWN ? ` and ${part.length - NAMES_SHOWN} more` : "";
      return part.slice(0, NAMES_SHOWN).join(", ") + more;
    });
    const more = gap.parts.length > NAMES_SHOWN ? "; …" : "";
    const reason = `it falls apart: ${parts.join("; ")}${more}, join them by links`;
    return { key: "topology", reason };
  }
  const { from, to, host } = gap;
  const reason = `${host} lies between ${from} and ${to} and a host does not forward: ` +
    "make it a router, or move it to an end";
  return { key: "topology", reason };
}

function roomText({ prefix, nodes, links }: Network, read: Prefix): string | null {
  const need = bitsNeeded(read, { nodes: nodes.length, links: links.length });
  if (need === null) return null;
  return `${nodes.length} nodes and ${links.length} links need ${need} at least: ` +
    `current value is ${JSON.stringify(prefix)}`;
}

function overlapText(
  { prefix }: Network,
  read: Prefix,
  others: ReadonlyMap<Network, Prefix>,
): string | null {
  for (const [{ name, prefix: theirs }, other] of others) {
    if (!overlap(read, other)) continue;
    return `it overlaps with ${theirs} of ${name}: current value is ${JSON.stringify(prefix)}, ` +
      "give another one";
  }
  return null;
}
