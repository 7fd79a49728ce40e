/** The manager's machine once nodes are configured: probes, refresh, status, fresh keys. */
import assert from "node:assert/strict";
import { TIMERS } from "../../src/proto/xbone/machine.ts";
import { COMMON, configuring, living, PlainDesigner, Rig } from "./xbone_manager_rig.ts";

/** b1 and b2 are configured and their link `a-b` is being probed. */
function probing(): Rig {
  return living({ probe: true }, new PlainDesigner(["a-b"]));
}

Deno.test("PROBE: everybody is sent STATUS with probes before it is ACTIVE", () => {
  const rig = probing();
  assert.equal(rig.manager.state, "PROBE");
  assert.deepEqual(rig.take().slice(-2), ["status b1", "status b2"]);
  const { body, waitMs } = rig.sent("status")[0]!;
  assert.ok(body.verb === "status" && body.probes === 3);
  assert.equal(waitMs, TIMERS.probeMs);
  assert.ok(body.waitMs < waitMs);
  assert.deepEqual(rig.events("reached"), []);
});

Deno.test("PROBE: both ends of every link must have been answered", () => {
  const rig = probing();
  rig.links("b1", { "a-b": 3 });
  assert.equal(rig.manager.state, "PROBE");
  rig.take();
  rig.links("b2", { "a-b": 1 });
  assert.deepEqual(rig.take(), ["journal ACTIVE", "reached ACTIVE"]);
});

Deno.test("PROBE: another round goes to those with a link that did not answer, or that are silent", () => {
  const rig = probing();
  rig.links("b1", { "a-b": 3 });
  rig.links("b2", { "a-b": 0 });
  rig.take();
  rig.after(TIMERS.probeMs);
  assert.deepEqual(rig.take(), ["status b2"]);
  rig.links("b2", { "a-b": 2 });
  assert.equal(rig.manager.state, "ACTIVE");
});

Deno.test("PROBE: a link that stays dead takes it down, with link, node and counters", () => {
  const rig = probing();
  rig.links("b1", { "a-b": 3 });
  for (let round = 0; round < TIMERS.probeTries; round++) {
    rig.links("b2", { "a-b": 0 });
    rig.after(TIMERS.probeMs);
  }
  const { failure } = rig.events("failed")[0]!;
  assert.equal(failure.phase, "PROBE");
  assert.equal(failure.node, "b2");
  assert.match(failure.reason, /link a-b has 0 of 3 probes answered .*sent 7.* after 5 rounds/);
  assert.deepEqual(rig.whom("stop"), ["b1", "b2"]);
  assert.deepEqual(rig.events("reached"), []);
});

Deno.test("PROBE: a box that never reports takes it down; what it says of another box is not heard", () => {
  const rig = probing();
  rig.links("b1", { "a-b": 3 });
  rig.after(TIMERS.probeMs);
  rig.links("b2", { "a-b": 3 }, "b1");
  rig.after(TIMERS.probeMs * TIMERS.probeTries);
  assert.match(rig.events("failed")[0]!.failure.reason, /link a-b was not reported/);
});

Deno.test("PROBE: NACK-STATUS and cancel take it down", () => {
  const refused = probing();
  refused.nack("b1", "status", "stale");
  assert.match(refused.events("failed")[0]!.failure.reason, /stale/);
  const cancelled = probing();
  cancelled.call((manager) => manager.destroy(cancelled.nowMs));
  assert.equal(cancelled.events("failed")[0]!.failure.phase, "PROBE");
});

Deno.test("PROBE: an overlay without links has nothing to prove", () => {
  assert.equal(living({ probe: true }).manager.state, "ACTIVE");
});

Deno.test("ACTIVE: T_REFRESH sends REFRESH to all, again and again", () => {
  const rig = living();
  rig.take();
  rig.after(TIMERS.refreshMs - 1);
  assert.deepEqual(rig.take(), []);
  rig.after(1);
  assert.deepEqual(rig.take(), ["refresh b1", "refresh b2"]);
  rig.after(TIMERS.refreshMs);
  assert.deepEqual(rig.take(), ["refresh b1", "refresh b2"]);
});

