/** A resource of the X-Bone control protocol on a desk: what is asked of it, and what comes out. @module */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  type Acl,
  type MachineTools,
  type Offer,
  type Output,
  overlayKey,
  type ResponderState,
  TIMERS,
} from "../../src/proto/xbone/machine.ts";
import { Manager } from "../../src/proto/xbone/manager.ts";
import { planDigest } from "../../src/proto/xbone/plan_digest.ts";
import { Resource } from "../../src/proto/xbone/resource.ts";
import type {
  Body,
  Common,
  Config,
  Invite,
  Nack,
  SubNeed,
  SubSpec,
} from "../../src/wire/xbone/messages.ts";
import type { NodePlan } from "../../src/wire/xbone/node_plan.ts";

export const EPOCH = "00112233445566aa";
export const COMMON: Common = {
  application: "overlay",
  name: "field",
  version: "1",
  level: 0,
  epoch: EPOCH,
};
export const KEY = overlayKey("field", EPOCH);

/** The hash that plans are digested with. */
export function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

export function offerOf(more: Partial<Offer> = {}): Offer {
  return {
    type: "both",
    hostname: "box.example",
    ipaddr: "192.0.2.1",
    port: 265,
    os: "linux",
    mtu: 1500,
    capabilities: ["vxlan", "esp", "tbf", "script", "hosts"],
    overlaysMax: 2,
    ...more,
  };
}

export function invite(more: Partial<Invite> = {}): Invite {
  return {
    ...COMMON,
    verb: "invite",
    host: { count: 1, os: ["any"] },
    router: { count: 1, os: ["linux"] },
    meta: 0,
    subs: [],
    routing: "static",
    encryption: "none",
    qos: false,
    script: null,
    ttl: 1,
    replyTo: "",
    path: ["om"],
    holdMs: 20_000,
    ...more,
  };
}

export function plan(node = "box", more: Partial<NodePlan> = {}): NodePlan {
  return {
    overlay: "field",
    epoch: EPOCH,
    node,
    visits: [{
      name: "r1",
      network: more.overlay ?? "field",
      role: "router",
      address: "10.100.0.1",
      prefix: "10.100.0.0/16",
      links: [],
      routes: [],
    }],
    associations: [],
    endpoints: [],
    names: [],
    peers: null,
    script: null,
    ...more,
  };
}

/** With an SA whose keys are of this generation. */
export function secretPlan(node: string, generation: number): NodePlan {
  const digit = String(generation % 10);
  return plan(node, {
    visits: [{
      ...plan().visits[0]!,
      links: [{
        name: "r1-r2",
        vni: 5,
        port: 4790,
        local: "192.0.2.1",
        remote: "192.0.2.2",
        mtu: 1400,
        address: "10.100.200.0",
        peerAddress: "10.100.200.1",
        peer: "r2",
        peerNode: "other",
        rateBits: 0,
      }],
    }],
    associations: [{
      local: "192.0.2.1",
      remote: "192.0.2.2",
      port: 4790,
      spiIn: 1000,
      spiOut: 1001,
      keyIn: digit.repeat(40),
      keyOut: digit.repeat(39) + "a",
    }],
  });
}

export function config(plans: readonly NodePlan[] = [plan()], more: Partial<Config> = {}): Config {
  const digest = planDigest(plans, sha256);
  return { ...COMMON, verb: "config", digest, generation: 1, leaseMs: 60_000, plans, ...more };
}

export function need(name: string, hosts: number, routers: number): SubNeed {
  return {
    name,
    host: { count: hosts, os: ["any"] },
    router: { count: routers, os: ["any"] },
    subs: [],
  };
}

export function spec(name: string, hosts: readonly string[], routers: readonly string[]): SubSpec {
  return {
    name,
    mode: "control",
    nodes: [
      ...hosts.map((one) => ({ name: one, role: "host" as const, os: ["any"], on: "" })),
      ...routers.map((one) => ({ name: one, role: "router" as const, os: ["any"], on: "" })),
    ],
    subs: [],
  };
}

export interface RigOptions {
  readonly offer?: Partial<Offer>;
  readonly acl?: Acl;
  readonly node?: string;
  readonly timers?: Partial<MachineTools["timers"]>;
}

/** One resource, its clock, and the journal on its disk. */
export class Rig {
  nowMs = 1_000_000;
  readonly tools: MachineTools;
  readonly resource: Resource;
  readonly offer: Offer;
  journal: Map<string, unknown>;
  #ticket = 0;

  constructor(
    { offer = {}, acl = () => null, node = "box", timers = {} }: RigOptions = {},
    journal = new Map<string, unknown>(),
  ) {
    this.tools = { node, timers: { ...TIMERS, ...timers }, sha256 };
    this.offer = offerOf(offer);
    this.journal = journal;
    const makeManager = this.offer.type === "meta"
      ? (order: ConstructorParameters<typeof Manager>[1]) => new Manager(this.tools, order, null)
      : null;
    this.resource = new Resource(this.tools, () => this.offer, acl, makeManager);
  }

