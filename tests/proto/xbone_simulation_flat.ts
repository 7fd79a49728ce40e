/** An overlay of any size in a network where nothing else happens: for measuring, and for fresh keys. */
import { overlayKey, TIMERS } from "../../src/proto/xbone/machine.ts";
import type { Body } from "../../src/wire/xbone/messages.ts";
import { Network, type Weather } from "./xbone_network.ts";
import { ManagerProcess, ResourceProcess, type Temper } from "./xbone_network_processes.ts";
import { node, plainOrder, RingDesigner, spec } from "./xbone_simulation_plans.ts";

/**
 * A manager and as many boxes as its overlay needs, the last `below` of them under a sub-manager: the
 * overlay is being formed.
 */
export class Flat {
  readonly net: Network;
  readonly manager: ManagerProcess;
  readonly boxes: readonly ResourceProcess[];
  readonly sub: ResourceProcess | null;
  readonly key: string;
  selectAtMs = Infinity;
  messagesUntilActive = 0;

  constructor(
    seed: number,
    nodes: number,
    below: number,
    weather: Partial<Weather> & Pick<Weather, "udpMs" | "tcpMs">,
    applyMs: readonly [number, number],
  ) {
    const calm = { udpLoss: 0, udpTwice: 0, udpLate: 0, tcpLoss: 0, sendsMax: 8 };
    this.net = new Network(seed, { ...calm, ...weather }, false);
    const { net } = this;
    const temper: Temper = {
      timers: TIMERS,
      applyMs,
      applyFails: 0,
      undoFails: 0,
      journalMs: [1, 1],
    };
    this.manager = new ManagerProcess(net, "om", "192.0.2.1", temper);
    const peers = new Map<string, ResourceProcess>();
    this.sub = below === 0
      ? null
      : new ResourceProcess(net, "west-om", "192.0.2.2", temper, "meta", 1, peers);
    if (this.sub !== null) net.join(this.manager, this.sub, 1);
    this.boxes = Array.from({ length: nodes }, (_, at) => {
      const host = `198.51.100.${at + 1}`;
      const box = new ResourceProcess(net, `box${at}`, host, temper, "both", 1, peers);
      peers.set(box.name, box);
      net.join(at < nodes - below ? this.manager : this.sub!, box, 1);
      return box;
    });
    net.meddle = (_from, body): Body => {
      if (body.verb === "select") this.selectAtMs = Math.min(this.selectAtMs, net.nowMs);
      return body;
    };
    const names = this.boxes.map((_, at) => node(`r${at}`, "router"));
    const subs = below === 0 ? [] : [spec("west", names.slice(nodes - below))];
    const need = spec("", names.slice(0, nodes - below), subs);
    const order = plainOrder({ name: "net", epoch: net.dice.hex(16), need });
    this.key = overlayKey(order.name, order.epoch);
    this.manager.onEvents.set(this.key, (event) => {
      if (event.event !== "reached" || event.state !== "ACTIVE") return;
      this.messagesUntilActive = net.counts.udp + net.counts.tcp;
    });
    this.manager.form(order, new RingDesigner(order));
  }

  /** Of the keys that each box has now; -1 without keys. */
  generations(): number[] {
    return this.boxes.map(({ kernel }) => {
      const configured = kernel.get(this.key);
      return configured?.keys === true ? configured.generation : -1;
    });
  }
}
