/**
 * From a specification and who plays whom to a plan for every box: step [7] of the X-Bone control
 * protocol, "form the configuration commands to each node".
 *
 * @module
 */
import { assert } from "../../mem/assert.ts";
import { encodeKey, generateKey, KeyType } from "../../wire/cephx/crypto_key.ts";
import type { PinnedNode, SubSpec } from "../../wire/xbone/messages.ts";
import type {
  Association,
  HostName,
  NodePlan,
  PlanLink,
  PlanPeers,
  PlanRoute,
  Visit,
} from "../../wire/xbone/node_plan.ts";
import { inPrefix, nodeAddress, readQuad } from "./addresses.ts";
import { type Blueprint, drawBlueprint } from "./blueprint.ts";
import { BOX_LINKS_MAX } from "../../wire/xbone/messages.ts";
import { ENDPOINTS_MAX, SPI_MIN } from "./check_plan.ts";
import type { Designer, Failure } from "./machine.ts";
import type { OverlaySpec, SpecNetwork } from "./overlay_spec.ts";
import type { Unfit } from "./topology.ts";
import { layTunnels, type Tunnel, tunnelRefusal } from "./tunnels.ts";

/** AES-128 key and salt of RFC 4106. */
const GCM_KEY_BYTES = 20;
const SPI_BYTES = 4;
/** A good source repeats itself never so often. */
const SPI_TRIES = 1000;

/** Turns pinned nodes into plans. The same epoch gives the same tunnels; SPIs and keys are random. */
export class Design implements Designer {
  /** Whom it needs. */
  readonly need: SubSpec;
  readonly #spec: OverlaySpec;
  readonly #epoch: string;
  readonly #random: (bytes: number) => string;
  readonly #blueprint: Blueprint | { readonly unfit: readonly Unfit[] };

  /**
   * @param epoch 16 hexadecimal digits
   * @param random so many bytes, in hexadecimal digits
   */
  constructor(spec: OverlaySpec, epoch: string, random: (bytes: number) => string) {
    assert(/^[0-9a-f]{16}$/.test(epoch), "an epoch has 16 hexadecimal digits");
    this.need = needOf(spec.name, "control", spec);
    this.#spec = spec;
    this.#epoch = epoch;
    this.#random = random;
    this.#blueprint = drawBlueprint(spec);
  }

  /** A plan for every box that plays a node, in the order of the nodes; or why there is none. */
  design(pinned: readonly PinnedNode[]): readonly NodePlan[] | Failure {
    const blueprint = this.#blueprint;
    if ("unfit" in blueprint) {
      const { path, key, reason } = blueprint.unfit[0]!;
      return failure("", `Cannot use ${path === "" ? key : `${key} of ${path}`} as ${reason}`);
    }
    const players = new Map(pinned.map((node) => [node.name, node]));
    for (const name of blueprint.layout.nodes.keys()) {
      if (!players.has(name)) return failure("", `Cannot place ${name} as no box was pinned to it`);
    }
    const board = new Board(this.#spec, this.#epoch, blueprint, players);
    const refusal = board.refusal();
    if (refusal !== null) return refusal;
    return this.#withKeys(board.plans(this.#associations(board)));
  }

  /** The same plans with fresh keys, so that their digest stays. */
  rekey(plans: readonly NodePlan[]): readonly NodePlan[] {
    return this.#withKeys(this.#withSpis(plans));
  }

  /** The old ones go on until both ends have the new ones, so that none may be the same. */
  #withSpis(plans: readonly NodePlan[]): NodePlan[] {
    const every = plans.flatMap(({ associations }) => associations);
    const taken = new Set(every.flatMap(({ spiIn, spiOut }) => [spiIn, spiOut]));
    const fresh = new Map<string, number>();
    // A direction is what is sent to an address with an SPI.
    const next = (to: string, spi: number): number => {
      const direction = `${to} ${spi}`;
      const drawn = fresh.get(direction) ?? this.#spi(taken);
      fresh.set(direction, drawn);
      return drawn;
    };
    return plans.map((plan) => ({
      ...plan,
      associations: plan.associations.map((one) => ({
        ...one,
        spiIn: next(one.local, one.spiIn),
        spiOut: next(one.remote, one.spiOut),
      })),
    }));
  }

