/**
 * A manager that answers as a resource: the rows "(D)" of the state table "For RD" of the X-Bone control
 * protocol. INVITE, SELECT, DISPATCH, CONFIG and DELETE go on one level below, to a manager of its own;
 * what that has reached is what is answered above. Both points of recursion are here.
 *
 * @module
 */
import type {
  Body,
  Config,
  Count,
  Invite,
  LinkState,
  NodeState,
  PinnedNode,
  Select,
  SubNeed,
  SubSpec,
} from "../../wire/xbone/messages.ts";
import type { NodePlan } from "../../wire/xbone/node_plan.ts";
import { checkPlan } from "./check_plan.ts";
import {
  grantedLeaseMs,
  type ManagerEvent,
  type ManagerRecord,
  type Order,
  type Output,
} from "./machine.ts";
import { Manager } from "./manager.ts";
import { madeUp } from "./placement.ts";
import type { Desk, Work, WorkOwner, WorkRecord } from "./responder_work.ts";

/** A manager below does it. */
export class SubWork implements Work {
  readonly #desk: Desk;
  readonly #owner: WorkOwner;
  readonly #makeManager: (order: Order) => Manager;
  #manager: Manager | null = null;
  /** What it remembers, as it last wrote it. */
  #below: ManagerRecord | null = null;
  #invite: Invite | null = null;
  /** Needs to gather for when there is not enough for the present one, the largest first. */
  #needs: SubNeed[] = [];
  #guests: readonly string[] = [];
  /** GATHER for the present need has failed. */
  #shortOf = "";
  /** Boxes below, once they are pinned. */
  #pinned: readonly PinnedNode[] = [];
  readonly #states = new Map<string, NodeState>();
  #probing: number[] = [];
  /** End of the round of probes that is under way. */
  #probedAtMs = -Infinity;
  /** Of what is gone: who did not answer. Null while it is not. */
  #orphans: readonly string[] | null = null;
  #draining = false;

  constructor(desk: Desk, owner: WorkOwner, makeManager: (order: Order) => Manager) {
    this.#desk = desk;
    this.#owner = owner;
    this.#makeManager = makeManager;
  }

  gather(invite: Invite, nowMs: number): void {
    this.#invite = invite;
    this.#needs = invite.subs.toSorted((a, b) => sizeOf(b) - sizeOf(a));
    this.#gatherNext(nowMs);
    this.#drain(nowMs);
  }

