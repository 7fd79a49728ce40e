/** What is found of msgr2 when bytes are missing: each message outside of a hole, and nothing else. */
import assert from "node:assert/strict";
import { arenaTaken } from "../../src/mem/arena.ts";
import { Means } from "../../src/proto/boundary/side_decoder.ts";
import { PREAMBLE_SIZE } from "../../src/wire/msgr2/preamble.ts";
import { Tag } from "../../src/wire/msgr2/tag.ts";
import {
  everyTag,
  Feeder,
  type FeederOptions,
  joined,
  type Placed,
  placesOf,
  StreamWriter,
  type Told,
} from "../capture/msgr2_streams.ts";
import { type Bytes, FORMATS, modelCrc, pattern } from "../wire/frame_model.ts";

const CRC_FORMATS = FORMATS.slice(0, 2);

/** Bytes of a hole: within a field, a preamble, a small frame, several frames. */
const HOLES = [1, 4, 32, 45, 200, 1500];

function tell(
  stream: Bytes,
  hole: readonly [number, number],
  options: FeederOptions = {},
  pieceBytes = 300,
): Told[] {
  const feeder = new Feeder(options);
  feeder.feedAll(0, stream, pieceBytes, [hole]);
  return feeder.end();
}

/** Frames that a hole does not touch. */
function outside(placed: readonly Placed[], [at, length]: readonly [number, number]): Placed[] {
  return placed.filter((it) => it.offset + it.length <= at || it.offset >= at + length);
}

Deno.test.each(CRC_FORMATS)(
  "$name: every hole costs the messages that it touches, and no other",
  ({ format }) => {
    const before = arenaTaken();
    const stream = everyTag(format);
    const { bytes, placed } = stream;
    let bridged = 0;
    for (const length of HOLES) {
      for (let at = 0; at + length <= bytes.length; at++) {
        const hole = [at, length] as const;
        const told = tell(bytes, hole);
        const whole = told.filter(({ missing }) => missing === 0);
        const what = `a hole of ${length} at ${at}`;
        const expected = outside(placed, hole);
        // Before the first frame the revision is not known, and an empty banner tells none.
        assert.deepEqual(placesOf(whole, 0), at < 26 ? expected.filter(notBanner) : expected, what);
        for (const { errors, fields } of whole) {
          assert.deepEqual(errors, fields.aborted ? ["aborted by its sender"] : [], what);
        }
        for (const damaged of told) {
          if (damaged.missing === 0) continue;
          bridged++;
          assert.equal(damaged.missing, length, what);
          const { errors, fields } = damaged;
          assert.equal(errors[0], `hole: ${length} bytes were not captured`, what);
          assert.ok(errors.length === 1 || errors[1] === "aborted by its sender", what);
          if (damaged.tag !== "MSG") assert.deepEqual(fields, {}, what);

          const { tag, offset } = damaged;
          const place = placed.find((it) => it.offset === offset)!;
          assert.deepEqual({ tag, offset, length: damaged.length }, place, what);
          assert.ok(at >= offset + PREAMBLE_SIZE && at + length <= offset + place.length, what);
          const next = told[told.indexOf(damaged) + 1];
          if (next !== undefined) assert.equal(next.foundBy, "length", what);
        }
      }
    }
    assert.ok(bridged > 1000, `${bridged} holes were bridged`);
    assert.equal(arenaTaken(), before);
  },
);

function notBanner({ tag }: Placed): boolean {
  return tag !== "BANNER";
}

Deno.test("a hole within a message is bridged whenever its preamble was seen", () => {
  const stream = new StreamWriter(1).banner()
    .message({ seq: 1, front: pattern(500, 1), data: pattern(700, 2) })
    .message({ seq: 2 });
  new Feeder().close();
  const { offset, length } = stream.placed[1]!;
  for (let at = offset + PREAMBLE_SIZE; at < offset + length; at++) {
    const feeder = new Feeder();
    feeder.feedAll(1, stream.bytes); // the other side, so that the revision is known
    feeder.feedAll(0, stream.bytes, 61, [[at, offset + length - at]]);
    const told = feeder.end().filter(({ side }) => side === 0);
    assert.deepEqual(placesOf(told, 0), stream.placed);
    assert.equal(told[1]!.missing, offset + length - at);
    assert.deepEqual(told.map(({ foundBy }) => foundBy), ["start", "length", "length"]);
  }
});

