/** Who is active: each way from one role to another, with and without a witness. */
import assert from "node:assert/strict";
import { Election } from "../../src/proto/standby/election.ts";
import type { ElectionConfig } from "../../src/proto/standby/orders.ts";
import { Orders } from "../../src/proto/standby/orders.ts";
import type { HeartbeatWord, HelloWord } from "../../src/wire/standby/words.ts";
import {
  A,
  autoPair,
  grantOf,
  lone,
  MANUAL,
  manualPair,
  promote,
  said,
  TIMES,
  World,
} from "./standby_world.ts";

const B = "b".repeat(32);

Deno.test("auto without a witness refuses to start, and says why and what to do", () => {
  const config: ElectionConfig = {
    ...TIMES,
    group: "pair",
    box: "a",
    instance: A,
    mode: "auto",
    preferred: false,
    witness: false,
  };
  const start = (more: Partial<ElectionConfig>): void => {
    new Election({ ...config, ...more }, { term: 0, activeTerm: 0 }, 0);
  };
  assert.throws(() => start({}), /without a witness: two boxes .* --witness .* standby promote/);
  assert.throws(() => start({ mode: "active", witness: true }), /decides only in role auto/);
  assert.throws(() => start({ witness: true, leaseMs: 100 }), /200 to 60000 ms: current value/);
  assert.throws(() => start({ witness: true, deadMs: 299 }), /two heartbeats \(300 ms\)/);
  assert.throws(() => start({ witness: true, heartbeatMs: 0 }), /10 ms or more/);
  assert.throws(() => start({ witness: true, group: "a b" }), /group is no name/);
  start({ witness: true });
});

Deno.test("first start: both are empty, the preferred one becomes active", () => {
  const world = autoPair();
  assert.deepEqual(world.a.stored, { term: 1, activeTerm: 1 });
  assert.deepEqual(world.b.stored, { term: 1, activeTerm: 0 });
  assert.ok(world.a.log.includes("take 1 nothing"));
  assert.equal(world.b.election!.ready, true);
});

Deno.test("the active dies: its kernel stops by itself, then the standby takes the snapshot", () => {
  const world = autoPair();
  const from = world.nowMs;
  world.crash(world.a);
  while (world.senders() === "a") world.run(1);
  const closedMs = world.nowMs - from;
  while (world.senders() === "") world.run(1);
  const openMs = world.nowMs - from;
  assert.equal(world.senders(), "b");
  assert.ok(closedMs <= 1800 && openMs > closedMs && openMs < 2400, `${closedMs} ${openMs}`);
  assert.ok(world.b.log.includes("take 2 snapshot"));
  world.start(world.a);
  world.run(3000);
  assert.equal(world.roles(), "standby active");
  assert.ok(world.a.log.includes("deleteSas"));
  assert.equal(world.a.election!.ready, true, "it has a snapshot, and no rekey was needed");
});

Deno.test("a partition in which both boxes live: exactly one sends, at every instant", () => {
  const world = autoPair();
  world.setLink("ab", false, true);
  for (let turn = 0; turn < 3000; turn++) {
    world.run(10);
    assert.equal(world.senders(), "a");
  }
  assert.equal(world.a.election!.term, 1);
  assert.match(world.b.election!.refusal, /a has the lease/);
  said(world.a, /standby is away: going on without it/);
  world.setLink("ab", true, true);
  world.run(1000);
  assert.equal(world.roles(), "active standby");
  said(world.a, /standby is there/);
});

Deno.test("an active that is cut off stops before the other one begins, and comes back empty", () => {
  const world = autoPair();
  world.setLink("ab", false, false);
  world.setLink("aw", false, false);
  const seen = new Set<string>();
  for (let turn = 0; turn < 500; turn++) {
    world.run(10);
    seen.add(world.senders());
  }
  assert.deepEqual([...seen], ["a", "", "b"]);
  assert.equal(world.roles(), "fenced active");
  world.setLink("ab", true, true);
  world.run(1000);
  assert.equal(world.roles(), "standby active");
  assert.ok(world.a.log.indexOf("deleteSas") > world.a.log.lastIndexOf("block"));
  assert.equal(world.a.sasOf, -1);
});

Deno.test("an active that is stopped for ten seconds does not send when it goes on", () => {
  const world = autoPair();
  world.a.pausedUntilMs = world.nowMs + 10_000;
  world.run(5000);
  assert.equal(world.senders(), "b");
  assert.equal(world.a.election!.role, "active", "it does not know yet");
  for (let turn = 0; turn < 700; turn++) {
    world.run(10);
    assert.equal(world.senders(), "b");
  }
  assert.equal(world.roles(), "standby active");
});

