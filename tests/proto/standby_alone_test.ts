/** An active box whose standby does not follow: it goes on in a term of which that one has nothing. */
import assert from "node:assert/strict";
import type { Election } from "../../src/proto/standby/election.ts";
import type { LeaseAskWord } from "../../src/wire/standby/words.ts";
import {
  autoPair,
  type Box,
  grantOf,
  lone,
  MANUAL,
  manualPair,
  promote,
  said,
  World,
} from "./standby_world.ts";

function alone(world: World, box: Box): void {
  world.give(box, (at) => box.election!.handleAlone(at));
}

Deno.test("alone: the active moves to the next term without a stop, and the standby is behind", () => {
  const world = autoPair(false);
  world.mirror();
  world.run(100);
  assert.equal(world.b.election!.ready, true);
  world.setLink("ab", false, true);
  const from = world.a.log.length;
  alone(world, world.a);
  for (let turn = 0; turn < 100; turn++) {
    world.run(1);
    assert.equal(world.senders(), "a");
    const { storedTerm, term } = world.a.election!;
    assert.ok(storedTerm === world.a.stored.term && storedTerm <= term, "what is on the disk");
  }
  assert.deepEqual(world.a.stored, { term: 2, activeTerm: 2 });
  assert.equal(world.a.election!.storedTerm, 2);
  assert.equal(world.a.election!.ready, true);
  const after = world.a.log.slice(from);
  assert.ok(!after.includes("block") && !after.some((line) => line.startsWith("take")), `${after}`);
  said(world.a, /Going on alone in term 2/);
  assert.equal(world.witnessStored.get("pair")!.term, 2);
  world.run(3000);
  assert.equal(world.a.election!.term, 2, "once");
  world.crash(world.a);
  world.setLink("ab", true, true);
  world.run(10_000);
  assert.equal(world.senders(), "", "what the standby has is of the term before");
  assert.deepEqual([world.b.election!.term, world.b.election!.ready], [2, false]);
  promote(world, world.b);
  world.run(10);
  said(world.b, /Cannot promote as this box has no whole snapshot of term 2/);
  world.start(world.a);
  world.run(3000);
  assert.equal(world.senders(), "a");
  world.mirror();
  world.run(100);
  assert.equal(world.b.election!.ready, true, "a snapshot of the new term");
});

Deno.test("alone: a standby that is there but does not follow hears the new term at once", () => {
  const world = autoPair(false);
  world.mirror();
  world.run(100);
  alone(world, world.a);
  world.run(300);
  assert.equal(world.roles(), "active standby");
  assert.deepEqual([world.b.election!.term, world.b.election!.ready], [2, false]);
  world.give(world.b, (at) => world.b.election!.handleSnapshot(1, at));
  world.run(10);
  assert.equal(world.b.election!.ready, false, "a late one of the term before");
  world.mirror();
  world.run(10);
  promote(world, world.b);
  world.run(1000);
  assert.equal(world.roles(), "standby active");
});

Deno.test("alone: without the witness nothing changes, and the lease ends", () => {
  const world = autoPair();
  world.setLink("ab", false, true);
  world.setLink("aw", false, true);
  world.setLink("bw", false, true);
  alone(world, world.a);
  world.run(1000);
  assert.deepEqual([world.senders(), world.a.election!.storedTerm], ["a", 1]);
  world.run(1500);
  assert.equal(world.roles(), "fenced standby");
  world.setLink("aw", true, true);
  world.run(1000);
  assert.deepEqual([world.senders(), world.a.election!.storedTerm], ["a", 1], "it was forgotten");
  alone(world, world.a);
  world.run(100);
  assert.deepEqual([world.senders(), world.a.election!.storedTerm], ["a", 2]);
});

Deno.test.each([...["standby", "starting"] as const])(
  "alone: nothing for a box that is %s",
  (role) => {
    const world = autoPair();
    if (role === "starting") {
      world.crash(world.b);
      world.start(world.b);
      world.run(1);
    }
    assert.equal(world.b.election!.role, role);
    alone(world, world.b);
    world.run(100);
    assert.deepEqual([world.a.election!.term, world.b.election!.term], [1, 1]);
  },
);

Deno.test("alone and then told to be standby: it stops, and nobody goes on with less", () => {
  const world = autoPair();
  world.give(world.a, (at) => {
    world.a.election!.handleAlone(at);
    world.a.election!.handleDemote(at);
  });
  world.run(4000);
  assert.equal(world.a.election!.role, "standby");
  assert.equal(world.senders(), "");
  assert.equal(world.a.election!.term, 2);
  world.run(6000);
  assert.equal(world.senders(), "a", "as no other box has the state of its term");
});

Deno.test("alone: an ask for a handover is refused until the term is there", () => {
  const world = autoPair();
  world.setLink("aw", false, false);
  alone(world, world.a);
  world.run(5);
  promote(world, world.b);
  world.run(50);
  said(world.b, /does not hand over: it is going on alone, as the box that asks did not follow/);
  assert.equal(world.roles(), "active standby");
});

Deno.test("alone: no carrier offers nothing before the standby follows again", () => {
  const world = autoPair(false);
  world.mirror();
  world.run(100);
  world.give(world.a, (at) => {
    world.a.election!.handleAlone(at);
    world.a.election!.handleCarrier(false, at);
  });
  world.run(2000);
  assert.equal(world.roles(), "active standby");
  assert.equal(world.a.election!.term, 2);
  world.mirrorAlways();
  world.run(2000);
  assert.equal(world.roles(), "standby active");
});

