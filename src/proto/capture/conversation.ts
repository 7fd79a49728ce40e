/**
 * The two ends of a TCP connection in a capture, and what was counted of each direction.
 *
 * @module
 */

/** Why a hole was declared. */
export const HoleReason = {
  /** The other side acknowledged bytes that the capture has not. */
  Acknowledged: "acknowledged",
  /** More waits behind it than may be held. */
  Full: "full",
  /** The snap length cut them off. */
  Snap: "snap",
  /** Nothing has filled it for long, and nobody acknowledged it: that direction was not captured. */
  Stalled: "stalled",
  /** The connection or the capture ended. */
  Ended: "ended",
} as const;

/** One of {@linkcode HoleReason}. */
export type HoleReason = (typeof HoleReason)[keyof typeof HoleReason];

/** Holes of one reason. */
export interface HoleCount {
  count: number;
  bytes: number;
}

/** What was counted of one direction of a conversation, or of all. */
export class StreamCounts {
  /** Segments that were captured. */
  segments = 0;
  /** Payload on the wire, each copy counted, what the snap length cut off too. */
  bytes = 0;
  /** Segments of which some bytes had been seen before, and keepalive probes. */
  retransmittedSegments = 0;
  /** Bytes that had been seen before, or came after the hole that was told of them. */
  retransmittedBytes = 0;
  /** Segments that came while bytes before them were missing. */
  outOfOrderSegments = 0;
  /** Segments with bytes before the first one that was captured of a direction joined in mid-stream. */
  earlySegments = 0;
  earlyBytes = 0;
  /** Segments more than 2^30 bytes ahead, dropped. */
  farSegments = 0;
  /** Segments with bytes behind a FIN. */
  straySegments = 0;
  strayBytes = 0;
  /** Segments that brought other bytes than were seen first. */
  conflicts = 0;
  conflictBytes = 0;
  /** Holes by their reason. */
  readonly holes: Readonly<Record<HoleReason, HoleCount>> = {
    acknowledged: { count: 0, bytes: 0 },
    full: { count: 0, bytes: 0 },
    snap: { count: 0, bytes: 0 },
    stalled: { count: 0, bytes: 0 },
    ended: { count: 0, bytes: 0 },
  };
  /** Segments with URG. */
  urgentSegments = 0;
  /** Those whose pointer is 0xffff: at least that far, or further. */
  urgentClamped = 0;
  /**
   * Bytes that a receiver without SO_OOBINLINE has lost at most, one for each place that a pointer named:
   * a mark that a newer one replaces before it is read stays in the stream.
   */
  urgentBytesLost = 0;

  /** Adds another's counts to these. */
  add(other: StreamCounts): void {
    this.segments += other.segments;
    this.bytes += other.bytes;
    this.retransmittedSegments += other.retransmittedSegments;
    this.retransmittedBytes += other.retransmittedBytes;
    this.outOfOrderSegments += other.outOfOrderSegments;
    this.earlySegments += other.earlySegments;
    this.earlyBytes += other.earlyBytes;
    this.farSegments += other.farSegments;
    this.straySegments += other.straySegments;
    this.strayBytes += other.strayBytes;
    this.conflicts += other.conflicts;
    this.conflictBytes += other.conflictBytes;
    for (const reason of Object.values(HoleReason)) {
      this.holes[reason].count += other.holes[reason].count;
      this.holes[reason].bytes += other.holes[reason].bytes;
    }
    this.urgentSegments += other.urgentSegments;
    this.urgentClamped += other.urgentClamped;
    this.urgentBytesLost += other.urgentBytesLost;
  }
}

/** One TCP connection, from its SYN or from the first segment that was captured of it. */
export class Conversation {
  /** Counted from 1 over the whole capture. */
  readonly number: number;
  /** `ip:port` of side 0 and side 1, IPv6 in brackets. */
  readonly ends: readonly [string, string];
  /** Ports of side 0 and side 1. */
  readonly ports: readonly [number, number];
  /**
   * Whether the SYN of a side was captured, or the other side's answer to it: its stream then begins
   * with its first byte.
   */
  readonly fromStart: [boolean, boolean] = [false, false];
  /** What was counted of side 0 and side 1. */
  readonly counts: readonly [StreamCounts, StreamCounts] = [new StreamCounts(), new StreamCounts()];

  /** A conversation between two ends. */
  constructor(
    number: number,
    ends: readonly [string, string],
    ports: readonly [number, number],
  ) {
    this.number = number;
    this.ends = ends;
    this.ports = ports;
  }
}
