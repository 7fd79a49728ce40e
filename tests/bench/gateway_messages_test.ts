/** Numbered messages: how they are written, and how those that arrive are held against those sent. */
import assert from "node:assert/strict";
import {
  addFileFrom,
  Ledger,
  MESSAGE_SIZE_MIN,
  Tally,
  tallyFile,
  writeMessage,
} from "../../bench/peers/gateway_messages.ts";

const SIZE = 14;
const decoder = new TextDecoder();
const encoder = new TextEncoder();

function line(source: string, id: number): string {
  const bytes = new Uint8Array(SIZE);
  assert.equal(writeMessage(bytes, 0, source, id, SIZE), SIZE);
  return `${decoder.decode(bytes)}\n`;
}

function tallyOf(...texts: readonly string[]): Tally {
  const tally = new Tally(SIZE);
  for (const text of texts) tally.take(encoder.encode(text));
  return tally;
}

Deno.test("writeMessage() writes a letter, ten digits and filling, and nothing beside", () => {
  const bytes = new Uint8Array(20).fill(0xa5);
  assert.equal(writeMessage(bytes, 2, "m", 1234567890, SIZE), 2 + SIZE);
  assert.equal(decoder.decode(bytes.subarray(2, 2 + SIZE)), "m1234567890xxx");
  assert.deepEqual([...bytes.subarray(0, 2), ...bytes.subarray(2 + SIZE)], Array(6).fill(0xa5));
  assert.equal(line("h", 7), "h0000000007xxx\n");
  const shortest = new Uint8Array(MESSAGE_SIZE_MIN);
  assert.equal(writeMessage(shortest, 0, "l", 0, MESSAGE_SIZE_MIN), MESSAGE_SIZE_MIN);
  assert.equal(decoder.decode(shortest), "l0000000000");
});

Deno.test("Ledger gives each identifier once and remembers what was acknowledged", () => {
  const ledger = new Ledger("m");
  assert.equal(ledger.begin(3), 0);
  assert.equal(ledger.begin(2), 3);
  ledger.acknowledge(4);
  ledger.acknowledge(1);
  ledger.acknowledge(1);
  assert.deepEqual([ledger.sent, ledger.acknowledged, ledger.last], [5, 2, 4]);
  assert.deepEqual([...ledger.bytes()], [0, 1, 0, 0, 1]);
  assert.throws(() => ledger.acknowledge(5), /never sent/);
  assert.equal(ledger.begin(100_000), 5);
  ledger.acknowledge(100_004);
  assert.equal(ledger.bytes().reduce((sum, byte) => sum + byte), 3);
});

Deno.test("Tally counts the same whatever the pieces", () => {
  const text = line("m", 0) + line("m", 1) + "torn\n" + line("h", 0) + line("m", 1) + line("m", 3) +
    line("m", 2);
  const expected = { count: 4, doubled: 1, disordered: 1, last: 3 };
  for (let split = 0; split <= text.length; split++) {
    for (const second of [split, Math.min(split + 1, text.length), text.length]) {
      const pieces = [text.slice(0, split), text.slice(split, second), text.slice(second)];
      const tally = tallyOf(...pieces);
      assert.deepEqual(tally.of("m"), expected);
      assert.deepEqual(tally.of("h"), { count: 1, doubled: 0, disordered: 0, last: 0 });
      assert.equal(tally.foreign, 1);
    }
  }
});

Deno.test("what was sent again as a run is doubled, and not out of order", () => {
  const tally = tallyOf(...[0, 1, 2, 1, 2, 3].map((id) => line("m", id)));
  assert.deepEqual(tally.of("m"), { count: 4, doubled: 2, disordered: 0, last: 3 });
});

Deno.test("lost is what was acknowledged and has not arrived, whole", () => {
  const tally = tallyOf(line("m", 0), line("m", 3), line("h", 1), line("m", 1).slice(0, -1));
  assert.equal(tally.lost("m", new Uint8Array([1, 0, 0, 1])), 0);
  assert.equal(tally.lost("m", new Uint8Array([1, 1, 0, 1])), 1, "a line without its end");
  assert.equal(tally.lost("m", new Uint8Array([1, 0, 1, 1, 1])), 2);
  assert.equal(tally.lost("x", new Uint8Array([1, 1])), 2);
});

Deno.test("lines of another size, or without digits, are foreign", () => {
  const tally = tallyOf(
    "\n",
    "m0000000001xx\n",
    "m00000000o1xxx\n",
    "m9999999999xxx\n",
    line("m", 1),
  );
  assert.equal(tally.foreign, 4);
  assert.equal(tally.of("m").count, 1);
});

Deno.test("a file is counted whole, or from where it was left", async () => {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, line("m", 0) + line("m", 1).slice(0, 5));
    const tally = new Tally(SIZE);
    const offset = await addFileFrom(tally, path, 0);
    assert.equal(offset, SIZE + 1 + 5);
    assert.equal(tally.of("m").count, 1);
    await Deno.writeTextFile(path, line("m", 1).slice(5), { append: true });
    assert.equal(await addFileFrom(tally, path, offset), 2 * (SIZE + 1));
    assert.deepEqual(tally.of("m"), (await tallyFile(path, SIZE)).of("m"));
    assert.equal(tally.of("m").count, 2);
  } finally {
    await Deno.remove(path);
  }
  assert.equal((await tallyFile(path, SIZE)).of("m").count, 0, "a file that is not there");
});
