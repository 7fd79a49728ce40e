/**
 * Two boxes, a witness and what lies between them, in virtual time: clocks of different rates, words
 * that are lost, late and in another order, processes that stand still, die and come back with what
 * was stored, and kernels that go on sending without them until their fence closes.
 */
import assert from "node:assert/strict";
import { Election } from "../../src/proto/standby/election.ts";
import type { ElectionAction, ElectionConfig } from "../../src/proto/standby/orders.ts";
import { Witness, type WitnessGroup } from "../../src/proto/standby/witness.ts";
import {
  type LeaseAnswerWord,
  type LeaseAskWord,
  type LeaseGiveWord,
  parseWord,
  type PeerWord,
  type StandbyWord,
  writeWord,
} from "../../src/wire/standby/words.ts";

import type { PairData } from "./standby_data.ts";

/** Times of a pair. */
export const TIMES = { heartbeatMs: 150, deadMs: 600, leaseMs: 2000 } as const;

/** Chance from a seed. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed * 2_654_435 + 1) % 2_147_483_647;
    for (let turn = 0; turn < 4; turn++) this.below(2);
  }

  below(limit: number): number {
    this.#state = (this.#state * 48_271) % 2_147_483_647;
    return this.#state % limit;
  }

  chance(percent: number): boolean {
    return this.below(10_000) < percent * 100;
  }

  of<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}

interface Task {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

/** A clock that runs faster or slower than the world's. */
export class Clock {
  constructor(readonly rate: number, readonly offsetMs: number) {}

  local(worldMs: number): number {
    return worldMs * this.rate + this.offsetMs;
  }

  world(localMs: number): number {
    return (localMs - this.offsetMs) / this.rate;
  }
}

/** One box: what survives its process, and the process. */
export class Box {
  election: Election | null = null;
  stored = { term: 0, activeTerm: 0 };
  /** Until when its kernel lets ESP out, by its clock. */
  fenceUntilMs = -Infinity;
  /** Which of the changes of the sender its kernel's SAs know; -1: it has none. */
  sasOf = -1;
  pausedUntilMs = -Infinity;
  /** Actions that were given out, as texts. */
  log: string[] = [];
  /** It is at work on an action until then. */
  busyUntilMs = -Infinity;
  life = 0;
  readonly waiting: (() => void)[] = [];

  constructor(readonly name: string, readonly clock: Clock, readonly config: ElectionConfig) {}
}

/** Ends of a link: `ab`, `aw`, `bw`. */
export type Link = "ab" | "aw" | "bw";

export class World {
  nowMs = 0;
  readonly dice: Dice;
  readonly a: Box;
  readonly b: Box;
  witness: Witness | null = null;
  witnessStored = new Map<string, WitnessGroup>();
  witnessPausedUntilMs = -Infinity;
  readonly cut = new Set<Link>();
  lossPercent = 0;
  latePercent = 0;
  /** Words are written and parsed on their way. */
  coded = false;
  /** Forced takeovers may break the rule, as the operator has said so. */
  forced = false;
  lastSender: Box | null = null;
  /** How often another box than before began to send. */
  changes = 0;
  takers = new Map<number, string>();
  opened = 0;
  /** What the boxes take and acknowledge, when that is looked at. */
  data: PairData | null = null;
  readonly #witnessClock: Clock;
  readonly #tasks: Task[] = [];
  /** When each process wakes by itself. */
  readonly #timers = new Map<Box, number>();
  #order = 0;

  constructor(
    seed: number,
    a: Partial<ElectionConfig> = {},
    b: Partial<ElectionConfig> = {},
    skew = 0.01,
  ) {
    this.dice = new Dice(seed);
    const rate = (): number => 1 + skew * (this.dice.below(2001) / 1000 - 1);
    const clock = (): Clock => new Clock(rate(), this.dice.below(1_000_000));
    const common = { group: "pair", instance: "", preferred: false, witness: true };
    const config = (box: string, own: Partial<ElectionConfig>): ElectionConfig => ({
      ...TIMES,
      ...common,
      mode: "auto",
      box,
      ...own,
    });
    this.a = new Box("a", clock(), config("a", { preferred: true, ...a }));
    this.b = new Box("b", clock(), config("b", b));
    this.#witnessClock = clock();
  }

  get boxes(): readonly [Box, Box] {
    return [this.a, this.b];
  }

  other(box: Box): Box {
    return box === this.a ? this.b : this.a;
  }

