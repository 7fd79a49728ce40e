/** The input for syslog: datagrams, both framings of RFC 6587, and what hostile peers send. */
import assert from "node:assert/strict";
import dgram from "node:dgram";
import { nowMs } from "../../src/io/clock.ts";
import type { PortInput } from "../../src/app/inputs/port_input.ts";
import { SyslogBuffer } from "../../src/app/inputs/syslog_buffer.ts";
import { openSyslog, type SyslogOptions } from "../../src/app/inputs/syslog.ts";
import { FRAME_BYTES_MAX } from "../../src/wire/syslog/framing.ts";
import { FakeIntake, until } from "./fake_intake.ts";

const STOP_MS = 10_000;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

async function open(
  intake: FakeIntake,
  options: Partial<SyslogOptions> = {},
): Promise<{ input: PortInput; port: number }> {
  const input = await openSyslog("syslog", {
    listen: "127.0.0.1:0",
    protocols: ["udp", "tcp"],
    topic: "syslog",
    parse: true,
    ...options,
  }, intake);
  return { input, port: Number(input.where.split(":").at(-1)) };
}

/** A connection that has written this. */
async function connected(port: number, text: string | Uint8Array): Promise<Deno.TcpConn> {
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  const bytes = typeof text === "string" ? encoder.encode(text) : text;
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
  return conn;
}

async function sendDatagrams(port: number, ...datagrams: (string | Uint8Array)[]): Promise<void> {
  const socket = dgram.createSocket("udp4");
  for (const datagram of datagrams) {
    await new Promise((sent) => socket.send(datagram, port, "127.0.0.1", sent));
  }
  socket.close();
}

/** True when the other end closed, by a reset or not. */
async function isClosed(conn: Deno.Conn): Promise<boolean> {
  try {
    return await conn.read(new Uint8Array(1)) === null;
  } catch {
    return true;
  }
}

function counted(text: string): string {
  return `${encoder.encode(text).length} ${text}`;
}

Deno.test("syslog by UDP: a message in each datagram (RFC 5426 section 3.1), as JSON", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake);
  await sendDatagrams(
    port,
    '<165>1 2003-10-11T22:14:15.003Z host app 7 ID47 [x@1 k="v"] \ufeffhéllo\nworld\n',
    "<34>Oct 11 22:14:15 mymachine su[9]: failed\r\n\0",
    "no syslog at all",
    new Uint8Array([0x3c, 0x31, 0x33, 0x3e, 0xe9]), // <13> and a letter of ISO 8859-1
  );
  await intake.taken(4);
  const [ietf, bsd, raw, latin] = intake.values;
  assert.deepEqual(ietf, {
    facility: 20,
    severity: 5,
    timestamp: "2003-10-11T22:14:15.003Z",
    timestamp_text: "2003-10-11T22:14:15.003Z",
    hostname: "host",
    appname: "app",
    procid: "7",
    msgid: "ID47",
    structured_data: { "x@1": { k: "v" } },
    message: "héllo\nworld",
    format: "rfc5424",
  });
  assert.equal(bsd.message, "failed");
  assert.equal(bsd.timestamp_text, "Oct 11 22:14:15");
  assert.match(bsd.timestamp, /^\d{4}-10-11T22:14:15$/);
  assert.deepEqual([raw.format, raw.message, raw.facility], ["raw", "no syslog at all", null]);
  assert.deepEqual([latin.message, latin.severity], ["\ufffd", 5]);
  for (const { topic, contentType } of intake.messages) {
    assert.deepEqual([topic, contentType], ["syslog", "application/json"]);
  }
  await input.stop(nowMs() + STOP_MS);
});

Deno.test("without parsing, frames are text and keep every byte but their ending", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake, { parse: false, topic: "log/raw" });
  await sendDatagrams(port, "<13>a\nb\n", new Uint8Array([0xe9, 0x00, 0xff, 0x00]));
  await intake.taken(2);
  assert.deepEqual(intake.texts[0], "<13>a\nb");
  assert.deepEqual([...intake.messages[1]!.payload], [0xe9, 0x00, 0xff]);
  for (const { topic, contentType } of intake.messages) {
    assert.deepEqual([topic, contentType], ["log/raw", "text/plain"]);
  }
  await sendDatagrams(port, "", "\n", "\0\0");
  await until(() => input.counts.refused === 3); // nothing in them
  await input.stop(nowMs() + STOP_MS);
  assert.equal(intake.messages.length, 2);
});

