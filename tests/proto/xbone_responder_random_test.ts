/**
 * Anything in any order to a box and to a manager asked as a resource: src/proto/xbone/resource.ts never
 * throws, stays within its bounds, answers every ticket, and nothing is reserved in the end.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Output } from "../../src/proto/xbone/machine.ts";
import type { Body, Common } from "../../src/wire/xbone/messages.ts";
import {
  COMMON,
  config,
  invite,
  need,
  plan,
  Rig,
  type RigOptions,
  secretPlan,
  spec,
} from "./xbone_responder_rig.ts";

const SEEDS = 150;
const STEPS = 250;

/** Mulberry32: the same numbers for the same seed. */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

class Driver {
  rig: Rig;
  readonly #options: RigOptions;
  readonly #random: (below: number) => number;
  readonly #meta: boolean;
  /** Work of the box, and requests below, that have not ended. */
  #open: Output[] = [];
  #tickets = new Set<number>();

  constructor(seed: number, meta: boolean, readonly seen: Set<string>) {
    this.#random = randomOf(seed);
    this.#meta = meta;
    this.#options = { node: meta ? "sub" : "box", offer: { type: meta ? "meta" : "both" } };
    this.rig = new Rig(this.#options);
  }

  step(): void {
    const dice = this.#random(100);
    if (dice < 45) this.#request();
    else if (dice < 75) this.#end();
    else if (dice < 90) {
      this.#take(this.rig.pass(this.#random(this.#random(8) === 0 ? 90_000 : 3000)));
    } else if (dice < 97) this.#nonsense();
    else this.#restart();
    const views = this.rig.resource.list();
    assert.ok(views.length <= 2, "no more than it offers");
    for (const { state } of views) this.seen.add(state);
    assert.ok(this.rig.journal.size <= 2);
    assert.ok(this.#tickets.size <= 2 * 7 * 8, "no more requests wait than may");
  }

  /** All holds and leases end, and whoever is asked answers. */
  finish(): void {
    for (let turn = 0; turn < 400 && this.rig.resource.list().length > 0; turn++) {
      this.#take(this.rig.pass(20_000));
      for (let left = this.#open.length; left > 0; left--) this.#end();
    }
    assert.deepEqual(this.rig.resource.list(), []);
    assert.equal(this.rig.journal.size, 0);
    assert.equal(this.rig.resource.pollDeadline(), Infinity);
    assert.equal(this.#tickets.size, 0, "every request was answered");
  }

  #one<T>(values: readonly T[]): T {
    return values[this.#random(values.length)]!;
  }

  #common(): Common {
    return { ...COMMON, name: this.#one(["field", "lab", "yard"]) };
  }

  #request(): void {
    const from = this.#one(["om", "om", "om", "om", "om", "om2"]);
    const body = this.#body();
    if (body.verb === "invite" || body.verb === "release") {
      return this.#take(this.rig.datagram(body, from));
    }
    const outputs = this.rig.ask(body, from);
    this.#tickets.add(this.rig.ticket);
    this.#take(outputs);
  }

  #body(): Body {
    const common = this.#common();
    const none = { count: 0, os: ["any"] };
    switch (this.#random(2) === 0 ? this.#random(12) : this.#sensible(common.name)) {
      case 0:
      case 1:
      case 2:
        return this.#meta
          ? {
            ...invite({ host: none, router: none, meta: 1, subs: [need("west", 1, 1)] }),
            ...common,
          }
          : { ...invite(), ...common };
      case 3:
      case 4:
        return {
          ...common,
          verb: "select",
          type: this.#meta ? "meta" : this.#one(["host", "router"]),
          sub: this.#meta ? "west" : "",
          holdMs: this.#one([1000, 30_000, 1e9]),
        };
      case 5:
        return {
          ...common,
          verb: "dispatch",
          retry: 0,
          createOverlay: spec("west", ["h1"], this.#one([["r1"], ["r1"], ["r1", "r2"]])),
        };
      case 6:
      case 7: {
        const { name: overlay } = common;
        const make = this.#one([plan, (node: string) => secretPlan(node, 1)]);
        const plans = (this.#meta ? ["a", "b"] : ["box"]).map((node) => {
          const { visits, ...rest } = make(node);
          return { ...rest, overlay, visits: visits.map((one) => ({ ...one, network: overlay })) };
        });
        const generation = this.#one([1, 1, 1, 2, 3]);
        const leaseMs = this.#one([10_000, 60_000]);
        return { ...config(plans, { generation, leaseMs }), ...common };
      }
      case 8:
        return { ...common, verb: "refresh" };
      case 9:
        return { ...common, verb: "status", probes: 1, waitMs: this.#random(3000) };
      case 10:
        return { ...common, verb: "stop" };
      default:
        return { ...common, verb: "release", keep: this.#one([[], ["box", "sub"]]) };
    }
  }

  /** What a manager would ask next. */
  #sensible(name: string): number {
    const state = this.rig.resource.list().find((view) => view.name === name)?.state ?? "IDLE";
    switch (state) {
      case "IDLE":
        return 0;
      case "RESERVE":
        return 3;
      case "COMMITTED":
        return this.#meta ? this.#one([5, 6]) : 6;
      case "ACTIVE":
        return this.#one([6, 8, 9]);
      default:
        return 8;
    }
  }

  /** Something that was begun ends, well or not. */
  #end(): void {
    if (this.#open.length === 0) return;
    const [output] = this.#open.splice(this.#random(this.#open.length), 1);
    const { resource, nowMs } = this.rig;
    const fails = this.#random(6) === 0;
    switch (output?.kind) {
      case "apply":
      case "rekey":
        resource.handleApplied(output.key, fails ? { step: "link", reason: "no" } : null, nowMs);
        break;
      case "undo":
        resource.handleUndone(output.key, fails ? ["link"] : [], nowMs);
        break;
      case "check":
        resource.handleChecked(output.key, output.ticket, fails ? ["gone"] : [], [], nowMs);
        break;
      case "send":
        if (fails) resource.handleUnreachable(output.to.node, output.body, "refused", nowMs);
        else resource.handleAnswer(output.to.node, this.#answerTo(output.body), nowMs);
        break;
      case "multicast":
        if (output.body.verb === "invite") this.#answerInvite(output.body);
        break;
    }
    this.#take(this.rig.drain());
  }

  #answerInvite(body: Common): void {
    for (const node of ["a", "b"]) {
      this.rig.resource.handleAnswer(node, {
        ...body,
        verb: "ack-invite",
        type: "both",
        ...{ hostname: node, ipaddr: "192.0.2.1", port: 265, os: "linux", mtu: 1500 },
        ...{ capabilities: ["esp"], free: 1, guests: [] },
      }, this.rig.nowMs);
    }
  }

  #answerTo(body: Body): Body {
    const { application, name, version, level, epoch } = body;
    const common = { application, name, version, level, epoch };
    if (this.#random(8) === 0) {
      return { ...common, verb: "nack", of: body.verb, node: "a", step: "", reason: "no" };
    }
    switch (body.verb) {
      case "select":
        return { ...common, verb: "ack-select", type: body.type };
      case "config":
        return {
          ...common,
          verb: "ack-config",
          digest: body.digest,
          generation: body.generation,
        };
      case "refresh":
        return { ...common, verb: "ack-refresh", nodes: [] };
      case "status":
        return { ...common, verb: "ack-status", nodes: [], links: [] };
      default:
        return { ...common, verb: "ack-stop" };
    }
  }

  /** What nobody asked for. */
  #nonsense(): void {
    const { resource, nowMs } = this.rig;
    const key = `${this.#one(["field", "lab", "none"])}/${COMMON.epoch}`;
    switch (this.#random(5)) {
      case 0:
        resource.handleChecked(key, this.#random(500), ["x"], [], nowMs);
        break;
      case 1:
        resource.handleAnswer(this.#one(["a", "z"]), this.#answerTo(this.#body()), nowMs);
        break;
      case 2:
        resource.handleUnreachable(this.#one(["a", "z"]), this.#body(), "no", nowMs);
        break;
      case 3:
        resource.handleRequest("om", this.#answerTo(this.#body()), -1, "", nowMs);
        break;
      default:
        resource.handleDeadline(nowMs);
    }
    this.#take(this.rig.drain());
  }

  /** The process is killed; connections break. What was on the box is still there, work of the old is not. */
  #restart(): void {
    const { journal, nowMs } = this.rig;
    this.rig = new Rig(this.#options, journal);
    this.rig.nowMs = nowMs;
    this.#open = [];
    this.#tickets.clear();
    for (const [key, record] of [...journal]) this.rig.resource.restore(key, record, nowMs);
    this.#take(this.rig.drain());
  }

  #take(outputs: readonly Output[]): void {
    for (const output of outputs) {
      if (output.kind === "answer") {
        assert.ok(this.#tickets.delete(output.ticket), `ticket ${output.ticket} answered once`);
      } else if (output.kind !== "journal" && output.kind !== "event") this.#open.push(output);
    }
  }
}

for (const meta of [false, true]) {
  const who = meta ? "a manager asked as a resource" : "a box";
  Deno.test(`${who} survives anything in any order, and is free in the end: ${SEEDS} seeds`, () => {
    const seen = new Set<string>();
    for (let seed = 1; seed <= SEEDS; seed++) {
      const driver = new Driver(seed, meta, seen);
      try {
        for (let step = 0; step < STEPS; step++) driver.step();
        driver.finish();
      } catch (error) {
        throw new Error(`seed ${seed}`, { cause: error });
      }
    }
    const between = meta ? ["COMMITTING", "GATHER"] : [];
    const states = ["ACTIVE", "COMMITTED", "CONFIGURE", "RESERVE", "UNDO", ...between];
    assert.deepEqual([...seen].sort(), states.sort());
  });
}
