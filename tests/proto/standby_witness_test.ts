/** The witness: one lease at a time, also across its own restart; and the numbers of the posts. */
import assert from "node:assert/strict";
import {
  SnapshotState,
  SyncReceiver,
  SyncSender,
  SyncVerdict,
} from "../../src/proto/standby/sync_stream.ts";
import { GROUPS_MAX, Witness, type WitnessReply } from "../../src/proto/standby/witness.ts";
import { PostHead } from "../../src/wire/standby/post.ts";
import { TERM_MAX } from "../../src/wire/standby/words.ts";
import type { LeaseAskWord, LeaseGiveWord } from "../../src/wire/standby/words.ts";

const A = "a".repeat(32);
const B = "b".repeat(32);
const LEASE_MS = 2000;
let serial = 0;

function ask(box: string, instance: string, more: Partial<LeaseAskWord> = {}): LeaseAskWord {
  const who = { word: "leaseAsk", group: "pair", box, instance } as const;
  return {
    ...who,
    term: 0,
    exact: true,
    next: false,
    leaseMs: LEASE_MS,
    serial: ++serial,
    ...more,
  };
}

function give(box: string, instance: string, term: number, at = ++serial): LeaseGiveWord {
  return { word: "leaseGive", group: "pair", box, instance, term, serial: at };
}

function granted(reply: WitnessReply): number {
  assert.equal(reply.answer.granted, true, reply.answer.why);
  assert.equal(reply.answer.why, "");
  return reply.answer.term;
}

function refused(reply: WitnessReply, why: RegExp): number {
  assert.equal(reply.answer.granted, false);
  assert.equal(reply.store, null, "a refusal changes nothing");
  assert.match(reply.answer.why, why);
  return reply.answer.leftMs;
}

/** A witness that has been up for long. */
function settled(): Witness {
  return new Witness([], -100_000);
}

Deno.test("a lease goes to the first, is renewed in its term, and passes on when it is over", () => {
  const witness = settled();
  const first = witness.handleAsk(ask("a", A), 0);
  assert.equal(granted(first), 1);
  assert.deepEqual(first.store, {
    group: "pair",
    box: "a",
    instance: A,
    term: 1,
    leaseMs: LEASE_MS,
  });
  assert.equal(refused(witness.handleAsk(ask("b", B), 500), /^a has the lease/), 1500);
  const renewal = witness.handleAsk(ask("a", A, { term: 1 }), 1000);
  assert.equal(granted(renewal), 1);
  assert.equal(renewal.store, null, "a renewal needs no disk");
  refused(witness.handleAsk(ask("b", B, { term: 1 }), 2999), /has the lease/);
  assert.equal(granted(witness.handleAsk(ask("b", B, { term: 1 }), 3000)), 2);
  refused(witness.handleAsk(ask("a", A, { term: 1 }), 3001), /b has the lease/);
  assert.deepEqual(witness.counters, { granted: 2, renewed: 1, refused: 3, given: 0, stale: 0 });
});

Deno.test("a holder whose lease is over gets it again in its term, while nobody else had one", () => {
  const witness = settled();
  granted(witness.handleAsk(ask("a", A), 0));
  assert.equal(granted(witness.handleAsk(ask("a", A, { term: 1 }), 90_000)), 1);
  assert.equal(granted(witness.handleAsk(ask("b", B, { term: 1 }), 200_000)), 2);
  refused(witness.handleAsk(ask("a", A, { term: 1 }), 300_000), /term 2 was granted since/);
  const anyway = ask("a", A, { term: 1, exact: false });
  assert.equal(granted(witness.handleAsk(anyway, 300_000)), 3);
});

Deno.test("its holder gets the next term when it asks for it: once, stored, and nobody else", () => {
  const witness = settled();
  granted(witness.handleAsk(ask("a", A), 0));
  const next = witness.handleAsk(ask("a", A, { term: 1, next: true }), 1000);
  assert.equal(granted(next), 2);
  assert.deepEqual(next.store, {
    group: "pair",
    box: "a",
    instance: A,
    term: 2,
    leaseMs: LEASE_MS,
  });
  const again = witness.handleAsk(ask("a", A, { term: 1, next: true }), 1100);
  assert.deepEqual([granted(again), again.store], [2, null], "its answer was lost");
  assert.equal(granted(witness.handleAsk(ask("a", A, { term: 1 }), 1200)), 2);
  const claims: LeaseAskWord[] = [
    ask("b", B, { term: 2, next: true }),
    ask("a", B, { term: 2, next: true }),
  ];
  for (const claim of claims) refused(witness.handleAsk(claim, 3199), /has the lease/);
  refused(witness.handleAsk(ask("b", B, { term: 1 }), 3200), /term 2 was granted since/);
  assert.equal(granted(witness.handleAsk(ask("b", B, { term: 2, next: true }), 3200)), 3);
});

Deno.test("a restarted witness grants the next term to the stored holder", () => {
  const { store } = settled().handleAsk(ask("a", A), 0);
  const witness = new Witness([store!], 700_000);
  assert.equal(granted(witness.handleAsk(ask("a", A, { term: 1, next: true }), 700_001)), 2);
});

