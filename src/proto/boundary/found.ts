/**
 * What a stream finder tells of a message: where it lies in its stream, by which means its boundary
 * was found, and what is wrong with it. One record is reused for all messages of a side, so that a
 * capture of a gigabyte costs no memory; what is kept of it must be copied during the call.
 *
 * @module
 */
import type { Conversation } from "../capture/conversation.ts";

/** The means by which a boundary was found. */
export const FoundBy = {
  /** The first byte of the stream, which the capture has from its start. */
  Start: "start",
  /** The length of the message before it. */
  Length: "length",
  /** A checksum or an authentication tag of msgr2 together with the structure of its preamble. */
  Crc: "crc",
  /** Headers of iSCSI that lead to each other. */
  HeaderChain: "header-chain",
  /** A header digest of iSCSI. */
  Digest: "digest",
  /** A pointer of TCP, checked by the header that it names and the one after it. */
  Urgent: "urgent",
} as const;

/** One of {@linkcode FoundBy}. */
export type FoundBy = (typeof FoundBy)[keyof typeof FoundBy];

/** When a byte was captured, and in which packet (counted from 1; 0 before the first). */
export class Moment {
  /** Nanoseconds since the capture's origin (a whole second). */
  timeNs = 0;
  /** Number of the packet in the capture. */
  packet = 0;

  /** Takes another's values. */
  copy(other: Moment): void {
    this.timeNs = other.timeNs;
    this.packet = other.packet;
  }
}

/**
 * 0: from who opened the connection, or where its opening was not captured, from the higher port; 1: the
 * other.
 */
export type Side = 0 | 1;

/** A message, valid during the call that tells it. */
export class Found {
  readonly conversation: Conversation;
  /** Whose bytes these are. */
  readonly side: Side;
  protocol: "msgr2" | "iscsi" = "msgr2";
  /** Of msgr2: `2.0` or `2.1`; empty for iSCSI, and while it is not known. */
  revision: "" | "2.0" | "2.1" = "";
  /** Of msgr2: empty for iSCSI. */
  mode: "" | "crc" | "secure" = "";
  /** The document's name of a tag without `TAG_`; the name of a PDU of iSCSI. */
  tag = "";
  /** What it carries: the name of a message of Ceph, or of a SCSI command; empty when there is none. */
  type = "";
  /** Offset of its first byte in the stream of its side. */
  offset = 0;
  /** Its bytes on the wire, those that were not captured included. */
  length = 0;
  /** How many of them were not captured. */
  missing = 0;
  foundBy: FoundBy = FoundBy.Length;
  /** When its first byte was captured. */
  readonly begin: Moment = new Moment();
  /** When its last byte was captured. */
  readonly finish: Moment = new Moment();
  /** Number of the session over all its connections, from 1; 0 when it is not known. */
  session = 0;
  /** What it answers, and after how many nanoseconds; empty and -1 when it answers nothing. */
  answers: "" | "task" | "tid" | "ack" | "keepalive" | "ping" = "";
  latencyNs = -1;
  /** What is wrong with it; emptied by {@linkcode reset}. */
  readonly errors: string[] = [];
  /** Where the whole message lies in the arena, as far as it was kept; both 0 when it was not. */
  at = 0;
  end = 0;

  /** A record of one side of a conversation; `describe` makes its fields when somebody asks. */
  constructor(conversation: Conversation, side: Side, describe: () => Record<string, unknown>) {
    this.conversation = conversation;
    this.side = side;
    this.describe = describe;
  }

  /** The decoded fields of this message, made anew at each call: numbers, texts, lists, records. */
  readonly describe: () => Record<string, unknown>;

  /** Forgets what belongs to a single message. */
  reset(): void {
    this.tag = "";
    this.type = "";
    this.missing = 0;
    this.session = 0;
    this.answers = "";
    this.latencyNs = -1;
    if (this.errors.length > 0) this.errors.length = 0;
    this.at = 0;
    this.end = 0;
  }
}

/** Bytes of a stream that no means could assign to a message. */
export interface Gap {
  readonly conversation: Conversation;
  readonly side: Side;
  /** Offset of the first in the stream of its side. */
  readonly offset: number;
  readonly length: number;
  /** How many of them were never captured. */
  readonly missing: number;
  /** When what follows was captured. */
  readonly moment: Moment;
}

/** Who is told. */
export interface FoundSink {
  handleFound(found: Found): void;
  handleGap(gap: Gap): void;
}
