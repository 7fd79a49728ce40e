/**
 * Seeded simulation in virtual time: a few nodes exchange messages over a net that cuts, stalls,
 * refuses and delays, with applications that are slow and processes that restart. Whatever
 * happens, per session and priority messages arrive in order, once, and all of them once the net
 * has healed. A failure names its seed; `FAIRLEAD_SEED=n` runs that one alone.
 *
 * @module
 */
import assert from "node:assert/strict";
import { authCephx, authNone } from "../../src/app/auth.ts";
import { NodeCrypto } from "../../src/io/crypto.ts";
import { arenaTaken } from "../../src/mem/arena.ts";
import type { AuthOptions } from "../../src/proto/msgr2/messenger.ts";
import { POLICIES, type Policy } from "../../src/proto/msgr2/policy.ts";
import { generateKey } from "../../src/wire/cephx/crypto_key.ts";
import { Keyring } from "../../src/wire/cephx/keyring.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";
import { Net, type Node } from "./pair.ts";

const SEEDS = 300;
const STEPS = 120;
const PRIORITIES = [63, 127, 127, 196];
const ENCODER = new TextEncoder();

/** Who may connect to whom, and under which policies. */
const TOPOLOGIES: readonly { name: string; client: Policy; server: Policy; hub: boolean }[] = [
  { name: "hub", client: POLICIES.losslessClient, server: POLICIES.statefulServer, hub: true },
  { name: "peers", client: POLICIES.losslessPeer, server: POLICIES.losslessPeer, hub: false },
  {
    name: "reuse",
    client: POLICIES.losslessPeerReuse,
    server: POLICIES.losslessPeerReuse,
    hub: false,
  },
];

const CRYPTO = new NodeCrypto();
const KEYRING = new Keyring(
  Array.from({ length: 6 }, (_, index) => ({
    name: { type: EntityType.Client, id: `n${index}` },
    key: generateKey(CRYPTO, 1, 0),
  })),
);

/** Everything that one seed decides, and what has happened so far. */
class Simulation {
  readonly net: Net;
  readonly nodes: Node[];
  readonly topology: typeof TOPOLOGIES[number];
  readonly restarts: boolean;
  /** How often each node was restarted. */
  readonly incarnations: number[];
  /** Sent texts by `from.incarnation>to priority`, in order. */
  readonly sent = new Map<string, string[]>();
  /** For each node: where in its list of received texts an incarnation began. */
  readonly begins: number[][];
  #serial = 0;

  constructor(readonly seed: number) {
    const net = new Net(seed * 2654435761 + 1);
    for (let index = 0; index < 8; index++) net.random(2); // let the seed spread
    this.net = net;
    this.topology = TOPOLOGIES[net.random(3)]!;
    this.restarts = net.random(3) === 0;
    const secure = net.random(3) === 0;
    const count = 2 + net.random(5);
    this.nodes = Array.from({ length: count }, (_, index) => {
      const name = `n${index}`;
      const auth: AuthOptions = secure
        ? authCephx(`client.${name}`, KEYRING, ["secure"])
        : authNone(`client.${name}`);
      const listens = !this.topology.hub || index === 0;
      return net.node(name, {
        policy: this.topology.server,
        auth,
        options: {
          revision1: net.random(4) > 0,
          nonce: listens ? 0 : 100 + index,
          outboxBytesMax: 1024 * 1024,
        },
        ...(listens ? { address: `v2:10.0.2.${index + 1}:3300` } : {}),
      });
    });
    this.incarnations = this.nodes.map(() => 0);
    this.begins = this.nodes.map(() => [0]);
  }

