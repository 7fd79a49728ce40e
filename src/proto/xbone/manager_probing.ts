/**
 * PROBE: ours. An overlay is provisional until every link was answered at both ends; STATUS with echo
 * requests is sent in rounds to those of whom that is not known.
 *
 * @module
 */
import type { AckStatus, LinkState } from "../../wire/xbone/messages.ts";
import type { NodePlan } from "../../wire/xbone/node_plan.ts";
import { type Configuration, endKey } from "./manager_configuration.ts";
import type { Outbox } from "./manager_outbox.ts";
import { StatusRound } from "./manager_status.ts";

/** Echo requests over each link in a round. */
const PROBES = 3;

/** The rounds. */
export class Probing {
  readonly #outbox: Outbox;
  readonly #configuration: Configuration;
  readonly #probeMs: number;
  readonly #ends: LinkEnds;
  #roundsLeft: number;
  #rounds = 0;
  #round: StatusRound | null = null;

  constructor(outbox: Outbox, configuration: Configuration, probeMs: number, tries: number) {
    this.#outbox = outbox;
    this.#configuration = configuration;
    this.#probeMs = probeMs;
    this.#roundsLeft = tries;
    this.#ends = new LinkEnds(configuration.plans);
  }

  /** Whether every link works. */
  get isDone(): boolean {
    return this.#ends.isDone;
  }

  /** The next round. */
  start(nowMs: number): void {
    const { members } = this.#configuration;
    const open = members.filter(({ node }) =>
      this.#ends.concern(this.#configuration.boxesOf(node))
    );
    this.#rounds++;
    this.#roundsLeft--;
    this.#progress("", `every link is probed, round ${this.#rounds}`);
    const asked = { probes: PROBES, waitMs: this.#probeMs, nowMs };
    this.#round = new StatusRound(this.#outbox, this.#configuration, open, asked);
  }

  /** ACK-STATUS; false when it was not asked. */
  handleAnswer(from: string, body: AckStatus): boolean {
    if (this.#round?.handleAnswer(from, body) !== true) return false;
    const boxes = this.#configuration.boxesOf(from);
    this.#ends.take(body.links.filter(({ node }) => boxes.has(node)));
    this.#progress(
      from,
      this.#ends.concern(boxes) ? "hears nothing over a link" : "hears all links",
    );
    return true;
  }

  /** NACK-STATUS; false when it was not asked. */
  handleRefusal(from: string, reason: string): boolean {
    return this.#round?.handleRefusal(from, reason) === true;
  }

  /** Another round; after the last one what does not work. */
  handleDeadline(nowMs: number): { readonly node: string; readonly reason: string } | null {
    if (nowMs < this.pollDeadline()) return null;
    if (this.#roundsLeft <= 0) return this.#ends.fault(this.#rounds);
    this.start(nowMs);
    return null;
  }

  /** Of the present round. */
  pollDeadline(): number {
    return this.#round?.deadlineMs ?? Infinity;
  }

  #progress(node: string, text: string): void {
    this.#outbox.progress("PROBE", node, text, this.#ends.done, this.#ends.of);
  }
}

/** Which ends of links have not been seen to work. */
class LinkEnds {
  /** By box and link: what is known of it. */
  readonly #open = new Map<string, { node: string; link: string; last: LinkState | null }>();
  /** How many of them are on a box. */
  readonly #openOn = new Map<string, number>();
  readonly #of: number;

  constructor(plans: readonly NodePlan[]) {
    for (const { node, visits } of plans) {
      for (const { name: link } of visits.flatMap(({ links }) => links)) {
        this.#open.set(endKey(node, link), { node, link, last: null });
      }
    }
    for (const { node } of this.#open.values()) this.#count(node, 1);
    this.#of = this.#open.size;
  }

  /** How many there are. */
  get of(): number {
    return this.#of;
  }

  /** How many are known to work. */
  get done(): number {
    return this.#of - this.#open.size;
  }

  get isDone(): boolean {
    return this.#open.size === 0;
  }

  /** Whether an end on one of these boxes is open. */
  concern(boxes: ReadonlySet<string>): boolean {
    return [...boxes].some((box) => (this.#openOn.get(box) ?? 0) > 0);
  }

  /** What a box said. Both ends of a link may be on it; then both must work. */
  take(links: readonly LinkState[]): void {
    const dead = new Set<string>();
    for (const state of links) {
      const key = endKey(state.node, state.link);
      const open = this.#open.get(key);
      if (open === undefined || state.answered > 0) continue;
      open.last = state;
      dead.add(key);
    }
    for (const { node, link } of links) {
      const key = endKey(node, link);
      if (!dead.has(key) && this.#open.delete(key)) this.#count(node, -1);
    }
  }

  /** The first that does not work, and how many do not. */
  fault(rounds: number): { readonly node: string; readonly reason: string } {
    const { node, link, last } = this.#open.values().next().value!;
    const seen = last === null
      ? "was not reported"
      : `has ${last.answered} of ${last.sent} probes answered (packets received ` +
        `${last.rxPackets}, sent ${last.txPackets}, errors ${last.errors})`;
    const others = this.#open.size - 1;
    const more = others === 0 ? "" : `; ends of links that do not work besides it: ${others}`;
    return { node, reason: `link ${link} ${seen} after ${rounds} rounds${more}` };
  }

  #count(box: string, by: number): void {
    this.#openOn.set(box, (this.#openOn.get(box) ?? 0) + by);
  }
}
