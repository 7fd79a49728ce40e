/** The TCP output: at least once to servers that die, stall, refuse and come back. */
import assert from "node:assert/strict";
import { ReplayQueue } from "../../src/app/outputs/replay_queue.ts";
import { TcpOutput } from "../../src/app/outputs/tcp.ts";
import { received, until } from "./outputs_messages.ts";

const decoder = new TextDecoder();
const encoder = new TextEncoder();

function listen(port = 0): Deno.TcpListener {
  return Deno.listen({ hostname: "127.0.0.1", port });
}

function output(port: number, required: boolean, waitingMax?: number): TcpOutput {
  const address = `127.0.0.1:${port}`;
  return new TcpOutput("next", { type: "tcp", address, format: "raw", required }, waitingMax);
}

/** Reads whole lines until there are so many, or the end; what is missing after 20 s fails a test. */
async function readLines(conn: Deno.TcpConn, count: number): Promise<string[]> {
  const late = setTimeout(() => conn.close(), 20_000);
  const bytes = new Uint8Array(64 * 1024);
  let text = "";
  let lines = 0;
  while (lines < count) {
    const size = await conn.read(bytes);
    if (size === null) break;
    const more = decoder.decode(bytes.subarray(0, size), { stream: true });
    lines += more.split("\n").length - 1;
    text += more;
  }
  clearTimeout(late);
  return text.split("\n").slice(0, lines);
}

function take(to: TcpOutput, from: number, count: number): void {
  for (let number = from; number < from + count; number++) to.take(received(`line ${number}`));
}

function lines(from: number, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `line ${from + index}`);
}

Deno.test("messages arrive in order; flush() resolves when the peer's kernel has them", async () => {
  using listener = listen();
  const out = output(listener.addr.port, true);
  take(out, 0, 10_000);
  const flushed = out.flush();
  using conn = await listener.accept();
  assert.deepEqual(await readLines(conn, 10_000), lines(0, 10_000));
  await flushed;
  assert.equal(out.trouble, "");
  assert.equal(out.position(), null);
  assert.equal(out.where, `127.0.0.1:${listener.addr.port}`);
  assert.equal(out.counts.messages, 10_000);
  take(out, 10_000, 1);
  await Promise.all([out.flush(), readLines(conn, 1)]);
  await out.close();
  await out.close();
});

Deno.test("required: flush() does not resolve while the peer does not take it", async () => {
  using listener = listen();
  const out = output(listener.addr.port, true);
  using conn = await listener.accept();
  out.take(received("x".repeat(12 * 1024 * 1024))); // more than both kernels hold
  await assert.rejects(out.flush(), /in time: \d+ bytes are not taken/);
  const [line] = await readLines(conn, 1);
  assert.equal(line!.length, 12 * 1024 * 1024);
  await out.flush();
  await out.close();
});

Deno.test("not required: flush() resolves at once, with nobody there", async () => {
  const listener = listen();
  const { port } = listener.addr;
  listener.close();
  const out = output(port, false);
  take(out, 0, 1);
  await out.flush();
  await until(() => out.trouble !== "", "trouble");
  assert.match(out.trouble, /^Cannot connect to 127\.0\.0\.1:\d+: Connection refused/);
  await out.close();
});

Deno.test("a server that comes later gets what was taken before", async () => {
  const early = listen();
  const { port } = early.addr;
  early.close();
  const out = output(port, true);
  take(out, 0, 100);
  await until(() => out.trouble !== "", "refused once");
  using listener = listen(port);
  using conn = await listener.accept();
  assert.deepEqual(await readLines(conn, 100), lines(0, 100));
  await out.flush();
  assert.equal(out.trouble, "");
  await out.close();
});

Deno.test("a server that closes in order, having read all, gets nothing twice", async () => {
  using listener = listen();
  const out = output(listener.addr.port, true);
  let from = 0;
  for (const count of [100, 1, 2000]) {
    take(out, from, count);
    using conn = await listener.accept();
    assert.deepEqual(await readLines(conn, count), lines(from, count));
    await out.flush();
    from += count;
  }
  using conn = await listener.accept();
  await until(() => out.counts.reopened === 3, "connected for the fourth time");
  take(out, from, 1);
  assert.deepEqual(await readLines(conn, 1), lines(from, 1));
  await out.close();
});

