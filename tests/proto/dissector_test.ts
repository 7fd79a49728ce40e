/** From packets to TCP segments: every link type, fragments, what is counted, hostile bytes, no allocation. */
import assert from "node:assert/strict";
import { getHeapStatistics } from "node:v8";
import { arena, arenaTaken, take } from "../../src/mem/arena.ts";
import { Dissector } from "../../src/proto/capture/dissector.ts";
import { LinkType } from "../../src/wire/capture/link_layer.ts";
import { Packet } from "../../src/wire/capture/packet.ts";
import { TcpSegment } from "../../src/wire/capture/tcp.ts";
import { ethernet, fragment, fragmentsOf, frame, segment } from "../capture/pcap_builder.ts";

const at = take(128 * 1024);
const V4 = { from: "10.0.0.1:5000", to: "10.0.0.2:3260" };
const V6 = { from: "[fd00::1]:5000", to: "[fd00::2]:3260" };

/** Gives a frame to a dissector; the payload's text, or null. */
function dissect(
  dissector: Dissector,
  bytes: Uint8Array,
  options: { linkType?: number; originalBytes?: number; timeNs?: number; into?: TcpSegment } = {},
): string | null {
  arena.bytes.set(bytes, at);
  const packet = new Packet();
  packet.at = at;
  packet.end = at + bytes.length;
  packet.originalBytes = options.originalBytes ?? bytes.length;
  packet.linkType = options.linkType ?? LinkType.Ethernet;
  packet.timeNs = options.timeNs ?? 0;
  const into = options.into ?? new TcpSegment();
  if (!dissector.dissect(packet, into)) return null;
  assert.ok(into.dataEnd >= into.dataAt && into.dataEnd - into.dataAt <= into.dataBytes);
  return new TextDecoder().decode(arena.bytes.slice(into.dataAt, into.dataEnd));
}

/** Runs a test; the arena must be as it was. */
function using(run: (dissector: Dissector) => void): void {
  const before = arenaTaken();
  const dissector = new Dissector();
  run(dissector);
  dissector.close();
  assert.equal(arenaTaken(), before);
}

Deno.test("a segment is found in every link type, over IPv4 and IPv6", () => {
  using((dissector) => {
    for (const linkType of Object.values(LinkType)) {
      for (const ends of [V4, V6]) {
        const into = new TcpSegment();
        const ip = segment({ ...ends, seq: 7, data: "hello", urgent: 3 });
        assert.equal(dissect(dissector, frame(ip, linkType), { linkType, into }), "hello");
        assert.deepEqual([into.sequence, into.urgentPointer, into.flags], [7, 3, 48]);
        assert.equal(into.addresses[3], ends === V4 ? 0x0a000001 : 1);
      }
    }
    assert.equal(dissector.counters.segments, dissector.counters.packets);
  });
});

Deno.test("padding of Ethernet is no data, and what the snap length cut is counted in", () => {
  using((dissector) => {
    const padded = new Uint8Array(60);
    padded.set(ethernet(segment(V4)));
    assert.equal(dissect(dissector, padded), "");
    const into = new TcpSegment();
    const long = ethernet(segment({ ...V4, data: "x".repeat(1000) }));
    const cut = dissect(dissector, long.subarray(0, 64), { originalBytes: long.length, into });
    assert.equal(cut, "x".repeat(10));
    assert.equal(into.dataBytes, 1000);
    assert.equal(dissect(dissector, long.subarray(0, 40), { originalBytes: 1054 }), null);
    assert.equal(dissector.counters.short, 1);
    assert.equal(dissect(dissector, long.subarray(0, 40), { originalBytes: 40 }), null);
    assert.equal(dissector.counters.malformed, 1);
  });
});

Deno.test("super-segments with a length of 0 are whole", () => {
  using((dissector) => {
    for (const ends of [V4, V6]) {
      const into = new TcpSegment();
      const ip = segment({ ...ends, data: new Uint8Array(90_000), ipLength: 0 });
      dissect(dissector, ethernet(ip), { into });
      assert.equal(into.dataBytes, 90_000);
      assert.equal(into.dataEnd - into.dataAt, 90_000);
    }
  });
});

Deno.test("fragments give one segment, at the last of them", () => {
  using((dissector) => {
    const data = "0123456789".repeat(300);
    for (const ends of [V4, V6]) {
      const parts = fragmentsOf(segment({ ...ends, seq: 9, data }), 1000);
      const into = new TcpSegment();
      const found = parts.toReversed().map((part) => dissect(dissector, ethernet(part), { into }));
      assert.deepEqual(found, [...parts.slice(1).map(() => null), data]);
      assert.deepEqual([into.sequence, into.dataBytes], [9, data.length]);
    }
    assert.equal(dissector.counters.fragments, 8);
    assert.equal(dissector.counters.fragmentsDropped, 0);
  });
});

