/**
 * What a protocol brings to the stream finder: one decoder for each side of a conversation. It is
 * given the bytes of its side in order and the holes between them, and tells the messages it finds.
 *
 * @module
 */
import type { Conversation } from "../capture/conversation.ts";
import type { Found, Moment, Side } from "./found.ts";

/** The means a finder may use, as bits: what is left out is not tried. */
export const Means = {
  /** The length of the message before, also over a hole within a message. */
  Length: 1,
  /** Preamble crc and structure of msgr2; its authentication tag, with keys. */
  Crc: 2,
  /** Headers of iSCSI that lead to each other. */
  HeaderChain: 4,
  /** The header digest of iSCSI. */
  Digest: 8,
  /** The urgent pointer of TCP. */
  Urgent: 16,
  All: 31,
} as const;

/** Starts of messages that urgent pointers name; only what follows a hole is ever asked for. */
export interface UrgentStarts {
  /** Whether a pointer names the byte at `offset` of the stream as the first of a message. */
  names(offset: number): boolean;
}

/** What a decoder is given by the finder that holds it. */
export interface SideContext {
  readonly conversation: Conversation;
  readonly side: Side;
  /** Bits of {@linkcode Means}. */
  readonly means: number;
  /** Whether whole messages are to be kept for their bytes, up to the limit KEPT_BYTES_MAX. */
  readonly keepsBytes: boolean;
  readonly urgent: UrgentStarts;
  /** When the byte at the start of what handleBytes() gives was captured. */
  readonly first: Moment;
  /** When the last of those bytes was captured: that of every message that begins after the first. */
  readonly last: Moment;
  /** Tells a message; offsets only ever grow. The finder tells what lies between as a gap. */
  tell(found: Found): void;
}

/** One direction of a conversation, as its protocol reads it. Never throws, whatever the bytes are. */
export interface SideDecoder {
  /**
   * Takes the arena's bytes [at, end), which are the stream's from `offset` on. Returns the offset in
   * the stream from which on bytes are still needed, at least `offset`: what is there already is
   * given again with more behind it; when it lies beyond the end, the bytes up to it are not needed.
   */
  handleBytes(at: number, end: number, offset: number): number;
  /**
   * The `length` bytes from `offset` on will never come. What handleBytes() wanted to see again of the
   * bytes before is not given again. Returns the offset from which on bytes are needed, as above.
   */
  handleHole(offset: number, length: number): number;
  /** The stream ends at `offset`: a message that is not whole is told with what is missing. */
  handleEnd(offset: number): void;
  /** Gives back what it took of the arena. */
  close(): void;
}

/** A protocol: makes the two decoders of a conversation, which know of each other. */
export interface ConversationDecoder {
  readonly sides: readonly [SideDecoder, SideDecoder];
}
