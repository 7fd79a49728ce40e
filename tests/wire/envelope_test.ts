/** Envelopes, hops and greetings: bytes, round trips, and everything cut short or flipped. */
import assert from "node:assert/strict";
import { Fault } from "../../src/mem/fault.ts";
import { newRegion, type Region, regionOf } from "../../src/mem/region.ts";
import {
  envelopeHeadBytes,
  envelopeMessageBytes,
  EnvelopeReader,
  finishEnvelope,
  writeEnvelopeHead,
  writeEnvelopeMessage,
} from "../../src/wire/gateway/envelope.ts";
import {
  Hop,
  HOP_SIZE,
  parseHello,
  parseWelcome,
  readHop,
  writeHop,
} from "../../src/wire/gateway/post.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const SPOOL = Uint8Array.fromHex("00112233445566778899aabbccddeeff");

interface Message {
  readonly arrivalMs: number;
  readonly topic: string;
  readonly contentType: string;
  readonly payload: string;
}

const MESSAGES: readonly Message[] = [
  { arrivalMs: 1795278113800, topic: "lines", contentType: "text/plain", payload: "hello" },
  { arrivalMs: 0, topic: "a/ü", contentType: "", payload: "" },
  {
    arrivalMs: Number.MAX_SAFE_INTEGER,
    topic: "x",
    contentType: "application/json",
    payload: "{}",
  },
];

/** An envelope in memory full of 0xa5, from offset 3. */
function write(messages: readonly Message[]): { out: Region; end: number } {
  const head = { spool: SPOOL, stream: 7, gateway: encoder.encode("client.gw1") };
  const texts = messages.map(({ arrivalMs, topic, contentType, payload }) =>
    [
      arrivalMs,
      encoder.encode(topic),
      encoder.encode(contentType),
      encoder.encode(payload),
    ] as const
  );
  const bytes = texts.reduce(
    (sum, [, topic, type, payload]) =>
      sum + envelopeMessageBytes(topic.length, type.length, payload.length),
    envelopeHeadBytes(head),
  );
  const out = newRegion(bytes + 6);
  out.bytes.fill(0xa5);
  let end = writeEnvelopeHead(out, 3, head);
  for (const [arrivalMs, topic, type, payload] of texts) {
    end = writeEnvelopeMessage(out, end, arrivalMs, topic, type, payload);
  }
  finishEnvelope(out, 3, end, 2 ** 40, messages.length);
  assert.equal(end, bytes + 3);
  return { out, end };
}

function read(from: Region, at: number, end: number): Message[] | number {
  const reader = new EnvelopeReader();
  const opened = reader.open(from, at, end);
  if (opened < 0) return opened;
  const messages: Message[] = [];
  const text = (start: number, bytes: number): string =>
    decoder.decode(from.bytes.subarray(start, start + bytes));
  for (let more = reader.next(); more !== 0; more = reader.next()) {
    if (more < 0) return more;
    messages.push({
      arrivalMs: reader.arrivalMs,
      topic: text(reader.topicAt, reader.topicBytes),
      contentType: text(reader.contentTypeAt, reader.contentTypeBytes),
      payload: text(reader.payloadAt, reader.payloadBytes),
    });
  }
  return messages;
}

/** The layout of wire/gateway/envelope.ts, written out by hand. */
const ONE = [
  "01 01 44000000", // version, compat, 68 bytes follow
  "00112233445566778899aabbccddeeff 07000000", // spool id, stream
  "0000000000010000 01000000", // first number 2^40, count
  "0a00 636c69656e742e677731", // client.gw1
  "48590900a2010000", // arrival: 1795278000456
  "0500 6c696e6573", // lines
  "0000", // no content type
  "03000000 616263", // abc
].join("").replaceAll(" ", "");

Deno.test("an envelope of one message has the bytes of the layout", () => {
  const { out, end } = write([
    { arrivalMs: 0x1a200095948, topic: "lines", contentType: "", payload: "abc" },
  ]);
  assert.equal(out.bytes.subarray(3, end).toHex(), ONE);
  assert.equal(out.bytes[2], 0xa5);
  assert.equal(out.bytes[end], 0xa5);
});

Deno.test("messages come out as they went in, with their numbers", () => {
  const { out, end } = write(MESSAGES);
  assert.deepEqual(read(out, 3, end), MESSAGES);
  const reader = new EnvelopeReader();
  assert.equal(reader.open(out, 3, end + 2), end); // what stands behind it is left alone
  assert.equal(reader.stream, 7);
  assert.equal(reader.count, 3);
  assert.equal(out.bytes.subarray(reader.spoolAt, reader.spoolAt + 16).toHex(), SPOOL.toHex());
  const numbers: number[] = [];
  while (reader.next() > 0) numbers.push(reader.number);
  assert.deepEqual(numbers, [2 ** 40, 2 ** 40 + 1, 2 ** 40 + 2]);
});

