/**
 * Captures made by hand: IP packets with TCP segments, put into frames of a link type and into files of
 * pcap or pcapng. A capture of three segments is
 *
 *     const peer = { from: "10.0.0.1:5000", to: "10.0.0.2:3260" };
 *     pcapFile([
 *       segment({ ...peer, seq: 99, flags: "S" }),
 *       segment({ ...peer, seq: 100, data: "hello" }),
 *       { ip: segment({ ...peer, seq: 105, data: login, urgent: 1 }), timeNs: 5e6 },
 *     ]);
 *
 * @module
 */
import { Family, parseInet } from "../../src/wire/inet.ts";
import { LinkType } from "../../src/wire/capture/link_layer.ts";

/** Where the times of captures made here begin: 2026-11-21, a whole second. */
export const BUILT_SECONDS = 1795228024;
/** Between packets that have no time of their own. */
const STEP_NS = 1_000_000;

/** A segment of TCP; `ip:port`, IPv6 in brackets. */
export interface SegmentOptions {
  readonly from: string;
  readonly to: string;
  readonly seq?: number;
  readonly ack?: number;
  /** Letters of FSRPAU; `A` when left out, `AU` with an urgent pointer. */
  readonly flags?: string;
  readonly urgent?: number;
  readonly data?: Data;
  /** Options of TCP, filled up to 32 bits with zeros. */
  readonly options?: readonly number[];
  /** Options of IPv4, or whole extension headers of IPv6, whose first is `nextHeader`. */
  readonly ipOptions?: readonly number[];
  readonly nextHeader?: number;
  /** The length field of IP; what fits when left out. */
  readonly ipLength?: number;
  readonly identification?: number;
}

/** Bytes, or text as UTF-8. */
export type Data = string | Uint8Array | readonly number[];

/** A packet of a file: an IP packet for which a frame is made, or a frame. */
export type BuiltPacket = Uint8Array<ArrayBuffer> | {
  readonly ip?: Uint8Array<ArrayBuffer>;
  readonly frame?: Uint8Array<ArrayBuffer>;
  /** Since {@linkcode BUILT_SECONDS}; a millisecond for each packet before it when left out. */
  readonly timeNs?: number;
  /** Length on the wire; that of the frame when left out. */
  readonly originalBytes?: number;
  /** Only pcapng: index of the interface, and options of the packet behind each other. */
  readonly interface?: number;
  readonly comments?: readonly string[];
  readonly flags?: number;
  /** Only pcapng: the block's type, 6 when left out; 2 and 3 are the obsolete and the simple one. */
  readonly block?: number;
};

/** How a pcap file is written. */
export interface PcapOptions {
  readonly nanoseconds?: boolean;
  readonly bigEndian?: boolean;
  /** Ethernet when left out. */
  readonly linkType?: number;
  /** What is kept of a packet. */
  readonly snap?: number;
}

/** An interface of a pcapng file. */
export interface BuiltInterface {
  readonly linkType?: number;
  readonly snap?: number;
  readonly name?: string;
  /** if_tsresol; nanoseconds (9) when left out. */
  readonly resolution?: number;
  /** if_tsoffset. */
  readonly offsetSeconds?: number;
}

/** How a pcapng file is written. */
export interface PcapngOptions {
  readonly bigEndian?: boolean;
  readonly linkType?: number;
  readonly snap?: number;
  /** Several interfaces, instead of one of `linkType` and `snap`. */
  readonly interfaces?: readonly BuiltInterface[];
}

/** An IP packet with a segment. */
export function segment(options: SegmentOptions): Uint8Array<ArrayBuffer> {
  const from = endpoint(options.from);
  const to = endpoint(options.to);
  const tcpOptions = filled(options.options ?? [], 4);
  const data = bytesOf(options.data ?? "");
  const flags = options.flags ?? (options.urgent === undefined ? "A" : "AU");
  const tcp = [
    ...u16(from.port),
    ...u16(to.port),
    ...u32(options.seq ?? 0),
    ...u32(options.ack ?? 0),
    (5 + tcpOptions.length / 4) << 4,
    [...flags].reduce((bits, letter) => bits | (1 << "FSRPAU".indexOf(letter)), 0),
    ...u16(65535),
    ...u16(0),
    ...u16(options.urgent ?? 0),
    ...tcpOptions,
  ];
  const payload = concat(Uint8Array.from(tcp), data);
  return from.family === Family.Inet
    ? ipv4(from.address, to.address, payload, options)
    : ipv6(from.address, to.address, payload, options);
}

