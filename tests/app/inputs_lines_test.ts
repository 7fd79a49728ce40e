/** The input for lines, by UDP and TCP, and what it has in common with syslog and StatsD. */
import assert from "node:assert/strict";
import dgram from "node:dgram";
import { nowMs } from "../../src/io/clock.ts";
import { type LinesOptions, openLines } from "../../src/app/inputs/lines.ts";
import { MessageTaker, sameBytes } from "../../src/app/inputs/message_taker.ts";
import type { PortInput } from "../../src/app/inputs/port_input.ts";
import { CLIENTS_MAX, TcpPort } from "../../src/app/inputs/tcp_port.ts";
import { LINE_BYTES_MAX, LineBuffer } from "../../src/app/line_buffer.ts";
import { FakeIntake, until } from "./fake_intake.ts";

const STOP_MS = 10_000;
/** What lines are, for tests that make their own port. */
const TEXT = { topic: "t", contentType: "text/plain", payload: sameBytes };

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** An input on a free port, with what tests ask for. */
async function open(
  intake: FakeIntake,
  options: Partial<LinesOptions> = {},
): Promise<{ input: PortInput; port: number }> {
  const input = await openLines("lines", {
    listen: "127.0.0.1:0",
    protocols: ["udp", "tcp"],
    acknowledge: false,
    topic: "lines",
    ...options,
  }, intake);
  return { input, port: Number(input.where.split(":").at(-1)) };
}

function connect(port: number): Promise<Deno.TcpConn> {
  return Deno.connect({ hostname: "127.0.0.1", port });
}

async function write(conn: Deno.Conn, text: string | Uint8Array): Promise<void> {
  const bytes = typeof text === "string" ? encoder.encode(text) : text;
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}

/** Everything until the other end closes; a reset ends it too. */
async function readAll(conn: Deno.Conn): Promise<string> {
  const bytes = new Uint8Array(1024);
  let text = "";
  try {
    for (let count = await conn.read(bytes); count !== null; count = await conn.read(bytes)) {
      text += decoder.decode(bytes.subarray(0, count));
    }
  } catch {
    // reset
  }
  return text;
}

/** True when somebody listens there. */
async function isOpen(port: number): Promise<boolean> {
  try {
    (await connect(port)).close();
    return true;
  } catch {
    return false;
  }
}

/** Reads until what came ends so. */
async function readUntil(conn: Deno.Conn, end: string): Promise<string> {
  const bytes = new Uint8Array(1024);
  let text = "";
  while (!text.endsWith(end)) {
    const count = await conn.read(bytes);
    if (count === null) throw new Error(`Closed after "${text}"`);
    text += decoder.decode(bytes.subarray(0, count));
  }
  return text;
}

async function sendDatagrams(port: number, ...datagrams: (string | Uint8Array)[]): Promise<void> {
  const socket = dgram.createSocket("udp4");
  for (const datagram of datagrams) {
    await new Promise((sent) => socket.send(datagram, port, "127.0.0.1", sent));
  }
  socket.close();
}

Deno.test("lines by TCP and UDP arrive with topic, type and every byte", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake, { topic: "a/b" });
  const conn = await connect(port);
  await write(conn, "one\r\n\nt\0w\x7fo\n");
  await intake.taken(3);
  await sendDatagrams(port, "three\nfour\r\n", new Uint8Array([0xff, 0xfe]), "five");
  await intake.taken(7);
  conn.close();
  assert.deepEqual(intake.texts.toSpliced(5, 1), ["one", "", "t\0w\x7fo", "three", "four", "five"]);
  assert.deepEqual([...intake.messages[5]!.payload], [0xff, 0xfe]);
  for (const { topic, contentType } of intake.messages) {
    assert.deepEqual([topic, contentType], ["a/b", "text/plain"]);
  }
  await until(() => input.counts.clients === 0);
  assert.deepEqual(input.counts, {
    messages: 7,
    bytes: 23,
    dropped: 0,
    refused: 0,
    clients: 0,
    waiting: 0,
  });
  assert.equal(input.where, `127.0.0.1:${port}`);
  assert.equal(input.trouble, "");
  await input.stop(nowMs() + STOP_MS);
});

