/** Every frame of msgr2 in crc mode is told with its fields, however the bytes arrive. */
import assert from "node:assert/strict";
import { arenaTaken } from "../../src/mem/arena.ts";
import { PREAMBLE_SIZE } from "../../src/wire/msgr2/preamble.ts";
import { Tag } from "../../src/wire/msgr2/tag.ts";
import {
  everyTag,
  Feeder,
  joined,
  messageFrame,
  placesOf,
  StreamWriter,
  type Told,
} from "../capture/msgr2_streams.ts";
import { FORMATS, modelCrc, modelFrame, pattern } from "../wire/frame_model.ts";

const CRC_FORMATS = FORMATS.slice(0, 2);
const ADDRESS = "v2:192.0.2.7:3300/4000000000";

/** The two aborted ones of everyTag() are the only complaints. */
function complaints(told: readonly Told[]): string[] {
  return told.flatMap(({ errors }) => [...errors]);
}

Deno.test.each(CRC_FORMATS)("$name: every tag is told with its fields", ({ format }) => {
  const stream = everyTag(format);
  const feeder = new Feeder();
  feeder.feedAll(0, stream.bytes);
  const told = feeder.end();
  assert.deepEqual(placesOf(told, 0), stream.placed);
  assert.deepEqual(complaints(told), ["aborted by its sender"]);
  assert.ok(told.every(({ mode }) => mode === "crc"));
  assert.deepEqual(told[0]!.fields, {
    supported_features: `0x${format & 1}`,
    required_features: "0x0",
  });
  assert.equal(told[0]!.foundBy, "start");
  assert.ok(told.slice(1).every(({ foundBy }) => foundBy === "length"));
  assert.ok(told.slice(1).every(({ revision }) => revision === `2.${format & 1}`));
  const fields = (tag: string): Record<string, unknown> =>
    told.find((message) => message.tag === tag)!.fields;
  assert.deepEqual(fields("HELLO"), { entity_type: "mon", peer_address: ADDRESS });
  assert.deepEqual(fields("AUTH_REQUEST"), {
    method: "cephx",
    preferred_modes: ["secure", "crc"],
    payload_len: 31,
  });
  assert.deepEqual(fields("AUTH_BAD_METHOD"), {
    method: "none",
    result: -95,
    allowed_methods: ["cephx"],
    allowed_modes: [],
  });
  assert.deepEqual(fields("AUTH_REPLY_MORE"), { payload_len: 31 });
  assert.deepEqual(fields("AUTH_REQUEST_MORE"), { payload_len: 31 });
  assert.deepEqual(fields("AUTH_DONE"), { global_id: 4107, con_mode: "crc", payload_len: 0 });
  assert.deepEqual(fields("AUTH_SIGNATURE"), { signature_len: 32 });
  assert.deepEqual(fields("COMPRESSION_REQUEST"), { is_compress: true, methods: ["zstd"] });
  assert.deepEqual(fields("COMPRESSION_DONE"), { is_compress: false, method: "none" });
  assert.deepEqual(fields("CLIENT_IDENT"), {
    addrs: [ADDRESS],
    target_addr: ADDRESS,
    gid: "18446744073709551615",
    global_seq: 3,
    features_supported: "0x3f01cfbdfffdffff",
    features_required: "0x0",
    flags: "0x0",
    lossy: false,
    client_cookie: "0x4d",
  });
  assert.equal(fields("SERVER_IDENT").server_cookie, "0x4e");
  assert.deepEqual(fields("IDENT_MISSING_FEATURES"), { features: "0x800000000000000" });
  assert.deepEqual(fields("RECONNECT"), {
    addrs: [],
    client_cookie: "0x4d",
    server_cookie: "0x4e",
    global_seq: 0,
    connect_seq: 5,
    msg_seq: 6,
  });
  assert.deepEqual(fields("RECONNECT_OK"), { msg_seq: 9 });
  assert.deepEqual(fields("RECONNECT_WAIT"), {});
  assert.deepEqual(fields("RECONNECT_RETRY_SESSION"), { connect_seq: 11 });
  assert.deepEqual(fields("RECONNECT_RETRY_GLOBAL"), { global_seq: 12 });
  assert.deepEqual(fields("RESET_SESSION"), { full: true });
  assert.deepEqual(fields("KEEPALIVE2"), { stamp: "1700000000.000000042" });
  assert.deepEqual(fields("KEEPALIVE2_ACK"), { stamp: "1700000000.000000042" });
  assert.deepEqual(fields("ACK"), { seq: 4 });
  assert.deepEqual(fields("CLOSE"), {});
  const messages = told.filter(({ tag }) => tag === "MSG");
  assert.deepEqual(messages[3]!.fields, {
    seq: 4,
    tid: 0,
    type: 0xfa00,
    priority: 127,
    version: 3,
    compat_version: 2,
    ack_seq: 0,
    flags: 3,
    front_len: 33,
    middle_len: 50,
    data_len: 90,
    data_pre_padding_len: 0,
    data_off: 0,
  });
  assert.equal(messages[4]!.fields.aborted, true);
  assert.equal(messages[5]!.type, "mon_subscribe");
  assert.deepEqual(messages[5]!.fields.content, {
    what: [{ what: "monmap", start: 3, once: true }],
    hostname: "box",
  });
});