  at(delayMs: number, run: () => void): void {
    const task = { atMs: this.nowMs + Math.max(0, delayMs), order: this.#order++, run };
    const tasks = this.#tasks;
    let at = tasks.push(task) - 1;
    for (; at > 0; at = (at - 1) >> 1) {
      const above = tasks[(at - 1) >> 1]!;
      if (!before(task, above)) break;
      tasks[at] = above;
    }
    tasks[at] = task;
  }

  /** Runs until this much later. */
  run(forMs: number): void {
    const endMs = this.nowMs + forMs;
    while (this.#tasks.length > 0 && this.#tasks[0]!.atMs <= endMs) {
      const task = this.#take();
      this.nowMs = task.atMs;
      task.run();
    }
    this.nowMs = endMs;
  }

  start(box: Box): void {
    if (box.election !== null) return;
    box.life++;
    const instance = `${box.name}${box.life}`.padEnd(32, "0").replaceAll(/[^0-9a-f]/g, "0");
    box.waiting.length = 0;
    box.busyUntilMs = -Infinity;
    this.#timers.delete(box);
    const now = box.clock.local(this.nowMs);
    box.election = new Election({ ...box.config, instance }, box.stored, now);
    this.data?.handleStart(box);
    const { election } = box;
    this.give(box, (at) => {
      if (!this.cut.has("ab")) election.handlePeerOpen(at);
      if (!this.cut.has(`${box.name}w` as Link)) election.handleWitnessOpen(at);
    });
    const other = this.other(box);
    if (!this.cut.has("ab") && other.election !== null) {
      const peer = other.election;
      this.give(other, (at) => {
        peer.handlePeerGone(at);
        peer.handlePeerOpen(at);
      });
    }
  }

  crash(box: Box): void {
    box.election = null;
    box.life++;
    box.waiting.length = 0;
  }

  startWitness(): void {
    const stored = [...this.witnessStored.values()];
    this.witness ??= new Witness(stored, this.#witnessClock.local(this.nowMs));
  }

  setLink(link: Link, up: boolean, told: boolean): void {
    if (up === !this.cut.has(link)) return;
    if (up) this.cut.delete(link);
    else this.cut.add(link);
    if (!told) return;
    for (const box of this.boxes) {
      const { election } = box;
      if (election === null || !link.includes(box.name)) continue;
      this.give(box, (at) => {
        if (link !== "ab" && up) election.handleWitnessOpen(at);
        else if (link !== "ab") election.handleWitnessGone(at);
        else if (up) election.handlePeerOpen(at);
        else election.handlePeerGone(at);
      });
    }
  }

  /** Lets the process do something when it can, and then what that leads to. */
  give(box: Box, input: (nowMs: number) => void): void {
    if (box.election === null) return;
    box.waiting.push(() => input(box.clock.local(this.nowMs)));
    this.#wake(box, 0);
  }

  canSend(box: Box): boolean {
    return box.clock.local(this.nowMs) < box.fenceUntilMs;
  }

  senders(): string {
    return this.boxes.filter((box) => this.canSend(box)).map(({ name }) => name).join();
  }

  roles(): string {
    return this.boxes.map(({ election }) => election?.role ?? "dead").join(" ");
  }

  /** The active sends a snapshot to the other when it can. */
  mirror(): void {
    for (const box of this.boxes) {
      const from = box.election;
      const to = this.other(box).election;
      if (from?.role !== "active" || to?.role !== "standby" || this.cut.has("ab")) continue;
      if (to.term !== from.term || to.ready) continue;
      this.give(this.other(box), (at) => to.handleSnapshot(from.term, at));
    }
  }

  mirrorAlways(everyMs = 100): void {
    this.mirror();
    this.at(everyMs, () => this.mirrorAlways(everyMs));
  }

  #wake(box: Box, delayMs: number): void {
    const { life } = box;
    this.at(delayMs, () => {
      if (box.life === life && box.election !== null) this.#work(box, box.election);
    });
  }

  /** One thing that a process does: an action, or an input. */
  #work(box: Box, election: Election): void {
    const until = Math.max(box.pausedUntilMs, box.busyUntilMs);
    if (this.nowMs < until) return this.#wake(box, until - this.nowMs);
    const action = election.pollAction();
    if (action !== null) {
      this.#act(box, election, action);
      box.busyUntilMs = this.nowMs + this.dice.below(3) / 4;
      return this.#wake(box, box.busyUntilMs - this.nowMs);
    }
    const localMs = box.clock.local(this.nowMs);
    const due = election.pollDeadline() <= localMs;
    if (due && (box.waiting.length === 0 || this.dice.chance(50))) {
      election.handleDeadline(localMs);
      assert.ok(
        election.pollDeadline() > localMs,
        `a deadline of ${election.role} stays armed`,
      );
    } else if (box.waiting.length > 0) box.waiting.shift()!();
    else {
      const next = election.pollDeadline();
      if (next === Infinity) return;
      const atMs = box.clock.world(next) + 0.01;
      if (
        !this.#timers.has(box) || this.#timers.get(box)! > atMs ||
        this.#timers.get(box)! <= this.nowMs
      ) {
        this.#timers.set(box, atMs);
        this.#wake(box, atMs - this.nowMs);
      }
      return;
    }
    this.#wake(box, 0);
  }