  selectRefusal({ type, sub }: Select): string | null {
    if (type !== "meta") {
      return `Cannot be a ${type} as this is a manager: current value is meta`;
    }
    if (this.#guests.includes(sub)) return null;
    return `Cannot find nodes for ${sub} as it was not offered: current value is ${
      this.#guests.join(", ")
    }`;
  }

  commit(select: Select, nowMs: number): void {
    this.#manager?.select(nowMs, select.holdMs);
    this.#drain(nowMs);
  }

  dispatchRefusal(): string | null {
    return null;
  }

  dispatch(spec: SubSpec, nowMs: number): void {
    this.#manager?.dispatch(spec, nowMs);
    this.#drain(nowMs);
  }

  configRefusal(plans: readonly NodePlan[]): string | null {
    const below = new Set(this.#pinned.map(({ node }) => node));
    if (below.size === 0) return "Cannot configure as nothing was dispatched: send DISPATCH first";
    for (const plan of plans) {
      if (!below.delete(plan.node)) {
        return `Cannot configure as this node is not below, or has two plans: ` +
          `current value is ${plan.node}`;
      }
      const refusal = checkPlan(plan, plan.node);
      if (refusal !== null) return refusal;
    }
    if (below.size === 0) return null;
    return `Cannot configure as nodes below have no plan: current value is ${
      [...below].join(", ")
    }`;
  }

  configure(config: Config, nowMs: number): void {
    this.#owner.journal();
    this.#configure(config, nowMs);
  }

  rekey(config: Config, nowMs: number): void {
    this.#configure(config, nowMs);
  }

  undo(nowMs: number): void {
    const manager = this.#manager;
    if (manager === null) return this.#owner.handleUndone([], nowMs);
    if (this.#orphans === null) {
      if (manager.state !== "TEARDOWN" && manager.state !== "IDLE") manager.destroy(nowMs);
      return this.#drain(nowMs);
    }
    // Those that it has given up are not waited for: their leases are over long since.
    if (manager.pollDeadline() === Infinity) this.#orphans = [];
    this.#owner.handleUndone(this.#orphans, nowMs);
  }

  verify(ticket: number, nowMs: number): void {
    this.#owner.handleChecked(ticket, [], [], nowMs);
  }

  probe(ticket: number, probes: number, waitMs: number, nowMs: number): void {
    this.#probing.push(ticket);
    // One that comes meanwhile gets the same answer.
    if (nowMs < this.#probedAtMs) return;
    this.#probedAtMs = nowMs + waitMs;
    this.#manager?.status(probes, waitMs, nowMs);
    this.#drain(nowMs);
  }

  /** Its manager refreshes by itself. */
  look(): void {}

  /** Nodes below tell their own. */
  handleDrift(): void {}

  handleKeyed(): void {
    for (const state of this.#states.values()) {
      this.#states.set(state.node, { ...state, rekey: false });
    }
  }

  /** As they were last heard of. */
  states(): readonly NodeState[] {
    const boxes = new Set(this.#pinned.map(({ node }) => node));
    const state = this.#owner.state;
    return [...boxes].map((node) =>
      this.#states.get(node) ?? { node, state, drift: [], rekey: false }
    );
  }

  record(): WorkRecord {
    return { plan: null, below: this.#below };
  }

  restore({ below }: WorkRecord, active: boolean, nowMs: number): void {
    if (below === null) {
      if (active) {
        this.#owner.handleFailed(this.#failure("Nothing is known of what is below"), nowMs);
      }
      return;
    }
    this.#below = below;
    this.#manager = Manager.restore(this.#desk.tools, below, null, nowMs);
    this.#pinned = below.pinned;
    if (active) this.#drain(nowMs);
  }

  /** Those below that have the keys already are asked for them anew. */
  canRekeyAnew(): boolean {
    return true;
  }

  /** Its manager has T_CFG of its own. */
  applyMsMax(): number {
    return Infinity;
  }

  handleAnswer(from: string, body: Body, nowMs: number): void {
    if (this.#manager === null) this.#desk.counts.unexpected++;
    else this.#manager.handleMessage(from, body, nowMs);
    this.#drain(nowMs);
  }

  handleUnreachable(node: string, request: Body, reason: string, nowMs: number): void {
    if (this.#manager === null) this.#desk.counts.unexpected++;
    else this.#manager.handleUnreachable(node, request, reason, nowMs);
    this.#drain(nowMs);
  }

  handleDeadline(nowMs: number): void {
    if (this.#manager === null || nowMs < this.#manager.pollDeadline()) return;
    this.#manager.handleDeadline(nowMs);
    this.#drain(nowMs);
  }

  pollDeadline(): number {
    return this.#manager?.pollDeadline() ?? Infinity;
  }

  #gatherNext(nowMs: number): void {
    const { application, name, version, epoch, level, path, routing, encryption, qos, script } =
      this.#invite!;
    const need = this.#needs.shift()!;
    this.#guests = [need, ...this.#needs.filter((other) => covers(need, other))].map((one) =>
      one.name
    );
    this.#shortOf = "";
    this.#manager = this.#makeManager({
      ...{ name, application, version, epoch, level: level + 1, path },
      ...{ need: madeUp(need), revisit: false, routing, encryption, qos, script },
      ...{ hold: "phases", probe: false, memo: null },
      holdMs: Math.min(this.#invite!.holdMs, this.#desk.tools.timers.holdMsMax),
    });
    this.#manager.start(nowMs);
  }

  #configure({ plans, generation, leaseMs }: Config, nowMs: number): void {
    const { timers } = this.#desk.tools;
    const given = { plans, generation, leaseMs: grantedLeaseMs(leaseMs, timers) };
    this.#manager?.configure(nowMs, given);
    this.#drain(nowMs);
  }

  /** Passes on what comes from below, and goes on with what was reached. */
  #drain(nowMs: number): void {
    // What an event leads to is drained by the outer call.
    if (this.#draining) return;
    this.#draining = true;
    while (this.#manager !== null) {
      const output = this.#manager.pollOutput();
      if (output === null) {
        if (this.#shortOf === "") break;
        this.#goOn(nowMs);
      } else if (output.kind === "journal") this.#journal(output.record as ManagerRecord | null);
      else if (!this.#isOvertaken(output)) {
        this.#desk.put(output);
        if (output.kind === "event") this.#handleEvent(output.event, nowMs);
      }
    }
    this.#draining = false;
    const over = this.#manager?.state === "IDLE" && this.#owner.state === "UNDO";
    if (over && this.#orphans === null) this.#gone([], nowMs);
  }

  /** RELEASE before INVITE for another need may come behind it, and would free who has answered again. */
  #isOvertaken(output: Output): boolean {
    return output.kind === "multicast" && output.body.verb === "release" &&
      this.#owner.state === "GATHER" && this.#needs.length > 0;
  }

  /** There is not enough for a need: there may be for a smaller one. */
  #goOn(nowMs: number): void {
    if (this.#owner.state === "GATHER" && this.#needs.length > 0) return this.#gatherNext(nowMs);
    const reason = this.#shortOf;
    this.#shortOf = "";
    this.#owner.handleFailed(this.#failure(reason), nowMs);
  }

  #journal(record: ManagerRecord | null): void {
    this.#below = record;
    if (record !== null) this.#owner.journal();
  }

  #handleEvent(event: ManagerEvent, nowMs: number): void {
    switch (event.event) {
      case "reached":
        return this.#handleReached(event.state, nowMs);
      case "failed":
        // What is being undone has failed already, or was told to go.
        if (this.#owner.state === "GATHER") this.#shortOf = event.failure.reason;
        else if (this.#owner.state !== "UNDO") this.#owner.handleFailed(event.failure, nowMs);
        return;
      case "gone":
        if (this.#owner.state === "UNDO") this.#gone(event.orphans, nowMs);
        return;
      case "cleaned":
        if (this.#orphans === null) return;
        this.#orphans = this.#orphans.filter((node) => node !== event.node);
        if (this.#orphans.length === 0) this.#gone([], nowMs);
        return;
      case "refreshed":
        for (const state of event.nodes) this.#learn(state);
        return;
      case "silent":
        return this.#learn({
          node: event.node,
          state: "SILENT",
          drift: [`${event.node} does not answer`],
          rekey: this.#states.get(event.node)?.rekey ?? false,
        });
      case "status":
        return this.#handleStatus(event.status.nodes, event.status.links, nowMs);
    }
  }

  #handleReached(state: string, nowMs: number): void {
    const owner = this.#owner;
    if (state === "GATHERED") owner.handleGathered(this.#guests, nowMs);
    else if (state === "SELECTED") owner.handleCommitted(nowMs);
    else if (state === "READY") {
      this.#pinned = this.#manager!.record.pinned;
      owner.handleDispatched(this.#pinned, nowMs);
    } else if (state === "CONFIGURED" || state === "ACTIVE") owner.handleApplied(null, nowMs);
  }

  #handleStatus(
    nodes: readonly NodeState[],
    links: readonly LinkState[],
    nowMs: number,
  ): void {
    for (const state of nodes) this.#learn(state);
    const tickets = this.#probing;
    this.#probing = [];
    this.#probedAtMs = -Infinity;
    for (const ticket of tickets) this.#owner.handleChecked(ticket, [], links, nowMs);
  }

  /** Of a box, or of a manager: then it is that of all that is below it. */
  #learn(state: NodeState): void {
    const member = this.#below?.selected.find(({ node }) => node === state.node);
    const prefix = member === undefined || member.sub === "" ? null : `${member.sub}/`;
    for (const { name, node } of this.#pinned) {
      const concerned = prefix === null ? node === state.node : name.startsWith(prefix);
      if (concerned) this.#states.set(node, { ...state, node });
    }
  }

  #gone(orphans: readonly string[], nowMs: number): void {
    this.#orphans = orphans;
    this.#owner.handleUndone(orphans, nowMs);
  }

  #failure(reason: string): { node: string; step: string; reason: string } {
    return { node: this.#desk.tools.node, step: "", reason };
  }
}

function sizeOf(need: SubNeed): number {
  return need.host.count + need.router.count +
    need.subs.reduce((size, sub) => size + 1 + sizeOf(sub), 0);
}

/** True when whatever satisfies `need` satisfies `other` too. */
function covers(need: SubNeed, other: SubNeed): boolean {
  return coversCount(need.host, other.host) && coversCount(need.router, other.router) &&
    other.subs.every((sub) => need.subs.some((one) => one.name === sub.name && covers(one, sub)));
}

function coversCount(count: Count, other: Count): boolean {
  if (other.count === 0) return true;
  const fits = other.os.includes("any") || count.os.every((os) => other.os.includes(os));
  const { on = [] } = count;
  return count.count >= other.count && fits && (other.on ?? []).every((box) => on.includes(box));
}
