/**
 * One overlay at one box that was asked: the state table "For RD" of the X-Bone control protocol. Read
 * first: the diagram below, and responder_work.ts. (D) marks what only a manager below goes through.
 *
 *                    INVITE            enough (D)             SELECT              all ACKs (D)
 *     IDLE ────────────────> GATHER ──────────────> RESERVE ─────────> COMMITTING ─────────> COMMITTED
 *      ^                        │                      │                    │             CONFIG │
 *      │                        v                      v                    v                    v
 *      └── nothing is left ── UNDO <── RELEASE, DELETE, end of hold or lease, failure ────── CONFIGURE
 *                               ^                                                                │
 *                               └──────────── DELETE, end of lease ───── ACTIVE <── applied ─────┘
 *
 * - Whoever reserved is who commands: nobody else's request changes a state. Each is answered, if only
 *   by a NACK with the reason; INVITE and RELEASE are datagrams and are not.
 * - Every state but IDLE ends by itself: a hold, T_CFG, the lease. A box gives up by its own clock.
 * - UNDO lasts until nothing is left; what cannot be undone is tried again, less and less often.
 * - What was written to the journal stands there until nothing is left.
 *
 * @module
 */
import type {
  Body,
  Common,
  Config,
  Dispatch,
  Invite,
  LinkState,
  PinnedNode,
  Release,
  ScriptName,
  Select,
  Status,
} from "../../wire/xbone/messages.ts";
import type { NodePlan } from "../../wire/xbone/node_plan.ts";
import { grantedLeaseMs, overlayKey, type ResponderState } from "./machine.ts";
import { configRefusal } from "./config_refusal.ts";
import { canonicalJson } from "./plan_digest.ts";
import { type Refusal, WaitingRequests } from "./responder_waiting.ts";
import {
  commonOf,
  type Desk,
  type Work,
  type WorkOwner,
  type WorkRecord,
} from "./responder_work.ts";

/** Nobody needs more echo requests over a link, or longer for them. */
const PROBES_MAX = 100;
const PROBE_MS_MAX = 60_000;

/** What a responder must remember: written before what follows from it is done. No keys. */
export interface ResponderRecord extends WorkRecord {
  readonly state: ResponderState;
  readonly manager: string;
  readonly common: Common;
  readonly type: Select["type"];
  /** Of a sub-manager: the need that it was selected for. */
  readonly sub: string;
  readonly script: ScriptName | null;
  readonly digest: string;
  readonly generation: number;
  readonly leaseMs: number;
}

/** An overlay at this box, for people. */
export interface ResponderView {
  readonly key: string;
  readonly name: string;
  readonly epoch: string;
  /** Who reserved it. */
  readonly manager: string;
  readonly state: ResponderState;
  readonly type: string;
  readonly level: number;
  readonly sinceMs: number;
  /** End of the hold or of the lease; Infinity for never. */
  readonly untilMs: number;
  readonly digest: string;
  readonly generation: number;
  readonly drift: readonly string[];
  /** Why it is being taken down; else empty. */
  readonly reason: string;
}

/** One overlay. It is over when its state is IDLE. */
export class Responder implements WorkOwner {
  readonly key: string;
  readonly manager: string;
  readonly #desk: Desk;
  readonly #work: Work;
  readonly #common: Common;
  readonly #waiting: WaitingRequests;
  #state: ResponderState = "IDLE";
  #sinceMs = 0;
  /** End of the hold, of T_CFG, of the lease; in UNDO the next try. */
  #untilMs = Infinity;
  #type: Select["type"] | "both";
  #sub = "";
  #script: ScriptName | null = null;
  /** INVITE again is answered again. */
  #invited: { replyTo: string; body: Invite } | null = null;
  #guests: readonly string[] = [];
  #holdMs = 0;
  #dispatched: { spec: string; nodes: readonly PinnedNode[] | null } | null = null;
  #digest = "";
  #generation = 0;
  #leaseMs = 0;
  /** Generation of the keys that are being changed; -1 when none are. */
  #rekeying = -1;
  #lookedMs = -Infinity;
  #journaled = false;
  #undoing = false;
  #undoTries = 0;
  #reason = "";

