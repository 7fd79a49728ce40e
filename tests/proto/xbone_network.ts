/**
 * A network in virtual time for the machines of the X-Bone control protocol: datagrams that are lost,
 * doubled, late and in another order, connections that fail before and after the request came through,
 * answers that come when nobody waits for them. What lives on it is in xbone_network_processes.ts.
 */
import type { Reach } from "../../src/proto/xbone/machine.ts";
import type { Body } from "../../src/wire/xbone/messages.ts";

/** Chance from a seed. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = Math.imul(seed, 2654435761) >>> 0;
    for (let turn = 0; turn < 4; turn++) this.below(2);
  }

  /** Of mulberry32. */
  #next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  }

  below(limit: number): number {
    return Math.floor(this.#next() * limit);
  }

  chance(percent: number): boolean {
    return percent > 0 && this.#next() * 100 < percent;
  }

  between(range: readonly [number, number]): number {
    return range[0] + this.#next() * (range[1] - range[0]);
  }

  of<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }

  hex(digits: number): string {
    return Array.from({ length: digits }, () => this.below(16).toString(16)).join("");
  }
}

/** In percent and milliseconds. */
export interface Weather {
  readonly udpLoss: number;
  readonly udpTwice: number;
  readonly udpMs: readonly [number, number];
  /** Percent that comes up to a minute late. */
  readonly udpLate: number;
  readonly tcpLoss: number;
  readonly tcpMs: readonly [number, number];
  /** Requests of one process that are under way at once. */
  readonly sendsMax: number;
}

/** A process as the network sees it. */
export interface Endpoint {
  readonly name: string;
  readonly host: string;
  /** Grows when it dies: what was meant for an earlier life does not come. */
  readonly life: number;
  readonly up: boolean;
  receiveDatagram(from: Endpoint, body: Body): void;
  receiveRequest(from: Endpoint, body: Body, request: Request): void;
  receiveAnswer(from: string, body: Body): void;
  unreachable(node: string, body: Body, reason: string): void;
}

/** A request on its way, and its answer. */
export class Request {
  #over = false;
  #answered = false;

  constructor(
    readonly net: Network,
    readonly from: Endpoint,
    readonly to: Endpoint,
    readonly body: Body,
    readonly answerIsLost: boolean,
    readonly over: () => void,
    readonly fromLife: number = from.life,
    readonly toLife: number = to.life,
  ) {}

