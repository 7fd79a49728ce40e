/**
 * The four phases of the X-Bone control protocol, from the state DISCOVERY to CONFIG of the table "For
 * GUI/OM": whom to ask next, and what follows from an answer or from its absence. That it failed is its
 * owner's: what was begun must be taken down.
 *
 * @module
 */
import type {
  AckConfig,
  AckDispatch,
  AckInvite,
  AckSelect,
  Body,
  SubSpec,
} from "../../wire/xbone/messages.ts";
import type { Designer, Failure, Placement } from "./machine.ts";
import { type Ask, Asks, silence } from "./manager_asks.ts";
import { type Configuration, pinFault, pinsOf } from "./manager_configuration.ts";
import type { Desk, Given, Refusal } from "./manager_desk.ts";
import { Discovery } from "./manager_discovery.ts";
import type { Member } from "./manager_outbox.ts";
import { type Change, Selection } from "./manager_selection.ts";
import { dispatchMs, selectHoldMs, selectMs, timesLevels } from "./manager_timing.ts";

/** Who goes on where the phases end. */
export interface FormingOwner {
  /** It does not become. */
  handleFailure(failure: Failure, nowMs: number): void;
  /** This node is what it was to become. */
  handleConfigured(member: Member, nowMs: number): void;
  /** All of them are. */
  handleFormed(nowMs: number): void;
}

/** How one overlay becomes. */
export class Forming {
  readonly #desk: Desk;
  readonly #designer: Designer | null;
  readonly #owner: FormingOwner;
  readonly #discovery: Discovery;
  readonly #asks: Asks;
  #found: Placement = { nodes: [], subs: [] };
  /** What the manager above wants its SELECT to hold for. */
  #aboveMs = 0;
  /** T_USER. */
  #userAtMs = Infinity;

  constructor(desk: Desk, designer: Designer | null, owner: FormingOwner) {
    this.#desk = desk;
    this.#designer = designer;
    this.#owner = owner;
    this.#discovery = new Discovery(desk.outbox, desk.tools.timers, desk.order, desk.tools.node);
    this.#asks = new Asks(desk.outbox);
  }

  /** Phase I. */
  discover(nowMs: number): void {
    this.#desk.state = "DISCOVERY";
    this.#discovery.start(nowMs);
  }

  /**
   * Phase II, with whom was found.
   *
   * @param aboveMs how long it is to hold for the manager above
   */
  select(nowMs: number, aboveMs: number): void {
    this.#aboveMs = aboveMs;
    this.#desk.state = "WAIT_RD";
    this.#askSelect(this.#desk.selection.adopt(this.#found, this.#desk.need), nowMs);
    this.#endSelect(nowMs);
  }

  /** Phase III of a sub-manager, which gets the real names now. */
  rename(spec: SubSpec, nowMs: number): void {
    const change = this.#desk.selection.rename(spec);
    this.#desk.need = spec;
    this.#desk.state = "WAIT_OM";
    if ("missing" in change) {
      const reason = `the selected nodes do not fit: ${change.missing.join("; ")}`;
      return this.#fail("", "", reason, nowMs);
    }
    this.#letGo(change.dropped);
    this.#dispatchNext(nowMs);
  }

