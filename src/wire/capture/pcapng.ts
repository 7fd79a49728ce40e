/**
 * Capture files in pcapng format: draft-ietf-opsawg-pcapng section 3 (blocks and options), 4.1 to 4.4
 * (section header, interfaces, enhanced and simple packets) and appendix A (the obsolete packet
 * block). Other blocks are skipped.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { CAPTURED_BYTES_MAX, CaptureInterface, type CaptureOrigin, type Packet } from "./packet.ts";

/** Types of blocks. */
export const BlockType = {
  /** The same in either byte order. */
  SectionHeader: 0x0a0d0d0a,
  Interface: 1,
  /** Obsolete, still in old files. */
  Packet: 2,
  SimplePacket: 3,
  EnhancedPacket: 6,
} as const;

/** Codes of options: section 3.5, table 1, and those of the blocks. */
export const OptionCode = {
  End: 0,
  Comment: 1,
  /** shb_userappl. */
  UserApplication: 4,
  /** if_name, if_tsresol, if_tsoffset. */
  InterfaceName: 2,
  TimeResolution: 9,
  TimeOffset: 14,
  /** epb_flags. */
  Flags: 2,
} as const;

/** Section 4.1: tells the byte order of a section. */
export const BYTE_ORDER_MAGIC = 0x1a2b3c4d;

/** A block that is skipped may be this large; what is read of must fit into the reader's memory. */
const BLOCK_BYTES_MAX = 64 * 1024 * 1024;
/** The largest block that must be there as a whole: a packet, and room for its comments. */
export const HELD_BLOCK_BYTES_MAX: number = 1024 * 1024;
/** Over all sections of a file. */
const INTERFACES_MAX = 4096;
const NAME_BYTES_MAX = 255;

const TOTAL_LENGTH = 4;
const BODY = 8;
const BLOCK_OVERHEAD = 12;
/** A header and the order magic: what is looked at to tell a section's byte order. */
const SECTION_PEEK = 12;
const SECTION_BYTES_MIN = 28;
const MAJOR_VERSION = 12;
const INTERFACE_BYTES_MIN = 20;
const SNAP_LENGTH = 12;
const INTERFACE_OPTIONS = 16;
const ENHANCED_BYTES_MIN = 32;
const SIMPLE_BYTES_MIN = 16;
const SIMPLE_DATA = 12;
/** Common to the enhanced and the obsolete packet block. */
const TIME_HIGH = 12;
const TIME_LOW = 16;
const CAPTURED_LENGTH = 20;
const ORIGINAL_LENGTH = 24;
const PACKET_DATA = 28;

const WORD = 2 ** 32;
const MICROSECONDS = 6;

/** An interface and how the times of its packets count. */
export class PcapngInterface extends CaptureInterface {
  /** Seconds that are added to every time. */
  readonly offset: bigint;
  /** How many units of its times are in a second. */
  readonly unitsPerSecond: bigint;
  /** What to multiply a unit with for nanoseconds, or to divide by: one of the two is 1. */
  readonly multiply: number;
  readonly divide: number;
  /** The capture's origin in these units, as high and low word; known when the origin is. */
  originKnown = false;
  originHigh = 0;
  originLow = 0;

  /** An interface whose times have the `resolution` that if_tsresol says. */
  constructor(
    linkType: number,
    snapLength: number,
    name: string,
    resolution: number,
    offset: bigint,
  ) {
    super(linkType, snapLength, name);
    const exponent = resolution & 0x7f;
    const isDecimal = (resolution & 0x80) === 0;
    this.offset = offset;
    this.unitsPerSecond = (isDecimal ? 10n : 2n) ** BigInt(exponent);
    this.multiply = isDecimal ? 10 ** Math.max(0, 9 - exponent) : 1e9;
    this.divide = isDecimal ? 10 ** Math.max(0, exponent - 9) : 2 ** exponent;
  }
}

/** What must be known of a file to read its next block. */
export class PcapngState {
  littleEndian = true;
  /** Of all sections so far; those of the present one begin at `firstInterface`. */
  readonly interfaces: PcapngInterface[] = [];
  firstInterface = 0;
  /** Whether the block that was read was a packet. */
  isPacket = false;
}

/** Whether a file that begins with these four bytes is one of pcapng. */
export function isPcapng(from: Region, at: number): boolean {
  return from.view.getUint32(at) === BlockType.SectionHeader;
}

/**
 * Reads one block; returns the offset after it, which lies beyond `end` when it is a large one that is
 * skipped, or a negated {@linkcode Fault}: Short when more of it is needed.
 */
