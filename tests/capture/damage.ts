/**
 * What happens to captures: packets that were not written, a start in the middle, packets out of
 * order, urgent pointers that a middlebox took away, other forms of file and link. Pure functions of
 * what tcpdump(8) writes: the classic format (draft-ietf-opsawg-pcap) with Ethernet.
 *
 * @module
 */
import { seeded } from "../app/fairlead.ts";

/** A packet as it was captured. */
export interface Packet {
  /** Microseconds since 1970. */
  readonly timeUs: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** What TCP says in a packet. */
export interface Segment {
  /** `ip:port`. */
  readonly src: string;
  readonly dst: string;
  readonly sequence: number;
  readonly acknowledgment: number;
  readonly flags: number;
  /** Where the header of TCP is in the packet, and where the data. */
  readonly at: number;
  readonly dataAt: number;
  readonly dataBytes: number;
}

/** A flag of TCP, RFC 9293 section 3.1. */
export const SYN = 2;
const FIN = 1;
const RST = 4;
const URG = 0x20;

const FILE_HEADER_BYTES = 24;
const PACKET_HEADER_BYTES = 16;
const MAGIC_US = 0xa1b2c3d4;
const MAGIC_NS = 0xa1b23c4d;
const ETHERNET_BYTES = 14;
const IPV4 = 0x0800;
const TCP = 6;
/** LINKTYPE_ numbers of draft-ietf-opsawg-pcaplinktype. */
export const LINK_TYPES = {
  null: 0,
  ethernet: 1,
  raw: 101,
  loop: 108,
  sll: 113,
  sll2: 276,
} as const;

/** Reads a file with link type Ethernet, microseconds and this machine's byte order. */
export function readPcap(file: Uint8Array<ArrayBuffer>): Packet[] {
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  if (view.getUint32(0, true) !== MAGIC_US || view.getUint32(20, true) !== LINK_TYPES.ethernet) {
    throw new Error("Cannot read a capture that tcpdump has not made here");
  }
  const packets: Packet[] = [];
  for (let at = FILE_HEADER_BYTES; at + PACKET_HEADER_BYTES <= file.length;) {
    const timeUs = view.getUint32(at, true) * 1e6 + view.getUint32(at + 4, true);
    const captured = view.getUint32(at + 8, true);
    at += PACKET_HEADER_BYTES;
    packets.push({ timeUs, bytes: file.slice(at, at + captured) });
    at += captured;
  }
  return packets;
}

/** How a file is to be written. */
export interface PcapForm {
  readonly linkType?: number;
  readonly bigEndian?: boolean;
  readonly nanoseconds?: boolean;
}

/** Writes a file; of packets longer than `snapBytes` only the begin. */
export function writePcap(
  packets: readonly Packet[],
  { linkType = LINK_TYPES.ethernet, bigEndian = false, nanoseconds = false }: PcapForm = {},
  snapBytes = 262_144,
): Uint8Array<ArrayBuffer> {
  const kept = packets.map(({ bytes }) => Math.min(bytes.length, snapBytes));
  const all = kept.reduce((sum, bytes) => sum + PACKET_HEADER_BYTES + bytes, FILE_HEADER_BYTES);
  const file = new Uint8Array(all);
  const view = new DataView(file.buffer);
  const little = !bigEndian;
  view.setUint32(0, nanoseconds ? MAGIC_NS : MAGIC_US, little);
  view.setUint16(4, 2, little);
  view.setUint16(6, 4, little);
  view.setUint32(16, snapBytes, little);
  view.setUint32(20, linkType, little);
  let at = FILE_HEADER_BYTES;
  for (const [index, { timeUs, bytes }] of packets.entries()) {
    view.setUint32(at, Math.floor(timeUs / 1e6), little);
    view.setUint32(at + 4, timeUs % 1e6 * (nanoseconds ? 1000 : 1), little);
    view.setUint32(at + 8, kept[index]!, little);
    view.setUint32(at + 12, bytes.length, little);
    file.set(bytes.subarray(0, kept[index]), at + PACKET_HEADER_BYTES);
    at += PACKET_HEADER_BYTES + kept[index]!;
  }
  return file;
}

/** The segment in a packet; null where there is none. */
export function segmentOf({ bytes }: Packet): Segment | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < ETHERNET_BYTES + 40 || view.getUint16(12) !== IPV4) return null;
  if (bytes[ETHERNET_BYTES + 9] !== TCP) return null;
  const at = ETHERNET_BYTES + (bytes[ETHERNET_BYTES]! & 0xf) * 4;
  const end = ETHERNET_BYTES + view.getUint16(ETHERNET_BYTES + 2);
  const dataAt = at + (bytes[at + 12]! >> 4) * 4;
  const host = (from: number): string => bytes.subarray(from, from + 4).join(".");
  return {
    src: `${host(ETHERNET_BYTES + 12)}:${view.getUint16(at)}`,
    dst: `${host(ETHERNET_BYTES + 16)}:${view.getUint16(at + 2)}`,
    sequence: view.getUint32(at + 4),
    acknowledgment: view.getUint32(at + 8),
    flags: bytes[at + 13]!,
    at,
    dataAt,
    dataBytes: end - dataAt,
  };
}

/**
 * Loses some of every hundred packets that carry data; as a capture loses, the peers have them.
 *
 * @param mayLose which of them may be lost; all unless given
 */