Deno.test("a holder hears of a term of its own by a grant only", () => {
  const witness = settled();
  granted(witness.handleAsk(ask("a", A), 0));
  const late = ask("a", A, { term: 1 });
  granted(witness.handleAsk(ask("a", A, { term: 1, next: true }), 10));
  const { answer } = witness.handleAsk(late, 20);
  assert.deepEqual([answer.granted, answer.term], [false, 1]);
});

Deno.test("the last term of all is renewed, and there is no next one", () => {
  const witness = settled();
  assert.equal(granted(witness.handleAsk(ask("a", A, { term: TERM_MAX - 1 }), 0)), TERM_MAX);
  const next = ask("a", A, { term: TERM_MAX, next: true });
  assert.equal(granted(witness.handleAsk(next, 10)), TERM_MAX);
});

Deno.test("a term that is asked with and is higher than the known one raises it", () => {
  const witness = settled();
  assert.equal(granted(witness.handleAsk(ask("a", A, { term: 41 }), 0)), 42);
  assert.equal(granted(witness.handleAsk(ask("a", A, { term: 50 }), 1)), 51);
  const last = ask("a", A, { term: TERM_MAX });
  refused(witness.handleAsk(last, 2), /run out/);
});

Deno.test("a second process of the same box is another claimant, and is told so", () => {
  const witness = settled();
  granted(witness.handleAsk(ask("a", A), 0));
  const left = refused(witness.handleAsk(ask("a", B, { term: 1 }), 1), /two boxes with one name/);
  assert.equal(left, LEASE_MS - 1);
  assert.equal(granted(witness.handleAsk(ask("a", B, { term: 1 }), LEASE_MS)), 2);
});

Deno.test("a witness that was restarted grants to the stored holder only, for a whole lease", () => {
  const before = settled();
  const { store } = before.handleAsk(ask("a", A, { leaseMs: 5000 }), 0);
  const witness = new Witness([store!], 700_000);
  assert.equal(refused(witness.handleAsk(ask("b", B, { term: 1 }), 700_000), /a has/), 5000);
  assert.equal(granted(witness.handleAsk(ask("a", A, { term: 1 }), 700_001)), 1);
  const again = new Witness([store!], 800_000);
  refused(again.handleAsk(ask("b", B, { term: 1 }), 804_999), /a has the lease/);
  assert.equal(granted(again.handleAsk(ask("b", B, { term: 1 }), 805_000)), 2);
});

Deno.test("a witness that has lost its state waits for a lease that it may have granted", () => {
  const witness = new Witness([], 1000);
  assert.equal(refused(witness.handleAsk(ask("a", A), 1500), /started less than/), 1500);
  assert.equal(granted(witness.handleAsk(ask("a", A), 3000)), 1);
});

Deno.test("a lease that is given back is free at once, and its term is used up", () => {
  const witness = settled();
  granted(witness.handleAsk(ask("a", A), 0));
  assert.equal(witness.handleGive(give("b", B, 1), 10), null);
  assert.equal(witness.handleGive(give("a", A, 2), 10), null, "another term");
  const given = witness.handleGive(give("a", A, 1), 10);
  assert.deepEqual(given, { group: "pair", box: "", instance: "", term: 1, leaseMs: LEASE_MS });
  assert.equal(witness.handleGive(give("a", A, 1), 11), null, "twice");
  assert.deepEqual([...new Witness([given!], 20).groups(20)].map(({ leftMs }) => leftMs), [0]);
  assert.equal(granted(witness.handleAsk(ask("a", A, { term: 1 }), 12)), 2);
});

Deno.test("words of a box that are overtaken by a later one of it are refused", () => {
  const witness = settled();
  granted(witness.handleAsk(ask("a", A, { serial: 10_000 }), 0));
  refused(witness.handleAsk(ask("a", A, { serial: 9_999 }), 1), /later word/);
  assert.equal(witness.handleGive(give("a", A, 1, 10_000), 1), null);
  assert.notEqual(witness.handleGive(give("a", A, 1, 10_001), 1), null);
  refused(witness.handleAsk(ask("a", A, { serial: 10_001 }), 2), /later word/);
  assert.equal(witness.counters.stale, 3);
});

Deno.test("leases out of bounds and more groups than there is room for are refused", () => {
  const witness = settled();
  for (const leaseMs of [0, 199, 60_001, 2 ** 50]) {
    refused(witness.handleAsk(ask("a", A, { leaseMs }), 0), /200 to 60000 ms/);
  }
  assert.equal([...witness.groups(0)].length, 0);
  for (let index = 0; index < GROUPS_MAX; index++) {
    granted(witness.handleAsk(ask("a", A, { group: `g${index}` }), 0));
  }
  refused(witness.handleAsk(ask("a", A, { group: "one.more" }), 0), /256 groups/);
  granted(witness.handleAsk(ask("a", A, { group: "g7", term: 1 }), 1));
});

