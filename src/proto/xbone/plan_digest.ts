/**
 * What identifies a configuration: SHA-256 over the plans of an overlay in one spelling, without their
 * keys and the SPIs that belong to them. CONFIG of the X-Bone control protocol carries it, so that a repeated one is known, and one that
 * brings only new keys.
 *
 * @module
 */
import type { NodePlan } from "../../wire/xbone/node_plan.ts";

/** The digest of a set of plans, whatever their order. */
export function planDigest(plans: readonly NodePlan[], sha256: (text: string) => string): string {
  const sorted = plans.map(withoutSpis).sort((a, b) => a.node < b.node ? -1 : 1);
  return sha256(canonicalJson(sorted));
}

/** A plan as it may be kept: every key is empty. */
export function withoutKeys(plan: NodePlan): NodePlan {
  const { associations, peers } = plan;
  return {
    ...plan,
    associations: associations.map((one) => ({ ...one, keyIn: "", keyOut: "" })),
    peers: peers && { ...peers, keys: peers.keys.map(({ entity }) => ({ entity, key: "" })) },
  };
}

/** New keys come with new SPIs, and are still of the same plan. */
function withoutSpis(plan: NodePlan): NodePlan {
  const bare = withoutKeys(plan);
  const associations = bare.associations.map((one) => ({ ...one, spiIn: 0, spiOut: 0 }));
  return { ...bare, associations };
}

/** JSON in one spelling: the members of objects are sorted. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) => {
    if (typeof inner !== "object" || inner === null || Array.isArray(inner)) return inner;
    return Object.fromEntries(Object.entries(inner).sort(([a], [b]) => a < b ? -1 : 1));
  });
}
