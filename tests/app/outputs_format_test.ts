/** Messages as bytes: exactly these, whatever comes. */
import assert from "node:assert/strict";
import { type Format, MessageBuffer } from "../../src/app/outputs/format.ts";
import type { Received } from "../../src/app/hub/output.ts";
import { received, SPOOL } from "./outputs_messages.ts";

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function formatted(format: Format, ...messages: Received[]): string {
  const buffer = new MessageBuffer(format);
  let size = 0;
  for (const message of messages) size += buffer.add(message);
  assert.equal(buffer.size, size);
  return decoder.decode(buffer.view());
}

function json(payload: string | Uint8Array, contentType: string): string {
  const line = formatted("json", received(payload, { contentType }));
  const head = `{"time":"2026-11-21T16:00:01.007Z","gateway":"client.gw1","spool":"${SPOOL}",` +
    `"stream":0,"number":1,"topic":"log","content_type":${JSON.stringify(contentType)},`;
  assert.ok(line.startsWith(head), line);
  assert.ok(line.endsWith("}\n"), line);
  assert.equal(line.indexOf("\n"), line.length - 1);
  JSON.parse(line);
  return line.slice(head.length, -2);
}

Deno.test("text is one line of time, gateway, topic and payload", () => {
  assert.equal(
    formatted("text", received("hello  world"), received("", { topic: "a/b", gateway: "mon." })),
    "2026-11-21T16:00:01.007Z client.gw1 log hello  world\n" +
      "2026-11-21T16:00:01.007Z mon. a/b \n",
  );
});

Deno.test.each([
  { payload: "two\nlines\r\n", line: "two\\x0alines\\x0d\\x0a" },
  { payload: "\x1b[2Jgone\x07", line: "\\x1b[2Jgone\\x07" },
  { payload: "tab\tstays", line: "tab\tstays" },
  { payload: "Grüße 漢字 😀", line: "Grüße 漢字 😀" },
  { payload: "a\u202egpj.exe", line: "a\\u{202e}gpj.exe" },
  { payload: "\u2028", line: "\\u{2028}" },
])("text escapes what could be taken for something else: $line", ({ payload, line }) => {
  const text = formatted("text", received(payload));
  assert.equal(text, `2026-11-21T16:00:01.007Z client.gw1 log ${line}\n`);
});

Deno.test("text shows bytes that are not UTF-8, and cut characters, as escapes", () => {
  const payload = new Uint8Array([0x41, 0xff, 0xc3, 0xe2, 0x82, 0xed, 0xa0, 0x80]);
  const text = formatted("text", received(payload));
  assert.ok(text.endsWith(" log A\\xff\\xc3\\xe2\\x82\\xed\\xa0\\x80\n"), text);
});

Deno.test("text: names with blanks and line ends stay one word each", () => {
  const text = formatted("text", received("p", { topic: "a b\nc", gateway: "" }));
  assert.equal(text, "2026-11-21T16:00:01.007Z - a\\x20b\\x0ac p\n");
});

Deno.test("raw is the payload and a line end, whatever is in it", () => {
  const buffer = new MessageBuffer("raw");
  buffer.add(received(new Uint8Array([0, 10, 255])));
  buffer.add(received(""));
  assert.deepEqual([...buffer.view()], [0, 10, 255, 10, 10]);
});

Deno.test.each([{ format: "text" }, { format: "json" }, { format: "raw" }] as const)(
  "a datagram of $format has no line end",
  ({ format }) => {
    const lines = new MessageBuffer(format);
    const datagrams = new MessageBuffer(format, false);
    lines.add(received("x"));
    datagrams.add(received("x"));
    assert.equal(decoder.decode(lines.view()), `${decoder.decode(datagrams.view())}\n`);
  },
);

Deno.test.each([
  { payload: "plain", member: '"payload":"plain"' },
  { payload: "", member: '"payload":""' },
  { payload: 'say "hi" \\ \n', member: '"payload":"say \\"hi\\" \\\\ \\n"' },
  { payload: "Grüße 😀", member: '"payload":"Grüße 😀"' },
  { payload: "\x7f\u202e\u2028", member: '"payload":"\\u007f\\u202e\\u2028"' },
  { payload: "\ufeffx", member: '"payload":"\\ufeffx"' },
  { payload: '{"a":1}', member: '"payload":"{\\"a\\":1}"' },
])("json: text is a string: $member", ({ payload, member }) => {
  assert.equal(json(payload, "text/plain"), member);
});

Deno.test("json: what is not UTF-8 is base64, also when it says that it is JSON", () => {
  const payload = new Uint8Array([0xff, 0x00, 0xfe, 0x80]);
  assert.equal(json(payload, "text/plain"), '"payload_base64":"/wD+gA=="');
  assert.equal(json(payload, "application/json"), '"payload_base64":"/wD+gA=="');
});

