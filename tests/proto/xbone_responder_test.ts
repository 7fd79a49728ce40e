/** The rows of table "For RD" without those marked (D): src/proto/xbone/responder.ts. @module */
import assert from "node:assert/strict";
import { TIMERS } from "../../src/proto/xbone/machine.ts";
import type { Body, Select } from "../../src/wire/xbone/messages.ts";
import {
  answers,
  boxIn,
  COMMON,
  config,
  invite,
  KEY,
  kinds,
  nack,
  plan,
  Rig,
  secretPlan,
  spec,
} from "./xbone_responder_rig.ts";

const SELECT: Select = { ...COMMON, verb: "select", type: "router", sub: "", holdMs: 120_000 };
const STOP: Body = { ...COMMON, verb: "stop" };
const REFRESH: Body = { ...COMMON, verb: "refresh" };
const STATUS: Body = { ...COMMON, verb: "status", probes: 3, waitMs: 1000 };
const DISPATCH: Body = {
  ...COMMON,
  verb: "dispatch",
  retry: 0,
  createOverlay: spec("west", ["h1"], []),
};
const RELEASE: Body = { ...COMMON, verb: "release", keep: [] };

Deno.test("IDLE, INVITE: reserves, answers ACK-INVITE to who sent it, T_RSV ends it", () => {
  const rig = new Rig();
  const [answer] = rig.datagram(invite());
  assert.ok(answer?.kind === "answer-invite" && answer.body.verb === "ack-invite");
  assert.equal(answer.to, "192.0.2.9:265");
  assert.equal(answer.body.type, "both");
  assert.equal(answer.body.free, 2);
  assert.equal(rig.state, "RESERVE");
  rig.pass(19_999);
  assert.equal(rig.state, "RESERVE");
  rig.pass(1);
  assert.equal(rig.state, "IDLE");
  assert.equal(rig.resource.counts.holdsOver, 1);
  assert.equal(rig.resource.pollDeadline(), Infinity);
});

Deno.test("INVITE that names where answers go is answered there", () => {
  const [answer] = new Rig().datagram(invite({ replyTo: "192.0.2.77:1265" }));
  assert.ok(answer?.kind === "answer-invite");
  assert.equal(answer.to, "192.0.2.77:1265");
});

Deno.test("T_RSV and T_COM are what was asked for, and no more than the box grants", () => {
  const rig = new Rig({ timers: { holdMsMax: 5000 } });
  rig.datagram(invite({ holdMs: 1e12 }));
  assert.equal(rig.resource.pollDeadline(), rig.nowMs + 5000);
  rig.ask({ ...SELECT, holdMs: 1e12 });
  assert.equal(rig.resource.pollDeadline(), rig.nowMs + 5000);
  rig.pass(5000);
  assert.equal(rig.state, "IDLE");
  rig.datagram(invite({ holdMs: 1000 }));
  rig.ask({ ...SELECT, holdMs: 3000 });
  assert.equal(rig.resource.pollDeadline(), rig.nowMs + 3000);
});

for (const body of [SELECT, config(), DISPATCH, REFRESH, STATUS]) {
  Deno.test(`IDLE, ${body.verb.toUpperCase()}: NACK stale, names this node`, () => {
    const rig = new Rig();
    const refused = nack(rig.ask(body));
    assert.equal(refused.of, body.verb);
    assert.equal(refused.node, "box");
    assert.match(refused.reason, /stale|no manager/);
    assert.equal(rig.state, "IDLE");
    assert.equal(rig.resource.counts.nacks, 1);
  });
}

Deno.test("IDLE, DELETE: ACK-DELETE, however often", () => {
  const rig = new Rig();
  assert.deepEqual(kinds(rig.ask(STOP)), ["ack-stop"]);
  assert.deepEqual(kinds(rig.ask(STOP)), ["ack-stop"]);
});

Deno.test("IDLE, RELEASE: nothing", () => {
  const rig = new Rig();
  assert.deepEqual(rig.datagram(RELEASE), []);
  assert.equal(rig.resource.counts.unexpected, 0);
});

