/** `fairlead gateway`: lines and readings to a hub, embedded or not, and what interrupts them. */
import assert from "node:assert/strict";
import dgram from "node:dgram";
import { LineBuffer } from "../../src/app/line_buffer.ts";
import { readBox, readingSummary } from "../../src/app/readings.ts";
import type { StatusReport } from "../../src/app/status/health.ts";
import { Fairlead, group, logged } from "./fairlead.ts";

const INTRODUCED = /lines \((\S+)\).* -> /;
const LISTENING = /Listening on (\S+) /;
const encoder = new TextEncoder();

/** Starts a gateway whose lines come by any free port; returns it with that port. */
async function start(...words: string[]): Promise<{ gateway: Fairlead; port: number }> {
  const gateway = Fairlead.start("gateway", "--listen", "127.0.0.1:0", "--no-status", ...words);
  return { gateway, port: await linePort(gateway) };
}

async function linePort(gateway: Fairlead): Promise<number> {
  return Number(group(await gateway.err.line(INTRODUCED), INTRODUCED).split(":").at(-1));
}

async function startHub(...words: string[]): Promise<{ hub: Fairlead; address: string }> {
  const hub = Fairlead.start("hub", "--no-status", ...words);
  return { hub, address: group(await hub.err.line(LISTENING), LISTENING) };
}

/** An address where a hub was and is no more. */
async function freeAddress(listen: string): Promise<string> {
  const { hub, address } = await startHub(listen);
  hub.kill("SIGKILL");
  await hub.end();
  return address;
}

