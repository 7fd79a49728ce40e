/** The rows (D) of table "For RD": a manager asked as a resource, src/proto/xbone/sub_responder.ts. @module */
import assert from "node:assert/strict";
import type { Output } from "../../src/proto/xbone/machine.ts";
import type {
  AckInvite,
  Body,
  Config,
  Invite,
  Nack,
  NodeState,
  SubNeed,
} from "../../src/wire/xbone/messages.ts";
import {
  answers,
  COMMON,
  config,
  invite,
  kinds,
  nack,
  need,
  plan,
  Rig,
  type RigOptions,
  secretPlan,
  spec,
} from "./xbone_responder_rig.ts";

const BELOW = { ...COMMON, level: 1 };
const STOP: Body = { ...COMMON, verb: "stop" };
const REFRESH: Body = { ...COMMON, verb: "refresh" };
const DISPATCH: Body = {
  ...COMMON,
  verb: "dispatch",
  retry: 0,
  createOverlay: spec("west", ["h1"], ["r1"]),
};

function subInvite(subs: readonly SubNeed[] = [need("west", 1, 1)]): Invite {
  const none = { count: 0, os: ["any"] };
  return invite({ host: none, router: none, meta: subs.length, subs });
}

function select(sub = "west"): Body {
  return { ...COMMON, verb: "select", type: "meta", sub, holdMs: 300_000 };
}

function ackInvite(type: AckInvite["type"] = "both"): AckInvite {
  return {
    ...BELOW,
    verb: "ack-invite",
    type,
    hostname: "x",
    ipaddr: "192.0.2.1",
    port: 265,
    os: "linux",
    mtu: 1500,
    capabilities: ["vxlan", "esp"],
    free: 1,
    guests: [],
  };
}

function nackOf(of: string, more: Partial<Nack> = {}): Nack {
  return { ...BELOW, verb: "nack", of, node: "a", step: "", reason: "no", ...more };
}

/** What goes out to boxes below, by verb: `select=>a`. */
function sent(outputs: readonly Output[], verb: Body["verb"]): string[] {
  return outputs.flatMap((output) =>
    output.kind === "send" && output.body.verb === verb ? [output.to.node] : []
  );
}

/** Without what only people see. */
function plainly(outputs: readonly Output[]): string[] {
  return kinds(outputs).filter((kind) => kind !== "event progress");
}

function ackConfig(outputs: readonly Output[], node: string): Body {
  const found = outputs.find((output) =>
    output.kind === "send" && output.to.node === node && output.body.verb === "config"
  );
  assert.ok(found?.kind === "send" && found.body.verb === "config");
  const { digest, generation } = found.body;
  return { ...BELOW, verb: "ack-config", digest, generation };
}

class SubRig extends Rig {
  constructor(options: RigOptions = {}, journal?: Map<string, unknown>) {
    super({ node: "sub", ...options, offer: { type: "meta", ...options.offer } }, journal);
  }

  /** Boxes answer INVITE, and T_INV is over. */
  gather(nodes = ["a", "b"]): Output[] {
    for (const node of nodes) this.answer(node, ackInvite());
    return this.pass(this.tools.timers.inviteMs);
  }

  allAnswer(outputs: readonly Output[], asked: Body["verb"], body: Body): Output[] {
    return sent(outputs, asked).flatMap((node) => this.answer(node, body));
  }
}

type Stage =
  | "GATHER"
  | "RESERVE"
  | "COMMITTING"
  | "COMMITTED"
  | "DISPATCHED"
  | "CONFIGURE"
  | "ACTIVE";

/** The rig at a stage, and the outputs of the last step to it. */
function subIn(stage: Stage, options: RigOptions = {}): { rig: SubRig; outputs: Output[] } {
  const rig = new SubRig(options);
  let outputs = rig.datagram(subInvite());
  if (stage === "GATHER") return { rig, outputs };
  outputs = rig.gather();
  if (stage === "RESERVE") return { rig, outputs };
  outputs = rig.ask(select());
  if (stage === "COMMITTING") return { rig, outputs };
  outputs = acked(rig, outputs);
  if (stage === "COMMITTED") return { rig, outputs };
  outputs = rig.ask(DISPATCH);
  if (stage === "DISPATCHED") return { rig, outputs };
  outputs = rig.ask(subConfig());
  if (stage === "CONFIGURE") return { rig, outputs };
  outputs = sent(outputs, "config").map((node) => rig.answer(node, ackConfig(outputs, node)))
    .flat();
  return { rig, outputs };
}

