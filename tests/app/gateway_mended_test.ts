/**
 * Gateways and hubs in one process, where order and bounds meet: forwards without room, hostile
 * envelopes, answers that come late, outputs that are renamed, ledgers that are full.
 */
import assert from "node:assert/strict";
import { authNone } from "../../src/app/auth.ts";
import { clientPolicy } from "../../src/app/connection_flags.ts";
import { loadHubConfig } from "../../src/app/config/hub_config.ts";
import { Endpoint } from "../../src/app/endpoint.ts";
import { Router } from "../../src/app/gateway/router.ts";
import { Sender } from "../../src/app/gateway/sender.ts";
import { ForwardOutput } from "../../src/app/hub/forward.ts";
import { Hub, openHubDatabase } from "../../src/app/hub/hub.ts";
import { HubService } from "../../src/app/hub/hub_service.ts";
import { HubStore } from "../../src/app/hub/hub_store.ts";
import type { Output, OutputCounts, Received } from "../../src/app/hub/output.ts";
import { FairleadType } from "../../src/app/message_types.ts";
import { outputCounts } from "../../src/app/outputs/counts.ts";
import { Spool, SPOOL_SCHEMA } from "../../src/app/spool/spool.ts";
import { Alarms, Journal } from "../../src/app/status/journal.ts";
import type { Database } from "../../src/io/database.ts";
import { nowMs } from "../../src/io/clock.ts";
import { newRegion } from "../../src/mem/region.ts";
import { Ledger, Verdict } from "../../src/proto/gateway/ledger.ts";
import type { Batch } from "../../src/proto/msgr2/batch.ts";
import type { Session } from "../../src/proto/msgr2/session.ts";
import {
  envelopeHeadBytes,
  envelopeMessageBytes,
  finishEnvelope,
  PAYLOAD_BYTES_MAX,
  writeEnvelopeHead,
  writeEnvelopeMessage,
} from "../../src/wire/gateway/envelope.ts";
import { type Hello, HOP_SIZE, writeHop } from "../../src/wire/gateway/post.ts";
import { Box } from "../spool/box.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const NOBODY = "v2:127.0.0.1:1";