Deno.test("RESERVE, INVITE of the same epoch: ACK-INVITE again, T_RSV is not restarted", () => {
  const rig = boxIn("RESERVE");
  const untilMs = rig.resource.pollDeadline();
  rig.pass(5000);
  const again = rig.datagram(invite({ ttl: 4 }));
  assert.deepEqual(kinds(again), ["ack-invite"]);
  assert.ok(again[0]?.kind === "answer-invite" && again[0].body.verb === "ack-invite");
  assert.equal(again[0].body.free, 2);
  assert.equal(rig.resource.pollDeadline(), untilMs);
});

Deno.test("RESERVE, SELECT: commits, ACK-SELECT, T_COM", () => {
  const rig = boxIn("RESERVE");
  const outputs = rig.ask(SELECT);
  assert.deepEqual(outputs, [{
    kind: "answer",
    ticket: rig.ticket,
    body: { ...COMMON, verb: "ack-select", type: "router" },
  }]);
  assert.equal(rig.state, "COMMITTED");
  assert.equal(rig.resource.pollDeadline(), rig.nowMs + 120_000);
});

Deno.test("RESERVE, SELECT as what it does not offer: NACK, it stays reserved", () => {
  const rig = new Rig({ offer: { type: "router" } });
  rig.datagram(invite());
  assert.match(nack(rig.ask({ ...SELECT, type: "host" })).reason, /current value is router/);
  assert.match(nack(rig.ask({ ...SELECT, type: "meta" })).reason, /current value is router/);
  assert.equal(rig.state, "RESERVE");
  assert.deepEqual(answers(rig.ask(SELECT)), ["ack-select"]);
});

Deno.test("RESERVE, RELEASE: free, unless it is kept", () => {
  const rig = boxIn("RESERVE");
  assert.deepEqual(rig.datagram({ ...RELEASE, keep: ["a", "box"] }), []);
  assert.equal(rig.state, "RESERVE");
  assert.deepEqual(rig.datagram({ ...RELEASE, keep: ["a", "boxes"] }), []);
  assert.equal(rig.state, "IDLE");
});

Deno.test("RESERVE, DELETE: free, ACK-DELETE", () => {
  const rig = boxIn("RESERVE");
  assert.deepEqual(kinds(rig.ask(STOP)), ["ack-stop"]);
  assert.equal(rig.state, "IDLE");
});

for (const body of [config(), REFRESH, STATUS, DISPATCH]) {
  Deno.test(`RESERVE, ${body.verb.toUpperCase()}: NACK, it stays reserved`, () => {
    const rig = boxIn("RESERVE");
    assert.equal(nack(rig.ask(body)).of, body.verb);
    assert.equal(rig.state, "RESERVE");
  });
}

Deno.test("COMMITTED, SELECT of the same epoch: ACK-SELECT again, T_COM is not restarted", () => {
  const rig = boxIn("COMMITTED");
  const untilMs = rig.resource.pollDeadline();
  rig.pass(1000);
  assert.deepEqual(kinds(rig.ask(SELECT)), ["ack-select"]);
  assert.equal(rig.resource.pollDeadline(), untilMs);
  assert.match(nack(rig.ask({ ...SELECT, type: "host" })).reason, /current value is router/);
});

Deno.test("COMMITTED, RELEASE: nothing, kept or not", () => {
  const rig = boxIn("COMMITTED");
  assert.deepEqual(rig.datagram(RELEASE), []);
  assert.equal(rig.state, "COMMITTED");
});

Deno.test("COMMITTED, INVITE again: not answered", () => {
  const rig = boxIn("COMMITTED");
  assert.deepEqual(rig.datagram(invite()), []);
  assert.equal(rig.resource.counts.unexpected, 1);
});

Deno.test("COMMITTED, T_COM: free", () => {
  const rig = boxIn("COMMITTED");
  assert.deepEqual(rig.pass(120_000), []);
  assert.equal(rig.state, "IDLE");
});

Deno.test("COMMITTED, DELETE: free, ACK-DELETE", () => {
  const rig = boxIn("COMMITTED");
  assert.deepEqual(kinds(rig.ask(STOP)), ["ack-stop"]);
  assert.equal(rig.state, "IDLE");
});

