/** The rows of the state table "For GUI/OM" of the X-Bone control protocol, at level 0 without sub-managers. */
import assert from "node:assert/strict";
import { TIMERS } from "../../src/proto/xbone/machine.ts";
import {
  COMMON,
  configuring,
  living,
  PlainDesigner,
  Rig,
  selecting,
  spec,
} from "./xbone_manager_rig.ts";

Deno.test("IDLE: create sends INVITE of the first ring, with what is needed and who asks", () => {
  const rig = Rig.of({ path: ["top"], level: 1 });
  rig.start();
  assert.equal(rig.manager.state, "DISCOVERY");
  assert.deepEqual(rig.take(), ["invite ttl 1"]);
  const [invite] = rig.outputs;
  assert.ok(invite?.kind === "multicast" && invite.body.verb === "invite");
  assert.deepEqual(invite.body.router, { count: 2, os: ["any"] });
  assert.deepEqual(invite.body.path, ["top", "om"]);
  assert.equal(invite.body.replyTo, "");
  assert.equal(invite.body.level, 1);
  // Rings, SELECT with its tries for the first choice and for a spare, 5 s.
  assert.equal(invite.body.holdMs, 3000 + 12_000 + 5000);
});

Deno.test("IDLE: a second create, and INVITE of another manager, are none of its business", () => {
  const rig = Rig.of();
  rig.start();
  rig.start();
  const [invite] = rig.outputs;
  assert.ok(invite?.kind === "multicast");
  rig.say("other", invite.body);
  assert.equal(rig.unexpected, 2);
  assert.deepEqual(rig.take(), ["invite ttl 1"]);
});

Deno.test("DISCOVERY: INVITE is repeated evenly in each ring, and TTL grows while too few answer", () => {
  const rig = Rig.of();
  rig.start();
  rig.until(2999);
  const sent = rig.outputs.filter((one) => one.kind === "multicast").map(({ ttl }) => ttl);
  assert.deepEqual(sent, [1, 1, 4, 4, 16, 16]);
  const again = Rig.of();
  again.start();
  again.until(499);
  assert.equal(again.take().length, 1);
  again.until(500);
  assert.equal(again.take().length, 1);
  const last = again.outputs.at(-1)!;
  assert.ok(last.kind === "multicast" && last.body.verb === "invite");
  assert.equal(last.body.holdMs, 2500 + 12_000 + 5000);
});

Deno.test("DISCOVERY: a box that answers twice is one candidate", () => {
  const rig = Rig.of();
  rig.start();
  rig.offer("b1");
  rig.offer("b1");
  rig.until(1000);
  assert.equal(rig.manager.state, "DISCOVERY");
  assert.deepEqual(rig.events("progress").map(({ done, of }) => [done, of]), [[1, 2]]);
});

Deno.test("DISCOVERY: no more than 4096 boxes are remembered", () => {
  const rig = Rig.of({ need: spec(3, [spec(1, [], "west")]) });
  rig.start();
  for (let at = 0; at < 4100; at++) rig.offer(`b${at}`);
  assert.equal(rig.manager.counts.crowded, 4);
});

Deno.test("DISCOVERY: with enough after T_INV, whom it chose is journaled and sent SELECT", () => {
  const rig = Rig.of();
  rig.start();
  for (const node of ["b3", "b2", "b1"]) rig.offer(node);
  rig.take();
  rig.until(999);
  assert.deepEqual(rig.take(), ["invite ttl 1"]);
  rig.until(1000);
  assert.deepEqual(rig.take(), ["journal WAIT_RD", "select b1", "select b2"]);
  assert.deepEqual(rig.manager.record.selected.map(({ node }) => node), ["b1", "b2"]);
  const { body, to, waitMs } = rig.sent("select")[0]!;
  assert.deepEqual(to, { node: "b1", host: "10.0.0.2", port: 265 });
  assert.equal(waitMs, TIMERS.selectMs);
  assert.ok(body.verb === "select" && body.type === "router" && body.sub === "");
  // Selection, CONFIG with its tries, 5 s; a user's time only when it is held for one.
  assert.equal(body.holdMs, 12_000 + 30_000 + 5000);
  const held = selecting({ hold: "ready", probe: true }).sent("select")[0]!.body;
  assert.ok(held.verb === "select");
  assert.equal(held.holdMs, 12_000 + 60_000 + 30_000 + 10_000 + 5000);
});