function acked(rig: SubRig, outputs: readonly Output[]): Output[] {
  return outputs.flatMap((output) =>
    output.kind === "send" && output.body.verb === "select"
      ? rig.answer(output.to.node, {
        ...BELOW,
        verb: "ack-select",
        type: output.body.type,
      })
      : []
  );
}

function subConfig(generation = 1): Config {
  const plans = [secretPlan("a", generation), secretPlan("b", generation)];
  return config(plans, { generation });
}

Deno.test("IDLE, INVITE (D): INVITE goes on one level below, with itself in the path; no answer yet", () => {
  const { rig, outputs } = subIn("GATHER");
  assert.deepEqual(plainly(outputs), ["invite*"]);
  assert.ok(outputs[0]?.kind === "multicast" && outputs[0].body.verb === "invite");
  const { level, path, host, router, holdMs } = outputs[0].body;
  assert.deepEqual([level, path, host.count, router.count], [1, ["om", "sub"], 1, 1]);
  assert.ok(holdMs >= 20_000, `held at least as long as asked: ${holdMs}`);
  assert.equal(rig.state, "GATHER");
});

Deno.test("GATHER (D), enough replies: ACK-INVITE with the guest list, T_RSV", () => {
  const { rig, outputs } = subIn("RESERVE");
  assert.deepEqual(plainly(outputs), ["invite*", "event reached", "ack-invite"]);
  const answer = outputs.find(({ kind }) => kind === "answer-invite");
  assert.ok(answer?.kind === "answer-invite" && answer.body.verb === "ack-invite");
  assert.equal(answer.body.type, "meta");
  assert.deepEqual(answer.body.guests, ["west"]);
  assert.equal(rig.state, "RESERVE");
  assert.equal(rig.resource.pollDeadline(), rig.nowMs + 20_000);
});

Deno.test("GATHER (D), INVITE again: nothing, the answer will come", () => {
  const { rig } = subIn("GATHER");
  assert.deepEqual(rig.datagram(subInvite()), []);
  assert.deepEqual(answers(rig.gather()), ["ack-invite"]);
});

Deno.test("GATHER (D), T_INV last and not enough: RELEASE*, silence, IDLE", () => {
  const { rig } = subIn("GATHER");
  rig.answer("a", ackInvite());
  const outputs = rig.pass(10_000);
  assert.deepEqual(answers(outputs), []);
  assert.ok(plainly(outputs).includes("release*"));
  assert.equal(rig.state, "IDLE");
  assert.equal(rig.resource.pollDeadline(), Infinity);
});

Deno.test("GATHER (D), SELECT: NACK stale", () => {
  const { rig } = subIn("GATHER");
  assert.match(nack(rig.ask(select())).reason, /GATHER/);
});

Deno.test("GATHER (D), RELEASE and DELETE: RELEASE*; DELETE: ACK-DELETE", () => {
  const { rig } = subIn("GATHER");
  assert.ok(plainly(rig.datagram({ ...COMMON, verb: "release", keep: [] })).includes("release*"));
  assert.equal(rig.state, "IDLE");
  const other = subIn("GATHER").rig;
  const outputs = plainly(other.ask(STOP));
  assert.ok(outputs.includes("release*") && outputs.includes("ack-stop"), outputs.join());
  assert.equal(other.state, "IDLE");
});

Deno.test("several needs: the largest is gathered for, those that it covers are offered too", () => {
  const rig = new SubRig();
  rig.datagram(subInvite([need("east", 1, 0), need("west", 1, 1), need("south", 0, 2)]));
  const outputs = rig.gather();
  const answer = outputs.find(({ kind }) => kind === "answer-invite");
  assert.ok(answer?.kind === "answer-invite" && answer.body.verb === "ack-invite");
  assert.deepEqual(answer.body.guests, ["west", "east"]);
  assert.match(nack(rig.ask(select("south"))).reason, /current value is west, east/);
  assert.match(
    nack(rig.ask({ ...COMMON, verb: "select", type: "host", sub: "", holdMs: 1 })).reason,
    /manager/,
  );
});

