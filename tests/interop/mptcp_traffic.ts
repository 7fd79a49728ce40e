/**
 * Steady traffic over one MPTCP connection: 1 KB every 5 ms, in one direction. The receiver prints a
 * line of JSON at its end: `{"messages":600,"bytes":600000,"gapMs":7.1,"mptcp":true}`.
 *
 *     deno run -A tests/interop/mptcp_traffic.ts listen HOST PORT send|receive SECONDS
 *     deno run -A tests/interop/mptcp_traffic.ts connect HOST PORT send|receive SECONDS
 *
 * It prints `listening`, then `established` when bytes have gone both ways: before, the kernel does
 * not let a client join. It blocks its thread in epoll_wait(2), so that no timer of an event loop is
 * measured.
 *
 * @module
 */
import { Poller, Ready } from "../../src/io/epoll.ts";
import { Errno, errnoText } from "../../src/io/errno.ts";
import { IPPROTO_MPTCP, mptcpToken } from "../../src/io/mptcp_socket.ts";
import {
  accept,
  close,
  connectTcp,
  listenTcp,
  receive,
  sendPieces,
  setNoDelay,
  Shutdown,
  shutdown,
  socketError,
} from "../../src/io/sockets.ts";
import { arena, give, take } from "../../src/mem/arena.ts";

/** What a receiver prints at its end. */
export interface TrafficReport {
  /** Whole messages. */
  readonly messages: number;
  readonly bytes: number;
  /** The longest time without a byte between the first and the last. */
  readonly gapMs: number;
  /** False when the kernel fell back to TCP. */
  readonly mptcp: boolean;
}

const MESSAGE_BYTES = 1000;
const INTERVAL_MS = 5;
const BUFFER_BYTES = 64 * 1024;
/** For the peer to come, and for it to end. */
const WAIT_MS = 30_000;

if (import.meta.main) await main(Deno.args);

async function main(words: string[]): Promise<void> {
  const [role, host, port, direction, seconds] = words;
  const isRight = (role === "listen" || role === "connect") && host !== undefined &&
    Number(port) > 0 && (direction === "send" || direction === "receive") && Number(seconds) > 0;
  if (!isRight) {
    throw new Error("Usage: mptcp_traffic.ts listen|connect HOST PORT send|receive SECONDS");
  }
  const poller = new Poller(1);
  const at = take(BUFFER_BYTES);
  // It is kept: the kernel takes joins only where somebody listens.
  const listener = role === "listen" ? open(host, Number(port)) : -1;
  const fd = role === "listen"
    ? acceptOne(poller, listener)
    : connectOne(poller, host, Number(port));
  must("send at once", setNoDelay(fd));
  must("watch", poller.add(fd, 0, Ready.In));
  greet(poller, fd, at);
  if (direction === "send") sendFor(poller, fd, at, Number(seconds) * 1000);
  else say(JSON.stringify(receiveAll(poller, fd, at)));
  poller.remove(fd);
  close(fd);
  if (listener >= 0) close(listener);
  give(at);
  await poller.close();
}

function open(host: string, port: number): number {
  const listener = must("listen", listenTcp(host, port, 8, IPPROTO_MPTCP));
  say("listening");
  return listener;
}

function acceptOne(poller: Poller, listener: number): number {
  must("watch", poller.add(listener, 0, Ready.In));
  wait(poller, "a connection");
  poller.remove(listener);
  return must("accept", accept(listener));
}

function connectOne(poller: Poller, host: string, port: number): number {
  const fd = must("connect", connectTcp(host, port, IPPROTO_MPTCP));
  must("watch", poller.add(fd, 0, Ready.Out));
  wait(poller, "the connection");
  must("connect", socketError(fd));
  poller.remove(fd);
  return fd;
}

/** A byte each way. */
function greet(poller: Poller, fd: number, at: number): void {
  must("greet", sendPieces(fd, new Int32Array([at, 1]), 0, 1, 0));
  wait(poller, "the greeting");
  must("read the greeting", receive(fd, at, at + 1));
  say("established");
}

function sendFor(poller: Poller, fd: number, at: number, ms: number): void {
  const message = new Int32Array([at, MESSAGE_BYTES]);
  arena.bytes.fill(0x2e, at, at + MESSAGE_BYTES);
  const start = performance.now();
  /** Of the message that the socket took in part. */
  let skip = 0;
  for (let next = start; next < start + ms; next += INTERVAL_MS) {
    const left = next - performance.now();
    // Nothing is to be read: it ends early only when the peer is gone.
    if (left > 0) poller.wait(Math.round(left));
    const count = sendPieces(fd, message, 0, 1, skip);
    if (count === -Errno.Eagain) continue;
    skip = (skip + must("send", count)) % MESSAGE_BYTES;
  }
  must("end", shutdown(fd, Shutdown.Write));
  wait(poller, "the end of the receiver");
}

function receiveAll(poller: Poller, fd: number, at: number): TrafficReport {
  const mptcp = mptcpToken(fd) !== 0;
  let bytes = 0;
  let gapMs = 0;
  let last = 0;
  while (true) {
    wait(poller, "data");
    const count = receive(fd, at, at + BUFFER_BYTES);
    if (count === -Errno.Eagain) continue;
    if (must("receive", count) === 0) break;
    const now = performance.now();
    if (last > 0) gapMs = Math.max(gapMs, now - last);
    last = now;
    bytes += count;
  }
  return { messages: Math.floor(bytes / MESSAGE_BYTES), bytes, gapMs, mptcp };
}

function wait(poller: Poller, what: string): void {
  const deadline = performance.now() + WAIT_MS;
  while (poller.wait(Math.max(1, Math.ceil(deadline - performance.now()))) <= 0) {
    if (performance.now() >= deadline) throw new Error(`Cannot wait for ${what}: ${WAIT_MS} ms`);
  }
}

function must(what: string, result: number): number {
  if (result < 0) throw new Error(`Cannot ${what}: ${errnoText(result)}`);
  return result;
}

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}
