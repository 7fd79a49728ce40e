/**
 * Netlink sockets, namespaces, carrier and credentials against the kernel. What needs privilege runs
 * in a user and network namespace of its own (unshare(1)), with another one that ip-netns(8) made.
 */
import assert from "node:assert/strict";
import { Errno } from "../../src/io/errno.ts";
import { libc } from "../../src/io/libc.ts";
import { LinkCarrier } from "../../src/io/link_carrier.ts";
import { inNamespace, namespaceOf, namespaceOfProcess } from "../../src/io/namespace.ts";
import { NetlinkProtocol, NetlinkSocket } from "../../src/io/netlink_socket.ts";
import { unixAddress } from "../../src/io/notify.ts";
import { peerCredentials } from "../../src/io/peer_credentials.ts";
import { close, listenTcp } from "../../src/io/sockets.ts";
import { writeLinkRequest } from "../../src/wire/netlink/link.ts";
import { RtmType, RtnlGroup } from "../../src/wire/netlink/rtnetlink.ts";
import {
  CASES,
  linkNames,
  opened,
  receiveBuffer,
  received,
  UNPRIVILEGED,
} from "./namespace_program.ts";

const EPROTONOSUPPORT = 93;
const ENOTSOCK = 88;
const CAP_NET_ADMIN = 12n;
/** Beyond what kernel.pid_max can be. */
const NO_PROCESS = 2 ** 22 + 1;

Deno.test("a request is answered before send() is over, and then nothing waits", () => {
  const socket = opened(NetlinkProtocol.Route);
  assert.equal(socket.receive(), -Errno.Eagain);
  const size = writeLinkRequest(socket.out, 0, 42, 1); // lo is the first link of every namespace
  assert.equal(socket.send(size), size);
  const messages = received(socket);
  assert.deepEqual(messages.map(({ sequence, type }) => [type, sequence]), [[RtmType.NewLink, 42]]);
  assert.equal(socket.receive(), -Errno.Eagain);
  assert.ok(linkNames(socket).includes("lo"));
  socket.close();
});

Deno.test("every protocol that we use opens, and one that is none does not", () => {
  for (const protocol of Object.values(NetlinkProtocol)) opened(protocol).close();
  assert.equal(NetlinkSocket.open(31), -EPROTONOSUPPORT);
});

Deno.test("answers of two sockets do not mix", () => {
  const [one, other] = [opened(NetlinkProtocol.Route), opened(NetlinkProtocol.Route)];
  assert.ok(one.send(writeLinkRequest(one.out, 0, 1, 1)) > 0);
  assert.equal(other.receive(), -Errno.Eagain);
  assert.equal(received(one).length, 1);
  one.close();
  other.close();
});

Deno.test("groups of links may be joined by anybody; one that is none is refused", () => {
  const socket = opened(NetlinkProtocol.Route);
  assert.equal(socket.join(RtnlGroup.Link), 0);
  assert.equal(socket.join(100_000), -Errno.Einval);
  socket.close();
});

Deno.test("the receive buffer is as large as was asked", () => {
  const socket = opened(NetlinkProtocol.Route);
  assert.equal(socket.setReceiveBuffer(50_000), 0);
  assert.equal(receiveBuffer(socket), 100_000); // doubled by the kernel
  const most = Number(Deno.readTextFileSync("/proc/sys/net/core/rmem_max"));
  assert.equal(socket.setReceiveBuffer(2 * most), 0);
  // Beyond the system's limit with privilege over the whole of it, up to it without.
  assert.equal(receiveBuffer(socket), administersSystem() ? 4 * most : 2 * most);
  socket.close();
});

/** CAP_NET_ADMIN in the first user namespace. */
function administersSystem(): boolean {
  const status = Deno.readTextFileSync("/proc/self/status");
  const effective = BigInt(`0x${/^CapEff:\s*(\w+)/m.exec(status)![1]}`);
  const first = /^\s*0\s+0\s+4294967295\s*$/.test(Deno.readTextFileSync("/proc/self/uid_map"));
  return first && (effective & (1n << CAP_NET_ADMIN)) !== 0n;
}

Deno.test("a socket that is closed answers EBADF", () => {
  const socket = opened(NetlinkProtocol.Route);
  socket.close();
  assert.equal(socket.send(16), -Errno.Ebadf);
  assert.equal(socket.receive(), -Errno.Ebadf);
  assert.equal(socket.join(1), -Errno.Ebadf);
  assert.equal(socket.setReceiveBuffer(4096), -Errno.Ebadf);
});

Deno.test("a datagram that is larger than there is room is told, not cut", () => {
  const socket = opened(NetlinkProtocol.Route);
  const calls = libc() as unknown as Record<string, unknown>;
  const real = calls.recv;
  calls.recv = () => 64 * 1024 + 1; // what MSG_TRUNC answers
  try {
    assert.equal(socket.receive(), -Errno.Emsgsize);
    calls.recv = () => 64 * 1024;
    assert.equal(socket.receive(), 64 * 1024);
  } finally {
    calls.recv = real;
  }
  socket.close();
});

