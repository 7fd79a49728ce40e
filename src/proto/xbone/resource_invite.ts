/**
 * Whether a box answers INVITE: "ACL & Resource check", step [2] of the X-Bone control protocol.
 *
 * @module
 */
import {
  type Count,
  type Invite,
  LEVEL_MAX,
  NODES_MAX,
  type SubNeed,
} from "../../wire/xbone/messages.ts";
import { isLabel } from "./check_plan.ts";
import type { Offer } from "./machine.ts";

/** Why not: a word to count by, and a sentence. */
export interface InviteRefusal {
  readonly why: string;
  readonly reason: string;
}

/** What speaks against it, whoever asks; null when nothing does. */
export function inviteRefusal(invite: Invite, offer: Offer, node: string): InviteRefusal | null {
  const { level, name, path, encryption, routing } = invite;
  // No plan of such an overlay would be taken, and its name becomes that of a file.
  if (!isLabel(name)) {
    const reason = "Cannot be part of an overlay as its name must be a DNS label of 32 at most: " +
      `current value is ${name}`;
    return { why: "name", reason };
  }
  if (path.includes(node)) {
    return { why: "loop", reason: `Cannot answer its own INVITE: it came by ${path.join(", ")}` };
  }
  if (level > LEVEL_MAX || path.length > LEVEL_MAX + 1) {
    const reason =
      `Cannot be part of a deeper recursion than ${LEVEL_MAX}: current value is ${level}`;
    return { why: "level", reason };
  }
  if (encryption !== "none" && encryption !== "aes-gcm") {
    const reason = `Cannot encrypt other than by aes-gcm: current value is ${encryption}`;
    return { why: "encryption", reason };
  }
  const role = roleRefusal(invite, offer);
  if (role !== null) return role;
  // A manager has no links and runs no script: its boxes are asked themselves.
  if (offer.type === "meta") return null;
  const lacks = (word: string): boolean => !offer.capabilities.includes(word);
  if (encryption === "aes-gcm" && lacks("esp")) return lacking("encryption", "encrypt", "esp");
  if (invite.qos && lacks("tbf")) return lacking("qos", "limit the rate of links", "tbf");
  if (invite.script !== null && lacks("script")) return lacking("script", "run a script", "script");
  if (routing === "dynamic" && lacks("routing-dynamic")) {
    return lacking("routing", "route dynamically", "routing-dynamic");
  }
  return null;
}

function roleRefusal(invite: Invite, { type, os }: Offer): InviteRefusal | null {
  const { host, router, meta, subs, holdMs } = invite;
  // Who only wants to know who is there may ask for nobody.
  if (holdMs === 0 && host.count + router.count + meta === 0) return null;
  if (type === "meta") {
    if (meta === 0 || subs.length === 0) {
      return { why: "role", reason: "Cannot help as no manager is needed" };
    }
    const size = subs.reduce((nodes, sub) => nodes + sizeOf(sub, invite.level + 1), 0);
    if (size <= NODES_MAX) return null;
    const now = Number.isFinite(size) ? `${size}` : "too deep";
    const reason = `Cannot find more than ${NODES_MAX} nodes: current value is ${now}`;
    return { why: "size", reason };
  }
  const wanted = [
    ...(type !== "router" && host.count > 0 ? [host] : []),
    ...(type !== "host" && router.count > 0 ? [router] : []),
  ];
  if (wanted.length === 0) {
    return { why: "role", reason: `Cannot help as no ${type} is needed` };
  }
  if (wanted.some((count) => isWanted(count, os))) return null;
  const named = [...new Set(wanted.flatMap((count) => count.os))].join(", ");
  return { why: "os", reason: `Cannot help as this box runs ${os}: needed is ${named}` };
}

/** Nodes and managers; infinite when they are too deep. */
function sizeOf({ host, router, subs }: SubNeed, level: number): number {
  if (level > LEVEL_MAX) return Infinity;
  return subs.reduce((size, sub) => size + sizeOf(sub, level + 1), 1 + host.count + router.count);
}

function isWanted(count: Count, os: string): boolean {
  return count.os.includes("any") || count.os.includes(os);
}

function lacking(why: string, act: string, word: string): InviteRefusal {
  return { why, reason: `Cannot ${act} as this box does not offer it: needed is ${word}` };
}
