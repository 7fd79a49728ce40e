/**
 * Takeovers in virtual time, by seed. A peer asks numbered questions; a box answers each of them,
 * and says things of its own; a journal mirrors the box's session to a standby over a slow link;
 * connections are cut, the box is killed, the standby goes on, several times. Whatever happens,
 * every question is answered once, in order, and what the box says comes in order, once, without a
 * gap. Either side connects. A failure names its seed; `FAIRLEAD_SEED=n` runs that one alone.
 *
 * @module
 */
import assert from "node:assert/strict";
import { authNone } from "../../src/app/auth.ts";
import { arenaTaken } from "../../src/mem/arena.ts";
import { describeFault } from "../../src/mem/fault.ts";
import type { Batch } from "../../src/proto/msgr2/batch.ts";
import { POLICIES } from "../../src/proto/msgr2/policy.ts";
import type { Session } from "../../src/proto/msgr2/session.ts";
import { Mirror } from "./mirror.ts";
import { Net, type Node, say } from "./pair.ts";

const SEEDS = 1000;
const STEPS = 160;
const PATIENCE = 3000;
const PEER = "v2:10.0.9.1:3300";
const BOX = "v2:10.0.9.2:3300";
/** Answers and pushes have priorities, in which their order does not show. */
const ANSWER = 127;
const PUSH = 63;

class Simulation {
  readonly net: Net;
  /** Who connects: the box, as a gateway to its hub; the peer; or both, whoever has lost the other. */
  readonly roles: "client" | "server" | "both";
  readonly peer: Node;
  box: Node;
  mirror: Mirror | null = null;
  /** Which box it is. */
  life = 0;
  takeovers = 0;
  readonly #takeoversMax: number;
  readonly #delayMax: number;
  asked = 0;
  /** What each box has said. */
  readonly pushed = [0];
  #cutPerMille: number;
  /** The youngest box that was heard. */
  #heard = 0;
  readonly answers: string[] = [];
  readonly pushes: number[] = [0];

  constructor(seed: number) {
    const net = new Net(seed * 2654435761 + 1);
    for (let index = 0; index < 8; index++) net.random(2);
    this.net = net;
    this.roles = (["client", "server", "server", "both"] as const)[net.random(4)]!;
    this.#takeoversMax = 1 + net.random(3);
    this.#delayMax = [0, 3, 20, 150][net.random(4)]!;
    this.#cutPerMille = [0, 5, 30][net.random(3)]!;
    this.peer = net.node("peer", {
      address: PEER,
      auth: authNone("client.peer"),
      policy: this.roles === "both" ? POLICIES.losslessPeer : POLICIES.statefulServer,
      options: { nonce: 11 },
    });
    this.peer.takes = false;
    this.box = this.#newBox();
    net.rule = ({ tag }) => {
      if (tag === "BANNER" || net.random(1000) >= this.#cutPerMille) return "pass";
      return (["cut", "cutRead", "cutAfter"] as const)[net.random(3)]!;
    };
    if (net.random(2) === 0) net.pieceBytes = 20 + net.random(200);
    this.#attach();
    this.#dial();
  }

  #newBox(): Node {
    const options = { journal: true, outboxBytesMax: 1024 * 1024 };
    const auth = authNone("client.box");
    const policy = this.roles === "both" ? POLICIES.losslessPeer : POLICIES.statefulServer;
    const address = this.roles === "client" ? {} : { address: BOX };
    const box = this.net.node("box", { ...address, auth, options, policy });
    box.takes = false;
    return box;
  }