  #act(box: Box, election: Election, action: ElectionAction): void {
    const { life } = box;
    const later = (delayMs: number, input: (nowMs: number) => void): void =>
      this.at(delayMs, () => {
        if (box.life === life) this.give(box, input);
      });
    switch (action.do) {
      case "store": {
        const { term, activeTerm } = action.stored;
        assert.ok(term >= box.stored.term && activeTerm >= box.stored.activeTerm, "terms go back");
        later(this.dice.below(5), () => {
          box.stored = action.stored;
          election.handleStored();
        });
        break;
      }
      case "take": {
        assert.equal(box.stored.activeTerm, action.term, "a term is used before it is stored");
        const taker = this.takers.get(action.term) ?? box.name;
        assert.ok(taker === box.name || this.forced, `term ${action.term} is of two boxes`);
        this.takers.set(action.term, box.name);
        this.data?.handleTake(box, action.term);
        later(this.dice.below(50), (at) => {
          if (action.source !== "own") box.sasOf = this.changes;
          election.handleTaken(action.term, at);
          if (election.role === "active") this.data?.handleActive(box, action.term);
        });
        break;
      }
      case "openFence":
        box.fenceUntilMs = action.untilMs;
        if (this.canSend(box)) this.#opened(box);
        break;
      case "block":
        box.fenceUntilMs = -Infinity;
        later(this.dice.below(3), (at) => election.handleBlocked(at));
        break;
      case "flush":
        later(5, (at) => {
          if (!this.cut.has("ab")) election.handleFlushed(7, at);
        });
        break;
      case "deleteSas":
        box.sasOf = -1;
        break;
      case "promoted":
      case "refuse":
        this.data?.handlePromoted(box);
        break;
      case "tellPeer":
        this.#post("ab", box, action.word);
        break;
      case "tellWitness":
        this.#post(`${box.name}w` as Link, box, action.word);
        break;
    }
    const text = action.do === "refuse"
      ? `refuse: ${action.why}`
      : action.do === "say"
      ? `say: ${action.text}`
      : action.do === "take"
      ? `take ${action.term} ${action.source}`
      : action.do;
    if (box.log.length < 2000 && action.do !== "tellPeer" && action.do !== "tellWitness") {
      box.log.push(text);
    }
  }

  #opened(box: Box): void {
    this.opened++;
    if (!this.forced) {
      assert.ok(!this.canSend(this.other(box)), "two boxes send");
    }
    if (this.lastSender !== box) {
      const behind = box.sasOf !== -1 && box.sasOf !== this.changes;
      assert.ok(!behind || this.forced, "a box goes on with numbers that are behind");
      this.changes++;
      box.sasOf = box.sasOf === -1 ? -1 : this.changes;
    }
    this.lastSender = box;
  }

  #post(link: Link, from: Box, sent: StandbyWord): void {
    if (this.cut.has(link) || this.dice.chance(this.lossPercent)) return;
    const word = this.coded ? parseWord(writeWord(sent)) : sent;
    assert.ok(word !== null && typeof word !== "string", `a word is refused: ${word}`);
    const lateMs = this.dice.chance(this.latePercent) ? this.dice.below(1500) : 0;
    this.at(lateMs + this.dice.below(40) / 10, () => {
      if (this.cut.has(link)) return;
      if (link === "ab") this.#deliver(this.other(from), word as PeerWord);
      else this.#ask(link, from, word as LeaseAskWord | LeaseGiveWord);
    });
  }

  #deliver(box: Box, word: PeerWord): void {
    const { election } = box;
    if (election === null) return;
    this.give(box, (at) => {
      switch (word.word) {
        case "hello":
          return election.handlePeerHello(word, at);
        case "heartbeat":
          return election.handleHeartbeat(word, at);
        case "heartbeatAnswer":
          return election.handleHeartbeatAnswer(word, at);
        case "handoverAsk":
          return election.handleHandoverAsk(word, at);
        case "handoverDone":
          return election.handleHandoverDone(word, at);
        case "handoverRefused":
          return election.handleHandoverRefused(word, at);
        case "handoverOffer":
          return election.handleHandoverOffer(word, at);
      }
    });
  }

  #ask(link: Link, from: Box, word: LeaseAskWord | LeaseGiveWord): void {
    if (this.nowMs < this.witnessPausedUntilMs) {
      return this.at(this.witnessPausedUntilMs - this.nowMs, () => this.#ask(link, from, word));
    }
    if (this.witness === null) return;
    const now = this.#witnessClock.local(this.nowMs);
    if (word.word === "leaseGive") {
      const state = this.witness.handleGive(word, now);
      if (state !== null) this.witnessStored.set(state.group, state);
      return;
    }
    const { answer, store } = this.witness.handleAsk(word, now);
    if (store !== null) {
      const before = this.witnessStored.get(store.group)?.term ?? 0;
      assert.ok(store.term >= before, "the terms of the witness go back");
      this.witnessStored.set(store.group, store);
    }
    this.#answer(link, from, answer);
  }

  #answer(link: Link, to: Box, sent: LeaseAnswerWord): void {
    if (this.cut.has(link) || this.dice.chance(this.lossPercent)) return;
    const word = this.coded ? parseWord(writeWord(sent)) as LeaseAnswerWord : sent;
    const { life } = to;
    const lateMs = this.dice.chance(this.latePercent) ? this.dice.below(1500) : 0;
    this.at(lateMs + this.dice.below(40) / 10, () => {
      const { election } = to;
      if (this.cut.has(link) || election === null || to.life !== life) return;
      this.give(to, (at) => election.handleLeaseAnswer(word, at));
    });
  }

  #take(): Task {
    const tasks = this.#tasks;
    const first = tasks[0]!;
    const last = tasks.pop()!;
    if (tasks.length === 0) return first;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= tasks.length) break;
      if (below + 1 < tasks.length && before(tasks[below + 1]!, tasks[below]!)) below++;
      if (!before(tasks[below]!, last)) break;
      tasks[at] = tasks[below]!;
      at = below;
    }
    tasks[at] = last;
    return first;
  }
}