/** Both framings in one stream, with what senders put between frames. */
const MIXED = counted("<13>one") + "<13>two\n" + counted("<13>th\nree") + counted("<13>foúr\n") +
  "\n\r\n" + "<13>five\r\n" + "plain text\n" + counted("<13>six");
const MIXED_TEXTS = [
  "<13>one",
  "<13>two",
  "<13>th\nree",
  "<13>foúr",
  "<13>five",
  "plain text",
  "<13>six",
];

Deno.test("a TCP stream gives the same frames at every split point", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake, { parse: false });
  const bytes = encoder.encode(MIXED);
  for (let split = 1; split < bytes.length; split++) {
    intake.messages.length = 0;
    const conn = await connected(port, bytes.subarray(0, split));
    conn.setNoDelay(true);
    await until(() => input.counts.clients > 0);
    for (let at = split; at < bytes.length;) at += await conn.write(bytes.subarray(at));
    await intake.taken(MIXED_TEXTS.length);
    assert.deepEqual(intake.texts, MIXED_TEXTS);
    conn.close();
    await until(() => input.counts.clients === 0);
  }
  assert.equal(input.counts.refused, 0);
  await input.stop(nowMs() + STOP_MS);
});

Deno.test("SyslogBuffer cuts the same frames at every split point and step", () => {
  const bytes = encoder.encode(MIXED);
  for (let first = 1; first <= bytes.length; first++) {
    for (const step of [1, 3, 1000]) {
      assert.deepEqual(cut(new SyslogBuffer(), bytes, first, step), MIXED_TEXTS_UNTRIMMED);
    }
  }
});

/** The ending inside a counted frame is cut off later. */
const MIXED_TEXTS_UNTRIMMED = MIXED_TEXTS.map((text) => text === "<13>foúr" ? `${text}\n` : text);

Deno.test("SyslogBuffer takes frames as long as the limit, one after another", () => {
  const longest = "x".repeat(FRAME_BYTES_MAX);
  const bytes = encoder.encode(`${counted(longest)}${longest}\r\n${counted("a")}${longest}\nend`);
  for (const step of [1000, 65_536, 65_542]) {
    const buffer = new SyslogBuffer();
    const texts = cut(buffer, bytes, step, step);
    assert.deepEqual(texts.map(({ length }) => length), [65_536, 65_536, 1, 65_536]);
    assert.equal(decoder.decode(buffer.rest()!), "end");
    assert.equal(buffer.tooLong, 0);
    assert.ok(!buffer.partial && !buffer.broken);
  }
});

Deno.test("SyslogBuffer skips lines that are too long and goes on after them", () => {
  const long = "x".repeat(FRAME_BYTES_MAX + 1);
  const bytes = encoder.encode(`${long}\n${counted("a")}${long.repeat(3)}\nb\n${long}\r\n<c\n`);
  for (const step of [777, 65_536]) {
    const buffer = new SyslogBuffer();
    assert.deepEqual(cut(buffer, bytes, step, step), ["a", "b", "<c"]);
    assert.equal(buffer.tooLong, 3);
    assert.ok(!buffer.broken);
  }
});

Deno.test("SyslogBuffer is broken by a count that is none, and stays so", () => {
  for (const text of ["0 x", "007 x", "5x", "65537 x", "9".repeat(70_000), "1\n"]) {
    const buffer = new SyslogBuffer();
    assert.deepEqual(cut(buffer, encoder.encode(`<a\n${text}\n<b\n`), 3, 100), ["<a"]);
    assert.ok(buffer.broken, text);
    assert.equal(buffer.next(), null);
    assert.equal(buffer.rest(), null);
  }
});

Deno.test("hostile counts close the connection and are counted; frames before them arrive", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake, { parse: false });
  const hostile = [
    "0 ",
    "00005 <13>x",
    "5<13>x",
    "99999999999999999 x",
    "65537 x",
    "1x",
    "2026-11-21 x\n",
  ];
  for (const [at, text] of hostile.entries()) {
    const conn = await connected(port, `<13>before\n${text}`);
    await intake.taken(at + 1);
    assert.ok(await isClosed(conn));
    conn.close();
    assert.equal(input.counts.refused, at + 1);
  }
  assert.deepEqual(new Set(intake.texts), new Set(["<13>before"]));
  await input.stop(nowMs() + STOP_MS);
});

