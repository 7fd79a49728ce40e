/** Files of pcap and pcapng as other programs write them, block by block. */
import assert from "node:assert/strict";
import { Fault, lastFault } from "../../src/mem/fault.ts";
import { type Region, regionOf } from "../../src/mem/region.ts";
import { CaptureOrigin, Packet } from "../../src/wire/capture/packet.ts";
import { isPcap, PcapHeader, readPcapHeader, readPcapRecord } from "../../src/wire/capture/pcap.ts";
import { isPcapng, PcapngState, readBlock } from "../../src/wire/capture/pcapng.ts";
import {
  BUILT_SECONDS,
  type BuiltPacket,
  concat,
  pcapFile,
  pcapngBlock,
  pcapngFile,
  segment,
} from "../capture/pcap_builder.ts";

/** The frame of all vectors: Ethernet, IPv4 10.1.1.1 to 10.2.2.2, TCP 5000 to 3260, "hi", padding. */
const FRAME = "2052454356002053454e440008004500002a12340000ff0692940a0101010a020202" +
  "13880cbc000000000000000050002000f02f0000686900000000";

/** 2026-11-22 00:00:00 UTC. */
const ORIGIN = 1795305600;

/** Files of Wireshark 4.0.17 on Debian 12, made on 2026-11-22 of a text file `in.txt` with the lines
 * `2026-11-22 00:00:00.123456789` and `0000 68 69`. */
const VECTORS = [
  {
    // text2pcap -F pcap -t '%Y-%m-%d %H:%M:%S.%f' -T 5000,3260 in.txt a.pcap
    name: "pcap, microseconds",
    hex: "d4c3b2a1020004000000000000000000000004000100000080 30026b40e201003c0000003c000000" +
      FRAME,
    times: [123456000],
  },
  {
    // editcap -F nsecpcap a.pcap b.pcap
    name: "pcap, nanoseconds",
    hex: "4d3cb2a1020004000000000000000000000004000100000080 30026b00ca5b073c0000003c000000" +
      FRAME,
    times: [123456000],
  },
  {
    // editcap -F pcapng -a 1:hello a.pcap c.pcapng
    name: "pcapng with a comment",
    hex:
      "0a0d0d0a6c0000004d3c2b1a01000000ffffffffffffffff0400450045646974636170202857697265736861" +
      "726b2920342e302e313720284769742076342e302e3137207061636b6167656420617320342e302e31372d30" +
      "2b6465623132753329000000000000006c000000" +
      "0100000014000000010000000000040014000000" +
      "060000006c00000000000000d260060040028f283c0000003c000000" + FRAME +
      "0100050068656c6c6f000000000000006c000000",
    times: [123456000],
  },
  {
    // text2pcap … -T 5000,3260 -l 1 in.txt d.pcapng; text2pcap … -4 10.0.0.1,10.0.0.2 -T 5000,3260
    // -l 101 in.txt e.pcapng; mergecap -w f.pcapng d.pcapng e.pcapng (its section header left out)
    name: "pcapng with two interfaces",
    hex: "0a0d0d0a1c0000004d3c2b1a01000000ffffffffffffffff1c000000" +
      "010000003800000001000000000004000200120046616b652049462c20746578743270636170000009000100" +
      "090000000000000038000000" +
      "010000003800000065000000000004000200120046616b652049462c20746578743270636170000009000100" +
      "090000000000000038000000" +
      "060000004c00000001000000ee34ea1815cda06e2a0000002a0000004500002a12340000ff0695970a000001" +
      "0a00000213880cbc000000000000000050002000f3320000686900004c000000" +
      "060000005c00000000000000ee34ea1815cda06e3c0000003c000000" + FRAME + "5c000000",
    times: [123456789, 123456789],
  },
];