Deno.test("a need with pinned boxes: just these are selected, and without them there is silence", () => {
  const pinned = { ...need("west", 1, 1), router: { count: 1, os: ["any"], on: ["z"] } };
  const rig = new SubRig();
  rig.datagram(subInvite([pinned, need("east", 1, 1)]));
  const answer = rig.gather(["a", "b", "z"]).find(({ kind }) => kind === "answer-invite");
  assert.ok(answer?.kind === "answer-invite" && answer.body.verb === "ack-invite");
  assert.deepEqual(answer.body.guests, ["west", "east"]);
  assert.deepEqual(sent(rig.ask(select()), "select"), ["a", "z"]);
  const without = new SubRig({ timers: { rings: [1] } });
  without.datagram(subInvite([pinned]));
  without.gather(["a", "b"]);
  assert.equal(without.state, "IDLE");
});

Deno.test("several needs: a pinned box covers no need that is pinned to another one", () => {
  const on = (box: string) => ({ count: 1, os: ["any"], on: [box] });
  const rig = new SubRig();
  rig.datagram(subInvite([
    { ...need("west", 1, 1), router: on("a") },
    { ...need("east", 0, 1), router: on("b") },
  ]));
  const answer = rig.gather().find(({ kind }) => kind === "answer-invite");
  assert.ok(answer?.kind === "answer-invite" && answer.body.verb === "ack-invite");
  assert.deepEqual(answer.body.guests, ["west"]);
});

Deno.test("several needs: when there is not enough for the largest, a smaller one is gathered for", () => {
  const rig = new SubRig({ timers: { rings: [1] } });
  rig.datagram(subInvite([need("east", 1, 0), need("west", 5, 5)]));
  const first = rig.gather(["a"]);
  assert.deepEqual(answers(first), []);
  assert.ok(plainly(first).includes("invite*"));
  // It could overtake the answer to the new INVITE, and free who has just answered it.
  assert.ok(!plainly(first).includes("release*"));
  assert.equal(rig.state, "GATHER");
  const answer = rig.gather(["a"]).find(({ kind }) => kind === "answer-invite");
  assert.ok(answer?.kind === "answer-invite" && answer.body.verb === "ack-invite");
  assert.deepEqual(answer.body.guests, ["east"]);
});

Deno.test("RESERVE, SELECT (D): the journal, then SELECT to those below; the answer when all acked", () => {
  const { rig, outputs } = subIn("COMMITTING");
  assert.deepEqual(plainly(outputs), ["journal COMMITTING", "select=>a", "select=>b"]);
  assert.equal(rig.state, "COMMITTING");
  const select = outputs.find(({ kind }) => kind === "send");
  assert.ok(select?.kind === "send" && select.body.verb === "select");
  assert.ok(select.body.holdMs >= 300_000, "held at least as long as asked");
});

Deno.test("RESERVE, RELEASE, T_RSV and DELETE (D): RELEASE* below, free", () => {
  for (
    const end of [
      (rig: SubRig): Output[] => rig.datagram({ ...COMMON, verb: "release", keep: ["x"] }),
      (rig: SubRig): Output[] => rig.pass(20_000),
      (rig: SubRig): Output[] => rig.ask(STOP),
    ]
  ) {
    const { rig } = subIn("RESERVE");
    assert.ok(plainly(end(rig)).includes("release*"));
    assert.equal(rig.state, "IDLE");
  }
});

Deno.test("COMMITTING (D), all ACK-SELECT: RELEASE* with those who are kept, ACK-SELECT, T_COM", () => {
  const { rig, outputs } = subIn("COMMITTED");
  assert.deepEqual(plainly(outputs), ["release*", "event reached", "ack-select"]);
  assert.ok(
    outputs.some((output) =>
      output.kind === "multicast" && output.body.verb === "release" &&
      output.body.keep.join() === "a,b"
    ),
  );
  assert.equal(rig.state, "COMMITTED");
  assert.equal(rig.resource.pollDeadline(), rig.nowMs + 300_000);
});

