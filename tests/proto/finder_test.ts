/** The finder of one conversation: windows, gaps, which protocol, holes; with real decoders. */
import assert from "node:assert/strict";
import { arena, arenaTaken, give, take, takeSpare } from "../../src/mem/arena.ts";
import { Finder, type FinderOptions, FinderTally } from "../../src/proto/boundary/finder.ts";
import { type Found, type Gap, Moment, type Side } from "../../src/proto/boundary/found.ts";
import { IscsiShared } from "../../src/proto/boundary/iscsi_conversation.ts";
import { Means } from "../../src/proto/boundary/side_decoder.ts";
import { Conversation, HoleReason } from "../../src/proto/capture/conversation.ts";
import { FrameFormat } from "../../src/wire/msgr2/frame.ts";
import { sharedBy, StreamWriter } from "../capture/msgr2_streams.ts";

interface Told {
  readonly tag: string;
  readonly offset: number;
  readonly length: number;
  readonly missing: number;
  readonly foundBy: string;
  readonly bytes: number;
}

/** A finder and what it told, gaps with the tag `gap`. */
class Run {
  readonly told: [Told[], Told[]] = [[], []];
  readonly tally = new FinderTally();
  readonly finder: Finder;
  readonly conversation: Conversation;
  readonly #moment = new Moment();
  readonly #reached = [0, 0];
  readonly #block: number = take(256 * 1024);

  constructor(options: Partial<FinderOptions> = {}, fromStart = true) {
    this.conversation = new Conversation(1, ["10.0.0.1:4000", "10.0.0.2:3300"], [4000, 3300]);
    this.conversation.fromStart.fill(fromStart);
    this.finder = new Finder(this.conversation, {
      means: Means.All,
      keepsBytes: false,
      msgr2: sharedBy(null),
      iscsi: new IscsiShared(),
      tally: this.tally,
      ...options,
    }, {
      handleFound: (found) => this.#add(found, found.tag, found.foundBy, found.end - found.at),
      handleGap: (gap) => this.#add(gap, "gap", "", 0),
    });
  }

