/**
 * STATUS: ours. A manager asks its nodes and passes on what they say together.
 *
 * @module
 */
import type { AckStatus, LinkState, NodeState } from "../../wire/xbone/messages.ts";
import { type Configuration, endKey } from "./manager_configuration.ts";
import type { Member, Outbox } from "./manager_outbox.ts";
import { REFUSED } from "./manager_upkeep.ts";

/** Of the time that a manager has, the part that it gives to those below: the rest is for the way. */
const SHARE_BELOW = 3 / 4;

/** One question to several nodes. */
export class StatusRound {
  readonly deadlineMs: number;
  readonly #configuration: Configuration;
  readonly #open = new Map<string, string>();
  readonly #nodes: NodeState[] = [];
  readonly #links: LinkState[] = [];

  constructor(
    outbox: Outbox,
    configuration: Configuration,
    members: readonly Member[],
    { probes, waitMs, nowMs }: { probes: number; waitMs: number; nowMs: number },
  ) {
    this.deadlineMs = nowMs + waitMs;
    this.#configuration = configuration;
    const below = Math.floor(waitMs * SHARE_BELOW);
    for (const member of members) {
      this.#open.set(member.node, "no answer in time");
      outbox.send(member, { ...outbox.common, verb: "status", probes, waitMs: below }, waitMs);
    }
  }

  /** Whether everybody answered. */
  get isDone(): boolean {
    return this.#open.size === 0;
  }

  /** What was answered; those who did not answer are SILENT. */
  get status(): Pick<AckStatus, "nodes" | "links"> {
    const silent = [...this.#open].map(([node, reason]) => (
      { node, state: "SILENT", drift: [`did not answer STATUS: ${reason}`], rekey: false }
    ));
    return { nodes: [...this.#nodes, ...silent], links: this.#links };
  }

  /**
   * ACK-STATUS; false when it was not asked. A node speaks for its own boxes only, and of their own links:
   * what it makes up would push out what others say.
   */
  handleAnswer(from: string, { nodes, links }: AckStatus): boolean {
    if (!this.#open.delete(from)) return false;
    const boxes = this.#configuration.boxesOf(from);
    const silent = new Set(boxes);
    for (const state of nodes) if (silent.delete(state.node)) this.#nodes.push(state);
    const told = new Map<string, number>();
    for (const state of links) {
      const { node, link } = state;
      if (!boxes.has(node)) continue;
      const key = endKey(node, link);
      const count = (told.get(key) ?? 0) + 1;
      told.set(key, count);
      if (count <= this.#configuration.endsOf(node, link)) this.#links.push(state);
    }
    return true;
  }

  /** NACK-STATUS. */
  handleRefusal(from: string, reason: string): boolean {
    if (!this.#open.delete(from)) return false;
    this.#nodes.push({ node: from, state: REFUSED, drift: [reason], rekey: false });
    return true;
  }

  /** No answer will come. */
  handleUnreachable(node: string, reason: string): void {
    if (this.#open.has(node)) this.#open.set(node, reason);
  }
}