Deno.test("DISCOVERY: too few after the last ring: RELEASE, counts and what boxes refused with", () => {
  const rig = Rig.of({ need: spec(4) });
  rig.start();
  rig.offer("b1");
  rig.offer("b2");
  rig.nack("b7", "invite", "no room");
  rig.take();
  rig.until(10_000);
  assert.deepEqual(rig.take().slice(-3), ["release keep []", "failed DISCOVERY", "gone []"]);
  const { reason } = rig.events("failed")[0]!.failure;
  assert.match(reason, /2 of 4 routers answered/);
  assert.match(reason, /b7: no room/);
  assert.equal(rig.manager.state, "IDLE");
  assert.equal(rig.manager.pollDeadline(), Infinity);
});

Deno.test("DISCOVERY: cancel releases and fails", () => {
  const rig = Rig.of();
  rig.start();
  rig.take();
  rig.call((manager) => manager.destroy(5));
  assert.deepEqual(rig.take(), ["release keep []", "failed DISCOVERY", "gone []"]);
  assert.equal(rig.events("failed")[0]!.failure.reason, "cancelled");
  assert.equal(rig.manager.state, "IDLE");
});

Deno.test("WAIT_RD: ACK-SELECT is marked while others are missing", () => {
  const rig = selecting();
  rig.take();
  rig.ack("b1", "select");
  assert.equal(rig.manager.state, "WAIT_RD");
  assert.deepEqual(rig.take(), []);
  const { node, done, of } = rig.events("progress").at(-1)!;
  assert.deepEqual([node, done, of], ["b1", 1, 2]);
});

Deno.test("WAIT_RD: an ACK-SELECT of somebody who was not asked, or as something else, changes nothing", () => {
  const rig = selecting();
  rig.say("b9", { ...COMMON, verb: "ack-select", type: "router" });
  rig.say("b1", { ...COMMON, verb: "ack-select", type: "host" });
  rig.say("b1", { ...COMMON, verb: "ack-select", type: "router", epoch: "ffffffffffffffff" });
  rig.ack("b2", "select");
  assert.equal(rig.unexpected, 3);
  assert.equal(rig.manager.state, "WAIT_RD");
});

Deno.test("WAIT_RD: the last ACK-SELECT without sub-managers releases the rest and is READY", () => {
  const rig = selecting({ hold: "ready" });
  rig.ack("b2", "select");
  rig.take();
  rig.ack("b1", "select");
  assert.deepEqual(rig.take(), ["release keep [b1 b2]", "reached READY"]);
  assert.equal(rig.manager.state, "READY");
});

Deno.test("WAIT_RD: T_SEL sends SELECT again to the missing", () => {
  const rig = selecting();
  rig.ack("b1", "select");
  rig.take();
  rig.after(2 * TIMERS.selectMs);
  assert.deepEqual(rig.take(), ["select b2", "select b2"]);
});

Deno.test("WAIT_RD: a spare takes the place of who refuses; both are on the list of DELETE", () => {
  const rig = Rig.of();
  rig.start();
  for (const node of ["b1", "b2", "b3"]) rig.offer(node);
  rig.until(1000);
  rig.ack("b2", "select");
  rig.take();
  rig.nack("b1", "select", "busy");
  assert.deepEqual(rig.take(), ["journal WAIT_RD", "stop b1", "select b3"]);
  assert.deepEqual(rig.manager.record.selected.map(({ node }) => node), ["b1", "b2", "b3"]);
  rig.say("b1", { ...COMMON, verb: "ack-stop" });
  assert.equal(rig.unexpected, 0);
  rig.ack("b3", "select");
  assert.deepEqual(rig.whom("config"), ["b2", "b3"]);
  rig.take();
  rig.call((manager) => manager.destroy(2000));
  assert.deepEqual(rig.take().slice(0, 4), ["journal TEARDOWN", "stop b1", "stop b2", "stop b3"]);
});