Deno.test("ACTIVE: ACK-REFRESH is told and kept; a box speaks for itself only, and once", () => {
  const rig = living();
  rig.after(TIMERS.refreshMs);
  rig.states("b1", { drift: ["link a-b is gone"] });
  rig.states("b2", { node: "b1" });
  rig.states("b1");
  assert.equal(rig.unexpected, 1);
  assert.deepEqual(rig.events("refreshed").map(({ nodes }) => nodes.map(({ node }) => node)), [
    ...[["b1"], []],
  ]);
  assert.deepEqual(rig.manager.nodes[0]!.drift, ["link a-b is gone"]);
});

Deno.test("ACTIVE: three REFRESHes in a row without an answer make a node silent, once", () => {
  const rig = living();
  const round = (): void => {
    rig.after(TIMERS.refreshMs);
    rig.states("b1");
  };
  for (let at = 0; at < 3; at++) round();
  assert.deepEqual(rig.events("silent"), []);
  for (let at = 0; at < 3; at++) round();
  assert.deepEqual(rig.events("silent").map(({ node }) => node), ["b2"]);
  assert.equal(rig.manager.nodes.find(({ node }) => node === "b2")!.state, "SILENT");
  rig.states("b2");
  for (let at = 0; at < 3; at++) round();
  assert.equal(rig.events("silent").length, 1);
  assert.equal(rig.manager.state, "ACTIVE");
});

Deno.test("ACTIVE: NACK-REFRESH tells that the node is not part of it any more", () => {
  const rig = living();
  rig.after(TIMERS.refreshMs);
  rig.nack("b1", "refresh", "stale");
  assert.equal(rig.events("refreshed")[0]!.nodes[0]!.state, "REFUSED");
});

Deno.test("ACTIVE: when every node has undone it, as its lease was over, it is taken down", () => {
  const rig = living();
  rig.after(TIMERS.refreshMs);
  rig.nack("b1", "refresh", "stale");
  assert.equal(rig.manager.state, "ACTIVE");
  rig.nack("b2", "refresh", "stale");
  assert.equal(rig.manager.state, "TEARDOWN");
  assert.match(rig.events("failed")[0]!.failure.reason, /no box has anything of it/);
});

Deno.test("ACTIVE: destroy sends DELETE to all, and is no failure", () => {
  const rig = living();
  rig.take();
  rig.call((manager) => manager.destroy(rig.nowMs));
  assert.deepEqual(rig.take(), ["journal TEARDOWN", "stop b1", "stop b2"]);
  rig.after(TIMERS.refreshMs);
  assert.deepEqual(rig.whom("refresh"), []);
});

Deno.test("ACTIVE: STATUS goes to all at once, and ends when all answered", () => {
  const rig = living({}, new PlainDesigner(["a-b"]));
  rig.call((manager) => manager.status(4, 1000, rig.nowMs));
  rig.call((manager) => manager.status(1, 50, rig.nowMs));
  assert.deepEqual(rig.whom("status"), ["b1", "b2"]);
  rig.links("b1", { "a-b": 4 });
  assert.deepEqual(rig.events("status"), []);
  rig.nack("b2", "status", "stale");
  const { status } = rig.events("status")[0]!;
  assert.deepEqual(status.nodes.map(({ node, state }) => `${node} ${state}`), [
    ...["b1 ACTIVE", "b2 REFUSED"],
  ]);
  assert.deepEqual(status.links.map(({ node, link }) => `${node} ${link}`), ["b1 a-b"]);
});

Deno.test("ACTIVE: a node's STATUS has no more than its own boxes and links", () => {
  const rig = living({}, new PlainDesigner(["a-b"]));
  rig.call((manager) => manager.status(1, 1000, rig.nowMs));
  const counters = { rttUs: 1, rxBytes: 1, txBytes: 1, rxPackets: 1, txPackets: 7, errors: 0 };
  const link = { node: "b1", link: "a-b", sent: 1, answered: 1, ...counters };
  const state = { node: "b1", state: "ACTIVE", drift: [], rekey: false };
  rig.say("b1", {
    ...COMMON,
    verb: "ack-status",
    nodes: [state, { ...state, node: "b2" }, state],
    links: [link, link, { ...link, link: "made-up" }, { ...link, node: "b2" }],
  });
  rig.nack("b2", "status", "stale");
  const { status } = rig.events("status")[0]!;
  assert.deepEqual(status.nodes.map(({ node }) => node), ["b1", "b2"]);
  assert.deepEqual(status.links, [link]);
});