  /** Phase IV, with plans of our own. */
  design(nowMs: number): void {
    this.#desk.state = "READY";
    const plans = this.#designer!.design(this.#desk.pinned);
    if ("reason" in plans) return this.#owner.handleFailure(plans, nowMs);
    this.configure({ plans, generation: 1, leaseMs: this.#desk.tools.timers.leaseMs }, nowMs);
  }

  /** Phase IV. */
  configure(given: Given, nowMs: number): void {
    const { pinned, selection, tools, levels, outbox } = this.#desk;
    const configuration = this.#desk.configurationOf(given);
    const fault = configuration.fault(pinned, selection.chosen.values());
    if (fault !== null) return this.#owner.handleFailure(fault, nowMs);
    this.#userAtMs = Infinity;
    this.#desk.configuration = configuration;
    this.#desk.state = "CONFIG";
    this.#desk.save();
    const { configMs, configTries } = tools.timers;
    for (const member of configuration.members) {
      const waitMs = timesLevels(configMs, member, levels);
      const body = configuration.body(member.node, outbox);
      this.#asks.ask(member, body, waitMs, configTries, nowMs);
    }
    this.#endConfig(nowMs);
  }

  /** ACK-INVITE; false when there is no room for another box. */
  handleOffer(from: string, body: AckInvite): boolean {
    const before = this.#discovery.count;
    if (!this.#discovery.handleAnswer(from, body)) return false;
    const { need: { nodes, subs }, outbox } = this.#desk;
    const { count } = this.#discovery;
    if (count === before) return true; // an INVITE that was repeated is answered again
    const of = nodes.length + subs.length;
    outbox.progress("DISCOVERY", from, `answered as ${body.type}`, count, of);
    return true;
  }

  /** ACK-SELECT; like those below false when nobody waits for it. */
  handleSelected(from: string, { type }: AckSelect, nowMs: number): boolean {
    if (this.#asks.get(from)?.to.type !== type) return false;
    return this.#settle("select", from, "is selected", () => this.#endSelect(nowMs));
  }

  /** ACK-DISPATCH. */
  handlePinned(from: string, { nodes }: AckDispatch, nowMs: number): boolean {
    const ask = this.#asks.get(from);
    if (ask?.body.verb !== "dispatch") return false;
    const pins = pinsOf(ask.body.createOverlay, nodes);
    if (typeof pins === "string") {
      this.#fail(from, "", pins, nowMs);
      return true;
    }
    return this.#settle("dispatch", from, `pinned ${nodes.length} nodes`, ({ sub }) => {
      this.#desk.selection.pin(sub, pins);
      this.#dispatchNext(nowMs);
    });
  }

  /** ACK-CONFIG. */
  handleConfigured(from: string, body: AckConfig, present: Configuration, nowMs: number): boolean {
    if (!present.isDone(from, body)) return false;
    return this.#settle("config", from, "is configured", (to) => {
      this.#owner.handleConfigured(to, nowMs);
      this.#endConfig(nowMs);
    });
  }

