/**
 * One trial of the simulation: a world is set up, an overlay is asked for, things go wrong, and when all
 * timers, leases and deletions are over it is seen what is left, and what was told to the user.
 */
import assert from "node:assert/strict";
import { overlayKey, TIMERS, type Timers } from "../../src/proto/xbone/machine.ts";
import type { Body, SubSpec } from "../../src/wire/xbone/messages.ts";
import { Network, type Weather } from "./xbone_network.ts";
import {
  ManagerProcess,
  type Process,
  ResourceProcess,
  type Temper,
} from "./xbone_network_processes.ts";
import { node, plainOrder, RingDesigner, spec } from "./xbone_simulation_plans.ts";

/** What happens to whom. */
export interface Case {
  readonly name: string;
  /** Levels of sub-managers. */
  readonly levels: 0 | 1 | 2;
  /** Percent. */
  readonly udpLoss: number;
  readonly tcpLoss: number;
  /** Datagrams that come up to a minute late. */
  readonly udpLate: number;
  readonly applyFails: number;
  readonly undoFails: number;
  readonly applyMs: readonly [number, number];
  /** Which process dies, and if it comes back. */
  readonly dies: "nobody" | "manager" | "box" | "sub" | "any";
  readonly back: boolean;
  /** Managers that want the same boxes at the same time. */
  readonly managers: 1 | 2;
  readonly hold: "none" | "ready";
  /** The user cancels or destroys it at some time. */
  readonly cancelled: boolean;
  /** The manager is cut off from all others for a time. */
  readonly cutOff: boolean;
  /** The manager hears boxes of its sub-managers, and takes them. */
  readonly overlap: boolean;
  readonly revisit: boolean;
  /** The letter of the seed: after SELECT failed only RELEASE* goes out, a commitment has no end. */
  readonly onlyRelease: boolean;
  readonly timers: Partial<Timers>;
}

/** Nothing goes wrong. */
export const CLEAN: Case = {
  name: "clean",
  levels: 0,
  udpLoss: 0,
  tcpLoss: 0,
  udpLate: 0,
  applyFails: 0,
  undoFails: 0,
  applyMs: [20, 400],
  dies: "nobody",
  back: false,
  managers: 1,
  hold: "none",
  cancelled: false,
  cutOff: false,
  overlap: false,
  revisit: false,
  onlyRelease: false,
  timers: {},
};

/** What a trial showed. */
export interface Outcome {
  readonly ok: number;
  readonly failed: number;
  /** Neither was told: who should have is dead. */
  readonly untold: number;
  /** What is left where nothing should be. */
  readonly left: readonly string[];
  /** Told as ACTIVE while a node of it was not. */
  readonly inactive: readonly string[];
  /** Told as gone while a node that was not named had it, or had it long after its manager was back. */
  readonly misled: readonly string[];
  /** Overlays that are ACTIVE while a living box of theirs has given them up. */
  readonly degraded: number;
  readonly failures: readonly string[];
  readonly trace: readonly string[];
}

/** All timers and leases of what was begun are over then. */
const END_MS = 4_000_000;
/** Requests that come late are no later than this. */
const CALM_SECONDS = 6;

/** Runs one trial to its end. */
export function runTrial(kind: Case, seed: number, traced: boolean): Outcome {
  const trial = new Trial(kind, seed, traced);
  try {
    return trial.run();
  } catch (error) {
    const trace = trial.net.trace?.slice(-60).join("\n") ?? "";
    throw new Error(`${kind.name}, seed ${seed}: ${(error as Error).message}\n${trace}`, {
      cause: error,
    });
  }
}

class Trial {
  readonly net: Network;
  readonly temper: Temper;
  readonly managers: ManagerProcess[] = [];
  readonly resources = new Map<string, ResourceProcess>();
  readonly inactive: string[] = [];
  readonly misled: string[] = [];
  /** Instants of all that happens from outside. */
  #eventful = 0;
  #hosts = 0;
  #calm = 0;

  constructor(readonly kind: Case, seed: number, traced: boolean) {
    const weather: Weather = {
      udpLoss: kind.udpLoss,
      udpTwice: kind.udpLoss / 4,
      udpMs: [1, 30],
      udpLate: kind.udpLate,
      tcpLoss: kind.tcpLoss,
      tcpMs: [1, 20],
      sendsMax: 8,
    };
    this.net = new Network(seed, weather, traced);
    this.temper = {
      timers: { ...TIMERS, deleteForgetMs: 600_000, ...kind.timers },
      applyMs: kind.applyMs,
      applyFails: 0,
      undoFails: kind.undoFails,
      journalMs: [0, 3],
    };
  }

