/** `fairlead hub`: what it prints, whom it refuses, its configuration file. */
import assert from "node:assert/strict";
import { newRegion } from "../../src/mem/region.ts";
import { fileURLToPath } from "node:url";
import { Endpoint } from "../../src/app/endpoint.ts";
import { authNone } from "../../src/app/auth.ts";
import { clientPolicy } from "../../src/app/connection_flags.ts";
import { FairleadType } from "../../src/app/message_types.ts";
import { cut, printable, printableBytes, printableWord } from "../../src/app/printable.ts";
import {
  type EnvelopeHead,
  envelopeHeadBytes,
  envelopeMessageBytes,
  finishEnvelope,
  SPOOL_ID_SIZE,
  writeEnvelopeHead,
  writeEnvelopeMessage,
} from "../../src/wire/gateway/envelope.ts";
import { HOP_SIZE, writeHop } from "../../src/wire/gateway/post.ts";
import { Fairlead, group, logged } from "./fairlead.ts";

const encoder = new TextEncoder();
const LISTENING = /Listening on (\S+) /;
const SPOOL = "0123456789abcdef0123456789abcdef";

/** A POST that is in no stream: one message whose every name is hostile. */
function hostilePost(): Uint8Array {
  const [gateway, topic, contentType, payload] = [
    "client.x\n2026 forged",
    "a b\x1b[2J\u202e/c",
    "text/plain\r\nx",
    "\x1b]0;owned\x07",
  ].map((text) => encoder.encode(text)) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
  const spool = Uint8Array.fromHex(SPOOL);
  assert.equal(spool.length, SPOOL_ID_SIZE);
  const head: EnvelopeHead = { spool, stream: 7, gateway };
  const size = HOP_SIZE + envelopeHeadBytes(head) +
    envelopeMessageBytes(topic.length, contentType.length, payload.length);
  const out = newRegion(size);
  const at = writeHop(out, 0, spool, 0, 0);
  const messageAt = writeEnvelopeHead(out, at, head);
  const end = writeEnvelopeMessage(out, messageAt, 0, topic, contentType, payload);
  finishEnvelope(out, at, end, 9, 1);
  return out.bytes.subarray(0, end);
}

/** Sends messages of each kind under a hostile name, and waits until all are acknowledged. */
async function sendAll(address: string): Promise<void> {
  const endpoint = new Endpoint({ auth: authNone("client.a b\x1b[2J") });
  const session = await endpoint.connect(address, clientPolicy("lossless"));
  session.send({ type: FairleadType.Line, front: encoder.encode("grüße, plain text\tas it is") });
  session.send({
    type: FairleadType.Line,
    front: encoder.encode("red \x1b[31m\nclient.x line no"),
  });
  session.send({ type: FairleadType.Line, front: Uint8Array.of(0x61, 0xff, 0xc0, 0x80, 0x62) });
  session.send({ type: FairleadType.Reading, front: encoder.encode('{"load":[1,2,3]}') });
  session.send({ type: FairleadType.FileData, data: new Uint8Array(4096) });
  session.send({ type: 0xf0, front: encoder.encode("abc") });
  session.send({ type: FairleadType.Post, front: hostilePost() });
  await endpoint.flushed(session);
  await endpoint.close();
}

/** RFC 3339 in front of a line of the text form; returns what is behind. */
function untimed(line: string): string {
  const time = group(line, /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) /);
  return line.slice(time.length + 1);
}

