/** Sealed frames opened from a capture, whole and in pieces, and found again behind holes. */
import assert from "node:assert/strict";
import { getHeapStatistics } from "node:v8";
import { gcmMaker } from "../../src/io/libcrypto.ts";
import { NodeGcm } from "../../src/io/node_gcm.ts";
import { arena, arenaTaken, give, take } from "../../src/mem/arena.ts";
import { Fault } from "../../src/mem/fault.ts";
import type { Side } from "../../src/proto/boundary/found.ts";
import { SecureReader } from "../../src/proto/boundary/secure_reader.ts";
import { KeyType } from "../../src/wire/cephx/crypto_key.ts";
import { ConMode } from "../../src/wire/msgr2/auth.ts";
import { FrameFormat } from "../../src/wire/msgr2/frame.ts";
import { writePreamble } from "../../src/wire/msgr2/preamble.ts";
import { Tag } from "../../src/wire/msgr2/tag.ts";
import { crypto, run, World } from "../cephx/pair.ts";
import {
  type Bytes,
  concat,
  KEY,
  modelCrc,
  modelFrame,
  ModelNonce,
  NONCE,
  pattern,
  type PlainFrame,
  Sender,
} from "../wire/frame_model.ts";

const REVISIONS = [{ revision: 0, name: "msgr2.0" }, { revision: 1, name: "msgr2.1" }];

/** The nonces of the one who accepts are about to wrap, in both revisions. */
const ACCEPTOR_NONCE = NONCE;
const CONNECTOR_NONCE: Bytes = Uint8Array.from(NONCE, (byte) => byte ^ 0x5a);
const SECRET = concat([KEY, ACCEPTOR_NONCE, CONNECTOR_NONCE, new Uint8Array(24)]);

const EMPTY: Bytes = new Uint8Array(0);

/** What a frame has in the four segments. */
function plain(sizes: readonly number[], seed = 1, tag: number = Tag.Message): PlainFrame {
  const segments = [0, 1, 2, 3].map((index) => pattern(sizes[index] ?? 0, seed + index));
  return { tag, segments };
}

/** Every road through both formats. */
const SIZES = [
  [0],
  [1],
  [47],
  [48],
  [49],
  [64],
  [65],
  [1000],
  [41, 1],
  [41, 16, 17],
  [48, 0, 0, 1],
  [49, 1],
  [100, 200, 300, 400],
  [41, 256, 0, 4096],
  [41, 0, 3],
  [200, 0, 0, 70_000],
];

/** A stretch of the arena with a stream's bytes in it. */
class Tape {
  readonly at: number;
  readonly size: number;
  readonly end: number;

  constructor(bytes: Uint8Array, room = bytes.length) {
    this.size = room;
    this.at = take(room);
    assert.ok(this.at >= 0);
    arena.bytes.set(bytes, this.at);
    this.end = this.at + bytes.length;
  }

  close(): void {
    give(this.at);
  }
}

function model(frames: readonly PlainFrame[], revision: number, side: Side = 0): Bytes[] {
  const nonce = new ModelNonce(side === 0 ? CONNECTOR_NONCE : ACCEPTOR_NONCE, revision);
  const format = revision === 1 ? FrameFormat.Secure21 : FrameFormat.Secure20;
  return frames.map((frame) => modelFrame(format, frame, nonce));
}

function newReader(revision: number, side: Side = 0): SecureReader {
  return new SecureReader(gcmMaker(), SECRET, side, revision);
}

/** What the reader has just opened is this frame. */
function assertFrame(reader: SecureReader, frame: PlainFrame): void {
  const { preamble, parts } = reader;
  assert.equal(preamble.tag, frame.tag);
  for (let index = 0; index < preamble.segmentCount; index++) {
    const at = parts.at[index]!;
    const end = at + preamble.lengths[index]!;
    assert.ok(at >= reader.plainAt && end <= reader.plainEnd);
    assert.deepEqual(arena.bytes.slice(at, end), frame.segments[index]);
  }
  for (let index = preamble.segmentCount; index < 4; index++) {
    assert.equal(frame.segments[index]!.length, 0);
  }
  assert.equal(parts.aborted, frame.aborted ?? false);
}

