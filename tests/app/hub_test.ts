/** `fairlead hub`: what it prints, whom it refuses, its configuration file. */
import assert from "node:assert/strict";
import { Endpoint } from "../../src/app/endpoint.ts";
import { authNone } from "../../src/app/auth.ts";
import { clientPolicy } from "../../src/app/connection_flags.ts";
import { FairleadType } from "../../src/app/message_types.ts";
import { cut, printable, printableBytes, printableWord } from "../../src/app/printable.ts";
import { Fairlead, group } from "./fairlead.ts";

const encoder = new TextEncoder();
const LISTENING = /Listening on (\S+) /;

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
  await endpoint.flushed(session);
  await endpoint.close();
}

Deno.test("hub prints NAME TYPE PAYLOAD, and no control character of a peer gets through", async () => {
  await using hub = Fairlead.start("hub", "v2:127.0.0.1:0");
  await sendAll(group(await hub.err.line(LISTENING), LISTENING));
  await hub.err.line(/^Session with \S+ stands \(crc\), from v2:127\.0\.0\.1:\d+$/);
  hub.kill("SIGINT");
  assert.equal(await hub.end(), 0);
  const name = "client.a\\x20b\\x1b[2J";
  assert.deepEqual(hub.out.lines, [
    `${name} line grüße, plain text\tas it is`,
    `${name} line red \\x1b[31m\\x0aclient.x line no`,
    `${name} line a\\xff\\xc0\\x80b`,
    `${name} reading {"load":[1,2,3]}`,
    `${name} file_data 4096 bytes`,
    `${name} 0x00f0 3 bytes`,
  ]);
  assert.equal(hub.err.lines.at(-1), "Stopped: 6 messages were received");
});

Deno.test("hub --json prints one object per message, over Deno's sockets too", async () => {
  await using hub = Fairlead.start("hub", "v2:localhost:0", "--json", "--io=deno");
  await sendAll(group(await hub.err.line(LISTENING), LISTENING));
  hub.kill("SIGTERM");
  assert.equal(await hub.end(), 0);
  const name = "client.a b\x1b[2J";
  assert.deepEqual(hub.out.lines.map((line) => JSON.parse(line)), [
    { name, type: "line", seq: 1, payload: "grüße, plain text\tas it is" },
    { name, type: "line", seq: 2, payload: "red \x1b[31m\nclient.x line no" },
    { name, type: "line", seq: 3, payload_base64: "Yf/AgGI=" },
    { name, type: "reading", seq: 4, payload: { load: [1, 2, 3] } },
    { name, type: "file_data", seq: 5, payload_base64: btoa("\0".repeat(4096)) },
    { name, type: "0x00f0", seq: 6, payload_base64: "YWJj" },
  ]);
});

Deno.test("hub refuses what is unsafe or wrong, and says the remedy", async (t) => {
  const folder = await Deno.makeTempDir();
  const config = `${folder}/hub.json`;
  await Deno.writeTextFile(config, '{ "keyrin": "x" }');
  const cases: [string[], number, RegExp][] = [
    [["v2:0.0.0.0:0"], 2, /^Cannot listen on v2:0\.0\.0\.0:0.* without a keyring .*--auth none/],
    [["v2:[::]:0"], 2, /^Cannot listen on v2:\[::\]:0.* without a keyring .*--auth none/],
    [["--mode", "secure"], 2, /^Cannot use --mode secure as it needs a key: .*--keyring FILE/],
    [
      ["--config", config],
      2,
      /has an unknown key: current value is "keyrin", did you mean "keyring"/,
    ],
    [["--config", `${folder}/none.json`], 2, /^Cannot read configuration .*none\.json/],
    [["v2:192.0.2.1:0", "--auth", "none"], 1, /^Cannot listen on v2:192\.0\.2\.1:0/],
    [["nonsense"], 2, /^Cannot use ADDRESS as it must be v2:HOST:PORT, .* is "nonsense"$/],
    [["::1:3312"], 2, /^Cannot use ADDRESS as it must be .* is "::1:3312"$/],
    [["v1:127.0.0.1:3300"], 2, /^Cannot use ADDRESS as msgr1 is not supported: .*give v2:/],
    [["-n", "gw1"], 2, /^Cannot use --name as it must be TYPE\.ID, .* is "gw1"$/],
    [["-k", `${folder}/hub.json`], 2, /^Cannot read keyring \S+ line 1 as it must stand below/],
  ];
  for (const [words, code, text] of cases) {
    await t.step(words.join(" "), async () => {
      await using hub = Fairlead.start("hub", ...words);
      assert.equal(await hub.end(), code);
      assert.match(hub.err.lines[0] ?? "", text);
      assert.deepEqual(hub.out.lines, []);
    });
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("hub says that its address is in use, and takes it from a configuration file", async () => {
  const config = await Deno.makeTempFile();
  await Deno.writeTextFile(config, '{ "address": "v2:[::1]:0", "auth": "none" }');
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
