/**
 * STATUS: ours. A manager asks its nodes and passes on what they say together.
 *
 * @module
 */
import type { AckStatus, LinkState, NodeState } from "../../wire/xbone/messages.ts";
import type { Configuration } from "./manager_configuration.ts";
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

  /** ACK-STATUS; false when it was not asked. A node speaks for its own boxes only. */
  handleAnswer(from: string, { nodes, links }: AckStatus): boolean {
    if (!this.#open.delete(from)) return false;
    const boxes = this.#configuration.boxesOf(from);
    for (const state of nodes) if (boxes.has(state.node)) this.#nodes.push(state);
    for (const link of links) if (boxes.has(link.node)) this.#links.push(link);
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
