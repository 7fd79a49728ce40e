/** What a receiver makes of bytes and marks: every split, every wrong byte, every place of a mark. */
import assert from "node:assert/strict";
import { MESSAGE_BYTES_MAX, MessageCheck } from "../../src/app/sniff/urgent_check.ts";
import { arena, arenaTaken, give, take } from "../../src/mem/arena.ts";
import { writeDraftPdu } from "../../src/wire/iscsi/draft_layout.ts";

const SIZE = 64;
const COUNT = 3;

/** Runs `job` with `count` messages in the arena. */
function withStream(job: (at: number, end: number) => void, size = SIZE, count = COUNT): void {
  const before = arenaTaken();
  const at = take(size * count);
  try {
    for (let i = 0; i < count; i++) writeDraftPdu(arena, at + i * size, size, i);
    job(at, at + size * count);
  } finally {
    give(at);
  }
  assert.equal(arenaTaken(), before);
}

/** Feeds a stream with marks at these offsets, as reads that stop at marks do. */
function follow(at: number, end: number, marks: readonly number[]): MessageCheck {
  const check = new MessageCheck();
  let next = at;
  for (const mark of marks) {
    if (at + mark > next) check.handleBytes(next, at + mark);
    next = at + mark;
    check.handleMark();
    check.handleMark(); // asked again, as nothing was there
  }
  if (next < end) check.handleBytes(next, end);
  check.close();
  return check;
}

Deno.test("messages are followed wherever the stream is cut into reads", () => {
  withStream((at, end) => {
    for (let first = at + 1; first < end; first++) {
      for (let second = first + 1; second <= end; second += 7) {
        const check = new MessageCheck();
        check.handleBytes(at, first);
        check.handleBytes(first, second);
        if (second < end) check.handleBytes(second, end);
        assert.deepEqual([check.messages, check.size, check.broken], [COUNT, SIZE, ""]);
        assert.equal(check.bytes, SIZE * COUNT);
        check.close();
      }
    }
  });
});

Deno.test("a message that is a header alone is one", () => {
  withStream(
    (at, end) => {
      assert.deepEqual(follow(at, end, [0]).messages, 5);
    },
    48,
    5,
  );
});

Deno.test("each wrong byte, and each byte that is missing, breaks the stream", () => {
  withStream((at, end) => {
    for (let wrong = at; wrong < end; wrong++) {
      arena.bytes[wrong]! ^= 1;
      const check = follow(at, end, []);
      assert.notEqual(check.broken, "", `byte ${wrong - at}`);
      assert.ok(check.messages <= Math.floor((wrong - at) / SIZE), `byte ${wrong - at}`);
      assert.equal(check.bytes, SIZE * COUNT, "what follows is counted");
      arena.bytes[wrong]! ^= 1;
    }
    // Data bytes of a message are all alike: what is missing there shows at the next header.
    for (let missing = at; missing < end - SIZE; missing++) {
      const check = new MessageCheck();
      if (missing > at) check.handleBytes(at, missing);
      check.handleBytes(missing + 1, end);
      assert.notEqual(check.broken, "", `byte ${missing - at}`);
      check.close();
    }
  });
});

Deno.test.each([
  { marks: [0, SIZE, 2 * SIZE], wanted: { before: 0, at: 3, after: 0, elsewhere: 0 } },
  { marks: [1, SIZE + 1, 2 * SIZE + 1], wanted: { before: 0, at: 0, after: 3, elsewhere: 0 } },
  { marks: [SIZE - 1, 2 * SIZE - 1], wanted: { before: 2, at: 0, after: 0, elsewhere: 0 } },
  // The last of these names what would follow the last message.
  { marks: [SIZE - 1, 3 * SIZE - 1], wanted: { before: 1, at: 0, after: 0, elsewhere: 0 } },
  { marks: [SIZE, 3 * SIZE], wanted: { before: 0, at: 1, after: 0, elsewhere: 0 } },
  { marks: [5, 47, 50, SIZE + 30], wanted: { before: 0, at: 0, after: 0, elsewhere: 4 } },
  { marks: [], wanted: { before: 0, at: 0, after: 0, elsewhere: 0 } },
])("marks at $marks are told by where they stand", ({ marks, wanted }) => {
  withStream((at, end) => {
    const check = follow(at, end, marks);
    assert.deepEqual(check.marks(), wanted);
    assert.deepEqual(check.marks(), wanted, "asked twice");
    assert.equal(check.broken, "");
  });
});

Deno.test("a header of no such message, or of a giant, ends it, and takes no memory", () => {
  const at = take(4096);
  const before = arenaTaken();
  for (const header of ["zeros", "ones", "giant"]) {
    arena.bytes.fill(header === "ones" ? 0xff : 0, at, at + 64);
    if (header === "giant") {
      writeDraftPdu(arena, at, 64, 0);
      arena.view.setUint32(at + 4, MESSAGE_BYTES_MAX); // DataSegmentLength
    }
    const check = follow(at, at + 64, [0, 3]);
    assert.match(check.broken, /no header/, header);
    assert.deepEqual([check.messages, check.size, check.bytes], [0, 0, 64]);
    assert.deepEqual(check.marks(), { before: 0, at: 0, after: 0, elsewhere: 0 });
  }
  assert.equal(arenaTaken(), before);
  give(at);
});