Deno.test("a TCP stream gives the same lines at every split point", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake, { protocols: ["tcp"] });
  const bytes = encoder.encode("a\r\n\nbé\nlast");
  const wanted = ["a", "", "bé", "last"];
  for (let split = 1; split < bytes.length; split++) {
    intake.messages.length = 0;
    const conn = await connect(port);
    conn.setNoDelay(true);
    await write(conn, bytes.subarray(0, split));
    const whole = decoder.decode(bytes.subarray(0, split)).split("\n").length - 1;
    await intake.taken(whole);
    await write(conn, bytes.subarray(split));
    conn.closeWrite();
    await intake.taken(wanted.length);
    assert.deepEqual(intake.texts, wanted);
    conn.close();
  }
  await input.stop(nowMs() + STOP_MS);
  assert.equal(input.counts.messages, wanted.length * (bytes.length - 1));
  assert.equal(input.counts.refused, 0);
});

Deno.test("a datagram of empty lines is no message", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake, { protocols: ["udp"] });
  await sendDatagrams(port, "\n".repeat(60_000), "\r\n".repeat(30_000), "", "\n\nx\n\r\n\n", "end");
  await intake.taken(2);
  assert.deepEqual(intake.texts, ["x", "end"]);
  await input.stop(nowMs() + STOP_MS);
});

Deno.test("a line that is too long is refused and counted, and those around it arrive", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake);
  const conn = await connect(port);
  const longest = "x".repeat(LINE_BYTES_MAX);
  await write(conn, `a\n${longest}\n${longest}x\n${longest.repeat(4)}\nb\n`);
  await intake.taken(3);
  assert.deepEqual(intake.texts, ["a", longest, "b"]);
  await until(() => input.counts.refused === 2);
  await write(conn, longest.repeat(2)); // it is too long although it never ends
  conn.close();
  await until(() => input.counts.clients === 0);
  assert.equal(input.counts.refused, 3);
  await input.stop(nowMs() + STOP_MS);
});

Deno.test("without room TCP waits, in order, and UDP lines are dropped and counted", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake);
  intake.setRoom(2);
  const conn = await connect(port);
  await write(conn, "1\n2\n3\n4\n");
  await intake.refused(1);
  assert.equal(input.counts.waiting, 1);
  await sendDatagrams(port, "x\ny\n");
  await until(() => input.counts.dropped === 2);
  intake.setRoom(1);
  await intake.taken(3);
  intake.setRoom(Infinity);
  await intake.taken(4);
  assert.deepEqual(intake.texts, ["1", "2", "3", "4"]);
  await until(() => input.counts.waiting === 0);
  conn.close();
  await input.stop(nowMs() + STOP_MS);
  assert.equal(input.counts.dropped, 2);
});

Deno.test("a waiting connection's sender is stopped by TCP itself", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake);
  intake.setRoom(0);
  const conn = await connect(port);
  const lines = `${"x".repeat(1023)}\n`.repeat(32 * 1024); // 32 MiB: more than kernels buffer
  let written = false;
  const writing = write(conn, lines).then(() => written = true);
  await intake.refused(20);
  assert.equal(written, false);
  intake.setRoom(Infinity);
  await writing;
  await intake.taken(32 * 1024);
  conn.close();
  await input.stop(nowMs() + STOP_MS);
  assert.equal(input.counts.messages, 32 * 1024);
});

