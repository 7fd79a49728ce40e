/**
 * The fixed header of every MQTT packet: MQTT 3.1.1 section 2.2. One byte of type and flags, then
 * the remaining length in one to four bytes of seven bits each, least significant first.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";

/** Section 2.2.1, table 2.1. */
export const PacketType = {
  Connect: 1,
  Connack: 2,
  Publish: 3,
  Puback: 4,
  Pubrec: 5,
  Pubrel: 6,
  Pubcomp: 7,
  Subscribe: 8,
  Suback: 9,
  Unsubscribe: 10,
  Unsuback: 11,
  Pingreq: 12,
  Pingresp: 13,
  Disconnect: 14,
} as const;

const NAMES: readonly string[] = ["", ...Object.keys(PacketType).map((name) => name.toUpperCase())];

/** Section 2.2.2, table 2.2: what the flags of PUBREL, SUBSCRIBE and UNSUBSCRIBE must be. */
const FLAGS_REQUEST = 2;
const FLAGS_MAX = 15;
const LENGTH_AT = 1;
/** Section 2.2.3: no more than four bytes of remaining length. */
const LENGTH_SIZE_MAX = 4;
const MORE = 0x80;

/** The largest remaining length that the format allows: section 2.2.3, table 2.4. */
export const REMAINING_LENGTH_MAX = 268_435_455;

/** A fixed header. */
export class FixedHeader {
  /** One of {@linkcode PacketType}. */
  type = 0;
  flags = 0;
  /** Bytes of the packet after the fixed header. */
  remainingLength = 0;
}

/**
 * Reads a fixed header; returns the offset after it, or a negated fault. The first byte is checked
 * as soon as it is there.
 */
export function readFixedHeader(
  from: Region,
  at: number,
  end: number,
  into: FixedHeader,
): number {
  if (at >= end) return -Fault.Short;
  const first = from.bytes[at]!;
  const type = first >> 4;
  const flags = first & FLAGS_MAX;
  if (type < PacketType.Connect || type > PacketType.Disconnect) {
    return fail(Fault.Field, "MQTT control packet type", at, type, "1 to 14");
  }
  const expected = flagsOf(type);
  if (expected >= 0 && flags !== expected) { // MQTT-2.2.2-2
    return fail(Fault.Field, `${packetName(type)} flags`, at, flags, `${expected}`);
  }
  let length = 0;
  for (let index = 0; index < LENGTH_SIZE_MAX; index++) {
    const place = at + LENGTH_AT + index;
    if (place >= end) return -Fault.Short;
    const byte = from.bytes[place]!;
    length += (byte & ~MORE) * 128 ** index;
    if (byte < MORE) {
      into.type = type;
      into.flags = flags;
      into.remainingLength = length;
      return place + 1;
    }
  }
  return fail(Fault.Field, `${packetName(type)} remaining length`, at, length, "4 bytes or less");
}

/** Writes a fixed header; returns the offset after it. */
export function writeFixedHeader(
  to: Region,
  at: number,
  type: number,
  flags: number,
  remainingLength: number,
): number {
  to.bytes[at++] = type << 4 | flags;
  for (let left = remainingLength;;) {
    const more = left > 127;
    to.bytes[at++] = left & 127 | (more ? MORE : 0);
    if (!more) return at;
    left = Math.floor(left / 128);
  }
}

/** The name of a packet type as the document writes it: `PUBLISH`. */
export function packetName(type: number): string {
  return NAMES[type] ?? `packet type ${type}`;
}

/** The flags that a type must have; -1 when they carry fields. */
function flagsOf(type: number): number {
  switch (type) {
    case PacketType.Publish:
      return -1;
    case PacketType.Pubrel:
    case PacketType.Subscribe:
    case PacketType.Unsubscribe:
      return FLAGS_REQUEST;
    default:
      return 0;
  }
}
