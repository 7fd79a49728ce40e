/**
 * Static routes: the document's `routing static`. Shortest paths by breadth-first search, the same for
 * the same specification: of equal ways the one over the link that stands first. Hosts forward nothing,
 * so no way goes through one.
 *
 * @module
 */
import { assert } from "../../mem/assert.ts";
import type { Layout, Network } from "./topology.ts";

/** The link that leads towards a node. */
export interface Hop {
  /** Index in the network's links. */
  readonly link: number;
  /** Index of the node at its other end. */
  readonly to: number;
}

/** Ways from every node to every other one. */
export interface Ways {
  /** Of the network's nodes. */
  readonly index: ReadonlyMap<string, number>;
  /** The first hop from one to another, by index; null to itself and where there is no way. */
  hop(from: number, to: number): Hop | null;
  /** Links from one to another, hop by hop as packets go; null when there is no way. */
  path(from: number, to: number): readonly number[] | null;
}

/** Two nodes without a way, and why. */
export type Gap =
  /** Nothing joins what these stand in. */
  | { readonly parts: readonly (readonly string[])[] }
  /** The host between them would have to forward. */
  | { readonly from: string; readonly to: string; readonly host: string };

/** Finds all ways of a network. */
export function findWays(network: Network, nodes: Layout["nodes"]): Ways {
  const count = network.nodes.length;
  const { index, neighbours } = graphOf(network);
  const forwards = network.nodes.map((name) => nodes.get(name)?.role === "router");
  const hops = neighbours.map((_, from) => firstHops(from, neighbours, forwards));
  const hop = (from: number, to: number): Hop | null => hops[from]![to] ?? null;
  const path = (from: number, to: number): number[] | null => {
    const links: number[] = [];
    for (let at = from; at !== to && links.length < count;) {
      const next = hop(at, to);
      if (next === null) return null;
      links.push(next.link);
      at = next.to;
    }
    return links;
  };
  return { index, hop, path };
}

/** The first two nodes of a network that have no way to each other; null when all have. */
export function findGap(network: Network, ways: Ways, nodes: Layout["nodes"]): Gap | null {
  const names = network.nodes;
  for (let from = 0; from < names.length; from++) {
    for (let to = 0; to < names.length; to++) {
      if (to === from || ways.hop(from, to) !== null) continue;
      const { neighbours } = graphOf(network);
      const through = firstHops(from, neighbours, names.map(() => true));
      if (through[to] === undefined) return { parts: partsOf(names, neighbours) };
      const host = barrier(from, to, network, nodes);
      return { from: names[from]!, to: names[to]!, host };
    }
  }
  return null;
}

/** The first host on the way that would go if hosts forwarded. */
function barrier(from: number, to: number, network: Network, nodes: Layout["nodes"]): string {
  const { neighbours } = graphOf(network);
  const everybody = network.nodes.map(() => true);
  for (let at = from;;) {
    at = firstHops(at, neighbours, everybody)[to]!.to;
    assert(at !== to, "a host lies on a way that nobody goes");
    const name = network.nodes[at]!;
    if (nodes.get(name)!.role === "host") return name;
  }
}

interface Graph {
  readonly index: Map<string, number>;
  /** Of each node, in the order of the links. */
  readonly neighbours: readonly (readonly Hop[])[];
}

function graphOf({ nodes, links }: Network): Graph {
  const index = new Map(nodes.map((name, at) => [name, at]));
  const neighbours: Hop[][] = nodes.map(() => []);
  for (const [link, { ends }] of links.entries()) {
    const [a, b] = [index.get(ends[0])!, index.get(ends[1])!];
    neighbours[a]!.push({ link, to: b });
    neighbours[b]!.push({ link, to: a });
  }
  return { index, neighbours };
}

/** From one node the first hop to each that can be reached. */
function firstHops(
  from: number,
  neighbours: Graph["neighbours"],
  forwards: readonly boolean[],
): (Hop | undefined)[] {
  const first: (Hop | undefined)[] = [];
  const queue = [from];
  for (let head = 0; head < queue.length && queue.length < neighbours.length; head++) {
    const at = queue[head]!;
    if (at !== from && !forwards[at]) continue;
    for (const hop of neighbours[at]!) {
      if (hop.to === from || first[hop.to] !== undefined) continue;
      first[hop.to] = at === from ? hop : first[at]!;
      queue.push(hop.to);
    }
  }
  return first;
}

/** What is joined with each other, in the order of the nodes. */
function partsOf(names: readonly string[], neighbours: Graph["neighbours"]): string[][] {
  const parts: string[][] = [];
  const seen = new Set<number>();
  const everybody = names.map(() => true);
  for (let from = 0; from < names.length; from++) {
    if (seen.has(from)) continue;
    const reached = firstHops(from, neighbours, everybody);
    const part = [...names.keys()].filter((at) => at === from || reached[at] !== undefined);
    for (const at of part) seen.add(at);
    parts.push(part.map((at) => names[at]!));
  }
  return parts;
}
