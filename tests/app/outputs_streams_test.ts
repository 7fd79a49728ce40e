/** Standard output and UDP as outputs. */
import assert from "node:assert/strict";
import dgram from "node:dgram";
import { openOutput } from "../../src/app/outputs/open.ts";
import { StdoutOutput } from "../../src/app/outputs/stdout.ts";
import { DATAGRAM_BYTES_MAX, UdpOutput } from "../../src/app/outputs/udp.ts";
import { received, until } from "./outputs_messages.ts";

const decoder = new TextDecoder();

/** A pipe that takes `step` bytes at once, only while it is let, and can break. */
class Pipe {
  text = "";
  writes = 0;
  broken = false;
  refusal: Error | null = null;
  #open = true;
  #waiting: (() => void)[] = [];

  constructor(readonly step: number) {}

  stop(): void {
    this.#open = false;
  }

  go(): void {
    this.#open = true;
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async write(bytes: Uint8Array): Promise<number> {
    const part = bytes.subarray(0, this.step);
    if (!this.#open) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (this.broken) throw new Deno.errors.BrokenPipe("Broken pipe (os error 32)");
    if (this.refusal !== null) throw this.refusal;
    this.writes++;
    this.text += decoder.decode(part);
    return part.length;
  }
}

function stdout(pipe: Pipe, required: boolean): StdoutOutput {
  return new StdoutOutput("screen", { type: "stdout", format: "raw", required }, pipe);
}

Deno.test("standard output: a round is one write; flush() waits for it when required", async () => {
  const pipe = new Pipe(Infinity);
  const output = stdout(pipe, true);
  for (let index = 0; index < 3; index++) output.take(received(`line ${index}`));
  await output.flush();
  assert.equal(pipe.text, "line 0\nline 1\nline 2\n");
  assert.equal(pipe.writes, 1);
  assert.deepEqual(output.counts, { messages: 3, bytes: 21, dropped: 0, reopened: 0 });
  await output.close();
});

Deno.test("standard output: short writes, and messages that come during one, keep the order", async () => {
  const pipe = new Pipe(5);
  const output = stdout(pipe, true);
  let wanted = "";
  for (let index = 0; index < 200; index++) {
    output.take(received(`line ${index}`));
    wanted += `line ${index}\n`;
    if (index % 3 === 0) await Promise.resolve();
  }
  await output.flush();
  assert.equal(pipe.text, wanted);
  await output.close();
});

Deno.test("standard output that nobody reads: what does not fit is dropped, counted and told", async () => {
  const pipe = new Pipe(Infinity);
  pipe.stop();
  const output = stdout(pipe, false);
  const line = "x".repeat(1024 * 1024);
  for (let index = 0; index < 10; index++) output.take(received(line));
  await output.flush();
  assert.ok(output.counts.dropped >= 5);
  assert.match(output.trouble, /nobody reads it: messages are dropped/);
  pipe.go();
  await output.close();
  assert.equal(pipe.text.length, (10 - output.counts.dropped) * (line.length + 1));
  assert.equal(output.trouble, "");
});

Deno.test("standard output whose reader went away: trouble, and the hub lives", async () => {
  const pipe = new Pipe(Infinity);
  pipe.broken = true;
  for (const required of [false, true]) {
    const output = stdout(pipe, required);
    output.take(received("x"));
    if (required) await assert.rejects(output.flush(), /Broken pipe .* start the hub again/);
    else await until(() => output.trouble !== "", "trouble");
    output.take(received("y"));
    assert.match(output.trouble, /Cannot write to standard output: Broken pipe/);
    assert.equal(output.counts.dropped, required ? 0 : 1);
    await output.close();
  }
});

Deno.test("standard output that refuses for a while gets it later", async () => {
  const pipe = new Pipe(Infinity);
  pipe.refusal = new Error("No space left on device (os error 28)"); // it may be a file
  const output = stdout(pipe, true);
  output.take(received("one"));
  await assert.rejects(output.flush(), /Cannot write to standard output: No space left/);
  pipe.refusal = null;
  output.take(received("two"));
  await output.flush();
  assert.equal(output.trouble, "");
  assert.equal(pipe.text, "one\ntwo\n");
  await output.close();
});

Deno.test("standard output: flush() and close() give up a reader that does not read", async () => {
  const pipe = new Pipe(Infinity);
  pipe.stop();
  const output = stdout(pipe, true);
  output.take(received("x"));
  await assert.rejects(output.flush(), /as its reader takes nothing/);
  await output.close();
  pipe.go();
  await output.flush();
  assert.deepEqual([pipe.text, output.trouble], ["x\n", ""]);
});

/** A UDP socket that counts what it gets. */
async function receiver(): Promise<{ socket: dgram.Socket; port: number; got: Uint8Array[] }> {
  const socket = dgram.createSocket("udp4");
  const got: Uint8Array[] = [];
  socket.on("message", (datagram: Uint8Array) => got.push(datagram));
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  return { socket, port: socket.address().port, got };
}

function udp(address: string, format: "raw" | "json" = "raw"): UdpOutput {
  return new UdpOutput("siem", { type: "udp", address, format, required: true });
}

Deno.test("UDP: one datagram for each message, as it is", async () => {
  const { socket, port, got } = await receiver();
  const output = udp(`127.0.0.1:${port}`);
  output.take(received("<34>1 first"));
  output.take(received(""));
  output.take(received(new Uint8Array([0, 255, 10])));
  await output.flush();
  await until(() => got.length === 3, "three datagrams");
  assert.deepEqual(got.map((datagram) => [...datagram]), [
    [...new TextEncoder().encode("<34>1 first")],
    [],
    [0, 255, 10],
  ]);
  assert.deepEqual(output.counts, { messages: 3, bytes: 14, dropped: 0, reopened: 0 });
  await output.close();
  await output.close();
  socket.close();
});

Deno.test("UDP: what is too long is cut and counted, not in the middle of a character", async () => {
  const { socket, port, got } = await receiver();
  const output = udp(`127.0.0.1:${port}`);
  const texts = [
    ["x".repeat(DATAGRAM_BYTES_MAX), DATAGRAM_BYTES_MAX],
    ["x".repeat(DATAGRAM_BYTES_MAX + 1), DATAGRAM_BYTES_MAX],
    [`${"x".repeat(DATAGRAM_BYTES_MAX - 1)}ü`, DATAGRAM_BYTES_MAX - 1],
    [`${"x".repeat(DATAGRAM_BYTES_MAX - 3)}😀`, DATAGRAM_BYTES_MAX - 3],
    [`${"x".repeat(DATAGRAM_BYTES_MAX - 4)}😀!`, DATAGRAM_BYTES_MAX],
  ] as const;
  for (const [index, [text, size]] of texts.entries()) {
    output.take(received(text));
    await output.flush();
    await until(() => got.length === index + 1, "a datagram");
    assert.equal(got[index]!.length, size, `text ${index}`);
  }
  output.take(received(new Uint8Array(DATAGRAM_BYTES_MAX * 2).fill(0x80))); // no character at all
  await until(() => got.length === texts.length + 1, "the last");
  assert.equal(got.at(-1)!.length, DATAGRAM_BYTES_MAX);
  assert.equal(output.cut, 5);
  await output.close();
  socket.close();
});

Deno.test("UDP: a name is looked up; one that nobody knows is counted and told", async () => {
  const { socket, port, got } = await receiver();
  const known = udp(`localhost:${port}`, "json");
  known.take(received("hello"));
  await until(() => got.length === 1, "a datagram");
  assert.equal(JSON.parse(decoder.decode(got[0])).payload, "hello");
  await known.close();
  socket.close();
  const unknown = udp("no-such-host.invalid:514"); // RFC 2606 section 2
  for (let index = 0; index < 3; index++) unknown.take(received("x"));
  await unknown.flush();
  assert.equal(unknown.failed, 3);
  assert.equal(unknown.counts.dropped, 3);
  assert.match(unknown.trouble, /^Cannot send to no-such-host\.invalid:514: /);
  await unknown.close();
});

Deno.test("UDP: more than may wait is dropped and counted", async () => {
  const { socket, port } = await receiver();
  const output = udp(`127.0.0.1:${port}`);
  for (let index = 0; index < 100; index++) output.take(received("x".repeat(60_000)));
  assert.ok(output.counts.dropped >= 30);
  await output.flush();
  assert.equal(output.counts.messages + output.counts.dropped, 100 + output.failed);
  await output.close();
  socket.close();
});

Deno.test("openOutput() opens each kind", async () => {
  const outputs = [
    await openOutput("a", { type: "stdout", format: "json", required: false }, null),
    await openOutput("b", { type: "sse", required: false }, null),
    await openOutput(
      "c",
      { type: "udp", address: "[::1]:514", format: "raw", required: false },
      null,
    ),
    await openOutput(
      "d",
      { type: "tcp", address: "127.0.0.1:1", format: "text", required: false },
      null,
    ),
  ];
  assert.deepEqual(outputs.map(({ name, where }) => `${name} ${where}`), [
    ...["a standard output", "b /stream/b", "c [::1]:514", "d 127.0.0.1:1"],
  ]);
  for (const output of outputs) await output.close();
});