Deno.test("hub prints GATEWAY TOPIC PAYLOAD, and no control character gets through", async () => {
  await using hub = Fairlead.start("hub", "v2:127.0.0.1:0", "--no-status");
  await sendAll(group(await hub.err.line(LISTENING), LISTENING));
  await hub.err.line(logged(/Session with \S+ stands \(crc\), from v2:127\.0\.0\.1:\d+$/));
  hub.kill("SIGINT");
  assert.equal(await hub.end(), 0);
  const name = "client.a\\x20b\\x1b[2J";
  assert.deepEqual(hub.out.lines.map(untimed), [
    `${name} lines grüße, plain text\tas it is`,
    `${name} lines red \\x1b[31m\\x0aclient.x line no`,
    `${name} lines a\\xff\\xc0\\x80b`,
    `${name} readings {"load":[1,2,3]}`,
    "client.x\\x0a2026\\x20forged a\\x20b\\x1b[2J\\u{202e}/c \\x1b]0;owned\\x07",
  ]);
  assert.equal(hub.out.lines.at(-1)!.slice(0, 24), "1970-01-01T00:00:00.000Z");
  assert.match(hub.err.lines.at(-2)!, logged(/Stopped: 5 messages were received$/));
  // A piece of a file and a foreign type: acknowledged, but no output can have them.
  assert.match(hub.err.lines.at(-1)!, logged(/Not handed on: 2 messages were refused$/));
  // deno-lint-ignore no-control-regex -- these are what must not get through
  assert.doesNotMatch(hub.out.text + hub.err.text, /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]/);
});

Deno.test("hub --json prints one object per message, over Deno's sockets too", async () => {
  await using hub = Fairlead.start("hub", "v2:localhost:0", "--json", "--io=deno", "--no-status");
  await sendAll(group(await hub.err.line(LISTENING), LISTENING));
  hub.kill("SIGTERM");
  assert.equal(await hub.end(), 0);
  const lines = hub.out.lines.map((line) => JSON.parse(line));
  for (const { time } of lines.slice(0, -1)) {
    assert.ok(Math.abs(Date.now() - Date.parse(time)) < 60_000, time);
  }
  const from = { gateway: "client.a b\x1b[2J", spool: "", stream: 0 };
  const text = { ...from, topic: "lines", content_type: "text/plain" };
  assert.deepEqual(lines.map(({ time: _, ...rest }) => rest), [
    { ...text, number: 1, payload: "grüße, plain text\tas it is" },
    { ...text, number: 2, payload: "red \x1b[31m\nclient.x line no" },
    { ...text, number: 3, payload_base64: "Yf/AgGI=" },
    {
      ...from,
      number: 4,
      topic: "readings",
      content_type: "application/json",
      payload: { load: [1, 2, 3] },
    },
    {
      gateway: "client.x\n2026 forged",
      spool: SPOOL,
      stream: 7,
      number: 9,
      topic: "a b\x1b[2J\u202e/c",
      content_type: "text/plain\r\nx",
      payload: "\x1b]0;owned\x07",
    },
  ]);
  // deno-lint-ignore no-control-regex -- these are what must not get through
  assert.doesNotMatch(hub.out.text, /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]/);
});

