/** The input for standard input, with streams that end, break, flood and stand still. */
import assert from "node:assert/strict";
import { nowMs } from "../../src/io/clock.ts";
import { openStdin, type StdinInput } from "../../src/app/inputs/stdin.ts";
import { LINE_BYTES_MAX } from "../../src/app/line_buffer.ts";
import { FakeIntake, until } from "./fake_intake.ts";

const STOP_MS = 10_000;

const encoder = new TextEncoder();

/** An input and the other end of what it reads. */
function open(intake: FakeIntake): {
  input: StdinInput;
  write: (text: string) => Promise<void>;
  end: () => Promise<void>;
  fail: (error: Error) => Promise<void>;
} {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  return {
    input: openStdin("stdin", { topic: "in" }, intake, readable),
    write: (text) => writer.write(encoder.encode(text)),
    end: () => writer.close(),
    fail: (error) => writer.abort(error),
  };
}

Deno.test("lines come at every split point, and the last one needs no ending", async () => {
  const text = "a\r\n\nbé\nlast";
  const bytes = encoder.encode(text);
  for (let split = 0; split <= bytes.length; split++) {
    const intake = new FakeIntake();
    const stream = ReadableStream.from([bytes.subarray(0, split), bytes.subarray(split)]);
    const input = openStdin("stdin", { topic: "in" }, intake, stream);
    await input.ended;
    assert.deepEqual(intake.texts, ["a", "", "bé", "last"]);
    assert.deepEqual([input.trouble, input.counts.refused], ["", 0]);
    await input.stop(nowMs() + STOP_MS);
  }
});

Deno.test("a line has the input's topic, the type text/plain and its bytes", async () => {
  const intake = new FakeIntake();
  const stream = ReadableStream.from([new Uint8Array([0x00, 0xff, 0x0a])]);
  const input = openStdin("stdin", { topic: "in" }, intake, stream);
  await input.ended;
  const [{ topic, contentType, payload }] = intake.messages as [FakeIntake["messages"][number]];
  assert.deepEqual([topic, contentType, [...payload]], ["in", "text/plain", [0x00, 0xff]]);
  assert.equal(input.where, "standard input");
  await input.stop(nowMs() + STOP_MS);
});

Deno.test("an empty stream ends at once without a message or trouble", async () => {
  const intake = new FakeIntake();
  const { input, end } = open(intake);
  await end();
  await input.ended;
  await input.stop(nowMs() + STOP_MS);
  assert.deepEqual([intake.messages.length, input.trouble], [0, ""]);
});

Deno.test("pieces larger than the line buffer are cut, lines too long are refused", async () => {
  const intake = new FakeIntake();
  const longest = "x".repeat(LINE_BYTES_MAX);
  const short = "short line\n".repeat(20_000);
  const text = `${short}${longest}\n${longest}${longest}\n${longest}x\nend\n${longest}yz`;
  const input = openStdin(
    "s",
    { topic: "in" },
    intake,
    ReadableStream.from([encoder.encode(text)]),
  );
  await input.ended;
  assert.equal(intake.messages.length, 20_002);
  assert.deepEqual(intake.texts.slice(-2), [longest, "end"]);
  assert.equal(input.counts.refused, 3);
  await input.stop(nowMs() + STOP_MS);
});

Deno.test("without room nothing more is read, and nothing is lost", async () => {
  const intake = new FakeIntake();
  intake.setRoom(1);
  let pulled = 0;
  const stream = new ReadableStream<Uint8Array>({
    pull: (controller) => {
      controller.enqueue(encoder.encode(`${pulled++}\n`));
      if (pulled === 100) controller.close();
    },
  }, { highWaterMark: 0 });
  const input = openStdin("stdin", { topic: "in" }, intake, stream);
  await intake.refused(5);
  assert.equal(pulled, 2);
  assert.equal(input.counts.waiting, 1);
  intake.setRoom(Infinity);
  await input.ended;
  assert.deepEqual(intake.texts, Array.from({ length: 100 }, (_, at) => `${at}`));
  await input.stop(nowMs() + STOP_MS);
  assert.equal(input.counts.dropped, 0);
});

Deno.test("an intake that drops by policy makes lines dropped, not waiting", async () => {
  const intake = new FakeIntake();
  intake.waits = false;
  intake.setRoom(1);
  const { input, write, end } = open(intake);
  await write("1\n2\n3");
  await end();
  await input.ended;
  assert.deepEqual([intake.texts, input.counts.dropped], [["1"], 2]);
  await input.stop(nowMs() + STOP_MS);
});

Deno.test("a stream that breaks is trouble; half a line of it is refused, not taken", async () => {
  const intake = new FakeIntake();
  const { input, write, fail } = open(intake);
  await write("whole\nhalf");
  await intake.taken(1);
  await fail(new Error("device gone"));
  await input.ended;
  assert.match(input.trouble, /^Cannot read standard input: device gone; /);
  assert.deepEqual([intake.texts, input.counts.refused], [["whole"], 1]);
  await input.stop(nowMs() + STOP_MS);
});

Deno.test("stop() takes what has come, and ends a stream that stands still", async () => {
  const intake = new FakeIntake();
  const { input, write } = open(intake);
  await write("1\n2\nhalf");
  await input.stop(nowMs() + STOP_MS);
  await input.ended;
  assert.deepEqual([intake.texts, input.counts.refused], [["1", "2"], 1]);
  assert.equal(input.trouble, "");
});

Deno.test("stop() while a line waits: taken when room comes, in time", async () => {
  const intake = new FakeIntake();
  intake.setRoom(0);
  const { input, write } = open(intake);
  await write("1\n2\n");
  await intake.refused(1);
  const stopping = input.stop(nowMs() + STOP_MS);
  intake.setRoom(Infinity);
  await stopping;
  assert.deepEqual(intake.texts, ["1", "2"]);
});

Deno.test("stop() while a line waits: dropped and counted when no room comes", async () => {
  const intake = new FakeIntake();
  intake.setRoom(0);
  const { input, write } = open(intake);
  await write("1\n2\n3\nhalf");
  await intake.refused(1);
  const before = nowMs();
  await input.stop(before + 100);
  assert.ok(nowMs() - before < 2000);
  await until(() => input.counts.waiting === 0);
  assert.deepEqual([intake.messages.length, input.counts.dropped], [0, 3]);
  assert.equal(input.counts.refused, 1);
});
