/**
 * What lives on the network of xbone_network.ts: a user's overlay manager, boxes with a kernel that takes
 * its time and fails, sub-managers. Each can be killed between any two things that it does; its journal,
 * and what its kernel was configured to, are there when it comes back.
 */
import assert from "node:assert/strict";
import {
  type Candidate,
  type Designer,
  type MachineTools,
  type ManagerEvent,
  type Offer,
  type Order,
  type Output,
  overlayKey,
  type Timers,
} from "../../src/proto/xbone/machine.ts";
import { Manager } from "../../src/proto/xbone/manager.ts";
import { Resource } from "../../src/proto/xbone/resource.ts";
import type { Body, LinkState } from "../../src/wire/xbone/messages.ts";
import type { NodePlan } from "../../src/wire/xbone/node_plan.ts";
import { type Endpoint, type Network, type Request, shown } from "./xbone_network.ts";

/** In every key of a test's plans: no journal may have it. */
export const SECRET = "5ec7e7";

/** Of what is not the network. */
export interface Temper {
  readonly timers: Timers;
  readonly applyMs: readonly [number, number];
  /** In percent. */
  readonly applyFails: number;
  readonly undoFails: number;
  readonly journalMs: readonly [number, number];
}

interface Machine {
  handleDeadline(nowMs: number): void;
  pollDeadline(): number;
  pollOutput(): Output | null;
}

const digests = new Map<string, string>();

/** Not for secrets: SHA-256 would take most of the time of the simulation. */
function digestOf(text: string): string {
  const known = digests.get(text);
  if (known !== undefined) return known;
  let a = 0x811c9dc5;
  let b = 0x1234567;
  for (let at = 0; at < text.length; at++) {
    a = Math.imul(a ^ text.charCodeAt(at), 0x01000193);
    b = Math.imul(b ^ text.charCodeAt(at), 0x5bd1e995) + a;
  }
  const half = [a, b].map((word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
  if (digests.size > 500) digests.clear();
  digests.set(text, half.repeat(4));
  return half.repeat(4);
}

/** Its outputs are done one after the other; those behind a journal entry wait for the disk. */
export abstract class Process implements Endpoint {
  life = 0;
  up = true;
  /** Outputs that it still does before it dies. */
  outputsLeft = Infinity;
  /** What happens when they are done. */
  onDeath: () => void = () => {};
  /** On disk, as text. */
  readonly journal = new Map<string, string>();
  readonly tools: MachineTools;
  readonly #outputs: Output[] = [];
  #writing = false;
  #sending = 0;
  readonly #toSend: Extract<Output, { kind: "send" }>[] = [];
  #wakeAtMs = Infinity;
  #turns = 0;
  #turnsAtMs = -1;

  constructor(
    readonly net: Network,
    readonly name: string,
    readonly host: string,
    readonly temper: Temper,
  ) {
    this.tools = { node: name, timers: temper.timers, sha256: digestOf };
    net.add(this);
  }

  get address(): string {
    return `${this.host}:265`;
  }

  abstract machines(): Iterable<Machine>;
  abstract receiveDatagram(from: Endpoint, body: Body): void;
  abstract receiveRequest(from: Endpoint, body: Body, request: Request): void;
  abstract receiveAnswer(from: string, body: Body): void;
  abstract unreachable(node: string, body: Body, reason: string): void;
  protected abstract act(output: Output): void;
  protected abstract forget(): void;
  protected abstract remember(): void;

  kill(): void {
    if (!this.up) return;
    this.net.tell(() => `${this.name} dies`);
    // What was being written may be on the disk or not.
    const [first] = this.#outputs;
    if (this.#writing && first?.kind === "journal" && this.net.dice.chance(50)) this.#write(first);
    this.up = false;
    this.life++;
    this.outputsLeft = Infinity;
    this.#outputs.length = 0;
    this.#toSend.length = 0;
    this.#writing = false;
    this.#sending = 0;
    this.#wakeAtMs = Infinity;
    this.forget();
  }

  restart(): void {
    if (this.up) return;
    this.net.tell(() => `${this.name} is back: ${[...this.journal.keys()].join(" ") || "nothing"}`);
    this.up = true;
    this.remember();
    this.settle();
  }

  /** As long as it lives. */
  later(ms: number, run: () => void): void {
    const { life } = this;
    this.net.after(ms, () => {
      if (this.life !== life) return;
      run();
      this.settle();
    });
  }

  /** Drains the machines and does what they want. */
  settle(): void {
    if (!this.up) return;
    for (const machine of this.machines()) {
      for (let out = machine.pollOutput(); out !== null; out = machine.pollOutput()) {
        this.#outputs.push(out);
      }
    }
    this.#work();
    this.#arm();
  }

  #work(): void {
    while (!this.#writing && this.up) {
      const output = this.#outputs[0];
      if (output === undefined) return;
      if (this.outputsLeft-- <= 0) {
        this.kill();
        return this.onDeath();
      }
      if (output.kind === "journal") {
        this.#writing = true;
        this.later(this.net.dice.between(this.temper.journalMs), () => {
          this.#write(output);
          this.#outputs.shift();
          this.#writing = false;
        });
        return;
      }
      this.#outputs.shift();
      this.#do(output);
    }
  }

  #do(output: Output): void {
    if (output.kind === "multicast") return this.net.multicast(this, output.body, output.ttl);
    if (output.kind === "answer-invite") return this.net.datagram(this, output.to, output.body);
    if (output.kind === "send") {
      this.#toSend.push(output);
      return this.#send();
    }
    this.act(output);
  }

  #send(): void {
    while (this.#toSend.length > 0 && this.#sending < this.net.weather.sendsMax) {
      const { to, body, waitMs } = this.#toSend.shift()!;
      this.#sending++;
      const { life } = this;
      this.net.request(this, to, body, waitMs, () => {
        if (this.life !== life) return;
        this.#sending--;
        this.#send();
      });
    }
  }

  #write({ key, record }: Extract<Output, { kind: "journal" }>): void {
    if (record === null) this.journal.delete(key);
    else {
      const text = JSON.stringify(record);
      assert.ok(!text.includes(SECRET), `${this.name} writes a key to its journal: ${key}`);
      this.journal.set(key, text);
    }
    this.net.tell(() => `${this.name} journal ${key} ${journaled(record)}`);
  }

  #arm(): void {
    if (!this.up) return;
    let at = Infinity;
    for (const machine of this.machines()) at = Math.min(at, machine.pollDeadline());
    if (at >= this.#wakeAtMs || at === Infinity) return;
    this.#wakeAtMs = at;
    const { life } = this;
    this.net.at(at, () => {
      if (this.life !== life || this.#wakeAtMs !== at) return;
      this.#wakeAtMs = Infinity;
      this.#countTurn();
      for (const machine of this.machines()) {
        if (machine.pollDeadline() <= this.net.nowMs) machine.handleDeadline(this.net.nowMs);
      }
      this.settle();
    });
  }

  /** A deadline that fires and stays armed is a bug. */
  #countTurn(): void {
    this.#turns = this.#turnsAtMs === this.net.nowMs ? this.#turns + 1 : 0;
    this.#turnsAtMs = this.net.nowMs;
    assert.ok(this.#turns < 100, `${this.name} spins at ${this.net.nowMs}`);
  }
}

