/**
 * The TCP header of a captured packet: RFC 9293 section 3.1. Its checksum is not looked at, as what a
 * host sends is captured before its network card computes it.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";

/** Control bits of {@linkcode TcpSegment}. */
export const TcpFlag = { Fin: 1, Syn: 2, Rst: 4, Psh: 8, Ack: 16, Urg: 32 } as const;

const SOURCE_PORT = 0;
const DESTINATION_PORT = 2;
const SEQUENCE = 4;
const ACKNOWLEDGMENT = 8;
const DATA_OFFSET = 12;
const FLAGS = 13;
const URGENT_POINTER = 18;
const TCP_HEADER_SIZE = 20;
const FLAGS_KNOWN = 63;

/** A segment; a record that is reused, its bytes are valid as long as those of its packet. */
export class TcpSegment {
  /**
   * Source in words 0 to 3, destination in 4 to 7, each the number that its four bytes are in network
   * order; IPv4 as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2).
   */
  readonly addresses: Int32Array = new Int32Array(8);
  sourcePort = 0;
  destinationPort = 0;
  /** Both unsigned. */
  sequence = 0;
  acknowledgment = 0;
  /** Bits of {@linkcode TcpFlag}. */
  flags = 0;
  urgentPointer = 0;
  /** Where the captured payload lies in the arena. */
  dataAt = 0;
  dataEnd = 0;
  /** Payload on the wire: more than was captured when the snap length cut it. */
  dataBytes = 0;
}

/**
 * Reads the header of a segment of `wireBytes`, of which [at, end) was captured; options that were cut
 * off are taken by their length. Returns the offset of the payload, or a negated {@linkcode Fault}.
 */
export function readTcp(
  from: Region,
  at: number,
  end: number,
  wireBytes: number,
  into: TcpSegment,
): number {
  if (end - at < TCP_HEADER_SIZE) {
    return fail(Fault.Short, "TCP header length", at, end - at, "20 or more");
  }
  const { view } = from;
  const headerBytes = (view.getUint8(at + DATA_OFFSET) >> 4) * 4;
  if (headerBytes < TCP_HEADER_SIZE || headerBytes > wireBytes) {
    const field = at + DATA_OFFSET;
    return fail(Fault.Field, "TCP Data Offset in bytes", field, headerBytes, "20 to the segment's");
  }
  into.sourcePort = view.getUint16(at + SOURCE_PORT);
  into.destinationPort = view.getUint16(at + DESTINATION_PORT);
  into.sequence = view.getUint32(at + SEQUENCE);
  into.acknowledgment = view.getUint32(at + ACKNOWLEDGMENT);
  into.flags = view.getUint8(at + FLAGS) & FLAGS_KNOWN;
  into.urgentPointer = view.getUint16(at + URGENT_POINTER);
  const dataAt = Math.min(at + headerBytes, end);
  into.dataAt = dataAt;
  into.dataEnd = end;
  into.dataBytes = wireBytes - headerBytes;
  return dataAt;
}