Deno.test("COMMITTED, DISPATCH to a box: NACK", () => {
  const rig = boxIn("COMMITTED");
  assert.match(nack(rig.ask(DISPATCH)).reason, /no manager/);
  assert.equal(rig.state, "COMMITTED");
});

Deno.test("COMMITTED, CONFIG: the journal first, then the box; the answer when it is done", () => {
  const rig = boxIn("COMMITTED");
  const outputs = rig.ask(config());
  assert.deepEqual(kinds(outputs), ["journal CONFIGURE", "apply"]);
  assert.deepEqual(outputs[1], { kind: "apply", key: KEY, plan: plan(), generation: 1 });
  assert.equal(rig.state, "CONFIGURE");
  const done = rig.applied();
  assert.deepEqual(kinds(done), ["journal ACTIVE", "ack-config"]);
  assert.deepEqual(done[1], {
    kind: "answer",
    ticket: rig.ticket,
    body: { ...COMMON, verb: "ack-config", digest: config().digest, generation: 1 },
  });
  assert.equal(rig.state, "ACTIVE");
  assert.equal(rig.resource.pollDeadline(), rig.nowMs + 60_000);
});

Deno.test("COMMITTED, CONFIG with keys: they go to the box and not into the journal", () => {
  const rig = boxIn("COMMITTED");
  const outputs = rig.ask(config([secretPlan("box", 7)])); // drain() looks for keys
  const apply = outputs.find(({ kind }) => kind === "apply");
  assert.ok(apply?.kind === "apply");
  assert.equal(apply.plan.associations[0]?.keyIn, "7".repeat(40));
});

Deno.test("COMMITTED, CONFIG whose digest is another one: NACK, nothing is done", () => {
  const rig = boxIn("COMMITTED");
  const outputs = rig.ask(config([plan()], { digest: "0".repeat(64) }));
  assert.match(nack(outputs).reason, /digest/);
  assert.deepEqual(kinds(outputs), ["nack config"]);
  assert.equal(rig.state, "COMMITTED");
});

for (
  const [what, plans, reason] of [
    ["for another node", [plan("other")], /other/],
    ["for two nodes", [plan(), plan("other")], /current value is 2/],
    ["for none", [], /current value is 0/],
    ["of another overlay", [plan("box", { overlay: "other" })], /another overlay/],
    ["of another epoch", [plan("box", { epoch: "ffffffffffffffff" })], /another overlay/],
    [
      "with an address that is none",
      [plan("box", { visits: [{ ...plan().visits[0]!, address: "10.100.0.256" }] })],
      /10\.100\.0\.256/,
    ],
  ] as const
) {
  Deno.test(`COMMITTED, CONFIG ${what}: NACK, nothing is done`, () => {
    const rig = boxIn("COMMITTED");
    const outputs = rig.ask(config(plans));
    assert.deepEqual(kinds(outputs), ["nack config"]);
    assert.match(nack(outputs).reason, reason);
    assert.equal(rig.state, "COMMITTED");
  });
}

Deno.test("CONFIG of a second overlay whose addresses the box has already: NACK that names both", () => {
  const rig = boxIn("ACTIVE");
  const other = { name: "other", epoch: "ffffffffffffffff" };
  rig.datagram(invite(other));
  rig.ask({ ...SELECT, ...other });
  const mine = plan("box", { overlay: "other", epoch: other.epoch });
  const { reason } = nack(rig.ask(config([mine], other)));
  assert.match(reason, /overlay field.*10\.100\.0\.0\/16/);
  const apart = { ...mine.visits[0]!, address: "10.101.0.1", prefix: "10.101.0.0/16" };
  const outputs = rig.ask(config([{ ...mine, visits: [apart] }], other));
  assert.deepEqual(kinds(outputs), ["journal CONFIGURE", "apply"]);
});