Deno.test("WAIT_RD: a spare takes the place of who stays silent, and a late answer changes nothing", () => {
  const rig = Rig.of();
  rig.start();
  for (const node of ["b1", "b2", "b3"]) rig.offer(node);
  rig.until(1000);
  rig.ack("b1", "select");
  rig.take();
  rig.after(TIMERS.selectMs * TIMERS.selectTries);
  assert.deepEqual(rig.take().slice(-3), ["journal WAIT_RD", "stop b2", "select b3"]);
  rig.say("b2", { ...COMMON, verb: "ack-select", type: "router" });
  assert.equal(rig.unexpected, 1);
  assert.equal(rig.manager.state, "WAIT_RD");
});

Deno.test("WAIT_RD: with revisit a silent box's place goes to one that is part of it, but not before all answered", () => {
  const rig = Rig.of({ need: spec(3), revisit: true });
  rig.start();
  for (const node of ["b1", "b2", "b3"]) rig.offer(node);
  rig.until(1000);
  rig.ack("b1", "select");
  rig.after(TIMERS.selectMs * TIMERS.selectTries);
  rig.ack("b1", "select");
  assert.equal(rig.manager.state, "CONFIG");
  assert.deepEqual(rig.whom("config"), ["b1"]);
  assert.deepEqual(rig.whom("stop").toSorted(), ["b2", "b3"]);
});

Deno.test("WAIT_RD: no spare: RELEASE, and DELETE to everybody who was sent SELECT, answered or not", () => {
  const rig = selecting();
  rig.call((manager) =>
    manager.handleUnreachable("b2", rig.sent("select")[1]!.body, "connection refused", rig.nowMs)
  );
  rig.ack("b1", "select");
  rig.take();
  rig.after(TIMERS.selectMs * TIMERS.selectTries);
  assert.deepEqual(rig.take(), [
    ...["select b2", "select b2", "journal TEARDOWN", "release keep []"],
    ...["stop b1", "stop b2", "failed WAIT_RD"],
  ]);
  const { failure } = rig.events("failed")[0]!;
  assert.equal(failure.node, "b2");
  assert.match(
    failure.reason,
    /did not answer SELECT in 3 tries \(connection refused\); no spare: /,
  );
});

Deno.test("WAIT_RD: NACK-SELECT without a spare, and cancel, take it down too", () => {
  const refused = selecting();
  refused.nack("b2", "select", "no room");
  assert.deepEqual(refused.whom("stop"), ["b1", "b2"]);
  assert.match(refused.events("failed")[0]!.failure.reason, /refused SELECT: no room/);
  const cancelled = selecting();
  cancelled.call((manager) => manager.destroy(cancelled.nowMs, "the user left"));
  assert.deepEqual(cancelled.whom("stop"), ["b1", "b2"]);
  assert.equal(cancelled.events("failed")[0]!.failure.reason, "the user left");
});

Deno.test("READY: config, or a create that is not held, journals the plans and sends CONFIG", () => {
  const rig = configuring();
  assert.equal(rig.manager.state, "CONFIG");
  assert.deepEqual(rig.take().slice(-4), [
    ...["release keep [b1 b2]", "journal CONFIG", "config b1", "config b2"],
  ]);
  const held = configuring({ hold: "ready" });
  held.take();
  held.call((manager) => manager.configure(held.nowMs));
  assert.deepEqual(held.take(), ["journal CONFIG", "config b1", "config b2"]);
  held.until(100_000_000);
  assert.doesNotMatch(held.events("failed")[0]!.failure.reason, /nobody told/);
});

Deno.test("READY: T_USER and cancel take it down", () => {
  const rig = configuring({ hold: "ready" });
  rig.after(TIMERS.userMs - 1);
  assert.equal(rig.manager.state, "READY");
  rig.take();
  rig.after(1);
  assert.deepEqual(rig.take(), ["journal TEARDOWN", "stop b1", "stop b2", "failed READY"]);
  const cancelled = configuring({ hold: "ready" });
  cancelled.call((manager) => manager.destroy(cancelled.nowMs));
  assert.deepEqual(cancelled.whom("stop"), ["b1", "b2"]);
});

Deno.test("READY: what the designer refuses takes it down with its reason", () => {
  const designer = new PlainDesigner();
  designer.failure = { phase: "READY", node: "b2", step: "", reason: "MTU too small" };
  const rig = configuring({}, designer);
  assert.deepEqual(rig.events("failed")[0]!.failure, designer.failure);
  assert.deepEqual(rig.whom("stop"), ["b1", "b2"]);
});

