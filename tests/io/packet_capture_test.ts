/**
 * Live capture against the kernel: loopback and the two ends of a veth(4), in a user and network
 * namespace of their own (unshare(1)).
 */
import assert from "node:assert/strict";
import { getHeapStatistics } from "node:v8";
import { LiveCapture } from "../../src/app/sniff/live_capture.ts";
import {
  BATCH_PACKETS_MAX,
  type CaptureOptions,
  EVERY_INTERFACE,
  Hardware,
  PacketCapture,
} from "../../src/io/packet_capture.ts";
import { Access, control, openPath } from "../../src/io/descriptor.ts";
import { close, connectTcp } from "../../src/io/sockets.ts";
import { PacketSocket } from "../../src/io/packet_socket.ts";
import { arena, arenaTaken } from "../../src/mem/arena.ts";
import { Dissector } from "../../src/proto/capture/dissector.ts";
import { CaptureFilter, FILTER_PRIMITIVES_MAX } from "../../src/wire/capture/filter.ts";
import { LinkType } from "../../src/wire/capture/link_layer.ts";
import { Packet } from "../../src/wire/capture/packet.ts";
import { TcpFlag, TcpSegment } from "../../src/wire/capture/tcp.ts";
import { testUnshared, unshared } from "./unshared.ts";

const ENODEV = 19;
const EAGAIN = 11;
const ETHERTYPE = 0x88b5; // local experimental, of IEEE 802
const TUNSETIFF = 0x400454ca;
const IFF_TUN_NO_PI = 0x1001;
const BUFFER_BYTES = 4 * 1024 * 1024;
const PREPARE = "ip link add left0 address 02:00:00:00:00:01 type veth peer name right0 && " +
  "ip link set left0 up && ip link set right0 up && ip link set lo up && " +
  "ip tuntap add tun0 mode tun && ip address add 192.0.2.1/24 dev tun0 && ip link set tun0 up";
const PLAIN: CaptureOptions = { program: null, bufferBytes: BUFFER_BYTES, promiscuous: false };

function opened(name: string, options = PLAIN): PacketCapture {
  const capture = PacketCapture.open(name, options);
  assert.ok(capture instanceof PacketCapture, `${name}: errno ${capture}`);
  return capture;
}

function frame(size: number, mark: number, station = 0xff): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  bytes.fill(station, 0, 6);
  bytes[0] = station === 0xff ? 0xff : 2; // no multicast
  bytes.set([2, 0, 0, 0, 0, 1], 6);
  const view = new DataView(bytes.buffer);
  view.setUint16(12, ETHERTYPE);
  view.setUint32(14, mark);
  return bytes;
}

function sender(): PacketSocket {
  const socket = PacketSocket.open("left0", 0);
  assert.ok(socket instanceof PacketSocket);
  return socket;
}

/** Frames of ours among those that waited: their marks and sizes. */
function ours(capture: PacketCapture): { mark: number; size: number; outgoing: boolean }[] {
  const found: { mark: number; size: number; outgoing: boolean }[] = [];
  for (;;) {
    const count = capture.receive();
    if (count === -EAGAIN) return found;
    assert.ok(count > 0 && count <= BATCH_PACKETS_MAX, `${count}`);
    for (let i = 0; i < count; i++) {
      const at = capture.at(i);
      if (arena.view.getUint16(at + 12) !== ETHERTYPE) continue;
      assert.equal(capture.capturedBytes(i), capture.originalBytes(i));
      found.push({
        mark: arena.view.getUint32(at + 14),
        size: capture.capturedBytes(i),
        outgoing: capture.outgoing(i),
      });
    }
  }
}

/** What a capture has of one direction of a connection. */
class Direction {
  readonly #port: number;
  readonly #segment = new TcpSegment();
  readonly #dissector = new Dissector();
  #base = 0;
  /** Bytes of the stream up to its last; a retransmission adds nothing. */
  bytes = 0;
  ended = false;
  largest = 0;

  /** The one to this port. */
  constructor(port: number) {
    this.#port = port;
  }