  /** One for each pair of addresses between which there are tunnels to protect, as its two ends see it. */
  #associations(board: Board): Map<string, Association[]> {
    const byBox = new Map<string, Association[]>();
    const pairs = new Set<string>();
    const spis = new Set<number>();
    for (const { encrypted, port, ends: [a, b] } of board.tunnels) {
      const pair = [a.local, b.local].sort().join(" ");
      if (!encrypted || pairs.has(pair)) continue;
      pairs.add(pair);
      const [there, back] = [this.#spi(spis), this.#spi(spis)];
      const keys = { keyIn: "", keyOut: "" };
      const atA = { local: a.local, remote: b.local, port, spiIn: back, spiOut: there, ...keys };
      const atB = { local: b.local, remote: a.local, port, spiIn: there, spiOut: back, ...keys };
      listOf(byBox, a.pinned.node).push(atA);
      listOf(byBox, b.pinned.node).push(atB);
    }
    return byBox;
  }

  #spi(taken: Set<number>): number {
    for (let tries = 0; tries < SPI_TRIES; tries++) {
      const spi = parseInt(this.#random(SPI_BYTES), 16);
      if (spi < SPI_MIN || taken.has(spi)) continue;
      taken.add(spi);
      return spi;
    }
    throw new Error("Cannot draw an SPI as the source of random numbers repeats itself");
  }

  /** Fills in all keys: both ends of a direction have the same one. */
  #withKeys(plans: readonly NodePlan[]): NodePlan[] {
    const keys = new Map<string, string>();
    const keyOf = (name: string, make: () => string): string => {
      const key = keys.get(name) ?? make();
      keys.set(name, key);
      return key;
    };
    // A direction is what is sent to an address with an SPI.
    const gcmKey = (to: string, spi: number): string =>
      keyOf(`${to} ${spi}`, () => this.#random(GCM_KEY_BYTES));
    const randomBytes = (count: number): Uint8Array => Uint8Array.fromHex(this.#random(count));
    const entityKey = (entity: string): string =>
      keyOf(entity, () => encodeKey(generateKey({ randomBytes }, KeyType.Aes, 0)));
    return plans.map((plan) => ({
      ...plan,
      associations: plan.associations.map((one) => ({
        ...one,
        keyIn: gcmKey(one.local, one.spiIn),
        keyOut: gcmKey(one.remote, one.spiOut),
      })),
      peers: plan.peers && {
        ...plan.peers,
        keys: plan.peers.keys.map(({ entity }) => ({ entity, key: entityKey(entity) })),
      },
    }));
  }
}

/** `west/r1` of `field`: `r1.west.field`, the inner name first, as in the DNS. */
function hostName(node: string, overlay: string): string {
  return `${dotted(node)}.${overlay}`;
}

function dotted(node: string): string {
  return node.split("/").reverse().join(".");
}

/** An overlay on its boxes. */
class Board {
  /** Of all networks. */
  readonly tunnels: readonly Tunnel[];
  readonly #spec: OverlaySpec;
  readonly #epoch: string;
  readonly #blueprint: Blueprint;
  readonly #players: ReadonlyMap<string, PinnedNode>;
  /** Boxes in the order in which the specification comes to them. */
  readonly #boxes: readonly string[];
  readonly #laid: ReturnType<typeof layTunnels>;