Deno.test("COMMITTING (D), SELECT again: one answer to both tickets", () => {
  const { rig, outputs } = subIn("COMMITTING");
  assert.deepEqual(rig.ask(select()), []);
  assert.deepEqual(answers(acked(rig, outputs)), ["ack-select", "ack-select"]);
});

Deno.test("COMMITTING (D), NACK: DELETE below, NACK-SELECT names who refused, then IDLE", () => {
  const { rig } = subIn("COMMITTING");
  const outputs = rig.answer("a", nackOf("select", { reason: "no room" }));
  const refused = nack(outputs);
  assert.equal(refused.of, "select");
  assert.equal(refused.node, "a");
  assert.match(refused.reason, /no room/);
  assert.deepEqual(sent(outputs, "stop"), ["a", "b"]);
  assert.equal(rig.state, "UNDO");
  rig.answer("a", { ...BELOW, verb: "ack-stop" });
  assert.ok(plainly(rig.answer("b", { ...BELOW, verb: "ack-stop" })).includes("journal nothing"));
  assert.equal(rig.state, "IDLE");
  assert.equal(rig.journal.size, 0);
});

Deno.test("COMMITTING (D), T_SEL last: NACK-SELECT, DELETE below", () => {
  const { rig } = subIn("COMMITTING");
  const outputs = rig.pass(6000);
  assert.equal(nack(outputs).of, "select");
  assert.deepEqual(sent(outputs, "stop").slice(0, 2), ["a", "b"]);
});

Deno.test("COMMITTING (D), DELETE: DELETE below and wait, then ACK-DELETE", () => {
  const { rig } = subIn("COMMITTING");
  const outputs = rig.ask(STOP);
  assert.deepEqual(answers(outputs), ["nack select"]);
  const done = rig.allAnswer(outputs, "stop", { ...BELOW, verb: "ack-stop" });
  assert.deepEqual(answers(done), ["ack-stop"]);
  assert.equal(rig.state, "IDLE");
});

Deno.test("COMMITTED (D), DISPATCH: the spec is placed on those who are selected, ACK-DISPATCH", () => {
  const { rig, outputs } = subIn("DISPATCHED");
  const answer = outputs.find(({ kind }) => kind === "answer");
  assert.ok(answer?.kind === "answer" && answer.body.verb === "ack-dispatch");
  assert.deepEqual(
    answer.body.nodes.map(({ name, node }) => `${name} ${node}`).sort(),
    ["h1 a", "r1 b"],
  );
  assert.equal(rig.state, "COMMITTED");
  // It was lost: the same answer again; another spec is refused.
  assert.deepEqual(answers(rig.ask(DISPATCH)), ["ack-dispatch"]);
  const other = spec("west", ["h9"], ["r9"]);
  assert.match(
    nack(rig.ask({ ...COMMON, verb: "dispatch", retry: 1, createOverlay: other })).reason,
    /another/,
  );
});

Deno.test("COMMITTED (D), DISPATCH that does not fit: NACK-DISPATCH with the reason, DELETE below", () => {
  const { rig } = subIn("COMMITTED");
  const createOverlay = spec("west", ["h1", "h2", "h3"], ["r1"]);
  const outputs = rig.ask({ ...COMMON, verb: "dispatch", retry: 0, createOverlay });
  const refused = nack(outputs);
  assert.equal(refused.of, "dispatch");
  assert.ok(refused.reason.length > 10);
  assert.deepEqual(sent(outputs, "stop"), ["a", "b"]);
});

Deno.test("COMMITTED (D), T_COM and DELETE: DELETE below; DELETE: ACK-DELETE when all are undone", () => {
  const { rig } = subIn("COMMITTED");
  const late = rig.pass(300_000);
  assert.deepEqual(sent(late, "stop").slice(0, 2), ["a", "b"]);
  const other = subIn("DISPATCHED").rig;
  const outputs = other.ask(STOP);
  assert.deepEqual(answers(outputs), []);
  assert.deepEqual(
    answers(other.allAnswer(outputs, "stop", { ...BELOW, verb: "ack-stop" })),
    ["ack-stop"],
  );
});

