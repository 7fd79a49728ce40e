/** `fairlead gateway`: lines and readings to a hub, embedded or not, and what interrupts them. */
import assert from "node:assert/strict";
import dgram from "node:dgram";
import { command, parseArgs, UsageError } from "../../src/app/args.ts";
import { CONFIG_FLAG, withConfig } from "../../src/app/config_file.ts";
import { LineBuffer } from "../../src/app/line_buffer.ts";
import { readBox, readingSummary } from "../../src/app/readings.ts";
import { Fairlead, group } from "./fairlead.ts";

const LINES_TO = /lines sent to (\S+) go/;
const LISTENING = /Listening on (\S+) /;
const encoder = new TextEncoder();

/** Starts a gateway with an embedded hub; returns it with the port for lines. */
async function embedded(...words: string[]): Promise<{ gateway: Fairlead; port: number }> {
  const gateway = Fairlead.start("gateway", "--listen", "127.0.0.1:0", ...words);
  return { gateway, port: await linePort(gateway) };
}

async function linePort(gateway: Fairlead): Promise<number> {
  return Number(group(await gateway.err.line(LINES_TO), LINES_TO).split(":").at(-1));
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
  const bytes = encoder.encode(text);
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}

Deno.test("without flags: readings and lines arrive; SIGINT drains and ends with 0", async () => {
  const { gateway, port } = await embedded();
  await using _ = gateway;
  await gateway.err.line(/echo hello \| nc -u -w0 127\.0\.0\.1 \d+/);
  await gateway.err.line(/Stop: Ctrl-C/);
  const reading = await gateway.out.line(/^client\.fairlead reading /);
  const { time_ms, load } = JSON.parse(reading.slice(reading.indexOf("{")));
  assert.ok(Math.abs(Date.now() - time_ms) < 60_000);
  assert.equal(load.length, 3);
  await sendUdp(port, "over udp\n", "two in\r\none datagram");
  await gateway.out.line(/^client\.fairlead line over udp$/);
  await gateway.out.line(/^client\.fairlead line two in$/);
  await gateway.out.line(/^client\.fairlead line one datagram$/);
  await sendTcp(port, "over tcp\r\n\nwithout an end");
  await gateway.out.line(/^client\.fairlead line over tcp$/);
  await gateway.out.line(/^client\.fairlead line $/);
  await gateway.out.line(/^client\.fairlead line without an end$/);
  gateway.kill("SIGINT");
  assert.equal(await gateway.end(), 0);
  assert.match(gateway.err.lines.at(-1)!, /^Stopped: all \d+ messages were acknowledged/);
});

Deno.test("a signal that comes twice at once still drains and ends with 0", async () => {
  const { gateway, port } = await embedded("--no-readings", "--json", "--io", "deno");
  await using _ = gateway;
  await sendUdp(port, "last words");
  await sendTcp(port, "and more\n".repeat(1000));
  gateway.kill("SIGINT");
  gateway.kill("SIGINT");
  gateway.kill("SIGTERM");
  assert.equal(await gateway.end(), 0);
  assert.match(gateway.err.lines.at(-1)!, /^Stopped: all 1001 messages were acknowledged/);
  const payloads = gateway.out.lines.map((line) => JSON.parse(line).payload);
  assert.equal(payloads.filter((payload) => payload === "and more").length, 1000);
  assert.ok(payloads.includes("last words"));
});

Deno.test("a hub killed while lines flow, and started again, gets every line", async () => {
  let hub = Fairlead.start("hub", "v2:127.0.0.1:0");
  const address = group(await hub.err.line(LISTENING), LISTENING);
  await using gateway = Fairlead.start(
    ...["gateway", "--hub", address, "--name", "client.gw1", "--listen", "127.0.0.1:0"],
    "--no-readings",
  );
  const port = await linePort(gateway);
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  const seen = new Set<string>();
  const rounds = 4;
  const perRound = 500;
  for (let round = 0; round < rounds; round++) {
    const lines = Array.from({ length: perRound }, (_, at) => `line ${round * perRound + at}\n`);
    const bytes = encoder.encode(lines.join(""));
    const half = bytes.length >> 1;
    for (let at = 0; at < half;) at += await conn.write(bytes.subarray(at, half));
    await hub.out.line(/^client\.gw1 line line /);
    hub.kill("SIGKILL"); // in the middle of what it prints
    for (let at = half; at < bytes.length;) at += await conn.write(bytes.subarray(at));
    await hub.end();
    for (const line of hub.out.lines) seen.add(line);
    hub = Fairlead.start("hub", address);
    await hub.err.line(LISTENING);
  }
  await using last = hub;
  await hub.err.line(/Session with client\.gw1 stands/);
  conn.close();
  gateway.kill("SIGINT");
  assert.equal(await gateway.end(), 0);
  assert.match(gateway.err.lines.at(-1)!, /^Stopped: all 2000 messages were acknowledged/);
  last.kill("SIGINT");
  assert.equal(await last.end(), 0);
  for (const line of last.out.lines) seen.add(line);
  const wanted = Array.from({ length: rounds * perRound }, (_, at) => `client.gw1 line line ${at}`);
  assert.deepEqual(wanted.filter((line) => !seen.has(line)), []);
});