Deno.test("an intake that drops by policy makes TCP lines dropped, not waiting", async () => {
  const intake = new FakeIntake();
  intake.waits = false;
  intake.setRoom(1);
  const { input, port } = await open(intake);
  const conn = await connect(port);
  await write(conn, "1\n2\n3\n");
  await until(() => input.counts.dropped === 2);
  conn.close();
  assert.deepEqual(intake.texts, ["1"]);
  await input.stop(nowMs() + STOP_MS);
});

Deno.test("a flood by UDP is taken or counted as dropped, to the last line", async () => {
  const intake = new FakeIntake();
  intake.setRoom(1000);
  const { input, port } = await open(intake);
  const { counts } = input;
  const datagram = Array.from({ length: 100 }, (_, at) => `line ${at}\n`).join("");
  for (let lines = 1000; lines <= 10_000; lines += 1000) {
    await sendDatagrams(port, ...Array.from({ length: 10 }, () => datagram));
    await until(() => counts.messages + counts.dropped === lines);
  }
  await input.stop(nowMs() + STOP_MS);
  assert.equal(counts.messages, 1000);
  assert.equal(counts.dropped, 9000);
});

/** Sends datagrams while the thread of the test stands still; the receive buffer is 8 MiB at most. */
const FLOOD = `
  import dgram from "node:dgram";
  const socket = dgram.createSocket("udp4");
  self.onmessage = async ({ data: { port, count, bytes, shared } }) => {
    const datagram = new Uint8Array(bytes).fill(0x78);
    for (let at = 0; at < count; at++) {
      await new Promise((sent) => socket.send(datagram, port, "127.0.0.1", sent));
    }
    socket.close();
    const done = new Int32Array(shared);
    Atomics.store(done, 0, 1);
    Atomics.notify(done, 0);
  };
  self.postMessage("ready");
`;

Deno.test("datagrams that the kernel drops are counted", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake, { protocols: ["udp"] });
  const worker = new Worker(`data:text/javascript,${encodeURIComponent(FLOOD)}`, {
    type: "module",
  });
  await new Promise((ready) => worker.onmessage = ready);
  const shared = new SharedArrayBuffer(4);
  const count = 300;
  worker.postMessage({ port, count, bytes: 60_000, shared });
  assert.notEqual(Atomics.wait(new Int32Array(shared), 0, 0, 30_000), "timed-out");
  worker.terminate();
  await input.stop(nowMs() + STOP_MS);
  assert.equal(input.counts.messages, intake.messages.length);
  assert.ok(input.counts.dropped > 0);
  assert.equal(input.counts.messages + input.counts.dropped, count);
});

Deno.test("acknowledge: the number of durable lines comes after the commit, not before", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake, { acknowledge: true });
  intake.hold();
  const conn = await connect(port);
  await write(conn, "1\n2\n3\n");
  await intake.asked(1);
  await intake.taken(3);
  await write(conn, "4\n5\npart");
  await intake.taken(5);
  intake.releaseOnce(); // what was offered before the first durable()
  assert.equal(await readUntil(conn, "\n"), "3\n");
  await intake.asked(2);
  intake.release();
  assert.equal(await readUntil(conn, "\n"), "5\n");
  await write(conn, "ial");
  conn.closeWrite();
  assert.equal(await readAll(conn), "6\n");
  assert.equal(intake.texts.at(-1), "partial");
  conn.close();
  await input.stop(nowMs() + STOP_MS);
  assert.equal(input.counts.refused, 0);
});

Deno.test("acknowledge: connections have their own numbers, and UDP has none", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake, { acknowledge: true });
  const [first, second] = [await connect(port), await connect(port)];
  await write(first, "a\nb\n");
  assert.equal((await readUntil(first, "2\n")).at(-2), "2");
  await sendDatagrams(port, "x\ny\n");
  await intake.taken(4);
  await write(second, "c\n");
  assert.equal(await readUntil(second, "\n"), "1\n");
  first.close();
  second.close();
  await input.stop(nowMs() + STOP_MS);
});

