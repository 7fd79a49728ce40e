/** The manager's machine with managers below it, and as one that is asked itself. */
import assert from "node:assert/strict";
import { TIMERS } from "../../src/proto/xbone/machine.ts";
import type { PinnedNode } from "../../src/wire/xbone/messages.ts";
import { living, PlainDesigner, planOf, Rig, spec } from "./xbone_manager_rig.ts";

const NEED = spec(1, [spec(2, [], "west"), spec(1, [], "east")]);

/** b1, and the managers m1 (west) and m2 (east), all asked. */
function selecting(designer = new PlainDesigner()): Rig {
  const rig = Rig.of({ need: NEED }, designer);
  rig.start();
  rig.offer("b1");
  rig.offer("m1", "meta", ["west"]);
  rig.offer("m2", "meta", ["west", "east"]);
  rig.until(2 * TIMERS.inviteMs);
  return rig;
}

function dispatching(designer = new PlainDesigner()): Rig {
  const rig = selecting(designer);
  for (const node of ["b1", "m2", "m1"]) rig.ack(node, "select");
  return rig;
}

Deno.test("DISCOVERY: INVITE says what sub-managers are needed for, and leaves them time to ask theirs", () => {
  const rig = Rig.of({ need: NEED });
  rig.start();
  const [invite] = rig.outputs;
  assert.ok(invite?.kind === "multicast" && invite.body.verb === "invite");
  assert.equal(invite.body.meta, 2);
  assert.deepEqual(invite.body.subs.map(({ name, router }) => [name, router.count]), [
    ...[["west", 2], ["east", 1]],
  ]);
  // Two rings of two T_INV, and a last one in which a sub-manager can try both needs in three of its own.
  rig.until(11_999);
  assert.equal(rig.manager.state, "DISCOVERY");
  rig.until(12_000);
  assert.equal(rig.manager.state, "IDLE");
});

Deno.test("DISCOVERY: enough, and only managers are needed: they are sent SELECT too", () => {
  const rig = Rig.of({ need: spec(0, [spec(2, [], "west")]) });
  rig.start();
  rig.offer("m1", "meta");
  rig.until(2000);
  const { body, waitMs } = rig.sent("select")[0]!;
  assert.ok(body.verb === "select" && body.type === "meta" && body.sub === "west");
  assert.ok(waitMs > TIMERS.selectMs);
});

Deno.test("WAIT_RD: the last ACK-SELECT with managers in the plan releases the rest and sends the first DISPATCH", () => {
  const rig = selecting();
  rig.ack("b1", "select");
  rig.ack("m2", "select");
  rig.take();
  rig.ack("m1", "select");
  assert.deepEqual(rig.take(), ["release keep [b1 m1 m2]", "dispatch m1"]);
  assert.equal(rig.manager.state, "WAIT_OM");
  const { body, waitMs } = rig.sent("dispatch")[0]!;
  assert.ok(body.verb === "dispatch");
  assert.equal(body.createOverlay.name, "west");
  assert.equal(waitMs, TIMERS.dispatchMs);
});

Deno.test("WAIT_OM: ACK-DISPATCH sends the next DISPATCH, one at a time in the order of names", () => {
  const rig = dispatching();
  rig.take();
  rig.pin("m2", ["r1"]);
  assert.equal(rig.unexpected, 1);
  rig.pin("m1", ["r1", "r2"], ["w1", "w2"]);
  assert.deepEqual(rig.take(), ["dispatch m2"]);
});

Deno.test("WAIT_OM: the last ACK-DISPATCH makes it READY with everybody below pinned by name", () => {
  const rig = dispatching();
  rig.pin("m1", ["r1", "r2"], ["w1", "w2"]);
  rig.take();
  rig.pin("m2", ["r1"], ["e1"]);
  assert.deepEqual(rig.take(), ["journal CONFIG", "config b1", "config m1", "config m2"]);
  assert.deepEqual(rig.manager.record.pinned.map(({ name, node }) => `${name} ${node}`), [
    ...["r1 b1", "west/r1 w1", "west/r2 w2", "east/r1 e1"],
  ]);
  const plans = rig.sent("config").map(({ body }) =>
    body.verb === "config" ? body.plans.map(({ node }) => node) : []
  );
  assert.deepEqual(plans, [["b1"], ["w1", "w2"], ["e1"]]);
  for (const node of ["b1", "m1", "m2"]) rig.ack(node, "config");
  assert.equal(rig.manager.state, "ACTIVE");
  assert.deepEqual(rig.manager.nodes.map(({ node }) => node).toSorted(), ["b1", "e1", "w1", "w2"]);
});