function before(one: Task, other: Task): boolean {
  return one.atMs < other.atMs || (one.atMs === other.atMs && one.order < other.order);
}

export const MANUAL = { mode: "standby", witness: false } as const;
export const A = "a".repeat(32);
/** A pair with a witness, a active, b with a whole snapshot. */
export function autoPair(mirrors = true): World {
  const world = new World(1);
  world.startWitness();
  if (mirrors) world.mirrorAlways();
  world.start(world.a);
  world.start(world.b);
  world.run(6000);
  assert.equal(world.roles(), "active standby");
  assert.equal(world.senders(), "a");
  return world;
}

/** A pair without one. */
export function manualPair(): World {
  const world = new World(2, { ...MANUAL, mode: "active" }, MANUAL);
  world.mirrorAlways();
  world.start(world.b);
  world.start(world.a);
  world.run(2000);
  assert.equal(world.roles(), "active standby");
  return world;
}

export function promote(world: World, box: Box, force = false): void {
  world.give(box, (at) => box.election!.handlePromote({ force }, at));
}

export function said(box: Box, pattern: RegExp): void {
  assert.ok(box.log.some((line) => pattern.test(line)), `${pattern} is not in ${box.log}`);
}

/** One box alone, to which words are said by hand. */
export function lone(activeTerm = 5): Election {
  const common = { group: "pair", box: "a", instance: A, preferred: true, witness: true } as const;
  const election = new Election(
    { ...TIMES, ...common, mode: "auto" },
    { term: 5, activeTerm },
    0,
  );
  election.handlePeerOpen(0);
  return election;
}

export function grantOf({ serial }: LeaseAskWord, term: number): LeaseAnswerWord {
  const granted = { word: "leaseAnswer", granted: true, leaseMs: 2000, leftMs: 2000 } as const;
  return { ...granted, serial, term, holder: "a", why: "" };
}
