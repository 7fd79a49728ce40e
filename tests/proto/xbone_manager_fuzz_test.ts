/** Whatever comes in whatever order: the manager's machine keeps its promises. */
import assert from "node:assert/strict";
import type { Body } from "../../src/wire/xbone/messages.ts";
import {
  type ManagerRecord,
  type Order,
  type Output,
  TIMERS,
} from "../../src/proto/xbone/machine.ts";
import { Manager } from "../../src/proto/xbone/manager.ts";
import { COMMON, order, PlainDesigner, planOf, spec, TOOLS } from "./xbone_manager_rig.ts";

type Send = Extract<Output, { kind: "send" }>;

const NODES = ["b1", "b2", "b3", "b4", "m1", "m2", "stranger"];
const SHAPES: readonly Partial<Order>[] = [
  { need: spec(2) },
  { need: spec(3), revisit: true, probe: true },
  { need: spec(2), hold: "ready", probe: true },
  { need: spec(1, [spec(2, [], "west")]), probe: true },
  { need: spec(0, [spec(1, [], "west"), spec(1, [spec(1, [], "deep")], "east")]), hold: "ready" },
  { need: spec(2), hold: "phases" },
  { need: spec(1, [spec(1, [], "west")]), hold: "phases" },
];

/** Small and seeded: the same numbers each time. */
class Dice {
  constructor(private seed: number) {}

