/** What the simulation asks for: orders, needs, and plans that make a ring of all nodes. */
import type { Designer, Order } from "../../src/proto/xbone/machine.ts";
import type { PinnedNode, SubNode, SubSpec } from "../../src/wire/xbone/messages.ts";
import type { Association, NodePlan, PlanLink, Visit } from "../../src/wire/xbone/node_plan.ts";
import { SECRET } from "./xbone_network_processes.ts";

/** What an order of level 0 is made of here. */
export type Wish =
  & Pick<Order, "name" | "epoch" | "need">
  & Partial<Pick<Order, "hold" | "revisit" | "probe">>;

/** An overlay of level 0. */
export function plainOrder(wish: Wish): Order {
  return {
    application: "overlay",
    version: "",
    level: 0,
    path: [],
    revisit: false,
    routing: "static",
    encryption: "aes-gcm",
    qos: false,
    script: null,
    hold: "none",
    probe: true,
    memo: null,
    holdMs: 0,
    ...wish,
  };
}

export function node(name: string, role: "host" | "router"): SubNode {
  return { name, role, os: ["linux"], on: "" };
}

export function spec(
  name: string,
  nodes: readonly SubNode[],
  subs: readonly SubSpec[] = [],
): SubSpec {
  return { name, mode: "control", nodes, subs };
}

/** All nodes in a ring, in the order in which they are pinned down. */
export class RingDesigner implements Designer {
  #keys = 0;

  constructor(readonly order: Pick<Order, "name" | "epoch">) {}

  design(pinned: readonly PinnedNode[]): readonly NodePlan[] {
    const { name, epoch } = this.order;
    const plans = new Map<string, NodePlan & { visits: Visit[]; associations: Association[] }>();
    const keys = this.#freshKeys();
    pinned.forEach((self, at) => {
      const count = pinned.length;
      const links = [
        ringLink(self, pinned[(at + 1) % count]!, at, 0),
        ringLink(self, pinned[(at + count - 1) % count]!, (at + count - 1) % count, 1),
      ].filter(({ local, remote }) => local !== remote);
      const plan = plans.get(self.node) ??
        {
          overlay: name,
          epoch,
          node: self.node,
          visits: [],
          associations: [],
          endpoints: [],
          names: [],
          peers: null,
          script: null,
        };
      plan.visits.push({
        name: self.name,
        network: name,
        role: "router",
        address: `10.100.200.${at}`,
        prefix: "10.100.0.0/16",
        links,
        routes: [],
      });
      for (const { local, remote, port, vni } of links) {
        if (plan.associations.some((one) => one.remote === remote)) continue;
        plan.associations.push({
          local,
          remote,
          port,
          spiIn: 1000 + vni,
          spiOut: 2000 + vni,
          keyIn: keys(),
          keyOut: keys(),
        });
      }
      plans.set(self.node, plan);
    });
    return [...plans.values()];
  }

  rekey(plans: readonly NodePlan[]): readonly NodePlan[] {
    const keys = this.#freshKeys();
    return plans.map((plan) => ({
      ...plan,
      associations: plan.associations.map((one) => ({ ...one, keyIn: keys(), keyOut: keys() })),
    }));
  }

  #freshKeys(): () => string {
    return () => SECRET + (++this.#keys).toString(16).padStart(40 - SECRET.length, "0");
  }
}

/** Link `number` of the ring; both ends have its VNI and the /31 of it. */
function ringLink(
  self: PinnedNode,
  peer: PinnedNode,
  number: number,
  end: 0 | 1,
): PlanLink {
  const address = (side: number): string => `10.100.${number >> 7}.${2 * (number & 127) + side}`;
  const names = end === 0 ? [self.name, peer.name] : [peer.name, self.name];
  return {
    name: names.join("-"),
    vni: 1 + number,
    port: 4789,
    local: self.ipaddr,
    remote: peer.ipaddr,
    mtu: 1400,
    address: address(end),
    peerAddress: address(1 - end),
    peer: peer.name,
    peerNode: peer.node,
    rateBits: 0,
  };
}