  constructor(
    spec: OverlaySpec,
    epoch: string,
    blueprint: Blueprint,
    players: ReadonlyMap<string, PinnedNode>,
  ) {
    this.#spec = spec;
    this.#epoch = epoch;
    this.#blueprint = blueprint;
    this.#players = players;
    const names = [...blueprint.layout.nodes.keys()];
    this.#boxes = [...new Set(names.map((name) => players.get(name)!.node))];
    this.#laid = layTunnels(blueprint, spec, epoch, players);
    this.tunnels = [...this.#laid.values()].flat();
  }

  /** The first thing for which these boxes cannot be the overlay. */
  refusal(): Failure | null {
    for (const tunnel of this.tunnels) {
      const refusal = tunnelRefusal(tunnel);
      if (refusal !== null) return failure(refusal.node, refusal.reason);
    }
    return this.#addressRefusal() ?? this.#countRefusal() ?? this.#capabilityRefusal();
  }

  /** @param associations by box, without keys */
  plans(associations: ReadonlyMap<string, readonly Association[]>): NodePlan[] {
    const visits = this.#visits();
    const { name, mptcp, script } = this.#spec;
    const names = this.#names();
    return this.#boxes.map((box) => ({
      overlay: name,
      epoch: this.#epoch,
      node: box,
      visits: visits.get(box)!,
      associations: associations.get(box) ?? [],
      endpoints: mptcp.length === 0 ? [] : visits.get(box)!
        .filter(({ network }) => network === name)
        .map(({ address }) => ({ address, flags: mptcp })),
      names,
      peers: this.#peers(box),
      script,
    }));
  }

  /** A tunnel's own packets would be taken for the overlay's. */
  #addressRefusal(): Failure | null {
    for (const { link: { over }, ends } of this.tunnels) {
      if (over !== null) continue;
      for (const { local, pinned: { node } } of ends) {
        for (const [{ name, prefix }, read] of this.#blueprint.prefixes) {
          if (!inPrefix(read, readQuad(local))) continue;
          const reason = `Cannot use ${prefix} for ${name} as ${node} has an address in it: ` +
            `current value is ${local}, give another prefix`;
          return failure(node, reason);
        }
      }
    }
    return null;
  }

  #countRefusal(): Failure | null {
    const links = new Map<string, number>();
    for (const { ends } of this.tunnels) {
      for (const { pinned: { node } } of ends) links.set(node, (links.get(node) ?? 0) + 1);
    }
    for (const [node, count] of links) {
      if (count <= BOX_LINKS_MAX) continue;
      const reason =
        `Cannot use ${node} as it may have ${BOX_LINKS_MAX} links: it would have ${count}`;
      return failure(node, reason);
    }
    if (this.#spec.mptcp.length === 0) return null;
    for (const box of this.#boxes) {
      const count = this.#namesOn(box).length;
      if (count <= ENDPOINTS_MAX) continue;
      const why = `it may have ${ENDPOINTS_MAX} MPTCP endpoints: it would have ${count}`;
      return failure(box, `Cannot use ${box} as ${why}, place some of its nodes elsewhere`);
    }
    return null;
  }

  #capabilityRefusal(): Failure | null {
    const { names, mptcp, script, routing, routingDaemon } = this.#spec;
    const needs = new Map<string, Map<string, string>>(this.#boxes.map((box) => [box, new Map()]));
    for (const { link, encrypted, ends } of this.tunnels) {
      for (const { pinned: { node } } of ends) {
        const need = needs.get(node)!;
        need.set("vxlan", `link ${link.name}`);
        if (encrypted) need.set("esp", `link ${link.name}`);
        if (link.rateBits > 0) need.set("tbf", `the rate of link ${link.name}`);
      }
    }
    for (const [name, { node }] of this.#players) {
      const need = needs.get(node);
      if (need === undefined) continue; // pinned, but not of this overlay
      if (names) need.set("hosts", "hosts entries");
      if (mptcp.length > 0) need.set("mptcp", "MPTCP endpoints");
      if (script !== null) need.set("script", `script ${script.name}`);
      if (routing === "dynamic" && this.#blueprint.layout.nodes.get(name)?.role === "router") {
        need.set(`routing-${routingDaemon}`, `routing of ${name} by ${routingDaemon}`);
      }
    }
    const offered = new Map([...this.#players.values()].map((one) => [one.node, one.capabilities]));
    for (const [box, need] of needs) {
      for (const [word, what] of need) {
        const has = offered.get(box)!;
        if (has.includes(word)) continue;
        const reason = `Cannot use ${box} as it must offer ${word} for ${what}: it offers ` +
          (has.join(", ") || "nothing");
        return failure(box, reason);
      }
    }
    return null;
  }

  /** By box; lower networks first. */
  #visits(): Map<string, Visit[]> {
    const { layout, prefixes } = this.#blueprint;
    const byBox = new Map<string, Visit[]>();
    for (const network of layout.networks) {
      const links = this.#links(this.#laid.get(network)!);
      for (const [index, name] of network.nodes.entries()) {
        listOf(byBox, this.#players.get(name)!.node).push({
          name,
          network: network.name,
          role: layout.nodes.get(name)!.role,
          address: nodeAddress(prefixes.get(network)!, index),
          prefix: network.prefix,
          links: links.get(name) ?? [],
          routes: this.#routes(network, index),
        });
      }
    }
    return byBox;
  }

  /** By node, each end as it sees the link. */
  #links(tunnels: readonly Tunnel[]): Map<string, PlanLink[]> {
    const byNode = new Map<string, PlanLink[]>();
    for (const { link: { name, rateBits }, vni, port, mtu, ends } of tunnels) {
      for (const [at, here] of ends.entries()) {
        const there = ends[1 - at]!;
        listOf(byNode, here.node).push({
          name,
          vni,
          port,
          local: here.local,
          remote: there.local,
          mtu,
          address: here.address,
          peerAddress: there.address,
          peer: there.node,
          peerNode: there.pinned.node,
          rateBits,
        });
      }
    }
    return byNode;
  }

  /** To every other node; a router of dynamic routing has only those to hosts right behind it. */
  #routes(network: Blueprint["layout"]["networks"][number], from: number): PlanRoute[] {
    const { layout: { nodes }, prefixes, ways } = this.#blueprint;
    const dynamic = this.#spec.routing === "dynamic" &&
      nodes.get(network.nodes[from]!)!.role === "router";
    const { hop } = ways.get(network)!;
    const tunnels = this.#laid.get(network)!;
    const routes: PlanRoute[] = [];
    for (const [to, name] of network.nodes.entries()) {
      const next = hop(from, to);
      if (next === null) continue; // itself
      if (dynamic && (next.to !== to || nodes.get(name)!.role === "router")) continue;
      const { link, ends } = tunnels[next.link]!;
      const peer = network.nodes[next.to];
      const via = ends.find(({ node }) => node === peer)!.address;
      routes.push({ to: `${nodeAddress(prefixes.get(network)!, to)}/32`, via, link: link.name });
    }
    return routes;
  }

  #names(): HostName[] {
    if (!this.#spec.names) return [];
    return [...this.#blueprint.layout.nodes.keys()].map((name) => ({
      address: this.#address(name),
      name: hostName(name, this.#spec.name),
    }));
  }

  /** One Fairlead on each box, known by the first of its nodes. */
  #peers(box: string): PlanPeers | null {
    if (this.#spec.peers === null) return null;
    const { hub, port } = this.#spec.peers;
    const hubBox = this.#players.get(hub)!.node;
    const entityOf = (name: string): string => {
      return `client.${dotted(name === hubBox ? hub : this.#namesOn(name)[0]!)}`;
    };
    const entity = entityOf(box);
    const known = box === hubBox ? this.#boxes.map(entityOf) : [entity];
    return {
      role: box === hubBox ? "hub" : "gateway",
      entity,
      hub: `v2:${this.#address(hub)}:${port}`,
      keys: known.map((name) => ({ entity: name, key: "" })),
    };
  }

  /** The overlay's nodes that a box plays. */
  #namesOn(box: string): string[] {
    const { nodes } = this.#blueprint.layout;
    return [...nodes.keys()].filter((name) => this.#players.get(name)!.node === box);
  }

  /** In the overlay itself. */
  #address(name: string): string {
    const network = this.#blueprint.layout.networks.at(-1)!;
    const index = this.#blueprint.ways.get(network)!.index.get(name)!;
    return nodeAddress(this.#blueprint.prefixes.get(network)!, index);
  }
}

/** Whom a manager is to find, without how they are joined. */
function needOf(name: string, mode: SubSpec["mode"], { nodes, subs }: SpecNetwork): SubSpec {
  return { name, mode, nodes, subs: subs.map((sub) => needOf(sub.name, sub.mode, sub)) };
}

function listOf<T>(lists: Map<string, T[]>, key: string): T[] {
  const list = lists.get(key) ?? [];
  lists.set(key, list);
  return list;
}

function failure(node: string, reason: string): Failure {
  return { phase: "READY", node, step: "", reason };
}