  /** Everything that comes out; the journal is kept, and no key is in it. */
  drain(): Output[] {
    const outputs: Output[] = [];
    for (let output; (output = this.resource.pollOutput()) !== null;) {
      if (output.kind === "journal") {
        const text = JSON.stringify(output.record);
        assert.doesNotMatch(text, /"key(In|Out)?":"[^"]+"/);
        if (output.record === null) this.journal.delete(output.key);
        else this.journal.set(output.key, JSON.parse(text));
      }
      outputs.push(output);
    }
    return outputs;
  }

  datagram(body: Body, from = "om", replyTo = "192.0.2.9:265"): Output[] {
    this.resource.handleRequest(from, body, -1, replyTo, this.nowMs);
    return this.drain();
  }

  /** A request over a connection; its ticket is {@linkcode ticket}. */
  ask(body: Body, from = "om"): Output[] {
    this.resource.handleRequest(from, body, ++this.#ticket, "", this.nowMs);
    return this.drain();
  }

  get ticket(): number {
    return this.#ticket;
  }

  answer(from: string, body: Body): Output[] {
    this.resource.handleAnswer(from, body, this.nowMs);
    return this.drain();
  }

  applied(failure: { step: string; reason: string } | null = null): Output[] {
    this.resource.handleApplied(KEY, failure, this.nowMs);
    return this.drain();
  }

  undone(left: readonly string[] = []): Output[] {
    this.resource.handleUndone(KEY, left, this.nowMs);
    return this.drain();
  }

  checked(ticket: number, drift: readonly string[] = []): Output[] {
    this.resource.handleChecked(KEY, ticket, drift, [], this.nowMs);
    return this.drain();
  }

  /** Time passes, deadline by deadline. */
  pass(ms: number): Output[] {
    const outputs: Output[] = [];
    const endMs = this.nowMs + ms;
    for (let turn = 0; this.resource.pollDeadline() <= endMs; turn++) {
      assert.ok(turn < 10_000, "a deadline stays armed");
      this.nowMs = Math.max(this.nowMs, this.resource.pollDeadline());
      this.resource.handleDeadline(this.nowMs);
      outputs.push(...this.drain());
    }
    this.nowMs = endMs;
    return outputs;
  }

  get state(): ResponderState {
    return this.resource.list().find(({ key }) => key === KEY)?.state ?? "IDLE";
  }

  /** The same box after its process was killed: only the journal is left. */
  restarted(options: RigOptions = {}): Rig {
    const next = new Rig({ node: this.tools.node, offer: this.offer, ...options }, this.journal);
    next.nowMs = this.nowMs;
    for (const [key, record] of this.journal) next.resource.restore(key, record, this.nowMs);
    return next;
  }
}

/** On the way to a state, and there. */
export function boxIn(state: ResponderState, options: RigOptions = {}, plans = [plan()]): Rig {
  const rig = new Rig(options);
  if (state === "IDLE") return rig;
  rig.datagram(invite());
  if (state === "RESERVE") return rig;
  rig.ask({ ...COMMON, verb: "select", type: "router", sub: "", holdMs: 120_000 });
  if (state === "COMMITTED") return rig;
  rig.ask(config(plans));
  if (state === "CONFIGURE") return rig;
  rig.applied();
  if (state === "ACTIVE") return rig;
  rig.ask({ ...COMMON, verb: "stop" });
  return rig;
}

/** What was answered to the requests with tickets, in short: `ack-select`, `nack config`. */
export function answers(outputs: readonly Output[]): string[] {
  return outputs.flatMap((output) => {
    if (output.kind !== "answer" && output.kind !== "answer-invite") return [];
    const { body } = output;
    return [body.verb === "nack" ? `nack ${body.of}` : body.verb];
  });
}

/** The kinds of what came out, in order. */
export function kinds(outputs: readonly Output[]): string[] {
  return outputs.map((output) => {
    if (output.kind === "journal") {
      const record = output.record as { state: string } | null;
      return `journal ${record?.state ?? "nothing"}`;
    }
    if (output.kind === "answer" || output.kind === "answer-invite") return answers([output])[0]!;
    if (output.kind === "multicast") return `${output.body.verb}*`;
    if (output.kind === "send") return `${output.body.verb}=>${output.to.node}`;
    if (output.kind === "event") return `event ${output.event.event}`;
    return output.kind;
  });
}

/** The one refusal among them. */
export function nack(outputs: readonly Output[]): Nack {
  const found = outputs.flatMap((output) =>
    (output.kind === "answer" || output.kind === "answer-invite") && output.body.verb === "nack"
      ? [output.body]
      : []
  );
  assert.equal(found.length, 1, `one nack: ${answers(outputs)}`);
  return found[0]!;
}