Deno.test("alone without a witness: the next term at once; a forced standby goes beyond it", () => {
  const world = manualPair();
  world.setLink("ab", false, true);
  alone(world, world.a);
  alone(world, world.b);
  world.run(10);
  assert.deepEqual([world.a.stored, world.senders()], [{ term: 2, activeTerm: 2 }, "a"]);
  assert.equal(world.b.election!.term, 1);
  world.forced = true;
  promote(world, world.b, true);
  world.run(1000);
  assert.equal(world.b.election!.term, 3);
  world.setLink("ab", true, true);
  world.run(1000);
  assert.equal(world.roles(), "standby active");
});

Deno.test("alone without a witness: a standby that comes back must get a snapshot first", () => {
  const world = new World(5, { ...MANUAL, mode: "active" }, MANUAL);
  world.start(world.b);
  world.start(world.a);
  world.run(4000);
  world.mirror();
  world.run(100);
  world.setLink("ab", false, true);
  alone(world, world.a);
  world.run(1000);
  world.setLink("ab", true, true);
  world.run(1000);
  assert.deepEqual([world.b.election!.term, world.b.election!.ready], [2, false]);
  promote(world, world.b);
  world.run(10);
  said(world.b, /no whole snapshot of term 2/);
  world.mirror();
  world.run(10);
  promote(world, world.b);
  world.run(1000);
  assert.equal(world.roles(), "standby active");
});

Deno.test("a term that nobody was active in: the box with the later state goes on", () => {
  const world = autoPair();
  world.crash(world.b);
  world.run(3000);
  alone(world, world.a);
  world.run(100);
  assert.equal(world.a.election!.term, 2);
  // The witness grants the next term to a process of b that dies before it hears of it.
  const state = world.witnessStored.get("pair")!;
  world.crash(world.a);
  world.witnessStored.set("pair", { ...state, box: "b", instance: "b9".padEnd(32, "0"), term: 3 });
  world.witness = null;
  world.startWitness();
  world.start(world.a);
  world.start(world.b);
  world.run(8000);
  assert.equal(world.roles(), "active standby");
  assert.ok(world.a.election!.term > 3);
});

/** A box that is active in term 6, and what it asks its witness. */
function loneActive(): { readonly election: Election; poll(): string[]; asks: LeaseAskWord[] } {
  const election = lone();
  const asks: LeaseAskWord[] = [];
  const poll = (): string[] => {
    const texts: string[] = [];
    for (let action = election.pollAction(); action !== null; action = election.pollAction()) {
      if (action.do === "store") election.handleStored();
      if (action.do === "block") election.handleBlocked(1000);
      if (action.do !== "tellWitness") texts.push(action.do);
      else if (action.word.word === "leaseAsk") asks.push(action.word);
    }
    return texts;
  };
  election.handleWitnessOpen(0);
  for (const at of [600, 1199, 1200]) election.handleDeadline(at);
  poll();
  election.handleLeaseAnswer(grantOf(asks.at(-1)!, 6), 1201);
  poll();
  election.handleTaken(6, 1202);
  poll();
  assert.deepEqual([election.role, election.storedTerm], ["active", 6]);
  return { election, poll, asks };
}

Deno.test("alone: it asks again until it is granted; an answer that comes twice changes nothing", () => {
  const { asks, election, poll } = loneActive();
  election.handleAlone(1300);
  election.handleAlone(1301);
  poll();
  election.handleDeadline(1550);
  poll();
  const [first, second] = asks.slice(-2) as [LeaseAskWord, LeaseAskWord];
  assert.deepEqual([first.term, first.next, second.term, second.next], [6, true, 6, true]);
  election.handleLeaseAnswer(grantOf(first, 7), 1560);
  assert.equal(election.pollAction()?.do, "store");
  assert.deepEqual([election.role, election.term, election.storedTerm], ["active", 7, 6]);
  election.handleAlone(1561);
  assert.equal(election.pollAction(), null, "nothing leaves before its term is stored");
  election.handleStored();
  assert.equal(election.storedTerm, 7);
  assert.deepEqual(poll(), ["say", "openFence"]);
  election.handleLeaseAnswer(grantOf(second, 7), 1570);
  assert.deepEqual(poll(), ["openFence"]);
  election.handleDeadline(2100);
  poll();
  assert.deepEqual([asks.at(-1)!.term, asks.at(-1)!.next], [7, false]);
});

Deno.test("alone: a grant of a higher term that was not asked for with next closes the fence", () => {
  const { asks, election, poll } = loneActive();
  election.handleDeadline(1800);
  poll();
  const plain = asks.at(-1)!;
  assert.equal(plain.next, false);
  election.handleAlone(1801);
  election.handleLeaseAnswer(grantOf(plain, 7), 1802);
  const texts = poll();
  assert.ok(texts.includes("block") && texts.includes("take"), `${texts}`);
  assert.equal(election.role, "taking");
});

Deno.test("alone: a grant that comes while it stops for good ends its stop in the new term", () => {
  const { asks, election, poll } = loneActive();
  election.handleAlone(1300);
  poll();
  election.handleDemote(1301);
  assert.equal(election.role, "yielding");
  election.handleLeaseAnswer(grantOf(asks.at(-1)!, 7), 1302);
  assert.deepEqual([election.role, election.term], ["standby", 7]);
  const texts = poll();
  assert.ok(texts.includes("becomeStandby") && !texts.includes("openFence"), `${texts}`);
  assert.equal(election.ready, true);
});