  below(count: number): number {
    this.seed = (Math.imul(this.seed ^ (this.seed >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0;
    const mixed = Math.imul(this.seed ^ (this.seed >>> 13), 0x297a2d39);
    return ((mixed ^ (mixed >>> 16)) >>> 0) % count;
  }

  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
}

/** One machine, and what must be true of what it puts out. */
class Watched {
  readonly dice: Dice;
  nowMs = 0;
  lives = 0;
  ends = 0;
  #manager: Manager;
  #journal: ManagerRecord | null = null;
  readonly #requests: Send[] = [];
  /** Sent SELECT and not DELETE since. */
  readonly #committed = new Set<string>();
  /** The last CONFIG of each node, until it is acknowledged. */
  readonly #unconfigured = new Map<string, string>();
  readonly #configured = new Set<string>();

  constructor(seed: number) {
    this.dice = new Dice(seed);
    const made = order(this.dice.of(SHAPES));
    this.#manager = new Manager(TOOLS, made, this.#designer(made));
  }

  run(steps: number): void {
    this.#do((manager) => manager.start(this.nowMs));
    for (let at = 0; at < steps && this.ends === 0; at++) this.#step();
    this.#do((manager) => manager.destroy(this.nowMs));
    this.#pass(TIMERS.deleteMs * 8 * TIMERS.deleteTries + TIMERS.deleteForgetMs);
    assert.equal(this.ends, 1);
    assert.equal(this.#manager.state, "IDLE");
    assert.equal(this.#manager.pollDeadline(), Infinity);
    assert.equal(this.#journal, null);
    assert.deepEqual([...this.#committed], []);
  }

  #designer(made: Order): PlainDesigner | null {
    return made.hold === "phases" ? null : new PlainDesigner(["a-b"], true);
  }

  #step(): void {
    const { dice } = this;
    const kind = dice.below(100);
    if (kind < 55) this.#answer();
    else if (kind < 60) this.#say(dice.of(NODES), this.#anything());
    else if (kind < 65) this.#unreachable();
    else if (kind < 85) this.#pass(dice.of([1, 300, 1000, 2500]));
    else if (kind < 98) this.#order();
    else if (kind < 99) this.#restart();
    else this.#do((manager) => manager.destroy(this.nowMs));
  }

  #do(act: (manager: Manager) => void): void {
    act(this.#manager);
    for (let at = 0;; at++) {
      assert.ok(at < 10_000, "it drains");
      const one = this.#manager.pollOutput();
      if (one === null) return;
      this.#look(one);
    }
  }

  #look(one: Output): void {
    if (one.kind === "journal") this.#journal = one.record as ManagerRecord | null;
    if (one.kind === "event") {
      const { event } = one;
      if (event.event === "gone") {
        this.ends++;
        assert.deepEqual([...this.#committed], [], "DELETE to everybody who was sent SELECT");
      }
      if (event.event !== "reached") return;
      if (event.state !== "ACTIVE" && event.state !== "CONFIGURED") return;
      this.lives++;
      assert.deepEqual([...this.#unconfigured], [], "all acknowledged the present CONFIG");
      assert.deepEqual([...this.#committed].filter((node) => !this.#configured.has(node)), []);
      assert.equal(this.#journal?.state, event.state);
    }
    if (one.kind !== "send") return;
    const { to: { node }, body } = one;
    this.#requests.push(one);
    if (this.#requests.length > 20) this.#requests.shift();
    if (body.verb === "select") {
      assert.ok(this.#journal?.selected.some((member) => member.node === node), "journaled first");
      this.#committed.add(node);
    }
    if (body.verb === "config") {
      this.#configured.add(node);
      this.#unconfigured.set(node, `${body.generation} ${body.digest}`);
    }
    if (body.verb === "stop") this.#committed.delete(node);
  }

  /** Time goes on and every deadline is met; none may stay in the past. */
  #pass(ms: number): void {
    const endMs = this.nowMs + ms;
    for (let at = 0; this.#manager.pollDeadline() <= endMs; at++) {
      assert.ok(at < 100_000, "deadlines move on");
      this.nowMs = Math.max(this.nowMs, this.#manager.pollDeadline());
      this.#do((manager) => manager.handleDeadline(this.nowMs));
      assert.ok(this.#manager.pollDeadline() > this.nowMs, "a deadline that fired is not armed");
    }
    this.nowMs = endMs;
  }

  #say(from: string, body: Body): void {
    if (body.verb === "ack-config") {
      const done = `${body.generation} ${body.digest}`;
      if (this.#unconfigured.get(from) === done) this.#unconfigured.delete(from);
    }
    this.#do((manager) => manager.handleMessage(from, body, this.nowMs));
  }

  /** A node answers as it should, mostly. */
  #answer(): void {
    const { dice } = this;
    const node = dice.of(NODES);
    if (this.#manager.state === "DISCOVERY") {
      const type = node.startsWith("m") ? "meta" : dice.of(["router", "both", "router"] as const);
      const offer = { hostname: node, ipaddr: "10.0.0.1", port: 265, os: "linux" };
      const rest = { mtu: 1500, capabilities: [], free: dice.below(4), guests: ["west", "east"] };
      return this.#say(node, { ...COMMON, verb: "ack-invite", type, ...offer, ...rest });
    }
    if (this.#requests.length === 0) return;
    const { to, body } = dice.of(this.#requests);
    if (dice.below(40) === 0) {
      return this.#say(to.node, { ...this.#nack(), of: body.verb });
    }
    const reply = this.#reply(to.node, body);
    if (reply !== null) this.#say(to.node, reply);
  }

  #reply(node: string, body: Body): Body | null {
    const { dice } = this;
    switch (body.verb) {
      case "select":
        return { ...COMMON, verb: "ack-select", type: body.type };
      case "dispatch": {
        const slots = body.createOverlay.nodes.map(({ name }) => name);
        for (const sub of body.createOverlay.subs) {
          slots.push(...sub.nodes.map(({ name }) => `${sub.name}/${name}`));
        }
        const nodes = slots.map((name, at) => ({
          ...{ name, node: `${node}-${at}`, hostname: name, ipaddr: "10.0.0.9", mtu: 1500 },
          capabilities: [],
        }));
        return { ...COMMON, verb: "ack-dispatch", nodes };
      }
      case "config": {
        const { digest, generation } = body;
        return { ...COMMON, verb: "ack-config", digest, generation };
      }
      case "refresh": {
        const rekey = dice.below(5) === 0;
        const state = { node, state: "ACTIVE", drift: [], rekey };
        return { ...COMMON, verb: "ack-refresh", nodes: [state] };
      }
      case "status": {
        const nodes = [node, `${node}-0`, `${node}-1`];
        const links = nodes.map((each) => ({
          ...{ node: each, link: "a-b", sent: 3, answered: dice.below(4), rttUs: 5 },
          ...{ rxBytes: 1, txBytes: 1, rxPackets: 1, txPackets: 1, errors: 0 },
        }));
        return { ...COMMON, verb: "ack-status", nodes: [], links };
      }
      case "stop":
        return { ...COMMON, verb: "ack-stop" };
      default:
        return null;
    }
  }

  #nack(): Extract<Body, { verb: "nack" }> {
    const of = this.dice.of(["invite", "select", "dispatch", "config", "refresh", "stop", "?"]);
    return { ...COMMON, verb: "nack", of, node: "", step: "", reason: "no" };
  }

  /** What nobody asked for. */
  #anything(): Body {
    return this.dice.of<Body>([
      this.#nack(),
      { ...COMMON, verb: "stop" },
      { ...COMMON, verb: "ack-stop" },
      { ...COMMON, verb: "refresh" },
      { ...COMMON, verb: "ack-select", type: "router" },
      { ...COMMON, verb: "ack-config", digest: "", generation: 1 },
      { ...COMMON, verb: "ack-config", digest: "", generation: NaN },
      { ...COMMON, verb: "ack-dispatch", nodes: [] },
      { ...COMMON, verb: "ack-refresh", nodes: [] },
      { ...COMMON, verb: "ack-status", nodes: [], links: [] },
      { ...COMMON, verb: "ack-stop", epoch: "0" },
    ]);
  }

  #unreachable(): void {
    if (this.#requests.length === 0) return;
    const { to, body } = this.dice.of(this.#requests);
    this.#do((manager) => manager.handleUnreachable(to.node, body, "refused", this.nowMs));
  }

  /** Of the owner: in its state, or not. */
  #order(): void {
    const { dice } = this;
    const { pinned, generation } = this.#manager.record;
    const plans = pinned.map(({ node }) => planOf(node, ["a-b"], `g${generation}`));
    const isSub = this.#manager.record.order.hold === "phases";
    const given = { plans, generation: generation + dice.below(2), leaseMs: 0 };
    const acts: ((manager: Manager) => void)[] = [
      (manager) => manager.start(this.nowMs),
      (manager) => manager.select(this.nowMs),
      (manager) => manager.dispatch(manager.record.order.need, this.nowMs),
      (manager) => manager.configure(this.nowMs, isSub ? given : undefined),
      (manager) => manager.status(1, 700, this.nowMs),
    ];
    this.#do(dice.of(acts));
  }

  /** From what is on disk; nothing else is left. */
  #restart(): void {
    if (this.#journal === null) return;
    const record: ManagerRecord = JSON.parse(JSON.stringify(this.#journal));
    for (const { node } of record.selected) this.#committed.add(node);
    this.#manager = Manager.restore(TOOLS, record, this.#designer(record.order), this.nowMs);
    this.#do(() => {});
  }
}

Deno.test("random calls in random order never leak a node, never tell too early, and always end", () => {
  let lives = 0;
  for (let seed = 1; seed <= 600; seed++) {
    const watched = new Watched(seed * 7919);
    try {
      watched.run(250);
    } catch (cause) {
      throw new Error(`seed ${seed}`, { cause });
    }
    lives += watched.lives;
  }
  assert.ok(lives > 100, `only ${lives} became ACTIVE: the driver is too wild to test anything`);
});
