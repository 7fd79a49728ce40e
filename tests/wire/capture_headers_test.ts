/** Link layers, IP and TCP headers of captured packets. */
import assert from "node:assert/strict";
import { Fault, lastFault } from "../../src/mem/fault.ts";
import { regionOf } from "../../src/mem/region.ts";
import {
  IpPacket,
  PROTOCOL_TCP,
  readIpv4,
  readIpv6,
  skipExtensions,
} from "../../src/wire/capture/ip.ts";
import {
  ETHER_TYPE_IPV4,
  ETHER_TYPE_IPV6,
  LinkHeader,
  linkTypeName,
  readLinkHeader,
} from "../../src/wire/capture/link_layer.ts";
import { readTcp, TcpFlag, TcpSegment } from "../../src/wire/capture/tcp.ts";
import {
  ethernet,
  fragment,
  linuxSll,
  linuxSll2,
  loopback,
  segment,
  type SegmentOptions,
} from "../capture/pcap_builder.ts";

const V4 = { from: "10.0.0.1:5000", to: "10.0.0.2:3260" };
const V6 = { from: "[fd00::1]:5000", to: "[fd00::2]:3260" };
const IP4 = segment({ ...V4, data: "hi" });
const IP6 = segment({ ...V6, data: "hi" });

/** Frames, and where their IP header begins. */
const FRAMES = [
  { name: "Ethernet", frame: ethernet(IP4), linkType: 1, at: 14 },
  { name: "Ethernet with a tag", frame: ethernet(IP6, [7]), linkType: 1, at: 18 },
  {
    name: "Ethernet with four tags",
    frame: ethernet(IP4, [[0x88a8, 1], [0x9100, 2], 3, 4]),
    linkType: 1,
    at: 30,
  },
  { name: "cooked", frame: linuxSll(IP6), linkType: 113, at: 16 },
  { name: "cooked v2", frame: linuxSll2(IP4), linkType: 276, at: 20 },
  { name: "loopback, little endian", frame: loopback(IP4, false), linkType: 0, at: 4 },
  { name: "loopback, big endian", frame: loopback(IP6, true), linkType: 0, at: 4 },
  { name: "loopback of OpenBSD", frame: loopback(IP6, true), linkType: 108, at: 4 },
  { name: "raw", frame: IP4, linkType: 101, at: 0 },
  { name: "raw of BSD/OS", frame: IP6, linkType: 12, at: 0 },
  { name: "raw of OpenBSD", frame: IP4, linkType: 14, at: 0 },
  { name: "raw IPv4", frame: IP4, linkType: 228, at: 0 },
  { name: "raw IPv6", frame: IP6, linkType: 229, at: 0 },
];

Deno.test.each(FRAMES)("readLinkHeader() of $name", ({ frame, linkType, at }) => {
  const from = regionOf(frame);
  const into = new LinkHeader();
  assert.equal(readLinkHeader(from, 0, frame.length, linkType, into), at);
  assert.equal(into.etherType, frame[at]! >> 4 === 4 ? ETHER_TYPE_IPV4 : ETHER_TYPE_IPV6);
  // Up to the last byte of what was read, every shorter capture is short.
  for (let end = 0; end < Math.max(at, 1); end++) {
    assert.equal(readLinkHeader(from, 0, end, linkType, into), -Fault.Short, `${end} bytes`);
  }
});

Deno.test("a fifth tag, 802.3 and ARP are no IP", () => {
  const into = new LinkHeader();
  const tagged = ethernet(IP4, [1, 2, 3, 4, 5]);
  assert.equal(readLinkHeader(regionOf(tagged), 0, tagged.length, 1, into), 30);
  assert.equal(into.etherType, 0x8100);
  for (const type of [0x0806, 64]) {
    const frame = ethernet(IP4);
    frame.set([type >> 8, type & 255], 12);
    readLinkHeader(regionOf(frame), 0, frame.length, 1, into);
    assert.equal(into.etherType, type);
  }
});

Deno.test("the families of NULL are those of Linux, FreeBSD, NetBSD and macOS", () => {
  const into = new LinkHeader();
  for (const [family, etherType] of [[2, ETHER_TYPE_IPV4], [7, 0], [0x0200, 0]] as const) {
    const frame = Uint8Array.of(0, 0, family >> 8, family & 255);
    readLinkHeader(regionOf(frame), 0, 4, 0, into);
    assert.equal(into.etherType, etherType);
  }
  for (const family of [10, 24, 28, 30]) {
    for (const frame of [Uint8Array.of(0, 0, 0, family), Uint8Array.of(family, 0, 0, 0)]) {
      readLinkHeader(regionOf(frame), 0, 4, 0, into);
      assert.equal(into.etherType, ETHER_TYPE_IPV6);
    }
  }
});

