/** Server-sent events, WHATWG HTML section 9.2, read by fetch. */
import assert from "node:assert/strict";
import { SseOutput } from "../../src/app/outputs/sse.ts";
import { received, until } from "./outputs_messages.ts";

interface Event {
  id: string;
  event: string;
  data: string;
}

/** A server with one output, and its address. */
async function serve(
  job: (output: SseOutput, url: string) => Promise<void>,
  heartbeatMs?: number,
): Promise<void> {
  const output = new SseOutput("live", { type: "sse", required: false }, heartbeatMs);
  const server = Deno.serve(
    // A stream that is broken off on purpose comes here; Deno would print it.
    { hostname: "127.0.0.1", port: 0, onListen: () => {}, onError: () => new Response() },
    (request) => output.handler(request),
  );
  try {
    await job(output, `http://127.0.0.1:${server.addr.port}/stream/live`);
  } finally {
    await output.close();
    await server.shutdown();
  }
}

/** A client of few lines: section 9.2.6, for what this server sends. */
class Client {
  readonly comments: string[] = [];
  lastId = "";
  readonly #reader: ReadableStreamDefaultReader<string>;
  #text = "";

  private constructor(response: Response) {
    this.#reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  }

  static async open(url: string, lastEventId?: string): Promise<Client> {
    const headers: HeadersInit = lastEventId === undefined ? {} : { "last-event-id": lastEventId };
    const response = await fetch(url, { headers });
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("content-type"), "text/event-stream");
    assert.equal(response.headers.get("cache-control"), "no-store");
    const client = new Client(response);
    assert.equal(await client.block(), true); // what stands at the start
    return client;
  }

  /** The next event with data; null at the end. */
  async next(): Promise<Event | null> {
    while (true) {
      const block = await this.#block();
      if (block === null) return null;
      const event = this.#take(block);
      if (event.data !== "") return event;
    }
  }

  async events(count: number): Promise<string[]> {
    const payloads: string[] = [];
    while (payloads.length < count) {
      const event = await this.next();
      assert.ok(event !== null, `the end after ${payloads.length} of ${count}`);
      payloads.push(JSON.parse(event.data).payload);
    }
    return payloads;
  }

  /** Takes one block, whatever it is; false at the end. */
  async block(): Promise<boolean> {
    const block = await this.#block();
    if (block !== null) this.#take(block);
    return block !== null;
  }

  async leave(): Promise<void> {
    await this.#reader.cancel();
  }

  #take(block: string): Event {
    const event: Event = { id: "", event: "", data: "" };
    for (const line of block.split("\n")) {
      const [, field, value] = /^([a-z]*): ?(.*)$/.exec(line) ?? [];
      assert.ok(field !== undefined, `a line that is no field: ${line}`);
      if (field === "") this.comments.push(value!);
      if (field === "id") this.lastId = value!;
      if (field === "id" || field === "event" || field === "data") event[field] = value!;
    }
    return event;
  }

  async #block(): Promise<string | null> {
    while (true) {
      const end = this.#text.indexOf("\n\n");
      if (end >= 0) {
        const block = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 2);
        return block;
      }
      const { done, value } = await this.#reader.read();
      if (done) return null;
      this.#text += value;
    }
  }
}

function take(output: SseOutput, from: number, count: number, topic = "log"): void {
  for (let number = from; number < from + count; number++) {
    output.take(received(`m${number}`, { number, topic }));
  }
}

function payloads(from: number, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `m${from + index}`);
}

Deno.test("each message is an event with a rising id and the JSON line as data", () =>
  serve(async (output, url) => {
    const client = await Client.open(url);
    const start = Number(client.lastId);
    output.take(received("two\nlines", { number: 7 }));
    output.take(received('{"a":\n1}', { contentType: "application/json" }));
    const first = await client.next();
    const second = await client.next();
    assert.equal(first!.event, "message");
    assert.deepEqual([Number(first!.id), Number(second!.id)], [start + 1, start + 2]);
    const data = JSON.parse(first!.data);
    assert.deepEqual([data.gateway, data.number, data.payload], ["client.gw1", 7, "two\nlines"]);
    assert.deepEqual(JSON.parse(second!.data).payload, { a: 1 });
    assert.equal(output.counts.messages, 2);
    await client.leave();
    await until(() => output.clients === 0, "the client has left");
  }));

Deno.test("a new client gets what comes from now on; one with Last-Event-ID what it missed", () =>
  serve(async (output, url) => {
    take(output, 0, 5);
    const client = await Client.open(url);
    take(output, 5, 5);
    assert.deepEqual(await client.events(5), payloads(5, 5));
    await client.leave();
    take(output, 10, 5);
    const again = await Client.open(url, client.lastId);
    assert.deepEqual(again.comments, []);
    take(output, 15, 1);
    assert.deepEqual(await again.events(6), payloads(10, 6));
    await again.leave();
  }));

Deno.test("a client that got nothing before it broke off misses nothing either", () =>
  serve(async (output, url) => {
    const client = await Client.open(url);
    await client.leave();
    take(output, 0, 3);
    const again = await Client.open(url, client.lastId);
    assert.deepEqual(await again.events(3), payloads(0, 3));
    await again.leave();
  }));

