/**
 * What netlink_test.ts tries in a network namespace of its own, where a namespace `one` was made by
 * ip-netns(8): each case throws when it does not hold.
 *
 *     deno run -A tests/io/namespace_program.ts "NAME OF A CASE"
 *
 * @module
 */
import assert from "node:assert/strict";
import { Errno } from "../../src/io/errno.ts";
import { libc } from "../../src/io/libc.ts";
import { LinkCarrier } from "../../src/io/link_carrier.ts";
import { inNamespace, namespaceOf, namespaceOfProcess } from "../../src/io/namespace.ts";
import { fixedInts } from "../../src/io/native.ts";
import { NetlinkProtocol, NetlinkSocket } from "../../src/io/netlink_socket.ts";
import { Link, readLink, writeLinkRequest } from "../../src/wire/netlink/link.ts";
import { beginNlmsg, endNlmsg, Nlmsg, NlmsgFlag, readNlmsg } from "../../src/wire/netlink/nlmsg.ts";
import { RtmType, RtnlGroup } from "../../src/wire/netlink/rtnetlink.ts";

const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const ENODEV = 19;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
/** RTNLGRP_IPV4_MROUTE_R: only for who administers the network. */
const PRIVILEGED_GROUP = 30;

/** A socket, which must open. */
export function opened(protocol: number): NetlinkSocket {
  const socket = NetlinkSocket.open(protocol);
  assert.ok(socket instanceof NetlinkSocket, `errno ${socket}`);
  return socket;
}

/** The messages that wait: their types and sequence numbers, and what `each` makes of them. */
export function received(
  socket: NetlinkSocket,
  each: (message: Nlmsg) => void = () => {},
): Nlmsg[] {
  const found: Nlmsg[] = [];
  for (let size = socket.receive(); size !== -Errno.Eagain; size = socket.receive()) {
    assert.ok(size > 0, `errno ${size}`);
    for (let at = 0; at < size;) {
      const message = new Nlmsg();
      at = readNlmsg(socket.in, at, size, message);
      assert.ok(at > 0);
      each(message);
      found.push(message);
    }
  }
  return found;
}

/** Names of all interfaces that a socket sees. */
export function linkNames(socket: NetlinkSocket): string[] {
  assert.ok(socket.send(writeLinkRequest(socket.out, 0, 7, 0)) > 0);
  const names: string[] = [];
  const link = new Link();
  const messages = received(socket, (message) => {
    if (message.type !== RtmType.NewLink) return;
    assert.equal(readLink(socket.in, message, link), 0);
    names.push(link.name);
  });
  assert.equal(messages.at(-1)!.type, NLMSG_DONE);
  assert.ok(messages.every(({ sequence }) => sequence === 7));
  return names.sort();
}

/** The bytes of SO_RCVBUF. */
export function receiveBuffer({ fd }: NetlinkSocket): number {
  const value = fixedInts(1);
  const size = fixedInts(1);
  size[0] = 4;
  assert.equal(libc().getsockopt(fd, SOL_SOCKET, SO_RCVBUF, value, size), 0);
  return value[0]!;
}

/** The kernel's errno when it is asked to delete an interface that is not there. */
function deleteNothing(socket: NetlinkSocket): number {
  const { out, in: from } = socket;
  const at = beginNlmsg(out, 0, RtmType.DelLink, NlmsgFlag.Request | NlmsgFlag.Ack, 8);
  out.bytes.fill(0, at, at + 16);
  out.view.setInt32(at + 4, 9999, true);
  assert.ok(socket.send(endNlmsg(out, 0, at + 16)) > 0);
  let errno = 0;
  const [answer] = received(socket, (message) => errno = -from.view.getInt32(message.at, true));
  assert.equal(answer!.type, NLMSG_ERROR);
  return errno;
}

