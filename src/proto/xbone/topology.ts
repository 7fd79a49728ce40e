/**
 * From a specification to networks, their nodes and their links: the topologies of X-Bone's overlays
 * (linear, ring, star, custom list of links), with trees and meshes, and its two kinds of recursion.
 *
 * A sub-overlay of mode `control` is only found by another manager: its nodes and links are part of the
 * network around it. One that is `stacked` is a network below that one; its nodes are nodes of both.
 *
 * @module
 */
import type { SubNode } from "../../wire/xbone/messages.ts";
import type { OverlaySpec, SpecNetwork, SpecSub, Topology } from "./overlay_spec.ts";

const RING_MIN = 3;

/** A virtual link between two virtual nodes. */
export interface LaidLink {
  /** `a-west/r1`; of a stacked network `west:r1-r2`. */
  readonly name: string;
  /** Whole names. */
  readonly ends: readonly [string, string];
  readonly rateBits: number;
  /** The stacked network that carries it; null when the boxes' own one does. */
  readonly over: Network | null;
}

/** A network with addresses and routes of its own. */
export interface Network {
  /** `field`, `field/west`. */
  readonly name: string;
  readonly prefix: string;
  /** Whole names: `r1`, `west/r1`. */
  readonly nodes: readonly string[];
  readonly links: readonly LaidLink[];
  /** Those that are stacked right below. */
  readonly below: readonly Network[];
}

/** All of an overlay. */
export interface Layout {
  /** Every node by its whole name, in the order of the specification. */
  readonly nodes: ReadonlyMap<string, SubNode>;
  /** Lower ones first; the last is the overlay itself. */
  readonly networks: readonly Network[];
}

/** What cannot be laid out, and where in the specification. */
export interface Unfit {
  /** Names of the sub-overlays that lead to it: `west`; empty for the overlay. */
  readonly path: string;
  /** `links`, `topology` …, with the index of a link: `links[3]`. */
  readonly key: string;
  /** After "as". */
  readonly reason: string;
}

/** A part of a network before its links know what carries them. */
interface Part {
  /** Whole names of all nodes. */
  readonly nodes: string[];
  readonly links: { ends: readonly [string, string]; rateBits: number }[];
  readonly below: Network[];
}

/** Lays an overlay out, or tells all for which it cannot be. */
export function layOut(spec: OverlaySpec): Layout | readonly Unfit[] {
  const builder = new Builder(spec);
  builder.network(spec, "", spec.prefix);
  if (builder.unfit.length > 0) return builder.unfit;
  return { nodes: builder.nodes, networks: builder.networks };
}

/** Pairs of what stands in a topology, by index; none of a custom one. */
function pairsOf(
  topology: Topology,
  count: number,
  fanout: number,
  middle: number,
): [number, number][] {
  const pairs: [number, number][] = [];
  switch (topology) {
    case "ring":
    case "linear":
      for (let at = 1; at < count; at++) pairs.push([at - 1, at]);
      if (topology === "ring" && count > 2) pairs.push([count - 1, 0]);
      break;
    case "star":
      for (let at = 0; at < count; at++) if (at !== middle) pairs.push([middle, at]);
      break;
    case "tree":
      for (let at = 1; at < count; at++) pairs.push([Math.floor((at - 1) / fanout), at]);
      break;
    case "mesh":
      for (let from = 0; from < count; from++) {
        for (let to = from + 1; to < count; to++) pairs.push([from, to]);
      }
      break;
    case "custom":
      break;
  }
  return pairs;
}

/** The node that stands for a sub-overlay, by its name within it: as set, its first router, its first node. */
function borderOf(sub: SpecSub): string | null {
  const inner = namesOf(sub);
  if (sub.border !== "") return inner.some(([name]) => name === sub.border) ? sub.border : null;
  return (inner.find(([, { role }]) => role === "router") ?? inner[0])?.[0] ?? null;
}

/** Everybody in a network, by names within it. */
function namesOf(network: SpecNetwork): [string, SubNode][] {
  return [
    ...network.nodes.map((node): [string, SubNode] => [node.name, node]),
    ...network.subs.flatMap((sub) =>
      namesOf(sub).map(([name, node]): [string, SubNode] => [`${sub.name}/${name}`, node])
    ),
  ];
}

class Builder {
  readonly nodes = new Map<string, SubNode>();
  readonly networks: Network[] = [];
  readonly unfit: Unfit[] = [];
  readonly #spec: OverlaySpec;

  constructor(spec: OverlaySpec) {
    this.#spec = spec;
    for (const [name, node] of namesOf(spec)) this.nodes.set(name, node);
  }