Deno.test.each(VECTORS)("$name is read as it was written", ({ hex, times }) => {
  const { packets, origin } = readAll(Uint8Array.fromHex(hex.replaceAll(" ", "")));
  assert.equal(origin.seconds, ORIGIN);
  assert.deepEqual(packets.map(({ timeNs }) => timeNs), times);
  const last = packets.at(-1)!;
  assert.equal(last.hex, FRAME);
  assert.equal(last.originalBytes, 60);
  assert.equal(last.linkType, 1);
  if (times.length === 2) {
    assert.equal(packets[0]!.linkType, 101);
    assert.deepEqual(packets.map(({ interfaceIndex }) => interfaceIndex), [1, 0]);
  }
});

interface Read {
  readonly hex: string;
  readonly timeNs: number;
  readonly originalBytes: number;
  readonly linkType: number;
  readonly interfaceIndex: number;
  readonly flags: number;
}

/** Reads a whole file; throws what was wrong. */
function readAll(
  file: Uint8Array<ArrayBuffer>,
): { packets: Read[]; origin: CaptureOrigin; state: PcapngState } {
  const from: Region = regionOf(file);
  const origin = new CaptureOrigin();
  const header = new PcapHeader();
  const state = new PcapngState();
  const packet = new Packet();
  const packets: Read[] = [];
  const isOld = isPcap(from, 0);
  assert.equal(isPcapng(from, 0), !isOld);
  let at = isOld ? readPcapHeader(from, 0, file.length, header) : 0;
  while (at >= 0 && at < file.length) {
    at = isOld
      ? readPcapRecord(from, at, file.length, header, origin, packet)
      : readBlock(from, at, file.length, state, origin, packet);
    if (at < 0 || !(isOld || state.isPacket)) continue;
    const { timeNs, originalBytes, linkType, interfaceIndex, flags } = packet;
    const hex = file.slice(packet.at, packet.end).toHex();
    packets.push({ hex, timeNs, originalBytes, linkType, interfaceIndex, flags });
  }
  if (at < 0) throw new Error(`${lastFault.field}: ${lastFault.value}`);
  return { packets, origin, state };
}

const IP = segment({ from: "10.0.0.1:5000", to: "10.0.0.2:3260", data: "hello" });
const PACKETS: readonly BuiltPacket[] = [
  { ip: IP, timeNs: 999_999_000 },
  { ip: IP, timeNs: 1_000_001_000, originalBytes: 9000 },
  { ip: IP, timeNs: 5_000_000_000 },
  { ip: IP, timeNs: 4_000_000_000 }, // captured on another processor
  { ip: IP, timeNs: -1_000_000_000 },
];
const TIMES = [999_999_000, 1_000_001_000, 5_000_000_000, 4_000_000_000, -1_000_000_000];

const FORMATS = [false, true].flatMap((bigEndian) => [
  ...[false, true].map((nanoseconds) => ({
    name: `pcap, big endian ${bigEndian}, nanoseconds ${nanoseconds}`,
    file: pcapFile(PACKETS, { bigEndian, nanoseconds, linkType: 101 }),
  })),
  ...[6, 2].map((block) => ({
    name: `pcapng, big endian ${bigEndian}, blocks of type ${block}`,
    file: pcapngFile(PACKETS.map((packet) => ({ ...packet, block })), { bigEndian, linkType: 101 }),
  })),
]);

Deno.test.each(FORMATS)("times and lengths are exact: $name", ({ file }) => {
  const { packets, origin } = readAll(file);
  assert.equal(origin.seconds, BUILT_SECONDS);
  assert.deepEqual(packets.map(({ timeNs }) => timeNs), TIMES);
  assert.deepEqual(packets.map(({ hex }) => hex), PACKETS.map(() => IP.toHex()));
  assert.equal(packets[1]!.originalBytes, 9000);
  assert.equal(packets[1]!.linkType, 101);
});

