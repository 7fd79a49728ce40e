/**
 * Who plays what: "pick" of the state table "For GUI/OM" of the X-Bone control protocol, and the counts
 * that INVITE asks for. A box that offers to be a host or a router is asked to be one last, after those
 * that can only be the one, and an assignment is found whenever there is one.
 *
 * @module
 */
import type { Count, SubNeed, SubNode, SubSpec } from "../../wire/xbone/messages.ts";
import { ANY_OS, type Candidate, type Placement, type Shortage } from "./machine.ts";

/**
 * Places the nodes and the sub-overlays of one level; those below are their managers' own.
 *
 * The same candidates give the same placement, in whatever order they answered.
 *
 * @param revisit whether a box may play more than one node; they are spread evenly all the same
 */
export function place(
  need: SubSpec,
  candidates: readonly Candidate[],
  revisit: boolean,
): Placement | Shortage {
  const boxes = inOrder(candidates);
  const fits = need.nodes.map((node) => indexesOf(boxes, (box) => canPlay(box, node)));
  const players = assign(fits, boxes, revisit ? need.nodes.length : 1);
  const managing = need.subs.map((sub) => indexesOf(boxes, (box) => canManage(box, sub)));
  // A manager forms an overlay once: it is SELECTed for one sub-overlay of it.
  const managers = assign(managing, boxes, 1);
  const missing = [
    ...missingNodes(need, players, boxes),
    ...missingManagers(need, managers, managing, boxes),
  ];
  if (missing.length > 0) return { missing };
  return {
    nodes: need.nodes.map(({ name }, at) => ({ slot: name, candidate: boxes[players[at]!]! })),
    subs: need.subs.map(({ name }, at) => ({ sub: name, candidate: boxes[managers[at]!]! })),
  };
}

/**
 * What INVITE says of a sub-overlay: counts, which tell less than the specification itself, and the boxes
 * that must be among them, as its manager is asked to find these and no others.
 */
export function needOf(spec: SubSpec): SubNeed {
  return {
    name: spec.name,
    host: countOf(spec.nodes, "host"),
    router: countOf(spec.nodes, "router"),
    subs: spec.subs.map(needOf),
  };
}

/** What a sub-manager works with until DISPATCH tells it the names: as many nodes, with names made up. */
export function madeUp(need: SubNeed): SubSpec {
  return {
    name: need.name,
    mode: "control",
    nodes: [...nodesOf(need.host, "host"), ...nodesOf(need.router, "router")],
    subs: need.subs.map(madeUp),
  };
}

/** By name, each once, the last answer of a box counts. */
function inOrder(candidates: readonly Candidate[]): readonly Candidate[] {
  const byName = new Map(candidates.map((candidate) => [candidate.node, candidate]));
  return [...byName.values()].sort((a, b) => a.node < b.node ? -1 : 1);
}

function indexesOf(boxes: readonly Candidate[], fit: (box: Candidate) => boolean): number[] {
  const indexes: number[] = [];
  for (let at = 0; at < boxes.length; at++) if (fit(boxes[at]!)) indexes.push(at);
  return indexes;
}

function canPlay(box: Candidate, node: SubNode): boolean {
  return box.free > 0 && (node.on === "" || node.on === box.node) &&
    (box.type === node.role || box.type === "both") && isOneOf(box.os, node.os);
}

function canManage(box: Candidate, sub: SubSpec): boolean {
  return box.free > 0 && box.type === "meta" && box.guests.includes(sub.name);
}

function isOneOf(os: string, wanted: readonly string[]): boolean {
  return isAny(wanted) || wanted.includes(os);
}

function isAny(os: readonly string[]): boolean {
  return os.length === 0 || os.includes("any");
}

/**
 * A box for each of what is needed, -1 where there is none: a maximum matching by augmenting paths.
 *
 * Boxes that are needed already stay so when a path is found, so going from the few to the many keeps
 * what is dear to the end: first those that can be one thing only, then `both`; first one visit, then two.
 */
