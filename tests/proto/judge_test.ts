/** What `fairlead sniff boundaries` reckons: each set of means against the truth, on streams of known holes. */
import assert from "node:assert/strict";
import { arena, arenaTaken, give, take } from "../../src/mem/arena.ts";
import { type FinderOptions, FinderTally } from "../../src/proto/boundary/finder.ts";
import { Moment } from "../../src/proto/boundary/found.ts";
import { IscsiShared } from "../../src/proto/boundary/iscsi_conversation.ts";
import {
  type Damage,
  Judge,
  MEANS_SETS,
  type SetReport,
  type StreamReport,
} from "../../src/proto/boundary/judge.ts";
import { Means } from "../../src/proto/boundary/side_decoder.ts";
import { Conversation, HoleReason } from "../../src/proto/capture/conversation.ts";
import { IscsiSession } from "../capture/iscsi_streams.ts";
import { everyTag, sharedBy } from "../capture/msgr2_streams.ts";
import { FrameFormat } from "../../src/wire/msgr2/frame.ts";

const SEGMENT = 1000;

/** One direction, and the places in it that pointers name as BSD reads them. */
interface Stream {
  readonly bytes: Uint8Array;
  readonly marks?: readonly number[];
  readonly holes?: readonly number[];
}

/** Judges side 0 as a capture has it: a segment's pointer names the first mark in it, or behind it. */
function judge({ bytes, holes = [], marks = [] }: Stream, damage: Partial<Damage>): StreamReport {
  const before = arenaTaken();
  const conversation = new Conversation(1, ["10.0.0.1:4000", "10.0.0.2:3260"], [4000, 3260]);
  conversation.fromStart.fill(true);
  const optionsOf = (means: number): FinderOptions => ({
    means,
    keepsBytes: false,
    msgr2: sharedBy(null),
    iscsi: new IscsiShared(),
    tally: new FinderTally(),
  });
  const reports: StreamReport[] = [];
  const judge = new Judge(
    conversation,
    { share: 0, seed: 1, ...damage },
    { truth: optionsOf(Means.All), sets: MEANS_SETS.map(({ means }) => optionsOf(means)) },
    (report) => reports.push(report),
  );
  const moment = new Moment();
  const block = take(SEGMENT);
  for (let offset = 0; offset < bytes.length; offset += SEGMENT) {
    moment.timeNs += 1000;
    moment.packet++;
    const part = bytes.subarray(offset, offset + SEGMENT);
    const mark = marks.find((place) => place >= offset && place < offset + SEGMENT);
    if (holes.includes(offset)) {
      judge.handleHole(0, offset, part.length, HoleReason.Acknowledged, moment);
      continue;
    }
    if (mark !== undefined) judge.handleUrgent(0, offset, part.length, mark + 1 - offset, moment);
    arena.bytes.set(part, block);
    judge.handleBytes(0, block, block + part.length, offset, moment);
  }
  judge.handleEnd(0, bytes.length, moment);
  judge.handleEnd(1, 0, moment);
  judge.close();
  give(block);
  assert.equal(arenaTaken(), before);
  assert.equal(reports.length, 1);
  return reports[0]!;
}

function setOf({ sets }: StreamReport, name: string): SetReport {
  return sets.find((set) => set.name === name)!;
}

function iscsi(): { readonly bytes: Uint8Array; readonly starts: readonly number[] } {
  const session = new IscsiSession(3);
  session.login();
  session.mix(120);
  session.logout();
  const [stream] = session.streams;
  return { bytes: stream.bytes(), starts: stream.pdus.map(({ offset }) => offset) };
}

Deno.test("without a loss every set tells the whole truth", () => {
  const { bytes, starts } = iscsi();
  const report = judge({ bytes, marks: starts }, {});
  assert.equal(report.protocol, "iscsi");
  assert.equal(report.src, "10.0.0.1:4000");
  assert.equal(report.bytes, bytes.length);
  assert.equal(report.lost, 0);
  assert.equal(report.messages, starts.length);
  assert.equal(report.whole, starts.length);
  for (const set of report.sets) {
    const { bytes: told, name } = set;
    assert.deepEqual(set, {
      name,
      told: starts.length,
      whole: starts.length,
      bytes: told,
      wrong: 0,
    });
    assert.equal(told, bytes.length);
  }
  assert.equal(report.draft.named, 0, "the draft wants no pointer to be used in order");
});