Deno.test.each(REVISIONS)("$name: frames of every shape, of both sides", ({ revision }) => {
  const taken = arenaTaken();
  for (const side of [0, 1] as const) {
    const frames = SIZES.map((sizes, seed) => plain(sizes, seed));
    const sealed = concat(model(frames, revision, side));
    const tape = new Tape(sealed);
    for (const maker of [gcmMaker(), new NodeGcm()]) {
      const reader = new SecureReader(maker, SECRET, side, revision);
      let at = tape.at;
      for (const frame of frames) {
        const bytes = reader.read(at, tape.end);
        assert.ok(bytes > 0);
        assert.equal(reader.plainEnd - reader.plainAt, bytes);
        assert.equal(reader.begun, false);
        assertFrame(reader, frame);
        at += bytes;
      }
      assert.equal(at, tape.end);
      assert.equal(reader.read(at, tape.end), 0);
      reader.close();
    }
    assert.deepEqual(arena.bytes.slice(tape.at, tape.end), sealed, "the ciphertext is as it was");
    tape.close();
  }
  assert.equal(arenaTaken(), taken);
});

const KINDS = REVISIONS.flatMap(({ revision, name }) =>
  [KeyType.Aes, KeyType.Aes256k].map((type) => ({ revision, type, name: `${name}, key ${type}` }))
);

Deno.test.each(KINDS)("$name: a real handshake, then real frames both ways", (row) => {
  const { revision, type } = row;
  const taken = arenaTaken();
  const world = new World(type);
  const client = world.client().toMon();
  assert.equal(run(client, world.server.attempt(), ConMode.Secure).end, "authenticated");
  const secret = client.connectionSecret;
  const format = revision === 1 ? FrameFormat.Secure21 : FrameFormat.Secure20;
  for (const side of [0, 1] as const) {
    const nonce = side === 0 ? secret.slice(28, 40) : secret.slice(16, 28);
    const sender = new Sender(format, secret.slice(0, 16), nonce);
    const front = pattern(500, 3);
    const data = pattern(100_000, 4);
    const sealed = [
      sender.control(Tag.AuthSignature, pattern(32, 1)),
      sender.control(Tag.ClientIdent, pattern(120, 2)),
      sender.message({ seq: 1, front, data }),
      sender.control(Tag.Ack, pattern(8, 5)),
    ];
    const tape = new Tape(concat(sealed));
    const reader = new SecureReader(gcmMaker(), secret, side, revision);
    let at = tape.at;
    const tags: number[] = [];
    for (const { length } of sealed) {
      assert.equal(reader.read(at, tape.end), length);
      tags.push(reader.preamble.tag);
      at += length;
      if (reader.preamble.tag !== Tag.Message) continue;
      const [, frontAt, , dataAt] = reader.parts.at;
      assert.deepEqual(arena.bytes.slice(frontAt, frontAt! + front.length), front);
      assert.deepEqual(arena.bytes.slice(dataAt, dataAt! + data.length), data);
    }
    assert.deepEqual(tags, [Tag.AuthSignature, Tag.ClientIdent, Tag.Message, Tag.Ack]);
    reader.close();
    sender.close();
    tape.close();
  }
  assert.equal(arenaTaken(), taken);
});

Deno.test.each(REVISIONS)("$name: byte by byte, at another address each time", ({ revision }) => {
  const frames = SIZES.slice(0, 14).map((sizes, seed) => plain(sizes, seed));
  const sealed = model(frames, revision);
  const reader = newReader(revision);
  const tape = new Tape(EMPTY, 16_384);
  for (const [index, bytes] of sealed.entries()) {
    for (let length = 0; length < bytes.length; length++) {
      const at = tape.at + length % 7;
      arena.bytes.fill(0xee, tape.at, tape.at + length + 16);
      arena.bytes.set(bytes.subarray(0, length), at);
      assert.equal(reader.read(at, at + length), 0);
      const head = revision === 1 ? 96 : 32;
      assert.equal(reader.begun, length >= head);
      assert.equal(reader.needed, length < head ? head : bytes.length);
      if (reader.begun) assert.equal(reader.preamble.tag, Tag.Message);
    }
    arena.bytes.set(bytes, tape.at);
    assert.equal(reader.read(tape.at, tape.at + bytes.length), bytes.length);
    assertFrame(reader, frames[index]!);
  }
  reader.close();
  tape.close();
});