Deno.test("a server that dies with bytes unread gets them from the next message on again", async () => {
  using listener = listen();
  const out = output(listener.addr.port, true);
  const first = await listener.accept();
  take(out, 0, 1000);
  await out.flush(); // the kernel has them all; the program reads some, and dies
  const head = new Uint8Array(100);
  await first.read(head);
  first.close(); // RST: RFC 1122 section 4.2.2.13
  using second = await listener.accept();
  assert.deepEqual(await readLines(second, 1000), lines(0, 1000));
  await out.flush();
  await out.close();
});

Deno.test("a server that dies again and again under load misses no line, and gets whole ones", async () => {
  using listener = listen();
  const out = output(listener.addr.port, true);
  const total = 200_000;
  const seen = new Set<string>();
  let taken = 0;
  const feeding = (async () => {
    while (taken < total) {
      take(out, taken, 500);
      taken += 500;
      while (true) {
        try {
          await out.flush();
          break;
        } catch {
          // The next server is not there yet.
        }
      }
    }
  })();
  for (let life = 0; life < 4; life++) {
    const conn = await listener.accept();
    const got = await readLines(conn, life === 3 ? Infinity : 30_000 * (life + 1));
    for (const line of got) seen.add(line);
    conn.close();
    if (seen.size === total) break;
    if (life === 3) assert.fail(`${seen.size} of ${total} lines`);
    if (life === 2) {
      const last = await listener.accept();
      const reading = readLines(last, Infinity);
      await feeding;
      await out.close();
      for (const line of await reading) seen.add(line);
      last.close();
      break;
    }
  }
  const wanted = new Set(lines(0, total));
  assert.deepEqual([...wanted].filter((line) => !seen.has(line)), []);
  assert.deepEqual([...seen].filter((line) => !wanted.has(line)), [], "no line is torn or joined");
});

Deno.test("not required: when nobody reads, the oldest unsent go and are counted, lines stay whole", async () => {
  using listener = listen();
  const out = output(listener.addr.port, false, 6 * 1024 * 1024);
  using conn = await listener.accept();
  const text = "y".repeat(1000);
  const total = 30_000; // 30 MB: more than both kernels and the queue hold
  for (let number = 0; number < total; number++) {
    out.take(received(`${number} ${text}`));
    if (number % 100 === 0) await new Promise((resolve) => setTimeout(resolve));
  }
  const { dropped } = out.counts;
  assert.ok(dropped > 0);
  const got = await readLines(conn, total - dropped);
  assert.equal(got.length, total - dropped);
  const numbers = got.map((line) => {
    assert.equal(line.slice(line.indexOf(" ") + 1), text);
    return Number(line.slice(0, line.indexOf(" ")));
  });
  assert.ok(numbers.every((number, index) => index === 0 || number > numbers[index - 1]!));
  assert.equal(numbers.at(-1), total - 1, "the newest stays");
  await out.close();
});

Deno.test("required: a round is kept whole, however long", async () => {
  using listener = listen();
  const out = output(listener.addr.port, true, 1000);
  take(out, 0, 1000);
  using conn = await listener.accept();
  assert.deepEqual(await readLines(conn, 1000), lines(0, 1000));
  await out.flush();
  assert.equal(out.counts.dropped, 0);
  await out.close();
});

Deno.test("what a server answers is read away; one that talks much is no trouble", async () => {
  using listener = listen();
  const out = output(listener.addr.port, true);
  using conn = await listener.accept();
  const chatter = encoder.encode("noise\n".repeat(100_000));
  let at = 0;
  while (at < chatter.length) at += await conn.write(chatter.subarray(at));
  take(out, 0, 3);
  await out.flush();
  assert.deepEqual(await readLines(conn, 3), lines(0, 3));
  await out.close();
});