Deno.test("without the witness the active stops in time, and goes on in its term when it is back", () => {
  const world = autoPair();
  world.witness = null;
  world.run(1300);
  assert.equal(world.senders(), "a");
  world.run(600);
  assert.equal(world.senders(), "");
  assert.equal(world.roles(), "fenced standby");
  world.startWitness();
  world.run(600);
  assert.equal(world.senders(), "a");
  assert.equal(world.a.election!.term, 1);
  assert.ok(world.a.log.includes("take 1 own"));
  assert.ok(!world.a.log.includes("deleteSas"));
});

Deno.test("a standby that never got a whole snapshot does not take over, unless forced", () => {
  const world = autoPair(false);
  world.crash(world.a);
  world.run(20_000);
  assert.equal(world.roles(), "dead standby");
  promote(world, world.b);
  world.run(100);
  said(world.b, /Cannot promote as this box has no whole snapshot of term 1: .*--force/);
  promote(world, world.b, true);
  world.run(1000);
  assert.equal(world.senders(), "b");
  assert.ok(world.b.log.includes("take 2 nothing"));
  assert.ok(world.b.log.includes("promoted"));
});

Deno.test("force does not override a lease that runs", () => {
  const world = autoPair();
  world.setLink("ab", false, true);
  promote(world, world.b, true);
  world.run(6000);
  said(world.b, /Cannot promote as the witness has not granted it: a has the lease/);
  assert.equal(world.senders(), "a");
});

Deno.test("auto: promote is an orderly handover without a wait for the lease", () => {
  const world = autoPair();
  promote(world, world.b);
  const from = world.nowMs;
  while (world.senders() !== "b" && world.nowMs < from + 5000) world.run(1);
  assert.ok(world.nowMs - from < 200, `${world.nowMs - from} ms`);
  world.run(1000);
  assert.equal(world.roles(), "standby active");
  assert.ok(world.b.log.includes("promoted"));
  assert.ok(world.a.log.indexOf("flush") > world.a.log.lastIndexOf("block"));
  promote(world, world.b);
  world.run(10);
  said(world.b, /Cannot promote as this box is active in term 2 already/);
});

Deno.test("an active that loses a watched carrier hands over, when the other box can take it", () => {
  const world = autoPair();
  world.give(world.b, (at) => world.b.election!.handleCarrier(false, at));
  world.run(500);
  world.give(world.a, (at) => world.a.election!.handleCarrier(false, at));
  world.run(3000);
  assert.equal(world.roles(), "active standby", "nobody is better off");
  world.give(world.b, (at) => world.b.election!.handleCarrier(true, at));
  world.run(2000);
  assert.equal(world.roles(), "standby active");
});

Deno.test("demote hands over, and without another box stops all the same", () => {
  const world = autoPair();
  world.give(world.a, (at) => world.a.election!.handleDemote(at));
  world.run(1000);
  assert.equal(world.roles(), "standby active");
  const manual = manualPair();
  manual.setLink("ab", false, true);
  manual.give(manual.a, (at) => manual.a.election!.handleDemote(at));
  manual.run(10_000);
  assert.equal(manual.roles(), "standby standby");
  assert.equal(manual.senders(), "");
});

Deno.test("a takeover that fails gives the lease back, deletes what it began and is told", () => {
  const world = autoPair();
  world.crash(world.a);
  while (world.b.election!.role !== "taking") world.run(1);
  world.give(world.b, (at) => world.b.election!.handleTakeFailed(2, "no memory", at));
  world.run(30);
  assert.equal(world.b.election!.role, "standby");
  assert.ok(world.b.log.includes("deleteSas"));
  said(world.b, /Cannot take over in term 2: no memory/);
  assert.deepEqual([...world.witnessStored.values()].map(({ box }) => box), [""]);
});

Deno.test("without a witness: roles are given, and a silent active is not taken over from", () => {
  const world = manualPair();
  assert.equal(world.senders(), "a");
  world.crash(world.a);
  world.run(60_000);
  assert.equal(world.roles(), "dead standby");
  assert.equal(world.senders(), "a", "its kernel goes on, so nobody else may");
  promote(world, world.b);
  world.run(100);
  said(world.b, /Cannot promote as the other box cannot be reached, .*--force/);
  assert.equal(world.b.election!.role, "standby");
});

Deno.test("without a witness: promote asks for a handover: block, flush, take", () => {
  const world = manualPair();
  promote(world, world.b);
  world.run(1000);
  assert.equal(world.roles(), "standby active");
  assert.equal(world.b.election!.term, 2);
  assert.ok(world.b.log.includes("take 2 snapshot"));
  promote(world, world.a);
  world.run(1000);
  assert.equal(world.roles(), "active standby");
  assert.ok(world.a.log.includes("take 3 snapshot"), "not its own, which are behind");
});