Deno.test("CONFIG with a script: only the one that the signed INVITE named", () => {
  const named = { name: "abone", script: "start.sh", sha256: "" };
  const withScript = (script: string): Body =>
    config([plan("box", { script: { name: "abone", script, sha256: "", deadlineMs: 1000 } })]);
  const rig = new Rig();
  rig.datagram(invite({ script: named }));
  rig.ask(SELECT);
  assert.match(nack(rig.ask(withScript("other.sh"))).reason, /current value is start\.sh/);
  assert.deepEqual(kinds(rig.ask(withScript("start.sh"))), ["journal CONFIGURE", "apply"]);
  const other = boxIn("COMMITTED");
  assert.match(nack(other.ask(withScript("start.sh"))).reason, /current value is none/);
});

Deno.test("CONFIGURE, a step failed: NACK-CONFIG with step and reason, it is undone", () => {
  const rig = boxIn("CONFIGURE");
  const outputs = rig.applied({ step: "link a-b", reason: "no device" });
  assert.deepEqual(kinds(outputs), ["nack config", "journal UNDO", "undo"]);
  const { node, step, reason } = nack(outputs);
  assert.deepEqual([node, step, reason], ["box", "link a-b", "no device"]);
  assert.equal(rig.state, "UNDO");
  assert.deepEqual(kinds(rig.undone()), ["journal nothing"]);
  assert.equal(rig.state, "IDLE");
});

Deno.test("CONFIGURE, T_CFG: NACK-CONFIG, it is undone", () => {
  const rig = boxIn("CONFIGURE");
  const outputs = rig.pass(TIMERS.configMs * TIMERS.configTries);
  assert.deepEqual(kinds(outputs), ["nack config", "journal UNDO", "undo"]);
  assert.match(nack(outputs).reason, /too long/);
  // The apply ends late: it changes nothing.
  assert.deepEqual(rig.applied(), []);
  assert.deepEqual(kinds(rig.undone()), ["journal nothing"]);
});

Deno.test("CONFIGURE, DELETE: the box undoes what it has done, then ACK-DELETE", () => {
  const rig = boxIn("CONFIGURE");
  assert.deepEqual(kinds(rig.ask(STOP)), ["nack config", "journal UNDO", "undo"]);
  assert.deepEqual(rig.applied({ step: "link a-b", reason: "stopped" }), []);
  assert.deepEqual(kinds(rig.undone()), ["journal nothing", "ack-stop"]);
  assert.equal(rig.state, "IDLE");
});

Deno.test("CONFIGURE, CONFIG of the same digest: one answer, to every ticket that waits", () => {
  const rig = boxIn("CONFIGURE");
  assert.deepEqual(rig.ask(config()), []);
  const done = rig.applied();
  assert.deepEqual(
    done.flatMap((output) => output.kind === "answer" ? [output.ticket] : []),
    [rig.ticket - 1, rig.ticket],
  );
  assert.deepEqual(answers(done), ["ack-config", "ack-config"]);
});

Deno.test("CONFIGURE, CONFIG of the same digest for ever: the oldest are refused", () => {
  const rig = boxIn("CONFIGURE");
  let refused = 0;
  for (let turn = 0; turn < 20; turn++) refused += rig.ask(config()).length;
  assert.equal(answers(rig.applied()).length + refused, 21);
  assert.equal(refused, 13);
});

Deno.test("CONFIGURE, CONFIG of another digest or generation: NACK conflict", () => {
  const rig = boxIn("CONFIGURE");
  const other = plan("box", { names: [{ address: "10.100.0.1", name: "r1.field" }] });
  assert.match(nack(rig.ask(config([other]))).reason, /conflict/);
  assert.match(nack(rig.ask(config([plan()], { generation: 2 }))).reason, /conflict/);
  assert.equal(rig.state, "CONFIGURE");
});

Deno.test("CONFIGURE, REFRESH and STATUS: NACK; RELEASE: nothing; SELECT: ACK-SELECT", () => {
  const rig = boxIn("CONFIGURE");
  assert.deepEqual(answers(rig.ask(REFRESH)), ["nack refresh"]);
  assert.deepEqual(answers(rig.ask(STATUS)), ["nack status"]);
  assert.deepEqual(rig.datagram(RELEASE), []);
  assert.deepEqual(answers(rig.ask(SELECT)), ["ack-select"]);
  assert.equal(rig.state, "CONFIGURE");
});