Deno.test("a full queue makes TCP wait and drops UDP lines; both are told", async () => {
  const hub = Fairlead.start("hub", "v2:[::1]:0");
  const address = group(await hub.err.line(LISTENING), LISTENING);
  hub.kill("SIGKILL");
  await hub.end();
  await using gateway = Fairlead.start(
    ...["gateway", "--hub", address, "--listen", "127.0.0.1:0", "--no-readings", "--queue", "1"],
    "--json",
  );
  const port = await linePort(gateway);
  const line = `${"x".repeat(60_000)}\n`;
  const count = 200; // 12 MB: more than the queue and the buffers of both sockets
  const sent = sendTcp(port, line.repeat(count));
  const full = JSON.parse(await gateway.out.line(/"tcp_waiting":1/));
  assert.equal(full.queue_full, true);
  assert.equal(full.udp_dropped, 0);
  const long = "y".repeat(30_000);
  await sendUdp(port, long, `${long}\n${long}`);
  const dropped = JSON.parse(await gateway.out.line(/"udp_dropped":3/));
  assert.equal(dropped.tcp_lines, full.tcp_lines);
  await gateway.err.line(/^Queue to the hub is full .*UDP lines are dropped, TCP waits/);
  await using again = Fairlead.start("hub", address);
  await sent;
  await gateway.err.line(/^Queue to the hub has room again: 3 UDP lines were dropped/);
  gateway.kill("SIGTERM");
  assert.equal(await gateway.end(), 0);
  assert.match(gateway.err.lines.at(-2)!, /^Stopped: all 200 messages were acknowledged/);
  assert.equal(gateway.err.lines.at(-1), "Not taken: 3 UDP lines were dropped");
  again.kill("SIGINT");
  await again.end();
  assert.equal(again.out.lines.length, count);
});

Deno.test("what a hub never acknowledged is counted when the wait is over", async () => {
  const hub = Fairlead.start("hub", "v2:127.0.0.1:0");
  const address = group(await hub.err.line(LISTENING), LISTENING);
  hub.kill("SIGKILL");
  await hub.end();
  await using gateway = Fairlead.start(
    ...["gateway", "--hub", address, "--listen", "[::1]:0", "--no-readings", "--drain", "1"],
  );
  const port = await linePort(gateway);
  using conn = await Deno.connect({ hostname: "::1", port });
  await conn.write(encoder.encode("nobody\nhears\nthis\n"));
  conn.close();
  gateway.kill("SIGINT");
  await gateway.err.line(/^Draining: 3 messages are not acknowledged yet/);
  assert.equal(await gateway.end(), 1); // not everything arrived, so this is no success
  assert.equal(
    gateway.err.lines.at(-1),
    "Stopped: 3 messages were not acknowledged by the hub within 1 s",
  );
});

Deno.test("a second signal, a while after the first, ends the drain at once", async () => {
  await using gateway = Fairlead.start(
    ...["gateway", "--hub", "v2:127.0.0.1:1", "--no-listen", "--drain", "60", "--json"],
  );
  await gateway.out.line(/"unacknowledged":[1-9]/);
  gateway.kill("SIGINT");
  await gateway.err.line(/^Draining: /);
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
  await using hub = Fairlead.start("hub", "v2:127.0.0.1:0", "--keyring", keyring);
  const address = group(await hub.err.line(LISTENING), LISTENING);
  const named = address.replace("127.0.0.1", "localhost");
  for (const mode of ["secure", "crc"]) {
    await t.step(mode, async () => {
      const config = `${folder}/${mode}.json`;
      const settings = {
        hub: mode === "crc" ? address : named,
        keyring,
        name: "client.gw1",
        mode,
        listen: "127.0.0.1:0",
        "no-readings": true,
        queue: 2,
      };
      await Deno.writeTextFile(config, JSON.stringify(settings));
      await using gateway = Fairlead.start("gateway", "--config", config);
      const port = await linePort(gateway);
      await sendTcp(port, `in ${mode} mode\n`);
      await hub.out.line(new RegExp(`^client\\.gw1 line in ${mode} mode$`));
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
    );
    await gateway.err.line(/^Session with hub \S+ is refused: /);
    await hub.err.line(/client\.gw2/);
  });
  await t.step("without a key, the gateway says which flag is missing", async () => {
    await using gateway = Fairlead.start("gateway", "--hub", address, "--no-listen");
    await gateway.err.line(/asks for cephx: give --keyring FILE .*method none \(EOPNOTSUPP\)/);
  });
  await Deno.remove(folder, { recursive: true });
});

