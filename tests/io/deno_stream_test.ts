/** The fallback road, alone and against a libc socket. */
import assert from "node:assert/strict";
import { arena, give, take } from "../../src/mem/arena.ts";
import { DenoListener, DenoStream } from "../../src/io/deno_stream.ts";
import { Poller, Ready } from "../../src/io/epoll.ts";
import { Errno } from "../../src/io/errno.ts";
import { SocketAddress } from "../../src/io/socket_address.ts";
import { close, connectTcp, receive, sendPieces } from "../../src/io/sockets.ts";

function listen(host: string): { listener: DenoListener; address: SocketAddress } {
  const listener = DenoListener.listen(host, 0);
  assert.ok(listener instanceof DenoListener, `listen ${listener}`);
  const address = new SocketAddress();
  assert.equal(listener.localAddress(address), 0);
  return { listener, address };
}

async function pair(host: string): Promise<{ left: DenoStream; right: DenoStream }> {
  const { listener, address } = listen(host);
  const [left, right] = await Promise.all([
    DenoStream.connect(host, address.port),
    listener.accept(),
  ]);
  listener.close();
  assert.ok(left instanceof DenoStream && right instanceof DenoStream);
  return { left, right };
}

Deno.test.each([{ host: "127.0.0.1" }, { host: "::1" }])(
  "a pair on $host agrees about its addresses, and carries bytes to the end",
  async ({ host }) => {
    const { left, right } = await pair(host);
    left.setNoDelay();
    const ours = new SocketAddress();
    const theirs = new SocketAddress();
    assert.equal(left.localAddress(ours), 0);
    assert.equal(right.peerAddress(theirs), 0);
    assert.equal(ours.toString(), theirs.toString());
    assert.equal(ours.host, host);
    const at = take(4096);
    arena.bytes.set([1, 2, 3, 4, 5, 6], at);
    assert.equal(await left.write(Int32Array.of(0, 0, at, 2, at + 4, 2), 1, 2, 1), 3);
    arena.bytes.fill(0xa5, at + 100, at + 200);
    assert.equal(await right.read(at + 100, at + 102), 2);
    assert.equal(await right.read(at + 102, at + 199), 1);
    assert.deepEqual([...arena.bytes.subarray(at + 100, at + 104)], [2, 5, 6, 0xa5]);
    assert.equal(await left.shutdownWrite(), 0);
    assert.equal(await right.read(at, at + 1), 0);
    left.close();
    right.close();
    give(at);
  },
);

Deno.test("any mix of pieces arrives as it was, also across partial writes", async () => {
  const { left, right } = await pair("127.0.0.1");
  const lengths = [1, 0, 40_000, 3, 70_000, 65_536, 5, 32_767, 32_768, 100, 400_000, 2];
  const total = lengths.reduce((sum, length) => sum + length);
  const from = take(total);
  const to = take(total);
  for (let i = 0; i < total; i++) arena.bytes[from + i] = (i * 31 + (i >> 8)) & 0xff;
  const pieces = new Int32Array(lengths.length * 2);
  lengths.reduce((at, length, i) => {
    pieces.set([at, length], i * 2);
    return at + length;
  }, from);
  const writing = (async () => {
    let first = 0;
    let skip = 0;
    while (first < lengths.length) {
      let sent = await left.write(pieces, first, lengths.length - first, skip);
      assert.ok(sent > 0, `write ${sent}`);
      for (sent += skip; first < lengths.length && sent >= lengths[first]!; first++) {
        sent -= lengths[first]!;
      }
      skip = sent;
    }
    await left.shutdownWrite();
  })();
  let received = 0;
  for (;;) {
    const count = await right.read(to + received, to + total + 1);
    if (count === 0) break;
    assert.ok(count > 0, `read ${count}`);
    received += count;
  }
  await writing;
  assert.equal(received, total);
  assert.deepEqual(arena.bytes.subarray(to, to + total), arena.bytes.subarray(from, from + total));
  left.close();
  right.close();
  give(from);
  give(to);
});

Deno.test("close() ends a read and an accept under way, and may be repeated", async () => {
  const { left, right } = await pair("127.0.0.1");
  const at = take(4096);
  const reading = left.read(at, at + 10);
  left.close();
  left.close();
  assert.equal(await reading, -Errno.Ecanceled);
  assert.equal(await left.read(at, at + 10), -Errno.Ecanceled);
  assert.equal(await left.write(Int32Array.of(at, 1), 0, 1, 0), -Errno.Ecanceled);
  right.close();
  const { listener } = listen("127.0.0.1");
  const accepting = listener.accept();
  listener.close();
  listener.close();
  assert.equal(await accepting, -Errno.Ecanceled);
  assert.equal(await listener.accept(), -Errno.Ecanceled);
  give(at);
});

Deno.test("only one read and one write may be under way", async () => {
  const { left, right } = await pair("127.0.0.1");
  const at = take(4096);
  const reading = left.read(at, at + 10);
  await assert.rejects(left.read(at, at + 10), /one read at a time/);
  const writing = left.write(Int32Array.of(at, 1), 0, 1, 0);
  await assert.rejects(left.write(Int32Array.of(at, 1), 0, 1, 0), /one write at a time/);
  assert.equal(await writing, 1);
  left.close();
  await reading;
  right.close();
  give(at);
});

Deno.test("what cannot be is a negated errno: nobody listens, taken, foreign, bad port", async () => {
  const { listener, address } = listen("127.0.0.1");
  assert.equal(DenoListener.listen("127.0.0.1", address.port), -Errno.Eaddrinuse);
  listener.close();
  assert.equal(await DenoStream.connect("127.0.0.1", address.port), -Errno.Econnrefused);
  assert.equal(DenoListener.listen("192.0.2.1", 0), -Errno.Eaddrnotavail);
  assert.equal(await DenoStream.connect("127.0.0.1", 65536), -Errno.Einval);
  assert.equal(DenoListener.listen("127.0.0.1", -1), -Errno.Einval);
});

Deno.test("a libc socket and a DenoStream understand each other", async () => {
  const { listener, address } = listen("127.0.0.1");
  const fd = connectTcp("127.0.0.1", address.port);
  const stream = await listener.accept();
  listener.close();
  assert.ok(stream instanceof DenoStream);
  const at = take(4096);
  arena.bytes.set([7, 8, 9], at);
  const poller = new Poller();
  poller.add(fd, 0, Ready.In);
  assert.equal(sendPieces(fd, Int32Array.of(at, 3), 0, 1, 0), 3);
  assert.equal(await stream.read(at + 10, at + 20), 3);
  assert.equal(await stream.write(Int32Array.of(at + 10, 3), 0, 1, 0), 3);
  assert.equal(poller.wait(5000), 1);
  assert.equal(receive(fd, at + 20, at + 30), 3);
  assert.deepEqual([...arena.bytes.subarray(at + 20, at + 23)], [7, 8, 9]);
  close(fd);
  assert.equal(await stream.read(at, at + 1), 0);
  stream.close();
  await poller.close();
  give(at);
});
