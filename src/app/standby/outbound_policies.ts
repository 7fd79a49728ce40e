/**
 * Whether this box sends under IPsec: its outbound policies with templates allow, or block. A blocking
 * policy that has templates makes no sense otherwise, so that it is always known which ones were blocked
 * here, also by a process that was killed since.
 *
 * @module
 */
import { NlmsgFlag } from "../../wire/netlink/nlmsg.ts";
import { XfrmMsg } from "../../wire/netlink/xfrm.ts";
import {
  PolicyAction,
  PolicyDirection,
  readPolicy,
  setPolicyAction,
  XfrmPolicy,
} from "../../wire/netlink/xfrm_policy.ts";
import { writeSaBody } from "../../wire/netlink/xfrm_sa.ts";
import { Bodies } from "./bodies.ts";
import type { Refused, XfrmKernel } from "./xfrm_kernel.ts";

/** True of a policy whose action decides whether packets leave with a key. */
export function isOutbound({ direction, templateCount }: XfrmPolicy): boolean {
  return direction === PolicyDirection.Out && templateCount > 0;
}

/** Has every outbound policy block, or allow again. Returns what the kernel refused. */
export function setOutbound(kernel: XfrmKernel, allowed: boolean): Refused[] {
  const action = allowed ? PolicyAction.Allow : PolicyAction.Block;
  const policy = new XfrmPolicy();
  const bodies = new Bodies();
  kernel.dumpPolicies((from, message) => {
    if (readPolicy(from, message, policy) < 0) return;
    if (isOutbound(policy) && policy.action !== action) bodies.add(from, message.at, message.end);
  }, () => bodies.clear());
  const { region } = bodies;
  return kernel.batch(bodies.count, (index, out, at, sequence, flags) => {
    setPolicyAction(region, bodies.at(index), bodies.end(index), action);
    const [start, end] = [bodies.at(index), bodies.end(index)];
    const replace = flags | NlmsgFlag.Replace;
    return writeSaBody(out, at, sequence, XfrmMsg.UpdPolicy, replace, region, start, end);
  });
}
