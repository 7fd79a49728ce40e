/** What a trace makes of segments: named starts and the document's rule, on segments made by hand. */
import assert from "node:assert/strict";
import type { UrgentMode } from "../../src/app/sniff/urgent_sender.ts";
import { type TraceResult, UrgentTrace } from "../../src/app/sniff/urgent_trace.ts";
import { arena, arenaTaken, give, take } from "../../src/mem/arena.ts";
import { writeDraftPdu } from "../../src/wire/iscsi/draft_layout.ts";
import { TcpFlag, TcpSegment } from "../../src/wire/capture/tcp.ts";

const SIZE = 100;
const COUNT = 4;

/** Offset in the stream, bytes, pointer; -1: no URG. */
type Piece = readonly [offset: number, bytes: number, pointer: number];

function traced(mode: UrgentMode, pieces: readonly Piece[], sequence = 1000): TraceResult {
  const before = arenaTaken();
  const at = take(SIZE * COUNT);
  for (let i = 0; i < COUNT; i++) writeDraftPdu(arena, at + i * SIZE, SIZE, i);
  const trace = new UrgentTrace(mode, SIZE, COUNT);
  const segment = new TcpSegment();
  segment.flags = TcpFlag.Syn;
  segment.sequence = sequence;
  trace.handleSegment(segment, 0);
  for (const [offset, bytes, pointer] of pieces) {
    segment.sequence = (sequence + 1 + offset) >>> 0;
    segment.flags = TcpFlag.Ack | (pointer < 0 ? 0 : TcpFlag.Urg);
    segment.urgentPointer = Math.max(0, pointer);
    segment.dataAt = at + offset;
    segment.dataEnd = at + offset + bytes;
    segment.dataBytes = bytes;
    trace.handleSegment(segment, 0);
  }
  const result = trace.result();
  trace.close();
  give(at);
  assert.equal(arenaTaken(), before);
  return result;
}

const none = { found: 0, wrong: 0 };

Deno.test("mode A: the first byte travels alone, and the byte to test is in the next segment", () => {
  const pieces = Array.from({ length: COUNT }, (_, i): Piece[] => [
    [i * SIZE, 1, 1],
    [i * SIZE + 1, SIZE - 1, -1],
  ]).flat();
  for (const sequence of [1000, 0xffffff80]) {
    assert.deepEqual(traced("A", pieces, sequence), {
      segments: 8,
      urgent: 4,
      clamped: 0,
      starts: 4,
      named: 4,
      sameSegment: none,
      everyPointer: { found: 4, wrong: 0 },
      unclamped: { found: 4, wrong: 0 },
    });
  }
});

Deno.test("mode B: the pointer names the next message, and the first one never is", () => {
  const pieces = Array.from({ length: COUNT }, (_, i): Piece => [i * SIZE, SIZE, SIZE]);
  const { everyPointer, named, sameSegment, starts, unclamped } = traced("B", pieces);
  assert.deepEqual([starts, named], [3, 3]);
  assert.deepEqual(everyPointer, { found: 3, wrong: 0 });
  assert.deepEqual(unclamped, { found: 3, wrong: 0 });
  assert.deepEqual(sameSegment, none);
});

Deno.test("a byte in the same segment is found there", () => {
  const result = traced("C", [[0, 2 * SIZE, SIZE + 1], [2 * SIZE, 2 * SIZE, -1]]);
  for (const way of ["sameSegment", "everyPointer", "unclamped"] as const) {
    assert.deepEqual(result[way], { found: 1, wrong: 0 }, way);
  }
  assert.equal(result.named, 1);
});

Deno.test("a pointer within a message is false, and pointers to one place count once", () => {
  const result = traced("A", [[0, 1, 50], [1, 49, 49], [50, 350, -1], [0, 1, 1]]);
  assert.deepEqual(result.everyPointer, { found: 1, wrong: 1 });
  // By the machine, what points to bytes that are told is nothing, so the retransmission is none.
  assert.deepEqual(result.unclamped, { found: 0, wrong: 1 });
  assert.deepEqual([result.named, result.urgent, result.segments], [1, 3, 4]);
});

Deno.test("a pointer past the end, and a segment past the end, are nothing", () => {
  const result = traced("A", [[0, 400, 401], [0, 400, 0xfffe], [399, 1, 1]]);
  assert.deepEqual(result.everyPointer, none);
  assert.deepEqual(result.unclamped, none);
  assert.equal(result.named, 0);
});

Deno.test("a clamped pointer is followed only by who takes every pointer", () => {
  const at = take(70_000 * 2);
  writeDraftPdu(arena, at, 70_000, 0);
  writeDraftPdu(arena, at + 70_000, 70_000, 1);
  const trace = new UrgentTrace("A", 70_000, 2);
  const segment = new TcpSegment();
  segment.flags = TcpFlag.Syn;
  trace.handleSegment(segment, 0);
  for (let offset = 0; offset < 140_000; offset += 1000) {
    segment.sequence = 1 + offset;
    segment.flags = TcpFlag.Ack | TcpFlag.Urg;
    segment.urgentPointer = Math.min(0xffff, Math.max(70_001 - offset, 0));
    if (offset >= 70_000) segment.flags = TcpFlag.Ack;
    segment.dataAt = at + offset;
    segment.dataEnd = at + offset + 1000;
    segment.dataBytes = 1000;
    trace.handleSegment(segment, 0);
  }
  const { clamped, everyPointer, named, unclamped } = trace.result();
  assert.deepEqual([clamped, named], [5, 1]);
  assert.deepEqual(everyPointer, { found: 1, wrong: 5 });
  assert.deepEqual(unclamped, { found: 1, wrong: 0 });
  trace.close();
  give(at);
});
