/** A sender that goes on for another box: on its session, with a copy of its spool, at a real hub. */
import assert from "node:assert/strict";
import { authNone } from "../../src/app/auth.ts";
import { Endpoint } from "../../src/app/endpoint.ts";
import { HUB_POLICY, Sender } from "../../src/app/gateway/sender.ts";
import { Hub, openHubDatabase } from "../../src/app/hub/hub.ts";
import { HubStore } from "../../src/app/hub/hub_store.ts";
import type { Output, OutputCounts, Received } from "../../src/app/hub/output.ts";
import { FairleadType } from "../../src/app/message_types.ts";
import { outputCounts } from "../../src/app/outputs/counts.ts";
import type { Spool } from "../../src/app/spool/spool.ts";
import type { Stream } from "../../src/app/spool/stream.ts";
import { SpoolSnapshot } from "../../src/app/spool/spool_snapshot.ts";
import { SpoolReplica } from "../../src/app/standby/spool_replica.ts";
import type { Database } from "../../src/io/database.ts";
import { newRegion } from "../../src/mem/region.ts";
import type { Session } from "../../src/proto/msgr2/session.ts";
import { GREETING_VERSION, HOP_SIZE, writeHop } from "../../src/wire/gateway/post.ts";
import { Box } from "./box.ts";
import { inDirectory, send, write } from "./copying.ts";

const GATEWAY = "client.gw1";
const encoder = new TextEncoder();
const decoder = new TextDecoder();