Deno.test("acknowledge: numbers only grow and end at the count, whatever the pace", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake, { acknowledge: true });
  const conn = await connect(port);
  const total = 5000;
  const reading = readAll(conn);
  for (let at = 0; at < total; at += 500) await write(conn, "line\n".repeat(500));
  conn.closeWrite();
  const numbers = (await reading).trimEnd().split("\n").map(Number);
  conn.close();
  assert.deepEqual(numbers, [...new Set(numbers)].sort((a, b) => a - b));
  assert.equal(numbers.at(-1), total);
  await input.stop(nowMs() + STOP_MS);
});

Deno.test("acknowledge: a sender that reads no numbers still gets its lines taken", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake, { acknowledge: true });
  const conn = await connect(port);
  for (let at = 0; at < 50; at++) await write(conn, "line\n".repeat(1000));
  await intake.taken(50_000);
  conn.close();
  await input.stop(nowMs() + STOP_MS);
});

Deno.test("acknowledge: what was taken is acknowledged while the next line waits for room", async () => {
  const intake = new FakeIntake();
  intake.waits = false; // the sender keeps its lines, so they wait even then
  intake.setRoom(2);
  const { input, port } = await open(intake, { acknowledge: true });
  const conn = await connect(port);
  await write(conn, "1\n2\n3\n");
  assert.equal(await readUntil(conn, "\n"), "2\n");
  assert.equal(input.counts.waiting, 1);
  intake.setRoom(Infinity);
  assert.equal(await readUntil(conn, "\n"), "3\n");
  conn.close();
  await input.stop(nowMs() + STOP_MS);
  assert.equal(input.counts.dropped, 0);
});

Deno.test("acknowledge: a line that is too long ends the connection at its number", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake, { acknowledge: true });
  const conn = await connect(port);
  await write(conn, `1\n2\n${"x".repeat(LINE_BYTES_MAX + 2)}`); // CR LF could have followed
  assert.equal(await readUntil(conn, "2\n").then((text) => text.endsWith("2\n")), true);
  await until(() => input.counts.clients === 0);
  assert.equal(await readAll(conn), "");
  conn.close();
  assert.deepEqual(intake.texts, ["1", "2"]);
  assert.equal(input.counts.refused, 1);
  await input.stop(nowMs() + STOP_MS);
});

Deno.test("acknowledge: nothing after a line that was too long within one piece is taken", async () => {
  const intake = new FakeIntake();
  const taker = new MessageTaker(TEXT, intake);
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const rules = {
    openCutter: () => new LineBuffer(4),
    acknowledge: true,
    clientsMax: 2,
    idleMs: 10_000,
  };
  const port = new TcpPort(listener, rules, taker);
  for (const text of ["1\n12345\n2\n", "1\n12345", "1\n123456789\n2\n3\n"]) {
    intake.messages.length = 0;
    const conn = await connect(listener.addr.port);
    await write(conn, text);
    conn.closeWrite();
    assert.equal((await readAll(conn)).replace("1\n", ""), "");
    conn.close();
    assert.deepEqual(intake.texts, ["1"]);
  }
  assert.equal(taker.counts.refused, 3);
  await port.stop(nowMs() + STOP_MS);
});

Deno.test("acknowledge: stop() acknowledges what it took", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake, { acknowledge: true });
  intake.hold();
  const conn = await connect(port);
  await write(conn, "1\n2\n");
  await intake.asked(1);
  const stopping = input.stop(nowMs() + STOP_MS);
  const text = readAll(conn);
  while (await isOpen(port)); // from here on nothing is read any more
  intake.release();
  assert.ok((await text).endsWith("2\n"));
  await stopping;
  conn.close();
});