Deno.test("CONFIG: an ACK-CONFIG with the digest is marked; another digest or generation is not", () => {
  const rig = configuring();
  rig.ack("b1", "config");
  const { body } = rig.sent("config")[1]!;
  assert.ok(body.verb === "config");
  const { digest } = body;
  rig.say("b2", { ...COMMON, verb: "ack-config", digest: "0", generation: 1 });
  rig.say("b2", { ...COMMON, verb: "ack-config", digest, generation: 2 });
  assert.equal(rig.unexpected, 2);
  assert.equal(rig.manager.state, "CONFIG");
});

Deno.test("CONFIG: the last ACK-CONFIG is journaled before ACTIVE is told", () => {
  const rig = configuring();
  rig.ack("b1", "config");
  rig.take();
  rig.ack("b2", "config");
  assert.deepEqual(rig.take(), ["journal ACTIVE", "reached ACTIVE"]);
  assert.equal(rig.manager.state, "ACTIVE");
});

Deno.test("CONFIG: T_CFG sends the same again to the missing", () => {
  const rig = configuring();
  rig.ack("b1", "config");
  rig.after(TIMERS.configMs);
  assert.deepEqual(rig.whom("config"), ["b1", "b2", "b2"]);
  const [, first, again] = rig.sent("config");
  assert.deepEqual(first!.body, again!.body);
});

Deno.test("CONFIG: NACK-CONFIG, the last T_CFG and cancel take it down, with node, step and reason", () => {
  const refused = configuring();
  refused.ack("b1", "config");
  refused.nack("b2", "config", "EEXIST", "b2", "link a-b");
  assert.deepEqual(refused.events("failed")[0]!.failure, {
    ...{ phase: "CONFIG", node: "b2", step: "link a-b", reason: "EEXIST" },
  });
  assert.deepEqual(refused.whom("stop"), ["b1", "b2"]);
  const silent = configuring();
  silent.ack("b1", "config");
  silent.after(TIMERS.configMs * TIMERS.configTries);
  assert.match(silent.events("failed")[0]!.failure.reason, /did not answer CONFIG in 3 tries/);
  assert.equal(silent.events("failed")[0]!.failure.node, "b2");
  const cancelled = configuring();
  cancelled.call((manager) => manager.destroy(cancelled.nowMs));
  assert.equal(cancelled.manager.state, "TEARDOWN");
});

Deno.test("CONFIG: who has done it is refreshed while others are awaited, as its lease runs", () => {
  const rig = configuring();
  rig.ack("b1", "config");
  rig.after(TIMERS.refreshMs);
  assert.deepEqual(rig.whom("refresh"), ["b1"]);
});

Deno.test("CONFIG: a node that was configured and refuses REFRESH takes it down", () => {
  const rig = configuring();
  rig.ack("b1", "config");
  rig.after(TIMERS.refreshMs);
  rig.nack("b1", "refresh", "stale");
  const { failure } = rig.events("failed")[0]!;
  assert.deepEqual([failure.phase, failure.node], ["CONFIG", "b1"]);
  assert.match(failure.reason, /refused REFRESH: stale/);
});

Deno.test("WAIT_RD: two that stay silent at once fail once", () => {
  const rig = selecting();
  rig.after(TIMERS.selectMs * TIMERS.selectTries);
  assert.equal(rig.events("failed").length, 1);
  assert.deepEqual(rig.whom("stop"), ["b1", "b2"]);
});

Deno.test("TEARDOWN: ACK-DELETE is marked; the last one removes the journal and tells that it is gone", () => {
  const rig = living();
  rig.call((manager) => manager.destroy(rig.nowMs));
  rig.take();
  rig.ack("b1", "stop");
  assert.deepEqual(rig.take(), []);
  assert.deepEqual(rig.manager.record.selected.map(({ node }) => node), ["b2"]);
  rig.ack("b2", "stop");
  assert.deepEqual(rig.take(), ["journal null", "gone []"]);
  assert.equal(rig.manager.state, "IDLE");
  assert.equal(rig.manager.pollDeadline(), Infinity);
});

Deno.test("TEARDOWN: T_DEL sends DELETE again to the missing", () => {
  const rig = living();
  rig.call((manager) => manager.destroy(rig.nowMs));
  rig.ack("b1", "stop");
  rig.after(TIMERS.deleteMs);
  assert.deepEqual(rig.whom("stop"), ["b1", "b2", "b2"]);
});