export function readBlock(
  from: Region,
  at: number,
  end: number,
  state: PcapngState,
  origin: CaptureOrigin,
  into: Packet,
): number {
  state.isPacket = false;
  if (end - at < SECTION_PEEK) return -Fault.Short;
  const { view } = from;
  if (view.getUint32(at) === BlockType.SectionHeader) return readSection(from, at, end, state);
  const { littleEndian } = state;
  const type = view.getUint32(at, littleEndian);
  const length = view.getUint32(at + TOTAL_LENGTH, littleEndian);
  const minimum = minimumBytes(type);
  if (length < minimum || length > BLOCK_BYTES_MAX || length % 4 !== 0) {
    return fail(Fault.Field, "Block Total Length", at + TOTAL_LENGTH, length, LENGTH_EXPECTED);
  }
  const next = at + length;
  if (minimum === BLOCK_OVERHEAD) return next;
  const trailing = checkWhole(from, at, end, length, littleEndian);
  if (trailing < 0) return trailing;
  switch (type) {
    case BlockType.Interface:
      return readInterface(from, at, next, state, origin);
    case BlockType.SimplePacket:
      return readSimplePacket(from, at, next, state, into);
    case BlockType.Packet: {
      const interfaceId = view.getUint16(at + BODY, littleEndian);
      return readPacket(from, at, next, state, origin, interfaceId, into);
    }
    default: {
      const interfaceId = view.getUint32(at + BODY, littleEndian);
      return readPacket(from, at, next, state, origin, interfaceId, into);
    }
  }
}

const LENGTH_EXPECTED = "a multiple of 4, at least what its type needs, 67108864 or less";

/** What a block of a type must have at least; those that are skipped have their two lengths. */
function minimumBytes(type: number): number {
  switch (type) {
    case BlockType.EnhancedPacket:
    case BlockType.Packet:
      return ENHANCED_BYTES_MIN;
    case BlockType.Interface:
      return INTERFACE_BYTES_MIN;
    case BlockType.SimplePacket:
      return SIMPLE_BYTES_MIN;
    default:
      return BLOCK_OVERHEAD;
  }
}

/** Section 3.1: the length stands at both ends of a block. */
function checkWhole(
  from: Region,
  at: number,
  end: number,
  length: number,
  littleEndian: boolean,
): number {
  if (length > HELD_BLOCK_BYTES_MAX) {
    return fail(Fault.Large, "Block Total Length", at + TOTAL_LENGTH, length, "1048576 or less");
  }
  if (end - at < length) return -Fault.Short;
  const trailingAt = at + length - 4;
  const trailing = from.view.getUint32(trailingAt, littleEndian);
  if (trailing === length) return 0;
  return fail(
    Fault.Field,
    "second Block Total Length",
    trailingAt,
    trailing,
    "the same as the first",
  );
}

function readSection(from: Region, at: number, end: number, state: PcapngState): number {
  const { view } = from;
  const littleEndian = view.getUint32(at + BODY, true) === BYTE_ORDER_MAGIC;
  const magic = view.getUint32(at + BODY, littleEndian);
  if (magic !== BYTE_ORDER_MAGIC) {
    return fail(Fault.Field, "Byte-Order Magic", at + BODY, magic, "0x1a2b3c4d");
  }
  const length = view.getUint32(at + TOTAL_LENGTH, littleEndian);
  if (length < SECTION_BYTES_MIN || length > BLOCK_BYTES_MAX || length % 4 !== 0) {
    return fail(Fault.Field, "Block Total Length", at + TOTAL_LENGTH, length, LENGTH_EXPECTED);
  }
  const trailing = checkWhole(from, at, end, length, littleEndian);
  if (trailing < 0) return trailing;
  const major = view.getUint16(at + MAJOR_VERSION, littleEndian);
  if (major !== 1) {
    return fail(Fault.Feature, "Major Version", at + MAJOR_VERSION, major, "1");
  }
  state.littleEndian = littleEndian;
  state.firstInterface = state.interfaces.length;
  return at + length;
}

function readInterface(
  from: Region,
  at: number,
  next: number,
  state: PcapngState,
  origin: CaptureOrigin,
): number {
  const { view, bytes } = from;
  const { littleEndian, interfaces } = state;
  if (interfaces.length >= INTERFACES_MAX) {
    return fail(Fault.Full, "interfaces of the file", at, interfaces.length + 1, "4096 or less");
  }
  let name = "";
  let resolution = MICROSECONDS;
  let offset = 0n;
  const end = next - 4;
  for (let option = at + INTERFACE_OPTIONS; end - option >= 4;) {
    const code = view.getUint16(option, littleEndian);
    const length = view.getUint16(option + 2, littleEndian);
    const value = option + 4;
    if (length > end - value) {
      return fail(Fault.Field, "Option Length", option + 2, length, "within the block");
    }
    if (code === OptionCode.End) break;
    if (code === OptionCode.InterfaceName) {
      name = DECODER.decode(bytes.subarray(value, value + Math.min(length, NAME_BYTES_MAX)));
    } else if (code === OptionCode.TimeResolution && length === 1) {
      resolution = view.getUint8(value);
    } else if (code === OptionCode.TimeOffset && length === 8) {
      offset = view.getBigInt64(value, littleEndian);
    }
    option = value + padded(length);
  }
  const linkType = view.getUint16(at + BODY, littleEndian);
  const snapLength = view.getUint32(at + SNAP_LENGTH, littleEndian);
  const added = new PcapngInterface(linkType, snapLength, name, resolution, offset);
  if (origin.known) settle(added, origin);
  interfaces.push(added);
  return next;
}