Deno.test("an envelope cut at any byte is refused, never read beyond its end", () => {
  const { out, end } = write(MESSAGES);
  for (let cut = 3; cut < end; cut++) {
    const copy = regionOf(out.bytes.slice(0, cut));
    assert.ok((read(copy, 3, cut) as number) < 0, `cut at ${cut}`);
  }
});

Deno.test("a flipped bit gives a fault or messages within the envelope, never an exception", () => {
  const { out, end } = write(MESSAGES);
  let faults = 0;
  for (let bit = 0; bit < (end - 3) * 8; bit++) {
    const copy = regionOf(out.bytes.slice(0, end));
    copy.bytes[3 + (bit >> 3)]! ^= 1 << (bit & 7);
    if (typeof read(copy, 3, end) === "number") faults++;
  }
  assert.ok(faults > 300, `${faults} faults`);
});

Deno.test("a later version is read when it says that we can, and refused when not", () => {
  const { out, end } = write(MESSAGES);
  out.bytes[3] = 9;
  assert.deepEqual(read(out, 3, end), MESSAGES);
  out.bytes[4] = 2;
  assert.equal(read(out, 3, end), -Fault.Field);
});

Deno.test("a count of none or of too many is refused", () => {
  const { out, end } = write(MESSAGES);
  for (const count of [0, 4097, 0xffffffff]) {
    out.view.setUint32(3 + 34, count, true);
    assert.equal(read(out, 3, end), -Fault.Field);
  }
});

Deno.test("a hop has 28 bytes and comes back; a short one and a number above 2^53 are refused", () => {
  const out = newRegion(40);
  const hop = new Hop();
  assert.equal(writeHop(out, 2, SPOOL, 0xfffffffe, 2 ** 33 + 1), 2 + HOP_SIZE);
  assert.equal(
    out.bytes.subarray(2, 2 + HOP_SIZE).toHex(),
    "00112233445566778899aabbccddeeff" + "feffffff" + "0100000002000000",
  );
  assert.equal(readHop(out, 2, 40, hop), 2 + HOP_SIZE);
  assert.deepEqual([hop.spoolAt, hop.stream, hop.number], [2, 0xfffffffe, 2 ** 33 + 1]);
  for (let end = 2; end < 2 + HOP_SIZE; end++) assert.ok(readHop(out, 2, end, hop) < 0);
  out.bytes.fill(0xff, 22, 30);
  assert.ok(readHop(out, 2, 40, hop) < 0);
});

const HELLO = {
  version: 1,
  gateway: "client.gw1",
  spool: SPOOL.toHex(),
  generation: 3,
  streams: [{ stream: 1, oldest: 5, next: 9 }],
};

Deno.test("HELLO and WELCOME are checked field by field", () => {
  assert.deepEqual(parseHello(HELLO), HELLO);
  const bad: Record<string, unknown>[] = [
    { version: 2 },
    { gateway: "" },
    { gateway: 1 },
    { spool: "xyz" },
    { spool: SPOOL.toHex().toUpperCase() },
    { generation: -1 },
    { generation: 1.5 },
    { streams: {} },
    { streams: new Array(4097).fill(HELLO.streams[0]) },
    { streams: [{ stream: 1, oldest: 10, next: 9 }] },
    { streams: [{ stream: 2 ** 32, oldest: 1, next: 9 }] },
    { streams: [null] },
  ];
  for (const change of bad) {
    assert.equal(typeof parseHello({ ...HELLO, ...change }), "string", JSON.stringify(change));
  }
  for (const other of [null, 1, "x", [], undefined]) {
    assert.equal(typeof parseHello(other), "string");
    assert.equal(typeof parseWelcome(other), "string");
  }
  const welcome = { version: 1, spool: SPOOL.toHex(), last: [{ stream: 1, number: 4 }] };
  assert.deepEqual(parseWelcome(welcome), welcome);
  const refused = { ...welcome, refused: { code: "two_boxes", text: "why" } };
  assert.deepEqual(parseWelcome(refused), refused);
  const wrong = [{ version: 0 }, { last: [{}] }, { last: 1 }, { refused: {} }, { spool: "" }];
  for (const change of wrong) {
    assert.equal(typeof parseWelcome({ ...welcome, ...change }), "string");
  }
});