/** The next status report of `--json` that fits. */
async function report(
  gateway: Fairlead,
  fits: (report: StatusReport) => boolean,
): Promise<StatusReport> {
  for (;;) {
    const found = JSON.parse(await gateway.out.line(/^\{/)) as StatusReport;
    if (fits(found)) return found;
  }
}

/** What a file of an output holds of `topic`, without times. */
async function payloads(path: string, gateway: string, topic: string): Promise<string[]> {
  const lines = (await Deno.readTextFile(path)).split("\n");
  assert.equal(lines.pop(), ""); // the last line is whole
  const before = ` ${gateway} ${topic} `;
  return lines.map((line) => {
    assert.ok(line.includes(before), line);
    return line.slice(line.indexOf(before) + before.length);
  });
}

function numbered(count: number, first = 0): string[] {
  return Array.from({ length: count }, (_, at) => `line ${first + at}`);
}

async function sendUdp(port: number, ...datagrams: string[]): Promise<void> {
  const socket = dgram.createSocket("udp4");
  for (const datagram of datagrams) {
    await new Promise((sent) => socket.send(datagram, port, "127.0.0.1", sent));
  }
  socket.close();
}

async function sendTcp(port: number, text: string): Promise<void> {
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  await writeAll(conn, text);
}

async function writeAll(conn: Deno.TcpConn, text: string): Promise<void> {
  const bytes = encoder.encode(text);
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}

Deno.test("without flags: readings and lines arrive; SIGINT drains and ends with 0", async () => {
  const { gateway, port } = await start();
  await using _ = gateway;
  await gateway.err.line(logged(/Try UDP: echo hello \| nc -u -w0 127\.0\.0\.1 \d+$/));
  await gateway.err.line(logged(/Try TCP: echo hello \| nc -w1 127\.0\.0\.1 \d+$/));
  await gateway.err.line(logged(/Stop: Ctrl-C$/));
  const reading = await gateway.out.line(logged(/client\.fairlead readings /));
  const { time_ms, load } = JSON.parse(reading.slice(reading.indexOf("{")));
  assert.ok(Math.abs(Date.now() - time_ms) < 60_000);
  assert.ok(Math.abs(Date.now() - Date.parse(reading.split(" ")[0]!)) < 60_000);
  assert.equal(load.length, 3);
  await sendUdp(port, "over udp\n", "two in\r\none datagram");
  await gateway.out.line(logged(/client\.fairlead lines over udp$/));
  await gateway.out.line(logged(/client\.fairlead lines two in$/));
  await gateway.out.line(logged(/client\.fairlead lines one datagram$/));
  await sendTcp(port, "over tcp\r\n\nwithout an end");
  await gateway.out.line(logged(/client\.fairlead lines over tcp$/));
  await gateway.out.line(logged(/client\.fairlead lines $/));
  await gateway.out.line(logged(/client\.fairlead lines without an end$/));
  gateway.kill("SIGINT");
  assert.equal(await gateway.end(), 0);
  assert.match(
    gateway.err.lines.at(-1)!,
    logged(/Stopped: all \d+ messages were acknowledged by the hub$/),
  );
});

Deno.test("a signal that comes twice at once still drains and ends with 0", async () => {
  const { gateway, port } = await start("--no-readings", "--json", "--io", "deno");
  await using _ = gateway;
  await sendUdp(port, "last words");
  await sendTcp(port, "and more\n".repeat(1000));
  gateway.kill("SIGINT");
  gateway.kill("SIGINT");
  gateway.kill("SIGTERM");
  assert.equal(await gateway.end(), 0);
  assert.match(
    gateway.err.lines.at(-1)!,
    logged(/Stopped: all 1001 messages were acknowledged by the hub$/),
  );
  const arrived = gateway.out.lines.map((line) => JSON.parse(line));
  assert.equal(arrived.filter(({ payload }) => payload === "and more").length, 1000);
  assert.ok(arrived.some(({ payload }) => payload === "last words"));
  assert.deepEqual(arrived.map(({ number }) => number), arrived.map((_, at) => at + 1));
  const { gateway: name, topic, content_type } = arrived[0];
  assert.deepEqual([name, topic, content_type], ["client.fairlead", "lines", "text/plain"]);
});

const ROUNDS = 4;
const LINES_PER_ROUND = 500;

/** Kills the hub in each round, in the middle of lines that flow; returns the last hub. */
async function killAgainAndAgain(
  first: Fairlead,
  startNext: () => Promise<Fairlead>,
  port: number,
): Promise<Fairlead[]> {
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  const hubs = [first];
  for (let round = 0; round < ROUNDS; round++) {
    const hub = hubs.at(-1)!;
    const lines = numbered(LINES_PER_ROUND, round * LINES_PER_ROUND).map((line) => `${line}\n`);
    const half = LINES_PER_ROUND >> 1;
    await writeAll(conn, lines.slice(0, half).join(""));
    await hub.out.line(/ client\.gw1 lines line /);
    hub.kill("SIGKILL"); // in the middle of what it writes
    await writeAll(conn, lines.slice(half).join(""));
    await hub.end();
    hubs.push(await startNext());
  }
  await hubs.at(-1)!.err.line(logged(/Session with client\.gw1 stands/));
  return hubs;
}

Deno.test("with --state: a hub killed while lines flow has each line once, in order", async () => {
  const folder = await Deno.makeTempDir();
  const archive = `${folder}/messages.log`;
  const config = `${folder}/hub.json`;
  // What is shown tells this test that lines flow; what is to be proved stands in the file.
  await Deno.writeTextFile(config, '{ "outputs": { "screen": { "type": "stdout" } } }');
  const words = ["-c", config, "--state", `${folder}/hub`, "-o", archive];
  const { hub, address } = await startHub("v2:127.0.0.1:0", ...words);
  const { gateway, port } = await start(
    ...["--hub", address, "--name", "client.gw1", "--no-readings", "--state", `${folder}/gateway`],
  );
  await using _ = gateway;
  const next = async (): Promise<Fairlead> => (await startHub(address, ...words)).hub;
  const hubs = await killAgainAndAgain(hub, next, port);
  await using last = hubs.at(-1)!;
  gateway.kill("SIGINT");
  assert.equal(await gateway.end(), 0);
  assert.match(
    gateway.err.lines.at(-1)!,
    logged(/Stopped: all 2000 messages were acknowledged by the hub$/),
  );
  last.kill("SIGINT");
  assert.equal(await last.end(), 0);
  assert.deepEqual(
    await payloads(archive, "client.gw1", "lines"),
    numbered(ROUNDS * LINES_PER_ROUND),
  );
  await Deno.remove(folder, { recursive: true });
});

Deno.test("without --state: a hub killed while lines flow still gets every line", async () => {
  const { hub, address } = await startHub("v2:127.0.0.1:0");
  const { gateway, port } = await start(
    ...["--hub", address, "--name", "client.gw1", "--no-readings"],
  );
  await using _ = gateway;
  const next = async (): Promise<Fairlead> => (await startHub(address)).hub;
  const hubs = await killAgainAndAgain(hub, next, port);
  await using last = hubs.at(-1)!;
  gateway.kill("SIGINT");
  assert.equal(await gateway.end(), 0);
  last.kill("SIGINT");
  assert.equal(await last.end(), 0);
  const shown = hubs.flatMap(({ out }) => out.lines).map((line) => line.split(" lines ")[1]);
  const seen = new Set(shown);
  assert.deepEqual(numbered(ROUNDS * LINES_PER_ROUND).filter((line) => !seen.has(line)), []);
});

/** Reads until so many lines of a connection are on disk. */
async function acknowledged(conn: Deno.TcpConn, count: number): Promise<void> {
  let told = "";
  const buffer = new Uint8Array(1024);
  while (!`\n${told}`.endsWith(`\n${count}\n`)) {
    const size = await conn.read(buffer);
    assert.notEqual(size, null);
    told += new TextDecoder().decode(buffer.subarray(0, size!));
  }
}

Deno.test("a gateway killed after it acknowledged lines brings each of them once", async () => {
  const folder = await Deno.makeTempDir();
  const archive = `${folder}/messages.log`;
  const address = await freeAddress("v2:127.0.0.1:0");
  const hubConfig = `${folder}/hub.json`;
  await Deno.writeTextFile(hubConfig, '{ "outputs": { "screen": { "type": "stdout" } } }');
  const config = `${folder}/gateway.json`;
  const lines = { type: "lines", listen: "127.0.0.1:0", acknowledge: true };
  const settings = {
    name: "client.gw1",
    state: `${folder}/gateway`,
    inputs: { lines },
    hubs: { hq: { addresses: [address] } },
    status: false,
  };
  await Deno.writeTextFile(config, JSON.stringify(settings));
  const count = 5000;
  await using first = Fairlead.start("gateway", "-c", config);
  using conn = await Deno.connect({ hostname: "127.0.0.1", port: await linePort(first) });
  await writeAll(conn, numbered(count).map((line) => `${line}\n`).join(""));
  await acknowledged(conn, count);
  first.kill("SIGKILL");
  await first.end();
  await using second = Fairlead.start("gateway", "-c", config);
  await second.err.line(logged(/Spool: \S+\/spool\.db, 5000 messages of the last run in it$/));
  const { hub } = await startHub(
    ...[address, "-c", hubConfig, "--state", `${folder}/hub`, "-o", archive],
  );
  await using _ = hub;
  await hub.out.line(/ client\.gw1 lines line /);
  second.kill("SIGKILL"); // in the middle of what it sends
  await second.end();
  await using third = Fairlead.start("gateway", "-c", config);
  using more = await Deno.connect({ hostname: "127.0.0.1", port: await linePort(third) });
  await writeAll(more, numbered(10, count).map((line) => `${line}\n`).join(""));
  await acknowledged(more, 10);
  third.kill("SIGINT");
  assert.equal(await third.end(), 0);
  assert.match(
    third.err.lines.at(-1)!,
    logged(/Stopped: all \d+ messages were acknowledged by the hub$/),
  );
  hub.kill("SIGINT");
  assert.equal(await hub.end(), 0);
  assert.deepEqual(await payloads(archive, "client.gw1", "lines"), numbered(count + 10));
  await Deno.remove(folder, { recursive: true });
});

Deno.test("a full spool makes TCP wait and drops UDP lines; both are told", async () => {
  const address = await freeAddress("v2:[::1]:0");
  const { gateway, port } = await start(
    ...["--hub", address, "--no-readings", "--queue", "1", "--json", "--drain", "30"],
  );
  await using _ = gateway;
  const line = `${"x".repeat(60_000)}\n`;
  const count = 200; // 12 MB: more than the spool and the buffers of both sockets
  const sent = sendTcp(port, line.repeat(count));
  const full = await report(gateway, ({ inputs }) => inputs![0]!.waiting === 1);
  assert.equal(full.spool!.state, "full");
  assert.equal(full.inputs![0]!.dropped, 0);
  const long = "y".repeat(30_000);
  await sendUdp(port, long, `${long}\n${long}`);
  const dropped = await report(gateway, ({ inputs }) => inputs![0]!.dropped === 3);
  assert.equal(dropped.inputs![0]!.messages, full.inputs![0]!.messages);
  assert.equal(dropped.health.level, "error");
  assert.match(dropped.health.text, /^The spool is full/);
  await gateway.err.line(logged(/The spool is full .*: inputs wait, UDP is dropped$/));
  const { hub } = await startHub(address);
  await using again = hub;
  await sent;
  await gateway.err.line(logged(/Over after \d+ s: The spool is full/));
  gateway.kill("SIGTERM");
  assert.equal(await gateway.end(), 0);
  assert.match(gateway.err.lines.at(-2)!, logged(/Stopped: all 200 messages were acknowledged/));
  assert.match(gateway.err.lines.at(-1)!, logged(/Not carried: lines 3 dropped and 0 refused$/));
  again.kill("SIGINT");
  await again.end();
  assert.equal(again.out.lines.length, count);
});

Deno.test("what a hub never acknowledged is counted when the wait is over", async () => {
  const address = await freeAddress("v2:127.0.0.1:0");
  await using gateway = Fairlead.start(
    ...["gateway", "--hub", address, "--listen", "[::1]:0", "--no-readings", "--no-status"],
    ...["--drain", "1", "--json"],
  );
  const port = await linePort(gateway);
  using conn = await Deno.connect({ hostname: "::1", port });
  await conn.write(encoder.encode("nobody\nhears\nthis\n"));
  conn.close();
  await report(gateway, ({ upstreams }) => upstreams![0]!.waiting === 3);
  gateway.kill("SIGINT");
  await gateway.err.line(logged(/Draining: 3 messages are not acknowledged yet/));
  assert.equal(await gateway.end(), 1); // not everything arrived, so this is no success
  assert.match(
    gateway.err.lines.at(-1)!,
    logged(/Stopped: 3 messages were not acknowledged by the hub within 1 s$/),
  );
});

Deno.test("with --state what was not acknowledged waits on disk, which is no failure", async () => {
  const folder = await Deno.makeTempDir();
  const address = await freeAddress("v2:127.0.0.1:0");
  const words = ["--hub", address, "--no-readings", "--state", folder, "--drain", "1", "--json"];
  const { gateway, port } = await start(...words);
  await using _ = gateway;
  await sendTcp(port, "nobody\nhears\nthis\n");
  await report(gateway, ({ upstreams }) => upstreams![0]!.waiting === 3);
  gateway.kill("SIGINT");
  await gateway.err.line(logged(/Draining: 3 messages are not acknowledged yet/));
  assert.equal(await gateway.end(), 0);
  assert.match(
    gateway.err.lines.at(-1)!,
    logged(/Stopped: 3 messages wait in the spool for the next start$/),
  );
  await Deno.remove(folder, { recursive: true });
});

Deno.test("a second signal, a while after the first, ends the drain at once", async () => {
  await using gateway = Fairlead.start(
    ...["gateway", "--hub", "v2:127.0.0.1:1", "--no-listen", "--no-status", "--drain", "60"],
    "--json",
  );
  await report(gateway, ({ upstreams }) => upstreams![0]!.waiting > 0);
  gateway.kill("SIGINT");
  await gateway.err.line(logged(/Draining: /));
  await gateway.out.line(/"readings"/); // there is one a second
  await gateway.out.line(/"readings"/);
  gateway.kill("SIGINT");
  assert.equal(await gateway.end(), 130);
});

Deno.test("secure and crc mode with a keyring, a host name, settings from a file", async (t) => {
  const folder = await Deno.makeTempDir();
  const keyring = `${folder}/keyring`;
  await using made = Fairlead.start("keyring", "create", keyring, "client.gw1");
  assert.equal(await made.end(), 0);
  const { hub, address } = await startHub("v2:127.0.0.1:0", "--keyring", keyring);
  await using _ = hub;
  const named = address.replace("127.0.0.1", "localhost");
  for (const mode of ["secure", "crc"]) {
    await t.step(mode, async () => {
      const config = `${folder}/${mode}.jsonc`;
      const settings = {
        name: "client.gw1",
        auth: { keyring, mode },
        inputs: { lines: { type: "lines", listen: "127.0.0.1:0" } },
        spool: { bytesMax: 2 * 1024 * 1024 },
        hubs: { hq: { addresses: [mode === "crc" ? address : named] } },
        status: false,
      };
      await Deno.writeTextFile(config, `// ${mode}\n${JSON.stringify(settings)}`);
      await using gateway = Fairlead.start("gateway", "--config", config);
      const port = await linePort(gateway);
      await hub.err.line(new RegExp(`Session with client\\.gw1 stands \\(${mode}\\)`));
      await sendTcp(port, `in ${mode} mode\n`);
      await hub.out.line(logged(new RegExp(`client\\.gw1 lines in ${mode} mode$`)));
      gateway.kill("SIGINT");
      assert.equal(await gateway.end(), 0);
    });
  }
  await t.step("a key the hub does not know is refused, and the gateway says so", async () => {
    const other = `${folder}/other`;
    await using create = Fairlead.start("keyring", "create", other, "client.gw2");
    assert.equal(await create.end(), 0);
    await using gateway = Fairlead.start(
      ...["gateway", "--hub", address, "--keyring", other, "--name", "client.gw2", "--no-listen"],
      "--no-status",
    );
    await gateway.err.line(logged(/Session with hub \S+ is refused: /));
    await hub.err.line(/client\.gw2/);
  });
  await t.step("without a key, the gateway says which flag is missing", async () => {
    await using gateway = Fairlead.start(
      ...["gateway", "--hub", address, "--no-listen", "--no-status"],
    );
    await gateway.err.line(/asks for cephx: give --keyring FILE .*method none \(EOPNOTSUPP\)/);
  });
  await Deno.remove(folder, { recursive: true });
});

Deno.test("errors name the thing, the value and the remedy", async (t) => {
  const folder = await Deno.makeTempDir();
  const config = `${folder}/gateway.json`;
  const { gateway: busy, port } = await start("--no-readings");
  await using _ = busy;
  const taken = { a: { type: "lines", listen: `127.0.0.1:${port}` } };
  const cases: [string[], unknown, number, RegExp][] = [
    [["--listen", `127.0.0.1:${port}`], null, 1, /another program uses that port.*give .*listen/],
    [["-c", config], { inputs: taken }, 1, /another program uses that port.*inputs\.a\.listen/],
    [
      ["--status", `127.0.0.1:${port}`, "--no-listen"],
      null,
      1,
      /current value is "127\.0\.0\.1:\d+".*--status/,
    ],
    [["--listen", "8710"], null, 2, /--listen: .* must be HOST:PORT, .* is "8710", did you mean/],
    [["--listen", "v2:127.0.0.1:0"], null, 2, /--listen: .* must be HOST:PORT/],
    [["--hub-port", `${port}`, "--no-listen"], null, 1, /give another one with --hub-port$/],
    [["--hub", "v1:127.0.0.1:3300"], null, 2, /--hub: .*did you mean "v2:127\.0\.0\.1:3300"$/],
    [
      ["-c", config],
      { hubs: { hq: { addresses: ["h:99999"] } } },
      2,
      /gateway\.json:1:29: .*hubs\.hq\.addresses\[0\] .* is "h:99999"$/,
    ],
    [["--hub", "v2:h:1", "--hub-port", "1"], null, 2, /leave one out/],
    [["--lisen", "x"], null, 2, /did you mean --listen/],
    [["--auth", "cephx"], null, 2, /--keyring FILE/],
    [["--mode", "secure"], null, 2, /--keyring FILE/],
    [
      ["-c", config],
      { inputs: { a: { type: "lines", lisen: "x" } } },
      2,
      /gateway\.json:1:32: .*lisen .*did you mean "listen"/,
    ],
    [
      ["-c", config],
      { spool: { bytesMax: "x" } },
      2,
      /spool\.bytesMax .*whole number.*: current value is "x"/,
    ],
    [["-c", config], { spool: { bytesMax: 0 } }, 2, /spool\.bytesMax .*from .*current value is 0/],
    [["--queue", "0"], null, 2, /^Cannot use --queue as .* whole number from 1 to /],
    [
      ["-c", config],
      { inputs: { a: { type: "lines", acknowledge: "yes" } } },
      2,
      /acknowledge as it must be true or false: current value is "yes"/,
    ],
    [
      ["-c", config],
      { auth: { mode: "fast" } },
      2,
      /gateway\.json:1:\d+: .* it must be "crc" or "secure": current value is "fast"/,
    ],
    [["-c", config], [1], 2, /must be an object: current value is \[1\]/],
    [["-c", `${folder}/none`], null, 2, /none: Cannot read the configuration: No such file/],
    [["--state", config, "--no-listen"], null, 1, /^Cannot .*--state/],
  ];
  for (const [words, value, code, text] of cases) {
    await t.step(`${words.join(" ")} ${JSON.stringify(value)}`, async () => {
      await Deno.writeTextFile(config, JSON.stringify(value));
      const status = words.includes("--status") ? [] : ["--no-status"];
      await using gateway = Fairlead.start("gateway", ...words, ...status);
      assert.equal(await gateway.end(), code);
      assert.match(gateway.err.lines[0] ?? "", text);
      assert.doesNotMatch(gateway.err.text, /^\s+at /m); // no stack trace
    });
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("all mistakes of a file are told at once, each with its place", async () => {
  const config = await Deno.makeTempFile();
  const text = '{\n  "name": "gw1",\n  "hubs": { "hq": { "addresses": [] } },\n  "lisen": 1\n}';
  await Deno.writeTextFile(config, text);
  const { code, stderr, stdout } = await Fairlead.run("gateway", "-c", config, "--check");
  assert.equal(code, 2);
  assert.equal(stdout, "");
  const lines = stderr.trimEnd().split("\n");
  assert.equal(lines.length, 3);
  for (const [index, place] of ["2:11", "3:34", "4:3"].entries()) {
    assert.ok(lines[index]!.startsWith(`${config}:${place}: Cannot use `), lines[index]);
  }
  await Deno.remove(config);
});

Deno.test("the command line wins over the file, and the file over defaults", async () => {
  const config = await Deno.makeTempFile();
  const lines = { type: "lines", listen: "127.0.0.1:1", topic: "x" };
  const settings = {
    name: "client.file",
    drainSeconds: 3,
    inputs: { lines },
    hubs: { hq: { addresses: ["v2:a:1", "v2:b:1"] } },
  };
  await Deno.writeTextFile(config, JSON.stringify(settings));
  // deno-lint-ignore no-explicit-any -- any configuration
  const effective = async (...words: string[]): Promise<any> => {
    const ended = await Fairlead.run("gateway", ...words, "--print-config", "--json");
    assert.equal(ended.code, 0, ended.stderr);
    return JSON.parse(ended.stdout);
  };
  const file = await effective("-c", config);
  assert.equal(file.config.name, "client.file");
  assert.deepEqual(file.config.hubs.hq.addresses, ["v2:a:1", "v2:b:1"]);
  assert.deepEqual(Object.keys(file.config.inputs), ["lines"]);
  assert.equal(file.config.spool.bytesMax, 256 * 1024 * 1024);
  assert.match(file.origins.drainSeconds, /^file .*:1$/);
  assert.match(file.origins["spool.bytesMax"], /^default/);
  const both = await effective(
    ...["-c", config, "--name=client.flag", "--hub", "v2:c:1", "--drain", "4", "--no-status"],
  );
  assert.equal(both.config.name, "client.flag");
  assert.equal(both.config.drainSeconds, 4);
  assert.equal(both.config.status, false);
  assert.deepEqual(Object.values(both.config.hubs), [{ addresses: ["v2:c:1"] }]);
  assert.equal(both.origins.name, "command line --name");
  const neither = await effective();
  assert.deepEqual(Object.keys(neither.config.inputs), ["lines", "readings"]);
  await Deno.remove(config);
});

Deno.test("LineBuffer cuts lines at every split point, and skips those that are too long", () => {
  const text = "a\r\n\n12345678\n123456789\nb\r\n1234567890123456789012345\nlast";
  const wanted = ["a", "", "12345678", "b", "last"];
  const bytes = encoder.encode(text);
  const decoder = new TextDecoder();
  for (let first = 1; first <= bytes.length; first++) {
    for (const step of [1, 3, 10]) {
      const buffer = new LineBuffer(8);
      const lines: string[] = [];
      for (let at = 0; at < bytes.length;) {
        const room = buffer.room();
        const size = Math.min(at === 0 ? first : step, room.length);
        const piece = bytes.subarray(at, at + size);
        room.set(piece);
        buffer.filled(piece.length);
        at += piece.length;
        for (let line = buffer.next(); line !== null; line = buffer.next()) {
          lines.push(decoder.decode(line));
        }
      }
      assert.ok(buffer.partial);
      lines.push(decoder.decode(buffer.rest()!));
      assert.deepEqual(lines, wanted);
      assert.equal(buffer.tooLong, 2);
      assert.equal(buffer.rest(), null);
    }
  }
});

Deno.test("LineBuffer counts the whole lines that were not taken out", () => {
  const buffer = new LineBuffer();
  const text = encoder.encode("one\ntwo\nthr");
  buffer.room().set(text);
  buffer.filled(text.length);
  assert.equal(buffer.waiting, 2);
  assert.notEqual(buffer.next(), null);
  assert.equal(buffer.waiting, 1);
});

Deno.test("readBox() reads /proc and /sys, and skips what is not there", async () => {
  const root = await Deno.makeTempDir();
  assert.deepEqual(Object.keys(await readBox(root)), ["time_ms"]);
  const zones = `${root}/sys/class/thermal`;
  await Deno.mkdir(`${root}/proc/net`, { recursive: true });
  await Deno.mkdir(`${zones}/thermal_zone0`, { recursive: true });
  await Deno.mkdir(`${zones}/thermal_zone1`);
  await Deno.writeTextFile(`${root}/proc/loadavg`, "0.10 0.20 0.30 1/200 4242\n");
  await Deno.writeTextFile(`${root}/proc/uptime`, "12.34 20.00\n");
  await Deno.writeTextFile(`${root}/proc/meminfo`, "MemTotal:    1024 kB\nMemAvailable: 256 kB\n");
  await Deno.writeTextFile(
    `${root}/proc/net/dev`,
    "Inter-|   Receive\n face |bytes\n  eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\neth0:1:9 1 1 1 0 0 0 0 2 2 2 2\n",
  );
  await Deno.writeTextFile(`${zones}/thermal_zone0/type`, "sensor\n"); // its temp cannot be read
  await Deno.writeTextFile(`${zones}/thermal_zone1/type`, "cpu\n");
  await Deno.writeTextFile(`${zones}/thermal_zone1/temp`, "45500\n");
  const { time_ms, ...reading } = await readBox(root);
  assert.ok(time_ms > 0);
  assert.deepEqual(reading.load, [0.1, 0.2, 0.3]);
  assert.equal(reading.uptime_s, 12);
  assert.equal(reading.memory?.total_bytes, 1024 * 1024);
  assert.equal(reading.memory?.available_bytes, 256 * 1024);
  assert.equal(reading.network?.["eth0"]?.tx_dropped, 8);
  assert.equal(reading.network?.["eth0:1"]?.rx_bytes, 9);
  assert.deepEqual(reading.thermal, [{ zone: "thermal_zone1", type: "cpu", celsius: 45.5 }]);
  const summary = readingSummary(JSON.stringify(reading));
  assert.match(
    summary!,
    /^load 0\.1 0\.2 0\.3, memory 75 % used of 1\.0 MiB, eth0 in 1 B out 5 B, /,
  );
  assert.equal(readingSummary("no JSON"), null);
  assert.equal(
    readingSummary('{"network":{"x":null},"thermal":[null]}'),
    "x in ? out ?, ? ? C",
  );
  await Deno.remove(root, { recursive: true });
});

Deno.test("every datagram of a burst arrives, or is counted as dropped", async () => {
  const { gateway, port } = await start("--no-readings");
  await using _ = gateway;
  const count = 3000; // the kernel's default buffer holds some 160 of them
  const socket = dgram.createSocket("udp4");
  const sent = Array.from(
    { length: count },
    (_, at) => new Promise((done) => socket.send(`burst ${at}`, port, "127.0.0.1", done)),
  );
  await Promise.all(sent);
  socket.close();
  gateway.kill("SIGINT");
  assert.equal(await gateway.end(), 0);
  const said = gateway.err.lines.join("\n");
  const dropped = Number(/Not carried: lines (\d+) dropped and 0 refused/.exec(said)?.[1] ?? 0);
  assert.equal(gateway.out.lines.length + dropped, count);
  const bursts = gateway.out.lines.map((line) => line.split(" lines ")[1]);
  assert.equal(new Set(bursts).size, bursts.length);
});

Deno.test("a hub whose name is not known yet is looked up again, not given up", async () => {
  await using gateway = Fairlead.start(
    ...["gateway", "--hub", "nowhere.invalid:3300", "--no-listen", "--no-status"],
  );
  await gateway.err.line(/"nowhere\.invalid".*trying again until it is known/);
});