/** The fragments of an IP packet without options, with `bytesEach` (a multiple of 8) of its payload. */
export function fragmentsOf(
  ip: Uint8Array<ArrayBuffer>,
  bytesEach: number,
  identification = 1,
): Uint8Array<ArrayBuffer>[] {
  const headerBytes = ip[0]! >> 4 === 4 ? 20 : 40;
  const payload = ip.subarray(headerBytes);
  const parts: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 0; at < payload.length; at += bytesEach) {
    const more = at + bytesEach < payload.length;
    parts.push(fragment(ip, payload.subarray(at, at + bytesEach), at, more, identification));
  }
  return parts;
}

/** One fragment with the header of `ip`: `data` stands at `offset` of the payload. */
export function fragment(
  ip: Uint8Array<ArrayBuffer>,
  data: Data,
  offset: number,
  more: boolean,
  identification = 1,
): Uint8Array<ArrayBuffer> {
  const part = bytesOf(data);
  if (ip[0]! >> 4 === 4) {
    const made = concat(ip.subarray(0, 20), part);
    made.set(u16(made.length), 2);
    made.set(u16(identification), 4);
    made.set(u16(offset / 8 | (more ? 0x2000 : 0)), 6);
    return made;
  }
  const header = [ip[6]!, 0, ...u16(offset | (more ? 1 : 0)), ...u32(identification)];
  const made = concat(ip.subarray(0, 40), Uint8Array.from(header), part);
  made.set(u16(made.length - 40), 4);
  made[6] = 44;
  return made;
}

/** A frame of a link type around an IP packet. */
export function frame(ip: Uint8Array<ArrayBuffer>, linkType: number): Uint8Array<ArrayBuffer> {
  switch (linkType) {
    case LinkType.Ethernet:
      return ethernet(ip);
    case LinkType.LinuxSll:
      return linuxSll(ip);
    case LinkType.LinuxSll2:
      return linuxSll2(ip);
    case LinkType.Null:
      return loopback(ip, false);
    case LinkType.Loop:
      return loopback(ip, true);
    default:
      return ip;
  }
}

/** A frame of Ethernet; the outermost tag first, each a VLAN of 0x8100 or [type, VLAN]. */
export function ethernet(
  ip: Uint8Array<ArrayBuffer>,
  tags: readonly (number | readonly [number, number])[] = [],
): Uint8Array<ArrayBuffer> {
  const head = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
  for (const tag of tags) {
    const [type, vlan] = typeof tag === "number" ? [0x8100, tag] : tag;
    head.push(...u16(type), ...u16(vlan));
  }
  return concat(Uint8Array.from([...head, ...u16(etherType(ip))]), ip);
}

/** LINKTYPE_LINUX_SLL: what the `any` device of tcpdump gives. */
export function linuxSll(ip: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const head = [...u16(0), ...u16(1), ...u16(6), 2, 0, 0, 0, 0, 1, 0, 0, ...u16(etherType(ip))];
  return concat(Uint8Array.from(head), ip);
}