Deno.test.each(REVISIONS)("$name: an aborted frame, and a late status that is none", (row) => {
  const { revision } = row;
  const aborted = { ...plain([41, 100]), aborted: true };
  const odd = { ...plain([41, 100]), late: 0x06 };
  const tape = new Tape(concat(model([aborted, odd, plain([8])], revision)));
  const reader = newReader(revision);
  let at = tape.at + reader.read(tape.at, tape.end);
  assertFrame(reader, aborted);
  const answer = reader.read(at, tape.end);
  if (revision === 1) {
    assert.equal(answer, -Fault.Field);
    at += reader.needed;
    reader.skip();
  } else {
    at += answer;
  }
  assert.ok(reader.read(at, tape.end) > 0);
  assertFrame(reader, plain([8]));
  reader.close();
  tape.close();
});

Deno.test.each(REVISIONS)("$name: changed bytes are told, the next frame is read", (row) => {
  const { revision } = row;
  const frames = [plain([8], 1), plain([60, 30, 0, 5], 2), plain([9], 3)];
  const sealed = model(frames, revision);
  const tape = new Tape(concat(sealed));
  const second = tape.at + sealed[0]!.length;
  const third = second + sealed[1]!.length;
  for (let place = second; place < third; place++) {
    const reader = newReader(revision);
    assert.ok(reader.read(tape.at, tape.end) > 0);
    arena.bytes[place]! ^= 1;
    const first = reader.read(second, tape.end);
    // In revision 0 a length may be spoilt so that the frame is much longer than it was.
    assert.ok(first < 0 || (revision === 0 && first === 0), `byte ${place - second}`);
    if (first < 0 && reader.begun) {
      assert.equal(first, -Fault.Checksum);
      assert.equal(reader.read(second, tape.end), first, "and told again");
      assert.equal(reader.needed, sealed[1]!.length);
      reader.skip();
    } else {
      assert.equal(reader.search(second + 1, tape.end, 1), third, "the next one is found");
    }
    assert.ok(reader.read(third, tape.end) > 0);
    assertFrame(reader, frames[2]!);
    reader.close();
    arena.bytes[place]! ^= 1;
  }
  tape.close();
});

Deno.test.each(REVISIONS)("$name: a frame above the limit is told and skipped", ({ revision }) => {
  const taken = arenaTaken();
  const most = 16 * 1024 * 1024;
  for (const over of [0, 1]) {
    const frames = [plain([41, 100, 0, most - 141 + over]), plain([8], 3)];
    const sealed = model(frames, revision);
    const tape = new Tape(concat(sealed));
    const reader = newReader(revision);
    const answer = reader.read(tape.at, over === 0 ? tape.end : tape.at + 96);
    if (over === 0) {
      assert.equal(answer, sealed[0]!.length);
      assert.ok(arenaTaken() - taken > most);
    } else {
      assert.equal(answer, -Fault.Large);
      assert.equal(reader.begun, true);
      assert.equal(reader.needed, sealed[0]!.length);
      reader.skip();
    }
    assert.ok(reader.read(tape.at + sealed[0]!.length, tape.end) > 0);
    assertFrame(reader, frames[1]!);
    tape.close();
    assert.ok(arenaTaken() - taken <= 4096, "the large block was given back");
    reader.close();
  }
  assert.equal(arenaTaken(), taken);
});

/** A stream with frames of all kinds, and where each begins. */
function mixed(revision: number, count: number, seed: number): {
  frames: PlainFrame[];
  bytes: Bytes;
  starts: number[];
} {
  const shapes = [[8], [12], [41, 30], [120], [49, 1], [41, 200, 0, 900], [0], [60, 0, 50]];
  const frames = Array.from({ length: count }, (_, index) => {
    const shape = shapes[(index * 5 + seed + (index >> 3)) % shapes.length]!;
    return plain(shape, index, shape.length === 1 ? Tag.Ack : Tag.Message);
  });
  const sealed = model(frames, revision);
  const starts: number[] = [];
  let at = 0;
  for (const { length } of sealed) {
    starts.push(at);
    at += length;
  }
  return { frames, bytes: concat(sealed), starts };
}