Deno.test.each([
  { payload: '{"a":[1,2.5,null]}', member: '"payload":{"a":[1,2.5,null]}' },
  { payload: '"text"', member: '"payload":"text"' },
  { payload: '{\r\n\t"a" : 1\n}', member: '"payload":{   "a" : 1 }' },
  // RFC 8259 section 6: numbers of any length; they are not to lose digits here.
  { payload: "12345678901234567890.10", member: '"payload":12345678901234567890.10' },
  { payload: '"\u202e😀\x7f"', member: '"payload":"\\u202e😀\\u007f"' },
  { payload: '"\\n"', member: '"payload":"\\n"' },
])("json: JSON stays the value that it is: $member", ({ payload, member }) => {
  assert.equal(json(payload, "application/json"), member);
  assert.equal(json(payload, "Application/JSON ; charset=utf-8"), member);
});

Deno.test.each([
  { payload: "{broken", member: '"payload":"{broken"' },
  { payload: "", member: '"payload":""' },
  { payload: '{"a":1}{"b":2}', member: '"payload":"{\\"a\\":1}{\\"b\\":2}"' },
  { payload: '\ufeff{"a":1}', member: '"payload":"\\ufeff{\\"a\\":1}"' },
])("json: what only says that it is JSON is a string: $member", ({ payload, member }) => {
  assert.equal(json(payload, "application/json"), member);
});

Deno.test("json: other types that contain the word are text", () => {
  assert.equal(json("1", "application/json-seq"), '"payload":"1"');
  assert.equal(json("1", "text/application/json"), '"payload":"1"');
});

Deno.test("json: a million brackets are answered, not a crash", () => {
  const deep = "[".repeat(1_000_000);
  assert.equal(json(deep, "application/json"), `"payload":"${deep}"`);
});

Deno.test("json: hostile names stay inside their strings", () => {
  const line = formatted(
    "json",
    received("x", { topic: '","number":7,"t":"\n', contentType: '"\u2029', gateway: 'a"b' }),
  );
  const value = JSON.parse(line);
  assert.deepEqual(Object.keys(value), [
    ...["time", "gateway", "spool", "stream", "number", "topic", "content_type", "payload"],
  ]);
  assert.equal(value.topic, '","number":7,"t":"\n');
  assert.equal(value.gateway, 'a"b');
  assert.ok(line.includes("\\u2029"));
});

Deno.test.each([
  { arrivalMs: 0, time: "1970-01-01T00:00:00.000Z" },
  { arrivalMs: 999.9, time: "1970-01-01T00:00:00.999Z" },
  { arrivalMs: -5, time: "1970-01-01T00:00:00.000Z" },
  { arrivalMs: NaN, time: "1970-01-01T00:00:00.000Z" },
  { arrivalMs: Infinity, time: "9999-12-31T23:59:59.999Z" },
  { arrivalMs: Number.MAX_SAFE_INTEGER, time: "9999-12-31T23:59:59.999Z" },
  { arrivalMs: 951782399120, time: "2000-02-28T23:59:59.120Z" },
])("a time of $arrivalMs ms is $time", ({ arrivalMs, time }) => {
  const buffer = new MessageBuffer("text");
  buffer.add(received("before", { arrivalMs: 1 })); // another second was written before
  buffer.drop(buffer.size);
  buffer.add(received("x", { arrivalMs }));
  assert.equal(decoder.decode(buffer.view()), `${time} client.gw1 log x\n`);
});

Deno.test.each([0, 9, 10, 1234567890123, Number.MAX_SAFE_INTEGER])(
  "json: number %d keeps its digits",
  (number) => {
    assert.equal(JSON.parse(formatted("json", received("x", { number }))).number, number);
  },
);

Deno.test("messages of several gateways and streams keep their own names", () => {
  const sources = [["a", 1], ["a", 2], ["b", 2], ["a", 1]] as const;
  const lines = formatted(
    "json",
    ...sources.map(([gateway, stream], index) => received("x", { gateway, stream, number: index })),
  ).trimEnd().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(lines.map(({ gateway, stream }) => [gateway, stream]), sources);
  assert.deepEqual(lines.map(({ number }) => number), [0, 1, 2, 3]);
});

Deno.test("more names than are remembered are still written right", () => {
  const buffer = new MessageBuffer("text");
  for (const round of [1, 2]) {
    for (let index = 0; index < 3000; index++) {
      const topic = index % 100 === 0 ? `t${index}`.repeat(100) : `t${index}`;
      buffer.add(received(`${round}`, { topic }));
      const line = decoder.decode(buffer.view());
      assert.equal(line, `2026-11-21T16:00:01.007Z client.gw1 ${topic} ${round}\n`);
      buffer.drop(buffer.size);
    }
  }
});

Deno.test("what was handed out stays as it was while more is added; drop() moves up the rest", () => {
  const buffer = new MessageBuffer("raw");
  buffer.add(received("first"));
  const held = buffer.view();
  for (let index = 0; index < 100; index++) buffer.add(received("y".repeat(5000))); // grows
  assert.equal(decoder.decode(held), "first\n");
  buffer.drop(6);
  assert.equal(buffer.size, 100 * 5001);
  assert.equal(decoder.decode(buffer.view().subarray(0, 3)), "yyy");
  buffer.drop(buffer.size);
  assert.equal(buffer.size, 0);
});

Deno.test("the largest message goes through each format", () => {
  const payload = new Uint8Array(4 * 1024 * 1024).fill(0xff);
  for (const format of ["text", "json", "raw"] as const) {
    const buffer = new MessageBuffer(format);
    assert.ok(buffer.add(received(payload)) > payload.length);
  }
});