function journaled(record: unknown): string {
  if (record === null) return "removed";
  return String((record as { state?: unknown }).state ?? "written");
}

/** What became of an overlay, as its manager told. */
export interface Story {
  readonly order: Order;
  /** Managers' states that were reached. */
  readonly reached: string[];
  failure: string;
  gone: boolean;
  activeAtMs: number;
}

/** The user's own manager. */
export class ManagerProcess extends Process {
  readonly stories = new Map<string, Story>();
  /** By overlay: what else happens when it tells something. */
  readonly onEvents = new Map<string, (event: ManagerEvent) => void>();
  #managers = new Map<string, Manager>();
  readonly designers = new Map<string, Designer>();

  machines(): Iterable<Manager> {
    return this.#managers.values();
  }

  manager(key: string): Manager | undefined {
    return this.#managers.get(key);
  }

  form(order: Order, designer: Designer): void {
    const key = overlayKey(order.name, order.epoch);
    this.designers.set(key, designer);
    this.stories.set(key, {
      order,
      reached: [],
      failure: "",
      gone: false,
      activeAtMs: Infinity,
    });
    const manager = new Manager(this.tools, order, designer);
    this.#managers.set(key, manager);
    manager.start(this.net.nowMs);
    this.settle();
  }

  /** A user's wish. */
  command(key: string, run: (manager: Manager) => void): void {
    const manager = this.#managers.get(key);
    if (!this.up || manager === undefined) return;
    run(manager);
    this.settle();
  }