/** Reads the first `count` frames. */
function readFirst(reader: SecureReader, tape: Tape, count: number): void {
  let at = tape.at;
  for (let index = 0; index < count; index++) at += reader.read(at, tape.end);
}

/** Reads on from `at` to the end of the tape; how many frames, all of them right. */
function readAll(reader: SecureReader, tape: Tape, at: number, frames: PlainFrame[]): number {
  let count = 0;
  for (let next = at; next < tape.end; count++) {
    const bytes = reader.read(next, tape.end);
    assert.ok(bytes > 0);
    assertFrame(reader, frames[count]!);
    next += bytes;
  }
  return count;
}

Deno.test.each(REVISIONS)("$name: behind a hole of any place and length", ({ revision }) => {
  const taken = arenaTaken();
  const { frames, bytes, starts } = mixed(revision, 30, 0);
  const tape = new Tape(bytes);
  for (let from = 0; from < 16; from++) {
    const lost = starts[from]!; // where the frame begins that is hit
    for (let to = lost + 1; to < starts[26]!; to += from === 3 ? 1 : 41) {
      const reader = newReader(revision);
      readFirst(reader, tape, from);
      const next = starts.findIndex((start) => start >= to);
      const found = reader.search(tape.at + to, tape.end, to - lost);
      assert.equal(found - tape.at, starts[next], `hole ${lost} to ${to}`);
      assert.equal(readAll(reader, tape, found, frames.slice(next)), frames.length - next);
      reader.close();
    }
  }
  tape.close();
  assert.equal(arenaTaken(), taken);
});

Deno.test.each(REVISIONS)("$name: a hole that begins inside a frame whose head was read", (row) => {
  const { revision } = row;
  const { frames, bytes, starts } = mixed(revision, 30, 2);
  const tape = new Tape(bytes);
  const large = frames.findIndex((frame) => frame.segments[3]!.length > 0);
  const start = starts[large]!;
  const length = starts[large + 1]! - start;
  for (const to of [200, length, length + 1, length + 700]) {
    const reader = newReader(revision);
    readFirst(reader, tape, large);
    assert.equal(reader.read(tape.at + start, tape.at + start + 150), 0);
    assert.equal(reader.needed, length);
    let at = tape.at + start + length;
    if (to <= length) reader.skip();
    else at = reader.search(tape.at + start + to, tape.end, to - length);
    const next = starts.indexOf(at - tape.at);
    assert.equal(next, starts.findIndex((place) => place >= start + Math.max(to, length)));
    assert.equal(readAll(reader, tape, at, frames.slice(next)), frames.length - next);
    reader.close();
  }
  tape.close();
});

Deno.test.each(REVISIONS)("$name: what follows a hole comes in pieces of any size", (row) => {
  const { revision } = row;
  const { frames, bytes, starts } = mixed(revision, 60, 5);
  const tape = new Tape(bytes);
  const from = starts[40]! - 37; // a part of frame 39 is there
  for (const piece of [1, 7, 95, 96, 97, 500]) {
    const reader = newReader(revision);
    assert.ok(reader.read(tape.at, tape.end) > 0);
    let at = tape.at + from;
    let found = -1;
    for (let end = at + piece; found < 0; end += piece) {
      assert.ok(end <= tape.end + piece);
      found = reader.search(at, Math.min(end, tape.end), from - starts[1]!);
      if (found < 0) at = Math.max(at, Math.min(end, tape.end) - 95);
    }
    assert.equal(found, tape.at + starts[40]!);
    assert.equal(readAll(reader, tape, found, frames.slice(40)), 20);
    reader.close();
  }
  tape.close();
});

Deno.test.each(REVISIONS)("$name: several holes before a whole frame comes", ({ revision }) => {
  const { frames, bytes, starts } = mixed(revision, 60, 1);
  const large = frames.findIndex(({ segments }, index) => index > 5 && segments[3]!.length > 0);
  const tape = new Tape(bytes);
  const reader = newReader(revision);
  assert.ok(reader.read(tape.at, tape.end) > 0);
  // Two runs out of the middle of large frames, and then the rest.
  const first = [starts[large]! + 200, starts[large]! + 500] as const;
  const second = [starts[large + 8]! + 150, starts[large + 8]! + 160] as const;
  const third = starts[50]! - 3;
  let missing = first[0] - starts[1]!;
  assert.equal(reader.search(tape.at + first[0], tape.at + first[1], missing), -1);
  missing += second[0] - first[1];
  assert.equal(reader.search(tape.at + second[0], tape.at + second[1], missing), -1);
  missing += third - second[0]; // too short to be searched
  const found = reader.search(tape.at + third, tape.end, missing);
  assert.equal(found, tape.at + starts[50]!);
  assert.equal(readAll(reader, tape, found, frames.slice(50)), 10);
  reader.close();
  tape.close();
});

