/**
 * A manager forms one overlay: "For GUI/OM" of the X-Bone control protocol. Four phases, all or nothing:
 *
 *     IDLE ─start─> DISCOVERY ─enough─> WAIT_RD ─all ACK-SELECT─> WAIT_OM ─all ACK-DISPATCH─> READY
 *       ^            │ (GATHERED)          │ (SELECTED)              │                           │ config
 *       │            │ too few:            │                         │                           v
 *       │<──RELEASE*─┘                     v                         v                        CONFIG
 *       └─────── all ACK-DELETE ─────── TEARDOWN <── a NACK, the last try, cancel ───────────────┤ all
 *                                        ^    ^                                                  v
 *                                 destroy│    └──────────────── a link is dead ─────────────── PROBE
 *                                     ACTIVE <────────────── every link answers ─────────────────┘
 *                                  (CONFIGURED)
 *
 * States in brackets are where a sub-manager waits until its own manager tells it to go on. What deviates
 * from the document, and why:
 *
 * - DELETE goes to all who were sent SELECT, whether or not they answered: an answer may be lost. The
 *   document only releases them, and RELEASE does not reach who is committed.
 * - Success leads to ACTIVE, not to IDLE: somebody must refresh the leases and undo it one day.
 * - Sub-managers are sent SELECT as boxes are, so that a RELEASE cannot free them.
 *
 * @module
 */
import type { Body, Nack, NodeState, SubSpec } from "../../wire/xbone/messages.ts";
import { assert } from "../../mem/assert.ts";
import type {
  Designer,
  Failure,
  MachineTools,
  ManagerRecord,
  ManagerState,
  Order,
  Output,
} from "./machine.ts";
import type { Configuration } from "./manager_configuration.ts";
import { Desk, type Given } from "./manager_desk.ts";
import { Forming, type FormingOwner } from "./manager_forming.ts";
import type { Member } from "./manager_outbox.ts";
import { Probing } from "./manager_probing.ts";
import { Rekeying } from "./manager_rekeying.ts";
import { StatusRound } from "./manager_status.ts";
import { Teardown } from "./manager_teardown.ts";
import { REFUSED, Upkeep } from "./manager_upkeep.ts";

/** States in which those who are reserved only must be told that they are free. */
const RESERVING: readonly ManagerState[] = [
  "DISCOVERY",
  "GATHERED",
  "WAIT_RD",
  "SELECTED",
  "WAIT_OM",
];

/** The overlay lives: at level 0, and of a sub-manager. */
const LIVING: readonly ManagerState[] = ["ACTIVE", "CONFIGURED"];

/** One overlay of one epoch, at one level. */
export class Manager {
  readonly key: string;
  /** `crowded`: boxes that answered INVITE when there was no room for more. */
  readonly counts = { unexpected: 0, crowded: 0 };
  readonly #desk: Desk;
  readonly #designer: Designer | null;
  readonly #forming: Forming;
  readonly #upkeep: Upkeep;
  readonly #rekeying: Rekeying;
  readonly #ending: Teardown;
  #isUsed = false;
  #probing: Probing | null = null;
  /** The owner's question. */
  #asked: StatusRound | null = null;

  /** @param designer null of a sub-manager, which is given its plans */
  constructor(tools: MachineTools, order: Order, designer: Designer | null) {
    assert((designer === null) === (order.hold === "phases"), "who is asked has no designer");
    const { timers } = tools;
    const desk = new Desk(tools, order);
    const owner: FormingOwner = {
      handleFailure: (failure, nowMs) => this.#teardown(failure, nowMs),
      handleConfigured: (member, nowMs) => this.#keep(member, nowMs),
      handleFormed: (nowMs) => this.#probe(nowMs),
    };
    this.key = desk.key;
    this.#desk = desk;
    this.#designer = designer;
    this.#forming = new Forming(desk, designer, owner);
    this.#upkeep = new Upkeep(desk.outbox, timers.refreshMs);
    this.#rekeying = new Rekeying(desk.outbox, timers.configMs);
    this.#ending = new Teardown(desk.outbox, timers, desk.levels, (left) => desk.saveLeft(left));
  }