/** LINKTYPE_LINUX_SLL2. */
export function linuxSll2(ip: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const head = [...u16(etherType(ip)), 0, 0, ...u32(2), ...u16(1), 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
  return concat(Uint8Array.from(head), ip);
}

/** LINKTYPE_NULL in either byte order, with the family of FreeBSD. */
export function loopback(
  ip: Uint8Array<ArrayBuffer>,
  bigEndian: boolean,
): Uint8Array<ArrayBuffer> {
  const family = ip[0]! >> 4 === 4 ? 2 : 28;
  return concat(Uint8Array.from(bigEndian ? u32(family) : u32(family).reverse()), ip);
}

/** A file in pcap format. */
export function pcapFile(
  packets: readonly BuiltPacket[],
  options: PcapOptions = {},
): Uint8Array<ArrayBuffer> {
  const { nanoseconds = false, bigEndian = false, linkType = LinkType.Ethernet } = options;
  const snap = options.snap ?? 262144;
  const magic = nanoseconds ? 0xa1b23c4d : 0xa1b2c3d4;
  const words = numbers(bigEndian);
  const parts = [words(magic), halves(bigEndian, 2, 4), words(0, 0, snap, linkType)];
  for (const [index, packet] of packets.entries()) {
    const { bytes, timeNs, originalBytes } = resolved(packet, index, linkType);
    const fraction = timeNs % 1e9;
    const kept = bytes.subarray(0, snap);
    parts.push(words(
      BUILT_SECONDS + Math.floor(timeNs / 1e9),
      nanoseconds ? fraction : Math.floor(fraction / 1000),
      kept.length,
      originalBytes,
    ));
    parts.push(kept);
  }
  return concat(...parts);
}

/** A file in pcapng format, of one section; join several for a file of several sections. */
export function pcapngFile(
  packets: readonly BuiltPacket[],
  options: PcapngOptions = {},
): Uint8Array<ArrayBuffer> {
  const { bigEndian = false } = options;
  const interfaces = options.interfaces ??
    [{ linkType: options.linkType ?? LinkType.Ethernet, snap: options.snap ?? 262144 }];
  const words = numbers(bigEndian);
  const parts = [
    pcapngBlock(
      0x0a0d0d0a,
      concat(words(0x1a2b3c4d), halves(bigEndian, 1, 0), words(0xffffffff, 0xffffffff)),
      bigEndian,
    ),
    ...interfaces.map((described) => interfaceBlock(described, bigEndian)),
  ];
  for (const [index, packet] of packets.entries()) {
    parts.push(packetBlock(packet, index, interfaces, bigEndian));
  }
  return concat(...parts);
}

/** A block of pcapng around a body, which is filled up to 32 bits. */
export function pcapngBlock(
  type: number,
  body: Uint8Array<ArrayBuffer>,
  bigEndian = false,
): Uint8Array<ArrayBuffer> {
  const words = numbers(bigEndian);
  const length = 12 + Math.ceil(body.length / 4) * 4;
  return concat(words(type, length), Uint8Array.from(filled([...body], 4)), words(length));
}

/** Arrays behind each other. */
export function concat(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function packetBlock(
  packet: BuiltPacket,
  index: number,
  interfaces: readonly BuiltInterface[],
  bigEndian: boolean,
): Uint8Array<ArrayBuffer> {
  const given = packet instanceof Uint8Array ? {} : packet;
  const { interface: interfaceId = 0, block = 6, comments = [], flags } = given;
  const { linkType = LinkType.Ethernet, snap = 262144, resolution = 9, offsetSeconds = 0 } =
    interfaces[interfaceId]!;
  const { bytes, timeNs, originalBytes } = resolved(packet, index, linkType);
  const words = numbers(bigEndian);
  const kept = bytes.subarray(0, snap === 0 ? undefined : snap);
  const data = Uint8Array.from(filled([...kept], 4));
  if (block === 3) return pcapngBlock(3, concat(words(originalBytes), data), bigEndian);
  const perSecond = resolution < 128 ? 10n ** BigInt(resolution) : 2n ** BigInt(resolution & 127);
  const ns = BigInt(BUILT_SECONDS - offsetSeconds) * 1_000_000_000n + BigInt(timeNs);
  const units = ns * perSecond / 1_000_000_000n;
  const options = comments.map((text) => option(1, bytesOf(text), bigEndian));
  if (flags !== undefined) options.push(option(2, words(flags), bigEndian));
  if (options.length > 0) options.push(halves(bigEndian, 0, 0));
  return pcapngBlock(
    block,
    concat(
      block === 2 ? halves(bigEndian, interfaceId, 0) : words(interfaceId),
      words(Number(units >> 32n), Number(units & 0xffffffffn), kept.length, originalBytes),
      data,
      ...options,
    ),
    bigEndian,
  );
}

function interfaceBlock(
  { linkType = LinkType.Ethernet, snap = 262144, name, resolution = 9, offsetSeconds }:
    BuiltInterface,
  bigEndian: boolean,
): Uint8Array<ArrayBuffer> {
  const offset = new Uint8Array(8);
  new DataView(offset.buffer).setBigInt64(0, BigInt(offsetSeconds ?? 0), !bigEndian);
  return pcapngBlock(
    1,
    concat(
      halves(bigEndian, linkType, 0),
      numbers(bigEndian)(snap),
      ...(name === undefined ? [] : [option(2, bytesOf(name), bigEndian)]),
      option(9, Uint8Array.of(resolution), bigEndian),
      ...(offsetSeconds === undefined ? [] : [option(14, offset, bigEndian)]),
      halves(bigEndian, 0, 0),
    ),
    bigEndian,
  );
}

function option(code: number, value: Uint8Array, bigEndian: boolean): Uint8Array<ArrayBuffer> {
  return concat(halves(bigEndian, code, value.length), Uint8Array.from(filled([...value], 4)));
}

function resolved(
  packet: BuiltPacket,
  index: number,
  linkType: number,
): { bytes: Uint8Array<ArrayBuffer>; timeNs: number; originalBytes: number } {
  const given = packet instanceof Uint8Array ? { ip: packet } : packet;
  const bytes = given.frame ?? frame(given.ip!, linkType);
  return {
    bytes,
    timeNs: given.timeNs ?? index * STEP_NS,
    originalBytes: given.originalBytes ?? bytes.length,
  };
}

function ipv4(
  from: Uint8Array,
  to: Uint8Array,
  payload: Uint8Array,
  { ipOptions = [], ipLength, identification = 0 }: SegmentOptions,
): Uint8Array<ArrayBuffer> {
  const options = filled(ipOptions, 4);
  const headerBytes = 20 + options.length;
  const head = [
    0x40 | (headerBytes / 4),
    0,
    ...u16(ipLength ?? Math.min(headerBytes + payload.length, 65535)),
    ...u16(identification),
    ...u16(0x4000),
    64,
    6,
    ...u16(0),
    ...from.subarray(0, 4),
    ...to.subarray(0, 4),
    ...options,
  ];
  return concat(Uint8Array.from(head), payload);
}

function ipv6(
  from: Uint8Array,
  to: Uint8Array,
  payload: Uint8Array,
  { ipOptions = [], nextHeader = 6, ipLength }: SegmentOptions,
): Uint8Array<ArrayBuffer> {
  const length = ipLength ?? Math.min(ipOptions.length + payload.length, 65535);
  const head = [0x60, 0, 0, 0, ...u16(length), nextHeader, 64, ...from, ...to, ...ipOptions];
  return concat(Uint8Array.from(head), payload);
}

function endpoint(text: string): { family: number; address: Uint8Array; port: number } {
  const colon = text.lastIndexOf(":");
  const address = new Uint8Array(16);
  const family = parseInet(text.slice(0, colon).replace(/^\[(.*)\]$/, "$1"), address);
  if (family === Family.None) throw new Error(`Cannot read ${text} as ip:port`);
  return { family, address, port: Number(text.slice(colon + 1)) };
}

function etherType(ip: Uint8Array): number {
  return ip[0]! >> 4 === 6 ? 0x86dd : 0x0800;
}

function bytesOf(data: Data): Uint8Array {
  if (typeof data === "string") return new TextEncoder().encode(data);
  return data instanceof Uint8Array ? data : Uint8Array.from(data);
}

function filled(values: readonly number[], unit: number): number[] {
  return [...values, ...new Array<number>((unit - values.length % unit) % unit).fill(0)];
}

function u16(value: number): number[] {
  return [value >>> 8 & 255, value & 255];
}

function u32(value: number): number[] {
  return [value >>> 24 & 255, value >>> 16 & 255, value >>> 8 & 255, value & 255];
}

function numbers(bigEndian: boolean): (...values: number[]) => Uint8Array<ArrayBuffer> {
  return (...values) =>
    Uint8Array.from(values.flatMap((value) => bigEndian ? u32(value) : u32(value).reverse()));
}

function halves(bigEndian: boolean, ...values: number[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(
    values.flatMap((value) => bigEndian ? u16(value) : u16(value).reverse()),
  );
}
