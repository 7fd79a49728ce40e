/**
 * Capture files in pcap format: draft-ietf-opsawg-pcap sections 4 and 5, times in microseconds or
 * nanoseconds, in the byte order of the machine that wrote them.
 *
 * @module
 */
import { fail, Fault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { CAPTURED_BYTES_MAX, type CaptureOrigin, type Packet } from "./packet.ts";

const MAGIC_MICROSECONDS = 0xa1b2c3d4;
const MAGIC_NANOSECONDS = 0xa1b23c4d;
/** Of Kuznetzov's patched libpcap: its packet headers are longer, and no tool of today writes it. */
const MAGIC_MODIFIED = 0xa1b2cd34;

const MAJOR_VERSION = 4;
const SNAP_LENGTH = 16;
const LINK_TYPE = 20;
/** The upper bits tell of frame check sequences, which no length of IP includes. */
const LINK_TYPE_MASK = 0xffff;
/** Bytes of a file's header. */
export const PCAP_HEADER_SIZE = 24;

const FRACTION = 4;
const CAPTURED_LENGTH = 8;
const ORIGINAL_LENGTH = 12;
const RECORD_HEADER_SIZE = 16;

/** What the header of a file says. */
export class PcapHeader {
  littleEndian = true;
  /** What one of a record's fractions of a second is worth. */
  nsPerFraction = 1;
  snapLength = 0;
  linkType = 0;
}

/** Whether a file that begins with these four bytes is one of pcap. */
export function isPcap(from: Region, at: number): boolean {
  return isMagic(from.view.getUint32(at)) || isMagic(from.view.getUint32(at, true));
}

/** Reads the header of a file; returns the offset after it, or a negated {@linkcode Fault}. */
export function readPcapHeader(from: Region, at: number, end: number, into: PcapHeader): number {
  if (end - at < PCAP_HEADER_SIZE) {
    return fail(Fault.Short, "pcap header length", at, end - at, "24 or more");
  }
  const { view } = from;
  const littleEndian = isMagic(view.getUint32(at, true));
  const magic = view.getUint32(at, littleEndian);
  if (magic === MAGIC_MODIFIED || !isMagic(magic)) {
    return fail(Fault.Feature, "Magic Number", at, magic, "0xa1b2c3d4 or 0xa1b23c4d");
  }
  const major = view.getUint16(at + MAJOR_VERSION, littleEndian);
  if (major !== 2) {
    return fail(Fault.Feature, "Major Version", at + MAJOR_VERSION, major, "2");
  }
  into.littleEndian = littleEndian;
  into.nsPerFraction = magic === MAGIC_NANOSECONDS ? 1 : 1000;
  into.snapLength = view.getUint32(at + SNAP_LENGTH, littleEndian);
  into.linkType = view.getUint32(at + LINK_TYPE, littleEndian) & LINK_TYPE_MASK;
  return at + PCAP_HEADER_SIZE;
}

/**
 * Reads one packet; returns the offset after it, or a negated {@linkcode Fault}: Short when it is not
 * there as a whole.
 */
export function readPcapRecord(
  from: Region,
  at: number,
  end: number,
  header: PcapHeader,
  origin: CaptureOrigin,
  into: Packet,
): number {
  if (end - at < RECORD_HEADER_SIZE) return -Fault.Short;
  const { view } = from;
  const { littleEndian } = header;
  const captured = view.getUint32(at + CAPTURED_LENGTH, littleEndian);
  if (captured > CAPTURED_BYTES_MAX) {
    const field = at + CAPTURED_LENGTH;
    return fail(Fault.Large, "Captured Packet Length", field, captured, "262144 or less");
  }
  const dataAt = at + RECORD_HEADER_SIZE;
  if (end - dataAt < captured) return -Fault.Short;
  const seconds = view.getUint32(at, littleEndian);
  if (!origin.known) {
    origin.known = true;
    origin.seconds = seconds;
  }
  into.timeNs = (seconds - origin.seconds) * 1e9 +
    view.getUint32(at + FRACTION, littleEndian) * header.nsPerFraction;
  into.at = dataAt;
  into.end = dataAt + captured;
  into.originalBytes = Math.max(captured, view.getUint32(at + ORIGINAL_LENGTH, littleEndian));
  into.linkType = header.linkType;
  into.interfaceIndex = 0;
  into.flags = 0;
  return dataAt + captured;
}

function isMagic(magic: number): boolean {
  return magic === MAGIC_MICROSECONDS || magic === MAGIC_NANOSECONDS || magic === MAGIC_MODIFIED;
}