Deno.test("a link type that is not read is named", () => {
  assert.equal(readLinkHeader(regionOf(IP4), 0, IP4.length, 127, new LinkHeader()), -Fault.Feature);
  assert.equal(lastFault.value, 127);
  assert.equal(linkTypeName(127), "IEEE802_11_RADIOTAP");
  assert.equal(linkTypeName(4711), "link type 4711");
});

function readIp(ip: Uint8Array<ArrayBuffer>, end = ip.length, wireBytes = ip.length): {
  result: number;
  packet: IpPacket;
  addresses: Int32Array;
} {
  const packet = new IpPacket();
  const addresses = new Int32Array(8);
  const read = ip[0]! >> 4 === 4 ? readIpv4 : readIpv6;
  return { result: read(regionOf(ip), 0, end, wireBytes, packet, addresses), packet, addresses };
}

Deno.test("addresses are words of 128 bits, IPv4 mapped", () => {
  assert.deepEqual(
    [...readIp(IP4).addresses],
    [0, 0, 0xffff, 0x0a000001, 0, 0, 0xffff, 0x0a000002],
  );
  assert.deepEqual([...readIp(IP6).addresses], [0xfd000000 | 0, 0, 0, 1, 0xfd000000 | 0, 0, 0, 2]);
});

Deno.test("padding of the link is no payload, and what the snap length cut is", () => {
  const padded = new Uint8Array(60);
  padded.set(IP4);
  assert.equal(readIp(padded).packet.end, IP4.length);
  const long = segment({ ...V4, data: new Uint8Array(1000) });
  const { result, packet } = readIp(long, 96);
  assert.equal(result, 20);
  assert.equal(packet.end, 96);
  assert.equal(packet.payloadBytes, 1020);
});

Deno.test("a length of 0 is that of the frame, as segmentation offload leaves it", () => {
  const data = new Uint8Array(66000);
  for (const ends of [V4, V6]) {
    const ip = segment({ ...ends, data, ipLength: 0 });
    const { result, packet } = readIp(ip);
    assert.equal(packet.payloadBytes, ip.length - result);
    assert.equal(packet.end, ip.length);
  }
});

Deno.test("a length of 0 in a frame that claims 4 GB is refused", () => {
  for (const ends of [V4, V6]) {
    const ip = segment({ ...ends, ipLength: 0 });
    assert.equal(readIp(ip, ip.length, 0xffffffff).result, -Fault.Large);
  }
});

Deno.test("options of IPv4 are passed over", () => {
  const ip = segment({ ...V4, data: "hi", ipOptions: [0x94, 4, 0, 0] }); // router alert
  assert.equal(readIp(ip).result, 24);
  assert.equal(readIp(ip).packet.payloadBytes, 22);
});

/** Chains of extension headers as [first next header, bytes]. */
const CHAINS: { name: string; nextHeader: number; ipOptions: number[] }[] = [
  { name: "hop-by-hop", nextHeader: 0, ipOptions: [6, 0, 5, 2, 0, 0, 1, 0] },
  { name: "routing", nextHeader: 43, ipOptions: [6, 2, 4, 0, 0, 0, 0, 0, ...zeros(16)] },
  { name: "destination options", nextHeader: 60, ipOptions: [6, 0, 1, 4, 0, 0, 0, 0] },
  { name: "authentication", nextHeader: 51, ipOptions: [6, 4, 0, 0, ...zeros(20)] },
  { name: "an atomic fragment", nextHeader: 44, ipOptions: [6, 0, 0, 0, 0, 0, 0, 9] },
  {
    name: "all of them",
    nextHeader: 0,
    ipOptions: [
      ...[60, 0, 1, 4, 0, 0, 0, 0],
      ...[43, 0, 1, 4, 0, 0, 0, 0],
      ...[44, 0, 4, 0, 0, 0, 0, 0],
      ...[51, 0, 0, 0, 0, 0, 0, 9],
      ...[6, 1, 0, 0, ...zeros(8)],
    ],
  },
];

Deno.test.each(CHAINS)("extension headers: $name", ({ nextHeader, ipOptions }) => {
  const ip = segment({ ...V6, data: "hi", nextHeader, ipOptions });
  const { result, packet } = readIp(ip);
  assert.equal(result, 40 + ipOptions.length);
  assert.equal(packet.protocol, PROTOCOL_TCP);
  assert.equal(packet.payloadBytes, 22);
  assert.equal(packet.isFragment, false);
  for (let end = 0; end < result; end++) {
    const cut = readIp(ip, end);
    assert.ok(cut.result < 0 || end === result, `${end} bytes`);
  }
});