  add(packet: Packet): void {
    const segment = this.#segment;
    if (!this.#dissector.dissect(packet, segment)) return;
    if (segment.destinationPort !== this.#port) return;
    const { dataAt, dataBytes, dataEnd, flags, sequence } = segment;
    assert.equal(dataEnd - dataAt, dataBytes);
    if ((flags & TcpFlag.Syn) !== 0) this.#base = (sequence + 1) >>> 0;
    this.ended ||= (flags & TcpFlag.Fin) !== 0;
    if (dataBytes === 0) return;
    this.bytes = Math.max(this.bytes, ((sequence - this.#base) >>> 0) + dataBytes);
    this.largest = Math.max(this.largest, dataBytes);
  }
}

/** Sends `text` over loopback TCP and ends; returns the port that was listened on. */
async function talk(text: string): Promise<number> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  const client = await Deno.connect({ hostname: "127.0.0.1", port });
  const server = await listener.accept();
  const received = new Response(server.readable).text();
  await new Response(text).body!.pipeTo(client.writable);
  assert.equal(await received, text);
  listener.close();
  return port;
}

/** Bytes that V8 has ever allocated. */
function allocatedBytes(): number {
  const { total_allocated_bytes: bytes } = getHeapStatistics() as unknown as {
    total_allocated_bytes: number;
  };
  return bytes;
}

const CASES: Readonly<Record<string, () => void | Promise<void>>> = {
  "each frame comes once and whole, in order, stamped, with its direction": () => {
    const [left, right] = [opened("left0"), opened("right0")];
    const socket = sender();
    const before = Date.now() / 1000;
    for (let i = 0; i < 300; i++) assert.ok(socket.send(frame(60 + i, i), 60 + i) > 0);
    const wanted = Array.from({ length: 300 }, (_, i) => ({ mark: i, size: 60 + i }));
    for (const [capture, outgoing] of [[right, false], [left, true]] as const) {
      const expected = wanted.map((each) => ({ ...each, outgoing: outgoing }));
      assert.deepEqual(ours(capture), expected);
    }
    socket.send(frame(60, 1), 60);
    assert.equal(right.receive(), 1);
    const at = right.seconds(0) + right.nanoseconds(0) / 1e9;
    assert.ok(at >= before - 1 && at <= Date.now() / 1000 + 1, `${at} beside ${before}`);
    assert.equal(right.hardware, Hardware.Ethernet);
    assert.equal(right.hardwareAt(0), Hardware.Ethernet);
    assert.ok(right.interfaceIndex(0) > 0);
    assert.ok(right.packets >= 301 && right.drops === 0);
  },

  "what does not fit into the buffer is counted as dropped, and both counts add up": () => {
    const right = opened("right0", { ...PLAIN, bufferBytes: 16 * 1024 });
    const socket = sender();
    for (let i = 0; i < 500; i++) socket.send(frame(1400, i), 1400);
    const got = ours(right).length;
    for (let i = 0; i < 500; i++) socket.send(frame(1400, i), 1400);
    const more = ours(right).length;
    assert.ok(got > 0 && got < 500 && more > 0, `${got} and ${more}`);
    const { drops, packets } = right;
    assert.ok(drops >= 1000 - got - more && packets >= 1000, `${packets} with ${drops} dropped`);
    assert.deepEqual([right.packets, right.drops], [packets, drops], "reading them loses nothing");
    right.close();
    assert.equal(right.drops, drops);
  },

  "frames for other stations come only to who is promiscuous": () => {
    const link = (): string =>
      new TextDecoder().decode(
        new Deno.Command("ip", { args: ["-d", "link", "show", "right0"] }).outputSync().stdout,
      );
    assert.match(link(), /promiscuity 0/);
    const right = opened("right0", { ...PLAIN, promiscuous: true });
    assert.match(link(), /promiscuity 1/);
    const socket = sender();
    socket.send(frame(60, 7, 0x42), 60);
    assert.deepEqual(ours(right).map(({ mark }) => mark), [7]);
    right.close();
    assert.match(link(), /promiscuity 0/);
  },

  "a filter is taken by the kernel and keeps everything else away": async () => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr as Deno.NetAddr;
    listener.close();
    const filter = new CaptureFilter(`not port ${port} and host 127.0.0.1`);
    const none = LiveCapture.open("lo", { filter: new CaptureFilter("host 192.0.2.99") });
    const some = LiveCapture.open("lo", { filter });
    const text = "x".repeat(100_000);
    const used = await talk(text);
    const packet = new Packet();
    const direction = new Direction(used);
    while (!direction.ended) {
      while (some.next(packet)) {
        assert.equal(packet.linkType, LinkType.Ethernet);
        assert.ok(packet.timeNs >= 0 && packet.timeNs < 120e9, `${packet.timeNs}`);
        direction.add(packet);
      }
      if (!direction.ended) await some.wait(5000);
    }
    assert.equal(direction.bytes, text.length);
    assert.ok(some.skipped > 0, "each packet passes loopback twice");
    assert.ok(Math.abs(some.originSeconds - Date.now() / 1000) < 120);
    assert.equal(none.next(packet), false);
    assert.deepEqual([none.received, none.drops, some.drops], [0, 0, 0]);
    await none.close();
    await some.close();
  },

  "the kernel takes the longest program, and the program for packets without a link layer": () => {
    const text = new Array(FILTER_PRIMITIVES_MAX).fill("net 2001:db8:1:2:3:4:5:6/127");
    const filter = new CaptureFilter(text.join(" or "));
    for (const name of ["lo", "left0", "tun0"]) {
      const program = (hardware: number): Int32Array =>
        filter.program(hardware === Hardware.None ? LinkType.Raw : LinkType.Ethernet);
      opened(name, { ...PLAIN, program }).close();
    }
    const broken = (): Int32Array => Int32Array.of(0x05, 1000);
    assert.equal(PacketCapture.open("lo", { ...PLAIN, program: broken }), -22);
  },

  "a packet costs no memory": async () => {
    const capture = LiveCapture.open("right0");
    const socket = sender();
    const packet = new Packet();
    const bytes = frame(60, 1);
    let taken = 0;
    const round = (rounds: number): void => {
      for (let i = 0; i < rounds; i++) {
        for (let j = 0; j < 60; j++) socket.send(bytes, 60);
        while (capture.next(packet)) taken++;
      }
    };
    round(500);
    taken = 0;
    const before = allocatedBytes();
    round(2000);
    const allocated = allocatedBytes() - before;
    assert.ok(taken >= 119_000, `${taken}`);
    assert.ok(allocated / taken < 8, `${allocated / taken} bytes for each packet`);
    assert.equal(capture.drops, 0);
    await capture.close();
  },

  "packets of a tunnel have no link layer, and are filtered as such": async () => {
    const tunnel = openPath("/dev/net/tun", Access.Both);
    const request = new Uint8Array(40); // struct ifreq
    request.set(new TextEncoder().encode("tun0"));
    new DataView(request.buffer).setUint16(16, IFF_TUN_NO_PI, true);
    assert.equal(control(tunnel, TUNSETIFF, request), 0);
    const filter = new CaptureFilter("dst port 3260 and host 192.0.2.2");
    const capture = LiveCapture.open("tun0", { filter });
    const sockets = [3260, 3261].map((port) => connectTcp("192.0.2.2", port));
    const packet = new Packet();
    const segment = new TcpSegment();
    while (!capture.next(packet)) await capture.wait(5000);
    assert.equal(packet.linkType, LinkType.Raw);
    assert.equal(packet.flags, 2, "outbound");
    assert.ok(new Dissector().dissect(packet, segment));
    assert.ok(filter.matches(segment));
    assert.deepEqual([segment.destinationPort, segment.flags], [3260, TcpFlag.Syn]);
    for (const fd of [...sockets, tunnel]) close(fd);
    await capture.close();
  },

  "a wait ends with a packet, with its time, or when it is woken": async () => {
    const right = LiveCapture.open("right0");
    const packet = new Packet();
    while (right.next(packet));
    await right.wait(1);
    const socket = sender();
    const waited = right.wait(60_000);
    socket.send(frame(60, 1), 60);
    await waited;
    while (right.next(packet)) assert.ok(packet.end > packet.at);
    const woken = right.wait(60_000);
    right.wake();
    await woken;
    await right.close();
  },

  "all interfaces at once are captured, each with its link type": async () => {
    const every = LiveCapture.open(EVERY_INTERFACE);
    const socket = sender();
    socket.send(frame(60, 99), 60);
    const port = await talk("hello");
    const packet = new Packet();
    const direction = new Direction(port);
    let seen = 0;
    while (every.next(packet)) {
      if (arena.view.getUint16(packet.at + 12) === ETHERTYPE) seen++;
      else direction.add(packet);
    }
    assert.deepEqual([seen, direction.bytes], [2, 5], "both ends of the pair, and loopback");
    await every.close();
  },

  "a packet larger than a segment comes whole, as the kernel passes it": async () => {
    const capture = LiveCapture.open("lo");
    const port = await talk("y".repeat(400_000));
    const packet = new Packet();
    const direction = new Direction(port);
    while (capture.next(packet)) {
      assert.equal(packet.end - packet.at, packet.originalBytes);
      direction.add(packet);
    }
    assert.equal(direction.bytes, 400_000);
    assert.ok(direction.largest > 16_000, `${direction.largest}`);
    await capture.close();
  },

  "what cannot be captured is told, and costs nothing": () => {
    assert.equal(PacketCapture.open("none0", PLAIN), -ENODEV);
    assert.throws(() => LiveCapture.open("none0"), /Cannot capture on none0: .*see ip link/);
    const descriptors = (): number => [...Deno.readDirSync("/proc/self/fd")].length;
    const [before, taken] = [descriptors(), arenaTaken()];
    for (let times = 0; times < 50; times++) {
      PacketCapture.open("none0", PLAIN);
      PacketCapture.open("left0", { ...PLAIN, program: () => Int32Array.of(0x05, 1000) });
      opened("left0").close();
    }
    assert.deepEqual([descriptors(), arenaTaken()], [before, taken]);
  },
};

const ALONE = `${PREPARE};`;

if (import.meta.main) {
  await CASES[Deno.args[0]!]!();
  Deno.exit(0); // a capture may be open
} else {
  const isThere = (await unshared(ALONE, ["ip", "link", "show", "tun0"]))?.success === true;
  testUnshared(import.meta.url, Object.keys(CASES), ALONE, isThere);

  Deno.test("without privilege a capture is refused, with the remedy", () => {
    if (Deno.uid() === 0) assert.equal(PacketCapture.open("none0", PLAIN), -ENODEV);
    else assert.throws(() => LiveCapture.open("lo"), /run it as root/);
  });
}