Deno.test("acknowledge: stop() ends at its deadline when nothing becomes durable", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake, { acknowledge: true });
  intake.hold();
  const [conn, half] = [await connect(port), await connect(port)];
  await write(conn, "1\n");
  await write(half, "1\n");
  half.closeWrite();
  await intake.asked(2);
  const before = nowMs();
  await input.stop(before + 200);
  assert.ok(nowMs() - before < 2000);
  assert.equal(await readAll(conn) + await readAll(half), "");
  conn.close();
  half.close();
  intake.release(); // too late: nobody is there
  assert.equal(input.counts.clients, 0);
});

Deno.test("stop() takes what has arrived, and connections in the backlog", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake);
  const conns = await Promise.all(Array.from({ length: 20 }, () => connect(port)));
  await Promise.all(conns.map((conn, at) => write(conn, `line ${at}\n`)));
  await sendDatagrams(port, "datagram");
  await input.stop(nowMs() + STOP_MS);
  assert.equal(intake.messages.length, 21);
  for (const conn of conns) conn.close();
  await assert.rejects(connect(port));
});

Deno.test("stop() while a connection waits: taken when room comes, in time", async () => {
  const intake = new FakeIntake();
  intake.setRoom(0);
  const { input, port } = await open(intake);
  const conn = await connect(port);
  await write(conn, "1\n2\n3\nhalf");
  await intake.refused(1);
  const stopping = input.stop(nowMs() + STOP_MS);
  intake.setRoom(Infinity);
  await stopping;
  conn.close();
  assert.deepEqual(intake.texts, ["1", "2", "3"]);
  assert.equal(input.counts.refused, 1); // the half line
});

Deno.test("stop() while a connection waits: dropped and counted when no room comes", async () => {
  const intake = new FakeIntake();
  intake.setRoom(1);
  const { input, port } = await open(intake);
  const conn = await connect(port);
  await write(conn, "1\n2\n3\nhalf");
  await intake.refused(1);
  const before = nowMs();
  const first = input.stop(before + 200);
  assert.equal(input.stop(before + 200), first);
  await first;
  assert.ok(nowMs() - before < 2000);
  conn.close();
  assert.deepEqual(intake.texts, ["1"]);
  assert.deepEqual(input.counts, {
    messages: 1,
    bytes: 1,
    dropped: 2,
    refused: 1,
    clients: 0,
    waiting: 0,
  });
});

Deno.test("connections above the limit are refused and counted, and may come again", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake, { protocols: ["tcp"] });
  const conns: Deno.TcpConn[] = [];
  for (let at = 0; at < CLIENTS_MAX; at++) conns.push(await connect(port));
  await until(() => input.counts.clients === CLIENTS_MAX);
  const last = await connect(port);
  assert.equal(await readAll(last), "");
  last.close();
  assert.equal(input.counts.refused, 1);
  conns.pop()!.close();
  await until(() => input.counts.clients === CLIENTS_MAX - 1);
  const again = await connect(port);
  await write(again, "x\n");
  await intake.taken(1);
  again.close();
  for (const conn of conns) conn.close();
  await input.stop(nowMs() + STOP_MS);
});

