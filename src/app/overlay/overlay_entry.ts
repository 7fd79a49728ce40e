/**
 * One overlay of a manager: its machine, what its nodes told, and who waits for it.
 *
 * @module
 */
import type { Failure, ManagerEvent } from "../../proto/xbone/machine.ts";
import type { Manager } from "../../proto/xbone/manager.ts";
import { REFUSED } from "../../proto/xbone/manager_upkeep.ts";
import type { OverlaySpec } from "../../proto/xbone/overlay_spec.ts";
import type { LinkState, NodeState } from "../../wire/xbone/messages.ts";
import type { Association, NodePlan, PlanLink, Visit } from "../../wire/xbone/node_plan.ts";
import type {
  OverlayLinkView,
  OverlayNodeView,
  OverlayProgress,
  OverlayView,
} from "./overlay_view.ts";

/** What is kept over a restart beside the machine's own record. */
export interface OverlayMemo {
  readonly spec: OverlaySpec;
  readonly digest: string;
  readonly sinceMs: number;
}

type Waiter = (event: ManagerEvent) => boolean;

/** One overlay. */
export class OverlayEntry {
  readonly manager: Manager;
  readonly memo: OverlayMemo;
  failure: Failure | null = null;
  /** Echo requests of the last question; with none, what was probed before it stays. */
  probes = 0;
  /** Nodes that alarms were raised for. */
  readonly alarmed = new Set<string>();
  #progress: OverlayProgress | null = null;
  #orphans: readonly string[] = [];
  #probedMs: number | null = null;
  readonly #states = new Map<string, NodeState>();
  readonly #silent = new Set<string>();
  readonly #links = new Map<string, LinkState>();
  readonly #waiters = new Set<Waiter>();

  constructor(manager: Manager, memo: OverlayMemo) {
    this.manager = manager;
    this.memo = memo;
  }

