/** What io costs: AES-128-GCM by both roads, and one hop over loopback TCP. */
import { take } from "../src/mem/arena.ts";
import type { AeadMaker } from "../src/wire/msgr2/aead.ts";
import { DenoListener, DenoStream } from "../src/io/deno_stream.ts";
import { Poller, Ready } from "../src/io/epoll.ts";
import { LibcryptoGcm } from "../src/io/libcrypto.ts";
import { NodeGcm } from "../src/io/node_gcm.ts";
import { SocketAddress } from "../src/io/socket_address.ts";
import {
  accept,
  connectTcp,
  listenTcp,
  localAddress,
  receive,
  sendPieces,
  setNoDelay,
} from "../src/io/sockets.ts";

const at = take(256 * 1024);
const key = new Uint8Array(16).fill(3);
const nonce = new Uint8Array(12);

function benchSeal(maker: AeadMaker, road: string, length: number, baseline: boolean): void {
  const sealer = maker.sealer(key);
  Deno.bench({
    name: `${road} seal ${length} B`,
    group: `GCM seal ${length} B`,
    baseline,
    fn(): void {
      sealer.begin(nonce);
      sealer.update(at, at, length);
      sealer.finish(at + length);
    },
  });
}

/** Opening garbage costs what opening does: the tag is compared last. */
function benchOpen(maker: AeadMaker, road: string, length: number, baseline: boolean): void {
  const opener = maker.opener(key);
  Deno.bench({
    name: `${road} open ${length} B`,
    group: `GCM open ${length} B`,
    baseline,
    fn(): void {
      opener.begin(nonce);
      opener.update(at, at, length);
      opener.finish(at + length);
    },
  });
}

for (const length of [96, 4096, 65536]) {
  benchSeal(new LibcryptoGcm(), "libcrypto", length, false);
  benchSeal(new NodeGcm(), "node:crypto", length, true);
}
for (const length of [96, 4096, 65536]) benchOpen(new LibcryptoGcm(), "libcrypto", length, true);

const pieces = Int32Array.of(at, 64);
const address = new SocketAddress();

const listener = listenTcp("127.0.0.1", 0, 1);
localAddress(listener, address);
const left = connectTcp("127.0.0.1", address.port);
const poller = new Poller();
poller.add(listener, 0, Ready.In);
poller.wait(5000);
const right = accept(listener);
poller.remove(listener);
poller.add(right, 1, Ready.In);
setNoDelay(left);

Deno.bench({
  name: "libc: send, wait(0), receive",
  group: "hop of 64 B",
  fn(): void {
    sendPieces(left, pieces, 0, 1, 0);
    while (poller.wait(0) === 0);
    receive(right, at + 4096, at + 8192);
  },
});

const denoListener = DenoListener.listen("127.0.0.1", 0) as DenoListener;
denoListener.localAddress(address);
const near = await DenoStream.connect("127.0.0.1", address.port) as DenoStream;
const far = await denoListener.accept() as DenoStream;
near.setNoDelay();

Deno.bench({
  name: "Deno: write, read",
  group: "hop of 64 B",
  baseline: true,
  async fn(): Promise<void> {
    await near.write(pieces, 0, 1, 0);
    await far.read(at + 4096, at + 8192);
  },
});

Deno.bench({
  name: "wait(0) with nothing ready",
  group: "poller",
  baseline: true,
  fn(): void {
    poller.wait(0);
  },
});

Deno.bench({
  name: "park() ended by wake()",
  group: "poller",
  async fn(): Promise<void> {
    const parked = poller.park(1000);
    poller.wake();
    await parked;
    poller.wait(0);
  },
});
