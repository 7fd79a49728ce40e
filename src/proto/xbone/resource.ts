/**
 * All overlays that a box, or a manager asked as a resource, is part of: the responding side of the
 * X-Bone control protocol. Read first: responder.ts, which is one of them.
 *
 * Who asks is known by a certificate; what is asked may be anything. A request that cannot be met is
 * refused with the name of the node and the reason, and counted; INVITE is met with silence, unless the
 * offer says that refusals are told.
 *
 * @module
 */
import type { Body, Common, Invite, LinkState } from "../../wire/xbone/messages.ts";
import {
  type Acl,
  type MachineTools,
  type Offer,
  type Order,
  type Output,
  overlayKey,
} from "./machine.ts";
import type { NodePlan } from "../../wire/xbone/node_plan.ts";
import type { Manager } from "./manager.ts";
import { type InviteRefusal, inviteRefusal } from "./resource_invite.ts";
import { Responder, type ResponderRecord, type ResponderView } from "./responder.ts";
import { nackOf } from "./responder_waiting.ts";
import {
  BoxWork,
  commonOf,
  type Desk,
  type ResourceCounts,
  type Work,
  type WorkOwner,
} from "./responder_work.ts";
import { StoppedEpochs } from "./stopped_epochs.ts";
import { SubWork } from "./sub_responder.ts";

/** Verbs that ask for something new, so that the access list is asked again. */
const ASKING: readonly Body["verb"][] = ["select", "dispatch", "config"];
/** Verbs of requests over a connection. */
const REQUESTS: readonly Body["verb"][] = [...ASKING, "refresh", "status", "stop"];

/** A box that can be asked. */
export class Resource {
  readonly counts: ResourceCounts = {
    refusals: {},
    nacks: 0,
    unexpected: 0,
    holdsOver: 0,
    leasesOver: 0,
  };
  readonly #offer: () => Offer;
  readonly #acl: Acl;
  readonly #desk: Desk;
  readonly #makeWork: (owner: WorkOwner) => Work;
  readonly #overlays = new Map<string, Responder>();
  readonly #outputs: Output[] = [];
  readonly #stopped = new StoppedEpochs();

  /** @param makeManager for a manager that is asked as a resource; null for a box */
  constructor(
    tools: MachineTools,
    offer: () => Offer,
    acl: Acl,
    makeManager: ((order: Order) => Manager) | null,
  ) {
    this.#offer = offer;
    this.#acl = acl;
    this.#desk = {
      tools,
      offer,
      counts: this.counts,
      free: (key) => this.#free(key),
      beside: (key) => this.#beside(key),
      put: (output) => void this.#outputs.push(output),
    };
    this.#makeWork = (owner) =>
      makeManager === null
        ? new BoxWork(this.#desk, owner)
        : new SubWork(this.#desk, owner, makeManager);
  }

  /**
   * A request.
   *
   * @param from the name in the certificate that it was signed with, or that the connection has
   * @param ticket of a connection's request, for its answer; -1 for a datagram
   * @param replyTo HOST:PORT where a datagram came from
   */
  handleRequest(from: string, body: Body, ticket: number, replyTo: string, nowMs: number): void {
    const { verb } = body;
    const datagram = verb === "invite" || verb === "release";
    if (datagram !== ticket < 0 || (!datagram && !REQUESTS.includes(verb))) {
      return this.#refuseWay(body, ticket);
    }
    const key = overlayKey(body.name, body.epoch);
    const responder = this.#overlays.get(key);
    if (verb === "stop") this.#stopped.add(from, key, nowMs);
    if (responder === undefined) return this.#handleIdle(from, body, ticket, replyTo, nowMs);
    if (ASKING.includes(verb) && from === responder.manager) {
      const refusal = this.#acl(from, body, this.#countOf(from, key));
      if (refusal !== null) return this.#nack(body, ticket, refusal);
    }
    responder.handleRequest(from, body, ticket, replyTo, nowMs);
    this.#settle(responder);
  }

  /** An answer to what a manager below has sent. */
  handleAnswer(from: string, body: Body, nowMs: number): void {
    this.#with(
      overlayKey(body.name, body.epoch),
      (responder) => responder.handleAnswer(from, body, nowMs),
    );
  }