Deno.test("ACTIVE, CONFIG of the same digest: the box is looked at, then ACK-CONFIG", () => {
  const rig = boxIn("ACTIVE");
  const outputs = rig.ask(config());
  assert.deepEqual(kinds(outputs), ["check"]);
  assert.deepEqual(kinds(rig.checked(rig.ticket, ["link a-b is gone"])), ["ack-config"]);
  assert.deepEqual(rig.resource.list()[0]?.drift, ["link a-b is gone"]);
});

Deno.test("ACTIVE, CONFIG of another digest: NACK conflict", () => {
  const rig = boxIn("ACTIVE");
  const other = plan("box", { names: [{ address: "10.100.0.1", name: "r1.field" }] });
  assert.match(nack(rig.ask(config([other]))).reason, /conflict/);
  assert.equal(rig.state, "ACTIVE");
});

Deno.test("ACTIVE, CONFIG of a greater generation: new keys, then ACK-CONFIG of it", () => {
  const rig = boxIn("ACTIVE", {}, [secretPlan("box", 1)]);
  const outputs = rig.ask(config([secretPlan("box", 2)], { generation: 2 }));
  assert.deepEqual(kinds(outputs), ["rekey"]);
  assert.ok(outputs[0]?.kind === "rekey");
  assert.equal(outputs[0].plan.associations[0]?.keyIn, "2".repeat(40));
  assert.equal(outputs[0].generation, 2);
  assert.deepEqual(rig.ask(config([secretPlan("box", 2)], { generation: 2 })), []);
  // Keys are changed one generation after the other, and never back.
  assert.match(
    nack(rig.ask(config([secretPlan("box", 3)], { generation: 3 }))).reason,
    /conflict/,
  );
  const done = rig.applied();
  assert.deepEqual(kinds(done), ["journal ACTIVE", "ack-config", "ack-config"]);
  assert.ok(done[1]?.kind === "answer" && done[1].body.verb === "ack-config");
  assert.equal(done[1].body.generation, 2);
  assert.match(
    nack(rig.ask(config([secretPlan("box", 1)], { generation: 1 }))).reason,
    /conflict/,
  );
  assert.equal(rig.resource.list()[0]?.generation, 2);
});

Deno.test("ACTIVE, new keys that cannot be set: NACK-CONFIG, it stays ACTIVE with the old generation", () => {
  const rig = boxIn("ACTIVE", {}, [secretPlan("box", 1)]);
  rig.ask(config([secretPlan("box", 2)], { generation: 2 }));
  const outputs = rig.applied({ step: "association", reason: "no ESP" });
  assert.deepEqual(kinds(outputs), ["nack config"]);
  assert.equal(nack(outputs).step, "association");
  assert.equal(rig.state, "ACTIVE");
  assert.deepEqual(
    kinds(rig.ask(config([secretPlan("box", 2)], { generation: 2 }))),
    ["rekey"],
  );
});

Deno.test("ACTIVE, REFRESH: the lease starts again; the last known drift is told, and looked for", () => {
  const rig = boxIn("ACTIVE");
  rig.pass(10_000);
  const first = rig.ask(REFRESH);
  assert.deepEqual(kinds(first), ["ack-refresh", "check"]);
  assert.equal(rig.resource.pollDeadline(), rig.nowMs + 60_000);
  rig.checked(-1, ["route 10.100.0.9/32 is gone"]);
  const second = rig.ask(REFRESH);
  assert.deepEqual(kinds(second), ["ack-refresh"]); // looked at just now
  assert.ok(second[0]?.kind === "answer" && second[0].body.verb === "ack-refresh");
  assert.deepEqual(second[0].body.nodes, [{
    node: "box",
    state: "ACTIVE",
    drift: ["route 10.100.0.9/32 is gone"],
    rekey: false,
  }]);
});