  /**
   * What is not as it was formed, a line for each box. One that is silent may still be as it was; one that
   * waits for its keys gets them without being asked.
   */
  get drift(): readonly string[] {
    return [...this.#states.values()].flatMap(({ drift, node, rekey, state }) => {
      if (state === REFUSED) return [`${node} has nothing of it any more`];
      if (state !== "ACTIVE" || rekey || drift.length === 0) return [];
      return [`${node}: ${drift.join("; ")}`];
    });
  }

  /** Takes an event of its machine. */
  handle(event: ManagerEvent, wallMs: number): void {
    switch (event.event) {
      case "progress": {
        const { done, node, of, phase, text } = event;
        this.#progress = { phase, node, text, done, of };
        break;
      }
      case "failed":
        this.failure = event.failure;
        break;
      case "gone":
        this.#orphans = event.orphans;
        break;
      case "cleaned":
        this.#orphans = this.#orphans.filter((node) => node !== event.node);
        break;
      case "refreshed":
        this.#take(event.nodes);
        break;
      case "silent":
        this.#silent.add(event.node);
        break;
      case "status":
        this.#take(event.status.nodes);
        if (this.probes > 0) this.#probedMs = wallMs;
        this.#takeLinks(event.status.links);
        break;
    }
    for (const waiter of [...this.#waiters]) {
      if (waiter(event)) this.#waiters.delete(waiter);
    }
  }

  /** Resolves with the first event that `wanted` takes, unless `late` comes first. */
  when(wanted: Waiter, late?: AbortSignal): Promise<ManagerEvent> {
    return new Promise((resolve) => {
      const waiter = (event: ManagerEvent): boolean => {
        if (!wanted(event)) return false;
        resolve(event);
        return true;
      };
      this.#waiters.add(waiter);
      late?.addEventListener("abort", () => void this.#waiters.delete(waiter));
    });
  }

  /** The sub-managers that a box answers through. */
  managersOf(node: string): string[] {
    const { pinned, selected } = this.manager.record;
    const subs = new Set(
      pinned.filter((each) => each.node === node).map(({ name }) => name.split("/", 1)[0]),
    );
    return selected.filter(({ sub }) => sub !== "" && subs.has(sub)).map(({ node }) => node);
  }

  /** What it is now. */
  view(): OverlayView {
    const { memo: { digest, sinceMs, spec }, manager: { record, state } } = this;
    const { order: { epoch, name }, pinned, plans, selected } = record;
    const boxes = new Map(pinned.map((each) => [each.node, each]));
    return {
      name,
      epoch,
      state,
      digest,
      topology: spec.topology,
      sinceMs,
      probedMs: this.#probedMs,
      nodes: plans.length === 0
        ? this.#committed()
        : plans.flatMap(({ node, visits }) =>
          visits.map((visit): OverlayNodeView => {
            const told = this.#states.get(node);
            return {
              name: visit.name,
              role: visit.role,
              address: visit.address,
              network: visit.network,
              node,
              hostname: boxes.get(node)?.hostname ?? "",
              ipaddr: boxes.get(node)?.ipaddr ?? "",
              state: told?.state ?? "",
              silent: this.#silent.has(node),
              drift: told?.drift ?? [],
            };
          })
        ),
      links: linksOf(plans).map(({ link, plan, visit }) => this.#link(link, visit, plan)),
      managers: selected.filter(({ type }) => type === "meta").map(({ node, sub }) => ({
        sub,
        node,
      })),
      failure: this.failure,
      orphans: this.#orphans,
      progress: this.#progress,
    };
  }

  /** Before plans are made: who plays what. */
  #committed(): OverlayNodeView[] {
    const { order: { name: network, need }, pinned } = this.manager.record;
    const hosts = new Set(need.nodes.filter(({ role }) => role === "host").map(({ name }) => name));
    return pinned.map(({ hostname, ipaddr, name, node }) => ({
      ...{
        name,
        address: "",
        network,
        node,
        hostname,
        ipaddr,
        state: "",
        silent: false,
        drift: [],
      },
      role: hosts.has(name) ? "host" : "router",
    }));
  }

  #take(nodes: readonly NodeState[]): void {
    for (const each of nodes) {
      this.#states.set(each.node, each);
      if (each.state === "SILENT") this.#silent.add(each.node);
      else this.#silent.delete(each.node);
    }
  }

  /** Of links that we made: a node may tell of any others. */
  #takeLinks(links: readonly LinkState[]): void {
    const ours = new Set<string>();
    for (const { link, plan } of linksOf(this.manager.record.plans)) {
      ours.add(`${plan.node} ${link.name}`).add(`${link.peerNode} ${link.name}`);
    }
    const before = new Map(this.#links);
    this.#links.clear();
    for (const link of links) {
      const key = `${link.node} ${link.link}`;
      if (!ours.has(key)) continue;
      const { answered, rttUs, sent } = (this.probes === 0 ? before.get(key) : undefined) ?? link;
      this.#links.set(key, { ...link, sent, answered, rttUs });
    }
  }

  #link(link: PlanLink, visit: Visit, { associations, node }: NodePlan): OverlayLinkView {
    const near = this.#links.get(`${node} ${link.name}`);
    const far = this.#links.get(`${link.peerNode} ${link.name}`);
    const ends = [near, far].filter((end) => end !== undefined);
    const sum = (of: "sent" | "answered"): number | null =>
      ends.length === 0 ? null : ends.reduce((count, end) => count + end[of], 0);
    const protects = ({ port, remote }: Association): boolean =>
      remote === link.remote && port === link.port;
    return {
      name: link.name,
      ends: [visit.name, link.peer],
      addresses: [link.address, link.peerAddress],
      vni: link.vni,
      port: link.port,
      mtu: link.mtu,
      rateBits: link.rateBits,
      encrypted: associations.some(protects),
      network: visit.network,
      sent: sum("sent"),
      answered: sum("answered"),
      rttUs: ends.find(({ answered }) => answered > 0)?.rttUs ?? null,
      rxBytes: near?.rxBytes ?? null,
      txBytes: near?.txBytes ?? null,
      rxPackets: near?.rxPackets ?? null,
      txPackets: near?.txPackets ?? null,
      errors: near?.errors ?? null,
    };
  }
}

/** Each link once, from its first end. */
function linksOf(
  plans: readonly NodePlan[],
): { link: PlanLink; visit: Visit; plan: NodePlan }[] {
  const seen = new Set<string>();
  return plans.flatMap((plan) =>
    plan.visits.flatMap((visit) =>
      visit.links.filter(({ name }) => {
        const isNew = !seen.has(name);
        seen.add(name);
        return isNew;
      }).map((link) => ({ link, visit, plan }))
    )
  );
}
