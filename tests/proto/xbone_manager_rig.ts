/** What the tests of the manager's machine share: an order, nodes that answer, virtual time. */
import type { Body, NodeState, PinnedNode, SubSpec } from "../../src/wire/xbone/messages.ts";
import type { NodePlan, PlanLink } from "../../src/wire/xbone/node_plan.ts";
import {
  type Designer,
  type Failure,
  type MachineTools,
  type ManagerEvent,
  type ManagerRecord,
  type Order,
  type Output,
  TIMERS,
} from "../../src/proto/xbone/machine.ts";
import { Manager } from "../../src/proto/xbone/manager.ts";

export const EPOCH = "00112233aabbccdd";
export const COMMON = {
  application: "overlay",
  name: "field",
  version: "",
  level: 0,
  epoch: EPOCH,
};
/** No digest of the plan is needed to be strong here. */
export const TOOLS: MachineTools = { node: "om", timers: TIMERS, sha256: (text) => `#${text}` };

/** Routers r1 … of a level, and sub-overlays. */
export function spec(routers: number, subs: readonly SubSpec[] = [], name = ""): SubSpec {
  const nodes = Array.from(
    { length: routers },
    (_, at) => ({ name: `r${at + 1}`, role: "router" as const, os: ["any"], on: "" }),
  );
  return { name, mode: "control", nodes, subs };
}

export function order(over: Partial<Order> = {}): Order {
  return {
    ...COMMON,
    path: [],
    need: spec(2),
    revisit: false,
    routing: "static",
    encryption: "none",
    qos: false,
    script: null,
    hold: "none",
    probe: false,
    memo: null,
    holdMs: 0,
    ...over,
  };
}

export function planOf(node: string, links: readonly string[] = [], key = ""): NodePlan {
  const link = (name: string): PlanLink => ({
    ...{ name, vni: 1, port: 4789, local: "10.0.0.1", remote: "10.0.0.2", mtu: 1400 },
    ...{ address: "10.1.0.0", peerAddress: "10.1.0.1", peer: "r2", peerNode: "b2", rateBits: 0 },
  });
  const ends = { local: "10.0.0.1", remote: "10.0.0.2", port: 4789, spiIn: 256, spiOut: 257 };
  return {
    ...{ overlay: "field", epoch: EPOCH, node },
    visits: [{
      ...{ name: "r", network: "field", role: "router", address: "10.2.0.1" },
      ...{ prefix: "10.2.0.0/16", links: links.map(link), routes: [] },
    }],
    associations: key === "" ? [] : [{ ...ends, keyIn: key, keyOut: key }],
    ...{ endpoints: [], names: [], peers: null, script: null },
  };
}

/** Plans for whoever is pinned; each generation has another key when `keyed`. */
export class PlainDesigner implements Designer {
  failure: Failure | null = null;
  keys = 1;

  constructor(readonly links: readonly string[] = [], readonly keyed = false) {}

  design(pinned: readonly PinnedNode[]): readonly NodePlan[] | Failure {
    const key = this.keyed ? `k${this.keys}` : "";
    const boxes = new Set(pinned.map(({ node }) => node));
    return this.failure ?? [...boxes].map((node) => planOf(node, this.links, key));
  }

  rekey(plans: readonly NodePlan[]): readonly NodePlan[] {
    this.keys++;
    return plans.map(({ node }) => planOf(node, this.links, `k${this.keys}`));
  }
}

type Sent = Extract<Output, { kind: "send" }>;

/** One manager and what it put out. */
export class Rig {
  nowMs = 0;
  readonly outputs: Output[] = [];
  /** How much of `outputs` was looked at by `take`. */
  #seen = 0;

  constructor(readonly manager: Manager) {}

  static of(over: Partial<Order> = {}, designer: Designer | null = new PlainDesigner()): Rig {
    return new Rig(new Manager(TOOLS, order(over), over.hold === "phases" ? null : designer));
  }

  static restored(record: ManagerRecord, designer: Designer | null = new PlainDesigner()): Rig {
    const rig = new Rig(Manager.restore(TOOLS, record, designer, 0));
    rig.drain();
    return rig;
  }

  drain(): void {
    for (let one = this.manager.pollOutput(); one !== null; one = this.manager.pollOutput()) {
      this.outputs.push(one);
    }
  }

  call(act: (manager: Manager) => void): void {
    act(this.manager);
    this.drain();
  }

  start(): void {
    this.call((manager) => manager.start(this.nowMs));
  }

  /** Fires every deadline that is due until then. */
  until(ms: number): void {
    for (let at = this.manager.pollDeadline(); at <= ms; at = this.manager.pollDeadline()) {
      this.nowMs = Math.max(this.nowMs, at);
      this.call((manager) => manager.handleDeadline(this.nowMs));
    }
    this.nowMs = ms;
  }

  after(ms: number): void {
    this.until(this.nowMs + ms);
  }

  /** At the manager's own level. */
  say(from: string, body: Body): void {
    this.hear(from, { ...body, level: this.manager.record.order.level });
  }