  run(): Outcome {
    const { net, kind } = this;
    const { dice } = net;
    const need = this.#setUp();
    if (kind.onlyRelease) this.#obeyTheLetter();
    this.managers.forEach((own, at) => {
      const startMs = at === 0 ? 0 : dice.below(3000);
      const manager = dice.chance(30) ? this.managers[0]! : own;
      this.#happens(startMs, () => this.#form(manager, `net-${at}`, need));
    });
    this.#kill();
    if (kind.cutOff) this.#cut();
    net.run(END_MS, () => this.#calmDown());
    if (!kind.onlyRelease && dice.chance(50)) this.#destroyAll();
    return this.#judge();
  }

  /** Who is there, who hears whom; what is wanted of them. */
  #setUp(): SubSpec {
    const { kind, net } = this;
    const { dice } = net;
    const rings = [1, 1, 3, 12];
    for (let at = 0; at < kind.managers; at++) {
      this.managers.push(new ManagerProcess(net, `om${at}`, this.#host(), this.temper));
    }
    const boxes = Array.from(
      { length: kind.levels > 0 || kind.revisit ? 3 : 6 },
      (_, at) => this.#box(`t${at}`, at < 2 ? "host" : at < 4 ? "router" : "both"),
    );
    for (const manager of this.managers) {
      for (const box of boxes) net.join(manager, box, dice.of(rings));
    }
    if (kind.levels === 0) {
      return spec("", [
        node("a", "host"),
        node("b", "router"),
        node("c", "router"),
        node("d", "host"),
      ]);
    }
    const west = this.#sub("west");
    const east = this.#sub("east");
    for (const manager of this.managers) {
      net.join(manager, west, dice.of(rings));
      net.join(manager, east, dice.of(rings));
    }
    const below = kind.levels === 1 ? [] : [this.#deep(west)];
    return spec("", [node("a", "host"), node("b", "router")], [
      spec("west", [node("x", "router"), node("y", "host")], below),
      spec("east", [node("z", "router")]),
    ]);
  }

  #deep(above: ResourceProcess): SubSpec {
    const deep = this.#sub("deep");
    this.net.join(above, deep, 1);
    return spec("deep", [node("u", "router"), node("v", "host")]);
  }

  /** A sub-manager with three boxes that only it hears. */
  #sub(name: string): ResourceProcess {
    const sub = this.#resource(`${name}-om`, "meta");
    for (const at of [0, 1, 2]) {
      const box = this.#box(`${name}${at}`, at === 0 ? "host" : "both");
      this.net.join(sub, box, at === 2 ? 3 : 1);
      if (this.kind.overlap && at === 2) this.net.join(this.managers[0]!, box, 1);
    }
    return sub;
  }

  #box(name: string, type: "host" | "router" | "both"): ResourceProcess {
    const box = this.#resource(name, type);
    box.applyFails = this.kind.applyFails > 0 && this.net.dice.chance(50)
      ? this.kind.applyFails
      : 0;
    return box;
  }

