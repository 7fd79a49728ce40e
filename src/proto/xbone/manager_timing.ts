/**
 * How long a manager waits, and how long it asks others to hold what they promise: section "Timers" of the
 * state tables of the X-Bone control protocol. A sub-manager does everything that its manager does, one
 * level below; so what a manager waits for it is more than all that it may do itself.
 *
 * @module
 */
import type { SubSpec } from "../../wire/xbone/messages.ts";
import type { Order, Timers } from "./machine.ts";
import type { Member } from "./manager_outbox.ts";

/** Beyond what is counted, for the way and for clocks of different rates. */
const SLACK_MS = 5000;

/** Levels below: 0 when all nodes are boxes of its own. */
export function levelsBelow(need: SubSpec): number {
  return need.subs.reduce((levels, sub) => Math.max(levels, 1 + levelsBelow(sub)), 0);
}

/** T_INV: time for boxes to answer, and for sub-managers whose boxes are near to ask them first. */
export function ringMs(timers: Timers, levels: number): number {
  return timers.inviteMs * (1 + levels);
}

/**
 * How many T_INV the last ring lasts: a sub-manager that heard of it late goes through all of its own rings,
 * for one need after the other until it has found enough for one.
 */
export function lastRingTicks(timers: Timers, need: SubSpec): number {
  const below = need.subs.reduce((ms, sub) => ms + discoveryMs(timers, sub), 0);
  return Math.ceil((timers.inviteMs + below) / ringMs(timers, levelsBelow(need)));
}

/** All rings. */
export function discoveryMs(timers: Timers, need: SubSpec): number {
  const ticks = timers.rings.length - 1 + lastRingTicks(timers, need);
  return ticks * ringMs(timers, levelsBelow(need));
}

/** T_SEL: a sub-manager selects, and selects a spare, before it answers. */
export function selectMs(timers: Timers, levels: number): number {
  return timers.selectMs * (2 ** (levels + 1) - 1);
}

/** The first choice, then a spare. */
function selectionMs(timers: Timers, levels: number): number {
  return 2 * timers.selectTries * selectMs(timers, levels);
}

/** T_DSP of a sub-manager. */
export function dispatchMs(timers: Timers, sub: SubSpec): number {
  return timers.dispatchMs * (1 + levelsBelow(sub));
}

/** T_CFG, T_DEL and a round of probes: of a sub-manager times the levels. */
export function timesLevels(ms: number, to: Pick<Member, "type">, levels: number): number {
  return to.type === "meta" ? ms * (1 + levels) : ms;
}

/** How long a reservation must last: until the last SELECT may come. */
export function inviteHoldMs(timers: Timers, order: Order, leftMs: number): number {
  const levels = levelsBelow(order.need);
  return leftMs + selectionMs(timers, levels) + SLACK_MS + order.holdMs;
}

/**
 * How long a commitment must last: until the last CONFIG may come, and the probes after it.
 *
 * @param aboveMs what the manager above asked for with its SELECT; 0 at level 0
 */
export function selectHoldMs(timers: Timers, order: Order, aboveMs: number): number {
  const levels = levelsBelow(order.need);
  const dispatching = order.need.subs.reduce(
    (ms, sub) => ms + timers.dispatchTries * dispatchMs(timers, sub),
    0,
  );
  const user = order.hold === "ready" ? timers.userMs : 0;
  const config = timers.configTries * timers.configMs * (1 + levels);
  const probes = order.probe ? timers.probeTries * timers.probeMs * (1 + levels) : 0;
  const own = selectionMs(timers, levels) + dispatching + user + config + probes + SLACK_MS;
  return Math.max(own, order.holdMs, aboveMs);
}
