/** MPTCP sockets over real loopback: tokens, falling back, refusals, the options that we set. */
import assert from "node:assert/strict";
import { give, take } from "../../src/mem/arena.ts";
import { Poller, Ready } from "../../src/io/epoll.ts";
import { Errno } from "../../src/io/errno.ts";
import { libc } from "../../src/io/libc.ts";
import {
  IPPROTO_MPTCP,
  MPTCP_SWITCHED_OFF,
  mptcpPathless,
  mptcpRefusal,
  mptcpToken,
} from "../../src/io/mptcp_socket.ts";
import { fixedInts } from "../../src/io/native.ts";
import { SocketAddress } from "../../src/io/socket_address.ts";
import {
  accept,
  close,
  connectTcp,
  IPPROTO_TCP,
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

const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const TCP_NODELAY = 1;
/** Switched off, or a kernel without it: then only the refusals can be looked at. */
const REFUSED = mptcpRefusal();
if (Deno.env.get("CI") === "true") assert.equal(REFUSED, 0, "CI has MPTCP");
const NONE = REFUSED !== 0;

interface Pair {
  listener: number;
  left: number;
  right: number;
}

/** Connects `left` to a listener that accepts `right`. */
function pair(host: string, listening: number, connecting: number): Pair {
  const listener = listenTcp(host, 0, 8, listening);
  assert.ok(listener >= 0, `listen ${listener}`);
  const address = new SocketAddress();
  assert.equal(localAddress(listener, address), 0);
  const left = connectTcp(host, address.port, connecting);
  assert.ok(left >= 0, `connect ${left}`);
  waitFor(listener, Ready.In);
  const right = accept(listener);
  assert.ok(right >= 0, `accept ${right}`);
  waitFor(left, Ready.Out);
  assert.equal(socketError(left), 0);
  return { listener, left, right };
}

function closeAll({ left, listener, right }: Pair): void {
  for (const fd of [left, right, listener]) assert.equal(close(fd), 0);
}

function waitFor(fd: number, events: number): number {
  const poller = new Poller(1);
  assert.equal(poller.add(fd, 0, events), 0);
  assert.equal(poller.wait(5000), 1, "nothing became ready in 5 s");
  const ready = poller.events(0);
  poller.close();
  return ready;
}

function socketOption(fd: number, level: number, name: number): number {
  const value = fixedInts(1);
  const size = fixedInts(1);
  size[0] = 4;
  assert.equal(libc().getsockopt(fd, level, name, value, size), 0);
  return value[0]!;
}

/** Sends and receives a few bytes in both directions. */
function exchange({ left, right }: Pair): void {
  const at = take(64);
  try {
    for (const [from, to] of [[left, right], [right, left]] as const) {
      assert.equal(sendPieces(from, Int32Array.of(at, 5), 0, 1, 0), 5);
      waitFor(to, Ready.In);
      assert.equal(receive(to, at + 32, at + 64), 5);
      assert.equal(receive(to, at + 32, at + 64), -Errno.Eagain);
    }
  } finally {
    give(at);
  }
}

for (const host of ["127.0.0.1", "::1"]) {
  Deno.test({
    name: `${host}: both ends of an MPTCP connection have a token of their own`,
    ignore: NONE,
    fn: () => {
      const ends = pair(host, IPPROTO_MPTCP, IPPROTO_MPTCP);
      const tokens = [mptcpToken(ends.left), mptcpToken(ends.right)];
      for (const token of tokens) {
        assert.ok(Number.isInteger(token) && token > 0 && token < 2 ** 32, `${token}`);
      }
      assert.notEqual(tokens[0], tokens[1]);
      exchange(ends);
      assert.deepEqual([mptcpToken(ends.left), mptcpToken(ends.right)], tokens);
      const [local, peer] = [new SocketAddress(), new SocketAddress()];
      assert.equal(localAddress(ends.left, local), 0);
      assert.equal(peerAddress(ends.right, peer), 0);
      assert.equal(`${local}`, `${peer}`);
      closeAll(ends);
    },
  });
}

for (
  const [name, listening, connecting] of [
    ["connects to a listener of TCP", IPPROTO_TCP, IPPROTO_MPTCP],
    ["accepts a client of TCP", IPPROTO_MPTCP, IPPROTO_TCP],
  ] as const
) {
  Deno.test({
    name: `an MPTCP socket that ${name} carries TCP and says so`,
    ignore: NONE,
    fn: () => {
      const ends = pair("127.0.0.1", listening, connecting);
      exchange(ends);
      assert.deepEqual([mptcpToken(ends.left), mptcpToken(ends.right)], [0, 0]);
      closeAll(ends);
    },
  });
}

Deno.test("what is no connection of MPTCP has no token", () => {
  const ends = pair("127.0.0.1", IPPROTO_TCP, IPPROTO_TCP);
  assert.deepEqual([mptcpToken(ends.left), mptcpToken(ends.right)], [0, 0]);
  closeAll(ends);
  assert.equal(mptcpToken(-1), 0);
});

Deno.test({
  name: "the options that we set hold on MPTCP sockets",
  ignore: NONE,
  fn: () => {
    const ends = pair("127.0.0.1", IPPROTO_MPTCP, IPPROTO_MPTCP);
    for (const fd of [ends.left, ends.right]) {
      assert.equal(setNoDelay(fd), 0);
      assert.equal(socketOption(fd, IPPROTO_TCP, TCP_NODELAY), 1);
      assert.equal(setReceiveBuffer(fd, 50_000), 0);
      assert.equal(socketOption(fd, SOL_SOCKET, SO_RCVBUF), 100_000); // doubled by the kernel
    }
    closeAll(ends);
  },
});

Deno.test({
  name: "over MPTCP an edge tells each arrival, the end of the stream, and that nobody listens",
  ignore: NONE,
  fn: () => {
    const ends = pair("127.0.0.1", IPPROTO_MPTCP, IPPROTO_MPTCP);
    const poller = new Poller(1);
    assert.equal(poller.add(ends.right, 1, Ready.In | Ready.PeerClosed | Ready.Edge), 0);
    const at = take(64);
    for (let count = 0; count < 100; count++) {
      assert.equal(sendPieces(ends.left, Int32Array.of(at, 32), 0, 1, 0), 32);
      assert.equal(poller.wait(5000), 1, `arrival ${count}`);
      assert.equal(receive(ends.right, at, at + 64), 32); // short: the rest is told by an edge
    }
    assert.equal(shutdown(ends.left, Shutdown.Write), 0);
    assert.equal(poller.wait(5000), 1);
    assert.notEqual(poller.events(0) & Ready.PeerClosed, 0);
    assert.equal(receive(ends.right, at, at + 64), 0);
    give(at);
    poller.close();
    const { port } = ((into) => (localAddress(ends.listener, into), into))(new SocketAddress());
    closeAll(ends);
    const refused = connectTcp("127.0.0.1", port, IPPROTO_MPTCP);
    if (refused >= 0) {
      assert.notEqual(waitFor(refused, Ready.Out | Ready.Error) & Ready.Error, 0);
      assert.equal(socketError(refused), -Errno.Econnrefused);
      close(refused);
    } else assert.equal(refused, -Errno.Econnrefused);
  },
});

/** Lets socket() fail as it does for another protocol number. */
function withProtocol(number: number, job: () => void): void {
  const calls = libc() as unknown as Record<string, (...words: number[]) => number>;
  const real = calls.socket!;
  calls.socket = (family, type, protocol) =>
    real(family!, type!, protocol === IPPROTO_MPTCP ? number : protocol!);
  try {
    job();
  } finally {
    calls.socket = real;
  }
}

Deno.test("a kernel without MPTCP refuses it, and is asked anew each time", () => {
  // A number beyond the table, as 262 is to kernels before 5.6; and one that nobody has taken.
  withProtocol(9999, () => assert.equal(mptcpRefusal(), -Errno.Einval));
  withProtocol(200, () => {
    assert.equal(mptcpRefusal(), -93);
    assert.equal(listenTcp("127.0.0.1", 0, 1, IPPROTO_MPTCP), -93);
    assert.equal(connectTcp("127.0.0.1", 9, IPPROTO_MPTCP), -93);
  });
  assert.equal(mptcpRefusal(), REFUSED);
});

Deno.test("want of something else is no refusal of MPTCP", () => {
  const calls = libc() as unknown as Record<string, (...words: number[]) => number>;
  const real = calls.socket!;
  calls.socket = () => calls.close!(-1); // EBADF, which no socket() answers
  try {
    assert.equal(mptcpRefusal(), 0);
  } finally {
    calls.socket = real;
  }
});

Deno.test({
  name: "a connection that has a path is not pathless, nor is one of plain TCP, nor no socket",
  ignore: NONE,
  fn: () => {
    for (const [listening, connecting] of [[262, 262], [262, 6], [6, 262], [6, 6]] as const) {
      const ends = pair("127.0.0.1", listening, connecting);
      exchange(ends);
      assert.deepEqual([mptcpPathless(ends.left), mptcpPathless(ends.right)], [false, false]);
      closeAll(ends);
    }
    assert.equal(mptcpPathless(-1), false);
  },
});

/** Runs a script in a network namespace of its own, after a shell has made it what it shall be. */
async function inNamespace(prepare: string, script: string): Promise<Deno.CommandOutput> {
  const shell = `${prepare} && exec "$@"`;
  const words = ["run", "--quiet", "--no-config", "-A", "--ext=ts", "-"];
  const child = new Deno.Command("unshare", {
    args: ["-rn", "sh", "-c", shell, "sh", Deno.execPath(), ...words],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(30_000),
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(script));
  await writer.close();
  return await child.output();
}

const NAMESPACES = await canUnshare();

async function canUnshare(): Promise<boolean> {
  if (NONE) return false;
  const script = "test -w /proc/sys/net/mptcp/enabled && ip link set lo up && ss -V";
  try {
    const { success } = await new Deno.Command("unshare", {
      args: ["-rn", "sh", "-c", script],
      stdout: "null",
      stderr: "null",
    }).output();
    return success;
  } catch {
    return false; // no such program
  }
}

Deno.test({
  name: "net.mptcp.enabled=0 is told from a kernel that has none",
  ignore: !NAMESPACES,
  fn: async () => {
    const io = import.meta.resolve("../../src/io/");
    const off = "echo 0 > /proc/sys/net/mptcp/enabled";
    const { code, stderr, stdout } = await inNamespace(
      off,
      `
      const { mptcpRefusal } = await import("${io}mptcp_socket.ts");
      const { listenTcp } = await import("${io}sockets.ts");
      console.log(mptcpRefusal(), listenTcp("127.0.0.1", 0, 1, 262));
      Deno.exit(0);
    `,
    );
    const decoder = new TextDecoder();
    assert.equal(code, 0, decoder.decode(stderr));
    assert.equal(decoder.decode(stdout), `${MPTCP_SWITCHED_OFF} ${MPTCP_SWITCHED_OFF}\n`);
  },
});

Deno.test({
  name: "a connection whose subflows were all killed is pathless, and nothing else tells it",
  ignore: !NAMESPACES,
  fn: async () => {
    const io = import.meta.resolve("../../src/io/");
    const { code, stderr, stdout } = await inNamespace(
      "ip link set lo up",
      `
      const { mptcpPathless } = await import("${io}mptcp_socket.ts");
      const { accept, connectTcp, listenTcp, socketError } = await import("${io}sockets.ts");
      const { Poller, Ready } = await import("${io}epoll.ts");
      const listener = listenTcp("127.0.0.1", 7777, 1, 262);
      const left = connectTcp("127.0.0.1", 7777, 262);
      const poller = new Poller(3);
      poller.add(listener, 0, Ready.In);
      poller.wait(5000);
      const right = accept(listener);
      console.log(mptcpPathless(left), mptcpPathless(right));
      poller.add(left, 1, Ready.In | Ready.PeerClosed | Ready.Edge);
      new Deno.Command("ss", { args: ["-K", "dport", "=", "7777"], stdout: "null" }).outputSync();
      console.log(mptcpPathless(left), mptcpPathless(right), poller.wait(100), socketError(left));
      Deno.exit(0);
    `,
    );
    const decoder = new TextDecoder();
    assert.equal(code, 0, decoder.decode(stderr));
    assert.equal(decoder.decode(stdout), "false false\ntrue true 0 0\n");
  },
});
