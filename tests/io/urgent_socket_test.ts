/** Urgent data over real loopback TCP: marks in line, bytes taken out, counts of the kernel. */
import assert from "node:assert/strict";
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
  Shutdown,
  shutdown,
} from "../../src/io/sockets.ts";
import {
  atMark,
  bytesReceived,
  READY_URGENT,
  SendFlag,
  sendFlagged,
  setUrgentInline,
  standardUrgent,
} from "../../src/io/urgent_socket.ts";
import { arena, give, take } from "../../src/mem/arena.ts";

/** No process has as many descriptors. */
const NO_FD = 0x7fffffff;
/** Marks stand one byte later where the machine is set so. */
const SHIFT = standardUrgent() ? 1 : 0;

/** A connection whose `right` end keeps urgent bytes in line, or not. */
class Pair implements Disposable {
  readonly left: number;
  readonly right: number;
  readonly #at = take(4096);

  constructor(inline: boolean) {
    const listener = listenTcp("127.0.0.1", 0, 8);
    if (inline) assert.equal(setUrgentInline(listener), 0);
    const address = new SocketAddress();
    localAddress(listener, address);
    this.left = connectTcp("127.0.0.1", address.port);
    wait(listener, Ready.In);
    this.right = accept(listener);
    assert.ok(this.left >= 0 && this.right >= 0);
    close(listener);
    wait(this.left, Ready.Out);
  }

  send(text: string, flags: number): void {
    arena.bytes.set(new TextEncoder().encode(text), this.#at);
    assert.equal(sendFlagged(this.left, this.#at, this.#at + text.length, flags), text.length);
  }

  /** What one read gives; empty when there is nothing. */
  read(): string {
    const count = receive(this.right, this.#at + 1024, this.#at + 4096);
    if (count === -Errno.Eagain) return "";
    assert.ok(count >= 0, `${count}`);
    return new TextDecoder().decode(arena.bytes.slice(this.#at + 1024, this.#at + 1024 + count));
  }

  /** Waits until so many bytes in all have arrived. */
  async arrived(bytes: number): Promise<void> {
    const deadline = performance.now() + 5000;
    while (bytesReceived(this.right) < bytes) {
      assert.ok(performance.now() < deadline, `${bytesReceived(this.right)} of ${bytes} bytes`);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  [Symbol.dispose](): void {
    close(this.left);
    close(this.right);
    give(this.#at);
  }
}

function wait(fd: number, events: number): number {
  const poller = new Poller(1);
  assert.equal(poller.add(fd, 0, events), 0);
  assert.equal(poller.wait(5000), 1, "nothing became ready in 5 s");
  const ready = poller.events(0);
  poller.close();
  return ready;
}

Deno.test("in line, a read stops at the mark, and the mark is told there only", async () => {
  using pair = new Pair(true);
  pair.send("before", SendFlag.None);
  pair.send("X", SendFlag.Urgent);
  pair.send("after", SendFlag.None);
  await pair.arrived(12);
  assert.equal(atMark(pair.right), 0);
  assert.ok((wait(pair.right, READY_URGENT) & READY_URGENT) !== 0);
  assert.equal(pair.read(), SHIFT === 0 ? "before" : "beforeX");
  assert.equal(atMark(pair.right), 1);
  assert.equal(pair.read(), SHIFT === 0 ? "Xafter" : "after");
  assert.equal(atMark(pair.right), 0);
  assert.equal(pair.read(), "");
});

Deno.test("a new mark takes the place of an old one, and no byte is lost in line", async () => {
  using pair = new Pair(true);
  for (const text of ["1one", "2two", "3three"]) {
    pair.send(text.slice(0, 1), SendFlag.Urgent);
    pair.send(text.slice(1), SendFlag.None);
  }
  await pair.arrived(14);
  assert.equal(pair.read(), SHIFT === 0 ? "1one2two" : "1one2two3");
  assert.equal(atMark(pair.right), 1);
  assert.equal(pair.read(), SHIFT === 0 ? "3three" : "three");
});

Deno.test("a whole message that is marked has the mark at its last byte", async () => {
  using pair = new Pair(true);
  pair.send("first message", SendFlag.Urgent);
  await pair.arrived(13);
  if (SHIFT === 0) {
    assert.equal(pair.read(), "first messag");
    assert.equal(atMark(pair.right), 1);
    assert.equal(pair.read(), "e");
  } else {
    assert.equal(pair.read(), "first message");
    assert.equal(atMark(pair.right), 1);
  }
});

Deno.test("out of line, the urgent byte is gone from the stream, and the kernel counts it", async () => {
  using pair = new Pair(false);
  pair.send("before", SendFlag.None);
  pair.send("X", SendFlag.Urgent);
  pair.send("after", SendFlag.None);
  await pair.arrived(12);
  let text = "";
  for (let part = pair.read(); part !== ""; part = pair.read()) text += part;
  assert.equal(text, SHIFT === 0 ? "beforeafter" : "beforeXfter");
  assert.equal(bytesReceived(pair.right), 12);
  shutdown(pair.left, Shutdown.Write);
  await pair.arrived(13); // the end counts as one
  assert.equal(bytesReceived(pair.right), 13);
});

Deno.test("with more to come, a marked byte waits for the rest", async () => {
  using pair = new Pair(true);
  pair.send("1", SendFlag.Urgent | SendFlag.More);
  pair.send("one", SendFlag.None);
  await pair.arrived(4);
  if (SHIFT === 0) assert.equal(atMark(pair.right), 1);
  let text = "";
  for (let part = pair.read(); part !== ""; part = pair.read()) text += part;
  assert.equal(text, "1one");
});

Deno.test("what is no socket is told", () => {
  const at = take(4096);
  assert.equal(sendFlagged(NO_FD, at, at + 1, SendFlag.Urgent), -Errno.Ebadf);
  assert.equal(setUrgentInline(NO_FD), -Errno.Ebadf);
  assert.equal(atMark(NO_FD), -Errno.Ebadf);
  assert.equal(bytesReceived(NO_FD), -Errno.Ebadf);
  give(at);
});