Deno.test("WAIT_OM: T_DSP sends it again and says which try it is; the last one takes it down", () => {
  const rig = dispatching();
  rig.after(TIMERS.dispatchMs);
  const retries = rig.sent("dispatch").map(({ body }) => body.verb === "dispatch" && body.retry);
  assert.deepEqual(retries, [0, 1]);
  rig.take();
  rig.after(TIMERS.dispatchMs);
  assert.deepEqual(rig.take(), [
    ...["journal TEARDOWN", "release keep []", "stop b1", "stop m1", "stop m2", "failed WAIT_OM"],
  ]);
  assert.match(rig.events("failed")[0]!.failure.reason, /did not answer DISPATCH in 2 tries/);
});

Deno.test("WAIT_OM: NACK-DISPATCH takes it down and names who refused, however deep; cancel does too", () => {
  const rig = dispatching();
  rig.nack("m1", "dispatch", "no box for r2", "deeper");
  assert.deepEqual(rig.events("failed")[0]!.failure, {
    ...{ phase: "WAIT_OM", node: "deeper", step: "", reason: "no box for r2" },
  });
  const cancelled = dispatching();
  cancelled.call((manager) => manager.destroy(cancelled.nowMs));
  assert.deepEqual(cancelled.whom("stop"), ["b1", "m1", "m2"]);
});

Deno.test("WAIT_OM: pins that are not those asked for take it down", () => {
  for (
    const [names, said] of [
      [["r1"], /did not pin r2/],
      [["r1", "r2", "r3"], /pinned r3/],
      [["r1", "r1"], /pinned r1/],
    ] as const
  ) {
    const rig = dispatching();
    rig.pin("m1", names);
    const { failure } = rig.events("failed")[0]!;
    assert.equal(failure.node, "m1");
    assert.match(failure.reason, said);
  }
});

Deno.test("WAIT_OM: a pin on another box than it must be on takes it down", () => {
  const [node] = spec(1).nodes;
  const west = { ...spec(0, [], "west"), nodes: [{ ...node!, on: "w7" }] };
  const rig = Rig.of({ need: spec(0, [west]) });
  rig.start();
  rig.offer("m1", "meta");
  const [invite] = rig.outputs;
  assert.ok(invite?.kind === "multicast" && invite.body.verb === "invite");
  assert.deepEqual(invite.body.subs[0]!.router.on, ["w7"]);
  rig.until(2 * TIMERS.inviteMs);
  rig.ack("m1", "select");
  rig.pin("m1", ["r1"], ["w8"]);
  const { failure } = rig.events("failed")[0]!;
  assert.equal(failure.node, "m1");
  assert.match(failure.reason, /pinned r1 to w8, and it must be on w7/);
});

Deno.test("READY: a box that would play two nodes is refused by name", () => {
  const rig = dispatching();
  rig.pin("m1", ["r1", "r2"], ["w1", "w1"]);
  rig.pin("m2", ["r1"], ["e1"]);
  assert.equal(rig.events("failed")[0]!.failure.node, "w1");
  assert.match(rig.events("failed")[0]!.failure.reason, /west\/r1 and west\/r2/);
});

Deno.test("CONFIG: a sub-manager passes on who refused below it, and which step", () => {
  const rig = dispatching();
  rig.pin("m1", ["r1", "r2"], ["w1", "w2"]);
  rig.pin("m2", ["r1"], ["e1"]);
  rig.nack("m1", "config", "EPERM", "w2", "route");
  assert.deepEqual(rig.events("failed")[0]!.failure, {
    ...{ phase: "CONFIG", node: "w2", step: "route", reason: "EPERM" },
  });
});

Deno.test("restart: ACTIVE knows which box is behind which manager", () => {
  const rig = dispatching();
  rig.pin("m1", ["r1", "r2"], ["w1", "w2"]);
  rig.pin("m2", ["r1"], ["e1"]);
  for (const node of ["b1", "m1", "m2"]) rig.ack(node, "config");
  const again = Rig.restored(rig.manager.record);
  assert.deepEqual(again.take(), ["refresh b1", "refresh m1", "refresh m2"]);
  again.states("m1", { node: "w2", drift: ["gone"] });
  assert.deepEqual(again.events("refreshed")[0]!.nodes.map(({ node }) => node), ["w2"]);
});