Deno.test("without a witness: a forced takeover, and the old active stops when it hears of it", () => {
  const world = manualPair();
  world.setLink("ab", false, true);
  world.forced = true;
  promote(world, world.b, true);
  world.run(1000);
  assert.equal(world.senders(), "a,b", "that is what force means");
  world.setLink("ab", true, true);
  world.run(100);
  assert.equal(world.senders(), "b");
  assert.equal(world.a.sasOf, -1);
  world.run(1000);
  assert.equal(world.roles(), "standby active");
  assert.equal(world.a.election!.ready, true);
});

Deno.test("two boxes forced in one term both stop and say so; promote of one decides", () => {
  const world = manualPair();
  world.setLink("ab", false, true);
  world.crash(world.a);
  world.start(world.a);
  world.run(5000);
  assert.equal(world.a.election!.role, "starting");
  said(world.a, /Not active though its role is, as the other box cannot be asked/);
  world.forced = true;
  promote(world, world.a, true);
  promote(world, world.b, true);
  world.run(1000);
  assert.deepEqual([world.senders(), world.a.election!.term, world.b.election!.term], [
    "a,b",
    3,
    3,
  ]);
  world.setLink("ab", true, true);
  world.run(5000);
  assert.equal(world.roles(), "fenced fenced");
  assert.equal(world.senders(), "");
  for (const box of world.boxes) {
    assert.equal(box.election!.split, true);
    said(box, /was active in term 3 too, .* promote the one whose SAs are to stay/);
  }
  promote(world, world.b);
  world.run(2000);
  assert.equal(world.roles(), "standby active");
  assert.equal(world.senders(), "b");
  assert.ok(world.b.log.includes("take 4 own"));
  assert.equal(world.a.sasOf, -1);
});

Deno.test("without a witness: a first start with nobody there, and a restart with the other there", () => {
  const world = new World(3, { ...MANUAL, mode: "active" }, MANUAL);
  world.start(world.a);
  world.run(2000);
  assert.equal(world.roles(), "starting dead");
  world.run(2000);
  assert.equal(world.senders(), "a");
  world.start(world.b);
  world.mirrorAlways();
  world.run(1000);
  world.crash(world.a);
  world.start(world.a);
  world.run(1000);
  assert.equal(world.roles(), "active standby");
  assert.ok(world.a.log.includes("take 2 own"));
});

Deno.test("two promotes at once: one of them is done", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const world = new World(seed, MANUAL, MANUAL);
    world.start(world.a);
    world.start(world.b);
    world.run(2000);
    promote(world, world.a);
    world.run(world.dice.below(3));
    promote(world, world.b);
    world.run(10_000);
    assert.equal(world.senders().length, 1, `seed ${seed}: ${world.roles()}`);
  }
});

const HELLO: HelloWord = {
  word: "hello",
  version: 1,
  group: "pair",
  box: "b",
  instance: B,
  heard: A,
  role: "standby",
  mode: "auto",
  term: 5,
  leaseMs: 2000,
};
const BEAT: HeartbeatWord = {
  word: "heartbeat",
  term: 5,
  role: "standby",
  number: 0,
  sentMs: 10,
  stateTerm: 5,
  carrier: true,
};

function drain(election: Election): string[] {
  const texts: string[] = [];
  for (let action = election.pollAction(); action !== null; action = election.pollAction()) {
    texts.push(action.do === "refuse" ? action.why : action.do);
    if (action.do === "store") election.handleStored();
  }
  return texts;
}

Deno.test.each([
  { wrong: { instance: A }, why: /it is this one/ },
  { wrong: { group: "other" }, why: /its group is another: other, not pair/ },
  { wrong: { box: "a" }, why: /both are called a/ },
  { wrong: { mode: "standby" } as const, why: /auto must be said on both boxes/ },
])("a hello with $wrong is refused", ({ wrong, why }) => {
  const election = lone();
  election.handlePeerHello({ ...HELLO, term: 9, ...wrong }, 1);
  assert.match(drain(election).join(), why);
  assert.equal(election.term, 5, "nothing of it is believed");
  election.handleHeartbeat(BEAT, 2);
  assert.equal(election.counters.strayWords, 1);
});

Deno.test("stale terms and words that come again are counted, and change nothing", () => {
  const election = lone();
  election.handlePeerHello(HELLO, 1);
  election.handleHeartbeat({ ...BEAT, term: 4, role: "active" }, 2);
  assert.equal(election.counters.staleTerms, 1);
  assert.equal(election.role, "starting", "an active of an older term is none");
  election.handleHeartbeat(BEAT, 3);
  election.handleHeartbeat({ ...BEAT, role: "active", sentMs: 9 }, 4);
  assert.equal(election.counters.strayWords, 2);
  const done = { word: "handoverDone", term: 5, instance: A, serial: 1, number: 7 } as const;
  election.handleHandoverDone(done, 5);
  const answer = { word: "leaseAnswer", serial: 1, granted: true, term: 6, leaseMs: 2000 } as const;
  election.handleLeaseAnswer({ ...answer, holder: "a", leftMs: 2000, why: "" }, 6);
  assert.deepEqual([election.counters.strayWords, election.counters.strayLeases], [3, 1]);
  assert.deepEqual([election.term, election.role], [5, "starting"]);
});

