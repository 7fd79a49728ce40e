/**
 * What `overlay plan` shows: who would play what, and what would change on each box. Nothing is reserved, so
 * that another manager may be faster.
 *
 * @module
 */
import { checkPlan } from "../../proto/xbone/check_plan.ts";
import type { Design } from "../../proto/xbone/design.ts";
import type { Candidate } from "../../proto/xbone/machine.ts";
import type { OverlaySpec } from "../../proto/xbone/overlay_spec.ts";
import { place } from "../../proto/xbone/placement.ts";
import type { PinnedNode } from "../../wire/xbone/messages.ts";
import type { NodePlan } from "../../wire/xbone/node_plan.ts";

/** One box. */
export interface PlannedBox {
  readonly node: string;
  readonly hostname: string;
  readonly plays: readonly string[];
  /** `+ …` is made, `- …` is taken away. */
  readonly changes: readonly string[];
}

/** All of them. */
export interface OverlayPlan {
  readonly name: string;
  readonly digest: string;
  /** It is up as it is asked for. */
  readonly unchanged: boolean;
  /** It is up, but not as it was formed, a line for each box: it would be formed again. */
  readonly drift: readonly string[];
  /** Why it could not be formed now, a line each; empty when it could. */
  readonly missing: readonly string[];
  readonly boxes: readonly PlannedBox[];
  /** Sub-managers, which choose boxes only when they are asked to form something. */
  readonly managers: readonly { readonly sub: string; readonly node: string }[];
  /** Boxes that answered. */
  readonly answered: number;
}

/** Where a plan comes from. */
export interface PlanInput {
  readonly spec: OverlaySpec;
  readonly digest: string;
  readonly design: Design;
  readonly candidates: readonly Candidate[];
  /** Plans of the overlay of that name that is there now. */
  readonly before: readonly NodePlan[];
  /** Plans of this manager's other overlays: what a box has in one of them, it refuses in another. */
  readonly beside: readonly NodePlan[];
  readonly unchanged: boolean;
  readonly drift: readonly string[];
}

/** Places and designs without asking anybody. */
export function planOf(
  { before, beside, candidates, design, digest, drift, spec, unchanged }: PlanInput,
): OverlayPlan {
  const base = { name: spec.name, digest, unchanged, drift, answered: candidates.length };
  const nothing = { boxes: [], managers: [], missing: [] };
  if (unchanged) return { ...base, ...nothing };
  // What a sub-manager has, it tells only when it is asked to gather.
  const metas = candidates.filter(({ type }) => type === "meta");
  const need = { ...design.need, subs: [] };
  const placed = place(need, candidates, spec.revisit);
  const short = spec.subs.length > metas.length
    ? [`${metas.length} of ${spec.subs.length} sub-managers answered`]
    : [];
  if ("missing" in placed) {
    return { ...base, ...nothing, missing: [...placed.missing, ...short] };
  }
  const managers = spec.subs.map(({ name }, at) => ({ sub: name, node: metas[at]?.node ?? "" }));
  const pinned = placed.nodes.map(({ candidate, slot }): PinnedNode => ({
    name: slot,
    node: candidate.node,
    hostname: candidate.hostname,
    ipaddr: candidate.host,
    mtu: candidate.mtu,
    capabilities: candidate.capabilities,
  }));
  const boxes = new Map<string, PlannedBox>();
  for (const { name, node, hostname } of pinned) {
    const plays = [...boxes.get(node)?.plays ?? [], name];
    boxes.set(node, { node, hostname, plays, changes: [] });
  }
  if (spec.subs.length > 0) {
    return { ...base, boxes: [...boxes.values()], managers, missing: short };
  }
  const plans = design.design(pinned);
  if (!("length" in plans)) {
    const who = plans.node === "" ? "" : `${plans.node}: `;
    return { ...base, boxes: [...boxes.values()], managers, missing: [`${who}${plans.reason}`] };
  }
  const refused = plans.flatMap((plan) => {
    const others = beside.filter(({ node }) => node === plan.node);
    const why = checkPlan(plan, plan.node, others);
    return why === null ? [] : [`${plan.node}: ${why}`];
  });
  const nodes = new Set([...plans, ...before].map(({ node }) => node));
  return {
    ...base,
    managers,
    missing: [...short, ...refused],
    boxes: [...nodes].sort().map((node) => {
      const { hostname = "", plays = [] } = boxes.get(node) ?? {};
      const now = linesOf(before.find((plan) => plan.node === node));
      const next = linesOf(plans.find((plan) => plan.node === node));
      return {
        node,
        hostname,
        plays,
        changes: [
          ...now.filter((line) => !next.includes(line)).map((line) => `- ${line}`),
          ...next.filter((line) => !now.includes(line)).map((line) => `+ ${line}`),
        ],
      };
    }),
  };
}

/** What a plan makes, a line each; network identifiers are other ones each time and left out. */
function linesOf(plan: NodePlan | undefined): string[] {
  if (plan === undefined) return [];
  const { associations, endpoints, names, peers, script, visits } = plan;
  return [
    ...visits.flatMap(({ address, links, name, network, role, routes }) => [
      `node ${name} (${role}) address ${address} in ${network}`,
      ...links.map((link) =>
        `link ${link.name} to ${link.peer} on ${link.peerNode}: vxlan ${link.local} - ` +
        `${link.remote}, ${link.address} - ${link.peerAddress}, mtu ${link.mtu}` +
        (link.rateBits === 0 ? "" : `, ${link.rateBits} bit/s`)
      ),
      ...routes.map(({ link, to, via }) => `route ${to} via ${via} link ${link}`),
    ]),
    ...associations.map(({ local, remote }) => `esp ${local} - ${remote}`),
    ...endpoints.map(({ address, flags }) => `mptcp endpoint ${address} ${flags.join(" ")}`),
    ...names.map(({ address, name }) => `host ${name} ${address}`),
    ...(peers === null ? [] : [`fairlead ${peers.role} ${peers.entity} at ${peers.hub}`]),
    ...(script === null ? [] : [`script ${script.name} (${script.script})`]),
  ];
}