Deno.test("ACTIVE, STATUS: the lease starts again; links are tried, then ACK-STATUS", () => {
  const rig = boxIn("ACTIVE");
  rig.pass(10_000);
  const [check] = rig.ask(STATUS);
  assert.deepEqual(check, {
    kind: "check",
    key: KEY,
    ticket: rig.ticket,
    probes: 3,
    waitMs: 1000,
    mend: false,
  });
  const link = {
    ...{ node: "box", link: "r1-r2", sent: 3, answered: 2, rttUs: 300 },
    ...{ rxBytes: 1, txBytes: 2, rxPackets: 3, txPackets: 4, errors: 0 },
  };
  rig.resource.handleChecked(KEY, rig.ticket, [], [link], rig.nowMs);
  const [answer] = rig.drain();
  assert.ok(answer?.kind === "answer" && answer.body.verb === "ack-status");
  assert.deepEqual(answer.body.links, [link]);
  assert.equal(answer.body.nodes[0]?.state, "ACTIVE");
  assert.equal(rig.resource.pollDeadline(), rig.nowMs + 60_000);
});

Deno.test("ACTIVE, STATUS that the box never ends: NACK in time; its numbers are bounded", () => {
  const rig = boxIn("ACTIVE");
  const [check] = rig.ask({ ...STATUS, probes: 1e9, waitMs: 1e12 } as Body);
  assert.ok(check?.kind === "check");
  assert.equal(check.probes, 100);
  assert.equal(check.waitMs, 60_000);
  rig.ask(STATUS);
  assert.deepEqual(answers(rig.pass(1000 + TIMERS.probeMs)), ["nack status"]);
});

Deno.test("ACTIVE, SELECT: ACK-SELECT again; RELEASE: nothing", () => {
  const rig = boxIn("ACTIVE");
  assert.deepEqual(kinds(rig.ask(SELECT)), ["ack-select"]);
  assert.deepEqual(rig.datagram(RELEASE), []);
  assert.equal(rig.state, "ACTIVE");
});

Deno.test("ACTIVE, DELETE: undone, then ACK-DELETE to all who asked", () => {
  const rig = boxIn("ACTIVE");
  assert.deepEqual(kinds(rig.ask(STOP)), ["journal UNDO", "undo"]);
  assert.deepEqual(rig.ask(STOP), []); // one undo at a time
  assert.deepEqual(kinds(rig.undone()), ["journal nothing", "ack-stop", "ack-stop"]);
  assert.equal(rig.state, "IDLE");
});

Deno.test("ACTIVE, DELETE while the links are tried and keys are changed: those are refused", () => {
  const rig = boxIn("ACTIVE", {}, [secretPlan("box", 1)]);
  rig.ask(STATUS);
  rig.ask(config([secretPlan("box", 2)], { generation: 2 }));
  assert.deepEqual(kinds(rig.ask(STOP)), [
    "nack status",
    "nack config",
    "journal UNDO",
    "undo",
  ]);
});

Deno.test("ACTIVE, T_LEASE: undone", () => {
  const rig = boxIn("ACTIVE");
  rig.pass(59_000);
  rig.ask(REFRESH);
  assert.deepEqual(rig.pass(59_999), []);
  assert.deepEqual(kinds(rig.pass(1)), ["journal UNDO", "undo"]);
  assert.deepEqual(kinds(rig.undone()), ["journal nothing"]);
  assert.equal(rig.resource.counts.leasesOver, 1);
});

Deno.test("ACTIVE without a lease stays where there is no limit; a lease is no longer than the box grants", () => {
  const rig = boxIn("COMMITTED", { timers: { leaseMsMax: 0 } });
  rig.ask(config([plan()], { leaseMs: 0 }));
  rig.applied();
  assert.equal(rig.resource.pollDeadline(), Infinity);
  for (const leaseMs of [1e12, 0]) {
    const other = boxIn("COMMITTED", { timers: { leaseMsMax: 7000 } });
    other.ask(config([plan()], { leaseMs }));
    other.applied();
    assert.equal(other.resource.pollDeadline(), other.nowMs + 7000);
  }
});