  /** There is no answer to what a manager below has sent. */
  handleUnreachable(node: string, request: Body, reason: string, nowMs: number): void {
    this.#with(
      overlayKey(request.name, request.epoch),
      (responder) => responder.handleUnreachable(node, request, reason, nowMs),
    );
  }

  /** End of an `apply` or a `rekey`. */
  handleApplied(
    key: string,
    failure: { readonly step: string; readonly reason: string } | null,
    nowMs: number,
  ): void {
    const { node } = this.#desk.tools;
    this.#with(
      key,
      (responder) => responder.handleApplied(failure && { node, ...failure }, nowMs),
    );
  }

  /** End of an `undo`: what could not be undone, a line each. */
  handleUndone(key: string, left: readonly string[], nowMs: number): void {
    this.#with(key, (responder) => responder.handleUndone(left, nowMs));
  }

  /** End of a `check`. */
  handleChecked(
    key: string,
    ticket: number,
    drift: readonly string[],
    links: readonly LinkState[],
    nowMs: number,
  ): void {
    this.#with(key, (responder) => responder.handleChecked(ticket, drift, links, nowMs));
  }

  /** What was in the journal; one that cannot be read is undone. */
  restore(key: string, record: unknown, nowMs: number): void {
    const slash = key.lastIndexOf("/");
    const unknown = {
      ...{ application: "", name: key.slice(0, slash), version: "", level: 0 },
      epoch: key.slice(slash + 1),
    };
    const known = readRecord(record, key) ?? {
      ...{ state: "UNDO", manager: "", common: unknown, type: "host", sub: "" },
      ...{ script: null, digest: "", generation: 0, leaseMs: 0, plan: null, below: null },
    } as const;
    const responder = new Responder(this.#desk, this.#makeWork, known.manager, known.common);
    this.#overlays.set(key, responder);
    responder.restore(known, nowMs);
    this.#settle(responder);
  }

  handleDeadline(nowMs: number): void {
    for (const responder of [...this.#overlays.values()]) {
      if (responder.pollDeadline() > nowMs) continue;
      responder.handleDeadline(nowMs);
      this.#settle(responder);
    }
  }

  pollDeadline(): number {
    let soonest = Infinity;
    for (const responder of this.#overlays.values()) {
      soonest = Math.min(soonest, responder.pollDeadline());
    }
    return soonest;
  }

  pollOutput(): Output | null {
    return this.#outputs.shift() ?? null;
  }

  /** What this box is part of. */
  list(): readonly ResponderView[] {
    return [...this.#overlays.values()].map((responder) => responder.view());
  }

  /** Row IDLE: nothing is known of this overlay and epoch. */
  #handleIdle(from: string, body: Body, ticket: number, replyTo: string, nowMs: number): void {
    switch (body.verb) {
      case "invite":
        return this.#handleInvite(from, body, replyTo, nowMs);
      case "release":
        return;
      case "stop":
        return this.#answer(ticket, { ...commonOf(body), verb: "ack-stop" });
      default:
        this.#nack(
          body,
          ticket,
          `Cannot ${body.verb} as nothing is reserved here (stale): ` +
            `current value is ${body.name}, epoch ${body.epoch}`,
        );
    }
  }

  #handleInvite(from: string, body: Invite, replyTo: string, nowMs: number): void {
    const key = overlayKey(body.name, body.epoch);
    if (this.#stopped.has(from, key, nowMs)) return void this.counts.unexpected++;
    const refusal = this.#inviteRefusal(from, body);
    if (refusal !== null) return this.#refuseInvite(body, refusal, replyTo);
    const responder = new Responder(this.#desk, this.#makeWork, from, body);
    if (body.holdMs <= 0) return responder.tell(body, replyTo);
    this.#overlays.set(key, responder);
    responder.start(body, replyTo, nowMs);
    this.#settle(responder);
  }

  #inviteRefusal(from: string, body: Invite): InviteRefusal | null {
    const offer = this.#offer();
    const refusal = inviteRefusal(body, offer, this.#desk.tools.node);
    if (refusal !== null) return refusal;
    const denied = this.#acl(from, body, this.#countOf(from, ""));
    if (denied !== null) return { why: "acl", reason: denied };
    if (body.holdMs <= 0 || this.#overlays.size < offer.overlaysMax) return null;
    const reason = `Cannot be part of more overlays: current value is ${this.#overlays.size}`;
    return { why: "full", reason };
  }

  #refuseInvite(body: Invite, { why, reason }: InviteRefusal, replyTo: string): void {
    const { refusals } = this.counts;
    refusals[why] = (refusals[why] ?? 0) + 1;
    if (this.#offer().tellsRefusals !== true) return;
    const to = body.replyTo === "" ? replyTo : body.replyTo;
    const { node } = this.#desk.tools;
    this.#outputs.push({ kind: "answer-invite", to, body: nackOf(body, node, reason) });
  }

  /** A datagram that must be a request over a connection, the reverse, or an answer. */
  #refuseWay(body: Body, ticket: number): void {
    this.counts.unexpected++;
    if (ticket < 0) return;
    this.#nack(body, ticket, `Cannot take this over a connection: current value is ${body.verb}`);
  }

  #free(key: string): number {
    const others = this.#overlays.size - (this.#overlays.has(key) ? 1 : 0);
    return Math.max(0, this.#offer().overlaysMax - others);
  }

  #beside(key: string): NodePlan[] {
    return [...this.#overlays.values()].flatMap((responder) => {
      const { plan } = responder;
      return responder.key === key || plan === null ? [] : [plan];
    });
  }

  /** Overlays that a manager has here, but for this one. */
  #countOf(manager: string, key: string): number {
    let count = 0;
    for (const responder of this.#overlays.values()) {
      if (responder.manager === manager && responder.key !== key) count++;
    }
    return count;
  }

  #with(key: string, act: (responder: Responder) => void): void {
    const responder = this.#overlays.get(key);
    if (responder === undefined) {
      this.counts.unexpected++;
      return;
    }
    act(responder);
    this.#settle(responder);
  }

  #settle(responder: Responder): void {
    if (responder.state === "IDLE") this.#overlays.delete(responder.key);
  }

  #nack(body: Body, ticket: number, reason: string): void {
    this.counts.nacks++;
    this.#answer(ticket, nackOf(body, this.#desk.tools.node, reason));
  }

  #answer(ticket: number, body: Body): void {
    this.#outputs.push({ kind: "answer", ticket, body });
  }
}

/** Null for what no responder has written. */
function readRecord(record: unknown, key: string): ResponderRecord | null {
  if (typeof record !== "object" || record === null) return null;
  const read = record as Partial<ResponderRecord>;
  const common: Partial<Common> | undefined = read.common;
  const fits = typeof read.state === "string" && typeof read.manager === "string" &&
    typeof read.digest === "string" && typeof read.generation === "number" &&
    typeof read.leaseMs === "number" && read.plan !== undefined && read.below !== undefined &&
    typeof common?.name === "string" && typeof common.epoch === "string" &&
    overlayKey(common.name, common.epoch) === key;
  return fits ? read as ResponderRecord : null;
}
