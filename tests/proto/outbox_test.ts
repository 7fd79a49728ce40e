/** Messages that wait, and messages that are not acknowledged: the records against plain lists. */
import assert from "node:assert/strict";
import { arena, arenaTaken } from "../../src/mem/arena.ts";
import {
  hasCrcs,
  isAborted,
  isNumbered,
  Outbox,
  recordCompatVersion,
  recordCrc,
  recordDataAt,
  recordDataBytes,
  recordFrontAt,
  recordFrontBytes,
  recordMark,
  recordMiddleAt,
  recordMiddleBytes,
  recordPriority,
  recordSeq,
  recordTidHi,
  recordTidLo,
  recordType,
  recordVersion,
  setAborted,
  setRecordCrcs,
  setRecordMark,
} from "../../src/proto/msgr2/outbox.ts";

const MIB = 1024 * 1024;

/** A message as the model knows it. */
interface Entry {
  readonly record: number;
  readonly serial: number;
  readonly priority: number;
  readonly lengths: readonly [number, number, number];
  readonly fill: number;
  readonly bytes: number;
  seq: number;
  aborted: boolean;
}

/** The same rules on arrays. */
class Model {
  replays: Entry[] = [];
  waiting: Entry[] = [];
  sent: Entry[] = [];

  peek(): Entry | undefined {
    if (this.replays.length > 0) return this.replays[0];
    const level = (entry: Entry): number => Math.min(entry.priority, 255);
    const highest = Math.max(...this.waiting.map(level));
    return this.waiting.find((entry) => level(entry) === highest);
  }

  take(entry: Entry): void {
    this.replays = this.replays.filter((other) => other !== entry);
    this.waiting = this.waiting.filter((other) => other !== entry);
    this.sent.push(entry);
  }

  requeue(): void {
    this.replays = [...this.sent.filter((entry) => !entry.aborted), ...this.replays];
    this.sent = [];
  }

  get all(): Entry[] {
    return [...this.sent, ...this.replays, ...this.waiting];
  }
}

function add(outbox: Outbox, lengths: Entry["lengths"], priority: number, fill: number): Entry {
  const before = outbox.bytes;
  const record = outbox.reserve(...lengths);
  assert.ok(record > 0);
  arena.bytes.fill(fill, recordFrontAt(record), recordFrontAt(record) + lengths[0]);
  arena.bytes.fill(fill, recordMiddleAt(record), recordMiddleAt(record) + lengths[1]);
  arena.bytes.fill(fill, recordDataAt(record), recordDataAt(record) + lengths[2]);
  const serial = outbox.commit(record, fill, priority, 2, 1, fill, -fill);
  const bytes = outbox.bytes - before;
  return { record, serial, priority, lengths, fill, bytes, seq: 0, aborted: false };
}

/** The record still holds what was put into it. */
function check(entry: Entry): void {
  const { record, lengths, fill } = entry;
  assert.deepEqual(
    [recordFrontBytes(record), recordMiddleBytes(record), recordDataBytes(record)],
    lengths,
  );
  const places = [recordFrontAt(record), recordMiddleAt(record), recordDataAt(record)];
  for (const [index, at] of places.entries()) {
    const bytes = arena.bytes.subarray(at, at + lengths[index]!);
    assert.ok(bytes.every((byte) => byte === fill), `record ${record} was written over`);
  }
  assert.equal(recordPriority(record), entry.priority);
  assert.deepEqual([recordType(record), recordTidLo(record), recordTidHi(record)], [
    fill,
    fill,
    -fill,
  ]);
  assert.equal(isNumbered(record), entry.seq > 0);
  if (entry.seq > 0) assert.equal(recordSeq(record), entry.seq);
  assert.equal(isAborted(record), entry.aborted);
}

