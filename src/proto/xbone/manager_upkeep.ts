/**
 * REFRESH: T_REFRESH of the state table "For GUI/OM" of the X-Bone control protocol. A node is refreshed
 * from its ACK-CONFIG on, as its lease runs from then on.
 *
 * @module
 */
import type { NodeState } from "../../wire/xbone/messages.ts";
import type { Member, Outbox } from "./manager_outbox.ts";

/** So many REFRESHes in a row without an answer make a node silent. */
const MISSES_MAX = 3;

/** State of a node that says that it is not part of the overlay any more. */
export const REFUSED = "REFUSED";

interface Kept {
  readonly to: Member;
  readonly boxes: ReadonlySet<string>;
  waiting: boolean;
  misses: number;
}

/** The nodes that became what they were to become. */
export class Upkeep {
  readonly #outbox: Outbox;
  readonly #refreshMs: number;
  readonly #kept = new Map<string, Kept>();
  readonly #states = new Map<string, NodeState>();
  #refreshAtMs = Infinity;

  constructor(outbox: Outbox, refreshMs: number) {
    this.#outbox = outbox;
    this.#refreshMs = refreshMs;
  }

  /** Last known states of all below. */
  get states(): readonly NodeState[] {
    return [...this.#states.values()];
  }

  /** From now on it is refreshed; `boxes` are those that it answers for. */
  add(to: Member, boxes: ReadonlySet<string>, nowMs: number): void {
    this.#kept.set(to.node, { to, boxes, waiting: false, misses: 0 });
    for (const node of boxes) {
      this.#states.set(node, { node, state: "ACTIVE", drift: [], rekey: false });
    }
    this.#refreshAtMs = Math.min(this.#refreshAtMs, nowMs + this.#refreshMs);
  }

  /** At once. */
  refresh(nowMs: number): void {
    for (const kept of this.#kept.values()) {
      if (kept.waiting) this.#miss(kept);
      kept.waiting = true;
      this.#outbox.send(
        kept.to,
        { ...this.#outbox.common, verb: "refresh" },
        this.#refreshMs,
      );
    }
    this.#refreshAtMs = nowMs + this.#refreshMs;
  }

  /** ACK-REFRESH; null when it was not asked. */
  handleStates(from: string, nodes: readonly NodeState[]): readonly NodeState[] | null {
    const kept = this.#kept.get(from);
    if (kept === undefined || !kept.waiting) return null;
    kept.waiting = false;
    kept.misses = 0;
    const own = nodes.filter(({ node }) => kept.boxes.has(node));
    for (const state of own) this.#states.set(state.node, state);
    this.#outbox.tell({ event: "refreshed", nodes: own });
    return own;
  }

  /** NACK-REFRESH: it lives, and is not part of it any more. */
  handleRefusal(from: string, reason: string): boolean {
    const boxes = this.#kept.get(from)?.boxes ?? [];
    const nodes = [...boxes].map((node) => (
      { node, state: REFUSED, drift: [reason], rekey: false }
    ));
    return this.handleStates(from, nodes) !== null;
  }

  /** It ends. */
  stop(): void {
    this.#kept.clear();
    this.#refreshAtMs = Infinity;
  }

  /** True when it was time to refresh. */
  handleDeadline(nowMs: number): boolean {
    if (nowMs < this.#refreshAtMs) return false;
    this.refresh(nowMs);
    return true;
  }

  /** Infinity when nobody is to be refreshed. */
  pollDeadline(): number {
    return this.#refreshAtMs;
  }

  #miss(kept: Kept): void {
    if (++kept.misses !== MISSES_MAX) return;
    for (const node of kept.boxes) {
      const drift = [`did not answer ${MISSES_MAX} REFRESHes`];
      this.#states.set(node, { node, state: "SILENT", drift, rekey: false });
    }
    this.#outbox.tell({ event: "silent", node: kept.to.node });
  }
}