async function until(what: string, ready: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!ready()) {
    assert.ok(performance.now() < deadline, `Never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function range(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, at) => `line ${from + at}`);
}

/** An output that remembers what it took, which is safe when `gate` resolves. */
class Recorder implements Output {
  readonly name = "recorder";
  readonly required = true;
  readonly counts: OutputCounts = outputCounts();
  readonly where = "";
  readonly trouble = "";
  readonly texts: string[] = [];
  gate: Promise<void> = Promise.resolve();

  take({ payload }: Received): void {
    this.texts.push(decoder.decode(payload));
  }

  flush(): Promise<void> {
    return this.gate;
  }

  position(): string | null {
    return null;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** A hub that may end and come back, with what it stored. */
class Stage implements AsyncDisposable {
  readonly recorder = new Recorder();
  readonly troubles: string[] = [];
  hub!: Hub;

  private constructor(readonly database: Database) {}

  static async open(): Promise<Stage> {
    const stage = new Stage(await openHubDatabase(null));
    await stage.start();
    return stage;
  }

  async start(): Promise<void> {
    this.hub = await Hub.open({
      address: "v2:127.0.0.1:0",
      auth: authNone("mon."),
      io: "deno",
      database: this.database,
      store: new HubStore(this.database),
      outputs: [{ output: this.recorder, topic: "#" }],
      spool: null,
      onEvent: () => {},
      note: () => {},
      onStored: () => {},
      onTrouble: (_code, text) => text !== null && this.troubles.push(text),
    });
  }

  async stop(): Promise<void> {
    await this.hub.close();
    await this.hub.storeRest();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    this.database.close();
  }
}

/** What lies between a gateway and its hub, and can be cut. */
class Wire implements AsyncDisposable {
  #cut = false;
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #conns = new Set<Deno.TcpConn>();
  readonly #accepting: Promise<void>;

  constructor(private readonly stage: Stage) {
    this.#accepting = this.#accept();
  }

  get address(): string {
    return `v2:127.0.0.1:${this.#listener.addr.port}`;
  }

  /** Ends what there is; nothing passes until it is mended. */
  cut(): void {
    this.#cut = true;
    for (const conn of this.#conns) conn.close();
    this.#conns.clear();
  }

  mend(): void {
    this.#cut = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    this.#listener.close();
    await this.#accepting;
  }

  async #accept(): Promise<void> {
    const pipes: Promise<void>[] = [];
    for await (const near of this.#listener) {
      if (this.#cut) {
        near.close();
        continue;
      }
      const port = Number(this.stage.hub.address.split(":").at(-1));
      const far = await Deno.connect({ hostname: "127.0.0.1", port });
      this.#conns.add(near).add(far);
      pipes.push(this.#pipe(near, far), this.#pipe(far, near));
    }
    await Promise.all(pipes);
  }

  async #pipe(from: Deno.TcpConn, to: Deno.TcpConn): Promise<void> {
    try {
      await from.readable.pipeTo(to.writable);
    } catch {
      // cut
    }
  }
}

/** Two boxes in one process: the first one's session, and the sender that takes it over. */
class Pair implements AsyncDisposable {
  readonly endpoint = new Endpoint({
    auth: authNone(GATEWAY),
    io: "deno",
    messenger: { backoffMaxMs: 50 },
  });
  readonly notes: string[] = [];
  sender: Sender | null = null;
  welcomes = 0;

  constructor() {
    this.endpoint.onEvent((event) => this.sender?.handleEvent(event));
    this.endpoint.handle((batch) => {
      for (let index = 0; index < batch.length; index++) {
        if (batch.type(index) !== FairleadType.Welcome) continue;
        this.welcomes++;
        this.sender?.handleWelcome(batch, index);
      }
    });
  }

  takeOver(spool: Spool, addresses: readonly string[], adopted: Session | null): Sender {
    return this.sender = new Sender({
      endpoint: this.endpoint,
      spool,
      gateway: GATEWAY,
      hub: "hq",
      addresses,
      adopted,
      feedOf: () => ({ priority: 2, messagesPerSecond: 0 }),
      onAcknowledged: () => {},
      note: (text) => this.notes.push(text),
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.sender?.close();
    await this.endpoint.close();
  }
}

function sayHello(session: Session, spool: Spool): void {
  const streams = spool.streams.map(({ durable, number }) => {
    return { stream: number, oldest: 1, next: durable + 1 };
  });
  const hello = { version: GREETING_VERSION, gateway: GATEWAY, spool: spool.id, generation: 1 };
  const front = encoder.encode(JSON.stringify({ ...hello, streams }));
  assert.ok(session.send({ type: FairleadType.Hello, front }) > 0);
}

/** Sends so many envelopes of a stream; returns the number of the last. */
function post(
  session: Session,
  spool: Spool,
  stream: Stream,
  after: number,
  count: number,
): number {
  let at = after;
  for (let left = count; left > 0; left--) {
    const { envelope, number } = spool.read(stream, at)!;
    const front = newRegion(HOP_SIZE + envelope.length);
    front.bytes.set(envelope, writeHop(front, 0, stream.spoolId, stream.number, number));
    assert.ok(session.send({ type: FairleadType.Post, front: front.bytes }) > 0);
    at = number;
  }
  return at;
}

/** An active's spool with envelopes of one message each, which are written. */
async function filled(count: number): Promise<{ box: Box; stream: Stream }> {
  const box = await Box.open(null, { gateway: GATEWAY });
  const stream = box.spool.stream("#", 0, ["hq"]);
  for (const text of range(0, count)) {
    box.add(stream, text);
    write(box);
  }
  return { box, stream };
}

/** A copy of what a box holds. */
async function copyOf(box: Box, path: string): Promise<SpoolReplica> {
  const replica = await SpoolReplica.open(path);
  const snapshot = new SpoolSnapshot(box.database);
  send(replica, "begin");
  for (let step = snapshot.next(1000); step.length > 0; step = snapshot.next(1000)) {
    send(replica, ...step);
  }
  send(replica, "end");
  await replica.stored();
  return replica;
}

async function takenOver(box: Box, directory: string): Promise<Box> {
  (await copyOf(box, `${directory}/spool.db`)).close();
  return await Box.open(`${directory}/spool.db`, { gateway: GATEWAY });
}

Deno.test("what the other box had sent on an adopted session is replayed, then the rest: once each", async () => {
  await inDirectory(async (directory) => {
    await using stage = await Stage.open();
    await using wire = new Wire(stage);
    await using pair = new Pair();
    const { box, stream } = await filled(20);
    using _ = box;
    const session = await pair.endpoint.connect(wire.address, HUB_POLICY);
    sayHello(session, box.spool);
    await until("it is welcome", () => pair.welcomes === 1);
    const { promise, resolve: open } = Promise.withResolvers<void>();
    stage.recorder.gate = promise;
    const last = post(session, box.spool, stream, 0, 10);
    await until("the hub has some", () => stage.recorder.texts.length > 0);
    wire.cut();
    post(session, box.spool, stream, last, 2); // and what had not left yet
    assert.equal(session.unacknowledged, 12);
    using copy = await takenOver(box, directory);
    const sender = pair.takeOver(copy.spool, [wire.address], session);
    open();
    wire.mend();
    const one = copy.spool.streams[0]!;
    await until("the hub has all", () => copy.spool.waiting(one, "hq") === 0);
    assert.deepEqual(stage.recorder.texts, range(0, 20));
    assert.deepEqual(stage.troubles, []);
    assert.equal(stage.hub.refused, 0);
    assert.equal(sender.session, session);
    assert.equal(sender.state, "sending");
    assert.ok(session.reconnects > 0);
    await until("all is acknowledged", () => session.unacknowledged === 0);
    copy.add(one, "one more");
    await copy.commit();
    sender.pump();
    assert.equal(await sender.drain(performance.now() + 10_000), 0);
    assert.equal(sender.sent, 8 + 1);
    assert.equal(stage.recorder.texts.at(-1), "one more");
  });
});

Deno.test("an answer to the other box, with lower numbers, is not taken for one to us", async () => {
  await inDirectory(async (directory) => {
    await using stage = await Stage.open();
    await using wire = new Wire(stage);
    await using pair = new Pair();
    const { box, stream } = await filled(20);
    using _ = box;
    const session = await pair.endpoint.connect(wire.address, HUB_POLICY);
    sayHello(session, box.spool);
    await until("it is welcome", () => pair.welcomes === 1);
    const { promise, resolve: open } = Promise.withResolvers<void>();
    stage.recorder.gate = promise;
    const last = post(session, box.spool, stream, 0, 5);
    sayHello(session, box.spool); // is answered when the five are stored
    await until("the hub has them", () => stage.recorder.texts.length > 0);
    wire.cut();
    await until("it noticed", () => session.connection === null);
    post(session, box.spool, stream, last, 5);
    using copy = await takenOver(box, directory);
    const sender = pair.takeOver(copy.spool, [wire.address], session);
    const before = stage.hub.rounds;
    open();
    await until("the five are stored", () => stage.hub.rounds > before);
    wire.mend();
    const one = copy.spool.streams[0]!;
    await until("the hub has all", () => copy.spool.waiting(one, "hq") === 0);
    assert.equal(pair.welcomes, 3);
    assert.deepEqual(stage.recorder.texts, range(0, 20));
    assert.deepEqual(stage.troubles, []);
    assert.equal(sender.session, session);
    assert.equal(sender.sent, 10);
  });
});

Deno.test("a hub that has forgotten the adopted session gets in a new one what it has not stored", async () => {
  await inDirectory(async (directory) => {
    await using stage = await Stage.open();
    await using wire = new Wire(stage);
    await using pair = new Pair();
    const { box, stream } = await filled(20);
    using _ = box;
    const session = await pair.endpoint.connect(wire.address, HUB_POLICY);
    sayHello(session, box.spool);
    await until("it is welcome", () => pair.welcomes === 1);
    const last = post(session, box.spool, stream, 0, 5);
    await until("the hub has five", () => session.unacknowledged === 0);
    wire.cut();
    post(session, box.spool, stream, last, 5);
    using copy = await takenOver(box, directory);
    await stage.stop();
    await stage.start();
    pair.takeOver(copy.spool, [wire.address], session);
    wire.mend();
    const one = copy.spool.streams[0]!;
    await until("the hub has all", () => copy.spool.waiting(one, "hq") === 0);
    assert.deepEqual(stage.recorder.texts, range(0, 20));
    assert.deepEqual(stage.troubles, []);
  });
});

for (const known of [true, false]) {
  const which = known ? "one of the hub's" : "none of the hub's any more";
  Deno.test(`an adopted session whose address, ${which}, does not answer gives way`, async () => {
    await inDirectory(async (directory) => {
      await using stage = await Stage.open();
      await using wire = new Wire(stage);
      await using pair = new Pair();
      const { box } = await filled(5);
      using _ = box;
      const session = await pair.endpoint.connect(wire.address, HUB_POLICY);
      await pair.endpoint.established(session);
      wire.cut();
      using copy = await takenOver(box, directory);
      const addresses = known ? [wire.address, stage.hub.address] : [stage.hub.address];
      const sender = pair.takeOver(copy.spool, addresses, session);
      const one = copy.spool.streams[0]!;
      await until("the hub has all", () => copy.spool.waiting(one, "hq") === 0);
      assert.deepEqual(stage.recorder.texts, range(0, 5));
      assert.notEqual(sender.session, session);
      assert.match(pair.notes[0]!, /^Hub hq does not answer at .*: trying the next address$/);
    });
  });
}

Deno.test("numbers that the hub has and the copy does not are passed over, and refused without that", async () => {
  await inDirectory(async (directory) => {
    await using stage = await Stage.open();
    const { box, stream } = await filled(7);
    using _ = box;
    const replica = await copyOf(box, `${directory}/spool.db`);
    for (const text of range(7, 10)) {
      box.add(stream, text);
      write(box);
    }
    const made = box.spool.stream("made/#", 1, ["hq"]);
    box.add(made, "of a stream that is not in the copy");
    write(box);
    {
      await using first = new Pair();
      const session = await first.endpoint.connect(stage.hub.address, HUB_POLICY);
      sayHello(session, box.spool);
      await until("it is welcome", () => first.welcomes === 1);
      post(session, box.spool, stream, 0, 10);
      post(session, box.spool, made, 0, 1);
      await first.endpoint.flushed(session);
    }
    const heard = [...range(0, 10), "of a stream that is not in the copy"];
    assert.deepEqual(stage.recorder.texts, heard);
    await replica.skipAhead(0); // too few
    await Deno.copyFile(`${directory}/spool.db`, `${directory}/few.db`);
    await Deno.copyFile(`${directory}/spool.db-wal`, `${directory}/few.db-wal`);
    await replica.skipAhead(4);
    replica.close();
    {
      await using pair = new Pair();
      using few = await Box.open(`${directory}/few.db`, { gateway: GATEWAY });
      const sender = pair.takeOver(few.spool, [stage.hub.address], null);
      await until("it is refused", () => sender.state === "refused");
      assert.match(sender.refusal, /went back: stream 1 has numbered 8, and 10 was stored/);
    }
    stage.troubles.length = 0;
    await using pair = new Pair();
    using copy = await Box.open(`${directory}/spool.db`, { gateway: GATEWAY });
    const one = copy.spool.streams[0]!;
    const other = copy.spool.stream("other/#", 1, ["hq"]);
    copy.add(one, "new");
    copy.add(other, "new of a new stream");
    await copy.commit();
    const sender = pair.takeOver(copy.spool, [stage.hub.address], null);
    await until("it is sending", () => sender.state === "sending");
    assert.equal(await sender.drain(performance.now() + 10_000), 0);
    const more = stage.recorder.texts.slice(heard.length);
    assert.deepEqual(more.sort(), ["new", "new of a new stream"]);
    assert.deepEqual(stage.troubles, []);
  });
});