Deno.test("COMMITTED (D), CONFIG before DISPATCH, or for others than are below: NACK", () => {
  const { rig } = subIn("COMMITTED");
  assert.match(nack(rig.ask(subConfig())).reason, /DISPATCH first/);
  const other = subIn("DISPATCHED").rig;
  assert.match(nack(other.ask(config([plan("a")]))).reason, /current value is b/);
  const three = [plan("a"), plan("b"), plan("c")];
  assert.match(nack(other.ask(config(three))).reason, /current value is c/);
  const twice = [plan("a"), plan("a"), plan("b")];
  assert.match(nack(other.ask(config(twice))).reason, /current value is a/);
  assert.equal(other.state, "COMMITTED");
});

Deno.test("COMMITTED (D), CONFIG: the journal without keys, then CONFIG to each box below", () => {
  const { rig, outputs } = subIn("CONFIGURE");
  assert.deepEqual(plainly(outputs).filter((kind) => !kind.startsWith("journal")), [
    "config=>a",
    "config=>b",
  ]);
  assert.equal(plainly(outputs)[0], "journal CONFIGURE");
  const first = outputs.find(({ kind }) => kind === "send");
  assert.ok(first?.kind === "send" && first.body.verb === "config");
  assert.equal(first.body.plans[0]?.associations[0]?.keyIn, "1".repeat(40));
  assert.equal(first.body.leaseMs, 60_000);
  assert.equal(rig.state, "CONFIGURE");
});

Deno.test("CONFIGURE (D), all ACK-CONFIG: ACK-CONFIG, T_LEASE", () => {
  const { rig, outputs } = subIn("ACTIVE");
  assert.deepEqual(answers(outputs), ["ack-config"]);
  assert.equal(rig.state, "ACTIVE");
  const written = plainly(outputs);
  assert.ok(written.lastIndexOf("journal ACTIVE") < written.indexOf("ack-config"));
  assert.deepEqual(rig.resource.list()[0]?.untilMs, rig.nowMs + 60_000);
});

Deno.test("CONFIGURE (D), NACK below: NACK-CONFIG with its node, step and reason; DELETE below", () => {
  const { rig } = subIn("CONFIGURE");
  const refusal = nackOf("config", { node: "deep", step: "link a-b", reason: "no device" });
  const outputs = rig.answer("a", refusal);
  const { node, step, reason } = nack(outputs);
  // "a" is a box, and so speaks for itself only.
  assert.deepEqual([node, step, reason], ["a", "link a-b", "no device"]);
  assert.deepEqual(sent(outputs, "stop"), ["a", "b"]);
});

Deno.test("CONFIGURE (D), T_CFG below: NACK-CONFIG, DELETE below", () => {
  const { rig } = subIn("CONFIGURE");
  const outputs = rig.pass(30_000);
  assert.equal(nack(outputs).of, "config");
  assert.ok(sent(outputs, "stop").length >= 2);
});

Deno.test("CONFIGURE (D), DELETE: DELETE below and wait, then ACK-DELETE", () => {
  const { rig } = subIn("CONFIGURE");
  const outputs = rig.ask(STOP);
  assert.deepEqual(answers(outputs), ["nack config"]);
  const done = rig.allAnswer(outputs, "stop", { ...BELOW, verb: "ack-stop" });
  assert.deepEqual(answers(done), ["ack-stop"]);
  assert.equal(rig.journal.size, 0);
});

Deno.test("ACTIVE (D), REFRESH: the last known states of all below; it refreshes them by itself", () => {
  const { rig } = subIn("ACTIVE");
  const states = (): readonly NodeState[] => {
    const [answer] = rig.ask(REFRESH);
    assert.ok(answer?.kind === "answer" && answer.body.verb === "ack-refresh");
    return answer.body.nodes;
  };
  assert.deepEqual(states().map(({ node, state }) => `${node} ${state}`), ["a ACTIVE", "b ACTIVE"]);
  assert.deepEqual(sent(rig.pass(10_000), "refresh"), ["a", "b"]);
  const drift = ["link r1-r2 is gone"];
  const known = { node: "a", state: "ACTIVE", drift, rekey: true };
  const other = { node: "elsewhere", state: "ACTIVE", drift: [], rekey: true };
  rig.answer("a", { ...BELOW, verb: "ack-refresh", nodes: [known, other] });
  assert.deepEqual(states(), [known, { node: "b", state: "ACTIVE", drift: [], rekey: false }]);
  for (let turn = 0; turn < 4; turn++) {
    rig.ask(REFRESH);
    rig.pass(10_000);
  }
  assert.equal(states()[1]?.state, "SILENT");
});

