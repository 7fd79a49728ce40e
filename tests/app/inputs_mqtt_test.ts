/** The MQTT input over real loopback TCP, with a client that sends what it is told. */
import assert from "node:assert/strict";
import type { Input } from "../../src/app/gateway/intake.ts";
import { type MqttOptions, openMqtt } from "../../src/app/inputs/mqtt.ts";
import { isPassword, parsePasswords } from "../../src/app/inputs/mqtt_passwords.ts";
import { nowMs } from "../../src/io/clock.ts";
import { newRegion } from "../../src/mem/region.ts";
import { Connect, writeConnect } from "../../src/wire/mqtt/connect.ts";
import { PacketType, writeFixedHeader } from "../../src/wire/mqtt/header.ts";
import { Publish, writePublish } from "../../src/wire/mqtt/publish.ts";
import { FakeIntake } from "./fake_intake.ts";

const CLIENTS_MAX = 128;
const CONNACK = "20020000";
const PINGREQ = "c000";
const DISCONNECT = "e000";

const encoder = new TextEncoder();

const OPTIONS: MqttOptions = { listen: "127.0.0.1:0", topicPrefix: "", passwordFile: null };

/** An input, its intake and its clients; all are closed at the end. */
class Bench implements AsyncDisposable {
  readonly intake: FakeIntake;
  readonly input: Input;
  readonly #clients: Client[] = [];
  #stopped = false;

  private constructor(input: Input, intake: FakeIntake) {
    this.input = input;
    this.intake = intake;
  }

  static async open(options: Partial<MqttOptions> = {}): Promise<Bench> {
    const intake = new FakeIntake();
    return new Bench(await openMqtt("mqtt", { ...OPTIONS, ...options }, intake), intake);
  }

  async dial(): Promise<Client> {
    const port = Number(this.input.where.split(":").at(-1));
    const client = new Client(await Deno.connect({ hostname: "127.0.0.1", port }));
    this.#clients.push(client);
    return client;
  }

  /** A client past CONNACK. */
  async connect(fields: Partial<Connect> = {}): Promise<Client> {
    const client = await this.dial();
    await client.send(connectBytes(fields));
    await client.expect(CONNACK);
    return client;
  }