Deno.test.each(REVISIONS)("$name: the bound on nonces is exact for the densest frames", (row) => {
  const { revision } = row;
  const dense = revision === 1 ? [49, 1] : [0];
  const frames = Array.from({ length: 400 }, (_, index) => plain(dense, index));
  const sealed = model(frames, revision);
  const bytes = concat(sealed.slice(399));
  const missing = concat(sealed.slice(0, 399)).length;
  const tape = new Tape(bytes);
  const reader = newReader(revision);
  const end = tape.at + (revision === 1 ? 96 : 32); // a single offset is tried
  assert.equal(reader.search(tape.at, end, missing - 1), -1, "one byte less is one too few");
  reader.close();
  const again = newReader(revision);
  assert.equal(again.search(tape.at, end, missing), tape.at);
  assert.equal(readAll(again, tape, tape.at, frames.slice(399)), 1);
  again.close();
  tape.close();
});

/** A stream `gap` operations further on: a single frame is sealed. */
function after(gap: number, revision: number): Bytes {
  const nonce = new ModelNonce(CONNECTOR_NONCE, revision);
  for (let left = gap; left > 0; left--) nonce.next();
  const format = revision === 1 ? FrameFormat.Secure21 : FrameFormat.Secure20;
  return modelFrame(format, plain([8]), nonce);
}

Deno.test.each(REVISIONS)("$name: 65,536 nonces are tried and no more", ({ revision }) => {
  const taken = arenaTaken();
  for (const gap of [65_535, 65_536]) {
    const tape = new Tape(concat([crypto.randomBytes(20_000), after(gap, revision)]));
    const reader = newReader(revision);
    const found = reader.search(tape.at, tape.end, 50_000_000);
    assert.equal(found, gap === 65_535 ? tape.at + 20_000 : -1);
    assert.ok(arenaTaken() - taken <= 8 * 1024 * 1024, "its memory is bounded");
    if (found > 0) assert.equal(readAll(reader, tape, found, [plain([8])]), 1);
    reader.close();
    tape.close();
  }
  assert.equal(arenaTaken(), taken);
});

Deno.test.each(REVISIONS)(
  "$name: nothing is found in random bytes and in zeros",
  ({ revision }) => {
    const size = 4 * 1024 * 1024;
    for (const fill of ["random", "zeros"]) {
      const tape = new Tape(fill === "zeros" ? new Uint8Array(size) : crypto.randomBytes(size));
      const reader = newReader(revision);
      const begin = performance.now();
      assert.equal(reader.search(tape.at, tape.end, 100_000_000), -1);
      assert.ok(
        performance.now() - begin < 10_000,
        "4 MiB against 65,536 nonces take under a second",
      );
      reader.close();
      tape.close();
    }
  },
);

/** Reads a stream with holes as a decoder does; which frames were opened. */
class Follower {
  readonly opened: number[] = [];
  readonly #reader: SecureReader;
  readonly #tape: Tape;
  readonly #starts: readonly number[];
  readonly #frames: readonly PlainFrame[];
  /** Of the frame at the front, or of what is searched next. */
  #at = 0;
  #isLost = false;
  #unsearched = 0;

  constructor(reader: SecureReader, tape: Tape, stream: ReturnType<typeof mixed>) {
    this.#reader = reader;
    this.#tape = tape;
    this.#starts = stream.starts;
    this.#frames = stream.frames;
  }