/** Looks again and again until it is so. */
async function until(what: string, ready: () => boolean): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (!ready()) {
    assert.ok(performance.now() < deadline, `Never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
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
  readonly sizes: number[] = [];
  gate: Promise<void> = Promise.resolve();
  #flushes = 0;

  take({ payload }: Received): void {
    this.texts.push(decoder.decode(payload.subarray(0, 20)).trim());
    this.sizes.push(payload.length);
  }

  flush(): Promise<void> {
    return this.texts.length > 0 ? this.gate : Promise.resolve();
  }

  position(): string {
    return `${++this.#flushes}`;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** A hub in memory, with what it said. */
class Stage implements AsyncDisposable {
  readonly notes: string[] = [];
  readonly troubles = new Set<string>();
  hub!: Hub;
  onStored = (): void => {};

  private constructor(readonly database: Database) {}

  static async open(
    output: Output,
    database: Database,
    spool: Spool | null = null,
  ): Promise<Stage> {
    const stage = new Stage(database);
    stage.hub = await Hub.open({
      address: "v2:127.0.0.1:0",
      auth: authNone("mon."),
      io: "deno",
      database,
      store: new HubStore(database),
      outputs: [{ output, topic: "#" }],
      spool,
      onEvent: () => {},
      note: (text) => stage.notes.push(text),
      onStored: () => stage.onStored(),
      onTrouble: (code, text) => {
        if (text === null) stage.troubles.delete(code);
        else stage.troubles.add(code);
      },
    });
    return stage;
  }

  static async recording(): Promise<{ stage: Stage; recorder: Recorder }> {
    const recorder = new Recorder();
    return { recorder, stage: await Stage.open(recorder, await openHubDatabase(null)) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.hub.close();
    await this.hub.storeRest();
    this.database.close();
  }
}

/** A sender over an endpoint of its own, and the WELCOMEs that it got. */
class Sending implements AsyncDisposable {
  readonly welcomes: Uint8Array[] = [];
  readonly notes: string[] = [];
  readonly sender: Sender;
  readonly #endpoint: Endpoint;

  constructor(
    gateway: string,
    spool: Spool,
    hub: string,
    address: string,
    router: Router | null,
    onAcknowledged = (): void => {},
  ) {
    this.#endpoint = new Endpoint({ auth: authNone(gateway), io: "deno" });
    this.sender = new Sender({
      endpoint: this.#endpoint,
      spool,
      gateway,
      hub,
      addresses: [address],
      feedOf: (stream) =>
        router === null ? { priority: 2, messagesPerSecond: 0 } : router.feed(stream, hub),
      onAcknowledged,
      note: (text) => this.notes.push(text),
    });
    this.#endpoint.onEvent((event) => this.sender.handleEvent(event));
    this.#endpoint.handle((batch) => {
      for (let index = 0; index < batch.length; index++) {
        if (batch.type(index) !== FairleadType.Welcome) continue;
        this.welcomes.push(batch.front(index).slice());
        this.sender.handleWelcome(batch, index);
      }
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.sender.close();
    await this.#endpoint.close();
  }
}

/** Whoever sends messages that are in no spool. */
class Client implements AsyncDisposable {
  private constructor(readonly endpoint: Endpoint, readonly session: Session) {}

  static async connect(address: string, name: string): Promise<Client> {
    const endpoint = new Endpoint({ auth: authNone(name), io: "deno" });
    return new Client(endpoint, await endpoint.connect(address, clientPolicy("lossless")));
  }

  async lines(...texts: string[]): Promise<void> {
    for (const text of texts) {
      const front = encoder.encode(text);
      await this.endpoint.send(this.session, { type: FairleadType.Line, front });
    }
  }

  flushed(): Promise<void> {
    return this.endpoint.flushed(this.session);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.endpoint.close();
  }
}

/** A hub that forwards to another one, as soon as it is told to. */
class Chain implements AsyncDisposable {
  #sending: Sending | null = null;

  private constructor(
    readonly far: Stage,
    readonly recorder: Recorder,
    readonly near: Stage,
    readonly spool: Spool,
  ) {}

  static async open(bytesMax = 1 << 28): Promise<Chain> {
    const { recorder, stage } = await Stage.recording();
    const database = await openHubDatabase(null, SPOOL_SCHEMA);
    let made: Spool | null = null;
    database.transaction(() =>
      made = new Spool({
        database,
        gateway: "client.near",
        randomId: () => crypto.getRandomValues(new Uint8Array(16)),
        nowMs,
        bytesMax,
        ageMaxMs: 0,
        whenFull: "block",
        renew: false,
      })
    );
    const spool: Spool = made!;
    const near = await Stage.open(new ForwardOutput("up", true, ["far"], spool), database, spool);
    return new Chain(stage, recorder, near, spool);
  }

  start(): void {
    const { far, near, spool } = this;
    const sending = new Sending(
      ...["client.near", spool, "up", far.hub.address, null] as const,
      () => near.hub.touch(),
    );
    near.onStored = () => sending.sender.pump();
    this.#sending = sending;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sending?.[Symbol.asyncDispose]();
    await this.near[Symbol.asyncDispose]();
    await this.far[Symbol.asyncDispose]();
  }
}

/** A POST of one envelope in no stream. */
function post(
  gateway: Uint8Array,
  topic: Uint8Array,
  first: number,
  payloads: readonly Uint8Array[],
): Uint8Array {
  const spool = new Uint8Array(16).fill(9);
  const head = { spool, stream: 7, gateway };
  const none = new Uint8Array();
  const size = payloads.reduce(
    (sum, { length }) => sum + envelopeMessageBytes(topic.length, 0, length),
    HOP_SIZE + envelopeHeadBytes(head),
  );
  const out = newRegion(size);
  const at = writeHop(out, 0, spool, 0, 0);
  let end = writeEnvelopeHead(out, at, head);
  for (const payload of payloads) end = writeEnvelopeMessage(out, end, 0, topic, none, payload);
  finishEnvelope(out, at, end, first, payloads.length);
  return out.bytes.subarray(0, end);
}

Deno.test("a forward whose room is full takes no more, and goes on when the other hub is back", async () => {
  await using chain = await Chain.open(64 * 1024);
  await using client = await Client.connect(chain.near.hub.address, "client.a");
  const texts = range(0, 100).map((text) => text.padEnd(2000));
  let sent = 0;
  for (; sent < 100 && !chain.near.troubles.has("output_refuses"); sent++) {
    await client.lines(texts[sent]!);
    await until(
      "it is taken or refused",
      () => client.session.unacknowledged === 0 || chain.near.troubles.has("output_refuses"),
    );
  }
  assert.ok(sent > 10 && sent < 100, `${sent} were sent`);
  await client.lines(...texts.slice(sent));
  assert.ok(client.session.unacknowledged > 0);
  chain.start();
  await until("all are taken", () => client.session.unacknowledged === 0);
  await until("all are there", () => chain.recorder.texts.length >= 100);
  assert.deepEqual(chain.recorder.texts, range(0, 100));
  assert.ok(!chain.near.troubles.has("output_refuses"));
});

Deno.test("a round of many large messages is forwarded while there is room, however much it is", async () => {
  using box = await Box.open(null, { bytesMax: 256 * 1024 * 1024 });
  const forward = new ForwardOutput("up", true, ["far"], box.spool);
  const message: Received = {
    gateway: "client.a",
    spool: "",
    stream: 0,
    number: 0,
    topic: "lines",
    contentType: "text/plain",
    arrivalMs: 0,
    payload: new Uint8Array(PAYLOAD_BYTES_MAX),
  };
  for (let number = 1; number <= 5; number++) forward.take({ ...message, number });
  await forward.flush();
  await box.commit();
  assert.equal(box.spool.messages, 5);
  box.spool.setBounds(1024 * 1024, 0, "block");
  forward.take({ ...message, number: 6 });
  await assert.rejects(forward.flush(), /no more room/);
});

const BROKEN = new Uint8Array(600).fill(0xff);
const EVIL = encoder.encode("client.evil");
const TOPIC = encoder.encode("topic");

for (
  const [what, front] of [
    ["gateway name", post(BROKEN, TOPIC, 1, [encoder.encode("odd")])],
    ["topic", post(EVIL, BROKEN, 1, [encoder.encode("odd")])],
  ] as const
) {
  Deno.test(`a ${what} of broken UTF-8 is forwarded, and what comes behind it`, async () => {
    await using chain = await Chain.open();
    chain.start();
    await using client = await Client.connect(chain.near.hub.address, "client.evil");
    await client.endpoint.send(client.session, { type: FairleadType.Post, front });
    await client.flushed();
    await client.lines(...range(0, 20));
    await until("all are there", () => chain.recorder.texts.length >= 21);
    assert.deepEqual(new Set(chain.recorder.texts), new Set(["odd", ...range(0, 20)]));
    assert.equal(chain.far.hub.refused, 0);
    await until("nothing waits", () => chain.spool.messages === 0);
  });
}

Deno.test("numbers that are not safe integers are refused by the first hub, and others go on", async () => {
  await using chain = await Chain.open();
  chain.start();
  await using evil = await Client.connect(chain.near.hub.address, "client.evil");
  const payloads = [1, 2, 3].map(() => new Uint8Array(70_000));
  const front = post(EVIL, TOPIC, Number.MAX_SAFE_INTEGER, payloads);
  await evil.endpoint.send(evil.session, { type: FairleadType.Post, front });
  await until("it is refused", () => chain.near.hub.refused > 0);
  await using good = await Client.connect(chain.near.hub.address, "client.good");
  await good.lines(...range(0, 20));
  await good.flushed();
  await until("all are there", () => chain.recorder.texts.length >= 20);
  assert.deepEqual(chain.recorder.texts, range(0, 20));
  assert.equal(chain.far.hub.refused, 0);
});

Deno.test("a line above 4 MiB is refused and told at the first hub, the largest one is forwarded", async () => {
  await using chain = await Chain.open();
  chain.start();
  await using client = await Client.connect(chain.near.hub.address, "client.a");
  for (const bytes of [PAYLOAD_BYTES_MAX + 1, 5 * 1024 * 1024, PAYLOAD_BYTES_MAX]) {
    const front = new Uint8Array(bytes).fill(0x61);
    await client.endpoint.send(client.session, { type: FairleadType.Line, front });
  }
  await client.flushed();
  await client.lines("behind it");
  await until("both are there", () => chain.recorder.sizes.length >= 2);
  assert.deepEqual(new Set(chain.recorder.sizes), new Set([PAYLOAD_BYTES_MAX, 9]));
  assert.equal(chain.near.hub.refused, 2);
  assert.equal(chain.far.hub.refused, 0);
  const told = chain.near.notes.filter((text) => /client\.a .*4194304 bytes at most/.test(text));
  assert.equal(told.length, 2);
});

Deno.test("what was salvaged is sent before what came later", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const path = `${directory}/spool.db`;
    {
      using box = await Box.open(path);
      const stream = new Router(box.spool, [], ["hq"]).way("lines")!.stream!;
      for (let at = 0; at < 200; at++) {
        box.add(stream, `old ${at} `.padEnd(5000, "x"));
        if (at % 10 === 9) await box.commit();
      }
    }
    {
      using file = await Deno.open(path, { write: true });
      await file.seek(4096 * 20, Deno.SeekMode.Start);
      await file.write(new Uint8Array(4096).fill(0x5a));
    }
    using box = await Box.open(path);
    assert.ok(box.salvage!.saved >= 180, `${box.salvage!.saved} saved`);
    const router = new Router(box.spool, [], ["hq"]);
    for (const text of range(0, 20)) box.add(router.way("lines")!.stream!, text);
    await box.commit();
    const { recorder, stage } = await Stage.recording();
    await using hq = stage;
    await using sending = new Sending("client.gw1", box.spool, "hq", hq.hub.address, router);
    await until("all are sent", () => sending.sender.waiting === 0);
    const count = box.salvage!.saved;
    assert.equal(recorder.texts.length, count + 20);
    assert.ok(recorder.texts.slice(0, count).every((text) => text.startsWith("old ")));
    assert.deepEqual(recorder.texts.slice(count), range(0, 20));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("a WELCOME that comes late, with old numbers, makes nothing come twice", async () => {
  using box = await Box.open(null);
  const router = new Router(box.spool, [], ["hq"]);
  const stream = router.way("lines")!.stream!;
  const texts = range(0, 500);
  for (let at = 0; at < 500; at += 10) {
    box.add(stream, ...texts.slice(at, at + 10));
    await box.commit();
  }
  const { recorder, stage } = await Stage.recording();
  await using hq = stage;
  const gate = Promise.withResolvers<void>();
  recorder.gate = gate.promise;
  await using sending = new Sending("client.gw1", box.spool, "hq", hq.hub.address, router);
  const { sender, welcomes } = sending;
  await until("messages are taken and not acknowledged", () => recorder.texts.length > 0);
  assert.ok(sender.waiting > 0);
  const late = { session: () => sender.session, front: () => welcomes[0] };
  sender.handleWelcome(late as unknown as Batch, 0);
  gate.resolve();
  await until("all are acknowledged", () => sender.waiting === 0);
  assert.deepEqual(recorder.texts, texts);
  assert.equal(hq.hub.refused, 0);
  assert.equal(sender.acknowledged, 500);
});

Deno.test("a hub that ends while an output flushes ends in peace, and stores nothing of that round", async () => {
  const { recorder, stage } = await Stage.recording();
  const gate = Promise.withResolvers<void>();
  recorder.gate = gate.promise;
  await using client = await Client.connect(stage.hub.address, "client.a");
  await client.lines("line");
  await until("it is taken", () => recorder.texts.length === 1);
  const { rounds } = stage.hub;
  await stage[Symbol.asyncDispose]();
  gate.resolve();
  // An error of the database that is closed would have been thrown, and failed this test, by then.
  await new Promise((resolve) => setTimeout(resolve, 0));
  assert.equal(stage.hub.rounds, rounds);
  assert.equal(client.session.unacknowledged, 1);
});

interface Service {
  readonly service: HubService;
  readonly said: string[];
}

/** A hub as `fairlead hub` runs it. */
async function serve(directory: string, config: object): Promise<Service> {
  const file = `${directory}/${crypto.randomUUID()}.json`;
  const fixed = { io: "deno", status: false, listen: "v2:127.0.0.1:0" };
  await Deno.writeTextFile(file, JSON.stringify({ ...fixed, ...config }));
  const loaded = await loadHubConfig(file, []);
  assert.ok(loaded.config, JSON.stringify(loaded));
  const said: string[] = [];
  const journal = new Journal({ print: (text) => said.push(text) });
  const service = await HubService.open({
    config: loaded.config,
    auth: authNone(loaded.config.name),
    journal,
    alarms: new Alarms(journal),
    view: null,
  });
  return { service, said };
}

async function inDirectory(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await work(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

for (const name of ["mon.", "mon.a", "osd.1", "client.near"]) {
  Deno.test(`a hub named ${name} forwards`, async () => {
    await inDirectory(async (directory) => {
      const path = `${directory}/far.log`;
      const far = await serve(directory, {
        outputs: { all: { type: "file", path, format: "raw" } },
      });
      const up = { type: "forward", addresses: [far.service.hub.address] };
      const near = await serve(directory, { name, outputs: { up } });
      {
        await using client = await Client.connect(near.service.hub.address, "client.a");
        await client.lines(...range(0, 10));
        await client.flushed();
        await until("all are there", () => far.service.hub.received === 10);
      }
      assert.equal(near.service.senders.get("up")!.state, "sending");
      await near.service.close(nowMs());
      await far.service.close(nowMs());
      assert.deepEqual((await Deno.readTextFile(path)).split("\n").slice(0, -1), range(0, 10));
    });
  });
}

Deno.test("what waits for a forwarding output that was renamed goes to the one there is", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/far.log`;
    const far = await serve(directory, { outputs: { all: { type: "file", path, format: "raw" } } });
    const state = `${directory}/near`;
    const before = await serve(directory, {
      state,
      outputs: { up: { type: "forward", addresses: [NOBODY] } },
    });
    {
      await using client = await Client.connect(before.service.hub.address, "client.a");
      await client.lines(...range(0, 10));
      await client.flushed();
    }
    assert.equal(await before.service.close(nowMs()), 10);
    const hq = { type: "forward", addresses: [far.service.hub.address] };
    const after = await serve(directory, { state, outputs: { hq } });
    await until("all are there", () => far.service.hub.received === 10);
    await until("nothing waits", () => after.service.senders.get("hq")!.waiting === 0);
    await after.service.close(nowMs());
    await far.service.close(nowMs());
    assert.deepEqual((await Deno.readTextFile(path)).split("\n").slice(0, -1), range(0, 10));
  });
});

Deno.test("a file that another output wrote, or one that was not required, is not cut back", async () => {
  await inDirectory(async (directory) => {
    const path = `${directory}/messages.log`;
    const run = async (name: string, required: boolean, ...lines: string[]): Promise<void> => {
      const output = { type: "file", path, format: "raw", required };
      const { service } = await serve(directory, { state: directory, outputs: { [name]: output } });
      {
        await using client = await Client.connect(service.hub.address, "client.a");
        await client.lines(...lines);
        await client.flushed();
      }
      await service.close(nowMs());
    };
    await run("archive", true, "1", "2");
    await run("files", true, "3", "4");
    await run("archive", true, "5");
    assert.equal(await Deno.readTextFile(path), "1\n2\n3\n4\n5\n");
    await run("archive", false, "6");
    await run("archive", true, "7");
    assert.equal(await Deno.readTextFile(path), "1\n2\n3\n4\n5\n6\n7\n");
  });
});

const GATEWAY = "client.fairlead";
const BOXES = 256;

function idOf(box: number): string {
  return box.toString(16).padStart(32, "0");
}

function helloOf(box: number, streams: Hello["streams"]): Hello {
  return { version: 1, gateway: GATEWAY, spool: idOf(box), generation: 1, streams };
}

Deno.test("a spool that a live box holds is never forgotten, however many boxes have its name", () => {
  const ledger = new Ledger();
  const fresh = [{ stream: 1, oldest: 1, next: 1 }];
  const greet = (box: number): string | undefined =>
    ledger.greet(GATEWAY, helloOf(box, fresh), `session ${box}`, false).refused?.code;
  assert.equal(greet(0), undefined);
  const first = ledger.find(GATEWAY, idOf(0))!;
  assert.equal(ledger.check(first, "session 0", 1, 100, 100), Verdict.Take);
  ledger.store(first, 1, 100);
  for (let box = 1; box < BOXES; box++) assert.equal(greet(box), undefined);
  for (let box = BOXES; box < BOXES + 10; box++) assert.equal(greet(box), "too_many_spools");
  const again = helloOf(0, [{ stream: 1, oldest: 1, next: 101 }]);
  const welcome = ledger.greet(GATEWAY, again, "session 0", false);
  assert.deepEqual(welcome.last, [{ stream: 1, number: 100 }]);
  assert.deepEqual(ledger.takeForgotten(), []);
  ledger.releaseGone(GATEWAY, (holder) => holder === "session 5");
  assert.equal(greet(BOXES), undefined);
  assert.deepEqual(ledger.takeForgotten().map(({ spool }) => spool), [idOf(5)]);
});

Deno.test("streams of a spool are bounded, whatever its greetings say", () => {
  const ledger = new Ledger();
  const codes = Array.from({ length: 3 }, (_, round) => {
    const streams = Array.from({ length: 4096 }, (_, at) => ({
      stream: round * 4096 + at + 1,
      oldest: 2,
      next: 2,
    }));
    return ledger.greet(GATEWAY, helloOf(0, streams), "session", false).refused?.code;
  });
  assert.deepEqual(codes, [undefined, "too_many_streams", "too_many_streams"]);
  const known = ledger.find(GATEWAY, idOf(0))!;
  assert.equal(known.last.size, 4096);
  assert.equal(ledger.check(known, "session", 4096, 3, 1), Verdict.Take);
});