  #dial(): void {
    const policy = this.roles === "both" ? POLICIES.losslessPeer : POLICIES.losslessClient;
    if (this.roles === "client") this.box.connect(this.peer, policy);
    else this.peer.connect(this.box, policy);
  }

  #attach(): void {
    const { net } = this;
    this.mirror = new Mirror(this.box.messenger.journal!, () => net.random(this.#delayMax + 1));
  }

  #sessionOf(node: Node): Session | undefined {
    return node.messenger.sessions.values().next().value;
  }

  /** One moment. */
  step(): void {
    const { net } = this;
    net.now += net.random(12);
    this.#run(1 + net.random(4));
    switch (net.random(24)) {
      case 0:
      case 10:
        net.cut(undefined, false);
        break;
      case 1:
        net.stall();
        break;
      case 2:
      case 3:
        for (const pipe of net.pipes) pipe.held = false;
        break;
      case 4:
        // What leaves now although it must not is what the next box does not know of.
        if (this.mirror?.store.complete) this.mirror.stalled = !this.mirror.stalled;
        break;
      case 5:
        if (this.takeovers >= this.#takeoversMax) break;
        if (this.mirror?.stalled === true || net.random(3) === 0) this.kill();
        break;
      case 9:
        if (this.mirror === null || net.random(4) === 0) this.#away();
        break;
      case 6:
      case 7:
      case 8:
        this.#push();
        break;
      default:
        this.#ask();
    }
  }

  #run(turns: number): void {
    const { net, peer } = this;
    for (const { messenger } of [peer, this.box]) {
      if (messenger.pollDeadline() <= net.now) messenger.handleDeadline(net.now);
    }
    net.run(turns);
    this.#hear();
    this.#answer();
    this.mirror?.write(net.now);
    this.mirror?.deliver(net.now);
  }

  #ask(): void {
    const session = this.#sessionOf(this.peer);
    if (session === undefined) return;
    for (let count = this.net.random(4); count > 0; count--) {
      if (say(session, `q ${this.asked}`) > 0) this.asked++;
    }
  }

  #push(): void {
    const session = this.#sessionOf(this.box);
    if (session === undefined) return;
    for (let count = this.net.random(3); count > 0; count--) {
      if (say(session, `p ${this.life} ${this.pushed[this.life]}`, PUSH) > 0) {
        this.pushed[this.life]!++;
      }
    }
  }

  /** The peer's application. */
  #hear(): void {
    const { messenger } = this.peer;
    for (let batch = messenger.takeBatch(); batch !== null; batch = messenger.takeBatch()) {
      for (let index = 0; index < batch.length; index++) {
        const words: string[] = new TextDecoder().decode(batch.front(index)).split(" ");
        const [kind, number, more] = words;
        if (kind === "a") {
          assert.equal(number, `${this.answers.length}`, "answers come once and in order");
          this.answers.push(more!);
        } else {
          const life = Number(number);
          assert.ok(life >= this.#heard, "no box speaks after the next one");
          this.#heard = life;
          assert.equal(Number(more), this.pushes[life]!, "what a box says comes without a gap");
          this.pushes[life]!++;
        }
      }
      messenger.done(batch, this.net.now);
    }
  }

  /** The box's application: it answers at once, or some at once and the rest later. */
  #answer(): void {
    const { net, box } = this;
    if (box.held !== null) {
      if (net.random(3) > 0) return;
      this.#answerAll(box.held, Math.floor(box.held.length / 2), box.held.length);
      box.messenger.done(box.held, net.now);
      box.held = null;
    }
    const { messenger } = box;
    for (let batch = messenger.takeBatch(); batch !== null; batch = messenger.takeBatch()) {
      if (net.random(3) === 0) {
        this.#answerAll(batch, 0, Math.floor(batch.length / 2));
        box.held = batch;
        return;
      }
      this.#answerAll(batch, 0, batch.length);
      messenger.done(batch, net.now);
    }
  }

  #answerAll(batch: Batch, from: number, to: number): void {
    for (let index = from; index < to; index++) {
      const [, number] = new TextDecoder().decode(batch.front(index)).split(" ");
      const session = batch.session(index);
      const front = new TextEncoder().encode(`a ${number} ${this.life}`);
      const middle = new Uint8Array(this.net.random(40));
      assert.ok(session.send({ type: 0xfa00, front, middle, priority: ANSWER }) > 0);
    }
  }

  /** The standby is gone for a while, and another one comes. */
  #away(): void {
    const { journal } = this.box.messenger;
    if (this.mirror !== null) {
      journal!.releaseAll();
      this.mirror = null;
    } else this.#attach();
  }

  /** The box dies with everything it has not sent; its standby goes on, if it has all. */
  kill(): void {
    const { net, mirror } = this;
    if (mirror === null || !mirror.store.complete) return;
    this.takeovers++;
    const dead = this.box;
    net.nodes.splice(net.nodes.indexOf(dead), 1);
    for (let count = net.random(mirror.posts.length + 1); count > 0; count--) mirror.applyNext();
    // What it had sent arrives, or some of it, or nothing.
    for (let turns = net.random(2) * net.random(20); turns > 0; turns--) {
      net.run(1);
      this.#hear();
    }
    dead.stop();
    for (let turns = net.random(5); turns > 0; turns--) {
      net.now += net.random(400);
      net.run(1);
    }
    this.life++;
    this.pushed.push(0);
    this.pushes.push(0);
    this.box = this.#newBox();
    mirror.store.adoptInto(this.box.messenger, net.now);
    this.mirror = null;
    // The application of a gateway that was killed before its session was mirrored dials again.
    if (this.roles === "client") this.#dial();
    if (net.random(4) > 0) this.#attach();
  }

  /** Nothing is cut any more, and time goes by until all is said. */
  heal(): void {
    const { net } = this;
    this.#cutPerMille = 0;
    net.pieceBytes = Infinity;
    for (const pipe of net.pipes) pipe.held = false;
    if (this.mirror === null) this.#attach();
    this.mirror!.stalled = false;
    for (let step = 0; step < PATIENCE && !this.#atRest(); step++) {
      net.now += 1 + net.random(step < 200 ? 20 : 400);
      this.#run(4);
    }
  }

  #atRest(): boolean {
    const [near, far] = [this.#sessionOf(this.peer), this.#sessionOf(this.box)];
    return near?.unacknowledged === 0 && far?.unacknowledged === 0 &&
      this.answers.length === this.asked && this.mirror!.store.messages === 0 &&
      near.takenSeq === near.ackSentSeq && far.takenSeq === far.ackSentSeq &&
      this.mirror!.store.complete;
  }

  check(): void {
    assert.equal(this.answers.length, this.asked, "every question is answered");
    assert.equal(this.pushes[this.life], this.pushed[this.life], "the last box is heard");
    assert.ok(this.#atRest(), "it comes to rest");
    assert.equal(this.peer.messenger.sessions.size, 1, "one session at the peer");
    assert.equal(this.box.messenger.sessions.size, 1, "one session at the box");
    assert.equal(this.mirror!.store.sessions, 1, "one session at the standby");
    const lost = this.peer.events.filter((kind) => kind === "reset" || kind === "remoteReset");
    assert.deepEqual(lost, [], "the peer's session goes on");
  }

  close(): void {
    for (const node of [...this.net.nodes]) node.stop();
  }
}

