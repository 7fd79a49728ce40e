/**
 * What a responder has done for it when a row of the state table "For RD" of the X-Bone control protocol
 * acts: a box does it itself, a manager that is asked as a resource has it done below (the rows marked
 * "(D)").
 *
 * @module
 */
import type {
  Body,
  Common,
  Config,
  Invite,
  LinkState,
  NodeState,
  PinnedNode,
  Select,
  SubSpec,
} from "../../wire/xbone/messages.ts";
import type { NodePlan } from "../../wire/xbone/node_plan.ts";
import { checkPlan } from "./check_plan.ts";
import type { Failure, MachineTools, ManagerRecord, Offer, Output } from "./machine.ts";
import { withoutKeys } from "./plan_digest.ts";

/** What happened at a resource, in numbers. */
export interface ResourceCounts {
  /** INVITEs that were not answered with an ACK, by why. */
  readonly refusals: Record<string, number>;
  /** Requests that were refused with a reason. */
  nacks: number;
  /** What fits no row: answers that nobody waits for, requests by the wrong way. */
  unexpected: number;
  /** Reservations and commitments that ended by time. */
  holdsOver: number;
  /** Configurations that were taken down as nobody wanted them any more. */
  leasesOver: number;
}

/** What the responders of a box share. */
export interface Desk {
  readonly tools: MachineTools;
  readonly offer: () => Offer;
  readonly counts: ResourceCounts;
  /** Overlays that the box could join, this one among them. */
  readonly free: (key: string) => number;
  /** What this box is in its other overlays. */
  readonly beside: (key: string) => readonly NodePlan[];
  readonly put: (output: Output) => void;
}

/** What a piece of work tells its responder; the responder is one of it. */
export interface WorkOwner {
  readonly key: string;
  readonly state: string;
  /** GATHER is over: for these needs there is enough. */
  handleGathered(guests: readonly string[], nowMs: number): void;
  handleCommitted(nowMs: number): void;
  handleDispatched(nodes: readonly PinnedNode[], nowMs: number): void;
  handleApplied(failure: Pick<Failure, "node" | "step" | "reason"> | null, nowMs: number): void;
  /** It does not become; what was asked for is answered with this. */
  handleFailed(failure: Pick<Failure, "node" | "step" | "reason">, nowMs: number): void;
  handleUndone(left: readonly string[], nowMs: number): void;
  handleChecked(
    ticket: number,
    drift: readonly string[],
    links: readonly LinkState[],
    nowMs: number,
  ): void;
  /** What must be remembered has changed. */
  journal(): void;
}

/** How the rows act. Each of them ends with a call of the owner, at once or later. */
export interface Work {
  gather(invite: Invite, nowMs: number): void;
  /** Why it cannot be what it is chosen for; null when it can. */
  selectRefusal(select: Select): string | null;
  commit(select: Select, nowMs: number): void;
  /** Why there is nothing to dispatch to; null when there is. */
  dispatchRefusal(): string | null;
  dispatch(spec: SubSpec, nowMs: number): void;
  /** Why these plans are not for it; null when they are. */
  configRefusal(plans: readonly NodePlan[]): string | null;
  configure(config: Config, nowMs: number): void;
  /** The same plans with new keys. */
  rekey(config: Config, nowMs: number): void;
  /** Whether newer keys may come while others are being changed. */
  canRekeyAnew(): boolean;
  undo(nowMs: number): void;
  /** Is it still as configured? */
  verify(ticket: number, nowMs: number): void;
  probe(ticket: number, probes: number, waitMs: number, nowMs: number): void;
  /** Looks at the box again soon, for the next answer; `mend`: what is gone is made again first. */
  look(mend: boolean): void;
  handleDrift(drift: readonly string[]): void;
  /** All keys are new. */
  handleKeyed(): void;
  states(): readonly NodeState[];
  /** Its own share of the record. */
  record(): WorkRecord;
  /** After a restart; `active` is false when it is about to be undone. */
  restore(record: WorkRecord, active: boolean, nowMs: number): void;
  /** How long an apply may take before it counts as failed; Infinity when it fails by itself. */
  applyMsMax(): number;
  handleAnswer(from: string, body: Body, nowMs: number): void;
  handleUnreachable(node: string, request: Body, reason: string, nowMs: number): void;
  handleDeadline(nowMs: number): void;
  pollDeadline(): number;
}