export function loseSegments(
  packets: readonly Packet[],
  percent: number,
  seed: number,
  mayLose: (segment: Segment) => boolean = (): boolean => true,
): Packet[] {
  const random = seeded(seed);
  return packets.filter((packet) => {
    const segment = segmentOf(packet);
    if (segment === null || segment.dataBytes === 0) return true;
    return random(10_000) >= percent * 100 || !mayLose(segment);
  });
}

/** Begins in the middle: the first packets were not captured. */
export function cutBegin(packets: readonly Packet[], share: number): Packet[] {
  return packets.slice(Math.floor(packets.length * share));
}

/** Packets further apart than this do not overtake each other: a reader need not wait for so long. */
const APART_US = 500;

/**
 * Lets packets overtake each other, by up to `window` places; what opens or ends a connection stays,
 * and nothing passes it. Times stay in order, as a capture notes when it sees a packet.
 *
 * @param keepsCauses whether what acknowledges data stays behind it, as it does on a wire; where
 * several queues of an interface are captured it may not
 */
export function reorder(
  packets: readonly Packet[],
  window: number,
  seed: number,
  keepsCauses = false,
): Packet[] {
  const random = seeded(seed);
  const result: Packet[] = [];
  let run: { packet: Packet; segment: Segment; rank: number }[] = [];
  const flush = (): void => {
    run.sort((a, b) => a.rank - b.rank);
    result.push(...run.map(({ packet }) => packet));
    run = [];
  };
  for (const [index, packet] of packets.entries()) {
    const segment = segmentOf(packet);
    if (index > 0 && packet.timeUs - packets[index - 1]!.timeUs > APART_US) flush();
    if (segment === null || (segment.flags & (SYN | FIN | RST)) !== 0) {
      flush();
      result.push(packet);
      continue;
    }
    let rank = index + random(window * 1000) / 1000;
    if (keepsCauses) {
      for (const before of run.slice(-4 * window)) {
        if (acknowledges(segment, before.segment)) rank = Math.max(rank, before.rank + 1e-6);
      }
    }
    run.push({ packet, segment, rank });
  }
  flush();
  return result.map(({ bytes }, index) => ({ bytes, timeUs: packets[index]!.timeUs }));
}

function acknowledges({ acknowledgment, dst, src }: Segment, data: Segment): boolean {
  if (data.src !== dst || data.dst !== src || data.dataBytes === 0) return false;
  return ((acknowledgment - data.sequence - data.dataBytes) | 0) >= 0;
}

/**
 * Marks starts of messages as a Linux sender does that sends the first byte of each urgent: the
 * pointer names the byte after it. A segment names the last start that it holds, and one that holds
 * none has no mark, as with a sender that begins no message before the one before it is on the wire.
 *
 * @param startsOf offsets of the starts in the stream of a segment, in order, and that of the segment
 */
export function markUrgent(
  packets: readonly Packet[],
  startsOf: (segment: Segment) => { readonly starts: readonly number[]; readonly offset: number },
): Packet[] {
  return packets.map((packet) => {
    const segment = segmentOf(packet);
    if (segment === null || segment.dataBytes === 0) return packet;
    const { starts, offset } = startsOf(segment);
    const start = starts.findLast((one) => one < offset + segment.dataBytes);
    if (start === undefined || start < offset) return packet;
    const bytes = packet.bytes.slice();
    bytes[segment.at + 13]! |= URG;
    new DataView(bytes.buffer).setUint16(segment.at + 18, start + 1 - offset);
    return { ...packet, bytes };
  });
}

/** A middlebox between the peers: it zeroes every urgent pointer, or clears the flag too. */
export function loseUrgent(packets: readonly Packet[], what: "pointer" | "flag"): Packet[] {
  return packets.map((packet) => {
    const segment = segmentOf(packet);
    if (segment === null || (segment.flags & URG) === 0) return packet;
    const bytes = packet.bytes.slice();
    if (what === "flag") bytes[segment.at + 13]! &= ~URG;
    bytes.fill(0, segment.at + 18, segment.at + 20);
    return { ...packet, bytes };
  });
}

/** The same packets as another kind of link would have carried them. */
export function relink(
  packets: readonly Packet[],
  link: keyof typeof LINK_TYPES | "vlan",
): Packet[] {
  return packets.map((packet) => {
    const { bytes } = packet;
    const type = [...bytes.subarray(12, ETHERNET_BYTES)];
    const source = [...bytes.subarray(6, 12)];
    const header: Record<typeof link, readonly number[]> = {
      ethernet: [...bytes.subarray(0, ETHERNET_BYTES)],
      // IEEE 802.1Q: priority 5, identifier 42.
      vlan: [...bytes.subarray(0, 12), 0x81, 0, 0xa0, 42, ...type],
      null: [2, 0, 0, 0], // AF_INET in the byte order of the machine
      loop: [0, 0, 0, 2],
      raw: [],
      sll: [0, 0, 0, 1, 0, 6, ...source, 0, 0, ...type],
      sll2: [...type, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, ...source, 0, 0],
    };
    const rest = bytes.subarray(ETHERNET_BYTES);
    const all = new Uint8Array(header[link].length + rest.length);
    all.set(header[link]);
    all.set(rest, header[link].length);
    return { ...packet, bytes: all };
  }).filter((_, index) => isIpv4(packets[index]!));
}

function isIpv4({ bytes }: Packet): boolean {
  return ((bytes[12]! << 8) | bytes[13]!) === IPV4;
}
