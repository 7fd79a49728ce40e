/** Turns of streams, token buckets, and the numbers a hub remembers. */
import assert from "node:assert/strict";
import { Ledger, type LedgerSpool, Verdict } from "../../src/proto/gateway/ledger.ts";
import { RateLimit } from "../../src/proto/gateway/rate_limit.ts";
import { Priority, Schedule } from "../../src/proto/gateway/schedule.ts";
import type { Hello } from "../../src/wire/gateway/post.ts";

/** Counts turns of each stream, each of which has always something to send. */
function turns(schedule: Schedule, count: number, idle: readonly number[] = []): number[] {
  const taken: number[] = [];
  for (let turn = 0; turn < count; turn++) {
    const stream = schedule.next((one) => !idle.includes(one));
    if (stream < 0) break;
    taken[stream] = (taken[stream] ?? 0) + 1;
  }
  return taken;
}

Deno.test("Schedule gives 16, 4 and 1 turns of 21, so that low never starves", () => {
  const schedule = new Schedule();
  schedule.add(0, Priority.Low);
  schedule.add(1, Priority.High);
  schedule.add(2, Priority.Normal);
  assert.deepEqual(turns(schedule, 210), [10, 160, 40]);
});

Deno.test("Schedule passes unused turns on, and streams of one priority take turns", () => {
  const schedule = new Schedule();
  for (let stream = 0; stream < 4; stream++) schedule.add(stream, Priority.Normal);
  assert.deepEqual(turns(schedule, 100), [25, 25, 25, 25]);
  assert.deepEqual(turns(schedule, 90, [3]), [30, 30, 30]);
  assert.equal(schedule.next(() => false), -1);
  schedule.clear();
  assert.equal(schedule.next(() => true), -1);
});

Deno.test("Schedule sends what is left over before everything else", () => {
  const schedule = new Schedule();
  schedule.add(0, Priority.High);
  schedule.add(1, Priority.Leftover);
  let left = 5;
  const taken = Array.from({ length: 8 }, () => schedule.next((one) => one === 0 || left-- > 0));
  assert.deepEqual(taken, [1, 1, 1, 1, 1, 0, 0, 0]);
});

Deno.test("RateLimit lets a second's worth through at once, and pays off a debt", () => {
  const limit = new RateLimit(100, 0);
  assert.ok(limit.allows(0));
  limit.take(300); // an envelope with more than there is
  assert.ok(!limit.allows(1999));
  assert.ok(limit.allows(2010));
  assert.ok(limit.allows(1_000_000));
  limit.take(100); // no more than a second's worth was saved up
  assert.ok(!limit.allows(1_000_000));
  assert.ok(new RateLimit(0, 0).allows(0));
});

const SPOOL = "00112233445566778899aabbccddeeff";
const GATEWAY = "client.gw1";

function hello(generation: number, ...streams: [number, number, number][]): Hello {
  return {
    version: 1,
    gateway: GATEWAY,
    spool: SPOOL,
    generation,
    streams: streams.map(([stream, oldest, next]) => ({ stream, oldest, next })),
  };
}

function greeted(ledger: Ledger): LedgerSpool {
  return ledger.find(GATEWAY, SPOOL)!;
}

Deno.test("Ledger takes numbers that go on, and says what it has", () => {
  const ledger = new Ledger();
  const first = ledger.greet(GATEWAY, hello(1, [1, 1, 11]), "a", false);
  assert.deepEqual(first.last, [{ stream: 1, number: 0 }]);
  const spool = greeted(ledger);
  assert.equal(ledger.check(spool, "a", 1, 5, 5), Verdict.Take);
  ledger.store(spool, 1, 5);
  assert.equal(ledger.check(spool, "a", 1, 10, 5), Verdict.Take);
  assert.equal(ledger.check(spool, "a", 1, 10, 3), Verdict.Take); // 6 and 7 were dropped there
  assert.equal(ledger.check(spool, "a", 1, 5, 1), Verdict.Back);
  assert.equal(ledger.check(spool, "a", 1, 8, 4), Verdict.Back); // 5 is among them
  assert.equal(ledger.check(spool, "a", 2, 1, 1), Verdict.Take); // a stream that came later
  const again = ledger.greet(GATEWAY, hello(2, [1, 4, 11]), "b", false);
  assert.deepEqual(again.last, [{ stream: 1, number: 5 }]);
  assert.equal(ledger.check(spool, "a", 1, 10, 5), Verdict.Stranger);
});