/** What {@linkcode Work} must remember. No keys. */
export interface WorkRecord {
  /** Of a box. */
  readonly plan: NodePlan | null;
  /** Of a sub-manager: what its manager remembers. */
  readonly below: ManagerRecord | null;
}

/** A box does it itself. */
export class BoxWork implements Work {
  readonly #desk: Desk;
  readonly #owner: WorkOwner;
  /** Without keys; null while the box was not touched. */
  #plan: NodePlan | null = null;
  /** Something of it may be on the box. */
  #touched = false;
  #drift: readonly string[] = [];
  /** Keys went with the process that had them. */
  #rekey = false;

  constructor(desk: Desk, owner: WorkOwner) {
    this.#desk = desk;
    this.#owner = owner;
  }

  gather(_invite: Invite, nowMs: number): void {
    this.#owner.handleGathered([], nowMs);
  }

  selectRefusal(select: Select): string | null {
    const { type } = this.#desk.offer();
    if (select.type === type || (type === "both" && select.type !== "meta")) return null;
    return `Cannot be a ${select.type} as this box offers another type: current value is ${type}`;
  }

  commit(_select: Select, nowMs: number): void {
    this.#owner.handleCommitted(nowMs);
  }

  dispatchRefusal(): string | null {
    return "Cannot dispatch to a box as it is no manager: send CONFIG, or choose another node";
  }

  dispatch(_spec: SubSpec, _nowMs: number): void {}

  configRefusal(plans: readonly NodePlan[]): string | null {
    const { beside, tools } = this.#desk;
    if (plans.length === 1) return checkPlan(plans[0]!, tools.node, beside(this.#owner.key));
    return `Cannot configure as a box takes one plan: current value is ${plans.length}`;
  }

  configure(config: Config, _nowMs: number): void {
    const plan = config.plans[0]!;
    this.#plan = withoutKeys(plan);
    this.#touched = true;
    this.#owner.journal();
    const { generation } = config;
    this.#desk.put({ kind: "apply", key: this.#owner.key, plan, generation });
  }

  rekey(config: Config, _nowMs: number): void {
    const { generation } = config;
    const plan = config.plans[0]!;
    this.#desk.put({ kind: "rekey", key: this.#owner.key, plan, generation });
  }

  undo(nowMs: number): void {
    if (this.#touched) this.#desk.put({ kind: "undo", key: this.#owner.key });
    else this.#owner.handleUndone([], nowMs);
  }

  verify(ticket: number): void {
    this.#check(ticket, 0, 0);
  }

  probe(ticket: number, probes: number, waitMs: number): void {
    this.#check(ticket, probes, waitMs);
  }

  look(mend: boolean): void {
    this.#check(-1, 0, 0, mend);
  }

  handleDrift(drift: readonly string[]): void {
    this.#drift = drift;
  }

  handleKeyed(): void {
    this.#rekey = false;
  }

  states(): readonly NodeState[] {
    const { node } = this.#desk.tools;
    return [{ node, state: this.#owner.state, drift: this.#drift, rekey: this.#rekey }];
  }

  record(): WorkRecord {
    return { plan: this.#plan, below: null };
  }

  restore(record: WorkRecord, active: boolean): void {
    this.#touched = true;
    this.#plan = record.plan;
    this.#rekey = active && (record.plan?.associations.length ?? 0) > 0;
  }

  canRekeyAnew(): boolean {
    return false;
  }

  applyMsMax(): number {
    const { configMs, configTries } = this.#desk.tools.timers;
    return configMs * configTries + (this.#plan?.script?.deadlineMs ?? 0);
  }

  handleAnswer(): void {
    this.#desk.counts.unexpected++;
  }

  handleUnreachable(): void {
    this.#desk.counts.unexpected++;
  }

  handleDeadline(): void {}

  pollDeadline(): number {
    return Infinity;
  }

  #check(ticket: number, probes: number, waitMs: number, mend = false): void {
    this.#desk.put({ kind: "check", key: this.#owner.key, ticket, probes, waitMs, mend });
  }
}

/** The fields that an answer has in common with its request. */
export function commonOf(common: Common): Common {
  const { application, name, version, level, epoch } = common;
  return { application, name, version, level, epoch };
}