function assign(
  fits: readonly (readonly number[])[],
  boxes: readonly Candidate[],
  visitsMax: number,
): number[] {
  const chosen: number[] = fits.map(() => -1);
  const visitors: number[][] = boxes.map(() => []);
  for (let visits = 1; visits <= visitsMax && chosen.includes(-1); visits++) {
    for (const withBoth of [false, true]) {
      const usable = boxes.map((box) => withBoth || box.type !== "both");
      // Where no path was found from, none will be while the same boxes are usable.
      const seen: boolean[] = boxes.map(() => false);
      for (let at = 0; at < fits.length; at++) {
        if (chosen[at] !== -1) continue;
        if (augment(at, fits, usable, visits, chosen, visitors, seen)) seen.fill(false);
      }
    }
  }
  return chosen;
}

/** Finds a box for one more, if need be by moving others; no deeper than there are boxes. */
function augment(
  at: number,
  fits: readonly (readonly number[])[],
  usable: readonly boolean[],
  visits: number,
  chosen: number[],
  visitors: number[][],
  seen: boolean[],
): boolean {
  const free = fits[at]!.find((box) => usable[box] && visitors[box]!.length < visits);
  if (free !== undefined) {
    visitors[free]!.push(at);
    chosen[at] = free;
    return true;
  }
  for (const box of fits[at]!) {
    if (!usable[box] || seen[box]) continue;
    seen[box] = true;
    for (const other of [...visitors[box]!]) {
      if (!augment(other, fits, usable, visits, chosen, visitors, seen)) continue;
      visitors[box]!.splice(visitors[box]!.indexOf(other), 1, at);
      chosen[at] = box;
      return true;
    }
  }
  return false;
}

function missingNodes(
  need: SubSpec,
  players: readonly number[],
  boxes: readonly Candidate[],
): string[] {
  const missing: string[] = [];
  const groups = new Map<string, { found: number; needed: number }>();
  need.nodes.forEach((node, at) => {
    if (node.on !== "") {
      if (players[at] === -1) missing.push(whyNotOn(node, boxes));
      return;
    }
    const kind = `${node.role}s${isAny(node.os) ? "" : ` (${node.os.toSorted().join(", ")})`}`;
    const group = groups.get(kind) ?? { found: 0, needed: 0 };
    group.needed++;
    if (players[at] !== -1) group.found++;
    groups.set(kind, group);
  });
  for (const [kind, { found, needed }] of groups) {
    if (found < needed) missing.push(`${found} of ${needed} ${kind} answered`);
  }
  return missing;
}

function whyNotOn(node: SubNode, boxes: readonly Candidate[]): string {
  const box = boxes.find((candidate) => candidate.node === node.on);
  const needed = `${node.on} is needed for ${node.name}`;
  if (box === undefined) return `${needed} and did not answer`;
  if (box.type !== node.role && box.type !== "both") {
    return `${needed} as a ${node.role} and offers to be a ${box.type}`;
  }
  if (!isOneOf(box.os, node.os)) return `${needed} with ${node.os.join(", ")} and runs ${box.os}`;
  if (box.free <= 0) return `${needed} and has no room for another overlay`;
  return `${needed} and plays another node: allow revisit or free it`;
}

function missingManagers(
  need: SubSpec,
  managers: readonly number[],
  managing: readonly (readonly number[])[],
  boxes: readonly Candidate[],
): string[] {
  const answered = boxes.filter((box) => box.type === "meta").length;
  return need.subs.flatMap(({ name }, at) => {
    if (managers[at] !== -1) return [];
    const able = managing[at]!.length;
    const why = able === 0 ? `${answered} answered` : `${able} with them, needed for others`;
    return [`0 of 1 managers with nodes for ${name} answered (${why})`];
  });
}

function countOf(nodes: readonly SubNode[], role: SubNode["role"]): Count {
  const those = nodes.filter((node) => node.role === role);
  const any = those.length === 0 || those.some(({ os }) => isAny(os));
  const on = those.flatMap((node) => node.on === "" ? [] : [node.on]).sort();
  return {
    count: those.length,
    os: any ? ANY_OS : [...new Set(those.flatMap(({ os }) => os))].sort(),
    ...(on.length === 0 ? {} : { on }),
  };
}

function nodesOf({ count, os, on = [] }: Count, role: SubNode["role"]): SubNode[] {
  return Array.from(
    { length: count },
    (_, at) => ({ name: `${role}${at + 1}`, role, os, on: on[at] ?? "" }),
  );
}