Deno.test("without a name a function runs where we are", () => {
  assert.equal(inNamespace("", () => namespaceOf("")), namespaceOf(""));
  assert.throws(() =>
    inNamespace("", () => {
      throw new Error("thrown inside");
    }), /^Error: thrown inside$/);
});

Deno.test("a namespace that is missing is refused with the remedy, and has no number", () => {
  const name = `fairlead-${crypto.randomUUID()}`;
  assert.throws(
    () => inNamespace(name, () => assert.fail("inside")),
    new RegExp(
      `^Error: Cannot enter network namespace as it does not exist: current value is "${name}", ` +
        "see ip netns list$",
    ),
  );
  assert.equal(namespaceOf(name), null);
});

Deno.test("our own namespace is that of our process, and no process has none", () => {
  const own = namespaceOf("");
  assert.ok(own !== null && Number.isSafeInteger(own) && own > 0, `${own}`);
  assert.equal(namespaceOfProcess(Deno.pid), own);
  assert.equal(namespaceOfProcess(NO_PROCESS), null);
});

Deno.test("loopback has carrier; an interface that does not exist tells nothing", () => {
  const carrier = new LinkCarrier();
  const names = ["lo", `no${crypto.randomUUID().slice(0, 8)}`, "x".repeat(40), ""];
  const encoder = new TextEncoder();
  assert.deepEqual(names.map((name) => carrier.has(encoder.encode(name))), [
    true,
    null,
    null,
    null,
  ]);
  // Nothing is left of a longer name.
  assert.equal(carrier.has(encoder.encode("lo")), true);
  carrier.close();
  assert.equal(carrier.has(encoder.encode("lo")), null);
});

Deno.test("both ends of a Unix socket know the other's process and user", () => {
  const { accept4, bind, connect, listen, socket } = libc();
  const address = unixAddress(`@fairlead-${crypto.randomUUID()}`)!;
  const listener = socket(1, 1, 0);
  assert.equal(bind(listener, address, address.length), 0);
  assert.equal(listen(listener, 1), 0);
  const left = socket(1, 1, 0);
  const nobody = { pid: 0, uid: -1, gid: -1 };
  assert.deepEqual(peerCredentials(left), nobody); // not connected
  assert.equal(connect(left, address, address.length), 0);
  const right = accept4(listener, new Uint8Array(110), Uint32Array.of(110), 0);
  assert.ok(right >= 0);
  const own = { pid: Deno.pid, uid: Deno.uid(), gid: Deno.gid() };
  assert.deepEqual(peerCredentials(left), own);
  assert.deepEqual(peerCredentials(right), own);
  for (const fd of [left, right, listener]) close(fd);
});

Deno.test("what is no Unix socket has no credentials that could be somebody's", () => {
  const listener = listenTcp("127.0.0.1", 0, 1);
  const found = peerCredentials(listener);
  if (typeof found !== "number") assert.deepEqual(found, { pid: 0, uid: -1, gid: -1 });
  close(listener);
  const { fd } = opened(NetlinkProtocol.Route);
  assert.equal(peerCredentials(-1), -Errno.Ebadf);
  const epoll = libc().epoll_create1(0);
  assert.equal(peerCredentials(epoll), -ENOTSOCK);
  close(epoll);
  close(fd);
});

const PREPARE = "mount -t tmpfs tmpfs /run && ip netns add one";
const PROGRAM = new URL("namespace_program.ts", import.meta.url).pathname;

/** Runs a command where /run and the network are its own, and it is root; `null`: it cannot be. */
async function unshared(command: readonly string[]): Promise<Deno.CommandOutput | null> {
  const script = `${PREPARE} && exec "$@"`;
  try {
    return await new Deno.Command("unshare", {
      args: ["-Urnm", "sh", "-c", script, "sh", ...command],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      signal: AbortSignal.timeout(60_000),
    }).output();
  } catch {
    return null; // no such program
  }
}

const NONE = (await unshared(["true"]))?.success !== true;
const RUN = [Deno.execPath(), "run", "--quiet", "--no-config", "-A", PROGRAM];

for (
  const [words, cases] of [
    [RUN, CASES],
    // A user namespace within: root of it has no rights over the network of the outer one.
    [["unshare", "-U", ...RUN], UNPRIVILEGED],
  ] as const
) {
  for (const name of Object.keys(cases)) {
    Deno.test({
      name,
      ignore: NONE,
      fn: async () => {
        const { code, stderr } = (await unshared([...words, name]))!;
        assert.equal(code, 0, new TextDecoder().decode(stderr));
      },
    });
  }
}