  receiveDatagram(from: Endpoint, body: Body): void {
    if (body.verb === "ack-invite") this.receiveAnswer(from.name, body);
  }

  receiveRequest(): void {
    throw new Error("nobody asks a manager of level 0");
  }

  receiveAnswer(from: string, body: Body): void {
    this.#managers.get(overlayKey(body.name, body.epoch))
      ?.handleMessage(from, body, this.net.nowMs);
    this.settle();
  }

  unreachable(node: string, body: Body, reason: string): void {
    this.#managers.get(overlayKey(body.name, body.epoch))
      ?.handleUnreachable(node, body, reason, this.net.nowMs);
    this.settle();
  }

  protected act(output: Output): void {
    assert.ok(output.kind === "event", `a manager of level 0 puts out ${output.kind}`);
    const { key, event } = output;
    const story = this.stories.get(key)!;
    this.net.tell(() => `${this.name} tells ${key} ${JSON.stringify(event)}`);
    if (event.event === "reached") story.reached.push(event.state);
    if (event.event === "failed") {
      story.failure = `${event.failure.phase} ${event.failure.node}: ${event.failure.reason}`;
    }
    if (event.event === "gone") story.gone = true;
    if (event.event === "reached" && event.state === "ACTIVE") story.activeAtMs = this.net.nowMs;
    this.onEvents.get(key)?.(event);
  }

  protected forget(): void {
    this.#managers = new Map();
  }

  protected remember(): void {
    for (const [key, text] of this.journal) {
      const designer = this.designers.get(key)!;
      const manager = Manager.restore(this.tools, JSON.parse(text), designer, this.net.nowMs);
      assert.equal(manager.key, key);
      this.#managers.set(key, manager);
    }
  }
}

/** What the kernel of a box has of an overlay. */
interface Configured {
  plan: NodePlan;
  generation: number;
  /** All steps were taken. */
  whole: boolean;
  keys: boolean;
}

/** A box, or a sub-manager. */
export class ResourceProcess extends Process {
  /** What survives the process. */
  readonly kernel = new Map<string, Configured>();
  rebooted = false;
  resource: Resource;
  /** In percent, of this box. */
  applyFails: number;
  #tickets = new Map<number, Request>();
  #ticket = 0;
  /** Which apply of an overlay is under way: an undo stops it. */
  #applies = new Map<string, number>();
  #applied = 0;

  constructor(
    net: Network,
    name: string,
    host: string,
    temper: Temper,
    readonly type: Candidate["type"],
    readonly overlaysMax: number,
    readonly peers: ReadonlyMap<string, ResourceProcess>,
  ) {
    super(net, name, host, temper);
    this.applyFails = temper.applyFails;
    this.resource = this.#makeResource();
  }

  machines(): Iterable<Resource> {
    return [this.resource];
  }

  /** States of its overlays: `net/0123 ACTIVE`. */
  states(): string[] {
    return this.up ? this.resource.list().map(({ key, state }) => `${key} ${state}`) : [];
  }

  /** Everything of it that is left anywhere. */
  left(): string[] {
    return [
      ...this.states(),
      ...[...this.journal.keys()].map((key) => `${key} in the journal`),
      ...[...this.kernel.keys()].map((key) => `${key} in the kernel`),
    ].map((text) => `${this.name}: ${text}`);
  }

  receiveDatagram(from: Endpoint, body: Body): void {
    const { nowMs } = this.net;
    if (body.verb === "ack-invite") this.resource.handleAnswer(from.name, body, nowMs);
    else this.resource.handleRequest(from.name, body, -1, `${from.host}:265`, nowMs);
    this.settle();
  }

  receiveRequest(from: Endpoint, body: Body, request: Request): void {
    const ticket = this.#ticket++;
    this.#tickets.set(ticket, request);
    this.resource.handleRequest(from.name, body, ticket, "", this.net.nowMs);
    this.settle();
  }

  receiveAnswer(from: string, body: Body): void {
    this.resource.handleAnswer(from, body, this.net.nowMs);
    this.settle();
  }

  unreachable(node: string, body: Body, reason: string): void {
    this.resource.handleUnreachable(node, body, reason, this.net.nowMs);
    this.settle();
  }

  /** The machine itself goes down: the kernel forgets too. */
  reboot(): void {
    this.rebooted = true;
    this.kernel.clear();
  }