  /** Bytes up to `end` are there. */
  bytes(end: number): void {
    const { at: base } = this.#tape;
    while (this.#at < end) {
      if (this.#isLost) {
        const found = this.#reader.search(base + this.#at, base + end, this.#unsearched);
        if (found < 0) {
          this.#at = Math.max(this.#at, end - 95);
          return;
        }
        this.#at = found - base;
        this.#isLost = false;
      }
      const bytes = this.#reader.read(base + this.#at, base + end);
      if (bytes === 0) return;
      const index = this.#starts.indexOf(this.#at);
      assert.ok(bytes > 0 && index >= 0, `a frame at ${this.#at}`);
      assertFrame(this.#reader, this.#frames[index]!);
      this.opened.push(index);
      this.#at += bytes;
    }
  }

  /** Bytes up to `end` are not. */
  hole(end: number): void {
    if (end <= this.#at) return;
    if (!this.#isLost && this.#reader.begun) {
      this.#at += this.#reader.needed;
      this.#reader.skip();
      if (end <= this.#at) return;
    }
    this.#unsearched = (this.#isLost ? this.#unsearched : 0) + end - this.#at;
    this.#isLost = true;
    this.#at = end;
  }
}

/** Numbers below `below`, the same for the same seed: mulberry32. */
function dice(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixedBits = Math.imul(state ^ (state >>> 15), state | 1);
    mixedBits ^= mixedBits + Math.imul(mixedBits ^ (mixedBits >>> 7), mixedBits | 61);
    return ((mixedBits ^ (mixedBits >>> 14)) >>> 0) % below;
  };
}

Deno.test.each(REVISIONS)(
  "$name: random holes, random pieces: every whole frame is opened",
  (row) => {
    const { revision } = row;
    const taken = arenaTaken();
    for (let seed = 1; seed <= 60; seed++) {
      const roll = dice(seed * 2 + revision);
      const stream = mixed(revision, 80, seed);
      const whole = new Uint8Array(stream.frames.length).fill(1);
      const tape = new Tape(stream.bytes);
      const reader = newReader(revision);
      const follower = new Follower(reader, tape, stream);
      const holeMax = [200, 2000, 6000][seed % 3]!;
      let at = 0;
      while (at < stream.bytes.length) {
        const end = Math.min(stream.bytes.length, at + 1 + roll(seed % 2 === 0 ? 4000 : 800));
        while (at < end) {
          at = Math.min(end, at + 1 + roll(300));
          follower.bytes(at);
        }
        const until = Math.min(stream.bytes.length, at + 1 + roll(holeMax));
        if (until === at) break;
        arena.bytes.set(crypto.randomBytes(until - at), tape.at + at);
        for (const [index, start] of stream.starts.entries()) {
          const next = stream.starts[index + 1] ?? stream.bytes.length;
          if (start < until && next > at) whole[index] = 0;
        }
        follower.hole(until);
        at = until;
      }
      const expected = [...whole.keys()].filter((index) => whole[index] === 1);
      assert.deepEqual(follower.opened, expected, `seed ${seed}`);
      reader.close();
      tape.close();
    }
    assert.equal(arenaTaken(), taken);
  },
);

Deno.test("after 256 MiB a search gives up and gives its memory back", () => {
  const tape = new Tape(EMPTY, 64 * 1024 * 1024);
  const taken = arenaTaken();
  const reader = newReader(1);
  for (let part = 0; part < 4; part++) {
    assert.equal(reader.search(tape.at, tape.at + tape.size, 0), -1);
    assert.ok(arenaTaken() > taken);
  }
  assert.equal(reader.search(tape.at, tape.at + tape.size, 0), -1);
  assert.equal(arenaTaken(), taken);
  arena.bytes.set(after(3, 1), tape.at);
  assert.equal(reader.search(tape.at, tape.at + 96, 0), -1);
  reader.close();
  tape.close();
});

Deno.test("a compressed frame is opened and told", () => {
  const tape = new Tape(new Uint8Array(96));
  const sealer = gcmMaker().sealer(KEY);
  writePreamble(arena, tape.at, Tag.Message, 41, 0, 0, 0);
  arena.bytes[tape.at + 26] = 1;
  arena.view.setInt32(tape.at + 28, modelCrc(0, arena.bytes.slice(tape.at, tape.at + 28)), true);
  sealer.begin(CONNECTOR_NONCE);
  sealer.update(tape.at, tape.at, 80);
  sealer.finish(tape.at + 80);
  sealer.free();
  const reader = newReader(1);
  assert.equal(reader.read(tape.at, tape.end), 96);
  assert.equal(reader.compressed, true);
  reader.close();
  tape.close();
});

Deno.test.each(REVISIONS)("$name: when memory is short, a large frame is skipped", (row) => {
  const { revision } = row;
  const frames = [plain([41, 100_000]), plain([41, 3000]), plain([41, 50_000])];
  const sealed = model(frames, revision);
  const tape = new Tape(concat(sealed));
  const blocks = [take(256 * 1024 * 1024), take(128 * 1024 * 1024)];
  const reader = newReader(revision);
  assert.equal(reader.read(tape.at, tape.end), -Fault.Full);
  assert.equal(reader.needed, sealed[0]!.length);
  reader.skip();
  let at = tape.at + sealed[0]!.length;
  at += reader.read(at, tape.end);
  assertFrame(reader, frames[1]!);
  for (const block of blocks) give(block);
  assert.equal(reader.read(at, tape.end), sealed[2]!.length);
  assertFrame(reader, frames[2]!);
  reader.close();
  tape.close();
});

/** Bytes ever allocated on the heap. */
function allocated(): number {
  const statistics = getHeapStatistics() as unknown as Record<string, number>;
  return statistics["total_allocated_bytes"]!; // newer than the types of Deno
}

Deno.test.each(REVISIONS)("$name: frames are opened without the heap", ({ revision }) => {
  const frames = Array.from({ length: 2000 }, (_, index) => plain([41, index % 300 + 1], index));
  const sealed = concat(model(frames, revision));
  const tape = new Tape(sealed);
  let least = Infinity;
  for (let batch = 0; batch < 8 && least >= 16; batch++) {
    const before = allocated();
    let count = 0;
    for (let round = 0; round < 50; round++) {
      const reader = newReader(revision);
      for (let at = tape.at; at < tape.end; count++) at += reader.read(at, tape.end);
      reader.close();
    }
    assert.equal(count, 50 * frames.length);
    least = Math.min(least, (allocated() - before) / count);
  }
  assert.ok(
    least < 16,
    `${least} bytes of heap per frame, readers and the looks at the heap included`,
  );
  tape.close();
});

Deno.test.each(REVISIONS)("$name: a table that has grown knows the first nonces, too", (row) => {
  const { revision } = row;
  const tape = new Tape(concat([crypto.randomBytes(500), after(7, revision)]));
  const reader = newReader(revision);
  assert.equal(reader.search(tape.at, tape.at + 400, 30_000), -1);
  assert.equal(reader.search(tape.at + 305, tape.end, 3_000_000), tape.at + 500);
  assert.equal(readAll(reader, tape, tape.at + 500, [plain([8])]), 1);
  reader.close();
  tape.close();
});

Deno.test("msgr2.1: a first block whose tag does not match is not found", () => {
  const tape = new Tape(after(7, 1));
  for (const place of [32, 79, 80, 95]) {
    arena.bytes[tape.at + place]! ^= 0x10;
    const reader = newReader(1);
    assert.equal(reader.search(tape.at, tape.end, 3000), -1);
    reader.close();
    arena.bytes[tape.at + place]! ^= 0x10;
  }
  tape.close();
});

Deno.test("another secret opens nothing and finds nothing", () => {
  const { bytes } = mixed(1, 30, 0);
  const tape = new Tape(bytes);
  const secret = SECRET.slice();
  secret[3]! ^= 1;
  const reader = new SecureReader(gcmMaker(), secret, 0, 1);
  assert.equal(reader.read(tape.at, tape.end), -Fault.Checksum);
  assert.equal(reader.begun, false);
  assert.equal(reader.search(tape.at, tape.end, 0), -1);
  reader.close();
  tape.close();
});

Deno.test("a closed reader answers, and gives everything back once", () => {
  const taken = arenaTaken();
  const { bytes } = mixed(1, 30, 0);
  const tape = new Tape(bytes);
  const reader = newReader(1);
  assert.ok(reader.read(tape.at, tape.end) > 0);
  assert.equal(reader.search(tape.at + 1, tape.at + 97, 0), -1);
  reader.close();
  reader.close();
  assert.equal(reader.read(tape.at, tape.end), -Fault.Closed);
  assert.equal(reader.search(tape.at, tape.end, 0), -1);
  assert.equal(reader.plainAt, reader.plainEnd);
  tape.close();
  assert.equal(arenaTaken(), taken);
});