Deno.test("errors name the thing, the value and the remedy", async (t) => {
  const folder = await Deno.makeTempDir();
  const config = `${folder}/gateway.json`;
  await using busy = Fairlead.start("gateway", "--listen", "127.0.0.1:0", "--no-readings");
  const port = await linePort(busy);
  const cases: [string[], unknown, number, RegExp][] = [
    [["--listen", `127.0.0.1:${port}`], null, 1, /another program uses that port; give --listen/],
    [["--listen", "8710"], null, 2, /^Cannot use --listen as it must be HOST:PORT, .* is "8710"$/],
    [["--listen", "v2:127.0.0.1:0"], null, 2, /^Cannot use --listen as it must be HOST:PORT/],
    [["--hub-port", `${port}`, "--no-listen"], null, 1, /give another one with --hub-port$/],
    [["--hub", "v1:127.0.0.1:3300"], null, 2, /^Cannot use --hub as msgr1 is not supported/],
    [["-c", config], { hub: "h:99999" }, 2, /^Cannot use --hub as .* is "h:99999"$/],
    [["--hub", "v2:h:1", "--hub-port", "1"], null, 2, /leave one out/],
    [["--lisen", "x"], null, 2, /did you mean --listen/],
    [["--auth", "cephx"], null, 2, /--keyring FILE/],
    [["-c", config], { lisen: "x" }, 2, /gateway\.json .*"lisen", did you mean "listen"/],
    [["-c", config], { queue: "x" }, 2, /"queue" must be a number: current value is "x"/],
    [
      ["-c", config],
      { queue: 0 },
      2,
      /^Cannot use "queue" of .*gateway\.json as .* whole number from 1 to 256/,
    ],
    [["-c", config], { json: "yes" }, 2, /"json" must be true or false: current value is "yes"/],
    [
      ["-c", config],
      { mode: "fast" },
      2,
      /gateway\.json as it must be crc or secure: current value is "fast"/,
    ],
    [["-c", config], [1], 2, /must be a JSON object: current value is \[1\]/],
  ];
  for (const [words, value, code, text] of cases) {
    await t.step(`${words.join(" ")} ${JSON.stringify(value)}`, async () => {
      await Deno.writeTextFile(config, JSON.stringify(value));
      await using gateway = Fairlead.start("gateway", ...words);
      assert.equal(await gateway.end(), code);
      assert.match(gateway.err.lines[0] ?? "", text);
    });
  }
  await Deno.remove(folder, { recursive: true });
});

const TABLE = command({
  name: "fairlead thing",
  summary: "A thing",
  positionals: [{ name: "ADDRESS", help: "where", optional: true }],
  flags: {
    count: { kind: "number", value: "N", min: 0, max: 9, help: "how many" },
    mon: { kind: "list", value: "ADDR", help: "monitors" },
    loud: { kind: "boolean", help: "loud" },
    ...CONFIG_FLAG,
  },
});

Deno.test("withConfig() puts a file's words in front, so that the command line wins", async () => {
  const path = await Deno.makeTempFile();
  const parse = async (...words: string[]): Promise<unknown[]> => {
    const { flags, positionals } = parseArgs(TABLE, await withConfig(TABLE, words));
    return [positionals, flags.count, flags.mon, flags.loud];
  };
  await Deno.writeTextFile(path, '{"address":"a","count":3,"mon":["x","y"],"loud":true}');
  assert.deepEqual(await parse("-c", path), [["a"], 3, ["x", "y"], true]);
  assert.deepEqual(await parse("b", "-c", path, "--count=4"), [["b"], 4, ["x", "y"], true]);
  assert.deepEqual(await parse("b"), [["b"], undefined, [], false]);
  await Deno.writeTextFile(path, '{"mon":"x"}');
  await assert.rejects(parse("-c", path), UsageError);
  await Deno.remove(path);
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
  const { gateway, port } = await embedded("--no-readings");
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
  const dropped = Number(/Not taken: (\d+) UDP lines were dropped/.exec(said)?.[1] ?? 0);
  assert.equal(gateway.out.lines.length + dropped, count);
  assert.equal(new Set(gateway.out.lines).size, gateway.out.lines.length);
});

Deno.test("a hub whose name is not known yet is looked up again, not given up", async () => {
  await using gateway = Fairlead.start("gateway", "--hub", "nowhere.invalid:3300", "--no-listen");
  await gateway.err.line(/"nowhere\.invalid".*trying again until it is known/);
});