Deno.test("an id of an earlier process, or from the future: all that is kept", () =>
  serve(async (output, url) => {
    take(output, 0, 3);
    const earlier = await Client.open(url, "12345");
    assert.deepEqual(earlier.comments, ["some events are no longer kept"]);
    assert.deepEqual(await earlier.events(3), payloads(0, 3));
    await earlier.leave();
    for (const id of ["9007199254740991", "x", "-1", "9".repeat(100)]) {
      const client = await Client.open(url, id);
      assert.deepEqual(await client.events(3), payloads(0, 3));
      await client.leave();
    }
  }));

Deno.test("what is kept is bounded by number and by bytes; resuming tells what is gone", () =>
  serve(async (output, url) => {
    const client = await Client.open(url);
    await client.leave();
    take(output, 0, 65536 + 10);
    const many = await Client.open(url, client.lastId);
    assert.deepEqual(many.comments, ["some events are no longer kept"]);
    const [first] = await many.events(1);
    assert.equal(first, "m10");
    await many.leave();
    for (let index = 0; index < 30; index++) {
      output.take(received(`${index}`.padEnd(1024 * 1024)));
    }
    const large = await Client.open(url, client.lastId);
    const sizes = (await large.events(15)).map((payload) => payload.trimEnd());
    assert.deepEqual(sizes, Array.from({ length: 15 }, (_, index) => `${15 + index}`));
    await large.leave();
  }));

Deno.test("?topic= selects by an MQTT filter; others' events move the id along", () =>
  serve(async (output, url) => {
    const client = await Client.open(`${url}?topic=${encodeURIComponent("sensors/+/temp")}`);
    const start = Number(client.lastId);
    take(output, 0, 1, "sensors/a/temp");
    take(output, 1, 1, "sensors/a/hum");
    take(output, 2, 1, "sensors/b/temp");
    assert.deepEqual(await client.events(2), ["m0", "m2"]);
    take(output, 3, 1, "log");
    while (Number(client.lastId) < start + 4) assert.ok(await client.block());
    assert.ok(client.comments.includes("still here"));
    await client.leave();
  }, 20));

Deno.test("what cannot be streamed is refused with the reason", () =>
  serve(async (output, url) => {
    for (const filter of ["", "a/#/b", "a+"]) {
      const response = await fetch(`${url}?topic=${encodeURIComponent(filter)}`);
      assert.equal(response.status, 400);
      assert.match(await response.text(), /topic must be a filter such as/);
    }
    const post = await fetch(url, { method: "POST" });
    assert.equal(post.status, 405);
    assert.equal(post.headers.get("allow"), "GET");
    await post.body?.cancel();
    assert.equal(output.clients, 0);
  }));

Deno.test("the 65th client is refused, and let in when another has left", () =>
  serve(async (output, url) => {
    const clients: Client[] = [];
    for (let index = 0; index < 64; index++) clients.push(await Client.open(url));
    const refused = await fetch(url);
    assert.equal(refused.status, 503);
    assert.equal(refused.headers.get("retry-after"), "5");
    await refused.body?.cancel();
    assert.equal(output.refused, 1);
    await clients.pop()!.leave();
    await until(() => output.clients === 63, "one has left");
    clients.push(await Client.open(url));
    take(output, 0, 3);
    for (const client of clients) assert.deepEqual(await client.events(3), payloads(0, 3));
    for (const client of clients) await client.leave();
  }));

Deno.test("a client that does not read is closed and counted, the others go on, it can resume", () =>
  serve(async (output, url) => {
    const slow = await Client.open(url);
    const fast = await Client.open(url);
    const payload = "x".repeat(256 * 1024);
    let sent = 0;
    while (output.slow === 0) {
      output.take(received(`${sent++}${payload}`));
      await fast.events(1);
      assert.ok(sent < 1000, "it was never closed");
    }
    assert.equal(output.clients, 1);
    let got = 0;
    try {
      while (await slow.next() !== null) got++;
    } catch {
      // The connection was broken, after what was on its way.
    }
    assert.ok(got < sent);
    const again = await Client.open(url, slow.lastId);
    output.take(received("last"));
    let last = "";
    while (last !== "last") [last] = await again.events(1) as [string];
    await again.leave();
    await fast.leave();
  }));

Deno.test("a stuck client that lies far behind is closed at a heartbeat", () =>
  serve(async (output, url) => {
    const slow = await Client.open(url);
    // More than the sockets take, less than what is kept, and nothing after it.
    for (let index = 0; index < 60; index++) output.take(received("x".repeat(250 * 1024)));
    await until(() => output.slow === 1, "closed");
    assert.equal(output.clients, 0);
    await slow.leave().catch(() => {}); // the connection was broken
  }, 50));

Deno.test("close() ends the streams, and those who come later are refused", () =>
  serve(async (output, url) => {
    const client = await Client.open(url);
    take(output, 0, 1);
    assert.deepEqual(await client.events(1), payloads(0, 1));
    await output.flush();
    await output.close();
    assert.equal(await client.next(), null);
    const late = await fetch(url);
    assert.equal(late.status, 503);
    await late.body?.cancel();
  }));