Deno.test("a promotion that was refused is not done later, when the witness answers at last", () => {
  const election = lone(4);
  election.handleWitnessOpen(0);
  election.handleDeadline(600);
  assert.deepEqual([election.role, election.ready], ["standby", false]);
  drain(election);
  election.handlePromote({ force: true }, 700);
  drain(election);
  election.handleDeadline(5690);
  const action = election.pollAction();
  assert.ok(action?.do === "tellWitness" && action.word.word === "leaseAsk");
  assert.equal(action.word.exact, false);
  election.handleDeadline(5700);
  assert.match(drain(election).join(), /the witness has not granted it: no answer/);
  election.handleLeaseAnswer(grantOf(action.word, 6), 5701);
  assert.deepEqual([election.role, election.counters.strayLeases], ["standby", 1]);
});

Deno.test("a peer that says ever higher terms to a slow disk fills no memory", () => {
  const election = lone();
  assert.ok(drain(election).includes("block"));
  election.handlePeerHello(HELLO, 1);
  drain(election);
  for (let term = 6; term < 5000; term++) {
    election.handleHeartbeat({ ...BEAT, term, sentMs: term }, 2);
    election.handlePeerHello({ ...HELLO, group: "x" }, 2);
    election.handlePeerHello({ ...HELLO, term }, 2);
    if (term === 6) assert.equal(election.pollAction()?.do, "store");
    else assert.equal(election.pollAction(), null, "nothing leaves before its term is stored");
  }
  election.handleStored();
  assert.ok(drain(election).length <= 256);
  assert.equal(election.term, 4999);
});

Deno.test("a block overtakes a term that is being stored, and takes back what would open again", () => {
  const orders = new Orders(5);
  orders.push({ do: "store", stored: { term: 6, activeTerm: 6 } });
  assert.equal(orders.poll()?.do, "store");
  orders.push({ do: "take", term: 6, source: "own" });
  orders.push({ do: "openFence", untilMs: 1000 });
  orders.say("kept");
  assert.equal(orders.poll(), null);
  orders.push({ do: "block" });
  assert.equal(orders.poll()?.do, "block");
  assert.equal(orders.poll(), null);
  orders.handleStored();
  assert.deepEqual([orders.poll()?.do, orders.poll()], ["say", null]);
});

Deno.test("a box that died between a higher term and the deletion deletes at its next start", () => {
  const start = (term: number, activeTerm: number): string[] => {
    const common = { group: "pair", box: "a", instance: A, preferred: true, witness: true };
    const config = { ...TIMES, ...common, mode: "auto" } as const;
    return drain(new Election(config, { term, activeTerm }, 0));
  };
  assert.deepEqual(start(6, 5), ["block", "deleteSas"]);
  assert.deepEqual(start(5, 5), ["block"], "nobody has gone on with them");
  assert.deepEqual(start(6, 0), ["block"]);
});

Deno.test("a promise to an earlier ask, or to another process, is none", () => {
  const world = new World(4, MANUAL, MANUAL);
  world.start(world.a);
  world.start(world.b);
  world.run(2000);
  const election = world.a.election!;
  const now = world.a.clock.local(world.nowMs);
  const asks: number[] = [];
  const listen = (): void => {
    for (let action = election.pollAction(); action !== null; action = election.pollAction()) {
      if (action.do === "tellPeer" && action.word.word === "handoverAsk") {
        asks.push(action.word.serial);
      }
    }
  };
  election.handlePromote({ force: false }, now);
  listen();
  election.handleDeadline(now + 5000);
  election.handlePeerOpen(now + 5000);
  election.handlePeerHello({ ...HELLO, mode: "standby", term: 0 }, now + 5000);
  election.handlePromote({ force: false }, now + 5001);
  listen();
  assert.equal(asks.length, 2);
  const instance = "a1".padEnd(32, "0");
  const done = { word: "handoverDone", term: 0, instance, serial: asks[0]!, number: 0 } as const;
  election.handleHandoverDone(done, now + 5002);
  election.handleHandoverDone({ ...done, serial: asks[1]!, instance: B }, now + 5002);
  assert.equal(election.role, "standby");
  election.handleHandoverDone({ ...done, serial: asks[1]! }, now + 5002);
  assert.equal(election.role, "taking");
});