Deno.test.each(CRC_FORMATS)("$name: nothing secret is told", ({ format }) => {
  const feeder = new Feeder();
  feeder.feedAll(0, everyTag(format).bytes);
  const text = JSON.stringify(feeder.end().map(({ fields, errors }) => ({ fields, errors })));
  assert.equal(text.includes("secret"), false);
  assert.equal(text.includes("do-not-tell"), false);
});

Deno.test.each(CRC_FORMATS)("$name: every split point gives the same messages", ({ format }) => {
  const before = arenaTaken();
  const { bytes } = everyTag(format);
  const whole = new Feeder({ keepsBytes: true });
  whole.feedAll(0, bytes);
  const expected = whole.end();
  for (let split = 1; split < bytes.length; split++) {
    const feeder = new Feeder({ keepsBytes: true });
    feeder.feed(0, bytes.subarray(0, split));
    feeder.feed(0, bytes.subarray(split));
    assert.deepEqual(feeder.end(), expected, `split at ${split}`);
  }
  assert.equal(arenaTaken(), before);
});

Deno.test.each(CRC_FORMATS)("$name: pieces of any size, and of one byte", ({ format }) => {
  const stream = everyTag(format);
  for (const piece of [1, 2, 3, 7, 31, 32, 33, 64, 100, 577]) {
    for (const fromStart of [true, false]) {
      const feeder = new Feeder({ fromStart });
      feeder.feedAll(0, stream.bytes, piece);
      const told = feeder.end();
      assert.deepEqual(placesOf(told, 0), fromStart ? stream.placed : stream.placed.slice(1));
      assert.deepEqual(complaints(told), ["aborted by its sender"]);
      const framed = told.filter(({ tag }) => tag !== "BANNER"); // one side's alone settles nothing
      assert.ok(framed.every(({ revision }) => revision === `2.${format & 1}`));
    }
  }
});

Deno.test.each(CRC_FORMATS)("$name: whole messages are given with their bytes", ({ format }) => {
  const stream = everyTag(format);
  const { bytes } = stream;
  const feeder = new Feeder({ keepsBytes: true });
  feeder.feedAll(0, bytes, 100);
  for (const { offset, length, bytes: kept } of feeder.end()) {
    assert.deepEqual(kept, bytes.slice(offset, offset + length));
  }
});

Deno.test.each(CRC_FORMATS)("$name: a large message is neither held nor copied", ({ format }) => {
  const stream = new StreamWriter(format).banner(format & 1)
    .message({ seq: 1, front: pattern(70_000, 1), data: pattern(900_001, 2) })
    .message({ seq: 2 });
  const feeder = new Feeder();
  feeder.feedAll(0, stream.bytes, 1448);
  assert.ok(feeder.keptMax < 200, `${feeder.keptMax} bytes were kept`);
  const told = feeder.end();
  assert.deepEqual(placesOf(told, 0), stream.placed);
  assert.deepEqual(complaints(told), []);
  assert.equal(told[1]!.fields.data_len, 900_001);
});

Deno.test.each(CRC_FORMATS)("$name: every crc and the late status are checked", ({ format }) => {
  const frame = { seq: 9, front: pattern(40, 1), middle: pattern(30, 2), data: pattern(50, 3) };
  const head = new StreamWriter(format).banner(format & 1).control(Tag.Wait);
  const good = modelFrame(format, messageFrame(frame), null);
  const next = modelFrame(format, messageFrame({ seq: 10 }), null);
  for (let at = PREAMBLE_SIZE; at < good.length; at++) {
    const wrong = good.slice();
    wrong[at]! ^= 0x10;
    const feeder = new Feeder();
    feeder.feedAll(0, joined([head.bytes, wrong, next]), 50);
    const told = feeder.end();
    assert.equal(told.length, 4, `byte ${at}`);
    const [error = ""] = told[2]!.errors;
    assert.deepEqual(told[3]!.errors, []);
    // The upper nibble of late_status is not looked at.
    if ((format & 1) === 1 && at === good.length - 13) continue;
    assert.match(error, /^(crc of segment [0-3]: 0x\w{8} found, 0x\w{8} computed|late_.*)$/);
  }
  const damaged = good.slice();
  damaged[PREAMBLE_SIZE + 41 + (format & 1 ? 4 : 0)]! ^= 1;
  const feeder = new Feeder();
  feeder.feedAll(0, joined([head.bytes, damaged]));
  const front = pattern(40, 1);
  const stated = modelCrc(-1, front).toString(16).padStart(8, "0");
  front[0]! ^= 1;
  const computed = modelCrc(-1, front).toString(16).padStart(8, "0");
  const expected = `crc of segment 1: 0x${stated} found, 0x${computed} computed`;
  assert.deepEqual(feeder.end()[2]!.errors, [expected]);
});