  give(side: Side, bytes: Uint8Array): void {
    const at = this.#block + 3;
    arena.bytes.set(bytes, at);
    this.#step();
    this.conversation.counts[side].bytes += bytes.length;
    this.finder.handleBytes(side, at, at + bytes.length, this.#reached[side]!, this.#moment);
    arena.bytes.fill(0xa5, at, at + bytes.length); // valid only during the call
    this.#reached[side]! += bytes.length;
  }

  hole(side: Side, length: number): void {
    this.#step();
    const offset = this.#reached[side]!;
    this.finder.handleHole(side, offset, length, HoleReason.Acknowledged, this.#moment);
    this.#reached[side]! += length;
  }

  urgent(side: Side, pointer: number): void {
    this.finder.handleUrgent(side, this.#reached[side]!, 1, pointer, this.#moment);
  }

  endSide(side: Side): void {
    this.finder.handleEnd(side, this.#reached[side]!, this.#moment);
  }

  end(): void {
    this.endSide(0);
    this.endSide(1);
    this.finder.close();
    give(this.#block);
  }

  /** Every byte of a side is in one message or gap. */
  assertTiled(side: Side): void {
    let at = 0;
    for (const { length, offset, tag } of this.told[side]) {
      assert.equal(offset, at, `${tag} begins where the one before ended`);
      assert.ok(length > 0);
      at += length;
    }
    assert.equal(at, this.#reached[side]);
  }

  #step(): void {
    this.#moment.timeNs += 1000;
    this.#moment.packet++;
  }

  #add(what: Found | Gap, tag: string, foundBy: string, bytes: number): void {
    const { length, missing, offset, side } = what;
    this.told[side].push({ tag, offset, length, missing, foundBy, bytes });
  }
}

function messages(count: number, dataBytes = 300): StreamWriter {
  const stream = new StreamWriter(FrameFormat.Crc21).banner();
  for (let seq = 1; seq <= count; seq++) {
    stream.message({ seq, tid: seq, data: new Uint8Array(dataBytes).fill(seq) });
  }
  return stream;
}

/** The same series of numbers each time: a seed of a linear congruence. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor(state / 2 ** 32 * below);
  };
}

Deno.test("whatever the segments are, every message is told once and nothing else", () => {
  const stream = messages(20);
  for (const pieceBytes of [1, 7, 33, 100, 1448, 65536]) {
    const before = arenaTaken();
    const run = new Run();
    for (let at = 0; at < stream.length; at += pieceBytes) {
      run.give(0, stream.bytes.subarray(at, at + pieceBytes));
    }
    run.end();
    assert.deepEqual(
      run.told[0].map(({ length, offset, tag }) => ({ tag, offset, length })),
      stream.placed,
    );
    assert.equal(run.told[0][0]!.foundBy, "start");
    assert.deepEqual(new Set(run.told[0].slice(1).map((it) => it.foundBy)), new Set(["length"]));
    assert.equal(run.tally.recognised, 1);
    assert.equal(arenaTaken(), before);
  }
});

Deno.test("with holes anywhere, messages and gaps tile the stream and only true messages are told", () => {
  const stream = messages(40);
  const places = new Map(stream.placed.map((it) => [it.offset, it.length]));
  const bytes = stream.bytes;
  for (let seed = 1; seed <= 200; seed++) {
    const before = arenaTaken();
    const below = numbers(seed);
    const run = new Run();
    let lost = 0;
    for (let at = 0; at < bytes.length;) {
      const length = Math.min(1 + below(900), bytes.length - at);
      if (below(10) === 0 && at > 0) {
        run.hole(0, length);
        lost += length;
      } else run.give(0, bytes.subarray(at, at + length));
      at += length;
    }
    run.end();
    run.assertTiled(0);
    const told = run.told[0].filter(({ tag }) => tag !== "gap");
    for (const { length, offset } of told) {
      assert.equal(places.get(offset), length, `seed ${seed}: a message at ${offset}`);
    }
    const missing = run.told[0].reduce((sum, it) => sum + it.missing, 0);
    assert.equal(missing, lost, `seed ${seed}: every lost byte is told as missing`);
    assert.equal(arenaTaken(), before);
  }
});

Deno.test("a stream of another protocol is given up, and costs nothing any more", () => {
  const before = arenaTaken();
  const run = new Run();
  const text = new TextEncoder().encode(
    "GET /index.html HTTP/1.1\r\nHost: box\r\n\r\n".repeat(100),
  );
  for (let count = 0; count < 40; count++) run.give(0, text);
  const held = arenaTaken();
  run.end();
  assert.deepEqual(run.told[0], []);
  assert.deepEqual([run.tally.recognised, run.tally.unrecognised], [0, 1]);
  assert.ok(held - before <= 512 * 1024, `${held - before} bytes are held`);
  assert.equal(arenaTaken(), before);
});

Deno.test("a stream joined in the middle begins with a gap, then crc, then lengths", () => {
  const stream = messages(6);
  const run = new Run({}, false);
  const from = stream.placed[2]!.offset + 10;
  run.give(0, stream.bytes.subarray(from));
  run.end();
  run.assertTiled(0);
  assert.deepEqual(run.told[0].map(({ foundBy, tag }) => `${tag} ${foundBy}`), [
    "gap ",
    "MSG crc",
    "MSG length",
    "MSG length",
    "MSG length",
  ]);
});

Deno.test("pointers steer nothing while bytes are in order, wherever they point", () => {
  const stream = messages(12);
  const run = new Run();
  for (let at = 0; at < stream.length; at += 50) {
    run.urgent(0, at % 97);
    run.give(0, stream.bytes.subarray(at, at + 50));
  }
  run.end();
  assert.deepEqual(
    run.told[0].map(({ length, offset, tag }) => ({ tag, offset, length })),
    stream.placed,
  );
});

Deno.test("pointers help behind a hole, and not where bytes in order are broken", () => {
  const stream = messages(12);
  const bytes = stream.bytes;
  const starts = stream.placed.map(({ offset }) => offset);
  const broken = starts[4]!;
  bytes[broken] = 0xff; // the crc of this preamble does not hold
  for (const hasHole of [false, true]) {
    const run = new Run({ means: Means.Length | Means.Urgent });
    for (const [index, start] of starts.entries()) {
      const end = starts[index + 1] ?? bytes.length;
      run.urgent(0, 0);
      if (hasHole && start === broken) run.hole(0, end - start);
      else run.give(0, bytes.subarray(start, end));
    }
    run.end();
    const found = run.told[0].filter(({ offset, tag }) => offset > broken && tag !== "gap");
    assert.deepEqual(found.map(({ foundBy }) => foundBy).slice(0, 1), hasHole ? ["urgent"] : []);
  }
});

Deno.test("messages are kept whole for their bytes when asked", () => {
  const stream = messages(5, 4000);
  const run = new Run({ keepsBytes: true });
  for (let at = 0; at < stream.length; at += 1448) {
    run.give(0, stream.bytes.subarray(at, at + 1448));
  }
  run.end();
  assert.deepEqual(run.told[0].map((it) => it.bytes), stream.placed.map((it) => it.length));
});

Deno.test("a side that ended before the other side proved the protocol is told as a gap", () => {
  const run = new Run({}, false);
  const noise = new Uint8Array(5000).fill(0x5a);
  run.give(0, noise);
  run.endSide(0);
  assert.deepEqual(run.told[0], []);
  run.give(1, messages(3).bytes.subarray(30));
  run.end();
  run.assertTiled(0);
  run.assertTiled(1);
  assert.deepEqual(run.told[0].map(({ length, tag }) => `${tag} ${length}`), ["gap 5000"]);
});

Deno.test("what a message announced and its stream's end cut off was never on the wire", () => {
  const stream = messages(3);
  const run = new Run();
  run.give(0, stream.bytes.subarray(0, stream.length - 100));
  run.end();
  run.assertTiled(0);
  const last = run.told[0].at(-1)!;
  assert.deepEqual([last.tag, last.missing], ["MSG", 0]);
  assert.equal(last.length, stream.placed.at(-1)!.length - 100);
});

Deno.test("without memory for a window its bytes are a hole, and what comes later is found", () => {
  const stream = messages(30, 3000);
  const run = new Run({ keepsBytes: true });
  run.give(0, stream.bytes.subarray(0, 26)); // the banner
  // All but what is reserved for others is taken.
  const blocks: number[] = [];
  for (let bytes = 128 * 1024 * 1024; bytes >= 4096; bytes /= 2) {
    for (let block = takeSpare(bytes); block >= 0; block = takeSpare(bytes)) blocks.push(block);
  }
  run.give(0, stream.bytes.subarray(26, 5000));
  run.give(0, stream.bytes.subarray(5000, 8000));
  for (const block of blocks) give(block);
  for (let at = 8000; at < stream.length; at += 1448) {
    run.give(0, stream.bytes.subarray(at, Math.min(at + 1448, stream.length)));
  }
  run.end();
  run.assertTiled(0);
  const told = run.told[0];
  assert.ok(told.some(({ missing, tag }) => tag === "gap" || missing > 0));
  assert.ok(told.filter(({ tag }) => tag === "MSG").length >= 26, `${told.length}`);
});