Deno.test("what a hole does not touch of a message is checked all the same", () => {
  const stream = new StreamWriter(1).banner().control(Tag.Ack, () => 8)
    .message({ seq: 1, front: pattern(500, 1), data: pattern(700, 2) });
  const { bytes } = stream;
  const { offset } = stream.placed[2]!;
  const frontAt = offset + PREAMBLE_SIZE + 41 + 4;
  bytes[frontAt + 600]! ^= 1; // in the data
  const [, , message] = tell(bytes, [frontAt + 100, 50]);
  assert.equal(message!.errors.length, 2);
  assert.match(message!.errors[0]!, /^crc of segment 3/);
  assert.match(message!.errors[1]!, /^hole: 50 bytes/);
});

Deno.test("several holes in one message are counted together", () => {
  const stream = new StreamWriter(1).banner().control(Tag.Ack, () => 8)
    .message({ seq: 1, front: pattern(5000, 1) }).control(Tag.Wait);
  const feeder = new Feeder();
  feeder.feedAll(0, stream.bytes, 100, [[500, 10], [900, 20], [2000, 1000]]);
  const told = feeder.end();
  assert.deepEqual(placesOf(told, 0), stream.placed);
  assert.equal(told[2]!.missing, 1030);
  assert.deepEqual(told[2]!.errors, ["hole: 1030 bytes were not captured"]);
});

Deno.test.each(CRC_FORMATS)(
  "$name: joined at any byte, what follows is found by its crc",
  ({ format }) => {
    const { bytes, placed } = everyTag(format);
    for (let at = 1; at < bytes.length - 100; at++) {
      const feeder = new Feeder({ fromStart: false });
      feeder.feedAll(0, bytes.subarray(at), 211);
      const told = feeder.end();
      const expected = placed.filter(({ offset, tag }) => offset >= at && tag !== "BANNER")
        .map((it) => ({ ...it, offset: it.offset - at }));
      assert.deepEqual(placesOf(told, 0), expected, `from ${at}`);
      assert.equal(told[0]!.foundBy, "crc");
      assert.ok(told.every(({ session, tag }) => session === 0 || tag !== "HELLO"));
    }
  },
);

Deno.test.each(CRC_FORMATS)(
  "$name: without the length each message is found by its crc",
  ({ format }) => {
    const { bytes, placed } = everyTag(format);
    const told = tell(bytes, [0, 0], { means: Means.Crc });
    assert.deepEqual(placesOf(told, 0), placed);
    assert.ok(told.slice(1).every(({ foundBy }) => foundBy === "crc"));
  },
);

Deno.test("without the length a message with a hole is not told", () => {
  const stream = new StreamWriter(1).banner().control(Tag.Ack, () => 8)
    .message({ seq: 1, front: pattern(500, 1) }).control(Tag.Wait).control(Tag.Wait);
  const { offset } = stream.placed[2]!;
  const told = tell(stream.bytes, [offset + 100, 50], { means: Means.Crc });
  assert.deepEqual(placesOf(told, 0), stream.placed.filter((it) => it.offset !== offset));
});

Deno.test.each(CRC_FORMATS)("$name: without crc nothing is found behind a loss", ({ format }) => {
  const { bytes, placed } = everyTag(format);
  const at = placed[5]!.offset + 3;
  const told = tell(bytes, [at, 100], { means: Means.Length });
  assert.deepEqual(placesOf(told, 0), placed.slice(0, 5));
});

