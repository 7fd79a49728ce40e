/**
 * Blocks of pcapng as they are written: draft-ietf-opsawg-pcapng sections 3.5, 4.1, 4.2 and 4.3, little
 * endian, times in nanoseconds.
 *
 * @module
 */
import type { Region } from "../../mem/region.ts";
import { CAPTURED_BYTES_MAX, type CaptureInterface, type Packet } from "./packet.ts";
import { BlockType, BYTE_ORDER_MAGIC, OptionCode } from "./pcapng.ts";

/** All comments of a packet together, with what frames each of them. */
export const COMMENT_BYTES_MAX: number = 60 * 1024;

const NANOSECONDS = 9;
const WORD = 2 ** 32;
const NAME_BYTES_MAX = 255;
const OPTION_HEADER_SIZE = 4;
const ENHANCED_OVERHEAD = 32;
const FLAGS_OPTION_SIZE = 8;
const PACKET_DATA = 28;

/** The most that one of these blocks takes. */
export const WRITTEN_BLOCK_BYTES_MAX: number = ENHANCED_OVERHEAD + CAPTURED_BYTES_MAX +
  COMMENT_BYTES_MAX + FLAGS_OPTION_SIZE + OPTION_HEADER_SIZE;

/** Writes a section header that names the `application`; returns the offset after it. */
export function writeSection(to: Region, at: number, application: string): number {
  const { view } = to;
  view.setUint32(at + 8, BYTE_ORDER_MAGIC, true);
  view.setUint16(at + 12, 1, true);
  view.setUint16(at + 14, 0, true);
  view.setInt32(at + 16, -1, true); // the section's length is not known yet
  view.setInt32(at + 20, -1, true);
  let next = writeText(to, at + 24, OptionCode.UserApplication, application, NAME_BYTES_MAX);
  next = writeEnd(to, next);
  return seal(to, at, BlockType.SectionHeader, next);
}

/** Writes the description of an interface; returns the offset after it. */
export function writeInterface(to: Region, at: number, from: CaptureInterface): number {
  const { view } = to;
  view.setUint16(at + 8, from.linkType, true);
  view.setUint16(at + 10, 0, true);
  view.setUint32(at + 12, from.snapLength, true);
  let next = at + 16;
  if (from.name !== "") {
    next = writeText(to, next, OptionCode.InterfaceName, from.name, NAME_BYTES_MAX);
  }
  view.setUint16(next, OptionCode.TimeResolution, true);
  view.setUint16(next + 2, 1, true);
  view.setUint32(next + 4, NANOSECONDS, true);
  next = writeEnd(to, next + 8);
  return seal(to, at, BlockType.Interface, next);
}

/**
 * Writes a packet whose bytes lie in the same region, with comments, of which as many characters are
 * kept as {@linkcode COMMENT_BYTES_MAX} allows. Returns the offset after it.
 *
 * @param interfaceId index of its interface in the section
 * @param originSeconds what its time counts from, in seconds since 1970
 */
export function writePacket(
  to: Region,
  at: number,
  packet: Packet,
  interfaceId: number,
  originSeconds: number,
  comments: readonly string[],
): number {
  const { view, bytes } = to;
  const captured = packet.end - packet.at;
  view.setUint32(at + 8, interfaceId, true);
  writeTime(to, at + 12, packet.timeNs, originSeconds);
  view.setUint32(at + 20, captured, true);
  view.setUint32(at + 24, packet.originalBytes, true);
  bytes.copyWithin(at + PACKET_DATA, packet.at, packet.end);
  const optionsAt = fill(to, at + PACKET_DATA + captured);
  let next = optionsAt;
  if (packet.flags !== 0) {
    view.setUint16(next, OptionCode.Flags, true);
    view.setUint16(next + 2, 4, true);
    view.setUint32(next + 4, packet.flags, true);
    next += FLAGS_OPTION_SIZE;
  }
  const commentsEnd = next + COMMENT_BYTES_MAX;
  for (const comment of comments) {
    // A word's worth of filling may follow the text.
    const room = (commentsEnd - next - OPTION_HEADER_SIZE) & ~3;
    if (room <= 0) break;
    next = writeText(to, next, OptionCode.Comment, comment, room);
  }
  if (next > optionsAt) next = writeEnd(to, next);
  return seal(to, at, BlockType.EnhancedPacket, next);
}

/** Makes `into` a copy of a packet that {@linkcode writePacket} has written at `at`, with its bytes there. */
export function copyWritten(packet: Packet, at: number, into: Packet): void {
  Object.assign(into, packet);
  into.at = at + PACKET_DATA;
  into.end = into.at + (packet.end - packet.at);
}

/** Both words of a time in nanoseconds since 1970, which are too many for a double. */
function writeTime({ view }: Region, at: number, timeNs: number, originSeconds: number): void {
  // 10^9 = 2^9 * 1953125: the product of seconds with the odd part is exact, the rest is a shift.
  const odd = originSeconds * 1953125;
  const oddHigh = Math.floor(odd / 2 ** 23);
  const timeHigh = Math.floor(timeNs / WORD);
  const low = (odd - oddHigh * 2 ** 23) * 2 ** 9 + (timeNs - timeHigh * WORD);
  view.setUint32(at, oddHigh + timeHigh + Math.floor(low / WORD), true);
  view.setUint32(at + 4, low % WORD, true);
}

/** An option with as much of a text as `bytesMax` holds, cut between characters. */
function writeText(
  to: Region,
  at: number,
  code: number,
  text: string,
  bytesMax: number,
): number {
  const { view, bytes } = to;
  const textAt = at + OPTION_HEADER_SIZE;
  const { written } = ENCODER.encodeInto(text, bytes.subarray(textAt, textAt + bytesMax));
  view.setUint16(at, code, true);
  view.setUint16(at + 2, written, true);
  return fill(to, textAt + written);
}

function writeEnd({ view }: Region, at: number): number {
  view.setUint32(at, OptionCode.End, true);
  return at + OPTION_HEADER_SIZE;
}

/** Zeros up to the next multiple of four: blocks begin at one. */
function fill({ bytes }: Region, at: number): number {
  while (at % 4 !== 0) bytes[at++] = 0;
  return at;
}

/** Writes the type and both lengths of a block whose body ends at `end`. */
function seal({ view }: Region, at: number, type: number, end: number): number {
  const next = end + 4;
  view.setUint32(at, type, true);
  view.setUint32(at + 4, next - at, true);
  view.setUint32(end, next - at, true);
  return next;
}

const ENCODER = new TextEncoder();