Deno.test("a box refuses for itself only, and what is of another level is not heard", () => {
  const rig = configuring();
  rig.hear("b2", {
    ...COMMON,
    level: 1,
    verb: "nack",
    of: "config",
    node: "",
    step: "",
    reason: "",
  });
  assert.equal(rig.unexpected, 1);
  assert.equal(rig.manager.state, "CONFIG");
  rig.nack("b2", "config", "no", "b1");
  assert.equal(rig.events("failed")[0]!.failure.node, "b2");
});

Deno.test("ACTIVE: STATUS ends when its time is over, or with a destroy; the silent are named with the reason", () => {
  const rig = living();
  rig.call((manager) => manager.status(0, 1000, rig.nowMs));
  const { body } = rig.sent("status")[1]!;
  rig.links("b1", {});
  rig.call((manager) => manager.handleUnreachable("b2", body, "no route", rig.nowMs));
  assert.deepEqual(rig.events("status"), []);
  rig.after(1000);
  const silent = rig.events("status")[0]!.status.nodes.find(({ node }) => node === "b2")!;
  assert.equal(silent.state, "SILENT");
  assert.match(silent.drift[0]!, /no route/);
  rig.call((manager) => manager.status(0, 1000, rig.nowMs));
  rig.call((manager) => manager.destroy(rig.nowMs));
  assert.equal(rig.events("status").length, 2);
});

Deno.test("ACTIVE: a box that lost its keys makes new ones for all, of the next generation", () => {
  const designer = new PlainDesigner(["a-b"], true);
  const rig = living({}, designer);
  rig.after(TIMERS.refreshMs);
  rig.take();
  rig.states("b1", { rekey: true });
  assert.deepEqual(rig.take(), ["refreshed", "journal ACTIVE", "config b1", "config b2"]);
  const [before, , after] = rig.sent("config").map(({ body }) => body);
  assert.ok(before?.verb === "config" && after?.verb === "config");
  assert.equal(before.digest, after.digest);
  assert.deepEqual([before.generation, after.generation], [1, 2]);
  assert.deepEqual(after.plans.map(({ associations }) => associations[0]!.keyIn), ["k2"]);
  assert.equal(rig.manager.record.rekeying, true);
  assert.doesNotMatch(JSON.stringify(rig.manager.record), /k[12]"/);
  rig.ack("b1", "config");
  rig.states("b2", { rekey: true });
  rig.take();
  rig.after(TIMERS.refreshMs);
  assert.deepEqual(rig.take(), ["refresh b1", "refresh b2", "config b2"]);
  rig.nack("b2", "config", "busy");
  assert.equal(rig.manager.state, "ACTIVE");
  rig.ack("b2", "config");
  assert.equal(rig.manager.record.rekeying, false);
  rig.after(TIMERS.refreshMs);
  assert.equal(rig.sent("config").length, 5);
  assert.equal(rig.manager.record.generation, 2);
});

Deno.test("ACTIVE: a box that restarted without any keys to lose gets none", () => {
  const rig = living();
  rig.after(TIMERS.refreshMs);
  rig.states("b1", { rekey: true });
  assert.equal(rig.sent("config").length, 2);
});

Deno.test("restart: ACTIVE in the middle of new keys makes newer ones, as the old are nowhere", () => {
  const rig = living({}, new PlainDesigner(["a-b"], true));
  rig.after(TIMERS.refreshMs);
  rig.states("b1", { rekey: true });
  rig.ack("b1", "config");
  const again = Rig.restored(rig.manager.record, new PlainDesigner(["a-b"], true));
  assert.deepEqual(again.take(), [
    ...["refresh b1", "refresh b2", "journal ACTIVE", "config b1", "config b2"],
  ]);
  const { body } = again.sent("config")[0]!;
  assert.ok(body.verb === "config" && body.generation === 3);
});

Deno.test("restart: PROBE is before ACTIVE", () => {
  const rig = configuring({ probe: true }, new PlainDesigner(["a-b"]));
  rig.ack("b1", "config");
  rig.ack("b2", "config");
  const again = Rig.restored(rig.manager.record);
  assert.equal(again.events("failed")[0]!.failure.phase, "PROBE");
});