  /** A send between two nodes of the topology; refused ones do not count. */
  send(): void {
    const { net, nodes, topology } = this;
    const a = net.random(nodes.length);
    const b = (a + 1 + net.random(nodes.length - 1)) % nodes.length;
    const [from, to] = topology.hub && a !== 0 ? [a, 0] : [a, b];
    const session = topology.hub && from === 0
      // A hub sends to those that have come.
      ? [...nodes[0]!.messenger.sessions.values()].find(({ peerName }) =>
        peerName === `client.n${to}`
      )
      : nodes[from]!.connect(nodes[to]!, topology.client);
    if (session === undefined) return;
    const priority = PRIORITIES[net.random(PRIORITIES.length)]!;
    const key = `n${from}.${this.incarnations[from]}>n${to} ${priority}`;
    const text = `${key} ${this.#serial++} ${"x".repeat(this.#size())}`;
    const serial = session.send({
      type: 0xfa00,
      front: ENCODER.encode(text),
      middle: new Uint8Array(net.random(4) === 0 ? this.#size() : 0),
      data: new Uint8Array(net.random(2) === 0 ? this.#size() : 0),
      priority,
    });
    if (serial === 0) return;
    const texts = this.sent.get(key);
    if (texts === undefined) this.sent.set(key, [text]);
    else texts.push(text);
  }

  #size(): number {
    const { net } = this;
    return net.random(5) === 0 ? net.random(20_000) : net.random(200);
  }

  step(): void {
    const { net, nodes } = this;
    const node = nodes[net.random(nodes.length)]!;
    switch (net.random(16)) {
      case 0:
        net.cut(node, net.random(2) === 0);
        break;
      case 1:
        net.breakHalf();
        break;
      case 2:
        net.stall();
        break;
      case 3:
        net.release();
        break;
      case 4:
        net.reachable = net.random(2) === 0;
        break;
      case 5:
        node.takes = net.random(2) === 0;
        break;
      case 6:
        node.holds = net.random(2) === 0;
        node.done();
        break;
      case 7:
        net.pieceBytes = net.random(2) === 0 ? 64 + net.random(3000) : Infinity;
        break;
      case 8:
        if (this.restarts && net.random(4) === 0) this.#restart(node);
        break;
      case 9:
        net.advance(net.random(20_000));
        break;
      case 10:
      case 11:
        net.advance(net.random(500));
        break;
      default:
        for (let count = net.random(12); count >= 0; count--) this.send();
        if (net.random(3) === 0) net.settle();
    }
  }

  #restart(node: Node): void {
    const index = this.nodes.indexOf(node);
    this.incarnations[index]!++;
    node.restart();
    this.begins[index]!.push(node.received.length);
  }

  /** The net works again, applications are quick, and time goes by. */
  heal(): void {
    const { net, nodes, topology } = this;
    net.reachable = true;
    net.pieceBytes = Infinity;
    for (const node of nodes) {
      node.takes = true;
      node.holds = false;
      node.done();
    }
    net.release();
    // A client that restarted comes back by itself; nobody else would find it.
    if (topology.hub) {
      for (const node of nodes.slice(1)) {
        node.connect(nodes[0]!, topology.client);
      }
    }
    net.advance(200_000);
  }

  check(): void {
    for (const [index, node] of this.nodes.entries()) {
      for (const session of node.messenger.sessions.values()) {
        assert.equal(session.unacknowledged, 0, `${node.name} owes nothing to ${session.peerName}`);
      }
      this.#checkOrder(index, node.received);
    }
    for (const [key, texts] of this.sent) {
      const from = Number(key[1]);
      const to = Number(/>n(\d)/.exec(key)![1]);
      if (this.incarnations[from]! + this.incarnations[to]! > 0) continue;
      const got = this.nodes[to]!.received.filter((text) => text.startsWith(`${key} `));
      assert.equal(got.length, texts.length, `${key}: all arrive`);
    }
  }

  /** What one incarnation of a receiver got: in order, nothing twice, nothing that was not sent. */
  #checkOrder(index: number, received: readonly string[]): void {
    const begins = this.begins[index]!;
    for (const [number, begin] of begins.entries()) {
      const next = new Map<string, number>();
      for (const text of received.slice(begin, begins[number + 1] ?? received.length)) {
        const key = text.split(" ", 2).join(" ");
        const sent = this.sent.get(key) ?? [];
        const at = sent.indexOf(text, next.get(key) ?? 0);
        assert.notEqual(at, -1, `${text.slice(0, 40)}: was sent, once, and in this order`);
        next.set(key, at + 1);
      }
    }
  }
}

function simulate(seed: number): void {
  const before = arenaTaken();
  const simulation = new Simulation(seed);
  try {
    for (let step = 0; step < STEPS; step++) simulation.step();
    simulation.heal();
    simulation.check();
  } finally {
    for (const node of simulation.nodes) node.stop();
  }
  assert.equal(arenaTaken(), before, "memory is given back");
}

const only = Deno.env.get("FAIRLEAD_SEED");
const [first, last] = only === undefined ? [1, SEEDS] : [Number(only), Number(only)];

Deno.test(`nothing is lost, doubled or out of order: seeds ${first} to ${last}`, () => {
  const failures: string[] = [];
  for (let seed = first; seed <= last; seed++) {
    try {
      simulate(seed);
    } catch (error) {
      failures.push(`FAIRLEAD_SEED=${seed}: ${error instanceof Error ? error.stack : error}`);
    }
  }
  const shown = failures.slice(0, 3).join("\n\n");
  assert.equal(failures.length, 0, `${failures.length} seeds fail\n${shown}`);
});