Deno.test("Ledger: what a gateway has no more was dropped there, or acknowledged elsewhere", () => {
  const ledger = new Ledger();
  const { last } = ledger.greet(GATEWAY, hello(1, [1, 100, 120], [2, 1, 1]), "a", false);
  assert.deepEqual(last, [{ stream: 1, number: 99 }, { stream: 2, number: 0 }]);
  assert.equal(ledger.check(greeted(ledger), "a", 1, 99, 1), Verdict.Back);
});

Deno.test("Ledger refuses a spool that went back, whichever way it shows", () => {
  const ledger = new Ledger();
  ledger.greet(GATEWAY, hello(5, [1, 1, 50]), "a", false);
  ledger.store(greeted(ledger), 1, 49);
  const fewer = ledger.greet(GATEWAY, hello(4, [1, 1, 50]), "b", false);
  assert.equal(fewer.refused?.code, "went_back");
  assert.match(fewer.refused!.text, /opened 4 times, and 5 were seen/);
  const older = ledger.greet(GATEWAY, hello(6, [1, 1, 49]), "b", false);
  assert.match(older.refused!.text, /stream 1 has numbered 48, and 49 was stored/);
  assert.match(older.refused!.text, /--new-spool-id/);
  // A refusal changes nothing: who holds it still does.
  assert.equal(ledger.check(greeted(ledger), "a", 1, 50, 1), Verdict.Take);
});

Deno.test("Ledger refuses a second live box, and lets a restarted one in", () => {
  const ledger = new Ledger();
  ledger.greet(GATEWAY, hello(1, [1, 1, 5]), "a", false);
  assert.equal(ledger.greet(GATEWAY, hello(2, [1, 1, 9]), "b", true).refused?.code, "two_boxes");
  assert.equal(ledger.greet(GATEWAY, hello(1, [1, 1, 5]), "a", true).refused, undefined);
  ledger.release("a");
  assert.equal(ledger.greet(GATEWAY, hello(2, [1, 1, 9]), "b", false).refused, undefined);
  // The first one was only cut off: it comes back, and is told.
  assert.equal(ledger.greet(GATEWAY, hello(1, [1, 1, 5]), "a", false).refused?.code, "went_back");
});

Deno.test("Ledger tells the same spool id of two names apart: the key decides who it is", () => {
  const ledger = new Ledger();
  ledger.greet(GATEWAY, hello(9, [1, 1, 5]), "a", false);
  ledger.store(greeted(ledger), 1, 4);
  const { last, refused } = ledger.greet("client.other", hello(1, [1, 1, 2]), "b", false);
  assert.equal(refused, undefined);
  assert.deepEqual(last, [{ stream: 1, number: 0 }]);
});

Deno.test("Ledger forgets the spool greeted least lately, never one that is held", () => {
  const ledger = new Ledger();
  const id = (at: number): string => at.toString(16).padStart(32, "0");
  const greet = (at: number, bringer: string): void => {
    const { refused } = ledger.greet(GATEWAY, { ...hello(1), spool: id(at) }, bringer, false);
    assert.equal(refused, undefined);
  };
  greet(0, "held");
  for (let at = 1; at < 256; at++) {
    greet(at, "gone");
    ledger.release("gone");
  }
  greet(1, "again"); // the oldest that nobody holds is now 2
  ledger.release("again");
  greet(256, "new");
  assert.deepEqual(ledger.takeForgotten().map(({ spool }) => spool), [id(2)]);
  assert.equal(ledger.find(GATEWAY, id(2)), null);
  assert.notEqual(ledger.find(GATEWAY, id(0)), null);
  ledger.greet("client.other", { ...hello(1), spool: id(999) }, "other", false);
  assert.deepEqual(ledger.takeForgotten(), []);
});
