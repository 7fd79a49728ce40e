/**
 * Phase II of the X-Bone control protocol, "Select": who is chosen, who takes the place of one that
 * refuses, and everybody who was ever sent SELECT, as these must be sent DELETE when it fails.
 *
 * @module
 */
import type { PinnedNode, SubSpec } from "../../wire/xbone/messages.ts";
import type { Candidate, Placement, Shortage } from "./machine.ts";
import type { Member } from "./manager_outbox.ts";
import { place } from "./placement.ts";

/** What follows from another placement. */
export interface Change {
  /** To be sent SELECT. */
  readonly added: readonly Member[];
  /** Not needed any more. */
  readonly dropped: readonly Member[];
}

/** Who is part of it. */
export class Selection {
  /** Everybody who was sent SELECT. */
  readonly ever = new Map<string, Member>();
  /** Those who are part of it. */
  readonly chosen = new Map<string, Member>();
  readonly #candidates: readonly Candidate[];
  readonly #revisit: boolean;
  readonly #excluded = new Set<string>();
  #placement: Placement = { nodes: [], subs: [] };
  /** What sub-managers have pinned down. */
  readonly #below = new Map<string, readonly PinnedNode[]>();

  constructor(candidates: readonly Candidate[], revisit: boolean) {
    this.#candidates = candidates;
    this.#revisit = revisit;
  }

  /** The next to be sent DISPATCH, in the order of their names; undefined after the last. */
  get nextManager(): Member | undefined {
    return [...this.chosen.values()]
      .filter(({ sub }) => sub !== "" && !this.#below.has(sub))
      .sort((a, b) => a.node < b.node ? -1 : 1)[0];
  }

  /** Who plays what: the boxes of this level, and all below. */
  get pinned(): readonly PinnedNode[] {
    const own = this.#placement.nodes.map(({ slot, candidate }) => {
      const { node, hostname, host, mtu, capabilities } = candidate;
      return { name: slot, node, hostname, ipaddr: host, mtu, capabilities };
    });
    return [...own, ...[...this.#below.values()].flat()];
  }

  /** ACK-DISPATCH of the manager of a sub-overlay. */
  pin(sub: string, nodes: readonly PinnedNode[]): void {
    this.#below.set(sub, nodes);
  }

  /** Takes a placement; what was chosen before and stands in it stays. */
  adopt(placement: Placement, need: SubSpec): Change {
    this.#placement = placement;
    const wanted = membersOf(placement, need);
    const dropped = this.#drop(wanted);
    const added = [...wanted.values()].filter(({ node, type, sub }) => {
      const present = this.chosen.get(node);
      return present === undefined || present.type !== type || present.sub !== sub;
    });
    for (const member of added) {
      this.chosen.set(member.node, member);
      this.ever.set(member.node, member);
    }
    return { added, dropped };
  }

  /** A placement without this node; the others keep their places if they can. */
  without(node: string, need: SubSpec): Placement | Shortage {
    this.#excluded.add(node);
    const left = this.#candidates.filter((candidate) => !this.#excluded.has(candidate.node));
    const kept = {
      nodes: this.#placement.nodes.filter(({ candidate }) => candidate.node !== node),
      subs: this.#placement.subs.filter(({ candidate }) => candidate.node !== node),
    };
    const slots = new Set(kept.nodes.map(({ slot }) => slot));
    const subs = new Set(kept.subs.map(({ sub }) => sub));
    const lost = {
      ...need,
      nodes: need.nodes.filter(({ name }) => !slots.has(name)),
      subs: need.subs.filter(({ name }) => !subs.has(name)),
    };
    const spares = left.filter((candidate) => !this.chosen.has(candidate.node));
    const patch = place(lost, spares, this.#revisit);
    if ("missing" in patch) return place(need, left, this.#revisit);
    return { nodes: [...kept.nodes, ...patch.nodes], subs: [...kept.subs, ...patch.subs] };
  }

  /** The need has got its real names: those who are chosen already play them, in the same roles. */
  rename(need: SubSpec): Change | Shortage {
    const chosen = this.#candidates.flatMap((candidate) => {
      const member = this.chosen.get(candidate.node);
      if (member === undefined) return [];
      return this.#revisit ? [candidate] : [{ ...candidate, type: member.type }];
    });
    const placement = place(need, chosen, this.#revisit);
    if ("missing" in placement) return placement;
    this.#placement = placement;
    return { added: [], dropped: this.#drop(membersOf(placement, need)) };
  }

  #drop(wanted: ReadonlyMap<string, Member>): readonly Member[] {
    const dropped = [...this.chosen.values()].filter(({ node }) => !wanted.has(node));
    for (const member of dropped) {
      this.chosen.delete(member.node);
      // SELECT after DELETE could overtake it.
      this.#excluded.add(member.node);
      this.ever.set(member.node, { ...member, sub: "" });
    }
    return dropped;
  }
}

/** A box that plays a router anywhere is selected as one. */
function membersOf(placement: Placement, need: SubSpec): Map<string, Member> {
  const roles = new Map(need.nodes.map(({ name, role }) => [name, role]));
  const members = new Map<string, Member>();
  for (const { slot, candidate: { node, host, port } } of placement.nodes) {
    const router = roles.get(slot) === "router" || members.get(node)?.type === "router";
    members.set(node, { node, host, port, type: router ? "router" : "host", sub: "" });
  }
  for (const { sub, candidate: { node, host, port } } of placement.subs) {
    members.set(node, { node, host, port, type: "meta", sub });
  }
  return members;
}