Deno.test("ACTIVE (D), STATUS: goes on at once, ACK-STATUS for all below", () => {
  const { rig } = subIn("ACTIVE");
  const outputs = rig.ask({ ...COMMON, verb: "status", probes: 2, waitMs: 1000 });
  assert.deepEqual(sent(outputs, "status"), ["a", "b"]);
  assert.deepEqual(answers(outputs), []);
  const joined = rig.ask({ ...COMMON, verb: "status", probes: 2, waitMs: 1000 });
  assert.deepEqual(plainly(joined), []);
  const link = {
    ...{ node: "a", link: "r1-r2", sent: 2, answered: 2, rttUs: 300 },
    ...{ rxBytes: 1, txBytes: 2, rxPackets: 3, txPackets: 4, errors: 0 },
  };
  const nodes = [{ node: "a", state: "ACTIVE", drift: [], rekey: false }];
  rig.answer("a", { ...BELOW, verb: "ack-status", nodes, links: [link] });
  const done = rig.pass(1000);
  assert.deepEqual(answers(done), ["ack-status", "ack-status"]);
  const answer = done.find(({ kind }) => kind === "answer");
  assert.ok(answer?.kind === "answer" && answer.body.verb === "ack-status");
  assert.deepEqual(answer.body.links, [link]);
  assert.deepEqual(answer.body.nodes.map(({ node, state }) => `${node} ${state}`), [
    "a ACTIVE",
    "b SILENT",
  ]);
});

Deno.test("ACTIVE (D), CONFIG of the same digest: ACK-CONFIG; of another one: NACK conflict", () => {
  const { rig } = subIn("ACTIVE");
  assert.deepEqual(answers(rig.ask(subConfig())), ["ack-config"]);
  assert.match(nack(rig.ask(config([plan("a"), plan("b")]))).reason, /conflict/);
});

Deno.test("ACTIVE (D), CONFIG of a greater generation: new keys go on; ACK-CONFIG when all have them", () => {
  const { rig } = subIn("ACTIVE");
  const outputs = rig.ask(subConfig(2));
  assert.deepEqual(sent(outputs, "config"), ["a", "b"]);
  assert.deepEqual(answers(outputs), []);
  assert.deepEqual(answers(rig.answer("a", ackConfig(outputs, "a"))), []);
  // Before b has answered still newer ones come.
  const newer = rig.ask(subConfig(3));
  assert.deepEqual(sent(newer, "config"), ["a", "b"]);
  rig.answer("a", ackConfig(newer, "a"));
  const done = rig.answer("b", ackConfig(newer, "b"));
  assert.deepEqual(answers(done), ["ack-config", "ack-config"]);
  assert.equal(rig.resource.list()[0]?.generation, 3);
});

Deno.test("ACTIVE (D), DELETE: DELETE below and wait, then ACK-DELETE", () => {
  const { rig } = subIn("ACTIVE");
  const outputs = rig.ask(STOP);
  assert.deepEqual(answers(outputs), []);
  assert.equal(plainly(outputs)[0], "journal UNDO");
  const done = rig.allAnswer(outputs, "stop", { ...BELOW, verb: "ack-stop" });
  assert.deepEqual(answers(done), ["ack-stop"]);
  assert.equal(rig.journal.size, 0);
  assert.equal(rig.state, "IDLE");
});

Deno.test("ACTIVE (D), DELETE that a box does not answer: NACK with the orphan, ACK when it is clean", () => {
  const { rig } = subIn("ACTIVE");
  rig.ask(STOP);
  rig.answer("a", { ...BELOW, verb: "ack-stop" });
  const outputs = rig.pass(6000);
  const refused = nack(outputs);
  assert.equal(refused.of, "stop");
  assert.match(refused.reason, /left is b/);
  assert.equal(rig.state, "UNDO");
  assert.match(nack(rig.ask(STOP)).reason, /left is b/);
  const again = rig.pass(30_000);
  assert.deepEqual(sent(again, "stop"), ["b"]);
  rig.answer("b", { ...BELOW, verb: "ack-stop" });
  assert.equal(rig.state, "IDLE");
  assert.equal(rig.journal.size, 0);
  assert.deepEqual(answers(rig.ask(STOP)), ["ack-stop"]);
});

