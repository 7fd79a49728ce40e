/** Where received bytes go, and when they are moved. */
import assert from "node:assert/strict";
import { arena, arenaTaken } from "../../src/mem/arena.ts";
import { RECEIVE_BYTES_BUSY, RECEIVE_BYTES_HANDSHAKE } from "../../src/mem/limits.ts";
import { ReceiveBuffer } from "../../src/mem/receive_buffer.ts";

const SMALL = 100;

/** A buffer that reads have filled until it was as large as those of busy connections. */
function busyBuffer(): ReceiveBuffer {
  const buffer = new ReceiveBuffer();
  assert.ok(buffer.open());
  while (buffer.makeRoom(SMALL) < RECEIVE_BYTES_BUSY) {
    buffer.tail = buffer.end;
    buffer.head = buffer.tail;
  }
  return buffer;
}

Deno.test("a read that fills it makes it grow, the waiting bytes go along", () => {
  const buffer = new ReceiveBuffer();
  assert.ok(buffer.open());
  assert.equal(buffer.makeRoom(SMALL), RECEIVE_BYTES_HANDSHAKE);
  buffer.tail = buffer.end;
  buffer.head = buffer.tail - 7; // the first part of a frame
  arena.bytes.fill(0x5a, buffer.head, buffer.tail);
  assert.equal(buffer.makeRoom(SMALL), 2 * RECEIVE_BYTES_HANDSHAKE - 7);
  assert.equal(buffer.tail - buffer.head, 7);
  assert.ok(arena.bytes.subarray(buffer.head, buffer.tail).every((byte) => byte === 0x5a));
  buffer.close();
});

Deno.test("a large frame is read to its end and no further, a small one to the end of the block", () => {
  const buffer = busyBuffer();
  assert.equal(buffer.makeRoom(70_000), 70_000);
  assert.equal(buffer.readEnd, buffer.tail + 70_000);
  buffer.tail += 30_000;
  assert.equal(buffer.makeRoom(70_000), 40_000);
  assert.equal(buffer.makeRoom(SMALL), RECEIVE_BYTES_BUSY - 30_000);
  assert.equal(buffer.readEnd, buffer.end);
  buffer.close();
});

Deno.test("what is pinned stays, and reading on is worth a wait when the next does not fit", () => {
  const buffer = busyBuffer();
  for (let frames = 0; frames < 3; frames++) {
    assert.equal(buffer.isCramped(70_000), false);
    assert.equal(buffer.makeRoom(70_000), 70_000);
    buffer.tail += 70_000;
    buffer.head = buffer.tail;
    buffer.pinned++;
  }
  assert.equal(buffer.isCramped(70_000), true);
  assert.equal(buffer.isCramped(SMALL), false);
  const { tail } = buffer;
  assert.equal(buffer.makeRoom(70_000), buffer.end - tail); // what fits, when nobody waits
  assert.equal(buffer.tail, tail);
  assert.equal(buffer.blocked, false);
  buffer.tail = buffer.end;
  assert.equal(buffer.makeRoom(70_000), 0);
  assert.equal(buffer.blocked, true);
  for (let frames = 0; frames < 3; frames++) buffer.release();
  assert.equal(buffer.makeRoom(70_000), 70_000 - (RECEIVE_BYTES_BUSY - 210_000));
  buffer.close();
});

Deno.test("it shrinks when it is empty and nothing points into it", () => {
  const start = arenaTaken();
  const buffer = busyBuffer();
  buffer.tail++;
  buffer.shrink();
  assert.equal(arenaTaken() - start, RECEIVE_BYTES_BUSY);
  buffer.head = buffer.tail;
  buffer.pinned++;
  buffer.shrink();
  assert.equal(arenaTaken() - start, RECEIVE_BYTES_BUSY);
  buffer.release();
  buffer.shrink();
  assert.equal(arenaTaken() - start, RECEIVE_BYTES_HANDSHAKE);
  assert.equal(buffer.makeRoom(70_000), RECEIVE_BYTES_HANDSHAKE);
  buffer.close();
  assert.equal(arenaTaken(), start);
});