function readPacket(
  from: Region,
  at: number,
  next: number,
  state: PcapngState,
  origin: CaptureOrigin,
  interfaceId: number,
  into: Packet,
): number {
  const { view } = from;
  const { littleEndian, interfaces } = state;
  const interfaceIndex = state.firstInterface + interfaceId;
  if (interfaceIndex >= interfaces.length) {
    const expected = "one that the section describes before";
    return fail(Fault.Field, "Interface ID", at + BODY, interfaceId, expected);
  }
  const captured = view.getUint32(at + CAPTURED_LENGTH, littleEndian);
  const room = next - 4 - (at + PACKET_DATA);
  if (captured > room || captured > CAPTURED_BYTES_MAX) {
    const expected = "within the block, 262144 or less";
    return fail(Fault.Large, "Captured Packet Length", at + CAPTURED_LENGTH, captured, expected);
  }
  const source = interfaces[interfaceIndex]!;
  const high = view.getUint32(at + TIME_HIGH, littleEndian);
  const low = view.getUint32(at + TIME_LOW, littleEndian);
  if (!source.originKnown) {
    begin(source, high, low, origin);
    settle(source, origin);
  }
  into.timeNs = nanoseconds(source, high, low);
  into.at = at + PACKET_DATA;
  into.end = into.at + captured;
  into.originalBytes = Math.max(captured, view.getUint32(at + ORIGINAL_LENGTH, littleEndian));
  into.linkType = source.linkType;
  into.interfaceIndex = interfaceIndex;
  into.flags = room - padded(captured) < 8 ? 0 : readFlags(from, at, next, captured, littleEndian);
  state.isPacket = true;
  return next;
}

/** Section 4.4: no time of its own, so it has that of the packet before, which `into` still holds. */
function readSimplePacket(
  from: Region,
  at: number,
  next: number,
  state: PcapngState,
  into: Packet,
): number {
  const { view } = from;
  const source = state.interfaces[state.firstInterface];
  if (source === undefined) {
    return fail(Fault.Field, "Simple Packet Block", at, 0, "behind an interface of its section");
  }
  const original = view.getUint32(at + BODY, state.littleEndian);
  const room = next - 4 - (at + SIMPLE_DATA);
  const snapLength = source.snapLength || CAPTURED_BYTES_MAX;
  const captured = Math.min(original, snapLength);
  if (captured > room || captured > CAPTURED_BYTES_MAX) {
    const expected = "no more than its block holds, 262144 or less";
    return fail(Fault.Large, "Original Packet Length", at + BODY, original, expected);
  }
  into.at = at + SIMPLE_DATA;
  into.end = into.at + captured;
  into.originalBytes = original;
  into.linkType = source.linkType;
  into.interfaceIndex = state.firstInterface;
  into.flags = 0;
  state.isPacket = true;
  return next;
}

/** epb_flags of the options behind a packet; what is wrong there is passed over. */
function readFlags(
  from: Region,
  at: number,
  next: number,
  captured: number,
  littleEndian: boolean,
): number {
  const { view } = from;
  const end = next - 4;
  for (let option = at + PACKET_DATA + padded(captured); end - option >= 8;) {
    const code = view.getUint16(option, littleEndian);
    const length = view.getUint16(option + 2, littleEndian);
    if (code === OptionCode.End) return 0;
    if (code === OptionCode.Flags && length === 4) return view.getUint32(option + 4, littleEndian);
    option += 4 + padded(length);
  }
  return 0;
}

/** The first packet with a time: its whole second is the origin. */
function begin(source: PcapngInterface, high: number, low: number, origin: CaptureOrigin): void {
  if (origin.known) return;
  const units = (BigInt(high) << 32n) | BigInt(low);
  origin.known = true;
  origin.seconds = Number(units / source.unitsPerSecond + source.offset);
}

function settle(source: PcapngInterface, origin: CaptureOrigin): void {
  const units = (BigInt(origin.seconds) - source.offset) * source.unitsPerSecond;
  source.originKnown = true;
  source.originHigh = Number(units >> 32n);
  source.originLow = Number(units & 0xffffffffn);
}

/** The difference to the origin is small enough for a double where the times themselves are not. */
function nanoseconds(source: PcapngInterface, high: number, low: number): number {
  const units = (high - source.originHigh) * WORD + (low - source.originLow);
  const { multiply, divide } = source;
  if (divide === 1) return units * multiply;
  if (multiply === 1) return Math.floor(units / divide);
  const seconds = Math.floor(units / divide);
  return seconds * multiply + Math.floor((units - seconds * divide) * multiply / divide);
}

/** Data and options are filled up to 32 bits. */
function padded(length: number): number {
  return (length + 3) & ~3;
}

/** Names may be anything; no text of theirs is trusted further on. */
const DECODER = new TextDecoder();