Deno.test("a late status that is neither word is told", () => {
  const stream = new StreamWriter(1).banner().message({ seq: 1, front: pattern(5, 1), late: 7 });
  const feeder = new Feeder();
  feeder.feedAll(0, stream.bytes);
  const [, message] = feeder.end();
  assert.deepEqual(message!.errors, ["late_status is 0x07, not 0x0e or 0x01"]);
});

Deno.test("a compressed frame is named as such, and nothing is read in it", () => {
  const frame = modelFrame(1, messageFrame({ seq: 3, front: pattern(20, 1) }), null);
  frame[26] = 1;
  new DataView(frame.buffer).setUint32(28, modelCrc(0, frame.subarray(0, 28)), true);
  const feeder = new Feeder();
  feeder.feedAll(0, joined([new StreamWriter(1).banner(3).bytes, frame]));
  const [, message] = feeder.end();
  assert.deepEqual(message!.fields, { compressed: true, segment_lengths: [41, 20] });
  assert.equal(message!.type, "");
  assert.deepEqual(message!.errors, []);
});

Deno.test("a tag that nobody knows is told where a frame is due", () => {
  const stream = new StreamWriter(1).banner().frame({ tag: 99, segments: [pattern(9, 1)] })
    .control(Tag.Wait);
  const feeder = new Feeder();
  feeder.feedAll(0, stream.bytes);
  const told = feeder.end();
  assert.deepEqual(placesOf(told, 0), stream.placed);
  assert.deepEqual(told[1]!.fields, { payload_len: 9 });
});

Deno.test("a payload that breaks off is an error of its frame, and the next is read", () => {
  const stream = new StreamWriter(1).banner()
    .frame({ tag: Tag.Hello, segments: [Uint8Array.of(4, 1)] })
    .frame({ tag: Tag.Message, segments: [pattern(12, 1)] })
    .control(Tag.Wait);
  const feeder = new Feeder();
  feeder.feedAll(0, stream.bytes);
  const told = feeder.end();
  assert.deepEqual(placesOf(told, 0), stream.placed);
  assert.match(told[1]!.errors[0]!, /Cannot accept/);
  assert.match(told[2]!.errors[0]!, /header cannot be read/);
  assert.deepEqual(told[3]!.errors, []);
});

Deno.test.each(CRC_FORMATS)("$name: a stream that ends within a message", ({ format }) => {
  const stream = new StreamWriter(format).banner(format & 1).control(Tag.Wait)
    .message({ seq: 1, front: pattern(100, 1) });
  const { bytes } = stream;
  const last = stream.placed[2]!;
  for (let end = last.offset; end < bytes.length; end++) {
    const feeder = new Feeder();
    feeder.feedAll(1, new StreamWriter(format).banner(format & 1).bytes);
    feeder.feedAll(0, bytes.subarray(0, end));
    const told = feeder.end().filter(({ side }) => side === 0);
    const isKnown = end >= last.offset + PREAMBLE_SIZE;
    assert.equal(told.length, isKnown ? 3 : 2, `the end at ${end}`);
    if (!isKnown) continue;
    const lacking = bytes.length - end;
    assert.equal(told[2]!.missing, lacking);
    assert.match(told[2]!.errors[0]!, new RegExp(`ends ${lacking} bytes before`));
  }
});

Deno.test("a control frame that is too large to be kept is checked, and not read", () => {
  const large = { tag: Tag.Ack, segments: [new Uint8Array(8), pattern(70_000, 1)] };
  const stream = new StreamWriter(1).banner().frame(large).control(Tag.Wait);
  const feeder = new Feeder();
  feeder.feedAll(0, stream.bytes, 1000);
  const told = feeder.end();
  assert.deepEqual(placesOf(told, 0), stream.placed);
  assert.deepEqual(told[1]!.fields, {});
  assert.deepEqual(complaints(told), []);
  assert.ok(feeder.keptMax < 1100);
});

Deno.test("one banner settles revision 0, and both settle revision 1", () => {
  const revisions = (first: number, second: number): string[] => {
    const feeder = new Feeder();
    feeder.feed(0, new StreamWriter(0).banner(first).bytes);
    feeder.feed(1, new StreamWriter(0).banner(second).bytes);
    return feeder.end().map(({ revision }) => revision);
  };
  assert.deepEqual(revisions(1, 3), ["", "2.1"]);
  assert.deepEqual(revisions(0, 1), ["2.0", "2.0"]);
  assert.deepEqual(revisions(1, 2), ["", "2.0"]);
});