  /** After a restart: what did not become ACTIVE is taken down, what did is refreshed at once. */
  static restore(
    tools: MachineTools,
    record: ManagerRecord,
    designer: Designer | null,
    nowMs: number,
  ): Manager {
    const manager = new Manager(tools, record.order, designer);
    manager.#restore(record, nowMs);
    return manager;
  }

  get state(): ManagerState {
    return this.#ending.isGone ? "IDLE" : this.#desk.state;
  }

  /** What must be known after a restart. */
  get record(): ManagerRecord {
    const { state, selection } = this.#desk;
    const selected = state === "TEARDOWN" ? this.#ending.left : selection.ever.values();
    return this.#desk.record(selected);
  }

  /** Last known states of all boxes below. */
  get nodes(): readonly NodeState[] {
    return this.#upkeep.states;
  }

  /** API create, or INVITE from above. */
  start(nowMs: number): void {
    if (this.#isUsed) return this.#unexpected();
    this.#isUsed = true;
    this.#forming.discover(nowMs);
  }

  /**
   * SELECT from above.
   *
   * @param holdMs how long that SELECT is to hold
   */
  select(nowMs: number, holdMs = 0): void {
    if (this.#desk.state === "GATHERED") this.#forming.select(nowMs, holdMs);
    else this.#unexpected();
  }

  /** DISPATCH from above: the real names. */
  dispatch(spec: SubSpec, nowMs: number): void {
    if (this.#desk.state === "SELECTED") this.#forming.rename(spec, nowMs);
    else this.#unexpected();
  }

  /** API config of a held overlay, or CONFIG from above; of a greater generation it brings new keys. */
  configure(nowMs: number, given?: Given): void {
    const { state } = this.#desk;
    if ((given === undefined) === (this.#designer === null)) return this.#unexpected();
    if (state === "READY") {
      if (given === undefined) this.#forming.design(nowMs);
      else this.#forming.configure(given, nowMs);
    } else if (state === "CONFIGURED") this.#takeKeys(given!);
    else this.#unexpected();
  }

  /** API cancel, API destroy, STOP from above, or the end of the lease from above. */
  destroy(nowMs: number, reason = "cancelled"): void {
    const { state } = this.#desk;
    if (state === "TEARDOWN") return this.#unexpected();
    this.#isUsed = true;
    const isFailure = state !== "IDLE" && !LIVING.includes(state);
    this.#teardown(isFailure ? { phase: state, node: "", step: "", reason } : null, nowMs);
  }

  /** Asks all nodes; ends with the event `status`. A second caller shares the round of the first. */
  status(probes: number, waitMs: number, nowMs: number): void {
    const { state, outbox, configuration } = this.#desk;
    if (!LIVING.includes(state)) return this.#unexpected();
    if (this.#asked !== null) return;
    const asked = { probes, waitMs, nowMs };
    this.#asked = new StatusRound(outbox, configuration!, configuration!.members, asked);
  }

  /** An answer. `from` is the name in the certificate that it came with. */
  handleMessage(from: string, body: Body, nowMs: number): void {
    const { name, epoch, level } = this.#desk.order;
    const isOurs = body.name === name && body.epoch === epoch && body.level === level;
    const known = isOurs && this.#take(from, body, nowMs);
    if (!known) this.#unexpected();
  }

  /** No answer to a request: it is noted, and tried again when it is time. */
  handleUnreachable(node: string, request: Body, reason: string, _nowMs: number): void {
    if (request.verb === "status") this.#asked?.handleUnreachable(node, reason);
    else if (request.verb === "stop") this.#ending.handleRefusal(node, reason);
    else this.#forming.handleUnreachable(node, request.verb, reason);
  }

  /** Call at or after `pollDeadline()`. */
  handleDeadline(nowMs: number): void {
    this.#forming.handleDeadline(nowMs);
    const fault = this.#probing?.handleDeadline(nowMs) ?? null;
    if (fault !== null) this.#fail(fault.node, "", fault.reason, nowMs);
    if (this.#asked !== null && nowMs >= this.#asked.deadlineMs) this.#endStatus();
    if (this.#upkeep.handleDeadline(nowMs)) this.#rekeying.again(this.#desk.configuration!);
    this.#ending.handleDeadline(nowMs);
  }

  /** Infinity when it only waits for calls. */
  pollDeadline(): number {
    return Math.min(
      this.#forming.pollDeadline(),
      this.#probing?.pollDeadline() ?? Infinity,
      this.#asked?.deadlineMs ?? Infinity,
      this.#upkeep.pollDeadline(),
      this.#ending.pollDeadline(),
    );
  }

  /** Takes the oldest output; drain until null. */
  pollOutput(): Output | null {
    return this.#desk.outbox.poll();
  }

  /** False when nobody waits for it in this state. */
  #take(from: string, body: Body, nowMs: number): boolean {
    const { state, configuration, selection } = this.#desk;
    switch (body.verb) {
      case "ack-invite":
        if (state !== "DISCOVERY") return false;
        if (!this.#forming.handleOffer(from, body)) this.counts.crowded++;
        return true;
      case "ack-select":
        return this.#forming.handleSelected(from, body, nowMs);
      case "ack-dispatch":
        return this.#forming.handlePinned(from, body, nowMs);
      case "ack-config":
        if (configuration === null) return false;
        if (this.#forming.handleConfigured(from, body, configuration, nowMs)) return true;
        if (!this.#rekeying.handleAnswer(from, body, configuration)) return false;
        this.#endRekey();
        return true;
      case "ack-refresh":
        return this.#takeStates(from, body.nodes, nowMs);
      case "ack-status":
        if (this.#probing?.handleAnswer(from, body) === true) {
          if (this.#probing.isDone) this.#live("ACTIVE");
          return true;
        }
        if (this.#asked?.handleAnswer(from, body) !== true) return false;
        if (this.#asked.isDone) this.#endStatus();
        return true;
      case "ack-stop":
        // Or of one that was let go.
        return this.#ending.handleAnswer(from, nowMs) ||
          (selection.ever.has(from) && !selection.chosen.has(from));
      case "nack":
        return this.#takeNack(from, body, nowMs);
      default:
        return false;
    }
  }

  #takeNack(from: string, body: Nack, nowMs: number): boolean {
    const { of, step, reason } = body;
    // A manager speaks for those below it, a box for itself.
    const isManager = this.#desk.selection.ever.get(from)?.type === "meta";
    const node = isManager && body.node !== "" ? body.node : from;
    if (this.#forming.handleRefusal(from, of, { node, step, reason }, nowMs)) return true;
    switch (of) {
      case "config":
        if (!this.#rekeying.has(from)) return false;
        this.#desk.outbox.progress(
          this.#desk.state,
          node,
          `refused new keys: ${reason}`,
          ...this.#rekeying.progress,
        );
        return true;
      case "stop":
        return this.#ending.handleRefusal(from, reason);
      case "refresh":
        if (!this.#upkeep.handleRefusal(from, reason)) return false;
        this.#lost(node, reason, nowMs);
        return true;
      case "status":
        if (this.#probing?.handleRefusal(from, reason) === true) {
          this.#fail(node, step, `refused STATUS: ${reason}`, nowMs);
          return true;
        }
        if (this.#asked?.handleRefusal(from, reason) !== true) return false;
        if (this.#asked.isDone) this.#endStatus();
        return true;
      default:
        return false;
    }
  }

  #takeStates(from: string, nodes: readonly NodeState[], nowMs: number): boolean {
    const states = this.#upkeep.handleStates(from, nodes);
    if (states === null) return false;
    const refused = states.find(({ state }) => state === REFUSED);
    if (refused !== undefined) this.#lost(refused.node, refused.drift.join("; "), nowMs);
    else if (states.some(({ rekey }) => rekey) && !this.#rekeying.has(from)) this.#makeKeys();
    return true;
  }

  /** A node that was configured is so no more: what is not ACTIVE yet does not become. */
  #lost(node: string, reason: string, nowMs: number): void {
    const { order, state } = this.#desk;
    if (LIVING.includes(state)) {
      // Who was away for longer than the lease comes back to nothing.
      const isGone = this.nodes.every((each) => each.state === REFUSED);
      if (isGone && order.hold !== "phases") {
        this.#fail("", "", "no box has anything of it any more: their leases were over", nowMs);
      }
      return;
    }
    this.#fail(node, "", `refused REFRESH: ${reason}`, nowMs);
  }

  #keep(member: Member, nowMs: number): void {
    this.#upkeep.add(member, this.#desk.configuration!.boxesOf(member.node), nowMs);
  }

  /** All are configured: it stays so if every link works. */
  #probe(nowMs: number): void {
    const { order, tools, levels, outbox, configuration } = this.#desk;
    if (order.hold === "phases") return this.#live("CONFIGURED");
    const { probeMs, probeTries } = tools.timers;
    const probing = new Probing(outbox, configuration!, probeMs * (1 + levels), probeTries);
    if (!order.probe || probing.isDone) return this.#live("ACTIVE");
    this.#probing = probing;
    this.#desk.state = "PROBE";
    probing.start(nowMs);
  }

  #live(state: "ACTIVE" | "CONFIGURED"): void {
    this.#probing = null;
    this.#desk.state = state;
    this.#desk.save();
    this.#desk.reach(state);
  }

  /** Everybody answered, or the time is over. */
  #endStatus(): void {
    const { status } = this.#asked!;
    this.#asked = null;
    this.#desk.outbox.tell({ event: "status", status });
  }

  /** A box has lost its keys. */
  #makeKeys(): void {
    const { state, configuration } = this.#desk;
    if (this.#designer === null || state !== "ACTIVE") return;
    const { plans, generation, leaseMs, keyed } = configuration!;
    if (keyed.length === 0) return;
    const fresh = this.#designer.rekey(plans);
    const given = { plans: fresh, generation: generation + 1, leaseMs };
    this.#rekey(this.#desk.configurationOf(given));
  }

  /** The manager above has made keys. */
  #takeKeys(given: Given): void {
    const present = this.#desk.configuration!;
    const next = this.#desk.configurationOf(given);
    if (next.generation < present.generation || !present.isLike(next)) return this.#unexpected();
    if (next.generation > present.generation) return this.#rekey(next);
    this.#desk.configuration = next;
    this.#rekeying.again(next);
    this.#endRekey();
  }

  #rekey(next: Configuration): void {
    this.#desk.configuration = next;
    this.#desk.rekeying = true;
    this.#desk.save();
    this.#rekeying.open(next);
    this.#rekeying.again(next);
    this.#endRekey();
  }

  /** A sub-manager tells its own manager when all below have the new keys. */
  #endRekey(): void {
    if (this.#rekeying.size > 0) return;
    this.#desk.rekeying = false;
    this.#desk.save();
    if (this.#desk.state === "CONFIGURED") this.#desk.reach("CONFIGURED");
  }

  #fail(node: string, step: string, reason: string, nowMs: number): void {
    this.#teardown({ phase: this.#desk.state, node, step, reason }, nowMs);
  }

  /** All or nothing. */
  #teardown(failure: Failure | null, nowMs: number): void {
    const released = RESERVING.includes(this.#desk.state);
    if (this.#asked !== null) this.#endStatus();
    this.#probing = null;
    this.#forming.stop();
    this.#upkeep.stop();
    this.#rekeying.stop();
    this.#desk.state = "TEARDOWN";
    const { ever } = this.#desk.selection;
    if (ever.size > 0) this.#desk.save();
    if (released) this.#forming.release([]);
    this.#ending.start(ever.values(), nowMs);
    if (failure !== null) this.#desk.outbox.tell({ event: "failed", failure });
    this.#ending.end(nowMs);
  }

  #restore(record: ManagerRecord, nowMs: number): void {
    this.#isUsed = true;
    this.#desk.restore(record);
    if (LIVING.includes(record.state)) return this.#resume(record, nowMs);
    const reason = `the manager was restarted in ${record.state}`;
    const failure = { phase: record.state, node: "", step: "", reason };
    this.#teardown(record.state === "TEARDOWN" ? null : failure, nowMs);
  }

  #resume({ state, rekeying }: ManagerRecord, nowMs: number): void {
    const configuration = this.#desk.configuration!;
    this.#desk.state = state;
    for (const member of configuration.members) this.#keep(member, nowMs);
    this.#upkeep.refresh(nowMs);
    if (rekeying !== true) return;
    // Some have keys that others have not, and they were never written down.
    this.#desk.rekeying = true;
    this.#rekeying.open(configuration);
    this.#makeKeys();
  }

  #unexpected(): void {
    this.counts.unexpected++;
  }
}
