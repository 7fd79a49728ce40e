/** The input for StatsD: datagrams of several metrics, streams, and what is refused. */
import assert from "node:assert/strict";
import dgram from "node:dgram";
import { nowMs } from "../../src/io/clock.ts";
import type { PortInput } from "../../src/app/inputs/port_input.ts";
import { openStatsd } from "../../src/app/inputs/statsd.ts";
import { FakeIntake, until } from "./fake_intake.ts";

const STOP_MS = 10_000;

const encoder = new TextEncoder();

async function open(
  intake: FakeIntake,
  protocols: readonly ("udp" | "tcp")[],
): Promise<{ input: PortInput; port: number }> {
  const options = { listen: "127.0.0.1:0", protocols, topic: "statsd" };
  const input = await openStatsd("statsd", options, intake);
  return { input, port: Number(input.where.split(":").at(-1)) };
}

async function sendDatagrams(port: number, ...datagrams: (string | Uint8Array)[]): Promise<void> {
  const socket = dgram.createSocket("udp4");
  for (const datagram of datagrams) {
    await new Promise((sent) => socket.send(datagram, port, "127.0.0.1", sent));
  }
  socket.close();
}

Deno.test("each metric of a datagram is one message, and its neighbours' faults are not its own", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake, ["udp"]);
  await sendDatagrams(
    port,
    "hits:1|c|@0.1|#a:1,b\nbroken\n\r\ntemp:-2.5|g\r\n\nusers:x|s",
    new Uint8Array([0xff, ...encoder.encode(":1|c\nt:5|ms")]),
  );
  await intake.taken(4);
  assert.deepEqual(intake.values, [
    { name: "hits", value: 1, type: "c", rate: 0.1, tags: ["a:1", "b"] },
    { name: "temp", value: -2.5, type: "g", delta: true, rate: 1, tags: [] },
    { name: "users", value: "x", type: "s", rate: 1, tags: [] },
    { name: "t", value: 5, type: "ms", rate: 1, tags: [] },
  ]);
  for (const { topic, contentType } of intake.messages) {
    assert.deepEqual([topic, contentType], ["statsd", "application/json"]);
  }
  await input.stop(nowMs() + STOP_MS);
  assert.equal(input.counts.refused, 2);
  assert.equal(input.counts.messages, 4);
});

Deno.test("metrics by TCP come at every split point, and a malformed one closes nothing", async () => {
  const intake = new FakeIntake();
  const { input, port } = await open(intake, ["tcp"]);
  const bytes = encoder.encode("a:1|c\nnone\nb:2|g|#é\r\nc:3|h");
  for (let split = 1; split < bytes.length; split++) {
    intake.messages.length = 0;
    const conn = await Deno.connect({ hostname: "127.0.0.1", port });
    conn.setNoDelay(true);
    await conn.write(bytes.subarray(0, split));
    await until(() => input.counts.clients === 1);
    await conn.write(bytes.subarray(split));
    conn.closeWrite();
    await intake.taken(3);
    assert.deepEqual(intake.values.map(({ name, value }) => `${name}${value}`), ["a1", "b2", "c3"]);
    conn.close();
    await until(() => input.counts.clients === 0);
  }
  assert.equal(input.counts.refused, bytes.length - 1);
  await input.stop(nowMs() + STOP_MS);
});

Deno.test("a flood without room is dropped and counted; what is malformed stays refused", async () => {
  const intake = new FakeIntake();
  intake.setRoom(10);
  const { input, port } = await open(intake, ["udp"]);
  const datagram = "a:1|c\n".repeat(50) + "x\n".repeat(50);
  await sendDatagrams(port, ...Array.from({ length: 20 }, () => datagram));
  await input.stop(nowMs() + STOP_MS);
  assert.equal(input.counts.messages, 10);
  assert.equal(input.counts.dropped, 990);
  assert.equal(input.counts.refused, 1000);
});