  constructor(desk: Desk, makeWork: (owner: WorkOwner) => Work, manager: string, common: Common) {
    this.key = overlayKey(common.name, common.epoch);
    this.manager = manager;
    this.#desk = desk;
    this.#common = commonOf(common);
    this.#type = desk.offer().type;
    this.#waiting = new WaitingRequests(desk);
    this.#work = makeWork(this);
  }

  /** What the box is in it, without keys; null while it is nothing. */
  get plan(): NodePlan | null {
    return this.#work.record().plan;
  }

  get state(): ResponderState {
    return this.#state;
  }

  /** IDLE, INVITE: the resource has checked it and has room. */
  start(invite: Invite, replyTo: string, nowMs: number): void {
    this.#invited = { replyTo, body: invite };
    this.#script = invite.script;
    this.#holdMs = this.#hold(invite.holdMs);
    this.#enter("GATHER", nowMs, nowMs + this.#holdMs);
    this.#work.gather(invite, nowMs);
  }

  /** An INVITE that only asks who is there: nothing is reserved. */
  tell(invite: Invite, replyTo: string): void {
    this.#invited = { replyTo, body: invite };
    this.#ackInvite();
  }

  /**
   * After a restart: before ACTIVE it is undone. ACTIVE is made again where a reboot took it away, but for
   * keys, for which the manager is asked; its lease starts again.
   */
  restore(record: ResponderRecord, nowMs: number): void {
    this.#journaled = true;
    this.#type = record.type;
    this.#sub = record.sub;
    this.#script = record.script;
    this.#digest = record.digest;
    this.#generation = record.generation;
    this.#leaseMs = record.leaseMs;
    const active = record.state === "ACTIVE";
    if (active) this.#enter("ACTIVE", nowMs, this.#lease(nowMs));
    this.#work.restore(record, active, nowMs);
    if (!active) this.#takeDown("It was restarted before it was active", nowMs);
    else if (this.state === "ACTIVE") this.#look(nowMs, true);
  }