  hear(from: string, body: Body): void {
    this.call((manager) => manager.handleMessage(from, body, this.nowMs));
  }

  offer(
    node: string,
    type: "host" | "router" | "both" | "meta" = "router",
    guests = ["west"],
  ): void {
    this.say(node, {
      ...COMMON,
      verb: "ack-invite",
      ...{ type, hostname: `${node}.example`, ipaddr: `10.0.0.${node.length}`, port: 265 },
      ...{ os: "linux", mtu: 1500, capabilities: [], free: 4, guests },
    });
  }

  /** Answers the last request of this kind to the node. */
  ack(from: string, verb: "select" | "config" | "stop"): void {
    const { body } = this.sent(verb).findLast(({ to }) => to.node === from)!;
    if (body.verb === "select") this.say(from, { ...COMMON, verb: "ack-select", type: body.type });
    if (body.verb === "stop") this.say(from, { ...COMMON, verb: "ack-stop" });
    if (body.verb === "config") {
      const { digest, generation } = body;
      this.say(from, { ...COMMON, verb: "ack-config", digest, generation });
    }
  }

  nack(from: string, of: string, reason: string, node = "", step = ""): void {
    this.say(from, { ...COMMON, verb: "nack", of, node, step, reason });
  }

  pin(from: string, names: readonly string[], boxes: readonly string[] = names): void {
    const nodes = names.map((name, at) => ({
      ...{ name, node: boxes[at]!, hostname: name, ipaddr: "10.0.1.1", mtu: 1500 },
      capabilities: [],
    }));
    this.say(from, { ...COMMON, verb: "ack-dispatch", nodes });
  }

  states(from: string, over: Partial<NodeState> = {}): void {
    const state = { node: from, state: "ACTIVE", drift: [], rekey: false, ...over };
    this.say(from, { ...COMMON, verb: "ack-refresh", nodes: [state] });
  }

  links(from: string, answered: Record<string, number>, node = from): void {
    const counters = { rttUs: 1, rxBytes: 1, txBytes: 1, rxPackets: 1, txPackets: 7, errors: 0 };
    const links = Object.entries(answered).map(([link, count]) => (
      { node, link, sent: 3, answered: count, ...counters }
    ));
    const nodes = [{ node, state: "ACTIVE", drift: [], rekey: false }];
    this.say(from, { ...COMMON, verb: "ack-status", nodes, links });
  }

  sent(verb: Body["verb"]): Sent[] {
    return this.outputs.filter((one) => one.kind === "send").filter(({ body }) =>
      body.verb === verb
    );
  }

  /** To whom, in order. */
  whom(verb: Body["verb"]): string[] {
    return this.sent(verb).map(({ to }) => to.node);
  }

  events<E extends ManagerEvent["event"]>(kind: E): Extract<ManagerEvent, { event: E }>[] {
    return this.outputs.filter((one) => one.kind === "event").map(({ event }) => event)
      .filter((event) => event.event === kind) as Extract<ManagerEvent, { event: E }>[];
  }

  /** What was put out since the last look, a line each; progress is left out. */
  take(): string[] {
    const lines = this.outputs.slice(this.#seen).filter((one) =>
      one.kind !== "event" || one.event.event !== "progress"
    ).map(lineOf);
    this.#seen = this.outputs.length;
    return lines;
  }

  get unexpected(): number {
    return this.manager.counts.unexpected;
  }
}

function lineOf(one: Output): string {
  switch (one.kind) {
    case "multicast":
      return one.body.verb === "release"
        ? `release keep [${one.body.keep.join(" ")}]`
        : `invite ttl ${one.ttl}`;
    case "send":
      return `${one.body.verb} ${one.to.node}`;
    case "journal":
      return `journal ${one.record === null ? "null" : (one.record as ManagerRecord).state}`;
    case "event": {
      const { event } = one;
      if (event.event === "reached") return `reached ${event.state}`;
      if (event.event === "gone") return `gone [${event.orphans.join(" ")}]`;
      if (event.event === "failed") return `failed ${event.failure.phase}`;
      return event.event;
    }
    default:
      return one.kind;
  }
}

/** An overlay of r1 and r2 on b1 and b2, which are ACTIVE, at 1 s. */
export function living(over: Partial<Order> = {}, designer = new PlainDesigner()): Rig {
  const rig = configuring(over, designer);
  rig.ack("b1", "config");
  rig.ack("b2", "config");
  return rig;
}

/** The same, waiting for ACK-CONFIG of both. */
export function configuring(over: Partial<Order> = {}, designer = new PlainDesigner()): Rig {
  const rig = selecting(over, designer);
  rig.ack("b1", "select");
  rig.ack("b2", "select");
  return rig;
}

/** The same, waiting for ACK-SELECT of both. */
export function selecting(over: Partial<Order> = {}, designer = new PlainDesigner()): Rig {
  const rig = Rig.of(over, designer);
  rig.start();
  rig.offer("b1");
  rig.offer("b2");
  rig.until(1000);
  return rig;
}