Deno.test("every resolution of pcapng gives nanoseconds, with an offset too", () => {
  for (const resolution of [0, 3, 6, 7, 9, 10, 0x80, 0x80 | 10, 0x80 | 20, 0x80 | 30, 0x80 | 32]) {
    for (const offsetSeconds of [0, 1_700_000_000, -86400]) {
      const interfaces = [{ resolution, offsetSeconds, linkType: 101 }];
      const { packets, origin } = readAll(pcapngFile(PACKETS, { interfaces }));
      assert.equal(origin.seconds, BUILT_SECONDS);
      const exponent = resolution & 0x7f;
      const unitNs = 1e9 / (resolution < 0x80 ? 10 ** exponent : 2 ** exponent);
      for (const [index, { timeNs }] of packets.entries()) {
        const lost = TIMES[index]! - timeNs;
        assert.ok(lost >= 0 && lost < unitNs + 1, `${resolution}: ${timeNs} at ${index}`);
      }
    }
  }
});

Deno.test("picoseconds are exact as far as the offset lets the field hold them", () => {
  const interfaces = [{ resolution: 12, offsetSeconds: 1_795_000_000 }];
  const { packets } = readAll(pcapngFile(PACKETS, { interfaces }));
  assert.deepEqual(packets.map(({ timeNs }) => timeNs), TIMES);
});

Deno.test("interfaces of different resolutions count from one origin", () => {
  const interfaces = [{ resolution: 6 }, { resolution: 9, linkType: 101 }, {
    resolution: 0x80 | 20,
  }];
  const packets = [0, 1, 2].map((index) => ({ ip: IP, interface: index, timeNs: 2_500_000_000 }));
  const { packets: read, origin } = readAll(pcapngFile(packets, { interfaces }));
  assert.equal(origin.seconds, BUILT_SECONDS + 2);
  assert.deepEqual(read.map(({ timeNs }) => timeNs), [5e8, 5e8, 5e8]);
  assert.deepEqual(read.map(({ linkType }) => linkType), [1, 101, 1]);
});

Deno.test("sections of different byte orders have interfaces of their own", () => {
  const file = concat(
    pcapngFile([IP], { linkType: 101 }),
    pcapngFile([IP], { bigEndian: true, interfaces: [{ name: "eth0", snap: 96 }] }),
    pcapngFile([IP], { linkType: 113 }),
  );
  const { packets, state } = readAll(file);
  assert.deepEqual(packets.map(({ linkType }) => linkType), [101, 1, 113]);
  assert.deepEqual(packets.map(({ interfaceIndex }) => interfaceIndex), [0, 1, 2]);
  assert.equal(state.interfaces[1]!.name, "eth0");
  assert.equal(state.interfaces[1]!.snapLength, 96);
});

Deno.test("a simple packet has the time of the one before, and the snap length of its interface", () => {
  const packets = [{ ip: IP, timeNs: 5 }, { ip: IP, block: 3 }];
  const { packets: read } = readAll(pcapngFile(packets, { snap: 30, linkType: 101 }));
  assert.equal(read[1]!.timeNs, 5);
  assert.equal(read[1]!.hex, IP.slice(0, 30).toHex());
  assert.equal(read[1]!.originalBytes, IP.length);
});

Deno.test("epb_flags are read behind comments, and what is wrong there is passed over", () => {
  const comments = ["one", "two", ""];
  const { packets } = readAll(pcapngFile([
    { ip: IP, flags: 2, comments },
    { ip: IP, comments },
    IP,
  ]));
  assert.deepEqual(packets.map(({ flags }) => flags), [2, 0, 0]);
});

Deno.test("blocks of other types are skipped, also beyond what is there", () => {
  const other = pcapngBlock(0x0bad, new Uint8Array(1000));
  const plain = pcapngFile([IP]);
  const file = concat(plain, other, plain);
  assert.equal(readAll(file).packets.length, 2);
  const state = new PcapngState();
  const read = (at: number, end: number): number =>
    readBlock(regionOf(file), at, end, state, new CaptureOrigin(), new Packet());
  assert.equal(read(plain.length, plain.length + 12), plain.length + other.length);
  for (let end = plain.length; end < plain.length + 12; end++) {
    assert.equal(read(plain.length, end), -Fault.Short);
  }
});

