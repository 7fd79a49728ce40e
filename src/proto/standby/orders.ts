/**
 * What an {@linkcode Election} is told at its start, and what it orders: see election.ts.
 *
 * @module
 */
import { assert } from "../../mem/assert.ts";
import type { BoxMode, LeaseAskWord, LeaseGiveWord, PeerWord } from "../../wire/standby/words.ts";
import { isBoxName, LEASE_MS_MAX, LEASE_MS_MIN } from "../../wire/standby/words.ts";

/** What the operator has set; the same on both boxes but for the names and the modes. */
export interface ElectionConfig {
  readonly group: string;
  /** Name of this box, unlike that of the other. */
  readonly box: string;
  /** 32 hex digits, new at each start of the process. */
  readonly instance: string;
  readonly mode: BoxMode;
  /** Goes first when both boxes could; it is no reason to take over from the other. */
  readonly preferred: boolean;
  /** There is a witness: needed by `auto`, and of no use to the other modes. */
  readonly witness: boolean;
  readonly heartbeatMs: number;
  /** An active box that was silent for this long is dead. */
  readonly deadMs: number;
  readonly leaseMs: number;
}

/** What a box keeps on disk. */
export interface ElectionStored {
  /** The highest term that it has heard of. */
  readonly term: number;
  /** The last term in which it was active itself; 0 when it never was. */
  readonly activeTerm: number;
}

/** Where the SAs of a box that takes over are. */
export type TakeSource =
  /** In its kernel: it was active before, and nobody else since. */
  | "own"
  /** In the snapshot that it holds. */
  | "snapshot"
  /** There are none: a first start, or a forced one. */
  | "nothing";

/** What the owner of an election has to do, in this order and one after the other. */
export type ElectionAction =
  /** Write it to the disk, then `handleStored()`; until then only `block` is given out. */
  | { readonly do: "store"; readonly stored: ElectionStored }
  /** Send it, or drop it when there is no session. */
  | { readonly do: "tellPeer"; readonly word: PeerWord }
  | { readonly do: "tellWitness"; readonly word: LeaseAskWord | LeaseGiveWord }
  /** Install and unblock behind the closed fence, then `handleTaken()`; may come again for a term. */
  | { readonly do: "take"; readonly term: number; readonly source: TakeSource }
  /** Let ESP leave until then, by this machine's clock; the kernel itself must end it. */
  | { readonly do: "openFence"; readonly untilMs: number }
  /** Close the fence, block the outbound policies, then `handleBlocked()`, once for each; ends a take. */
  | { readonly do: "block" }
  /** Send the last records; when the other box has all of them, `handleFlushed()`. */
  | { readonly do: "flush" }
  /** Delete all mirrored SAs: another box has gone on with them. */
  | { readonly do: "deleteSas" }
  /** No longer active: give up addresses, stop sending posts, wait for a snapshot. */
  | { readonly do: "becomeStandby" }
  /** The answer to `handlePromote()`: done. */
  | { readonly do: "promoted"; readonly term: number }
  /** The answer to `handlePromote()` or to a hello: no, and why. */
  | { readonly do: "refuse"; readonly why: string }
  /** For the log. */
  | { readonly do: "say"; readonly text: string };

/** What is wrong with a configuration, and what to do; empty when nothing is. */
export function electionFault(config: ElectionConfig): string {
  const { group, box, mode, witness, heartbeatMs, deadMs, leaseMs } = config;
  if (!isBoxName(group)) return `Cannot start standby as the group is no name: "${group}"`;
  if (!isBoxName(box)) return `Cannot start standby as the box is no name: "${box}"`;
  if (mode === "auto" && !witness) {
    return "Cannot start standby in role auto without a witness: two boxes that lose sight of each " +
      "other would both send with one key. Name one with --witness (a hub, or fairlead standby " +
      "witness on a third machine), or give the roles: --role active here, --role standby there, " +
      "and fairlead standby promote to change them";
  }
  if (mode !== "auto" && witness) {
    return `Cannot start standby in role ${mode} with a witness: it decides only in role auto. ` +
      "Say --role auto on both boxes, or leave --witness out";
  }
  if (!(heartbeatMs >= 10 && heartbeatMs <= LEASE_MS_MAX)) {
    return `Cannot start standby as the heartbeat must be 10 ms or more: current value is ${heartbeatMs}`;
  }
  if (!(deadMs >= 2 * heartbeatMs && deadMs <= LEASE_MS_MAX)) {
    return `Cannot start standby as a box must be silent for two heartbeats (${2 * heartbeatMs} ` +
      `ms) or more before it is dead: current value is ${deadMs}`;
  }
  if (!(leaseMs >= LEASE_MS_MIN && leaseMs <= LEASE_MS_MAX)) {
    return `Cannot start standby as a lease must be ${LEASE_MS_MIN} to ${LEASE_MS_MAX} ms: ` +
      `current value is ${leaseMs}`;
  }
  return "";
}

