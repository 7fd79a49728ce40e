/** `fairlead send` and `fairlead listen` as two processes: nothing is lost, doubled or shuffled. */
import assert from "node:assert/strict";
import { clientPolicy } from "../../src/app/connection_flags.ts";
import { Endpoint } from "../../src/app/endpoint.ts";
import { safeName } from "../../src/app/file_intake.ts";
import { linesOf } from "../../src/app/lines.ts";
import { Progress } from "../../src/app/progress.ts";
import { dialNext } from "../../src/app/session_text.ts";
import { EntityAddr } from "../../src/wire/msgr2/entity_addr.ts";
import { CuttingRelay, Fairlead, seeded } from "./fairlead.ts";

const SEED = Number(Deno.env.get("SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]!);

async function listening(listen: Fairlead): Promise<{ address: string; port: number }> {
  const [, address, port] = await listen.stderrMatch(/Listening on (v2:127\.0\.0\.1:(\d+)) \(/);
  return { address: address!, port: Number(port) };
}

async function scratch(): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir();
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

Deno.test("lines arrive as they are, a last one without newline too; both ends exit 0", async () => {
  await using listen = Fairlead.start("listen", "v2:127.0.0.1:0", "--count", "4");
  const { address } = await listening(listen);
  await using send = Fairlead.startPiped("send", address, "-");
  await send.write("one\n\ntwo \u00e9\r\n");
  await send.write("last");
  await send.endInput();
  assert.deepEqual(await send.ended(), { code: 0, stdout: "", stderr: "" });
  const ended = await listen.ended();
  assert.equal(ended.stdout, "one\n\ntwo \u00e9\r\nlast\n");
  assert.equal(ended.code, 0);
});

Deno.test(`2000 lines arrive once each, in order, through a relay that cuts (seed ${SEED})`, async () => {
  const random = seeded(SEED);
  await using relay = new CuttingRelay();
  await using listen = Fairlead.start(
    ...["listen", "v2:127.0.0.1:0", "--count", "2000"],
    ...["--advertise", `v2:127.0.0.1:${relay.port}`],
  );
  const { port } = await listening(listen);
  let connections = 0;
  // The third connection is cut in its handshake; each carries a part of the 300 KB.
  relay.start(port, () => ++connections === 3 ? random(500) : 2000 + random(30_000));
  await using send = Fairlead.startPiped("send", `v2:127.0.0.1:${relay.port}`);
  const lines = Array.from({ length: 2000 }, (_, index) => `${index} ${"x".repeat(random(100))}`);
  await send.write(lines.join("\n"));
  await send.endInput();
  const sent = await send.ended();
  assert.equal(sent.code, 0, sent.stderr);
  const { code, stdout } = await listen.ended();
  assert.equal(stdout, `${lines.join("\n")}\n`);
  assert.equal(code, 0);
  assert.ok(relay.cuts >= 5, `${relay.cuts} cuts`);
});

Deno.test(`a file arrives bit-exact through a relay that cuts (seed ${SEED})`, async () => {
  const random = seeded(SEED);
  await using directory = await scratch();
  const bytes = Uint8Array.from({ length: 3_000_001 }, () => random(256));
  await Deno.writeFile(`${directory.path}/image.raw`, bytes);
  await using relay = new CuttingRelay();
  await using listen = Fairlead.start(
    ...["listen", "v2:127.0.0.1:0", "--count", "1", "-o", `${directory.path}/in/`],
    ...["--advertise", `v2:127.0.0.1:${relay.port}`],
  );
  const { port } = await listening(listen);
  // A chunk of 256 KiB must get through whole sooner or later.
  relay.start(port, () => 100_000 + random(900_000));
  const sent = await Fairlead.run(
    ...["send", `v2:127.0.0.1:${relay.port}`, "--file", `${directory.path}/image.raw`],
  );
  assert.equal(sent.code, 0, sent.stderr);
  const { code, stderr } = await listen.ended();
  assert.equal(code, 0, stderr);
  assert.match(stderr, /Received .*\/in\/image\.raw: 3000001 bytes/);
  assert.deepEqual(await Deno.readFile(`${directory.path}/in/image.raw`), bytes);
  assert.deepEqual([...Deno.readDirSync(`${directory.path}/in`)].map(({ name }) => name), [
    "image.raw",
  ]);
  assert.ok(relay.cuts >= 2, `${relay.cuts} cuts`);
});

Deno.test("secure mode by a keyring: lines arrive; a wrong key ends with the reason", async () => {
  await using directory = await scratch();
  const [hub, other] = [`${directory.path}/hub.keyring`, `${directory.path}/other.keyring`];
  await Fairlead.run("keyring", "create", hub, "client.gw1");
  await Fairlead.run("keyring", "create", other, "client.gw1");
  await using listen = Fairlead.start("listen", "v2:127.0.0.1:0", "-k", hub, "--count", "1");
  const { address } = await listening(listen);
  await Deno.writeTextFile(`${directory.path}/line`, "sealed\n");
  const words = ["send", address, `${directory.path}/line`, "-n", "client.gw1"];
  const refused = await Fairlead.run(...words, "-k", other);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /refused the credentials|authentication failed/i);
  const sent = await Fairlead.run(...words, "-k", hub);
  assert.equal(sent.code, 0, sent.stderr);
  const { code, stdout } = await listen.ended();
  assert.deepEqual({ code, stdout }, { code: 0, stdout: "sealed\n" });
});

Deno.test("lossless asked and lossy answered is an error; lossy asked sends", async () => {
  await using directory = await scratch();
  await Deno.writeTextFile(`${directory.path}/line`, "may be lost\n");
  await using listen = Fairlead.start(
    ...["listen", "v2:127.0.0.1:0", "--policy", "lossy", "--count", "1"],
  );
  const { address } = await listening(listen);
  const words = ["send", address, `${directory.path}/line`];
  const refused = await Fairlead.run(...words);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /Cannot send losslessly as .* keeps no sessions/);
  const sent = await Fairlead.run(...words, "--policy", "lossy");
  assert.equal(sent.code, 0, sent.stderr);
  assert.equal((await listen.ended()).stdout, "may be lost\n");
});

Deno.test("messages beyond --count are not acknowledged", async () => {
  await using directory = await scratch();
  await Deno.writeTextFile(`${directory.path}/lines`, "a\nb\nc\n");
  await using listen = Fairlead.start("listen", "v2:127.0.0.1:0", "--count", "2");
  const { address } = await listening(listen);
  const sent = await Fairlead.run("send", address, `${directory.path}/lines`);
  assert.equal(sent.code, 1);
  assert.match(
    sent.stderr,
    /is over: .*; 1 message not acknowledged, see the output of the far end/,
  );
  const { code, stdout } = await listen.ended();
  assert.deepEqual({ code, stdout }, { code: 0, stdout: "a\nb\n" });
});

Deno.test("a file without a place for it fails at the sender, and lines go on", async () => {
  await using directory = await scratch();
  await Deno.writeTextFile(`${directory.path}/line`, "line\n");
  await using listen = Fairlead.start("listen", "v2:127.0.0.1:0", "--count", "1");
  const { address } = await listening(listen);
  const file = await Fairlead.run("send", address, "--file", `${directory.path}/line`);
  assert.equal(file.code, 1);
  assert.match(file.stderr, /not acknowledged, see .* whether it listens with -o/);
  const line = await Fairlead.run("send", address, `${directory.path}/line`);
  assert.equal(line.code, 0, line.stderr);
  const { code, stdout, stderr } = await listen.ended();
  assert.match(stderr, /as no place was given: listen with -o DIR\//);
  assert.deepEqual({ code, stdout }, { code: 1, stdout: "line\n" });
});

Deno.test("nobody there: says what it waits for, and gives up after --timeout", async () => {
  const { code, stderr } = await Fairlead.run("send", "v2:127.0.0.1:1", "--timeout", "2");
  assert.equal(code, 1);
  assert.match(stderr, /Waiting for v2:127\.0\.0\.1:1.*ECONNREFUSED/);
  assert.match(stderr, /Gave up on v2:127\.0\.0\.1:1.* after 2 s/);
});

const onUnix = { ignore: Deno.build.os === "windows" };

Deno.test("SIGINT with nobody there: send ends at once, and not well", onUnix, async () => {
  await using send = Fairlead.startPiped("send", "v2:127.0.0.1:1");
  await send.write("x\n");
  await send.stderrMatch(/Waiting for v2:127\.0\.0\.1:1: /);
  send.kill("SIGINT");
  const { code, stderr } = await send.ended();
  assert.equal(code, 1);
  assert.match(stderr, /Stopped: v2:127\.0\.0\.1:1 was never reached, nothing was sent\n$/);
});

Deno.test("SIGINT while the far end is away: says so, drains a while, exit 1", onUnix, async () => {
  await using listen = Fairlead.start("listen", "v2:127.0.0.1:0");
  const { address } = await listening(listen);
  await using send = Fairlead.startPiped("send", address, "--drain", "1");
  await send.write("first\n");
  await listen.stdoutMatch(/first\n/);
  listen.kill("SIGKILL");
  await listen.ended();
  await send.write("second\n");
  await send.stderrMatch(/Waiting for /);
  send.kill("SIGINT");
  await send.stderrMatch(/Stopping: up to 1 s for \S+ to acknowledge [12] messages?; Ctrl-C again/);
  const { code, stderr } = await send.ended();
  assert.equal(code, 1);
  assert.match(stderr, /Stopped: [12] messages? not acknowledged by \S+ within 1 s\n$/);
});

Deno.test("SIGINT with all acknowledged: no more is read, exit 0", onUnix, async () => {
  await using listen = Fairlead.start("listen", "v2:127.0.0.1:0", "--count", "1");
  const { address } = await listening(listen);
  await using send = Fairlead.startPiped("send", address);
  await send.write("line\n");
  await listen.stdoutMatch(/line\n/);
  send.kill("SIGINT");
  assert.equal((await send.ended()).code, 0);
});

Deno.test("a line that is too long: those before it arrive, then exit 1 with its number", async () => {
  await using directory = await scratch();
  const path = `${directory.path}/lines`;
  await Deno.writeTextFile(path, `a\nb\n${"x".repeat(4 * 1024 * 1024 + 1)}\nc\n`);
  await using listen = Fairlead.start("listen", "v2:127.0.0.1:0", "--count", "2");
  const { address } = await listening(listen);
  const { code, stderr } = await Fairlead.run("send", address, path);
  assert.equal(code, 1);
  assert.match(stderr, /send line 3 as it must have 4194304 bytes at most.*; 2 lines before it/);
  assert.equal((await listen.ended()).stdout, "a\nb\n");
});

Deno.test("listen says that it replaced a file, and how its sessions are protected", async () => {
  await using directory = await scratch();
  await Deno.writeTextFile(`${directory.path}/one`, "1");
  await Deno.mkdir(`${directory.path}/in`);
  await Deno.writeTextFile(`${directory.path}/in/one`, "older");
  await using listen = Fairlead.start(
    ...["listen", "v2:127.0.0.1:0", "--count", "1", "-o", `${directory.path}/in/`],
  );
  const { address } = await listening(listen);
  const sent = await Fairlead.run("send", address, "--file", `${directory.path}/one`);
  assert.equal(sent.code, 0, sent.stderr);
  const { stderr } = await listen.ended();
  assert.match(stderr, /\(no authentication, crc\)\nStop: Ctrl-C\n/);
  assert.match(stderr, /Session with client\.fairlead stands \(crc\), from v2:127\.0\.0\.1:\d+\n/);
  assert.match(stderr, /Received \S+: 1 byte, replaced the file that was there\n/);
  assert.equal(await Deno.readTextFile(`${directory.path}/in/one`), "1");
});

Deno.test("a name with several addresses: the one that answers is found", async () => {
  const endpoint = new Endpoint();
  const taker = new Endpoint();
  const free = await taker.listen("v2:127.0.0.1:0");
  const targets = [EntityAddr.parse("v2:127.0.0.1:1"), free];
  const session = await endpoint.connect(targets[0]!, clientPolicy("lossless"));
  endpoint.onEvent(({ kind }) => {
    if (kind === "fault") dialNext(session, targets);
  });
  await endpoint.established(session);
  assert.equal(session.target!.port, free.port);
  await endpoint.close();
  await taker.close();
});

Deno.test("SIGTERM ends listen with exit 0", onUnix, async () => {
  await using listen = Fairlead.start("listen", "v2:127.0.0.1:0");
  await listening(listen);
  listen.kill("SIGTERM");
  assert.equal((await listen.ended()).code, 0);
});

Deno.test("the same over Deno's own sockets", async () => {
  await using listen = Fairlead.start("listen", "v2:127.0.0.1:0", "--count", "2", "--io", "deno");
  const { address } = await listening(listen);
  await using send = Fairlead.startPiped("send", address, "--io=deno");
  await send.write("a\nb\n");
  await send.endInput();
  assert.equal((await send.ended()).code, 0);
  assert.equal((await listen.ended()).stdout, "a\nb\n");
});

Deno.test("an open listener needs a keyring or --auth none in so many words", async () => {
  const { code, stderr } = await Fairlead.run("listen", "v2:0.0.0.0:0");
  assert.equal(code, 2);
  assert.match(stderr, /without a keyring as others can reach it/);
});

Deno.test.each([
  { name: "../../etc/passwd", safe: "passwd" },
  { name: "a\\b\\c.txt", safe: "c.txt" },
  { name: "..", safe: "file" },
  { name: "/", safe: "file" },
  { name: ".bashrc", safe: "bashrc" },
  { name: "a\nb\u001b[2J", safe: "a_b_[2J" },
  { name: "x".repeat(500), safe: "x".repeat(50) },
  { name: 7, safe: "file" },
])("safeName() makes $safe of $name", ({ name, safe }) => {
  assert.equal(safeName(name), safe);
});

Deno.test("linesOf() finds the same lines at every split, and refuses long ones", async () => {
  const bytes = new TextEncoder().encode("ab\n\ncd\r\nlast");
  const collect = async (chunks: Uint8Array<ArrayBuffer>[], max: number): Promise<string[]> => {
    const lines: string[] = [];
    const source = ReadableStream.from(chunks);
    for await (const line of linesOf(source, max)) lines.push(new TextDecoder().decode(line));
    return lines;
  };
  for (let at = 0; at <= bytes.length; at++) {
    const lines = await collect([bytes.slice(0, at), bytes.slice(at)], 4);
    assert.deepEqual(lines, ["ab", "", "cd\r", "last"], `split at ${at}`);
  }
  await assert.rejects(collect([bytes], 3), /send line 4 as it must have 3 bytes at most/);
});

Deno.test("Progress tells share, rate and time left", () => {
  const progress = new Progress(4 * 1024 * 1024, "bytes", false);
  assert.equal(
    progress.text(1024 * 1024, 2000),
    "[######..................]  25 % 1.0 MiB, 512.0 KiB/s, ETA 0:06",
  );
  assert.equal(new Progress(null, "lines", false).text(30, 1000), "30 lines, 30 lines/s");
});