/** What a manager above asked this one for: two routers under made-up names. */
function asked(): Rig {
  const need = {
    ...spec(0, [], "west"),
    nodes: [1, 2].map((at) => ({
      ...{ name: `router${at}`, role: "router" as const, os: ["any"], on: "" },
    })),
  };
  const rig = Rig.of({ hold: "phases", level: 1, path: ["top"], holdMs: 100_000, need });
  rig.start();
  rig.offer("b1");
  rig.offer("b2");
  rig.until(1000);
  return rig;
}

function committed(): Rig {
  const rig = asked();
  rig.call((manager) => manager.select(rig.nowMs, 200_000));
  rig.ack("b1", "select");
  rig.ack("b2", "select");
  return rig;
}

function pinned(): Rig {
  const rig = committed();
  rig.call((manager) => manager.dispatch(spec(2, [], "west"), rig.nowMs));
  return rig;
}

const GIVEN = {
  plans: [planOf("b1", ["a-b"], "k1"), planOf("b2", ["a-b"], "k1")],
  generation: 4,
  leaseMs: 70_000,
};

function configured(): Rig {
  const rig = pinned();
  rig.call((manager) => manager.configure(rig.nowMs, GIVEN));
  rig.ack("b1", "config");
  rig.ack("b2", "config");
  return rig;
}

Deno.test("a sub-manager holds in GATHERED, and its guests for longer than it is asked to", () => {
  const rig = asked();
  assert.equal(rig.take().at(-1), "reached GATHERED");
  const [invite] = rig.outputs;
  assert.ok(invite?.kind === "multicast" && invite.body.verb === "invite");
  assert.ok(invite.body.holdMs > 100_000);
  assert.equal(rig.manager.pollDeadline(), Infinity);
  rig.call((manager) => manager.destroy(5000, "its reservation ended"));
  assert.deepEqual(rig.take(), ["release keep []", "failed GATHERED", "gone []"]);
});

Deno.test("a sub-manager selects when told to, and holds in SELECTED", () => {
  const rig = committed();
  assert.deepEqual(rig.take().slice(-2), ["release keep [b1 b2]", "reached SELECTED"]);
  const { body } = rig.sent("select")[0]!;
  assert.ok(body.verb === "select");
  assert.equal(body.holdMs, 200_000);
  assert.equal(rig.manager.pollDeadline(), Infinity);
});

Deno.test("a sub-manager gives its nodes the names of DISPATCH, and holds in READY", () => {
  const rig = pinned();
  assert.deepEqual(rig.take().slice(-1), ["reached READY"]);
  assert.deepEqual(rig.manager.record.pinned.map(({ name, node }) => `${name} ${node}`), [
    ...["r1 b1", "r2 b2"],
  ]);
  assert.equal(rig.manager.pollDeadline(), Infinity);
});

Deno.test("a sub-manager takes down what does not fit the names of DISPATCH", () => {
  const rig = committed();
  rig.call((manager) => manager.dispatch(spec(3, [], "west"), rig.nowMs));
  assert.match(rig.events("failed")[0]!.failure.reason, /do not fit: 2 of 3 routers/);
  assert.deepEqual(rig.whom("stop"), ["b1", "b2"]);
});

Deno.test("a sub-manager lets go whom DISPATCH does not need", () => {
  const rig = committed();
  rig.call((manager) => manager.dispatch(spec(1, [], "west"), rig.nowMs));
  assert.deepEqual(rig.whom("stop"), ["b2"]);
  assert.equal(rig.manager.state, "READY");
});

Deno.test("a sub-manager passes plans on, with the lease and generation from above, and is CONFIGURED", () => {
  const rig = configured();
  assert.deepEqual(rig.take().slice(-2), ["journal CONFIGURED", "reached CONFIGURED"]);
  const { body } = rig.sent("config")[0]!;
  assert.ok(body.verb === "config");
  assert.deepEqual([body.generation, body.leaseMs], [4, 70_000]);
  rig.after(TIMERS.refreshMs);
  assert.deepEqual(rig.take(), ["refresh b1", "refresh b2"]);
  rig.states("b1", { rekey: true });
  assert.equal(rig.manager.nodes.find(({ node }) => node === "b1")!.rekey, true);
  assert.equal(rig.sent("config").length, 2);
  rig.call((manager) => manager.status(3, 1000, rig.nowMs));
  rig.links("b1", { "a-b": 3 });
  rig.links("b2", { "a-b": 3 });
  assert.equal(rig.events("status")[0]!.status.links.length, 2);
});