  /** A NACK of one of the four. */
  handleRefusal(from: string, of: string, refusal: Refusal, nowMs: number): boolean {
    const { node, step, reason } = refusal;
    if (of === "invite" && this.#desk.state === "DISCOVERY") {
      this.#discovery.handleRefusal(from, reason);
      return true;
    }
    if (this.#asks.get(from)?.body.verb !== of) return false;
    if (of === "select") this.#lose(from, `refused SELECT: ${reason}`, node, nowMs);
    else this.#fail(node, step, reason, nowMs);
    return true;
  }

  /** No answer to a try. */
  handleUnreachable(node: string, verb: Body["verb"], reason: string): void {
    if (!this.#asks.note(node, verb, reason)) return;
    this.#progress(node, `did not answer ${verb.toUpperCase()}: ${reason}`);
  }

  /** Call at or after `pollDeadline()`. */
  handleDeadline(nowMs: number): void {
    if (this.#desk.state === "DISCOVERY") this.#gather(nowMs);
    if (nowMs >= this.#userAtMs) {
      const seconds = this.#desk.tools.timers.userMs / 1000;
      this.#fail("", "", `cancelled as nobody told it to go on for ${seconds} s`, nowMs);
    }
    const { again, over } = this.#asks.handleDeadline(nowMs);
    for (const { to, body, sent, tries } of again) {
      this.#progress(to.node, `is sent ${body.verb.toUpperCase()} again, ${sent} of ${tries}`);
    }
    for (const ask of over) this.#giveUp(ask, nowMs);
  }

  /** Infinity when it only waits for calls. */
  pollDeadline(): number {
    const { state } = this.#desk;
    const discovery = state === "DISCOVERY" ? this.#discovery.pollDeadline() : Infinity;
    return Math.min(discovery, this.#userAtMs, this.#asks.pollDeadline());
  }

  /** Nothing more is expected of anybody. */
  stop(): void {
    this.#userAtMs = Infinity;
    this.#asks.clear();
  }

  /** Who is reserved and not kept is free. */
  release(keep: readonly string[]): void {
    const { outbox } = this.#desk;
    outbox.multicast({ ...outbox.common, verb: "release", keep }, this.#discovery.ttl);
  }

  /** An answer to a request of this phase; false when there was none. */
  #settle(verb: Body["verb"], from: string, text: string, then: (to: Member) => void): boolean {
    const ask = this.#asks.get(from);
    if (ask?.body.verb !== verb) return false;
    this.#asks.settle(from);
    this.#progress(from, text);
    then(ask.to);
    return true;
  }

  /** The last try is over. */
  #giveUp(ask: Ask, nowMs: number): void {
    const { to: { node }, body } = ask;
    // Another one of the same moment may have ended the phase, or let it go.
    if (this.#asks.get(node) !== ask) return;
    if (body.verb === "select") this.#lose(node, silence(ask), node, nowMs);
    else this.#fail(node, "", silence(ask), nowMs);
  }

  #gather(nowMs: number): void {
    const found = this.#discovery.handleDeadline(nowMs);
    if (found === null) return;
    if ("missing" in found) return this.#fail("", "", this.#discovery.reason(found), nowMs);
    const { hold, revisit } = this.#desk.order;
    this.#found = found;
    this.#desk.selection = new Selection(this.#discovery.candidates, revisit);
    if (hold === "phases") this.#desk.reach("GATHERED");
    else this.select(nowMs, 0);
  }

  #askSelect({ added, dropped }: Change, nowMs: number): void {
    const { tools: { timers }, order, levels, outbox } = this.#desk;
    this.#desk.save();
    this.#letGo(dropped);
    const holdMs = selectHoldMs(timers, order, this.#aboveMs);
    for (const member of added) {
      const { type, sub } = member;
      const waitMs = selectMs(timers, type === "meta" ? levels : 0);
      const body = { ...outbox.common, verb: "select", type, sub, holdMs } as const;
      this.#asks.ask(member, body, waitMs, timers.selectTries, nowMs);
    }
  }

  /** Who is not needed after all is told so at once, and once more when everything is taken down. */
  #letGo(members: readonly Member[]): void {
    const { tools, outbox } = this.#desk;
    for (const member of members) {
      this.#asks.settle(member.node);
      outbox.send(member, { ...outbox.common, verb: "stop" }, tools.timers.deleteMs);
    }
  }

  /** A node refuses or is silent: another one takes its place, if there is one. */
  #lose(node: string, why: string, who: string, nowMs: number): void {
    const { selection, need } = this.#desk;
    this.#asks.settle(node);
    const placement = selection.without(node, need);
    if ("missing" in placement) {
      return this.#fail(who, "", `${why}; no spare: ${placement.missing.join("; ")}`, nowMs);
    }
    this.#progress(who, `${why}: another takes its place`);
    this.#askSelect(selection.adopt(placement, need), nowMs);
    this.#endSelect(nowMs);
  }

  #endSelect(nowMs: number): void {
    if (this.#asks.size > 0) return;
    this.release([...this.#desk.selection.chosen.keys()]);
    if (this.#desk.order.hold === "phases") return this.#desk.reach("SELECTED");
    this.#desk.state = "WAIT_OM";
    this.#dispatchNext(nowMs);
  }

  /** One sub-manager after the other, in the order of their names: parallel ones could starve each other. */
  #dispatchNext(nowMs: number): void {
    const { selection, need, tools: { timers }, outbox } = this.#desk;
    const to = selection.nextManager;
    if (to === undefined) return this.#endDispatch(nowMs);
    const createOverlay = need.subs.find(({ name }) => name === to.sub)!;
    const body = { ...outbox.common, verb: "dispatch", retry: 0, createOverlay } as const;
    this.#asks.ask(to, body, dispatchMs(timers, createOverlay), timers.dispatchTries, nowMs);
  }

  #endDispatch(nowMs: number): void {
    const { selection, order: { revisit, hold }, tools } = this.#desk;
    this.#desk.pinned = selection.pinned;
    const fault = pinFault(selection.pinned, revisit);
    if (fault !== null) return this.#owner.handleFailure(fault, nowMs);
    if (hold === "none") return this.design(nowMs);
    this.#desk.reach("READY");
    if (hold === "ready") this.#userAtMs = nowMs + tools.timers.userMs;
  }

  #endConfig(nowMs: number): void {
    if (this.#asks.size === 0) this.#owner.handleFormed(nowMs);
  }

  #fail(node: string, step: string, reason: string, nowMs: number): void {
    this.#owner.handleFailure({ phase: this.#desk.state, node, step, reason }, nowMs);
  }

  /** Of those who are asked in this phase. */
  #progress(node: string, text: string): void {
    const { state, selection, outbox } = this.#desk;
    const of = selection.chosen.size;
    outbox.progress(state, node, text, Math.max(0, of - this.#asks.size), of);
  }
}