  answer(body: Body): void {
    if (this.#answered) throw new Error(`${this.to.name} answers twice: ${body.verb}`);
    this.#answered = true;
    if (this.answerIsLost) return;
    const { net, from } = this;
    net.after(net.dice.between(net.weather.tcpMs), () => {
      if (from.life !== this.fromLife || !from.up || net.cutOff === from) return;
      // Who gave up may see the answer all the same, to whatever it asks now.
      if (this.#over && !net.dice.chance(50)) return;
      net.counts.tcp++;
      net.tell(() => `${this.to.name} > ${from.name} ${shown(body)}${this.#over ? " (late)" : ""}`);
      const late = this.#over;
      this.#over = true;
      from.receiveAnswer(this.to.name, body);
      if (!late) this.over();
    });
  }

  fail(reason: string, afterMs: number): void {
    this.net.after(afterMs, () => {
      if (this.#over) return;
      this.#over = true;
      if (this.from.life !== this.fromLife || !this.from.up) return;
      this.net.tell(() => `${this.from.name} ! ${this.to.name} ${this.body.verb}: ${reason}`);
      this.from.unreachable(this.to.name, this.body, reason);
      this.over();
    });
  }
}

interface Task {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

/** The clock, and what lies between processes. */
export class Network {
  nowMs = 0;
  readonly dice: Dice;
  readonly counts = { udp: 0, tcp: 0 };
  readonly trace: string[] | null;
  /** Changes or drops what is sent: the faults of the seed's letter. */
  meddle: (from: Endpoint, body: Body) => Body | null = (_from, body) => body;
  /** Nobody hears it, and it hears nobody. */
  cutOff: Endpoint | null = null;
  readonly #tasks: Task[] = [];
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #distances = new Map<string, number>();
  #order = 0;

  constructor(seed: number, readonly weather: Weather, traced: boolean) {
    this.dice = new Dice(seed);
    this.trace = traced ? [] : null;
  }

  add(endpoint: Endpoint): void {
    this.#endpoints.set(endpoint.host, endpoint);
  }

  /** `ttl` that a datagram needs; those without do not hear each other at all. */
  join(a: Endpoint, b: Endpoint, ttl: number): void {
    this.#distances.set(`${a.name} ${b.name}`, ttl);
    this.#distances.set(`${b.name} ${a.name}`, ttl);
  }

  tell(text: () => string): void {
    this.trace?.push(`${this.nowMs.toFixed(1)} ${text()}`);
  }

  after(ms: number, run: () => void): void {
    this.at(this.nowMs + ms, run);
  }

  at(atMs: number, run: () => void): void {
    const tasks = this.#tasks;
    const task = { atMs: Math.max(atMs, this.nowMs), order: this.#order++, run };
    let at = tasks.push(task) - 1;
    while (at > 0) {
      const up = (at - 1) >> 1;
      if (!before(task, tasks[up]!)) break;
      tasks[at] = tasks[up]!;
      at = up;
    }
    tasks[at] = task;
  }

  /** Runs until then; asks every second of virtual time whether it may `stop`. */
  run(untilMs: number, stop: () => boolean = () => false): void {
    let askAtMs = this.nowMs + 1000;
    for (let next = this.#tasks[0]; next !== undefined; next = this.#tasks[0]) {
      if (next.atMs > untilMs) break;
      if (next.atMs > askAtMs) {
        if (stop()) return;
        askAtMs = next.atMs + 1000;
      }
      this.#take();
      this.nowMs = next.atMs;
      next.run();
    }
    this.nowMs = untilMs;
  }

  multicast(from: Endpoint, body: Body, ttl: number): void {
    this.counts.udp++;
    for (const to of this.#endpoints.values()) {
      const distance = this.#distances.get(`${from.name} ${to.name}`) ?? Infinity;
      if (distance <= ttl) this.#datagram(from, to, body);
    }
  }

  /** To `HOST:PORT`. */
  datagram(from: Endpoint, address: string, body: Body): void {
    this.counts.udp++;
    const to = this.#endpoints.get(address.slice(0, address.lastIndexOf(":")));
    if (to !== undefined) this.#datagram(from, to, body);
  }

  /** `over` when the answer or the lack of it was told. */
  request(from: Endpoint, reach: Reach, body: Body, waitMs: number, over: () => void): void {
    const { dice, weather } = this;
    const to = this.#endpoints.get(reach.host);
    if (to === undefined || to.name !== reach.node) {
      throw new Error(`${from.name} asks ${reach.node} at ${reach.host}, where it is not`);
    }
    this.counts.tcp++;
    const sent = this.meddle(from, body);
    const fault = dice.chance(weather.tcpLoss) ? dice.below(4) : -1;
    const request = new Request(this, from, to, body, fault === 2, over);
    this.tell(() =>
      `${from.name} > ${reach.node} ${shown(body)}${fault >= 0 ? ` (${fault})` : ""}`
    );
    if (fault === 0) return request.fail("connection refused", dice.between(weather.tcpMs));
    request.fail("timed out", waitMs);
    if (fault === 1 || sent === null || this.#isCut(from, to)) return;
    // A lost segment is sent again: later than those of other connections.
    const lateMs = fault === 3 ? 200 + dice.below(4000) : 0;
    this.after(dice.between(weather.tcpMs) + lateMs, () => {
      if (to.up) return to.receiveRequest(from, sent, request);
      if (dice.chance(50)) request.fail("connection refused", dice.between(weather.tcpMs));
    });
  }

  #datagram(from: Endpoint, to: Endpoint, body: Body): void {
    const { dice, weather } = this;
    const life = to.life;
    for (let copies = dice.chance(weather.udpTwice) ? 2 : 1; copies > 0; copies--) {
      if (dice.chance(weather.udpLoss)) continue;
      const lateMs = dice.chance(weather.udpLate) ? dice.below(60_000) : 0;
      this.after(dice.between(weather.udpMs) + lateMs, () => {
        if (!to.up || to.life !== life || this.#isCut(from, to)) return;
        this.tell(() => `${from.name} ~ ${to.name} ${shown(body)}`);
        to.receiveDatagram(from, body);
      });
    }
  }

  #isCut(from: Endpoint, to: Endpoint): boolean {
    return this.cutOff === from || this.cutOff === to;
  }

  #take(): void {
    const tasks = this.#tasks;
    const last = tasks.pop()!;
    if (tasks.length === 0) return;
    let at = 0;
    while (true) {
      let down = 2 * at + 1;
      if (down >= tasks.length) break;
      if (down + 1 < tasks.length && before(tasks[down + 1]!, tasks[down]!)) down++;
      if (!before(tasks[down]!, last)) break;
      tasks[at] = tasks[down]!;
      at = down;
    }
    tasks[at] = last;
  }
}

function before(a: Task, b: Task): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** For traces. */
export function shown(body: Body): string {
  const key = `${body.verb} ${body.name} level ${body.level}`;
  if (body.verb === "nack") return `${key}: ${body.of} at ${body.node}: ${body.reason}`;
  if (body.verb === "release") return `${key} keep ${body.keep.join(",")}`;
  return key;
}