Deno.test("UNDO that leaves something: NACK stop names it, it is tried again, less and less often", () => {
  const rig = boxIn("UNDO");
  const refused = nack(rig.undone(["link a-b: busy"]));
  assert.equal(refused.of, "stop");
  assert.match(refused.reason, /link a-b: busy/);
  assert.equal(rig.state, "UNDO");
  const waits: number[] = [];
  for (let turn = 0; turn < 7; turn++) {
    const dueMs = rig.resource.pollDeadline();
    waits.push(dueMs - rig.nowMs);
    assert.deepEqual(kinds(rig.pass(dueMs - rig.nowMs)), ["undo"]);
    assert.deepEqual(answers(rig.undone(["link a-b: busy"])), []);
  }
  assert.deepEqual(waits, [2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  // DELETE does not wait for the next try.
  assert.deepEqual(kinds(rig.ask(STOP)), ["undo"]);
  assert.deepEqual(kinds(rig.undone()), ["journal nothing", "ack-stop"]);
});

Deno.test("UNDO, anything but DELETE: NACK", () => {
  const rig = boxIn("UNDO");
  for (const body of [SELECT, config(), REFRESH, STATUS, DISPATCH]) {
    assert.equal(nack(rig.ask(body)).of, body.verb);
  }
  assert.deepEqual(rig.datagram(invite()), []);
  assert.equal(rig.state, "UNDO");
});

for (const state of ["CONFIGURE", "UNDO"] as const) {
  Deno.test(`restart in ${state}: undone, then nothing is left`, () => {
    const rig = boxIn(state).restarted();
    assert.deepEqual(kinds(rig.drain()), ["journal UNDO", "undo"]);
    assert.deepEqual(kinds(rig.undone()), ["journal nothing"]);
    assert.equal(rig.state, "IDLE");
    assert.equal(rig.journal.size, 0);
  });
}

for (const state of ["RESERVE", "COMMITTED"] as const) {
  Deno.test(`restart in ${state}: nothing is known and nothing is left`, () => {
    const rig = boxIn(state).restarted();
    assert.deepEqual(rig.drain(), []);
    assert.match(nack(rig.ask(config())).reason, /stale/);
    assert.deepEqual(kinds(rig.ask(STOP)), ["ack-stop"]);
  });
}

Deno.test("restart in ACTIVE: mended, the lease starts again, REFRESH tells drift", () => {
  const before = boxIn("ACTIVE");
  before.pass(50_000);
  const rig = before.restarted();
  assert.deepEqual(rig.drain(), [
    { kind: "check", key: KEY, ticket: -1, probes: 0, waitMs: 0, mend: true },
  ]);
  assert.equal(rig.resource.pollDeadline(), rig.nowMs + 60_000);
  rig.checked(-1, ["link r1-r2 is gone"]);
  const [answer] = rig.ask(REFRESH);
  assert.ok(answer?.kind === "answer" && answer.body.verb === "ack-refresh");
  assert.deepEqual(answer.body.nodes[0]?.drift, ["link r1-r2 is gone"]);
  assert.equal(answer.body.nodes[0]?.rekey, false);
  assert.deepEqual(kinds(rig.pass(60_000)), ["journal UNDO", "undo"]);
});

Deno.test("what is gone later is only told: who took it away may have had a reason", () => {
  const rig = boxIn("ACTIVE").restarted();
  rig.drain();
  rig.checked(-1);
  rig.pass(TIMERS.refreshMs);
  const looked = rig.ask(REFRESH).find(({ kind }) => kind === "check");
  assert.ok(looked?.kind === "check" && !looked.mend);
});

Deno.test("restart in ACTIVE with associations: new keys are wanted until they came", () => {
  const rig = boxIn("ACTIVE", {}, [secretPlan("box", 1)]).restarted();
  const wanted = (): boolean => {
    const [answer] = rig.ask(REFRESH);
    assert.ok(answer?.kind === "answer" && answer.body.verb === "ack-refresh");
    return answer.body.nodes[0]!.rekey;
  };
  rig.drain();
  assert.equal(wanted(), true);
  rig.ask(config([secretPlan("box", 2)], { generation: 2 }));
  assert.equal(wanted(), true);
  rig.applied();
  assert.equal(wanted(), false);
});