  protected act(output: Output): void {
    switch (output.kind) {
      case "answer":
        return this.#answer(output.ticket, output.body);
      case "apply":
      case "rekey":
        return this.#apply(output);
      case "undo":
        return this.#undo(output.key);
      case "check":
        return this.#check(output);
      case "event":
        return this.net.tell(() => `${this.name} tells ${JSON.stringify(output.event)}`);
    }
  }

  #answer(ticket: number, body: Body): void {
    const request = this.#tickets.get(ticket);
    assert.ok(request !== undefined, `${this.name} answers nobody: ${shown(body)}`);
    this.#tickets.delete(ticket);
    request.answer(body);
  }

  #apply({ kind, key, plan, generation }: Extract<Output, { kind: "apply" | "rekey" }>): void {
    const { dice } = this.net;
    const mine = ++this.#applied;
    this.#applies.set(key, mine);
    assert.equal(plan.node, this.name);
    const whole = kind === "rekey" && this.kernel.get(key)?.whole === true;
    const now: Configured = { plan, generation, whole, keys: false };
    this.kernel.set(key, now);
    this.net.tell(() => `${this.name} ${kind}s ${key} generation ${generation}`);
    this.later(dice.between(this.temper.applyMs), () => {
      if (this.#applies.get(key) !== mine) return;
      this.#applies.delete(key);
      const failure = kind === "apply" && dice.chance(this.applyFails)
        ? { step: `link ${dice.below(9)}`, reason: "No buffer space available" }
        : null;
      if (failure === null) Object.assign(now, { whole: whole || kind === "apply", keys: true });
      this.net.tell(() => `${this.name} applied ${key} ${JSON.stringify(failure)}`);
      this.resource.handleApplied(key, failure, this.net.nowMs);
    });
  }

  #undo(key: string): void {
    const { dice } = this.net;
    this.net.tell(() => `${this.name} undoes ${key}`);
    const undoMs = dice.between(this.temper.applyMs);
    // An apply that is stopped may tell so, or not.
    if (this.#applies.delete(key) && dice.chance(50)) {
      this.later(dice.between([0, undoMs]), () => {
        this.resource.handleApplied(key, { step: "", reason: "stopped" }, this.net.nowMs);
      });
    }
    this.later(undoMs, () => {
      const left = dice.chance(this.temper.undoFails) ? ["link a-b: Device or resource busy"] : [];
      if (left.length === 0) this.kernel.delete(key);
      this.resource.handleUndone(key, left, this.net.nowMs);
    });
  }

  #check({ key, ticket, probes }: Extract<Output, { kind: "check" }>): void {
    this.later(this.net.dice.between([1, 30]), () => {
      const mine = this.kernel.get(key);
      const links = mine?.plan.visits.flatMap((visit) =>
        visit.links.map(({ name, peerNode }): LinkState => {
          const there = this.peers.get(peerNode)?.kernel.get(key)?.whole === true;
          return {
            node: this.name,
            link: name,
            sent: probes,
            answered: there && mine.whole ? probes : 0,
            rttUs: there ? 300 : 0,
            rxBytes: 0,
            txBytes: 0,
            rxPackets: 0,
            txPackets: 0,
            errors: 0,
          };
        })
      ) ?? [];
      const drift = mine?.whole === true ? [] : ["everything is missing"];
      this.resource.handleChecked(key, ticket, drift, links, this.net.nowMs);
    });
  }

  protected forget(): void {
    const { net } = this;
    for (const request of this.#tickets.values()) {
      if (net.dice.chance(50)) request.fail("connection reset", net.dice.between([1, 20]));
    }
    this.#tickets = new Map();
    this.#applies = new Map();
    // Keys of a process that is gone are in the kernel still, unless it was rebooted; nobody knows them.
    for (const configured of this.kernel.values()) configured.keys = false;
  }

  protected remember(): void {
    this.resource = this.#makeResource();
    for (const [key, text] of this.journal) {
      this.resource.restore(key, JSON.parse(text), this.net.nowMs);
    }
  }

  #makeResource(): Resource {
    const offer = (): Offer => ({
      type: this.type,
      hostname: this.name,
      ipaddr: this.host,
      port: 265,
      os: "linux",
      mtu: 1500,
      capabilities: ["vxlan", "esp"],
      overlaysMax: this.overlaysMax,
    });
    const makeManager = this.type === "meta"
      ? (order: Order): Manager => new Manager(this.tools, order, null)
      : null;
    return new Resource(this.tools, offer, () => null, makeManager);
  }
}