Deno.test("TEARDOWN: after the last T_DEL orphans are listed, and tried until they answer", () => {
  const rig = living();
  rig.call((manager) => manager.destroy(rig.nowMs));
  rig.nack("b2", "stop", "device busy");
  rig.take();
  rig.after(TIMERS.deleteMs * TIMERS.deleteTries);
  assert.deepEqual(rig.take().slice(-2), ["journal TEARDOWN", "gone [b1 b2]"]);
  assert.equal(rig.manager.state, "IDLE");
  rig.after(TIMERS.deleteAgainMs);
  assert.deepEqual(rig.take(), ["stop b1", "stop b2"]);
  rig.ack("b2", "stop");
  assert.deepEqual(rig.take(), ["journal TEARDOWN", "cleaned"]);
  assert.deepEqual(rig.manager.record.selected.map(({ node }) => node), ["b1"]);
  rig.ack("b1", "stop");
  assert.deepEqual(rig.take(), ["journal null", "cleaned"]);
  assert.equal(rig.manager.pollDeadline(), Infinity);
});

Deno.test("TEARDOWN: orphans are forgotten in the end, when their leases have long ended", () => {
  const rig = living();
  rig.call((manager) => manager.destroy(rig.nowMs));
  rig.after(TIMERS.deleteForgetMs + TIMERS.deleteMs * TIMERS.deleteTries);
  assert.equal(rig.take().at(-1), "journal null");
  assert.equal(rig.manager.pollDeadline(), Infinity);
});

Deno.test("TEARDOWN: answers to what came before it change nothing", () => {
  const rig = configuring();
  const { body } = rig.sent("config")[0]!;
  assert.ok(body.verb === "config");
  rig.call((manager) => manager.destroy(rig.nowMs));
  rig.take();
  rig.say("b1", { ...COMMON, verb: "ack-select", type: "router" });
  rig.say("b1", { ...COMMON, verb: "ack-config", digest: body.digest, generation: 1 });
  rig.nack("b1", "config", "late");
  rig.states("b1");
  rig.call((manager) => manager.destroy(rig.nowMs));
  rig.call((manager) => manager.configure(rig.nowMs));
  rig.call((manager) => manager.status(1, 1000, rig.nowMs));
  assert.equal(rig.unexpected, 7);
  assert.deepEqual(rig.take(), []);
});

Deno.test("restart: what was not ACTIVE is taken down, as the journal has everybody it was sent to", () => {
  for (const rig of [selecting(), configuring({ hold: "ready" }), configuring()]) {
    // The last that was written: READY is in memory only.
    const record = rig.outputs.findLast((one) => one.kind === "journal")!;
    assert.ok(record.kind === "journal");
    const again = Rig.restored(JSON.parse(JSON.stringify(record.record)));
    const lines = again.take();
    assert.deepEqual(lines.slice(0, 3), ["journal TEARDOWN", "stop b1", "stop b2"]);
    assert.match(again.events("failed")[0]!.failure.reason, /restarted in (WAIT_RD|CONFIG)/);
    again.ack("b1", "stop");
    again.ack("b2", "stop");
    assert.deepEqual(again.take(), ["journal null", "gone []"]);
  }
});

Deno.test("restart: TEARDOWN goes on with those who are left, and does not fail again", () => {
  const rig = living();
  rig.call((manager) => manager.destroy(rig.nowMs));
  rig.ack("b1", "stop");
  rig.after(TIMERS.deleteMs * TIMERS.deleteTries);
  const again = Rig.restored(rig.manager.record);
  assert.deepEqual(again.take(), ["journal TEARDOWN", "stop b2"]);
  again.ack("b2", "stop");
  assert.deepEqual(again.take(), ["journal null", "gone []"]);
});

Deno.test("restart: ACTIVE is refreshed at once, and can be destroyed", () => {
  const rig = living();
  const again = Rig.restored(JSON.parse(JSON.stringify(rig.manager.record)));
  assert.deepEqual(again.take(), ["refresh b1", "refresh b2"]);
  assert.equal(again.manager.state, "ACTIVE");
  again.states("b1");
  assert.equal(again.unexpected, 0);
  again.call((manager) => manager.destroy(5));
  again.ack("b1", "stop");
  again.ack("b2", "stop");
  assert.equal(again.take().at(-1), "gone []");
});