Deno.test("ACTIVE (D), an orphan that never answers is forgotten at last", () => {
  const { rig } = subIn("ACTIVE");
  rig.ask(STOP);
  rig.pass(3_700_000);
  assert.equal(rig.state, "IDLE");
  assert.equal(rig.journal.size, 0);
  assert.equal(rig.resource.pollDeadline(), Infinity);
});

Deno.test("ACTIVE (D), T_LEASE: what is below is deleted", () => {
  const { rig } = subIn("ACTIVE");
  const outputs = rig.pass(60_000);
  assert.deepEqual(sent(outputs, "stop").slice(0, 2), ["a", "b"]);
  assert.equal(rig.state, "UNDO");
  assert.equal(rig.resource.counts.leasesOver, 1);
});

for (const stage of ["COMMITTING", "COMMITTED", "DISPATCHED", "CONFIGURE"] as const) {
  Deno.test(`restart (D) in ${stage}: DELETE to everybody who was sent SELECT, then nothing is left`, () => {
    const before = subIn(stage).rig;
    const rig = restarted(before);
    const outputs = rig.drain();
    assert.deepEqual(sent(outputs, "stop"), ["a", "b"]);
    assert.equal(rig.state, "UNDO");
    rig.allAnswer(outputs, "stop", { ...BELOW, verb: "ack-stop" });
    assert.equal(rig.state, "IDLE");
    assert.equal(rig.journal.size, 0);
  });
}

Deno.test("restart (D) in ACTIVE: refreshed at once, the lease starts again", () => {
  const before = subIn("ACTIVE").rig;
  before.pass(50_000);
  const rig = restarted(before);
  assert.deepEqual(sent(rig.drain(), "refresh"), ["a", "b"]);
  assert.equal(rig.state, "ACTIVE");
  assert.equal(rig.resource.list()[0]?.untilMs, rig.nowMs + 60_000);
  const [answer] = rig.ask(REFRESH);
  assert.ok(answer?.kind === "answer" && answer.body.verb === "ack-refresh");
  assert.equal(answer.body.nodes.length, 2);
  assert.deepEqual(answers(rig.ask(select())), ["ack-select"]);
  const outputs = rig.ask(STOP);
  assert.deepEqual(
    answers(rig.allAnswer(outputs, "stop", { ...BELOW, verb: "ack-stop" })),
    ["ack-stop"],
  );
});

Deno.test("restart (D) while orphans are left: they are deleted again", () => {
  const before = subIn("ACTIVE").rig;
  before.ask(STOP);
  before.answer("a", { ...BELOW, verb: "ack-stop" });
  before.pass(6000);
  const rig = restarted(before);
  assert.deepEqual(sent(rig.drain(), "stop"), ["b"]);
  rig.answer("b", { ...BELOW, verb: "ack-stop" });
  assert.equal(rig.journal.size, 0);
});

Deno.test("a journal (D) without what is below is given up", () => {
  const rig = new SubRig();
  rig.resource.restore("field/00112233445566aa", null, rig.nowMs);
  assert.ok(plainly(rig.drain()).includes("journal nothing"));
  assert.equal(rig.state, "IDLE");
});

Deno.test("an answer of somebody who was not asked changes nothing", () => {
  const { rig, outputs } = subIn("COMMITTING");
  rig.answer("c", { ...BELOW, verb: "ack-select", type: "host" });
  assert.equal(rig.state, "COMMITTING");
  acked(rig, outputs);
  assert.equal(rig.state, "COMMITTED");
});

function restarted(before: SubRig): SubRig {
  const rig = new SubRig({}, before.journal);
  rig.nowMs = before.nowMs;
  for (const [key, record] of [...rig.journal]) rig.resource.restore(key, record, rig.nowMs);
  return rig;
}