Deno.test.each(FORMATS)("every cut of a packet needs more: $name", ({ name, file }) => {
  const isOld = name.startsWith("pcap,");
  const from = regionOf(file);
  const header = new PcapHeader();
  for (let end = 4; end < file.length; end++) {
    const state = new PcapngState();
    const origin = new CaptureOrigin();
    const packet = new Packet();
    let at = isOld ? readPcapHeader(from, 0, end, header) : 0;
    while (at >= 0 && at < end) {
      at = isOld
        ? readPcapRecord(from, at, end, header, origin, packet)
        : readBlock(from, at, end, state, origin, packet);
      assert.ok(at <= end);
    }
    assert.ok(at === end || at === -Fault.Short, `${end}: ${at}`);
  }
});

/** Changes 32 bits of a file in its own (little endian) order. */
function changed(
  file: Uint8Array<ArrayBuffer>,
  at: number,
  value: number,
): Uint8Array<ArrayBuffer> {
  const copy = Uint8Array.from(file);
  new DataView(copy.buffer).setUint32(at, value, true);
  return copy;
}

const PCAP = pcapFile([IP]);
const PCAPNG = pcapngFile([IP]);
const EPB = PCAPNG.length - 32 - 60;

const HOSTILE = [
  {
    name: "a record of 4 GB",
    file: changed(PCAP, 32, 0xffffffff),
    field: /Captured Packet Length/,
  },
  { name: "a record over 256 KiB", file: changed(PCAP, 32, 262145), field: /262145/ },
  { name: "version 1 of pcap", file: changed(PCAP, 4, 1), field: /Major Version/ },
  { name: "the modified pcap", file: changed(PCAP, 0, 0xa1b2cd34), field: /Magic Number/ },
  { name: "another order magic", file: changed(PCAPNG, 8, 1), field: /Byte-Order Magic/ },
  { name: "version 2 of pcapng", file: changed(PCAPNG, 12, 2), field: /Major Version/ },
  { name: "a short section header", file: changed(PCAPNG, 4, 24), field: /Total Length: 24/ },
  { name: "a packet block of 8 bytes", file: changed(PCAPNG, EPB + 4, 8), field: /Length: 8/ },
  { name: "a length that is odd", file: changed(PCAPNG, EPB + 4, 93), field: /Length: 93/ },
  {
    name: "a packet block over 1 MiB",
    file: changed(PCAPNG, EPB + 4, 1048580),
    field: /Length: 1048580/,
  },
  {
    name: "any block over 64 MiB",
    file: changed(changed(PCAPNG, EPB, 99), EPB + 4, 67108868),
    field: /Length: 67108868/,
  },
  {
    name: "two lengths that differ",
    file: changed(PCAPNG, PCAPNG.length - 4, 7),
    field: /second Block Total Length: 7/,
  },
  {
    name: "an interface that is not there",
    file: changed(PCAPNG, EPB + 8, 1),
    field: /Interface ID/,
  },
  {
    name: "a packet longer than its block",
    file: changed(PCAPNG, EPB + 20, 62),
    field: /Captured Packet Length: 62/,
  },
  {
    name: "a simple packet without an interface",
    file: concat(pcapngFile([], { interfaces: [] }), pcapngBlock(3, new Uint8Array(8))),
    field: /Simple Packet Block/,
  },
  {
    name: "an option longer than its block",
    file: concat(
      pcapngFile([], { interfaces: [] }),
      pcapngBlock(1, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 5, 0, 65, 65, 65, 65)),
    ),
    field: /Option Length: 5/,
  },
  {
    name: "more than 4096 interfaces",
    file: pcapngFile([], { interfaces: Array.from({ length: 4097 }, () => ({})) }),
    field: /interfaces of the file: 4097/,
  },
];

Deno.test.each(HOSTILE)("refused: $name", ({ file, field }) => {
  assert.throws(() => readAll(file), field);
});