/** Returns how often the box was replaced. */
function simulate(seed: number): number {
  const before = arenaTaken();
  const simulation = new Simulation(seed);
  try {
    for (let step = 0; step < STEPS; step++) simulation.step();
    simulation.heal();
    simulation.check();
  } finally {
    simulation.close();
  }
  assert.equal(arenaTaken(), before, "memory is given back");
  return simulation.takeovers;
}

const only = Deno.env.get("FAIRLEAD_SEED");
const [first, last] = only === undefined ? [1, SEEDS] : [Number(only), Number(only)];

Deno.test(`a standby goes on with every session: seeds ${first} to ${last}`, () => {
  const failures: string[] = [];
  let takeovers = 0;
  for (let seed = first; seed <= last; seed++) {
    try {
      takeovers += simulate(seed);
    } catch (error) {
      const text = error instanceof Error ? error.stack : error;
      failures.push(`FAIRLEAD_SEED=${seed}: ${text} (${describeFault(0)})`);
    }
  }
  const shown = failures.slice(0, 3).join("\n\n");
  const seeds = failures.map((text) => text.slice(0, text.indexOf(":"))).slice(0, 20).join(" ");
  assert.equal(failures.length, 0, `${failures.length} seeds fail\n${shown}\n${seeds}`);
  if (only === undefined) assert.ok(takeovers > SEEDS, `${takeovers} takeovers`);
});
