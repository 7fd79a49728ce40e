/**
 * A message is taken back while it is on the wire: msgr2 "late_flags is used for frame abortion".
 * Cut after cut, in all four formats, the receiver must drop it, count it, and go on.
 */
import assert from "node:assert/strict";
import { arenaTaken } from "../../src/mem/arena.ts";
import { SEAL_STAGING_BYTES } from "../../src/mem/limits.ts";
import { POLICIES } from "../../src/proto/msgr2/policy.ts";
import { frameBytes, FrameFormat, isSecure } from "../../src/wire/msgr2/frame.ts";
import { FORMATS, pattern } from "../wire/frame_model.ts";
import { Link, say } from "./link.ts";

/** Larger than what is sealed ahead, and than what is encoded ahead; every segment is used. */
const FRONT = 190_001;
const MIDDLE = 30;
const DATA = 60_016;
const EPILOGUES = [17, 13, 16 + 16, 16 + 16];

const LARGE = { front: pattern(FRONT, 1), middle: pattern(MIDDLE, 2), data: pattern(DATA, 3) };

function bytesOf(format: number): number {
  return frameBytes(format, 41, FRONT, MIDDLE, DATA);
}

/** Where sending stops: around every border of the frame, and here and there in between. */
function cuts(format: number): number[] {
  const whole = bytesOf(format);
  const found = new Set<number>();
  const borders = [
    0,
    32,
    73,
    77,
    80,
    96,
    FRONT + 32 + 41,
    FRONT + 32 + 41 + 4 + MIDDLE,
    SEAL_STAGING_BYTES,
    whole - EPILOGUES[format]!,
    whole,
  ];
  for (const border of borders) for (let by = -2; by <= 2; by++) found.add(border + by);
  for (let at = 1000; at < whole; at += 9_973) found.add(at);
  return [...found].filter((at) => at >= 0 && at <= whole).sort((a, b) => a - b);
}

/** Sends the large message up to a cut, with others around it, and takes it back. */
function revokeAt(format: number, cut: number): { revoked: boolean; link: Link } {
  const link = new Link({ format });
  link.ready();
  say(link, "before");
  link.settle();
  const serial = link.session.send({ type: 0xfa01, ...LARGE });
  say(link, "behind 1");
  assert.equal(link.carry(cut), cut);
  say(link, "behind 2");
  const revoked = link.session.revoke(serial);
  link.settle();
  return { revoked, link };
}

Deno.test.each(FORMATS)("$name: a message is revoked half way, at any byte", ({ format }) => {
  const start = arenaTaken();
  const whole = bytesOf(format);
  const seen = new Set<boolean>();
  for (const cut of cuts(format)) {
    const { revoked, link } = revokeAt(format, cut);
    seen.add(revoked);
    const what = `after ${cut} bytes of ${whole}`;
    // Sealed ahead of the kernel is too late as well; in crc mode only the epilogue is.
    if (!isSecure(format)) assert.equal(revoked, cut <= whole - EPILOGUES[format]!, what);
    else if (cut < whole - 2 * SEAL_STAGING_BYTES) assert.equal(revoked, true, what);
    else if (cut > whole - EPILOGUES[format]!) assert.equal(revoked, false, what);
    const lengths = link.received.map((text) => text.length > 10 ? "large" : text);
    const expected = revoked
      ? ["before", "behind 1", "behind 2"]
      : ["before", "large", "behind 1", "behind 2"];
    assert.deepEqual(lengths, expected, what);
    assert.equal(link.server.counters.aborted, revoked && cut > 0 ? 1 : 0, what);
    assert.equal(link.server.counters.duplicates, 0);
    assert.equal(link.session.unacknowledged, 0, what);
    assert.equal(link.session.outbox.bytes, 0, what);
    assert.equal(link.connections, 1, what);
    link.close();
    assert.equal(arenaTaken(), start, what);
  }
  assert.deepEqual([...seen].sort(), [false, true]);
});

Deno.test.each(FORMATS)("$name: what was revoked half way is not sent again", ({ format }) => {
  const start = arenaTaken();
  for (const carried of [0, 40, 5_000, bytesOf(format) + 10]) {
    const { link, serial } = halfSent(format);
    assert.equal(link.session.revoke(serial), true);
    assert.equal(link.session.revoke(serial), true, "said twice, done once");
    link.carry(carried);
    link.cut();
    assert.equal(link.session.revoke(serial), false, "it is gone");
    link.settle();
    assert.deepEqual(link.received, ["before", "behind"]);
    assert.equal(link.session.unacknowledged, 0);
    assert.equal(link.connections, 2);
    link.close();
    assert.equal(arenaTaken(), start);
  }
});