Deno.test("a chain of sixteen extension headers is refused", () => {
  const ipOptions = Array.from({ length: 40 }, () => [60, 0, 1, 4, 0, 0, 0, 0]).flat();
  assert.equal(
    readIp(segment({ ...V6, nextHeader: 60, ipOptions })).result,
    -Fault.Large,
  );
});

Deno.test("fragments tell their place and what they belong to", () => {
  for (const ip of [IP4, IP6]) {
    const { packet } = readIp(fragment(ip, "12345678", 64, true, 77));
    assert.equal(packet.isFragment, true);
    assert.equal(packet.fragmentOffset, 64);
    assert.equal(packet.moreFragments, true);
    assert.equal(packet.identification, 77);
    assert.equal(packet.payloadBytes, 8);
    assert.equal(readIp(fragment(ip, "1", 72, false, 77)).packet.moreFragments, false);
  }
});

Deno.test("skipExtensions() reads what stands in front of TCP in a whole datagram", () => {
  const packet = new IpPacket();
  const bytes = Uint8Array.of(6, 0, 1, 4, 0, 0, 0, 0, 1, 2);
  packet.at = 0;
  packet.end = packet.payloadBytes = bytes.length;
  packet.protocol = 60;
  assert.equal(skipExtensions(regionOf(bytes), packet), 8);
  assert.equal(packet.protocol, PROTOCOL_TCP);
  assert.equal(packet.payloadBytes, 2);
});

const HOSTILE_IP: { name: string; at: number; value: number; ip: Uint8Array }[] = [
  { name: "IHL of 4", at: 0, value: 0x44, ip: IP4 },
  { name: "IHL beyond the total length", at: 0, value: 0x4f, ip: IP4 },
  { name: "version 5 as IPv4", at: 0, value: 0x55, ip: IP4 },
];

Deno.test.each(HOSTILE_IP)("readIpv4() refuses $name", ({ at, value, ip }) => {
  const bad = Uint8Array.from(ip);
  bad[at] = value;
  const result = readIpv4(regionOf(bad), 0, 42, 42, new IpPacket(), new Int32Array(8));
  assert.equal(result, -Fault.Field);
});

function readSegment(options: SegmentOptions, end?: number): {
  result: number;
  into: TcpSegment;
} {
  const ip = segment(options);
  const into = new TcpSegment();
  const result = readTcp(regionOf(ip), 20, end ?? ip.length, ip.length - 20, into);
  return { result, into };
}

Deno.test("readTcp() reads every field", () => {
  const { result, into } = readSegment({
    ...V4,
    seq: 0xfffffffe,
    ack: 0x80000000,
    flags: "FSRPAU",
    urgent: 0xffff,
    data: "hello",
    options: [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
  });
  assert.equal(result, 52);
  assert.equal(into.sourcePort, 5000);
  assert.equal(into.destinationPort, 3260);
  assert.equal(into.sequence, 0xfffffffe);
  assert.equal(into.acknowledgment, 0x80000000);
  assert.equal(into.flags, 63);
  assert.equal(into.urgentPointer, 0xffff);
  assert.deepEqual([into.dataAt, into.dataEnd, into.dataBytes], [52, 57, 5]);
  assert.equal(readSegment({ ...V4, flags: "SA" }).into.flags, TcpFlag.Syn | TcpFlag.Ack);
});

Deno.test("readTcp() of a segment that the snap length cut knows its length", () => {
  const options = { ...V4, data: new Uint8Array(100), options: zeros(12) };
  for (let end = 40; end <= 152; end++) {
    const { into } = readSegment(options, end);
    assert.equal(into.dataBytes, 100);
    assert.equal(into.dataEnd - into.dataAt, Math.max(0, end - 52));
  }
  for (let end = 20; end < 40; end++) assert.equal(readSegment(options, end).result, -Fault.Short);
});

Deno.test("readTcp() refuses a header that is longer than its segment, or too short", () => {
  const ip = segment(V4);
  for (const words of [0, 4, 6, 15]) {
    ip[32] = words << 4;
    assert.equal(readTcp(regionOf(ip), 20, 40, 20, new TcpSegment()), -Fault.Field);
  }
});

function zeros(count: number): number[] {
  return new Array<number>(count).fill(0);
}