  /** @param path of the sub-overlay that it is: `west`; empty for the overlay */
  network(spec: SpecNetwork, path: string, prefix: string): Network {
    const part = this.#part(spec, path);
    const carriers = part.below.map((network) => ({ network, nodes: new Set(network.nodes) }));
    const names = new Set<string>();
    const links = part.links.map(({ ends, rateBits }): LaidLink => {
      const [a, b] = ends;
      const within = (name: string): string => path === "" ? name : name.slice(path.length + 1);
      const name = `${path === "" ? "" : `${path}:`}${within(a)}-${within(b)}`;
      if (names.has(name)) {
        const reason = `two links would have the name ${name}: rename a node or a sub-overlay`;
        this.unfit.push({ path, key: "links", reason });
      }
      names.add(name);
      const over = carriers.find(({ nodes }) => nodes.has(a) && nodes.has(b));
      return { name, ends, rateBits: rateBits || this.#spec.rateBits, over: over?.network ?? null };
    });
    const name = path === "" ? this.#spec.name : `${this.#spec.name}/${path}`;
    const network = { name, prefix, nodes: part.nodes, links, below: part.below };
    this.networks.push(network);
    return network;
  }

  #part(spec: SpecNetwork, path: string): Part {
    const nodes = spec.nodes.map(({ name }) => whole(path, name));
    const standing = [...nodes];
    const part: Part = { nodes, links: [], below: [] };
    for (const sub of spec.subs) {
      const inner = whole(path, sub.name);
      if (sub.mode === "stacked") {
        const network = this.network(sub, inner, sub.prefix);
        part.below.push(network);
        part.nodes.push(...network.nodes);
        standing.push(...network.nodes);
      } else {
        const share = this.#part(sub, inner);
        part.nodes.push(...share.nodes);
        part.links.push(...share.links);
        part.below.push(...share.below);
        const border = borderOf(sub);
        if (border !== null) standing.push(whole(inner, border));
      }
      if (borderOf(sub) === null) {
        const reason = sub.border === ""
          ? "there is no node in it"
          : `there is no such node in it: current value is ${JSON.stringify(sub.border)}`;
        this.unfit.push({ path: inner, key: "border", reason });
      }
    }
    this.#checkShape(spec, path, standing.length);
    for (const link of this.#links(spec, path, standing)) part.links.push(link);
    return part;
  }

  #checkShape({ topology, links }: SpecNetwork, path: string, count: number): void {
    const key = "topology";
    if (topology === "ring" && count < RING_MIN) {
      const reason = `a ring has ${RING_MIN} nodes at least: current number is ${count}`;
      this.unfit.push({ path, key, reason });
    }
    if (topology === "custom" && links.length === 0 && count > 1) {
      const reason =
        'a custom one is made of links: add "links", or use "linear", "ring", "star" …';
      this.unfit.push({ path, key, reason });
    }
  }

  /** The links that a topology makes of those that stand in it. */
  #links(spec: SpecNetwork, path: string, standing: readonly string[]): Part["links"] {
    const router = standing.findIndex((name) => this.nodes.get(name)?.role === "router");
    const pairs = pairsOf(spec.topology, standing.length, spec.fanout, Math.max(0, router));
    const links: Part["links"] = pairs.map(([a, b]) => ({
      ends: [standing[a]!, standing[b]!],
      rateBits: 0,
    }));
    const known = new Map(links.map((link) => [pairKey(link.ends), link]));
    const told = new Set<string>();
    for (const [index, { ends, rateBits }] of spec.links.entries()) {
      const key = `links[${index}]`;
      const [a, b] = ends.map((end) => this.#resolve(spec, path, end));
      if (a === undefined || b === undefined) {
        const unknown = a === undefined ? ends[0] : ends[1];
        this.unfit.push({ path, key, reason: `it has no node ${JSON.stringify(unknown)}` });
        continue;
      }
      if (a === b) {
        this.unfit.push({ path, key, reason: `both ends are ${a}: name two nodes` });
        continue;
      }
      const pair = pairKey([a, b]);
      if (told.has(pair)) {
        this.unfit.push({ path, key, reason: `${a} and ${b} are joined already: remove it` });
        continue;
      }
      told.add(pair);
      const made = known.get(pair);
      if (made !== undefined) made.rateBits = rateBits;
      else if (spec.topology === "custom") links.push({ ends: [a, b], rateBits });
      else {
        const reason = `${a} and ${b} are not joined in a ${spec.topology} topology: ` +
          'name two that are, or use "custom"';
        this.unfit.push({ path, key, reason });
      }
    }
    return links;
  }

  /** The whole name of an end of a link: a node's, or that of a sub-overlay's border. */
  #resolve(spec: SpecNetwork, path: string, end: string): string | undefined {
    const name = whole(path, end);
    if (this.nodes.has(name)) return name;
    const [first, ...rest] = end.split("/");
    const sub = spec.subs.find(({ name }) => name === first);
    if (sub === undefined) return undefined;
    const inner = whole(path, sub.name);
    if (rest.length > 0) return this.#resolve(sub, inner, rest.join("/"));
    const border = borderOf(sub);
    return border === null ? undefined : whole(inner, border);
  }
}

function whole(path: string, name: string): string {
  return path === "" ? name : `${path}/${name}`;
}

/** The same for both directions. */
function pairKey([a, b]: readonly [string, string]): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`;
}