function halfSent(format: number): { link: Link; serial: number } {
  const link = new Link({ format });
  link.ready();
  say(link, "before");
  link.settle();
  const serial = link.session.send({ type: 0xfa01, ...LARGE });
  say(link, "behind");
  link.carry(2_000);
  return { link, serial };
}

Deno.test.each(FORMATS)("$name: a message that broke off with its connection", ({ format }) => {
  const { link, serial } = halfSent(format);
  link.cut();
  assert.equal(link.session.revoke(serial), false, "the peer may have it: it is sent again");
  link.settle();
  assert.deepEqual(link.received.map((text) => text.length), ["before".length, FRONT, 6]);
  assert.equal(link.session.unacknowledged, 0);
  link.close();
});

Deno.test.each(FORMATS)("$name: a queued message is revoked without a trace", ({ format }) => {
  const start = arenaTaken();
  const link = new Link({ format });
  const serials = ["one", "two", "three", "four"].map((text) => say(link, text));
  assert.equal(link.session.revoke(serials[1]!), true);
  assert.equal(link.session.revoke(serials[3]!), true);
  assert.equal(link.session.revoke(serials[3]!), false);
  assert.equal(link.session.unacknowledged, 2);
  link.ready();
  say(link, "five");
  link.settle();
  assert.deepEqual(link.received, ["one", "three", "five"]);
  assert.deepEqual([link.server.counters.aborted, link.server.counters.gaps], [0, 0]);
  link.close();
  assert.equal(arenaTaken(), start);
});

Deno.test.each(FORMATS)("$name: too late is false", ({ format }) => {
  const link = new Link({ format });
  link.ready();
  const empty = link.session.send({ type: 0xfa01 });
  link.carry(10);
  assert.equal(link.session.revoke(empty), false, "one segment cannot be aborted");
  link.settle();
  const small = say(link, "small");
  link.carry(1_000);
  assert.equal(link.session.unacknowledged, 1);
  assert.equal(link.session.revoke(small), false, "all of it is in the kernel");
  link.settle();
  assert.equal(link.session.revoke(small), false, "it is acknowledged");
  assert.equal(link.session.revoke(12_345), false, "it never was");
  assert.deepEqual(link.received, ["", "small"]);
  assert.equal(link.session.unacknowledged, 0);
  link.close();
});

Deno.test.each(FORMATS)("$name: a lossy session revokes too", ({ format }) => {
  const start = arenaTaken();
  const link = new Link({
    format,
    clientPolicy: POLICIES.lossyClient,
    serverPolicy: POLICIES.statelessServer,
  });
  link.ready();
  const serial = link.session.send({ type: 0xfa01, ...LARGE });
  say(link, "behind");
  link.carry(70_000);
  assert.equal(link.session.revoke(serial), true);
  link.settle();
  assert.deepEqual(link.received, ["behind"]);
  assert.equal(link.session.unacknowledged, 0);
  link.close();
  assert.equal(arenaTaken(), start);
});

Deno.test.each(FORMATS)("$name: many are revoked, the others arrive in order", ({ format }) => {
  const start = arenaTaken();
  const link = new Link({ format });
  link.ready();
  let seed = 12 + format;
  const random = (limit: number): number => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor(seed / 2 ** 32 * limit);
  };
  const kept: string[] = [];
  const waiting: { serial: number; text: string }[] = [];
  let aborted = 0;
  for (let index = 0; index < 600; index++) {
    const text = `${index} ${"x".repeat(random(9) === 0 ? 150_000 : random(3_000))}`;
    waiting.push({ serial: say(link, text), text });
    link.carry(random(60_000));
    if (random(3) === 0) {
      const [chosen] = waiting.splice(Math.max(0, waiting.length - 1 - random(3)), 1);
      if (link.session.revoke(chosen!.serial)) aborted++;
      else kept.push(chosen!.text);
    }
    if (random(8) === 0) link.settle();
  }
  link.settle();
  kept.push(...waiting.map(({ text }) => text));
  kept.sort((a, b) => parseInt(a) - parseInt(b));
  assert.deepEqual(link.received, kept);
  assert.ok(aborted > 40 && link.server.counters.aborted > 3, `${link.server.counters.aborted}`);
  assert.equal(link.session.unacknowledged, 0);
  link.close();
  assert.equal(arenaTaken(), start);
});

Deno.test("an aborted message of msgr2.0-crc keeps its header's crc right", () => {
  const { link, serial } = halfSent(FrameFormat.Crc20);
  assert.equal(link.session.revoke(serial), true);
  link.settle();
  assert.equal(link.far.phaseName, "ready");
  assert.equal(link.server.counters.closed.size, 0);
  link.close();
});
