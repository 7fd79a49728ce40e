/** Sockets and readiness over real loopback TCP. */
import assert from "node:assert/strict";
import { arena, give, take } from "../../src/mem/arena.ts";
import { GATHER_PIECES_MAX } from "../../src/mem/limits.ts";
import { Poller, Ready } from "../../src/io/epoll.ts";
import { Errno } from "../../src/io/errno.ts";
import { SocketAddress } from "../../src/io/socket_address.ts";
import { Family } from "../../src/wire/inet.ts";
import {
  accept,
  close,
  connectTcp,
  listenTcp,
  localAddress,
  peerAddress,
  receive,
  sendPieces,
  setNoDelay,
  setReceiveBuffer,
  Shutdown,
  shutdown,
  socketError,
} from "../../src/io/sockets.ts";

/** A connected pair; `buffers` sets both socket buffers before connecting. */
function pair(host: string, buffers = 0): { left: number; right: number; port: number } {
  const listener = listenTcp(host, 0, 8);
  assert.ok(listener >= 0, `listen ${listener}`);
  if (buffers > 0) assert.equal(setReceiveBuffer(listener, buffers), 0);
  const address = new SocketAddress();
  assert.equal(localAddress(listener, address), 0);
  const left = connectTcp(host, address.port);
  assert.ok(left >= 0, `connect ${left}`);
  waitFor(listener, Ready.In);
  const right = accept(listener);
  assert.ok(right >= 0, `accept ${right}`);
  waitFor(left, Ready.Out);
  assert.equal(socketError(left), 0);
  assert.equal(setNoDelay(left), 0);
  assert.equal(close(listener), 0);
  return { left, right, port: address.port };
}

function waitFor(fd: number, events: number): number {
  const poller = new Poller(1);
  assert.equal(poller.add(fd, 0, events), 0);
  assert.equal(poller.wait(5000), 1, "nothing became ready in 5 s");
  const ready = poller.events(0);
  poller.close();
  return ready;
}

function withMemory(bytes: number, job: (at: number) => void): void {
  const at = take(bytes);
  assert.ok(at >= 0);
  try {
    job(at);
  } finally {
    give(at);
  }
}

function fillPattern(at: number, bytes: number, seed: number): void {
  for (let i = 0; i < bytes; i++) arena.bytes[at + i] = (i * 31 + (i >> 8) * 7 + seed) & 0xff;
}

Deno.test.each([
  { host: "127.0.0.1", family: Family.Inet },
  { host: "::1", family: Family.Inet6 },
])("bytes and addresses cross a connection on $host", ({ host, family }) => {
  const { left, right, port } = pair(host);
  const ours = new SocketAddress();
  const theirs = new SocketAddress();
  assert.equal(localAddress(right, ours), 0);
  assert.deepEqual([ours.family, ours.host, ours.port, ours.scope], [family, host, port, 0]);
  assert.equal(peerAddress(right, theirs), 0);
  assert.equal(localAddress(left, ours), 0);
  assert.equal(theirs.toString(), ours.toString());
  withMemory(8192, (at) => {
    assert.equal(receive(right, at, at + 8192), -Errno.Eagain);
    arena.bytes.set([1, 2, 3, 4, 5], at);
    assert.equal(sendPieces(left, Int32Array.of(at + 1, 3), 0, 1, 0), 3);
    waitFor(right, Ready.In);
    assert.equal(receive(right, at + 4096, at + 8192), 3);
    assert.deepEqual([...arena.bytes.subarray(at + 4096, at + 4099)], [2, 3, 4]);
  });
  close(left);
  close(right);
});

Deno.test("receive() fills no more than it was given", () => {
  const { left, right } = pair("127.0.0.1");
  withMemory(4096, (at) => {
    arena.bytes.fill(0xa5, at, at + 4096);
    arena.bytes.fill(1, at, at + 100);
    assert.equal(sendPieces(left, Int32Array.of(at, 100), 0, 1, 0), 100);
    waitFor(right, Ready.In);
    assert.equal(receive(right, at + 1000, at + 1060), 60);
    assert.equal(arena.bytes[at + 999], 0xa5);
    assert.equal(arena.bytes[at + 1060], 0xa5);
    assert.equal(receive(right, at + 1060, at + 2000), 40);
    assert.equal(arena.bytes[at + 1100], 0xa5);
  });
  close(left);
  close(right);
});

Deno.test("the end of the stream is 0, once the bytes before it are read", () => {
  const { left, right } = pair("127.0.0.1");
  withMemory(4096, (at) => {
    assert.equal(sendPieces(left, Int32Array.of(at, 10), 0, 1, 0), 10);
    assert.equal(shutdown(left, Shutdown.Write), 0);
    assert.ok(waitFor(right, Ready.In | Ready.PeerClosed) & Ready.In);
    assert.equal(receive(right, at, at + 4096), 10);
    assert.ok(waitFor(right, Ready.In | Ready.PeerClosed) & Ready.PeerClosed);
    assert.equal(receive(right, at, at + 4096), 0);
  });
  close(left);
  close(right);
});