Deno.test("a server that accepts and closes at once is not called without pause", async () => {
  using listener = listen();
  const out = output(listener.addr.port, false);
  const startMs = performance.now();
  for (let round = 0; round < 3; round++) (await listener.accept()).close();
  assert.ok(performance.now() - startMs > 500, "200 ms, then 400 ms");
  await out.close();
});

Deno.test("close() in the middle of a back-off, of connecting and of a stalled write ends soon", async () => {
  const gone = listen();
  const { port } = gone.addr;
  gone.close();
  const refused = output(port, true);
  await until(() => refused.trouble !== "", "refused");
  await refused.close();
  await output(port, true).close();
  using listener = listen();
  const stalled = output(listener.addr.port, true);
  using _conn = await listener.accept();
  stalled.take(received("x".repeat(12 * 1024 * 1024)));
  const startMs = performance.now();
  await stalled.close();
  assert.ok(performance.now() - startMs < 5000);
});

Deno.test("an address that is none is refused", () => {
  assert.throws(() =>
    new TcpOutput("n", { type: "tcp", address: "nonsense", format: "raw", required: false })
  );
});

/** What is sent from here on, without sending it. */
function rest(queue: ReplayQueue): string {
  let text = "";
  for (let bytes = queue.next(); bytes !== null; bytes = queue.next()) {
    text += decoder.decode(bytes);
    queue.advance(bytes.length);
  }
  return text;
}

Deno.test("the queue goes back to the first message not acknowledged, at every split", () => {
  const messages = ["one\n", "two\n", "", "three\n"];
  const whole = messages.join("");
  for (let sent = 0; sent <= whole.length; sent++) {
    for (let inFlight = 0; inFlight <= sent; inFlight++) {
      const queue = new ReplayQueue(100);
      for (const message of messages) queue.push(encoder.encode(message));
      assert.equal(queue.next()!.length, whole.length);
      queue.advance(sent);
      queue.acknowledge(inFlight);
      assert.equal(queue.acknowledged, sent - inFlight);
      queue.rewind(true);
      const starts = [0, 4, 8, whole.length].filter((start) => start <= sent - inFlight);
      assert.equal(rest(queue), whole.slice(starts.at(-1)));
      queue.rewind(false); // what was read before is not sent once more
      assert.equal(rest(queue), whole.slice(starts.at(-1)));
    }
  }
});

Deno.test("the queue keeps what may have to be sent again, and no more than that", () => {
  const queue = new ReplayQueue(200_000);
  const message = encoder.encode(`${"z".repeat(999)}\n`);
  for (let count = 0; count < 1000; count++) {
    queue.push(message);
    queue.advance(queue.next()!.length);
    queue.acknowledge(0);
  }
  assert.equal(queue.waiting, 0);
  queue.rewind(false);
  assert.equal(queue.waiting, 0, "a replay is not counted as waiting");
  const again = rest(queue).length;
  assert.ok(again >= 200_000 && again <= 200_000 + 2 * 65536, `${again}`);
  assert.equal(again % 1000, 0);
});

Deno.test("the queue drops only what was neither sent nor handed out", () => {
  const queue = new ReplayQueue(0);
  const big = (letter: string): Uint8Array => encoder.encode(`${letter.repeat(70_000)}\n`);
  for (const letter of ["a", "b", "c", "d"]) queue.push(big(letter));
  queue.next(); // a is being written
  assert.equal(queue.dropOldest(), 1); // b
  queue.advance(10);
  assert.equal(queue.dropOldest(), 1); // c
  assert.equal(queue.end, 2 * 70_001);
  assert.equal(queue.dropOldest(), 1); // d
  assert.equal(queue.dropOldest(), 0);
  queue.push(big("e"));
  const text = rest(queue);
  assert.equal(text, `${"a".repeat(69_990)}\n${"e".repeat(70_000)}\n`);
  queue.acknowledge(0);
  assert.equal(queue.waiting, 0);
});