Deno.test("at the end of a stream a line counts, a counted frame that was cut does not", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake, { parse: false });
  for (const text of ["<13>line", counted("<13>frame")]) (await connected(port, text)).close();
  await intake.taken(2);
  for (const cut of ["9", "9 ", "9 <13>fram"]) {
    (await connected(port, counted("<13>whole") + cut)).close();
  }
  await intake.taken(5);
  await until(() => input.counts.refused === 3 && input.counts.clients === 0);
  assert.deepEqual(intake.texts.toSorted(), [
    "<13>frame",
    "<13>line",
    "<13>whole",
    "<13>whole",
    "<13>whole",
  ]);
  await input.stop(nowMs() + STOP_MS);
});

Deno.test("without room syslog by TCP waits, and datagrams are dropped and counted", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake);
  intake.setRoom(1);
  const conn = await connected(port, counted("<13>1") + counted("<13>2") + "<13>3\n");
  await intake.refused(1);
  await sendDatagrams(port, "<13>x", "<13>y");
  await until(() => input.counts.dropped === 2);
  intake.setRoom(Infinity);
  await intake.taken(3);
  conn.close();
  await input.stop(nowMs() + STOP_MS);
  assert.deepEqual(intake.values.map(({ message }) => message), ["1", "2", "3"]);
});

Deno.test("stop() while syslog waits for room drops and counts every whole frame", async () => {
  const intake = new FakeIntake();
  intake.setRoom(0);
  const { input, port } = await open(intake);
  const conn = await connected(port, counted("<13>1") + counted("<13>2") + "<13>3\n\n9 half");
  await intake.refused(1);
  await input.stop(nowMs() + 100);
  conn.close();
  assert.equal(input.counts.dropped, 3);
  assert.equal(input.counts.refused, 1);
  assert.equal(input.counts.clients, 0);
});

Deno.test("a frame that JSON makes six times as long is one message still", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake);
  const conn = await connected(port, counted(`<13>${"\u0001".repeat(FRAME_BYTES_MAX - 4)}`));
  await intake.taken(1);
  conn.close();
  assert.equal(intake.values[0].message.length, FRAME_BYTES_MAX - 4);
  assert.ok(intake.messages[0]!.payload.length < 512 * 1024);
  await input.stop(nowMs() + STOP_MS);
});

Deno.test("random bytes neither end the input nor are lost without a count", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake);
  const seed = Math.floor(Math.random() * 2 ** 31);
  const random = generator(seed);
  const alphabet = encoder.encode('<>0123456789 1-[]="\\:\n\r\0TZNov\xe9');
  for (let round = 0; round < 40; round++) {
    const bytes = Uint8Array.from(
      { length: 1 + random() % 3000 },
      () => alphabet[random() % alphabet.length]!,
    );
    const conn = await connected(port, bytes).catch(() => null); // it may be closed in the middle
    await sendDatagrams(port, bytes);
    conn?.close();
  }
  await until(() => input.counts.clients === 0);
  await sendDatagrams(port, "<13>still here");
  await until(() => intake.messages.some(({ text }) => text.includes("still here")));
  await input.stop(nowMs() + STOP_MS);
  const { messages, refused, dropped } = input.counts;
  assert.equal(messages, intake.messages.length, `seed ${seed}`);
  assert.ok(messages + refused + dropped >= 41, `seed ${seed}`);
});

/** What a buffer cuts from bytes that come in pieces. */
function cut(buffer: SyslogBuffer, bytes: Uint8Array, first: number, step: number): string[] {
  const texts: string[] = [];
  for (let at = 0; at < bytes.length && !buffer.broken;) {
    const room = buffer.room();
    const piece = bytes.subarray(at, at + Math.min(at === 0 ? first : step, room.length));
    room.set(piece);
    buffer.filled(piece.length);
    at += piece.length;
    for (let frame = buffer.next(); frame !== null; frame = buffer.next()) {
      texts.push(decoder.decode(frame));
    }
  }
  return texts;
}

/** Numbers that a seed repeats: a linear congruence of Numerical Recipes. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 8;
  };
}