Deno.test("sending to a closed peer is an errno, not a signal", () => {
  const { left, right } = pair("127.0.0.1");
  close(right);
  withMemory(4096, (at) => {
    const pieces = Int32Array.of(at, 1);
    let result = sendPieces(left, pieces, 0, 1, 0);
    for (let turn = 0; result >= 0 && turn < 100; turn++) {
      waitFor(left, Ready.In);
      result = sendPieces(left, pieces, 0, 1, 0);
    }
    assert.equal(result, -Errno.Epipe);
  });
  close(left);
});

Deno.test.each([{ host: "127.0.0.1" }, { host: "::1" }])(
  "connecting where nobody listens on $host is ECONNREFUSED",
  ({ host }) => {
    const listener = listenTcp(host, 0, 1);
    const address = new SocketAddress();
    localAddress(listener, address);
    close(listener);
    const fd = connectTcp(host, address.port);
    if (fd >= 0) {
      assert.ok(waitFor(fd, Ready.Out) & Ready.Error);
      assert.equal(socketError(fd), -Errno.Econnrefused);
      assert.equal(socketError(fd), 0);
      close(fd);
    } else {
      assert.equal(fd, -Errno.Econnrefused);
    }
  },
);

/** No process has as many descriptors; a closed one could be another test's by now. */
const NO_FD = 0x7fffffff;

Deno.test("a taken address, a foreign address, a name and a bad port are refused", () => {
  const listener = listenTcp("127.0.0.1", 0, 1);
  const address = new SocketAddress();
  localAddress(listener, address);
  assert.equal(listenTcp("127.0.0.1", address.port, 1), -Errno.Eaddrinuse);
  assert.equal(listenTcp("192.0.2.1", 0, 1), -Errno.Eaddrnotavail);
  assert.equal(listenTcp("localhost", 0, 1), -Errno.Einval);
  assert.equal(connectTcp("127.0.0.1", 65536), -Errno.Einval);
  assert.equal(connectTcp("fe80::1%no-such-interface", 1), -Errno.Einval);
  assert.equal(accept(listener), -Errno.Eagain);
  assert.equal(peerAddress(listener, address), -Errno.Enotconn);
  assert.equal(accept(NO_FD), -Errno.Ebadf);
  assert.equal(close(NO_FD), -Errno.Ebadf);
  close(listener);
});

Deno.test("what is refused leaks no descriptor", () => {
  const first = listenTcp("127.0.0.1", 0, 1);
  for (let i = 0; i < 500; i++) assert.equal(listenTcp("192.0.2.1", 0, 1), -Errno.Eaddrnotavail);
  const last = listenTcp("127.0.0.1", 0, 1);
  assert.ok(last < first + 250, `descriptor ${last} after ${first}`); // other tests take some too
  close(first);
  close(last);
});

Deno.test("a zone may be an interface's name", () => {
  const result = connectTcp("::1%lo", 9);
  assert.notEqual(result, -Errno.Einval);
  if (result >= 0) close(result);
});

Deno.test("a gathering send goes on from where a small buffer stopped it", () => {
  const { left, right } = pair("127.0.0.1", 4096);
  const count = 40;
  const size = 250_003; // ten megabytes in all: more than the kernel takes at once
  withMemory(count * size, (from) =>
    withMemory(count * size, (to) => {
      fillPattern(from, count * size, 9);
      const pieces = new Int32Array(count * 2);
      for (let i = 0; i < count; i++) pieces.set([from + i * size, size], i * 2);
      const poller = new Poller();
      poller.add(left, 1, Ready.Out);
      poller.add(right, 2, Ready.In);
      let first = 0;
      let skip = 0;
      let received = 0;
      let partial = 0;
      while (received < count * size) {
        const ready = poller.wait(5000);
        assert.ok(ready > 0);
        for (let i = 0; i < ready; i++) {
          if (poller.ready(i) === 2) {
            const got = receive(right, to + received, to + count * size);
            assert.ok(got > 0 || got === -Errno.Eagain, `receive ${got}`);
            if (got > 0) received += got;
            continue;
          }
          let sent = sendPieces(left, pieces, first, count - first, skip);
          if (sent === -Errno.Eagain) continue;
          assert.ok(sent > 0, `send ${sent}`);
          if (sent < (count - first) * size - skip) partial++;
          for (sent += skip; first < count && sent >= size; sent -= size) first++;
          skip = sent;
          if (first === count) poller.remove(left);
        }
      }
      assert.ok(partial > 0, "the small buffer never stopped a send");
      assert.deepEqual(
        arena.bytes.subarray(to, to + count * size),
        arena.bytes.subarray(from, from + count * size),
      );
      poller.close();
    }));
  close(left);
  close(right);
});

Deno.test("a send takes GATHER_PIECES_MAX pieces at most", () => {
  const { left, right } = pair("127.0.0.1");
  withMemory(4096, (at) => {
    const pieces = new Int32Array((GATHER_PIECES_MAX + 10) * 2);
    for (let i = 0; i < GATHER_PIECES_MAX + 10; i++) pieces.set([at + i, i % 2], i * 2);
    assert.equal(sendPieces(left, pieces, 3, GATHER_PIECES_MAX + 7, 0), GATHER_PIECES_MAX / 2);
  });
  close(left);
  close(right);
});