function ip(...words: string[]): void {
  const { success, stderr } = new Deno.Command("ip", { args: words }).outputSync();
  assert.ok(success, `ip ${words.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}

function addVeth(namespace: string, left: string, right: string): void {
  ip("-n", namespace, "link", "add", left, "type", "veth", "peer", "name", right);
}

function has(carrier: LinkCarrier, name: string): boolean | null {
  return carrier.has(new TextEncoder().encode(name));
}

/** Cases for who administers the namespace. */
export const CASES: Readonly<Record<string, () => void>> = {
  "a namespace of ip netns is entered and left": () => {
    const home = namespaceOf("");
    const one = namespaceOf("one");
    assert.ok(home !== null && one !== null && home !== one);
    addVeth("one", "inside0", "inside1");
    const [seen, socket] = inNamespace("one", () => [namespaceOf(""), opened(0)] as const);
    assert.equal(seen, one);
    assert.equal(namespaceOf(""), home);
    // What was made inside stays there.
    assert.deepEqual(linkNames(socket), ["inside0", "inside1", "lo"]);
    assert.deepEqual(linkNames(opened(0)), ["lo"]);
  },

  "it is left when the function throws, and no descriptor stays open": () => {
    const home = namespaceOf("");
    const descriptors = (): number => [...Deno.readDirSync("/proc/self/fd")].length;
    const before = descriptors();
    for (let times = 0; times < 50; times++) {
      assert.throws(() =>
        inNamespace("one", () => {
          throw new Error("thrown inside");
        }), /^Error: thrown inside$/);
      assert.throws(() => inNamespace("nowhere", () => {}));
      inNamespace("one", () => {});
    }
    assert.equal(namespaceOf(""), home);
    assert.equal(descriptors(), before);
  },

  "namespaces can be entered one inside the other": () => {
    const home = namespaceOf("");
    ip("netns", "add", "two");
    inNamespace("one", () => {
      inNamespace("two", () => assert.equal(namespaceOf(""), namespaceOf("two")));
      assert.equal(namespaceOf(""), namespaceOf("one"));
    });
    assert.equal(namespaceOf(""), home);
  },

  "what is no namespace is refused with what the kernel says": () => {
    const home = namespaceOf("");
    Deno.writeTextFileSync("/run/netns/plain", "");
    assert.throws(
      () => inNamespace("plain", () => {}),
      /^Error: Cannot enter network namespace plain: Invalid argument \(EINVAL\)$/,
    );
    assert.equal(namespaceOf(""), home);
  },

  "the namespace of another process is told": () => {
    const child = new Deno.Command("ip", {
      args: ["netns", "exec", "one", "cat"],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const deadline = performance.now() + 10_000;
    let seen = namespaceOfProcess(child.pid);
    while (seen !== namespaceOf("one") && performance.now() < deadline) {
      seen = namespaceOfProcess(child.pid); // ip(8) is on its way
    }
    child.kill("SIGKILL");
    assert.equal(seen, namespaceOf("one"));
    assert.notEqual(seen, namespaceOf(""));
  },

  "carrier is told as it is now": () => {
    const carrier = new LinkCarrier();
    assert.equal(has(carrier, "lo"), false); // it is down
    ip("link", "set", "lo", "up");
    assert.equal(has(carrier, "lo"), true);
    ip("link", "add", "left0", "type", "veth", "peer", "name", "right0");
    ip("link", "set", "left0", "up");
    assert.equal(has(carrier, "left0"), false);
    ip("link", "set", "right0", "up");
    assert.equal(has(carrier, "left0"), true);
    ip("link", "set", "right0", "down");
    assert.equal(has(carrier, "left0"), false);
    ip("link", "delete", "left0");
    assert.equal(has(carrier, "left0"), null);
    carrier.close();
  },

  "carrier is asked in the namespace in which it was made": () => {
    addVeth("one", "inside0", "inside1");
    ip("-n", "one", "link", "set", "inside0", "up");
    ip("-n", "one", "link", "set", "inside1", "up");
    const inside = inNamespace("one", () => new LinkCarrier());
    const outside = new LinkCarrier();
    assert.equal(has(inside, "inside0"), true);
    assert.equal(has(outside, "inside0"), null);
    inside.close();
    outside.close();
  },

  "a group tells of changes, and events that find no room are lost with ENOBUFS": () => {
    const socket = opened(NetlinkProtocol.Route);
    assert.equal(socket.join(RtnlGroup.Link), 0);
    assert.deepEqual(received(socket), []);
    ip("link", "add", "new0", "type", "veth", "peer", "name", "new1");
    const link = new Link();
    const names = new Set<string>();
    const messages = received(socket, (message) => {
      if (readLink(socket.in, message, link) === 0) names.add(link.name);
    });
    assert.ok(messages.some(({ type }) => type === RtmType.NewLink));
    assert.deepEqual([...names].sort(), ["new0", "new1"]);
    assert.equal(socket.setReceiveBuffer(1), 0); // the least that there can be
    for (let times = 0; times < 10; times++) {
      ip("link", "set", "new0", times % 2 === 0 ? "up" : "down");
    }
    assert.equal(socket.receive(), -Errno.Enobufs);
    assert.ok(received(socket).length > 0, "those before are still there");
    socket.close();
  },

  "who administers the namespace may join all groups and change links": () => {
    const socket = opened(NetlinkProtocol.Route);
    assert.equal(socket.join(PRIVILEGED_GROUP), 0);
    assert.equal(deleteNothing(socket), ENODEV);
    socket.close();
  },
};

/** Cases for who administers nothing. */
export const UNPRIVILEGED: Readonly<Record<string, () => void>> = {
  "without privilege a namespace is not entered, and the remedy is named": () => {
    const home = namespaceOf("");
    assert.throws(
      () => inNamespace("one", () => assert.fail("inside")),
      /^Error: Cannot enter network namespace one: Operation not permitted \(EPERM\), it needs CAP_SYS_ADMIN: run it as root$/,
    );
    assert.equal(namespaceOf(""), home);
    assert.equal(namespaceOfProcess(1), null);
  },

  "without privilege links are read, but not changed, and the room has a limit": () => {
    const socket = opened(NetlinkProtocol.Route);
    assert.deepEqual(linkNames(socket), ["lo"]);
    assert.equal(deleteNothing(socket), Errno.Eperm);
    assert.equal(socket.join(PRIVILEGED_GROUP), -Errno.Eperm);
    assert.equal(socket.join(RtnlGroup.Link), 0);
    const most = Number(Deno.readTextFileSync("/proc/sys/net/core/rmem_max"));
    assert.equal(socket.setReceiveBuffer(4 * most), 0);
    assert.equal(receiveBuffer(socket), 2 * most);
    socket.close();
  },
};

if (import.meta.main) {
  const name = Deno.args[0] ?? "";
  const run = CASES[name] ?? UNPRIVILEGED[name];
  if (run === undefined) {
    throw new Error(`Cannot find a case as there is none of this name: ${name}`);
  }
  run();
}