Deno.test.each(CRC_FORMATS)(
  "$name: urgent pointers with structure find what the crc may not",
  ({ format }) => {
    const { bytes, placed } = everyTag(format);
    const at = placed[5]!.offset + 3;
    const starts = new Set(placed.map(({ offset }) => offset));
    for (const named of [9, 12, 18]) {
      const marks = new Set([placed[named]!.offset, placed[named]!.offset + 1, at + 150]);
      for (const piece of [1, 40, 10_000]) {
        const told = tell(bytes, [at, 100], {
          means: Means.Length | Means.Urgent,
          urgent: { names: (offset) => marks.has(offset) },
        }, piece);
        assert.deepEqual(placesOf(told, 0), [...placed.slice(0, 5), ...placed.slice(named)]);
        assert.equal(told[5]!.foundBy, "urgent");
        assert.ok(told.every(({ offset }) => starts.has(offset)));
      }
    }
  },
);

Deno.test("a pointer that names anything else finds nothing, and does not hang", () => {
  const { bytes, placed } = everyTag(1);
  const at = placed[5]!.offset + 3;
  const starts = new Set(placed.map(({ offset }) => offset));
  const told = tell(bytes, [at, 100], {
    means: Means.Length | Means.Urgent,
    urgent: { names: (offset) => !starts.has(offset) },
  });
  assert.deepEqual(placesOf(told, 0), placed.slice(0, 5));
});

Deno.test("a pointer to a frame that no other follows finds nothing", () => {
  const inner = new StreamWriter(1).control(Tag.Ack, () => 8);
  const stream = new StreamWriter(1).banner().control(Tag.Ack, () => 8)
    .message({ seq: 1, data: joined([inner.bytes, new Uint8Array(200)]) })
    .control(Tag.Ack, () => 8).control(Tag.Ack, () => 8);
  const { offset } = stream.placed[2]!;
  const marks = [offset + PREAMBLE_SIZE + 41 + 4, stream.placed[3]!.offset];
  const told = tell(stream.bytes, [offset + 10, 30], {
    means: Means.Length | Means.Urgent,
    urgent: { names: (named) => marks.includes(named) },
  });
  assert.deepEqual(placesOf(told, 0), stream.placed.filter((it) => it.offset !== offset));
});

Deno.test("with the crc at hand a pointer is not asked", () => {
  const { bytes, placed } = everyTag(1);
  const at = placed[5]!.offset + 3;
  const told = tell(bytes, [at, 100], { urgent: { names: () => assert.fail("asked") } });
  assert.ok(told.some(({ foundBy }) => foundBy === "crc"));
});

Deno.test("zeros have the crc of zeros, and are no message", () => {
  const stream = new StreamWriter(1).banner().control(Tag.Ack, () => 8)
    .message({ seq: 1, data: new Uint8Array(4096) }).control(Tag.Wait);
  const { offset, length } = stream.placed[2]!;
  const told = tell(stream.bytes, [offset - 5, 100]);
  assert.deepEqual(placesOf(told, 0), outside(stream.placed, [offset - 5, 100]));
  assert.ok(length > 4096);
});

/** Preambles with a right crc and one thing that the structure does not allow. */
const NO_PREAMBLES = [
  { what: "tag 0", bytes: [0, 1, 8, 0, 0, 0, 8, 0] },
  { what: "tag 23", bytes: [23, 1, 8, 0, 0, 0, 8, 0] },
  { what: "no segment", bytes: [20, 0] },
  { what: "five segments", bytes: [20, 5, 8, 0, 0, 0, 8, 0] },
  { what: "256 MiB", bytes: [20, 1, 0, 0, 0, 16, 8, 0] },
  { what: "no alignment", bytes: [20, 1, 8, 0, 0, 0, 0, 0] },
  { what: "an alignment of 3", bytes: [20, 1, 8, 0, 0, 0, 3, 0] },
  { what: "a length that is not used", bytes: [20, 1, 8, 0, 0, 0, 8, 0, 1] },
  { what: "an alignment that is not used", bytes: [20, 1, 8, 0, 0, 0, 8, 0, 0, 0, 0, 0, 8] },
  { what: "an empty last segment", bytes: [17, 2, 8, 0, 0, 0, 8, 0, 0, 0, 0, 0, 8, 0] },
  { what: "flags 2", bytes: [20, 1, 8, 0, 0, 0, 8, 0], flags: 2 },
  { what: "a reserved byte", bytes: [20, 1, 8, 0, 0, 0, 8, 0], reserved: 1 },
];

