/**
 * Phase IV of the X-Bone control protocol, "Config": which node is sent which plans, and what its answer
 * must say. A box gets its own plan, a sub-manager those of all boxes below it.
 *
 * @module
 */
import type { AckConfig, Config, PinnedNode, SubSpec } from "../../wire/xbone/messages.ts";
import type { NodePlan } from "../../wire/xbone/node_plan.ts";
import type { Failure, MachineTools } from "./machine.ts";
import { type Member, type Outbox, recipientsOf } from "./manager_outbox.ts";
import { planDigest, withoutKeys } from "./plan_digest.ts";

interface Share {
  readonly to: Member;
  readonly plans: NodePlan[];
  readonly boxes: Set<string>;
  digest: string;
}

/** The plans of one generation. */
export class Configuration {
  readonly generation: number;
  readonly leaseMs: number;
  readonly plans: readonly NodePlan[];
  readonly #shares = new Map<string, Share>();
  /** How many ends of a link a box has; made when it is asked for. */
  #ends: Map<string, number> | null = null;

  constructor(
    plans: readonly NodePlan[],
    pinned: readonly PinnedNode[],
    members: readonly Member[],
    { generation, leaseMs, sha256 }:
      & { generation: number; leaseMs: number }
      & Pick<MachineTools, "sha256">,
  ) {
    this.plans = plans;
    this.generation = generation;
    this.leaseMs = leaseMs;
    const recipients = recipientsOf(pinned, members);
    const byNode = new Map(members.map((member) => [member.node, member]));
    for (const plan of plans) {
      const to = byNode.get(recipients.get(plan.node) ?? "");
      if (to === undefined) continue;
      const share = this.#shares.get(to.node) ??
        { to, plans: [], boxes: new Set<string>(), digest: "" };
      share.plans.push(plan);
      share.boxes.add(plan.node);
      this.#shares.set(to.node, share);
    }
    for (const share of this.#shares.values()) share.digest = planDigest(share.plans, sha256);
  }

  /** As they may be kept. */
  get bare(): readonly NodePlan[] {
    return this.plans.map(withoutKeys);
  }

  /** Whether keys are left out: it comes from the journal. */
  get isBare(): boolean {
    return this.plans.some(({ associations }) => associations.some(({ keyIn }) => keyIn === ""));
  }

  /** Those who are sent CONFIG. */
  get members(): readonly Member[] {
    return [...this.#shares.values()].map(({ to }) => to);
  }

  /** Those whose plans have keys. */
  get keyed(): readonly Member[] {
    return [...this.#shares.values()]
      .filter(({ plans }) => plans.some(({ associations }) => associations.length > 0))
      .map(({ to }) => to);
  }

  /** The boxes that a node answers for. */
  boxesOf(node: string): ReadonlySet<string> {
    return this.#shares.get(node)?.boxes ?? new Set();
  }

  /** How many ends of a link are on a box: two when it plays both of its nodes. */
  endsOf(node: string, link: string): number {
    this.#ends ??= endsIn(this.plans);
    return this.#ends.get(endKey(node, link)) ?? 0;
  }

  /** CONFIG for a node. */
  body(node: string, { common }: Outbox): Config {
    const { plans, digest } = this.#shares.get(node)!;
    const { generation, leaseMs } = this;
    return { ...common, verb: "config", digest, generation, leaseMs, plans };
  }

  /** Whether a node has done what it was sent. */
  isDone(node: string, { digest, generation }: AckConfig): boolean {
    return this.#shares.get(node)?.digest === digest && this.generation === generation;
  }

  /** Whether another one differs in its keys only. */
  isLike(other: Configuration): boolean {
    return this.#shares.size === other.#shares.size &&
      [...this.#shares].every(([node, { digest }]) => other.#shares.get(node)?.digest === digest);
  }

  /** Why these plans do not make the whole overlay; null when they do. */
  fault(pinned: readonly PinnedNode[], chosen: Iterable<Member>): Failure | null {
    const planned = new Set(this.plans.map(({ node }) => node));
    if (planned.size < this.plans.length) return inConfig("", "a box has two plans");
    for (const { node } of pinned) {
      if (!planned.delete(node) && !this.plans.some((plan) => plan.node === node)) {
        return inConfig(node, "there is no plan for it");
      }
    }
    for (const node of planned) {
      return inConfig(node, "there is a plan for it and it plays no node");
    }
    for (const { node } of chosen) {
      if (!this.#shares.has(node)) {
        return inConfig(node, "it is selected and there is no plan for it");
      }
    }
    return null;
  }
}

function endsIn(plans: readonly NodePlan[]): Map<string, number> {
  const ends = new Map<string, number>();
  for (const { node, visits } of plans) {
    for (const { name } of visits.flatMap(({ links }) => links)) {
      const key = endKey(node, name);
      ends.set(key, (ends.get(key) ?? 0) + 1);
    }
  }
  return ends;
}

/** Of a link's end on a box. */
export function endKey(node: string, link: string): string {
  return `${node}\n${link}`;
}

function inConfig(node: string, reason: string): Failure {
  return { phase: "CONFIG", node, step: "", reason };
}

/** What a sub-manager pinned down, with its name in front; or what is wrong with it. */
export function pinsOf(sub: SubSpec, nodes: readonly PinnedNode[]): readonly PinnedNode[] | string {
  const open = new Map(slotsOf(sub));
  for (const { name, node } of nodes) {
    const on = open.get(name);
    if (node === "") return `it pinned ${name} to no box`;
    if (!open.delete(name)) return `it pinned ${name}, which is not of ${sub.name} or pinned twice`;
    if (on !== "" && on !== node) return `it pinned ${name} to ${node}, and it must be on ${on}`;
  }
  if (open.size > 0) return `it did not pin ${[...open.keys()].join(", ")}`;
  return nodes.map((node) => ({ ...node, name: `${sub.name}/${node.name}` }));
}

/** Names, and the boxes that must play them. */
function slotsOf({ nodes, subs }: SubSpec): readonly [name: string, on: string][] {
  const below = subs.flatMap((sub) =>
    slotsOf(sub).map(([name, on]): [string, string] => [`${sub.name}/${name}`, on])
  );
  return [...nodes.map(({ name, on }): [string, string] => [name, on]), ...below];
}

/** A box that plays two nodes where it must not; null when there is none. */
export function pinFault(pinned: readonly PinnedNode[], revisit: boolean): Failure | null {
  const seen = new Map<string, string>();
  for (const { name, node } of pinned) {
    const other = seen.get(node);
    seen.set(node, name);
    if (other === undefined) continue;
    const fault = { phase: "READY", node, step: "" };
    if (!revisit) {
      return { ...fault, reason: `it would play ${other} and ${name}: allow revisit or add a box` };
    }
    const level = (path: string): string => path.includes("/") ? path.split("/")[0]! : "";
    if (level(other) !== level(name)) {
      return { ...fault, reason: `${other} and ${name} are of two managers: one box obeys one` };
    }
  }
  return null;
}
