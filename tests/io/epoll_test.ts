/** Readiness and the parked wait, over eventfd and loopback sockets. */
import assert from "node:assert/strict";
import { arena, give, take } from "../../src/mem/arena.ts";
import { Poller, Ready } from "../../src/io/epoll.ts";
import { Errno } from "../../src/io/errno.ts";
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

/** Long enough that a test which waits for it out has failed. */
const LONG_MS = 60_000;

function listen(): { listener: number; port: number } {
  const listener = listenTcp("127.0.0.1", 0, 8);
  const address = new SocketAddress();
  assert.equal(localAddress(listener, address), 0);
  return { listener, port: address.port };
}

Deno.test("wait() reports ids and events, and follows change() and remove()", async () => {
  const poller = new Poller();
  const { listener, port } = listen();
  assert.equal(poller.add(listener, 0x7ffffffe, Ready.In), 0);
  assert.equal(poller.add(listener, 5, Ready.In), -17); // EEXIST
  assert.equal(poller.wait(0), 0);
  const left = connectTcp("127.0.0.1", port);
  assert.equal(poller.wait(LONG_MS), 1);
  assert.equal(poller.ready(0), 0x7ffffffe);
  assert.equal(poller.events(0), Ready.In);
  assert.equal(poller.change(listener, 7, Ready.In), 0);
  assert.equal(poller.wait(0), 1); // level-triggered
  assert.equal(poller.ready(0), 7);
  const right = accept(listener);
  assert.equal(poller.remove(listener), 0);
  assert.equal(poller.remove(listener), -2); // ENOENT
  assert.equal(poller.add(left, 0, Ready.In | Ready.Out), 0);
  assert.equal(poller.add(right, 1, Ready.In), 0);
  assert.equal(poller.wait(LONG_MS), 1);
  assert.equal(poller.events(0), Ready.Out);
  close(right); // also ends its watching
  assert.equal(poller.change(left, 0, Ready.In | Ready.PeerClosed), 0);
  assert.equal(poller.wait(LONG_MS), 1);
  assert.ok(poller.events(0) & Ready.PeerClosed);
  close(left);
  close(listener);
  await poller.close();
});

Deno.test("wait() takes no more than its capacity, and the rest next time", async () => {
  const poller = new Poller(2);
  const { listener, port } = listen();
  const ends = [0, 1, 2].map(() => connectTcp("127.0.0.1", port));
  ends.forEach((fd, id) => assert.equal(poller.add(fd, id, Ready.Out | Ready.Edge), 0));
  const seen = new Set<number>();
  while (seen.size < 3) {
    const count = poller.wait(LONG_MS);
    assert.ok(count === 1 || count === 2);
    for (let i = 0; i < count; i++) seen.add(poller.ready(i));
  }
  ends.forEach((fd) => close(fd));
  close(listener);
  await poller.close();
});

Deno.test("park() ends when a descriptor becomes ready, and takes no edge away", async () => {
  const poller = new Poller();
  const { listener, port } = listen();
  poller.add(listener, 3, Ready.In | Ready.Edge);
  const parked = poller.park(LONG_MS);
  assert.ok(poller.parked);
  const left = connectTcp("127.0.0.1", port);
  await parked;
  assert.ok(!poller.parked);
  assert.equal(poller.wait(0), 1);
  assert.equal(poller.ready(0), 3);
  assert.equal(poller.wait(0), 0);
  close(left);
  close(listener);
  await poller.close();
});

Deno.test("park() ends at its timeout, and at once when that has passed", async () => {
  const poller = new Poller();
  await poller.park(1);
  await poller.park(0.2);
  await poller.park(-5);
  assert.equal(poller.wait(0), 0);
  await poller.close();
});

Deno.test("wake() ends a parked wait and is nobody's event", async () => {
  const poller = new Poller();
  const parked = poller.park(Infinity);
  poller.wake();
  poller.wake();
  await parked;
  assert.equal(poller.wait(0), 0);
  const again = poller.park(Infinity);
  poller.wake();
  await again;
  await poller.close();
});

Deno.test("wake() before park() ends that park at once, and only that one", async () => {
  const poller = new Poller();
  poller.wake();
  await poller.park(Infinity);
  assert.equal(poller.wait(0), 0);
  const parked = poller.park(Infinity);
  assert.ok(poller.parked);
  poller.wake();
  await parked;
  await poller.close();
});

Deno.test("a second park() ends the first and shares its promise", async () => {
  const poller = new Poller();
  const first = poller.park(Infinity);
  const second = poller.park(Infinity);
  assert.equal(first, second);
  await second;
  await poller.close();
});

Deno.test("close() ends a parked wait and gives every descriptor back", async () => {
  const before = listen();
  for (let i = 0; i < 200; i++) {
    const poller = new Poller();
    const parked = poller.park(Infinity);
    await Promise.all([poller.close(), parked]);
    await poller.close();
    assert.throws(() => poller.wait(0), /closed poller/);
  }
  const after = listen();
  assert.ok(after.listener < before.listener + 200); // 400 were open, other tests take some too
  close(before.listener);
  close(after.listener);
});

Deno.test("a loop of wait(0) and park() echoes a stream", async () => {
  const poller = new Poller();
  const { listener, port } = listen();
  poller.add(listener, 0, Ready.In);
  const client = connectTcp("127.0.0.1", port);
  poller.add(client, 1, Ready.In);
  const at = take(8192);
  const pieces = Int32Array.of(at, 1);
  let server = -1;
  let hops = 0;
  while (hops < 200) {
    const count = poller.wait(0);
    if (count === 0) await poller.park(LONG_MS);
    for (let i = 0; i < count; i++) {
      if (poller.ready(i) === 0) {
        server = accept(listener);
        poller.add(server, 2, Ready.In);
        assert.equal(sendPieces(server, pieces, 0, 1, 0), 1);
        continue;
      }
      const fd = poller.ready(i) === 1 ? client : server;
      assert.equal(receive(fd, at + 4096, at + 8192), 1);
      arena.bytes[at] = arena.bytes[at + 4096]! + 1;
      assert.equal(sendPieces(fd, pieces, 0, 1, 0), 1);
      hops++;
    }
  }
  assert.equal(arena.bytes[at], 200);
  give(at);
  close(client);
  close(server);
  close(listener);
  await poller.close();
});

Deno.test("adding what is no descriptor is EBADF", async () => {
  const poller = new Poller();
  assert.equal(poller.add(0x7fffffff, 0, Ready.In), -Errno.Ebadf);
  await poller.close();
});