Deno.test("a sub-manager refuses plans that are not for all below, and for nobody else", () => {
  for (
    const [plans, node] of [
      [[planOf("b1")], "b2"],
      [[planOf("b1"), planOf("b2"), planOf("b3")], "b3"],
      [[planOf("b1"), planOf("b2"), planOf("b2")], ""],
    ] as const
  ) {
    const rig = pinned();
    rig.call((manager) => manager.configure(rig.nowMs, { ...GIVEN, plans }));
    assert.equal(rig.events("failed")[0]!.failure.node, node);
    assert.deepEqual(rig.whom("config"), []);
  }
});

Deno.test("a sub-manager passes new keys on, and says so when all below have them", () => {
  const rig = configured();
  rig.take();
  const plans = [planOf("b1", ["a-b"], "k2"), planOf("b2", ["a-b"], "k2")];
  const next = { ...GIVEN, plans, generation: 5 };
  rig.call((manager) => manager.configure(rig.nowMs, next));
  assert.deepEqual(rig.take(), ["journal CONFIGURED", "config b1", "config b2"]);
  rig.ack("b1", "config");
  rig.call((manager) => manager.configure(rig.nowMs, next));
  assert.deepEqual(rig.take(), ["config b2"]);
  rig.ack("b2", "config");
  assert.deepEqual(rig.take(), ["journal CONFIGURED", "reached CONFIGURED"]);
  rig.call((manager) => manager.configure(rig.nowMs, next));
  assert.equal(rig.take().at(-1), "reached CONFIGURED");
  rig.call((manager) => manager.configure(rig.nowMs, GIVEN));
  rig.call((manager) => manager.configure(rig.nowMs, { ...next, generation: 6, plans: [] }));
  assert.equal(rig.unexpected, 2);
});

Deno.test("a sub-manager that restarts in the middle of new keys has none, and waits for them", () => {
  const rig = configured();
  const plans = [planOf("b1", ["a-b"], "k2"), planOf("b2", ["a-b"], "k2")];
  const next = { ...GIVEN, plans, generation: 5 };
  rig.call((manager) => manager.configure(rig.nowMs, next));
  const again = Rig.restored(rig.manager.record, null);
  assert.deepEqual(again.take(), ["refresh b1", "refresh b2"]);
  again.after(TIMERS.refreshMs);
  assert.deepEqual(again.whom("config"), []);
  again.call((manager) => manager.configure(again.nowMs, next));
  assert.deepEqual(again.whom("config"), ["b1", "b2"]);
  again.ack("b1", "config");
  again.ack("b2", "config");
  assert.equal(again.take().at(-1), "reached CONFIGURED");
});

Deno.test("orders that do not belong to a state are counted and change nothing", () => {
  const rig = asked();
  rig.take();
  rig.call((manager) => manager.dispatch(spec(2), rig.nowMs));
  rig.call((manager) => manager.configure(rig.nowMs, GIVEN));
  rig.call((manager) => manager.status(1, 1, rig.nowMs));
  rig.offer("b3");
  const top = living();
  top.call((manager) => manager.select(0));
  top.call((manager) => manager.configure(0));
  assert.deepEqual([rig.unexpected, top.unexpected], [4, 2]);
  assert.deepEqual(rig.take(), []);
});

Deno.test("a box under two managers is refused even with revisit", () => {
  const rig = Rig.of({ need: NEED, revisit: true });
  rig.start();
  rig.offer("b1");
  rig.offer("m1", "meta", ["west"]);
  rig.offer("m2", "meta", ["east"]);
  rig.until(2000);
  for (const node of ["b1", "m1", "m2"]) rig.ack(node, "select");
  rig.pin("m1", ["r1", "r2"], ["w1", "w1"]);
  rig.pin("m2", ["r1"], ["w1"]);
  const { failure } = rig.events("failed")[0]!;
  assert.equal(failure.node, "w1");
  assert.match(failure.reason, /two managers/);
  const names = (pins: readonly PinnedNode[]): string[] => pins.map(({ name }) => name);
  assert.equal(names(rig.manager.record.pinned).length, 4);
});
