/**
 * What a CONFIG must be before anything is done for it: of this overlay, as its digest says, for this node, and
 * with no other script than the signed INVITE named. X-Bone control protocol, step [8]; the form is ours.
 *
 * @module
 */
import type { Common, Config, ScriptName } from "../../wire/xbone/messages.ts";
import type { NodePlan } from "../../wire/xbone/node_plan.ts";
import { planDigest } from "./plan_digest.ts";

/** What it is compared with. */
export interface Reserved {
  readonly common: Common;
  /** Of the INVITE. */
  readonly script: ScriptName | null;
  readonly sha256: (text: string) => string;
  /** Why these plans are not for this node; null when they are. */
  plansRefusal(plans: readonly NodePlan[]): string | null;
}

/** Why it is refused; null when it is not. */
export function configRefusal({ digest, plans }: Config, reserved: Reserved): string | null {
  const { name, epoch } = reserved.common;
  for (const plan of plans) {
    if (plan.overlay !== name || plan.epoch !== epoch) {
      return `Cannot configure as a plan is of another overlay: current value is ${plan.overlay}`;
    }
  }
  const refusal = reserved.plansRefusal(plans);
  if (refusal !== null) return refusal;
  const found = planDigest(plans, reserved.sha256);
  if (found !== digest) {
    return `Cannot configure as the digest is not that of the plans: current value is ${found}`;
  }
  for (const { script } of plans) {
    if (script !== null && !isSame(script, reserved.script)) {
      const named = reserved.script === null ? "none" : reserved.script.script;
      return `Cannot run script ${script.script} as the signed INVITE names another: ` +
        `current value is ${named}`;
    }
  }
  return null;
}

function isSame(script: ScriptName, invited: ScriptName | null): boolean {
  return invited !== null && script.name === invited.name && script.script === invited.script &&
    script.sha256 === invited.sha256;
}
