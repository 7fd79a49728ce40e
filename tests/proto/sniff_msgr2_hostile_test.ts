/** Bytes that nobody meant, and what the path of a message costs. */
import assert from "node:assert/strict";
import { getHeapStatistics } from "node:v8";
import { gcmMaker } from "../../src/io/libcrypto.ts";
import { arena, arenaTaken, give, take } from "../../src/mem/arena.ts";
import { type Found, Moment, type Side } from "../../src/proto/boundary/found.ts";
import { Msgr2Conversation } from "../../src/proto/boundary/msgr2_conversation.ts";
import { Means, type SideContext } from "../../src/proto/boundary/side_decoder.ts";
import { Conversation } from "../../src/proto/capture/conversation.ts";
import { everyTag, Feeder, joined, sharedBy, StreamWriter } from "../capture/msgr2_streams.ts";
import { type Bytes, FORMATS, modelCrc, pattern } from "../wire/frame_model.ts";

const CRC_FORMATS = FORMATS.slice(0, 2);

/** xorshift32: whole numbers below a limit from a seed. */
function numbers(seed: number): (limit: number) => number {
  let x = seed;
  return (limit) => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % limit;
  };
}

/** Gives a stream in pieces of any size, with holes now and then. */
function feedSomehow(
  feeder: Feeder,
  side: Side,
  bytes: Bytes,
  random: (limit: number) => number,
): void {
  for (let at = 0; at < bytes.length;) {
    const length = Math.min(1 + random(400), bytes.length - at);
    if (random(20) === 0) feeder.hole(side, length);
    else feeder.feed(side, bytes.slice(at, at + length));
    at += length;
  }
}

Deno.test("random bytes are no message, whatever they are cut into", () => {
  const before = arenaTaken();
  for (let seed = 1; seed <= 60; seed++) {
    const random = numbers(seed);
    const bytes = Uint8Array.from({ length: 5000 }, () => random(seed % 3 === 0 ? 5 : 256));
    for (const fromStart of [true, false]) {
      const feeder = new Feeder({ fromStart, means: random(32) });
      feedSomehow(feeder, random(2) as Side, bytes, random);
      assert.deepEqual(feeder.end(), [], `seed ${seed}`);
    }
  }
  assert.equal(arenaTaken(), before);
});

Deno.test.each(CRC_FORMATS)(
  "$name: mutated streams neither throw nor hang, and nothing is invented",
  ({ format }) => {
    const before = arenaTaken();
    const { bytes, placed } = everyTag(format);
    const starts = new Set(placed.map(({ offset }) => offset));
    for (let seed = 1; seed <= 1500; seed++) {
      const random = numbers(seed);
      const wrong = bytes.slice();
      for (let left = 1 + random(30); left > 0; left--) wrong[random(wrong.length)] = random(256);
      const feeder = new Feeder({ fromStart: random(2) === 0, keepsBytes: random(2) === 0 });
      feedSomehow(feeder, 0, wrong, random);
      for (const { offset } of feeder.end()) {
        assert.ok(starts.has(offset), `seed ${seed}: ${offset}`);
      }
    }
    assert.equal(arenaTaken(), before);
  },
);

Deno.test("lengths up to 256 MiB that never come keep nothing", () => {
  const huge =
    new StreamWriter(1).message({ seq: 1, front: pattern(4, 1), data: pattern(4, 2) }).bytes;
  const view = new DataView(huge.buffer);
  view.setUint32(20, 0x0fffffff, true);
  view.setUint32(28, modelCrc(0, huge.subarray(0, 28)), true);
  const feeder = new Feeder();
  feeder.feed(0, joined([new StreamWriter(1).banner().bytes, huge]));
  for (let left = 0; left < 50; left++) feeder.feed(0, new Uint8Array(1000));
  assert.ok(feeder.keptMax < 200, `${feeder.keptMax} bytes were kept`);
  const [, message] = feeder.end();
  assert.equal(message!.fields.data_len, 0x0fffffff);
  assert.ok(message!.missing > 0x0fff0000);
});

/** Bytes ever allocated on the heap. */
function allocated(): number {
  return (getHeapStatistics() as unknown as Record<string, number>)["total_allocated_bytes"]!;
}

/** Both sides of one conversation straight out of the arena. */
class Straight {
  told = 0;
  readonly moment = new Moment();
  readonly decoder: Msgr2Conversation;

  constructor() {
    const conversation = new Conversation(1, ["a:1", "b:2"], [1, 2]);
    conversation.fromStart.fill(true);
    const context = (side: Side): SideContext => ({
      conversation,
      side,
      means: Means.All,
      keepsBytes: false,
      urgent: { names: () => false },
      first: this.moment,
      last: this.moment,
      tell: (found: Found) => {
        this.told += found.errors.length === 0 ? 1 : 0;
      },
    });
    const shared = { ...sharedBy(null), maker: gcmMaker() };
    this.decoder = new Msgr2Conversation([context(0), context(1)], shared);
  }
}

Deno.test.each(CRC_FORMATS)("$name: a message costs no heap", ({ format }) => {
  const side = new Straight();
  const [client, server] = side.decoder.sides;
  const banner = new StreamWriter(format).banner(format & 1).bytes;
  const request = new StreamWriter(format)
    .message({ seq: 1, tid: 5, type: 42, front: pattern(220, 1), data: pattern(4096, 2) })
    .control(18, () => 8).bytes;
  const reply = new StreamWriter(format).control(20, (out) => {
    out.view.setUint32(0, 1, true);
    return 8;
  }).message({ seq: 1, tid: 5, type: 0xfa01, front: pattern(102, 1) }).control(19, () => 8).bytes;
  const at = take(65_536);
  arena.bytes.set(banner, at);
  client.handleBytes(at, at + banner.length, 0);
  server.handleBytes(at, at + banner.length, 0);
  arena.bytes.set(request, at);
  const replyAt = at + 16_384;
  arena.bytes.set(reply, replyAt);
  let asked = banner.length;
  let answered = banner.length;
  const round = (): void => {
    side.moment.timeNs += 1000;
    // In pieces: what is wanted again is given again.
    for (let from = 0; from < request.length;) {
      const to = Math.min(from + 1448, request.length);
      let wanted = client.handleBytes(at + from, at + to, asked + from) - asked;
      if (wanted < to) {
        const more = Math.min(request.length, wanted + 1448);
        wanted = client.handleBytes(at + wanted, at + more, asked + wanted) - asked;
      }
      from = wanted;
    }
    server.handleBytes(replyAt, replyAt + reply.length, answered);
    asked += request.length;
    answered += reply.length;
  };
  const rounds = 40_000;
  let least = Infinity;
  for (let batch = 0; batch < 6 && least >= 4; batch++) {
    const before = allocated();
    for (let index = 0; index < rounds; index++) round();
    least = Math.min(least, (allocated() - before - 256 * 1024) / (rounds * 5));
  }
  assert.ok(least < 4, `${least} bytes of heap for each frame`);
  assert.equal(side.told % (5 * rounds), 2, "all were told without an error, and the banners");
  side.decoder.sides.forEach((it) => it.close());
  give(at);
});
