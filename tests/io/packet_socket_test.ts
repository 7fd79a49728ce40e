/**
 * Packet sockets against the kernel, on the two ends of a veth(4) in a user and network namespace of
 * their own (unshare(1)).
 */
import assert from "node:assert/strict";
import { Errno } from "../../src/io/errno.ts";
import { interfaceIndex, PacketSocket } from "../../src/io/packet_socket.ts";
import { testUnshared, unshared } from "./unshared.ts";

const ENODEV = 19;
const ENETDOWN = 100;
/** Local experimental EtherType 1 of IEEE 802. */
const ETHERTYPE = 0x88b5;
const PREPARE = "ip link add left0 address 02:00:00:00:00:01 type veth peer name right0 && " +
  "ip link set left0 up && ip link set right0 up && ip link set lo up && " +
  "ip link add down0 type veth peer name down1 && ip tuntap add tun0 mode tun && ip link set tun0 up";

function opened(name: string, etherType = ETHERTYPE): PacketSocket {
  const socket = PacketSocket.open(name, etherType);
  assert.ok(socket instanceof PacketSocket, `${name}: errno ${socket}`);
  return socket;
}

function frame(text: string, etherType = ETHERTYPE): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(60);
  bytes.fill(0xff, 0, 6);
  bytes.set([2, 0, 0, 0, 0, 1], 6);
  new DataView(bytes.buffer).setUint16(12, etherType);
  bytes.set(new TextEncoder().encode(text), 14);
  return bytes;
}

/** What waits, as text; the kernel hands frames of a veth over before send() is over, or soon. */
async function texts(socket: PacketSocket, count: number): Promise<string[]> {
  const found: string[] = [];
  const bytes = new Uint8Array(64);
  const deadline = performance.now() + 5000;
  while (found.length < count && performance.now() < deadline) {
    const size = socket.receive(bytes);
    if (size === -Errno.Eagain) await new Promise((resolve) => setTimeout(resolve, 1));
    else found.push(new TextDecoder().decode(bytes.subarray(14, size)).replace(/\0+$/, ""));
  }
  assert.equal(socket.receive(bytes), -Errno.Eagain);
  return found;
}

const CASES: Readonly<Record<string, () => void | Promise<void>>> = {
  "a frame goes from one end to the other, and its hardware address is told": async () => {
    const [left, right] = [opened("left0"), opened("right0")];
    assert.equal(left.hardware.toHex(), "020000000001");
    assert.ok(left.ethernet && right.ethernet);
    assert.notEqual(right.hardware.toHex(), "000000000000");
    const bytes = new Uint8Array(8);
    assert.equal(right.receive(bytes), -Errno.Eagain);
    assert.equal(left.send(frame("one"), 60), 60);
    assert.equal(left.send(frame("two"), 60), 60);
    assert.deepEqual(await texts(right, 2), ["one", "two"]);
    left.close();
    right.close();
    assert.equal(left.send(frame("three"), 60), -Errno.Ebadf);
    assert.equal(right.receive(bytes), -Errno.Ebadf);
  },

  "frames of other types, and all of them with type 0, are not received": async () => {
    const [left, right, sender] = [opened("left0", 0), opened("right0"), opened("right0", 0)];
    assert.equal(left.send(frame("other", ETHERTYPE + 1), 60), 60);
    assert.equal(left.send(frame("ours"), 60), 60);
    assert.deepEqual(await texts(right, 1), ["ours"]);
    assert.deepEqual(await texts(sender, 0), []);
  },

  "a frame is cut to the room that there is": async () => {
    const [left, right, beside] = [opened("left0"), opened("right0"), opened("right0")];
    assert.equal(left.send(frame("long enough"), 60), 60);
    assert.deepEqual(await texts(beside, 1), ["long enough"]);
    assert.equal(right.receive(new Uint8Array(20)), 20);
  },

  "an interface that is missing, down, or no Ethernet is told": () => {
    assert.equal(interfaceIndex("none0"), -ENODEV);
    assert.equal(PacketSocket.open("none0", 0), -ENODEV);
    assert.equal(PacketSocket.open("x".repeat(40), 0), -ENODEV);
    assert.equal(PacketSocket.open("", 0), -ENODEV);
    assert.ok(interfaceIndex("left0") > 0);
    const down = opened("down0", 0);
    assert.equal(down.send(frame("none"), 60), -ENETDOWN);
    const tun = opened("tun0", 0);
    assert.ok(!tun.ethernet);
    assert.equal(tun.hardware.toHex(), "000000000000");
    assert.ok(!opened("lo", 0).ethernet);
  },

  "no descriptor stays open when it does not open": () => {
    const descriptors = (): number => [...Deno.readDirSync("/proc/self/fd")].length;
    const before = descriptors();
    for (let times = 0; times < 50; times++) {
      PacketSocket.open("none0", 0);
      opened("left0").close();
    }
    assert.equal(descriptors(), before);
  },
};

const ALONE = `${PREPARE} &&`;

if (import.meta.main) await CASES[Deno.args[0]!]!();
else {
  const isThere = (await unshared(ALONE, ["true"]))?.success === true;
  testUnshared(import.meta.url, Object.keys(CASES), ALONE, isThere);

  Deno.test("without privilege a packet socket is refused", () => {
    const { state } = Deno.permissions.querySync({ name: "ffi" });
    assert.equal(state, "granted");
    if (Deno.uid() !== 0) assert.equal(PacketSocket.open("lo", 0), -Errno.Eperm);
    else assert.equal(PacketSocket.open("none0", 0), -ENODEV);
  });
}