Deno.test("half a line that is not completed in time is refused; silence is allowed", async () => {
  const intake = new FakeIntake();
  const taker = new MessageTaker(TEXT, intake);
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const rules = {
    openCutter: () => new LineBuffer(),
    acknowledge: false,
    clientsMax: 8,
    idleMs: 20,
  };
  const port = new TcpPort(listener, rules, taker);
  const silent = await connect(listener.addr.port);
  await write(silent, "whole\n");
  const half = await connect(listener.addr.port);
  await write(half, "whole\nhalf");
  await intake.taken(2);
  const dripping = await connect(listener.addr.port);
  let drip = true;
  const drops = (async () => {
    try {
      while (drip) {
        await write(dripping, "x");
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    } catch {
      // closed by the other end
    }
  })();
  await until(() => {
    port.closeLate();
    return taker.counts.clients === 1 && taker.counts.refused === 2;
  });
  assert.equal(await readAll(half), "");
  drip = false;
  await drops;
  await write(silent, "again\n");
  await intake.taken(3);
  for (const conn of [silent, half, dripping]) conn.close();
  await port.stop(nowMs() + STOP_MS);
  assert.deepEqual(intake.texts, ["whole", "whole", "again"]);
});

Deno.test("a connection that waits for room is never late", async () => {
  const intake = new FakeIntake();
  intake.setRoom(0);
  const taker = new MessageTaker(TEXT, intake);
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const rules = {
    openCutter: () => new LineBuffer(),
    acknowledge: false,
    clientsMax: 8,
    idleMs: 1,
  };
  const port = new TcpPort(listener, rules, taker);
  const conn = await connect(listener.addr.port);
  await write(conn, "who");
  await until(() => port.arrived === 2); // the connection, and this
  await write(conn, "le\nhalf");
  await intake.refused(3);
  port.closeLate();
  assert.equal(taker.counts.waiting, 1);
  intake.setRoom(Infinity);
  await intake.taken(1);
  await write(conn, " and half\n");
  await intake.taken(2);
  assert.deepEqual(intake.texts, ["whole", "half and half"]);
  conn.close();
  await port.stop(nowMs() + STOP_MS);
  assert.equal(taker.counts.refused, 0);
});

Deno.test("connections that the kernel refuses are trouble until it accepts again", async () => {
  const intake = new FakeIntake();
  const taker = new MessageTaker(TEXT, intake);
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accept = listener.accept.bind(listener);
  let failures = 2;
  listener.accept = () =>
    failures-- > 0 ? Promise.reject(new Error("Too many open files (os error 24)")) : accept();
  const rules = {
    openCutter: () => new LineBuffer(),
    acknowledge: false,
    clientsMax: 8,
    idleMs: 1000,
  };
  const port = new TcpPort(listener, rules, taker);
  await until(() => port.trouble !== "");
  assert.match(port.trouble, /^Cannot accept connections: Too many open files .* raise the limit/);
  const conn = await connect(listener.addr.port);
  await write(conn, "x\n");
  await intake.taken(1);
  assert.equal(port.trouble, "");
  conn.close();
  await port.stop(nowMs() + STOP_MS);
});

Deno.test("a failing spool makes TCP wait and acknowledges nothing until it works again", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake, { acknowledge: true });
  intake.setFailing(true);
  const conn = await connect(port);
  await write(conn, "1\n2\n");
  await intake.refused(3);
  assert.equal(input.counts.messages, 0);
  intake.setFailing(false);
  assert.ok((await readUntil(conn, "2\n")).endsWith("2\n"));
  conn.close();
  await input.stop(nowMs() + STOP_MS);
});

Deno.test("a port that is taken, and an address of another box, are told with the remedy", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake);
  for (const protocol of ["udp", "tcp"] as const) {
    await assert.rejects(
      open(intake, { listen: `127.0.0.1:${port}`, protocols: [protocol] }),
      new RegExp(
        `^Error: Cannot listen for input lines by ${protocol.toUpperCase()} as another program ` +
          `uses that port: current value is 127.0.0.1:${port}, give another one as inputs.lines.listen`,
      ),
    );
  }
  await input.stop(nowMs() + STOP_MS);
  await assert.rejects(open(intake, { listen: "192.0.2.1:0" }), /Cannot listen .* 192\.0\.2\.1:0/);
  await assert.rejects(open(intake, { listen: "nowhere.invalid:0" }), /nowhere\.invalid/);
});

Deno.test("an input on IPv6 says where it listens with brackets", async () => {
  const intake = new FakeIntake();
  const { input } = await open(intake, { listen: "[::1]:0" });
  assert.match(input.where, /^\[::1\]:\d+$/);
  const conn = await Deno.connect({ hostname: "::1", port: Number(input.where.split("]:")[1]) });
  await write(conn, "six\n");
  await intake.taken(1);
  conn.close();
  await input.stop(nowMs() + STOP_MS);
});