  async stop(graceMs = 2000): Promise<void> {
    this.#stopped = true;
    await this.input.stop(nowMs() + graceMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.close();
    this.intake.setFailing(false);
    this.intake.setRoom(Infinity);
    this.intake.release();
    if (!this.#stopped) await this.stop();
    const { clients, waiting } = this.input.counts;
    assert.deepEqual({ clients, waiting }, { clients: 0, waiting: 0 });
  }
}

/** One TCP connection. */
class Client {
  readonly #conn: Deno.TcpConn;

  constructor(conn: Deno.TcpConn) {
    this.#conn = conn;
  }

  /** Sends all in one piece. */
  async send(...parts: readonly (Uint8Array | string)[]): Promise<void> {
    const all = parts.map((part) =>
      typeof part === "string" ? Uint8Array.fromHex(part.replaceAll(" ", "")) : part
    );
    const bytes = new Uint8Array(await new Blob(all as Uint8Array<ArrayBuffer>[]).arrayBuffer());
    for (let at = 0; at < bytes.length;) at += await this.#conn.write(bytes.subarray(at));
  }

  /** Reads exactly this. */
  async expect(hex: string): Promise<void> {
    assert.equal(await this.read(hex.replaceAll(" ", "").length / 2), hex.replaceAll(" ", ""));
  }

  /** Reads to the end. */
  async ended(rest = ""): Promise<void> {
    assert.equal(await this.read(Infinity), rest);
  }

  async read(count: number): Promise<string> {
    let hex = "";
    const bytes = new Uint8Array(4096);
    while (hex.length < count * 2) {
      const room = bytes.subarray(0, Math.min(4096, count - hex.length / 2));
      const got = await this.#conn.read(room).catch(() => null); // a reset is an end, too
      if (got === null) break;
      hex += bytes.subarray(0, got).toHex();
    }
    return hex;
  }

  close(): void {
    try {
      this.#conn.close();
    } catch {
      // It was closed already.
    }
  }
}

function connectBytes(fields: Partial<Connect> = {}): Uint8Array {
  const body = newRegion(2000);
  const all = { level: 4, cleanSession: true, clientId: "", ...fields };
  const length = writeConnect(body, 0, Object.assign(new Connect(), all));
  const to = newRegion(2000);
  const at = writeFixedHeader(to, 0, PacketType.Connect, 0, length);
  to.bytes.set(body.bytes.subarray(0, length), at);
  return to.bytes.slice(0, at + length);
}

function publishBytes(
  topic: string,
  qos: number,
  packetId: number,
  payload: string | Uint8Array,
): Uint8Array {
  const bytes = typeof payload === "string" ? encoder.encode(payload) : payload;
  const to = newRegion(bytes.length + 2 * topic.length + 20);
  const fields = Object.assign(new Publish(), { topic, qos, packetId });
  return to.bytes.slice(0, writePublish(to, 0, fields, bytes));
}

/** Waits for what has no event of its own. */
async function until(what: string, check: () => boolean): Promise<void> {
  const deadlineMs = nowMs() + 5000;
  while (!check()) {
    assert.ok(nowMs() < deadlineMs, `Cannot wait any longer for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

async function withFile(text: string, job: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, text);
    await job(path);
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("messages of QoS 0 arrive with topic, prefix and a media type", async () => {
  await using bench = await Bench.open({ topicPrefix: "plant/" });
  const client = await bench.connect();
  const payloads: [Uint8Array | string, string][] = [
    ["21.5", "text/plain"],
    ["", "text/plain"],
    ['{"t":21.5}', "application/json"],
    ["[1,2]", "application/json"],
    ['{"t":}', "text/plain"],
    ["[1,2] ", "text/plain"],
    ["größer", "text/plain"],
    [Uint8Array.of(0xff, 0), "application/octet-stream"],
  ];
  for (const [payload] of payloads) await client.send(publishBytes("a/b", 0, 0, payload));
  await bench.intake.taken(payloads.length);
  for (const [index, [payload, contentType]] of payloads.entries()) {
    const message = bench.intake.messages[index]!;
    assert.equal(message.topic, "plant/a/b");
    assert.equal(message.contentType, contentType, message.text);
    const bytes = typeof payload === "string" ? encoder.encode(payload) : payload;
    assert.deepEqual(message.payload, bytes);
  }
  assert.equal(bench.input.counts.messages, payloads.length);
  assert.equal(bench.input.counts.bytes, 4 + 10 + 5 + 6 + 6 + 8 + 2);
  assert.equal(bench.input.counts.clients, 1);
});

Deno.test("PUBACK and PUBREC wait until their messages are durable, and keep their order", async () => {
  await using bench = await Bench.open();
  bench.intake.hold();
  const client = await bench.connect();
  await client.send(publishBytes("t", 1, 5, "a"), publishBytes("t", 2, 6, "b"), PINGREQ);
  await client.expect("d000"); // the connection goes on
  await bench.intake.taken(2);
  await bench.intake.asked(1);
  await client.send(publishBytes("t", 1, 7, "c"), PINGREQ);
  await client.expect("d000");
  assert.equal(bench.intake.durables, 1, "one question at a time");
  bench.intake.releaseOnce();
  await client.expect("40020005");
  await client.expect("50020006");
  await bench.intake.asked(2);
  await client.send(PINGREQ);
  await client.expect("d000"); // the third one is not durable
  bench.intake.release();
  await client.expect("40020007");
  await client.send("6202 0006");
  await client.expect("70020006");
});

Deno.test("while there is no room nothing more is read, and nothing is lost", async () => {
  await using bench = await Bench.open();
  bench.intake.setRoom(3);
  const client = await bench.connect();
  const count = 2000;
  const sent = Array.from({ length: count }, (_, index) => `${index}`.padEnd(1000, "."));
  const sending = client.send(...sent.map((text) => publishBytes("t", 0, 0, text)), PINGREQ);
  await bench.intake.refused(1);
  await until("the count of those who wait", () => bench.input.counts.waiting === 1);
  assert.equal(bench.intake.messages.length, 3);
  bench.intake.setRoom(Infinity);
  await sending;
  await client.expect("d000");
  assert.deepEqual(bench.intake.texts, sent);
  assert.deepEqual({ ...bench.input.counts }, {
    messages: count,
    bytes: count * 1000,
    dropped: 0,
    refused: 0,
    clients: 1,
    waiting: 0,
  });
});

Deno.test("what is durable is acknowledged while a later message waits for room", async () => {
  await using bench = await Bench.open();
  bench.intake.setRoom(1);
  const client = await bench.connect();
  await client.send(publishBytes("t", 1, 1, "a"), publishBytes("t", 1, 2, "b"));
  await client.expect("40020001");
  bench.intake.setRoom(1);
  await client.expect("40020002");
  assert.deepEqual(bench.intake.texts, ["a", "b"]);
});

Deno.test("when nothing waits, QoS 0 is dropped and QoS 1 ends the connection, unacknowledged", async () => {
  await using bench = await Bench.open();
  const client = await bench.connect();
  bench.intake.waits = false;
  bench.intake.setRoom(0);
  await client.send(publishBytes("t", 0, 0, "a"), PINGREQ);
  await client.expect("d000");
  assert.equal(bench.input.counts.dropped, 1);
  await client.send(publishBytes("t", 1, 1, "b"));
  await client.ended();
  await until("its end", () => bench.input.counts.clients === 0);
  assert.deepEqual([bench.input.counts.dropped, bench.input.counts.refused], [1, 1]);
  assert.match(bench.input.trouble, /QoS 1 or 2 as there is no room/);
  assert.deepEqual(bench.intake.texts, []);
});

Deno.test("a spool that fails ends the connections whose messages it has not stored", async () => {
  await using bench = await Bench.open();
  bench.intake.durable = () => Promise.reject(new Error("disk is gone"));
  const client = await bench.connect();
  await client.send(publishBytes("t", 1, 1, "a"));
  await client.ended();
  await until("its count", () => bench.input.counts.refused === 1);
  assert.match(bench.input.trouble, /spool fails: disk is gone/);
});

Deno.test("a client that connects again takes over, with its QoS 2 identifiers: MQTT-3.1.4-2", async () => {
  await using bench = await Bench.open();
  const will = { topic: "gone", payload: encoder.encode("dev"), qos: 0, retain: false };
  const fields = { clientId: "dev", cleanSession: false };
  const first = await bench.connect({ ...fields, will });
  await first.send(publishBytes("t", 2, 9, "once"));
  await first.expect("50020009");
  const second = await bench.dial();
  await second.send(connectBytes(fields));
  await second.expect("20020100");
  await first.ended();
  await second.send(publishBytes("t", 2, 9, "once"));
  await second.expect("50020009");
  await second.send("6202 0009", publishBytes("t", 2, 9, "twice"));
  await second.expect("7002000950020009");
  await bench.intake.taken(3);
  assert.deepEqual(bench.intake.texts.toSorted(), ["dev", "once", "twice"]);
  const third = await bench.connect({ ...fields, cleanSession: true }); // session present 0
  await second.ended();
  await third.send(DISCONNECT);
  await third.ended();
  const fourth = await bench.connect(fields); // MQTT-3.1.2-6: there is no session any more
  await fourth.send(publishBytes("t", 2, 9, "new"));
  await fourth.expect("50020009");
  assert.equal(bench.input.counts.refused, 0);
});

Deno.test("a client that is taken over while it waits for room hands nothing on afterwards", async () => {
  await using bench = await Bench.open();
  const gate = Promise.withResolvers<void>();
  bench.intake.room = () => gate.promise;
  bench.intake.setRoom(0);
  const first = await bench.connect({ clientId: "dev" });
  await first.send(publishBytes("t", 1, 1, "old"));
  await bench.intake.refused(1);
  const second = await bench.connect({ clientId: "dev" });
  bench.intake.setRoom(Infinity);
  gate.resolve();
  await first.ended();
  await second.send(publishBytes("t", 1, 1, "new"));
  await second.expect("40020001");
  assert.deepEqual(bench.intake.texts, ["new"]);
});

Deno.test("the will is published when the connection breaks, not after DISCONNECT", async () => {
  await using bench = await Bench.open({ topicPrefix: "p/" });
  const will = { topic: "w", payload: encoder.encode("gone"), qos: 1, retain: true };
  const polite = await bench.connect({ will });
  await polite.send(DISCONNECT);
  await polite.ended();
  const rude = await bench.connect({ will });
  rude.close();
  await bench.intake.taken(1);
  const wrong = await bench.connect({ will });
  await wrong.send("f000");
  await wrong.ended();
  await bench.intake.taken(2);
  assert.deepEqual(
    bench.intake.messages.map(({ topic, text }) => `${topic}=${text}`),
    ["p/w=gone", "p/w=gone"],
  );
});

Deno.test("a silent client is closed after its keep-alive, and its will is published", async () => {
  await using bench = await Bench.open();
  const will = { topic: "w", payload: encoder.encode("silent"), qos: 0, retain: false };
  const client = await bench.connect({ keepAliveSeconds: 1, will });
  const startMs = nowMs();
  await client.ended();
  const tookMs = nowMs() - startMs;
  assert.ok(tookMs >= 1400 && tookMs < 4000, `${tookMs} ms`);
  await bench.intake.taken(1);
  assert.equal(bench.input.counts.refused, 0);
});

Deno.test("a client that waits for room is not taken for a silent one", async () => {
  await using bench = await Bench.open();
  bench.intake.setRoom(0);
  const client = await bench.connect({ keepAliveSeconds: 1 });
  await client.send(publishBytes("t", 1, 1, "late"));
  await bench.intake.refused(1);
  await new Promise((resolve) => setTimeout(resolve, 2200)); // longer than 1.5 s and a look at it
  bench.intake.setRoom(Infinity);
  await client.expect("40020001");
});

Deno.test("what breaks the protocol is closed, counted and told", async () => {
  await using bench = await Bench.open();
  for (const bytes of ["c000", "474554202f20485454502f312e31", "1002 0000"]) {
    const client = await bench.dial();
    await client.send(bytes);
    await client.ended();
  }
  for (const bytes of [connectBytes(), "30 05 0003 612f23", "36 06 0001 74 0001 78", "4002 0001"]) {
    const client = await bench.connect();
    await client.send(bytes);
    await client.ended();
  }
  await until("their counts", () => bench.input.counts.refused === 7);
  assert.match(bench.input.trouble, /^Client 127\.0\.0\.1:\d+ was closed: Cannot accept PUBACK/);
  assert.deepEqual(bench.intake.texts, []);
});

Deno.test("another protocol version is told so by its return code", async () => {
  await using bench = await Bench.open();
  const client = await bench.dial();
  await client.send("10 11 0004 4d515454 05 02 003c 03 210014 0001 64");
  await client.ended("20020001");
  await until("its count", () => bench.input.counts.refused === 1);
});

Deno.test("SUBSCRIBE gets a failure for each filter, and the connection goes on", async () => {
  await using bench = await Bench.open();
  const client = await bench.connect();
  await client.send("82 0e 000a 0003 612f62 01 0003 632f64 02");
  await client.expect("9004000a8080");
  await client.send(publishBytes("t", 1, 1, "still here"));
  await client.expect("40020001");
});

Deno.test("topics of more than 1024 bytes are refused, the prefix included", async () => {
  await using bench = await Bench.open({ topicPrefix: "é/" });
  const client = await bench.connect();
  await client.send(publishBytes("é".repeat(510) + "x", 1, 1, "a"));
  await client.expect("40020001");
  await client.send(publishBytes("é".repeat(511), 1, 2, "b"));
  await client.ended();
  assert.deepEqual(bench.intake.texts, ["a"]);
  const other = await bench.dial();
  const will = { topic: "é".repeat(511), payload: new Uint8Array(), qos: 0, retain: false };
  await other.send(connectBytes({ will }));
  await other.ended("20020003");
});

Deno.test("large messages share a bounded memory, and all get through it", async () => {
  await using bench = await Bench.open();
  const payload = new Uint8Array(4 * 1024 * 1024).fill(0x78);
  const job = async (): Promise<void> => {
    const client = await bench.connect();
    await client.send(publishBytes("t", 1, 1, payload));
    await client.expect("40020001");
    await client.send(publishBytes("t", 1, 2, payload));
    await client.expect("40020002");
    client.close();
  };
  await Promise.all(Array.from({ length: 10 }, job));
  assert.equal(bench.input.counts.messages, 20);
  for (const message of bench.intake.messages) {
    assert.equal(message.payload.length, payload.length);
    assert.equal(message.payload.at(-1), 0x78);
  }
});

Deno.test("one client more than there may be is refused, and there is room when one has gone", async () => {
  await using bench = await Bench.open();
  const clients = [];
  for (let count = 0; count < CLIENTS_MAX; count++) clients.push(await bench.connect());
  const late = await bench.dial();
  await late.ended();
  assert.equal(bench.input.counts.refused, 1);
  assert.equal(bench.input.counts.clients, CLIENTS_MAX);
  await clients[0]!.send(DISCONNECT);
  await clients[0]!.ended();
  await bench.connect();
});

Deno.test("users and passwords are checked, also after the file has changed", async () => {
  await withFile("ann:secret\n", async (passwordFile) => {
    await using bench = await Bench.open({ passwordFile });
    const answer = async (username: string | null, password: string | null): Promise<string> => {
      const client = await bench.dial();
      const bytes = password === null ? null : encoder.encode(password);
      await client.send(connectBytes({ username, password: bytes }));
      const hex = await client.read(4);
      client.close();
      return hex;
    };
    assert.equal(await answer("ann", "secret"), CONNACK);
    assert.equal(await answer("ann", "Secret"), "20020005");
    assert.equal(await answer("bob", "secret"), "20020005");
    assert.equal(await answer("ann", null), "20020005");
    assert.equal(await answer(null, null), "20020005");
    await until("the counts", () => bench.input.counts.refused === 4);
    await Deno.writeTextFile(passwordFile, "bob:other one\n");
    assert.equal(await answer("ann", "secret"), "20020005");
    assert.equal(await answer("bob", "other one"), CONNACK);
    await Deno.writeTextFile(passwordFile, "nonsense\n");
    assert.equal(await answer("bob", "other one"), CONNACK, "what was read last counts on");
    assert.match(bench.input.trouble, /line 1 of .* must be USER:PASSWORD$/);
  });
});

Deno.test("password files: comments, colons, empty passwords, and hashes of mosquitto_passwd", () => {
  // The default of mosquitto_passwd 2.0.11, and its -H sha512, for the password "secret"
  const pbkdf2 = "$7$101$5lLlQb0D2lI+PkEy$fKBKeE7F+uENdliw5WahWzuKwwDKBPK+kr8Z1mjuOZxi8Y" +
    "O2ek0eGFIwvIH94Xck5+Mom0bJQvxCp7WfDLn2Jw==";
  const sha512 = "$6$QmGtP1TgTLZcIcB/$KQXLHenRWE7QHp694jL/wy+BuVgzCGpzZ9MXq/u983kTkQWR/z" +
    "oB2a27y6qWvPU71rWcCwU/zcEC5hHwRuozjA==";
  const text = `# users\r\nann:a:b:c\r\n\nbob:${pbkdf2}\ncarl:${sha512}\n`;
  const users = parsePasswords(text, "file");
  assert.equal(isPassword(users, "ann", encoder.encode("a:b:c")), true);
  assert.equal(isPassword(users, "ann", encoder.encode("a")), false);
  assert.equal(isPassword(users, "# users", encoder.encode("")), false);
  for (const user of ["bob", "carl"]) {
    assert.equal(isPassword(users, user, encoder.encode("secret")), true, user);
    assert.equal(isPassword(users, user, encoder.encode("secrets")), false, user);
    assert.equal(isPassword(users, user, null), false, user);
  }
  assert.equal(isPassword(users, "dora", new Uint8Array(64)), false, "nobody has no password");
  for (
    const wrong of [
      "",
      "ann",
      ":x",
      "ann:",
      "ann:x\nann:y",
      "ann:$7$999999$AA==$AA==",
      "ann:$7$0$AA==$AA==",
      "ann:$6$AA==",
      "ann:$6$A$AA==",
    ]
  ) {
    assert.throws(() => parsePasswords(wrong, "file"), /^Error: Cannot use (line \d of )?file as/);
  }
});

Deno.test("stop takes what has arrived, acknowledges it, and closes", async () => {
  await using bench = await Bench.open();
  const will = { topic: "w", payload: encoder.encode("bye"), qos: 0, retain: false };
  const idle = await bench.connect({ will });
  const client = await bench.connect();
  bench.intake.hold();
  await client.send(publishBytes("t", 1, 1, "a"), publishBytes("t", 1, 2, "b"));
  const stopping = bench.stop();
  await bench.intake.taken(2);
  bench.intake.release();
  await client.ended("4002000140020002");
  await idle.ended();
  await stopping;
  assert.deepEqual(bench.intake.texts, ["a", "b", "bye"]);
  assert.equal(bench.input.counts.refused, 0);
});

Deno.test("stop ends by its deadline when there is no room and nothing is durable", async () => {
  await using bench = await Bench.open();
  bench.intake.hold();
  const owed = await bench.connect();
  await owed.send(publishBytes("t", 1, 1, "a"));
  await bench.intake.asked(1);
  bench.intake.setRoom(0);
  const held = await bench.connect();
  await held.send(publishBytes("t", 0, 0, "b"));
  await bench.intake.refused(1);
  const startMs = nowMs();
  await bench.stop(100);
  assert.ok(nowMs() - startMs < 3000, `${nowMs() - startMs} ms`);
  await owed.ended();
  await held.ended();
  assert.equal(bench.input.counts.dropped, 1);
});

Deno.test("options that cannot be used are refused with a remedy", async () => {
  await using bench = await Bench.open();
  const { where } = bench.input;
  const open = (options: Partial<MqttOptions>): Promise<Input> =>
    openMqtt("x", { ...OPTIONS, ...options }, bench.intake);
  await assert.rejects(open({ listen: where }), /another program uses that port; set "listen"/);
  await assert.rejects(open({ topicPrefix: "a/#" }), /topicPrefix .* current value is "a\/#"/);
  await assert.rejects(open({ passwordFile: "/nonexistent/file" }), /Cannot read \/nonexistent/);
});