  /** INVITE by `from` is a datagram: `replyTo` says where its answer goes. */
  handleRequest(from: string, body: Body, ticket: number, replyTo: string, nowMs: number): void {
    if (from !== this.manager) return this.#refuseStranger(from, body, ticket);
    if (body.level !== this.#common.level) return this.#refuseLevel(body, ticket);
    switch (body.verb) {
      case "invite":
        return this.#handleInvite(body, replyTo);
      case "release":
        return this.#handleRelease(body, nowMs);
      case "select":
        return this.#handleSelect(body, ticket, nowMs);
      case "dispatch":
        return this.#handleDispatch(body, ticket, nowMs);
      case "config":
        return this.#handleConfig(body, ticket, nowMs);
      case "refresh":
        return this.#handleRefresh(body, ticket, nowMs);
      case "status":
        return this.#handleStatus(body, ticket, nowMs);
      case "stop":
        return this.#handleStop(body, ticket, nowMs);
    }
  }

  /** An answer to what a manager below has sent. */
  handleAnswer(from: string, body: Body, nowMs: number): void {
    this.#work.handleAnswer(from, body, nowMs);
  }

  handleUnreachable(node: string, request: Body, reason: string, nowMs: number): void {
    this.#work.handleUnreachable(node, request, reason, nowMs);
  }

  handleGathered(guests: readonly string[], nowMs: number): void {
    if (this.#state !== "GATHER") return;
    this.#guests = guests;
    this.#enter("RESERVE", nowMs, nowMs + this.#holdMs);
    this.#ackInvite();
  }

  handleCommitted(nowMs: number): void {
    if (this.#state !== "COMMITTING") return;
    this.#enter("COMMITTED", nowMs, nowMs + this.#holdMs);
    this.#waiting.answerAll(
      "select",
      (common) => ({ ...common, verb: "ack-select", type: this.#selected() }),
    );
  }

  handleDispatched(nodes: readonly PinnedNode[], _nowMs: number): void {
    if (this.#state !== "COMMITTED" || this.#dispatched === null) return;
    this.#dispatched = { ...this.#dispatched, nodes };
    this.#waiting.answerAll("dispatch", (common) => ({ ...common, verb: "ack-dispatch", nodes }));
  }

  /** CONFIGURE is over, or the keys are changed. */
  handleApplied(failure: Refusal | null, nowMs: number): void {
    if (this.#state === "CONFIGURE") {
      if (failure !== null) return this.handleFailed(failure, nowMs);
      this.#enter("ACTIVE", nowMs, this.#lease(nowMs));
      this.#work.handleKeyed();
      this.#work.handleDrift([]);
      this.#lookedMs = nowMs;
      this.journal();
      this.#answerConfigs();
    } else if (this.#rekeying !== -1) {
      const generation = this.#rekeying;
      this.#rekeying = -1;
      if (failure !== null) return this.#nackConfigs(generation, failure);
      this.#generation = generation;
      this.#work.handleKeyed();
      this.journal();
      this.#answerConfigs();
    } else if (this.#state !== "UNDO") this.#desk.counts.unexpected++;
  }

  handleFailed(failure: Refusal, nowMs: number): void {
    if (this.#state === "IDLE") return;
    this.#waiting.nackAll(failure);
    this.#takeDown(failure.reason, nowMs);
  }

  handleUndone(left: readonly string[], nowMs: number): void {
    if (this.#state !== "UNDO") {
      this.#desk.counts.unexpected++;
      return;
    }
    this.#undoing = false;
    if (left.length === 0) return this.#finish(nowMs);
    const reason = `Cannot take everything down; it is tried again: left is ${left.join(", ")}`;
    this.#reason = reason;
    this.#waiting.nackAll({ node: this.#desk.tools.node, step: "", reason });
    const { deleteMs, deleteAgainMs } = this.#desk.tools.timers;
    this.#untilMs = nowMs +
      Math.min(deleteMs * 2 ** Math.min(this.#undoTries++, 16), deleteAgainMs);
  }

  handleChecked(
    ticket: number,
    drift: readonly string[],
    links: readonly LinkState[],
    nowMs: number,
  ): void {
    if (this.#state !== "ACTIVE") return;
    this.#work.handleDrift(drift);
    this.#lookedMs = nowMs;
    if (ticket < 0) return;
    const asked = this.#waiting.take(ticket);
    if (asked === null) return;
    if (asked.verb === "config") return this.#ackConfig(ticket, asked);
    const nodes = this.#work.states();
    this.#waiting.answer(ticket, { ...commonOf(asked), verb: "ack-status", nodes, links });
  }

  journal(): void {
    this.#journaled = true;
    const record: ResponderRecord = {
      state: this.#state,
      manager: this.manager,
      common: this.#common,
      type: this.#selected(),
      sub: this.#sub,
      script: this.#script,
      digest: this.#digest,
      generation: this.#generation,
      leaseMs: this.#leaseMs,
      ...this.#work.record(),
    };
    const ending = this.#state === "UNDO" ? { ending: true as const } : {};
    this.#desk.put({ kind: "journal", key: this.key, record, ...ending });
  }

  handleDeadline(nowMs: number): void {
    this.#work.handleDeadline(nowMs);
    this.#waiting.handleDeadline(nowMs);
    if (nowMs < this.#untilMs) return;
    switch (this.#state) {
      case "IDLE":
        return;
      case "UNDO":
        return this.#undo(nowMs);
      case "CONFIGURE":
        return this.handleFailed(this.#own("Cannot configure as it took too long"), nowMs);
      case "ACTIVE":
        this.#desk.counts.leasesOver++;
        return this.#takeDown("Its lease ended as no REFRESH came", nowMs);
      default:
        this.#desk.counts.holdsOver++;
        this.handleFailed(
          this.#own(`Cannot hold longer in ${this.#state}: the time is over`),
          nowMs,
        );
    }
  }

  pollDeadline(): number {
    return Math.min(this.#untilMs, this.#work.pollDeadline(), this.#waiting.pollDeadline());
  }

  view(): ResponderView {
    const { name, epoch, level } = this.#common;
    return {
      key: this.key,
      name,
      epoch,
      manager: this.manager,
      state: this.#state,
      type: this.#type,
      level,
      sinceMs: this.#sinceMs,
      untilMs: this.#untilMs,
      digest: this.#digest,
      generation: this.#generation,
      drift: this.#work.states().flatMap(({ drift }) => drift),
      reason: this.#reason,
    };
  }

  #handleInvite(body: Invite, replyTo: string): void {
    if (this.#invited !== null) this.#invited = { replyTo, body: this.#invited.body };
    // T_RSV goes on: who is invited for ever is not held for ever.
    if (this.#state === "RESERVE") this.#ackInvite(body);
    else if (this.#state !== "GATHER") this.#desk.counts.unexpected++;
  }

  #handleRelease(body: Release, nowMs: number): void {
    if (this.#state !== "GATHER" && this.#state !== "RESERVE") return;
    if (body.keep.includes(this.#desk.tools.node)) return; // its SELECT is on the way
    this.#takeDown("Its manager released it", nowMs);
  }

  #handleSelect(body: Select, ticket: number, nowMs: number): void {
    switch (this.#state) {
      case "RESERVE": {
        const refusal = this.#work.selectRefusal(body);
        if (refusal !== null) return this.#waiting.nack(ticket, body, refusal);
        this.#type = body.type;
        this.#sub = body.sub;
        this.#holdMs = this.#hold(body.holdMs);
        this.#enter("COMMITTING", nowMs, nowMs + this.#holdMs);
        this.#waiting.add(ticket, body);
        return this.#work.commit(body, nowMs);
      }
      case "COMMITTING":
      case "COMMITTED":
      case "CONFIGURE":
      case "ACTIVE":
        if (body.type !== this.#type || body.sub !== this.#sub) {
          const now = `${this.#type} ${this.#sub}`.trimEnd();
          return this.#waiting.nack(
            ticket,
            body,
            `Cannot select twice in two ways: current value is ${now}`,
          );
        }
        if (this.#state === "COMMITTING") return this.#waiting.add(ticket, body);
        return this.#waiting.answer(ticket, {
          ...commonOf(body),
          verb: "ack-select",
          type: body.type,
        });
      default:
        this.#refuseStale(ticket, body);
    }
  }

  #handleDispatch(body: Dispatch, ticket: number, nowMs: number): void {
    const refusal = this.#work.dispatchRefusal();
    if (refusal !== null) return this.#waiting.nack(ticket, body, refusal);
    const spec = canonicalJson(body.createOverlay);
    const before = this.#dispatched;
    if (before !== null && before.spec === spec && this.#isHeld()) {
      if (before.nodes === null) return this.#waiting.add(ticket, body);
      const { nodes } = before;
      return this.#waiting.answer(ticket, { ...commonOf(body), verb: "ack-dispatch", nodes });
    }
    if (this.#state !== "COMMITTED") return this.#refuseStale(ticket, body);
    if (before !== null) {
      return this.#waiting.nack(ticket, body, "Cannot dispatch as another was dispatched");
    }
    this.#dispatched = { spec, nodes: null };
    this.#waiting.add(ticket, body);
    this.#work.dispatch(body.createOverlay, nowMs);
  }

  #handleConfig(body: Config, ticket: number, nowMs: number): void {
    switch (this.#state) {
      case "COMMITTED": {
        const refusal = this.#configRefusal(body);
        if (refusal !== null) return this.#waiting.nack(ticket, body, refusal);
        this.#digest = body.digest;
        this.#generation = body.generation;
        this.#leaseMs = grantedLeaseMs(body.leaseMs, this.#desk.tools.timers);
        this.#enter("CONFIGURE", nowMs, Infinity);
        this.#waiting.add(ticket, body);
        this.#work.configure(body, nowMs);
        if (this.state === "CONFIGURE") this.#untilMs = nowMs + this.#work.applyMsMax();
        return;
      }
      case "CONFIGURE":
        if (body.digest !== this.#digest || body.generation !== this.#generation) {
          return this.#nackConflict(ticket, body);
        }
        return this.#waiting.add(ticket, body);
      case "ACTIVE":
        return this.#handleConfigAgain(body, ticket, nowMs);
      default:
        this.#refuseStale(ticket, body);
    }
  }

  #handleConfigAgain(body: Config, ticket: number, nowMs: number): void {
    if (body.digest !== this.#digest) return this.#nackConflict(ticket, body);
    if (body.generation === this.#generation && this.#rekeying === -1) {
      this.#waiting.add(ticket, body);
      return this.#work.verify(ticket, nowMs);
    }
    if (body.generation === this.#rekeying) return this.#waiting.add(ticket, body);
    const newer = body.generation > Math.max(this.#generation, this.#rekeying);
    if (!newer || (this.#rekeying !== -1 && !this.#work.canRekeyAnew())) {
      return this.#nackConflict(ticket, body);
    }
    const refusal = this.#configRefusal(body);
    if (refusal !== null) return this.#waiting.nack(ticket, body, refusal);
    this.#rekeying = body.generation;
    this.#waiting.add(ticket, body);
    this.#work.rekey(body, nowMs);
  }

  #handleRefresh(body: Body, ticket: number, nowMs: number): void {
    if (this.#state !== "ACTIVE") return this.#refuseStale(ticket, body);
    this.#untilMs = this.#lease(nowMs);
    this.#waiting.answer(ticket, {
      ...commonOf(body),
      verb: "ack-refresh",
      nodes: this.#work.states(),
    });
    // The next answer tells what is found now. Half, as refreshes come a little sooner or later.
    if (nowMs - this.#lookedMs >= this.#desk.tools.timers.refreshMs / 2) this.#look(nowMs, false);
  }

  #handleStatus(body: Status, ticket: number, nowMs: number): void {
    if (this.#state !== "ACTIVE") return this.#refuseStale(ticket, body);
    this.#untilMs = this.#lease(nowMs);
    const waitMs = Math.min(body.waitMs, PROBE_MS_MAX);
    this.#waiting.add(ticket, body, nowMs + waitMs + this.#desk.tools.timers.probeMs);
    this.#work.probe(ticket, Math.min(body.probes, PROBES_MAX), waitMs, nowMs);
  }

  #handleStop(body: Body, ticket: number, nowMs: number): void {
    this.#waiting.add(ticket, body);
    if (this.#state === "UNDO") this.#undo(nowMs);
    else this.#takeDown("Its manager stopped it", nowMs);
  }

  #configRefusal(body: Config): string | null {
    return configRefusal(body, {
      common: this.#common,
      script: this.#script,
      sha256: this.#desk.tools.sha256,
      plansRefusal: (plans) => this.#work.configRefusal(plans),
    });
  }

  /** From any state: what waits is refused, and what was done is undone. */
  #takeDown(reason: string, nowMs: number): void {
    this.#waiting.nackAll(this.#own(`Cannot go on as it is taken down: ${reason}`), "stop");
    this.#reason = reason;
    this.#rekeying = -1;
    this.#enter("UNDO", nowMs, Infinity);
    if (this.#journaled) this.journal();
    this.#undo(nowMs);
  }

  #undo(nowMs: number): void {
    this.#untilMs = Infinity;
    if (this.#undoing) return;
    this.#undoing = true;
    this.#work.undo(nowMs);
  }

  #finish(nowMs: number): void {
    this.#enter("IDLE", nowMs, Infinity);
    if (this.#journaled) this.#desk.put({ kind: "journal", key: this.key, record: null });
    this.#waiting.answerAll("stop", (common) => ({ ...common, verb: "ack-stop" }));
  }

  #enter(state: ResponderState, nowMs: number, untilMs: number): void {
    this.#state = state;
    this.#sinceMs = nowMs;
    this.#untilMs = untilMs;
  }

  #isHeld(): boolean {
    return ["COMMITTED", "CONFIGURE", "ACTIVE"].includes(this.#state);
  }

  #hold(askedMs: number): number {
    return Math.min(askedMs, this.#desk.tools.timers.holdMsMax);
  }

  #lease(nowMs: number): number {
    return this.#leaseMs === 0 ? Infinity : nowMs + this.#leaseMs;
  }

  #selected(): Select["type"] {
    return this.#type === "both" ? "host" : this.#type;
  }

  #look(nowMs: number, mend: boolean): void {
    this.#lookedMs = nowMs;
    this.#work.look(mend);
  }

  #ackInvite(again: Invite | null = null): void {
    const { replyTo, body } = this.#invited!;
    const { type, hostname, ipaddr, port, os, mtu, capabilities } = this.#desk.offer();
    const asked = again ?? body;
    this.#desk.put({
      kind: "answer-invite",
      to: asked.replyTo === "" ? replyTo : asked.replyTo,
      body: {
        ...commonOf(asked),
        verb: "ack-invite",
        type,
        hostname,
        ipaddr,
        port,
        os,
        mtu,
        capabilities,
        free: this.#desk.free(this.key),
        guests: this.#guests,
      },
    });
  }

  #ackConfig(ticket: number, body: Config): void {
    const { digest, generation } = body;
    this.#waiting.answer(ticket, { ...commonOf(body), verb: "ack-config", digest, generation });
  }

  #answerConfigs(): void {
    for (const { ticket, body } of this.#waiting.takeAll("config")) this.#ackConfig(ticket, body);
  }

  /** Those of this generation; the others only wanted to know whether all is well. */
  #nackConfigs(generation: number, refusal: Refusal): void {
    const waiting = this.#waiting.takeAll("config");
    for (const { ticket, body } of waiting) {
      if (body.generation !== generation) this.#ackConfig(ticket, body);
      else this.#waiting.refuse(ticket, body, refusal);
    }
  }

  #nackConflict(ticket: number, body: Config): void {
    const digest = this.#digest.slice(0, 12);
    const now = `${digest}, generation ${Math.max(this.#generation, this.#rekeying)}`;
    this.#waiting.nack(
      ticket,
      body,
      `Cannot configure as it is in conflict with another: current value is ${now}`,
    );
  }

  /** Of a manager that does not have this overlay here. */
  #refuseStranger(from: string, body: Body, ticket: number): void {
    if (body.verb === "invite") {
      const { refusals } = this.#desk.counts;
      refusals.taken = (refusals.taken ?? 0) + 1;
    } else if (body.verb === "release") this.#desk.counts.unexpected++;
    else {
      const holder = this.manager === "" ? "nobody" : this.manager;
      this.#waiting.nack(
        ticket,
        body,
        `Cannot obey ${from} as another manager holds it: current value is ${holder}`,
      );
    }
  }

  #refuseLevel(body: Body, ticket: number): void {
    if (ticket < 0) this.#desk.counts.unexpected++;
    else {
      const reason = `Cannot ${body.verb} at level ${body.level} as it was reserved at another: ` +
        `current value is ${this.#common.level}`;
      this.#waiting.nack(ticket, body, reason);
    }
  }

  #refuseStale(ticket: number, body: Body): void {
    this.#waiting.nack(
      ticket,
      body,
      `Cannot ${body.verb} in this state (stale): current value is ${this.#state}`,
    );
  }

  #own(reason: string): Refusal {
    return { node: this.#desk.tools.node, step: "", reason };
  }
}