Deno.test("extension headers within a datagram of fragments are passed over", () => {
  using((dissector) => {
    const ip = segment({
      ...V6,
      data: "0123456789",
      nextHeader: 60,
      ipOptions: [6, 0, 1, 4, 0, 0, 0, 0],
    });
    const [first, second, ...rest] = fragmentsOf(ip, 16).map((part) => ethernet(part));
    for (const part of [first!, ...rest]) assert.equal(dissect(dissector, part), null);
    assert.equal(dissect(dissector, second!), "0123456789");
  });
});

Deno.test("overlaps of IPv6 are dropped and counted, a fragment within a datagram is malformed", () => {
  using((dissector) => {
    const ip = segment({ ...V6, data: "0123456789abcdef" });
    const parts = fragmentsOf(ip, 8);
    dissect(dissector, ethernet(parts[0]!));
    dissect(dissector, ethernet(fragment(ip, "overlapping bits", 0, true)));
    for (const part of parts.slice(1)) assert.equal(dissect(dissector, ethernet(part)), null);
    assert.equal(dissector.counters.fragmentsDropped, parts.length + 1);
    const nested = segment({
      ...V6,
      data: "0123456789",
      nextHeader: 44,
      ipOptions: [6, 0, 0, 1, 0, 0, 0, 2],
    });
    for (const part of fragmentsOf(nested, 16, 5)) {
      assert.equal(dissect(dissector, ethernet(part)), null);
    }
    assert.equal(dissector.counters.malformed, 1);
  });
});

Deno.test("what is no TCP is counted, and unknown link types by their number", () => {
  using((dissector) => {
    const udp = segment(V4);
    udp[9] = 17;
    const arp = ethernet(segment(V4));
    arp.set([8, 6], 12);
    const udpParts = fragmentsOf(udp, 8);
    for (const bytes of [ethernet(udp), arp, ethernet(udpParts[0]!)]) {
      assert.equal(dissect(dissector, bytes), null);
    }
    for (const linkType of [127, 127, 4711]) dissect(dissector, arp, { linkType });
    const { notTcp, unknownLink, unknownLinkTypes, fragments } = dissector.counters;
    assert.deepEqual([notTcp, unknownLink, fragments], [3, 3, 0]);
    assert.deepEqual([...unknownLinkTypes], [[127, 2], [4711, 1]]);
    for (let linkType = 1000; linkType < 2000; linkType++) dissect(dissector, arp, { linkType });
    assert.equal(unknownLinkTypes.size, 64);
  });
});

Deno.test("flipped bits and cut packets are counted, and the next packet is read", () => {
  using((dissector) => {
    const good = segment({ ...V4, data: "hello", options: [1, 1, 1, 1] });
    const nested = segment({ ...V6, nextHeader: 44, ipOptions: [6, 0, 0, 1, 0, 0, 0, 2] });
    let given = 0;
    for (const ip of [good, nested, ...fragmentsOf(segment({ ...V6, data: good }), 16)]) {
      const whole = ethernet(ip, [5]);
      for (let bit = 0; bit < whole.length * 8; bit++) {
        const bytes = Uint8Array.from(whole);
        bytes[bit >> 3] = bytes[bit >> 3]! ^ (1 << (bit & 7));
        dissect(dissector, bytes);
        dissect(dissector, bytes.subarray(0, bit % whole.length), { originalBytes: whole.length });
        given += 2;
      }
    }
    const { packets, segments, notTcp, malformed, short, fragments } = dissector.counters;
    assert.equal(packets, given);
    assert.ok(segments > 0 && notTcp > 0 && malformed > 0 && short > 0 && fragments > 0);
    assert.equal(dissect(dissector, ethernet(good)), "hello");
  });
});

Deno.test("dissect() allocates nothing, of segments, fragments and refused packets", () => {
  const calls = 1_000_000;
  const ip = segment({ ...V4, data: new Uint8Array(1448) });
  const cases = [
    { name: "IPv4", parts: [ethernet(ip)] },
    { name: "IPv6", parts: [ethernet(segment({ ...V6, data: new Uint8Array(1428) }), [3])] },
    { name: "fragments", parts: fragmentsOf(ip, 736).map((part) => ethernet(part)) },
    { name: "malformed", parts: [ethernet(ip.slice(0, 30))] },
    { name: "unknown link", parts: [ethernet(ip)], linkType: 127 },
  ];
  for (const { name, parts, linkType = LinkType.Ethernet } of cases) {
    using((dissector) => {
      const into = new TcpSegment();
      const packets = parts.map((bytes, index) => {
        const packet = new Packet();
        packet.at = at + index * 4096;
        packet.end = packet.at + bytes.length;
        packet.originalBytes = bytes.length;
        packet.linkType = linkType;
        arena.bytes.set(bytes, packet.at);
        return packet;
      });
      const run = (count: number): void => {
        for (let call = 0; call < count; call++) {
          for (let index = 0; index < packets.length; index++) {
            dissector.dissect(packets[index]!, into);
          }
        }
      };
      run(calls / 10);
      const before = allocated();
      run(calls);
      const bytes = (allocated() - before) / calls;
      assert.ok(bytes < 4, `${name}: ${bytes} bytes a packet`);
    });
  }
});

function allocated(): number {
  return (getHeapStatistics() as unknown as { total_allocated_bytes: number })
    .total_allocated_bytes;
}