Deno.test.each([1, 2, 3, 4].map((seed) => ({ seed })))(
  "any order of operations keeps the order of messages (seed $seed)",
  ({ seed }) => {
    const start = arenaTaken();
    let state = seed;
    const random = (limit: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor(state / 2 ** 32 * limit);
    };
    const outbox = new Outbox(64 * MIB);
    const model = new Model();
    let outSeq = 0;
    for (let step = 0; step < 6_000; step++) {
      const what = random(100);
      if (what < 45) {
        const length = (): number => random(3) === 0 ? 0 : random(random(40) === 0 ? 90_000 : 900);
        const priority = random(4) === 0 ? random(300) : [63, 127, 196][random(3)]!;
        const entry = add(outbox, [length(), length(), length()], priority, 1 + random(255));
        model.waiting.push(entry);
      } else if (what < 80) {
        const entry = model.peek();
        assert.equal(outbox.peek(), entry?.record ?? 0);
        if (entry === undefined) continue;
        if (entry.seq === 0) entry.seq = ++outSeq;
        outbox.moveToSent(entry.record, entry.seq);
        model.take(entry);
        if (random(9) === 0) {
          setAborted(entry.record);
          entry.aborted = true;
        }
      } else if (what < 90) {
        if (model.sent.length === 0) continue;
        const { seq } = model.sent[random(model.sent.length)]!;
        const acked = model.sent.filter((entry) => entry.seq <= seq);
        acked.forEach(check);
        model.sent = model.sent.filter((entry) => entry.seq > seq);
        assert.equal(outbox.acknowledge(seq), acked.length);
      } else if (what < 93) {
        const chosen = model.all[random(model.all.length)];
        if (chosen === undefined) continue;
        const expected = model.sent.includes(chosen)
          ? chosen.record
          : model.waiting.includes(chosen)
          ? 0
          : -1; // the peer may have it
        assert.equal(outbox.revoke(chosen.serial), expected);
        model.waiting = model.waiting.filter((entry) => entry !== chosen);
        assert.equal(outbox.revoke(chosen.serial), expected === 0 ? -1 : expected);
      } else if (what < 96) {
        model.requeue();
        outbox.requeue();
        if (random(3) === 0) {
          outbox.renumber();
          for (const entry of model.replays) entry.seq = 0;
          outSeq = 0;
        } else {
          const seq = random(outSeq + 1);
          const known = model.replays.filter((entry) => entry.seq > 0 && entry.seq <= seq);
          assert.equal(outbox.discardReplays(seq), known.length);
          model.replays = model.replays.filter((entry) => !known.includes(entry));
        }
      } else if (what < 97 && model.sent.length > 0) {
        assert.equal(outbox.firstSent(), model.sent[0]!.record);
        outbox.dropFirstSent();
        model.sent.shift();
      }
      assert.equal(outbox.queued, model.replays.length + model.waiting.length);
      assert.equal(outbox.sent, model.sent.length);
      assert.equal(outbox.firstSent(), model.sent[0]?.record ?? 0);
      assert.equal(outbox.bytes, model.all.reduce((sum, { bytes }) => sum + bytes, 0));
      if (step % 40 === 0) model.all.forEach(check);
      if (step % 1500 === 1499) {
        const lost = model.all.length - model.sent.filter(({ aborted }) => aborted).length;
        assert.equal(outbox.clear(), lost);
        model.sent = [];
        model.replays = [];
        model.waiting = [];
        assert.deepEqual([outbox.queued, outbox.sent, outbox.bytes, outbox.peek()], [0, 0, 0, 0]);
      }
    }
    outbox.close();
    assert.equal(arenaTaken(), start, "every block is given back");
  },
);

Deno.test("priorities: higher first, order inside one, above 255 they are one", () => {
  const outbox = new Outbox(MIB);
  const order = [127, 63, 255, 0, 127, 300, 196, 65_535, 1, 32, 31];
  const entries = order.map((priority, index) => add(outbox, [index, 0, 0], priority, index + 1));
  const taken: number[] = [];
  for (let record = outbox.peek(); record !== 0; record = outbox.peek()) {
    taken.push(entries.findIndex((entry) => entry.record === record));
    outbox.moveToSent(record, taken.length);
  }
  assert.deepEqual(taken.map((index) => order[index]), [
    255,
    300,
    65_535,
    196,
    127,
    127,
    63,
    32,
    31,
    1,
    0,
  ]);
  assert.ok(taken.indexOf(0) < taken.indexOf(4));
  outbox.close();
});

Deno.test("replays go before everything, in their old order, whatever their priority", () => {
  const outbox = new Outbox(MIB);
  const low = [1, 2, 3].map((fill) => add(outbox, [8, 0, 0], 10, fill));
  for (const [index, entry] of low.entries()) outbox.moveToSent(entry.record, index + 1);
  const high = add(outbox, [8, 0, 0], 200, 4);
  outbox.requeue();
  assert.equal(outbox.peek(), low[0]!.record);
  outbox.moveToSent(low[0]!.record, 1);
  outbox.requeue(); // the connection broke again after one of three
  const order: number[] = [];
  for (let record = outbox.peek(); record !== 0; record = outbox.peek()) {
    order.push(recordType(record));
    outbox.moveToSent(record, order.length);
  }
  assert.deepEqual(order, [1, 2, 3, 4]);
  assert.equal(outbox.acknowledge(3), 3);
  assert.equal(outbox.firstSent(), high.record);
  outbox.close();
});

