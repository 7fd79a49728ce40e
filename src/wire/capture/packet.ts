/**
 * A captured packet as every reader of captures hands it out, whatever the file's format: pcap
 * (draft-ietf-opsawg-pcap section 5), pcapng (draft-ietf-opsawg-pcapng section 4), or a live socket.
 *
 * @module
 */

/** What the readers accept of a single packet; libpcap's own bound, MAXIMUM_SNAPLEN. */
export const CAPTURED_BYTES_MAX: number = 256 * 1024;

/** One packet; a record that is reused, its bytes are valid until the next is read. */
export class Packet {
  /** Where its captured bytes lie in the arena. */
  at = 0;
  end = 0;
  /** Its bytes on the wire, at least as many as were captured. */
  originalBytes = 0;
  /** One of {@linkcode LinkType}, or another number of the registry of LINKTYPE_ values. */
  linkType = 0;
  /**
   * Since the {@linkcode CaptureOrigin}: exact for 104 days before and after it, rounded to what a
   * double holds beyond.
   */
  timeNs = 0;
  /** Counted from 1. */
  number = 0;
  /** Index in the interfaces of the capture. */
  interfaceIndex = 0;
  /** epb_flags of pcapng: bits 0 and 1 are the direction, 1 inbound and 2 outbound; 0: not known. */
  flags = 0;
}

/** The moment that the times of a capture count from: the whole second of its first packet. */
export class CaptureOrigin {
  known = false;
  /** Since 1970. */
  seconds = 0;
}

/** What packets were captured from. */
export class CaptureInterface {
  readonly linkType: number;
  /** The most that was kept of a packet; 0: all. */
  readonly snapLength: number;
  /** if_name of pcapng; empty when it is not known. */
  readonly name: string;

  /** An interface of a capture. */
  constructor(linkType: number, snapLength: number, name: string) {
    this.linkType = linkType;
    this.snapLength = snapLength;
    this.name = name;
  }
}
