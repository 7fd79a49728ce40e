/**
 * Many MPTCP connections at once, each with a byte to and fro, kept until the program is ended.
 *
 *     deno run -A tests/interop/mptcp_crowd.ts listen PORT COUNT
 *     deno run -A tests/interop/mptcp_crowd.ts HOST PORT COUNT
 *
 * @module
 */
import { Poller, Ready } from "../../src/io/epoll.ts";
import { Errno, errnoText } from "../../src/io/errno.ts";
import { IPPROTO_MPTCP } from "../../src/io/mptcp_socket.ts";
import { accept, connectTcp, listenTcp, receive, sendPieces } from "../../src/io/sockets.ts";
import { take } from "../../src/mem/arena.ts";

/** Connections under way at once. */
const BATCH = 64;
const BUFFER_BYTES = 64;

if (import.meta.main) {
  const [host, port, count] = Deno.args as [string, string, string];
  const at = take(BUFFER_BYTES);
  if (host === "listen") answer(Number(port), at);
  else knock(host, Number(port), Number(count), at);
}

/** Answers every byte with one. */
function answer(port: number, at: number): never {
  const poller = new Poller();
  const listener = must(listenTcp("0.0.0.0", port, 4096, IPPROTO_MPTCP));
  must(poller.add(listener, listener, Ready.In));
  say("listening");
  for (;;) {
    const count = poller.wait(-1);
    for (let index = 0; index < count; index++) {
      const fd = poller.ready(index);
      if (fd === listener) {
        for (let peer = accept(listener); peer >= 0; peer = accept(listener)) {
          must(poller.add(peer, peer, Ready.In));
        }
      } else if (receive(fd, at, at + BUFFER_BYTES) > 0) sendByte(fd, at);
      else poller.remove(fd);
    }
  }
}

function knock(host: string, port: number, total: number, at: number): void {
  const poller = new Poller();
  let begun = 0;
  let done = 0;
  const greeted = new Set<number>();
  while (done < total) {
    for (; begun < total && begun - done < BATCH; begun++) {
      const fd = must(connectTcp(host, port, IPPROTO_MPTCP));
      must(poller.add(fd, fd, Ready.Out));
    }
    const count = poller.wait(-1);
    for (let index = 0; index < count; index++) {
      const fd = poller.ready(index);
      if (!greeted.has(fd)) {
        greeted.add(fd);
        sendByte(fd, at);
        must(poller.change(fd, fd, Ready.In));
      } else if (receive(fd, at, at + BUFFER_BYTES) !== -Errno.Eagain) {
        poller.remove(fd);
        done++;
      }
    }
  }
  say("connected");
  setInterval(() => {}, 60_000); // they are kept
}

function sendByte(fd: number, at: number): void {
  must(sendPieces(fd, new Int32Array([at, 1]), 0, 1, 0));
}

function must(result: number): number {
  if (result < 0) throw new Error(errnoText(result));
  return result;
}

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}