Deno.test("a shorter ask does not shorten what the holder may count on", () => {
  const witness = settled();
  granted(witness.handleAsk(ask("a", A, { leaseMs: 10_000 }), 0));
  granted(witness.handleAsk(ask("a", A, { leaseMs: 200, term: 1 }), 100));
  refused(witness.handleAsk(ask("b", B, { term: 1 }), 9999), /a has the lease/);
});

function head(term: number, number: number): PostHead {
  return Object.assign(new PostHead(), { term, number });
}

/** A receiver in term 3 that has a whole snapshot of two posts. */
function following(): SyncReceiver {
  const receiver = new SyncReceiver();
  receiver.setTerm(3);
  assert.equal(receiver.judge(head(3, 1)), SyncVerdict.Apply);
  assert.equal(receiver.snapshot, SnapshotState.Coming);
  assert.equal(receiver.judge(head(3, 2)), SyncVerdict.Apply);
  receiver.handleSnapshotEnd();
  return receiver;
}

Deno.test("posts are applied in their order and in their term only", () => {
  const receiver = following();
  assert.equal(receiver.snapshot, SnapshotState.Whole);
  assert.equal(receiver.wholeTerm, 3);
  assert.equal(receiver.judge(head(2, 3)), SyncVerdict.StaleTerm);
  assert.equal(receiver.judge(head(4, 3)), SyncVerdict.UnknownTerm);
  for (const number of [1, 2]) assert.equal(receiver.judge(head(3, number)), SyncVerdict.Duplicate);
  assert.equal(receiver.holds, 2, "nothing of that was applied");
  assert.equal(receiver.judge(head(3, 3)), SyncVerdict.Apply);
  assert.deepEqual(receiver.counts, [3, 1, 1, 2, 0, 0]);
  assert.equal(receiver.resyncs, 0);
});

Deno.test("a gap loses the place once, until a snapshot begins", () => {
  const receiver = following();
  assert.equal(receiver.judge(head(3, 4)), SyncVerdict.Gap);
  assert.equal(receiver.judge(head(3, 3)), SyncVerdict.Waiting);
  assert.equal(receiver.judge(head(3, 5)), SyncVerdict.Waiting);
  assert.equal(receiver.holds, 0);
  assert.equal(receiver.wholeTerm, 3, "what was whole goes on being held");
  assert.equal(receiver.resyncs, 1);
  assert.equal(receiver.judge(head(3, 1)), SyncVerdict.Apply);
  assert.equal(receiver.judge(head(3, 2)), SyncVerdict.Apply);
  assert.equal(receiver.resyncs, 1);
});

Deno.test("a bad record makes a receiver wait for a snapshot", () => {
  const receiver = following();
  assert.equal(receiver.judge(head(3, 3)), SyncVerdict.Apply);
  receiver.handleBad();
  assert.equal(receiver.holds, 0);
  assert.equal(receiver.judge(head(3, 4)), SyncVerdict.Waiting);
  assert.equal(receiver.resyncs, 1);
  assert.equal(receiver.bad, 1);
});

Deno.test("a new session, a new term and a word of the sender let a snapshot begin", () => {
  const receiver = following();
  receiver.expectSnapshot();
  assert.equal(receiver.judge(head(3, 3)), SyncVerdict.Waiting);
  assert.equal(receiver.judge(head(3, 1)), SyncVerdict.Apply);
  receiver.setTerm(4);
  assert.equal(receiver.snapshot, SnapshotState.None);
  receiver.handleSnapshotEnd();
  assert.equal(receiver.wholeTerm, 3, "no snapshot of term 4 was begun");
  assert.equal(receiver.judge(head(4, 1)), SyncVerdict.Apply);
  receiver.handleSnapshotEnd();
  assert.equal(receiver.wholeTerm, 4);
  receiver.forget();
  assert.equal(receiver.wholeTerm, -1);
});

Deno.test("a sender numbers from 1 after each snapshot's beginning, and stops when it is full", () => {
  const sender = new SyncSender(4, 1000);
  assert.equal(sender.snapshotNeeded, true);
  assert.throws(() => sender.next(1));
  sender.begin();
  assert.deepEqual([sender.next(10), sender.next(20), sender.next(30)], [1, 2, 3]);
  assert.equal(sender.full, false);
  sender.next(40);
  assert.equal(sender.full, true, "in posts");
  assert.throws(() => sender.next(1));
  sender.handleAcked(5);
  assert.equal(sender.acked, 0, "that one was never sent");
  sender.handleAcked(3);
  assert.deepEqual([sender.unackedPosts, sender.unackedBytes], [1, 40]);
  sender.handleAcked(2);
  assert.equal(sender.acked, 3, "acknowledgements do not go back");
  assert.equal(sender.next(960), 5);
  assert.equal(sender.full, true, "in bytes");
  sender.needSnapshot();
  sender.begin();
  assert.deepEqual([sender.full, sender.unackedBytes, sender.next(1)], [false, 0, 1]);
  assert.equal(sender.snapshots, 2);
});
