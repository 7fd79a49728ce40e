/**
 * What loopback TCP leaves room for: one process sends blocks as fast as the kernel takes them,
 * the other receives each and computes its CRC-32C. No frames, no sessions, no replies: a session
 * that checks what it receives cannot be faster than this. Run as `receive SIZE COUNT`, it starts
 * its sender, and prints blocks a second and microseconds of CPU that a block took of the receiver.
 *
 * @module
 */
import process from "node:process";
import { Errno, errnoText } from "../../src/io/errno.ts";
import { yieldProcessor } from "../../src/io/epoll.ts";
import { SocketAddress } from "../../src/io/socket_address.ts";
import {
  accept,
  connectTcp,
  listenTcp,
  localAddress,
  receive,
  sendPieces,
} from "../../src/io/sockets.ts";
import { printLine } from "../../src/app/terminal.ts";
import { arena, take } from "../../src/mem/arena.ts";
import { crc32cRaw } from "../../src/wire/crc32c.ts";
import { must } from "../../tests/interop/processes.ts";

const HOST = "127.0.0.1";
const SELF = new URL(import.meta.url).pathname;
const DEADLINE_MS = 60_000;

/** What a run came to. */
export interface BareFigures {
  perSecond: number;
  /** Of the receiver alone. */
  cpuMicroseconds: number;
}

/** One run, in processes of its own. */
export async function runBareStream(size: number, count: number): Promise<BareFigures> {
  const words = ["run", "-A", SELF, "receive", `${size}`, `${count}`];
  return JSON.parse(await must([Deno.execPath(), ...words], { deadlineMs: DEADLINE_MS }));
}

if (import.meta.main) {
  const [what, ...numbers] = Deno.args;
  const [size, count, port] = numbers.map(Number) as [number, number, number];
  if (what === "receive") await receiveBlocks(size, count);
  else sendBlocks(size, count, port);
}

async function receiveBlocks(size: number, count: number): Promise<void> {
  const listener = checked(listenTcp(HOST, 0, 1));
  const address = new SocketAddress();
  localAddress(listener, address);
  const words = ["run", "-A", SELF, "send", `${size}`, `${count}`, `${address.port}`];
  const sender = new Deno.Command(Deno.execPath(), { args: words, stdin: "null" }).spawn();
  const fd = untilReady(() => accept(listener));
  const at = take(size);
  receiveBlock(fd, at, size); // the sender has started
  const before = process.cpuUsage();
  const startedMs = performance.now();
  for (let block = 1; block < count; block++) receiveBlock(fd, at, size);
  const ms = performance.now() - startedMs;
  const { user, system } = process.cpuUsage(before);
  await sender.status;
  printLine(JSON.stringify({
    perSecond: (count - 1) * 1000 / ms,
    cpuMicroseconds: (user + system) / (count - 1),
  }));
}

function receiveBlock(fd: number, at: number, size: number): void {
  for (let got = 0; got < size;) got += untilReady(() => receive(fd, at + got, at + size));
  crc32cRaw(-1, arena.bytes, at, at + size);
}

function sendBlocks(size: number, count: number, port: number): void {
  const fd = checked(connectTcp(HOST, port));
  const pieces = new Int32Array([take(size), size]);
  for (let block = 0; block < count; block++) {
    for (let sent = 0; sent < size;) {
      sent += untilReady(() => sendPieces(fd, pieces, 0, 1, sent));
    }
  }
}

/** Sockets do not block: asks again and again, and lets others run meanwhile. */
function untilReady(call: () => number): number {
  for (;;) {
    const result = call();
    if (result > 0) return result;
    if (result !== -Errno.Eagain && result !== -Errno.Enotconn) return checked(result || -1);
    yieldProcessor();
  }
}

function checked(result: number): number {
  if (result < 0) throw new Error(`Cannot measure the bare stream: ${errnoText(result)}`);
  return result;
}
