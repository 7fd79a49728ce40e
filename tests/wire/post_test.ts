/** Posts between the boxes of a pair: bytes, growth, and everything cut short or flipped. */
import assert from "node:assert/strict";
import { describeFault, Fault, lastFault } from "../../src/mem/fault.ts";
import { newRegion, type Region, regionOf } from "../../src/mem/region.ts";
import {
  POST_BYTES_MAX,
  POST_HEAD_SIZE,
  PostHead,
  PostRecord,
  PostWriter,
  readPostHead,
  readPostRecord,
  RecordKind,
} from "../../src/wire/standby/post.ts";

/** Writes records with these bodies; returns a copy of the post. */
function post(writer: PostWriter, bodies: readonly string[], term = 3, number = 7): Region {
  for (const body of bodies) {
    const bytes = new TextEncoder().encode(body);
    const at = writer.begin(RecordKind.Sa, bytes.length);
    writer.region.bytes.set(bytes, at);
    writer.end(at + bytes.length);
  }
  return regionOf(writer.take(term, number).slice());
}

/** Bodies of its records, or a negated fault. */
function read(from: Region, at = 0, end = from.bytes.length): string[] | number {
  const head = new PostHead();
  let next = readPostHead(from, at, end, head);
  if (next < 0) return next;
  const bodies: string[] = [];
  const record = new PostRecord();
  for (let i = 0; i < head.count; i++) {
    next = readPostRecord(from, next, record);
    assert.ok(record.at <= record.end && record.end <= end);
    bodies.push(new TextDecoder().decode(from.bytes.subarray(record.at, record.end)));
  }
  assert.equal(next, end);
  return bodies;
}

Deno.test("a post has these bytes", () => {
  const writer = new PostWriter();
  writer.region.bytes.fill(0xa5);
  writer.mark(RecordKind.SnapshotBegin);
  assert.equal(
    post(writer, ["abcde"], 2 ** 32 + 1, 9).bytes.toHex(),
    "01000000020000000100000001000000" + "0900000000000000" +
      "0000000001000000" + "0500000010000000" + "6162636465000000",
  );
});

Deno.test("records come back in their order, and the writer is empty after", () => {
  const writer = new PostWriter();
  const bodies = ["", "a", "bc", "def", "ghij", "klmno"];
  assert.deepEqual(read(post(writer, bodies)), bodies);
  assert.deepEqual([writer.count, writer.size], [0, POST_HEAD_SIZE]);
  assert.deepEqual(read(post(writer, [])), []);
  const head = new PostHead();
  assert.ok(readPostHead(post(writer, bodies, 5, 2 ** 40), 0, 72 + POST_HEAD_SIZE, head) !== 0);
  assert.deepEqual([head.term, head.number, head.count], [5, 2 ** 40, 6]);
});

Deno.test("a writer grows while a record is written, and keeps what it had", () => {
  const writer = new PostWriter();
  const bodies = Array.from({ length: 40 }, (_, i) => String(i % 10).repeat(i * 1000));
  assert.deepEqual(read(post(writer, bodies)), bodies);
  assert.ok(writer.region.bytes.length >= 780_000);
});

Deno.test("a post that is cut anywhere, or has bytes behind it, is refused", () => {
  const whole = post(new PostWriter(), ["abc", "", "defgh"]);
  const { length } = whole.bytes;
  for (let end = 0; end < length; end++) assert.equal(read(whole, 0, end), -Fault.Field, `${end}`);
  for (let more = 1; more < 20; more++) {
    const longer = newRegion(length + more);
    longer.bytes.set(whole.bytes);
    assert.equal(read(longer), -Fault.Field);
  }
  assert.deepEqual(read(whole), ["abc", "", "defgh"]);
});

Deno.test("a post may begin at any offset", () => {
  const whole = post(new PostWriter(), ["abc", "defgh"]);
  for (let at = 0; at < 5; at++) {
    const moved = newRegion(whole.bytes.length + at);
    moved.bytes.set(whole.bytes, at);
    assert.deepEqual(read(moved, at), ["abc", "defgh"]);
  }
});

Deno.test("any flipped bit is refused, or read within the post", () => {
  const whole = post(new PostWriter(), ["abc", "", "defgh", "ij"]);
  let refused = 0;
  for (let bit = 0; bit < whole.bytes.length * 8; bit++) {
    const flipped = regionOf(whole.bytes.slice());
    flipped.bytes[bit >> 3]! ^= 1 << (bit & 7);
    if (typeof read(flipped) === "number") refused++;
  }
  assert.ok(refused >= 64); // version and count
});

Deno.test("versions, terms and numbers that cannot be are refused", () => {
  const at = { version: 0, count: 4, term: 8, number: 16 };
  for (const [field, offset] of Object.entries(at)) {
    const bad = post(new PostWriter(), ["abc"]);
    bad.bytes.fill(0xff, offset, offset + (offset < 8 ? 4 : 8));
    assert.equal(read(bad), -Fault.Field, field);
    assert.match(describeFault(), /^Cannot accept SYNC /);
  }
});

Deno.test("a post above the limit is refused before it is looked at", () => {
  const from = newRegion(POST_HEAD_SIZE);
  assert.equal(readPostHead(from, 0, POST_BYTES_MAX + 1, new PostHead()), -Fault.Large);
  assert.equal(lastFault.value, POST_BYTES_MAX + 1);
  const largest = newRegion(POST_BYTES_MAX);
  largest.view.setUint32(0, 1, true);
  largest.view.setUint32(4, 1, true);
  largest.view.setUint32(24, POST_BYTES_MAX - 32, true);
  assert.equal(readPostHead(largest, 0, POST_BYTES_MAX, new PostHead()), POST_HEAD_SIZE);
});