  #resource(name: string, type: "host" | "router" | "both" | "meta"): ResourceProcess {
    const room = this.kind.managers === 2 ? 1 : 4;
    const host = this.#host();
    const { net, temper, resources } = this;
    const process = new ResourceProcess(net, name, host, temper, type, room, resources);
    resources.set(name, process);
    return process;
  }

  #host(): string {
    return `192.0.2.${++this.#hosts}`;
  }

  #form(manager: ManagerProcess, name: string, need: SubSpec): void {
    if (!manager.up) return;
    const { kind, net } = this;
    const epoch = net.dice.hex(16);
    const { hold, revisit } = kind;
    // With the probes a node that is not ready would be seen by them too.
    const probe = net.dice.chance(60);
    const order = plainOrder({ name, epoch, need, hold, revisit, probe });
    const key = overlayKey(order.name, order.epoch);
    manager.onEvents.set(key, (event) => {
      if (event.event === "gone") this.#checkGone(key, event.orphans);
      if (event.event !== "reached") return;
      if (event.state === "READY" && kind.hold === "ready") this.#decide(manager, key);
      if (event.state === "ACTIVE") this.#checkActive(manager, key);
    });
    manager.form(order, new RingDesigner(order));
    if (!kind.cancelled) return;
    const cancelMs = net.nowMs +
      net.dice.below(net.dice.chance(80) ? 2500 * (1 + kind.levels) : 20_000);
    this.#happens(cancelMs, () => {
      manager.command(key, (machine) => machine.destroy(net.nowMs, "the user wants no more of it"));
    });
  }

  /** What the user of a held overlay does: goes on, changes the mind, or goes home. */
  #decide(manager: ManagerProcess, key: string): void {
    const wish = this.net.dice.below(3);
    if (wish === 2) return;
    this.#happens(
      this.net.nowMs + this.net.dice.below(20_000),
      () =>
        manager.command(key, (machine) => {
          if (wish === 0) machine.configure(this.net.nowMs);
          else machine.destroy(this.net.nowMs, "cancelled");
        }),
    );
  }

  /**
   * At the instant of telling: who is alive and plays a node must be ACTIVE. Whether its machine went down
   * meanwhile is found at the next REFRESH: then it is ACTIVE and has drifted.
   */
  #checkActive(manager: ManagerProcess, key: string): void {
    const pinned = manager.manager(key)!.record.pinned;
    assert.notEqual(pinned.length, 0);
    for (const { name, node } of pinned) {
      const box = this.resources.get(node)!;
      if (!box.up) continue;
      const whole = box.rebooted || box.kernel.get(key)?.whole === true;
      const active = box.states().includes(`${key} ACTIVE`) && whole;
      if (!active) this.inactive.push(`${name} on ${node}: ${box.states()}`);
    }
  }

  /** At the instant of telling: who has something of it left is named, or is below one who is. */
  #checkGone(key: string, orphans: readonly string[]): void {
    for (const resource of this.resources.values()) {
      const { name, kernel } = resource;
      if (orphans.includes(name) || (this.kind.levels > 0 && orphans.length > 0)) continue;
      if (kernel.has(key)) this.misled.push(`${name} still has ${key}`);
      // A late INVITE and a late SELECT after the deletion commit it once more, for as long as a hold.
      if (this.kind.udpLate > 0) continue;
      const state = boundState(resource, key);
      if (state !== "") this.misled.push(`${name} is ${state} still in ${key}`);
    }
  }

  /** Its journal tells a manager that is back whom to delete from: that does not last as long as a hold. */
  #checkSoon(process: Process): void {
    const { kind, net } = this;
    const isSub = process instanceof ResourceProcess && process.type === "meta";
    if (kind.udpLoss + kind.tcpLoss + kind.applyFails > 0) return;
    if (!isSub && !(process instanceof ManagerProcess && kind.levels === 0)) return;
    const { life } = process;
    net.after(10_000, () => {
      if (process.life !== life) return;
      for (const box of this.resources.values()) {
        if (isSub && !box.name.startsWith(process.name.replace("-om", ""))) continue;
        for (const { key, manager } of box.up ? box.resource.list() : []) {
          const wanted = isSub
            ? process.states().some((state) => state.startsWith(`${key} `))
            : process instanceof ManagerProcess && process.manager(key)?.state === "ACTIVE";
          const state = boundState(box, key);
          if (manager !== process.name || wanted || state === "") continue;
          this.misled.push(`${box.name} is ${state} long after`);
        }
      }
    });
  }

  #kill(): void {
    const { kind, net } = this;
    const { dice } = net;
    if (kind.dies === "nobody") return;
    const all = [...this.resources.values()];
    const candidates = {
      manager: this.managers,
      box: all.filter(({ type }) => type !== "meta"),
      sub: all.filter(({ type }) => type === "meta"),
      any: [...this.managers, ...all],
    }[kind.dies];
    for (let deaths = kind.back ? 1 + dice.below(3) : 1; deaths > 0; deaths--) {
      const victim = dice.of(candidates);
      const rise = (): void => {
        if (!kind.back) return;
        if (victim instanceof ResourceProcess && dice.chance(30)) victim.reboot();
        this.#happens(net.nowMs + dice.below(dice.chance(80) ? 5000 : 90_000), () => {
          victim.restart();
          this.#checkSoon(victim);
        });
      };
      if (dice.chance(50)) {
        victim.onDeath = rise;
        victim.outputsLeft = dice.below(this.#outputsOf(victim));
      } else {
        this.#happens(dice.below(dice.chance(80) ? 8000 : 60_000), () => {
          victim.kill();
          rise();
        });
      }
    }
  }

  /** About so many does a process until the overlay is ACTIVE. */
  #outputsOf(process: Process): number {
    if (process instanceof ManagerProcess) return 60 + 40 * this.kind.levels;
    return process instanceof ResourceProcess && process.type === "meta" ? 80 : 20;
  }

  #cut(): void {
    const { net, managers } = this;
    const startMs = net.dice.below(8000);
    this.#happens(startMs, () => void (net.cutOff = managers[0]!));
    this.#happens(startMs + 1000 + net.dice.below(120_000), () => void (net.cutOff = null));
  }

  /**
   * "T/O: send Release*" in the diagram of the OM, with no DELETE to who was selected, and COMMITTED, which
   * only a DELETE ends.
   */
  #obeyTheLetter(): void {
    this.net.meddle = (from, body): Body | null => {
      if (body.verb === "select") return { ...body, holdMs: this.temper.timers.holdMsMax };
      if (body.verb !== "stop" || !(from instanceof ManagerProcess)) return body;
      const story = from.stories.get(overlayKey(body.name, body.epoch))!;
      // A node that another took the place of is not told either.
      return story.failure === "" || story.failure.startsWith("WAIT_RD") ? null : body;
    };
  }

  #happens(atMs: number, run: () => void): void {
    this.#eventful++;
    this.net.at(atMs, () => {
      this.#eventful--;
      this.#calm = 0;
      run();
    });
  }

  #destroyAll(): void {
    for (const manager of this.managers) {
      for (const key of manager.stories.keys()) {
        if (manager.manager(key)?.state !== "ACTIVE") continue;
        manager.command(key, (machine) => machine.destroy(this.net.nowMs));
      }
    }
    this.#calm = 0;
    this.net.run(2 * END_MS, () => this.#calmDown());
  }

  #calmDown(): boolean {
    const settled = this.#eventful === 0 && this.#told() && this.#left().length === 0;
    this.#calm = settled ? this.#calm + 1 : 0;
    return this.#calm >= CALM_SECONDS;
  }

  /** Everybody who could tell has told. */
  #told(): boolean {
    return this.managers.every((manager) =>
      [...manager.stories].every(([key, story]) => {
        const state = manager.manager(key)?.state;
        return !manager.up || story.gone || state === undefined || state === "IDLE" ||
          state === "ACTIVE";
      })
    );
  }

  /** What is left where no living manager has it as ACTIVE. */
  #left(): string[] {
    const wanted = new Set<string>();
    const left: string[] = [];
    for (const manager of this.managers) {
      if (!manager.up) continue;
      for (const key of manager.journal.keys()) {
        const machine = manager.manager(key);
        if (machine?.state !== "ACTIVE") {
          left.push(`${manager.name}: ${key} in the journal`);
          continue;
        }
        for (const { node } of machine.record.selected) wanted.add(`${node}: ${key}`);
        for (const { node } of machine.record.pinned) wanted.add(`${node}: ${key}`);
        // Of a sub-manager below a sub-manager no record of level 0 tells.
        if (this.kind.levels === 2) wanted.add(`deep-om: ${key}`);
      }
    }
    for (const resource of this.resources.values()) {
      if (!resource.up) continue;
      for (const text of resource.left()) {
        const [name, key, state] = text.split(" ");
        if (!wanted.has(`${name} ${key}`)) left.push(text);
        else if (state !== "ACTIVE" && state !== "in") left.push(text);
      }
    }
    return left;
  }

  #degraded(): number {
    const active = this.managers.filter(({ up }) => up).flatMap((manager) =>
      [...manager.machines()].filter(({ state }) => state === "ACTIVE")
    );
    return active.filter(({ key, record }) =>
      record.pinned.some(({ node }) => {
        const box = this.resources.get(node)!;
        return box.up && !box.states().includes(`${key} ACTIVE`);
      })
    ).length;
  }

  #judge(): Outcome {
    let ok = 0;
    let failed = 0;
    let untold = 0;
    const failures: string[] = [];
    for (const manager of this.managers) {
      for (const [key, story] of manager.stories) {
        const succeeded = story.reached.includes("ACTIVE");
        // Later, when every lease was over while its manager was away.
        const isLost = story.failure.startsWith("ACTIVE ");
        assert.ok(
          !succeeded || story.failure === "" || isLost,
          `${key}: success and ${story.failure}`,
        );
        if (succeeded) ok++;
        else if (story.failure !== "") {
          failed++;
          failures.push(story.failure);
        } else untold++;
        const died = this.kind.dies === "manager" || this.kind.dies === "any";
        assert.ok(died || succeeded || story.failure !== "", `${key} is never told of`);
        // Who died after the last deletion and before telling has nothing to tell it from.
        assert.ok(died || story.failure === "" || story.gone, `${key} never goes`);
      }
    }
    return {
      ok,
      failed,
      untold,
      left: this.#left(),
      inactive: this.inactive,
      misled: this.misled,
      degraded: this.#degraded(),
      failures,
      trace: this.net.trace ?? [],
    };
  }
}

/** A state that only its manager, a hold or a lease ends; else empty. */
function boundState(resource: ResourceProcess, key: string): string {
  const bound = resource.states().find((text) => text.startsWith(`${key} `)) ?? "";
  return /(RESERVE|GATHER|UNDO)$/.test(bound) ? "" : bound.slice(key.length + 1);
}