Deno.test("segments that are taken away cost each set what its means cannot mend, and none is wrong", () => {
  const { bytes, starts } = iscsi();
  const marks = starts.filter((_, index) => index % 8 === 0);
  const marked = judge({ bytes, marks }, { share: 0.05, seed: 2 });
  assert.ok(marked.lost > 0 && marked.lost < bytes.length / 5);
  assert.equal(marked.messages, starts.length);
  assert.ok(marked.whole < marked.messages);
  const named = new Set(marks.map((mark) => Math.floor(mark / SEGMENT))).size;
  assert.ok(marked.draft.pointers < named, "a pointer is lost with its segment");
  const wholeBy = (name: string): number => setOf(marked, name).whole;
  const length = wholeBy("length, over losses within a message");
  const urgent = wholeBy("length, urgent pointer");
  const chain = wholeBy("length, chain of headers");
  assert.ok(wholeBy("nothing: until the first loss") <= length);
  assert.ok(length < urgent && urgent < chain, `${length}, ${urgent}, ${chain}`);
  assert.equal(wholeBy("length, header digest"), length, "the stream has none");
  assert.equal(wholeBy("length, crc"), length, "that is msgr2's");
  assert.equal(wholeBy("all without the urgent pointer"), chain);
  assert.ok(wholeBy("all") >= chain);
  for (const set of marked.sets) {
    assert.equal(set.wrong, 0, set.name);
    assert.ok(set.whole <= set.told && set.told <= marked.messages && set.bytes <= marked.bytes);
  }
  const plain = judge({ bytes }, { share: 0.05, seed: 2 });
  assert.equal(plain.lost, marked.lost);
  assert.equal(setOf(plain, "length, urgent pointer").whole, length);
  assert.equal(plain.draft.pointers, 0);
});

Deno.test("the draft's rule alone is wrong where RFC 7143 has bit 7 of the second byte clear", () => {
  const { bytes, starts } = iscsi();
  const { draft } = judge({ bytes, marks: starts }, { share: 0.05, seed: 2 });
  assert.ok(draft.pointers > 0 && draft.clamped === 0);
  assert.ok(draft.named > 0 && draft.right > 0 && draft.right < draft.named);
  const lies = starts.map((start) => start + 20);
  const judged = judge({ bytes, marks: lies }, { share: 0.05, seed: 2 });
  assert.equal(judged.draft.right, 0);
  assert.ok(judged.draft.named > 0);
  for (const { name, wrong } of judged.sets) assert.equal(wrong, 0, name);
  assert.deepEqual(
    setOf(judged, "length, urgent pointer").told,
    setOf(judged, "length, over losses within a message").told,
  );
});

Deno.test("a seed takes the same segments each time, another one others", () => {
  const { bytes } = iscsi();
  const lost = (seed: number): number => judge({ bytes }, { share: 0.1, seed }).lost;
  assert.equal(lost(5), lost(5));
  assert.notEqual(lost(5), lost(6));
});

Deno.test("of a capture's own holes the truth is what all means find", () => {
  const { bytes } = everyTag(FrameFormat.Crc21).message({ seq: 1, data: new Uint8Array(30_000) })
    .message({ seq: 2, data: new Uint8Array(3000) }).message({ seq: 3 });
  const whole = judge({ bytes }, {});
  const holed = judge({ bytes, holes: [10_000] }, {});
  assert.equal(holed.protocol, "msgr2");
  assert.equal(holed.lost, SEGMENT);
  assert.equal(holed.messages, whole.messages, "a hole within a message hides none");
  assert.equal(holed.whole, whole.whole - 1);
  const given = setOf(holed, "nothing: until the first loss");
  assert.ok(given.told < holed.messages);
  assert.equal(setOf(holed, "length, over losses within a message").told, holed.messages);
});

Deno.test("a copy of a stream inside a message, whose own start is taken away, counts as wrong", () => {
  const copy = everyTag(FrameFormat.Crc21).bytes;
  const { bytes } = everyTag(FrameFormat.Crc21).message({ seq: 1, data: new Uint8Array(3000) })
    .message({ seq: 2, data: copy }).message({ seq: 3, data: new Uint8Array(3000) });
  let wrong = 0;
  for (let seed = 1; seed <= 40; seed++) {
    const report = judge({ bytes }, { share: 0.2, seed });
    const crc = setOf(report, "length, crc");
    wrong += crc.wrong;
    assert.ok(crc.told <= report.messages);
    assert.equal(setOf(report, "length, over losses within a message").wrong, 0);
  }
  assert.ok(wrong > 0);
});