Deno.test("hub refuses what is unsafe or wrong, and says the remedy", async (t) => {
  const folder = await Deno.makeTempDir();
  const config = `${folder}/hub.json`;
  await Deno.writeTextFile(config, '{ "auth": { "keyrin": "x" } }');
  const open = `${folder}/open.json`;
  await Deno.writeTextFile(open, '{ "listen": "v2:0.0.0.0:0" }');
  const cases: [string[], number, RegExp][] = [
    [["v2:0.0.0.0:0"], 2, /ADDRESS: .*"v2:0\.0\.0\.0:0".* --keyring FILE.* --auth none/],
    [["v2:[::]:0"], 2, /no keyring: .*"v2:\[::\]:0".* --keyring FILE.* --auth none/],
    [["-c", open], 2, /open\.json:1:13: .*no keyring: .*add auth\.keyring.*auth\.method "none"/],
    [["--mode", "secure"], 2, /--mode: .* it needs a key: .*--keyring FILE/],
    [["--config", config], 2, /hub\.json:1:13: .*keyrin .*did you mean "keyring"/],
    [["--config", `${folder}/none.json`], 2, /none\.json: Cannot read the configuration: /],
    [["v2:192.0.2.1:0", "--auth", "none"], 1, /^Cannot listen on v2:192\.0\.2\.1:0/],
    [["nonsense"], 2, /ADDRESS: .*must be v2:HOST:PORT, .* is "nonsense", did you mean/],
    [["::1:3312"], 2, /ADDRESS: .*must be .* is "::1:3312"/],
    [["v1:127.0.0.1:3300"], 2, /ADDRESS: .*did you mean "v2:127\.0\.0\.1:3300"$/],
    [["-n", "gw1"], 2, /--name: .*must be TYPE\.ID, .* is "gw1"/],
    [["-k", config], 2, /keyring: .*hub\.json" is no keyring: .* line 1 as it must stand below/],
    [["-o", `${folder}/none/messages.log`], 1, /none\/messages\.log.*No such file/],
    [["--state", config], 1, /^Cannot .*--state/],
  ];
  for (const [words, code, text] of cases) {
    await t.step(words.join(" "), async () => {
      await using hub = Fairlead.start("hub", ...words, "--no-status");
      assert.equal(await hub.end(), code);
      const told = hub.err.lines.filter((line) => !line.includes(": warning: "));
      assert.match(told[0] ?? "", text);
      assert.doesNotMatch(hub.err.text, /^\s+at /m); // no stack trace
      assert.deepEqual(hub.out.lines, []);
    });
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("hub says that its address is in use, and takes it from a configuration file", async () => {
  const config = await Deno.makeTempFile();
  const settings = { listen: "v2:[::1]:0", auth: { method: "none" }, status: false };
  await Deno.writeTextFile(config, JSON.stringify(settings));
  await using hub = Fairlead.start("hub", "-c", config);
  const address = group(await hub.err.line(LISTENING), LISTENING);
  assert.match(address, /^v2:\[::1\]:\d+$/);
  await using second = Fairlead.start("hub", "-c", config, address);
  assert.equal(await second.end(), 1);
  assert.match(second.err.lines[0]!, /^Cannot listen on v2:\[::1\]:\d+: .*give another one$/);
  await Deno.remove(config);
});

Deno.test("printable() leaves text alone and escapes what a terminal would obey", () => {
  assert.equal(printable("a\tb ü 漢 👍"), "a\tb ü 漢 👍");
  assert.equal(
    printable("\x1b]0;x\x07\r\n\x9b\u202e\x7f"),
    "\\x1b]0;x\\x07\\x0d\\x0a\\x9b\\u{202e}\\x7f",
  );
  assert.equal(printableWord("a b"), "a\\x20b");
  assert.equal(printableWord(""), "-");
  const plain = encoder.encode("plain");
  assert.equal(printableBytes(plain), plain);
  const decode = (...bytes: number[]): string =>
    new TextDecoder().decode(printableBytes(Uint8Array.from(bytes)));
  assert.equal(decode(0xc3, 0xbc, 0xc3), "ü\\xc3"); // a sequence that ends too early
  assert.equal(decode(0xed, 0xa0, 0x80), "\\xed\\xa0\\x80"); // a surrogate
  assert.equal(decode(0xc2, 0x9b, 0xf5), "\\x9b\\xf5"); // C1 as UTF-8
  assert.equal(decode(0xf0, 0x9f, 0x91, 0x8d, 0x07), "👍\\x07");
  assert.equal(cut("漢字漢字", 5), "漢字~");
  assert.equal(cut("short", 5), "short");
});

Deno.test("hub ends when the reader of its only output is gone, and says so", async () => {
  const main = fileURLToPath(import.meta.resolve("../../src/main.ts"));
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", main, "hub", "v2:127.0.0.1:0", "--no-status"],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1" },
  }).spawn();
  const late = setTimeout(() => child.kill("SIGKILL"), 20_000);
  const decoder = new TextDecoder();
  let told = "";
  const errors = child.stderr.getReader();
  while (!LISTENING.test(told)) told += decoder.decode((await errors.read()).value);
  await child.stdout.cancel(); // as `hub | head` does
  const endpoint = new Endpoint({ auth: authNone("client.gw1") });
  const session = await endpoint.connect(group(told, LISTENING), clientPolicy("lossless"));
  session.send({ type: FairleadType.Line, front: encoder.encode("nobody reads this") });
  for (let next = await errors.read(); !next.done; next = await errors.read()) {
    told += decoder.decode(next.value);
  }
  assert.equal((await child.status).code, 1);
  assert.match(told, /Cannot write to standard output: .*start the hub again with a reader/);
  assert.equal(session.unacknowledged, 1, "what was not written is not acknowledged");
  clearTimeout(late);
  await endpoint.close();
});