/** Why both boxes have stopped. */
export function splitText(peer: string, term: number): string {
  return `${peer} was active in term ${term} too, as one was forced without the other. Both have ` +
    "stopped: promote the one whose SAs are to stay";
}

/** Why a box without a snapshot is not promoted. */
export function unreadyText(term: number): string {
  return `this box has no whole snapshot of term ${term}: wait for one, promote the other box, or ` +
    "say --force to start with what is here";
}

/** Why a box without a witness is not promoted. */
export const UNREACHABLE =
  "the other box cannot be reached, and may be sending: stop it, or say --force when it is surely " +
  "not running";

/** What was counted. */
export interface ElectionCounters {
  /** Words of an earlier term than ours. */
  staleTerms: number;
  /** Words that were older than one heard before, or of nobody who said hello. */
  strayWords: number;
  /** Leases that nobody had asked for, or that came too late to be of use. */
  strayLeases: number;
  takeovers: number;
  /** Times that the fence closed because the lease had run out. */
  fenced: number;
}

/** Nothing counted so far. */
export function newCounters(): ElectionCounters {
  return { staleTerms: 0, strayWords: 0, strayLeases: 0, takeovers: 0, fenced: 0 };
}

/** Actions that wait to be polled; an owner that polls never comes near. */
const ACTIONS_MAX = 256;
/** Actions that must not come after a block that was ordered later. */
const OPENS: ReadonlySet<ElectionAction["do"]> = new Set(["take", "openFence", "flush"] as const);
/** Actions that a slow disk may cost: they are said again, or whoever waits has a deadline. */
const SPARE: ReadonlySet<ElectionAction["do"]> = new Set(
  ["tellPeer", "tellWitness", "say", "refuse"] as const,
);

/** Actions in their order: nothing but a block overtakes a term that is being stored. */
export class Orders {
  /** Blocks that were ordered and not yet confirmed. */
  blocks = 0;
  /** The term that is on the disk. */
  storedTerm: number;
  readonly #actions: ElectionAction[] = [];
  #storing: ElectionStored | null = null;
  #waitTold = "";

  constructor(storedTerm: number) {
    this.storedTerm = storedTerm;
  }

  /** Adds one. */
  push(action: ElectionAction): void {
    if (action.do === "block") {
      this.blocks++;
      const kept = this.#actions.filter((other) => !OPENS.has(other.do));
      this.#actions.splice(0, this.#actions.length, ...kept);
    }
    if (action.do === "store") {
      const waits = this.#actions.findIndex((other) => other.do === "store");
      if (waits >= 0) {
        this.#actions[waits] = action;
        return;
      }
    }
    if (this.#actions.length >= ACTIONS_MAX) {
      const spare = this.#actions.findIndex((other) => SPARE.has(other.do));
      if (spare >= 0) this.#actions.splice(spare, 1);
    }
    assert(this.#actions.length < ACTIONS_MAX, "actions are polled");
    this.#actions.push(action);
  }

  /** For the log. */
  say(text: string): void {
    this.push({ do: "say", text });
  }

  /** Why a box whose role is active does not begin; once for each reason. */
  sayWaiting(why: string): void {
    if (this.#waitTold === why) return;
    this.#waitTold = why;
    this.say(
      `Not active though its role is, as ${why}: promote one of the boxes ` +
        "(fairlead standby promote; with --force when the other one is surely not running)",
    );
  }

  /** No, and why. */
  refuse(why: string): void {
    this.push({ do: "refuse", why });
  }

  /** Takes the next one; null when there is none. */
  poll(): ElectionAction | null {
    if (this.#storing !== null) {
      const urgent = this.#actions.findIndex((action) => action.do === "block");
      return urgent < 0 ? null : this.#actions.splice(urgent, 1)[0]!;
    }
    const action = this.#actions.shift() ?? null;
    if (action?.do === "store") this.#storing = action.stored;
    return action;
  }

  /** What `store` gave is on the disk. */
  handleStored(): void {
    if (this.#storing !== null) this.storedTerm = this.#storing.term;
    this.#storing = null;
  }
}