Deno.test.each(NO_PREAMBLES)(
  "$what with a right crc is no preamble",
  ({ bytes, flags, reserved }) => {
    const preamble = new Uint8Array(32);
    preamble.set(bytes);
    preamble[26] = flags ?? 0;
    preamble[27] = reserved ?? 0;
    new DataView(preamble.buffer).setUint32(28, modelCrc(0, preamble.subarray(0, 28)), true);
    const feeder = new Feeder({ fromStart: false });
    const known = new StreamWriter(1).control(Tag.Ack, () => 8);
    feeder.feedAll(1, known.bytes); // so that the layout is known, and a wrong frame would be told
    feeder.feedAll(0, joined([pattern(40, 1), preamble, pattern(400, 2), known.bytes]));
    assert.deepEqual(placesOf(feeder.end(), 0), [{ tag: "ACK", offset: 472, length: 44 }]);
  },
);

Deno.test("an object that holds a msgr2 stream is not read, unless the hole hides where it begins", () => {
  const inner = everyTag(1);
  const stream = new StreamWriter(1).banner().control(Tag.Ack, () => 8)
    .message({ seq: 1, data: joined([pattern(100, 1), inner.bytes]) }).control(Tag.Wait);
  const { offset } = stream.placed[2]!;
  const read = tell(stream.bytes, [0, 0]);
  assert.deepEqual(placesOf(read, 0), stream.placed);
  const bridged = tell(stream.bytes, [offset + 200, 300]);
  assert.deepEqual(placesOf(bridged, 0), stream.placed);
  // Its preamble is gone: the stream inside has all that a stream has, and is taken for one.
  const fooled = tell(stream.bytes, [offset + 10, 30]);
  assert.ok(fooled.length > stream.placed.length);
});

Deno.test("the other side's revision, and a crc, tell the layout when the banners do not", () => {
  for (const format of [0, 1]) {
    const full = everyTag(format, false);
    const feeder = new Feeder({ fromStart: false });
    // An empty frame first: all that can tell is its epilogue.
    const waits = new StreamWriter(format).control(Tag.Wait).control(Tag.Wait).message({ seq: 4 });
    feeder.feedAll(0, waits.bytes, 13);
    feeder.feedAll(1, full.bytes, 100);
    const told = feeder.end();
    assert.deepEqual(placesOf(told, 0), waits.placed);
    assert.deepEqual(placesOf(told, 1), full.placed);
    assert.ok(told.every(({ revision }) => revision === `2.${format}`));
  }
});

Deno.test("neither layout fits: the frame is not told, and the next one is found", () => {
  const stream = new StreamWriter(1).control(Tag.Ack, () => 8).control(Tag.Ack, () => 8);
  const { bytes } = stream;
  bytes[PREAMBLE_SIZE]! ^= 1;
  const feeder = new Feeder({ fromStart: false });
  feeder.feedAll(0, bytes);
  assert.deepEqual(placesOf(feeder.end(), 0), stream.placed.slice(1));
});

Deno.test("bytes that are none of the stream's stand between two frames", () => {
  const head = everyTag(1);
  const next = new StreamWriter(1).control(Tag.Ack, () => 8);
  for (let extra = 1; extra < 70; extra++) {
    const stray = new Uint8Array(extra).fill(1);
    const told = tell(joined([head.bytes, stray, next.bytes]), [0, 0]);
    assert.deepEqual(placesOf(told.slice(0, -1), 0), head.placed);
    const { offset, foundBy } = told.at(-1)!;
    assert.deepEqual({ offset, foundBy }, { offset: head.length + extra, foundBy: "crc" });
  }
});
