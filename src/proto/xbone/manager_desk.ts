/**
 * What the parts of a manager share: what it is to form, how far it is, and what it must remember.
 *
 * @module
 */
import type { Nack, PinnedNode, SubSpec } from "../../wire/xbone/messages.ts";
import type { NodePlan } from "../../wire/xbone/node_plan.ts";
import {
  type MachineTools,
  type ManagerRecord,
  type ManagerState,
  type Order,
  overlayKey,
} from "./machine.ts";
import { Configuration } from "./manager_configuration.ts";
import { type Member, Outbox } from "./manager_outbox.ts";
import { Selection } from "./manager_selection.ts";
import { levelsBelow } from "./manager_timing.ts";

/** Plans, as a designer or the manager above gives them. */
export interface Given {
  readonly plans: readonly NodePlan[];
  readonly generation: number;
  readonly leaseMs: number;
}

/** Who says no, and why: a node below the one that answers, if it names one. */
export type Refusal = Pick<Nack, "node" | "step" | "reason">;

/** One overlay of one manager. */
export class Desk {
  readonly key: string;
  readonly tools: MachineTools;
  readonly order: Order;
  readonly outbox: Outbox;
  /** Levels below. */
  readonly levels: number;
  state: ManagerState = "IDLE";
  /** That of the order, until DISPATCH tells the real names. */
  need: SubSpec;
  selection: Selection;
  pinned: readonly PinnedNode[] = [];
  configuration: Configuration | null = null;
  /** Whether somebody has not got the keys of this generation. */
  rekeying = false;
  #isJournaled = false;

  constructor(tools: MachineTools, order: Order) {
    const { application, name, version, level, epoch } = order;
    this.key = overlayKey(name, epoch);
    this.tools = tools;
    this.order = order;
    this.need = order.need;
    this.levels = levelsBelow(order.need);
    this.selection = new Selection([], order.revisit);
    this.outbox = new Outbox(this.key, { application, name, version, level, epoch });
  }

  /** What must be known after a restart. */
  record(selected: Iterable<Member>): ManagerRecord {
    const { state, order, need, pinned, configuration, rekeying } = this;
    return {
      state,
      order: { ...order, need },
      selected: [...selected],
      pinned,
      plans: configuration?.bare ?? [],
      generation: configuration?.generation ?? 0,
      rekeying,
      leaseMs: configuration?.leaseMs ?? 0,
    };
  }

  /** Takes what it has to remember from a record. */
  restore(record: ManagerRecord): void {
    this.#isJournaled = true;
    this.pinned = record.pinned;
    const own = new Set(record.pinned.map(({ name, node }) => name.includes("/") ? "" : node));
    for (const member of record.selected) {
      this.selection.ever.set(member.node, member);
      const isPart = member.type === "meta" ? member.sub !== "" : own.has(member.node);
      if (isPart) this.selection.chosen.set(member.node, member);
    }
    this.configuration = this.configurationOf(record);
  }

  /** Writes down how far it is. */
  save(): void {
    this.#isJournaled = true;
    this.outbox.journal(this.record(this.selection.ever.values()));
  }

  /** In TEARDOWN: who is left, if there is anybody. */
  saveLeft(left: readonly Member[]): void {
    if (left.length === 0 && !this.#isJournaled) return;
    this.#isJournaled = left.length > 0;
    this.outbox.journal(left.length === 0 ? null : this.record(left));
  }

  /** Is there, and tells the owner. */
  reach(state: ManagerState): void {
    this.state = state;
    this.outbox.tell({ event: "reached", state });
  }

  /** The plans for those who are chosen. */
  configurationOf({ plans, generation, leaseMs }: Given): Configuration {
    const members = [...this.selection.chosen.values()];
    const { sha256 } = this.tools;
    return new Configuration(plans, this.pinned, members, { generation, leaseMs, sha256 });
  }
}
