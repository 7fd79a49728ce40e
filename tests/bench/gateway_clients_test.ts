/** The clients of the gateway's bench, against the gateway's own inputs. */
import assert from "node:assert/strict";
import {
  Flood,
  type Load,
  publishHttp,
  publishLines,
  publishMqtt,
  Steady,
  type Target,
  TOPIC,
} from "../../bench/peers/gateway_clients.ts";
import { FollowedLog } from "../../bench/peers/gateway_followed_log.ts";
import { Ledger, tallyFile } from "../../bench/peers/gateway_messages.ts";
import type { Input, Intake } from "../../src/app/gateway/intake.ts";
import { openHttp } from "../../src/app/inputs/http.ts";
import { openLines } from "../../src/app/inputs/lines.ts";
import { openMqtt } from "../../src/app/inputs/mqtt.ts";
import { nowMs } from "../../src/io/clock.ts";
import { FakeIntake } from "../app/fake_intake.ts";

const SIZE = 32;
const COUNT = 3000;
const IN_FLIGHT = 100;
const listen = "127.0.0.1:0";

interface Case {
  name: string;
  open(intake: Intake): Promise<Input>;
  publish(target: Target, load: Load): Promise<void>;
}

const CASES: readonly Case[] = [
  {
    name: "publishMqtt()",
    open: (intake) => openMqtt("mqtt", { listen, topicPrefix: "", passwordFile: null }, intake),
    publish: (target, load) => publishMqtt(target, load, IN_FLIGHT),
  },
  {
    name: "publishLines()",
    open: (intake) =>
      openLines("lines", { listen, protocols: ["tcp"], topic: TOPIC, acknowledge: true }, intake),
    publish: (target, load) => publishLines(target, load, IN_FLIGHT),
  },
  {
    name: "publishHttp()",
    open: (intake) =>
      openHttp("http", { listen, bodyBytesMax: 1e6, tokenFile: null, topic: TOPIC }, intake),
    publish: (target, load) => publishHttp(target, load, IN_FLIGHT),
  },
];

function targetOf(input: Input): Target {
  return { hostname: "127.0.0.1", port: Number(input.where.split(":").at(-1)) };
}

for (const { name, open, publish } of CASES) {
  Deno.test(`${name} sends each message once and in order, and notes every acknowledgement`, async () => {
    const intake = new FakeIntake();
    const input = await open(intake);
    const ledger = new Ledger("x");
    await publish(targetOf(input), { ledger, pace: new Flood(COUNT), sizeBytes: SIZE });
    await input.stop(nowMs() + 2000);
    const filling = "x".repeat(SIZE - 11);
    const expected = Array.from(
      { length: COUNT },
      (_, id) => `x${`${id}`.padStart(10, "0")}${filling}`,
    );
    assert.deepEqual(intake.texts, expected);
    assert.deepEqual([ledger.sent, ledger.acknowledged, ledger.last], [COUNT, COUNT, COUNT - 1]);
  });

  Deno.test(`${name} counts nothing as acknowledged that was not, and tells of the end`, async () => {
    const intake = new FakeIntake();
    const input = await open(intake);
    intake.hold(); // nothing becomes durable
    const ledger = new Ledger("x");
    const load = { ledger, pace: new Flood(COUNT), sizeBytes: SIZE };
    const publishing = publish(targetOf(input), load);
    await intake.taken(IN_FLIGHT);
    assert.deepEqual([ledger.sent, ledger.acknowledged], [IN_FLIGHT, 0], "and it waits");
    const failed = assert.rejects(publishing);
    await input.stop(nowMs()); // in the middle of it
    intake.release();
    await failed;
    assert.equal(ledger.acknowledged, 0);
  });
}

Deno.test("publishMqtt() refuses an answer that is none", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = (async (): Promise<void> => {
    using conn = await listener.accept();
    await conn.read(new Uint8Array(100));
    await conn.write(Uint8Array.fromHex("20020005")); // not authorized
    while (await conn.read(new Uint8Array(100)) !== null);
  })();
  const target = { hostname: "127.0.0.1", port: listener.addr.port };
  const load = { ledger: new Ledger("x"), pace: new Flood(1), sizeBytes: SIZE };
  await assert.rejects(publishMqtt(target, load, 1), /20020005/);
  await serving;
  assert.equal(load.ledger.sent, 0);
});

// ---- pace

Deno.test("Flood gives all it has, then is over", () => {
  const pace = new Flood(10);
  assert.deepEqual([pace.take(4), pace.over, pace.take(100), pace.over], [4, false, 6, true]);
});

Deno.test("Steady gives what is due, not what nobody took in time, and ends", () => {
  let nowMs = 1000;
  const pace = new Steady(1000, 10, () => nowMs);
  assert.equal(pace.take(100), 0);
  nowMs += 50;
  assert.deepEqual([pace.take(30), pace.take(100), pace.take(100)], [30, 20, 0]);
  nowMs += 5000; // a break: only the last fifth of a second is made up for
  assert.equal(pace.take(10_000), 200);
  nowMs += 10;
  assert.equal(pace.take(100, 20), 0, "fewer than the least");
  nowMs += 10;
  assert.equal(pace.take(100, 20), 20);
  assert.equal(pace.over, false);
  nowMs = 11_000;
  assert.deepEqual([pace.over, pace.take(100)], [true, 0]);
});

// ---- the followed log

Deno.test("FollowedLog moves its file aside and goes on, and nothing is missing between", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const log = new FollowedLog(`${directory}/log`);
    const ledger = new Ledger("f");
    await log.write({ ledger, pace: new Flood(COUNT), sizeBytes: 200 });
    assert.equal(ledger.acknowledged, COUNT);
    const before = await tallyFile(`${log.path}.1`, 200);
    const after = await tallyFile(log.path, 200);
    assert.equal(before.of("f").count + after.of("f").count, COUNT);
    assert.ok(before.of("f").count > 0 && after.of("f").count > 0);
    assert.ok(before.of("f").last < after.of("f").last);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
