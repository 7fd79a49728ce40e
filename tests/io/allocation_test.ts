/** What the frame path costs the heap: under 4 bytes per operation. */
import assert from "node:assert/strict";
import { getHeapStatistics } from "node:v8";
import { give, take } from "../../src/mem/arena.ts";
import { Poller, Ready } from "../../src/io/epoll.ts";
import { LibcryptoGcm } from "../../src/io/libcrypto.ts";
import { SocketAddress } from "../../src/io/socket_address.ts";
import {
  accept,
  close,
  connectTcp,
  listenTcp,
  localAddress,
  receive,
  sendPieces,
} from "../../src/io/sockets.ts";

const BATCHES = 3;
/** Many, as V8 itself adds up to 0.7 MB to any measurement. */
const BATCH_ROUNDS = 100_000;
const BYTES_MAX = 4;

/** Bytes ever allocated on the heap; garbage counts too. */
function allocated(): number {
  const statistics = getHeapStatistics() as unknown as Record<string, number>;
  const bytes = statistics["total_allocated_bytes"]; // newer than the types of Deno
  assert.ok(bytes !== undefined && bytes > 0);
  return bytes;
}

/**
 * Bytes of heap per operation, of which one call of `job` makes `operations`: the least of several
 * batches, as the first ones also count what V8 needs to compile it. One boxed number in one of
 * three operations would show as 5.3.
 */
function heapPerOperation(operations: number, job: (round: number) => void): number {
  let least = Infinity;
  for (let batch = 0; batch < BATCHES; batch++) {
    const before = allocated();
    for (let i = 0; i < BATCH_ROUNDS; i++) job(i);
    least = Math.min(least, (allocated() - before) / (BATCH_ROUNDS * operations));
  }
  return least;
}

Deno.test("sendPieces(), wait(0) and receive() allocate nothing", async () => {
  const listener = listenTcp("127.0.0.1", 0, 1);
  const address = new SocketAddress();
  localAddress(listener, address);
  const left = connectTcp("127.0.0.1", address.port);
  const poller = new Poller();
  poller.add(listener, 0, Ready.In);
  assert.equal(poller.wait(5000), 1);
  const right = accept(listener);
  poller.add(right, 9, Ready.In);
  const at = take(8192);
  const pieces = new Int32Array(8);
  let failures = 0;
  const perOperation = heapPerOperation(3, (round) => {
    const offset = at + (round & 1023);
    for (let i = 0; i < 4; i++) {
      pieces[i * 2] = offset + i * 64;
      pieces[i * 2 + 1] = 32;
    }
    if (sendPieces(left, pieces, 0, 4, 7) !== 121) failures++;
    if (poller.wait(0) !== 1 || poller.ready(0) !== 9) failures++;
    if (receive(right, offset + 4096, offset + 4296) !== 121) failures++;
  });
  assert.equal(failures, 0);
  assert.ok(perOperation < BYTES_MAX, `${perOperation} bytes per send, wait or receive`);
  give(at);
  close(left);
  close(right);
  close(listener);
  await poller.close();
});

Deno.test.each([{ length: 96 }, { length: 2049 }])(
  "sealing and opening $length bytes allocate nothing",
  ({ length }) => {
    const maker = new LibcryptoGcm();
    const key = new Uint8Array(16).fill(7);
    const nonce = new Uint8Array(12);
    const sealer = maker.sealer(key);
    const opener = maker.opener(key);
    const at = take(8192);
    let failures = 0;
    const perOperation = heapPerOperation(2, (round) => {
      const from = at + (round & 1023);
      nonce[0] = round;
      sealer.begin(nonce);
      sealer.update(from, from, length);
      sealer.finish(from + length);
      opener.begin(nonce);
      opener.update(from, from, length);
      if (!opener.finish(from + length)) failures++;
    });
    assert.equal(failures, 0);
    assert.ok(perOperation < BYTES_MAX, `${perOperation} bytes per seal or open`);
    give(at);
    sealer.free();
    opener.free();
  },
);