Deno.test("discardReplays() stops at what has no number", () => {
  const outbox = new Outbox(MIB);
  const entries = [1, 2, 3].map((fill) => add(outbox, [8, 0, 0], 127, fill));
  outbox.moveToSent(entries[0]!.record, 1);
  outbox.moveToSent(entries[1]!.record, 2);
  outbox.requeue();
  assert.equal(outbox.discardReplays(1), 1);
  assert.equal(outbox.discardReplays(1), 0);
  outbox.renumber();
  assert.equal(outbox.discardReplays(2 ** 53 - 1), 0);
  assert.equal(outbox.queued, 2);
  outbox.moveToSent(outbox.peek(), 1);
  assert.throws(() => outbox.renumber(), /Invariant broken/);
  outbox.close();
});

Deno.test("a session's share is held, but one message always fits", () => {
  const start = arenaTaken();
  const outbox = new Outbox(10_000);
  const first = add(outbox, [50_000, 0, 0], 127, 1);
  assert.equal(outbox.reserve(1, 0, 0), 0);
  assert.equal(outbox.queued, 1);
  outbox.moveToSent(first.record, 1);
  assert.equal(outbox.reserve(1, 0, 0), 0, "sent is not acknowledged");
  outbox.acknowledge(1);
  let count = 0;
  while (outbox.reserve(100, 0, 0) !== 0) count++;
  assert.ok(count >= 10 && outbox.bytes <= 10_000);
  outbox.close();
  assert.equal(arenaTaken(), start);
});

Deno.test("records are blocks that are given back as soon as they are empty", () => {
  const start = arenaTaken();
  const outbox = new Outbox(64 * MIB);
  for (let round = 0; round < 200; round++) {
    const entries = [7, 8, 9].map((fill) => add(outbox, [20_000 * fill, 0, 0], 127, fill));
    entries.forEach((entry, index) => outbox.moveToSent(entry.record, round * 3 + index + 1));
    assert.equal(outbox.acknowledge(round * 3 + 3), 3);
    assert.ok(arenaTaken() - start <= 32_768, "nothing but the one block that is kept");
  }
  for (let round = 0; round < 2_000; round++) {
    const entry = add(outbox, [1_000, 0, 0], 127, 5);
    outbox.moveToSent(entry.record, 1_000 + round);
    outbox.acknowledge(1_000 + round);
    assert.ok(arenaTaken() - start <= 32_768);
  }
  outbox.close();
  outbox.close();
  assert.equal(arenaTaken(), start);
});

Deno.test("an outbox that gets the arena's very first block gives that back too", () => {
  const start = arenaTaken();
  const outboxes = Array.from({ length: 40 }, () => new Outbox(MIB));
  let lowest = Infinity;
  for (const outbox of outboxes) {
    lowest = Math.min(lowest, add(outbox, [100, 0, 0], 127, 1).record);
    add(outbox, [60_000, 0, 0], 127, 2); // another block; the first one stays behind
    for (let record = outbox.peek(); record !== 0; record = outbox.peek()) {
      outbox.moveToSent(record, recordType(record));
    }
    outbox.acknowledge(2);
    outbox.close();
  }
  assert.ok(lowest > 0);
  assert.equal(arenaTaken(), start);
});

Deno.test("marks, crcs and versions belong to the record", () => {
  const outbox = new Outbox(MIB);
  const { record } = add(outbox, [1, 2, 3], 127, 9);
  assert.equal(hasCrcs(record), false);
  setRecordCrcs(record, -1, 0x7fffffff, 5);
  assert.equal(hasCrcs(record), true);
  assert.deepEqual([1, 2, 3].map((segment) => recordCrc(record, segment)), [-1, 0x7fffffff, 5]);
  setRecordMark(record, -7);
  assert.equal(recordMark(record), -7);
  assert.deepEqual([recordVersion(record), recordCompatVersion(record)], [2, 1]);
  outbox.moveToSent(record, 2 ** 40 + 3);
  assert.equal(recordSeq(record), 2 ** 40 + 3);
  outbox.requeue();
  assert.equal(hasCrcs(record), true, "a replay need not compute them again");
  outbox.close();
});
